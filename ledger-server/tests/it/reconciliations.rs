//! A bank's statement against the log.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use http_body::Frame;
use ledger_core::withdrawals::{AttemptClass, NoticeOutcome};
use ledger_server::app::AppOptions;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Reply, Server};

const HEAD: &str = "bank_reference,amount,currency,status\n";

async fn reconcile(server: &Server, kind: &str, body: impl Into<Body>) -> Reply {
    let request = Request::post("/reconciliations").header("content-type", kind).body(body.into()).unwrap();
    server.call(request).await
}

async fn csv(server: &Server, rows: &str) -> Value {
    let reply = reconcile(server, "text/csv", format!("{HEAD}{rows}")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()
}

async fn reference(server: &Server, id: u64) -> String {
    server.get(&format!("/withdrawals/{id}")).await.json()["bank_reference"].as_str().unwrap().to_owned()
}

/// What became of a withdrawal here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Here {
    Open,
    Paid,
    Released,
    Returned,
    /// Paid after it was released: posted from suspense.
    PaidLate,
}

const HERE: [Here; 5] = [Here::Open, Here::Paid, Here::Released, Here::Returned, Here::PaidLate];

/// A server with a withdrawal of each kind, and their references. Amounts are 10, 11, 12, …
async fn with_all_kinds() -> (Server, Vec<(Here, u64, String)>) {
    let server = Server::new();
    server.charge(1, 1_000, "c").await;
    let mut made = Vec::new();
    for (here, amount) in HERE.into_iter().zip(10..) {
        let id = server.withdraw(1, amount, &format!("w{amount}")).await;
        let reference = reference(&server, id).await;
        match here {
            Here::Open => server.attempt(id, AttemptClass::Accepted),
            Here::Paid => server.attempt(id, AttemptClass::Settled),
            Here::Released => server.attempt(id, AttemptClass::Rejected),
            Here::Returned => {
                server.attempt(id, AttemptClass::Settled);
                server.notice(&reference, NoticeOutcome::Returned);
            }
            Here::PaidLate => {
                server.attempt(id, AttemptClass::Rejected);
                server.notice(&reference, NoticeOutcome::Settled);
            }
        }
        made.push((here, amount, reference));
    }
    (server, made)
}

#[tokio::test]
async fn a_statement_that_agrees_is_matched() {
    let (server, made) = with_all_kinds().await;
    let before = server.get("/audit").await.json();
    let rows: String = made
        .iter()
        .map(|(here, amount, reference)| {
            let row = |status| format!("{reference},{amount},USD,{status}\r\n");
            match here {
                Here::Open => row("pending"),
                Here::Paid | Here::PaidLate => row("settled"),
                Here::Released => row("failed"),
                Here::Returned => row("settled") + &row("returned"),
            }
        })
        .collect();
    assert_eq!(
        csv(&server, &rows).await,
        json!({"matched": 5, "missing_here": [], "missing_there": [], "mismatched": [], "rows": 6,
               "missing_here_total": 0, "missing_there_total": 0, "mismatched_total": 0})
    );
    assert_eq!(server.get("/audit").await.json(), before, "nothing was written");
}

#[tokio::test]
async fn what_one_side_lacks_or_says_otherwise_is_listed() {
    let (server, made) = with_all_kinds().await;
    let of = |wanted: Here| made.iter().find(|(here, ..)| *here == wanted).unwrap();
    let (_, amount, paid) = of(Here::Paid);
    let (_, _, open) = of(Here::Open);
    let stranger = format!("{}-1-7", "0".repeat(32));
    let rows = format!(
        "{paid},{amount},USD,settled\n{paid},{amount},USD,settled\n{open},10,EUR,settled\n\nunknown,5,USD,settled\n{stranger},6,EUR,failed\n"
    );
    let report = csv(&server, &rows).await;
    assert_eq!((&report["matched"], &report["rows"]), (&json!(0), &json!(5)));
    assert_eq!(
        report["missing_here"],
        json!([{"line": 6, "bank_reference": "unknown", "amount": 5, "currency": "USD", "status": "settled"},
               {"line": 7, "bank_reference": stranger, "amount": 6, "currency": "EUR", "status": "failed"}])
    );
    let missing: Vec<_> = report["missing_there"].as_array().unwrap().iter().map(|m| &m["bank_reference"]).collect();
    assert_eq!(
        missing,
        [&of(Here::Returned).2, &of(Here::PaidLate).2],
        "what was released or is open need not be there"
    );
    let open_id = server.get("/withdrawals?substatus=accepted").await.json()["withdrawals"][0]["id"].clone();
    let paid_id = server.get("/withdrawals?substatus=completed").await.json()["withdrawals"][0]["id"].clone();
    assert_eq!(
        report["mismatched"],
        json!([{"reason": "currency", "bank_reference": open,
                "here": {"id": open_id, "bank_reference": open, "amount": 10, "currency": "USD", "status": "pending",
                         "substatus": "accepted"},
                "there": {"amount": 10, "currency": "EUR", "status": "settled"}},
               {"reason": "paid_twice", "bank_reference": paid,
                "here": {"id": paid_id, "bank_reference": paid, "amount": amount, "currency": "USD", "status": "completed",
                         "substatus": "completed"},
                "there": {"amount": amount, "currency": "USD", "status": "settled"}}])
    );
}

#[tokio::test]
async fn a_period_says_which_payments_must_be_in_the_statement() {
    let server = Server::new();
    server.charge(1, 100, "c").await;
    let mut made = Vec::new();
    for n in 0..3 {
        let id = server.withdraw(1, 10, &format!("w{n}")).await;
        server.attempt(id, AttemptClass::Settled);
        made.push(id);
        server.clock.advance(Duration::from_secs(60));
    }
    let cases: [(&str, &[u64]); 5] = [
        ("", &made),
        ("?from=2024-01-10T10:01:00Z", &made[1..]),
        ("?to=2024-01-10T10:01:00Z", &made[..1]),
        ("?from=2024-01-10T11:01:00%2B01:00&to=2024-01-10T10:02:00Z", &made[1..2]),
        ("?from=2025-01-01T00:00:00Z", &[]),
    ];
    for (query, expected) in cases {
        let request = Request::post(format!("/reconciliations{query}")).header("content-type", "application/x-ndjson");
        let report = server.call(request.body(Body::empty()).unwrap()).await.json();
        let missing: Vec<_> =
            report["missing_there"].as_array().unwrap().iter().map(|missing| missing["id"].as_u64().unwrap()).collect();
        assert_eq!(missing, expected, "{query}");
        assert_eq!(report["missing_there_total"], expected.len(), "{query}");
    }
}

#[tokio::test]
async fn lists_are_cut_and_totals_are_not() {
    let server = Server::new();
    let rows: String = (0..1_500).map(|n| format!("unknown-{n},1,USD,settled\n")).collect();
    let report = csv(&server, &rows).await;
    assert_eq!(report["missing_here"].as_array().unwrap().len(), 1_000);
    assert_eq!((&report["missing_here_total"], &report["rows"]), (&json!(1_500), &json!(1_500)));
}

#[tokio::test]
async fn a_bad_statement_names_its_line() {
    let server = Server::new();
    let row = r#"{"bank_reference":"a","amount":1,"currency":"USD","status":"settled"}"#;
    let cases = [
        ("text/csv", String::new(), 400, "invalid_request", Some(1)),
        ("text/csv", "a,1,USD,settled\n".into(), 400, "invalid_request", Some(1)),
        ("text/csv", format!("{HEAD}a,1,USD,settled\n\na,1,USD,paid\n"), 400, "invalid_request", Some(4)),
        ("text/csv; charset=utf-8", format!("{HEAD}a,1.5,USD,settled"), 400, "invalid_amount", Some(2)),
        ("Text/CSV", format!("{HEAD}a,1,dollar,settled"), 400, "invalid_currency", Some(2)),
        ("text/csv", format!("{HEAD}{},1,USD,settled", "x".repeat(64 << 10)), 413, "payload_too_large", Some(2)),
        ("application/x-ndjson", format!("{row}\n{row}}}"), 400, "invalid_json", Some(2)),
        ("application/x-ndjson", format!("\n{}", row.replace(":1", ":0")), 400, "invalid_amount", Some(2)),
        ("application/x-ndjson", row.replace("settled", "paid"), 400, "invalid_request", Some(1)),
        ("application/json", format!("[{row}]"), 415, "unsupported_media_type", None),
        ("text/plain", HEAD.into(), 415, "unsupported_media_type", None),
    ];
    for (kind, body, status, code, line) in cases {
        let reply = reconcile(&server, kind, body.clone()).await;
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{body:.60}: {}", reply.text);
        assert_eq!(reply.json()["line"].as_u64(), line, "{body:.60}: {}", reply.text);
    }
    for (query, code) in [("at=1", "invalid_request"), ("from=yesterday", "invalid_request")] {
        let request = Request::post(format!("/reconciliations?{query}")).header("content-type", "text/csv");
        assert_eq!(server.call(request.body(Body::from(HEAD)).unwrap()).await.code(), code, "{query}");
    }
    let reply = server.get("/reconciliations").await;
    assert_eq!((reply.code().as_str(), reply.header("allow")), ("method_not_allowed", "POST"));
}

/// A body that comes in pieces, and then ends, or never does.
struct Pieces {
    pieces: VecDeque<Bytes>,
    ends: bool,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.pieces.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None if self.ends => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

fn silent_after(text: &str) -> Body {
    Body::new(Pieces { pieces: [Bytes::copy_from_slice(text.as_bytes())].into(), ends: false })
}

#[tokio::test(start_paused = true)]
async fn a_statement_that_stops_coming_is_given_up() {
    let server = Server::new();
    let reply = reconcile(&server, "text/csv", silent_after(&format!("{HEAD}a,1,USD,settled\n"))).await;
    assert_eq!((reply.status, reply.code().as_str()), (408, "request_timeout"));
    assert_eq!((&reply.json()["line"], reply.header("connection")), (&json!(3), "close"));
}

#[tokio::test(start_paused = true)]
async fn few_statements_are_compared_at_once_and_a_stop_waits_for_none() {
    let server = Server::new();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let http = server.http.clone();
        let request = Request::post("/reconciliations").header("content-type", "text/csv");
        let request = request.body(silent_after(HEAD)).unwrap();
        waiting.spawn(async move { tower::ServiceExt::oneshot(http, request).await.unwrap().status() });
    }
    tokio::task::yield_now().await;
    let reply = reconcile(&server, "text/csv", HEAD).await;
    assert_eq!((reply.status, reply.code().as_str(), reply.header("retry-after")), (503, "overloaded", "1"));
    server.app.stop();
    while let Some(status) = waiting.join_next().await {
        assert_eq!(status.unwrap(), 503);
    }
}

/// The naive comparison: all rows in memory, by reference.
fn naive(made: &[(Here, u64, String)], rows: &[(String, u64, &'static str, &'static str)]) -> Value {
    let (mut matched, mut mismatched, mut missing_here) = (0, BTreeMap::new(), Vec::new());
    let known = |reference: &str| made.iter().find(|(.., known)| known == reference);
    for (reference, amount, currency, status) in rows {
        if known(reference).is_none() {
            missing_here.push(json!([reference, amount, currency, status]));
        }
    }
    for (here, amount, reference) in made {
        let of: Vec<_> = rows.iter().filter(|row| row.0 == *reference).collect();
        let says = |word| of.iter().any(|row| row.3 == word);
        if of.is_empty() {
            continue;
        }
        let first_wrong = of.iter().find(|row| row.2 != "USD" || row.1 != *amount);
        let agrees = match (says("returned"), says("settled"), says("failed")) {
            (true, ..) => *here == Here::Returned,
            (_, true, _) => matches!(here, Here::Paid | Here::Returned | Here::PaidLate),
            (.., true) => *here == Here::Released,
            _ => *here == Here::Open,
        };
        let reason = match first_wrong {
            Some(row) if row.2 != "USD" => Some("currency"),
            Some(_) => Some("amount"),
            None if of.iter().filter(|row| row.3 == "settled").count() > 1 => Some("paid_twice"),
            None if !agrees => Some("status"),
            None => None,
        };
        match reason {
            Some(reason) => drop(mismatched.insert(reference.clone(), reason)),
            None => matched += 1,
        }
    }
    let missing_there: Vec<_> = made
        .iter()
        .filter(|(here, ..)| matches!(here, Here::Paid | Here::Returned | Here::PaidLate))
        .filter(|(.., reference)| rows.iter().all(|row| row.0 != *reference))
        .map(|(.., reference)| reference)
        .collect();
    json!({"matched": matched, "missing_here": missing_here, "missing_there": missing_there, "mismatched": mismatched})
}

/// The same facts out of the server's answer.
fn facts(report: &Value) -> Value {
    let list = |name: &str| report[name].as_array().unwrap().iter();
    let mismatched: BTreeMap<_, _> =
        list("mismatched").map(|fault| (fault["bank_reference"].as_str().unwrap(), &fault["reason"])).collect();
    json!({
        "matched": report["matched"],
        "missing_here": list("missing_here")
            .map(|row| json!([row["bank_reference"], row["amount"], row["currency"], row["status"]]))
            .collect::<Vec<_>>(),
        "missing_there": list("missing_there").map(|there| &there["bank_reference"]).collect::<Vec<_>>(),
        "mismatched": mismatched,
    })
}

/// A statement in one of its forms: columns in some order, quotes or none, either end of line, an empty line here and there.
fn written(rows: &[(String, u64, &'static str, &'static str)], style: u64) -> (&'static str, String) {
    let end = if style & 1 == 0 { "\n" } else { "\r\n" };
    if style & 2 == 0 {
        let lines = rows.iter().map(|(reference, amount, currency, status)| {
            let row = json!({"status": status, "amount": amount, "bank_reference": reference, "currency": currency});
            format!("{row}{end}")
        });
        return ("application/x-ndjson", lines.collect());
    }
    let quoted = |value: &str| {
        let must = value.contains([',', '"']);
        if must || style & 4 != 0 { format!("\"{}\"", value.replace('"', "\"\"")) } else { value.to_owned() }
    };
    let line = |values: [&str; 4]| {
        let mut values = values.map(quoted);
        values.rotate_left((style >> 3) as usize % 4);
        values.join(",") + end
    };
    let mut text = line(["bank_reference", "amount", "currency", "status"]);
    for (n, (reference, amount, currency, status)) in rows.iter().enumerate() {
        text += &line([reference, &amount.to_string(), currency, status]);
        if style >> 5 & 1 == 1 && n % 3 == 0 {
            text += end;
        }
    }
    if style >> 6 & 1 == 1 { (("text/csv"), text.trim_end().to_owned()) } else { ("text/csv", text) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_statement_is_compared_as_a_naive_reader_compares_it(
        drawn in prop::collection::vec((0..7_usize, 0..8_u64, 0..12_usize, 0..4_usize), 0..24),
        style in 0..128_u64,
        cuts in prop::collection::vec(0..40_usize, 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (server, made) = with_all_kinds().await;
            let rows: Vec<_> = drawn.iter().map(|&(whose, amount, currency, status)| {
                let (reference, right) = match made.get(whose) {
                    Some((_, right, reference)) => (reference.clone(), *right),
                    None => (["no, \"such\" é", "1-2-3"][whose - made.len()].to_owned(), 5),
                };
                // Mostly right, so that matches happen.
                let amount = if amount == 0 { right + 1 } else { right };
                let currency = if currency == 0 { "EUR" } else { "USD" };
                (reference, amount, currency, ["settled", "returned", "failed", "pending"][status])
            }).collect();
            let (kind, text) = written(&rows, style);
            let (mut pieces, mut rest) = (VecDeque::new(), Bytes::from(text.clone()));
            for cut in cuts.iter().cycle().take(200) {
                pieces.push_back(rest.split_to((*cut).min(rest.len())));
            }
            pieces.push_back(rest);
            let reply = reconcile(&server, kind, Body::new(Pieces { pieces, ends: true })).await;
            assert_eq!(reply.status, 200, "{text}: {}", reply.text);
            assert_eq!(facts(&reply.json()), naive(&made, &rows), "{text}");
            assert_eq!(reply.json()["rows"], rows.len());
        });
    }
}

/// A body that brings a byte now and then, for ever.
struct Drips(tokio::time::Interval);

impl http_body::Body for Drips {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_tick(cx).map(|_| Some(Ok(Frame::data(Bytes::from_static(b"x")))))
    }
}

#[tokio::test]
async fn a_statement_that_drips_in_is_given_up() {
    let stream_idle_deadline = Duration::from_millis(50);
    let server = Server::with(|ledger| ledger, |app| AppOptions { stream_idle_deadline, ..app });
    // Slow, but never silent for as long as it may be.
    let drips = Drips(tokio::time::interval(Duration::from_millis(10)));
    let asked = reconcile(&server, "text/csv", Body::new(drips));
    let reply = tokio::time::timeout(Duration::from_secs(10), asked).await.expect("it is given up");
    assert_eq!((reply.status, reply.code().as_str()), (408, "request_timeout"), "{}", reply.text);
}

#[tokio::test]
async fn clients_that_send_nothing_keep_no_statement_from_being_compared() {
    let (server, made) = with_all_kinds().await;
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
        let request = Request::post("/reconciliations").header("content-type", "text/csv");
        let request = request.body(Body::new(crate::socket::Channel(receiver))).unwrap();
        let mut http = server.http.clone();
        let mut answer = Box::pin(async move { tower_service::Service::call(&mut http, request).await });
        assert!(answer.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_pending());
        waiting.push((sender, answer));
    }
    let (_, amount, paid) = &made[1];
    assert_eq!(csv(&server, &format!("{paid},{amount},USD,settled\n")).await["matched"], 1);
}
