//! Crashes a ledger a hundred thousand times and compares everything that it says with a naive model.
//!
//! ```text
//! cargo run --release -p ledger-core --features sim --bin simulate -- --seeds 10000
//! ```
//!
//! One seed is one [`run`]: a ledger on a simulated disk, with a simulated clock and bank, several callers and an
//! executor, all driven by one stream of chance, on one thread. [`swarm`] draws how, [`clients`] and [`executor`] act,
//! [`images`] opens what crashes leave, and the model that answers are compared with is the one of the library's tests,
//! which shares no code with the engine. `docs/simulation.md` says what is checked and what was found.

mod arguments;
mod backups;
mod bank;
mod campaign;
mod clients;
mod coverage;
mod disks;
mod doubt;
mod executor;
mod images;
mod lives;
mod mirror;
mod orders;
mod panics;
mod planted;
mod promise;
mod rules;
mod run;
mod swarm;
mod timekeeper;
mod trace;

#[path = "../tests/it"]
#[allow(dead_code, reason = "the tests ask and set more")]
mod it {
    pub(crate) mod model;
    pub(crate) mod pair;
    pub(crate) mod stage;
}

use std::process::ExitCode;

use arguments::{Arguments, USAGE};
use it::{model, pair, stage};
use ledger_core::sim::PlantedBug;

/// How many lines of a failing run's trace are printed.
const TRACE_LINES: usize = 60;

fn main() -> ExitCode {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("{why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    panics::keep();
    let result = if arguments.trace {
        trace(arguments.seed, arguments.planted.first().copied())
    } else if arguments.planted.is_empty() {
        simulate(&arguments)
    } else {
        catch_planted(&arguments)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one seed and prints all that happens; and runs it again, for what differs.
fn trace(seed: u64, planted: Option<PlantedBug>) -> Result<(), String> {
    let [outcome, again] = [(), ()].map(|()| run::run(seed, planted, true));
    println!("{}\n\ntrace {:016x}", outcome.trace.tail(usize::MAX), outcome.trace.hash());
    if again.trace.hash() != outcome.trace.hash() {
        let (one, other) = (outcome.trace.tail(usize::MAX), again.trace.tail(usize::MAX));
        let differ = one.lines().zip(other.lines()).find(|(one, other)| one != other);
        return Err(format!("two runs of the seed differ, first in {differ:?}"));
    }
    outcome.violation.map_or(Ok(()), |violation| Err(violation.to_string()))
}

/// The build that this is: another one checks less, or more.
const PROFILE: &str = if cfg!(debug_assertions) { "--profile ci" } else { "--release" };

fn simulate(arguments: &Arguments) -> Result<(), String> {
    let report = campaign::campaign(arguments)?;
    println!("{}\n\n{}", report.tally.coverage.table(), report.summary());
    for (seed, violation) in report.failures.iter().take(3) {
        let again = run::run(*seed, None, true);
        println!("\nseed {seed}: {violation}\n{}", again.trace.tail(TRACE_LINES));
        println!(
            "to see all of it: cargo run {PROFILE} -p ledger-core --features sim --bin simulate -- --seed {seed} --trace"
        );
    }
    report.verdict(arguments.images_min, arguments.cells_min)
}

fn catch_planted(arguments: &Arguments) -> Result<(), String> {
    let mut missed = Vec::new();
    for &bug in &arguments.planted {
        match planted::catch(bug, arguments.seed) {
            Ok(caught) => println!("{caught}"),
            Err(why) => missed.push(why),
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(missed.join("\n")) }
}
