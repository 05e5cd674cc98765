//! What every store is asked for: the same charge. A key may come once in the whole store, whoever names it; the account's
//! balance is kept; a row of the account's history holds amount, key and time; and the answer comes when all three are on
//! the disk. A store that does less is found out before it is measured (`contract`).

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use ledger_benches::workload::Key;

/// What anything of a store may fail with.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Opens an empty store; the directory is its own.
pub(crate) type Open = fn(&Path) -> Outcome<Box<dyn Peer>>;

/// A charge: who, how much in minor units, its key, and when, in microseconds of the Unix time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge {
    pub(crate) user: u64,
    pub(crate) amount: u64,
    pub(crate) key: Key,
    pub(crate) at: u64,
}

impl Charge {
    /// Now.
    pub(crate) fn new(user: u64, amount: u64, key: Key) -> Charge {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
        Charge { user, amount, key, at: since.as_micros() as u64 }
    }
}

/// What a store says of an account.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Account {
    pub(crate) balance: u64,
    /// The amount of each row of its history.
    pub(crate) rows: Vec<u64>,
}

/// A store.
pub(crate) trait Peer: Send + Sync {
    /// Which one it is, as it says itself.
    fn version(&self) -> Outcome<String>;

    /// Whether callers that wait at the same time share a sync without the application's doing. Where they do not, a queue
    /// in front of it is measured too.
    fn shares_syncs(&self) -> bool;

    /// What one caller holds: a connection, or a handle.
    fn session(&self) -> Outcome<Box<dyn Session + '_>>;

    /// The bytes on the disk that the charges so far are kept in.
    fn disk_bytes(&self) -> Outcome<u64>;

    /// The resident memory, where all charges are held in memory; `None` where it is a cache, whose size is set.
    fn memory_bytes(&self) -> Outcome<Option<u64>>;
}

/// One caller's way to a store.
pub(crate) trait Session: Send {
    /// Many charges with one wait; durable on return. Each is decided for itself: says which were taken; the others
    /// repeat a key.
    fn batch(&mut self, charges: &[Charge]) -> Outcome<Vec<bool>>;

    /// One charge; durable on return. Says whether it was taken.
    fn charge(&mut self, charge: &Charge) -> Outcome<bool> {
        Ok(self.batch(std::slice::from_ref(charge))?[0])
    }

    /// An account as the store would show it; zero if it was never used.
    fn account(&mut self, user: u64) -> Outcome<Account>;
}

/// What a directory's files take on the disk, in bytes.
pub(crate) fn directory_bytes(path: &Path) -> Outcome<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut sum = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        sum += if meta.is_dir() { directory_bytes(&entry.path())? } else { meta.blocks() * 512 };
    }
    Ok(sum)
}

/// The version of a crate that this program is built with.
pub(crate) fn crate_version(name: &str) -> Outcome<String> {
    let mut lines = include_str!("../Cargo.lock").lines();
    let named = format!("name = \"{name}\"");
    lines.find(|line| *line == named).ok_or_else(|| format!("{name} is not in Cargo.lock"))?;
    let version = lines.next().and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    Ok(format!("{name} {}", version.ok_or("a crate in Cargo.lock has no version")?))
}
