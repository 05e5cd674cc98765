//! Withdrawals after their reservation, on the ledger and on the model.

use ledger_core::withdrawals::{
    AttemptClass, Conflict, Inquiry, InquiryAnswer, NoticeOutcome, Resolution, ReturnCredit, Said, Step, Submission,
    Withdrawal,
};
use ledger_core::{
    BankReference, CancelWithdrawal, Epoch, Error, Evidence, IdempotencyKey, Ledger, Notice, NoticeChange, Operator,
    Rejection, ResolveWithdrawal, Seq, Status, Substatus, Timestamp, TransactionKind, WithdrawalQuery,
};

use super::{Checked, Pair, expect, named, same_rejection, word};
use crate::model::{Fact, Follows, Happened, Model, Order, Record};
use crate::stage::{DAY, answer, id, line_of_withdrawal};

impl Pair {
    /// "Attempt n started." Between attempts the ledger is patient: the next one may not start before it is due.
    pub(crate) fn start_attempt(&mut self, of: u64) -> Checked {
        let (now, before) = (self.now()?, self.ledger().appended());
        let record = self.model.record(of).filter(|record| record.asked.kind == TransactionKind::Withdrawal).cloned();
        let due = answer(self.ledger().withdrawal(id(of))).map_err(|err| format!("withdrawal: {err:?}"))?;
        expect("whether there is a withdrawal", record.is_some(), due.is_some())?;
        let found = answer(self.ledger().start_attempt(id(of)));
        let Some(record) = record else {
            return match found {
                Err(Error::Rejected(Rejection::TransactionNotFound)) => Ok("not found"),
                found => Err(format!("start_attempt({of}), which is no withdrawal: found {found:?}")),
            };
        };
        let due = due.and_then(|withdrawal| withdrawal.due);
        let is_reserved = record.substatus == Substatus::Reserved;
        if is_reserved && record.attempts > 0 {
            let (soonest, latest) = Model::backoff(record.attempts);
            let window = record.changed_at.saturating_add(soonest)..=record.changed_at.saturating_add(latest);
            if !due.is_some_and(|due| window.contains(&due)) {
                return Err(format!("withdrawal {of} is to be repeated at {due:?}, not within {window:?}"));
            }
        }
        let is_due = is_reserved && due.is_none_or(|due| due <= now);
        let outcome = match found {
            Ok(attempt) if is_due => {
                let seq = self.next_seq(before)?;
                self.model.apply(Fact { seq, time: now, what: Happened::Attempted { id: of } });
                expect("the attempt's number", record.attempts + 1, attempt.number)?;
                let found = line_of_withdrawal(&attempt.withdrawal);
                expect("the withdrawal", self.model.line_of_withdrawal(of), found)?;
                if attempt.number == 1 { "started" } else { "started again" }
            }
            Err(Error::Rejected(rejection)) if !is_due => {
                let conflict = conflict(&record, of, &rejection)?;
                if is_reserved { "not yet" } else { conflict }
            }
            found => {
                return Err(format!("start_attempt({of}) of {record:?} (due {due:?}, now {now}): found {found:?}"));
            }
        };
        self.in_step()?;
        Ok(outcome)
    }

    /// The outcome of attempt `number`; of the last one unless it is said which.
    pub(crate) fn end_attempt(&mut self, of: u64, number: Option<u32>, class: AttemptClass) -> Checked {
        let (now, before) = (self.now()?, self.ledger().appended());
        let record = self.model.record(of).filter(|record| record.asked.kind == TransactionKind::Withdrawal).cloned();
        let number = number.or(record.as_ref().map(|record| record.attempts)).unwrap_or(1);
        let submission = Submission { class, evidence: format!("the bank said {class:?}") };
        let found = answer(self.ledger().end_attempt(id(of), number, &submission));
        let Some(record) = record else {
            return match found {
                Err(Error::Rejected(Rejection::TransactionNotFound)) => Ok("not found"),
                found => Err(format!("end_attempt({of}), which is no withdrawal: found {found:?}")),
            };
        };
        let under_way = record.substatus == Substatus::Submitting && number == record.attempts;
        let outcome = match found {
            Ok(to) if self.ledger().appended() != before => {
                if record.status != Status::Pending {
                    if !record.is_loose || number != record.attempts {
                        return Err(format!(
                            "{record:?}: attempt {number} ended {class:?} after the end, and was recorded"
                        ));
                    }
                    expect("where an outcome after the end leads", record.substatus, to)?;
                    let seq = self.next_seq(before)?;
                    self.model.apply(Fact { seq, time: now, what: Happened::EndedLate { id: of } });
                    self.in_step()?;
                    return Ok("recorded late");
                }
                let allowed = self.model.after_attempt(&record, class);
                // Late news of a payment is welcome while the withdrawal is open; nothing else changes what is decided.
                let late = record.status == Status::Pending && class == AttemptClass::Settled;
                if !(under_way || late) || !allowed.contains(&to) {
                    return Err(format!("{record:?}: attempt {number} ended {class:?} and led to {to:?}"));
                }
                let seq = self.next_seq(before)?;
                self.model.apply(Fact { seq, time: now, what: Happened::Ended { id: of, class, to } });
                named(to)
            }
            Ok(to) if !under_way => {
                expect("what a repeated outcome answers", record.substatus, to)?;
                "no change"
            }
            Err(Error::Rejected(rejection)) if !under_way => {
                let paid_after_all = record.status == Status::Failed
                    && class == AttemptClass::Settled
                    && !record.late
                    && record.returned.is_none();
                let word = conflict(&record, of, &rejection)?;
                self.take_in_contradiction(of, Said::Attempt { attempt: number, class }, &rejection, before)?;
                match word {
                    // Never dropped: money that left although it was released.
                    "contradicted" if paid_after_all => "contradicted",
                    word if paid_after_all && number <= record.attempts && number > 0 => {
                        return Err(format!("{record:?}: paid after all, and told {word}"));
                    }
                    word => word,
                }
            }
            found => return Err(format!("{record:?}: attempt {number} ended {class:?}: found {found:?}")),
        };
        self.in_step()?;
        Ok(outcome)
    }

    /// What the bank said when it was asked.
    pub(crate) fn inquire(&mut self, of: u64, said: InquiryAnswer) -> Checked {
        let (now, before) = (self.now()?, self.ledger().appended());
        let record = self.model.record(of).filter(|record| record.asked.kind == TransactionKind::Withdrawal).cloned();
        let inquiry = Inquiry { answer: said, evidence: format!("the bank said {said:?}") };
        let found = answer(self.ledger().record_inquiry(id(of), &inquiry));
        let Some(record) = record else {
            return match found {
                Err(Error::Rejected(Rejection::TransactionNotFound)) => Ok("not found"),
                found => Err(format!("record_inquiry({of}), which is no withdrawal: found {found:?}")),
            };
        };
        // That the bank paid is taken in wherever the withdrawal is; what else it says only of an attempt that has ended.
        let open = record.status == Status::Pending
            && (said == InquiryAnswer::Settled
                || !matches!(record.substatus, Substatus::Reserved | Substatus::Submitting)
                || self.interrupted.contains(&of));
        let must = matches!(record.substatus, Substatus::Accepted | Substatus::Unknown);
        let outcome = match found {
            Ok(to) if self.ledger().appended() != before => {
                if !open || !self.model.after_inquiry(&record, said).contains(&to) {
                    return Err(format!("{record:?}: an inquiry said {said:?} and led to {to:?}"));
                }
                let seq = self.next_seq(before)?;
                self.model.apply(Fact { seq, time: now, what: Happened::Inquired { id: of, answer: Some(said), to } });
                named(to)
            }
            Ok(to) => {
                expect("what an inquiry without effect answers", record.substatus, to)?;
                "no change"
            }
            Err(Error::Rejected(rejection)) if !(open && must) => {
                let paid_after_all = record.status == Status::Failed
                    && said == InquiryAnswer::Settled
                    && !record.late
                    && record.returned.is_none();
                let word = conflict(&record, of, &rejection)?;
                self.take_in_contradiction(of, Said::Inquiry { answer: said }, &rejection, before)?;
                if paid_after_all && word != "contradicted" {
                    return Err(format!("{record:?}: paid after all, and told {word}"));
                }
                word
            }
            found => return Err(format!("{record:?}: an inquiry said {said:?}: found {found:?}")),
        };
        self.in_step()?;
        Ok(outcome)
    }

    /// A contradiction is an entry; nothing else that is refused is one.
    fn take_in_contradiction(&mut self, of: u64, said: Said, told: &Rejection, before: Seq) -> Result<(), String> {
        let Rejection::WithdrawalConflict { conflict: Conflict::Contradicted { says, .. }, .. } = told else {
            return Ok(());
        };
        let Follows::Contradiction(what) = self.model.after_the_end(of, said, *says) else {
            return Err(format!("{said:?} contradicts withdrawal {of}: {:?}", self.model.record(of)));
        };
        let seq = self.next_seq(before)?;
        self.model.apply(Fact { seq, time: self.ledger().now(), what });
        Ok(())
    }

    /// Takes what is due, checks that it is what the rules allow, and hands it back.
    pub(crate) fn due(&mut self) -> Checked {
        let now = self.now()?;
        let (mut handed, mut late) = (Vec::new(), Vec::new());
        for fresh in [true, false] {
            for due in self.ledger().due_withdrawals(fresh, 100) {
                let record = self.model.record(due.id.get()).ok_or(format!("{due:?} is not a transaction"))?;
                let right = record.status == Status::Pending
                    && (!fresh || record.attempts == 0)
                    && match due.step {
                        Step::Submit => record.substatus == Substatus::Reserved,
                        Step::Inquire => {
                            matches!(record.substatus, Substatus::Accepted | Substatus::Unknown | Substatus::Submitting)
                        }
                        // Not before a day has passed since the first attempt, which was after the reservation.
                        Step::Review => {
                            matches!(record.substatus, Substatus::Accepted | Substatus::Unknown)
                                && now >= record.created_at.saturating_add(DAY)
                        }
                        _ => false,
                    };
                if !right {
                    return Err(format!("{due:?} (fresh: {fresh}) is handed out for {record:?}"));
                }
                if handed.contains(&due.id) {
                    return Err(format!("{due:?} is handed out twice"));
                }
                handed.push(due.id);
                if due.step == Step::Review {
                    late.push(due.id);
                }
            }
        }
        take_in_interruptions(&mut self.model, self.ledger.as_ref().expect("open between calls"))?;
        self.audit(false)?;
        self.in_step()?;
        let again: Vec<_> =
            [true, false].into_iter().flat_map(|fresh| self.ledger().due_withdrawals(fresh, 100)).collect();
        expect("what is handed out again without a change", 0, again.len())?;
        for id in handed.iter().filter(|id| !late.contains(id)) {
            self.ledger().defer_withdrawal(*id, now);
        }
        let is_late = !late.is_empty();
        for id in late {
            let before = self.ledger().appended();
            let to = answer(self.ledger().pass_deadline(id)).map_err(|err| format!("pass_deadline: {err:?}"))?;
            expect("where a passed deadline leads", Substatus::NeedsReview, to)?;
            let seq = self.next_seq(before)?;
            self.model.apply(Fact { seq, time: now, what: Happened::Inquired { id: id.get(), answer: None, to } });
        }
        self.in_step()?;
        Ok(if is_late {
            "review"
        } else if handed.is_empty() {
            "nothing"
        } else {
            "something"
        })
    }

    /// An owner gives a withdrawal up.
    pub(crate) fn cancel(&mut self, of: u64, key: &str) -> Checked {
        self.order(of, key, Order::Cancel { id: of }, |model| model.cancel(of, key))
    }

    /// An operator decides a withdrawal.
    pub(crate) fn resolve(&mut self, of: u64, outcome: Resolution, operator: &str, key: &str) -> Checked {
        let evidence = format!("a letter that says {}", outcome.as_str());
        let order = Order::Resolve { id: of, outcome, evidence, operator: operator.to_owned() };
        self.order(of, key, order, |model| model.resolve(of, outcome, key))
    }

    fn order(&mut self, of: u64, key: &str, order: Order, decide: impl Fn(&Model) -> Follows) -> Checked {
        if self.model.decide_key(key, &order).is_none() {
            self.interrupted_first(of)?;
        }
        let (now, before) = (self.now()?, self.model.seq());
        let name = IdempotencyKey::new(key).expect("a valid key");
        let found = answer(match &order {
            Order::Cancel { id: of } => self.ledger().cancel_withdrawal(CancelWithdrawal { id: id(*of), key: name }),
            Order::Resolve { id: of, outcome, evidence, operator } => {
                self.ledger().resolve_withdrawal(ResolveWithdrawal {
                    id: id(*of),
                    outcome: *outcome,
                    evidence: Evidence::new(evidence).expect("evidence"),
                    operator: Operator::new(operator).expect("a name"),
                    key: name,
                })
            }
        });
        let outcome = match (self.model.decide_key(key, &order), found) {
            (Some(expected), Err(Error::Rejected(found))) => same_rejection(&expected, &found)?,
            (None, Err(Error::Rejected(Rejection::TransactionNotFound))) if self.model.reference_of(of).is_none() => {
                "not found"
            }
            (None, found) if self.model.reference_of(of).is_some() => {
                let follows = decide(&self.model);
                match (follows, found) {
                    (Follows::Done(what), Ok(found)) => {
                        self.model.apply(Fact { seq: before + 1, time: now, what });
                        self.model.take_order(key, order);
                        self.same_withdrawal(of, &found)?;
                        named(found.substatus)
                    }
                    (Follows::Contradiction(what), Err(Error::Rejected(Rejection::AlreadyResolved(found)))) => {
                        self.model.apply(Fact { seq: before + 1, time: now, what });
                        self.same_withdrawal(of, &found)?;
                        "contradicted"
                    }
                    (Follows::Nothing, Err(Error::Rejected(Rejection::AlreadyResolved(found)))) => {
                        self.same_withdrawal(of, &found)?;
                        "already resolved"
                    }
                    (Follows::No(expected), Err(Error::Rejected(found))) => {
                        expect("why an order is refused", expected, word(&found))?;
                        expected
                    }
                    (follows, found) => return Err(format!("{order:?}: expected {follows:?}, found {found:?}")),
                }
            }
            (expected, found) => return Err(format!("{order:?}: expected {expected:?}, found {found:?}")),
        };
        self.in_step()?;
        Ok(outcome)
    }

    /// The bank tells something by itself.
    pub(crate) fn notice(&mut self, of: u64, outcome: NoticeOutcome, occurred_at: Timestamp) -> Checked {
        let known = self.model.reference_of(of);
        let (uuid, epoch) = (self.ledger().uuid(), self.ledger().epoch());
        let reference = known.unwrap_or(BankReference { ledger: uuid, epoch, id: id(of) });
        if known.is_some() {
            self.interrupted_first(of)?;
        }
        let (now, before) = (self.now()?, self.model.seq());
        let notice = Notice { reference, outcome, occurred_at, evidence: "the bank tells" };
        let found = answer(self.ledger().notify_withdrawal(notice));
        if known.is_none() {
            return match found {
                Err(Error::Rejected(Rejection::TransactionNotFound)) => Ok("not found"),
                found => Err(format!("{notice:?}, which is about nothing: found {found:?}")),
            };
        }
        let found = found.map_err(|err| format!("{notice:?}: {err:?}"))?;
        let from = self.model.record(of).map(|record| record.substatus);
        let (what, change) = match self.model.notice(of, outcome, occurred_at) {
            Follows::Done(what) => (Some(what), NoticeChange::Changed),
            Follows::Contradiction(what) => (Some(what), NoticeChange::Discrepancy),
            Follows::Nothing | Follows::No(_) => (None, NoticeChange::Repeat),
        };
        let credit = match &what {
            Some(Happened::Returned { credit, .. }) => Some(*credit),
            _ => None,
        };
        expect(&format!("what {notice:?} changes"), change, found.change)?;
        if let Some(what) = what {
            self.model.apply(Fact { seq: before + 1, time: now, what });
        }
        self.same_withdrawal(of, &found.withdrawal)?;
        self.in_step()?;
        Ok(match (change, credit) {
            (NoticeChange::Repeat, _) => "repeat",
            (NoticeChange::Discrepancy, _) => "contradicted",
            (_, Some(ReturnCredit::User)) => "returned",
            (_, Some(ReturnCredit::Suspense)) => "returned to suspense",
            (_, Some(ReturnCredit::Nobody)) => "returned to nobody",
            _ if from == Some(found.withdrawal.substatus) => "noted",
            _ => named(found.withdrawal.substatus),
        })
    }

    /// A page of withdrawals.
    pub(crate) fn withdrawals(&mut self, query: &WithdrawalQuery) -> Checked {
        let found = answer(self.ledger().withdrawals(query)).map_err(|err| format!("withdrawals: {err:?}"))?;
        let (expected, more) = self.model.withdrawal_ids(query);
        let ids: Vec<u64> = found.withdrawals.iter().map(|withdrawal| withdrawal.id.get()).collect();
        expect(&format!("the ids for {query:?}"), &expected, &ids)?;
        for withdrawal in &found.withdrawals {
            self.same_withdrawal(withdrawal.id.get(), withdrawal)?;
        }
        let next = expected.last().filter(|_| more).map(|last| id(*last));
        expect(&format!("the cursor for {query:?}"), next, found.next)?;
        Ok(match (found.withdrawals.is_empty(), more) {
            (true, _) => "empty",
            (false, true) => "more",
            (false, false) => "last",
        })
    }

    /// The withdrawal that the bank knows by a reference.
    pub(crate) fn by_reference(&mut self, of: u64) -> Checked {
        let known = self.model.reference_of(of);
        let ledger = self.ledger().uuid();
        let reference = known.unwrap_or(BankReference { ledger, epoch: self.ledger().epoch(), id: id(of) });
        let text: BankReference = reference.to_string().parse().map_err(|err| format!("{reference}: {err}"))?;
        expect("a reference as a text and back", reference, text)?;
        let of_another = BankReference { epoch: Epoch::new(reference.epoch.get() + 1), ..reference };
        for (reference, known) in [(reference, known.is_some()), (of_another, false)] {
            let found = answer(self.ledger().withdrawal_by_reference(&reference)).map_err(|err| format!("{err:?}"))?;
            expect(&format!("whether {reference} is known"), known, found.is_some())?;
            if let Some(found) = found {
                self.same_withdrawal(of, &found)?;
            }
        }
        Ok(if known.is_some() { "found" } else { "not found" })
    }

    /// What an operator watches.
    pub(crate) fn figures(&mut self) -> Result<(), String> {
        let now = self.now()?;
        expect("the figures", self.model.withdrawal_figures(now), self.ledger().withdrawal_figures())
    }

    fn same_withdrawal(&self, of: u64, found: &Withdrawal) -> Result<(), String> {
        expect("the withdrawal", self.model.line_of_withdrawal(of), line_of_withdrawal(found))
    }

    /// An attempt that nobody runs since the opening is recorded as one before anything is said of its withdrawal.
    fn interrupted_first(&mut self, of: u64) -> Result<(), String> {
        let is_running = self.model.record(of).is_some_and(|record| record.substatus == Substatus::Submitting);
        if is_running && self.interrupted.contains(&of) {
            self.interrupted.retain(|id| *id != of);
            let (class, to) = (AttemptClass::Ambiguous, Substatus::Unknown);
            let time = self.now()?;
            self.model.apply(Fact { seq: self.model.seq() + 1, time, what: Happened::Ended { id: of, class, to } });
        }
        Ok(())
    }

    fn next_seq(&self, before: Seq) -> Result<u64, String> {
        expect("the seq after a withdrawal's entry", before.next(), self.ledger().appended())?;
        Ok(before.next().get())
    }
}

/// Attempts found without an outcome may be recorded, at the opening, as ones that nobody runs any more.
pub(crate) fn take_in_interruptions(model: &mut Model, ledger: &Ledger) -> Result<(), String> {
    let under_way: Vec<u64> =
        model.withdrawals().filter(|(_, record)| record.substatus == Substatus::Submitting).map(|(id, _)| id).collect();
    let mut recorded = Vec::new();
    for of in under_way {
        let found = answer(ledger.transaction(id(of), None)).map_err(|err| format!("transaction: {err:?}"))?;
        let last_seq = found.map_or(0, |transaction| transaction.last_seq.get());
        if last_seq > model.seq() {
            recorded.push((last_seq, of));
        }
    }
    recorded.sort_unstable();
    for (seq, id) in recorded {
        let what = Happened::Ended { id, class: AttemptClass::Ambiguous, to: Substatus::Unknown };
        model.apply(Fact { seq, time: ledger.now(), what });
    }
    Ok(())
}

/// That nothing follows for withdrawal `of`, and a reason that fits where it is.
fn conflict(record: &Record, of: u64, rejection: &Rejection) -> Checked {
    let Rejection::WithdrawalConflict { id, conflict } = rejection else {
        return Err(format!("{record:?}: found {rejection:?}"));
    };
    expect("which withdrawal it is", of, id.get())?;
    let fits = match conflict {
        Conflict::Repeat => true,
        // Also of an attempt that never was.
        Conflict::NotNow => true,
        Conflict::Ended | Conflict::Contradicted { .. } => record.status != Status::Pending,
    };
    if fits { Ok(word(rejection)) } else { Err(format!("{record:?}: told {conflict:?}")) }
}
