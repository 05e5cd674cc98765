//! What the figures were measured on: without it they say nothing.

use std::fs;
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use ledger_core::{Clock, SystemClock};

use crate::latency::Latencies;
use crate::place;

/// The process's resident memory, in bytes.
pub fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux tells what a process holds");
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("statm counts pages");
    pages * rustix::param::page_size() as u64
}

/// A line of `/proc/meminfo`, in bytes; 0 if Linux does not tell.
fn memory_bytes(line: &str) -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let value = meminfo.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':')?.trim().strip_suffix(" kB"));
    value.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10
}

/// Writes to three quarters of the memory that is available, and gives it back: the host of a virtual machine finds memory
/// for it when it is first used, page by page, which takes longer than what is measured. Returns how many bytes.
pub fn use_memory() -> u64 {
    const AT_ONCE: u64 = 64 << 20;
    let count = memory_bytes("MemAvailable") / 4 * 3 / AT_ONCE;
    let used: Vec<Vec<u8>> = (0..count).map(|_| black_box(vec![1; AT_ONCE as usize])).collect();
    drop(used);
    count * AT_ONCE
}

/// The commit of the checkout that this was built in, with a `+` if something other than text was changed since; `None`
/// where there is no checkout any more, or no git.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(["-C", env!("CARGO_MANIFEST_DIR")]).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let head = git(&["rev-parse", "--short", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--", ":/", ":(top,exclude)docs", ":(top,exclude)*.md"])?;
    Some(if changed.is_empty() { head } else { head + "+" })
}

/// The gaps between two looks at the clock, with nothing to do between them: what the machine itself pauses.
pub fn pauses(lasting: Duration) -> Latencies {
    let mut latencies = Latencies::new();
    let begin = Instant::now();
    let mut last = begin;
    while last - begin < lasting {
        let now = Instant::now();
        latencies.add(now - last);
        last = now;
    }
    latencies
}

/// The machine, the disk, the day and the commit, in one line of Markdown.
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
    let commit = commit().map_or(String::new(), |commit| format!(", commit {commit}"));
    format!(
        "{cores} cores ({model}), {:.1} GiB of memory, Linux {}, {file_system}, {allocator}, {}{commit}{build}. Durability \
         is on: a reply waits for fdatasync, unless a row says \"in memory\", \"page cache\" or \"interval\".",
        memory_bytes("MemTotal") as f64 / f64::from(1 << 30),
        // What a vendor adds to the version is of no use to others.
        kernel.trim().split('-').next().unwrap_or_default(),
        SystemClock.wall(),
    )
}
