//! How many files and connections this process may have open.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Allows as many as the system lets it: many a system begins with 1,024, which is meant for programs that cannot count
/// further. Where that fails, it stays as it is.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(fault) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%fault, "the number of open files could not be raised from {current:?} to {maximum:?}");
    }
}

/// How many connections may be open so that at least half of the files are left for the ledger: without a file for the next
/// part of its log it halts.
pub(crate) fn connections_max(wanted: usize) -> usize {
    let files =
        getrlimit(Resource::Nofile).current.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    if files / 2 < wanted {
        tracing::warn!(
            "at most {} connections, since this process may open {files} files; raise `ulimit -n`",
            files / 2
        );
    }
    wanted.min((files / 2).max(1))
}

/// Whether there are as many open as this process, or the machine, may have.
pub(crate) fn is_out_of_descriptors(fault: &io::Error) -> bool {
    matches!(fault.raw_os_error().map(Errno::from_raw_os_error), Some(Errno::MFILE | Errno::NFILE))
}
