//! One fault each in a small log, rightly sealed where that matters: what is said of it, and where.

use super::*;
use frame::{HEADER_BYTES, Header, Kind, Seal};
use mark::Mark;
use segment::{FRAMES_AT, LINK_AT, Link, SegmentHeader};

pub(super) const BLOCK: u64 = 4096;
/// The segments of [`small_log`], and the spare behind them.
pub(super) const FIRST: u64 = 1;
pub(super) const MIDDLE: u64 = 3;
pub(super) const LAST: u64 = 5;
pub(super) const SPARE: u64 = 6;

/// Three openings of two, three and three commits of one record each: two are closed, the last is killed before the mark
/// has followed. Frames are of one block.
pub(super) fn small_log() -> SimDisk {
    let disk = SimDisk::new(1);
    for (round, commits) in [2, 3, 3].into_iter().enumerate() {
        let (wal, ..) = open(&disk, &manual()).unwrap();
        for at in 0..commits {
            commit(&wal, round as i64 * 10 + at, &[at as u8; 60]);
        }
        if round == 2 {
            return disk.after_kill();
        }
        wal.close().unwrap();
    }
    unreachable!("the last round returns")
}

pub(super) fn seal() -> Seal {
    Seal::of(Uuid::from_u128(0x1ed9e7))
}

/// The frame at an offset: its header and its payload.
pub(super) fn frame_at(disk: &SimDisk, segment: u64, offset: u64) -> (Header, Vec<u8>) {
    let bytes = disk.read(&names::segment(segment)).unwrap();
    let header = Header::decode(&bytes[offset as usize..], seal()).unwrap();
    let payload = &bytes[offset as usize + HEADER_BYTES..][..header.payload_bytes as usize];
    (header, payload.to_vec())
}

/// Writes a frame, or as much of it as is wanted, with right checksums.
pub(super) fn write_frame(disk: &SimDisk, segment: u64, offset: u64, header: Header, payload: &[u8], bytes: usize) {
    let mut buf = vec![0; HEADER_BYTES];
    buf.extend_from_slice(payload);
    frame::finish(&mut buf, header, seal());
    disk.overwrite(&names::segment(segment), offset, &buf[..bytes.min(buf.len())]);
}

/// Changes the header of the frame at an offset and seals it again.
pub(super) fn change(disk: &SimDisk, segment: u64, offset: u64, change: impl FnOnce(&mut Header)) {
    let (mut header, payload) = frame_at(disk, segment, offset);
    change(&mut header);
    write_frame(disk, segment, offset, header, &payload, usize::MAX);
}

/// The chain of the frame that ends at an offset.
pub(super) fn frame_chain(disk: &SimDisk, segment: u64, end: u64) -> frame::Chain {
    let bytes = disk.read(&names::segment(segment)).unwrap();
    u128::from_le_bytes(bytes[end as usize - 16..][..16].try_into().unwrap())
}

/// The link of a segment, and its header.
pub(super) fn link_at(disk: &SimDisk, segment: u64) -> (Header, Link) {
    let (header, payload) = frame_at(disk, segment, LINK_AT);
    (header, Link::decode(&header, &[&[0; HEADER_BYTES], &payload[..]].concat()).unwrap())
}

/// Writes a link with right checksums.
pub(super) fn write_link(disk: &SimDisk, segment: u64, header: Header, link: Link) {
    let mut buf = Vec::new();
    link.payload(&mut buf);
    write_frame(disk, segment, LINK_AT, header, &buf[HEADER_BYTES..], usize::MAX);
}

pub(super) fn write_mark(disk: &SimDisk, change: impl FnOnce(&mut Mark)) {
    let mut mark = Mark::read(&*disk.open(names::MARK).unwrap(), ReadFrom::Device).unwrap().unwrap();
    change(&mut mark);
    for count in 0..2 {
        disk.overwrite(names::MARK, count * BLOCK, &Mark { count, ..mark }.encode());
    }
}

/// Opening and scanning refuse it with the same words.
fn refused(disk: &SimDisk, segment: u64, offset: u64, seq: Option<u64>, words: &str) {
    let file = if segment == 0 { names::MARK.to_owned() } else { names::segment(segment) };
    let said = |fault: OpenError| match fault {
        OpenError::Damaged { file, offset, seq, reason } => (file, offset, seq, reason),
        other => panic!("{other}"),
    };
    let opened = said(open(&disk.after_kill(), &manual()).map(|_| ()).expect_err(words));
    assert!(opened.3.contains(words), "{}", opened.3);
    assert_eq!((&opened.0, opened.1, opened.2), (&file, offset, seq), "{words}");
    assert_eq!(said(scan_records(disk).map(|_| ()).expect_err(words)), opened);
}

/// So many records are found, and so many bytes torn, from where.
fn found(disk: &SimDisk, records: usize, torn: Option<(u64, u64, u64)>) {
    let (scanned, seen) = scan_records(disk).unwrap();
    let at = |torn: &TornTail| (torn.segment.clone(), torn.offset, torn.bytes);
    let expected = torn.map(|(segment, offset, bytes)| (names::segment(segment), offset, bytes));
    assert_eq!((seen.len(), scanned.torn.as_ref().map(at)), (records, expected.clone()));
    let opening = disk.after_kill();
    let (wal, opened, again) = open(&opening, &manual()).unwrap();
    assert_eq!((again, opened.torn.as_ref().map(at), opened.clean), (seen, expected, scanned.clean));
    if let Some(torn) = &opened.torn {
        let there = disk.read(&torn.segment).unwrap();
        let end = (torn.offset + torn.bytes) as usize;
        assert_eq!(opening.read(&torn.file).unwrap(), there[torn.offset as usize..end]);
    }
    drop(wal);
    // What an opening leaves is a log with the same records.
    assert_eq!(scan_records(&opening).unwrap().1.len(), records);
}

#[test]
fn the_small_log_is_as_it_is_said() {
    let disk = small_log();
    let segments: Vec<_> = disk.names().iter().filter_map(|name| names::segment_number(name)).collect();
    assert_eq!(segments, [FIRST, MIDDLE, LAST, SPARE]);
    let ends =
        [FIRST, MIDDLE, LAST, SPARE].map(|number| disk.written(&names::segment(number)).unwrap().div_ceil(BLOCK));
    assert_eq!(ends, [2 + 2 + 1, 2 + 3 + 1, 2 + 3, 1], "two have closing frames");
    found(&disk, 8, None);
    let (scanned, _) = scan_records(&disk).unwrap();
    assert_eq!((scanned.frames, scanned.bytes, scanned.segments), (8, 8 * BLOCK, 3));
    assert_eq!((scanned.last_seq, scanned.durable, scanned.epoch), (Seq::new(8), Seq::new(7), Epoch::new(3)));
    assert_eq!((scanned.last_time, scanned.first_seq, scanned.clean), (time(22), Seq::new(1), false));
}

#[test]
fn a_right_header_in_a_wrong_place_was_moved_there() {
    // Of the last segment the second frame, seq 7; all that it says is right but for one word.
    let at = FRAMES_AT + BLOCK;
    let moved = |words: &str, with: &dyn Fn(&mut Header)| {
        let disk = small_log();
        change(&disk, LAST, at, with);
        refused(&disk, LAST, at, Some(7), words);
    };
    moved("the frame belongs to segment 4", &|header| header.segment = 4);
    moved("the frame begins with seq 8", &|header| header.first_seq = Seq::new(8));
    moved("the frame begins with seq 6", &|header| header.first_seq = Seq::new(6));
    moved("the frame does not follow the one before it", &|header| header.previous ^= 1);
    moved("the frame's epoch is 2, after epoch 3", &|header| header.epoch = Epoch::new(2));
    moved("the frame's epoch is 4, in a segment of epoch 3", &|header| header.epoch = Epoch::new(4));
    moved("there is a link in the middle of a segment", &|header| {
        (header.kind, header.count) = (Kind::Link, 0);
    });
    moved("the record's time is before its predecessor's", &|header| header.base_time = time(19));
    let disk = small_log();
    change(&disk, LAST, at, |header| header.count = 2);
    refused(&disk, LAST, at, Some(8), "the frame's checksum is right and its records are not");
    let disk = small_log();
    change(&disk, LAST, at, |header| header.base_time = time(20));
    refused(&disk, LAST, at + BLOCK, Some(8), "the frame does not follow the one before it");
}

#[test]
fn a_frame_that_is_longer_than_its_segment_was_moved_there() {
    let at = FRAMES_AT + 3 * BLOCK;
    let disk = small_log();
    let left = (1 << 20) - at;
    let (header, _) = frame_at(&disk, LAST, at - BLOCK);
    let chain =
        u128::from_le_bytes(disk.read(&names::segment(LAST)).unwrap()[at as usize - 16..][..16].try_into().unwrap());
    let next = Header { first_seq: Seq::new(9), durable: Seq::new(8), previous: chain, ..header };
    let payload = |frame: u64| vec![0; frame as usize - HEADER_BYTES - 16];
    // As long as what is left of the segment: its first block is a write that was torn.
    write_frame(&disk, LAST, at, next, &payload(left), BLOCK as usize);
    found(&disk, 8, Some((LAST, at, HEADER_BYTES as u64)));
    write_frame(&disk, LAST, at, next, &payload(left + BLOCK), BLOCK as usize);
    refused(&disk, LAST, at, Some(9), "the frame is longer than its segment");
}

#[test]
fn what_follows_the_last_frame_is_torn_if_it_can_have_been_in_flight() {
    let at = FRAMES_AT + 3 * BLOCK;
    let header = SegmentHeader::decode(small_log().read(&names::segment(LAST)).unwrap()[..4096].try_into().unwrap());
    let most = header.unwrap().in_flight_max;
    // The largest frame, of 256 KiB and what a frame has besides; four of them where a sync is not waited for.
    assert_eq!((most, manual().in_flight_max()), (65 * BLOCK + 2 * BLOCK, most));
    assert_eq!(interval().in_flight_max(), 4 * 65 * BLOCK + 2 * BLOCK);
    for bytes in [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, most - 1, most] {
        let disk = small_log();
        disk.overwrite(&names::segment(LAST), at + bytes - 1, &[7]);
        found(&disk, 8, Some((LAST, at, bytes)));
    }
    let disk = small_log();
    disk.overwrite(&names::segment(LAST), at + most, &[7]);
    let words = format!("the frame's header cannot be read, and {} bytes follow, more than the {most}", most + 1);
    refused(&disk, LAST, at, Some(9), &words);
}

#[test]
fn a_bad_frame_is_torn_unless_something_behind_it_says_that_it_was_durable() {
    let name = names::segment(LAST);
    let (second, third) = (FRAMES_AT + BLOCK, FRAMES_AT + 2 * BLOCK);
    // The last frame: nobody has said that it was durable.
    for offset in [3, 90, BLOCK - 1] {
        let disk = small_log();
        disk.flip_bit(&name, third + offset, 1);
        found(&disk, 7, Some((LAST, third, BLOCK)));
    }
    // The one before it: the last frame says that it was. So does its header alone, wherever it stands.
    let disk = small_log();
    disk.flip_bit(&name, second + 90, 1);
    refused(&disk, LAST, second, Some(7), "the frame's checksum is wrong, and seqs up to 7 were durable");
    disk.flip_bit(&name, third + 90, 1);
    refused(&disk, LAST, second, Some(7), "the frame's checksum is wrong, and seqs up to 7 were durable");
    disk.flip_bit(&name, third + 3, 1);
    found(&disk, 6, Some((LAST, second, 2 * BLOCK)));
    let (header, _) = frame_at(&small_log(), LAST, third);
    for (blocks, durable, segment, is_durable) in
        [(1, 7, LAST, true), (1, 6, LAST, false), (1, 7, MIDDLE, false), (2, 7, LAST, true), (9, 99, LAST, true)]
    {
        let disk = small_log();
        disk.overwrite(&name, second, &[0; 2 * BLOCK as usize]);
        disk.overwrite(&name, second, &[9]);
        let says = Header { durable: Seq::new(durable), segment, ..header };
        write_frame(&disk, LAST, second + blocks * BLOCK, says, &[], HEADER_BYTES);
        match is_durable {
            true => {
                let words = format!("the frame's header cannot be read, and seqs up to {durable} were durable");
                refused(&disk, LAST, second, Some(7), &words);
            }
            false => found(&disk, 6, Some((LAST, second, blocks * BLOCK + 80))),
        }
    }
}

#[test]
fn behind_a_closing_frame_there_is_nothing() {
    let disk = small_log();
    let (wal, ..) = open(&disk, &manual()).unwrap();
    commit(&wal, 50, b"one more");
    wal.close().unwrap();
    let last = disk
        .names()
        .iter()
        .filter_map(|name| names::segment_number(name))
        .rfind(|number| disk.written(&names::segment(*number)).unwrap() > LINK_AT);
    let (last, disk) = (last.unwrap(), disk.after_kill());
    let end = disk.written(&names::segment(last)).unwrap();
    assert!(end.is_multiple_of(BLOCK) && frame_at(&disk, last, end - BLOCK).0.kind == Kind::Closing);
    found(&disk, 9, None);
    assert!(scan_records(&disk).unwrap().0.clean);
    for offset in [0, 1, BLOCK, 100_000] {
        let disk = disk.after_kill();
        disk.overwrite(&names::segment(last), end + offset, &[1]);
        refused(&disk, last, end, Some(10), "there is something after its closing frame");
    }
    // A closing frame vouches for all before it, and for the time.
    let disk = disk.after_kill();
    change(&disk, last, end - BLOCK, |header| header.base_time = time(1_000));
    let (scanned, _) = scan_records(&disk).unwrap();
    assert_eq!((scanned.last_time, scanned.durable), (time(1_000), Seq::new(9)));
    disk.flip_bit(&names::segment(last), end - BLOCK + 200, 0);
    // Nothing else vouches for the last record.
    assert_eq!(scan_records(&disk).unwrap().0.torn.map(|torn| torn.offset), Some(end - BLOCK));
}

#[test]
fn a_link_leads_from_the_end_of_the_segment_before() {
    let linked = |words: &str, with: &dyn Fn(&mut Header, &mut Link)| {
        let disk = small_log();
        let (mut header, payload) = frame_at(&disk, LAST, LINK_AT);
        let mut link = Link::decode(&header, &[&[0; HEADER_BYTES], &payload[..]].concat()).unwrap();
        with(&mut header, &mut link);
        let mut buf = Vec::new();
        link.payload(&mut buf);
        write_frame(&disk, LAST, LINK_AT, header, &buf[HEADER_BYTES..], usize::MAX);
        (disk, words.to_owned())
    };
    let at_link = |words: &str, seq: u64, with: &dyn Fn(&mut Header, &mut Link)| {
        let (disk, words) = linked(words, with);
        refused(&disk, LAST, LINK_AT, Some(seq), &words);
    };
    at_link("it follows segment 1, and segment 3 is before it", 6, &|_, link| link.previous = 1);
    at_link("it goes on at seq 7 where the segment before ends at seq 5", 6, &|header, _| {
        header.first_seq = Seq::new(7);
    });
    at_link("it goes on at seq 6 where the segment before ends at seq 5", 6, &|header, _| header.previous ^= 1);
    at_link("its epoch is 1, after epoch 2", 6, &|header, _| header.epoch = Epoch::new(1));
    at_link("its link's epoch is 4, and its own is 3", 6, &|header, _| header.epoch = Epoch::new(4));
    let middle_end = FRAMES_AT + 3 * BLOCK;
    let (disk, words) = linked("its frames end at byte 20480, and its successor says at 24576", &|_, link| {
        link.previous_end = middle_end + BLOCK;
    });
    refused(&disk, MIDDLE, middle_end, Some(6), &words);
    let (disk, words) = linked("goes on at seq 6 where the segment before ends at seq 4", &|_, link| {
        link.previous_end = middle_end - BLOCK;
    });
    refused(&disk, LAST, LINK_AT, Some(5), &words);
    let (disk, words) = linked("its frames end at byte 20480, and its successor says at 20479", &|_, link| {
        link.previous_end = middle_end - 1;
    });
    refused(&disk, MIDDLE, middle_end, Some(6), &words);
    // A frame in the middle of a segment that has a successor is needed, whatever is wrong with it.
    let disk = small_log();
    disk.flip_bit(&names::segment(MIDDLE), FRAMES_AT + BLOCK + 100, 1);
    refused(&disk, MIDDLE, FRAMES_AT + BLOCK, Some(4), "the frame's checksum is wrong");
    let disk = small_log();
    disk.flip_bit(&names::segment(MIDDLE), LINK_AT + 90, 1);
    refused(&disk, MIDDLE, LINK_AT, None, "its link cannot be read, and there are later segments");
    let disk = small_log();
    disk.flip_bit(&names::segment(FIRST), LINK_AT + 90, 1);
    refused(&disk, FIRST, LINK_AT, Some(1), "its link cannot be read");
    let disk = small_log();
    disk.erase(&names::segment(FIRST));
    refused(&disk, MIDDLE, LINK_AT, Some(3), "it follows segment 1, which is missing, and no snapshot can be read");
    let disk = small_log();
    disk.erase(&names::segment(MIDDLE));
    let first_end = FRAMES_AT + 2 * BLOCK;
    refused(&disk, FIRST, first_end, Some(3), "its frames end at byte 16384, and its successor says at 20480");
}

#[test]
fn the_mark_says_how_much_of_the_log_there_must_be() {
    let end = FRAMES_AT + 3 * BLOCK;
    let disk = small_log();
    assert_eq!(Mark::read(&*disk.open(names::MARK).unwrap(), ReadFrom::Device).unwrap().unwrap().seq, Seq::new(5));
    write_mark(&disk, |mark| mark.seq = Seq::new(9));
    refused(&disk, LAST, end, Some(9), "the frame's header cannot be read, and seqs up to 9 were durable");
    write_mark(&disk, |mark| mark.seq = Seq::new(8));
    refused(&disk, 0, 0, Some(8), "its chain at seq 8 is not the log's");
    let bytes = disk.read(&names::segment(LAST)).unwrap();
    let chain = u128::from_le_bytes(bytes[end as usize - 16..][..16].try_into().unwrap());
    write_mark(&disk, |mark| mark.chain = chain);
    found(&disk, 8, None);
    assert_eq!(scan_records(&disk).unwrap().0.durable, Seq::new(8));
    for epoch in [2, 3] {
        write_mark(&disk, |mark| (mark.chain, mark.epoch) = (chain ^ 1, Epoch::new(epoch)));
        refused(&disk, 0, 0, Some(8), "its chain at seq 8 is not the log's");
    }
    // A mark of a higher epoch: of the next opening, which had not got further.
    write_mark(&disk, |mark| (mark.chain, mark.epoch) = (chain, Epoch::new(9)));
    assert_eq!(open(&disk.after_kill(), &manual()).unwrap().1.epoch, Epoch::new(10));
    // Without a segment there can be a mark of nothing, and no other.
    for number in [FIRST, MIDDLE, LAST, SPARE] {
        disk.erase(&names::segment(number));
    }
    refused(&disk, 0, 0, Some(1), "it says that seqs 1 to 8 were durable, and there is no segment");
    write_mark(&disk, |mark| mark.epoch = Epoch::new(0));
    refused(&disk, 0, 0, Some(1), "it says that seqs 1 to 8 were durable, and there is no segment");
    write_mark(&disk, |mark| (mark.seq, mark.chain, mark.epoch) = (Seq::ZERO, 0, Epoch::new(1)));
    refused(&disk, 0, 0, Some(1), "it says that seqs 1 to 0 were durable, and there is no segment");
    write_mark(&disk, |mark| mark.epoch = Epoch::new(0));
    found(&disk, 0, None);
}

#[test]
fn the_newer_slot_of_the_mark_holds_and_the_older_one_where_it_is_torn() {
    let disk = small_log();
    let mark = Mark::read(&*disk.open(names::MARK).unwrap(), ReadFrom::Device).unwrap().unwrap();
    let other = Mark { count: mark.count - 1, seq: Seq::new(77), ..mark };
    let read = |disk: &SimDisk| Mark::read(&*disk.open(names::MARK).unwrap(), ReadFrom::Device).unwrap();
    for (slot, of_other) in [(0, 1), (1, 0)] {
        disk.overwrite(names::MARK, slot * BLOCK, &mark.encode());
        disk.overwrite(names::MARK, of_other * BLOCK, &other.encode());
        assert_eq!(read(&disk), Ok(mark));
        disk.flip_bit(names::MARK, slot * BLOCK + 50, 0);
        assert_eq!(read(&disk), Ok(other));
        disk.flip_bit(names::MARK, of_other * BLOCK + 50, 0);
        assert_eq!(read(&disk), Err(mark::NoMark::Damaged));
    }
    // Marks are written in turn: the one before is there, whatever becomes of the last.
    let disk = small_log();
    disk.flip_bit(names::MARK, mark.count % 2 * BLOCK + 50, 0);
    assert_eq!(read(&disk).map(|older| older.count), Ok(mark.count - 1));
    disk.overwrite(names::MARK, 0, &mark.encode());
    disk.truncate(names::MARK, BLOCK);
    assert_eq!(read(&disk), Ok(mark));
    disk.truncate(names::MARK, BLOCK - 1);
    refused(&disk, 0, 0, None, "neither of its slots can be read");
    disk.erase(names::MARK);
    refused(&disk, 0, 0, None, "it is missing, while there is 0000000000000001.segment");
    // A later format in either slot is not guessed at.
    for slot in 0..2 {
        let disk = small_log();
        let mut block = mark.encode();
        block[8] = 2;
        segment::seal_block(&mut block, seal());
        disk.overwrite(names::MARK, slot * BLOCK, &block);
        match open(&disk, &manual()).map(|_| ()) {
            Err(OpenError::Unsupported { file, reason }) => {
                assert_eq!((file.as_str(), reason.as_str()), (names::MARK, "a mark of format 2"));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_segment_is_what_its_header_and_its_name_say() {
    let name = names::segment(MIDDLE);
    let header = |disk: &SimDisk| SegmentHeader::decode(disk.read(&name).unwrap()[..4096].try_into().unwrap()).unwrap();
    let sealed = |with: &dyn Fn(&mut SegmentHeader)| {
        let disk = small_log();
        let mut header = header(&disk);
        with(&mut header);
        disk.overwrite(&name, 0, &header.encode());
        disk
    };
    let uuid = Uuid::from_u128(7);
    let words = format!("it belongs to ledger {uuid}, not to {}", Uuid::from_u128(0x1ed9e7));
    refused(&sealed(&|header| header.uuid = uuid), MIDDLE, 16, None, &words);
    refused(&sealed(&|header| header.number = 9), MIDDLE, 32, None, "it is segment 9 under another's name");
    let longer = sealed(&|header| header.bytes += BLOCK);
    refused(&longer, MIDDLE, 1 << 20, None, "it has 1048576 bytes and should have 1052672");
    let shorter = sealed(&|header| header.bytes -= BLOCK);
    refused(&shorter, MIDDLE, (1 << 20) - BLOCK, None, "it has 1048576 bytes and should have 1044480");
    let disk = small_log();
    disk.flip_bit(&name, 100, 0);
    refused(&disk, MIDDLE, 0, None, "its header cannot be read");
    let disk = small_log();
    disk.truncate(&name, 100);
    refused(&disk, MIDDLE, 0, None, "its header cannot be read");
    // A later epoch than the records' is the ledger's.
    assert_eq!(open(&sealed(&|header| header.epoch = Epoch::new(3)), &manual()).unwrap().1.epoch, Epoch::new(4));
    refused(&sealed(&|header| header.epoch = Epoch::new(1)), MIDDLE, LINK_AT, Some(3), "its link's epoch is 2");
}

#[test]
fn a_link_is_one_block_of_its_segment_with_a_right_chain() {
    let (header, payload) = frame_at(&small_log(), LAST, LINK_AT);
    let read = |with: &dyn Fn(&mut Header, &mut Vec<u8>)| {
        let disk = small_log();
        let (mut header, mut payload) = (header, payload.clone());
        with(&mut header, &mut payload);
        write_frame(&disk, LAST, LINK_AT, header, &payload, usize::MAX);
        let file = disk.open(&names::segment(LAST)).unwrap();
        reader::read_link(&*file, crate::sys::ReadFrom::Cache, LAST, seal()).unwrap()
    };
    let link = read(&|_, _| ()).expect("a link");
    assert_eq!(
        (link.link.previous, link.link.previous_end, link.before()),
        (MIDDLE, FRAMES_AT + 3 * BLOCK, Seq::new(5))
    );
    assert_eq!((link.header, link.link.head.is_some()), (header, true));
    assert_eq!(read(&|_, payload| payload.truncate(16)).map(|read| read.link.head), Some(None), "format 1 had no head");
    assert!(read(&|_, payload| payload.truncate(17)).is_none());
    assert!(read(&|header, _| header.segment = MIDDLE).is_none());
    assert!(read(&|header, _| header.kind = Kind::Closing).is_none());
    assert!(
        read(&|header, payload| {
            header.durable = Seq::new(1);
            payload.resize(5_000, 0);
        })
        .is_none()
    );
    let disk = small_log();
    disk.truncate(&names::segment(LAST), LINK_AT + BLOCK - 1);
    let file = disk.open(&names::segment(LAST)).unwrap();
    assert!(reader::read_link(&*file, crate::sys::ReadFrom::Cache, LAST, seal()).unwrap().is_none());
}

#[test]
fn only_the_first_spare_may_hold_the_beginning_of_what_was_torn() {
    let most = manual().in_flight_max();
    let name = names::segment(SPARE);
    for bytes in [1, 80, BLOCK, most] {
        let disk = small_log();
        disk.overwrite(&name, LINK_AT + bytes - 1, &[7]);
        found(&disk, 8, Some((SPARE, LINK_AT, bytes)));
    }
    let disk = small_log();
    disk.overwrite(&name, LINK_AT + most, &[7]);
    refused(&disk, SPARE, LINK_AT, Some(9), "its link cannot be read");
    // A header in it may say what was durable.
    let (header, _) = frame_at(&small_log(), LAST, FRAMES_AT);
    for (durable, is_torn) in [(8, true), (9, false)] {
        let disk = small_log();
        let says = Header { durable: Seq::new(durable), segment: SPARE, ..header };
        write_frame(&disk, SPARE, FRAMES_AT, says, &[], HEADER_BYTES);
        match is_torn {
            true => found(&disk, 8, Some((SPARE, LINK_AT, BLOCK + 80))),
            false => refused(&disk, SPARE, LINK_AT, Some(9), "its link cannot be read, and seqs up to 9 were durable"),
        }
    }
    // A second spare holds nothing.
    let second = |first_byte: bool| {
        let disk = small_log();
        let mut header =
            SegmentHeader::decode(disk.read(&name).unwrap()[..4096].try_into().unwrap()).expect("a header");
        header.number = SPARE + 1;
        disk.create(&names::segment(SPARE + 1)).unwrap();
        disk.overwrite(&names::segment(SPARE + 1), header.bytes - 1, &[0]);
        disk.overwrite(&names::segment(SPARE + 1), 0, &header.encode());
        if first_byte {
            disk.overwrite(&names::segment(SPARE + 1), LINK_AT, &[7]);
        }
        disk
    };
    found(&second(false), 8, None);
    refused(&second(true), SPARE + 1, LINK_AT, Some(9), "its link cannot be read");
}

/// The head of a log at a seq.
fn disk_head(disk: &SimDisk, seq: u64) -> Head {
    scan(disk, Start::First, Some(Seq::new(seq)), &mut |_| ()).unwrap().head_then.unwrap()
}

#[test]
fn the_head_that_a_link_seals_must_be_the_one_that_is_computed() {
    let disk = small_log();
    let (header, mut payload) = frame_at(&disk, LAST, LINK_AT);
    payload[16] ^= 1;
    write_frame(&disk, LAST, LINK_AT, header, &payload, usize::MAX);
    // Every frame behind it follows from its chain, so they are written anew as well.
    let mut at = LINK_AT;
    for _ in 0..3 {
        let bytes = disk.read(&names::segment(LAST)).unwrap();
        let chain = u128::from_le_bytes(bytes[(at + BLOCK) as usize - 16..][..16].try_into().unwrap());
        at += BLOCK;
        change(&disk, LAST, at, |header| header.previous = chain);
    }
    let fault = scan_records(&disk).map(|_| ()).unwrap_err();
    let OpenError::Damaged { file, offset, seq, reason } = fault else { panic!("{fault}") };
    assert_eq!((file, offset, seq), (names::segment(LAST), LINK_AT, Some(6)));
    let computed: String = disk_head(&small_log(), 5).hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(reason.starts_with("it seals the head "), "{reason}");
    assert!(reason.ends_with(&format!("and what is before it has {computed}")), "{reason}");
    // An opening hashes from the last seal on and believes it, as it does every checksum.
    assert_eq!(open(&disk, &manual()).unwrap().2.len(), 8);
}

#[test]
fn a_mark_from_before_the_first_segment_that_is_there_is_believed_and_a_later_one_is_compared() {
    let disk = small_log();
    disk.erase(&names::segment(FIRST));
    let look = |seq: u64, chain: frame::Chain| {
        write_mark(&disk, |mark| (mark.seq, mark.chain) = (Seq::new(seq), chain));
        scan(&disk, Start::Oldest, None, &mut |_| ()).map(|scanned| (scanned.first_seq, scanned.last_seq))
    };
    let all = (Seq::new(3), Seq::new(8));
    (0..3).for_each(|seq| assert_eq!(look(seq, 7).unwrap(), all));
    for seq in 3..=5 {
        let chain = frame_chain(&disk, MIDDLE, FRAMES_AT + (seq - 2) * BLOCK);
        assert_eq!(look(seq, chain).unwrap(), all);
        match look(seq, chain ^ 1) {
            Err(OpenError::Damaged { reason, .. }) => {
                assert_eq!(reason, format!("its chain at seq {seq} is not the log's"));
            }
            other => panic!("{other:?}"),
        }
    }
}
