//! What an opening refuses, what it tells while it goes on, and that it comes to the same however many threads there are.

use std::sync::Mutex;

use super::*;
use crate::wal::Bundle;
use crate::withdrawals::Policy;

const MARK: &str = "durable.mark";

#[test]
fn options_that_no_ledger_can_have_are_refused_with_and_without_a_disk() {
    let is_refused = |change: &dyn Fn(Options) -> Options| {
        let invalid = |opened: Result<Ledger, OpenError>| matches!(opened, Err(OpenError::InvalidOption { .. }));
        let is_refused = invalid(change(options()).open_on(SimDisk::new(1)));
        assert_eq!(invalid(change(options()).in_memory()), is_refused);
        is_refused
    };
    let shards = [0, 1, 128, 129].map(|shards| is_refused(&|options| options.shards(shards)));
    assert_eq!(shards, [true, false, false, true]);
    let attempts =
        [0, 1].map(|attempts_max| is_refused(&|options| options.policy(Policy { attempts_max, ..Policy::default() })));
    assert_eq!(attempts, [true, false]);
}

/// A log with so many charges of 1, closed; and its mark as it was before them, which is a lower bound still.
fn long_log(entries: usize) -> (SimDisk, Vec<u8>) {
    let (disk, options) = (SimDisk::new(1), options().segment_bytes(16 << 20));
    let first = &mut |_: Option<(Uuid, Seq)>| Ok(Start::First);
    let (wal, _) = Wal::open_after(Arc::new(disk.clone()), options.wal(), first, &mut |_| Ok(()), &|_| Ok(())).unwrap();
    let mark = disk.read(MARK).unwrap();
    let keys: Vec<String> = (0..entries).map(|n| n.to_string()).collect();
    for keys in keys.chunks(1_000) {
        let encoded = |key: &String| {
            let mut bytes = Vec::new();
            let Entry::Transaction(charge) = charge(0, 1) else { unreachable!("a charge is one") };
            let key = IdempotencyKey::new(key).unwrap();
            codec::encode(&Entry::Transaction(TransactionEntry { key, ..charge }), &mut bytes);
            bytes
        };
        let records: Vec<Vec<u8>> = keys.iter().map(encoded).collect();
        let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        let mut reservation = wal.reserve(records.len(), records.concat().len()).unwrap();
        let stamp = wal.append_together(&mut reservation, time(1), &Bundle::of(&records)).unwrap();
        drop(reservation);
        wal.wait(Seq::new(stamp.seq.get() + records.len() as u64 - 1), Level::Durable).unwrap();
    }
    wal.close().unwrap();
    (disk, mark)
}

/// Opens the ledger; what is told meanwhile.
fn opened(disk: &SimDisk, options: Options) -> (Ledger, Vec<Progress>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&told);
    let ledger = options.on_progress(move |progress| all.lock().unwrap().push(progress)).open_on(disk.clone()).unwrap();
    let told = told.lock().unwrap().clone();
    (ledger, told)
}

#[test]
fn an_opening_tells_of_each_65_536_entries_of_the_log_and_of_the_last() {
    const ENTRIES: u64 = 65_600;
    let (disk, earlier) = long_log(ENTRIES as usize);
    let log = |done, total| Progress { phase: Phase::Log, done, total };
    for (is_behind, threads) in [(false, true), (true, false)] {
        let disk = disk.after_kill();
        if is_behind {
            disk.overwrite(MARK, 0, &earlier);
        }
        let (ledger, told) = opened(&disk, options().threads(threads));
        // The mark says how many there will be; or else there is at least one more.
        let expected = if is_behind { 65_537 } else { ENTRIES };
        assert_eq!(told, [log(65_536, expected), log(ENTRIES, ENTRIES)]);
        assert_eq!(ledger.recovered().replayed, ENTRIES);
        let audit = ledger.audit_deep().unwrap().wait().unwrap();
        assert!(audit.is_balanced() && audit.currencies[0].total == u128::from(ENTRIES), "{audit:?}");
    }
}

#[test]
fn of_a_log_without_entries_nothing_is_told() {
    assert!(opened(&SimDisk::new(1), options()).1.is_empty());
    let disk = log_of(&[charge(0, 100)]);
    let (ledger, told) = opened(&disk, options());
    assert_eq!(told, [Progress { phase: Phase::Log, done: 1, total: 1 }]);
    ledger.checkpoint().unwrap();
    ledger.close().unwrap();
    drop(ledger);
    let (ledger, told) = opened(&disk, options());
    assert_eq!((ledger.recovered().snapshot, ledger.recovered().replayed), (Seq::new(1), 0));
    assert_eq!(told, [Progress { phase: Phase::Snapshot, done: 1, total: 1 }]);
}
