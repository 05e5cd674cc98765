//! The rows of the table, each with the baseline that runs in turn with it.
//!
//! Each row is measured in a process of its own: memory that an earlier one touched and gave back would flatter the next.

mod checkpoint;
pub mod growth;
mod large;
mod latency;
mod memory;
pub mod reads;
pub mod recovery;
mod throughput;
pub mod time;

use std::fmt;

use crate::latency::Latencies;
use crate::pairs::{Pairs, Spread};
use crate::scale::Scale;

/// The head of the table.
pub const HEAD: &str = "\
| what | to reach | ledger | baseline | ratio: median (range) | p50 / p99 / p99.9 / max |
| --- | --- | --- | --- | --- | --- |";

/// One line of the table.
pub struct Row {
    what: String,
    to_reach: &'static str,
    ledger: String,
    baseline: String,
    ratio: String,
    latencies: String,
}

impl Row {
    /// A line that says `what` is measured and what it ought to reach.
    fn new(what: impl Into<String>, to_reach: &'static str) -> Row {
        let nothing = String::new;
        let (ledger, baseline, latencies) = (nothing(), nothing(), nothing());
        // Until it is given a ratio, it is of a thing that was done once.
        Row { what: what.into(), to_reach, ledger, baseline, ratio: "once".to_owned(), latencies }
    }

    /// Rates of both, beside the baseline's name.
    fn rates(mut self, pairs: &Pairs, baseline: &str) -> Row {
        self.ledger = rate(pairs.ours().median);
        self.baseline = format!("{baseline}: {}", rate(pairs.baseline().median));
        self.ratio(pairs.ratio())
    }

    fn ratio(mut self, ratio: Spread) -> Row {
        self.ratio = format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.min, ratio.max);
        self
    }

    /// Of a thing that was done so many times, and has no ratio.
    fn times(mut self, count: usize) -> Row {
        self.ratio = format!("{count} times");
        self
    }

    /// What another row's ratio is to: it ran as often as that.
    fn ran_as_baseline(mut self) -> Row {
        self.ratio = "–".to_owned();
        self
    }

    fn ledger(mut self, figure: impl Into<String>) -> Row {
        self.ledger = figure.into();
        self
    }

    fn baseline(mut self, figure: impl Into<String>) -> Row {
        self.baseline = figure.into();
        self
    }

    fn latencies(mut self, latencies: &Latencies) -> Row {
        self.latencies = latencies.to_string();
        self
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { what, to_reach, ledger, baseline, ratio, latencies } = self;
        write!(f, "| {what} | {to_reach} | {ledger} | {baseline} | {ratio} | {latencies} |")
    }
}

/// Things a second, in three digits.
fn rate(per_second: f64) -> String {
    match per_second {
        r if r >= 1e6 => format!("{:.2} M/s", r / 1e6),
        r if r >= 1e3 => format!("{:.1} k/s", r / 1e3),
        r => format!("{r:.0} /s"),
    }
}

/// What measures some rows.
pub struct Measurement {
    /// What `--row` calls it.
    pub name: &'static str,
    /// Measures.
    pub run: fn(&Scale) -> Vec<Row>,
}

/// Everything that is measured, in the order of the table.
pub const ALL: &[Measurement] = &[
    Measurement { name: "batches-8192", run: throughput::batches_of_8192 },
    Measurement { name: "batches-1024", run: throughput::batches_of_1024 },
    Measurement { name: "singles", run: throughput::singles },
    Measurement { name: "one-caller", run: latency::one_caller },
    Measurement { name: "64-callers", run: latency::many_callers },
    Measurement { name: "transfers", run: throughput::transfers },
    Measurement { name: "hot", run: throughput::hot },
    Measurement { name: "reads", run: reads::balances },
    Measurement { name: "pages", run: reads::pages },
    Measurement { name: "recovery", run: recovery::recovery },
    Measurement { name: "snapshot", run: recovery::snapshot },
    Measurement { name: "checkpoint", run: checkpoint::checkpoint },
    Measurement { name: "memory-charge", run: memory::charge },
    Measurement { name: "memory-transfer", run: memory::transfer },
    Measurement { name: "memory-account", run: memory::account },
    Measurement { name: "log-bytes", run: memory::log_bytes },
    Measurement { name: "maturing", run: time::maturing },
    Measurement { name: "past", run: time::past },
    Measurement { name: "growth", run: growth::growth },
    Measurement { name: "large", run: large::large },
];
