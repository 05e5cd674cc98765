//! fjall: batches under a lock, since what a charge becomes depends on what was there; each is synced as it is committed.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ::fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::CACHE;
use crate::peer::{Account, Charge, Outcome, Peer, Session, crate_version, directory_bytes};

pub(super) fn open(path: &Path) -> Outcome<Box<dyn Peer>> {
    let database = Database::builder(path).cache_size(CACHE as u64).open()?;
    let keyspace = |name: &str| database.keyspace(name, KeyspaceCreateOptions::default);
    let (accounts, keys, history) = (keyspace("account")?, keyspace("key")?, keyspace("history")?);
    Ok(Box::new(Fjall { database, accounts, keys, history, next: Mutex::new(1), path: path.to_owned() }))
}

struct Fjall {
    database: Database,
    /// A user's balance.
    accounts: Keyspace,
    /// The id of the row with a key.
    keys: Keyspace,
    /// By user and id: amount, time and key.
    history: Keyspace,
    /// The next id; held while a batch is written.
    next: Mutex<u64>,
    path: PathBuf,
}

impl Peer for Fjall {
    fn version(&self) -> Outcome<String> {
        crate_version("fjall")
    }

    fn shares_syncs(&self) -> bool {
        false
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(FjallSession(self)))
    }

    fn disk_bytes(&self) -> Outcome<u64> {
        directory_bytes(&self.path)
    }

    fn memory_bytes(&self) -> Outcome<Option<u64>> {
        Ok(None)
    }
}

struct FjallSession<'a>(&'a Fjall);

impl Fjall {
    fn balance(&self, user: u64) -> Outcome<u64> {
        match self.accounts.get(user.to_be_bytes())? {
            Some(bytes) => Ok(u64::from_be_bytes(bytes.as_ref().try_into()?)),
            None => Ok(0),
        }
    }
}

impl Session for FjallSession<'_> {
    fn batch(&mut self, charges: &[Charge]) -> Outcome<Vec<bool>> {
        let peer = self.0;
        let mut next = peer.next.lock().expect("nobody panics with it");
        let mut batch = peer.database.batch().durability(Some(PersistMode::SyncData));
        // What the batch will write cannot be read before it is committed.
        let (mut balances, mut keys) = (HashMap::new(), HashSet::new());
        let mut taken = Vec::with_capacity(charges.len());
        for charge in charges {
            let is_new = keys.insert(charge.key) && peer.keys.get(charge.key)?.is_none();
            taken.push(is_new);
            if !is_new {
                continue;
            }
            let balance = match balances.get(&charge.user) {
                Some(balance) => *balance,
                None => peer.balance(charge.user)?,
            };
            balances.insert(charge.user, balance + charge.amount);
            batch.insert(&peer.keys, charge.key, next.to_be_bytes());
            let id = [charge.user.to_be_bytes(), next.to_be_bytes()].concat();
            let row = [&charge.amount.to_be_bytes()[..], &charge.at.to_be_bytes(), &charge.key].concat();
            batch.insert(&peer.history, id, row);
            *next += 1;
        }
        for (user, balance) in balances {
            batch.insert(&peer.accounts, user.to_be_bytes(), balance.to_be_bytes());
        }
        batch.commit()?;
        Ok(taken)
    }

    fn account(&mut self, user: u64) -> Outcome<Account> {
        let mut rows = Vec::new();
        for row in self.0.history.prefix(user.to_be_bytes()) {
            rows.push(u64::from_be_bytes(row.value()?[..8].try_into()?));
        }
        Ok(Account { balance: self.0.balance(user)?, rows })
    }
}
