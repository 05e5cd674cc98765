//! Whether a client may still be sending what nobody reads.
//!
//! A socket that is closed with bytes unread, or that gets more afterwards, is reset, and with it goes an answer that the client has
//! not read. So who was answered before all of its request was read is read from for a while longer (`socket`).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// What is known of one connection's last request. Relaxed throughout: it decides nothing but how the connection ends.
#[derive(Default)]
pub(super) struct Unread {
    /// hyper was given bytes that are no whole request.
    is_unread: AtomicBool,
    /// And something was written since.
    is_answered: AtomicBool,
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

    /// Whether an answer was written to a request of which more may come.
    pub(super) fn is_answered(&self) -> bool {
        self.is_answered.load(Ordering::Relaxed)
    }

    /// A request's head has been read: its body tells when it ends.
    pub(super) fn watch(self: &Arc<Unread>, body: Incoming) -> Watched {
        self.end();
        if !body.is_end_stream() {
            self.give();
        }
        Watched { body, unread: Arc::clone(self) }
    }
}

/// A body that tells when it has been read whole.
pub(super) struct Watched {
    body: Incoming,
    unread: Arc<Unread>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.unread.end();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
