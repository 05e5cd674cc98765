//! `POST /batch` as a stream: one operation a line in, one result a line out, of any length.
//!
//! Lines are decided in groups: as many as have come, up to 500. So a client that sends one and waits gets its answer
//! after one sync of the disk, and one that sends a million pays for few. A group's results leave when they are durable,
//! and the next group is read then: a client that does not read stops being read from, and so does everybody while the ledger's pipe
//! is full (`push_back`). The last line says
//! `"done": true`; without it something was cut off, and the client repeats everything with the same keys.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use http_body::Frame;
use tokio::sync::mpsc;

use super::batch::{Read, Tally};
use super::lines::{self, Cut, Lines};
use super::push_back::PushBack;
use crate::app::App;
use crate::error::Problem;
use crate::wire::fields::Fields;
use crate::wire::json::Object;
use crate::wire::key::HeaderKey;
use crate::wire::operation::Operation;
use crate::wire::{body, query};

const GROUP_LINES_MAX: usize = 500;

/// Answers 200 at once; the rest happens in a task of its own, so that a client that goes away stops nothing half way.
pub(super) async fn stream(app: App, head: Parts, input: Body) -> Result<Response, Problem> {
    query::none(&head.uri)?;
    HeaderKey::of(&head.headers).refuse()?;
    let lines = Lines::begin(app.clone(), &head.headers, input).await?;
    let (output, results) = mpsc::channel(4);
    tokio::spawn(
        Stream { app, lines, output, push_back: PushBack::of_a_stream(), line: 0, tally: Tally::default() }.run(),
    );
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

struct Stream {
    app: App,
    lines: Lines,
    output: mpsc::Sender<Bytes>,
    push_back: PushBack,
    /// How many lines were decided.
    line: u64,
    tally: Tally,
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
        while let Some(block) = self.lines.next().await? {
            self.decide_all(&block).await?;
        }
        Ok(())
    }

    async fn decide_all(&mut self, block: &[u8]) -> Result<(), Cut> {
        let mut group = Vec::with_capacity(GROUP_LINES_MAX);
        for line in lines::split(block) {
            match line {
                Ok(line) => group.push(line),
                Err(too_long) => {
                    self.decide_group(&group).await?;
                    return Err(too_long);
                }
            }
            if group.len() == GROUP_LINES_MAX {
                self.decide_group(&group).await?;
                group.clear();
            }
        }
        self.decide_group(&group).await
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
        let decided = self.push_back.decide(&self.app, &operations).await.map_err(|error| Cut::Told(error.into()))?;
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
