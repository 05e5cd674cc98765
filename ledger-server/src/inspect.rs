//! `ledger-server inspect DIR`: prints every entry of the log as a line of JSON.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;

use ledger_core::withdrawals::Event;
use ledger_core::{Entry, Epoch, OpenError, Party, Posting, Seq, Timestamp, TransactionEntry};

use crate::wire::json::{self, Object};
use crate::wire::metadata;

/// Prints the entries of `directory` to `out`, oldest first. Who closes `out` (`| head`) has seen enough, which is no fault.
///
/// # Errors
/// What is wrong with the directory, and where; or `out` cannot be written.
pub fn inspect(directory: &Path, out: &mut dyn Write) -> Result<(), OpenError> {
    let mut out = io::BufWriter::with_capacity(1 << 16, out);
    let mut line = Vec::with_capacity(1024);
    let mut failed = None;
    ledger_core::inspect(directory, &mut |inspected| {
        line.clear();
        write_entry(&mut line, inspected.seq, inspected.epoch, inspected.time, &inspected.entry);
        line.push(b'\n');
        match out.write_all(&line) {
            Ok(()) => ControlFlow::Continue(()),
            Err(fault) => {
                failed = Some(fault);
                ControlFlow::Break(())
            }
        }
    })?;
    match failed.map_or_else(|| out.flush(), Err) {
        Err(fault) if fault.kind() != io::ErrorKind::BrokenPipe => {
            Err(OpenError::Io { context: "writing the entries".to_owned(), source: fault })
        }
        _ => Ok(()),
    }
}

fn write_entry(out: &mut Vec<u8>, seq: Seq, epoch: Epoch, time: Timestamp, entry: &Entry<'_>) {
    let mut object = Object::begin(out);
    object.integer("seq", seq.get()).integer("epoch", epoch.get()).time("time", time);
    match entry {
        Entry::Transaction(transaction) => write_transaction(&mut object, seq, transaction),
        Entry::Withdrawal(withdrawal) => {
            object
                .word("kind", "withdrawal_event")
                .integer("transaction_id", withdrawal.id.get())
                .integer("user_id", withdrawal.user.get())
                .word("currency", withdrawal.currency.as_str())
                .integer("amount", withdrawal.amount.minor())
                .word("event", withdrawal.event.as_str())
                .word("to", withdrawal.to.as_str());
            match withdrawal.event {
                Event::AttemptStarted { attempt } => {
                    object.integer("attempt", attempt.into());
                }
                Event::AttemptEnded { attempt, class } => {
                    object.integer("attempt", attempt.into()).word("class", class.as_str());
                }
                Event::Inquired { answer } => {
                    object.word("answer", answer.as_str());
                }
                Event::Resolved { outcome } => {
                    object.word("outcome", outcome.as_str());
                }
                Event::Noticed { outcome, occurred_at } => {
                    object.word("outcome", outcome.as_str()).time("occurred_at", occurred_at);
                }
                Event::Returned { credit, occurred_at } => {
                    object.word("credit", credit.as_str()).time("occurred_at", occurred_at);
                }
                Event::Contradicted { said, says, posted } => {
                    object.word("by", said.by()).word("said", said.as_str()).word("says", says.as_str());
                    if posted {
                        object.word("posted", "suspense");
                    }
                }
                _ => {}
            }
            if let Some(operator) = withdrawal.operator {
                object.text("operator", operator.as_str());
            }
            if let Some((key, fingerprint)) = withdrawal.command {
                object.text("idempotency_key", key.as_str()).text("fingerprint", &format!("{fingerprint:?}"));
            }
            if let Some(due) = withdrawal.due {
                object.time("due", due);
            }
            if !withdrawal.evidence.is_empty() {
                object.text("evidence", withdrawal.evidence);
            }
            json::array(object.name("postings"), [(); 0], |_, ()| {});
        }
    }
    object.end();
}

fn write_transaction(object: &mut Object<'_>, seq: Seq, entry: &TransactionEntry<'_>) {
    object
        .word("kind", entry.kind.as_str())
        .integer("transaction_id", seq.get())
        .word("status", entry.status.as_str())
        .text("idempotency_key", entry.key.as_str())
        .text("fingerprint", &format!("{:?}", entry.fingerprint));
    json::array(object.name("postings"), &entry.postings, write_posting);
    if let Some(destination) = entry.destination {
        object.text("destination", destination.as_str());
    }
    if let Some(kept) = entry.metadata {
        metadata::write(object.name("metadata"), kept.as_bytes());
    }
    if let Some(position) = entry.batch {
        let mut batch = Object::begin(object.name("batch"));
        batch.integer("index", u64::from(position.index)).integer("count", u64::from(position.count));
        batch.end();
    }
}

fn write_posting(out: &mut Vec<u8>, posting: &Posting) {
    let mut object = Object::begin(out);
    object.word("currency", posting.currency.as_str()).integer("amount", posting.amount.minor());
    for (name, party) in [("debit", posting.debit), ("credit", posting.credit)] {
        match party {
            Party::User(user) => object.integer(name, user.get()),
            Party::External => object.word(name, "external"),
            Party::Suspense => object.word(name, "suspense"),
        };
    }
    if let Some(release_at) = posting.release_at {
        object.time("release_at", release_at);
    }
    object.end();
}
