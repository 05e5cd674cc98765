//! More withdrawals than there are places: the ones too many are refused before anything is recorded.

use std::time::Duration;

use ledger_core::withdrawals::AttemptClass::{NotSent, Settled};
use ledger_core::withdrawals::Policy;
use ledger_core::{Amount, Command, Error, IdempotencyKey, Rejection, Substatus, Withdraw};

use crate::world::{
    PATIENCE, Reply, Scripted, assert_balanced, balance, charge, execute, hasty, open, reaches, substatus, until, user,
    withdraw,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_surge_beyond_the_places_is_refused_with_nothing_reserved() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path(), &hasty(), Some(5)).await;
    charge(&ledger, 1_000);
    let bank = Scripted::new(&ledger, |_| Reply::After(Duration::from_millis(200), Settled), |_| None);
    let executor = execute(&ledger, &bank, 2);
    let results: Vec<_> = (0..20).map(|n| withdraw(&ledger, 10, &n.to_string())).collect();
    let accepted: Vec<_> = results.iter().filter_map(|r| r.as_ref().ok()).collect();
    assert_eq!(accepted.len(), 5);
    assert!(results.iter().all(|r| matches!(r, Ok(_) | Err(Error::Rejected(Rejection::QueueFull)))), "{results:?}");
    assert_eq!(balance(&ledger).reserved, 50);
    let repeat = withdraw(&ledger, 10, "0");
    assert!(
        matches!(repeat, Err(Error::Rejected(Rejection::DuplicateRequest(_)))),
        "a repeat needs no place: {repeat:?}"
    );
    let too_much = withdraw(&ledger, 100_000, "too much");
    assert!(matches!(too_much, Err(Error::Rejected(Rejection::QueueFull))), "the place comes before the balance");

    for id in accepted {
        reaches(&ledger, *id, Substatus::Completed).await;
    }
    until("the places to be free", || ledger.stats().withdrawal_places_taken == 0).await;
    let too_much = withdraw(&ledger, 100_000, "too much");
    assert!(matches!(too_much, Err(Error::Rejected(Rejection::InsufficientBalance { .. }))));
    assert_eq!(ledger.stats().withdrawal_places_taken, 0, "a rejection gives its place back");
    let retried = withdraw(&ledger, 10, "19").expect("its key is free and there is a place");
    reaches(&ledger, retried, Substatus::Completed).await;
    assert_balanced(&ledger);
    executor.shutdown(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_batch_each_withdrawal_takes_its_place_or_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path(), &hasty(), Some(3)).await;
    charge(&ledger, 1_000);
    let keys: Vec<_> = (0..5).map(|n| n.to_string()).collect();
    let commands: Vec<Command<'_>> = keys
        .iter()
        .map(|key| Withdraw::new(user(), Amount::new(10).unwrap(), IdempotencyKey::new(key).unwrap()).into())
        .collect();
    let results = ledger.batch(&commands).unwrap().wait().unwrap();
    let words: Vec<_> = results.iter().map(|r| matches!(r, Err(Rejection::QueueFull))).collect();
    assert_eq!(words, [false, false, false, true, true]);
    assert_eq!(balance(&ledger).reserved, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_retry_holds_no_place() {
    let directory = tempfile::tempdir().unwrap();
    let policy = Policy { backoff: Duration::from_secs(30), backoff_max: Duration::from_secs(30), ..hasty() };
    let ledger = open(directory.path(), &policy, Some(2)).await;
    charge(&ledger, 1_000);
    let bank = Scripted::new(&ledger, |_| Reply::Says(NotSent), |_| None);
    let executor = execute(&ledger, &bank, 2);
    for n in 0..10 {
        until("a place", || ledger.stats().withdrawal_places_taken < 2).await;
        withdraw(&ledger, 10, &n.to_string()).unwrap();
    }
    until("all first attempts", || ledger.stats().withdrawal_places_taken == 0 && executor.in_flight() == 0).await;
    assert_eq!((balance(&ledger).reserved, executor.queue_length()), (100, 0));
    executor.shutdown(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_calls_are_under_way_than_there_are_workers() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path(), &hasty(), None).await;
    charge(&ledger, 100_000);
    let bank = Scripted::new(&ledger, |_| Reply::After(Duration::from_millis(10), Settled), |_| None);
    let executor = execute(&ledger, &bank, 3);
    let ids: Vec<_> = (0..60).map(|n| withdraw(&ledger, 10, &n.to_string()).unwrap()).collect();
    until("all to end", || {
        assert!(executor.in_flight() <= 3);
        ids.iter().all(|id| substatus(&ledger, *id) == Substatus::Completed)
    })
    .await;
    assert!((1..=3).contains(&bank.most_under_way()), "{} calls with three workers", bank.most_under_way());
    executor.shutdown(PATIENCE).await;
}
