//! What can be told of a log that nobody opens: whether there is one, whose it is, from where on it is whole, and all that a reading of
//! it finds. Nothing is changed, and nothing is locked.

use uuid::Uuid;

use super::reader::{self, Reading};
use super::{Base, Record, Start, TornTail, WalOptions, names, start, twin};
use crate::error::OpenError;
use crate::sys::{ReadFrom, Storage};
use crate::types::{Epoch, Head, Seq, Timestamp};

/// What [`scan`] found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Scanned {
    /// `None` where there is no log.
    pub(crate) uuid: Option<Uuid>,
    /// The highest epoch that anything was written under.
    pub(crate) epoch: Epoch,
    pub(crate) last_seq: Seq,
    pub(crate) last_time: Timestamp,
    /// All up to here is proven durable by the log itself.
    pub(crate) durable: Seq,
    pub(crate) segments: u64,
    pub(crate) frames: u64,
    /// Of the frames, padding included.
    pub(crate) bytes: u64,
    pub(crate) clean: bool,
    /// In a log that is in use, also what is being written.
    pub(crate) torn: Option<TornTail>,
    pub(crate) head: Head,
    /// The head at the seq that was asked about, if a commit ended there.
    pub(crate) head_then: Option<Head>,
    /// The first seq whose record is in the log.
    pub(crate) first_seq: Seq,
}

/// Whether the log that lies on `storage` has all its entries from the first on.
///
/// # Errors
/// It cannot be read.
pub(crate) fn reaches_back_to_the_first(storage: &dyn Storage) -> Result<bool, OpenError> {
    start::reaches_back_to_the_first(storage)
}

/// Whether the log that lies on `storage` leads on without a gap from where a snapshot needs it; without one, from the first entry.
///
/// # Errors
/// It cannot be read.
pub(crate) fn leads_on(storage: &dyn Storage, base: Option<&Base>) -> Result<bool, OpenError> {
    start::leads_on(storage, base)
}

/// Whether a log lies on `storage`, or a snapshot of one, sound or not.
///
/// # Errors
/// It cannot be looked into.
pub(crate) fn is_there(storage: &dyn Storage) -> Result<bool, OpenError> {
    let is_ours =
        |name: &String| name == names::MARK || names::segment_number(name).is_some() || names::is_snapshot(name);
    Ok(twin::list(storage)?.iter().any(is_ours))
}

/// The identity of the ledger whose log lies on `storage`; `None`: there is none.
///
/// # Errors
/// It cannot be read.
pub(crate) fn identity(storage: &dyn Storage) -> Result<Option<Uuid>, OpenError> {
    Ok(reader::read_mark(storage, ReadFrom::Cache)?.map(|mark| mark.uuid))
}

/// Reads and checks a log from `start` on and changes nothing, be it in use or on a medium that cannot be written. Records that a
/// running ledger adds meanwhile may be missed.
///
/// `then` is a seq whose head is looked for.
///
/// # Errors
/// As [`Wal::open_after`](super::Wal::open_after), but for a directory in use.
pub(crate) fn scan(
    storage: &dyn Storage,
    start: Start,
    then: Option<Seq>,
    visit: &mut dyn FnMut(Record<'_>),
) -> Result<Scanned, OpenError> {
    let mut visit = |record: Record<'_>| {
        visit(record);
        Ok(())
    };
    let log = reader::read(storage, Reading::Shared, start, &WalOptions::default(), then, &mut visit)?;
    Ok(Scanned {
        uuid: log.mark.map(|mark| mark.uuid),
        epoch: log.epoch_max,
        last_seq: log.end.last_seq,
        last_time: log.end.last_time,
        durable: log.end.durable,
        segments: log.segments.len() as u64,
        frames: log.end.frames,
        bytes: log.end.bytes,
        clean: log.end.clean,
        head: log.end.head.at(log.end.last_seq),
        head_then: then.and_then(|seq| log.end.head_then.map(|head| head.at(seq))),
        first_seq: log.end.first_seq,
        torn: log.end.torn.map(|torn| TornTail {
            file: String::new(),
            bytes: torn.end - torn.offset,
            segment: names::segment(torn.segment),
            offset: torn.offset,
        }),
    })
}
