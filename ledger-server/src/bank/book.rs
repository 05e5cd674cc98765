//! The bank's own book: an append-only file of JSON lines, each synced before anything is said about it.
//!
//! A line is what was decided about one request: paid now, taken to be paid at a time, or refused for good. That a notice was
//! delivered is a line, too, which is not synced: a notice may be sent twice. The last line may have been cut off by a kill;
//! nobody was answered on its account, so it is dropped.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::wire::json::Object;
use crate::wire::scan::{Scanner, Value};

/// What was decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Decision {
    /// Money left at once.
    Paid,
    /// Money leaves at this time, whatever happens until then.
    PaysAt(u64),
    /// Refused for good.
    Refused,
}

/// What the ledger asks for: the same each time that it asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Order {
    pub(super) reference: String,
    pub(super) amount: u64,
    pub(super) currency: String,
    pub(super) destination: Option<String>,
}

/// One line. Times are microseconds since 1970.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line {
    pub(super) order: Order,
    pub(super) decision: Decision,
    pub(super) at: u64,
}

impl Line {
    /// The word of the statement, at a time.
    pub(super) fn status(&self, now: u64) -> &'static str {
        match self.decision {
            Decision::Paid => "settled",
            Decision::PaysAt(at) if at <= now => "settled",
            Decision::PaysAt(_) => "pending",
            Decision::Refused => "failed",
        }
    }

    /// When its outcome is final.
    pub(super) fn final_at(&self) -> u64 {
        if let Decision::PaysAt(at) = self.decision { at } else { self.at }
    }
}

/// The book, open and locked.
#[derive(Debug)]
pub(super) struct Book {
    file: File,
    lines: Vec<Line>,
    /// Of each reference its first line, which its window counts from, and its last.
    by_reference: HashMap<String, Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    first: usize,
    last: usize,
    is_told: bool,
}

impl Book {
    /// Reads the book at `path`, or begins one.
    pub(super) fn open(path: &Path) -> io::Result<Book> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        file.try_lock().map_err(|fault| match fault {
            TryLockError::WouldBlock => io::Error::new(io::ErrorKind::ResourceBusy, "another bank writes into it"),
            TryLockError::Error(fault) => fault,
        })?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::End(0))?;
        let mut book = Book { file, lines: Vec::new(), by_reference: HashMap::new() };
        for (index, line) in text[..whole].lines().enumerate() {
            let described =
                || io::Error::new(io::ErrorKind::InvalidData, format!("line {} is not a bank's", index + 1));
            match read(line).ok_or_else(described)? {
                Entry::Line(line) => book.keep(line),
                Entry::Told(reference) => book.keep_told(&reference),
            }
        }
        Ok(book)
    }

    /// Writes a line; when this returns it survives a power cut.
    pub(super) fn write(&mut self, line: Line) -> io::Result<()> {
        let mut out = Vec::with_capacity(256);
        let mut object = Object::begin(&mut out);
        let order = &line.order;
        object
            .text("bank_reference", &order.reference)
            .integer("amount", order.amount)
            .text("currency", &order.currency);
        if let Some(destination) = &order.destination {
            object.text("destination", destination);
        }
        match line.decision {
            Decision::Paid => object.word("decision", "paid"),
            Decision::PaysAt(at) => object.word("decision", "pays_later").integer("pays_at_us", at),
            Decision::Refused => object.word("decision", "refused"),
        };
        object.integer("at_us", line.at);
        object.end();
        out.push(b'\n');
        self.file.write_all(&out)?;
        self.file.sync_data()?;
        self.keep(line);
        Ok(())
    }

    /// Writes that the notice of a reference was delivered.
    pub(super) fn write_told(&mut self, reference: &str) -> io::Result<()> {
        let mut out = Vec::with_capacity(128);
        let mut object = Object::begin(&mut out);
        object.text("told", reference);
        object.end();
        out.push(b'\n');
        self.file.write_all(&out)?;
        self.keep_told(reference);
        Ok(())
    }

    /// When a reference was first decided about, and its last line.
    pub(super) fn of(&self, reference: &str) -> Option<(u64, &Line)> {
        let known = self.by_reference.get(reference)?;
        Some((self.lines[known.first].at, &self.lines[known.last]))
    }

    /// Every line, in the order in which they were written.
    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The last line of every reference whose notice was not delivered.
    pub(super) fn untold(&self) -> impl Iterator<Item = &Line> {
        self.by_reference.values().filter(|known| !known.is_told).map(|known| &self.lines[known.last])
    }

    fn keep(&mut self, line: Line) {
        let index = self.lines.len();
        let new = Known { first: index, last: index, is_told: false };
        let known = self.by_reference.entry(line.order.reference.clone()).or_insert(new);
        *known = Known { last: index, is_told: false, ..*known };
        self.lines.push(line);
    }

    fn keep_told(&mut self, reference: &str) {
        if let Some(known) = self.by_reference.get_mut(reference) {
            known.is_told = true;
        }
    }
}

enum Entry {
    Line(Line),
    Told(String),
}

/// `None`: not a line of a bank's book.
fn read(text: &str) -> Option<Entry> {
    let mut members = HashMap::new();
    let mut scanner = Scanner::new(text);
    let object = scanner.object(|scanner, name| {
        members.insert(name.decode().into_owned(), scanner.value()?);
        Ok(())
    });
    object.ok()??;
    scanner.end().ok()?;
    let text = |name: &str| match members.get(name) {
        Some(Value::String(text)) => Some(text.decode().into_owned()),
        _ => None,
    };
    let integer = |name: &str| members.get(name).and_then(|value| value.integer(u64::MAX));
    if let Some(reference) = text("told") {
        return Some(Entry::Told(reference));
    }
    let decision = match &*text("decision")? {
        "paid" => Decision::Paid,
        "pays_later" => Decision::PaysAt(integer("pays_at_us")?),
        "refused" => Decision::Refused,
        _ => return None,
    };
    let order = Order {
        reference: text("bank_reference")?,
        amount: integer("amount")?,
        currency: text("currency")?,
        destination: text("destination"),
    };
    Some(Entry::Line(Line { order, decision, at: integer("at_us")? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(reference: &str, decision: Decision, at: u64) -> Line {
        let destination = Some("\"quoted\"\n".to_owned());
        let order = Order { reference: reference.to_owned(), amount: 5, currency: "USD".to_owned(), destination };
        Line { order, decision, at }
    }

    #[test]
    fn a_book_is_read_as_it_was_written_without_the_line_that_was_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("book");
        let lines = [line("a", Decision::Paid, 1), line("b", Decision::PaysAt(9), 2), line("a", Decision::Refused, 3)];
        let mut book = Book::open(&path).unwrap();
        lines.clone().into_iter().for_each(|line| book.write(line).unwrap());
        book.write_told("a").unwrap();
        assert!(Book::open(&path).is_err(), "one bank at a time");
        drop(book);

        let whole = std::fs::read(&path).unwrap();
        for cut in [&b"{\"bank_ref"[..], b"{\"told\":\"b\"}", b""] {
            std::fs::write(&path, [&whole, cut].concat()).unwrap();
            let book = Book::open(&path).unwrap();
            assert_eq!(book.lines(), lines);
            assert_eq!(book.of("a"), Some((1, &lines[2])), "the window counts from the first line");
            assert_eq!(book.untold().collect::<Vec<_>>(), [&lines[1]]);
            assert_eq!(std::fs::read(&path).unwrap(), whole);
        }
        std::fs::write(&path, "what is this\n").unwrap();
        assert_eq!(Book::open(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn what_is_paid_later_is_pending_until_then() {
        let line = line("a", Decision::PaysAt(9), 2);
        assert_eq!([line.status(8), line.status(9)], ["pending", "settled"]);
        assert_eq!(line.final_at(), 9);
    }
}
