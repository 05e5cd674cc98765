//! What a ledger lies on: a disk, or a mirror of two that one power supply feeds.

use std::sync::Arc;
use std::time::Duration;

use ledger_core::sim::{Fault, SimClock, SimDisk, Supply};
use ledger_core::{Ledger, OnSideFailure, OpenError, Options, Storage};

/// One disk, or the primary directory and the mirror.
#[derive(Clone)]
pub(crate) struct Disks {
    sides: Vec<SimDisk>,
    supply: Supply,
    on_side_failure: OnSideFailure,
}

impl Disks {
    pub(crate) fn new(sides: Vec<SimDisk>, on_side_failure: OnSideFailure) -> Disks {
        let supply = Supply::default();
        let sides = sides.into_iter().map(|side| side.fed_by(&supply)).collect();
        Disks { sides, supply, on_side_failure }
    }

    /// Others with the same rules.
    fn with(&self, sides: impl Iterator<Item = SimDisk>) -> Disks {
        Disks::new(sides.collect(), self.on_side_failure)
    }

    pub(crate) fn is_mirror(&self) -> bool {
        self.sides.len() > 1
    }

    /// Whether a ledger goes on when one side fails.
    pub(crate) fn goes_on(&self) -> bool {
        self.is_mirror() && self.on_side_failure == OnSideFailure::GoOn
    }

    pub(crate) fn sides(&self) -> &[SimDisk] {
        &self.sides
    }

    pub(crate) fn open(&self, options: Options) -> Result<Ledger, OpenError> {
        match &self.sides[..] {
            [one, two] => {
                let sides = [one, two].map(|side| Arc::new(side.clone()) as Arc<dyn Storage>);
                options.open_on_mirror(sides, self.on_side_failure)
            }
            [one, ..] => options.open_on(one.clone()),
            [] => unreachable!("a ledger lies on something"),
        }
    }

    /// How many operations all sides were asked for.
    pub(crate) fn operations(&self) -> u64 {
        self.supply.operations()
    }

    /// The power of all sides fails `after` so many operations.
    pub(crate) fn power_fails(&self, after: u64) {
        self.supply.fail_at(self.operations() + after);
    }

    /// Whether there is no power for any side.
    pub(crate) fn is_off(&self) -> bool {
        self.sides.iter().all(SimDisk::is_off)
    }

    /// What is struck: one side, or all.
    pub(crate) fn struck(&self, side: Option<usize>) -> impl Iterator<Item = &SimDisk> {
        self.sides.iter().enumerate().filter(move |(index, _)| side.is_none_or(|side| side == *index)).map(|(_, it)| it)
    }

    /// Lets an operation of those that are struck go wrong, `after` so many of their own.
    pub(crate) fn fail(&self, side: Option<usize>, after: u64, fault: Fault) {
        self.struck(side).for_each(|side| side.fail_at(side.operations() + after, fault));
    }

    /// Which faults have struck those that are struck.
    pub(crate) fn have_struck(&self, side: Option<usize>) -> Vec<Fault> {
        self.struck(side).flat_map(SimDisk::struck).collect()
    }

    /// See [`SimDisk::slow_down`].
    pub(crate) fn slow_down(&self, how: Option<(&SimClock, Duration, u64)>) {
        self.sides.iter().for_each(|side| side.slow_down(how));
    }

    /// How often all sides were read.
    pub(crate) fn reads(&self) -> u64 {
        self.sides.iter().map(SimDisk::reads).sum()
    }

    pub(crate) fn heal(&self) {
        self.sides.iter().for_each(SimDisk::heal);
        self.sides.iter().for_each(|side| side.set_capacity(1 << 40));
    }

    pub(crate) fn photograph(&self, after: u64, seed: u64) {
        self.supply.photograph_at(self.operations() + after, seed);
    }

    pub(crate) fn photographs(&self) -> Vec<Disks> {
        let photographs: Vec<Disks> =
            self.supply.photographs().into_iter().map(|sides| self.with(sides.into_iter())).collect();
        photographs.iter().for_each(Disks::heal);
        photographs
    }

    /// What a power cut leaves.
    pub(crate) fn survivor(&self, seed: u64) -> Disks {
        self.with(self.sides.iter().map(|side| side.survivor(seed)))
    }

    /// What the end of the process leaves.
    pub(crate) fn after_kill(&self) -> Disks {
        self.with(self.sides.iter().map(SimDisk::after_kill))
    }

    /// What the end of the process leaves, and a power cut of one side alone.
    pub(crate) fn survivor_of_side(&self, cut: usize, seed: u64) -> Disks {
        let left = |(index, side): (usize, &SimDisk)| {
            if index == cut { side.survivor(seed) } else { side.after_kill() }
        };
        self.with(self.sides.iter().enumerate().map(left))
    }

    /// With one side emptied, as an operator does whom a refusal tells to.
    pub(crate) fn emptied(&self, empty: usize, seed: u64) -> Disks {
        let left =
            |(index, side): (usize, &SimDisk)| if index == empty { SimDisk::new(seed) } else { side.after_kill() };
        self.with(self.sides.iter().enumerate().map(left))
    }
}

impl std::fmt::Display for Disks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, side) in self.sides.iter().enumerate() {
            write!(f, "side {index}: {}; ", side.names().join(" "))?;
        }
        Ok(())
    }
}
