//! Charges, transfers and withdrawals, and what a repeat of them is told.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use crate::support::{Server, post};

#[tokio::test]
async fn a_charge_is_answered_with_its_transaction_and_the_balance() {
    let server = Server::new();
    let reply = server.post("/charge", json!({"user_id": 123, "amount": 5000, "idempotency_key": "c1"})).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "application/json"));
    assert_eq!(
        reply.json(),
        json!({
            "message": "charged", "idempotency_key": "c1",
            "transaction": {
                "id": 1, "user_id": 123, "currency": "USD", "amount": 5000, "type": "charge", "direction": "credit",
                "status": "completed", "idempotency_key": "c1", "created_at": "2024-01-10T10:00:00Z"
            },
            "balance": {
                "user_id": 123, "currency": "USD", "total": 5000, "withdrawable": 5000, "held": 0, "reserved": 0,
                "next_release_at": null, "seq": 1
            }
        })
    );
}

#[tokio::test]
async fn a_hold_is_shown_until_it_matures() {
    let server = Server::new();
    let body = json!({"user_id": 1, "amount": 5, "idempotency_key": "h", "release_at": "2024-01-10T13:00:00+02:00"});
    let reply = server.post("/charge", body).await.json();
    assert_eq!(reply["transaction"]["release_at"], "2024-01-10T11:00:00Z");
    assert_eq!((&reply["balance"]["held"], &reply["balance"]["withdrawable"]), (&json!(5), &json!(0)));
    assert_eq!(reply["balance"]["next_release_at"], "2024-01-10T11:00:00Z");
    server.clock.advance(Duration::from_secs(3600));
    let balance = server.get("/balance?user_id=1").await.json();
    assert_eq!((&balance["held"], &balance["withdrawable"]), (&json!(0), &json!(5)));
    assert_eq!(balance["next_release_at"], json!(null));
    let past = json!({"user_id": 1, "amount": 5, "idempotency_key": "p", "release_at": "2020-01-01T00:00:00Z"});
    let reply = server.post("/charge", past).await.json();
    assert_eq!(reply["transaction"].get("release_at"), None, "a release in the past is no hold");
}

#[tokio::test]
async fn a_transfer_shows_the_senders_view_and_the_receiver_has_one_of_its_own() {
    let server = Server::new();
    server.charge(1, 100, "c").await;
    let body = json!({"from_user_id": 1, "to_user_id": 2, "amount": 40, "idempotency_key": "t", "metadata": {"b": "2", "a": "1"}});
    let reply = server.post("/transfer", body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(reply.text.contains(r#""metadata":{"a":"1","b":"2"}"#), "{}", reply.text);
    let json = reply.json();
    assert_eq!(json["message"], "transferred");
    assert_eq!(
        (&json["transaction"]["direction"], &json["transaction"]["counterparty_user_id"]),
        (&json!("debit"), &json!(2))
    );
    assert_eq!((&json["balance"]["user_id"], &json["balance"]["total"]), (&json!(1), &json!(60)));
    let id = &json["transaction"]["id"];
    assert_eq!(server.get(&format!("/transactions/{id}")).await.json(), json["transaction"]);
    let other = server.get(&format!("/transactions/{id}?user_id=2")).await.json();
    assert_eq!(
        (&other["direction"], &other["counterparty_user_id"], &other["user_id"]),
        (&json!("credit"), &json!(1), &json!(2))
    );
    assert_eq!(server.get(&format!("/transactions/{id}?user_id=3")).await.code(), "transaction_not_found");
}

#[tokio::test]
async fn a_withdrawal_is_accepted_and_reserved() {
    let server = Server::new();
    server.charge(1, 100, "c").await;
    let body = json!({"user_id": 1, "amount": 30, "idempotency_key": "w", "destination": "DE02 1203"});
    let reply = server.post("/withdraw", body).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    let json = reply.json();
    let id = &json["transaction"]["id"];
    assert_eq!(reply.header("location"), format!("/transactions/{id}"));
    assert_eq!((&json["message"], &json["status"]), (&json!("withdrawal request submitted"), &json!("pending")));
    let transaction = &json["transaction"];
    assert_eq!((&transaction["type"], &transaction["status"]), (&json!("withdrawal"), &json!("pending")));
    assert_eq!((&transaction["substatus"], &transaction["attempts"]), (&json!("reserved"), &json!(0)));
    assert_eq!(transaction["failure_reason"], json!(null));
    assert!(transaction["bank_reference"].as_str().unwrap().ends_with(&format!("-{id}")));
    assert_eq!((&json["balance"]["reserved"], &json["balance"]["withdrawable"]), (&json!(30), &json!(70)));
    assert_eq!(&server.get(&format!("/transactions/{id}")).await.json(), transaction);
    assert_eq!(server.get("/health").await.json()["pending_withdrawals"], 1);
}

#[tokio::test]
async fn a_currency_has_an_account_of_its_own() {
    let server = Server::new();
    server.charge(1, 100, "c").await;
    let reply =
        server.post("/charge", json!({"user_id": 1, "amount": 7, "currency": "EUR", "idempotency_key": "e"})).await;
    assert_eq!(reply.json()["balance"]["total"], 7);
    assert_eq!(server.get("/balance?user_id=1&currency=EUR").await.json()["total"], 7);
    assert_eq!(server.get("/balance?user_id=1").await.json()["total"], 100);
}

#[tokio::test]
async fn a_repeat_is_told_of_the_original_as_it_stands_now() {
    let server = Server::new();
    let body = json!({"user_id": 1, "amount": 5, "idempotency_key": "k", "release_at": "2024-02-01T00:00:00Z"});
    let first = server.post("/charge", &body).await.json();
    // The same instant in another offset, and the default currency in words, are the same command.
    let again = json!({"currency": "USD", "idempotency_key": "k", "amount": 5, "user_id": 1, "release_at": "2024-02-01T01:00:00+01:00"});
    let reply = server.post("/charge", again).await;
    assert_eq!((reply.status, reply.code()), (409, "duplicate_request".to_owned()));
    assert_eq!(reply.json()["transaction"], first["transaction"]);
    let reply = server.post("/charge", json!({"user_id": 1, "amount": 6, "idempotency_key": "k"})).await;
    assert_eq!((reply.status, reply.code()), (422, "idempotency_key_reused".to_owned()));
    assert_eq!(reply.json()["transaction"], first["transaction"]);
    assert_eq!(server.get("/balance?user_id=1").await.json()["total"], 5);
}

#[tokio::test]
async fn a_repeat_can_be_replayed_with_the_first_status_and_shape() {
    let server = Server::with(|ledger| ledger, |app| ledger_server::app::AppOptions { replay_duplicates: true, ..app });
    server.charge(1, 100, "c").await;
    let body = json!({"user_id": 1, "amount": 30, "idempotency_key": "w"});
    let first = server.post("/withdraw", &body).await;
    server.charge(1, 1, "more").await;
    let again = server.post("/withdraw", &body).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (202, "true"));
    assert_eq!(first.header("idempotent-replayed"), "");
    assert_eq!(again.header("location"), first.header("location"));
    let (first, again) = (first.json(), again.json());
    assert_eq!(first["transaction"], again["transaction"]);
    let members = |json: &serde_json::Value| json.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(members(&first), members(&again));
    assert_eq!((&first["balance"]["total"], &again["balance"]["total"]), (&json!(100), &json!(101)));
    let other = server.post("/withdraw", json!({"user_id": 1, "amount": 31, "idempotency_key": "w"})).await;
    assert_eq!(other.code(), "idempotency_key_reused");
}

#[tokio::test]
async fn a_rejected_command_leaves_its_key_free() {
    let server = Server::new();
    let body = json!({"user_id": 1, "amount": 5, "idempotency_key": "w"});
    let reply = server.post("/withdraw", &body).await;
    assert_eq!((reply.status, reply.code()), (422, "insufficient_balance".to_owned()));
    assert_eq!(reply.json()["withdrawable"], 0);
    server.charge(1, 5, "c").await;
    assert_eq!(server.post("/withdraw", &body).await.status, 202);
}

#[tokio::test]
async fn the_key_may_come_in_the_header_and_is_taken_raw() {
    let server = Server::new();
    let with_key = |body: serde_json::Value, key: &str| {
        Request::post("/charge")
            .header("content-type", "application/json; charset=utf-8")
            .header("idempotency-key", key.as_bytes())
            .body(Body::from(body.to_string()))
            .unwrap()
    };
    let reply = server.call(with_key(json!({"user_id": 1, "amount": 5}), "\"quoted\"")).await;
    assert_eq!(reply.json()["idempotency_key"], "\"quoted\"");
    let reply = server.call(with_key(json!({"user_id": 1, "amount": 5, "idempotency_key": "é"}), "é")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let reply = server.call(with_key(json!({"user_id": 1, "amount": 5, "idempotency_key": null}), "n")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

#[tokio::test]
async fn the_ledgers_own_reasons_have_their_codes_in_order() {
    let server = Server::with(|ledger| ledger.withdrawal_places(Some(1)), |app| app);
    server.charge(1, 9_007_199_254_740_991, "c").await;
    let cases = [
        ("/charge", json!({"user_id": 1, "amount": 1, "idempotency_key": "a"}), 422, "balance_overflow"),
        (
            "/transfer",
            json!({"from_user_id": 1, "to_user_id": 1, "amount": 1, "idempotency_key": "a"}),
            422,
            "same_account",
        ),
        (
            "/transfer",
            json!({"from_user_id": 2, "to_user_id": 1, "amount": 1, "idempotency_key": "a"}),
            422,
            "insufficient_balance",
        ),
        ("/withdraw", json!({"user_id": 2, "amount": 1, "idempotency_key": "a"}), 422, "insufficient_balance"),
    ];
    for (path, body, status, code) in cases {
        let reply = server.post(path, &body).await;
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{body}");
    }
    let first = json!({"user_id": 1, "amount": 1, "idempotency_key": "w"});
    assert_eq!(server.post("/withdraw", &first).await.status, 202);
    let reply = server.post("/withdraw", json!({"user_id": 2, "amount": 1, "idempotency_key": "x"})).await;
    assert_eq!((reply.status, reply.code()), (503, "queue_full".to_owned()), "the place comes before the balance");
    assert_eq!(reply.header("retry-after"), "1");
    assert_eq!(server.post("/withdraw", &first).await.code(), "duplicate_request", "a repeat is never 503");
    assert_eq!(server.get("/balance?user_id=1").await.json()["reserved"], 1);
}

#[tokio::test]
async fn at_the_memory_limit_writes_are_refused_and_reads_go_on() {
    let server = Server::with(|ledger| ledger.memory_bytes_max(Some(1)), |app| app);
    let mut reply = server.post("/charge", json!({"user_id": 1, "amount": 1, "idempotency_key": "k"})).await;
    // How often the engine looks at its memory is its own affair.
    for attempt in 0..100 {
        if reply.status != 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        let body = json!({"user_id": 1, "amount": 1, "idempotency_key": format!("k{attempt}")});
        reply = server.post("/charge", body).await;
    }
    assert_eq!((reply.status, reply.code()), (503, "overloaded".to_owned()));
    assert_eq!(reply.header("retry-after"), "1");
    assert_eq!(server.get("/balance?user_id=1").await.status, 200);
}

#[tokio::test]
async fn a_dropped_request_cancels_nothing() {
    let server = Server::new();
    let body = json!({"user_id": 1, "amount": 5, "idempotency_key": "k"}).to_string();
    {
        let mut http = server.http.clone();
        let mut answer = std::pin::pin!(tower_call(&mut http, post("/charge", body.clone())));
        let waker = std::task::Waker::noop();
        let _ = std::future::Future::poll(answer.as_mut(), &mut std::task::Context::from_waker(waker));
    }
    let reply = server.post("/charge", body).await;
    assert!(matches!(reply.status, 200 | 409), "{}", reply.text);
    assert_eq!(server.get("/balance?user_id=1").await.json()["total"], 5);
}

fn tower_call(http: &mut ledger_server::app::Http, request: Request<Body>) -> ledger_server::app::Answer {
    tower::Service::call(http, request)
}
