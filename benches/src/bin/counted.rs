//! One hot path at a time, in one thread and without a log, so that its instructions can be counted.
//!
//! `counted PATH COUNT` does it `COUNT` times behind a preparation that does not depend on `COUNT`: the difference of two
//! runs is what the path costs. `scripts/instructions` does that under callgrind.

use std::env;
use std::process::ExitCode;

use ledger_benches::load;
use ledger_benches::workload::{Keys, Random, Work, user};
use ledger_core::{Commit, Currency, Ledger};

/// Small, so that the counts are those of instructions and not of growing tables.
const ACCOUNTS: u64 = 10_000;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let [path, count] = args.as_slice() else { return usage() };
    let Ok(count) = count.parse::<usize>() else { return usage() };
    let ledger = Ledger::options().in_memory().expect("a ledger without a log can be opened");
    load::fund(&ledger, ACCOUNTS);
    let charges = Work::Charges { accounts: ACCOUNTS };
    let transfers = Work::Transfers { accounts: ACCOUNTS };
    match path.as_str() {
        "charge" => singles(&ledger, charges, count),
        "transfer" => singles(&ledger, transfers, count),
        "charges" => load::fill(&ledger, charges, count),
        "transfers" => load::fill(&ledger, transfers, count),
        "balance" => balances(&ledger, count),
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn singles(ledger: &Ledger, work: Work, count: usize) {
    let (mut lane, mut random) = (Keys::lane(), Random::new(1));
    for number in 0..count {
        let bytes = lane.make();
        ledger.submit(work.command(&mut random, number as u64, &bytes)).and_then(Commit::wait).expect("accepted");
    }
}

fn balances(ledger: &Ledger, count: usize) {
    let mut random = Random::new(1);
    for _ in 0..count {
        let balance = ledger.balance(user(random.below(ACCOUNTS)), Currency::USD).and_then(Commit::wait);
        std::hint::black_box(balance.expect("the ledger runs"));
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: counted charge|transfer|charges|transfers|balance COUNT");
    ExitCode::from(2)
}
