//! Takes one hot path of the ledger a known number of times, so that its instructions can be counted.
//!
//! `counted PATH` prints how many times; `counted PATH ACCOUNTS` does it among so many accounts, for misses of the caches. Only [`measured`] is to be counted; `scripts/instructions` does it with callgrind.
//! Everything happens in one thread and by a clock that stands, on the system's allocator, so that the counts repeat but for
//! what the random seeds of the hashes change.

use std::env;
use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;

use ledger_benches::clock::ManualClock;
use ledger_benches::load;
use ledger_benches::place;
use ledger_benches::workload::{Key, Keys, Random, Work, user};
use ledger_core::{Command, Commit, Currency, Ledger, Options};

/// Small, so that the counts are those of instructions and not of growing tables.
const ACCOUNTS: u64 = 10_000;
/// How many times a path is taken.
const TIMES: usize = 16_384;
const BATCH: usize = 8_192;
/// Small too: what is opened is looked through to its end.
const SEGMENT_BYTES: u64 = 8 << 20;

fn main() -> ExitCode {
    let accounts = env::args().nth(2).map_or(Some(ACCOUNTS), |accounts| accounts.parse().ok()).unwrap_or(0);
    let (charges, transfers) = (Work::Charges { accounts }, Work::Transfers { accounts });
    match env::args().nth(1).as_deref().filter(|_| accounts > 1) {
        Some("charge") => singles(accounts, charges),
        Some("transfer") => singles(accounts, transfers),
        Some("charges") => batches(&in_memory(accounts), charges),
        Some("transfers") => batches(&in_memory(accounts), transfers),
        Some("logged") => logged(accounts),
        Some("balance") => balances(accounts),
        Some("replay") => replay(accounts),
        _ => {
            eprintln!("usage: counted charge|transfer|charges|transfers|logged|balance|replay [ACCOUNTS]");
            return ExitCode::from(2);
        }
    }
    println!("{TIMES}");
    ExitCode::SUCCESS
}

/// What is counted: found by its name.
#[inline(never)]
fn measured(path: impl FnOnce()) {
    path();
}

fn options() -> Options {
    Ledger::options().clock(ManualClock::new()).threads(false).segment_bytes(SEGMENT_BYTES)
}

fn in_memory(accounts: u64) -> Ledger {
    let ledger = options().in_memory().expect("a ledger without a log can be opened");
    load::fill(&ledger, Work::NewAccounts { first: 0 }, accounts as usize);
    ledger
}

fn commands(work: Work, keys: &[Key]) -> Vec<Command<'_>> {
    let mut random = Random::new(1);
    keys.iter().enumerate().map(|(number, key)| work.command(&mut random, number as u64, key)).collect()
}

fn singles(accounts: u64, work: Work) {
    let (ledger, keys) = (in_memory(accounts), Keys::lane().take(TIMES));
    let commands = commands(work, &keys);
    measured(|| {
        for command in commands {
            black_box(ledger.submit(command).and_then(Commit::wait).expect("accepted"));
        }
    });
}

fn batches(ledger: &Ledger, work: Work) {
    let keys = Keys::lane().take(TIMES);
    let commands = commands(work, &keys);
    measured(|| commands.chunks(BATCH).for_each(|batch| load::submit(ledger, batch)));
}

fn balances(accounts: u64) {
    let (ledger, mut random) = (in_memory(accounts), Random::new(1));
    measured(|| {
        for _ in 0..TIMES {
            let balance = ledger.balance(user(random.below(accounts)), Currency::USD).and_then(Commit::wait);
            black_box(balance.expect("the ledger runs"));
        }
    });
}

fn open(directory: &Path) -> Ledger {
    options().open(directory).expect("the ledger opens")
}

/// As `charges`, with a log: what it takes more is encoding, frames and checksums. The kernel's part is not counted.
fn logged(accounts: u64) {
    let directory = place::directory();
    let ledger = open(directory.path());
    load::fill(&ledger, Work::NewAccounts { first: 0 }, accounts as usize);
    batches(&ledger, Work::Charges { accounts });
}

fn replay(accounts: u64) {
    let directory = place::directory();
    let ledger = open(directory.path());
    load::fill(&ledger, Work::Charges { accounts }, TIMES);
    ledger.close().expect("the ledger closes");
    drop(ledger);
    measured(|| drop(black_box(open(directory.path()))));
}
