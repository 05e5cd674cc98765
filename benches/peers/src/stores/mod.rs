//! The stores, each as its documentation advises for durable writes.

mod fjall;
mod ledger;
mod maps;
mod postgres;
mod redb;
mod redis;
mod sqlite;

use crate::peer::Open;

/// The cache of each store that has one, in bytes: enough for all of a million accounts.
const CACHE: usize = 256 << 20;

/// What is measured beside all others.
pub(crate) const OURS: &str = "this ledger";

/// The name of each, and how it is opened.
pub(crate) const ALL: [(&str, Open); 8] = [
    (OURS, ledger::open),
    ("PostgreSQL", postgres::open),
    ("SQLite", sqlite::open),
    ("Redis", redis::open),
    ("redb", redb::open),
    ("fjall", fjall::open),
    ("naive", maps::with_log),
    ("dashmap", maps::without_log),
];
