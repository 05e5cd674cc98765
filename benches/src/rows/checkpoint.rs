//! What a checkpoint costs writers: how long it holds a lock, and the worst pause of a single command meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ledger_core::{Durability, Ledger};

use super::Row;
use crate::latency::{Latencies, short};
use crate::load;
use crate::machine;
use crate::pairs::Spread;
use crate::place;
use crate::scale::Scale;
use crate::workload::{Keys, Random, Work};

/// One writer, which does not wait for the disk: a pause of a command is one of a lock, or of the machine.
pub(super) fn checkpoint(scale: &Scale) -> Vec<Row> {
    let directory = place::directory();
    let options = Ledger::options().durability(Durability::Interval(Duration::from_millis(10)));
    let ledger = options.checkpoint_bytes(None).open(directory.path()).expect("a new ledger opens");
    load::fund(&ledger, scale.checkpointed);
    let work = Work::Charges { accounts: scale.checkpointed };
    let (mut holds, mut took, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    let (mut gaps, mut during, mut without) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.pairs {
        let begin = Instant::now();
        let (made, latencies) = beside(&ledger, work, || ledger.checkpoint().expect("the snapshot is written"));
        let lasting = begin.elapsed();
        holds.push(made.longest_hold.as_secs_f64());
        took.push(lasting.as_secs_f64());
        bytes.push(made.bytes as f64);
        during.push(latencies);
        // Without one, for as long, but with as many threads: what the machine does to either.
        let (pauses, latencies) = beside(&ledger, work, || machine::pauses(lasting));
        gaps.push(pauses.max().as_secs_f64());
        without.push(latencies);
    }
    ledger.close().expect("the ledger closes");
    let [holds, gaps, took, bytes] = [holds, gaps, took, bytes].map(Spread::of);
    let worst = |of: &[Latencies]| Spread::of(of.iter().map(|latencies| latencies.max().as_secs_f64()).collect());
    let (pause, pause_without) = (worst(&during), worst(&without));
    let accounts = scale.checkpointed;
    vec![
        Row::new(
            format!("the longest time that a checkpoint of {accounts} accounts holds a lock (interval 10 ms)"),
            "5 ms",
        )
        .ledger(times(holds))
        .baseline(format!(
            "a thread that only reads the clock pauses {}; a checkpoint takes {} and writes {:.0} MB",
            times(gaps),
            times(took),
            bytes.median / 1e6
        ))
        .times(scale.pairs),
        Row::new("the worst pause of one charge meanwhile (interval 10 ms)", "")
            .ledger(times(pause))
            .baseline(format!("without a checkpoint, beside that thread: {}", times(pause_without)))
            .times(scale.pairs)
            .latencies(&Latencies::merged(&during)),
    ]
}

/// The median of some seconds, and their range.
fn times(seconds: Spread) -> String {
    let [median, min, max] = [seconds.median, seconds.min, seconds.max].map(|it| short(Duration::from_secs_f64(it)));
    format!("{median} ({min}–{max})")
}

/// Charges one by one while `work` is done.
fn beside<R>(ledger: &Ledger, charges: Work, work: impl FnOnce() -> R) -> (R, Latencies) {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (mut random, mut lane, mut latencies) = (Random::new(11), Keys::lane(), Latencies::new());
            // Relaxed: a flag, which orders nothing.
            while !is_done.load(Ordering::Relaxed) {
                let bytes = lane.make();
                let command = charges.command(&mut random, 0, &bytes);
                let start = Instant::now();
                drop(ledger.submit(command).expect("the ledger runs"));
                latencies.add(start.elapsed());
            }
            latencies
        });
        let done = work();
        is_done.store(true, Ordering::Relaxed);
        (done, writer.join().expect("no writer fails"))
    })
}
