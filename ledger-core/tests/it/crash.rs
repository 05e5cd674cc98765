//! The plug is pulled at every operation of the disk.
//!
//! A workload runs once undisturbed, beside the model, which gives the reference: all its entries in order. It then runs
//! again and again, and each time the power fails, or the disk does, one operation later. What the disk may have kept is
//! opened, and must be a prefix of the reference that holds all that was acknowledged, cuts no transaction and no atomic
//! batch in two, answers every acknowledged key with its transaction, and goes on from there. Killing the process alone
//! would not do: the page cache would survive, and with it every byte that was never synced.
//!
//! Each check says what it found as a `Result`, so that it can itself be checked: with a planted bug it must fail.
//! `LEDGER_CRASH_SEEDS` scales the sweeps.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ledger_core::sim::{Fault, SimClock, SimDisk};
use ledger_core::withdrawals::{AttemptClass, Inquiry, InquiryAnswer, Submission};
use ledger_core::{CheckpointError, Commit, Error, IdempotencyKey, Ledger, OpenError, Receipt, Rejection};

use crate::liar::{Liar, Lie};
use crate::model::{Asked, Model};
use crate::pair::{Pair, take_in_interruptions};
use crate::stage::{
    Chance, START, World, amount, answer, ask, currency, difference, dump, id, metadata, options, user,
};

/// Simulated disk states that were opened.
static IMAGES: AtomicU64 = AtomicU64::new(0);

/// One step of a workload. Withdrawals are named by their keys.
#[derive(Clone, Debug)]
enum Act {
    Command(Asked),
    Pipelined(Vec<Asked>),
    Batch(Vec<Asked>),
    Atomic(Vec<Asked>),
    StartAttempt(String),
    EndAttempt(String, AttemptClass),
    Inquire(String, InquiryAnswer),
    Advance(Duration),
    Checkpoint,
}

/// A workload with what an undisturbed run of it does.
struct Scenario {
    name: &'static str,
    acts: Vec<Act>,
    world: World,
    /// All entries.
    reference: Model,
    /// The last seq after each act.
    seq_after: Vec<u64>,
    /// How many operations the disk saw by the end of the opening, and of the workload.
    operations: (u64, u64),
    /// What the disk lies about while the workload runs, to see whether the checks notice.
    lie: Option<Lie>,
}

const DISK_SEED: u64 = 7;

impl Scenario {
    fn new(name: &'static str, acts: Vec<Act>) -> Scenario {
        let world = World::new(4, &["USD", "EUR"]);
        let mut pair = Pair::new(DISK_SEED, world.clone(), None);
        let opened = pair.disk.operations();
        let mut seq_after = Vec::new();
        for act in &acts {
            perform_on_pair(&mut pair, act).unwrap_or_else(|why| panic!("{name}: undisturbed, {act:?}: {why}"));
            seq_after.push(pair.model.seq());
        }
        pair.same_dump().unwrap_or_else(|why| panic!("{name}: undisturbed: {why}"));
        let operations = (opened, pair.disk.operations());
        Scenario { name, acts, world, reference: pair.model, seq_after, operations, lie: None }
    }

    /// Opens `disk` and performs the acts until one fails.
    fn run(&self, disk: &SimDisk) -> Run {
        let clock = SimClock::at(START);
        let mut run =
            Run { clock: clock.clone(), acknowledged: Vec::new(), at_least: 0, at_most: 0, end: RunEnd::Done };
        let opened = match self.lie {
            None => options(&clock).open_on(disk.clone()),
            Some(lie) => options(&clock).open_on(Liar::new(disk, lie, self.operations.0)),
        };
        let ledger = match opened {
            Ok(ledger) => ledger,
            Err(err) => {
                run.end = RunEnd::NotOpened(err);
                return run;
            }
        };
        self.go_on(&ledger, &mut run, 0);
        run
    }

    /// Performs the acts from the nth on until one fails.
    fn go_on(&self, ledger: &Ledger, run: &mut Run, from: usize) {
        for (index, act) in self.acts.iter().enumerate().skip(from) {
            run.at_most = self.seq_after[index];
            if let Err(error) = self.perform(ledger, &run.clock, act, &mut run.acknowledged) {
                run.end = RunEnd::Failed { act: index, error, ledger: ledger.clone() };
                return;
            }
            run.at_least = self.seq_after[index];
        }
        run.end = RunEnd::Done;
    }

    fn perform(
        &self,
        ledger: &Ledger,
        clock: &SimClock,
        act: &Act,
        acknowledged: &mut Vec<(Asked, u64)>,
    ) -> Result<(), Error> {
        let mut acknowledge = |asked: &Asked, answer: Result<Receipt, Error>| match answer {
            Ok(receipt) => {
                acknowledged.push((asked.clone(), receipt.transaction_id.get()));
                Ok(())
            }
            Err(Error::Rejected(Rejection::DuplicateRequest(original))) => {
                acknowledged.push((asked.clone(), original.id.get()));
                Ok(())
            }
            Err(Error::Rejected(rejection)) if !is_transient(&rejection) => Ok(()),
            Err(error) => Err(error),
        };
        let of = |key: &str| id(self.reference.keys().find(|(name, _)| *name == key).expect("it was accepted").1);
        match act {
            Act::Command(asked) => acknowledge(asked, answer(ask(ledger, asked))),
            Act::Pipelined(all) => {
                let commits: Vec<Result<Commit<Receipt>, Error>> = all.iter().map(|asked| ask(ledger, asked)).collect();
                // Waited for in reverse: the last one's durability must cover the others'.
                let mut answers: Vec<_> = commits.into_iter().rev().map(answer).collect();
                answers.reverse();
                let mut result = Ok(());
                for (asked, answer) in all.iter().zip(answers) {
                    result = result.and(acknowledge(asked, answer));
                }
                result
            }
            Act::Batch(all) => {
                let commands: Vec<_> = all.iter().map(Asked::command).collect();
                let mut result = Ok(());
                for (asked, answer) in all.iter().zip(answer(ledger.batch(&commands))?) {
                    result = result.and(acknowledge(asked, answer.map_err(Error::Rejected)));
                }
                result
            }
            Act::Atomic(all) => {
                let commands: Vec<_> = all.iter().map(Asked::command).collect();
                match answer(ledger.batch_atomic(&commands)) {
                    Ok(receipt) => {
                        let ids = receipt.transactions.iter().map(|id| id.get());
                        acknowledged.extend(all.iter().cloned().zip(ids));
                        Ok(())
                    }
                    Err(Error::Rejected(Rejection::BatchRejected { rejection, .. })) if !is_transient(&rejection) => {
                        Ok(())
                    }
                    Err(error) => Err(error),
                }
            }
            Act::StartAttempt(key) => answer(ledger.start_attempt(of(key))).map(drop),
            Act::EndAttempt(key, class) => {
                let outcome = Submission { class: *class, evidence: format!("the bank said {class:?}") };
                let number = answer(ledger.withdrawal(of(key)))?.expect("it was accepted").attempts;
                answer(ledger.end_attempt(of(key), number, &outcome)).map(drop)
            }
            Act::Inquire(key, said) => {
                let outcome = Inquiry { answer: *said, evidence: format!("the bank said {said:?}") };
                answer(ledger.record_inquiry(of(key), &outcome)).map(drop)
            }
            Act::Advance(by) => {
                clock.advance(*by);
                Ok(())
            }
            Act::Checkpoint => match ledger.checkpoint() {
                // One that was not made changes nothing, and the next one tries again.
                Ok(_) | Err(CheckpointError::Io { .. }) => Ok(()),
                Err(CheckpointError::Halted(halted)) => Err(Error::Halted(halted)),
                Err(err) => panic!("a checkpoint of an open ledger: {err}"),
            },
        }
    }

    /// Opens what a crash left and checks it against the reference; then uses it, crashes it once more, and checks again.
    fn check(&self, disk: &SimDisk, run: &Run, seed: u64) -> Result<(), String> {
        let ledger = self.open(disk, run)?;
        let (model, lines) = self.recovered(&ledger, run)?;
        for (asked, id) in &run.acknowledged {
            match answer(ask(&ledger, asked)) {
                Err(Error::Rejected(Rejection::DuplicateRequest(original))) if original.id.get() == *id => {}
                found => return Err(format!("acknowledged as {id}, {:?} is answered {found:?}", asked.key)),
            }
        }
        same("asking again", &lines, &dump_of(&ledger, &self.world)?)?;
        drop(ledger);

        // Recovering changed nothing: not for a process that starts again, nor for one whose machine lost power again.
        let again = disk.survivor(seed);
        let ledger = self.open(&again, run)?;
        same("after the second recovery", &lines, &dump_of(&ledger, &self.world)?)?;

        // And the ledger goes on.
        let next = Asked::charge(user(1), amount(1), "after the crash");
        let receipt = answer(ask(&ledger, &next)).map_err(|err| format!("a charge after the crash: {err}"))?;
        if receipt.transaction_id.get() != model.seq() + 1 {
            return Err(format!("after {} entries the next one is {}", model.seq(), receipt.transaction_id));
        }
        let lines = dump_of(&ledger, &self.world)?;
        drop(ledger);
        let ledger = self.open(&again.survivor(seed), run)?;
        same("after going on and the third recovery", &lines, &dump_of(&ledger, &self.world)?)
    }

    fn open(&self, disk: &SimDisk, run: &Run) -> Result<Ledger, String> {
        IMAGES.fetch_add(1, Ordering::Relaxed);
        options(&run.clock).open_on(disk.clone()).map_err(|err| format!("not opened: {err}"))
    }

    /// The reference's prefix that `ledger` holds, and its dump.
    fn recovered(&self, ledger: &Ledger, run: &Run) -> Result<(Model, Vec<String>), String> {
        let found = dump_of(ledger, &self.world)?;
        let (now, last) = (ledger.now(), ledger.appended().get());
        // The opening may have recorded that attempts under way were interrupted: so many entries follow the prefix.
        let mut why = format!("{last} entries are no prefix of the reference's {}", self.reference.seq());
        for prefix in (last.saturating_sub(4)..=last).rev() {
            let mut model = self.reference.prefix(prefix);
            model.is_of(ledger.uuid());
            take_in_interruptions(&mut model, ledger)?;
            if model.seq() != last {
                continue;
            }
            if let Some(difference) = difference(&model.dump(&self.world, now), &found) {
                why = format!("{prefix} entries: {difference}");
                continue;
            }
            if prefix < run.least() || prefix > run.at_most {
                return Err(format!("{prefix} entries, not {} ..= {}", run.least(), run.at_most));
            }
            if self.reference.cuts_a_batch(prefix) {
                return Err(format!("{prefix} entries end within an atomic batch"));
            }
            return Ok((model, found));
        }
        Err(why)
    }

    /// Runs until the power fails during operation `cut`, and checks what `seeds` leave of the disk.
    fn crash_at(&self, cut: u64, seeds: std::ops::Range<u64>) -> Result<(), String> {
        let disk = SimDisk::new(DISK_SEED);
        disk.crash_after(cut);
        let run = self.run(&disk);
        // The last operations of all may be some that nobody waits for.
        for seed in seeds {
            self.check(&disk.survivor(seed), &run, seed).map_err(|why| format!("seed {seed}: {why}"))?;
        }
        // Killed instead, at the same place: the page cache survives.
        self.check(&disk.after_kill(), &run, 0).map_err(|why| format!("killed: {why}"))
    }

    /// As [`Scenario::crash_at`], and then the power fails again during every operation of the recovery.
    fn crash_twice_at(&self, cut: u64, seed: u64, stride: u64) -> Result<(), String> {
        let disk = SimDisk::new(DISK_SEED);
        disk.crash_after(cut);
        let run = self.run(&disk);
        let whole = disk.survivor(seed);
        drop(self.open(&whole, &run)?);
        for again in (seed % stride..whole.operations()).step_by(usize::try_from(stride).expect("a stride")) {
            let recovering = disk.survivor(seed);
            recovering.crash_after(again);
            match options(&run.clock).open_on(recovering.clone()) {
                Err(OpenError::Io { .. }) => {}
                Err(err) => return Err(format!("recovery's operation {again}: {err}")),
                Ok(_) => {} // What failed was not needed to open; the next opening does it again.
            }
            self.check(&recovering.survivor(seed ^ again), &run, seed)
                .map_err(|why| format!("seed {seed}, recovery's operation {again}: {why}"))?;
        }
        Ok(())
    }

    /// The power fails at every operation; every prefix of the workload is recovered from.
    fn crash_everywhere(&self, seeds: u64) -> Result<(), String> {
        for cut in 0..self.operations.1 {
            self.crash_at(cut, 0..seeds).map_err(|why| format!("{}, operation {cut}: {why}", self.name))?;
        }
        Ok(())
    }

    /// An operation of the disk fails with an error: the ledger halts and says so, and loses nothing.
    fn fail_at(&self, n: u64, fault: Fault, seed: u64) -> Result<bool, String> {
        let disk = SimDisk::new(DISK_SEED);
        disk.fail_at(n, fault);
        let run = self.run(&disk);
        let halted = match &run.end {
            RunEnd::Done => false,
            RunEnd::NotOpened(OpenError::Io { .. }) => false,
            RunEnd::NotOpened(err) => return Err(format!("not opened: {err}")),
            RunEnd::Failed { error: Error::Halted(halted), ledger, .. } => {
                if ledger.halted().is_none() {
                    return Err("a command was told that the ledger halted, and it did not".into());
                }
                // Decided but not durable: unknown. Refused before it was decided: not.
                let undecided = ledger.appended().get() <= run.least();
                if !halted.outcome_unknown && !undecided {
                    return Err(format!("appended, and told that nothing was recorded: {halted}"));
                }
                self.is_silent(ledger)?;
                true
            }
            RunEnd::Failed { error, .. } => return Err(format!("failed otherwise: {error}")),
        };
        let run = run.without_ledger();
        disk.heal();
        self.check(&disk.survivor(seed), &run, seed).map_err(|why| format!("after a power cut: {why}"))?;
        self.check(&disk.after_kill(), &run, seed).map_err(|why| format!("after a kill: {why}"))?;
        Ok(halted)
    }

    /// A halted ledger answers nothing: what it holds in memory may never have been recorded.
    fn is_silent(&self, ledger: &Ledger) -> Result<(), String> {
        let refused = answer(ask(ledger, &Asked::charge(user(1), amount(1), "while halted")));
        match refused {
            Err(Error::Halted(halted)) if !halted.outcome_unknown => {}
            found => return Err(format!("a halted ledger answered a charge: {found:?}")),
        }
        let balance = answer(ledger.balance(user(1), currency("USD")));
        let key = IdempotencyKey::new("key 0").expect("a key");
        let found = answer(ledger.transaction_by_key(key));
        let audit = answer(ledger.audit());
        match (balance, found, audit) {
            (Err(Error::Halted(_)), Err(Error::Halted(_)), Err(Error::Halted(_))) => Ok(()),
            found => Err(format!("a halted ledger answered a read: {found:?}")),
        }
    }

    /// The disk is full from operation `n` on: refused before anything is applied, reads go on, and once there is room
    /// the same commands succeed. Gives whether a command was refused.
    fn fill_at(&self, n: u64, fault: Fault, seed: u64) -> Result<bool, String> {
        let disk = SimDisk::new(DISK_SEED);
        disk.fail_at(n, fault);
        let mut run = self.run(&disk);
        let mut refused = false;
        for _ in 0..3 {
            let RunEnd::Failed { act, error: Error::Rejected(_), ledger } = &run.end else { break };
            let (act, ledger) = (*act, ledger.clone());
            refused = true;
            self.reads_go_on(&ledger, &run)?;
            disk.heal();
            self.go_on(&ledger, &mut run, act);
        }
        match &run.end {
            RunEnd::Done => {}
            RunEnd::NotOpened(OpenError::Io { .. }) => {}
            RunEnd::NotOpened(err) => return Err(format!("not opened: {err}")),
            // Space that was promised and is refused all the same is a failing disk.
            RunEnd::Failed { error: Error::Halted(_), ledger, .. } if ledger.halted().is_some() => {}
            RunEnd::Failed { act, error, .. } => return Err(format!("act {act}, with room again: {error}")),
        }
        let run = run.without_ledger();
        disk.heal();
        self.check(&disk.survivor(seed), &run, seed)?;
        Ok(refused)
    }

    fn reads_go_on(&self, ledger: &Ledger, run: &Run) -> Result<(), String> {
        let found = dump_of(ledger, &self.world).map_err(|why| format!("while the disk is full: {why}"))?;
        let mut model = self.reference.prefix(ledger.appended().get());
        model.is_of(ledger.uuid());
        same("while the disk is full", &model.dump(&self.world, ledger.now()), &found)?;
        if ledger.appended().get() > run.at_most {
            return Err("more is applied than was asked".into());
        }
        Ok(())
    }
}

/// What came of a run.
struct Run {
    clock: SimClock,
    /// Commands that were acknowledged, with their transactions.
    acknowledged: Vec<(Asked, u64)>,
    /// The last seq of the acts that succeeded.
    at_least: u64,
    /// The last seq that the acts begun could reach.
    at_most: u64,
    end: RunEnd,
}

enum RunEnd {
    Done,
    NotOpened(OpenError),
    Failed { act: usize, error: Error, ledger: Ledger },
}

impl Run {
    /// All entries up to here were acknowledged.
    fn least(&self) -> u64 {
        self.acknowledged.iter().map(|(_, id)| *id).max().unwrap_or(0).max(self.at_least)
    }

    /// The process ends.
    fn without_ledger(self) -> Run {
        Run { end: RunEnd::Done, ..self }
    }
}

fn is_transient(rejection: &Rejection) -> bool {
    matches!(rejection, Rejection::StorageFull | Rejection::Overloaded | Rejection::ShuttingDown)
}

fn dump_of(ledger: &Ledger, world: &World) -> Result<Vec<String>, String> {
    dump(ledger, world).map_err(|err| format!("a read failed: {err}"))
}

fn same(when: &str, expected: &[String], found: &[String]) -> Result<(), String> {
    difference(expected, found).map_or(Ok(()), |difference| Err(format!("{when}: {difference}")))
}

fn perform_on_pair(pair: &mut Pair, act: &Act) -> Result<(), String> {
    let of = |pair: &Pair, key: &str| {
        pair.model.keys().find(|(name, _)| *name == key).map(|(_, id)| id).ok_or(format!("{key} was not accepted"))
    };
    match act {
        Act::Command(asked) => pair.command(asked).map(drop),
        Act::Pipelined(all) => pair.pipelined(all).map(drop),
        Act::Batch(all) => pair.batch(all).map(drop),
        Act::Atomic(all) => pair.atomic(all).map(drop),
        Act::StartAttempt(key) => pair.start_attempt(of(pair, key)?).map(drop),
        Act::EndAttempt(key, class) => pair.end_attempt(of(pair, key)?, None, *class).map(drop),
        Act::Inquire(key, said) => pair.inquire(of(pair, key)?, *said).map(drop),
        Act::Advance(by) => pair.advance(*by).map(drop),
        Act::Checkpoint => pair.checkpoint().map(drop),
    }
}

/// A bit of everything.
fn mixed() -> Vec<Act> {
    let mut chance = Chance::new(42);
    let mut acts = Vec::new();
    let mut keys = 0;
    let mut any = |chance: &mut Chance| {
        keys += 1;
        let key = format!("key {keys}");
        let (a, b) = (user(1 + chance.below(4)), user(1 + chance.below(4)));
        let code = currency(chance.pick(&["USD", "USD", "USD", "EUR"]));
        let asked = match chance.below(8) {
            0..=3 => Asked::charge(a, amount(1 + chance.below(1000)), key),
            4..=5 => Asked::transfer(a, b, amount(1 + chance.below(100)), key),
            _ => Asked::withdraw(a, amount(1 + chance.below(100)), key),
        };
        let is_held = asked.kind != ledger_core::TransactionKind::Withdrawal && chance.below(4) == 0;
        Asked {
            currency: code,
            release_at: is_held.then(|| START.saturating_add(Duration::from_secs(chance.below(30)))),
            metadata: (chance.below(8) == 0).then(|| metadata(100, chance.next())),
            ..asked
        }
    };
    for user_id in 1..=4 {
        acts.push(Act::Command(Asked::charge(user(user_id), amount(5_000), format!("opening {user_id}"))));
    }
    for round in 0..5 {
        for _ in 0..3 {
            acts.push(Act::Command(any(&mut chance)));
        }
        let mut several = |count| (0..count).map(|_| any(&mut chance)).collect::<Vec<_>>();
        acts.push(Act::Pipelined(several(4)));
        acts.push(Act::Batch(several(3)));
        let safe = |n: u64| Asked::charge(user(n), amount(10 + n), format!("atomic {round} {n}"));
        acts.push(Act::Atomic((1..=3).map(safe).collect()));
        // Always refused: a batch that must leave no trace.
        let mut refused: Vec<_> = (1..=2).map(|n| Asked { key: format!("refused {round} {n}"), ..safe(n) }).collect();
        refused.push(Asked::transfer(user(1), user(1), amount(1), format!("refused {round}")));
        acts.push(Act::Atomic(refused));
        acts.push(Act::Advance(Duration::from_secs(3)));
        let key = format!("payout {round}");
        let mut payout = Asked::withdraw(user(round + 1).min(user(4)), amount(7), key.clone());
        payout.destination = Some("DE89 3704 0044 0532 0130 00".into());
        acts.push(Act::Command(payout));
        acts.push(Act::StartAttempt(key.clone()));
        acts.extend(match round {
            0 => vec![Act::EndAttempt(key, AttemptClass::Settled)],
            1 => vec![Act::EndAttempt(key, AttemptClass::Rejected)],
            2 => vec![
                Act::EndAttempt(key.clone(), AttemptClass::NotSent),
                Act::Advance(Duration::from_secs(2)),
                Act::StartAttempt(key.clone()),
                Act::EndAttempt(key, AttemptClass::Settled),
            ],
            3 => vec![
                Act::EndAttempt(key.clone(), AttemptClass::Ambiguous),
                Act::Advance(Duration::from_secs(10)),
                Act::Inquire(key.clone(), InquiryAnswer::Pending),
                Act::Inquire(key, InquiryAnswer::Failed),
            ],
            _ => vec![],
        });
        // A repeat and a misuse record nothing.
        let repeated = Asked::charge(user(1), amount(5_000), "opening 1");
        acts.push(Act::Command(repeated.clone()));
        acts.push(Act::Command(Asked { amount: amount(4_999), ..repeated }));
    }
    acts
}

/// Enough bytes to roll over into a second segment: the largest metadata, in few commits.
fn rolling(groups: u64) -> Vec<Act> {
    (0..groups)
        .map(|group| {
            let charge = |n: u64| Asked {
                metadata: Some(metadata(4096, group * 100 + n)),
                ..Asked::charge(user(1 + n % 4), amount(1 + n), format!("key {group} {n}"))
            };
            let all: Vec<Asked> = (0..16).map(charge).collect();
            if group % 5 == 4 { Act::Atomic(all) } else { Act::Pipelined(all) }
        })
        .collect()
}

/// The same with checkpoints in between.
fn with_checkpoints(acts: Vec<Act>, every: usize) -> Vec<Act> {
    let with = |(n, act)| if n % every == every - 1 { vec![act, Act::Checkpoint] } else { vec![act] };
    acts.into_iter().enumerate().flat_map(with).collect()
}

/// How many survivors are looked at for each operation; scaled by the environment.
fn seeds(default: u64) -> u64 {
    std::env::var("LEDGER_CRASH_SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok())
        .map_or(default, |seeds: u64| seeds * default)
}

/// Runs a check and says how many images it looked at.
fn sweep(name: &str, check: impl FnOnce() -> Result<(), String>) {
    let before = IMAGES.load(Ordering::Relaxed);
    let result = check();
    // Other sweeps run beside this one, so the count is of all of them.
    eprintln!(
        "{name}: {} crash images, {} in all",
        IMAGES.load(Ordering::Relaxed) - before,
        IMAGES.load(Ordering::Relaxed)
    );
    if let Err(why) = result {
        panic!("{name}: {why}");
    }
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_that_was_acknowledged() {
    let scenario = Scenario::new("mixed", mixed());
    sweep("power cut, mixed", || scenario.crash_everywhere(seeds(4)));
}

#[test]
fn a_power_cut_while_a_segment_is_rolled_over_loses_nothing() {
    let scenario = Scenario::new("rolling", rolling(20));
    sweep("power cut, rolling", || scenario.crash_everywhere(seeds(4)));
}

#[test]
fn a_power_cut_during_recovery_loses_nothing() {
    let mixed = Scenario::new("mixed", mixed());
    let rolling = Scenario::new("rolling", rolling(20));
    sweep("power cut twice", || {
        for (scenario, stride) in [(&mixed, 4), (&rolling, 2)] {
            for cut in (0..scenario.operations.1).step_by(stride) {
                for seed in 0..seeds(1) {
                    scenario
                        .crash_twice_at(cut, seed, 1)
                        .map_err(|why| format!("{}, operation {cut}: {why}", scenario.name))?;
                }
            }
        }
        Ok(())
    });
}

#[test]
fn a_power_cut_while_a_checkpoint_is_made_loses_nothing() {
    let scenario = Scenario::new("checkpoints", with_checkpoints(mixed(), 9));
    sweep("power cut, checkpoints", || scenario.crash_everywhere(seeds(3)));
}

#[test]
fn a_power_cut_while_the_log_is_retired_loses_nothing() {
    let scenario = Scenario::new("retirement", with_checkpoints(rolling(36), 7));
    sweep("power cut, retirement", || scenario.crash_everywhere(seeds(1)));
}

#[test]
fn a_power_cut_while_a_snapshot_is_opened_loses_nothing() {
    let checkpoints = Scenario::new("checkpoints", with_checkpoints(mixed(), 9));
    let retirement = Scenario::new("retirement", with_checkpoints(rolling(36), 7));
    sweep("power cut twice, checkpoints", || {
        for (scenario, stride) in [(&checkpoints, 7), (&retirement, 5)] {
            for cut in (0..scenario.operations.1).step_by(stride) {
                scenario
                    .crash_twice_at(cut, cut, 2)
                    .map_err(|why| format!("{}, operation {cut}: {why}", scenario.name))?;
            }
        }
        Ok(())
    });
}

#[test]
fn an_error_of_the_disk_during_a_checkpoint_loses_nothing() {
    let scenario = Scenario::new("checkpoints", with_checkpoints(mixed(), 9));
    sweep("disk errors, checkpoints", || {
        for fault in [Fault::Eio, Fault::ShortWrite, Fault::FailedFsyncLosesPages, Fault::Enospc] {
            for n in 0..scenario.operations.1 {
                let done = match fault {
                    Fault::Enospc => scenario.fill_at(n, fault, n),
                    _ => scenario.fail_at(n, fault, n),
                };
                done.map_err(|why| format!("{fault:?} at operation {n}: {why}"))?;
            }
        }
        Ok(())
    });
}

#[test]
fn a_ledger_on_a_disk_that_lies_about_syncing_is_caught() {
    // A directory matters only to a log that begins a second segment.
    for (lie, name, acts) in [
        (Lie::Fsync, "mixed", mixed()),
        (Lie::Fsync, "rolling", rolling(20)),
        (Lie::DirectoryFsync, "rolling", rolling(20)),
    ] {
        let scenario = Scenario { lie: Some(lie), ..Scenario::new(name, acts) };
        let caught = scenario.crash_everywhere(2).expect_err("a lie that nobody noticed");
        eprintln!("{lie:?} was caught: {caught}");
    }
    let scenario = Scenario { lie: Some(Lie::FailedFsync), ..Scenario::new("mixed", mixed()) };
    let caught = (0..scenario.operations.1)
        .find_map(|n| scenario.fail_at(n, Fault::FailedFsyncLosesPages, n).err())
        .expect("a failed fsync that was ignored was not noticed");
    eprintln!("FailedFsync was caught: {caught}");
}

#[test]
fn an_error_of_the_disk_halts_the_ledger_and_loses_nothing() {
    let scenario = Scenario::new("mixed", mixed());
    sweep("disk errors", || {
        for fault in [Fault::Eio, Fault::EioForever, Fault::ShortWrite, Fault::FailedFsyncLosesPages] {
            let mut halts = 0;
            for n in 0..scenario.operations.1 {
                let halted = scenario
                    .fail_at(n, fault, n)
                    .map_err(|why| format!("{}, {fault:?} at operation {n}: {why}", scenario.name))?;
                halts += u64::from(halted);
            }
            eprintln!("{fault:?}: {halts} halts");
            if halts == 0 {
                return Err(format!("{fault:?} never halted the ledger"));
            }
        }
        Ok(())
    });
}

#[test]
fn a_full_disk_refuses_before_anything_is_applied_and_writes_resume() {
    let mixed = Scenario::new("mixed", mixed());
    let rolling = Scenario::new("rolling", rolling(20));
    sweep("full disk", || {
        let mut refusals = 0;
        for scenario in [&mixed, &rolling] {
            for fault in [Fault::Enospc, Fault::EnospcForever] {
                for n in 0..scenario.operations.1 {
                    let refused = scenario
                        .fill_at(n, fault, n)
                        .map_err(|why| format!("{}, {fault:?} at operation {n}: {why}", scenario.name))?;
                    refusals += u64::from(refused);
                }
            }
        }
        // Few, or none: a disk that is full for one operation only is asked again, and one that refuses even a write into
        // space that it gave before halts the log. The small disk below is the one that refuses commands.
        eprintln!("full disk: {refusals} refusals");
        Ok(())
    });
}

#[test]
fn a_small_disk_fills_up_and_goes_on_when_there_is_room() {
    let scenario = Scenario::new("rolling", rolling(20));
    let empty = {
        let disk = SimDisk::new(DISK_SEED);
        drop(options(&SimClock::at(START)).open_on(disk.clone()).expect("an empty disk"));
        disk.used()
    };
    sweep("small disk", || {
        let mut refused = 0;
        for spare in [0, 1, 4096, 600_000, (1 << 20) - 1, 1 << 20] {
            let disk = SimDisk::new(DISK_SEED);
            disk.set_capacity(empty + spare);
            let mut run = scenario.run(&disk);
            if let RunEnd::Failed { act, error: Error::Rejected(Rejection::StorageFull), ledger } = &run.end {
                let (act, ledger) = (*act, ledger.clone());
                refused += 1;
                scenario.reads_go_on(&ledger, &run)?;
                disk.set_capacity(1 << 30);
                scenario.go_on(&ledger, &mut run, act);
            }
            match &run.end {
                RunEnd::Done => {}
                RunEnd::NotOpened(err) => return Err(format!("{spare} bytes to spare: not opened: {err}")),
                RunEnd::Failed { error, .. } => return Err(format!("{spare} bytes to spare: {error}")),
            }
            let run = run.without_ledger();
            disk.set_capacity(1 << 30);
            scenario
                .check(&disk.survivor(spare), &run, spare)
                .map_err(|why| format!("{spare} bytes to spare: {why}"))?;
        }
        if refused == 0 { Err("no disk was small enough".into()) } else { Ok(()) }
    });
}
