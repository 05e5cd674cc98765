//! The bytes on disk: a log that was written once must be read for ever, and one that was damaged never for less than it
//! was.
//!
//! The golden directory here is of format 1, which nobody writes any more; `golden` has that of format 2.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use ledger_core::sim::{SimClock, SimDisk};
use ledger_core::withdrawals::AttemptClass;
use ledger_core::{Currency, DirectoryStorage, OpenError, Storage};

use crate::model::Asked;
use crate::pair::Pair;
use crate::stage::{START, World, amount, difference, dump, metadata, options, second, user};

fn world() -> World {
    World::new(3, &["USD", "EUR"])
}

/// A ledger that holds one of everything, in few commits, closed in good order.
fn written() -> (SimDisk, Vec<String>) {
    let mut pair = Pair::new(3, world(), None);
    write(&mut pair).expect("an undisturbed run");
    let lines = dump(pair.ledger(), &pair.world).expect("an open ledger");
    pair.ledger().close().expect("nothing is in the way");
    (pair.disk.survivor(0), lines)
}

fn write(pair: &mut Pair) -> Result<(), String> {
    let eur = Currency::new("EUR").expect("a currency");
    pair.pipelined(&[
        Asked::charge(user(1), amount(10_000), "charge"),
        Asked { release_at: Some(second(3_600)), ..Asked::charge(user(2), amount(500), "held charge") },
        Asked { currency: eur, metadata: Some(metadata(300, 1)), ..Asked::charge(user(3), amount(70), "noted charge") },
        Asked::transfer(user(1), user(2), amount(1_000), "transfer"),
        Asked { release_at: Some(second(7_200)), ..Asked::transfer(user(1), user(3), amount(9), "held transfer") },
        Asked { destination: Some("GB29 NWBK".into()), ..Asked::withdraw(user(1), amount(250), "paid") },
        Asked::withdraw(user(1), amount(251), "refused"),
        Asked::withdraw(user(2), amount(252), "open ü"),
    ])?;
    pair.advance(std::time::Duration::from_micros(1_500_001))?;
    let batch: Vec<_> = (1..=3).map(|n| Asked::charge(user(n), amount(n), format!("atomic {n}"))).collect();
    pair.atomic(&batch)?;
    let of = |pair: &Pair, key: &str| pair.model.keys().find(|(name, _)| *name == key).expect("accepted").1;
    for (key, class) in [("paid", AttemptClass::Settled), ("refused", AttemptClass::Rejected)] {
        let of = of(pair, key);
        pair.start_attempt(of)?;
        pair.end_attempt(of, None, class)?;
    }
    Ok(())
}

/// When the golden directory is read: later than all that it holds.
fn reading_clock() -> SimClock {
    SimClock::at(START.saturating_add(std::time::Duration::from_secs(60)))
}

fn golden_directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

/// The golden files as they were on disk. They are kept without the zeros that they end with, which are counted in the
/// file `lengths`.
fn golden_files() -> BTreeMap<String, Vec<u8>> {
    let directory = golden_directory();
    let lengths = fs::read_to_string(directory.join("lengths")).expect("the fixture");
    lengths
        .lines()
        .map(|line| {
            let (name, len) = line.split_once(' ').expect("a name and a length");
            let mut bytes = fs::read(directory.join("log").join(name)).expect("a golden file");
            bytes.resize(len.parse().expect("a length"), 0);
            (name.to_owned(), bytes)
        })
        .collect()
}

fn disk_with(files: &BTreeMap<String, Vec<u8>>) -> SimDisk {
    let disk = SimDisk::new(1);
    for (name, bytes) in files {
        let file = disk.create(name).expect("an empty disk");
        file.write_at(bytes, 0).expect("room");
        file.sync_data().expect("a sound disk");
    }
    disk.sync_directory().expect("a sound disk");
    disk.survivor(0)
}

#[test]
fn a_golden_log_gives_the_same_ledger_for_ever() {
    let files = golden_files();
    let expected = fs::read_to_string(golden_directory().join("dump")).expect("the fixture");
    let expected: Vec<String> = expected.lines().map(str::to_owned).collect();

    let ledger = options(&reading_clock()).open_on(disk_with(&files)).expect("a golden log on the simulated disk");
    let found = dump(&ledger, &world()).expect("an open ledger");
    assert_eq!(difference(&expected, &found), None);

    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, bytes) in &files {
        fs::write(directory.path().join(name), bytes).expect("a temporary file");
    }
    let on_files = options(&reading_clock()).open_on(DirectoryStorage::new(directory.path()));
    let found = dump(&on_files.expect("a golden log in a directory"), &world()).expect("an open ledger");
    assert_eq!(difference(&expected, &found), None);
}

#[test]
fn the_same_commands_give_the_same_dump_as_the_golden_log() {
    let (disk, _) = written();
    let ledger = options(&reading_clock()).open_on(disk).expect("just written");
    let found = dump(&ledger, &world()).expect("an open ledger");
    let expected = fs::read_to_string(golden_directory().join("dump")).expect("the fixture");
    // All but the bank's references, which hold the ledger's own UUID.
    let nameless = |line: &str| {
        let mut line = line.to_owned();
        while let Some(at) = line.find("ledger: ") {
            let end = line[at + 8..].find(',').map_or(line.len(), |end| at + 8 + end);
            line.replace_range(at..end, "ledger");
        }
        if let Some(at) = line.find(" by ").filter(|_| line.starts_with("withdrawal ")) {
            let end = line[at + 4..].find('-').map_or(line.len(), |end| at + 4 + end);
            line.replace_range(at..end, " by");
        }
        line
    };
    let expected: Vec<String> = expected.lines().map(nameless).collect();
    let found: Vec<String> = found.iter().map(|line| nameless(line)).collect();
    assert_eq!(difference(&expected, &found), None);
}

/// Opens a damaged copy: it must be refused with the place named, or hold all that it held.
fn refused_or_harmless(disk: &SimDisk, lines: &[String]) -> Result<bool, String> {
    match options(&reading_clock()).open_on(disk.clone()) {
        Err(OpenError::Damaged { file, .. } | OpenError::Unsupported { file, .. }) if !file.is_empty() => Ok(true),
        Err(err) => Err(format!("refused for another reason: {err}")),
        Ok(ledger) => {
            let found = dump(&ledger, &world()).map_err(|err| format!("a read failed: {err}"))?;
            difference(lines, &found).map_or(Ok(false), Err)
        }
    }
}

/// The sound log, its dump at the reading clock, and its files with the number of bytes before the zeros at their end.
fn sound() -> (SimDisk, Vec<String>, Vec<(String, u64)>) {
    let (disk, _) = written();
    let ledger = options(&reading_clock()).open_on(disk.survivor(0)).expect("just written");
    let lines = dump(&ledger, &world()).expect("an open ledger");
    let used = |name: &String| disk.written(name).expect("it is listed");
    let files = disk.names().into_iter().map(|name| (name.clone(), used(&name))).collect();
    (disk, lines, files)
}

/// How thorough the sweeps are: 1 by default, more by the environment.
fn thoroughness() -> u64 {
    std::env::var("LEDGER_CRASH_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(1)
}

#[test]
fn no_flipped_bit_changes_or_shortens_what_a_closed_log_says() {
    let (disk, lines, files) = sound();
    let stride = (11 / thoroughness()).max(1);
    let (mut images, mut refusals) = (0u64, 0u64);
    for (name, used) in &files {
        for offset in (0..*used).step_by(usize::try_from(stride).expect("a stride")) {
            let damaged = disk.survivor(0);
            let bit = u8::try_from((offset / stride) % 8).expect("a bit");
            damaged.flip_bit(name, offset, bit);
            let refused = refused_or_harmless(&damaged, &lines)
                .unwrap_or_else(|why| panic!("bit {bit} of byte {offset} of {name}: {why}"));
            images += 1;
            refusals += u64::from(refused);
        }
    }
    eprintln!("flipped bits: {images} images, {refusals} refused");
    assert!(refusals > 0);
}

#[test]
fn no_truncation_changes_or_shortens_what_a_closed_log_says() {
    let (disk, lines, files) = sound();
    let (mut images, mut refusals) = (0u64, 0u64);
    for (name, used) in &files {
        let sectors = (0..=used.div_ceil(512)).flat_map(|sector| [sector * 512, sector * 512 + 1, sector * 512 + 511]);
        for len in sectors.chain([used - 1, *used]).filter(|len| len <= used) {
            let damaged = disk.survivor(0);
            damaged.truncate(name, len);
            let refused = refused_or_harmless(&damaged, &lines)
                .unwrap_or_else(|why| panic!("{name} cut to {len} of {used} bytes: {why}"));
            images += 1;
            refusals += u64::from(refused);
        }
    }
    eprintln!("truncations: {images} images, {refusals} refused");
    assert!(refusals > 0);
}

#[test]
fn no_lost_swapped_or_repeated_sector_changes_what_a_closed_log_says() {
    let (disk, lines, files) = sound();
    let (mut images, mut refusals) = (0u64, 0u64);
    for (name, used) in &files {
        let bytes = disk.read(name).expect("it is listed");
        for size in [512usize, 4096] {
            let chunks: Vec<&[u8]> =
                bytes.chunks(size).take(usize::try_from(*used).expect("small").div_ceil(size)).collect();
            for (index, chunk) in chunks.iter().enumerate() {
                let at = (index * size) as u64;
                let zeros = vec![0; chunk.len()];
                let next = chunks.get(index + 1).copied().unwrap_or(&[]);
                let swapped = [next, chunk].concat();
                let repeated = [*chunk, *chunk].concat();
                for (what, patch) in [("lost", &zeros), ("swapped", &swapped), ("repeated", &repeated)] {
                    let fits = usize::try_from(at).expect("small") + patch.len() <= bytes.len();
                    if (what != "lost" && next.len() != chunk.len()) || !fits {
                        continue;
                    }
                    let damaged = disk.survivor(0);
                    damaged.overwrite(name, at, patch);
                    let refused = refused_or_harmless(&damaged, &lines)
                        .unwrap_or_else(|why| panic!("{size} bytes at {at} of {name} {what}: {why}"));
                    images += 1;
                    refusals += u64::from(refused);
                }
            }
        }
    }
    eprintln!("lost, swapped and repeated sectors: {images} images, {refusals} refused");
    assert!(refusals > 0);
}

#[test]
fn a_missing_file_is_missed() {
    let (disk, lines, files) = sound();
    let mut refusals = 0u64;
    for (name, _) in &files {
        let damaged = disk.survivor(0);
        damaged.erase(name);
        refusals +=
            u64::from(refused_or_harmless(&damaged, &lines).unwrap_or_else(|why| panic!("without {name}: {why}")));
    }
    assert!(refusals > 0, "of {files:?} some file must be needed");
}
