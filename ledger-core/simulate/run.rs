//! One seed: a ledger, its disk, its clock, its callers and its bank, all driven by one stream of chance.
//!
//! A run is a few lives, each from an opening to an end (a close, a kill, a power cut). Within a life one actor takes one
//! step at a time: a caller asks or looks whether its answer may leave, the log writes or syncs, the executor takes up
//! or records something, time passes. The model is asked at the moment at which the ledger decides, so that the order of
//! the decisions is the order of the seqs; the answer leaves later, or never.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ledger_core::sim::{Fault as DiskFault, PlantedBug, SimClock, SimDisk};
use ledger_core::{CheckpointError, Clock, Ledger, OnSideFailure, Options, Timestamp};

use crate::bank::Bank;
use crate::clients::Pending;
use crate::coverage::{Coverage, Fault};
use crate::disks::Disks;
use crate::doubt::Doubt;
use crate::executor::Task;
use crate::images::Expected;
use crate::model::{Asked, Model, Order};
use crate::panics;
use crate::promise::{Checked, Promise, Violation};
use crate::rules::Story;
use crate::stage::{Chance, DAY, START, World};
use crate::swarm::{Swarm, Weights};
use crate::timekeeper::Timekeeper;
use crate::trace::Trace;

/// What is counted of a run.
#[derive(Clone, Default)]
pub(crate) struct Tally {
    /// Simulated disk states that were opened.
    pub(crate) images: u64,
    /// Of those, how many were recovered, and compared with the model.
    pub(crate) recoveries: u64,
    pub(crate) lives: u64,
    pub(crate) entries: u64,
    pub(crate) calls: u64,
    /// Damaged images that were refused, and that were opened as if nothing was.
    pub(crate) rot_refused: u64,
    pub(crate) rot_harmless: u64,
    pub(crate) withdrawals: u64,
    pub(crate) in_review: u64,
    pub(crate) coverage: Coverage,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Tally) {
        self.images += other.images;
        self.recoveries += other.recoveries;
        self.lives += other.lives;
        self.entries += other.entries;
        self.calls += other.calls;
        self.rot_refused += other.rot_refused;
        self.rot_harmless += other.rot_harmless;
        self.withdrawals += other.withdrawals;
        self.in_review += other.in_review;
        self.coverage.merge(&other.coverage);
    }
}

/// What came of a run.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) trace: Trace,
    pub(crate) violation: Option<Violation>,
}

pub(crate) struct Run {
    seed: u64,
    pub(crate) swarm: Swarm,
    pub(crate) chance: Chance,
    pub(crate) world: World,
    pub(crate) clock: SimClock,
    pub(crate) disks: Disks,
    /// `None` between two lives.
    pub(crate) ledger: Option<Ledger>,
    pub(crate) model: Model,
    pub(crate) expected: Option<Expected>,
    /// What the ledger may have decided that the model does not know.
    pub(crate) doubt: Option<Doubt>,
    pub(crate) time: Timekeeper,
    pub(crate) promise: Promise,
    /// The fault of this life, and the side of a mirror that it strikes; `None`: all that there is.
    pub(crate) fault: Fault,
    pub(crate) struck: Option<usize>,
    /// Another one of the disk in the same life.
    pub(crate) second: Option<DiskFault>,
    /// How many operations and reads of the disk the last opening took.
    pub(crate) opening: (u64, u64),
    pub(crate) planted: Option<PlantedBug>,
    /// The calls of each client that were decided and not answered.
    pub(crate) in_flight: Vec<Vec<Pending>>,
    /// Every command that was ever thought of.
    pub(crate) asked: Vec<Asked>,
    /// Every atomic batch that was accepted.
    pub(crate) batches: Vec<Vec<Asked>>,
    /// Every order about a withdrawal that was ever thought of, with its key.
    pub(crate) given: Vec<(String, Order)>,
    /// Withdrawals of which an operator decided without knowing.
    pub(crate) guessed: BTreeSet<u64>,
    /// The highest seq that an answer told of.
    pub(crate) told: u64,
    /// Entries that were decided and not acknowledged, and by which command.
    pub(crate) unacknowledged: BTreeMap<u64, &'static str>,
    pub(crate) bank: Bank,
    pub(crate) tasks: Vec<Task>,
    pub(crate) stories: BTreeMap<u64, Story>,
    pub(crate) tally: Tally,
    pub(crate) trace: Trace,
    /// How the last life ended: under which fault, whether with a power cut, and when the last clean stop was.
    pub(crate) last_fault: Fault,
    pub(crate) is_after_power_cut: bool,
    pub(crate) closed_at: Timestamp,
    /// The disk is slow: the log takes no step before this moment of the monotonic clock.
    log_rests_until: Duration,
}

/// Runs `seed`; `keep`: with a trace that can be read.
pub(crate) fn run(seed: u64, planted: Option<PlantedBug>, keep: bool) -> Outcome {
    let mut run = Run::new(seed, planted, keep);
    let violation = panics::caught(|| run.lives()).err();
    run.tally.withdrawals = run.model.withdrawals().count() as u64;
    Outcome { tally: run.tally, trace: run.trace, violation }
}

/// What the first life begins with.
fn disks(mirror: Option<OnSideFailure>, chance: &mut Chance) -> Disks {
    let sides = if mirror.is_some() { 2 } else { 1 };
    let sides = (0..sides).map(|_| SimDisk::new(chance.next())).collect();
    Disks::new(sides, mirror.unwrap_or(OnSideFailure::Halt))
}

impl Run {
    fn new(seed: u64, planted: Option<PlantedBug>, keep: bool) -> Run {
        let mut chance = Chance::new(seed);
        let swarm = Swarm::draw(&mut chance);
        let mut trace = Trace::new(keep);
        trace.line(format_args!("seed {seed}: {swarm:?}"));
        let clock = SimClock::at(START);
        let bank = Bank::new(swarm.rates, swarm.policy.idempotency_window.is_some(), swarm.bank_can_be_asked);
        Run {
            seed,
            world: World::new(swarm.users, swarm.currencies),
            disks: disks(swarm.mirror, &mut chance),
            ledger: None,
            model: Model::new(uuid::Uuid::nil(), ledger_core::Epoch::new(0), swarm.places),
            expected: None,
            doubt: None,
            time: Timekeeper::new(&clock),
            clock,
            promise: Promise::new(swarm.durability),
            fault: Fault::Calm,
            struck: None,
            second: None,
            opening: (20, 20),
            planted,
            in_flight: (0..swarm.clients).map(|_| Vec::new()).collect(),
            asked: Vec::new(),
            batches: Vec::new(),
            given: Vec::new(),
            guessed: BTreeSet::new(),
            told: 0,
            unacknowledged: BTreeMap::new(),
            bank,
            tasks: Vec::new(),
            stories: BTreeMap::new(),
            tally: Tally::default(),
            trace,
            last_fault: Fault::Calm,
            is_after_power_cut: false,
            closed_at: Timestamp::MIN,
            log_rests_until: Duration::ZERO,
            swarm,
            chance,
        }
    }

    fn lives(&mut self) -> Checked {
        for _ in 0..self.swarm.lives {
            self.fault = self.draw_fault();
            self.live()?;
        }
        self.come_to_rest()
    }

    fn draw_fault(&mut self) -> Fault {
        let weights = self.swarm.faults;
        let mut draw = self.chance.below(weights.iter().sum());
        for (fault, weight) in Fault::ALL.into_iter().zip(weights) {
            match draw.checked_sub(weight) {
                Some(rest) => draw = rest,
                None => return fault,
            }
        }
        unreachable!("the weights add up to more than what was drawn")
    }

    fn live(&mut self) -> Checked {
        self.open()?;
        self.tally.lives += 1;
        self.plan_fault();
        for _ in 0..self.steps() {
            let promised = self.promise.after_power_cut();
            self.step()?;
            self.look_at_photographs(promised)?;
            if self.is_over() {
                break;
            }
        }
        self.end()
    }

    /// A disk runs full when much has been written.
    fn steps(&self) -> u64 {
        if self.fault == Fault::Full { self.swarm.steps + 60 } else { self.swarm.steps }
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().expect("open within a life")
    }

    /// A halted ledger is asked a few things more before its process ends.
    fn is_over(&mut self) -> bool {
        self.ledger().halted().is_some() && self.chance.below(12) == 0
    }

    /// The options of the next opening; what may differ from one to the next does.
    pub(crate) fn options(&mut self) -> Options {
        let shards = self.chance.pick(&[1, 2, 4]);
        // Each checkpoint leaves a history file, or they are merged up to a size that a life reaches, or always.
        let history_bytes = [0, 8 << 10, 64 << 20][(self.seed % 3) as usize];
        let options = Options::default()
            .history_bytes(history_bytes)
            .keep_log(self.seed.is_multiple_of(5))
            // Large batches are sorted by their locks, small ones are not; these are all small.
            .few_commands(if self.seed % 4 < 3 { 0 } else { 8 })
            .threads(false)
            .segment_bytes(self.swarm.segment_bytes)
            .shards(shards)
            .durability(self.swarm.durability)
            .withdrawal_places(self.swarm.places)
            .policy(self.swarm.policy.clone())
            .clock(self.clock.clone())
            .key_seed(self.seed);
        match self.planted {
            Some(bug) => options.planted_bug(bug),
            None => options,
        }
    }

    /// Arms the fault of this life.
    fn plan_fault(&mut self) {
        let sides: &[Option<usize>] = if self.disks.is_mirror() { &[None, Some(0), Some(1)] } else { &[None] };
        let (struck, soon) = (self.chance.pick(sides), self.chance.below(self.swarm.fault_within));
        self.struck = struck;
        match self.fault {
            Fault::Calm | Fault::Kill | Fault::Clock => self.struck = None,
            Fault::Power | Fault::PowerTwice => match struck {
                None => self.disks.power_fails(soon),
                Some(_) => self.disks.struck(struck).for_each(|side| side.crash_after(side.operations() + soon)),
            },
            Fault::Eio => {
                let fault = self.chance.pick(&[DiskFault::Eio, DiskFault::EioForever]);
                self.arm(soon, fault);
            }
            Fault::ShortWrite => self.arm(soon, DiskFault::ShortWrite),
            Fault::LostPages => self.arm(soon, DiskFault::FailedFsyncLosesPages),
            Fault::Full => match self.chance.below(4) {
                0 => self.arm(soon, DiskFault::Enospc),
                1 => self.arm(soon, DiskFault::EnospcForever),
                small => {
                    // Or not even for a checkpoint.
                    let room = self.chance.below(if small == 2 { 1 << 20 } else { 1 << 14 });
                    self.disks.struck(struck).for_each(|side| side.set_capacity(side.used() + room));
                }
            },
        }
        self.plan_second_fault();
        for _ in 0..self.swarm.photographs {
            let (after, seed) = (self.chance.below(60), self.chance.next());
            self.disks.photograph(after, seed);
        }
        let (fault, side) =
            (self.fault.as_str(), self.struck.map_or("", |side| [" of the primary", " of the mirror"][side]));
        self.trace.line(format_args!("the fault of this life is {fault}{side}"));
    }

    /// Lets an operation of what is struck go wrong, `soon` so many from here.
    fn arm(&self, soon: u64, fault: DiskFault) {
        // Only a write can stop half-way: the next one does.
        let next = if fault == DiskFault::ShortWrite { 4 } else { 1 };
        (soon..soon + next).for_each(|n| self.disks.fail(self.struck, n, fault));
    }

    /// Sometimes a disk that is to fail fails in another way as well.
    fn plan_second_fault(&mut self) {
        self.second = None;
        if !self.fault.may_halt() || self.fault == Fault::Full || self.chance.below(100) >= self.swarm.second_faults {
            return;
        }
        let all = [DiskFault::Eio, DiskFault::EioForever, DiskFault::ShortWrite, DiskFault::FailedFsyncLosesPages];
        let others: Vec<DiskFault> = all.into_iter().filter(|fault| !self.fault.is_by(*fault)).collect();
        let (second, soon) = (self.chance.pick(&others), self.chance.below(self.swarm.fault_within));
        self.arm(soon, second);
        self.second = Some(second);
    }

    /// Counts which of the planned faults of this life have struck.
    pub(crate) fn count_faults(&mut self) {
        let struck = self.disks.have_struck(self.struck);
        let power_failed = self.disks.struck(self.struck).any(SimDisk::is_off);
        if struck.iter().any(|fault| self.fault.is_by(*fault)) || power_failed {
            self.tally.coverage.hit("fault", "strikes", self.fault);
        }
        if self.second.is_some_and(|second| struck.contains(&second)) {
            self.tally.coverage.hit("fault", "a second one strikes", self.fault);
        }
        self.trace.line(format_args!("what struck: {struck:?}"));
    }

    /// Whether what a failed sync should have written is lost to the next process, too.
    pub(crate) fn loses_pages(&self) -> bool {
        let is_planned = self.fault == Fault::LostPages || self.second == Some(DiskFault::FailedFsyncLosesPages);
        is_planned && self.struck.is_none()
    }

    /// Whether the ledger goes on where its side of a mirror fails. For a full disk it does not: that is the callers' to handle.
    pub(crate) fn goes_on(&self) -> bool {
        self.disks.goes_on() && self.struck.is_some() && self.fault.may_halt() && self.fault != Fault::Full
    }

    /// Whether the ledger may halt.
    pub(crate) fn may_halt(&self) -> bool {
        self.fault.may_halt() && !self.goes_on()
    }

    /// One actor takes one step.
    fn step(&mut self) -> Checked {
        let Weights { checkpoints, backups, .. } = self.swarm.weights;
        match self.chance.below(backups + checkpoints + self.others()) {
            draw if draw < backups => self.back_up(false),
            draw if draw < backups + checkpoints => self.checkpoint(true),
            draw => self.step_of_another(draw - backups - checkpoints),
        }
    }

    /// One actor takes one step, but not the checkpointer, nor who makes a backup.
    pub(crate) fn step_beside(&mut self) -> Checked {
        let draw = self.chance.below(self.others());
        self.step_of_another(draw)
    }

    /// One actor takes one step while the directory is copied, which keeps nobody from making a checkpoint.
    pub(crate) fn step_beside_a_copy(&mut self) -> Checked {
        match self.chance.below(6) {
            0 => self.checkpoint(false),
            _ => self.step_beside(),
        }
    }

    /// One actor takes one step while a checkpoint is made.
    fn step_beside_a_checkpoint(&mut self, with_backups: bool) -> Checked {
        let backups = if with_backups { self.swarm.weights.backups } else { 0 };
        match self.chance.below(backups + self.others()) {
            draw if draw < backups => self.back_up(true),
            draw => self.step_of_another(draw - backups),
        }
    }

    /// The weights of all actors but those who copy what there is.
    fn others(&self) -> u64 {
        let Weights { collect, log, executor, orders, time, .. } = self.swarm.weights;
        self.issues() + collect + log + executor + orders + time
    }

    /// A disk runs full when much is asked for.
    fn issues(&self) -> u64 {
        if self.fault == Fault::Full { self.swarm.weights.issue * 3 } else { self.swarm.weights.issue }
    }

    fn step_of_another(&mut self, mut draw: u64) -> Checked {
        let Weights { collect, log, executor, orders, .. } = self.swarm.weights;
        let mut falls = |weight: u64| {
            let hit = draw < weight;
            draw = if hit { u64::MAX } else { draw - weight };
            hit
        };
        if falls(self.issues()) {
            self.issue()
        } else if falls(collect) {
            self.collect()
        } else if falls(log) {
            self.step_log()
        } else if falls(executor) {
            self.step_executor()
        } else if falls(orders) {
            self.order()
        } else {
            self.pass_time()
        }
    }

    pub(crate) fn step_log(&mut self) -> Checked {
        let now = self.clock.monotonic();
        if now < self.log_rests_until {
            return Ok(());
        }
        let interval_is_over = self.chance.below(8) == 0;
        let before = self.disks.operations();
        // Not when a caller writes: he would decide at another moment than the model is told.
        let is_slow = !self.swarm.disk_latency_max.is_zero();
        if is_slow {
            let seed = self.chance.next();
            self.disks.slow_down(Some((&self.clock, self.swarm.disk_latency_max, seed)));
        }
        let worked = self.ledger().step_log(interval_is_over);
        if is_slow {
            self.disks.slow_down(None);
        }
        let (operations, durable) = (self.disks.operations() - before, self.ledger().durable());
        if worked {
            self.trace.line(format_args!("log: {operations} operations, durable {durable}"));
        }
        if self.chance.below(16) == 0 {
            self.log_rests_until = now + Duration::from_millis(1 + self.chance.below(2_000));
        }
        self.may_have_halted()
    }

    /// The checkpointer makes one checkpoint, while the others go on between two pieces that it copies; crashes cut it off at
    /// any operation of the disk. Backups may be made meanwhile, unless this one is made during one.
    fn checkpoint(&mut self, with_backups: bool) -> Checked {
        let (ledger, before) = (self.ledger().clone(), self.model.seq());
        let steps = self.chance.pick(&[0, 8, 32]);
        let beside = RefCell::new((&mut *self, steps, Ok(())));
        let made = ledger.checkpoint_beside(&|| {
            let (run, steps, checked) = &mut *beside.borrow_mut();
            // Now and then much happens between two pieces.
            let several = if run.chance.below(3) == 0 { run.chance.below(*steps + 1) } else { 0 };
            *steps -= several;
            for _ in 0..several {
                if checked.is_ok() {
                    *checked = run.step_beside_a_checkpoint(with_backups);
                }
            }
            checked.is_err()
        });
        let (_, _, checked) = beside.into_inner();
        checked?;
        let outcome = match made {
            Ok(made) if !(before..=self.model.seq()).contains(&made.seq.get()) => {
                let why = format!("it ends with entry {}, and was made of {before} to {}", made.seq, self.model.seq());
                return Err(Violation::new("checkpoint", why));
            }
            Ok(made) if made.bytes == 0 => "nothing new",
            Ok(_) => "made",
            Err(CheckpointError::Halted(halted)) => return self.refused("checkpoint", &halted),
            Err(CheckpointError::Io { .. }) if self.may_halt() => "failed",
            Err(error) => return Err(Violation::new("checkpoint", error.to_string())),
        };
        self.promise.synced(self.ledger().durable().get());
        self.tally.coverage.hit("checkpoint", outcome, self.fault);
        self.trace.line(format_args!("checkpoint: {outcome}"));
        self.in_step()
    }

    /// A halt needs a reason.
    pub(crate) fn may_have_halted(&self) -> Checked {
        match self.ledger().halted() {
            Some(halted) if !self.may_halt() => Err(Violation::new("halted without a fault", halted.to_string())),
            _ => self.may_be_degraded(),
        }
    }

    fn pass_time(&mut self) -> Checked {
        if self.fault == Fault::Clock && self.chance.below(3) == 0 {
            return self.set_the_clock();
        }
        if self.fault == Fault::Full && self.chance.below(12) == 0 {
            self.disks.heal();
            self.trace.line(format_args!("there is room on the disk"));
        }
        let due = self.ledger().next_due_in();
        let by = match self.chance.below(7) {
            0 => Duration::from_millis(1),
            1 => Duration::from_millis(100),
            2 => Duration::from_secs(1 + self.chance.below(10)),
            3 => Duration::from_secs(self.chance.below(40)),
            4 => self.swarm.policy.deadline.min(Duration::from_secs(600)),
            _ => due.unwrap_or_default(),
        };
        self.advance(by)
    }

    pub(crate) fn advance(&mut self, by: Duration) -> Checked {
        self.clock.advance(by);
        self.trace.line(format_args!("{by:?} pass"));
        self.now().map(drop)
    }

    /// The ledger's time, checked.
    pub(crate) fn now(&mut self) -> Checked<Timestamp> {
        let now = self.ledger().now();
        self.time.check(&self.clock, now)?;
        Ok(now)
    }

    /// Somebody sets the wall clock, or an operator says that it is right.
    fn set_the_clock(&mut self) -> Checked {
        let wall = self.clock.wall();
        let years = DAY * 365 * (1 + self.chance.below(10) as u32);
        let seconds = Duration::from_secs(1 + self.chance.below(100));
        let (to, outcome) = match self.chance.below(6) {
            0 => (wall.saturating_add(years), "leap not believed"),
            1 => (wall.saturating_sub(years), "set back"),
            2 => (wall.saturating_add(seconds), "small step"),
            3 => (wall.saturating_sub(seconds), "small step"),
            4 => (START.saturating_add(self.clock.monotonic()), "set right"),
            _ => {
                self.ledger().accept_clock();
                self.time.accepted(&self.clock);
                self.tally.coverage.hit("clock", "accepted", self.fault);
                self.trace.line(format_args!("the wall clock is accepted at {wall}"));
                return self.now().map(drop);
            }
        };
        self.clock.set_wall(to);
        self.time.stepped(wall, to);
        self.trace.line(format_args!("the wall clock is set from {wall} to {to}"));
        let now = self.now()?;
        // Where it was far behind, a leap ahead may lead to what is right.
        if outcome != "leap not believed" || to.saturating_since(now) > DAY {
            self.tally.coverage.hit("clock", outcome, self.fault);
        }
        Ok(())
    }
}
