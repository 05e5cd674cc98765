//! Batches of operations, each for itself or all or none.

use axum::body::Body;
use axum::http::Request;
use ledger_server::app::AppOptions;
use serde_json::{Value, json};

use crate::support::Server;

fn charge(user: u64, amount: u64, key: &str) -> Value {
    json!({"type": "charge", "user_id": user, "amount": amount, "idempotency_key": key})
}

#[tokio::test]
async fn each_operation_sees_those_before_it_and_has_a_result() {
    let server = Server::new();
    let operations = json!([
        charge(1, 100, "a"),
        {"type": "transfer", "from_user_id": 1, "to_user_id": 2, "amount": 60, "idempotency_key": "b"},
        {"type": "withdraw", "user_id": 2, "amount": 50, "idempotency_key": "c"},
        {"type": "withdraw", "user_id": 2, "amount": 50, "idempotency_key": "d"},
        charge(1, 100, "a"),
        charge(1, 101, "a"),
        {"type": "charge", "user_id": 1, "amount": "5", "idempotency_key": "e"},
        {"type": "refund", "user_id": 1, "amount": 5, "idempotency_key": "f"},
        {"user_id": 1, "amount": 5, "idempotency_key": "g"},
        {"type": "charge", "user_id": 1, "amount": 5, "idempotency_key": "h", "destination": "d"},
        {"type": "charge", "user_id": 1, "amount": 5, "idempotency_key": "i", "nonsense": 1},
        {"type": "charge", "user_id": 1, "amount": 5},
    ]);
    let reply = server.post("/batch", json!({"operations": operations, "atomic": null})).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let json = reply.json();
    let statuses: Vec<_> = json["results"].as_array().unwrap().iter().map(|r| r["status"].as_str().unwrap()).collect();
    assert_eq!(statuses[..6], ["completed", "completed", "pending", "rejected", "duplicate", "rejected"]);
    assert!(statuses[6..].iter().all(|status| *status == "rejected"));
    assert_eq!(
        (&json["completed"], &json["pending"], &json["duplicates"], &json["rejected"]),
        (&json!(2), &json!(1), &json!(1), &json!(8))
    );
    assert_eq!(json["results"][4]["transaction"]["id"], json["results"][0]["transaction_id"]);
    let errors: Vec<_> = [3, 5, 6, 7, 8, 9, 10, 11]
        .map(|index| {
            let error = &json["results"][index]["error"];
            assert!(error.get("title").is_none() && error["detail"].is_string() && error["status"].is_u64(), "{error}");
            (error["code"].as_str().unwrap(), error["field"].as_str().unwrap_or_default())
        })
        .to_vec();
    assert_eq!(
        errors,
        [
            ("insufficient_balance", "amount"),
            ("idempotency_key_reused", "idempotency_key"),
            ("invalid_amount", "amount"),
            ("invalid_request", "type"),
            ("invalid_request", "type"),
            ("invalid_request", "destination"),
            ("invalid_request", "nonsense"),
            ("missing_idempotency_key", "idempotency_key"),
        ]
    );
    assert_eq!(json["results"][3]["error"]["withdrawable"], 10);
}

#[tokio::test]
async fn an_atomic_batch_is_all_or_none() {
    let server = Server::new();
    let bad = json!({"operations": [charge(1, 5, "a"), {"type": "withdraw", "user_id": 1, "amount": 9, "idempotency_key": "b"}], "atomic": true});
    let reply = server.post("/batch", bad).await;
    assert_eq!((reply.status, reply.code()), (422, "batch_rejected".to_owned()));
    let json = reply.json();
    assert_eq!((&json["index"], &json["error"]["code"]), (&json!(1), &json!("insufficient_balance")));
    assert_eq!(server.get("/balance?user_id=1").await.json()["total"], 0);
    let ill = json!({"operations": [charge(1, 5, "a"), charge(1, 0, "b")], "atomic": true});
    let reply = server.post("/batch", ill).await.json();
    assert_eq!(
        (&reply["code"], &reply["index"], &reply["error"]["field"]),
        (&json!("batch_rejected"), &json!(1), &json!("amount"))
    );
    let good = json!({"operations": [charge(1, 5, "a"), {"type": "withdraw", "user_id": 1, "amount": 5, "idempotency_key": "b"}], "atomic": true});
    let first = server.post("/batch", &good).await;
    assert_eq!(first.status, 200, "{}", first.text);
    let json = first.json();
    assert_eq!(
        (&json["results"][0]["status"], &json["results"][1]["status"]),
        (&json!("completed"), &json!("pending"))
    );
    assert_eq!((&json["completed"], &json["pending"]), (&json!(1), &json!(1)));
    let again = server.post("/batch", &good).await;
    assert_eq!((again.status, again.json()), (200, json), "a repeat is answered as the batch was");
    assert_eq!(again.header("idempotent-replayed"), "true");
    let mixed = json!({"operations": [charge(1, 7, "x"), charge(1, 5, "a")], "atomic": true});
    let reply = server.post("/batch", mixed).await.json();
    assert_eq!((&reply["index"], &reply["error"]["code"]), (&json!(1), &json!("duplicate_request")));
    assert_eq!(server.get("/balance?user_id=1").await.json()["total"], 5);
}

#[tokio::test]
async fn a_body_of_another_shape_is_refused_as_a_whole() {
    let server = Server::new();
    let one = charge(1, 5, "k").to_string();
    let cases = [
        ("".to_owned(), 400, "invalid_json", ""),
        (format!("{{\"operations\":[{one},]}}"), 400, "invalid_json", ""),
        (format!("{{\"operations\":[{one}]}}]"), 400, "invalid_json", ""),
        ("[]".to_owned(), 400, "invalid_request", ""),
        ("{}".to_owned(), 400, "invalid_request", "operations"),
        ("{\"operations\":null}".to_owned(), 400, "invalid_request", "operations"),
        ("{\"operations\":{}}".to_owned(), 400, "invalid_request", "operations"),
        ("{\"operations\":[]}".to_owned(), 400, "invalid_request", "operations"),
        (format!("{{\"operations\":[{one},5]}}"), 400, "invalid_request", "operations"),
        (format!("{{\"operations\":[{one}],\"operations\":[]}}"), 400, "invalid_request", "operations"),
        (format!("{{\"operations\":[{one}],\"atomic\":\"true\"}}"), 400, "invalid_request", "atomic"),
        (format!("{{\"operations\":[{one}],\"atomic\":true,\"atomic\":true}}"), 400, "invalid_request", "atomic"),
        (format!("{{\"operations\":[{one}],\"all\":true}}"), 400, "invalid_request", "all"),
        (format!("{{\"operations\":[{}{{}}]}}", "{},".repeat(10_000)), 413, "payload_too_large", "operations"),
    ];
    for (body, status, code, field) in cases {
        let reply = server.post("/batch", &body).await;
        let shown = &body[..body.len().min(80)];
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{shown}");
        assert_eq!(reply.json().get("field").map_or("", |field| field.as_str().unwrap()), field, "{shown}");
    }
    let request = Request::post("/batch").header("content-type", "application/json").header("idempotency-key", "k");
    let body = json!({"operations": [charge(1, 5, "k")]}).to_string();
    let reply = server.call(request.body(Body::from(body)).unwrap()).await;
    assert_eq!((reply.status, reply.code()), (400, "invalid_idempotency_key".to_owned()));
    assert_eq!(server.post("/batch?x=1", json!({"operations": [charge(1, 5, "k")]})).await.json()["field"], "x");
    assert_eq!(server.get("/audit").await.json()["seq"], 0, "none of these was recorded");
}

#[tokio::test]
async fn ten_thousand_operations_go_at_once() {
    let server = Server::new();
    let operations: Vec<_> = (0..10_000).map(|n| charge(1 + n % 7, 1, &format!("k{n}"))).collect();
    let reply = server.post("/batch", json!({"operations": operations})).await;
    assert_eq!((reply.status, &reply.json()["completed"]), (200, &json!(10_000)));
    let audit = server.get("/audit").await.json();
    assert_eq!(audit["currencies"][0]["total"], 10_000);
}

#[tokio::test]
async fn as_much_as_a_batch_may_be_is_taken_where_the_log_has_small_segments() {
    let directory = tempfile::tempdir().unwrap();
    let (server, _) = Server::on_a_disk(&directory, |ledger| ledger.segment_bytes(1 << 20), |app| app);
    let metadata = json!({"note": "x".repeat(300)});
    // Each on an account of its own: what was refused before another one on its account was accepted stays refused.
    let operations: Vec<_> = (0..10_000)
        .map(|n| json!({"type": "charge", "user_id": 1 + n, "amount": 1, "idempotency_key": format!("k{n}"), "metadata": metadata}))
        .collect();
    let body = json!({"operations": operations}).to_string();
    assert!(body.len() > 3_800_000 && body.len() < 4 << 20, "{}", body.len());
    let reply = server.post("/batch", body).await.json();
    assert_eq!((&reply["completed"], &reply["rejected"]), (&json!(10_000), &json!(0)));
    // An atomic one lies in one frame, so it is told what fits.
    let operations: Vec<_> = (0..10_000).map(|n| charge(1, 1, &format!("a{n}"))).collect();
    let reply = server.post("/batch", json!({"operations": operations, "atomic": true})).await;
    assert_eq!((reply.status, reply.code()), (413, "payload_too_large".to_owned()));
    assert!(reply.text.contains("fit in one frame"), "{}", reply.text);
}

#[tokio::test]
async fn large_bodies_have_only_so_much_memory_together() {
    let options = |app| AppOptions { large_bodies_bytes_max: 1 << 20, ..app };
    let server = Server::with(|ledger| ledger, options);
    let half = format!("{{\"operations\":[{}]", vec![charge(1, 5, "k").to_string(); 4_500].join(","));
    assert!(half.len() > 256 << 10 && half.len() < 512 << 10, "{}", half.len());
    // Most of a body, and then silence.
    let (sender, receiver) = tokio::sync::mpsc::channel::<bytes::Bytes>(1);
    sender.try_send(half.clone().into()).unwrap();
    let request = Request::post("/batch").header("content-type", "application/json");
    let mut http = server.http.clone();
    let request = request.body(Body::new(crate::socket::Channel(receiver))).unwrap();
    let mut stalled = Box::pin(async move { tower_service::Service::call(&mut http, request).await });
    let waker = std::task::Waker::noop();
    assert!(stalled.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending());
    let refused = server.post("/batch", format!("{half}}}")).await;
    assert_eq!((refused.status, refused.code().as_str(), refused.header("retry-after")), (503, "overloaded", "1"));
    assert_eq!(server.post("/batch", json!({"operations": [charge(1, 5, "small")]})).await.json()["completed"], 1);
    drop(stalled);
    for _ in 0..3 {
        let reply = server.post("/batch", format!("{half}}}")).await;
        assert_eq!(
            (reply.status, &reply.json()["duplicates"]),
            (200, &json!(if reply.json()["completed"] == 1 { 4_499 } else { 4_500 }))
        );
    }
}
