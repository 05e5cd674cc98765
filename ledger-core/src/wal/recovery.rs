//! Opening: takes the directory, reads what is there, and begins a segment of its own, so that no byte is ever written
//! behind what a crash left.
//!
//! It can itself be interrupted anywhere. Each step leaves a directory that the reader accepts with the same records:
//! first the torn tail is saved, then unused spares go, and last the new segment appears, whole, in one rename. Only
//! from then on is anything after the settled end of the old one ignored, and by then its copies are durable.

use uuid::Uuid;

use super::frame::{self, BLOCK, Chain, HEADER_BYTES, Header, Kind, Seal};
use super::head::HeadHash;
use super::mark::MarkFile;
use super::names;
use super::options::WalOptions;
use super::reader::{self, End, Log, Reading, Window};
use super::segment::{FRAMES_AT, Failure, LINK_AT, Link, NewFile, SegmentHeader, during};
use super::start::Start;
use super::writer::Writer;
use super::{Opened, Record, Stamp, TornTail};
use crate::error::OpenError;
use crate::sync::Arc;
use crate::sys::{DirectoryLock, ReadFrom, Storage, StorageFile};
use crate::types::{Epoch, Seq};

/// A log that is ready to be appended to.
pub(super) struct Recovered {
    pub(super) lock: DirectoryLock,
    pub(super) writer: Writer,
    pub(super) mark: MarkFile,
    /// The next segment's number.
    pub(super) next_number: u64,
    pub(super) opened: Opened,
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> OpenError {
        OpenError::Io { context: failure.context, source: failure.source }
    }
}

pub(super) fn open(
    storage: &dyn Storage,
    options: &WalOptions,
    load: &mut dyn FnMut(Option<(Uuid, Seq)>) -> Result<Start, OpenError>,
    replay: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
    accept: &dyn Fn(Stamp) -> Result<(), OpenError>,
) -> Result<Recovered, OpenError> {
    options.check()?;
    let lock = lock(storage)?;
    sync_all(storage)?;
    let start = load(reader::read_mark(storage, ReadFrom::Cache)?.map(|mark| (mark.uuid, mark.seq)))?;
    let log = reader::read(storage, Reading::Exclusive, start, options, None, replay)?;
    accept(Stamp { seq: log.end.last_seq, time: log.end.last_time })?;
    let torn = save_torn_tail(storage, &log)?;
    remove_unused(storage, &log)?;
    let mut mark = open_mark(storage, options, &log)?;
    let epoch = Epoch::new(log.epoch_max.get() + 1);
    let writer = begin_segment(storage, options, &log, mark.last().uuid, epoch)?;
    // From here on the mark itself says that all of it is durable: the chain may have changed with the copies.
    mark.advance(epoch, log.end.last_seq, writer.records_chain)?;
    let opened = Opened {
        uuid: mark.last().uuid,
        epoch,
        last_seq: log.end.last_seq,
        last_time: log.end.last_time,
        record_time: log.end.record_time,
        log_bytes: log.end.bytes,
        torn,
        clean: log.end.clean,
    };
    Ok(Recovered { lock, next_number: writer.segment.number + 1, writer, mark, opened })
}

pub(crate) fn lock(storage: &dyn Storage) -> Result<DirectoryLock, OpenError> {
    storage.lock().map_err(|err| match err.kind() {
        std::io::ErrorKind::WouldBlock => OpenError::InUse { directory: storage.describe() },
        _ => OpenError::Io { context: format!("locking {}", storage.describe()), source: err },
    })
}

/// What was readable before may have been in a cache alone; nothing is believed before it is synced.
pub(super) fn sync_all(storage: &dyn Storage) -> Result<(), OpenError> {
    let directory = storage.describe();
    for name in during(storage.list(), "listing", &directory)? {
        if name == names::MARK || names::segment_number(&name).is_some() {
            let file = during(storage.open(&name), "opening", &name)?;
            during(file.sync_data(), "syncing", &name)?;
        }
    }
    during(storage.sync_directory(), "syncing", &directory)?;
    Ok(())
}

/// Keeps the bytes that are not part of the log, for who wants to know what was lost. They were never acknowledged.
fn save_torn_tail(storage: &dyn Storage, log: &Log) -> Result<Option<TornTail>, OpenError> {
    for name in &log.leftovers {
        during(storage.remove(name), "removing", name)?;
    }
    let Some(torn) = log.end.torn else { return Ok(None) };
    let source = names::segment(torn.segment);
    let file = during(storage.open(&source), "opening", &source)?;
    let mut bytes = vec![0; (torn.end - torn.offset) as usize];
    during(file.read_device_at(&mut bytes, torn.offset), "reading", &source)?;
    let name = names::torn(torn.segment, torn.offset);
    let new = NewFile::create(storage, name.clone())?;
    new.write_at(&bytes, 0)?;
    new.finish()?;
    during(storage.sync_directory(), "syncing", &storage.describe())?;
    Ok(Some(TornTail { file: name, bytes: bytes.len() as u64, segment: source, offset: torn.offset }))
}

/// Spares have room of the wrong size and an old epoch. They go before the new segment appears: after it, a segment
/// without a link would stand in the middle of the log.
fn remove_unused(storage: &dyn Storage, log: &Log) -> Result<(), OpenError> {
    for number in &log.spares {
        let name = names::segment(*number);
        during(storage.remove(&name), "removing", &name)?;
    }
    if !log.spares.is_empty() || !log.leftovers.is_empty() {
        during(storage.sync_directory(), "syncing", &storage.describe())?;
    }
    Ok(())
}

/// A ledger begins with its mark: from then on a directory without one has lost something.
fn open_mark(storage: &dyn Storage, options: &WalOptions, log: &Log) -> Result<MarkFile, OpenError> {
    if let Some(mark) = log.mark {
        let file = during(storage.open(names::MARK), "opening", names::MARK)?;
        return Ok(MarkFile::resume(file, mark));
    }
    let file = MarkFile::create(storage, options.uuid.unwrap_or_else(Uuid::new_v4))?;
    during(storage.sync_directory(), "syncing", &storage.describe())?;
    Ok(file)
}

/// The segment that this opening writes into: linked with the settled end of the log, and beginning with copies of the
/// frames after it.
fn begin_segment(
    storage: &dyn Storage,
    options: &WalOptions,
    log: &Log,
    uuid: Uuid,
    epoch: Epoch,
) -> Result<Writer, OpenError> {
    let end = &log.end;
    let copied: u64 = end.unsettled.iter().map(|frame| frame.header.frame_bytes()).sum();
    let segment = SegmentHeader {
        uuid,
        number: log.number_max + 1,
        epoch,
        bytes: options.first_segment_bytes() + copied,
        in_flight_max: options.in_flight_max(),
    };
    let new = NewFile::create(storage, names::segment(segment.number))?;
    let write = || {
        let filled = fill(&new, log, segment)?;
        Ok((filled, new.finish()?))
    };
    let (filled, file) = write().inspect_err(|_: &OpenError| new.abandon())?;
    if !skips_directory_sync(options) {
        during(storage.sync_directory(), "syncing", &storage.describe())?;
    }
    Ok(filled.into_writer(file, segment, epoch, end))
}

fn skips_directory_sync(options: &WalOptions) -> bool {
    #[cfg(any(test, feature = "sim"))]
    return options.has(crate::sim::PlantedBug::SkipDirectoryFsync);
    #[cfg(not(any(test, feature = "sim")))]
    {
        let _ = options;
        false
    }
}

/// Where the new segment's frames end.
struct Filled {
    offset: u64,
    chain: Chain,
    records_chain: Chain,
    head: HeadHash,
}

impl Filled {
    fn into_writer(self, file: Arc<dyn StorageFile>, segment: SegmentHeader, epoch: Epoch, end: &End) -> Writer {
        Writer {
            file,
            segment,
            seal: Seal::of(segment.uuid),
            epoch,
            offset: self.offset,
            chain: self.chain,
            records_chain: self.records_chain,
            head: self.head,
            unhashed: None,
            next_seq: end.last_seq.next(),
            last_time: end.last_time,
            unsynced: 0,
        }
    }
}

fn fill(new: &NewFile<'_>, log: &Log, segment: SegmentHeader) -> Result<Filled, OpenError> {
    let (end, seal) = (&log.end, Seal::of(segment.uuid));
    new.write_at(&segment.encode(), 0)?;
    let mut buf = Vec::new();
    let last = log.segments.last();
    // A new ledger got its UUID just now.
    let (settled, head) = match last {
        None => (Some(HeadHash::before_all(segment.uuid)), HeadHash::before_all(segment.uuid)),
        Some(_) => (end.settled.head, end.head),
    };
    let previous = last.map_or(0, |last| last.header.number);
    Link { previous, previous_end: end.settled.offset, head: settled }.payload(&mut buf);
    let link = Header {
        kind: Kind::Link,
        payload_bytes: 0,
        count: 0,
        segment: segment.number,
        // Copies keep their epoch, and epochs never fall.
        epoch: end.unsettled.first().map_or(segment.epoch, |frame| frame.header.epoch),
        first_seq: end.settled.next_seq,
        // The file appears when all in it is durable.
        durable: end.last_seq,
        base_time: end.settled.time,
        previous: end.settled.chain,
    };
    let chain = frame::finish(&mut buf, link, seal);
    new.write_at(&buf, LINK_AT)?;
    let mut filled = Filled { offset: FRAMES_AT, chain, records_chain: end.settled.records_chain, head };
    if let Some(last) = last {
        let mut window = Window::new(last.open_file(), ReadFrom::Device, last.header.bytes);
        for source in &end.unsettled {
            let name = names::segment(last.header.number);
            let payload = during(reader::reread(&mut window, source, seal), "reading", &name)?;
            let Some(payload) = payload else {
                let (seq, reason) = (Some(source.header.first_seq.get()), "it changed while it was read".to_owned());
                return Err(OpenError::Damaged { file: name, offset: source.offset, seq, reason });
            };
            buf.clear();
            buf.resize(HEADER_BYTES, 0);
            buf.extend_from_slice(payload);
            let header =
                Header { segment: segment.number, previous: filled.chain, durable: end.last_seq, ..source.header };
            filled.chain = frame::finish(&mut buf, header, seal);
            filled.records_chain = filled.chain;
            new.write_at(&buf, filled.offset)?;
            filled.offset += buf.len() as u64;
        }
    }
    debug_assert!(filled.offset + BLOCK as u64 <= segment.bytes);
    new.write_zeros(filled.offset, segment.bytes, &|| false)?;
    Ok(filled)
}
