//! Reads ahead of hyper, and answers past it what is decided at once.
//!
//! hyper serves one request of a connection at a time, and a command is answered after a commit: sixteen pipelined ones would
//! wait for sixteen commits. And what it, a router and maps of headers cost is more than the command itself. So the bytes are
//! looked at before hyper gets them: a plain request that is there whole, and of a kind that is decided at once, is decided
//! and answered here ([`Lane`]). What is not plain, and every other path, goes to hyper as it came.
//!
//! What must hold: requests are decided and answered in the order in which they came. So nothing is begun behind a request that
//! hyper got until the answer to that one is written, and nothing any more behind one that is not plain: where it ends is
//! for hyper to say. Nor does hyper get a request before all before it are answered. Nor is it told before that the client has
//! closed its side, behind which it answers nothing: who has said all that he has to say may still listen. (Behind one that
//! is not plain, it is.)

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::bells::Bells;
use super::head::{Seen, look};
use super::lane::Lane;
use super::outgoing::Outgoing;
use super::patience::Patience;
use super::turns::Turns;
use crate::app::Http;

const READ_BYTES: usize = 64 << 10;
/// A longer request goes to hyper as it comes. So none is begun whose answer closes the connection for its length.
const BEGUN_BYTES_MAX: usize = 16 << 10;
/// How long the rest of a short request is waited for before hyper gets what there is: many clients send a head and its body one
/// after the other, and some the body only once the head was acknowledged, which takes the kernel 40 ms.
const HOLD: Duration = Duration::from_millis(100);
/// How often one poll of the connection goes round: a fast client may not hold up other connections.
const TURNS_MAX: usize = 8;

thread_local! {
    /// What is read is copied out of here, so that a connection keeps no more than it needs.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// What has been read of a connection, and what hyper gets of it.
pub(super) struct Ahead {
    turns: Arc<Turns>,
    lane: Lane,
    patience: Arc<Patience>,
    /// Read, and not looked at.
    input: Bytes,
    /// What `input` begins with, where that waits for its turn and more input would not change it.
    kept: Option<Kept>,
    /// For hyper.
    output: BytesMut,
    /// How much of what comes next hyper gets as it comes: the rest of a request, or `usize::MAX`, all there is.
    passing: usize,
    /// The input is a part of a short request, with none before it.
    is_held: bool,
    /// Until when its rest is waited for.
    hold: Option<Pin<Box<Sleep>>>,
    /// It was waited for long enough.
    is_hold_over: bool,
    /// A request came before those before it were answered.
    is_pipelined: bool,
    /// Something waits until hyper has written its answer.
    waits_for_hyper: bool,
    /// The client has closed its side: no more comes.
    is_closed: bool,
}

/// What waits until all before it is answered.
#[derive(Clone, Copy)]
enum Kept {
    /// It is decided here then.
    Decidable,
    /// So many bytes, for hyper.
    Passed(usize),
    /// All that comes, for hyper.
    Rest,
}

/// What is to be done so that hyper gets more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Give,
    Read,
    /// The task is woken when something is answered.
    Wait,
    /// hyper is told that nothing more comes.
    End,
}

impl Ahead {
    pub(super) fn new(http: Http, bells: Arc<Bells>, turns: Arc<Turns>, patience: Arc<Patience>) -> Ahead {
        Ahead {
            lane: Lane::new(http, bells),
            turns,
            patience,
            input: Bytes::new(),
            kept: None,
            output: BytesMut::new(),
            passing: 0,
            is_held: false,
            hold: None,
            is_hold_over: false,
            is_pipelined: false,
            waits_for_hyper: false,
            is_closed: false,
        }
    }

    /// For a connection of which hyper gets everything as it comes.
    pub(super) fn passing_all(self) -> Ahead {
        Ahead { passing: usize::MAX, ..self }
    }

    /// Whether the client may be sending more: something was read that hyper has not been given, or it is one that sends
    /// without waiting for its answers.
    pub(super) fn may_have_more(&self) -> bool {
        self.is_pipelined || !self.input.is_empty()
    }

    /// hyper has written all that it had. Says whether this is to read again for that.
    pub(super) fn written(&mut self) -> bool {
        self.turns.written() && std::mem::take(&mut self.waits_for_hyper)
    }

    /// Reads for hyper, and answers what is not for it.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut TcpStream,
        outgoing: &mut Outgoing,
        buf: &mut ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        for _ in 0..TURNS_MAX {
            let unwritten = outgoing.gathered.len();
            let next = if self.output.is_empty() { self.look_at_input(outgoing) } else { Next::Give };
            let answered = self.lane.answer(cx, &mut outgoing.gathered);
            self.turns.set_begun(self.is_held || !self.lane.is_empty());
            if let Some(now) = answered
                && self.lane.is_empty()
            {
                self.patience.resume(now);
            }
            match next {
                Next::Give => {
                    self.patience.hear();
                    let bytes = self.output.len().min(buf.remaining());
                    buf.put_slice(&self.output[..bytes]);
                    self.output.advance(bytes);
                    return Poll::Ready(Ok(()));
                }
                // What waited for these answers need not any more.
                Next::Wait if answered.is_some() => continue,
                Next::End => return Poll::Ready(Ok(())),
                Next::Wait | Next::Read => {}
            }
            let written = outgoing.poll_write_out(cx, stream)?;
            // Bytes have come and are no whole request. Behind answers that the client does not read they have time: it is his
            // reading that is waited for.
            if !self.input.is_empty() && outgoing.gathered.is_empty() {
                self.patience.hear();
            }
            // What waited for room, or for all before it to be written, need not any more.
            if next == Next::Wait && outgoing.gathered.len() < unwritten {
                continue;
            }
            if next == Next::Wait || written.is_pending() && outgoing.is_full() {
                return Poll::Pending;
            }
            if self.is_closed {
                self.patience.hear();
                return Poll::Ready(Ok(()));
            }
            if self.passing > 0 {
                return self.poll_pass(cx, stream, buf);
            }
            match self.poll_fill(cx, stream)? {
                Poll::Ready(bytes) => self.is_closed = bytes == 0,
                Poll::Pending => ready!(self.poll_hold_over(cx)),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ready when the rest of a short request was waited for in vain.
    fn poll_hold_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_held {
            self.hold = None;
            return Poll::Pending;
        }
        let hold = self.hold.get_or_insert_with(|| Box::pin(tokio::time::sleep(HOLD)));
        ready!(hold.as_mut().poll(cx));
        self.hold = None;
        self.is_hold_over = true;
        Poll::Ready(())
    }

    /// Begins what can be begun, and passes on what cannot.
    fn look_at_input(&mut self, outgoing: &Outgoing) -> Next {
        let mut waits = false;
        let mut now = None;
        // A request of which there is a part is one that a stop answers.
        self.is_hold_over |= self.is_held && self.turns.is_stopping();
        let is_open = self.is_hold_over || !self.turns.is_stopping();
        self.is_held = false;
        while self.passing == 0 && !self.input.is_empty() && !waits && is_open {
            // When one that hyper got is decided is not known, so nothing is begun behind it.
            waits = !self.is_hyper_idle() || !self.lane.has_room() || outgoing.is_full();
            if !waits && !self.look_at_one(&mut waits, &mut now, outgoing.gathered.is_empty()) {
                break;
            }
        }
        let is_at_end = self.passing == 0 && (self.turns.is_stopping() || self.is_closed && self.input.is_empty());
        if is_at_end {
            waits = !self.is_hyper_idle() || !self.lane.is_empty();
        }
        let passed = self.passing.min(self.input.len());
        self.output.extend_from_slice(&self.input.split_to(passed));
        if self.passing < usize::MAX {
            self.passing -= passed;
        }
        match (self.output.is_empty(), waits) {
            (false, _) => Next::Give,
            (true, true) => Next::Wait,
            (true, false) if is_at_end => Next::End,
            (true, false) => Next::Read,
        }
    }

    /// Looks at the first request of the input. Says whether to look at the next. `now` is looked up once for all that came
    /// together. `all_is_written`: of the answers so far.
    fn look_at_one(&mut self, waits: &mut bool, now: &mut Option<Instant>, all_is_written: bool) -> bool {
        let is_alone = self.lane.is_empty();
        self.is_pipelined |= !is_alone;
        let kept = match self.kept {
            Some(_) if !is_alone => {
                *waits = true;
                return false;
            }
            Some(Kept::Decidable) | None => match look(&self.input) {
                Seen::Decidable(what, asked, whole) if whole.bytes <= BEGUN_BYTES_MAX => {
                    if self.lane.may_begin(what) {
                        if is_alone {
                            self.patience.suspend();
                        }
                        self.lane.begin(what, &asked, whole.body, *now.get_or_insert_with(Instant::now));
                        self.kept = None;
                        self.is_hold_over = false;
                        let bytes = whole.bytes;
                        self.input.advance(bytes);
                        if self.input.is_empty() {
                            // What was read is not kept.
                            self.input = Bytes::new();
                        }
                        return true;
                    }
                    Kept::Decidable
                }
                Seen::Part if !self.is_closed => return false,
                // More of it may come before its turn does, or soon.
                Seen::Begun(bytes)
                    if bytes <= BEGUN_BYTES_MAX && !self.is_closed && !(is_alone && self.is_hold_over) =>
                {
                    self.is_held = is_alone;
                    return false;
                }
                Seen::Decidable(_, _, whole) => Kept::Passed(whole.bytes),
                Seen::Whole(bytes) | Seen::Begun(bytes) => Kept::Passed(bytes),
                Seen::Other | Seen::Part => Kept::Rest,
            },
            Some(kept) => kept,
        };
        match kept {
            _ if !is_alone => {
                self.kept = Some(kept);
                *waits = true;
            }
            Kept::Passed(bytes) => {
                self.kept = None;
                self.is_hold_over = false;
                self.turns.pass();
                self.passing = bytes;
            }
            // hyper may break off at it, and with that what is not written yet.
            Kept::Rest | Kept::Decidable if !all_is_written => {
                self.kept = Some(kept);
                *waits = true;
            }
            Kept::Rest | Kept::Decidable => self.passing = usize::MAX,
        }
        false
    }

    /// Whether hyper has written its last answer. If not, this is to read again when it has.
    fn is_hyper_idle(&mut self) -> bool {
        let is_idle = self.turns.is_hyper_idle();
        self.waits_for_hyper |= !is_idle;
        is_idle
    }

    /// Reads what hyper gets as it comes.
    fn poll_pass(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut TcpStream,
        buf: &mut ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let bytes_max = scratch.len().min(buf.remaining()).min(self.passing);
            let mut read = ReadBuf::new(&mut scratch[..bytes_max]);
            ready!(Pin::new(stream).poll_read(cx, &mut read))?;
            buf.put_slice(read.filled());
            self.patience.hear();
            self.is_closed = read.filled().is_empty();
            if self.passing < usize::MAX {
                self.passing -= read.filled().len();
            }
            Poll::Ready(Ok(()))
        })
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

#[cfg(test)]
mod tests {
    use ledger_core::{Currency, Ledger};

    use super::*;
    use crate::app::{App, AppOptions, app};
    use crate::serve::head::tests::looks;
    use crate::wire::operation::Terms;

    #[test]
    fn a_request_that_waits_for_its_turn_is_looked_at_once() {
        let mut ahead = ahead();
        let charge = "POST /charge HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}";
        let list = "GET /transactions?user_id=1 HTTP/1.1\r\n\r\n";
        ahead.input = Bytes::from(format!("{charge}{list}"));
        for _ in 0..4 {
            assert_eq!((ahead.look_at_input(&nothing()), looks()), (Next::Wait, 2));
        }
    }

    #[test]
    fn a_short_request_of_which_a_part_came_is_waited_for_and_then_given_to_hyper() {
        let mut ahead = ahead();
        ahead.input = Bytes::from("POST /charge HTTP/1.1\r\ncontent-length: 2\r\n\r\n{");
        for _ in 0..2 {
            assert_eq!(ahead.look_at_input(&nothing()), Next::Read);
        }
        ahead.is_hold_over = true;
        assert_eq!(ahead.look_at_input(&nothing()), Next::Give);
        assert!(!ahead.is_hold_over, "of the next one too");
        let mut stopped = self::ahead();
        stopped.input = Bytes::from("POST /charge HTTP/1.1\r\ncontent-length: 2\r\n\r\n{");
        assert_eq!(stopped.look_at_input(&nothing()), Next::Read);
        stopped.turns.stop();
        assert_eq!(stopped.look_at_input(&nothing()), Next::Give);
    }

    fn nothing() -> Outgoing {
        Outgoing::new(Duration::from_secs(30))
    }

    fn ahead() -> Ahead {
        let terms = Terms { currency: Currency::USD, currencies: vec![Currency::USD], destination_required: false };
        let http = app(App::new(Ledger::options().in_memory().unwrap(), AppOptions::new(terms)));
        let patience = Arc::new(Patience::new(Duration::from_secs(5), Duration::from_secs(75)));
        let bells = Bells::hang(http.ledger().clone(), 0);
        Ahead::new(http.clone(), bells, Turns::new(http), patience)
    }
}
