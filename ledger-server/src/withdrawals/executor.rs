//! Drives the ledger's open withdrawals against a bank: a bounded number of calls at a time, each recorded before and
//! after.
//!
//! One task hands out what is due and sleeps until something is; it holds no withdrawal of its own, so whatever happens
//! to it, the log knows what is open. What must hold:
//! - no byte leaves before "attempt started" is durable;
//! - a call without a readable answer (too late, a panic) is ambiguous, never a failure;
//! - a withdrawal that was handed out is recorded as changed or deferred, unless the ledger has ended.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ledger_core::withdrawals::{AttemptClass, Due, Inquiry, InquiryAnswer, Step, Submission, Substatus};
use ledger_core::{Commit, Error, Ledger, Rejection, TransactionId};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::figures::{Counters, Figures};
use super::gateway::{Gateway, Payout};
use super::shares::{Busy, Shares};

/// The first wait when the log has no room; doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How an [`Executor`] works.
#[derive(Clone, Debug)]
pub struct ExecutorOptions {
    /// How many calls to the bank at a time, at least 1. Default 50.
    pub workers: usize,
    /// After how long a call without an answer counts as ambiguous. Default 30 s.
    pub bank_timeout: Duration,
}

impl Default for ExecutorOptions {
    fn default() -> ExecutorOptions {
        ExecutorOptions { workers: 50, bank_timeout: Duration::from_secs(30) }
    }
}

/// A running executor. Dropped without [`Executor::shutdown`], it starts nothing more and lets what is under way end.
#[derive(Debug)]
pub struct Executor {
    ledger: LedgerHandle,
    shared: Arc<Shared>,
    stop: watch::Sender<Option<Instant>>,
    dispatcher: Mutex<Option<JoinHandle<usize>>>,
}

/// What the dispatcher, its workers and those who watch have in common.
#[derive(Debug, Default)]
struct Shared {
    wake: Notify,
    /// Calls under way by kind. They are only counted, and publish nothing: relaxed.
    fresh: AtomicUsize,
    other: AtomicUsize,
    counters: Counters,
}

/// One worker's part in the count of its kind; gives it back when dropped, so that a panic frees the worker too.
struct Slot {
    shared: Arc<Shared>,
    fresh: bool,
}

impl Slot {
    fn take(shared: &Arc<Shared>, fresh: bool) -> Slot {
        shared.busy(fresh).fetch_add(1, Ordering::Relaxed);
        Slot { shared: shared.clone(), fresh }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.busy(self.fresh).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    fn busy(&self, fresh: bool) -> &AtomicUsize {
        if fresh { &self.fresh } else { &self.other }
    }

    fn count(&self) -> Busy {
        Busy { fresh: self.fresh.load(Ordering::Relaxed), other: self.other.load(Ordering::Relaxed) }
    }
}

#[derive(Clone)]
struct LedgerHandle(Ledger);

impl std::fmt::Debug for LedgerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ledger")
    }
}

impl Executor {
    /// Starts to drive `ledger`'s open withdrawals, on the runtime of the caller. One executor per ledger.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start<G: Gateway>(ledger: Ledger, gateway: Arc<G>, options: ExecutorOptions) -> Executor {
        let shared = Arc::new(Shared::default());
        let waker = shared.clone();
        ledger.on_withdrawal_due(move || waker.wake.notify_one());
        let (stop, stopping) = watch::channel(None);
        let bank = Bank {
            ledger: ledger.clone(),
            gateway,
            timeout: options.bank_timeout,
            shared: shared.clone(),
            stopping: stopping.clone(),
        };
        let dispatcher = Dispatcher {
            bank: Arc::new(bank),
            shares: Shares::new(options.workers),
            running: JoinSet::new(),
            stopping,
            pause: PAUSE_MIN,
            paused_until: None,
            idle: Duration::ZERO,
            over: false,
        };
        let dispatcher = Mutex::new(Some(tokio::spawn(dispatcher.run())));
        Executor { ledger: LedgerHandle(ledger), shared, stop, dispatcher }
    }

    /// How many withdrawals are being worked on now: attempts and inquiries.
    pub fn in_flight(&self) -> usize {
        let busy = self.shared.count();
        busy.fresh + busy.other
    }

    /// How many withdrawals were accepted and wait for a worker to start their first attempt.
    pub fn queue_length(&self) -> usize {
        self.ledger.0.withdrawal_places_taken().saturating_sub(self.shared.count().fresh)
    }

    /// What it has done so far.
    pub fn figures(&self) -> Figures {
        self.shared.counters.read()
    }

    /// Stops: no attempt starts from now on, those under way are awaited for up to `timeout` and then let go. What is
    /// open stays in the log. Says how many were let go: their fate is asked of the bank after the next start. Only the
    /// first call waits.
    pub async fn shutdown(&self, timeout: Duration) -> usize {
        self.stop.send_replace(Some(Instant::now() + timeout));
        let dispatcher = self.dispatcher.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(dispatcher) = dispatcher else { return 0 };
        dispatcher.await.unwrap_or_else(|panic| {
            tracing::error!(%panic, "the executor of withdrawals had ended before it was stopped");
            0
        })
    }
}

/// What a worker learnt about the ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Finding {
    /// It takes entries.
    Well,
    /// It has no room for now.
    Congested,
    /// It takes none any more.
    Over,
}

/// Hands out what is due.
struct Dispatcher<G: Gateway> {
    bank: Arc<Bank<G>>,
    shares: Shares,
    running: JoinSet<Finding>,
    stopping: watch::Receiver<Option<Instant>>,
    pause: Duration,
    paused_until: Option<Instant>,
    /// Grows while the ledger says that something is due and hands out nothing, so that this cannot become a busy loop.
    idle: Duration,
    over: bool,
}

impl<G: Gateway> Dispatcher<G> {
    /// Until it is told to stop; says how many workers were let go.
    async fn run(mut self) -> usize {
        let bank = self.bank.clone();
        loop {
            let until = self.dispatch();
            let asleep = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // An error says that the executor was dropped, which is a stop without a limit.
                _ = self.stopping.changed() => break,
                Some(ended) = self.running.join_next(), if !self.running.is_empty() => self.learn(ended.ok()),
                () = bank.shared.wake.notified() => {}
                () = asleep => {}
            }
        }
        self.drain().await
    }

    /// Fills the free workers; says when to look again, unless something happens before.
    fn dispatch(&mut self) -> Option<Instant> {
        while let Some(ended) = self.running.try_join_next() {
            self.learn(ended.ok());
        }
        if self.over {
            return None;
        }
        let now = Instant::now();
        if let Some(until) = self.paused_until.filter(|until| *until > now) {
            return Some(until);
        }
        self.paused_until = None;

        let (bank, running) = (&self.bank, &mut self.running);
        let mut handed_out = 0;
        self.shares.fill(bank.shared.count(), |fresh, max| {
            let due = bank.ledger.due_withdrawals(fresh, max);
            let count = due.len();
            for due in due {
                let (bank, slot) = (bank.clone(), Slot::take(&bank.shared, fresh));
                running.spawn(async move {
                    let finding = bank.perform(due).await;
                    drop(slot);
                    finding
                });
            }
            handed_out += count;
            count
        });

        let busy = bank.shared.count();
        if busy.fresh + busy.other >= self.shares.workers() {
            return None; // The next worker that ends wakes this task.
        }
        let next = bank.ledger.next_due_in()?;
        self.idle = match handed_out {
            0 if next.is_zero() => (self.idle * 2).clamp(Duration::from_millis(1), Duration::from_secs(1)),
            _ => Duration::ZERO,
        };
        // Rounded up, so that it is due when this task wakes and not just before.
        Some(now + next.max(self.idle) + Duration::from_millis(1))
    }

    /// `None`: the worker panicked. The panic was printed, and if it was the ledger's, the ledger has halted.
    fn learn(&mut self, finding: Option<Finding>) {
        match finding {
            Some(Finding::Well) => self.pause = PAUSE_MIN,
            Some(Finding::Congested) => {
                let now = Instant::now();
                // The workers of one burst meet the same full log: they count once.
                if self.paused_until.is_none_or(|until| until <= now) {
                    self.bank.shared.counters.congestion();
                    tracing::warn!(pause = ?self.pause, "the log has no room; withdrawals wait");
                    self.paused_until = Some(now + self.pause);
                    self.pause = (self.pause * 2).min(PAUSE_MAX);
                }
            }
            Some(Finding::Over) if !self.over => {
                self.over = true;
                tracing::error!("the ledger takes no entries any more; withdrawals stay in the log");
            }
            Some(Finding::Over) | None => {}
        }
    }

    async fn drain(mut self) -> usize {
        let limit = *self.stopping.borrow();
        let all_ended = async { while self.running.join_next().await.is_some() {} };
        match limit {
            Some(limit) => drop(tokio::time::timeout_at(limit, all_ended).await),
            None => all_ended.await,
        }
        let left = self.running.len();
        if left > 0 {
            tracing::warn!(left, "bank calls were let go at the stop; the bank is asked about them at the next start");
        }
        self.running.shutdown().await;
        left
    }
}

/// The ledger on one side, the bank on the other, and one withdrawal at a time between them.
struct Bank<G: Gateway> {
    ledger: Ledger,
    gateway: Arc<G>,
    timeout: Duration,
    shared: Arc<Shared>,
    stopping: watch::Receiver<Option<Instant>>,
}

impl<G: Gateway> Bank<G> {
    async fn perform(&self, due: Due) -> Finding {
        if self.is_stopping() {
            // For another executor of the same ledger; after a restart the log knows.
            self.ledger.defer_withdrawal(due.id, self.ledger.now());
            return Finding::Well;
        }
        match due.step {
            Step::Submit => self.attempt(due.id).await,
            Step::Inquire => self.inquire(due.id).await,
            Step::Review => match settled(self.ledger.pass_deadline(due.id)).await {
                Ok(_) => Finding::Well,
                Err(error) => self.put_back(due.id, &error),
            },
            Step::WaitUntil(until) => {
                self.ledger.defer_withdrawal(due.id, until);
                Finding::Well
            }
            Step::Nothing => Finding::Well,
        }
    }

    async fn attempt(&self, id: TransactionId) -> Finding {
        let attempt = match settled(self.ledger.start_attempt(id)).await {
            Ok(attempt) => attempt,
            Err(error) => return self.put_back(id, &error),
        };
        // From here on the log says, durably, that bytes may have left. Nothing may return without an outcome.
        let number = attempt.number;
        let payout = Payout::from(attempt);
        self.shared.counters.attempt();
        let gateway = self.gateway.clone();
        let outcome = self.call(async move { gateway.submit(&payout).await }).await;
        let outcome = outcome.unwrap_or_else(|evidence| Submission { class: AttemptClass::Ambiguous, evidence });
        self.shared.counters.outcome(outcome.class);
        self.record(id, || self.ledger.end_attempt(id, number, &outcome)).await
    }

    async fn inquire(&self, id: TransactionId) -> Finding {
        let payout = match settled(self.ledger.withdrawal(id)).await {
            Ok(Some(withdrawal)) => Payout::from(withdrawal),
            Ok(None) => return Finding::Well,
            Err(error) => return self.put_back(id, &error),
        };
        let gateway = self.gateway.clone();
        let outcome = self.call(async move { gateway.inquire(&payout).await }).await;
        let outcome = outcome.unwrap_or_else(|evidence| Inquiry { answer: InquiryAnswer::Unanswered, evidence });
        self.shared.counters.answer(outcome.answer);
        self.record(id, || self.ledger.record_inquiry(id, &outcome)).await
    }

    /// The bank's answer, or why there is none. The call has a task of its own, so that neither a panic nor code that
    /// never yields keeps its outcome from being recorded.
    async fn call<T: Send + 'static>(&self, call: impl Future<Output = T> + Send + 'static) -> Result<T, String> {
        // A set, because it ends its task when it is dropped.
        let mut task = JoinSet::new();
        task.spawn(call);
        match timeout(self.timeout, task.join_next()).await {
            Ok(Some(Ok(answer))) => Ok(answer),
            Ok(Some(Err(error))) if error.is_panic() => Err("the gateway panicked".to_owned()),
            Ok(_) => Err("the call was cancelled".to_owned()),
            Err(_) => Err(format!("no answer within {:?}", self.timeout)),
        }
    }

    /// Records what the bank said. It is known only here until then, so a full log is waited for.
    async fn record(&self, id: TransactionId, record: impl Fn() -> Result<Commit<Substatus>, Error> + Send) -> Finding {
        let mut pause = PAUSE_MIN;
        let mut finding = Finding::Well;
        loop {
            match settled(record()).await {
                Ok(_) => return finding,
                Err(error) => match meaning(&error) {
                    Finding::Congested => {
                        finding = Finding::Congested;
                        sleep(pause).await;
                        pause = (pause * 2).min(PAUSE_MAX);
                    }
                    Finding::Over => return Finding::Over,
                    Finding::Well => {
                        self.shared.counters.refused();
                        tracing::warn!(%id, %error, "the ledger did not take a bank's outcome");
                        return finding;
                    }
                },
            }
        }
    }

    /// Nothing was begun for `id`, so it is handed back. Where it was refused because it is elsewhere by now (a window or
    /// a deadline passed in between), what it is handed out for next time says so.
    fn put_back(&self, id: TransactionId, error: &Error) -> Finding {
        let finding = meaning(error);
        if finding != Finding::Over && *error != Error::Rejected(Rejection::TransactionNotFound) {
            self.ledger.defer_withdrawal(id, self.ledger.now().saturating_add(PAUSE_MIN));
        }
        finding
    }

    fn is_stopping(&self) -> bool {
        // An error says that the executor was dropped.
        self.stopping.has_changed().unwrap_or(true)
    }
}

/// A command's answer once it may leave.
async fn settled<T: Unpin>(commit: Result<Commit<T>, Error>) -> Result<T, Error> {
    commit?.await
}

/// What an error says about the ledger. `Well`: it is about the withdrawal alone.
fn meaning(error: &Error) -> Finding {
    match error {
        Error::Rejected(Rejection::StorageFull | Rejection::Overloaded) => Finding::Congested,
        Error::Rejected(Rejection::ShuttingDown) | Error::Halted(_) => Finding::Over,
        Error::Rejected(_) => Finding::Well,
    }
}
