//! The requests of one connection that were handed to hyper and are not answered, in their order.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use tower_service::Service;

use super::unread::Watched;
use crate::app::{Answer, Http};
use crate::route::Route;

/// How many requests of a connection may be begun and not answered.
const BEGUN_MAX: usize = 64;

/// Shared by the socket, which begins requests, and the service, which hyper calls for each in turn. Both belong to the
/// connection's own task, so the lock is never waited for.
pub(super) struct Turns(Mutex<Inner>);

struct Inner {
    http: Http,
    /// Of the requests that hyper has not called the service for. Empty once the socket looks at nothing any more.
    waiting: VecDeque<Turn>,
    /// How many were handed on, and how many of them, the first ones, are answered.
    handed: u64,
    answered: u64,
    /// The number of the last one that was begun here, of the last command among those, and of the last one that went to hyper
    /// as it came; 0: none.
    begun: u64,
    command: u64,
    passed: u64,
    /// hyper has the first one, and has not looked at it yet.
    is_untouched: bool,
    stopping: bool,
    /// Who reads when something is answered.
    reader: Option<Waker>,
}

impl Inner {
    fn unanswered(&self) -> usize {
        (self.handed - self.answered) as usize
    }

    /// Whether hyper has asked for one that it has no answer to yet.
    fn is_serving(&self) -> bool {
        self.unanswered() > self.waiting.len()
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

enum Turn {
    /// Called, and not polled yet.
    Called(Answer),
    Begun(Answer),
    Ready(Response),
    AsItCame,
}

impl Turns {
    pub(super) fn new(http: Http) -> Arc<Turns> {
        Arc::new(Turns(Mutex::new(Inner {
            http,
            waiting: VecDeque::new(),
            handed: 0,
            answered: 0,
            begun: 0,
            command: 0,
            passed: 0,
            is_untouched: false,
            stopping: false,
            reader: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more request may be begun. If not, the task is woken when it may be.
    pub(super) fn poll_room(&self, cx: &Context<'_>) -> bool {
        let mut inner = self.lock();
        // When one that goes to hyper as it came is decided is not known, so nothing is begun behind it.
        let held_back = inner.passed > inner.answered || inner.is_untouched || inner.stopping;
        let has_room = !held_back && inner.unanswered() < BEGUN_MAX;
        if !has_room {
            inner.reader = Some(cx.waker().clone());
        }
        has_room
    }

    /// Whether all that was handed on is answered. If not, the task is woken when it may be.
    pub(super) fn poll_idle(&self, cx: &Context<'_>) -> bool {
        let mut inner = self.lock();
        let is_idle = inner.unanswered() == 0;
        if !is_idle {
            inner.reader = Some(cx.waker().clone());
        }
        is_idle
    }

    /// Whether something that was begun is not answered.
    pub(super) fn has_begun(&self) -> bool {
        let inner = self.lock();
        inner.begun > inner.answered
    }

    /// Nothing more is begun.
    pub(super) fn stop(&self) {
        self.lock().stopping = true;
    }

    /// Whether a request may be begun now: a command, or a balance with no unanswered command before it. Behind one it would
    /// be right, and yet could tell an earlier seq than the answer before it.
    pub(super) fn may_begin(&self, route: Route) -> bool {
        let inner = self.lock();
        route.is_command() || route == Route::Balance && inner.command <= inner.answered
    }

    /// Calls the application.
    pub(super) fn call(&self, route: Route, request: Request<Body>) {
        let mut inner = self.lock();
        let answer = inner.http.call(request);
        inner.waiting.push_back(Turn::Called(answer));
        inner.handed += 1;
        inner.begun = inner.handed;
        if route.is_command() {
            inner.command = inner.handed;
        }
    }

    /// The next request is given to hyper.
    pub(super) fn pass(&self) {
        let mut inner = self.lock();
        inner.waiting.push_back(Turn::AsItCame);
        inner.handed += 1;
        inner.passed = inner.handed;
    }

    /// Begins what was called, each after the one before it has been. A request that is alone is left to hyper, which asks for
    /// it at once.
    pub(super) fn begin(&self, cx: &mut Context<'_>) {
        let mut inner = self.lock();
        if inner.unanswered() < 2 {
            return;
        }
        let is_serving = inner.is_serving();
        for (place, turn) in inner.waiting.iter_mut().enumerate() {
            if let Turn::Called(_) = turn
                && let Turn::Called(mut answer) = std::mem::replace(turn, Turn::AsItCame)
            {
                // Who has others before it need wake nobody: it is looked at again when its turn has come.
                let is_first = place == 0 && !is_serving;
                let mut nobody = Context::from_waker(Waker::noop());
                let context = if is_first { &mut *cx } else { &mut nobody };
                *turn = match Pin::new(&mut answer).poll(context) {
                    Poll::Ready(Ok(response)) => Turn::Ready(response),
                    Poll::Pending => Turn::Begun(answer),
                };
            }
        }
    }

    /// Whether hyper serves none now, and has the answer to the next in turn at once.
    pub(super) fn is_next_ready(&self) -> bool {
        let mut inner = self.lock();
        if inner.is_serving() {
            return false;
        }
        let Some(next) = inner.waiting.front_mut() else { return false };
        if let Turn::Begun(answer) = next
            && let Poll::Ready(Ok(response)) = Pin::new(answer).poll(&mut Context::from_waker(Waker::noop()))
        {
            *next = Turn::Ready(response);
        }
        matches!(next, Turn::Ready(_))
    }

    /// Serves what hyper has read: the next in turn.
    pub(super) fn serve(self: &Arc<Turns>, request: Request<Watched>) -> Serving {
        let mut inner = self.lock();
        let source = match inner.waiting.pop_front() {
            Some(Turn::Ready(response)) => Source::Ready(Some(response)),
            Some(Turn::Begun(answer)) => Source::Answer(answer),
            Some(Turn::Called(answer)) => {
                inner.is_untouched = true;
                Source::Answer(answer)
            }
            Some(Turn::AsItCame) => Source::Answer(inner.http.call(request.map(Body::new))),
            None => {
                // Nothing is looked at any more, so this one was not counted.
                inner.handed += 1;
                Source::Answer(inner.http.call(request.map(Body::new)))
            }
        };
        Serving { source, turns: Arc::clone(self) }
    }
}

/// A request being served.
pub(super) struct Serving {
    source: Source,
    turns: Arc<Turns>,
}

#[expect(clippy::large_enum_variant, reason = "nearly every one is the large one")]
enum Source {
    Ready(Option<Response>),
    Answer(Answer),
}

impl Future for Serving {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = match &mut self.source {
            Source::Ready(response) => return Poll::Ready(Ok(response.take().unwrap_or_default())),
            Source::Answer(answer) => Pin::new(answer).poll(cx),
        };
        if polled.is_pending() {
            let mut inner = self.turns.lock();
            if std::mem::take(&mut inner.is_untouched) {
                inner.wake_reader();
            }
        }
        polled
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let mut inner = self.turns.lock();
        inner.answered += 1;
        inner.is_untouched = false;
        inner.wake_reader();
    }
}
