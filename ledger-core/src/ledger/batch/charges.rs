//! Plain charges of a batch: nearly all that batches are made of. Those of one shard are planned, appended and applied several at a
//! time, without a plan of each: none of them rests on another's outcome, even on one account, and nothing can speak against one
//! but that its account is not there, has holds or is full, which is looked at first. Then they go the general way.

use smallvec::SmallVec;

use super::{Halted, LockedShards, Plain, Prepared, Run, Step};
use crate::state::plain::PlainCharge;
use crate::state::shard::TOUCHED_TOGETHER;
use crate::types::Seq;

impl Prepared<'_, '_> {
    fn plain_charge(&self) -> Option<PlainCharge> {
        let user = self.movement.credit.filter(|_| self.is_plain && self.movement.debit.is_none())?;
        let (currency, amount) = (self.movement.currency, self.movement.amount);
        Some(PlainCharge { user, currency, amount, key_hash: self.key_hash })
    }
}

impl<'e> Run<'e, '_, '_, '_, '_> {
    /// Executes the commands `indexes`, at most [`TOUCHED_TOGETHER`], if all are plain charges of the one shard that is locked,
    /// and accepted as such. Else does nothing, and says so.
    pub(super) fn execute_charges(&mut self, locked: &mut LockedShards<'e>, indexes: &[usize]) -> Result<bool, Halted> {
        let mut charges: SmallVec<[PlainCharge; TOUCHED_TOGETHER]> = SmallVec::new();
        for &index in indexes {
            let Some(charge) = self.commands[index].plain_charge() else { return Ok(false) };
            charges.push(charge);
        }
        let Some((_, shard)) = locked.sole_mut().filter(|_| !charges.is_empty()) else { return Ok(false) };
        let Some(slots) = shard.takes_charges(&charges) else { return Ok(false) };
        let engine = self.engine;
        let bundle = &mut self.group.bundle;
        indexes.iter().for_each(|&index| self.commands[index].encode_plain(bundle));
        engine.let_others_in_if_planted(locked);
        let first = engine.wal.append_together(self.room, self.now, bundle)?;
        bundle.clear();
        let (index, shard) = locked.sole_mut().expect("it is locked");
        let steps = &mut *self.steps;
        shard.apply_charges(&charges, &slots, first.seq, first.time, |number, id, parts| {
            steps[indexes[number]] = Step::Plain(Plain { id, at: first.time, parts });
        });
        engine.tables.locator.set_run(first.seq, &[index as u8 + 1; TOUCHED_TOGETHER][..charges.len()]);
        *self.seen = (*self.seen).max(Seq::new(first.seq.get() + charges.len() as u64 - 1));
        Ok(true)
    }
}
