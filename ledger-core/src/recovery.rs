//! Opening: the log's entries, applied one after the other, make the state.

use uuid::Uuid;

use crate::error::OpenError;
use crate::journal::codec;
use crate::ledger::{Engine, LedgerTime, Origin, SHARDS_MAX, Tables};
use crate::options::Options;
use crate::sync::Arc;
use crate::sys::Storage;
use crate::types::Seq;
use crate::wal::{Record, Stamp, Wal};

/// Opens the log on `storage` and replays it.
pub(crate) fn open(options: &Options, storage: Arc<dyn Storage>) -> Result<Engine, OpenError> {
    check(options)?;
    let mut tables = Tables::new(options.shards);
    let time = LedgerTime::new(options.clock.clone());
    let accept = |last: Stamp| {
        let is_checked = !options.accept_clock && last.seq > Seq::ZERO;
        if is_checked { time.check_against(last.time) } else { Ok(()) }
    };
    let (wal, opened) = Wal::open(storage, options.wal(), &mut |record| replay(&mut tables, &record), &accept)?;
    tables.name_ledger(opened.uuid);
    let open = tables.open_withdrawals();
    let mut engine = Engine::new(options, wal, tables, time);
    engine.go_on();
    engine.resume(open);
    Ok(engine)
}

/// A ledger without a log.
pub(crate) fn in_memory(options: &Options) -> Result<Engine, OpenError> {
    check(options)?;
    let tables = Tables::new(options.shards);
    Ok(Engine::new(options, Wal::in_memory(), tables, LedgerTime::new(options.clock.clone())))
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
