//! What a salvage takes of a ledger with snapshots.

use std::sync::Arc;
use std::time::Duration;

use ledger_core::sim::{SimClock, SimDisk};
use ledger_core::{Durability, Ledger, OpenError, salvage_on, verify_storage};

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

/// A ledger whose log does not reach back to the first entry, and whose last segments begin with frames that a restart copied; the
/// last of its segments.
fn retired_after_a_restart(clock: &SimClock) -> SimDisk {
    let disk = SimDisk::new(1);
    let ledger = options(clock).open_on(disk.clone()).expect("an empty disk");
    (0..6).for_each(|n| charge(&ledger, n));
    ledger.checkpoint().expect("a disk that works");
    (6..9).for_each(|n| charge(&ledger, n));
    let killed = disk.after_kill();
    drop(ledger);
    let ledger = options(clock).open_on(killed.clone()).expect("sound");
    for n in 9..12 {
        charge(&ledger, n);
        ledger.checkpoint().expect("a disk that works");
    }
    (12..16).for_each(|n| charge(&ledger, n));
    ledger.close().expect("a disk that works");
    killed
}

#[test]
fn a_log_whose_beginning_was_retired_after_a_restart_is_salvaged_with_its_snapshots() {
    let clock = SimClock::at(START);
    let disk = retired_after_a_restart(&clock);
    let last = segments(&disk).pop().expect("there is one");
    let end = disk.written(&last).expect("it is there").next_multiple_of(4096);
    for (lost, taken) in [(1, 16), (2, 15), (3, 14)] {
        let damaged = disk.survivor(0);
        damaged.flip_bit(&last, end - lost * 4096 + 100, 0);
        assert_eq!(salvaged_up_to(&damaged), taken);
    }
}

#[test]
fn what_a_restart_copied_and_is_damaged_is_left_and_what_is_before_it_taken() {
    let clock = SimClock::at(START);
    let disk = SimDisk::new(1);
    // Nothing says of these frames that they are durable.
    let interval = Durability::Interval(Duration::from_secs(1));
    let ledger = options(&clock).durability(interval).open_on(disk.clone()).expect("an empty disk");
    (0..6).for_each(|n| charge(&ledger, n));
    let disk = disk.after_kill();
    drop(ledger);
    drop(options(&clock).open_on(disk.clone()).expect("sound"));
    let last = segments(&disk).pop().expect("there is one");
    // The copies follow the header and the link.
    let copies = disk.written(&last).expect("it is there").div_ceil(4096) - 2;
    assert!(copies > 1, "{copies}");
    for nth in 1..copies {
        let damaged = disk.survivor(0);
        damaged.flip_bit(&last, (2 + nth) * 4096 + 100, 0);
        assert_eq!(salvaged_up_to(&damaged), 6 - copies + nth);
    }
}

#[test]
fn sectors_that_cannot_be_read_are_left_and_what_is_before_them_taken() {
    let clock = SimClock::at(START);
    let whole = SimDisk::new(1);
    let ledger = options(&clock).open_on(whole.clone()).expect("an empty disk");
    (0..10).for_each(|n| charge(&ledger, n));
    ledger.close().expect("a disk that works");
    // The fifth frame.
    let first = segments(&whole)[0].clone();
    let damaged = whole.survivor(0);
    damaged.lose_sectors(&first, 6 * 4096 + 512..6 * 4096 + 1024);
    assert!(matches!(options(&clock).open_on(damaged.clone()), Err(OpenError::Io { .. })), "an opening stops there");
    let into = SimDisk::new(9);
    let taken = salvage_on(&damaged, Arc::new(into.clone())).expect("what is before it");
    assert_eq!((taken.last_seq.get(), taken.known_durable.get()), (4, 10));
    let given_up = &taken.given_up[0];
    assert_eq!((&given_up.file, given_up.offset), (&first, 6 * 4096));
    assert!(given_up.reason.contains("cannot read"), "{}", given_up.reason);
    assert_eq!(verify_storage(&into).expect("sound").last_seq.get(), 4);
    // Wherever they are.
    let (mut taken, mut nothing) = (0, 0);
    for disk in [whole, retired_after_a_restart(&clock)] {
        for file in disk.names() {
            let written = disk.written(&file).expect("it is there");
            for at in (0..written + 8_192).step_by(2_048) {
                let damaged = disk.survivor(0);
                damaged.lose_sectors(&file, at..at + 512);
                match salvage_on(&damaged, Arc::new(SimDisk::new(9))) {
                    Ok(_) => taken += 1,
                    Err(OpenError::Damaged { .. }) => nothing += 1,
                    Err(err) => panic!("{file} at {at}: {err}"),
                }
            }
        }
    }
    assert!(taken > 50 && nothing > 0, "{taken}, {nothing}");
}
