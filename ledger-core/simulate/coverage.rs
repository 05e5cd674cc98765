//! Which (command, outcome, fault) have been seen, and which of them a long run must have seen.
//!
//! A simulator whose generator is too narrow finds nothing and looks the same as one that has nothing to find. So every
//! cell of this table is counted, and a run that is long enough fails if one stayed empty.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// From so many seeds on a cell that stayed empty is a failure.
pub(crate) const SEEDS_MIN: u64 = 20_000;

/// The fault that a ledger lives under from one opening to the next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Fault {
    /// Nothing; it is closed in good order.
    Calm,
    /// The process is killed; the page cache survives.
    Kill,
    /// The power fails during some operation of the disk.
    Power,
    /// As [`Fault::Power`], and it fails again during the recovery, once or twice.
    PowerTwice,
    /// An operation of the disk fails, once or for ever.
    Eio,
    /// A write stops half-way.
    ShortWrite,
    /// A sync fails, and what it should have written is lost although it can still be read.
    LostPages,
    /// The disk is full, for one operation, for a while or because it is small.
    Full,
    /// The wall clock is set, by seconds or by years.
    Clock,
}

impl Fault {
    pub(crate) const ALL: [Fault; 9] = [
        Fault::Calm,
        Fault::Kill,
        Fault::Power,
        Fault::PowerTwice,
        Fault::Eio,
        Fault::ShortWrite,
        Fault::LostPages,
        Fault::Full,
        Fault::Clock,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Fault::Calm => "calm",
            Fault::Kill => "kill",
            Fault::Power => "power",
            Fault::PowerTwice => "power x2",
            Fault::Eio => "eio",
            Fault::ShortWrite => "short",
            Fault::LostPages => "lost pages",
            Fault::Full => "full",
            Fault::Clock => "clock",
        }
    }

    /// Whether the ledger may halt under it.
    pub(crate) const fn may_halt(self) -> bool {
        !matches!(self, Fault::Calm | Fault::Kill | Fault::Clock)
    }
}

/// Under which faults an outcome must have been seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Under {
    Any,
    Calm,
    /// Those that may halt the ledger.
    Halting,
    /// A full disk.
    Full,
    /// The power cuts.
    Losing,
    /// Those that end the process while calls are under way.
    Crashing,
}

impl Under {
    fn includes(self, fault: Fault) -> bool {
        match self {
            Under::Any => true,
            Under::Calm => fault == Fault::Calm,
            Under::Halting => fault.may_halt() && fault != Fault::Full,
            Under::Full => fault == Fault::Full,
            Under::Losing => matches!(fault, Fault::Power | Fault::PowerTwice),
            Under::Crashing => matches!(fault, Fault::Kill | Fault::Power | Fault::PowerTwice),
        }
    }
}

/// Every outcome of every command that can be reached, and under which faults.
const REACHABLE: &[(&str, &[&str], Under)] = &[
    ("charge", &["accepted", "accepted, held", "duplicate", "reused", "overflow"], Under::Any),
    ("transfer", &["accepted", "accepted, held", "duplicate", "reused", "same account", "insufficient"], Under::Any),
    ("withdrawal", &["accepted", "duplicate", "reused", "insufficient", "queue full"], Under::Any),
    ("batch", &["done"], Under::Any),
    ("atomic", &["accepted", "repeat", "insufficient", "duplicate", "key twice", "same account"], Under::Any),
    ("balance", &["empty", "free", "held", "reserved"], Under::Any),
    ("balance at", &["past", "future"], Under::Any),
    ("page", &["empty", "more", "last"], Under::Any),
    ("transaction", &["found", "not found"], Under::Any),
    ("by key", &["found", "not found"], Under::Any),
    ("audit", &["deep", "shallow"], Under::Any),
    ("start attempt", &["started", "started again"], Under::Any),
    ("end attempt", &["completed", "bank pending", "failed", "unknown", "reserved"], Under::Any),
    // An attempt that was not sent, the last, after one that may have paid: it takes longer than a life.
    ("end attempt", &["needs review"], Under::Calm),
    ("inquiry", &["completed", "failed", "bank pending", "unknown", "needs review"], Under::Any),
    ("deadline", &["needs review"], Under::Any),
    ("interrupted", &["unknown"], Under::Any),
    ("checkpoint", &["made"], Under::Any),
    ("checkpoint", &["failed"], Under::Halting),
    ("charge", &["halted", "unknown"], Under::Halting),
    ("transfer", &["halted", "unknown"], Under::Halting),
    ("withdrawal", &["halted", "unknown"], Under::Halting),
    ("batch", &["halted", "unknown"], Under::Halting),
    ("atomic", &["halted", "unknown"], Under::Halting),
    ("balance", &["halted", "unknown"], Under::Halting),
    ("start attempt", &["unknown"], Under::Halting),
    ("end attempt", &["unknown outcome"], Under::Halting),
    // Single commands are so small that the last of the room is seldom too little for one.
    ("atomic", &["storage full"], Under::Full),
    ("charge", &["kept", "lost"], Under::Losing),
    ("transfer", &["kept", "lost"], Under::Losing),
    ("withdrawal", &["kept", "lost"], Under::Losing),
    ("batch", &["kept", "lost"], Under::Losing),
    ("atomic", &["kept", "lost"], Under::Losing),
    ("start attempt", &["kept", "lost"], Under::Losing),
    ("end attempt", &["kept", "lost"], Under::Losing),
    ("charge", &["kept"], Under::Crashing),
];

/// Counts of (command, outcome) by fault.
#[derive(Clone, Default)]
pub(crate) struct Coverage {
    cells: BTreeMap<(String, String, usize), u64>,
}

impl Coverage {
    pub(crate) fn hit(&mut self, command: &'static str, outcome: &'static str, fault: Fault) {
        self.add(command, outcome, fault as usize, 1);
    }

    fn add(&mut self, command: &str, outcome: &str, fault: usize, count: u64) {
        *self.cells.entry((command.to_owned(), outcome.to_owned(), fault)).or_default() += count;
    }

    pub(crate) fn merge(&mut self, other: &Coverage) {
        for ((command, outcome, fault), count) in &other.cells {
            self.add(command, outcome, *fault, *count);
        }
    }

    /// The cells that must be hit and were not.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for &(command, outcomes, under) in REACHABLE {
            for outcome in outcomes {
                for fault in Fault::ALL.into_iter().filter(|fault| under.includes(*fault)) {
                    if !self.cells.contains_key(&(command.to_owned(), (*outcome).to_owned(), fault as usize)) {
                        missing.push(format!("{command}, {outcome}, {}", fault.as_str()));
                    }
                }
            }
        }
        missing
    }

    /// How many cells must be hit.
    pub(crate) fn cells_needed() -> usize {
        let faults = |under: Under| Fault::ALL.into_iter().filter(|fault| under.includes(*fault)).count();
        let mut cells: Vec<_> = Vec::new();
        for &(command, outcomes, under) in REACHABLE {
            cells.extend(outcomes.iter().map(|outcome| (command, *outcome, faults(under))));
        }
        cells.sort_unstable();
        cells.dedup_by_key(|cell| (cell.0, cell.1));
        cells.iter().map(|cell| cell.2).sum()
    }

    /// The table, for people.
    pub(crate) fn table(&self) -> String {
        let mut table = format!("{:<15}{:<17}", "command", "outcome");
        for fault in Fault::ALL {
            write!(table, "{:>11}", fault.as_str()).expect("a string takes all");
        }
        let mut rows: Vec<(&String, &String)> =
            self.cells.keys().map(|(command, outcome, _)| (command, outcome)).collect();
        rows.dedup();
        for (command, outcome) in rows {
            write!(table, "\n{command:<15}{outcome:<17}").expect("a string takes all");
            for fault in 0..Fault::ALL.len() {
                let count = self.cells.get(&(command.clone(), outcome.clone(), fault)).copied().unwrap_or(0);
                write!(table, "{count:>11}").expect("a string takes all");
            }
        }
        table
    }

    /// One line a cell, as [`Coverage::read`] takes them.
    pub(crate) fn write(&self, to: &mut String) {
        for ((command, outcome, fault), count) in &self.cells {
            writeln!(to, "cell\t{command}\t{outcome}\t{fault}\t{count}").expect("a string takes all");
        }
    }

    /// Takes one line of [`Coverage::write`].
    pub(crate) fn read(&mut self, line: &str) -> Option<()> {
        let mut parts = line.split('\t').skip(1);
        let (command, outcome) = (parts.next()?, parts.next()?);
        let (fault, count) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        self.add(command, outcome, fault, count);
        Some(())
    }
}
