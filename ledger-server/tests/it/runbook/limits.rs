//! A server that does not start as it was told to, or has no room for more.

use std::time::Duration;

use ledger_core::{Amount, Charge, Clock, IdempotencyKey, Ledger, SystemClock, Timestamp, UserId};
use serde_json::json;

use super::page::Page;
use super::shell::{Shell, until};

const SERVE: &str = "ledger-server --data-dir ledger-data";

/// The machine's clock, set wrong by so many seconds.
struct Wrong(i64);

impl Clock for Wrong {
    fn wall(&self) -> Timestamp {
        Timestamp::from_micros(SystemClock.wall().micros() + self.0 * 1_000_000).unwrap()
    }

    fn monotonic(&self) -> Duration {
        SystemClock.monotonic()
    }
}

#[test]
fn a_clock_that_is_refused() {
    let page = Page::of("The clock is refused");
    page.says("more than a minute behind the last entry, or more than thirty days ahead of it");
    // Seen from the last entry, this machine's clock is ten minutes behind, or forty days ahead.
    for (entry_is_ahead, said) in [(600, "60 s before"), (-40 * 86_400, "30 days after")] {
        let shell = Shell::new();
        let ledger = Ledger::options().segment_bytes(1 << 20).clock(Wrong(entry_is_ahead));
        let ledger = ledger.open(shell.path("ledger-data")).unwrap();
        let (user, amount) = (UserId::new(1).unwrap(), Amount::new(5).unwrap());
        let charge = Charge::new(user, amount, IdempotencyKey::new("first").unwrap());
        ledger.charge(charge).unwrap().wait().unwrap();
        ledger.close().unwrap();
        page.says("the server does not start, exits 2, and says how far the clock is from the last entry");
        let refused = shell.run(SERVE);
        assert_eq!((refused.code, refused.error.contains(said)), (2, true), "{refused:?}");
        assert!(refused.error.contains("accept_clock"), "{refused:?}");
        let now = shell.run(page.takes("date -u"));
        assert_eq!(now.code, 0);
        let running = shell.serve(page.takes("ledger-server --data-dir ledger-data --accept-clock"));
        assert_eq!((running.total(), running.charge("second").status), (5.into(), 200));
        assert_eq!(running.stop(), Some(0));
        if entry_is_ahead < 0 {
            page.says("start once with");
            assert_eq!(shell.serve(SERVE).total(), 10);
        }
    }
    page.is_done_but_for(&[]);
}

#[test]
fn a_memory_limit() {
    let page = Page::of("The memory limit is reached");
    let shell = Shell::new();
    let running = shell.serve(&format!("{SERVE} --memory-max 1MiB"));
    page.says("503 `overloaded` for new commands (alert `LedgerOverloaded`); reads go on");
    let mut taken = 0;
    // How often it looks at its memory is its own affair.
    let refused = until(|| {
        let answer = running.charge(&format!("{taken}"));
        taken += i32::from(answer.status == 200);
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(refused.refusal(), (503, "overloaded".to_owned()));
    assert!(running.metric("ledger_rejections_total{code=\"overloaded\"}") > 0.0, "an alert");
    page.says("Where `ledger_memory_resident_bytes` is below the limit, it is the disk that does not keep up");
    assert!(running.metric("ledger_memory_resident_bytes") > f64::from(1 << 20));
    assert_eq!(running.total(), 5 * taken);
    assert_eq!(running.stop(), Some(0));
    page.says("Nothing that was refused left a trace; clients repeat");
    let running = shell.serve(page.takes("ledger-server --data-dir ledger-data --memory-max 4GiB"));
    assert_eq!(running.total(), 5 * taken);
    assert_eq!(running.charge(&format!("{taken}")).status, 200);
    page.is_done_but_for(&["POST /batch", "ps -o rss= -C ledger-server"]);
}

#[test]
fn a_full_queue() {
    let page = Page::of("The queue is full");
    let shell = Shell::new();
    let slow = "--workers 1 --queue 1 --bank-latency 30s";
    let running = shell.serve(&format!("{SERVE} {slow}"));
    for key in ["a", "b", "c"] {
        assert_eq!(running.charge(key).status, 200);
    }
    for key in ["u", "v"] {
        assert_eq!(running.withdraw(key).status, 202);
    }
    page.says("503 `queue_full` for `POST /withdraw`, and `queue_length` at `queue_capacity` in `/health`");
    let withdraw = page.takes("POST /withdraw").strip_prefix("POST ").unwrap();
    let third = json!({"user_id": 1, "amount": 5, "idempotency_key": "w"});
    assert_eq!(running.post(withdraw, &third).refusal(), (503, "queue_full".to_owned()));
    let health = running.health();
    assert_eq!((&health["queue_length"], &health["queue_capacity"]), (&1.into(), &1.into()), "{health}");
    page.says("Nothing was reserved for what was refused; charges are not disturbed");
    assert_eq!(running.get("/balance?user_id=1").good()["reserved"], 10);
    assert_eq!(running.charge("d").status, 200);
    drop(running);
    let more = [page.takes("--workers 100"), page.takes("--queue 1000")].join(" ");
    let running = shell.serve(&format!("{SERVE} --bank-latency 1ms --bank-success-rate 1 {more}"));
    assert_eq!(running.post(withdraw, &third).status, 202);
    assert_eq!(running.health()["queue_capacity"], 1000);
    running.total();
    assert_eq!(running.stop(), Some(0));

    page.says("Where `/health` says `\"executor\":\"stopped\"` nobody performs withdrawals, so no place comes free");
    shell.run("ledger-server backup backup --from ledger-data").good();
    shell.run("ledger-server restore backup --into ledger-data.new").good();
    let serve =
        "ledger-server --data-dir ledger-data.new --workers 1 --queue 1 --bank-latency 1ms --bank-success-rate 1";
    let running = shell.serve(serve);
    // Some of the earlier ones may have been paid before the backup, so there is room for two at most.
    let refused = ["x", "y", "z"].into_iter().find_map(|key| {
        assert_eq!(running.charge(&format!("for {key}")).status, 200);
        Some(running.withdraw(key)).filter(|answer| answer.status != 202)
    });
    assert_eq!(refused.unwrap().refusal(), (503, "queue_full".to_owned()));
    assert_eq!(running.health()["executor"], "stopped");
    assert_eq!(running.metric("ledger_executor_running"), 0.0, "an alert tells");
    assert_eq!(running.stop(), Some(0));
    shell.run(Page::of("The directory is lost").takes("ledger-server release ledger-data.new")).good();
    let running = shell.serve(serve);
    until(|| (running.withdraw("again").status == 202).then_some(()));
    page.is_done_but_for(&[]);
}

#[test]
fn a_directory_in_use() {
    let page = Page::of("The directory is in use");
    let shell = Shell::new();
    let first = shell.serve(SERVE);
    assert_eq!(first.charge("k").status, 200);
    page.says("the server does not start, exits 2, and says that the directory is in use");
    let refused = shell.run(SERVE);
    assert_eq!((refused.code, refused.error.contains("ledger-data is in use")), (2, true), "{refused:?}");
    // Not every machine has these, and no message of theirs is the same everywhere.
    for find in [page.takes("fuser ledger-data"), page.takes("lsof +d ledger-data")] {
        let found = shell.run(find);
        assert!(found.code == 127 || found.out.contains(&first.id().to_string()), "{find}: {found:?}");
    }
    page.says("the lock goes with the process");
    shell.run(&page.takes("kill -TERM PID").replace("PID", &first.id().to_string())).good();
    let mut first = first;
    assert_eq!(first.end(), Some(0));
    assert_eq!(shell.serve(SERVE).total(), 5);
    page.is_done_but_for(&[]);
}
