//! A disk without room, and one that fails.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use super::page::Page;
use super::shell::{Answer, Shell, until};

const SERVE: &str = "ledger-server --data-dir ledger-data";

/// A disk that is full while a test says so. (`scripts/torture` fills a real one, for which it has to be root.)
struct Disk {
    library: PathBuf,
    full: PathBuf,
}

impl Disk {
    fn under(shell: &Shell) -> Disk {
        let disk = Disk { library: shell.path("full_disk.so"), full: shell.path("full") };
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/runbook/full_disk.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(&disk.library).arg(source).arg("-ldl");
        let output = compiler.output().expect("cc, which the program is built with, too");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        disk
    }

    /// The command, on this disk.
    fn on(&self, line: &str) -> String {
        format!("env LD_PRELOAD={} FULL_DISK={} {line}", self.library.display(), self.full.display())
    }

    fn fill(&self) {
        std::fs::File::create(&self.full).unwrap();
    }

    fn free(&self) {
        std::fs::remove_file(&self.full).unwrap();
    }
}

/// Charges until there is no room for more, each with as much as a charge can have; how many were taken.
pub(super) fn charge_until_full(mut post: impl FnMut(&str, &serde_json::Value) -> Answer) -> u64 {
    let mut taken = 0;
    // Some 25 MiB: the segments that were ready take a tenth of that.
    for batch in 0..100 {
        let charge = |n| {
            json!({"type": "charge", "user_id": 1, "amount": 5, "idempotency_key": format!("{batch} {n}"),
                "metadata": {"note": "x".repeat(900)}})
        };
        let operations: Vec<_> = (0..200).map(charge).collect();
        let done = post("/batch", &json!({"operations": operations})).good();
        let results = done["results"].as_array().unwrap();
        let codes: Vec<_> = results.iter().filter_map(|result| result["error"]["code"].as_str()).collect();
        assert!(codes.iter().all(|code| *code == "storage_full"), "{done}");
        taken += (results.len() - codes.len()) as u64;
        if codes.len() < results.len() {
            continue;
        }
        // What is left may have room for a small one.
        let small = |n| json!({"user_id": 1, "amount": 5, "idempotency_key": format!("small {n}")});
        let refused = (0..100).find(|n| post("/charge", &small(*n)).status != 200);
        return taken + refused.expect("a small charge that is refused");
    }
    panic!("{taken} charges were taken, and there is still room");
}

#[test]
fn a_full_disk() {
    let page = Page::of("The disk is full");
    let shell = Shell::new();
    let disk = Disk::under(&shell);
    let running = shell.serve(&disk.on(SERVE));
    assert_eq!(running.charge("first").status, 200);
    disk.fill();
    let taken = 1 + charge_until_full(|path, body| running.post(path, body));
    page.says("507 `storage_full` for new commands");
    let refused = running.charge("k");
    assert_eq!(refused.refusal(), (507, "storage_full".to_owned()));
    assert!(running.metric("ledger_rejections_total{code=\"storage_full\"}") > 0.0, "an alert");
    page.says("reads, and repeats of accepted commands, are answered as always");
    assert_eq!((running.total(), running.charge("first").status), ((5 * taken).into(), 409));
    page.says("`a checkpoint failed` with \"No space left on device\" if a snapshot met the full disk");
    let checkpoint = page.takes("curl -X POST localhost:8080/checkpoints");
    assert_eq!(running.ask(checkpoint).refusal(), (507, "storage_full".to_owned()));
    assert!(running.logged("a checkpoint failed").contains("No space left on device"));

    page.says("Writes resume by themselves");
    disk.free();
    until(|| (running.charge("k").status == 200).then_some(()));
    running.ask(checkpoint).good();
    assert_eq!(running.stop(), Some(0));
    shell.run("ledger-server verify ledger-data").good();
    page.says("A server that is started on a full disk exits 1 with \"No space left on device\"");
    disk.fill();
    let refused = shell.run(&disk.on(SERVE));
    assert_eq!((refused.code, refused.error.contains("No space left on device")), (1, true), "{refused:?}");
    disk.free();
    assert_eq!(shell.serve(&disk.on(SERVE)).total(), 5 * (taken + 1));
    page.is_done_but_for(&["df -h ledger-data"]);
}

#[test]
fn a_checkpoint_that_fails() {
    let page = Page::of("A checkpoint failed");
    let shell = Shell::new();
    let disk = Disk::under(&shell);
    // One by itself with each new segment of the log; the next one is there before the disk is full.
    let running = shell.serve(&disk.on(&format!("{SERVE} --checkpoint-size 64KiB")));
    assert_eq!(running.charge("first").status, 200);
    let is_segment = |name: std::ffi::OsString| name.to_str().unwrap().ends_with(".segment");
    until(|| {
        let files = std::fs::read_dir(shell.path("ledger-data")).unwrap();
        (files.filter(|file| is_segment(file.as_ref().unwrap().file_name())).count() >= 2).then_some(())
    });
    disk.fill();
    let taken = 1 + charge_until_full(|path, body| running.post(path, body));
    page.says("`a checkpoint failed` in the log, with the reason, and `ledger_checkpoint_failures_total` above zero");
    let line = running.logged("a checkpoint failed");
    assert!(line.contains("No space left on device"), "{line}");
    let failed = running.metric("ledger_checkpoint_failures_total");
    assert!(failed > 0.0);
    page.says("Nothing is lost and writers did not notice");
    assert_eq!(running.total(), 5 * taken);
    disk.free();
    page.says("it answers when a snapshot is written and durable");
    let made = running.ask(page.takes("curl -X POST localhost:8080/checkpoints")).good();
    assert_eq!((&made["seq"], running.metric("ledger_checkpoint_failures_total")), (&taken.into(), failed));
    drop(running);
    let running = shell.serve(SERVE);
    let opened = running.logged("opened ledger");
    assert!(opened.contains(&format!("snapshot={taken} replayed=0")), "{opened}");
    assert_eq!(running.total(), 5 * taken);
    page.is_done_but_for(&["df -h ledger-data", "dmesg | tail"]);
}

#[test]
fn a_halted_ledger() {
    let page = Page::of("The ledger halted");
    let shell = Shell::new();
    let running = shell.serve(SERVE);
    assert_eq!(running.charge("before").status, 200);
    // Every write to a file fails from here on.
    let process = rustix::process::Pid::from_raw(running.id().try_into().unwrap());
    let nothing = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::prlimit(process, rustix::process::Resource::Fsize, nothing).unwrap();
    page.says("500 `outcome_unknown` for the commands that were in flight, 503 `halted` for all others");
    // Where the ledger had something of its own to write before, the command is one of the others.
    let refused = running.charge("in flight").refusal();
    assert!([(500, "outcome_unknown"), (503, "halted")].contains(&(refused.0, refused.1.as_str())), "{refused:?}");
    assert_eq!(running.charge("after").refusal(), (503, "halted".to_owned()));
    page.says("`\"status\":\"halted\"` with a reason in `/health`");
    let health = running.health();
    assert!(health["status"] == "halted" && health["reason"].is_string(), "{health}");
    assert_eq!(running.metric("ledger_halted"), 1.0);
    page.says("the process exits 1 when it is stopped");
    assert_eq!(running.stop(), Some(1));

    page.says("start the server again: it reads what is really there and goes on");
    let running = shell.serve(SERVE);
    assert_eq!(running.charge("before").status, 409, "what was acknowledged is on the disk");
    page.says("Clients repeat what was in flight with the same keys");
    for key in ["in flight", "after"] {
        assert!([200, 409].contains(&running.charge(key).status));
    }
    assert_eq!(running.total(), 15);
    page.is_done_but_for(&["dmesg | tail"]);
}
