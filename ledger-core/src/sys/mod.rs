//! The only calls to the operating system: the directory that holds a ledger, and the clocks.

mod clock;
mod memory;
mod storage;
mod stub;

pub(crate) use memory::MemoryGauge;
pub use clock::{Clock, SystemClock};
pub use storage::{DirectoryLock, DirectoryStorage, Storage, StorageFile};
