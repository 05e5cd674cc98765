//! What a caller sees when nothing goes wrong.

use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::*;
use crate::sys::DirectoryStorage;

#[test]
fn records_come_back_in_order_with_their_times() {
    let disk = SimDisk::new(1);
    let (wal, opened, records) = open(&disk, &manual()).unwrap();
    assert!(opened.clean && opened.torn.is_none() && records.is_empty());
    assert_eq!((opened.epoch, opened.uuid), (Epoch::new(1), Uuid::from_u128(0x1ed9e7)));
    assert_eq!(commit(&wal, 10, b"a"), Stamp { seq: Seq::new(1), time: time(10) });
    assert_eq!(commit(&wal, 5, b"b"), Stamp { seq: Seq::new(2), time: time(10) });
    wal.raise_time(time(20));
    assert_eq!(wal.time(), time(20));
    assert_eq!(commit(&wal, 15, b""), Stamp { seq: Seq::new(3), time: time(20) });
    wal.close().unwrap();
    wal.close().unwrap();
    let (_, opened, records) = open(&disk, &manual()).unwrap();
    assert_eq!(records, [(10, b"a".to_vec()), (10, b"b".to_vec()), (20, b"".to_vec())]);
    assert!(opened.clean);
    assert_eq!(opened.epoch, Epoch::new(2));
}

#[test]
fn records_keep_the_epoch_that_decided_them() {
    let disk = SimDisk::new(1);
    for round in 1..=4 {
        let mut epochs = Vec::new();
        let mut note = |record: Record<'_>| {
            epochs.push(record.epoch.get());
            Ok(())
        };
        let (wal, _) = Wal::open(Arc::new(disk.clone()), manual(), &mut note, &|_| Ok(())).unwrap();
        assert_eq!(epochs, (1..round).collect::<Vec<u64>>());
        commit(&wal, 1, b"x");
    }
}

#[test]
fn a_log_goes_on_over_many_segments() {
    let disk = SimDisk::new(1);
    let (wal, ..) = open(&disk, &manual()).unwrap();
    let record = vec![7; 100_000];
    for at in 0..60 {
        commit(&wal, at, &record);
    }
    wal.close().unwrap();
    assert!(disk.names().len() > 7, "{:?}", disk.names());
    let (scanned, records) = scan_records(&disk).unwrap();
    assert_eq!((records.len(), scanned.last_seq, scanned.durable), (60, Seq::new(60), Seq::new(60)));
    assert!(scanned.clean && records.iter().all(|(_, bytes)| *bytes == record));
    let (wal, _, again) = open(&disk, &manual()).unwrap();
    assert_eq!(again, records);
    drop(wal);
}

#[test]
fn one_reservation_serves_a_batch_and_one_frame_holds_it() {
    let disk = SimDisk::new(1);
    let (wal, ..) = open(&disk, &manual()).unwrap();
    let mut reservation = wal.reserve(5, 50).unwrap();
    let together: Vec<&[u8]> = vec![b"1", b"2", b"3"];
    let first = wal.append_together(&mut reservation, time(3), &Bundle::of(&together)).unwrap();
    let last = wal.append(&mut reservation, time(3), b"4").unwrap();
    assert_eq!((first.seq, last.seq), (Seq::new(1), Seq::new(4)));
    assert!(wal.stats().in_flight_bytes > 0);
    drop(reservation);
    assert_eq!(wal.reached(last.seq, Level::Acknowledged), None);
    wal.wait(last.seq, Level::Acknowledged).unwrap();
    assert_eq!(wal.reached(last.seq, Level::Durable), Some(Ok(())));
    let stats = wal.stats();
    assert_eq!((stats.commits, stats.entries, stats.bytes, stats.in_flight_bytes), (1, 4, 4096, 0));
    assert_eq!(stats.commit_entries.sum, 4);
    assert_eq!(stats.fsync_micros.buckets.iter().sum::<u64>(), 1);
}

#[test]
fn what_cannot_be_is_refused() {
    for segment_bytes in [0, (1 << 20) - 4096, (1 << 20) + 1, (1 << 30) + 4096] {
        let options = WalOptions { segment_bytes, ..manual() };
        assert!(matches!(open(&SimDisk::new(1), &options), Err(OpenError::InvalidOption { .. })));
    }
    let zero = WalOptions { durability: Durability::Interval(std::time::Duration::ZERO), ..manual() };
    assert!(matches!(open(&SimDisk::new(1), &zero), Err(OpenError::InvalidOption { .. })));

    let disk = SimDisk::new(1);
    let (wal, ..) = open(&disk, &manual()).unwrap();
    assert!(matches!(open(&disk, &manual()), Err(OpenError::InUse { .. })));
    let max = wal.bytes_max(1);
    assert!(matches!(wal.reserve(1, max + 1), Err(Refused::TooLarge { bytes_max, .. }) if bytes_max == max));
    commit(&wal, 1, &vec![1; max]);
    wal.close().unwrap();
    assert!(matches!(wal.reserve(1, 1), Err(Refused::Closed)));
    assert_eq!(open(&disk, &manual()).unwrap().2[0].1.len(), max);
}

#[test]
fn a_replay_that_says_no_refuses_the_log() {
    let disk = SimDisk::new(1);
    let (wal, ..) = open(&disk, &manual()).unwrap();
    commit(&wal, 1, b"a");
    commit(&wal, 1, b"b");
    drop(wal);
    let mut refuse = |record: Record<'_>| if record.bytes == b"b" { Err("no such thing".to_owned()) } else { Ok(()) };
    match Wal::open(Arc::new(disk), manual(), &mut refuse, &|_| Ok(())) {
        Err(OpenError::Damaged { seq: Some(2), reason, .. }) => assert_eq!(reason, "no such thing"),
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn a_halt_is_sticky_and_tells_what_is_unknown() {
    let disk = SimDisk::new(1);
    let (wal, ..) = open(&disk, &manual()).unwrap();
    let durable = commit(&wal, 1, b"a").seq;
    let mut reservation = wal.reserve(2, 2).unwrap();
    let in_flight = wal.append(&mut reservation, time(1), b"b").unwrap().seq;
    wal.halt("first");
    wal.halt("second");
    let refused = wal.append(&mut reservation, time(1), b"c").unwrap_err();
    assert!(!refused.outcome_unknown && &*refused.reason == "first");
    drop(reservation);
    assert_eq!(wal.wait(durable, Level::Durable), Ok(()));
    assert!(wal.wait(in_flight, Level::Durable).unwrap_err().outcome_unknown);
    assert!(matches!(wal.reserve(1, 1), Err(Refused::Halted(halted)) if !halted.outcome_unknown));
    assert!(wal.close().unwrap_err().outcome_unknown);
}

#[test]
fn appending_more_than_was_reserved_halts() {
    let (wal, ..) = open(&SimDisk::new(1), &manual()).unwrap();
    let mut reservation = wal.reserve(1, 1).unwrap();
    wal.append(&mut reservation, time(1), b"12").unwrap_err();
    assert!(wal.halted().is_some());
}

#[test]
fn an_interval_acknowledges_before_it_syncs() {
    let disk = SimDisk::new(1);
    let (wal, ..) = open(&disk, &interval()).unwrap();
    let seq = append(&wal, 1, b"a").unwrap().seq;
    wal.wait(seq, Level::Acknowledged).unwrap();
    assert_eq!((wal.durable(), wal.reached(seq, Level::Durable)), (Seq::ZERO, None));
    wal.wait(seq, Level::Durable).unwrap();
    assert_eq!(wal.durable(), seq);
    let seq = append(&wal, 1, b"b").unwrap().seq;
    wal.wait(seq, Level::Acknowledged).unwrap();
    wal.halt("as a test");
    assert!(wal.reached(seq, Level::Acknowledged).unwrap().is_err());
}

#[test]
fn an_interval_bounds_what_is_in_flight() {
    let disk = SimDisk::new(1);
    let (wal, ..) = open(&disk, &interval()).unwrap();
    let mut moved = Vec::new();
    for _ in 0..40 {
        let seq = append(&wal, 1, &vec![1; 200_000]).unwrap().seq;
        wal.wait(seq, Level::Acknowledged).unwrap();
        moved.push(seq.get() - wal.durable().get());
    }
    assert!(moved.iter().all(|unsynced| *unsynced <= 5) && moved.contains(&2), "{moved:?}");
}

#[test]
fn a_full_pipe_refuses_or_waits_as_it_was_told() {
    let disk = SimDisk::new(1);
    let (wal, ..) = open(&disk, &WalOptions { when_full: WhenFull::Refuse, ..manual() }).unwrap();
    let half = wal.bytes_max(1) / 2 + 1;
    let first = append(&wal, 1, &vec![1; half]).unwrap();
    assert!(matches!(wal.reserve(1, half), Err(Refused::Overloaded)));
    wal.wait(first.seq, Level::Durable).unwrap();
    append(&wal, 1, &vec![1; half]).unwrap();
    drop(wal);
    let (wal, ..) = open(&disk, &manual()).unwrap();
    for _ in 0..10 {
        append(&wal, 1, &vec![1; half]).unwrap();
    }
    wal.close().unwrap();
    assert_eq!(open(&disk, &manual()).unwrap().2.len(), 12);
}

#[test]
fn many_small_promises_get_as_many_segments_as_they_need() {
    let (wal, ..) = open(&SimDisk::new(1), &manual()).unwrap();
    let mut reservation = wal.reserve(2_000, 20_000).unwrap();
    for _ in 0..2_000 {
        let seq = wal.append(&mut reservation, time(1), b"0123456789").unwrap().seq;
        wal.wait(seq, Level::Durable).unwrap();
    }
    drop(reservation);
    wal.close().unwrap();
}

#[test]
fn the_first_spare_is_small_and_takes_any_frame() {
    let disk = SimDisk::new(1);
    let options = WalOptions { segment_bytes: 24 << 20, ..manual() };
    let (wal, ..) = open(&disk, &options).unwrap();
    let largest = vec![1; wal.bytes_max(1)];
    commit(&wal, 1, &largest);
    commit(&wal, 1, &largest);
    let lengths = |disk: &SimDisk| -> Vec<usize> {
        let segments = disk.names().into_iter().filter(|name| name.ends_with(".segment"));
        segments.map(|name| disk.read(&name).unwrap().len() >> 20).collect()
    };
    assert_eq!(lengths(&disk), [1, 16, 24]);
    wal.close().unwrap();
    assert_eq!(open(&disk, &options).unwrap().2.len(), 2);
}

#[test]
fn what_was_appended_together_holds_the_room_of_one_frame() {
    let (wal, ..) = open(&SimDisk::new(1), &manual()).unwrap();
    commit(&wal, 1, b"the first spare is prepared");
    // A segment is of 1 MiB: a promise of 4 KiB to each would be used up by two of these, and the third make a commit.
    for _ in 0..50 {
        let mut reservation = wal.reserve(100, 1_000).unwrap();
        wal.append_together(&mut reservation, time(1), &Bundle::of(&[b"0123456789".as_slice(); 100])).unwrap();
    }
    assert_eq!(wal.durable(), Seq::new(1));
    wal.close().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// However records are reserved, grouped and committed, each commit finds a segment with room: without one the log halts.
    #[test]
    fn a_promise_is_kept_however_records_are_grouped(
        steps in prop::collection::vec((0usize..4, 1usize..80, 0usize..9_000, any::<bool>()), 1..120),
    ) {
        let disk = SimDisk::new(1);
        let (wal, ..) = open(&disk, &manual()).unwrap();
        let mut open_ones: Vec<(Reservation<'_>, usize, usize)> = Vec::new();
        let mut appended = 0;
        for (kind, records, bytes, waits) in steps {
            match (kind, open_ones.pop()) {
                (0, last) => {
                    open_ones.extend(last);
                    // Refused, where what is in the way was promised to those that are open.
                    if let Ok(reservation) = wal.reserve(records, records * bytes) {
                        open_ones.push((reservation, records, bytes));
                    }
                }
                (1, Some(_)) | (_, None) => {} // Given back, in part or whole.
                (_, Some((mut reservation, left, bytes))) => {
                    let group = records.min(left);
                    let record = vec![7; bytes];
                    wal.append_together(&mut reservation, time(1), &Bundle::of(&vec![&record[..]; group])).unwrap();
                    appended += group;
                    if left > group {
                        open_ones.insert(0, (reservation, left - group, bytes));
                    }
                    if waits {
                        wal.wait(wal.appended(), Level::Durable).unwrap();
                    }
                }
            }
        }
        drop(open_ones);
        wal.close().unwrap();
        prop_assert_eq!(scan_records(&disk).unwrap().1.len(), appended);
    }
}

#[test]
fn a_log_without_a_disk_is_durable_at_once() {
    let wal = Wal::in_memory();
    let seq = commit(&wal, 1, b"a").seq;
    assert_eq!((seq, wal.durable(), wal.appended(), wal.time()), (Seq::new(1), seq, seq, time(1)));
    let mut context = Context::from_waker(Waker::noop());
    assert_eq!(wal.poll(seq, Level::Durable, &mut context), Poll::Ready(Ok(())));
    wal.close().unwrap();
    assert!(matches!(wal.reserve(1, 1), Err(Refused::Closed)));
}

#[test]
fn a_real_directory_is_locked_and_reopened() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let options = WalOptions { threads: true, uuid: None, ..manual() };
    let mut uuid = None;
    for round in 0..4u64 {
        let storage = Arc::new(DirectoryStorage::new(&path));
        let (wal, opened, records) = open_on(storage.clone(), &options).unwrap();
        assert_eq!(*uuid.get_or_insert(opened.uuid), opened.uuid);
        assert_eq!(records.len() as u64, round * 30);
        assert!(matches!(open_on(storage.clone(), &options), Err(OpenError::InUse { .. })));
        for at in 0..30 {
            commit(&wal, at, &[3; 50_000]);
        }
        let scanned = scan(&*storage, Start::First, None, &mut |_| ()).unwrap();
        assert_eq!(scanned.last_seq, Seq::new(30 * (round + 1)));
        if round % 2 == 0 {
            wal.close().unwrap();
        }
        drop(wal);
    }
}

#[test]
fn scanning_nothing_finds_nothing() {
    let (scanned, records) = scan_records(&SimDisk::new(1)).unwrap();
    assert!(scanned.uuid.is_none() && records.is_empty());
}
