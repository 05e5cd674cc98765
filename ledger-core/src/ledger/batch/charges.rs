//! Plain charges of a batch: nearly all that batches are made of. Those of one shard are planned, appended and applied several at a
//! time, without a plan of each: none of them rests on another's outcome, even on one account, and nothing can speak against one
//! but that its account is not there, has holds or is full, which is looked at first. Then they go the general way.

use smallvec::SmallVec;

use super::{Halted, LockedShards, Plain, Prepared, Run, Step};
use crate::state::account::Slot;
use crate::state::plain::PlainCharge;
use crate::state::shard::TOUCHED_TOGETHER;
use crate::types::Seq;

impl<'e> Run<'e, '_, '_, '_, '_> {
    /// Executes the commands `indexes`, at most [`TOUCHED_TOGETHER`], if all are plain charges of the one shard that is locked, and
    /// accepted as such. Else does nothing, and says so. `found` says where their accounts are.
    pub(super) fn execute_charges(
        &mut self,
        locked: &mut LockedShards<'e>,
        indexes: &[usize],
        found: &[Option<Slot>],
    ) -> Result<bool, Halted> {
        let Some(shard) = locked.sole() else { return Ok(false) };
        let mut charges: SmallVec<[PlainCharge; TOUCHED_TOGETHER]> = SmallVec::new();
        for (&index, &found) in indexes.iter().zip(found) {
            let Prepared { movement, key_hash, is_plain, .. } = self.commands[index];
            let Some(slot) = found.filter(|_| is_plain && movement.debit.is_none()) else { return Ok(false) };
            charges.push(PlainCharge { slot, currency: movement.currency, amount: movement.amount, key_hash });
        }
        if charges.is_empty() || !shard.takes_charges(&charges) {
            return Ok(false);
        }
        let engine = self.engine;
        let bundle = &mut self.group.bundle;
        indexes.iter().for_each(|&index| self.commands[index].encode_plain(bundle));
        engine.let_others_in_if_planted(locked);
        let first = engine.wal.append_together(self.room, self.now, bundle)?;
        bundle.clear();
        let (index, shard) = locked.sole_mut().expect("it is locked");
        let steps = &mut *self.steps;
        shard.apply_charges(&charges, first.seq, first.time, |number, id, parts| {
            steps[indexes[number]] = Step::Plain(Plain { id, at: first.time, parts });
        });
        engine.tables.locator.set_run(first.seq, &[index as u8 + 1; TOUCHED_TOGETHER][..charges.len()]);
        *self.seen = (*self.seen).max(Seq::new(first.seq.get() + charges.len() as u64 - 1));
        Ok(true)
    }
}
