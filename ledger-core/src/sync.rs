//! The one import point for locks, atomics and threads, so that a model checker can stand in for them.
//!
//! With the feature `shuttle` its scheduler decides at every one of them who goes on; see `tests/interleavings`. With
//! `loom` every order is tried that the memory model allows, which the log's smallest kernels can bear; see `wal::exhaustive`.

#[cfg(feature = "loom")]
mod loomed;
#[cfg(feature = "shuttle")]
mod shuttled;

pub(crate) use crossbeam_utils::CachePadded;

/// The bytes of large tables: a model checker keeps a history of each atomic, and cannot of so many.
pub(crate) use std::sync::atomic::AtomicU8 as TableByte;

#[cfg(feature = "loom")]
pub(crate) use self::loomed::*;
#[cfg(not(any(feature = "shuttle", feature = "loom")))]
pub(crate) use self::native::*;
#[cfg(feature = "shuttle")]
pub(crate) use self::shuttled::*;

#[cfg(not(any(feature = "shuttle", feature = "loom")))]
mod native {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
    pub(crate) use std::sync::{Arc, OnceLock, Weak};
    pub(crate) use std::thread;

    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
}
