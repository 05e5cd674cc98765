//! What a bank answered, classified by type.

use super::entry::{AttemptClass, InquiryAnswer};

/// The outcome of one attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Submission {
    /// Its class.
    pub class: AttemptClass,
    /// What the bank said, for people to read; cut to 1 KiB.
    pub evidence: String,
}

/// The outcome of one inquiry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inquiry {
    /// What the bank says of the reference.
    pub answer: InquiryAnswer,
    /// What it said, for people to read; cut to 1 KiB.
    pub evidence: String,
}

/// An attempt that was started: its entry is durable once the commit that carries it has been waited for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// The withdrawal, with the attempt counted.
    pub withdrawal: super::Withdrawal,
}

/// A withdrawal whose time has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Due {
    /// Which.
    pub id: crate::types::TransactionId,
    /// What is to be done.
    pub step: Step,
}

/// What is to be done next for a withdrawal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Start an attempt.
    Submit,
    /// Ask the bank what became of the reference.
    Inquire,
    /// Record that the deadline has passed ([`super::pass_deadline`]): the bank was asked long enough.
    Review,
    /// Nothing before this time.
    WaitUntil(crate::types::Timestamp),
    /// Nothing by itself: an attempt is running, or it has ended, or it waits for a person.
    Nothing,
}
