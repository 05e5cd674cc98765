//! A ledger that is used for a long time: durable charges in batches until it is as large as is promised, with the
//! checkpoints that an ordinary ledger makes, single charges beside them, and an opening at the end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ledger_core::{Commit, Ledger};

use super::{Row, rate};
use crate::latency::{Latencies, short};
use crate::load;
use crate::machine::resident_bytes;
use crate::pairs::Spread;
use crate::place;
use crate::scale::Scale;
use crate::workload::{Keys, Random, Work};

/// Stretches in which it is filled, each with its own rate.
const STRETCHES: usize = 20;
const THREADS: usize = 2;
const BATCH: usize = 8_192;
/// How long the single caller waits between two charges: he is to feel pauses, and not to make them.
const BETWEEN: Duration = Duration::from_millis(2);

pub(super) fn large(scale: &Scale) -> Vec<Row> {
    let directory = place::directory();
    let work = Work::Charges { accounts: scale.accounts };
    let each = scale.grown / STRETCHES / THREADS;
    let ledger = Ledger::options().open(directory.path()).expect("a new ledger opens");
    let before = resident_bytes();
    let is_done = AtomicBool::new(false);
    let (rates, singles) = thread::scope(|scope| {
        let single = scope.spawn(|| charges_one_by_one(&ledger, work, &is_done));
        let rates: Vec<f64> = (0..STRETCHES).map(|_| load::batches(&ledger, work, THREADS, BATCH, each)).collect();
        // Relaxed: a flag, which orders nothing.
        is_done.store(true, Ordering::Relaxed);
        (rates, single.join().expect("no caller fails"))
    });
    let entries = ledger.appended().get();
    let resident = resident_bytes().saturating_sub(before) as f64 / entries as f64;
    ledger.close().expect("the ledger closes");
    drop(ledger);
    let start = Instant::now();
    let ledger = Ledger::options().open(directory.path()).expect("the ledger opens");
    let opened = start.elapsed();
    assert_eq!(ledger.appended().get(), entries, "everything that was acknowledged is there");
    ledger.close().expect("the ledger closes");

    let first = Spread::of(rates[1..4].to_vec());
    let last = Spread::of(rates[STRETCHES - 3..].to_vec());
    let ratio = Spread { min: last.min / first.max, median: last.median / first.median, max: last.max / first.min };
    vec![
        Row::new(
            format!("durable charges in batches of {BATCH}, 2 threads, on the way to {entries}: the last 15 %"),
            "",
        )
        .ledger(rate(last.median))
        .baseline(format!("after the first 5 %: {}", rate(first.median)))
        .ratio(ratio),
        Row::new("a single durable charge meanwhile, one caller", "").latencies(&singles),
        Row::new("resident memory a durable charge, all in", "95 B").ledger(format!("{resident:.0} B")),
        Row::new("opening it again, from snapshot and log (page cache)", "30 M/s")
            .ledger(rate(entries as f64 / opened.as_secs_f64()))
            .baseline(format!("in {}", short(opened))),
    ]
}

fn charges_one_by_one(ledger: &Ledger, work: Work, is_done: &AtomicBool) -> Latencies {
    let (mut random, mut lane, mut latencies) = (Random::new(13), Keys::lane(), Latencies::new());
    // Relaxed: a flag, which orders nothing.
    while !is_done.load(Ordering::Relaxed) {
        let bytes = lane.make();
        let command = work.command(&mut random, 0, &bytes);
        let start = Instant::now();
        ledger.submit(command).and_then(Commit::wait).expect("accepted");
        latencies.add(start.elapsed());
        thread::sleep(BETWEEN);
    }
    latencies
}
