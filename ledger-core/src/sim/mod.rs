//! A simulated disk and clock: everything that a machine can do to a ledger, reproducibly from a seed.
//!
//! For tests only (feature `sim`). Nothing here is fast, and nothing here is random that a seed does not name.

mod clock;
mod disk;
mod file;
mod planted;
mod supply;

pub use clock::SimClock;
pub use disk::{Fault, SimDisk};
pub use planted::PlantedBug;
pub use supply::Supply;

/// SplitMix64: small, seedable from anything, and the same on every machine.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
