//! Two books: the ledger's and the bank's. Whatever the bank does, they must agree in the end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ledger_core::Substatus;
use ledger_core::withdrawals::Reservation;
use ledger_server::withdrawals::{BankRecord, Latency, SimulatedBank, SimulatedBankOptions};

use crate::world::{PATIENCE, assert_balanced, balance, charge, execute, hasty, open, until, withdraw, withdrawal};

async fn both_books_agree(options: SimulatedBankOptions, window: Option<Duration>, count: u64) {
    let directory = tempfile::tempdir().unwrap();
    let mut policy = hasty();
    policy.idempotency_window = window;
    let ledger = open(directory.path(), &policy, None).await;
    charge(&ledger, 10_000_000);
    let bank = Arc::new(SimulatedBank::new(options).unwrap());
    let executor = execute(&ledger, &bank, 16);
    let ids: Vec<_> = (1..=count).map(|n| withdraw(&ledger, n, &n.to_string()).unwrap()).collect();
    let rests = |s: Substatus| !s.is_open() || s == Substatus::NeedsReview;
    until("all to rest", || ids.iter().all(|id| rests(withdrawal(&ledger, *id).substatus))).await;
    let figures = executor.figures();
    assert_eq!(executor.shutdown(PATIENCE).await, 0);

    let paid: HashMap<_, BankRecord> = bank.records().into_iter().map(|r| (r.reference, r)).collect();
    let (mut left, mut reserved, mut counts) = (0, 0, [0; 3]);
    for id in &ids {
        let ours = withdrawal(&ledger, *id);
        let payments = paid.get(&ours.reference).map_or(0, |theirs| theirs.payments);
        let seed = options.seed;
        match ours.substatus.reservation() {
            Reservation::Paid => assert_eq!(payments, 1, "seed {seed}: {ours:?}"),
            Reservation::Released => assert_eq!(payments, 0, "seed {seed}: {ours:?}"),
            Reservation::Stands => assert!(payments <= 1, "seed {seed}: {ours:?}"),
        }
        match ours.substatus.reservation() {
            Reservation::Paid => left += ours.amount.minor(),
            Reservation::Stands => reserved += ours.amount.minor(),
            Reservation::Released => {}
        }
        counts[ours.substatus.reservation() as usize] += 1;
    }
    let account = balance(&ledger);
    assert_eq!((account.total(), account.reserved), (10_000_000 - left, reserved), "{counts:?}");
    assert_eq!(figures.attempts, figures.outcomes.iter().sum::<u64>());
    assert_eq!(figures.refused, 0);
    assert_balanced(&ledger);
    ledger.close().unwrap();
}

fn instant(seed: u64) -> SimulatedBankOptions {
    let latency = Latency::between(Duration::ZERO, Duration::from_millis(4)).unwrap();
    SimulatedBankOptions { seed, latency, settles_after: Duration::from_millis(12), ..SimulatedBankOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_books_agree_with_a_bank_that_does_everything() {
    let window = Some(Duration::from_secs(3600));
    for seed in 0..3 {
        let options = SimulatedBankOptions {
            success_rate: 0.5,
            rejected_rate: 0.1,
            accepted_rate: 0.15,
            ambiguous_paid_rate: 0.15,
            ambiguous_unpaid_rate: 0.15,
            ..instant(seed)
        };
        both_books_agree(options, window, 200).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_books_agree_with_a_bank_that_recognises_no_repeat() {
    let options = SimulatedBankOptions {
        success_rate: 0.6,
        ambiguous_paid_rate: 0.2,
        ambiguous_unpaid_rate: 0.2,
        idempotency_window: None,
        ..instant(9)
    };
    both_books_agree(options, None, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_books_agree_with_a_bank_slower_than_the_executor_waits() {
    let latency = Latency::between(Duration::from_millis(200), Duration::from_millis(400)).unwrap();
    let options = SimulatedBankOptions { latency, success_rate: 0.9, ..instant(5) };
    both_books_agree(options, Some(Duration::from_secs(3600)), 60).await;
}
