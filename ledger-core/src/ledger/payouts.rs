//! Withdrawals after their reservation: what an executor asks for and reports, what an operator decides, what a bank tells.
//!
//! Every change is one compare-and-set under the account's shard: decided from the withdrawal as it is, appended, applied.

use std::collections::BTreeSet;
use std::time::Duration;

use super::engine::{Engine, Fuse, Refusal};
use super::fingerprint::{fingerprint_of_cancel, fingerprint_of_resolve};
use super::keys::{Settled, Unclaimed};
use crate::command::{CancelWithdrawal, Notice, ResolveWithdrawal};
use crate::commit::Commit;
use crate::error::{Error, Rejection};
use crate::journal::codec;
use crate::state::Entry;
use crate::state::locator::Locator;
use crate::sync::{Arc, Ordering};
use crate::types::{Fingerprint, IdempotencyKey, Seq, Timestamp, TransactionId};
use crate::view::{NoticeChange, Noticed};
use crate::wal::{Level, Reservation};
use crate::withdrawals::{
    Attempt, Conflict, Due, DueQueue, EVIDENCE_BYTES_MAX, Event, Inquiry, Policy, Step, Submission, Substatus,
    Withdrawal, WithdrawalEntry, answer_inquiry, cancel, doubt, end_attempt, interrupt_attempt, next_step,
    pass_deadline, resolve, start_attempt, take_notice,
};

/// More bytes than any withdrawal's entry takes, its evidence included.
const ENTRY_BYTES_MAX: usize = codec::WITHDRAWAL_BYTES_MAX + EVIDENCE_BYTES_MAX;

/// How long a change waits that the log had no room for.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The withdrawals that an executor is to be told of.
#[derive(Default)]
pub(super) struct OpenWithdrawals {
    pub(super) queue: DueQueue,
    /// Those that hold a place: accepted by this process, first attempt not ended.
    pub(super) holders: BTreeSet<TransactionId>,
    /// Those whose attempt was running when the log was last closed, or cut off: nobody runs it any more.
    interrupted: BTreeSet<TransactionId>,
}

impl Engine {
    pub(crate) fn due_withdrawals(&self, fresh: bool, max: usize) -> Vec<Due> {
        let now = self.now();
        let ids = self.open.lock().queue.take(fresh, now, max);
        let due = ids.into_iter().filter_map(|id| {
            self.interrupt(id);
            let shard = self.tables.home(id)?;
            let withdrawal = &shard.withdrawals.get(&id)?.withdrawal;
            let step = next_step(withdrawal, self.patience.of(withdrawal, self.time.leap().is_some()), now);
            let has_ended = !withdrawal.substatus.is_open();
            drop(shard);
            match step {
                Step::WaitUntil(time) => {
                    self.open.lock().queue.schedule(id, time, fresh);
                    None
                }
                Step::Nothing => {
                    // It can end before it is announced, by a notice or a caller who guessed its id.
                    if has_ended && self.open.lock().holders.remove(&id) {
                        self.places.give_back();
                    }
                    None
                }
                step => Some(Due { id, step }),
            }
        });
        due.collect()
    }

    pub(crate) fn defer_withdrawal(&self, id: TransactionId, until: Timestamp) {
        {
            let mut open = self.open.lock();
            let fresh = open.holders.contains(&id);
            open.queue.schedule(id, until, fresh);
        }
        self.notify();
    }

    pub(crate) fn next_due_in(&self) -> Option<Duration> {
        let now = self.now();
        let next = self.open.lock().queue.next(now)?;
        Some(next.saturating_since(now))
    }

    pub(crate) fn on_withdrawal_due(&self, notify: impl Fn() + Send + Sync + 'static) {
        *self.notify.lock() = Some(Arc::new(notify));
    }

    pub(crate) fn start_attempt(&self, id: TransactionId) -> Result<Commit<Attempt>, Error> {
        let form = |withdrawal: &Withdrawal| Attempt { number: withdrawal.attempts, withdrawal: withdrawal.clone() };
        let started = self.change(id, form, |seen| start_attempt(seen.withdrawal, seen.policy, seen.now))?;
        #[cfg(any(test, feature = "sim"))]
        if self.has(crate::sim::PlantedBug::AttemptNotLogged) {
            return Ok(started.resting_on(Seq::ZERO));
        }
        // Durable in every mode: no byte may leave for the bank before.
        Ok(started.at(Level::Durable))
    }

    pub(crate) fn end_attempt(
        &self,
        id: TransactionId,
        attempt: u32,
        outcome: &Submission,
    ) -> Result<Commit<Substatus>, Error> {
        self.change(id, substatus, |seen| end_attempt(seen.withdrawal, seen.policy, attempt, outcome, seen.now))
    }

    pub(crate) fn record_inquiry(&self, id: TransactionId, outcome: &Inquiry) -> Result<Commit<Substatus>, Error> {
        self.change(id, substatus, |seen| answer_inquiry(seen.withdrawal, seen.policy, outcome, seen.now))
    }

    pub(crate) fn pass_deadline(&self, id: TransactionId) -> Result<Commit<Substatus>, Error> {
        self.change(id, substatus, |seen| pass_deadline(seen.withdrawal, seen.policy, seen.now))
    }

    pub(crate) fn doubt_all_withdrawals(&self) -> Result<(), Error> {
        for index in 0..self.tables.shards.len() {
            let open: Vec<TransactionId> = {
                let shard = self.tables.shards[index].read();
                let open = |id: &TransactionId| shard.withdrawals[id].withdrawal.substatus.is_open();
                shard.register.after(None).filter(open).collect()
            };
            for id in open {
                match self.doubt_withdrawal(id).and_then(Commit::wait) {
                    // It is in doubt already.
                    Ok(_) | Err(Error::Rejected(Rejection::WithdrawalConflict { .. })) => {}
                    Err(err) => return Err(err),
                }
            }
        }
        Ok(())
    }

    pub(crate) fn doubt_withdrawal(&self, id: TransactionId) -> Result<Commit<Substatus>, Error> {
        self.interrupt(id);
        self.change(id, substatus, |seen| doubt(seen.withdrawal, seen.policy, seen.now))
    }

    pub(crate) fn notify_withdrawal(&self, notice: &Notice<'_>) -> Result<Commit<Noticed>, Error> {
        self.check_halted()?;
        let id = notice.reference.id;
        let is_known = self.tables.home(id).and_then(|shard| Some(shard.withdrawals.get(&id)?.withdrawal.reference))
            == Some(notice.reference);
        if !is_known {
            return Err(Rejection::TransactionNotFound.into());
        }
        self.interrupt(id);
        let Notice { outcome, occurred_at, evidence, .. } = *notice;
        let mut room = self.room_for_change(ENTRY_BYTES_MAX)?;
        let changed = self.compare_and_set(id, &mut room, |seen| {
            take_notice(
                seen.withdrawal,
                seen.policy,
                outcome,
                occurred_at,
                evidence,
                seen.has_room_for_return,
                seen.now,
            )
        })?;
        drop(room);
        self.notify();
        let change = match &changed.decided {
            Ok(Event::Contradicted { .. }) => NoticeChange::Discrepancy,
            Ok(_) => NoticeChange::Changed,
            Err(_) => NoticeChange::Repeat,
        };
        Ok(self.commit(Ok(Noticed { withdrawal: changed.withdrawal, change }), changed.seq))
    }

    pub(crate) fn cancel_withdrawal(&self, asked: &CancelWithdrawal<'_>) -> Result<Commit<Withdrawal>, Error> {
        self.command(
            asked.id,
            asked.key,
            fingerprint_of_cancel(asked),
            |seen| cancel(seen.withdrawal),
            |no, withdrawal| {
                let _: Conflict = no;
                Rejection::NotCancellable(Box::new(withdrawal))
            },
        )
    }

    pub(crate) fn resolve_withdrawal(&self, asked: &ResolveWithdrawal<'_>) -> Result<Commit<Withdrawal>, Error> {
        let decide = |seen: &Seen<'_>| resolve(seen.withdrawal, asked.outcome, asked.evidence, asked.operator);
        self.command(asked.id, asked.key, fingerprint_of_resolve(asked), decide, |_, withdrawal| {
            let withdrawal = Box::new(withdrawal);
            match withdrawal.substatus {
                Substatus::Submitting => Rejection::AttemptUnderWay(withdrawal),
                substatus if substatus.is_open() => Rejection::NeverAttempted(withdrawal),
                _ => Rejection::AlreadyResolved(withdrawal),
            }
        })
    }

    /// A command about a withdrawal, under a key of its own. `refuse` says why it is not done, for a withdrawal as it
    /// stands: also where the entry that was made is a discrepancy.
    fn command<'e>(
        &self,
        id: TransactionId,
        key: IdempotencyKey<'e>,
        fingerprint: Fingerprint,
        decide: impl FnOnce(&Seen<'_>) -> Result<WithdrawalEntry<'e>, Conflict>,
        refuse: impl FnOnce(Conflict, Withdrawal) -> Rejection,
    ) -> Result<Commit<Withdrawal>, Error> {
        self.check_halted()?;
        let hash = self.tables.keys.hash(key.as_str());
        let repeated = |settled| match self.repeat_of(fingerprint, settled) {
            Refusal::Rejected(rejection, seen) => self.refuse(rejection, seen),
            Refusal::Halted(halted) => Err(halted.into()),
        };
        if let Some(settled) = self.tables.keys.settled(hash, key.as_str()) {
            return repeated(settled);
        }
        // Before the claim, since it tells the executor; and before there is room, since it needs some of its own.
        self.interrupt(id);
        // Also before the claim, as by every command: who has the room may wait for that claim.
        let mut room = self.room_for_change(ENTRY_BYTES_MAX + codec::COMMANDED_BYTES_MAX)?;
        let claim = match self.tables.keys.claim(hash, key.as_str()) {
            Ok(claim) => claim,
            Err(Unclaimed::Full) => return Err(Rejection::Overloaded.into()),
            Err(Unclaimed::Settled(settled)) => return repeated(settled),
        };
        let changed = self.compare_and_set(id, &mut room, |seen| {
            decide(seen).map(|entry| WithdrawalEntry { command: Some((key, fingerprint)), ..entry })
        })?;
        let conflict = match changed.decided {
            Ok(Event::Contradicted { .. }) => Conflict::Ended,
            Ok(_) => {
                // Before anyone is told of it: what is called then is not ours, and may ask.
                let settled = Settled { id, fingerprint: fingerprint.get() as u64 };
                claim.settle(key.as_str(), settled, changed.seq);
                drop(room);
                self.notify();
                return Ok(self.commit(Ok(changed.withdrawal), changed.seq));
            }
            Err(conflict) => conflict,
        };
        self.refuse(refuse(conflict, changed.withdrawal), changed.seq)
    }

    /// Queues the open withdrawals that the log had. They hold no place.
    pub(crate) fn resume(&self, open: Vec<Withdrawal>) {
        // Relaxed: a gauge.
        self.withdrawals_open.store(open.len() as u64, Ordering::Relaxed);
        let mut queued = self.open.lock();
        for withdrawal in open {
            if withdrawal.is_running() {
                queued.interrupted.insert(withdrawal.id);
            }
            let due = if withdrawal.is_running() { Some(withdrawal.changed_at) } else { withdrawal.due };
            if let Some(due) = due {
                queued.queue.schedule(withdrawal.id, due, false);
            }
        }
    }

    /// Records that an attempt found running in the log is run by nobody: its outcome is unknown.
    fn interrupt(&self, id: TransactionId) {
        if !self.open.lock().interrupted.remove(&id) {
            return;
        }
        let interrupted = self.change(id, substatus, |seen| interrupt_attempt(seen.withdrawal, seen.policy, seen.now));
        if let Err(Error::Rejected(Rejection::StorageFull | Rejection::Overloaded)) = interrupted {
            let mut open = self.open.lock();
            open.interrupted.insert(id);
            open.queue.schedule(id, self.now().saturating_add(RETRY_AFTER), false);
        }
    }

    /// One compare-and-set, of which the caller wants only where the withdrawal is then. That nothing follows is an
    /// error, and so is a contradiction, which is recorded.
    fn change<'e, T>(
        &self,
        id: TransactionId,
        form: impl FnOnce(&Withdrawal) -> T,
        decide: impl FnOnce(&Seen<'_>) -> Result<WithdrawalEntry<'e>, Conflict>,
    ) -> Result<Commit<T>, Error> {
        let mut room = self.room_for_change(ENTRY_BYTES_MAX)?;
        let Changed { decided, withdrawal, seq } = self.compare_and_set(id, &mut room, decide)?;
        // What is called then may ask for room.
        drop(room);
        self.notify();
        let conflict = match decided {
            Ok(Event::Contradicted { says, .. }) => Conflict::Contradicted { ended: withdrawal.substatus, says },
            Ok(_) => return Ok(self.commit(Ok(form(&withdrawal)), seq)),
            Err(conflict) => conflict,
        };
        self.refuse(Rejection::WithdrawalConflict { id, conflict }, seq)
    }

    /// Room for one change of at most so many bytes, asked for before anything is claimed or locked.
    fn room_for_change(&self, bytes_max: usize) -> Result<Reservation<'_>, Error> {
        match self.admit_change(bytes_max) {
            Ok(room) => Ok(room),
            Err(Refusal::Rejected(rejection, _)) => Err(rejection.into()),
            Err(Refusal::Halted(halted)) => Err(halted.into()),
        }
    }

    /// One compare-and-set: `decide` sees the withdrawal as it is, and what it says is appended and applied. The caller
    /// tells the executor of it.
    fn compare_and_set<'e>(
        &self,
        id: TransactionId,
        room: &mut Reservation<'_>,
        decide: impl FnOnce(&Seen<'_>) -> Result<WithdrawalEntry<'e>, Conflict>,
    ) -> Result<Changed, Error> {
        let mut bytes = Vec::with_capacity(ENTRY_BYTES_MAX);
        {
            let mut shard = self.tables.home_mut(id).ok_or(Rejection::TransactionNotFound)?;
            let _fuse = Fuse(&self.wal);
            let held = shard.withdrawals.get(&id).ok_or(Rejection::TransactionNotFound)?;
            // Under the lock: while it was waited for, a window may have closed.
            let now = self.now();
            let (withdrawal, leapt) = (&held.withdrawal, self.time.leap().is_some());
            let has_room_for_return = shard.has_room_for_return(id) && Locator::has_room_after(self.wal.appended(), 1);
            let seen = Seen { withdrawal, policy: self.patience.of(withdrawal, leapt), now, has_room_for_return };
            let decided = decide(&seen);
            #[cfg(any(test, feature = "sim"))]
            let decided = self.spoilt(withdrawal, decided);
            let entry = match decided {
                Ok(entry) => Entry::Withdrawal(entry),
                Err(conflict) => {
                    let (withdrawal, seq) = (withdrawal.clone(), held.last_seq);
                    return Ok(Changed { decided: Err(conflict), withdrawal, seq });
                }
            };
            let from = withdrawal.substatus;
            codec::encode(&entry, &mut bytes);
            let stamp = self.wal.append(room, now, &bytes)?;
            let Entry::Withdrawal(entry) = entry else { unreachable!("just made") };
            self.tables.apply_withdrawal(&mut shard, &entry, stamp);
            // Still under the shard's lock, so that two changes of one withdrawal reach the queue in their order.
            self.follow(&entry, from);
            let withdrawal = shard.withdrawals[&id].withdrawal.clone();
            Ok(Changed { decided: Ok(entry.event), withdrawal, seq: stamp.seq })
        }
    }

    /// Keeps the queue, the places and the gauge true after a change from `from`.
    fn follow(&self, entry: &WithdrawalEntry<'_>, from: Substatus) {
        // What was only noted changes nothing for whoever has the withdrawal in hand.
        let is_noted = matches!(entry.event, Event::Noticed { .. }) && entry.to == from;
        if is_noted || !from.is_open() {
            return;
        }
        let (mut gives_back, id) = (false, entry.id);
        {
            let mut open = self.open.lock();
            if entry.to != Substatus::Submitting {
                gives_back = open.holders.remove(&id);
            }
            match entry.due {
                Some(due) if entry.to.is_open() => open.queue.schedule(id, due, false),
                _ => {
                    open.queue.remove(id);
                }
            }
        }
        if gives_back {
            self.places.give_back();
        }
        if !entry.to.is_open() {
            // Relaxed: a gauge.
            self.withdrawals_open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What a decision goes by, under the account's lock.
struct Seen<'s> {
    withdrawal: &'s Withdrawal,
    policy: &'s Policy,
    now: Timestamp,
    has_room_for_return: bool,
}

/// What a decision came to.
struct Changed {
    /// What was recorded, or why nothing was.
    decided: Result<Event, Conflict>,
    /// The withdrawal after it.
    withdrawal: Withdrawal,
    /// The last entry about it.
    seq: Seq,
}

fn substatus(withdrawal: &Withdrawal) -> Substatus {
    withdrawal.substatus
}
