//! What a checkpoint writes and removes, what it tells, and what one that came to nothing leaves to the next.

use std::cell::Cell;
use std::error::Error as _;

use uuid::Uuid;

use super::*;
use crate::error::Halted;
use crate::ledger::Ledger;
use crate::recovery::{Opened, load_one, snapshots};
use crate::sim::{Fault, SimClock, SimDisk};
use crate::types::{Amount, IdempotencyKey, Metadata, Timestamp, UserId};
use crate::{Charge, Command, Withdraw, wal};

fn options() -> Options {
    let clock = SimClock::at(Timestamp::from_micros(1_767_225_600_000_000).unwrap());
    Options::default().threads(false).segment_bytes(1 << 20).shards(2).key_seed(7).clock(clock)
}

fn opened(disk: &SimDisk, options: Options) -> Ledger {
    options.open_on(disk.clone()).unwrap()
}

/// Keys are as long as those that [`rewrite`] expects.
fn key(what: &str, n: u64) -> String {
    format!("{what} {n:0width$}", width = 23 - what.len())
}

fn submit<'a>(ledger: &Ledger, command: impl Into<Command<'a>>) {
    ledger.submit(command.into()).and_then(|commit| commit.wait()).unwrap();
}

/// One of four users is charged 1,000.
fn charge(ledger: &Ledger, n: u64) {
    let key = key("charge", n);
    submit(ledger, Charge::new(user(n), Amount::new(1_000).unwrap(), IdempotencyKey::new(&key).unwrap()));
}

fn withdraw(ledger: &Ledger, n: u64) {
    let key = key("withdraw", n);
    submit(ledger, Withdraw::new(user(n), Amount::new(1).unwrap(), IdempotencyKey::new(&key).unwrap()));
}

fn user(n: u64) -> UserId {
    UserId::new(1 + n % 4).unwrap()
}

/// A ledger with a snapshot, whose users can withdraw.
fn begun() -> (SimDisk, Ledger) {
    let disk = SimDisk::new(1);
    let ledger = opened(&disk, options());
    (0..4).for_each(|n| charge(&ledger, n));
    ledger.checkpoint().unwrap();
    (disk, ledger)
}

fn uuid(disk: &SimDisk) -> Uuid {
    wal::identity(disk).unwrap().unwrap()
}

/// The history files of the newest snapshot and their lengths, oldest first, and then the snapshot and its own.
fn newest(disk: &SimDisk) -> Vec<(String, u64)> {
    let files = Opened::new(disk, uuid(disk), snapshots(disk).unwrap()[0]).unwrap().file_names();
    let with_length = |name: String| {
        let length = disk.read(&name).unwrap().len() as u64;
        (name, length)
    };
    files.into_iter().map(with_length).collect()
}

fn has_temporaries(disk: &SimDisk) -> bool {
    disk.names().iter().any(|name| names::is_temporary(name))
}

/// That the newest snapshot is loaded, and is all that the ledger was.
fn is_in_its_snapshot(what: &str, disk: &SimDisk, ledger: Ledger) {
    let state = ledger.state_digest();
    drop(ledger);
    let ledger = opened(disk, options());
    let recovered = ledger.recovered();
    assert_eq!((recovered.passed_over.len(), recovered.replayed), (0, 0), "{what}: {:?}", recovered.passed_over);
    assert_eq!(ledger.state_digest(), state, "{what}");
}

#[test]
fn a_checkpoint_ends_where_it_is_told_to_and_what_it_was_to_keep_is_in_the_next_one() {
    let (disk, ledger) = begun();
    // Nearly all of the times that it asks are for a lock of the keys each.
    for times in (0..12).chain((12..).step_by(60)) {
        withdraw(&ledger, times);
        let asked = Cell::new(0);
        match ledger.checkpoint_beside(&|| asked.replace(asked.get() + 1) >= times) {
            Err(CheckpointError::Closing) => assert!(!has_temporaries(&disk), "told at {times}"),
            Err(other) => panic!("told at {times}: {other}"),
            Ok(_) => {
                assert!(times > 256, "{times}");
                break;
            }
        }
    }
    is_in_its_snapshot("told to end", &disk, ledger);
}

#[test]
fn what_a_checkpoint_was_to_keep_that_failed_is_in_the_next_one() {
    type Fails = fn(&SimDisk, &Ledger) -> Result<Checkpoint, CheckpointError>;
    let ways: [(&str, Fails); 3] = [
        ("no room", |disk, ledger| {
            disk.set_capacity(disk.used() + 100);
            ledger.checkpoint()
        }),
        ("a disk that fails", |disk, ledger| {
            // Not before both files were created.
            disk.fail_at(disk.operations() + 3, Fault::EioForever);
            ledger.checkpoint()
        }),
        ("a fault of the program", |_, ledger| {
            let asked = Cell::new(0);
            ledger.checkpoint_beside(&|| {
                assert!(asked.replace(asked.get() + 1) < 5, "a planned panic");
                false
            })
        }),
    ];
    for (what, fails) in ways {
        let (disk, ledger) = begun();
        withdraw(&ledger, 1);
        assert!(fails(&disk, &ledger).is_err(), "{what}");
        assert_eq!((ledger.checkpoints().failed, ledger.halted()), (1, None), "{what}");
        disk.heal();
        disk.set_capacity(1 << 30);
        withdraw(&ledger, 2);
        ledger.checkpoint().unwrap();
        assert!(!has_temporaries(&disk), "{what}");
        is_in_its_snapshot(what, &disk, ledger);
    }
}

#[test]
fn a_checkpoint_tells_how_much_it_wrote_and_the_most_that_it_copied_under_one_lock() {
    let (disk, ledger) = begun();
    // All of them lie in one piece.
    (4..100).for_each(|n| charge(&ledger, n));
    let made = ledger.checkpoint().unwrap();
    let files = newest(&disk);
    let written: u64 = files[files.len() - 2..].iter().map(|(_, bytes)| bytes).sum();
    assert_eq!(made.bytes, written);
    assert!((100..128 << 10).contains(&made.largest_hold), "{} bytes", made.largest_hold);
}

#[test]
fn a_snapshot_is_since_the_beginning_and_a_history_file_since_the_one_before() {
    let (disk, ledger) = begun();
    let ledger = {
        drop(ledger);
        opened(&disk, options().history_bytes(0))
    };
    charge(&ledger, 4);
    ledger.checkpoint().unwrap();
    let since = |(name, _): &(String, u64)| {
        let kind = if names::is_history(name) { FileKind::History } else { FileKind::Snapshot };
        FileReader::open(&disk, name, kind, uuid(&disk), ReadFrom::Cache).unwrap().header().since.get()
    };
    assert_eq!(newest(&disk).iter().map(since).collect::<Vec<_>>(), [0, 4, 0]);
}

#[test]
fn a_history_file_is_written_again_as_long_as_it_is_shorter_than_those_that_are_left_alone() {
    let written = |history_bytes: u64| {
        let disk = SimDisk::new(1);
        let ledger = opened(&disk, options().history_bytes(history_bytes));
        for n in 0..2 {
            charge(&ledger, n);
            ledger.checkpoint().unwrap();
        }
        let mut files = newest(&disk);
        files.pop();
        files
    };
    let length = written(0)[0].1;
    assert_eq!([length, length + 1].map(|bytes| written(bytes).len()), [2, 1]);
}

#[test]
fn the_log_goes_up_to_the_older_of_two_snapshots_unless_it_is_kept_whole() {
    for keep_log in [false, true] {
        let disk = SimDisk::new(1);
        let mut retired = Vec::new();
        // Each opening begins a segment.
        for n in 0..6 {
            let ledger = opened(&disk, options().keep_log(keep_log));
            charge(&ledger, n);
            if n >= 3 {
                retired.push(ledger.checkpoint().unwrap().segments_retired > 0);
            }
        }
        assert_eq!(retired, [false, !keep_log, !keep_log]);
    }
}

#[test]
fn a_power_cut_while_snapshots_are_removed_leaves_none_without_a_file_that_it_names() {
    let mut looked_at = 0;
    for seed in 0..12 {
        let (disk, ledger) = begun();
        charge(&ledger, 4);
        ledger.checkpoint().unwrap();
        charge(&ledger, 5);
        let begun = disk.operations();
        (begun..begun + 40).for_each(|at| disk.photograph_at(at, seed * 100 + at));
        ledger.checkpoint().unwrap();
        assert!(disk.operations() <= begun + 40, "all of it is photographed");
        for photo in disk.photographs() {
            for seq in snapshots(&photo).unwrap() {
                let opened = Opened::new(&photo, uuid(&photo), seq).map(drop);
                assert!(opened.is_ok(), "seed {seed}: {opened:?}");
                looked_at += 1;
            }
        }
    }
    assert!(looked_at > 200, "{looked_at}");
}

#[test]
fn a_file_that_is_another_one_when_it_is_read_back_is_not_named() {
    let (disk, ledger) = begun();
    charge(&ledger, 4);
    // As sound as the new one, of the same ledger and kind.
    let older = disk.read(&newest(&disk)[0].0).unwrap();
    let is_put = Cell::new(false);
    let put = || {
        if let Some(new) = disk.names().iter().find(|name| name.ends_with(".history.tmp")).filter(|_| !is_put.get()) {
            let file = disk.create("older").unwrap();
            file.write_at(&older, 0).unwrap();
            file.sync_data().unwrap();
            disk.rename("older", new).unwrap();
            is_put.set(true);
        }
        false
    };
    match ledger.checkpoint_beside(&put) {
        Err(CheckpointError::Io { context, source }) => {
            assert!(context.starts_with("reading ") && context.ends_with(".history back"), "{context}");
            assert_eq!(source.to_string(), "its digest is another one");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(snapshots(&disk).unwrap().len(), 1);
}

/// What it lacks are the frames of the blocks and their directory, of which there are at most so many.
#[test]
fn the_length_of_a_history_file_is_expected_from_its_records_keys_and_places() {
    const FRAMES: u64 = 24 << 10;
    let disk = SimDisk::new(1);
    let ledger = opened(&disk, options().history_bytes(0));
    for round in 0..2 {
        let keys: Vec<String> = (0..3_000).map(|n| key("charge", round * 3_000 + n)).collect();
        let command = |key| Charge::new(user(1), Amount::new(1).unwrap(), IdempotencyKey::new(key).unwrap()).into();
        let commands: Vec<Command<'_>> = keys.iter().map(|key| command(key)).collect();
        ledger.batch(&commands).unwrap().wait().unwrap();
        ledger.checkpoint().unwrap();
    }
    let seqs = snapshots(&disk).unwrap();
    let loaded = |seq| load_one(&disk, uuid(&disk), seq).unwrap().0;
    let (tables, before) = (loaded(seqs[0]), loaded(seqs[1]));
    let sinces = [Positions::start(2), Positions::end(&before, seqs[1])];
    let lengths: Vec<u64> = newest(&disk)[..2].iter().map(|(_, bytes)| *bytes).collect();
    for (since, length) in sinces.iter().zip([lengths[0] + lengths[1], lengths[1]]) {
        let expected = rewrite::expected_bytes(&tables, since, seqs[0]);
        assert!((expected..expected + 2 * FRAMES).contains(&length), "{length} bytes, expected {expected}");
    }
}

/// A record that does not fit into what is left of a chunk begins the next one: of what is left there is no block.
#[test]
fn every_block_of_records_has_some() {
    let disk = SimDisk::new(1);
    let ledger = opened(&disk, options().shards(1).history_bytes(0));
    let noted = [7; 4_000];
    for n in 0..20 {
        let key = key("charge", n);
        let charge = Charge::new(user(1), Amount::new(1).unwrap(), IdempotencyKey::new(&key).unwrap());
        submit(&ledger, charge.metadata(Metadata::new(&noted).unwrap()));
        ledger.checkpoint().unwrap();
    }
    let mut blocks = 0;
    for (name, _) in newest(&disk).iter().filter(|(name, _)| names::is_history(name)) {
        let file = FileReader::open(&disk, name, FileKind::History, uuid(&disk), ReadFrom::Cache).unwrap();
        let section = file.section(Kind::Records, 0).unwrap();
        let visit = &mut |payload: &[u8]| {
            assert!(payload.len() > 4_000, "{name}: {} bytes", payload.len());
            blocks += 1;
            Ok(())
        };
        file.read_section(&section, visit).unwrap();
    }
    assert_eq!(blocks, 20);
}

#[test]
fn an_error_of_the_system_is_told_as_the_cause_and_nothing_else_is() {
    let source = || io::Error::other("worn out");
    let io = CheckpointError::Io { context: "syncing x".into(), source: source() };
    assert_eq!(io.source().map(ToString::to_string), Some("worn out".to_owned()));
    let halted = Halted { outcome_unknown: false, reason: "worn out".into() };
    let others = [
        CheckpointError::InMemory,
        CheckpointError::Closing,
        halted.into(),
        CheckpointError::Panicked { message: "worn out".into() },
    ];
    for other in others {
        assert!(other.source().is_none(), "{other}");
    }
}
