//! Reading on, and throwing away, after the last answer was written and the server's side closed.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// How much is thrown away. Sixteen of the largest bodies that are taken: who sends more has been told, and is cut off.
const BYTES_MAX: usize = 64 << 20;
const READ_BYTES: usize = 16 << 10;
/// How often one turn reads: a fast client's bytes may not hold up other connections.
const READS_MAX: usize = 16;

/// What is left of a client's patience and of ours.
pub(super) struct Linger {
    deadline: Pin<Box<Sleep>>,
    bytes_left: usize,
}

impl Linger {
    pub(super) fn new(deadline: Duration) -> Linger {
        Linger { deadline: Box::pin(tokio::time::sleep(deadline)), bytes_left: BYTES_MAX }
    }

    /// Ready once the client has closed its side or broken off, or has sent for too long or too much.
    pub(super) fn poll_over(&mut self, cx: &mut Context<'_>, stream: &mut TcpStream) -> Poll<()> {
        if self.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut scratch = [0; READ_BYTES];
        for _ in 0..READS_MAX {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut *stream).poll_read(cx, &mut buf) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {
                    let bytes = buf.filled().len();
                    if bytes == 0 || bytes >= self.bytes_left {
                        return Poll::Ready(());
                    }
                    self.bytes_left -= bytes;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
