//! What time costs: holds that mature all at once, and questions about the past. In memory, by a clock that is moved.

use std::time::{Duration, Instant};

use ledger_core::{Charge, Command, Commit, Currency, Ledger, Timestamp};

use super::Row;
use crate::clock::ManualClock;
use crate::latency::{Latencies, short};
use crate::load;
use crate::pairs::{Pairs, Spread};
use crate::place::Opened;
use crate::scale::Scale;
use crate::workload::{Keys, Random, amount, key, user};

const BATCH: usize = 1_024;
const HOUR: Duration = Duration::from_secs(3_600);

/// Charges one account `count` times; charge `number` is held until what `release_at` says, and `after_batch` is called
/// now and then.
fn charge_one(
    ledger: &Ledger,
    count: usize,
    mut release_at: impl FnMut(usize) -> Option<Timestamp>,
    after_batch: impl Fn(),
) {
    let (mut lane, mut done) = (Keys::lane(), 0);
    while done < count {
        let keys = lane.take((count - done).min(BATCH));
        let charge = |(index, bytes)| {
            let charge = Charge::new(user(0), amount(100), key(bytes));
            Command::from(release_at(done + index).map_or(charge, |until| charge.release_at(until)))
        };
        load::submit(ledger, &keys.iter().enumerate().map(charge).collect::<Vec<_>>());
        done += keys.len();
        after_batch();
    }
}

/// How long the slower of the first balance and the first charge takes, once all holds of an account have matured.
pub fn first_after_maturity(count: usize, release_at: impl Fn(Timestamp, usize) -> Option<Timestamp>) -> Duration {
    let clock = ManualClock::new();
    let ledger = Opened::by_clock(clock.clone());
    let start = clock.now();
    charge_one(&ledger, count, |number| release_at(start, number), || {});
    clock.advance(Duration::from_secs(7_200));
    let timed = Instant::now();
    let balance = ledger.balance(user(0), Currency::USD).and_then(Commit::wait).expect("the ledger runs");
    let read = timed.elapsed();
    assert_eq!((balance.withdrawable, balance.held), (100 * count as u64, 0));
    let bytes = Keys::lane().make();
    let timed = Instant::now();
    ledger.charge(Charge::new(user(0), amount(1), key(&bytes))).and_then(Commit::wait).expect("accepted");
    read.max(timed.elapsed())
}

/// All holds mature an hour from the start.
pub fn at_one_time(start: Timestamp, _: usize) -> Option<Timestamp> {
    Some(start.saturating_add(HOUR))
}

/// Each hold matures a microsecond after the one before it.
pub fn at_many_times(start: Timestamp, number: usize) -> Option<Timestamp> {
    Some(start.saturating_add(HOUR + Duration::from_micros(number as u64)))
}

/// A ledger of one account with so many entries, of which every fourth is held for up to an hour; when it began, and how
/// many microseconds long it went on.
pub fn with_past(entries: usize) -> (Opened, Timestamp, u64) {
    let clock = ManualClock::new();
    let ledger = Opened::by_clock(clock.clone());
    let begin = clock.now();
    let mut random = Random::new(5);
    let held = |number: usize| {
        let micros = random.below(3_600_000_000);
        number.is_multiple_of(4).then(|| clock.now().saturating_add(Duration::from_micros(micros)))
    };
    charge_one(&ledger, entries, held, || clock.advance(Duration::from_millis(10)));
    let span = clock.now().saturating_since(begin).as_micros() as u64;
    (ledger, begin, span)
}

pub(super) fn maturing(scale: &Scale) -> Vec<Row> {
    let row = |what: &str, release_at: &dyn Fn(Timestamp, usize) -> Option<Timestamp>| {
        let pairs = Pairs::measure(
            scale.pairs,
            || first_after_maturity(scale.holds, release_at).as_secs_f64(),
            || first_after_maturity(scale.holds, |_, _| None).as_secs_f64(),
        );
        let time = |seconds: f64| short(Duration::from_secs_f64(seconds));
        Row::new(format!("{} holds mature, {what}: the first read or charge (in memory)", scale.holds), "2 ms")
            .ledger(format!("{}, longest {}", time(pairs.ours().median), time(pairs.ours().max)))
            .baseline(format!("without holds: {}", time(pairs.baseline().median)))
            .ratio(pairs.ratio())
    };
    vec![row("all at one time", &at_one_time), row("each at a time of its own", &at_many_times)]
}

pub(super) fn past(scale: &Scale) -> Vec<Row> {
    let (ledger, begin, span) = with_past(scale.past);
    let mut random = Random::new(6);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..scale.pairs {
        ours.push(sample(scale, || {
            let at = begin.saturating_add(Duration::from_micros(random.below(span)));
            ledger.balance_at(user(0), Currency::USD, at).and_then(Commit::wait).expect("the ledger runs").total()
        }));
        theirs.push(sample(scale, || {
            ledger.balance(user(0), Currency::USD).and_then(Commit::wait).expect("the ledger runs").total()
        }));
    }
    let p99 = |latencies: &Latencies| latencies.quantile(0.99).as_secs_f64();
    let ratio = Spread::of(ours.iter().zip(&theirs).map(|(past, now)| p99(past) / p99(now)).collect());
    let (ours, theirs) = (Latencies::merged(&ours), Latencies::merged(&theirs));
    let what = format!("a balance at any past moment of an account of {} entries (in memory)", scale.past);
    let row = Row::new(what, "2 ms").ledger(format!("p99 {}", short(ours.quantile(0.99))));
    vec![row.baseline(format!("now: p99 {}", short(theirs.quantile(0.99)))).ratio(ratio).latencies(&ours)]
}

fn sample(scale: &Scale, mut read: impl FnMut() -> u64) -> Latencies {
    let mut latencies = Latencies::new();
    for _ in 0..scale.samples / scale.pairs {
        let start = Instant::now();
        std::hint::black_box(read());
        latencies.add(start.elapsed());
    }
    latencies
}
