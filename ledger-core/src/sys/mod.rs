//! The only calls to the operating system: the directory that holds a ledger, and the clocks.

mod clock;
mod memory;
mod storage;

pub use clock::{Clock, SystemClock};
pub(crate) use memory::MemoryGauge;
pub use storage::{DirectoryLock, DirectoryStorage, ReadFrom, Storage, StorageFile};
pub(crate) use storage::{is_out_of_room, is_unreadable};
