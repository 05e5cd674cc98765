//! One charge among few and among many, and the longest one while the tables grow; in memory.

use std::cell::LazyCell;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, criterion_group, criterion_main};
use ledger_benches::load;
use ledger_benches::place::{Mode, Opened};
use ledger_benches::rows::growth;
use ledger_benches::workload::{Keys, Random, Work};

const ACCOUNTS: u64 = 1_000_000;
const WORK: Work = Work::Charges { accounts: ACCOUNTS };
/// Of how many charges the longest is taken.
const PART: usize = 100_000;

fn filled(transactions: usize) -> Opened {
    let ledger = Opened::new(Mode::Memory);
    load::fill(&ledger, WORK, transactions);
    ledger
}

fn among(criterion: &mut Criterion) {
    let (mut random, mut lane) = (Random::new(7), Keys::lane());
    let mut group = criterion.benchmark_group("a charge among");
    for transactions in [10_000, 1_000_000, 10_000_000] {
        let ledger = LazyCell::new(|| filled(transactions));
        group.bench_function(BenchmarkId::from_parameter(transactions), |bencher| {
            let ledger = &*ledger;
            bencher.iter_custom(|charges| growth::charge(ledger, WORK, &mut random, &mut lane, 0..charges as usize).1);
        });
    }
    group.finish();
}

/// What is told of an iteration is its longest charge, not its time.
fn longest(criterion: &mut Criterion) {
    let ledger = LazyCell::new(|| filled(PART));
    let (mut random, mut lane) = (Random::new(8), Keys::lane());
    let mut group = criterion.benchmark_group("the longest");
    group.sampling_mode(SamplingMode::Flat);
    group.bench_function("of 100,000 charges while the tables grow", |bencher| {
        let ledger = &*ledger;
        bencher.iter_custom(|parts| {
            (0..parts).map(|_| growth::charge(ledger, WORK, &mut random, &mut lane, 0..PART).0.max()).sum::<Duration>()
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    // Short, since everything that is charged stays in memory.
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = among, longest
}
criterion_main!(benches);
