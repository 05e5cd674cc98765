//! Every way in which the ledger says no.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::types::TransactionId;
use crate::view::Transaction;
use crate::withdrawals::{Conflict, Withdrawal};

/// Why a command has no receipt.
#[derive(Clone, PartialEq, Debug)]
pub enum Error {
    /// A business "no": nothing was recorded and the key is as it was.
    Rejected(Rejection),
    /// The ledger can no longer promise durability.
    Halted(Halted),
}

/// A business "no", in the order in which the reasons are looked for. The key is as it was and nothing is written, but
/// for contradictions about a withdrawal: those are recorded with it.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Rejection {
    /// The ledger is closed, or closing.
    ShuttingDown,
    /// The log has no room, or the process no descriptor for one more file of it. Reads go on; writes resume when there is.
    StorageFull,
    /// Too much is in flight, or the memory limit is reached: try again later. Or a shard has as many records (16 GiB) as it
    /// can: open the ledger with more shards.
    Overloaded,
    /// An atomic batch's entries need more bytes than one frame of the log can hold.
    BatchTooLarge {
        /// What the batch needs.
        bytes: usize,
        /// What fits.
        bytes_max: usize,
    },
    /// The same command was accepted before; this is its transaction as it stands now.
    DuplicateRequest(Box<Transaction>),
    /// The key names an earlier, different command; this is its transaction as it stands now.
    IdempotencyKeyReused(Box<Transaction>),
    /// A key stands twice in an atomic batch.
    KeyTwiceInBatch {
        /// The earlier operation with this key, from 0.
        first: usize,
        /// Whether both say the same.
        same: bool,
    },
    /// A transfer from an account to itself.
    SameAccount,
    /// The executor of withdrawals has no place. Try again later.
    QueueFull,
    /// The account's withdrawable balance is less than the amount.
    InsufficientBalance {
        /// What is withdrawable now, in minor units.
        withdrawable: u64,
    },
    /// The credit would take the account's total past 2^53 − 1.
    BalanceOverflow,
    /// There is no transaction of that id (or it is not of the kind asked about).
    TransactionNotFound,
    /// The withdrawal cannot be cancelled: an attempt was started, or may have been. This is how it stands.
    NotCancellable(Box<Withdrawal>),
    /// The withdrawal cannot be resolved: it was never attempted. Cancel it. This is how it stands.
    NeverAttempted(Box<Withdrawal>),
    /// The withdrawal has ended. If it is to be resolved otherwise than it ended, that is recorded with it as a
    /// discrepancy, and nothing else follows. This is how it stands.
    AlreadyResolved(Box<Withdrawal>),
    /// An attempt is under way, so nobody can know that the bank will not pay: wait for its end.
    AttemptUnderWay(Box<Withdrawal>),
    /// What is said of the withdrawal changes nothing, but that a contradiction is recorded with it.
    WithdrawalConflict {
        /// Which withdrawal.
        id: TransactionId,
        /// Why.
        conflict: Conflict,
    },
    /// An operation of an atomic batch was rejected, and with it the whole batch.
    BatchRejected {
        /// Which operation, from 0.
        index: usize,
        /// Why.
        rejection: Box<Rejection>,
    },
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejection::ShuttingDown => f.write_str("the ledger is closing; open it again"),
            Rejection::StorageFull => f.write_str(
                "the log has no room; free space on its disk, or raise the limit of open files if that is what lacks, then repeat",
            ),
            Rejection::Overloaded => f.write_str("too much is in flight or in memory; repeat later"),
            Rejection::BatchTooLarge { bytes, bytes_max } => write!(
                f,
                "the atomic batch needs {bytes} bytes of log and at most {bytes_max} fit in one frame; \
                 split it, or open the ledger with larger segments"
            ),
            // Which key, the caller knows; the transaction's own is another one where this one was used to decide it.
            Rejection::DuplicateRequest(original) => {
                write!(f, "the key was used for transaction {}, which is the same command", original.id)
            }
            Rejection::IdempotencyKeyReused(original) => {
                write!(f, "the key was used for transaction {}, which is another command; use a new key", original.id)
            }
            Rejection::KeyTwiceInBatch { first, .. } => {
                write!(f, "operation {first} of the same atomic batch has this key; give each operation its own")
            }
            Rejection::SameAccount => f.write_str("a transfer needs two different users"),
            Rejection::QueueFull => f.write_str("every place for a withdrawal is taken; repeat later"),
            Rejection::InsufficientBalance { withdrawable } => {
                write!(f, "only {withdrawable} is withdrawable; lower the amount or wait for holds to mature")
            }
            Rejection::BalanceOverflow => f.write_str("the balance would exceed 9007199254740991; lower the amount"),
            Rejection::TransactionNotFound => f.write_str("there is no such transaction"),
            Rejection::NotCancellable(withdrawal) => write!(
                f,
                "withdrawal {} is {} after {} attempts; only one that was never attempted can be cancelled",
                withdrawal.id, withdrawal.substatus, withdrawal.attempts
            ),
            Rejection::NeverAttempted(withdrawal) => {
                write!(f, "withdrawal {} was never attempted; cancel it in place of resolving it", withdrawal.id)
            }
            Rejection::AlreadyResolved(withdrawal) => {
                write!(
                    f,
                    "withdrawal {} has ended as {}; compare it with the bank",
                    withdrawal.id, withdrawal.substatus
                )
            }
            Rejection::AttemptUnderWay(withdrawal) => write!(
                f,
                "attempt {} of withdrawal {} is under way; wait for its end, then resolve it",
                withdrawal.attempts, withdrawal.id
            ),
            Rejection::WithdrawalConflict { id, conflict } => write!(f, "withdrawal {id}: {conflict}"),
            Rejection::BatchRejected { index, rejection } => write!(f, "operation {index} was rejected: {rejection}"),
        }
    }
}

impl std::error::Error for Rejection {}

/// The ledger can no longer promise durability and refuses everything until it is opened again.
#[derive(Clone, Debug)]
pub struct Halted {
    /// Whether this command may be in the log: repeat it with the same key after opening the ledger again.
    /// `false`: it was refused before anything was appended.
    pub outcome_unknown: bool,
    /// What happened first.
    pub reason: Arc<str>,
}

impl PartialEq for Halted {
    fn eq(&self, other: &Halted) -> bool {
        self.outcome_unknown == other.outcome_unknown
    }
}

impl fmt::Display for Halted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = if self.outcome_unknown {
            "whether this command is in the log is unknown: open the ledger again and repeat it with the same key"
        } else {
            "nothing was recorded for this command: open the ledger again"
        };
        write!(f, "the ledger halted ({}); {outcome}", self.reason)
    }
}

impl std::error::Error for Halted {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Rejected(rejection) => rejection.fmt(f),
            Error::Halted(halted) => halted.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Error {
        Error::Rejected(rejection)
    }
}

impl From<Halted> for Error {
    fn from(halted: Halted) -> Error {
        Error::Halted(halted)
    }
}

/// Why a ledger was not opened. Nothing was changed unless said otherwise.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another ledger of this one, has the directory.
    InUse {
        /// Which directory.
        directory: String,
    },
    /// The operating system refused something.
    Io {
        /// What was being done, to which file.
        context: String,
        /// Its error.
        source: io::Error,
    },
    /// A file is damaged: opening it would silently lose or change what was acknowledged. What can be done about it depends on who
    /// met it, and is not said here.
    Damaged {
        /// Which file.
        file: String,
        /// Where in it, in bytes.
        offset: u64,
        /// The seq that was expected there, where it is known.
        seq: Option<u64>,
        /// What is wrong.
        reason: String,
    },
    /// The log does not lead from the head that was given: since then, more was done to history than to append to it.
    OtherHistory {
        /// Where the head stands.
        seq: u64,
        /// What is there.
        reason: String,
    },
    /// A file is of a newer format than this program reads.
    Unsupported {
        /// Which file.
        file: String,
        /// What it needs.
        reason: String,
    },
    /// The clock is too far from the log's last entry.
    Clock {
        /// What is wrong.
        reason: String,
    },
    /// An option has a value that cannot be.
    InvalidOption {
        /// Which, and why.
        reason: String,
    },
}

impl OpenError {
    /// Whether a file is damaged, or has bytes that the device cannot read: another copy may be sound.
    pub fn is_damage(&self) -> bool {
        match self {
            OpenError::Damaged { .. } => true,
            OpenError::Io { source, .. } => crate::sys::is_unreadable(source),
            _ => false,
        }
    }

    /// What is wrong and where, without what is to be done.
    pub(crate) fn place_and_reason(&self) -> String {
        match self {
            OpenError::Damaged { file, offset, seq: Some(seq), reason } => {
                format!("{file} at byte {offset} (seq {seq}): {reason}")
            }
            OpenError::Damaged { file, offset, seq: None, reason } => format!("{file} at byte {offset}: {reason}"),
            other => other.to_string(),
        }
    }

    /// The same of two damaged sides of a mirror: what is wrong with the other is told as well.
    pub(crate) fn with_the_mirrors(mut self, other: &OpenError) -> OpenError {
        let other = other.place_and_reason();
        if let OpenError::Damaged { reason: words, .. } | OpenError::Io { context: words, .. } = &mut self {
            *words = format!("{words}; the mirror is damaged as well, {other}");
        }
        self
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::InUse { directory } => {
                write!(f, "{directory} is in use by another ledger; stop it or name another directory")
            }
            OpenError::Io { context, source } => write!(f, "{context}: {source}"),
            OpenError::Damaged { file, offset, seq, reason } => {
                write!(f, "{file} is damaged at byte {offset}")?;
                if let Some(seq) = seq {
                    write!(f, " (seq {seq})")?;
                }
                write!(f, ": {reason}")
            }
            OpenError::OtherHistory { seq, reason } => {
                write!(f, "the history up to seq {seq} is not the one that the head was given for: {reason}; ")?;
                f.write_str("compare it with a backup, entry by entry")
            }
            OpenError::Unsupported { file, reason } => {
                write!(f, "{file} cannot be read by this version: {reason}; open it with a newer one")
            }
            OpenError::Clock { reason } => {
                write!(f, "{reason}; set the machine's clock, or accept it explicitly (the option accept_clock)")
            }
            OpenError::InvalidOption { reason } => f.write_str(reason),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    /// What each refusal is told by, and the page of docs/runbook.md that says so: who is refused searches for it. What an option
    /// cannot be is said in words of its own.
    macro_rules! pages {
        ($($variant:pat => [$(($refusal:expr, $words:literal, $page:literal)),+],)+) => {
            /// Does not compile where one has no page.
            const fn has_a_page(refusal: &OpenError) {
                match refusal {
                    $($variant => {})+
                }
            }

            fn pages() -> Vec<(OpenError, &'static str, &'static str)> {
                vec![$($(($refusal, $words, $page)),+),+]
            }
        };
    }

    fn refused_by_the_system(errno: Errno) -> OpenError {
        OpenError::Io { context: "opening a file".to_owned(), source: errno.into() }
    }

    pages! {
        OpenError::InUse { .. } => [
            (OpenError::InUse { directory: "data".to_owned() }, "is in use", "The directory is in use")
        ],
        OpenError::Io { .. } => [
            (refused_by_the_system(Errno::NOSPC), "No space left on device", "The disk is full"),
            (refused_by_the_system(Errno::MFILE), "Too many open files", "No file descriptor is left"),
            (refused_by_the_system(Errno::IO), "Input/output error", "The log is damaged"),
            (refused_by_the_system(Errno::ACCESS), "Permission denied", "The server does not start"),
            (refused_by_the_system(Errno::ROFS), "Read-only file system", "The server does not start"),
            (refused_by_the_system(Errno::NOTDIR), "Not a directory", "The server does not start")
        ],
        OpenError::Damaged { .. } => [
            (
                OpenError::Damaged { file: "a file".to_owned(), offset: 1, seq: None, reason: "it rots".to_owned() },
                "is damaged at byte",
                "The log is damaged"
            )
        ],
        OpenError::OtherHistory { .. } => [
            (
                OpenError::OtherHistory { seq: 1, reason: "it is another".to_owned() },
                "is not the one that the head was given for",
                "The history is another one"
            )
        ],
        OpenError::Unsupported { .. } => [
            (
                OpenError::Unsupported { file: "a file".to_owned(), reason: "it is newer".to_owned() },
                "cannot be read by this version",
                "The files are of a newer version"
            )
        ],
        OpenError::Clock { .. } => [
            (OpenError::Clock { reason: "it is wrong".to_owned() }, "accept", "The clock is refused")
        ],
        OpenError::InvalidOption { .. } => [
            (OpenError::InvalidOption { reason: String::new() }, "", "The server does not start")
        ],
    }

    #[test]
    fn every_refusal_of_an_opening_has_a_page_of_the_runbook_that_says_it() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runbook.md");
        let runbook = std::fs::read_to_string(file).expect("the runbook");
        for (refusal, words, page) in pages() {
            has_a_page(&refusal);
            let text = runbook.split("\n## ").find_map(|text| text.strip_prefix(page)?.strip_prefix('\n'));
            let text =
                text.unwrap_or_else(|| panic!("no page {page}")).split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(refusal.to_string().contains(words), "{refusal}");
            assert!(text.contains(words), "{page} does not say {words:?}");
        }
    }
}
