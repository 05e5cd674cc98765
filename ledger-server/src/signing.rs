//! Signs heads of history, so that who keeps one can show that this ledger's operator gave it.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use ledger_core::Head;
use ring::signature::{Ed25519KeyPair, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::{self, PemObject};

/// An Ed25519 key. Clones are handles to the same one; the private part is never shown.
#[derive(Clone)]
pub struct HeadSigner(Arc<Ed25519KeyPair>);

impl HeadSigner {
    /// From a PEM file (PKCS#8) that its owner alone can read, as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    /// A message for the operator.
    pub fn from_file(path: &Path) -> Result<HeadSigner, String> {
        let refused = |reason: &dyn fmt::Display| {
            format!(
                "the signing key {} cannot be used: {reason}; it is to be an Ed25519 key as PEM (`BEGIN PRIVATE KEY`) without a \
                 passphrase: make one with `umask 077; openssl genpkey -algorithm ed25519 -out FILE`",
                path.display()
            )
        };
        let mode = std::fs::metadata(path).map_err(|fault| refused(&fault))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(refused(&format!("others can read it (mode {:o})", mode & 0o777)));
        }
        let der = PrivatePkcs8KeyDer::from_pem_file(path).map_err(|fault| match fault {
            pem::Error::NoItemsFound => refused(&"it has no such key, or an encrypted one"),
            fault => refused(&fault),
        })?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der())
            .map_err(|fault| refused(&format!("it is of another kind, or damaged ({fault})")))?;
        Ok(HeadSigner(Arc::new(pair)))
    }

    /// The signature over [`message`], 64 bytes.
    pub(crate) fn sign(&self, ledger: &dyn fmt::Display, head: &Head) -> Vec<u8> {
        self.0.sign(message(ledger, head).as_bytes()).as_ref().to_vec()
    }

    /// The key that signatures are checked with, 32 bytes.
    pub(crate) fn public_key(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }
}

impl fmt::Debug for HeadSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeadSigner")
    }
}

/// What is signed: this text, without a line's end.
pub(crate) fn message(ledger: &dyn fmt::Display, head: &Head) -> String {
    format!("ledger head v1 {ledger} {head}")
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs::Permissions;
    use std::io::Write;

    use ledger_core::Seq;
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    /// As openssl wrote it; the seed is that of RFC 8032, 7.1, test 1.
    const PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
        -----END PRIVATE KEY-----\n";

    /// A key file, as good as any.
    pub(crate) fn key() -> tempfile::NamedTempFile {
        file(PEM, 0o600)
    }

    fn file(pem: &str, mode: u32) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(pem.as_bytes()).unwrap();
        file.as_file().set_permissions(Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn a_signature_is_that_of_the_public_key_over_ledger_seq_and_hash() {
        let signer = HeadSigner::from_file(key().path()).unwrap();
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(signer.public_key().iter().map(|byte| format!("{byte:02x}")).collect::<String>(), public);
        let (ledger, head) = ("the-uuid", Head { seq: Seq::new(3), hash: [9; 32] });
        let signature = signer.sign(&ledger, &head);
        let public = UnparsedPublicKey::new(&ED25519, signer.public_key());
        let expected = format!("ledger head v1 the-uuid {}@3", "09".repeat(32));
        assert!(public.verify(expected.as_bytes(), &signature).is_ok());
        let later = Head { seq: Seq::new(4), ..head };
        assert!(public.verify(message(&ledger, &later).as_bytes(), &signature).is_err());
    }

    /// With the label of a key that has a passphrase, as `openssl genpkey -aes256` writes it.
    const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGj\n-----END ENCRYPTED PRIVATE KEY-----\n";
    /// With the algorithm of RSA, as `openssl genrsa` writes it, and no key.
    const RSA: &str = "-----BEGIN PRIVATE KEY-----\nMBUCAQAwDQYJKoZIhvcNAQEBBQAEAQA=\n-----END PRIVATE KEY-----\n";

    #[test]
    fn a_key_of_another_kind_is_refused_with_what_is_expected() {
        for (pem, reason) in [(ENCRYPTED, "an encrypted one"), (RSA, "of another kind")] {
            let message = HeadSigner::from_file(file(pem, 0o600).path()).unwrap_err();
            assert!(message.contains(reason) && message.contains("without a passphrase"), "{message}");
            assert!(message.contains("openssl genpkey -algorithm ed25519"), "{message}");
        }
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_none_is_refused_by_name() {
        let cases = [(PEM, 0o640, "others can read it"), ("nonsense", 0o600, "cannot be used")];
        for (pem, mode, reason) in cases {
            let file = file(pem, mode);
            let message = HeadSigner::from_file(file.path()).unwrap_err();
            assert!(message.contains(reason) && message.contains(file.path().to_str().unwrap()), "{message}");
        }
    }
}
