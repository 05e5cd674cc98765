//! What is said beside the attempts, and after the end: who has the money of a return, what is a discrepancy and how often.

use super::*;
use crate::types::Seq;
use crate::withdrawals::decide::tests::{Life, at, situation, submission, word};
use crate::withdrawals::{AttemptClass, Dossier, doubt, end_attempt};

impl Life {
    fn told(&self, outcome: NoticeOutcome, has_room: bool) -> Result<WithdrawalEntry<'static>, Conflict> {
        take_notice(&self.withdrawal, &self.policy, outcome, self.now, "", has_room, self.now)
    }

    fn ordered(&self, outcome: Resolution) -> Result<WithdrawalEntry<'static>, Conflict> {
        let (evidence, operator) = (Evidence::new("a letter").unwrap(), Operator::new("Ann").unwrap());
        resolve(&self.withdrawal, outcome, evidence, operator)
    }

    fn apply(&mut self, decided: Result<WithdrawalEntry<'_>, Conflict>) {
        self.withdrawal.apply(&decided.unwrap(), Seq::new(1), self.now);
    }

    fn hear(&mut self, outcome: NoticeOutcome) {
        self.apply(self.told(outcome, true));
    }
}

#[test]
fn a_return_goes_to_whom_the_payment_was_taken_from() {
    let credit = |life: &Life, has_room| match life.told(NoticeOutcome::Returned, has_room).unwrap().event {
        Event::Returned { credit, .. } => credit,
        other => panic!("{other}"),
    };
    for (name, with_room, without) in [
        ("running", ReturnCredit::User, ReturnCredit::Suspense),
        ("completed", ReturnCredit::User, ReturnCredit::Suspense),
        ("failed, refused", ReturnCredit::Nobody, ReturnCredit::Nobody),
    ] {
        let life = situation(name);
        assert_eq!((credit(&life, true), credit(&life, false)), (with_room, without), "{name}");
    }
    let mut late = situation("failed, refused");
    late.hear(NoticeOutcome::Settled);
    assert_eq!((credit(&late, true), credit(&late, false)), (ReturnCredit::Suspense, ReturnCredit::Suspense));
}

#[test]
fn after_a_return_nothing_contradicts_any_more() {
    for name in ["running", "unknown", "completed", "failed, refused"] {
        let mut life = situation(name);
        life.hear(NoticeOutcome::Returned);
        let told = |outcome| word(life.told(outcome, true));
        let said = [NoticeOutcome::Settled, NoticeOutcome::Failed, NoticeOutcome::Pending, NoticeOutcome::Returned];
        assert_eq!(said.map(told), ["repeat", "ended", "ended", "repeat"], "{name}");
        let orders = [life.ordered(Resolution::Completed), life.ordered(Resolution::Failed)];
        assert_eq!(orders.map(word), ["repeat", "ended"], "{name}");
    }
}

#[test]
fn a_discrepancy_is_recorded_once_whoever_says_it() {
    for (name, operator, bank) in [
        ("completed", Resolution::Failed, NoticeOutcome::Failed),
        ("failed, refused", Resolution::Completed, NoticeOutcome::Pending),
    ] {
        let mut life = situation(name);
        life.apply(life.ordered(operator));
        assert_eq!(life.ordered(operator), Err(Conflict::Repeat), "{name}");
        life.hear(bank);
        assert_eq!(life.told(bank, true), Err(Conflict::Repeat), "{name}");
        assert_eq!(life.withdrawal.dossier().discrepancies.len(), 2, "{name}");
    }
}

#[test]
fn a_dossier_that_is_full_still_takes_the_banks_late_payment() {
    let mut life = situation("failed, refused");
    life.apply(life.ordered(Resolution::Completed));
    life.withdrawal = fill(life.withdrawal);
    assert_eq!(life.told(NoticeOutcome::Pending, true), Err(Conflict::Repeat));
    life.hear(NoticeOutcome::Settled);
    assert!(life.withdrawal.is_paid_late());
    assert_eq!(life.withdrawal.dossier().discrepancies.len(), Dossier::DISCREPANCIES_MAX + 1);
}

/// As full of discrepancies as it gets, all of which say what its first says.
fn fill(mut withdrawal: Withdrawal) -> Withdrawal {
    let first = withdrawal.dossier().discrepancies[0].clone();
    let event = Event::Contradicted { said: first.said, says: first.says, posted: false };
    while withdrawal.dossier().discrepancies.len() < Dossier::DISCREPANCIES_MAX {
        withdrawal.apply(&entry(&withdrawal, event, withdrawal.substatus, None, ""), Seq::new(1), at(0));
    }
    withdrawal
}

#[test]
fn an_attempt_that_was_running_at_the_end_contradicts_a_payment_only_if_no_other_can_have_paid() {
    let outcomes = |name| {
        let mut life = situation(name);
        life.hear(NoticeOutcome::Settled);
        let (attempt, withdrawal) = (life.withdrawal.attempts, &life.withdrawal);
        AttemptClass::ALL
            .map(|class| word(end_attempt(withdrawal, &life.policy, attempt, &submission(class), life.now)))
    };
    // Settled, accepted, rejected, not sent, ambiguous.
    let alone = ["completed", "completed", "but not paid", "but not paid", "completed"];
    assert_eq!(outcomes("running"), alone);
    assert_eq!(outcomes("running last"), alone, "the one before was not sent");
    assert_eq!(outcomes("running last, doubtful"), ["completed"; 5]);
}

#[test]
fn a_doubt_ends_the_attempt_that_runs_and_waits_for_the_bank_to_settle() {
    let mut life = situation("running");
    life.apply(doubt(&life.withdrawal, &life.policy, life.now));
    assert_eq!(life.withdrawal.last_class(), Some(AttemptClass::Ambiguous));
    assert_eq!(life.withdrawal.due, Some(life.now.saturating_add(life.policy.settle_delay)));
}

#[test]
fn a_failure_that_is_told_of_a_single_attempt_counts_whatever_the_banks_clock_says() {
    let mut life = situation("fresh");
    life.now = at(100);
    life.attempt(AttemptClass::Ambiguous);
    let told = take_notice(&life.withdrawal, &life.policy, NoticeOutcome::Failed, at(0), "", true, life.now);
    assert_eq!(word(told), "failed");
}

#[test]
fn what_the_bank_has_under_way_may_have_paid() {
    let mut life = situation("waiting");
    assert!(!life.withdrawal.maybe_paid);
    life.hear(NoticeOutcome::Failed);
    assert!(!life.withdrawal.maybe_paid, "a failure is no payment");
    life.hear(NoticeOutcome::Pending);
    assert!(life.withdrawal.maybe_paid);
    life.hear(NoticeOutcome::Settled);
    assert!(life.withdrawal.maybe_paid, "what may have been is not forgotten");
}

#[test]
fn who_failed_it_is_told() {
    let mut life = situation("review");
    life.apply(life.ordered(Resolution::Failed));
    assert_eq!(life.withdrawal.failure_reason().unwrap(), "resolved by an operator: a letter");
}
