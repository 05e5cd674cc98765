//! Every code that these endpoints can give, and every way to be malformed.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use crate::support::{Server, next_segment, post};

const LARGE: usize = 64 << 10;

#[tokio::test]
async fn malformed_bodies_have_their_codes_and_fields() {
    let server = Server::new();
    let charge = |members: &str| format!("{{\"user_id\":1,\"amount\":5,\"idempotency_key\":\"k\"{members}}}");
    let long = "x".repeat(256);
    let cases: Vec<(&str, String, &str, &str)> = vec![
        ("/charge", String::new(), "invalid_json", ""),
        ("/charge", "{".into(), "invalid_json", ""),
        ("/charge", "nonsense".into(), "invalid_json", ""),
        ("/charge", charge("") + "x", "invalid_json", ""),
        ("/charge", charge("") + "{}", "invalid_json", ""),
        ("/charge", format!("\u{feff}{}", charge("")), "invalid_json", ""),
        ("/charge", charge(",\"metadata\":{\"a\":01}"), "invalid_json", ""),
        ("/charge", charge(",\"x\":\"\\ud800\""), "invalid_json", ""),
        ("/charge", "[]".into(), "invalid_request", ""),
        ("/charge", "null".into(), "invalid_request", ""),
        ("/charge", "\"a\"".into(), "invalid_request", ""),
        ("/charge", charge(",\"relase_at\":1"), "invalid_request", "relase_at"),
        ("/charge", charge(",\"User_id\":1"), "invalid_request", "User_id"),
        ("/charge", charge(",\"type\":\"charge\""), "invalid_request", "type"),
        ("/charge", charge(",\"destination\":\"d\""), "invalid_request", "destination"),
        ("/charge", charge(",\"user_id\":1"), "invalid_request", "user_id"),
        ("/charge", charge(",\"\\u0061mount\":5"), "invalid_request", "amount"),
        ("/charge", charge(",\"metadata\":5"), "invalid_request", "metadata"),
        ("/charge", charge(",\"metadata\":{\"a\":1}"), "invalid_request", "metadata"),
        ("/charge", charge(",\"metadata\":{\"a\":\"1\",\"a\":\"2\"}"), "invalid_request", "metadata"),
        (
            "/charge",
            charge(&format!(",\"metadata\":{{\"a\":\"{}\"}}", "x".repeat(1024))),
            "invalid_request",
            "metadata",
        ),
        ("/charge", "{}".into(), "invalid_request", "user_id"),
        ("/charge", "{\"user_id\":null}".into(), "invalid_user_id", "user_id"),
        ("/charge", "{\"user_id\":1}".into(), "invalid_request", "amount"),
        ("/charge", "{\"user_id\":1,\"amount\":1}".into(), "missing_idempotency_key", "idempotency_key"),
        (
            "/charge",
            "{\"user_id\":1,\"amount\":1,\"idempotency_key\":5}".into(),
            "invalid_idempotency_key",
            "idempotency_key",
        ),
        (
            "/charge",
            "{\"user_id\":1,\"amount\":1,\"idempotency_key\":\"\"}".into(),
            "invalid_idempotency_key",
            "idempotency_key",
        ),
        (
            "/charge",
            "{\"user_id\":1,\"amount\":1,\"idempotency_key\":\"a\\n\"}".into(),
            "invalid_idempotency_key",
            "idempotency_key",
        ),
        (
            "/charge",
            format!("{{\"user_id\":1,\"amount\":1,\"idempotency_key\":\"{long}\"}}"),
            "invalid_idempotency_key",
            "idempotency_key",
        ),
        ("/charge", charge(",\"currency\":5"), "invalid_currency", "currency"),
        ("/charge", charge(",\"currency\":\"usd\""), "invalid_currency", "currency"),
        ("/charge", charge(",\"currency\":\"GBP\""), "invalid_currency", "currency"),
        ("/charge", charge(",\"release_at\":1705320000"), "invalid_release_at", "release_at"),
        ("/charge", charge(",\"release_at\":\"tomorrow\""), "invalid_release_at", "release_at"),
        ("/charge", charge(",\"release_at\":\"2024-02-30T00:00:00Z\""), "invalid_release_at", "release_at"),
        ("/charge", charge(",\"release_at\":\"10000-01-01T00:00:00Z\""), "invalid_release_at", "release_at"),
        ("/charge", charge(",\"release_at\":\"2024-01-15T12:00:00\""), "invalid_release_at", "release_at"),
        ("/withdraw", charge(",\"release_at\":\"2024-01-15T12:00:00Z\""), "invalid_request", "release_at"),
        ("/withdraw", charge(",\"destination\":5"), "invalid_request", "destination"),
        ("/withdraw", charge(",\"destination\":\"\""), "invalid_request", "destination"),
        ("/withdraw", charge(&format!(",\"destination\":\"{long}\"")), "invalid_request", "destination"),
        ("/transfer", charge(""), "invalid_request", "user_id"),
        ("/transfer", "{\"from_user_id\":0,\"to_user_id\":0}".into(), "invalid_user_id", "from_user_id"),
        ("/transfer", "{\"from_user_id\":1,\"to_user_id\":0}".into(), "invalid_user_id", "to_user_id"),
        ("/transfer", "{\"from_user_id\":1}".into(), "invalid_request", "to_user_id"),
    ];
    for (path, body, code, field) in cases {
        let reply = server.post(path, &body).await;
        let json = reply.json();
        assert_eq!((reply.status, reply.code().as_str()), (400, code), "{path} {body}: {}", reply.text);
        assert_eq!(
            json.get("field").map_or("", |field| field.as_str().unwrap()),
            field,
            "{path} {body}: {}",
            reply.text
        );
    }
    for bad in ["\"5\"", "1.5", "5.0", "5e0", "-1", "0", "9007199254740992", "1e400", "true", "null", "[]", "{}"] {
        let reply =
            server.post("/charge", format!("{{\"user_id\":1,\"amount\":{bad},\"idempotency_key\":\"k\"}}")).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_amount"), "{bad}");
        let reply =
            server.post("/charge", format!("{{\"user_id\":{bad},\"amount\":1,\"idempotency_key\":\"k\"}}")).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_user_id"), "{bad}");
    }
    let reply = server
        .call(post("/charge", Body::from(&b"{\"user_id\":1,\"amount\":5,\"idempotency_key\":\"\xff\"}"[..])))
        .await;
    assert_eq!(reply.code(), "invalid_json", "bytes that are not UTF-8");
    let audit = server.get("/audit").await.json();
    assert_eq!(audit["seq"], 0, "none of these was recorded");
}

#[tokio::test]
async fn keys_of_header_and_body_must_agree() {
    let server = Server::new();
    let body = |key: &str| format!("{{\"user_id\":1,\"amount\":5{key}}}");
    let cases: [(&[&[u8]], &str, &str); 6] = [
        (&[b"a"], ",\"idempotency_key\":\"b\"", "invalid_idempotency_key"),
        (&[b"a", b"a"], "", "invalid_idempotency_key"),
        (&[b""], "", "invalid_idempotency_key"),
        (&[b"\xff"], "", "invalid_idempotency_key"),
        (&[&[b'x'; 256]], "", "invalid_idempotency_key"),
        (&[], "", "missing_idempotency_key"),
    ];
    for (headers, key, code) in cases {
        let mut request = Request::post("/charge").header("content-type", "application/json");
        for header in headers {
            request = request.header("idempotency-key", *header);
        }
        let reply = server.call(request.body(Body::from(body(key))).unwrap()).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, code), "{headers:?} {key}");
        assert_eq!(reply.json()["field"], "idempotency_key");
    }
}

#[tokio::test]
async fn faults_are_looked_for_in_the_order_of_the_contract() {
    let server = Server::new();
    let request = |method: &str, kind: &str, body: String| {
        Request::builder()
            .method(method)
            .uri("/charge?x=1")
            .header("content-type", kind)
            .body(Body::from(body))
            .unwrap()
    };
    let steps = [
        ("PUT", "text/plain", "{".repeat(LARGE + 1), 405, "method_not_allowed"),
        ("POST", "text/plain", "{".repeat(LARGE + 1), 415, "unsupported_media_type"),
        ("POST", "application/json", "{".repeat(LARGE + 1), 413, "payload_too_large"),
        ("POST", "application/json", "{".into(), 400, "invalid_json"),
        ("POST", "application/json", "{\"y\":1,\"user_id\":\"1\"}".into(), 400, "invalid_request"),
        ("POST", "application/json", "{\"user_id\":\"1\"}".into(), 400, "invalid_request"),
    ];
    let mut fields = Vec::new();
    for (method, kind, body, status, code) in steps {
        let reply = server.call(request(method, kind, body)).await;
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{method} {kind}");
        fields.push(reply.json()["field"].as_str().unwrap_or_default().to_owned());
    }
    assert_eq!(fields, ["", "", "", "", "y", "x"]);
    let reply = server.post("/charge", "{\"user_id\":\"1\"}").await;
    assert_eq!(reply.code(), "invalid_user_id");
}

#[tokio::test]
async fn media_types_are_declared() {
    let server = Server::new();
    let body = json!({"user_id": 1, "amount": 5, "idempotency_key": "k"}).to_string();
    let call = |path: &str, headers: &[(&str, &str)]| {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        server.call(request.body(Body::from(body.clone())).unwrap())
    };
    for kind in ["text/plain", "application/jsonx", "application/x-ndjson", "application/problem+json", "", ";"] {
        assert_eq!(call("/charge", &[("content-type", kind)]).await.code(), "unsupported_media_type", "{kind}");
    }
    assert_eq!(call("/charge", &[]).await.code(), "unsupported_media_type");
    assert_eq!(call("/batch", &[("content-type", "text/csv")]).await.code(), "unsupported_media_type");
    let zipped = [("content-type", "application/json"), ("content-encoding", "gzip")];
    assert_eq!(call("/charge", &zipped).await.code(), "unsupported_media_type");
    for kind in ["Application/JSON", "application/json;charset=utf-8", " application/json ; a=b"] {
        let reply = call("/charge", &[("content-type", kind)]).await;
        assert!(matches!(reply.status, 200 | 409), "{kind}: {}", reply.text);
    }
}

#[tokio::test]
async fn sizes_have_limits() {
    let server = Server::new();
    let padded = |length: usize| {
        let body = json!({"user_id": 1, "amount": 5, "idempotency_key": "k"}).to_string();
        format!("{body}{}", " ".repeat(length - body.len()))
    };
    assert_eq!(server.post("/charge", padded(LARGE)).await.status, 200);
    let reply = server.post("/charge", padded(LARGE + 1)).await;
    assert_eq!((reply.status, reply.code()), (413, "payload_too_large".to_owned()));
    let declared =
        Request::post("/charge").header("content-type", "application/json").header("content-length", 1 << 30);
    assert_eq!(server.call(declared.body(Body::empty()).unwrap()).await.status, 413);
    let reply = server.post("/batch", " ".repeat((4 << 20) + 1)).await;
    assert_eq!((reply.status, reply.code()), (413, "payload_too_large".to_owned()));
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let server = Server::new();
    for path in ["/", "/charges", "/charge/", "/transactions/", "/transactions/1/2", "/%00", "/favicon.ico"] {
        let reply = server.get(path).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "not_found"), "{path}");
    }
    for (method, path, allow) in [
        ("GET", "/charge", "POST"),
        ("HEAD", "/charge", "POST"),
        ("OPTIONS", "/withdraw", "POST"),
        ("DELETE", "/transfer", "POST"),
        ("PUT", "/batch", "POST"),
        ("POST", "/balance", "GET,HEAD"),
        ("POST", "/transactions", "GET,HEAD"),
        ("PATCH", "/transactions/1", "GET,HEAD"),
        ("POST", "/health", "GET,HEAD"),
        ("POST", "/audit", "GET,HEAD"),
        ("BREW", "/metrics", "GET,HEAD"),
    ] {
        let reply = server.call(Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await;
        assert_eq!((reply.status, reply.header("allow")), (405, allow), "{method} {path}");
        if method != "HEAD" {
            assert_eq!(reply.code(), "method_not_allowed");
        }
    }
}

#[tokio::test]
async fn bad_parameters_are_named() {
    let server = Server::new();
    server.charge(1, 5, "k").await;
    let cases = [
        ("/balance", "invalid_request", "user_id"),
        ("/balance?user=1", "invalid_request", "user"),
        ("/balance?user_id=1&user_id=1", "invalid_request", "user_id"),
        ("/balance?user_id=", "invalid_user_id", "user_id"),
        ("/balance?user_id=0", "invalid_user_id", "user_id"),
        ("/balance?user_id=1.0", "invalid_user_id", "user_id"),
        ("/balance?user_id=%2B1", "invalid_user_id", "user_id"),
        ("/balance?user_id=9007199254740992", "invalid_user_id", "user_id"),
        ("/balance?user_id=1&currency=usd", "invalid_currency", "currency"),
        ("/balance?user_id=1&currency=GBP", "invalid_currency", "currency"),
        ("/balance?user_id=1&at=now", "invalid_request", "at"),
        ("/balance?user_id=1&page=1", "invalid_request", "page"),
        ("/transactions", "invalid_request", "user_id"),
        ("/transactions?page=1", "invalid_request", "user_id"),
        ("/transactions?user_id=x", "invalid_user_id", "user_id"),
        ("/transactions?user_id=1&page=0", "invalid_page", "page"),
        ("/transactions?user_id=1&page=-1", "invalid_page", "page"),
        ("/transactions?user_id=1&page=x", "invalid_page", "page"),
        ("/transactions?user_id=1&page=99999999999999999999", "invalid_page", "page"),
        ("/transactions?user_id=1&limit=0", "invalid_page", "limit"),
        ("/transactions?user_id=1&limit=101", "invalid_page", "limit"),
        ("/transactions?user_id=1&limit=ten", "invalid_page", "limit"),
        ("/transactions?user_id=1&page=1&cursor=x", "invalid_page", "cursor"),
        ("/transactions?user_id=1&cursor=x", "invalid_cursor", "cursor"),
        ("/transactions?user_id=1&cursor=", "invalid_cursor", "cursor"),
        ("/transactions?user_id=1&type=chargeback", "invalid_request", "type"),
        ("/transactions?user_id=1&status=done", "invalid_request", "status"),
        ("/transactions?user_id=1&order=up", "invalid_request", "order"),
        ("/transactions?user_id=1&from=x", "invalid_request", "from"),
        ("/transactions?user_id=1&to=x", "invalid_request", "to"),
        ("/transactions?user_id=1&currency=x", "invalid_currency", "currency"),
        ("/transactions?idempotency_key=", "invalid_idempotency_key", "idempotency_key"),
        ("/transactions?idempotency_key=%ff", "invalid_request", "idempotency_key"),
        ("/transactions?user_id=1&sort=x", "invalid_request", "sort"),
        ("/transactions/1?user_id=x", "invalid_user_id", "user_id"),
        ("/transactions/1?x=1", "invalid_request", "x"),
        ("/health?x=1", "invalid_request", "x"),
        ("/metrics?x=1", "invalid_request", "x"),
        ("/audit?deep=1", "invalid_request", "deep"),
        ("/audit?depp=true", "invalid_request", "depp"),
    ];
    for (path, code, field) in cases {
        let reply = server.get(path).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, code), "{path}: {}", reply.text);
        assert_eq!(reply.json()["field"], field, "{path}: {}", reply.text);
    }
    for id in ["0", "01", "-1", "x", "2", "9007199254740993", "99999999999999999999999", "1%20", "%ff"] {
        let reply = server.get(&format!("/transactions/{id}")).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "transaction_not_found"), "{id}");
    }
}

#[tokio::test]
async fn a_halted_ledger_answers_health_and_metrics_alone() {
    let (server, broken, directory) = Server::on_a_failing_disk();
    server.charge(1, 5, "k").await;
    next_segment(&directory).await;
    broken.store(true, Ordering::SeqCst);
    let reply = server.post("/charge", json!({"user_id": 1, "amount": 5, "idempotency_key": "lost"})).await;
    assert_eq!((reply.status, reply.code()), (500, "outcome_unknown".to_owned()));
    for (method, path) in [
        ("POST", "/charge"),
        ("GET", "/balance?user_id=1"),
        ("GET", "/nowhere"),
        ("POST", "/balance"),
        ("GET", "/audit"),
    ] {
        let reply = server.call(Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await;
        assert_eq!((reply.status, reply.code().as_str()), (503, "halted"), "{method} {path}");
    }
    let health = server.get("/health").await;
    assert_eq!((health.status, &health.json()["status"]), (503, &json!("halted")));
    let metrics = server.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.text.contains("\nledger_halted 1\n"));
}

#[tokio::test]
async fn a_stopping_server_answers_health_and_metrics_alone() {
    let server = Server::new();
    server.app.stop();
    let reply = server.post("/charge", json!({"user_id": 1, "amount": 5, "idempotency_key": "k"})).await;
    assert_eq!((reply.status, reply.code()), (503, "shutting_down".to_owned()));
    assert_eq!(server.get("/balance?user_id=1").await.code(), "shutting_down");
    let health = server.get("/health").await;
    assert_eq!((health.status, &health.json()["status"]), (503, &json!("shutting_down")));
    assert_eq!(server.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn a_closed_ledger_is_shutting_down() {
    let server = Server::new();
    server.ledger.close().unwrap();
    let reply = server.post("/charge", json!({"user_id": 1, "amount": 5, "idempotency_key": "k"})).await;
    assert_eq!((reply.status, reply.code()), (503, "shutting_down".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_and_answers_reads_until_there_is_room() {
    let (server, full, _directory) = Server::on_a_filling_disk();
    full.store(true, std::sync::atomic::Ordering::Relaxed);
    let charge = |number: u32| format!(r#"{{"user_id":1,"amount":1,"idempotency_key":"charge {number}"}}"#);
    let mut accepted = 0;
    let refused = loop {
        let reply = server.post("/charge", charge(accepted)).await;
        match reply.status {
            200 => accepted += 1,
            _ => break reply,
        }
        assert!(accepted < 10_000, "a segment of 1 MiB is not that long");
    };
    assert_eq!((refused.status, refused.code().as_str()), (507, "storage_full"));
    assert_eq!(server.post("/charge", charge(0)).await.code(), "duplicate_request");
    assert_eq!(server.get("/balance?user_id=1").await.json()["total"], accepted);
    let batch =
        format!(r#"{{"operations":[{}]}}"#, r#"{"type":"charge","user_id":1,"amount":1,"idempotency_key":"b"}"#);
    assert_eq!(server.post("/batch", batch).await.json()["results"][0]["error"]["code"], "storage_full");
    full.store(false, std::sync::atomic::Ordering::Relaxed);
    // The disk is looked at again a while after it was last found full.
    while server.post("/charge", charge(accepted)).await.status != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(server.get("/audit?deep=true").await.json()["balanced"], true);
}
