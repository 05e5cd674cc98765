//! The language of the stories.

use std::collections::BTreeMap;

use ledger_core::sim::{SimClock, SimDisk};
use ledger_core::withdrawals::{AttemptClass, Inquiry, InquiryAnswer, NoticeOutcome, Resolution, Step, Submission};
use ledger_core::{
    CancelWithdrawal, Clock, Currency, Direction, Error, Evidence, IdempotencyKey, Ledger, Notice, OpenError, Operator,
    PageStart, Query, Rejection, ResolveWithdrawal, Status, Timestamp, TransactionKind, UserId,
};

use crate::model::Asked;
use crate::pair::named;
use crate::stage::{START, amount, answer, ask, currency, id, options, second, user};

/// Plays the story; panics at the first line that comes out otherwise.
pub(super) fn check(story: &str) {
    let mut stage = Stage::new(story);
    let mut lines = story.lines().enumerate().map(|(n, line)| (n, line.trim())).filter(|(_, line)| !line.is_empty());
    while let Some((n, line)) = lines.next() {
        let (said, mut expected) = split(line);
        let found = match said {
            "atomic" | "batch" => {
                let mut commands = Vec::new();
                for (n, line) in lines.by_ref() {
                    let (said, then) = split(line);
                    if said == "end" {
                        expected = then;
                        break;
                    }
                    commands.push(stage.command(n, &said.split_whitespace().collect::<Vec<_>>()));
                }
                if said == "atomic" { stage.atomic(&commands) } else { stage.batch(&commands) }
            }
            _ => stage.play(n, &said.split_whitespace().collect::<Vec<_>>()),
        };
        match expected {
            Some(expected) => assert_eq!(found, expected, "line {n}: {line}\n{story}"),
            None => assert!(
                ["completed", "pending", "accepted", "done", "balanced"].contains(&found.as_str()),
                "line {n}: {line}: {found}\n{story}"
            ),
        }
    }
}

fn split(line: &str) -> (&str, Option<&str>) {
    line.split_once("=>").map_or((line, None), |(said, expected)| (said.trim(), Some(expected.trim())))
}

struct Stage {
    ledger: Option<Ledger>,
    disk: SimDisk,
    clock: SimClock,
    places: Option<usize>,
    ids: BTreeMap<String, u64>,
}

impl Stage {
    fn new(story: &str) -> Stage {
        let places = story.lines().find_map(|line| line.trim().strip_prefix("places "));
        let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
        let places = places.map(|places| places.parse().expect("a number of places"));
        let ledger = options(&clock).withdrawal_places(places).open_on(disk.clone()).expect("an empty disk");
        Stage { ledger: Some(ledger), disk, clock, places, ids: BTreeMap::new() }
    }

    fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().expect("open")
    }

    fn play(&mut self, n: usize, words: &[&str]) -> String {
        match *words {
            ["charge" | "transfer" | "withdraw", ..] => {
                let asked = self.command(n, words);
                match answer(ask(self.ledger(), &asked)) {
                    Ok(receipt) => {
                        self.ids.insert(asked.key, receipt.transaction_id.get());
                        if asked.kind == TransactionKind::Withdrawal { "pending" } else { "completed" }.into()
                    }
                    Err(err) => reason(&err),
                }
            }
            ["balance", who, ref rest @ ..] => self.balance(name(who), rest),
            ["list", who, ref rest @ ..] => self.list(name(who), rest),
            ["show", key] => self.show(key, None),
            ["show", key, "for", viewer] => self.show(key, Some(name(viewer))),
            ["attempt", key] => match answer(self.ledger().start_attempt(id(self.ids[key]))) {
                Ok(attempt) => format!("{} {}", named(attempt.withdrawal.substatus), attempt.number),
                Err(err) => reason(&err),
            },
            ["outcome", key, class] => {
                let class = match class {
                    "settled" => AttemptClass::Settled,
                    "accepted" => AttemptClass::Accepted,
                    "rejected" => AttemptClass::Rejected,
                    "not-sent" => AttemptClass::NotSent,
                    "ambiguous" => AttemptClass::Ambiguous,
                    other => panic!("{other} is no class"),
                };
                let of = id(self.ids[key]);
                let attempts = answer(self.ledger().withdrawal(of)).expect("a read").expect("a withdrawal").attempts;
                let submission = Submission { class, evidence: "so says the bank".into() };
                match answer(self.ledger().end_attempt(of, attempts.max(1), &submission)) {
                    Ok(to) => named(to).into(),
                    Err(err) => reason(&err),
                }
            }
            ["cancel", key] => self.cancel(key, &format!("cancel {n}")),
            ["cancel", key, "key", order] => self.cancel(key, order),
            ["resolve", key, outcome] => self.resolve(key, outcome, &format!("resolve {n}")),
            ["resolve", key, outcome, "key", order] => self.resolve(key, outcome, order),
            ["told", key, outcome] => self.told(key, outcome),
            ["suspense"] => {
                let audit = answer(self.ledger().audit()).expect("a read");
                audit.currencies.iter().map(|sums| sums.suspense).sum::<i128>().to_string()
            }
            ["inquire", key, said] => {
                let said = match said {
                    "settled" => InquiryAnswer::Settled,
                    "failed" => InquiryAnswer::Failed,
                    "pending" => InquiryAnswer::Pending,
                    "not-found" => InquiryAnswer::NotFound,
                    "unsupported" => InquiryAnswer::Unsupported,
                    other => panic!("{other} is no answer"),
                };
                let inquiry = Inquiry { answer: said, evidence: "so says the bank".into() };
                match answer(self.ledger().record_inquiry(id(self.ids[key]), &inquiry)) {
                    Ok(to) => named(to).into(),
                    Err(err) => reason(&err),
                }
            }
            ["due"] => self.due(),
            ["clock", to] => {
                let to = second(number(to));
                self.clock.advance(to.saturating_since(self.clock.wall()));
                "done".into()
            }
            ["wall", to] => {
                self.clock.set_wall(second(number(to)));
                if self.ledger().clock_leap().is_some() { "not believed" } else { "done" }.into()
            }
            ["accept", "clock"] => {
                self.ledger().accept_clock();
                "done".into()
            }
            ["close"] => self.ledger().close().map_or_else(|err| reason(&err), |()| "done".into()),
            ["reopen", ref accept @ ..] => {
                let _ = self.ledger().close();
                self.ledger = None;
                self.open(!accept.is_empty())
            }
            ["kill"] => {
                self.ledger = None;
                self.disk = self.disk.after_kill();
                self.open(false)
            }
            ["power", "cut"] => {
                self.ledger = None;
                self.disk = self.disk.survivor(1);
                self.open(false)
            }
            ["audit"] => {
                let audit = answer(self.ledger().audit_deep()).expect("an audit");
                if audit.is_balanced() { "balanced" } else { "not balanced" }.into()
            }
            ["places", _] => "done".into(),
            _ => panic!("line {n}: {words:?} is not in the language"),
        }
    }

    fn open(&mut self, accept_clock: bool) -> String {
        let options = options(&self.clock).withdrawal_places(self.places).accept_clock(accept_clock);
        match options.open_on(self.disk.clone()) {
            Ok(ledger) => {
                self.ledger = Some(ledger);
                "done".into()
            }
            Err(OpenError::Clock { .. }) => "wrong clock".into(),
            Err(err) => panic!("not opened: {err}"),
        }
    }

    fn command(&self, n: usize, words: &[&str]) -> Asked {
        let key = format!("line {n}");
        let (mut asked, rest) = match *words {
            ["charge", who, minor, ref rest @ ..] => (Asked::charge(name(who), minor_units(minor), key), rest),
            ["transfer", from, to, minor, ref rest @ ..] => {
                (Asked::transfer(name(from), name(to), minor_units(minor), key), rest)
            }
            ["withdraw", who, minor, ref rest @ ..] => (Asked::withdraw(name(who), minor_units(minor), key), rest),
            _ => panic!("line {n}: {words:?} is no command"),
        };
        let mut rest = rest.iter();
        while let Some(word) = rest.next() {
            let mut next = || *rest.next().unwrap_or_else(|| panic!("line {n}: {word} what?"));
            match *word {
                "until" => asked.release_at = Some(second(number(next()))),
                "key" => asked.key = next().into(),
                "note" => asked.metadata = Some(next().into()),
                "to" => asked.destination = Some(next().into()),
                code => asked.currency = currency(code),
            }
        }
        asked
    }

    fn batch(&mut self, commands: &[Asked]) -> String {
        let submitted: Vec<_> = commands.iter().map(Asked::command).collect();
        let results = match answer(self.ledger().batch(&submitted)) {
            Ok(results) => results,
            Err(err) => return reason(&err),
        };
        let mut words = Vec::new();
        for (asked, result) in commands.iter().zip(results) {
            words.push(match result {
                Ok(receipt) => {
                    self.ids.insert(asked.key.clone(), receipt.transaction_id.get());
                    if asked.kind == TransactionKind::Withdrawal { "pending".into() } else { "completed".into() }
                }
                Err(rejection) => reason(&Error::Rejected(rejection)),
            });
        }
        words.join(", ")
    }

    fn cancel(&self, key: &str, order: &str) -> String {
        let order = IdempotencyKey::new(order).expect("a key");
        match answer(self.ledger().cancel_withdrawal(CancelWithdrawal { id: id(self.ids[key]), key: order })) {
            Ok(withdrawal) => named(withdrawal.substatus).into(),
            Err(err) => reason(&err),
        }
    }

    fn resolve(&self, key: &str, outcome: &str, order: &str) -> String {
        let outcome = Resolution::ALL.into_iter().find(|word| word.as_str() == outcome).expect("a resolution");
        let (evidence, operator) = (Evidence::new("a letter"), Operator::new("Ann"));
        let order = ResolveWithdrawal {
            id: id(self.ids[key]),
            outcome,
            evidence: evidence.expect("evidence"),
            operator: operator.expect("a name"),
            key: IdempotencyKey::new(order).expect("a key"),
        };
        match answer(self.ledger().resolve_withdrawal(order)) {
            Ok(withdrawal) => named(withdrawal.substatus).into(),
            Err(err) => reason(&err),
        }
    }

    fn told(&self, key: &str, outcome: &str) -> String {
        let outcome = NoticeOutcome::ALL.into_iter().find(|word| word.as_str() == outcome).expect("a notice");
        let of = id(self.ids[key]);
        let reference = answer(self.ledger().withdrawal(of)).expect("a read").expect("a withdrawal").reference;
        let notice = Notice { reference, outcome, occurred_at: self.ledger().now(), evidence: "so says the bank" };
        match answer(self.ledger().notify_withdrawal(notice)) {
            Ok(noticed) => format!("{:?}, {}", noticed.change, named(noticed.withdrawal.substatus)).to_lowercase(),
            Err(err) => reason(&err),
        }
    }

    fn atomic(&mut self, commands: &[Asked]) -> String {
        let submitted: Vec<_> = commands.iter().map(Asked::command).collect();
        match answer(self.ledger().batch_atomic(&submitted)) {
            Ok(receipt) => {
                for (asked, id) in commands.iter().zip(&receipt.transactions) {
                    self.ids.insert(asked.key.clone(), id.get());
                }
                if receipt.repeat { "repeat" } else { "accepted" }.into()
            }
            Err(err) => reason(&err),
        }
    }

    fn balance(&self, who: UserId, rest: &[&str]) -> String {
        let (code, at) = match *rest {
            [] => (Currency::USD, None),
            ["at", at] => (Currency::USD, Some(at)),
            [code] => (currency(code), None),
            [code, "at", at] => (currency(code), Some(at)),
            _ => panic!("{rest:?}"),
        };
        let balance = answer(match at {
            None => self.ledger().balance(who, code),
            Some(at) => self.ledger().balance_at(who, code, second(number(at))),
        });
        match balance {
            Ok(b) => {
                let next = b.next_release_at.map(|at| format!(" until {}", seconds(at))).unwrap_or_default();
                format!("{} + {} + {}{next}", b.withdrawable, b.held, b.reserved)
            }
            Err(err) => reason(&err),
        }
    }

    fn list(&self, who: UserId, rest: &[&str]) -> String {
        let mut query = Query::new(who);
        let mut rest = rest.iter();
        while let Some(word) = rest.next() {
            let mut next = || *rest.next().unwrap_or_else(|| panic!("{word} what?"));
            match *word {
                "charge" => query.kind = Some(TransactionKind::Charge),
                "transfer" => query.kind = Some(TransactionKind::Transfer),
                "withdrawal" => query.kind = Some(TransactionKind::Withdrawal),
                "return" => query.kind = Some(TransactionKind::Return),
                "pending" => query.status = Some(Status::Pending),
                "completed" => query.status = Some(Status::Completed),
                "failed" => query.status = Some(Status::Failed),
                "from" => query.from = Some(second(number(next()))),
                "to" => query.to = Some(second(number(next()))),
                "oldest" => query.ascending = true,
                "limit" => query.limit = next().parse().expect("a limit"),
                "skip" => query.start = PageStart::Skip(next().parse().expect("a number")),
                "after" => query.start = PageStart::After(id(self.ids[next()])),
                code => query.currency = Some(currency(code)),
            }
        }
        let page = match answer(self.ledger().transactions(&query)) {
            Ok(page) => page,
            Err(err) => return reason(&err),
        };
        let keys: Vec<&str> = page.transactions.iter().map(|t| &*t.idempotency_key).collect();
        let total = page.total.expect("few enough to count");
        let more = if page.next.is_some() { " more" } else { "" };
        format!("{} / {total}{more}", keys.join(" ")).trim_start().into()
    }

    fn show(&self, key: &str, viewer: Option<UserId>) -> String {
        let found = match viewer {
            None => answer(self.ledger().transaction_by_key(IdempotencyKey::new(key).expect("a key"))),
            Some(_) => answer(self.ledger().transaction(id(self.ids[key]), viewer)),
        };
        match found.expect("a read") {
            None => "nothing".into(),
            Some(t) => {
                let direction = if t.direction == Direction::Credit { "credit" } else { "debit" };
                let until = t.release_at.map(|at| format!(" until {}", seconds(at))).unwrap_or_default();
                format!("{} {direction} {}{until}", t.kind.as_str(), t.status.as_str())
            }
        }
    }

    fn due(&self) -> String {
        let key = |of: u64| self.ids.iter().find(|(_, id)| **id == of).expect("the story's own").0;
        let due = [true, false].into_iter().flat_map(|fresh| self.ledger().due_withdrawals(fresh, 100));
        let steps: Vec<String> = due
            .map(|due| {
                self.ledger().defer_withdrawal(due.id, self.ledger().now());
                let step = match due.step {
                    Step::Submit => "submit",
                    Step::Inquire => "inquire",
                    other => panic!("{other:?} is not to be done"),
                };
                format!("{step} {}", key(due.id.get()))
            })
            .collect();
        if steps.is_empty() { "nothing".into() } else { steps.join(", ") }
    }
}

fn name(word: &str) -> UserId {
    user(match word {
        "alice" => 1,
        "bob" => 2,
        "carol" => 9_007_199_254_740_991,
        other => panic!("nobody is called {other}"),
    })
}

fn minor_units(word: &str) -> ledger_core::Amount {
    if word == "max" { ledger_core::Amount::MAX } else { amount(word.parse().expect("an amount")) }
}

fn number(word: &str) -> i64 {
    word.parse().unwrap_or_else(|_| panic!("{word} is no number of seconds"))
}

fn seconds(at: Timestamp) -> i64 {
    (at.micros() - START.micros()) / 1_000_000
}

fn reason(err: &Error) -> String {
    match err {
        Error::Halted(_) => "halted".into(),
        Error::Rejected(Rejection::InsufficientBalance { withdrawable }) => {
            format!("insufficient, {withdrawable} left")
        }
        Error::Rejected(Rejection::BatchRejected { index, rejection }) => {
            format!("{index} {}", reason(&Error::Rejected((**rejection).clone())))
        }
        Error::Rejected(rejection) => crate::pair::word(rejection).into(),
    }
}
