//! On a disk of which each commit's sync waits to be let through.

use std::io;
use std::ops::Deref;
use std::sync::Condvar;
use std::task::Wake;
use std::time::Duration;

use ledger_core::{
    Amount, Charge, Commit, DirectoryLock, DirectoryStorage, IdempotencyKey, Receipt, Storage, StorageFile, UserId,
};

use super::*;

#[tokio::test]
async fn each_is_woken_when_his_seq_is_durable_and_not_before() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, disk) = open(directory.path());
    let bells = Bells::hang(ledger.clone(), 1);
    let (one, other) = (Arc::<Woken>::default(), Arc::<Woken>::default());
    // The bell's task has not run yet.
    let first = charge(&ledger, "first");
    assert!(one.poll(&bells, first.seq()).is_pending());
    tokio::task::yield_now().await;
    disk.await_sync();
    let second = charge(&ledger, "second");
    for _ in 0..2 {
        assert!(other.poll(&bells, second.seq()).is_pending());
    }
    disk.let_through();
    one.wait().await;
    disk.await_sync();
    tokio::task::yield_now().await;
    assert_eq!((one.times(), other.times()), (1, 0));
    assert!(one.poll(&bells, first.seq()).is_ready());
    disk.let_through();
    other.wait().await;
    assert_eq!((one.times(), other.times()), (1, 1));
    // One who comes when the bell's task has nobody left asks the log himself.
    let third = charge(&ledger, "third");
    assert!(one.poll(&bells, third.seq()).is_pending());
    disk.await_sync();
    disk.let_through();
    one.wait().await;
    assert!(one.poll(&bells, third.seq()).is_ready());
}

#[tokio::test]
async fn an_earlier_seq_that_comes_later_is_not_kept_waiting_for_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, disk) = open(directory.path());
    let bells = Bells::hang(ledger.clone(), 1);
    tokio::task::yield_now().await;
    let (one, other) = (Arc::<Woken>::default(), Arc::<Woken>::default());
    let first = charge(&ledger, "first");
    // As who looks at his commit, or blocks on it, would: the log begins.
    let first = first.try_wait().expect_err("not durable");
    disk.await_sync();
    let second = charge(&ledger, "second");
    assert!(other.poll(&bells, second.seq()).is_pending());
    assert!(one.poll(&bells, first.seq()).is_pending());
    disk.let_through();
    one.wait().await;
    disk.await_sync();
    assert_eq!((one.times(), other.times()), (1, 0));
    disk.open();
    other.wait().await;
}

#[tokio::test]
async fn a_halt_wakes_everybody_and_nobody_waits_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, disk) = open(directory.path());
    let bells = Bells::hang(ledger.clone(), 1);
    tokio::task::yield_now().await;
    let (one, other) = (Arc::<Woken>::default(), Arc::<Woken>::default());
    let first = charge(&ledger, "first");
    assert!(one.poll(&bells, first.seq()).is_pending());
    disk.await_sync();
    let second = charge(&ledger, "second");
    assert!(other.poll(&bells, second.seq()).is_pending());
    disk.fail();
    one.wait().await;
    other.wait().await;
    for commit in [first, second] {
        assert!(one.poll(&bells, commit.seq()).is_ready());
        assert!(commit.await.is_err(), "its sync failed");
    }
}

#[tokio::test]
async fn without_a_bell_each_asks_for_himself() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, _disk) = open(directory.path());
    let bells = Bells::hang(ledger.clone(), 0);
    let first = charge(&ledger, "first");
    assert!(Arc::<Woken>::default().poll(&bells, first.seq()).is_ready());
    assert!(first.try_wait().is_err(), "it is for him to ask");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_sleeps_past_his_commit_while_all_come_and_go() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, disk) = open(directory.path());
    disk.open();
    let bells = Bells::hang(ledger.clone(), 2);
    let callers = (0..16).map(|caller| {
        let (bells, ledger) = (Arc::clone(&bells), ledger.clone());
        tokio::spawn(async move {
            for n in 0..50 {
                let commit = charge(&ledger, &format!("{caller} {n}"));
                poll_fn(|cx| bells.poll(commit.seq(), cx)).await;
                assert!(commit.try_wait().is_ok_and(|answer| answer.is_ok()));
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    assert_eq!(ledger.durable(), Seq::new(800));
    assert!(bells.bells.iter().all(|bell| bell.lock().waiting.is_empty()));
}

fn charge(ledger: &Ledger, key: &str) -> Commit<Receipt> {
    let charge = Charge::new(UserId::new(1).unwrap(), Amount::new(1).unwrap(), IdempotencyKey::new(key).unwrap());
    ledger.charge(charge).unwrap()
}

fn open(directory: &std::path::Path) -> (Ledger, Opened) {
    let gate = Arc::<Gate>::default();
    let disk = Gated { disk: DirectoryStorage::new(directory), gate: Arc::clone(&gate) };
    (Ledger::options().open_on(disk).unwrap(), Opened(gate))
}

/// Lets all through in the end, so that the ledger can be closed where a test fails too.
struct Opened(Arc<Gate>);

impl Deref for Opened {
    type Target = Gate;

    fn deref(&self) -> &Gate {
        &self.0
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.open();
    }
}

/// A task that counts how often it was woken.
#[derive(Default)]
struct Woken {
    times: AtomicUsize,
    notify: tokio::sync::Notify,
}

impl Woken {
    fn poll(self: &Arc<Woken>, bells: &Bells, seq: Seq) -> Poll<()> {
        bells.poll(seq, &mut Context::from_waker(&Arc::clone(self).into()))
    }

    async fn wait(&self) {
        // Who is forgotten fails, and does not hang.
        tokio::time::timeout(Duration::from_secs(60), self.notify.notified()).await.expect("nobody woke it");
    }

    fn times(&self) -> usize {
        self.times.load(Ordering::SeqCst)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.times.fetch_add(1, Ordering::SeqCst);
        self.notify.notify_one();
    }
}

/// What the log's own thread may do.
#[derive(Default)]
struct Gate {
    state: Mutex<Syncs>,
    changed: Condvar,
}

#[derive(Default)]
struct Syncs {
    waits: bool,
    let_through: usize,
    is_open: bool,
    fails: bool,
}

impl Gate {
    /// Waits until a commit waits here.
    fn await_sync(&self) {
        drop(self.changed.wait_while(self.state.lock().unwrap(), |state| !state.waits).unwrap());
    }

    fn change(&self, change: impl FnOnce(&mut Syncs)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    /// One commit.
    fn let_through(&self) {
        self.change(|state| (state.let_through, state.waits) = (1, false));
    }

    /// All from now on.
    fn open(&self) {
        self.change(|state| state.is_open = true);
    }

    fn fail(&self) {
        self.change(|state| state.fails = true);
    }

    fn pass(&self) -> io::Result<()> {
        if std::thread::current().name() != Some("ledger-log") {
            return Ok(());
        }
        let mut state = self.state.lock().unwrap();
        while !state.is_open && !state.fails && state.let_through == 0 {
            state.waits = true;
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap();
        }
        state.let_through = state.let_through.saturating_sub(1);
        if state.fails { Err(io::Error::other("a planted fault")) } else { Ok(()) }
    }
}

struct Gated {
    disk: DirectoryStorage,
    gate: Arc<Gate>,
}

impl Gated {
    fn file(&self, file: io::Result<Arc<dyn StorageFile>>) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(GatedFile { file: file?, gate: Arc::clone(&self.gate) }))
    }
}

impl Storage for Gated {
    fn lock(&self) -> io::Result<DirectoryLock> {
        self.disk.lock()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.file(self.disk.create(name))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.file(self.disk.open(name))
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

struct GatedFile {
    file: Arc<dyn StorageFile>,
    gate: Arc<Gate>,
}

impl StorageFile for GatedFile {
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
        self.gate.pass()?;
        self.file.sync_data()
    }
}
