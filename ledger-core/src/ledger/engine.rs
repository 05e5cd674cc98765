//! What every handle of a ledger shares, and the life of a command:
//!
//! ```text
//! validate → claim the key → lock the accounts' shards (ascending) → plan → append → apply → unlock → durable → reply
//!                                                                   └ a rejection ends here: nothing is appended
//! ```
//!
//! An entry takes its seq and time between `plan` and `apply`, under the locks, so the order of the log is the order of
//! the locks. No I/O happens under a lock, and no claim outlives its command.

use super::checkpoints::Tally;
use super::fingerprint::fingerprint;
use super::keys::{Claim, Settled, Unclaimed};
use super::patience::Patience;
use super::payouts::OpenWithdrawals;
use super::tables::{LockedShards, Origin, Tables};
use super::time::LedgerTime;
use crate::ahead::Ahead;
use crate::checkpoint::{Checkpointer, digest};
use crate::command::Command;
use crate::commit::Commit;
use crate::error::{Error, Halted, Rejection};
use crate::journal::codec;
use crate::options::Options;
use crate::recovery::Recovered;
use crate::state::account::Slot;
use crate::state::locator::Locator;
use crate::state::plan::{Movement, entry_of, plan};
use crate::state::shard::Shard;
use crate::state::{KnownSlots, TransactionEntry};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, thread};
use crate::sys::MemoryGauge;
use crate::types::{Fingerprint, Seq, Timestamp, TransactionId, UserId};
use crate::view::{Balance, Receipt};
use crate::wal::{Bundle, Level, Refused, Reservation, Stamp, Wal};
use crate::withdrawals::Places;

/// The most shards: the locator keeps a shard in one byte.
pub(crate) const SHARDS_MAX: usize = 128;

/// What every handle of a ledger shares.
pub(crate) struct Engine {
    pub(super) wal: Wal,
    pub(super) tables: Tables,
    pub(super) time: LedgerTime,
    pub(super) places: Places,
    pub(super) open: Mutex<OpenWithdrawals>,
    pub(super) notify: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
    pub(super) patience: Patience,
    pub(super) withdrawals_open: AtomicU64,
    /// `None` in a ledger without a log.
    pub(super) checkpointer: Option<Checkpointer>,
    pub(super) recovered: Recovered,
    pub(super) checkpoints: Mutex<Tally>,
    memory: MemoryGauge,
    /// What the tables will need next is written to meanwhile.
    _ahead: Option<Ahead>,
    pub(super) closing: AtomicBool,
    /// A batch of so many commands is no more than those.
    pub(super) few: usize,
    #[cfg(any(test, feature = "sim"))]
    pub(super) planted: Option<crate::sim::PlantedBug>,
}

/// A command with what is computed of it before any lock is taken.
pub(super) struct Prepared<'c, 'a> {
    pub(super) command: &'c Command<'a>,
    /// Its money.
    pub(super) movement: Movement,
    pub(super) fingerprint: Fingerprint,
    pub(super) key: &'a str,
    pub(super) key_hash: u64,
    /// Whether it may be a plain movement, by what it says.
    pub(super) is_plain: bool,
}

impl<'a> Prepared<'_, 'a> {
    /// The entry that the command becomes if it is accepted at `now`.
    #[inline]
    pub(super) fn entry(&self, now: Timestamp) -> TransactionEntry<'a> {
        entry_of(self.command, &self.movement, self.fingerprint, now)
    }

    /// Whether it touches two accounts.
    pub(super) fn is_transfer(&self) -> bool {
        self.movement.debit.and(self.movement.credit).is_some()
    }

    /// Adds the command's entry to the bundle.
    #[inline]
    pub(super) fn encode(&self, plan: Plan, now: Timestamp, bundle: &mut Bundle) {
        match plan {
            Plan::Plain(_) => self.encode_plain(bundle),
            Plan::General(_) => {
                let encode = |bytes: &mut Vec<u8>| codec::encode_transaction(&self.entry(now), bytes);
                bundle.push(self.entry_bytes_max(), encode);
            }
        }
    }

    /// As [`Prepared::encode`], of a plain movement.
    #[inline]
    pub(super) fn encode_plain(&self, bundle: &mut Bundle) {
        let encode = |bytes: &mut Vec<u8>| codec::encode_plain(self.key, self.fingerprint, &self.movement, bytes);
        bundle.push(self.entry_bytes_max(), encode);
    }

    /// At least as many bytes as the command's entry takes.
    #[inline]
    pub(super) fn entry_bytes_max(&self) -> usize {
        let attached = if self.is_plain { 0 } else { attached_bytes_max(self.command) };
        codec::TRANSACTION_BYTES_MAX + self.key.len() + attached
    }
}

/// How a command that is accepted is done.
#[derive(Clone, Copy)]
pub(super) enum Plan {
    /// As a plain movement, between the accounts at these slots.
    Plain(KnownSlots),
    /// As its entry says, to the accounts at these slots.
    General(KnownSlots),
}

/// Why a command was not done, and the last entry that the answer depends on.
pub(super) enum Refusal {
    Rejected(Rejection, Seq),
    Halted(Halted),
}

impl Refusal {
    /// The same, resting on the entry `seen` too.
    pub(super) fn having_seen(self, seen: Seq) -> Refusal {
        match self {
            Refusal::Rejected(rejection, earlier) => Refusal::Rejected(rejection, earlier.max(seen)),
            halted @ Refusal::Halted(_) => halted,
        }
    }
}

impl From<Halted> for Refusal {
    fn from(halted: Halted) -> Refusal {
        Refusal::Halted(halted)
    }
}

/// Halts the ledger if the thread panics meanwhile: these locks do not poison, and a half applied entry is neither
/// there nor absent. Made after the locks are taken, so that it burns before they are let go: nobody who waited for one of
/// them appends to what a panic left.
pub(super) struct Fuse<'a>(pub(super) &'a Wal);

impl Drop for Fuse<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.halt("a thread panicked while it changed the state");
        }
    }
}

impl Engine {
    pub(crate) fn new(
        options: &Options,
        wal: Wal,
        tables: Tables,
        time: LedgerTime,
        checkpointer: Option<Checkpointer>,
        recovered: Recovered,
    ) -> Engine {
        Engine {
            wal,
            tables,
            time,
            places: Places::new(options.withdrawal_places),
            open: Mutex::new(OpenWithdrawals::default()),
            notify: Mutex::new(None),
            patience: Patience::new(options.policy.clone()),
            withdrawals_open: AtomicU64::new(0),
            checkpoints: Mutex::new(Tally::since(recovered.snapshot)),
            checkpointer,
            recovered,
            memory: MemoryGauge::new(options.memory_bytes_max),
            _ahead: if options.threads { Ahead::begin(options.memory_ahead) } else { None },
            closing: AtomicBool::new(false),
            few: options.few,
            #[cfg(any(test, feature = "sim"))]
            planted: options.planted,
        }
    }

    #[cfg(any(test, feature = "sim"))]
    pub(super) fn has(&self, bug: crate::sim::PlantedBug) -> bool {
        self.planted == Some(bug)
    }

    /// Goes on where the log ends, in time too.
    pub(crate) fn go_on(&mut self) {
        let last = self.wal.time();
        if self.time.go_on_from(last) {
            self.patience.doubt_until(last);
        }
    }

    /// Which opening of which ledger this is.
    fn origin(&self) -> Origin {
        Origin { ledger: self.wal.uuid(), epoch: self.wal.epoch() }
    }

    /// The time to plan with: the believed time of day, never behind the log.
    pub(super) fn now(&self) -> Timestamp {
        self.time.now().max(self.wal.time())
    }

    /// Takes nothing more in.
    pub(super) fn refuse_commands(&self) {
        // Relaxed: a command that misses the flag is refused or awaited by the log's own close.
        self.closing.store(true, Ordering::Relaxed);
    }

    pub(super) fn close(&self) -> Result<(), Halted> {
        self.refuse_commands();
        self.wal.close()
    }

    pub(super) fn digest(&self) -> (Seq, u128) {
        match &self.checkpointer {
            Some(checkpointer) => checkpointer.digest(&self.tables, &self.wal),
            None => digest(&self.tables, || self.wal.last()),
        }
    }

    pub(super) fn prepare<'c, 'a>(&self, command: &'c Command<'a>) -> Prepared<'c, 'a> {
        let (key, is_plain) = match command {
            Command::Charge(c) => (c.key, c.release_at.is_none() && c.metadata.is_none()),
            Command::Transfer(t) => (t.key, t.release_at.is_none() && t.metadata.is_none()),
            Command::Withdraw(w) => (w.key, false),
        };
        let (key, movement) = (key.as_str(), Movement::of(command));
        let (fingerprint, key_hash) = (fingerprint(command), self.tables.keys.hash(key));
        Prepared { command, movement, fingerprint, key, key_hash, is_plain }
    }

    /// One command, decided; the commit waits for the disk.
    pub(crate) fn submit(&self, command: &Command<'_>) -> Result<Commit<Receipt>, Error> {
        self.check_halted()?;
        let prepared = self.prepare(command);
        match self.submit_prepared(&prepared) {
            Ok(receipt) => Ok(self.commit(Ok(receipt), receipt.balance.seq)),
            Err(Refusal::Rejected(rejection, seen)) => self.refuse(rejection, seen),
            Err(Refusal::Halted(halted)) => Err(halted.into()),
        }
    }

    fn submit_prepared(&self, prepared: &Prepared<'_, '_>) -> Result<Receipt, Refusal> {
        let mut room = match self.admit(1, prepared.entry_bytes_max()) {
            Ok(room) => room,
            // A repeat is told that it is one, whatever else is wrong.
            Err(refusal) => return Err(self.settled(prepared).unwrap_or(refusal)),
        };
        let (receipt, place) = self.submit_admitted(prepared, &mut room)?;
        drop(room);
        self.announce(&receipt, place);
        Ok(receipt)
    }

    /// One command for which there is room. Its withdrawal is to be announced once that is given back.
    #[inline]
    pub(super) fn submit_admitted(
        &self,
        prepared: &Prepared<'_, '_>,
        room: &mut Reservation<'_>,
    ) -> Result<(Receipt, Option<Place<'_>>), Refusal> {
        let claim = match self.tables.keys.claim(prepared.key_hash, prepared.key) {
            Ok(claim) => claim,
            Err(Unclaimed::Settled(settled)) => return Err(self.repeat(prepared, settled)),
            Err(Unclaimed::Full) => return Err(Refusal::Rejected(Rejection::Overloaded, Seq::ZERO)),
        };
        let place = self.check_before_plan(prepared)?;
        let now = self.now();
        let fuse = Fuse(&self.wal);
        let (receipt, id) = {
            let mut shards = self.tables.lock_for(&prepared.movement);
            let _fuse = Fuse(&self.wal);
            self.execute(&mut shards, prepared, now, room)?
        };
        self.conclude(prepared, claim, id);
        drop(fuse);
        Ok((receipt, place))
    }

    /// Plans, appends and applies one command under its shards' locks.
    pub(super) fn execute<'e>(
        &'e self,
        shards: &mut LockedShards<'e>,
        prepared: &Prepared<'_, '_>,
        now: Timestamp,
        room: &mut Reservation<'_>,
    ) -> Result<(Receipt, TransactionId), Refusal> {
        let plan = self.plan(shards, prepared, [None; 2], now, 0)?;
        let mut bundle = self.wal.bundle();
        prepared.encode(plan, now, &mut bundle);
        self.let_others_in_if_planted(shards);
        let stamp = self.wal.append_together(room, now, &bundle)?;
        let receipt = self.apply_planned(shards, prepared, plan, now, stamp);
        Ok((receipt, receipt.transaction_id))
    }

    /// Decides one command under its shards' locks. `found` are accounts that were looked for; `before` commands are planned and
    /// yet to be applied, to other accounts.
    #[inline]
    pub(super) fn plan(
        &self,
        shards: &LockedShards<'_>,
        prepared: &Prepared<'_, '_>,
        found: KnownSlots,
        now: Timestamp,
        before: usize,
    ) -> Result<Plan, Refusal> {
        if prepared.is_plain
            && let Some(slots) = self.plan_plain(shards, &prepared.movement, found, before)
        {
            return Ok(Plan::Plain(slots));
        }
        self.plan_locked(shards, &prepared.movement, found, now, before).map(Plan::General)
    }

    /// As [`Engine::plan`], of a movement that may be a plain one; `None` where it is none, or is to be rejected. Says where its
    /// accounts are.
    #[inline]
    fn plan_plain(
        &self,
        shards: &LockedShards<'_>,
        movement: &Movement,
        [debit, credit]: KnownSlots,
        before: usize,
    ) -> Option<KnownSlots> {
        let credit = self.plain_account(shards, movement.credit?, movement, credit, before)?;
        if !credit.0.takes_plain(credit.1, movement.amount) {
            return None;
        }
        let Some(from) = movement.debit else { return Some([None, Some(credit.1)]) };
        let debit = self.plain_account(shards, from, movement, debit, before)?;
        debit.0.pays_plain(debit.1, movement.amount).then_some([Some(debit.1), Some(credit.1)])
    }

    /// Where an account of a movement that may be a plain one is, if its shard has room.
    #[inline]
    fn plain_account<'s>(
        &self,
        shards: &'s LockedShards<'_>,
        user: UserId,
        movement: &Movement,
        found: Option<Slot>,
        before: usize,
    ) -> Option<(&'s Shard, Slot)> {
        let shard = shards.get(self.tables.shard_of(user));
        let slot = found.or_else(|| shard.slot(user, movement.currency))?;
        shard.has_room_for(before + 1).then_some((shard, slot))
    }

    /// As [`Engine::plan`], of any command. Says where its accounts are.
    fn plan_locked(
        &self,
        shards: &LockedShards<'_>,
        movement: &Movement,
        found: KnownSlots,
        now: Timestamp,
        before: usize,
    ) -> Result<KnownSlots, Refusal> {
        let matured_by = now;
        #[cfg(any(test, feature = "sim"))]
        let matured_by = match self.has(crate::sim::PlantedBug::ReleaseEarly) {
            true => now.saturating_add(std::time::Duration::from_secs(1)),
            false => matured_by,
        };
        let [mut debit, mut credit] = found;
        let (mut withdrawable, mut total, mut seen) = (None, None, Seq::ZERO);
        if let Some(user) = movement.debit {
            let shard = self.shard_with_room(shards, user, before)?;
            debit = debit.or_else(|| shard.slot(user, movement.currency));
            let (parts, seq) = shard.parts_of(debit, matured_by);
            (withdrawable, seen) = (Some(parts.withdrawable()), seq);
        }
        if let Some(user) = movement.credit {
            let shard = self.shard_with_room(shards, user, before)?;
            credit = credit.or_else(|| shard.slot(user, movement.currency));
            let account = credit.map(|slot| shard.accounts.get(slot));
            total = Some(account.map_or(0, |account| account.total));
            seen = seen.max(account.map_or(Seq::ZERO, |account| account.last_seq()));
        }
        plan(movement, withdrawable, total).map_err(|rejection| {
            // The answer may rest on a hold that matured by `now`: no later entry may be earlier than that.
            self.wal.raise_time(now);
            Refusal::Rejected(rejection, seen)
        })?;
        Ok([debit, credit])
    }

    /// The user's shard, unless it has no room for a command more than the `before` that are planned.
    #[inline]
    fn shard_with_room<'s>(
        &self,
        shards: &'s LockedShards<'_>,
        user: UserId,
        before: usize,
    ) -> Result<&'s Shard, Refusal> {
        let shard = shards.get(self.tables.shard_of(user));
        if shard.has_room_for(before + 1) {
            Ok(shard)
        } else {
            Err(Refusal::Rejected(Rejection::Overloaded, Seq::ZERO))
        }
    }

    /// The planted bug: between a plan and its append.
    #[cfg_attr(not(any(test, feature = "sim")), allow(clippy::unused_self, reason = "nothing is planted then"))]
    pub(super) fn let_others_in_if_planted<'e>(&'e self, _shards: &mut LockedShards<'e>) {
        #[cfg(any(test, feature = "sim"))]
        if self.has(crate::sim::PlantedBug::UnlockBeforeAppend) {
            _shards.unlock_and_lock(&self.tables);
        }
    }

    /// Does what the entry of a planned command says, which was appended, and says what came of it.
    #[inline]
    pub(super) fn apply_planned(
        &self,
        shards: &mut LockedShards<'_>,
        prepared: &Prepared<'_, '_>,
        plan: Plan,
        now: Timestamp,
        stamp: Stamp,
    ) -> Receipt {
        match plan {
            Plan::Plain(slots) => {
                let movement = &prepared.movement;
                let (id, parts) = self.tables.apply_plain(shards, movement, slots, stamp, prepared.key_hash);
                let balance = balance(movement.viewer(), movement.currency, parts.into(), stamp.seq);
                Receipt { transaction_id: id, created_at: stamp.time, held_until: None, balance }
            }
            Plan::General(known) => self.apply(shards, &prepared.entry(now), known, stamp, prepared.key_hash),
        }
    }

    /// Does what an appended entry says, and says what came of it.
    pub(super) fn apply(
        &self,
        shards: &mut LockedShards<'_>,
        entry: &TransactionEntry<'_>,
        known: KnownSlots,
        stamp: Stamp,
        key_hash: u64,
    ) -> Receipt {
        let (id, slot) = self.tables.apply(shards, entry, known, self.origin(), stamp, key_hash);
        self.receipt(shards, entry, stamp, id, slot)
    }

    /// `slot` is where the viewer's account is.
    fn receipt(
        &self,
        shards: &LockedShards<'_>,
        entry: &TransactionEntry<'_>,
        stamp: Stamp,
        id: TransactionId,
        slot: Slot,
    ) -> Receipt {
        let (viewer, posting) = (entry.viewer(), &entry.postings[0]);
        let parts = shards.get(self.tables.shard_of(viewer)).accounts.parts(slot, stamp.time);
        Receipt {
            transaction_id: id,
            created_at: stamp.time,
            held_until: posting.release_at.filter(|&release_at| release_at > stamp.time),
            balance: balance(viewer, posting.currency, parts, stamp.seq),
        }
    }

    /// The key names the transaction from now on.
    pub(super) fn conclude(&self, prepared: &Prepared<'_, '_>, claim: Claim<'_>, id: TransactionId) {
        claim.settle(prepared.key, Settled { id, fingerprint: prepared.fingerprint.get() as u64 }, id.seq());
    }

    /// Tells the executor of a new withdrawal. Not while a claim or room is held: what it calls is not ours, and may ask, for
    /// room too.
    pub(super) fn announce(&self, receipt: &Receipt, place: Option<Place<'_>>) {
        let Some(place) = place else { return };
        place.keep();
        // Relaxed: a gauge.
        self.withdrawals_open.fetch_add(1, Ordering::Relaxed);
        {
            let mut open = self.open.lock();
            open.holders.insert(receipt.transaction_id);
            open.queue.schedule(receipt.transaction_id, receipt.created_at, true);
        }
        self.notify();
    }

    pub(super) fn notify(&self) {
        let notify = self.notify.lock().clone();
        if let Some(notify) = notify {
            notify();
        }
    }

    /// What is looked at after the key and before the balance: the accounts, then a place in the executor.
    pub(super) fn check_before_plan(&self, prepared: &Prepared<'_, '_>) -> Result<Option<Place<'_>>, Refusal> {
        if prepared.movement.debit == prepared.movement.credit {
            return Err(Refusal::Rejected(Rejection::SameAccount, Seq::ZERO));
        }
        if !matches!(prepared.command, Command::Withdraw(_)) {
            return Ok(None);
        }
        if !self.places.take() {
            return Err(Refusal::Rejected(Rejection::QueueFull, Seq::ZERO));
        }
        Ok(Some(Place(&self.places)))
    }

    /// Room for entries, unless the ledger takes no more.
    pub(super) fn admit(&self, records: usize, bytes: usize) -> Result<Reservation<'_>, Refusal> {
        self.check_takes(records)?;
        granted(self.wal.reserve(records, bytes))
    }

    /// As [`Engine::admit`], for entries that are appended together.
    pub(super) fn admit_together(&self, records: usize, bytes: usize) -> Result<Reservation<'_>, Refusal> {
        self.check_takes(records)?;
        granted(self.wal.reserve_together(records, bytes))
    }

    /// Room for a change of what was accepted before: it is recorded while there is a log at all.
    pub(super) fn admit_change(&self, bytes: usize) -> Result<Reservation<'_>, Refusal> {
        granted(self.wal.reserve(1, bytes))
    }

    fn check_takes(&self, records: usize) -> Result<(), Refusal> {
        let no = |rejection| Err(Refusal::Rejected(rejection, Seq::ZERO));
        // Relaxed: see `close`.
        if self.closing.load(Ordering::Relaxed) {
            return no(Rejection::ShuttingDown);
        }
        if self.memory.is_full() || !Locator::has_room_after(self.wal.appended(), records) {
            return no(Rejection::Overloaded);
        }
        Ok(())
    }

    /// The answer to a command whose key names an accepted one; `None` where it names none.
    pub(super) fn settled(&self, prepared: &Prepared<'_, '_>) -> Option<Refusal> {
        let settled = self.tables.keys.settled(prepared.key_hash, prepared.key)?;
        Some(self.repeat(prepared, settled))
    }

    /// The answer to a command whose key names an accepted one.
    pub(super) fn repeat(&self, prepared: &Prepared<'_, '_>, settled: Settled) -> Refusal {
        self.repeat_of(prepared.fingerprint, settled)
    }

    /// As [`Engine::repeat`], of whatever says what `fingerprint` is a hash of.
    pub(super) fn repeat_of(&self, fingerprint: Fingerprint, settled: Settled) -> Refusal {
        let original = self.view(settled.id, None).expect("a settled key names a transaction");
        let seen = original.last_seq;
        let same = settled.fingerprint == fingerprint.get() as u64;
        let original = Box::new(original);
        let rejection =
            if same { Rejection::DuplicateRequest(original) } else { Rejection::IdempotencyKeyReused(original) };
        Refusal::Rejected(rejection, seen)
    }

    /// A rejection leaves once what it saw is durable: at once if it is, else by way of the commit.
    pub(super) fn refuse<T>(&self, rejection: Rejection, seen: Seq) -> Result<Commit<T>, Error> {
        match self.wal.reached(seen, Level::Acknowledged) {
            Some(Ok(())) => Err(rejection.into()),
            Some(Err(halted)) => Err(halted.into()),
            None => Ok(self.commit(Err(rejection.into()), seen)),
        }
    }

    pub(super) fn commit<T>(&self, answer: Result<T, Error>, seen: Seq) -> Commit<T> {
        Commit::new(answer, seen, Level::Acknowledged, &self.wal)
    }

    pub(super) fn check_halted(&self) -> Result<(), Error> {
        match self.wal.halted() {
            None => Ok(()),
            Some(halted) => Err(halted.into()),
        }
    }
}

/// The log's answer to who asks for room.
fn granted(room: Result<Reservation<'_>, Refused>) -> Result<Reservation<'_>, Refusal> {
    let no = |rejection| Err(Refusal::Rejected(rejection, Seq::ZERO));
    match room {
        Ok(room) => Ok(room),
        Err(Refused::StorageFull) => no(Rejection::StorageFull),
        Err(Refused::Overloaded) => no(Rejection::Overloaded),
        Err(Refused::Closed) => no(Rejection::ShuttingDown),
        Err(Refused::TooLarge { bytes, bytes_max }) => no(Rejection::BatchTooLarge { bytes, bytes_max }),
        Err(Refused::Halted(halted)) => Err(Refusal::Halted(halted)),
    }
}

/// A place in the executor, given back unless it is kept.
pub(super) struct Place<'a>(&'a Places);

impl Place<'_> {
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

pub(super) fn balance(
    user: UserId,
    currency: crate::types::Currency,
    parts: crate::state::account::Parts,
    seq: Seq,
) -> Balance {
    Balance {
        user,
        currency,
        withdrawable: parts.withdrawable(),
        held: parts.held,
        reserved: parts.reserved,
        next_release_at: parts.next_release_at,
        seq,
    }
}

/// At least as many bytes as what is attached to the command takes in its entry.
fn attached_bytes_max(command: &Command<'_>) -> usize {
    let (destination, metadata) = match command {
        Command::Charge(c) => (None, c.metadata),
        Command::Transfer(t) => (None, t.metadata),
        Command::Withdraw(w) => (w.destination, w.metadata),
    };
    destination.map_or(0, |destination| destination.as_str().len())
        + metadata.map_or(0, |metadata| metadata.as_bytes().len())
}
