//! How long single things took: a histogram of fixed size, so that counting a hundred million disturbs none of them.

use std::fmt;
use std::time::Duration;

/// Each power of two is split into so many buckets: values are kept to 3 %.
const SPLIT_BITS: u32 = 5;
const SPLIT: usize = 1 << SPLIT_BITS;

/// Durations, counted.
#[derive(Clone)]
pub struct Latencies {
    buckets: Vec<u64>,
    count: u64,
    max: Duration,
}

impl Latencies {
    /// None yet.
    #[expect(clippy::new_without_default, reason = "a histogram that nobody asked for is a mistake")]
    pub fn new() -> Latencies {
        Latencies { buckets: vec![0; (64 - SPLIT_BITS as usize + 1) * SPLIT], count: 0, max: Duration::ZERO }
    }

    /// One more.
    pub fn add(&mut self, took: Duration) {
        self.buckets[bucket(took.as_nanos() as u64)] += 1;
        self.count += 1;
        self.max = self.max.max(took);
    }

    /// All of them together.
    pub fn merged(parts: &[Latencies]) -> Latencies {
        let mut all = Latencies::new();
        for part in parts {
            all.buckets.iter_mut().zip(&part.buckets).for_each(|(sum, count)| *sum += count);
            all.count += part.count;
            all.max = all.max.max(part.max);
        }
        all
    }

    /// What `share` of them (0 ..= 1) did not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut below = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            below += count;
            if below >= wanted.max(1) {
                return Duration::from_nanos(upper_bound(index)).min(self.max);
            }
        }
        self.max
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        self.max
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < SPLIT as u64 {
        return nanos as usize;
    }
    let shift = nanos.ilog2() - SPLIT_BITS;
    (shift as usize + 1) * SPLIT + (nanos >> shift) as usize - SPLIT
}

fn upper_bound(index: usize) -> u64 {
    if index < SPLIT {
        return index as u64;
    }
    let shift = index / SPLIT - 1;
    (((index % SPLIT + SPLIT + 1) as u128) << shift).min(u128::from(u64::MAX)) as u64 - 1
}

impl fmt::Display for Latencies {
    /// p50 / p99 / p99.9 / max.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, most, nearly_all] = [0.5, 0.99, 0.999].map(|share| short(self.quantile(share)));
        write!(f, "{half} / {most} / {nearly_all} / {}", short(self.max))
    }
}

/// A duration in three digits.
pub fn short(duration: Duration) -> String {
    let nanos = duration.as_nanos() as f64;
    let (value, unit) = match nanos {
        n if n < 1e3 => (n, "ns"),
        n if n < 1e6 => (n / 1e3, "µs"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    match value {
        v if v < 10.0 && unit != "ns" => format!("{v:.2} {unit}"),
        v if v < 100.0 && unit != "ns" => format!("{v:.1} {unit}"),
        v => format!("{v:.0} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_right_to_three_percent() {
        let mut latencies = Latencies::new();
        (1..=1_000_000).for_each(|micros| latencies.add(Duration::from_micros(micros)));
        for (share, exact) in [(0.5, 0.5), (0.99, 0.99), (0.999, 0.999), (1.0, 1.0)] {
            let found = latencies.quantile(share).as_secs_f64();
            assert!((found / exact - 1.0).abs() < 0.035, "{share}: {found}");
        }
    }

    #[test]
    fn every_value_is_within_its_bucket() {
        for nanos in (0..64).map(|bit| 1u64 << bit).flat_map(|power| [power - 1, power, power + 1]) {
            let index = bucket(nanos);
            assert!(nanos <= upper_bound(index) && (index == 0 || nanos > upper_bound(index - 1)), "{nanos}");
        }
        assert!(bucket(u64::MAX) < Latencies::new().buckets.len());
    }
}
