//! The process ends in the middle: what was under way is asked about, what was not is sent, and nothing is sent twice.

use std::path::Path;
use std::time::Duration;

use ledger_core::withdrawals::AttemptClass::{NotSent, Settled};
use ledger_core::withdrawals::{InquiryAnswer, Policy};
use ledger_core::{Substatus, TransactionId};
use tokio::runtime::Runtime;

use crate::world::{
    PATIENCE, Reply, Scripted, assert_balanced, balance, charge, execute, hasty, open, reaches, substatus, until,
    withdraw, withdrawal,
};

/// Runs a ledger until the bank has `heard` so many attempts, then drops everything as it stands.
fn run_and_drop(path: &Path, policy: &Policy, workers: usize, amount: usize, heard: usize) -> Vec<TransactionId> {
    let runtime = Runtime::new().unwrap();
    let (ids, executor) = runtime.block_on(async {
        let ledger = open(path, policy, None).await;
        charge(&ledger, 1_000_000);
        let bank = Scripted::new(&ledger, |_| Reply::Hangs, |_| None);
        let executor = execute(&ledger, &bank, workers);
        let ids = (0..amount).map(|n| withdraw(&ledger, 10, &n.to_string()).unwrap()).collect();
        until("the bank to hear", || bank.order().len() == heard).await;
        (ids, executor)
    });
    // First the tasks are dropped where they stand, then what might have stopped them in good order.
    runtime.shutdown_timeout(PATIENCE);
    drop(executor);
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_cut_off_by_the_end_of_the_process_is_asked_about_and_not_sent_again() {
    for (answer, expected) in [
        (InquiryAnswer::Settled, Substatus::Completed),
        (InquiryAnswer::Failed, Substatus::Failed),
        (InquiryAnswer::NotFound, Substatus::NeedsReview),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let policy = Policy { idempotency_window: None, ..hasty() };
        let path = directory.path().to_owned();
        let ids = std::thread::spawn({
            let policy = policy.clone();
            move || run_and_drop(&path, &policy, 1, 1, 1)
        });
        let id = ids.join().unwrap()[0];

        let ledger = open(directory.path(), &policy, None).await;
        let before = withdrawal(&ledger, id);
        assert!(before.substatus.is_open());
        let bank = Scripted::new(&ledger, |_| panic!("sent again"), move |_| Some(answer));
        let executor = execute(&ledger, &bank, 4);
        reaches(&ledger, id, expected).await;
        assert!(bank.attempts(id).is_empty(), "it was sent again");
        let after = withdrawal(&ledger, id);
        assert_eq!((after.reference, after.attempts), (before.reference, 1));
        assert_balanced(&ledger);
        executor.shutdown(PATIENCE).await;
        ledger.close().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_waiting_is_sent_after_a_restart_beside_new_work() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let ids = std::thread::spawn(move || run_and_drop(&path, &hasty(), 2, 60, 2)).join().unwrap();

    let ledger = open(directory.path(), &hasty(), Some(4)).await;
    let bank =
        Scripted::new(&ledger, |_| Reply::After(Duration::from_millis(20), Settled), |_| Some(InquiryAnswer::Settled));
    let executor = execute(&ledger, &bank, 4);
    assert_eq!(ledger.stats().withdrawal_places_taken, 0, "resumed work holds no place");
    let new = withdraw(&ledger, 10, "new").unwrap();
    reaches(&ledger, new, Substatus::Completed).await;
    let order = bank.order();
    let before_new = order.iter().position(|id| *id == new).unwrap();
    assert!(before_new < 20, "the new one waited for {before_new} of the old ones");
    for id in &ids {
        reaches(&ledger, *id, Substatus::Completed).await;
        assert!(bank.attempts(*id).len() <= 1);
    }
    let account = balance(&ledger);
    assert_eq!((account.total(), account.reserved), (1_000_000 - 61 * 10, 0));
    assert_balanced(&ledger);
    executor.shutdown(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_awaits_what_is_under_way_and_starts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path(), &hasty(), None).await;
    charge(&ledger, 1_000);
    let bank = Scripted::new(&ledger, |_| Reply::After(Duration::from_millis(150), Settled), |_| None);
    let executor = execute(&ledger, &bank, 2);
    let ids: Vec<_> = (0..6).map(|n| withdraw(&ledger, 10, &n.to_string()).unwrap()).collect();
    until("two attempts", || bank.order().len() == 2).await;
    assert_eq!((executor.in_flight(), executor.queue_length()), (2, 4));
    assert_eq!(executor.shutdown(PATIENCE).await, 0);
    let states: Vec<_> = ids.iter().map(|id| substatus(&ledger, *id)).collect();
    assert_eq!(states.iter().filter(|s| **s == Substatus::Completed).count(), 2);
    assert_eq!(states.iter().filter(|s| **s == Substatus::Reserved).count(), 4);
    assert_eq!(bank.order().len(), 2);
    ledger.close().unwrap();
    drop((bank, ledger));

    let ledger = open(directory.path(), &hasty(), None).await;
    let bank = Scripted::new(&ledger, |_| Reply::Says(Settled), |_| None);
    let executor = execute(&ledger, &bank, 2);
    for id in ids {
        reaches(&ledger, id, Substatus::Completed).await;
    }
    assert_eq!(bank.order().len(), 4);
    executor.shutdown(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_cannot_wait_lets_go_and_the_log_remembers() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path(), &hasty(), None).await;
    charge(&ledger, 1_000);
    let bank = Scripted::new(&ledger, |_| Reply::Hangs, |_| None);
    let executor = execute(&ledger, &bank, 2);
    let id = withdraw(&ledger, 10, "one").unwrap();
    until("an attempt", || bank.order().len() == 1).await;
    let start = std::time::Instant::now();
    assert_eq!(executor.shutdown(Duration::from_millis(20)).await, 1);
    assert!(start.elapsed() < Duration::from_millis(250));
    assert_eq!(substatus(&ledger, id), Substatus::Submitting);
    ledger.close().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_is_due_later_is_made_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let policy = Policy { backoff: Duration::from_millis(200), backoff_max: Duration::from_secs(1), ..hasty() };
    let ledger = open(directory.path(), &policy, None).await;
    charge(&ledger, 1_000);
    let bank = Scripted::new(&ledger, |_| Reply::Says(NotSent), |_| None);
    let executor = execute(&ledger, &bank, 2);
    let id = withdraw(&ledger, 10, "one").unwrap();
    until("the first attempt to end", || withdrawal(&ledger, id).last_class().is_some()).await;
    executor.shutdown(PATIENCE).await;
    ledger.close().unwrap();
    let before = withdrawal(&ledger, id);
    drop((bank, ledger));

    let ledger = open(directory.path(), &policy, None).await;
    assert_eq!(withdrawal(&ledger, id), before, "replay gives the same withdrawal");
    let bank = Scripted::new(&ledger, |_| Reply::Says(Settled), |_| None);
    let executor = execute(&ledger, &bank, 2);
    reaches(&ledger, id, Substatus::Completed).await;
    assert_eq!(bank.attempts(id), [before.attempts + 1]);
    executor.shutdown(PATIENCE).await;
}
