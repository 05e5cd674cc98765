//! What an operator watches, in the Prometheus text format.
//!
//! Requests are counted here, in plain atomics; the engine's figures are asked for when somebody asks. The text is
//! written by hand: there is no registry to look anything up in, and nothing is counted by a name.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use ledger_core::withdrawals::{AttemptClass, InquiryAnswer};
use ledger_core::{Histogram, Memory, Stats, Substatus, WithdrawalFigures};

use crate::error::Code;
use crate::route::Route;
use crate::withdrawals::Figures;

const STATUSES: [u16; 15] = [200, 202, 400, 401, 404, 405, 408, 409, 413, 415, 422, 500, 503, 507, 0];

/// Upper bounds in seconds: fine where a commit to a fast disk lies, coarse where something is wrong.
const BOUNDS_SECONDS: [f64; 15] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// Requests so far.
#[derive(Default)]
pub struct Metrics {
    routes: [RouteMetrics; Route::ALL.len()],
}

#[derive(Default)]
struct RouteMetrics {
    by_status: [AtomicU64; STATUSES.len()],
    by_bound: [AtomicU64; BOUNDS_SECONDS.len() + 1],
    nanos: AtomicU64,
}

/// Rejections of the process, by code. Not of an application: they are counted where they are written, and there nobody else
/// need think of it.
static REJECTIONS: [AtomicU64; Code::ALL.len()] = [const { AtomicU64::new(0) }; Code::ALL.len()];

/// Counts one "no" that is answered, to a request or to an operation of a batch.
pub(crate) fn count_rejection(code: Code) {
    REJECTIONS[code as usize].fetch_add(1, Ordering::Relaxed);
}

/// How many there were so far.
pub(crate) fn rejections(code: Code) -> u64 {
    REJECTIONS[code as usize].load(Ordering::Relaxed)
}

impl Metrics {
    /// Counts one answered request. Every counter stands alone, so all orderings are relaxed.
    pub fn observe(&self, route: Route, status: StatusCode, took: Duration) {
        let route = &self.routes[route as usize];
        let status = STATUSES.iter().position(|&known| known == status.as_u16()).unwrap_or(STATUSES.len() - 1);
        let seconds = took.as_secs_f64();
        let bound = BOUNDS_SECONDS.iter().position(|&bound| seconds <= bound).unwrap_or(BOUNDS_SECONDS.len());
        route.by_status[status].fetch_add(1, Ordering::Relaxed);
        route.by_bound[bound].fetch_add(1, Ordering::Relaxed);
        route.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// The server's own figures beside the engine's.
#[derive(Clone, Debug)]
pub struct ServerFigures {
    /// Whether withdrawals are performed at all.
    pub executor_running: bool,
    /// Withdrawals whose attempt or inquiry is under way.
    pub in_flight: usize,
    /// Withdrawals that wait for a worker, at most as many as the queue has places.
    pub queue_length: usize,
    /// How many may wait.
    pub queue_capacity: usize,
    /// How many are performed at once.
    pub workers: usize,
    /// What the executor of withdrawals has done.
    pub done: Figures,
    /// Where the ledger's withdrawals are.
    pub withdrawals: WithdrawalFigures,
    /// Since when the oldest withdrawal was reserved whose fate is unknown; zero where there is none.
    pub unknown_oldest: Duration,
    /// Whether the ledger has halted.
    pub halted: bool,
    /// Whether a mirrored ledger goes on with one side.
    pub degraded: bool,
    /// How far the machine's clock has stepped ahead and is not believed.
    pub clock_leap: Duration,
    /// Since when the server runs.
    pub uptime: Duration,
    /// What the process holds, where the operating system tells.
    pub resident_bytes: Option<u64>,
}

/// All figures in the Prometheus text format.
pub fn text(metrics: &Metrics, stats: &Stats, server: &ServerFigures) -> String {
    let mut page = Page { text: String::with_capacity(16 << 10) };
    requests(&mut page, metrics);
    all_rejections(&mut page);
    engine(&mut page, stats);
    withdrawals(&mut page, stats, server);
    money(&mut page, stats);
    memory(&mut page, stats, server.resident_bytes);
    page.gauge("ledger_halted", "Whether the ledger has halted and refuses everything.", u8::from(server.halted));
    let degraded = u8::from(server.degraded);
    page.gauge("ledger_mirror_degraded", "Whether a mirrored ledger goes on with one directory.", degraded);
    let leap = server.clock_leap.as_secs_f64();
    page.gauge("ledger_clock_leap_seconds", "How far the machine's clock is ahead of the time that is believed.", leap);
    page.gauge("ledger_uptime_seconds", "Since when the server runs.", server.uptime.as_secs_f64());
    page.text
}

fn requests(page: &mut Page, metrics: &Metrics) {
    let routes = || Route::ALL.into_iter().zip(&metrics.routes);
    page.head("ledger_http_requests_total", "counter", "Requests answered, by route and status.");
    for (route, counts) in routes() {
        for (status, count) in STATUSES.iter().zip(&counts.by_status) {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                let status = if *status == 0 { "other".to_owned() } else { status.to_string() };
                let labels = format!("route=\"{}\",status=\"{status}\"", route.as_str());
                page.line("ledger_http_requests_total", &labels, count);
            }
        }
    }
    let name = "ledger_http_request_duration_seconds";
    page.head(name, "histogram", "From a request's head to its response's, by route.");
    for (route, counts) in routes() {
        let mut total = 0;
        let bounds = BOUNDS_SECONDS.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds
            .zip(&counts.by_bound)
            .map(|(bound, count)| {
                total += count.load(Ordering::Relaxed);
                (bound, total)
            })
            .collect();
        if total > 0 {
            let sum = counts.nanos.load(Ordering::Relaxed) as f64 / 1e9;
            page.histogram(name, &format!("route=\"{}\"", route.as_str()), &Histogram { buckets, sum });
        }
    }
}

fn all_rejections(page: &mut Page) {
    let help = "Requests, and operations of batches, that were answered with an error, by its code.";
    page.head("ledger_rejections_total", "counter", help);
    for code in Code::ALL {
        let count = rejections(code);
        page.line("ledger_rejections_total", &format!("code=\"{}\"", code.as_str()), count);
    }
}

fn engine(page: &mut Page, stats: &Stats) {
    page.counter("ledger_commits_total", "Frames written and synced.", stats.commits);
    page.counter("ledger_log_bytes_total", "Bytes written to the log.", stats.log_bytes);
    page.gauge("ledger_appended_seq", "The last entry that was decided.", stats.appended.get());
    page.gauge("ledger_durable_seq", "The last entry that survives a power cut.", stats.durable.get());
    page.head("ledger_fsync_duration_seconds", "histogram", "How long each sync of the log took.");
    page.histogram("ledger_fsync_duration_seconds", "", &stats.fsync_seconds);
    let help = "Checkpoints that failed, asked for or not. Until one is made, the log grows.";
    page.counter("ledger_checkpoint_failures_total", help, stats.checkpoint_failures);
    page.head("ledger_commit_entries", "histogram", "How many entries each commit carried.");
    page.histogram("ledger_commit_entries", "", &stats.commit_entries);
}

fn withdrawals(page: &mut Page, stats: &Stats, server: &ServerFigures) {
    page.gauge("ledger_withdrawals_pending", "Withdrawals that have not ended.", stats.withdrawals_open);
    let running = u8::from(server.executor_running);
    page.gauge("ledger_executor_running", "Whether withdrawals are performed at all.", running);
    let taken = stats.withdrawal_places_taken;
    page.gauge("ledger_withdrawal_places_taken", "Places for a first attempt that are taken.", taken);
    page.gauge("ledger_withdrawals_in_flight", "Withdrawals being performed.", server.in_flight);
    page.gauge("ledger_withdrawal_queue_length", "Withdrawals that wait for a worker.", server.queue_length);
    page.gauge("ledger_withdrawal_queue_capacity", "How many withdrawals may wait.", server.queue_capacity);
    page.gauge("ledger_withdrawal_workers", "How many withdrawals are performed at once.", server.workers);
    lives(page, &server.withdrawals, server.unknown_oldest);
    bank(page, &server.done);
}

fn lives(page: &mut Page, figures: &WithdrawalFigures, unknown_oldest: Duration) {
    page.head("ledger_withdrawals", "gauge", "Withdrawals by where in their life they are.");
    for (substatus, count) in Substatus::ALL.into_iter().zip(figures.by_substatus) {
        page.line("ledger_withdrawals", &format!("substatus=\"{substatus}\""), count);
    }
    let help = "Withdrawals of which only a person can tell whether the bank paid.";
    page.gauge("ledger_withdrawals_needs_review", help, figures.needs_review);
    let help = "Since when the oldest withdrawal was reserved whose fate is unknown; 0 where there is none.";
    page.gauge("ledger_withdrawals_unknown_oldest_seconds", help, unknown_oldest.as_secs_f64());
    let help = "What was said against how a withdrawal had ended, in the life of the ledger.";
    page.counter("ledger_withdrawal_discrepancies_total", help, figures.discrepancies);
    let help = "Withdrawals whose payment came back, in the life of the ledger.";
    page.counter("ledger_withdrawals_returned_total", help, figures.returned);
}

fn bank(page: &mut Page, done: &Figures) {
    page.counter("ledger_withdrawal_attempts_total", "Attempts handed to the bank.", done.attempts);
    page.head("ledger_withdrawal_outcomes_total", "counter", "Outcomes of attempts, by class.");
    for (class, count) in AttemptClass::ALL.into_iter().zip(done.outcomes) {
        page.line("ledger_withdrawal_outcomes_total", &format!("class=\"{class}\""), count);
    }
    page.head("ledger_withdrawal_inquiries_total", "counter", "Answers of the bank to inquiries.");
    for (answer, count) in InquiryAnswer::ALL.into_iter().zip(done.answers) {
        page.line("ledger_withdrawal_inquiries_total", &format!("answer=\"{answer}\""), count);
    }
    let help = "Outcomes that the ledger did not take, since the withdrawal was elsewhere by then.";
    page.counter("ledger_withdrawal_outcomes_refused_total", help, done.refused);
    let help = "Times that the log had no room and withdrawals waited.";
    page.counter("ledger_withdrawal_congestions_total", help, done.congestions);
}

fn money(page: &mut Page, stats: &Stats) {
    page.head("ledger_accounts", "gauge", "Users' accounts, by currency.");
    for sums in &stats.money {
        page.line("ledger_accounts", &format!("currency=\"{}\"", sums.currency), sums.accounts);
    }
    page.head("ledger_money", "gauge", "What all users own together, in minor units, by currency and part.");
    for sums in &stats.money {
        let parts = [
            ("total", sums.total),
            ("withdrawable", sums.withdrawable()),
            ("held", sums.held),
            ("reserved", sums.reserved),
        ];
        for (part, value) in parts {
            page.line("ledger_money", &format!("currency=\"{}\",part=\"{part}\"", sums.currency), value);
        }
    }
    page.head("ledger_system_money", "gauge", "The balances of the system accounts, in minor units, by currency.");
    for sums in &stats.money {
        for (account, value) in [("external", sums.external), ("suspense", sums.suspense)] {
            let labels = format!("currency=\"{}\",account=\"{account}\"", sums.currency);
            page.line("ledger_system_money", &labels, value);
        }
    }
}

fn memory(page: &mut Page, stats: &Stats, resident_bytes: Option<u64>) {
    let Memory { accounts, history, withdrawals, keys, locator, unfilled, ahead } = stats.memory;
    page.head("ledger_memory_bytes", "gauge", "What the ledger's tables take, by part.");
    let parts = [accounts, history, withdrawals, keys, locator];
    for (part, bytes) in ["accounts", "history", "withdrawals", "keys", "locator"].into_iter().zip(parts) {
        page.line("ledger_memory_bytes", &format!("part=\"{part}\""), bytes);
    }
    page.gauge("ledger_memory_unfilled_bytes", "Of those, what was allocated ahead and is not used yet.", unfilled);
    page.gauge("ledger_memory_ahead_bytes", "Beside them, what was written to before the tables need it.", ahead);
    if let Some(bytes) = resident_bytes {
        page.gauge("ledger_memory_resident_bytes", "What the process holds, all in.", bytes);
    }
}

struct Page {
    text: String,
}

// Writing into a string cannot fail, so what `write!` returns is left aside.
impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = match labels {
            "" => writeln!(self.text, "{name} {value}"),
            _ => writeln!(self.text, "{name}{{{labels}}} {value}"),
        };
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, "gauge", help);
        self.line(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        self.line(name, "", value);
    }

    fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        let comma = if labels.is_empty() { "" } else { "," };
        let count = histogram.buckets.last().map_or(0, |bucket| bucket.1);
        let finite = histogram.buckets.iter().filter(|bucket| bucket.0.is_finite());
        for (bound, count) in finite {
            self.line(&format!("{name}_bucket"), &format!("{labels}{comma}le=\"{bound}\""), count);
        }
        self.line(&format!("{name}_bucket"), &format!("{labels}{comma}le=\"+Inf\""), count);
        self.line(&format!("{name}_sum"), labels, histogram.sum);
        self.line(&format!("{name}_count"), labels, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_cumulative_and_end_at_infinity() {
        let metrics = Metrics::default();
        metrics.observe(Route::Charge, StatusCode::OK, Duration::from_micros(60));
        metrics.observe(Route::Charge, StatusCode::IM_A_TEAPOT, Duration::from_secs(60));
        let mut page = Page { text: String::new() };
        requests(&mut page, &metrics);
        for line in [
            "ledger_http_requests_total{route=\"/charge\",status=\"200\"} 1",
            "ledger_http_requests_total{route=\"/charge\",status=\"other\"} 1",
            "ledger_http_request_duration_seconds_bucket{route=\"/charge\",le=\"0.00005\"} 0",
            "ledger_http_request_duration_seconds_bucket{route=\"/charge\",le=\"0.0001\"} 1",
            "ledger_http_request_duration_seconds_bucket{route=\"/charge\",le=\"30\"} 1",
            "ledger_http_request_duration_seconds_bucket{route=\"/charge\",le=\"+Inf\"} 2",
            "ledger_http_request_duration_seconds_count{route=\"/charge\"} 2",
        ] {
            assert!(page.text.lines().any(|have| have == line), "{line} is not in\n{}", page.text);
        }
    }
}
