//! This ledger, by its blocking calls, with the default options: durability is `Sync`. It answers with a receipt that has
//! the transaction and the balance; the others only with whether the key was new.

use std::path::Path;

use ledger_benches::machine::resident_bytes;
use ledger_benches::workload::{amount, key};
use ledger_core::{Command, Currency, Error, Ledger, Query, Rejection, UserId};

use crate::peer::{Account, Charge, Outcome, Peer, Session};

pub(super) fn open(path: &Path) -> Outcome<Box<dyn Peer>> {
    Ok(Box::new(Ours { ledger: Ledger::open(path)? }))
}

struct Ours {
    ledger: Ledger,
}

impl Peer for Ours {
    fn version(&self) -> Outcome<String> {
        Ok("this ledger".to_owned())
    }

    fn shares_syncs(&self) -> bool {
        true
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(OursSession(&self.ledger)))
    }

    /// What was written into the log: its files are zeroed ahead, so their sizes say nothing.
    fn disk_bytes(&self) -> Outcome<u64> {
        Ok(self.ledger.stats().log_bytes)
    }

    fn memory_bytes(&self) -> Outcome<Option<u64>> {
        // What is ready for the tables is no charge's.
        Ok(Some(resident_bytes().saturating_sub(self.ledger.stats().memory.ahead)))
    }
}

struct OursSession<'a>(&'a Ledger);

fn command(charge: &Charge) -> Command<'_> {
    ledger_core::Charge::new(user(charge.user), amount(charge.amount), key(&charge.key)).into()
}

fn user(number: u64) -> UserId {
    UserId::new(number).expect("users are numbered from 1")
}

/// Whether it was taken, if the key is all that can be wrong with it.
fn taken<T>(decided: Result<T, Rejection>) -> Outcome<bool> {
    match decided {
        Ok(_) => Ok(true),
        Err(Rejection::DuplicateRequest(_) | Rejection::IdempotencyKeyReused(_)) => Ok(false),
        Err(other) => Err(Error::Rejected(other).into()),
    }
}

impl Session for OursSession<'_> {
    fn batch(&mut self, charges: &[Charge]) -> Outcome<Vec<bool>> {
        let commands: Vec<Command<'_>> = charges.iter().map(command).collect();
        self.0.batch(&commands)?.wait()?.into_iter().map(taken).collect()
    }

    fn charge(&mut self, charge: &Charge) -> Outcome<bool> {
        match self.0.submit(command(charge)).and_then(ledger_core::Commit::wait) {
            Err(Error::Rejected(rejection)) => taken::<()>(Err(rejection)),
            accepted => Ok(accepted.map(|_| true)?),
        }
    }

    fn account(&mut self, number: u64) -> Outcome<Account> {
        let balance = self.0.balance(user(number), Currency::USD)?.wait()?.total();
        let mut query = Query { limit: 100, ..Query::new(user(number)) };
        let mut rows = Vec::new();
        loop {
            let page = self.0.transactions(&query)?.wait()?;
            rows.extend(page.transactions.iter().map(|transaction| transaction.amount.minor()));
            let Some(next) = page.next else { return Ok(Account { balance, rows }) };
            query.start = next;
        }
    }
}
