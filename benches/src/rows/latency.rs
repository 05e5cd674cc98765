//! How long a caller is blocked, beside the disk alone.

use super::{Row, rate};
use crate::disk::Disk;
use crate::latency::{Latencies, short};
use crate::load;
use crate::pairs::Pairs;
use crate::place::{Mode, Opened};
use crate::scale::Scale;
use crate::workload::Work;

pub(super) fn one_caller(scale: &Scale) -> Vec<Row> {
    let disk = Disk::new(scale.blocking_each as u64);
    let ledger = Opened::new(Mode::Durable);
    load::fund(&ledger, scale.accounts);
    let work = Work::Charges { accounts: scale.accounts };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let pairs = Pairs::measure(
        scale.pairs,
        || {
            let (rate, latencies) = load::blocking(&ledger, work, 1, scale.blocking_each);
            ours.push(latencies);
            rate
        },
        || {
            let (rate, latencies) = disk.write_and_sync();
            theirs.push(latencies);
            rate
        },
    );
    vec![
        Row::new("one blocking caller, a durable charge each", "0.9")
            .rates(&pairs, "4 KiB pwrite + fdatasync")
            .latencies(&Latencies::merged(&ours)),
        Row::new("the same loop without the ledger", "").ran_as_baseline().latencies(&Latencies::merged(&theirs)),
    ]
}

pub(super) fn many_callers(scale: &Scale) -> Vec<Row> {
    let disk = Disk::new(scale.blocking_each as u64);
    let ledger = Opened::new(Mode::Durable);
    load::fund(&ledger, scale.accounts);
    let work = Work::Charges { accounts: scale.accounts };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let pairs = Pairs::measure(
        scale.pairs,
        || {
            let (rate, latencies) = load::blocking(&ledger, work, 64, scale.blocking_each);
            ours.push(latencies);
            rate
        },
        || {
            let (rate, latencies) = disk.write_and_sync();
            theirs.push(latencies);
            rate
        },
    );
    let disk_p99 = short(Latencies::merged(&theirs).quantile(0.99));
    vec![
        Row::new("64 blocking callers, a durable charge each", "180 k/s, p99 1 ms")
            .rates(&pairs, "one 4 KiB fdatasync each")
            .baseline(format!("one 4 KiB fdatasync each: {}, p99 {disk_p99}", rate(pairs.baseline().median)))
            .latencies(&Latencies::merged(&ours)),
    ]
}
