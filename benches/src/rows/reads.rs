//! Balances while writers run, and pages at any depth.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use foldhash::fast::RandomState;
use ledger_core::{Currency, Ledger, PageStart, Query, TransactionId};

use super::Row;
use crate::latency::{Latencies, short};
use crate::load;
use crate::pairs::{Pairs, Spread};
use crate::place::{Mode, Opened};
use crate::scale::Scale;
use crate::workload::{Keys, Random, Work, user};

const READERS: usize = 2;
/// The writer's batch and how often it comes: 100,000 charges a second, which leaves the cores to the readers.
const WRITER_BATCH: usize = 1_000;
const WRITER_EVERY: Duration = Duration::from_millis(10);
/// How many accounts one call of `balances` is asked for.
const TOGETHER: usize = 1_024;
/// How many reads pass between two looks at the clock.
const READS: u64 = 1_024;

/// What a map without a ledger would keep of an account.
#[derive(Clone, Copy)]
struct Plain {
    withdrawable: u64,
    held: u64,
    reserved: u64,
    seq: u64,
}

/// Reads a second by two threads, while `write` is called every so often by a third.
fn reads(scale: &Scale, read: impl Fn(u64) + Sync, mut write: impl FnMut() + Send) -> f64 {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Relaxed: the flag publishes nothing.
            while !stop.load(Ordering::Relaxed) {
                let due = Instant::now() + WRITER_EVERY;
                write();
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        });
        let (took, counts) = load::together(READERS, |thread, barrier| {
            let (mut random, mut count) = (Random::new(thread as u64), 0);
            barrier.wait();
            let start = Instant::now();
            while start.elapsed() < scale.reads_for {
                (0..READS).for_each(|_| read(random.below(scale.accounts)));
                count += READS;
            }
            count
        });
        stop.store(true, Ordering::Relaxed);
        counts.iter().sum::<u64>() as f64 / took.as_secs_f64()
    })
}

fn ledger_reads(scale: &Scale, ledger: &Ledger, read: impl Fn(u64) + Sync) -> f64 {
    let (mut random, mut lane) = (Random::new(9), Keys::lane());
    let work = Work::Charges { accounts: scale.accounts };
    reads(scale, read, || {
        let keys = lane.take(WRITER_BATCH);
        let commands: Vec<_> = keys.iter().map(|key| work.command(&mut random, 0, key)).collect();
        load::submit(ledger, &commands);
    })
}

fn map_reads(scale: &Scale, map: &DashMap<u64, Plain, RandomState>) -> f64 {
    let mut random = Random::new(9);
    let read = |account: u64| {
        let plain = *map.get(&(account + 1)).expect("the account is there");
        black_box((plain.withdrawable + plain.held + plain.reserved, plain.seq));
    };
    reads(scale, read, || {
        for _ in 0..WRITER_BATCH {
            let mut plain = map.get_mut(&(random.below(scale.accounts) + 1)).expect("the account is there");
            plain.withdrawable += 100;
            plain.seq += 1;
        }
    })
}

pub(super) fn balances(scale: &Scale) -> Vec<Row> {
    let ledger = Opened::new(Mode::Durable);
    load::fund(&ledger, scale.accounts);
    let map: DashMap<u64, Plain, RandomState> = DashMap::default();
    for account in 0..scale.accounts {
        map.insert(account + 1, Plain { withdrawable: 1_000_000_000, held: 0, reserved: 0, seq: 0 });
    }
    let applied = |account: u64| {
        // The answer is there; the right to send it is not waited for.
        black_box(&ledger.balance(user(account), Currency::USD).expect("the ledger runs"));
    };
    let durable = |account: u64| {
        black_box(ledger.balance(user(account), Currency::USD).and_then(ledger_core::Commit::wait).expect("durable"));
    };
    let together = |first: u64| {
        let mut random = Random::new(first);
        let accounts: [_; TOGETHER] = std::array::from_fn(|_| (user(random.below(scale.accounts)), Currency::USD));
        black_box(&ledger.balances(&accounts).expect("the ledger runs"));
    };
    let together = Pairs::measure(
        scale.pairs,
        || TOGETHER as f64 * ledger_reads(scale, &ledger, together),
        || map_reads(scale, &map),
    );
    let applied = Pairs::measure(scale.pairs, || ledger_reads(scale, &ledger, applied), || map_reads(scale, &map));
    let durable = Pairs::measure(scale.pairs, || ledger_reads(scale, &ledger, durable), || map_reads(scale, &map));
    let baseline = "dashmap get";
    vec![
        Row::new("balances as applied (in memory), 2 readers, 100 k durable charges/s beside them", "15 M/s")
            .rates(&applied, baseline),
        Row::new("the same durable: each waited for until the disk has what it shows", "").rates(&durable, baseline),
        Row::new(format!("the same as applied (in memory), {TOGETHER} a call"), "15 M/s").rates(&together, baseline),
    ]
}

pub(super) fn pages(scale: &Scale) -> Vec<Row> {
    let ledger = Opened::new(Mode::Memory);
    load::fill(&ledger, Work::Hot, scale.paged);
    let mut random = Random::new(3);
    let first = |_: &mut Random| PageStart::Skip(0);
    let by_number = |random: &mut Random| PageStart::Skip(random.below(scale.paged as u64 - 100));
    let by_cursor = |random: &mut Random| {
        let id = TransactionId::new(101 + random.below(scale.paged as u64 - 100)).expect("ids begin with 1");
        PageStart::After(id)
    };
    let number = measure_pages(scale, &ledger, &mut random, by_number, first);
    let cursor = measure_pages(scale, &ledger, &mut random, by_cursor, first);
    let what = |how| format!("a page of 100 of {} transactions at any depth, {how} (in memory)", scale.paged);
    vec![number.row(what("by number"), "p99 50 µs"), cursor.row(what("by cursor"), "p99 50 µs")]
}

struct Pages {
    deep: Latencies,
    first: Latencies,
    ratio: Spread,
}

impl Pages {
    fn row(&self, what: String, to_reach: &'static str) -> Row {
        let p99 = |latencies: &Latencies| short(latencies.quantile(0.99));
        Row::new(what, to_reach)
            .ledger(format!("p99 {}", p99(&self.deep)))
            .baseline(format!("page 1: p99 {}", p99(&self.first)))
            .ratio(self.ratio)
            .latencies(&self.deep)
    }
}

fn measure_pages(
    scale: &Scale,
    ledger: &Ledger,
    random: &mut Random,
    deep: impl Fn(&mut Random) -> PageStart,
    first: impl Fn(&mut Random) -> PageStart,
) -> Pages {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let samples = scale.samples / scale.pairs;
    for _ in 0..scale.pairs {
        ours.push(page_latencies(ledger, samples, || deep(random)));
        theirs.push(page_latencies(ledger, samples, || first(random)));
    }
    let p99 = |latencies: &Latencies| latencies.quantile(0.99).as_secs_f64();
    let ratios = ours.iter().zip(&theirs).map(|(deep, first)| p99(deep) / p99(first)).collect();
    Pages { deep: Latencies::merged(&ours), first: Latencies::merged(&theirs), ratio: Spread::of(ratios) }
}

fn page_latencies(ledger: &Ledger, samples: usize, mut start_of: impl FnMut() -> PageStart) -> Latencies {
    let mut latencies = Latencies::new();
    for _ in 0..samples {
        let query = Query { start: start_of(), limit: 100, ..Query::new(user(0)) };
        let start = Instant::now();
        let page = ledger.transactions(&query).and_then(ledger_core::Commit::wait).expect("the ledger runs");
        latencies.add(start.elapsed());
        assert_eq!(page.transactions.len(), 100);
    }
    latencies
}
