//! Reads ahead of hyper, so that a pipeline's requests are begun before those before them are answered.
//!
//! hyper serves one request of a connection at a time, and a command is answered after a commit: sixteen pipelined ones would
//! wait for sixteen commits. So the bytes are looked at before hyper gets them. A plain request that is there whole, and of
//! a kind that is decided at once, is begun here, and hyper reads [`STAND_IN`] in its place: when it has that one served, it
//! gets the answer that was begun. So it is still hyper that orders, frames and writes every answer, and what is not plain
//! goes to hyper as it came.
//!
//! What must hold: requests are decided in the order in which they came. So nothing is begun behind a request that hyper got
//! as it came until that one is answered, and nothing any more behind one that is not plain: where it ends is for hyper to
//! say. Nor does hyper get such a one before all before it are answered: it writes no answer while it has more to read, and
//! none at all if that turns out to be no request. Nor is it told before that the client has closed its side, behind which it
//! answers nothing: who has said all that he has to say may still listen. (Behind one that is not plain, it is.)

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::http::Request;
use bytes::{Buf, Bytes, BytesMut};
use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use super::head::{Seen, look};
use super::turns::Turns;
use crate::route::Route;

/// What hyper reads in the place of a request that was begun. Answers to plain requests are framed alike.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
const READ_BYTES: usize = 64 << 10;
/// A longer request goes to hyper as it comes. So none is begun whose answer closes the connection for its length.
const BEGUN_BYTES_MAX: usize = 16 << 10;

thread_local! {
    /// What is read is copied out of here, so that a connection keeps no more than it needs.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// What has been read of a connection, and what hyper gets in its place.
pub(super) struct Ahead {
    turns: Arc<Turns>,
    /// Read, and not looked at.
    input: Bytes,
    /// What `input` begins with, where that waits for its turn and more input would not change it.
    seen: Option<Seen>,
    /// For hyper.
    output: BytesMut,
    /// How much of what comes next hyper gets as it comes: the rest of a request, or `usize::MAX`, all there is.
    passing: usize,
    /// The client has closed its side: no more comes.
    is_closed: bool,
}

/// What is to be done so that hyper gets more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Give,
    Read,
    /// The task is woken when something is answered.
    Wait,
}

impl Ahead {
    pub(super) fn new(turns: Arc<Turns>) -> Ahead {
        Ahead { turns, input: Bytes::new(), seen: None, output: BytesMut::new(), passing: 0, is_closed: false }
    }

    /// For a connection of which hyper gets everything as it comes.
    pub(super) fn passing_all(turns: Arc<Turns>) -> Ahead {
        Ahead { passing: usize::MAX, ..Ahead::new(turns) }
    }

    /// Reads for hyper. `heard` is told that bytes came, or lie here and are no whole head.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut TcpStream,
        buf: &mut ReadBufCursor<'_>,
        heard: impl Fn(),
    ) -> Poll<io::Result<()>> {
        loop {
            let next = if self.output.is_empty() { self.look_at_input(cx) } else { Next::Give };
            if !(self.input.is_empty() && self.output.is_empty()) {
                heard();
            }
            match next {
                Next::Give => {
                    let bytes = self.output.len().min(buf.remaining());
                    buf.put_slice(&self.output[..bytes]);
                    self.output.advance(bytes);
                    return Poll::Ready(Ok(()));
                }
                Next::Wait => return Poll::Pending,
                Next::Read if self.is_closed => {
                    heard();
                    return Poll::Ready(Ok(())); // The end.
                }
                Next::Read => self.is_closed = ready!(self.poll_fill(cx, stream))? == 0,
            }
        }
    }

    /// Begins what can be begun, and passes on what cannot.
    fn look_at_input(&mut self, cx: &mut Context<'_>) -> Next {
        let mut waits = false;
        while self.passing == 0 && !self.input.is_empty() {
            waits = !self.turns.poll_room(cx);
            if waits {
                break;
            }
            match self.seen.take().unwrap_or_else(|| look(&self.input)) {
                Seen::Whole(request, bytes) if bytes <= BEGUN_BYTES_MAX && self.turns.may_begin(route(&request)) => {
                    self.turns.call(route(&request), request);
                    self.input.advance(bytes);
                    self.output.extend_from_slice(STAND_IN);
                }
                Seen::Part if !self.is_closed => break,
                seen => {
                    waits = !self.turns.poll_idle(cx);
                    match seen {
                        // More of it may come before its turn does.
                        Seen::Begun(bytes) if waits && bytes <= BEGUN_BYTES_MAX && !self.is_closed => waits = false,
                        seen if waits => self.seen = Some(seen),
                        Seen::Whole(_, bytes) | Seen::Begun(bytes) => self.pass(bytes),
                        Seen::Other | Seen::Part => self.passing = usize::MAX,
                    }
                    break;
                }
            }
        }
        if self.is_closed && self.passing == 0 && self.input.is_empty() {
            waits = !self.turns.poll_idle(cx);
        }
        self.turns.begin(cx);
        let passed = self.passing.min(self.input.len());
        self.output.extend_from_slice(&self.input.split_to(passed));
        if self.passing < usize::MAX {
            self.passing -= passed;
        }
        match (self.output.is_empty(), waits) {
            (false, _) => Next::Give,
            (true, true) => Next::Wait,
            (true, false) => Next::Read,
        }
    }

    /// The next request, of so many bytes, goes to hyper.
    fn pass(&mut self, bytes: usize) {
        self.turns.pass();
        self.passing = bytes;
    }

    /// Reads what has come, and says how much.
    fn poll_fill(&mut self, cx: &mut Context<'_>, stream: &mut TcpStream) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
            let read = buf.filled();
            self.input = match &*self.input {
                [] => Bytes::copy_from_slice(read),
                kept => [kept, read].concat().into(),
            };
            Poll::Ready(Ok(read.len()))
        })
    }
}

fn route(request: &Request<Body>) -> Route {
    Route::of(request.uri().path())
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use ledger_core::{Currency, Ledger};

    use super::*;
    use crate::app::{App, AppOptions, app};
    use crate::serve::head::tests::looks;
    use crate::wire::operation::Terms;

    #[test]
    fn a_request_that_waits_for_its_turn_is_looked_at_once() {
        let terms = Terms { currency: Currency::USD, currencies: vec![Currency::USD], destination_required: false };
        let ledger = Ledger::options().in_memory().unwrap();
        let mut ahead = Ahead::new(Turns::new(app(App::new(ledger, AppOptions::new(terms)))));
        let charge = "POST /charge HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}";
        let list = "GET /transactions?user_id=1 HTTP/1.1\r\n\r\n";
        ahead.input = Bytes::from(format!("{charge}{list}"));
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!((ahead.look_at_input(&mut cx), looks()), (Next::Give, 2));
        assert_eq!(ahead.output.split().as_ref(), STAND_IN);
        for _ in 0..3 {
            assert_eq!((ahead.look_at_input(&mut cx), looks()), (Next::Wait, 2));
        }
    }
}
