//! The engine under a scheduler that decides at every lock, atomic and park who goes on (shuttle): at random, and by
//! priorities that change a few times (PCT), which finds bugs of few reorderings with known probability. A lost wake-up
//! shows as a deadlock.
//!
//! ```text
//! cargo test --profile ci -p ledger-core --features shuttle --test interleavings
//! ```
//!
//! `LEDGER_INTERLEAVINGS` says how many of each are tried (default 1000). A failure prints the schedule that replays it.
#![allow(missing_docs, reason = "tests are named by sentences and documented by their modules")]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ledger_core::sim::{Fault, PlantedBug, SimClock, SimDisk};
use ledger_core::withdrawals::Attempt;
use ledger_core::{
    Amount, CancelWithdrawal, Charge, Clock, Commit, Currency, Error, IdempotencyKey, Ledger, Metadata, Options,
    Rejection, Timestamp, Transfer, UserId, Withdraw,
};
use shuttle::rand::{RngCore, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner, thread};

/// How many reorderings a bug may need for PCT to find it.
const DEPTH: usize = 3;

fn iterations() -> usize {
    std::env::var("LEDGER_INTERLEAVINGS").ok().and_then(|count| count.parse().ok()).unwrap_or(1_000)
}

/// Tries what `story` tells under both schedulers, so many times each.
fn for_each_scheduler<T, S: Fn() -> T + Send + Sync + 'static>(iterations: usize, story: impl Fn() -> S) {
    run(RandomScheduler::new(iterations), story());
    run(PctScheduler::new(DEPTH, iterations), story());
}

fn run<T>(scheduler: impl Scheduler + 'static, story: impl Fn() -> T + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = 1 << 20; // Recovery keeps whole blocks on its stack.
    Runner::new(scheduler, config).run(move || {
        story();
    });
}

fn explore(story: fn()) {
    for_each_scheduler(iterations(), || story);
}

const START: Timestamp = match Timestamp::from_micros(1_704_880_800_000_000) {
    Some(start) => start,
    None => panic!("within the years 1 to 9999"),
};

fn options() -> Options {
    Options::default()
        .shards(2)
        .segment_bytes(1 << 20)
        .checkpoint_bytes(None)
        .clock(SimClock::at(START))
        .few_commands(0)
        // Its thread is none of the scheduler's.
        .memory_ahead(0)
}

fn user(id: u64) -> UserId {
    UserId::new(id).expect("a user's number")
}

fn cents(minor: u64) -> Amount {
    Amount::new(minor).expect("an amount")
}

fn key(name: &str) -> IdempotencyKey<'_> {
    IdempotencyKey::new(name).expect("a key")
}

fn charge(ledger: &Ledger, to: u64, name: &str) -> Result<u64, Error> {
    let receipt = ledger.charge(Charge::new(user(to), cents(100), key(name)))?.wait()?;
    Ok(receipt.transaction_id.get())
}

/// Two callers spend the same hundred.
fn spend_twice(options: Options) {
    let ledger = options.in_memory().expect("valid options");
    charge(&ledger, 1, "opening").expect("a charge");
    let spenders: Vec<_> = [2, 3]
        .map(|to| {
            let ledger = ledger.clone();
            thread::spawn(move || {
                let name = format!("to {to}");
                match ledger.transfer(Transfer::new(user(1), user(to), cents(100), key(&name))) {
                    Ok(commit) => commit.wait().is_ok(),
                    Err(Error::Rejected(Rejection::InsufficientBalance { withdrawable: 0 })) => false,
                    Err(error) => panic!("{error}"),
                }
            })
        })
        .into();
    let spent = spenders.into_iter().map(|spender| spender.join().expect("no panic")).filter(|spent| *spent).count();
    assert_eq!(spent, 1, "the same money was spent {spent} times");
    let audit = ledger.audit_deep().expect("a read").wait().expect("a read");
    assert!(audit.is_balanced() && audit.currencies[0].total == 100, "{audit:?}");
}

#[test]
fn the_same_money_is_spent_once() {
    explore(|| spend_twice(options()));
}

fn spend_twice_with_the_planted_unlock() {
    spend_twice(options().planted_bug(PlantedBug::UnlockBeforeAppend));
}

#[test]
#[should_panic(expected = "the same money was spent 2 times")]
fn letting_the_shards_go_before_the_append_is_caught_at_random() {
    run(RandomScheduler::new(iterations()), spend_twice_with_the_planted_unlock);
}

#[test]
#[should_panic(expected = "the same money was spent 2 times")]
fn letting_the_shards_go_before_the_append_is_caught_by_priorities() {
    run(PctScheduler::new(DEPTH, iterations()), spend_twice_with_the_planted_unlock);
}

#[test]
fn one_key_has_one_effect() {
    explore(|| {
        let ledger = options().in_memory().expect("valid options");
        let callers = [(); 2].map(|()| {
            let ledger = ledger.clone();
            thread::spawn(move || match charge(&ledger, 1, "the same") {
                Ok(id) => (true, id),
                Err(Error::Rejected(Rejection::DuplicateRequest(original))) => (false, original.id.get()),
                Err(error) => panic!("{error}"),
            })
        });
        let [one, other] = callers.map(|caller| caller.join().expect("no panic"));
        assert!(one.0 != other.0 && one.1 == other.1, "{one:?} and {other:?}");
    });
}

/// The keys that were acknowledged, with their transactions, are on the disk as it may be found after a power cut, which leaves
/// something else in each run. Gives the ledger that is opened there.
fn assert_kept(disk: &SimDisk, acknowledged: &[(String, u64)]) -> Ledger {
    let left = disk.survivor(thread_rng().next_u64());
    let ledger = options().threads(false).open_on(left).expect("a crash leaves what can be opened");
    for (name, id) in acknowledged {
        let found = ledger.transaction_by_key(key(name)).expect("a read").wait().expect("a read");
        assert_eq!(found.map(|found| found.id.get()), Some(*id), "{name} was acknowledged");
    }
    assert!(ledger.audit_deep().expect("a read").wait().expect("a read").is_balanced());
    ledger
}

/// Two callers charge on a ledger with threads; gives what each was told.
fn charge_from_two(ledger: &Ledger) -> Vec<(String, Result<u64, Error>)> {
    let callers = [1, 2].map(|to| {
        let ledger = ledger.clone();
        thread::spawn(move || {
            (0..2)
                .map(|n| format!("{to} {n}"))
                .map(|name| (name.clone(), charge(&ledger, to, &name)))
                .collect::<Vec<_>>()
        })
    });
    callers.into_iter().flat_map(|caller| caller.join().expect("no panic")).collect()
}

#[test]
fn every_waiter_is_woken_when_its_entry_is_durable_and_no_earlier() {
    explore(|| {
        let disk = SimDisk::new(1);
        let ledger = options().open_on(disk.clone()).expect("an empty disk");
        let answers = charge_from_two(&ledger);
        let acknowledged: Vec<_> = answers.into_iter().map(|(name, id)| (name, id.expect("a sound disk"))).collect();
        // Before anything is closed: the power fails now.
        assert_kept(&disk, &acknowledged);
        let balance = ledger.balance(user(1), Currency::USD).expect("a read").wait().expect("a read");
        assert_eq!(balance.withdrawable, 200);
        ledger.close().expect("a sound disk");
    });
}

/// A checkpoint is made while two callers charge; what is opened from it and the log behind it has every balance. Gives the
/// last entry that is in it.
fn checkpoint_meanwhile(options: fn() -> Options) -> u64 {
    let disk = SimDisk::new(1);
    let ledger = options().open_on(disk.clone()).expect("an empty disk");
    charge(&ledger, 1, "before").expect("a sound disk");
    let checkpointer = {
        let ledger = ledger.clone();
        thread::spawn(move || ledger.checkpoint().expect("a sound disk"))
    };
    let answers = charge_from_two(&ledger);
    let made = checkpointer.join().expect("no panic");
    assert!(made.bytes > 0, "{made:?}");
    let acknowledged: Vec<_> = answers.into_iter().map(|(name, id)| (name, id.expect("a sound disk"))).collect();
    let balances = |ledger: &Ledger| {
        [1, 2].map(|of| ledger.balance(user(of), Currency::USD).expect("a read").wait().expect("a read").withdrawable)
    };
    assert_eq!(balances(&ledger), [300, 200]);
    // Before anything is closed, and after.
    for is_closed in [false, true] {
        if is_closed {
            ledger.close().expect("a sound disk");
        }
        let opened = assert_kept(&disk, &acknowledged);
        // Else it was damaged, and the log was replayed from its beginning.
        assert_eq!(opened.checkpoints().last_seq, made.seq, "the checkpoint was not opened");
        assert_eq!(balances(&opened), [300, 200]);
    }
    made.seq.get()
}

#[test]
fn a_checkpoint_is_of_one_moment_while_two_charge() {
    // Counted outside of what the scheduler sees.
    let moments = Arc::new(AtomicU64::new(0));
    for_each_scheduler(iterations(), || {
        let moments = Arc::clone(&moments);
        move || moments.fetch_or(1 << checkpoint_meanwhile(options), Ordering::Relaxed)
    });
    let moments = moments.load(Ordering::Relaxed);
    assert!(moments.count_ones() >= 3, "the checkpoints were of too few moments: {moments:b}");
}

fn checkpoint_with_the_planted_late_copy() {
    checkpoint_meanwhile(|| options().planted_bug(PlantedBug::CopyLate));
}

#[test]
#[should_panic(expected = "the checkpoint was not opened")]
fn copying_accounts_late_is_caught_at_random() {
    run(RandomScheduler::new(iterations()), checkpoint_with_the_planted_late_copy);
}

#[test]
#[should_panic(expected = "the checkpoint was not opened")]
fn copying_accounts_late_is_caught_by_priorities() {
    run(PctScheduler::new(DEPTH, iterations()), checkpoint_with_the_planted_late_copy);
}

/// Operations after the opening of which each fails in turn: more than two callers' commits need.
const FAILING: u64 = 6;

#[test]
fn a_failing_disk_halts_the_ledger_and_wakes_everybody() {
    for n in 0..FAILING {
        // Counted outside of what the scheduler sees, so that counting orders nothing.
        let halts = Arc::new(AtomicU64::new(0));
        for_each_scheduler(iterations() / FAILING as usize, || {
            let halts = Arc::clone(&halts);
            move || halts.fetch_add(fail_at(n), Ordering::Relaxed)
        });
        assert!(halts.load(Ordering::Relaxed) > 0, "operation {n} after the opening failed, and nobody was told of it");
    }
}

/// Gives how many calls were told that the ledger is halted.
fn fail_at(n: u64) -> u64 {
    let disk = SimDisk::new(1);
    let ledger = options().open_on(disk.clone()).expect("an empty disk");
    disk.fail_at(disk.operations() + n, Fault::EioForever);
    let mut acknowledged = Vec::new();
    let mut halts = 0;
    for (name, answer) in charge_from_two(&ledger) {
        match answer {
            Ok(id) => acknowledged.push((name, id)),
            Err(Error::Halted(_)) => halts += 1,
            Err(error) => panic!("{error}"),
        }
    }
    drop(ledger);
    disk.heal();
    assert_kept(&disk, &acknowledged);
    halts
}

/// An order about a withdrawal and a batch that takes nearly all room there is, under one key.
fn order_and_batch_of_one_key() {
    let ledger = options().open_on(SimDisk::new(1)).expect("an empty disk");
    charge(&ledger, 1, "money").expect("a sound disk");
    let payout = Withdraw::new(user(1), cents(10), key("payout"));
    let id = ledger.withdraw(payout).expect("accepted").wait().expect("a sound disk").transaction_id;
    let batch = {
        let ledger = ledger.clone();
        thread::spawn(move || {
            let names: Vec<String> = (1..62).map(|n| format!("filling {n}")).collect();
            let names = names.iter().map(String::as_str).chain(["the same"]);
            let noted = [7; 4_096];
            let noted = Metadata::new(&noted).expect("not too long");
            let commands: Vec<_> =
                names.map(|name| Charge::new(user(2), cents(1), key(name)).metadata(noted).into()).collect();
            ledger.batch_atomic(&commands).and_then(Commit::wait).is_ok()
        })
    };
    let order = ledger.cancel_withdrawal(CancelWithdrawal { id, key: key("the same") }).and_then(Commit::wait).is_ok();
    assert!(order != batch.join().expect("no panic"), "one key has one effect");
    ledger.close().expect("a sound disk");
}

#[test]
fn an_order_that_waits_for_room_keeps_no_key_from_who_has_it() {
    for_each_scheduler(iterations() / 10, || order_and_batch_of_one_key);
}

/// A clock whose next reader panics, once that is asked for.
#[derive(Clone)]
struct Faulty(SimClock, Arc<AtomicBool>);

impl Clock for Faulty {
    fn wall(&self) -> Timestamp {
        if self.1.swap(false, Ordering::SeqCst) {
            // Without the hook, which would print a schedule each time.
            resume_unwind(Box::new("the clock is at fault"));
        }
        self.0.wall()
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
}

/// Two change withdrawals of one shard; whoever has its lock first panics with it.
fn panic_with_a_shard_locked() {
    let (clock, panics) = (SimClock::at(START), Arc::new(AtomicBool::new(false)));
    let ledger = options().clock(Faulty(clock, Arc::clone(&panics))).open_on(SimDisk::new(1)).expect("an empty disk");
    charge(&ledger, 1, "money").expect("a sound disk");
    let payouts = ["one", "other"].map(|name| {
        let payout = Withdraw::new(user(1), cents(10), key(name));
        ledger.withdraw(payout).expect("accepted").wait().expect("a sound disk").transaction_id
    });
    let before = ledger.appended();
    panics.store(true, Ordering::SeqCst);
    let attempts = payouts.map(|id| {
        let ledger = ledger.clone();
        thread::spawn(move || catch_unwind(AssertUnwindSafe(|| ledger.start_attempt(id).and_then(Commit::wait))))
    });
    let attempts = attempts.map(|attempt| attempt.join().expect("its panic is caught"));
    assert_eq!(attempts.iter().filter(|attempt| attempt.is_err()).count(), 1, "one of them panics");
    let is_refused = |answer: &Result<Attempt, Error>| matches!(answer, Err(Error::Halted(_)));
    assert!(attempts.iter().flatten().all(is_refused), "{attempts:?}");
    assert_eq!(ledger.appended(), before, "nothing was appended after the panic");
}

#[test]
fn nobody_goes_on_from_what_a_panic_left() {
    explore(panic_with_a_shard_locked);
}

#[test]
fn a_close_loses_nothing_that_callers_are_told_of() {
    explore(|| {
        let disk = SimDisk::new(1);
        let ledger = options().open_on(disk.clone()).expect("an empty disk");
        let caller = {
            let ledger = ledger.clone();
            thread::spawn(move || charge(&ledger, 1, "meanwhile"))
        };
        ledger.close().expect("a sound disk");
        match caller.join().expect("no panic") {
            Ok(id) => drop(assert_kept(&disk, &[("meanwhile".to_owned(), id)])),
            Err(Error::Rejected(Rejection::ShuttingDown)) | Err(Error::Halted(_)) => {}
            Err(error) => panic!("{error}"),
        }
    });
}
