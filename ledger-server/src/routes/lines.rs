//! Bodies of any length that are read line by line: how much of one is held in memory, and how long it may be silent.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use crate::app::App;
use crate::error::{Code, Problem};

const LINE_BYTES_MAX: usize = 64 << 10;
/// How much is gathered before it is handed on; with one line more, what a body may hold in memory.
const GATHERED_BYTES_MAX: usize = 256 << 10;

/// Why lines stop before their end.
pub(super) enum Cut {
    /// The client is gone, or its body is broken.
    Gone,
    /// Told to the client.
    Told(Problem),
}

/// A body on its way, in whole lines.
pub(super) struct Lines {
    app: App,
    input: Body,
    gathered: Gathered,
    ended: bool,
}

/// What has come of a body and is not handed on.
#[derive(Default)]
struct Gathered {
    bytes: BytesMut,
    /// How many of them are whole lines. Kept while they come: a client that sends single bytes would otherwise have all of
    /// a line looked through for each.
    complete: usize,
}

impl Gathered {
    fn take(&mut self, data: &[u8]) {
        if let Some(newline) = data.iter().rposition(|&byte| byte == b'\n') {
            self.complete = self.bytes.len() + newline + 1;
        }
        self.bytes.extend_from_slice(data);
    }

    /// Hands on the whole lines, or all that there is at a body's end.
    fn hand_on(&mut self, ended: bool) -> Option<Bytes> {
        let complete = std::mem::take(&mut self.complete);
        let length = if ended { self.bytes.len() } else { complete };
        (length > 0).then(|| self.bytes.split_to(length).freeze())
    }
}

impl Lines {
    /// Begins to read. A client that waits for "100 Continue" gets it when its body is first asked for, which must be before
    /// the answer begins: so the first bytes of such a body are waited for here.
    pub(super) async fn begin(app: App, headers: &HeaderMap, input: Body) -> Result<Lines, Problem> {
        let mut lines = Lines { app, input, gathered: Gathered::default(), ended: false };
        if headers.contains_key(header::EXPECT) {
            match tokio::time::timeout(lines.app.options.stream_idle_deadline, next(&mut lines.input)).await {
                Ok(Ok(Some(data))) => lines.gathered.take(&data),
                Ok(Ok(None)) => lines.ended = true,
                Ok(Err(())) | Err(_) => {
                    return Err(Problem::new(Code::RequestTimeout, "the body never began; send lines"));
                }
            }
        }
        Ok(lines)
    }

    /// The whole lines that have come, at least one; with the body's end the last one need not end. `None` after that.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Cut> {
        loop {
            // At the very end only what came while a client waited for "100 Continue" can be left.
            if self.ended && self.gathered.bytes.is_empty() {
                return Ok(None);
            }
            if self.gathered.complete == 0 && self.gathered.bytes.len() > LINE_BYTES_MAX {
                return Err(line_too_long());
            }
            self.gather().await?;
            if let Some(lines) = self.gathered.hand_on(self.ended) {
                return Ok(Some(lines));
            }
        }
    }

    /// Waits for more input, then takes all that is there without waiting.
    async fn gather(&mut self) -> Result<(), Cut> {
        // Whole lines that came while a client waited for "100 Continue" are not held up for more.
        let mut waited = self.gathered.complete > 0;
        while !self.ended && self.gathered.bytes.len() < GATHERED_BYTES_MAX {
            let mut reading = pin!(next(&mut self.input));
            let read = match poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await {
                Poll::Ready(read) => read,
                Poll::Pending if waited => break,
                Poll::Pending => {
                    let deadline = self.app.options.stream_idle_deadline;
                    tokio::select! {
                        read = tokio::time::timeout(deadline, reading) => read.map_err(|_| {
                            let seconds = deadline.as_secs_f64();
                            let detail = format!("nothing came for {seconds} s; send all of it again, with the same keys");
                            Cut::Told(Problem::new(Code::RequestTimeout, detail))
                        })?,
                        // A stream may go on for ever; a stop may not wait for it.
                        () = self.app.stopped() => return Err(Cut::Told(Problem::shutting_down())),
                    }
                }
            };
            match read {
                Ok(Some(data)) => self.gathered.take(&data),
                Ok(None) => self.ended = true,
                Err(()) => return Err(Cut::Gone),
            }
            waited = true;
        }
        Ok(())
    }
}

/// The next bytes of a body; `None` at its end.
async fn next(input: &mut Body) -> Result<Option<Bytes>, ()> {
    loop {
        match input.frame().await {
            None => return Ok(None),
            Some(Err(_)) => return Err(()),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// The lines of a block without their ends; an error at the first one that is too long.
pub(super) fn split(block: &[u8]) -> impl Iterator<Item = Result<&[u8], Cut>> {
    let whole = block.strip_suffix(b"\n").unwrap_or(block);
    let lines = (!block.is_empty()).then(|| whole.split(|&byte| byte == b'\n'));
    lines.into_iter().flatten().map(|line| if line.len() > LINE_BYTES_MAX { Err(line_too_long()) } else { Ok(line) })
}

fn line_too_long() -> Cut {
    let detail = format!("the line has more than {LINE_BYTES_MAX} bytes; nothing of it or after it was recorded");
    Cut::Told(Problem::new(Code::PayloadTooLarge, detail))
}
