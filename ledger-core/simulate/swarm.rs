//! What a seed draws before anything happens: how large the world is, how the ledger is set up, what is asked of it and
//! what goes wrong how often.
//!
//! Every rate is drawn anew, and many are often zero (swarm testing): faults that are always there hide what only happens
//! without them.

use std::time::Duration;

use ledger_core::withdrawals::Policy;
use ledger_core::{Durability, OnSideFailure};

use crate::bank::Rates;
use crate::coverage::Fault;
use crate::stage::Chance;

#[derive(Clone, Debug)]
pub(crate) struct Swarm {
    pub(crate) users: u64,
    pub(crate) currencies: &'static [&'static str],
    pub(crate) segment_bytes: u64,
    pub(crate) durability: Durability,
    /// Whether it lies on a mirror, and what it does then when one side fails.
    pub(crate) mirror: Option<OnSideFailure>,
    pub(crate) places: Option<usize>,
    pub(crate) policy: Policy,
    pub(crate) rates: Rates,
    pub(crate) bank_can_be_asked: bool,
    /// How many times the ledger is opened.
    pub(crate) lives: u64,
    /// How much happens in one life.
    pub(crate) steps: u64,
    /// How many callers there are, and how many calls each has in flight.
    pub(crate) clients: usize,
    pub(crate) in_flight: usize,
    /// How many withdrawals the executor works on at once.
    pub(crate) workers: usize,
    /// How often each actor takes the next step.
    pub(crate) weights: Weights,
    /// Of the commands, in percent: held, repeats of an earlier one, and its key for something else.
    pub(crate) held: u64,
    pub(crate) repeats: u64,
    pub(crate) misuses: u64,
    /// Whether commands carry as much metadata as they may, so that segments fill up.
    pub(crate) is_bulky: bool,
    /// The highest amount; very high ones meet the limit of a balance.
    pub(crate) amount_max: u64,
    /// How often a life is under each fault, in the order of [`Fault::ALL`].
    pub(crate) faults: [u64; Fault::ALL.len()],
    /// A fault of the disk strikes within so many of its operations.
    pub(crate) fault_within: u64,
    /// In percent: a second fault in a life that has one, and a read that fails while the ledger is opened.
    pub(crate) second_faults: u64,
    pub(crate) failing_reads: u64,
    /// What an operation of the disk takes at most.
    pub(crate) disk_latency_max: Duration,
    /// How many crash images of each life are opened on the side.
    pub(crate) photographs: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Weights {
    pub(crate) issue: u64,
    pub(crate) collect: u64,
    pub(crate) log: u64,
    pub(crate) executor: u64,
    pub(crate) orders: u64,
    pub(crate) time: u64,
    pub(crate) checkpoints: u64,
    pub(crate) backups: u64,
    pub(crate) reads: u64,
    pub(crate) withdraws: u64,
    pub(crate) batches: u64,
}

impl Swarm {
    pub(crate) fn draw(chance: &mut Chance) -> Swarm {
        let is_bulky = chance.below(6) == 0;
        let durability = match chance.below(4) {
            0 => Durability::Interval(Duration::from_millis(10)),
            _ => Durability::Sync,
        };
        let drawn = Swarm {
            users: chance.pick(&[2, 3, 4, 6]),
            currencies: chance.pick(&[&["USD"], &["USD"], &["USD", "EUR"]]),
            segment_bytes: chance.pick(&[1 << 20, 1 << 20, 2 << 20]),
            durability,
            mirror: match chance.below(32) {
                0 => Some(OnSideFailure::GoOn),
                1 => Some(OnSideFailure::Halt),
                _ => None,
            },
            places: chance.pick(&[None, Some(2), Some(4)]),
            policy: policy(chance),
            rates: rates(chance),
            bank_can_be_asked: chance.below(6) > 0,
            lives: 2 + chance.below(3),
            steps: 60 + chance.below(if is_bulky { 200 } else { 140 }),
            clients: chance.pick(&[1, 2, 4]),
            in_flight: chance.pick(&[1, 3, 6]),
            workers: chance.pick(&[1, 2, 4]),
            weights: Weights {
                issue: 2 + chance.below(4),
                collect: 1 + chance.below(6),
                log: chance.pick(&[1, 4, 8]),
                executor: chance.pick(&[1, 4, 8]),
                orders: chance.pick(&[0, 1, 3]),
                time: 1 + chance.below(3),
                checkpoints: chance.pick(&[0, 1, 1, 2]),
                backups: u64::from(chance.below(12) == 0),
                reads: chance.pick(&[5, 20, 40]),
                withdraws: chance.pick(&[5, 20, 50]),
                batches: chance.pick(&[0, 10, 25]),
            },
            held: chance.pick(&[0, 20, 60]),
            repeats: chance.pick(&[2, 10, 20]),
            misuses: chance.pick(&[1, 4]),
            is_bulky,
            amount_max: if chance.below(10) == 0 { 1 << 53 } else { 1_000 },
            faults: faults(chance),
            fault_within: chance.pick(&[20, 50, 50, 100]),
            second_faults: chance.pick(&[0, 0, 30]),
            failing_reads: chance.pick(&[0, 0, 0, 50]),
            disk_latency_max: Duration::from_millis(chance.pick(&[0, 0, 5, 2_000])),
            photographs: 1 + chance.below(3),
        };
        drawn.for_rare_cells(chance)
    }

    /// A quarter of the worlds are made for what seldom comes about by itself: much money, long lives, a busy executor,
    /// and a bank that leads there.
    fn for_rare_cells(self, chance: &mut Chance) -> Swarm {
        let (second, rates) = (Duration::from_secs(1), self.rates);
        let policy = Policy { backoff: second, settle_delay: second, inquiry_interval: second, ..self.policy.clone() };
        let swift = Rates { latency_max: Duration::from_millis(1), ..rates };
        let (orders, policy, rates) = match chance.below(12) {
            // It says nothing until the deadline.
            0 => {
                let policy = Policy { deadline: second * 5, idempotency_window: None, ..policy };
                (0, policy, Rates { silent_paid: 30, silent_unpaid: 30, unanswered: 80, lagging: 0, ..swift })
            }
            // It does not know what it may have, and the last attempt cannot be sent.
            1 => {
                let policy = Policy {
                    attempts_max: 2,
                    deadline: second * 600,
                    idempotency_window: Some(second * 3600),
                    ..policy
                };
                (0, policy, Rates { not_sent: 40, accepted: 0, silent_unpaid: 80, unanswered: 0, ..swift })
            }
            // It tells much by itself, not all of it true, and is slow to answer.
            2 => {
                let slow = Rates { latency_max: second * 30, ..rates };
                (
                    4,
                    policy,
                    Rates { accepted: 30, silent_paid: 30, contradicts: 30, told_late: 30, comes_back: 20, ..slow },
                )
            }
            _ => return self,
        };
        let weights = Weights { orders, executor: 8, log: 8, withdraws: 40, ..self.weights };
        Swarm {
            policy,
            rates,
            weights,
            bank_can_be_asked: true,
            places: None,
            workers: 4,
            steps: self.steps + 80,
            fault_within: 150,
            amount_max: 1_000_000,
            ..self
        }
    }
}

fn faults(chance: &mut Chance) -> [u64; Fault::ALL.len()] {
    let mut weights = Fault::ALL.map(|_| chance.pick(&[0, 1, 1, 4]));
    weights[Fault::Calm as usize] = weights[Fault::Calm as usize].max(1);
    weights
}

fn policy(chance: &mut Chance) -> Policy {
    let second = Duration::from_secs(1);
    Policy {
        attempts_max: chance.pick(&[1, 2, 4]),
        backoff: second * chance.pick(&[1, 3]),
        backoff_max: second * chance.pick(&[4, 60]),
        settle_delay: second * chance.pick(&[1, 5]),
        inquiry_interval: second * chance.pick(&[1, 5]),
        deadline: second * chance.pick(&[5, 20, 600, 24 * 3600]),
        idempotency_window: chance.pick(&[None, Some(second * 30), Some(second * 3600)]),
    }
}

fn rates(chance: &mut Chance) -> Rates {
    Rates {
        accepted: chance.pick(&[0, 20]),
        rejected: chance.pick(&[0, 15]),
        not_sent: chance.pick(&[0, 10, 50]),
        silent_paid: chance.pick(&[0, 10, 25]),
        silent_unpaid: chance.pick(&[0, 10]),
        silent_late: chance.pick(&[0, 10]),
        refused_later: chance.pick(&[0, 50]),
        unanswered: chance.pick(&[0, 20]),
        lagging: chance.pick(&[0, 20]),
        contradicts: chance.pick(&[0, 0, 0, 20]),
        told_late: chance.pick(&[0, 20]),
        comes_back: chance.pick(&[0, 20]),
        latency_max: Duration::from_millis(chance.pick(&[1, 1_000, 30_000])),
    }
}
