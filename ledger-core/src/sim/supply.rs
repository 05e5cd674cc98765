//! What feeds several disks at once: when it fails, it fails for all, and what they leave is of one moment.

use std::collections::BTreeMap;

use super::SimDisk;
use super::disk::Inner;
use crate::sync::{Arc, Mutex};

/// The power supply of one or several disks. Clones are the same one.
#[derive(Clone, Default)]
pub struct Supply {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Not the handles, which know their supply.
    disks: Vec<Arc<Mutex<Inner>>>,
    operations: u64,
    fails_at: Option<u64>,
    to_photograph: BTreeMap<u64, u64>,
    photographs: Vec<Vec<SimDisk>>,
}

impl std::fmt::Debug for Supply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supply").field("operations", &self.operations()).finish_non_exhaustive()
    }
}

impl Supply {
    /// How many operations its disks were asked for that change or sync something.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// The power fails for all its disks during operation `n` (counted from 0 over the supply's life, on whichever disk): that one
    /// may have any effect.
    pub fn fail_at(&self, n: u64) {
        self.state.lock().fails_at = Some(n);
    }

    /// Has survivors of all its disks made when operation `n` begins, in the order in which they were fed: see
    /// [`SimDisk::survivor`].
    pub fn photograph_at(&self, n: u64, seed: u64) {
        self.state.lock().to_photograph.insert(n, seed);
    }

    /// Hands over the survivors that were made since the last call.
    #[must_use]
    pub fn photographs(&self) -> Vec<Vec<SimDisk>> {
        std::mem::take(&mut self.state.lock().photographs)
    }

    pub(super) fn feeds(&self, disk: &Arc<Mutex<Inner>>) {
        self.state.lock().disks.push(Arc::clone(disk));
    }

    /// An operation of `disk` is about to begin.
    pub(super) fn before_operation(&self, disk: &Arc<Mutex<Inner>>) {
        let mut state = self.state.lock();
        let n = state.operations;
        state.operations += 1;
        if let Some(seed) = state.to_photograph.remove(&n) {
            let survivors = state.disks.iter().map(|disk| disk.lock().survivor(seed)).collect();
            state.photographs.push(survivors);
        }
        if state.fails_at.is_some_and(|at| n >= at) {
            for fed in &state.disks {
                fed.lock().loses_power(Arc::ptr_eq(fed, disk));
            }
        }
    }
}
