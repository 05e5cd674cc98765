//! How the tables of an index stand, exactly: what each step of growth, each split and each expectation makes of them.

use super::*;

/// The hash that [`fold`] makes `folded` of: its factor is odd, so it has an inverse.
fn unfold(folded: u32) -> u64 {
    let factor = 0x9E37_79B9_7F4A_7C15u64;
    // Each step of Newton's doubles the bits that are right.
    let inverse = (0..6).fold(factor, |x, _| x.wrapping_mul(2u64.wrapping_sub(factor.wrapping_mul(x))));
    (u64::from(folded) << 32).wrapping_mul(inverse)
}

/// What a table can hold at its homes, from the smallest to the largest.
const LADDER: [u32; 10] = [16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 6_144];

/// Room behind the homes of a new table.
fn overhang(capacity: u32) -> usize {
    match capacity {
        16 | 32 | 64 => 4,
        128 => 8,
        256 => 16,
        512 => 32,
        _ => 64,
    }
}

/// Every table has a length that is right for its capacity, all its hashes begin with the bits that name it in the
/// directory, and each entry of that names the table of its bits.
fn check_tables(index: &SlotIndex) {
    check_order(index);
    assert_eq!(index.directory.len(), 1 << index.depth);
    for (place, named) in index.directory.iter().enumerate() {
        let table = &index.tables[*named as usize];
        assert!(table.depth <= index.depth);
        let alike = index.depth - table.depth;
        let first = place >> alike << alike;
        let all = &index.directory[first..first + (1 << alike)];
        assert!(all.iter().all(|other| other == named), "all entries with the table's prefix name it");
        for slot in table.slots.iter().filter(|slot| **slot != 0) {
            let in_table = u64::from(((slot >> 32) as u32) << table.depth);
            let home = ((in_table * u64::from(table.capacity)) >> 32) as usize;
            assert_eq!(table.home((slot >> 32) as u32), home, "in proportion to what is behind the prefix");
            assert_eq!(index.place((slot >> 32) as u32) >> alike, place >> alike, "a slot is where it is looked for");
        }
    }
    let mut named: Vec<u32> = index.directory.clone();
    named.dedup();
    assert_eq!(named.len(), index.tables.len(), "each table is named, in one row");
    for table in &index.tables {
        assert!(LADDER.contains(&table.capacity) || table.depth == DEPTH_MAX, "{}", table.capacity);
        assert_eq!(table.used as usize, table.slots.iter().filter(|slot| **slot != 0).count());
        let room = table.capacity as usize + overhang(table.capacity);
        assert!(table.slots.len() >= room && (table.slots.len() > room || table.slots.capacity() == room));
    }
    let slots: usize = index.tables.iter().map(|table| table.slots.capacity() * 8).sum();
    assert_eq!(index.bytes(), slots + index.tables.capacity() * size_of::<Table>() + index.directory.capacity() * 4);
}

#[test]
fn a_hash_can_be_made_for_every_place() {
    for folded in [0, 1, 7, 1 << 31, u32::MAX, 0x1234_5678] {
        assert_eq!(fold(unfold(folded)), folded);
    }
    assert_eq!((fold(1), fold(1 << 32)), (0x9E37_79B9, 0x7F4A_7C15));
}

#[test]
fn a_table_grows_step_by_step_when_thirteen_sixteenths_are_used_and_is_split_at_the_last() {
    let mut index = SlotIndex::new();
    assert_eq!((index.bytes(), index.tables.len()), (0, 0));
    let mut steps = LADDER.iter().copied();
    let mut capacity = steps.next().unwrap();
    for used in 1..=4_992u32 {
        // Evenly, each second one in the upper half.
        index.insert(unfold(used.reverse_bits()), used);
        if used * 16 == capacity * 13 {
            let Some(next) = steps.next() else { break };
            capacity = next;
        }
        let table = &index.tables[0];
        assert_eq!((index.tables.len(), table.capacity, table.used), (1, capacity, used));
        if used % 448 == 0 || used < 20 {
            check_tables(&index);
        }
    }
    let halves: Vec<_> = index.tables.iter().map(|table| (table.capacity, table.used, table.depth)).collect();
    assert_eq!(halves, [(4_096, 2_496, 1), (4_096, 2_496, 1)]);
    assert_eq!((index.depth, &index.directory[..]), (1, &[0, 1][..]));
    check_tables(&index);
    assert!((1..=4_992).all(|r: u32| index.find(unfold(r.reverse_bits()), |found| found == r) == Some(r)));
}

/// Inserts `count` references whose hashes begin with these bits, spread over what is left.
fn fill(index: &mut SlotIndex, prefix: u32, bits: u32, count: u32) {
    for n in 0..count {
        let prefix = prefix.checked_shl(32 - bits).unwrap_or(0);
        index.insert(unfold(prefix | n.reverse_bits() >> bits), n);
    }
}

#[test]
fn a_table_is_named_by_as_many_entries_as_its_prefix_leaves_open() {
    let mut index = SlotIndex::new();
    // All in the last sixteenth: the first half, the third quarter, … stay as they are, with shorter prefixes.
    fill(&mut index, 15, 4, 7_000);
    check_tables(&index);
    let depths = |index: &SlotIndex| -> Vec<u32> {
        index.directory.iter().map(|table| index.tables[*table as usize].depth).collect()
    };
    assert_eq!(index.depth, 5);
    let mut expected = [[1; 16], [0; 16]].concat();
    expected[16..24].fill(2);
    expected[24..28].fill(3);
    expected[28..30].fill(4);
    expected[30..].fill(5);
    assert_eq!(depths(&index), expected);
    // Now the first half is cut, within the range of entries that name it; then a quarter of it once more.
    fill(&mut index, 0, 1, 6_300);
    check_tables(&index);
    expected[..16].fill(2);
    assert_eq!((index.depth, depths(&index)), (5, expected.clone()));
    fill(&mut index, 1, 2, 4_000);
    check_tables(&index);
    expected[8..16].fill(3);
    assert_eq!((index.depth, depths(&index)), (5, expected));
    let counts: u32 = index.tables.iter().map(|table| table.used).sum();
    assert_eq!(counts, 7_000 + 6_300 + 4_000);
    for n in (0..7_000u32).step_by(13) {
        assert_eq!(index.find(unfold(15 << 28 | n.reverse_bits() >> 4), |r| r == n), Some(n));
    }
}

#[test]
fn what_is_expected_gets_the_smallest_tables_that_hold_it() {
    // Thirteen sixteenths of a capacity must be more than what comes, a sixteenth more than is expected, into each table.
    let full = |capacity: u32| (capacity / 16 * 13) as usize;
    let counts = (1..300usize).chain((300..20_000).step_by(37)).chain([60_000, 93_000, 100_000, 189_000]);
    for count in counts.chain([4_698, 4_699, 4_700, 9_396, 9_397, 9_398, 18_793, 18_794]) {
        let mut index = SlotIndex::new();
        index.expect(count);
        let slots = count + count / 16;
        let mut depth = 0;
        while slots >> depth >= 4_992 {
            depth += 1;
        }
        let capacity = *LADDER.iter().find(|capacity| full(**capacity) > slots >> depth).unwrap();
        assert_eq!((index.depth, index.tables.len()), (depth, 1 << depth), "{count}");
        assert!(index.tables.iter().all(|t| (t.capacity, t.depth, t.used) == (capacity, depth, 0)), "{count}");
        check_tables(&index);
    }
}

#[test]
fn an_expectation_of_nothing_or_of_an_index_in_use_changes_nothing() {
    let mut index = SlotIndex::new();
    index.expect(0);
    assert_eq!((index.bytes(), index.tables.len(), index.directory.len()), (0, 0, 0));
    index.insert(7, 1);
    index.expect(100_000);
    assert_eq!((index.tables.len(), index.tables[0].capacity), (1, 16));
    assert_eq!(index.find(7, |_| true), Some(1));
}

#[test]
fn only_who_shares_the_hash_is_asked_about() {
    let mut index = SlotIndex::new();
    // One home for all of them, in the order in which they stand there.
    let hashes = [5, 6, 6, 7, 9].map(unfold);
    for (reference, hash) in (0..).zip(hashes) {
        index.insert(hash, reference);
    }
    let asked = |hash: u64| {
        let mut asked = Vec::new();
        index.find(hash, |reference| {
            asked.push(reference);
            false
        });
        asked
    };
    assert_eq!(asked(unfold(6)), [1, 2]);
    assert_eq!((asked(unfold(5)), asked(unfold(9))), (vec![0], vec![4]));
    assert_eq!([0, 4, 8, 10, u32::MAX].map(|hash| asked(unfold(hash)).len()), [0; 5]);
    assert_eq!(index.find(unfold(6), |_| true), Some(1), "the first that was inserted");
}

#[test]
fn the_place_that_is_touched_is_where_a_search_begins() {
    let mut index = SlotIndex::new();
    assert_eq!(index.touch(index.start(unfold(1 << 31))), 0);
    index.insert(unfold(1 << 31), 6);
    assert_eq!(index.touch(index.start(unfold(1 << 31))), 1 << 63 | 7);
    assert_eq!(index.touch(index.start(unfold(1 << 30))), 0);
    fill(&mut index, 0, 0, 6_300);
    assert_eq!(index.tables.len(), 2);
    for slot in index.tables.iter().flat_map(|table| &table.slots).filter(|slot| **slot != 0) {
        let hash = (slot >> 32) as u32;
        assert!(index.touch(index.start(unfold(hash))) >> 32 <= u64::from(hash));
        assert_ne!(index.touch(index.start(unfold(hash))), 0);
    }
}

#[test]
fn what_the_last_homes_push_out_makes_room_behind_them_in_pieces() {
    let mut index = SlotIndex::new();
    // Twelve at the last of sixteen homes: five find room, and the next ones are given 64 more places.
    let lengths: Vec<_> = (0..12)
        .map(|reference| {
            index.insert(unfold(u32::MAX), reference);
            let table = &index.tables[0];
            (table.slots.len(), table.slots.capacity())
        })
        .collect();
    assert_eq!(lengths[..6], [(20, 20), (20, 20), (20, 20), (20, 20), (20, 20), (21, 84)]);
    assert!(lengths[6..].iter().all(|(_, capacity)| *capacity >= 84));
    check_order(&index);
    // A larger table is made of them in the same way.
    (12..60).for_each(|reference| index.insert(unfold(u32::MAX), reference));
    let table = &index.tables[0];
    assert_eq!((table.capacity, table.used), (128, 60));
    assert_eq!(table.slots.len(), 127 + 60, "up to the last that was pushed out");
    assert!(table.slots.capacity() <= table.slots.len() + 64);
    check_order(&index);
    assert!((0..60).all(|reference| index.find(unfold(u32::MAX), |r| r == reference) == Some(reference)));
}

#[test]
fn a_table_of_the_longest_prefix_is_not_split_but_grows() {
    let table = |index: &SlotIndex| {
        let table = &index.tables[index.directory[index.place(42)] as usize];
        (table.depth, table.capacity)
    };
    let mut index = SlotIndex::new();
    let mut seen = Vec::new();
    for reference in 0..6_400 {
        index.insert(unfold(42), reference);
        if seen.last() != Some(&table(&index)) {
            seen.push(table(&index));
        }
    }
    // After each split all of them are in one of the halves, which grows with each insert until it is split again. The
    // one with the longest prefix goes on to grow, until thirteen sixteenths of it are more than there are.
    let steps = |depth: u32, ladder: &[u32]| ladder.iter().map(|capacity| (depth, *capacity)).collect::<Vec<_>>();
    let split = (1..20).flat_map(|depth| steps(depth, &LADDER[8..]));
    let longest = steps(20, &[4_096, 6_144, 8_192]);
    let expected: Vec<_> = steps(0, &LADDER).into_iter().chain(split).chain(longest).collect();
    assert_eq!(seen, expected);
    assert_eq!((index.depth, index.directory.len(), index.tables.len()), (20, 1 << 20, 21));
    check_order(&index);
}
