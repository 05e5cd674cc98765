//! An index from a hash to references, without keys: the caller says whether a reference is what was meant.
//!
//! A slot is 8 bytes: 32 bits of hash and 32 of reference. Growth needs no more than the slots, so it never touches the
//! records; and it is never a pause, since the slots are in many small tables, each for one prefix of the hash, and an
//! insert makes at most one of them larger or splits it in two (extendible hashing).
//!
//! Within a table the slots stand in the order of their hashes, each at its home or as soon after it as there was room
//! (linear probing). So a search for what is not there, the usual one, ends at the first larger hash; and a split cuts
//! the table in the middle. Homes are proportional to the hash for any capacity, which lets a table grow by half: with
//! doubling, the tables would stand between 41 and 81 per cent full, all of them at the same time. Fuller than that, each
//! insert moves dozens of slots.
//!
//! What must hold: in each table the slots rise by hash, and no empty slot lies between a slot and its home. Nothing is
//! removed. Hashes come from a function with a secret seed; equal ones stay right but make one table long.
//!
//! Cost, measured: 10.2 to 14.5 bytes a slot, beyond some sixteen thousand of them.

use std::mem::size_of;

use crate::ahead;

/// Slots of a table right after a split. Moving this many takes microseconds.
const BASE: u32 = 4_096;
/// What a table grows by from there.
const STEP: u32 = BASE / 2;
/// A full table of this capacity is split.
const CAPACITY_MAX: u32 = BASE + STEP;
/// The first table's capacity: most shards of a small ledger are all but empty.
const CAPACITY_MIN: u32 = 16;
/// The longest prefix that tells tables apart; reached only where most hashes are equal.
const DEPTH_MAX: u32 = 20;

/// Hash to references.
#[derive(Debug)]
pub(crate) struct SlotIndex {
    /// From the first `depth` bits of a hash to its table. Tables with a shorter prefix are named several times.
    directory: Vec<u32>,
    depth: u32,
    tables: Vec<Table>,
}

/// Where the search for a hash begins.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Start {
    hash: u32,
    table: u32,
    home: u32,
}

#[derive(Debug)]
struct Table {
    /// Zero is an empty slot. Behind the first `capacity` there is room for those that the last homes push out.
    slots: Vec<u64>,
    /// How many homes there are.
    capacity: u32,
    used: u32,
    /// How many leading bits all hashes of this table share.
    depth: u32,
}

impl SlotIndex {
    /// The largest reference.
    pub(crate) const REFERENCE_MAX: u32 = u32::MAX - 1;

    /// Without a slot or an allocation.
    pub(crate) const fn new() -> SlotIndex {
        SlotIndex { directory: Vec::new(), depth: 0, tables: Vec::new() }
    }

    /// Makes the tables of an index that has none as they are once about `count` references are in it. Growing there moves
    /// each of them several times.
    pub(crate) fn expect(&mut self, count: usize) {
        if !self.tables.is_empty() || count == 0 {
            return;
        }
        // The hashes' prefixes are not shared out evenly.
        let slots = count + count / 16;
        let full = |capacity: u32| capacity as usize / 16 * 13;
        self.depth = (0..DEPTH_MAX).find(|depth| slots >> depth < full(CAPACITY_MAX)).unwrap_or(DEPTH_MAX);
        let mut capacity = CAPACITY_MIN;
        while full(capacity) <= slots >> self.depth && capacity < CAPACITY_MAX {
            capacity = next_capacity(capacity);
        }
        self.directory = (0..1 << self.depth).collect();
        self.tables = self.directory.iter().map(|_| Table::new(capacity, self.depth)).collect();
    }

    /// The first reference under `hash` that `is_meant`. It is asked about few others: those that share 32 bits.
    pub(crate) fn find(&self, hash: u64, is_meant: impl FnMut(u32) -> bool) -> Option<u32> {
        self.find_from(self.start(hash), is_meant)
    }

    /// Where the search for `hash` begins. Good until a reference is added.
    #[inline]
    pub(crate) fn start(&self, hash: u64) -> Start {
        let hash = fold(hash);
        // In an index without tables there is none of that number either.
        let table = self.directory.get(self.place(hash)).copied().unwrap_or_default();
        Start { hash, table, home: self.tables.get(table as usize).map_or(0, |table| table.home(hash) as u32) }
    }

    /// As [`SlotIndex::find`], from where the search begins.
    #[inline]
    pub(crate) fn find_from(&self, start: Start, is_meant: impl FnMut(u32) -> bool) -> Option<u32> {
        self.tables.get(start.table as usize)?.find_from(start.home as usize, start.hash, is_meant)
    }

    /// Reads the slot at which a search begins, for its cache line: the sum of several such reads is of no use but that they
    /// were all under way at once.
    #[inline]
    pub(crate) fn touch(&self, start: Start) -> u64 {
        let table = self.tables.get(start.table as usize);
        table.and_then(|table| table.slots.get(start.home as usize)).copied().unwrap_or_default()
    }

    /// Adds a reference (at most [`SlotIndex::REFERENCE_MAX`]) under `hash`, beside any that are there.
    pub(crate) fn insert(&mut self, hash: u64, reference: u32) {
        debug_assert!(reference <= Self::REFERENCE_MAX, "a slot of zero is empty");
        if self.tables.is_empty() {
            self.directory.push(0);
            self.tables.push(Table::new(CAPACITY_MIN, 0));
        }
        let Start { hash, table: index, home } = self.start(hash);
        let index = index as usize;
        let table = &mut self.tables[index];
        table.insert(home as usize, u64::from(hash) << 32 | u64::from(reference + 1));
        if !table.is_full() {
            return;
        }
        if table.capacity < CAPACITY_MAX || table.depth == DEPTH_MAX {
            *table = table.rebuilt(|_| true, next_capacity(table.capacity), table.depth);
        } else {
            self.split(index, hash);
        }
    }

    /// Bytes on the heap, the allocator's own overhead apart.
    pub(crate) fn bytes(&self) -> usize {
        let slots: usize = self.tables.iter().map(|table| table.slots.capacity()).sum();
        slots * size_of::<u64>()
            + self.tables.capacity() * size_of::<Table>()
            + self.directory.capacity() * size_of::<u32>()
    }

    /// Where in the directory a hash is.
    const fn place(&self, hash: u32) -> usize {
        (((hash as u64) << self.depth) >> 32) as usize
    }

    /// Cuts the table that `hash` belongs to by the next bit of its hashes.
    fn split(&mut self, index: usize, hash: u32) {
        let table = &self.tables[index];
        let depth = table.depth + 1;
        if depth > self.depth {
            self.directory = self.directory.iter().flat_map(|table| [*table; 2]).collect();
            self.depth = depth;
        }
        let bit = 1 << (32 - depth);
        let low = table.rebuilt(|hash| hash & bit == 0, BASE, depth);
        let high = table.rebuilt(|hash| hash & bit != 0, BASE, depth);
        let named = self.place(hash & !(bit - 1) | bit)..;
        let named = &mut self.directory[named][..1 << (self.depth - depth)];
        named.fill(self.tables.len() as u32);
        self.tables[index] = low;
        self.tables.push(high);
    }
}

/// What a table of this capacity grows to.
const fn next_capacity(capacity: u32) -> u32 {
    if capacity < BASE { capacity * 2 } else { capacity + STEP }
}

/// 32 bits that differ where any of the 64 do. A shard is chosen by some of the bits, which are then the same for all
/// hashes of its index; the product mixes the others into their place.
const fn fold(hash: u64) -> u32 {
    (hash.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32
}

impl Table {
    fn new(capacity: u32, depth: u32) -> Table {
        let overhang = (capacity / 16).clamp(4, 64);
        let slots = (capacity + overhang) as usize;
        // Those that an index splits into and grows to, again and again.
        let ready = if (BASE..=CAPACITY_MAX).contains(&capacity) { ahead::filled(slots) } else { None };
        let slots = ready.unwrap_or_else(|| vec![0; slots]);
        Table { slots, capacity, used: 0, depth }
    }

    const fn is_full(&self) -> bool {
        self.used as u64 * 16 >= self.capacity as u64 * 13
    }

    /// Where a hash stands if there is room: its part behind the prefix, in proportion to the capacity.
    const fn home(&self, hash: u32) -> usize {
        (((hash << self.depth) as u64 * self.capacity as u64) >> 32) as usize
    }

    #[inline]
    fn find_from(&self, home: usize, hash: u32, mut is_meant: impl FnMut(u32) -> bool) -> Option<u32> {
        for slot in self.slots.get(home..)? {
            let here = (slot >> 32) as u32;
            if *slot == 0 || here > hash {
                return None;
            }
            let reference = (*slot as u32).wrapping_sub(1);
            if here == hash && is_meant(reference) {
                return Some(reference);
            }
        }
        None
    }

    #[inline]
    fn insert(&mut self, home: usize, slot: u64) {
        self.used += 1;
        // It takes the place of the first that is larger, and those from there on move by one, up to an empty slot. One less
        // than an empty slot is larger than all.
        let largest = slot | u64::from(u32::MAX);
        let place = self.slots[home..].iter().position(|here| here.wrapping_sub(1) >= largest);
        let place = place.map_or(self.slots.len(), |p| home + p);
        let end = self.slots[place..].iter().position(|here| *here == 0).map(|p| place + p);
        let end = end.unwrap_or_else(|| {
            self.slots.reserve_exact(64);
            self.slots.push(0);
            self.slots.len() - 1
        });
        if end > place {
            self.slots.copy_within(place..end, place + 1);
        }
        self.slots[place] = slot;
    }

    /// A table of those slots whose hash is `wanted`, in one sweep: they are in order already.
    fn rebuilt(&self, wanted: impl Fn(u32) -> bool, capacity: u32, depth: u32) -> Table {
        let mut table = Table::new(capacity, depth);
        let mut next = 0;
        for slot in self.slots.iter().filter(|slot| **slot != 0 && wanted((**slot >> 32) as u32)) {
            let place = table.home((slot >> 32) as u32).max(next);
            if place == table.slots.len() {
                table.slots.reserve_exact(64);
                table.slots.push(0);
            }
            table.slots[place] = *slot;
            next = place + 1;
            table.used += 1;
        }
        table
    }
}

#[cfg(test)]
mod tests {
    mod exact;

    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Spread like a hash, and the same in every run.
    fn spread(i: u64) -> u64 {
        let mixed = (i ^ i >> 31).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB)
    }

    fn count(index: &SlotIndex) -> usize {
        index.tables.iter().map(|table| table.used as usize).sum()
    }

    fn check_order(index: &SlotIndex) {
        for table in &index.tables {
            let mut last = 0;
            for (place, slot) in table.slots.iter().enumerate().filter(|(_, slot)| **slot != 0) {
                let hash = (slot >> 32) as u32;
                assert!(hash >= last && table.home(hash) <= place);
                assert!(table.slots[table.home(hash)..place].iter().all(|slot| *slot != 0));
                last = hash;
            }
        }
    }

    fn hash() -> impl Strategy<Value = u64> {
        prop_oneof![
            4 => any::<u64>().prop_map(spread),
            1 => 0..4u64,
            1 => Just(u64::MAX),
            // All in one corner of the index.
            2 => any::<u64>().prop_map(|i| i % 1_000),
        ]
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_map(
            hashes in prop::collection::vec(hash(), 0..2_000),
            absent in prop::collection::vec(hash(), 0..50),
        ) {
            let (mut index, mut model) = (SlotIndex::new(), BTreeMap::<u64, Vec<u32>>::new());
            for (reference, hash) in hashes.iter().enumerate() {
                index.insert(*hash, reference as u32);
                model.entry(*hash).or_default().push(reference as u32);
            }
            check_order(&index);
            prop_assert_eq!(count(&index), hashes.len());
            for (hash, references) in &model {
                for reference in references {
                    prop_assert_eq!(index.find(*hash, |r| r == *reference), Some(*reference));
                }
            }
            for hash in absent.iter().filter(|hash| !model.contains_key(hash)) {
                prop_assert_eq!(index.find(*hash, |r| hashes[r as usize] == *hash), None);
            }
        }
    }

    #[test]
    fn what_was_expected_finds_its_room_and_what_was_not_makes_some() {
        for count in [1, 15, 700, 3_900, 6_000, 40_000, 300_000] {
            let (mut expected, mut grown) = (SlotIndex::new(), SlotIndex::new());
            expected.expect(count as usize);
            let tables = expected.tables.len();
            for reference in 0..count {
                expected.insert(spread(reference.into()), reference);
                grown.insert(spread(reference.into()), reference);
            }
            check_order(&expected);
            assert_eq!(expected.tables.len(), tables, "no table of {count} was split");
            assert!(expected.bytes() * 4 <= grown.bytes() * 5, "{count}: {} bytes", expected.bytes());
            (count..3 * count).for_each(|reference| expected.insert(spread(reference.into()), reference));
            check_order(&expected);
            assert!((0..3 * count).all(|r| expected.find(spread(r.into()), |found| found == r) == Some(r)));
        }
    }

    #[test]
    fn the_largest_reference_comes_back() {
        let mut index = SlotIndex::new();
        index.insert(7, SlotIndex::REFERENCE_MAX);
        index.insert(7, 0);
        assert_eq!(index.find(7, |_| true), Some(SlotIndex::REFERENCE_MAX));
        assert_eq!(index.find(7, |reference| reference == 0), Some(0));
        assert_eq!(index.find(8, |_| true), None);
    }

    #[test]
    fn equal_hashes_make_one_table_long_but_stay_right() {
        let mut index = SlotIndex::new();
        (0..10_000).for_each(|reference| index.insert(42, reference));
        assert!((0..10_000).step_by(99).all(|wanted| index.find(42, |r| r == wanted) == Some(wanted)));
        assert_eq!(index.find(43, |_| true), None);
        check_order(&index);
    }

    #[test]
    fn a_million_references_are_all_found_whichever_bits_chose_the_shard() {
        const N: u32 = 1 << 20;
        for shard_of in [|hash: u64| hash, |hash: u64| hash << 8 | 5, |hash: u64| hash >> 8 | 5 << 56] {
            let mut index = SlotIndex::new();
            let (mut fewest, mut most) = (f64::MAX, 0f64);
            for reference in 0..N {
                index.insert(shard_of(spread(reference.into())), reference);
                if reference >= 16_384 && reference % 512 == 0 {
                    let each = index.bytes() as f64 / f64::from(reference);
                    (fewest, most) = (fewest.min(each), most.max(each));
                }
            }
            check_order(&index);
            assert!((0..N).all(|r| index.find(shard_of(spread(r.into())), |found| found == r) == Some(r)));
            assert!((N..N + 10_000).all(|r| index.find(shard_of(spread(r.into())), |found| found == r).is_none()));
            assert!(index.tables.iter().all(|table| table.slots.len() < 8_192), "no table is long");
            assert!(most < 15.0, "{fewest:.2} to {most:.2} bytes a slot");
        }
    }
}
