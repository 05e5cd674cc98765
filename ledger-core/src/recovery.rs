//! Opening: the newest snapshot that can be read, and the log's entries after it, applied one after the other, make the
//! state.

mod load;
#[cfg(all(test, not(feature = "loom")))]
mod tests;

use std::cell::{Cell, RefCell};

use uuid::Uuid;

use crate::checkpoint::{Checkpointer, Positions, State};
use crate::error::OpenError;
use crate::journal::codec;
use crate::ledger::{Engine, LedgerTime, Origin, SHARDS_MAX, Tables};
use crate::options::Options;
use crate::sync::{Arc, thread};
use crate::sys::Storage;
use crate::types::Seq;
use crate::wal::{Record, Stamp, Start, Wal};
pub(crate) use load::{Loaded, Opened, load, load_one, snapshots};

/// What an opening found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Recovered {
    /// The last entry of the snapshot that was loaded; 0: there was none.
    pub snapshot: Seq,
    /// Snapshots that could not be read, and why. An older one and more of the log took their place.
    pub passed_over: Vec<String>,
    /// Entries of the log that were replayed.
    pub replayed: u64,
    /// Bytes of the log that were read.
    pub log_bytes: u64,
    /// Bytes behind the log that were never acknowledged, as a power cut leaves them, and where they were saved.
    pub torn: Option<(String, u64)>,
    /// Whether the ledger had been closed in good order, or is new.
    pub was_closed: bool,
}

/// What an opening is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// It loads a snapshot; once more from the beginning where the newer of two is damaged.
    Snapshot,
    /// It replays the log after it.
    Log,
}

/// How far an opening has come. The last report of a phase has all of it done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// Entries of this phase that are done; of a snapshot, by the share of its bytes that are loaded.
    pub done: u64,
    /// Entries that there are. The log's may turn out to be a few more than were said before its end.
    pub total: u64,
}

/// Entries between two reports.
const REPORT_EVERY: u64 = 1 << 16;

/// Opens the ledger on `storage`.
pub(crate) fn open(options: &Options, storage: Arc<dyn Storage>) -> Result<Engine, OpenError> {
    check(options)?;
    let mut loaded = None;
    let time = LedgerTime::new(options.clock.clone());
    let accept = |last: Stamp| {
        let is_checked = !options.accept_clock && last.seq > Seq::ZERO;
        if is_checked { time.check_against(last.time) } else { Ok(()) }
    };
    let (mut replayed, expected) = (0_u64, Cell::new(0_u64));
    let (wal, opened) = {
        let loaded = RefCell::new(&mut loaded);
        let mut begin = |log: Option<(Uuid, Seq)>| {
            let found = load(&*storage, log.map(|(uuid, _)| uuid), options)?;
            let start = found.kept.last().map_or(Start::First, |kept| Start::After(kept.base));
            expected.set(log.map_or(0, |(_, durable)| durable.get()).saturating_sub(found.positions.seq.get()));
            **loaded.borrow_mut() = Some(found);
            Ok(start)
        };
        let mut replay = |record: Record<'_>| {
            replayed += 1;
            if replayed.is_multiple_of(REPORT_EVERY) {
                let total = expected.get().max(replayed + 1);
                (options.progress)(Progress { phase: Phase::Log, done: replayed, total });
            }
            replay(&mut loaded.borrow_mut().as_mut().expect("the start was asked for").tables, &record)
        };
        Wal::open_after(Arc::clone(&storage), options.wal(), &mut begin, &mut replay, &accept)?
    };
    if replayed > 0 {
        (options.progress)(Progress { phase: Phase::Log, done: replayed, total: replayed });
    }
    let Loaded { mut tables, kept, positions, passed_over } = loaded.expect("the start was asked for");
    tables.name_ledger(opened.uuid);
    let open = tables.open_withdrawals();
    let recovered = Recovered {
        snapshot: positions.seq,
        passed_over,
        replayed,
        log_bytes: opened.log_bytes,
        torn: opened.torn.map(|torn| (torn.file, torn.bytes)),
        was_closed: opened.clean,
    };
    let checkpointer = Checkpointer::new(storage, State { kept, positions });
    let mut engine = Engine::new(options, wal, tables, time, Some(checkpointer), recovered);
    engine.go_on();
    engine.resume(open);
    Ok(engine)
}

/// How many threads load a snapshot.
fn threads(options: &Options) -> usize {
    if options.threads { thread::available_parallelism().map_or(1, usize::from) } else { 1 }
}

/// A ledger without a log.
pub(crate) fn in_memory(options: &Options) -> Result<Engine, OpenError> {
    check(options)?;
    let tables = Tables::new(options.shards);
    let time = LedgerTime::new(options.clock.clone());
    Ok(Engine::new(options, Wal::in_memory(), tables, time, None, Recovered::default()))
}

fn check(options: &Options) -> Result<(), OpenError> {
    if !(1..=SHARDS_MAX).contains(&options.shards) {
        let reason = format!("{} shards: choose 1 to {SHARDS_MAX}", options.shards);
        return Err(OpenError::InvalidOption { reason });
    }
    if options.policy.attempts_max == 0 {
        return Err(OpenError::InvalidOption { reason: "a withdrawal needs at least one attempt".into() });
    }
    Ok(())
}

fn replay(tables: &mut Tables, record: &Record<'_>) -> Result<(), String> {
    let entry = codec::decode(record.bytes)?;
    // The log's identity is known once it has been read.
    let origin = Origin { ledger: Uuid::nil(), epoch: record.epoch };
    tables.replay(&entry, origin, Stamp { seq: record.seq, time: record.time })
}

impl Loaded {
    /// The state before the first entry.
    pub(crate) fn nothing(shards: usize) -> Loaded {
        Loaded {
            tables: Tables::new(shards),
            kept: Vec::new(),
            positions: Positions::start(shards),
            passed_over: Vec::new(),
        }
    }
}
