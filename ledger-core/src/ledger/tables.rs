//! The state of the whole ledger: shards, keys and the locator of transactions, and how an entry is dealt out to them.
//! [`super::replay`] does it with entries of a log.

use std::hash::BuildHasher;

use foldhash::quality::RandomState;
use smallvec::SmallVec;
use uuid::Uuid;

use super::engine::SHARDS_MAX;
use super::keys::Keys;
use crate::ahead;
use crate::state::account::{PlainParts, Slot};
use crate::state::apply::Applied;
use crate::state::audit;
use crate::state::locator::Locator;
use crate::state::plain::PlainMovement;
use crate::state::plan::Movement;
use crate::state::shard::{Shard, TOUCHED_TOGETHER};
use crate::state::{KnownSlots, TransactionEntry};
use crate::sync::{CachePadded, RwLock, RwLockReadGuard, RwLockWriteGuard};
use crate::types::{Epoch, Seq, Timestamp, TransactionId, UserId};
use crate::view::{CurrencyAudit, Memory};
use crate::wal::Stamp;
use crate::withdrawals::{BankReference, Event, ReturnCredit, Withdrawal, WithdrawalEntry};

/// How often shards are tried before somebody sleeps until they are free. A model checker's threads are not free meanwhile.
const TRIES: usize = if cfg!(any(feature = "shuttle", feature = "loom")) { 1 } else { 100 };

/// The state of the whole ledger.
pub(crate) struct Tables {
    pub(crate) shards: Box<[CachePadded<RwLock<Shard>>]>,
    pub(crate) keys: Keys,
    pub(crate) locator: Locator,
}

/// Locked shards that nobody changes, in rising order of their index.
pub(super) struct SeenShards<'a> {
    indexes: SmallVec<[usize; TOUCHED_TOGETHER]>,
    guards: SmallVec<[RwLockReadGuard<'a, Shard>; TOUCHED_TOGETHER]>,
}

impl SeenShards<'_> {
    pub(super) fn get(&self, index: usize) -> &Shard {
        &self.guards[self.indexes.binary_search(&index).expect("the shard was locked for this")]
    }
}

/// Some of the shards, by their index.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct ShardSet(u128);

const _: () = assert!(SHARDS_MAX <= u128::BITS as usize, "a shard is a bit");

impl ShardSet {
    fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The indexes, rising.
    fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let index = (left != 0).then(|| left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(index)
        })
    }
}

impl FromIterator<usize> for ShardSet {
    fn from_iter<I: IntoIterator<Item = usize>>(indexes: I) -> ShardSet {
        ShardSet(indexes.into_iter().fold(0, |set, index| set | 1 << index))
    }
}

/// Locked shards, in rising order of their index. The only way to hold more than one and change them.
pub(super) struct LockedShards<'a> {
    guards: SmallVec<[(usize, RwLockWriteGuard<'a, Shard>); 2]>,
    /// Where each is among the guards, if there are more than two: to search for it takes longer.
    places: Option<Box<[u8; SHARDS_MAX]>>,
}

impl<'a> LockedShards<'a> {
    fn new(guards: SmallVec<[(usize, RwLockWriteGuard<'a, Shard>); 2]>) -> LockedShards<'a> {
        let places = (guards.len() > 2).then(|| {
            let mut places = Box::new([0; SHARDS_MAX]);
            guards.iter().enumerate().for_each(|(place, (index, _))| places[*index] = place as u8);
            places
        });
        LockedShards { guards, places }
    }

    pub(super) fn get(&self, index: usize) -> &Shard {
        &self.guards[self.position(index)].1
    }

    pub(super) fn get_mut(&mut self, index: usize) -> &mut Shard {
        let position = self.position(index);
        &mut self.guards[position].1
    }

    /// Which of those that are locked it is: to be asked once for what is done to it more than once.
    #[inline]
    pub(super) fn place_of(&self, index: usize) -> ShardPlace {
        ShardPlace(self.position(index))
    }

    #[inline]
    pub(super) fn at(&self, place: ShardPlace) -> &Shard {
        &self.guards[place.0].1
    }

    /// As [`LockedShards::at`] with its index, to change it.
    #[inline]
    pub(super) fn at_mut(&mut self, place: ShardPlace) -> (usize, &mut Shard) {
        let (index, guard) = &mut self.guards[place.0];
        (*index, guard)
    }

    /// The one that is locked, if it is alone.
    pub(super) fn sole(&self) -> Option<&Shard> {
        match &self.guards[..] {
            [(_, guard)] => Some(guard),
            _ => None,
        }
    }

    /// As [`LockedShards::sole`] with its index, to change it.
    pub(super) fn sole_mut(&mut self) -> Option<(usize, &mut Shard)> {
        match &mut self.guards[..] {
            [(index, guard)] => Some((*index, guard)),
            _ => None,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Shard> {
        self.guards.iter().map(|(_, guard)| &**guard)
    }

    /// The planted bug: lets others in between a plan and its append.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn unlock_and_lock(&mut self, tables: &'a Tables) {
        let shards = self.guards.drain(..).map(|(index, _)| index).collect();
        *self = tables.lock(shards);
    }

    #[inline]
    fn position(&self, index: usize) -> usize {
        let position = match &self.places {
            Some(places) => usize::from(places[index]),
            None => usize::from(self.guards[0].0 != index),
        };
        assert!(self.guards[position].0 == index, "the shard {index} was locked for this");
        position
    }
}

/// Which one of some locked shards.
#[derive(Clone, Copy)]
pub(super) struct ShardPlace(usize);

/// Which ledger an entry belongs to, and which of its openings wrote it.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) ledger: Uuid,
    pub(crate) epoch: Epoch,
}

impl Tables {
    pub(crate) fn new(shards: usize) -> Tables {
        Tables::seeded(shards, RandomState::default().hash_one(0))
    }

    /// With the keys' hashes seeded as they were in an earlier process.
    pub(crate) fn seeded(shards: usize, key_seed: u64) -> Tables {
        let hasher = RandomState::default();
        let shard = || CachePadded::new(RwLock::new(Shard::new(hasher.clone())));
        Tables { shards: (0..shards).map(|_| shard()).collect(), keys: Keys::new(key_seed), locator: Locator::new() }
    }

    /// Which shard a user's accounts are in.
    pub(crate) fn shard_of(&self, user: UserId) -> usize {
        shard_among(self.shards.len(), user)
    }

    /// Locks the shards.
    pub(super) fn lock(&self, shards: ShardSet) -> LockedShards<'_> {
        LockedShards::new(shards.iter().map(|index| (index, self.shards[index].write())).collect())
    }

    /// As [`Tables::lock`], trying for some tens of microseconds before it sleeps: who holds shards for a batch gives them back by
    /// then, and to be woken takes longer.
    pub(super) fn lock_soon(&self, shards: ShardSet) -> LockedShards<'_> {
        for _ in 0..TRIES {
            if let Some(locked) = self.try_lock(shards) {
                return locked;
            }
            (0..64).for_each(|_| std::hint::spin_loop());
        }
        self.lock(shards)
    }

    /// As [`Tables::lock`], if none of them is locked.
    pub(super) fn try_lock(&self, shards: ShardSet) -> Option<LockedShards<'_>> {
        let mut guards = SmallVec::with_capacity(shards.len());
        for index in shards.iter() {
            guards.push((index, self.shards[index].try_write()?));
        }
        Some(LockedShards::new(guards))
    }

    /// Locks the shards `sorted` for a look at them, each once.
    pub(super) fn lock_each(&self, sorted: impl Iterator<Item = usize>) -> SeenShards<'_> {
        let mut indexes: SmallVec<[usize; TOUCHED_TOGETHER]> = SmallVec::new();
        for index in sorted {
            debug_assert!(indexes.last().is_none_or(|last| *last <= index), "rising, as everybody locks several");
            if indexes.last() != Some(&index) {
                indexes.push(index);
            }
        }
        SeenShards { guards: indexes.iter().map(|&index| self.shards[index].read()).collect(), indexes }
    }

    /// The shards of the users whom a movement names.
    pub(super) fn shards_of(&self, movement: &Movement) -> impl Iterator<Item = usize> + use<'_> {
        movement.debit.into_iter().chain(movement.credit).map(|user| self.shard_of(user))
    }

    /// Locks the shards of the users whom a movement names.
    #[inline]
    pub(super) fn lock_for(&self, movement: &Movement) -> LockedShards<'_> {
        let shard = |user: Option<UserId>| user.map(|user| self.shard_of(user));
        let (first, second) = match (shard(movement.debit), shard(movement.credit)) {
            (Some(debit), Some(credit)) if debit != credit => (Some(debit.min(credit)), Some(debit.max(credit))),
            (debit, credit) => (debit.or(credit), None),
        };
        let mut guards = SmallVec::new();
        for index in [first, second].into_iter().flatten() {
            guards.push((index, self.shards[index].write()));
        }
        LockedShards { guards, places: None }
    }

    /// Locks all shards, for an instant.
    pub(crate) fn lock_all(&self) -> Vec<RwLockWriteGuard<'_, Shard>> {
        self.shards.iter().map(|shard| shard.write()).collect()
    }

    /// Locks the shard in which `user`'s accounts are, for a look at it.
    pub(super) fn shard(&self, user: UserId) -> RwLockReadGuard<'_, Shard> {
        self.shards[self.shard_of(user)].read()
    }

    /// Locks the shard with the source user's view of the transaction, for a look at it.
    pub(super) fn home(&self, id: TransactionId) -> Option<RwLockReadGuard<'_, Shard>> {
        Some(self.shards[usize::from(self.locator.get(id.seq())?)].read())
    }

    /// As [`Tables::home`], to change it.
    pub(super) fn home_mut(&self, id: TransactionId) -> Option<RwLockWriteGuard<'_, Shard>> {
        Some(self.shards[usize::from(self.locator.get(id.seq())?)].write())
    }

    /// The shard with the source user's view of the transaction (of a charge, the credited user's).
    pub(super) fn home_of(&self, entry: &TransactionEntry<'_>) -> u8 {
        self.shard_of(entry.viewer()) as u8
    }

    /// Applies a transaction's entry to the locked shards and makes it findable by its id. `known` says where the accounts
    /// of its first posting are. Returns where the viewer's account is, too.
    #[inline]
    pub(super) fn apply(
        &self,
        shards: &mut LockedShards<'_>,
        entry: &TransactionEntry<'_>,
        known: KnownSlots,
        origin: Origin,
        stamp: Stamp,
        key_hash: u64,
    ) -> (TransactionId, Slot) {
        let (id, applied) = applied(origin, stamp, key_hash);
        let (mut viewers, mut known) = (None, known);
        for posting in &entry.postings {
            let known = std::mem::take(&mut known);
            let [debit, credit] = posting.users();
            if let Some(user) = debit {
                let shard = shards.get_mut(self.shard_of(user));
                let slot = shard.debit(entry, posting, user, known[0], &applied);
                viewers.get_or_insert(slot);
            }
            if let Some(user) = credit {
                let shard = shards.get_mut(self.shard_of(user));
                let slot = shard.credit(entry, posting, user, known[1], &applied);
                viewers.get_or_insert(slot);
            }
        }
        self.locator.set(stamp.seq, self.home_of(entry));
        (id, viewers.expect("a transaction names at least one user"))
    }

    /// As [`Tables::apply`], of a plain movement between the accounts at `slots`. Returns the parts of the viewer's account.
    #[inline]
    pub(super) fn apply_plain(
        &self,
        shards: &mut LockedShards<'_>,
        movement: &Movement,
        slots: KnownSlots,
        stamp: Stamp,
        key_hash: u64,
    ) -> (TransactionId, PlainParts) {
        let Movement { currency, amount, debit, credit, .. } = *movement;
        let (id, at) = (transaction_of(stamp.seq), stamp.time);
        let plain = PlainMovement { id, at, currency, amount, key_hash };
        let (home, parts) = match (debit.zip(slots[0]), credit.zip(slots[1])) {
            (None, Some((to, slot))) => {
                let home = self.shard_of(to);
                (home, shards.get_mut(home).credit_plain(slot, &plain, None))
            }
            (Some((from, paying)), Some((to, slot))) => {
                // First who pays, as replay does it: of two records in one shard his is found by the id.
                let home = self.shard_of(from);
                let parts = shards.get_mut(home).debit_plain(paying, &plain, to);
                shards.get_mut(self.shard_of(to)).credit_plain(slot, &plain, Some(from));
                (home, parts)
            }
            (_, None) => unreachable!("a plain movement is credited to somebody"),
        };
        self.locator.set(stamp.seq, home as u8);
        (id, parts)
    }

    /// Applies an entry about a withdrawal to its locked shard, and makes what it credits findable by its id.
    pub(super) fn apply_withdrawal(&self, shard: &mut Shard, entry: &WithdrawalEntry<'_>, stamp: Stamp) {
        shard.apply_withdrawal(entry, stamp.seq, stamp.time);
        if makes_transaction(entry) {
            self.locator.set(stamp.seq, self.shard_of(entry.user) as u8);
        }
    }

    /// Names the ledger in the bank references of all withdrawals that were replayed.
    pub(crate) fn name_ledger(&mut self, ledger: Uuid) {
        for shard in &mut self.shards {
            for held in shard.get_mut().withdrawals.values_mut() {
                held.withdrawal.reference.ledger = ledger;
            }
        }
    }

    /// The sums of all shards at `now`, and whether each is what its accounts add up to.
    pub(crate) fn sums(&mut self, now: Timestamp) -> Vec<CurrencyAudit> {
        let mut audits = Vec::new();
        for shard in &mut self.shards {
            audit::add_sums(shard.get_mut(), now, &mut audits);
            audit::recompute(shard.get_mut(), now, &mut audits);
        }
        audits
    }

    /// What the tables take, looked at with one lock at a time.
    pub(super) fn memory(&self) -> Memory {
        let locator = self.locator.bytes() as u64;
        let (keys, unfilled) = self.keys.bytes();
        let ahead = ahead::bytes_ready() as u64;
        let rest = Memory { keys: keys as u64, locator, unfilled: unfilled as u64, ahead, ..Memory::default() };
        self.shards.iter().map(|shard| shard.read().memory()).fold(rest, |sum, shard| Memory {
            accounts: sum.accounts + shard.accounts,
            history: sum.history + shard.history,
            withdrawals: sum.withdrawals + shard.withdrawals,
            unfilled: sum.unfilled + shard.unfilled,
            ..sum
        })
    }

    /// Every open withdrawal, in the order of their ids.
    pub(crate) fn open_withdrawals(&mut self) -> Vec<Withdrawal> {
        let mut open: Vec<Withdrawal> = Vec::new();
        for shard in &mut self.shards {
            let withdrawals = shard.get_mut().withdrawals.values().map(|held| &held.withdrawal);
            open.extend(withdrawals.filter(|withdrawal| withdrawal.substatus.is_open()).cloned());
        }
        open.sort_unstable_by_key(|withdrawal| withdrawal.id);
        open
    }
}

/// Whether the entry's seq is also the id of a transaction: a return's credit.
pub(super) fn makes_transaction(entry: &WithdrawalEntry<'_>) -> bool {
    matches!(entry.event, Event::Returned { credit: ReturnCredit::User, .. })
}

/// Fibonacci hashing: users are numbered as the caller likes, often densely.
fn shard_among(shards: usize, user: UserId) -> usize {
    let mixed = user.get().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    (mixed as usize * shards) >> 32
}

/// The transaction that an entry makes.
fn transaction_of(seq: Seq) -> TransactionId {
    TransactionId::new(seq.get()).expect("the first seq is 1")
}

pub(super) fn applied(origin: Origin, stamp: Stamp, key_hash: u64) -> (TransactionId, Applied) {
    let id = transaction_of(stamp.seq);
    let reference = BankReference { ledger: origin.ledger, epoch: origin.epoch, id };
    (id, Applied { seq: stamp.seq, time: stamp.time, key_hash, reference })
}
