//! A few requests one after the other, with heads and bodies as a careless or hostile client might send them.
//!
//! What must hold of any answer is in `ledger_fuzz::site`. Beyond that another JSON reader is asked: what it does not read
//! is never accepted, what it reads is never called "not JSON", and an accepted command says what was asked.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use axum::body::Body;
use axum::http::Request;
use ledger_fuzz::draft::BodyDraft;
use ledger_fuzz::site::{Reply, Site};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const PATHS: [&str; 12] = [
    "/charge",
    "/charge",
    "/withdraw",
    "/transfer",
    "/batch",
    "/batch",
    "/withdrawals/3/cancel",
    "/withdrawals/3/resolve",
    "/withdrawals/notify",
    "/withdrawals/99999999999999999999/resolve",
    "/charge?user_id=1",
    "/nothing",
];
const HEADERS: [&str; 9] = [
    "idempotency-key",
    "content-type",
    "content-length",
    "expect",
    "accept",
    "authorization",
    "ledger-signature",
    "host",
    "transfer-encoding",
];
const MEDIA: [&str; 8] = [
    "application/json",
    "application/json; charset=utf-8",
    "application/json;charset=\"a;b\"",
    "Application/JSON ;",
    "application/x-ndjson",
    "text/csv",
    "application/jsonx",
    "",
];

#[derive(Arbitrary, Debug)]
struct Visit {
    replays: bool,
    requests: Vec<Ask>,
}

#[derive(Arbitrary, Debug)]
struct Ask {
    path: u8,
    method: Method,
    media: Option<u8>,
    headers: Vec<(u8, Vec<u8>)>,
    key: Option<u8>,
    body: BodyDraft,
    advance_seconds: u8,
}

#[derive(Arbitrary, Debug)]
enum Method {
    Right,
    Named(u8),
    Any(String),
}

impl Ask {
    fn path(&self) -> &'static str {
        PATHS[usize::from(self.path) % PATHS.len()]
    }

    /// `None`: no HTTP parser would let it through.
    fn request(&self, body: Vec<u8>) -> Option<Request<Body>> {
        let method = match &self.method {
            Method::Right => "POST",
            Method::Named(index) => ["GET", "HEAD", "PUT", "OPTIONS", "DELETE"][usize::from(*index) % 5],
            Method::Any(method) => method,
        };
        let mut request = Request::builder().method(method).uri(self.path());
        let media = self.media.map_or(MEDIA[0], |media| MEDIA[usize::from(media) % MEDIA.len()]);
        request = request.header("content-type", media);
        if let Some(key) = self.key {
            request = request.header("idempotency-key", format!("key-{}", key % 8));
        }
        for (name, value) in &self.headers {
            request = request.header(HEADERS[usize::from(*name) % HEADERS.len()], value.as_slice());
        }
        request.body(Body::from(body)).ok()
    }
}

/// What the strict scanner and serde agree on, whatever the body.
fn agree(ask: &Ask, body: &[u8], reply: &Reply) {
    let read = serde_json::from_slice::<Value>(body);
    let is_streamed = reply.headers.get("content-type").is_some_and(|media| media == "application/x-ndjson");
    if reply.status < 300 && matches!(ask.method, Method::Right) && !is_streamed {
        let asked = read.unwrap_or_else(|err| panic!("{err}, and yet it was accepted: {}", reply.text));
        if ["/charge", "/withdraw", "/transfer"].contains(&ask.path()) {
            let (amount, transaction) = (&asked["amount"], &reply.json()["transaction"]);
            assert_eq!(*amount, transaction["amount"], "another amount was recorded");
            let user = if ask.path() == "/transfer" { &asked["from_user_id"] } else { &asked["user_id"] };
            assert_eq!(*user, transaction["user_id"], "another user's account was touched");
        }
    } else if reply.status == 400 && read.is_ok() {
        // serde takes numbers only as far as they fit, and the scanner nests to 64, so the other direction is not exact.
        let detail = reply.json();
        let deep = detail["detail"].as_str().is_some_and(|detail| detail.contains("deep"));
        assert!(detail["code"] != "invalid_json" || deep, "serde reads it: {}", reply.text);
    }
}

fuzz_target!(|input: &[u8]| {
    let Ok(visit) = Visit::arbitrary_take_rest(Unstructured::new(input)) else { return };
    let site = Site::new(visit.replays);
    for ask in visit.requests.iter().take(16) {
        site.clock.advance(std::time::Duration::from_secs(u64::from(ask.advance_seconds)));
        let body = ask.body.bytes();
        let Some(request) = ask.request(body.clone()) else { continue };
        let reply = site.call(request);
        if !matches!(&ask.method, Method::Named(1)) && !matches!(&ask.method, Method::Any(method) if method == "HEAD") {
            agree(ask, &body, &reply);
        }
    }
    site.audit();
});
