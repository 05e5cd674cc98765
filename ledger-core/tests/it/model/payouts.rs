//! What owners, operators and banks say of withdrawals beside their attempts, in the model: the rules, said once more.

use std::fmt::Write as _;
use std::sync::Arc;

use ledger_core::withdrawals::{InquiryAnswer, NoticeOutcome, Reservation, Resolution, ReturnCredit, Said};
use ledger_core::{
    INTEGER_MAX, Rejection, Status, Substatus, Timestamp, TransactionId, TransactionKind, WithdrawalFigures,
    WithdrawalQuery,
};

use super::{Asked, Happened, Model, Movement, Record};

/// An order about a withdrawal, under a key. Two with the same key are the same if they are equal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    Cancel { id: u64 },
    Resolve { id: u64, outcome: Resolution, evidence: String, operator: String },
}

/// What must follow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Follows {
    /// This is recorded, and the answer is a yes.
    Done(Happened),
    /// This is recorded, and the answer says that it contradicts.
    Contradiction(Happened),
    /// Nothing, since it is known, or says less than is known.
    Nothing,
    /// Nothing, for this reason.
    No(&'static str),
}

impl Model {
    /// What an order whose key is taken is told.
    pub(crate) fn decide_key(&self, key: &str, order: &Order) -> Option<Rejection> {
        let original = *self.keys.get(key)?;
        let transaction = Box::new(self.transaction(original, None).expect("a key names a transaction"));
        Some(if self.orders.get(key) == Some(order) {
            Rejection::DuplicateRequest(transaction)
        } else {
            Rejection::IdempotencyKeyReused(transaction)
        })
    }

    /// The order's key names the withdrawal's transaction from now on.
    pub(crate) fn take_order(&mut self, key: &str, order: Order) {
        self.orders.insert(key.to_owned(), order);
    }

    pub(crate) fn cancel(&self, id: u64, key: &str) -> Follows {
        let record = &self.records[&id];
        if record.substatus == Substatus::Reserved && record.attempts == 0 {
            Follows::Done(Happened::Cancelled { id, key: key.to_owned() })
        } else {
            Follows::No("not cancellable")
        }
    }

    pub(crate) fn resolve(&self, id: u64, outcome: Resolution, key: &str) -> Follows {
        let record = &self.records[&id];
        let to = match outcome {
            Resolution::Completed => Substatus::Completed,
            Resolution::Failed => Substatus::Failed,
        };
        match (record.status, record.substatus) {
            (Status::Pending, Substatus::Reserved) if record.attempts == 0 => Follows::No("never attempted"),
            (Status::Pending, Substatus::Submitting) if outcome == Resolution::Failed => Follows::No("under way"),
            (Status::Pending, _) => Follows::Done(Happened::Resolved { id, outcome, key: key.to_owned(), to }),
            _ => self.after_the_end(id, Said::Operator { outcome }, outcome.says()),
        }
    }

    pub(crate) fn notice(&self, id: u64, outcome: NoticeOutcome, occurred_at: Timestamp) -> Follows {
        let record = &self.records[&id];
        let says = match outcome {
            NoticeOutcome::Returned => return self.comes_back(id),
            NoticeOutcome::Settled => Reservation::Paid,
            NoticeOutcome::Failed => Reservation::Released,
            NoticeOutcome::Pending => Reservation::Stands,
        };
        if record.status != Status::Pending {
            return self.after_the_end(id, Said::Notice { outcome }, says);
        }
        let is_of_all = record.attempts < 2 || record.attempted_at.is_some_and(|last| occurred_at >= last);
        let to = match (outcome, record.substatus) {
            (NoticeOutcome::Settled, _) => Substatus::Completed,
            (NoticeOutcome::Failed, Substatus::Unknown | Substatus::Accepted | Substatus::NeedsReview) if is_of_all => {
                Substatus::Failed
            }
            (NoticeOutcome::Pending, Substatus::Reserved | Substatus::Unknown) => Substatus::Accepted,
            _ if record.notices.contains(&outcome) => return Follows::Nothing,
            (_, substatus) => substatus,
        };
        Follows::Done(Happened::Noticed { id, outcome, to })
    }

    fn comes_back(&self, id: u64) -> Follows {
        let record = &self.records[&id];
        let asked = &record.asked;
        let total = self.balance(asked.user, asked.currency, Timestamp::MAX).total();
        let fits = record.status == Status::Pending || total + asked.amount.minor() <= INTEGER_MAX;
        let credit = match record.status {
            _ if record.returned.is_some() => return Follows::Nothing,
            Status::Failed if record.late => ReturnCredit::Suspense,
            Status::Failed => ReturnCredit::Nobody,
            _ if fits => ReturnCredit::User,
            _ => ReturnCredit::Suspense,
        };
        Follows::Done(Happened::Returned { id, credit })
    }

    /// Whoever says of an ended withdrawal that the bank paid what was released, may yet pay it, or did not pay what left,
    /// contradicts, once; unless the money left and came back, which fits with everything.
    pub(crate) fn after_the_end(&self, id: u64, said: Said, says: Reservation) -> Follows {
        let record = &self.records[&id];
        let has_left = record.status == Status::Completed || record.late;
        let agrees = match says {
            Reservation::Paid | Reservation::Stands => has_left,
            Reservation::Released => !has_left,
        };
        if agrees || record.returned.is_some() {
            return Follows::Nothing;
        }
        let posted = says == Reservation::Paid && !matches!(said, Said::Operator { .. });
        if !posted && record.contradictions.contains(&said) {
            return Follows::Nothing;
        }
        Follows::Contradiction(Happened::Contradicted { id, said, says, posted })
    }

    pub(super) fn apply_order(&mut self, what: &Happened, seq: u64, time: Timestamp) {
        match what {
            Happened::Cancelled { id, key } => {
                self.placed.remove(id);
                self.keys.insert(key.clone(), *id);
                self.withdrawal_is_at(*id, seq, time, Substatus::Cancelled);
            }
            Happened::Resolved { id, outcome, key, to } => {
                self.placed.remove(id);
                self.keys.insert(key.clone(), *id);
                self.withdrawal_is_at(*id, seq, time, *to);
                self.note(*id, format!("resolved {}", outcome.as_str()));
            }
            Happened::Noticed { id, outcome, to } => self.take_in_notice(*id, *outcome, *to, seq, time),
            Happened::Returned { id, credit } => self.take_in_return(*id, *credit, seq, time),
            Happened::Contradicted { id, said, says, posted } => {
                let record = self.records.get_mut(id).expect("a withdrawal");
                (record.last_seq, record.changed_at) = (seq, time);
                record.late |= posted;
                record.is_loose &= !matches!(said, Said::Attempt { .. });
                record.contradictions.push(*said);
                let posted = if *posted { ", posted" } else { "" };
                self.note(*id, format!("but {} said {}: {}{posted}", said.by(), said.as_str(), says.as_str()));
            }
            Happened::EndedLate { id } => {
                let record = self.records.get_mut(id).expect("a withdrawal");
                (record.last_seq, record.changed_at, record.is_loose) = (seq, time, false);
            }
            other => unreachable!("{other:?} is no order"),
        }
    }

    fn take_in_notice(&mut self, id: u64, outcome: NoticeOutcome, to: Substatus, seq: u64, time: Timestamp) {
        let record = self.records.get_mut(&id).expect("a withdrawal");
        record.notices.push(outcome);
        record.ambiguous |= outcome == NoticeOutcome::Pending;
        if to == record.substatus {
            // What is due is due as before.
            record.last_seq = seq;
        } else {
            self.placed.remove(&id);
            self.withdrawal_is_at(id, seq, time, to);
        }
        self.note(id, format!("noticed {}", outcome.as_str()));
    }

    fn take_in_return(&mut self, id: u64, credit: ReturnCredit, seq: u64, time: Timestamp) {
        if self.records[&id].status == Status::Pending {
            self.placed.remove(&id);
            self.withdrawal_is_at(id, seq, time, Substatus::Returned);
        }
        let record = self.records.get_mut(&id).expect("a withdrawal");
        (record.last_seq, record.changed_at, record.returned) = (seq, time, Some(credit));
        if record.status == Status::Completed {
            record.substatus = Substatus::Returned;
        }
        let (user, currency, amount) = (record.asked.user, record.asked.currency, record.asked.amount);
        self.note(id, format!("returned to {} by {seq}", credit.as_str()));
        if credit == ReturnCredit::User {
            let total = i128::from(amount.minor());
            self.moved(user, currency, Movement { seq, time, total, reserved: 0, held_until: None });
            let asked = Asked { kind: TransactionKind::Return, currency, ..Asked::charge(user, amount, String::new()) };
            let record = Record { returns: Some(id), ..Record::new(Arc::new(asked), time, seq) };
            self.records.insert(seq, record);
        }
    }

    fn note(&mut self, id: u64, words: String) {
        self.records.get_mut(&id).expect("a withdrawal").said.push(words);
    }

    /// The ids of a page of withdrawals, and whether there are more.
    pub(crate) fn withdrawal_ids(&self, query: &WithdrawalQuery) -> (Vec<u64>, bool) {
        let matching = self.withdrawals().filter(|(id, record)| {
            query.status.is_none_or(|status| status == record.status)
                && query.substatus.is_none_or(|substatus| substatus == record.substatus)
                && query.older_than.is_none_or(|time| record.created_at < time)
                && query.after.is_none_or(|after| *id > after.get())
        });
        let mut ids: Vec<u64> = matching.map(|(id, _)| id).take(query.limit + 1).collect();
        let more = ids.len() > query.limit;
        ids.truncate(query.limit);
        (ids, more)
    }

    pub(crate) fn withdrawal_figures(&self, now: Timestamp) -> WithdrawalFigures {
        let mut figures = WithdrawalFigures::default();
        for (_, record) in self.withdrawals() {
            let place = Substatus::ALL.iter().position(|substatus| *substatus == record.substatus);
            figures.by_substatus[place.expect("one of all")] += 1;
            figures.open += u64::from(record.status == Status::Pending);
            figures.needs_review += u64::from(record.substatus == Substatus::NeedsReview);
            figures.discrepancies += record.contradictions.len() as u64;
            figures.returned += u64::from(record.returned.is_some());
            if record.substatus == Substatus::Unknown {
                figures.unknown_oldest_at =
                    Some(figures.unknown_oldest_at.unwrap_or(record.created_at).min(record.created_at));
            }
        }
        for sums in self.audit(now).currencies {
            if sums.reserved > 0 {
                figures.reserved.push((sums.currency, sums.reserved));
            }
            if sums.suspense != 0 {
                figures.suspense.push((sums.currency, sums.suspense));
            }
        }
        figures
    }

    /// The reference of withdrawal `id`.
    pub(crate) fn reference_of(&self, id: u64) -> Option<ledger_core::BankReference> {
        let record = self.records.get(&id).filter(|record| record.asked.kind == TransactionKind::Withdrawal)?;
        Some(self.reference(TransactionId::new(id)?.get(), record))
    }
}

/// What was said of a withdrawal beside its attempts, as the end of its line.
pub(crate) fn said_in_words(answers: &[InquiryAnswer], said: &[String]) -> String {
    let mut words = String::new();
    if !answers.is_empty() {
        let answers: Vec<&str> = answers.iter().map(|answer| answer.as_str()).collect();
        write!(words, "; answered {}", answers.join(" ")).expect("a string takes all");
    }
    let mut said = said.to_vec();
    said.sort();
    for said in said {
        write!(words, "; {said}").expect("a string takes all");
    }
    words
}
