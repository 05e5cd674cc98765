//! `ledger-server salvage DIR --into NEW --i-accept-losing-entries`: takes what can be proved out of a directory that is
//! refused, and prints one JSON object that says what was given up.

use std::io::{self, Write};
use std::path::Path;

use ledger_core::{GivenUp, OpenError, Salvaged, Seq};

use crate::copies::{check_apart, filling};
use crate::run::exit_code;
use crate::wire::json::{self, Object};

/// Why a salvage came to nothing.
#[derive(Debug)]
pub enum SalvageError {
    /// The source, the new directory or the clock.
    Ledger(OpenError),
    /// The report cannot be written; the new directory is whole.
    Report(io::Error),
}

impl std::fmt::Display for SalvageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SalvageError::Ledger(fault) => fault.fmt(f),
            SalvageError::Report(fault) => write!(f, "the report cannot be written: {fault}"),
        }
    }
}

impl std::error::Error for SalvageError {}

impl SalvageError {
    /// The process's exit code: 2 for what the operator can mend by what is said on the command line, 1 for the rest.
    pub fn exit_code(&self) -> u8 {
        match self {
            SalvageError::Ledger(fault) => exit_code(fault),
            SalvageError::Report(_) => 1,
        }
    }
}

/// Salvages `from` into the new directory `into` and prints the report to `out`.
///
/// # Errors
/// See [`SalvageError`].
pub fn salvage(from: &Path, into: &Path, out: &mut dyn Write) -> Result<(), SalvageError> {
    let salvaged = check_apart(from, into).and_then(|()| filling(into, || ledger_core::salvage(from, into)));
    let salvaged = salvaged.map_err(SalvageError::Ledger)?;
    let mut line = Vec::new();
    write_report(&mut line, &salvaged);
    line.push(b'\n');
    out.write_all(&line).and_then(|()| out.flush()).map_err(SalvageError::Report)
}

fn write_report(out: &mut Vec<u8>, salvaged: &Salvaged) {
    let lost = salvaged.known_durable.get().saturating_sub(salvaged.last_seq.get());
    let mut object = Object::begin(out);
    object
        .word("ledger", &salvaged.ledger.to_string())
        .integer("seq", salvaged.last_seq.get())
        .word("head", &salvaged.head.hex())
        .integer("epoch", salvaged.epoch.get())
        .integer("known_durable_seq", salvaged.known_durable.get())
        .integer("known_durable_lost", lost)
        .integer("withdrawals_in_doubt", salvaged.withdrawals_in_doubt);
    json::array(object.name("given_up"), &salvaged.given_up, write_given_up);
    object.end();
}

fn write_given_up(out: &mut Vec<u8>, given_up: &GivenUp) {
    let mut object = Object::begin(out);
    object.text("file", &given_up.file).integer("offset", given_up.offset).integer("bytes", given_up.bytes);
    let mut bound = |name: &'static str, seq: Option<Seq>| {
        match seq {
            Some(seq) => object.integer(name, seq.get()),
            None => object.null(name),
        };
    };
    bound("first_seq", given_up.seqs.map(|(first, _)| first));
    bound("last_seq", given_up.seqs.map(|(_, last)| last));
    object.text("reason", &given_up.reason);
    object.end();
}
