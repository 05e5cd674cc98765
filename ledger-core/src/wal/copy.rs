//! Copies a log, up to a record, into an empty directory: for backups of a log in use, and to restore an earlier moment.
//!
//! What must hold: the copy is a log that an opening accepts, with the same records up to the last one wanted and none
//! after it, and with the same heads. Its mark says that all of it is durable, because it is.

use uuid::Uuid;

use super::frame::{self, BLOCK, Chain, HEADER_BYTES, Header, Kind, Records, Seal};
use super::mark::Mark;
use super::options::WalOptions;
use super::reader::{self, Log, Reading, Segment, Window};
use super::segment::{FRAMES_AT, LINK_AT, NewFile, during};
use super::{Start, names};
use crate::error::OpenError;
use crate::sys::{ReadFrom, Storage};
use crate::types::{Epoch, Seq};

/// Bytes that are copied at once.
const CHUNK_BYTES: u64 = 1 << 20;

/// What was copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Copied {
    /// The last record of the copy.
    pub(crate) last_seq: Seq,
    /// The highest epoch of the log that was copied.
    pub(crate) epoch: Epoch,
    pub(crate) bytes: u64,
}

/// How far above the last epoch that is known a ledger goes on which has another past than its source may have had since: by
/// more than any ledger was opened meanwhile, and by another number each time, since of one source several may be made, each
/// of which gives names by its epochs. By a random one and not by the clock, which may stand where it stood.
pub(crate) fn epochs_skipped() -> u64 {
    const NUMBERS_LOG2: u32 = 28;
    let random = Uuid::new_v4().as_u128() as u64 & ((1 << NUMBERS_LOG2) - 1);
    (1 + random) * EPOCHS_SKIPPED_MIN
}

/// More than any ledger is opened.
pub(super) const EPOCHS_SKIPPED_MIN: u64 = 1 << 20;

/// Copies the log on `from` from `start` on up to `until`, or as far as it goes, to `to`. What a running ledger appends
/// meanwhile is left out. The copy's next epoch is above the last one's by more than `epochs_skipped`. `beside` is called between
/// two files.
///
/// # Errors
/// The log is damaged or does not reach `until`; or the storage's.
pub(crate) fn copy(
    from: &dyn Storage,
    to: &dyn Storage,
    start: Start,
    until: Option<Seq>,
    epochs_skipped: u64,
    beside: &dyn Fn(),
) -> Result<Copied, OpenError> {
    let log = reader::read(from, Reading::Shared, start, &WalOptions::default(), None, &mut |_| Ok(()))?;
    let Some(mark) = log.mark else {
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, "there is no ledger in it");
        return Err(OpenError::Io { context: format!("reading {}", from.describe()), source });
    };
    let last_seq = until.unwrap_or(log.end.last_seq).min(log.end.last_seq);
    // The segment that holds the last record, or would hold it.
    let holds = |segment: &Segment| segment.first_seq().is_some_and(|first| first <= last_seq);
    let last = log.segments.iter().rposition(holds).unwrap_or(0);
    let mut bytes = 0;
    for index in 0..last.min(log.segments.len()) {
        beside();
        bytes += copy_whole(from, to, &log, index)?;
    }
    let mut chain = 0;
    beside();
    if let Some(segment) = log.segments.get(last) {
        let (written, at) = copy_until(from, to, segment, mark.uuid, last_seq)?;
        (bytes, chain) = (bytes + written, at);
    }
    let epoch = Epoch::new(log.epoch_max.get() + epochs_skipped);
    let new = NewFile::create(to, names::MARK.to_owned())?;
    for count in 0..2 {
        let copy = Mark { uuid: mark.uuid, epoch, seq: last_seq, chain, count };
        new.write_at(&copy.encode(), count * BLOCK as u64)?;
    }
    new.finish()?;
    during(to.sync_directory(), "syncing", &to.describe())?;
    Ok(Copied { last_seq, epoch: log.epoch_max, bytes })
}

/// A segment that has a successor: up to where that one says that it ends.
fn copy_whole(from: &dyn Storage, to: &dyn Storage, log: &Log, index: usize) -> Result<u64, OpenError> {
    let (segment, next) = (&log.segments[index], &log.segments[index + 1]);
    let end = next.link.expect("only the last segments have none").link.previous_end;
    let name = names::segment(segment.header.number);
    let file = during(from.open(&name), "opening", &name)?;
    let new = NewFile::create(to, name.clone())?;
    let mut buf = vec![0; CHUNK_BYTES as usize];
    let mut at = 0;
    while at < end {
        let wanted = (end - at).min(CHUNK_BYTES) as usize;
        let read = during(file.read_at(&mut buf[..wanted], at), "reading", &name)?;
        if read == 0 {
            let reason = "it became shorter while it was copied".to_owned();
            return Err(OpenError::Damaged { file: name, offset: at, seq: None, reason });
        }
        new.write_at(&buf[..read], at)?;
        at += read as u64;
    }
    fill_up(&new, end, segment.header.bytes)?;
    new.finish()?;
    Ok(end)
}

/// The last segment: frame by frame, and of the last frame only the records that are wanted. Gives the chain there.
fn copy_until(
    from: &dyn Storage,
    to: &dyn Storage,
    segment: &Segment,
    uuid: Uuid,
    last_seq: Seq,
) -> Result<(u64, Chain), OpenError> {
    let name = names::segment(segment.header.number);
    let file = during(from.open(&name), "opening", &name)?;
    let mut window = Window::new(&*file, ReadFrom::Cache, segment.header.bytes);
    let new = NewFile::create(to, name.clone())?;
    let seal = Seal::of(uuid);
    new.write_at(&segment.header.encode(), 0)?;
    let read = segment.link.expect("a segment that holds records has a link");
    let mut buf = Vec::new();
    read.link.payload(&mut buf);
    // What was durable later says nothing of a copy that ends before.
    let durable = |header: &Header| header.durable.min(last_seq);
    let mut chain = frame::finish(&mut buf, Header { durable: durable(&read.header), ..read.header }, seal);
    new.write_at(&buf, LINK_AT)?;
    let (mut records_chain, mut source_chain) = (read.header.previous, read.chain);
    let (mut source, mut at, mut next) = (FRAMES_AT, FRAMES_AT, read.header.first_seq);
    while next <= last_seq {
        let block = during(window.bytes(source, BLOCK as u64), "reading", &name)?;
        let header = Header::decode(block, seal).ok().filter(|header| header.kind == Kind::Records);
        let changed = || {
            let (file, reason) = (name.clone(), "it changed while it was copied".to_owned());
            OpenError::Damaged { file, offset: source, seq: Some(next.get()), reason }
        };
        let header = header.filter(|header| header.first_seq == next && header.previous == source_chain);
        let header = header.ok_or_else(changed)?;
        let bytes = during(window.bytes(source, header.frame_bytes()), "reading", &name)?;
        // It gets a checksum of its own in the copy, which would make damage look sound.
        source_chain = frame::check(bytes, seal).map_err(|_| changed())?;
        source += header.frame_bytes();
        let count = (last_seq.get() - next.get() + 1).min(header.count.into()) as u32;
        buf.clear();
        buf.resize(HEADER_BYTES, 0);
        put_records(&mut buf, &header, bytes, count);
        let header = Header { count, previous: chain, durable: durable(&header), ..header };
        chain = frame::finish(&mut buf, header, seal);
        records_chain = chain;
        new.write_at(&buf, at)?;
        at += buf.len() as u64;
        next = header.next_seq();
    }
    fill_up(&new, at, segment.header.bytes)?;
    new.finish()?;
    Ok((at, records_chain))
}

fn put_records(buf: &mut Vec<u8>, header: &Header, frame: &[u8], count: u32) {
    let mut before = header.base_time;
    for record in Records::of(header, frame).take(count as usize) {
        let (time, record) = record.expect("the frame was read before");
        frame::push_record(buf, before, time, record);
        before = time;
    }
}

/// Gives a file its length. A copy is not written to any more, so its zeros need not be.
fn fill_up(new: &NewFile<'_>, end: u64, bytes: u64) -> Result<(), OpenError> {
    if end < bytes {
        new.write_at(&[0], bytes - 1)?;
    }
    Ok(())
}
