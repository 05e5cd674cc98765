//! The name by which the bank knows a withdrawal.

use std::fmt;
use std::str::FromStr;

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

/// A text that names no withdrawal of any ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAReference;

impl fmt::Display for NotAReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a bank reference: give it as the ledger showed it, as <uuid>-<epoch>-<id>")
    }
}

impl std::error::Error for NotAReference {}

impl FromStr for BankReference {
    type Err = NotAReference;

    /// Exactly what [`fmt::Display`] writes, and nothing else: a reference has one form.
    fn from_str(text: &str) -> Result<BankReference, NotAReference> {
        let mut parts = text.splitn(3, '-');
        let mut part = || parts.next().ok_or(NotAReference);
        let ledger = Uuid::try_parse(part()?).map_err(|_| NotAReference)?;
        let mut number = || part()?.parse::<u64>().map_err(|_| NotAReference);
        let epoch = Epoch::new(number()?);
        let id = TransactionId::new(number()?).ok_or(NotAReference)?;
        let reference = BankReference { ledger, epoch, id };
        // Signs, leading zeros and capitals are other texts for the same numbers.
        if reference.to_string() == text { Ok(reference) } else { Err(NotAReference) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_shown_is_what_is_read(ledger in any::<u128>(), epoch in any::<u64>(), id in 1..u64::MAX) {
            let id = TransactionId::new(id).unwrap();
            let reference = BankReference { ledger: Uuid::from_u128(ledger), epoch: Epoch::new(epoch), id };
            prop_assert_eq!(reference.to_string().parse(), Ok(reference));
        }

        #[test]
        fn no_other_text_is_read(text in "[0-9a-fA-F]{31,33}-[+0-9]{1,3}-[+0-9]{1,3}") {
            if let Ok(reference) = text.parse::<BankReference>() {
                prop_assert_eq!(reference.to_string(), text);
            }
        }
    }

    #[test]
    fn another_form_of_a_reference_is_none() {
        let good = "000000000000000000000000000000aa-1-7";
        assert!(good.parse::<BankReference>().is_ok());
        let bad = [
            "",
            "1",
            "000000000000000000000000000000aa",
            "000000000000000000000000000000AA-1-7",
            "000000000000000000000000000000aa-01-7",
            "000000000000000000000000000000aa-1-0",
            "000000000000000000000000000000aa-1-+7",
            "000000000000000000000000000000aa-1-7-",
            "00000000-0000-0000-0000-0000000000aa-1-7",
            " 000000000000000000000000000000aa-1-7",
        ];
        for text in bad {
            assert_eq!(text.parse::<BankReference>(), Err(NotAReference), "{text:?}");
        }
        assert!(NotAReference.to_string().contains("give it as the ledger showed it"));
    }
}
