//! How a withdrawal lives: what to do next and what an outcome changes, without I/O, clock or randomness.
//!
//! ```text
//! reserved ─► submitting(n) ─► accepted ─► completed ─► returned
//!    │            │ ▲  └─────────┬───────► failed
//!    └► cancelled ▼ │ same key   │
//!               unknown ◄────────┘  ── inquiry · notice · operator ──► completed | failed
//!                   └─ deadline ► needs_review
//! ```
//!
//! Three things must hold whatever the bank and the machine do: a withdrawal is `failed` only if every attempt was
//! definitely not executed, or the bank or an operator says so; it is `completed` only on such word that the bank paid; and
//! every attempt carries the same reference. What is said later against how it ended is a discrepancy, which is kept with
//! it ([`Dossier`]). The deciding functions say what follows from an outcome, as an entry; [`Withdrawal::apply`] is the
//! only thing that changes a withdrawal, and replay uses it alone.

mod decide;
mod dossier;
mod entry;
mod evidence;
mod outcome;
mod places;
mod policy;
mod queue;
mod reference;
mod withdrawal;

pub(crate) use decide::EVIDENCE_BYTES_MAX;
pub use decide::{Conflict, answer_inquiry, end_attempt, interrupt_attempt, next_step, pass_deadline, start_attempt};
pub use dossier::{AnswerRecord, Discrepancy, Dossier, NoticeRecord, ResolutionRecord, ReturnRecord};
pub use entry::{
    AttemptClass, Event, InquiryAnswer, NoticeOutcome, Reservation, Resolution, ReturnCredit, Said, Substatus,
    WithdrawalEntry,
};
pub use evidence::{cancel, doubt, resolve, take_notice};
pub use outcome::{Attempt, Due, Inquiry, Step, Submission};
pub(crate) use places::Places;
pub use policy::Policy;
pub(crate) use queue::DueQueue;
pub use reference::{BankReference, NotAReference};
pub use withdrawal::{AttemptRecord, Ending, Withdrawal};
