//! The bank over HTTP: three paths, and answers that break off on purpose.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use ledger_core::{Currency, INTEGER_MAX};
use tokio::net::TcpListener;

use super::book::Order;
use super::conduct::{Answer, Conduct, Reaction};
use crate::wire::json::Object;
use crate::wire::scan::{Scanner, Value};

/// The longest request that is read.
const BODY_BYTES_MAX: usize = 16 << 10;

/// Serves until `stop` is ready; connections are then cut off, as a bank's are.
pub(super) async fn serve(listener: TcpListener, conduct: Arc<Conduct>, stop: impl Future<Output = ()>) {
    let mut stop = pin!(stop);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(fault) => {
                    tracing::warn!(%fault, "no connection could be accepted");
                    continue;
                }
            },
            () = &mut stop => return,
        };
        if let Err(fault) = stream.set_nodelay(true) {
            tracing::debug!(%fault, "a connection is gone already");
        }
        let conduct = Arc::clone(&conduct);
        tokio::spawn(async move {
            let service = service_fn(|request| respond(&conduct, request));
            if let Err(fault) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%fault, "a connection broke off");
            }
        });
    }
}

async fn respond(conduct: &Arc<Conduct>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path();
    let reaction = match (request.method(), path) {
        (&Method::GET, "/statement") => return Ok(statement(conduct, &request)),
        (&Method::POST, "/payouts") => pay(conduct, request).await,
        (&Method::GET, path) => match path.strip_prefix("/payouts/") {
            Some(reference) => conduct.inquire(reference),
            None => Reaction { answer: Answer::Bare(404), after: Default::default() },
        },
        _ => Reaction { answer: Answer::Bare(405), after: Default::default() },
    };
    if !reaction.after.is_zero() {
        tokio::time::sleep(reaction.after).await;
    }
    let mut response = match reaction.answer {
        Answer::Says { status, outcome, about } => response(status, Body::from(words(outcome, &about))),
        Answer::Half { status, outcome, about } => half(status, &words(outcome, &about)),
        Answer::Unknown(reference) => response(404, Body::from(unknown(&reference))),
        Answer::Bare(status) => response(status, Body::empty()),
        Answer::Silence => std::future::pending().await,
    };
    let window = HeaderValue::from(conduct.idempotency_window().as_secs());
    response.headers_mut().insert("idempotency-window", window);
    Ok(response)
}

async fn pay(conduct: &Arc<Conduct>, request: Request<Incoming>) -> Reaction {
    let bad_request = Reaction { answer: Answer::Bare(400), after: Default::default() };
    let key = request.headers().get("idempotency-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
    let Ok(body) = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await else { return bad_request };
    let Some(order) = read(&body.to_bytes()).filter(|order| key.as_ref() == Some(&order.reference)) else {
        return bad_request;
    };
    let conduct = Arc::clone(conduct);
    // It waits for the disk.
    let paid = tokio::task::spawn_blocking(move || conduct.pay(order)).await;
    match paid {
        Ok(Ok(reaction)) => reaction,
        fault => {
            tracing::error!(?fault, "nothing was decided, because the book cannot be written");
            Reaction { answer: Answer::Bare(500), after: Default::default() }
        }
    }
}

impl std::fmt::Debug for Reaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.answer.fmt(f)
    }
}

/// What a request to pay says; `None`: nothing that this bank understands.
fn read(body: &[u8]) -> Option<Order> {
    let (mut reference, mut amount, mut currency, mut destination) = (None, None, None, None);
    let mut scanner = Scanner::new(std::str::from_utf8(body).ok()?);
    let object = scanner.object(|scanner, name| {
        let value = scanner.value()?;
        let text = if let Value::String(text) = value { Some(text.decode().into_owned()) } else { None };
        match &*name.decode() {
            "bank_reference" => reference = text,
            "amount" => amount = value.integer(INTEGER_MAX),
            "currency" => currency = text,
            "destination" => destination = text,
            _ => {}
        }
        Ok(())
    });
    object.ok()??;
    scanner.end().ok()?;
    let is_reference = |text: &String| (1..=128).contains(&text.len()) && text.bytes().all(is_of_reference);
    Some(Order {
        reference: reference.filter(is_reference)?,
        amount: amount.filter(|amount| *amount > 0)?,
        currency: currency.filter(|code| Currency::new(code).is_some())?,
        destination,
    })
}

/// Lower case hexadecimal digits and hyphens: nothing that a path or a CSV would have to quote.
fn is_of_reference(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-')
}

fn words(outcome: &str, about: &Order) -> Vec<u8> {
    let mut out = Vec::with_capacity(160);
    let mut object = Object::begin(&mut out);
    object.text("bank_reference", &about.reference).word("outcome", outcome);
    object.integer("amount", about.amount).text("currency", &about.currency);
    object.end();
    out
}

fn unknown(reference: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    let mut object = Object::begin(&mut out);
    object.text("bank_reference", reference).word("outcome", "not_found");
    object.end();
    out
}

fn response(status: u16, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).expect("a status of this file");
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A response that promises all of `whole` and breaks off in the middle.
fn half(status: u16, whole: &[u8]) -> Response<Body> {
    let first = Bytes::copy_from_slice(&whole[..whole.len() / 2]);
    let mut response = response(status, Body::new(BreaksOff(Some(first))));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(whole.len()));
    response
}

/// A body that ends in an error: hyper then drops the connection.
struct BreaksOff(Option<Bytes>);

impl http_body::Body for BreaksOff {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let frame = self.0.take().map(Frame::data);
        Poll::Ready(Some(frame.ok_or_else(|| io::Error::other("broken off on purpose"))))
    }
}

fn statement(conduct: &Conduct, request: &Request<Incoming>) -> Response<Body> {
    let (lines, now) = conduct.statement();
    let wants_lines = request.headers().get(ACCEPT).is_some_and(|accept| accept == "application/x-ndjson");
    let mut out = Vec::with_capacity(96 * lines.len() + 64);
    if !wants_lines {
        out.extend_from_slice(b"bank_reference,amount,currency,status\n");
    }
    for line in &lines {
        let (Order { reference, amount, currency, .. }, status) = (&line.order, line.status(now));
        if wants_lines {
            let mut object = Object::begin(&mut out);
            object.text("bank_reference", reference).integer("amount", *amount);
            object.text("currency", currency).word("status", status);
            object.end();
            out.push(b'\n');
        } else {
            out.extend_from_slice(format!("{reference},{amount},{currency},{status}\n").as_bytes());
        }
    }
    let mut response = Response::new(Body::new(Full::new(Bytes::from(out))));
    let content_type = if wants_lines { "application/x-ndjson" } else { "text/csv" };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
