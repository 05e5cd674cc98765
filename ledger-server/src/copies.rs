//! `ledger-server backup`, `restore` and `release`: copies of a data directory, made while it is in use or from a backup,
//! and what becomes of a restored one's withdrawals. Each prints one JSON object.
//!
//! A backup may go to, and come from, a stream. It lies in the directory for temporary files meanwhile: what is sent has been
//! checked, and nothing is made of a stream before its end is there.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ledger_core::{Backup, DirectoryStorage, OpenError, RestoreTo, Seq, Storage};

use crate::archive;
use crate::wire::json::Object;
use crate::wire::time;

/// Copies the ledger in `from`, which may be in use, into the new directory `to`, and reads the copy to check it.
///
/// # Errors
/// What is wrong, and where; or `out` cannot be written.
pub fn backup(from: &Path, to: &Path, out: &mut dyn Write) -> Result<(), OpenError> {
    let made = filling(to, || checked_backup(from, to))?;
    print(&made, out)
}

fn checked_backup(from: &Path, to: &Path) -> Result<Backup, OpenError> {
    check_apart(from, to)?;
    let made = ledger_core::backup(&DirectoryStorage::new(from), &DirectoryStorage::new(to))?;
    ledger_core::verify(to)?;
    Ok(made)
}

/// As [`backup`], to `stream`, as `archive` writes it. If it fails, `stream` has nothing, or no end.
///
/// # Errors
/// What is wrong, and where; or `stream` or `out` cannot be written.
pub fn backup_to_stream(from: &Path, stream: &mut dyn Write, out: &mut dyn Write) -> Result<(), OpenError> {
    let staging = staging()?;
    let mut made = Vec::new();
    print(&checked_backup(from, staging.path())?, &mut made)?;
    archive::pack(staging.path(), &made, stream).map_err(io_error("writing the stream"))?;
    tell(&made, out)
}

/// As [`restore`], from what [`backup_to_stream`] wrote.
///
/// # Errors
/// The stream is cut off or is no backup; what is wrong, and where; or `out` cannot be written.
pub fn restore_from_stream(
    stream: &mut dyn Read,
    to: &Path,
    until: RestoreTo,
    out: &mut dyn Write,
) -> Result<(), OpenError> {
    let staging = staging()?;
    archive::unpack(stream, staging.path()).map_err(io_error("reading the stream"))?;
    restore(staging.path(), to, until, out)
}

fn staging() -> Result<tempfile::TempDir, OpenError> {
    tempfile::Builder::new().prefix("ledger-backup-").tempdir().map_err(io_error("making a temporary directory"))
}

/// Makes a ledger in the new directory `to` that is what the one in `from` was, and reads it to check it.
///
/// # Errors
/// What is wrong, and where; or `out` cannot be written.
pub fn restore(from: &Path, to: &Path, until: RestoreTo, out: &mut dyn Write) -> Result<(), OpenError> {
    check_apart(from, to)?;
    let made = filling(to, || {
        let made = ledger_core::restore(&DirectoryStorage::new(from), Arc::new(DirectoryStorage::new(to)), until)?;
        ledger_core::verify(to)?;
        Ok(made)
    })?;
    print(&made, out)
}

/// Refuses to write into the directory that is read.
///
/// # Errors
/// They are one, or `to` is inside `from`.
pub(crate) fn check_apart(from: &Path, to: &Path) -> Result<(), OpenError> {
    // Of what is not there nothing can be inside, and whoever reads it says so.
    let (Ok(source), Some(target)) = (from.canonicalize(), whole_path(to)) else { return Ok(()) };
    if !target.starts_with(source) {
        return Ok(());
    }
    let reason =
        format!("{} is {}, which is read, or inside it; name a directory elsewhere", to.display(), from.display());
    Err(OpenError::InvalidOption { reason })
}

/// Where a directory lies or would lie that need not be there.
fn whole_path(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    path.ancestors().find_map(|there| Some(there.canonicalize().ok()?.join(path.strip_prefix(there).ok()?)))
}

/// Fills the directory `to`; a failure names it where something was begun there that is to be removed.
///
/// # Errors
/// What `fill` says.
pub(crate) fn filling<T>(to: &Path, fill: impl FnOnce() -> Result<T, OpenError>) -> Result<T, OpenError> {
    let has_files = || std::fs::read_dir(to).is_ok_and(|mut files| files.next().is_some());
    let had_files = has_files();
    fill().inspect_err(|_| {
        if !had_files && has_files() {
            tracing::warn!(
                "{} has what was written so far, which is no ledger: remove it before you try again",
                to.display()
            );
        }
    })
}

/// Lets the withdrawals of the restored ledger in `directory` be performed, from its server's next start on. Prints whether there
/// was anything to release to `out`, and if not, says so to `told`.
///
/// # Errors
/// The file system's; or `out` cannot be written.
pub fn release(directory: &Path, out: &mut dyn Write, told: &mut dyn Write) -> Result<(), OpenError> {
    let storage = DirectoryStorage::new(directory);
    let is_released = ledger_core::is_executor_stopped(&storage)?;
    let held = storage.lock();
    if is_released {
        ledger_core::release_executor(&storage)?;
        if held.is_err_and(|fault| fault.kind() == io::ErrorKind::WouldBlock) {
            let line =
                format!("{} is in use: start its server again, which performs none until then\n", directory.display());
            tell(line.as_bytes(), told)?;
        }
    } else {
        let directory = directory.display();
        let line =
            format!("there was nothing to release: {directory} was not restored or salvaged, or was released before\n");
        tell(line.as_bytes(), told)?;
    }
    let mut line = Vec::new();
    let mut object = Object::begin(&mut line);
    object.bool("released", is_released);
    object.end();
    line.push(b'\n');
    tell(&line, out)
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
    tell(&line, out)
}

fn tell(line: &[u8], out: &mut dyn Write) -> Result<(), OpenError> {
    out.write_all(line).and_then(|()| out.flush()).map_err(io_error("writing what was done"))
}

fn io_error(context: &str) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::Io { context: context.to_owned(), source }
}
