//! Load over HTTP: a generator, what it is measured against, and the tables and pictures that come of it.
//!
//! The generator shares its cores with what it measures, so it is made of bare sockets and one poll for all of them, and
//! its own ceiling is measured beside every figure. An open-loop run sends by the clock and takes the time from when a
//! request was due: an answer that keeps others waiting is counted for each of them.

pub mod baseline;
mod chart;
mod connection;
mod generator;
mod outcome;
mod request;
mod server;
mod table;

pub mod classic;
pub mod half;
pub mod idle;
pub mod ratios;
pub mod report;
pub mod run;

pub use generator::{Pace, Plan, Until};
pub use outcome::Outcome;
pub use request::{Kind, Mix};
pub use server::{Server, Target};
