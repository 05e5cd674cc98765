//! The golden log of format 2: everything that can happen to a withdrawal, once, frozen. Later versions must read the same of
//! it, and nothing less of a damaged one.
//!
//! `LEDGER_REGENERATE_FIXTURES=1 cargo test -p ledger-core golden` writes it anew; once released, it is never written again.

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Once};

use ledger_core::sim::{SimClock, SimDisk};
use ledger_core::withdrawals::{AttemptClass, Event, InquiryAnswer, NoticeOutcome, Resolution};
use ledger_core::{Entry, Ledger, OpenError, RestoreTo, Storage, inspect, restore, verify};

use crate::model::Asked;
use crate::pair::Pair;
use crate::stage::{DAY, START, World, amount, difference, dump, options, second, user};

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v2")
}

/// Bytes of a line of the frozen files.
const ROW_BYTES: usize = 32;

/// Opens it long after all that it holds.
fn open(disk: SimDisk) -> Result<Ledger, OpenError> {
    let clock = SimClock::at(START.saturating_add(3_650 * DAY));
    options(&clock).accept_clock(true).open_on(disk)
}

fn world() -> World {
    World::new(3, &["USD"])
}

/// Every event of a withdrawal, and what a restore adds: what was open is in doubt.
fn written() -> SimDisk {
    let mut pair = Pair::new(7, world(), None);
    write(&mut pair).expect("an undisturbed run");
    pair.ledger().close().expect("nothing is in the way");
    let restored = SimDisk::new(8);
    restore(&pair.disk.survivor(0), Arc::new(restored.clone()), RestoreTo::End).expect("sound");
    restored
}

fn write(pair: &mut Pair) -> Result<(), String> {
    let charges: Vec<_> = (1..=3).map(|n| Asked::charge(user(n), amount(10_000), format!("charge {n}"))).collect();
    pair.pipelined(&charges)?;
    let keys =
        ["returned", "paid after all", "not sent", "accepted", "resolved", "given up", "told", "late", "left open"];
    let withdrawals: Vec<_> =
        (1..).zip(keys).map(|(n, key)| Asked::withdraw(user(1 + n % 3), amount(100 + n), key)).collect();
    pair.pipelined(&withdrawals)?;
    let [returned, paid, not_sent, accepted, resolved, given_up, told, late, _] = std::array::from_fn(|n| n as u64 + 4);
    pair.cancel(given_up, "given up for good")?;
    for (of, class) in [
        (returned, AttemptClass::Settled),
        (paid, AttemptClass::Rejected),
        (not_sent, AttemptClass::NotSent),
        (accepted, AttemptClass::Accepted),
        (resolved, AttemptClass::Ambiguous),
        (told, AttemptClass::Accepted),
        (late, AttemptClass::Ambiguous),
    ] {
        pair.start_attempt(of)?;
        pair.end_attempt(of, None, class)?;
    }
    pair.inquire(accepted, InquiryAnswer::Pending)?;
    pair.inquire(accepted, InquiryAnswer::Settled)?;
    pair.inquire(resolved, InquiryAnswer::Unsupported)?;
    pair.inquire(late, InquiryAnswer::Pending)?;
    pair.resolve(resolved, Resolution::Failed, "ann", "resolved for good")?;
    pair.notice(told, NoticeOutcome::Failed, second(30))?;
    pair.notice(returned, NoticeOutcome::Returned, second(40))?;
    pair.notice(paid, NoticeOutcome::Settled, second(50))?;
    pair.advance(DAY + DAY)?;
    pair.due()?;
    Ok(())
}

fn regenerate() {
    let disk = written();
    let mut text = String::new();
    for name in disk.names() {
        let bytes = disk.read(&name).expect("it is listed");
        text.push_str(&format!("{name} {}\n", bytes.len()));
        for (row, bytes) in bytes.chunks(ROW_BYTES).enumerate().filter(|(_, bytes)| bytes.iter().any(|&byte| byte != 0))
        {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            text.push_str(&format!("  {row} {hex}\n"));
        }
    }
    fs::create_dir_all(directory()).expect("a writable source tree");
    fs::write(directory().join("files"), text).expect("a writable source tree");
    let ledger = open(disk).expect("just written");
    let lines = dump(&ledger, &world()).expect("an open ledger").join("\n") + "\n";
    fs::write(directory().join("dump"), lines).expect("a writable source tree");
}

/// The files: of each its name and length, then its rows that are not all zeros.
fn files() -> Vec<(String, Vec<u8>)> {
    let text = fs::read_to_string(directory().join("files")).expect("fixtures: see the head of this module");
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for line in text.lines() {
        let (left, right) = line.trim_start().split_once(' ').expect("two words");
        if !line.starts_with(' ') {
            files.push((left.to_owned(), vec![0; right.parse().expect("a length")]));
            continue;
        }
        let (_, file) = files.last_mut().expect("a file before its rows");
        let start = left.parse::<usize>().expect("a row") * ROW_BYTES;
        for (at, digits) in right.as_bytes().chunks(2).enumerate() {
            let digits = std::str::from_utf8(digits).expect("hexadecimal digits");
            file[start + at] = u8::from_str_radix(digits, 16).expect("hexadecimal digits");
        }
    }
    files
}

fn expected() -> Vec<String> {
    let dump = fs::read_to_string(directory().join("dump")).expect("fixtures: see the head of this module");
    dump.lines().map(str::to_owned).collect()
}

fn disk() -> SimDisk {
    static FROZEN: Once = Once::new();
    FROZEN.call_once(|| {
        if std::env::var_os("LEDGER_REGENERATE_FIXTURES").is_some() {
            regenerate();
        }
    });
    let disk = SimDisk::new(1);
    for (name, bytes) in files() {
        let file = disk.create(&name).expect("an empty disk");
        file.write_at(&bytes, 0).expect("room");
        file.sync_data().expect("a sound disk");
    }
    disk.sync_directory().expect("a sound disk");
    disk
}

#[test]
fn a_golden_log_of_all_that_happens_to_withdrawals_gives_the_same_ledger_for_ever() {
    let ledger = open(disk()).expect("a golden log");
    assert_eq!(difference(&expected(), &dump(&ledger, &world()).expect("an open ledger")), None);

    let copy = tempfile::tempdir().expect("a temporary directory");
    for (name, bytes) in files() {
        fs::write(copy.path().join(name), bytes).expect("a temporary file");
    }
    verify(copy.path()).expect("sound");
    let mut events = BTreeSet::new();
    inspect(copy.path(), &mut |inspected| {
        if let Entry::Withdrawal(entry) = &inspected.entry {
            events.insert(match entry.event {
                Event::AttemptStarted { .. } => "started",
                Event::AttemptEnded { .. } => "ended",
                Event::Inquired { .. } => "inquired",
                Event::DeadlinePassed => "deadline passed",
                Event::Cancelled => "cancelled",
                Event::Resolved { .. } => "resolved",
                Event::Noticed { .. } => "noticed",
                Event::Returned { .. } => "returned",
                Event::Contradicted { .. } => "contradicted",
                Event::Doubted => "doubted",
                _ => "new: it needs a golden log of its own",
            });
        }
        ControlFlow::Continue(())
    })
    .expect("sound");
    let all = [
        "started",
        "ended",
        "inquired",
        "deadline passed",
        "cancelled",
        "resolved",
        "noticed",
        "returned",
        "contradicted",
        "doubted",
    ];
    assert_eq!(events, BTreeSet::from(all));
}

#[test]
fn a_damaged_golden_log_is_refused_with_the_place_or_says_all_that_it_said() {
    let disk = disk();
    let expected = expected();
    let (mut refused, mut images) = (0, 0);
    for (name, bytes) in files() {
        let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1);
        let flips = (0..used).step_by(61).map(|at| (at, false));
        for (at, cut) in flips.chain((0..used).step_by(1_021).map(|at| (at, true))) {
            let damaged = disk.survivor(0);
            if cut {
                damaged.truncate(&name, at)
            } else {
                damaged.flip_bit(&name, at, (at % 8) as u8)
            }
            images += 1;
            match open(damaged) {
                Err(OpenError::Damaged { file, .. } | OpenError::Unsupported { file, .. }) if !file.is_empty() => {
                    refused += 1;
                }
                Err(err) => panic!("{name} at {at} (cut: {cut}): refused for another reason: {err}"),
                Ok(ledger) => {
                    let found = dump(&ledger, &world()).expect("an open ledger");
                    assert_eq!(difference(&expected, &found), None, "{name} at {at} (cut: {cut})");
                }
            }
        }
    }
    assert!(refused > 0, "none of {images} was refused");
}
