//! A mirrored ledger: what is cut off while one side is filled, and sides that fail at once.

mod snapshots;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use ledger_core::sim::{Fault, SimClock, SimDisk};
use ledger_core::{
    DirectoryLock, Ledger, MirroredStorage, OnSideFailure, OpenError, RestoreTo, Seq, Storage, StorageFile,
    is_executor_stopped, release_executor, restore, verify_storage,
};

use crate::model::Asked;
use crate::stage::{START, amount, answer, ask, metadata, options, user};

fn open_pair(clock: &SimClock, sides: [&SimDisk; 2]) -> Result<Ledger, OpenError> {
    let [primary, mirror] = sides.map(|side| Arc::new(side.clone()) as Arc<dyn Storage>);
    options(clock).open_on(MirroredStorage::open(primary, mirror, OnSideFailure::Halt)?)
}

fn charge(ledger: &Ledger, n: u64) {
    answer(ask(ledger, &Asked::charge(user(1 + n % 3), amount(10), format!("{n}")))).expect("accepted");
}

/// A segment and a half.
fn fill(ledger: &Ledger, round: u64) {
    let asked = |n| Asked {
        metadata: Some(metadata(4_096, n)),
        ..Asked::charge(user(1 + n % 3), amount(10), format!("{round} {n}"))
    };
    for part in 0..3 {
        let asked: Vec<_> = (0..120).map(|n| asked(part * 120 + n)).collect();
        let commands: Vec<_> = asked.iter().map(Asked::command).collect();
        answer(ledger.batch(&commands)).expect("disks that work");
    }
}

#[test]
fn a_mirror_whose_filling_is_cut_off_anywhere_is_filled_by_the_next_start() {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    let ledger = options(&clock).open_on(disk.clone()).expect("an empty disk");
    for n in 0..6 {
        charge(&ledger, n);
        if n % 2 == 1 {
            ledger.checkpoint().expect("a disk that works");
        }
    }
    ledger.close().expect("a disk that works");
    for cut in 0.. {
        let (one, two) = (disk.after_kill(), SimDisk::new(5));
        two.crash_after(cut);
        if open_pair(&clock, [&one, &two]).is_ok() {
            assert!(cut > 20, "{cut}");
            break;
        }
        for two in [two.after_kill(), two.survivor(cut)] {
            open_pair(&clock, [&one.after_kill(), &two]).unwrap_or_else(|err| panic!("cut {cut}: {err}"));
        }
    }
}

#[test]
fn a_pair_starts_again_after_a_side_failed_anywhere_in_a_checkpoint() {
    let clock = SimClock::at(START);
    for cut in 0.. {
        let (one, two) = (SimDisk::new(1), SimDisk::new(2));
        let ledger = open_pair(&clock, [&one, &two]).expect("empty disks");
        (0..3).for_each(|n| charge(&ledger, n));
        two.crash_after(two.operations() + cut);
        let is_made = ledger.checkpoint().is_ok();
        drop(ledger);
        if is_made {
            assert!(cut > 5, "{cut}");
            break;
        }
        open_pair(&clock, [&one.after_kill(), &two.after_kill()]).unwrap_or_else(|err| panic!("cut {cut}: {err}"));
    }
}

#[test]
fn a_side_with_sectors_that_cannot_be_read_is_made_a_copy_of_the_other() {
    let clock = SimClock::at(START);
    let sides = [SimDisk::new(1), SimDisk::new(2)];
    let ledger = open_pair(&clock, [&sides[0], &sides[1]]).expect("empty disks");
    for n in 0..9 {
        charge(&ledger, n);
        if n % 4 == 3 {
            ledger.checkpoint().expect("a disk that works");
        }
    }
    ledger.close().expect("a disk that works");
    let digest = ledger.state_digest();
    drop(ledger);
    let mut mended = 0;
    for (side, disk) in sides.iter().enumerate() {
        for file in disk.names().iter().filter(|name| name.ends_with(".segment") || name.ends_with(".mark")) {
            let written = disk.written(file).expect("it is there");
            for at in (0..written + 4_096).step_by(4_096) {
                let pair = sides.each_ref().map(|side| side.after_kill());
                pair[side].lose_sectors(file, at..at + 512);
                let ledger = open_pair(&clock, [&pair[0], &pair[1]]).unwrap_or_else(|err| panic!("{file} {at}: {err}"));
                assert_eq!(ledger.state_digest(), digest, "{file} {at}");
                drop(ledger);
                // Each side is whole by itself.
                pair.iter().for_each(|side| assert!(verify_storage(side).is_ok(), "{file} {at}"));
                mended += 1;
            }
        }
    }
    assert!(mended > 20, "{mended}");
}

fn names(disk: &SimDisk, suffixes: &[&str]) -> Vec<String> {
    disk.names().into_iter().filter(|name| suffixes.iter().any(|suffix| name.ends_with(suffix))).collect()
}

#[test]
fn a_restore_is_not_undone_by_a_longer_mirror() {
    let clock = SimClock::at(START);
    let (one, two) = (SimDisk::new(1), SimDisk::new(2));
    let ledger = open_pair(&clock, [&one, &two]).expect("empty disks");
    (0..9).for_each(|n| charge(&ledger, n));
    ledger.close().expect("a disk that works");
    for until in [5, 9] {
        let new = SimDisk::new(3);
        restore(&one, Arc::new(new.clone()), RestoreTo::Seq(Seq::new(until))).expect("a disk that works");
        for is_released in [false, true] {
            if is_released {
                release_executor(&new).expect("a disk that works");
            }
            for sides in [[&new, &two], [&two, &new]] {
                let sides = sides.map(SimDisk::after_kill);
                let opened = open_pair(&clock.clone(), [&sides[0], &sides[1]]);
                match opened {
                    // It has all that the mirror has.
                    Ok(ledger) => assert_eq!((until, ledger.appended().get()), (9, 9)),
                    Err(OpenError::InvalidOption { reason }) => {
                        assert!(until < 9 && reason.contains("was restored or salvaged up to seq 5"), "{reason}");
                        assert!(reason.contains("empty"), "{reason}");
                    }
                    Err(err) => panic!("until {until}: {err}"),
                }
            }
        }
        // With the mirror emptied it is filled.
        let two = SimDisk::new(4);
        assert_eq!(open_pair(&clock, [&new, &two]).expect("an empty mirror").appended().get(), until);
        assert!(two.names().len() > 1);
    }
}

#[test]
fn a_release_reaches_the_mirror() {
    let clock = SimClock::at(START);
    let whole = SimDisk::new(1);
    let ledger = options(&clock).open_on(whole.clone()).expect("an empty disk");
    (0..3).for_each(|n| charge(&ledger, n));
    ledger.close().expect("a disk that works");
    let (one, two) = (SimDisk::new(2), SimDisk::new(3));
    restore(&whole, Arc::new(one.clone()), RestoreTo::End).expect("a disk that works");
    open_pair(&clock, [&one, &two]).expect("an empty mirror").close().expect("disks that work");
    assert!(
        is_executor_stopped(&one).expect("a disk that works") && is_executor_stopped(&two).expect("a disk that works")
    );
    release_executor(&one).expect("a disk that works");
    open_pair(&clock, [&one, &two]).expect("sound").close().expect("disks that work");
    assert!(!is_executor_stopped(&two).expect("a disk that works"));
    // Also where the mirror fills the primary directory.
    let one = SimDisk::new(4);
    open_pair(&clock, [&one, &two]).expect("sound");
    assert!(!is_executor_stopped(&one).expect("a disk that works"));
}

#[test]
fn a_removal_that_failed_on_one_side_is_done_by_a_later_checkpoint() {
    let clock = SimClock::at(START);
    let mut failed = 0;
    for side in 0..2 {
        for at in 0.. {
            let sides = [SimDisk::new(1), SimDisk::new(2)];
            let [primary, mirror] = sides.each_ref().map(|side| Arc::new(side.clone()) as Arc<dyn Storage>);
            let mirrored = MirroredStorage::open(primary, mirror, OnSideFailure::Halt).expect("empty disks");
            let ledger = options(&clock).history_bytes(600).open_on(mirrored).expect("empty disks");
            // Some of the log's segments go with each.
            let checkpoint = |n: u64| {
                fill(&ledger, n);
                ledger.checkpoint()
            };
            for n in 0..3 {
                checkpoint(n).expect("disks that work");
            }
            fill(&ledger, 8);
            let begun = sides[side].operations();
            sides[side].fail_at(begun + at, Fault::Eio);
            let is_made = ledger.checkpoint().is_ok();
            if sides[side].operations() <= begun + at {
                assert!(at > 12, "{at}");
                break;
            }
            if ledger.halted().is_some() {
                continue;
            }
            failed += u64::from(!is_made);
            for n in 9..12 {
                checkpoint(n).expect("disks that work again");
            }
            ledger.close().expect("disks that work again");
            for (n, left) in sides.iter().enumerate() {
                verify_storage(left).unwrap_or_else(|err| panic!("operation {at} of side {side}: side {n}: {err}"));
            }
            assert_eq!(sides[0].names(), sides[1].names(), "operation {at} of side {side}");
        }
    }
    assert!(failed > 8, "{failed}");
}

#[test]
fn a_side_that_was_full_for_a_moment_leaves_no_hole_in_the_others_log() {
    let clock = SimClock::at(START);
    for side in 0..2 {
        for at in 0.. {
            let sides = [SimDisk::new(1), SimDisk::new(2)];
            let ledger = open_pair(&clock, [&sides[0], &sides[1]]).expect("empty disks");
            let begun = sides[side].operations();
            sides[side].fail_at(begun + at, Fault::Enospc);
            // More than a segment has.
            for round in 0..12 {
                let asked = |n| Asked {
                    metadata: Some(metadata(4_096, n)),
                    ..Asked::charge(user(1 + n), amount(10), format!("{round} {n}"))
                };
                let asked: Vec<_> = (0..40).map(asked).collect();
                let commands: Vec<_> = asked.iter().map(Asked::command).collect();
                // Whether it is refused, halts the ledger or is tried again.
                let _ = answer(ledger.batch(&commands));
            }
            drop(ledger);
            for (n, left) in sides.iter().enumerate() {
                let verified = verify_storage(&left.after_kill());
                verified.unwrap_or_else(|err| panic!("operation {at} of side {side}: side {n}: {err}"));
            }
            if sides[side].operations() <= begun + at {
                assert!(at > 24, "{at}");
                break;
            }
        }
    }
}

#[test]
fn what_a_side_that_was_lost_for_a_time_has_too_much_is_removed() {
    let clock = SimClock::at(START);
    let (one, two) = (SimDisk::new(1), SimDisk::new(2));
    let open = |two: &SimDisk| {
        let sides = MirroredStorage::open(Arc::new(one.clone()), Arc::new(two.clone()), OnSideFailure::GoOn);
        options(&clock).history_bytes(600).open_on(sides.expect("a sound side")).expect("sound")
    };
    let ledger = open(&two);
    let checkpoints = |ledger: &Ledger, from: u64| {
        for n in from..from + 4 {
            charge(ledger, n);
            ledger.checkpoint().expect("a disk that works");
        }
    };
    checkpoints(&ledger, 0);
    two.crash_after(two.operations());
    checkpoints(&ledger, 4);
    assert!(ledger.degraded().is_some());
    ledger.close().expect("a side that works");
    let two = two.after_kill();
    let files = [".snapshot", ".history"];
    assert!(names(&two, &files).iter().any(|name| !names(&one, &files).contains(name)), "it has old ones");
    let ledger = open(&two);
    assert_eq!(names(&one, &files), names(&two, &files));
    checkpoints(&ledger, 8);
    drop(ledger);
    assert_eq!(names(&one, &files), names(&two, &files));
    [&one, &two].into_iter().for_each(|side| assert_eq!(verify_storage(side).expect("sound").snapshots, 2));
}

/// A primary directory that ends with entry 9, and a mirror that went on alone until snapshots took the place of the log that both
/// had; and what the ledger is.
fn far_behind(clock: &SimClock) -> ([SimDisk; 2], u128) {
    let sides = [SimDisk::new(1), SimDisk::new(2)];
    let open = || {
        let [primary, mirror] = sides.each_ref().map(|side| Arc::new(side.clone()) as Arc<dyn Storage>);
        let mirrored = MirroredStorage::open(primary, mirror, OnSideFailure::GoOn).expect("sound");
        options(clock).history_bytes(0).open_on(mirrored).expect("sound")
    };
    let work = |ledger: &Ledger, from: u64| {
        for n in from..from + 9 {
            charge(ledger, n);
            if n % 4 == 3 {
                ledger.checkpoint().expect("a disk that works");
            }
        }
    };
    let ledger = open();
    work(&ledger, 0);
    ledger.close().expect("disks that work");
    drop(ledger);
    let ledger = open();
    sides[0].crash_after(sides[0].operations());
    (2..5).for_each(|round| work(&ledger, round * 10));
    assert!(ledger.degraded().is_some());
    ledger.close().expect("a side that works");
    let digest = ledger.state_digest().1;
    drop(ledger);
    let left = sides.each_ref().map(SimDisk::after_kill);
    assert!(names(&left[0], &[".segment"]) < names(&left[1], &[".segment"]), "the log that both had is retired");
    (left, digest)
}

#[test]
fn a_side_that_is_far_behind_and_whose_filling_is_cut_off_anywhere_costs_nothing() {
    let clock = SimClock::at(START);
    let (left, digest) = far_behind(&clock);
    for is_turned in [false, true] {
        for cut in 0.. {
            let pair = left.each_ref().map(SimDisk::after_kill);
            pair[0].crash_after(cut);
            if open_in_order(&clock, &pair, is_turned).is_ok() {
                assert!(cut > 20, "{cut}");
                break;
            }
            for seed in [cut, cut + 1_000, cut + 2_000] {
                let is_killed = seed == cut;
                let pair = pair.each_ref().map(|side| if is_killed { side.after_kill() } else { side.survivor(seed) });
                let what = format!("cut {cut}, seed {seed}, turned: {is_turned}");
                let ledger = open_in_order(&clock, &pair, is_turned).unwrap_or_else(|err| panic!("{what}: {err}"));
                assert_eq!(ledger.state_digest().1, digest, "{what}");
                drop(ledger);
                for side in &pair {
                    let alone = options(&clock).open_on(side.after_kill());
                    let alone = alone.unwrap_or_else(|err| panic!("{what}, one side alone: {err}"));
                    assert_eq!(alone.state_digest().1, digest, "{what}, one side alone");
                }
            }
        }
    }
}

#[test]
fn what_rotted_under_a_cache_that_hides_it_is_mended_and_not_copied() {
    let clock = SimClock::at(START);
    let sides = [SimDisk::new(1), SimDisk::new(2)];
    for round in 0..3 {
        let ledger = open_pair(&clock, [&sides[0], &sides[1]]).expect("sound");
        (0..3).for_each(|n| charge(&ledger, round * 3 + n));
        ledger.close().expect("disks that work");
    }
    let digest = options(&clock).open_on(sides[0].after_kill()).expect("sound").state_digest();
    let mut images = 0;
    for (side, disk) in sides.iter().enumerate() {
        for file in names(disk, &[".segment", ".mark"]) {
            for at in (0..disk.written(&file).expect("it is there")).step_by(4_096) {
                let pair = sides.each_ref().map(|side| side.after_kill());
                pair[side].rot_bit(&file, at + 100, 3);
                let what = format!("side {side}, {file} at {at}");
                drop(open_pair(&clock, [&pair[0], &pair[1]]).unwrap_or_else(|err| panic!("{what}: {err}")));
                for left in pair.iter().map(|side| side.survivor(0)) {
                    verify_storage(&left).unwrap_or_else(|err| panic!("{what}: {err}"));
                    let alone = options(&clock).open_on(left).unwrap_or_else(|err| panic!("{what}: {err}"));
                    assert_eq!(alone.state_digest(), digest, "{what}");
                }
                images += 1;
            }
        }
    }
    assert!(images > 30, "{images}");
}

/// A ledger of three charges that was restored, on both sides; its withdrawals wait for an operator.
fn restored_pair(clock: &SimClock) -> [SimDisk; 2] {
    let (whole, pair) = (SimDisk::new(1), [SimDisk::new(2), SimDisk::new(3)]);
    let ledger = options(clock).open_on(whole.clone()).expect("an empty disk");
    (0..3).for_each(|n| charge(&ledger, n));
    ledger.close().expect("a disk that works");
    restore(&whole, Arc::new(pair[0].clone()), RestoreTo::End).expect("a disk that works");
    open_pair(clock, [&pair[0], &pair[1]]).expect("an empty mirror").close().expect("disks that work");
    assert_eq!(stopped(&pair), [true, true]);
    pair
}

fn stopped(sides: &[SimDisk; 2]) -> [bool; 2] {
    sides.each_ref().map(|side| is_executor_stopped(side).expect("a disk that works"))
}

/// Opens the pair in one order or the other.
fn open_in_order(clock: &SimClock, sides: &[SimDisk; 2], is_turned: bool) -> Result<Ledger, OpenError> {
    let [one, two] = sides;
    open_pair(clock, if is_turned { [two, one] } else { [one, two] })
}

#[test]
fn a_side_of_a_restored_ledger_whose_filling_is_cut_off_anywhere_is_stopped_and_so_is_the_other() {
    let clock = SimClock::at(START);
    let [restored, _] = restored_pair(&clock);
    for is_turned in [false, true] {
        for cut in 0.. {
            let pair = [restored.after_kill(), SimDisk::new(5)];
            pair[1].crash_after(cut);
            let is_done = open_in_order(&clock, &pair, is_turned).is_ok();
            for seed in [cut, cut + 1_000, cut + 2_000] {
                let is_killed = seed == cut;
                let left = pair.each_ref().map(|side| if is_killed { side.after_kill() } else { side.survivor(seed) });
                drop(open_in_order(&clock, &left, is_turned).unwrap_or_else(|err| panic!("cut {cut}: {err}")));
                assert_eq!(stopped(&left), [true, true], "cut {cut}, turned: {is_turned}");
            }
            if is_done {
                assert!(cut > 20, "{cut}");
                break;
            }
        }
    }
}

#[test]
fn a_release_that_is_cut_off_anywhere_is_one_on_both_sides_or_on_none() {
    let clock = SimClock::at(START);
    let whole = restored_pair(&clock);
    for cut in 0.. {
        let released = whole[0].after_kill();
        released.crash_after(cut);
        let is_done = release_executor(&released).is_ok();
        for left in [released.after_kill(), released.survivor(cut), released.survivor(cut + 1_000)] {
            for is_turned in [false, true] {
                let pair = [left.after_kill(), whole[1].after_kill()];
                let before = stopped(&pair)[0];
                assert!(!is_done || !before);
                drop(open_in_order(&clock, &pair, is_turned).expect("sound"));
                assert_eq!(stopped(&pair), [before, before], "cut {cut}, turned: {is_turned}");
            }
        }
        if is_done {
            assert!(cut > 3, "{cut}");
            break;
        }
    }
}

#[test]
fn a_stop_goes_with_the_release_of_that_very_stop_alone() {
    let clock = SimClock::at(START);
    let whole = restored_pair(&clock);
    for is_turned in [false, true] {
        // One that is gone and was not released comes back from the other side.
        let pair = whole.each_ref().map(SimDisk::after_kill);
        pair[0].erase("executor.stopped");
        drop(open_in_order(&clock, &pair, is_turned).expect("sound"));
        assert_eq!(stopped(&pair), [true, true], "turned: {is_turned}");
        // A release reaches a side that is damaged, too.
        release_executor(&pair[0]).expect("a disk that works");
        let segment = names(&pair[1], &[".segment"])[0].clone();
        pair[1].flip_bit(&segment, 2 * 4_096 + 100, 0);
        drop(open_in_order(&clock, &pair, is_turned).expect("one is sound"));
        assert_eq!(stopped(&pair), [false, false], "turned: {is_turned}");
        // Of the next restore, the release of the one before says nothing.
        let again = SimDisk::new(7);
        restore(&pair[0], Arc::new(again.clone()), RestoreTo::End).expect("a disk that works");
        let pair = [again, pair[1].after_kill()];
        drop(open_in_order(&clock, &pair, is_turned).expect("the same history"));
        assert_eq!(stopped(&pair), [true, true], "turned: {is_turned}");
        release_executor(&pair[1]).expect("a disk that works");
        drop(open_in_order(&clock, &pair, is_turned).expect("sound"));
        assert_eq!(stopped(&pair), [false, false], "turned: {is_turned}");
    }
}

#[test]
fn a_released_restore_that_is_damaged_is_not_undone_by_the_old_mirror() {
    let clock = SimClock::at(START);
    let (one, old) = (SimDisk::new(1), SimDisk::new(2));
    let ledger = open_pair(&clock, [&one, &old]).expect("empty disks");
    (0..9).for_each(|n| charge(&ledger, n));
    ledger.close().expect("disks that work");
    let new = SimDisk::new(3);
    restore(&one, Arc::new(new.clone()), RestoreTo::Seq(Seq::new(5))).expect("a disk that works");
    release_executor(&new).expect("a disk that works");
    new.flip_bit(&names(&new, &[".segment"])[0], 2 * 4_096 + 100, 0);
    let without_mark = new.after_kill();
    without_mark.erase("durable.mark");
    for damaged in [new, without_mark] {
        for is_turned in [false, true] {
            let pair = [damaged.after_kill(), old.after_kill()];
            match open_in_order(&clock, &pair, is_turned).map(drop) {
                Err(OpenError::InvalidOption { reason }) => {
                    assert!(reason.contains("was restored or salvaged"), "{reason}");
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(verify_storage(&pair[1]).expect("as it was").last_seq.get(), 9);
        }
    }
}

#[test]
fn a_file_that_one_side_does_not_have_is_removed_and_neither_side_is_lost() {
    let disks = [SimDisk::new(1), SimDisk::new(2)];
    let [primary, mirror] = disks.each_ref().map(|disk| Arc::new(disk.clone()) as Arc<dyn Storage>);
    let mirrored = MirroredStorage::open(primary, mirror, OnSideFailure::GoOn).expect("empty disks");
    for disk in &disks {
        disk.create("7.snapshot.tmp").expect("a disk that works");
        mirrored.remove("7.snapshot.tmp").expect("one side has it");
        assert_eq!(disk.names(), Vec::<String>::new());
        assert_eq!(mirrored.remove("7.snapshot.tmp").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(mirrored.degraded(), None);
    }
}

/// Asked before a file or the directory is synced.
type BeforeSync = Arc<dyn Fn(&str) -> io::Result<()> + Send + Sync>;

struct Watched(SimDisk, BeforeSync);

struct WatchedFile(Arc<dyn StorageFile>, BeforeSync);

impl Watched {
    fn file(&self, file: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        Arc::new(WatchedFile(file, Arc::clone(&self.1)))
    }
}

impl Storage for Watched {
    fn lock(&self) -> io::Result<DirectoryLock> {
        self.0.lock()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.file(self.0.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.file(self.0.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        (self.1)("directory")?;
        self.0.sync_directory()
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

impl StorageFile for WatchedFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn read_device_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_device_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        (self.1)("file")?;
        self.0.sync_data()
    }
}

#[test]
fn a_sync_that_fails_on_the_side_that_is_left_fails() {
    let fails = Arc::new(AtomicBool::new(false));
    let whole: Arc<OnceLock<MirroredStorage>> = Arc::default();
    let of_primary = Arc::clone(&fails);
    let primary: BeforeSync = Arc::new(move |what| match what {
        "directory" if of_primary.load(Ordering::SeqCst) => Err(io::Error::other("the primary fails")),
        _ => Ok(()),
    });
    let (of_mirror, both) = (Arc::clone(&fails), Arc::clone(&whole));
    let mirror: BeforeSync = Arc::new(move |what| {
        if what == "file" && of_mirror.load(Ordering::SeqCst) {
            // What another thread does meanwhile: it finds the primary failing.
            both.get().expect("it is open").sync_directory()?;
            return Err(io::Error::other("the mirror fails"));
        }
        Ok(())
    });
    let [primary, mirror] =
        [(1, primary), (2, mirror)].map(|(seed, hook)| Arc::new(Watched(SimDisk::new(seed), hook)) as Arc<dyn Storage>);
    let opened = MirroredStorage::open(primary, mirror, OnSideFailure::GoOn).expect("empty disks");
    assert!(whole.set(opened).is_ok());
    let mirrored = whole.get().expect("it was set");
    let file = mirrored.create("x").expect("a disk that works");
    file.write_at(&[7; 4096], 0).expect("a disk that works");
    fails.store(true, Ordering::SeqCst);
    let synced = file.sync_data();
    assert!(synced.is_err(), "acknowledged, and durable only on the side that is lost");
    assert!(mirrored.degraded().is_some_and(|reason| reason.contains("the primary fails")));
}

#[test]
fn what_was_acknowledged_alone_is_not_undone_by_the_side_that_was_lost() {
    let clock = SimClock::at(START);
    let sides = [SimDisk::new(1), SimDisk::new(2)];
    let open = |sides: &[SimDisk; 2]| {
        let [primary, mirror] = sides.each_ref().map(|side| Arc::new(side.clone()) as Arc<dyn Storage>);
        MirroredStorage::open(primary, mirror, OnSideFailure::GoOn).map(|pair| options(&clock).open_on(pair))
    };
    for n in 0..3 {
        let ledger = open(&sides).expect("sound sides").expect("sound sides");
        charge(&ledger, n);
        ledger.close().expect("disks that work");
    }
    let ledger = open(&sides).expect("sound sides").expect("sound sides");
    (0..64).for_each(|n| sides[1].fail_at(sides[1].operations() + n, Fault::Eio));
    // Of the last one nothing else tells yet that it is durable.
    charge(&ledger, 3);
    assert!(ledger.degraded().is_some());
    let left = sides.each_ref().map(SimDisk::after_kill);
    drop(ledger);
    let segments = names(&left[0], &[".segment"]);
    let last = segments.iter().rposition(|name| left[0].written(name) > Some(8_192)).expect("one has entries");
    for name in &segments[..last] {
        let pair = left.each_ref().map(SimDisk::after_kill);
        pair[0].erase(name);
        let before = pair.each_ref().map(|side| side.names());
        match open(&pair) {
            Ok(ledger) => assert_eq!(ledger.expect("it was mended").appended().get(), 4, "{name}"),
            Err(err @ OpenError::Damaged { .. }) => {
                assert!(err.to_string().contains("entries up to seq 4"), "{name}: {err}");
            }
            Err(err) => panic!("{name}: {err}"),
        }
        assert!(before[0].iter().all(|name| pair[0].names().contains(name)), "nothing is taken away");
    }
}
