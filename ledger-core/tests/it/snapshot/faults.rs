//! Snapshots on disks that are full, fail, or lose their power, and checkpoints that are killed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ledger_core::sim::{SimClock, SimDisk};
use ledger_core::{
    CheckpointError, DirectoryLock, MirroredStorage, OnSideFailure, Storage, StorageFile, backup, salvage_on,
    verify_storage,
};

use super::{fill, names};
use crate::model::Asked;
use crate::stage::{START, amount, answer, ask, metadata, options, user};

#[test]
fn a_checkpoint_on_a_full_disk_fails_and_the_next_one_is_made() {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    let ledger = options(&clock).open_on(disk.clone()).expect("an empty disk");
    answer(ask(&ledger, &Asked::charge(user(1), amount(10), "before"))).expect("accepted");
    disk.set_capacity(disk.used() + 100);
    match ledger.checkpoint() {
        Err(CheckpointError::Io { source, .. }) => assert_eq!(source.kind(), std::io::ErrorKind::StorageFull),
        other => panic!("a checkpoint without room: {other:?}"),
    }
    assert_eq!((ledger.checkpoints().failed, ledger.halted()), (1, None));
    answer(ask(&ledger, &Asked::charge(user(1), amount(10), "meanwhile"))).expect("there is room in the log");
    disk.set_capacity(1 << 30);
    assert_eq!(ledger.checkpoint().expect("there is room").seq, ledger.appended());
    assert!(names(&disk, ".tmp").is_empty(), "what the failed one left is gone");
    let digest = ledger.state_digest();
    drop(ledger);
    assert_eq!(options(&clock).open_on(disk).expect("sound").state_digest(), digest);
}

/// A disk on which a snapshot cannot be created, and whoever tries panics, while `panics` says so.
struct Panics {
    disk: SimDisk,
    panics: Arc<AtomicBool>,
}

impl Storage for Panics {
    fn lock(&self) -> io::Result<DirectoryLock> {
        self.disk.lock()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let is_planned = name.ends_with(".snapshot.tmp") && self.panics.load(Ordering::Relaxed);
        assert!(!is_planned, "a planned panic");
        self.disk.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.disk.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }

    fn describe(&self) -> String {
        self.disk.describe()
    }
}

#[test]
fn a_checkpoint_by_itself_that_fails_is_counted_and_told_until_one_is_made() {
    let (disk, clock, panics) = (SimDisk::new(1), SimClock::at(START), Arc::new(AtomicBool::new(true)));
    let storage = Panics { disk, panics: Arc::clone(&panics) };
    // One is due at each segment.
    let ledger = options(&clock).threads(true).checkpoint_bytes(Some(1)).open_on(storage).expect("an empty disk");
    assert_eq!((ledger.stats().checkpoint_failures, ledger.stats().checkpoint_failure), (0, None));
    // Where nobody tells, this comes to its end.
    let told = (0..64).find_map(|round| {
        fill(&ledger, round, 1);
        ledger.stats().checkpoint_failure
    });
    let told = told.expect("it is told");
    assert!(told.contains("a planned panic"), "{told}");
    let failures = ledger.stats().checkpoint_failures;
    assert!(failures > 0 && ledger.checkpoints().made == 0 && ledger.halted().is_none());
    panics.store(false, Ordering::Relaxed);
    let made = (64..128).find(|round| {
        fill(&ledger, *round, 1);
        ledger.checkpoints().made > 0
    });
    assert!(made.is_some(), "the thread that makes them lives");
    assert!(ledger.stats().checkpoint_failures >= failures);
    assert_eq!(ledger.stats().checkpoint_failure, None);
    let digest = ledger.state_digest();
    ledger.close().expect("nothing is in the way");
    assert_eq!(ledger.state_digest(), digest);
}

#[test]
fn a_checkpoint_that_runs_out_of_room_gives_back_what_it_took() {
    let clock = SimClock::at(START);
    let disk = SimDisk::new(1);
    let ledger = options(&clock).key_seed(3).open_on(disk.clone()).expect("an empty disk");
    for n in 0..300 {
        let noted = metadata(4_000, n);
        let charge = Asked { metadata: Some(noted), ..Asked::charge(user(n + 1), amount(1), format!("{n}")) };
        answer(ask(&ledger, &charge)).expect("accepted");
    }
    let mut before = disk.used();
    // Some of the history is written before there is no room.
    disk.set_capacity(before + (1 << 20) + 4_096);
    for n in 0..3 {
        assert!(matches!(ledger.checkpoint(), Err(CheckpointError::Io { .. })));
        assert!(names(&disk, ".tmp").is_empty());
        assert_eq!(disk.used(), before);
        // The next one is of another seq, whose files have other names.
        disk.set_capacity(1 << 30);
        answer(ask(&ledger, &Asked::charge(user(1), amount(1), format!("again {n}")))).expect("accepted");
        before = disk.used();
        disk.set_capacity(before + (1 << 20) + 4_096);
    }
}

#[test]
fn an_opening_removes_what_a_checkpoint_left_that_was_killed() {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    let ledger = options(&clock).open_on(disk.clone()).expect("an empty disk");
    answer(ask(&ledger, &Asked::charge(user(1), amount(10), "a"))).expect("accepted");
    let mut left = 0;
    let from = disk.operations();
    (from..from + 40).for_each(|at| disk.photograph_at(at, at));
    ledger.checkpoint().expect("a disk that works");
    for photo in disk.photographs() {
        let killed = photo.after_kill();
        left += names(&killed, ".tmp").len();
        options(&clock).open_on(killed.clone()).expect("sound");
        assert!(names(&killed, ".tmp").is_empty());
    }
    assert!(left > 0);
}

#[test]
fn a_torn_tail_behind_a_snapshot_is_kept_and_told() {
    let mut torn = 0;
    for seed in 0..40 {
        let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
        let ledger = options(&clock).open_on(disk.clone()).expect("an empty disk");
        answer(ask(&ledger, &Asked::charge(user(1), amount(10), "before"))).expect("accepted");
        ledger.checkpoint().expect("a disk that works");
        let digest = ledger.state_digest();
        // The power fails while the next commit is written.
        disk.crash_after(disk.operations());
        let noted = Asked { metadata: Some(metadata(4_000, 1)), ..Asked::charge(user(1), amount(10), "torn") };
        assert!(answer(ask(&ledger, &noted)).is_err());
        drop(ledger);
        let disk = disk.survivor(seed);
        let ledger = options(&clock).open_on(disk.clone()).expect("nothing that was acknowledged is lost");
        if let Some((file, bytes)) = &ledger.recovered().torn {
            assert_eq!(ledger.state_digest(), digest);
            assert!(*bytes > 0 && disk.read(file).is_some(), "{file}");
            torn += 1;
        }
    }
    assert!(torn > 0, "no power cut tore a commit");
}

/// Whoever reads what is left from its beginning on would stop at a hole: a check, a backup, a mirror, a salvage.
#[test]
fn a_power_cut_while_the_log_is_retired_leaves_no_hole_in_it() {
    let clock = SimClock::at(START);
    let mut looked_at = 0;
    for seed in 0..12 {
        let disk = SimDisk::new(seed);
        let ledger = options(&clock).open_on(disk.clone()).expect("an empty disk");
        fill(&ledger, 0, 4);
        ledger.checkpoint().expect("a disk that works");
        fill(&ledger, 1, 1);
        let (from, segments) = (disk.operations(), names(&disk, ".segment").len());
        (from..from + 60).for_each(|at| disk.photograph_at(at, seed + at));
        assert!(ledger.checkpoint().expect("a disk that works").segments_retired > 2, "of {segments}");
        let last = ledger.appended();
        for photo in disk.photographs() {
            let verified = verify_storage(&photo).unwrap_or_else(|err| panic!("seed {seed}: {err}"));
            assert_eq!(verified.last_seq, last);
            let (copy, mirror) = (SimDisk::new(2), SimDisk::new(3));
            backup(&photo, &copy).unwrap_or_else(|err| panic!("seed {seed}: {err}"));
            let taken =
                salvage_on(&photo, Arc::new(SimDisk::new(4))).unwrap_or_else(|err| panic!("seed {seed}: {err}"));
            assert_eq!(taken.last_seq, last);
            let sides = MirroredStorage::open(Arc::new(photo), Arc::new(mirror), OnSideFailure::Halt);
            sides.unwrap_or_else(|err| panic!("seed {seed}: {err}"));
            looked_at += 1;
        }
    }
    assert!(looked_at > 200, "{looked_at}");
}
