//! A server that does not start as it was told to, or has no room for more.

use std::time::Duration;

use ledger_core::{Amount, Charge, Clock, IdempotencyKey, Ledger, SystemClock, Timestamp, UserId};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::json;

use super::disk::charge_until_full;
use super::page::Page;
use super::shell::{Connection, Running, Shell, until};

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

/// How many files the server may have open: it has some fifteen when it begins, and connections have half at most.
const FILES: usize = 28;

/// How many of the descriptors that it may have are taken. (One that it was started with may be beyond them.)
fn descriptors(running: &Running) -> usize {
    let names = std::fs::read_dir(format!("/proc/{}/fd", running.id())).unwrap();
    let numbers = names.map(|name| name.unwrap().file_name().to_str().unwrap().parse::<usize>().unwrap());
    numbers.filter(|number| *number < FILES).count()
}

/// Connections that were used, and are kept: as many as there are descriptors left for.
fn connections_to_all_descriptors(running: &Running) -> Vec<Connection> {
    let mut connections = Vec::new();
    while descriptors(running) < FILES {
        let mut connection = running.connect();
        connection.get("/health").good();
        connections.push(connection);
    }
    connections
}

#[test]
fn no_file_descriptor() {
    let page = Page::of("No file descriptor is left");
    let shell = Shell::new();
    let limited = |files: usize| format!("bash -c 'ulimit -n {files}; exec {SERVE}'");
    let running = shell.serve(&limited(FILES));
    page.says("the log said so at the start: `at most … connections, since this process may open … files`");
    running.logged(&format!("at most {} connections, since this process may open {FILES} files", FILES / 2));
    // Before the log has begun to prepare its next file.
    let mut connections = connections_to_all_descriptors(&running);
    page.says("They have at most half of the descriptors");
    assert!(connections.len() <= FILES / 2, "{}", connections.len());
    let mut open = connections.pop().unwrap();
    let charge = |key: &str| json!({"user_id": 1, "amount": 5, "idempotency_key": key});
    assert_eq!(open.post("/charge", &charge("first")).status, 200);
    let taken = 1 + charge_until_full(|path, body| open.post(path, body));
    page.says("507 `storage_full` for new commands, as on a full disk");
    assert_eq!(open.post("/charge", &charge("k")).refusal(), (507, "storage_full".to_owned()));
    assert_eq!(open.post("/checkpoints", &json!(null)).refusal(), (507, "storage_full".to_owned()));
    page.says("reads, and repeats of accepted commands, are answered as always");
    assert_eq!(open.get("/balance?user_id=1").good()["total"], 5 * taken);
    assert_eq!(open.post("/charge", &charge("first")).status, 409);
    assert_eq!(open.get("/health").good()["status"], "ok");
    page.says(
        "A new connection waits, and the log says `no connection could be accepted` with \"Too many open files\"",
    );
    let mut waiting = running.connect();
    assert!(running.logged("no connection could be accepted").contains("Too many open files"));

    let typed = |line: &str| shell.run(&page.takes(line).replace("PID", &running.id().to_string()));
    let open_files = typed("ls /proc/PID/fd | wc -l").out;
    assert!(open_files.trim().parse::<usize>().unwrap() >= FILES, "{open_files}");
    let limits = typed("grep 'open files' /proc/PID/limits").out;
    assert!(limits.split_whitespace().any(|word| word == FILES.to_string()), "{limits}");
    let machine = typed("cat /proc/sys/fs/file-nr");
    assert_eq!((machine.code, machine.out.split_whitespace().count()), (0, 3), "{machine:?}");

    page.says("Writes resume by themselves, as they do when connections end");
    drop(connections);
    until(|| (open.post("/charge", &charge("k")).status == 200).then_some(()));
    waiting.get("/health").good();
    drop((open, waiting));
    assert_eq!(running.total(), 5 * (taken + 1));
    assert_eq!(running.stop(), Some(0));
    shell.run("ledger-server verify ledger-data").good();
    page.says("A server that is started so exits with the same words");
    let refused = shell.run(&limited(12));
    assert!(refused.code > 0 && refused.error.contains("Too many open files"), "{refused:?}");
    let running = shell.serve(SERVE);
    assert_eq!(running.total(), 5 * (taken + 1));
    raised_at_once(&page, &shell, running);
    page.is_done_but_for(&[]);
}

fn raised_at_once(page: &Page, shell: &Shell, running: Running) {
    let mut open = running.connect();
    open.get("/health").good();
    let process = Pid::from_raw(running.id().try_into().unwrap());
    let limit = |current| Rlimit { current, maximum: getrlimit(Resource::Nofile).maximum };
    // Those that are open stay so, and no other can be opened.
    prlimit(process, Resource::Nofile, limit(Some(3))).unwrap();
    let before = open.get("/balance?user_id=1").good()["total"].as_u64().unwrap();
    let again =
        |body: &serde_json::Value| body.to_string().replace("\"idempotency_key\":\"", "\"idempotency_key\":\"again ");
    let taken = charge_until_full(|path, body| open.post(path, &serde_json::from_str(&again(body)).unwrap()));
    let raise = page.takes("prlimit --pid PID --nofile=65536").replace("PID", &running.id().to_string());
    let raised = shell.run(&raise);
    if raised.code != 0 {
        // Not every machine has it, and not every root may go beyond what the test may.
        assert!(raised.code == 127 || raised.error.contains("Operation not permitted"), "{raised:?}");
        prlimit(process, Resource::Nofile, limit(Some(64))).unwrap();
    }
    let charge = json!({"user_id": 1, "amount": 5, "idempotency_key": "l"});
    until(|| (open.post("/charge", &charge).status == 200).then_some(()));
    assert_eq!(running.total(), before + 5 * (taken + 1));
    assert_eq!(running.stop(), Some(0));
}

#[test]
fn a_stop() {
    let page = Page::of("The server is stopping");
    let shell = Shell::new();
    // A bank that answers before the stop gives it up, and one that does not in this test's time.
    for (latency, is_awaited) in [("1s", true), ("25s", false)] {
        let mut running = shell.serve(&format!("{SERVE} --bank-latency {latency} --bank-success-rate 1"));
        assert_eq!(running.charge(&format!("for {latency}")).status, 200);
        assert_eq!(running.withdraw(latency).status, 202);
        if !is_awaited {
            let told = || running.get(&format!("/transactions?idempotency_key={latency}")).good();
            until(|| (told()["transactions"][0]["attempts"] == 1).then_some(()));
        }
        shell.run(&format!("kill -TERM {}", running.id())).good();
        page.says("503 `shutting_down` for everything but `/health` and `/metrics`");
        if !is_awaited {
            until(|| (running.health()["status"] == "shutting_down").then_some(()));
            assert_eq!(running.charge("late").refusal(), (503, "shutting_down".to_owned()));
            assert!(running.metric("ledger_uptime_seconds") > 0.0);
            shell.run(&page.takes("kill -KILL PID").replace("PID", &running.id().to_string())).good();
        }
        page.says("it ends by itself, and exits 0");
        assert_eq!(running.end(), is_awaited.then_some(0));
    }
    page.says("Nothing was recorded for what was refused; clients repeat");
    let running = shell.serve(&format!("{SERVE} --bank-latency 1ms --bank-success-rate 1"));
    assert_eq!(running.charge("late").status, 200);
    page.says("asks the bank about the payouts whose answers did not come");
    assert_eq!((running.charge("for 1s").status, running.charge("for 25s").status), (409, 409));
    let of_killed = running.get("/transactions?idempotency_key=25s").good();
    assert!(of_killed["transactions"][0]["attempts"].as_u64() >= Some(1), "{of_killed}");
    running.total();
    page.is_done_but_for(&[]);
}

#[test]
fn a_server_that_does_not_start() {
    let page = Page::of("The server does not start");
    let shell = Shell::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    std::fs::write(shell.path("ledger-data"), "no directory").unwrap();
    page.says("where it exits 2, that it was told what cannot be, and names the option, the variable or the key");
    let (option, variable) = (format!("{SERVE} --workers 0"), format!("env LEDGER_WORKERS=0 {SERVE}"));
    let address = format!("{SERVE} --listen {}", taken.local_addr().unwrap());
    for (line, words) in [
        (option.as_str(), "workers"),
        (&variable, "workers"),
        (SERVE, "Not a directory"),
        (&address, "Address already in use"),
    ] {
        let refused = shell.run(line);
        assert_eq!((refused.code, refused.error.contains(words)), (2, true), "{line}: {refused:?}");
    }
    for words in ["`Not a directory`", "`Address already in use`", "Nothing was changed"] {
        page.says(words);
    }
    assert_eq!(std::fs::read(shell.path("ledger-data")).unwrap(), b"no directory");
    let help = shell.run(page.takes("ledger-server --help"));
    assert_eq!((help.code, help.out.contains("--workers")), (0, true), "{help:?}");
    let listed = shell.run(page.takes("ls -ld ledger-data"));
    assert_eq!((listed.code, listed.out.starts_with('-')), (0, true), "{listed:?}");
    page.is_done_but_for(&["dmesg | tail"]);
}
