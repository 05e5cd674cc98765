//! A bank's statement against the log, by bank reference.
//!
//! The rows of one reference are taken together, so that a payment and its return in one statement are one story and not
//! two payments. What is known of a reference here is looked up twice: at its row, for what never changes (whose it is, the
//! amount, the currency), and at the end, for where the withdrawal is now. Nothing is written.
//!
//! Memory: a few bytes for each of the ledger's withdrawals that the statement names, and three lists of bounded length.

use std::collections::HashMap;

use ledger_core::withdrawals::{NoticeOutcome, Reservation, Withdrawal};
use ledger_core::{BankReference, Error, Ledger, Timestamp, TransactionId, WithdrawalQuery};

use crate::error::Problem;
use crate::wire::statement::Row;

/// How many of each kind of fault are listed; the rest are counted.
const LISTED_MAX: usize = 1_000;
/// How many withdrawals are looked at at once.
const PAGE: usize = 8_192;

/// Faults of one kind: the first ones, and how many there are.
#[derive(Clone, Debug)]
pub(crate) struct Faults<T> {
    pub(crate) listed: Vec<T>,
    pub(crate) total: u64,
}

/// A row whose reference is none of this ledger's.
#[derive(Clone, Debug)]
pub(crate) struct MissingHere {
    pub(crate) line: u64,
    pub(crate) reference: String,
    pub(crate) said: Said,
}

/// What a row says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Said {
    pub(crate) amount: ledger_core::Amount,
    pub(crate) currency: ledger_core::Currency,
    pub(crate) status: NoticeOutcome,
}

/// A withdrawal of which the statement says something else than the log.
#[derive(Clone, Debug)]
pub(crate) struct Mismatch {
    pub(crate) withdrawal: Withdrawal,
    pub(crate) reason: Reason,
    /// The row, or what its rows come to.
    pub(crate) said: Said,
}

/// In what the two differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reason {
    Amount,
    Currency,
    Status,
    /// The statement has two payments under one reference.
    PaidTwice,
}

impl Reason {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Reason::Amount => "amount",
            Reason::Currency => "currency",
            Reason::Status => "status",
            Reason::PaidTwice => "paid_twice",
        }
    }
}

/// How the two compare.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Rows of the statement.
    pub(crate) rows: u64,
    /// References of which both say the same.
    pub(crate) matched: u64,
    pub(crate) missing_here: Faults<MissingHere>,
    pub(crate) missing_there: Faults<Withdrawal>,
    pub(crate) mismatched: Faults<Mismatch>,
}

impl<T> Default for Faults<T> {
    fn default() -> Faults<T> {
        Faults { listed: Vec::new(), total: 0 }
    }
}

impl<T> Faults<T> {
    fn add(&mut self, fault: impl FnOnce() -> T) {
        if self.listed.len() < LISTED_MAX {
            self.listed.push(fault());
        }
        self.total += 1;
    }
}

/// Which of the withdrawals that were paid, by when that was recorded, must be in the statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Period {
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
}

impl Period {
    fn has(self, time: Timestamp) -> bool {
        self.from.is_none_or(|from| time >= from) && self.to.is_none_or(|to| time < to)
    }
}

/// What the rows of one reference say together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Story {
    settled_twice: bool,
    settled: bool,
    returned: bool,
    failed: bool,
    /// A row was mismatched already.
    differs: bool,
}

impl Story {
    fn add(&mut self, status: NoticeOutcome) {
        match status {
            NoticeOutcome::Settled => {
                self.settled_twice |= self.settled;
                self.settled = true;
            }
            NoticeOutcome::Returned => self.returned = true,
            NoticeOutcome::Failed => self.failed = true,
            NoticeOutcome::Pending => {}
        }
    }

    /// What they come to: the furthest that the payout got.
    fn status(self) -> NoticeOutcome {
        match self {
            Story { returned: true, .. } => NoticeOutcome::Returned,
            Story { settled: true, .. } => NoticeOutcome::Settled,
            Story { failed: true, .. } => NoticeOutcome::Failed,
            _ => NoticeOutcome::Pending,
        }
    }

    /// Whether the withdrawal is where the statement says, and if not, why.
    fn compare(self, withdrawal: &Withdrawal) -> Result<(), Reason> {
        if self.settled_twice {
            return Err(Reason::PaidTwice);
        }
        let agrees = match self.status() {
            NoticeOutcome::Returned => withdrawal.dossier().returned.is_some(),
            // That it came back later need not be in a statement of the day on which it was paid.
            NoticeOutcome::Settled => paid_at(withdrawal).is_some(),
            NoticeOutcome::Failed => {
                withdrawal.substatus.reservation() == Reservation::Released && paid_at(withdrawal).is_none()
            }
            NoticeOutcome::Pending => withdrawal.substatus.is_open(),
        };
        if agrees { Ok(()) } else { Err(Reason::Status) }
    }
}

/// When it was recorded that the bank paid; `None` where it was not. A payment that turned out after a release counts.
fn paid_at(withdrawal: &Withdrawal) -> Option<Timestamp> {
    match withdrawal.substatus.reservation() {
        Reservation::Paid => withdrawal.ending.as_ref().map(|ending| ending.at),
        Reservation::Stands | Reservation::Released => {
            withdrawal.dossier().discrepancies.iter().find(|discrepancy| discrepancy.posted).map(|posted| posted.at)
        }
    }
}

/// A comparison under way.
pub(crate) struct Comparison {
    ledger: Ledger,
    stories: HashMap<TransactionId, Story>,
    report: Report,
}

impl Comparison {
    pub(crate) fn new(ledger: Ledger) -> Comparison {
        Comparison { ledger, stories: HashMap::new(), report: Report::default() }
    }

    /// Takes the row on `line`.
    pub(crate) async fn add(&mut self, line: u64, row: &Row<'_>) -> Result<(), Error> {
        self.report.rows += 1;
        let said = Said { amount: row.amount, currency: row.currency, status: row.status };
        let known = match row.reference.parse::<BankReference>() {
            Ok(reference) => self.ledger.withdrawal_by_reference(&reference)?.await?,
            Err(_) => None,
        };
        let Some(withdrawal) = known else {
            self.report.missing_here.add(|| MissingHere { line, reference: row.reference.to_string(), said });
            return Ok(());
        };
        let story = self.stories.entry(withdrawal.id).or_default();
        story.add(row.status);
        let reason = if withdrawal.currency != row.currency {
            Reason::Currency
        } else if withdrawal.amount != row.amount {
            Reason::Amount
        } else {
            return Ok(());
        };
        // One reference is one mismatch, however many rows it has.
        if !std::mem::replace(&mut story.differs, true) {
            self.report.mismatched.add(|| Mismatch { withdrawal, reason, said });
        }
        Ok(())
    }

    /// The report, after the last row.
    pub(crate) async fn end(mut self, period: Period) -> Result<Report, Problem> {
        self.judge().await.map_err(Problem::of_read)?;
        self.look_for_missing(period).await?;
        Ok(self.report)
    }

    async fn judge(&mut self) -> Result<(), Error> {
        let mut stories: Vec<_> = self.stories.iter().filter(|(_, story)| !story.differs).collect();
        stories.sort_unstable_by_key(|(id, _)| **id);
        for (id, story) in stories {
            let Some(withdrawal) = self.ledger.withdrawal(*id)?.await? else { continue };
            match story.compare(&withdrawal) {
                Ok(()) => self.report.matched += 1,
                Err(reason) => {
                    let (amount, currency) = (withdrawal.amount, withdrawal.currency);
                    let said = Said { amount, currency, status: story.status() };
                    self.report.mismatched.add(|| Mismatch { withdrawal, reason, said });
                }
            }
        }
        Ok(())
    }

    /// Walks over all withdrawals for those that were paid and are not in the statement.
    async fn look_for_missing(&mut self, period: Period) -> Result<(), Problem> {
        let mut query = WithdrawalQuery { limit: PAGE, ..WithdrawalQuery::default() };
        loop {
            // Milliseconds that other requests must not wait for.
            let (ledger, asked) = (self.ledger.clone(), query.clone());
            let page = tokio::task::spawn_blocking(move || ledger.withdrawals(&asked)).await;
            let page = page.map_err(|_| Problem::internal())?.map_err(Problem::of_read)?;
            let page = page.await.map_err(Problem::of_read)?;
            for withdrawal in page.withdrawals {
                let expected = paid_at(&withdrawal).is_some_and(|at| period.has(at));
                if expected && !self.stories.contains_key(&withdrawal.id) {
                    self.report.missing_there.add(|| withdrawal);
                }
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(()),
            }
        }
    }
}
