//! How much memory this process has, and how much it may use at most, as Linux tells.

use std::fs;
use std::path::Path;

/// The machine's memory, or the limit of a control group that this process is in, whichever is less. `None` where
/// neither can be read: then there is no share to take.
pub(crate) fn bytes_available() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of_meminfo(&text));
    machine.into_iter().chain(control_group_limit()).min()
}

/// What of this process is in memory.
pub(crate) fn bytes_resident() -> Option<u64> {
    fs::read_to_string("/proc/self/status").ok().and_then(|text| bytes_of_line(&text, "VmRSS:"))
}

fn total_of_meminfo(text: &str) -> Option<u64> {
    bytes_of_line(text, "MemTotal:")
}

/// The figure of the line that begins so, which the kernel gives in KiB.
fn bytes_of_line(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The least limit of the group that this process is in and of those around it.
fn control_group_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let unified = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let root = Path::new("/sys/fs/cgroup");
    let own = root.join(unified.trim_start_matches('/'));
    let unified = own.ancestors().take_while(|group| group.starts_with(root)).map(|group| group.join("memory.max"));
    // The older hierarchy says "no limit" with a number larger than any machine, which loses against the machine's.
    let older = [root.join("memory/memory.limit_in_bytes")];
    unified.chain(older).filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_says_how_much_it_has() {
        assert_eq!(total_of_meminfo("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(total_of_meminfo(""), None);
        assert!(bytes_available().is_some_and(|bytes| bytes > 1 << 20));
        assert!(bytes_resident() < bytes_available());
    }
}
