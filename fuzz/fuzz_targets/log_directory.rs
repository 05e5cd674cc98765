//! Arbitrary bytes as a log's directory.
//!
//! An input is one of three: files of arbitrary contents under plausible names; a real log with a few edits; or a log
//! that is right down to its records, which are real ones with edits or arbitrary bytes. What must hold is in
//! `ledger_fuzz::judge`.
//!
//! ```text
//! cd fuzz
//! cargo run --release --bin log_directory -- -max_total_time=15 -seed=1 -len_control=0 -max_len=512
//! cargo run --release --bin log_directory -- artifacts/crash-…
//! ```
#![no_main]

use std::sync::OnceLock;

use arbitrary::{Arbitrary, Unstructured};
use ledger_core::sim::SimDisk;
use ledger_fuzz::layout::{self, Frame, MARK, segment_name};
use ledger_fuzz::{judge, samples};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Directory {
    Files(Vec<File>),
    Edited { sample: u8, edits: Vec<Edit> },
    Rebuilt { frames: Vec<Records>, marked: bool, closed: bool, first_time: Time },
}

#[derive(Arbitrary, Debug)]
struct File {
    name: Name,
    /// Its length, if that is more than its bytes: zeros follow.
    pages: u8,
    bytes: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
enum Name {
    Mark,
    Segment(u8),
    Torn(u8),
    Temporary(u8),
    Lock,
    Foreign,
}

#[derive(Arbitrary, Debug)]
enum Edit {
    Flip {
        file: u8,
        at: At,
        bit: u8,
    },
    Overwrite {
        file: u8,
        at: At,
        bytes: Vec<u8>,
    },
    Truncate {
        file: u8,
        at: At,
    },
    Erase {
        file: u8,
    },
    /// The bytes of one file under another's name.
    Copy {
        file: u8,
        name: Name,
    },
    /// A part of a file at another place of it.
    Move {
        file: u8,
        from: At,
        to: At,
        pages: u8,
    },
}

/// A place in a file: near the beginning of one of its pages.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct At {
    page: u8,
    byte: u16,
}

#[derive(Arbitrary, Debug)]
struct Records {
    epoch_step: u8,
    later: u16,
    records: Vec<Record>,
}

#[derive(Arbitrary, Debug)]
enum Record {
    Real(u8),
    Changed { record: u8, edits: Vec<(u8, u8)> },
    Shortened { record: u8, by: u8 },
    Arbitrary(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum Time {
    Now,
    Earliest,
    Latest,
    Any(i64),
}

impl Name {
    fn spelled(&self) -> String {
        match self {
            Name::Mark => MARK.to_owned(),
            Name::Segment(number) => segment_name(u64::from(*number)),
            Name::Torn(number) => format!("{number:016x}-00002000.torn"),
            Name::Temporary(number) => format!("{}.tmp", segment_name(u64::from(*number))),
            Name::Lock => "LOCK".to_owned(),
            Name::Foreign => "notes.txt".to_owned(),
        }
    }
}

impl At {
    fn within(self, len: u64) -> u64 {
        (u64::from(self.page) * 4096 + u64::from(self.byte) % 4096).min(len.saturating_sub(1))
    }
}

impl Edit {
    fn apply(&self, disk: &SimDisk) {
        let names = disk.names();
        let pick = |file: &u8| names.get(usize::from(*file) % names.len().max(1)).cloned();
        let len = |name: &str| disk.read(name).map_or(0, |bytes| bytes.len() as u64);
        match self {
            Edit::Flip { file, at, bit } => {
                if let Some(name) = pick(file).filter(|name| len(name) > 0) {
                    disk.flip_bit(&name, at.within(len(&name)), bit % 8);
                }
            }
            Edit::Overwrite { file, at, bytes } => {
                if let Some(name) = pick(file) {
                    disk.overwrite(&name, at.within(len(&name)), bytes);
                }
            }
            Edit::Truncate { file, at } => {
                if let Some(name) = pick(file) {
                    disk.truncate(&name, at.within(len(&name)));
                }
            }
            Edit::Erase { file } => {
                if let Some(name) = pick(file) {
                    disk.erase(&name);
                }
            }
            Edit::Copy { file, name } => {
                if let Some(bytes) = pick(file).and_then(|from| disk.read(&from)) {
                    layout::write(disk, &name.spelled(), &bytes);
                }
            }
            Edit::Move { file, from, to, pages } => {
                if let Some(name) = pick(file).filter(|name| len(name) > 0) {
                    let bytes = disk.read(&name).expect("a listed file is there");
                    let (from, to) =
                        (from.within(len(&name)) as usize / 4096 * 4096, to.within(len(&name)) / 4096 * 4096);
                    let end = (from + usize::from(*pages) * 4096).min(bytes.len());
                    disk.overwrite(&name, to, &bytes[from..end]);
                }
            }
        }
    }
}

impl Records {
    fn frame(&self) -> Frame {
        Frame {
            epoch_step: u64::from(self.epoch_step),
            later: i64::from(self.later),
            records: self.records.iter().map(|record| (1, record.bytes())).collect(),
        }
    }
}

impl Record {
    fn bytes(&self) -> Vec<u8> {
        let real = |index: &u8| {
            let records = samples::records();
            records[usize::from(*index) % records.len()].clone()
        };
        match self {
            Record::Real(record) => real(record),
            Record::Changed { record, edits } => {
                let mut bytes = real(record);
                for (at, value) in edits {
                    let at = usize::from(*at) % bytes.len();
                    bytes[at] = *value;
                }
                bytes
            }
            Record::Shortened { record, by } => {
                let mut bytes = real(record);
                bytes.truncate(bytes.len().saturating_sub(usize::from(*by)));
                bytes
            }
            Record::Arbitrary(bytes) => bytes.clone(),
        }
    }
}

impl Time {
    fn micros(&self) -> i64 {
        use ledger_core::Timestamp;
        match self {
            Time::Now => samples::NOW.micros() - 1_000_000,
            Time::Earliest => Timestamp::MIN.micros(),
            Time::Latest => Timestamp::MAX.micros(),
            Time::Any(micros) => *micros,
        }
    }
}

impl Directory {
    fn disk(&self) -> SimDisk {
        match self {
            Directory::Files(files) => {
                let disk = SimDisk::new(0);
                for file in files {
                    let mut bytes = file.bytes.clone();
                    bytes.resize(bytes.len().max(usize::from(file.pages) * 4096), 0);
                    layout::write(&disk, &file.name.spelled(), &bytes);
                }
                disk
            }
            Directory::Edited { sample, edits } => {
                static SAMPLES: OnceLock<Vec<SimDisk>> = OnceLock::new();
                let samples = SAMPLES.get_or_init(samples::disks);
                let disk = samples[usize::from(*sample) % samples.len()].after_kill();
                edits.iter().for_each(|edit| edit.apply(&disk));
                disk
            }
            Directory::Rebuilt { frames, marked, closed, first_time } => {
                let frames: Vec<Frame> = frames.iter().map(Records::frame).collect();
                layout::build(first_time.micros(), &frames, *marked, *closed)
            }
        }
    }
}

fuzz_target!(|input: &[u8]| {
    // An input that is too short for its choices is completed with zeros, so nearly every one is a directory.
    let Ok(directory) = Directory::arbitrary_take_rest(Unstructured::new(input)) else { return };
    let _refused_or_recovered = judge::judge(&directory.disk());
});
