//! Withdrawals in lists and one by one, and what operators decide of them.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use ledger_core::withdrawals::{AttemptClass, InquiryAnswer};
use ledger_server::app::AppOptions;
use serde_json::{Value, json};

use crate::support::{Reply, Server, post};

fn ids(list: &Value) -> Vec<u64> {
    list["withdrawals"].as_array().unwrap().iter().map(|withdrawal| withdrawal["id"].as_u64().unwrap()).collect()
}

fn cancel(id: impl std::fmt::Display) -> String {
    format!("/withdrawals/{id}/cancel")
}

fn resolve(id: impl std::fmt::Display) -> String {
    format!("/withdrawals/{id}/resolve")
}

fn resolution(outcome: &str, key: &str) -> Value {
    json!({"outcome": outcome, "evidence": "the bank's letter of today", "operator": "grace", "idempotency_key": key})
}

/// A server with one withdrawal of each of these lives: reserved, submitting, unknown, needs_review, failed, completed.
async fn in_all_states() -> (Server, [u64; 6]) {
    let server = Server::new();
    server.charge(1, 1_000, "c").await;
    let mut ids = [0; 6];
    for (n, id) in ids.iter_mut().enumerate() {
        *id = server.withdraw(1, 10, &format!("w{n}")).await;
    }
    let [_, submitting, unknown, review, failed, completed] = ids;
    server.start_attempt(submitting);
    server.attempt(unknown, AttemptClass::Ambiguous);
    server.review(review);
    server.attempt(failed, AttemptClass::Rejected);
    server.attempt(completed, AttemptClass::Settled);
    (server, ids)
}

#[tokio::test]
async fn withdrawals_are_listed_oldest_first_and_filtered() {
    let (server, [reserved, submitting, unknown, review, failed, completed]) = in_all_states().await;
    server.clock.advance(Duration::from_secs(600));
    let young = server.withdraw(1, 10, "young").await;
    let all = [reserved, submitting, unknown, review, failed, completed, young];
    let cases: [(&str, &[u64]); 14] = [
        ("", &all),
        ("?status=pending", &[reserved, submitting, unknown, review, young]),
        ("?status=completed", &[completed]),
        ("?status=failed", &[failed]),
        ("?substatus=reserved", &[reserved, young]),
        ("?substatus=needs_review", &[review]),
        ("?substatus=unknown&status=pending", &[unknown]),
        ("?substatus=unknown&status=failed", &[]),
        ("?older_than=5m", &all[..6]),
        ("?older_than=1h", &[]),
        ("?older_than=2024-01-10T10:00:00Z", &[]),
        ("?older_than=2024-01-10T11:00:00.000001%2B01:00", &all[..6]),
        ("?older_than=10m&status=pending", &[]),
        ("?older_than=599s&status=pending&limit=100", &[reserved, submitting, unknown, review]),
    ];
    for (query, expected) in cases {
        let list = server.get(&format!("/withdrawals{query}")).await;
        assert_eq!((list.status, ids(&list.json())), (200, expected.to_vec()), "{query}");
    }
    let list = server.get("/withdrawals?limit=3").await.json();
    assert_eq!((ids(&list), &list["limit"]), (all[..3].to_vec(), &json!(3)));
}

#[tokio::test]
async fn a_cursor_walks_over_all_withdrawals_and_belongs_to_its_list() {
    let server = Server::new();
    server.charge(1, 1_000, "c").await;
    let mut all = Vec::new();
    for n in 0..7 {
        all.push(server.withdraw(1, 5, &format!("w{n}")).await);
    }
    let (mut walked, mut query) = (Vec::new(), "?limit=3".to_owned());
    let first = server.get("/withdrawals?limit=3").await.json()["next_cursor"].as_str().unwrap().to_owned();
    loop {
        let page = server.get(&format!("/withdrawals{query}")).await.json();
        walked.extend(ids(&page));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("?limit=3&cursor={cursor}");
    }
    assert_eq!(walked, all);
    let of_another_list = server.get("/transactions?user_id=1&limit=1&order=asc").await.json();
    let of_another_ledger = {
        let other = Server::new();
        other.charge(1, 1_000, "c").await;
        for n in 0..4 {
            other.withdraw(1, 5, &format!("w{n}")).await;
        }
        other.get("/withdrawals?limit=3").await.json()["next_cursor"].as_str().unwrap().to_owned()
    };
    for foreign in [of_another_list["next_cursor"].as_str().unwrap(), &of_another_ledger, &first[1..], "x", ""] {
        let reply = server.get(&format!("/withdrawals?cursor={foreign}")).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_cursor"), "{foreign}");
    }
}

#[tokio::test]
async fn a_list_is_asked_for_with_known_parameters() {
    let server = Server::new();
    for (query, code) in [
        ("status=open", "invalid_request"),
        ("substatus=gone", "invalid_request"),
        ("older_than=yesterday", "invalid_request"),
        ("older_than=5", "invalid_request"),
        ("older_than=-5m", "invalid_request"),
        ("limit=0", "invalid_page"),
        ("limit=101", "invalid_page"),
        ("limit=x", "invalid_page"),
        ("page=1", "invalid_request"),
        ("status=failed&status=failed", "invalid_request"),
    ] {
        let reply = server.get(&format!("/withdrawals?{query}")).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, code), "{query}");
        assert_eq!(reply.json()["field"], query.split('=').next().unwrap(), "{query}");
    }
    assert_eq!(server.get("/withdrawals/1?x=1").await.code(), "invalid_request");
}

#[tokio::test]
async fn a_withdrawal_tells_all_that_was_said_of_it() {
    let server = Server::new();
    server.charge(1, 100, "c").await;
    let body = json!({"user_id": 1, "amount": 30, "idempotency_key": "w", "destination": "DE89"});
    let made = server.post("/withdraw", body).await.json()["transaction"].clone();
    let id = made["id"].as_u64().unwrap();
    let path = format!("/withdrawals/{id}");
    let fresh = server.get(&path).await.json();
    assert_eq!(
        fresh,
        json!({"id": id, "user_id": 1, "currency": "USD", "amount": 30, "status": "pending", "substatus": "reserved",
               "bank_reference": made["bank_reference"], "failure_reason": null, "destination": "DE89",
               "created_at": "2024-01-10T10:00:00Z", "changed_at": "2024-01-10T10:00:00Z",
               "due_at": "2024-01-10T10:00:00Z", "maybe_paid": false, "attempts": [], "inquiries": [], "notices": [],
               "resolution": null, "returned": null, "discrepancies": [], "ending": null})
    );
    server.attempt(id, AttemptClass::Ambiguous);
    server.clock.advance(Duration::from_secs(10));
    server.inquire(id, InquiryAnswer::NotFound);
    let reply = server.post(&resolve(id), resolution("completed", "r")).await;
    assert_eq!((reply.status, &reply.json()["substatus"]), (200, &json!("completed")), "{}", reply.text);
    let told = server.get(&path).await.json();
    assert_eq!(
        told["attempts"],
        json!([{"attempt": 1, "started_at": "2024-01-10T10:00:00Z", "ended_at": "2024-01-10T10:00:00Z",
                "class": "ambiguous", "evidence": "the bank said ambiguous"}])
    );
    let inquiry = json!({"at": "2024-01-10T10:00:10Z", "answer": "not_found", "evidence": "the bank said not_found"});
    assert_eq!(told["inquiries"], json!([inquiry]));
    assert_eq!(
        told["resolution"],
        json!({"at": "2024-01-10T10:00:10Z", "outcome": "completed", "operator": "grace",
               "evidence": "the bank's letter of today"})
    );
    assert_eq!(told["ending"]["event"], "resolved");
    assert_eq!(
        (&told["status"], &told["maybe_paid"], &told["due_at"]),
        (&json!("completed"), &json!(true), &json!(null))
    );
    let contradiction = server.post(&resolve(id), resolution("failed", "r2")).await;
    assert_eq!((contradiction.status, contradiction.code().as_str()), (409, "already_resolved"));
    assert_eq!(contradiction.json()["withdrawal"]["substatus"], "completed");
    let discrepancies = server.get(&path).await.json()["discrepancies"].clone();
    assert_eq!(
        discrepancies,
        json!([{"at": "2024-01-10T10:00:10Z", "by": "operator", "said": "failed", "says": "released", "posted": false,
                "operator": "grace", "evidence": "the bank's letter of today"}])
    );
}

#[tokio::test]
async fn what_is_no_withdrawal_is_not_found() {
    let server = Server::new();
    let charge = server.charge(1, 5, "c").await.to_string();
    for id in [charge.as_str(), "0", "007", "x", "99", "9007199254740992", "-1", "%31"] {
        let reply = server.get(&format!("/withdrawals/{id}")).await;
        // A percent-encoded 1 is 1, which is the charge.
        assert_eq!((reply.status, reply.code().as_str()), (404, "transaction_not_found"), "{id}");
        for (path, body) in [(cancel(id), json!({"idempotency_key": "k"})), (resolve(id), resolution("failed", "k"))] {
            let reply = server.post(&path, body).await;
            assert_eq!((reply.status, reply.code().as_str()), (404, "transaction_not_found"), "{path}");
        }
    }
}

#[tokio::test]
async fn a_withdrawal_is_cancelled_before_its_first_attempt_and_not_after() {
    let (server, [reserved, submitting, unknown, review, failed, completed]) = in_all_states().await;
    let before = server.get("/balance?user_id=1").await.json();
    let reply = server.post(&cancel(reserved), json!({"idempotency_key": "k"})).await;
    let json = reply.json();
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(
        (&json["id"], &json["type"], &json["status"], &json["substatus"], &json["idempotency_key"]),
        (&json!(reserved), &json!("withdrawal"), &json!("failed"), &json!("cancelled"), &json!("w0"))
    );
    let after = server.get("/balance?user_id=1").await.json();
    assert_eq!(after["reserved"].as_u64().unwrap() + 10, before["reserved"].as_u64().unwrap());
    assert_eq!(after["withdrawable"].as_u64().unwrap(), before["withdrawable"].as_u64().unwrap() + 10);
    for id in [reserved, submitting, unknown, review, failed, completed] {
        let reply = server.post(&cancel(id), json!({"idempotency_key": format!("k{id}")})).await;
        assert_eq!((reply.status, reply.code().as_str()), (409, "not_cancellable"), "{}", reply.text);
        assert_eq!(reply.json()["withdrawal"]["id"], id);
    }
    assert_eq!(server.get("/balance?user_id=1").await.json()["withdrawable"], after["withdrawable"]);
}

#[tokio::test]
async fn an_operator_resolves_what_the_bank_does_not_tell() {
    let (server, [reserved, submitting, unknown, review, failed, completed]) = in_all_states().await;
    let told = |reply: &Reply| (reply.status, reply.json()["code"].as_str().unwrap_or_default().to_owned());
    let never = server.post(&resolve(reserved), resolution("failed", "ra")).await;
    assert_eq!(told(&never), (409, "never_attempted".to_owned()));
    let running = server.post(&resolve(submitting), resolution("failed", "ra")).await;
    assert_eq!(told(&running), (409, "attempt_under_way".to_owned()));
    let paid = server.post(&resolve(submitting), resolution("completed", "ra")).await;
    assert_eq!((paid.status, &paid.json()["substatus"]), (200, &json!("completed")), "that it paid can be known");
    let released = server.post(&resolve(unknown), resolution("failed", "rb")).await.json();
    assert_eq!((&released["status"], &released["substatus"]), (&json!("failed"), &json!("failed")));
    assert!(released["failure_reason"].as_str().unwrap().contains("the bank's letter"), "{released}");
    assert_eq!(server.post(&resolve(review), resolution("completed", "rc")).await.json()["substatus"], "completed");
    for (id, outcome) in [(failed, "failed"), (completed, "completed"), (review, "completed"), (failed, "completed")] {
        let reply = server.post(&resolve(id), resolution(outcome, &format!("d{id}{outcome}"))).await;
        assert_eq!(told(&reply), (409, "already_resolved".to_owned()), "{id} {outcome}");
    }
    let audit = server.get("/audit?deep=true").await.json();
    assert_eq!((&audit["balanced"], &audit["currencies"][0]["reserved"]), (&json!(true), &json!(10)));
}

#[tokio::test]
async fn a_decision_is_made_once_for_its_key() {
    let (server, [reserved, _, unknown, review, ..]) = in_all_states().await;
    assert_eq!(server.post(&resolve(review), resolution("failed", "r")).await.status, 200);
    let repeat = server.post(&resolve(review), resolution("failed", "r")).await;
    assert_eq!((repeat.status, repeat.code().as_str()), (409, "duplicate_request"));
    assert_eq!(
        (&repeat.json()["transaction"]["id"], &repeat.json()["transaction"]["substatus"]),
        (&json!(review), &json!("failed"))
    );
    let others = [
        (resolve(review), resolution("completed", "r")),
        (resolve(unknown), resolution("failed", "r")),
        (cancel(review), json!({"idempotency_key": "r"})),
        (cancel(reserved), json!({"idempotency_key": "w0"})),
        ("/charge".to_owned(), json!({"user_id": 1, "amount": 10, "idempotency_key": "r"})),
    ];
    for (path, body) in others {
        let reply = server.post(&path, &body).await;
        assert_eq!((reply.status, reply.code().as_str()), (422, "idempotency_key_reused"), "{path} {body}");
    }
    let by_header = Request::post(cancel(reserved)).header("content-type", "application/json");
    let by_header = by_header.header("idempotency-key", "h").body(Body::from("{}")).unwrap();
    assert_eq!(server.call(by_header).await.status, 200);
    let repeat = server.post(&cancel(reserved), json!({"idempotency_key": "h"})).await;
    assert_eq!((repeat.status, repeat.code().as_str()), (409, "duplicate_request"));
}

#[tokio::test]
async fn repeats_are_replayed_where_the_server_is_told_so() {
    let server = Server::with(|ledger| ledger, |app| AppOptions { replay_duplicates: true, ..app });
    server.charge(1, 100, "c").await;
    let [first, second] = [server.withdraw(1, 10, "w1").await, server.withdraw(1, 10, "w2").await];
    server.review(second);
    for (path, body) in
        [(cancel(first), json!({"idempotency_key": "k1"})), (resolve(second), resolution("failed", "k2"))]
    {
        let made = server.post(&path, &body).await;
        assert_eq!((made.status, made.header("idempotent-replayed")), (200, ""), "{}", made.text);
        let replayed = server.post(&path, &body).await;
        assert_eq!((replayed.status, replayed.header("idempotent-replayed")), (200, "true"), "{}", replayed.text);
        assert_eq!(replayed.json(), made.json());
    }
}

#[tokio::test]
async fn malformed_decisions_have_their_codes_in_the_order_of_the_fields() {
    let server = Server::new();
    let long = |length: usize| "x".repeat(length);
    let resolve = |body: Value| (resolve(7), body.to_string());
    let cancel = |body: &str| (cancel(7), body.to_owned());
    let base = resolution("failed", "k");
    let with = |name: &str, value: Value| {
        let mut body = base.clone();
        body[name] = value;
        body
    };
    let without = |name: &str| {
        let mut body = base.clone();
        body.as_object_mut().unwrap().remove(name);
        body
    };
    let cases = [
        (cancel(""), "invalid_json", ""),
        (cancel("[]"), "invalid_request", ""),
        (cancel("{\"id\":1}"), "invalid_request", "id"),
        (cancel("{\"amount\":1}"), "invalid_request", "amount"),
        (cancel("{\"idempotency_key\":\"a\",\"idempotency_key\":\"a\"}"), "invalid_request", "idempotency_key"),
        (cancel("{}"), "missing_idempotency_key", "idempotency_key"),
        (cancel("{\"idempotency_key\":null}"), "missing_idempotency_key", "idempotency_key"),
        (cancel("{\"idempotency_key\":1}"), "invalid_idempotency_key", "idempotency_key"),
        (resolve(json!({})), "invalid_request", "outcome"),
        (resolve(with("reason", json!("x"))), "invalid_request", "reason"),
        (resolve(without("outcome")), "invalid_request", "outcome"),
        (resolve(with("outcome", json!("settled"))), "invalid_request", "outcome"),
        (resolve(with("outcome", json!("Failed"))), "invalid_request", "outcome"),
        (resolve(with("outcome", json!(null))), "invalid_request", "outcome"),
        (resolve(json!({"outcome": "failed", "operator": 5, "idempotency_key": 5})), "invalid_request", "evidence"),
        (resolve(with("evidence", json!(""))), "invalid_request", "evidence"),
        (resolve(with("evidence", json!(long(1025)))), "invalid_request", "evidence"),
        (resolve(with("evidence", json!(["a"]))), "invalid_request", "evidence"),
        (resolve(json!({"outcome": "failed", "evidence": "e", "idempotency_key": 5})), "invalid_request", "operator"),
        (resolve(with("operator", json!(""))), "invalid_request", "operator"),
        (resolve(with("operator", json!(long(256)))), "invalid_request", "operator"),
        (resolve(without("idempotency_key")), "missing_idempotency_key", "idempotency_key"),
        (resolve(with("idempotency_key", json!(long(256)))), "invalid_idempotency_key", "idempotency_key"),
    ];
    for ((path, body), code, field) in cases {
        let reply = server.post(&path, &body).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, code), "{path} {body}: {}", reply.text);
        let named = reply.json()["field"].as_str().unwrap_or_default().to_owned();
        assert_eq!(named, field, "{path} {body}: {}", reply.text);
    }
    for path in [self::cancel(7), self::resolve(7)] {
        let plain = Request::post(&path).header("content-type", "text/plain").body(Body::from("{}")).unwrap();
        assert_eq!(server.call(plain).await.code(), "unsupported_media_type");
        assert_eq!(server.call(post(&path, vec![b' '; (64 << 10) + 1])).await.code(), "payload_too_large");
        let reply = server.get(&path).await;
        assert_eq!((reply.code().as_str(), reply.header("allow")), ("method_not_allowed", "POST"));
        let reply = server.post(&format!("{path}?x=1"), "{}").await;
        assert_eq!((reply.code().as_str(), &reply.json()["field"]), ("invalid_request", &json!("x")));
    }
    for path in ["/withdrawals", "/withdrawals/7"] {
        let reply = server.post(path, "{}").await;
        assert_eq!((reply.code().as_str(), reply.header("allow")), ("method_not_allowed", "GET,HEAD"));
    }
}

#[tokio::test]
async fn a_decision_on_a_broken_disk_has_an_unknown_outcome_and_then_none() {
    let (server, broken, _directory) = Server::on_a_failing_disk();
    server.charge(1, 100, "c").await;
    let id = server.withdraw(1, 10, "w").await;
    broken.store(true, std::sync::atomic::Ordering::SeqCst);
    let reply = server.post(&cancel(id), json!({"idempotency_key": "k"})).await;
    assert_eq!((reply.status, reply.code().as_str()), (500, "outcome_unknown"));
    for path in
        ["/withdrawals".to_owned(), format!("/withdrawals/{id}"), "/openapi.json".to_owned(), "/docs".to_owned()]
    {
        let reply = server.get(&path).await;
        assert_eq!((reply.status, reply.code().as_str()), (503, "halted"), "{path}");
    }
    for path in [cancel(id), resolve(id), "/withdrawals/notify".to_owned(), "/reconciliations".to_owned()] {
        let reply = server.post(&path, "{}").await;
        assert_eq!((reply.status, reply.code().as_str()), (503, "halted"), "{path}");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_decisions_and_a_stopping_server_everything() {
    let (server, full, _directory) = Server::on_a_filling_disk();
    server.charge(1, 1_000_000, "c").await;
    let id = server.withdraw(1, 10, "w").await;
    full.store(true, std::sync::atomic::Ordering::SeqCst);
    // Until the segment that is open has no room.
    for n in 0.. {
        let body = json!({"user_id": 1, "amount": 1, "idempotency_key": format!("k{n}")});
        if server.post("/charge", body).await.status == 507 {
            break;
        }
    }
    let reply = server.post(&cancel(id), json!({"idempotency_key": "k"})).await;
    assert_eq!((reply.status, reply.code().as_str()), (507, "storage_full"));
    server.app.stop();
    assert_eq!(server.post(&cancel(id), json!({"idempotency_key": "k"})).await.code(), "shutting_down");
    assert_eq!(server.get("/withdrawals").await.code(), "shutting_down");
}

#[tokio::test]
async fn a_key_that_was_used_for_a_decision_is_not_told_as_that_of_the_withdrawal() {
    let server = Server::new();
    server.charge(1, 100, "c").await;
    let id = server.withdraw(1, 10, "the key of the withdrawal").await;
    let decision = json!({"idempotency_key": "the key of the decision"});
    assert_eq!(server.post(&cancel(id), &decision).await.status, 200);
    let charge = json!({"user_id": 1, "amount": 1, "idempotency_key": "the key of the decision"});
    for (path, body, code) in
        [(cancel(id), decision, "duplicate_request"), ("/charge".to_owned(), charge, "idempotency_key_reused")]
    {
        let reply = server.post(&path, body).await;
        assert_eq!(reply.code(), code);
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(!detail.contains("the key of the withdrawal"), "{detail}");
        assert!(detail.contains(&format!("transaction {id}")), "{detail}");
    }
}
