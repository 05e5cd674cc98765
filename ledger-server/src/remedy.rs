//! What to do about a directory that was refused: what the ledger says is wrong, with the words of the command that met it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ledger_core::OpenError;

use crate::config::Config;
use crate::files::is_out_of_descriptors;

/// What an operator is told whose server does not start.
pub fn of_start(fault: &OpenError, config: &Config) -> String {
    let data = config.data_dir.display().to_string();
    let mirror = config.mirror_dir.as_ref().map(|mirror| mirror.display().to_string());
    let place = match &mirror {
        None => format!("the ledger in {data}"),
        Some(mirror) => format!("the ledger in {data} (mirrored in {mirror})"),
    };
    match fault {
        OpenError::Damaged { file, .. } => {
            let verify: Vec<_> =
                std::iter::once(&data).chain(&mirror).map(|side| format!("`ledger-server verify {side}`")).collect();
            let verify = verify.join(", ");
            // Of a side as a whole it is said what to do with it.
            if mirror.is_some() && (*file == data || mirror.as_ref() == Some(file)) {
                return format!(
                    "{place} is refused: {fault}. To see what each side has: {verify}; \"The log is damaged\" and \"The history is \
                     another one\" in docs/runbook.md"
                );
            }
            let is_of_a_snapshot = file.ends_with(".snapshot") || file.ends_with(".history");
            let page = if is_of_a_snapshot { "A snapshot is damaged" } else { "The log is damaged" };
            let salvaged = if mirror.is_some() { "DIR" } else { &data };
            format!(
                "{place} is refused: {fault}. To see more: {verify}. Restore a backup (`ledger-server restore BACKUP --into NEW`), or \
                 without one take what can be proved (`ledger-server salvage {salvaged} --into NEW --i-accept-losing-entries`): \
                 \"{page}\" in docs/runbook.md"
            )
        }
        OpenError::Unsupported { .. } => format!("{place} is refused: {fault}"),
        OpenError::Io { .. } => {
            let directories: Vec<&Path> =
                std::iter::once(&config.data_dir).chain(&config.mirror_dir).map(PathBuf::as_path).collect();
            let remedy = of_the_system(fault, &directories, "read and write");
            let remedy = remedy.unwrap_or_else(|| "`dmesg` may say more".to_owned());
            format!("{place} cannot be opened: {fault}; {remedy}")
        }
        _ => fault.to_string(),
    }
}

/// A command that works on a data directory, and on another one besides, and came to nothing.
#[derive(Clone, Copy, Debug)]
pub enum Job<'a> {
    /// A check.
    Verify(&'a Path),
    /// A copy, from and to.
    Backup(&'a Path, &'a Path),
    /// A ledger made of a copy, from and to.
    Restore(&'a Path, &'a Path),
    /// A release.
    Release(&'a Path),
    /// What can be proved, from and to.
    Salvage(&'a Path, &'a Path),
    /// The entries.
    Inspect(&'a Path),
}

/// What an operator is told whose command came to nothing.
pub fn of_job(fault: &OpenError, job: Job<'_>) -> String {
    let (from, into) = match job {
        Job::Backup(from, into) | Job::Restore(from, into) | Job::Salvage(from, into) => (from, Some(into)),
        Job::Verify(from) | Job::Release(from) | Job::Inspect(from) => (from, None),
    };
    let shown = from.display();
    match fault {
        OpenError::Damaged { .. } => match job {
            Job::Backup(..) => format!(
                "{shown} was not backed up: {fault}; keep the backup before: `ledger-server verify {shown}` tells more"
            ),
            Job::Restore(..) => format!("{shown} was not restored: {fault}; take an older backup, or salvage this one"),
            Job::Salvage(..) => {
                format!("nothing was salvaged of {shown}: {fault}; what is left is a backup, or the mirror")
            }
            Job::Verify(_) | Job::Release(_) | Job::Inspect(_) => format!("{shown}: {fault}"),
        },
        OpenError::Io { .. } => {
            let directories: Vec<&Path> = std::iter::once(from).chain(into).collect();
            let access = if matches!(job, Job::Verify(_) | Job::Inspect(_)) { "read" } else { "read and write" };
            let remedy = of_the_system(fault, &directories, access);
            let said = remedy.map_or_else(|| fault.to_string(), |remedy| format!("{fault}; {remedy}"));
            match job {
                Job::Verify(_) => {
                    format!("{shown} could not be checked, which says nothing of a ledger in it: {said}")
                }
                _ => said,
            }
        }
        _ => fault.to_string(),
    }
}

/// What to do where the operating system refused something in one of the directories, to who wanted to `access` it; `None`: it is
/// nothing of theirs.
fn of_the_system(fault: &OpenError, directories: &[&Path], access: &str) -> Option<String> {
    let OpenError::Io { source, .. } = fault else { return None };
    let named: Vec<_> = directories.iter().map(|directory| directory.display().to_string()).collect();
    let (named, listed) = (named.join(" or "), named.join(" "));
    Some(match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => format!(
            "free space outside of {named}, or grow the disk (`df -h {listed}` shows which), and try again: \"The disk is full\" in \
             docs/runbook.md"
        ),
        ErrorKind::PermissionDenied => {
            format!(
                "let the user that this runs as {access} what is in {named} (`ls -la {listed}`), or name another directory"
            )
        }
        ErrorKind::ReadOnlyFilesystem => format!("mount the disk of {named} for writing, or name another directory"),
        ErrorKind::NotFound => format!("is it {named} that is meant, and is its disk mounted?"),
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => format!("name a directory in the place of {named}"),
        _ if is_out_of_descriptors(source) => "raise the limit of open files (`ulimit -n`)".to_owned(),
        _ if fault.is_damage() => {
            format!("the disk of {named} cannot be read there (`dmesg`): \"The log is damaged\" in docs/runbook.md")
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::config::Settings;

    fn config(mirror: Option<&str>) -> Config {
        let settings =
            Settings { data_dir: Some("data".into()), mirror_dir: mirror.map(PathBuf::from), ..Settings::default() };
        Config::resolve(settings).expect("options that can be")
    }

    fn refused_by_the_system(errno: Errno) -> OpenError {
        OpenError::Io { context: "writing 0000000000000002.segment.tmp".to_owned(), source: errno.into() }
    }

    #[test]
    fn a_start_that_the_system_refuses_names_the_directories_and_what_helps() {
        for (errno, said, helps) in [
            (Errno::NOSPC, "No space left on device", "`df -h data mirror`"),
            (Errno::DQUOT, "uota", "free space"),
            (Errno::ACCESS, "Permission denied", "`ls -la data mirror`"),
            (Errno::ROFS, "Read-only file system", "mount the disk of data or mirror for writing"),
            (Errno::MFILE, "Too many open files", "ulimit -n"),
            (Errno::IO, "Input/output error", "\"The log is damaged\""),
        ] {
            let fault = refused_by_the_system(errno);
            let with_a_mirror = of_start(&fault, &config(Some("mirror")));
            for words in ["data (mirrored in mirror)", "writing 0000000000000002.segment.tmp", said, helps] {
                assert!(with_a_mirror.contains(words), "{words}: {with_a_mirror}");
            }
            let alone = of_start(&fault, &config(None));
            assert!(alone.contains("the ledger in data ") && !alone.contains("mirror"), "{alone}");
        }
    }

    #[test]
    fn of_a_side_as_a_whole_nothing_is_advised_against_what_is_said_of_it() {
        let reason = "it ends with seq 6, and data begins with seq 9; empty it, and it is filled from there".to_owned();
        let fault = OpenError::Damaged { file: "mirror".to_owned(), offset: 0, seq: Some(6), reason };
        let told = of_start(&fault, &config(Some("mirror")));
        assert!(told.contains("filled from there") && told.contains("`ledger-server verify mirror`"), "{told}");
        assert!(!told.contains("restore BACKUP") && !told.contains("salvage"), "{told}");
    }

    #[test]
    fn a_page_of_the_runbook_that_is_named_is_there() {
        let damaged =
            |file: &str| OpenError::Damaged { file: file.to_owned(), offset: 1, seq: None, reason: "rot".to_owned() };
        let faults = [
            damaged("0000000000000001.segment"),
            damaged("0000000000000001.snapshot"),
            damaged("0000000000000001-1.history"),
            refused_by_the_system(Errno::NOSPC),
            refused_by_the_system(Errno::IO),
        ];
        let runbook = include_str!("../../docs/runbook.md");
        let pages = faults.map(|fault| {
            let told = of_start(&fault, &config(None));
            let page = told.rsplit('"').nth(1).expect("a page").to_owned();
            assert!(runbook.contains(&format!("\n## {page}\n")), "{told}");
            page
        });
        let [log, snapshot, history, ..] = pages;
        assert_eq!((log.as_str(), snapshot == history, log == snapshot), ("The log is damaged", true, false));
    }
}
