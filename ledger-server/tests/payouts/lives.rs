//! One withdrawal at a time: each way in which it can go.

use std::time::Duration;

use ledger_core::withdrawals::AttemptClass::{self, Accepted, Ambiguous, NotSent, Rejected, Settled};
use ledger_core::withdrawals::{InquiryAnswer, Policy};
use ledger_core::{Status, Substatus};

use crate::world::{
    PATIENCE, Reply, Scripted, assert_balanced, balance, charge, execute, hasty, open, reaches, transaction, withdraw,
    withdrawal,
};

/// Where a withdrawal of 300 out of 1,000 ends, and what the bank heard of it.
struct Told {
    policy: Policy,
    /// The outcome of each attempt; the last one for all that follow.
    attempts: Vec<Reply>,
    /// The answer to each inquiry; likewise.
    answers: Vec<Option<InquiryAnswer>>,
}

impl Told {
    fn new(attempts: &[Reply], answers: &[InquiryAnswer]) -> Told {
        let answers = answers.iter().copied().map(Some).collect();
        Told { policy: hasty(), attempts: attempts.to_vec(), answers }
    }

    fn classes(classes: &[AttemptClass], answers: &[InquiryAnswer]) -> Told {
        Told::new(&classes.iter().copied().map(Reply::Says).collect::<Vec<_>>(), answers)
    }

    async fn ends(self, expected: Substatus, attempts: usize, inquiries: usize) {
        let directory = tempfile::tempdir().unwrap();
        let ledger = open(directory.path(), &self.policy, None).await;
        charge(&ledger, 1_000);
        let (replies, answers) = (self.attempts, self.answers);
        let bank = Scripted::new(
            &ledger,
            move |payout| replies[(payout.attempt as usize - 1).min(replies.len() - 1)],
            move |nth| answers[nth.min(answers.len().checked_sub(1).expect("no inquiry was expected"))],
        );
        let executor = execute(&ledger, &bank, 4);
        let id = withdraw(&ledger, 300, "withdrawal").unwrap();
        reaches(&ledger, id, expected).await;
        assert_eq!(executor.shutdown(PATIENCE).await, 0);

        assert_eq!(bank.attempts(id), (1..=u32::try_from(attempts).unwrap()).collect::<Vec<_>>());
        assert_eq!(bank.inquiries(id), inquiries);
        let (total, reserved, status) = match expected {
            Substatus::Completed => (700, 0, Status::Completed),
            Substatus::Failed => (1_000, 0, Status::Failed),
            _ => (1_000, 300, Status::Pending),
        };
        let account = balance(&ledger);
        assert_eq!((account.total(), account.reserved), (total, reserved));
        let shown = transaction(&ledger, id);
        assert_eq!(shown.status, status);
        assert_eq!(shown.withdrawal.unwrap().failure_reason.is_some(), expected == Substatus::Failed);
        assert_eq!(withdrawal(&ledger, id).attempts as usize, attempts);
        assert_eq!(ledger.stats().withdrawal_places_taken, 0);
        assert_balanced(&ledger);
        ledger.close().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payout_that_settles_is_completed() {
    Told::classes(&[Settled], &[]).ends(Substatus::Completed, 1, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sent_is_repeated_until_it_settles() {
    Told::classes(&[NotSent, NotSent, Settled], &[]).ends(Substatus::Completed, 3, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_never_sent_is_failed_after_the_last_attempt() {
    Told::classes(&[NotSent], &[]).ends(Substatus::Failed, 4, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_fails_at_once() {
    Told::classes(&[Rejected], &[]).ends(Substatus::Failed, 1, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_of_a_bank_that_paid_is_completed_by_inquiry() {
    Told::classes(&[Ambiguous], &[InquiryAnswer::Settled]).ends(Substatus::Completed, 1, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_request_is_repeated_while_the_bank_recognises_repeats() {
    Told::classes(&[Ambiguous, Settled], &[InquiryAnswer::NotFound]).ends(Substatus::Completed, 2, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_request_goes_to_review_where_the_bank_does_not() {
    let mut told = Told::classes(&[Ambiguous], &[InquiryAnswer::NotFound]);
    told.policy.idempotency_window = None;
    told.ends(Substatus::NeedsReview, 1, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_after_a_doubt_is_final_only_when_the_bank_confirms_it() {
    use InquiryAnswer::{Failed, NotFound, Settled};
    Told::classes(&[Ambiguous, Rejected], &[NotFound, Failed]).ends(Substatus::Failed, 2, 2).await;
    Told::classes(&[Ambiguous, Rejected], &[NotFound, Settled]).ends(Substatus::Completed, 2, 2).await;
    Told::classes(&[Ambiguous, Rejected], &[NotFound]).ends(Substatus::NeedsReview, 2, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_bank_accepted_is_asked_about_until_it_settles_or_fails() {
    use InquiryAnswer::{Failed, Pending, Settled};
    Told::classes(&[Accepted], &[Pending, Pending, Settled]).ends(Substatus::Completed, 1, 3).await;
    Told::classes(&[Accepted], &[Pending, Failed]).ends(Substatus::Failed, 1, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_hangs_is_a_doubt() {
    Told::new(&[Reply::Hangs], &[InquiryAnswer::Settled]).ends(Substatus::Completed, 1, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_panics_is_a_doubt() {
    Told::new(&[Reply::Panics], &[InquiryAnswer::Settled]).ends(Substatus::Completed, 1, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inquiry_that_hangs_is_asked_again() {
    let mut told = Told::classes(&[Ambiguous], &[]);
    told.answers = vec![None, Some(InquiryAnswer::Settled)];
    told.ends(Substatus::Completed, 1, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_that_never_tells_leaves_it_to_a_person_at_the_deadline() {
    let mut told = Told::classes(&[Accepted], &[InquiryAnswer::Pending]);
    told.policy.settle_delay = Duration::from_millis(100);
    told.policy.inquiry_interval = Duration::from_secs(60);
    told.policy.backoff_max = Duration::from_secs(60);
    told.policy.deadline = Duration::from_millis(300);
    told.ends(Substatus::NeedsReview, 1, 1).await;
}
