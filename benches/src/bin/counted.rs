//! Takes one hot path of the ledger a known number of times, so that its instructions can be counted.
//!
//! `counted PATH` prints how many times. Only [`measured`] is to be counted; `scripts/instructions` does it with callgrind.
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
const CHARGES: Work = Work::Charges { accounts: ACCOUNTS };
const TRANSFERS: Work = Work::Transfers { accounts: ACCOUNTS };
/// How many times a path is taken.
const TIMES: usize = 16_384;
const BATCH: usize = 8_192;
/// Small too: what is opened is looked through to its end.
const SEGMENT_BYTES: u64 = 8 << 20;

fn main() -> ExitCode {
    match env::args().nth(1).as_deref() {
        Some("charge") => singles(CHARGES),
        Some("transfer") => singles(TRANSFERS),
        Some("charges") => batches(&in_memory(), CHARGES),
        Some("transfers") => batches(&in_memory(), TRANSFERS),
        Some("logged") => logged(),
        Some("balance") => balances(),
        Some("replay") => replay(),
        _ => {
            eprintln!("usage: counted charge|transfer|charges|transfers|logged|balance|replay");
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

fn in_memory() -> Ledger {
    let ledger = options().in_memory().expect("a ledger without a log can be opened");
    load::fill(&ledger, Work::NewAccounts { first: 0 }, ACCOUNTS as usize);
    ledger
}

fn commands(work: Work, keys: &[Key]) -> Vec<Command<'_>> {
    let mut random = Random::new(1);
    keys.iter().enumerate().map(|(number, key)| work.command(&mut random, number as u64, key)).collect()
}

fn singles(work: Work) {
    let (ledger, keys) = (in_memory(), Keys::lane().take(TIMES));
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

fn balances() {
    let (ledger, mut random) = (in_memory(), Random::new(1));
    measured(|| {
        for _ in 0..TIMES {
            let balance = ledger.balance(user(random.below(ACCOUNTS)), Currency::USD).and_then(Commit::wait);
            black_box(balance.expect("the ledger runs"));
        }
    });
}

fn open(directory: &Path) -> Ledger {
    options().open(directory).expect("the ledger opens")
}

/// As `charges`, with a log: what it takes more is encoding, frames and checksums. The kernel's part is not counted.
fn logged() {
    let directory = place::directory();
    let ledger = open(directory.path());
    load::fill(&ledger, Work::NewAccounts { first: 0 }, ACCOUNTS as usize);
    batches(&ledger, CHARGES);
}

fn replay() {
    let directory = place::directory();
    let ledger = open(directory.path());
    load::fill(&ledger, CHARGES, TIMES);
    ledger.close().expect("the ledger closes");
    drop(ledger);
    measured(|| drop(black_box(open(directory.path()))));
}
