//! Redis in a process of its own, on loopback, with `appendfsync always`: a script for each call, and one sync for all
//! calls of one turn of its loop. `with_servers.sh` starts one and says where it is: `PEER_REDIS` (a URL) and
//! `PEER_REDIS_DIR` (its files). All that it holds is removed.

use std::env;
use std::path::{Path, PathBuf};

use ::redis::{Client, Commands, Connection, Script};

use crate::peer::{Account, Charge, Outcome, Peer, Session, directory_bytes};

/// Any number of charges: user, amount, key, time, and so on.
const CHARGE: &str = r"
    local taken = {}
    for at = 1, #ARGV, 4 do
        local user, amount, key = ARGV[at], ARGV[at + 1], ARGV[at + 2]
        if redis.call('SET', 'k:' .. key, user, 'NX') then
            redis.call('INCRBY', 'b:' .. user, amount)
            redis.call('RPUSH', 'h:' .. user, amount .. ' ' .. key .. ' ' .. ARGV[at + 3])
            taken[#taken + 1] = 1
        else
            taken[#taken + 1] = 0
        end
    end
    return taken";

pub(super) fn open(_path: &Path) -> Outcome<Box<dyn Peer>> {
    let address = env::var("PEER_REDIS").map_err(|_| "PEER_REDIS is not set; use with_servers.sh")?;
    let files = env::var_os("PEER_REDIS_DIR").ok_or("PEER_REDIS_DIR is not set; use with_servers.sh")?;
    let client = Client::open(address)?;
    let mut connection = client.get_connection()?;
    for (setting, wanted) in [("appendonly", "yes"), ("appendfsync", "always")] {
        let (_, value): (String, String) = ::redis::cmd("CONFIG").arg("GET").arg(setting).query(&mut connection)?;
        if value != wanted {
            return Err(format!("{setting} is {value}, not {wanted}").into());
        }
    }
    ::redis::cmd("FLUSHALL").arg("SYNC").exec(&mut connection)?;
    Ok(Box::new(Redis { client, script: Script::new(CHARGE), files: files.into() }))
}

struct Redis {
    client: Client,
    script: Script,
    files: PathBuf,
}

impl Redis {
    /// A value of `INFO`.
    fn info(&self, name: &str) -> Outcome<String> {
        let all: String = ::redis::cmd("INFO").query(&mut self.client.get_connection()?)?;
        let value = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(value.ok_or_else(|| format!("INFO has no {name}"))?.trim().to_owned())
    }
}

impl Peer for Redis {
    fn version(&self) -> Outcome<String> {
        Ok(format!("Redis {}, appendfsync always", self.info("redis_version")?))
    }

    fn shares_syncs(&self) -> bool {
        true
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(RedisSession { connection: self.client.get_connection()?, script: &self.script }))
    }

    fn disk_bytes(&self) -> Outcome<u64> {
        directory_bytes(&self.files)
    }

    fn memory_bytes(&self) -> Outcome<Option<u64>> {
        Ok(Some(self.info("used_memory_rss")?.parse()?))
    }
}

struct RedisSession<'a> {
    connection: Connection,
    script: &'a Script,
}

impl Session for RedisSession<'_> {
    fn batch(&mut self, charges: &[Charge]) -> Outcome<Vec<bool>> {
        let mut call = self.script.prepare_invoke();
        for charge in charges {
            call.arg(charge.user).arg(charge.amount).arg(&charge.key[..]).arg(charge.at);
        }
        Ok(call.invoke(&mut self.connection)?)
    }

    fn account(&mut self, user: u64) -> Outcome<Account> {
        let balance: Option<u64> = self.connection.get(format!("b:{user}"))?;
        let rows: Vec<String> = self.connection.lrange(format!("h:{user}"), 0, -1)?;
        let amount = |row: &String| row.split(' ').next().unwrap_or_default().parse();
        Ok(Account { balance: balance.unwrap_or(0), rows: rows.iter().map(amount).collect::<Result<_, _>>()? })
    }
}
