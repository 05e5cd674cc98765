//! What a run came to: latencies by kind and by second, and how the requests ended.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::request::Kind;
use crate::latency::short;

/// The longest latency that is told apart, in nanoseconds.
const LATENCY_NS_MAX: u64 = 120_000_000_000;

/// The latencies of requests that ended alike.
#[derive(Clone, Debug)]
pub struct Times(Histogram<u64>);

impl Times {
    pub(super) fn new() -> Times {
        Times(Histogram::new_with_bounds(1_000, LATENCY_NS_MAX, 3).expect("three digits between these bounds"))
    }

    fn add(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    /// Those of another run as well.
    pub(super) fn merge(&mut self, other: &Times) {
        self.0.add(&other.0).expect("histograms of the same bounds");
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// What `share` of them (0 ..= 1) did not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(share))
    }

    /// Their mean.
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.0.mean() as u64)
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }
}

impl fmt::Display for Times {
    /// p50 / p99 / p99.9 / max.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, most, nearly_all] = [0.5, 0.99, 0.999].map(|share| short(self.quantile(share)));
        write!(f, "{half} / {most} / {nearly_all} / {}", short(self.max()))
    }
}

/// How the requests of one kind ended.
#[derive(Clone, Debug)]
pub struct KindOutcome {
    /// Which kind.
    pub kind: Kind,
    /// Answered 2xx.
    pub accepted: Times,
    /// Answered 503: the server said that it has no place.
    pub refused: Times,
    /// Answered otherwise, or not at all.
    pub failed: u64,
}

/// One second of a run.
#[derive(Clone, Copy, Debug)]
pub struct Second {
    /// Its number, from 0.
    pub number: usize,
    /// Requests answered 2xx.
    pub accepted: u64,
    /// Half of their latencies did not exceed this.
    pub p50: Duration,
    /// 99 % did not exceed this.
    pub p99: Duration,
    /// None exceeded this.
    pub max: Duration,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// By kind, in the mix's order.
    pub kinds: Vec<KindOutcome>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Why connections broke, if any did.
    pub broken: Option<String>,
    seconds: Vec<Times>,
}

impl Outcome {
    pub(super) fn new(kinds: impl Iterator<Item = Kind>) -> Outcome {
        let kinds =
            kinds.map(|kind| KindOutcome { kind, accepted: Times::new(), refused: Times::new(), failed: 0 }).collect();
        Outcome { kinds, elapsed: Duration::ZERO, broken: None, seconds: Vec::new() }
    }

    /// One answer: of which kind, when it came and how long it took, in nanoseconds.
    pub(super) fn answer(&mut self, kind: usize, status: u16, now_ns: u64, took_ns: u64) {
        let outcome = &mut self.kinds[kind];
        match status {
            200..=299 => {
                outcome.accepted.add(took_ns);
                let second = (now_ns / 1_000_000_000) as usize;
                while self.seconds.len() <= second {
                    self.seconds.push(Times::new());
                }
                self.seconds[second].add(took_ns);
            }
            503 => outcome.refused.add(took_ns),
            _ => outcome.failed += 1,
        }
    }

    /// What another thread's part came to.
    pub(super) fn merge(&mut self, other: Outcome) {
        for (all, part) in self.kinds.iter_mut().zip(other.kinds) {
            all.accepted.merge(&part.accepted);
            all.refused.merge(&part.refused);
            all.failed += part.failed;
        }
        while self.seconds.len() < other.seconds.len() {
            self.seconds.push(Times::new());
        }
        self.seconds.iter_mut().zip(&other.seconds).for_each(|(all, part)| all.merge(part));
        self.elapsed = self.elapsed.max(other.elapsed);
        self.broken = self.broken.take().or(other.broken);
    }

    /// All that were answered 2xx.
    pub fn accepted(&self) -> Times {
        self.kinds.iter().fold(Times::new(), |mut all, kind| {
            all.merge(&kind.accepted);
            all
        })
    }

    /// Of one kind.
    pub fn of(&self, kind: Kind) -> Option<&KindOutcome> {
        self.kinds.iter().find(|outcome| outcome.kind == kind)
    }

    /// How many were refused, and how many failed.
    pub fn not_accepted(&self) -> (u64, u64) {
        let (refused, failed) =
            (self.kinds.iter().map(|kind| kind.refused.count()), self.kinds.iter().map(|k| k.failed));
        (refused.sum(), failed.sum())
    }

    /// Requests answered 2xx, a second.
    pub fn requests_per_second(&self) -> f64 {
        self.accepted().count() as f64 / self.elapsed.as_secs_f64()
    }

    /// Operations of requests answered 2xx, a second.
    pub fn operations_per_second(&self) -> f64 {
        let operations: u64 =
            self.kinds.iter().map(|outcome| outcome.accepted.count() * outcome.kind.operations()).sum();
        operations as f64 / self.elapsed.as_secs_f64()
    }

    /// The share of all requests that were answered 2xx, 0 ..= 1.
    pub fn success(&self) -> f64 {
        let (refused, failed) = self.not_accepted();
        let accepted = self.accepted().count();
        accepted as f64 / ((accepted + refused + failed) as f64).max(1.0)
    }

    /// Second by second.
    pub fn seconds(&self) -> Vec<Second> {
        let second = |(number, times): (usize, &Times)| Second {
            number,
            accepted: times.count(),
            p50: times.quantile(0.5),
            p99: times.quantile(0.99),
            max: times.max(),
        };
        self.seconds.iter().enumerate().filter(|(_, times)| times.count() > 0).map(second).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_kind_second_and_ending() {
        let mut outcome = Outcome::new([Kind::Charge, Kind::Batch(10)].into_iter());
        outcome.answer(0, 200, 100, 5_000);
        outcome.answer(1, 200, 2_500_000_000, 7_000_000);
        outcome.answer(1, 503, 2_500_000_000, 9_000_000);
        outcome.answer(0, 400, 2_500_000_000, 9_000_000);
        outcome.elapsed = Duration::from_secs(1);
        assert_eq!((outcome.requests_per_second(), outcome.operations_per_second()), (2.0, 11.0));
        assert_eq!((outcome.success(), outcome.not_accepted()), (0.5, (1, 1)));
        let seconds = outcome.seconds();
        assert_eq!(seconds.iter().map(|second| second.number).collect::<Vec<_>>(), [0, 2]);
        assert!((seconds[1].max.as_secs_f64() / 0.007 - 1.0).abs() < 0.002);
    }
}
