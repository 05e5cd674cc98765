//! Whatever is damaged: the frames before it are taken, as they were, and what is left is listed.

use super::forgery::{head_then, history, segments_of};
use super::*;

fn salvage_from(disk: &SimDisk) -> Result<(super::super::salvage::Taken, Records, SimDisk), OpenError> {
    let into = SimDisk::new(2);
    let mut records = Records::new();
    let before = disk.operations();
    let taken = super::super::salvage::salvage(disk, &into, &|_| Ok(()), &|_| Ok(vec![]), &mut |record| {
        records.push((record.time.micros(), record.bytes.to_vec()));
        Ok(())
    })?;
    assert_eq!(disk.operations(), before, "the source is only read");
    records.truncate(taken.last.seq.get() as usize);
    Ok((taken, records, into))
}

fn story() -> (SimDisk, Vec<Head>, Records) {
    let (disk, heads) = history(&[(vec![2, 1, 3], true), (vec![3, 2], false), (vec![1, 2, 2], true)]);
    let records = scan_records(&disk).unwrap().1;
    (disk, heads, records)
}

/// Salvages a damaged copy and judges the outcome; how many records were taken.
fn judge(bad: &SimDisk, heads: &[Head], records: &Records, epoch: Epoch, what: &str) -> usize {
    match salvage_from(bad) {
        Err(OpenError::Damaged { .. }) => 0,
        Err(other) => panic!("{what}: {other}"),
        Ok((taken, found, into)) => {
            assert_eq!(found[..], records[..found.len()], "{what}");
            // All that was synced is there, and nothing else is needed.
            let (_, opened, again) = open(&into.survivor(3), &manual()).unwrap();
            assert_eq!(again, found, "{what}");
            assert!(opened.epoch > epoch && opened.torn.is_none(), "{what}: {opened:?}");
            for head in heads.iter().filter(|head| head.seq <= taken.last.seq) {
                assert_eq!(head_then(&into, head.seq).unwrap(), Some(*head), "{what}");
            }
            if found.len() < records.len() {
                let is_said = !taken.left.is_empty() || taken.known_durable > taken.last.seq;
                assert!(is_said, "{what}: {} of {} and nothing given up", found.len(), records.len());
            }
            found.len()
        }
    }
}

#[test]
fn a_sound_log_is_taken_whole() {
    let (disk, heads, records) = story();
    assert_eq!(judge(&disk.after_kill(), &heads, &records, Epoch::new(3), "a sound log"), records.len());
    let (taken, ..) = salvage_from(&disk).unwrap();
    assert_eq!((taken.left.len(), taken.known_durable.get() as usize), (0, records.len()));
}

#[test]
fn whatever_is_damaged_all_before_it_is_taken() {
    let (disk, heads, records) = story();
    let (mut whole, mut part, mut none) = (0, 0, 0);
    let before = |name: &str, offset: u64| {
        // What the frames of earlier segments hold, and of this one before the damaged block.
        let cut = disk.after_kill();
        for later in segments_of(&disk).into_iter().filter(|later| later.as_str() > name) {
            cut.erase(&later);
        }
        cut.overwrite(name, offset, &vec![0; (disk.written(name).unwrap() - offset) as usize]);
        salvage_from(&cut).map_or(0, |(_, found, _)| found.len())
    };
    for name in disk.names() {
        let end = disk.written(&name).unwrap();
        for offset in (0..end).step_by(151) {
            let bad = disk.after_kill();
            bad.flip_bit(&name, offset, (offset % 8) as u8);
            let taken = judge(&bad, &heads, &records, Epoch::new(3), &format!("{name} {offset}"));
            let is_segment = name.ends_with("segment");
            let expected = if is_segment { before(&name, offset / 4096 * 4096) } else { records.len() };
            assert!(taken >= expected, "{name} {offset}: {taken} of {expected}");
            match taken {
                0 => none += 1,
                taken if taken == records.len() => whole += 1,
                _ => part += 1,
            }
        }
        let bad = disk.after_kill();
        bad.erase(&name);
        judge(&bad, &heads, &records, Epoch::new(3), &format!("{name} is missing"));
    }
    assert!(whole > 50 && part > 100 && none > 50, "{whole} {part} {none}");
}

#[test]
fn what_was_durable_and_is_lost_is_counted() {
    let (disk, _, records) = story();
    let middle = segments_of(&disk)[1].clone();
    // The second frame of the middle segment.
    disk.flip_bit(&middle, 3 * 4096 + 100, 1);
    let (taken, found, _) = salvage_from(&disk).unwrap();
    assert_eq!((found.len(), taken.known_durable.get() as usize), (9, records.len()));
    let first = &taken.left[0];
    assert_eq!(
        (first.file.as_str(), first.bytes.start, first.reason.as_str()),
        (middle.as_str(), 3 * 4096, "the frame's checksum is wrong")
    );
    assert_eq!(first.seqs, Some((Seq::new(10), Seq::new(11))));
    assert_eq!(taken.left[1].seqs, Some((Seq::new(12), Seq::new(16))));
}

#[test]
fn nothing_is_written_where_something_is() {
    let (disk, ..) = story();
    let into = disk.after_kill();
    let before = into.names();
    let refused = super::super::salvage::salvage(&disk, &into, &|_| Ok(()), &|_| Ok(vec![]), &mut |_| Ok(()));
    assert!(matches!(refused, Err(OpenError::InvalidOption { .. })));
    assert_eq!(into.names(), before);
}
