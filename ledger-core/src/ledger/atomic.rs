//! Many commands, all or none.
//!
//! All keys are claimed and all shards locked together; each command is planned on top of those before it, in a side
//! table; then all entries are appended, adjacent and in one frame, and applied. A repeat of the whole batch is told from its
//! first transaction, whose record says how many there were.

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use super::engine::{Engine, Fuse, Prepared, Refusal};
use super::keys::{Claim, Settled, Unclaimed};
use super::tables::LockedShards;
use crate::command::Command;
use crate::commit::Commit;
use crate::error::{Error, Rejection};
use crate::journal::codec;
use crate::state::account::Parts;
use crate::state::plan::plan;
use crate::state::{BatchPosition, TransactionEntry};
use crate::types::{Currency, Seq, Timestamp, TransactionId, UserId};
use crate::view::{AtomicReceipt, Receipt};
use crate::wal::{Reservation, Stamp};

/// Money as an atomic batch sees it: the accounts with what the batch's earlier commands did to them.
struct Speculation {
    accounts: Vec<Parts>,
    /// Looked up, never walked.
    index: HashMap<(UserId, Currency), usize, RandomState>,
    /// The last entry that touched any of them: what is said of one command rests on those before it.
    seen: Seq,
}

impl Engine {
    /// All commands or none.
    pub(crate) fn batch_atomic(&self, commands: &[Command<'_>]) -> Result<Commit<AtomicReceipt>, Error> {
        self.check_halted()?;
        let prepared: Vec<Prepared<'_, '_>> = commands.iter().map(|command| self.prepare(command)).collect();
        match self.execute_atomic(&prepared) {
            Ok((receipt, seen)) => Ok(self.commit(Ok(receipt), seen)),
            Err(Refusal::Rejected(rejection, seen)) => self.refuse(rejection, seen),
            Err(Refusal::Halted(halted)) => Err(halted.into()),
        }
    }

    fn execute_atomic(&self, commands: &[Prepared<'_, '_>]) -> Result<(AtomicReceipt, Seq), Refusal> {
        if commands.is_empty() {
            return Ok((AtomicReceipt { transactions: Vec::new(), repeat: false }, Seq::ZERO));
        }
        if let Some((index, first)) = twice(commands) {
            let same = commands[index].fingerprint == commands[first].fingerprint;
            return Err(rejected(index, Rejection::KeyTwiceInBatch { first, same }, Seq::ZERO));
        }
        let bytes_max = |prepared: &Prepared<'_, '_>| prepared.entry_bytes_max() + codec::BATCH_BYTES_MAX;
        let bytes = commands.iter().map(bytes_max).sum();
        let mut room = match self.admit_together(commands.len(), bytes) {
            Ok(room) => room,
            Err(refusal) => return self.repeated(commands).unwrap_or(Err(refusal)),
        };
        let mut claims: Vec<Option<Claim<'_>>> = commands.iter().map(|_| None).collect();
        let mut by_key: Vec<usize> = (0..commands.len()).collect();
        // All in one order, so that two batches that share keys cannot each wait for the other: that of the hashes,
        // since it is a hash that is claimed.
        by_key.sort_unstable_by_key(|&index| commands[index].key_hash);
        for index in by_key {
            match self.tables.keys.claim(commands[index].key_hash, commands[index].key) {
                Ok(claim) => claims[index] = Some(claim),
                Err(unclaimed) => {
                    drop(claims);
                    let full = Err(Refusal::Rejected(Rejection::Overloaded, Seq::ZERO));
                    let repeated = self.repeated(commands);
                    assert!(repeated.is_some() || unclaimed == Unclaimed::Full, "a settled key stays settled");
                    return repeated.unwrap_or(full);
                }
            }
        }
        let mut places = Vec::new();
        let mut barred = None;
        for prepared in commands {
            match self.check_before_plan(prepared) {
                Ok(place) => places.push(place),
                // Not yet the answer: one before it may be the first to blame.
                Err(refusal) => {
                    barred = Some(at(places.len(), refusal));
                    break;
                }
            }
        }
        let fuse = Fuse(&self.wal);
        let receipts = self.append_atomic(commands, places.len(), barred, &mut room)?;
        let transactions: Vec<TransactionId> = receipts.iter().map(|receipt| receipt.transaction_id).collect();
        let seen = receipts.last().expect("a batch has a command").balance.seq;
        for ((prepared, claim), &id) in commands.iter().zip(claims).zip(&transactions) {
            self.conclude(prepared, claim.expect("every key was claimed"), id);
        }
        drop(fuse);
        drop(room);
        for (receipt, place) in receipts.iter().zip(places) {
            self.announce(receipt, place);
        }
        Ok((AtomicReceipt { transactions, repeat: false }, seen))
    }

    /// Plans every command on top of those before it, then appends them in one frame and applies them. `barred` says why
    /// only the first `admitted` are looked at.
    fn append_atomic(
        &self,
        commands: &[Prepared<'_, '_>],
        admitted: usize,
        barred: Option<Refusal>,
        room: &mut Reservation<'_>,
    ) -> Result<Vec<Receipt>, Refusal> {
        let now = self.now();
        let needed = commands.iter().flat_map(|prepared| self.tables.shards_of(&prepared.movement));
        let mut shards = self.tables.lock(needed.collect());
        let _fuse = Fuse(&self.wal);
        if !shards.iter().all(|shard| shard.has_room_for(commands.len())) {
            return Err(Refusal::Rejected(Rejection::Overloaded, Seq::ZERO));
        }
        let mut speculation = Speculation { accounts: Vec::new(), index: HashMap::default(), seen: Seq::ZERO };
        let mut entries = Vec::with_capacity(commands.len());
        let mut bundle = self.wal.bundle();
        for (index, prepared) in commands.iter().enumerate().take(admitted) {
            let planned = speculation.plan(self, &shards, prepared, now);
            let mut entry = planned.map_err(|rejection| {
                self.wal.raise_time(now);
                rejected(index, rejection, speculation.seen)
            })?;
            entry.batch = Some(BatchPosition { index: index as u32, count: commands.len() as u32 });
            bundle.push(0, |bytes| codec::encode_transaction(&entry, bytes));
            entries.push(entry);
        }
        if let Some(refusal) = barred {
            self.wal.raise_time(now);
            return Err(refusal.having_seen(speculation.seen));
        }
        let first = self.wal.append_together(room, now, &bundle)?;
        let mut receipts = Vec::with_capacity(commands.len());
        for (index, entry) in entries.iter().enumerate() {
            let stamp = Stamp { seq: Seq::new(first.seq.get() + index as u64), time: first.time };
            receipts.push(self.apply(&mut shards, entry, [None; 2], stamp, commands[index].key_hash));
        }
        Ok(receipts)
    }

    /// The answer to an atomic batch of which some key names an accepted command: that of the earlier batch, if all of
    /// them repeat it. `None` where no key does.
    fn repeated(&self, commands: &[Prepared<'_, '_>]) -> Option<Result<(AtomicReceipt, Seq), Refusal>> {
        let look = |prepared: &Prepared<'_, '_>| self.tables.keys.settled(prepared.key_hash, prepared.key);
        let mut settled: Vec<Option<Settled>> = commands.iter().map(look).collect();
        let mut first = settled.iter().position(Option::is_some)?;
        // They were looked at one after the other, so one before the first may have been settled by now, and before it. When
        // none is that is looked at after it, there was a moment at which it was the first.
        while let Some(earlier) = (0..first).find(|&index| {
            settled[index] = look(&commands[index]);
            settled[index].is_some()
        }) {
            first = earlier;
        }
        if let Some(transactions) = self.earlier_batch(commands, &settled) {
            let seen = transactions.last().map_or(Seq::ZERO, |id| id.seq());
            return Some(Ok((AtomicReceipt { transactions, repeat: true }, seen)));
        }
        let refusal = self.repeat(&commands[first], settled[first].expect("this one is settled"));
        Some(Err(at(first, refusal)))
    }

    /// The transactions of the one earlier atomic batch that all the commands repeat.
    fn earlier_batch(&self, commands: &[Prepared<'_, '_>], settled: &[Option<Settled>]) -> Option<Vec<TransactionId>> {
        let first = settled[0]?.id;
        let mut transactions = Vec::with_capacity(settled.len());
        for (index, settled) in settled.iter().enumerate() {
            let settled = (*settled)?;
            let same = settled.fingerprint == commands[index].fingerprint.get() as u64;
            if !same || settled.id.get() != first.get() + index as u64 {
                return None;
            }
            transactions.push(settled.id);
        }
        let position = self.batch_position(first)?;
        (position.index == 0 && position.count as usize == commands.len()).then_some(transactions)
    }
}

impl Speculation {
    fn plan<'a>(
        &mut self,
        engine: &Engine,
        shards: &LockedShards<'_>,
        prepared: &Prepared<'_, 'a>,
        now: Timestamp,
    ) -> Result<TransactionEntry<'a>, Rejection> {
        let movement = &prepared.movement;
        let mut index_of =
            |user: Option<UserId>| user.map(|user| self.index(engine, shards, user, movement.currency, now));
        let (source, destination) = (index_of(movement.debit), index_of(movement.credit));
        let parts = |index: Option<usize>| index.map(|index| self.accounts[index]);
        plan(movement, parts(source).map(|parts| parts.withdrawable()), parts(destination).map(|parts| parts.total))?;
        let entry = prepared.entry(now);
        let posting = entry.postings[0];
        let amount = posting.amount.minor();
        if let Some(source) = source {
            let parts = &mut self.accounts[source];
            match destination {
                Some(_) => parts.total -= amount,
                None => parts.reserved += amount,
            }
        }
        if let Some(destination) = destination {
            let parts = &mut self.accounts[destination];
            parts.total += amount;
            // By the entry's time it may have matured: counted as held, it is at least not spent too early.
            parts.held += posting.release_at.map_or(0, |_| amount);
        }
        Ok(entry)
    }

    fn index(
        &mut self,
        engine: &Engine,
        shards: &LockedShards<'_>,
        user: UserId,
        currency: Currency,
        now: Timestamp,
    ) -> usize {
        *self.index.entry((user, currency)).or_insert_with(|| {
            let (parts, seq) = shards.get(engine.tables.shard_of(user)).parts(user, currency, now);
            self.seen = self.seen.max(seq);
            self.accounts.push(parts);
            self.accounts.len() - 1
        })
    }
}

/// The first command whose key an earlier one has, and that earlier one.
fn twice(commands: &[Prepared<'_, '_>]) -> Option<(usize, usize)> {
    let mut by_key: Vec<usize> = (0..commands.len()).collect();
    by_key.sort_unstable_by_key(|&index| (commands[index].key, index));
    by_key.windows(2).filter(|pair| commands[pair[0]].key == commands[pair[1]].key).map(|pair| (pair[1], pair[0])).min()
}

fn rejected(index: usize, rejection: Rejection, seen: Seq) -> Refusal {
    Refusal::Rejected(Rejection::BatchRejected { index, rejection: Box::new(rejection) }, seen)
}

fn at(index: usize, refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Rejected(rejection, seen) => rejected(index, rejection, seen),
        halted @ Refusal::Halted(_) => halted,
    }
}
