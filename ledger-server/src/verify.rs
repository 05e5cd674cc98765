//! `ledger-server verify DIR`: reads everything, checks everything, changes nothing, and prints one JSON object.

use std::io::{self, Write};
use std::path::Path;

use ledger_core::OpenError;

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

/// Checks `directory` and prints the outcome to `out`; whether it is sound.
///
/// # Errors
/// `out` cannot be written.
pub fn verify(directory: &Path, out: &mut dyn Write) -> io::Result<bool> {
    let checked = check(directory);
    let mut line = Vec::new();
    let mut object = Object::begin(&mut line);
    match &checked {
        Ok(last) => {
            object.bool("ok", true).integer("seq", *last);
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
    out.write_all(&line)?;
    out.flush()?;
    Ok(checked.is_ok())
}

/// Reads the whole log of `directory`; the seq of its last entry.
fn check(directory: &Path) -> Result<u64, Fault> {
    let verified = ledger_core::verify(directory).map_err(|error| match error {
        OpenError::Damaged { file, offset, seq, reason } => Fault { file, offset: Some(offset), seq, reason },
        OpenError::Unsupported { file, reason } => Fault { file, offset: None, seq: None, reason },
        other => Fault { file: directory.display().to_string(), offset: None, seq: None, reason: other.to_string() },
    })?;
    Ok(verified.last_seq.get())
}
