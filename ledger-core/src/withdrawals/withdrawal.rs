//! One withdrawal as its entries made it.

use super::dossier::{AnswerRecord, Discrepancy, Dossier, NoticeRecord, ResolutionRecord, ReturnRecord};
use super::{
    AttemptClass, BankReference, Event, InquiryAnswer, NoticeOutcome, Reservation, Said, Substatus, WithdrawalEntry,
};
use crate::types::{Amount, Currency, Destination, Operator, Seq, Timestamp, TransactionId, UserId};

/// One withdrawal as its entries made it. Only [`Withdrawal::apply`] changes it, so that replaying the entries gives an
/// equal one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Withdrawal {
    /// Its name.
    pub id: TransactionId,
    /// Whose account.
    pub user: UserId,
    /// In which currency.
    pub currency: Currency,
    /// How much is, or was, reserved.
    pub amount: Amount,
    /// Where it is paid to, where the caller said.
    pub destination: Option<Box<str>>,
    /// The same for every attempt.
    pub reference: BankReference,
    /// When the reservation was made.
    pub created_at: Timestamp,
    /// When its last entry was made.
    pub changed_at: Timestamp,
    /// Where in its life it is.
    pub substatus: Substatus,
    /// How many attempts were started.
    pub attempts: u32,
    /// When to look at it again.
    pub due: Option<Timestamp>,
    /// When the first attempt was started, or may have been at the earliest: the deadline and the bank's idempotency
    /// window count from here. It is the time of the entry that says so.
    pub first_attempt_at: Option<Timestamp>,
    /// Whether an attempt may have been executed: one was ambiguous or accepted, the bank says that one is under way, or
    /// the log may lack one. Never unset.
    pub maybe_paid: bool,
    /// How often the bank was asked since the last attempt was started.
    pub inquiries: u32,
    /// What the bank said last, since the last attempt was started.
    pub last_answer: Option<InquiryAnswer>,
    /// What happened when it ended, and what the bank said then; `None` while it is open.
    pub ending: Option<Box<Ending>>,
    /// Its attempts, in order; the last one is running while it has not ended.
    pub history: Vec<AttemptRecord>,
    /// What else was said of it. Most have nothing, so it lies apart.
    pub(crate) dossier: Option<Box<Dossier>>,
}

/// One attempt, as its two entries made it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttemptRecord {
    /// When it was started.
    pub started_at: Timestamp,
    /// How and when it ended, and what the bank said; `None` while it is running (or if nobody lived to record it).
    pub end: Option<(Timestamp, AttemptClass, Box<str>)>,
}

/// How a withdrawal ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ending {
    /// When.
    pub at: Timestamp,
    /// By which event: the source of the evidence, and its attempt where it was one.
    pub event: Event,
    /// What the bank or the operator said.
    pub evidence: Box<str>,
}

impl AttemptRecord {
    /// Its class; `None` while it is running.
    pub fn class(&self) -> Option<AttemptClass> {
        self.end.as_ref().map(|(_, class, _)| *class)
    }
}

impl Withdrawal {
    /// A withdrawal whose money was just set aside, to be submitted at once.
    pub fn reserved(
        id: TransactionId,
        user: UserId,
        currency: Currency,
        amount: Amount,
        destination: Option<Destination<'_>>,
        reference: BankReference,
        created_at: Timestamp,
    ) -> Withdrawal {
        Withdrawal {
            id,
            user,
            currency,
            amount,
            destination: destination.map(|d| d.as_str().into()),
            reference,
            created_at,
            changed_at: created_at,
            substatus: Substatus::Reserved,
            attempts: 0,
            due: Some(created_at),
            first_attempt_at: None,
            maybe_paid: false,
            inquiries: 0,
            last_answer: None,
            ending: None,
            history: Vec::new(),
            dossier: None,
        }
    }

    /// What `entry`, with its seq and time, changes. The entry was decided for this withdrawal as it is now.
    pub fn apply(&mut self, entry: &WithdrawalEntry<'_>, seq: Seq, time: Timestamp) {
        debug_assert_eq!(self.id, entry.id);
        match entry.event {
            Event::AttemptStarted { attempt } => {
                self.attempts = attempt;
                self.first_attempt_at.get_or_insert(time);
                self.inquiries = 0;
                self.last_answer = None;
                self.history.push(AttemptRecord { started_at: time, end: None });
            }
            Event::AttemptEnded { attempt, class } => self.end_attempt(attempt, class, entry.evidence, time),
            Event::Inquired { answer } => {
                self.inquiries = self.inquiries.saturating_add(1);
                self.last_answer = Some(answer);
                self.dossier_mut().add_answer(AnswerRecord { at: time, answer, evidence: entry.evidence.into() });
            }
            Event::Doubted => {
                self.maybe_paid = true;
                self.inquiries = 0;
                self.last_answer = None;
            }
            Event::Resolved { outcome } => {
                let operator = entry.operator.map_or("", |operator| operator.as_str()).into();
                let resolution = ResolutionRecord { at: time, outcome, operator, evidence: entry.evidence.into() };
                self.dossier_mut().resolution = Some(resolution);
            }
            Event::Noticed { outcome, occurred_at } => {
                self.maybe_paid |= outcome == NoticeOutcome::Pending;
                let notice = NoticeRecord { at: time, outcome, occurred_at, evidence: entry.evidence.into() };
                self.dossier_mut().notices.push(notice);
            }
            Event::Returned { credit, occurred_at } => {
                let id = TransactionId::new(seq.get()).expect("the first seq is 1");
                let evidence = entry.evidence.into();
                self.dossier_mut().returned = Some(ReturnRecord { id, at: time, credit, occurred_at, evidence });
            }
            Event::Contradicted { said, says, posted } => self.contradict(said, says, posted, entry, time),
            Event::DeadlinePassed | Event::Cancelled => {}
        }
        let was_open = self.substatus.is_open();
        self.substatus = entry.to;
        self.due = entry.due;
        self.changed_at = time;
        if matches!(entry.to, Substatus::Accepted | Substatus::Unknown) {
            // The log lacks the attempt that the bank speaks of. It was not before the reservation.
            self.first_attempt_at.get_or_insert(self.created_at);
        }
        if was_open && !entry.to.is_open() {
            self.ending = Some(Box::new(Ending { at: time, event: entry.event, evidence: entry.evidence.into() }));
        }
    }

    fn end_attempt(&mut self, attempt: u32, class: AttemptClass, evidence: &str, time: Timestamp) {
        self.maybe_paid |= matches!(class, AttemptClass::Ambiguous | AttemptClass::Accepted);
        if let Some(record) = (attempt as usize).checked_sub(1).and_then(|index| self.history.get_mut(index)) {
            record.end = Some((time, class, evidence.into()));
        }
    }

    fn contradict(&mut self, said: Said, says: Reservation, posted: bool, entry: &WithdrawalEntry<'_>, at: Timestamp) {
        if let Said::Attempt { attempt, class } = said
            && self.attempt(attempt).is_some_and(|record| record.end.is_none())
        {
            self.end_attempt(attempt, class, entry.evidence, at);
        }
        let operator = entry.operator.as_ref().map(|operator: &Operator<'_>| operator.as_str().into());
        let evidence = entry.evidence.into();
        self.dossier_mut().discrepancies.push(Discrepancy { at, said, says, posted, operator, evidence });
    }

    /// What was said of it beside its attempts' outcomes.
    pub fn dossier(&self) -> &Dossier {
        self.dossier.as_deref().unwrap_or(Dossier::EMPTY)
    }

    fn dossier_mut(&mut self) -> &mut Dossier {
        self.dossier.get_or_insert_default()
    }

    /// Whether the bank's payment after a release was posted from suspense. Its return is posted back there.
    pub fn is_paid_late(&self) -> bool {
        self.dossier().discrepancies.iter().any(|discrepancy| discrepancy.posted)
    }

    /// The attempt of this number, from 1.
    pub fn attempt(&self, number: u32) -> Option<&AttemptRecord> {
        self.history.get((number as usize).checked_sub(1)?)
    }

    /// How the last attempt ended; `None` where there was none, or it is running.
    pub fn last_class(&self) -> Option<AttemptClass> {
        self.history.last().and_then(AttemptRecord::class)
    }

    /// Whether an attempt was started and has no outcome yet. After a restart nobody runs it any more; see
    /// [`super::interrupt_attempt`].
    pub fn is_running(&self) -> bool {
        self.substatus == Substatus::Submitting
    }

    /// Why it failed, for people to read: a word for the kind of evidence, and what the bank said. `None` where it did
    /// not.
    pub fn failure_reason(&self) -> Option<String> {
        let ending = self.ending.as_deref().filter(|_| self.substatus.reservation() == Reservation::Released)?;
        let word = match ending.event {
            Event::AttemptEnded { class, .. } => class.as_str(),
            Event::Inquired { answer } => answer.as_str(),
            Event::Noticed { outcome, .. } => outcome.as_str(),
            Event::Resolved { .. } => "resolved by an operator",
            _ => self.substatus.as_str(),
        };
        Some(if ending.evidence.is_empty() { word.to_owned() } else { format!("{word}: {}", ending.evidence) })
    }
}
