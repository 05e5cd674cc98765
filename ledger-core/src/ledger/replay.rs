//! Replay: entries of a log are applied to the tables.
//!
//! What an entry changes and what is checked of it lies in few places: the shards of the users that it names, and the lock
//! of its key. Nothing that is checked or changed in one of them depends on another: money is checked account by account,
//! and a key by its own lock. So each can be replayed by itself, with the entries that concern it in their order, and comes
//! to the same state as if all were replayed one entry after the other. It does not where an entry is refused: one place may
//! have taken its side of it, and others what follows; tables that refused an entry are good for nothing.

use std::hint::black_box;

use smallvec::SmallVec;

use super::keys::{Keys, Settled, Unclaimed};
use super::tables::{Origin, Tables, applied, makes_transaction};
use crate::state::account::{Account, Slot};
use crate::state::apply::check_kind;
use crate::state::idempotency::{KeyRecord, KeyShard};
use crate::state::locator::Locator;
use crate::state::replayed::PlainSide;
use crate::state::shard::{Shard, TOUCHED_TOGETHER};
use crate::state::{Entry, KnownSlots};
use crate::sync::{MutexGuard, RwLockWriteGuard};
use crate::types::{Currency, IdempotencyKey, Seq, TransactionId, UserId};
use crate::wal::Stamp;
use crate::withdrawals::WithdrawalEntry;

/// An entry of a log, and what comes with it.
#[derive(Clone, Copy)]
pub(crate) struct Logged<'a> {
    pub(crate) entry: &'a Entry<'a>,
    /// The hash of its key; of no use where it has none.
    pub(crate) key_hash: u64,
    pub(crate) origin: Origin,
    pub(crate) stamp: Stamp,
}

/// The key that an entry settles, and what the key then names.
pub(crate) struct NewKey<'a> {
    pub(crate) key: IdempotencyKey<'a>,
    pub(crate) settled: Settled,
}

/// Where the accounts are that an entry names, as far as they are of one shard: for each posting.
type Known = SmallVec<[KnownSlots; 1]>;

/// All of the tables, locked.
pub(crate) struct Whole<'a> {
    tables: &'a Tables,
    shards: Vec<RwLockWriteGuard<'a, Shard>>,
    keys: Vec<MutexGuard<'a, KeyShard>>,
}

/// One shard of the tables, locked.
pub(crate) struct LockedShard<'a> {
    tables: &'a Tables,
    index: usize,
    shard: RwLockWriteGuard<'a, Shard>,
}

impl Tables {
    /// All of them. Locks them until it is dropped.
    pub(crate) fn whole(&self) -> Whole<'_> {
        Whole { tables: self, shards: self.lock_all(), keys: self.keys.lock_all() }
    }

    /// One shard. Locks it until it is dropped.
    pub(crate) fn locked_shard(&self, index: usize) -> LockedShard<'_> {
        LockedShard { tables: self, index, shard: self.shards[index].write() }
    }

    /// The accounts that an entry names, one of each shard that it concerns.
    pub(crate) fn concerned(&self, entry: &Entry<'_>) -> SmallVec<[(usize, UserId, Currency); 2]> {
        let mut concerned: SmallVec<[(usize, UserId, Currency); 2]> = SmallVec::new();
        let mut note = |user, currency| {
            let shard = self.shard_of(user);
            if concerned.iter().all(|(other, ..)| *other != shard) {
                concerned.push((shard, user, currency));
            }
        };
        match entry {
            Entry::Transaction(entry) => {
                for posting in &entry.postings {
                    posting.users().into_iter().flatten().for_each(|user| note(user, posting.currency));
                }
            }
            Entry::Withdrawal(entry) => note(entry.user, entry.currency),
        }
        concerned
    }

    /// Which shard keeps the transaction that the entry makes, if it makes one.
    pub(crate) fn home_made_by(&self, entry: &Entry<'_>) -> Option<u8> {
        match entry {
            Entry::Transaction(entry) => Some(self.home_of(entry)),
            Entry::Withdrawal(entry) => makes_transaction(entry).then(|| self.shard_of(entry.user) as u8),
        }
    }

    /// Settles keys of the lock `index`, whose records lie one after the other in `records`. With each comes its hash, and
    /// how many entries after `first` the one is that settles it. Nobody claims any key.
    ///
    /// # Errors
    /// Which of those entries does not follow from those before it, and why. The keys before it are settled.
    pub(crate) fn replay_keys(
        &self,
        index: usize,
        keys: &[(u64, u32)],
        mut records: &[u8],
        first: Seq,
    ) -> Result<(), (u32, String)> {
        self.keys.with(index, false, |shard| {
            for keys in keys.chunks(TOUCHED_TOGETHER) {
                // The misses overlap; one key after the other would wait for each.
                black_box(keys.iter().fold(0, |sum, (hash, _)| sum ^ shard.touch(shard.start(*hash))));
                for &(hash, number) in keys {
                    let record = KeyRecord::first(records).expect("each key has a record");
                    records = &records[record.bytes.len()..];
                    if shard.is_settled(hash, record.key) {
                        let key = String::from_utf8_lossy(record.key);
                        return Err((number, settled_before(&key)));
                    }
                    if !shard.restore(hash, &record, Seq::new(first.get() + u64::from(number))) {
                        return Err((number, FULL.to_owned()));
                    }
                }
            }
            Ok(())
        })
    }
}

impl Whole<'_> {
    /// Applies the next entry of the log.
    ///
    /// # Errors
    /// The entry does not follow from those before it.
    pub(crate) fn replay(&mut self, entry: &Entry<'_>, origin: Origin, stamp: Stamp) -> Result<(), String> {
        check_alone(entry, stamp.seq)?;
        let new_key = new_key(entry, stamp.seq);
        let key_hash = new_key.as_ref().map_or(0, |new| self.tables.keys.hash(new.key.as_str()));
        let logged = Logged { entry, key_hash, origin, stamp };
        let mut checked: SmallVec<[(usize, Known); 2]> = SmallVec::new();
        for (index, ..) in self.tables.concerned(entry) {
            checked.push((index, check_in(self.tables, index, &self.shards[index], &logged)?));
        }
        if let Some(NewKey { key, settled }) = new_key {
            Keys::restore(&mut self.keys[Keys::index(key_hash)], key_hash, key.as_str(), settled, stamp.seq)
                .map_err(|unclaimed| twice(key.as_str(), unclaimed))?;
        }
        for (index, known) in checked {
            apply_in(self.tables, index, &mut self.shards[index], &logged, known);
        }
        if let Some(home) = self.tables.home_made_by(entry) {
            self.tables.locator.set(stamp.seq, home);
        }
        Ok(())
    }
}

impl LockedShard<'_> {
    /// As [`Shard::find_ahead`].
    pub(crate) fn find_ahead(
        &self,
        accounts: impl Iterator<Item = (UserId, Currency)> + Clone,
    ) -> [Option<Slot>; TOUCHED_TOGETHER] {
        self.shard.find_ahead(accounts)
    }

    /// Whether so many commands more fit, whatever they are.
    pub(crate) fn has_room_for(&self, commands: usize) -> bool {
        self.shard.has_room_for(commands)
    }

    /// As [`Shard::replay_plain`].
    ///
    /// # Errors
    /// As there, or there is no room for it, which is looked at unless `has_room`.
    #[inline]
    pub(crate) fn replay_plain(
        &mut self,
        side: &PlainSide,
        known: Option<Slot>,
        seq: Seq,
        has_room: bool,
    ) -> Result<(), String> {
        // Of one side: what was accepted had room for two, before either was there.
        if !has_room && !self.shard.has_room_for_side() {
            return Err(FULL.to_owned());
        }
        self.shard.replay_plain(side, known, seq)
    }

    /// Applies what concerns this shard of an entry that [`check_alone`] found nothing wrong with.
    ///
    /// # Errors
    /// What does not follow.
    pub(crate) fn replay(&mut self, logged: &Logged<'_>) -> Result<(), String> {
        let known = check_in(self.tables, self.index, &self.shard, logged)?;
        apply_in(self.tables, self.index, &mut self.shard, logged, known);
        Ok(())
    }
}

/// Whether there can be such an entry at all, whatever the state.
///
/// # Errors
/// Why there cannot.
pub(crate) fn check_alone(entry: &Entry<'_>, seq: Seq) -> Result<(), String> {
    match entry {
        Entry::Transaction(entry) => {
            if entry.postings[0].users() == [None, None] {
                return Err("a transaction that names no user".into());
            }
            if seq.get() >= Locator::SEQ_END {
                return Err(FULL.into());
            }
            check_kind(entry)
        }
        Entry::Withdrawal(entry) => {
            if entry.id.seq() >= seq {
                return Err(not_there(entry));
            }
            if seq >= Account::SEQ_END || makes_transaction(entry) && seq.get() >= Locator::SEQ_END {
                return Err(FULL.into());
            }
            Ok(())
        }
    }
}

/// The key that the entry `seq` settles.
pub(crate) fn new_key<'a>(entry: &Entry<'a>, seq: Seq) -> Option<NewKey<'a>> {
    let (key, fingerprint, id) = match entry {
        Entry::Transaction(entry) => (entry.key, entry.fingerprint, seq.get()),
        Entry::Withdrawal(entry) => {
            let (key, fingerprint) = entry.command?;
            (key, fingerprint, entry.id.get())
        }
    };
    let id = TransactionId::new(id).expect("the first seq is 1");
    Some(NewKey { key, settled: Settled { id, fingerprint: fingerprint.get() as u64 } })
}

/// Whether what the entry says of the shard `index` follows. Says where the accounts are.
fn check_in(tables: &Tables, index: usize, shard: &Shard, logged: &Logged<'_>) -> Result<Known, String> {
    match logged.entry {
        Entry::Transaction(entry) => {
            let mut known = Known::new();
            for posting in &entry.postings {
                let [debit, credit] = posting.users().map(|user| user.filter(|user| tables.shard_of(*user) == index));
                let find = |user: Option<UserId>| user.and_then(|user| shard.slot(user, posting.currency));
                let [debited, credited] = [find(debit), find(credit)];
                if (debit.is_some() || credit.is_some()) && !shard.has_room_for(entry.postings.len()) {
                    return Err(FULL.into());
                }
                if let Some(user) = debit {
                    shard.check_debit(posting.amount.minor(), user, debited, logged.stamp.time)?;
                }
                if let Some(user) = credit {
                    shard.check_credit(posting.amount.minor(), user, credited)?;
                }
                known.push([debited, credited]);
            }
            Ok(known)
        }
        Entry::Withdrawal(entry) => {
            // By its user, whose shard has it: where the id says it is may not be known yet.
            if !shard.withdrawals.contains_key(&entry.id) {
                return Err(not_there(entry));
            }
            shard.check_withdrawal(entry).map(|()| Known::new())
        }
    }
}

/// Does what the entry says to the shard `index`.
fn apply_in(tables: &Tables, index: usize, shard: &mut Shard, logged: &Logged<'_>, known: Known) {
    let Logged { entry, key_hash, origin, stamp } = *logged;
    match entry {
        Entry::Transaction(entry) => {
            let (_, applied) = applied(origin, stamp, key_hash);
            for (posting, [debited, credited]) in entry.postings.iter().zip(known) {
                let [debit, credit] = posting.users().map(|user| user.filter(|user| tables.shard_of(*user) == index));
                if let Some(user) = debit {
                    shard.debit(entry, posting, user, debited, &applied);
                }
                if let Some(user) = credit {
                    shard.credit(entry, posting, user, credited, &applied);
                }
            }
        }
        Entry::Withdrawal(entry) => shard.apply_withdrawal(entry, stamp.seq, stamp.time),
    }
}

fn not_there(entry: &WithdrawalEntry<'_>) -> String {
    format!("an entry about withdrawal {}, which is not there or another user's than {}'s", entry.id, entry.user)
}

/// Why an entry is not taken where the running ledger would say [`Overloaded`](crate::Rejection::Overloaded).
const FULL: &str = "more transactions than the tables hold; open the ledger with more shards";

/// Why a key of the log cannot be taken.
fn twice(key: &str, unclaimed: Unclaimed) -> String {
    match unclaimed {
        Unclaimed::Settled(_) => settled_before(key),
        Unclaimed::Full => FULL.into(),
    }
}

fn settled_before(key: &str) -> String {
    format!("the idempotency key {key:?} names an earlier transaction")
}
