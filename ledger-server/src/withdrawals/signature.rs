//! The signature of a bank's notice: `Ledger-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256 of "t.body">`.
//!
//! The time is signed together with the body, so that a notice that somebody kept cannot be sent again later: one whose
//! time is more than five minutes from the receiver's is refused, whichever way. Comparing takes the same time wherever two
//! signatures differ.

use std::fmt;
use std::path::Path;

use ring::hmac;

/// The header that carries the signature.
pub const SIGNATURE_HEADER: &str = "ledger-signature";

/// How far the sender's clock and the receiver's may be apart, the way included, in seconds.
const AGE_SECONDS_MAX: u64 = 300;

/// A secret of fewer bytes can be guessed by whoever has seen one notice.
const SECRET_BYTES_WEAK: usize = 16;

/// The longest header that is looked at: several signatures may stand in one while a secret is changed.
const HEADER_BYTES_MAX: usize = 1024;

/// What the bank and the ledger both know and nobody else does. It is never shown.
#[derive(Clone)]
pub struct NoticeSecret(hmac::Key);

impl fmt::Debug for NoticeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoticeSecret")
    }
}

/// Why a notice is not believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadSignature {
    /// The header is not of the form `t=<unix>,v1=<hex>`.
    Malformed,
    /// Signed more than five minutes ago, or from now.
    Stale,
    /// Signed with another secret, or for another body or time.
    Wrong,
}

impl fmt::Display for BadSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadSignature::Malformed => "the signature is not of the form t=<unix seconds>,v1=<64 hexadecimal digits>",
            BadSignature::Stale => "the signature's time is more than five minutes from now; sign each sending anew",
            BadSignature::Wrong => "the signature is not that of this body, time and secret",
        })
    }
}

impl std::error::Error for BadSignature {}

impl NoticeSecret {
    /// From at least one byte; from 16 on nobody can guess it.
    ///
    /// # Errors
    /// A message for the operator, without the secret.
    pub fn new(secret: &[u8]) -> Result<NoticeSecret, String> {
        if secret.is_empty() {
            return Err("the secret is empty; it needs at least 16 bytes that nobody can guess".to_owned());
        }
        if secret.len() < SECRET_BYTES_WEAK {
            let bytes = secret.len();
            tracing::warn!(
                bytes,
                "a secret for notices is so short that it can be guessed; use {SECRET_BYTES_WEAK} bytes"
            );
        }
        Ok(NoticeSecret(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// From a file with one secret, or with two while it is changed, each on a line of its own. White space at the end of a
    /// line is not part of a secret.
    ///
    /// # Errors
    /// A message for the operator, without the secret.
    pub fn from_file(path: &Path) -> Result<Vec<NoticeSecret>, String> {
        let bytes = std::fs::read(path).map_err(|fault| format!("{} cannot be read: {fault}", path.display()))?;
        let lines = bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end).filter(|line| !line.is_empty());
        let secrets = lines.map(NoticeSecret::new).collect::<Result<Vec<_>, _>>();
        let secrets = secrets.map_err(|fault| format!("{}: {fault}", path.display()))?;
        match secrets.len() {
            1 | 2 => Ok(secrets),
            count => {
                Err(format!("{} has {count} secrets; it must have one, or two while it is changed", path.display()))
            }
        }
    }

    /// The header's value for `body`, sent at `unix` seconds.
    pub fn sign(&self, unix: u64, body: &[u8]) -> String {
        let tag = self.tag(unix.to_string().as_bytes(), body);
        let mut header = format!("t={unix},v1=");
        header.extend(tag.as_ref().iter().map(|byte| format!("{byte:02x}")));
        header
    }

    /// Whether `header` signs `body`, received at `now` unix seconds. Members of other names are ignored, and of several
    /// `v1` one has to fit, so that a sender can change its secret without a gap.
    ///
    /// # Errors
    /// See [`BadSignature`]. The signature is looked at first: whoever has no secret does not learn the receiver's time.
    pub fn verify(&self, header: &str, body: &[u8], now: u64) -> Result<(), BadSignature> {
        let (mut time, mut tags) = (None, Vec::new());
        if header.len() > HEADER_BYTES_MAX {
            return Err(BadSignature::Malformed);
        }
        for member in header.split(',') {
            match member.trim().split_once('=') {
                Some(("t", _)) if time.is_some() => return Err(BadSignature::Malformed),
                Some(("t", digits)) => time = Some(digits),
                Some(("v1", hex)) => tags.push(bytes_of(hex).ok_or(BadSignature::Malformed)?),
                Some(_) => {}
                None => return Err(BadSignature::Malformed),
            }
        }
        // As it was sent: the digits are what was signed.
        let digits = time.filter(|digits| digits.bytes().all(|b| b.is_ascii_digit())).ok_or(BadSignature::Malformed)?;
        let unix: u64 = digits.parse().map_err(|_| BadSignature::Malformed)?;
        if tags.is_empty() {
            return Err(BadSignature::Malformed);
        }
        let signed = signed_bytes(digits.as_bytes(), body);
        if !tags.iter().any(|tag| hmac::verify(&self.0, &signed, tag).is_ok()) {
            return Err(BadSignature::Wrong);
        }
        if unix.abs_diff(now) > AGE_SECONDS_MAX { Err(BadSignature::Stale) } else { Ok(()) }
    }

    fn tag(&self, digits: &[u8], body: &[u8]) -> hmac::Tag {
        hmac::sign(&self.0, &signed_bytes(digits, body))
    }
}

fn signed_bytes(digits: &[u8], body: &[u8]) -> Vec<u8> {
    [digits, b".", body].concat()
}

/// The 32 bytes that 64 hexadecimal digits stand for.
fn bytes_of(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 64 || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BODY: &[u8] = br#"{"bank_reference":"a-1-2","outcome":"settled"}"#;

    fn secret() -> NoticeSecret {
        NoticeSecret::new(b"not much of a secret").unwrap()
    }

    /// The expected value was made with `printf '1700000000.{}' | openssl dgst -sha256 -hmac 'not much of a secret'`.
    #[test]
    fn a_signature_is_what_other_programs_make() {
        let header = secret().sign(1_700_000_000, b"{}");
        assert_eq!(header, "t=1700000000,v1=ac3efd9c7ebaf507f6d341d51b31c812b8d92ed188893a4f75e362bc6c20132b");
        secret().verify(&header, b"{}", 1_700_000_300).unwrap();
    }

    #[test]
    fn a_notice_is_believed_for_five_minutes_and_under_its_own_secret_and_body_only() {
        let header = secret().sign(1_000, BODY);
        for (now, expected) in [
            (700, Ok(())),
            (1_000, Ok(())),
            (1_300, Ok(())),
            (1_301, Err(BadSignature::Stale)),
            (699, Err(BadSignature::Stale)),
        ] {
            assert_eq!(secret().verify(&header, BODY, now), expected, "at {now}");
        }
        assert_eq!(secret().verify(&header, b"{}", 1_000), Err(BadSignature::Wrong));
        let other = NoticeSecret::new(b"another secret that is long").unwrap();
        assert_eq!(other.verify(&header, BODY, 1_000), Err(BadSignature::Wrong));
        let later = header.replace("t=1000", "t=1200");
        assert_eq!(secret().verify(&later, BODY, 1_200), Err(BadSignature::Wrong), "the time is signed, too");
        assert_eq!(other.verify(&header, BODY, 9_999), Err(BadSignature::Wrong), "a stranger learns no time");
    }

    #[test]
    fn a_secret_can_be_changed_without_a_gap() {
        let (old, new) = (NoticeSecret::new(b"the secret of old").unwrap(), secret());
        let v1 = |secret: &NoticeSecret| secret.sign(5, BODY).split_once(',').unwrap().1.to_owned();
        let header = format!("t=5, {}, v2=whatever, {}", v1(&old), v1(&new));
        old.verify(&header, BODY, 5).unwrap();
        new.verify(&header, BODY, 5).unwrap();
    }

    #[test]
    fn what_is_no_signature_is_refused() {
        let hex = "0".repeat(64);
        for header in [
            String::new(),
            "t=1".to_owned(),
            format!("v1={hex}"),
            format!("t=,v1={hex}"),
            format!("t=-1,v1={hex}"),
            format!("t=+1,v1={hex}"),
            format!("t=1,t=1,v1={hex}"),
            format!("t=1,v1={}", &hex[1..]),
            format!("t=1,v1={}", hex.replace('0', "g")),
            format!("t=1,v1={hex},junk"),
            format!("t=99999999999999999999,v1={hex}"),
            format!("t=1,v1={hex},x={}", "y".repeat(1024)),
        ] {
            assert_eq!(secret().verify(&header, BODY, 1), Err(BadSignature::Malformed), "{header:?}");
        }
    }

    #[test]
    fn a_secret_is_read_without_its_line_end_and_never_shown() {
        assert!(NoticeSecret::new(&[]).is_err());
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            NoticeSecret::from_file(file.path())
        };
        for text in ["not much of a secret\n", "not much of a secret", "\r\nnot much of a secret\r\n"] {
            let [one] = &read(text).unwrap()[..] else { panic!("{text:?} has one secret") };
            assert_eq!(one.sign(1, BODY), secret().sign(1, BODY), "{text:?}");
            assert!(!format!("{one:?}").contains("not much"));
        }
        let [_, newer] = &read("another secret that is long\nnot much of a secret\n").unwrap()[..] else {
            panic!("two")
        };
        assert_eq!(newer.sign(1, BODY), secret().sign(1, BODY));
        for text in ["", " \r\n\n", &"not much of a secret\n".repeat(3)] {
            let fault = read(text).unwrap_err();
            assert!(!fault.contains("not much"), "{fault}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_a_panic(header in "(t=[0-9]{0,4}|v1=\\PC{0,70}|,|=|\\PC){0,8}", body: Vec<u8>) {
            prop_assert!(secret().verify(&header, &body, 1).is_err());
        }
    }
}
