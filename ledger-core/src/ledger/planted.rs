//! Faults in the decisions about withdrawals, put in on purpose to show that the tests would find them. Nothing of this is
//! in a build without the feature `sim`.

use super::engine::Engine;
use crate::sim::PlantedBug;
use crate::withdrawals::{AttemptClass, Conflict, Event, Resolution, Said, Substatus, Withdrawal, WithdrawalEntry};

impl Engine {
    /// What was decided for `withdrawal`, as the planted fault would have it.
    pub(super) fn spoilt<'e>(
        &self,
        withdrawal: &Withdrawal,
        decided: Result<WithdrawalEntry<'e>, Conflict>,
    ) -> Result<WithdrawalEntry<'e>, Conflict> {
        let (Some(bug), Ok(entry)) = (self.planted, &decided) else { return decided };
        let failed = || Ok(WithdrawalEntry { to: Substatus::Failed, due: None, ..entry.clone() });
        match (bug, entry.event) {
            (PlantedBug::RefundOnTimeout, Event::AttemptEnded { class: AttemptClass::Ambiguous, .. }) => failed(),
            (PlantedBug::ReleaseInDoubt, Event::AttemptEnded { class, .. })
                if withdrawal.maybe_paid && matches!(class, AttemptClass::Rejected | AttemptClass::NotSent) =>
            {
                failed()
            }
            (PlantedBug::DoubleResolve, Event::Contradicted { said: Said::Operator { outcome }, .. }) => {
                let to = match outcome {
                    Resolution::Completed => Substatus::Completed,
                    Resolution::Failed => Substatus::Failed,
                };
                Ok(WithdrawalEntry { event: Event::Resolved { outcome }, to, ..entry.clone() })
            }
            (PlantedBug::SuspenseDropped, Event::Contradicted { posted: true, .. }) => Err(Conflict::Repeat),
            _ => decided,
        }
    }
}
