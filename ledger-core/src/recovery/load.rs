//! Loading a snapshot: shard by shard, by several threads, by copying what lies in the files as it lay in memory.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{Phase, Progress};
use crate::checkpoint::{Kept, Positions, Small, small};
use crate::error::OpenError;
use crate::journal::snapshot::rows::{self, HistoryFile, Meta};
use crate::journal::snapshot::{FileKind, FileReader, Kind, names};
use crate::ledger::{Keys, SHARDS_MAX, Tables};
use crate::options::Options;
use crate::state::idempotency::KeyRecord;
use crate::state::locator::Locator;
use crate::sync::{AtomicU64, AtomicUsize, Mutex, Ordering, thread};
use crate::sys::{ReadFrom, Storage};
use crate::types::Seq;
use crate::wal::{self, Base};

/// What was loaded: the tables, and what the next checkpoint needs to know.
pub(crate) struct Loaded {
    pub(crate) tables: Tables,
    /// The snapshot that was loaded, after the one before it if that is there.
    pub(crate) kept: Vec<Kept>,
    pub(crate) positions: Positions,
    pub(crate) small: Vec<Small>,
    /// Snapshots that cannot be read, and why.
    pub(crate) passed_over: Vec<String>,
}

/// The snapshots that are there, newest first.
///
/// # Errors
/// The storage's.
pub(crate) fn snapshots(storage: &dyn Storage) -> Result<Vec<Seq>, OpenError> {
    let directory = storage.describe();
    let names = storage.list().map_err(|source| OpenError::Io { context: format!("listing {directory}"), source })?;
    let mut seqs: Vec<Seq> = names.iter().filter_map(|name| names::snapshot_seq(name)).collect();
    seqs.sort_unstable_by(|one, other| other.cmp(one));
    Ok(seqs)
}

/// Loads the newest snapshot that can be read of the ledger `uuid`; nothing where there is none.
///
/// # Errors
/// None can be read, and the log does not reach back to the first entry; or one is of a newer format.
pub(crate) fn load(storage: &dyn Storage, uuid: Option<Uuid>, options: &Options) -> Result<Loaded, OpenError> {
    let seqs = snapshots(storage)?;
    let Some(uuid) = uuid else {
        return match seqs.first() {
            None => Ok(Loaded::nothing(options)),
            Some(seq) => Err(mark_is_missing(*seq)),
        };
    };
    let mut passed_over = Vec::new();
    let mut first_error = None;
    for (index, seq) in seqs.iter().enumerate() {
        let threads = super::threads(options);
        match load_with(storage, uuid, *seq, threads, options.history_bytes, &*options.progress) {
            Ok((tables, kept, small)) => {
                let positions = Positions::end(&tables, kept.base.seq);
                let before = seqs[index + 1..].iter().find_map(|seq| Opened::new(storage, uuid, *seq).ok());
                let kept = before.map(|opened| opened.kept()).into_iter().chain([kept]).collect();
                return Ok(Loaded { tables, kept, positions, small, passed_over });
            }
            Err(err) if err.is_damage() => {
                passed_over.push(err.to_string());
                first_error.get_or_insert(err);
            }
            Err(err) => return Err(err),
        }
    }
    match first_error {
        Some(err) if !wal::reaches_back_to_the_first(storage)? => Err(err),
        _ => Ok(Loaded { passed_over, ..Loaded::nothing(options) }),
    }
}

/// The mark is gone of a ledger that has this snapshot.
pub(crate) fn mark_is_missing(seq: Seq) -> OpenError {
    let reason = format!("it is missing, while there is {}", names::snapshot(seq));
    OpenError::Damaged { file: "durable.mark".to_owned(), offset: 0, seq: None, reason }
}

/// Loads the snapshot at `seq` by this thread alone.
///
/// # Errors
/// What is wrong with it, or with a file that it names.
pub(crate) fn load_one(storage: &dyn Storage, uuid: Uuid, seq: Seq) -> Result<(Tables, Kept), OpenError> {
    let (tables, kept, _) = load_with(storage, uuid, seq, 1, 0, &|_| ())?;
    Ok((tables, kept))
}

fn load_with(
    storage: &dyn Storage,
    uuid: Uuid,
    seq: Seq,
    threads: usize,
    left_alone: u64,
    tell: Tell<'_>,
) -> Result<(Tables, Kept, Vec<Small>), OpenError> {
    let opened = Opened::new(storage, uuid, seq)?;
    let tables = Tables::seeded(opened.meta.shards.into(), opened.meta.key_seed);
    let small = opened.load_into(&tables, threads, left_alone, &Told::new(&opened, tell))?;
    tell(Progress { phase: Phase::Snapshot, done: seq.get(), total: seq.get() });
    Ok((tables, opened.kept(), small))
}

/// Who hears how far it has come.
type Tell<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// How far it has come, by the bytes that were read.
struct Told<'a> {
    tell: Tell<'a>,
    read: AtomicU64,
    bytes: u64,
    entries: u64,
}

impl<'a> Told<'a> {
    /// Bytes between two reports.
    const EVERY: u64 = 4 << 20;

    fn new(opened: &Opened<'_>, tell: Tell<'a>) -> Told<'a> {
        let files = opened.histories.iter().chain([&opened.snapshot]);
        Told {
            tell,
            read: AtomicU64::new(0),
            bytes: files.map(FileReader::bytes).sum(),
            entries: opened.meta.seq.get(),
        }
    }

    fn read(&self, bytes: usize) {
        // Relaxed: it counts, and orders nothing.
        let before = self.read.fetch_add(bytes as u64, Ordering::Relaxed);
        let read = before + bytes as u64;
        if before / Told::EVERY < read / Told::EVERY {
            let done = u128::from(self.entries) * u128::from(read) / u128::from(self.bytes);
            (self.tell)(Progress { phase: Phase::Snapshot, done: done as u64, total: self.entries });
        }
    }
}

/// A snapshot with the files that it names, none of which has been read but for their frames.
pub(crate) struct Opened<'s> {
    snapshot: FileReader<'s>,
    histories: Vec<FileReader<'s>>,
    meta: Meta,
}

/// History files that are kept open at once. Those after them are opened for each section that is read of them.
const KEPT_OPEN_MAX: usize = 64;

/// How much was loaded, by all threads together.
struct Tally<'a> {
    accounts: AtomicU64,
    records: Box<[AtomicU64]>,
    keys: Box<[AtomicU64]>,
    /// Of the last history files: what the next checkpoint must know to write them again.
    small: Mutex<Vec<Small>>,
    /// How many files there are before those.
    large: usize,
    told: &'a Told<'a>,
}

impl Tally<'_> {
    /// Notes something of each of the last files, in their order.
    fn note<T>(&self, found: Vec<T>, note: impl Fn(&mut Small, T)) {
        self.small.lock().iter_mut().zip(found).for_each(|(small, found)| note(small, found));
    }
}

impl<'s> Opened<'s> {
    /// Opens the snapshot at `seq` of the ledger `uuid`.
    ///
    /// # Errors
    /// What is wrong with it, or with a file that it names.
    pub(crate) fn new(storage: &'s dyn Storage, uuid: Uuid, seq: Seq) -> Result<Opened<'s>, OpenError> {
        let name = names::snapshot(seq);
        let snapshot = FileReader::open(storage, &name, FileKind::Snapshot, uuid, ReadFrom::Cache)?;
        let mut meta = None;
        let section =
            snapshot.section(Kind::Meta, 0).ok_or_else(|| snapshot.damaged(0, "it does not say what it is"))?;
        snapshot.read_section(&section, &mut |bytes| {
            meta = Some(Meta::decode(bytes)?);
            Ok(())
        })?;
        let meta = meta.expect("a section has a block");
        check_meta(&snapshot, &meta, seq).map_err(|reason| snapshot.damaged(0, &reason))?;
        let mut histories = Vec::with_capacity(meta.histories.len());
        for file in &meta.histories {
            let name = names::history(file.seq, file.epoch);
            let mut reader = FileReader::open(storage, &name, FileKind::History, uuid, ReadFrom::Cache)?;
            let header = reader.header();
            let found = (header.seq, header.since, header.epoch, reader.bytes(), reader.digest());
            if found != (file.seq, file.since, file.epoch, file.bytes, file.digest) {
                return Err(reader.damaged(0, &format!("it is not the file that {} names", snapshot.name())));
            }
            if histories.len() >= KEPT_OPEN_MAX {
                reader.close();
            }
            histories.push(reader);
        }
        let opened = Opened { snapshot, histories, meta };
        opened.check_sections()?;
        Ok(opened)
    }

    /// Nothing may be in a file that nobody reads.
    fn check_sections(&self) -> Result<(), OpenError> {
        let shards = self.meta.shards;
        for file in [&self.snapshot].into_iter().chain(&self.histories) {
            let mut last = None;
            for section in file.sections() {
                let is_snapshot = file.header().kind == FileKind::Snapshot;
                let limit = match section.kind {
                    Kind::Meta if is_snapshot => 1,
                    Kind::Sums | Kind::Accounts if is_snapshot => shards,
                    Kind::Anchors | Kind::Records | Kind::Withdrawals if !is_snapshot => shards,
                    Kind::Keys if !is_snapshot => Keys::LOCKS as u16,
                    Kind::Locator if !is_snapshot => 1,
                    _ => 0,
                };
                let is_repeated = file
                    .sections()
                    .iter()
                    .filter(|other| (other.kind, other.shard) == (section.kind, section.shard))
                    .count()
                    > 1;
                if section.shard >= limit || is_repeated {
                    return Err(
                        file.damaged(0, &format!("it has a section that does not belong there, after {last:?}"))
                    );
                }
                last = Some(section.kind);
            }
        }
        Ok(())
    }

    /// Reads and checks every block of all its files.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub(crate) fn verify(&self) -> Result<(), OpenError> {
        [&self.snapshot].into_iter().chain(&self.histories).try_for_each(FileReader::verify)
    }

    /// The files that it consists of, those first that it names.
    pub(crate) fn file_names(&self) -> Vec<String> {
        self.histories.iter().chain([&self.snapshot]).map(|file| file.name().to_owned()).collect()
    }

    /// What is to be known of it when it is relied on.
    pub(crate) fn kept(&self) -> Kept {
        let Meta { seq, time, anchor, chain, .. } = self.meta;
        Kept {
            base: Base { seq, time, anchor, chain, epoch: self.snapshot.header().epoch },
            histories: self.meta.histories.clone(),
        }
    }

    /// Every shard is a piece of work of its own. Gives what is to be known of the last files that have fewer than
    /// `left_alone` bytes.
    fn load_into(
        &self,
        tables: &Tables,
        threads: usize,
        left_alone: u64,
        told: &Told<'_>,
    ) -> Result<Vec<Small>, OpenError> {
        let shards = tables.shards.len();
        let zeros = || self.histories.iter().map(|_| AtomicU64::new(0)).collect();
        let files = &self.meta.histories;
        let large = files.len() - small(files, left_alone);
        let small = Mutex::new(files[large..].iter().map(|file| Small::start(file.since, shards)).collect());
        let tally = Tally { accounts: AtomicU64::new(0), records: zeros(), keys: zeros(), small, large, told };
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
        let work = || {
            // Relaxed: a ticket, which orders nothing.
            let take = || next.fetch_add(1, Ordering::Relaxed);
            while let Some(job) = Some(take()).filter(|job| *job < shards + Keys::LOCKS + 1) {
                let done = match job.checked_sub(shards) {
                    None => self.load_shard(tables, job as u16, &tally),
                    Some(index) if index < Keys::LOCKS => self.load_keys(tables, index, &tally),
                    Some(_) => self.load_locator(&tables.locator, &tally),
                };
                if let Err(err) = done {
                    failed.lock().get_or_insert(err);
                    next.store(usize::MAX / 2, Ordering::Relaxed); // The others need not go on.
                }
            }
        };
        if threads > 1 {
            thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
        } else {
            work();
        }
        match failed.into_inner() {
            Some(err) => Err(err),
            None => {
                self.check_counts(&tally).and_then(|()| self.check_books(tables))?;
                Ok(tally.small.into_inner())
            }
        }
    }

    fn check_counts(&self, tally: &Tally<'_>) -> Result<(), OpenError> {
        // Relaxed: the threads have ended.
        let found = |count: &AtomicU64| count.load(Ordering::Relaxed);
        if found(&tally.accounts) != self.meta.accounts {
            let reason = format!("it has {} accounts and names {}", found(&tally.accounts), self.meta.accounts);
            return Err(self.snapshot.damaged(0, &reason));
        }
        for (index, (file, reader)) in self.meta.histories.iter().zip(&self.histories).enumerate() {
            if (found(&tally.records[index]), found(&tally.keys[index])) != (file.records, file.keys) {
                return Err(reader.damaged(0, "it has not as many records and keys as the snapshot says"));
            }
        }
        Ok(())
    }

    /// Users and system accounts together come to zero in every currency. No real sum is near the bound; within it no later
    /// sum overflows.
    fn check_books(&self, tables: &Tables) -> Result<(), OpenError> {
        const SUM_MAX: u128 = 1 << 100;
        let mut books: BTreeMap<_, i128> = BTreeMap::new();
        for shard in &tables.shards {
            for sums in shard.read().sums() {
                if sums.external.unsigned_abs().max(sums.suspense.unsigned_abs()).max(sums.total) > SUM_MAX {
                    return Err(self.snapshot.damaged(0, &format!("its sums in {} cannot be", sums.currency)));
                }
                *books.entry(sums.currency).or_default() += sums.total as i128 + sums.external + sums.suspense;
            }
        }
        match books.into_iter().find(|(_, sum)| *sum != 0) {
            Some((currency, sum)) => {
                Err(self.snapshot.damaged(0, &format!("its accounts in {currency} come to {sum}, not to zero")))
            }
            None => Ok(()),
        }
    }

    fn load_shard(&self, tables: &Tables, index: u16, tally: &Tally<'_>) -> Result<(), OpenError> {
        let shard = &mut *tables.shards[usize::from(index)].write();
        self.read(&self.snapshot, Kind::Sums, index, tally.told, &mut |bytes| {
            rows::take_sums(bytes, &mut |sums| shard.restore_sums(sums)).map_err(String::from)
        })?;
        let section = self.snapshot.section(Kind::Accounts, index);
        let most = section.map_or(0, |section| section.bytes) / rows::ACCOUNT_BYTES_MIN;
        let expected = shard.sums().iter().map(|sums| sums.accounts).fold(0, u64::saturating_add);
        shard.accounts.expect(expected.min(most) as usize);
        let mut accounts = 0;
        self.read(&self.snapshot, Kind::Accounts, index, tally.told, &mut |bytes| {
            rows::take_accounts(bytes, &mut |account| {
                accounts += 1;
                let message = || format!("the account of user {} in {} cannot be", account.user, account.currency);
                let is_here = tables.shard_of(account.user) == usize::from(index);
                let was_touched = account.last_seq > Seq::ZERO && account.last_seq <= self.meta.seq;
                (is_here && was_touched && shard.restore_account(account)).then_some(()).ok_or_else(message)
            })
        })?;
        tally.accounts.fetch_add(accounts, Ordering::Relaxed);
        let (mut anchors, mut changeable, mut smalls) = (Vec::new(), 0, Vec::new());
        let files = self.meta.histories.iter().zip(self.histories.iter().zip(&tally.records));
        for (number, (file, (history, counted))) in files.enumerate() {
            let (before, is_small, mut withdrawals) = (shard.history.end(), number >= tally.large, Vec::new());
            self.read(history, Kind::Anchors, index, tally.told, &mut |bytes| {
                rows::take_anchors(bytes, &mut anchors).map_err(String::from)
            })?;
            let (mut records, mut last) = (0, file.since.next());
            self.read(history, Kind::Records, index, tally.told, &mut |bytes| {
                let (address, bytes) = bytes.split_at_checked(8).ok_or("records without an address")?;
                let address = u64::from_le_bytes(address.try_into().expect("eight bytes"));
                shard.restore_records(address, bytes, &anchors, |record| {
                    if record.seq < last || record.seq > file.seq {
                        return Err(format!(
                            "a record of seq {}, which is not from {last} to {}",
                            record.seq, file.seq
                        ));
                    }
                    last = record.seq;
                    records += 1;
                    changeable += usize::from(record.can_change);
                    Ok(())
                })
            })?;
            counted.fetch_add(records, Ordering::Relaxed);
            self.read(history, Kind::Withdrawals, index, tally.told, &mut |bytes| {
                rows::take_withdrawals(bytes, history.header().uuid, &mut |held| {
                    if is_small {
                        withdrawals.push(held.withdrawal.id);
                    }
                    shard.restore_withdrawal(held)
                })
            })?;
            if is_small {
                smalls.push((before, withdrawals));
            }
        }
        tally.note(smalls, |small, (before, withdrawals)| {
            small.since.history[usize::from(index)] = before;
            small.withdrawals[usize::from(index)] = withdrawals;
        });
        let settled = if changeable == shard.withdrawals.len() {
            shard.settle_withdrawals().and_then(|()| shard.check_restored(self.meta.time))
        } else {
            Err(format!("{} withdrawals and {changeable} records of such", shard.withdrawals.len()))
        };
        settled.map_err(|reason| self.snapshot.damaged(0, &format!("shard {index}: {reason}")))
    }

    fn load_keys(&self, tables: &Tables, index: usize, tally: &Tally<'_>) -> Result<(), OpenError> {
        let keys = &tables.keys;
        let sections = self.histories.iter().filter_map(|history| history.section(Kind::Keys, index as u16));
        let most = sections.map(|section| section.bytes).sum::<u64>() / KeyRecord::BYTES_MIN as u64;
        let expected = self.meta.histories.iter().map(|file| file.keys / Keys::LOCKS as u64).sum::<u64>();
        keys.with(index, false, |shard| shard.expect(expected.min(most) as usize));
        let mut smalls = Vec::new();
        let files = self.meta.histories.iter().zip(self.histories.iter().zip(&tally.keys));
        for (number, (file, (history, counted))) in files.enumerate() {
            if number >= tally.large {
                smalls.push(keys.with(index, false, |shard| shard.end()));
            }
            // They come in the order of the entries that settled them, which may be later than their transactions: so each
            // was settled by an entry of this file's, and not before the key before it.
            let (mut count, mut settled) = (0, file.since.next());
            self.read(history, Kind::Keys, index as u16, tally.told, &mut |mut bytes| {
                keys.with(index, false, |shard| {
                    while !bytes.is_empty() {
                        let record = KeyRecord::first(bytes).ok_or("a key that is cut off")?;
                        if record.id.seq() > file.seq {
                            return Err(format!("the key of transaction {}, which is later", record.id));
                        }
                        settled = settled.max(record.id.seq());
                        keys.restore_record(shard, index, &record, settled)?;
                        count += 1;
                        bytes = &bytes[record.bytes.len()..];
                    }
                    Ok(())
                })
            })?;
            counted.fetch_add(count, Ordering::Relaxed);
        }
        tally.note(smalls, |small, before| small.since.keys[index] = before);
        Ok(())
    }

    fn load_locator(&self, locator: &Locator, tally: &Tally<'_>) -> Result<(), OpenError> {
        for (file, history) in self.meta.histories.iter().zip(&self.histories) {
            let mut seq = file.since.next();
            self.read(history, Kind::Locator, 0, tally.told, &mut |bytes| {
                let end = bytes.len().min((file.seq.get() + 1 - seq.get()) as usize);
                let wrong = bytes[..end].iter().position(|byte| u16::from(*byte) > self.meta.shards);
                if let Some(place) = wrong.or((end < bytes.len()).then_some(end)) {
                    let seq = seq.get() + place as u64;
                    return Err(format!("seq {seq} is said to be in shard {}", bytes[place]));
                }
                locator.set_run(seq, bytes);
                seq = Seq::new(seq.get() + bytes.len() as u64);
                Ok(())
            })?;
            if seq != file.seq.next() {
                return Err(history.damaged(0, &format!("it locates the seqs up to {seq} alone")));
            }
        }
        Ok(())
    }

    fn read(
        &self,
        file: &FileReader<'_>,
        kind: Kind,
        shard: u16,
        told: &Told<'_>,
        visit: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), OpenError> {
        match file.section(kind, shard) {
            Some(section) => file.read_section(&section, &mut |bytes| {
                told.read(bytes.len());
                visit(bytes)
            }),
            None => Ok(()),
        }
    }
}

/// Whether a snapshot's own words agree with each other.
fn check_meta(snapshot: &FileReader<'_>, meta: &Meta, seq: Seq) -> Result<(), String> {
    let is_itself = meta.seq == seq && snapshot.header().seq == seq && seq > Seq::ZERO;
    let shards_fit = (1..=SHARDS_MAX as u16).contains(&meta.shards);
    if !is_itself || !shards_fit || meta.anchor < seq || seq.get() >= Locator::SEQ_END {
        return Err(format!("it is the snapshot at seq {} under another's name, or none", meta.seq));
    }
    let mut before = Seq::ZERO;
    for HistoryFile { seq, since, .. } in &meta.histories {
        if *since != before || seq <= since {
            return Err(format!("its history has a gap after seq {before}"));
        }
        before = *seq;
    }
    if before == seq { Ok(()) } else { Err(format!("its history ends with seq {before}")) }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
