//! What the files of snapshots are called. No other module spells a name.

use crate::types::{Epoch, Seq};

const SNAPSHOT: &str = ".snapshot";
const HISTORY: &str = ".history";
const TEMPORARY: &str = ".tmp";

/// The snapshot of the state at `seq`. Zero-padded, so that names sort as seqs do.
pub(crate) fn snapshot(seq: Seq) -> String {
    format!("{:016x}{SNAPSHOT}", seq.get())
}

/// The seq of the snapshot that is called so; `None` if none is.
pub(crate) fn snapshot_seq(name: &str) -> Option<Seq> {
    let seq = Seq::new(u64::from_str_radix(name.strip_suffix(SNAPSHOT)?, 16).ok()?);
    (snapshot(seq) == name).then_some(seq)
}

/// The history file that ends with `seq` and was written under `epoch`.
pub(crate) fn history(seq: Seq, epoch: Epoch) -> String {
    format!("{:016x}-{:08x}{HISTORY}", seq.get(), epoch.get())
}

/// Whether a history file is called so.
pub(crate) fn is_history(name: &str) -> bool {
    let parts = name.strip_suffix(HISTORY).and_then(|stem| stem.split_once('-'));
    let numbers =
        parts.and_then(|(seq, epoch)| Some((u64::from_str_radix(seq, 16).ok()?, u64::from_str_radix(epoch, 16).ok()?)));
    numbers.is_some_and(|(seq, epoch)| history(Seq::new(seq), Epoch::new(epoch)) == name)
}

/// What a file is called until it is whole.
pub(crate) fn temporary(name: &str) -> String {
    format!("{name}{TEMPORARY}")
}

/// Whether a file of ours was left before it was whole.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.strip_suffix(TEMPORARY).is_some_and(|name| snapshot_seq(name).is_some() || is_history(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let (seq, epoch) = (Seq::new(0x12), Epoch::new(3));
        assert_eq!(snapshot_seq(&snapshot(seq)), Some(seq));
        assert_eq!(snapshot_seq("12.snapshot"), None);
        assert!(is_history(&history(seq, epoch)) && !is_history("12-3.history") && !is_history(&snapshot(seq)));
        assert!(is_temporary(&temporary(&history(seq, epoch))) && is_temporary(&temporary(&snapshot(seq))));
        assert!(!is_temporary("notes.tmp") && !is_temporary(&snapshot(seq)));
    }
}
