//! What is said of a withdrawal beside its attempts and inquiries: by its owner, by an operator, by the bank of its own
//! accord, and by anyone after its end. Pure, as the other decisions.
//!
//! What must hold: money moves only on the bank's word or an operator's, and each way at most once. A payment that turns
//! out after a release is posted from suspense on the bank's word alone; an operator who contradicts an ending is
//! recorded, for another person to look at.

use super::decide::{before_deadline, cut, entry, interrupt_attempt};
use super::{
    Conflict, Event, NoticeOutcome, Policy, Reservation, Resolution, ReturnCredit, Said, Substatus, Withdrawal,
    WithdrawalEntry,
};
use crate::types::{Evidence, Operator, Timestamp};

/// Gives a withdrawal up before its first attempt.
///
/// # Errors
/// [`Conflict::Ended`]; [`Conflict::NotNow`] once an attempt was started, or may have been.
pub fn cancel(withdrawal: &Withdrawal) -> Result<WithdrawalEntry<'static>, Conflict> {
    match withdrawal.substatus {
        Substatus::Reserved if withdrawal.attempts == 0 => {
            Ok(entry(withdrawal, Event::Cancelled, Substatus::Cancelled, None, ""))
        }
        substatus if substatus.is_open() => Err(Conflict::NotNow),
        _ => Err(Conflict::Ended),
    }
}

/// An operator's decision. What was never attempted is cancelled instead, and while an attempt runs nobody can know that
/// the bank will not pay; that it paid can be known.
///
/// Of one that has ended otherwise, the entry is a discrepancy.
///
/// # Errors
/// [`Conflict::NotNow`] before the first attempt, and for a failure while one runs; [`Conflict::Repeat`] if it ended like
/// that, or the discrepancy is recorded.
pub fn resolve<'a>(
    withdrawal: &Withdrawal,
    outcome: Resolution,
    evidence: Evidence<'a>,
    operator: Operator<'a>,
) -> Result<WithdrawalEntry<'a>, Conflict> {
    let decided = match (withdrawal.substatus, outcome) {
        (Substatus::Reserved, _) if withdrawal.attempts == 0 => Err(Conflict::NotNow),
        (Substatus::Submitting, Resolution::Failed) => Err(Conflict::NotNow),
        (open, _) if open.is_open() => {
            let to = match outcome {
                Resolution::Completed => Substatus::Completed,
                Resolution::Failed => Substatus::Failed,
            };
            Ok(entry(withdrawal, Event::Resolved { outcome }, to, None, evidence.as_str()))
        }
        _ => after_the_end(withdrawal, Said::Operator { outcome }, Some(outcome.says()), evidence.as_str()),
    };
    decided.map(|entry| WithdrawalEntry { operator: Some(operator), ..entry })
}

/// What the bank told by itself changes: as an answer to an inquiry would, but that nobody knows when it was on its way.
/// `has_room`: whether the user's account can take the amount, should it have come back.
///
/// # Errors
/// [`Conflict::Repeat`] or [`Conflict::Ended`]: it is recorded already, or says less than is known.
pub fn take_notice<'a>(
    withdrawal: &Withdrawal,
    policy: &Policy,
    outcome: NoticeOutcome,
    occurred_at: Timestamp,
    evidence: &'a str,
    has_room: bool,
    now: Timestamp,
) -> Result<WithdrawalEntry<'a>, Conflict> {
    let (from, evidence) = (withdrawal.substatus, cut(evidence));
    if outcome == NoticeOutcome::Returned {
        return take_return(withdrawal, occurred_at, evidence, has_room);
    }
    if !from.is_open() {
        let says = match outcome {
            NoticeOutcome::Settled | NoticeOutcome::Returned => Reservation::Paid,
            NoticeOutcome::Failed => Reservation::Released,
            NoticeOutcome::Pending => Reservation::Stands,
        };
        return after_the_end(withdrawal, Said::Notice { outcome }, Some(says), evidence);
    }
    let is_asked_about = matches!(from, Substatus::Unknown | Substatus::Accepted | Substatus::NeedsReview);
    let (to, due) = match outcome {
        NoticeOutcome::Settled => (Substatus::Completed, None),
        NoticeOutcome::Failed if is_asked_about && is_of_last_attempt(withdrawal, occurred_at) => {
            (Substatus::Failed, None)
        }
        // The bank has it: it is waited for and not sent again, whatever the attempts said.
        NoticeOutcome::Pending if matches!(from, Substatus::Reserved | Substatus::Unknown) => {
            (Substatus::Accepted, Some(before_deadline(withdrawal, policy, now, policy.settle_delay)))
        }
        _ if withdrawal.dossier().was_told(outcome) => return Err(Conflict::Repeat),
        // An attempt runs or is to come, of which this says nothing; or it says no more than is known.
        _ => (from, withdrawal.due),
    };
    Ok(entry(withdrawal, Event::Noticed { outcome, occurred_at }, to, due, evidence))
}

/// Counts an open withdrawal as attempted, since the log may lack what was done: after a restore, what was reserved
/// then may have been paid since. The bank is asked; and nothing is repeated later than it would be if the attempt had
/// been started with the reservation.
///
/// # Errors
/// [`Conflict::Ended`]; [`Conflict::Repeat`] if a person looks at it anyway.
pub fn doubt(withdrawal: &Withdrawal, policy: &Policy, now: Timestamp) -> Result<WithdrawalEntry<'static>, Conflict> {
    match withdrawal.substatus {
        Substatus::Submitting => interrupt_attempt(withdrawal, policy, now),
        Substatus::NeedsReview => Err(Conflict::Repeat),
        substatus if substatus.is_open() => {
            Ok(entry(withdrawal, Event::Doubted, Substatus::Unknown, Some(now), "the log may lack what was done since"))
        }
        _ => Err(Conflict::Ended),
    }
}

/// What is said of a withdrawal that has ended: a discrepancy, unless it agrees with what is known. `says`: what it says
/// of the money, where it says anything.
pub(super) fn after_the_end<'a>(
    withdrawal: &Withdrawal,
    said: Said,
    says: Option<Reservation>,
    evidence: &'a str,
) -> Result<WithdrawalEntry<'a>, Conflict> {
    let says = says.ok_or(Conflict::Ended)?;
    let has_left = withdrawal.substatus.reservation() == Reservation::Paid || withdrawal.is_paid_late();
    let came_back = withdrawal.dossier().returned.is_some();
    match says {
        Reservation::Paid if has_left || came_back => return Err(Conflict::Repeat),
        Reservation::Released if came_back => return Err(Conflict::Ended),
        Reservation::Released if !has_left => return Err(Conflict::Repeat),
        Reservation::Stands if has_left || came_back => return Err(Conflict::Ended),
        _ => {}
    }
    let posted = says == Reservation::Paid && !matches!(said, Said::Operator { .. });
    if !posted && withdrawal.dossier().is_recorded(said) {
        return Err(Conflict::Repeat);
    }
    Ok(entry(withdrawal, Event::Contradicted { said, says, posted }, withdrawal.substatus, None, evidence))
}

/// The bank says that what it paid came back. An open withdrawal was paid, then.
fn take_return<'a>(
    withdrawal: &Withdrawal,
    occurred_at: Timestamp,
    evidence: &'a str,
    has_room: bool,
) -> Result<WithdrawalEntry<'a>, Conflict> {
    if withdrawal.dossier().returned.is_some() {
        return Err(Conflict::Repeat);
    }
    let (credit, to) = match withdrawal.substatus.reservation() {
        Reservation::Stands | Reservation::Paid if has_room => (ReturnCredit::User, Substatus::Returned),
        Reservation::Stands | Reservation::Paid => (ReturnCredit::Suspense, Substatus::Returned),
        // The user has had the money since the release.
        Reservation::Released if withdrawal.is_paid_late() => (ReturnCredit::Suspense, withdrawal.substatus),
        Reservation::Released => (ReturnCredit::Nobody, withdrawal.substatus),
    };
    Ok(entry(withdrawal, Event::Returned { credit, occurred_at }, to, None, evidence))
}

/// Whether a notice can only be about all attempts: one that was on its way when the last of several was started says
/// nothing about that one.
fn is_of_last_attempt(withdrawal: &Withdrawal, occurred_at: Timestamp) -> bool {
    withdrawal.attempts < 2 || withdrawal.history.last().is_some_and(|last| occurred_at >= last.started_at)
}

#[cfg(test)]
mod tests;
