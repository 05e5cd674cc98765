//! A command that is sent twice counts once: the answer was lost, so the caller repeats it with the same key.
//!
//! `cargo run -p ledger-examples --bin idempotent_retry`

use ledger_core::{Amount, Charge, Currency, Error, IdempotencyKey, Ledger, Rejection, TransactionId, UserId};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let ledger = Ledger::open(directory.path())?;
    let user = UserId::new(7).ok_or("not a user")?;
    let (ten, twenty) = (Amount::new(10_00).ok_or("not an amount")?, Amount::new(20_00).ok_or("not an amount")?);
    let key = IdempotencyKey::new("payment-4711").ok_or("not a key")?;

    let charge = Charge::new(user, ten, key);
    let first = charge_once(&ledger, charge)?;
    println!("sent:             transaction {first}");

    // The network broke before the answer came, or the program was started anew.
    drop(ledger);
    let ledger = Ledger::open(directory.path())?;
    let again = charge_once(&ledger, charge)?;
    println!("sent once more:   transaction {again}");

    match charge_once(&ledger, Charge::new(user, twenty, key)) {
        Err(Error::Rejected(Rejection::IdempotencyKeyReused(original))) => {
            println!("another amount:   refused, the key names transaction {}", original.id);
        }
        other => return Err(format!("a key was used for two commands: {other:?}").into()),
    }
    println!("charged in all:   {} cents", ledger.balance(user, Currency::USD)?.wait()?.total());
    Ok(())
}

/// The transaction that the key names: by this call, or by an earlier one that says the same.
fn charge_once(ledger: &Ledger, charge: Charge<'_>) -> Result<TransactionId, Error> {
    match ledger.charge(charge).and_then(|commit| commit.wait()) {
        Ok(receipt) => Ok(receipt.transaction_id),
        Err(Error::Rejected(Rejection::DuplicateRequest(original))) => Ok(original.id),
        Err(refused) => Err(refused),
    }
}
