//! One lock's worth of the ledger: accounts with their history, sums and withdrawals.

use std::hash::{BuildHasher, Hasher};
use std::hint::black_box;

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::account::{AccountTable, Parts, Slot};
use super::cut::Cut;
use super::history::{History, RecordRef};
use super::holds::Schedule;
use super::register::Register;
use super::slots::Start;
use crate::types::{Currency, Seq, Timestamp, TransactionId, UserId};
use crate::view::Memory;
use crate::withdrawals::Withdrawal;

/// How many commands or accounts are looked up at a time: about as many misses as a core can have under way.
pub(crate) const TOUCHED_TOGETHER: usize = 16;

/// Finds accounts (`None`: never used): first where they are, then the accounts themselves. Each of these is a miss in a
/// large ledger; one after the other they would be waited for, as reads that do not depend on each other they overlap.
pub(crate) fn find_together(accounts: &[(&Shard, UserId, Currency)]) -> FoundAhead {
    // Of a transfer there are two.
    let mut touched = 0;
    let starts: SmallVec<[Start; 2 * TOUCHED_TOGETHER]> = accounts
        .iter()
        .map(|&(shard, user, currency)| {
            let start = shard.accounts.start(shard.hash(user, currency));
            touched ^= shard.accounts.touch(start);
            start
        })
        .collect();
    black_box(touched);
    let find = |(&start, &(shard, user, currency)): (&Start, &(&Shard, UserId, Currency))| {
        shard.accounts.find_from(start, user, currency)
    };
    starts.iter().zip(accounts).map(find).collect()
}

/// As [`find_together`], and brings the ends of the accounts' lists into the cache, too: what a command needs of them.
pub(crate) fn find_ahead(accounts: &[(&Shard, UserId, Currency)]) -> FoundAhead {
    let (found, mut lists) = (find_together(accounts), 0);
    for (&(shard, ..), slot) in accounts.iter().zip(&found) {
        lists ^= slot.map_or(0, |slot| shard.history.touch(&shard.accounts.get(slot).list));
    }
    black_box(lists);
    found
}

/// What [`find_together`] found, in the order in which it was asked.
pub(crate) type FoundAhead = SmallVec<[Option<Slot>; 2 * TOUCHED_TOGETHER]>;

/// One lock's worth of the ledger. All accounts of one user are in one shard.
pub(crate) struct Shard {
    pub(crate) accounts: AccountTable,
    pub(crate) history: History,
    /// Looked up by id, never walked, but for the open ones after a replay, which are sorted then.
    pub(crate) withdrawals: HashMap<TransactionId, HeldWithdrawal, RandomState>,
    /// The same withdrawals in order.
    pub(crate) register: Register,
    /// By currency, in the order of first use. A ledger has few currencies: a walk beats a table.
    sums: Vec<CurrencySums>,
    /// What a checkpoint that is under way has yet to copy.
    pub(super) cut: Option<Box<Cut>>,
    /// The withdrawals that changed since the last checkpoint, each at least once.
    pub(super) changed: Vec<TransactionId>,
    hasher: RandomState,
}

/// A withdrawal and where its transaction's record is.
#[derive(Clone)]
pub(crate) struct HeldWithdrawal {
    pub(crate) withdrawal: Withdrawal,
    pub(crate) record: RecordRef,
    pub(crate) slot: Slot,
    /// The last entry about it.
    pub(crate) last_seq: Seq,
}

/// What the shard's accounts of one currency add up to, and the shard's part of the system accounts.
pub(crate) struct CurrencySums {
    pub(crate) currency: Currency,
    pub(crate) accounts: u64,
    pub(crate) total: u128,
    pub(crate) reserved: u128,
    pub(crate) external: i128,
    pub(crate) suspense: i128,
    /// Every credit that was held, by when it matures.
    pub(crate) holds: Schedule<u128>,
}

impl CurrencySums {
    /// What is held at `at`, which is not before the shard's last entry.
    pub(crate) fn held(&self, at: Timestamp) -> u128 {
        self.holds.total().wrapping_sub(self.holds.sum_through(at))
    }
}

impl Shard {
    pub(crate) fn new(hasher: RandomState) -> Shard {
        Shard {
            accounts: AccountTable::new(),
            history: History::new(),
            withdrawals: HashMap::with_hasher(hasher.clone()),
            register: Register::default(),
            sums: Vec::new(),
            cut: None,
            changed: Vec::new(),
            hasher,
        }
    }

    pub(crate) fn sums(&self) -> &[CurrencySums] {
        &self.sums
    }

    pub(crate) fn sums_mut(&mut self, currency: Currency) -> &mut CurrencySums {
        let found = self.sums.iter().position(|sums| sums.currency == currency);
        let index = found.unwrap_or_else(|| {
            self.sums.push(CurrencySums {
                currency,
                accounts: 0,
                total: 0,
                reserved: 0,
                external: 0,
                suspense: 0,
                holds: Schedule::new(),
            });
            self.sums.len() - 1
        });
        &mut self.sums[index]
    }

    /// What the shard's tables take.
    pub(crate) fn memory(&self) -> Memory {
        let sums: usize = self.sums.iter().map(|sums| sums.holds.bytes()).sum();
        Memory {
            accounts: (self.accounts.bytes() + sums) as u64,
            history: self.history.bytes() as u64,
            withdrawals: (self.withdrawals.allocation_size() + self.register.bytes()) as u64,
            unfilled: (self.accounts.unfilled_bytes() + self.history.unfilled_bytes()) as u64,
            ..Memory::default()
        }
    }

    pub(super) fn hash(&self, user: UserId, currency: Currency) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(user.get());
        hasher.write_u64(u64::from_le_bytes(currency.padded()));
        hasher.finish()
    }

    /// Whether so many commands more fit, whatever they are. `apply` cannot fail, so who appends asks first.
    pub(crate) fn has_room_for(&self, commands: usize) -> bool {
        // Each touches two accounts at most, and leaves a record with each.
        let touched = 2 * commands;
        self.accounts.has_room_for(touched) && self.history.has_room_for(touched)
    }

    /// Whether one account and one record more fit.
    pub(crate) fn has_room_for_side(&self) -> bool {
        self.accounts.has_room_for(1) && self.history.has_room_for(1)
    }

    /// Where the account is, if it was ever used.
    pub(crate) fn slot(&self, user: UserId, currency: Currency) -> Option<Slot> {
        self.accounts.find(self.hash(user, currency), user, currency)
    }

    /// Where the account is, opened if it was never used.
    pub(crate) fn slot_opened(&mut self, user: UserId, currency: Currency) -> Slot {
        self.slot(user, currency).unwrap_or_else(|| {
            self.sums_mut(currency).accounts += 1;
            self.accounts.open(self.hash(user, currency), user, currency)
        })
    }

    /// The account's parts at `now`, and the last entry that touched it; zeros if it was never used.
    pub(crate) fn parts(&self, user: UserId, currency: Currency, now: Timestamp) -> (Parts, Seq) {
        self.parts_of(self.slot(user, currency), now)
    }

    /// As [`Shard::parts`], of the account at a slot.
    #[inline]
    pub(crate) fn parts_of(&self, slot: Option<Slot>, now: Timestamp) -> (Parts, Seq) {
        match slot {
            None => (Parts::default(), Seq::ZERO),
            Some(slot) => {
                let account = self.accounts.get(slot);
                (self.accounts.parts_of(account, now), account.last_seq())
            }
        }
    }

    /// As [`Shard::parts_of`], if the parts are the same at any time from the account's last entry on; `None` where something
    /// is held.
    #[inline]
    pub(crate) fn parts_without_holds(&self, slot: Option<Slot>) -> Option<(Parts, Seq)> {
        let Some(slot) = slot else { return Some((Parts::default(), Seq::ZERO)) };
        Some((self.accounts.parts_without_holds(slot)?, self.accounts.get(slot).last_seq()))
    }

    /// The account's parts at `at`, at or before the last entry's time.
    pub(crate) fn parts_at(&self, user: UserId, currency: Currency, at: Timestamp) -> (Parts, Seq) {
        let Some(slot) = self.slot(user, currency) else { return (Parts::default(), Seq::ZERO) };
        let account = self.accounts.get(slot);
        let recorded = self.history.sums_through(&account.list, at);
        (self.accounts.parts_at(slot, at, recorded), account.last_seq())
    }
}

#[cfg(test)]
mod tests;
