//! How long a connection waits for a request's head.
//!
//! hyper has one deadline for a head, and counts the silence between two requests into it: five seconds, which is right
//! for a client that sends its head byte by byte, would close every idle connection. So hyper is given a timer that knows
//! whether anything was heard. It also keeps one timer a connection in place of one a request: a deadline that moved
//! later is noticed when the earlier one has come.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::unread::Unread;

/// What is known of one connection's silence.
pub(super) struct Patience {
    header_deadline: Duration,
    idle_deadline: Duration,
    heard: AtomicBool,
    /// Nobody is impatient: requests are decided and answered past hyper, which waits for a head meanwhile.
    suspended: AtomicBool,
    watch: Mutex<Watch>,
}

struct Watch {
    waiting_since: Instant,
    heard_at: Option<Instant>,
    /// Whether a head was waited for before this one.
    reused: bool,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Patience {
    pub(super) fn new(header_deadline: Duration, idle_deadline: Duration) -> Patience {
        let watch = Watch { waiting_since: Instant::now(), heard_at: None, reused: false, timer: None };
        let (heard, suspended) = (AtomicBool::new(false), AtomicBool::new(false));
        Patience { header_deadline, idle_deadline, heard, suspended, watch: Mutex::new(watch) }
    }

    /// Bytes came. Relaxed, like the look at it: the connection's own task does both.
    pub(super) fn hear(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    /// No head is waited for until [`Patience::resume`].
    pub(super) fn suspend(&self) {
        self.suspended.store(true, Ordering::Relaxed);
    }

    /// From `now` on another head is waited for.
    pub(super) fn resume(&self, now: Instant) {
        self.suspended.store(false, Ordering::Relaxed);
        self.begin(true, now);
    }

    fn begin(&self, reused: bool, now: Instant) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        self.heard.store(false, Ordering::Relaxed);
        watch.waiting_since = now;
        watch.heard_at = None;
        watch.reused = reused;
    }

    fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.suspended.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if watch.heard_at.is_none() && self.heard.load(Ordering::Relaxed) {
            watch.heard_at = Some(Instant::now());
        }
        let deadline = match watch.heard_at {
            Some(heard_at) => heard_at + self.header_deadline,
            None if watch.reused => watch.waiting_since + self.idle_deadline,
            None => watch.waiting_since + self.header_deadline,
        };
        let deadline = tokio::time::Instant::from_std(deadline);
        let timer = watch.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// The timer that hyper is given for one connection.
pub(super) struct HeadTimer {
    patience: Arc<Patience>,
    unread: Arc<Unread>,
    reused: AtomicBool,
}

impl HeadTimer {
    pub(super) fn new(patience: Arc<Patience>, unread: Arc<Unread>) -> HeadTimer {
        HeadTimer { patience, unread, reused: AtomicBool::new(false) }
    }
}

impl hyper::rt::Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    /// hyper asks for this when it begins to wait for a head.
    fn sleep_until(&self, _deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.unread.drained();
        self.patience.begin(self.reused.swap(true, Ordering::Relaxed), Instant::now());
        Box::pin(HeadWait { patience: Arc::clone(&self.patience) })
    }
}

struct HeadWait {
    patience: Arc<Patience>,
}

impl Future for HeadWait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.patience.poll_over(cx)
    }
}

impl hyper::rt::Sleep for HeadWait {}
