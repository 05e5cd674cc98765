//! A log that is kept whole: snapshots make openings short, and the history can be proven from the first entry on.

use std::path::Path;

use ledger_core::{DirectoryStorage, Head, Ledger, OpenError, Options, Storage, verify_since};

use crate::model::Asked;
use crate::stage::{SEGMENT_BYTES, amount, ask, metadata, user};

fn options() -> Options {
    Options::default().segment_bytes(SEGMENT_BYTES).checkpoint_bytes(None).shards(4)
}

fn segments(directory: &Path) -> usize {
    let names = DirectoryStorage::new(directory).list().expect("a directory");
    names.iter().filter(|name| name.ends_with(".segment")).count()
}

/// Three rounds of some segments with a snapshot after each; the head before the first of them, and how many segments went.
fn rounds(ledger: &Ledger) -> (Head, u64) {
    let (mut first, mut last, mut retired) = (None, None, 0);
    for round in 0..3u64 {
        for n in 0..2_000 {
            let charge = Asked {
                metadata: Some(metadata(1_024, n)),
                ..Asked::charge(user(1 + n % 7), amount(1 + n), format!("{round} {n}"))
            };
            last = Some(ask(ledger, &charge).expect("accepted"));
        }
        last.take().expect("the last one").wait().expect("durable");
        first = first.or_else(|| ledger.head());
        retired += ledger.checkpoint().expect("a disk that works").segments_retired;
    }
    (first.expect("a head"), retired)
}

#[test]
fn a_kept_log_proves_what_a_retired_one_cannot() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let ledger = options().keep_log(true).open(path).expect("an empty directory");
    let (head, retired) = rounds(&ledger);
    assert_eq!(retired, 0);
    let (digest, last) = (ledger.state_digest(), ledger.appended());
    ledger.close().expect("closed");
    let proven = verify_since(path, head).expect("the same history");
    assert_eq!((proven.last_seq, proven.snapshots), (last, 2));
    // It opens from the snapshot all the same.
    let ledger = options().keep_log(true).open(path).expect("sound");
    assert_eq!((ledger.recovered().snapshot, ledger.recovered().replayed), (last, 0));
    assert_eq!(ledger.state_digest(), digest);
    ledger.close().expect("closed");
    // Kept no longer, it goes with the next checkpoint, and the proof with it.
    let before = segments(path);
    let ledger = options().open(path).expect("sound");
    ask(&ledger, &Asked::charge(user(1), amount(1), "one more")).expect("accepted").wait().expect("durable");
    let went = ledger.checkpoint().expect("a disk that works").segments_retired;
    ledger.close().expect("closed");
    assert!(went > 2 && segments(path) < before, "{went} of {before}");
    let refused = verify_since(path, head);
    assert!(matches!(refused, Err(OpenError::InvalidOption { .. })), "{refused:?}");
}
