//! Streams of operations, one a line.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use ledger_server::app::AppOptions;
use serde_json::{Value, json};

use crate::support::{Reply, Server};

fn request(body: impl Into<Body>) -> Request<Body> {
    Request::post("/batch").header("content-type", "application/x-ndjson").body(body.into()).unwrap()
}

fn lines(reply: &Reply) -> Vec<Value> {
    assert_eq!((reply.status, reply.header("content-type")), (200, "application/x-ndjson"));
    reply.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn charge(user: u64, amount: u64, key: &str) -> Value {
    json!({"type": "charge", "user_id": user, "amount": amount, "idempotency_key": key})
}

#[tokio::test]
async fn each_line_has_a_result_and_the_last_line_says_done() {
    let server = Server::new();
    let withdraw = json!({"type": "withdraw", "user_id": 1, "amount": 5, "idempotency_key": "w"});
    let body = format!(
        "{}\n\n{}\r\n{{\nnonsense\n[]\n{}\n{}",
        charge(1, 5, "a"),
        charge(1, 5, "a"),
        charge(1, 0, "z"),
        withdraw
    );
    let results = lines(&server.call(request(body)).await);
    let told: Vec<_> =
        results.iter().map(|r| (r["line"].as_u64(), r["status"].as_str(), r["error"]["code"].as_str())).collect();
    assert_eq!(
        told,
        [
            (Some(1), Some("completed"), None),
            (Some(3), Some("duplicate"), None),
            (Some(4), Some("rejected"), Some("invalid_json")),
            (Some(5), Some("rejected"), Some("invalid_json")),
            (Some(6), Some("rejected"), Some("invalid_request")),
            (Some(7), Some("rejected"), Some("invalid_amount")),
            (Some(8), Some("pending"), None),
            (None, None, None),
        ]
    );
    assert_eq!(
        results[7],
        json!({"done": true, "lines": 8, "completed": 1, "pending": 1, "duplicates": 1, "rejected": 4})
    );
    let empty = lines(&server.call(request("")).await);
    assert_eq!(
        empty,
        [json!({"done": true, "lines": 0, "completed": 0, "pending": 0, "duplicates": 0, "rejected": 0})]
    );
}

#[tokio::test]
async fn a_stream_is_of_any_length() {
    let server = Server::new();
    let body: String = (0..60_000).map(|n| format!("{}\n", charge(1 + n % 11, 1, &format!("key-{n}")))).collect();
    assert!(body.len() > 4 << 20, "longer than a batch may be");
    let results = lines(&server.call(request(body)).await);
    assert_eq!(results.len(), 60_001);
    assert!(results.iter().zip(1..).take(60_000).all(|(result, line)| result["line"] == line));
    assert_eq!((&results[60_000]["done"], &results[60_000]["completed"]), (&json!(true), &json!(60_000)));
}

#[tokio::test]
async fn a_line_too_long_ends_the_stream() {
    let server = Server::new();
    for end in ["", "\n", "\n{}\n"] {
        let long = format!("{}\n{}{end}", charge(1, 5, "a"), "x".repeat((64 << 10) + 1));
        let results = lines(&server.call(request(long)).await);
        assert_eq!(results.len(), 2, "{end:?}");
        assert_eq!((&results[1]["line"], &results[1]["error"]["code"]), (&json!(2), &json!("payload_too_large")));
    }
    let just = format!("{}{}\n", charge(1, 5, "b"), " ".repeat((64 << 10) - charge(1, 5, "b").to_string().len()));
    let results = lines(&server.call(request(just)).await);
    assert_eq!(results[0]["status"], "completed");
}

#[tokio::test]
async fn a_silent_stream_is_cut_off() {
    let server =
        Server::with(|ledger| ledger, |app| AppOptions { stream_idle_deadline: Duration::from_millis(20), ..app });
    let (sender, receiver) = tokio::sync::mpsc::channel::<bytes::Bytes>(4);
    sender.send(format!("{}\n{{\"type\":", charge(1, 5, "a")).into()).await.unwrap();
    let results = lines(&server.call(request(Body::new(crate::socket::Channel(receiver)))).await);
    assert_eq!(results[0]["status"], "completed");
    assert_eq!((&results[1]["error"]["code"], &results[1]["line"]), (&json!("request_timeout"), &json!(2)));
    assert_eq!(results.len(), 2, "no line says that it is done");
    drop(sender);
}

#[tokio::test]
async fn a_stream_takes_no_header_key_and_no_parameters() {
    let server = Server::new();
    let keyed = Request::post("/batch").header("content-type", "application/x-ndjson").header("idempotency-key", "k");
    assert_eq!(server.call(keyed.body(Body::empty()).unwrap()).await.code(), "invalid_idempotency_key");
    let asked = Request::post("/batch?atomic=true").header("content-type", "application/x-ndjson");
    assert_eq!(server.call(asked.body(Body::empty()).unwrap()).await.code(), "invalid_request");
}

#[tokio::test]
async fn a_stopping_server_ends_a_stream_without_done() {
    let server = Server::new();
    let (sender, receiver) = tokio::sync::mpsc::channel::<bytes::Bytes>(4);
    let app = server.app.clone();
    let feeding = tokio::spawn(async move {
        sender.send(format!("{}\n", charge(1, 5, "a")).into()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        app.stop();
        // The stop does not wait for the client, who keeps the stream open.
        sender.closed().await;
    });
    let results = lines(&server.call(request(Body::new(crate::socket::Channel(receiver)))).await);
    feeding.await.unwrap();
    assert_eq!(results[0]["status"], "completed");
    assert_eq!(results[1]["error"]["code"], "shutting_down");
    assert_eq!(results.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_waits_for_room_where_the_pipe_is_full() {
    let (server, gate, directory) = Server::on_a_slow_disk();
    server.fill_pipe(&gate, &directory).await;
    let withdraw = json!({"type": "withdraw", "user_id": 3, "amount": 5, "idempotency_key": "w".repeat(99)});
    let body = format!("{}\n{withdraw}\n", charge(3, 5, &"c".repeat(99)));
    let single = server.post("/charge", charge(3, 5, &"s".repeat(99)).to_string().replace("\"type\":\"charge\",", ""));
    assert_eq!(single.await.code(), "overloaded", "a single one is told");
    let opened = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(30)).await;
        gate.shut(false);
    });
    let reply = server.call(request(body)).await;
    opened.await.unwrap();
    let results = lines(&reply);
    let told: Vec<_> = results.iter().map(|result| result["status"].as_str()).collect();
    assert_eq!(told, [Some("completed"), Some("pending"), None], "{}", reply.text);
    assert_eq!(results[2]["done"], true);
}

#[tokio::test]
async fn a_stream_at_the_memory_limit_is_told_so_and_goes_on() {
    let server = Server::with(|ledger| ledger.memory_bytes_max(Some(1)), |app| app);
    // How often the engine looks at its memory is its own affair.
    for n in 0.. {
        let single = charge(1, 5, &n.to_string()).to_string().replace("\"type\":\"charge\",", "");
        if server.post("/charge", single).await.status != 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::pause();
    let body: String = (0..2_000).map(|n| format!("{}\n", charge(1, 5, &format!("late {n}")))).collect();
    let results = lines(&server.call(request(body)).await);
    assert!(results[..2_000].iter().all(|result| result["error"]["code"] == "overloaded"));
    assert_eq!((&results[2_000]["done"], &results[2_000]["rejected"]), (&json!(true), &json!(2_000)));
}
