//! Load over HTTP: the classic tables, ratios to handlers that do nothing, or a run of one's own.
//!
//! ```text
//! cargo run --release -p ledger-benches --bin load -- table 1      # … table 5; each starts the server it measures
//! cargo run --release -p ledger-benches --bin load -- all          # the five and all that follow
//! cargo run --release -p ledger-benches --bin load -- ratios       # to handlers that do nothing
//! cargo run --release -p ledger-benches --bin load -- half         # latency at half of the peak, beside the disk's
//! cargo run --release -p ledger-benches --bin load -- idle         # what a server takes that nobody asks
//! cargo run --release -p ledger-benches --bin load -- run --mix charge=7,balance=3 --rate 20000 --seconds 30
//! ```
//!
//! Each prints first what the generator itself can do. With `--quick` everything takes seconds and shows that it runs. The tables are printed as Markdown, and written with
//! their curves to `--report`, and for documentation to `--pages`.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ledger_benches::http::baseline::{self, Baseline};
use ledger_benches::http::classic::{self, Size};
use ledger_benches::http::report::{self, Section};
use ledger_benches::http::run::measure;
use ledger_benches::http::{Mix, Pace, Plan, Target, Until, half, idle, ratios};
use ledger_benches::machine;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What all commands begin with.
const COMMAND: &str = "cargo run --release -p ledger-benches --bin load --";

/// Load over HTTP, with tables and pictures
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
    /// Seconds in all: that it runs, no figures
    #[arg(long, global = true, conflicts_with = "full")]
    quick: bool,
    /// As long as it is promised: table 3 takes ten minutes, table 4 an hour
    #[arg(long, global = true)]
    full: bool,
    /// A server that runs already, in place of one that is started for each measurement
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// The program of the server [default: the one built beside this one]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "url")]
    server: Option<PathBuf>,
    /// Threads of the generator
    #[arg(long, global = true, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Where the report is written
    #[arg(long, global = true, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/load/report.html"))]
    report: PathBuf,
    /// A folder for the same as `README.md` with pictures
    #[arg(long, global = true, value_name = "DIR")]
    pages: Option<PathBuf>,
}

#[derive(Subcommand)]
enum What {
    /// One of the five classic tables
    Table {
        /// Which
        #[arg(value_parser = clap::value_parser!(u8).range(1..=5))]
        number: u8,
    },
    /// The five tables and all that follow
    All,
    /// The server beside handlers that do nothing, in turn
    Ratios,
    /// Latency at half of the peak, beside the disk's own
    Half,
    /// What a server takes that nobody asks for anything
    Idle,
    /// What the generator itself can do
    Ceiling,
    /// A run of your own
    Run(Run),
    /// Serves a baseline; the other commands start it
    #[command(hide = true)]
    Baseline {
        /// Which
        which: Baseline,
    },
}

#[derive(Args)]
struct Run {
    /// What is sent, by weight: charge, withdraw, balance, transactions, batch:N
    #[arg(long, default_value = "charge")]
    mix: Mix,
    /// Requests a second, in an open loop; without it, a closed one
    #[arg(long)]
    rate: Option<f64>,
    /// Connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Requests that may be unanswered on a connection
    #[arg(long, default_value_t = 1)]
    depth: usize,
    /// How long
    #[arg(long, default_value_t = 10.0, conflicts_with = "requests")]
    seconds: f64,
    /// How many requests, in place of how long
    #[arg(long)]
    requests: Option<u64>,
    /// Between how many accounts
    #[arg(long, default_value_t = 1_000_000)]
    users: u64,
    /// An option for the server that is started, such as --option=--durability=memory
    #[arg(long = "option", value_name = "OPTION", allow_hyphen_values = true)]
    options: Vec<String>,
}

fn main() -> ExitCode {
    match start(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("load: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Arguments) -> io::Result<()> {
    if let What::Baseline { which } = arguments.what {
        return baseline::serve(which);
    }
    let size = match (arguments.quick, arguments.full) {
        (true, _) => Size::Quick,
        (_, true) => Size::Full,
        _ => Size::Usual,
    };
    let target = match (&arguments.url, &arguments.server) {
        (Some(url), _) => Target::at(url)?,
        (None, Some(program)) => Target::Program(program.clone()),
        (None, None) => Target::built()?,
    };
    let (machine, threads) = (machine::describe(), arguments.threads);
    println!("{machine}\n");
    let mut sections = Vec::new();
    let mut show = |section: Section| {
        println!("{}", section.table.markdown());
        sections.push(section);
    };
    match &arguments.what {
        What::All | What::Ceiling => show(ratios::ceiling(size, threads)?),
        // Nothing is generated.
        What::Idle => {}
        _ => show(ratios::ceiling(Size::Quick, threads)?),
    }
    match &arguments.what {
        What::Table { number } => show(classic::table(*number, &target, size, threads)?),
        What::All => {
            for number in 1..=5 {
                show(classic::table(number, &target, size, threads)?);
            }
            show(ratios::all(&target, size, threads)?);
            show(half::section(&target, size, threads)?);
            // One that runs elsewhere cannot be looked into.
            if arguments.url.is_none() {
                show(idle::section(&target, size)?);
            }
        }
        What::Ratios => show(ratios::all(&target, size, threads)?),
        What::Half => show(half::section(&target, size, threads)?),
        What::Idle => show(idle::section(&target, size)?),
        What::Run(run) => show(run_of_ones_own(run, &target, threads)?),
        What::Ceiling | What::Baseline { .. } => {}
    }
    let command: Vec<String> = std::env::args().skip(1).collect();
    let command = format!("{COMMAND} {}", command.join(" "));
    report::write(&arguments.report, &machine, &command, &sections)?;
    if let Some(folder) = &arguments.pages {
        report::write_pages(folder, &machine, |section| command_of(section, &arguments, &command), &sections)?;
    }
    println!("The curves: {}", arguments.report.display());
    Ok(())
}

/// How a section is had by itself.
fn command_of(section: &Section, arguments: &Arguments, given: &str) -> String {
    if section.name == "run" {
        return given.to_owned();
    }
    let mut command = format!("{COMMAND} {}", section.name);
    match (arguments.quick, arguments.full) {
        (true, _) => command += " --quick",
        (_, true) => command += " --full",
        _ => {}
    }
    if let Some(url) = &arguments.url {
        command += &format!(" --url {url}");
    }
    if let Some(server) = &arguments.server {
        command += &format!(" --server {}", server.display());
    }
    if arguments.threads > 1 {
        command += &format!(" --threads {}", arguments.threads);
    }
    command
}

fn run_of_ones_own(run: &Run, target: &Target, threads: usize) -> io::Result<Section> {
    let until = match run.requests {
        Some(requests) => Until::Requests(requests),
        None => Until::After(Duration::from_secs_f64(run.seconds)),
    };
    let plan = Plan {
        pace: run.rate.map_or(Pace::Closed, Pace::Open),
        users: run.users.max(1),
        threads,
        ..Plan::closed("a run of your own", run.mix.clone(), run.connections.max(1), run.depth.max(1), until)
    };
    let options: Vec<&str> = run.options.iter().map(String::as_str).collect();
    let server = target.start(&options)?;
    let measured = measure(&plan, &server, true)?;
    Ok(report::of_one_run(&measured))
}
