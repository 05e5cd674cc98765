//! Whether both sides of a mirrored ledger end up with the withdrawals stopped, by what each of them says.

use super::super::{salvage, stop, twin};
use super::judged::{BLOCK, FIRST, LAST, MIDDLE, SPARE, small_log};
use super::*;
use names::{EXECUTOR_RELEASED, EXECUTOR_STOPPED};
use segment::FRAMES_AT;

fn stopped() -> SimDisk {
    let disk = SimDisk::new(1);
    stop::put(&disk).unwrap();
    disk
}

fn text(disk: &SimDisk) -> Option<Vec<u8>> {
    disk.read(EXECUTOR_STOPPED)
}

/// What the sides say when they agree, durably, and how many operations that took on each.
fn settled(from: &SimDisk, to: &SimDisk) -> ([Option<Vec<u8>>; 2], [u64; 2]) {
    let sides = [from.after_kill(), to.after_kill()];
    stop::settle(&sides[0], &sides[1]).unwrap();
    let after = sides.each_ref().map(text);
    for seed in 0..8 {
        assert_eq!(sides.each_ref().map(|side| text(&side.survivor(seed))), after);
    }
    (after, sides.each_ref().map(SimDisk::operations))
}

#[test]
fn a_stop_is_put_on_both_sides_unless_one_has_let_go_of_it() {
    let (none, stop) = (SimDisk::new(1), stopped());
    assert_eq!(settled(&none, &none), ([None, None], [0, 0]));
    for sides in [[&stop, &none], [&none, &stop]] {
        assert_eq!(settled(sides[0], sides[1]).0, [text(&stop), text(&stop)]);
    }
    let released = stop.after_kill();
    stop::release(&released).unwrap();
    for sides in [[&stop, &released], [&released, &stop]] {
        assert_eq!(settled(sides[0], sides[1]).0, [None, None]);
    }
    // Of another one, and of one that was put there again.
    let other = stopped();
    assert_ne!(text(&other), text(&stop));
    for sides in [[&other, &released], [&released, &other]] {
        assert_eq!(settled(sides[0], sides[1]).0, [text(&other), text(&other)]);
    }
    let again = released.after_kill();
    stop::put(&again).unwrap();
    assert_eq!(settled(&stop, &again).0, [text(&stop), text(&stop)]);
    stop::release(&again).unwrap();
    assert_eq!(settled(&stop, &again).0, [text(&stop), text(&stop)], "the last that was let go is told");
}

#[test]
fn of_two_stops_that_of_the_ledger_is_kept_unless_it_is_nobodys() {
    let (one, other) = (stopped(), stopped());
    assert_eq!(settled(&one, &one).1, [0, 0], "nothing is written where they are the same");
    assert_eq!(settled(&one, &other).0, [text(&one), text(&one)]);
    // Made by hand, or not to be read.
    let (by_hand, unread) = (SimDisk::new(1), stopped());
    by_hand.create(EXECUTOR_STOPPED).unwrap();
    by_hand.sync_directory().unwrap();
    unread.lose_sectors(EXECUTOR_STOPPED, 0..512);
    for nobodys in [&by_hand, &unread] {
        let (after, operations) = settled(nobodys, &one);
        assert_eq!((&after[1], operations), (&text(&one), [0, 0]));
        assert_eq!(settled(&one, nobodys).0[1], text(&one));
        assert_eq!(settled(nobodys, nobodys).1, [0, 0]);
        // Nobody can have let go of it.
        let released = nobodys.after_kill();
        stop::release(&released).unwrap();
        assert_eq!((text(&released), released.read(EXECUTOR_RELEASED)), (None, None));
    }
    assert_eq!(settled(&by_hand, &SimDisk::new(1)).0, [Some(vec![]), Some(vec![])]);
}

/// A small log of which a byte is wrong.
fn damaged() -> SimDisk {
    let disk = small_log();
    disk.flip_bit(&names::segment(FIRST), FRAMES_AT + 90, 0);
    disk
}

fn reconcile(primary: &SimDisk, mirror: &SimDisk) -> Result<(), OpenError> {
    twin::reconcile(primary, mirror, &WalOptions::default())
}

#[test]
fn a_damaged_side_that_was_restored_is_not_filled_from_one_that_was_not() {
    let (sound, bad) = (small_log(), damaged());
    stop::put(&bad).unwrap();
    for sides in [[&sound, &bad], [&bad, &sound]] {
        let before = sides.map(|side| side.names().into_iter().map(|name| side.read(&name)).collect::<Vec<_>>());
        match reconcile(sides[0], sides[1]) {
            Err(OpenError::InvalidOption { reason }) => {
                assert!(reason.contains("was restored or salvaged"), "{reason}")
            }
            other => panic!("{other:?}"),
        }
        let after = sides.map(|side| side.names().into_iter().map(|name| side.read(&name)).collect::<Vec<_>>());
        assert!(before == after);
    }
    // Where the sound one is stopped too, or has let go of that stop, it is.
    let stopped = sound.after_kill();
    stop::put(&stopped).unwrap();
    reconcile(&stopped, &bad.after_kill()).unwrap();
    let released = sound.after_kill();
    twin::copy_files(&bad, &released, &[EXECUTOR_STOPPED.to_owned()]).unwrap();
    stop::release(&released).unwrap();
    let mended = bad.after_kill();
    reconcile(&released, &mended).unwrap();
    assert_eq!(text(&mended), None);
    assert_eq!(open(&mended, &manual()).unwrap().2.len(), 8);
}

#[test]
fn what_says_nothing_is_told_from_what_was_lost() {
    let of = |disk: &SimDisk| salvage::evidence(disk).unwrap();
    let found = of(&small_log());
    assert_eq!((found.durable, found.whole, found.epoch), (Seq::new(7), Seq::new(8), Epoch::new(3)));
    assert_eq!((found.is_mark_unread, found.unread, found.headless), (false, None, None));
    // A header of zeros can be read.
    let zeroed = small_log();
    zeroed.overwrite(&names::segment(MIDDLE), 0, &[0; BLOCK as usize]);
    assert_eq!((of(&zeroed).unread, of(&zeroed).headless), (None, Some(MIDDLE)));
    let lost = small_log();
    lost.lose_sectors(&names::segment(MIDDLE), 0..512);
    assert_eq!((of(&lost).unread, of(&lost).headless), (Some(MIDDLE), Some(MIDDLE)));
    // A frame that is not whole is none, though its header says what was durable.
    let torn = small_log();
    torn.flip_bit(&names::segment(LAST), FRAMES_AT + 2 * BLOCK + 90, 0);
    assert_eq!((of(&torn).durable, of(&torn).whole), (Seq::new(7), Seq::new(7)));
    // One of an earlier opening is what that left unfinished; a spare is the last one's.
    let earlier = small_log();
    earlier.erase(&names::segment(LAST));
    assert_eq!(of(&earlier).whole, Seq::ZERO);
    earlier.erase(&names::segment(SPARE));
    assert_eq!(of(&earlier).whole, Seq::new(5));
}

#[test]
fn a_damaged_side_is_mended_wherever_what_cannot_be_read_hides_nothing() {
    let mended = |lose: &dyn Fn(&SimDisk)| {
        let (sound, bad) = (small_log(), small_log());
        lose(&bad);
        for sides in [[&sound, &bad.after_kill()], [&bad.after_kill(), &sound]] {
            match reconcile(sides[0], sides[1]) {
                Ok(()) => {
                    sides.iter().for_each(|side| assert_eq!(open(&side.after_kill(), &manual()).unwrap().2.len(), 8))
                }
                Err(OpenError::Damaged { reason, .. }) => {
                    assert!(reason.contains("what cannot be read there may be later than seq 8"), "{reason}");
                    return false;
                }
                Err(other) => panic!("{other}"),
            }
        }
        true
    };
    let lose_mark = |disk: &SimDisk| disk.lose_sectors(names::MARK, 0..2 * BLOCK);
    let lose = |disk: &SimDisk, segment: u64| {
        disk.lose_sectors(&names::segment(segment), FRAMES_AT + BLOCK..FRAMES_AT + BLOCK + 512);
    };
    assert!(mended(&lose_mark));
    assert!(mended(&|disk| lose(disk, FIRST)));
    assert!(mended(&|disk| lose(disk, LAST)));
    assert!(mended(&|disk| {
        lose_mark(disk);
        lose(disk, MIDDLE);
    }));
    assert!(!mended(&|disk| {
        lose_mark(disk);
        lose(disk, LAST);
    }));
    // Nothing says whose it is, and not all that there is can be read.
    let erase_all = |disk: &SimDisk| {
        let segments = disk.names().into_iter().filter(|name| names::segment_number(name).is_some());
        segments.for_each(|name| disk.erase(&name));
    };
    assert!(!mended(&|disk| {
        erase_all(disk);
        lose_mark(disk);
    }));
    assert!(mended(&|disk| {
        erase_all(disk);
        disk.overwrite(names::MARK, 0, &[0; 2 * BLOCK as usize]);
    }));
}

#[test]
fn a_newer_format_on_one_side_is_not_overwritten() {
    let (sound, newer) = (small_log(), small_log());
    let name = names::segment(MIDDLE);
    let mut block: [u8; BLOCK as usize] = newer.read(&name).unwrap()[..BLOCK as usize].try_into().unwrap();
    (block[8], block[10]) = (3, 3);
    segment::seal_block(&mut block, super::judged::seal());
    newer.overwrite(&name, 0, &block);
    for sides in [[&sound, &newer], [&newer, &sound]] {
        assert!(matches!(reconcile(sides[0], sides[1]), Err(OpenError::Unsupported { .. })));
        assert_eq!(newer.read(&name).unwrap()[..BLOCK as usize], block);
    }
}

#[test]
fn a_file_beside_the_log_of_which_a_sector_is_lost_is_not_copied_as_zeros() {
    for is_sound in [true, false] {
        let (full, other) = (small_log(), if is_sound { SimDisk::new(2) } else { damaged() });
        full.create("5.torn").unwrap();
        full.overwrite("5.torn", 0, &[7; 3 * BLOCK as usize]);
        reconcile(&full, &other.after_kill()).unwrap();
        full.lose_sectors("5.torn", BLOCK..BLOCK + 512);
        let bad = other.after_kill();
        let fault = reconcile(&full, &bad).unwrap_err();
        assert!(fault.is_damage(), "{fault}");
        assert_eq!(bad.read("5.torn"), None);
    }
}
