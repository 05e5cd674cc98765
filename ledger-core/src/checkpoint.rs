//! Checkpoints: the state at one entry is written into a snapshot, so that an opening need not replay what is before it and
//! the log before it can go.
//!
//! All shards are locked together only for the instant that fixes the entry; then the state is copied piece by piece
//! while writers go on (see [`crate::state::cut`]). What only grows (records, keys) is written into a history file that later
//! snapshots name; small ones are written again with what comes after them (see [`rewrite`]), large ones never.
//!
//! What must hold: a snapshot gets its name only when it was synced and read back, the files that it names have theirs, and
//! the log is durable up to its entry. The log, unless it is kept whole, is retired only up to the older of the two snapshots that are kept, when
//! the newer one's name is durable. A failure leaves everything as it was, without the files
//! that it began, and the next checkpoint tries again.

mod copy;
mod digest;
mod error;
mod hold;
mod rewrite;

use std::io;
use std::time::Duration;

pub(crate) use copy::{Copier, Positions};
pub(crate) use digest::digest;
pub use error::CheckpointError;
use hold::LongestHold;
pub(crate) use rewrite::{HISTORY_BYTES, Small, small};

use crate::journal::snapshot::rows::{HistoryFile, Meta};
use crate::journal::snapshot::{FileKind, FileReader, FileWriter, Header, Kind, Sink, names};
use crate::ledger::Tables;
use crate::options::Options;
use crate::state::cut::ShardCut;
use crate::sync::{Arc, Mutex};
use crate::sys::{ReadFrom, Storage};
use crate::types::{Seq, TransactionId};
use crate::wal::{Base, Level, Stamp, Wal};

/// How many snapshots are kept.
pub(crate) const SNAPSHOTS_KEPT: usize = 2;

/// A checkpoint that was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Checkpoint {
    /// The last entry that is in the snapshot.
    pub seq: Seq,
    /// Bytes that were written for it; 0: nothing had changed since the last one.
    pub bytes: u64,
    /// Segments of the log that could go.
    pub segments_retired: u64,
    /// The longest time for which it held a lock that a writer may have waited for.
    pub longest_hold: Duration,
    /// The most that it copied while it held such a lock, in bytes: in no proportion to the ledger.
    pub largest_hold: usize,
}

/// A snapshot that is there, and may be relied on.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) base: Base,
    pub(crate) histories: Vec<HistoryFile>,
}

/// Makes checkpoints, one at a time.
pub(crate) struct Checkpointer {
    storage: Arc<dyn Storage>,
    /// From this size on a history file is left alone.
    history_bytes: u64,
    keeps_log: bool,
    state: Mutex<State>,
}

/// What the checkpoints before left.
pub(crate) struct State {
    /// Oldest first.
    pub(crate) kept: Vec<Kept>,
    pub(crate) positions: Positions,
    /// Of the last history files of the newest snapshot, those that may be written again.
    pub(crate) small: Vec<Small>,
}

impl State {
    /// The history files of the newest snapshot.
    fn histories(&self) -> &[HistoryFile] {
        self.kept.last().map_or(&[], |kept| &kept.histories)
    }

    /// Up to where the tables were copied before the last `files`.
    fn since(&self, files: usize) -> &Positions {
        self.small[self.small.len() - files..].first().map_or(&self.positions, |small| &small.since)
    }
}

/// The instant of a checkpoint, and its end: a writer sets aside what it changes until this is dropped.
struct Cut<'a> {
    tables: &'a Tables,
    last: Stamp,
    shards: Vec<ShardCut>,
    is_kept: bool,
    holds: LongestHold,
}

impl<'a> Cut<'a> {
    /// Fixes the last entry. The one moment at which all shards are locked.
    fn begin(tables: &'a Tables, wal: &Wal, since: Seq) -> Cut<'a> {
        let holds = LongestHold::default();
        let held = holds.begin(&Vec::new());
        let mut shards = tables.lock_all();
        // Entries are appended under a shard's lock, so no other one can come to be the last.
        let last = wal.last();
        let set_aside_until = last.seq;
        #[cfg(any(test, feature = "sim"))]
        let set_aside_until = match wal.has(crate::sim::PlantedBug::CopyLate) {
            true => Seq::ZERO,
            false => set_aside_until,
        };
        let cuts = shards.iter_mut().map(|shard| shard.begin_cut(set_aside_until, last.time, since)).collect();
        drop(shards);
        holds.end(held, &Vec::new());
        Cut { tables, last, shards: cuts, is_kept: false, holds }
    }

    /// Ends it, with its snapshot in place; the longest time that it held a lock, and the most that it copied meanwhile.
    fn end(mut self) -> (Duration, usize) {
        self.is_kept = true;
        self.let_go();
        (self.holds.time(), self.holds.bytes())
    }

    fn let_go(&mut self) {
        for (shard, cut) in self.tables.shards.iter().zip(std::mem::take(&mut self.shards)) {
            let not_kept = if self.is_kept { Vec::new() } else { cut.withdrawals };
            let ended = self.holds.copy(shard.write(), &mut Vec::new(), |shard, _| shard.end_cut(not_kept));
            drop(ended);
        }
    }
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// A file that was written and read back, and has its temporary name.
struct Written {
    name: String,
    bytes: u64,
    digest: u128,
}

/// What a checkpoint wrote, and what the next one needs to know.
struct Made {
    history: Written,
    snapshot: Written,
    kept: Kept,
    positions: Positions,
    small: Small,
}

/// The withdrawals of each shard that changed since the first of the files that are written `again`, in the order of their
/// ids.
fn changed_withdrawals(cut: &Cut<'_>, again: &[Small]) -> Vec<Vec<TransactionId>> {
    let of_shard = |(index, shard): (usize, &ShardCut)| {
        let before = again.iter().flat_map(|file| &file.withdrawals[index]);
        let mut ids: Vec<TransactionId> = before.chain(&shard.withdrawals).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    cut.shards.iter().enumerate().map(of_shard).collect()
}

impl Checkpointer {
    pub(crate) fn new(storage: Arc<dyn Storage>, options: &Options, state: State) -> Checkpointer {
        let Options { history_bytes, keeps_log, .. } = *options;
        Checkpointer { storage, history_bytes, keeps_log, state: Mutex::new(state) }
    }

    /// Makes a checkpoint of the last entry, unless there is one. Waits for one that is under way. `is_stopped` is asked now
    /// and then.
    pub(crate) fn checkpoint(
        &self,
        tables: &Tables,
        wal: &Wal,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Checkpoint, CheckpointError> {
        let mut state = self.state.lock();
        let (since, last) = (state.positions.seq, wal.last().seq);
        if last == since {
            let (longest_hold, largest_hold) = (Duration::ZERO, 0);
            return Ok(Checkpoint { seq: since, bytes: 0, segments_retired: 0, longest_hold, largest_hold });
        }
        let is_stopped = || is_stopped() || wal.halted().is_some();
        self.remove_temporaries();
        let new_bytes = rewrite::expected_bytes(tables, &state.positions, last);
        let again = rewrite::rewritten(state.histories(), state.small.len(), new_bytes);
        let cut = Cut::begin(tables, wal, state.since(again).seq);
        let written = self.write(&cut, &state, again, wal, &is_stopped).and_then(|made| {
            self.name(&made.history, wal)?;
            self.name(&made.snapshot, wal)?;
            Ok(made)
        });
        let made = written.inspect_err(|_| self.remove_temporaries())?;
        let (longest_hold, largest_hold) = cut.end();
        let Made { history, snapshot, kept, positions, small } = made;
        let seq = positions.seq;
        let others = state.small.len() - again;
        state.small.truncate(others);
        match history.bytes < self.history_bytes {
            true => state.small.push(small),
            false => state.small.clear(),
        }
        state.positions = positions;
        state.kept.push(kept);
        let surplus = state.kept.len().saturating_sub(SNAPSHOTS_KEPT);
        state.kept.drain(..surplus);
        let segments_retired = self.retire(&state, wal)?;
        let bytes = history.bytes + snapshot.bytes;
        Ok(Checkpoint { seq, bytes, segments_retired, longest_hold, largest_hold })
    }

    /// Does something with the directory while no checkpoint is made, and so nothing is removed from it.
    pub(crate) fn while_pinned<R>(&self, work: impl FnOnce(&dyn Storage) -> R) -> R {
        let _state = self.state.lock();
        work(&*self.storage)
    }

    /// The digest of the state at the last entry, when no checkpoint is under way.
    pub(crate) fn digest(&self, tables: &Tables, wal: &Wal) -> (Seq, u128) {
        let _state = self.state.lock();
        digest(tables, || wal.last())
    }

    fn write(
        &self,
        cut: &Cut<'_>,
        state: &State,
        again: usize,
        wal: &Wal,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Made, CheckpointError> {
        let from = state.since(again);
        let (seq, since, epoch) = (cut.last.seq, from.seq, wal.epoch());
        let header = Header { kind: FileKind::History, uuid: wal.uuid(), seq, since, epoch };
        let snapshot_header = Header { kind: FileKind::Snapshot, since: Seq::ZERO, ..header };
        let (history_name, snapshot_name) = (names::history(seq, epoch), names::snapshot(seq));
        let mut history = self.create(&history_name, &header)?;
        let mut snapshot = self.create(&snapshot_name, &snapshot_header)?;
        let mut copier = Copier::new(cut.tables, seq, &cut.shards, from, is_stopped, &cut.holds);
        // Accounts first: until they are copied, writers set them aside.
        copier.copy_accounts(&mut snapshot).map_err(writing(&snapshot_name))?;
        copier.copy_records(&mut history, false).map_err(writing(&history_name))?;
        let withdrawals = changed_withdrawals(cut, &state.small[state.small.len() - again..]);
        copier.copy_withdrawals(&mut history, &withdrawals).map_err(writing(&history_name))?;
        let keys = copier.copy_keys(&mut history).map_err(writing(&history_name))?;
        copier.copy_locator(&mut history).map_err(writing(&history_name))?;
        let counts = copier.counts;
        let history = self.finish(history, history_name, &header)?;
        wal.wait(seq, Level::Durable)?;
        let (anchor, chain) = wal.synced();
        let mut histories = state.histories().to_vec();
        histories.truncate(histories.len() - again);
        let Written { bytes, digest, .. } = history;
        histories.push(HistoryFile { seq, since, epoch, bytes, digest, records: counts.records, keys: counts.keys });
        let meta = Meta {
            seq,
            time: cut.last.time,
            anchor,
            chain,
            shards: cut.shards.len() as u16,
            key_seed: cut.tables.keys.seed(),
            accounts: counts.accounts,
            histories,
        };
        let mut bytes = Vec::new();
        meta.encode(&mut bytes);
        snapshot.block(Kind::Meta, 0, &bytes).map_err(writing(&snapshot_name))?;
        let snapshot = self.finish(snapshot, snapshot_name, &snapshot_header)?;
        let positions = Positions { seq, history: cut.shards.iter().map(|shard| shard.history).collect(), keys };
        let kept = Kept { base: Base { seq, time: meta.time, anchor, chain, epoch }, histories: meta.histories };
        Ok(Made { history, snapshot, kept, positions, small: Small { since: from.clone(), withdrawals } })
    }

    fn create(&self, name: &str, header: &Header) -> Result<FileWriter, CheckpointError> {
        FileWriter::create(&*self.storage, name, header).map_err(io_error("creating", name))
    }

    /// Syncs a file and reads it back. What is read from the cache would prove little.
    fn finish(&self, file: FileWriter, name: String, header: &Header) -> Result<Written, CheckpointError> {
        let (bytes, digest) = file.finish().map_err(io_error("syncing", &name))?;
        let temporary = names::temporary(&name);
        let verified = FileReader::open(&*self.storage, &temporary, header.kind, header.uuid, ReadFrom::Device)
            .and_then(|reader| reader.verify().map(|()| reader.digest()));
        match verified {
            Ok(found) if found == digest => Ok(Written { name, bytes, digest }),
            Ok(_) => Err(unverified(&name, "its digest is another one".to_owned())),
            Err(err) => Err(unverified(&name, err.to_string())),
        }
    }

    /// Gives back the room that a checkpoint took which came to nothing, best effort: the next one, or the next opening,
    /// tries again.
    fn remove_temporaries(&self) {
        let names = self.storage.list().unwrap_or_default();
        for name in names.iter().filter(|name| names::is_temporary(name)) {
            let _ = self.storage.remove(name);
        }
    }

    /// Gives a file its name, for good.
    fn name(&self, file: &Written, wal: &Wal) -> Result<(), CheckpointError> {
        let temporary = names::temporary(&file.name);
        self.storage.rename(&temporary, &file.name).map_err(io_error("renaming", &temporary))?;
        self.sync_directory(wal)
    }

    /// A directory that cannot be synced may have lost names of the log's as well: nothing can be promised any more.
    fn sync_directory(&self, wal: &Wal) -> Result<(), CheckpointError> {
        let directory = self.storage.describe();
        self.storage.sync_directory().map_err(|source| {
            wal.halt(&format!("syncing {directory}: {source}"));
            io_error("syncing", &directory)(source)
        })
    }

    /// Removes what nobody needs any more: other snapshots, the history files that only they name, and the log before the
    /// older snapshot that is kept, when there are two and the log is not kept whole.
    fn retire(&self, state: &State, wal: &Wal) -> Result<u64, CheckpointError> {
        let directory = self.storage.describe();
        let is_needed = |name: &str| {
            let mut histories = state.kept.iter().flat_map(|kept| &kept.histories);
            state.kept.iter().any(|kept| names::snapshot(kept.base.seq) == name)
                || histories.any(|file| names::history(file.seq, file.epoch) == name)
        };
        let is_ours =
            |name: &str| names::snapshot_seq(name).is_some() || names::is_history(name) || names::is_temporary(name);
        let mut surplus = self.storage.list().map_err(io_error("listing", &directory))?;
        surplus.retain(|name| is_ours(name) && !is_needed(name));
        // Snapshots first: who reads the directory meanwhile, or after a power cut, then finds none without its files.
        let (snapshots, others): (Vec<_>, Vec<_>) =
            surplus.into_iter().partition(|name| names::snapshot_seq(name).is_some());
        for name in &snapshots {
            self.storage.remove(name).map_err(io_error("removing", name))?;
        }
        // Those that were removed earlier, too.
        if !others.is_empty() {
            self.sync_directory(wal)?;
        }
        for name in &others {
            self.storage.remove(name).map_err(io_error("removing", name))?;
        }
        // Else a power cut may bring back an old snapshot without the log that it needs.
        self.sync_directory(wal)?;
        let oldest = state.kept.first().filter(|_| state.kept.len() == SNAPSHOTS_KEPT && !self.keeps_log);
        match oldest {
            None => Ok(0),
            Some(kept) => {
                let retired = wal.retire(&*self.storage, &kept.base);
                retired.map_err(|(context, source)| CheckpointError::Io { context, source })
            }
        }
    }
}

fn io_error(what: &str, name: &str) -> impl FnOnce(io::Error) -> CheckpointError {
    let context = format!("{what} {name}");
    move |source| CheckpointError::Io { context, source }
}

fn writing(name: &str) -> impl FnOnce(io::Error) -> CheckpointError {
    io_error("writing", name)
}

fn unverified(name: &str, reason: String) -> CheckpointError {
    CheckpointError::Io { context: format!("reading {name} back"), source: io::Error::other(reason) }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
