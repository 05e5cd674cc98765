//! The disk fails under a running executor.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ledger_core::withdrawals::AttemptClass::Settled;
use ledger_core::withdrawals::InquiryAnswer;
use ledger_core::{
    Amount, Charge, DirectoryLock, DirectoryStorage, Error, IdempotencyKey, Ledger, Metadata, Rejection, Storage,
    StorageFile, Substatus, WhenFull,
};

use crate::world::{
    PATIENCE, Reply, Scripted, assert_balanced, balance, charge, execute, hasty, open, reaches, until, user, withdraw,
};

/// What the disk does wrong now. Relaxed throughout: when exactly a fault strikes does not matter.
#[derive(Default)]
struct Faults {
    syncs_fail: AtomicBool,
    is_full: AtomicBool,
}

/// A directory on a disk with faults.
struct Failing {
    storage: DirectoryStorage,
    faults: Arc<Faults>,
}

struct FailingFile {
    file: Arc<dyn StorageFile>,
    faults: Arc<Faults>,
}

impl Failing {
    fn new(path: &Path) -> (Failing, Arc<Faults>) {
        let faults = Arc::new(Faults::default());
        (Failing { storage: DirectoryStorage::new(path), faults: faults.clone() }, faults)
    }

    fn wrap(&self, file: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        Arc::new(FailingFile { file, faults: self.faults.clone() })
    }
}

impl Storage for Failing {
    fn lock(&self) -> io::Result<DirectoryLock> {
        self.storage.lock()
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.storage.list()
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        if self.faults.is_full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(self.wrap(self.storage.create(name)?))
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.wrap(self.storage.open(name)?))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.storage.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.storage.remove(name)
    }
    fn sync_directory(&self) -> io::Result<()> {
        self.storage.sync_directory()
    }
    fn describe(&self) -> String {
        self.storage.describe()
    }
}

impl StorageFile for FailingFile {
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
        if self.faults.syncs_fail.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk is gone"));
        }
        self.file.sync_data()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_ledger_halts_nothing_more_is_sent_and_nothing_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let (storage, faults) = Failing::new(directory.path());
    let ledger = Ledger::options().policy(hasty()).segment_bytes(1 << 20).open_on(storage).unwrap();
    charge(&ledger, 1_000);
    let first = Scripted::new(&ledger, |_| Reply::After(Duration::from_millis(20), Settled), |_| None);
    let executor = execute(&ledger, &first, 2);
    let ids: Vec<_> = (0..20).map(|n| withdraw(&ledger, 10, &n.to_string()).unwrap()).collect();
    until("two attempts", || first.order().len() >= 2).await;
    faults.syncs_fail.store(true, Ordering::Relaxed);
    until("the halt", || ledger.halted().is_some()).await;
    until("the calls under way to end", || executor.in_flight() == 0).await;
    let sent = first.order().len();
    assert!(sent < ids.len());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((first.order().len(), executor.in_flight()), (sent, 0), "sent after the halt");
    assert_eq!(executor.shutdown(PATIENCE).await, 0);
    drop((executor, ledger));
    let sent: Vec<_> = ids.iter().map(|id| first.attempts(*id).len()).collect();
    drop(first);

    let ledger = open(directory.path(), &hasty(), None).await;
    let second = Scripted::new(&ledger, |_| Reply::Says(Settled), |_| Some(InquiryAnswer::Settled));
    let executor = execute(&ledger, &second, 2);
    for (id, sent) in ids.iter().zip(sent) {
        reaches(&ledger, *id, Substatus::Completed).await;
        assert!(sent + second.attempts(*id).len() <= 1, "withdrawal {id} was sent twice");
    }
    assert_eq!((balance(&ledger).total(), balance(&ledger).reserved), (800, 0));
    assert_balanced(&ledger);
    executor.shutdown(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_disk_is_full_withdrawals_wait_and_then_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let (storage, faults) = Failing::new(directory.path());
    let ledger =
        Ledger::options().policy(hasty()).segment_bytes(1 << 20).when_full(WhenFull::Refuse).open_on(storage).unwrap();
    charge(&ledger, 1_000_000);
    let bank = Scripted::new(&ledger, |_| Reply::After(Duration::from_millis(30), Settled), |_| None);
    let executor = execute(&ledger, &bank, 2);
    faults.is_full.store(true, Ordering::Relaxed);
    let ids: Vec<_> = (0..60).map(|n| withdraw(&ledger, 10, &n.to_string()).unwrap()).collect();
    let padding = [b'.'; Metadata::BYTES_MAX];
    let refused = (0..).find_map(|n: u32| {
        let key = n.to_string() + " of the padding";
        let charge = Charge::new(user(), Amount::new(1).unwrap(), IdempotencyKey::new(&key).unwrap());
        ledger.charge(charge.metadata(Metadata::new(&padding).unwrap())).and_then(|c| c.wait()).err()
    });
    assert_eq!(refused, Some(Error::Rejected(Rejection::StorageFull)));
    until("the executor to notice", || executor.figures().congestions > 0 || executor.in_flight() == 2).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let sent = bank.order().len();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(bank.order().len(), sent, "sent without a record");
    assert!(sent < ids.len());

    faults.is_full.store(false, Ordering::Relaxed);
    for id in &ids {
        reaches(&ledger, *id, Substatus::Completed).await;
        assert_eq!(bank.attempts(*id), [1], "withdrawal {id}");
    }
    assert_eq!(balance(&ledger).reserved, 0);
    assert_balanced(&ledger);
    executor.shutdown(PATIENCE).await;
    ledger.close().unwrap();
}
