//! Opening a ledger of a million entries.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ledger_benches::place;
use ledger_benches::rows::recovery;
use ledger_core::Ledger;

const ENTRIES: usize = 1_000_000;

fn open(criterion: &mut Criterion) {
    let directory = place::directory();
    recovery::write(directory.path(), 1_000_000, ENTRIES);
    let mut group = criterion.benchmark_group("recovery");
    group.throughput(Throughput::Elements(ENTRIES as u64));
    group.bench_function("a million entries", |bencher| {
        bencher.iter_with_large_drop(|| {
            let ledger = Ledger::open(directory.path()).expect("the ledger opens");
            // Else the next opening would find the directory in use.
            ledger.close().expect("the ledger closes");
            ledger
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    targets = open
}
criterion_main!(benches);
