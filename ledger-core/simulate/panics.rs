//! Panics of the ledger are findings like any other: kept for the report, with the trace of what led to them.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::promise::{Checked, Violation};

thread_local! {
    /// What the last panic of this thread said, and where.
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// From now on no panic is printed.
pub(crate) fn keep() {
    std::panic::set_hook(Box::new(|info| LAST.with(|last| *last.borrow_mut() = info.to_string())));
}

/// A panic is a violation.
pub(crate) fn caught(act: impl FnOnce() -> Checked) -> Checked {
    catch_unwind(AssertUnwindSafe(act))
        .unwrap_or_else(|_| Err(Violation::new("panic", LAST.with(|last| last.borrow().clone()))))
}
