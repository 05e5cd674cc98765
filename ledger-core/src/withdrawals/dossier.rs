//! What was said of a withdrawal beside its attempts' outcomes, kept for the person who has to judge it.
//!
//! Everything here is bounded, whatever a bank says and how often: answers by a number of the newest ones, notices and
//! discrepancies by what they say, since a repeat changes nothing.

use super::{InquiryAnswer, NoticeOutcome, Reservation, Resolution, ReturnCredit, Said};
use crate::types::{Timestamp, TransactionId};

/// What was said of a withdrawal beside its attempts' outcomes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dossier {
    /// The bank's answers to the last [`Dossier::ANSWERS_MAX`] inquiries, oldest first.
    pub answers: Vec<AnswerRecord>,
    /// What the bank told by itself, oldest first. What it told before and what changed nothing is not among them.
    pub notices: Vec<NoticeRecord>,
    /// How an operator decided.
    pub resolution: Option<ResolutionRecord>,
    /// That the payment came back.
    pub returned: Option<ReturnRecord>,
    /// What was said against how it ended, oldest first, each once; at most [`Dossier::DISCREPANCIES_MAX`], and one more
    /// where it is the first evidence of a payment after a release.
    pub discrepancies: Vec<Discrepancy>,
}

/// The bank's answer to an inquiry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnswerRecord {
    /// When it was recorded.
    pub at: Timestamp,
    /// What the bank said of the reference.
    pub answer: InquiryAnswer,
    /// What it said, for people to read.
    pub evidence: Box<str>,
}

/// What the bank told by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoticeRecord {
    /// When it was recorded.
    pub at: Timestamp,
    /// What the bank told.
    pub outcome: NoticeOutcome,
    /// When it happened, by the bank's clock.
    pub occurred_at: Timestamp,
    /// What it said, for people to read.
    pub evidence: Box<str>,
}

/// An operator's decision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResolutionRecord {
    /// When it was recorded.
    pub at: Timestamp,
    /// How he decided.
    pub outcome: Resolution,
    /// His name.
    pub operator: Box<str>,
    /// What he went by.
    pub evidence: Box<str>,
}

/// A payment that came back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReturnRecord {
    /// The transaction that credits the user, where `credit` is [`ReturnCredit::User`]; else only the entry's seq.
    pub id: TransactionId,
    /// When it was recorded.
    pub at: Timestamp,
    /// Who has the money now.
    pub credit: ReturnCredit,
    /// When it happened, by the bank's clock.
    pub occurred_at: Timestamp,
    /// What the bank said, for people to read.
    pub evidence: Box<str>,
}

/// Something that was said against how a withdrawal ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Discrepancy {
    /// When it was recorded.
    pub at: Timestamp,
    /// Who said what.
    pub said: Said,
    /// What it says of the money.
    pub says: Reservation,
    /// Whether the payment was posted from suspense to the world outside.
    pub posted: bool,
    /// The operator's name, where it was one.
    pub operator: Option<Box<str>>,
    /// What was said, for people to read.
    pub evidence: Box<str>,
}

impl Dossier {
    /// How many answers are kept.
    pub const ANSWERS_MAX: usize = 16;
    /// How many discrepancies are kept.
    pub const DISCREPANCIES_MAX: usize = 16;

    pub(super) const EMPTY: &Dossier = &Dossier {
        answers: Vec::new(),
        notices: Vec::new(),
        resolution: None,
        returned: None,
        discrepancies: Vec::new(),
    };

    pub(super) fn add_answer(&mut self, answer: AnswerRecord) {
        if self.answers.len() == Self::ANSWERS_MAX {
            self.answers.remove(0);
        }
        self.answers.push(answer);
    }

    /// Whether the bank told this before.
    pub(super) fn was_told(&self, outcome: NoticeOutcome) -> bool {
        self.notices.iter().any(|notice| notice.outcome == outcome)
    }

    /// Whether this discrepancy is recorded, or as many as are kept.
    pub(super) fn is_recorded(&self, said: Said) -> bool {
        self.discrepancies.len() >= Self::DISCREPANCIES_MAX
            || self.discrepancies.iter().any(|discrepancy| discrepancy.said == said)
    }
}
