//! How a withdrawal lives: what to do next and what an outcome changes, without I/O, clock or randomness.

mod entry;
mod reference;

pub use entry::{AttemptClass, Event, InquiryAnswer, Substatus, WithdrawalEntry};
pub use reference::BankReference;
