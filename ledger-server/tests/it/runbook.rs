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
