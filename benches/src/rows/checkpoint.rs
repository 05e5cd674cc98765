//! What a checkpoint costs writers: how long it holds a lock, and the worst pause of a single command meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use ledger_core::{Durability, Ledger};

use super::Row;
use crate::latency::{Latencies, short};
use crate::load;
use crate::place;
use crate::scale::Scale;
use crate::workload::{Keys, Random, Work};

/// One writer, which does not wait for the disk: a pause of a command is one of a lock, or of the machine.
pub(super) fn checkpoint(scale: &Scale) -> Vec<Row> {
    let directory = place::directory();
    let options = Ledger::options().durability(Durability::Interval(std::time::Duration::from_millis(10)));
    let ledger = options.checkpoint_bytes(None).open(directory.path()).expect("a new ledger opens");
    load::fund(&ledger, scale.checkpointed);
    let work = Work::Charges { accounts: scale.checkpointed };
    let begin = Instant::now();
    let (made, during) = beside(&ledger, work, || ledger.checkpoint().expect("the snapshot is written"));
    let took = begin.elapsed();
    // Without one, for as long.
    let ((), without) = beside(&ledger, work, || thread::sleep(took));
    ledger.close().expect("the ledger closes");
    let accounts = scale.checkpointed;
    vec![
        Row::new(
            format!("the longest time that a checkpoint of {accounts} accounts holds a lock (interval 10 ms)"),
            "5 ms",
        )
        .ledger(short(made.longest_hold))
        .baseline(format!("it takes {} and writes {} MB", short(took), made.bytes / 1_000_000)),
        Row::new("the worst pause of one charge meanwhile (interval 10 ms)", "")
            .ledger(short(during.max()))
            .baseline(format!("without a checkpoint: {}", short(without.max())))
            .latencies(&during),
    ]
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
