//! Opening: the newest snapshot that can be read, and the log's entries after it, applied one after the other, make the
//! state.

mod load;
mod replay;
#[cfg(all(test, not(feature = "loom")))]
mod tests;

use std::cell::{Cell, RefCell};

use uuid::Uuid;

use crate::backup;
use crate::checkpoint::{Checkpointer, Kept, Positions, State};
use crate::error::OpenError;
use crate::ledger::{Engine, LedgerTime, SHARDS_MAX, Tables};
use crate::options::Options;
use crate::sync::{Arc, thread};
use crate::sys::Storage;
use crate::types::Seq;
use crate::wal::{self, Record, Stamp, Start, Wal};
use crate::withdrawals::Policy;
pub(crate) use load::{Loaded, Opened, load, load_one, mark_is_missing, snapshots};
use replay::Replay;

/// What an opening found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Recovered {
    /// The last entry of the snapshot that was loaded; 0: there was none.
    pub snapshot: Seq,
    /// Snapshots that could not be read, and why. An older one and more of the log took their place.
    pub passed_over: Vec<String>,
    /// Why nothing could take the place of the snapshot that was loaded, were it damaged, though there is an older one: its log is
    /// gone, or it cannot be read. The next checkpoint mends that.
    pub unbacked: Option<String>,
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
    let replay = RefCell::new(None::<Replay>);
    // What was read and is not yet applied.
    let settle = || replay.borrow_mut().as_mut().map_or(Ok(()), Replay::settle);
    let time = LedgerTime::new(options.clock.clone());
    let accept = |last: Stamp| {
        settle()?;
        let is_checked = !options.accept_clock && last.seq > Seq::ZERO;
        if is_checked { time.check_against(last.time) } else { Ok(()) }
    };
    let (mut replayed, expected) = (0_u64, Cell::new(0_u64));
    let opened = {
        let mut begin = |log: Option<(Uuid, Seq)>| {
            // Now that nobody else can begin to fill it.
            if !options.finishes {
                backup::check_may_go_on(&*storage)?;
            }
            let Loaded { tables, kept, positions, small, passed_over } =
                load(&*storage, log.map(|(uuid, _)| uuid), options)?;
            let start = kept.last().map_or(Start::First, |kept| Start::After(kept.base));
            expected.set(log.map_or(0, |(_, durable)| durable.get()).saturating_sub(positions.seq.get()));
            *replay.borrow_mut() = Some(Replay::new(tables, threads(options), expected.get()));
            loaded = Some((unbacked(&*storage, &kept)?, State { kept, positions, small }, passed_over));
            Ok(start)
        };
        let mut take = |record: Record<'_>| {
            replayed += 1;
            if replayed.is_multiple_of(REPORT_EVERY) {
                let total = expected.get().max(replayed + 1);
                (options.progress)(Progress { phase: Phase::Log, done: replayed, total });
            }
            replay.borrow_mut().as_mut().expect("the start was asked for").take(&record)
        };
        Wal::open_after(Arc::clone(&storage), options.wal(), &mut begin, &mut take, &accept)
    };
    // What a record says comes before what is wrong behind it.
    let (wal, opened) = opened.or_else(|err| settle().and(Err(err)))?;
    if replayed > 0 {
        (options.progress)(Progress { phase: Phase::Log, done: replayed, total: replayed });
    }
    let (unbacked, state, passed_over) = loaded.expect("the start was asked for");
    let mut tables = replay.into_inner().expect("the start was asked for").into_tables();
    tables.name_ledger(opened.uuid);
    let open = tables.open_withdrawals();
    let recovered = Recovered {
        snapshot: state.positions.seq,
        passed_over,
        unbacked,
        replayed,
        log_bytes: opened.log_bytes,
        torn: opened.torn.map(|torn| (torn.file, torn.bytes)),
        was_closed: opened.clean,
    };
    let checkpointer = Checkpointer::new(storage, options, state);
    let mut engine = Engine::new(options, wal, tables, time, Some(checkpointer), recovered);
    engine.go_on();
    engine.resume(open);
    Ok(engine)
}

/// See [`Recovered::unbacked`], of the snapshots that can be relied on, of which the last was loaded.
fn unbacked(storage: &dyn Storage, kept: &[Kept]) -> Result<Option<String>, OpenError> {
    let Some(loaded) = kept.last() else { return Ok(None) };
    let Some(older) = snapshots(storage)?.into_iter().find(|seq| *seq < loaded.base.seq) else { return Ok(None) };
    let before = kept.iter().rev().nth(1);
    if let Some(before) = before
        && wal::leads_on(storage, Some(&before.base))?
    {
        return Ok(None);
    }
    if wal::leads_on(storage, None)? {
        return Ok(None);
    }
    Ok(Some(match before {
        Some(before) => {
            format!("the log that leads on from the snapshot at seq {} is not there any more", before.base.seq)
        }
        None => format!("the snapshot at seq {older} cannot be read"),
    }))
}

/// How many threads load a snapshot, and replay the log.
fn threads(options: &Options) -> usize {
    if options.threads { thread::available_parallelism().map_or(1, usize::from) } else { 1 }
}

/// A ledger without a log.
pub(crate) fn in_memory(options: &Options) -> Result<Engine, OpenError> {
    check(options)?;
    let tables = first_tables(options);
    let time = LedgerTime::new(options.clock.clone());
    Ok(Engine::new(options, Wal::in_memory(), tables, time, None, Recovered::default()))
}

/// The tables of a ledger without an entry.
fn first_tables(options: &Options) -> Tables {
    #[cfg(any(test, feature = "sim"))]
    if let Some(seed) = options.key_seed {
        return Tables::seeded(options.shards, seed);
    }
    Tables::new(options.shards)
}

fn check(options: &Options) -> Result<(), OpenError> {
    if !(1..=SHARDS_MAX).contains(&options.shards) {
        let reason = format!("{} shards: choose 1 to {SHARDS_MAX}", options.shards);
        return Err(OpenError::InvalidOption { reason });
    }
    let attempts_max = options.policy.attempts_max;
    if !(1..=Policy::ATTEMPTS_MAX).contains(&attempts_max) {
        let reason = format!(
            "{attempts_max} attempts of a withdrawal: choose 1 to {}, and a longer wait between them where they are to last",
            Policy::ATTEMPTS_MAX
        );
        return Err(OpenError::InvalidOption { reason });
    }
    Ok(())
}

impl Loaded {
    /// The state before the first entry.
    pub(crate) fn nothing(options: &Options) -> Loaded {
        Loaded {
            tables: first_tables(options),
            kept: Vec::new(),
            positions: Positions::start(options.shards),
            small: Vec::new(),
            passed_over: Vec::new(),
        }
    }
}
