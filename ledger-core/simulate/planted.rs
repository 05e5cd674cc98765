//! A simulator that finds nothing may be blind. Each planted bug must be caught within its budget of seeds.

use ledger_core::sim::PlantedBug;

use crate::run::run;

/// The bugs that a run with one thread at a time can see, and how many seeds each may take. (The interleaving bug,
/// `unlock_before_append`, is for the model checker of threads.)
pub(crate) const BUDGETS: &[(PlantedBug, u64)] = &[
    (PlantedBug::AckBeforeFsync, 200),
    (PlantedBug::SkipDirectoryFsync, 200),
    (PlantedBug::TruncateMidLog, 500),
    (PlantedBug::RetryFsync, 1_000),
    (PlantedBug::RefundOnTimeout, 200),
    (PlantedBug::ReleaseEarly, 500),
    (PlantedBug::AttemptNotLogged, 200),
    (PlantedBug::DoubleResolve, 500),
    (PlantedBug::ReleaseInDoubt, 1_000),
    (PlantedBug::SuspenseDropped, 500),
    (PlantedBug::CopyLate, 500),
    (PlantedBug::MirrorFromCache, 1_000),
    (PlantedBug::MirrorUnproved, 4_000),
    (PlantedBug::BackupLogFirst, 2_000),
    (PlantedBug::RestoreTrusted, 1_000),
];

/// Runs seeds from `first` on until one catches `bug`, and says which did and by which check.
///
/// # Errors
/// None did within the budget.
pub(crate) fn catch(bug: PlantedBug, first: u64) -> Result<String, String> {
    let budget = BUDGETS.iter().find(|(of, _)| *of == bug).map_or(1_000, |(_, budget)| *budget);
    for seed in first..first + budget {
        if let Some(violation) = run(seed, Some(bug), false).violation {
            let seeds = seed - first + 1;
            return Ok(format!("{:<22}{seeds:>6} of {budget:>5} seeds   {violation}", bug.as_str()));
        }
    }
    Err(format!("{bug} was not caught by {budget} seeds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_planted_bug_is_caught_within_its_budget() {
        for (bug, _) in BUDGETS {
            catch(*bug, 1).unwrap_or_else(|why| panic!("{why}"));
        }
    }
}
