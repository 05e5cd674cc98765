//! Several callers at once: in batches, with a thousand commands in flight each, or blocked on each command.
//!
//! One iteration is what every caller does once: a batch, or a command.

use std::cell::LazyCell;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use ledger_benches::load;
use ledger_benches::place::{Mode, Opened};
use ledger_benches::workload::Work;
use ledger_core::Ledger;

const ACCOUNTS: u64 = 1_000_000;
const CHARGES: Work = Work::Charges { accounts: ACCOUNTS };
const TRANSFERS: Work = Work::Transfers { accounts: ACCOUNTS };
const THREADS: usize = 2;
const IN_FLIGHT: usize = 1_024;

fn funded(mode: Mode) -> Opened {
    let ledger = Opened::new(mode);
    load::fund(&ledger, ACCOUNTS);
    ledger
}

/// Measures `run`, which does so many commands on each of `callers` threads and tells commands a second, by `each` on
/// every thread an iteration. The ledger is made before anything is timed: criterion guesses by the first times how often
/// to iterate.
fn bench(
    criterion: &mut Criterion,
    (name, what): (&str, &str),
    (callers, each): (usize, usize),
    ledger: &LazyCell<Opened, impl FnOnce() -> Opened>,
    run: impl Fn(&Ledger, usize) -> f64,
) {
    let mut group = criterion.benchmark_group(name);
    let commands = (callers * each) as u64;
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(commands));
    group.bench_function(BenchmarkId::from_parameter(what), |bencher| {
        let ledger: &Ledger = ledger;
        bencher.iter_custom(|iterations| {
            Duration::from_secs_f64((iterations * commands) as f64 / run(ledger, iterations as usize * each))
        });
    });
    group.finish();
}

fn concurrent(criterion: &mut Criterion) {
    for (mode_name, mode) in [("memory", Mode::Memory), ("durable", Mode::Durable)] {
        // Made by the first that is measured, since a filter may leave out all of them.
        let ledger = LazyCell::new(|| funded(mode));
        for (what, work) in [("charges", CHARGES), ("transfers", TRANSFERS), ("charges of one hot account", Work::Hot)]
        {
            let name = format!("{mode_name}, 2 threads");
            for batch in [1_024, 8_192] {
                bench(
                    criterion,
                    (&name, &format!("batches of {batch} {what}")),
                    (THREADS, batch),
                    &ledger,
                    |ledger, commands| load::batches(ledger, work, THREADS, batch, commands),
                );
            }
            bench(
                criterion,
                (&name, &format!("{IN_FLIGHT} {what} in flight each")),
                (THREADS, 1),
                &ledger,
                |ledger, commands| load::singles(ledger, work, THREADS, IN_FLIGHT, commands),
            );
        }
    }
    let ledger = LazyCell::new(|| funded(Mode::Durable));
    for (what, work) in [("charges", CHARGES), ("charges of one hot account", Work::Hot)] {
        bench(criterion, ("durable, 64 callers", what), (64, 1), &ledger, |ledger, commands| {
            load::blocking(ledger, work, 64, commands).0
        });
    }
}

criterion_group! {
    name = benches;
    // Short, since everything that is charged stays in memory.
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = concurrent
}
criterion_main!(benches);
