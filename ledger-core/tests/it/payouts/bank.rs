//! A bank that keeps a book of its own. It does what a script says, and tells the truth unless the script has it lie.

use std::time::Duration;

use ledger_core::withdrawals::{AttemptClass, InquiryAnswer, NoticeOutcome};

/// What the bank does with a submission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reply {
    Settles,
    /// Takes it, and pays later.
    AcceptsAndPays,
    /// Takes it, and does not pay in the end.
    AcceptsAndFails,
    Rejects,
    /// Says that it did not execute it.
    DoesNotExecute,
    /// Pays, but the answer is lost.
    PaysSilently,
    /// Neither pays nor answers.
    Loses,
    /// Says that it knows the reference, and no more.
    RefusesDuplicate,
}

/// How the bank answers an inquiry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Candour {
    /// As it is.
    Truth,
    /// The opposite.
    Lie,
    /// A replica that has not heard of it.
    Lags,
    Silent,
    Unsupported,
}

impl Reply {
    pub(crate) const ALL: [Reply; 8] = [
        Reply::Settles,
        Reply::AcceptsAndPays,
        Reply::AcceptsAndFails,
        Reply::Rejects,
        Reply::DoesNotExecute,
        Reply::PaysSilently,
        Reply::Loses,
        Reply::RefusesDuplicate,
    ];
}

impl Candour {
    pub(crate) const ALL: [Candour; 5] =
        [Candour::Truth, Candour::Lie, Candour::Lags, Candour::Silent, Candour::Unsupported];
}

/// One reference in the bank's book.
#[derive(Clone, Debug)]
pub(crate) struct Bank {
    /// For how long it recognises a repeat; `None`: never.
    window: Option<Duration>,
    /// When it first did something with the reference, in real time.
    known_since: Option<Duration>,
    /// How often it paid. More than once is the ledger's fault.
    pub(crate) payments: u32,
    /// What it has taken and not yet done: whether it will pay.
    pub(crate) pending: Option<bool>,
    pub(crate) came_back: bool,
    /// How many submissions it saw.
    pub(crate) submissions: u32,
    /// Whether anything that it said was not so.
    pub(crate) has_lied: bool,
}

impl Bank {
    pub(crate) fn new(window: Option<Duration>) -> Bank {
        Bank {
            window,
            known_since: None,
            payments: 0,
            pending: None,
            came_back: false,
            submissions: 0,
            has_lied: false,
        }
    }

    /// Takes a submission at `real` and says how the caller is answered.
    pub(crate) fn submit(&mut self, reply: Reply, real: Duration) -> AttemptClass {
        self.submissions += 1;
        let has_it = self.payments > 0 || self.pending == Some(true);
        let recognises = self.window.is_some_and(|window| self.known_since.is_some_and(|since| real < since + window));
        if has_it && recognises {
            return match reply {
                Reply::DoesNotExecute => AttemptClass::NotSent,
                Reply::Settles if self.payments > 0 => AttemptClass::Settled,
                Reply::AcceptsAndPays | Reply::AcceptsAndFails => AttemptClass::Accepted,
                // It has it, so it does not refuse it.
                _ => AttemptClass::Ambiguous,
            };
        }
        let class = match reply {
            Reply::Settles => AttemptClass::Settled,
            Reply::AcceptsAndPays | Reply::AcceptsAndFails => AttemptClass::Accepted,
            Reply::Rejects => AttemptClass::Rejected,
            Reply::DoesNotExecute => AttemptClass::NotSent,
            Reply::PaysSilently | Reply::Loses | Reply::RefusesDuplicate => AttemptClass::Ambiguous,
        };
        match reply {
            Reply::Settles | Reply::PaysSilently => self.payments += 1 + u32::from(self.pending == Some(true)),
            Reply::AcceptsAndPays => {
                self.payments += u32::from(self.pending == Some(true));
                self.pending = Some(true);
            }
            Reply::AcceptsAndFails => self.pending = Some(false),
            Reply::Rejects | Reply::DoesNotExecute | Reply::Loses | Reply::RefusesDuplicate => return class,
        }
        self.known_since.get_or_insert(real);
        class
    }

    /// Answers an inquiry. What was pending is done by then, if the truth is told.
    pub(crate) fn inquire(&mut self, candour: Candour) -> InquiryAnswer {
        match candour {
            Candour::Lags => InquiryAnswer::NotFound,
            Candour::Silent => InquiryAnswer::Unanswered,
            Candour::Unsupported => InquiryAnswer::Unsupported,
            Candour::Lie => {
                self.has_lied = true;
                if self.will_have_paid() { InquiryAnswer::Failed } else { InquiryAnswer::Settled }
            }
            Candour::Truth => {
                self.settle();
                match (self.payments, self.known_since) {
                    (0, None) => InquiryAnswer::NotFound,
                    (0, Some(_)) => InquiryAnswer::Failed,
                    _ => InquiryAnswer::Settled,
                }
            }
        }
    }

    /// Tells something of its own accord, true or not.
    pub(crate) fn tell(&mut self, outcome: NoticeOutcome) {
        let is_so = match outcome {
            NoticeOutcome::Settled => self.will_have_paid(),
            NoticeOutcome::Failed => !self.will_have_paid(),
            NoticeOutcome::Pending => self.pending.is_some(),
            NoticeOutcome::Returned => self.will_have_paid(),
        };
        self.has_lied |= !is_so;
        match outcome {
            NoticeOutcome::Settled | NoticeOutcome::Failed if is_so => self.settle(),
            NoticeOutcome::Returned if is_so => {
                self.settle();
                self.came_back = true;
            }
            _ => {}
        }
    }

    /// Does what it has taken.
    pub(crate) fn settle(&mut self) {
        self.payments += u32::from(self.pending == Some(true));
        self.pending = None;
    }

    /// Whether it paid, or will.
    pub(crate) fn will_have_paid(&self) -> bool {
        self.payments > 0 || self.pending == Some(true)
    }
}
