//! What growing costs: the worst pause of a single command, and a charge among many against a charge among few.

use std::time::{Duration, Instant};

use ledger_core::{Commit, Ledger};

use super::Row;
use crate::latency::{Latencies, short};
use crate::pairs::Spread;
use crate::place::{Mode, Opened};
use crate::scale::Scale;
use crate::workload::{Keys, Random, Work};

/// Charges one by one on one thread; returns the time of each and of all.
pub fn charge(
    ledger: &Ledger,
    work: Work,
    random: &mut Random,
    lane: &mut Keys,
    count: usize,
) -> (Latencies, Duration) {
    let mut latencies = Latencies::new();
    let begin = Instant::now();
    for _ in 0..count {
        let bytes = lane.make();
        let command = work.command(random, 0, &bytes);
        let start = Instant::now();
        ledger.submit(command).and_then(Commit::wait).expect("accepted");
        latencies.add(start.elapsed());
    }
    (latencies, begin.elapsed())
}

/// The gaps between two looks at the clock, with nothing to do between them: what the machine itself pauses.
fn idle(lasting: Duration) -> Latencies {
    let mut latencies = Latencies::new();
    let begin = Instant::now();
    let mut last = begin;
    while last - begin < lasting {
        let now = Instant::now();
        latencies.add(now - last);
        last = now;
    }
    latencies
}

pub(super) fn growth(scale: &Scale) -> Vec<Row> {
    let ledger = Opened::new(Mode::Memory);
    let work = Work::Charges { accounts: scale.accounts };
    let (mut random, mut lane) = (Random::new(7), Keys::lane());
    let part = (scale.grown / 10).min(1_000_000);
    let (mut all, mut gaps, mut nanos_each) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.grown / part {
        let (latencies, took) = charge(&ledger, work, &mut random, &mut lane, part);
        nanos_each.push(took.as_nanos() as f64 / part as f64);
        all.push(latencies);
        // In turn with the charges, so that both meet the same neighbours.
        gaps.push(idle(took));
    }
    let (all, gaps) = (Latencies::merged(&all), Latencies::merged(&gaps));
    // The parts around the first million, without the very first on untouched memory, and the last ones.
    let few = Spread::of(nanos_each[1..nanos_each.len().min(4)].to_vec());
    let many = Spread::of(nanos_each[nanos_each.len().saturating_sub(3)..].to_vec());
    let ratio = Spread { min: many.min / few.max, median: many.median / few.median, max: many.max / few.min };
    vec![
        Row::new(format!("the worst pause of one charge while growing to {} (in memory)", scale.grown), "2 ms")
            .ledger(short(all.max()))
            .baseline(format!("an idle loop: {}", short(gaps.max())))
            .latencies(&all),
        Row::new(format!("a charge among {} (in memory)", scale.grown), "1.5")
            .ledger(format!("{:.0} ns", many.median))
            .baseline(format!("among {}: {:.0} ns", 2 * part, few.median))
            .ratio(ratio),
    ]
}
