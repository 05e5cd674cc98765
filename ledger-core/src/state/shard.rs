//! One lock's worth of the ledger: accounts with their history, sums and withdrawals.

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use super::account::{AccountTable, Parts, Slot};
use super::history::{History, RecordRef};
use super::holds::Schedule;
use super::register::Register;
use crate::types::{Currency, Seq, Timestamp, TransactionId, UserId};
use crate::view::Memory;
use crate::withdrawals::Withdrawal;

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
    hasher: RandomState,
}

/// A withdrawal and where its transaction's record is.
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
            ..Memory::default()
        }
    }

    fn hash(&self, user: UserId, currency: Currency) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        user.get().hash(&mut hasher);
        currency.hash(&mut hasher);
        hasher.finish()
    }

    /// Whether so many commands more fit, whatever they are. `apply` cannot fail, so who appends asks first.
    pub(crate) fn has_room_for(&self, commands: usize) -> bool {
        // Each touches two accounts at most, and leaves a record with each.
        let touched = 2 * commands;
        self.accounts.len() + touched <= AccountTable::LEN_MAX && self.history.has_room_for(touched)
    }

    /// Where the account is, if it was ever used.
    pub(crate) fn slot(&self, user: UserId, currency: Currency) -> Option<Slot> {
        self.accounts.find(self.hash(user, currency), user, currency)
    }

    /// Where the account is, opened if it was never used.
    pub(crate) fn slot_opened(&mut self, user: UserId, currency: Currency) -> Slot {
        let hash = self.hash(user, currency);
        self.accounts.find(hash, user, currency).unwrap_or_else(|| {
            self.sums_mut(currency).accounts += 1;
            self.accounts.open(hash, user, currency)
        })
    }

    /// The account's parts at `now`, and the last entry that touched it; zeros if it was never used.
    pub(crate) fn parts(&self, user: UserId, currency: Currency, now: Timestamp) -> (Parts, Seq) {
        match self.slot(user, currency) {
            None => (Parts::default(), Seq::ZERO),
            Some(slot) => (self.accounts.parts(slot, now), self.accounts.get(slot).last_seq),
        }
    }

    /// The account's parts at `at`, at or before the last entry's time.
    pub(crate) fn parts_at(&self, user: UserId, currency: Currency, at: Timestamp) -> (Parts, Seq) {
        let Some(slot) = self.slot(user, currency) else { return (Parts::default(), Seq::ZERO) };
        let account = self.accounts.get(slot);
        let recorded = self.history.sums_through(&account.list, at);
        (self.accounts.parts_at(slot, at, recorded), account.last_seq)
    }
}
