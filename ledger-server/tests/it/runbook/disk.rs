//! A disk without room, and one that fails.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::page::Page;
use super::shell::{Running, Shell, until};

const SERVE: &str = "ledger-server --data-dir ledger-data";

/// A file system of 16 MiB, in a mount namespace of its own, that `ledger-data` lies on, and whatever else there is on it.
struct SmallDisk {
    holder: Child,
    ballast: PathBuf,
}

impl SmallDisk {
    /// None where the kernel lets no user mount.
    fn under(shell: &Shell) -> Option<SmallDisk> {
        let place = shell.path("disk");
        std::fs::create_dir(&place).unwrap();
        let script = "mount -t tmpfs -o size=16m tmpfs \"$0\" && echo mounted && exec cat";
        let holder = Command::new("unshare")
            .args(["-Urm", "sh", "-c", script])
            .arg(&place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut holder = holder.ok()?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        // Seen from outside.
        let inside = PathBuf::from(format!("/proc/{}/root{}", holder.id(), place.display()));
        let disk = SmallDisk { holder, ballast: inside.join("ballast") };
        if line != "mounted\n" || std::fs::create_dir(inside.join("data")).is_err() {
            eprintln!("not rehearsed here, where no user can mount: scripts/torture has the fault `full`");
            return None;
        }
        std::os::unix::fs::symlink(inside.join("data"), shell.path("ledger-data")).unwrap();
        Some(disk)
    }

    /// Takes the room that is left.
    fn fill(&self) {
        let mut file = std::fs::File::create(&self.ballast).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(&self.ballast).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Charges until there is no room for more, each with as much as a charge can have; how many were taken.
fn charge_until_full(running: &Running) -> u64 {
    let mut taken = 0;
    for batch in 0.. {
        let charge = |n| {
            json!({"type": "charge", "user_id": 1, "amount": 5, "idempotency_key": format!("{batch} {n}"),
                "metadata": {"note": "x".repeat(900)}})
        };
        let operations: Vec<_> = (0..200).map(charge).collect();
        let done = running.post("/batch", &json!({"operations": operations})).good();
        let results = done["results"].as_array().unwrap();
        let codes: Vec<_> = results.iter().filter_map(|result| result["error"]["code"].as_str()).collect();
        assert!(codes.iter().all(|code| *code == "storage_full"), "{done}");
        taken += (results.len() - codes.len()) as u64;
        if codes.len() == results.len() {
            break;
        }
    }
    taken
}

#[test]
fn a_full_disk() {
    let page = Page::of("The disk is full");
    let shell = Shell::new();
    let Some(disk) = SmallDisk::under(&shell) else { return };
    let running = shell.serve(SERVE);
    assert_eq!(running.charge("first").status, 200);
    disk.fill();
    let taken = 1 + charge_until_full(&running);
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
    assert_eq!(shell.serve(SERVE).total(), 5 * (taken + 1));
    page.is_done_but_for(&["df -h ledger-data"]);
}

#[test]
fn a_checkpoint_that_fails() {
    let page = Page::of("A checkpoint failed");
    let shell = Shell::new();
    let Some(disk) = SmallDisk::under(&shell) else { return };
    // One by itself with each new segment of the log; the next one is there before the disk is full.
    let running = shell.serve(&format!("{SERVE} --checkpoint-size 64KiB"));
    assert_eq!(running.charge("first").status, 200);
    let is_segment = |name: std::ffi::OsString| name.to_str().unwrap().ends_with(".segment");
    until(|| {
        let files = std::fs::read_dir(shell.path("ledger-data")).unwrap();
        (files.filter(|file| is_segment(file.as_ref().unwrap().file_name())).count() >= 2).then_some(())
    });
    disk.fill();
    let taken = 1 + charge_until_full(&running);
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
    page.says("500 `outcome_unknown` for the commands that were in flight, 503 for all others");
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
