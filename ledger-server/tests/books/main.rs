//! The built server and the built bank (`ledger-server bank`), each a process of its own.
//!
//! | test | variable | in `cargo test` |
//! | --- | --- | --- |
//! | `kills`: every fault of the bank at 20 %, as `docs/bank-protocol.md` says they are drawn | `LEDGER_BOOKS`: withdrawals | 300 |
//! | | `LEDGER_BOOKS_KILLS`: of the server; of the bank a third as many | 5 |
//! | | `LEDGER_BOOKS_SEED`: what the bank's dice start from | 1 |
//! | `backlog`: a log full of open withdrawals at the start | `LEDGER_BACKLOG`: how many | 3,000 |

mod backlog;
#[path = "../kill/client.rs"]
mod client;
mod faults;
mod kills;
mod operator;
mod programs;
mod stalled;
mod stop;
