//! Where the reading of a log begins. A log whose state is in a snapshot need not be there from its first entry on: its
//! older segments are retired.

use uuid::Uuid;

use super::frame::Seal;
use super::mark::Mark;
use super::reader::{self, Reading, Segment};
use super::segment::{Failure, LINK_AT, during};
use super::{Chain, names};
use crate::error::OpenError;
use crate::sys::{ReadFrom, Storage};
use crate::types::{Epoch, Seq, Timestamp};

/// What a snapshot says of the log that it was taken of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Base {
    /// The entries up to here are in the snapshot.
    pub(crate) seq: Seq,
    /// When the last of them was made.
    pub(crate) time: Timestamp,
    /// An entry at or after `seq` that was durable, and ends a frame with this chain.
    pub(crate) anchor: Seq,
    pub(crate) chain: Chain,
    /// The epoch of who said so. A segment that a later one began may hold a copy of the frame, with a chain of its own.
    pub(crate) epoch: Epoch,
}

impl Base {
    /// The segment that is needed begins with this seq or an earlier one: it holds the entry after `seq`, if there is one,
    /// and the frame that ends with the anchor.
    pub(super) fn first_seq_max(&self) -> Seq {
        self.seq.next().min(self.anchor)
    }
}

/// Which records of a log are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Start {
    /// All there ever were.
    First,
    /// Those that a snapshot does not have.
    After(Base),
    /// All that are left: some may be retired.
    Oldest,
}

impl Start {
    pub(super) fn base(&self) -> Option<&Base> {
        match self {
            Start::After(base) => Some(base),
            Start::First | Start::Oldest => None,
        }
    }
}

/// Opens the segments `numbers` that are needed, the last ones, and closes those whose files are not.
pub(super) fn open_segments(
    storage: &dyn Storage,
    reading: Reading,
    numbers: &[u64],
    mark: &Mark,
    start: Start,
) -> Result<Vec<Segment>, OpenError> {
    let mut segments: Vec<Segment> = Vec::with_capacity(numbers.len());
    let mut has_last = false;
    // From the last one back, since those before the start may be half removed.
    for number in numbers.iter().rev() {
        let mut segment = match reader::open_segment(storage, reading, *number, mark) {
            // A running ledger retires segments, and an opening removes its predecessor's spares.
            Err(OpenError::Io { source, .. })
                if reading == Reading::Shared && source.kind() == std::io::ErrorKind::NotFound =>
            {
                continue;
            }
            segment => segment?,
        };
        let first_seq = segment.first_seq();
        // At once: a log may have more segments than a process may have files open.
        if has_last {
            segment.close();
        }
        has_last |= first_seq.is_some();
        segments.push(segment);
        if let (Some(base), Some(first_seq)) = (start.base(), first_seq)
            && first_seq <= base.first_seq_max()
        {
            break;
        }
    }
    segments.reverse();
    Ok(segments)
}

/// Whether the reading can begin with `first`, the first segment that is there.
pub(super) fn check_first(first: &Segment, start: Start) -> Result<(), OpenError> {
    let name = names::segment(first.header.number);
    let Some(link) = &first.link else { return Ok(()) };
    let first_seq = link.header.first_seq;
    let reason = match start {
        Start::First if link.link.previous != 0 => {
            format!("it follows segment {}, which is missing, and no snapshot can be read", link.link.previous)
        }
        Start::After(base) if first_seq > base.first_seq_max() => {
            format!("it begins with seq {first_seq}, and the snapshot ends with seq {}", base.seq)
        }
        _ => return Ok(()),
    };
    Err(OpenError::Damaged { file: name, offset: LINK_AT, seq: Some(first_seq.get()), reason })
}

/// Whether the log that lies on `storage` has all its entries from the first on.
///
/// # Errors
/// It cannot be read.
pub(super) fn reaches_back_to_the_first(storage: &dyn Storage) -> Result<bool, OpenError> {
    let names = during(storage.list(), "listing", &storage.describe())?;
    let first = names.iter().find_map(|name| names::segment_number(name));
    let (Some(first), Some(mark)) = (first, reader::read_mark(storage, ReadFrom::Cache)?) else { return Ok(false) };
    let segment = reader::open_segment(storage, Reading::Shared, first, &mark)?;
    Ok(segment.link.is_some_and(|link| link.link.previous == 0))
}

/// Whether the segments that are there lead on without a gap, up to the last one, from where a snapshot needs them; without one,
/// from the first entry. Their beginnings alone are looked at.
///
/// # Errors
/// It cannot be read.
pub(super) fn leads_on(storage: &dyn Storage, base: Option<&Base>) -> Result<bool, OpenError> {
    let first_seq_max = base.map_or(Seq::new(1), Base::first_seq_max);
    let Some(mark) = reader::read_mark(storage, ReadFrom::Cache)? else { return Ok(false) };
    let names = during(storage.list(), "listing", &storage.describe())?;
    // The number that the segment after it names.
    let mut wanted = None;
    for number in names.iter().rev().filter_map(|name| names::segment_number(name)) {
        let segment = match reader::open_segment(storage, Reading::Shared, number, &mark) {
            Err(err) if err.is_damage() => return Ok(false),
            // A running ledger has retired it meanwhile.
            Err(OpenError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            segment => segment?,
        };
        let Some(read) = segment.link else {
            if wanted.is_some() {
                return Ok(false);
            }
            continue;
        };
        if wanted.is_some_and(|wanted| wanted != number) {
            return Ok(false);
        }
        if read.header.first_seq <= first_seq_max {
            return Ok(true);
        }
        wanted = Some(read.link.previous);
    }
    Ok(false)
}

/// Removes the segments that nobody needs who has a snapshot as old as `base`; gives how many. An interrupted removal is
/// finished by the next one. Each removal is durable before the next: else a power cut could leave an earlier segment and none
/// after it, and who reads what is left from its beginning on would find a hole.
///
/// # Errors
/// The storage's.
pub(super) fn retire(
    storage: &dyn Storage,
    uuid: Uuid,
    base: &Base,
    sync: &dyn Fn() -> std::io::Result<()>,
) -> Result<u64, Failure> {
    let names = during(storage.list(), "listing", &storage.describe())?;
    let numbers: Vec<u64> = names.iter().filter_map(|name| names::segment_number(name)).collect();
    let mut oldest = None;
    for number in &numbers {
        let name = names::segment(*number);
        let file = during(storage.open(&name), "opening", &name)?;
        let link = reader::read_link(&*file, ReadFrom::Cache, *number, Seal::of(uuid));
        match during(link, "reading", &name)? {
            Some(link) if link.header.first_seq <= base.first_seq_max() => oldest = Some(*number),
            Some(_) => break,
            // One of those that a former removal left, or a spare.
            None => {}
        }
    }
    let Some(oldest) = oldest else { return Ok(0) };
    let mut removed = 0;
    for number in numbers.iter().filter(|number| **number < oldest) {
        let name = names::segment(*number);
        during(storage.remove(&name), "removing", &name)?;
        during(sync(), "syncing", &storage.describe())?;
        removed += 1;
    }
    Ok(removed)
}
