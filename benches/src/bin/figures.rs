//! Measures what the ledger promises, each figure beside its baseline, and prints a table in Markdown.
//!
//! ```text
//! cargo run --release -p ledger-benches --bin figures [-- [--quick | --full] [--row NAME]... [--list]]
//! ```
//!
//! Durable ledgers are made in `LEDGER_BENCH_DIR`, or else in the build directory. Each measurement runs in a process of
//! its own.

use std::env;
use std::io::Write;
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::Instant;

use ledger_benches::rows::{ALL, HEAD, Measurement};
use ledger_benches::scale::Scale;
use ledger_benches::{machine, place};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Set for the processes that do something for this one: `MEASURE` or `USE_MEMORY`.
const CHILD: &str = "LEDGER_FIGURES_CHILD";
const MEASURE: &str = "measure";
const USE_MEMORY: &str = "use memory";

struct Arguments {
    scale: Scale,
    measurements: Vec<&'static Measurement>,
    list: bool,
}

fn main() -> ExitCode {
    let arguments = match parse(env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(wrong) => {
            eprintln!("{wrong}");
            return ExitCode::from(2);
        }
    };
    if arguments.list {
        ALL.iter().for_each(|measurement| println!("{}", measurement.name));
        return ExitCode::SUCCESS;
    }
    match env::var(CHILD).as_deref() {
        Ok(USE_MEMORY) => println!("{}", machine::use_memory()),
        Ok(_) => {
            for measurement in &arguments.measurements {
                (measurement.run)(&arguments.scale).iter().for_each(|row| println!("{row}"));
            }
        }
        Err(_) => return print_table(&arguments),
    }
    ExitCode::SUCCESS
}

fn parse(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments { scale: Scale::usual(), measurements: Vec::new(), list: false };
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--quick" => arguments.scale = Scale::quick(),
            "--usual" => arguments.scale = Scale::usual(),
            "--full" => arguments.scale = Scale::full(),
            "--list" => arguments.list = true,
            "--row" => {
                let name = given.next().ok_or("--row needs a name; --list shows them")?;
                let found = ALL.iter().find(|measurement| measurement.name == name);
                arguments
                    .measurements
                    .push(found.ok_or_else(|| format!("there is no row {name:?}; --list shows them"))?);
            }
            other => return Err(format!("{other:?} is not known; use --quick, --full, --row NAME or --list")),
        }
    }
    if arguments.measurements.is_empty() {
        arguments.measurements = ALL.iter().collect();
    }
    Ok(arguments)
}

/// This program again, in a process of its own.
fn child(purpose: &str, arguments: &[&str]) -> Output {
    let this = env::current_exe().expect("the program knows where it lies");
    let mut command = Command::new(this);
    command.args(arguments).env(CHILD, purpose).env("LEDGER_BENCH_DIR", place::root()).stderr(Stdio::inherit());
    command.output().expect("the program can be started again")
}

/// Has the machine's memory used once, unless seconds matter; says so.
fn memory_used(flag: &str) -> String {
    if flag == Scale::quick().flag {
        return String::new();
    }
    let begin = Instant::now();
    let output = child(USE_MEMORY, &[]);
    let bytes: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(0);
    let (gib, seconds) = (bytes as f64 / f64::from(1 << 30), begin.elapsed().as_secs_f64());
    format!(" First of all {gib:.1} GiB of memory were written to and given back, in {seconds:.1} s.")
}

fn print_table(arguments: &Arguments) -> ExitCode {
    let flag = arguments.scale.flag;
    let chosen = arguments.measurements.len() < ALL.len();
    let rows: String =
        arguments.measurements.iter().filter(|_| chosen).map(|row| format!(" --row {}", row.name)).collect();
    println!("{}\n\n`cargo run --release -p ledger-benches --bin figures -- {flag}{rows}`:", machine::describe());
    println!("{} pairs, {} accounts.{}\n\n{HEAD}", arguments.scale.pairs, arguments.scale.accounts, memory_used(flag));
    let mut all_well = true;
    for measurement in &arguments.measurements {
        let output = child(MEASURE, &[flag, "--row", measurement.name]);
        all_well &= output.status.success();
        print!("{}", String::from_utf8_lossy(&output.stdout));
        if !output.status.success() {
            println!("| {} | | failed: {} | | | |", measurement.name, output.status);
        }
        std::io::stdout().flush().expect("the table can be printed");
    }
    if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
