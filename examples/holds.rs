//! A balance is a function of time: money that is held counts at once and may be spent later.
//!
//! `cargo run -p ledger-examples --bin holds`

use std::error::Error;
use std::thread;
use std::time::Duration;

use ledger_core::{Amount, Balance, Charge, Currency, IdempotencyKey, Ledger, Rejection, Transfer, UserId};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let ledger = Ledger::open(directory.path())?;
    let seller = UserId::new(1).ok_or("not a user")?;
    let landlord = UserId::new(2).ok_or("not a user")?;
    let amount = Amount::new(80_00).ok_or("not an amount")?;

    // The buyer has paid; the seller may spend it when the time for returning the goods is over.
    let sold = ledger.now();
    let release_at = sold.saturating_add(Duration::from_millis(300));
    let sale = IdempotencyKey::new("sale-1").ok_or("not a key")?;
    ledger.charge(Charge::new(seller, amount, sale).release_at(release_at))?.wait()?;
    show("now", ledger.balance(seller, Currency::USD)?.wait()?);
    // The future is known, as far as it is decided.
    show("then", ledger.balance_at(seller, Currency::USD, release_at)?.wait()?);

    let rent = Transfer::new(seller, landlord, amount, IdempotencyKey::new("rent").ok_or("not a key")?);
    match ledger.transfer(rent).and_then(|commit| commit.wait()) {
        Err(ledger_core::Error::Rejected(Rejection::InsufficientBalance { withdrawable })) => {
            println!("the rent has to wait: {withdrawable} cents may be spent");
        }
        other => return Err(format!("held money was spent: {other:?}").into()),
    }

    thread::sleep(Duration::from_millis(350)); // Nothing runs meanwhile: a hold matures by itself.
    show("later", ledger.balance(seller, Currency::USD)?.wait()?);
    ledger.transfer(rent)?.wait()?; // The same key: a command that was rejected has not used it.
    show("paid", ledger.balance(seller, Currency::USD)?.wait()?);
    show(
        "before",
        ledger.balance_at(seller, Currency::USD, release_at.saturating_sub(Duration::from_micros(1)))?.wait()?,
    );
    Ok(())
}

fn show(when: &str, balance: Balance) {
    println!(
        "{when:>6}: total {:>4}, held {:>4}, withdrawable {:>4}",
        balance.total(),
        balance.held,
        balance.withdrawable
    );
}
