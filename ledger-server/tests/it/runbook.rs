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
pub(crate) mod shell;

use std::collections::BTreeSet;

use ledger_server::error::Code;

/// Who is woken by an alert searches the runbook for its name.
#[test]
fn every_alert_has_a_page_that_names_it() {
    let rules = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/alerts.yml")).unwrap();
    let alerts: BTreeSet<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let pages = page::Page::all();
    let spans = pages.iter().flat_map(|page| page.split('`').skip(1).step_by(2));
    let named: BTreeSet<&str> = spans.filter(|span| span.starts_with("Ledger")).collect();
    assert!(!alerts.is_empty());
    assert_eq!(named, alerts, "what the pages name, and the alerts there are");
}

/// The page about a refusal that is the ledger's own affair; none where the caller has to mend what he asked for.
fn page_of(code: Code) -> Option<&'static str> {
    match code {
        Code::InvalidJson
        | Code::InvalidRequest
        | Code::InvalidUserId
        | Code::InvalidAmount
        | Code::InvalidCurrency
        | Code::InvalidReleaseAt
        | Code::MissingIdempotencyKey
        | Code::InvalidIdempotencyKey
        | Code::InvalidPage
        | Code::InvalidCursor
        | Code::Unauthenticated
        | Code::Forbidden
        | Code::NotFound
        | Code::TransactionNotFound
        | Code::MethodNotAllowed
        | Code::RequestTimeout
        | Code::PayloadTooLarge
        | Code::UnsupportedMediaType
        | Code::DuplicateRequest
        | Code::AlreadyResolved
        | Code::NotCancellable
        | Code::AttemptUnderWay
        | Code::NeverAttempted
        | Code::InsufficientBalance
        | Code::BalanceOverflow
        | Code::SameAccount
        | Code::IdempotencyKeyReused
        | Code::BatchRejected => None,
        Code::OutcomeUnknown | Code::Internal | Code::Halted => Some("The ledger halted"),
        Code::QueueFull => Some("The queue is full"),
        Code::Overloaded => Some("The memory limit is reached"),
        Code::ShuttingDown => Some("The server is stopping"),
        Code::StorageFull => Some("The disk is full"),
    }
}

/// Who meets a refusal searches the runbook for its status and code.
#[test]
fn every_refusal_that_is_the_ledgers_own_affair_has_a_page_that_names_it() {
    for code in Code::ALL {
        let page = page_of(code);
        assert_eq!(page.is_some(), code.status() >= 500, "{code:?}");
        if let Some(title) = page {
            page::Page::of(title).says(&format!("{} `{}`", code.status(), code.as_str()));
        }
    }
}
