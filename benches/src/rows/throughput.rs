//! How many commands a second.

use super::Row;
use crate::load;
use crate::pairs::Pairs;
use crate::place::{Mode, Opened};
use crate::scale::Scale;
use crate::workload::Work;

const THREADS: usize = 2;
const IN_FLIGHT: usize = 1_024;

/// A funded ledger, so that accounts exist and transfers are covered.
fn funded(mode: Mode, scale: &Scale) -> Opened {
    let ledger = Opened::new(mode);
    load::fund(&ledger, scale.accounts);
    ledger
}

fn batches(scale: &Scale, mode: Mode, work: Work, batch: usize) -> f64 {
    load::batches(&funded(mode, scale), work, THREADS, batch, scale.commands_each)
}

fn in_flight(scale: &Scale, mode: Mode, work: Work) -> f64 {
    load::singles(&funded(mode, scale), work, THREADS, IN_FLIGHT, scale.commands_each)
}

fn charges_in_batches(scale: &Scale, batch: usize, to_reach: &'static str) -> Vec<Row> {
    let work = Work::Charges { accounts: scale.accounts };
    let pairs = Pairs::measure(
        scale.pairs,
        || batches(scale, Mode::Durable, work, batch),
        || batches(scale, Mode::Memory, work, batch),
    );
    vec![Row::new(format!("durable charges in batches of {batch}, 2 threads"), to_reach).rates(&pairs, "in memory")]
}

pub(super) fn batches_of_8192(scale: &Scale) -> Vec<Row> {
    charges_in_batches(scale, 8_192, "6 M/s; 0.70")
}

pub(super) fn batches_of_1024(scale: &Scale) -> Vec<Row> {
    charges_in_batches(scale, 1_024, "4 M/s")
}

pub(super) fn singles(scale: &Scale) -> Vec<Row> {
    let work = Work::Charges { accounts: scale.accounts };
    let pairs =
        Pairs::measure(scale.pairs, || in_flight(scale, Mode::Durable, work), || in_flight(scale, Mode::Memory, work));
    vec![Row::new("single durable charges, 2 threads, 1,024 in flight each", "1.1 M/s").rates(&pairs, "in memory")]
}

pub(super) fn transfers(scale: &Scale) -> Vec<Row> {
    let (transfers, charges) =
        (Work::Transfers { accounts: scale.accounts }, Work::Charges { accounts: scale.accounts });
    against(scale, "durable transfers between random accounts", "0.7", transfers, charges, "charges")
}

pub(super) fn hot(scale: &Scale) -> Vec<Row> {
    against(
        scale,
        "durable charges of one hot account",
        "0.5",
        Work::Hot,
        Work::Charges { accounts: scale.accounts },
        "uniform",
    )
}

/// One kind of work against another, one by one and in batches.
fn against(
    scale: &Scale,
    what: &str,
    to_reach: &'static str,
    work: Work,
    other: Work,
    baseline: &'static str,
) -> Vec<Row> {
    let singles = Pairs::measure(
        scale.pairs,
        || in_flight(scale, Mode::Durable, work),
        || in_flight(scale, Mode::Durable, other),
    );
    let batched = Pairs::measure(
        scale.pairs,
        || batches(scale, Mode::Durable, work, 8_192),
        || batches(scale, Mode::Durable, other, 8_192),
    );
    vec![
        Row::new(format!("{what}, 2 threads, 1,024 in flight each"), to_reach).rates(&singles, baseline),
        Row::new(format!("{what}, 2 threads, batches of 8,192"), to_reach).rates(&batched, baseline),
    ]
}
