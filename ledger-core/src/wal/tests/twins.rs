//! What is done to each side of a mirrored log, and what is left alone.

use super::super::twin;
use super::judged::{BLOCK, FIRST, LAST, MIDDLE, SPARE, small_log};
use super::*;
use segment::FRAMES_AT;

fn reconcile(primary: &dyn Storage, mirror: &dyn Storage) -> Result<(), OpenError> {
    twin::reconcile(primary, mirror, &WalOptions::default())
}

fn words(primary: &SimDisk, mirror: &SimDisk) -> String {
    match reconcile(primary, mirror) {
        Err(OpenError::Damaged { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

/// A file that is not the log's.
fn put(disk: &SimDisk, name: &str, bytes: &[u8]) {
    disk.create(name).unwrap();
    disk.overwrite(name, 0, bytes);
}

fn is_same(one: &SimDisk, other: &SimDisk) -> bool {
    one.names() == other.names() && one.names().iter().all(|name| one.read(name) == other.read(name))
}

#[test]
fn equal_sides_are_synced_and_nothing_is_written() {
    let (primary, mirror) = (small_log(), small_log());
    let before = mirror.operations();
    reconcile(&primary, &mirror).unwrap();
    // Five files and the directory, and the directory once more when nothing had to be copied.
    assert_eq!((mirror.names().len(), mirror.operations() - before), (5, 7));
    assert!(is_same(&primary, &mirror));
}

#[test]
fn the_side_that_is_behind_gets_what_is_the_logs_and_keeps_what_is_not() {
    for is_mirror_behind in [true, false] {
        let (ahead, behind) = (small_log(), small_log());
        commit(&open(&ahead, &manual()).unwrap().0, 100, b"one more");
        put(&ahead, "both.history", b"one");
        put(&behind, "both.history", b"other");
        put(&ahead, "ahead.torn", b"behind seq 5");
        put(&ahead, "ahead.snapshot", b"of seq 5");
        put(&behind, "behind.history", b"what was there");
        put(&behind, &names::segment(0x99), b"a segment that the other side has not");
        put(&behind, &names::temporary(names::MARK), b"half");
        let sides = if is_mirror_behind { (&ahead, &behind) } else { (&behind, &ahead) };
        behind.erase(&names::segment(0x99));
        reconcile(sides.0, sides.1).unwrap();
        let logs = |disk: &SimDisk| -> Vec<_> {
            let is_log = |name: &String| name.ends_with("segment") || name == names::MARK;
            disk.names().into_iter().filter(is_log).map(|name| (disk.read(&name), name)).collect()
        };
        assert!(logs(&ahead) == logs(&behind));
        assert_eq!(
            (ahead.read("both.history").unwrap(), behind.read("both.history").unwrap()),
            (b"one".into(), b"other".into())
        );
        // Those of snapshots are read before they are believed, by who knows them.
        assert_eq!((behind.read("ahead.torn").unwrap(), behind.read("ahead.snapshot")), (b"behind seq 5".into(), None));
        assert_eq!((behind.read("behind.history").is_some(), ahead.read("behind.history").is_some()), (true, false));
        assert_eq!(behind.read(&names::temporary(names::MARK)), None);
        // All of it survives whatever the power does.
        for seed in 0..8 {
            assert!(logs(&behind.survivor(seed)) == logs(&ahead));
        }
        assert_eq!(open(&behind, &manual()).unwrap().2.len(), 9);
    }
}

/// Brings both sides up to date; what is said of it, and which side alone had the log.
fn mended(primary: &SimDisk, mirror: &SimDisk) -> (Option<String>, Option<usize>) {
    let compared = twin::compare(primary, mirror, &WalOptions::default()).unwrap();
    let kept = compared.kept().expect("one has a log");
    compared.begin().unwrap();
    let said = compared.finish().unwrap();
    let scanned = scan_records(mirror).unwrap().0;
    assert_eq!((Some(kept.uuid), kept.first_seq, kept.last_seq), (scanned.uuid, scanned.first_seq, scanned.last_seq));
    (said, kept.alone)
}

#[test]
fn what_was_mended_is_told_with_a_few_of_the_files_and_why() {
    let (whole, none) = (small_log(), SimDisk::new(2));
    assert_eq!(mended(&whole, &small_log()), (None, None));
    let told = |sides: [&SimDisk; 2], alone: Option<usize>, segments: &[u64], others: &str, why: &str| {
        let files = segments.iter().map(|number| names::segment(*number)).collect::<Vec<_>>().join(", ");
        let said = format!("simulated disk: {files}{others} copied from simulated disk: {why}");
        assert_eq!(mended(&sides[0].after_kill(), &sides[1].after_kill()), (Some(said), alone));
    };
    let nothing = "there was no log";
    told([&whole, &none], Some(0), &[FIRST, MIDDLE, LAST, SPARE], " and 1 more", nothing);
    let fewer = small_log();
    fewer.erase(&names::segment(SPARE));
    told([&fewer, &none], Some(0), &[FIRST, MIDDLE, LAST], ", durable.mark", nothing);
    told([&none, &fewer], Some(1), &[FIRST, MIDDLE, LAST], ", durable.mark", nothing);
    let damaged = small_log();
    damaged.flip_bit(&names::segment(FIRST), FRAMES_AT + 90, 0);
    let fault = format!("{} at byte 8192 (seq 1): the frame's checksum is wrong", names::segment(FIRST));
    told([&whole, &damaged], Some(0), &[FIRST], "", &fault);
    // Behind the end of its frames.
    let differing = small_log();
    differing.flip_bit(&names::segment(FIRST), 1 << 19, 0);
    told([&whole, &differing], None, &[FIRST], "", "the logs are the same, and the files were not");
    // An opening begins a segment and prepares another.
    let behind = "it ended with seq 8, and the other side with seq 9";
    told([&one_ahead(), &whole], None, &[SPARE + 1, SPARE + 2], ", durable.mark", behind);
}

#[test]
fn what_was_left_half_made_is_removed_for_good_on_the_better_side_too() {
    let (primary, mirror) = (small_log(), small_log());
    let half = names::temporary(&names::segment(0x55));
    put(&primary, &half, b"half");
    primary.sync_directory().unwrap();
    reconcile(&primary, &mirror).unwrap();
    for seed in 0..32 {
        assert_eq!(primary.survivor(seed).read(&half), None, "{seed}");
    }
}

#[test]
fn a_mark_of_which_one_half_cannot_be_read_is_copied_as_far_as_it_can_be() {
    for slot in 0..2 {
        let (ahead, behind) = (small_log(), small_log());
        commit(&open(&ahead, &manual()).unwrap().0, 100, b"one more");
        ahead.lose_sectors(names::MARK, slot * BLOCK + 512..slot * BLOCK + 1024);
        let left = |disk: &SimDisk| {
            let file = disk.open(names::MARK).unwrap();
            mark::Mark::read(&*file, ReadFrom::Device).unwrap().unwrap()
        };
        let before = left(&ahead);
        reconcile(&ahead, &behind).unwrap();
        assert_eq!((left(&ahead), left(&behind)), (before, before), "{slot}");
        assert_eq!(open(&behind, &manual()).unwrap().2.len(), 9);
        // It heals when it is written next.
        reconcile(&ahead, &behind).unwrap();
        assert_eq!(open(&ahead, &manual()).unwrap().2.len(), 9);
    }
}

#[test]
fn what_cannot_be_read_behind_the_end_of_a_segment_is_not_needed_of_the_better_side() {
    for (at, is_needed) in [(FRAMES_AT + BLOCK, true), (1 << 19, false)] {
        let (ahead, behind) = (small_log(), small_log());
        commit(&open(&ahead, &manual()).unwrap().0, 100, b"one more");
        ahead.lose_sectors(&names::segment(FIRST), at..at + 512);
        let before = ahead.names();
        match reconcile(&ahead, &behind) {
            Ok(()) => assert!(!is_needed),
            // Then it is a damaged side, and has what the other lacks.
            Err(OpenError::Damaged { .. }) => assert!(is_needed),
            Err(other) => panic!("{other}"),
        }
        assert_eq!(ahead.names(), before);
        assert_eq!(open(&behind, &manual()).unwrap().2.len(), if is_needed { 8 } else { 9 });
    }
}

#[test]
fn a_history_that_leads_nowhere_near_is_told_from_one_that_leads_elsewhere() {
    // The better side begins with seq 3, since a snapshot has what was before.
    let better = small_log();
    better.erase(&names::segment(FIRST));
    put(&better, "2.snapshot", b"of seq 2");
    let ending_with = |commits: i64| {
        let disk = SimDisk::new(4);
        let (wal, ..) = open(&disk, &manual()).unwrap();
        for at in 0..commits {
            commit(&wal, at, b"another history");
        }
        wal.close().unwrap();
        disk
    };
    let elsewhere = "its history up to seq 2 is not that of simulated disk";
    assert!(
        words(&better, &ending_with(1))
            .starts_with("it ends with seq 1, and simulated disk begins with seq 3; empty it")
    );
    assert_eq!(words(&better, &ending_with(2)), elsewhere);
    assert_eq!(words(&ending_with(2), &better), elsewhere);
    assert_eq!(words(&better, &ending_with(4)), elsewhere.replace('2', "4"));
    // The same history, as far as the first seq that the better one has, is led from.
    let same = small_log();
    same.erase(&names::segment(LAST));
    same.erase(&names::segment(SPARE));
    same.erase(&names::segment(MIDDLE));
    put(&same, "2.snapshot", b"of seq 2");
    let (uuid, chain) = (Uuid::from_u128(0x1ed9e7), super::judged::frame_chain(&same, FIRST, 4 * 4096));
    for count in 0..2 {
        let mark = mark::Mark { uuid, epoch: Epoch::new(1), seq: Seq::new(2), chain, count };
        same.overwrite(names::MARK, count * 4096, &mark.encode());
    }
    assert_eq!(scan_records(&same).unwrap().1.len(), 2);
    reconcile(&same, &better).unwrap();
    assert!(is_same(&same, &better));
}

#[test]
fn a_damaged_side_is_mended_if_the_other_has_all_that_it_is_known_to_have_had() {
    let damaged = |disk: &SimDisk| {
        let bad = disk.after_kill();
        bad.flip_bit(&names::segment(FIRST), 2 * 4096 + 90, 0);
        bad
    };
    let (whole, behind) = (small_log(), small_log());
    let ahead = small_log();
    let (wal, ..) = open(&ahead, &manual()).unwrap();
    for at in 0..3 {
        commit(&wal, 100 + at, b"more");
    }
    drop(wal);
    reconcile(&whole, &damaged(&whole)).unwrap();
    let bad = damaged(&behind);
    reconcile(&bad, &ahead).unwrap();
    assert!(is_same(&bad, &ahead));
    let reason = words(&small_log(), &damaged(&ahead));
    assert!(reason.contains("it had been durable, and the other side ends with seq 8"), "{reason}");
    // Both damaged, or one and an empty one: nothing is done.
    let both = words(&damaged(&whole), &damaged(&whole));
    let (own, mirrors) = both.split_once("; the mirror is damaged as well, ").expect("both are told of");
    assert!(own.contains("checksum") && mirrors.contains(" at byte ") && mirrors.contains("checksum"), "{both}");
    assert!(words(&damaged(&whole), &SimDisk::new(9)).contains("checksum"));
    assert!(words(&SimDisk::new(9), &damaged(&whole)).contains("checksum"));
    reconcile(&SimDisk::new(8), &SimDisk::new(9)).unwrap();
}

/// The small log with one commit more, of which nothing says yet that it is durable.
fn one_ahead() -> SimDisk {
    let disk = small_log();
    let (wal, ..) = open(&disk, &manual()).unwrap();
    commit(&wal, 100, b"one more");
    // Before the log is dropped, which would bring the mark up to date.
    disk.after_kill()
}

/// Neither side is changed.
fn refused(primary: &SimDisk, mirror: &SimDisk) -> OpenError {
    let contents = |disk: &SimDisk| disk.names().into_iter().map(|name| (disk.read(&name), name)).collect::<Vec<_>>();
    let before = (contents(primary), contents(mirror));
    let refused = reconcile(primary, mirror).unwrap_err();
    assert!(before == (contents(primary), contents(mirror)), "{refused}");
    refused
}

fn last_used(disk: &SimDisk) -> String {
    let is_used = |name: &String| name.ends_with("segment") && disk.written(name).unwrap() > FRAMES_AT;
    disk.names().into_iter().filter(is_used).max().unwrap()
}

#[test]
fn a_side_that_is_ahead_and_cannot_be_read_behind_its_frames_is_not_overwritten() {
    let lose = |disk: &SimDisk| {
        let bad = disk.after_kill();
        bad.lose_sectors(&names::segment(FIRST), 8 * BLOCK..8 * BLOCK + 512);
        bad
    };
    let behind = small_log();
    for is_mirror_behind in [true, false] {
        let ahead = lose(&one_ahead());
        let behind = behind.after_kill();
        let sides = if is_mirror_behind { (&ahead, &behind) } else { (&behind, &ahead) };
        reconcile(sides.0, sides.1).unwrap();
        for side in [&behind, &ahead] {
            assert_eq!(scan_records(side).unwrap().1.len(), 9);
        }
    }
    // Where the other one has the same log, it takes its place.
    let bad = lose(&behind);
    reconcile(&bad, &behind).unwrap();
    assert!(is_same(&bad, &behind));
    let after_a_cut = bad.survivor(0);
    assert!(after_a_cut.open(&names::segment(FIRST)).unwrap().read_at(&mut [0; 512], 8 * BLOCK).is_ok());
}

#[test]
fn a_side_that_cannot_be_read_for_a_time_is_not_overwritten_by_one_that_may_be_behind() {
    let behind = small_log();
    let hides = |bad: &SimDisk, behind: &SimDisk| {
        for sides in [(bad, behind), (behind, bad)] {
            match refused(sides.0, sides.1) {
                OpenError::Damaged { reason, .. } => {
                    let reasons = ["what cannot be read there", "it has entries up to seq 9"];
                    assert!(reasons.iter().any(|known| reason.contains(known)), "{reason}");
                }
                other => panic!("{other}"),
            }
        }
    };
    // All of it.
    let ahead = one_ahead();
    let bad = ahead.after_kill();
    bad.names().iter().for_each(|name| bad.lose_sectors(name, 0..u64::MAX));
    hides(&bad, &behind);
    // The header of a segment that the other side never had, or what stands in it.
    for lost in [0..512, FRAMES_AT..FRAMES_AT + 512] {
        let bad = ahead.after_kill();
        bad.lose_sectors(&last_used(&ahead), lost);
        hides(&bad, &behind);
    }
    let bad = ahead.after_kill();
    bad.overwrite(&last_used(&ahead), 0, &[0; 4096]);
    hides(&bad, &behind);
    // The mark, and the end of a segment that both have.
    let disk = SimDisk::new(1);
    let (wal, ..) = open(&disk, &manual()).unwrap();
    commit(&wal, 1, b"on both");
    let both = disk.after_kill();
    for at in 2..5 {
        commit(&wal, at, b"on one alone");
    }
    let bad = disk.after_kill();
    bad.lose_sectors(names::MARK, 0..2 * BLOCK);
    bad.lose_sectors(&last_used(&disk), FRAMES_AT + BLOCK..FRAMES_AT + 4 * BLOCK);
    hides(&bad, &both);
    // When all can be read again, the other side gets it.
    reconcile(&behind, &ahead).unwrap();
    assert_eq!(open(&behind.survivor(0), &manual()).unwrap().2.len(), 9);
}
