//! Sequences of commands, on the ledger and on the naive model of its tests: every answer is compared, and what must
//! always hold is checked at the end.
//!
//! Chance writes such sequences in the tests, too; here coverage of the engine leads it.
#![no_main]

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use ledger_core::withdrawals::{AttemptClass, InquiryAnswer, NoticeOutcome, Resolution};
use ledger_core::{Amount, INTEGER_MAX, PageStart, Query, Timestamp, TransactionKind};
use libfuzzer_sys::fuzz_target;

/// The model, and what sets it beside a ledger: the very files of the library's tests.
#[path = "../../ledger-core/tests/it"]
#[allow(dead_code, reason = "the tests use more of it")]
mod it {
    pub(crate) mod model;
    pub(crate) mod pair;
    pub(crate) mod stage;
}
use it::{model, pair, stage};

use model::Asked;
use pair::{End, Pair};
use stage::{World, currency, user};

const USERS: u64 = 3;
const CURRENCIES: [&str; 2] = ["USD", "EUR"];

#[derive(Arbitrary, Clone, Debug)]
struct Say {
    kind: u8,
    user: u8,
    to: u8,
    euros: bool,
    amount: Sum,
    key: u8,
    release: Option<Moment>,
    extra: Option<u8>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Sum {
    Small(u8),
    Edge(u8),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Moment {
    Seconds(i16),
    Micros(i8),
    First,
    Last,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Command(Say),
    Again(u8),
    Pipelined(Vec<Say>),
    Batch(Vec<Say>),
    Atomic(Vec<Say>),
    AtomicAgain(u8),
    Balance { user: u8, euros: bool, at: Option<Moment> },
    List { user: u8, limit: u8, page: u8, ascending: bool, from: Option<Moment>, to: Option<Moment> },
    Get { of: u8, viewer: Option<u8> },
    Due,
    Start(u8),
    EndAttempt { of: u8, number: Option<u8>, class: u8 },
    Inquire { of: u8, answer: u8 },
    Cancel { of: u8, key: u8 },
    Resolve { of: u8, settled: bool, key: u8 },
    Notice { of: u8, outcome: u8, occurred: Moment },
    Advance(u16),
    Wall(i16),
    AcceptClock,
    Reopen(Ending),
}

#[derive(Arbitrary, Debug)]
enum Ending {
    Close,
    Drop,
    PowerCut(u16),
}

struct Run {
    pair: Pair,
    said: Vec<Asked>,
    atomic: Vec<Vec<Asked>>,
}

fn of_three(number: u8) -> ledger_core::UserId {
    user(u64::from(number) % USERS + 1)
}

fn code(euros: bool) -> ledger_core::Currency {
    currency(CURRENCIES[usize::from(euros)])
}

impl Sum {
    fn amount(self) -> Amount {
        let minor = match self {
            Sum::Small(minor) => u64::from(minor) + 1,
            Sum::Edge(off) => INTEGER_MAX - u64::from(off),
        };
        Amount::new(minor).expect("within the bounds")
    }
}

impl Run {
    fn moment(&mut self, moment: Moment) -> Result<Timestamp, String> {
        let now = self.pair.now()?.micros();
        Ok(match moment {
            Moment::Seconds(seconds) => Timestamp::from_micros(now + i64::from(seconds) * 1_000_000),
            Moment::Micros(micros) => Timestamp::from_micros(now + i64::from(micros)),
            Moment::First => Some(Timestamp::MIN),
            Moment::Last => None,
        }
        .unwrap_or(Timestamp::MAX))
    }

    fn asked(&mut self, say: &Say) -> Result<Asked, String> {
        let kinds = [TransactionKind::Charge, TransactionKind::Transfer, TransactionKind::Withdrawal];
        let kind = kinds[usize::from(say.kind) % kinds.len()];
        let is_payout = kind == TransactionKind::Withdrawal;
        let release_at = match say.release {
            Some(moment) if !is_payout => Some(self.moment(moment)?),
            _ => None,
        };
        let asked = Asked {
            kind,
            to: (kind == TransactionKind::Transfer).then(|| of_three(say.to)),
            currency: code(say.euros),
            release_at,
            destination: say.extra.filter(|_| is_payout).map(|to| format!("account {to}")),
            metadata: say.extra.filter(|_| !is_payout).map(|byte| vec![byte; 3]),
            ..Asked::charge(of_three(say.user), say.amount.amount(), format!("key {}", say.key % 16))
        };
        self.said.push(asked.clone());
        Ok(asked)
    }

    fn all_asked(&mut self, say: &[Say]) -> Result<Vec<Asked>, String> {
        say.iter().take(6).map(|say| self.asked(say)).collect()
    }

    /// The nth withdrawal, modulo all; now and then a number that is no withdrawal's.
    fn withdrawal(&self, n: u8) -> u64 {
        let all: Vec<u64> = self.pair.model.withdrawals().map(|(id, _)| id).collect();
        if all.is_empty() || n >= 240 { u64::from(n) % 9 + 1 } else { all[usize::from(n) % all.len()] }
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Command(say) => {
                let asked = self.asked(say)?;
                self.pair.command(&asked)?;
            }
            Step::Again(n) if !self.said.is_empty() => {
                let asked = self.said[usize::from(*n) % self.said.len()].clone();
                self.pair.command(&asked)?;
            }
            Step::Pipelined(say) => {
                let asked = self.all_asked(say)?;
                self.pair.pipelined(&asked)?;
            }
            Step::Batch(say) => {
                let asked = self.all_asked(say)?;
                self.pair.batch(&asked)?;
            }
            Step::Atomic(say) if !say.is_empty() => {
                let asked = self.all_asked(say)?;
                self.pair.atomic(&asked)?;
                self.atomic.push(asked);
            }
            Step::AtomicAgain(n) if !self.atomic.is_empty() => {
                let asked = self.atomic[usize::from(*n) % self.atomic.len()].clone();
                self.pair.atomic(&asked)?;
            }
            Step::Again(_) | Step::Atomic(_) | Step::AtomicAgain(_) => {}
            Step::Balance { .. } | Step::List { .. } | Step::Get { .. } => self.read(step)?,
            Step::Advance(seconds) => {
                self.pair.advance(Duration::from_secs(u64::from(*seconds)))?;
            }
            Step::Wall(seconds) => {
                let to = self.moment(Moment::Seconds(*seconds))?;
                self.pair.set_wall(to)?;
            }
            Step::AcceptClock => {
                self.pair.accept_clock()?;
            }
            Step::Reopen(ending) => {
                self.pair.reopen(match ending {
                    Ending::Close => End::Close,
                    Ending::Drop => End::Drop,
                    Ending::PowerCut(seed) => End::PowerCut(u64::from(*seed)),
                })?;
            }
            payout => self.payout(payout)?,
        }
        Ok(())
    }

    fn read(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Balance { user, euros, at: None } => self.pair.balance(of_three(*user), code(*euros))?,
            Step::Balance { user, euros, at: Some(at) } => {
                let at = self.moment(*at)?;
                self.pair.balance_at(of_three(*user), code(*euros), at)?
            }
            Step::List { user, limit, page, ascending, from, to } => {
                let mut query = Query::new(of_three(*user));
                query.limit = usize::from(*limit % 20) + 1;
                query.start = PageStart::Skip(u64::from(*page % 50));
                query.ascending = *ascending;
                query.from = from.map(|from| self.moment(from)).transpose()?;
                query.to = to.map(|to| self.moment(to)).transpose()?;
                self.pair.page(&query)?
            }
            Step::Get { of, viewer } => {
                let of = u64::from(*of) % (self.pair.model.seq() + 2) + 1;
                self.pair.transaction(of, viewer.map(of_three))?
            }
            _ => "",
        };
        Ok(())
    }

    fn payout(&mut self, step: &Step) -> Result<(), String> {
        const CLASSES: [AttemptClass; 5] = [
            AttemptClass::Settled,
            AttemptClass::Accepted,
            AttemptClass::Rejected,
            AttemptClass::NotSent,
            AttemptClass::Ambiguous,
        ];
        const ANSWERS: [InquiryAnswer; 6] = [
            InquiryAnswer::Settled,
            InquiryAnswer::Pending,
            InquiryAnswer::Failed,
            InquiryAnswer::NotFound,
            InquiryAnswer::Unsupported,
            InquiryAnswer::Unanswered,
        ];
        const TOLD: [NoticeOutcome; 4] =
            [NoticeOutcome::Settled, NoticeOutcome::Failed, NoticeOutcome::Returned, NoticeOutcome::Pending];
        match step {
            Step::Due => self.pair.due()?,
            Step::Start(of) => self.pair.start_attempt(self.withdrawal(*of))?,
            Step::EndAttempt { of, number, class } => {
                let number = number.map(|number| u32::from(number % 5));
                self.pair.end_attempt(self.withdrawal(*of), number, CLASSES[usize::from(*class) % 5])?
            }
            Step::Inquire { of, answer } => {
                self.pair.inquire(self.withdrawal(*of), ANSWERS[usize::from(*answer) % 6])?
            }
            Step::Cancel { of, key } => self.pair.cancel(self.withdrawal(*of), &format!("key {}", key % 16))?,
            Step::Resolve { of, settled, key } => {
                let outcome = if *settled { Resolution::Completed } else { Resolution::Failed };
                self.pair.resolve(self.withdrawal(*of), outcome, "Ada", &format!("key {}", key % 16))?
            }
            Step::Notice { of, outcome, occurred } => {
                let occurred = self.moment(*occurred)?;
                self.pair.notice(self.withdrawal(*of), TOLD[usize::from(*outcome) % 4], occurred)?
            }
            _ => "",
        };
        Ok(())
    }
}

#[derive(Arbitrary, Debug)]
struct Story {
    places: Option<u8>,
    steps: Vec<Step>,
}

fuzz_target!(|input: &[u8]| {
    let Ok(story) = Story::arbitrary_take_rest(Unstructured::new(input)) else { return };
    let places = story.places.map(|places| usize::from(places % 4) + 1);
    let pair = Pair::new(0, World::new(USERS, &CURRENCIES), places);
    let mut run = Run { pair, said: Vec::new(), atomic: Vec::new() };
    for (index, step) in story.steps.iter().take(40).enumerate() {
        run.step(step).unwrap_or_else(|differ| panic!("step {index}, {step:?}: {differ}"));
    }
    run.pair.invariants().unwrap_or_else(|broken| panic!("at the end: {broken}"));
});
