//! The executor as a state machine: it performs what the ledger says is due, one small step at a time, and speaks with
//! the bank. Everything between two steps can be cut off by a crash.

use std::time::Duration;

use ledger_core::withdrawals::{
    Attempt, AttemptClass, Conflict, Due, Inquiry, InquiryAnswer, Reservation, Said as News, Step, Submission,
};
use ledger_core::{BankReference, Clock, Commit, Error, Rejection, Status, Substatus, Timestamp, TransactionId};

use crate::coverage::Fault;
use crate::model::{Fact, Follows, Happened};
use crate::pair::{named, word};
use crate::promise::{Checked, Sees, Violation};
use crate::rules::Said;
use crate::run::Run;

/// One withdrawal in the executor's hands.
pub(crate) enum Task {
    /// "Attempt n started" is on its way to the disk.
    Starting {
        seq: u64,
        attempt: Attempt,
        commit: Commit<()>,
    },
    /// The bank was called; its outcome is heard at this moment.
    Called {
        at: Duration,
        id: TransactionId,
        number: u32,
        outcome: Submission,
    },
    Asked {
        at: Duration,
        id: TransactionId,
        answer: Inquiry,
    },
    /// What was heard is decided, and on its way to the disk.
    Recorded {
        command: &'static str,
        outcome: &'static str,
        /// With which of these words it must be refused; none: it must not.
        refusal: &'static [&'static str],
        entry: u64,
        commit: Commit<()>,
    },
}

impl Run {
    pub(crate) fn step_executor(&mut self) -> Checked {
        let takes_up = self.tasks.len() < self.swarm.workers && self.chance.below(3) == 0;
        if takes_up || self.tasks.is_empty() {
            return self.take_up(self.swarm.workers - self.tasks.len().min(self.swarm.workers));
        }
        let which = self.chance.below(self.tasks.len() as u64) as usize;
        let task = self.tasks.swap_remove(which);
        if let Some(task) = self.advance_task(task)? {
            self.tasks.push(task);
        }
        Ok(())
    }

    /// Takes up to `most` withdrawals that are due.
    pub(crate) fn take_up(&mut self, most: usize) -> Checked {
        let now = self.now()?;
        let fresh = self.chance.below(2) == 0;
        let due = self.ledger().due_withdrawals(fresh, most);
        self.take_in_interruptions(now)?;
        for Due { id, step } in due {
            match step {
                Step::Submit => self.start(id)?,
                Step::Inquire => self.ask_bank(id)?,
                Step::Review => self.give_up(id)?,
                step => return Err(Violation::new("payout", format!("withdrawal {id} is handed out to {step:?}"))),
            }
        }
        Ok(())
    }

    /// What the ledger recorded by itself: attempts that nobody runs any more have an unknown outcome.
    fn take_in_interruptions(&mut self, now: Timestamp) -> Checked {
        let last = self.model.seq();
        if self.ledger().appended().get() == last {
            return Ok(());
        }
        let mut recorded: Vec<(u64, u64)> = Vec::new();
        for (id, record) in self.model.withdrawals().filter(|(_, record)| record.substatus == Substatus::Submitting) {
            let mut seq = 0;
            if let Ok(commit) =
                self.ledger().transaction(TransactionId::new(id).expect("not zero"), Some(record.asked.user))
            {
                drop(commit.map(|found| seq = found.map_or(0, |found| found.last_seq.get())));
            }
            if seq > last {
                recorded.push((seq, id));
            }
        }
        recorded.sort_unstable();
        for (seq, id) in recorded {
            self.interrupted(seq, now, id)?;
        }
        self.in_step()
    }

    /// The attempt of withdrawal `id` that nobody runs since the opening has an unknown outcome.
    pub(crate) fn interrupted(&mut self, seq: u64, now: Timestamp, id: u64) -> Checked {
        if self.tasks.iter().any(|task| task.runs(id)) {
            return Err(Violation::new("payout", format!("the running attempt of {id} is called interrupted")));
        }
        let what = Happened::Ended { id, class: AttemptClass::Ambiguous, to: Substatus::Unknown };
        self.happened(seq, now, id, what, Said::Ended(AttemptClass::Ambiguous));
        self.tally.coverage.hit("interrupted", "unknown", self.fault);
        self.unacknowledged.insert(seq, "interrupted");
        Ok(())
    }

    pub(crate) fn happened(&mut self, seq: u64, time: Timestamp, id: u64, what: Happened, said: Said) {
        self.model.apply(Fact { seq, time, what });
        self.stories.entry(id).or_default().add(seq, time, said);
        self.trace.line(format_args!("entry {seq}: withdrawal {id}, {said:?}"));
    }

    fn substatus(&self, id: TransactionId) -> Checked<Substatus> {
        let record = self.model.record(id.get());
        record.map(|record| record.substatus).ok_or_else(|| Violation::new("payout", format!("there is no {id}")))
    }

    fn start(&mut self, id: TransactionId) -> Checked {
        let (now, before) = (self.now()?, self.model.seq());
        let from = self.substatus(id)?;
        let mut peeked = None;
        let commit = match self.ledger().start_attempt(id) {
            Ok(commit) => commit.map(|attempt| peeked = Some(attempt)),
            Err(error) => return self.put_back("start attempt", id, &error),
        };
        // Refused, and what it was refused for is not durable yet: it is due later.
        let Some(attempt) = peeked else { return self.later(id) };
        let story = self.stories.entry(id.get()).or_default();
        story
            .may_start(from, &self.swarm.policy, now)
            .map_err(|why| format!("attempt of {id}: {why}"))
            .sees("payout")?;
        let is_early = from == Substatus::Reserved
            && story.last_at().is_some_and(|last| now < last.saturating_add(story.patience(&self.swarm.policy)));
        if is_early || attempt.number != story.attempts() + 1 {
            return Err(Violation::new(
                "payout",
                format!("attempt {} of {id} is early or misnumbered", attempt.number),
            ));
        }
        self.happened(before + 1, now, id.get(), Happened::Attempted { id: id.get() }, Said::Started);
        self.unacknowledged.insert(before + 1, "start attempt");
        self.tasks.push(Task::Starting { seq: before + 1, attempt, commit });
        self.in_step()
    }

    fn ask_bank(&mut self, id: TransactionId) -> Checked {
        let mut reference: Option<BankReference> = None;
        match self.ledger().withdrawal(id) {
            Ok(commit) => drop(commit.map(|found| reference = found.map(|withdrawal| withdrawal.reference))),
            Err(error) => return self.put_back("inquiry", id, &error),
        }
        let reference = reference.ok_or_else(|| Violation::new("payout", format!("there is no withdrawal {id}")))?;
        let answer = self.bank.inquire(&reference, self.clock.monotonic(), &mut self.chance);
        let at = self.hears_at();
        self.trace.line(format_args!("the bank is asked about {id}: {:?}", answer.answer));
        self.tasks.push(Task::Asked { at, id, answer });
        Ok(())
    }

    fn give_up(&mut self, id: TransactionId) -> Checked {
        let (now, before, from) = (self.now()?, self.model.seq(), self.substatus(id)?);
        let result = self.ledger().pass_deadline(id);
        let story = self.stories.entry(id.get()).or_default();
        if !story.may_pass_deadline(from, &self.swarm.policy, now) {
            return Err(Violation::new("payout", format!("{id} is {from} at {now} and given up")));
        }
        match result {
            Ok(commit) => {
                let mut to = None;
                let commit = commit.map(|found| to = Some(found));
                let Some(to) = to else { return self.later(id) };
                if to != Substatus::NeedsReview {
                    return Err(Violation::new("payout", format!("{id} is given up and {to}")));
                }
                let what = Happened::Inquired { id: id.get(), answer: None, to };
                self.happened(before + 1, now, id.get(), what, Said::DeadlinePassed);
                self.recorded("deadline", to, before + 1, commit)
            }
            Err(error) => self.put_back("deadline", id, &error),
        }
    }

    fn recorded(&mut self, command: &'static str, to: Substatus, entry: u64, commit: Commit<()>) -> Checked {
        self.unacknowledged.insert(entry, command);
        self.tasks.push(Task::Recorded { command, outcome: named(to), refusal: &[], entry, commit });
        self.in_step()
    }

    /// Takes one task a step further; `None`: it is done, or over.
    fn advance_task(&mut self, task: Task) -> Checked<Option<Task>> {
        let now = self.clock.monotonic();
        match task {
            Task::Starting { seq, attempt, commit } => match commit.try_wait() {
                Err(commit) => Ok(Some(Task::Starting { seq, attempt, commit })),
                Ok(Ok(())) => self.call_bank(seq, &attempt).map(Some),
                Ok(Err(error)) => self.cut_off("start attempt", &error),
            },
            Task::Called { at, .. } | Task::Asked { at, .. } if at > now => Ok(Some(task)),
            Task::Called { id, number, outcome, .. } => self.hear_outcome(id, number, outcome),
            Task::Asked { id, answer, .. } => self.hear_answer(id, answer),
            Task::Recorded { command, outcome, refusal, entry, commit } => match commit.try_wait() {
                Err(commit) => Ok(Some(Task::Recorded { command, outcome, refusal, entry, commit })),
                Ok(Err(Error::Rejected(rejection))) => {
                    self.refused_late(command, outcome, refusal, &rejection)?;
                    self.leaves(entry);
                    Ok(None)
                }
                Ok(Ok(())) => {
                    self.tally.coverage.hit(command, outcome, self.fault);
                    self.leaves(entry);
                    Ok(None)
                }
                Ok(Err(error)) => self.cut_off(command, &error),
            },
        }
    }

    /// Bytes leave for the bank: the attempt must be durable, in every mode.
    fn call_bank(&mut self, seq: u64, attempt: &Attempt) -> Checked<Task> {
        let withdrawal = &attempt.withdrawal;
        if self.ledger().durable().get() < seq {
            return Err(Violation::new("payout", format!("attempt {seq} leaves before it is durable")));
        }
        self.leaves(seq);
        let outcome = if attempt.number == 1 { "started" } else { "started again" };
        self.tally.coverage.hit("start attempt", outcome, self.fault);
        let now = self.clock.monotonic();
        let (reference, amount) = (&withdrawal.reference, withdrawal.amount.minor());
        let submission = self.bank.submit(reference, attempt.number, amount, now, &mut self.chance).sees("bank")?;
        self.trace.line(format_args!("attempt {} of {}: {:?}", attempt.number, withdrawal.id, submission.class));
        Ok(Task::Called { at: self.hears_at(), id: withdrawal.id, number: attempt.number, outcome: submission })
    }

    fn hears_at(&mut self) -> Duration {
        let latency = self.bank.rates.latency_max.as_millis() as u64;
        self.clock.monotonic() + Duration::from_millis(self.chance.below(latency + 1))
    }

    fn hear_outcome(&mut self, id: TransactionId, number: u32, outcome: Submission) -> Checked<Option<Task>> {
        let (now, before, class) = (self.now()?, self.model.seq(), outcome.class);
        let result = self.ledger().end_attempt(id, number, &outcome);
        if !self.is_open(id)? {
            let again = Task::Called { at: self.in_a_second(), id, number, outcome };
            let says = self.after_late_end(id, class);
            return self.hear_late("end attempt", id, News::Attempt { attempt: number, class }, says, result, again);
        }
        let mut to = None;
        let commit = match result {
            Ok(commit) => commit.map(|found| to = Some(found)),
            Err(error) => {
                let again = Task::Called { at: self.in_a_second(), id, number, outcome };
                return self.not_recorded("end attempt", &error, again);
            }
        };
        let Some(to) = to else {
            return Err(Violation::new("payout", format!("the outcome of attempt {number} of {id} is refused")));
        };
        let allowed = self.stories.entry(id.get()).or_default().after_end(class, &self.swarm.policy);
        if !allowed.contains(&to) {
            return Err(Violation::new("payout", format!("attempt {number} of {id} was {class:?} and leads to {to}")));
        }
        self.happened(before + 1, now, id.get(), Happened::Ended { id: id.get(), class, to }, Said::Ended(class));
        self.recorded("end attempt", to, before + 1, commit).map(|()| None)
    }

    /// What the outcome of an attempt says of the money, when the withdrawal has ended without it.
    fn after_late_end(&mut self, id: TransactionId, class: AttemptClass) -> Option<Reservation> {
        let is_paid = self.model.record(id.get()).is_some_and(|record| record.status == Status::Completed);
        match class {
            AttemptClass::Settled => Some(Reservation::Paid),
            AttemptClass::Accepted | AttemptClass::Ambiguous => Some(Reservation::Stands),
            // Then no attempt can have paid.
            _ if is_paid && self.stories.entry(id.get()).or_default().has_failed_throughout() => {
                Some(Reservation::Released)
            }
            AttemptClass::Rejected | AttemptClass::NotSent => None,
        }
    }

    fn hear_answer(&mut self, id: TransactionId, answer: Inquiry) -> Checked<Option<Task>> {
        let (now, before, from) = (self.now()?, self.model.seq(), self.substatus(id)?);
        let said = answer.answer;
        let result = self.ledger().record_inquiry(id, &answer);
        let allowed = self.stories.entry(id.get()).or_default().after_inquiry(from, said);
        if allowed.is_empty() || !self.is_open(id)? {
            let again = Task::Asked { at: self.in_a_second(), id, answer };
            let says = match said {
                InquiryAnswer::Settled => Some(Reservation::Paid),
                InquiryAnswer::Failed => Some(Reservation::Released),
                InquiryAnswer::Pending => Some(Reservation::Stands),
                InquiryAnswer::NotFound | InquiryAnswer::Unsupported | InquiryAnswer::Unanswered => None,
            };
            return self.hear_late("inquiry", id, News::Inquiry { answer: said }, says, result, again);
        }
        let mut to = None;
        let commit = match result {
            Ok(commit) => commit.map(|found| to = Some(found)),
            Err(error) => {
                let again = Task::Asked { at: self.in_a_second(), id, answer };
                return self.not_recorded("inquiry", &error, again);
            }
        };
        let Some(to) = to else { return Err(Violation::new("payout", format!("an answer about {id} is refused"))) };
        if !allowed.contains(&to) {
            return Err(Violation::new("payout", format!("{id} was {from}, the bank says {said:?}, it is {to}")));
        }
        let what = Happened::Inquired { id: id.get(), answer: Some(said), to };
        self.happened(before + 1, now, id.get(), what, Said::Answered(said));
        self.recorded("inquiry", to, before + 1, commit).map(|()| None)
    }

    fn is_open(&self, id: TransactionId) -> Checked<bool> {
        self.substatus(id).map(|substatus| substatus.is_open())
    }

    /// Somebody else decided meanwhile, so that what the bank says decides nothing any more: it is recorded where it
    /// contradicts, or is the outcome of an attempt of which nobody knew yet how it ended; else it is refused.
    fn hear_late(
        &mut self,
        command: &'static str,
        id: TransactionId,
        news: News,
        says: Option<Reservation>,
        result: Result<Commit<Substatus>, Error>,
        again: Task,
    ) -> Checked<Option<Task>> {
        let (now, entry, is_open) = (self.now()?, self.model.seq() + 1, self.is_open(id)?);
        let is_awaited = matches!(news, News::Attempt { .. });
        let follows = match says {
            Some(says) if !is_open => self.model.after_the_end(id.get(), news, says),
            _ => Follows::Nothing,
        };
        let (what, outcome, refusal): (_, _, &'static [&'static str]) = match follows {
            Follows::Contradiction(what) => (Some(what), "contradicted", &["contradicted"]),
            _ if is_awaited => (Some(Happened::EndedLate { id: id.get() }), "recorded late", &[]),
            _ => (None, "nothing new", &["repeat", "ended", "not now"]),
        };
        let mut is_taken = false;
        let commit = match result {
            Ok(commit) => commit.map(|_| is_taken = true),
            Err(Error::Rejected(rejection @ Rejection::WithdrawalConflict { .. })) if what.is_none() => {
                self.refused_late(command, outcome, refusal, &rejection)?;
                return self.in_step().map(|()| None);
            }
            Err(error) => return self.not_recorded(command, &error, again),
        };
        if is_taken != refusal.is_empty() {
            let why = format!("{news:?} of {id} after its end is taken: {is_taken}, and should be {outcome}");
            return Err(Violation::new("payout", why));
        }
        let entry = match what {
            Some(what) => {
                self.happened(entry, now, id.get(), what, Said::Decided);
                self.unacknowledged.insert(entry, command);
                entry
            }
            // A refusal binds the ledger to what ended the withdrawal, and to nothing that others did since.
            None => commit.seq().get(),
        };
        self.tasks.push(Task::Recorded { command, outcome, refusal, entry, commit });
        self.in_step().map(|()| None)
    }

    fn refused_late(
        &mut self,
        command: &'static str,
        outcome: &'static str,
        refusal: &'static [&'static str],
        found: &Rejection,
    ) -> Checked {
        self.tally.coverage.hit(command, outcome, self.fault);
        if refusal.contains(&word(found)) {
            return Ok(());
        }
        Err(Violation::new("payout", format!("{command}: expected {outcome}, found {found}")))
    }

    fn in_a_second(&self) -> Duration {
        self.clock.monotonic() + Duration::from_secs(1)
    }

    /// What the bank said is known only here until it is recorded, so a full log is waited for.
    fn not_recorded(&mut self, command: &'static str, error: &Error, again: Task) -> Checked<Option<Task>> {
        match error {
            Error::Halted(halted) => self.refused(command, halted).map(|()| None),
            Error::Rejected(Rejection::StorageFull | Rejection::Overloaded) if self.fault == Fault::Full => {
                Ok(Some(again))
            }
            Error::Rejected(rejection) => Err(Violation::new("payout", format!("{command}: {rejection}"))),
        }
    }

    /// The ledger halted while an entry was on its way.
    fn cut_off(&mut self, command: &'static str, error: &Error) -> Checked<Option<Task>> {
        let outcome = if command == "start attempt" { "unknown" } else { "unknown outcome" };
        self.tally.coverage.hit(command, outcome, self.fault);
        self.may_have_halted()?;
        match error {
            Error::Halted(halted) if halted.outcome_unknown => Ok(None),
            error => Err(Violation::new("payout", format!("{command} was decided, and told {error}"))),
        }
    }

    /// Nothing was begun: it is due again later.
    fn put_back(&mut self, command: &'static str, id: TransactionId, error: &Error) -> Checked {
        match error {
            Error::Halted(halted) => self.refused(command, halted),
            Error::Rejected(Rejection::StorageFull | Rejection::Overloaded) if self.fault == Fault::Full => {
                self.later(id)
            }
            Error::Rejected(Rejection::WithdrawalConflict { conflict: Conflict::NotNow, .. }) => self.later(id),
            error => Err(Violation::new("payout", format!("{command} of {id}, which was due: {error}"))),
        }
    }

    fn later(&mut self, id: TransactionId) -> Checked {
        let later = self.ledger().now().saturating_add(Duration::from_secs(1));
        self.ledger().defer_withdrawal(id, later);
        self.in_step()
    }
}

impl Task {
    /// Whether it runs an attempt of withdrawal `id`.
    fn runs(&self, id: u64) -> bool {
        match self {
            Task::Starting { attempt, .. } => attempt.withdrawal.id.get() == id,
            Task::Called { id: runs, .. } => runs.get() == id,
            Task::Asked { .. } | Task::Recorded { .. } => false,
        }
    }
}
