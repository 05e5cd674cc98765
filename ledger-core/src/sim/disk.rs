//! A disk that forgets, tears, fails and runs full.
//!
//! Three images are kept apart: what the process sees (the page cache), what is certainly durable, and the operations in
//! between, per file and per directory entry. A power cut decides for each of those by itself whether it was written,
//! omitted, torn between sectors of 512 bytes, or trashed; only what was synced is safe. Pages of zeros take no memory,
//! so that images of preallocated files are cheap to make, to copy and to reopen by the ten thousand.
//!
//! Here is what lies on the disk, what a power cut leaves of it, and what a test changes behind the ledger's back; what goes wrong is in
//! [`faults`], and what the ledger calls in [`storage`].

mod faults;
mod storage;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

pub use faults::Fault;
use faults::{Course, Latency, Operation, power_is_off};

use super::file::{Content, Data, FileImage};
use super::{Random, Supply};
use crate::sync::{Arc, AtomicBool, Mutex};

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

#[derive(Clone)]
enum NameChange {
    Create(String, u64),
    Rename(String, String, u64),
    Remove(String, u64),
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

    /// How often bytes of a file were read so far, or were to be.
    pub fn reads(&self) -> u64 {
        self.inner.lock().reads
    }

    /// Whether the power has failed.
    pub fn is_off(&self) -> bool {
        self.inner.lock().is_off
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
