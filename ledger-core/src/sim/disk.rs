//! A disk that forgets, tears, fails and runs full.
//!
//! Three images are kept apart: what the process sees (the page cache), what is certainly durable, and the operations in
//! between, per file and per directory entry. A power cut decides for each of those by itself whether it was written,
//! omitted, torn between sectors of 512 bytes, or trashed; only what was synced is safe. Pages of zeros take no memory,
//! so that images of preallocated files are cheap to make, to copy and to reopen by the ten thousand.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::time::Duration;

use super::file::{Content, Data, FileImage};
use super::{Random, SimClock, Supply};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering};
use crate::sys::{DirectoryLock, ReadFrom, Storage, StorageFile};

/// What goes wrong with an operation of the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It fails with an I/O error and has no effect (an unsynced write stays unsynced).
    Eio,
    /// So do this one and all that follow.
    EioForever,
    /// There is no space left; it has no effect.
    Enospc,
    /// There is no space left, for this one and every later creation or write.
    EnospcForever,
    /// A write stops half-way, with an I/O error.
    ShortWrite,
    /// The first sync of a file from here on fails, and the pages that it should have written are clean from then on:
    /// the process still reads them, the device never gets them, and the next sync succeeds. (What Linux does.)
    FailedFsyncLosesPages,
}

/// A simulated disk with one directory. Clones are handles to the same disk.
#[derive(Clone)]
pub struct SimDisk {
    inner: Arc<Mutex<Inner>>,
    held: Arc<AtomicBool>,
    supply: Option<Supply>,
}

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimDisk").field("operations", &self.operations()).finish_non_exhaustive()
    }
}

#[derive(Clone)]
pub(super) struct Inner {
    seed: u64,
    files: BTreeMap<u64, FileImage>,
    next_file: u64,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    pending_names: Vec<NameChange>,
    operations: u64,
    power_off_at: Option<u64>,
    is_off: bool,
    faults: Vec<(u64, Fault)>,
    /// What has gone wrong so far.
    struck: Vec<Fault>,
    reads: u64,
    read_fails_at: Option<u64>,
    capacity: Option<u64>,
    latency: Option<Latency>,
    to_photograph: BTreeMap<u64, u64>,
    photographs: Vec<SimDisk>,
}

/// How long operations take.
#[derive(Clone)]
struct Latency {
    clock: SimClock,
    most: Duration,
    random: Random,
}

#[derive(Clone)]
enum NameChange {
    Create(String, u64),
    Rename(String, String, u64),
    Remove(String, u64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Write,
    Sync,
    Name,
}

/// How an operation goes.
enum Course {
    Whole,
    /// The power fails while it is under way: it is begun, and its caller never hears of it.
    PowerFails,
    Half,
    LosesPages,
}

impl SimDisk {
    /// An empty disk. The seed is only for [`SimDisk::seed`]: two disks differ by what is done to them.
    pub fn new(seed: u64) -> SimDisk {
        SimDisk::of(Inner {
            seed,
            files: BTreeMap::new(),
            next_file: 0,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            operations: 0,
            power_off_at: None,
            is_off: false,
            faults: Vec::new(),
            struck: Vec::new(),
            reads: 0,
            read_fails_at: None,
            capacity: None,
            latency: None,
            to_photograph: BTreeMap::new(),
            photographs: Vec::new(),
        })
    }

    fn of(inner: Inner) -> SimDisk {
        SimDisk { inner: Arc::new(Mutex::new(inner)), held: Arc::new(AtomicBool::new(false)), supply: None }
    }

    /// The same disk, fed by `supply` together with others. For a disk that nobody uses yet.
    #[must_use]
    pub fn fed_by(mut self, supply: &Supply) -> SimDisk {
        supply.feeds(&self.inner);
        self.supply = Some(supply.clone());
        self
    }

    /// The seed that the disk was made with.
    pub fn seed(&self) -> u64 {
        self.inner.lock().seed
    }

    /// How many operations that change or sync something there were so far, failed ones included. Reads are not counted.
    pub fn operations(&self) -> u64 {
        self.inner.lock().operations
    }

    /// The power fails during operation `n` (counted from 0 over the disk's life): that one may have any effect, and
    /// every call from then on fails, reads too.
    pub fn crash_after(&self, n: u64) {
        self.inner.lock().power_off_at = Some(n);
    }

    /// Whether the power has failed.
    pub fn is_off(&self) -> bool {
        self.inner.lock().is_off
    }

    /// Lets operation `n` (counted from 0 over the disk's life) go wrong.
    pub fn fail_at(&self, n: u64, fault: Fault) {
        self.inner.lock().faults.push((n, fault));
    }

    /// How often bytes of a file were read so far, or were to be.
    pub fn reads(&self) -> u64 {
        self.inner.lock().reads
    }

    /// Lets read `n` (counted from 0 over the disk's life) fail, once, as of a sector that cannot be read.
    pub fn fail_read_at(&self, n: u64) {
        self.inner.lock().read_fails_at = Some(n);
    }

    /// Each operation that changes or syncs something takes a time of up to so much from here on, drawn by the seed, by which the
    /// clock moves on; or none.
    pub fn slow_down(&self, how: Option<(&SimClock, Duration, u64)>) {
        let latency =
            |(clock, most, seed): (&SimClock, _, _)| Latency { clock: clock.clone(), most, random: Random::new(seed) };
        self.inner.lock().latency = how.map(latency);
    }

    /// Takes everything back that [`SimDisk::fail_at`], [`SimDisk::fail_read_at`] and [`SimDisk::slow_down`] planned.
    pub fn heal(&self) {
        let mut inner = self.inner.lock();
        inner.faults.clear();
        (inner.read_fails_at, inner.latency) = (None, None);
    }

    /// Which faults have struck so far: planned ones, and [`Fault::Enospc`] where there was no room.
    pub fn struck(&self) -> Vec<Fault> {
        self.inner.lock().struck.clone()
    }

    /// How many bytes all files together may have, holes included.
    pub fn set_capacity(&self, bytes: u64) {
        self.inner.lock().capacity = Some(bytes);
    }

    /// How many bytes all files together have, holes included.
    pub fn used(&self) -> u64 {
        self.inner.lock().used()
    }

    /// What is found after a power cut now: what was synced, and of every other operation what `seed` decides.
    #[must_use]
    pub fn survivor(&self, seed: u64) -> SimDisk {
        self.inner.lock().survivor(seed)
    }

    /// Has a survivor by `seed` made when operation `n` (counted from 0 over the disk's life) begins: what would be found
    /// if the power failed there, while the run goes on undisturbed.
    pub fn photograph_at(&self, n: u64, seed: u64) {
        self.inner.lock().to_photograph.insert(n, seed);
    }

    /// Hands over the survivors that were made since the last call.
    #[must_use]
    pub fn photographs(&self) -> Vec<SimDisk> {
        std::mem::take(&mut self.inner.lock().photographs)
    }

    /// What a new process finds after the old one was killed: all that it wrote, synced or not. Unsynced it stays.
    #[must_use]
    pub fn after_kill(&self) -> SimDisk {
        let mut inner = self.inner.lock().clone();
        (inner.operations, inner.reads, inner.power_off_at, inner.is_off) = (0, 0, None, false);
        (inner.read_fails_at, inner.latency) = (None, None);
        inner.faults.clear();
        inner.struck.clear();
        inner.to_photograph.clear();
        inner.photographs.clear();
        SimDisk::of(inner)
    }

    /// What a machine finds that starts after all that was written had reached the device: nothing that a failed sync has called
    /// clean, and no byte that a cache alone still has.
    #[must_use]
    pub fn cold(&self) -> SimDisk {
        let disk = self.after_kill();
        {
            let mut inner = disk.inner.lock();
            inner.files.values_mut().for_each(FileImage::read_anew);
            inner.durable_names = inner.names.clone();
            inner.pending_names.clear();
        }
        disk
    }

    /// The names of the files, sorted.
    pub fn names(&self) -> Vec<String> {
        self.inner.lock().names.keys().cloned().collect()
    }

    /// The bytes of a file as the process sees them; `None` if there is no such file.
    pub fn read(&self, file: &str) -> Option<Vec<u8>> {
        let inner = self.inner.lock();
        let content = &inner.files[inner.names.get(file)?].seen;
        let mut bytes = vec![0; content.len as usize];
        content.read(&mut bytes, 0);
        Some(bytes)
    }

    /// How many bytes of a file stand before the zeros that it ends with; `None` if there is no such file.
    pub fn written(&self, file: &str) -> Option<u64> {
        let inner = self.inner.lock();
        Some(inner.files[inner.names.get(file)?].seen.zeros_from(0))
    }

    /// Turns one bit of a file over, durably (with all that was written before). Panics if there is no such file or byte.
    pub fn flip_bit(&self, file: &str, offset: u64, bit: u8) {
        self.edit(file, |content| content.flip_bit(offset, bit));
    }

    /// Turns one bit of a file over on the device alone, as it rots there: the page cache goes on showing what was written. Panics
    /// if there is no such file or byte.
    pub fn rot_bit(&self, file: &str, offset: u64, bit: u8) {
        let mut inner = self.inner.lock();
        let id = *inner.names.get(file).unwrap_or_else(|| panic!("there is no {file}"));
        inner.files.get_mut(&id).expect("a name has a file").rot_bit(offset, bit);
    }

    /// Overwrites part of a file, durably. Panics if there is no such file.
    pub fn overwrite(&self, file: &str, offset: u64, bytes: &[u8]) {
        self.edit(file, |content| content.write(offset, &Data::Bytes(Arc::from(bytes))));
    }

    /// Cuts a file to `len` bytes, durably. Panics if there is no such file.
    pub fn truncate(&self, file: &str, len: u64) {
        self.edit(file, |content| content.truncate(len));
    }

    /// From now on whoever reads any of these bytes of a file gets an error (EIO), from the cache too. Panics if there is no
    /// such file.
    pub fn lose_sectors(&self, file: &str, bytes: Range<u64>) {
        let mut inner = self.inner.lock();
        let id = *inner.names.get(file).unwrap_or_else(|| panic!("there is no {file}"));
        inner.files.get_mut(&id).expect("a name has a file").unreadable = Some(bytes);
    }

    /// Removes a file, durably. Panics if there is no such file.
    pub fn erase(&self, file: &str) {
        let mut inner = self.inner.lock();
        assert!(inner.names.remove(file).is_some(), "there is no {file}");
        inner.durable_names.remove(file);
    }

    /// An operation is about to begin, with nothing locked.
    fn announce(&self) {
        if let Some(supply) = &self.supply {
            supply.before_operation(&self.inner);
        }
    }

    fn edit(&self, file: &str, change: impl Fn(&mut Content)) {
        let mut inner = self.inner.lock();
        let id = *inner.names.get(file).unwrap_or_else(|| panic!("there is no {file}"));
        inner.files.get_mut(&id).expect("a name has a file").edit(change);
    }
}

impl Inner {
    /// The power goes off: with the next operation, if that `is_under_way`.
    pub(super) fn loses_power(&mut self, is_under_way: bool) {
        if is_under_way {
            self.power_off_at = Some(self.operations);
        } else {
            self.is_off = true;
        }
    }

    /// See [`SimDisk::survivor`].
    pub(super) fn survivor(&self, seed: u64) -> SimDisk {
        let mut random = Random::new(seed ^ self.seed.rotate_left(32));
        let mut names = self.durable_names.clone();
        for change in &self.pending_names {
            match random.below(8) {
                0..=3 => change.apply(&mut names),
                4 => change.apply_in_part(&mut names),
                _ => {}
            }
        }
        let mut files = BTreeMap::new();
        for id in names.values() {
            files.insert(*id, self.files[id].survivor(&mut random));
        }
        SimDisk::of(Inner {
            files,
            durable_names: names.clone(),
            names,
            pending_names: Vec::new(),
            operations: 0,
            power_off_at: None,
            is_off: false,
            faults: Vec::new(),
            struck: Vec::new(),
            reads: 0,
            read_fails_at: None,
            latency: None,
            to_photograph: BTreeMap::new(),
            photographs: Vec::new(),
            ..*self
        })
    }

    fn used(&self) -> u64 {
        self.names.values().map(|id| self.files[id].seen.len).sum()
    }

    fn check_power(&self) -> io::Result<()> {
        if self.is_off { Err(power_is_off()) } else { Ok(()) }
    }

    /// Counts an operation and says how it goes.
    fn begin(&mut self, operation: Operation) -> io::Result<Course> {
        self.check_power()?;
        if let Some(Latency { clock, most, random }) = &mut self.latency {
            clock.advance(Duration::from_micros(random.below(most.as_micros() as u64 + 1)));
        }
        let n = self.operations;
        if let Some(seed) = self.to_photograph.remove(&n) {
            let survivor = self.survivor(seed);
            self.photographs.push(survivor);
        }
        self.operations += 1;
        if self.power_off_at.is_some_and(|at| n >= at) {
            self.is_off = true;
            return Ok(Course::PowerFails);
        }
        let loses = |(at, fault): &(u64, Fault)| {
            *fault == Fault::FailedFsyncLosesPages && n >= *at && operation == Operation::Sync
        };
        if let Some(found) = self.faults.iter().position(loses) {
            self.faults.remove(found);
            self.strikes(Fault::FailedFsyncLosesPages);
            return Ok(Course::LosesPages);
        }
        let strikes = |&&(at, fault): &&(u64, Fault)| match fault {
            Fault::Eio | Fault::Enospc => n == at,
            Fault::EioForever => n >= at,
            Fault::EnospcForever => n >= at && operation != Operation::Sync,
            Fault::ShortWrite => n == at && operation == Operation::Write,
            Fault::FailedFsyncLosesPages => false,
        };
        let Some(&(_, fault)) = self.faults.iter().find(strikes) else { return Ok(Course::Whole) };
        self.strikes(fault);
        match fault {
            Fault::Enospc | Fault::EnospcForever => Err(enospc()),
            Fault::ShortWrite => Ok(Course::Half),
            _ => Err(eio()),
        }
    }

    fn strikes(&mut self, fault: Fault) {
        if !self.struck.contains(&fault) {
            self.struck.push(fault);
        }
    }

    /// Counts a read, and says whether it succeeds.
    fn begin_read(&mut self) -> io::Result<()> {
        self.check_power()?;
        let n = self.reads;
        self.reads += 1;
        if self.read_fails_at == Some(n) { Err(unreadable()) } else { Ok(()) }
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending_names.push(change);
    }

    /// A change of names: whole, or unknown because the power fails.
    fn begin_names(&mut self, change: impl FnOnce(&Inner) -> io::Result<NameChange>) -> io::Result<()> {
        self.check_power()?;
        let change = change(self)?;
        let course = self.begin(Operation::Name)?;
        self.change_names(change);
        match course {
            Course::PowerFails => Err(power_is_off()),
            _ => Ok(()),
        }
    }

    fn id(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the simulated power is off")
}

fn eio() -> io::Error {
    io::Error::other("simulated I/O error")
}

/// As the system tells of a sector that the device cannot read.
fn unreadable() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn enospc() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "simulated full disk")
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        let remove = |names: &mut BTreeMap<String, u64>, name: &String, id: &u64| {
            if names.get(name) == Some(id) {
                names.remove(name);
            }
        };
        match self {
            NameChange::Create(name, id) => {
                names.insert(name.clone(), *id);
            }
            NameChange::Rename(from, to, id) => {
                remove(names, from, id);
                names.insert(to.clone(), *id);
            }
            NameChange::Remove(name, id) => remove(names, name, id),
        }
    }

    /// A rename may reach the disk as two names of one file.
    fn apply_in_part(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameChange::Rename(_, to, id) => {
                names.insert(to.clone(), *id);
            }
            other => other.apply(names),
        }
    }
}

impl Storage for SimDisk {
    fn lock(&self) -> io::Result<DirectoryLock> {
        self.inner.lock().check_power()?;
        // AcqRel: the next holder must see all that the last one did.
        if self.held.swap(true, Ordering::AcqRel) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(DirectoryLock::new(Held(Arc::clone(&self.held))))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let inner = self.inner.lock();
        inner.check_power()?;
        Ok(inner.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.announce();
        let mut inner = self.inner.lock();
        let id = inner.next_file;
        // There also when the power fails meanwhile: the name may have reached the disk.
        inner.next_file += 1;
        inner.files.insert(id, FileImage::default());
        inner.begin_names(|inner| match inner.names.contains_key(name) {
            true => Err(io::ErrorKind::AlreadyExists.into()),
            false => Ok(NameChange::Create(name.to_owned(), id)),
        })?;
        Ok(Arc::new(SimFile { disk: self.clone(), id }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let inner = self.inner.lock();
        inner.check_power()?;
        Ok(Arc::new(SimFile { disk: self.clone(), id: inner.id(name)? }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.announce();
        let change = |inner: &Inner| Ok(NameChange::Rename(from.to_owned(), to.to_owned(), inner.id(from)?));
        self.inner.lock().begin_names(change)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.announce();
        self.inner.lock().begin_names(|inner| Ok(NameChange::Remove(name.to_owned(), inner.id(name)?)))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.announce();
        let mut inner = self.inner.lock();
        match inner.begin(Operation::Sync)? {
            Course::PowerFails => Err(power_is_off()),
            Course::LosesPages => Err(eio()), // Directories are journalled: their changes stay pending.
            Course::Whole | Course::Half => {
                inner.durable_names = inner.names.clone();
                inner.pending_names.clear();
                Ok(())
            }
        }
    }

    fn describe(&self) -> String {
        "simulated disk".to_owned()
    }
}

struct Held(Arc<AtomicBool>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release); // Publishes all that this holder did to the next.
    }
}

struct SimFile {
    disk: SimDisk,
    id: u64,
}

impl SimFile {
    fn seen<T>(&self, look: impl FnOnce(&FileImage) -> T) -> io::Result<T> {
        let inner = self.disk.inner.lock();
        inner.check_power()?;
        Ok(look(&inner.files[&self.id]))
    }

    /// As [`SimFile::seen`], where the device can read all of it.
    fn read<T>(&self, offset: u64, length: u64, look: impl FnOnce(&FileImage) -> T) -> io::Result<T> {
        self.disk.inner.lock().begin_read()?;
        self.seen(|image| image.can_read(offset, length).then(|| look(image)))?.ok_or_else(unreadable)
    }

    /// Writes what `data` gives of the length that gets through.
    fn write(&self, length: u64, offset: u64, data: impl FnOnce(u64) -> Data) -> io::Result<()> {
        self.disk.announce();
        let mut inner = self.disk.inner.lock();
        let course = inner.begin(Operation::Write)?;
        let grown = (offset + length).saturating_sub(inner.files[&self.id].seen.len);
        if inner.capacity.is_some_and(|capacity| grown > 0 && inner.used() + grown > capacity) {
            inner.strikes(Fault::Enospc);
            return Err(enospc());
        }
        let length = if matches!(course, Course::Half) { length / 2 } else { length };
        inner.files.get_mut(&self.id).expect("files are never forgotten").write(offset, data(length));
        match course {
            Course::PowerFails => Err(power_is_off()),
            Course::Half => Err(eio()),
            Course::Whole | Course::LosesPages => Ok(()),
        }
    }
}

impl StorageFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.seen(|image| image.seen.len)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read(offset, buf.len() as u64, |image| image.seen.read(buf, offset))
    }

    fn read_device_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read(offset, buf.len() as u64, |image| image.on_device(|content| content.read(buf, offset)))
    }

    fn zeros_from(&self, from: ReadFrom, offset: u64) -> io::Result<u64> {
        self.read(offset, u64::MAX - offset, |image| match from {
            ReadFrom::Cache => image.seen.zeros_from(offset),
            ReadFrom::Device => image.on_device(|content| content.zeros_from(offset)),
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write(bytes.len() as u64, offset, |length| Data::of(&bytes[..length as usize]))
    }

    fn write_zeros_at(&self, length: u64, offset: u64) -> io::Result<()> {
        self.write(length, offset, Data::Zeros)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.announce();
        let mut inner = self.disk.inner.lock();
        let course = inner.begin(Operation::Sync)?;
        let image = inner.files.get_mut(&self.id).expect("files are never forgotten");
        match course {
            Course::PowerFails => Err(power_is_off()),
            Course::LosesPages => {
                image.lose_pages();
                Err(eio())
            }
            Course::Whole | Course::Half => {
                image.sync();
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk_with(bytes: &[u8]) -> (SimDisk, Arc<dyn StorageFile>) {
        let disk = SimDisk::new(1);
        let file = disk.create("x").unwrap();
        file.write_at(bytes, 0).unwrap();
        (disk, file)
    }

    #[test]
    fn what_was_synced_survives_and_the_rest_may_not() {
        let (disk, file) = disk_with(&[7; 10_000]);
        file.sync_data().unwrap();
        let without_name = (0..20).filter(|seed| disk.survivor(*seed).names().is_empty()).count();
        assert!((1..20).contains(&without_name));
        disk.sync_directory().unwrap();
        file.write_at(&[9; 10_000], 8192).unwrap();
        let mut images: Vec<Vec<u8>> = (0..50).map(|seed| disk.survivor(seed).read("x").unwrap()).collect();
        assert!(images.iter().all(|image| image[..8192] == [7; 8192]));
        images.sort();
        images.dedup();
        assert!(images.len() > 5, "only {} outcomes", images.len());
        assert_eq!(disk.survivor(3).read("x"), disk.survivor(3).read("x"));
    }

    #[test]
    fn a_failed_sync_leaves_bytes_that_only_the_cache_has() {
        let (disk, file) = disk_with(&[7; 100]);
        disk.sync_directory().unwrap();
        disk.fail_at(0, Fault::FailedFsyncLosesPages);
        file.sync_data().unwrap_err();
        file.sync_data().unwrap();
        let (mut cached, mut device) = ([1; 100], [1; 100]);
        file.read_at(&mut cached, 0).unwrap();
        file.read_device_at(&mut device, 0).unwrap();
        assert_eq!((cached, device), ([7; 100], [0; 100]));
        assert_eq!(file.zeros_from(ReadFrom::Cache, 10).unwrap(), 100);
        assert_eq!(file.zeros_from(ReadFrom::Device, 10).unwrap(), 10);
        assert!((0..20).all(|seed| disk.survivor(seed).read("x").unwrap() == [0; 100]));
    }

    #[test]
    fn what_rots_on_the_device_is_hidden_by_the_cache_until_the_power_fails() {
        let (disk, file) = disk_with(&[7; 100]);
        disk.sync_directory().unwrap();
        disk.rot_bit("x", 3, 0);
        let (mut cached, mut device) = ([1; 100], [1; 100]);
        file.read_at(&mut cached, 0).unwrap();
        file.read_device_at(&mut device, 0).unwrap();
        assert_eq!((cached, device[3], device[4]), ([7; 100], 6, 7));
        assert_eq!(disk.after_kill().read("x").unwrap(), [7; 100]);
        assert_eq!(disk.survivor(0).read("x").unwrap(), device);
    }

    #[test]
    fn a_read_fails_once_and_what_strikes_is_told_until_the_process_ends() {
        let (disk, file) = disk_with(&[7; 100]);
        disk.fail_read_at(disk.reads() + 1);
        file.read_at(&mut [0], 0).unwrap();
        assert_eq!(file.read_at(&mut [0], 0).unwrap_err().raw_os_error(), Some(5));
        file.read_at(&mut [0], 0).unwrap();
        assert_eq!((disk.reads(), disk.struck()), (3, vec![]));
        disk.fail_at(disk.operations() + 1, Fault::Eio);
        file.sync_data().unwrap();
        assert_eq!(disk.struck(), []);
        file.sync_data().unwrap_err();
        disk.set_capacity(100);
        file.write_at(&[0], 100).unwrap_err();
        assert_eq!(disk.struck(), [Fault::Eio, Fault::Enospc]);
        assert_eq!((disk.after_kill().struck(), disk.after_kill().reads()), (vec![], 0));
    }

    #[test]
    fn a_slow_disk_takes_time_until_it_is_healed() {
        let (disk, file) = disk_with(&[7; 100]);
        let clock = SimClock::at(crate::types::Timestamp::MIN);
        disk.slow_down(Some((&clock, Duration::from_secs(1), 3)));
        (0..20).for_each(|_| file.sync_data().unwrap());
        let taken = crate::sys::Clock::monotonic(&clock);
        assert!(taken > Duration::from_secs(3) && taken <= Duration::from_secs(20), "{taken:?}");
        disk.heal();
        file.sync_data().unwrap();
        assert_eq!(crate::sys::Clock::monotonic(&clock), taken);
    }

    #[test]
    fn the_power_fails_for_good() {
        let (disk, file) = disk_with(&[7; 100]);
        let n = disk.operations();
        disk.crash_after(n + 1);
        file.write_at(&[8], 0).unwrap();
        file.sync_data().unwrap_err();
        file.read_at(&mut [0], 0).unwrap_err();
        disk.list().unwrap_err();
        assert_eq!(disk.operations(), n + 2);
    }

    #[test]
    fn a_full_disk_refuses_growth_alone() {
        let (disk, file) = disk_with(&[7; 100]);
        disk.set_capacity(150);
        file.write_at(&[8; 100], 0).unwrap();
        file.write_at(&[8; 51], 100).unwrap_err();
        file.write_at(&[8; 50], 100).unwrap();
        assert_eq!(disk.used(), 150);
        disk.truncate("x", 10);
        assert_eq!(disk.read("x").unwrap(), [8; 10]);
    }

    #[test]
    fn a_killed_process_loses_nothing_and_syncs_nothing() {
        let (disk, _) = disk_with(&[7; 100]);
        let next = disk.after_kill();
        assert_eq!(next.read("x").unwrap(), [7; 100]);
        assert!((0..20).any(|seed| next.survivor(seed).names().is_empty()));
        disk.flip_bit("x", 3, 0);
        assert_eq!(disk.read("x").unwrap()[3], 6);
        assert_eq!(next.read("x").unwrap()[3], 7);
    }
}
