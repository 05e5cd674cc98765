//! A process may have so many files open and no more: a ledger of any age is opened, checked and copied with few.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ledger_core::sim::{SimClock, SimDisk};
use ledger_core::{
    DirectoryLock, Error, Ledger, MirroredStorage, OnSideFailure, Rejection, Storage, StorageFile, backup,
    verify_storage,
};

use crate::model::Asked;
use crate::stage::{START, amount, answer, ask, metadata, options, user};

/// A disk of which no more than so many files can be open.
#[derive(Clone)]
struct Limited {
    disk: SimDisk,
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

/// An open file; it is closed when it is dropped.
struct Open {
    file: Arc<dyn StorageFile>,
    open: Arc<AtomicUsize>,
}

impl Limited {
    fn new(disk: SimDisk, most: usize) -> Limited {
        Limited { disk, open: Arc::new(AtomicUsize::new(0)), most: Arc::new(AtomicUsize::new(most)) }
    }

    /// No more can be opened while as many are open as there are now.
    fn refuse_more(&self) {
        self.most.store(self.open.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    fn allow(&self, most: usize) {
        self.most.store(most, Ordering::SeqCst);
    }

    fn count(&self, file: impl FnOnce() -> io::Result<Arc<dyn StorageFile>>) -> io::Result<Arc<dyn StorageFile>> {
        if self.open.fetch_add(1, Ordering::SeqCst) >= self.most.load(Ordering::SeqCst) {
            self.open.fetch_sub(1, Ordering::SeqCst);
            return Err(io::Error::from_raw_os_error(24)); // EMFILE: it has no kind of its own.
        }
        let file = file().inspect_err(|_| {
            self.open.fetch_sub(1, Ordering::SeqCst);
        })?;
        Ok(Arc::new(Open { file, open: Arc::clone(&self.open) }))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Storage for Limited {
    fn lock(&self) -> io::Result<DirectoryLock> {
        self.disk.lock()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.count(|| self.disk.create(name))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.count(|| self.disk.open(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }

    fn describe(&self) -> String {
        self.disk.describe()
    }
}

impl StorageFile for Open {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn read_device_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_device_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[test]
fn hundreds_of_history_files_are_not_open_at_once() {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    // Of each checkpoint a file stays, as of a ledger that was written before they were merged.
    let ledger = options(&clock).history_bytes(0).open_on(disk.clone()).expect("an empty disk");
    for n in 0..300 {
        answer(ask(&ledger, &Asked::charge(user(1 + n % 7), amount(1), format!("{n}")))).expect("accepted");
        ledger.checkpoint().expect("a disk that works");
    }
    let digest = ledger.state_digest();
    drop(ledger);
    assert_eq!(disk.names().iter().filter(|name| name.ends_with(".history")).count(), 300);
    let few = Limited::new(disk.clone(), 80);
    assert_eq!(verify_storage(&few).expect("sound").snapshots, 2);
    let copy = SimDisk::new(2);
    backup(&few, &copy).expect("a disk that works");
    assert_eq!(verify_storage(&copy).expect("sound").snapshots, 2);
    let ledger = options(&clock).open_on(few).expect("sound");
    assert_eq!(ledger.state_digest(), digest);
    // The next checkpoint makes one file of them, and when the older snapshot is retired they go.
    for n in 0..2 {
        answer(ask(&ledger, &Asked::charge(user(9), amount(1), format!("after {n}")))).expect("accepted");
        ledger.checkpoint().expect("a disk that works");
    }
    assert!(disk.names().iter().filter(|name| name.ends_with(".history")).count() <= 2, "{:?}", disk.names());
    let digest = ledger.state_digest();
    drop(ledger);
    assert_eq!(verify_storage(&disk).expect("sound").snapshots, 2);
    assert_eq!(options(&clock).open_on(disk).expect("sound").state_digest(), digest);
}

#[test]
fn a_log_of_many_segments_is_read_with_few_files_open() {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    // Each opening leaves a segment behind.
    for n in 0..100 {
        let ledger = options(&clock).open_on(disk.clone()).expect("sound");
        answer(ask(&ledger, &Asked::charge(user(1), amount(1), format!("{n}")))).expect("accepted");
        ledger.close().expect("a disk that works");
    }
    assert!(disk.names().iter().filter(|name| name.ends_with(".segment")).count() >= 100);
    let few = Limited::new(disk.clone(), 12);
    assert_eq!(verify_storage(&few).expect("sound").last_seq.get(), 100);
    backup(&few, &SimDisk::new(2)).expect("a disk that works");
    assert_eq!(options(&clock).open_on(few).expect("sound").appended().get(), 100);
}

/// Charges until the log wants another segment, which cannot be created; what was said then.
fn charge_until_refused(ledger: &Ledger) -> Error {
    let charge = |n: u64| Asked {
        metadata: Some(metadata(4_000, n)),
        ..Asked::charge(user(1 + n % 5), amount(1), format!("{} {n}", ledger.appended()))
    };
    let mut charges = (0..10_000).map(|n| answer(ask(ledger, &charge(n))));
    charges.find_map(Result::err).expect("the log is full at some time")
}

#[test]
fn a_process_that_has_no_descriptor_left_refuses_as_on_a_full_disk_and_goes_on_when_it_has() {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    let few = Limited::new(disk.clone(), 100);
    let ledger = options(&clock).open_on(few.clone()).expect("an empty disk");
    few.refuse_more();
    for _ in 0..3 {
        assert_eq!(charge_until_refused(&ledger), Error::Rejected(Rejection::StorageFull));
        assert_eq!(ledger.halted(), None);
    }
    few.allow(100);
    let charge = Asked { metadata: Some(metadata(4_000, 1)), ..Asked::charge(user(1), amount(1), "again") };
    answer(ask(&ledger, &charge)).expect("there is a descriptor now");
    let digest = ledger.state_digest();
    drop(ledger);
    assert_eq!(options(&clock).open_on(disk).expect("sound").state_digest(), digest);
}

#[test]
fn a_side_of_a_mirror_is_not_lost_for_want_of_a_descriptor() {
    let (one, two, clock) = (SimDisk::new(1), SimDisk::new(2), SimClock::at(START));
    let few = Limited::new(two, 100);
    let sides = MirroredStorage::open(Arc::new(one), Arc::new(few.clone()), OnSideFailure::GoOn);
    let ledger = options(&clock).open_on(sides.expect("two empty disks")).expect("an empty disk");
    few.refuse_more();
    assert_eq!(charge_until_refused(&ledger), Error::Rejected(Rejection::StorageFull));
    assert_eq!((ledger.halted(), ledger.degraded()), (None, None));
}
