//! A digest of the whole state, the same for equal states however they came to be: replayed, loaded, or lived through.

use std::io;

use xxhash_rust::xxh3::Xxh3;

use super::copy::{Copier, Positions};
use super::hold::LongestHold;
use crate::journal::snapshot::{Kind, Sink};
use crate::ledger::Tables;
use crate::state::cut::ShardCut;
use crate::state::idempotency::KeyRecord;
use crate::types::Seq;
use crate::wal::Stamp;

/// The blocks of a snapshot, digested instead of written; keys are gathered, since their shards depend on a seed.
#[derive(Default)]
struct Digest {
    hasher: Xxh3,
    keys: Vec<u8>,
}

impl Sink for Digest {
    fn block(&mut self, kind: Kind, shard: u16, payload: &[u8]) -> io::Result<()> {
        if kind == Kind::Keys {
            self.keys.extend_from_slice(payload);
            return Ok(());
        }
        self.hasher.update(&(kind as u16).to_le_bytes());
        self.hasher.update(&shard.to_le_bytes());
        self.hasher.update(&(payload.len() as u64).to_le_bytes());
        self.hasher.update(payload);
        Ok(())
    }
}

impl Digest {
    fn finish(mut self) -> u128 {
        let mut keys = Vec::new();
        let mut rest = &self.keys[..];
        while let Some(key) = KeyRecord::first(rest) {
            keys.push(key);
            rest = &rest[key.bytes.len()..];
        }
        keys.sort_unstable_by_key(|key| (key.id, key.key));
        keys.iter().for_each(|key| self.hasher.update(key.bytes));
        self.hasher.digest128()
    }
}

/// The digest of what the tables hold. `last` is asked for their last entry with all of them locked; holds are folded at its
/// time. Only one at a time, and no checkpoint meanwhile.
pub(crate) fn digest(tables: &Tables, last: impl FnOnce() -> Stamp) -> (Seq, u128) {
    let (last, shards) = {
        let mut shards = tables.lock_all();
        let last = last();
        let cut = |shard: &mut crate::state::shard::Shard| {
            let changed = shard.begin_cut(last.seq, last.time, Seq::ZERO);
            (changed, shard.withdrawal_ids())
        };
        (last, shards.iter_mut().map(|shard| cut(shard)).collect::<Vec<_>>())
    };
    let (cuts, withdrawals): (Vec<ShardCut>, Vec<_>) = shards.into_iter().unzip();
    let since = Positions::start(cuts.len());
    let (is_stopped, holds) = (|| false, LongestHold::default());
    let mut copier = Copier::new(tables, last.seq, &cuts, &since, &is_stopped, &holds);
    let mut digest = Digest::default();
    let copied = copier
        .copy_accounts(&mut digest)
        .and_then(|()| copier.copy_records(&mut digest, true))
        .and_then(|()| copier.copy_withdrawals(&mut digest, &withdrawals))
        .and_then(|()| copier.copy_keys(&mut digest))
        .and_then(|_| copier.copy_locator(&mut digest));
    copied.expect("memory takes everything, and nobody stops it");
    for (shard, cut) in tables.shards.iter().zip(cuts) {
        let ended = shard.write().end_cut(cut.withdrawals);
        drop(ended);
    }
    (last.seq, digest.finish())
}
