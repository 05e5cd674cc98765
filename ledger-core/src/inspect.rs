//! Reading a ledger's directory without opening it: to check it, or to show what is in it. Nothing is changed, and the
//! directory may be in use.

use std::ops::ControlFlow;
use std::path::Path;

use crate::error::OpenError;
use crate::journal::codec;
use crate::ledger::{Origin, SHARDS_MAX, Tables};
use crate::state::Entry;
use crate::sys::DirectoryStorage;
use crate::types::{Epoch, Head, Seq, Timestamp};
use crate::wal::{self, Record, Scanned, Stamp};

/// An entry of the log with its position.
#[derive(Clone, PartialEq, Debug)]
pub struct Inspected<'a> {
    /// Its position.
    pub seq: Seq,
    /// Which opening of the ledger decided it.
    pub epoch: Epoch,
    /// Its time.
    pub time: Timestamp,
    /// What happened.
    pub entry: Entry<'a>,
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    /// The last entry.
    pub last_seq: Seq,
    /// The history up to it in one hash.
    pub head: Head,
    /// The highest epoch that anything was written under.
    pub epoch: Epoch,
    /// Files of the log.
    pub segments: u64,
    /// Group commits.
    pub frames: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Whether the ledger was closed in good order.
    pub clean: bool,
    /// Bytes behind the log that were never acknowledged, as a power cut leaves them.
    pub torn_bytes: u64,
}

/// Reads and checks everything in the ledger's directory `path`: checksums, chain, order, that every entry follows from
/// those before it, and that all accounts sum to zero.
///
/// # Errors
/// What is wrong, and where.
pub fn verify(path: impl AsRef<Path>) -> Result<Verified, OpenError> {
    Ok(check(path.as_ref(), None)?.0)
}

/// As [`verify`], and shows that since `earlier`, a head that the ledger once gave, history was only appended to: that the
/// entries up to it are those that it was given for.
///
/// # Errors
/// As [`verify`]'s, and [`OpenError::OtherHistory`].
pub fn verify_since(path: impl AsRef<Path>, earlier: Head) -> Result<Verified, OpenError> {
    let (verified, scanned) = check(path.as_ref(), Some(earlier.seq))?;
    let differs = |reason: String| Err(OpenError::OtherHistory { seq: earlier.seq.get(), reason });
    match scanned.head_then {
        Some(found) if found == earlier => Ok(verified),
        Some(found) => differs(format!("the head there is {}", found.hex())),
        None if earlier.seq > scanned.last_seq => differs(format!("the log ends with seq {}", scanned.last_seq)),
        None if earlier.seq < scanned.first_seq => {
            differs(format!("the log begins with seq {}, and what was before it cannot be checked", scanned.first_seq))
        }
        None => differs("no commit ended there".to_owned()),
    }
}

fn check(path: &Path, then: Option<Seq>) -> Result<(Verified, Scanned), OpenError> {
    // As many as there can be, so that whatever some ledger holds can be held here.
    let mut tables = Tables::new(SHARDS_MAX);
    let scanned = scan(path, then, &mut |record, entry| {
        let origin = Origin { ledger: uuid::Uuid::nil(), epoch: record.epoch };
        tables.replay(entry, origin, Stamp { seq: record.seq, time: record.time })
    })?;
    let sums = tables.sums(scanned.last_time);
    if let Some(wrong) = sums.iter().find(|sums| sums.sum() != 0 || sums.deep_mismatches != 0) {
        let reason = format!("the accounts in {} do not sum to zero ({})", wrong.currency, wrong.sum());
        return Err(damaged(path, Some(scanned.last_seq), reason));
    }
    let verified = Verified {
        last_seq: scanned.last_seq,
        head: scanned.head,
        epoch: scanned.epoch,
        segments: scanned.segments,
        frames: scanned.frames,
        bytes: scanned.bytes,
        clean: scanned.clean,
        torn_bytes: scanned.torn.as_ref().map_or(0, |torn| torn.bytes),
    };
    Ok((verified, scanned))
}

/// Shows every entry in the ledger's directory `path` to `visit`, in order, until it has seen enough.
///
/// # Errors
/// What is wrong, and where; the entries before it were shown.
pub fn inspect(
    path: impl AsRef<Path>,
    visit: &mut dyn FnMut(&Inspected<'_>) -> ControlFlow<()>,
) -> Result<(), OpenError> {
    let mut enough = false;
    scan(path.as_ref(), None, &mut |record, entry| {
        if !enough {
            let inspected = Inspected { seq: record.seq, epoch: record.epoch, time: record.time, entry: entry.clone() };
            enough = visit(&inspected).is_break();
        }
        Ok(())
    })?;
    Ok(())
}

/// Reads the log and decodes its entries, as far as `visit` has no objection.
fn scan(
    path: &Path,
    then: Option<Seq>,
    visit: &mut dyn FnMut(&Record<'_>, &Entry<'_>) -> Result<(), String>,
) -> Result<Scanned, OpenError> {
    if !path.is_dir() {
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, "no such directory");
        return Err(OpenError::Io { context: format!("reading {}", path.display()), source });
    }
    let mut wrong = None;
    let scanned = wal::scan(&DirectoryStorage::new(path), then, &mut |record: Record<'_>| {
        if wrong.is_some() {
            return;
        }
        let visited = codec::decode(record.bytes).map_err(String::from).and_then(|entry| visit(&record, &entry));
        wrong = visited.err().map(|reason| (record.seq, reason));
    })?;
    match wrong {
        None if scanned.uuid.is_none() => {
            let source = std::io::Error::new(std::io::ErrorKind::NotFound, "there is no ledger in it");
            Err(OpenError::Io { context: format!("reading {}", path.display()), source })
        }
        None => Ok(scanned),
        Some((seq, reason)) => Err(damaged(path, Some(seq), reason)),
    }
}

fn damaged(path: &Path, seq: Option<Seq>, reason: String) -> OpenError {
    OpenError::Damaged { file: path.display().to_string(), offset: 0, seq: seq.map(Seq::get), reason }
}
