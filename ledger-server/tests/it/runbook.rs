//! The pages of `docs/runbook.md`, rehearsed with the program itself: the failure is brought about on a real directory, what
//! the page says is seen is looked for, and what it says is typed is typed, word for word.
//!
//! A test takes the commands from the page's own text, and at its end every command of the page was taken or is named
//! as one that a test cannot type. So neither can be changed without the other.

mod bank;
mod copies;
mod damage;
mod disk;
mod limits;
mod page;
mod shell;
