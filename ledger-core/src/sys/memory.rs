//! How much memory the process holds.

use std::fs;
use std::time::{Duration, Instant};

use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// How old what is known may be, whoever asks how often: a look costs some microseconds. Who is refused should not wait long
/// after memory was freed, and what takes memory need not be commands.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Watches the process's resident memory against a limit, when commands ask.
pub(crate) struct MemoryGauge {
    bytes_max: Option<u64>,
    resident_bytes: fn() -> Option<u64>,
    began: Instant,
    /// When it was looked last, in nanoseconds from the beginning.
    looked_at: AtomicU64,
    full: AtomicBool,
}

impl MemoryGauge {
    pub(crate) fn new(bytes_max: Option<u64>) -> MemoryGauge {
        MemoryGauge::of(bytes_max, resident_bytes)
    }

    fn of(bytes_max: Option<u64>, resident_bytes: fn() -> Option<u64>) -> MemoryGauge {
        let (looked_at, full) = (AtomicU64::new(0), AtomicBool::new(false));
        let gauge = MemoryGauge { bytes_max, resident_bytes, began: Instant::now(), looked_at, full };
        gauge.look();
        gauge
    }

    /// Whether the limit was passed when last looked.
    pub(crate) fn is_full(&self) -> bool {
        if self.bytes_max.is_none() {
            return false;
        }
        // Relaxed: neither cell guards anything; the limit is soft by what is taken between two looks.
        let now = self.began.elapsed().as_nanos() as u64;
        let looked_at = self.looked_at.load(Ordering::Relaxed);
        let is_old = now.saturating_sub(looked_at) >= LOOK_EVERY.as_nanos() as u64;
        // One looks, and the others go by what was known before.
        if is_old && self.looked_at.compare_exchange(looked_at, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.look();
        }
        self.full.load(Ordering::Relaxed)
    }

    fn look(&self) {
        let full = self.bytes_max.is_some_and(|max| (self.resident_bytes)().is_some_and(|resident| resident > max));
        self.full.store(full, Ordering::Relaxed);
    }
}

/// The process's resident memory, where the operating system tells.
fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn what_is_taken_and_given_back_is_noticed_soon_however_few_ask() {
        static RESIDENT: AtomicU64 = AtomicU64::new(10);
        let gauge = MemoryGauge::of(Some(20), || Some(RESIDENT.load(Ordering::Relaxed)));
        assert!(!gauge.is_full());
        for (resident, full) in [(21, true), (20, false)] {
            RESIDENT.store(resident, Ordering::Relaxed);
            std::thread::sleep(LOOK_EVERY);
            assert_eq!(gauge.is_full(), full, "{resident}");
        }
        assert!(!MemoryGauge::of(None, || Some(u64::MAX)).is_full());
    }
}
