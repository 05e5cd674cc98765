//! A process is killed in the middle of its work; what it was told to be durable is there when the ledger opens again.
//!
//! `cargo run -p ledger-examples --bin crash_and_recover`

use std::env;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use ledger_core::{Amount, Charge, Currency, IdempotencyKey, Ledger, UserId};

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(directory) = env::args().nth(1) {
        return charge_for_ever(&directory);
    }
    let directory = tempfile::tempdir()?;
    let mut child = Command::new(env::current_exe()?).arg(directory.path()).stdout(Stdio::piped()).spawn()?;
    let mut acknowledged = 0; // How many charges the child knows to be durable: it says so in lines.
    for line in BufReader::new(child.stdout.take().ok_or("the child has no output")?).lines() {
        acknowledged = line?.parse()?;
        if acknowledged >= 500 {
            child.kill()?; // SIGKILL, and the loop goes on to what it said before it died.
        }
    }
    child.wait()?;
    println!("killed after it had acknowledged {acknowledged} charges");

    let ledger = Ledger::open(directory.path())?;
    let recovered = ledger.balance(UserId::new(1).ok_or("not a user")?, Currency::USD)?.wait()?.total();
    println!("the ledger has {recovered}, and is balanced: {}", ledger.audit_deep()?.wait()?.is_balanced());
    // One more may have been durable already, whose acknowledgement did not get out.
    if (acknowledged..=acknowledged + 1).contains(&recovered) { Ok(()) } else { Err("a charge was lost".into()) }
}

fn charge_for_ever(directory: &str) -> Result<(), Box<dyn Error>> {
    let ledger = Ledger::open(directory)?;
    let (user, one) = (UserId::new(1).ok_or("not a user")?, Amount::new(1).ok_or("not an amount")?);
    for number in 1u64.. {
        let key = format!("charge-{number}");
        ledger.charge(Charge::new(user, one, IdempotencyKey::new(&key).ok_or("not a key")?))?.wait()?;
        println!("{number}");
    }
    Ok(())
}
