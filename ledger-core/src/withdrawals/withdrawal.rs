//! One withdrawal as its entries made it.

use super::{BankReference, Substatus};
use crate::types::{Amount, Currency, Timestamp, TransactionId, UserId};

/// One withdrawal as its entries made it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Withdrawal {
    /// Its name.
    pub id: TransactionId,
    /// Whose account.
    pub user: UserId,
    /// In which currency.
    pub currency: Currency,
    /// How much is, or was, reserved.
    pub amount: Amount,
    /// Where it is paid to, where the caller said.
    pub destination: Option<Box<str>>,
    /// The same for every attempt.
    pub reference: BankReference,
    /// When the reservation was made.
    pub created_at: Timestamp,
    /// Where in its life it is.
    pub substatus: Substatus,
    /// How many attempts were started.
    pub attempts: u32,
    /// When to look at it again.
    pub due: Option<Timestamp>,
}
