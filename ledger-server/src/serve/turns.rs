//! Whose turn it is on a connection: hyper's, or that of who reads ahead of it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll};

use axum::body::Body as AnyBody;
use axum::http::Request;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tower_service::Service;

use super::unread::Watched;
use crate::app::{Answer, Http};

/// hyper has no request, or none that it has not answered to the last byte.
const IDLE: u8 = 0;
/// hyper was given a request.
const SERVING: u8 = 1;
/// hyper has had all of the answer from the application, and is about to write what is left of it.
const ANSWERED: u8 = 2;

/// Shared by the socket and the service, which hyper calls. Relaxed throughout: both belong to the connection's own task.
pub(super) struct Turns {
    http: Http,
    hyper: AtomicU8,
    has_begun: AtomicBool,
    stopping: AtomicBool,
}

impl Turns {
    pub(super) fn new(http: Http) -> Arc<Turns> {
        let (has_begun, stopping) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Turns { http, hyper: AtomicU8::new(IDLE), has_begun, stopping })
    }

    /// The next request is given to hyper.
    pub(super) fn pass(&self) {
        self.hyper.store(SERVING, Ordering::Relaxed);
    }

    /// hyper has written all that it had. Says whether with that a request was done.
    pub(super) fn written(&self) -> bool {
        let is_done = self.hyper.load(Ordering::Relaxed) == ANSWERED;
        if is_done {
            self.hyper.store(IDLE, Ordering::Relaxed);
        }
        is_done
    }

    pub(super) fn is_hyper_idle(&self) -> bool {
        self.hyper.load(Ordering::Relaxed) == IDLE
    }

    /// Whether something that came is not answered, and hyper does not know of it.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }

    pub(super) fn set_begun(&self, has_begun: bool) {
        self.has_begun.store(has_begun, Ordering::Relaxed);
    }

    /// Nothing more is begun.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Serves what hyper has read.
    pub(super) fn serve(self: &Arc<Turns>, request: Request<Watched>) -> Serving {
        Serving { answer: self.http.clone().call(request.map(AnyBody::new)), turns: Arc::clone(self) }
    }
}

/// A request being served by hyper.
pub(super) struct Serving {
    answer: Answer,
    turns: Arc<Turns>,
}

impl Future for Serving {
    type Output = Result<Response<Told>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = Pin::new(&mut self.answer).poll(cx);
        polled.map_ok(|response| response.map(|body| Told { body, turns: Arc::clone(&self.turns) }))
    }
}

/// The body of an answer, which tells when hyper has had all of it.
pub(super) struct Told {
    body: AnyBody,
    turns: Arc<Turns>,
}

impl Drop for Told {
    fn drop(&mut self) {
        self.turns.hyper.store(ANSWERED, Ordering::Relaxed);
    }
}

impl Body for Told {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
