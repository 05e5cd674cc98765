//! `ledger-server verify DIR`: reads everything, checks everything, changes nothing, and prints one JSON object.

use std::io::{self, Write};
use std::path::Path;

use ledger_core::{Head, OpenError, Verified};

use crate::wire::json::Object;

/// What is wrong with a data directory, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Which file.
    pub file: String,
    /// Where in it, in bytes, where that is known.
    pub offset: Option<u64>,
    /// The seq that was expected there, where it is known.
    pub seq: Option<u64>,
    /// What is wrong.
    pub reason: String,
}

/// Why nobody was told what a directory is.
#[derive(Debug)]
pub enum VerifyError {
    /// It could not be read, be it as it may.
    Ledger(OpenError),
    /// It was checked, and what was found cannot be written.
    Report {
        /// What the directory is.
        is_sound: bool,
        /// What refused it.
        fault: io::Error,
    },
}

impl VerifyError {
    /// The process's exit code: 1 where it is known that the directory is not sound, 2 for the rest.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, VerifyError::Report { is_sound: false, .. }) { 1 } else { 2 }
    }
}

impl std::fmt::Display for VerifyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            VerifyError::Ledger(fault) => fault.fmt(f),
            VerifyError::Report { is_sound, fault } => {
                let found = if *is_sound { "sound" } else { "not sound" };
                write!(f, "what was found cannot be written: {fault}; the directory is {found}")
            }
        }
    }
}

impl std::error::Error for VerifyError {}

/// Checks `directory` and prints the outcome to `out`; whether it is sound and leads from the head `expected`, if one is
/// given.
///
/// # Errors
/// See [`VerifyError`].
pub fn verify(directory: &Path, expected: Option<Head>, out: &mut dyn Write) -> Result<bool, VerifyError> {
    let checked = check(directory, expected).map_err(VerifyError::Ledger)?;
    let mut line = Vec::new();
    let mut object = Object::begin(&mut line);
    match &checked {
        Ok(verified) => {
            let head = verified.head.hex();
            object.bool("ok", true).integer("seq", verified.last_seq.get()).word("head", &head);
        }
        Err(fault) => {
            object.bool("ok", false).text("file", &fault.file);
            match fault.offset {
                Some(offset) => object.integer("offset", offset),
                None => object.null("offset"),
            };
            match fault.seq {
                Some(seq) => object.integer("seq", seq),
                None => object.null("seq"),
            };
            object.text("reason", &fault.reason);
        }
    }
    object.end();
    line.push(b'\n');
    let is_sound = checked.is_ok();
    match out.write_all(&line).and_then(|()| out.flush()) {
        Ok(()) => Ok(is_sound),
        Err(fault) => Err(VerifyError::Report { is_sound, fault }),
    }
}

fn check(directory: &Path, expected: Option<Head>) -> Result<Result<Verified, Fault>, OpenError> {
    let verified = match expected {
        None => ledger_core::verify(directory),
        Some(earlier) => ledger_core::verify_since(directory, earlier),
    };
    if matches!(&verified, Err(fault @ OpenError::Io { .. }) if !fault.is_damage()) {
        return verified.map(Ok);
    }
    Ok(verified.map_err(|error| match error {
        OpenError::Damaged { file, offset, seq, reason } => Fault { file, offset: Some(offset), seq, reason },
        OpenError::Unsupported { file, reason } => Fault { file, offset: None, seq: None, reason },
        OpenError::OtherHistory { seq, .. } => {
            Fault { file: directory.display().to_string(), offset: None, seq: Some(seq), reason: error.to_string() }
        }
        other => Fault { file: directory.display().to_string(), offset: None, seq: None, reason: other.to_string() },
    }))
}
