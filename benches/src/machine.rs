//! What the figures were measured on: without it they say nothing.

use std::fs;

use ledger_core::{Clock, SystemClock};

use crate::place;

/// The process's resident memory, in bytes.
pub fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux tells what a process holds");
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("statm counts pages");
    pages * rustix::param::page_size() as u64
}

/// The machine, the disk and the day, in one line of Markdown.
pub fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let model = model.trim_start_matches([' ', '\t', ':']);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let file_system = match place::file_system(&place::root()) {
        0xEF53 => "ext4".to_owned(),
        0x5846_5342 => "xfs".to_owned(),
        0x9123_683E => "btrfs".to_owned(),
        0x794C_7630 => "overlay".to_owned(),
        other => format!("file system {other:#x}"),
    };
    let allocator = if cfg!(feature = "mimalloc") { "mimalloc" } else { "the system's allocator" };
    let build = if cfg!(debug_assertions) { ", **built with debug assertions**" } else { "" };
    format!(
        "{cores} cores ({model}), Linux {}, {file_system}, {allocator}, {}{build}. Durability is on: a reply waits \
         for fdatasync, but for rows that say \"in memory\".",
        // What a vendor adds to the version is of no use to others.
        kernel.trim().split('-').next().unwrap_or_default(),
        SystemClock.wall(),
    )
}
