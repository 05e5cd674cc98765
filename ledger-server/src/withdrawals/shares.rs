//! How the workers are shared between new withdrawals and the others.

/// New withdrawals (their first attempt) and the others (retries, inquiries, resumed work) are each entitled to half of
/// the workers, the odd one going to the new; what one does not use the other may. So neither a surge nor a backlog
/// after a restart can shut the other out.
#[derive(Debug)]
pub(crate) struct Shares {
    workers: usize,
    /// With a single worker nothing can be halved: each goes first in turn.
    fresh_first: bool,
}

/// How many of each are under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Busy {
    pub(crate) fresh: usize,
    pub(crate) other: usize,
}

impl Shares {
    pub(crate) fn new(workers: usize) -> Shares {
        Shares { workers: workers.max(1), fresh_first: true }
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.workers
    }

    /// Fills the free workers. `take(fresh, max)` hands out up to `max` of a kind, and says how many.
    pub(crate) fn fill(&mut self, busy: Busy, mut take: impl FnMut(bool, usize) -> usize) {
        let mut free = self.workers.saturating_sub(busy.fresh + busy.other);
        let fresh_share = self.workers.div_ceil(2);
        let entitled = [
            (true, fresh_share.saturating_sub(busy.fresh)),
            (false, (self.workers - fresh_share).saturating_sub(busy.other)),
        ];
        let leftover = if self.workers == 1 && !self.fresh_first {
            [(false, 1), (true, 1)]
        } else {
            [(true, self.workers), (false, self.workers)]
        };
        let rounds: &[(bool, usize)] = if self.workers == 1 { &leftover } else { &[entitled, leftover].concat() };
        for &(fresh, max) in rounds {
            let max = max.min(free);
            if max > 0 {
                let taken = take(fresh, max);
                debug_assert!(taken <= max);
                free -= taken.min(max);
                if taken > 0 {
                    self.fresh_first = !fresh;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills from two heaps, and says what was taken of each.
    fn fill(shares: &mut Shares, busy: Busy, fresh: usize, other: usize) -> (usize, usize) {
        let (mut fresh_left, mut other_left) = (fresh, other);
        shares.fill(busy, |is_fresh, max| {
            let heap = if is_fresh { &mut fresh_left } else { &mut other_left };
            let taken = max.min(*heap);
            *heap -= taken;
            taken
        });
        (fresh - fresh_left, other - other_left)
    }

    #[test]
    fn each_kind_has_half_while_both_wait_and_all_while_it_waits_alone() {
        let table = [
            // workers, busy with (fresh, other), waiting (fresh, other), taken (fresh, other)
            (8, (0, 0), (100, 100), (4, 4)),
            (8, (0, 0), (100, 0), (8, 0)),
            (8, (0, 0), (0, 100), (0, 8)),
            (8, (0, 0), (1, 100), (1, 7)),
            (8, (0, 0), (100, 1), (7, 1)),
            (8, (0, 7), (100, 100), (1, 0)),
            (8, (7, 0), (100, 100), (0, 1)),
            (8, (4, 3), (100, 100), (0, 1)),
            (8, (3, 4), (100, 100), (1, 0)),
            (8, (8, 0), (100, 100), (0, 0)),
            (7, (0, 0), (100, 100), (4, 3)),
            (1, (1, 0), (100, 100), (0, 0)),
        ];
        for (workers, (fresh, other), waiting, taken) in table {
            let mut shares = Shares::new(workers);
            let filled = fill(&mut shares, Busy { fresh, other }, waiting.0, waiting.1);
            assert_eq!(filled, taken, "{workers} workers, {fresh} + {other} busy, waiting {waiting:?}");
        }
    }

    #[test]
    fn a_single_worker_serves_both_in_turn() {
        let mut shares = Shares::new(1);
        let served: Vec<_> = (0..4).map(|_| fill(&mut shares, Busy::default(), 9, 9)).collect();
        assert_eq!(served, [(1, 0), (0, 1), (1, 0), (0, 1)]);
        assert_eq!(fill(&mut shares, Busy::default(), 0, 9), (0, 1));
    }
}
