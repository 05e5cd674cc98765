//! Why a checkpoint was not made.

use std::fmt;
use std::io;

use crate::error::Halted;

/// Why a checkpoint was not made. The ledger goes on as before, unless it has halted, and the next checkpoint tries again.
#[derive(Debug)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The ledger keeps no log, so there is nothing that a snapshot could spare.
    InMemory,
    /// The ledger is being closed.
    Closing,
    /// The ledger has halted.
    Halted(Halted),
    /// The operating system refused something, a full disk included.
    Io {
        /// What was being done, to which file.
        context: String,
        /// Its error.
        source: io::Error,
    },
    /// A fault of the program ended it. What it had begun is taken back; writers did not notice.
    Panicked {
        /// What the fault said.
        message: String,
    },
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckpointError::InMemory => f.write_str("the ledger is kept in memory alone; open it in a directory"),
            CheckpointError::Closing => f.write_str("the ledger is closing; open it again"),
            CheckpointError::Halted(halted) => halted.fmt(f),
            CheckpointError::Io { context, source } => {
                write!(f, "{context}: {source}; the next checkpoint tries again")
            }
            CheckpointError::Panicked { message } => {
                write!(f, "a fault of the program ({message}); the next checkpoint tries again; please report it")
            }
        }
    }
}

impl std::error::Error for CheckpointError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CheckpointError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<Halted> for CheckpointError {
    fn from(halted: Halted) -> CheckpointError {
        CheckpointError::Halted(halted)
    }
}
