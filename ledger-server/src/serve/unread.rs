//! Whether a client may still be sending what nobody reads.
//!
//! Many a client sends a request's head and its body apart, so the body of one that is refused for its head may come after the
//! refusal. It is read out first, if it is short and comes soon: else the connection would have to be closed, and what the client
//! sends on it next could not know whether it was seen.
//!
//! A socket that is closed with bytes unread, or that gets more afterwards, is reset, and with it goes an answer that the client has
//! not read. So who was answered before all of its request was read is read from for a while longer (`socket`).

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::{Request, header};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// How much of a body that nobody wants is read, so that the connection can be used again: as much as a command may have.
const DISCARDED_BYTES_MAX: u64 = 64 << 10;
/// And for how long: a body that was sent together with its head is at most a few round trips behind it.
const DISCARD_DEADLINE: Duration = Duration::from_millis(500);

/// What is known of one connection's last request. Relaxed throughout: it decides nothing but how the connection ends.
#[derive(Default)]
pub(super) struct Unread {
    /// hyper was given bytes that are no whole request.
    is_unread: AtomicBool,
    /// And something was written since.
    is_answered: AtomicBool,
    rest: Mutex<Rest>,
}

/// What is left of a request's body.
#[derive(Default)]
enum Rest {
    /// Nothing, or whoever reads it still does.
    #[default]
    None,
    Dropped(Incoming),
    /// It broke off, or the client waits to be asked for it, or not to be.
    Lost,
    /// The request is answered: hyper sees to what is left.
    Answered,
}

impl Unread {
    /// hyper is given bytes.
    pub(super) fn give(&self) {
        self.is_unread.store(true, Ordering::Relaxed);
    }

    /// hyper writes.
    pub(super) fn answer(&self) {
        if self.is_unread.load(Ordering::Relaxed) {
            self.is_answered.store(true, Ordering::Relaxed);
        }
    }

    /// A whole request has been read.
    fn end(&self) {
        self.is_unread.store(false, Ordering::Relaxed);
        self.is_answered.store(false, Ordering::Relaxed);
    }

    /// hyper begins to wait for another request, so it has read what was left of the last one, or thrown it away.
    pub(super) fn drained(&self) {
        self.is_answered.store(false, Ordering::Relaxed);
    }

    /// Whether an answer was written to a request of which more may come.
    pub(super) fn is_answered(&self) -> bool {
        self.is_answered.load(Ordering::Relaxed)
    }

    /// A request's head has been read: its body tells when it ends.
    pub(super) fn watch(self: &Arc<Unread>, request: Request<Incoming>) -> Request<Watched> {
        self.end();
        *self.rest() = Rest::None;
        let is_asked_for = !request.headers().contains_key(header::EXPECT);
        request.map(|body| {
            let body = (!body.is_end_stream()).then_some(body);
            if body.is_some() {
                self.give();
            }
            Watched { body, is_asked_for, unread: Arc::clone(self) }
        })
    }

    /// The request has its answer, and is the last one.
    pub(super) fn leave(&self) {
        *self.rest() = Rest::Answered;
    }

    /// The request has its answer, which is not written yet. What its handler left of the body is read and thrown away. Says
    /// whether the connection can be used again.
    pub(super) async fn discard(&self) -> bool {
        let rest = std::mem::replace(&mut *self.rest(), Rest::Answered);
        match rest {
            Rest::None | Rest::Answered => true,
            Rest::Lost => false,
            Rest::Dropped(body) => tokio::time::timeout(DISCARD_DEADLINE, self.read_out(body)).await.unwrap_or(false),
        }
    }

    async fn read_out(&self, mut body: Incoming) -> bool {
        let mut bytes = body.size_hint().lower();
        while bytes <= DISCARDED_BYTES_MAX {
            match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                None => {
                    self.end();
                    return true;
                }
                Some(Err(_)) => return false,
                // Those of a body of a known length were counted at once.
                Some(Ok(frame)) if body.size_hint().exact().is_none() => {
                    bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                }
                Some(Ok(_)) => {}
            }
        }
        false
    }

    /// Never waited for: a connection's requests are served by its own task, one by one.
    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body that tells when it has been read whole, and lies with [`Unread`] again where it is dropped before.
pub(super) struct Watched {
    /// `None`: it has been read whole.
    body: Option<Incoming>,
    is_asked_for: bool,
    unread: Arc<Unread>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        let mut rest = self.unread.rest();
        if let Rest::None = *rest {
            *rest = if self.is_asked_for { Rest::Dropped(body) } else { Rest::Lost };
        }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.is_asked_for = true;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        if frame.is_none() || body.is_end_stream() {
            self.body = None;
            self.unread.end();
        } else if let Some(Err(_)) = frame {
            *self.unread.rest() = Rest::Lost;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
