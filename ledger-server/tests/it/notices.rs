//! What a bank tells by itself: signatures, repeats, and what is not believed.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use ledger_core::withdrawals::AttemptClass;
use ledger_server::app::AppOptions;
use ledger_server::withdrawals::NoticeSecret;
use serde_json::{Value, json};

use crate::support::{Reply, START_MICROS, Server};

const PATH: &str = "/withdrawals/notify";
const NOW: u64 = (START_MICROS / 1_000_000) as u64;

fn secret(text: &str) -> NoticeSecret {
    NoticeSecret::new(text.as_bytes()).unwrap()
}

fn current() -> NoticeSecret {
    secret("what the bank signs with")
}

/// Takes notices under a current secret and a former one. The first withdrawal's fate is unknown.
async fn server() -> (Server, u64, String) {
    let secrets = vec![secret("what the bank signed with"), current()];
    let server = Server::with(|ledger| ledger, |app| AppOptions { notice_secrets: secrets, ..app });
    server.charge(1, 100, "c").await;
    let id = server.withdraw(1, 30, "w").await;
    server.attempt(id, AttemptClass::Ambiguous);
    let reference =
        server.get(&format!("/withdrawals/{id}")).await.json()["bank_reference"].as_str().unwrap().to_owned();
    (server, id, reference)
}

fn notice(reference: &str, outcome: &str) -> String {
    json!({"bank_reference": reference, "outcome": outcome, "occurred_at": "2024-01-10T10:00:01Z"}).to_string()
}

async fn send(server: &Server, path: &str, body: &str, signature: &str) -> Reply {
    let request = Request::post(path).header("content-type", "application/json").header("ledger-signature", signature);
    server.call(request.body(Body::from(body.to_owned())).unwrap()).await
}

async fn signed(server: &Server, path: &str, body: &str) -> Reply {
    send(server, path, body, &current().sign(NOW, body.as_bytes())).await
}

async fn substatus(server: &Server, id: u64) -> Value {
    server.get(&format!("/withdrawals/{id}")).await.json()["substatus"].clone()
}

#[tokio::test]
async fn a_notice_ends_a_withdrawal_and_its_repeats_change_nothing() {
    let (server, id, reference) = server().await;
    let body = notice(&reference, "settled");
    let told = signed(&server, PATH, &body).await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(
        told.json(),
        json!({"bank_reference": reference, "status": "completed", "substatus": "completed", "change": "changed"})
    );
    let seq = server.get("/audit").await.json()["seq"].clone();
    for path in [PATH.to_owned(), format!("/withdrawals/{id}/notify")] {
        let repeat = signed(&server, &path, &body).await;
        assert_eq!((repeat.status, &repeat.json()["change"]), (200, &json!("repeat")), "{}", repeat.text);
    }
    assert_eq!(server.get("/audit").await.json()["seq"], seq, "a repeat records nothing");
    let notices = server.get(&format!("/withdrawals/{id}")).await.json()["notices"].clone();
    assert_eq!(notices[0]["evidence"], body, "what was signed is kept word for word");
    assert_eq!(notices[0]["occurred_at"], "2024-01-10T10:00:01Z");
}

#[tokio::test]
async fn every_outcome_is_told_and_a_contradiction_is_kept() {
    let (server, id, reference) = server().await;
    let change = async |outcome| {
        let told = signed(&server, PATH, &notice(&reference, outcome)).await.json();
        (told["change"].as_str().unwrap().to_owned(), told["substatus"].as_str().unwrap().to_owned())
    };
    assert_eq!(change("pending").await, ("changed".into(), "accepted".into()));
    assert_eq!(change("failed").await, ("changed".into(), "failed".into()));
    assert_eq!(server.get("/balance?user_id=1").await.json()["withdrawable"], 100);
    assert_eq!(change("settled").await, ("discrepancy".into(), "failed".into()));
    let withdrawal = server.get(&format!("/withdrawals/{id}")).await.json();
    assert_eq!(
        (&withdrawal["discrepancies"][0]["by"], &withdrawal["discrepancies"][0]["posted"]),
        (&json!("notice"), &json!(true))
    );
    let audit = server.get("/audit?deep=true").await.json();
    assert_eq!((&audit["balanced"], &audit["currencies"][0]["suspense"]), (&json!(true), &json!(-30)));
}

#[tokio::test]
async fn money_that_came_back_is_a_credit_of_its_own() {
    let (server, id, reference) = server().await;
    signed(&server, PATH, &notice(&reference, "settled")).await;
    assert_eq!(server.get("/balance?user_id=1").await.json()["total"], 70);
    let told = signed(&server, PATH, &notice(&reference, "returned")).await.json();
    assert_eq!((&told["status"], &told["substatus"]), (&json!("completed"), &json!("returned")));
    assert_eq!(server.get("/balance?user_id=1").await.json()["total"], 100);
    let list = server.get("/transactions?user_id=1&type=return").await.json();
    let credit = &list["transactions"][0];
    assert_eq!(
        (&credit["type"], &credit["direction"], &credit["amount"], &credit["returns"]),
        (&json!("return"), &json!("credit"), &json!(30), &json!(id))
    );
    let returned = server.get(&format!("/withdrawals/{id}")).await.json()["returned"].clone();
    assert_eq!((&returned["transaction_id"], &returned["credit"]), (&credit["id"], &json!("user")));
}

#[tokio::test]
async fn only_a_fresh_signature_of_this_body_under_a_live_secret_is_believed() {
    let (server, id, reference) = server().await;
    let body = notice(&reference, "settled");
    let good = current().sign(NOW, body.as_bytes());
    let (time, tag) = good.split_once(",v1=").unwrap();
    let bad = [
        String::new(),
        "nonsense".to_owned(),
        time.to_owned(),
        format!("v1={tag}"),
        format!("{time},v1="),
        format!("{time},v1={}", &tag[1..]),
        format!("{time},v1={}", &tag[..62]),
        format!("{time},v1={tag}00"),
        format!("{time},v1={}", tag.replace(|c: char| c.is_ascii_digit(), "0")),
        format!("{time},v1=x{}", &tag[1..]),
        format!("{time},v0={tag}"),
        format!("{time},{time},v1={tag}"),
        format!("t={},v1={tag}", NOW + 1),
        format!("t=0{NOW},v1={tag}"),
        format!("t=-{NOW},v1={tag}"),
        secret("what a stranger signs with").sign(NOW, body.as_bytes()),
        current().sign(NOW, notice(&reference, "failed").as_bytes()),
        current().sign(NOW - 301, body.as_bytes()),
        current().sign(NOW + 301, body.as_bytes()),
        current().sign(0, body.as_bytes()),
        current().sign(u64::MAX, body.as_bytes()),
    ];
    for signature in bad {
        let reply = send(&server, PATH, &body, &signature).await;
        assert_eq!((reply.status, reply.code().as_str()), (401, "unauthenticated"), "{signature}");
        assert_eq!(reply.header("www-authenticate"), "Ledger-Signature");
    }
    let unsigned = server.post(PATH, &body).await;
    assert_eq!((unsigned.status, unsigned.code().as_str()), (401, "unauthenticated"));
    let twice = Request::post(PATH).header("content-type", "application/json");
    let twice = twice.header("ledger-signature", &good).header("ledger-signature", &good);
    assert_eq!(server.call(twice.body(Body::from(body.clone())).unwrap()).await.code(), "unauthenticated");
    assert_eq!(substatus(&server, id).await, "unknown", "nothing of it was believed");
    for signature in [
        secret("what the bank signed with").sign(NOW - 300, body.as_bytes()),
        format!("{time},v1={},v1={tag}", "0".repeat(64)),
        format!("{time}, v1={tag}"),
        format!("{time},v1={}", tag.to_uppercase()),
        current().sign(NOW + 300, body.as_bytes()),
    ] {
        assert_eq!(send(&server, PATH, &body, &signature).await.status, 200, "{signature}");
    }
    assert_eq!(substatus(&server, id).await, "completed");
}

#[tokio::test]
async fn a_notice_that_somebody_kept_is_too_old_soon_and_never_another_withdrawals() {
    let (server, id, reference) = server().await;
    let other = server.withdraw(1, 30, "w2").await;
    server.attempt(other, AttemptClass::Ambiguous);
    let body = notice(&reference, "settled");
    let signature = current().sign(NOW, body.as_bytes());
    let reply = send(&server, &format!("/withdrawals/{other}/notify"), &body, &signature).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_request"));
    assert_eq!(reply.json()["field"], "bank_reference");
    assert_eq!(substatus(&server, other).await, "unknown");
    server.clock.advance(Duration::from_secs(300));
    assert_eq!(send(&server, &format!("/withdrawals/{id}/notify"), &body, &signature).await.status, 200);
    server.clock.advance(Duration::from_secs(1));
    assert_eq!(send(&server, PATH, &body, &signature).await.code(), "unauthenticated");
}

#[tokio::test]
async fn malformed_notices_have_their_codes() {
    let (server, id, reference) = server().await;
    let other_ledger = format!("{}-1-{id}", "0".repeat(32));
    let with = |name: &str, value: Value| {
        let mut body: Value = serde_json::from_str(&notice(&reference, "settled")).unwrap();
        body[name] = value;
        body.to_string()
    };
    let cases = [
        ("{".to_owned(), 400, "invalid_json", ""),
        ("[]".to_owned(), 400, "invalid_request", ""),
        ("{}".to_owned(), 400, "invalid_request", "bank_reference"),
        (with("idempotency_key", json!("k")), 400, "invalid_request", "idempotency_key"),
        (with("bank_reference", json!(5)), 400, "invalid_request", "bank_reference"),
        (with("bank_reference", json!("x")), 400, "invalid_request", "bank_reference"),
        (with("bank_reference", json!(reference.to_uppercase() + "0x")), 400, "invalid_request", "bank_reference"),
        (with("outcome", json!("completed")), 400, "invalid_request", "outcome"),
        (with("outcome", json!(null)), 400, "invalid_request", "outcome"),
        (with("occurred_at", json!("now")), 400, "invalid_request", "occurred_at"),
        (with("occurred_at", json!(1_704_880_800)), 400, "invalid_request", "occurred_at"),
        (with("bank_reference", json!(other_ledger)), 404, "transaction_not_found", ""),
        (with("bank_reference", json!(format!("{reference}0"))), 404, "transaction_not_found", ""),
    ];
    for (body, status, code, field) in cases {
        let reply = signed(&server, PATH, &body).await;
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{body}: {}", reply.text);
        assert_eq!(reply.json()["field"].as_str().unwrap_or_default(), field, "{body}");
        assert_eq!(
            server.post(PATH, &body).await.code(),
            "unauthenticated",
            "who cannot sign learns nothing of the body"
        );
    }
    let body = notice(&reference, "settled");
    for id in ["0", "x", "007"] {
        let reply = signed(&server, &format!("/withdrawals/{id}/notify"), &body).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "transaction_not_found"), "{id}");
    }
    let reply = signed(&server, "/withdrawals/notify?x=1", &body).await;
    assert_eq!(reply.code(), "invalid_request");
    let plain = Request::post(PATH).header("content-type", "text/plain").body(Body::from(body.clone())).unwrap();
    assert_eq!(server.call(plain).await.code(), "unsupported_media_type");
    assert_eq!(signed(&server, PATH, &" ".repeat((64 << 10) + 1)).await.code(), "payload_too_large");
    let reply = server.get(PATH).await;
    assert_eq!((reply.code().as_str(), reply.header("allow")), ("method_not_allowed", "POST"));
    assert_eq!(substatus(&server, id).await, "unknown");
}

#[tokio::test]
async fn without_a_secret_there_are_no_notices() {
    let server = Server::new();
    for path in [PATH, "/withdrawals/1/notify"] {
        let reply = signed(&server, path, "{}").await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "not_found"), "{path}");
        assert!(reply.text.contains("--bank-webhook-secret-file"), "{}", reply.text);
    }
}
