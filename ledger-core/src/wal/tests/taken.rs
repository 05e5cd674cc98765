//! What is taken out of a damaged log, what is left, and why: one fault each in the small log.

use super::super::salvage::{Candidate, Taken, salvage};
use super::judged::{
    BLOCK, FIRST, LAST, MIDDLE, change, frame_at, frame_chain, link_at, small_log, write_frame, write_link,
};
use super::*;
use frame::{HEADER_BYTES, Header, Kind};
use mark::Mark;
use segment::{FRAMES_AT, LINK_AT};

/// Salvages; what was taken, the seqs that were shown, and the copy.
pub(super) fn take(disk: &SimDisk) -> (Taken, Vec<u64>, SimDisk) {
    let (into, mut seqs) = (SimDisk::new(2), Vec::new());
    let taken = salvage(disk, &into, &|_| Ok(()), &|_| panic!("there are none"), &mut |record| {
        seqs.push(record.seq.get());
        Ok(())
    });
    (taken.unwrap(), seqs, into)
}

/// So many records are taken, and the first thing that is left begins there, for that reason.
fn left(disk: &SimDisk, records: u64, segment: u64, offset: u64, reason: &str) -> Taken {
    let (taken, seqs, into) = take(disk);
    assert_eq!(seqs, (1..=records).collect::<Vec<_>>(), "{reason}");
    assert_eq!(taken.last.seq, Seq::new(records));
    let first = taken.left.first().expect("something is left");
    assert_eq!(
        (first.file.clone(), first.bytes.start, first.reason.as_str()),
        (names::segment(segment), offset, reason)
    );
    // What was taken is a log of which all is durable.
    let (wal, opened, found) = open(&into.survivor(3), &manual()).unwrap();
    assert_eq!((found.len() as u64, opened.torn, wal.durable()), (records, None, Seq::new(records)));
    taken
}

#[test]
fn a_segment_is_taken_only_where_it_follows() {
    let unlinked = "it does not follow what could be taken";
    let linked = |with: &dyn Fn(&mut Header, &mut segment::Link)| {
        let disk = small_log();
        let (mut header, mut link) = link_at(&disk, LAST);
        with(&mut header, &mut link);
        write_link(&disk, LAST, header, link);
        disk
    };
    // Then nothing says where the one before it ends: it is taken as far as it goes.
    left(&linked(&|_, link| link.previous = FIRST), 5, LAST, LINK_AT, "it follows what was lost");
    left(&linked(&|header, _| header.previous ^= 1), 5, LAST, LINK_AT, unlinked);
    left(&linked(&|header, _| header.first_seq = Seq::new(7)), 5, LAST, LINK_AT, unlinked);
    left(&linked(&|header, _| header.epoch = Epoch::new(1)), 5, LAST, LINK_AT, unlinked);
    // The segment before it ends elsewhere: then it is not followed.
    let taken = left(&linked(&|_, link| link.previous_end -= BLOCK), 4, LAST, LINK_AT, unlinked);
    assert_eq!(taken.left[0].seqs, Some((Seq::new(6), Seq::new(8))));
}

#[test]
fn what_is_not_the_next_frame_is_left() {
    let at = FRAMES_AT + BLOCK;
    let moved = |reason: &str, with: &dyn Fn(&mut Header)| {
        let disk = small_log();
        change(&disk, LAST, at, with);
        left(&disk, 6, LAST, at, reason);
    };
    let next = "the frame is not the next one";
    moved(next, &|header| header.segment = 4);
    moved(next, &|header| header.first_seq = Seq::new(8));
    moved(next, &|header| header.previous ^= 1);
    moved(next, &|header| header.epoch = Epoch::new(2));
    moved(next, &|header| header.epoch = Epoch::new(4));
    moved(next, &|header| (header.kind, header.count) = (Kind::Link, 0));
    moved("a record cannot be read", &|header| header.base_time = time(19));
    let disk = small_log();
    change(&disk, LAST, at, |header| header.count = 2);
    assert_eq!(take(&disk).1, [1, 2, 3, 4, 5, 6, 7], "the record that can be read is shown, and not taken");
    let disk = small_log();
    disk.flip_bit(&names::segment(LAST), at + 100, 1);
    left(&disk, 6, LAST, at, "the frame's checksum is wrong");
    disk.flip_bit(&names::segment(LAST), at + 20, 1);
    left(&disk, 6, LAST, at, "the frame's header cannot be read");
    // A frame that would be longer than its segment is none; one as long as what is left is a bad one.
    let end = FRAMES_AT + 3 * BLOCK;
    let longer = |bytes: u64| {
        let disk = small_log();
        let (header, _) = frame_at(&disk, LAST, end - BLOCK);
        let next = Header { first_seq: Seq::new(9), previous: frame_chain(&disk, LAST, end), ..header };
        write_frame(&disk, LAST, end, next, &vec![0; bytes as usize - HEADER_BYTES - 16], BLOCK as usize);
        disk
    };
    left(&longer((1 << 20) - end), 8, LAST, end, "the frame's checksum is wrong");
    left(&longer((1 << 20) - end + BLOCK), 8, LAST, end, next);
}

#[test]
fn behind_a_closing_frame_whatever_there_is_is_left() {
    let disk = small_log();
    open(&disk, &manual()).unwrap().0.close().unwrap();
    let (taken, seqs, _) = take(&disk);
    assert_eq!((seqs.len(), taken.left.len()), (8, 0), "a closing frame holds nothing");
    let last = disk
        .names()
        .iter()
        .filter_map(|name| names::segment_number(name))
        .rfind(|number| disk.written(&names::segment(*number)).unwrap() > LINK_AT);
    let last = last.unwrap();
    let end = disk.written(&names::segment(last)).unwrap();
    disk.overwrite(&names::segment(last), end + 5, &[1]);
    left(&disk, 8, last, end - BLOCK, "the log was closed here");
}

#[test]
fn behind_the_end_of_a_full_segment_whatever_there_is_is_left() {
    // In a copy the segments are as long as what they hold.
    let (.., copy) = take(&small_log());
    let end = copy.read(&names::segment(LAST)).unwrap().len() as u64;
    copy.overwrite(&names::segment(LAST), end, b"more");
    left(&copy, 8, LAST, end, "the segment is full");
}

#[test]
fn what_can_be_read_once_and_then_no_more_is_not_taken() {
    let (disk, into) = (small_log(), SimDisk::new(2));
    let (name, at) = (names::segment(LAST), FRAMES_AT + BLOCK);
    // When the last record was shown, the device fails where the one before it lies.
    let taken = salvage(&disk, &into, &|_| Ok(()), &|_| panic!("there are none"), &mut |record| {
        if record.seq == Seq::new(8) {
            disk.lose_sectors(&name, at..at + 512);
        }
        Ok(())
    });
    let taken = taken.unwrap();
    assert_eq!((taken.last.seq, taken.known_durable), (Seq::new(6), Seq::new(7)));
    let first = &taken.left[0];
    assert_eq!((&first.file, first.bytes.start, first.reason.as_str()), (&name, at, "the device cannot read it"));
    let (wal, opened, found) = open(&into.survivor(3), &manual()).unwrap();
    assert_eq!((found.len(), opened.torn, wal.durable()), (6, None, Seq::new(6)));
}

#[test]
fn a_segment_of_another_ledger_or_under_another_name_is_none() {
    let strange = |with: &dyn Fn(&SimDisk, &str)| {
        let disk = small_log();
        let name = names::segment(0x77);
        disk.create(&name).unwrap();
        with(&disk, &name);
        let taken = left(&disk, 8, 0x77, 0, "its header cannot be read, or is another segment's");
        assert_eq!((taken.left.len(), taken.left[0].bytes.end, taken.left[0].seqs), (1, 1 << 20, None));
    };
    strange(&|disk, name| disk.overwrite(name, 0, &disk.read(&names::segment(MIDDLE)).unwrap()));
    let other = SimDisk::new(5);
    drop(open(&other, &WalOptions { uuid: Some(Uuid::from_u128(5)), ..manual() }).unwrap());
    strange(&|disk, name| {
        let mut bytes = other.read(&names::segment(1)).unwrap();
        let header = segment::SegmentHeader::decode(bytes[..BLOCK as usize].try_into().unwrap()).unwrap();
        let renamed = segment::SegmentHeader { number: 0x77, ..header };
        bytes[..BLOCK as usize].copy_from_slice(&renamed.encode());
        disk.overwrite(name, 0, &bytes);
    });
}

#[test]
fn what_is_known_to_have_been_durable_is_what_any_header_says() {
    let (taken, ..) = take(&small_log());
    assert_eq!(taken.known_durable, Seq::new(7), "the mark says 5, the last frame 7");
    let name = names::segment(LAST);
    let disk = small_log();
    disk.overwrite(&name, FRAMES_AT, &[0; BLOCK as usize]);
    let taken = left(&disk, 5, LAST, FRAMES_AT, "the frame's header cannot be read");
    assert_eq!((taken.known_durable, taken.left[0].seqs), (Seq::new(7), Some((Seq::new(6), Seq::new(8)))));
    assert_eq!(taken.left[0].bytes.end, FRAMES_AT + 3 * BLOCK);
    // A link that cannot be followed says so, too; what another segment says does not count.
    let (header, _) = frame_at(&small_log(), LAST, FRAMES_AT);
    for (segment, known) in [(LAST, 50), (FIRST, 7)] {
        let disk = small_log();
        let says = Header { durable: Seq::new(50), segment, ..header };
        write_frame(&disk, LAST, FRAMES_AT + 5 * BLOCK, says, &[], HEADER_BYTES);
        assert_eq!(take(&disk).0.known_durable, Seq::new(known));
    }
    let mark = Mark::read(&*disk.open(names::MARK).unwrap(), ReadFrom::Device).unwrap().unwrap();
    (0..2).for_each(|slot| disk.overwrite(names::MARK, slot * BLOCK, &Mark { seq: Seq::new(70), ..mark }.encode()));
    assert_eq!(take(&disk).0.known_durable, Seq::new(70));
}

#[test]
fn a_copy_is_closed_up_and_can_be_salvaged_again() {
    let disk = small_log();
    let (taken, _, into) = take(&disk);
    let (again, seqs, twice) = take(&into);
    assert_eq!(seqs, (1..=8).collect::<Vec<_>>(), "a segment that is full to its last byte is whole");
    assert_eq!((again.left.len(), again.head, again.last), (0, taken.head, taken.last));
    for copy in [&into, &twice] {
        assert_eq!(scan_records(copy).unwrap().1, scan_records(&disk).unwrap().1);
        // Every link seals the head that the source had there, and says no more than it has.
        for segment in [FIRST, MIDDLE, LAST] {
            let (read, of_source) = (link_at(copy, segment), link_at(&disk, segment));
            assert_eq!(read.1.head, of_source.1.head);
            assert_eq!((read.1.previous, read.0.first_seq), (of_source.1.previous, of_source.0.first_seq));
            assert_eq!(read.0.durable.get(), read.0.first_seq.get() - 1);
        }
    }
    // The copy's epochs are above all that there were, in steps: what the source gave names by stays apart.
    let epoch = open(&into, &manual()).unwrap().1.epoch.get() - 1;
    assert!(epoch >= 1 << 20 && epoch % (1 << 20) == 3, "{epoch}");
}

#[test]
fn a_link_says_of_a_copy_no_more_than_it_has() {
    let disk = small_log();
    // Another opening copies the frame of seq 8, which nothing had called durable, and its link says that it is.
    drop(open(&disk, &manual()).unwrap().0);
    let disk = disk.after_kill();
    let last = disk
        .names()
        .iter()
        .filter_map(|name| names::segment_number(name))
        .rfind(|number| disk.written(&names::segment(*number)).unwrap() > FRAMES_AT);
    let last = last.unwrap();
    let (header, _) = link_at(&disk, last);
    assert_eq!((header.first_seq, header.durable), (Seq::new(8), Seq::new(8)));
    disk.flip_bit(&names::segment(last), FRAMES_AT + 90, 1);
    left(&disk, 7, last, FRAMES_AT, "the frame's checksum is wrong");
}

#[test]
fn the_records_of_one_frame_are_shown_one_by_one() {
    let disk = SimDisk::new(1);
    let (wal, ..) = open(&disk, &manual()).unwrap();
    let mut reservation = wal.reserve(4, 40).unwrap();
    let records: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];
    wal.append_together(&mut reservation, time(1), &Bundle::of(&records)).unwrap();
    drop(reservation);
    wal.close().unwrap();
    let (taken, seqs, _) = take(&disk);
    assert_eq!((seqs, taken.last), (vec![1, 2, 3, 4], Stamp { seq: Seq::new(4), time: time(1) }));
}

#[test]
fn a_log_that_begins_later_takes_the_snapshots_with_it() {
    let disk = small_log();
    // The first segment is retired: a snapshot has what it said.
    disk.erase(&names::segment(FIRST));
    disk.create("2.snapshot").unwrap();
    disk.overwrite("2.snapshot", 0, b"the state at seq 2");
    disk.create("3.snapshot").unwrap();
    let into = SimDisk::new(2);
    let asked = std::cell::Cell::new(None);
    let chain = frame_chain(&disk, MIDDLE, FRAMES_AT + BLOCK);
    let base = Base { seq: Seq::new(2), time: time(1), anchor: Seq::new(3), chain, epoch: Epoch::new(2) };
    let earlier = Base { seq: Seq::new(1), anchor: Seq::new(1), ..base };
    let snapshots = |uuid: Uuid| {
        asked.set(Some(uuid));
        let candidate = |seq: u64, base: Base| {
            let file = format!("{seq}.snapshot");
            Candidate { bytes: 9, seq: Seq::new(seq), found: Ok((base, vec![file.clone()])), file }
        };
        Ok(vec![candidate(1, earlier), candidate(2, base), candidate(3, Base { seq: Seq::new(3), chain: 9, ..base })])
    };
    let mut seqs = Vec::new();
    let taken = salvage(&disk, &into, &|_| Ok(()), &snapshots, &mut |record| {
        seqs.push(record.seq.get());
        Ok(())
    });
    assert_eq!((asked.get(), seqs), (Some(Uuid::from_u128(0x1ed9e7)), (3..=8).collect()));
    let left = taken
        .unwrap()
        .left
        .into_iter()
        .map(|left| (left.file, left.seqs.map(|(first, last)| (first.get(), last.get()))));
    let expected =
        [(names::segment(FIRST), (2, 2)), ("1.snapshot".to_owned(), (1, 1)), ("3.snapshot".to_owned(), (1, 3))];
    assert_eq!(left.collect::<Vec<_>>(), expected.map(|(file, seqs)| (file, Some(seqs))));
    assert_eq!(into.read("2.snapshot").unwrap(), b"the state at seq 2");
    assert_eq!(into.read("3.snapshot"), None, "only what is asked for");
    let scanned = scan(&into, Start::Oldest, None, &mut |_| ()).unwrap();
    assert_eq!((scanned.first_seq, scanned.last_seq), (Seq::new(3), Seq::new(8)));
    let source = scan(&disk, Start::Oldest, None, &mut |_| ()).unwrap();
    assert_eq!(scanned.head, source.head);
}
