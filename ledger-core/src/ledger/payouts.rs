//! Withdrawals after their reservation: what an executor asks for and reports.
//!
//! Every change is one compare-and-set under the account's shard: decided from the withdrawal as it is, appended, applied.

use std::collections::BTreeSet;
use std::time::Duration;

use super::engine::{Engine, Fuse, Refusal};
use crate::commit::Commit;
use crate::error::{Error, Rejection};
use crate::journal::codec;
use crate::state::Entry;
use crate::sync::{Arc, Ordering};
use crate::types::{Seq, Timestamp, TransactionId};
use crate::wal::Level;
use crate::withdrawals::{
    Attempt, Conflict, Due, DueQueue, EVIDENCE_BYTES_MAX, Inquiry, Policy, Step, Submission, Substatus, Withdrawal,
    WithdrawalEntry, answer_inquiry, end_attempt, interrupt_attempt, next_step, pass_deadline, start_attempt,
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
    pub(crate) fn withdrawal(&self, id: TransactionId) -> Result<Commit<Option<Withdrawal>>, Error> {
        self.check_halted()?;
        let found = self
            .tables
            .home(id)
            .and_then(|shard| shard.withdrawals.get(&id).map(|held| (held.withdrawal.clone(), held.last_seq)));
        let seen = found.as_ref().map_or(Seq::ZERO, |found| found.1);
        Ok(self.commit(Ok(found.map(|found| found.0)), seen))
    }

    pub(crate) fn due_withdrawals(&self, fresh: bool, max: usize) -> Vec<Due> {
        let now = self.now();
        let ids = self.open.lock().queue.take(fresh, now, max);
        let due = ids.into_iter().filter_map(|id| {
            self.interrupt(id);
            let shard = self.tables.home(id)?;
            let step = next_step(&shard.withdrawals.get(&id)?.withdrawal, &self.policy, now);
            drop(shard);
            match step {
                Step::WaitUntil(time) => {
                    self.open.lock().queue.schedule(id, time, fresh);
                    None
                }
                Step::Nothing => None,
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
        // Durable in every mode: no byte may leave for the bank before.
        self.change(id, Level::Durable, form, start_attempt)
    }

    pub(crate) fn end_attempt(
        &self,
        id: TransactionId,
        attempt: u32,
        outcome: &Submission,
    ) -> Result<Commit<Substatus>, Error> {
        self.change(id, Level::Acknowledged, substatus, |withdrawal, policy, now| {
            let entry = end_attempt(withdrawal, policy, attempt, outcome, now)?;
            #[cfg(any(test, feature = "sim"))]
            if self.has(crate::sim::PlantedBug::RefundOnTimeout) && entry.to == Substatus::Unknown {
                return Ok(WithdrawalEntry { to: Substatus::Failed, due: None, ..entry });
            }
            Ok(entry)
        })
    }

    pub(crate) fn record_inquiry(&self, id: TransactionId, outcome: &Inquiry) -> Result<Commit<Substatus>, Error> {
        self.change(id, Level::Acknowledged, substatus, |withdrawal, policy, now| {
            answer_inquiry(withdrawal, policy, outcome, now)
        })
    }

    pub(crate) fn pass_deadline(&self, id: TransactionId) -> Result<Commit<Substatus>, Error> {
        self.change(id, Level::Acknowledged, substatus, pass_deadline)
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
        let interrupted = self.change(id, Level::Acknowledged, substatus, interrupt_attempt);
        if let Err(Error::Rejected(Rejection::StorageFull | Rejection::Overloaded)) = interrupted {
            let mut open = self.open.lock();
            open.interrupted.insert(id);
            open.queue.schedule(id, self.now().saturating_add(RETRY_AFTER), false);
        }
    }

    /// One compare-and-set: `decide` sees the withdrawal as it is, and what it says is appended and applied.
    fn change<'e, T>(
        &self,
        id: TransactionId,
        level: Level,
        form: impl FnOnce(&Withdrawal) -> T,
        decide: impl FnOnce(&Withdrawal, &Policy, Timestamp) -> Result<WithdrawalEntry<'e>, Conflict>,
    ) -> Result<Commit<T>, Error> {
        self.check_halted()?;
        let mut room = match self.admit_change(ENTRY_BYTES_MAX) {
            Ok(room) => room,
            Err(Refusal::Rejected(rejection, _)) => return Err(rejection.into()),
            Err(Refusal::Halted(halted)) => return Err(halted.into()),
        };
        let now = self.now();
        let mut bytes = Vec::with_capacity(ENTRY_BYTES_MAX);
        let (answer, stamp) = {
            let _fuse = Fuse(&self.wal);
            let mut shard = self.tables.home(id).ok_or(Rejection::TransactionNotFound)?;
            let held = shard.withdrawals.get(&id).ok_or(Rejection::TransactionNotFound)?;
            let seen = held.last_seq;
            let entry = match decide(&held.withdrawal, &self.policy, now) {
                Ok(entry) => Entry::Withdrawal(entry),
                Err(conflict) => {
                    drop(shard);
                    return self.refuse(Rejection::WithdrawalConflict { id, conflict }, seen);
                }
            };
            codec::encode(&entry, &mut bytes);
            let stamp = self.wal.append(&mut room, now, &bytes)?;
            let Entry::Withdrawal(entry) = entry else { unreachable!("just made") };
            shard.apply_withdrawal(&entry, stamp.seq, stamp.time);
            // Still under the shard's lock, so that two changes of one withdrawal reach the queue in their order.
            self.follow(&entry);
            (form(&shard.withdrawals[&id].withdrawal), stamp)
        };
        self.notify();
        Ok(Commit::new(Ok(answer), stamp.seq, level, self.wal.clone()))
    }

    /// Keeps the queue, the places and the gauge true after a change.
    fn follow(&self, entry: &WithdrawalEntry<'_>) {
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

fn substatus(withdrawal: &Withdrawal) -> Substatus {
    withdrawal.substatus
}
