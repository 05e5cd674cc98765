//! The server as its clients see it: most tests call the application without a socket, those about connections use one,
//! and those about the program start it.

mod batch;
mod contract;
mod faults;
mod head;
mod health;
mod notices;
mod origins;
mod pipeline;
mod process;
mod progress;
mod reads;
mod reconciliations;
mod runbook;
mod salvage;
mod socket;
mod statuses;
mod stream;
mod support;
mod told;
mod withdrawals;
mod writes;
