//! Charges and transfers in batches, one caller; in memory, and waited for until they are durable.

use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ledger_benches::load;
use ledger_benches::place::{Mode, Opened};
use ledger_benches::workload::{Keys, Random, Work};
use ledger_core::Command;

const ACCOUNTS: u64 = 1_000_000;

fn batches(criterion: &mut Criterion) {
    for (name, mode) in [("memory", Mode::Memory), ("durable", Mode::Durable)] {
        let ledger = Opened::new(mode);
        load::fund(&ledger, ACCOUNTS);
        let (mut random, mut lane) = (Random::new(1), Keys::lane());
        let mut group = criterion.benchmark_group(format!("{name}, batches"));
        for (what, work) in
            [("charges", Work::Charges { accounts: ACCOUNTS }), ("transfers", Work::Transfers { accounts: ACCOUNTS })]
        {
            for batch in [1_024, 8_192] {
                group.throughput(Throughput::Elements(batch as u64));
                group.bench_function(format!("{batch} {what}"), |bencher| {
                    bencher.iter_batched(
                        || lane.take(batch),
                        |keys| {
                            let commands: Vec<Command<'_>> =
                                keys.iter().map(|key| work.command(&mut random, 0, key)).collect();
                            load::submit(&ledger, &commands);
                        },
                        BatchSize::SmallInput,
                    );
                });
            }
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    // Short, since everything that is charged stays in memory.
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = batches
}
criterion_main!(benches);
