//! The disk fails, or is full, at every operation.

use super::crash::{World, recover, work};
use super::*;
use crate::sim::Fault;

fn fail_everywhere(options: &WalOptions, seed: u64, fault: Fault) {
    let disk = SimDisk::new(seed);
    work(&disk, options, seed, &mut World::default()).unwrap();
    for at in 0..disk.operations() {
        let context = format!("seed={seed} {fault:?} at {at}");
        let disk = SimDisk::new(seed);
        disk.fail_at(at, fault);
        let mut world = World::default();
        work(&disk, options, seed, &mut world).unwrap_or_else(|err| panic!("{context}: {err}"));
        // The process ends and another one starts; then the power fails as well.
        disk.heal();
        for image in [disk.survivor(at), disk.after_kill()] {
            recover(&image, options, &world).unwrap_or_else(|err| panic!("{context}: {err}"));
        }
    }
}

#[test]
fn an_io_error_anywhere_loses_nothing_that_was_acknowledged() {
    for seed in 0..2 {
        for fault in [Fault::Eio, Fault::EioForever, Fault::ShortWrite] {
            fail_everywhere(&manual(), seed, fault);
            fail_everywhere(&interval(), seed, fault);
        }
    }
}

#[test]
fn a_full_disk_anywhere_loses_nothing_that_was_acknowledged() {
    for seed in 0..2 {
        for fault in [Fault::Enospc, Fault::EnospcForever] {
            fail_everywhere(&manual(), seed, fault);
        }
    }
}

#[test]
fn a_failed_write_or_sync_of_a_commit_halts_at_once() {
    for (after, fault) in [(0, Fault::Eio), (0, Fault::ShortWrite), (1, Fault::Eio), (1, Fault::FailedFsyncLosesPages)]
    {
        let disk = SimDisk::new(1);
        let (wal, ..) = open(&disk, &manual()).unwrap();
        commit(&wal, 1, b"a");
        disk.fail_at(disk.operations() + after, fault);
        let seq = append(&wal, 1, b"b").unwrap().seq;
        let before = disk.operations();
        assert!(wal.wait(seq, Level::Durable).unwrap_err().outcome_unknown);
        assert_eq!(disk.operations(), before + after + 1, "nothing is tried again");
        assert!(wal.halted().unwrap().reason.contains(".segment"));
        assert!(matches!(wal.reserve(1, 1), Err(Refused::Halted(_))));
        assert!(wal.close().is_err());
        assert_eq!(disk.operations(), before + after + 1, "a halted log writes no more");
    }
}

#[test]
fn a_full_disk_is_noticed_before_anything_is_appended_and_forgotten_when_there_is_room() {
    let disk = SimDisk::new(1);
    let (wal, ..) = open(&disk, &manual()).unwrap();
    disk.set_capacity(disk.used() + (3 << 20));
    let record = vec![5; 100_000];
    let mut acknowledged = 0;
    let refused = loop {
        match append(&wal, acknowledged, &record) {
            Ok(stamp) => wal.wait(stamp.seq, Level::Durable).unwrap(),
            Err(refused) => break refused,
        }
        acknowledged += 1;
    };
    assert!(matches!(refused, Refused::StorageFull), "{refused:?}");
    assert!(acknowledged > 20, "{acknowledged}");
    for _ in 0..3 {
        assert!(matches!(wal.reserve(1, 100_000), Err(Refused::StorageFull)));
    }
    // What is small still fits, and no promise was taken back.
    commit(&wal, 1_000, b"small");
    assert!(wal.halted().is_none());
    assert!(!disk.names().iter().any(|name| name.ends_with(".tmp")), "{:?}", disk.names());
    disk.set_capacity(1 << 40);
    commit(&wal, 1_000, &record);
    wal.close().unwrap();
    assert_eq!(open(&disk, &manual()).unwrap().2.len() as i64, acknowledged + 2);
}

#[test]
fn a_full_disk_makes_no_half_ledger() {
    let whole = {
        let disk = SimDisk::new(1);
        open(&disk, &manual()).unwrap();
        disk.used()
    };
    for capacity in (0..whole).step_by(4096) {
        let disk = SimDisk::new(1);
        disk.set_capacity(capacity);
        assert!(matches!(open(&disk, &manual()), Err(OpenError::Io { .. })), "{capacity}");
        disk.set_capacity(whole);
        assert!(open(&disk, &manual()).unwrap().1.clean);
    }
}
