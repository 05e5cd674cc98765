//! A copy has what it was asked for, says that it is durable, and leads to the same heads.

use super::judged::{BLOCK, FIRST, LAST, MIDDLE, link_at, small_log, write_mark};
use super::*;
use segment::{FRAMES_AT, SegmentHeader};

const SKIPPED: u64 = 1_000;

/// Copies up to `until`, and checks the copy; what it said, and the disk.
fn copied(from: &SimDisk, until: Option<u64>, records: &Records) -> (super::super::copy::Copied, SimDisk) {
    let to = SimDisk::new(3);
    let copied = copy(from, &to, Start::First, until.map(Seq::new), SKIPPED, &|| ()).unwrap();
    let last = copied.last_seq.get() as usize;
    let source = scan(from, Start::First, Some(copied.last_seq), &mut |_| ()).unwrap();
    let (scanned, found) = scan_records(&to).unwrap();
    assert_eq!((found[..].len(), &found[..], scanned.durable), (last, &records[..last], copied.last_seq));
    // A head is that of a whole frame.
    assert!(source.head_then.is_none_or(|head| head == scanned.head));
    for name in to.names().iter().filter(|name| names::segment_number(name).is_some()) {
        let bytes = to.read(name).unwrap();
        let header = SegmentHeader::decode(bytes[..BLOCK as usize].try_into().unwrap()).unwrap();
        assert_eq!(header.bytes, bytes.len() as u64, "{name}");
    }
    // All of it is durable, and each slot of the mark says so.
    for slot in [None, Some(0), Some(1)] {
        let disk = to.survivor(1);
        slot.iter().for_each(|slot| disk.flip_bit(names::MARK, slot * BLOCK + 40, 0));
        let (wal, opened, again) = open(&disk, &manual()).unwrap();
        assert_eq!((again.len(), opened.torn, wal.durable()), (last, None, copied.last_seq));
        assert_eq!(opened.epoch.get(), copied.epoch.get() + SKIPPED + 1);
    }
    (copied, to)
}

#[test]
fn a_log_is_copied_up_to_any_record() {
    let disk = small_log();
    let records = scan_records(&disk).unwrap().1;
    let (first, middle) = (FRAMES_AT + 2 * BLOCK, FRAMES_AT + 3 * BLOCK);
    let bytes = |until: u64| match until {
        0..=2 => FRAMES_AT + until * BLOCK,
        3..=5 => first + FRAMES_AT + (until - 2) * BLOCK,
        _ => first + middle + FRAMES_AT + (until - 5) * BLOCK,
    };
    for until in (1..=8).map(Some).chain([None, Some(99)]) {
        let (copied, to) = copied(&disk, until, &records);
        let last = until.unwrap_or(8).min(8);
        assert_eq!((copied.last_seq, copied.epoch, copied.bytes), (Seq::new(last), Epoch::new(3), bytes(last)));
        let there = [FIRST, MIDDLE, LAST].map(|number| to.read(&names::segment(number)).is_some());
        assert_eq!(there, [true, last > 2, last > 5]);
    }
}

#[test]
fn of_the_last_frame_only_what_is_wanted_is_copied() {
    let disk = SimDisk::new(1);
    let (wal, ..) = open(&disk, &manual()).unwrap();
    for at in 0..3 {
        let mut reservation = wal.reserve(3, 90).unwrap();
        let records: [&[u8]; 3] = [&[at; 30], &[at + 50; 20], &[]];
        let stamp = wal.append_together(&mut reservation, time(i64::from(at)), &Bundle::of(&records)).unwrap();
        wal.wait(Seq::new(stamp.seq.get() + 2), Level::Durable).unwrap();
    }
    let records = scan_records(&disk).unwrap().1;
    for until in 1..=9 {
        assert_eq!(copied(&disk, Some(until), &records).0.bytes, FRAMES_AT + until.div_ceil(3) * BLOCK);
    }
}

#[test]
fn what_was_durable_later_is_not_said_of_a_copy_that_ends_before() {
    let disk = SimDisk::new(1);
    let (wal, ..) = open(&disk, &interval()).unwrap();
    for at in 0..4 {
        let seq = append(&wal, at, b"not synced by itself").unwrap().seq;
        wal.wait(seq, Level::Acknowledged).unwrap();
    }
    let disk = disk.after_kill();
    drop(wal);
    drop(open(&disk, &interval()).unwrap());
    let records = scan_records(&disk).unwrap().1;
    // The second opening copied all of them behind a link that says that they are durable.
    let last = disk
        .names()
        .iter()
        .filter_map(|name| names::segment_number(name))
        .rfind(|number| disk.written(&names::segment(*number)).unwrap() > FRAMES_AT);
    let (header, _) = link_at(&disk, last.unwrap());
    assert_eq!((records.len(), header.first_seq, header.durable), (4, Seq::new(1), Seq::new(4)));
    (1..=4).for_each(|until| assert_eq!(copied(&disk, Some(until), &records).0.last_seq, Seq::new(until)));
}

/// A snapshot or a mark names a frame of the first opening, by a chain that the second one's copy does not have.
#[test]
fn a_copy_is_the_frame_that_a_snapshot_or_a_mark_names_unless_it_was_written_later() {
    let disk = SimDisk::new(1);
    let (wal, ..) = open(&disk, &interval()).unwrap();
    (0..4).for_each(|at| drop(append(&wal, at, b"not synced by itself")));
    wal.wait(Seq::new(4), Level::Acknowledged).unwrap();
    let disk = disk.after_kill();
    drop(wal);
    let (wal, opened, _) = open(&disk, &interval()).unwrap();
    append(&wal, 4, b"of the second opening").unwrap();
    wal.close().unwrap();
    let met = |anchor: u64, epoch: u64| {
        let (anchor, epoch) = (Seq::new(anchor), Epoch::new(epoch));
        let base = Base { seq: anchor, time: time(0), anchor, chain: 1, epoch };
        scan(&disk, Start::After(base), None, &mut |_| ()).is_ok()
    };
    assert_eq!(opened.epoch, Epoch::new(2));
    // The copies are in a segment of epoch 2, under epoch 1; the fifth is under epoch 2.
    assert_eq!([0, 1, 2].map(|epoch| met(4, epoch)), [false, true, false]);
    assert_eq!([0, 1, 2].map(|epoch| met(5, epoch)), [false; 3]);
    let marked = |seq: u64, epoch: u64| {
        write_mark(&disk, |mark| (mark.seq, mark.chain, mark.epoch) = (Seq::new(seq), 1, Epoch::new(epoch)));
        scan_records(&disk).is_ok()
    };
    assert_eq!([0, 1, 2].map(|epoch| marked(4, epoch)), [false, true, false]);
    assert_eq!([0, 1, 2].map(|epoch| marked(5, epoch)), [false; 3]);
}

#[test]
fn large_segments_are_copied_piece_by_piece() {
    let disk = SimDisk::new(1);
    let options = WalOptions { segment_bytes: 4 << 20, ..manual() };
    let (wal, ..) = open(&disk, &options).unwrap();
    for at in 0..9 {
        commit(&wal, at, &vec![at as u8 + 1; 900_000]);
    }
    wal.close().unwrap();
    let to = SimDisk::new(3);
    let copied = copy(&disk, &to, Start::First, None, 0, &|| ()).unwrap();
    assert_eq!(copied.last_seq, Seq::new(9));
    assert!(scan_records(&to).unwrap().1 == scan_records(&disk).unwrap().1);
    assert!(disk.names().iter().any(|name| disk.written(name).unwrap() > 3 << 20));
}

#[test]
fn a_segment_that_is_full_to_its_last_byte_is_copied_as_it_is() {
    // Salvage closes segments up behind their last frame.
    let (.., full) = super::taken::take(&small_log());
    let records = scan_records(&full).unwrap().1;
    (1..=8).for_each(|until| assert_eq!(copied(&full, Some(until), &records).0.last_seq, Seq::new(until)));
}

#[test]
fn where_there_is_no_log_there_is_nothing_to_copy() {
    let fault = copy(&SimDisk::new(1), &SimDisk::new(2), Start::First, None, 0, &|| ()).unwrap_err();
    assert!(matches!(fault, OpenError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound));
    let damaged = small_log();
    damaged.flip_bit(&names::segment(MIDDLE), FRAMES_AT + 100, 0);
    assert!(matches!(copy(&damaged, &SimDisk::new(2), Start::First, None, 0, &|| ()), Err(OpenError::Damaged { .. })));
}

#[test]
fn epochs_are_skipped_by_a_number_that_is_another_each_time() {
    let mut skipped: Vec<u64> = (0..200).map(|_| epochs_skipped()).collect();
    assert!(skipped.iter().all(|skipped| skipped % (1 << 20) == 0 && (1..=1 << 28).contains(&(skipped >> 20))));
    skipped.sort_unstable();
    skipped.dedup();
    assert!(skipped.len() > 150, "{}", skipped.len());
}
