//! The rules by which a withdrawal lives, written a second time, as naively as they can be read: from all that was said
//! of it, what may follow.

use std::time::Duration;

use ledger_core::withdrawals::{AttemptClass, InquiryAnswer, NoticeOutcome, Policy};
use ledger_core::{Substatus, Timestamp};

/// Something that was recorded of a withdrawal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Said {
    Started,
    Ended(AttemptClass),
    Answered(InquiryAnswer),
    DeadlinePassed,
    /// The bank told it by itself.
    Noticed(NoticeOutcome),
    /// It ended by an owner or an operator, or something was said after its end.
    Decided,
}

/// All that was recorded of one withdrawal, in order, with seqs and times.
#[derive(Clone, Default, Debug)]
pub(crate) struct Story {
    said: Vec<(u64, Timestamp, Said)>,
}

impl Story {
    pub(crate) fn add(&mut self, seq: u64, time: Timestamp, said: Said) {
        self.said.push((seq, time, said));
    }

    /// Forgets what came after `seq`: it was lost.
    pub(crate) fn cut(&mut self, seq: u64) {
        self.said.retain(|said| said.0 <= seq);
    }

    fn all(&self) -> impl DoubleEndedIterator<Item = Said> + '_ {
        self.said.iter().map(|said| said.2)
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.all().filter(|said| *said == Said::Started).count() as u32
    }

    /// Some attempt may have been executed, as far as its outcome told.
    fn may_have_paid(&self) -> bool {
        self.all().any(|said| {
            matches!(
                said,
                Said::Ended(AttemptClass::Ambiguous | AttemptClass::Accepted) | Said::Noticed(NoticeOutcome::Pending)
            )
        })
    }

    /// What decides when it is taken up again: a notice that led nowhere does not.
    fn last(&self) -> Option<(Timestamp, Said)> {
        let moves = |said: &&(u64, Timestamp, Said)| !matches!(said.2, Said::Noticed(_));
        self.said.iter().rev().find(moves).map(|said| (said.1, said.2))
    }

    /// Whether every attempt whose outcome is known was definitely not executed.
    pub(crate) fn has_failed_throughout(&self) -> bool {
        let definitely_not = [Said::Ended(AttemptClass::Rejected), Said::Ended(AttemptClass::NotSent)];
        !self.may_have_paid()
            && self.all().all(|said| !matches!(said, Said::Ended(_)) || definitely_not.contains(&said))
    }

    fn first_attempt(&self) -> Option<Timestamp> {
        self.said.iter().find(|said| said.2 == Said::Started).map(|said| said.1)
    }

    fn window_is_open(&self, policy: &Policy, now: Timestamp) -> bool {
        match (self.first_attempt(), policy.idempotency_window) {
            (Some(first), Some(window)) => now < first.saturating_add(window),
            _ => false,
        }
    }

    fn deadline_is_past(&self, policy: &Policy, now: Timestamp) -> bool {
        self.first_attempt().is_some_and(|first| first.saturating_add(policy.deadline) <= now)
    }

    /// Whether an attempt may start: the first one; another after nothing but attempts that were definitely not executed;
    /// or a repeat of one whose fate is unknown, where the bank recognises it and does not know the reference.
    pub(crate) fn may_start(&self, at: Substatus, policy: &Policy, now: Timestamp) -> Result<(), String> {
        if self.attempts() >= policy.attempts_max {
            return Err(format!("it has had {} attempts", self.attempts()));
        }
        let last = self.last().map(|last| last.1);
        let is_harmless = |said| matches!(said, Said::Started | Said::Ended(AttemptClass::NotSent) | Said::Noticed(_));
        match at {
            Substatus::Reserved if !self.may_have_paid() && self.all().all(is_harmless) => Ok(()),
            Substatus::Unknown if !self.window_is_open(policy, now) => {
                Err("the bank would not recognise the repeat".into())
            }
            Substatus::Unknown => match last {
                Some(Said::Ended(AttemptClass::NotSent))
                | Some(Said::Answered(InquiryAnswer::NotFound | InquiryAnswer::Unsupported)) => Ok(()),
                last => Err(format!("its last news is {last:?}")),
            },
            at => Err(format!("it is {at}")),
        }
    }

    /// Where the end of the running attempt may lead.
    pub(crate) fn after_end(&self, class: AttemptClass, policy: &Policy) -> &'static [Substatus] {
        let is_last = self.attempts() >= policy.attempts_max;
        match (class, self.may_have_paid()) {
            (AttemptClass::Settled, _) => &[Substatus::Completed],
            (AttemptClass::Accepted, _) => &[Substatus::Accepted],
            (AttemptClass::Ambiguous, _) => &[Substatus::Unknown],
            (AttemptClass::Rejected, false) => &[Substatus::Failed],
            (AttemptClass::NotSent, false) if is_last => &[Substatus::Failed],
            (AttemptClass::NotSent, false) => &[Substatus::Reserved],
            // It tells nothing of the earlier attempt that may have paid.
            (AttemptClass::Rejected | AttemptClass::NotSent, true) => &[Substatus::Unknown, Substatus::NeedsReview],
        }
    }

    /// Where an answer to an inquiry about an open withdrawal may lead; nowhere, if it was taken up again meanwhile. A
    /// reference that the bank does not find proves nothing.
    pub(crate) fn after_inquiry(&self, from: Substatus, answer: InquiryAnswer) -> Vec<Substatus> {
        let is_asked_about = matches!(from, Substatus::Unknown | Substatus::Accepted);
        match answer {
            InquiryAnswer::Settled => vec![Substatus::Completed],
            InquiryAnswer::Failed if is_asked_about || from == Substatus::NeedsReview => vec![Substatus::Failed],
            _ if is_asked_about => vec![from, Substatus::NeedsReview],
            _ => Vec::new(),
        }
    }

    /// Whether it may be given up and handed to a person.
    pub(crate) fn may_pass_deadline(&self, at: Substatus, policy: &Policy, now: Timestamp) -> bool {
        matches!(at, Substatus::Unknown | Substatus::Accepted) && self.deadline_is_past(policy, now)
    }

    /// How long after its last news a withdrawal between two attempts must be left alone, at least.
    pub(crate) fn patience(&self, policy: &Policy) -> Duration {
        let doublings = self.attempts().saturating_sub(1);
        policy.backoff.saturating_mul(2u32.saturating_pow(doublings)).min(policy.backoff_max) * 4 / 5
    }

    pub(crate) fn last_at(&self) -> Option<Timestamp> {
        self.last().map(|last| last.0)
    }
}
