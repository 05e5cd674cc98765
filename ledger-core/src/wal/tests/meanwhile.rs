//! A log is looked at while its ledger goes on: between any two reads of who looks, something is written.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::judged::{BLOCK, FIRST, LAST, MIDDLE, SPARE, frame_at, frame_chain, small_log, write_frame, write_mark};
use super::*;
use crate::sys::{ReadFrom, StorageFile};
use frame::Header;
use segment::FRAMES_AT;

/// A disk that becomes another one after so many reads, file by file: files that are open stay.
struct Meanwhile {
    reads_left: AtomicU64,
    reads: AtomicU64,
    now: Mutex<SimDisk>,
    later: SimDisk,
}

impl Meanwhile {
    fn new(now: &SimDisk, later: &SimDisk, reads: u64) -> Arc<Meanwhile> {
        Arc::new(Meanwhile {
            reads_left: AtomicU64::new(reads),
            reads: AtomicU64::new(0),
            now: Mutex::new(now.clone()),
            later: later.clone(),
        })
    }

    /// One more read, of the disk as it is then.
    fn disk(&self) -> SimDisk {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let mut now = self.now.lock().unwrap();
        if self.reads_left.load(Ordering::SeqCst) == 0 {
            *now = self.later.clone();
        } else {
            self.reads_left.fetch_sub(1, Ordering::SeqCst);
        }
        now.clone()
    }
}

/// A handle to it.
struct Looked(Arc<Meanwhile>);

struct LookedFile {
    disk: Arc<Meanwhile>,
    name: String,
    /// As it was opened: what is removed can still be read.
    opened: Arc<dyn StorageFile>,
}

impl LookedFile {
    fn file(&self) -> Arc<dyn StorageFile> {
        self.disk.disk().open(&self.name).unwrap_or_else(|_| Arc::clone(&self.opened))
    }
}

impl StorageFile for LookedFile {
    fn len(&self) -> std::io::Result<u64> {
        self.file().len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.file().read_at(buf, offset)
    }

    fn read_device_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.file().read_device_at(buf, offset)
    }

    fn zeros_from(&self, from: ReadFrom, offset: u64) -> std::io::Result<u64> {
        self.file().zeros_from(from, offset)
    }

    fn write_at(&self, _: &[u8], _: u64) -> std::io::Result<()> {
        unreachable!("who looks changes nothing")
    }

    fn sync_data(&self) -> std::io::Result<()> {
        unreachable!("who looks changes nothing")
    }
}

impl Storage for Looked {
    fn lock(&self) -> std::io::Result<DirectoryLock> {
        unreachable!("who looks takes no lock")
    }

    fn list(&self) -> std::io::Result<Vec<String>> {
        self.0.disk().list()
    }

    fn create(&self, _: &str) -> std::io::Result<Arc<dyn StorageFile>> {
        unreachable!("who looks changes nothing")
    }

    fn open(&self, name: &str) -> std::io::Result<Arc<dyn StorageFile>> {
        let opened = self.0.disk().open(name)?;
        Ok(Arc::new(LookedFile { disk: Arc::clone(&self.0), name: name.to_owned(), opened }))
    }

    fn rename(&self, _: &str, _: &str) -> std::io::Result<()> {
        unreachable!("who looks changes nothing")
    }

    fn remove(&self, _: &str) -> std::io::Result<()> {
        unreachable!("who looks changes nothing")
    }

    fn sync_directory(&self) -> std::io::Result<()> {
        unreachable!("who looks changes nothing")
    }

    fn describe(&self) -> String {
        "a disk in use".to_owned()
    }
}

/// What is found where `now` becomes `later` after each number of reads: (records, bytes torn), and how often in a row.
fn seen(now: &SimDisk, later: &SimDisk) -> Vec<(u64, u64, u32)> {
    let mut seen: Vec<(u64, u64, u32)> = Vec::new();
    for reads in 0.. {
        let disk = Meanwhile::new(now, later, reads);
        let scanned = scan(&Looked(Arc::clone(&disk)), Start::Oldest, None, &mut |_| ());
        let scanned = scanned.unwrap_or_else(|fault| panic!("after {reads} reads: {fault}"));
        let found = (scanned.last_seq.get(), scanned.torn.map_or(0, |torn| torn.bytes));
        match seen.last_mut() {
            Some(last) if (last.0, last.1) == found => last.2 += 1,
            _ => seen.push((found.0, found.1, 1)),
        }
        if disk.reads.load(Ordering::SeqCst) <= reads {
            return seen;
        }
    }
    unreachable!("at some number of reads it is over before")
}

/// The small log with so many records more, and the mark after them where it has followed.
fn gone_on(records: u64, mark: bool) -> SimDisk {
    let disk = small_log();
    let name = names::segment(LAST);
    let mut at = FRAMES_AT + 3 * BLOCK;
    for seq in 9..9 + records {
        let (header, payload) = frame_at(&disk, LAST, FRAMES_AT + BLOCK);
        let previous = frame_chain(&disk, LAST, at);
        let (first_seq, durable, base_time) = (Seq::new(seq), Seq::new(seq - 1), time(seq as i64 * 10));
        write_frame(
            &disk,
            LAST,
            at,
            Header { first_seq, durable, base_time, previous, ..header },
            &payload,
            usize::MAX,
        );
        at += BLOCK;
    }
    if mark {
        let chain = frame_chain(&disk, LAST, at);
        write_mark(&disk, |mark| (mark.seq, mark.chain) = (Seq::new(8 + records), chain));
    }
    assert!(disk.written(&name).unwrap() <= at);
    disk
}

/// The records and the torn bytes of each sighting.
fn found(sightings: &[(u64, u64, u32)]) -> Vec<(u64, u64)> {
    sightings.iter().map(|(records, torn, _)| (*records, *torn)).collect()
}

#[test]
fn what_is_written_behind_the_last_frame_is_seen_or_is_not_yet() {
    // Up to the last look behind the last frame it is seen; written between that and the search for the log's end, it looks
    // torn, which in a log in use is said of what is being written.
    for (records, mark) in [(1, false), (3, false), (3, true)] {
        let sightings = seen(&small_log(), &gone_on(records, mark));
        assert_eq!(found(&sightings), [(8 + records, 0), (8, records * BLOCK), (8, 0)]);
        assert_eq!(sightings[1].2, 1);
    }
}

#[test]
fn a_frame_that_was_half_written_is_looked_at_again() {
    let half = gone_on(1, false);
    half.overwrite(&names::segment(LAST), FRAMES_AT + 3 * BLOCK + 90, &[0; BLOCK as usize - 90]);
    let sightings = found(&seen(&half, &gone_on(2, false)));
    // Whole; or both frames as bytes that are being written, of which the last look saw the first half; or that alone.
    assert_eq!(sightings, [(10, 0), (8, 2 * BLOCK), (8, 90)]);
}

#[test]
fn what_a_later_frame_tells_on_is_looked_at_once_more() {
    let whole = gone_on(2, false);
    // Of two frames the second can be seen first: then the one before it was written, and will be seen.
    let half = gone_on(2, false);
    half.overwrite(&names::segment(LAST), FRAMES_AT + 3 * BLOCK + 90, &[0; BLOCK as usize - 90]);
    let look = |reads: u64| {
        let disk = Meanwhile::new(&half, &whole, reads);
        let scanned = scan(&Looked(Arc::clone(&disk)), Start::First, None, &mut |_| ());
        (scanned.map(|scanned| scanned.last_seq.get()).ok(), disk.reads.load(Ordering::SeqCst))
    };
    let (refused, reads) = look(u64::MAX);
    assert_eq!(refused, None, "it stays so: it is damaged");
    assert!((0..reads).all(|before| look(before).0 == Some(10)), "up to the last look it may be seen");
}

#[test]
fn a_disk_that_fails_meanwhile_is_no_damage() {
    let off = small_log();
    off.crash_after(off.operations());
    off.sync_directory().unwrap_err();
    let mut failed = 0;
    for reads in 0..200 {
        match scan(&Looked(Meanwhile::new(&small_log(), &off, reads)), Start::First, None, &mut |_| ()) {
            Ok(scanned) => assert_eq!(scanned.last_seq, Seq::new(8)),
            Err(OpenError::Io { .. }) => failed += 1,
            Err(other) => panic!("after {reads} reads: {other}"),
        }
    }
    assert!((15..200).contains(&failed), "{failed}");
}

#[test]
fn segments_that_come_and_go_meanwhile_are_no_damage() {
    // The ledger goes on in its spare.
    let (before, after) = (small_log(), gone_on(1, false));
    let name = names::segment(SPARE);
    let link = {
        let (header, _) = frame_at(&after, LAST, segment::LINK_AT);
        let previous = frame_chain(&after, LAST, FRAMES_AT + 4 * BLOCK);
        Header {
            segment: SPARE,
            first_seq: Seq::new(10),
            durable: Seq::new(9),
            previous,
            base_time: time(90),
            ..header
        }
    };
    let (scanned, _) = scan_records(&after).unwrap();
    let mut payload = Vec::new();
    let head = Some(HeadHash::from_bytes(scanned.head.hash));
    segment::Link { previous: LAST, previous_end: FRAMES_AT + 4 * BLOCK, head }.payload(&mut payload);
    write_frame(&after, SPARE, segment::LINK_AT, link, &payload[frame::HEADER_BYTES..], usize::MAX);
    assert!(after.written(&name).unwrap() > segment::LINK_AT);
    let sightings = seen(&before, &after);
    assert!(sightings.iter().all(|(records, _, _)| [8, 9].contains(records)), "{sightings:?}");
    assert!(sightings.iter().all(|(_, torn, _)| [0, BLOCK].contains(torn)), "{sightings:?}");
    // A checkpoint retires the first segment, before who looks has come to it.
    let retired = small_log();
    retired.erase(&names::segment(FIRST));
    for reads in 0..=16 {
        let disk = Looked(Meanwhile::new(&small_log(), &retired, reads));
        let scanned = scan(&disk, Start::Oldest, None, &mut |_| ()).unwrap();
        assert_eq!((scanned.first_seq, scanned.last_seq), (Seq::new(3), Seq::new(8)), "{reads} reads");
    }
}

#[test]
fn only_the_last_segment_and_the_spares_are_kept_open() {
    let disk = small_log();
    let mark = reader::read_mark(&disk, ReadFrom::Cache).unwrap().unwrap();
    let numbers = [FIRST, MIDDLE, LAST, SPARE];
    let segments = start::open_segments(&disk, Reading::Shared, &numbers, &mark, Start::First).unwrap();
    let is_open = |index: usize| {
        let look = std::panic::AssertUnwindSafe(|| segments[index].open_file().len().unwrap());
        std::panic::catch_unwind(look).is_ok()
    };
    assert_eq!([0, 1, 2, 3].map(is_open), [false, false, true, true]);
    let firsts: Vec<_> = segments.iter().map(reader::Segment::first_seq).collect();
    assert_eq!(firsts, [Some(Seq::new(1)), Some(Seq::new(3)), Some(Seq::new(6)), None]);
}

#[test]
fn a_mark_that_cannot_be_opened_is_not_one_that_is_not_there() {
    let disk = SimDisk::new(1);
    assert_eq!(identity(&disk).unwrap(), None);
    let disk = small_log();
    assert_eq!(identity(&disk).unwrap(), Some(Uuid::from_u128(0x1ed9e7)));
    disk.crash_after(disk.operations());
    disk.sync_directory().unwrap_err();
    assert!(matches!(identity(&disk), Err(OpenError::Io { .. })));
}

#[test]
fn a_copy_has_what_the_log_had_or_is_refused_where_it_changed_meanwhile() {
    let now = small_log();
    let records = scan_records(&now).unwrap().1;
    let at = FRAMES_AT + BLOCK;
    // A frame that follows another one, or that goes on at another seq; all else of it is right.
    let changes: [fn(&mut Header); 2] =
        [|header| header.previous ^= 1, |header| header.first_seq = header.first_seq.next()];
    for change in changes {
        let later = small_log();
        let (mut header, mut payload) = frame_at(&later, LAST, at);
        change(&mut header);
        *payload.last_mut().unwrap() ^= 1;
        write_frame(&later, LAST, at, header, &payload, usize::MAX);
        let (mut copied, mut refused) = (0, 0);
        for reads in 0.. {
            let (disk, to) = (Meanwhile::new(&now, &later, reads), SimDisk::new(3));
            match copy(&Looked(Arc::clone(&disk)), &to, Start::First, None, 1_000, &|| ()) {
                Ok(said) => {
                    assert_eq!((said.last_seq, scan_records(&to).unwrap().1), (Seq::new(8), records.clone()));
                    copied += 1;
                }
                Err(OpenError::Damaged { reason, .. }) => {
                    refused += u32::from(reason.contains("it changed while it was copied"));
                }
                Err(other) => panic!("after {reads} reads: {other}"),
            }
            if disk.reads.load(Ordering::SeqCst) <= reads {
                break;
            }
        }
        assert!(copied > 0 && refused > 0, "{copied} copied, {refused} refused");
    }
}

#[test]
fn a_file_that_becomes_shorter_while_it_is_copied_is_no_copy() {
    const NAME: &str = "a file";
    let (now, later) = (SimDisk::new(1), SimDisk::new(1));
    for (disk, length) in [(&now, 2_500_000), (&later, 1_200_000)] {
        disk.create(NAME).unwrap().write_at(&vec![7; length], 0).unwrap();
    }
    let mut refused = 0;
    for reads in 0..=6 {
        let to = SimDisk::new(2);
        match twin::copy_files(&Looked(Meanwhile::new(&now, &later, reads)), &to, &[NAME.to_owned()]) {
            Ok(()) => assert!([&now, &later].iter().any(|disk| disk.read(NAME) == to.read(NAME)), "{reads} reads"),
            Err(OpenError::Io { source, .. }) => {
                assert_eq!((source.kind(), to.read(NAME)), (std::io::ErrorKind::UnexpectedEof, None));
                refused += 1;
            }
            Err(other) => panic!("after {reads} reads: {other}"),
        }
    }
    assert_eq!(refused, 3, "before any of its pieces was read, once its length was known");
}
