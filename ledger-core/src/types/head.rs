//! One hash that stands for the whole history up to a seq.

use std::fmt;
use std::str::FromStr;

use super::Seq;

/// The history up to `seq` in one hash (BLAKE3). Whoever keeps one where the ledger's host cannot reach it can show later
/// that nothing before it was changed; see [`crate::verify_since`]. Written as `HASH@SEQ`, the hash in 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Head {
    /// The last entry that it covers; zero before the first.
    pub seq: Seq,
    /// The hash.
    pub hash: [u8; 32],
}

impl Head {
    /// The hash in hexadecimal digits.
    pub fn hex(&self) -> String {
        self.hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.hex(), self.seq)
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no head.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoHead(String);

impl fmt::Display for NoHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no head; write HASH@SEQ, the hash in 64 hexadecimal digits", self.0)
    }
}

impl std::error::Error for NoHead {}

impl FromStr for Head {
    type Err = NoHead;

    fn from_str(text: &str) -> Result<Head, NoHead> {
        let no_head = || NoHead(text.to_owned());
        let (hex, seq) = text.split_once('@').ok_or_else(no_head)?;
        let is_hex = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_decimal = !seq.is_empty() && seq.bytes().all(|byte| byte.is_ascii_digit());
        if !is_hex || !is_decimal {
            return Err(no_head());
        }
        let mut hash = [0; 32];
        for (byte, digits) in hash.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).expect("ASCII was checked");
            *byte = u8::from_str_radix(digits, 16).expect("digits were checked");
        }
        Ok(Head { seq: Seq::new(seq.parse().map_err(|_| no_head())?), hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_is_written_and_nothing_else_is() {
        let head = Head { seq: Seq::new(7), hash: std::array::from_fn(|at| at as u8 * 5) };
        assert_eq!(head.to_string().parse(), Ok(head));
        let hex = head.hex();
        for text in ["", "@", "@7", &hex, &format!("{hex}@"), &format!("{hex}@-1"), &format!("{}@1", &hex[1..])] {
            assert_eq!(text.parse::<Head>(), Err(NoHead(text.to_owned())));
        }
        assert!(format!("{}é@1", &hex[2..]).parse::<Head>().is_err());
        assert!(format!("+{}@1", &hex[1..]).parse::<Head>().is_err());
    }
}
