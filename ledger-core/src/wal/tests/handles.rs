//! What a handle to a log does besides appending and waiting.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::judged::{FIRST, LAST, MIDDLE, SPARE, frame_chain, small_log};
use super::waiting::{driven_by_hand, threaded};
use super::*;
use crate::sim::PlantedBug;
use group_commit::Due;
use segment::FRAMES_AT;
use shared::Wake;

/// Whether `act` wakes the log's thread.
fn wakes(wal: &Wal, act: impl FnOnce()) -> bool {
    let shared = wal.shared();
    thread::scope(|scope| {
        scope.spawn(|| {
            shared.committer.is_this(crate::sync::thread::current());
            shared.committer.sleep(Wake::ForAnything, || Due::At(Instant::now() + Duration::from_secs(3_600)));
        });
        while !shared.committer.is_asleep() {
            thread::yield_now();
        }
        act();
        let wakes = !shared.committer.is_asleep();
        shared.wake_committer();
        wakes
    })
}

#[test]
fn a_record_that_is_alone_is_left_to_who_waits_and_all_others_wake_the_log() {
    let fresh = || driven_by_hand(&SimDisk::new(1), threaded());
    let append_one = |wal: &Wal| {
        append(wal, 1, b"one").unwrap();
    };
    let wal = fresh();
    assert!(!wakes(&wal, || append_one(&wal)), "it is alone");
    let wal = fresh();
    append_one(&wal);
    assert!(wakes(&wal, || append_one(&wal)), "there is one already");
    let wal = fresh();
    let together = || {
        let mut reservation = wal.reserve(2, 2).unwrap();
        wal.append_together(&mut reservation, time(1), &Bundle::of(&[b"a", b"b"])).unwrap();
    };
    assert!(wakes(&wal, together), "they are two");
    let wal = fresh();
    let one_by_one = || {
        let mut reservation = wal.reserve(2, 2).unwrap();
        wal.append(&mut reservation, time(1), b"a").unwrap();
        wal.append(&mut reservation, time(1), b"b").unwrap();
    };
    assert!(wakes(&wal, one_by_one), "the second is not alone");
    let wal = fresh();
    assert!(!wakes(&wal, || drop(wal.reserve(2, 2).unwrap())), "nothing was appended");
    let wal = fresh();
    let room = &wal.shared().room;
    let crowded = || {
        let mut reservation = wal.reserve(1, 1).unwrap();
        wal.append(&mut reservation, time(1), b"a").unwrap();
        let _turn = room.queue();
        drop(reservation);
    };
    assert!(wakes(&wal, crowded), "somebody waits for the room that it took");
    let gathers = WalOptions { durability: Durability::Interval(Duration::from_secs(3_600)), ..threaded() };
    let wal = driven_by_hand(&SimDisk::new(1), gathers);
    assert!(wakes(&wal, || append_one(&wal)), "nobody waits for its sync");
}

#[test]
fn a_log_that_was_halted_when_all_was_durable_leaves_nothing_unknown() {
    let (wal, ..) = open(&SimDisk::new(1), &manual()).unwrap();
    commit(&wal, 1, b"a");
    wal.halt("as a test");
    assert!(!wal.close().unwrap_err().outcome_unknown);
}

#[test]
fn who_asks_is_told_of_every_segment_that_is_begun() {
    let (wal, ..) = open(&SimDisk::new(1), &manual()).unwrap();
    let begun = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&begun);
    wal.on_segment_begun(Box::new(move || {
        counts.fetch_add(1, Ordering::SeqCst);
    }));
    wal.on_segment_begun(Box::new(|| panic!("only the first one counts")));
    for at in 0..30 {
        commit(&wal, at, &[1; 100_000]);
    }
    assert_eq!(begun.load(Ordering::SeqCst), wal.shared().segments_begun.load(Ordering::SeqCst));
    assert!(begun.load(Ordering::SeqCst) >= 2);
}

#[test]
fn a_step_is_one_thing_and_there_is_none_when_all_is_done() {
    let (wal, ..) = open(&SimDisk::new(1), &interval()).unwrap();
    while wal.step_by_hand(false) {}
    append(&wal, 1, b"a").unwrap();
    assert!(wal.step_by_hand(false), "it is written");
    assert_eq!((wal.acknowledged(), wal.durable()), (Seq::new(1), Seq::ZERO));
    while wal.step_by_hand(false) {}
    assert_eq!(wal.durable(), Seq::ZERO);
    assert!(wal.step_by_hand(true), "it is synced");
    while wal.step_by_hand(true) {}
    assert_eq!((wal.durable(), wal.step_by_hand(false)), (Seq::new(1), false));
    // Also where a sync belongs to each commit: without threads it is a step of its own, and so is nobody's head before.
    let (wal, ..) = open(&SimDisk::new(1), &manual()).unwrap();
    let before = wal.head();
    append(&wal, 1, b"a").unwrap();
    assert!(wal.step_by_hand(false));
    assert_eq!((wal.durable(), wal.head()), (Seq::ZERO, before));
    assert!(wal.step_by_hand(false));
    assert_eq!((wal.durable(), wal.head().map(|head| head.seq)), (Seq::new(1), Some(Seq::new(1))));
    assert!(!wal.has(PlantedBug::RetryFsync));
    let planted = WalOptions { planted: Some(PlantedBug::RetryFsync), ..manual() };
    let (wal, ..) = open(&SimDisk::new(1), &planted).unwrap();
    assert!(wal.has(PlantedBug::RetryFsync) && !wal.has(PlantedBug::AckBeforeFsync));
}

/// What a snapshot says that has all up to `seq`, and was made when `anchor` was durable.
fn base(seq: u64, anchor: u64, chain: Chain) -> Base {
    Base { seq: Seq::new(seq), time: time(0), anchor: Seq::new(anchor), chain, epoch: Epoch::new(3) }
}

#[test]
fn segments_are_retired_that_nobody_needs_who_has_the_snapshot() {
    let uuid = Uuid::from_u128(0x1ed9e7);
    // The segments begin with seqs 1, 3 and 6. Needed are the entry after the snapshot's, and the anchor's frame.
    for (seq, anchor, removed) in
        [(0, 1, 0), (1, 8, 0), (2, 8, 1), (2, 2, 0), (3, 3, 1), (4, 8, 1), (5, 8, 2), (5, 5, 1), (8, 8, 2), (7, 7, 2)]
    {
        let disk = small_log();
        let retired = start::retire(&disk, uuid, &base(seq, anchor, 0), &|| disk.sync_directory()).unwrap();
        let left: Vec<_> = disk.names().iter().filter_map(|name| names::segment_number(name)).collect();
        let expected = &[FIRST, MIDDLE, LAST, SPARE][removed..];
        assert_eq!((retired as usize, &left[..]), (removed, expected), "{seq}, {anchor}");
        assert_eq!(reaches_back_to_the_first(&disk).unwrap(), removed == 0);
        assert_eq!(start::retire(&disk, uuid, &base(seq, anchor, 0), &|| disk.sync_directory()).unwrap(), 0);
    }
    let disk = small_log();
    let (wal, ..) = open(&disk, &manual()).unwrap();
    assert_eq!(wal.retire(&disk, &base(5, 8, 0)).unwrap(), 2);
    assert!(!reaches_back_to_the_first(&SimDisk::new(1)).unwrap());
}

/// Reads what a snapshot does not have; the seqs that were shown.
fn after(disk: &SimDisk, base: Base) -> Result<(Vec<u64>, Scanned), OpenError> {
    let mut seqs = Vec::new();
    let scanned = scan(disk, Start::After(base), None, &mut |record| seqs.push(record.seq.get()))?;
    Ok((seqs, scanned))
}

#[test]
fn what_a_snapshot_does_not_have_is_read_and_its_anchor_must_be_there() {
    let disk = small_log();
    let chains: Vec<Chain> = [(FIRST, 2), (MIDDLE, 3), (LAST, 3)]
        .into_iter()
        .flat_map(|(segment, frames)| (1..=frames).map(move |frame| (segment, FRAMES_AT + frame * 4_096)))
        .map(|(segment, end)| frame_chain(&disk, segment, end))
        .collect();
    let retired = |segments: usize| {
        let disk = small_log();
        [FIRST, MIDDLE, LAST][..segments].iter().for_each(|number| disk.erase(&names::segment(*number)));
        disk
    };
    for seq in 0..=8u64 {
        for anchor in seq.max(1)..=8 {
            let base = base(seq, anchor, chains[anchor as usize - 1]);
            let needs = base.first_seq_max().get();
            assert_eq!(needs, (seq + 1).min(anchor));
            for segments in 0..=2 {
                let begins = [1, 3, 6][segments];
                let read = after(&retired(segments), base);
                if begins > needs {
                    let words = format!("it begins with seq {begins}, and the snapshot ends with seq {seq}");
                    assert!(read.unwrap_err().to_string().contains(&words));
                    continue;
                }
                let (seqs, scanned) = read.unwrap();
                assert_eq!(seqs, (seq + 1..=8).collect::<Vec<_>>(), "{seq} {anchor}");
                assert_eq!((scanned.last_seq, scanned.durable), (Seq::new(8), Seq::new(anchor.max(7))));
                // Only what is needed is opened.
                let first = [6, 3, 1].into_iter().find(|first| *first <= needs).unwrap();
                assert_eq!(scanned.first_seq, Seq::new(first));
            }
            let wrong = Base { chain: base.chain ^ 1, ..base };
            let (segment, first) =
                [(LAST, 6), (MIDDLE, 3), (FIRST, 1)].into_iter().find(|(_, first)| anchor >= *first).unwrap();
            let words = format!(
                "{} is damaged at byte {} (seq {anchor}): no frame that ends with seq {anchor} is the one that the snapshot at seq {seq} \
                 names: they are of two histories",
                names::segment(segment),
                FRAMES_AT + (anchor - first) * 4_096
            );
            // Of another past, be it of an earlier opening: the frames were written later.
            for epoch in [base.epoch, Epoch::new(0)] {
                assert_eq!(after(&disk, Base { epoch, ..wrong }).unwrap_err().to_string(), words);
            }
        }
    }
    let beyond = base(8, 9, 0);
    assert!(after(&disk, beyond).unwrap_err().to_string().contains("and seqs up to 9 were durable"));
}

#[test]
fn a_mark_within_what_is_read_must_be_the_logs_and_one_before_it_cannot_be_checked() {
    for (seq, is_checked) in [(2, false), (3, true), (4, true)] {
        let disk = small_log();
        disk.erase(&names::segment(FIRST));
        super::judged::write_mark(&disk, |mark| (mark.seq, mark.chain) = (Seq::new(seq), 77));
        let scanned = scan(&disk, Start::Oldest, None, &mut |_| ());
        match is_checked {
            true => {
                let words = format!("its chain at seq {seq} is not the log's");
                assert!(scanned.unwrap_err().to_string().contains(&words));
            }
            false => assert_eq!(scanned.unwrap().last_seq, Seq::new(8)),
        }
    }
}

#[test]
fn a_spare_that_cannot_be_prepared_halts_the_log_unless_the_disk_is_full() {
    for (fault, halts) in [(crate::sim::Fault::Eio, true), (crate::sim::Fault::Enospc, false)] {
        for operation in 0..4 {
            let disk = SimDisk::new(1);
            let (wal, ..) = open(&disk, &manual()).unwrap();
            append(&wal, 1, b"a").unwrap();
            assert!(wal.step_by_hand(false) && wal.step_by_hand(false), "it is written and synced");
            disk.fail_at(disk.operations() + operation, fault);
            assert!(wal.step_by_hand(false));
            assert_eq!((wal.halted().is_some(), wal.durable()), (halts, Seq::new(1)), "{fault:?} at {operation}");
            // What was not finished is not in the way: neither of the next attempt nor of an opening.
            wal.close().err().iter().for_each(|halted| assert!(!halted.outcome_unknown));
            drop(wal);
            assert_eq!(open(&disk.after_kill(), &manual()).unwrap().2.len(), 1);
        }
    }
}
