//! `POST /reconciliations`: a bank's statement against the log.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use tokio::sync::SemaphorePermit;

use super::lines::{self, Cut, Lines};
use crate::app::App;
use crate::error::{Code, Problem};
use crate::reconciliation::{Comparison, Faults, Mismatch, MissingHere, Period, Report, Said};
use crate::wire::body::{self, Media};
use crate::wire::json::{self, Object};
use crate::wire::statement::{Format, Reader};
use crate::wire::{query, views};

/// How many rows are compared before other requests of this thread get their turn.
const ROWS_AT_ONCE: u64 = 512;

/// Compares, and writes nothing. The statement is read as it comes, row by row.
pub(super) async fn reconcile(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let format = match body::media_among(&head.headers, &[Media::Csv, Media::Lines])? {
        Media::Csv => Format::Csv,
        Media::Lines | Media::Json => Format::Lines,
    };
    let period = period(&head)?;
    let (comparison, _place) = compare(&app, &head, body, format).await?;
    let report = comparison.end(period).await?;
    Ok(answer(&report))
}

fn period(head: &Parts) -> Result<Period, Problem> {
    let [from, to] = query::parameters(&head.uri, ["from", "to"])?;
    let from = from.map(|from| from.time(true)).transpose()?;
    Ok(Period { from, to: to.map(|to| to.time(true)).transpose()? })
}

async fn compare<'a>(
    app: &'a App,
    head: &Parts,
    body: Body,
    format: Format,
) -> Result<(Comparison, Option<SemaphorePermit<'a>>), Problem> {
    let mut lines = Lines::begin(app.clone(), &head.headers, body).await?;
    let (mut reader, mut comparison) = (Reader::new(format), Comparison::new(app.ledger.clone()));
    let mut patience = Patience::new(app.options.stream_idle_deadline);
    let mut place = None;
    while let Some(block) = patience.next(&mut lines).await.map_err(|cut| told(cut, reader.line()))? {
        // Not before there is something to compare: who sends nothing keeps nobody out.
        if place.is_none() {
            let detail = "as many statements are being compared as may be at once; repeat later";
            let taken = app.reconciliations.try_acquire().map_err(|_| Problem::new(Code::Overloaded, detail))?;
            place = Some(taken);
        }
        for line in lines::split(&block) {
            let line = line.map_err(|cut| told(cut, reader.line()))?;
            let row = reader.read(line)?;
            if let Some(row) = row {
                comparison.add(reader.line(), &row).await.map_err(Problem::of_read)?;
            }
            if reader.line().is_multiple_of(ROWS_AT_ONCE) {
                tokio::task::yield_now().await;
            }
        }
    }
    reader.end()?;
    Ok((comparison, place))
}

/// How long a client is still waited for, in sum: some time, and more for each byte that came.
struct Patience {
    left: Duration,
    most: Duration,
}

impl Patience {
    /// Slower than any line that a statement comes by.
    const BYTES_PER_SECOND_MIN: f64 = 1_024.0;

    fn new(idle_deadline: Duration) -> Patience {
        Patience { left: idle_deadline * 2, most: idle_deadline * 2 }
    }

    async fn next(&mut self, lines: &mut Lines) -> Result<Option<Bytes>, Cut> {
        let asked = Instant::now();
        let block = tokio::time::timeout(self.left, lines.next()).await.map_err(|_| {
            let detail = "the statement comes too slowly for one of its length; send it again, faster";
            Cut::Told(Problem::new(Code::RequestTimeout, detail))
        })??;
        let bytes = block.as_ref().map_or(0, Bytes::len);
        let earned = Duration::from_secs_f64(bytes as f64 / Patience::BYTES_PER_SECOND_MIN);
        self.left = (self.left + earned).saturating_sub(asked.elapsed()).min(self.most);
        Ok(block)
    }
}

/// Why the lines stopped; `line` is the last one that was read.
fn told(cut: Cut, line: u64) -> Problem {
    match cut {
        Cut::Told(problem) => problem.line(line + 1),
        Cut::Gone => Problem::new(Code::InvalidRequest, "the statement broke off; send it again").line(line + 1),
    }
}

fn answer(report: &Report) -> Response {
    let Report { rows, matched, missing_here, missing_there, mismatched } = report;
    let mut out = Vec::with_capacity(1024);
    let mut object = Object::begin(&mut out);
    object.integer("matched", *matched);
    json::array(object.name("missing_here"), &missing_here.listed, write_missing_here);
    json::array(object.name("missing_there"), &missing_there.listed, |out, withdrawal| {
        let mut object = Object::begin(out);
        write_here(&mut object, withdrawal);
        object.end();
    });
    json::array(object.name("mismatched"), &mismatched.listed, write_mismatch);
    object.integer("rows", *rows);
    total(&mut object, "missing_here_total", missing_here);
    total(&mut object, "missing_there_total", missing_there);
    total(&mut object, "mismatched_total", mismatched);
    object.end();
    views::json(out)
}

/// The lists are cut; the totals are not.
fn total<T>(object: &mut Object<'_>, name: &'static str, faults: &Faults<T>) {
    object.integer(name, faults.total);
}

fn write_missing_here(out: &mut Vec<u8>, missing: &MissingHere) {
    let mut object = Object::begin(out);
    object.integer("line", missing.line).text("bank_reference", &missing.reference);
    write_said(&mut object, &missing.said);
    object.end();
}

fn write_mismatch(out: &mut Vec<u8>, mismatch: &Mismatch) {
    let mut object = Object::begin(out);
    object.word("reason", mismatch.reason.as_str());
    object.text("bank_reference", &mismatch.withdrawal.reference.to_string());
    let mut here = Object::begin(object.name("here"));
    write_here(&mut here, &mismatch.withdrawal);
    here.end();
    let mut there = Object::begin(object.name("there"));
    write_said(&mut there, &mismatch.said);
    there.end();
    object.end();
}

fn write_said(object: &mut Object<'_>, said: &Said) {
    object.integer("amount", said.amount.minor()).word("currency", said.currency.as_str());
    object.word("status", said.status.as_str());
}

fn write_here(object: &mut Object<'_>, withdrawal: &ledger_core::withdrawals::Withdrawal) {
    object
        .integer("id", withdrawal.id.get())
        .text("bank_reference", &withdrawal.reference.to_string())
        .integer("amount", withdrawal.amount.minor())
        .word("currency", withdrawal.currency.as_str())
        .word("status", withdrawal.substatus.status().as_str())
        .word("substatus", withdrawal.substatus.as_str());
}
