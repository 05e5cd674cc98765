//! Compares the two sides of a mirrored log, and makes the worse one a copy of the better.
//!
//! What must hold: the better side is only read; and it has everything that either side is known to have had, in the
//! same history. If neither can be shown to, nothing is changed. An interruption leaves the better side as it was.

use uuid::Uuid;

use super::copy::EPOCHS_SKIPPED_MIN;
use super::options::WalOptions;
use super::reader::{self, Reading};
use super::segment::{NewFile, during};
use super::{Start, names, recovery, salvage};
use crate::error::OpenError;
use crate::sys::{Storage, is_unreadable};
use crate::types::{Epoch, Head, Seq};

/// What one side holds.
enum Side {
    Empty,
    Sound(Sound),
    Damaged(OpenError),
}

#[derive(Clone, Copy)]
struct Sound {
    uuid: Option<Uuid>,
    first_seq: Seq,
    head: Head,
    epoch: Epoch,
}

impl Sound {
    /// More history is better, at its end first; then a later opening.
    fn worth(&self) -> (Seq, std::cmp::Reverse<Seq>, Epoch) {
        (self.head.seq, std::cmp::Reverse(self.first_seq), self.epoch)
    }
}

/// Brings the side up to date that is damaged, behind or empty.
///
/// # Errors
/// [`OpenError::Damaged`]: neither side can be shown to have everything. Nothing was changed.
pub(crate) fn reconcile(primary: &dyn Storage, mirror: &dyn Storage) -> Result<(), OpenError> {
    recovery::sync_all(primary)?;
    recovery::sync_all(mirror)?;
    let sides = (look(primary)?, look(mirror)?);
    judge(primary, mirror, sides)?;
    // What one side alone has begun is in the way of the other's.
    remove_temporaries(primary)?;
    remove_temporaries(mirror)
}

fn judge(primary: &dyn Storage, mirror: &dyn Storage, sides: (Side, Side)) -> Result<(), OpenError> {
    match sides {
        (Side::Empty, Side::Empty) => Ok(()),
        (Side::Empty, Side::Sound(_)) => copy(mirror, primary),
        (Side::Sound(_), Side::Empty) => copy(primary, mirror),
        (Side::Damaged(fault), Side::Empty) | (Side::Empty | Side::Damaged(_), Side::Damaged(fault)) => Err(fault),
        (Side::Damaged(fault), Side::Sound(sound)) => {
            check_no_restore_is_lost(mirror, primary, &fault)?;
            check_covers(sound, primary, fault)?;
            copy(mirror, primary)
        }
        (Side::Sound(sound), Side::Damaged(fault)) => {
            check_no_restore_is_lost(primary, mirror, &fault)?;
            check_covers(sound, mirror, fault)?;
            copy(primary, mirror)
        }
        (Side::Sound(one), Side::Sound(two)) => {
            if one.uuid != two.uuid {
                return Err(differs(mirror, 0, "it holds another ledger than the primary directory".to_owned()));
            }
            if one.worth() >= two.worth() {
                copy_better((primary, one), (mirror, two))
            } else {
                copy_better((mirror, two), (primary, one))
            }
        }
    }
}

/// Copies the better one of two sound logs over the other; the other way round where the better one has files that cannot be read
/// to their end, and the other everything that it has.
fn copy_better(better: (&dyn Storage, Sound), worse: (&dyn Storage, Sound)) -> Result<(), OpenError> {
    let ((from, sound), (to, other)) = (better, worse);
    check_not_restored((from, sound), (to, other))?;
    check_leads(from, sound.head, other.head, to)?;
    match differing(from, to) {
        Err(fault) if fault.is_damage() => {
            check_covers(other, from, fault)?;
            copy(to, from)
        }
        differing => copy_files_over(from, to, &differing?),
    }
}

/// A shorter history whose epochs are far above the longer one's is no mirror that fell behind: it was restored or salvaged, which
/// the longer one would undo.
fn check_not_restored(better: (&dyn Storage, Sound), worse: (&dyn Storage, Sound)) -> Result<(), OpenError> {
    let ((from, sound), (to, other)) = (better, worse);
    let is_older = sound.worth() > other.worth() && sound.epoch.get() + EPOCHS_SKIPPED_MIN <= other.epoch.get();
    if !is_older {
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

fn look(side: &dyn Storage) -> Result<Side, OpenError> {
    // Without a snapshot, a log that does not begin with seq 1 has lost its beginning.
    let start = if has_snapshots(side)? { Start::Oldest } else { Start::First };
    match reader::read(side, Reading::Exclusive, start, &WalOptions::default(), None, &mut |_| Ok(())) {
        Ok(log) if log.mark.is_none() => Ok(Side::Empty),
        Ok(log) => Ok(Side::Sound(Sound {
            uuid: log.mark.map(|mark| mark.uuid),
            first_seq: log.end.first_seq,
            head: log.end.head.at(log.end.last_seq),
            epoch: log.epoch_max,
        })),
        Err(fault) if fault.is_damage() => Ok(Side::Damaged(fault)),
        Err(other) => Err(other),
    }
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
    let log = reader::read(better, Reading::Exclusive, Start::Oldest, &options, then, &mut |_| Ok(()))?;
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

/// A damaged side whose withdrawals wait for an operator, as after a restore, is none that the sound one fell behind of.
fn check_no_restore_is_lost(sound: &dyn Storage, damaged: &dyn Storage, fault: &OpenError) -> Result<(), OpenError> {
    let waits = |side| Ok::<_, OpenError>(list(side)?.iter().any(|name| name == names::EXECUTOR_STOPPED));
    if !waits(damaged)? || waits(sound)? {
        return Ok(());
    }
    let reason = format!(
        "{} is damaged ({fault}) and was restored or salvaged, and {} was not: empty the one that is to be filled from the other",
        damaged.describe(),
        sound.describe()
    );
    Err(OpenError::InvalidOption { reason })
}

/// What the damaged side is known to have had must be on the sound one.
fn check_covers(sound: Sound, damaged: &dyn Storage, fault: OpenError) -> Result<(), OpenError> {
    let (its, durable) = salvage::evidence(damaged)?;
    if its.is_some() && its != sound.uuid {
        return Err(differs(damaged, 0, format!("it is damaged and holds another ledger ({fault})")));
    }
    if durable > sound.head.seq {
        let lacks =
            format!("up to seq {durable} it had been durable, and the other side ends with seq {}", sound.head.seq);
        return Err(differs(damaged, sound.head.seq.next().get(), format!("{fault}; {lacks}")));
    }
    Ok(())
}

fn is_log(name: &str) -> bool {
    name == names::MARK || names::segment_number(name).is_some()
}

/// Makes the log on `to` that on `from`, file by file; what is equal is left alone. Other files are added and never
/// overwritten: which of two is right is for who reads them to say.
fn copy(from: &dyn Storage, to: &dyn Storage) -> Result<(), OpenError> {
    copy_files_over(from, to, &differing(from, to)?)
}

/// The files of `from` that `to` has otherwise or not at all, in the order in which they are copied. All of the log on `from` is
/// read for it, but for files that `to` does not have.
fn differing(from: &dyn Storage, to: &dyn Storage) -> Result<Vec<String>, OpenError> {
    let targets = list(to)?;
    let mut differing = Vec::new();
    // The mark comes last in the order of the names, so it never promises more than is there.
    for name in list(from)?.into_iter().filter(|name| !names::is_temporary(name)) {
        if !targets.contains(&name) || is_log(&name) && !is_equal(from, to, &name)? {
            differing.push(name);
        }
    }
    Ok(differing)
}

fn copy_files_over(from: &dyn Storage, to: &dyn Storage, differing: &[String]) -> Result<(), OpenError> {
    remove_temporaries(to)?;
    let sources = list(from)?;
    // What an operator let go on the better side, he let go.
    let follows = |name: &&String| is_log(name) || *name == names::EXECUTOR_STOPPED;
    for name in list(to)?.iter().filter(|name| follows(name) && !sources.contains(name)) {
        during(to.remove(name), "removing", name)?;
    }
    differing.iter().try_for_each(|name| copy_file(from, to, name))?;
    Ok(during(to.sync_directory(), "syncing", &to.describe())?)
}

pub(super) fn has_snapshots(side: &dyn Storage) -> Result<bool, OpenError> {
    Ok(list(side)?.iter().any(|name| names::is_snapshot(name)))
}

/// Copies the files `names`, which are not the log's.
pub(super) fn copy_files(from: &dyn Storage, to: &dyn Storage, names: &[String]) -> Result<(), OpenError> {
    names.iter().try_for_each(|name| copy_file(from, to, name))
}

/// Appears under its name when all of it is durable; the caller syncs the directory.
fn copy_file(from: &dyn Storage, to: &dyn Storage, name: &str) -> Result<(), OpenError> {
    let source = during(from.open(name), "opening", name)?;
    let new = NewFile::create(to, name.to_owned())?;
    let length = during(source.len(), "reading", name)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    for at in (0..length).step_by(CHUNK_BYTES) {
        let wanted = (length - at).min(CHUNK_BYTES as u64) as usize;
        if during(source.read_device_at(&mut chunk[..wanted], at), "reading", name)? < wanted {
            let source = std::io::ErrorKind::UnexpectedEof.into();
            return Err(OpenError::Io { context: format!("reading {name}"), source });
        }
        new.write_at(&chunk[..wanted], at)?;
    }
    new.finish()?;
    Ok(())
}

const CHUNK_BYTES: usize = 1 << 20;

fn list(side: &dyn Storage) -> Result<Vec<String>, OpenError> {
    Ok(during(side.list(), "listing", &side.describe())?)
}

fn is_equal(from: &dyn Storage, to: &dyn Storage, name: &str) -> Result<bool, OpenError> {
    let source = during(from.open(name), "opening", name)?;
    let target = during(to.open(name), "opening", name)?;
    let length = during(source.len(), "reading", name)?;
    if during(target.len(), "reading", name)? != length {
        return Ok(false);
    }
    let (mut one, mut two) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    for at in (0..length).step_by(CHUNK_BYTES) {
        let read = during(source.read_device_at(&mut one, at), "reading", name)?;
        let found = match target.read_device_at(&mut two, at) {
            Err(err) if is_unreadable(&err) => return Ok(false),
            found => during(found, "reading", name)?,
        };
        if found != read || one[..read] != two[..read] {
            return Ok(false);
        }
    }
    Ok(true)
}
