//! An amount nobody can forge.

use std::fmt;

mod fenced {
    use crate::types::INTEGER_MAX;

    /// Whole minor units of a currency, 1 ..= 2^53 − 1: exact in every JSON client, never a float.
    ///
    /// ```
    /// use ledger_core::Amount;
    /// assert_eq!(Amount::new(5_000).unwrap().minor(), 5_000);
    /// assert!(Amount::new(0).is_none());
    /// assert!(Amount::new(1 << 53).is_none());
    /// ```
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
    pub struct Amount(u64);

    impl Amount {
        /// The largest amount: 2^53 − 1 minor units.
        pub const MAX: Amount = Amount(INTEGER_MAX);

        /// `None` outside 1 ..= 2^53 − 1.
        pub const fn new(minor: u64) -> Option<Amount> {
            if minor >= 1 && minor <= INTEGER_MAX { Some(Amount(minor)) } else { None }
        }

        /// The number of minor units.
        pub const fn minor(self) -> u64 {
            self.0
        }
    }
}

pub use fenced::Amount;

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.minor().fmt(f)
    }
}
