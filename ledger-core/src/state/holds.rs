//! When money matures: for one account or one shard, how much is due by any moment.
//!
//! Nothing is ever removed. A hold matures by itself, so what is held at a time `t` is what was created by then less
//! what matured by then, and both are sums over a prefix: this structure keeps the second. A million holds that mature
//! at once cost nothing, because nobody touches them; and the same structure answers for any moment of the past.
//!
//! It is a B+tree from a time to an amount, in which each inner node also keeps the sum of each child: a prefix sum is
//! one path down. Nodes are in chunked arenas and linked by index, so an add moves at most a node's items on each
//! level, and no table is ever copied. Up to [`NODE`] distinct times there is just one sorted `Vec`.
//!
//! An account's own schedule must also say which hold came next at a moment of the past, when later ones were not yet
//! created. So there a sum is a [`Held`]: it adds the amounts and keeps the earliest creation, which leads the search
//! past whole subtrees that are too young. Who needs only amounts pays for only amounts.
//!
//! What must hold: the sum that an inner node keeps for a child is that of all amounts below it; all leaves are on one
//! level, and none is empty.
//!
//! Cost, measured: 48 bytes for an account with a single hold (24 of them the struct itself), then 26 bytes for each
//! distinct time when they come in rising order, and about 37 when they come in random order ([`Held`]; of plain `u64`
//! 17 and 25).

use std::mem::size_of;

use crate::types::Timestamp;

use super::arena::Chunked;

/// Something that adds up, in any order; the default adds nothing. Amounts wrap: a sum over everything that ever was may
/// pass any limit, but the difference of two of them is what an account has now, which is small, and wrapping arithmetic
/// gives it exactly.
pub(crate) trait Sum: Copy + Default {
    /// Both together.
    #[must_use]
    fn plus(self, other: Self) -> Self;
}

macro_rules! sum_of_integer {
    ($($integer:ty),*) => {$(
        impl Sum for $integer {
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
        }
    )*};
}
sum_of_integer!(u64, u128);

impl Sum for (u64, u64) {
    fn plus(self, other: Self) -> Self {
        (self.0.wrapping_add(other.0), self.1.wrapping_add(other.1))
    }
}

/// Holds, and when the first of them was created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Held {
    pub(crate) amount: u64,
    pub(crate) since: Timestamp,
}

impl Default for Held {
    fn default() -> Held {
        Held { amount: 0, since: Timestamp::MAX }
    }
}

impl Sum for Held {
    fn plus(self, other: Self) -> Self {
        Held { amount: self.amount.wrapping_add(other.amount), since: self.since.min(other.since) }
    }
}

/// The most items of a leaf and children of an inner node. A node is then some 10 cache lines, of which a look-up reads
/// the times by bisection and the sums in one sweep.
const NODE: usize = 32;

/// Amounts by the time at which they mature.
#[derive(Debug)]
pub(crate) struct Schedule<S>(Form<S>);

#[derive(Debug)]
enum Form<S> {
    /// Up to [`NODE`] times, sorted.
    Few(Vec<(Timestamp, S)>),
    Many(Box<Tree<S>>),
}

impl<S: Sum> Schedule<S> {
    /// Without an amount or an allocation.
    pub(crate) const fn new() -> Schedule<S> {
        Schedule(Form::Few(Vec::new()))
    }

    /// Adds an amount that matures `at` a time, in O(log n). Amounts of one time are kept as one.
    pub(crate) fn add(&mut self, at: Timestamp, amount: S) {
        match &mut self.0 {
            Form::Many(tree) => tree.add(at, amount),
            Form::Few(items) => match items.binary_search_by_key(&at, |item| item.0) {
                Ok(found) => items[found].1 = items[found].1.plus(amount),
                Err(place) if items.len() < NODE => {
                    if items.len() == items.capacity() {
                        // 1, 2, 4, …: most accounts never have a second hold, and `Vec` would begin with four.
                        items.reserve_exact(items.len().max(1));
                    }
                    items.insert(place, (at, amount));
                }
                Err(_) => {
                    let mut tree = Box::new(Tree::new(items));
                    tree.add(at, amount);
                    self.0 = Form::Many(tree);
                }
            },
        }
    }

    /// The sum of what matures at `at` or before, in O(log n).
    pub(crate) fn sum_through(&self, at: Timestamp) -> S {
        match &self.0 {
            Form::Few(items) => sum(items.iter().take_while(|item| item.0 <= at).map(|item| item.1)),
            Form::Many(tree) => tree.sum_through(at),
        }
    }

    /// The sum of everything.
    pub(crate) fn total(&self) -> S {
        match &self.0 {
            Form::Few(items) => sum(items.iter().map(|item| item.1)),
            Form::Many(tree) => tree.total,
        }
    }

    /// The first time after `at` at which something matures, in O(log n).
    pub(crate) fn next_after(&self, at: Timestamp) -> Option<Timestamp> {
        self.next_that(at, |_| true)
    }

    /// The first time after `at` whose sum `is_wanted`, in O(log n). A sum must be wanted if and only if some part of it
    /// is.
    fn next_that(&self, at: Timestamp, is_wanted: impl Fn(S) -> bool + Copy) -> Option<Timestamp> {
        match &self.0 {
            Form::Few(items) => items.iter().find(|item| item.0 > at && is_wanted(item.1)).map(|item| item.0),
            Form::Many(tree) => tree.next_that(tree.root, tree.height, at, is_wanted),
        }
    }

    /// Bytes on the heap, the allocator's own overhead apart.
    pub(crate) fn bytes(&self) -> usize {
        match &self.0 {
            Form::Few(items) => items.capacity() * size_of::<(Timestamp, S)>(),
            Form::Many(tree) => size_of::<Tree<S>>() + tree.leaves.bytes() + tree.inners.bytes(),
        }
    }
}

impl Schedule<Held> {
    /// The first time after `at` at which something matures that was created at `at` or before, in O(log n).
    pub(crate) fn next_known_at(&self, at: Timestamp) -> Option<Timestamp> {
        self.next_that(at, |held| held.since <= at)
    }
}

fn sum<S: Sum>(amounts: impl Iterator<Item = S>) -> S {
    amounts.fold(S::default(), S::plus)
}

#[derive(Debug)]
struct Tree<S> {
    leaves: Chunked<Leaf<S>, 1, 6>,
    inners: Chunked<Inner<S>, 0, 6>,
    /// A leaf while `height` is zero, else an inner node.
    root: u32,
    /// Levels of inner nodes above the leaves.
    height: u32,
    total: S,
}

#[derive(Debug)]
struct Leaf<S> {
    times: [Timestamp; NODE],
    amounts: [S; NODE],
    len: u32,
}

#[derive(Debug)]
struct Inner<S> {
    /// No time below child `i` is before `starts[i]`, and every time below the children before it is. That of the first
    /// child is never looked at: whatever is before the second's start belongs to it.
    starts: [Timestamp; NODE],
    /// The sum of all that is below each child.
    sums: [S; NODE],
    children: [u32; NODE],
    len: u32,
}

/// A node that came to be at the right of one that was full.
struct Split<S> {
    /// What is left in the one that was full. Sums cannot be subtracted: the earliest of two does not say what the
    /// other was.
    kept: S,
    start: Timestamp,
    sum: S,
    node: u32,
}

impl<S: Sum> Tree<S> {
    /// Of one leaf with `items`, sorted, at most [`NODE`] of them.
    fn new(items: &[(Timestamp, S)]) -> Tree<S> {
        let mut leaf = Leaf::empty();
        for (i, item) in items.iter().enumerate() {
            (leaf.times[i], leaf.amounts[i]) = *item;
        }
        leaf.len = items.len() as u32;
        let mut leaves = Chunked::new();
        leaves.push(leaf);
        let total = sum(items.iter().map(|item| item.1));
        Tree { leaves, inners: Chunked::new(), root: 0, height: 0, total }
    }

    fn add(&mut self, at: Timestamp, amount: S) {
        let split = self.add_below(self.root, self.height, at, amount);
        if let Some(split) = split {
            let mut root = Inner::empty();
            root.insert(0, Timestamp::MIN, split.kept, self.root);
            root.insert(1, split.start, split.sum, split.node);
            self.root = self.inners.push(root) as u32;
            self.height += 1;
        }
        self.total = self.total.plus(amount);
    }

    /// Adds below one node; the node that it had to be split into, if it was full.
    fn add_below(&mut self, node: u32, height: u32, at: Timestamp, amount: S) -> Option<Split<S>> {
        if height == 0 {
            return self.add_to_leaf(node, at, amount);
        }
        let inner = &self.inners[node as usize];
        let slot = inner.slot(at);
        let split = self.add_below(inner.children[slot], height - 1, at, amount);
        let inner = &mut self.inners[node as usize];
        let Some(split) = split else {
            inner.sums[slot] = inner.sums[slot].plus(amount);
            return None;
        };
        inner.sums[slot] = split.kept;
        let place = slot + 1;
        if (inner.len as usize) < NODE {
            inner.insert(place, split.start, split.sum, split.node);
            return None;
        }
        let mut right = Inner::empty();
        let kept = kept(place);
        right.take_from(inner, kept);
        let start = if kept == NODE { split.start } else { right.starts[0] };
        if place > kept || kept == NODE {
            right.insert(place - kept, split.start, split.sum, split.node);
        } else {
            inner.insert(place, split.start, split.sum, split.node);
        }
        let (kept, sum) = (inner.sum(), right.sum());
        Some(Split { kept, start, sum, node: self.inners.push(right) as u32 })
    }

    fn add_to_leaf(&mut self, node: u32, at: Timestamp, amount: S) -> Option<Split<S>> {
        let leaf = &mut self.leaves[node as usize];
        let place = match leaf.times().binary_search(&at) {
            Ok(found) => {
                leaf.amounts[found] = leaf.amounts[found].plus(amount);
                return None;
            }
            Err(place) => place,
        };
        if (leaf.len as usize) < NODE {
            leaf.insert(place, at, amount);
            return None;
        }
        let mut right = Leaf::empty();
        let kept = kept(place);
        right.take_from(leaf, kept);
        if place >= kept {
            right.insert(place - kept, at, amount);
        } else {
            leaf.insert(place, at, amount);
        }
        let (kept, start, sum) = (leaf.sum(), right.times[0], right.sum());
        Some(Split { kept, start, sum, node: self.leaves.push(right) as u32 })
    }

    fn sum_through(&self, at: Timestamp) -> S {
        let (mut node, mut before) = (self.root, S::default());
        for _ in 0..self.height {
            let inner = &self.inners[node as usize];
            let slot = inner.slot(at);
            before = before.plus(sum(inner.sums[..slot].iter().copied()));
            node = inner.children[slot];
        }
        let leaf = &self.leaves[node as usize];
        let due = leaf.times().partition_point(|time| *time <= at);
        before.plus(sum(leaf.amounts[..due].iter().copied()))
    }

    /// Below one node. Fails at most on the way to where `at` itself belongs: all that is right of it is later, so there
    /// the sum of a child says whether the search will succeed.
    fn next_that(
        &self,
        node: u32,
        height: u32,
        at: Timestamp,
        is_wanted: impl Fn(S) -> bool + Copy,
    ) -> Option<Timestamp> {
        if height == 0 {
            let leaf = &self.leaves[node as usize];
            let due = leaf.times().partition_point(|time| *time <= at);
            return (due..leaf.len as usize)
                .find(|place| is_wanted(leaf.amounts[*place]))
                .map(|place| leaf.times[place]);
        }
        let inner = &self.inners[node as usize];
        let children = (inner.slot(at)..inner.len as usize).filter(|slot| is_wanted(inner.sums[*slot]));
        children.map(|slot| inner.children[slot]).find_map(|child| self.next_that(child, height - 1, at, is_wanted))
    }
}

/// How many items a full node keeps when it is split for a new one at `place`. Half, except at the very end: there come
/// those that rise with time, the usual case, and nodes that were left half empty would stay so for ever.
const fn kept(place: usize) -> usize {
    if place == NODE { NODE } else { NODE / 2 }
}

impl<S: Sum> Leaf<S> {
    fn empty() -> Leaf<S> {
        Leaf { times: [Timestamp::MIN; NODE], amounts: [S::default(); NODE], len: 0 }
    }

    fn sum(&self) -> S {
        sum(self.amounts[..self.len as usize].iter().copied())
    }

    fn times(&self) -> &[Timestamp] {
        &self.times[..self.len as usize]
    }

    fn insert(&mut self, place: usize, at: Timestamp, amount: S) {
        let len = self.len as usize;
        self.times.copy_within(place..len, place + 1);
        self.amounts.copy_within(place..len, place + 1);
        (self.times[place], self.amounts[place]) = (at, amount);
        self.len += 1;
    }

    /// Moves the items from `kept` on out of `left`, which is full.
    fn take_from(&mut self, left: &mut Leaf<S>, kept: usize) {
        let moved = NODE - kept;
        self.times[..moved].copy_from_slice(&left.times[kept..]);
        self.amounts[..moved].copy_from_slice(&left.amounts[kept..]);
        (self.len, left.len) = (moved as u32, kept as u32);
    }
}

impl<S: Sum> Inner<S> {
    fn empty() -> Inner<S> {
        Inner { starts: [Timestamp::MIN; NODE], sums: [S::default(); NODE], children: [0; NODE], len: 0 }
    }

    fn sum(&self) -> S {
        sum(self.sums[..self.len as usize].iter().copied())
    }

    /// Which child a time belongs to.
    fn slot(&self, at: Timestamp) -> usize {
        self.starts[1..self.len as usize].partition_point(|start| *start <= at)
    }

    fn insert(&mut self, place: usize, start: Timestamp, sum: S, child: u32) {
        let len = self.len as usize;
        self.starts.copy_within(place..len, place + 1);
        self.sums.copy_within(place..len, place + 1);
        self.children.copy_within(place..len, place + 1);
        (self.starts[place], self.sums[place], self.children[place]) = (start, sum, child);
        self.len += 1;
    }

    /// Moves the children from `kept` on out of `left`, which is full.
    fn take_from(&mut self, left: &mut Inner<S>, kept: usize) {
        let moved = NODE - kept;
        self.starts[..moved].copy_from_slice(&left.starts[kept..]);
        self.sums[..moved].copy_from_slice(&left.sums[kept..]);
        self.children[..moved].copy_from_slice(&left.children[kept..]);
        (self.len, left.len) = (moved as u32, kept as u32);
    }
}

#[cfg(test)]
mod tests {
    mod exact;

    use std::collections::BTreeMap;
    use std::fmt::Debug;

    use proptest::prelude::*;

    use super::*;

    fn time(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros).unwrap()
    }

    /// Few and many distinct ones, near and at both ends of time.
    fn times() -> impl Strategy<Value = Timestamp> {
        prop_oneof![
            2 => (0..20i64).prop_map(time),
            4 => (0..4_000i64).prop_map(time),
            1 => (0..3i64).prop_map(|i| time(Timestamp::MIN.micros() + i)),
            1 => (0..3i64).prop_map(|i| time(Timestamp::MAX.micros() - i)),
        ]
    }

    fn agrees<S: Sum + PartialEq + Debug>(adds: &[(Timestamp, S)], asked: &[Timestamp]) {
        let (mut schedule, mut model) = (Schedule::new(), BTreeMap::<Timestamp, S>::new());
        for (at, amount) in adds {
            schedule.add(*at, *amount);
            let sum = model.entry(*at).or_default();
            *sum = sum.plus(*amount);
        }
        assert_eq!(schedule.total(), sum(model.values().copied()));
        for at in asked.iter().chain(model.keys()) {
            assert_eq!(schedule.sum_through(*at), sum(model.range(..=at).map(|item| *item.1)), "through {at}");
            assert_eq!(schedule.next_after(*at), model.keys().find(|time| *time > at).copied(), "after {at}");
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_map(
            adds in prop::collection::vec((times(), any::<u64>()), 0..1_500),
            asked in prop::collection::vec(times(), 0..20),
        ) {
            agrees(&adds, &asked);
        }

        #[test]
        fn wide_sums_and_pairs_agree_with_a_map(
            adds in prop::collection::vec((times(), any::<u64>(), any::<u64>()), 0..300),
            asked in prop::collection::vec(times(), 0..20),
        ) {
            let wide: Vec<_> = adds.iter().map(|add| (add.0, u128::from(add.1) << 64 | u128::from(add.2))).collect();
            let pairs: Vec<_> = adds.iter().map(|add| (add.0, (add.1, add.2))).collect();
            agrees(&wide, &asked);
            agrees(&pairs, &asked);
        }

        #[test]
        fn what_comes_next_at_any_moment_is_what_had_been_created_by_then(
            adds in prop::collection::vec((times(), 0..3i64), 0..1_500),
            asked in prop::collection::vec(times(), 0..40),
        ) {
            let (mut schedule, mut model, mut now) = (Schedule::new(), Vec::new(), 0);
            for (at, step) in adds {
                now += step;
                schedule.add(at, Held { amount: 1, since: time(now) });
                model.push((time(now), at));
            }
            for asked in asked.into_iter().chain(model.iter().map(|hold| hold.0).step_by(7)) {
                let known = model.iter().filter(|(since, at)| *since <= asked && *at > asked);
                prop_assert_eq!(schedule.next_known_at(asked), known.map(|hold| hold.1).min(), "at {}", asked);
            }
        }
    }

    #[test]
    fn falling_and_rising_times_agree_with_a_map() {
        let adds: Vec<_> = (0..3_000).map(|i| (time(i * 7), i as u64 + 1)).collect();
        agrees(&adds, &[Timestamp::MIN, Timestamp::MAX]);
        let adds: Vec<_> = adds.into_iter().rev().collect();
        agrees(&adds, &[Timestamp::MIN, Timestamp::MAX]);
    }

    #[test]
    fn an_empty_schedule_has_no_bytes_and_no_next_time() {
        let schedule = Schedule::<u64>::new();
        assert_eq!((schedule.bytes(), schedule.total()), (0, 0));
        assert_eq!((schedule.sum_through(Timestamp::MAX), schedule.next_after(Timestamp::MIN)), (0, None));
    }

    #[test]
    fn an_account_with_a_single_hold_costs_48_bytes() {
        let mut schedule = Schedule::new();
        schedule.add(time(1), Held { amount: 5, since: time(0) });
        assert_eq!(size_of::<Schedule<Held>>() + schedule.bytes(), 48);
    }

    #[test]
    fn the_difference_of_two_sums_is_right_after_they_wrapped() {
        let mut schedule = Schedule::<u64>::new();
        schedule.add(time(1), u64::MAX);
        schedule.add(time(2), 7);
        assert_eq!(schedule.total(), 6);
        assert_eq!(schedule.total().wrapping_sub(schedule.sum_through(time(1))), 7);
    }

    #[test]
    fn a_million_times_are_summed_right_in_rising_and_in_random_order() {
        const N: i64 = 1 << 20;
        let mut rising = Schedule::<u64>::new();
        (0..N).for_each(|i| rising.add(time(i * 2), 3));
        let mut random = Schedule::<u64>::new();
        // An odd factor permutes the residues of a power of two.
        (0..N).for_each(|i| random.add(time((i * 0x9_E375) % N * 2), 3));
        for schedule in [&rising, &random] {
            assert_eq!(schedule.total(), 3 * N as u64);
            for i in (0..N).step_by(997) {
                assert_eq!(schedule.sum_through(time(i * 2 + 1)), 3 * (i as u64 + 1));
                assert_eq!(schedule.next_after(time(i * 2)), (i + 1 < N).then(|| time(i * 2 + 2)));
            }
        }
        assert!(rising.bytes() <= 18 * N as usize, "{}", rising.bytes());
        assert!(random.bytes() <= 26 * N as usize, "{}", random.bytes());
    }

    #[test]
    fn a_million_holds_say_what_came_next_at_any_moment() {
        const N: i64 = 1 << 20;
        let mut rising = Schedule::new();
        let mut random = Schedule::new();
        for i in 0..N {
            rising.add(time(i + 10), Held { amount: 1, since: time(i) });
            // All matured long after: the earliest of those created by then is known to a running minimum.
            random.add(time(N + (i * 0x9_E375) % N), Held { amount: 1, since: time(i) });
        }
        let mut first = i64::MAX;
        for i in 0..N {
            first = first.min(N + (i * 0x9_E375) % N);
            if i % 997 == 0 {
                assert_eq!(rising.next_known_at(time(i)), Some(time(if i < 10 { 10 } else { i + 1 })));
                assert_eq!(random.next_known_at(time(i)), Some(time(first)));
            }
        }
        let each = |schedule: &Schedule<Held>| schedule.bytes() as f64 / N as f64;
        assert!(each(&rising) <= 26.5 && each(&random) <= 38.0, "{:.1}, {:.1}", each(&rising), each(&random));
    }
}
