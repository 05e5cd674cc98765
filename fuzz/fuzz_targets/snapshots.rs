//! Arbitrary bytes as files of a snapshot, beside a log that is right and reaches back to the first entry.
//!
//! An input is one of three: arbitrary bytes under a snapshot's name; real files with edits, which checksums stop; or real
//! files whose blocks were edited and sealed again, so that what lies behind the checksums is reached. What must hold:
//! nothing panics; a directory is refused, or opened and in balance, works on and answers the same when opened again; a
//! snapshot that was passed over changes no answer; and what `verify` lets pass is the state that the log comes to.
#![no_main]

use std::sync::OnceLock;

use arbitrary::{Arbitrary, Unstructured};
use ledger_core::sim::SimDisk;
use ledger_core::verify_storage;
use ledger_fuzz::snapshot::{self, Block, Parts};
use ledger_fuzz::{judge, layout, samples};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Files {
    Bytes { file: u8, bytes: Vec<u8> },
    Edited(Vec<Edit>),
    Resealed(Vec<Change>),
}

/// A change that checksums do not know of.
#[derive(Arbitrary, Debug)]
enum Edit {
    Overwrite { file: u8, at: u16, bytes: Vec<u8> },
    Truncate { file: u8, at: u16 },
    Copy { from: u8, to: u8 },
    Erase { file: u8 },
}

/// A change after which the file is sealed again.
#[derive(Arbitrary, Debug)]
struct Change {
    file: u8,
    block: u8,
    how: How,
}

#[derive(Arbitrary, Debug)]
enum How {
    Overwrite { at: u16, bytes: Vec<u8> },
    Number { at: u16, value: u64 },
    Flip { at: u16, bit: u8 },
    Insert { at: u16, bytes: Vec<u8> },
    Cut { at: u16, bytes: u8 },
    Payload(Vec<u8>),
    Drop,
    Double,
    Swap(u8),
    Relabel { kind: u8, shard: u8 },
    Header { at: u8, value: u8 },
}

/// The nth file of the snapshots that are there.
fn pick(disk: &SimDisk, n: u8) -> Option<String> {
    let names: Vec<String> = disk.names().into_iter().filter(|name| snapshot::is_part(name)).collect();
    names.get(usize::from(n) % names.len().max(1)).cloned()
}

impl Edit {
    fn apply(&self, disk: &SimDisk) {
        let (Edit::Overwrite { file, .. } | Edit::Truncate { file, .. } | Edit::Erase { file }) = self else {
            let Edit::Copy { from, to } = self else { return };
            if let (Some(from), Some(to)) = (pick(disk, *from), pick(disk, *to)) {
                layout::write(disk, &to, &disk.read(&from).expect("a listed file is there"));
            }
            return;
        };
        let Some(name) = pick(disk, *file) else { return };
        let length = disk.read(&name).expect("a listed file is there").len() as u64;
        match self {
            Edit::Overwrite { at, bytes, .. } => disk.overwrite(&name, u64::from(*at) % length.max(1), bytes),
            Edit::Truncate { at, .. } => disk.truncate(&name, u64::from(*at) % length.max(1)),
            Edit::Erase { .. } | Edit::Copy { .. } => disk.erase(&name),
        }
    }
}

impl Change {
    fn apply(&self, disk: &SimDisk) {
        let Some(name) = pick(disk, self.file) else { return };
        let mut parts = Parts::of(&disk.read(&name).expect("a listed file is there"));
        if parts.blocks.is_empty() {
            return;
        }
        self.how.apply(&mut parts, usize::from(self.block));
        snapshot::put(disk, &name, &parts);
    }
}

impl How {
    fn apply(&self, parts: &mut Parts, block: usize) {
        let count = parts.blocks.len();
        let block = block % count;
        let Block { kind, shard, payload } = &mut parts.blocks[block];
        let within = |at: &u16| usize::from(*at) % payload.len().max(1);
        match self {
            How::Overwrite { at, bytes } => {
                let at = within(at);
                payload.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
            }
            How::Number { at, value } => {
                let at = within(at);
                payload.iter_mut().skip(at).zip(value.to_le_bytes()).for_each(|(to, from)| *to = from);
            }
            How::Flip { at, bit } => {
                let at = within(at);
                payload.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (bit % 8));
            }
            How::Insert { at, bytes } => {
                let at = within(at).min(payload.len());
                payload.splice(at..at, bytes.iter().copied());
            }
            How::Cut { at, bytes } => {
                let at = within(at).min(payload.len());
                let end = (at + usize::from(*bytes)).min(payload.len());
                payload.drain(at..end);
            }
            How::Payload(bytes) => payload.clone_from(bytes),
            How::Drop => drop(parts.blocks.remove(block)),
            How::Double => {
                let again = parts.blocks[block].clone();
                parts.blocks.insert(block, again);
            }
            How::Swap(other) => parts.blocks.swap(block, usize::from(*other) % count),
            How::Relabel { kind: other, shard: its } => (*kind, *shard) = (u16::from(*other % 10), u16::from(*its)),
            How::Header { at, value } => {
                let at = usize::from(*at) % parts.header.len();
                parts.header[at] = *value;
            }
        }
    }
}

struct Sample {
    disk: SimDisk,
    head: ledger_core::Seq,
    digest: u128,
}

/// A ledger with two snapshots, and what it comes to.
fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let disk = samples::snapshots();
        let (head, digest) = samples::options().open_on(disk.after_kill()).expect("it is right").state_digest();
        Sample { disk, head, digest }
    })
}

fuzz_target!(|input: &[u8]| {
    let Ok(files) = Files::arbitrary_take_rest(Unstructured::new(input)) else { return };
    let sample = sample();
    let disk = sample.disk.after_kill();
    match &files {
        Files::Bytes { file, bytes } => {
            let name = pick(&disk, *file).expect("the sample has files");
            layout::write(&disk, &name, bytes);
        }
        Files::Edited(edits) => edits.iter().for_each(|edit| edit.apply(&disk)),
        Files::Resealed(changes) => changes.iter().take(8).for_each(|change| change.apply(&disk)),
    }
    let is_sound = verify_storage(&disk).is_ok();
    if let Ok(ledger) = samples::options().open_on(disk.after_kill()) {
        let is_replayed = ledger.recovered().snapshot == Default::default();
        if is_sound || is_replayed {
            assert_eq!((sample.head, sample.digest), ledger.state_digest(), "it came to another state: {files:?}");
        }
    } else {
        assert!(!is_sound, "verified, and not opened: {files:?}");
    }
    let _refused_or_recovered = judge::judge(&disk);
});
