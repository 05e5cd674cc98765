//! Query strings and cursors: arbitrary ones, ones made of the contract's words, and walks by the cursors that the server
//! gives out, with edits.
//!
//! A walk that keeps to its cursors ends, and sees every transaction once.
#![no_main]

use std::fmt::Write as _;

use arbitrary::{Arbitrary, Unstructured};
use axum::body::Body;
use axum::http::Request;
use ledger_fuzz::site::{Reply, Site};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

const PATHS: [&str; 9] = [
    "/transactions",
    "/balance",
    "/withdrawals",
    "/transactions/1",
    "/transactions/3",
    "/withdrawals/3",
    "/audit",
    "/health",
    "/transactions/18446744073709551616",
];
const NAMES: [&str; 17] = [
    "user_id",
    "limit",
    "page",
    "cursor",
    "type",
    "status",
    "currency",
    "from",
    "to",
    "order",
    "idempotency_key",
    "at",
    "deep",
    "substatus",
    "older_than",
    "Limit",
    "",
];
const VALUES: [&str; 26] = [
    "1",
    "2",
    "0",
    "100",
    "101",
    "9007199254740991",
    "9007199254740992",
    "charge",
    "withdrawal",
    "completed",
    "pending",
    "USD",
    "EUR",
    "asc",
    "desc",
    "true",
    "first",
    "2026-01-01T00:00:00Z",
    "2026-01-01T00:00:00%2B01:00",
    "9999-12-31T23:59:59Z",
    "1h",
    "needs_review",
    "%",
    "%41",
    "a+b",
    "",
];

#[derive(Arbitrary, Debug)]
struct Visit {
    charges: u8,
    questions: Vec<Question>,
}

#[derive(Arbitrary, Debug)]
enum Question {
    Parameters { path: u8, parameters: Vec<(u8, Given)> },
    Raw { path: u8, query: String },
    Walk { limit: u8, ascending: bool },
    Edited { ascending: bool, edits: Vec<(u8, u8)>, cut: u8 },
    Path(String),
}

#[derive(Arbitrary, Debug)]
enum Given {
    Word(u8),
    Number(u64),
    Text(String),
}

fn get(site: &Site, target: &str) -> Option<Reply> {
    Some(site.call(Request::get(target).body(Body::empty()).ok()?))
}

fn page(site: &Site, target: &str) -> Value {
    let reply = get(site, target).expect("a right request");
    assert_eq!(reply.status, 200, "{target}: {}", reply.text);
    reply.json()
}

impl Question {
    fn ask(&self, site: &Site, total: usize) {
        let path = |path: &u8| PATHS[usize::from(*path) % PATHS.len()];
        match self {
            Question::Parameters { path: index, parameters } => {
                let mut target = format!("{}?", path(index));
                for (name, given) in parameters {
                    let name = NAMES[usize::from(*name) % NAMES.len()];
                    match given {
                        Given::Word(word) => write!(target, "{name}={}&", VALUES[usize::from(*word) % VALUES.len()]),
                        Given::Number(number) => write!(target, "{name}={number}&"),
                        Given::Text(text) => write!(target, "{name}={text}&"),
                    }
                    .expect("a text takes text");
                }
                get(site, target.trim_end_matches('&'));
            }
            Question::Raw { path: index, query } => {
                get(site, &format!("{}?{query}", path(index)));
            }
            Question::Walk { limit, ascending } => walk(site, limit % 100 + 1, *ascending, total),
            Question::Edited { ascending, edits, cut } => edited(site, *ascending, edits, *cut),
            Question::Path(path) => {
                get(site, &format!("/{path}"));
            }
        }
    }
}

fn order(ascending: bool) -> &'static str {
    if ascending { "&order=asc" } else { "" }
}

fn walk(site: &Site, limit: u8, ascending: bool, total: usize) {
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = page(site, &format!("/transactions?user_id=1&limit={limit}{}{cursor}", order(ascending)));
        let ids = page["transactions"].as_array().expect("a list").iter().map(|one| one["id"].as_u64().expect("an id"));
        seen.extend(ids);
        assert!(seen.len() <= total, "the walk does not end");
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), total);
    let in_order = |pair: &[u64]| if ascending { pair[0] < pair[1] } else { pair[0] > pair[1] };
    assert!(seen.windows(2).all(in_order), "{seen:?}");
}

/// A cursor with bytes of it changed: refused, or one that the server could have given.
fn edited(site: &Site, ascending: bool, edits: &[(u8, u8)], cut: u8) {
    let first = page(site, &format!("/transactions?user_id=1&limit=1{}", order(ascending)));
    let Some(cursor) = first["next_cursor"].as_str() else { return };
    let mut bytes = cursor.as_bytes().to_vec();
    for (at, value) in edits {
        let at = usize::from(*at) % bytes.len();
        bytes[at] = value % 94 + 33;
    }
    bytes.truncate(bytes.len() - usize::from(cut) % bytes.len());
    let cursor = String::from_utf8(bytes).expect("printable ASCII");
    get(site, &format!("/transactions?user_id=1&limit=1{}&cursor={cursor}", order(ascending)));
    // The same one in another's list is refused, whatever it is.
    if let Some(reply) = get(site, &format!("/transactions?user_id=2&limit=1{}&cursor={cursor}", order(ascending))) {
        assert_ne!(reply.status, 200, "{cursor} is taken for another user");
    }
}

fuzz_target!(|input: &[u8]| {
    let Ok(visit) = Visit::arbitrary_take_rest(Unstructured::new(input)) else { return };
    let site = Site::new(false);
    for number in 0..visit.charges % 32 {
        let body = json!({"user_id": 1, "amount": 5, "idempotency_key": format!("more-{number}")}).to_string();
        let request = Request::post("/charge").header("content-type", "application/json").body(Body::from(body));
        assert_eq!(site.call(request.expect("a right request")).status, 200);
    }
    // A charge and a withdrawal were there before.
    let total = usize::from(visit.charges % 32) + 2;
    visit.questions.iter().take(16).for_each(|question| question.ask(&site, total));
});
