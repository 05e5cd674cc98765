//! Which files of snapshots a start copies and removes, what it tells of them, and what it refuses.

use super::*;
use crate::sys::DirectoryStorage;
use crate::types::Seq;
use crate::wal::Kept;

const MISSING: &str = "it is missing";
const CUT: &str = "it has 0 bytes, too few for a snapshot's file";
const STRAY: &str = "nothing shows that it is of the history of the other side's log";

/// The log that both sides will have, from its entry `first` on: that of `disk`, which is side `alone` where the other's is gone or
/// damaged.
fn kept(disk: &SimDisk, first: u64, alone: Option<usize>) -> Kept {
    let uuid = wal::identity(disk).unwrap().unwrap();
    Kept { uuid, first_seq: Seq::new(first), last_seq: Seq::new(3), alone }
}

fn look<'a>(sides: [&'a SimDisk; 2], kept: &Kept) -> Result<Snapshots<'a>, OpenError> {
    let found = Snapshots::look(sides.map(|side| side as &dyn Storage), kept, false)?;
    found.check(kept)?;
    Ok(found)
}

fn at(name: &str, reason: &str) -> String {
    format!("simulated disk/{name} at byte 0: {reason}")
}

fn copied(name: &str, reason: &str) -> String {
    format!("{}; copied from simulated disk", at(name, reason))
}

fn removed(name: &str) -> String {
    format!("simulated disk/{name} was removed: {STRAY}")
}

fn snapshots(disk: &SimDisk) -> Vec<String> {
    files(disk).into_iter().filter(|name| is_snapshot(name)).collect()
}

fn changed(disk: &SimDisk, change: impl Fn(&SimDisk)) -> SimDisk {
    let disk = disk.cold();
    change(&disk);
    disk
}

#[test]
fn a_side_gets_what_it_lacks_of_the_snapshots_loses_what_is_of_no_known_history_and_both_is_told() {
    let one = ledger_of(1);
    let (two, other) = (gone_on(&one, 1, 0), gone_on(&one, 2, 0));
    let [h1, s1, h2, s2] = files(&two).try_into().unwrap();
    assert_eq!(files(&other), files(&two));
    let unsnapped = changed(&two, |disk| [&h1, &s1, &h2, &s2].into_iter().for_each(|name| disk.erase(name)));
    let all = "simulated disk: 4 files of snapshots copied from simulated disk: there was none".to_owned();
    // Whether the log of the side that lacks something is gone or damaged; the other side and this one; what is told.
    let cases = [
        ("nothing to do", false, &two, two.cold(), vec![]),
        ("no snapshots at all", false, &unsnapped, unsnapped.cold(), vec![]),
        ("a file that is lost", false, &two, changed(&two, |disk| disk.erase(&h1)), vec![copied(&h1, MISSING)]),
        ("all that are lost", false, &two, unsnapped.cold(), vec![all]),
        ("of a lost log, the same", true, &two, two.cold(), vec![]),
        ("of a lost log, one lost", true, &two, changed(&two, |disk| disk.erase(&h1)), vec![copied(&h1, MISSING)]),
        ("of a lost log, one cut off", true, &two, changed(&two, |disk| disk.truncate(&s2, 0)), vec![copied(&s2, CUT)]),
        ("of a lost log, one too many", true, &one, two.cold(), vec![removed(&s2)]),
        (
            "of a lost log, another history's",
            true,
            &two,
            changed(&other, |disk| disk.erase(&h2)),
            vec![removed(&s2), copied(&h2, MISSING), copied(&s2, STRAY)],
        ),
    ];
    for (what, is_alone, sound, lacking, told) in cases {
        for side in 0..2 {
            let (sound, lacking) = (sound.cold(), lacking.cold());
            let sides = if side == 1 { [&sound, &lacking] } else { [&lacking, &sound] };
            let kept = kept(&sound, 1, is_alone.then_some(1 - side));
            assert_eq!(look(sides, &kept).unwrap().mend().unwrap(), told, "{what}, side {side}");
            for seed in 0..6 {
                let left = lacking.survivor(seed);
                assert!(files(&sound).iter().all(|name| left.read(name) == sound.read(name)), "{what}, side {side}");
                assert_eq!(snapshots(&left), snapshots(&sound), "{what}, side {side}");
            }
        }
    }
}

#[test]
fn a_sound_file_that_is_not_the_one_that_is_named_is_told_and_left_alone() {
    let one = ledger_of(1);
    let (two, other) = (gone_on(&one, 1, 0), gone_on(&one, 2, 0));
    let [.., h2, _] = &files(&two)[..] else { panic!("two snapshots and two histories") };
    let wrong = two.cold();
    wrong.erase(h2);
    put(&wrong, h2, &other.read(h2).unwrap());
    let before = wrong.read(h2);
    look([&two, &wrong], &kept(&two, 1, None)).unwrap().mend().unwrap();
    assert_eq!(wrong.read(h2), before);
    // In directories, which have names: of the side where it is right nothing is said.
    let (right, wrong) = (Directory::of(&two), Directory::of(&wrong));
    for sides in [[&right, &wrong], [&wrong, &right]] {
        let sides = sides.map(|side| &side.storage as &dyn Storage);
        let found = Snapshots::look(sides, &kept(&two, 1, None), false).unwrap();
        let what = "it is not the file that the snapshot names; it cannot be mended";
        assert_eq!(found.mend().unwrap(), [format!("{}/{h2} at byte 0: {what}", wrong.storage.describe())]);
    }
}

/// The files of snapshots that a simulated disk has, in a real directory.
struct Directory {
    storage: DirectoryStorage,
    _directory: tempfile::TempDir,
}

impl Directory {
    fn of(disk: &SimDisk) -> Directory {
        let directory = tempfile::tempdir().unwrap();
        for name in files(disk) {
            std::fs::write(directory.path().join(&name), disk.read(&name).unwrap()).unwrap();
        }
        Directory { storage: DirectoryStorage::new(directory.path()), _directory: directory }
    }
}

#[test]
fn a_log_that_begins_after_what_no_snapshot_has_is_refused_and_the_newest_that_is_lost_is_named() {
    let two = ledger_of(2);
    let [_, s1, h2, s2] = files(&two).try_into().unwrap();
    for (lost, named) in [([&s1, &s2], &s2), ([&s1, &h2], &h2)] {
        let [one, other] =
            [0, 1].map(|_| changed(&two, |disk| lost.iter().for_each(|name| disk.flip_bit(name, 100, 0))));
        // The log has all of it from the first entry on.
        assert!(look([&one, &other], &kept(&two, 1, None)).is_ok());
        match look([&one, &other], &kept(&two, 3, None)).map(drop) {
            Err(OpenError::Damaged { file, .. }) => assert_eq!(file, format!("simulated disk/{named}")),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_file_of_a_newer_format_is_neither_overwritten_nor_passed_over() {
    let two = ledger_of(2);
    for name in files(&two) {
        // As a later version of the library writes it, which this one cannot read.
        let newer = changed(&two, |disk| {
            let mut header = disk.read(&name).unwrap()[..64].to_vec();
            header[10] = 2;
            let seed = xxhash_rust::xxh3::xxh3_64(&header[16..32]);
            let checksum = xxhash_rust::xxh3::xxh3_64_with_seed(&header[..56], seed);
            header[56..].copy_from_slice(&checksum.to_le_bytes());
            disk.overwrite(&name, 0, &header);
        });
        for sides in [[&two, &newer], [&newer, &two]] {
            match look(sides, &kept(&two, 1, None)).map(drop) {
                Err(OpenError::Unsupported { file, .. }) => assert_eq!(file, name),
                other => panic!("{other:?}"),
            }
        }
    }
}
