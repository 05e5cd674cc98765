//! What is said of a long opening where no terminal is.

use std::time::{Duration, Instant};

use ledger_core::{Phase, Progress};
use ledger_server::progress::{LINE_EVERY, Lines};

/// A line of the log now and then, with the share that is done, the entries, and the time that is left.
#[test]
fn a_long_opening_says_a_line_now_and_then_and_a_quick_one_none() {
    let start = Instant::now();
    let mut lines = Lines::begin(start);
    let mut said = Vec::new();
    // The snapshot takes 20 s, the log 11.
    for tenth in 1..=310 {
        let (phase, done, total) =
            if tenth <= 200 { (Phase::Snapshot, tenth * 50_000, 10_000_000) } else { (Phase::Log, tenth - 200, 110) };
        let now = start + Duration::from_millis(tenth * 100);
        said.extend(lines.line(Progress { phase, done, total }, now));
    }
    assert_eq!(
        said,
        [
            "loading the snapshot: 25 %, 2500000 of 10000000 entries, about 15 s left",
            "loading the snapshot: 50 %, 5000000 of 10000000 entries, about 10 s left",
            "loading the snapshot: 75 %, 7500000 of 10000000 entries, about 5 s left",
            "loading the snapshot: 100 %, 10000000 of 10000000 entries, about 0 s left",
            "replaying the log: 45 %, 50 of 110 entries, about 6 s left",
            "replaying the log: 90 %, 100 of 110 entries, about 1 s left",
        ]
    );
    let mut lines = Lines::begin(start);
    let now = start + LINE_EVERY - Duration::from_millis(1);
    assert_eq!(lines.line(Progress { phase: Phase::Log, done: 9, total: 9 }, now), None);
}
