//! What growing costs: the worst pause of a single command, and a charge among many against a charge among few.

use std::ops::Range;
use std::time::{Duration, Instant};

use ledger_core::{Commit, Ledger};

use super::Row;
use crate::latency::{Latencies, short};
use crate::machine;
use crate::pairs::Spread;
use crate::place::{Mode, Opened};
use crate::scale::Scale;
use crate::workload::{Keys, Random, Work};

/// Transactions of a stretch.
const STRETCH: usize = 100_000;
/// At least so many stretches, however little is measured.
const STRETCHES: usize = 20;
/// So many of them are few and as many are many.
const COMPARED: usize = 4;

/// Charges one by one on one thread; returns the time of each and of all.
pub fn charge(
    ledger: &Ledger,
    work: Work,
    random: &mut Random,
    lane: &mut Keys,
    numbers: Range<usize>,
) -> (Latencies, Duration) {
    let mut latencies = Latencies::new();
    let begin = Instant::now();
    for number in numbers {
        let bytes = lane.make();
        let command = work.command(random, number as u64, &bytes);
        let start = Instant::now();
        ledger.submit(command).and_then(Commit::wait).expect("accepted");
        latencies.add(start.elapsed());
    }
    (latencies, begin.elapsed())
}

pub(super) fn growth(scale: &Scale) -> Vec<Row> {
    let ledger = Opened::new(Mode::Memory);
    let (mut random, mut lane) = (Random::new(7), Keys::lane());
    let (accounts, grown) = (scale.accounts as usize, scale.grown);
    let stretch = ((grown - accounts) / STRETCHES).min(STRETCH);
    let (mut all, mut gaps) = (Vec::new(), Vec::new());
    let mut grow = |work, numbers: Range<usize>| {
        let begins = numbers.clone().step_by(stretch);
        let stretches = begins.map(|begin| begin..numbers.end.min(begin + stretch));
        let nanos_each = stretches.map(|stretch| {
            let count = stretch.len() as f64;
            let (latencies, took) = charge(&ledger, work, &mut random, &mut lane, stretch);
            all.push(latencies);
            // In turn with the charges, so that both meet the same neighbours.
            gaps.push(machine::pauses(took));
            took.as_nanos() as f64 / count
        });
        nanos_each.collect::<Vec<f64>>()
    };
    // Every account's first charge, so that all accounts are there among few as among many.
    grow(Work::NewAccounts { first: 0 }, 0..accounts);
    let nanos_each = grow(Work::Charges { accounts: scale.accounts }, accounts..grown);
    let (all, gaps) = (Latencies::merged(&all), Latencies::merged(&gaps));
    let few = Spread::of(nanos_each[..COMPARED].to_vec());
    let many = Spread::of(nanos_each[nanos_each.len() - COMPARED..].to_vec());
    let ratio = Spread { min: many.min / few.max, median: many.median / few.median, max: many.max / few.min };
    vec![
        Row::new(format!("the worst pause of one charge while growing to {grown} (in memory)"), "2 ms")
            .ledger(short(all.max()))
            .baseline(format!("an idle loop: {}", short(gaps.max())))
            .latencies(&all),
        Row::new(format!("a charge among {grown} (in memory)"), "1.5")
            .ledger(format!("{:.0} ns", many.median))
            .baseline(format!("among {accounts}: {:.0} ns", few.median))
            .ratio(ratio),
    ]
}
