//! `POST /batch` as a stream of lines that come in pieces of any size, and statements for a reconciliation.
//!
//! However a stream is cut into pieces, each of its lines comes to the same (but for the ids, since lines that share no account
//! are done in any order); every line is answered once, in order, and the last line says that all is done, with counts
//! that sum up, unless a line says why it ends.
#![no_main]

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use arbitrary::{Arbitrary, Unstructured};
use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use ledger_fuzz::draft::Operation;
use ledger_fuzz::site::{Reply, Site};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

#[derive(Arbitrary, Debug)]
enum Visit {
    Operations { lines: Vec<Line>, pieces: Vec<u8> },
    Statement { csv: bool, header: bool, rows: Vec<Row>, pieces: Vec<u8> },
    Bytes { kind: u8, bytes: Vec<u8>, pieces: Vec<u8> },
}

#[derive(Arbitrary, Debug)]
enum Line {
    Operation(Operation),
    Empty,
    Bytes(Vec<u8>),
    Long(u16),
}

#[derive(Arbitrary, Debug)]
enum Row {
    Right { reference: Option<u8>, amount: u16, status: u8 },
    Cells(Vec<String>),
    Bytes(Vec<u8>),
}

impl Line {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Line::Operation(operation) => {
                let mut text = String::new();
                operation.write(&mut text);
                out.extend_from_slice(text.as_bytes());
            }
            Line::Empty => {}
            Line::Bytes(bytes) => out.extend_from_slice(bytes),
            Line::Long(length) => out.resize(out.len() + usize::from(*length) + 4096, b' '),
        }
        out.push(b'\n');
    }
}

impl Row {
    fn write(&self, site: &Site, csv: bool, out: &mut Vec<u8>) {
        match self {
            Row::Right { reference, amount, status } => {
                let reference = match reference {
                    None => {
                        let id = ledger_core::TransactionId::new(3).expect("an id");
                        let withdrawal = site.ledger.withdrawal(id).and_then(|commit| commit.wait());
                        withdrawal.expect("an open ledger answers").expect("the site has one").reference.to_string()
                    }
                    Some(other) => format!("other-{other}"),
                };
                let status = ["settled", "pending", "failed", "returned", "lost"][usize::from(*status) % 5];
                let row = if csv {
                    format!("{reference},{amount},USD,{status}")
                } else {
                    format!(
                        "{{\"bank_reference\":\"{reference}\",\"amount\":{amount},\"currency\":\"USD\",\"status\":\"{status}\"}}"
                    )
                };
                out.extend_from_slice(row.as_bytes());
            }
            Row::Cells(cells) => {
                let quoted: Vec<String> =
                    cells.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect();
                out.extend_from_slice(quoted.join(",").as_bytes());
            }
            Row::Bytes(bytes) => out.extend_from_slice(bytes),
        }
        out.push(b'\n');
    }
}

/// A body that comes in pieces as long as `lengths` says, by turns (whole if there are none), with a wait before each.
struct Pieces {
    rest: Bytes,
    lengths: Vec<u8>,
    next: usize,
    waited: bool,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.waited = !self.waited;
        if self.waited {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length =
            self.lengths.get(self.next % self.lengths.len().max(1)).map_or(usize::MAX, |&l| usize::from(l) + 1);
        self.next += 1;
        let length = length.min(self.rest.len());
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }
}

fn in_pieces(bytes: &[u8], lengths: &[u8]) -> Body {
    Body::new(Pieces { rest: Bytes::copy_from_slice(bytes), lengths: lengths.to_vec(), next: 0, waited: false })
}

fn send(site: &Site, path: &str, media: &str, body: Body) -> Reply {
    let request = Request::post(path).header("content-type", media).body(body);
    site.call(request.expect("a right head"))
}

/// Every line that is not empty is answered once, in order.
fn whole(bytes: &[u8], reply: &Reply) {
    assert_eq!(reply.status, 200);
    let answers: Vec<Value> =
        reply.text.lines().map(|line| serde_json::from_str(line).expect("checked by the site")).collect();
    let (last, results) = answers.split_last().expect("a stream has a last line");
    let numbers: Vec<u64> = results.iter().map(|result| result["line"].as_u64().expect("a line's number")).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    if last["done"] == true {
        let asked = bytes.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
        assert_eq!(asked, results.len(), "{}", reply.text);
        let sum: u64 = ["completed", "pending", "duplicates", "rejected"].iter().filter_map(|n| last[n].as_u64()).sum();
        assert_eq!(sum, asked as u64, "{last}");
    } else {
        assert!(last["error"]["code"].is_string(), "neither done nor an error: {last}");
    }
}

/// What each line came to, and the last line.
fn outcomes(reply: &Reply) -> Vec<Value> {
    let outcome = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("checked by the site");
        match line["done"].as_bool() {
            Some(_) => line,
            None => Value::from(vec![line["line"].clone(), line["status"].clone(), line["error"]["code"].clone()]),
        }
    };
    reply.text.lines().map(outcome).collect()
}

fuzz_target!(|input: &[u8]| {
    let Ok(visit) = Visit::arbitrary_take_rest(Unstructured::new(input)) else { return };
    let (one, other) = (Site::new(false), Site::new(false));
    let mut bytes = Vec::new();
    let (path, media, pieces) = match &visit {
        Visit::Operations { lines, pieces } => {
            lines.iter().for_each(|line| line.write(&mut bytes));
            ("/batch", "application/x-ndjson", pieces)
        }
        Visit::Statement { csv, header, rows, pieces } => {
            if *header {
                bytes.extend_from_slice(b"bank_reference,amount,currency,status\r\n");
            }
            rows.iter().for_each(|row| row.write(&one, *csv, &mut bytes));
            ("/reconciliations", if *csv { "text/csv" } else { "application/x-ndjson" }, pieces)
        }
        Visit::Bytes { kind, bytes: given, pieces } => {
            bytes.extend_from_slice(given);
            let (path, media) = [
                ("/batch", "application/x-ndjson"),
                ("/reconciliations", "text/csv"),
                ("/reconciliations", "application/x-ndjson"),
            ][usize::from(*kind) % 3];
            (path, media, pieces)
        }
    };
    let at_once = send(&one, path, media, Body::from(bytes.clone()));
    if path == "/batch" {
        whole(&bytes, &at_once);
        let cut = send(&other, path, media, in_pieces(&bytes, pieces));
        whole(&bytes, &cut);
        // A line that is too long ends the stream, and how much stands before it when that is seen depends on the pieces. So
        // does which withdrawals get the places, where there are not enough.
        let is_told_apart = |code| at_once.text.contains(code) || cut.text.contains(code);
        if !is_told_apart("payload_too_large") && !is_told_apart("queue_full") {
            assert_eq!(outcomes(&at_once), outcomes(&cut), "the pieces changed the answer");
        }
        other.audit();
    }
    one.audit();
});
