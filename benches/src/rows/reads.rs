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

/// How many threads read.
pub const READERS: usize = 2;
/// The writer's batch and how often it comes: 100,000 charges a second, which leaves the cores to the readers.
const WRITER_BATCH: usize = 1_000;
const WRITER_EVERY: Duration = Duration::from_millis(10);
/// How many accounts one call of `balances` is asked for.
pub const TOGETHER: usize = 1_024;
/// How many reads pass between two looks at the clock.
const READS: u64 = 1_024;

/// How long the readers go on.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// So long.
    Time(Duration),
    /// For so many reads each, and what is missing to a whole thousand.
    Reads(u64),
}

/// What a map without a ledger would keep of an account.
#[derive(Clone, Copy, Debug)]
pub struct Plain {
    withdrawable: u64,
    held: u64,
    reserved: u64,
    seq: u64,
}

/// Reads a second by two threads, while `write` is called every so often by a third.
fn reads(accounts: u64, until: Until, read: impl Fn(u64) + Sync, mut write: impl FnMut() + Send) -> f64 {
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
            let goes_on = |count| match until {
                Until::Time(time) => start.elapsed() < time,
                Until::Reads(reads) => count < reads,
            };
            while goes_on(count) {
                (0..READS).for_each(|_| read(random.below(accounts)));
                count += READS;
            }
            count
        });
        stop.store(true, Ordering::Relaxed);
        counts.iter().sum::<u64>() as f64 / took.as_secs_f64()
    })
}

/// Reads a second of the ledger's accounts beside charges.
pub fn ledger_reads(accounts: u64, until: Until, ledger: &Ledger, read: impl Fn(u64) + Sync) -> f64 {
    let (mut random, mut lane) = (Random::new(9), Keys::lane());
    let work = Work::Charges { accounts };
    reads(accounts, until, read, || {
        let keys = lane.take(WRITER_BATCH);
        let commands: Vec<_> = keys.iter().map(|key| work.command(&mut random, 0, key)).collect();
        load::submit(ledger, &commands);
    })
}

/// A map of so many accounts.
pub fn map(accounts: u64) -> DashMap<u64, Plain, RandomState> {
    let plain = |account| (account + 1, Plain { withdrawable: 1_000_000_000, held: 0, reserved: 0, seq: 0 });
    (0..accounts).map(plain).collect()
}

/// Reads a second of the map's accounts beside as many charges.
pub fn map_reads(accounts: u64, until: Until, map: &DashMap<u64, Plain, RandomState>) -> f64 {
    let mut random = Random::new(9);
    let read = |account: u64| {
        let plain = *map.get(&(account + 1)).expect("the account is there");
        black_box((plain.withdrawable + plain.held + plain.reserved, plain.seq));
    };
    reads(accounts, until, read, || {
        for _ in 0..WRITER_BATCH {
            let mut plain = map.get_mut(&(random.below(accounts) + 1)).expect("the account is there");
            plain.withdrawable += 100;
            plain.seq += 1;
        }
    })
}

/// Reads a balance. The answer is there; the right to send it is not waited for.
pub fn applied(ledger: &Ledger, account: u64) {
    black_box(&ledger.balance(user(account), Currency::USD).expect("the ledger runs"));
}

/// Reads a balance and waits until it may be sent.
pub fn durable(ledger: &Ledger, account: u64) {
    black_box(ledger.balance(user(account), Currency::USD).and_then(ledger_core::Commit::wait).expect("durable"));
}

/// Reads [`TOGETHER`] balances as [`applied`], drawn by the seed `first`.
pub fn together(ledger: &Ledger, accounts: u64, first: u64) {
    let mut random = Random::new(first);
    let accounts: [_; TOGETHER] = std::array::from_fn(|_| (user(random.below(accounts)), Currency::USD));
    black_box(&ledger.balances(&accounts).expect("the ledger runs"));
}

pub(super) fn balances(scale: &Scale) -> Vec<Row> {
    let ledger = Opened::new(Mode::Durable);
    load::fund(&ledger, scale.accounts);
    let (map, until) = (map(scale.accounts), Until::Time(scale.reads_for));
    let ours = |read: &(dyn Fn(u64) + Sync)| ledger_reads(scale.accounts, until, &ledger, read);
    let theirs = || map_reads(scale.accounts, until, &map);
    let together = |first| together(&ledger, scale.accounts, first);
    let together = Pairs::measure(scale.pairs, || TOGETHER as f64 * ours(&together), theirs);
    let applied = Pairs::measure(scale.pairs, || ours(&|account| applied(&ledger, account)), theirs);
    let durable = Pairs::measure(scale.pairs, || ours(&|account| durable(&ledger, account)), theirs);
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
