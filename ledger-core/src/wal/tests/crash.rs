//! The power fails at every storage operation of a mixed workload, and again at every operation of the recovery.
//!
//! After each: acknowledged ⊆ recovered ⊆ submitted, recovered is a prefix, and recovering again changes nothing.
//! `LEDGER_SEEDS` runs more seeds than the few that every test run can afford.

use super::*;
use crate::sim::{Fault, PlantedBug};

/// What was asked of a log, and what it promised.
#[derive(Clone, Default)]
pub(super) struct World {
    submitted: Records,
    /// So many of them must be there.
    acknowledged: usize,
}

impl World {
    /// Compares with what a recovery brought back; that is then the truth.
    pub(super) fn check(&mut self, recovered: &Records) -> Result<(), String> {
        if recovered.len() < self.acknowledged {
            return Err(format!("{} were acknowledged and {} recovered", self.acknowledged, recovered.len()));
        }
        if recovered.len() > self.submitted.len() || self.submitted[..recovered.len()] != recovered[..] {
            return Err("what was recovered is no prefix of what was submitted".to_owned());
        }
        self.submitted.truncate(recovered.len());
        self.acknowledged = recovered.len();
        Ok(())
    }

    pub(super) fn append(&mut self, wal: &Wal, random: &mut Random) -> Option<Seq> {
        let length = match random.below(16) {
            0 => 60_000 + random.below(150_000),
            1..=4 => 1_000 + random.below(9_000),
            _ => random.below(200),
        };
        let record: Vec<u8> = (0..length).map(|at| (at * 7 + length) as u8 | 1).collect();
        let at = self.submitted.len() as i64 * 10;
        let stamp = append(wal, at, &record).ok()?;
        self.submitted.push((stamp.time.micros(), record));
        assert_eq!(stamp.seq.get(), self.submitted.len() as u64);
        Some(stamp.seq)
    }

    pub(super) fn wait(&mut self, wal: &Wal, seq: Seq, level: Level) -> Option<()> {
        match wal.wait(seq, level) {
            Ok(()) => {
                let is_promise = level == Level::Durable || wal.shared().options.durability == Durability::Sync;
                if is_promise {
                    self.acknowledged = self.acknowledged.max(seq.get() as usize);
                }
                Some(())
            }
            Err(halted) => {
                assert!(halted.outcome_unknown);
                None
            }
        }
    }
}

/// Appends, waits, closes and reopens as `seed` says, until something fails. `Err`: a promise was broken.
pub(super) fn work(disk: &SimDisk, options: &WalOptions, seed: u64, world: &mut World) -> Result<(), String> {
    let mut random = Random::new(seed);
    for _ in 0..=random.below(3) {
        let Ok((wal, _, records)) = open(disk, options) else { return Ok(()) };
        world.check(&records)?;
        for _ in 0..4 + random.below(12) {
            let mut last = None;
            for _ in 0..=random.below(4) {
                match world.append(&wal, &mut random) {
                    Some(seq) => last = Some(seq),
                    None => return Ok(()),
                }
            }
            let level = if random.below(3) == 0 { Level::Durable } else { Level::Acknowledged };
            if let Some(seq) = last
                && world.wait(&wal, seq, level).is_none()
            {
                return Ok(());
            }
        }
        if random.below(2) == 0 {
            match wal.close() {
                Ok(()) => world.acknowledged = world.submitted.len(),
                Err(_) => return Ok(()),
            }
        }
    }
    Ok(())
}

pub(super) fn recover(disk: &SimDisk, options: &WalOptions, world: &World) -> Result<Records, String> {
    let scanned = scan_records(disk).map_err(|err| format!("the scan refused: {err}"))?.1;
    let (_, _, records) = open(disk, options).map_err(|err| format!("refused: {err}"))?;
    world.clone().check(&records)?;
    if scanned != records {
        return Err("the scan and the opening disagree".to_owned());
    }
    Ok(records)
}

/// Opens `image` with the power failing at every operation of the opening, then opens what survives that.
fn crash_the_recovery(image: &SimDisk, options: &WalOptions, world: &World, seed: u64) -> Result<u64, String> {
    let probe = image.after_kill();
    let records = recover(&probe, options, world)?;
    let operations = probe.operations();
    let again = recover(&probe.survivor(seed), options, world)?;
    if again != records {
        return Err("recovering twice gave something else".to_owned());
    }
    let mut images = 2;
    // Most of an opening's operations write zeros; of those a few cuts are enough.
    for cut in (0..operations).filter(|cut| operations < 40 || cut % 3 == 0) {
        let interrupted = image.after_kill();
        interrupted.crash_after(cut);
        let _ = open(&interrupted, options);
        recover(&interrupted.survivor(seed ^ cut), options, world)
            .map_err(|err| format!("recovery cut at {cut}: {err}"))?;
        images += 1;
    }
    Ok(images)
}

/// Cuts the workload of `seed` at every operation. Returns how many images were reopened.
fn crash_everywhere(options: &WalOptions, seed: u64, thorough: bool) -> Result<u64, String> {
    let disk = SimDisk::new(seed);
    work(&disk, options, seed, &mut World::default())?;
    let operations = disk.operations();
    let mut images = 0;
    for cut in 0..operations {
        let disk = SimDisk::new(seed);
        disk.crash_after(cut);
        let mut world = World::default();
        work(&disk, options, seed, &mut world)?;
        for outcome in 0..if thorough { 2 } else { 4 } {
            let at = |err: String| format!("seed={seed} cut={cut} outcome={outcome}: {err}");
            let image = disk.survivor(cut * 16 + outcome);
            if thorough {
                images += crash_the_recovery(&image, options, &world, seed ^ cut).map_err(at)?;
            } else {
                let records = recover(&image, options, &world).map_err(at)?;
                // Life goes on: more is appended, the power fails once more, and all of it is there.
                let mut next = World { acknowledged: records.len(), submitted: records };
                work(&image, options, seed ^ cut, &mut next).map_err(at)?;
                recover(&image.survivor(outcome), options, &next).map_err(at)?;
                images += 2;
            }
        }
    }
    Ok(images)
}

fn seeds(usually: u64) -> u64 {
    std::env::var("LEDGER_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(usually)
}

fn sweep(options: &WalOptions, seeds: std::ops::Range<u64>, thorough: bool) -> u64 {
    seeds.map(|seed| crash_everywhere(options, seed, thorough).unwrap_or_else(|err| panic!("{err}"))).sum()
}

#[test]
fn no_power_cut_loses_what_was_acknowledged() {
    let images = sweep(&manual(), 0..seeds(3), false);
    assert!(images > 1_000, "{images}");
}

#[test]
fn no_power_cut_loses_what_was_asked_to_be_durable() {
    sweep(&interval(), 100..100 + seeds(3), false);
}

#[test]
fn a_recovery_can_itself_be_cut_anywhere() {
    sweep(&manual(), 200..200 + seeds(1), true);
    sweep(&interval(), 300..300 + seeds(1), true);
}

/// A sync fails and loses its pages; the process opens the log again on the same machine, goes on, and loses power.
fn lose_pages_everywhere(options: &WalOptions, seed: u64) -> Result<(), String> {
    let disk = SimDisk::new(seed);
    work(&disk, options, seed, &mut World::default())?;
    for at in 0..disk.operations() {
        let context = |err: String| format!("seed={seed} fault at {at}: {err}");
        let disk = SimDisk::new(seed);
        disk.fail_at(at, Fault::FailedFsyncLosesPages);
        let mut world = World::default();
        work(&disk, options, seed, &mut world).map_err(context)?;
        let next = disk.after_kill();
        recover(&next.survivor(at), options, &world).map_err(context)?;
        let mut later = world.clone();
        work(&next, options, seed + 1, &mut later).map_err(context)?;
        recover(&next.survivor(at), options, &later).map_err(context)?;
    }
    Ok(())
}

#[test]
fn a_mark_that_a_second_torn_write_made_whole_again_is_understood() {
    // The newer slot was torn; the recovery went by the older one, copied the last frame, and its own write of the mark
    // was torn so that the old bytes of that slot came together again: right about the seq, with the chain of before.
    let (options, seed, cut, outcome, interrupted_at) = (interval(), 300, 36, 1, 14);
    let disk = SimDisk::new(seed);
    disk.crash_after(cut);
    let mut world = World::default();
    work(&disk, &options, seed, &mut world).unwrap();
    let image = disk.survivor(cut * 16 + outcome);
    image.crash_after(interrupted_at);
    assert!(open(&image, &options).is_err());
    for seed in 0..200 {
        recover(&image.survivor(seed), &options, &world).unwrap();
    }
}

#[test]
fn a_failed_sync_loses_nothing_that_was_acknowledged() {
    for seed in 0..seeds(2) {
        lose_pages_everywhere(&manual(), seed).unwrap();
        lose_pages_everywhere(&interval(), seed).unwrap();
    }
}

fn with(bug: PlantedBug) -> WalOptions {
    WalOptions { planted: Some(bug), ..manual() }
}

#[test]
fn an_acknowledgement_before_the_sync_is_caught() {
    let caught = (0..6).find_map(|seed| crash_everywhere(&with(PlantedBug::AckBeforeFsync), seed, false).err());
    assert!(caught.expect("not caught").contains("were acknowledged"));
}

#[test]
fn a_directory_that_is_not_synced_is_caught() {
    assert!((0..6).any(|seed| crash_everywhere(&with(PlantedBug::SkipDirectoryFsync), seed, false).is_err()));
}

#[test]
fn a_sync_that_is_tried_again_is_caught() {
    assert!((0..4).any(|seed| lose_pages_everywhere(&with(PlantedBug::RetryFsync), seed).is_err()));
}
