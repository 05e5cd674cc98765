//! Whatever one side of a mirrored log loses, its twin has; and no side is overwritten by one that has less.

use super::*;
use crate::mirror::{MirroredStorage, OnSideFailure};
use crate::sim::Fault;

fn open_pair(sides: &[SimDisk; 2], policy: OnSideFailure) -> Result<(Wal, Records), OpenError> {
    let [primary, mirror] = [0, 1].map(|side| Arc::new(sides[side].clone()) as Arc<dyn Storage>);
    let storage = MirroredStorage::open(primary, mirror, policy)?;
    let (wal, _, records) = open_on(Arc::new(storage), &manual())?;
    Ok((wal, records))
}

/// Three openings, closed or killed; every record was synced, and in the last opening the mark has not followed.
fn mirrored() -> ([SimDisk; 2], Records) {
    let sides = [SimDisk::new(1), SimDisk::new(2)];
    for round in 0..3 {
        let (wal, _) = open_pair(&sides, OnSideFailure::Halt).unwrap();
        for at in 0..3 {
            commit(&wal, round * 10 + at, &[at as u8; 70]);
        }
        match round {
            0 => wal.close().unwrap(),
            1 => {}
            // Before the log is dropped, which would bring the mark up to date.
            _ => {
                let records = scan_records(&sides[0]).unwrap().1;
                assert_eq!(records.len(), 9);
                return (killed(&sides), records);
            }
        }
    }
    unreachable!("the third round returns")
}

fn killed(sides: &[SimDisk; 2]) -> [SimDisk; 2] {
    [sides[0].after_kill(), sides[1].after_kill()]
}

/// Opens the pair and then each side alone: everything is on both.
fn check_whole(sides: &[SimDisk; 2], records: &Records, what: &str) {
    let (wal, found) = open_pair(sides, OnSideFailure::Halt).unwrap_or_else(|fault| panic!("{what}: {fault}"));
    assert_eq!(&found, records, "{what}");
    drop(wal);
    for side in sides {
        let (.., found) = open(&side.survivor(1), &manual()).unwrap_or_else(|fault| panic!("{what}: {fault}"));
        assert_eq!(&found, records, "{what}: a side alone");
    }
}

#[test]
fn any_damage_to_one_side_is_mended_from_the_other() {
    let (sides, records) = mirrored();
    let mut images = 0;
    for side in 0..2 {
        for name in sides[side].names() {
            let end = sides[side].written(&name).unwrap();
            for offset in (0..end + 1).step_by(613) {
                // The power failed as well: what was not synced is gone on both sides, each in its own way.
                let bad = [sides[0].survivor(offset), sides[1].survivor(offset + 1)];
                bad[side].flip_bit(&name, offset.min(end - 1), (offset % 8) as u8);
                check_whole(&bad, &records, &format!("side {side}, {name} at {offset}"));
                images += 1;
            }
            for length in [0, 4096, end / 2, end - 1] {
                let bad = killed(&sides);
                bad[side].truncate(&name, length);
                check_whole(&bad, &records, &format!("side {side}, {name} cut to {length}"));
                images += 1;
            }
            let bad = killed(&sides);
            bad[side].erase(&name);
            check_whole(&bad, &records, &format!("side {side} without {name}"));
            images += 1;
        }
        let mut bad = killed(&sides);
        bad[side] = SimDisk::new(7);
        check_whole(&bad, &records, &format!("side {side} is a new disk"));
    }
    assert!(images > 200, "{images}");
}

#[test]
fn the_last_frame_that_rots_before_the_mark_followed_is_on_the_other_side() {
    let (sides, records) = mirrored();
    let last = |side: usize| {
        let names = sides[side].names().into_iter().filter(|name| name.ends_with("segment"));
        names.filter(|name| sides[side].written(name).unwrap() > 2 * 4096).max().unwrap()
    };
    for side in 0..2 {
        let name = last(side);
        let frame = sides[side].written(&name).unwrap() / 4096 * 4096 - 4096;
        let bad = [sides[0].survivor(0), sides[1].survivor(0)];
        bad[side].overwrite(&name, frame, &[0; 4096]);
        let alone = open(&bad[side].after_kill(), &manual()).unwrap().2;
        assert!(alone.len() < records.len(), "alone, this side does not know what it lost");
        check_whole(&bad, &records, &format!("side {side}"));
    }
}

#[test]
fn the_power_may_fail_at_every_operation_of_either_side() {
    let mut images = 0;
    for cut in 0..400 {
        for side in 0..2 {
            let sides = [SimDisk::new(1), SimDisk::new(2)];
            sides[side].crash_after(cut);
            let mut acknowledged = 0;
            'work: for round in 0..2 {
                let Ok((wal, found)) = open_pair(&sides, OnSideFailure::Halt) else { break };
                assert!(found.len() >= acknowledged);
                for at in 0..4 {
                    let Ok(stamp) = append(&wal, round * 10 + at, &[at as u8; 70]) else { break 'work };
                    if wal.wait(stamp.seq, Level::Durable).is_err() {
                        break 'work;
                    }
                    acknowledged = stamp.seq.get() as usize;
                }
            }
            for seed in 0..3 {
                let after = [sides[0].survivor(seed), sides[1].survivor(seed + 9)];
                let (_, found) = open_pair(&after, OnSideFailure::Halt)
                    .unwrap_or_else(|fault| panic!("cut {cut} of {side}: {fault}"));
                assert!(found.len() >= acknowledged, "cut {cut} of {side}: {} of {acknowledged}", found.len());
                images += 1;
            }
        }
    }
    assert!(images > 2_000, "{images}");
}

#[test]
fn a_side_that_fails_halts_the_ledger_or_is_gone_without_as_was_chosen() {
    for side in 0..2 {
        let (sides, records) = mirrored();
        let sides = killed(&sides);
        let (wal, _) = open_pair(&sides, OnSideFailure::Halt).unwrap();
        sides[side].fail_at(sides[side].operations(), Fault::EioForever);
        let stamp = append(&wal, 100, b"lost or not").unwrap();
        assert!(wal.wait(stamp.seq, Level::Durable).unwrap_err().outcome_unknown);
        assert!(wal.degraded().is_none());
        drop(wal);

        let sides = [sides[0].survivor(5), sides[1].survivor(6)];
        let (wal, found) = open_pair(&sides, OnSideFailure::GoOn).unwrap();
        assert!(found.len() >= records.len());
        sides[side].fail_at(sides[side].operations(), Fault::EioForever);
        for at in 0..20 {
            commit(&wal, 200 + at, &[at as u8; 3_000]);
        }
        let word = ["primary directory", "mirror"][side];
        assert!(wal.degraded().is_some_and(|reason| reason.contains(word)), "{:?}", wal.degraded());
        drop(wal);
        let sides = [sides[0].survivor(7), sides[1].survivor(8)];
        let whole = open(&sides[1 - side].after_kill(), &manual()).unwrap().2;
        assert_eq!(whole.len(), found.len() + 20);
        check_whole(&sides, &whole, &format!("side {side} had been gone without"));
    }
}

#[test]
fn a_side_that_has_less_or_another_history_overwrites_nothing() {
    let refused = |sides: &[SimDisk; 2], what: &str| {
        let before =
            [0, 1].map(|side| sides[side].names().into_iter().map(|name| sides[side].read(&name)).collect::<Vec<_>>());
        let refused = open_pair(sides, OnSideFailure::Halt).map(|_| ());
        let is_refused = match what {
            "another ledger" => matches!(refused, Err(OpenError::InvalidOption { .. })),
            _ => matches!(refused, Err(OpenError::Damaged { .. })),
        };
        assert!(is_refused, "{what}: {refused:?}");
        let after =
            [0, 1].map(|side| sides[side].names().into_iter().map(|name| sides[side].read(&name)).collect::<Vec<_>>());
        assert!(before == after, "{what}: something was changed");
    };
    // The mirror stayed behind, and then the primary is damaged where only it had the entries.
    let (sides, _) = mirrored();
    let old = sides[1].after_kill();
    let (wal, ..) = open(&sides[0], &manual()).unwrap();
    for at in 0..10 {
        commit(&wal, 100 + at, &[at as u8; 70]);
    }
    wal.close().unwrap();
    let first = names::segment(1);
    let damaged = sides[0].after_kill();
    damaged.flip_bit(&first, 2 * 4096 + 90, 0);
    refused(&[damaged, old.after_kill()], "a sound mirror that is behind");
    // Each side went on alone.
    let (wal, ..) = open(&old, &manual()).unwrap();
    commit(&wal, 100, b"another");
    wal.close().unwrap();
    refused(&[sides[0].after_kill(), old.after_kill()], "two histories");
    let other = SimDisk::new(3);
    open(&other, &WalOptions { uuid: Some(Uuid::from_u128(2)), ..manual() }).unwrap().0.close().unwrap();
    refused(&[sides[0].after_kill(), other.after_kill()], "another ledger");
    let rotten = other.after_kill();
    rotten.flip_bit(&first, 4096 + 90, 0);
    refused(&[sides[0].after_kill(), rotten], "another ledger, damaged");
}
