//! `ledger-server backup`, `restore` and `release`: copies of a data directory, made while it is in use or from a backup,
//! and what becomes of a restored one's withdrawals. Each prints one JSON object.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use ledger_core::{Backup, DirectoryStorage, OpenError, RestoreTo, Seq};

use crate::wire::json::Object;
use crate::wire::time;

/// Copies the ledger in `from`, which may be in use, into the new directory `to`, and reads the copy to check it.
///
/// # Errors
/// What is wrong, and where; or `out` cannot be written.
pub fn backup(from: &Path, to: &Path, out: &mut dyn Write) -> Result<(), OpenError> {
    let made = ledger_core::backup(&DirectoryStorage::new(from), &DirectoryStorage::new(to))?;
    ledger_core::verify(to)?;
    print(&made, out)
}

/// Makes a ledger in the new directory `to` that is what the one in `from` was, and reads it to check it.
///
/// # Errors
/// What is wrong, and where; or `out` cannot be written.
pub fn restore(from: &Path, to: &Path, until: RestoreTo, out: &mut dyn Write) -> Result<(), OpenError> {
    let made = ledger_core::restore(&DirectoryStorage::new(from), Arc::new(DirectoryStorage::new(to)), until)?;
    ledger_core::verify(to)?;
    print(&made, out)
}

/// Lets the withdrawals of the restored ledger in `directory` be performed, from its server's next start on.
///
/// # Errors
/// The file system's.
pub fn release(directory: &Path) -> Result<(), OpenError> {
    ledger_core::release_executor(&DirectoryStorage::new(directory))
}

/// Up to where: a seq, a time such as `2026-01-15T12:00:00Z`, or all.
///
/// # Errors
/// A message for the operator.
pub fn until(seq: Option<u64>, at: Option<&str>) -> Result<RestoreTo, String> {
    match (seq, at) {
        (None, None) => Ok(RestoreTo::End),
        (Some(seq), _) => Ok(RestoreTo::Seq(Seq::new(seq))),
        (None, Some(at)) => match time::parse_down(at) {
            Some(at) => Ok(RestoreTo::Time(at)),
            None => Err(format!("--to-time {at:?} is no time; write one such as 2026-01-15T12:00:00Z")),
        },
    }
}

fn print(made: &Backup, out: &mut dyn Write) -> Result<(), OpenError> {
    let mut line = Vec::new();
    let mut object = Object::begin(&mut line);
    object.integer("seq", made.last_seq.get()).integer("snapshots", made.snapshots).integer("bytes", made.bytes);
    object.end();
    line.push(b'\n');
    let written: io::Result<()> = out.write_all(&line).and_then(|()| out.flush());
    written.map_err(|source| OpenError::Io { context: "writing to standard output".to_owned(), source })
}
