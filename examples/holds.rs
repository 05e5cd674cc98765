//! A balance is a function of time: money that is held counts at once and may be spent later.
//!
//! `cargo run -p ledger-examples --bin holds`

use std::error::Error;
use std::time::Duration;

use ledger_core::{Amount, Balance, Charge, Currency, IdempotencyKey, Ledger, Transfer, UserId};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let ledger = Ledger::open(directory.path())?;
    let (seller, landlord) = (UserId::new(1).ok_or("not a user")?, UserId::new(2).ok_or("not a user")?);
    let (sale, rent) = (IdempotencyKey::new("sale").ok_or("no key")?, IdempotencyKey::new("rent").ok_or("no key")?);
    let amount = Amount::new(80_00).ok_or("not an amount")?;

    // The buyer has paid; the seller may spend it when the time for returning the goods is over.
    let release_at = ledger.now().saturating_add(Duration::from_millis(300));
    ledger.charge(Charge::new(seller, amount, sale).release_at(release_at))?.wait()?;
    show("now", ledger.balance(seller, Currency::USD)?.wait()?);
    // The future is known, as far as it is decided.
    show("then", ledger.balance_at(seller, Currency::USD, release_at)?.wait()?);

    let rent = Transfer::new(seller, landlord, amount, rent);
    match ledger.transfer(rent).and_then(|commit| commit.wait()) {
        Err(rejection) => println!("the rent has to wait: {rejection}"),
        Ok(_) => return Err("held money was spent".into()),
    }

    std::thread::sleep(Duration::from_millis(350)); // Nothing runs meanwhile: a hold matures by itself.
    show("later", ledger.balance(seller, Currency::USD)?.wait()?);
    ledger.transfer(rent)?.wait()?; // The same key: a command that was rejected has not used it.
    show("paid", ledger.balance(seller, Currency::USD)?.wait()?);
    let before = release_at.saturating_sub(Duration::from_micros(1));
    show("before", ledger.balance_at(seller, Currency::USD, before)?.wait()?);
    Ok(())
}

fn show(when: &str, balance: Balance) {
    let Balance { held, withdrawable, .. } = balance;
    println!("{when:>6}: total {:>4}, held {held:>4}, withdrawable {withdrawable:>4}", balance.total());
}
