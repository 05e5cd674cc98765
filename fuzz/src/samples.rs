//! Real logs, to be damaged: charges, holds, transfers, withdrawals with attempts, metadata, an atomic batch.

use std::sync::OnceLock;

use ledger_core::sim::{SimClock, SimDisk};
use ledger_core::withdrawals::{AttemptClass, Submission};
use ledger_core::{
    Amount, Charge, Command, Currency, Destination, IdempotencyKey, Ledger, Metadata, Options, Timestamp, Transfer,
    UserId, Withdraw,
};

use crate::layout;

/// 2026-01-01T00:00:00Z: the time at which every log is written and opened.
pub const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000).expect("a time of this century");
/// The users that have accounts.
pub const USERS: std::ops::RangeInclusive<u64> = 1..=6;

/// How every ledger is opened: small, without threads, at one time, so that an input that failed fails again.
pub fn options() -> Options {
    let clock = SimClock::at(NOW);
    Ledger::options().threads(false).shards(4).segment_bytes(1 << 20).accept_clock(true).clock(clock)
}

/// The user of this number.
pub fn user(number: u64) -> UserId {
    UserId::new(number).expect("a small positive number")
}

fn amount(minor: u64) -> Amount {
    Amount::new(minor).expect("a small positive amount")
}

fn key(key: &str) -> IdempotencyKey<'_> {
    IdempotencyKey::new(key).expect("a short key")
}

/// Real logs: empty, closed in good order, and left by a kill after several openings.
pub fn disks() -> Vec<SimDisk> {
    let empty = SimDisk::new(0);
    drop(open(&empty));
    let closed = SimDisk::new(0);
    let ledger = open(&closed);
    work(&ledger, "a");
    ledger.close().expect("the ledger closes");
    drop(ledger);
    let killed = SimDisk::new(0);
    for opening in ["a", "b"] {
        let ledger = open(&killed);
        work(&ledger, opening);
    }
    let ledger = open(&killed);
    work(&ledger, "c");
    let killed = killed.after_kill();
    drop(ledger);
    vec![empty, closed, killed]
}

/// A log that reaches back to its first entry, with two snapshots, and entries after each of them.
pub fn snapshots() -> SimDisk {
    let disk = SimDisk::new(0);
    let ledger = open(&disk);
    for round in ["a", "b"] {
        work(&ledger, round);
        ledger.checkpoint().expect("a disk that works");
    }
    work(&ledger, "c");
    let killed = disk.after_kill();
    drop(ledger);
    killed
}

/// The records of those logs.
pub fn records() -> &'static [Vec<u8>] {
    static RECORDS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    RECORDS.get_or_init(|| layout::records(&disks()[1]))
}

fn open(disk: &SimDisk) -> Ledger {
    options().open_on(disk.clone()).expect("a right log opens")
}

fn work(ledger: &Ledger, round: &str) {
    let name = |what: &str| format!("{what}-{round}");
    let euro = Currency::new("EUR").expect("a currency");
    let metadata = Metadata::new(b"{\"order\":17}").expect("short metadata");
    let later = |seconds| ledger.now().saturating_add(std::time::Duration::from_secs(seconds));
    let (plain, held, euros, paid, lent) = (name("plain"), name("held"), name("euros"), name("paid"), name("lent"));
    let commands: Vec<Command<'_>> = vec![
        Charge::new(user(1), amount(10_000), key(&plain)).into(),
        Charge::new(user(2), amount(5_000), key(&held)).release_at(later(3_600)).metadata(metadata).into(),
        Charge::new(user(1), amount(700), key(&euros)).currency(euro).into(),
        Transfer::new(user(1), user(3), amount(2_000), key(&paid)).into(),
        Transfer::new(user(1), user(4), amount(1_500), key(&lent)).release_at(later(60)).into(),
    ];
    for command in &commands {
        ledger.submit(*command).and_then(|commit| commit.wait()).expect("accepted");
    }
    let (out, far) = (name("out"), name("far"));
    let destination = Destination::new("DE02 1203 0000 0000 2020 51").expect("a destination");
    ledger.withdraw(Withdraw::new(user(3), amount(400), key(&out))).and_then(|commit| commit.wait()).expect("accepted");
    let far = Withdraw::new(user(1), amount(300), key(&far)).destination(destination);
    ledger.withdraw(far).and_then(|commit| commit.wait()).expect("accepted");
    for due in ledger.due_withdrawals(true, 1) {
        let attempt = ledger.start_attempt(due.id).and_then(|commit| commit.wait()).expect("an attempt was due");
        ledger
            .end_attempt(
                due.id,
                attempt.number,
                &Submission { class: AttemptClass::Settled, evidence: "settled".into() },
            )
            .and_then(|commit| commit.wait())
            .expect("the attempt was open");
    }
    let (one, two) = (name("one"), name("two"));
    let together: [Command<'_>; 2] = [
        Charge::new(user(5), amount(50), key(&one)).into(),
        Transfer::new(user(5), user(6), amount(50), key(&two)).into(),
    ];
    ledger.batch_atomic(&together).and_then(|commit| commit.wait()).expect("accepted");
}
