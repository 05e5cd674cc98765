//! The caller's name for a command, and a hash of what the command says.

use std::fmt;

/// The caller's name for a command: 1 ..= 255 bytes of printable UTF-8, unique in the ledger, compared byte for byte.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey<'a>(&'a str);

impl<'a> IdempotencyKey<'a> {
    /// The longest key, in bytes.
    pub const BYTES_MAX: usize = 255;

    /// `None` for an empty key, one of more than 255 bytes, or one with a control character.
    pub fn new(key: &'a str) -> Option<IdempotencyKey<'a>> {
        let fits = !key.is_empty() && key.len() <= Self::BYTES_MAX;
        // ASCII, the common case, is checked bytewise; the rest by Unicode's control category.
        let printable = || {
            if key.is_ascii() {
                // All of them are looked at, which a compiler can do many at a time.
                key.bytes().fold(true, |printable, b| printable & (0x20..0x7f).contains(&b))
            } else {
                !key.chars().any(char::is_control)
            }
        };
        (fits && printable()).then_some(IdempotencyKey(key))
    }

    /// The key.
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

impl fmt::Debug for IdempotencyKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for IdempotencyKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// XXH3-128 of what a command says, to tell a repeat from a misuse of its key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(u128);

impl Fingerprint {
    pub(crate) const fn new(hash: u128) -> Fingerprint {
        Fingerprint(hash)
    }

    /// The hash.
    pub const fn get(self) -> u128 {
        self.0
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
