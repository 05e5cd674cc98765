//! The words of the ledger as types: a value of one of these is valid by construction, so nothing
//! above this layer checks a range twice.

mod amount;
mod currency;
mod head;
mod key;
mod seq;
mod text;
mod time;
mod user;

pub use amount::Amount;
pub use currency::Currency;
pub use head::{Head, NoHead};
pub use key::{Fingerprint, IdempotencyKey};
pub use seq::{Epoch, Seq, TransactionId};
pub use text::{Destination, Evidence, Metadata, Operator};
pub use time::Timestamp;
pub use user::UserId;

/// The largest integer that every JSON client holds exactly: 2^53 − 1.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;
