//! What others than the executor say of withdrawals: owners who give one up, operators who decide, and the bank that
//! tells by itself, late, again, or against the truth.

use ledger_core::withdrawals::{NoticeOutcome, Resolution};
use ledger_core::{
    BankReference, CancelWithdrawal, Clock, Commit, Epoch, Error, Evidence, IdempotencyKey, Notice, NoticeChange,
    Noticed, Operator, Rejection, ResolveWithdrawal, Status, Substatus, Timestamp,
};
use std::time::Duration;

use crate::bank::{Fate, name};
use crate::clients::Refusal;
use crate::model::{Follows, Happened, Order, Record};
use crate::pair::named;
use crate::promise::{Checked, Violation};
use crate::rules::Said;
use crate::run::Run;
use crate::stage::{id, line_of_withdrawal};

impl Run {
    /// Somebody says something of a withdrawal.
    pub(crate) fn order(&mut self) -> Checked {
        let client = self.chance.below(self.in_flight.len() as u64) as usize;
        if self.in_flight[client].len() >= self.swarm.in_flight {
            return Ok(());
        }
        self.tally.calls += 1;
        match self.chance.below(8) {
            0 | 1 => {
                let of = self.pick_withdrawal(|record| record.substatus == Substatus::Reserved && record.attempts == 0);
                self.give(client, Order::Cancel { id: of })
            }
            2..=4 => {
                let of = self.pick_withdrawal(|record| record.status == Status::Pending && record.attempts > 0);
                let outcome = self.judged(of);
                let evidence = format!("a letter that says {}", outcome.as_str());
                self.give(client, Order::Resolve { id: of, outcome, evidence, operator: "an operator".to_owned() })
            }
            _ => {
                let of = self.pick_withdrawal(|record| record.attempts > 0);
                self.notice(client, of)
            }
        }
    }

    /// A withdrawal, mostly one that is `wanted`, and now and then something that is none.
    fn pick_withdrawal(&mut self, wanted: impl Fn(&Record) -> bool) -> u64 {
        let (any, draw) = (1 + self.chance.below(self.model.seq() + 2), self.chance.below(10));
        let fits = |record: &Record| draw < 3 || wanted(record);
        let all: Vec<u64> = self.model.withdrawals().filter(|(_, record)| fits(record)).map(|(id, _)| id).collect();
        if draw == 0 || all.is_empty() { any } else { self.chance.pick(&all) }
    }

    /// What an operator finds out about a withdrawal; `None`: the bank does not know itself yet.
    fn truth(&mut self, of: u64) -> Option<Resolution> {
        let reference = self.model.reference_of(of);
        match reference.and_then(|reference| self.bank.fate(&reference, self.clock.monotonic())) {
            Some(Fate::Paid) => Some(Resolution::Completed),
            Some(Fate::Refused) | None => Some(Resolution::Failed),
            Some(Fate::Pending(..) | Fate::UnderWay(_)) => None,
        }
    }

    /// How an operator decides: by what the bank did, if that is certain, and sometimes by guessing.
    fn judged(&mut self, of: u64) -> Resolution {
        let guess = self.chance.pick(&[Resolution::Completed, Resolution::Failed]);
        if self.chance.below(3) == 0 { guess } else { self.truth(of).unwrap_or(guess) }
    }

    /// A new key; or, now and then, an earlier order again, or a key that names something else.
    fn with_key(&mut self, order: Order) -> (String, Order) {
        let (draw, repeats) = (self.chance.below(100), self.swarm.repeats);
        if draw < repeats + self.swarm.misuses && !self.given.is_empty() {
            let (key, earlier) = self.chance.pick_one(&self.given).clone();
            return (key, if draw < repeats { earlier } else { order });
        }
        if draw < repeats + 2 * self.swarm.misuses && !self.asked.is_empty() {
            return (self.chance.pick_one(&self.asked).key.clone(), order);
        }
        let key = format!("order {}", self.given.len());
        self.given.push((key.clone(), order.clone()));
        (key, order)
    }

    fn give(&mut self, client: usize, order: Order) -> Checked {
        let (key, order) = self.with_key(order);
        if let Order::Resolve { id: of, outcome, .. } = order
            && self.truth(of) != Some(outcome)
        {
            self.guessed.insert(of);
        }
        let (now, taken) = (self.now()?, self.model.decide_key(&key, &order));
        let name = IdempotencyKey::new(&key).expect("a key");
        let (of, command, result) = match &order {
            Order::Cancel { id: of } => {
                (*of, "cancel", self.ledger().cancel_withdrawal(CancelWithdrawal { id: id(*of), key: name }))
            }
            Order::Resolve { id: of, outcome, evidence, operator } => {
                let asked = ResolveWithdrawal {
                    id: id(*of),
                    outcome: *outcome,
                    evidence: Evidence::new(evidence).expect("evidence"),
                    operator: Operator::new(operator).expect("a name"),
                    key: name,
                };
                (*of, "resolve", self.ledger().resolve_withdrawal(asked))
            }
        };
        let mut found = None;
        let result = result.map(|commit| commit.map(|withdrawal| found = Some(withdrawal)));
        self.take_in_interruption(of, now, found.is_some())?;
        let expected = match taken {
            Some(rejection) => Err(Refusal::As(rejection)),
            None => self.what_follows(&order, of, &key, now),
        };
        let (what, expected) = match expected {
            Ok(what) => (Some(what), Ok(())),
            Err(refusal) => (None, Err(refusal)),
        };
        self.called(client, command, expected, result, |run, ()| {
            let (Some(what), Some(found)) = (what, found) else { unreachable!("an answer that is expected") };
            let seq = run.model.seq() + 1;
            run.happened(seq, now, of, what, Said::Decided);
            run.model.take_order(&key, order);
            run.same_line(of, &line_of_withdrawal(&found))?;
            Ok(named(found.substatus))
        })
    }

    /// What an order with a new key leads to; a contradiction is recorded, and refused.
    fn what_follows(&mut self, order: &Order, of: u64, key: &str, now: Timestamp) -> Result<Happened, Refusal> {
        if self.model.reference_of(of).is_none() {
            return Err(Refusal::As(Rejection::TransactionNotFound));
        }
        let follows = match order {
            Order::Cancel { .. } => self.model.cancel(of, key),
            Order::Resolve { outcome, .. } => self.model.resolve(of, *outcome, key),
        };
        let (outcome, word) = match follows {
            Follows::Done(what) => return Ok(what),
            Follows::Contradiction(what) => {
                let seq = self.model.seq() + 1;
                if self.ledger().appended().get() == seq {
                    self.happened(seq, now, of, what, Said::Decided);
                    self.unacknowledged.insert(seq, "resolve");
                }
                ("contradicted", "already resolved")
            }
            Follows::Nothing => ("already resolved", "already resolved"),
            Follows::No(word) => (word, word),
        };
        Err(Refusal::Of { outcome, word, line: self.model.line_of_withdrawal(of) })
    }

    /// The bank tells something by itself.
    fn notice(&mut self, client: usize, of: u64) -> Checked {
        let (now, mut known) = (self.now()?, self.model.reference_of(of));
        if self.chance.below(50) == 0 {
            // Of a ledger that was restored, or another's.
            known = None;
        }
        let (uuid, epoch) = (self.ledger().uuid(), Epoch::new(self.ledger().epoch().get() + 1));
        let reference = known.unwrap_or(BankReference { ledger: uuid, epoch, id: id(of) });
        let told = match known {
            Some(reference) => self.bank.tells(&reference, self.clock.monotonic(), &mut self.chance),
            None => Some(NoticeOutcome::Settled),
        };
        let Some(outcome) = told else { return Ok(()) };
        let occurred_at = now.saturating_sub(Duration::from_millis(self.chance.below(30_000)));
        self.tell(client, reference, known.is_some(), outcome, occurred_at)
    }

    fn tell(
        &mut self,
        client: usize,
        reference: BankReference,
        is_known: bool,
        outcome: NoticeOutcome,
        occurred_at: Timestamp,
    ) -> Checked {
        let (now, of) = (self.now()?, reference.id.get());
        let notice = Notice { reference, outcome, occurred_at, evidence: "the bank tells" };
        let mut found: Option<Noticed> = None;
        let result: Result<Commit<()>, Error> =
            self.ledger().notify_withdrawal(notice).map(|commit| commit.map(|noticed| found = Some(noticed)));
        let is_recorded = found.as_ref().is_some_and(|noticed| noticed.change != NoticeChange::Repeat);
        self.take_in_interruption(of, now, is_recorded)?;
        let expected = if is_known { Ok(()) } else { Err(Refusal::As(Rejection::TransactionNotFound)) };
        self.trace.line(format_args!("the bank tells of {of}: {outcome:?}, at {occurred_at}"));
        self.called(client, "notice", expected, result, |run, ()| {
            let noticed = found.ok_or_else(|| Violation::new("answer", "a notice without an answer"))?;
            let from = run.model.record(of).map(|record| record.substatus);
            let (what, change) = match run.model.notice(of, outcome, occurred_at) {
                Follows::Done(what) => (Some(what), NoticeChange::Changed),
                Follows::Contradiction(what) => (Some(what), NoticeChange::Discrepancy),
                Follows::Nothing | Follows::No(_) => (None, NoticeChange::Repeat),
            };
            if change != noticed.change {
                let why = format!("{outcome:?} of {of} changes {:?}, and should {change:?}", noticed.change);
                return Err(Violation::new("answer", why));
            }
            let credit = match &what {
                Some(Happened::Returned { credit, .. }) => Some(credit.as_str()),
                _ => None,
            };
            if let Some(what) = what {
                let seq = run.model.seq() + 1;
                run.happened(seq, now, of, what, Said::Noticed(outcome));
            }
            run.same_line(of, &line_of_withdrawal(&noticed.withdrawal))?;
            Ok(match (change, credit) {
                (NoticeChange::Repeat, _) => "repeat",
                (NoticeChange::Discrepancy, _) => "contradicted",
                (_, Some("user")) => "returned",
                (_, Some(_)) => "returned, not to the user",
                _ if from == Some(noticed.withdrawal.substatus) => "noted",
                _ => named(noticed.withdrawal.substatus),
            })
        })
    }

    /// Before anything is said of a withdrawal, an attempt of it that nobody runs since the opening is recorded as one.
    /// `is_recorded`: whether what was said made an entry of its own.
    fn take_in_interruption(&mut self, of: u64, now: Timestamp, is_recorded: bool) -> Checked {
        let entries = self.ledger().appended().get() - self.model.seq();
        let is_running = self.model.record(of).is_some_and(|record| record.substatus == Substatus::Submitting);
        if !is_running || entries <= u64::from(is_recorded) {
            return Ok(());
        }
        self.interrupted(self.model.seq() + 1, now, of)
    }

    fn same_line(&self, of: u64, found: &str) -> Checked {
        let expected = self.model.line_of_withdrawal(of);
        if expected == found {
            return Ok(());
        }
        Err(Violation::new("answer", format!("the withdrawal\n  expected: {expected}\n  found:    {found}")))
    }

    /// In the end the bank tells truly of everything that it has, however often it told before.
    pub(crate) fn tell_all(&mut self) -> Checked {
        let ids: Vec<u64> = self.model.withdrawals().map(|(id, _)| id).collect();
        for of in ids {
            let reference = self.model.reference_of(of).expect("a withdrawal");
            let outcome = match self.bank.closed_book().get(&name(&reference)).map(|paper| paper.fate) {
                Some(Fate::Paid) => NoticeOutcome::Settled,
                Some(Fate::Refused) => NoticeOutcome::Failed,
                _ => continue,
            };
            let now = self.now()?;
            self.tell(0, reference, true, outcome, now)?;
        }
        while self.ledger().step_log(true) {}
        self.collect_all()
    }
}
