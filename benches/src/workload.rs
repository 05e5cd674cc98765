//! The commands that are measured: accounts drawn uniformly, keys of 24 bytes that are unique in the process.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};

use ledger_core::{Amount, Charge, Command, IdempotencyKey, Transfer, UserId};

/// SplitMix64: two nanoseconds a number, and the same numbers in every run.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence named `seed`.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number below `bound`, without the division that `%` costs.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }
}

/// A bijection, so that what is made of distinct numbers is distinct.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// An idempotency key's bytes.
pub type Key = [u8; 24];

/// Makes keys: the lane that is its own, then a counter, mixed so that neighbours do not look alike.
#[derive(Debug)]
pub struct Keys {
    lane: u32,
    count: u64,
}

impl Keys {
    /// Keys that nobody else in the process makes.
    pub fn lane() -> Keys {
        static LANES: AtomicU32 = AtomicU32::new(0);
        // Relaxed: only that the numbers differ matters.
        Keys { lane: LANES.fetch_add(1, Ordering::Relaxed), count: 0 }
    }

    /// Keys of a lane drawn at random: for a ledger that has met other processes.
    pub fn anywhere() -> Keys {
        Keys { lane: RandomState::new().hash_one(std::process::id()) as u32, count: 0 }
    }

    /// The next `count` keys.
    pub fn take(&mut self, count: usize) -> Vec<Key> {
        (0..count).map(|_| self.make()).collect()
    }

    /// The next key.
    pub fn make(&mut self) -> Key {
        self.count += 1;
        let mut key = [0; 24];
        hex(u64::from(self.lane), &mut key[..8]);
        hex(mix(self.count), &mut key[8..]);
        key
    }
}

/// The low digits of `value` in hexadecimal.
fn hex(mut value: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

/// A key as the ledger takes it.
pub fn key(bytes: &Key) -> IdempotencyKey<'_> {
    IdempotencyKey::new(std::str::from_utf8(bytes).expect("hexadecimal digits")).expect("24 printable bytes")
}

/// The user `number`, counted from 0.
pub fn user(number: u64) -> UserId {
    UserId::new(number + 1).expect("users are numbered from 1")
}

/// An amount of so many minor units.
pub fn amount(minor: u64) -> Amount {
    Amount::new(minor).expect("a small positive amount")
}

/// What is asked of the ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// Charges of so many accounts, uniformly.
    Charges {
        /// How many accounts.
        accounts: u64,
    },
    /// Charges of accounts that were never used: `first`, `first + 1` and so on.
    NewAccounts {
        /// The first of them.
        first: u64,
    },
    /// Charges of one account.
    Hot,
    /// Transfers between two accounts out of so many, uniformly.
    Transfers {
        /// How many accounts; all are to be funded.
        accounts: u64,
    },
}

impl Work {
    /// The command `number` with this key.
    pub fn command<'a>(&self, random: &mut Random, number: u64, bytes: &'a Key) -> Command<'a> {
        let key = key(bytes);
        match *self {
            Work::Charges { accounts } => Charge::new(user(random.below(accounts)), amount(100), key).into(),
            Work::NewAccounts { first } => Charge::new(user(first + number), amount(100), key).into(),
            Work::Hot => Charge::new(user(0), amount(100), key).into(),
            Work::Transfers { accounts } => {
                let from = random.below(accounts);
                let to = (from + 1 + random.below(accounts - 1)) % accounts;
                Transfer::new(user(from), user(to), amount(1), key).into()
            }
        }
    }
}
