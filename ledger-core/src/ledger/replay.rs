//! Replay: entries of a log are applied to the tables, or by several threads each to a part of them.
//!
//! A thread takes every entry, in order, and does of it what concerns its own shards and its own locks of keys. Nothing
//! that is checked or changed there depends on another part: money is checked account by account, and a key by its own
//! lock. So the parts come to the same state as one thread does. They do not where an entry is refused: one part may
//! have done its side of it, and others what follows; tables that refused an entry are good for nothing.

use std::hint::black_box;

use smallvec::SmallVec;

use super::keys::{Keys, Settled, Unclaimed};
use super::tables::{Origin, Tables, applied, makes_transaction};
use crate::state::account::Account;
use crate::state::apply::check_kind;
use crate::state::idempotency::KeyShard;
use crate::state::locator::Locator;
use crate::state::shard::{FoundAhead, Shard, TOUCHED_TOGETHER, find_ahead};
use crate::state::{Entry, KnownSlots, TransactionEntry};
use crate::sync::{MutexGuard, RwLockWriteGuard};
use crate::types::{IdempotencyKey, Seq, UserId};
use crate::wal::Stamp;
use crate::withdrawals::WithdrawalEntry;

/// How many entries [`Part::replay_together`] is given at a time.
pub(crate) const REPLAYED_TOGETHER: usize = TOUCHED_TOGETHER;

/// A part of the tables, locked: every `of`th shard and every `of`th lock of keys.
pub(crate) struct Part<'a> {
    tables: &'a Tables,
    index: usize,
    of: usize,
    shards: Vec<RwLockWriteGuard<'a, Shard>>,
    keys: Vec<MutexGuard<'a, KeyShard>>,
}

impl Tables {
    /// The part `index` of `of`. Locks it until it is dropped.
    pub(crate) fn part(&self, index: usize, of: usize) -> Part<'_> {
        Part {
            tables: self,
            index,
            of,
            shards: self.shards.iter().skip(index).step_by(of).map(|shard| shard.write()).collect(),
            keys: self.keys.lock_every(index, of),
        }
    }

    /// All of them. Locks them until it is dropped.
    pub(crate) fn whole(&self) -> Part<'_> {
        self.part(0, 1)
    }
}

impl Part<'_> {
    /// Applies what concerns this part of the next entries of the log, at most [`REPLAYED_TOGETHER`]: what they need
    /// is touched before, so that the cache misses overlap.
    ///
    /// # Errors
    /// Which entry does not follow from those before it, and why. Those before it are applied.
    pub(crate) fn replay_together(&mut self, entries: &[(Entry<'_>, Origin, Stamp)]) -> Result<(), (usize, String)> {
        let (hashes, found) = self.find_ahead(entries);
        let mut found = found.into_iter();
        for (index, (entry, origin, stamp)) in entries.iter().enumerate() {
            match entry {
                Entry::Transaction(entry) => {
                    let users = entry.postings[0].users();
                    let known = users.map(|user| self.shard_with(user).and_then(|_| found.next().flatten()));
                    self.replay_transaction(entry, hashes[index], known, *origin, *stamp)
                }
                Entry::Withdrawal(entry) => self.replay_withdrawal(entry, *stamp),
            }
            .map_err(|reason| (index, reason))?;
        }
        Ok(())
    }

    /// Applies what concerns this part of the next entry of the log.
    ///
    /// # Errors
    /// The entry does not follow from those before it.
    pub(crate) fn replay(&mut self, entry: &Entry<'_>, origin: Origin, stamp: Stamp) -> Result<(), String> {
        match entry {
            Entry::Transaction(entry) => {
                let key_hash = self.tables.keys.hash(entry.key.as_str());
                self.replay_transaction(entry, key_hash, [None; 2], origin, stamp)
            }
            Entry::Withdrawal(entry) => self.replay_withdrawal(entry, stamp),
        }
    }

    /// The hashes of the transactions' keys (of an entry about a withdrawal there is none), and the accounts of their first
    /// postings, as far as they are of this part.
    fn find_ahead(&self, entries: &[(Entry<'_>, Origin, Stamp)]) -> (SmallVec<[u64; TOUCHED_TOGETHER]>, FoundAhead) {
        let mut hashes = SmallVec::new();
        let mut accounts: SmallVec<[_; 2 * TOUCHED_TOGETHER]> = SmallVec::new();
        let mut touched = 0;
        for (entry, ..) in entries {
            let Entry::Transaction(entry) = entry else {
                hashes.push(0);
                continue;
            };
            let hash = self.tables.keys.hash(entry.key.as_str());
            hashes.push(hash);
            let lock = Keys::index(hash);
            if lock % self.of == self.index {
                touched ^= self.keys[lock / self.of].touch(hash);
            }
            let posting = &entry.postings[0];
            for user in posting.users().into_iter().flatten() {
                let shard = self.tables.shard_of(user);
                if shard % self.of == self.index {
                    accounts.push((&*self.shards[shard / self.of], user, posting.currency));
                }
            }
        }
        black_box(touched);
        (hashes, find_ahead(&accounts))
    }

    /// The shard `index`, if it is of this part.
    fn shard(&mut self, index: usize) -> Option<&mut Shard> {
        (index % self.of == self.index).then(|| &mut *self.shards[index / self.of])
    }

    /// The shard with the user's accounts, if there is a user and it is of this part.
    fn shard_with(&mut self, user: Option<UserId>) -> Option<(&mut Shard, UserId)> {
        let user = user?;
        Some((self.shard(self.tables.shard_of(user))?, user))
    }

    /// `known` says where the accounts of the first posting are, as far as that is known.
    fn replay_transaction(
        &mut self,
        entry: &TransactionEntry<'_>,
        key_hash: u64,
        known: KnownSlots,
        origin: Origin,
        stamp: Stamp,
    ) -> Result<(), String> {
        let posting = &entry.postings[0];
        if posting.debit.user().or(posting.credit.user()).is_none() {
            return Err("a transaction that names no user".into());
        }
        if stamp.seq.get() >= Locator::SEQ_END {
            return Err(FULL.into());
        }
        let tables = self.tables;
        let (id, applied) = applied(origin, stamp, key_hash);
        let settled = Settled { id, fingerprint: entry.fingerprint.get() as u64 };
        check_kind(entry)?;
        let mut slots: SmallVec<[KnownSlots; 1]> = SmallVec::from_buf([known]);
        if entry.postings.len() > 1 {
            slots.resize(entry.postings.len(), [None; 2]);
        }
        for (posting, [debited, credited]) in entry.postings.iter().zip(&mut slots) {
            let [debit, credit] = posting.users();
            if let Some((shard, user)) = self.shard_with(debit) {
                check_room(shard, entry)?;
                *debited = debited.or_else(|| shard.slot(user, posting.currency));
                shard.check_debit(posting, user, *debited, stamp.time)?;
            }
            if let Some((shard, user)) = self.shard_with(credit) {
                check_room(shard, entry)?;
                *credited = credited.or_else(|| shard.slot(user, posting.currency));
                shard.check_credit(posting, user, *credited)?;
            }
        }
        self.settle(entry.key, key_hash, settled, stamp.seq)?;
        for (posting, [debited, credited]) in entry.postings.iter().zip(slots) {
            let [debit, credit] = posting.users();
            if let Some((shard, user)) = self.shard_with(debit) {
                shard.debit(entry, posting, user, debited, &applied);
            }
            if let Some((shard, user)) = self.shard_with(credit) {
                shard.credit(entry, posting, user, credited, &applied);
            }
        }
        let home = tables.home_of(entry);
        if self.shard(home.into()).is_some() {
            tables.locator.set(stamp.seq, home);
        }
        Ok(())
    }

    /// Settles a key, if its lock is of this part.
    fn settle(&mut self, key: IdempotencyKey<'_>, hash: u64, settled: Settled, seq: Seq) -> Result<(), String> {
        let index = Keys::index(hash);
        if index % self.of != self.index {
            return Ok(());
        }
        let key = key.as_str();
        Keys::restore(&mut self.keys[index / self.of], hash, key, settled, seq)
            .map_err(|unclaimed| twice(key, unclaimed))
    }

    fn replay_withdrawal(&mut self, entry: &WithdrawalEntry<'_>, stamp: Stamp) -> Result<(), String> {
        // By its user, whose shard has it: where the id says it is may not be known yet, if another thread tells it.
        let home = self.tables.shard_of(entry.user);
        if let Some(shard) = self.shard(home) {
            if !shard.withdrawals.contains_key(&entry.id) {
                return Err(format!(
                    "an entry about withdrawal {}, which is not there or another user's than {}'s",
                    entry.id, entry.user
                ));
            }
            shard.check_withdrawal(entry)?;
        }
        if stamp.seq >= Account::SEQ_END || makes_transaction(entry) && stamp.seq.get() >= Locator::SEQ_END {
            return Err(FULL.into());
        }
        if let Some((key, fingerprint)) = entry.command {
            let settled = Settled { id: entry.id, fingerprint: fingerprint.get() as u64 };
            self.settle(key, self.tables.keys.hash(key.as_str()), settled, stamp.seq)?;
        }
        if let Some(shard) = self.shard(home) {
            shard.apply_withdrawal(entry, stamp.seq, stamp.time);
            if makes_transaction(entry) {
                self.tables.locator.set(stamp.seq, home as u8);
            }
        }
        Ok(())
    }
}

/// Whether the shard has room for what the entry says.
fn check_room(shard: &Shard, entry: &TransactionEntry<'_>) -> Result<(), String> {
    if shard.has_room_for(entry.postings.len()) { Ok(()) } else { Err(FULL.into()) }
}

/// Why an entry is not taken where the running ledger would say [`Overloaded`](crate::Rejection::Overloaded).
const FULL: &str = "more transactions than the tables hold; open the ledger with more shards";

/// Why a key of the log cannot be taken.
fn twice(key: &str, unclaimed: Unclaimed) -> String {
    match unclaimed {
        Unclaimed::Settled(_) => format!("the idempotency key {key:?} names an earlier transaction"),
        Unclaimed::Full => FULL.into(),
    }
}
