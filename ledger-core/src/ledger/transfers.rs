//! Which transfers of a window are executed with their shards locked together.
//!
//! A transfer needs two of the shards, so those that follow each other need nearly all: whoever locks for them keeps everybody
//! out. So they are sorted into classes of two bands of shards, of which each has several transfers and few shards. That moves
//! them past each other, which nobody can tell where they touch no common account; those that touch an account of an earlier one
//! are *dependent* and come last, in their order.

use super::grouped::Grouped;
use crate::types::{Currency, UserId};

/// The most bands. Two threads meet in a quarter of the classes then.
const BANDS_MAX: usize = 16;
/// What a class should have at least on average: commands are looked up and appended so many at a time.
const CLASS_MIN: usize = 16;
/// Transfers, sorted.
pub(super) struct Transfers {
    bands: usize,
    classes: Grouped,
    dependent: Vec<u32>,
}

impl Transfers {
    /// `count` transfers, of which `of` says the accounts and the shards, out of so many.
    pub(super) fn sorted(count: usize, shards: usize, of: impl Fn(usize) -> Touched) -> Transfers {
        // There are about half as many classes as pairs of bands.
        let bands = (1..=BANDS_MAX.min(shards)).take_while(|bands| bands * bands / 2 * CLASS_MIN <= count).last();
        let bands = bands.unwrap_or(1);
        let mut touched = Accounts::of_transfers(count);
        let dependent = bands * bands;
        let class_of = |index: usize| {
            let Touched { accounts, shards: [one, other] } = of(index);
            // Both are noted, whatever the first says.
            let touches = accounts.map(|account| touched.note(account));
            if touches[0] | touches[1] {
                return dependent;
            }
            let (one, other) = (one * bands / shards, other * bands / shards);
            one.min(other) * bands + one.max(other)
        };
        let mut classes = Grouped::by(dependent + 1, (0..count).map(class_of));
        let dependent = classes.take_last();
        Transfers { bands, classes, dependent }
    }

    /// Whether there are several classes, of which each needs few of the shards.
    pub(super) fn are_classed(&self) -> bool {
        self.bands > 1
    }

    /// The classes of those that touch no common account, each with its transfers in their order.
    pub(super) fn independent(&self, first: u64) -> impl Iterator<Item = &[u32]> {
        self.classes.from(first)
    }

    /// Those that touch an account of an earlier one, in their order: to be executed last.
    pub(super) fn dependent(&self) -> &[u32] {
        &self.dependent
    }
}

/// What a transfer touches.
pub(super) struct Touched {
    pub(super) accounts: [(UserId, Currency); 2],
    pub(super) shards: [usize; 2],
}

/// Accounts, by one bit of many each. One that is not there may seem to be, which does no harm: then its transfer is taken for a
/// dependent one.
struct Accounts {
    bits: Box<[u64]>,
    log2: u32,
}

impl Accounts {
    /// So many for each transfer that one account in a hundred meets another's.
    const BITS_A_TRANSFER: usize = 128;

    fn of_transfers(count: usize) -> Accounts {
        let log2 = (count.max(1) * Self::BITS_A_TRANSFER).next_power_of_two().ilog2();
        Accounts { bits: vec![0; 1 << (log2 - 6)].into(), log2 }
    }

    /// Whether it was there.
    fn note(&mut self, (user, currency): (UserId, Currency)) -> bool {
        let mixed =
            (user.get() ^ u64::from_le_bytes(currency.padded()).rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let bit = mixed >> (64 - self.log2);
        let (word, bit) = ((bit >> 6) as usize, 1 << (bit & 63));
        let was_there = self.bits[word] & bit != 0;
        self.bits[word] |= bit;
        was_there
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn touched(shards: usize, [from, to]: [u64; 2]) -> Touched {
        let account = |user: u64| (UserId::new(user).unwrap(), Currency::USD);
        Touched { accounts: [account(from), account(to)], shards: [from as usize % shards, to as usize % shards] }
    }

    proptest! {
        #[test]
        fn each_is_executed_once_and_those_on_one_account_keep_their_order(
            shards in 1..100usize,
            users in prop::collection::vec([1..2_000u64, 1..2_000u64], 0..3_000),
            first in any::<u64>(),
        ) {
            let transfers = Transfers::sorted(users.len(), shards, |index| touched(shards, users[index]));
            let order: Vec<usize> = transfers
                .independent(first)
                .flatten()
                .chain(transfers.dependent())
                .map(|index| *index as usize)
                .collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..users.len()).collect::<Vec<_>>());
            let mut last = std::collections::HashMap::new();
            for index in order {
                for user in users[index] {
                    prop_assert!(last.insert(user, index).is_none_or(|before| before <= index));
                }
            }
        }
    }

    #[test]
    fn a_class_needs_few_of_the_shards_and_has_several_transfers() {
        const SHARDS: usize = 64;
        let spread = |i: u64| {
            let mixed = (i ^ i << 32).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            (mixed ^ mixed >> 29).wrapping_mul(0x94D0_49BB_1331_11EB) >> 40
        };
        let users: Vec<[u64; 2]> = (1..=4_096).map(|i| [spread(2 * i) + 1, spread(2 * i + 1) + 1]).collect();
        let transfers = Transfers::sorted(users.len(), SHARDS, |index| touched(SHARDS, users[index]));
        let (classes, dependent) = (transfers.independent(77).collect::<Vec<_>>(), transfers.dependent());
        assert!(
            dependent.len() < 150 && classes.len() == 136,
            "{} dependent, {} classes",
            dependent.len(),
            classes.len()
        );
        for class in &classes {
            let shards = class.iter().flat_map(|index| users[*index as usize]).map(|user| user as usize % SHARDS);
            let bands: std::collections::BTreeSet<usize> = shards.map(|shard| shard / 4).collect();
            assert!(bands.len() <= 2);
        }
        assert_ne!(classes[0], transfers.independent(78).next().unwrap());
    }

    #[test]
    fn no_transfers_are_no_class() {
        let transfers = Transfers::sorted(0, 64, |_| unreachable!("there is none"));
        assert_eq!((transfers.independent(5).count(), transfers.dependent()), (0, &[][..]));
    }

    #[test]
    fn few_transfers_are_one_class() {
        let users: Vec<[u64; 2]> = (1..=20).map(|i| [2 * i, 2 * i + 1]).chain([[3, 99]]).collect();
        let transfers = Transfers::sorted(users.len(), 64, |index| touched(64, users[index]));
        let classes: Vec<&[u32]> = transfers.independent(5).collect();
        assert_eq!((classes, transfers.dependent()), (vec![&(0..20).collect::<Vec<u32>>()[..]], &[20][..]));
    }
}
