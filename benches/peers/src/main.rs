//! The same charge on other stores, in one run: a key that may come once, a balance, a row of history, and a reply that
//! waits until all of it is on the disk.
//!
//! ```text
//! ./with_servers.sh                        # all of them; PostgreSQL and Redis are started for the run, on loopback
//! cargo run --release                      # in this folder: the stores in the process, and this ledger
//!     --seconds N     for each cell (3)    --rounds N     of all stores in turn (3)
//!     --only NAME     this ledger and one  --quick        seconds: that it runs, no figures
//! ```
//!
//! Prints the two tables in Markdown: the long one of `docs/performance.md`, and the short one of `README.md`.
#![forbid(unsafe_code)]

mod contract;
mod figures;
mod measure;
mod peer;
mod stores;
mod table;

use std::env;
use std::process::{Command, ExitCode, Stdio};

use figures::Figures;
use ledger_benches::place;
use measure::Scale;
use peer::Outcome;
use stores::OURS;
use table::Store;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The store that this process is to measure, set by the one that prints the table.
const CHILD: &str = "LEDGER_PEERS_CHILD";

struct Arguments {
    scale: Scale,
    only: Option<String>,
}

fn main() -> ExitCode {
    let given: Vec<String> = env::args().skip(1).collect();
    let arguments = match parse(&given) {
        Ok(arguments) => arguments,
        Err(wrong) => {
            eprintln!("{wrong}");
            return ExitCode::from(2);
        }
    };
    let done = match env::var(CHILD) {
        Ok(name) => measure_one(&name, &arguments.scale),
        Err(_) => measure_all(&arguments, &given),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("{fault}");
            ExitCode::FAILURE
        }
    }
}

fn parse(given: &[String]) -> Result<Arguments, String> {
    let mut arguments = Arguments { scale: Scale::usual(), only: None };
    let mut given = given.iter();
    while let Some(argument) = given.next() {
        let mut value = || given.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--quick" => arguments.scale = Scale::quick(),
            "--only" => arguments.only = Some(value()?.clone()),
            "--seconds" => arguments.scale.seconds = positive(argument, value()?)?,
            "--rounds" => arguments.scale.rounds = positive::<u32>(argument, value()?)? as usize,
            other => {
                return Err(format!("{other:?} is not known; use --seconds N, --rounds N, --only NAME or --quick"));
            }
        }
    }
    match &arguments.only {
        Some(only) if !stores::ALL.iter().any(|(name, _)| name == only) => {
            let names: Vec<&str> = stores::ALL.iter().map(|(name, _)| *name).collect();
            Err(format!("there is no store {only:?}; there are {}", names.join(", ")))
        }
        _ => Ok(arguments),
    }
}

fn positive<T: std::str::FromStr + Default + PartialOrd>(name: &str, value: &str) -> Result<T, String> {
    let number = value.parse().ok().filter(|number| *number > T::default());
    number.ok_or_else(|| format!("{name} {value:?}: give a positive number"))
}

/// In a process of its own: its memory was nobody's before.
fn measure_one(name: &str, scale: &Scale) -> Outcome<()> {
    let (_, open) = stores::ALL.iter().find(|(known, _)| *known == name).ok_or("there is no such store")?;
    println!("{}", measure::measure(*open, scale)?);
    Ok(())
}

/// Every store in turn, round by round, so that what the neighbours do meets all of them.
fn measure_all(arguments: &Arguments, given: &[String]) -> Outcome<()> {
    let wanted = |name: &str| name == OURS || arguments.only.as_deref().is_none_or(|only| name == only);
    let mut stores: Vec<Store> =
        stores::ALL.iter().filter(|(name, _)| wanted(name)).map(|(name, _)| Store::new(name)).collect();
    let before = load_average();
    for round in 1..=arguments.scale.rounds {
        // What failed once is not tried again.
        for store in stores.iter_mut().filter(|store| store.fault.is_none()) {
            eprintln!("round {round}: {} …", store.name);
            match start(store.name, given)? {
                Ok(figures) => store.rounds.push(figures),
                Err(fault) => store.fault = Some(fault),
            }
        }
    }
    let load = format!("load average {before} before and {} after", load_average());
    print!("{}", table::markdown(&stores, &arguments.scale, &load));
    Ok(())
}

/// A store's figures, or why it has none.
fn start(name: &str, given: &[String]) -> Outcome<Result<Figures, String>> {
    let output = Command::new(env::current_exe()?)
        .args(given)
        .env(CHILD, name)
        .env("LEDGER_BENCH_DIR", place::root())
        .stdin(Stdio::null())
        .output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout).parse()),
        false => Ok(Err(text(&output.stderr))),
    }
}

/// How many processes wanted to run in the last minute: on two cores, more than two are in each other's way.
fn load_average() -> String {
    let all = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    all.split(' ').next().unwrap_or("unknown").to_owned()
}
