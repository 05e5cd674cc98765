//! Snapshots: what is loaded from one is what the log says, whenever it was made, and a damaged one is never believed.

mod faults;

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ledger_core::sim::{SimClock, SimDisk};
use ledger_core::withdrawals::{AttemptClass, Policy, Submission};
use ledger_core::{
    CancelWithdrawal, Error, IdempotencyKey, Ledger, OpenError, Options, Phase, Progress, Rejection, Storage,
    verify_storage,
};

use crate::model::Asked;
use crate::pair::{End, Pair};
use crate::stage::{
    SECOND, SEGMENT_BYTES, START, World, amount, answer, ask, currency, difference, dump, id, metadata, options, user,
};

fn names(disk: &SimDisk, suffix: &str) -> Vec<String> {
    let names = disk.list().expect("a disk that works");
    names.into_iter().filter(|name| name.ends_with(suffix)).collect()
}

/// Fills about `mebibytes` of log.
fn fill(ledger: &Ledger, round: u64, mebibytes: u64) {
    for n in 0..mebibytes * 16 {
        let charge = |m: u64| Asked {
            metadata: Some(metadata(4096, n * 100 + m)),
            ..Asked::charge(user(1 + m % 7), amount(1 + m), format!("round {round}, {n} {m}"))
        };
        let commits: Vec<_> = (0..16).map(|m| ask(ledger, &charge(m)).expect("accepted")).collect();
        commits.into_iter().for_each(|commit| assert!(commit.wait().is_ok(), "durable"));
    }
}

#[test]
fn the_log_is_retired_up_to_the_older_of_two_snapshots() {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    let ledger = options(&clock).open_on(disk.clone()).expect("an empty disk");
    for round in 0..5 {
        fill(&ledger, round, 2);
        let made = ledger.checkpoint().expect("a disk that works");
        assert_eq!(made.seq, ledger.appended());
        assert!(names(&disk, ".segment").len() <= 7, "{:?}", names(&disk, ".segment"));
        assert_eq!(names(&disk, ".snapshot").len(), 2.min(round as usize + 1));
        assert!(names(&disk, ".history").len() <= 3, "those of before are merged: {:?}", names(&disk, ".history"));
        assert_eq!(made.segments_retired > 0, round > 0);
        assert_eq!(verify_storage(&disk).expect("sound").last_seq, ledger.appended());
    }
    let again = ledger.checkpoint().expect("a disk that works");
    assert_eq!((again.bytes, again.segments_retired), (0, 0), "nothing is new");
    fill(&ledger, 5, 1);
    let digest = ledger.state_digest();
    drop(ledger);
    let ledger = options(&clock).open_on(disk.clone()).expect("sound");
    assert_eq!(ledger.state_digest(), digest);
    assert_eq!(ledger.recovered().snapshot, again.seq);
    assert_eq!(ledger.recovered().replayed, digest.0.get() - again.seq.get());
    assert!(names(&disk, ".tmp").is_empty());
}

#[test]
fn a_history_file_is_written_once_when_it_is_large_and_few_are_small() {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    let opened = || options(&clock).history_bytes(1 << 20).open_on(disk.clone()).expect("sound");
    let mut ledger = opened();
    let mut large = Vec::new();
    for round in 0..60u64 {
        // Every tenth one has more than a file that is left alone, the others a few hundred bytes.
        if round % 10 == 9 {
            fill(&ledger, round, 2);
        } else {
            answer(ask(&ledger, &Asked::charge(user(1), amount(10_000), format!("round {round}")))).expect("accepted");
        }
        let made = ledger.checkpoint().expect("a disk that works");
        let files = names(&disk, ".history");
        let is_large = |name: &&String| disk.read(name).expect("it is there").len() >= 1 << 20;
        let before = std::mem::replace(&mut large, files.iter().filter(is_large).cloned().collect());
        assert!(before.iter().all(|name| large.contains(name)), "a large one is kept: {before:?}, {large:?}");
        assert_eq!(large.len() as u64, (round + 1) / 10, "{large:?}");
        assert!(files.len() <= large.len() + 3, "few are small: {files:?}");
        assert!(round % 10 == 9 || made.bytes < 400 << 10, "{} bytes", made.bytes);
        if round % 7 == 3 {
            let digest = ledger.state_digest();
            drop(ledger);
            assert_eq!(verify_storage(&disk).expect("sound").snapshots, 2);
            ledger = opened();
            assert_eq!(ledger.state_digest(), digest);
            assert_eq!(ledger.recovered().passed_over, Vec::<String>::new());
        }
    }
}

#[test]
fn keys_and_withdrawals_that_later_entries_changed_are_in_the_file_that_is_written_again() {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    let opened = || options(&clock).history_bytes(6_000).open_on(disk.clone()).expect("sound");
    let mut ledger = opened();
    // The first file is left alone, and has the withdrawals.
    for n in 0..2 {
        let noted = metadata(4_000, n);
        let money = Asked { metadata: Some(noted), ..Asked::charge(user(1), amount(10_000), format!("money {n}")) };
        answer(ask(&ledger, &money)).expect("accepted");
    }
    for n in 0..12 {
        answer(ask(&ledger, &Asked::withdraw(user(1), amount(10), format!("withdrawal {n}")))).expect("accepted");
    }
    ledger.checkpoint().expect("a disk that works");
    for n in 0..12 {
        // The key names a transaction that an earlier file has.
        let key = format!("cancel {n}");
        let cancel = CancelWithdrawal { id: id(3 + n), key: IdempotencyKey::new(&key).expect("a key") };
        answer(ledger.cancel_withdrawal(cancel)).expect("it was never attempted");
        answer(ask(&ledger, &Asked::charge(user(1), amount(1), format!("charge {n}")))).expect("accepted");
        ledger.checkpoint().expect("a disk that works");
        if n % 3 == 0 {
            drop(ledger);
            ledger = opened();
        }
    }
    let digest = ledger.state_digest();
    drop(ledger);
    assert!((2..=6).contains(&names(&disk, ".history").len()), "{:?}", names(&disk, ".history"));
    assert_eq!(verify_storage(&disk).expect("sound").snapshots, 2);
    let ledger = opened();
    assert_eq!((ledger.state_digest(), ledger.recovered().replayed), (digest, 0));
    for n in 0..12 {
        let key = format!("cancel {n}");
        let again = CancelWithdrawal { id: id(3 + n), key: IdempotencyKey::new(&key).expect("a key") };
        let answered = answer(ledger.cancel_withdrawal(again));
        assert!(matches!(answered, Err(Error::Rejected(Rejection::DuplicateRequest(_)))), "{key}: {answered:?}");
    }
}

#[test]
fn neighbouring_withdrawals_with_much_evidence_are_no_hindrance_to_a_checkpoint() {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    let policy = Policy { attempts_max: 40, backoff: SECOND, backoff_max: SECOND, ..Policy::default() };
    let opened = || options(&clock).shards(1).policy(policy.clone()).open_on(disk.clone()).expect("sound");
    let ledger = opened();
    answer(ask(&ledger, &Asked::charge(user(1), amount(1_000), "money"))).expect("accepted");
    for n in 2..34 {
        answer(ask(&ledger, &Asked::withdraw(user(1), amount(10), format!("withdrawal {n}")))).expect("accepted");
    }
    // 36 KiB for each of 32.
    let not_sent = Submission { class: AttemptClass::NotSent, evidence: "x".repeat(1_024) };
    for attempt in 1..=36 {
        for of in (2..34).map(id) {
            answer(ledger.start_attempt(of)).expect("it is due");
            answer(ledger.end_attempt(of, attempt, &not_sent)).expect("it runs");
        }
        clock.advance(2 * SECOND);
    }
    let made = ledger.checkpoint().expect("whatever was said");
    assert!(made.bytes > 1 << 20, "{}", made.bytes);
    let digest = ledger.state_digest();
    drop(ledger);
    assert_eq!(verify_storage(&disk).expect("sound").snapshots, 1);
    let ledger = opened();
    assert_eq!((ledger.state_digest(), ledger.recovered().replayed), (digest, 0));
}

#[test]
fn a_withdrawal_with_all_the_attempts_that_it_can_have_is_no_hindrance_to_a_checkpoint() {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    let attempts_max = Policy::ATTEMPTS_MAX;
    let policy = Policy { attempts_max, backoff: SECOND, backoff_max: SECOND, ..Policy::default() };
    let ledger = options(&clock).policy(policy.clone()).open_on(disk.clone()).expect("an empty disk");
    answer(ask(&ledger, &Asked::charge(user(1), amount(1_000), "money"))).expect("accepted");
    answer(ask(&ledger, &Asked::withdraw(user(1), amount(10), "withdrawal"))).expect("accepted");
    let not_sent = Submission { class: AttemptClass::NotSent, evidence: "x".repeat(1_024) };
    for attempt in 1..=attempts_max {
        answer(ledger.start_attempt(id(2))).expect("it is due");
        answer(ledger.end_attempt(id(2), attempt, &not_sent)).expect("it runs");
        clock.advance(2 * SECOND);
    }
    assert!(answer(ledger.start_attempt(id(2))).is_err(), "that was the last");
    ledger.checkpoint().expect("whatever was said");
    let digest = ledger.state_digest();
    drop(ledger);
    let one_more = Policy { attempts_max: attempts_max + 1, ..policy.clone() };
    match options(&clock).policy(one_more).open_on(disk.clone()).err() {
        Some(OpenError::InvalidOption { reason }) => {
            assert!(reason.contains(&format!("{}", attempts_max + 1)), "{reason}")
        }
        other => panic!("{other:?}"),
    }
    let ledger = options(&clock).policy(policy).open_on(disk).expect("sound");
    assert_eq!((ledger.state_digest(), ledger.recovered().replayed), (digest, 0));
}

#[test]
fn as_many_currencies_as_a_user_likes_are_no_hindrance_to_a_checkpoint() {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    let opened = || options(&clock).shards(1).open_on(disk.clone()).expect("sound");
    let ledger = opened();
    // The sums of a currency are 80 bytes, and a block has at most a mebibyte.
    let asked: Vec<_> = (0..14_000)
        .map(|n| Asked {
            currency: currency(&format!("C{n:05}")),
            ..Asked::charge(user(1), amount(1 + n), format!("{n}"))
        })
        .collect();
    for asked in asked.chunks(1_000) {
        let commands: Vec<_> = asked.iter().map(Asked::command).collect();
        assert!(answer(ledger.batch(&commands)).expect("not halted").iter().all(Result::is_ok));
    }
    ledger.checkpoint().expect("however many there are");
    let digest = ledger.state_digest();
    drop(ledger);
    assert_eq!(verify_storage(&disk).expect("sound").snapshots, 1);
    let ledger = opened();
    assert_eq!((ledger.state_digest(), ledger.recovered().replayed), (digest, 0));
    assert!(answer(ledger.audit_deep()).expect("not halted").is_balanced());
}

#[test]
fn an_opening_tells_how_far_it_has_come_to_the_end_of_each_phase() {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    let ledger = options(&clock).open_on(disk.clone()).expect("an empty disk");
    fill(&ledger, 0, 8);
    let snapshot = ledger.checkpoint().expect("a disk that works").seq.get();
    let asked: Vec<_> = (0..70_000).map(|n| Asked::charge(user(1 + n % 7), amount(1), format!("{n}"))).collect();
    let commands: Vec<_> = asked.iter().map(Asked::command).collect();
    for commands in commands.chunks(1_000) {
        let answers = answer(ledger.batch(commands)).expect("not halted");
        assert!(answers.iter().all(Result::is_ok));
    }
    drop(ledger);

    let told = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&told);
    let tell = move |progress: Progress| all.lock().unwrap().push(progress);
    options(&clock).on_progress(tell).open_on(disk).expect("sound");
    let told = told.lock().unwrap();
    for (phase, entries) in [(Phase::Snapshot, snapshot), (Phase::Log, 70_000)] {
        let of_phase: Vec<_> = told.iter().filter(|progress| progress.phase == phase).collect();
        assert!(of_phase.len() > 1, "{phase:?}: told at the end alone");
        assert!(of_phase.is_sorted_by(|before, after| before.done < after.done), "{of_phase:?}");
        assert!(of_phase.iter().all(|progress| progress.done <= progress.total), "{of_phase:?}");
        assert_eq!(of_phase.last(), Some(&&Progress { phase, done: entries, total: entries }));
    }
    assert!(told.is_sorted_by_key(|progress| progress.phase == Phase::Log), "first the snapshot");
}

#[test]
fn a_damaged_snapshot_is_passed_over_for_the_older_one_and_more_of_the_log() {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    let ledger = options(&clock).open_on(disk.clone()).expect("an empty disk");
    for round in 0..3 {
        fill(&ledger, round, 1);
        ledger.checkpoint().expect("a disk that works");
    }
    fill(&ledger, 3, 1);
    let digest = ledger.state_digest();
    drop(ledger);
    let snapshots = names(&disk, ".snapshot");
    disk.flip_bit(&snapshots[1], 300, 1);
    assert!(matches!(verify_storage(&disk), Err(OpenError::Damaged { .. })), "verify tells");
    let ledger = options(&clock).open_on(disk.clone()).expect("the older one is there");
    assert_eq!(ledger.state_digest(), digest);
    assert_eq!(ledger.recovered().passed_over.len(), 1);
    assert!(ledger.recovered().passed_over[0].contains(&snapshots[1]));
    // The next checkpoint takes the damaged one's place.
    fill(&ledger, 4, 1);
    ledger.checkpoint().expect("a disk that works");
    let digest = ledger.state_digest();
    drop(ledger);
    assert_eq!(verify_storage(&disk).expect("sound").snapshots, 2);
    let snapshots = names(&disk, ".snapshot");
    snapshots.iter().for_each(|name| disk.flip_bit(name, 300, 1));
    // None is left, and the log does not reach back.
    match options(&clock).open_on(disk.clone()).err() {
        Some(OpenError::Damaged { file, .. }) => assert_eq!(file, snapshots[1]),
        other => panic!("opened without a snapshot: {other:?}"),
    }
    snapshots.iter().for_each(|name| disk.flip_bit(name, 300, 1));
    assert_eq!(options(&clock).open_on(disk).expect("mended").state_digest(), digest);
}

#[test]
fn a_snapshot_that_cannot_be_read_is_passed_over_as_a_damaged_one() {
    let (disk, state) = small();
    let newest = names(&disk, ".snapshot")[1].clone();
    for at in (0..disk.read(&newest).expect("it is there").len() as u64).step_by(512) {
        let unreadable = disk.survivor(0);
        unreadable.lose_sectors(&newest, at..at + 512);
        let ledger = options(&SimClock::at(START)).open_on(unreadable).expect("the older one is there");
        assert_eq!(ledger.state_digest(), state);
        assert!(ledger.recovered().passed_over[0].contains(&newest), "{:?}", ledger.recovered().passed_over);
    }
}

/// The same commands, with and without checkpoints, closed and killed, come to the same state.
#[test]
fn snapshot_and_tail_are_what_the_whole_log_is() {
    let run = |with_checkpoints: bool| {
        let mut pair = Pair::new(5, World::new(3, &["USD", "EUR"]), None);
        for round in 0..6u64 {
            for n in 1..=3u64 {
                let hold = (n == 2).then(|| START.saturating_add(Duration::from_secs(round * 2 + 1)));
                let charge =
                    Asked { release_at: hold, ..Asked::charge(user(n), amount(100 * n), format!("c {round} {n}")) };
                pair.command(&charge)?;
                let eur =
                    Asked { currency: currency("EUR"), ..Asked::charge(user(n), amount(n), format!("e {round} {n}")) };
                pair.batch(&[eur, Asked::transfer(user(n), user(n % 3 + 1), amount(9), format!("t {round} {n}"))])?;
            }
            let payout =
                Asked { destination: Some("DE89".into()), ..Asked::withdraw(user(1), amount(7), format!("w {round}")) };
            pair.command(&payout)?;
            let of =
                pair.model.keys().find(|(key, _)| *key == format!("w {round}")).map(|(_, id)| id).expect("accepted");
            pair.start_attempt(of)?;
            if with_checkpoints {
                pair.checkpoint()?;
            }
            pair.advance(Duration::from_secs(2))?;
            let class = ledger_core::withdrawals::AttemptClass::ALL[round as usize % 5];
            pair.end_attempt(of, None, class)?;
            if round == 2 {
                pair.reopen(End::Drop)?;
            } else if round == 4 {
                pair.reopen(End::Close)?;
            }
        }
        pair.same_dump()?;
        assert_eq!(pair.ledger().recovered().snapshot.get() > 0, with_checkpoints);
        Ok::<_, String>(pair.ledger().state_digest())
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn checkpoints_are_made_while_writers_run_and_the_books_balance() {
    let directory = tempfile::tempdir().expect("a directory");
    let open = || {
        Options::default().segment_bytes(SEGMENT_BYTES).checkpoint_bytes(Some(1 << 20)).shards(8).open(directory.path())
    };
    let ledger = open().expect("an empty directory");
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3u64)
            .map(|writer| {
                let ledger = ledger.clone();
                scope.spawn(move || {
                    for n in 0..400u64 {
                        let key = |what: &str| format!("{what} {writer} {n}");
                        let (one, other) = (user(1 + (n * 7 + writer) % 50), user(51 + n % 50));
                        let batch = [
                            Asked {
                                metadata: Some(metadata(900, n)),
                                ..Asked::charge(one, amount(100), key("charge"))
                            },
                            Asked::charge(other, amount(100), key("other")),
                            Asked::transfer(one, other, amount(30), key("transfer")),
                            Asked::withdraw(one, amount(5), key("withdrawal")),
                        ];
                        let commands: Vec<_> = batch.iter().map(Asked::command).collect();
                        answer(ledger.batch(&commands))
                            .expect("not halted")
                            .into_iter()
                            .for_each(|it| assert!(it.is_ok(), "{it:?}"));
                    }
                })
            })
            .collect();
        while !writers.iter().all(|writer| writer.is_finished()) {
            ledger.checkpoint().expect("a directory that works");
            assert!(answer(ledger.audit_deep()).expect("not halted").is_balanced());
        }
    });
    let digest = ledger.state_digest();
    assert!(ledger.checkpoints().made > 1 && ledger.checkpoints().failed == 0, "{:?}", ledger.checkpoints());
    drop(ledger);
    let ledger = open().expect("sound");
    assert!(ledger.recovered().snapshot.get() > 0);
    assert_eq!(ledger.state_digest(), digest);
    assert!(answer(ledger.audit_deep()).expect("not halted").is_balanced());
    ledger.close().expect("nothing is in the way");
    let verified = ledger_core::verify(directory.path()).expect("sound");
    assert_eq!(verified.last_seq, digest.0);
}

#[test]
fn a_checkpoint_copies_as_little_under_one_lock_from_a_large_ledger_as_from_a_small_one() {
    const MOST: usize = 128 << 10;
    let largest_hold = |charges: u64| {
        let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
        // One shard: what a lock guards is everything.
        let ledger = options(&clock).shards(1).open_on(disk).expect("an empty disk");
        for from in (0..charges).step_by(1_000) {
            let asked: Vec<_> = (from..from + 1_000)
                .map(|n| match n % 100 {
                    1 => Asked::withdraw(user(n), amount(1), format!("payout {n}")),
                    _ => Asked::charge(user(n + 1), amount(1), format!("charge {n}, with a key that is long enough")),
                })
                .collect();
            let commands: Vec<_> = asked.iter().map(Asked::command).collect();
            answer(ledger.batch(&commands)).expect("not halted");
        }
        ledger.checkpoint().expect("a disk that works").largest_hold
    };
    let (small, large) = (largest_hold(10_000), largest_hold(60_000));
    assert!(small > 16 << 10, "{small} bytes: what is copied is counted");
    assert!(large <= MOST && small <= MOST, "{small} bytes of a small ledger, {large} of a large one");
}

/// A small ledger with two snapshots that share a history file, closed; its state.
fn small() -> (SimDisk, (ledger_core::Seq, u128)) {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    let ledger = options(&clock).history_bytes(0).open_on(disk.clone()).expect("an empty disk");
    for round in 0..2u64 {
        let held = Some(START.saturating_add(Duration::from_secs(60)));
        for asked in [
            Asked::charge(user(1), amount(1_000), format!("charge {round}")),
            Asked { release_at: held, ..Asked::charge(user(2), amount(70), format!("held {round}")) },
            Asked::transfer(user(1), user(3), amount(9), format!("transfer {round}")),
            Asked {
                destination: Some("DE89".into()),
                ..Asked::withdraw(user(1), amount(7), format!("payout {round}"))
            },
        ] {
            answer(ask(&ledger, &asked)).expect("accepted");
        }
        ledger.checkpoint().expect("a disk that works");
    }
    answer(ask(&ledger, &Asked::charge(user(4), amount(5), "after"))).expect("accepted");
    ledger.close().expect("nothing is in the way");
    (disk, ledger.state_digest())
}

/// Opens a damaged ledger: refused, or exactly what it was.
fn refused_or_the_same(disk: &SimDisk, state: (ledger_core::Seq, u128), what: &str) -> bool {
    match options(&SimClock::at(START)).open_on(disk.clone()) {
        Err(OpenError::Damaged { .. } | OpenError::Unsupported { .. }) => true,
        Err(err) => panic!("{what}: {err}"),
        Ok(ledger) => {
            assert_eq!(ledger.state_digest(), state, "{what}");
            !ledger.recovered().passed_over.is_empty()
        }
    }
}

/// `LEDGER_SWEEP=full` tries every bit and every length, also of snapshots whose log is retired (`retired.rs`): `LEDGER_SWEEP=full
/// cargo test --profile ci -p ledger-core --test it no_damage_to -- --nocapture`, which says how many.
#[test]
fn no_damage_to_a_snapshot_changes_what_is_opened() {
    let (disk, state) = small();
    let is_full = std::env::var("LEDGER_SWEEP").is_ok_and(|how| how == "full");
    // Without the log before it, nothing else can take the snapshots' place; here it can, and must give the same.
    let files: Vec<String> = [names(&disk, ".snapshot"), names(&disk, ".history")].concat();
    let (mut looked_at, mut noticed) = (0, 0);
    let mut judge = |damaged: SimDisk, what: String, must_be_noticed: bool| {
        looked_at += 1;
        let told = refused_or_the_same(&damaged, state, &what);
        assert!(told || !must_be_noticed, "{what} was not noticed");
        assert!(!must_be_noticed || verify_storage(&damaged).is_err(), "{what}: verify was content");
        noticed += u64::from(told);
    };
    let newest = names(&disk, ".snapshot")[1].clone();
    for file in &files {
        let len = disk.read(file).expect("it is there").len() as u64;
        for offset in 0..len {
            // Of each byte another bit.
            let bits = if is_full { 0..8 } else { (offset % 8) as u8..(offset % 8) as u8 + 1 };
            for bit in bits {
                let damaged = disk.survivor(0);
                damaged.flip_bit(file, offset, bit);
                judge(damaged, format!("{file}, bit {offset}.{bit}"), *file == newest || file.ends_with(".history"));
            }
        }
        for len in (0..len).step_by(if is_full { 1 } else { 7 }) {
            let damaged = disk.survivor(0);
            damaged.truncate(file, len);
            judge(damaged, format!("{file}, cut at {len}"), *file == newest || file.ends_with(".history"));
        }
        let bytes = disk.read(file).expect("it is there");
        for sector in 0..bytes.len() / 512 {
            let damaged = disk.survivor(0);
            damaged.overwrite(file, sector as u64 * 512, &[0; 512]);
            judge(damaged, format!("{file}, sector {sector} zeroed"), false);
            let damaged = disk.survivor(0);
            damaged.overwrite(file, sector as u64 * 512, &bytes[..512]);
            judge(damaged, format!("{file}, sector 0 again at {sector}"), false);
        }
        let damaged = disk.survivor(0);
        damaged.erase(file);
        judge(damaged, format!("{file} is missing"), false);
        // Another file under its name: the other of its kind, and one of another ledger.
        for other in files.iter().filter(|other| *other != file) {
            let damaged = disk.survivor(0);
            damaged.truncate(file, 0);
            damaged.overwrite(file, 0, &disk.read(other).expect("it is there"));
            judge(damaged, format!("{other} under the name {file}"), *file == newest);
        }
    }
    let (stranger, _) = small();
    for file in &files {
        let damaged = disk.survivor(0);
        damaged.truncate(file, 0);
        // The two ledgers have done the same, so their files have the same names but for the UUID in them.
        damaged.overwrite(file, 0, &stranger.read(file).expect("it is there"));
        judge(damaged, format!("another ledger's {file}"), *file == newest);
    }
    eprintln!("damaged snapshots: {looked_at} images, {noticed} noticed");
    assert!(looked_at > 2_000 && noticed > looked_at / 2, "{noticed} of {looked_at}");
}

fn golden_directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/snapshot-v1")
}

fn reading_clock() -> SimClock {
    SimClock::at(START.saturating_add(Duration::from_secs(60)))
}

/// A ledger with a snapshot that holds one of everything, and an entry after it, in two commits.
fn write_golden() -> SimDisk {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    let ledger = options(&clock).open_on(disk.clone()).expect("an empty disk");
    let held = Some(START.saturating_add(Duration::from_secs(3_600)));
    let eur = currency("EUR");
    let batch = [
        Asked::charge(user(1), amount(10_000), "charge"),
        Asked { release_at: held, ..Asked::charge(user(2), amount(500), "held charge") },
        Asked { currency: eur, metadata: Some(metadata(300, 1)), ..Asked::charge(user(3), amount(70), "noted charge") },
        Asked::transfer(user(1), user(2), amount(1_000), "transfer"),
        Asked { destination: Some("GB29 NWBK".into()), ..Asked::withdraw(user(1), amount(250), "open ü") },
    ];
    let commands: Vec<_> = batch.iter().map(Asked::command).collect();
    answer(ledger.batch(&commands)).expect("not halted").into_iter().for_each(|it| assert!(it.is_ok(), "{it:?}"));
    ledger.checkpoint().expect("a disk that works");
    answer(ask(&ledger, &Asked::charge(user(3), amount(5), "after"))).expect("accepted");
    ledger.close().expect("nothing is in the way");
    disk
}

/// `LEDGER_REGENERATE_FIXTURES=1 cargo test -p ledger-core golden` writes the directory anew; one of a released format is
/// never written again. Files are kept without the zeros that they end with, which are counted in the file `lengths`.
#[test]
fn a_golden_snapshot_gives_the_same_ledger_for_ever() {
    let (directory, world) = (golden_directory(), World::new(3, &["USD", "EUR"]));
    if std::env::var_os("LEDGER_REGENERATE_FIXTURES").is_some() {
        let disk = write_golden();
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("data")).expect("a writable source tree");
        let mut lengths = String::new();
        for name in disk.names() {
            let bytes = disk.read(&name).expect("it is listed");
            let kept = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            fs::write(directory.join("data").join(&name), &bytes[..kept]).expect("a writable source tree");
            lengths.push_str(&format!("{name} {}\n", bytes.len()));
        }
        fs::write(directory.join("lengths"), lengths).expect("a writable source tree");
        let ledger = options(&reading_clock()).open_on(disk).expect("just written");
        let lines = dump(&ledger, &world).expect("an open ledger").join("\n") + "\n";
        fs::write(directory.join("dump"), lines).expect("a writable source tree");
    }
    let disk = SimDisk::new(1);
    for line in fs::read_to_string(directory.join("lengths")).expect("the fixture").lines() {
        let (name, len) = line.split_once(' ').expect("a name and a length");
        let mut bytes = fs::read(directory.join("data").join(name)).expect("a golden file");
        bytes.resize(len.parse().expect("a length"), 0);
        disk.create(name).expect("an empty disk").write_at(&bytes, 0).expect("room");
    }
    assert_eq!(verify_storage(&disk).expect("sound").snapshots, 1);
    let ledger = options(&reading_clock()).open_on(disk).expect("sound");
    assert_eq!((ledger.recovered().snapshot.get(), ledger.recovered().replayed), (5, 1));
    let expected = fs::read_to_string(directory.join("dump")).expect("the fixture");
    let expected: Vec<String> = expected.lines().map(str::to_owned).collect();
    assert_eq!(difference(&expected, &dump(&ledger, &world).expect("an open ledger")), None);
}
