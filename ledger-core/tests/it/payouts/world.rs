//! One withdrawal between a ledger on a simulated disk and a bank, driven one turn at a time.

use std::time::Duration;

use ledger_core::sim::{PlantedBug, SimClock, SimDisk};
use ledger_core::withdrawals::{
    AttemptClass, Inquiry, InquiryAnswer, NoticeOutcome, Policy, Reservation, Resolution, Step, Submission, Withdrawal,
};
use ledger_core::{
    CancelWithdrawal, Clock, Currency, Error, Evidence, IdempotencyKey, Ledger, Notice, Operator, Rejection,
    ResolveWithdrawal, Substatus, TransactionId,
};

use super::bank::{Bank, Candour, Reply};
use crate::model::Asked;
use crate::stage::{DAY, START, amount, answer, ask, options, user};

pub(crate) const FUNDS: u64 = 1_000;
pub(crate) const AMOUNT: u64 = 300;
/// How long the bank recognises a repeat, where it does.
const WINDOW: Duration = Duration::from_secs(60);
/// How long the executor sleeps at [`Turn::Oversleep`]: longer than the window.
const OVERSLEPT: Duration = Duration::from_secs(70);

/// What happens next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    /// An attempt is started, the bank does this with it, and its outcome is recorded.
    Try(Reply),
    /// An attempt is started and the bank does this with it; its outcome is still on its way.
    Start(Reply),
    /// The outcome that was on its way is recorded.
    End,
    /// The bank answers an inquiry, asked in time or late.
    Ask(Candour),
    /// The bank tells something.
    Tell(NoticeOutcome),
    /// An operator decides.
    Resolve(Resolution),
    /// The owner gives up.
    Cancel,
    /// Somebody says that the log may lack what was done.
    Doubt,
    /// The wall clock is set back by an hour, and the executor sleeps past the bank's window.
    Oversleep,
}

impl Turn {
    pub(crate) fn all() -> Vec<Turn> {
        let mut all = Vec::new();
        all.extend(Reply::ALL.map(Turn::Try));
        all.extend(Reply::ALL.map(Turn::Start));
        all.push(Turn::End);
        all.extend(Candour::ALL.map(Turn::Ask));
        all.extend(NoticeOutcome::ALL.map(Turn::Tell));
        all.extend(Resolution::ALL.map(Turn::Resolve));
        all.extend([Turn::Cancel, Turn::Doubt, Turn::Oversleep]);
        all
    }
}

/// Which kind of bank, and which fault is planted in the ledger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// Whether the bank recognises a repeat for a while.
    pub(crate) recognises: bool,
    pub(crate) planted: Option<PlantedBug>,
}

pub(crate) struct World {
    kind: Kind,
    pub(crate) disk: SimDisk,
    clock: SimClock,
    /// Time as it passes, whatever clocks say.
    real: Duration,
    pub(crate) bank: Bank,
    ledger: Ledger,
    id: Option<TransactionId>,
    in_hand: Option<(u32, AttemptClass)>,
    /// Whether an operator said something that may not be so.
    pub(crate) overruled: bool,
    orders: u32,
    /// Whether the log was restored from a copy, so that the bank may know more of it.
    pub(crate) is_restored: bool,
    /// What was acknowledged of the withdrawal's end.
    pub(crate) ended: Option<Reservation>,
}

/// What the world outside the disk was at some moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    bank: Bank,
    ended: Option<Reservation>,
    overruled: bool,
}

/// A failed check, in words.
pub(crate) type Checked<T = ()> = Result<T, String>;

impl World {
    /// An account with money, and a withdrawal that is reserved.
    pub(crate) fn new(kind: Kind, photographed: Option<u64>) -> Checked<World> {
        let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
        let ledger = open(kind, &disk, &clock)?;
        let bank = Bank::new(kind.recognises.then_some(WINDOW));
        let (id, in_hand, ended, real) = (None, None, None, Duration::ZERO);
        let mut world = World {
            kind,
            disk,
            clock,
            real,
            bank,
            ledger,
            id,
            in_hand,
            overruled: false,
            orders: 0,
            is_restored: false,
            ended,
        };
        if let Some(seed) = photographed {
            world.photograph(seed);
        }
        let charge = Asked::charge(user(1), amount(FUNDS), "funds");
        answer(ask(&world.ledger, &charge)).map_err(|error| format!("the charge: {error}"))?;
        let withdraw = Asked::withdraw(user(1), amount(AMOUNT), "payout");
        let receipt = answer(ask(&world.ledger, &withdraw)).map_err(|error| format!("the withdrawal: {error}"))?;
        world.id = Some(receipt.transaction_id);
        Ok(world)
    }

    /// The world outside the disk as it is now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { bank: self.bank.clone(), ended: self.ended, overruled: self.overruled }
    }

    /// As it is while the last turn is on its way: what was acknowledged is as in `earlier`, and so is the bank where it has
    /// not heard of the turn yet.
    pub(crate) fn as_of(&self, earlier: &Snapshot, bank_has_not_heard: bool) -> Snapshot {
        let bank = if bank_has_not_heard { earlier.bank.clone() } else { self.bank.clone() };
        Snapshot { bank, ended: earlier.ended, overruled: self.overruled }
    }

    /// The same as a new process finds it on `disk`, after `downtime`. Whatever was in hand is lost.
    pub(crate) fn reopened(&self, then: &Snapshot, disk: SimDisk, downtime: Duration) -> Checked<World> {
        let clock = SimClock::at(self.clock.wall().saturating_add(downtime));
        let ledger = open(self.kind, &disk, &clock)?;
        let mut world = World {
            disk,
            clock,
            ledger,
            bank: then.bank.clone(),
            ended: then.ended,
            overruled: then.overruled,
            in_hand: None,
            real: self.real + downtime,
            ..*self
        };
        world.id = world.found()?;
        Ok(world)
    }

    /// The same on an old copy of its disk: whatever was done since is doubted, and the bank is asked first.
    pub(crate) fn restored(&self, copy: SimDisk) -> Checked<World> {
        let then = Snapshot { ended: None, ..self.snapshot() };
        let mut world = self.reopened(&then, copy, Duration::ZERO)?;
        world.is_restored = true;
        if let Some(id) = world.id {
            heard(answer(world.ledger.doubt_withdrawal(id)))?;
            if world.due() == Some(Step::Submit) {
                return Err("what is doubted is sent again before the bank is asked".into());
            }
        }
        Ok(world)
    }

    /// Has the disk photographed at every operation from here on.
    pub(crate) fn photograph(&self, seed: u64) {
        let first = self.disk.operations();
        for operation in first..first + 40 {
            self.disk.photograph_at(operation, seed.wrapping_add(operation));
        }
    }

    /// The id of the withdrawal, if the log has it.
    fn found(&self) -> Checked<Option<TransactionId>> {
        let key = IdempotencyKey::new("payout").expect("a key");
        let found = answer(self.ledger.transaction_by_key(key)).map_err(|error| format!("by key: {error}"))?;
        Ok(found.map(|transaction| transaction.id))
    }

    /// The withdrawal as it stands; `None`: the log does not have it.
    pub(crate) fn withdrawal(&self) -> Checked<Option<Withdrawal>> {
        let Some(id) = self.id else { return Ok(None) };
        let found = answer(self.ledger.withdrawal(id)).map_err(|error| format!("withdrawal: {error}"))?;
        found.map(Some).ok_or_else(|| "the withdrawal is gone".to_owned())
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The wall clock's and the real time that pass.
    fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
        self.real += time;
    }

    /// What is to be done, once its time has come; it is handed back.
    fn due(&mut self) -> Option<Step> {
        for _ in 0..8 {
            for fresh in [true, false] {
                if let Some(due) = self.ledger.due_withdrawals(fresh, 1).pop() {
                    self.ledger.defer_withdrawal(due.id, self.ledger.now());
                    return Some(due.step);
                }
            }
            let next = self.ledger.next_due_in()?;
            self.pass(next);
        }
        None
    }

    /// Takes a turn; `false`: it does not come up here.
    pub(crate) fn take(&mut self, turn: Turn) -> Checked<bool> {
        let Some(id) = self.id else { return Ok(false) };
        match turn {
            Turn::Try(reply) => {
                if !self.start(id, reply)? {
                    return Ok(false);
                }
                self.end(id)?;
            }
            Turn::Start(reply) => return self.start(id, reply),
            Turn::End => {
                if self.in_hand.is_none() {
                    return Ok(false);
                }
                self.end(id)?;
            }
            Turn::Ask(candour) => {
                if self.in_hand.is_none() {
                    self.due();
                }
                self.ask(id, candour)?;
            }
            Turn::Tell(outcome) => {
                self.bank.tell(outcome);
                self.tell(outcome)?;
            }
            Turn::Resolve(outcome) => self.resolve(id, outcome)?,
            Turn::Cancel => {
                let key = format!("order {}", self.orders);
                self.orders += 1;
                let key = IdempotencyKey::new(&key).expect("a key");
                heard(answer(self.ledger.cancel_withdrawal(CancelWithdrawal { id, key })))?;
            }
            Turn::Doubt => {
                if self.in_hand.is_some() {
                    return Ok(false);
                }
                heard(answer(self.ledger.doubt_withdrawal(id)))?;
            }
            Turn::Oversleep => {
                if self.in_hand.is_some() {
                    return Ok(false);
                }
                let wall = self.clock.wall().saturating_sub(Duration::from_secs(3_600));
                self.clock.set_wall(wall);
                self.pass(OVERSLEPT);
            }
        }
        self.note_end()?;
        Ok(true)
    }

    fn start(&mut self, id: TransactionId, reply: Reply) -> Checked<bool> {
        if self.in_hand.is_some() || self.due() != Some(Step::Submit) {
            return Ok(false);
        }
        let attempt = answer(self.ledger.start_attempt(id)).map_err(|error| format!("start: {error}"))?;
        let class = self.bank.submit(reply, self.real);
        if self.bank.payments > 1 {
            return Err(format!(
                "the bank paid {} times; attempt {} was one too many",
                self.bank.payments, attempt.number
            ));
        }
        self.in_hand = Some((attempt.number, class));
        Ok(true)
    }

    fn end(&mut self, id: TransactionId) -> Checked {
        let Some((number, class)) = self.in_hand.take() else { return Ok(()) };
        let outcome = Submission { class, evidence: format!("the bank: {}", class.as_str()) };
        heard(answer(self.ledger.end_attempt(id, number, &outcome)))
    }

    fn ask(&mut self, id: TransactionId, candour: Candour) -> Checked {
        let answered = self.bank.inquire(candour);
        let inquiry = Inquiry { answer: answered, evidence: format!("the bank: {}", answered.as_str()) };
        heard(answer(self.ledger.record_inquiry(id, &inquiry)))
    }

    fn tell(&mut self, outcome: NoticeOutcome) -> Checked {
        let Some(withdrawal) = self.withdrawal()? else { return Ok(()) };
        // By the bank's own clock, which nobody sets back.
        let occurred_at = START.saturating_add(self.real);
        let notice = Notice { reference: withdrawal.reference, outcome, occurred_at, evidence: "the bank tells" };
        let told = answer(self.ledger.notify_withdrawal(notice)).map_err(|error| format!("{notice:?}: {error}"))?;
        let again = answer(self.ledger.notify_withdrawal(notice)).map_err(|error| format!("{notice:?}: {error}"))?;
        if again.withdrawal.substatus != told.withdrawal.substatus {
            return Err(format!(
                "{outcome:?} twice led to {} and {}",
                told.withdrawal.substatus, again.withdrawal.substatus
            ));
        }
        Ok(())
    }

    fn resolve(&mut self, id: TransactionId, outcome: Resolution) -> Checked {
        self.overruled |= (outcome == Resolution::Completed) != self.bank.will_have_paid();
        let key = format!("order {}", self.orders);
        self.orders += 1;
        let key = IdempotencyKey::new(&key).expect("a key");
        let (evidence, operator) = (Evidence::new("a letter"), Operator::new("Ann"));
        let (evidence, operator) = (evidence.expect("evidence"), operator.expect("a name"));
        let order = ResolveWithdrawal { id, outcome, evidence, operator, key };
        let first = answer(self.ledger.resolve_withdrawal(order));
        let again = answer(self.ledger.resolve_withdrawal(order));
        if first.is_ok() && !matches!(again, Err(Error::Rejected(Rejection::DuplicateRequest(_)))) {
            return Err(format!("an order repeated word for word was answered {again:?}"));
        }
        heard(first)
    }

    /// Notes how the withdrawal ended, which was acknowledged; an end is for good.
    pub(crate) fn note_end(&mut self) -> Checked {
        let Some(withdrawal) = self.withdrawal()? else { return Ok(()) };
        let now = Some(withdrawal.substatus.reservation()).filter(|_| !withdrawal.substatus.is_open());
        match (self.ended, now) {
            (Some(before), now) if now != Some(before) => {
                Err(format!("it had ended as {}, and is {}", before.as_str(), withdrawal.substatus))
            }
            _ => {
                self.ended = now;
                Ok(())
            }
        }
    }

    /// Goes on with an honest bank until nothing is to be done.
    pub(crate) fn come_to_rest(&mut self) -> Checked {
        let Some(id) = self.id else { return Ok(()) };
        if self.in_hand.is_some() {
            self.end(id)?;
        }
        for step in 0..40 {
            if step == 12 {
                // The bank is asked for a whole day what it knows nothing of; one night is as good as all.
                self.pass(DAY);
            }
            match self.due() {
                None => {
                    return self.note_end();
                }
                Some(Step::Submit) => {
                    self.start(id, Reply::Settles)?;
                    self.end(id)?;
                }
                Some(Step::Inquire) => self.ask(id, Candour::Truth)?,
                Some(Step::Review) => heard(answer(self.ledger.pass_deadline(id)))?,
                Some(step) => return Err(format!("{step:?} is no work")),
            }
        }
        Err("it does not come to rest".to_owned())
    }

    /// The bank sends word of what became of it, as it is.
    pub(crate) fn hear_the_truth(&mut self) -> Checked {
        self.bank.settle();
        let outcome = if self.bank.payments > 0 { NoticeOutcome::Settled } else { NoticeOutcome::Failed };
        self.tell(outcome)?;
        if self.bank.came_back {
            self.tell(NoticeOutcome::Returned)?;
        }
        self.note_end()
    }

    /// The ledger's sums in the one currency: (total, reserved, external, suspense).
    pub(crate) fn sums(&self) -> Checked<(i128, i128, i128, i128)> {
        let audit = answer(self.ledger.audit_deep()).map_err(|error| format!("audit: {error}"))?;
        if !audit.is_balanced() {
            return Err(format!("not balanced: {audit:?}"));
        }
        let sums = audit.currencies.iter().find(|sums| sums.currency == Currency::USD);
        Ok(sums.map_or((0, 0, 0, 0), |sums| (sums.total as i128, sums.reserved as i128, sums.external, sums.suspense)))
    }
}

fn open(kind: Kind, disk: &SimDisk, clock: &SimClock) -> Checked<Ledger> {
    let policy = Policy { attempts_max: 2, idempotency_window: kind.recognises.then_some(WINDOW), ..Policy::default() };
    let options = options(clock).shards(1).accept_clock(true).policy(policy);
    let options = match kind.planted {
        Some(bug) => options.planted_bug(bug),
        None => options,
    };
    options.open_on(disk.clone()).map_err(|error| format!("not opened: {error}"))
}

/// A business "no" is an answer as good as another; anything else is not.
fn heard<T>(answer: Result<T, Error>) -> Checked {
    match answer {
        Ok(_) | Err(Error::Rejected(_)) => Ok(()),
        Err(error @ Error::Halted(_)) => Err(error.to_string()),
    }
}

/// A word for where the withdrawal is.
pub(crate) fn place(withdrawal: Option<&Withdrawal>) -> Substatus {
    withdrawal.map_or(Substatus::Reserved, |withdrawal| withdrawal.substatus)
}

/// What the ledger was told, going by its own record: whether the bank said that it paid, and that it did not.
pub(crate) fn told(withdrawal: &Withdrawal) -> (bool, bool) {
    let dossier = withdrawal.dossier();
    let classes = || withdrawal.history.iter().map(|attempt| attempt.class());
    let paid = classes().any(|class| class == Some(AttemptClass::Settled))
        || dossier.answers.iter().any(|answer| answer.answer == InquiryAnswer::Settled)
        || dossier.notices.iter().any(|notice| notice.outcome == NoticeOutcome::Settled)
        || dossier.returned.is_some()
        || dossier.resolution.as_ref().is_some_and(|resolution| resolution.outcome == Resolution::Completed);
    let definitely_not = |class| matches!(class, Some(AttemptClass::Rejected | AttemptClass::NotSent));
    let failed = classes().all(definitely_not)
        || dossier.answers.iter().any(|answer| answer.answer == InquiryAnswer::Failed)
        || dossier.notices.iter().any(|notice| notice.outcome == NoticeOutcome::Failed)
        || dossier.resolution.as_ref().is_some_and(|resolution| resolution.outcome == Resolution::Failed);
    (paid, failed)
}
