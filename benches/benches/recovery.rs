//! Opening a ledger of a million entries, from its log and from a snapshot. Closing it is not timed.

use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use ledger_benches::place;
use ledger_benches::rows::recovery;

const ACCOUNTS: u64 = 1_000_000;
const ENTRIES: usize = 1_000_000;

fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("opening a million entries");
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(ENTRIES as u64));
    let mut bench = |what: &str, write: fn(&Path, u64, usize)| {
        let directory = place::directory();
        write(directory.path(), ACCOUNTS, ENTRIES);
        group.bench_function(what, |bencher| {
            bencher.iter_custom(|openings| (0..openings).map(|_| recovery::open(directory.path(), ENTRIES)).sum());
        });
    };
    bench("from the log", recovery::write);
    bench("from a snapshot", recovery::write_snapshot);
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    targets = open
}
criterion_main!(benches);
