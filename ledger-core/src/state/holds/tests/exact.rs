//! How a tree of times stands, node by node.

use super::*;

/// Checks what must hold below one node; its times and its sum.
fn below(tree: &Tree<u64>, node: u32, height: u32, times: &mut Vec<Timestamp>) -> u64 {
    if height == 0 {
        let leaf = &tree.leaves[node as usize];
        assert!(leaf.len > 0 && leaf.len as usize <= NODE);
        times.extend_from_slice(leaf.times());
        return leaf.sum();
    }
    let inner = &tree.inners[node as usize];
    assert!(inner.len > 0 && inner.len as usize <= NODE);
    for slot in 0..inner.len as usize {
        let first = times.len();
        assert_eq!(below(tree, inner.children[slot], height - 1, times), inner.sums[slot], "the sum of a child");
        if slot > 0 {
            assert!(
                times[first] >= inner.starts[slot] && times[first - 1] < inner.starts[slot],
                "where a child starts"
            );
        }
    }
    inner.sum()
}

fn tree(schedule: &Schedule<u64>) -> &Tree<u64> {
    match &schedule.0 {
        Form::Many(tree) => tree,
        Form::Few(_) => panic!("they are few"),
    }
}

/// Adds one at each time and checks the tree; how many items each leaf has.
fn leaves(times: impl Iterator<Item = i64>) -> Vec<u32> {
    let (mut schedule, mut added) = (Schedule::<u64>::new(), Vec::new());
    for at in times {
        schedule.add(time(at), 1);
        added.push(time(at));
    }
    let tree = tree(&schedule);
    let mut found = Vec::new();
    assert_eq!(below(tree, tree.root, tree.height, &mut found), added.len() as u64);
    added.sort_unstable();
    assert_eq!(found, added);
    for (count, at) in (1..).zip(&added).step_by(7) {
        assert_eq!(schedule.sum_through(*at), count);
        assert_eq!(schedule.next_after(*at), added.get(count as usize).copied());
    }
    let bytes = size_of::<Tree<u64>>() + tree.leaves.bytes() + tree.inners.bytes();
    assert_eq!(schedule.bytes(), bytes);
    assert!(tree.inners.bytes() > 1);
    (0..tree.leaves.len()).map(|leaf| tree.leaves[leaf].len).collect()
}

#[test]
fn nodes_are_full_where_times_rise_and_half_full_at_least_where_they_do_not() {
    const N: i64 = 5_000;
    let rising = leaves(0..N);
    assert!(rising[..rising.len() - 1].iter().all(|len| *len as usize == NODE), "{rising:?}");
    let falling = leaves((0..N).rev());
    assert!(falling.iter().all(|len| *len as usize >= NODE / 2), "{falling:?}");
    // Every 32 bits once, in an order without a trend; from the middle to both ends; and the second half first.
    let scattered = leaves((0..N).map(|n| i64::from((n as u32).wrapping_mul(0x9E37_79B9))));
    assert!(scattered.iter().all(|len| *len > 0) && scattered.len() < 2 * N as usize / NODE + N as usize / 100);
    leaves((0..N).map(|n| if n % 2 == 0 { n } else { -n }));
    leaves((N..2 * N).chain(0..N));
    leaves((0..N).map(|n| n * 2).chain((0..N / 4).map(|n| n * 8 + 1)));
}

#[test]
fn a_full_inner_node_is_split_right_whichever_of_its_children_was_full() {
    let node = NODE as i64;
    for child in 0..node {
        // One inner node with as many children as it can have, all full; then twice as much below one of them.
        let between = (0..node).map(|n| (child * node + n) * 2 + 1);
        let lens = leaves((0..node * node).map(|n| n * 2).chain(between));
        assert_eq!(lens.iter().sum::<u32>() as i64, node * node + node);
        assert!(lens.iter().all(|len| *len as usize >= NODE / 2), "{lens:?}");
    }
}

#[test]
fn a_few_times_stand_in_a_vector_that_doubles() {
    let mut schedule = Schedule::<u64>::new();
    assert_eq!(schedule.bytes(), 0);
    for at in 1..=NODE {
        schedule.add(time(at as i64), 1);
        assert_eq!(schedule.bytes(), at.next_power_of_two() * 16);
        assert!(matches!(schedule.0, Form::Few(_)));
    }
    schedule.add(time(5), 1);
    assert!(matches!(schedule.0, Form::Few(_)), "there is that time already");
    schedule.add(time(0), 1);
    assert!(matches!(schedule.0, Form::Many(_)));
    assert_eq!((schedule.total(), schedule.sum_through(time(5))), (NODE as u64 + 2, 7));
}
