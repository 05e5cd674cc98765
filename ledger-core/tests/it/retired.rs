//! Damage where the log no longer reaches back to the first entry, so that nothing can take the snapshots' place: what is opened is
//! what it was, or nothing is.

use std::collections::BTreeSet;

use ledger_core::sim::{SimClock, SimDisk};
use ledger_core::{Ledger, OpenError, Seq, Storage, verify_storage};

use crate::model::Asked;
use crate::stage::{SECOND, START, amount, answer, ask, options, user};

const SECTOR: usize = 512;

fn names(disk: &SimDisk, suffix: &str) -> Vec<String> {
    let names = disk.list().expect("a disk that works");
    names.into_iter().filter(|name| name.ends_with(suffix)).collect()
}

/// The files of the snapshots.
fn files(disk: &SimDisk) -> Vec<String> {
    [names(disk, ".snapshot"), names(disk, ".history")].concat()
}

fn open(disk: &SimDisk) -> Result<Ledger, OpenError> {
    // Each checkpoint leaves a history file.
    options(&SimClock::at(START)).history_bytes(0).open_on(disk.clone())
}

/// Some of everything, a checkpoint, and one entry that is in the log alone.
fn live(disk: &SimDisk, word: &str) {
    let ledger = open(disk).expect("sound");
    for n in 1..=3 {
        for asked in [
            Asked::charge(user(n), amount(100 * n), format!("{word} charge {n}")),
            Asked {
                release_at: Some(START.saturating_add(SECOND * 3600)),
                ..Asked::charge(user(n), amount(10), format!("{word} held {n}"))
            },
            Asked::transfer(user(n), user(n % 3 + 1), amount(9), format!("{word} transfer {n}")),
            Asked {
                destination: Some("DE89".into()),
                ..Asked::withdraw(user(n), amount(7), format!("{word} payout {n}"))
            },
        ] {
            answer(ask(&ledger, &asked)).expect("accepted");
        }
    }
    ledger.checkpoint().expect("a disk that works");
    answer(ask(&ledger, &Asked::charge(user(4), amount(5), format!("{word} after")))).expect("accepted");
    ledger.close().expect("nothing is in the way");
}

/// A ledger of four lives, whose log begins with the third.
fn four_lives() -> SimDisk {
    let disk = SimDisk::new(1);
    ["one", "two", "three", "four"].into_iter().for_each(|word| live(&disk, word));
    assert_eq!((names(&disk, ".snapshot").len(), names(&disk, ".history").len()), (2, 4));
    disk
}

fn digest(disk: &SimDisk) -> (Seq, u128) {
    open(&disk.after_kill()).expect("sound").state_digest()
}

/// Replaces a file's bytes.
fn put(disk: &SimDisk, file: &str, bytes: &[u8]) {
    disk.truncate(file, 0);
    disk.overwrite(file, 0, bytes);
}

fn bytes(disk: &SimDisk, file: &str) -> Vec<u8> {
    disk.read(file).expect("it is there").to_vec()
}

/// What may come of damage to one of the files.
struct Judge {
    disk: SimDisk,
    state: (Seq, u128),
    /// What the newest snapshot is of.
    newest: Seq,
    looked_at: u64,
    refused: u64,
}

impl Judge {
    fn of(disk: &SimDisk) -> Judge {
        let newest = open(&disk.after_kill()).expect("sound").recovered().snapshot;
        Judge { disk: disk.after_kill(), state: digest(disk), newest, looked_at: 0, refused: 0 }
    }

    /// Whether it was refused; if not, it is what it was, and what was passed over is told. `verify` is content with nothing that
    /// is not as it was written.
    fn judge(&mut self, what: &str, damage: impl FnOnce(&SimDisk)) -> bool {
        let damaged = self.disk.after_kill();
        damage(&damaged);
        self.looked_at += 1;
        assert!(verify_storage(&damaged).is_err(), "{what}: verify was content");
        match open(&damaged) {
            Err(OpenError::Damaged { .. } | OpenError::Unsupported { .. }) => {
                self.refused += 1;
                true
            }
            Err(err) => panic!("{what}: {err}"),
            Ok(ledger) => {
                assert_eq!(ledger.state_digest(), self.state, "{what}");
                let found = ledger.recovered();
                assert!(
                    !found.passed_over.is_empty() || found.snapshot == self.newest,
                    "{what}: nothing is told of it"
                );
                false
            }
        }
    }
}

/// `LEDGER_SWEEP=full` tries every bit and every length, as the sweep of snapshots behind a whole log does.
#[test]
fn no_damage_to_the_snapshots_of_a_retired_log_changes_what_is_opened() {
    let is_full = std::env::var("LEDGER_SWEEP").is_ok_and(|how| how == "full");
    let disk = four_lives();
    let mut judge = Judge::of(&disk);
    let (snapshots, histories) = (names(&disk, ".snapshot"), names(&disk, ".history"));
    let (older, newest) = (&snapshots[0], &snapshots[1]);
    // Which histories the older snapshot needs too: without them nothing is left to open.
    let shared: BTreeSet<&String> = histories[..3].iter().collect();
    for file in files(&disk) {
        let must_be_refused = shared.contains(&file);
        let mut check = |what: String, damage: &dyn Fn(&SimDisk)| {
            let is_refused = judge.judge(&what, damage);
            assert_eq!(is_refused, must_be_refused, "{what}");
        };
        let whole = bytes(&disk, &file);
        for offset in 0..whole.len() as u64 {
            let bits = if is_full { 0..8 } else { (offset % 8) as u8..(offset % 8) as u8 + 1 };
            for bit in bits.filter(|_| is_full || offset % 5 == 0) {
                check(format!("{file}, bit {offset}.{bit}"), &|disk| disk.flip_bit(&file, offset, bit));
            }
        }
        for len in (0..whole.len() as u64).step_by(if is_full { 1 } else { 61 }) {
            check(format!("{file}, cut at {len}"), &|disk| disk.truncate(&file, len));
        }
        let sectors: Vec<&[u8]> = whole.chunks(SECTOR).collect();
        for (one, sector) in sectors.iter().enumerate() {
            let at = (one * SECTOR) as u64;
            if sector.iter().any(|byte| *byte != 0) {
                let zeros = vec![0; sector.len()];
                check(format!("{file}, sector {one} zeroed"), &|disk| disk.overwrite(&file, at, &zeros));
            }
            for (two, other) in sectors.iter().enumerate().skip(one + 1).filter(|(_, other)| other.len() == SECTOR) {
                if sector == other {
                    continue;
                }
                let there = (two * SECTOR) as u64;
                check(format!("{file}, sector {one} again at {two}"), &|disk| disk.overwrite(&file, there, sector));
                check(format!("{file}, sectors {one} and {two} swapped"), &|disk| {
                    disk.overwrite(&file, there, sector);
                    disk.overwrite(&file, at, other);
                });
            }
        }
        if file.ends_with(".history") {
            check(format!("{file} is missing"), &|disk| disk.erase(&file));
        }
        for other in files(&disk).iter().filter(|other| **other != file) {
            check(format!("{other} under the name {file}"), &|disk| put(disk, &file, &bytes(disk, other)));
        }
    }
    // One snapshot is as many as a young ledger has: the other one, or the log after it, says all. Of none, nothing does.
    for missing in [vec![older], vec![newest], vec![older, newest]] {
        let damaged = disk.after_kill();
        missing.iter().for_each(|file| damaged.erase(file));
        match open(&damaged) {
            Ok(ledger) if missing.len() == 1 => {
                assert_eq!(ledger.state_digest(), judge.state, "{missing:?} are missing")
            }
            Err(OpenError::Damaged { .. }) if missing.len() == 2 => {}
            other => panic!("{missing:?} are missing: {:?}", other.map(|ledger| ledger.state_digest())),
        }
    }
    // Both of them at once, however little of each.
    for offset in (0..bytes(&disk, newest).len() as u64).step_by(if is_full { 1 } else { 41 }) {
        let is_refused = judge.judge(&format!("both snapshots, byte {offset}"), |disk| {
            disk.flip_bit(newest, offset, 1);
            disk.flip_bit(older, offset % bytes(disk, older).len() as u64, 1);
        });
        assert!(is_refused, "both snapshots, byte {offset}");
    }
    eprintln!("damaged snapshots of a retired log: {} images, {} refused", judge.looked_at, judge.refused);
    assert!(judge.looked_at > 2_000 && judge.refused > 1_000, "{} of {}", judge.refused, judge.looked_at);
}

/// Two histories that part after the second life, of one ledger, with as many entries, under epochs of one number: a file of one
/// among those of the other has the right name, the right UUID, and checksums that fit.
#[test]
fn a_file_of_another_history_of_the_same_ledger_is_not_taken_for_its_own() {
    let disk = SimDisk::new(1);
    ["one", "two"].into_iter().for_each(|word| live(&disk, word));
    let elsewhere = disk.after_kill();
    ["three", "four"].into_iter().for_each(|word| live(&disk, word));
    ["trois", "quatre"].into_iter().for_each(|word| live(&elsewhere, word));
    assert_eq!(files(&disk), files(&elsewhere));
    let mut judge = Judge::of(&disk);
    let differing: Vec<String> =
        files(&disk).into_iter().filter(|file| bytes(&disk, file) != bytes(&elsewhere, file)).collect();
    assert_eq!(differing.len(), 4, "two snapshots and two histories: {differing:?}");
    // Every choice of them, and what it was before there was that snapshot.
    for choice in 1..1_u32 << differing.len() {
        let chosen: Vec<&String> =
            differing.iter().enumerate().filter(|(n, _)| choice & 1 << n != 0).map(|(_, file)| file).collect();
        judge.judge(&format!("{chosen:?} of elsewhere"), |disk| {
            chosen.iter().for_each(|file| put(disk, file, &bytes(&elsewhere, file)));
        });
    }
    let all = judge.judge("all of elsewhere's snapshots", |disk| {
        differing.iter().for_each(|file| put(disk, file, &bytes(&elsewhere, file)));
    });
    assert!(all, "nothing of its own is left");
}

/// Files as they were an epoch or more ago: nothing that has happened since is lost without a word.
#[test]
fn files_of_an_earlier_time_are_refused_or_told_of() {
    let disk = SimDisk::new(1);
    ["one", "two", "three"].into_iter().for_each(|word| live(&disk, word));
    let earlier = disk.after_kill();
    live(&disk, "four");
    let state = digest(&disk);
    // The directory's snapshots of before, beside the log of now: they are whole and older, and the log leads on from them or does not.
    let damaged = disk.after_kill();
    files(&damaged).iter().for_each(|file| damaged.erase(file));
    for file in files(&earlier) {
        damaged.create(&file).expect("it was erased");
        put(&damaged, &file, &bytes(&earlier, &file));
    }
    match open(&damaged) {
        Err(OpenError::Damaged { .. }) => {}
        Err(err) => panic!("{err}"),
        Ok(ledger) => assert_eq!(ledger.state_digest(), state),
    }
    // The log of before, beside the snapshots of now: it ends before they do.
    let damaged = disk.after_kill();
    let is_log = |name: &String| name.ends_with(".segment") || name == "durable.mark";
    damaged.names().iter().filter(|name| is_log(name)).for_each(|file| damaged.erase(file));
    for file in earlier.names().iter().filter(|name| is_log(name)) {
        damaged.create(file).expect("it was erased");
        put(&damaged, file, &bytes(&earlier, file));
    }
    assert!(verify_storage(&damaged).is_err());
    match open(&damaged) {
        Err(OpenError::Damaged { .. }) => {}
        other => panic!("{:?}", other.map(|ledger| ledger.state_digest())),
    }
}
