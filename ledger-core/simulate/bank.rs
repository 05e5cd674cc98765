//! A bank with every outcome, and a book of what it really paid.
//!
//! The executor hears only what a real bank would tell it; the book knows more, and is what the ledger's is compared with.
//! Unless it was told to contradict itself, the bank is honest: what it calls failed it will never pay.

use std::collections::BTreeMap;
use std::time::Duration;

use ledger_core::BankReference;
use ledger_core::withdrawals::{AttemptClass, Inquiry, InquiryAnswer, NoticeOutcome, Submission};

use crate::stage::Chance;

/// How often, in percent, a new reference has each fate; what is left of a hundred is settled at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    pub(crate) accepted: u64,
    pub(crate) rejected: u64,
    pub(crate) not_sent: u64,
    pub(crate) silent_paid: u64,
    pub(crate) silent_unpaid: u64,
    /// The request is under way for long: the caller has given up when it arrives and is paid.
    pub(crate) silent_late: u64,
    /// Of what a pending payment comes to, so much is refused.
    pub(crate) refused_later: u64,
    /// Of the inquiries, so many are not answered, not found although they are (a replica lags), or called pending.
    pub(crate) unanswered: u64,
    pub(crate) lagging: u64,
    /// Of the inquiries, so many are answered with the contrary of the truth, and of the notices, so many say anything.
    pub(crate) contradicts: u64,
    /// Of the notices of what is decided, so many were on their way since it was pending.
    pub(crate) told_late: u64,
    /// Of the notices of what was paid, so many say that it came back, which is true then.
    pub(crate) comes_back: u64,
    pub(crate) latency_max: Duration,
}

/// A reference without the ledger's UUID, which differs between two runs of one seed: epoch and transaction.
pub(crate) type Name = (u64, u64);

pub(crate) fn name(reference: &BankReference) -> Name {
    (reference.epoch.get(), reference.id.get())
}

/// What became of a reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    Paid,
    Refused,
    /// Accepted; decided at this moment, for or against.
    Pending(Duration, bool),
    /// It has not arrived yet; then it is paid.
    UnderWay(Duration),
}

/// One reference in the book.
#[derive(Clone, Debug)]
pub(crate) struct Paper {
    amount: u64,
    pub(crate) fate: Fate,
    pub(crate) paid: u32,
    attempts: Vec<u32>,
    /// What was paid came back.
    pub(crate) came_back: bool,
    /// The bank said something of it that was not so.
    pub(crate) lied: bool,
}

pub(crate) struct Bank {
    pub(crate) rates: Rates,
    /// Whether it takes a repeat for what it is.
    is_idempotent: bool,
    can_be_asked: bool,
    book: BTreeMap<Name, Paper>,
    /// Attempts that never reached it, so that their numbers are known.
    unseen: BTreeMap<Name, Vec<u32>>,
}

impl Bank {
    pub(crate) fn new(rates: Rates, is_idempotent: bool, can_be_asked: bool) -> Bank {
        Bank { rates, is_idempotent, can_be_asked, book: BTreeMap::new(), unseen: BTreeMap::new() }
    }

    /// From now on nothing goes wrong that has not gone wrong already.
    pub(crate) fn recovers(&mut self) {
        self.rates =
            Rates { unanswered: 0, lagging: 0, contradicts: 0, latency_max: Duration::from_millis(1), ..self.rates };
    }

    /// Attempt `number` arrives at `now`, or does not.
    ///
    /// # Errors
    /// What the bank would never see of a sound ledger.
    pub(crate) fn submit(
        &mut self,
        reference: &BankReference,
        number: u32,
        amount: u64,
        now: Duration,
        chance: &mut Chance,
    ) -> Result<Submission, String> {
        self.settle(name(reference), now);
        let seen = self.unseen.entry(name(reference)).or_default();
        let known = self.book.get(&name(reference)).map_or(&[][..], |paper| &paper.attempts);
        if seen.contains(&number) || known.contains(&number) {
            return Err(format!("attempt {number} of withdrawal {} leaves a second time", reference.id));
        }
        if chance.below(100) < self.rates.not_sent {
            seen.push(number);
            return Ok(said(AttemptClass::NotSent));
        }
        let is_idempotent = self.is_idempotent;
        if let Some(paper) = self.book.get_mut(&name(reference)) {
            if paper.amount != amount {
                return Err(format!("withdrawal {} was of {} and is of {amount}", reference.id, paper.amount));
            }
            paper.attempts.push(number);
            if !is_idempotent {
                return Err(format!("withdrawal {} is sent again to a bank that pays every time", reference.id));
            }
            return Ok(match paper.fate {
                _ if chance.below(100) < 20 => said(AttemptClass::Ambiguous), // "Duplicate", which says nothing.
                Fate::Paid => said(AttemptClass::Settled),
                Fate::Refused => said(AttemptClass::Rejected),
                Fate::Pending(..) => said(AttemptClass::Accepted),
                Fate::UnderWay(_) => {
                    (paper.fate, paper.paid) = (Fate::Paid, 1); // The repeat overtook it.
                    said(AttemptClass::Settled)
                }
            });
        }
        let (class, fate) = self.draw(now, chance);
        let Some(fate) = fate else {
            self.unseen.entry(name(reference)).or_default().push(number);
            return Ok(said(class));
        };
        let paid = u32::from(fate == Fate::Paid);
        self.book.insert(
            name(reference),
            Paper { amount, fate, paid, attempts: vec![number], came_back: false, lied: false },
        );
        Ok(said(class))
    }

    /// What a new reference's caller hears, and what becomes of it; `None`: it never arrives.
    fn draw(&self, now: Duration, chance: &mut Chance) -> (AttemptClass, Option<Fate>) {
        let draw = chance.below(100);
        let mut below = 0;
        let mut falls = |rate: u64| {
            below += rate;
            draw < below
        };
        let later = now + Duration::from_millis(1 + chance.below(120_000));
        if falls(self.rates.accepted) {
            let is_paid = chance.below(100) >= self.rates.refused_later;
            (AttemptClass::Accepted, Some(Fate::Pending(later, is_paid)))
        } else if falls(self.rates.rejected) {
            (AttemptClass::Rejected, Some(Fate::Refused))
        } else if falls(self.rates.silent_paid) {
            (AttemptClass::Ambiguous, Some(Fate::Paid))
        } else if falls(self.rates.silent_unpaid) {
            (AttemptClass::Ambiguous, None)
        } else if falls(self.rates.silent_late) {
            (AttemptClass::Ambiguous, Some(Fate::UnderWay(later)))
        } else {
            (AttemptClass::Settled, Some(Fate::Paid))
        }
    }

    /// What it says of a reference when it is asked.
    pub(crate) fn inquire(&mut self, reference: &BankReference, now: Duration, chance: &mut Chance) -> Inquiry {
        self.settle(name(reference), now);
        let rates = self.rates;
        let draw = chance.below(100);
        if !self.can_be_asked {
            return answer(InquiryAnswer::Unsupported);
        }
        if draw < rates.unanswered {
            return answer(InquiryAnswer::Unanswered);
        }
        let Some(paper) = self.book.get_mut(&name(reference)) else { return answer(InquiryAnswer::NotFound) };
        if draw < rates.unanswered + rates.lagging {
            return answer(InquiryAnswer::NotFound);
        }
        let contradicts = draw < rates.unanswered + rates.lagging + rates.contradicts;
        answer(match paper.fate {
            Fate::Paid | Fate::Refused if contradicts => {
                paper.lied = true;
                if paper.fate == Fate::Paid { InquiryAnswer::Failed } else { InquiryAnswer::Settled }
            }
            Fate::Paid => InquiryAnswer::Settled,
            Fate::Refused => InquiryAnswer::Failed,
            Fate::Pending(..) => InquiryAnswer::Pending,
            Fate::UnderWay(_) => InquiryAnswer::NotFound,
        })
    }

    /// What really became of a reference by `now`; `None`: it never arrived.
    pub(crate) fn fate(&mut self, reference: &BankReference, now: Duration) -> Option<Fate> {
        self.settle(name(reference), now);
        self.book.get(&name(reference)).map(|paper| paper.fate)
    }

    /// What it tells of a reference by itself: the truth, something that was true, or, where it contradicts, anything.
    /// Nothing of what never arrived.
    pub(crate) fn tells(
        &mut self,
        reference: &BankReference,
        now: Duration,
        chance: &mut Chance,
    ) -> Option<NoticeOutcome> {
        self.settle(name(reference), now);
        let rates = self.rates;
        let paper = self.book.get_mut(&name(reference))?;
        if chance.below(100) < rates.contradicts {
            paper.lied = true;
            return Some(chance.pick(&NoticeOutcome::ALL));
        }
        let is_late = chance.below(100) < rates.told_late;
        let came_back = chance.below(100) < rates.comes_back;
        match paper.fate {
            Fate::UnderWay(_) => None,
            Fate::Pending(..) => Some(NoticeOutcome::Pending),
            _ if is_late => Some(NoticeOutcome::Pending),
            Fate::Paid if came_back => {
                paper.came_back = true;
                Some(NoticeOutcome::Returned)
            }
            Fate::Paid => Some(NoticeOutcome::Settled),
            Fate::Refused => Some(NoticeOutcome::Failed),
        }
    }

    /// Lets happen what was to happen by `now`.
    fn settle(&mut self, name: Name, now: Duration) {
        let Some(paper) = self.book.get_mut(&name) else { return };
        let fate = match paper.fate {
            Fate::Pending(at, is_paid) if at <= now => {
                if is_paid {
                    Fate::Paid
                } else {
                    Fate::Refused
                }
            }
            Fate::UnderWay(at) if at <= now => Fate::Paid,
            _ => return,
        };
        (paper.fate, paper.paid) = (fate, paper.paid + u32::from(fate == Fate::Paid));
    }

    /// Lets everything happen that is under way, and hands over the book.
    pub(crate) fn closed_book(&mut self) -> &BTreeMap<Name, Paper> {
        let names: Vec<Name> = self.book.keys().copied().collect();
        for name in names {
            self.settle(name, Duration::MAX);
        }
        &self.book
    }
}

fn said(class: AttemptClass) -> Submission {
    Submission { class, evidence: format!("the bank said {class:?}") }
}

fn answer(answer: InquiryAnswer) -> Inquiry {
    Inquiry { answer, evidence: format!("the bank said {answer:?}") }
}
