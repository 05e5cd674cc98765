//! Segments of the log that are missing: what still stands on the snapshots is served, backed up and salvaged, and what does not is
//! named.

use std::sync::Arc;

use ledger_core::sim::{SimClock, SimDisk};
use ledger_core::{
    Ledger, OpenError, Options, RestoreTo, Salvaged, Seq, Storage, backup, release_executor, restore, salvage_on,
    verify_storage,
};

use crate::model::Asked;
use crate::stage::{START, amount, answer, ask, metadata, options, user};

fn usual() -> Options {
    options(&SimClock::at(START)).accept_clock(true)
}

fn open(disk: &SimDisk) -> Result<Ledger, OpenError> {
    usual().open_on(disk.clone())
}

fn charge(ledger: &Ledger, key: &str) {
    answer(ask(ledger, &Asked::charge(user(1), amount(10), key))).expect("accepted");
}

fn names(disk: &SimDisk, suffix: &str) -> Vec<String> {
    let names = disk.list().expect("a disk that works");
    names.into_iter().filter(|name| name.ends_with(suffix)).collect()
}

/// Segments with entries.
fn segments(disk: &SimDisk) -> Vec<String> {
    let is_used = |name: &String| disk.written(name).is_some_and(|bytes| bytes > 8_192);
    names(disk, ".segment").into_iter().filter(is_used).collect()
}

/// A ledger of so many lives. Each writes a segment of its own: three charges, a checkpoint, and one charge more.
fn lives(count: u64) -> SimDisk {
    let disk = SimDisk::new(1);
    for life in 0..count {
        let ledger = open(&disk).expect("sound");
        (0..3).for_each(|n| charge(&ledger, &format!("{life} {n}")));
        ledger.checkpoint().expect("a disk that works");
        charge(&ledger, &format!("{life} after"));
        ledger.close().expect("nothing is in the way");
    }
    disk
}

/// Four lives, of which the first two's segments are retired; the others'.
fn retired() -> (SimDisk, [String; 2]) {
    let disk = lives(4);
    let segments = segments(&disk).try_into().expect("two are kept");
    (disk, segments)
}

fn without(disk: &SimDisk, file: &str) -> SimDisk {
    let disk = disk.after_kill();
    disk.erase(file);
    disk
}

/// Salvages; what was taken is sound, and every seq that was durable and is lost is listed.
fn salvaged(disk: &SimDisk) -> (Salvaged, SimDisk) {
    let into = SimDisk::new(9);
    let taken = salvage_on(disk, Arc::new(into.clone())).expect("something can be taken");
    assert_eq!(verify_storage(&into).expect("sound").last_seq, taken.last_seq);
    for seq in taken.last_seq.get() + 1..=taken.known_durable.get() {
        let is_in = |(first, last): (Seq, Seq)| (first.get()..=last.get()).contains(&seq);
        let is_listed = taken.given_up.iter().any(|given_up| given_up.seqs.is_some_and(is_in));
        assert!(is_listed, "{seq} is not in {:?}", taken.given_up);
    }
    (taken, into)
}

/// The file and the seqs of each thing that was given up.
fn given_up(taken: &Salvaged) -> Vec<(&str, Option<(u64, u64)>)> {
    let seqs = |(first, last): (Seq, Seq)| (first.get(), last.get());
    taken.given_up.iter().map(|given_up| (given_up.file.as_str(), given_up.seqs.map(seqs))).collect()
}

#[test]
fn the_log_before_the_newest_snapshot_is_missed_by_an_opening_and_by_nothing_that_goes_on_from_there() {
    let (disk, [third, _]) = retired();
    let whole = open(&disk.after_kill()).expect("sound");
    assert_eq!((whole.recovered().unbacked.clone(), whole.appended()), (None, Seq::new(16)));
    let damaged = without(&disk, &third);
    assert!(verify_storage(&damaged).is_err(), "the older snapshot leads to nothing");
    let ledger = open(&damaged.after_kill()).expect("the newest snapshot and the log after it are whole");
    assert_eq!(ledger.state_digest(), whole.state_digest());
    let told = ledger.recovered().unbacked.clone().expect("it is told");
    assert!(told.contains("snapshot at seq 11") && told.contains("not there any more"), "{told}");

    let copy = SimDisk::new(2);
    let made = backup(&damaged, &copy).expect("the newest is enough");
    assert_eq!((made.snapshots, made.last_seq), (1, Seq::new(16)));
    assert!(verify_storage(&copy).is_ok());
    let restored = SimDisk::new(3);
    restore(&damaged, Arc::new(restored.clone()), RestoreTo::End).expect("as well");
    assert_eq!(open(&restored).expect("sound").state_digest(), whole.state_digest());
    let earlier = restore(&damaged, Arc::new(SimDisk::new(4)), RestoreTo::Seq(Seq::new(12)));
    match earlier {
        Err(OpenError::InvalidOption { reason }) => assert!(reason.contains("from seq 15 on"), "{reason}"),
        other => panic!("{other:?}"),
    }

    let (taken, into) = salvaged(&damaged);
    assert_eq!((taken.last_seq, taken.known_durable), (Seq::new(16), Seq::new(16)));
    let older = &names(&disk, ".snapshot")[0];
    assert_eq!(given_up(&taken), [(third.as_str(), Some((12, 12))), (older.as_str(), Some((1, 11)))]);
    assert_eq!(open(&into).expect("sound").state_digest(), whole.state_digest());
}

#[test]
fn a_checkpoint_mends_what_the_opening_missed() {
    let (disk, [third, _]) = retired();
    let damaged = without(&disk, &third);
    let ledger = open(&damaged).expect("the newest is whole");
    assert!(ledger.recovered().unbacked.is_some());
    ledger.checkpoint().expect("a disk that works");
    ledger.close().expect("nothing is in the way");
    assert_eq!(verify_storage(&damaged).expect("sound").snapshots, 2);
    assert_eq!(open(&damaged).expect("sound").recovered().unbacked, None);
}

#[test]
fn a_checkpoint_is_made_by_itself_where_the_opening_missed_something() {
    let (disk, [third, _]) = retired();
    for (disk, is_due) in [(without(&disk, &third), true), (disk, false)] {
        let ledger = usual().threads(true).checkpoint_bytes(Some(u64::MAX)).open_on(disk).expect("the newest is whole");
        let noted =
            |n: u64| Asked { metadata: Some(metadata(4_000, n)), ..Asked::charge(user(2), amount(1), format!("{n}")) };
        // At the latest with the next segment, of which there are a few.
        let mut made = 0;
        for n in 0..2_000 {
            answer(ask(&ledger, &noted(n))).expect("accepted");
            made = ledger.checkpoints().made;
            if made > 0 {
                break;
            }
        }
        assert_eq!(made, u64::from(is_due));
        ledger.close().expect("nothing is in the way");
    }
}

#[test]
fn an_older_snapshot_that_cannot_be_read_is_told_of_where_the_log_does_not_say_all() {
    let (disk, _) = retired();
    let damaged = disk.after_kill();
    damaged.flip_bit(&names(&disk, ".snapshot")[0], 40, 0);
    let told = open(&damaged).expect("the newest is whole").recovered().unbacked.clone().expect("it is told");
    assert!(told.contains("the snapshot at seq 11 cannot be read"), "{told}");
    // Here the log says all.
    let young = lives(2);
    young.flip_bit(&names(&young, ".snapshot")[0], 40, 0);
    assert_eq!(open(&young).expect("sound").recovered().unbacked, None);
}

#[test]
fn what_a_missing_segment_takes_with_it_is_listed_and_the_snapshot_that_is_left_behind() {
    let (disk, [third, fourth]) = retired();
    let damaged = without(&disk, &fourth);
    assert!(matches!(open(&damaged.after_kill()), Err(OpenError::Damaged { .. })));
    let (taken, _) = salvaged(&damaged);
    assert_eq!((taken.last_seq, taken.known_durable), (Seq::new(12), Seq::new(16)));
    let newest = names(&disk, ".snapshot").pop().expect("there are two");
    assert_eq!(given_up(&taken)[..], [(fourth.as_str(), Some((13, 16))), (newest.as_str(), Some((1, 15)))]);
    // Both: nothing leads on from a snapshot.
    let refused = salvage_on(&without(&damaged, &third), Arc::new(SimDisk::new(9)));
    match refused {
        Err(OpenError::Damaged { file, reason, .. }) => {
            assert!(file != "durable.mark" && reason.contains("no segment of the log"), "{file}: {reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_snapshot_proves_is_taken_though_the_log_before_it_is_damaged() {
    let disk = lives(2);
    let [first, _]: [String; 2] = segments(&disk).try_into().expect("one for each life");
    let digest = open(&disk.after_kill()).expect("sound").state_digest();
    // The second of the first life's entries.
    let damaged = disk.after_kill();
    damaged.flip_bit(&first, 3 * 4096 + 100, 0);
    assert!(open(&damaged.after_kill()).is_ok_and(|ledger| ledger.state_digest() == digest));
    let newest = names(&disk, ".snapshot").pop().expect("there are two");
    for damaged in [damaged, without(&disk, &first)] {
        let (taken, into) = salvaged(&damaged);
        assert_eq!((taken.last_seq, taken.known_durable), (Seq::new(8), Seq::new(8)));
        assert_eq!(given_up(&taken)[0].0, first);
        assert_eq!(open(&into).expect("sound").state_digest(), digest);
        // Without that snapshot the log is taken as far as it goes, if it goes anywhere.
        let less = without(&damaged, &newest);
        let taken = salvage_on(&less, Arc::new(SimDisk::new(9))).map(|taken| taken.last_seq.get());
        assert!(taken.as_ref().is_ok_and(|last| *last == 1) || taken.is_err(), "{taken:?}");
    }
}

#[test]
fn the_first_entry_that_is_lost_is_listed() {
    let disk = SimDisk::new(1);
    let ledger = open(&disk).expect("an empty disk");
    (0..10).for_each(|n| charge(&ledger, &n.to_string()));
    ledger.close().expect("nothing is in the way");
    let first = segments(&disk)[0].clone();
    for frame in 2..=10 {
        let damaged = disk.after_kill();
        damaged.overwrite(&first, (1 + frame) * 4096, &[0; 4096]);
        let (taken, _) = salvaged(&damaged);
        assert_eq!((taken.last_seq.get(), given_up(&taken)), (frame - 1, vec![(first.as_str(), Some((frame, 10)))]));
    }
}

#[test]
fn a_mark_that_alone_is_missing_is_told_of_by_all_alike() {
    let (retired, young) = (retired().0, lives(1));
    let plain = SimDisk::new(1);
    charge(&open(&plain).expect("an empty disk"), "a");
    for disk in [plain, young, retired] {
        let damaged = without(&disk.after_kill(), "durable.mark");
        let said = [
            open(&damaged.after_kill()).map(drop),
            verify_storage(&damaged).map(drop),
            backup(&damaged, &SimDisk::new(2)).map(drop),
            restore(&damaged, Arc::new(SimDisk::new(3)), RestoreTo::End).map(drop),
        ];
        let said = said.map(|said| match said {
            Err(OpenError::Damaged { file, reason, .. }) if reason.contains("it is missing, while there is") => {
                (file, reason)
            }
            other => panic!("{other:?}"),
        });
        assert!(said.iter().all(|one| *one == said[0] && one.0 == "durable.mark"), "{said:?}");
    }
}

/// Of a ledger and one that was restored from it, each has other entries under the same seqs since.
#[test]
fn a_snapshot_of_what_a_restored_ledger_was_restored_from_is_none_of_its_own() {
    let disk = lives(2);
    let restored = SimDisk::new(2);
    restore(&disk, Arc::new(restored.clone()), RestoreTo::Seq(Seq::new(4))).expect("sound");
    release_executor(&restored).expect("nothing is in the way");
    let other = open(&restored).expect("sound");
    (0..9).for_each(|n| charge(&other, &format!("another {n}")));
    other.close().expect("nothing is in the way");
    let state = other.state_digest();
    drop(other);
    let newest = names(&disk, ".snapshot").pop().expect("one was made");
    for name in names(&disk, ".history").iter().chain([&newest]).filter(|name| restored.read(name).is_none()) {
        copy_file(&disk, &restored, name);
    }
    assert!(verify_storage(&restored).is_err(), "{newest} is of another past");
    match open(&restored.after_kill()).map(drop) {
        Err(OpenError::Damaged { file, reason, .. }) => {
            assert!(file.ends_with(".segment") && reason.contains("the snapshot at seq 7 names"), "{file}: {reason}");
        }
        other => panic!("{other:?}"),
    }
    let (_, taken) = salvaged(&restored);
    release_executor(&taken).expect("nothing is in the way");
    assert_eq!(open(&taken).expect("its own log says all").state_digest(), state);
}

#[test]
fn why_a_snapshot_is_left_behind_is_told() {
    let (disk, [third, fourth]) = retired();
    let [older, newer] = names(&disk, ".snapshot").try_into().expect("two are kept");
    let told = |disk: &SimDisk, snapshot: &str| {
        let (taken, _) = salvaged(disk);
        let found = taken.given_up.iter().find(|given_up| given_up.file == snapshot).expect("it is left behind");
        found.reason.clone()
    };
    assert_eq!(told(&without(&disk, &fourth), &newer), "it is later than what could be taken of the log");
    assert_eq!(told(&without(&disk, &third), &older), "the log at its end is not there, or of another history");
    let rotten = disk.after_kill();
    rotten.flip_bit(&newer, 100, 3);
    assert_eq!(told(&rotten, &newer), "it is damaged");
    // Two copies, each of which goes on by itself.
    let (one, other) = (disk.after_kill(), disk.after_kill());
    for (disk, life) in [(&one, "one"), (&other, "other")] {
        let ledger = open(disk).expect("sound");
        (0..3).for_each(|n| charge(&ledger, &format!("{life} {n}")));
        if life == "one" {
            ledger.checkpoint().expect("a disk that works");
        }
        charge(&ledger, &format!("{life} after"));
        ledger.close().expect("nothing is in the way");
    }
    let foreign = names(&one, ".snapshot").pop().expect("one was made");
    for name in names(&one, ".history").iter().chain([&foreign]).filter(|name| other.read(name).is_none()) {
        copy_file(&one, &other, name);
    }
    assert_eq!(told(&other, &foreign), "the log at its end is not there, or of another history");
}

fn copy_file(from: &SimDisk, to: &SimDisk, name: &str) {
    let file = to.create(name).expect("a disk that works");
    file.write_at(&from.read(name).expect("it is there"), 0).expect("a disk that works");
    file.sync_data().and_then(|()| to.sync_directory()).expect("a disk that works");
}
