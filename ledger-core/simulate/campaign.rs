//! Many seeds on every core, counted, with a small file to go on from.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::arguments::Arguments;
use crate::coverage::{Coverage, SEEDS_MIN};
use crate::promise::Violation;
use crate::run::{Outcome, Tally, run};

/// Seeds between two writes of the state file.
const ROUND: u64 = 2_048;
/// Every so many seeds one is run twice.
const TWICE_EVERY: u64 = 64;

/// Cells that were not hit and that a short run names: its table has a question mark for each.
const CELLS_NAMED_MAX: usize = 8;

/// What a campaign came to.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) seeds: u64,
    pub(crate) run_twice: u64,
    pub(crate) seconds: u64,
    pub(crate) tally: Tally,
    pub(crate) failures: Vec<(u64, Violation)>,
}

impl Report {
    fn take(&mut self, seed: u64, outcome: Outcome) {
        self.seeds += 1;
        self.tally.add(&outcome.tally);
        self.failures.extend(outcome.violation.map(|violation| (seed, violation)));
    }

    fn merge(&mut self, other: Report) {
        self.seeds += other.seeds;
        self.run_twice += other.run_twice;
        self.tally.add(&other.tally);
        self.failures.extend(other.failures);
    }

    /// Whether all is as it must be, with the reasons why not.
    pub(crate) fn verdict(&self, images_min: u64) -> Result<(), String> {
        let mut why = String::new();
        for (seed, violation) in &self.failures {
            writeln!(why, "seed {seed}: {violation}").expect("a string takes all");
        }
        if self.tally.images < images_min {
            writeln!(why, "only {} crash images, not {images_min}", self.tally.images).expect("a string takes all");
        }
        let missing = self.tally.coverage.missing();
        if self.seeds >= SEEDS_MIN && !missing.is_empty() {
            writeln!(why, "{} cells were never hit:\n  {}", missing.len(), missing.join("\n  "))
                .expect("a string takes all");
        }
        if why.is_empty() { Ok(()) } else { Err(why) }
    }

    pub(crate) fn summary(&self) -> String {
        let tally = &self.tally;
        let missing = tally.coverage.missing();
        let needed = Coverage::cells_needed();
        let coverage = match (missing.len(), self.seeds >= SEEDS_MIN) {
            (0, _) => format!("all {needed} cells hit (least: {})", tally.coverage.rarest()),
            (_, true) => format!("{} of {needed} cells never hit", missing.len()),
            (count, false) => {
                let some = missing[..count.min(CELLS_NAMED_MAX)].join("; ");
                let more = if count > CELLS_NAMED_MAX { "; …" } else { "" };
                format!("{count} of {needed} cells not hit yet (asserted from {SEEDS_MIN} seeds on): {some}{more}")
            }
        };
        format!(
            "{} seeds ({} of them twice, with equal traces), {} lives, {} crash images, {} recoveries compared\n\
             {} calls, {} withdrawals ({} in review)\ndamage: {} refused, {} harmless\ncoverage: {coverage}\n\
             {} s, {} seeds and {} images a minute",
            self.seeds,
            self.run_twice,
            tally.lives,
            tally.images,
            tally.recoveries,
            tally.calls,
            tally.withdrawals,
            tally.in_review,
            tally.rot_refused,
            tally.rot_harmless,
            self.seconds,
            self.seeds * 60 / self.seconds.max(1),
            tally.images * 60 / self.seconds.max(1),
        )
    }

    fn write(&self, next: u64) -> String {
        let tally = &self.tally;
        let mut text = format!(
            "next\t{next}\nseeds\t{}\ntwice\t{}\nseconds\t{}\nlives\t{}\nimages\t{}\nrecoveries\t{}\ncalls\t{}\nwithdrawals\t{}\nreview\t{}\n\
             refused\t{}\nharmless\t{}\n",
            self.seeds,
            self.run_twice,
            self.seconds,
            tally.lives,
            tally.images,
            tally.recoveries,
            tally.calls,
            tally.withdrawals,
            tally.in_review,
            tally.rot_refused,
            tally.rot_harmless
        );
        tally.coverage.write(&mut text);
        text
    }

    /// What [`Report::write`] wrote, and the next seed.
    fn read(text: &str) -> Option<(Report, u64)> {
        let (mut report, mut next) = (Report::default(), None);
        for line in text.lines() {
            if line.starts_with("cell\t") {
                report.tally.coverage.read(line)?;
                continue;
            }
            let (word, count) = line.split_once('\t')?;
            let count: u64 = count.parse().ok()?;
            match word {
                "next" => next = Some(count),
                "seeds" => report.seeds = count,
                "twice" => report.run_twice = count,
                "seconds" => report.seconds = count,
                "lives" => report.tally.lives = count,
                "recoveries" => report.tally.recoveries = count,
                "images" => report.tally.images = count,
                "calls" => report.tally.calls = count,
                "withdrawals" => report.tally.withdrawals = count,
                "review" => report.tally.in_review = count,
                "refused" => report.tally.rot_refused = count,
                "harmless" => report.tally.rot_harmless = count,
                _ => return None,
            }
        }
        Some((report, next?))
    }
}

/// Runs the seeds that are asked for; stops early at the first failures.
///
/// # Errors
/// The state file cannot be read or written.
pub(crate) fn campaign(arguments: &Arguments) -> Result<Report, String> {
    let state = &arguments.state;
    let (mut report, mut next) = (Report::default(), arguments.seed);
    if arguments.resume && state.exists() {
        let text = std::fs::read_to_string(state).map_err(|err| format!("reading {}: {err}", state.display()))?;
        (report, next) = Report::read(&text).ok_or(format!("{} is no state of a run; remove it", state.display()))?;
    }
    let before = report.seconds;
    let end = arguments.seed + arguments.seeds;
    let begun = Instant::now();
    while next < end && report.failures.is_empty() {
        if arguments.seconds.is_some_and(|seconds| begun.elapsed().as_secs() >= seconds) {
            break;
        }
        let round_end = end.min(next + ROUND);
        report.merge(round(next..round_end, arguments.jobs));
        report.seconds = before + begun.elapsed().as_secs();
        next = round_end;
        // A seed that fails is not passed over: the next call runs its round again.
        if arguments.resume && report.failures.is_empty() {
            keep(state, &report.write(next)).map_err(|err| format!("writing {}: {err}", state.display()))?;
        }
        eprintln!("seed {next} of {end}: {} images, {} s", report.tally.images, report.seconds);
    }
    Ok(report)
}

/// Replaces the state file whole: whoever is killed meanwhile goes on from the one before.
fn keep(state: &Path, text: &str) -> std::io::Result<()> {
    let new = state.with_extension("new");
    std::fs::write(&new, text)?;
    std::fs::rename(new, state)
}

/// The seeds of one round, taken by whichever thread is free.
fn round(seeds: std::ops::Range<u64>, jobs: usize) -> Report {
    let (next, report) = (AtomicU64::new(seeds.start), Mutex::new(Report::default()));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                let mut mine = Report::default();
                // Relaxed: the counter hands out seeds and orders nothing.
                let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds.end);
                while let Some(seed) = take() {
                    let outcome = run(seed, None, false);
                    if seed % TWICE_EVERY == 0 {
                        mine.run_twice += 1;
                        let again = run(seed, None, false);
                        if again.trace.hash() != outcome.trace.hash() {
                            let why = "two runs of the seed differ".to_owned();
                            mine.failures.push((seed, Violation::new("not deterministic", why)));
                        }
                    }
                    mine.take(seed, outcome);
                }
                report.lock().expect("no thread panicked with it").merge(mine);
            });
        }
    });
    report.into_inner().expect("no thread panicked with it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Chance;

    #[test]
    fn a_few_seeds_find_nothing_and_run_twice_alike() {
        let report = round(1..65, 2);
        report.verdict(1_000).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!((report.seeds, report.run_twice), (64, 1));
    }

    #[test]
    fn a_state_file_is_read_as_it_was_written() {
        let report = round(1..9, 1);
        let text = report.write(9);
        let (again, next) = Report::read(&text).expect("what was just written");
        assert_eq!(next, 9);
        assert_eq!(again.write(next), text);
        assert!(Report::read(&text.replace("next", "last")).is_none());
    }

    #[test]
    fn a_trace_tells_seeds_apart() {
        let mut chance = Chance::new(7);
        let hashes: Vec<u64> = (0..4).map(|_| run(chance.next(), None, false).trace.hash()).collect();
        assert!((1..4).all(|n| hashes[n] != hashes[0]));
    }
}
