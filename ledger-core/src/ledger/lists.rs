//! Withdrawals by id, by reference and in lists, and their figures. Each shard is asked in turn, and none for more than a
//! bounded number with its lock taken.

use super::engine::Engine;
use crate::commit::Commit;
use crate::error::Error;
use crate::state::shard::Shard;
use crate::types::{Seq, TransactionId};
use crate::view::{WithdrawalFigures, WithdrawalPage, WithdrawalQuery};
use crate::withdrawals::{BankReference, Substatus, Withdrawal};

/// How many withdrawals a page looks at, over all shards.
const LOOKS_MAX: usize = 10_000;

impl Engine {
    pub(crate) fn withdrawal(&self, id: TransactionId) -> Result<Commit<Option<Withdrawal>>, Error> {
        self.check_halted()?;
        let found = self
            .tables
            .home(id)
            .and_then(|shard| shard.withdrawals.get(&id).map(|held| (held.withdrawal.clone(), held.last_seq)));
        let seen = found.as_ref().map_or(Seq::ZERO, |found| found.1);
        Ok(self.commit(Ok(found.map(|found| found.0)), seen))
    }

    pub(crate) fn withdrawal_by_reference(
        &self,
        reference: BankReference,
    ) -> Result<Commit<Option<Withdrawal>>, Error> {
        let found = self.withdrawal(reference.id)?;
        Ok(found.map(move |found| found.filter(|withdrawal| withdrawal.reference == reference)))
    }

    pub(crate) fn withdrawals(&self, query: &WithdrawalQuery) -> Result<Commit<WithdrawalPage>, Error> {
        self.check_halted()?;
        let looks = (LOOKS_MAX / self.tables.shards.len()).max(1);
        let (mut ids, mut looked_until) = (Vec::new(), None::<TransactionId>);
        for shard in &self.tables.shards {
            let until = collect(&shard.read(), query, looks, &mut ids);
            looked_until = [looked_until, until].into_iter().flatten().min();
        }
        // What one shard has after the place where another's search stopped comes in a later page.
        ids.retain(|id| looked_until.is_none_or(|until| *id <= until));
        ids.sort_unstable();
        let is_full = ids.len() > query.limit.max(1);
        ids.truncate(query.limit.max(1));
        let next = if is_full { ids.last().copied() } else { looked_until };
        let withdrawals = ids.into_iter().filter_map(|id| {
            let found = self.tables.home(id)?.withdrawals.get(&id)?.withdrawal.clone();
            // It may have changed meanwhile.
            matches(query, &found).then_some(found)
        });
        let page = WithdrawalPage { withdrawals: withdrawals.collect(), next };
        // That a withdrawal is not in the list is an entry's doing, too: any of them.
        Ok(self.commit(Ok(page), self.wal.appended()))
    }

    pub(crate) fn withdrawal_figures(&self) -> WithdrawalFigures {
        let mut figures = WithdrawalFigures::default();
        let (mut reserved, mut suspense) = (Vec::new(), Vec::new());
        for shard in &self.tables.shards {
            let shard = shard.read();
            for (index, substatus) in Substatus::ALL.into_iter().enumerate() {
                figures.by_substatus[index] += shard.register.count(substatus);
            }
            figures.discrepancies += shard.register.discrepancies();
            figures.returned += shard.register.returned();
            let unknown = shard.register.in_substatus(Substatus::Unknown, None).next();
            let unknown_at = unknown.map(|id| shard.withdrawals[&id].withdrawal.created_at);
            figures.unknown_oldest_at = [figures.unknown_oldest_at, unknown_at].into_iter().flatten().min();
            for sums in shard.sums() {
                reserved.push((sums.currency, sums.reserved));
                suspense.push((sums.currency, sums.suspense));
            }
        }
        figures.open = figures.counted(Substatus::is_open);
        figures.needs_review = figures.counted(|substatus| substatus == Substatus::NeedsReview);
        figures.reserved = summed(reserved, |one, other| one + other);
        figures.suspense = summed(suspense, |one, other| one + other);
        figures
    }
}

/// Adds the shard's next withdrawals that match, as many as a page and one more, without looking at more than `looks`.
/// Returns the last that was looked at, where the search stopped before it had found enough.
fn collect(
    shard: &Shard,
    query: &WithdrawalQuery,
    looks: usize,
    ids: &mut Vec<TransactionId>,
) -> Option<TransactionId> {
    let wanted = |substatus: &Substatus| {
        query.substatus.is_none_or(|wanted| wanted == *substatus)
            && query.status.is_none_or(|wanted| wanted == substatus.status())
    };
    if wanted(&Substatus::Completed) {
        return collect_among(shard, query, looks, shard.register.after(query.after), ids);
    }
    // Only the first of all lists together are needed, but which those are is seen when all are there.
    for substatus in Substatus::ALL.into_iter().filter(wanted) {
        // All of them match but the young, which end the search.
        let searched = shard.register.in_substatus(substatus, query.after);
        collect_among(shard, query, usize::MAX, searched, ids);
    }
    None
}

fn collect_among(
    shard: &Shard,
    query: &WithdrawalQuery,
    looks: usize,
    searched: impl Iterator<Item = TransactionId>,
    ids: &mut Vec<TransactionId>,
) -> Option<TransactionId> {
    let enough = ids.len() + query.limit.max(1) + 1;
    let mut last = None;
    for (looked, id) in searched.enumerate() {
        if ids.len() == enough {
            return None;
        }
        if looked == looks {
            return last;
        }
        let withdrawal = &shard.withdrawals[&id].withdrawal;
        // Times rise with ids, so all that follow are younger.
        if query.older_than.is_some_and(|time| withdrawal.created_at >= time) {
            return None;
        }
        if matches(query, withdrawal) {
            ids.push(id);
        }
        last = Some(id);
    }
    None
}

fn matches(query: &WithdrawalQuery, withdrawal: &Withdrawal) -> bool {
    query.status.is_none_or(|status| status == withdrawal.substatus.status())
        && query.substatus.is_none_or(|substatus| substatus == withdrawal.substatus)
        && query.older_than.is_none_or(|time| withdrawal.created_at < time)
}

/// The sums by currency, sorted; those of zero are left out.
fn summed<T: Copy + Default + PartialEq>(
    mut parts: Vec<(crate::types::Currency, T)>,
    plus: impl Fn(T, T) -> T,
) -> Vec<(crate::types::Currency, T)> {
    parts.sort_by_key(|part| part.0);
    let mut sums: Vec<(crate::types::Currency, T)> = Vec::new();
    for (currency, part) in parts {
        match sums.last_mut().filter(|sum| sum.0 == currency) {
            Some(sum) => sum.1 = plus(sum.1, part),
            None => sums.push((currency, part)),
        }
    }
    sums.retain(|sum| sum.1 != T::default());
    sums
}
