//! What a salvage takes of a ledger with snapshots.

use std::sync::Arc;

use ledger_core::sim::{SimClock, SimDisk};
use ledger_core::{Ledger, salvage_on, verify_storage};

use crate::model::Asked;
use crate::stage::{START, amount, answer, ask, options, user};

fn charge(ledger: &Ledger, n: u64) {
    answer(ask(ledger, &Asked::charge(user(1 + n % 3), amount(10), format!("{n}")))).expect("accepted");
}

fn segments(disk: &SimDisk) -> Vec<String> {
    let is_used = |name: &String| name.ends_with(".segment") && disk.written(name).is_some_and(|bytes| bytes > 8_192);
    disk.names().into_iter().filter(is_used).collect()
}

fn salvaged_up_to(disk: &SimDisk) -> u64 {
    let into = SimDisk::new(9);
    let taken = salvage_on(disk, Arc::new(into.clone())).expect("what is before the damage");
    assert!(verify_storage(&into).is_ok());
    taken.last_seq.get()
}

#[test]
fn a_snapshot_that_is_later_than_the_damage_is_left() {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    let ledger = options(&clock).open_on(disk.clone()).expect("an empty disk");
    (0..10).for_each(|n| charge(&ledger, n));
    ledger.checkpoint().expect("a disk that works");
    (10..13).for_each(|n| charge(&ledger, n));
    ledger.close().expect("a disk that works");
    // The fifth frame.
    disk.flip_bit(&segments(&disk)[0], 6 * 4096 + 100, 0);
    assert_eq!(salvaged_up_to(&disk), 4);
}

#[test]
fn the_log_alone_is_taken_where_a_restart_gave_its_frames_another_chain() {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    let ledger = options(&clock).open_on(disk.clone()).expect("an empty disk");
    (0..6).for_each(|n| charge(&ledger, n));
    let disk = disk.after_kill();
    drop(ledger);
    let ledger = options(&clock).open_on(disk.clone()).expect("sound");
    (6..10).for_each(|n| charge(&ledger, n));
    ledger.checkpoint().expect("a disk that works");
    (10..14).for_each(|n| charge(&ledger, n));
    ledger.close().expect("a disk that works");
    let last = segments(&disk).pop().expect("there is one");
    let end = disk.written(&last).expect("it is there").next_multiple_of(4096);
    // The last frame before the one that closed the log.
    disk.flip_bit(&last, end - 2 * 4096 + 100, 0);
    assert_eq!(salvaged_up_to(&disk), 13);
}
