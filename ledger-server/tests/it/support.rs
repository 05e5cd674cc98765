//! A server for one test, and a client that shows what came.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use ledger_core::withdrawals::{AttemptClass, Inquiry, InquiryAnswer, NoticeOutcome, Submission};
use ledger_core::{
    Amount, Charge, Clock, Currency, DirectoryLock, DirectoryStorage, IdempotencyKey, Ledger, Metadata, Notice,
    Options, Storage, StorageFile, Timestamp, TransactionId, UserId, WhenFull,
};
use ledger_server::Terms;
use ledger_server::app::{App, AppOptions, Http, app};
use serde_json::Value;
use tower::ServiceExt;

use crate::contract;

/// 2024-01-10T10:00:00Z, where every test begins.
pub(crate) const START_MICROS: i64 = 1_704_880_800_000_000;

/// A clock that a test moves.
#[derive(Clone)]
pub(crate) struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_micros()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst)).unwrap()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros((self.0.load(Ordering::SeqCst) - START_MICROS) as u64)
    }
}

pub(crate) struct Server {
    pub(crate) http: Http,
    pub(crate) app: App,
    pub(crate) ledger: Ledger,
    pub(crate) clock: ManualClock,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|fault| panic!("{fault}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The problem's code, after a look at the rest of it.
    pub(crate) fn code(&self) -> String {
        let json = self.json();
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        assert_eq!(json["status"], self.status, "{}", self.text);
        for member in ["title", "detail"] {
            assert!(json[member].as_str().is_some_and(|text| !text.is_empty()), "{}", self.text);
        }
        json["code"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn terms() -> Terms {
    let currency = |code| Currency::new(code).unwrap();
    Terms { currency: currency("USD"), currencies: vec![currency("USD"), currency("EUR")], destination_required: false }
}

impl Server {
    pub(crate) fn new() -> Server {
        Server::with(|ledger| ledger, |app| app)
    }

    pub(crate) fn with(
        ledger: impl FnOnce(Options) -> Options,
        options: impl FnOnce(AppOptions) -> AppOptions,
    ) -> Server {
        let clock = ManualClock(Arc::new(AtomicI64::new(START_MICROS)));
        let base = Ledger::options().when_full(WhenFull::Refuse).clock(clock.clone());
        Server::around(ledger(base).in_memory().unwrap(), clock, options)
    }

    /// On a disk that breaks when it is told to.
    pub(crate) fn on_a_failing_disk() -> (Server, Arc<AtomicBool>, tempfile::TempDir) {
        let (server, broken, _, directory) = Server::on_a_bad_disk();
        (server, broken, directory)
    }

    /// On a disk that keeps every sync waiting while it is told so.
    pub(crate) fn on_a_slow_disk() -> (Server, Gate, tempfile::TempDir) {
        Server::on_a_slow_disk_with(|app| app)
    }

    pub(crate) fn on_a_slow_disk_with(
        options: impl FnOnce(AppOptions) -> AppOptions,
    ) -> (Server, Gate, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let (server, switches) = Server::on_a_disk(&directory, |ledger| ledger, options);
        (server, switches.gate, directory)
    }

    /// On a disk that has no room for another file while it is told so.
    pub(crate) fn on_a_filling_disk() -> (Server, Arc<AtomicBool>, tempfile::TempDir) {
        let (server, _, full, directory) = Server::on_a_bad_disk();
        (server, full, directory)
    }

    /// The same; it makes a checkpoint whenever a segment of its log is full.
    pub(crate) fn on_a_filling_disk_with_checkpoints() -> (Server, Arc<AtomicBool>, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let ledger = |options: Options| options.checkpoint_bytes(Some(1));
        let (server, switches) = Server::on_a_disk(&directory, ledger, |app| app);
        (server, switches.full, directory)
    }

    fn on_a_bad_disk() -> (Server, Arc<AtomicBool>, Arc<AtomicBool>, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let (server, switches) = Server::on_a_disk(&directory, |ledger| ledger, |app| app);
        (server, switches.broken, switches.full, directory)
    }

    pub(crate) fn on_a_disk(
        directory: &tempfile::TempDir,
        ledger: impl FnOnce(Options) -> Options,
        app: impl FnOnce(AppOptions) -> AppOptions,
    ) -> (Server, Switches) {
        let (switches, disk) = (Switches::default(), DirectoryStorage::new(directory.path()));
        let clock = ManualClock(Arc::new(AtomicI64::new(START_MICROS)));
        let options = Ledger::options().when_full(WhenFull::Refuse).clock(clock.clone()).segment_bytes(1 << 20);
        let ledger = ledger(options).open_on(FailingStorage { disk, switches: switches.clone() }).unwrap();
        (Server::around(ledger, clock, app), switches)
    }

    fn around(ledger: Ledger, clock: ManualClock, options: impl FnOnce(AppOptions) -> AppOptions) -> Server {
        let base = AppOptions { clock: Arc::new(clock.clone()), ..AppOptions::new(terms()) };
        let state = App::new(ledger.clone(), options(base));
        Server { http: app(state.clone()), app: state, ledger, clock }
    }

    /// Fills the pipe to the disk behind a gate, which is shut then: large commands until none has room, then small ones.
    pub(crate) async fn fill_pipe(&self, gate: &Gate, directory: &tempfile::TempDir) {
        self.charge(1, 1, "before the gate is shut").await;
        // Else it is room on the disk that is waited for.
        next_segment(directory).await;
        gate.shut(true);
        for metadata in [900, 0] {
            let metadata = "x".repeat(metadata);
            let full = (0..100_000).find(|n| {
                let key = format!("{} {n}", metadata.len());
                let (user, amount) = (UserId::new(2).unwrap(), Amount::new(1).unwrap());
                let charge = Charge::new(user, amount, IdempotencyKey::new(&key).unwrap());
                self.ledger.charge(Charge { metadata: Metadata::new(metadata.as_bytes()), ..charge }).is_err()
            });
            assert!(full.is_some(), "the pipe has no end");
        }
    }

    /// The answer, which must be one that the document of the contract knows.
    pub(crate) async fn call(&self, request: Request<Body>) -> Reply {
        let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
        let response = self.http.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let reply = Reply { status: head.status.as_u16(), headers: head.headers, text };
        if method != "HEAD" {
            contract::check(&method, &path, &reply);
        }
        reply
    }

    pub(crate) async fn post(&self, path: &str, body: impl ToString) -> Reply {
        self.call(post(path, body.to_string())).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// Charges and returns the transaction's id.
    pub(crate) async fn charge(&self, user: u64, amount: u64, key: &str) -> u64 {
        let body = serde_json::json!({"user_id": user, "amount": amount, "idempotency_key": key});
        let reply = self.post("/charge", body).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json()["transaction"]["id"].as_u64().unwrap()
    }

    /// Reserves a withdrawal and returns its id.
    pub(crate) async fn withdraw(&self, user: u64, amount: u64, key: &str) -> u64 {
        let body = serde_json::json!({"user_id": user, "amount": amount, "idempotency_key": key});
        let reply = self.post("/withdraw", body).await;
        assert_eq!(reply.status, 202, "{}", reply.text);
        reply.json()["transaction"]["id"].as_u64().unwrap()
    }

    /// What an executor does before it calls the bank; the attempt's number.
    pub(crate) fn start_attempt(&self, id: u64) -> u32 {
        self.ledger.start_attempt(transaction(id)).unwrap().wait().unwrap().number
    }

    /// A whole attempt that ends like this.
    pub(crate) fn attempt(&self, id: u64, class: AttemptClass) {
        let number = self.start_attempt(id);
        let said = Submission { class, evidence: format!("the bank said {class}") };
        self.ledger.end_attempt(transaction(id), number, &said).unwrap().wait().unwrap();
    }

    /// An inquiry that is answered like this.
    pub(crate) fn inquire(&self, id: u64, answer: InquiryAnswer) {
        let said = Inquiry { answer, evidence: format!("the bank said {answer}") };
        self.ledger.record_inquiry(transaction(id), &said).unwrap().wait().unwrap();
    }

    /// What a bank tells by itself.
    pub(crate) fn notice(&self, reference: &str, outcome: NoticeOutcome) {
        let occurred_at = self.ledger.now();
        let notice = Notice { reference: reference.parse().unwrap(), outcome, occurred_at, evidence: "told" };
        self.ledger.notify_withdrawal(notice).unwrap().wait().unwrap();
    }

    /// Brings a withdrawal to where only a person can tell.
    pub(crate) fn review(&self, id: u64) {
        self.attempt(id, AttemptClass::Ambiguous);
        self.inquire(id, InquiryAnswer::Unsupported);
    }
}

/// Waits until the log's next segment is there, so that nothing but commands is written.
pub(crate) async fn next_segment(directory: &tempfile::TempDir) {
    let is_segment = |file: &std::io::Result<std::fs::DirEntry>| {
        file.as_ref().unwrap().path().extension().is_some_and(|end| end == "segment")
    };
    while std::fs::read_dir(directory.path()).unwrap().filter(is_segment).count() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn transaction(id: u64) -> TransactionId {
    TransactionId::new(id).unwrap()
}

pub(crate) fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header("content-type", "application/json").body(body.into()).unwrap()
}

/// Keeps who passes waiting while it is shut.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn shut(&self, shut: bool) {
        *self.0.0.lock().unwrap() = shut;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        drop(self.0.1.wait_while(self.0.0.lock().unwrap(), |shut| *shut).unwrap());
    }
}

/// What a test does to a disk.
#[derive(Clone, Default)]
pub(crate) struct Switches {
    pub(crate) broken: Arc<AtomicBool>,
    pub(crate) full: Arc<AtomicBool>,
    pub(crate) gate: Gate,
}

/// A directory whose files cannot be synced any more once it is broken.
struct FailingStorage {
    disk: DirectoryStorage,
    switches: Switches,
}

struct FailingFile {
    file: Arc<dyn StorageFile>,
    switches: Switches,
}

impl FailingStorage {
    fn file(&self, file: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        Arc::new(FailingFile { file, switches: self.switches.clone() })
    }
}

impl Storage for FailingStorage {
    fn lock(&self) -> std::io::Result<DirectoryLock> {
        self.disk.lock()
    }
    fn list(&self) -> std::io::Result<Vec<String>> {
        self.disk.list()
    }
    fn create(&self, name: &str) -> std::io::Result<Arc<dyn StorageFile>> {
        if self.switches.full.load(Ordering::Relaxed) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        Ok(self.file(self.disk.create(name)?))
    }
    fn open(&self, name: &str) -> std::io::Result<Arc<dyn StorageFile>> {
        Ok(self.file(self.disk.open(name)?))
    }
    fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, name: &str) -> std::io::Result<()> {
        self.disk.remove(name)
    }
    fn sync_directory(&self) -> std::io::Result<()> {
        self.disk.sync_directory()
    }
    fn describe(&self) -> String {
        self.disk.describe()
    }
}

impl StorageFile for FailingFile {
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.file.read_at(buf, offset)
    }
    fn read_device_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.file.read_device_at(buf, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        self.file.write_at(bytes, offset)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.switches.gate.pass();
        if self.switches.broken.load(Ordering::SeqCst) {
            return Err(std::io::Error::other("the disk is broken"));
        }
        self.file.sync_data()
    }
}
