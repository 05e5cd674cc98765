//! Many seeds on every core, counted, with a small file to go on from.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::arguments::Arguments;
use crate::coverage::{Coverage, SEEDS_MIN, SEEDS_MIN_OF_OUTCOMES};
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
    pub(crate) fn verdict(&self, images_min: u64, cells_min: u64) -> Result<(), String> {
        let mut why = String::new();
        for (seed, violation) in &self.failures {
            writeln!(why, "seed {seed}: {violation}").expect("a string takes all");
        }
        if self.tally.images < images_min {
            writeln!(why, "only {} crash images, not {images_min}", self.tally.images).expect("a string takes all");
        }
        let missing = self.tally.coverage.missing();
        let hit = Coverage::cells_needed() - missing.len();
        if (hit as u64) < cells_min {
            writeln!(why, "only {hit} cells hit, not {cells_min}").expect("a string takes all");
        }
        let never = self.tally.coverage.never_seen();
        if self.seeds >= SEEDS_MIN_OF_OUTCOMES && !never.is_empty() {
            writeln!(why, "{} outcomes came under no fault:\n  {}", never.len(), never.join("\n  "))
                .expect("a string takes all");
        }
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

    /// `run` says which run it is of: nothing else goes on from it.
    fn write(&self, run: &str, next: u64) -> String {
        let tally = &self.tally;
        let mut text = format!(
            "run\t{run}\nnext\t{next}\nseeds\t{}\ntwice\t{}\nseconds\t{}\nlives\t{}\nimages\t{}\nrecoveries\t{}\ncalls\t{}\nwithdrawals\t{}\nreview\t{}\n\
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

    /// What [`Report::write`] wrote, the run that it is of, and the next seed.
    fn read(text: &str) -> Option<(Report, &str, u64)> {
        let (mut report, mut next) = (Report::default(), None);
        let (first, rest) = text.split_once('\n')?;
        let run = first.strip_prefix("run\t")?;
        for line in rest.lines() {
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
        Some((report, run, next?))
    }
}

/// Runs the seeds that are asked for; stops early at the first failures.
///
/// # Errors
/// The state file cannot be read or written, or is of another build or another first seed.
pub(crate) fn campaign(arguments: &Arguments) -> Result<Report, String> {
    let state = &arguments.state;
    let (mut report, mut next) = (Report::default(), arguments.seed);
    let this = if arguments.resume { this_run(arguments.seed)? } else { String::new() };
    if arguments.resume && state.exists() {
        let text = std::fs::read_to_string(state).map_err(|err| format!("reading {}: {err}", state.display()))?;
        let of;
        (report, of, next) =
            Report::read(&text).ok_or(format!("{} is no state of a run; remove it", state.display()))?;
        if of != this {
            return Err(format!(
                "{} is of another run ({of}), and this is {this}; remove it to begin anew",
                state.display()
            ));
        }
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
            keep(state, &report.write(&this, next)).map_err(|err| format!("writing {}: {err}", state.display()))?;
        }
        eprintln!("seed {next} of {end}: {} images, {} s", report.tally.images, report.seconds);
    }
    Ok(report)
}

/// What was run by another program says nothing of this one, and seeds from elsewhere on would leave a gap.
fn this_run(first: u64) -> Result<String, String> {
    let program = std::env::current_exe().and_then(std::fs::read);
    let program = program.map_err(|err| format!("reading this program: {err}"))?;
    Ok(format!("from seed {first}, build {:016x}", xxhash_rust::xxh3::xxh3_64(&program)))
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
        report.verdict(1_000, 700).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!((report.seeds, report.run_twice), (64, 1));
    }

    #[test]
    fn a_state_file_is_read_as_it_was_written() {
        let report = round(1..9, 1);
        let text = report.write("this one", 9);
        let (again, run, next) = Report::read(&text).expect("what was just written");
        assert_eq!((run, next), ("this one", 9));
        assert_eq!(again.write(run, next), text);
        assert!(Report::read(&text.replace("next", "last")).is_none());
    }

    #[test]
    fn a_run_goes_on_where_it_stopped_and_only_where_it_is_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let run_to = |seed: u64, seeds: u64| {
            let words = ["--resume", "--jobs", "2", "--state", state.to_str().unwrap(), "--seed"].map(str::to_owned);
            let rest = [seed.to_string(), "--seeds".to_owned(), seeds.to_string()];
            campaign(&Arguments::read(words.into_iter().chain(rest)).unwrap())
        };
        let first = run_to(5, 8).unwrap();
        let second = run_to(5, 24).unwrap();
        let whole = round(5..29, 2);
        assert_eq!((first.seeds, second.seeds), (8, 24));
        assert_eq!(second.tally.images, whole.tally.images);
        assert_eq!(second.tally.coverage.table(), whole.tally.coverage.table());
        assert!(run_to(6, 24).is_err_and(|why| why.contains("another run (from seed 5,")));
        let text = std::fs::read_to_string(&state).unwrap();
        std::fs::write(&state, text.replace("build ", "build 0")).unwrap();
        assert!(run_to(5, 24).is_err_and(|why| why.contains("another run")));
    }

    #[test]
    fn a_trace_tells_seeds_apart() {
        let mut chance = Chance::new(7);
        let hashes: Vec<u64> = (0..4).map(|_| run(chance.next(), None, false).trace.hash()).collect();
        assert!((1..4).all(|n| hashes[n] != hashes[0]));
    }
}
