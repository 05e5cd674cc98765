//! The only calls to the operating system: the directory that holds a ledger, and the clocks.

mod clock;
mod storage;

pub use clock::{Clock, SystemClock};
pub use storage::{DirectoryLock, DirectoryStorage, ReadFrom, Storage, StorageFile};
