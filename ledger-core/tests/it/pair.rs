//! The ledger and the model side by side on a simulated disk: every call is made on both and every answer compared.
//! A call gives the name of its outcome, or says how the two differ.

use std::time::Duration;

use ledger_core::sim::{SimClock, SimDisk};
use ledger_core::withdrawals::Conflict;
use ledger_core::{
    Balance, Clock, Currency, Error, IdempotencyKey, Ledger, OpenError, Page, Query, Receipt, Rejection, Seq,
    Substatus, Timestamp, TransactionKind, UserId,
};

use crate::model::{Asked, Model};
use crate::stage::{DAY, World, answer, ask, difference, dump, id, options, plain};

mod payouts;
mod time;

pub(crate) use payouts::take_in_interruptions;
use time::TimeRules;

/// What a call came to, in a word; or how ledger and model differ.
pub(crate) type Checked = Result<&'static str, String>;

/// A wall clock more than this ahead of the monotonic one is not believed, and one so far behind the log not opened.
const LEAP: Duration = Duration::from_secs(60);

/// How a ledger ends before it is opened again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// Closed in good order.
    Close,
    /// Dropped, as when the process dies: the page cache survives.
    Drop,
    /// Dropped, and the disk loses what was not synced, by this seed.
    PowerCut(u64),
}

pub(crate) struct Pair {
    /// `None` only while it is being opened again.
    ledger: Option<Ledger>,
    pub(crate) model: Model,
    pub(crate) world: World,
    pub(crate) disk: SimDisk,
    pub(crate) clock: SimClock,
    time: TimeRules,
    places: Option<usize>,
    /// Withdrawals whose attempt was under way when the ledger was last opened.
    interrupted: Vec<u64>,
}

impl Pair {
    /// A new ledger and a new model.
    pub(crate) fn new(seed: u64, world: World, places: Option<usize>) -> Pair {
        let (disk, clock) = (SimDisk::new(seed), SimClock::at(crate::stage::START));
        let ledger =
            options(&clock).withdrawal_places(places).open_on(disk.clone()).expect("an empty disk can be opened");
        let model = Model::new(ledger.uuid(), ledger.epoch(), places);
        let time = TimeRules::opened(&clock, None);
        Pair { ledger: Some(ledger), model, world, disk, clock, time, places, interrupted: Vec::new() }
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().expect("open between calls")
    }

    /// The ledger's time, checked against the rules of clocks.
    pub(crate) fn now(&mut self) -> Result<Timestamp, String> {
        let (now, leap) = (self.ledger().now(), self.ledger().clock_leap());
        self.time.check(&self.clock, now, leap)?;
        Ok(now)
    }

    /// One command, waited for.
    pub(crate) fn command(&mut self, asked: &Asked) -> Checked {
        let (now, before) = (self.now()?, self.ledger().appended());
        let expected = self.model.decide(asked, now);
        let ledger = self.ledger();
        let commit = if before.get() % 2 == 0 { ask(ledger, asked) } else { ledger.submit(asked.command()) };
        let found = commit.and_then(|commit| {
            let seq = commit.seq();
            let found = commit.wait();
            assert!(self.ledger().durable() >= seq, "an answer left before what it depends on was durable");
            found
        });
        self.compare_command(asked, now, expected, found)
    }

    /// Several commands, all submitted before the first is waited for.
    pub(crate) fn pipelined(&mut self, commands: &[Asked]) -> Result<Vec<&'static str>, String> {
        let now = self.now()?;
        let commits: Vec<_> = commands.iter().map(|asked| ask(self.ledger(), asked)).collect();
        let mut outcomes = Vec::new();
        for (asked, commit) in commands.iter().zip(commits) {
            let expected = self.model.decide(asked, now);
            let found = commit.and_then(|commit| commit.wait());
            let outcome = match (expected, found) {
                (Ok(()), Ok(receipt)) => self.compare_receipt(asked, now, &receipt, None)?,
                (Err(expected), Err(Error::Rejected(found))) => same_rejection(&expected, &found)?,
                (expected, found) => return Err(format!("{asked:?}: expected {expected:?}, found {found:?}")),
            };
            outcomes.push(outcome);
        }
        self.in_step()?;
        Ok(outcomes)
    }

    fn compare_command(
        &mut self,
        asked: &Asked,
        now: Timestamp,
        expected: Result<(), Rejection>,
        found: Result<Receipt, Error>,
    ) -> Checked {
        let outcome = match (expected, found) {
            (Ok(()), Ok(receipt)) => self.compare_receipt(asked, now, &receipt, None)?,
            (Err(expected), Err(Error::Rejected(found))) => same_rejection(&expected, &found)?,
            (expected, found) => return Err(format!("{asked:?}: expected {expected:?}, found {found:?}")),
        };
        self.in_step()?;
        Ok(outcome)
    }

    /// Takes an accepted command into the model and compares its receipt.
    fn compare_receipt(
        &mut self,
        asked: &Asked,
        now: Timestamp,
        found: &Receipt,
        batch: Option<(usize, usize)>,
    ) -> Checked {
        let next = self.model.seq() + 1;
        expect(&format!("the id of {asked:?}"), next, found.transaction_id.get())?;
        expect(&format!("the time of {asked:?}"), now, found.created_at)?;
        self.model.accept(next, found.created_at, asked, batch);
        let expected = self.model.receipt(next);
        let appended = self.ledger().appended();
        same_balance(&expected.balance, &found.balance, appended)?;
        expect(&format!("the receipt of {asked:?}"), Receipt { balance: found.balance, ..expected }, *found)?;
        Ok(match (found.held_until, asked.release_at) {
            (Some(_), _) => "accepted, held",
            (None, Some(_)) => "accepted, matured",
            (None, None) => "accepted",
        })
    }

    /// The ledger has recorded what the model has, and no more; all of it is durable.
    fn in_step(&mut self) -> Result<(), String> {
        self.time.rests_on(self.model.time());
        expect("the last seq", self.model.seq(), self.ledger().appended().get())?;
        expect("the durable seq once all is waited for", self.ledger().appended(), self.ledger().durable())
    }

    /// A batch of independent commands.
    pub(crate) fn batch(&mut self, commands: &[Asked]) -> Result<Vec<&'static str>, String> {
        let now = self.now()?;
        let submitted: Vec<_> = commands.iter().map(Asked::command).collect();
        let found = answer(self.ledger().batch(&submitted)).map_err(|err| format!("a batch was refused: {err:?}"))?;
        expect("the number of results", commands.len(), found.len())?;
        // They may be done in another order than they were given in, where no account can tell; but all of them together,
        // in the order of their ids, and each rejection at its place among those before it on its accounts.
        let mut order: Vec<usize> = (0..commands.len()).collect();
        let id_of = |index: usize| found[index].as_ref().ok().map(|receipt| receipt.transaction_id.get());
        let mut after = Vec::new();
        for index in 0..commands.len() {
            let earlier = (0..index).filter(|&earlier| meet(&commands[earlier], &commands[index]));
            let last = earlier.filter_map(id_of).max().unwrap_or(0);
            after.push(id_of(index).unwrap_or(last));
        }
        order.sort_by_key(|&index| (after[index], found[index].is_err(), index));
        let mut outcomes = vec![""; commands.len()];
        for index in order {
            let asked = &commands[index];
            outcomes[index] = match (self.model.decide(asked, now), &found[index]) {
                (Ok(()), Ok(receipt)) => self.compare_receipt(asked, now, receipt, None)?,
                // Which withdrawals of a batch get the places is not said.
                (_, Err(Rejection::QueueFull))
                    if self.places.is_some() && asked.kind == TransactionKind::Withdrawal =>
                {
                    "queue full"
                }
                (Err(expected), Err(found)) => same_rejection(&expected, found)?,
                (expected, found) => return Err(format!("{asked:?}: expected {expected:?}, found {found:?}")),
            };
        }
        self.in_step()?;
        Ok(outcomes)
    }

    /// A batch that is taken as a whole, or not at all.
    pub(crate) fn atomic(&mut self, commands: &[Asked]) -> Checked {
        let now = self.now()?;
        let submitted: Vec<_> = commands.iter().map(Asked::command).collect();
        let found = answer(self.ledger().batch_atomic(&submitted));
        if let Some(earlier) = self.model.repeated_batch(commands) {
            let found = found.map_err(|err| format!("a repeated atomic batch was refused: {err:?}"))?;
            expect("the transactions of a repeated batch", (true, earlier), (found.repeat, found.transactions))?;
            self.in_step()?;
            return Ok("repeat");
        }
        let before = self.model.seq();
        let outcome = match (self.model.decide_batch(commands, now), found) {
            (Ok(()), Ok(found)) => {
                let ids: Vec<_> = (1..=commands.len() as u64).map(|n| id(before + n)).collect();
                expect("the transactions of an atomic batch", (false, ids), (found.repeat, found.transactions))?;
                for (index, asked) in commands.iter().enumerate() {
                    self.model.accept(self.model.seq() + 1, now, asked, Some((index, commands.len())));
                }
                "accepted"
            }
            (Err((index, expected)), Err(Error::Rejected(Rejection::BatchRejected { index: found_at, rejection }))) => {
                expect(&format!("which operation was rejected ({expected:?} or {rejection:?})"), index, found_at)?;
                same_rejection(&expected, &rejection)?
            }
            (expected, found) => {
                return Err(format!("atomic {commands:?}: expected {expected:?}, found {found:?}"));
            }
        };
        self.in_step()?;
        Ok(outcome)
    }

    pub(crate) fn balance(&mut self, user: UserId, currency: Currency) -> Checked {
        let now = self.now()?;
        let found = answer(self.ledger().balance(user, currency)).map_err(|err| format!("balance: {err:?}"))?;
        let expected = self.model.balance(user, currency, now);
        same_balance(&expected, &found, self.ledger().appended())?;
        self.time.rests_on(self.model.matured(user, currency, now));
        Ok(match (found.held, found.reserved, found.total()) {
            (_, _, 0) => "empty",
            (0, 0, _) => "free",
            (_, 0, _) => "held",
            (0, _, _) => "reserved",
            _ => "held and reserved",
        })
    }

    /// All accounts there are, asked for at once, and one of them twice.
    fn balances(&mut self) -> Result<(), String> {
        let mut accounts: Vec<_> = self.world.accounts().collect();
        accounts.extend(accounts.first().copied());
        let now = self.now()?;
        let found = answer(self.ledger().balances(&accounts)).map_err(|err| format!("balances: {err:?}"))?;
        expect("how many balances", accounts.len(), found.len())?;
        for ((user, currency), found) in accounts.into_iter().zip(found) {
            same_balance(&self.model.balance(user, currency, now), &found, self.ledger().appended())?;
            self.time.rests_on(self.model.matured(user, currency, now));
        }
        Ok(())
    }

    pub(crate) fn balance_at(&mut self, user: UserId, currency: Currency, at: Timestamp) -> Checked {
        let now = self.now()?;
        let found =
            answer(self.ledger().balance_at(user, currency, at)).map_err(|err| format!("balance_at: {err:?}"))?;
        let expected = self.model.balance(user, currency, at);
        same_balance(&expected, &found, self.ledger().appended())
            .map_err(|why| format!("at {at} (now {now}): {why}"))?;
        Ok(match at.cmp(&now) {
            std::cmp::Ordering::Less => "past",
            std::cmp::Ordering::Equal => "now",
            std::cmp::Ordering::Greater => "future",
        })
    }

    pub(crate) fn page(&mut self, query: &Query) -> Checked {
        let mut found = answer(self.ledger().transactions(query)).map_err(|err| format!("transactions: {err:?}"))?;
        found.transactions = found.transactions.into_iter().map(plain).collect();
        let expected = self.model.page(query);
        let ids = |page: &Page| page.transactions.iter().map(|t| t.id.get()).collect::<Vec<_>>();
        expect(&format!("the ids for {query:?}"), ids(&expected), ids(&found))?;
        expect(&format!("the page for {query:?}"), &expected, &found)?;
        Ok(match (found.transactions.is_empty(), found.next.is_some()) {
            (true, _) => "empty",
            (false, true) => "more",
            (false, false) => "last",
        })
    }

    pub(crate) fn transaction(&mut self, of: u64, viewer: Option<UserId>) -> Checked {
        let found = answer(self.ledger().transaction(id(of), viewer)).map_err(|err| format!("transaction: {err:?}"))?;
        expect(
            &format!("transaction {of} for {viewer:?}"),
            self.model.transaction(of, viewer),
            found.clone().map(plain),
        )?;
        Ok(if found.is_some() { "found" } else { "not found" })
    }

    pub(crate) fn transaction_by_key(&mut self, key: &str) -> Checked {
        let name = IdempotencyKey::new(key).expect("a valid key");
        let found = answer(self.ledger().transaction_by_key(name)).map_err(|err| format!("by key: {err:?}"))?;
        expect(&format!("the transaction of {key}"), self.model.transaction_by_key(key), found.clone().map(plain))?;
        Ok(if found.is_some() { "found" } else { "not found" })
    }

    pub(crate) fn audit(&mut self, deep: bool) -> Checked {
        let now = self.now()?;
        let found = answer(if deep { self.ledger().audit_deep() } else { self.ledger().audit() })
            .map_err(|err| format!("audit: {err:?}"))?;
        if !found.is_balanced() {
            return Err(format!("the audit is not balanced: {found:?}"));
        }
        expect("the audit", self.model.audit(now).currencies, found.currencies)?;
        for (user, currency) in self.world.accounts() {
            self.time.rests_on(self.model.matured(user, currency, now));
        }
        Ok(if deep { "deep" } else { "shallow" })
    }

    /// Time passes, for both clocks.
    pub(crate) fn advance(&mut self, by: Duration) -> Checked {
        self.clock.advance(by);
        self.now().map(|_| "advanced")
    }

    /// Somebody sets the wall clock.
    pub(crate) fn set_wall(&mut self, to: Timestamp) -> Checked {
        self.time.stepped(self.clock.wall(), to);
        self.clock.set_wall(to);
        self.now()?;
        Ok(if self.ledger().clock_leap().is_some() { "not believed" } else { "believed" })
    }

    /// An operator says that the wall clock is right.
    pub(crate) fn accept_clock(&mut self) -> Checked {
        let leapt = self.ledger().clock_leap().is_some();
        self.ledger().accept_clock();
        self.time.accepted(&self.clock);
        if let Some(leap) = self.ledger().clock_leap() {
            return Err(format!("the clock is {leap:?} ahead after it was accepted"));
        }
        let now = self.now()?;
        if now < self.clock.wall() {
            return Err(format!("the accepted wall clock says {}, the ledger {now}", self.clock.wall()));
        }
        Ok(if leapt { "a leap" } else { "no leap" })
    }

    /// Makes a checkpoint, which changes nothing that can be asked.
    pub(crate) fn checkpoint(&mut self) -> Checked {
        let (last, before) = self.ledger().state_digest();
        let made = self.ledger().checkpoint().map_err(|err| format!("checkpoint: {err}"))?;
        expect("the checkpoint's seq", last, made.seq)?;
        expect("the state after a checkpoint", (last, before), self.ledger().state_digest())?;
        Ok(if made.bytes > 0 { "made" } else { "nothing new" })
    }

    /// Ends the ledger and opens it again: the same state, whatever the end.
    pub(crate) fn reopen(&mut self, end: End) -> Checked {
        // A clean stop keeps the ledger's time, which answers may have raised above the last entry's; another stop may.
        let kept = self.ledger().now();
        if let End::Close = end {
            self.ledger().close().map_err(|err| format!("close: {err:?}"))?;
            let refused =
                answer(self.ledger().submit(Asked::charge(id_user(), crate::stage::amount(1), "late").command()));
            if !matches!(refused, Err(Error::Rejected(Rejection::ShuttingDown))) {
                return Err(format!("a closed ledger answered {refused:?}"));
            }
        }
        let (uuid, epoch) = (self.ledger().uuid(), self.ledger().epoch());
        let digest = self.ledger().state_digest();
        self.ledger = None;
        if let End::PowerCut(seed) = end {
            self.disk = self.disk.survivor(seed);
        }
        let wall = self.clock.wall();
        let refused = self
            .model
            .time()
            .is_some_and(|last| last.saturating_since(wall) > LEAP || wall.saturating_since(last) > DAY * 30);
        let may_differ = self.model.time().is_none_or(|last| kept > last);
        let options = options(&self.clock).withdrawal_places(self.places);
        let opened = options.clone().open_on(self.disk.clone());
        let ledger = match (opened, refused) {
            (Ok(ledger), refused) if !refused || may_differ => ledger,
            (Err(OpenError::Clock { .. }), refused) if refused || may_differ => options
                .accept_clock(true)
                .open_on(self.disk.clone())
                .map_err(|err| format!("with the clock accepted: {err}"))?,
            (Ok(_), _) => {
                return Err(format!("opened with the wall clock at {wall}, the log at {:?}", self.model.time()));
            }
            (Err(err), _) => return Err(format!("not opened: {err}")),
        };
        expect("the uuid", uuid, ledger.uuid())?;
        if ledger.epoch() <= epoch {
            return Err(format!("the epoch was {epoch} and is {}", ledger.epoch()));
        }
        expect("the state", digest, ledger.state_digest())?;
        self.model.reopen(ledger.epoch());
        self.interrupted = self
            .model
            .withdrawals()
            .filter(|(_, record)| record.substatus == Substatus::Submitting)
            .map(|(id, _)| id)
            .collect();
        self.ledger = Some(ledger);
        self.time = TimeRules::opened(&self.clock, self.model.time());
        // Otherwise the clock says it all.
        if may_differ && (matches!(end, End::Close) || kept > wall) {
            self.time.last = self.time.last.max(kept);
            self.time.stepped = true;
        }
        take_in_interruptions(&mut self.model, self.ledger.as_ref().expect("just opened"))?;
        self.same_dump()?;
        Ok(match (end, refused) {
            (_, true) => "with the clock accepted",
            (End::Close, _) => "after a close",
            (End::Drop, _) => "after a kill",
            (End::PowerCut(_), _) => "after a power cut",
        })
    }

    /// All that can be asked is what the model says.
    pub(crate) fn same_dump(&mut self) -> Result<(), String> {
        let now = self.now()?;
        let found = dump(self.ledger(), &self.world).map_err(|err| format!("dump: {err}"))?;
        match difference(&self.model.dump(&self.world, now), &found) {
            None => Ok(()),
            Some(difference) => Err(difference),
        }
    }

    /// What must hold after every step: the sums, every account's parts, and every key's transaction.
    pub(crate) fn invariants(&mut self) -> Result<(), String> {
        self.audit(false)?;
        self.figures()?;
        let accounts: Vec<_> = self.world.accounts().collect();
        for (user, currency) in accounts {
            self.balance(user, currency)?;
        }
        self.balances()?;
        let keys: Vec<_> = self.model.keys().map(|(key, id)| (key.to_owned(), id)).collect();
        for (key, id) in keys {
            let name = IdempotencyKey::new(&key).expect("a valid key");
            let found = answer(self.ledger().transaction_by_key(name)).map_err(|err| format!("by key: {err:?}"))?;
            expect(&format!("the transaction of {key}"), Some(id), found.map(|t| t.id.get()))?;
        }
        if let Some(halted) = self.ledger().halted() {
            return Err(format!("halted: {halted}"));
        }
        Ok(())
    }
}

/// Any user: a closed ledger looks at nothing else.
fn id_user() -> UserId {
    crate::stage::user(1)
}

pub(crate) fn expect<T: PartialEq + std::fmt::Debug>(what: &str, expected: T, found: T) -> Result<(), String> {
    if expected == found { Ok(()) } else { Err(format!("{what}: expected {expected:?}, found {found:?}")) }
}

/// Equal but for the seq, which may be any from the last entry that touched the account to the last one of all.
pub(crate) fn same_balance(expected: &Balance, found: &Balance, appended: Seq) -> Result<(), String> {
    expect("the balance", Balance { seq: found.seq, ..*expected }, *found)?;
    if found.seq < expected.seq || found.seq > appended {
        return Err(format!("{found:?}: its seq is not in {} ..= {appended}", expected.seq));
    }
    Ok(())
}

/// Whether the order of two commands can be told: they share an account, or a key.
fn meet(one: &Asked, other: &Asked) -> bool {
    let touches = |user: UserId| one.user == user || one.to == Some(user);
    one.key == other.key || (one.currency == other.currency && (touches(other.user) || other.to.is_some_and(touches)))
}

/// The rejection in a word.
pub(crate) fn word(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::ShuttingDown => "shutting down",
        Rejection::StorageFull => "storage full",
        Rejection::Overloaded => "overloaded",
        Rejection::BatchTooLarge { .. } => "batch too large",
        Rejection::DuplicateRequest(_) => "duplicate",
        Rejection::IdempotencyKeyReused(_) => "reused",
        Rejection::SameAccount => "same account",
        Rejection::QueueFull => "queue full",
        Rejection::InsufficientBalance { .. } => "insufficient",
        Rejection::BalanceOverflow => "overflow",
        Rejection::TransactionNotFound => "not found",
        Rejection::KeyTwiceInBatch { .. } => "key twice",
        Rejection::WithdrawalConflict { conflict, .. } => match conflict {
            Conflict::Repeat => "repeat",
            Conflict::Ended => "ended",
            Conflict::Contradicted { .. } => "contradicted",
            Conflict::NotNow => "not now",
        },
        Rejection::BatchRejected { .. } => "batch rejected",
        Rejection::NotCancellable(_) => "not cancellable",
        Rejection::NeverAttempted(_) => "never attempted",
        Rejection::AttemptUnderWay(_) => "under way",
        Rejection::AlreadyResolved(_) => "already resolved",
        _ => "unheard of",
    }
}

/// Compares two rejections with all that they say.
pub(crate) fn same_rejection(expected: &Rejection, found: &Rejection) -> Checked {
    let plainly = |rejection: &Rejection| match rejection {
        Rejection::DuplicateRequest(t) => Rejection::DuplicateRequest(Box::new(plain((**t).clone()))),
        Rejection::IdempotencyKeyReused(t) => Rejection::IdempotencyKeyReused(Box::new(plain((**t).clone()))),
        other => other.clone(),
    };
    expect("the rejection", plainly(expected), plainly(found))?;
    Ok(word(expected))
}

/// The substatus in a word.
pub(crate) fn named(substatus: Substatus) -> &'static str {
    match substatus {
        Substatus::Reserved => "reserved",
        Substatus::Submitting => "submitting",
        Substatus::Accepted => "bank pending",
        Substatus::Unknown => "unknown",
        Substatus::NeedsReview => "needs review",
        Substatus::Completed => "completed",
        Substatus::Failed => "failed",
        Substatus::Cancelled => "cancelled",
        Substatus::Returned => "returned",
        _ => "unheard of",
    }
}
