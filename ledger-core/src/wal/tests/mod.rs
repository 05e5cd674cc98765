//! The log's behaviour, on the simulated disk and on a real one.

mod behaviour;
mod chosen;
mod copies;
mod counting;
mod crash;
mod damage;
mod drivers;
mod failing;
mod faults;
mod forgery;
mod frames;
mod handles;
mod judged;
mod left;
mod meanwhile;
mod mirror;
mod salvage;
mod sleeping;
mod stops;
mod taken;
mod threads;
mod twins;
mod waiting;
mod window;

use std::sync::Arc;

use super::reader::Reading;
use super::room::Lack;
use super::*;
use crate::sim::{Random, SimDisk};
use crate::sys::ReadFrom;

/// The smallest segments, nobody's threads, and an identity that is the same each time.
fn manual() -> WalOptions {
    WalOptions {
        segment_bytes: 1 << 20,
        threads: false,
        uuid: Some(Uuid::from_u128(0x1ed9e7)),
        ..WalOptions::default()
    }
}

fn interval() -> WalOptions {
    WalOptions { durability: Durability::Interval(std::time::Duration::from_secs(3600)), ..manual() }
}

fn time(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap()
}

/// The records in a log, by seq from 1.
type Records = Vec<(i64, Vec<u8>)>;

fn open_on(storage: Arc<dyn Storage>, options: &WalOptions) -> Result<(Wal, Opened, Records), OpenError> {
    let mut records = Records::new();
    let mut note = |record: Record<'_>| {
        assert_eq!(record.seq.get(), records.len() as u64 + 1, "seqs are dense");
        records.push((record.time.micros(), record.bytes.to_vec()));
        Ok(())
    };
    let (wal, opened) = Wal::open(storage, options.clone(), &mut note, &|_| Ok(()))?;
    assert_eq!(opened.last_seq.get(), records.len() as u64);
    assert_eq!(opened.last_time.micros(), records.last().map_or(Timestamp::MIN.micros(), |last| last.0));
    assert_eq!((wal.durable(), wal.appended()), (opened.last_seq, opened.last_seq));
    Ok((wal, opened, records))
}

fn open(disk: &SimDisk, options: &WalOptions) -> Result<(Wal, Opened, Records), OpenError> {
    open_on(Arc::new(disk.clone()), options)
}

fn scan_records(disk: &SimDisk) -> Result<(Scanned, Records), OpenError> {
    let mut records = Records::new();
    let before = disk.operations();
    let scanned =
        scan(disk, Start::First, None, &mut |record| records.push((record.time.micros(), record.bytes.to_vec())))?;
    assert_eq!(disk.operations(), before, "a scan changes nothing");
    Ok((scanned, records))
}

fn append(wal: &Wal, at: i64, record: &[u8]) -> Result<Stamp, Refused> {
    let mut reservation = wal.reserve(1, record.len())?;
    wal.append(&mut reservation, time(at), record).map_err(Refused::Halted)
}

fn commit(wal: &Wal, at: i64, record: &[u8]) -> Stamp {
    let stamp = append(wal, at, record).unwrap();
    wal.wait(stamp.seq, Level::Durable).unwrap();
    stamp
}
