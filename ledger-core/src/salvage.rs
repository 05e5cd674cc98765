//! The last resort: a directory that is refused, and no copy to restore from. What can be proved is written into a new
//! directory; what is given up is listed.

use std::path::Path;

use uuid::Uuid;

use crate::backup;
use crate::error::OpenError;
use crate::journal::codec;
use crate::journal::snapshot::names;
use crate::ledger::{Origin, SHARDS_MAX, Tables};
use crate::options::Options;
use crate::recovery::{Opened, snapshots};
use crate::sync::Arc;
use crate::sys::{DirectoryStorage, Storage};
use crate::types::{Epoch, Head, Seq};
use crate::wal::{self, Record, Stamp};

/// What a salvage brought into the new directory, and what it gave up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Salvaged {
    /// Which ledger.
    pub ledger: Uuid,
    /// The last entry that was taken.
    pub last_seq: Seq,
    /// The history up to it in one hash: heads that were served before lead here.
    pub head: Head,
    /// The highest seq that something in the source says was durable: those above [`Salvaged::last_seq`] are lost, and had
    /// been acknowledged. More may have been.
    pub known_durable: Seq,
    /// The new directory's epoch, above any that the source can have used.
    pub epoch: Epoch,
    /// Withdrawals that were open at the last entry. What was done for them since is lost, so each counts as attempted, and
    /// none is performed until [`crate::release_executor`].
    pub withdrawals_in_doubt: u64,
    /// What is not in the new directory, in the order of the files.
    pub given_up: Vec<GivenUp>,
}

/// A piece of the source that was given up; of a file that is missing, no bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GivenUp {
    /// Which file.
    pub file: String,
    /// Where it begins in it.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// The first and the last seq that it is known to have held; of a snapshot, those that it has the state of.
    pub seqs: Option<(Seq, Seq)>,
    /// Why.
    pub reason: String,
}

/// Takes the longest prefix of the ledger in the directory `from` that can be proved, by its log from the first entry on or by a
/// snapshot and the log from there on, and writes it into the directory `into`, which must be empty or missing. `from` is only
/// read. Durable when it returns.
///
/// # Errors
/// [`OpenError::InUse`]; [`OpenError::InvalidOption`] if `into` is not empty; [`OpenError::Damaged`] if nothing can be
/// taken. Nothing was made then.
pub fn salvage(from: impl AsRef<Path>, into: impl AsRef<Path>) -> Result<Salvaged, OpenError> {
    let from = from.as_ref();
    if !from.is_dir() {
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, "no such directory");
        return Err(OpenError::Io { context: format!("reading {}", from.display()), source });
    }
    salvage_on(&DirectoryStorage::new(from), Arc::new(DirectoryStorage::new(into)))
}

/// As [`salvage`], on any storage.
///
/// # Errors
/// As [`salvage`]'s.
pub fn salvage_on(from: &dyn Storage, into: Arc<dyn Storage>) -> Result<Salvaged, OpenError> {
    let tables = Tables::new(SHARDS_MAX);
    let mut whole = tables.whole();
    let mut is_from_the_first = false;
    let taken =
        wal::salvage(from, &*into, &backup::begin, &|uuid| candidates(from, uuid), &mut |record: Record<'_>| {
            let entry = codec::decode(record.bytes)?;
            is_from_the_first |= record.seq == Seq::new(1);
            // Whether the rest of a log whose beginning is retired follows from its snapshot, the opening says.
            if !is_from_the_first {
                return Ok(());
            }
            let origin = Origin { ledger: Uuid::nil(), epoch: record.epoch };
            whole.replay(&entry, origin, Stamp { seq: record.seq, time: record.time })
        })?;
    drop(whole);
    drop(tables);
    let ledger = backup::distrust(into, &Options::default())?;
    Ok(Salvaged {
        ledger: taken.uuid,
        last_seq: taken.last.seq,
        head: taken.head,
        known_durable: taken.known_durable,
        epoch: ledger.epoch(),
        withdrawals_in_doubt: ledger.withdrawals_open(),
        given_up: taken.left.into_iter().map(GivenUp::from).collect(),
    })
}

/// The snapshots, oldest first, each read to its end.
fn candidates(from: &dyn Storage, uuid: Uuid) -> Result<Vec<wal::Candidate>, OpenError> {
    let look = |seq: Seq| {
        let whole = |opened: Opened<'_>| opened.verify().map(|()| (opened.kept().base, opened.file_names()));
        let found = match Opened::new(from, uuid, seq).and_then(whole) {
            Err(other) if !other.is_damage() => return Err(other),
            found => found,
        };
        let file = names::snapshot(seq);
        let bytes = from.open(&file).and_then(|file| file.len()).unwrap_or_default();
        Ok(wal::Candidate { file, bytes, seq, found })
    };
    snapshots(from)?.into_iter().rev().map(look).collect()
}

impl From<wal::Left> for GivenUp {
    fn from(left: wal::Left) -> GivenUp {
        GivenUp {
            file: left.file,
            offset: left.bytes.start,
            bytes: left.bytes.end - left.bytes.start,
            seqs: left.seqs,
            reason: left.reason,
        }
    }
}
