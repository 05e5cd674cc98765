//! Two things measured in turn: A B A B …, so that what the neighbours do meets both.

/// What each of them reached, pair by pair.
#[derive(Clone, Debug)]
pub struct Pairs {
    ours: Vec<f64>,
    baseline: Vec<f64>,
}

/// A median and its range.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The lowest.
    pub min: f64,
    /// The middle one.
    pub median: f64,
    /// The highest.
    pub max: f64,
}

impl Pairs {
    /// Measures `count` pairs.
    pub fn measure(count: usize, mut ours: impl FnMut() -> f64, mut baseline: impl FnMut() -> f64) -> Pairs {
        let mut pairs = Pairs { ours: Vec::new(), baseline: Vec::new() };
        for _ in 0..count {
            pairs.ours.push(ours());
            pairs.baseline.push(baseline());
        }
        pairs
    }

    /// What ours reached.
    pub fn ours(&self) -> Spread {
        Spread::of(self.ours.clone())
    }

    /// What the baseline reached.
    pub fn baseline(&self) -> Spread {
        Spread::of(self.baseline.clone())
    }

    /// Ours by the baseline, of each pair.
    pub fn ratio(&self) -> Spread {
        Spread::of(self.ours.iter().zip(&self.baseline).map(|(ours, baseline)| ours / baseline).collect())
    }
}

impl Spread {
    /// Of these values, of which there is at least one.
    pub fn of(mut values: Vec<f64>) -> Spread {
        values.sort_unstable_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Spread { min: values[0], median, max: values[values.len() - 1] }
    }
}
