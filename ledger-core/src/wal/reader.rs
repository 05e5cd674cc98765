//! Reads a log and judges it: what is recovered, what is a torn tail, and what is damage. Changes nothing.
//!
//! Opening and [`super::scan`] share this one reader, so that what `verify` calls good is what an opening accepts.
//!
//! What must hold: every record that is visited was written, in order and without a gap, and no record that anything
//! in the directory says was durable is left out silently. When in doubt, refuse.

mod cursor;
mod end;
mod files;
mod tail;
mod window;

use cursor::Cursor;
pub(super) use end::{End, Settled};
pub(super) use files::{Segment, open_segment, read_link, read_mark};
pub(super) use window::{Window, reread};

use super::Record;
use super::head::HeadHash;
use super::mark::Mark;
use super::names;
use super::options::WalOptions;
use super::segment::LINK_AT;
use super::start::{self, Start};
use crate::error::OpenError;
use crate::sys::{ReadFrom, Storage};
use crate::types::{Epoch, Seq, Timestamp};

/// How a directory is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reading {
    /// Nobody else has the directory, and everything in it was synced just now: the last segment is read from the
    /// device, since a sync that failed in an earlier life left bytes in the cache that the device never got.
    Exclusive,
    /// As [`Reading::Exclusive`], and all of it is read from the device: what is to be copied from there is not judged by a
    /// cache, which may hide what has rotted under it.
    Device,
    /// Somebody may be writing. What looks like damage is looked at again before it is called so.
    Shared,
}

impl Reading {
    /// Where links, spares and the last segment are read from.
    fn from(self) -> ReadFrom {
        match self {
            Reading::Exclusive | Reading::Device => ReadFrom::Device,
            Reading::Shared => ReadFrom::Cache,
        }
    }

    /// Where everything else is read from: the mark, headers, and the segments before the last.
    fn rest(self) -> ReadFrom {
        match self {
            Reading::Device => ReadFrom::Device,
            Reading::Exclusive | Reading::Shared => ReadFrom::Cache,
        }
    }
}

/// A directory that was read to its end.
pub(super) struct Log {
    pub(super) mark: Option<Mark>,
    /// In order, each linked with the one before.
    pub(super) segments: Vec<Segment>,
    /// Without a link: prepared, and never used (or torn when they were first written to).
    pub(super) spares: Vec<u64>,
    /// Left behind by an interrupted creation.
    pub(super) leftovers: Vec<String>,
    /// The highest number that any segment has.
    pub(super) number_max: u64,
    /// The highest epoch that anything was written under.
    pub(super) epoch_max: Epoch,
    pub(super) end: End,
}

fn io_error(what: &str, file: &str) -> impl FnOnce(std::io::Error) -> OpenError {
    let context = format!("{what} {file}");
    move |source| OpenError::Io { context, source }
}

fn damaged(file: impl Into<String>, offset: u64, seq: Option<Seq>, reason: impl Into<String>) -> OpenError {
    OpenError::Damaged { file: file.into(), offset, seq: seq.map(Seq::get), reason: reason.into() }
}

/// Reads and checks everything from `start` on, and shows every record in order to `visit`. Finds the head as it was at
/// the seq `then`, for which it hashes all.
pub(super) fn read(
    storage: &dyn Storage,
    reading: Reading,
    start: Start,
    options: &WalOptions,
    then: Option<Seq>,
    visit: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
) -> Result<Log, OpenError> {
    // The mark before the segments: it is a lower bound, and the log of a running ledger only grows.
    let mark = read_mark(storage, reading.rest())?;
    let names = storage.list().map_err(io_error("listing", &storage.describe()))?;
    let leftovers = names.iter().filter(|name| names::is_temporary(name)).cloned().collect();
    let numbers: Vec<u64> = names.iter().filter_map(|name| names::segment_number(name)).collect();
    let Some(mark) = mark else {
        return match numbers.first() {
            None => Ok(Log::empty(None, leftovers)),
            Some(first) => Err(damaged(
                names::MARK,
                0,
                None,
                format!(
                    "it is missing, while there is {}; how much of the log was durable is unknown",
                    names::segment(*first)
                ),
            )),
        };
    };
    let mut segments = start::open_segments(storage, reading, &numbers, &mark, start)?;
    let unlinked = segments.iter().rev().take_while(|segment| segment.link.is_none()).count();
    let spares = segments.split_off(segments.len() - unlinked);
    if segments.is_empty() {
        return no_linked_segment(mark, spares, start, leftovers);
    }
    start::check_first(&segments[0], start)?;
    let epoch_max = segments.iter().chain(&spares).map(|segment| segment.header.epoch).fold(mark.epoch, Epoch::max);
    let mut cursor = Cursor::new(storage, &mark, reading, options, visit);
    cursor.then = then;
    cursor.begin(&segments[0], start);
    cursor.follow(&segments)?;
    let torn_spare = cursor.look_into_spares(&spares)?;
    let mut end = cursor.finish()?;
    end.torn = end.torn.or(torn_spare);
    Ok(Log {
        number_max: numbers.last().copied().unwrap_or(0),
        epoch_max,
        spares: spares.iter().map(|spare| spare.header.number).collect(),
        segments,
        mark: Some(mark),
        leftovers,
        end,
    })
}

impl Log {
    fn empty(mark: Option<Mark>, leftovers: Vec<String>) -> Log {
        let settled = Settled::before_all();
        let uuid = mark.map_or(uuid::Uuid::nil(), |mark| mark.uuid);
        let end = End {
            head: HeadHash::before_all(uuid),
            head_then: None,
            first_seq: Seq::new(1),
            last_seq: Seq::ZERO,
            last_time: Timestamp::MIN,
            record_time: Timestamp::MIN,
            durable: Seq::ZERO,
            settled,
            unsettled: Vec::new(),
            clean: true,
            torn: None,
            frames: 0,
            bytes: 0,
        };
        let epoch_max = mark.map_or(Epoch::new(0), |mark| mark.epoch);
        Log { mark, segments: Vec::new(), spares: Vec::new(), leftovers, number_max: 0, epoch_max, end }
    }
}

/// A ledger whose creation was interrupted has a mark and no segment. Any other log that has lost all of them is lost.
fn no_linked_segment(mark: Mark, spares: Vec<Segment>, start: Start, leftovers: Vec<String>) -> Result<Log, OpenError> {
    if let Some(first) = spares.first() {
        let name = names::segment(first.header.number);
        return Err(damaged(name, LINK_AT, Some(Seq::new(1)), "the first segment has no link"));
    }
    if mark.seq > Seq::ZERO || mark.epoch > Epoch::new(0) || start.base().is_some() {
        return Err(damaged(
            names::MARK,
            0,
            Some(Seq::new(1)),
            format!("it says that seqs 1 to {} were durable, and there is no segment", mark.seq),
        ));
    }
    Ok(Log::empty(Some(mark), leftovers))
}
