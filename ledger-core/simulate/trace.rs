//! What happened in a run, in order: always hashed, so that two runs of one seed can be compared, and kept as text only
//! where a person wants to read it.

use std::fmt::{self, Write as _};

pub(crate) struct Trace {
    hash: u64,
    lines: u64,
    text: Option<String>,
}

impl Trace {
    /// `keep`: also as text.
    pub(crate) fn new(keep: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, lines: 0, text: keep.then(String::new) }
    }

    /// Adds a line. It must not name anything that differs between two runs of a seed, as the ledger's UUID does.
    pub(crate) fn line(&mut self, what: fmt::Arguments<'_>) {
        self.lines += 1;
        let number = self.lines;
        if let Some(text) = &mut self.text {
            write!(text, "{number:>6}  ").expect("a string takes all");
        }
        writeln!(self, "{what}").expect("a trace takes all");
    }

    /// Equal for equal traces (FNV-1a).
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The last lines, where they were kept.
    pub(crate) fn tail(&self, lines: usize) -> String {
        let all: Vec<&str> = self.text.as_deref().unwrap_or_default().lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

impl fmt::Write for Trace {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        for byte in part.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(text) = &mut self.text {
            text.push_str(part);
        }
        Ok(())
    }
}
