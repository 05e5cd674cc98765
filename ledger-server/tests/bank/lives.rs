//! What becomes of a withdrawal whose bank says, over HTTP, what bears on repeats and on amounts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ledger_core::withdrawals::{AttemptClass, InquiryAnswer, Policy, Withdrawal};
use ledger_core::{Amount, Charge, IdempotencyKey, Ledger, Substatus, TransactionId, UserId, Withdraw};
use ledger_server::withdrawals::{Executor, ExecutorOptions, Gateway, HttpBank, HttpBankOptions};
use serde_json::{Value, json};

use crate::scripted::{Heard, PATIENCE, Reaction, ScriptedBank, answer, date, with_header};

const HOUR: Duration = Duration::from_secs(3_600);

/// An answer about what was asked or ordered; `members` replace those that would repeat the request.
fn about(heard: &Heard, status: u16, outcome: &str, members: Value) -> Vec<u8> {
    let mut said = if heard.asks() {
        let path = heard.head.split(' ').nth(1).unwrap();
        json!({"bank_reference": path.rsplit('/').next().unwrap()})
    } else {
        serde_json::from_str(&heard.body).unwrap()
    };
    said["outcome"] = json!(outcome);
    said.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    answer(status, &said.to_string())
}

fn settled(heard: &Heard) -> Vec<u8> {
    about(heard, 200, "settled", json!({}))
}

fn not_found(heard: &Heard) -> Vec<u8> {
    about(heard, 404, "not_found", json!({}))
}

/// Pays 3,000 through a bank that follows `script` and has declared a window of a day. `before` is done before anything is
/// sent. Returns the withdrawal once it has ended or waits for a person, and the bank.
async fn live(
    deadline: Duration,
    before: impl FnOnce(&Ledger, TransactionId),
    script: impl Fn(&Heard) -> Reaction + Send + Sync + 'static,
) -> (Withdrawal, ScriptedBank) {
    let bank = ScriptedBank::start(script).await;
    let gateway = Arc::new(HttpBank::new(HttpBankOptions { idempotency_window: Some(24 * HOUR), ..bank.options() }));
    let policy = Policy {
        backoff: Duration::from_millis(2),
        settle_delay: Duration::from_millis(2),
        inquiry_interval: Duration::from_millis(2),
        deadline,
        idempotency_window: gateway.idempotency_window(),
        ..Policy::default()
    };
    let ledger = Ledger::options().policy(policy).in_memory().unwrap();
    let (user, amount) = (UserId::new(1).unwrap(), Amount::new(3_000).unwrap());
    ledger.charge(Charge::new(user, amount, IdempotencyKey::new("c").unwrap())).unwrap().wait().unwrap();
    let withdraw = Withdraw::new(user, amount, IdempotencyKey::new("w").unwrap());
    let id = ledger.withdraw(withdraw).unwrap().wait().unwrap().transaction_id;
    before(&ledger, id);

    let options = ExecutorOptions { workers: 1, bank_timeout: PATIENCE };
    let executor = Executor::start(ledger.clone(), gateway, options);
    let seen = || ledger.withdrawal(id).unwrap().wait().unwrap().unwrap();
    let ended =
        |withdrawal: &Withdrawal| !withdrawal.substatus.is_open() || withdrawal.substatus == Substatus::NeedsReview;
    let waiting = async {
        while !ended(&seen()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("it does not end: {:?}", seen()));
    executor.shutdown(PATIENCE).await;
    (seen(), bank)
}

fn untouched(_: &Ledger, _: TransactionId) {}

fn classes(withdrawal: &Withdrawal) -> Vec<AttemptClass> {
    withdrawal.history.iter().map(|record| record.class().unwrap()).collect()
}

/// The log knows no attempt, and there may have been one.
#[tokio::test]
async fn a_withdrawal_in_doubt_is_sent_only_where_the_bank_would_recognise_a_repeat() {
    let doubted = |ledger: &Ledger, id| {
        ledger.doubt_withdrawal(id).unwrap().wait().unwrap();
    };
    for (header, orders, end) in [
        (date(Duration::ZERO), 1, Substatus::Completed),
        (date(HOUR), 0, Substatus::NeedsReview),
        ("idempotency-window: 60\r\n".to_owned(), 0, Substatus::NeedsReview),
    ] {
        let sent = header.clone();
        let script = move |heard: &Heard| {
            let said = if heard.asks() { not_found(heard) } else { settled(heard) };
            Reaction::Says(with_header(&said, &sent))
        };
        let (withdrawal, bank) = live(24 * HOUR, doubted, script).await;
        assert_eq!((withdrawal.substatus, bank.orders()), (end, orders), "{header:?}: {withdrawal:?}");
    }
}

#[tokio::test]
async fn a_repeat_that_was_never_sent_ends_in_review_and_releases_nothing() {
    let asked = AtomicUsize::new(0);
    let (withdrawal, bank) = live(24 * HOUR, untouched, move |heard| match heard.asks() {
        false => Reaction::Closes(Vec::new()),
        true if asked.fetch_add(1, Ordering::Relaxed) == 0 => Reaction::Says(not_found(heard)),
        true => Reaction::Closes(Vec::new()),
    })
    .await;
    assert_eq!((withdrawal.substatus, bank.orders()), (Substatus::NeedsReview, 1), "{withdrawal:?}");
    let expected = [AttemptClass::Ambiguous, AttemptClass::NotSent, AttemptClass::NotSent, AttemptClass::NotSent];
    assert_eq!(classes(&withdrawal), expected);
}

/// The bank knew nothing when it was asked, and knows it is paid when it is asked just before the repeat.
#[tokio::test]
async fn what_the_bank_says_just_before_a_repeat_is_heeded() {
    let asked = AtomicUsize::new(0);
    let (withdrawal, bank) = live(24 * HOUR, untouched, move |heard| match heard.asks() {
        false => Reaction::Closes(Vec::new()),
        true if asked.fetch_add(1, Ordering::Relaxed) == 0 => Reaction::Says(not_found(heard)),
        true => Reaction::Says(settled(heard)),
    })
    .await;
    assert_eq!((withdrawal.substatus, bank.orders()), (Substatus::Completed, 1), "{withdrawal:?}");
}

#[tokio::test]
async fn an_attempt_that_was_not_executed_is_made_again_whatever_the_banks_clock_says() {
    let ordered = AtomicUsize::new(0);
    let (withdrawal, bank) = live(24 * HOUR, untouched, move |heard| {
        let is_first = ordered.fetch_add(1, Ordering::Relaxed) == 0;
        let said = if is_first { about(heard, 503, "not_executed", json!({})) } else { settled(heard) };
        Reaction::Says(with_header(&said, &date(Duration::from_secs(60))))
    })
    .await;
    assert_eq!((withdrawal.substatus, bank.orders()), (Substatus::Completed, 2), "{withdrawal:?}");
    assert_eq!(bank.heard().len(), 2, "nothing was to be asked");
}

#[tokio::test]
async fn a_bank_that_paid_something_else_decides_nothing() {
    for (outcome, members, end) in [
        ("settled", json!({"amount": 1, "currency": "EUR"}), Substatus::NeedsReview),
        ("settled", json!({"amount": 1}), Substatus::NeedsReview),
        ("failed", json!({"currency": "EUR"}), Substatus::NeedsReview),
        ("settled", json!({"amount": 3_000, "currency": "USD"}), Substatus::Completed),
        ("failed", json!({}), Substatus::Failed),
    ] {
        let told = members.clone();
        let (withdrawal, bank) = live(Duration::from_millis(200), untouched, move |heard| {
            let members = if heard.asks() { told.clone() } else { json!({"amount": 1}) };
            Reaction::Says(about(heard, 200, if heard.asks() { outcome } else { "settled" }, members))
        })
        .await;
        assert_eq!((withdrawal.substatus, bank.orders()), (end, 1), "{outcome} {members}: {withdrawal:?}");
        let last = withdrawal.dossier().answers.last().unwrap();
        let is_unanswered = last.answer == InquiryAnswer::Unanswered;
        assert_eq!(is_unanswered, end == Substatus::NeedsReview);
        assert!(last.evidence.contains(outcome), "{}", last.evidence);
        assert_eq!(last.evidence.contains("the payout was 3000 USD"), is_unanswered, "{}", last.evidence);
    }
}
