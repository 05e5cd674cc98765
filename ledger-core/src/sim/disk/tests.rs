//! The disk keeps and forgets what a real one would, and fails as it was told to.

use std::time::Duration;

use super::*;
use crate::sim::SimClock;
use crate::sys::{ReadFrom, Storage, StorageFile};

fn disk_with(bytes: &[u8]) -> (SimDisk, Arc<dyn StorageFile>) {
    let disk = SimDisk::new(1);
    let file = disk.create("x").unwrap();
    file.write_at(bytes, 0).unwrap();
    (disk, file)
}

#[test]
fn what_was_synced_survives_and_the_rest_may_not() {
    let (disk, file) = disk_with(&[7; 10_000]);
    file.sync_data().unwrap();
    let without_name = (0..20).filter(|seed| disk.survivor(*seed).names().is_empty()).count();
    assert!((1..20).contains(&without_name));
    disk.sync_directory().unwrap();
    file.write_at(&[9; 10_000], 8192).unwrap();
    let mut images: Vec<Vec<u8>> = (0..50).map(|seed| disk.survivor(seed).read("x").unwrap()).collect();
    assert!(images.iter().all(|image| image[..8192] == [7; 8192]));
    images.sort();
    images.dedup();
    assert!(images.len() > 5, "only {} outcomes", images.len());
    assert_eq!(disk.survivor(3).read("x"), disk.survivor(3).read("x"));
}

#[test]
fn a_failed_sync_leaves_bytes_that_only_the_cache_has() {
    let (disk, file) = disk_with(&[7; 100]);
    disk.sync_directory().unwrap();
    disk.fail_at(0, Fault::FailedFsyncLosesPages);
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    let (mut cached, mut device) = ([1; 100], [1; 100]);
    file.read_at(&mut cached, 0).unwrap();
    file.read_device_at(&mut device, 0).unwrap();
    assert_eq!((cached, device), ([7; 100], [0; 100]));
    assert_eq!(file.zeros_from(ReadFrom::Cache, 10).unwrap(), 100);
    assert_eq!(file.zeros_from(ReadFrom::Device, 10).unwrap(), 10);
    assert!((0..20).all(|seed| disk.survivor(seed).read("x").unwrap() == [0; 100]));
}

#[test]
fn what_rots_on_the_device_is_hidden_by_the_cache_until_the_power_fails() {
    let (disk, file) = disk_with(&[7; 100]);
    disk.sync_directory().unwrap();
    disk.rot_bit("x", 3, 0);
    let (mut cached, mut device) = ([1; 100], [1; 100]);
    file.read_at(&mut cached, 0).unwrap();
    file.read_device_at(&mut device, 0).unwrap();
    assert_eq!((cached, device[3], device[4]), ([7; 100], 6, 7));
    assert_eq!(disk.after_kill().read("x").unwrap(), [7; 100]);
    assert_eq!(disk.survivor(0).read("x").unwrap(), device);
}

#[test]
fn a_read_fails_once_and_what_strikes_is_told_until_the_process_ends() {
    let (disk, file) = disk_with(&[7; 100]);
    disk.fail_read_at(disk.reads() + 1);
    file.read_at(&mut [0], 0).unwrap();
    assert_eq!(file.read_at(&mut [0], 0).unwrap_err().raw_os_error(), Some(5));
    file.read_at(&mut [0], 0).unwrap();
    assert_eq!((disk.reads(), disk.struck()), (3, vec![]));
    disk.fail_at(disk.operations() + 1, Fault::Eio);
    file.sync_data().unwrap();
    assert_eq!(disk.struck(), []);
    file.sync_data().unwrap_err();
    disk.set_capacity(100);
    file.write_at(&[0], 100).unwrap_err();
    assert_eq!(disk.struck(), [Fault::Eio, Fault::Enospc]);
    assert_eq!((disk.after_kill().struck(), disk.after_kill().reads()), (vec![], 0));
}

#[test]
fn a_slow_disk_takes_time_until_it_is_healed() {
    let (disk, file) = disk_with(&[7; 100]);
    let clock = SimClock::at(crate::types::Timestamp::MIN);
    disk.slow_down(Some((&clock, Duration::from_secs(1), 3)));
    (0..20).for_each(|_| file.sync_data().unwrap());
    let taken = crate::sys::Clock::monotonic(&clock);
    assert!(taken > Duration::from_secs(3) && taken <= Duration::from_secs(20), "{taken:?}");
    disk.heal();
    file.sync_data().unwrap();
    assert_eq!(crate::sys::Clock::monotonic(&clock), taken);
}

#[test]
fn the_power_fails_for_good() {
    let (disk, file) = disk_with(&[7; 100]);
    let n = disk.operations();
    disk.crash_after(n + 1);
    file.write_at(&[8], 0).unwrap();
    file.sync_data().unwrap_err();
    file.read_at(&mut [0], 0).unwrap_err();
    disk.list().unwrap_err();
    assert_eq!(disk.operations(), n + 2);
}

#[test]
fn a_full_disk_refuses_growth_alone() {
    let (disk, file) = disk_with(&[7; 100]);
    disk.set_capacity(150);
    file.write_at(&[8; 100], 0).unwrap();
    file.write_at(&[8; 51], 100).unwrap_err();
    file.write_at(&[8; 50], 100).unwrap();
    assert_eq!(disk.used(), 150);
    disk.truncate("x", 10);
    assert_eq!(disk.read("x").unwrap(), [8; 10]);
}

#[test]
fn a_killed_process_loses_nothing_and_syncs_nothing() {
    let (disk, _) = disk_with(&[7; 100]);
    let next = disk.after_kill();
    assert_eq!(next.read("x").unwrap(), [7; 100]);
    assert!((0..20).any(|seed| next.survivor(seed).names().is_empty()));
    disk.flip_bit("x", 3, 0);
    assert_eq!(disk.read("x").unwrap()[3], 6);
    assert_eq!(next.read("x").unwrap()[3], 7);
}
