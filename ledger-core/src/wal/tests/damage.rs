//! Bytes rot, files are cut, lost and mixed up. What is found is refused, or provably harmless; never a panic, and never
//! silently less than what was durable.
//!
//! `LEDGER_SWEEP=full` tries every bit, every length and every pair of sectors, where a test run takes a sample of them:
//! `LEDGER_SWEEP=full cargo test --profile ci -p ledger-core --lib damage -- --nocapture`, which says how many.

use super::*;
use crate::sim::PlantedBug;

const BLOCK: u64 = 4096;

fn is_full() -> bool {
    std::env::var("LEDGER_SWEEP").is_ok_and(|how| how == "full")
}

/// Every `stride`th, or every one.
fn every(stride: usize) -> usize {
    if is_full() { 1 } else { stride }
}

/// How the log was left.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Left {
    Closed,
    /// Everything was synced and the mark had followed.
    Marked,
    /// Everything was synced; the mark was still behind.
    Unmarked,
}

/// A small log over three openings, and its records. The last opening has five frames.
fn small_log(left: Left, options: &WalOptions) -> (SimDisk, Records) {
    let disk = SimDisk::new(1);
    for round in 0..3 {
        let (wal, ..) = open(&disk, options).unwrap();
        for at in 0..if left == Left::Unmarked { 3 } else { 4 } {
            let mut reservation = wal.reserve(3, 300).unwrap();
            let records: [&[u8]; 3] = [&[round; 100], &[at; 60], &[]];
            let stamp =
                wal.append_together(&mut reservation, time(i64::from(at) * 1_000), &Bundle::of(&records)).unwrap();
            wal.wait(Seq::new(stamp.seq.get() + 2), Level::Durable).unwrap();
        }
        if left == Left::Closed || round < 2 {
            wal.close().unwrap();
        } else {
            let disk = disk.survivor(0);
            let records = open(&disk.after_kill(), options).unwrap().2;
            return (disk, records);
        }
    }
    let records = open(&disk.after_kill(), options).unwrap().2;
    (disk, records)
}

/// What must at least be found, and what is there.
struct Found {
    refused: u64,
    /// Everything was still there.
    harmless: u64,
    /// Nobody noticed, and the last frame is gone: the documented gap, where nothing else knows of that frame yet.
    shortened: u64,
}

impl Found {
    fn new() -> Found {
        Found { refused: 0, harmless: 0, shortened: 0 }
    }

    fn say(&self, what: &str) {
        eprintln!(
            "{what}: {} images, {} refused, {} harmless, {} without their last frame (the documented gap)",
            self.refused + self.harmless + self.shortened,
            self.refused,
            self.harmless,
            self.shortened
        );
    }

    /// Opens and scans a damaged copy. `needed` records were provably durable: these are left, or all of them.
    fn look(&mut self, disk: &SimDisk, options: &WalOptions, records: &Records, needed: usize, what: &str) {
        let scanned = scan_records(disk).map(|(_, records)| records);
        match open(disk, options) {
            Err(OpenError::Damaged { file, .. }) => {
                assert!(!file.is_empty());
                assert!(scanned.is_err(), "{what}: the scan called it good");
                self.refused += 1;
            }
            Err(OpenError::Unsupported { .. }) => self.refused += 1,
            Err(other) => panic!("{what}: {other}"),
            Ok((.., found)) => {
                let (left, all) = (found.len(), records.len());
                assert!(left == all || left == needed, "{what}: {left} of {all} records are left, {needed} are needed");
                assert_eq!(found[..], records[..left], "{what}");
                assert_eq!(scanned.unwrap(), found, "{what}");
                if left == all {
                    self.harmless += 1;
                } else {
                    self.shortened += 1;
                }
            }
        }
    }
}

/// All of the log's files with the bytes in them that matter: what was written, and a block of what was not.
fn extents(disk: &SimDisk) -> Vec<(String, u64)> {
    let extent = |name: &String| {
        (disk.written(name).unwrap().next_multiple_of(BLOCK) + BLOCK).min(disk.read(name).unwrap().len() as u64)
    };
    disk.names().into_iter().map(|name| (name.clone(), extent(&name))).collect()
}

/// The file and the block that the last frame of a small log is in.
fn last_frame(disk: &SimDisk) -> (String, u64) {
    let written = |name: &String| disk.written(name).unwrap();
    let last = disk.names().into_iter().rfind(|name| name.ends_with("segment") && written(name) > BLOCK).unwrap();
    let block = (written(&last) - 1) / BLOCK;
    (last, block)
}

/// Flips bits: all of them where the structures are, one a byte in paddings. Only where the mark is behind may one cost
/// anything: the last frame, if the bit is in it.
fn flip_everywhere(left: Left, options: &WalOptions, stride: usize) -> Found {
    let (disk, records) = small_log(left, options);
    let (last, block) = last_frame(&disk);
    let mut found = Found::new();
    for (name, extent) in extents(&disk) {
        for offset in (0..extent).step_by(every(stride)) {
            let is_structure = is_full() || offset % BLOCK < 128 || offset % BLOCK >= BLOCK - 24;
            let bits = if is_structure { 0..8 } else { (offset / 7 % 8) as u8..(offset / 7 % 8) as u8 + 1 };
            for bit in bits {
                let bad = disk.after_kill();
                bad.flip_bit(&name, offset, bit);
                let is_gap = left == Left::Unmarked && name == last && offset / BLOCK == block;
                let needed = records.len() - if is_gap { 3 } else { 0 };
                found.look(&bad, options, &records, needed, &format!("{left:?} {name} {offset}.{bit}"));
            }
        }
    }
    found.say(&format!("flipped bits, {left:?}"));
    found
}

#[test]
fn no_flipped_bit_shortens_a_closed_log() {
    let found = flip_everywhere(Left::Closed, &manual(), 5);
    assert!(found.refused > 5_000 && found.harmless > 500, "{} {}", found.refused, found.harmless);
}

#[test]
fn no_flipped_bit_shortens_a_log_whose_mark_had_followed() {
    let found = flip_everywhere(Left::Marked, &manual(), 7);
    assert!(found.refused > 12_000 && found.harmless > 500, "{} {}", found.refused, found.harmless);
}

#[test]
fn a_flipped_bit_behind_the_mark_costs_the_last_frame_at_most() {
    // The documented gap: the power failed before the mark followed, and the last frame of all rots.
    let found = flip_everywhere(Left::Unmarked, &manual(), 7);
    assert!(found.refused > 9_500 && found.harmless > 500, "{} {}", found.refused, found.harmless);
    assert!(found.shortened > 500, "{}", found.shortened);
}

#[test]
fn a_log_that_is_cut_at_its_first_bad_frame_is_caught() {
    let options = WalOptions { planted: Some(PlantedBug::TruncateMidLog), ..manual() };
    let caught = std::panic::catch_unwind(|| flip_everywhere(Left::Closed, &options, 61));
    assert!(caught.is_err());
}

#[test]
fn every_truncation_and_every_lost_file_is_noticed() {
    for left in [Left::Closed, Left::Marked] {
        let (disk, records) = small_log(left, &manual());
        let mut found = Found::new();
        for (name, extent) in extents(&disk) {
            let whole = disk.read(&name).unwrap().len() as u64;
            for length in (0..extent).step_by(every(97)).chain((extent..whole).step_by(16 << 10)).chain([whole - 1]) {
                let bad = disk.after_kill();
                bad.truncate(&name, length);
                found.look(&bad, &manual(), &records, records.len(), &format!("{left:?} {name} cut to {length}"));
            }
            let bad = disk.after_kill();
            bad.erase(&name);
            let is_spare = disk.written(&name).unwrap() <= BLOCK;
            found.look(&bad, &manual(), &records, records.len(), &format!("{left:?} {name} erased, spare: {is_spare}"));
        }
        found.say(&format!("truncations and lost files, {left:?}"));
        assert!(found.refused > 500, "{}", found.refused);
    }
}

/// A sector of a file.
#[derive(Clone, Copy, Debug)]
struct Sector<'a> {
    file: &'a str,
    offset: u64,
}

fn sectors<'a>(files: &'a [(String, u64)], unit: u64) -> Vec<Sector<'a>> {
    let of =
        |(file, extent): &'a (String, u64)| (0..*extent).step_by(unit as usize).map(|offset| Sector { file, offset });
    files.iter().flat_map(of).collect()
}

#[test]
fn zeroed_swapped_and_duplicated_sectors_are_noticed() {
    for left in [Left::Closed, Left::Marked] {
        let (disk, records) = small_log(left, &manual());
        let mut found = Found::new();
        let mut random = Random::new(5);
        let files = extents(&disk);
        for unit in [512, BLOCK] {
            let sectors = sectors(&files, unit);
            let bytes_of = |at: Sector<'_>| disk.read(at.file).unwrap()[at.offset as usize..][..unit as usize].to_vec();
            for here in &sectors {
                let zeroed = disk.after_kill();
                zeroed.overwrite(here.file, here.offset, &vec![0; unit as usize]);
                found.look(&zeroed, &manual(), &records, records.len(), &format!("{left:?} zeroed {unit} {here:?}"));
                let one = random.below(sectors.len() as u64) as usize;
                for there in if is_full() { &sectors[..] } else { &sectors[one..=one] } {
                    let duplicated = disk.after_kill();
                    duplicated.overwrite(here.file, here.offset, &bytes_of(*there));
                    let what = format!("{left:?} duplicated {unit} {here:?} {there:?}");
                    found.look(&duplicated, &manual(), &records, records.len(), &what);
                    // A swap with the mark is two faults at once: the last frame may rot only if the mark does not.
                    if (here.file == names::MARK) != (there.file == names::MARK) {
                        continue;
                    }
                    let swapped = disk.after_kill();
                    swapped.overwrite(here.file, here.offset, &bytes_of(*there));
                    swapped.overwrite(there.file, there.offset, &bytes_of(*here));
                    let what = format!("{left:?} swapped {unit} {here:?} {there:?}");
                    found.look(&swapped, &manual(), &records, records.len(), &what);
                }
            }
        }
        found.say(&format!("zeroed, duplicated and swapped sectors, {left:?}"));
        assert!(found.refused > 150, "{}", found.refused);
    }
}

#[test]
fn files_of_an_earlier_time_and_doubled_files_are_noticed() {
    let disk = SimDisk::new(1);
    let (mut earlier, mut last) = (Vec::new(), Records::new());
    for round in 0..6 {
        let (wal, _, records) = open(&disk, &manual()).unwrap();
        last = records;
        earlier.push(disk.after_kill());
        for at in 0..3 {
            commit(&wal, round * 10 + at, &[at as u8; 50]);
            earlier.push(disk.after_kill());
        }
        if round % 2 == 0 {
            wal.close().unwrap();
        }
    }
    let disk = disk.after_kill();
    let records = open(&disk.after_kill(), &manual()).unwrap().2;
    assert!(records.len() > last.len());
    let mut found = Found::new();
    for (then, past) in earlier.iter().enumerate() {
        for name in past.names().into_iter().filter(|name| disk.read(name).is_some()) {
            let bad = disk.after_kill();
            bad.overwrite(&name, 0, &past.read(&name).unwrap());
            found.look(&bad, &manual(), &records, records.len(), &format!("{name} as it was at {then}"));
        }
    }
    let segments: Vec<String> = disk.names().into_iter().filter(|name| name.ends_with("segment")).collect();
    for name in &segments {
        for other in segments.iter().cloned().chain([names::segment(0x99)]).filter(|other| other != name) {
            let bad = disk.after_kill();
            let bytes = disk.read(name).unwrap();
            if bad.read(&other).is_none() {
                bad.create(&other).unwrap();
            }
            bad.truncate(&other, 0);
            bad.overwrite(&other, 0, &bytes);
            found.look(&bad, &manual(), &records, records.len(), &format!("{name} doubled as {other}"));
        }
    }
    found.say("files of an earlier time, and doubled");
    assert!(found.refused > 50 && found.harmless > 20, "{} {}", found.refused, found.harmless);
}

#[test]
fn files_of_another_ledger_or_under_another_name_are_refused() {
    let (disk, records) = small_log(Left::Marked, &manual());
    // The other has done the same, so its files have the same names.
    let (other, _) = small_log(Left::Marked, &WalOptions { uuid: Some(Uuid::from_u128(2)), ..manual() });
    let mut found = Found::new();
    let files = disk.names();
    assert_eq!(files, other.names());
    for name in &files {
        let bad = disk.after_kill();
        bad.overwrite(name, 0, &other.read(name).unwrap());
        found.look(&bad, &manual(), &records, records.len(), &format!("another ledger's {name}"));
    }
    let first = names::segment(1);
    let bad = disk.after_kill();
    bad.rename(&first, &names::segment(9)).unwrap();
    found.look(&bad, &manual(), &records, records.len(), "a renamed segment");
    let bad = disk.after_kill();
    let second = disk.names().into_iter().filter(|name| name.ends_with("segment")).nth(1).unwrap();
    bad.rename(&second, &first).unwrap();
    found.look(&bad, &manual(), &records, records.len(), "a replaced segment");
    assert_eq!((found.refused, found.harmless), (files.len() as u64 + 2, 0));
    let bad = disk.after_kill();
    bad.create("notes.txt").unwrap();
    found.look(&bad, &manual(), &records, records.len(), "a stranger's file");
    assert_eq!(found.harmless, 1);
}

#[test]
fn a_newer_format_is_not_guessed_at() {
    let (disk, _) = small_log(Left::Marked, &manual());
    // A segment of a later format, rightly sealed.
    let name = names::segment(1);
    let mut block: [u8; BLOCK as usize] = disk.read(&name).unwrap()[..BLOCK as usize].try_into().unwrap();
    (block[8], block[10]) = (3, 3);
    segment::seal_block(&mut block, frame::Seal::of(Uuid::from_u128(0x1ed9e7)));
    disk.overwrite(&name, 0, &block);
    assert!(matches!(open(&disk, &manual()), Err(OpenError::Unsupported { .. })));
}

#[test]
fn a_torn_tail_is_saved_beside_the_log() {
    let (disk, records) = small_log(Left::Marked, &manual());
    let last =
        disk.names().into_iter().rfind(|name| disk.written(name).unwrap() > 2 * BLOCK && name.ends_with("segment"));
    let last = last.unwrap();
    let end = disk.written(&last).unwrap();
    disk.overwrite(&last, end, &[7; 700]);
    let (_, opened, found) = open(&disk, &manual()).unwrap();
    assert_eq!(found, records);
    let torn = opened.torn.unwrap();
    assert_eq!((torn.bytes, torn.offset, torn.segment.as_str()), (700, end, last.as_str()));
    assert_eq!(disk.read(&torn.file).unwrap(), [7; 700]);
    assert!(!opened.clean);
}

#[test]
fn more_than_can_have_been_in_flight_is_no_torn_tail() {
    let (disk, _) = small_log(Left::Marked, &manual());
    let last =
        disk.names().into_iter().rfind(|name| disk.written(name).unwrap() > 2 * BLOCK && name.ends_with("segment"));
    disk.overwrite(&last.unwrap(), 400_000, &[7; 700]);
    assert!(matches!(open(&disk, &manual()), Err(OpenError::Damaged { .. })));
}
