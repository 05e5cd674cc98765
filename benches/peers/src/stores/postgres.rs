//! PostgreSQL in processes of its own, on loopback: a prepared statement and a connection for each caller. Commits of callers
//! that wait at the same time share a sync. `with_servers.sh` starts one and says in `PEER_POSTGRES` where it is (a
//! connection string); its tables `account` and `history` are made anew.

use std::collections::HashSet;
use std::env;
use std::path::Path;

use ::postgres::{Client, NoTls, Statement};

use crate::peer::{Account, Charge, Outcome, Peer, Session};

const SCHEMA: &str = "
    DROP TABLE IF EXISTS account, history;
    CREATE TABLE account (id bigint PRIMARY KEY, balance bigint NOT NULL);
    CREATE TABLE history (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id bigint NOT NULL,
                          amount bigint NOT NULL, key bytea NOT NULL UNIQUE, created_at bigint NOT NULL);
    CREATE INDEX ON history (user_id, id);";

/// One statement for any number of charges, so that each wait is one round trip; says which keys were new. Balances are
/// summed first: one statement may touch a row only once.
const CHARGE: &str = "
    WITH given AS (SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bigint[])
                   AS given (user_id, amount, key, created_at)),
         kept AS (INSERT INTO history (user_id, amount, key, created_at)
                  SELECT user_id, amount, key, created_at FROM given
                  ON CONFLICT (key) DO NOTHING RETURNING user_id, amount, key),
         credited AS (INSERT INTO account SELECT user_id, sum(amount) FROM kept GROUP BY user_id ORDER BY user_id
                      ON CONFLICT (id) DO UPDATE SET balance = account.balance + excluded.balance)
    SELECT key FROM kept";

pub(super) fn open(_path: &Path) -> Outcome<Box<dyn Peer>> {
    let address = env::var("PEER_POSTGRES").map_err(|_| "PEER_POSTGRES is not set; use with_servers.sh")?;
    let peer = Postgres { address };
    let mut client = peer.connect()?;
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        let value: String = client.query_one(format!("SHOW {setting}").as_str(), &[])?.get(0);
        if value != "on" {
            return Err(format!("{setting} is {value}, not on").into());
        }
    }
    client.batch_execute(SCHEMA)?;
    Ok(Box::new(peer))
}

struct Postgres {
    address: String,
}

impl Postgres {
    fn connect(&self) -> Outcome<Client> {
        Ok(Client::connect(&self.address, NoTls)?)
    }
}

impl Peer for Postgres {
    fn version(&self) -> Outcome<String> {
        let version: String = self.connect()?.query_one("SHOW server_version", &[])?.get(0);
        Ok(format!("PostgreSQL {}", version.split(' ').next().unwrap_or(&version)))
    }

    fn shares_syncs(&self) -> bool {
        true
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        let mut client = self.connect()?;
        let statement = client.prepare(CHARGE)?;
        Ok(Box::new(PostgresSession { client, statement }))
    }

    /// Tables and indexes; the write-ahead log, of which it keeps up to 1 GB, apart.
    fn disk_bytes(&self) -> Outcome<u64> {
        let row = self.connect()?.query_one("SELECT pg_database_size(current_database())", &[])?;
        Ok(row.get::<_, i64>(0) as u64)
    }

    fn memory_bytes(&self) -> Outcome<Option<u64>> {
        Ok(None)
    }
}

struct PostgresSession {
    client: Client,
    statement: Statement,
}

impl Session for PostgresSession {
    fn batch(&mut self, charges: &[Charge]) -> Outcome<Vec<bool>> {
        let numbers =
            |number: fn(&Charge) -> u64| charges.iter().map(|charge| number(charge) as i64).collect::<Vec<_>>();
        let (users, amounts, times) =
            (numbers(|charge| charge.user), numbers(|charge| charge.amount), numbers(|charge| charge.at));
        let keys: Vec<&[u8]> = charges.iter().map(|charge| &charge.key[..]).collect();
        let kept = self.client.query(&self.statement, &[&users, &amounts, &keys, &times])?;
        if kept.len() == charges.len() {
            return Ok(vec![true; charges.len()]);
        }
        let mut kept: HashSet<Vec<u8>> = kept.iter().map(|row| row.get(0)).collect();
        // Removed: of a key that stands twice, the first was taken.
        Ok(charges.iter().map(|charge| kept.remove(&charge.key[..])).collect())
    }

    fn account(&mut self, user: u64) -> Outcome<Account> {
        let user = user as i64;
        let balance = self.client.query_opt("SELECT balance FROM account WHERE id = $1", &[&user])?;
        let rows = self.client.query("SELECT amount FROM history WHERE user_id = $1", &[&user])?;
        let number = |row: &::postgres::Row| row.get::<_, i64>(0) as u64;
        Ok(Account { balance: balance.as_ref().map_or(0, number), rows: rows.iter().map(number).collect() })
    }
}
