//! Reads. They change nothing, and leave once what they saw is durable.

use std::time::Duration;

use smallvec::{SmallVec, smallvec};

use super::engine::{Engine, balance};
use super::grouped::Grouped;
use crate::commit::Commit;
use crate::error::Error;
use crate::state::BatchPosition;
use crate::state::account::{Parts, Slot};
use crate::state::audit;
use crate::state::history::{RecordRef, RecordView};
use crate::state::shard::{Shard, TOUCHED_TOGETHER, find_together};
use crate::sync::Ordering;
use crate::types::{Currency, IdempotencyKey, Seq, Timestamp, TransactionId, UserId};
use crate::view::{
    Audit, Balance, CurrencyAudit, Histogram, Page, PageStart, Payout, Query, Stats, Transaction, TransactionKind,
};
use crate::wal::{COMMIT_ENTRIES, Counts, FSYNC_MICROS};

/// How many records a filtered request looks at before it gives up.
const SCAN_MAX: u64 = 100_000;
/// How many of them with the lock taken once.
const SCAN_STEP: u64 = 256;

impl Engine {
    pub(crate) fn balance(&self, user: UserId, currency: Currency) -> Result<Commit<Balance>, Error> {
        self.check_halted()?;
        let (parts, last_seq, acknowledged) = {
            let shard = self.tables.shard(user);
            let (parts, seq) = self.parts_now(&shard, shard.slot(user, currency));
            (parts, seq, self.wal.acknowledged())
        };
        Ok(self.commit(Ok(balance(user, currency, parts, last_seq.max(acknowledged))), last_seq))
    }

    /// Several accounts, by their shards, [`TOUCHED_TOGETHER`] at a time behind all their locks, so that what is waited for of
    /// each is waited for at once: one after the other, each of its two cache misses would be waited for alone.
    pub(crate) fn balances(&self, accounts: &[(UserId, Currency)]) -> Result<Commit<Vec<Balance>>, Error> {
        self.check_halted()?;
        let nothing = |&(user, currency): &_| balance(user, currency, Parts::default(), Seq::ZERO);
        let mut balances: Vec<_> = accounts.iter().map(nothing).collect();
        let mut seen = Seq::ZERO;
        let shard_of = |index: usize| self.tables.shard_of(accounts[index].0);
        let order = Grouped::by(self.tables.shards.len(), (0..accounts.len()).map(shard_of));
        for indexes in order.sorted().chunks(TOUCHED_TOGETHER) {
            let shards = self.tables.lock_each(indexes.iter().map(|&index| shard_of(index as usize)));
            let mut wanted: SmallVec<[_; TOUCHED_TOGETHER]> = SmallVec::new();
            for &index in indexes {
                let (user, currency) = accounts[index as usize];
                wanted.push((shards.get(shard_of(index as usize)), user, currency));
            }
            let acknowledged = self.wal.acknowledged();
            for ((&index, &(shard, user, currency)), slot) in indexes.iter().zip(&wanted).zip(find_together(&wanted)) {
                let (parts, last_seq) = self.parts_now(shard, slot);
                seen = seen.max(last_seq);
                balances[index as usize] = balance(user, currency, parts, last_seq.max(acknowledged));
            }
        }
        Ok(self.commit(Ok(balances), seen))
    }

    /// What the account at `slot` of a locked shard has now, and its last entry.
    #[inline]
    fn parts_now(&self, shard: &Shard, slot: Option<Slot>) -> (Parts, Seq) {
        // The clocks are read only where time matters, which is half the cost of a read.
        shard.parts_without_holds(slot).unwrap_or_else(|| {
            // Under the lock: no entry that this answer includes is later than the answer.
            let now = self.now();
            let (parts, seq) = shard.parts_of(slot, now);
            if parts.matured {
                // Also under the lock: the next entry of this account must not be earlier than what was answered.
                self.wal.raise_time(now);
            }
            (parts, seq)
        })
    }

    pub(crate) fn balance_at(&self, user: UserId, currency: Currency, at: Timestamp) -> Result<Commit<Balance>, Error> {
        self.check_halted()?;
        let shard = self.tables.shard(user);
        let now = self.now();
        let (parts, last_seq) = if at < now {
            // What is answered for a moment that has passed stays true: entries of exactly that time are in it, and every later
            // one is of a later time.
            self.wal.raise_time(at.saturating_add(Duration::from_micros(1)));
            shard.parts_at(user, currency, at)
        } else {
            // A hold that has matured just now stays so: no later entry is of an earlier time. One of this time may follow.
            if at == now {
                self.wal.raise_time(now);
            }
            shard.parts(user, currency, at)
        };
        let seq = last_seq.max(self.wal.acknowledged());
        drop(shard);
        Ok(self.commit(Ok(balance(user, currency, parts, seq)), last_seq))
    }

    pub(crate) fn transaction(
        &self,
        id: TransactionId,
        viewer: Option<UserId>,
    ) -> Result<Commit<Option<Transaction>>, Error> {
        self.check_halted()?;
        let transaction = self.view(id, viewer);
        let seen = transaction.as_ref().map_or(Seq::ZERO, |transaction| transaction.last_seq);
        Ok(self.commit(Ok(transaction), seen))
    }

    pub(crate) fn transaction_by_key(&self, key: IdempotencyKey<'_>) -> Result<Commit<Option<Transaction>>, Error> {
        self.check_halted()?;
        let settled = self.tables.keys.settled(self.tables.keys.hash(key.as_str()), key.as_str());
        let transaction = settled.and_then(|settled| self.view(settled.id, None));
        let seen = transaction.as_ref().map_or(Seq::ZERO, |transaction| transaction.last_seq);
        Ok(self.commit(Ok(transaction), seen))
    }

    /// The transaction as `viewer` sees it, by default the source user; `None` if there is none, or not for them.
    pub(super) fn view(&self, id: TransactionId, viewer: Option<UserId>) -> Option<Transaction> {
        let source = {
            let shard = self.tables.home(id)?;
            Seen::at(&shard, shard.history.find(id, None)?)
        };
        let seen = match viewer {
            None => source,
            Some(viewer) if viewer == source.transaction.user => source,
            Some(viewer) if Some(viewer) == source.transaction.counterparty => {
                let shard = self.tables.shard(viewer);
                let slot = shard.slot(viewer, source.transaction.currency)?;
                Seen::at(&shard, shard.history.find(id, Some(slot))?)
            }
            Some(_) => return None,
        };
        Some(self.named(seen))
    }

    /// Adds the idempotency key, which lies under another lock.
    fn named(&self, seen: Seen) -> Transaction {
        let Seen { mut transaction, key_hash } = seen;
        if transaction.kind == TransactionKind::Return {
            return transaction;
        }
        transaction.idempotency_key = self.tables.keys.key_of(key_hash, transaction.id);
        transaction
    }

    /// As [`Engine::named`], of a page's.
    fn all_named(&self, found: Vec<Seen>) -> Vec<Transaction> {
        let is_named = |seen: &&Seen| seen.transaction.kind != TransactionKind::Return;
        let wanted: Vec<_> = found.iter().filter(is_named).map(|seen| (seen.key_hash, seen.transaction.id)).collect();
        let mut keys = self.tables.keys.keys_of(&wanted).into_iter();
        found
            .into_iter()
            .map(|seen| {
                let key = is_named(&&seen).then(|| keys.next().expect("each that has a key was asked for"));
                Transaction { idempotency_key: key.unwrap_or_default(), ..seen.transaction }
            })
            .collect()
    }

    /// Where in an atomic batch the transaction stood.
    pub(super) fn batch_position(&self, id: TransactionId) -> Option<BatchPosition> {
        let shard = self.tables.home(id)?;
        let (index, count) = shard.history.get(shard.history.find(id, None)?).batch?;
        Some(BatchPosition { index, count })
    }

    pub(crate) fn transactions(&self, query: &Query) -> Result<Commit<Page>, Error> {
        self.check_halted()?;
        let mut walk = Walk::begin(&self.tables.shard(query.user), query);
        while !walk.is_done() {
            walk.step(&self.tables.shard(query.user), query);
        }
        let Walk { found, total, next, seen, .. } = walk;
        let transactions = self.all_named(found);
        Ok(self.commit(Ok(Page { transactions, total, next }), seen))
    }

    pub(crate) fn audit(&self) -> Result<Commit<Audit>, Error> {
        self.check_halted()?;
        let (currencies, seq) = self.cut();
        Ok(self.commit(Ok(Audit { currencies, seq }), seq))
    }

    pub(crate) fn audit_deep(&self) -> Result<Commit<Audit>, Error> {
        self.check_halted()?;
        let (mut currencies, seq) = self.cut();
        for shard in &self.tables.shards {
            audit::recompute(&shard.read(), self.now(), &mut currencies);
        }
        Ok(self.commit(Ok(Audit { currencies, seq }), seq))
    }

    pub(crate) fn stats(&self) -> Stats {
        let log = self.wal.stats();
        let checkpoints = self.checkpoints();
        Stats {
            appended: self.wal.appended(),
            durable: self.wal.durable(),
            commits: log.commits,
            log_bytes: log.bytes,
            fsync_seconds: histogram(&log.fsync_micros, &FSYNC_MICROS, 1e6),
            commit_entries: histogram(&log.commit_entries, &COMMIT_ENTRIES, 1.0),
            // Relaxed: a gauge.
            withdrawals_open: self.withdrawals_open.load(Ordering::Relaxed),
            withdrawal_places_taken: self.places.taken() as u64,
            money: self.cut().0,
            memory: self.tables.memory(),
            checkpoint_failures: checkpoints.failed,
            checkpoint_failure: checkpoints.last_error,
        }
    }

    /// The sums of all shards at one moment.
    pub(super) fn cut(&self) -> (Vec<CurrencyAudit>, Seq) {
        let shards = self.tables.lock((0..self.tables.shards.len()).collect());
        let now = self.now();
        self.wal.raise_time(now);
        let mut currencies = Vec::new();
        for shard in shards.iter() {
            audit::add_sums(shard, now, &mut currencies);
        }
        // With every shard locked nothing is being appended, so this is the last entry that the sums include.
        (currencies, self.wal.appended())
    }
}

/// Cumulative counts, as Prometheus keeps them, counted in parts of which `per_unit` make one.
fn histogram(counts: &Counts, bounds: &[u64], per_unit: f64) -> Histogram {
    let bounds = bounds.iter().map(|&bound| bound as f64 / per_unit).chain([f64::INFINITY]);
    let mut below = 0;
    let cumulative = counts.buckets.iter().map(|&count| {
        below += count;
        below
    });
    Histogram { buckets: bounds.zip(cumulative).collect(), sum: counts.sum as f64 / per_unit }
}

/// A transaction but for its key.
struct Seen {
    transaction: Transaction,
    key_hash: u64,
}

impl Seen {
    fn at(shard: &Shard, record: RecordRef) -> Seen {
        let view: RecordView<'_> = shard.history.get(record);
        let account = shard.accounts.get(view.account);
        let held = match view.kind {
            TransactionKind::Withdrawal => shard.withdrawals.get(&view.id),
            _ => None,
        };
        let payout = held.map(|held| Payout {
            substatus: held.withdrawal.substatus,
            attempts: held.withdrawal.attempts,
            bank_reference: held.withdrawal.reference,
            failure_reason: held.withdrawal.failure_reason().map(String::into_boxed_str),
            destination: held.withdrawal.destination.clone(),
        });
        let transaction = Transaction {
            id: view.id,
            user: account.user,
            currency: shard.accounts.currency_of(account),
            amount: view.amount,
            kind: view.kind,
            direction: view.direction,
            status: view.status,
            idempotency_key: Box::default(),
            created_at: view.at,
            release_at: view.release_at,
            counterparty: view.counterparty,
            withdrawal: payout,
            returns: match view.kind {
                TransactionKind::Return => shard.register.returned_by(view.id),
                _ => None,
            },
            metadata: view.metadata.map(|metadata| metadata.as_bytes().into()),
            last_seq: held.map_or(view.id.seq(), |held| held.last_seq),
        };
        Seen { transaction, key_hash: view.key_hash }
    }
}

/// One of a user's accounts in a walk: the records `low..high` of its list are within the query's times.
struct Lane {
    slot: Slot,
    low: usize,
    high: usize,
    /// The next record to look at: from `low` up when ascending, else the one before `next`, down to `low`.
    next: usize,
}

/// A walk over a user's accounts, merged by seq, in steps so that no lock is held for long. Lists only grow at their
/// newest end, so places in them stay true between the steps.
struct Walk {
    lanes: SmallVec<[Lane; 2]>,
    ascending: bool,
    limit: usize,
    /// Whether every record within the times matches.
    unfiltered: bool,
    /// Whether the walk goes on after the page is full, to count what matches.
    counts: bool,
    /// How many more that match are left out.
    skip: u64,
    after: Option<TransactionId>,
    scanned: u64,
    matched: u64,
    last: Option<TransactionId>,
    found: Vec<Seen>,
    total: Option<u64>,
    next: Option<PageStart>,
    seen: Seq,
    done: bool,
}

impl Walk {
    fn begin(shard: &Shard, query: &Query) -> Walk {
        let mut lanes: SmallVec<[Lane; 2]> = smallvec![];
        let mut seen = Seq::ZERO;
        let currencies = shard.sums().iter().map(|sums| sums.currency);
        for currency in currencies.filter(|currency| query.currency.is_none_or(|wanted| wanted == *currency)) {
            let Some(slot) = shard.slot(query.user, currency) else { continue };
            let account = shard.accounts.get(slot);
            seen = seen.max(account.last_seq());
            let list = &account.list;
            let before = |time: Timestamp| match Timestamp::from_micros(time.micros() - 1) {
                Some(earlier) => shard.history.position_by_time(list, earlier),
                None => 0,
            };
            let low = query.from.map_or(0, before);
            let high = query.to.map_or(list.len(), before).max(low);
            lanes.push(Lane { slot, low, high, next: if query.ascending { low } else { high } });
        }
        let within = lanes.iter().map(|lane| (lane.high - lane.low) as u64).sum();
        let unfiltered = query.kind.is_none() && query.status.is_none();
        let counts = !unfiltered && within <= SCAN_MAX;
        let mut walk = Walk {
            lanes,
            ascending: query.ascending,
            limit: query.limit.max(1),
            unfiltered,
            counts,
            skip: 0,
            after: None,
            scanned: 0,
            matched: 0,
            last: None,
            found: Vec::new(),
            total: unfiltered.then_some(within),
            next: None,
            seen,
            done: false,
        };
        let (after, skip) = match query.start {
            PageStart::Skip(skip) => (None, skip),
            PageStart::After(id) => (Some(id), 0),
            PageStart::SkipAfter(id, skip) => (Some(id), skip),
        };
        match after {
            // A walk that counts sees everything anyway; the page begins after the cursor.
            Some(_) if counts => walk.after = after,
            Some(id) => walk.go_after(shard, id),
            None => {}
        }
        match skip {
            0 => {}
            _ if unfiltered => walk.skip_to_rank(shard, walk.rank().saturating_add(skip).min(within) as usize),
            _ => walk.skip = skip,
        }
        walk
    }

    /// Moves every lane past the transaction.
    fn go_after(&mut self, shard: &Shard, id: TransactionId) {
        for lane in &mut self.lanes {
            let list = &shard.accounts.get(lane.slot).list;
            let after = if self.ascending { id.seq().next() } else { id.seq() };
            lane.next = shard.history.position_at_or_after(list, after).clamp(lane.low, lane.high);
        }
    }

    /// How many records of the merged order every lane together is past.
    fn rank(&self) -> u64 {
        let past = |lane: &Lane| if self.ascending { lane.next - lane.low } else { lane.high - lane.next };
        self.lanes.iter().map(past).sum::<usize>() as u64
    }

    /// Moves every lane past the first `rank` records of the merged order.
    fn skip_to_rank(&mut self, shard: &Shard, rank: usize) {
        if let [lane] = &mut self.lanes[..] {
            lane.next = if self.ascending { lane.low + rank } else { lane.high - rank };
            return;
        }
        // The seq before which (or, newest first, from which on) there are `rank` records: seqs are distinct among a
        // user's records, so one exists.
        let place = |lane: &Lane, seq: u64| {
            let list = &shard.accounts.get(lane.slot).list;
            shard.history.position_at_or_after(list, Seq::new(seq)).clamp(lane.low, lane.high)
        };
        let before = |seq: u64| self.lanes.iter().map(|lane| place(lane, seq) - lane.low).sum::<usize>();
        let within: usize = self.lanes.iter().map(|lane| lane.high - lane.low).sum();
        let wanted = if self.ascending { rank } else { within - rank };
        let (mut low, mut high) = (0, self.seen.get() + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if before(middle) < wanted { low = middle + 1 } else { high = middle }
        }
        let places: SmallVec<[usize; 2]> = self.lanes.iter().map(|lane| place(lane, low)).collect();
        for (lane, place) in self.lanes.iter_mut().zip(places) {
            lane.next = place;
        }
    }

    fn is_done(&self) -> bool {
        self.done
    }

    /// Looks at the next records, as many as one lock is held for.
    fn step(&mut self, shard: &Shard, query: &Query) {
        if query.status.is_some() {
            self.note_seen(shard);
        }
        for _ in 0..SCAN_STEP {
            if self.done {
                return;
            }
            self.look(shard, query);
        }
    }

    /// Notes what the walk rests on: that a withdrawal does not match any more is an entry's doing, too.
    fn note_seen(&mut self, shard: &Shard) {
        let last = self.lanes.iter().map(|lane| shard.accounts.get(lane.slot).last_seq()).max();
        self.seen = self.seen.max(last.unwrap_or_default());
    }

    fn look(&mut self, shard: &Shard, query: &Query) {
        let Some((lane, reference)) = self.take_next(shard) else {
            if !self.unfiltered && self.counts {
                self.total = Some(self.matched);
            }
            self.done = true;
            return;
        };
        let view = shard.history.get(reference);
        let full = self.found.len() == self.limit;
        if matches(query, &view) {
            self.matched += 1;
            if full {
                self.next = self.next.or(self.last.map(PageStart::After));
                if !self.counts {
                    self.done = true;
                    return;
                }
            } else if self.is_past_cursor(view.id) {
                if self.skip > 0 {
                    self.skip -= 1;
                } else {
                    let seen = Seen::at(shard, reference);
                    self.seen = self.seen.max(seen.transaction.last_seq);
                    self.last = Some(view.id);
                    self.found.push(seen);
                }
            }
        }
        self.advance(lane);
        self.scanned += 1;
        if !self.unfiltered && !self.counts && self.scanned == SCAN_MAX {
            self.next = Some(match self.skip {
                0 => PageStart::After(view.id),
                skip => PageStart::SkipAfter(view.id, skip),
            });
            self.done = true;
        }
    }

    fn is_past_cursor(&self, id: TransactionId) -> bool {
        self.after.is_none_or(|after| if self.ascending { id > after } else { id < after })
    }

    /// The record that comes next in the merged order, and its lane.
    fn take_next(&self, shard: &Shard) -> Option<(usize, RecordRef)> {
        let candidates = self.lanes.iter().enumerate().filter_map(|(index, lane)| {
            let at = if self.ascending {
                (lane.next < lane.high).then_some(lane.next)?
            } else {
                (lane.next > lane.low).then(|| lane.next - 1)?
            };
            let reference = shard.history.nth(&shard.accounts.get(lane.slot).list, at);
            Some((index, reference))
        });
        if self.lanes.len() == 1 {
            return { candidates }.next();
        }
        let id = |reference: RecordRef| shard.history.get(reference).id;
        if self.ascending {
            candidates.min_by_key(|&(_, reference)| id(reference))
        } else {
            candidates.max_by_key(|&(_, reference)| id(reference))
        }
    }

    fn advance(&mut self, lane: usize) {
        let lane = &mut self.lanes[lane];
        if self.ascending {
            lane.next += 1;
        } else {
            lane.next -= 1;
        }
    }
}

fn matches(query: &Query, record: &RecordView<'_>) -> bool {
    query.kind.is_none_or(|kind| kind == record.kind) && query.status.is_none_or(|status| status == record.status)
}
