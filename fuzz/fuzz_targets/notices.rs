//! Signed notices: whatever the header says, only a signature of this body, at this time, with this secret is believed.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use axum::body::Body;
use axum::http::Request;
use ledger_fuzz::draft::Fields;
use ledger_fuzz::samples::NOW;
use ledger_fuzz::site::{SECRET, Site};
use ledger_server::withdrawals::NoticeSecret;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Notice {
    body: NoticeBody,
    signed_seconds_ago: i16,
    signature: Signature,
    one: bool,
}

#[derive(Arbitrary, Debug)]
enum NoticeBody {
    Right { outcome: u8, occurred_seconds_ago: u16, fields: Fields },
    Fields(Fields),
    Bytes(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum Signature {
    Right,
    /// Right, with other members around it.
    Among(String, String),
    Edited(Vec<(u8, u8)>),
    Foreign(Vec<u8>),
    Any(String),
}

impl NoticeBody {
    fn bytes(&self, site: &Site) -> Vec<u8> {
        let mut out = String::new();
        match self {
            NoticeBody::Right { outcome, occurred_seconds_ago, fields } => {
                let id = ledger_core::TransactionId::new(3).expect("an id");
                let withdrawal = site.ledger.withdrawal(id).and_then(|commit| commit.wait());
                let reference = withdrawal.expect("an open ledger answers").expect("the site has one").reference;
                let outcome = ["settled", "failed", "returned", "pending", "lost"][usize::from(*outcome) % 5];
                let (minutes, seconds) = (occurred_seconds_ago / 60 % 60, occurred_seconds_ago % 60);
                fields.write(
                    &mut out,
                    &format!(
                        "\"bank_reference\":\"{reference}\",\"outcome\":\"{outcome}\",\
                         \"occurred_at\":\"2025-12-31T23:{minutes:02}:{seconds:02}Z\""
                    ),
                );
            }
            NoticeBody::Fields(fields) => fields.write(&mut out, ""),
            NoticeBody::Bytes(bytes) => return bytes.clone(),
        }
        out.into_bytes()
    }
}

fuzz_target!(|input: &[u8]| {
    let Ok(notice) = Notice::arbitrary_take_rest(Unstructured::new(input)) else { return };
    let site = Site::new(false);
    let body = notice.body.bytes(&site);
    let secret = NoticeSecret::new(SECRET).expect("a secret");
    let now = u64::try_from(NOW.micros() / 1_000_000).expect("after 1970");
    let unix = now.saturating_add_signed(-i64::from(notice.signed_seconds_ago));
    let right = secret.sign(unix, &body);
    let header = match &notice.signature {
        Signature::Right => right.clone(),
        Signature::Among(before, after) => format!("{before},{right},{after}"),
        Signature::Edited(edits) => {
            let mut bytes = right.clone().into_bytes();
            for (at, value) in edits {
                let at = usize::from(*at) % bytes.len();
                bytes[at] = value % 94 + 33;
            }
            String::from_utf8(bytes).expect("printable ASCII")
        }
        Signature::Foreign(secret) => match NoticeSecret::new(secret) {
            Ok(secret) => secret.sign(unix, &body),
            Err(_) => return,
        },
        Signature::Any(header) => header.clone(),
    };
    let path = if notice.one { "/withdrawals/3/notify" } else { "/withdrawals/notify" };
    let before = site.ledger.appended();
    let request = Request::post(path)
        .header("content-type", "application/json")
        .header("ledger-signature", header.as_bytes())
        .body(Body::from(body.clone()));
    let Ok(request) = request else { return };
    let is_too_long = body.len() > 64 << 10;
    let reply = site.call(request);
    let has_right_tag = header.contains(right.split("v1=").nth(1).expect("a signature has a tag"));
    let is_fresh = notice.signed_seconds_ago.unsigned_abs() <= 300;
    // Hexadecimal digits may be given in either case.
    let may_be_right = has_right_tag || header.to_ascii_lowercase().contains(&right);
    if !(may_be_right && is_fresh) {
        // A body that is too long is not read to its end, so nobody knows what its signature would be.
        let expected = if is_too_long { 413 } else { 401 };
        assert_eq!(reply.status, expected, "believed {header:?} where {right:?} is right: {}", reply.text);
        assert_eq!(before, site.ledger.appended(), "a notice that was not believed was recorded");
    } else if matches!(notice.signature, Signature::Right) {
        assert_ne!(reply.status, 401, "{header:?} was not believed: {}", reply.text);
    }
    // A repeat changes nothing.
    let after = site.ledger.appended();
    let again = Request::post(path)
        .header("content-type", "application/json")
        .header("ledger-signature", header.as_bytes())
        .body(Body::from(body));
    let again = site.call(again.expect("it was a request before"));
    if reply.status == 200 {
        assert_eq!(again.status, 200, "{}", again.text);
        assert_eq!(after, site.ledger.appended(), "a repeat was recorded: {}", again.text);
    }
    site.audit();
});
