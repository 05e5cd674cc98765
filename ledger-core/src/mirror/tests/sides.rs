//! What a pair does where one side fails or both do, while it runs.

use std::io::ErrorKind::{Other, StorageFull};

use super::*;
use crate::sim::Fault;
use OnSideFailure::{GoOn, Halt};

const BOTH: u8 = NONE;

fn pair(on_side_failure: OnSideFailure, lost: u8) -> Pair {
    let directories = ["one".to_owned(), "two".to_owned()];
    Pair { on_side_failure, lost: AtomicU8::new(lost), directories, reasons: [OnceLock::new(), OnceLock::new()] }
}

/// What each side answers, and fails with.
type Answers = [Result<u8, io::ErrorKind>; 2];

#[test]
fn what_is_read_is_of_the_first_side_that_is_there_or_of_the_other_where_that_is_lost() {
    let (failed, full) = (Err(Other), Err(StorageFull));
    let cases: [(_, u8, Answers, _, u8); 10] = [
        (Halt, BOTH, [Ok(1), Ok(2)], Ok(1), BOTH),
        (Halt, BOTH, [failed, Ok(2)], failed, BOTH),
        (GoOn, BOTH, [Ok(1), failed], Ok(1), BOTH),
        (GoOn, BOTH, [failed, Ok(2)], Ok(2), 0),
        (GoOn, BOTH, [failed, full], full, BOTH),
        (GoOn, BOTH, [full, Ok(2)], full, BOTH),
        // What is on a side that was lost is old.
        (GoOn, 0, [Ok(1), Ok(2)], Ok(2), 0),
        (GoOn, 0, [Ok(1), failed], failed, 0),
        (GoOn, 1, [Ok(1), Ok(2)], Ok(1), 1),
        (GoOn, 1, [failed, Ok(2)], failed, 1),
    ];
    for (n, (policy, lost, answers, expected, then)) in cases.into_iter().enumerate() {
        let pair = pair(policy, lost);
        let read = pair.read("x", |side| answers[side].map_err(io::Error::from));
        assert_eq!(read.map_err(|fault| fault.kind()), expected, "case {n}");
        assert_eq!(pair.lost.load(Ordering::Relaxed), then, "case {n}");
        let is_told =
            pair.reasons[0].get().is_some_and(|why| why.contains("primary directory is lost: reading x in one"));
        assert_eq!(is_told, lost == BOTH && then == 0, "case {n}");
    }
}

#[test]
fn a_side_that_two_threads_find_failing_at_once_is_lost_once() {
    let pair = pair(GoOn, BOTH);
    let fails = |side: usize| if side == 0 { Err(io::Error::from(Other)) } else { Ok(side) };
    let done = pair.on_sides(("writing", "x"), |side| {
        if side == 1 {
            // What the other thread does between the fault and what comes of it.
            assert_eq!(pair.on_sides(("writing", "x"), fails).unwrap(), [None, Some(1)]);
        }
        fails(side)
    });
    assert_eq!(done.unwrap(), [None, Some(1)]);
}

#[test]
fn while_a_file_is_left_over_on_one_side_none_is_removed_that_it_may_need() {
    let names = ["1.snapshot", "1.history", "2.snapshot.tmp"];
    for side in 0..2 {
        let disks = [SimDisk::new(1), SimDisk::new(2)];
        let [primary, mirror] = disks.each_ref().map(|disk| Arc::new(disk.clone()) as Arc<dyn Storage>);
        let mirrored = MirroredStorage::open(primary, mirror, Halt).unwrap();
        let fails = |name: &str| {
            disks[side].fail_at(disks[side].operations(), Fault::Eio);
            mirrored.remove(name).unwrap_err()
        };
        names.iter().for_each(|name| drop(mirrored.create(name).unwrap()));
        // A temporary one is needed by none.
        fails("2.snapshot.tmp");
        fails("1.snapshot");
        let refused = mirrored.remove("1.history").unwrap_err().to_string();
        assert_eq!(refused, "1.snapshot is left over on one side of the mirror, and goes first");
        mirrored.remove("2.snapshot.tmp").unwrap();
        mirrored.remove("1.snapshot").unwrap();
        mirrored.remove("1.history").unwrap();
        assert_eq!(disks.each_ref().map(SimDisk::names), [const { Vec::<String>::new() }; 2]);

        // With the next file that is made it goes by itself.
        names.iter().for_each(|name| drop(mirrored.create(name).unwrap()));
        fails("2.snapshot.tmp");
        fails("1.snapshot");
        drop(mirrored.create("3.snapshot.tmp").unwrap());
        assert_eq!(disks.each_ref().map(SimDisk::names), [["1.history", "3.snapshot.tmp"]; 2]);
        mirrored.remove("1.history").unwrap();
    }
}

#[test]
fn while_a_temporary_file_alone_is_left_over_any_is_removed() {
    let disks = [SimDisk::new(1), SimDisk::new(2)];
    let [primary, mirror] = disks.each_ref().map(|disk| Arc::new(disk.clone()) as Arc<dyn Storage>);
    let mirrored = MirroredStorage::open(primary, mirror, Halt).unwrap();
    ["1.snapshot", "2.snapshot.tmp"].iter().for_each(|name| drop(mirrored.create(name).unwrap()));
    disks[1].fail_at(disks[1].operations(), Fault::Eio);
    mirrored.remove("2.snapshot.tmp").unwrap_err();
    mirrored.remove("1.snapshot").unwrap();
}

#[test]
fn a_mirror_is_called_by_both_of_its_directories() {
    let [primary, mirror] = [1, 2].map(|seed| Arc::new(SimDisk::new(seed)) as Arc<dyn Storage>);
    let mirrored = MirroredStorage::open(primary, mirror, Halt).unwrap();
    assert_eq!(mirrored.describe(), "simulated disk (mirrored in simulated disk)");
}
