//! One command at a time: charge, transfer, balance; in memory, and waited for until it is durable.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use ledger_benches::disk::Disk;
use ledger_benches::load;
use ledger_benches::place::{Mode, Opened};
use ledger_benches::workload::{Keys, Random, Work, user};
use ledger_core::{Commit, Currency};

const ACCOUNTS: u64 = 1_000_000;

fn commands(criterion: &mut Criterion) {
    for (name, mode) in [("memory", Mode::Memory), ("durable", Mode::Durable)] {
        let ledger = Opened::new(mode);
        load::fund(&ledger, ACCOUNTS);
        let (mut random, mut lane) = (Random::new(1), Keys::lane());
        let mut group = criterion.benchmark_group(name);
        for (what, work) in [
            ("charge", Work::Charges { accounts: ACCOUNTS }),
            ("transfer", Work::Transfers { accounts: ACCOUNTS }),
            ("charge of one hot account", Work::Hot),
        ] {
            group.bench_function(what, |bencher| {
                bencher.iter(|| {
                    let key = lane.make();
                    ledger.submit(work.command(&mut random, 0, &key)).and_then(Commit::wait)
                });
            });
        }
        group.bench_function("balance", |bencher| {
            bencher.iter(|| ledger.balance(user(random.below(ACCOUNTS)), Currency::USD).and_then(Commit::wait));
        });
        if mode == Mode::Durable {
            let (disk, mut block) = (Disk::new(1_024), 0);
            group.bench_function("the same 4 KiB written and synced without a ledger", |bencher| {
                bencher.iter(|| {
                    disk.write_and_sync_block(block);
                    block += 1;
                });
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    // Short, since everything that is charged stays in memory.
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = commands
}
criterion_main!(benches);
