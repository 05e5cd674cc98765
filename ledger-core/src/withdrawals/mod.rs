//! How a withdrawal lives: what to do next and what an outcome changes, without I/O, clock or randomness.

mod entry;
mod outcome;
mod policy;
mod reference;
mod withdrawal;

pub use entry::{AttemptClass, Event, InquiryAnswer, Substatus, WithdrawalEntry};
pub use outcome::{Attempt, Due, Inquiry, Step, Submission};
pub use policy::Policy;
pub use reference::BankReference;
pub use withdrawal::Withdrawal;
