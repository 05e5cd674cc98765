//! The callers: what they ask, what the model says to it, and how the answers leave.

use ledger_core::{
    Commit, Error, Halted, IdempotencyKey, PageStart, Query, Receipt, Rejection, Status, Timestamp, TransactionKind,
    UserId,
};

use crate::coverage::Fault;
use crate::model::Asked;
use crate::pair::{same_balance, same_rejection, word};
use crate::promise::{Checked, Sees, Violation};
use crate::run::Run;
use crate::stage::{Chance, amount, ask, currency, id, line_of_withdrawal, plain, user};
use std::time::Duration;

/// A call that was decided, and whose answer has not left.
pub(crate) struct Pending {
    command: &'static str,
    outcome: &'static str,
    /// What it must bring, where it is a rejection.
    expected: Option<Refusal>,
    /// The first and the last entry that it made.
    entries: (u64, u64),
    commit: Commit<()>,
}

/// A rejection that must come.
pub(crate) enum Refusal {
    As(Rejection),
    /// One that shows a withdrawal: its word and the withdrawal's line; `outcome` is what it is counted as.
    Of {
        outcome: &'static str,
        word: &'static str,
        line: String,
    },
}

impl Refusal {
    fn outcome(&self) -> &'static str {
        match self {
            Refusal::As(rejection) => inner_word(rejection),
            Refusal::Of { outcome, .. } => outcome,
        }
    }

    fn check(&self, found: &Rejection) -> Checked {
        match (self, found) {
            (
                Refusal::As(Rejection::BatchRejected { index: expected_at, rejection: expected }),
                Rejection::BatchRejected { index, rejection },
            ) if expected_at == index => same_rejection(expected, rejection).map(drop).sees("answer"),
            (Refusal::As(expected), found) => same_rejection(expected, found).map(drop).sees("answer"),
            (
                Refusal::Of { word: expected, line, .. },
                Rejection::NotCancellable(withdrawal)
                | Rejection::AlreadyResolved(withdrawal)
                | Rejection::NeverAttempted(withdrawal)
                | Rejection::AttemptUnderWay(withdrawal),
            ) if *expected == word(found) => same("the withdrawal", line, &line_of_withdrawal(withdrawal)),
            (Refusal::Of { word, .. }, found) => {
                Err(Violation::new("answer", format!("an order: expected {word}, found {found}")))
            }
        }
    }
}

impl Run {
    /// Some client asks something.
    pub(crate) fn issue(&mut self) -> Checked {
        let client = self.chance.below(self.in_flight.len() as u64) as usize;
        let fills = self.fault == Fault::Full;
        if self.in_flight[client].len() >= if fills { 16 } else { self.swarm.in_flight } {
            return Ok(());
        }
        self.tally.calls += 1;
        let weights = self.swarm.weights;
        let draw = self.chance.below(100);
        if draw < weights.reads {
            self.read(client)
        } else if draw < weights.reads + if fills { 50 } else { weights.batches } {
            if self.chance.below(10) == 0 && !self.batches.is_empty() {
                let earlier = self.batches[self.chance.below(self.batches.len() as u64) as usize].clone();
                return self.atomic(client, earlier);
            }
            let count = 1 + self.chance.below(if fills {
                20
            } else if self.swarm.is_bulky {
                14
            } else {
                4
            });
            let commands: Vec<Asked> = (0..count).map(|_| self.think_of()).collect();
            if self.chance.below(2) == 0 { self.batch(client, &commands) } else { self.atomic(client, commands) }
        } else {
            let asked = self.think_of();
            self.command(client, &asked)
        }
    }

    /// A disk that is to run full needs much to be written.
    fn is_bulky(&self) -> bool {
        self.swarm.is_bulky || self.fault == Fault::Full
    }

    /// The next command, or an earlier one again, or its key for something else.
    fn think_of(&mut self) -> Asked {
        let draw = self.chance.below(100);
        if draw < self.swarm.repeats + self.swarm.misuses && !self.asked.is_empty() {
            let earlier = self.asked[self.chance.below(self.asked.len() as u64) as usize].clone();
            if draw < self.swarm.repeats {
                return earlier;
            }
            return Asked { amount: amount(1 + self.chance.below(self.swarm.amount_max - 1)), ..earlier };
        }
        let key = format!("key {}", self.asked.len());
        let (a, b) = (self.some_user(), self.some_user());
        let minor = amount(1 + self.chance.below(self.swarm.amount_max - 1));
        let small = amount(1 + self.chance.below(200));
        let withdraws = self.swarm.weights.withdraws;
        let asked = match self.chance.below(100) {
            draw if draw < withdraws => Asked::withdraw(a, small, key),
            draw if draw < withdraws + (100 - withdraws) / 2 => Asked::charge(a, minor, key),
            _ => Asked::transfer(a, b, if self.chance.below(2) == 0 { small } else { minor }, key),
        };
        let is_held = asked.kind != TransactionKind::Withdrawal && self.chance.below(100) < self.swarm.held;
        let release_at = self.ledger().now().saturating_add(Duration::from_millis(self.chance.below(20_000)));
        let bytes = if self.is_bulky() { 4096 } else { self.chance.pick(&[0, 0, 0, 50]) };
        let asked = Asked {
            currency: currency(self.chance.pick(self.swarm.currencies)),
            release_at: is_held.then_some(release_at),
            destination: (asked.kind == TransactionKind::Withdrawal).then(|| "DE89".to_owned()),
            metadata: (bytes > 0).then(|| metadata(bytes, self.asked.len() as u64)),
            ..asked
        };
        self.asked.push(asked.clone());
        asked
    }

    fn some_user(&mut self) -> UserId {
        user(1 + self.chance.below(self.swarm.users))
    }

    fn command(&mut self, client: usize, asked: &Asked) -> Checked {
        let now = self.now()?;
        let expected = self.model.decide(asked, now).map_err(Refusal::As);
        let result = ask(self.ledger(), asked);
        let command = asked.kind.as_str();
        self.called(client, command, expected, result, |run, receipt| {
            run.takes(asked, now, &receipt, None).sees("answer")
        })
    }

    /// Takes an accepted command into the model and compares its receipt.
    fn takes(
        &mut self,
        asked: &Asked,
        now: Timestamp,
        found: &Receipt,
        batch: Option<(usize, usize)>,
    ) -> Result<&'static str, String> {
        let next = self.model.seq() + 1;
        if found.transaction_id.get() != next || found.created_at != now {
            return Err(format!("entry {next} at {now} is answered {found:?}"));
        }
        self.model.accept(next, now, asked, batch);
        let expected = self.model.receipt(next);
        same_balance(&expected.balance, &found.balance, self.ledger().appended())?;
        if (Receipt { balance: found.balance, ..expected }) != *found {
            return Err(format!("expected {expected:?}, found {found:?}"));
        }
        Ok(if found.held_until.is_some() { "accepted, held" } else { "accepted" })
    }

    fn batch(&mut self, client: usize, commands: &[Asked]) -> Checked {
        let now = self.now()?;
        let submitted: Vec<_> = commands.iter().map(Asked::command).collect();
        let result = self.ledger().batch(&submitted);
        if let Err(Error::Halted(halted)) = &result
            && halted.outcome_unknown
        {
            self.doubts(commands, now);
        }
        self.called(client, "batch", Ok(()), result, |run, results| {
            run.takes_batch(commands, now, &results).sees("answer")
        })
    }

    /// They may be done in another order than they were given in, where no account can tell: all of them together are
    /// right in the order of their ids, and each rejection at its place among those before it on its accounts.
    fn takes_batch(
        &mut self,
        commands: &[Asked],
        now: Timestamp,
        results: &[Result<Receipt, Rejection>],
    ) -> Result<&'static str, String> {
        if commands.len() != results.len() {
            return Err(format!("{} commands have {} results", commands.len(), results.len()));
        }
        let id_of = |index: usize| results[index].as_ref().ok().map(|receipt| receipt.transaction_id.get());
        let mut order: Vec<(u64, bool, usize)> = Vec::new();
        for index in 0..commands.len() {
            let earlier = (0..index).filter(|&earlier| meet(&commands[earlier], &commands[index]));
            let last = earlier.filter_map(id_of).max().unwrap_or(0);
            order.push((id_of(index).unwrap_or(last), results[index].is_err(), index));
        }
        order.sort_unstable();
        for (_, _, index) in order {
            let asked = &commands[index];
            match (self.model.decide(asked, now), &results[index]) {
                (Ok(()), Ok(receipt)) => drop(self.takes(asked, now, receipt, None)?),
                // Which withdrawals of a batch get the places is not said.
                (_, Err(Rejection::QueueFull))
                    if self.swarm.places.is_some() && asked.kind == TransactionKind::Withdrawal => {}
                (_, Err(rejection)) if is_transient(rejection) => {}
                (Err(expected), Err(found)) => drop(same_rejection(&expected, found)?),
                (expected, found) => return Err(format!("{asked:?}: expected {expected:?}, found {found:?}")),
            }
        }
        Ok("done")
    }

    fn atomic(&mut self, client: usize, commands: Vec<Asked>) -> Checked {
        let now = self.now()?;
        let submitted: Vec<_> = commands.iter().map(Asked::command).collect();
        let result = self.ledger().batch_atomic(&submitted);
        drop(submitted);
        let repeated = self.model.repeated_batch(&commands);
        let expected = match &repeated {
            Some(_) => Ok(()),
            None => self
                .model
                .decide_batch(&commands, now)
                .map_err(|(index, rejection)| Rejection::BatchRejected { index, rejection: Box::new(rejection) })
                .map_err(Refusal::As),
        };
        self.called(client, "atomic", expected, result, |run, found| {
            let first = run.model.seq() + 1;
            let is_repeat = repeated.is_some();
            let ids = repeated.unwrap_or_else(|| (0..commands.len() as u64).map(|n| id(first + n)).collect());
            if (is_repeat, &ids) != (found.repeat, &found.transactions) {
                return Err(Violation::new("answer", format!("an atomic batch: expected {ids:?}, found {found:?}")));
            }
            if is_repeat {
                return Ok("repeat");
            }
            run.batches.push(commands.clone());
            for (index, asked) in commands.iter().enumerate() {
                run.model.accept(run.model.seq() + 1, now, asked, Some((index, commands.len())));
            }
            Ok("accepted")
        })
    }

    fn read(&mut self, client: usize) -> Checked {
        let (of, code) = (self.some_user(), currency(self.chance.pick(self.swarm.currencies)));
        let now = self.now()?;
        let at_random =
            now.saturating_sub(Duration::from_secs(30)).saturating_add(Duration::from_secs(self.chance.below(60)));
        match self.chance.below(9) {
            0..=2 => {
                let result = self.ledger().balance(of, code);
                self.called(client, "balance", Ok(()), result, |run, found| {
                    let expected = run.model.balance(of, code, now);
                    same_balance(&expected, &found, run.ledger().appended()).sees("answer")?;
                    run.time.rests_on(run.model.matured(of, code, now).unwrap_or(Timestamp::MIN));
                    run.tells(found.seq.get())?;
                    Ok(match (found.held, found.reserved, found.total()) {
                        (_, _, 0) => "empty",
                        (0, 0, _) => "free",
                        (_, 0, _) => "held",
                        _ => "reserved",
                    })
                })
            }
            3 => {
                let result = self.ledger().balance_at(of, code, at_random);
                self.called(client, "balance at", Ok(()), result, |run, found| {
                    let expected = run.model.balance(of, code, at_random);
                    same_balance(&expected, &found, run.ledger().appended()).sees("answer")?;
                    run.tells(found.seq.get())?;
                    Ok(if at_random <= now { "past" } else { "future" })
                })
            }
            4 => {
                let query = self.some_query(of);
                let result = self.ledger().transactions(&query);
                self.called(client, "page", Ok(()), result, |run, mut found| {
                    found.transactions = found.transactions.into_iter().map(plain).collect();
                    same("a page", &run.model.page(&query), &found)?;
                    Ok(match (found.transactions.is_empty(), found.next.is_some()) {
                        (true, _) => "empty",
                        (false, true) => "more",
                        (false, false) => "last",
                    })
                })
            }
            5 => {
                let of = self.some_recent(self.model.seq() + 2) + 1;
                let result = self.ledger().transaction(id(of), None);
                self.called(client, "transaction", Ok(()), result, |run, found| {
                    let found = found.map(plain);
                    same("a transaction", &run.model.transaction(of, None), &found)?;
                    Ok(if found.is_some() { "found" } else { "not found" })
                })
            }
            6 => {
                let number = self.some_recent(self.asked.len() as u64 + 1);
                let key = format!("{} {number}", self.chance.pick(&["key", "key", "order"]));
                let result = self.ledger().transaction_by_key(IdempotencyKey::new(&key).expect("a key"));
                self.called(client, "by key", Ok(()), result, |run, found| {
                    let found = found.map(plain);
                    same("a transaction by its key", &run.model.transaction_by_key(&key), &found)?;
                    Ok(if found.is_some() { "found" } else { "not found" })
                })
            }
            deep => {
                let deep = deep == 8;
                let result = if deep { self.ledger().audit_deep() } else { self.ledger().audit() };
                self.called(client, "audit", Ok(()), result, |run, found| {
                    if !found.is_balanced() {
                        return Err(Violation::new("not balanced", format!("{found:?}")));
                    }
                    same("an audit", &run.model.audit(now).currencies, &found.currencies)?;
                    run.tells(found.seq.get())?;
                    Ok(if deep { "deep" } else { "shallow" })
                })
            }
        }
    }

    /// A number below `end`, as often as not one of the last.
    fn some_recent(&mut self, end: u64) -> u64 {
        let among = self.chance.pick(&[4, end]).min(end);
        end - 1 - self.chance.below(among)
    }

    fn some_query(&mut self, of: UserId) -> Query {
        Query {
            kind: self.chance.pick(&[None, None, Some(TransactionKind::Charge), Some(TransactionKind::Withdrawal)]),
            status: self.chance.pick(&[None, None, None, Some(Status::Pending)]),
            ascending: self.chance.below(2) == 0,
            start: match self.chance.below(3) {
                0 => PageStart::After(id(1 + self.chance.below(self.model.seq() + 1))),
                _ => PageStart::Skip(self.chance.below(4)),
            },
            limit: self.chance.pick(&[1, 5, 100]),
            ..Query::new(of)
        }
    }

    /// An answer tells of entry `seq`: nothing that was asked after an answer told of a later one may.
    fn tells(&mut self, seq: u64) -> Checked {
        if seq < self.told {
            return Err(Violation::new(
                "real time",
                format!("an answer of entry {seq} after one of entry {}", self.told),
            ));
        }
        Ok(())
    }

    /// A call returned: compares it with what the model expects, and keeps what has not been answered yet.
    pub(crate) fn called<T>(
        &mut self,
        client: usize,
        command: &'static str,
        expected: Result<(), Refusal>,
        result: Result<Commit<T>, Error>,
        take: impl FnOnce(&mut Run, T) -> Checked<&'static str>,
    ) -> Checked {
        let before = self.model.seq();
        match result {
            Ok(commit) => {
                let mut peeked = None;
                let commit = commit.map(|answer| peeked = Some(answer));
                let (outcome, expected) = match (peeked, expected) {
                    (Some(answer), Ok(())) => (take(self, answer)?, None),
                    (None, Err(refusal)) => (refusal.outcome(), Some(refusal)),
                    (Some(_), Err(refusal)) => {
                        let why = format!("{command}: accepted, and not rejected: {}", refusal.outcome());
                        return Err(Violation::new("answer", why));
                    }
                    (None, Ok(())) => {
                        return Err(Violation::new("answer", format!("{command}: rejected, and not accepted")));
                    }
                };
                let entries = (before + 1, self.model.seq());
                self.trace
                    .line(format_args!("client {client}: {command}, {outcome}, entries {before}.. to {}", entries.1));
                self.unacknowledged.extend((entries.0..=entries.1).map(|seq| (seq, command)));
                self.in_flight[client].push(Pending { command, outcome, expected, entries, commit });
            }
            Err(Error::Rejected(found)) if is_transient(inner(&found)) => {
                self.tally.coverage.hit(command, inner_word(&found), self.fault);
                self.trace.line(format_args!("client {client}: {command}, {}", inner_word(&found)));
                if self.fault != Fault::Full {
                    return Err(Violation::new("answer", format!("{command}: {found}, and the disk has room")));
                }
            }
            Err(Error::Rejected(found)) => match expected {
                Err(expected) => self.rejected(command, &expected, &found)?,
                Ok(()) => return Err(Violation::new("answer", format!("{command}: {found}"))),
            },
            Err(Error::Halted(halted)) => self.refused(command, &halted)?,
        }
        self.in_step()
    }

    /// The ledger has decided what the model has, and no more.
    pub(crate) fn in_step(&mut self) -> Checked {
        let (expected, found) = (self.decided(), self.ledger().appended().get());
        if let Some(time) = self.model.time() {
            self.time.rests_on(time);
        }
        self.tally.entries = self.tally.entries.max(found);
        if expected == found {
            return self.may_have_halted();
        }
        Err(Violation::new("answer", format!("the last entry is {found}, and should be {expected}")))
    }

    fn rejected(&mut self, command: &'static str, expected: &Refusal, found: &Rejection) -> Checked {
        let outcome = expected.outcome();
        self.trace.line(format_args!("{command} is rejected: {outcome}"));
        expected.check(found)?;
        self.tally.coverage.hit(command, outcome, self.fault);
        Ok(())
    }

    /// A halted ledger refuses, and says truly that nothing was recorded.
    pub(crate) fn refused(&mut self, command: &'static str, halted: &Halted) -> Checked {
        self.trace.line(format_args!("{command}: halted"));
        self.tally.coverage.hit(command, "halted", self.fault);
        self.may_have_halted()?;
        if halted.outcome_unknown && self.ledger().appended().get() == self.ledger().durable().get() {
            return Err(Violation::new("halted", format!("{command}: nothing is in doubt, and told {halted}")));
        }
        Ok(())
    }

    /// Some client looks whether an answer may leave.
    pub(crate) fn collect(&mut self) -> Checked {
        let client = self.chance.below(self.in_flight.len() as u64) as usize;
        if self.in_flight[client].is_empty() {
            return Ok(());
        }
        let which = self.chance.below(self.in_flight[client].len() as u64) as usize;
        let pending = self.in_flight[client].swap_remove(which);
        match self.answered(pending)? {
            Some(pending) => self.in_flight[client].push(pending),
            None => self.trace.line(format_args!("client {client} has its answer")),
        }
        Ok(())
    }

    /// Every answer that may leave does.
    pub(crate) fn collect_all(&mut self) -> Checked {
        for client in 0..self.in_flight.len() {
            for pending in std::mem::take(&mut self.in_flight[client]) {
                if let Some(pending) = self.answered(pending)? {
                    self.in_flight[client].push(pending);
                }
            }
        }
        Ok(())
    }

    /// Checks an answer that leaves; gives it back if it may not yet.
    fn answered(&mut self, pending: Pending) -> Checked<Option<Pending>> {
        let Pending { command, outcome, expected, entries, commit } = pending;
        let seq = commit.seq().get();
        let answer = match commit.try_wait() {
            Err(commit) => return Ok(Some(Pending { command, outcome, expected, entries, commit })),
            Ok(answer) => answer,
        };
        match (answer, expected) {
            (Ok(()), None) => self.tally.coverage.hit(command, outcome, self.fault),
            (Err(Error::Rejected(found)), Some(expected)) => self.rejected(command, &expected, &found)?,
            (Err(Error::Halted(halted)), _) => {
                self.tally.coverage.hit(command, "unknown", self.fault);
                self.may_have_halted()?;
                if !halted.outcome_unknown {
                    return Err(Violation::new("halted", format!("{command} was decided, and told {halted}")));
                }
                return Ok(None);
            }
            (found, expected) => {
                let expected = expected.map_or("an answer", |refusal| refusal.outcome());
                return Err(Violation::new("answer", format!("{command}: expected {expected}, found {found:?}")));
            }
        }
        self.leaves(seq.max(if entries.0 <= entries.1 { entries.1 } else { 0 }));
        Ok(None)
    }

    /// An answer left that rests on entry `seq`.
    pub(crate) fn leaves(&mut self, seq: u64) {
        let durable = self.ledger().durable().get();
        self.promise.answered(seq, durable);
        self.told = self.told.max(seq);
        self.unacknowledged = self.unacknowledged.split_off(&(self.promise.after_kill() + 1));
    }
}

/// Metadata of `length` bytes that differ from place to place and from `salt` to salt.
fn metadata(length: usize, salt: u64) -> Vec<u8> {
    let (mut chance, mut bytes) = (Chance::new(salt), vec![0; length]);
    for part in bytes.chunks_mut(8) {
        part.copy_from_slice(&chance.next().to_le_bytes()[..part.len()]);
    }
    bytes
}

/// Whether the order of two commands can be told: they share an account, or a key.
fn meet(one: &Asked, other: &Asked) -> bool {
    let touches = |user: UserId| one.user == user || one.to == Some(user);
    one.key == other.key || (one.currency == other.currency && (touches(other.user) || other.to.is_some_and(touches)))
}

fn is_transient(rejection: &Rejection) -> bool {
    matches!(rejection, Rejection::StorageFull | Rejection::Overloaded)
}

/// What an atomic batch was rejected for.
fn inner(rejection: &Rejection) -> &Rejection {
    match rejection {
        Rejection::BatchRejected { rejection, .. } => rejection,
        other => other,
    }
}

fn inner_word(rejection: &Rejection) -> &'static str {
    word(inner(rejection))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, found: &T) -> Checked {
    if expected == found {
        return Ok(());
    }
    Err(Violation::new("answer", format!("{what}: expected {expected:?}, found {found:?}")))
}
