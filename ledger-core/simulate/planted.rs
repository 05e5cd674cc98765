//! A simulator that finds nothing may be blind. Each planted bug must be caught within its budget of seeds, and by a check
//! that looks for what it breaks: whatever another check sees was planted by nobody.

use ledger_core::sim::PlantedBug;

use crate::promise::Violation;
use crate::run::run;

/// How a planted bug is caught.
struct Hunt {
    /// The checks that look for what it breaks.
    checks: &'static [&'static str],
    /// How many seeds it may take.
    seeds: u64,
}

/// How `bug` is caught. `None`: not by a run with one thread at a time.
const fn hunt(bug: PlantedBug) -> Option<Hunt> {
    let (checks, seeds): (&[&str], u64) = match bug {
        PlantedBug::AckBeforeFsync => (&["acknowledged and lost", "not opened"], 200),
        PlantedBug::SkipDirectoryFsync => (&["not opened", "acknowledged and lost"], 200),
        PlantedBug::TruncateMidLog => (&["damage"], 500),
        PlantedBug::RetryFsync => (&["not opened", "acknowledged and lost"], 1_000),
        // For the model checker of threads: see `tests/interleavings`.
        PlantedBug::UnlockBeforeAppend => return None,
        PlantedBug::RefundOnTimeout => (&["payout", "answer", "recovered state"], 200),
        // Where arithmetic is checked, as in a build for tests, spending what is held stops the ledger.
        PlantedBug::ReleaseEarly => (&["answer", "panic"], 500),
        PlantedBug::AttemptNotLogged => (&["payout"], 200),
        PlantedBug::DoubleResolve => (&["answer"], 500),
        PlantedBug::ReleaseInDoubt => (&["payout"], 1_000),
        PlantedBug::SuspenseDropped => (&["answer", "payout"], 500),
        PlantedBug::CopyLate => (&["not opened", "recovered state", "backup"], 500),
        PlantedBug::MirrorFromCache => (&["mirror"], 1_000),
        PlantedBug::MirrorUnproved => (&["mirror"], 4_000),
        PlantedBug::BackupLogFirst => (&["backup", "restore"], 2_000),
        PlantedBug::RestoreTrusted => (&["restore"], 1_000),
    };
    Some(Hunt { checks, seeds })
}

/// All that can be caught here.
pub(crate) fn all() -> Vec<PlantedBug> {
    PlantedBug::ALL.into_iter().filter(|bug| hunt(*bug).is_some()).collect()
}

/// Runs seeds from `first` on until one catches `bug`, and says by which check, after how many seeds, and what it saw.
///
/// # Errors
/// None did within the budget, or another check came first, or no seed can.
pub(crate) fn catch(bug: PlantedBug, first: u64) -> Result<String, String> {
    catch_by(bug, first, |seed| run(seed, Some(bug), false).violation)
}

fn catch_by(bug: PlantedBug, first: u64, run: impl Fn(u64) -> Option<Violation>) -> Result<String, String> {
    let Some(Hunt { checks, seeds: budget }) = hunt(bug) else {
        return Err(format!("{bug} cannot be seen with one thread at a time: it is for the interleavings"));
    };
    for seed in first..first + budget {
        let Some(violation) = run(seed) else { continue };
        let Violation { check, why } = &violation;
        if !checks.contains(check) {
            let expected = checks.join(" or ");
            return Err(format!("{bug} was not caught by {expected}: seed {seed} gives {violation}"));
        }
        let seeds = seed - first + 1;
        return Ok(format!("{:<22}{check:<23}{seeds:>6} of {budget:>5} seeds   {why}", bug.as_str()));
    }
    Err(format!("{bug} was not caught by {budget} seeds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../docs/simulation.md");

    #[test]
    fn every_planted_bug_is_caught_within_its_budget() {
        for bug in all() {
            catch(bug, 1).unwrap_or_else(|why| panic!("{why}"));
        }
    }

    #[test]
    fn all_are_caught_here_but_the_one_for_the_interleavings() {
        let missing: Vec<_> = PlantedBug::ALL.into_iter().filter(|bug| !all().contains(bug)).collect();
        assert_eq!(missing, [PlantedBug::UnlockBeforeAppend]);
        assert!(catch(PlantedBug::UnlockBeforeAppend, 1).is_err_and(|why| why.contains("the interleavings")));
    }

    #[test]
    fn what_another_check_sees_is_no_catch() {
        let caught_by = |check| catch_by(PlantedBug::AckBeforeFsync, 1, |_| Some(Violation::new(check, "something")));
        assert!(caught_by("acknowledged and lost").is_ok());
        let other = caught_by("panic");
        assert!(other.is_err_and(|why| why.contains("acknowledged and lost") && why.ends_with("panic: something")));
    }

    #[test]
    fn the_document_names_the_checks_of_each() {
        for bug in all() {
            let checks = hunt(bug).map_or(String::new(), |hunt| hunt.checks.join(", "));
            let row = format!("\n| `{bug}` | {checks} | ");
            assert!(DOCUMENT.contains(&row), "docs/simulation.md has no row that begins with {row:?}");
        }
    }
}
