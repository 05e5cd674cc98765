//! A bank over HTTP: what the gateway makes of everything that a bank and a connection can do, row by row of the protocol's
//! own tables.

mod answers;
mod connections;
mod lives;
mod requests;
mod scripted;
mod tables;
