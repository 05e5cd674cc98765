//! The main rules as stories, in a small language of their own; one [`check`] touches the API.
//!
//! ```text
//! charge USER AMOUNT [CURRENCY] [until T] [note TEXT] [key KEY]   => completed, or a reason
//! transfer USER USER AMOUNT …                                     => completed, or a reason
//! withdraw USER AMOUNT [CURRENCY] [to DESTINATION] [key KEY] …    => pending, or a reason
//! atomic / batch, then commands, then end                         => accepted, repeat, or INDEX and a reason
//! balance USER [CURRENCY] [at T]    => withdrawable + held + reserved [until T]
//! list USER [CURRENCY] [KIND] [STATUS] [from T] [to T] [oldest] [limit N] [skip N] [after KEY] => keys / total [more]
//! show KEY [for USER]               => KIND DIRECTION STATUS [until T], or nothing
//! attempt KEY | outcome KEY CLASS | inquire KEY ANSWER  => where the withdrawal is, or a reason
//! due                               => submit KEY, inquire KEY, …, or nothing
//! clock T | wall T | accept clock | close | reopen | kill | power cut | audit
//! places N                          only at the beginning
//! ```
//! T is in seconds from the story's beginning. A command without a key gets one of its own; `=>` may be left out where
//! all goes well.

use std::collections::BTreeMap;

use ledger_core::sim::{SimClock, SimDisk};
use ledger_core::withdrawals::{AttemptClass, Inquiry, InquiryAnswer, Step, Submission};
use ledger_core::{
    Clock, Currency, Direction, Error, IdempotencyKey, Ledger, OpenError, PageStart, Query, Rejection, Status,
    Timestamp, TransactionKind, UserId,
};

use crate::model::Asked;
use crate::pair::named;
use crate::stage::{START, amount, answer, ask, currency, id, options, second, user};

/// Plays the story; panics at the first line that comes out otherwise.
fn check(story: &str) {
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

#[test]
fn an_account_never_used_holds_nothing() {
    check(
        "
        balance alice          => 0 + 0 + 0
        balance carol EUR      => 0 + 0 + 0
        balance alice at 99    => 0 + 0 + 0
        list alice             => / 0
        show nothing           => nothing
        audit",
    );
}

#[test]
fn charged_money_can_be_spent_at_once() {
    check(
        "
        charge alice 100
        balance alice          => 100 + 0 + 0
        transfer alice bob 60
        balance alice          => 40 + 0 + 0
        balance bob            => 60 + 0 + 0
        audit",
    );
}

#[test]
fn an_expired_hold_frees_its_funds() {
    check(
        "
        charge   alice 100 until 10
        balance  alice              => 0 + 100 + 0 until 10
        withdraw alice 50           => insufficient, 0 left
        clock    9
        withdraw alice 50           => insufficient, 0 left
        clock    10
        balance  alice              => 100 + 0 + 0
        withdraw alice 50           => pending
        balance  alice              => 50 + 0 + 50
        audit",
    );
}

#[test]
fn a_release_in_the_past_or_now_is_no_hold() {
    check(
        "
        clock   100
        charge  alice 10 until 99
        charge  alice 10 until 100
        balance alice               => 20 + 0 + 0
        charge  alice 10 until 101
        balance alice               => 20 + 10 + 0 until 101",
    );
}

#[test]
fn holds_mature_one_by_one_in_the_order_of_their_times() {
    check(
        "
        charge  alice 1 until 30
        charge  alice 2 until 10
        charge  alice 4 until 20
        charge  alice 8 until 10
        balance alice               => 0 + 15 + 0 until 10
        clock   10
        balance alice               => 10 + 5 + 0 until 20
        clock   25
        balance alice               => 14 + 1 + 0 until 30
        clock   1000
        balance alice               => 15 + 0 + 0",
    );
}

#[test]
fn a_balance_is_told_for_the_past_and_the_future() {
    check(
        "
        charge   alice 100 until 10
        clock    5
        charge   alice 1
        clock    20
        transfer alice bob 30
        balance  alice at -1        => 0 + 0 + 0
        balance  alice at 0         => 0 + 100 + 0 until 10
        balance  alice at 4         => 0 + 100 + 0 until 10
        balance  alice at 5         => 1 + 100 + 0 until 10
        balance  alice at 9         => 1 + 100 + 0 until 10
        balance  alice at 10        => 101 + 0 + 0
        balance  alice at 20        => 71 + 0 + 0
        balance  bob at 19          => 0 + 0 + 0
        charge   bob 7 until 50
        balance  bob at 49          => 30 + 7 + 0 until 50
        balance  bob at 50          => 37 + 0 + 0",
    );
}

#[test]
fn a_past_balance_knows_of_the_reservations_of_then() {
    check(
        "
        charge   alice 100
        clock    10
        withdraw alice 40 key w
        clock    20
        attempt  w                  => submitting 1
        outcome  w settled          => completed
        balance  alice at 5         => 100 + 0 + 0
        balance  alice at 15        => 60 + 0 + 40
        balance  alice at 20        => 60 + 0 + 0",
    );
}

#[test]
fn a_transfer_can_be_held_for_its_receiver() {
    check(
        "
        charge   alice 100
        transfer alice bob 60 until 10
        balance  alice              => 40 + 0 + 0
        balance  bob                => 0 + 60 + 0 until 10
        transfer bob alice 1        => insufficient, 0 left
        clock    10
        transfer bob alice 1",
    );
}

#[test]
fn both_parties_of_a_held_transfer_see_until_when_it_is_held() {
    check(
        "
        charge   alice 100 key a
        transfer alice bob 60 until 10 key b
        charge   bob 1 until 20 key c
        show     a                  => charge credit completed
        show     c                  => charge credit completed until 20
        show     b for bob          => transfer credit completed until 10
        show     b                  => transfer debit completed until 10",
    );
}

#[test]
fn a_rejected_operation_of_a_batch_leaves_its_key_free() {
    check(
        "
        batch
          transfer alice bob 5 key a
          charge   alice 5 key b
        end                         => insufficient, 0 left, completed
        transfer alice bob 5 key a
        batch
          transfer alice bob 5 key c
          charge   alice 5 key c
        end                         => insufficient, 0 left, completed
        show     c                  => charge credit completed",
    );
}

#[test]
fn nobody_spends_what_is_not_there() {
    check(
        "
        charge   alice 100
        transfer alice bob 101      => insufficient, 100 left
        withdraw alice 101          => insufficient, 100 left
        transfer bob alice 1        => insufficient, 0 left
        transfer alice bob 100
        transfer alice bob 1        => insufficient, 0 left
        balance  alice              => 0 + 0 + 0
        audit",
    );
}

#[test]
fn reserved_money_is_neither_spent_nor_reserved_again() {
    check(
        "
        charge   alice 100
        withdraw alice 70
        withdraw alice 31           => insufficient, 30 left
        transfer alice bob 31       => insufficient, 30 left
        transfer alice bob 30
        balance  alice              => 0 + 0 + 70",
    );
}

#[test]
fn currencies_are_accounts_of_their_own() {
    check(
        "
        charge   alice 100
        charge   alice 5 EUR
        transfer alice bob 6 EUR    => insufficient, 5 left
        transfer alice bob 5 EUR
        balance  alice              => 100 + 0 + 0
        balance  bob EUR            => 5 + 0 + 0
        balance  bob                => 0 + 0 + 0
        audit",
    );
}

#[test]
fn an_account_takes_as_much_as_every_client_can_hold_and_no_more() {
    check(
        "
        charge   alice max
        charge   alice 1            => overflow
        charge   bob 1
        transfer bob alice 1        => overflow
        transfer alice bob max      => overflow
        withdraw alice max key w
        charge   alice 1            => overflow
        attempt  w                  => submitting 1
        outcome  w settled          => completed
        charge   alice max
        charge   carol max until 10
        charge   carol 1            => overflow
        audit",
    );
}

#[test]
fn nobody_transfers_to_himself() {
    check(
        "
        charge   alice 100
        transfer alice alice 1      => same account
        transfer alice alice 101    => same account",
    );
}

#[test]
fn a_repeat_is_told_of_the_original_and_moves_nothing() {
    check(
        "
        charge   alice 100 key k
        charge   alice 100 key k    => duplicate
        transfer alice bob 100 key t
        transfer alice bob 100 key t => duplicate
        charge   alice 5
        withdraw alice 5 key w
        withdraw alice 5 key w      => duplicate
        balance  alice              => 0 + 0 + 5
        balance  bob                => 100 + 0 + 0",
    );
}

#[test]
fn a_key_used_for_something_else_is_misused_whatever_differs() {
    check(
        "
        charge   alice 100 until 10 note a key k
        charge   alice 101 until 10 note a key k      => reused
        charge   bob 100 until 10 note a key k        => reused
        charge   alice 100 EUR until 10 note a key k  => reused
        charge   alice 100 until 11 note a key k      => reused
        charge   alice 100 note a key k               => reused
        charge   alice 100 until 10 note b key k      => reused
        charge   alice 100 until 10 key k             => reused
        withdraw alice 100 note a key k               => reused
        transfer alice bob 100 until 10 note a key k  => reused
        charge   alice 100 until 10 note a key k      => duplicate
        charge   alice 5
        withdraw alice 5 to here key w
        withdraw alice 5 to there key w               => reused
        withdraw alice 5 key w                        => reused",
    );
}

#[test]
fn a_rejected_command_leaves_its_key_free() {
    check(
        "
        withdraw alice 50 key k     => insufficient, 0 left
        charge   alice 50 key k
        withdraw alice 50 key k     => reused",
    );
}

#[test]
fn keys_live_for_ever_through_closing_killing_and_power_cuts() {
    check(
        "
        charge   alice 100 key k
        reopen
        charge   alice 100 key k    => duplicate
        kill
        charge   alice 101 key k    => reused
        power cut
        charge   alice 100 key k    => duplicate
        balance  alice              => 100 + 0 + 0",
    );
}

#[test]
fn a_repeat_is_a_repeat_even_when_there_is_no_place_and_no_money() {
    check(
        "
        places 1
        charge   alice 100
        withdraw alice 100 key w
        withdraw alice 100 key w    => duplicate
        withdraw alice 1            => queue full",
    );
}

#[test]
fn a_place_is_held_until_the_first_attempt_ends() {
    check(
        "
        places 1
        charge   alice 100
        withdraw alice 10 key w
        withdraw alice 10           => queue full
        attempt  w                  => submitting 1
        withdraw alice 10           => queue full
        outcome  w not-sent         => reserved
        withdraw alice 10 key v
        withdraw alice 10           => queue full
        balance  alice              => 80 + 0 + 20",
    );
}

#[test]
fn a_withdrawal_without_money_gives_its_place_back() {
    check(
        "
        places 1
        withdraw alice 10           => insufficient, 0 left
        charge   alice 10
        withdraw alice 10",
    );
}

#[test]
fn a_settled_withdrawal_leaves_for_the_world_outside() {
    check(
        "
        charge   alice 100
        withdraw alice 40 key w
        show     w                  => withdrawal debit pending
        attempt  w                  => submitting 1
        attempt  w                  => not now
        outcome  w settled          => completed
        outcome  w settled          => repeat
        show     w                  => withdrawal debit completed
        balance  alice              => 60 + 0 + 0
        attempt  w                  => ended
        audit",
    );
}

#[test]
fn a_definite_refusal_releases_the_money_once() {
    check(
        "
        charge   alice 100
        withdraw alice 40 key w
        attempt  w                  => submitting 1
        outcome  w rejected         => failed
        balance  alice              => 100 + 0 + 0
        show     w                  => withdrawal debit failed
        attempt  w                  => ended
        outcome  w settled          => contradicted
        balance  alice              => 100 + 0 + 0
        audit",
    );
}

#[test]
fn an_attempt_that_was_not_sent_is_repeated_and_given_up_after_the_last() {
    check(
        "
        charge   alice 100
        withdraw alice 40 key w
        attempt  w                  => submitting 1
        outcome  w not-sent         => reserved
        attempt  w                  => not now
        clock    2
        attempt  w                  => submitting 2
        outcome  w not-sent         => reserved
        clock    10
        attempt  w                  => submitting 3
        outcome  w not-sent         => reserved
        clock    20
        attempt  w                  => submitting 4
        outcome  w not-sent         => failed
        balance  alice              => 100 + 0 + 0",
    );
}

#[test]
fn an_ambiguous_attempt_keeps_the_money_until_the_bank_tells() {
    check(
        "
        charge   alice 100
        withdraw alice 40 key w
        attempt  w                  => submitting 1
        outcome  w ambiguous        => unknown
        balance  alice              => 60 + 0 + 40
        attempt  w                  => not now
        clock    10
        due                         => inquire w
        inquire  w pending          => unknown
        inquire  w settled          => completed
        balance  alice              => 60 + 0 + 0
        audit",
    );
}

#[test]
fn what_the_bank_does_not_find_is_reviewed_and_never_released() {
    check(
        "
        charge   alice 100
        withdraw alice 40 key w
        attempt  w                  => submitting 1
        outcome  w ambiguous        => unknown
        clock    10
        inquire  w not-found        => needs review
        balance  alice              => 60 + 0 + 40
        show     w                  => withdrawal debit pending
        attempt  w                  => not now",
    );
}

#[test]
fn an_attempt_cut_off_by_a_crash_is_never_failed_nor_repeated() {
    check(
        "
        charge   alice 100
        withdraw alice 40 key w
        attempt  w                  => submitting 1
        power cut
        attempt  w                  => not now
        balance  alice              => 60 + 0 + 40
        due                         => nothing
        clock    60
        due                         => inquire w
        inquire  w settled          => completed
        balance  alice              => 60 + 0 + 0
        audit",
    );
}

#[test]
fn a_reservation_without_an_attempt_is_submitted_after_a_crash() {
    check(
        "
        charge   alice 100
        withdraw alice 40 key w
        due                         => submit w
        power cut
        due                         => submit w
        attempt  w                  => submitting 1",
    );
}

#[test]
fn an_atomic_batch_is_taken_as_a_whole() {
    check(
        "
        atomic
          charge   alice 100 key a
          transfer alice bob 60 key b
          withdraw bob 60 key c
        end                         => accepted
        balance alice               => 40 + 0 + 0
        balance bob                 => 0 + 0 + 60
        audit",
    );
}

#[test]
fn an_atomic_batch_with_one_bad_operation_leaves_no_trace() {
    check(
        "
        charge   alice 10
        atomic
          transfer alice bob 10 key a
          transfer alice bob 1 key b
        end                         => 1 insufficient, 0 left
        balance alice               => 10 + 0 + 0
        balance bob                 => 0 + 0 + 0
        show    a                   => nothing
        charge  bob 1 key a
        audit",
    );
}

#[test]
fn an_atomic_batch_repeated_as_a_whole_is_answered_as_it_was() {
    check(
        "
        atomic
          charge alice 100 key a
          charge bob 100 key b
        end                         => accepted
        atomic
          charge alice 100 key a
          charge bob 100 key b
        end                         => repeat
        power cut
        atomic
          charge alice 100 key a
          charge bob 100 key b
        end                         => repeat
        atomic
          charge alice 100 key a
        end                         => 0 duplicate
        atomic
          charge alice 100 key a
          charge bob 101 key b
        end                         => 0 duplicate
        charge alice 100 key a      => duplicate
        balance alice               => 100 + 0 + 0",
    );
}

#[test]
fn a_key_twice_in_a_batch_makes_the_second_a_repeat() {
    check(
        "
        batch
          charge alice 1 key a
          charge alice 1 key a
          charge alice 2 key a
        end                         => completed, duplicate, reused
        atomic
          charge alice 1 key b
          charge alice 1 key b
        end                         => 1 key twice
        show b                      => nothing
        balance alice               => 1 + 0 + 0",
    );
}

#[test]
fn each_operation_of_a_batch_sees_those_before_it() {
    check(
        "
        batch
          transfer alice bob 5 key a
          charge   alice 5 key b
          transfer alice bob 5 key c
          transfer bob alice 6 key d
          withdraw bob 5 key e
        end                         => insufficient, 0 left, completed, completed, insufficient, 5 left, pending
        audit",
    );
}

#[test]
fn transactions_are_listed_for_both_parties() {
    check(
        "
        charge   alice 100 key a
        transfer alice bob 10 key b
        withdraw bob 5 key c
        list alice                  => b a / 2
        list bob                    => c b / 2
        show b                      => transfer debit completed
        show b for alice            => transfer debit completed
        show b for bob              => transfer credit completed
        show b for carol            => nothing
        show a                      => charge credit completed
        show a for bob              => nothing",
    );
}

#[test]
fn lists_are_filtered_and_paged() {
    check(
        "
        charge   alice 100 key a
        clock    10
        charge   alice 100 EUR key b
        transfer alice bob 10 key c
        clock    20
        withdraw alice 5 key d
        withdraw alice 5 key e
        attempt  e                  => submitting 1
        outcome  e rejected         => failed
        list alice                  => e d c b a / 5
        list alice oldest           => a b c d e / 5
        list alice EUR              => b / 1
        list alice charge           => b a / 2
        list alice withdrawal pending => d / 1
        list alice failed           => e / 1
        list alice from 10          => e d c b / 4
        list alice to 10            => a / 1
        list alice from 10 to 20    => c b / 2
        list alice limit 2          => e d / 5 more
        list alice limit 2 skip 2   => c b / 5 more
        list alice limit 2 skip 4   => a / 5
        list alice limit 2 skip 6   => / 5
        list alice limit 5          => e d c b a / 5
        list alice limit 2 after d  => c b / 5 more
        list alice limit 3 after d  => c b a / 5
        list alice oldest limit 2 after b => c d / 5 more
        list alice after a          => / 5",
    );
}

#[test]
fn time_in_the_ledger_never_goes_back() {
    check(
        "
        charge  alice 10 until 100
        clock   100
        balance alice               => 10 + 0 + 0
        wall    50
        balance alice               => 10 + 0 + 0
        transfer alice bob 10
        charge  bob 5 until 99
        balance bob                 => 15 + 0 + 0",
    );
}

#[test]
fn a_clock_that_leaps_ahead_releases_no_hold_until_it_is_accepted() {
    check(
        "
        charge  alice 10 until 100
        wall    1000                => not believed
        balance alice               => 0 + 10 + 0 until 100
        charge  alice 1
        wall    61                  => not believed
        balance alice               => 1 + 10 + 0 until 100
        wall    1000                => not believed
        accept clock
        balance alice               => 11 + 0 + 0",
    );
}

#[test]
fn a_clock_that_is_a_little_ahead_is_believed() {
    check(
        "
        charge  alice 10 until 100
        clock   50
        wall    100
        balance alice               => 10 + 0 + 0",
    );
}

#[test]
fn a_wrong_clock_at_the_opening_needs_an_explicit_option() {
    check(
        "
        clock   1000
        charge  alice 10 until 5000000
        wall    940
        reopen
        wall    939
        reopen                      => wrong clock",
    );
    check(
        "
        charge  alice 10 until 2592002
        wall    2592000             => not believed
        reopen
        balance alice               => 0 + 10 + 0 until 2592002",
    );
    check(
        "
        charge  alice 10 until 5000000
        wall    2592001             => not believed
        reopen                      => wrong clock",
    );
    check(
        "
        charge  alice 10 until 5000000
        wall    6000000             => not believed
        reopen accepting
        balance alice               => 10 + 0 + 0",
    );
}

#[test]
fn a_hold_that_was_seen_to_mature_is_never_unreleased_by_a_restart() {
    check(
        "
        charge  alice 10 until 30
        clock   30
        balance alice               => 10 + 0 + 0
        wall    29
        reopen
        balance alice               => 10 + 0 + 0",
    );
}

#[test]
fn a_closed_ledger_takes_no_commands() {
    check(
        "
        charge alice 1
        close
        charge alice 1              => shutting down
        reopen
        charge alice 1",
    );
}
