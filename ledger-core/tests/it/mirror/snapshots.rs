//! Snapshots that one side of a mirror has damaged or lost, where the log before them is retired: nothing else has what is in them.

use std::sync::Arc;

use ledger_core::sim::{SimClock, SimDisk, Supply};
use ledger_core::{Ledger, MirroredStorage, OnSideFailure, OpenError, Seq, Storage, verify_storage};

use super::{charge, fill, names, open_in_order, open_pair};
use crate::stage::{START, options};

const KINDS: [&str; 2] = [".snapshot", ".history"];

/// A pair in good order, what it is, and the files of its two snapshots. None of the histories is written again.
struct Retired {
    sides: [SimDisk; 2],
    state: (Seq, u128),
    files: Vec<String>,
}

fn retired(clock: &SimClock) -> Retired {
    let sides = [SimDisk::new(1), SimDisk::new(2)];
    let [primary, mirror] = sides.each_ref().map(|side| Arc::new(side.clone()) as Arc<dyn Storage>);
    let pair = MirroredStorage::open(primary, mirror, OnSideFailure::Halt).expect("empty disks");
    let ledger = options(clock).history_bytes(0).open_on(pair).expect("empty disks");
    let mut retired = 0;
    fill(&ledger, 0);
    for n in 1..4 {
        (0..6).for_each(|of| charge(&ledger, n * 10 + of));
        retired += ledger.checkpoint().expect("disks that work").segments_retired;
    }
    (0..3).for_each(|n| charge(&ledger, 100 + n));
    assert!(retired > 0, "else the log has it all");
    ledger.close().expect("disks that work");
    let state = ledger.state_digest();
    drop(ledger);
    let files = names(&sides[0], &KINDS);
    assert!(files.len() == 5 && files == names(&sides[1], &KINDS), "two snapshots and three histories: {files:?}");
    Retired { sides: sides.each_ref().map(SimDisk::cold), state, files }
}

impl Retired {
    fn copy(&self) -> [SimDisk; 2] {
        self.sides.each_ref().map(SimDisk::cold)
    }

    /// It opens as it was, in one order of the sides or the other, tells of `mended` files, and then each side has all of it.
    fn is_whole(&self, clock: &SimClock, pair: &[SimDisk; 2], mended: usize, (n, what): (usize, &str)) {
        let ledger = open_in_order(clock, pair, n % 2 == 1).unwrap_or_else(|err| panic!("{what}: {err}"));
        assert_eq!(ledger.state_digest(), self.state, "{what}");
        let found = ledger.recovered();
        assert_eq!((&found.passed_over, found.mended.len()), (&vec![], mended), "{what}: {:?}", found.mended);
        drop(ledger);
        self.has_all(clock, pair, (n, what));
    }

    /// The files are on the devices of both sides. Now and then each is opened alone.
    fn has_all(&self, clock: &SimClock, pair: &[SimDisk; 2], (n, what): (usize, &str)) {
        let cold = pair.each_ref().map(SimDisk::cold);
        for name in &self.files {
            let sound = self.sides[0].read(name);
            assert!(cold.iter().all(|side| side.read(name) == sound), "{what}: {name} is not as it was");
        }
        if n.is_multiple_of(8) {
            for side in cold {
                assert_eq!(verify_storage(&side).unwrap_or_else(|err| panic!("{what}: {err}")).snapshots, 2, "{what}");
                let alone = options(clock).open_on(side).unwrap_or_else(|err| panic!("{what}, one side alone: {err}"));
                assert_eq!((alone.state_digest(), alone.recovered().passed_over.len()), (self.state, 0), "{what}");
            }
        }
    }
}

fn length(disk: &SimDisk, name: &str) -> u64 {
    disk.read(name).expect("it is there").len() as u64
}

#[test]
fn any_damage_to_a_file_of_one_side_is_mended_from_the_other() {
    let clock = SimClock::at(START);
    let whole = retired(&clock);
    let mut images = 0_usize;
    let mut try_it = |what: &str, side: usize, name: &str, damage: &dyn Fn(&SimDisk)| {
        let pair = whole.copy();
        damage(&pair[side]);
        whole.is_whole(&clock, &pair, 1, (images, &format!("{what} of {name} on side {side}")));
        images += 1;
    };
    for side in 0..2 {
        for name in &whole.files {
            let length = length(&whole.sides[side], name);
            let step = (length / 12).max(1) as usize;
            for at in (0..length).step_by(step) {
                let bit = (at % 8) as u8;
                try_it(&format!("bit {bit} of byte {at}"), side, name, &|disk| disk.flip_bit(name, at, bit));
                try_it(&format!("rot of byte {at}"), side, name, &|disk| disk.rot_bit(name, at, bit));
                try_it(&format!("the first {at} bytes"), side, name, &|disk| disk.truncate(name, at));
            }
            for at in (0..length).step_by((step / 512 + 1) * 512) {
                let end = length.min(at + 512);
                try_it(&format!("an unreadable sector at {at}"), side, name, &|disk| disk.lose_sectors(name, at..end));
                let zeros = vec![0; (end - at) as usize];
                try_it(&format!("a zeroed sector at {at}"), side, name, &|disk| disk.overwrite(name, at, &zeros));
            }
            try_it("an end that is too long", side, name, &|disk| disk.overwrite(name, length, &[7; 100]));
            try_it("the loss", side, name, &|disk| disk.erase(name));
        }
    }
    assert!(images > 400, "{images}");
}

#[test]
fn files_that_are_damaged_on_one_side_or_the_other_are_all_mended() {
    let clock = SimClock::at(START);
    let whole = retired(&clock);
    let segment = names(&whole.sides[0], &[".segment"])[0].clone();
    // Which of the files are damaged on the second side; the others are on the first.
    for chosen in 0..1_usize << whole.files.len() {
        let pair = whole.copy();
        for (n, name) in whole.files.iter().enumerate() {
            let disk = &pair[chosen >> n & 1];
            match (chosen + n) % 3 {
                0 => disk.erase(name),
                1 => disk.flip_bit(name, length(disk, name) / 2, 3),
                _ => disk.lose_sectors(name, 0..512),
            }
        }
        let what = format!("files {chosen:05b}");
        // A side without a snapshot is told from one that has lost the beginning of its log by nothing: it is damaged.
        let and_a_segment = pair.each_ref().map(SimDisk::after_kill);
        whole.is_whole(&clock, &pair, whole.files.len(), (chosen, &what));
        // Of the log, too: then nothing shows that the snapshots of that side are of the other's history.
        if names(&and_a_segment[0], &KINDS[..1]).is_empty() {
            continue;
        }
        let what = format!("{what} and a segment");
        and_a_segment[1].flip_bit(&segment, 2 * 4_096 + 100, 0);
        let is_of_the_first = |(n, name): (usize, &String)| chosen >> n & 1 == 0 && name.ends_with(KINDS[0]);
        if whole.files.iter().enumerate().any(is_of_the_first) {
            match open_in_order(&clock, &and_a_segment, chosen % 2 == 1) {
                Ok(ledger) => assert_eq!(ledger.state_digest(), whole.state, "{what}"),
                Err(err) => assert!(matches!(err, OpenError::Damaged { .. }), "{what}: {err}"),
            }
        } else {
            whole.is_whole(&clock, &and_a_segment, whole.files.len() + 1, (chosen, &what));
        }
    }
}

#[test]
fn what_is_damaged_on_both_sides_is_told_of_both_and_nothing_is_changed_where_nothing_else_has_it() {
    let clock = SimClock::at(START);
    let whole = retired(&clock);
    let contents = |disk: &SimDisk| disk.names().into_iter().map(|name| (disk.read(&name), name)).collect::<Vec<_>>();
    let (snapshots, histories) = (names(&whole.sides[0], &[KINDS[0]]), names(&whole.sides[0], &[KINDS[1]]));
    // What both snapshots need, both snapshots; and beside that what could be mended, of the log too.
    for damaged in [vec![&histories[0]], vec![&histories[1]], snapshots.iter().collect()] {
        let pair = whole.copy();
        for name in &damaged {
            pair[0].flip_bit(name, 184, 0);
            pair[1].flip_bit(name, length(&pair[1], name) - 60, 0);
        }
        pair[1].erase(&histories[2]);
        pair[1].flip_bit(names(&pair[1], &[".segment"]).last().expect("a log"), 4_096 + 100, 0);
        let before = pair.each_ref().map(contents);
        match open_pair(&clock, [&pair[0], &pair[1]]).map(drop) {
            Err(OpenError::Damaged { file, reason, .. }) => {
                let name = damaged.last().expect("one is damaged");
                assert!(file.ends_with(*name), "{file} is not {name}");
                assert!(reason.contains("; the mirror is damaged as well, ") && reason.contains(*name), "{reason}");
            }
            other => panic!("{damaged:?}: {other:?}"),
        }
        assert!(before == pair.each_ref().map(contents), "{damaged:?}: something was changed");
    }
    // What one of them needs.
    for (name, loaded) in [(&snapshots[0], 1), (&snapshots[1], 0), (&histories[2], 0)] {
        let pair = whole.copy();
        pair[0].flip_bit(name, 184, 0);
        pair[1].erase(name);
        let ledger = open_pair(&clock, [&pair[0], &pair[1]]).expect("the other one is there");
        assert_eq!(ledger.state_digest(), whole.state);
        let found = ledger.recovered();
        assert!(snapshots[loaded].starts_with(&format!("{:016x}", found.snapshot.get())), "{name}: {found:?}");
        let told: Vec<_> = found.mended.iter().filter(|told| told.contains("it cannot be mended")).collect();
        assert!(told.len() == 1 && told[0].contains(name.as_str()) && told[0].contains("it is missing"), "{found:?}");
    }
}

#[test]
fn a_sound_file_is_never_overwritten() {
    let clock = SimClock::at(START);
    let whole = retired(&clock);
    let newest = names(&whole.sides[0], &[KINDS[0]])[1].clone();
    // Of the same seq, and of another ledger: the one is as sound as the other, but not for this one.
    let other = {
        let other = retired(&clock);
        names(&other.sides[0], &[KINDS[0]]).into_iter().for_each(|name| assert!(whole.files.contains(&name)));
        other.sides[1].read(&newest).expect("it is there")
    };
    let pair = whole.copy();
    pair[0].erase(&newest);
    pair[0].create(&newest).expect("a disk that works");
    pair[0].overwrite(&newest, 0, &other);
    pair[0].sync_directory().expect("a disk that works");
    whole.is_whole(&clock, &pair, 1, (0, "another ledger's snapshot"));
    // Two openings of sound sides change no file of a snapshot.
    let pair = whole.copy();
    for _ in 0..2 {
        assert_eq!(open_pair(&clock, [&pair[0], &pair[1]]).expect("sound").recovered().mended, Vec::<String>::new());
    }
    whole.has_all(&clock, &pair, (0, "nothing to mend"));
}

#[test]
fn a_mending_that_is_cut_off_anywhere_is_done_by_the_next_opening() {
    let clock = SimClock::at(START);
    let whole = retired(&clock);
    let damage = |pair: &[SimDisk; 2]| {
        for (n, name) in whole.files.iter().enumerate() {
            pair[n % 2].flip_bit(name, 184, 0);
        }
        let newest = names(&whole.sides[0], &[KINDS[0]])[1].clone();
        pair[usize::from(pair[0].read(&newest) == whole.sides[0].read(&newest))].erase(&newest);
    };
    let mut images = 0;
    for is_turned in [false, true] {
        for cut in 0.. {
            let supply = Supply::default();
            let pair = whole.copy().map(|side| side.fed_by(&supply));
            damage(&pair);
            supply.fail_at(cut);
            let is_done = open_in_order(&clock, &pair, is_turned).is_ok();
            for seed in 0..3 {
                let left = match seed {
                    0 => pair.each_ref().map(SimDisk::after_kill),
                    _ => pair.each_ref().map(|side| side.survivor(cut * 3 + seed)),
                };
                let what = format!("cut {cut}, seed {seed}, turned: {is_turned}");
                let ledger = open_in_order(&clock, &left, is_turned).unwrap_or_else(|err| panic!("{what}: {err}"));
                assert_eq!(ledger.state_digest(), whole.state, "{what}");
                drop(ledger);
                whole.has_all(&clock, &left, (cut as usize, &what));
                images += 1;
            }
            if is_done {
                assert!(cut > 40, "{cut}");
                break;
            }
        }
    }
    assert!(images > 250, "{images}");
}

/// A side that is filled gets only what is sound, and needs nothing else.
#[test]
fn a_side_that_is_filled_gets_no_damaged_snapshot() {
    let clock = SimClock::at(START);
    let whole = retired(&clock);
    let older = names(&whole.sides[0], &[KINDS[0]])[0].clone();
    for side in 0..2 {
        for is_unreadable in [false, true] {
            let mut pair = whole.copy();
            pair[1 - side] = SimDisk::new(9);
            match is_unreadable {
                true => pair[side].lose_sectors(&older, 0..512),
                false => pair[side].flip_bit(&older, 184, 0),
            }
            let ledger = open_pair(&clock, [&pair[0], &pair[1]]).expect("the newer one is sound");
            assert_eq!(ledger.state_digest(), whole.state);
            drop(ledger);
            assert!(pair[1 - side].read(&older).is_none());
            assert_eq!(options(&clock).open_on(pair[1 - side].cold()).expect("whole").state_digest(), whole.state);
        }
    }
}

fn open_going_on(clock: &SimClock, sides: &[SimDisk; 2]) -> Result<Ledger, OpenError> {
    let [primary, mirror] = sides.each_ref().map(|side| Arc::new(side.clone()) as Arc<dyn Storage>);
    options(clock).open_on(MirroredStorage::open(primary, mirror, OnSideFailure::GoOn)?)
}

/// The first side went on alone, made a snapshot and lost its log; the second one ends before.
fn one_that_lost_its_log(clock: &SimClock) -> [SimDisk; 2] {
    let sides = [SimDisk::new(1), SimDisk::new(2)];
    let ledger = open_going_on(clock, &sides).expect("empty disks");
    (0..3).for_each(|n| charge(&ledger, n));
    sides[1].crash_after(sides[1].operations());
    (3..9).for_each(|n| charge(&ledger, n));
    ledger.checkpoint().expect("a side that works");
    ledger.close().expect("a side that works");
    let pair = sides.each_ref().map(SimDisk::cold);
    names(&pair[0], &[".segment", ".mark"]).iter().for_each(|name| pair[0].erase(name));
    pair
}

/// What one side has that is newer than the log of both tells what was lost, damaged or not.
#[test]
fn a_log_that_ends_before_a_snapshot_is_refused_and_nothing_changed() {
    let clock = SimClock::at(START);
    for damaged in [&[][..], &[".snapshot"], &[".history"]] {
        let pair = one_that_lost_its_log(&clock);
        names(&pair[0], damaged).iter().filter(|_| !damaged.is_empty()).for_each(|name| pair[0].flip_bit(name, 100, 3));
        let before = pair.each_ref().map(SimDisk::names);
        match open_going_on(&clock, &pair).map(drop) {
            Err(OpenError::Damaged { file, reason, .. }) => {
                let is_said = reason.contains("the log of either side ends with");
                assert!(file.ends_with(".snapshot") && is_said, "{damaged:?}: {file}: {reason}");
            }
            other => panic!("{damaged:?}: {other:?}"),
        }
        assert_eq!(before, pair.each_ref().map(SimDisk::names));
    }
}

/// Nothing shows of which history the snapshots of a side are that has lost its log.
#[test]
fn a_snapshot_of_another_history_is_not_taken_for_that_of_the_other_sides_log() {
    let clock = SimClock::at(START);
    let pair = one_that_lost_its_log(&clock);
    // The other side is started alone, and other entries take the seqs of those that were lost.
    let alone = options(&clock).open_on(pair[1].clone()).expect("a sound side");
    (100..120).for_each(|n| charge(&alone, n));
    alone.close().expect("a disk that works");
    let state = alone.state_digest();
    drop(alone);
    let pair = pair.each_ref().map(SimDisk::cold);
    for start in 0..3 {
        let ledger = open_going_on(&clock, &pair).unwrap_or_else(|err| panic!("start {start}: {err}"));
        assert_eq!(ledger.state_digest(), state, "start {start}");
        drop(ledger);
        for side in pair.each_ref().map(SimDisk::cold) {
            let alone = options(&clock).open_on(side).unwrap_or_else(|err| panic!("start {start}: {err}"));
            assert_eq!(alone.state_digest(), state, "start {start}, one side alone");
        }
    }
}
