//! Plain transfers of a batch that touch no common account: as [plain charges](super::charges), they are planned, appended and
//! applied several at a time, since none of them rests on another's outcome. Where one of them is to be rejected, or is anything but
//! plain, they go the general way.

use smallvec::SmallVec;

use super::{Halted, LockedShards, Plain, Prepared, Run, Step};
use crate::ledger::tables::ShardPlace;
use crate::state::account::Slot;
use crate::state::plain::PlainMovement;
use crate::state::plan::Movement;
use crate::state::shard::TOUCHED_TOGETHER;
use crate::types::{Amount, Currency, Seq, TransactionId, UserId};

/// A plain transfer.
#[derive(Clone, Copy)]
struct PlainTransfer {
    from: Side,
    to: Side,
    currency: Currency,
    amount: Amount,
    key_hash: u64,
}

/// One of the two accounts of a transfer.
#[derive(Clone, Copy)]
struct Side {
    user: UserId,
    place: ShardPlace,
    slot: Slot,
}

impl<'e> Run<'e, '_, '_, '_, '_> {
    /// Executes the commands `indexes`, at most [`TOUCHED_TOGETHER`] that touch no common account, if all are plain transfers, and
    /// accepted as such. Else does nothing, and says so. `found` says where their accounts are, who pays first.
    pub(super) fn execute_plain_transfers(
        &mut self,
        locked: &mut LockedShards<'e>,
        indexes: &[usize],
        found: &[Option<Slot>],
    ) -> Result<bool, Halted> {
        let engine = self.engine;
        // Each leaves two records at most in one shard, and nobody opens an account.
        if indexes.is_empty() || !locked.iter().all(|shard| shard.has_room_for(indexes.len())) {
            return Ok(false);
        }
        let mut transfers: SmallVec<[PlainTransfer; TOUCHED_TOGETHER]> = SmallVec::new();
        for (&index, slots) in indexes.iter().zip(found.chunks_exact(2)) {
            let Prepared { movement, key_hash, is_plain, .. } = self.commands[index];
            let (Movement { debit: Some(from), credit: Some(to), currency, amount, .. }, &[Some(paying), Some(paid)]) =
                (movement, slots)
            else {
                return Ok(false);
            };
            let side = |user, slot| Side { user, place: locked.place_of(engine.tables.shard_of(user)), slot };
            let (from, to) = (side(from, paying), side(to, paid));
            if !is_plain
                || !locked.at(from.place).pays_plain(from.slot, amount)
                || !locked.at(to.place).takes_plain(to.slot, amount)
            {
                return Ok(false);
            }
            transfers.push(PlainTransfer { from, to, currency, amount, key_hash });
        }
        let bundle = &mut self.group.bundle;
        indexes.iter().for_each(|&index| self.commands[index].encode_plain(bundle));
        engine.let_others_in_if_planted(locked);
        let first = engine.wal.append_together(self.room, self.now, bundle)?;
        bundle.clear();
        let mut homes = [0; TOUCHED_TOGETHER];
        let numbers = first.seq.get()..;
        for (((transfer, &index), seq), home) in transfers.iter().zip(indexes).zip(numbers).zip(&mut homes) {
            let PlainTransfer { from, to, currency, amount, key_hash } = *transfer;
            let id = TransactionId::new(seq).expect("the first seq is 1");
            let movement = PlainMovement { id, at: first.time, currency, amount, key_hash };
            // First who pays, as replay does it: of two records in one shard his is found by the id.
            let (shard, payer) = locked.at_mut(from.place);
            let parts = payer.debit_plain(from.slot, &movement, to.user);
            locked.at_mut(to.place).1.credit_plain(to.slot, &movement, Some(from.user));
            *home = shard as u8 + 1;
            self.steps[index] = Step::Plain(Plain { id, at: first.time, parts });
        }
        engine.tables.locator.set_run(first.seq, &homes[..transfers.len()]);
        *self.seen = (*self.seen).max(Seq::new(first.seq.get() + transfers.len() as u64 - 1));
        Ok(true)
    }
}
