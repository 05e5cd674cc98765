//! Balances beside a writer, pages at any depth, the past, and holds that mature.

use std::cell::LazyCell;
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use ledger_benches::load;
use ledger_benches::place::{Mode, Opened};
use ledger_benches::rows::reads::{self, READERS, TOGETHER, Until};
use ledger_benches::rows::time;
use ledger_benches::workload::{Random, Work, user};
use ledger_core::{Commit, Currency, PageStart, Query, Timestamp, TransactionId};

const ACCOUNTS: u64 = 1_000_000;
/// Transactions of the account that is paged through, and of the one whose past is asked for.
const ENTRIES: u64 = 1_000_000;
const HOLDS: usize = 1_000_000;
const PAGE: usize = 100;

/// One iteration is a call by each reader.
fn balances(criterion: &mut Criterion) {
    let ledger = LazyCell::new(|| {
        let ledger = Opened::new(Mode::Durable);
        load::fund(&ledger, ACCOUNTS);
        ledger
    });
    let map = LazyCell::new(|| reads::map(ACCOUNTS));
    let mut group = criterion.benchmark_group("balances beside 100,000 charges a second, 2 readers");
    group.sampling_mode(SamplingMode::Flat);
    let mut bench = |what: &str, each: usize, rate: &dyn Fn(Until) -> f64| {
        group.throughput(Throughput::Elements((READERS * each) as u64));
        group.bench_function(what, |bencher| {
            // Makes what is read: criterion guesses by the first times how often to iterate.
            rate(Until::Reads(1));
            bencher.iter_custom(|iterations| {
                Duration::from_secs_f64((iterations * READERS as u64) as f64 / rate(Until::Reads(iterations)))
            });
        });
    };
    let ours = |until, read: &(dyn Fn(u64) + Sync)| reads::ledger_reads(ACCOUNTS, until, &ledger, read);
    bench("as applied", 1, &|until| {
        let ledger = &*ledger;
        ours(until, &|account| reads::applied(ledger, account))
    });
    bench("as durable", 1, &|until| {
        let ledger = &*ledger;
        ours(until, &|account| reads::durable(ledger, account))
    });
    bench("1,024 a call", TOGETHER, &|until| {
        let ledger = &*ledger;
        ours(until, &|first| reads::together(ledger, ACCOUNTS, first))
    });
    bench("a get of dashmap", 1, &|until| reads::map_reads(ACCOUNTS, until, &map));
    group.finish();
}

fn pages(criterion: &mut Criterion) {
    let ledger = LazyCell::new(|| {
        let ledger = Opened::new(Mode::Memory);
        load::fill(&ledger, Work::Hot, ENTRIES as usize);
        ledger
    });
    let mut random = Random::new(3);
    let mut depth = || random.below(ENTRIES - PAGE as u64);
    let mut group = criterion.benchmark_group("a page of 100 of a million");
    let mut bench = |what: &str, start: &mut dyn FnMut() -> PageStart| {
        group.bench_function(what, |bencher| {
            let ledger = &*ledger;
            bencher.iter(|| {
                let query = Query { start: start(), limit: PAGE, ..Query::new(user(0)) };
                let page = ledger.transactions(&query).and_then(Commit::wait).expect("the ledger runs");
                assert_eq!(page.transactions.len(), PAGE);
                page
            });
        });
    };
    bench("the first", &mut || PageStart::Skip(0));
    bench("by number, any depth", &mut || PageStart::Skip(depth()));
    bench("by cursor, any depth", &mut || {
        PageStart::After(TransactionId::new(1 + PAGE as u64 + depth()).expect("ids begin with 1"))
    });
    group.finish();
}

fn past(criterion: &mut Criterion) {
    let made = LazyCell::new(|| time::with_past(ENTRIES as usize));
    let mut random = Random::new(6);
    let mut group = criterion.benchmark_group("a balance of an account of a million entries");
    group.bench_function("now", |bencher| {
        let (ledger, ..) = &*made;
        bencher.iter(|| ledger.balance(user(0), Currency::USD).and_then(Commit::wait));
    });
    group.bench_function("at any past moment", |bencher| {
        let (ledger, begin, span) = &*made;
        bencher.iter(|| {
            let at = begin.saturating_add(Duration::from_micros(random.below(*span)));
            ledger.balance_at(user(0), Currency::USD, at).and_then(Commit::wait)
        });
    });
    group.finish();
}

/// Each iteration makes a ledger of its own, and times the slower of its first read and first charge after the holds matured.
fn maturing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a million holds mature");
    group.sampling_mode(SamplingMode::Flat);
    let mut bench = |what: &str, release_at: fn(Timestamp, usize) -> Option<Timestamp>| {
        group.bench_function(what, |bencher| {
            bencher
                .iter_custom(|iterations| (0..iterations).map(|_| time::first_after_maturity(HOLDS, release_at)).sum());
        });
    };
    bench("all at one time", time::at_one_time);
    bench("each at a time of its own", time::at_many_times);
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = balances, pages, past, maturing
}
criterion_main!(benches);
