//! Reading a ledger's directory without opening it: to check it, or to show what is in it. Nothing is changed, and the
//! directory may be in use.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use crate::backup;
use crate::checkpoint::digest;
use crate::error::OpenError;
use crate::journal::codec;
use crate::ledger::{Origin, SHARDS_MAX, Tables};
use crate::recovery::load_one;
use crate::state::Entry;
use crate::sys::{DirectoryStorage, Storage};
use crate::types::{Epoch, Head, Seq, Timestamp};
use crate::wal::{self, Record, Scanned, Stamp, Start};

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
    /// Snapshots.
    pub snapshots: u64,
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
/// those before it, that every snapshot says what the entries before it come to, and that all accounts sum to zero.
///
/// Where the log no longer reaches back to the first entry, it is replayed from the oldest snapshot on.
///
/// # Errors
/// What is wrong, and where.
pub fn verify(path: impl AsRef<Path>) -> Result<Verified, OpenError> {
    check_directory(path.as_ref())?;
    verify_storage(&DirectoryStorage::new(path))
}

/// As [`verify`], of the ledger that lies on `storage`.
///
/// # Errors
/// What is wrong, and where.
pub fn verify_storage(storage: &dyn Storage) -> Result<Verified, OpenError> {
    Ok(check(storage, None)?.0)
}

/// As [`verify`], and shows that since `earlier`, a head that the ledger once gave, history was only appended to: that the
/// entries up to it are those that it was given for.
///
/// # Errors
/// As [`verify`]'s, and [`OpenError::OtherHistory`]; [`OpenError::InvalidOption`] where all else is sound, and `earlier` is of before what
/// is kept of the log, so that nothing can be said of it.
pub fn verify_since(path: impl AsRef<Path>, earlier: Head) -> Result<Verified, OpenError> {
    check_directory(path.as_ref())?;
    let (verified, scanned) = check(&DirectoryStorage::new(path), Some(earlier.seq))?;
    let differs = |reason: String| Err(OpenError::OtherHistory { seq: earlier.seq.get(), reason });
    match scanned.head_then {
        Some(found) if found == earlier => Ok(verified),
        Some(found) => differs(format!("the head there is {}", found.hex())),
        None if earlier.seq > scanned.last_seq => differs(format!("the log ends with seq {}", scanned.last_seq)),
        None if earlier.seq < scanned.first_seq => {
            let reason = format!(
                "the head at seq {} cannot be checked, which says neither yes nor no: the log begins with seq {}, and snapshots have \
                 replaced what was before; take a later head, and to have all of them checked, keep the log (--keep-log)",
                earlier.seq, scanned.first_seq
            );
            Err(OpenError::InvalidOption { reason })
        }
        None => differs("no commit ended there".to_owned()),
    }
}

/// Checks everything; `then` is a seq whose head is looked for.
fn check(storage: &dyn Storage, then: Option<Seq>) -> Result<(Verified, Scanned), OpenError> {
    backup::check_finished(storage)?;
    backup::while_snapshots_change(storage, &mut |seqs| check_once(storage, seqs, then))
}

/// Checks the snapshots `seqs`, newest first, and the log.
fn check_once(storage: &dyn Storage, seqs: &[Seq], then: Option<Seq>) -> Result<(Verified, Scanned), OpenError> {
    let Some(uuid) = wal::identity(storage)? else { return Err(backup::no_ledger(storage)) };
    let (mut digests, mut bases) = (BTreeMap::new(), Vec::new());
    let mut oldest = None;
    for seq in seqs {
        // A whole state: two of them at once may be more than there is memory for.
        drop(oldest.take());
        let (tables, kept) = load_one(storage, uuid, *seq)?;
        let last = Stamp { seq: *seq, time: kept.base.time };
        digests.insert(*seq, (last.time, digest(&tables, || last).1));
        bases.push(kept.base);
        oldest = Some((tables, kept));
    }
    let (mut tables, start) = match oldest {
        // As many shards as there can be, so that whatever some ledger holds can be held here.
        None => (Tables::new(SHARDS_MAX), Start::First),
        Some((tables, _)) if wal::reaches_back_to_the_first(storage)? => {
            (Tables::seeded(tables.shards.len(), tables.keys.seed()), Start::First)
        }
        Some((tables, kept)) => (tables, Start::After(kept.base)),
    };
    let mut whole = None;
    let scanned = scan(storage, start, then, &mut |record, entry| {
        let origin = Origin { ledger: uuid, epoch: record.epoch };
        let stamp = Stamp { seq: record.seq, time: record.time };
        whole.get_or_insert_with(|| tables.whole()).replay(entry, origin, stamp)?;
        let Some(expected) = digests.get(&record.seq) else { return Ok(()) };
        whole = None; // Its locks are the digest's.
        if *expected == (stamp.time, digest(&tables, || stamp).1) {
            return Ok(());
        }
        Err("the snapshot at this entry says something else than the entries before it".to_owned())
    })?;
    drop(whole);
    if let Some((seq, _)) = digests.last_key_value().filter(|(seq, _)| **seq > scanned.last_seq) {
        let reason = format!("there is a snapshot at seq {seq}, and the log ends before");
        return Err(damaged(storage, Some(scanned.last_seq), reason));
    }
    // An opening begins with any of them: the log must lead on from each.
    for base in bases.into_iter().filter(|base| start != Start::After(*base)) {
        wal::scan(storage, Start::After(base), None, &mut |_| ())?;
    }
    let sums = tables.sums(scanned.last_time);
    if let Some(wrong) = sums.iter().find(|sums| sums.sum() != 0 || sums.deep_mismatches != 0) {
        let reason = format!("the accounts in {} do not sum to zero ({})", wrong.currency, wrong.sum());
        return Err(damaged(storage, Some(scanned.last_seq), reason));
    }
    let verified = Verified {
        last_seq: scanned.last_seq,
        head: scanned.head,
        epoch: scanned.epoch,
        snapshots: digests.len() as u64,
        segments: scanned.segments,
        frames: scanned.frames,
        bytes: scanned.bytes,
        clean: scanned.clean,
        torn_bytes: scanned.torn.as_ref().map_or(0, |torn| torn.bytes),
    };
    Ok((verified, scanned))
}

/// Shows every entry that is left in the log of the ledger's directory `path` to `visit`, in order, until it has seen enough.
///
/// # Errors
/// What is wrong, and where; the entries before it were shown.
pub fn inspect(
    path: impl AsRef<Path>,
    visit: &mut dyn FnMut(&Inspected<'_>) -> ControlFlow<()>,
) -> Result<(), OpenError> {
    let mut enough = false;
    check_directory(path.as_ref())?;
    scan(&DirectoryStorage::new(path), Start::Oldest, None, &mut |record, entry| {
        if !enough {
            let inspected = Inspected { seq: record.seq, epoch: record.epoch, time: record.time, entry: entry.clone() };
            enough = visit(&inspected).is_break();
        }
        Ok(())
    })?;
    Ok(())
}

/// Whether a ledger lies in the directory `path`, sound or not. Nothing is made, and no directory is no fault.
///
/// # Errors
/// It cannot be looked into.
pub fn is_there(path: impl AsRef<Path>) -> Result<bool, OpenError> {
    match wal::is_there(&DirectoryStorage::new(path)) {
        Err(OpenError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(false),
        looked => looked,
    }
}

fn check_directory(path: &Path) -> Result<(), OpenError> {
    let source = match path.metadata() {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => std::io::ErrorKind::NotADirectory.into(),
        Err(source) => source,
    };
    Err(OpenError::Io { context: format!("reading {}", path.display()), source })
}

/// Reads the log and decodes its entries, as far as `visit` has no objection.
fn scan(
    storage: &dyn Storage,
    start: Start,
    then: Option<Seq>,
    visit: &mut dyn FnMut(&Record<'_>, &Entry<'_>) -> Result<(), String>,
) -> Result<Scanned, OpenError> {
    let mut wrong = None;
    let scanned = wal::scan(storage, start, then, &mut |record: Record<'_>| {
        if wrong.is_some() {
            return;
        }
        let visited = codec::decode(record.bytes).map_err(String::from).and_then(|entry| visit(&record, &entry));
        wrong = visited.err().map(|reason| record.place.damaged(record.seq, reason));
    })?;
    match wrong {
        None if scanned.uuid.is_none() => Err(backup::no_ledger(storage)),
        None => Ok(scanned),
        Some(damaged) => Err(damaged),
    }
}

fn damaged(storage: &dyn Storage, seq: Option<Seq>, reason: String) -> OpenError {
    OpenError::Damaged { file: storage.describe(), offset: 0, seq: seq.map(Seq::get), reason }
}
