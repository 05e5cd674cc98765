//! What a client waits at half of the load that the server can bear, in turn with the disk alone and with a handler that does
//! nothing at the same rate: what that takes is the kernel's and the generator's, on the same cores.

use std::io;
use std::time::Duration;

use super::baseline::{self, Baseline};
use super::classic::Size;
use super::ratios::well;
use super::report::{self, Section};
use super::run::{Together, measure};
use super::server::Target;
use super::table::{Table, percent, rate};
use super::{Kind, Mix, Plan, Until};
use crate::disk::Disk;
use crate::latency::Latencies;
use crate::pairs::Spread;

const CONNECTIONS: usize = 256;

/// Measures the peak in a closed loop, and then half of it in an open one, on an empty server each.
///
/// # Errors
/// A server cannot be started or reached, or does not bear the closed loop.
pub fn section(target: &Target, size: Size, threads: usize) -> io::Result<Section> {
    let (pairs, span, blocks) = match size {
        Size::Quick => (1, Duration::from_millis(500), 200),
        Size::Usual => (5, Duration::from_secs(10), 10_000),
        Size::Full => (9, Duration::from_secs(30), 50_000),
    };
    let mix = || Mix::only(Kind::Charge);
    let plan = Plan { threads, ..Plan::closed("the peak", mix(), CONNECTIONS, 1, Until::After(span)) };
    let server = target.start(&[])?;
    // Fresh memory and fresh connections are nobody's figure.
    measure(&plan, &server, false)?;
    let peak = measure(&plan, &server, false)?.outcome;
    let peak = well("the peak", peak.success(), peak.requests_per_second())?;
    drop(server);

    let plan = Plan { threads, ..Plan::open("half of the peak", mix(), peak / 2.0, CONNECTIONS, span) };
    let (server, disk) = (target.start(&[])?, Disk::new(blocks));
    let handler = baseline::start(Baseline::Handlers)?;
    measure(&plan, &server, false)?;
    measure(&plan, &handler, false)?;
    let (mut runs, mut syncs, mut answered) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..pairs {
        runs.push(measure(&plan, &server, false)?);
        syncs.push(disk.write_and_sync().1);
        answered.push(measure(&plan, &handler, false)?);
    }
    let p99 = |run: &super::run::Measured| run.outcome.accepted().quantile(0.99).as_secs_f64();
    let ratios = runs.iter().zip(&syncs).map(|(run, disk)| p99(run) / disk.quantile(0.99).as_secs_f64());
    let ratio = Spread::of(ratios.collect());
    let (all, syncs, answered) = (Together::of(&runs), Latencies::merged(&syncs), Together::of(&answered));
    let mut table = Table::new(
        "Latency at half of the peak",
        format!(
            "`POST /charge`, durable, {CONNECTIONS} connections: a closed loop reached {}; half of that in an open loop on \
             an empty server, {pairs} runs of {} s in turn with {blocks} writes of 4 KiB, each with its fdatasync, and with \
             a handler that parses and answers at once, asked at the same rate. The ratio is the median of the pairs \
             with its range; latencies and cores are those of all pairs together.",
            rate(peak),
            span.as_secs_f64(),
        ),
        &[
            "open loop",
            "success",
            "to reach",
            "p50 / p99 / p99.9 / max",
            "write + fdatasync: p50 / p99 / p99.9 / max",
            "ratio of the p99",
            "the handler: p50 / p99 / p99.9 / max",
            "cores: server / generator",
        ],
    );
    table.row(vec![
        rate(peak / 2.0),
        percent(all.success),
        "p99 3".to_owned(),
        all.times.to_string(),
        syncs.to_string(),
        format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.min, ratio.max),
        answered.times.to_string(),
        all.cores(),
    ]);
    let lines = [("half of the peak".to_owned(), all.times), ("parses and answers".to_owned(), answered.times)];
    let charts = vec![report::by_percentile("Latency by percentile", &lines)];
    Ok(Section { name: "half", table, charts })
}
