//! `POST /batch` as a stream: one operation a line in, one result a line out, of any length.
//!
//! Lines are decided in groups: as many as have come, up to 500. So a client that sends one and waits gets its answer
//! after one sync of the disk, and one that sends a million pays for few. A group's results leave when they are durable,
//! and the next group is read then: a client that does not read stops being read from. The last line says
//! `"done": true`; without it something was cut off, and the client repeats everything with the same keys.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::{Buf, Bytes, BytesMut};
use http_body::Frame;
use http_body_util::BodyExt;
use ledger_core::{Error, Rejection};
use tokio::sync::mpsc;

use super::batch::{Decided, Read, Tally, decide};
use crate::app::App;
use crate::error::{Code, Problem};
use crate::wire::fields::Fields;
use crate::wire::json::Object;
use crate::wire::key::HeaderKey;
use crate::wire::operation::Operation;
use crate::wire::{body, query};

const LINE_BYTES_MAX: usize = 64 << 10;
const GROUP_LINES_MAX: usize = 500;
/// How much is gathered before it is decided; with one line more, what a stream may hold in memory.
const GATHERED_BYTES_MAX: usize = 256 << 10;
/// How often, and how long apart, a group is offered to a ledger whose pipe is full. Pushing back is what a stream can do
/// and a single request cannot.
const OVERLOADED_TRIES_MAX: u32 = 50;
const OVERLOADED_PAUSE: Duration = Duration::from_millis(10);

/// Answers 200 at once; the rest happens in a task of its own, so that a client that goes away stops nothing half way.
pub(super) async fn stream(app: App, head: Parts, mut input: Body) -> Result<Response, Problem> {
    query::none(&head.uri)?;
    HeaderKey::of(&head.headers).refuse()?;
    let mut gathered = BytesMut::new();
    let mut ended = false;
    // A client that waits for "100 Continue" gets it when its body is first asked for, which must be before the answer.
    if head.headers.contains_key(header::EXPECT) {
        match tokio::time::timeout(app.options.stream_idle_deadline, next(&mut input)).await {
            Ok(Ok(Some(data))) => gathered.extend_from_slice(&data),
            Ok(Ok(None)) => ended = true,
            Ok(Err(())) | Err(_) => {
                return Err(Problem::new(Code::RequestTimeout, "the stream never began; send lines"));
            }
        }
    }
    let (output, results) = mpsc::channel(4);
    tokio::spawn(Stream { app, input, output, gathered, ended, line: 0, tally: Tally::default() }.run());
    let mut response = Response::new(Body::new(Results { results }));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

/// The body of the answer: what the task has written so far.
struct Results {
    results: mpsc::Receiver<Bytes>,
}

impl http_body::Body for Results {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.results.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
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

struct Stream {
    app: App,
    input: Body,
    output: mpsc::Sender<Bytes>,
    gathered: BytesMut,
    /// Whether the input has ended.
    ended: bool,
    /// How many lines were decided.
    line: u64,
    tally: Tally,
}

/// Why a stream stops before its end.
enum Cut {
    /// Nobody reads the results, or nobody sends operations any more.
    Gone,
    /// Told to the client in the last line.
    Told(Problem),
}

impl Stream {
    async fn run(mut self) {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        match self.pump().await {
            Ok(()) => {
                object.bool("done", true).integer("lines", self.line);
                self.tally.write(&mut object);
            }
            Err(Cut::Told(problem)) => {
                object.integer("line", self.line + 1);
                problem.write(object.name("error"), false);
            }
            Err(Cut::Gone) => return,
        }
        object.end();
        out.push(b'\n');
        // A client that has gone does not hear it.
        let _ = self.output.send(out.into()).await;
    }

    async fn pump(&mut self) -> Result<(), Cut> {
        loop {
            self.gather().await?;
            let complete = match self.gathered.iter().rposition(|&byte| byte == b'\n') {
                _ if self.ended => self.gathered.len(),
                Some(newline) => newline + 1,
                None => 0,
            };
            let lines = self.gathered.split_to(complete).freeze();
            self.decide_all(&lines).await?;
            if self.ended {
                return Ok(());
            }
            if self.gathered.len() > LINE_BYTES_MAX {
                return Err(line_too_long());
            }
        }
    }

    /// Waits for more input, then takes all that is there without waiting.
    async fn gather(&mut self) -> Result<(), Cut> {
        let mut waited = false;
        while !self.ended && self.gathered.len() < GATHERED_BYTES_MAX {
            let mut reading = pin!(next(&mut self.input));
            let read = match poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await {
                Poll::Ready(read) => read,
                Poll::Pending if waited => break,
                Poll::Pending => {
                    let deadline = self.app.options.stream_idle_deadline;
                    tokio::select! {
                        read = tokio::time::timeout(deadline, reading) => read.map_err(|_| {
                            let seconds = deadline.as_secs_f64();
                            let detail = format!("no line came for {seconds} s; repeat the stream with the same keys");
                            Cut::Told(Problem::new(Code::RequestTimeout, detail))
                        })?,
                        // A stream may go on for ever; a stop may not wait for it.
                        () = self.app.stopped() => return Err(Cut::Told(Problem::shutting_down())),
                    }
                }
            };
            match read {
                Ok(Some(data)) => self.gathered.extend_from_slice(&data),
                Ok(None) => self.ended = true,
                Err(()) => return Err(Cut::Gone),
            }
            waited = true;
        }
        Ok(())
    }

    async fn decide_all(&mut self, lines: &[u8]) -> Result<(), Cut> {
        let mut rest = lines;
        while rest.has_remaining() {
            let mut group = Vec::with_capacity(GROUP_LINES_MAX);
            let mut too_long = false;
            while !rest.is_empty() && group.len() < GROUP_LINES_MAX {
                let end = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
                if end > LINE_BYTES_MAX {
                    too_long = true;
                    break;
                }
                group.push(&rest[..end]);
                rest = &rest[rest.len().min(end + 1)..];
            }
            self.decide_group(&group).await?;
            if too_long {
                return Err(line_too_long());
            }
        }
        Ok(())
    }

    async fn decide_group(&mut self, lines: &[&[u8]]) -> Result<(), Cut> {
        if let Some(problem) = self.app.refusal() {
            return Err(Cut::Told(problem));
        }
        let terms = &self.app.options.terms;
        let first = self.line + 1;
        // An empty line is no operation, but counts as a line.
        let numbered: Vec<(u64, Read<'_>)> = (first..)
            .zip(lines)
            .filter(|(_, line)| !line.trim_ascii().is_empty())
            .map(|(number, line)| {
                let fields = body::text(line).and_then(Fields::of_body);
                (number, fields.and_then(|fields| Operation::read_typed(&fields, terms)))
            })
            .collect();
        let (numbers, operations): (Vec<u64>, Vec<Read<'_>>) = numbered.into_iter().unzip();
        let decided = decide_patiently(&self.app, &operations).await.map_err(|error| Cut::Told(error.into()))?;
        let mut out = Vec::with_capacity(64 * operations.len());
        for ((number, operation), decided) in numbers.into_iter().zip(&operations).zip(decided) {
            let mut object = Object::begin(&mut out);
            object.integer("line", number);
            self.tally.result(&mut object, operation, decided);
            object.end();
            out.push(b'\n');
        }
        self.line += lines.len() as u64;
        if out.is_empty() {
            return Ok(());
        }
        self.output.send(out.into()).await.map_err(|_| Cut::Gone)
    }
}

/// Offers a group until the ledger's pipe has room for it, for a while.
async fn decide_patiently(app: &App, operations: &[Read<'_>]) -> Result<Vec<Decided>, Error> {
    for _ in 1..OVERLOADED_TRIES_MAX {
        match decide(app, operations).await {
            Err(Error::Rejected(Rejection::Overloaded)) => tokio::time::sleep(OVERLOADED_PAUSE).await,
            decided => return decided,
        }
    }
    decide(app, operations).await
}

fn line_too_long() -> Cut {
    let detail = format!("the line has more than {LINE_BYTES_MAX} bytes; nothing of it or after it was recorded");
    Cut::Told(Problem::new(Code::PayloadTooLarge, detail))
}
