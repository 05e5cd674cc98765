//! One run against one server, with what both took of the machine.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::generator::Plan;
use super::outcome::{Outcome, Times};
use super::server::{Server, own_cpu_seconds};

/// What an operator would have seen while it ran.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// How long after the start.
    pub at: Duration,
    /// The server's resident memory, in bytes.
    pub resident_bytes: u64,
    /// Withdrawals that waited for a worker.
    pub queue_length: u64,
    /// How many may.
    pub queue_capacity: u64,
}

/// A run and what it took.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Which.
    pub plan: Plan,
    /// What it came to.
    pub outcome: Outcome,
    /// Cores that the server kept busy, on average.
    pub server_cores: f64,
    /// Cores that the generator kept busy.
    pub own_cores: f64,
    /// Second by second.
    pub samples: Vec<Sample>,
}

impl Measured {
    /// The fullest that the queue of withdrawals was, as a share of what it takes.
    pub fn queue_max(&self) -> f64 {
        let share = |sample: &Sample| sample.queue_length as f64 / (sample.queue_capacity as f64).max(1.0);
        self.samples.iter().map(share).fold(0.0, f64::max)
    }
}

/// The runs of one plan, taken together.
#[derive(Clone, Debug)]
pub(super) struct Together {
    /// The latencies of all that was answered 2xx.
    pub(super) times: Times,
    /// The share of all requests that was, 0 ..= 1.
    pub(super) success: f64,
    server_cores: f64,
    own_cores: f64,
}

impl Together {
    /// Of at least one run.
    pub(super) fn of(runs: &[Measured]) -> Together {
        let mut times = Times::new();
        runs.iter().for_each(|run| times.merge(&run.outcome.accepted()));
        let seconds = |run: &Measured| run.outcome.elapsed.as_secs_f64();
        // Each run counts for as long as it took.
        let all: f64 = runs.iter().map(seconds).sum();
        let cores = |of: fn(&Measured) -> f64| runs.iter().map(|run| of(run) * seconds(run)).sum::<f64>() / all;
        let asked = |run: &Measured| {
            let (refused, failed) = run.outcome.not_accepted();
            run.outcome.accepted().count() + refused + failed
        };
        let asked: u64 = runs.iter().map(asked).sum();
        Together {
            success: times.count() as f64 / (asked as f64).max(1.0),
            times,
            server_cores: cores(|run| run.server_cores),
            own_cores: cores(|run| run.own_cores),
        }
    }

    /// Cores of the server and of the generator.
    pub(super) fn cores(&self) -> String {
        format!("{:.2} / {:.2}", self.server_cores, self.own_cores)
    }
}

/// Runs `plan` against `server`, which is asked for its health once a second (`watch`) meanwhile.
///
/// # Errors
/// The server cannot be reached.
pub fn measure(plan: &Plan, server: &Server, watch: bool) -> io::Result<Measured> {
    let (server_before, own_before, begin) = (server.cpu_seconds(), own_cpu_seconds(), Instant::now());
    let over = AtomicBool::new(false);
    let (outcome, samples) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| if watch { samples(server, begin, &over) } else { Vec::new() });
        let outcome = plan.run(server.address);
        // Relaxed: it carries nothing.
        over.store(true, Ordering::Relaxed);
        (outcome, watching.join().expect("the watcher does not panic"))
    });
    let outcome = outcome?;
    // Without the time that it took to connect: what it cost in processor time is little.
    let elapsed = outcome.elapsed.as_secs_f64();
    Ok(Measured {
        plan: plan.clone(),
        outcome,
        server_cores: (server.cpu_seconds() - server_before) / elapsed,
        own_cores: (own_cpu_seconds() - own_before) / elapsed,
        samples,
    })
}

fn samples(server: &Server, begin: Instant, over: &AtomicBool) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut next = Duration::from_millis(100);
    while !over.load(Ordering::Relaxed) {
        if begin.elapsed() >= next {
            next += Duration::from_secs(1);
            let health: serde_json::Value =
                server.get("/health").ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
            samples.push(Sample {
                at: begin.elapsed(),
                resident_bytes: server.resident_bytes(),
                queue_length: health["queue_length"].as_u64().unwrap_or(0),
                queue_capacity: health["queue_capacity"].as_u64().unwrap_or(0),
            });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    samples
}
