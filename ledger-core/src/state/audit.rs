//! Adding up.

use super::shard::Shard;
use crate::types::{Currency, Timestamp};
use crate::view::CurrencyAudit;

/// Adds the shard's sums at `now` to `audits`, which is sorted by currency.
pub(crate) fn add_sums(shard: &Shard, now: Timestamp, audits: &mut Vec<CurrencyAudit>) {
    for sums in shard.sums() {
        let audit = entry_for(sums.currency, audits);
        audit.accounts += sums.accounts;
        audit.total += sums.total;
        audit.held += sums.held(now);
        audit.reserved += sums.reserved;
        audit.external += sums.external;
        audit.suspense += sums.suspense;
    }
}

/// Recomputes the shard's sums at `now` from its accounts, and counts in `audits` the currencies that differ.
pub(crate) fn recompute(shard: &Shard, now: Timestamp, audits: &mut Vec<CurrencyAudit>) {
    let mut recomputed: Vec<(Currency, u64, u128, u128, u128)> =
        shard.sums().iter().map(|sums| (sums.currency, 0, 0, 0, 0)).collect();
    for (slot, account) in shard.accounts.iter() {
        let parts = shard.accounts.parts(slot, now);
        let currency = shard.accounts.currency_of(account);
        let own = recomputed.iter_mut().find(|own| own.0 == currency);
        let Some((_, accounts, total, held, reserved)) = own else { continue };
        *accounts += 1;
        *total += u128::from(parts.total);
        *held += u128::from(parts.held);
        *reserved += u128::from(parts.reserved);
    }
    for (sums, (_, accounts, total, held, reserved)) in shard.sums().iter().zip(recomputed) {
        let equal = (sums.accounts, sums.total, sums.held(now), sums.reserved) == (accounts, total, held, reserved);
        entry_for(sums.currency, audits).deep_mismatches += u64::from(!equal);
    }
}

fn entry_for(currency: Currency, audits: &mut Vec<CurrencyAudit>) -> &mut CurrencyAudit {
    let index = audits.binary_search_by_key(&currency, |audit| audit.currency).unwrap_or_else(|index| {
        audits.insert(
            index,
            CurrencyAudit {
                currency,
                accounts: 0,
                total: 0,
                held: 0,
                reserved: 0,
                external: 0,
                suspense: 0,
                deep_mismatches: 0,
            },
        );
        index
    });
    &mut audits[index]
}
