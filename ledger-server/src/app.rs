//! The application: its state, and the service that stands around the router.
//!
//! [`Http`] refuses what a halted or stopping server must not answer, turns a panic into an answer, and counts. It is a
//! service and not a stack of layers, since each layer of the router's own kind would cost every request two allocations.

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::future::RouteFuture;
use ledger_core::{BankReference, Clock, Ledger, Seq, SystemClock, TransactionId};
use tokio::sync::{Notify, Semaphore};
use tower_service::Service;

use crate::error::Problem;
use crate::metrics::Metrics;
use crate::origin::{self, Origin};
use crate::payouts::{NoPayouts, Payouts};
use crate::route::Route;
use crate::routes::{self, Decidable, Replying};
use crate::signing::HeadSigner;
use crate::wire::asked::Asked;
use crate::wire::operation::Terms;
use crate::wire::reply::Reply;
use crate::withdrawals::NoticeSecret;

/// How many statements are compared with the log at once. Each may take memory in proportion to the withdrawals that it
/// names.
const RECONCILIATIONS_MAX: usize = 4;

/// What the application is told once, when it starts.
#[derive(Clone)]
pub struct AppOptions {
    /// What requests must agree with.
    pub terms: Terms,
    /// Whether a repeat is answered as the first request was, in place of 409.
    pub replay_duplicates: bool,
    /// How much memory the bodies of batches that are longer than those of single commands may have together. Default 256 MiB.
    pub large_bodies_bytes_max: usize,
    /// How long a body may take to come whole.
    pub body_deadline: Duration,
    /// How long a stream of operations may be silent.
    pub stream_idle_deadline: Duration,
    /// How many withdrawals are performed at once.
    pub workers: usize,
    /// How many more may wait.
    pub queue: usize,
    /// Who performs withdrawals.
    pub payouts: Arc<dyn Payouts>,
    /// What a bank signs its notices with: any of these. Without one, notices are not taken.
    pub notice_secrets: Vec<NoticeSecret>,
    /// What the age of a signature is measured by.
    pub clock: Arc<dyn Clock>,
    /// Which pages of other servers may have something done, from a browser.
    pub allowed_origins: Vec<Origin>,
    /// Who signs heads; without one they are given unsigned.
    pub signer: Option<HeadSigner>,
}

impl AppOptions {
    /// For requests that agree with `terms`: conflicts for repeats, 30 s for a body, nobody to perform withdrawals.
    pub fn new(terms: Terms) -> AppOptions {
        AppOptions {
            terms,
            replay_duplicates: false,
            large_bodies_bytes_max: 256 << 20,
            body_deadline: Duration::from_secs(30),
            stream_idle_deadline: Duration::from_secs(30),
            workers: 50,
            queue: 100,
            payouts: Arc::new(NoPayouts),
            notice_secrets: Vec::new(),
            clock: Arc::new(SystemClock),
            allowed_origins: Vec::new(),
            signer: None,
        }
    }
}

/// What every handler shares. Clones are handles to the same one.
#[derive(Clone)]
pub struct App(Arc<Shared>);

/// The inside of [`App`].
pub struct Shared {
    pub(crate) ledger: Ledger,
    pub(crate) identity: Identity,
    pub(crate) options: AppOptions,
    pub(crate) metrics: Metrics,
    pub(crate) started: Instant,
    pub(crate) reconciliations: Semaphore,
    /// In bytes.
    pub(crate) large_bodies: Arc<Semaphore>,
    stopping: AtomicBool,
    stop: Notify,
}

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl App {
    /// The application around an open ledger.
    pub fn new(ledger: Ledger, options: AppOptions) -> App {
        let identity = Identity::of(&ledger);
        App(Arc::new(Shared {
            ledger,
            identity,
            large_bodies: Arc::new(Semaphore::new(options.large_bodies_bytes_max.min(Semaphore::MAX_PERMITS))),
            options,
            metrics: Metrics::default(),
            started: Instant::now(),
            reconciliations: Semaphore::new(RECONCILIATIONS_MAX),
            stopping: AtomicBool::new(false),
            stop: Notify::new(),
        }))
    }

    /// From now on every request but those of health and metrics is answered with `shutting_down`.
    pub fn stop(&self) {
        // Relaxed: the flag carries no data, and a request that just missed it is one that was in flight.
        self.stopping.store(true, Ordering::Relaxed);
        self.stop.notify_waiters();
    }

    /// Ready once [`App::stop`] was called: for what waits for a client and would hold up the stop.
    pub(crate) async fn stopped(&self) {
        // Asked for before the look at the flag, so that a stop between the two is not missed.
        let stopped = self.stop.notified();
        if !self.is_stopping() {
            stopped.await;
        }
    }

    /// How many withdrawals have a place and wait for a worker. Retries hold workers too, so more may wait than there are
    /// places in the queue: as many are told as it has. Where nobody performs withdrawals, all those with a place wait.
    pub(crate) fn queue_length(&self) -> usize {
        let payouts = &self.options.payouts;
        let waiting = if payouts.is_running() { payouts.queue_length() } else { self.ledger.withdrawal_places_taken() };
        waiting.min(self.options.queue)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Why nothing is answered now, if so.
    pub(crate) fn refusal(&self) -> Option<Problem> {
        if let Some(halted) = self.ledger.halted() {
            return Some(Problem::halted(&halted));
        }
        self.is_stopping().then(Problem::shutting_down)
    }
}

/// Which ledger this is, and which of its openings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    /// A number that tells this ledger from others.
    pub(crate) ledger: u128,
    reference: BankReference,
}

impl Identity {
    fn of(ledger: &Ledger) -> Identity {
        let uuid = ledger.uuid();
        let id = TransactionId::new(1).expect("1 is an id");
        Identity { ledger: uuid.as_u128(), reference: BankReference { ledger: uuid, epoch: ledger.epoch(), id } }
    }

    /// The bank's name for a withdrawal that was accepted in this opening.
    pub(crate) fn bank_reference(&self, id: TransactionId) -> BankReference {
        BankReference { id, ..self.reference }
    }
}

/// The application as a service: one request in, one response out, never an error.
pub fn app(app: App) -> Http {
    Http { router: routes::router(app.clone()), app }
}

/// See [`app`].
#[derive(Clone)]
pub struct Http {
    router: Router,
    app: App,
}

impl Service<Request<Body>> for Http {
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let started = Instant::now();
        let route = Route::of(request.uri().path());
        let refusal = if route.answers_always() { None } else { self.app.refusal() };
        let options = &self.app.options;
        let refusal =
            refusal.or_else(|| origin::refusal(request.method(), request.headers(), &options.allowed_origins));
        let source = match refusal {
            Some(problem) => Source::Refused(Some(problem.into_response())),
            None => Source::Router(self.router.call(request)),
        };
        Answer { source, app: self.app.clone(), route, started }
    }
}

impl Http {
    /// What it serves.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.app.ledger
    }

    /// Decides a request that has come whole, without the router. `started` is when its head was looked at.
    pub(crate) fn decide(&self, what: Decidable, asked: &Asked<'_>, body: &[u8], started: Instant) -> Deciding {
        let route = what.route();
        let decide = || match self.app.refusal() {
            Some(problem) => Err(problem),
            None => what.decide(&self.app, asked, body),
        };
        let source = catch_unwind(AssertUnwindSafe(decide)).unwrap_or_else(|panic| Err(panicked(route, &*panic)));
        Deciding { source: source.map_err(Some), what, started }
    }

    /// The reply to a request that was decided, once it may leave.
    pub(crate) fn poll_reply(&self, deciding: &mut Deciding, cx: &mut Context<'_>) -> Poll<Reply> {
        let replying = match &mut deciding.source {
            Ok(replying) => replying,
            Err(problem) => return Poll::Ready(problem.take().unwrap_or_else(Problem::internal).into()),
        };
        // Nor is this polled again.
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(replying).poll(cx)))
            .unwrap_or_else(|panic| Poll::Ready(Err(panicked(deciding.what.route(), &*panic))));
        polled.map(|replied| replied.unwrap_or_else(Reply::from))
    }

    /// Counts a reply that is being sent `now`.
    pub(crate) fn count(&self, deciding: &Deciding, reply: &Reply, now: Instant) {
        self.app.metrics.observe(deciding.what.route(), reply.status, now - deciding.started);
    }
}

/// A request that was decided, and is answered when it may be.
pub(crate) struct Deciding {
    source: Result<Replying, Option<Problem>>,
    what: Decidable,
    started: Instant,
}

impl Deciding {
    pub(crate) fn what(&self) -> Decidable {
        self.what
    }

    /// The last entry that the reply rests on; none: it may leave.
    pub(crate) fn seq(&self) -> Option<Seq> {
        self.source.as_ref().ok().map(Replying::seq)
    }
}

enum Source {
    Refused(Option<Response>),
    Router(RouteFuture<Infallible>),
}

/// An answer of [`Http`] on its way.
pub struct Answer {
    source: Source,
    app: App,
    route: Route,
    started: Instant,
}

impl Future for Answer {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = match &mut self.source {
            Source::Refused(response) => Poll::Ready(response.take().unwrap_or_default()),
            Source::Router(future) => {
                // A handler that panicked is not polled again, so nobody sees what it left half done.
                match catch_unwind(AssertUnwindSafe(|| Pin::new(future).poll(cx))) {
                    Ok(polled) => polled.map(|Ok(response)| response),
                    Err(panic) => Poll::Ready(panicked(self.route, &*panic).into_response()),
                }
            }
        };
        polled.map(|response| {
            self.app.metrics.observe(self.route, response.status(), self.started.elapsed());
            Ok(response)
        })
    }
}

fn panicked(route: Route, panic: &(dyn Any + Send)) -> Problem {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    tracing::error!(route = route.as_str(), message, "a handler panicked; the request was answered with 500");
    Problem::internal()
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use http_body_util::BodyExt;
    use ledger_core::Currency;
    use tower::ServiceExt;

    use super::*;

    async fn breaks() -> &'static str {
        panic!("a bug")
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_and_the_next_request_is_served() {
        let terms = Terms { currency: Currency::USD, currencies: vec![Currency::USD], destination_required: false };
        let app = App::new(Ledger::options().in_memory().unwrap(), AppOptions::new(terms));
        let router = routes::router(app.clone()).route("/breaks", get(breaks));
        let http = Http { router, app };
        let call = |path: &str| http.clone().oneshot(Request::get(path).body(Body::empty()).unwrap());
        let response = call("/breaks").await.unwrap();
        assert_eq!(response.status(), 500);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&problem["code"], &problem["status"]), (&"internal".into(), &500.into()));
        let metrics = call("/metrics").await.unwrap().into_body().collect().await.unwrap().to_bytes();
        let metrics = String::from_utf8(metrics.to_vec()).unwrap();
        assert!(metrics.contains("ledger_http_requests_total{route=\"other\",status=\"500\"} 1"), "{metrics}");
    }
}
