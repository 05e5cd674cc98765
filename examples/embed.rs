//! A ledger inside a program: money in, from one user to another, and what the two then own.
//!
//! `cargo run -p ledger-examples --bin embed`

use std::error::Error;

use ledger_core::{Amount, Charge, Currency, IdempotencyKey, Ledger, Query, Transfer, UserId};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let ledger = Ledger::open(directory.path())?;
    let (alice, bob) = (user(1)?, user(2)?);

    // Each call decides at once; `wait` returns when the decision survives a power cut.
    ledger.charge(Charge::new(alice, cents(50_00)?, key("order-17")?))?.wait()?;
    let receipt = ledger.transfer(Transfer::new(alice, bob, cents(12_50)?, key("lunch")?))?.wait()?;
    println!("transaction {} left alice {} cents", receipt.transaction_id, receipt.balance.withdrawable);

    let balance = ledger.balance(bob, Currency::USD)?.wait()?;
    println!("bob owns {} cents and may spend {}", balance.total(), balance.withdrawable);
    for transaction in ledger.transactions(&Query::new(alice))?.wait()?.transactions {
        let (kind, key) = (transaction.kind.as_str(), &transaction.idempotency_key);
        println!("alice: {:?} of {} by {kind} {key:?}", transaction.direction, transaction.amount);
    }

    let audit = ledger.audit_deep()?.wait()?;
    println!("all accounts, the world outside included, sum to {}", audit.currencies[0].sum());
    ledger.close()?;
    Ok(())
}

fn user(id: u64) -> Result<UserId, &'static str> {
    UserId::new(id).ok_or("a user is a number from 1 to 2^53 - 1")
}

fn cents(minor: u64) -> Result<Amount, &'static str> {
    Amount::new(minor).ok_or("an amount is from 1 to 2^53 - 1 minor units")
}

fn key(key: &str) -> Result<IdempotencyKey<'_>, &'static str> {
    IdempotencyKey::new(key).ok_or("a key is 1 to 255 printable bytes")
}
