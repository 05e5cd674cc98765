//! Headers that are rightly sealed and say what cannot be, and payloads with bytes too many.

use super::judged::{FIRST, LAST, frame_at, seal, small_log};
use super::*;
use frame::{HEADER_BYTES, Header, Kind, NotAFrame, Records};
use group_commit::Due;
use segment::FRAMES_AT;

/// A header of the small log with some of its bytes changed and its checksum made right again.
fn decoded(change: impl FnOnce(&mut [u8])) -> Result<Header, NotAFrame> {
    let disk = small_log();
    let mut bytes = disk.read(&names::segment(LAST)).unwrap()[FRAMES_AT as usize..][..HEADER_BYTES].to_vec();
    change(&mut bytes);
    let checksum = seal().checksum(&bytes[..HEADER_BYTES - 8]);
    bytes[HEADER_BYTES - 8..].copy_from_slice(&checksum.to_le_bytes());
    Header::decode(&bytes, seal())
}

#[test]
fn a_header_that_says_what_cannot_be_is_none() {
    let (header, _) = frame_at(&small_log(), LAST, FRAMES_AT);
    assert_eq!(decoded(|_| ()), Ok(header), "eighty bytes are enough");
    assert_eq!(decoded(|bytes| bytes[4] = 0).map(|header| header.kind), Ok(Kind::Records));
    assert_eq!(decoded(|bytes| bytes[4] = 2), Err(NotAFrame::Newer("a frame of version 2".to_owned())));
    assert_eq!(decoded(|bytes| bytes[5] = 9), Err(NotAFrame::Newer("a frame of type 9".to_owned())));
    assert_eq!(decoded(|bytes| bytes[0] ^= 1), Err(NotAFrame::Header));
    assert_eq!(decoded(|bytes| bytes[32..40].fill(0)), Err(NotAFrame::Header), "there is no seq 0");
    assert_eq!(decoded(|bytes| bytes[32..40].fill(0xFF)), Err(NotAFrame::Header), "none after the last");
    assert_eq!(decoded(|bytes| bytes[12..16].fill(0)), Err(NotAFrame::Header), "records, and none");
    assert_eq!(decoded(|bytes| bytes[5] = 3), Err(NotAFrame::Header), "a closing frame with records");
    assert_eq!(decoded(|bytes| bytes[48..56].fill(0x7F)), Err(NotAFrame::Header), "no time");
    let disk = small_log();
    let bytes = disk.read(&names::segment(FIRST)).unwrap();
    assert_eq!(Header::decode(&bytes[FRAMES_AT as usize..][..HEADER_BYTES - 1], seal()), Err(NotAFrame::Header));
}

#[test]
fn behind_the_last_record_of_a_payload_there_is_nothing() {
    let (header, payload) = frame_at(&small_log(), LAST, FRAMES_AT);
    let records = |extra: &[u8], count: u32| {
        let header = Header { count, payload_bytes: (payload.len() + extra.len()) as u32, ..header };
        let frame = [&[0; HEADER_BYTES], &payload[..], extra].concat();
        Records::of(&header, &frame).map(|record| record.is_some()).collect::<Vec<_>>()
    };
    assert_eq!(records(&[], 1), [true]);
    assert_eq!(records(&[0], 1), [false], "a byte that nobody reads");
    assert_eq!(records(&[0, 0], 2), [true, true], "an empty record at the same time");
    assert_eq!((records(&[0], 2), records(&[], 2)), (vec![true, false], vec![true, false]));
}

#[test]
fn a_frame_that_fits_to_the_last_block_begins_no_segment() {
    let (wal, ..) = open(&SimDisk::new(1), &manual()).unwrap();
    // Of 256 blocks the header, the link and a closing frame take three. A record takes four bytes more, its frame 96.
    for blocks in [64, 64, 64, 61] {
        commit(&wal, 0, &vec![1; blocks * 4_096 - 96 - 4]);
    }
    assert_eq!((wal.stats().bytes, wal.shared().segments_begun.load(crate::sync::Ordering::SeqCst)), (253 * 4_096, 0));
    commit(&wal, 0, b"one more");
    assert_eq!(wal.shared().segments_begun.load(crate::sync::Ordering::SeqCst), 1);
}

#[test]
fn a_sync_is_due_when_something_is_not_synced_and_somebody_keeps_the_time() {
    let hour = Durability::Interval(std::time::Duration::from_secs(3_600));
    for (options, is_timed) in [
        (WalOptions { durability: hour, threads: true, ..manual() }, true),
        (WalOptions { durability: hour, ..manual() }, false),
    ] {
        let wal = super::waiting::driven_by_hand(&SimDisk::new(1), options);
        let (shared, mut committer) = (wal.shared(), wal.log.committer.as_ref().unwrap().lock());
        assert_eq!(committer.due(shared), Due::Never);
        drop(committer);
        append(&wal, 1, b"a").unwrap();
        committer = wal.log.committer.as_ref().unwrap().lock();
        assert_eq!(committer.due(shared), Due::Now);
        crate::wal::threads::commit(shared, &mut committer);
        assert_eq!(wal.acknowledged(), Seq::new(1));
        assert_eq!(matches!(committer.due(shared), Due::At(_)), is_timed);
        assert!(is_timed || committer.due(shared) == Due::Never);
        shared.want(Seq::new(1), Level::Durable);
        assert_eq!(committer.due(shared), Due::Now, "somebody asked");
        crate::wal::threads::commit(shared, &mut committer);
        assert_eq!((wal.durable(), committer.due(shared)), (Seq::new(1), Due::Never));
    }
}

#[test]
fn what_somebody_wants_synced_is_synced_as_it_is_written() {
    let wal = super::waiting::driven_by_hand(&SimDisk::new(1), WalOptions { threads: true, ..interval() });
    let (shared, seq) = (wal.shared(), append(&wal, 1, b"a").unwrap().seq);
    shared.want(seq, Level::Durable);
    crate::wal::threads::commit(shared, &mut wal.log.committer.as_ref().unwrap().lock());
    assert_eq!(wal.durable(), seq);
}

#[test]
fn no_more_is_in_flight_than_the_segments_header_says() {
    let options = WalOptions { threads: true, ..interval() };
    // Five blocks, of which one is kept for a closing frame.
    let wal = super::waiting::driven_by_hand_with(&SimDisk::new(1), options, |writer| {
        writer.segment.in_flight_max = 5 * 4_096;
    });
    let durable: Vec<u64> = (0..10)
        .map(|at| {
            append(&wal, at, b"a block").unwrap();
            crate::wal::threads::commit(wal.shared(), &mut wal.log.committer.as_ref().unwrap().lock());
            wal.durable().get()
        })
        .collect();
    assert_eq!(durable, [0, 0, 0, 0, 4, 4, 4, 4, 8, 8]);
}

#[test]
fn a_segment_has_as_much_room_as_another_whatever_is_copied_into_it() {
    let disk = small_log();
    let before = disk.names();
    drop(open(&disk, &manual()).unwrap());
    let new: Vec<_> = disk.names().into_iter().filter(|name| !before.contains(name)).collect();
    let lengths: Vec<_> = new.iter().map(|name| disk.read(name).unwrap().len()).collect();
    assert_eq!(lengths, [(1 << 20) + 4_096], "the frame of seq 8 came along");
}

#[test]
fn a_head_is_shown_in_hexadecimal_as_in_what_is_said_of_a_wrong_one() {
    let bytes: [u8; 32] = std::array::from_fn(|at| at as u8 * 8);
    let expected: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(format!("{:?}", HeadHash::from_bytes(bytes)), expected);
}
