//! What is to be written to a client, gathered so that the answers of a pipeline go together, and for how long it may not read.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// What is gathered before it is written in any case.
pub(super) const GATHERED_BYTES_MAX: usize = 64 << 10;

pub(super) struct Outgoing {
    /// Answers, or parts of them, that are not written yet.
    pub(super) gathered: BytesMut,
    write_deadline: Duration,
    /// Runs while a write waits for the client to read.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Outgoing {
    pub(super) fn new(write_deadline: Duration) -> Outgoing {
        Outgoing { gathered: BytesMut::new(), write_deadline, stalled: None }
    }

    /// Whether so much is gathered that no more ought to be.
    pub(super) fn is_full(&self) -> bool {
        self.gathered.len() >= GATHERED_BYTES_MAX
    }

    /// Writes what is gathered.
    pub(super) fn poll_write_out(&mut self, cx: &mut Context<'_>, stream: &mut TcpStream) -> Poll<io::Result<()>> {
        if self.gathered.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let was_long = self.gathered.len() > GATHERED_BYTES_MAX;
        while !self.gathered.is_empty() {
            let written = Pin::new(&mut *stream).poll_write(cx, &self.gathered);
            match ready!(self.unless_stalled(cx, written))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => self.gathered.advance(bytes),
            }
        }
        if was_long {
            // What it took is not kept for the connection's life.
            self.gathered = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Passes a write's outcome on, unless it has waited for too long.
    pub(super) fn unless_stalled<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let deadline = self.write_deadline;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(deadline)));
        match stalled.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read"))),
        }
    }
}
