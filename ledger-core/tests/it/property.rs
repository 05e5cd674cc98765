//! Chance writes the commands: sequences over few users, currencies and keys, so that they collide, with amounts and
//! times at their bounds, clocks that step, and ledgers that end and are opened again. Every answer is compared with the
//! model's, and what must always hold is checked after every step. A bug can sit under generators that are too narrow, so
//! a run with a fixed seed must hit every (command × outcome) cell.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use ledger_core::withdrawals::{AttemptClass, InquiryAnswer, NoticeOutcome, Resolution};
use ledger_core::{
    Amount, Clock, PageStart, Query, Status, Substatus, Timestamp, TransactionKind, UserId, WithdrawalQuery,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use crate::model::Asked;
use crate::pair::{End, Pair};
use crate::stage::{World, currency, id, user};

mod cells;

use cells::CELLS;

const USERS: u64 = 3;
const CURRENCIES: [&str; 2] = ["USD", "EUR"];

/// A moment as a generator can name it, before anything has happened.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So many microseconds after the ledger's time.
    FromNow(i64),
    /// When the nth entry (modulo all) was made.
    Entry(usize),
    /// So many microseconds after the nth hold (modulo all) matures.
    Hold(usize, i64),
    First,
    Last,
}

/// A command as a generator can write it.
#[derive(Clone, Debug)]
enum Say {
    New {
        kind: TransactionKind,
        user: u64,
        to: u64,
        currency: usize,
        amount: u64,
        key: u8,
        release_at: Option<Moment>,
        destination: Option<u8>,
        metadata: Option<u8>,
    },
    /// The nth command so far, word for word.
    Again(usize),
    /// The nth command so far with one word changed.
    Misuse(usize, u8),
}

#[derive(Clone, Debug)]
enum Op {
    Command(Say),
    Pipelined(Vec<Say>),
    Batch(Vec<Say>),
    Atomic(Vec<Say>),
    /// The nth atomic batch so far, word for word.
    AtomicAgain(usize),
    Balance(u64, usize),
    BalanceAt(u64, usize, Moment),
    List {
        user: u64,
        currency: Option<usize>,
        kind: Option<TransactionKind>,
        status: Option<Status>,
        from: Option<Moment>,
        to: Option<Moment>,
        ascending: bool,
        start: Result<u64, usize>,
        limit: usize,
    },
    Get(usize, Option<u64>),
    GetByKey(u8),
    Audit(bool),
    Due,
    StartAttempt(usize),
    EndAttempt(usize, Option<u32>, AttemptClass),
    Inquire(usize, InquiryAnswer),
    Order(Order),
    /// The nth order so far, word for word.
    OrderAgain(usize),
    Notice(usize, NoticeOutcome, Moment),
    ListWithdrawals {
        status: Option<Status>,
        substatus: Option<Substatus>,
        older_than: Option<Moment>,
        after: Option<usize>,
        limit: usize,
    },
    ByReference(usize),
    Advance(Duration),
    StepWall(i64),
    AcceptClock,
    Reopen(End),
    Checkpoint,
}

/// An order about a withdrawal, as a generator can write it.
#[derive(Clone, Copy, Debug)]
enum Order {
    Cancel { of: usize, key: u8 },
    Resolve { of: usize, outcome: Resolution, operator: bool, key: u8 },
}

const MICROS: i64 = 1_000_000;
const YEAR: i64 = 365 * 24 * 3600 * MICROS;

fn moments() -> impl Strategy<Value = Moment> {
    prop_oneof![
        4 => select(vec![-YEAR, -MICROS, -1, 0, 1, MICROS, 10 * MICROS, 3_600 * MICROS, 10 * YEAR]).prop_map(Moment::FromNow),
        2 => any::<usize>().prop_map(Moment::Entry),
        2 => (any::<usize>(), -1i64..=1).prop_map(|(hold, micros)| Moment::Hold(hold, micros)),
        1 => Just(Moment::First),
        1 => Just(Moment::Last),
    ]
}

fn amounts() -> impl Strategy<Value = u64> {
    let max = Amount::MAX.minor();
    prop_oneof![4 => 1..=100u64, 1 => select(vec![max, max - 1, max - 100, max / 2 + 1])]
}

fn kinds() -> impl Strategy<Value = TransactionKind> {
    prop_oneof![
        4 => Just(TransactionKind::Charge),
        3 => Just(TransactionKind::Transfer),
        3 => Just(TransactionKind::Withdrawal),
    ]
}

fn sayings() -> impl Strategy<Value = Say> {
    let new =
        (
            kinds(),
            (1..=USERS, 1..=USERS, prop_oneof![5 => Just(0), 1 => Just(1usize)]),
            amounts(),
            any::<u8>(),
            option::weighted(0.4, moments()),
            (option::weighted(0.5, 0..2u8), option::weighted(0.2, 0..2u8)),
        )
            .prop_map(|(kind, (user, to, currency), amount, key, release_at, (destination, metadata))| {
                Say::New { kind, user, to, currency, amount, key, release_at, destination, metadata }
            });
    prop_oneof![10 => new, 1 => any::<usize>().prop_map(Say::Again), 1 => (any::<usize>(), 0..7u8).prop_map(|(n, word)| Say::Misuse(n, word))]
}

fn lists() -> impl Strategy<Value = Op> {
    let filters = (
        option::weighted(0.2, 0..CURRENCIES.len()),
        option::weighted(0.2, kinds()),
        option::weighted(0.2, select(vec![Status::Pending, Status::Completed, Status::Failed])),
        option::weighted(0.15, moments()),
        option::weighted(0.15, moments()),
    );
    let start = prop_oneof![(0..4u64).prop_map(Ok), any::<usize>().prop_map(Err)];
    (1..=USERS, filters, any::<bool>(), start, select(vec![1, 2, 3, 10, 100])).prop_map(
        |(user, (currency, kind, status, from, to), ascending, start, limit)| Op::List {
            user,
            currency,
            kind,
            status,
            from,
            to,
            ascending,
            start,
            limit,
        },
    )
}

fn orders() -> impl Strategy<Value = Order> {
    let outcomes = select(Resolution::ALL.to_vec());
    prop_oneof![
        2 => (any::<usize>(), any::<u8>()).prop_map(|(of, key)| Order::Cancel { of, key }),
        3 => (any::<usize>(), outcomes, any::<bool>(), any::<u8>())
            .prop_map(|(of, outcome, operator, key)| Order::Resolve { of, outcome, operator, key }),
    ]
}

fn withdrawal_lists() -> impl Strategy<Value = Op> {
    (
        option::weighted(0.2, select(vec![Status::Pending, Status::Completed, Status::Failed])),
        option::weighted(0.3, select(Substatus::ALL.to_vec())),
        option::weighted(0.2, moments()),
        option::weighted(0.4, any::<usize>()),
        select(vec![1, 2, 3, 100]),
    )
        .prop_map(|(status, substatus, older_than, after, limit)| Op::ListWithdrawals {
            status,
            substatus,
            older_than,
            after,
            limit,
        })
}

fn ops() -> impl Strategy<Value = Op> {
    let classes = select(vec![
        AttemptClass::Settled,
        AttemptClass::Accepted,
        AttemptClass::Rejected,
        AttemptClass::NotSent,
        AttemptClass::NotSent,
        AttemptClass::NotSent,
        AttemptClass::Ambiguous,
    ]);
    let answers = select(vec![
        InquiryAnswer::Settled,
        InquiryAnswer::Failed,
        InquiryAnswer::Pending,
        InquiryAnswer::NotFound,
        InquiryAnswer::Unsupported,
    ]);
    let advances = select(vec![1, 1_000_000, 1_500_000, 10_000_000, 3_600_000_000, 86_400_000_000]);
    let steps = select(vec![
        -10 * YEAR,
        -3_600 * MICROS,
        -61 * MICROS,
        -59 * MICROS,
        -MICROS,
        MICROS,
        61 * MICROS,
        3_600 * MICROS,
        10 * YEAR,
    ]);
    let ends = prop_oneof![Just(End::Close), Just(End::Drop), any::<u64>().prop_map(End::PowerCut)];
    prop_oneof![
        30 => sayings().prop_map(Op::Command),
        4 => vec(sayings(), 2..6).prop_map(Op::Pipelined),
        4 => vec(sayings(), 1..6).prop_map(Op::Batch),
        5 => vec(sayings(), 1..4).prop_map(Op::Atomic),
        2 => any::<usize>().prop_map(Op::AtomicAgain),
        2 => (1..=USERS + 1, 0..CURRENCIES.len()).prop_map(|(user, currency)| Op::Balance(user, currency)),
        4 => (1..=USERS, 0..CURRENCIES.len(), moments()).prop_map(|(user, currency, at)| Op::BalanceAt(user, currency, at)),
        6 => lists(),
        2 => (any::<usize>(), option::of(1..=USERS)).prop_map(|(n, viewer)| Op::Get(n, viewer)),
        1 => any::<u8>().prop_map(Op::GetByKey),
        1 => any::<bool>().prop_map(Op::Audit),
        1 => Just(Op::Due),
        7 => any::<usize>().prop_map(Op::StartAttempt),
        8 => (any::<usize>(), option::weighted(0.15, 0..4u32), classes).prop_map(|(n, number, class)| Op::EndAttempt(n, number, class)),
        4 => (any::<usize>(), answers).prop_map(|(n, answer)| Op::Inquire(n, answer)),
        6 => orders().prop_map(Op::Order),
        1 => any::<usize>().prop_map(Op::OrderAgain),
        6 => (any::<usize>(), select(NoticeOutcome::ALL.to_vec()), moments())
            .prop_map(|(n, outcome, at)| Op::Notice(n, outcome, at)),
        2 => withdrawal_lists(),
        1 => any::<usize>().prop_map(Op::ByReference),
        6 => advances.prop_map(|micros| Op::Advance(Duration::from_micros(micros))),
        2 => steps.prop_map(Op::StepWall),
        1 => Just(Op::AcceptClock),
        3 => ends.prop_map(Op::Reopen),
        2 => Just(Op::Checkpoint),
    ]
}

/// How often each (command, outcome) was seen.
type Cells = BTreeMap<(&'static str, &'static str), u64>;

/// Plays the operations, resolving what they name against what has happened so far.
struct Play<'a> {
    pair: Pair,
    said: Vec<Asked>,
    atomic: Vec<Vec<Asked>>,
    /// The orders so far, with the withdrawals that they were about.
    ordered: Vec<(u64, Order)>,
    cells: &'a RefCell<Cells>,
}

impl Play<'_> {
    fn new(places: Option<usize>, cells: &RefCell<Cells>) -> Play<'_> {
        let mut pair = Pair::new(1, World::new(USERS, &CURRENCIES), places);
        // Something to spend, or nearly every command would be refused.
        for n in 1..=USERS {
            let opening = Asked::charge(user(n), Amount::new(200 * n).expect("an amount"), format!("opening {n}"));
            pair.command(&opening).unwrap_or_else(|why| panic!("{why}"));
        }
        Play { pair, said: Vec::new(), atomic: Vec::new(), ordered: Vec::new(), cells }
    }

    fn hit(&self, command: &'static str, outcome: &'static str) {
        *self.cells.borrow_mut().entry((command, outcome)).or_default() += 1;
    }

    fn moment(&mut self, moment: Moment) -> Result<Timestamp, String> {
        let now = self.pair.now()?;
        let facts = self.pair.model.facts();
        let shifted = |from: Timestamp, micros: i64| {
            Timestamp::from_micros(from.micros().saturating_add(micros)).unwrap_or(Timestamp::MAX)
        };
        Ok(match moment {
            Moment::FromNow(micros) => shifted(now, micros),
            Moment::Entry(n) if !facts.is_empty() => facts[n % facts.len()].time,
            Moment::Hold(n, micros) => {
                let holds: Vec<Timestamp> = self.said.iter().filter_map(|asked| asked.release_at).collect();
                if holds.is_empty() { now } else { shifted(holds[n % holds.len()], micros) }
            }
            Moment::Entry(_) => now,
            Moment::First => Timestamp::MIN,
            Moment::Last => Timestamp::MAX,
        })
    }

    fn asked(&mut self, say: &Say) -> Result<Asked, String> {
        let nth = |n: usize| if self.said.is_empty() { None } else { Some(self.said[n % self.said.len()].clone()) };
        let first = || Asked::charge(user(1), Amount::new(1).expect("an amount"), "key 0");
        let asked = match say {
            Say::New { kind, user: from, to, currency: code, amount, key, release_at, destination, metadata } => {
                let has_credit = *kind != TransactionKind::Withdrawal;
                Asked {
                    kind: *kind,
                    user: user(*from),
                    to: (*kind == TransactionKind::Transfer).then(|| user(*to)),
                    currency: currency(CURRENCIES[*code]),
                    amount: Amount::new(*amount).expect("generated within the bounds"),
                    key: format!("key {key}"),
                    release_at: match release_at {
                        Some(moment) if has_credit => Some(self.moment(*moment)?),
                        _ => None,
                    },
                    destination: destination.filter(|_| !has_credit).map(|to| format!("account {to}")),
                    metadata: metadata.map(|byte| vec![byte; 3]),
                }
            }
            Say::Again(n) => nth(*n).unwrap_or_else(first),
            Say::Misuse(n, word) => {
                let mut asked = nth(*n).unwrap_or_else(first);
                match word {
                    0 => asked.user = user(asked.user.get() % USERS + 1),
                    1 => asked.amount = Amount::new(asked.amount.minor() % 100 + 1).expect("1 ..= 100"),
                    2 => asked.currency = currency("XYZ"),
                    3 if asked.kind != TransactionKind::Withdrawal => {
                        asked.release_at = if asked.release_at.is_some() { None } else { Some(Timestamp::EPOCH) };
                    }
                    3 => asked.destination = Some("elsewhere".into()),
                    4 => asked.metadata = Some(vec![9]),
                    5 => asked.to = asked.to.map(|to| user(to.get() % USERS + 1)),
                    _ if asked.kind == TransactionKind::Charge => asked.kind = TransactionKind::Withdrawal,
                    _ => asked.kind = TransactionKind::Charge,
                }
                match asked.kind {
                    TransactionKind::Withdrawal => (asked.release_at, asked.to) = (None, None),
                    TransactionKind::Charge => (asked.destination, asked.to) = (None, None),
                    _ => asked.destination = None,
                }
                asked
            }
        };
        self.said.push(asked.clone());
        Ok(asked)
    }

    fn all_asked(&mut self, say: &[Say]) -> Result<Vec<Asked>, String> {
        say.iter().map(|say| self.asked(say)).collect()
    }

    /// The nth withdrawal (modulo all), most of the time among those that are at one of `stages`; now and then a number
    /// that is no withdrawal's.
    fn withdrawal(&self, n: usize, stages: &[Substatus]) -> u64 {
        let all: Vec<(u64, Substatus)> =
            self.pair.model.withdrawals().map(|(id, record)| (id, record.substatus)).collect();
        let fit: Vec<u64> = all.iter().filter(|(_, at)| stages.contains(at)).map(|(id, _)| *id).collect();
        match n % 8 {
            7 => n as u64 % 9 + 1,
            0..=5 if !fit.is_empty() => fit[n % fit.len()],
            _ if all.is_empty() => 1,
            _ => all[n % all.len()].0,
        }
    }

    fn step(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Command(say) => {
                let asked = self.asked(say)?;
                let outcome = self.pair.command(&asked)?;
                self.hit(asked.kind.as_str(), outcome);
            }
            Op::Pipelined(say) => {
                let asked = self.all_asked(say)?;
                for outcome in self.pair.pipelined(&asked)? {
                    self.hit("pipelined", outcome);
                }
            }
            Op::Batch(say) => {
                let asked = self.all_asked(say)?;
                for outcome in self.pair.batch(&asked)? {
                    self.hit("batch", outcome);
                }
            }
            Op::Atomic(say) => {
                let asked = self.all_asked(say)?;
                let outcome = self.pair.atomic(&asked)?;
                self.hit("atomic", outcome);
                self.atomic.push(asked);
            }
            Op::AtomicAgain(n) => {
                if !self.atomic.is_empty() {
                    let asked = self.atomic[n % self.atomic.len()].clone();
                    let outcome = self.pair.atomic(&asked)?;
                    self.hit("atomic", outcome);
                    // A part of a batch is not the batch.
                    if asked.len() > 1 {
                        let outcome = self.pair.atomic(&asked[1..])?;
                        self.hit("atomic part", outcome);
                    }
                }
            }
            Op::Balance(of, code) => {
                let outcome = self.pair.balance(user(*of), currency(CURRENCIES[*code]))?;
                self.hit("balance", outcome);
            }
            Op::BalanceAt(of, code, at) => {
                let at = self.moment(*at)?;
                let outcome = self.pair.balance_at(user(*of), currency(CURRENCIES[*code]), at)?;
                self.hit("balance at", outcome);
            }
            Op::List { user: of, currency: code, kind, status, from, to, ascending, start, limit } => {
                let (from, to) =
                    (from.map(|from| self.moment(from)).transpose()?, to.map(|to| self.moment(to)).transpose()?);
                let query = Query {
                    user: user(*of),
                    currency: code.map(|code| currency(CURRENCIES[code])),
                    kind: *kind,
                    status: *status,
                    from,
                    to,
                    ascending: *ascending,
                    start: self.start(user(*of), *start),
                    limit: *limit,
                };
                let outcome = self.pair.page(&query)?;
                self.hit(if matches!(query.start, PageStart::Skip(_)) { "list" } else { "list by cursor" }, outcome);
            }
            Op::Get(n, viewer) => {
                let of = *n as u64 % (self.pair.model.seq() + 2) + 1;
                let outcome = self.pair.transaction(of, viewer.map(user))?;
                self.hit(if viewer.is_some() { "transaction for" } else { "transaction" }, outcome);
            }
            Op::GetByKey(key) => {
                let used = self.said.get(usize::from(*key) % (self.said.len() + 1)).map(|asked| asked.key.clone());
                let outcome = self.pair.transaction_by_key(&used.unwrap_or_else(|| format!("key {key}")))?;
                self.hit("by key", outcome);
            }
            Op::Audit(deep) => {
                let outcome = self.pair.audit(*deep)?;
                self.hit("audit", outcome);
            }
            Op::Due => {
                let outcome = self.pair.due()?;
                self.hit("due", outcome);
            }
            Op::StartAttempt(n) => {
                let outcome = self.pair.start_attempt(self.withdrawal(*n, &[Substatus::Reserved]))?;
                self.hit("start attempt", outcome);
            }
            Op::EndAttempt(n, number, class) => {
                let outcome = self.pair.end_attempt(self.withdrawal(*n, &[Substatus::Submitting]), *number, *class)?;
                self.hit("end attempt", outcome);
            }
            Op::Inquire(n, answer) => {
                let outcome =
                    self.pair.inquire(self.withdrawal(*n, &[Substatus::Accepted, Substatus::Unknown]), *answer)?;
                self.hit("inquire", outcome);
            }
            Op::Order(order) => {
                let of = match *order {
                    Order::Cancel { of, .. } => self.withdrawal(of, &[Substatus::Reserved]),
                    Order::Resolve { of, .. } => {
                        self.withdrawal(of, &[Substatus::Accepted, Substatus::Unknown, Substatus::NeedsReview])
                    }
                };
                self.ordered.push((of, *order));
                self.order(of, *order)?;
            }
            Op::OrderAgain(n) => {
                if let Some((of, order)) = (!self.ordered.is_empty()).then(|| self.ordered[n % self.ordered.len()]) {
                    self.order(of, order)?;
                }
            }
            Op::Notice(n, outcome, at) => {
                let (of, at) = (self.withdrawal(*n, &[Substatus::Accepted, Substatus::Completed]), self.moment(*at)?);
                let command = match outcome {
                    NoticeOutcome::Settled => "told settled",
                    NoticeOutcome::Failed => "told failed",
                    NoticeOutcome::Pending => "told pending",
                    NoticeOutcome::Returned => "told returned",
                };
                let told = self.pair.notice(of, *outcome, at)?;
                self.hit(command, told);
            }
            Op::ListWithdrawals { status, substatus, older_than, after, limit } => {
                let older_than = older_than.map(|moment| self.moment(moment)).transpose()?;
                let all: Vec<u64> = self.pair.model.withdrawals().map(|(id, _)| id).collect();
                let after = after.filter(|_| !all.is_empty()).map(|n| id(all[n % all.len()]));
                let query =
                    WithdrawalQuery { status: *status, substatus: *substatus, older_than, after, limit: *limit };
                let outcome = self.pair.withdrawals(&query)?;
                self.hit(if after.is_some() { "withdrawals by cursor" } else { "withdrawals" }, outcome);
            }
            Op::ByReference(n) => {
                let outcome = self.pair.by_reference(self.withdrawal(*n, &Substatus::ALL))?;
                self.hit("by reference", outcome);
            }
            Op::Checkpoint => self.pair.checkpoint().map(|outcome| self.hit("checkpoint", outcome))?,
            Op::Advance(by) => self.pair.advance(*by).map(|outcome| self.hit("advance", outcome))?,
            Op::StepWall(micros) => {
                let wall = self.pair.clock.wall();
                let to = Timestamp::from_micros(wall.micros() + micros).unwrap_or(wall);
                let outcome = self.pair.set_wall(to)?;
                self.hit("wall clock", outcome);
            }
            Op::AcceptClock => {
                let outcome = self.pair.accept_clock()?;
                self.hit("accept clock", outcome);
            }
            Op::Reopen(end) => {
                let outcome = self.pair.reopen(*end)?;
                self.hit("reopen", outcome);
            }
        }
        self.pair.invariants()
    }

    fn order(&mut self, of: u64, order: Order) -> Result<(), String> {
        match order {
            Order::Cancel { key, .. } => {
                let outcome = self.pair.cancel(of, &format!("key {key}"))?;
                self.hit("cancel", outcome);
            }
            Order::Resolve { outcome, operator, key, .. } => {
                let operator = if operator { "Ann" } else { "Bob" };
                let told = self.pair.resolve(of, outcome, operator, &format!("key {key}"))?;
                self.hit(if outcome == Resolution::Completed { "resolve completed" } else { "resolve failed" }, told);
            }
        }
        Ok(())
    }

    fn start(&self, of: UserId, start: Result<u64, usize>) -> PageStart {
        let all = self.pair.model.page(&Query { limit: 100, ..Query::new(of) }).transactions;
        match start {
            Ok(skip) => PageStart::Skip(skip),
            Err(_) if all.is_empty() => PageStart::Skip(0),
            Err(n) => match (all[n % all.len()].id, n / all.len() % 4) {
                (id, skip @ 1..) => PageStart::SkipAfter(id, skip as u64),
                (id, 0) => PageStart::After(id),
            },
        }
    }
}

/// Plays `cases` sequences from `seed`; on a failure the smallest one found, with its seed.
fn play(seed: u64, cases: u32, cells: &RefCell<Cells>) {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let places = prop_oneof![2 => Just(None), 1 => (1..3usize).prop_map(Some)];
    let result = runner.run(&(places, vec(ops(), 1..60)), |(places, ops)| {
        let mut play = Play::new(places, cells);
        for (index, op) in ops.iter().enumerate() {
            play.step(op).map_err(|why| TestCaseError::fail(format!("step {index}, {op:?}: {why}")))?;
        }
        play.pair.same_dump().map_err(TestCaseError::fail)
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(why, (places, ops))) => {
            panic!("LEDGER_PROPERTY_SEED={seed}, places {places:?}: {why}\n{ops:#?}")
        }
        Err(TestError::Abort(why)) => panic!("LEDGER_PROPERTY_SEED={seed}: {why}"),
    }
}

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_answer_is_the_models() {
    let seed = number_from_environment("LEDGER_PROPERTY_SEED").unwrap_or_else(|| {
        let since = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
        u64::from(since.subsec_nanos()) ^ since.as_secs().rotate_left(32)
    });
    let cases = number_from_environment("LEDGER_PROPERTY_CASES").unwrap_or(200);
    play(seed, u32::try_from(cases).expect("a number of cases"), &RefCell::default());
}

#[test]
fn the_generators_reach_every_outcome_of_every_command() {
    let cells = RefCell::default();
    play(3, 1_000, &cells);
    let cells = cells.into_inner();
    let missed: Vec<_> = CELLS
        .iter()
        .flat_map(|(command, outcomes)| outcomes.iter().map(move |outcome| (*command, *outcome)))
        .filter(|cell| !cells.contains_key(cell))
        .collect();
    assert!(missed.is_empty(), "never seen: {missed:?}\nseen: {cells:#?}");
}
