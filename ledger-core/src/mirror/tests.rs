//! What is done on the sides of a mirror, and which of their files are removed and copied.

mod mending;
mod sides;

use super::*;
use crate::Charge;
use crate::sim::{SimClock, SimDisk};
use crate::types::{Amount, IdempotencyKey, Timestamp, UserId};

/// What comes of a ledger when it is opened, the user is charged and a snapshot is made. Of two that are charged otherwise, the files
/// are called alike.
fn gone_on(disk: &SimDisk, user: u64, history_bytes: u64) -> SimDisk {
    let disk = disk.cold();
    let clock = SimClock::at(Timestamp::from_micros(1_767_225_600_000_000).unwrap());
    let options = Options::default().threads(false).segment_bytes(1 << 20).shards(2).clock(clock);
    let ledger = options.history_bytes(history_bytes).open_on(disk.clone()).unwrap();
    let key = format!("{}", ledger.appended());
    let charge = Charge::new(UserId::new(user).unwrap(), Amount::new(1).unwrap(), IdempotencyKey::new(&key).unwrap());
    ledger.charge(charge).unwrap().wait().unwrap();
    ledger.checkpoint().unwrap();
    ledger.close().unwrap();
    disk.cold()
}

/// A ledger with so many entries, a history file of each and the two newest snapshots.
fn ledger_of(entries: u64) -> SimDisk {
    (0..entries).fold(SimDisk::new(1), |disk, _| gone_on(&disk, 1, 0))
}

fn put(disk: &SimDisk, name: &str, bytes: &[u8]) {
    disk.create(name).unwrap();
    disk.overwrite(name, 0, bytes);
    disk.sync_directory().unwrap();
}

/// The names of the files of snapshots: of the same seq the history first.
fn files(disk: &SimDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| is_snapshot(name) || is_history(name)).collect()
}

#[test]
fn what_one_side_has_beyond_two_snapshots_that_are_whole_on_both_is_removed_and_else_nothing() {
    let two = ledger_of(2);
    let three = gone_on(&two, 1, 0);
    let [_, oldest, ..] = &files(&two)[..] else { panic!("two snapshots and two histories") };
    let [.., older, _, _] = &files(&three)[..] else { panic!("two snapshots and three histories") };
    let stray = format!("{:016x}-{:08x}.history", 1, 0x63);
    // With a snapshot that was retired and a history that no snapshot names.
    let with_more = |disk: &SimDisk| {
        let disk = disk.cold();
        put(&disk, oldest, &two.read(oldest).unwrap());
        put(&disk, &stray, b"of nobody");
        put(&disk, "notes", b"not ours");
        disk
    };
    let without = |disk: SimDisk, name: &str| {
        disk.erase(name);
        disk
    };
    let damaged = |disk: SimDisk, name: &str| {
        disk.flip_bit(name, 20, 0);
        disk
    };
    // Its newest snapshot names one history in place of three.
    let joined = gone_on(&two, 1, u64::MAX);
    let cases = [
        ("the same two", three.cold(), with_more(&three), true),
        ("a newer one on one side", two.cold(), with_more(&three), false),
        ("one of two on one side", without(three.cold(), older), with_more(&three), false),
        ("one of two that is damaged", three.cold(), damaged(with_more(&three), older), false),
        ("other files of the newest", joined.cold(), with_more(&three), false),
    ];
    for (what, one, more, is_removed) in cases {
        for is_turned in [false, true] {
            let (one, more) = (one.cold(), more.cold());
            let before = [one.names(), more.names()];
            let sides = if is_turned { (&more, &one) } else { (&one, &more) };
            remove_surplus(sides.0, sides.1).unwrap();
            let is_left = |name: &String| !is_removed || (name != oldest && *name != stray);
            let expected = before.map(|names| names.into_iter().filter(is_left).collect::<Vec<_>>());
            for seed in 0..4 {
                assert_eq!([one.survivor(seed).names(), more.survivor(seed).names()], expected, "{what}, {is_turned}");
            }
        }
    }
}
