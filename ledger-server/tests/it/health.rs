//! Health, metrics, and what a panic leaves behind.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ledger_core::withdrawals::{AttemptClass, NoticeOutcome};
use ledger_server::app::AppOptions;
use ledger_server::config::{Config, Settings};
use ledger_server::payouts::Payouts;
use ledger_server::withdrawals::Figures;
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
        "ledger_withdrawal_attempts_total",
        "ledger_withdrawal_outcomes_total",
        "ledger_withdrawal_inquiries_total",
        "ledger_memory_bytes",
        "ledger_memory_unfilled_bytes",
        "ledger_memory_ahead_bytes",
        "ledger_memory_resident_bytes",
    ] {
        assert!(metrics.text.contains(&format!("# TYPE {name} ")), "{name}");
    }
    for line in metrics.text.lines().filter(|line| !line.starts_with('#')) {
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

#[tokio::test]
async fn metrics_tell_where_withdrawals_are() {
    let server = Server::new();
    server.charge(1, 1_000, "k").await;
    let [unknown, review, returned, late, _] = {
        let mut ids = [0; 5];
        for (n, id) in ids.iter_mut().enumerate() {
            *id = server.withdraw(1, 10, &format!("w{n}")).await;
        }
        ids
    };
    server.attempt(unknown, AttemptClass::Ambiguous);
    server.review(review);
    server.attempt(returned, AttemptClass::Settled);
    server.attempt(late, AttemptClass::Rejected);
    for (id, outcome) in [(returned, NoticeOutcome::Returned), (late, NoticeOutcome::Settled)] {
        let withdrawal = server.get(&format!("/withdrawals/{id}")).await.json();
        server.notice(withdrawal["bank_reference"].as_str().unwrap(), outcome);
    }
    server.clock.advance(std::time::Duration::from_secs(90));
    let metrics = server.get("/metrics").await;
    for line in [
        "ledger_withdrawals{substatus=\"reserved\"} 1",
        "ledger_withdrawals{substatus=\"unknown\"} 1",
        "ledger_withdrawals{substatus=\"needs_review\"} 1",
        "ledger_withdrawals{substatus=\"failed\"} 1",
        "ledger_withdrawals{substatus=\"returned\"} 1",
        "ledger_withdrawals_needs_review 1",
        "ledger_withdrawals_unknown_oldest_seconds 90",
        "ledger_withdrawal_discrepancies_total 1",
        "ledger_withdrawals_returned_total 1",
        "ledger_money{currency=\"USD\",part=\"reserved\"} 30",
        "ledger_system_money{currency=\"USD\",account=\"suspense\"} -10",
    ] {
        assert!(metrics.text.lines().any(|have| have == line), "{line} is not in\n{}", metrics.text);
    }
}

#[tokio::test]
async fn every_figure_that_an_alert_is_about_is_there() {
    let rules = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/alerts.yml")).unwrap();
    let metrics = Server::new().get("/metrics").await.text;
    let mut named = 0;
    for word in rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("ledger_"))
    {
        assert!(metrics.contains(&format!("# TYPE {word} ")), "{word} is in no answer of /metrics");
        named += 1;
    }
    assert!(named >= rules.matches("- alert:").count(), "each alert is about a figure");
}

#[tokio::test]
async fn metrics_count_rejections_by_code_wherever_they_are_answered() {
    let server = Server::new();
    let count = async |code: &str| {
        let metrics = server.get("/metrics").await.text;
        let name = format!("ledger_rejections_total{{code=\"{code}\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&name)).map(str::to_owned);
        value.unwrap_or_else(|| panic!("{name}is not in\n{metrics}")).parse::<u64>().unwrap()
    };
    // What other tests answer meanwhile is counted, too.
    let before = count("same_account").await;
    let transfer = |key: &str| json!({"from_user_id": 1, "to_user_id": 1, "amount": 1, "idempotency_key": key});
    let operation = |key: &str| {
        let mut operation = transfer(key);
        operation["type"] = json!("transfer");
        operation
    };
    server.post("/transfer", transfer("a")).await;
    server.post("/batch", json!({"operations": [operation("b"), operation("c")]})).await;
    let lines = axum::http::Request::post("/batch").header("content-type", "application/x-ndjson");
    server.call(lines.body(format!("{}\n", operation("d")).into()).unwrap()).await;
    assert!(count("same_account").await >= before + 4);
    for code in ["storage_full", "overloaded"] {
        count(code).await;
        let rules = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/alerts.yml")).unwrap();
        assert!(rules.contains(&format!("ledger_rejections_total{{code=\"{code}\"}}")), "{code}");
    }
}

#[tokio::test]
async fn places_that_nobody_gives_back_are_told_where_no_withdrawal_is_performed() {
    let places = |ledger: ledger_core::Options| ledger.withdrawal_places(Some(2));
    let server = Server::with(places, |app| AppOptions { workers: 1, queue: 1, ..app });
    server.charge(1, 50, "k").await;
    for n in 0..2 {
        server.withdraw(1, 1, &format!("w{n}")).await;
    }
    let third = server.post("/withdraw", json!({"user_id": 1, "amount": 1, "idempotency_key": "w2"})).await;
    assert_eq!((third.status, third.code().as_str()), (503, "queue_full"));
    let health = server.get("/health").await.json();
    assert_eq!((&health["executor"], &health["queue_length"]), (&json!("stopped"), &json!(1)), "{health}");
    let metrics = server.get("/metrics").await.text;
    for line in ["ledger_executor_running 0", "ledger_withdrawal_queue_length 1"] {
        assert!(metrics.lines().any(|have| have == line), "{line} is not in\n{metrics}");
    }
    let rules = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/alerts.yml")).unwrap();
    assert!(rules.contains("expr: ledger_executor_running == 0"));
}

/// An executor some of whose workers are held by retries, so that more wait than the queue has places.
struct Retrying;

impl Payouts for Retrying {
    fn in_flight(&self) -> usize {
        4
    }

    fn queue_length(&self) -> usize {
        6
    }

    fn figures(&self) -> Figures {
        Figures::default()
    }

    fn shutdown(&self, _timeout: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test]
async fn a_queue_is_never_told_to_be_longer_than_it_may_be() {
    let options = |app| AppOptions { workers: 4, queue: 4, payouts: Arc::new(Retrying), ..app };
    let server = Server::with(|ledger| ledger, options);
    let health = server.get("/health").await.json();
    assert_eq!((&health["queue_length"], &health["queue_capacity"]), (&json!(4), &json!(4)), "{health}");
    let metrics = server.get("/metrics").await.text;
    for line in ["ledger_executor_running 1", "ledger_withdrawal_queue_length 4"] {
        assert!(metrics.lines().any(|have| have == line), "{line} is not in\n{metrics}");
    }
}

/// What is logged while a test runs, on its thread.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Logged {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_checkpoint_by_itself_that_fails_on_a_full_disk_is_told() {
    let logged = Logged::default();
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let (server, full, directory) = Server::on_a_filling_disk_with_checkpoints();
    let flags = Settings { listen: Some("127.0.0.1:0".to_owned()), ..Settings::default() };
    let config = Config::resolve(Settings { data_dir: Some(directory.path().into()), ..flags }).unwrap();
    let listener = tokio::net::TcpListener::bind(config.listen).await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let ledger = server.ledger.clone();
    let running = tokio::spawn(async move {
        let until = async {
            let _ = stopped.await;
        };
        ledger_server::run(listener, ledger, &config, until).await.unwrap()
    });
    server.charge(1, 1, "first").await;
    // The next segment is there before the disk is full, so that the log comes to its beginning.
    while std::fs::read_dir(directory.path()).unwrap().filter(is_segment).count() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    full.store(true, Ordering::SeqCst);
    for n in 0.. {
        let charge = |m| json!({"type": "charge", "user_id": 1, "amount": 1, "idempotency_key": format!("{n} {m}")});
        let charges: Vec<_> = (0..100).map(charge).collect();
        let reply = server.post("/batch", json!({"operations": charges})).await.json();
        if reply["rejected"] != 0 {
            // Room that was promised and not used comes back, so what follows a refused one may be taken.
            let mut refused =
                reply["results"].as_array().unwrap().iter().filter_map(|result| result["error"]["code"].as_str());
            assert!(refused.all(|code| code == "storage_full"), "{reply}");
            break;
        }
    }
    let count = async || {
        let metrics = server.get("/metrics").await.text;
        let line = metrics.lines().find_map(|line| line.strip_prefix("ledger_checkpoint_failures_total "));
        line.expect("it is counted").parse::<u64>().unwrap()
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while (count().await == 0 || !logged.text().contains("a checkpoint failed")) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (failures, text) = (count().await, logged.text());
    assert!(failures > 0);
    let line = text.lines().find(|line| line.contains("a checkpoint failed")).expect("it is told");
    assert!(line.contains("WARN") && line.contains("no storage space"), "{line}");
    let health = server.get("/health").await;
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("ok")), "{}", health.text);

    full.store(false, Ordering::SeqCst);
    assert_eq!(server.post("/checkpoints", "").await.status, 200);
    assert_eq!(count().await, failures, "nothing failed since");
    stop.send(()).unwrap();
    assert_eq!(running.await.unwrap(), ledger_server::Ended::Cleanly);
}

fn is_segment(file: &std::io::Result<std::fs::DirEntry>) -> bool {
    file.as_ref().unwrap().path().extension().is_some_and(|end| end == "segment")
}
