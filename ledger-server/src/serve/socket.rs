//! A socket that reads ahead, writes the answers of a pipeline together, tells when it was heard from, gives up on a client that
//! does not read, and lets one that still sends read its answer before it closes.
//!
//! hyper has an option to write answers together, which is not used: it leaves them unwritten whenever hyper has read more than
//! it took, as where a body was refused half read.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::ahead::Ahead;
use super::patience::Patience;
use super::turns::Turns;
use super::unread::Unread;
use super::{ServeOptions, linger::Linger};

/// What is gathered before it is written in any case; what is longer is not copied.
const GATHERED_BYTES_MAX: usize = 64 << 10;

pub(super) struct Socket {
    stream: TokioIo<TcpStream>,
    turns: Arc<Turns>,
    ahead: Ahead,
    /// Answers, or parts of them, that are not written yet.
    gathered: BytesMut,
    patience: Arc<Patience>,
    unread: Arc<Unread>,
    write_deadline: Duration,
    linger_deadline: Duration,
    /// Runs while a write waits for the client to read.
    stalled: Option<Pin<Box<Sleep>>>,
    /// The end, for a client that may still be sending.
    linger: Option<Linger>,
}

impl Socket {
    pub(super) fn new(
        stream: TcpStream,
        ahead: Ahead,
        turns: Arc<Turns>,
        patience: Arc<Patience>,
        unread: Arc<Unread>,
        options: ServeOptions,
    ) -> Socket {
        Socket {
            stream: TokioIo::new(stream),
            ahead,
            turns,
            gathered: BytesMut::new(),
            patience,
            unread,
            write_deadline: options.write_deadline,
            linger_deadline: options.linger_deadline,
            stalled: None,
            linger: None,
        }
    }

    /// Writes what is gathered.
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            let written = Pin::new(&mut self.stream).poll_write(cx, &self.gathered);
            match ready!(self.unless_stalled(cx, written))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => self.gathered.advance(bytes),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Passes a write's outcome on, unless it has waited for too long.
    fn unless_stalled<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
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

impl Read for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let Socket { stream, ahead, patience, unread, .. } = &mut *self;
        let room = buf.remaining();
        let polled = ahead.poll_read(cx, stream.inner_mut(), &mut buf, || patience.hear());
        if buf.remaining() < room {
            unread.give();
        }
        polled
    }
}

impl Write for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.unread.answer();
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        if self.gathered.len() + bytes <= GATHERED_BYTES_MAX {
            slices.iter().for_each(|slice| self.gathered.extend_from_slice(slice));
            return Poll::Ready(Ok(bytes));
        }
        ready!(self.poll_write_out(cx))?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.unless_stalled(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper comes to the next answer at once, and flushes again.
        if self.turns.is_next_ready() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_write_out(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(self.poll_write_out(cx))?;
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            if !self.unread.is_answered() {
                return Poll::Ready(Ok(()));
            }
        }
        let Socket { stream, linger, linger_deadline, .. } = &mut *self;
        let linger = linger.get_or_insert_with(|| Linger::new(*linger_deadline));
        linger.poll_over(cx, stream.inner_mut()).map(Ok)
    }
}
