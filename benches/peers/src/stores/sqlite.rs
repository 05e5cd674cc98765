//! SQLite in WAL mode with `synchronous = FULL`, in this process. It has one writer at a time, so one connection behind a
//! lock: connections of their own would sleep and poll for their turn.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rusqlite::{Connection, TransactionBehavior};

use super::CACHE;
use crate::peer::{Account, Charge, Outcome, Peer, Session, directory_bytes};

const SCHEMA: &str = "
    CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
    CREATE TABLE history (id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL, amount INTEGER NOT NULL,
                          key BLOB NOT NULL UNIQUE, created_at INTEGER NOT NULL);
    CREATE INDEX history_of ON history (user_id, id);";

const ROW: &str = "
    INSERT INTO history (user_id, amount, key, created_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (key) DO NOTHING";

const CREDIT: &str = "
    INSERT INTO account VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET balance = balance + ?2";

pub(super) fn open(path: &Path) -> Outcome<Box<dyn Peer>> {
    let connection = Connection::open(path.join("ledger.sqlite"))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -((CACHE >> 10) as i64))?;
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    let synchronous: i64 = connection.pragma_query_value(None, "synchronous", |row| row.get(0))?;
    if (mode.as_str(), synchronous) != ("wal", 2) {
        return Err(format!("journal_mode is {mode} and synchronous {synchronous}: not durable as is said").into());
    }
    connection.execute_batch(SCHEMA)?;
    Ok(Box::new(Sqlite { connection: Mutex::new(connection), path: path.to_owned() }))
}

struct Sqlite {
    connection: Mutex<Connection>,
    path: PathBuf,
}

impl Peer for Sqlite {
    fn version(&self) -> Outcome<String> {
        Ok(format!("SQLite {}, WAL, synchronous FULL", rusqlite::version()))
    }

    fn shares_syncs(&self) -> bool {
        false
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(SqliteSession(&self.connection)))
    }

    fn disk_bytes(&self) -> Outcome<u64> {
        let connection = self.connection.lock().expect("nobody panics with it");
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        directory_bytes(&self.path)
    }

    fn memory_bytes(&self) -> Outcome<Option<u64>> {
        Ok(None)
    }
}

struct SqliteSession<'a>(&'a Mutex<Connection>);

impl Session for SqliteSession<'_> {
    fn batch(&mut self, charges: &[Charge]) -> Outcome<Vec<bool>> {
        let mut connection = self.0.lock().expect("nobody panics with it");
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut taken = Vec::with_capacity(charges.len());
        {
            let (mut row, mut credit) = (transaction.prepare_cached(ROW)?, transaction.prepare_cached(CREDIT)?);
            for charge in charges {
                let (user, amount, at) = (charge.user as i64, charge.amount as i64, charge.at as i64);
                let is_new = row.execute((user, amount, &charge.key[..], at))? == 1;
                if is_new {
                    credit.execute((user, amount))?;
                }
                taken.push(is_new);
            }
        }
        transaction.commit()?;
        Ok(taken)
    }

    fn account(&mut self, user: u64) -> Outcome<Account> {
        let connection = self.0.lock().expect("nobody panics with it");
        let balance = "SELECT coalesce((SELECT balance FROM account WHERE id = ?1), 0)";
        let balance: i64 = connection.query_row(balance, [user as i64], |row| row.get(0))?;
        let mut rows = connection.prepare_cached("SELECT amount FROM history WHERE user_id = ?1")?;
        let rows = rows.query_map([user as i64], |row| row.get::<_, i64>(0))?;
        Ok(Account {
            balance: balance as u64,
            rows: rows.map(|row| row.map(|amount| amount as u64)).collect::<Result<_, _>>()?,
        })
    }
}
