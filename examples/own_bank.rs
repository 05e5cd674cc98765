//! A bank of one's own: a ledger in a program, driven by the server's executor without the server.
//!
//! A gateway has one duty: to say *rejected* or *not sent* only where that is certain, and *ambiguous* wherever it is not.
//! What follows from each class is the ledger's decision.
//!
//! `cargo run -p ledger-examples --bin own_bank`

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ledger_core::withdrawals::{AttemptClass, Inquiry, InquiryAnswer, Policy, Submission};
use ledger_core::{Amount, BankReference, Charge, IdempotencyKey, Ledger, Substatus, UserId, Withdraw};
use ledger_server::withdrawals::{Executor, ExecutorOptions, Gateway, Payout};

/// Pays at once, but loses its first answer: nobody can tell from outside whether it paid.
#[derive(Default)]
struct Postbank {
    paid: Mutex<HashMap<BankReference, u64>>,
}

impl Gateway for Postbank {
    async fn submit(&self, payout: &Payout) -> Submission {
        let mut paid = self.paid.lock().unwrap();
        let is_repeat = paid.insert(payout.reference, payout.amount.minor()).is_some();
        let class = if is_repeat { AttemptClass::Settled } else { AttemptClass::Ambiguous };
        Submission { class, evidence: "the line went dead".to_owned() }
    }

    async fn inquire(&self, payout: &Payout) -> Inquiry {
        let paid = self.paid.lock().unwrap().get(&payout.reference).copied();
        let answer = match paid {
            None => InquiryAnswer::NotFound,
            Some(minor) if minor == payout.amount.minor() => InquiryAnswer::Settled,
            Some(_) => InquiryAnswer::Unanswered,
        };
        Inquiry { answer, evidence: format!("asked at the counter about {}: {paid:?}", payout.reference) }
    }

    fn idempotency_window(&self) -> Option<Duration> {
        Some(Duration::from_secs(3600))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let bank = Arc::new(Postbank::default());
    let settle_delay = Duration::from_millis(10);
    let policy = Policy { settle_delay, idempotency_window: bank.idempotency_window(), ..Policy::default() };
    let ledger = Ledger::options().policy(policy).open(directory.path())?;
    let executor = Executor::start(ledger.clone(), bank.clone(), ExecutorOptions::default());

    let (user, amount) = (UserId::new(1).ok_or("a user")?, Amount::new(50_00).ok_or("an amount")?);
    let key = |key| IdempotencyKey::new(key).ok_or("a key");
    ledger.charge(Charge::new(user, amount, key("salary")?))?.await?;
    let receipt = ledger.withdraw(Withdraw::new(user, amount, key("rent")?))?.await?;
    println!("reserved: {}, withdrawable: {}", receipt.balance.reserved, receipt.balance.withdrawable);

    let ended = loop {
        let withdrawal = ledger.withdrawal(receipt.transaction_id)?.await?.ok_or("it was made")?;
        if withdrawal.substatus == Substatus::Completed {
            break withdrawal;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    println!("attempts: {}, the last one {}", ended.attempts, ended.last_class().ok_or("it ended")?.as_str());
    println!("completed, as was {}", ended.ending.ok_or("it ended")?.evidence);
    println!("paid by the bank: {:?}", bank.paid.lock().unwrap().values().collect::<Vec<_>>());

    executor.shutdown(Duration::from_secs(1)).await;
    ledger.close()?;
    Ok(())
}
