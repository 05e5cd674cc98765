//! A socket that reads ahead, writes answers together, and lets a client that still sends read its answer before it closes.
//!
//! hyper has an option to write answers together, which is not used: it leaves them unwritten whenever hyper has read more than
//! it took, as where a body was refused half read.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::ahead::Ahead;
use super::outgoing::{GATHERED_BYTES_MAX, Outgoing};
use super::unread::Unread;
use super::{ServeOptions, linger::Linger};

pub(super) struct Socket {
    stream: TokioIo<TcpStream>,
    ahead: Ahead,
    outgoing: Outgoing,
    unread: Arc<Unread>,
    linger_deadline: Duration,
    /// The end, for a client that may still be sending.
    linger: Option<Linger>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, ahead: Ahead, unread: Arc<Unread>, options: ServeOptions) -> Socket {
        Socket {
            stream: TokioIo::new(stream),
            ahead,
            outgoing: Outgoing::new(options.write_deadline),
            unread,
            linger_deadline: options.linger_deadline,
            linger: None,
        }
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.poll_write_out(cx, self.stream.inner_mut())
    }

    /// Whether the client has sent what nobody will read any more, as one does that has a pipeline full of requests when the
    /// server stops. The kernel is asked: the runtime may not know yet that bytes came.
    fn has_more(&self) -> bool {
        self.ahead.may_have_more() || rustix::io::ioctl_fionread(self.stream.inner()).is_ok_and(|bytes| bytes > 0)
    }
}

impl Read for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let Socket { stream, ahead, outgoing, unread, .. } = &mut *self;
        let room = buf.remaining();
        let polled = ahead.poll_read(cx, stream.inner_mut(), outgoing, &mut buf);
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
        if self.outgoing.gathered.len() + bytes <= GATHERED_BYTES_MAX {
            slices.iter().for_each(|slice| self.outgoing.gathered.extend_from_slice(slice));
            return Poll::Ready(Ok(bytes));
        }
        // What is longer is not copied.
        ready!(self.poll_write_out(cx))?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.outgoing.unless_stalled(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_out(cx))?;
        // hyper flushes when it has nothing left that it has not written. Not before all of it is: until then nothing is begun
        // behind its answer, and it is not told of an end, at which it would leave the rest unwritten.
        if self.ahead.written() {
            cx.waker().wake_by_ref();
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(self.poll_write_out(cx))?;
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            if !self.unread.is_answered() && !self.has_more() {
                return Poll::Ready(Ok(()));
            }
        }
        let Socket { stream, linger, linger_deadline, .. } = &mut *self;
        let linger = linger.get_or_insert_with(|| Linger::new(*linger_deadline));
        linger.poll_over(cx, stream.inner_mut()).map(Ok)
    }
}
