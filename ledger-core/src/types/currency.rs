//! The unit that an account counts in.

use std::fmt;

/// A currency code: 3 to 8 of `A–Z0–9`, such as `USD`. The ledger gives it no meaning beyond equality.
///
/// ```
/// use ledger_core::Currency;
/// assert_eq!(Currency::new("EUR").unwrap().as_str(), "EUR");
/// assert!(Currency::new("eur").is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 8]);

impl Currency {
    /// The currency that a command means when it names none.
    pub const USD: Currency = Currency(*b"USD\0\0\0\0\0");

    /// `None` unless `code` is 3 to 8 of `A–Z0–9`.
    pub fn new(code: &str) -> Option<Currency> {
        Currency::from_code(code.as_bytes())
    }

    /// As [`Currency::new`], of the code's bytes.
    #[inline]
    pub(crate) fn from_code(code: &[u8]) -> Option<Currency> {
        let valid = (3..=8).contains(&code.len()) && code.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        if !valid {
            return None;
        }
        let mut bytes = [0; 8];
        bytes[..code.len()].copy_from_slice(code);
        Some(Currency(bytes))
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The code's bytes: 3 to 8 of ASCII.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        // A code has no byte of zero.
        let zeros = u64::from_le_bytes(self.0).leading_zeros() as usize / 8;
        &self.0[..self.0.len() - zeros]
    }

    /// The code's bytes, filled up with zeros.
    pub(crate) const fn padded(self) -> [u8; 8] {
        self.0
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
