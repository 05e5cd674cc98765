//! Faults that are put into the ledger on purpose, to show that the checks would find them.
//!
//! All of them are compiled in with the feature `sim`, and [`crate::Options::planted_bug`] picks one for a ledger, so that
//! one build tries all. Each is a mistake that a reasonable person could make.

use std::fmt;
use std::str::FromStr;

/// A fault that is put into the ledger on purpose.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PlantedBug {
    /// Callers are answered before the sync.
    AckBeforeFsync,
    /// A new segment's name is not synced.
    SkipDirectoryFsync,
    /// The first bad frame ends the log, whatever says that it was durable.
    TruncateMidLog,
    /// A failed sync is tried again.
    RetryFsync,
    /// The shards are let go between a plan and its append, so that what was planned may no longer be true.
    UnlockBeforeAppend,
    /// An attempt of which nobody knows whether it paid is taken for one that did not.
    RefundOnTimeout,
    /// A plan takes a hold for matured a second before it is.
    ReleaseEarly,
    /// An attempt may leave for the bank before its entry is synced.
    AttemptNotLogged,
    /// An operator's decision is taken although the withdrawal has ended.
    DoubleResolve,
    /// A definite refusal of one attempt fails a withdrawal of which an earlier one may have paid.
    ReleaseInDoubt,
    /// A payment that turns out after a release is posted nowhere.
    SuspenseDropped,
    /// A checkpoint copies accounts as they are when it comes to them, not as they were.
    CopyLate,
    /// A mirror judges its sides by what the page cache shows, under which a device may have rotted.
    MirrorFromCache,
    /// A mirror makes a damaged side a copy of the sound one without asking what it had had.
    MirrorUnproved,
    /// A backup copies the log before the snapshots that it is to lead on from.
    BackupLogFirst,
    /// A restored ledger goes on where its source stood, as if nothing had been paid since.
    RestoreTrusted,
}

impl PlantedBug {
    /// Every one, in the order of their declaration.
    pub const ALL: [PlantedBug; 16] = [
        PlantedBug::AckBeforeFsync,
        PlantedBug::SkipDirectoryFsync,
        PlantedBug::TruncateMidLog,
        PlantedBug::RetryFsync,
        PlantedBug::UnlockBeforeAppend,
        PlantedBug::RefundOnTimeout,
        PlantedBug::ReleaseEarly,
        PlantedBug::AttemptNotLogged,
        PlantedBug::DoubleResolve,
        PlantedBug::ReleaseInDoubt,
        PlantedBug::SuspenseDropped,
        PlantedBug::CopyLate,
        PlantedBug::MirrorFromCache,
        PlantedBug::MirrorUnproved,
        PlantedBug::BackupLogFirst,
        PlantedBug::RestoreTrusted,
    ];

    /// The word, as `ack_before_fsync`.
    pub const fn as_str(self) -> &'static str {
        match self {
            PlantedBug::AckBeforeFsync => "ack_before_fsync",
            PlantedBug::SkipDirectoryFsync => "skip_directory_fsync",
            PlantedBug::TruncateMidLog => "truncate_mid_log",
            PlantedBug::RetryFsync => "retry_fsync",
            PlantedBug::UnlockBeforeAppend => "unlock_before_append",
            PlantedBug::RefundOnTimeout => "refund_on_timeout",
            PlantedBug::ReleaseEarly => "release_early",
            PlantedBug::AttemptNotLogged => "attempt_not_logged",
            PlantedBug::DoubleResolve => "double_resolve",
            PlantedBug::ReleaseInDoubt => "release_in_doubt",
            PlantedBug::SuspenseDropped => "suspense_dropped",
            PlantedBug::CopyLate => "copy_late",
            PlantedBug::MirrorFromCache => "mirror_from_cache",
            PlantedBug::MirrorUnproved => "mirror_unproved",
            PlantedBug::BackupLogFirst => "backup_log_first",
            PlantedBug::RestoreTrusted => "restore_trusted",
        }
    }
}

impl fmt::Display for PlantedBug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PlantedBug {
    type Err = String;

    fn from_str(word: &str) -> Result<PlantedBug, String> {
        let found = PlantedBug::ALL.into_iter().find(|bug| bug.as_str() == word);
        found.ok_or_else(|| {
            let all = PlantedBug::ALL.map(PlantedBug::as_str).join(", ");
            format!("there is no planted bug {word:?}: choose one of {all}")
        })
    }
}
