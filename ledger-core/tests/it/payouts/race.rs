//! Many threads say different things of the same withdrawals at the same time: each ends once, and by one of them.

use std::thread;

use ledger_core::withdrawals::{AttemptClass, NoticeOutcome, Reservation, Resolution, Submission};
use ledger_core::{
    CancelWithdrawal, Error, Evidence, IdempotencyKey, Ledger, Notice, Operator, ResolveWithdrawal, Timestamp,
    TransactionId,
};

use crate::model::Asked;
use crate::stage::{amount, answer, ask, user};

const WITHDRAWALS: u64 = 200;

/// Whether it was this call that ended the withdrawal, where it was ended by it alone.
fn is_done<T>(answer: Result<T, Error>) -> bool {
    match answer {
        Ok(_) => true,
        Err(Error::Rejected(_)) => false,
        Err(error @ Error::Halted(_)) => panic!("{error}"),
    }
}

fn cancel(ledger: &Ledger, id: TransactionId) -> bool {
    let key = format!("cancel {id}");
    let key = IdempotencyKey::new(&key).expect("a key");
    is_done(answer(ledger.cancel_withdrawal(CancelWithdrawal { id, key })))
}

/// Resolves as soon as it was attempted.
fn resolve(ledger: &Ledger, id: TransactionId, outcome: Resolution) -> bool {
    let key = format!("resolve {id} {}", outcome.as_str());
    let key = IdempotencyKey::new(&key).expect("a key");
    let (evidence, operator) = (Evidence::new("a letter"), Operator::new("Ann"));
    let (evidence, operator) = (evidence.expect("evidence"), operator.expect("a name"));
    is_done(answer(ledger.resolve_withdrawal(ResolveWithdrawal { id, outcome, evidence, operator, key })))
}

fn attempt(ledger: &Ledger, id: TransactionId) -> bool {
    let Ok(attempt) = answer(ledger.start_attempt(id)) else { return false };
    let outcome = Submission { class: AttemptClass::Rejected, evidence: "no".into() };
    is_done(answer(ledger.end_attempt(id, attempt.number, &outcome)))
}

#[test]
fn each_of_many_withdrawals_ends_once_whoever_is_first() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ledger = Ledger::open(directory.path()).expect("an empty directory");
    answer(ask(&ledger, &Asked::charge(user(1), amount(WITHDRAWALS * 10), "funds"))).expect("a charge");
    let ids: Vec<TransactionId> = (0..WITHDRAWALS)
        .map(|n| answer(ask(&ledger, &Asked::withdraw(user(1), amount(10), format!("payout {n}")))))
        .map(|receipt| receipt.expect("a withdrawal").transaction_id)
        .collect();
    let each = |work: &(dyn Fn(TransactionId) -> bool + Sync)| ids.iter().filter(|id| work(**id)).count();
    let (ledger, each) = (&ledger, &each);
    let counts: Vec<usize> = thread::scope(|scope| {
        let threads = [
            scope.spawn(move || each(&|id| cancel(ledger, id))),
            scope.spawn(move || each(&|id| attempt(ledger, id))),
            scope.spawn(move || each(&|id| resolve(ledger, id, Resolution::Failed))),
            scope.spawn(move || each(&|id| resolve(ledger, id, Resolution::Completed))),
            scope.spawn(move || {
                each(&|id| {
                    let Ok(Some(withdrawal)) = answer(ledger.withdrawal(id)) else { return false };
                    let (outcome, occurred_at) = (NoticeOutcome::Settled, Timestamp::EPOCH);
                    let notice = Notice { reference: withdrawal.reference, outcome, occurred_at, evidence: "paid" };
                    is_done(answer(ledger.notify_withdrawal(notice)))
                })
            }),
        ];
        threads.into_iter().map(|thread| thread.join().expect("a thread of the test")).collect()
    });
    let (mut paid, mut late, mut cancelled) = (0, 0, 0);
    for &id in &ids {
        let withdrawal = answer(ledger.withdrawal(id)).expect("open").expect("it is there");
        assert!(!withdrawal.substatus.is_open(), "the bank told of every one: {withdrawal:?}");
        paid += u64::from(withdrawal.substatus.reservation() == Reservation::Paid);
        late += u64::from(withdrawal.is_paid_late());
        cancelled += usize::from(withdrawal.ending.as_ref().is_some_and(|ending| ending.event.as_str() == "cancelled"));
        // Whoever released it, the bank says that it paid.
        assert!(withdrawal.dossier().discrepancies.iter().filter(|discrepancy| discrepancy.posted).count() <= 1);
    }
    assert_eq!(cancelled, counts[0], "who was told that it is cancelled, cancelled it");
    assert_eq!(paid + late, WITHDRAWALS, "every payment that the bank told of is posted, once");
    let audit = answer(ledger.audit_deep()).expect("open");
    assert!(audit.is_balanced(), "{audit:?}");
    let sums = audit.currencies[0];
    assert_eq!((sums.reserved, sums.external), (0, 0), "all that was charged has left: {sums:?}");
    assert_eq!(sums.suspense, -i128::from(late * 10));
    ledger.close().expect("nothing is in the way");
    let figures = ledger.withdrawal_figures();
    assert_eq!(Ledger::open(directory.path()).expect("closed in good order").withdrawal_figures(), figures);
}
