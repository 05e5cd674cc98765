//! What the log's files are called. No other module spells a name.

/// The lower bound of what is durable.
pub(super) const MARK: &str = "durable.mark";

/// Keeps the withdrawals of a restored ledger from being performed, until an operator lets them go.
pub(crate) const EXECUTOR_STOPPED: &str = "executor.stopped";

/// Says which stop an operator let go.
pub(super) const EXECUTOR_RELEASED: &str = "executor.released";

const SEGMENT_SUFFIX: &str = ".segment";
const TEMPORARY_SUFFIX: &str = ".tmp";
const TORN_SUFFIX: &str = ".torn";
/// Of the files that snapshots name. Others make and name them.
const HISTORY_SUFFIX: &str = ".history";

/// A segment's name. Zero-padded, so that names sort as numbers do.
pub(super) fn segment(number: u64) -> String {
    format!("{number:016x}{SEGMENT_SUFFIX}")
}

/// The number of the segment that is called so; `None` if no segment is.
pub(super) fn segment_number(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name.strip_suffix(SEGMENT_SUFFIX)?, 16).ok()?;
    (segment(number) == name).then_some(number)
}

/// What a file is called until it is whole.
pub(super) fn temporary(name: &str) -> String {
    format!("{name}{TEMPORARY_SUFFIX}")
}

/// Whether a file of ours, a snapshot's included, was left before it was whole. An opening removes it.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.strip_suffix(TEMPORARY_SUFFIX).is_some_and(|name| {
        let is_log = name == MARK || segment_number(name).is_some() || name.ends_with(TORN_SUFFIX);
        let is_copied = name == EXECUTOR_STOPPED || name == EXECUTOR_RELEASED;
        is_log || is_copied || is_of_a_snapshot(name)
    })
}

/// Whether it is a snapshot of the state, which makes the log before it dispensable. Others make and name them.
pub(super) fn is_snapshot(name: &str) -> bool {
    name.ends_with(".snapshot")
}

/// Whether it is one of the files that a snapshot consists of.
pub(super) fn is_of_a_snapshot(name: &str) -> bool {
    is_snapshot(name) || name.ends_with(HISTORY_SUFFIX)
}

/// Where the torn tail is saved that began at `offset` of a segment.
pub(super) fn torn(number: u64, offset: u64) -> String {
    format!("{number:016x}-{offset:08x}{TORN_SUFFIX}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        assert_eq!(segment_number(&segment(0x12)), Some(0x12));
        assert_eq!(segment_number("12.segment"), None);
        assert_eq!(segment_number(&temporary(&segment(1))), None);
        assert!(is_temporary(&temporary(&segment(1))) && is_temporary(&temporary(MARK)));
        assert!(is_temporary(&temporary(&torn(1, 4096))) && !is_temporary("notes.tmp"));
        assert!(is_temporary("executor.stopped.tmp") && is_temporary("executor.released.tmp"));
        assert!(is_temporary("12.snapshot.tmp") && is_temporary("12-1.history.tmp") && !is_temporary("12.snapshot"));
    }
}
