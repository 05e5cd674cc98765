//! Health, metrics, and what a panic leaves behind.

use serde_json::json;

use crate::support::Server;

#[tokio::test]
async fn health_says_how_much_waits() {
    let server = Server::new();
    server.charge(1, 5, "k").await;
    let health = server.get("/health").await;
    assert_eq!(health.status, 200);
    let json = health.json();
    for (member, value) in [
        ("status", json!("ok")),
        ("queue_length", json!(0)),
        ("queue_capacity", json!(100)),
        ("workers", json!(50)),
        ("pending_withdrawals", json!(0)),
    ] {
        assert_eq!(json[member], value, "{member}");
    }
    assert!(json["durable_seq"].is_u64() && json["uptime_seconds"].is_u64(), "{json}");
}

#[tokio::test]
async fn metrics_count_requests_and_money() {
    let server = Server::new();
    server.charge(1, 50, "k").await;
    server.post("/charge", "{").await;
    server.post("/withdraw", json!({"user_id": 1, "amount": 20, "idempotency_key": "w"})).await;
    server.get("/nowhere").await;
    let metrics = server.get("/metrics").await;
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        "ledger_http_requests_total{route=\"/charge\",status=\"200\"} 1",
        "ledger_http_requests_total{route=\"/charge\",status=\"400\"} 1",
        "ledger_http_requests_total{route=\"/withdraw\",status=\"202\"} 1",
        "ledger_http_requests_total{route=\"other\",status=\"404\"} 1",
        "ledger_http_request_duration_seconds_count{route=\"/charge\"} 2",
        "ledger_withdrawals_pending 1",
        "ledger_withdrawal_queue_capacity 100",
        "ledger_money{currency=\"USD\",part=\"total\"} 50",
        "ledger_money{currency=\"USD\",part=\"withdrawable\"} 30",
        "ledger_money{currency=\"USD\",part=\"held\"} 0",
        "ledger_money{currency=\"USD\",part=\"reserved\"} 20",
        "ledger_accounts{currency=\"USD\"} 1",
        "ledger_halted 0",
    ] {
        assert!(metrics.text.lines().any(|have| have == line), "{line} is not in\n{}", metrics.text);
    }
    for name in [
        "ledger_commits_total",
        "ledger_fsync_duration_seconds",
        "ledger_commit_entries",
        "ledger_withdrawal_queue_length",
    ] {
        assert!(metrics.text.contains(&format!("# TYPE {name} ")), "{name}");
    }
    for line in metrics.text.lines().filter(|line| !line.starts_with('#')) {
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}
