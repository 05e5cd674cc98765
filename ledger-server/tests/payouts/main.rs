//! Withdrawals from the request to the bank and back: the executor, the ledger and a bank together, in real time with a
//! policy of milliseconds (the ledger waits for a real disk, which a paused clock would overtake).

mod books;
mod faults;
mod lives;
mod restart;
mod surge;
mod world;
