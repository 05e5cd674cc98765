//! Who owns an account.

use std::fmt;
use std::num::NonZeroU64;

use super::INTEGER_MAX;

/// A user's number, 1 ..= 2^53 − 1, chosen by the caller. System accounts have none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UserId(NonZeroU64);

impl UserId {
    /// `None` outside 1 ..= 2^53 − 1.
    pub const fn new(id: u64) -> Option<UserId> {
        match NonZeroU64::new(id) {
            Some(id) if id.get() <= INTEGER_MAX => Some(UserId(id)),
            _ => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
