//! Backups of a ledger in use, and what a restored one is: exactly what the ledger was at that entry or time.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ledger_core::sim::{SimClock, SimDisk};
use ledger_core::withdrawals::Substatus;
use ledger_core::{
    Currency, DirectoryLock, Ledger, OpenError, RestoreTo, Seq, Storage, StorageFile, Timestamp, backup,
    is_executor_stopped, release_executor, restore, salvage_on, verify_storage,
};

use crate::model::Asked;
use crate::stage::{DAY, START, amount, answer, ask, id, metadata, options, user};

/// Writes frames of one and of several entries, with `checkpoints` in between; what the state was after each frame, and the
/// ledger's time then.
fn written(disk: &SimDisk, clock: &SimClock, checkpoints: bool) -> (Ledger, BTreeMap<Seq, (u128, Timestamp)>) {
    let ledger = options(clock).open_on(disk.clone()).expect("an empty disk");
    let mut states = BTreeMap::new();
    for round in 0..24u64 {
        clock.advance(Duration::from_secs(1));
        let charge = |n: u64| Asked {
            release_at: (n == 1).then(|| START.saturating_add(Duration::from_secs(round + 3))),
            metadata: Some(metadata(4_000, n)),
            ..Asked::charge(user(n + 1), amount(100 + n), format!("{round} {n}"))
        };
        let commits: Vec<_> = (0..round % 5 * 6 + 1).map(|n| ask(&ledger, &charge(n)).expect("accepted")).collect();
        commits.into_iter().for_each(|commit| assert!(commit.wait().is_ok()));
        let (seq, digest) = ledger.state_digest();
        states.insert(seq, (digest, ledger.now()));
        if checkpoints && round % 7 == 6 {
            ledger.checkpoint().expect("a disk that works");
        }
    }
    (ledger, states)
}

fn restored(disk: &SimDisk, until: RestoreTo) -> Result<SimDisk, OpenError> {
    let to = SimDisk::new(9);
    restore(disk, Arc::new(to.clone()), until).map(|_| to)
}

#[test]
fn a_backup_of_a_ledger_in_use_is_the_same_ledger() {
    for checkpoints in [false, true] {
        let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
        let (ledger, _) = written(&disk, &clock, checkpoints);
        let (from_library, from_directory) = (SimDisk::new(2), SimDisk::new(3));
        let made = ledger.backup(&from_library).expect("a disk that works");
        assert_eq!((made.last_seq, made.snapshots), (ledger.appended(), if checkpoints { 2 } else { 0 }));
        backup(&disk, &from_directory).expect("a disk that works");
        for copy in [from_library, from_directory] {
            assert_eq!(verify_storage(&copy).expect("sound").last_seq, ledger.appended());
            // All of it was synced.
            let copy = copy.survivor(4);
            let Err(OpenError::InvalidOption { reason }) = options(&clock).open_on(copy.clone()) else {
                panic!("two ledgers would give the same references to the bank")
            };
            assert!(reason.contains("is a backup"), "{reason}");
            let copy = restored(&copy, RestoreTo::End).expect("sound");
            let copy = options(&clock).accept_clock(true).open_on(copy).expect("sound");
            assert_eq!(copy.state_digest(), ledger.state_digest());
            assert_eq!(copy.uuid(), ledger.uuid());
        }
        assert!(matches!(backup(&disk, &disk), Err(OpenError::Io { .. } | OpenError::InvalidOption { .. })));
    }
}

#[test]
fn a_ledger_is_restored_to_any_entry() {
    for checkpoints in [false, true] {
        let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
        let (ledger, states) = written(&disk, &clock, checkpoints);
        let (last, epoch) = (ledger.appended(), ledger.epoch());
        drop(ledger);
        let oldest = if checkpoints { names_seq(&disk) } else { Seq::ZERO };
        let (mut compared, mut epochs) = (0, BTreeSet::new());
        for seq in (1..=last.get()).rev().step_by(3).map(Seq::new).chain(states.keys().copied()) {
            let to = match restored(&disk, RestoreTo::Seq(seq)) {
                Ok(to) => to,
                Err(OpenError::InvalidOption { reason }) if seq < oldest => {
                    assert!(reason.contains(&format!("from seq {oldest} on")), "{reason}");
                    continue;
                }
                Err(err) => panic!("seq {seq}: {err}"),
            };
            assert_eq!(verify_storage(&to).expect("sound").last_seq, seq);
            let ledger = options(&clock).accept_clock(true).open_on(to).expect("sound");
            assert_eq!(ledger.appended(), seq);
            assert!(ledger.epoch().get() > epoch.get() + 1_000, "no epoch is used twice");
            assert!(epochs.insert(ledger.epoch().get() >> 20), "nor by two that were restored from one");
            if let Some((digest, _)) = states.get(&seq) {
                assert_eq!(ledger.state_digest().1, *digest, "seq {seq}");
                compared += 1;
            }
            // And it goes on.
            let receipt = answer(ask(&ledger, &Asked::charge(user(1), amount(1), "after"))).expect("accepted");
            assert_eq!(receipt.transaction_id.get(), seq.get() + 1);
        }
        assert!(compared >= 7, "{compared}");
        assert!(matches!(restored(&disk, RestoreTo::Seq(last.next())), Err(OpenError::InvalidOption { .. })));
    }
}

#[test]
fn an_atomic_batch_is_restored_as_a_whole_or_not_at_all() {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    let ledger = options(&clock).open_on(disk.clone()).expect("an empty disk");
    let charge = |key: &str| Asked::charge(user(1), amount(10), key);
    answer(ask(&ledger, &charge("before"))).expect("accepted");
    let batch = ["a", "b", "c"].map(charge);
    let commands: Vec<_> = batch.iter().map(Asked::command).collect();
    answer(ledger.batch_atomic(&commands)).expect("accepted");
    answer(ask(&ledger, &charge("after"))).expect("accepted");
    drop(ledger);
    for seq in 1..=5 {
        let until = Seq::new(seq);
        match restored(&disk, RestoreTo::Seq(until)) {
            Ok(to) => {
                assert_eq!(verify_storage(&to).expect("sound").last_seq, until);
                assert!([1, 4, 5].contains(&seq));
            }
            Err(OpenError::InvalidOption { reason }) => {
                assert!([2, 3].contains(&seq) && reason.contains("name 1 or 4"), "{seq}: {reason}");
            }
            Err(err) => panic!("{seq}: {err}"),
        }
    }
}

/// The seq of the older snapshot.
fn names_seq(disk: &SimDisk) -> Seq {
    let names = disk.list().expect("a disk that works");
    let first = names.iter().find_map(|name| name.strip_suffix(".snapshot")).expect("there is one");
    Seq::new(u64::from_str_radix(first, 16).expect("a number"))
}

#[test]
fn a_ledger_is_restored_to_any_time() {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    let (ledger, states) = written(&disk, &clock, false);
    drop(ledger);
    for (seq, (_, time)) in &states {
        let to = restored(&disk, RestoreTo::Time(*time)).expect("sound");
        assert_eq!(verify_storage(&to).expect("sound").last_seq, *seq);
    }
    let (_, first) = states[&Seq::new(1)];
    match restored(&disk, RestoreTo::Time(START)) {
        Err(OpenError::InvalidOption { reason }) => {
            assert!(reason.contains("before the first entry") && reason.contains(&first.to_string()), "{reason}")
        }
        other => panic!("{other:?}"),
    }
    assert!(restored(&disk, RestoreTo::Seq(Seq::ZERO)).is_ok(), "who names no entry gets none");
}

#[test]
fn open_withdrawals_count_as_attempted_after_a_restore_and_wait_for_an_operator() {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    let ledger = options(&clock).open_on(disk.clone()).expect("an empty disk");
    answer(ask(&ledger, &Asked::charge(user(1), amount(1_000), "money"))).expect("accepted");
    for key in ["reserved", "submitting"] {
        answer(ask(&ledger, &Asked::withdraw(user(1), amount(10), key))).expect("accepted");
    }
    answer(ledger.start_attempt(id(3))).expect("due");
    drop(ledger);
    let to = restored(&disk, RestoreTo::End).expect("sound");
    assert!(is_executor_stopped(&to).expect("a disk that works"));
    assert!(!is_executor_stopped(&disk).expect("a disk that works"));
    let ledger = options(&clock).accept_clock(true).open_on(to.clone()).expect("sound");
    for of in [2, 3] {
        let withdrawal = answer(ledger.withdrawal(id(of))).expect("not halted").expect("it is there");
        assert_eq!((withdrawal.substatus, withdrawal.maybe_paid), (Substatus::Unknown, true), "{of}");
    }
    release_executor(&to).expect("a disk that works");
    assert!(!is_executor_stopped(&to).expect("a disk that works"));
}

/// A ledger with money and an open withdrawal, whose id is 2, that was never attempted.
fn with_an_open_withdrawal(clock: &SimClock) -> SimDisk {
    let disk = SimDisk::new(1);
    let ledger = options(clock).open_on(disk.clone()).expect("an empty disk");
    answer(ask(&ledger, &Asked::charge(user(1), amount(1_000), "money"))).expect("accepted");
    answer(ask(&ledger, &Asked::withdraw(user(1), amount(10), "withdrawal"))).expect("accepted");
    ledger.checkpoint().expect("a disk that works");
    answer(ask(&ledger, &Asked::charge(user(1), amount(1), "more"))).expect("accepted");
    ledger.close().expect("a disk that works");
    disk
}

#[test]
fn a_restore_or_salvage_beside_a_wrong_clock_leaves_the_ledgers_time_as_it_was() {
    let clock = SimClock::at(START);
    let disk = with_an_open_withdrawal(&clock);
    let ledger = options(&clock).open_on(disk.clone()).expect("sound");
    // The machine's own clock is long past its release.
    let held = Asked { release_at: Some(START.saturating_add(DAY)), ..Asked::charge(user(2), amount(500), "held") };
    answer(ask(&ledger, &held)).expect("accepted");
    ledger.close().expect("a disk that works");
    let salvaged = || {
        let to = SimDisk::new(9);
        salvage_on(&disk, Arc::new(to.clone())).expect("sound");
        to
    };
    for to in [restored(&disk, RestoreTo::End).expect("sound"), salvaged()] {
        let ledger = options(&clock).open_on(to).expect("a clock that fits");
        let doubted = answer(ledger.withdrawal(id(2))).expect("not halted").expect("it is there");
        assert_eq!((doubted.substatus, doubted.changed_at), (Substatus::Unknown, START));
        assert_eq!(answer(ledger.balance(user(2), Currency::USD)).expect("not halted").held, 500);
    }
}

#[test]
fn a_restore_to_what_the_backup_does_not_have_writes_nothing() {
    let disk = with_an_open_withdrawal(&SimClock::at(START));
    let to = SimDisk::new(9);
    let refused = restore(&disk, Arc::new(to.clone()), RestoreTo::Seq(Seq::new(99)));
    assert!(matches!(refused, Err(OpenError::InvalidOption { .. })), "{refused:?}");
    assert_eq!(to.names(), Vec::<String>::new());
}

#[test]
fn a_restore_or_salvage_that_is_cut_off_anywhere_leaves_nothing_that_pays() {
    let clock = SimClock::at(START);
    let disk = with_an_open_withdrawal(&clock);
    let fill = |to: SimDisk, how: usize| match how {
        0 => restore(&disk, Arc::new(to), RestoreTo::End).map(drop),
        1 => restore(&disk, Arc::new(to), RestoreTo::Seq(Seq::new(2))).map(drop),
        _ => salvage_on(&disk, Arc::new(to)).map(drop),
    };
    for how in 0..3 {
        let (mut refused, mut opened) = (0, 0);
        for cut in 0.. {
            let to = SimDisk::new(cut);
            to.crash_after(cut);
            let is_done = fill(to.clone(), how).is_ok();
            for left in [to.after_kill(), to.survivor(cut), to.survivor(cut + 1_000)] {
                if !is_done && left.names().is_empty() {
                    continue;
                }
                match options(&clock).accept_clock(true).open_on(left.clone()) {
                    Err(OpenError::InvalidOption { reason }) => {
                        assert!(reason.contains("restore.unfinished"), "{reason}");
                        assert!(!is_done && verify_storage(&left).is_err() && backup(&left, &SimDisk::new(3)).is_err());
                        assert!(release_executor(&left).is_err());
                        refused += 1;
                    }
                    Err(err) => panic!("cut {cut}: {err}"),
                    Ok(ledger) => {
                        assert!(is_executor_stopped(&left).expect("a disk that works"), "cut {cut} of {how}");
                        let withdrawal = answer(ledger.withdrawal(id(2))).expect("not halted").expect("it is there");
                        assert_eq!(withdrawal.substatus, Substatus::Unknown, "cut {cut} of {how}");
                        opened += 1;
                    }
                }
            }
            if is_done {
                break;
            }
        }
        assert!(refused > 30 && opened >= 3, "{how}: {refused} refused, {opened} opened");
    }
}

#[test]
fn a_restore_to_before_what_is_kept_says_from_where_on_there_is_something() {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    let (ledger, states) = written(&disk, &clock, true);
    // So much that the log before the older snapshot is retired.
    for round in 0..2u64 {
        let noted = |n| Asked {
            metadata: Some(metadata(4_000, n)),
            ..Asked::charge(user(1), amount(1), format!("{round}-{n}"))
        };
        (0..400).for_each(|n| assert!(answer(ask(&ledger, &noted(n))).is_ok()));
        ledger.checkpoint().expect("a disk that works");
    }
    drop(ledger);
    let oldest = names_seq(&disk);
    let (first, (_, time)) = states.first_key_value().expect("it was written");
    for until in [RestoreTo::Seq(*first), RestoreTo::Seq(Seq::new(oldest.get() - 1)), RestoreTo::Time(*time)] {
        match restored(&disk, until) {
            Err(OpenError::InvalidOption { reason }) => {
                let says = reason.contains(&format!("from seq {oldest} on")) || reason.contains("the log begins with");
                assert!(says && reason.contains("or restore an older backup"), "{until:?}: {reason}");
            }
            other => panic!("{until:?}: {other:?}"),
        }
    }
    assert!(restored(&disk, RestoreTo::Seq(oldest)).is_ok());
}

#[test]
fn a_backup_and_a_restore_pass_over_the_snapshots_that_an_opening_does() {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    let (ledger, _) = written(&disk, &clock, true);
    let digest = ledger.state_digest();
    drop(ledger);
    let snapshots: Vec<_> = disk.names().into_iter().filter(|name| name.ends_with(".snapshot")).collect();
    let [older, newest] = &snapshots[..] else { panic!("two are kept: {snapshots:?}") };
    let opened = |disk: SimDisk| options(&clock).open_on(disk).map(|ledger| ledger.state_digest());
    // In the header, and in the directory.
    let length = disk.read(newest).expect("it is there").len() as u64;
    for offset in [40, length - 60] {
        disk.flip_bit(newest, offset, 0);
        assert_eq!(opened(disk.clone()).expect("the older one is there"), digest);
        let copy = SimDisk::new(2);
        let made = backup(&disk, &copy).expect("the older one is there");
        assert_eq!((made.last_seq, made.snapshots), (digest.0, 1));
        assert!(!copy.names().contains(newest));
        assert_eq!(verify_storage(&copy).expect("nothing damaged is in it").last_seq, digest.0);
        for from in [&disk, &copy] {
            assert_eq!(opened(restored(from, RestoreTo::End).expect("sound")).expect("sound"), digest);
        }
        disk.flip_bit(newest, offset, 0);
    }
    // The newest alone is enough; without any, it depends on how far back the log reaches.
    disk.flip_bit(older, 40, 0);
    assert_eq!(opened(restored(&disk, RestoreTo::End).expect("sound")).expect("sound"), digest);
    disk.flip_bit(newest, 40, 0);
    match (opened(disk.clone()), backup(&disk, &SimDisk::new(2)), restored(&disk, RestoreTo::End)) {
        (Ok(found), Ok(made), Ok(_)) => assert_eq!((found, made.snapshots), (digest, 0)),
        (
            Err(OpenError::Damaged { file, .. }),
            Err(OpenError::Damaged { file: in_backup, .. }),
            Err(OpenError::Damaged { file: in_restore, .. }),
        ) => assert_eq!([&in_backup, &in_restore], [&file, &file]),
        other => panic!("{:?}, {:?}, {:?}", other.0, other.1, other.2.map(drop)),
    }
}

/// The disk of a ledger that makes two checkpoints whenever somebody opens a snapshot, so many times.
struct Busy {
    disk: SimDisk,
    ledger: Ledger,
    left: AtomicU64,
    opened: AtomicU64,
}

impl Storage for Busy {
    fn lock(&self) -> io::Result<DirectoryLock> {
        self.disk.lock()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.disk.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let nth = self.opened.fetch_add(1, Ordering::Relaxed);
        assert!(nth < 2_000, "it begins again for ever");
        if name.ends_with(".snapshot") && self.left.load(Ordering::Relaxed) > 0 {
            self.left.fetch_sub(1, Ordering::Relaxed);
            for half in 0..2 {
                answer(ask(
                    &self.ledger,
                    &Asked::charge(user(1), amount(1), format!("busy {} {half}", self.ledger.appended())),
                ))
                .expect("accepted");
                self.ledger.checkpoint().expect("a disk that works");
            }
        }
        self.disk.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }

    fn describe(&self) -> String {
        self.disk.describe()
    }
}

#[test]
fn a_backup_and_a_check_beside_constant_checkpoints_come_to_an_end() {
    for (checkpoints, is_made) in [(5, true), (1_000_000, false)] {
        let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
        let (ledger, _) = written(&disk, &clock, true);
        let busy = || Busy {
            disk: disk.clone(),
            ledger: ledger.clone(),
            left: AtomicU64::new(checkpoints),
            opened: AtomicU64::new(0),
        };
        let to = SimDisk::new(2);
        let ends = [backup(&busy(), &to).map(drop), verify_storage(&busy()).map(drop)];
        for end in ends {
            match end {
                Ok(()) => assert!(is_made),
                Err(OpenError::Io { source, .. }) => {
                    assert!(!is_made && source.kind() == io::ErrorKind::ResourceBusy, "{source}");
                    assert!(source.to_string().contains("make fewer checkpoints"), "{source}");
                }
                Err(err) => panic!("{err}"),
            }
        }
        if is_made {
            let copy = verify_storage(&to).expect("sound");
            assert_eq!(copy.snapshots, 2);
        }
    }
}

/// A disk on which a byte of the segments is another one from the second time on that a segment is opened.
struct Rots {
    disk: SimDisk,
    at: u64,
    opened: AtomicU64,
}

struct RotsFile(Arc<dyn StorageFile>, Option<u64>);

impl Storage for Rots {
    fn lock(&self) -> io::Result<DirectoryLock> {
        self.disk.lock()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.disk.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let is_rotten = name.ends_with(".segment") && self.opened.fetch_add(1, Ordering::Relaxed) > 0;
        Ok(Arc::new(RotsFile(self.disk.open(name)?, is_rotten.then_some(self.at))))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }

    fn describe(&self) -> String {
        self.disk.describe()
    }
}

impl RotsFile {
    fn rotten(&self, buf: &mut [u8], offset: u64, read: usize) -> usize {
        let at = self.1.and_then(|at| at.checked_sub(offset)).and_then(|at| usize::try_from(at).ok());
        if let Some(byte) = at.and_then(|at| buf[..read].get_mut(at)) {
            *byte ^= 1;
        }
        read
    }
}

impl StorageFile for RotsFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.0.read_at(buf, offset)?;
        Ok(self.rotten(buf, offset, read))
    }

    fn read_device_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.0.read_device_at(buf, offset)?;
        Ok(self.rotten(buf, offset, read))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[test]
fn what_rots_between_the_check_and_the_copy_gets_no_checksum_of_its_own() {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    let ledger = options(&clock).open_on(disk.clone()).expect("an empty disk");
    for n in 0..3u64 {
        answer(ask(&ledger, &Asked::charge(user(1), amount(1_000), format!("{n}")))).expect("accepted");
    }
    let digest = ledger.state_digest();
    ledger.close().expect("a disk that works");
    let (mut refused, mut same) = (0, 0);
    // The second frame, and the block that it fills up.
    for at in 3 * 4096..4 * 4096 {
        let to = SimDisk::new(2);
        match backup(&Rots { disk: disk.clone(), at, opened: AtomicU64::new(0) }, &to) {
            Err(OpenError::Damaged { .. }) => refused += 1,
            Err(err) => panic!("byte {at}: {err}"),
            Ok(_) => {
                let copy = restored(&to, RestoreTo::End).expect("sound");
                let copy = options(&clock).accept_clock(true).open_on(copy).expect("sound");
                assert_eq!(copy.state_digest(), digest, "byte {at}");
                same += 1;
            }
        }
    }
    assert!(refused > 100, "{refused} refused, {same} the same");
}

/// A disk in which a restore begins just before it is locked by somebody else.
struct BeginsBefore(SimDisk);

impl Storage for BeginsBefore {
    fn lock(&self) -> io::Result<DirectoryLock> {
        self.0.create("restore.unfinished")?;
        self.0.lock()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.0.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.0.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.0.sync_directory()
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

#[test]
fn a_directory_that_begins_to_be_filled_before_it_is_taken_is_not_opened() {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    match options(&clock).open_on(BeginsBefore(disk.clone())) {
        Err(OpenError::InvalidOption { reason }) => assert!(reason.contains("restore.unfinished"), "{reason}"),
        other => panic!("{:?}", other.map(|ledger| ledger.appended())),
    }
    assert_eq!(disk.names(), ["restore.unfinished"], "nothing was changed");
}

#[test]
fn nobody_opens_what_is_being_restored() {
    let (disk, clock) = (with_an_open_withdrawal(&SimClock::at(START)), SimClock::at(START));
    let to = SimDisk::new(9);
    let held = to.lock().expect("nobody has it");
    assert!(matches!(restore(&disk, Arc::new(to.clone()), RestoreTo::End), Err(OpenError::Io { .. })));
    drop(held);
    // Asked as each file is read while the directory is filled.
    struct Asks(SimDisk, SimDisk, SimClock);
    impl Storage for Asks {
        fn lock(&self) -> io::Result<DirectoryLock> {
            self.0.lock()
        }

        fn list(&self) -> io::Result<Vec<String>> {
            self.0.list()
        }

        fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
            self.0.create(name)
        }

        fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
            if self.1.names().is_empty() {
                return self.0.open(name);
            }
            let opened = options(&self.2).open_on(self.1.clone());
            assert!(matches!(opened, Err(OpenError::InUse { .. })), "{:?}", opened.map(|ledger| ledger.appended()));
            self.0.open(name)
        }

        fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            self.0.rename(from, to)
        }

        fn remove(&self, name: &str) -> io::Result<()> {
            self.0.remove(name)
        }

        fn sync_directory(&self) -> io::Result<()> {
            self.0.sync_directory()
        }

        fn describe(&self) -> String {
            self.0.describe()
        }
    }
    restore(&Asks(disk, to.clone(), clock), Arc::new(to), RestoreTo::End).expect("a disk that works");
}
