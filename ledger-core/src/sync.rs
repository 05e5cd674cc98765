//! The one import point for locks, atomics and threads, so that a model checker can stand in for them.
//!
//! With the feature `shuttle` its scheduler decides at every one of them who goes on; see `tests/interleavings`.

#[cfg(feature = "shuttle")]
mod shuttled;

pub(crate) use std::sync::OnceLock;

pub(crate) use crossbeam_utils::CachePadded;

/// The bytes of large tables: a model checker keeps a history of each atomic, and cannot of so many.
pub(crate) use std::sync::atomic::AtomicU8 as TableByte;

#[cfg(not(feature = "shuttle"))]
pub(crate) use self::native::*;
#[cfg(feature = "shuttle")]
pub(crate) use self::shuttled::*;

#[cfg(not(feature = "shuttle"))]
mod native {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
    pub(crate) use std::sync::{Arc, Weak};
    pub(crate) use std::thread;

    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
}
