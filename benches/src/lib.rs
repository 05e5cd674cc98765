//! What the ledger costs: the load that the benches and the binary `figures` put on it, and how they measure.
//!
//! A figure is a ratio to a baseline that ran in turn with it, since machines differ and neighbours are noisy.
//! Throughput counts whole commands: making the command from a user and a key is part of it, making the key is not.
#![forbid(unsafe_code)]

pub mod clock;
pub mod disk;
#[cfg(feature = "http")]
pub mod http;
pub mod latency;
pub mod load;
pub mod machine;
pub mod pairs;
pub mod place;
pub mod rows;
pub mod scale;
pub mod workload;
