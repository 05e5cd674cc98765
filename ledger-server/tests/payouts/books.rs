//! Two books: the ledger's and the bank's. Whatever the bank does, they must agree in the end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ledger_core::withdrawals::{Policy, Reservation};
use ledger_core::{Ledger, Substatus, TransactionId};
use ledger_server::withdrawals::{BankRecord, Latency, SimulatedBank, SimulatedBankOptions};
use tokio::runtime::Runtime;

use crate::world::{PATIENCE, assert_balanced, balance, charge, execute, hasty, open, until, withdraw, withdrawal};

const CHARGED: u64 = 10_000_000;

async fn both_books_agree(options: SimulatedBankOptions, window: Option<Duration>, count: u64) {
    let directory = tempfile::tempdir().unwrap();
    let policy = Policy { idempotency_window: window, ..hasty() };
    let ledger = open(directory.path(), &policy, None).await;
    charge(&ledger, CHARGED);
    let bank = Arc::new(SimulatedBank::new(options).unwrap());
    let executor = execute(&ledger, &bank, 16);
    let ids: Vec<_> = (1..=count).map(|n| withdraw(&ledger, n, &n.to_string()).unwrap()).collect();
    all_rest(&ledger, &ids).await;
    let figures = executor.figures();
    assert_eq!(executor.shutdown(PATIENCE).await, 0);
    assert_eq!(figures.attempts, figures.outcomes.iter().sum::<u64>());
    assert_eq!(figures.refused, 0);
    compare(&ledger, &bank, &ids, &format!("seed {}", options.seed));
    ledger.close().unwrap();
}

/// Waits until every one has ended, or is in the hands of a person.
async fn all_rest(ledger: &Ledger, ids: &[TransactionId]) {
    let rests = |s: Substatus| !s.is_open() || s == Substatus::NeedsReview;
    until("all to rest", || ids.iter().all(|id| rests(withdrawal(ledger, *id).substatus))).await;
}

/// What is completed was paid once, what failed was never paid, what is in review was paid at most once; and the
/// account shows exactly that.
fn compare(ledger: &Ledger, bank: &SimulatedBank, ids: &[TransactionId], context: &str) {
    let paid: HashMap<_, BankRecord> = bank.records().into_iter().map(|r| (r.reference, r)).collect();
    let (mut left, mut reserved) = (0, 0);
    for id in ids {
        let ours = withdrawal(ledger, *id);
        let payments = paid.get(&ours.reference).map_or(0, |theirs| theirs.payments);
        match ours.substatus.reservation() {
            Reservation::Paid => {
                assert_eq!(payments, 1, "{context}: {ours:?}");
                left += ours.amount.minor();
            }
            Reservation::Released => assert_eq!(payments, 0, "{context}: {ours:?}"),
            Reservation::Stands => {
                assert!(payments <= 1, "{context}: {ours:?}");
                reserved += ours.amount.minor();
            }
        }
    }
    let account = balance(ledger);
    assert_eq!((account.total(), account.reserved), (CHARGED - left, reserved), "{context}");
    assert_balanced(ledger);
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

/// The bank outlives every process that pays through it: the crash between its success and our record of it, many times.
#[test]
fn both_books_agree_however_often_the_process_ends_in_the_middle() {
    for (seed, window) in [(1, Some(Duration::from_secs(3600))), (2, None), (3, Some(Duration::from_secs(3600)))] {
        let options = SimulatedBankOptions {
            success_rate: 0.7,
            rejected_rate: 0.1,
            accepted_rate: 0.1,
            ambiguous_paid_rate: 0.1,
            ambiguous_unpaid_rate: 0.1,
            // A bank that recognises no repeat pays for each one: the harshest judge of what is sent again.
            idempotency_window: window.map(|window| 2 * window),
            ..instant(seed)
        };
        let bank = Arc::new(SimulatedBank::new(options).unwrap());
        let directory = tempfile::tempdir().unwrap();
        let policy = Policy { idempotency_window: window, ..hasty() };
        let mut ids = Vec::new();
        for life in 0..12 {
            let runtime = Runtime::new().unwrap();
            let executor = runtime.block_on(async {
                let ledger = open(directory.path(), &policy, None).await;
                if life == 0 {
                    charge(&ledger, CHARGED);
                }
                let executor = execute(&ledger, &bank, 8);
                for n in 0..20 {
                    ids.push(withdraw(&ledger, 100 + n, &format!("{life}-{n}")).unwrap());
                }
                tokio::time::sleep(Duration::from_millis(3 + (seed * 7 + life * 5) % 19)).await;
                executor
            });
            // Whatever was under way is dropped where it stands.
            runtime.shutdown_timeout(PATIENCE);
            drop(executor);
        }
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let ledger = open(directory.path(), &policy, None).await;
            let executor = execute(&ledger, &bank, 8);
            all_rest(&ledger, &ids).await;
            executor.shutdown(PATIENCE).await;
            compare(&ledger, &bank, &ids, &format!("seed {seed}"));
            ledger.close().unwrap();
        });
    }
}
