//! A ledger with one rich user, a bank that follows a script, and an executor between them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ledger_core::withdrawals::{AttemptClass, Inquiry, InquiryAnswer, Policy, Submission, Withdrawal};
use ledger_core::{
    Amount, Balance, BankReference, Charge, Currency, Error, IdempotencyKey, Ledger, Substatus, Transaction,
    TransactionId, UserId, Withdraw,
};
use ledger_server::withdrawals::{Executor, ExecutorOptions, Gateway, Payout};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Milliseconds where a real bank needs seconds.
pub(crate) fn hasty() -> Policy {
    Policy {
        attempts_max: 4,
        backoff: Duration::from_millis(2),
        backoff_max: Duration::from_millis(20),
        settle_delay: Duration::from_millis(5),
        inquiry_interval: Duration::from_millis(5),
        deadline: Duration::from_secs(60),
        idempotency_window: Some(Duration::from_secs(30)),
    }
}

pub(crate) fn user() -> UserId {
    UserId::new(1).unwrap()
}

/// Opens the ledger at `path`; the executor that held it before may still be letting go of it.
pub(crate) async fn open(path: &Path, policy: &Policy, places: Option<usize>) -> Ledger {
    let start = std::time::Instant::now();
    loop {
        match Ledger::options().policy(policy.clone()).withdrawal_places(places).segment_bytes(1 << 20).open(path) {
            Ok(ledger) => return ledger,
            Err(ledger_core::OpenError::InUse { .. }) if start.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

pub(crate) fn charge(ledger: &Ledger, minor: u64) {
    let key = IdempotencyKey::new("charge").unwrap();
    ledger.charge(Charge::new(user(), Amount::new(minor).unwrap(), key)).unwrap().wait().unwrap();
}

pub(crate) fn withdraw(ledger: &Ledger, minor: u64, key: &str) -> Result<TransactionId, Error> {
    let key = IdempotencyKey::new(key).unwrap();
    let commit = ledger.withdraw(Withdraw::new(user(), Amount::new(minor).unwrap(), key))?;
    Ok(commit.wait()?.transaction_id)
}

pub(crate) fn balance(ledger: &Ledger) -> Balance {
    ledger.balance(user(), Currency::USD).unwrap().wait().unwrap()
}

pub(crate) fn withdrawal(ledger: &Ledger, id: TransactionId) -> Withdrawal {
    ledger.withdrawal(id).unwrap().wait().unwrap().unwrap()
}

pub(crate) fn transaction(ledger: &Ledger, id: TransactionId) -> Transaction {
    ledger.transaction(id, None).unwrap().wait().unwrap().unwrap()
}

pub(crate) fn substatus(ledger: &Ledger, id: TransactionId) -> Substatus {
    transaction(ledger, id).withdrawal.unwrap().substatus
}

/// Waits until the withdrawal is there.
pub(crate) async fn reaches(ledger: &Ledger, id: TransactionId, expected: Substatus) {
    let what = format!("withdrawal {id} to be {expected}");
    until(&what, || substatus(ledger, id) == expected).await;
}

pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) fn assert_balanced(ledger: &Ledger) {
    let audit = ledger.audit_deep().unwrap().wait().unwrap();
    assert!(audit.is_balanced(), "{audit:?}");
}

/// What the scripted bank does with an attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    Says(AttemptClass),
    After(Duration, AttemptClass),
    /// Never answers.
    Hangs,
    Panics,
}

type Submits = dyn Fn(&Payout) -> Reply + Send + Sync;
type Answers = dyn Fn(usize) -> Option<InquiryAnswer> + Send + Sync;

/// A bank that does what it is told, and checks what the ledger owes it: one reference for all attempts, one attempt at
/// a time, and nothing sent that is not durable in the log.
pub(crate) struct Scripted {
    ledger: Ledger,
    submits: Box<Submits>,
    answers: Box<Answers>,
    heard: Mutex<Heard>,
}

/// A call that is under way, until its future is dropped.
struct UnderWay<'a>(&'a Mutex<Heard>);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap().under_way -= 1;
    }
}

#[derive(Default)]
struct Heard {
    under_way: usize,
    most_under_way: usize,
    attempts: HashMap<TransactionId, Vec<(u32, BankReference)>>,
    inquiries: HashMap<TransactionId, usize>,
    order: Vec<TransactionId>,
}

impl Scripted {
    /// `submits` says what becomes of an attempt; `answers` what the nth inquiry (from 0) about a reference is told,
    /// where `None` is no answer at all.
    pub(crate) fn new(
        ledger: &Ledger,
        submits: impl Fn(&Payout) -> Reply + Send + Sync + 'static,
        answers: impl Fn(usize) -> Option<InquiryAnswer> + Send + Sync + 'static,
    ) -> Arc<Scripted> {
        Arc::new(Scripted {
            ledger: ledger.clone(),
            submits: Box::new(submits),
            answers: Box::new(answers),
            heard: Mutex::default(),
        })
    }

    /// The numbers of the attempts that arrived.
    pub(crate) fn attempts(&self, id: TransactionId) -> Vec<u32> {
        let heard = self.heard.lock().unwrap();
        heard.attempts.get(&id).map(|list| list.iter().map(|(number, _)| *number).collect()).unwrap_or_default()
    }

    pub(crate) fn inquiries(&self, id: TransactionId) -> usize {
        self.heard.lock().unwrap().inquiries.get(&id).copied().unwrap_or(0)
    }

    /// The most attempts that were under way at one time.
    pub(crate) fn most_under_way(&self) -> usize {
        self.heard.lock().unwrap().most_under_way
    }

    /// Whose attempts arrived, in order.
    pub(crate) fn order(&self) -> Vec<TransactionId> {
        self.heard.lock().unwrap().order.clone()
    }
}

impl Gateway for Scripted {
    async fn submit(&self, payout: &Payout) -> Submission {
        let id = payout.reference.id;
        let seen = transaction(&self.ledger, id);
        let details = seen.withdrawal.unwrap();
        assert_eq!((details.substatus, details.attempts), (Substatus::Submitting, payout.attempt));
        assert_eq!(details.bank_reference, payout.reference);
        assert!(self.ledger.durable() >= seen.last_seq, "bytes would leave before the log is durable");
        let _call = {
            let mut heard = self.heard.lock().unwrap();
            heard.under_way += 1;
            heard.most_under_way = heard.most_under_way.max(heard.under_way);
            heard.order.push(id);
            let attempts = heard.attempts.entry(id).or_default();
            assert!(
                attempts
                    .iter()
                    .all(|(number, reference)| { *number < payout.attempt && *reference == payout.reference })
            );
            attempts.push((payout.attempt, payout.reference));
            UnderWay(&self.heard)
        };
        let says = |class: AttemptClass| Submission { class, evidence: format!("the script says {class}") };
        match (self.submits)(payout) {
            Reply::Says(class) => says(class),
            Reply::After(latency, class) => {
                tokio::time::sleep(latency).await;
                says(class)
            }
            Reply::Hangs => std::future::pending().await,
            Reply::Panics => panic!("the script says so"),
        }
    }

    async fn inquire(&self, payout: &Payout) -> Inquiry {
        let nth = {
            let mut heard = self.heard.lock().unwrap();
            let count = heard.inquiries.entry(payout.reference.id).or_default();
            *count += 1;
            *count - 1
        };
        match (self.answers)(nth) {
            Some(answer) => Inquiry { answer, evidence: format!("the script says {answer}") },
            None => std::future::pending().await,
        }
    }

    fn idempotency_window(&self) -> Option<Duration> {
        None
    }
}

pub(crate) fn execute<G: Gateway>(ledger: &Ledger, bank: &Arc<G>, workers: usize) -> Executor {
    let options = ExecutorOptions { workers, bank_timeout: Duration::from_millis(300) };
    Executor::start(ledger.clone(), bank.clone(), options)
}
