//! Takes what can be proved out of a log that is refused, and writes it anew elsewhere.
//!
//! What must hold: the source is only read; what is taken is a prefix of what was written, frame by frame and with the
//! heads that it had, or a snapshot that says what its beginning came to and the frames from where it needs them on; what is not
//! taken is listed, files that are missing too, with the seqs that it is known to have held; and the copy's epochs are
//! none that the source or another copy of it can have used, so that no name that an opening gave is given again.

mod parts;
mod source;
mod walk;

use std::collections::BTreeSet;
use std::ops::Range;

use uuid::Uuid;

use self::parts::{Parts, readable};
use self::source::{Part, Source};
use self::walk::Walk;
use super::copy::epochs_skipped;
use super::frame::{self, BLOCK, Header, Seal};
use super::mark::MarkFile;
use super::names;
use super::reader::Window;
use super::recovery;
use super::segment::{LINK_AT, during};
use super::{Base, Record, Stamp, twin};
use crate::error::OpenError;
use crate::sys::{ReadFrom, Storage};
use crate::types::{Epoch, Head, Seq};

/// What was taken, and what was left.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) uuid: Uuid,
    pub(crate) last: Stamp,
    pub(crate) head: Head,
    /// The highest seq that something in the source says was durable.
    pub(crate) known_durable: Seq,
    pub(crate) left: Vec<Left>,
}

/// A piece of the source that is not in the copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Left {
    pub(crate) file: String,
    pub(crate) bytes: Range<u64>,
    /// The first and the last that it is known to have held.
    pub(crate) seqs: Option<(Seq, Seq)>,
    pub(crate) reason: String,
}

/// A snapshot of the source.
pub(crate) struct Candidate {
    /// The file that names the others.
    pub(crate) file: String,
    pub(crate) bytes: u64,
    pub(crate) seq: Seq,
    /// What it says of the log, and all of its files; or what is wrong with it.
    pub(crate) found: Result<(Base, Vec<String>), OpenError>,
}

impl Candidate {
    fn base(&self) -> Option<&Base> {
        self.found.as_ref().ok().map(|(base, _)| base)
    }

    fn leave(&self, reason: &str) -> Left {
        let seqs = Some((Seq::new(1), self.seq));
        Left { file: self.file.clone(), bytes: 0..self.bytes, seqs, reason: reason.to_owned() }
    }
}

/// Copies the longest part of the log on `from` that is whole and proves a state, and that `visit` has no objection to, into the empty
/// directory `into`, where `begin` writes first. It begins with seq 1, or where one of the `snapshots` needs it, oldest
/// first: where several parts go as far, the one that begins first. `visit` is shown what begins with the first segment alone.
///
/// # Errors
/// [`OpenError::Damaged`] if nothing can be taken; [`OpenError::InvalidOption`] if `into` is not empty. Nothing was made then.
pub(crate) fn salvage(
    from: &dyn Storage,
    into: &dyn Storage,
    begin: &dyn Fn(&dyn Storage) -> Result<(), OpenError>,
    snapshots: &dyn Fn(Uuid) -> Result<Vec<Candidate>, OpenError>,
    visit: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
) -> Result<Taken, OpenError> {
    let _held = recovery::lock(from)?;
    if has_files(into)? {
        let reason = format!("{} is not empty: name a directory that is, or that does not exist", into.describe());
        return Err(OpenError::InvalidOption { reason });
    }
    let source = Source::read(from, snapshots)?;
    let Some(best) = source.longest(from, visit)? else { return Err(source.nothing(from)?) };
    let Part { start, mut last_seq, mut known_durable, mut epoch_max, mut walked } = best;
    let _filled = recovery::lock(into)?;
    begin(into)?;
    // Twice: what the copy says was durable must not be later than its end, and is otherwise left as it is, since a
    // snapshot names the chains that it is part of.
    let at = loop {
        let wanted = last_seq;
        let mut only_those = move |record: Record<'_>| if record.seq > wanted { Err(String::new()) } else { Ok(()) };
        let mut walk = Walk::new(&source, start, (from, Some(into)), wanted, &mut only_those);
        walk.run()?;
        (known_durable, epoch_max) = (known_durable.max(walk.durable), epoch_max.max(walk.epoch_max));
        if walk.last_seq() == wanted {
            break walk.at;
        }
        // What could be read before cannot any more: again, up to there.
        (last_seq, walked) = (walk.last_seq(), walk.walked);
        remove_segments(into)?;
        if last_seq < source.first_seq(start) {
            return Err(source.nothing(from)?);
        }
    };
    let copied = source.copied(start, &walked, last_seq);
    let files: BTreeSet<String> = copied
        .iter()
        .filter_map(|snapshot| snapshot.found.as_ref().ok())
        .flat_map(|(_, files)| files.clone())
        .collect();
    twin::copy_files(from, into, &files.into_iter().collect::<Vec<_>>())?;
    let left = source.left(start, walked, (last_seq, known_durable), &copied);
    let mut mark = MarkFile::create(into, source.uuid)?;
    let epoch = Epoch::new(epoch_max.get() + epochs_skipped());
    mark.advance(epoch, last_seq, at.records_chain)?;
    during(into.sync_directory(), "syncing", &into.describe())?;
    Ok(Taken {
        uuid: source.uuid,
        last: Stamp { seq: last_seq, time: at.time },
        head: at.head.at(last_seq),
        known_durable,
        left,
    })
}

/// Whether there is anything in a directory, which need not be there.
fn has_files(into: &dyn Storage) -> Result<bool, OpenError> {
    match into.list() {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(false),
        names => Ok(!during(names, "listing", &into.describe())?.is_empty()),
    }
}

fn remove_segments(into: &dyn Storage) -> Result<(), OpenError> {
    for name in during(into.list(), "listing", &into.describe())? {
        if names::segment_number(&name).is_some() {
            during(into.remove(&name), "removing", &name)?;
        }
    }
    Ok(())
}

/// What a damaged log still says, and where it says nothing.
pub(super) struct Evidence {
    /// Whose it is, if anything says so.
    pub(super) uuid: Option<Uuid>,
    /// The highest seq that something in it says was durable.
    pub(super) durable: Seq,
    /// The last entry of the frames that are whole, of the last opening's segments: what an earlier one left unfinished may lie in
    /// its own.
    pub(super) whole: Seq,
    /// The highest epoch that something in it names.
    pub(super) epoch: Epoch,
    /// The device could not read all of the mark.
    pub(super) is_mark_unread: bool,
    /// The highest number of a segment of which the device could not read all.
    pub(super) unread: Option<u64>,
    /// The highest number of a segment without a header, for whatever reason.
    pub(super) headless: Option<u64>,
}

/// What the damaged log on `from` still says.
///
/// # Errors
/// The storage's, but for bytes that the device cannot read.
pub(super) fn evidence(from: &dyn Storage) -> Result<Evidence, OpenError> {
    let Parts { uuid, mark, is_mark_unread, segments, headless } = Parts::read(from)?;
    let mut evidence = Evidence {
        uuid,
        durable: mark.map_or(Seq::ZERO, |mark| mark.seq),
        whole: Seq::ZERO,
        epoch: mark.map_or(Epoch::new(0), |mark| mark.epoch),
        is_mark_unread,
        unread: headless.iter().filter(|headless| headless.is_unread).map(|headless| headless.number).max(),
        headless: headless.iter().map(|headless| headless.number).max(),
    };
    let newest = segments.iter().map(|found| found.header.epoch).max();
    for found in &segments {
        let is_newest = Some(found.header.epoch) == newest;
        let seal = Seal::of(found.header.uuid);
        evidence.epoch = evidence.epoch.max(found.header.epoch);
        let file = found.open(from)?;
        let end = found.written(&*file, LINK_AT)?;
        let mut window = Window::new(&*file, ReadFrom::Device, end);
        for at in (LINK_AT..end).step_by(BLOCK) {
            match readable(window.bytes(at, BLOCK as u64), &found.name)?.map(|block| Header::decode(block, seal)) {
                None => evidence.unread = evidence.unread.max(Some(found.header.number)),
                Some(Ok(header)) => {
                    evidence.durable = evidence.durable.max(header.durable);
                    evidence.epoch = evidence.epoch.max(header.epoch);
                    let frame = window.bytes(at, header.frame_bytes());
                    if is_newest && readable(frame, &found.name)?.is_some_and(|frame| frame::check(frame, seal).is_ok())
                    {
                        evidence.whole = evidence.whole.max(Seq::new(header.next_seq().get() - 1));
                    }
                }
                Some(Err(_)) => {}
            }
        }
    }
    Ok(evidence)
}
