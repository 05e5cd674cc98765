//! A batch that the ledger halted in the midst of: some of it was appended, no answer says what, and a crash may leave any
//! beginning of that.
//!
//! What it was is learned from the first recovery that finds it: every entry must be a command of the batch, once, that the
//! model accepts after the ones before.

use ledger_core::{Ledger, Timestamp};

use crate::model::Asked;
use crate::promise::{Checked, Violation};
use crate::run::Run;
use crate::stage::id;

/// What was appended of a batch whose outcome is unknown.
pub(crate) struct Doubt {
    /// Its commands but those that were found.
    commands: Vec<Asked>,
    now: Timestamp,
    /// Its last entry.
    until: u64,
}

impl Run {
    /// The last entry that the ledger may have.
    pub(crate) fn decided(&self) -> u64 {
        self.doubt.as_ref().map_or(self.model.seq(), |doubt| doubt.until)
    }

    /// The ledger halted in the midst of a batch that was asked at `now`.
    pub(crate) fn doubts(&mut self, commands: &[Asked], now: Timestamp) {
        let (decided, until) = (self.model.seq(), self.ledger().appended().get());
        if until > decided {
            self.doubt = Some(Doubt { commands: commands.to_vec(), now, until });
            self.unacknowledged.extend((decided + 1..=until).map(|seq| (seq, "batch")));
        }
    }

    /// Takes into the model what a recovered `ledger` has of a batch in doubt, up to the entry `last`.
    pub(crate) fn learn(&mut self, ledger: &Ledger, last: u64) -> Checked {
        while self.model.seq() < last {
            let (seq, Some(doubt)) = (self.model.seq() + 1, &mut self.doubt) else { return Ok(()) };
            let wrong =
                |why: String| Violation::new("recovered state", format!("entry {seq} of a batch in doubt: {why}"));
            let found = ledger.transaction(id(seq), None).and_then(|commit| commit.wait());
            let found = found.map_err(|error| wrong(error.to_string()))?;
            let found = found.ok_or_else(|| wrong("no transaction".into()))?;
            let index = doubt
                .commands
                .iter()
                .position(|asked| asked.key == *found.idempotency_key && asked.amount == found.amount);
            let index = index.ok_or_else(|| wrong(format!("{found:?}, which is not of it")))?;
            let (asked, now) = (doubt.commands.remove(index), doubt.now);
            self.model.decide(&asked, now).map_err(|rejection| wrong(format!("{asked:?} is {rejection}")))?;
            self.model.accept(seq, now, &asked, None);
        }
        Ok(())
    }
}
