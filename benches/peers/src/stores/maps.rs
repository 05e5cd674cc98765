//! What one would write first: maps under one lock, with a file of lines that is synced before the lock is released; and
//! concurrent maps that forget everything, which is what speed looks like without a promise.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ::dashmap::{DashMap, DashSet};
use ledger_benches::machine::resident_bytes;
use ledger_benches::workload::Key;

use crate::peer::{Account, Charge, Outcome, Peer, Session, crate_version, directory_bytes};

/// An account's balance, and its history: amount, key and time.
#[derive(Default)]
struct Held {
    balance: u64,
    history: Vec<(u64, Key, u64)>,
}

impl Held {
    fn credit(&mut self, charge: &Charge) {
        self.balance += charge.amount;
        self.history.push((charge.amount, charge.key, charge.at));
    }

    fn account(&self) -> Account {
        Account { balance: self.balance, rows: self.history.iter().map(|row| row.0).collect() }
    }
}

/// `Mutex<HashMap>` with a log.
pub(super) fn with_log(path: &Path) -> Outcome<Box<dyn Peer>> {
    let log = File::create_new(path.join("log"))?;
    let state = State { log, accounts: HashMap::new(), keys: HashSet::new() };
    Ok(Box::new(Naive { state: Mutex::new(state), path: path.to_owned() }))
}

struct Naive {
    state: Mutex<State>,
    path: PathBuf,
}

struct State {
    log: File,
    accounts: HashMap<u64, Held>,
    keys: HashSet<Key>,
}

impl Peer for Naive {
    fn version(&self) -> Outcome<String> {
        Ok("`Mutex<HashMap>` with a log of lines".to_owned())
    }

    fn shares_syncs(&self) -> bool {
        false
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(NaiveSession(&self.state)))
    }

    fn disk_bytes(&self) -> Outcome<u64> {
        directory_bytes(&self.path)
    }

    fn memory_bytes(&self) -> Outcome<Option<u64>> {
        Ok(Some(resident_bytes()))
    }
}

struct NaiveSession<'a>(&'a Mutex<State>);

impl Session for NaiveSession<'_> {
    fn batch(&mut self, charges: &[Charge]) -> Outcome<Vec<bool>> {
        let state = &mut *self.0.lock().expect("nobody panics with it");
        let mut lines = Vec::new();
        let mut taken = Vec::with_capacity(charges.len());
        for charge in charges {
            let is_new = state.keys.insert(charge.key);
            if is_new {
                state.accounts.entry(charge.user).or_default().credit(charge);
                let key = String::from_utf8_lossy(&charge.key);
                writeln!(lines, "{} {} {key} {}", charge.user, charge.amount, charge.at)?;
            }
            taken.push(is_new);
        }
        state.log.write_all(&lines)?;
        state.log.sync_data()?;
        Ok(taken)
    }

    fn account(&mut self, user: u64) -> Outcome<Account> {
        let state = self.0.lock().expect("nobody panics with it");
        Ok(state.accounts.get(&user).map(Held::account).unwrap_or_default())
    }
}

/// Concurrent maps, without a log.
pub(super) fn without_log(_path: &Path) -> Outcome<Box<dyn Peer>> {
    Ok(Box::new(Maps::default()))
}

#[derive(Default)]
struct Maps {
    accounts: DashMap<u64, Held>,
    keys: DashSet<Key>,
}

impl Peer for Maps {
    fn version(&self) -> Outcome<String> {
        Ok(format!("{} without a log: **not durable**", crate_version("dashmap")?))
    }

    /// There is none to share.
    fn shares_syncs(&self) -> bool {
        true
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(MapsSession(self)))
    }

    fn disk_bytes(&self) -> Outcome<u64> {
        Ok(0)
    }

    fn memory_bytes(&self) -> Outcome<Option<u64>> {
        Ok(Some(resident_bytes()))
    }
}

struct MapsSession<'a>(&'a Maps);

impl Session for MapsSession<'_> {
    fn batch(&mut self, charges: &[Charge]) -> Outcome<Vec<bool>> {
        charges.iter().map(|charge| self.charge(charge)).collect()
    }

    fn charge(&mut self, charge: &Charge) -> Outcome<bool> {
        let is_new = self.0.keys.insert(charge.key);
        if is_new {
            self.0.accounts.entry(charge.user).or_default().credit(charge);
        }
        Ok(is_new)
    }

    fn account(&mut self, user: u64) -> Outcome<Account> {
        Ok(self.0.accounts.get(&user).map(|held| held.account()).unwrap_or_default())
    }
}
