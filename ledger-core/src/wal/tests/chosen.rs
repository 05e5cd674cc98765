//! Which part of a log a salvage takes where several lead to a state, and with which snapshots.

use super::judged::{BLOCK, FIRST, LAST, MIDDLE, change, frame_chain, link_at, small_log, write_link};
use super::left::{Snapshot, base, take_with, take_without};
use super::*;
use segment::{FRAMES_AT, Link};

/// From which seq to which the copy has entries, and which snapshots lie beside them.
fn taken(what: &str, damage: &dyn Fn(&SimDisk), snapshots: &[Snapshot], seqs: (u64, u64), with: &[u64]) {
    let disk = small_log();
    damage(&disk);
    let (taken, into) = take_with(&disk, snapshots).unwrap();
    let scanned = scan(&into, Start::Oldest, None, &mut |_| ()).unwrap();
    assert_eq!((scanned.first_seq, scanned.last_seq), (Seq::new(seqs.0), Seq::new(seqs.1)), "{what}");
    assert_eq!((taken.last.seq, taken.head), (scanned.last_seq, scanned.head), "{what}");
    let names = into.names().into_iter().filter(|name| names::is_snapshot(name)).collect::<Vec<_>>();
    assert_eq!(names, with.iter().map(|seq| format!("{seq}.snapshot")).collect::<Vec<_>>(), "{what}");
}

fn erase(segment: u64) -> impl Fn(&SimDisk) {
    move |disk| disk.erase(&names::segment(segment))
}

#[test]
fn the_part_that_goes_furthest_is_taken_and_the_first_of_those_that_go_as_far() {
    let (second, fifth) = ((2, Some(base(2, 3))), (5, Some(base(5, 6))));
    taken("all is there", &|_| {}, &[second, fifth], (1, 8), &[]);
    taken("there is a gap", &erase(MIDDLE), &[fifth], (6, 8), &[5]);
    taken("nothing proves what is behind it", &erase(MIDDLE), &[second, (5, None)], (1, 2), &[]);
    taken("the first one was retired", &erase(FIRST), &[second, fifth], (3, 8), &[2, 5]);
    // The last frame is bad, which a snapshot names; another one could go with the last segment alone.
    let cut = |disk: &SimDisk| disk.flip_bit(&names::segment(LAST), FRAMES_AT + 2 * BLOCK + 90, 0);
    let later = (6, Some(base(6, 8)));
    taken("each part ends there", &cut, &[fifth, later], (1, 7), &[]);
    let both = |disk: &SimDisk| {
        erase(FIRST)(disk);
        cut(disk);
    };
    taken("each that is left ends there", &both, &[second, fifth, later], (3, 7), &[2, 5]);
}

#[test]
fn a_snapshot_goes_with_a_part_that_has_the_entry_after_it_and_the_frame_it_names() {
    let (first, second) = ((1, Some(base(1, 4))), (2, Some(base(2, 3))));
    taken("the entry after one is not there", &erase(FIRST), &[first, second], (3, 8), &[2]);
    let cut = |disk: &SimDisk| {
        erase(FIRST)(disk);
        disk.flip_bit(&names::segment(MIDDLE), FRAMES_AT + 2 * BLOCK + 90, 0);
    };
    taken("the frame is bad that one names", &cut, &[second, (3, Some(base(3, 5)))], (3, 4), &[2]);
}

#[test]
fn what_is_objected_to_is_not_taken_by_way_of_a_snapshot_of_before() {
    for (snapshot, objected) in [(base(1, 2), 2), (base(5, 6), 7), (base(5, 6), 8)] {
        let (taken, _) = take_without(objected, &small_log(), &[(snapshot.seq.get(), Some(snapshot))]).unwrap();
        assert_eq!(taken.last.seq.get(), objected - 1);
        let first = &taken.left[0];
        assert_eq!((first.reason.as_str(), first.seqs.unwrap().0), ("it cannot be", Seq::new(objected)));
    }
}

#[test]
fn a_part_begins_where_a_head_is_sealed() {
    let disk = small_log();
    for is_sealed in [true, false] {
        let (header, link) = link_at(&disk, LAST);
        write_link(&disk, LAST, header, Link { head: link.head.filter(|_| is_sealed), ..link });
        // The frames follow it.
        for frame in 0..3 {
            let at = FRAMES_AT + frame * BLOCK;
            change(&disk, LAST, at, |header| header.previous = frame_chain(&disk, LAST, at));
        }
        let fifth = Base { chain: frame_chain(&disk, LAST, FRAMES_AT + BLOCK), ..base(5, 6) };
        let gap = disk.after_kill();
        erase(MIDDLE)(&gap);
        let (taken, _) = take_with(&gap, &[(5, Some(fifth))]).unwrap();
        assert_eq!(taken.last.seq.get(), if is_sealed { 8 } else { 2 });
    }
}
