//! Which (command, outcome, fault) have been seen, and which of them a long run must have seen.
//!
//! A simulator whose generator is too narrow finds nothing and looks the same as one that has nothing to find. So every
//! cell of this table is counted, and a run that is long enough fails if one stayed empty.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use ledger_core::sim::Fault as DiskFault;

/// From so many seeds on a cell that stayed empty is a failure. The rarest was hit twice by 24,000.
pub(crate) const SEEDS_MIN: u64 = 50_000;
/// From so many on an outcome is a failure that came under no fault.
pub(crate) const SEEDS_MIN_OF_OUTCOMES: u64 = 4_000;

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

    /// Whether it is there when the disk has this.
    pub(crate) const fn is_by(self, fault: DiskFault) -> bool {
        match self {
            Fault::Eio => matches!(fault, DiskFault::Eio | DiskFault::EioForever),
            Fault::ShortWrite => matches!(fault, DiskFault::ShortWrite),
            Fault::LostPages => matches!(fault, DiskFault::FailedFsyncLosesPages),
            Fault::Full => matches!(fault, DiskFault::Enospc | DiskFault::EnospcForever),
            Fault::Calm | Fault::Kill | Fault::Power | Fault::PowerTwice | Fault::Clock => false,
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
    /// Those that may halt the ledger.
    Halting,
    Full,
    /// Those under which one side of a mirror can be lost while the ledger goes on with the other.
    Striking,
    /// The power fails.
    Power,
    /// Those that end the process, or the power, while calls are under way.
    Ending,
    Twice,
    Clock,
}

impl Under {
    fn includes(self, fault: Fault) -> bool {
        match self {
            Under::Any => true,
            Under::Halting => fault.may_halt(),
            Under::Full => fault == Fault::Full,
            Under::Striking => fault.may_halt() && fault != Fault::Full,
            Under::Power => matches!(fault, Fault::Power | Fault::PowerTwice),
            Under::Ending => fault.may_halt() || fault == Fault::Kill,
            Under::Twice => fault == Fault::PowerTwice,
            Under::Clock => fault == Fault::Clock,
        }
    }
}

/// Every outcome of every command that can be reached, and under which faults.
const REACHABLE: &[(&str, Under, &[&str])] = &[
    ("charge", Under::Any, &["accepted", "accepted, held", "duplicate", "reused", "overflow"]),
    (
        "transfer",
        Under::Any,
        &["accepted", "accepted, held", "duplicate", "reused", "same account", "insufficient", "overflow"],
    ),
    ("withdrawal", Under::Any, &["accepted", "duplicate", "reused", "insufficient", "queue full"]),
    ("batch", Under::Any, &["done"]),
    (
        "atomic",
        Under::Any,
        &[
            "accepted",
            "repeat",
            "insufficient",
            "duplicate",
            "reused",
            "key twice",
            "same account",
            "overflow",
            "queue full",
        ],
    ),
    ("cancel", Under::Any, &["cancelled", "not cancellable", "not found", "duplicate", "reused"]),
    (
        "resolve",
        Under::Any,
        &[
            "completed",
            "failed",
            "never attempted",
            "under way",
            "already resolved",
            "contradicted",
            "not found",
            "duplicate",
            "reused",
        ],
    ),
    (
        "notice",
        Under::Any,
        &[
            "completed",
            "failed",
            "bank pending",
            "noted",
            "repeat",
            "contradicted",
            "returned",
            "returned, not to the user",
            "not found",
        ],
    ),
    ("balance", Under::Any, &["empty", "free", "held", "reserved"]),
    ("balance at", Under::Any, &["past", "future"]),
    ("page", Under::Any, &["empty", "more", "last"]),
    ("transaction", Under::Any, &["found", "not found"]),
    ("by key", Under::Any, &["found", "not found"]),
    ("audit", Under::Any, &["deep", "shallow"]),
    ("start attempt", Under::Any, &["started", "started again"]),
    (
        "end attempt",
        Under::Any,
        &[
            "completed",
            "bank pending",
            "failed",
            "unknown",
            "reserved",
            "needs review",
            "recorded late",
            "contradicted",
        ],
    ),
    (
        "inquiry",
        Under::Any,
        &["completed", "failed", "bank pending", "unknown", "needs review", "nothing new", "contradicted"],
    ),
    ("deadline", Under::Any, &["needs review"]),
    ("interrupted", Under::Any, &["unknown"]),
    ("checkpoint", Under::Any, &["made", "nothing new"]),
    ("checkpoint", Under::Halting, &["failed", "halted"]),
    ("charge", Under::Halting, &["halted", "unknown"]),
    ("transfer", Under::Halting, &["halted", "unknown"]),
    ("withdrawal", Under::Halting, &["halted", "unknown"]),
    ("batch", Under::Halting, &["halted", "unknown"]),
    ("atomic", Under::Halting, &["halted", "unknown"]),
    ("cancel", Under::Halting, &["halted", "unknown"]),
    ("resolve", Under::Halting, &["halted", "unknown"]),
    ("notice", Under::Halting, &["halted", "unknown"]),
    ("balance", Under::Halting, &["halted", "unknown"]),
    ("balance at", Under::Halting, &["halted", "unknown"]),
    ("page", Under::Halting, &["halted", "unknown"]),
    ("transaction", Under::Halting, &["halted", "unknown"]),
    ("by key", Under::Halting, &["halted", "unknown"]),
    ("audit", Under::Halting, &["halted", "unknown"]),
    ("start attempt", Under::Halting, &["halted", "unknown"]),
    ("end attempt", Under::Halting, &["halted", "unknown outcome"]),
    ("inquiry", Under::Halting, &["halted", "unknown outcome"]),
    ("backup", Under::Any, &["of the ledger", "of the directory", "cut off"]),
    ("backup", Under::Power, &["the power fails"]),
    (
        "restore",
        Under::Any,
        &[
            "to the end",
            "to an entry",
            "to a time",
            "too late",
            "cut off, nothing",
            "cut off, refused",
            "cut off, whole",
        ],
    ),
    ("mirror", Under::Any, &["agrees"]),
    ("mirror", Under::Striking, &["goes on alone"]),
    ("mirror", Under::Halting, &["halts with a side"]),
    (
        "side damaged",
        Under::Any,
        &[
            "a bit, mended",
            "rotten, mended",
            "a sector, mended",
            "unreadable, mended",
            "a file, mended",
            "emptied, filled",
            "blind, refused",
        ],
    ),
    ("side damaged", Under::Striking, &["lacks, refused"]),
    ("charge", Under::Full, &["storage full"]),
    ("transfer", Under::Full, &["storage full"]),
    ("withdrawal", Under::Full, &["storage full"]),
    ("atomic", Under::Full, &["storage full"]),
    // A fault that is planned may find nothing to strike.
    ("fault", Under::Halting, &["strikes"]),
    ("fault", Under::Striking, &["a second one strikes"]),
    (
        "clock",
        Under::Clock,
        &["leap not believed", "set back", "small step", "set right", "accepted", "opening refused"],
    ),
    ("recovery", Under::Any, &["cut off", "a read fails, refused", "a read fails, opened"]),
    ("recovery", Under::Twice, &["cut off, life after life"]),
    ("charge", Under::Ending, &["kept", "lost"]),
    ("transfer", Under::Ending, &["kept", "lost"]),
    ("withdrawal", Under::Ending, &["kept", "lost"]),
    ("batch", Under::Ending, &["kept", "lost"]),
    ("atomic", Under::Ending, &["kept", "lost"]),
    ("cancel", Under::Ending, &["kept", "lost"]),
    ("resolve", Under::Ending, &["kept", "lost"]),
    ("notice", Under::Ending, &["kept", "lost"]),
    ("start attempt", Under::Ending, &["kept", "lost"]),
    ("end attempt", Under::Ending, &["kept", "lost"]),
    ("inquiry", Under::Ending, &["kept", "lost"]),
    ("interrupted", Under::Ending, &["kept", "lost"]),
];

/// Every cell that must be hit.
fn needed() -> impl Iterator<Item = (&'static str, &'static str, Fault)> {
    REACHABLE.iter().flat_map(|&(command, under, outcomes)| {
        let faults = Fault::ALL.into_iter().filter(move |fault| under.includes(*fault));
        faults.flat_map(move |fault| outcomes.iter().map(move |outcome| (command, *outcome, fault)))
    })
}

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

    fn count(&self, command: &str, outcome: &str, fault: Fault) -> u64 {
        self.cells.get(&(command.to_owned(), outcome.to_owned(), fault as usize)).copied().unwrap_or(0)
    }

    /// The cells that must be hit and were not.
    pub(crate) fn missing(&self) -> Vec<String> {
        let empty = needed().filter(|(command, outcome, fault)| self.count(command, outcome, *fault) == 0);
        empty.map(|(command, outcome, fault)| format!("{command}, {outcome}, {}", fault.as_str())).collect()
    }

    /// The outcomes that must be hit and were not, under any fault.
    pub(crate) fn never_seen(&self) -> Vec<String> {
        let seen = |command, outcome| Fault::ALL.iter().any(|fault| self.count(command, outcome, *fault) > 0);
        let rows =
            REACHABLE.iter().flat_map(|(command, _, outcomes)| outcomes.iter().map(move |outcome| (command, outcome)));
        rows.filter(|(command, outcome)| !seen(command, outcome))
            .map(|(command, outcome)| format!("{command}, {outcome}"))
            .collect()
    }

    /// The cell that must be hit and was hit least, and how often.
    pub(crate) fn rarest(&self) -> String {
        let rarest = needed().min_by_key(|(command, outcome, fault)| self.count(command, outcome, *fault));
        let (command, outcome, fault) = rarest.expect("there are cells");
        format!("{command}, {outcome}, {}: {}", fault.as_str(), self.count(command, outcome, fault))
    }

    /// How many cells must be hit.
    pub(crate) fn cells_needed() -> usize {
        needed().count()
    }

    /// The table, for people: a dot where nothing need be, and a question mark where something is missing.
    pub(crate) fn table(&self) -> String {
        let needed: BTreeSet<_> = needed().collect();
        let mut table = format!("{:<15}{:<27}", "command", "outcome");
        for fault in Fault::ALL {
            write!(table, "{:>11}", fault.as_str()).expect("a string takes all");
        }
        let hit = self.cells.keys().map(|(command, outcome, _)| (command.as_str(), outcome.as_str()));
        let rows: BTreeSet<(&str, &str)> = hit.chain(needed.iter().map(|cell| (cell.0, cell.1))).collect();
        let mut last = "";
        for (command, outcome) in rows {
            let name = if command == last { "" } else { command };
            last = command;
            write!(table, "\n{name:<15}{outcome:<27}").expect("a string takes all");
            for fault in Fault::ALL {
                let cell = match self.count(command, outcome, fault) {
                    0 if needed.contains(&(command, outcome, fault)) => "?".to_owned(),
                    0 => "·".to_owned(),
                    count => count.to_string(),
                };
                write!(table, "{cell:>11}").expect("a string takes all");
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
