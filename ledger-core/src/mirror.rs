//! Two directories that hold the same ledger: what one side loses or lets rot, its twin has.
//!
//! Everything is written and synced on both sides before it is acknowledged, one side after the other. At opening the
//! sides are compared, and the one that is damaged, behind or empty is made a copy of the other. What must hold: a side is
//! overwritten only by one that has everything that either is known to have had.

mod snapshots;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;

use crate::backup;
use crate::checkpoint::SNAPSHOTS_KEPT;
use crate::error::OpenError;
use crate::journal::snapshot::names::{self, is_history};
use crate::options::Options;
use crate::recovery::{Opened, snapshots};
use crate::sync::{Arc, AtomicU8, Mutex, OnceLock, Ordering};
use crate::sys::{DirectoryLock, Storage, StorageFile, is_out_of_room};
use crate::wal;
use snapshots::Snapshots;

/// What happens when one side fails while the ledger runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnSideFailure {
    /// The ledger halts, as on any failure of its disk.
    Halt,
    /// The ledger goes on with the other side alone, and says so ([`crate::Ledger::degraded`]). From then on there is one
    /// copy; the failed side is brought up to date at the next opening.
    GoOn,
}

/// Two storages with the same contents, for [`crate::Options::open_on`].
pub struct MirroredStorage {
    sides: [Arc<dyn Storage>; 2],
    pair: Arc<Pair>,
    /// Files that one side alone may have, since making or removing them failed on the other. They are to go.
    leftovers: Mutex<BTreeSet<String>>,
    /// Taken when the sides were compared; given to whoever locks first.
    held: Mutex<Option<DirectoryLock>>,
    mended: Vec<String>,
}

impl MirroredStorage {
    /// Takes both sides, compares them as the devices have them, and brings the one that is damaged, behind or empty up to date;
    /// of the snapshots' files, each side gets from the other what it has lost or damaged. What was done, [`Storage::mended`] tells.
    /// Durable when it returns.
    ///
    /// # Errors
    /// [`OpenError::InUse`]; [`OpenError::Damaged`] if both sides are damaged, if they tell different histories, if the
    /// sound one lacks what the damaged one had, or may have had where it cannot be read, or if no snapshot can be made whole that
    /// the log leads on from; [`OpenError::InvalidOption`] if they are two ledgers, or if a restore would be undone: nothing was
    /// changed then.
    pub fn open(
        primary: Arc<dyn Storage>,
        mirror: Arc<dyn Storage>,
        on_side_failure: OnSideFailure,
    ) -> Result<MirroredStorage, OpenError> {
        MirroredStorage::open_with(primary, mirror, on_side_failure, &Options::default())
    }

    /// [`MirroredStorage::open`], with the fault that is planted in `options`.
    ///
    /// # Errors
    /// See [`MirroredStorage::open`].
    pub(crate) fn open_with(
        primary: Arc<dyn Storage>,
        mirror: Arc<dyn Storage>,
        on_side_failure: OnSideFailure,
        options: &Options,
    ) -> Result<MirroredStorage, OpenError> {
        let held = (wal::lock(&*primary)?, wal::lock(&*mirror)?);
        backup::check_may_go_on(&*primary)?;
        backup::check_may_go_on(&*mirror)?;
        let log = wal::compare(&*primary, &*mirror, &options.wal())?;
        let mut snapshots = None;
        if let Some(kept) = log.kept() {
            let found = Snapshots::look([&*primary, &*mirror], &kept, options.threads)?;
            found.check(&kept)?;
            snapshots = Some(found);
        }
        log.begin()?;
        let mut mended = snapshots.map_or(Ok(Vec::new()), Snapshots::mend)?;
        mended.extend(log.finish()?);
        remove_surplus(&*primary, &*mirror)?;
        let directories = [primary.describe(), mirror.describe()];
        let reasons = [OnceLock::new(), OnceLock::new()];
        let pair = Pair { on_side_failure, lost: AtomicU8::new(NONE), directories, reasons };
        let held = Mutex::new(Some(DirectoryLock::new(held)));
        let leftovers = Mutex::new(BTreeSet::new());
        Ok(MirroredStorage { sides: [primary, mirror], pair: Arc::new(pair), leftovers, held, mended })
    }

    fn on_sides<T>(&self, doing: Doing<'_>, act: impl Fn(&dyn Storage) -> io::Result<T>) -> io::Result<[Option<T>; 2]> {
        self.pair.on_sides(doing, |side| act(&*self.sides[side]))
    }

    /// [`MirroredStorage::on_sides`] of what makes or removes the file `name`. Who holds `leftovers` keeps others from making a file
    /// meanwhile that is removed as a leftover.
    fn done_to<T>(
        &self,
        leftovers: &mut BTreeSet<String>,
        (what, name): Doing<'_>,
        act: impl Fn(&dyn Storage) -> io::Result<T>,
    ) -> io::Result<[Option<T>; 2]> {
        let done = self.on_sides((what, name), act);
        match done.is_ok() {
            true => _ = leftovers.remove(name),
            false => _ = leftovers.insert(name.to_owned()),
        }
        done
    }

    /// Removes what could not be removed before, if it can be now. A checkpoint begins with making files, and syncs the directory
    /// before it removes any: then that is durable too.
    fn remove_leftovers(&self, leftovers: &mut BTreeSet<String>) {
        for name in leftovers.clone() {
            let _ = self.remove_from_sides(leftovers, &name);
        }
    }

    /// Whether one of them had the file.
    fn remove_from_sides(&self, leftovers: &mut BTreeSet<String>, name: &str) -> io::Result<bool> {
        let removed = self.done_to(leftovers, ("removing", name), |side| match side.remove(name) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
            removed => removed.map(|()| true),
        })?;
        Ok(removed.contains(&Some(true)))
    }
}

/// Removes the files of snapshots that one side alone has, as one that was lost for a time does: checkpoints see what both have, and
/// would leave them for ever. Nothing is removed unless both sides have what two snapshots need, nor where one side has a newer
/// one: a log may lead on from that alone.
fn remove_surplus(primary: &dyn Storage, mirror: &dyn Storage) -> Result<(), OpenError> {
    let (Some(uuid), one, two) = (wal::identity(primary)?, snapshots(primary)?, snapshots(mirror)?) else {
        return Ok(());
    };
    if one.first() != two.first() {
        return Ok(());
    }
    let (mut needed, mut sound) = (BTreeSet::new(), 0);
    for seq in one.into_iter().filter(|seq| two.contains(seq)) {
        match (Opened::new(primary, uuid, seq), Opened::new(mirror, uuid, seq)) {
            (Ok(of_one), Ok(of_two)) if of_one.file_names() == of_two.file_names() => {
                needed.extend(of_one.file_names());
                sound += 1;
            }
            _ => return Ok(()),
        }
    }
    if sound < SNAPSHOTS_KEPT {
        return Ok(());
    }
    for side in [primary, mirror] {
        let listed = side.list().map_err(|source| io_error("listing", &side.describe(), source))?;
        let is_surplus = |name: &&String| (is_snapshot(name) || is_history(name)) && !needed.contains(*name);
        // Snapshots first, as when a checkpoint retires them.
        let (snapshots, histories): (Vec<_>, Vec<_>) =
            listed.iter().filter(is_surplus).partition(|name| is_snapshot(name));
        for names in [snapshots, histories].iter().filter(|names| !names.is_empty()) {
            for name in names {
                side.remove(name).map_err(|source| io_error("removing", name, source))?;
            }
            side.sync_directory().map_err(|source| io_error("syncing", &side.describe(), source))?;
        }
    }
    Ok(())
}

/// While there is a file that should be gone, none goes that it may need.
fn check_goes_next(leftovers: &BTreeSet<String>, name: &str) -> io::Result<()> {
    match leftovers.iter().find(|left| !wal::is_temporary(left)) {
        Some(left) if !wal::is_temporary(name) && !leftovers.contains(name) => {
            Err(io::Error::other(format!("{left} is left over on one side of the mirror, and goes first")))
        }
        _ => Ok(()),
    }
}

fn is_snapshot(name: &str) -> bool {
    names::snapshot_seq(name).is_some()
}

fn io_error(what: &str, name: &str, source: io::Error) -> OpenError {
    OpenError::Io { context: format!("{what} {name}"), source }
}

const NONE: u8 = 2;

/// What is done on both sides, and to which of their files; to none: to the directory.
type Doing<'a> = (&'static str, &'a str);

/// What the files of a pair share.
struct Pair {
    on_side_failure: OnSideFailure,
    /// The side that is no longer written to.
    lost: AtomicU8,
    /// How each side is called in messages.
    directories: [String; 2],
    /// Why, for each side.
    reasons: [OnceLock<String>; 2],
}

impl Pair {
    /// Does the same on each side that is there. A full disk is no failure of a side,
    /// and neither is a process without a descriptor: they are the caller's to handle.
    fn on_sides<T>(&self, doing: Doing<'_>, act: impl Fn(usize) -> io::Result<T>) -> io::Result<[Option<T>; 2]> {
        // Acquire: pairs with the Release of the loss, whose reason is then there.
        let lost = usize::from(self.lost.load(Ordering::Acquire));
        let (mut done, mut failed) = ([None, None], None);
        for side in (0..2).filter(|side| *side != lost) {
            match act(side) {
                Ok(value) => done[side] = Some(value),
                Err(fault) => failed = failed.or(Some((side, fault))),
            }
        }
        match failed {
            None => Ok(done),
            Some((side, fault)) if self.goes_without(&fault) && done[1 - side].is_some() => {
                self.lose(side, doing, fault)?;
                Ok(done)
            }
            Some((_, fault)) => Err(fault),
        }
    }

    /// Reads from the first side that is there.
    fn read<T>(&self, name: &str, mut act: impl FnMut(usize) -> io::Result<T>) -> io::Result<T> {
        let lost = usize::from(self.lost.load(Ordering::Acquire)); // As in `on_sides`.
        let side = usize::from(lost == 0);
        match act(side) {
            Err(fault) if lost == usize::from(NONE) && self.goes_without(&fault) => {
                let value = act(1 - side)?;
                self.lose(side, ("reading", name), fault)?;
                Ok(value)
            }
            read => read,
        }
    }

    fn goes_without(&self, fault: &io::Error) -> bool {
        self.on_side_failure == OnSideFailure::GoOn && !is_out_of_room(fault)
    }

    /// Goes on without `side`. Two threads may find the two sides failing at once: the second one cannot, and gets the
    /// fault back.
    fn lose(&self, side: usize, (what, name): Doing<'_>, fault: io::Error) -> io::Result<()> {
        let which = ["primary directory", "mirror"][side];
        let file = if name.is_empty() { String::new() } else { format!("{name} in ") };
        let reason = format!("the {which} is lost: {what} {file}{}: {fault}", self.directories[side]);
        let _ = self.reasons[side].set(reason);
        match self.lost.compare_exchange(NONE, side as u8, Ordering::Release, Ordering::Relaxed) {
            Err(lost) if usize::from(lost) != side => Err(fault),
            _ => Ok(()),
        }
    }
}

impl Storage for MirroredStorage {
    fn lock(&self) -> io::Result<DirectoryLock> {
        match self.held.lock().take() {
            Some(held) => Ok(held),
            None => Ok(DirectoryLock::new(self.on_sides(("locking", ""), |side| side.lock())?)),
        }
    }

    /// What both sides have: what one has alone, it was not made here.
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(match self.on_sides(("listing", ""), |side| side.list())? {
            [Some(one), Some(two)] => one.into_iter().filter(|name| two.contains(name)).collect(),
            [one, two] => one.or(two).unwrap_or_default(),
        })
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let mut leftovers = self.leftovers.lock();
        self.remove_leftovers(&mut leftovers);
        let files = self.done_to(&mut leftovers, ("creating", name), |side| side.create(name))?;
        Ok(Arc::new(MirroredFile { files, name: name.to_owned(), pair: Arc::clone(&self.pair) }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let files = self.on_sides(("opening", name), |side| side.open(name))?;
        Ok(Arc::new(MirroredFile { files, name: name.to_owned(), pair: Arc::clone(&self.pair) }))
    }

    /// On both sides, or, if one cannot, on neither: a segment that one side alone has, and that is never used, would be a hole in
    /// its log.
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut leftovers = self.leftovers.lock();
        let is_renamed = [Cell::new(false), Cell::new(false)];
        let done = self.pair.on_sides(("renaming", from), |side| {
            self.sides[side].rename(from, to)?;
            is_renamed[side].set(true);
            Ok(())
        });
        let Err(fault) = done else {
            leftovers.remove(to);
            return Ok(());
        };
        for side in (0..2).filter(|side| is_renamed[*side].get()) {
            // What is neither done nor undone is more than a full disk, which the caller may go on with.
            if let Err(undoing) = self.sides[side].rename(to, from) {
                leftovers.insert(to.to_owned());
                return Err(io::Error::other(format!("{fault}; and taking it back on the other side: {undoing}")));
            }
        }
        Err(fault)
    }

    /// A side that does not have the file has nothing to remove, and is no worse for it.
    fn remove(&self, name: &str) -> io::Result<()> {
        let mut leftovers = self.leftovers.lock();
        check_goes_next(&leftovers, name)?;
        if self.remove_from_sides(&mut leftovers, name)? { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.on_sides(("syncing", ""), |side| side.sync_directory()).map(drop)
    }

    fn describe(&self) -> String {
        format!("{} (mirrored in {})", self.sides[0].describe(), self.sides[1].describe())
    }

    fn degraded(&self) -> Option<String> {
        let lost = usize::from(self.pair.lost.load(Ordering::Acquire)); // As in `on_sides`.
        self.pair.reasons.get(lost).map(|reason| reason.get().cloned().unwrap_or_default())
    }

    fn mended(&self) -> Vec<String> {
        self.mended.clone()
    }
}

struct MirroredFile {
    /// A side that was lost before has none.
    files: [Option<Arc<dyn StorageFile>>; 2],
    /// The one that it was opened by, for messages.
    name: String,
    pair: Arc<Pair>,
}

impl MirroredFile {
    fn file(&self, side: usize) -> io::Result<&dyn StorageFile> {
        self.files[side].as_deref().ok_or_else(|| io::Error::other("it was opened on the other side alone"))
    }
}

impl StorageFile for MirroredFile {
    fn len(&self) -> io::Result<u64> {
        self.pair.read(&self.name, |side| self.file(side)?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.pair.read(&self.name, |side| self.file(side)?.read_at(buf, offset))
    }

    fn read_device_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.pair.read(&self.name, |side| self.file(side)?.read_device_at(buf, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.pair.on_sides(("writing", &self.name), |side| self.file(side)?.write_at(bytes, offset)).map(drop)
    }

    fn write_device_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.pair.on_sides(("writing", &self.name), |side| self.file(side)?.write_device_at(bytes, offset)).map(drop)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.pair.on_sides(("syncing", &self.name), |side| self.file(side)?.sync_data()).map(drop)
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
