//! What is kept of a command: in memory for ever, and in the log.

use super::Row;
use crate::load;
use crate::machine::resident_bytes;
use crate::place::{Mode, Opened};
use crate::scale::Scale;
use crate::workload::Work;

/// The resident memory that each of so many commands adds.
fn bytes_each(ledger: &Opened, work: Work, count: usize) -> f64 {
    // What a batch itself needs is allocated once, before anything is counted.
    load::fill(ledger, Work::Hot, 100_000);
    let before = resident_bytes();
    load::fill(ledger, work, count);
    resident_bytes().saturating_sub(before) as f64 / count as f64
}

fn row(scale: &Scale, what: &str, to_reach: &'static str, work: Work) -> Vec<Row> {
    let ledger = Opened::new(Mode::Memory);
    load::fund(&ledger, scale.accounts);
    let bytes = bytes_each(&ledger, work, scale.remembered);
    let what = format!("memory {what}: history, key, indexes, resident, over {} of them (in memory)", scale.remembered);
    vec![Row::new(what, to_reach).ledger(format!("{bytes:.1} B"))]
}

pub(super) fn charge(scale: &Scale) -> Vec<Row> {
    row(scale, "a charge", "95 B", Work::Charges { accounts: scale.accounts })
}

pub(super) fn transfer(scale: &Scale) -> Vec<Row> {
    row(scale, "a transfer", "140 B", Work::Transfers { accounts: scale.accounts })
}

/// A new account comes with its first charge; what a charge of an old one costs is taken off.
pub(super) fn account(scale: &Scale) -> Vec<Row> {
    let ledger = Opened::new(Mode::Memory);
    load::fund(&ledger, scale.accounts);
    let both = bytes_each(&ledger, Work::NewAccounts { first: scale.accounts }, scale.remembered);
    let charge = bytes_each(&ledger, Work::Charges { accounts: scale.accounts }, scale.remembered);
    let what = format!("memory an account, resident, over {} of them (in memory)", scale.remembered);
    let row = Row::new(what, "100 B").ledger(format!("{:.1} B", both - charge));
    vec![row.baseline(format!("with its first charge {both:.1} B, less a charge's {charge:.1} B"))]
}

pub(super) fn log_bytes(scale: &Scale) -> Vec<Row> {
    let work = Work::Charges { accounts: scale.accounts };
    let ledger = Opened::new(Mode::Durable);
    load::batches(&ledger, work, 1, 8_192, scale.commands_each);
    let batched = ledger.stats();
    load::blocking(&ledger, work, 1, scale.blocking_each);
    let alone = ledger.stats();
    let each = |bytes: u64, count: usize| format!("{:.1} B", bytes as f64 / count as f64);
    let frame = batched.log_bytes / batched.commits.max(1);
    vec![
        Row::new("log of a durable charge with a key of 24 bytes, in batches of 8,192", "80 + 8 B")
            .ledger(each(batched.log_bytes, scale.commands_each))
            .baseline(format!("frames of {} KiB on average", frame / 1024)),
        Row::new("log of a durable charge alone", "4,096 B")
            .ledger(each(alone.log_bytes - batched.log_bytes, scale.blocking_each)),
    ]
}
