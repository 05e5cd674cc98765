//! The five tables by which systems of this kind are usually shown: targets, saturation, endurance, a bad bank, a surge.

use std::io;
use std::time::Duration;

use super::report::{self, Section};
use super::run::{Measured, measure};
use super::server::Target;
use super::table::{Table, percent, rate};
use super::{Kind, Mix, Pace, Plan, Until};
use crate::latency::short;

/// Between how many accounts.
const USERS: u64 = 1_000_000;

/// How much of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    /// Seconds: that it runs, no figures.
    Quick,
    /// Minutes.
    Usual,
    /// As long as it is promised: an hour and a half in all.
    Full,
}

impl Size {
    fn seconds(self, quick: u64, usual: u64, full: u64) -> Duration {
        Duration::from_secs(match self {
            Size::Quick => quick,
            Size::Usual => usual,
            Size::Full => full,
        })
    }
}

/// Measures the table of this number, 1 ..= 5.
///
/// # Errors
/// There is no such table, or the server cannot be started or reached.
pub fn table(number: u8, target: &Target, size: Size, threads: usize) -> io::Result<Section> {
    match number {
        1 => targets(target, size, threads),
        2 => saturation(target, size, threads),
        3 => endurance(target, size, threads),
        4 => bad_bank(target, size, threads),
        5 => surge(target, size, threads),
        other => Err(io::Error::other(format!("there is no table {other}; they are 1 to 5"))),
    }
}

fn cores(measured: &Measured) -> String {
    format!("{:.2} / {:.2}", measured.server_cores, measured.own_cores)
}

fn mixed() -> Mix {
    Mix::of(&[(Kind::Charge, 6), (Kind::Balance, 3), (Kind::Transactions, 1)])
}

fn targets(target: &Target, size: Size, threads: usize) -> io::Result<Section> {
    const TARGETS: [f64; 6] = [2_000.0, 5_000.0, 8_000.0, 15_000.0, 25_000.0, 50_000.0];
    let span = size.seconds(1, 15, 60);
    let mut table = Table::new(
        "1. Targets, mixed requests",
        format!(
            "Open loop, 60 % charges (durable), 30 % balances, 10 % lists of ten, {USERS} accounts, {} s for each target, one \
             server for all of them.",
            span.as_secs()
        ),
        &["target", "reached", "success", "average", "p50", "p95", "p99", "max", "cores: server / generator"],
    );
    let server = target.start(&[])?;
    let (mut reached, mut curves, mut last) = (Vec::new(), Vec::new(), None);
    for per_second in TARGETS {
        let name = format!("{} requests/s", rate(per_second).trim_end_matches("/s").trim());
        let plan = Plan { threads, ..Plan::open(&name, mixed(), per_second, 256, span) };
        let measured = measure(&plan, &server, false)?;
        let times = measured.outcome.accepted();
        // By the span that requests were due in: what was answered after it was late, and is not a higher rate.
        let rate_reached = times.count() as f64 / measured.outcome.elapsed.max(span).as_secs_f64();
        table.row(vec![
            rate(per_second),
            rate(rate_reached),
            percent(measured.outcome.success()),
            short(times.mean()),
            short(times.quantile(0.5)),
            short(times.quantile(0.95)),
            short(times.quantile(0.99)),
            short(times.max()),
            cores(&measured),
        ]);
        reached.push((per_second, rate_reached));
        curves.push((name, times));
        last = Some(measured);
    }
    let mut charts = vec![
        report::against_target("Throughput against target", &reached),
        report::by_percentile("Latency by percentile", &curves),
    ];
    charts.extend(last.map(|measured| report::over_time("Latency over time, at the last target", &measured)));
    Ok(Section { name: "table 1", table, charts })
}

/// A row of the second table: by how many workers, what, and how many requests of it at once.
struct Workers {
    count: usize,
    kind: Kind,
    depth: usize,
}

/// The classic 500, and fewer, whose requests wait for each other less.
const WORKERS: [Workers; 11] = [
    Workers { count: 500, kind: Kind::Charge, depth: 1 },
    Workers { count: 500, kind: Kind::Charge, depth: 16 },
    Workers { count: 500, kind: Kind::Batch(100), depth: 1 },
    Workers { count: 500, kind: Kind::Batch(1_000), depth: 1 },
    Workers { count: 64, kind: Kind::Charge, depth: 1 },
    Workers { count: 16, kind: Kind::Charge, depth: 4 },
    Workers { count: 8, kind: Kind::Charge, depth: 16 },
    Workers { count: 16, kind: Kind::Batch(10), depth: 1 },
    Workers { count: 8, kind: Kind::Batch(50), depth: 1 },
    Workers { count: 4, kind: Kind::Batch(100), depth: 1 },
    Workers { count: 2, kind: Kind::Batch(500), depth: 1 },
];

/// Within which a rate is of use to somebody who waits.
const SOON: Duration = Duration::from_millis(2);

impl Workers {
    fn name(&self) -> String {
        let what = match self.kind {
            Kind::Batch(operations) => format!("batches of {operations}"),
            _ => "single charges".to_owned(),
        };
        let depth = if self.depth > 1 { format!(", {} pipelined", self.depth) } else { String::new() };
        format!("{} workers, {what}{depth}", self.count)
    }
}

fn saturation(target: &Target, size: Size, threads: usize) -> io::Result<Section> {
    let operations = match size {
        Size::Quick => 20_000,
        Size::Usual | Size::Full => 1_000_000,
    };
    let mut table = Table::new(
        "2. 500 workers and fewer, without think time",
        String::new(),
        &[
            "who sends what",
            "operations/s",
            "requests/s",
            "success",
            "p50",
            "p95",
            "p99",
            "max",
            "cores: server / generator",
        ],
    );
    let (mut curves, mut over_time, mut reached) = (Vec::new(), Vec::new(), Vec::new());
    for workers in &WORKERS {
        let Workers { count, kind, depth } = *workers;
        let name = workers.name();
        let server = target.start(&[])?;
        let requests = (operations / kind.operations()).max(count as u64);
        let plan = Plan { threads, ..Plan::closed(&name, Mix::only(kind), count, depth, Until::Requests(requests)) };
        let measured = measure(&plan, &server, false)?;
        let times = measured.outcome.accepted();
        table.row(vec![
            name.clone(),
            rate(measured.outcome.operations_per_second()),
            rate(measured.outcome.requests_per_second()),
            percent(measured.outcome.success()),
            short(times.quantile(0.5)),
            short(times.quantile(0.95)),
            short(times.quantile(0.99)),
            short(times.max()),
            cores(&measured),
        ]);
        if kind == Kind::Charge && count == 500 {
            over_time.push(report::over_time(&format!("Latency over time: {name}"), &measured));
        }
        reached.push((measured.outcome.operations_per_second(), times.quantile(0.99), name.clone()));
        curves.push((name, times));
    }
    table.note = format!(
        "Closed loop, {operations} durable charges each row, {USERS} accounts; an empty server for each row. {} {}",
        best("The best rate", reached.iter()),
        best(
            &format!("The best with a p99 of at most {}", short(SOON)),
            reached.iter().filter(|(_, p99, _)| *p99 <= SOON)
        ),
    );
    let mut charts = vec![report::by_percentile("Latency by percentile", &curves)];
    charts.extend(over_time);
    Ok(Section { name: "table 2", table, charts })
}

/// Says which of these rates is the highest.
fn best<'a>(what: &str, rows: impl Iterator<Item = &'a (f64, Duration, String)>) -> String {
    match rows.max_by(|one, other| one.0.total_cmp(&other.0)) {
        Some((per_second, p99, name)) => format!("{what}: {} by {name}, p99 {}.", rate(*per_second), short(*p99)),
        None => format!("{what}: no row has one."),
    }
}

fn endurance(target: &Target, size: Size, threads: usize) -> io::Result<Section> {
    const PER_SECOND: u64 = 100_000;
    const BATCH: u32 = 100;
    let span = size.seconds(4, 60, 600);
    let server = target.start(&[])?;
    let per_second = (PER_SECOND / u64::from(BATCH)) as f64;
    let name = "100 k transactions/s";
    let plan = Plan { threads, ..Plan::open(name, Mix::only(Kind::Batch(BATCH)), per_second, 64, span) };
    let measured = measure(&plan, &server, true)?;
    let mut table = Table::new(
        "3. 100,000 transactions a second, sustained",
        format!(
            "Open loop, {per_second} batches of {BATCH} durable charges a second for {} s, {USERS} accounts. Memory is what \
             the process holds, by the transactions since the first row. In all: {} reached, {} of the requests, {} cores.",
            span.as_secs(),
            rate(measured.outcome.operations_per_second()),
            percent(measured.outcome.success()),
            cores(&measured),
        ),
        &["until", "transactions", "p50", "p99", "max", "resident memory", "memory a transaction since the first row"],
    );
    let (seconds, parts) = (measured.outcome.seconds(), 10);
    let mut first = None;
    for part in seconds.chunks(seconds.len().div_ceil(parts).max(1)) {
        let Some(end) = part.last().map(|second| second.number + 1) else { continue };
        let sum = |until: usize| -> u64 {
            let before = seconds.iter().filter(|second| second.number < until);
            before.map(|second| second.accepted * u64::from(BATCH)).sum()
        };
        let sample = measured.samples.iter().take_while(|sample| sample.at.as_secs() < end as u64).last();
        let resident = sample.map_or(0, |sample| sample.resident_bytes);
        let since = *first.get_or_insert((sum(end), resident));
        let each = resident.saturating_sub(since.1) as f64 / (sum(end) - since.0) as f64;
        let mut halves: Vec<Duration> = part.iter().map(|second| second.p50).collect();
        halves.sort_unstable();
        table.row(vec![
            format!("{end} s"),
            format!("{:.1} M", sum(end) as f64 / 1e6),
            short(halves[halves.len() / 2]),
            short(part.iter().map(|second| second.p99).max().unwrap_or_default()),
            short(part.iter().map(|second| second.max).max().unwrap_or_default()),
            format!("{} MiB", resident >> 20),
            if each.is_finite() { format!("{each:.0} B") } else { "–".to_owned() },
        ]);
    }
    let charts = vec![
        report::over_time("Latency over time, of a batch of 100", &measured),
        report::memory("Resident memory", &measured),
    ];
    Ok(Section { name: "table 3", table, charts })
}

fn bad_bank(target: &Target, size: Size, threads: usize) -> io::Result<Section> {
    const FUNDED: u64 = 10_000;
    let span = size.seconds(5, 600, 3_600);
    // The hour's 12,000 requests and as many reads; the quick form presses them into seconds.
    let per_second = if size == Size::Quick { 200.0 } else { 24_000.0 / 3_600.0 };
    let server = target.start(&["--bank-success-rate", "0.7", "--bank-latency", "10ms..10s"])?;
    server.fund(FUNDED, 1_000_000_000)?;
    let mix = Mix::of(&[(Kind::Charge, 10), (Kind::Withdraw, 2), (Kind::Balance, 6), (Kind::Transactions, 6)]);
    let plan = Plan { threads, users: FUNDED, ..Plan::open("a bad bank", mix, per_second, 64, span) };
    let measured = measure(&plan, &server, true)?;
    let mut table = Table::new(
        "4. A bank that fails and dawdles",
        format!(
            "Open loop for {} s: in an hour 10,000 charges and 2,000 withdrawals{}, and as many reads; a bank that takes 10 ms to \
             10 s and fails 30 % of the attempts. The queue of withdrawals was never fuller than {}; {} cores.",
            span.as_secs(),
            if size == Size::Quick { " (here pressed into minutes)" } else { "" },
            percent(measured.queue_max()),
            cores(&measured),
        ),
        &["request", "answered", "refused (503)", "failed", "p50", "p99", "max"],
    );
    for kind in &measured.outcome.kinds {
        table.row(vec![
            kind.kind.to_string(),
            kind.accepted.count().to_string(),
            kind.refused.count().to_string(),
            kind.failed.to_string(),
            short(kind.accepted.quantile(0.5)),
            short(kind.accepted.quantile(0.99)),
            short(kind.accepted.max()),
        ]);
    }
    let curves: Vec<_> =
        measured.outcome.kinds.iter().map(|kind| (kind.kind.to_string(), kind.accepted.clone())).collect();
    let charts = vec![
        report::by_percentile("Latency by percentile", &curves),
        report::over_time("Latency over time, of all", &measured),
    ];
    Ok(Section { name: "table 4", table, charts })
}

fn surge(target: &Target, size: Size, threads: usize) -> io::Result<Section> {
    const FUNDED: u64 = 10_000;
    let span = size.seconds(2, 15, 60);
    let mut table = Table::new(
        "5. A surge of withdrawals",
        format!(
            "Open loop, 1,000 charges a second for {} s, alone and then with 1,000 withdrawals a second beside them; a bank \
             that takes a second, 50 workers, 100 places to wait.",
            span.as_secs()
        ),
        &["run", "request", "accepted", "refused (503)", "failed", "p50", "p99", "max", "503: p99", "503: max"],
    );
    let server = target.start(&[])?;
    server.fund(FUNDED, 1_000_000_000)?;
    let (mut curves, mut charts) = (Vec::new(), Vec::new());
    let both = Mix::of(&[(Kind::Charge, 1), (Kind::Withdraw, 1)]);
    for (name, mix, per_second) in
        [("charges alone", Mix::only(Kind::Charge), 1_000.0), ("with the surge", both, 2_000.0)]
    {
        let plan = Plan { threads, users: FUNDED, ..Plan::open(name, mix, per_second, 128, span) };
        debug_assert_eq!(plan.pace, Pace::Open(per_second));
        let measured = measure(&plan, &server, false)?;
        for kind in &measured.outcome.kinds {
            let refused = |value: Duration| if kind.refused.count() > 0 { short(value) } else { "–".to_owned() };
            table.row(vec![
                name.to_owned(),
                kind.kind.to_string(),
                kind.accepted.count().to_string(),
                kind.refused.count().to_string(),
                kind.failed.to_string(),
                short(kind.accepted.quantile(0.5)),
                short(kind.accepted.quantile(0.99)),
                short(kind.accepted.max()),
                refused(kind.refused.quantile(0.99)),
                refused(kind.refused.max()),
            ]);
            curves.push((format!("{}, {name}", kind.kind), kind.accepted.clone()));
            if kind.refused.count() > 0 {
                curves.push((format!("{} refused, {name}", kind.kind), kind.refused.clone()));
            }
        }
        charts.push(report::over_time(&format!("Latency over time: {name}"), &measured));
    }
    charts.insert(0, report::by_percentile("Latency by percentile", &curves));
    Ok(Section { name: "table 5", table, charts })
}
