//! How much is measured: seconds, minutes, or until every table has grown.

use std::time::Duration;

/// The sizes of everything that is measured.
#[derive(Clone, Debug)]
pub struct Scale {
    /// The flag that names it.
    pub flag: &'static str,
    /// Pairs of ours and the baseline.
    pub pairs: usize,
    /// Accounts that are drawn from.
    pub accounts: u64,
    /// Commands of each thread in a run of a throughput.
    pub commands_each: usize,
    /// Commands of one blocking caller; of 64 callers together, 64 times so many.
    pub blocking_each: usize,
    /// How long reads are counted.
    pub reads_for: Duration,
    /// Transactions of the account that is paged through.
    pub paged: usize,
    /// Single reads whose time is taken.
    pub samples: usize,
    /// Accounts of the ledger that a checkpoint is made of.
    pub checkpointed: u64,
    /// Entries that are recovered.
    pub recovered: usize,
    /// Commands whose memory is counted.
    pub remembered: usize,
    /// Holds that mature at once.
    pub holds: usize,
    /// Entries of the account whose past is asked for.
    pub past: usize,
    /// Transactions to which the tables grow.
    pub grown: usize,
}

impl Scale {
    /// Seconds: shows that everything runs, and no more.
    pub fn quick() -> Scale {
        Scale {
            flag: "--quick",
            pairs: 2,
            accounts: 20_000,
            commands_each: 100_000,
            blocking_each: 500,
            reads_for: Duration::from_millis(100),
            paged: 50_000,
            samples: 2_000,
            checkpointed: 50_000,
            recovered: 100_000,
            remembered: 500_000,
            holds: 50_000,
            past: 50_000,
            grown: 500_000,
        }
    }

    /// Minutes.
    pub fn usual() -> Scale {
        Scale {
            flag: "--usual",
            pairs: 5,
            accounts: 1_000_000,
            commands_each: 2_000_000,
            blocking_each: 5_000,
            reads_for: Duration::from_secs(1),
            paged: 1_000_000,
            samples: 100_000,
            checkpointed: 1_000_000,
            recovered: 2_000_000,
            remembered: 5_000_000,
            holds: 1_000_000,
            past: 1_000_000,
            grown: 10_000_000,
        }
    }

    /// Half an hour and 16 GB: the sizes that were promised.
    pub fn full() -> Scale {
        Scale {
            flag: "--full",
            commands_each: 4_000_000,
            blocking_each: 20_000,
            reads_for: Duration::from_secs(3),
            checkpointed: 10_000_000,
            recovered: 10_000_000,
            remembered: 10_000_000,
            past: 10_000_000,
            grown: 100_000_000,
            ..Scale::usual()
        }
    }
}
