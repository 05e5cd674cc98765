//! How much memory the process holds.

use std::fs;

use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// How many commands pass between two looks: a look costs some microseconds.
const LOOK_EVERY: u64 = 4096;
/// The same while the limit is passed: who is refused should not wait long after memory was freed.
const LOOK_EVERY_WHILE_FULL: u64 = 64;

/// Watches the process's resident memory against a limit, at the pace of the commands that ask.
pub(crate) struct MemoryGauge {
    bytes_max: Option<u64>,
    asked: AtomicU64,
    full: AtomicBool,
}

impl MemoryGauge {
    pub(crate) fn new(bytes_max: Option<u64>) -> MemoryGauge {
        let gauge = MemoryGauge { bytes_max, asked: AtomicU64::new(0), full: AtomicBool::new(false) };
        gauge.look();
        gauge
    }

    /// Whether the limit was passed when last looked. `commands` are asked for.
    pub(crate) fn is_full(&self, commands: usize) -> bool {
        if self.bytes_max.is_none() {
            return false;
        }
        // Relaxed: neither cell guards anything; the limit is soft by the commands between two looks.
        let every = if self.full.load(Ordering::Relaxed) { LOOK_EVERY_WHILE_FULL } else { LOOK_EVERY };
        let before = self.asked.fetch_add(commands as u64, Ordering::Relaxed);
        if before / every != (before + commands as u64) / every {
            self.look();
        }
        self.full.load(Ordering::Relaxed)
    }

    fn look(&self) {
        let full = self.bytes_max.is_some_and(|max| resident_bytes().is_some_and(|resident| resident > max));
        self.full.store(full, Ordering::Relaxed);
    }
}

/// The process's resident memory, where the operating system tells.
fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
