//! What to do next for a withdrawal, and what an outcome changes. Pure: the withdrawal, the policy and the time go in, a
//! step or an entry comes out; nothing is changed until the entry is applied.

use std::fmt;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::evidence::after_the_end;
use super::{
    AttemptClass, Event, Inquiry, InquiryAnswer, Policy, Reservation, Said, Step, Submission, Substatus, Withdrawal,
    WithdrawalEntry,
};
use crate::types::{Evidence, Timestamp};

/// The longest evidence that an entry keeps, in bytes.
pub(crate) const EVIDENCE_BYTES_MAX: usize = Evidence::BYTES_MAX;

/// Why something that is said of a withdrawal changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conflict {
    /// It says again what is recorded.
    Repeat,
    /// The withdrawal has ended, and this says nothing against how.
    Ended,
    /// The withdrawal has ended, and this is evidence that it ended otherwise. It is recorded, as a discrepancy.
    Contradicted {
        /// How it ended.
        ended: Substatus,
        /// What became of the money, going by the evidence: `Paid` after a release, `Released` after a payment, `Stands`
        /// where the bank may yet pay what was released.
        says: Reservation,
    },
    /// The withdrawal is open, but this does not follow from where it is.
    NotNow,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Conflict::Repeat => f.write_str("this outcome is recorded already"),
            Conflict::Ended => f.write_str("the withdrawal has ended"),
            Conflict::Contradicted { ended, says } => {
                let says = match says {
                    Reservation::Stands => "may yet be paid",
                    Reservation::Paid => "was paid",
                    Reservation::Released => "was not paid",
                };
                write!(f, "the withdrawal is {ended}, and here is evidence that it {says}; compare it with the bank")
            }
            Conflict::NotNow => f.write_str("this does not follow from where the withdrawal is"),
        }
    }
}

impl std::error::Error for Conflict {}

/// What is to be done for `withdrawal` at `now`.
///
/// A running attempt is left alone. Whoever opens a log in which one was started and has no outcome must first record
/// that nobody runs it any more ([`interrupt_attempt`]).
pub fn next_step(withdrawal: &Withdrawal, policy: &Policy, now: Timestamp) -> Step {
    if matches!(withdrawal.substatus, Substatus::Submitting | Substatus::NeedsReview) || !withdrawal.substatus.is_open()
    {
        return Step::Nothing;
    }
    if let Some(due) = withdrawal.due.filter(|due| *due > now) {
        return Step::WaitUntil(due);
    }
    // Submitted even where the policy was tightened meanwhile: that there is one more attempt was decided with the due.
    if withdrawal.substatus == Substatus::Reserved {
        return Step::Submit;
    }
    // Past the deadline it is asked once more if it was not asked since its last attempt, as after a long stop.
    if is_past_deadline(withdrawal, policy, now) {
        return if withdrawal.inquiries == 0 { Step::Inquire } else { Step::Review };
    }
    if is_to_be_repeated(withdrawal) && is_window_open(withdrawal, policy, now) { Step::Submit } else { Step::Inquire }
}

/// Starts the next attempt. No byte may leave for the bank before the entry is durable.
///
/// # Errors
/// [`Conflict::Ended`]; [`Conflict::NotNow`] if [`next_step`] does not say [`Step::Submit`].
pub fn start_attempt(
    withdrawal: &Withdrawal,
    policy: &Policy,
    now: Timestamp,
) -> Result<WithdrawalEntry<'static>, Conflict> {
    match next_step(withdrawal, policy, now) {
        Step::Submit => {
            let event = Event::AttemptStarted { attempt: withdrawal.attempts.saturating_add(1) };
            Ok(entry(withdrawal, event, Substatus::Submitting, None, ""))
        }
        _ if !withdrawal.substatus.is_open() => Err(Conflict::Ended),
        _ => Err(Conflict::NotNow),
    }
}

/// What the outcome of attempt number `attempt` changes.
///
/// An answer that comes late, when its attempt is no longer running, still completes an open withdrawal if it says that
/// the bank paid; nothing else that is said late decides anything, the inquiry does. One that comes when the withdrawal
/// has ended is recorded with its attempt, and as a discrepancy where it says that it ended otherwise.
///
/// # Errors
/// See [`Conflict`].
pub fn end_attempt<'a>(
    withdrawal: &Withdrawal,
    policy: &Policy,
    attempt: u32,
    outcome: &'a Submission,
    now: Timestamp,
) -> Result<WithdrawalEntry<'a>, Conflict> {
    let record = withdrawal.attempt(attempt).ok_or(Conflict::NotNow)?;
    if !withdrawal.substatus.is_open() {
        return end_attempt_late(withdrawal, attempt, outcome);
    }
    let is_running = withdrawal.is_running() && attempt == withdrawal.attempts;
    if !is_running && outcome.class != AttemptClass::Settled {
        return Err(if record.class() == Some(outcome.class) { Conflict::Repeat } else { Conflict::NotNow });
    }

    let soon = || Some(before_deadline(withdrawal, policy, now, policy.settle_delay));
    let is_last = attempt >= policy.attempts_max;
    let (to, due) = match (outcome.class, withdrawal.maybe_paid) {
        (AttemptClass::Settled, _) => (Substatus::Completed, None),
        (AttemptClass::Accepted, _) => (Substatus::Accepted, soon()),
        (AttemptClass::Ambiguous, _) => (Substatus::Unknown, soon()),
        (AttemptClass::Rejected, false) => (Substatus::Failed, None),
        // The attempt that may have paid was another one: an inquiry has to confirm the refusal.
        (AttemptClass::Rejected, true) => (Substatus::Unknown, soon()),
        (AttemptClass::NotSent, false) if is_last => (Substatus::Failed, None),
        (AttemptClass::NotSent, true) if is_last => (Substatus::NeedsReview, None),
        (AttemptClass::NotSent, false) => (Substatus::Reserved, Some(now.saturating_add(backoff(withdrawal, policy)))),
        (AttemptClass::NotSent, true) => {
            (Substatus::Unknown, Some(before_deadline(withdrawal, policy, now, backoff(withdrawal, policy))))
        }
    };
    let event = Event::AttemptEnded { attempt, class: outcome.class };
    Ok(entry(withdrawal, event, to, due, cut(&outcome.evidence)))
}

/// Records that an attempt found without an outcome when the log was opened is no longer run by anyone: it may have
/// paid, so it counts as ambiguous. This closes the crash between the bank's success and our record of it.
///
/// # Errors
/// [`Conflict::Ended`]; [`Conflict::NotNow`] if no attempt is without an outcome.
pub fn interrupt_attempt(
    withdrawal: &Withdrawal,
    policy: &Policy,
    now: Timestamp,
) -> Result<WithdrawalEntry<'static>, Conflict> {
    if !withdrawal.is_running() {
        return Err(if withdrawal.substatus.is_open() { Conflict::NotNow } else { Conflict::Ended });
    }
    let event = Event::AttemptEnded { attempt: withdrawal.attempts, class: AttemptClass::Ambiguous };
    let due = before_deadline(withdrawal, policy, now, policy.settle_delay);
    Ok(entry(
        withdrawal,
        event,
        Substatus::Unknown,
        Some(due),
        "the ledger was stopped before the outcome was recorded",
    ))
}

/// What the bank's answer to an inquiry changes. That the bank paid completes an open withdrawal wherever it is; that it
/// did not, and will not, fails one whose fate is unknown.
///
/// # Errors
/// See [`Conflict`].
pub fn answer_inquiry<'a>(
    withdrawal: &Withdrawal,
    policy: &Policy,
    outcome: &'a Inquiry,
    now: Timestamp,
) -> Result<WithdrawalEntry<'a>, Conflict> {
    let from = withdrawal.substatus;
    if !from.is_open() {
        let says = match outcome.answer {
            InquiryAnswer::Settled => Some(Reservation::Paid),
            InquiryAnswer::Failed => Some(Reservation::Released),
            InquiryAnswer::Pending => Some(Reservation::Stands),
            InquiryAnswer::NotFound | InquiryAnswer::Unsupported | InquiryAnswer::Unanswered => None,
        };
        return after_the_end(withdrawal, Said::Inquiry { answer: outcome.answer }, says, cut(&outcome.evidence));
    }
    let is_asked_about = matches!(from, Substatus::Unknown | Substatus::Accepted);
    let (to, due) = match outcome.answer {
        InquiryAnswer::Settled => (Substatus::Completed, None),
        // An answer given while an attempt runs, or before the next one, says nothing about that one.
        InquiryAnswer::Failed if is_asked_about || from == Substatus::NeedsReview => (Substatus::Failed, None),
        _ if !is_asked_about => return Err(Conflict::NotNow),
        _ if is_past_deadline(withdrawal, policy, now) => (Substatus::NeedsReview, None),
        InquiryAnswer::NotFound | InquiryAnswer::Unsupported if from == Substatus::Unknown => {
            let again = before_deadline(withdrawal, policy, now, backoff(withdrawal, policy));
            // A refusal is not repeated: the bank would refuse again, and would still not know of the earlier attempt.
            let may_repeat = withdrawal.last_class() != Some(AttemptClass::Rejected)
                && withdrawal.attempts < policy.attempts_max
                && is_window_open(withdrawal, policy, again);
            if may_repeat { (Substatus::Unknown, Some(again)) } else { (Substatus::NeedsReview, None) }
        }
        // What the bank accepted it has: its replicas may lag, or it tells by other means, so it is waited for.
        _ => (from, Some(before_deadline(withdrawal, policy, now, inquiry_interval(withdrawal, policy)))),
    };
    let event = Event::Inquired { answer: outcome.answer };
    Ok(entry(withdrawal, event, to, due, cut(&outcome.evidence)))
}

/// Hands a withdrawal whose fate the bank did not tell in time to a person.
///
/// # Errors
/// [`Conflict::Repeat`] if it is in review; [`Conflict::Ended`]; [`Conflict::NotNow`] if [`next_step`] does not say
/// [`Step::Review`].
pub fn pass_deadline(
    withdrawal: &Withdrawal,
    policy: &Policy,
    now: Timestamp,
) -> Result<WithdrawalEntry<'static>, Conflict> {
    match next_step(withdrawal, policy, now) {
        Step::Review => Ok(entry(withdrawal, Event::DeadlinePassed, Substatus::NeedsReview, None, "")),
        _ if !withdrawal.substatus.is_open() => Err(Conflict::Ended),
        _ if withdrawal.substatus == Substatus::NeedsReview => Err(Conflict::Repeat),
        _ => Err(Conflict::NotNow),
    }
}

pub(super) fn entry<'a>(
    withdrawal: &Withdrawal,
    event: Event,
    to: Substatus,
    due: Option<Timestamp>,
    evidence: &'a str,
) -> WithdrawalEntry<'a> {
    let Withdrawal { id, user, currency, amount, .. } = *withdrawal;
    WithdrawalEntry { id, user, currency, amount, event, to, due, evidence, operator: None, command: None }
}

/// An attempt's outcome that comes when the withdrawal has ended.
fn end_attempt_late<'a>(
    withdrawal: &Withdrawal,
    attempt: u32,
    outcome: &'a Submission,
) -> Result<WithdrawalEntry<'a>, Conflict> {
    let recorded = withdrawal.attempt(attempt).ok_or(Conflict::NotNow)?.class();
    let class = outcome.class;
    if recorded == Some(class) {
        return Err(Conflict::Repeat);
    }
    let definitely_not = |class: AttemptClass| matches!(class, AttemptClass::Rejected | AttemptClass::NotSent);
    let every_attempt_failed = withdrawal.substatus.reservation() == Reservation::Paid
        && !withdrawal.maybe_paid
        && withdrawal.history.iter().all(|record| record.class().is_none_or(definitely_not));
    let says = match class {
        AttemptClass::Settled => Some(Reservation::Paid),
        AttemptClass::Accepted | AttemptClass::Ambiguous => Some(Reservation::Stands),
        _ if recorded == Some(AttemptClass::Settled) || every_attempt_failed => Some(Reservation::Released),
        // Another attempt decided, or may have.
        AttemptClass::Rejected | AttemptClass::NotSent => None,
    };
    let evidence = cut(&outcome.evidence);
    match after_the_end(withdrawal, Said::Attempt { attempt, class }, says, evidence) {
        // It says nothing against how the withdrawal ended, but nobody knew yet how this attempt did.
        Err(_) if recorded.is_none() => {
            Ok(entry(withdrawal, Event::AttemptEnded { attempt, class }, withdrawal.substatus, None, evidence))
        }
        decided => decided,
    }
}

/// Whether the next thing to do for an unknown one is to send it again: the bank does not know it, or the last repeat
/// was not sent. That one was due some time after its entry; what is doubted since is due at once, to be asked about.
fn is_to_be_repeated(withdrawal: &Withdrawal) -> bool {
    withdrawal.substatus == Substatus::Unknown
        && match withdrawal.last_answer {
            Some(answer) => matches!(answer, InquiryAnswer::NotFound | InquiryAnswer::Unsupported),
            None => {
                withdrawal.last_class() == Some(AttemptClass::NotSent) && withdrawal.due > Some(withdrawal.changed_at)
            }
        }
}

/// Whether the bank would recognise a repeat at `at`.
fn is_window_open(withdrawal: &Withdrawal, policy: &Policy, at: Timestamp) -> bool {
    match (withdrawal.first_attempt_at, policy.idempotency_window) {
        (Some(first), Some(window)) => at < first.saturating_add(window),
        _ => false,
    }
}

fn deadline(withdrawal: &Withdrawal, policy: &Policy) -> Option<Timestamp> {
    withdrawal.first_attempt_at.map(|first| first.saturating_add(policy.deadline))
}

fn is_past_deadline(withdrawal: &Withdrawal, policy: &Policy, now: Timestamp) -> bool {
    deadline(withdrawal, policy).is_some_and(|deadline| deadline <= now)
}

/// `wait` from now, but not past a deadline that is still to come.
pub(super) fn before_deadline(withdrawal: &Withdrawal, policy: &Policy, now: Timestamp, wait: Duration) -> Timestamp {
    let at = now.saturating_add(wait);
    deadline(withdrawal, policy).filter(|deadline| *deadline > now).map_or(at, |deadline| at.min(deadline))
}

/// How long after the last attempt the next one comes.
fn backoff(withdrawal: &Withdrawal, policy: &Policy) -> Duration {
    let doublings = withdrawal.attempts.saturating_sub(1);
    spread(policy.backoff, doublings, policy.backoff_max, withdrawal, 0)
}

/// How long after this inquiry the next one comes.
fn inquiry_interval(withdrawal: &Withdrawal, policy: &Policy) -> Duration {
    let inquiry = withdrawal.inquiries.saturating_add(1);
    spread(policy.inquiry_interval, withdrawal.inquiries, policy.backoff_max, withdrawal, inquiry)
}

/// `base` doubled so often, ± 20 %, at most `max`. What spreads it is a hash of what is waited for, not chance: a replay
/// or a simulation waits just as long.
fn spread(base: Duration, doublings: u32, max: Duration, withdrawal: &Withdrawal, inquiry: u32) -> Duration {
    let doubled = base.saturating_mul(2u32.saturating_pow(doublings)).min(max);
    let mut name = [0; 16];
    name[..8].copy_from_slice(&withdrawal.id.get().to_le_bytes());
    name[8..12].copy_from_slice(&withdrawal.attempts.to_le_bytes());
    name[12..].copy_from_slice(&inquiry.to_le_bytes());
    let permille = u32::try_from(800 + xxh3_64(&name) % 401).unwrap_or(1_000);
    (doubled.saturating_mul(permille) / 1_000).min(max)
}

/// The longest prefix of whole characters that an entry can keep.
pub(super) fn cut(evidence: &str) -> &str {
    &evidence[..evidence.floor_char_boundary(EVIDENCE_BYTES_MAX)]
}

#[cfg(test)]
pub(super) mod tests;
