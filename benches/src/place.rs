//! Where the measured ledgers lie.

use std::env;
use std::fs;
use std::ops::Deref;
use std::path::PathBuf;

use ledger_core::{Clock, Ledger, Options};
use tempfile::TempDir;

/// The magic number of a file system in memory, on which durability would cost nothing and mean nothing.
const TMPFS: u64 = 0x0102_1994;

/// The directory under which every durable ledger is made: `LEDGER_BENCH_DIR`, or one in the build directory.
pub fn root() -> PathBuf {
    let fallback = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/ledger-benches"));
    let root = env::var_os("LEDGER_BENCH_DIR").map_or_else(fallback, PathBuf::from);
    fs::create_dir_all(&root).expect("the directory for measured ledgers can be made");
    assert_ne!(file_system(&root), TMPFS, "{} is in memory: set LEDGER_BENCH_DIR to a real disk", root.display());
    root
}

/// What kind of file system a path lies on, as `statfs` numbers them.
pub fn file_system(path: &std::path::Path) -> u64 {
    rustix::fs::statfs(path).expect("the file system tells its type").f_type as u64
}

/// A directory that is removed when it is dropped.
pub fn directory() -> TempDir {
    tempfile::Builder::new().prefix("ledger-").tempdir_in(root()).expect("a directory can be made")
}

/// Whether a measured ledger has a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// No log: what the state alone costs.
    Memory,
    /// Every reply waits for fdatasync.
    Durable,
}

/// An open ledger, and its directory if it has one.
pub struct Opened {
    // Dropped before the directory is.
    ledger: Ledger,
    _directory: Option<TempDir>,
}

impl Opened {
    /// A new ledger.
    pub fn new(mode: Mode) -> Opened {
        Opened::with(mode, Ledger::options())
    }

    /// A new ledger in memory that lives by `clock`.
    pub fn by_clock(clock: impl Clock) -> Opened {
        Opened::with(Mode::Memory, Ledger::options().clock(clock))
    }

    fn with(mode: Mode, options: Options) -> Opened {
        match mode {
            Mode::Memory => {
                Opened { ledger: options.in_memory().expect("the default options are valid"), _directory: None }
            }
            Mode::Durable => {
                let directory = directory();
                let ledger = options.open(directory.path()).expect("a new ledger opens");
                Opened { ledger, _directory: Some(directory) }
            }
        }
    }
}

impl Deref for Opened {
    type Target = Ledger;

    fn deref(&self) -> &Ledger {
        &self.ledger
    }
}
