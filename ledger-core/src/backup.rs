//! Backups of a ledger in use, and restoring one as it was at any entry or time.
//!
//! A backup is a data directory: the newest snapshots, the log since the older of them, and a mark. It is made from the
//! files, so it costs the running ledger nothing but reading. A restored ledger goes on under an epoch far above any
//! that its past may have used since the backup, so no reference to a bank is ever given twice; and every open withdrawal
//! counts as attempted, because it may have been paid since.
//!
//! What must hold: a directory that is being filled says so from before its first file until that was done, and is no ledger
//! meanwhile. Nor is a backup: it would go on under the epochs of the original, and both would give the same references to the
//! bank. So it says what it is, from before its first file, and only a restore or a salvage makes a ledger of it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::error::OpenError;
use crate::journal::codec;
use crate::ledger::Ledger;
use crate::options::Options;
use crate::recovery::{Opened, mark_is_missing, snapshots};
use crate::state::{BatchPosition, Entry};
use crate::sync::Arc;
use crate::sys::{Clock, DirectoryLock, Storage};
use crate::types::{Seq, Timestamp};
use crate::wal::{self, Base, EXECUTOR_STOPPED, Start, stop};

/// The file that stands in a directory while a restore or a salvage fills it.
const UNFINISHED: &str = "restore.unfinished";

/// The file that stands in a backup.
const BACKUP: &str = "backup.made";

/// Bytes that are copied at once.
const CHUNK_BYTES: usize = 1 << 20;

/// What was copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Backup {
    /// The last entry that is in it.
    pub last_seq: Seq,
    /// Snapshots that are in it.
    pub snapshots: u64,
    /// Bytes that were copied.
    pub bytes: u64,
}

/// Up to where a ledger is restored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RestoreTo {
    /// As far as the backup goes.
    End,
    /// Up to this entry. Not one within an atomic batch, but for its last: a batch is restored as a whole or not at all.
    Seq(Seq),
    /// Up to the last entry of this time or an earlier one, of which there must be one.
    Time(Timestamp),
}

/// Copies the ledger on `from`, which may be in use, into the empty directory `to`. Entries that are appended meanwhile may
/// be left out; those that were durable before are in it. If a checkpoint removes what is being copied, it goes on from the
/// snapshots that are there then, a few times. What is made is no ledger that can be opened: [`restore`] makes one of it.
///
/// # Errors
/// What is wrong with the source, and where; or the storage's, of the kind `ResourceBusy` where checkpoints came faster than it
/// copied.
pub fn backup(from: &dyn Storage, to: &dyn Storage) -> Result<Backup, OpenError> {
    backup_beside(from, to, &Beside::nobody())
}

/// Who is let in between two pieces that are copied, in a simulation; and the fault that is planted there.
#[cfg_attr(not(feature = "sim"), allow(unreachable_pub, reason = "only a simulation has it"))]
#[derive(Clone, Copy)]
pub struct Beside<'a> {
    /// Called between two pieces.
    pub act: &'a dyn Fn(),
    /// The fault.
    #[cfg(any(test, feature = "sim"))]
    pub planted: Option<crate::sim::PlantedBug>,
}

impl Beside<'_> {
    /// Nobody, as outside of simulations.
    pub(crate) fn nobody() -> Beside<'static> {
        Beside {
            act: &|| (),
            #[cfg(any(test, feature = "sim"))]
            planted: None,
        }
    }

    #[cfg_attr(not(any(test, feature = "sim")), allow(clippy::unused_self, reason = "nothing is planted then"))]
    fn takes_the_log_first(self) -> bool {
        #[cfg(any(test, feature = "sim"))]
        return self.planted == Some(crate::sim::PlantedBug::BackupLogFirst);
        #[cfg(not(any(test, feature = "sim")))]
        false
    }
}

/// [`backup()`], while others act.
///
/// # Errors
/// See [`backup()`].
#[cfg_attr(not(feature = "sim"), allow(unreachable_pub, reason = "only a simulation has it"))]
pub fn backup_beside(from: &dyn Storage, to: &dyn Storage, beside: &Beside<'_>) -> Result<Backup, OpenError> {
    check_empty(to)?;
    look(from)?;
    let _held = take_empty(to)?;
    write_file(to, BACKUP, &mut |_| Ok(0))?;
    sync(to)?;
    // The files of snapshots that are whole: they never change, so each attempt has less to copy.
    let mut whole = BTreeSet::new();
    while_snapshots_change(from, &mut |_| {
        clear(to, &whole)?;
        copy(from, to, None, 0, &mut whole, *beside)
    })
}

/// How often what reads a directory in use begins again.
const ATTEMPTS_MAX: usize = 16;

/// Reads what the snapshots, newest first, lead to; again where a running ledger has made a checkpoint meanwhile, which removes
/// what is superfluous then, but not for ever.
///
/// # Errors
/// What `read` says while nothing changed.
pub(crate) fn while_snapshots_change<T>(
    from: &dyn Storage,
    read: &mut dyn FnMut(&[Seq]) -> Result<T, OpenError>,
) -> Result<T, OpenError> {
    let mut before = snapshots(from)?;
    let mut last = None;
    for _ in 0..ATTEMPTS_MAX {
        let done = read(&before);
        let after = snapshots(from)?;
        match done {
            Err(err) if after != before => last = Some(err),
            done => return done,
        }
        before = after;
    }
    let last = last.map_or_else(String::new, |err| format!(" (at last: {err})"));
    let reason = format!(
        "a checkpoint removed what was being read, {ATTEMPTS_MAX} times in a row; make fewer checkpoints meanwhile{last}"
    );
    let source = std::io::Error::new(std::io::ErrorKind::ResourceBusy, reason);
    Err(OpenError::Io { context: format!("reading {}", from.describe()), source })
}

/// Makes a ledger in the empty directory `to` that is what the one on `from`, a backup or a directory in use, was at `until`.
/// Every open withdrawal counts as attempted, and none is performed until [`release_executor`].
///
/// # Errors
/// What is wrong with the source, and where; what is not kept any more; or the storage's.
pub fn restore(from: &dyn Storage, to: Arc<dyn Storage>, until: RestoreTo) -> Result<Backup, OpenError> {
    restore_with(from, to, until, &Ledger::options(), wal::epochs_skipped())
}

/// [`restore()`] with the clock of `options`, and so many epochs left out, for simulations.
///
/// # Errors
/// See [`restore()`].
#[cfg_attr(not(feature = "sim"), allow(unreachable_pub, reason = "only a simulation has it"))]
pub fn restore_with(
    from: &dyn Storage,
    to: Arc<dyn Storage>,
    until: RestoreTo,
    options: &Options,
    epochs_skipped: u64,
) -> Result<Backup, OpenError> {
    check_empty(&*to)?;
    look(from)?;
    let until = match until {
        RestoreTo::End => None,
        RestoreTo::Seq(seq) => Some(seq),
        RestoreTo::Time(time) => Some(last_at(from, time)?),
    };
    if let Some(until) = until {
        let chosen = choose(from, until.into())?;
        check_is_kept(from, &chosen, until)?;
        let mut cut = None;
        let scanned = wal::scan(from, chosen.start, None, &mut |record| {
            if record.seq == until {
                cut = batch_cut_after(record.seq, record.bytes);
            }
        })?;
        check_reaches(scanned.last_seq, until)?;
        if let Some((before, last)) = cut {
            let reason = format!(
                "seq {until} is inside an atomic batch, which is restored as a whole or not at all: name {before} or {last}"
            );
            return Err(OpenError::InvalidOption { reason });
        }
    }
    let held = take_empty(&*to)?;
    begin(&*to)?;
    let copied = copy(from, &*to, until, epochs_skipped, &mut BTreeSet::new(), Beside::nobody())?;
    until.map_or(Ok(()), |until| check_reaches(copied.last_seq, until))?;
    // Whoever comes before the next line finds it unfinished.
    drop(held);
    distrust(to, options)?;
    Ok(copied)
}

/// The entry before the atomic batch that would be cut by an end with this entry, and the batch's last; `None`: none would be.
fn batch_cut_after(seq: Seq, entry: &[u8]) -> Option<(Seq, Seq)> {
    let Ok(Entry::Transaction(entry)) = codec::decode(entry) else { return None };
    let BatchPosition { index, count } = entry.batch.filter(|batch| batch.index + 1 < batch.count)?;
    let before = seq.get() - u64::from(index) - 1;
    Some((Seq::new(before), Seq::new(before + u64::from(count))))
}

/// Without a snapshot that is early enough, the log must reach back to the first entry.
fn check_is_kept(from: &dyn Storage, chosen: &Chosen, until: Seq) -> Result<(), OpenError> {
    match chosen.earliest {
        Some(earliest) if chosen.snapshots == 0 && !wal::reaches_back_to_the_first(from)? => {
            let reason = format!(
                "seq {until} is before what is kept here, from seq {earliest} on (checkpoints replaced the log before): \
                 name that or a later one, or restore an older backup"
            );
            Err(OpenError::InvalidOption { reason })
        }
        _ => Ok(()),
    }
}

fn check_reaches(last_seq: Seq, until: Seq) -> Result<(), OpenError> {
    if until <= last_seq {
        return Ok(());
    }
    let reason = format!("the ledger ends with seq {last_seq}, before seq {until}");
    Err(OpenError::InvalidOption { reason })
}

/// Says of an empty directory that it is being filled. Durable when it returns.
pub(crate) fn begin(to: &dyn Storage) -> Result<(), OpenError> {
    write_file(to, UNFINISHED, &mut |_| Ok(0))?;
    sync(to)
}

/// Refuses a directory whose filling was interrupted: it may lack entries, and its withdrawals are not in doubt.
pub(crate) fn check_finished(storage: &dyn Storage) -> Result<(), OpenError> {
    match has(storage, UNFINISHED) {
        Ok(true) => {}
        // The directory is not made yet.
        Err(OpenError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => return other.map(drop),
    }
    let directory = storage.describe();
    let reason =
        format!("{directory} has {UNFINISHED}, so it is no whole ledger; empty it, and restore or salvage again");
    Err(OpenError::InvalidOption { reason })
}

/// A clock that stands still behind everything: a ledger with it stays at the time of its last entry. What the machine's says
/// here nobody has accepted, and an entry of that time would release every hold until then for good.
struct Standing;

impl Clock for Standing {
    fn wall(&self) -> Timestamp {
        Timestamp::MIN
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// Refuses what no ledger may go on from: a backup, or a directory whose filling was interrupted.
pub(crate) fn check_may_go_on(storage: &dyn Storage) -> Result<(), OpenError> {
    check_finished(storage)?;
    match has(storage, BACKUP) {
        Ok(true) => {}
        // The directory is not made yet.
        Err(OpenError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => return other.map(drop),
    }
    let directory = storage.describe();
    let reason = format!(
        "{directory} is a backup (it has {BACKUP}); restore it into a new directory and open that, so that no reference to a \
         bank is given twice"
    );
    Err(OpenError::InvalidOption { reason })
}

/// Opens a copy that may lack what was done since, and closes it: every open withdrawal counts as attempted, and none is
/// performed until [`release_executor`]. Only then is the directory a ledger. Its time is still that of its last entry.
pub(crate) fn distrust(to: Arc<dyn Storage>, options: &Options) -> Result<Ledger, OpenError> {
    if !is_executor_stopped(&*to)? {
        stop::put(&*to)?;
    }
    let options = options.clone().accept_clock(true).clock(Standing).checkpoint_bytes(None);
    let options = Options { finishes: true, ..options };
    let ledger = Ledger::recover(&options, Arc::clone(&to))?;
    if !options.trusts_restored() {
        ledger.doubt_all_withdrawals().map_err(|err| unfinished(&err.to_string()))?;
    }
    ledger.close().map_err(|err| unfinished(&err.to_string()))?;
    to.remove(UNFINISHED).map_err(io_error("removing", UNFINISHED))?;
    sync(&*to)?;
    Ok(ledger)
}

/// Whether the ledger on `storage` was restored, and nobody has let its withdrawals go since.
///
/// # Errors
/// The storage's.
pub fn is_executor_stopped(storage: &dyn Storage) -> Result<bool, OpenError> {
    has(storage, EXECUTOR_STOPPED)
}

fn has(storage: &dyn Storage, name: &str) -> Result<bool, OpenError> {
    let names = storage.list().map_err(io_error("listing", &storage.describe()))?;
    Ok(names.iter().any(|there| there == name))
}

/// Lets the withdrawals of a restored ledger be performed, once a person has compared them with the bank's book. The side of a
/// mirrored ledger that was not named hears of it at the next opening. Durable when it returns.
///
/// # Errors
/// [`OpenError::InvalidOption`] where a restore or a salvage was cut off: there is no whole ledger to release. The storage's.
pub fn release_executor(storage: &dyn Storage) -> Result<(), OpenError> {
    check_finished(storage)?;
    stop::release(storage)
}

/// `whole` are files of snapshots that `to` has already, and gets those that are copied.
fn copy(
    from: &dyn Storage,
    to: &dyn Storage,
    until: Option<Seq>,
    epochs_skipped: u64,
    whole: &mut BTreeSet<String>,
    beside: Beside<'_>,
) -> Result<Backup, OpenError> {
    check_finished(from)?;
    let mut chosen = choose(from, until)?;
    (beside.act)();
    let mut log = None;
    if beside.takes_the_log_first() {
        log = Some(wal::copy(from, to, chosen.start, until, epochs_skipped, beside.act)?);
        chosen = choose(from, until)?;
    }
    // Those of snapshots that were removed since.
    for name in whole.iter().filter(|name| !chosen.files.contains(*name)) {
        to.remove(name).map_err(io_error("removing", name))?;
    }
    whole.retain(|name| chosen.files.contains(name));
    let mut bytes = 0;
    for name in &chosen.files {
        if whole.contains(name) {
            continue;
        }
        bytes += copy_file(from, to, name)?;
        whole.insert(name.clone());
        (beside.act)();
    }
    let copied = match log {
        Some(copied) => copied,
        None => wal::copy(from, to, chosen.start, until, epochs_skipped, beside.act)?,
    };
    Ok(Backup { last_seq: copied.last_seq, snapshots: chosen.snapshots, bytes: bytes + copied.bytes })
}

/// What of a ledger is copied.
struct Chosen {
    snapshots: u64,
    /// Of the snapshots.
    files: Vec<String>,
    /// The earliest entry that a restore can end with, if there is a snapshot.
    earliest: Option<Seq>,
    /// Where the log begins.
    start: Start,
}

/// The snapshots of a log that ends with `until`, and the log that they need. Those that are damaged are passed over, as by an
/// opening: the log reaches back to what the older one needs. So are older ones whose log is gone.
///
/// # Errors
/// The newest one's damage, where there is no other and the log does not reach back to the first entry; the storage's.
fn choose(from: &dyn Storage, until: Option<Seq>) -> Result<Chosen, OpenError> {
    let mut oldest: Option<Base> = None;
    let (mut count, mut files, mut earliest, mut damaged) = (0, Vec::new(), None, None);
    let uuid = wal::identity(from)?;
    for seq in snapshots(from)? {
        let Some(uuid) = uuid else { return Err(mark_is_missing(seq)) };
        let opened = match Opened::new(from, uuid, seq) {
            Ok(opened) => opened,
            Err(err) if err.is_damage() => {
                damaged.get_or_insert(err);
                continue;
            }
            Err(other) => return Err(other),
        };
        let base = opened.kept().base;
        // Its log is gone, and so is that of those before it: the newer one is enough.
        if earliest.is_some() && !wal::leads_on(from, Some(&base))? {
            break;
        }
        earliest = Some(base.anchor);
        // One that is later, or rests on an entry that is, would be a snapshot of a log that ends before it.
        if until.is_some_and(|until| base.anchor > until) {
            continue;
        }
        files.extend(opened.file_names());
        (oldest, count) = (Some(base), count + 1);
    }
    if let Some(err) = damaged
        && earliest.is_none()
        && !wal::reaches_back_to_the_first(from)?
    {
        return Err(err);
    }
    let start = match oldest {
        Some(base) => Start::After(base),
        None => Start::First,
    };
    Ok(Chosen { snapshots: count, files, earliest, start })
}

/// The last entry of `time` or an earlier one.
fn last_at(from: &dyn Storage, time: Timestamp) -> Result<Seq, OpenError> {
    let (mut last, mut first) = (Seq::ZERO, None);
    let scanned = wal::scan(from, Start::Oldest, None, &mut |record| {
        first.get_or_insert(record.time);
        if record.time <= time {
            last = record.seq;
        }
    })?;
    if last > Seq::ZERO || scanned.last_seq == Seq::ZERO {
        return Ok(last);
    }
    let first = first.map_or_else(String::new, |first| first.to_string());
    // Before the first entry that is left, only an older backup tells; before the first of all there was nothing.
    let reason = match scanned.first_seq.get() {
        1 => format!("{time} is before the first entry, which was made at {first}: name that time or a later one"),
        seq => format!(
            "the log begins with seq {seq}, which is later than {time} (checkpoints replaced the log before): name a later time, or \
             restore an older backup"
        ),
    };
    Err(OpenError::InvalidOption { reason })
}

/// That there is something to copy on `from`, before anything is made of it.
fn look(from: &dyn Storage) -> Result<(), OpenError> {
    check_finished(from)?;
    while_snapshots_change(from, &mut |_| choose(from, None).map(drop))?;
    match wal::identity(from)? {
        Some(_) => Ok(()),
        None => Err(no_ledger(from)),
    }
}

/// Why there is none where there is no mark: it alone is gone, or there is nothing.
pub(crate) fn no_ledger(storage: &dyn Storage) -> OpenError {
    let look = || {
        if let Some(seq) = snapshots(storage)?.first() {
            return Err(mark_is_missing(*seq));
        }
        wal::scan(storage, Start::First, None, &mut |_| ())
    };
    look().err().unwrap_or_else(|| {
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, "there is no ledger in it");
        OpenError::Io { context: format!("reading {}", storage.describe()), source }
    })
}

/// Copies a file that is never changed.
fn copy_file(from: &dyn Storage, to: &dyn Storage, name: &str) -> Result<u64, OpenError> {
    let file = from.open(name).map_err(io_error("opening", name))?;
    let mut at = 0;
    write_file(to, name, &mut |buf| {
        let read = file.read_at(buf, at)?;
        at += read as u64;
        Ok(read)
    })
}

/// Writes a file from what `fill` gives until it gives nothing.
fn write_file(
    to: &dyn Storage,
    name: &str,
    fill: &mut dyn FnMut(&mut [u8]) -> std::io::Result<usize>,
) -> Result<u64, OpenError> {
    let file = to.create(name).map_err(io_error("creating", name))?;
    let mut buf = vec![0; CHUNK_BYTES];
    let mut at = 0;
    loop {
        let read = fill(&mut buf).map_err(io_error("reading", name))?;
        if read == 0 {
            file.sync_data().map_err(io_error("syncing", name))?;
            return Ok(at);
        }
        file.write_at(&buf[..read], at).map_err(io_error("writing", name))?;
        at += read as u64;
    }
}

/// Takes an empty directory, which is made if it is missing: nobody else can begin a ledger in it while it is filled.
fn take_empty(to: &dyn Storage) -> Result<DirectoryLock, OpenError> {
    let held = to.lock().map_err(io_error("locking", &to.describe()))?;
    check_empty(to)?;
    Ok(held)
}

/// Refuses a directory in which there is something. It need not be there.
fn check_empty(to: &dyn Storage) -> Result<(), OpenError> {
    let names = match to.list() {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        names => names.map_err(io_error("listing", &to.describe()))?,
    };
    match names.first() {
        None => Ok(()),
        Some(name) => {
            let reason = format!("{} is not empty (there is {name}); name a new directory", to.describe());
            Err(OpenError::InvalidOption { reason })
        }
    }
}

/// Removes what an attempt left but for the files in `whole`, and the one that says what this is.
fn clear(to: &dyn Storage, whole: &BTreeSet<String>) -> Result<(), OpenError> {
    for name in to.list().map_err(io_error("listing", &to.describe()))? {
        if whole.contains(&name) || name == BACKUP {
            continue;
        }
        to.remove(&name).map_err(io_error("removing", &name))?;
    }
    Ok(())
}

fn sync(storage: &dyn Storage) -> Result<(), OpenError> {
    storage.sync_directory().map_err(io_error("syncing", &storage.describe()))
}

fn unfinished(reason: &str) -> OpenError {
    OpenError::Io {
        context: "finishing the restored ledger".to_owned(),
        source: std::io::Error::other(reason.to_owned()),
    }
}

fn io_error(what: &str, name: &str) -> impl FnOnce(std::io::Error) -> OpenError {
    let context = format!("{what} {name}");
    move |source| OpenError::Io { context, source }
}
