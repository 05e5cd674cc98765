//! The application as a client meets it, called in the process: no socket, no thread, no disk, and a clock that stands
//! still, so that an input that failed fails again.
//!
//! Whatever is asked, [`Site::call`] holds the answer to the contract: a status that it names, a problem with a stable
//! code and its one status, JSON that another reader reads, no 500, and a balance whose parts sum up.

use std::future::poll_fn;

use axum::body::Body;
use axum::http::{HeaderMap, Request, header};
use http_body_util::BodyExt;
use ledger_core::sim::SimClock;
use ledger_core::withdrawals::{AttemptClass, Submission};
use ledger_core::{Amount, Charge, Currency, IdempotencyKey, Ledger, Withdraw};
use ledger_server::Terms;
use ledger_server::app::{App, AppOptions, Http, app};
use ledger_server::withdrawals::NoticeSecret;
use serde_json::Value;
use tokio::runtime::Runtime;
use tower_service::Service;

use crate::samples::{NOW, user};

/// What notices are signed with.
pub const SECRET: &[u8] = b"sixteen bytes or more of a secret";

/// The codes of problems, each with its one status.
const CODES: &[(&str, u16)] = &[
    ("invalid_json", 400),
    ("invalid_request", 400),
    ("invalid_user_id", 400),
    ("invalid_amount", 400),
    ("invalid_currency", 400),
    ("invalid_release_at", 400),
    ("missing_idempotency_key", 400),
    ("invalid_idempotency_key", 400),
    ("invalid_page", 400),
    ("invalid_cursor", 400),
    ("unauthenticated", 401),
    ("forbidden", 403),
    ("not_found", 404),
    ("transaction_not_found", 404),
    ("method_not_allowed", 405),
    ("request_timeout", 408),
    ("payload_too_large", 413),
    ("unsupported_media_type", 415),
    ("duplicate_request", 409),
    ("already_resolved", 409),
    ("not_cancellable", 409),
    ("insufficient_balance", 422),
    ("balance_overflow", 422),
    ("same_account", 422),
    ("idempotency_key_reused", 422),
    ("not_reversible", 422),
    ("batch_rejected", 422),
    ("rate_limited", 429),
    ("queue_full", 503),
    ("overloaded", 503),
];

/// An answer, read whole.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its head.
    pub headers: HeaderMap,
    /// Its body.
    pub text: String,
}

impl Reply {
    /// The body as JSON.
    ///
    /// # Panics
    /// Where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|err| panic!("{err}: answered {:?}", self.text))
    }
}

/// An application with two accounts, of which one has a withdrawal in review.
pub struct Site {
    /// The ledger beneath.
    pub ledger: Ledger,
    /// The clock of both.
    pub clock: SimClock,
    /// Answered repeats as they were first, in place of 409.
    pub replays: bool,
    http: Http,
    runtime: Runtime,
}

impl Site {
    /// A new application; `replays`: repeats are answered as the first request was.
    pub fn new(replays: bool) -> Site {
        let clock = SimClock::at(NOW);
        let ledger = Ledger::options()
            .shards(2)
            .threads(false)
            .withdrawal_places(Some(4))
            .clock(clock.clone())
            .in_memory()
            .expect("these options are valid");
        let currencies = vec![Currency::USD, Currency::new("EUR").expect("a currency")];
        let terms = Terms { currency: Currency::USD, currencies, destination_required: false };
        let options = AppOptions {
            replay_duplicates: replays,
            notice_secrets: vec![NoticeSecret::new(SECRET).expect("a secret")],
            clock: std::sync::Arc::new(clock.clone()),
            ..AppOptions::new(terms)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let site = Site { http: app(App::new(ledger.clone(), options)), ledger, clock, replays, runtime };
        site.furnish();
        site
    }

    /// Transactions 1 to 3: two charges, and a withdrawal whose attempt was ambiguous.
    fn furnish(&self) {
        const WELL: &str = "accepted";
        let key = |key| IdempotencyKey::new(key).expect("a key");
        let amount = |minor| Amount::new(minor).expect("an amount");
        let ledger = &self.ledger;
        for (number, name) in [(1, "first"), (2, "second")] {
            ledger.charge(Charge::new(user(number), amount(1_000), key(name))).and_then(|c| c.wait()).expect(WELL);
        }
        let withdraw = Withdraw::new(user(1), amount(100), key("third"));
        let id = ledger.withdraw(withdraw).and_then(|commit| commit.wait()).expect(WELL).transaction_id;
        let attempt = ledger.start_attempt(id).and_then(|commit| commit.wait()).expect(WELL);
        let said = Submission { class: AttemptClass::Ambiguous, evidence: "silence".into() };
        ledger.end_attempt(id, attempt.number, &said).and_then(|commit| commit.wait()).expect(WELL);
    }

    /// Asks, and holds the answer to the contract.
    ///
    /// # Panics
    /// Where the answer breaks it.
    pub fn call(&self, request: Request<Body>) -> Reply {
        let mut http = self.http.clone();
        let path = request.uri().path().to_owned();
        let is_head = request.method() == "HEAD";
        let reply = self.runtime.block_on(async {
            poll_fn(|cx| http.poll_ready(cx)).await.expect("always ready");
            let (head, body) = http.call(request).await.expect("never an error").into_parts();
            let body = body.collect().await.expect("an answer is whole").to_bytes();
            let text = String::from_utf8(body.to_vec()).expect("answers are UTF-8");
            Reply { status: head.status.as_u16(), headers: head.headers, text }
        });
        if !is_head {
            check(&path, &reply);
        }
        reply
    }

    /// The sums of all accounts are zero.
    ///
    /// # Panics
    /// Where they are not.
    pub fn audit(&self) {
        let audit = self.ledger.audit_deep().and_then(|commit| commit.wait()).expect("an open ledger answers");
        assert!(audit.is_balanced(), "out of balance: {audit:?}");
    }
}

fn check(path: &str, reply: &Reply) {
    let media = reply.headers.get(header::CONTENT_TYPE).map_or("", |media| media.to_str().unwrap_or("not text"));
    match reply.status {
        200 | 202 if media == "application/json" => parts_sum_up(&reply.json()),
        200 if media == "application/x-ndjson" => {
            for line in reply.text.lines() {
                let line: Value = serde_json::from_str(line).unwrap_or_else(|err| panic!("{err}: {line:?}"));
                parts_sum_up(&line);
            }
        }
        200 => {
            assert!(["/metrics", "/docs", "/console"].iter().any(|page| path.starts_with(page)), "{path} is {media:?}")
        }
        status => {
            assert!(status >= 400, "{path} answered {status}");
            assert_eq!(media, "application/problem+json", "{path} answered {status}");
            let problem = reply.json();
            let code = problem["code"].as_str().unwrap_or_else(|| panic!("a problem without a code: {problem}"));
            let known = CODES.iter().find(|(known, _)| *known == code);
            assert_eq!(known.map(|(_, status)| *status), Some(status), "{path}: {problem}");
            assert_eq!(problem["status"], status, "{problem}");
            for text in ["title", "detail"] {
                assert!(problem[text].as_str().is_some_and(|text| !text.is_empty()), "no {text}: {problem}");
            }
        }
    }
}

/// In whatever looks like a balance, the total is the sum of its parts.
fn parts_sum_up(value: &Value) {
    match value {
        Value::Object(members) => {
            let part = |name| members.get(name).and_then(Value::as_i64);
            if let (Some(total), Some(free), Some(held), Some(reserved)) =
                (part("total"), part("withdrawable"), part("held"), part("reserved"))
            {
                assert_eq!(total, free + held + reserved, "{value}");
            }
            members.values().for_each(parts_sum_up);
        }
        Value::Array(elements) => elements.iter().for_each(parts_sum_up),
        _ => {}
    }
}
