//! Compares the two sides of a mirrored log, and makes the worse one a copy of the better.
//!
//! What must hold: the log of the better side is only read; and it has everything that either side is known to have had, in the
//! same history. If neither can be shown to, nothing is changed. An interruption leaves the better side's log as it was. What is
//! judged and what is copied is read from the device: a page cache may hide what has rotted under it.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::copy::EPOCHS_SKIPPED_MIN;
use super::frame::BLOCK;
use super::mark::Mark;
use super::options::WalOptions;
use super::reader::{self, Reading};
use super::salvage::{self, Evidence};
use super::segment::{NewFile, during};
use super::{Start, names, recovery, stop};
use crate::error::OpenError;
use crate::sys::{ReadFrom, Storage, StorageFile, is_unreadable};
use crate::types::{Epoch, Head, Seq};

/// What one side holds.
enum Side {
    Empty,
    Sound(Sound),
    Damaged(OpenError),
}

struct Sound {
    uuid: Uuid,
    first_seq: Seq,
    head: Head,
    epoch: Epoch,
    /// What its mark says was durable.
    marked: Seq,
    /// The number of its last segment; 0: it has none.
    last: u64,
    /// The highest number that a segment has, be it a spare.
    number_max: u64,
    /// Where each segment ends that another one follows: what it holds from there on is no part of the log.
    ends: BTreeMap<u64, u64>,
}

impl Sound {
    /// More history is better, at its end first; then a later opening, and a mark that says more.
    fn worth(&self) -> (Seq, std::cmp::Reverse<Seq>, Epoch, Seq) {
        (self.head.seq, std::cmp::Reverse(self.first_seq), self.epoch, self.marked)
    }

    /// How many of the first bytes of a file must be readable, so that nothing is lost. Of the mark one slot says all, and which one
    /// does may change.
    fn needed(&self, name: &str) -> u64 {
        let segment = names::segment_number(name).and_then(|number| self.ends.get(&number));
        if name == names::MARK { 0 } else { segment.copied().unwrap_or(u64::MAX) }
    }

    /// Whether `epoch` is that of a ledger that was restored or salvaged from what this one had: so far above that no side can have
    /// fallen behind as much.
    fn was_restored_under(&self, epoch: Epoch) -> bool {
        epoch.get() >= self.epoch.get().saturating_add(EPOCHS_SKIPPED_MIN)
    }
}

/// Which side is made a copy of which.
struct Plan<'a> {
    from: &'a dyn Storage,
    to: &'a dyn Storage,
    /// The files of `from` that are copied, and how much of each must be readable.
    differing: Vec<(String, u64)>,
    /// What the mark on `from` said was durable.
    marked: Seq,
}

/// The log that both sides will have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) uuid: Uuid,
    pub(crate) first_seq: Seq,
    pub(crate) last_seq: Seq,
    /// The side that has it, where the other's log is gone or damaged. Otherwise the one leads to the end of the other.
    pub(crate) alone: Option<usize>,
}

/// Two sides whose logs were compared. Nothing is changed yet.
pub(crate) struct Comparison<'a> {
    sides: [&'a dyn Storage; 2],
    /// What is to be done, to which log, and why: not where both sides are empty.
    found: Option<(Plan<'a>, Kept, String)>,
}

/// Says which side is to be brought up to date, since it is damaged, behind or empty: see [`Comparison::begin`].
///
/// # Errors
/// [`OpenError::Damaged`]: neither side can be shown to have everything. [`OpenError::InvalidOption`]: they are two ledgers, or a
/// restore would be undone.
pub(crate) fn compare<'a>(
    primary: &'a dyn Storage,
    mirror: &'a dyn Storage,
    options: &WalOptions,
) -> Result<Comparison<'a>, OpenError> {
    recovery::sync_all(primary)?;
    recovery::sync_all(mirror)?;
    let reading = if trusts_cache(options) { Reading::Exclusive } else { Reading::Device };
    let sides = (look(primary, reading)?, look(mirror, reading)?);
    Ok(Comparison { sides: [primary, mirror], found: judge(primary, mirror, sides, options)? })
}

impl Comparison<'_> {
    /// The log that both will have; `None` where neither has one.
    pub(crate) fn kept(&self) -> Option<Kept> {
        self.found.as_ref().map(|(_, kept, _)| *kept)
    }

    /// Makes way for what is copied. After it, and before [`Comparison::finish`], the snapshots must come that the log leads on
    /// from: a side whose filling was cut off and whose log looks like the other's has them then.
    ///
    /// # Errors
    /// The storage's.
    pub(crate) fn begin(&self) -> Result<(), OpenError> {
        // What one side alone has begun is in the way of the other's.
        self.sides.iter().try_for_each(|side| remove_temporaries(*side))?;
        // Before there is anything on a side that could be taken for a ledger which pays.
        self.found.as_ref().map_or(Ok(()), |(plan, ..)| stop::settle(plan.from, plan.to))
    }

    /// Makes the worse log a copy of the better one; says what was done, if anything was. Durable when it returns.
    ///
    /// # Errors
    /// The storage's.
    pub(crate) fn finish(self) -> Result<Option<String>, OpenError> {
        let Some((plan, _, why)) = self.found else { return Ok(None) };
        let changed = plan.carry_out()?;
        if changed.is_empty() {
            return Ok(None);
        }
        let others = changed.len().saturating_sub(NAMED_MAX);
        let more = if others > 0 { format!(" and {others} more") } else { String::new() };
        let named = changed[..changed.len() - others].join(", ");
        Ok(Some(format!("{}: {named}{more} copied from {}: {why}", plan.to.describe(), plan.from.describe())))
    }
}

/// Files that are told of by name.
const NAMED_MAX: usize = 4;

/// All of it, where there are no snapshots.
#[cfg(all(test, not(feature = "loom")))]
pub(super) fn reconcile(primary: &dyn Storage, mirror: &dyn Storage, options: &WalOptions) -> Result<(), OpenError> {
    let compared = compare(primary, mirror, options)?;
    compared.begin()?;
    compared.finish().map(drop)
}

/// The planted bug that judges and compares what a cache shows.
fn trusts_cache(options: &WalOptions) -> bool {
    #[cfg(any(test, feature = "sim"))]
    return options.has(crate::sim::PlantedBug::MirrorFromCache);
    #[cfg(not(any(test, feature = "sim")))]
    {
        let _ = options;
        false
    }
}

/// The planted bug that mends a damaged side without asking what it had.
fn asks_nothing(options: &WalOptions) -> bool {
    #[cfg(any(test, feature = "sim"))]
    return options.has(crate::sim::PlantedBug::MirrorUnproved);
    #[cfg(not(any(test, feature = "sim")))]
    {
        let _ = options;
        false
    }
}

fn judge<'a>(
    primary: &'a dyn Storage,
    mirror: &'a dyn Storage,
    sides: (Side, Side),
    options: &WalOptions,
) -> Result<Option<(Plan<'a>, Kept, String)>, OpenError> {
    let alone = match &sides {
        (Side::Sound(_), Side::Sound(_)) => None,
        (first, _) => Some(usize::from(!matches!(first, Side::Sound(_)))),
    };
    let (plan, sound, why) = match sides {
        (Side::Empty, Side::Empty) => return Ok(None),
        (Side::Empty, Side::Sound(sound)) => fill((mirror, sound), primary, options)?,
        (Side::Sound(sound), Side::Empty) => fill((primary, sound), mirror, options)?,
        (Side::Damaged(fault), Side::Empty) | (Side::Empty, Side::Damaged(fault)) => return Err(fault),
        (Side::Damaged(fault), Side::Damaged(other)) => return Err(fault.with_the_mirrors(&other)),
        (Side::Damaged(fault), Side::Sound(sound)) => mend((mirror, sound), primary, fault, options)?,
        (Side::Sound(sound), Side::Damaged(fault)) => mend((primary, sound), mirror, fault, options)?,
        (Side::Sound(one), Side::Sound(two)) => {
            if one.uuid != two.uuid {
                let (mirror, primary) = (mirror.describe(), primary.describe());
                let reason =
                    format!("{mirror} holds another ledger than {primary}; name another directory, or an empty one");
                return Err(OpenError::InvalidOption { reason });
            }
            if one.worth() >= two.worth() {
                copy_better((primary, one), (mirror, &two), options)?
            } else {
                copy_better((mirror, two), (primary, &one), options)?
            }
        }
    };
    let kept = Kept { uuid: sound.uuid, first_seq: sound.first_seq, last_seq: sound.head.seq, alone };
    Ok(Some((plan, kept, why)))
}

/// Copies a log to where there is none.
fn fill<'a>(
    (from, sound): (&'a dyn Storage, Sound),
    empty: &'a dyn Storage,
    options: &WalOptions,
) -> Result<(Plan<'a>, Sound, String), OpenError> {
    Ok((Plan::new((from, Some(&sound)), empty, options)?, sound, "there was no log".to_owned()))
}

/// Copies a sound log over a damaged one, if it has all that the damaged one can have had.
fn mend<'a>(
    (from, sound): (&'a dyn Storage, Sound),
    damaged: &'a dyn Storage,
    fault: OpenError,
    options: &WalOptions,
) -> Result<(Plan<'a>, Sound, String), OpenError> {
    check_no_restore_is_lost(from, damaged, &fault)?;
    let why = fault.place_and_reason();
    if !asks_nothing(options) {
        check_covers((from, &sound), damaged, fault)?;
    }
    Ok((Plan::new((from, Some(&sound)), damaged, options)?, sound, why))
}

/// Copies the better one of two sound logs over the other; the other way round where the better one has files that cannot be read
/// to their end, and the other is the same log. Where it is not, what cannot be read is left out: the log needs none of it.
fn copy_better<'a>(
    (from, sound): (&'a dyn Storage, Sound),
    (to, other): (&'a dyn Storage, &Sound),
    options: &WalOptions,
) -> Result<(Plan<'a>, Sound, String), OpenError> {
    check_not_restored((from, &sound), (to, other))?;
    check_leads(from, sound.head, other.head, to)?;
    let why = match other.head == sound.head {
        true => "the logs are the same, and the files were not".to_owned(),
        false => format!("it ended with seq {}, and the other side with seq {}", other.head.seq, sound.head.seq),
    };
    let strict = Plan::new((from, None), to, options);
    if !strict.as_ref().is_err_and(OpenError::is_damage) {
        return Ok((strict?, sound, why));
    }
    let is_other_as_good = other.head == sound.head && !other.was_restored_under(sound.epoch);
    let back = is_other_as_good.then(|| Plan::new((to, None), from, options)).and_then(Result::ok);
    let plan = back.map_or_else(|| Plan::new((from, Some(&sound)), to, options), Ok)?;
    Ok((plan, sound, why))
}

/// A shorter history whose epochs are far above the longer one's is no mirror that fell behind: it was restored or salvaged, which
/// the longer one would undo.
fn check_not_restored(better: (&dyn Storage, &Sound), worse: (&dyn Storage, &Sound)) -> Result<(), OpenError> {
    let ((from, sound), (to, other)) = (better, worse);
    if sound.worth() <= other.worth() || !sound.was_restored_under(other.epoch) {
        return Ok(());
    }
    let reason = format!(
        "{} was restored or salvaged up to seq {}, and {} goes on to seq {}, which would undo that: empty the latter, and it is \
         filled from the former; or empty the former to keep the longer history",
        to.describe(),
        other.head.seq,
        from.describe(),
        sound.head.seq
    );
    Err(OpenError::InvalidOption { reason })
}

fn remove_temporaries(side: &dyn Storage) -> Result<(), OpenError> {
    let names: Vec<String> = list(side)?.into_iter().filter(|name| names::is_temporary(name)).collect();
    for name in &names {
        during(side.remove(name), "removing", name)?;
    }
    if !names.is_empty() {
        during(side.sync_directory(), "syncing", &side.describe())?;
    }
    Ok(())
}

fn look(side: &dyn Storage, reading: Reading) -> Result<Side, OpenError> {
    // Without a snapshot, a log that does not begin with seq 1 has lost its beginning.
    let start = if has_snapshots(side)? { Start::Oldest } else { Start::First };
    let log = match reader::read(side, reading, start, &WalOptions::default(), None, &mut |_| Ok(())) {
        Err(fault) if fault.is_damage() => return Ok(Side::Damaged(fault)),
        read => read?,
    };
    let Some(mark) = log.mark else { return Ok(Side::Empty) };
    let links = log.segments.iter().filter_map(|segment| segment.link).map(|read| read.link);
    Ok(Side::Sound(Sound {
        uuid: mark.uuid,
        first_seq: log.end.first_seq,
        head: log.end.head.at(log.end.last_seq),
        epoch: log.epoch_max,
        marked: mark.seq,
        last: log.segments.last().map_or(0, |last| last.header.number),
        number_max: log.number_max,
        ends: links.map(|link| (link.previous, link.previous_end)).collect(),
    }))
}

fn differs(side: &dyn Storage, seq: u64, reason: String) -> OpenError {
    OpenError::Damaged { file: side.describe(), offset: 0, seq: Some(seq), reason }
}

/// The longer history must lead from the shorter one.
fn check_leads(better: &dyn Storage, head: Head, shorter: Head, worse: &dyn Storage) -> Result<(), OpenError> {
    if head == shorter {
        return Ok(());
    }
    let (options, then) = (WalOptions::default(), Some(shorter.seq));
    let log = reader::read(better, Reading::Device, Start::Oldest, &options, then, &mut |_| Ok(()))?;
    if log.end.head_then.is_some_and(|head| head.at(shorter.seq) == shorter) {
        return Ok(());
    }
    if shorter.seq.next() < log.end.first_seq {
        let reason = format!(
            "it ends with seq {}, and {} begins with seq {}; empty it, and it is filled from there",
            shorter.seq,
            better.describe(),
            log.end.first_seq
        );
        return Err(differs(worse, shorter.seq.get(), reason));
    }
    let reason = format!("its history up to seq {} is not that of {}", shorter.seq, better.describe());
    Err(differs(worse, shorter.seq.get(), reason))
}

/// A damaged side whose withdrawals wait for an operator, as after a restore, is none that the sound one fell behind of; unless
/// that one was let go since.
fn check_no_restore_is_lost(sound: &dyn Storage, damaged: &dyn Storage, fault: &OpenError) -> Result<(), OpenError> {
    let Some(stop) = stop::of(damaged)? else { return Ok(()) };
    if stop::of(sound)?.is_some() || stop::was_released(sound, stop)? {
        return Ok(());
    }
    Err(was_restored(sound, damaged, fault))
}

fn was_restored(sound: &dyn Storage, damaged: &dyn Storage, fault: &OpenError) -> OpenError {
    let reason = format!(
        "{} is damaged ({fault}) and was restored or salvaged, and {} was not: empty the one that is to be filled from the other",
        damaged.describe(),
        sound.describe()
    );
    OpenError::InvalidOption { reason }
}

/// What the damaged side is known to have had must be on the sound one, and so must all that it may have where it cannot be read.
fn check_covers(
    (from, sound): (&dyn Storage, &Sound),
    damaged: &dyn Storage,
    fault: OpenError,
) -> Result<(), OpenError> {
    let evidence = salvage::evidence(damaged)?;
    if evidence.uuid.is_some_and(|uuid| uuid != sound.uuid) {
        return Err(differs(damaged, 0, format!("it is damaged and holds another ledger ({fault})")));
    }
    if sound.was_restored_under(evidence.epoch) {
        return Err(was_restored(from, damaged, &fault));
    }
    let next = sound.head.seq.next().get();
    if evidence.durable > sound.head.seq {
        let lacks = format!(
            "up to seq {} it had been durable, and the other side ends with seq {}",
            evidence.durable, sound.head.seq
        );
        return Err(differs(damaged, next, format!("{fault}; {lacks}")));
    }
    // It may have gone on alone, and what it acknowledged last be told of by nothing but itself.
    if evidence.whole > sound.head.seq {
        let lacks = format!(
            "it has entries up to seq {}, and the other side ends with seq {}: salvage it; or empty the directory, and it is \
             filled from the other",
            evidence.whole, sound.head.seq
        );
        return Err(differs(damaged, next, format!("{fault}; {lacks}")));
    }
    if may_hide_more(&evidence, sound) {
        let hides = format!(
            "what cannot be read there may be later than seq {}, with which the other side ends: start again when it can be \
             read; or empty the directory, and it is filled from the other",
            sound.head.seq
        );
        return Err(differs(damaged, next, format!("{fault}; {hides}")));
    }
    Ok(())
}

/// Whether what says nothing may have said that more was durable than `sound` has: a device that cannot be read for a time, or is
/// read by another way, has it still.
fn may_hide_more(evidence: &Evidence, sound: &Sound) -> bool {
    let is_nothing_read = evidence.uuid.is_none() && (evidence.is_mark_unread || evidence.unread.is_some());
    // The sides have the same segments, but for those that were begun when one went on alone.
    let is_beyond = evidence.unread.max(evidence.headless) > Some(sound.number_max);
    let is_end_unread = evidence.is_mark_unread && evidence.unread >= Some(sound.last);
    is_nothing_read || is_beyond || is_end_unread
}

fn is_log(name: &str) -> bool {
    name == names::MARK || names::segment_number(name).is_some()
}

impl<'a> Plan<'a> {
    /// To make the log on `to` that on `from`, file by file; what is equal is left alone. Other files are added and never
    /// overwritten, but for those of snapshots: which of two is right is for who reads them to say. All of the log on `from` is read for
    /// it, but for files that `to` does not have, and but for what is not needed of it where `sound` is given.
    fn new(
        (from, sound): (&'a dyn Storage, Option<&Sound>),
        to: &'a dyn Storage,
        options: &WalOptions,
    ) -> Result<Plan<'a>, OpenError> {
        let source = if trusts_cache(options) { ReadFrom::Cache } else { ReadFrom::Device };
        let targets = list(to)?;
        let mut differing = Vec::new();
        for name in list(from)? {
            if names::is_temporary(&name) || name == names::EXECUTOR_STOPPED || names::is_of_a_snapshot(&name) {
                continue;
            }
            let needed = sound.map_or(u64::MAX, |sound| sound.needed(&name));
            if !targets.contains(&name) || is_log(&name) && !is_same(from, to, &name, source, needed)? {
                differing.push((name, needed));
            }
        }
        Ok(Plan { from, to, differing, marked: sound.map_or(Seq::ZERO, |sound| sound.marked) })
    }

    /// Gives the names of the log's files that are other ones now.
    fn carry_out(&self) -> Result<Vec<String>, OpenError> {
        let Plan { from, to, ref differing, marked } = *self;
        let (log, others): (Vec<_>, Vec<_>) = differing.iter().partition(|(name, _)| is_log(name));
        if !others.is_empty() {
            others.into_iter().try_for_each(|(name, needed)| copy_file(from, to, name, *needed, |_| Ok(())))?;
            during(to.sync_directory(), "syncing", &to.describe())?;
        }
        let sources = list(from)?;
        for name in list(to)?.iter().filter(|name| is_log(name) && !sources.contains(name)) {
            during(to.remove(name), "removing", name)?;
        }
        let changed = log.iter().map(|(name, _)| name.clone()).collect();
        let (marks, segments): (Vec<_>, Vec<_>) = log.into_iter().partition(|(name, _)| name == names::MARK);
        segments.into_iter().try_for_each(|(name, needed)| copy_file(from, to, name, *needed, |_| Ok(())))?;
        for (mark, needed) in marks {
            // It promises what no power cut takes back any more.
            during(to.sync_directory(), "syncing", &to.describe())?;
            copy_file(from, to, mark, *needed, |copy| check_mark(copy, marked))?;
        }
        during(to.sync_directory(), "syncing", &to.describe())?;
        Ok(changed)
    }
}

pub(super) fn has_snapshots(side: &dyn Storage) -> Result<bool, OpenError> {
    Ok(list(side)?.iter().any(|name| names::is_snapshot(name)))
}

/// Copies the file `name`, which is not the log's. It gets its name when all of it is durable and `check` finds it right.
///
/// # Errors
/// The storage's, and what `check` says.
pub(crate) fn copy_checked(
    from: &dyn Storage,
    to: &dyn Storage,
    name: &str,
    check: impl FnOnce() -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    copy_file(from, to, name, u64::MAX, |copy| {
        during(copy.sync_data(), "syncing", name)?;
        check()
    })
}

/// Copies the files `names`, which are not the log's.
pub(super) fn copy_files(from: &dyn Storage, to: &dyn Storage, names: &[String]) -> Result<(), OpenError> {
    names.iter().try_for_each(|name| copy_file(from, to, name, u64::MAX, |_| Ok(())))
}

/// Appears under its name when all of it is durable; the caller syncs the directory. What cannot be read behind the first `needed`
/// bytes is zeros in the copy.
fn copy_file(
    from: &dyn Storage,
    to: &dyn Storage,
    name: &str,
    needed: u64,
    check: impl FnOnce(&dyn StorageFile) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    let source = during(from.open(name), "opening", name)?;
    let new = NewFile::create(to, name.to_owned())?;
    let length = during(source.len(), "reading", name)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    for at in (0..length).step_by(CHUNK_BYTES) {
        let wanted = (length - at).min(CHUNK_BYTES as u64) as usize;
        during(read_needed(&*source, &mut chunk[..wanted], at, needed), "reading", name)?;
        new.write_at(&chunk[..wanted], at)?;
    }
    check(new.file())?;
    new.finish()?;
    Ok(())
}

/// One slot of a mark may be left out of a copy, and not both: since they were looked at, another one can have become unreadable.
fn check_mark(copy: &dyn StorageFile, marked: Seq) -> Result<(), OpenError> {
    match during(Mark::read(copy, ReadFrom::Cache), "reading", names::MARK)? {
        Ok(mark) if mark.seq >= marked => Ok(()),
        _ => {
            let reason = format!("it said that seqs up to {marked} were durable, and cannot be read any more");
            Err(OpenError::Damaged { file: names::MARK.to_owned(), offset: 0, seq: None, reason })
        }
    }
}

fn read_needed(source: &dyn StorageFile, chunk: &mut [u8], at: u64, needed: u64) -> std::io::Result<()> {
    match source.read_device_at(chunk, at) {
        Err(err) if is_unreadable(&err) && chunk.len() > BLOCK => {
            let mut blocks = (at..).step_by(BLOCK).zip(chunk.chunks_mut(BLOCK));
            blocks.try_for_each(|(at, block)| read_needed(source, block, at, needed))
        }
        Err(err) if is_unreadable(&err) && at >= needed => {
            chunk.fill(0);
            Ok(())
        }
        Ok(read) if read < chunk.len() => Err(std::io::ErrorKind::UnexpectedEof.into()),
        read => read.map(drop),
    }
}

const CHUNK_BYTES: usize = 1 << 20;

pub(super) fn list(side: &dyn Storage) -> Result<Vec<String>, OpenError> {
    Ok(during(side.list(), "listing", &side.describe())?)
}

/// Whether the log's file `name` is to be left alone. What of it is not needed and cannot be read is equal to nothing.
fn is_same(
    from: &dyn Storage,
    to: &dyn Storage,
    name: &str,
    as_read: ReadFrom,
    needed: u64,
) -> Result<bool, OpenError> {
    match is_equal(from, to, name, as_read) {
        Err(fault) if needed < u64::MAX && fault.is_damage() => Ok(false),
        is_equal => is_equal,
    }
}

fn is_equal(from: &dyn Storage, to: &dyn Storage, name: &str, as_read: ReadFrom) -> Result<bool, OpenError> {
    let source = during(from.open(name), "opening", name)?;
    let target = during(to.open(name), "opening", name)?;
    let length = during(source.len(), "reading", name)?;
    if during(target.len(), "reading", name)? != length {
        return Ok(false);
    }
    let (mut one, mut two) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    for at in (0..length).step_by(CHUNK_BYTES) {
        let read = during(source.read_from(as_read, &mut one, at), "reading", name)?;
        let found = match target.read_from(as_read, &mut two, at) {
            Err(err) if is_unreadable(&err) => return Ok(false),
            found => during(found, "reading", name)?,
        };
        if found != read || one[..read] != two[..read] {
            return Ok(false);
        }
    }
    Ok(true)
}
