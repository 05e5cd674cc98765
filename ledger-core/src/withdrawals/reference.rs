//! The name by which the bank knows a withdrawal.

use std::fmt;

use uuid::Uuid;

use crate::types::{Epoch, TransactionId};

/// The same for every attempt of one withdrawal, and never used again, not even after a restore: it holds the ledger's
/// UUID, the epoch of the reservation and the transaction's id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BankReference {
    /// Which ledger.
    pub ledger: Uuid,
    /// Which of its openings made the reservation.
    pub epoch: Epoch,
    /// Which withdrawal.
    pub id: TransactionId,
}

impl fmt::Display for BankReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.ledger.simple(), self.epoch, self.id)
    }
}
