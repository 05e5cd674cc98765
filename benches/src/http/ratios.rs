//! The server beside handlers that do nothing, in turn: A B A B …, each run short, so that what neighbours do meets both.

use std::io;
use std::time::Duration;

use super::baseline::{self, Baseline};
use super::classic::Size;
use super::report::Section;
use super::run::{Together, measure};
use super::server::{Server, Target};
use super::table::{Table, rate};
use super::{Kind, Mix, Plan, Until};
use crate::pairs::Spread;

struct Comparison {
    what: &'static str,
    to_reach: &'static str,
    baseline: &'static str,
    kind: Kind,
    connections: usize,
    depth: usize,
}

const COMPARISONS: [Comparison; 6] = [
    Comparison {
        what: "`POST /charge`, durable, 64 connections",
        to_reach: "0.75, then 0.90",
        baseline: "parses and answers",
        kind: Kind::Charge,
        connections: 64,
        depth: 1,
    },
    Comparison {
        what: "`POST /charge`, durable, 256 connections",
        to_reach: "0.75, then 0.90",
        baseline: "parses and answers",
        kind: Kind::Charge,
        connections: 256,
        depth: 1,
    },
    Comparison {
        what: "`POST /charge`, durable, 16 pipelined, 64 connections",
        to_reach: "0.70",
        baseline: "parses and answers",
        kind: Kind::Charge,
        connections: 64,
        depth: 16,
    },
    Comparison {
        what: "`POST /batch` of 1,000, durable, 16 connections",
        to_reach: "3 M operations/s",
        baseline: "parses",
        kind: Kind::Batch(1_000),
        connections: 16,
        depth: 1,
    },
    Comparison {
        what: "`GET /balance`, 64 connections",
        to_reach: "0.95",
        baseline: "answers a constant",
        kind: Kind::Balance,
        connections: 64,
        depth: 1,
    },
    Comparison {
        what: "`GET /balance`, 16 pipelined, 64 connections",
        to_reach: "",
        baseline: "answers a constant",
        kind: Kind::Balance,
        connections: 64,
        depth: 16,
    },
];

/// Measures all rows.
///
/// # Errors
/// A server cannot be started or reached.
pub fn all(target: &Target, size: Size, threads: usize) -> io::Result<Section> {
    let (pairs, span) = match size {
        Size::Quick => (1, Duration::from_millis(500)),
        Size::Usual => (5, Duration::from_secs(5)),
        Size::Full => (9, Duration::from_secs(15)),
    };
    let mut table = Table::new(
        "Ratios to handlers that do nothing",
        format!(
            "Closed loop, {pairs} pairs of {} s in turn, on axum and hyper as the server is. Rates are medians of operations, the \
             ratio is the median of the pairs with its range; latencies and cores are those of all pairs together.",
            span.as_secs_f64()
        ),
        &["what", "to reach", "ledger", "baseline", "ratio", "p50 / p99 / p99.9 / max", "cores: server / generator"],
    );
    let handlers = baseline::start(Baseline::Handlers)?;
    for comparison in &COMPARISONS {
        // An empty ledger for each row, so that none pays for the rows before it.
        let server = target.start(&[])?;
        table.row(compare(comparison, &server, &handlers, pairs, span, threads)?);
    }
    Ok(Section { name: "ratios", table, charts: Vec::new() })
}

fn compare(
    comparison: &Comparison,
    server: &Server,
    handlers: &Server,
    pairs: usize,
    span: Duration,
    threads: usize,
) -> io::Result<Vec<String>> {
    let Comparison { what, to_reach, baseline, kind, connections, depth } = *comparison;
    let plan = Plan { threads, ..Plan::closed(what, Mix::only(kind), connections, depth, Until::After(span)) };
    let (mut ours, mut theirs, mut runs) = (Vec::new(), Vec::new(), Vec::new());
    // Fresh memory and fresh connections are nobody's figure.
    measure(&plan, server, false)?;
    for _ in 0..pairs {
        let measured = measure(&plan, server, false)?;
        ours.push(well(what, measured.outcome.success(), measured.outcome.operations_per_second())?);
        let answered = measure(&plan, handlers, false)?;
        theirs.push(well(baseline, answered.outcome.success(), answered.outcome.operations_per_second())?);
        runs.push(measured);
    }
    let ratio = Spread::of(ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect());
    let all = Together::of(&runs);
    Ok(vec![
        what.to_owned(),
        to_reach.to_owned(),
        rate(Spread::of(ours).median),
        format!("{baseline}: {}", rate(Spread::of(theirs).median)),
        format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.min, ratio.max),
        all.times.to_string(),
        all.cores(),
    ])
}

/// A rate counts only if everything was answered 2xx.
pub(super) fn well(what: &str, success: f64, rate: f64) -> io::Result<f64> {
    if success < 1.0 {
        return Err(io::Error::other(format!("{what}: only {success} of the requests were answered well")));
    }
    Ok(rate)
}

/// The generator's own ceiling: against a loop that answers without reading.
///
/// # Errors
/// It cannot be started.
pub fn ceiling(size: Size, threads: usize) -> io::Result<Section> {
    let span = if size == Size::Quick { Duration::from_millis(500) } else { Duration::from_secs(3) };
    let mut table = Table::new(
        "The generator's own ceiling",
        "Closed loop, 64 connections, against a loop of bare sockets that only looks where a request ends. What comes near \
         these rates says more of the generator than of the server.",
        &["requests", "rate", "cores: loop / generator"],
    );
    let raw = baseline::start(Baseline::Raw)?;
    for (name, kind, depth) in [
        ("balance", Kind::Balance, 1),
        ("charge", Kind::Charge, 1),
        ("charge, 16 pipelined", Kind::Charge, 16),
        ("batch of 1,000", Kind::Batch(1_000), 1),
    ] {
        let plan =
            Plan { threads, ..Plan::closed("the generator's ceiling", Mix::only(kind), 64, depth, Until::After(span)) };
        let measured = measure(&plan, &raw, false)?;
        let reached = rate(measured.outcome.requests_per_second());
        table.row(vec![name.to_owned(), reached, format!("{:.2} / {:.2}", measured.server_cores, measured.own_cores)]);
    }
    Ok(Section { name: "ceiling", table, charts: Vec::new() })
}
