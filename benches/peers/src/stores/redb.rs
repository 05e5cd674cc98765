//! redb: one writer at a time, each transaction synced (`Durability::Immediate`).

use std::path::{Path, PathBuf};

use ::redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::CACHE;
use crate::peer::{Account, Charge, Outcome, Peer, Session, crate_version, directory_bytes};

const ACCOUNTS: TableDefinition<'_, u64, u64> = TableDefinition::new("account");
const KEYS: TableDefinition<'_, &[u8], u64> = TableDefinition::new("key");
/// By user and id: amount, key and time.
const HISTORY: TableDefinition<'_, (u64, u64), (u64, &[u8], u64)> = TableDefinition::new("history");

pub(super) fn open(path: &Path) -> Outcome<Box<dyn Peer>> {
    let database = Builder::new().set_cache_size(CACHE).create(path.join("ledger.redb"))?;
    let write = database.begin_write()?;
    write.open_table(ACCOUNTS)?;
    write.open_table(KEYS)?;
    write.open_table(HISTORY)?;
    write.commit()?;
    Ok(Box::new(Redb { database, path: path.to_owned() }))
}

struct Redb {
    database: Database,
    path: PathBuf,
}

impl Peer for Redb {
    fn version(&self) -> Outcome<String> {
        crate_version("redb")
    }

    fn shares_syncs(&self) -> bool {
        false
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(RedbSession(&self.database)))
    }

    fn disk_bytes(&self) -> Outcome<u64> {
        directory_bytes(&self.path)
    }

    fn memory_bytes(&self) -> Outcome<Option<u64>> {
        Ok(None)
    }
}

struct RedbSession<'a>(&'a Database);

impl Session for RedbSession<'_> {
    fn batch(&mut self, charges: &[Charge]) -> Outcome<Vec<bool>> {
        let write = self.0.begin_write()?;
        let mut taken = Vec::with_capacity(charges.len());
        {
            let mut accounts = write.open_table(ACCOUNTS)?;
            let mut keys = write.open_table(KEYS)?;
            let mut history = write.open_table(HISTORY)?;
            // Every row has a key and none is removed: their number is the next id.
            let mut next = ::redb::ReadableTableMetadata::len(&keys)?;
            for charge in charges {
                let key = &charge.key[..];
                let is_new = keys.get(key)?.is_none();
                if is_new {
                    keys.insert(key, next)?;
                    let balance = accounts.get(charge.user)?.map_or(0, |balance| balance.value());
                    accounts.insert(charge.user, balance + charge.amount)?;
                    history.insert((charge.user, next), (charge.amount, key, charge.at))?;
                    next += 1;
                }
                taken.push(is_new);
            }
        }
        write.commit()?;
        Ok(taken)
    }

    fn account(&mut self, user: u64) -> Outcome<Account> {
        let read = self.0.begin_read()?;
        let balance = read.open_table(ACCOUNTS)?.get(user)?.map_or(0, |balance| balance.value());
        let history = read.open_table(HISTORY)?;
        let rows = history.range((user, 0)..=(user, u64::MAX))?;
        Ok(Account { balance, rows: rows.map(|row| row.map(|(_, row)| row.value().0)).collect::<Result<_, _>>()? })
    }
}
