//! Accounts: what one user owns in one currency, and the table that finds them.
//!
//! An account is one cache line and lies in a chunk that never moves. The index has only hashes and slots, in tables so small
//! that no growth is a pause. What few accounts have (holds, ended withdrawals) lies beside, behind a slot.
//!
//! Cost: 64 bytes + a slot of 10.2 to 14.5, and the unused part of the newest chunk.

use super::arena::Chunked;
use super::history::{HistoryList, Sums};
use super::holds::{Held, Schedule};
use super::slots::{SlotIndex, Start};
use crate::ahead::Block;
use crate::types::{Currency, INTEGER_MAX, Seq, Timestamp, UserId};

/// An account's place in its shard.
pub(crate) type Slot = u32;

const NO_EXTRA: u32 = u32::MAX;

/// The most currencies of a shard, since an account names its own by two bytes.
const CURRENCIES_MAX: usize = 1 << 16;

/// One user's money in one currency. `total = withdrawable + held + reserved`; `held` is as of the last entry.
#[repr(align(64))]
pub(crate) struct Account {
    pub(crate) user: UserId,
    pub(crate) total: u64,
    pub(crate) reserved: u64,
    held: u64,
    /// When the first of the holds counted in `held` matures; the end of time where there is none.
    next_release_at: Timestamp,
    /// The last entry that touched the account, little-endian: below [`Account::SEQ_END`].
    last_seq: [u8; 6],
    /// Which of the table's currencies.
    currency: u16,
    pub(crate) list: HistoryList,
    extra: u32,
}

impl Block for Account {
    fn blank() -> Account {
        Account::new(UserId::new(1).expect("in range"), 0)
    }
}

impl Account {
    /// Without money or history.
    fn new(user: UserId, currency: u16) -> Account {
        Account {
            user,
            currency,
            total: 0,
            reserved: 0,
            held: 0,
            next_release_at: Timestamp::MAX,
            last_seq: [0; 6],
            list: HistoryList::default(),
            extra: NO_EXTRA,
        }
    }

    /// Past what an account keeps. A log ends long before; one that does not is a forged one.
    pub(crate) const SEQ_END: Seq = Seq::new(1 << 48);

    /// The last entry that touched the account.
    #[inline]
    pub(crate) fn last_seq(&self) -> Seq {
        let mut bytes = [0; 8];
        bytes[..6].copy_from_slice(&self.last_seq);
        Seq::new(u64::from_le_bytes(bytes))
    }

    #[inline]
    pub(crate) fn set_last_seq(&mut self, seq: Seq) {
        self.last_seq.copy_from_slice(&seq.get().to_le_bytes()[..6]);
    }

    /// Its parts at any time from its last entry on; `None` where something is held.
    #[inline]
    pub(crate) fn parts_without_holds(&self) -> Option<PlainParts> {
        let Account { total, held, reserved, .. } = *self;
        (held == 0).then_some(PlainParts { total, reserved })
    }
}

/// What only accounts with holds or ended withdrawals have. Nothing is ever removed: sums by time answer for any moment.
struct Extra {
    /// Every credit that was held, by when it matures.
    holds: Schedule<Held>,
    /// Every withdrawal that ended, by when: (paid, released).
    ended: Schedule<(u64, u64)>,
}

impl Extra {
    fn bytes(&self) -> usize {
        self.holds.bytes() + self.ended.bytes()
    }
}

/// The parts of an account at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Parts {
    pub(crate) total: u64,
    pub(crate) held: u64,
    pub(crate) reserved: u64,
    pub(crate) next_release_at: Option<Timestamp>,
    /// Whether a hold is counted as matured that the last entry still counted as held.
    pub(crate) matured: bool,
}

impl Parts {
    pub(crate) const fn withdrawable(&self) -> u64 {
        self.total - self.held - self.reserved
    }
}

/// The parts of an account of which nothing is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PlainParts {
    pub(crate) total: u64,
    pub(crate) reserved: u64,
}

impl From<PlainParts> for Parts {
    #[inline]
    fn from(PlainParts { total, reserved }: PlainParts) -> Parts {
        Parts { total, held: 0, reserved, next_release_at: None, matured: false }
    }
}

/// Whether `amount` more fits into an account with this total.
pub(crate) const fn has_room_for(total: u64, amount: u64) -> bool {
    amount <= INTEGER_MAX - total
}

/// What an account says of itself at one moment, apart from what follows from its history: its list, its schedules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Frozen {
    pub(crate) user: UserId,
    pub(crate) currency: Currency,
    pub(crate) total: u64,
    pub(crate) reserved: u64,
    pub(crate) held: u64,
    pub(crate) next_release_at: Option<Timestamp>,
    pub(crate) last_seq: Seq,
}

/// The accounts of one shard.
pub(crate) struct AccountTable {
    index: SlotIndex,
    /// Chunks of 16 KiB: of each shard's last one, half is unused on average.
    accounts: Chunked<Account, 4, 8>,
    /// In the order of first use. A ledger has few currencies: a walk beats a table.
    currencies: Vec<Currency>,
    extras: Chunked<Extra, 2, 8>,
    /// What all extras have on the heap: counted as it grows, since there may be as many as accounts.
    extra_bytes: usize,
}

impl AccountTable {
    /// The most accounts of a shard: a slot is a reference of the index.
    const LEN_MAX: usize = SlotIndex::REFERENCE_MAX as usize;

    /// Without an account or an allocation.
    pub(crate) const fn new() -> AccountTable {
        AccountTable {
            index: SlotIndex::new(),
            accounts: Chunked::new(),
            currencies: Vec::new(),
            extras: Chunked::new(),
            extra_bytes: 0,
        }
    }

    /// Where the account is, if it was ever used. It never moves from there.
    pub(crate) fn find(&self, hash: u64, user: UserId, currency: Currency) -> Option<Slot> {
        self.find_from(self.start(hash), user, currency)
    }

    /// As [`SlotIndex::start`].
    #[inline]
    pub(crate) fn start(&self, hash: u64) -> Start {
        self.index.start(hash)
    }

    /// As [`AccountTable::find`], from where the search begins.
    #[inline]
    pub(crate) fn find_from(&self, start: Start, user: UserId, currency: Currency) -> Option<Slot> {
        self.index.find_from(start, |slot| {
            let account = self.get(slot);
            account.user == user && self.currency_of(account) == currency
        })
    }

    /// The currency of an account of this table.
    pub(crate) fn currency_of(&self, account: &Account) -> Currency {
        self.currencies[usize::from(account.currency)]
    }

    /// Whether so many accounts more fit, each in a currency of its own.
    pub(crate) fn has_room_for(&self, accounts: usize) -> bool {
        self.len() + accounts <= Self::LEN_MAX && self.currencies.len() + accounts <= CURRENCIES_MAX
    }

    /// As [`SlotIndex::touch`].
    #[inline]
    pub(crate) fn touch(&self, start: Start) -> u64 {
        self.index.touch(start)
    }

    /// About so many accounts will be restored.
    pub(crate) fn expect(&mut self, count: usize) {
        self.index.expect(count);
    }

    /// Opens the account, which must not exist.
    pub(crate) fn open(&mut self, hash: u64, user: UserId, currency: Currency) -> Slot {
        let known = self.currencies.iter().position(|known| *known == currency);
        let currency = known.unwrap_or_else(|| {
            self.currencies.push(currency);
            self.currencies.len() - 1
        });
        let currency = u16::try_from(currency).expect("a shard has fewer currencies than two bytes tell apart");
        let slot = self.accounts.push_among_many(Account::new(user, currency));
        let slot = Slot::try_from(slot).expect("a shard has fewer accounts than there are slots");
        self.index.insert(hash, slot);
        slot
    }

    pub(crate) fn len(&self) -> usize {
        self.accounts.len()
    }

    pub(crate) fn get(&self, slot: Slot) -> &Account {
        &self.accounts[slot as usize]
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> &mut Account {
        &mut self.accounts[slot as usize]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &Account)> {
        (0..self.len() as Slot).map(|slot| (slot, self.get(slot)))
    }

    /// As [`Account::parts_without_holds`].
    #[inline]
    pub(crate) fn parts_without_holds(&self, slot: Slot) -> Option<Parts> {
        self.get(slot).parts_without_holds().map(Parts::from)
    }

    /// The account's parts at `now`, which is not before its last entry.
    pub(crate) fn parts(&self, slot: Slot, now: Timestamp) -> Parts {
        self.parts_of(self.get(slot), now)
    }

    /// As [`AccountTable::parts`], of an account of this table.
    #[inline]
    pub(crate) fn parts_of(&self, account: &Account, now: Timestamp) -> Parts {
        account.parts_without_holds().map_or_else(|| self.parts_with_holds(account, now), Parts::from)
    }

    fn parts_with_holds(&self, account: &Account, now: Timestamp) -> Parts {
        let Account { total, held, reserved, next_release_at, .. } = *account;
        if now < next_release_at {
            return Parts { total, held, reserved, next_release_at: Some(next_release_at), matured: false };
        }
        let holds = &self.extra(account).expect("who has a hold has a schedule").holds;
        let held = holds.total().amount.wrapping_sub(holds.sum_through(now).amount);
        Parts { total, held, reserved, next_release_at: holds.next_after(now), matured: true }
    }

    /// The account's parts at `at`, which may be before its last entry: money as recorded by then (`recorded` comes
    /// from its history), holds as matured by then.
    pub(crate) fn parts_at(&self, slot: Slot, at: Timestamp, recorded: Sums) -> Parts {
        let account = self.get(slot);
        let Sums { credited, debited, withdrawn, held } = recorded;
        let (mut total, mut reserved, mut still_held, mut next_release_at) =
            (credited.wrapping_sub(debited), withdrawn, held, None);
        if let Some(extra) = self.extra(account) {
            let (paid, released) = extra.ended.sum_through(at);
            total = total.wrapping_sub(paid);
            reserved = reserved.wrapping_sub(paid).wrapping_sub(released);
            still_held = still_held.wrapping_sub(extra.holds.sum_through(at).amount);
            next_release_at = extra.holds.next_known_at(at);
        }
        Parts { total, held: still_held, reserved, next_release_at, matured: false }
    }

    /// Folds the holds that have matured by `time` into the account.
    pub(crate) fn fold(&mut self, slot: Slot, time: Timestamp) {
        if time < self.get(slot).next_release_at {
            return;
        }
        let parts = self.parts(slot, time);
        let account = self.get_mut(slot);
        account.held = parts.held;
        account.next_release_at = parts.next_release_at.unwrap_or(Timestamp::MAX);
    }

    /// Notes that the entry `seq` of `time` touches the account, and folds the holds in that have matured by then.
    #[inline]
    pub(crate) fn note_entry(&mut self, slot: Slot, seq: Seq, time: Timestamp) -> &mut Account {
        if time >= self.get(slot).next_release_at {
            self.fold(slot, time);
        }
        let account = self.get_mut(slot);
        account.set_last_seq(seq);
        account
    }

    /// Holds `amount` of what was credited at `time`, until `release_at`. Credits come in the order of time.
    pub(crate) fn hold(&mut self, slot: Slot, time: Timestamp, amount: u64, release_at: Timestamp) {
        self.change_extra(slot, |extra| extra.holds.add(release_at, Held { amount, since: time }));
        let account = self.get_mut(slot);
        account.held += amount;
        account.next_release_at = account.next_release_at.min(release_at);
    }

    /// Ends a withdrawal at `time`: what was paid leaves, what was released is withdrawable again.
    pub(crate) fn end_reservation(&mut self, slot: Slot, time: Timestamp, paid: u64, released: u64) {
        self.change_extra(slot, |extra| extra.ended.add(time, (paid, released)));
        let account = self.get_mut(slot);
        account.reserved -= paid + released;
        account.total -= paid;
    }

    /// The account at `time`, which is not before its last entry, with the holds folded in that have matured by then.
    pub(crate) fn freeze(&self, slot: Slot, time: Timestamp) -> Frozen {
        let parts = self.parts(slot, time);
        let account = self.get(slot);
        Frozen {
            user: account.user,
            currency: self.currency_of(account),
            total: parts.total,
            reserved: parts.reserved,
            held: parts.held,
            next_release_at: parts.next_release_at,
            last_seq: account.last_seq(),
        }
    }

    /// Opens the account as it was frozen. Its list and schedules are restored from its history.
    pub(crate) fn restore(&mut self, hash: u64, frozen: &Frozen) -> Slot {
        let slot = self.open(hash, frozen.user, frozen.currency);
        let account = self.get_mut(slot);
        account.total = frozen.total;
        account.reserved = frozen.reserved;
        account.held = frozen.held;
        account.next_release_at = frozen.next_release_at.unwrap_or(Timestamp::MAX);
        account.set_last_seq(frozen.last_seq);
        slot
    }

    /// Adds a hold of the past to the account's schedule. Holds come in the order of the credits that made them.
    pub(crate) fn restore_hold(&mut self, slot: Slot, since: Timestamp, amount: u64, release_at: Timestamp) {
        self.change_extra(slot, |extra| extra.holds.add(release_at, Held { amount, since }));
    }

    /// Adds a withdrawal that ended in the past to the account's schedule.
    pub(crate) fn restore_end(&mut self, slot: Slot, at: Timestamp, paid: u64, released: u64) {
        self.change_extra(slot, |extra| extra.ended.add(at, (paid, released)));
    }

    /// Whether the folded parts of every account are what its schedule says at `time`.
    pub(crate) fn is_folded_right(&self, slot: Slot, time: Timestamp) -> bool {
        let account = self.get(slot);
        let (held, next) = match self.extra(account) {
            None => (0, None),
            Some(extra) => {
                let held = extra.holds.total().amount.wrapping_sub(extra.holds.sum_through(time).amount);
                (held, if held > 0 { extra.holds.next_after(time) } else { None })
            }
        };
        account.held == held && account.next_release_at == next.unwrap_or(Timestamp::MAX)
    }

    fn extra(&self, account: &Account) -> Option<&Extra> {
        (account.extra != NO_EXTRA).then(|| &self.extras[account.extra as usize])
    }

    fn change_extra(&mut self, slot: Slot, change: impl FnOnce(&mut Extra)) {
        if self.get(slot).extra == NO_EXTRA {
            let extra = self.extras.push(Extra { holds: Schedule::new(), ended: Schedule::new() });
            self.get_mut(slot).extra = extra as u32;
        }
        let index = self.get(slot).extra as usize;
        let extra = &mut self.extras[index];
        let before = extra.bytes();
        change(extra);
        self.extra_bytes += extra.bytes() - before;
    }

    /// Bytes on the heap, the allocator's own overhead apart.
    pub(crate) fn bytes(&self) -> usize {
        self.index.bytes()
            + self.accounts.bytes()
            + self.currencies.capacity() * size_of::<Currency>()
            + self.extras.bytes()
            + self.extra_bytes
    }

    /// Of those bytes, what no account has used yet.
    pub(crate) fn unfilled_bytes(&self) -> usize {
        self.accounts.unfilled_bytes() + self.extras.unfilled_bytes()
    }
}

#[cfg(test)]
mod tests {
    mod exact;

    use proptest::prelude::*;

    use super::*;

    fn time(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros).unwrap()
    }

    #[derive(Clone, Copy, Debug)]
    enum Change {
        Credit {
            amount: u64,
            release_at: Option<i64>,
        },
        /// Reserves an amount, if it is withdrawable, which is then paid or released after so long.
        Withdraw {
            amount: u64,
            after: i64,
            is_paid: bool,
        },
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            3 => (1..100u64, prop::option::of(0..400i64))
                .prop_map(|(amount, release_at)| Change::Credit { amount, release_at }),
            1 => (1..50u64, 0..60i64, any::<bool>())
                .prop_map(|(amount, after, is_paid)| Change::Withdraw { amount, after, is_paid }),
        ]
    }

    /// What happened, as a plain list.
    #[derive(Default)]
    struct Naive {
        /// (created, amount, release_at)
        credits: Vec<(i64, u64, Option<i64>)>,
        /// (reserved, amount, ended, is_paid)
        withdrawals: Vec<(i64, u64, i64, bool)>,
    }

    impl Naive {
        fn recorded(&self, at: i64) -> Sums {
            let credits = || self.credits.iter().filter(|credit| credit.0 <= at);
            Sums {
                credited: credits().map(|credit| credit.1).sum(),
                debited: 0,
                withdrawn: self.withdrawals.iter().filter(|w| w.0 <= at).map(|w| w.1).sum(),
                held: credits().filter(|credit| credit.2.is_some()).map(|credit| credit.1).sum(),
            }
        }

        fn parts(&self, at: i64) -> Parts {
            let Sums { credited, .. } = self.recorded(at);
            let held = || self.credits.iter().filter(|c| c.0 <= at).filter(|c| c.2.is_some_and(|release| release > at));
            let paid = self.withdrawals.iter().filter(|w| w.2 <= at && w.3).map(|w| w.1).sum::<u64>();
            Parts {
                total: credited - paid,
                held: held().map(|credit| credit.1).sum(),
                reserved: self.withdrawals.iter().filter(|w| w.0 <= at && w.2 > at).map(|w| w.1).sum(),
                next_release_at: held().filter_map(|credit| credit.2).min().map(time),
                matured: false,
            }
        }
    }

    #[test]
    fn an_account_is_one_cache_line() {
        assert_eq!((size_of::<Account>(), align_of::<Account>()), (64, 64));
    }

    #[test]
    fn a_hold_until_the_end_of_time_is_one() {
        let mut table = AccountTable::new();
        let slot = table.open(1, UserId::new(1).unwrap(), Currency::USD);
        table.get_mut(slot).total += 5;
        table.hold(slot, time(0), 5, Timestamp::MAX);
        let parts = table.parts(slot, time(1));
        assert_eq!((parts.withdrawable(), parts.next_release_at), (0, Some(Timestamp::MAX)));
        table.fold(slot, Timestamp::MAX);
        let parts = table.parts(slot, Timestamp::MAX);
        assert_eq!((parts.withdrawable(), parts.next_release_at), (5, None));
    }

    #[test]
    fn every_account_is_found_in_whichever_order_they_were_opened() {
        const N: u64 = 20_000;
        let mut table = AccountTable::new();
        let user = |n: u64| UserId::new(n + 1).unwrap();
        // Few hashes for many accounts, so that they collide.
        let hash = |n: u64| (n % 5_000).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let slots: Vec<_> = (0..N).map(|n| table.open(hash(n), user(n), Currency::USD)).collect();
        for n in 0..N {
            assert_eq!(table.find(hash(n), user(n), Currency::USD), Some(slots[n as usize]));
            assert_eq!(table.find(hash(n), user(n + N), Currency::USD), None);
        }
        let walked = table.iter().map(|(slot, account)| (slot, account.user));
        assert!(walked.eq((0..N).map(|n| (slots[n as usize], user(n)))));
    }

    proptest! {
        #[test]
        fn the_parts_at_any_moment_are_those_of_a_plain_list(
            changes in prop::collection::vec((0..5i64, change()), 1..300),
        ) {
            let (mut table, mut naive, mut now) = (AccountTable::new(), Naive::default(), 0);
            let slot = table.open(1, UserId::new(1).unwrap(), Currency::USD);
            let mut open: Vec<(i64, u64, bool)> = Vec::new();
            for (step, change) in changes {
                now += step;
                open.sort_unstable_by_key(|ending| std::cmp::Reverse(ending.0));
                while let Some((at, amount, is_paid)) = open.pop_if(|ending| ending.0 <= now) {
                    table.fold(slot, time(at));
                    let (paid, released) = if is_paid { (amount, 0) } else { (0, amount) };
                    table.end_reservation(slot, time(at), paid, released);
                }
                table.fold(slot, time(now));
                match change {
                    Change::Credit { amount, release_at } => {
                        let release_at = release_at.filter(|&release_at| release_at > now);
                        table.get_mut(slot).total += amount;
                        if let Some(release_at) = release_at {
                            table.hold(slot, time(now), amount, time(release_at));
                        }
                        naive.credits.push((now, amount, release_at));
                    }
                    Change::Withdraw { amount, after, is_paid } => {
                        if table.parts(slot, time(now)).withdrawable() < amount {
                            continue;
                        }
                        table.get_mut(slot).reserved += amount;
                        // Ends later, so that it ends before no change of its own time.
                        let ends = now + 1 + after;
                        open.push((ends, amount, is_paid));
                        naive.withdrawals.push((now, amount, ends, is_paid));
                    }
                }
            }
            // What is still open never ends, for all that the table has heard.
            naive.withdrawals.iter_mut().filter(|w| w.2 > now).for_each(|w| w.2 = i64::MAX);
            for at in -1..=now {
                prop_assert_eq!(table.parts_at(slot, time(at), naive.recorded(at)), naive.parts(at), "at {}", at);
            }
            for at in now..now + 420 {
                let parts = Parts { matured: false, ..table.parts(slot, time(at)) };
                prop_assert_eq!(parts, naive.parts(at), "at {}", at);
            }
        }
    }
}
