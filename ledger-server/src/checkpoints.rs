//! Tells in the log of checkpoints that failed: those that the ledger makes by itself have nobody else to tell.

use ledger_core::{Checkpoints, Ledger};

/// Who tells of a ledger's failed checkpoints.
pub(crate) struct Teller {
    ledger: Ledger,
    told: u64,
}

impl Teller {
    pub(crate) fn new(ledger: Ledger) -> Teller {
        Teller { ledger, told: 0 }
    }

    /// Writes a line for what failed since the last look.
    pub(crate) fn look(&mut self) {
        let checkpoints = self.ledger.checkpoints();
        if let Some(line) = news(self.told, &checkpoints) {
            tracing::warn!("{line}");
        }
        self.told = checkpoints.failed;
    }
}

/// What is to be said where `told` failures have been told of.
fn news(told: u64, checkpoints: &Checkpoints) -> Option<String> {
    let new = checkpoints.failed.checked_sub(told).filter(|new| *new > 0)?;
    let times = if new == 1 { String::new() } else { format!(" {new} times") };
    Some(match &checkpoints.last_error {
        Some(reason) => {
            format!(
                "a checkpoint failed{times}: {reason}; until one is made the log grows, and an opening takes longer"
            )
        }
        None => format!("a checkpoint failed{times}, and one was made since"),
    })
}

#[cfg(test)]
mod tests {
    use ledger_core::Ledger;

    use super::*;

    #[test]
    fn each_failure_is_told_once() {
        let mut checkpoints = Ledger::options().in_memory().unwrap().checkpoints();
        assert_eq!(news(0, &checkpoints), None);
        checkpoints.failed = 1;
        checkpoints.last_error = Some("no room".to_owned());
        assert!(news(0, &checkpoints).unwrap().starts_with("a checkpoint failed: no room; "));
        assert_eq!(news(1, &checkpoints), None);
        checkpoints.failed = 3;
        assert!(news(1, &checkpoints).unwrap().starts_with("a checkpoint failed 2 times: no room; "));
        checkpoints.last_error = None;
        assert_eq!(news(2, &checkpoints).unwrap(), "a checkpoint failed, and one was made since");
    }
}
