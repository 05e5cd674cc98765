//! Who waits for which seq. A woken waiter is one whose seq was reached; nobody else is woken.

use std::collections::BTreeMap;
use std::task::Waker;

use smallvec::SmallVec;

use super::Level;
use crate::sync::thread::Thread;
use crate::types::Seq;

pub(super) enum Waiter {
    Thread(Thread),
    Task(Waker),
}

impl Waiter {
    pub(super) fn wake(self) {
        match self {
            Waiter::Thread(thread) => thread.unpark(),
            Waiter::Task(waker) => waker.wake(),
        }
    }

    fn is_same(&self, other: &Waiter) -> bool {
        match (self, other) {
            (Waiter::Thread(one), Waiter::Thread(other)) => one.id() == other.id(),
            (Waiter::Task(one), Waiter::Task(other)) => one.will_wake(other),
            _ => false,
        }
    }
}

type BySeq = BTreeMap<Seq, SmallVec<[Waiter; 1]>>;

#[derive(Default)]
pub(super) struct Waiters {
    acknowledged: BySeq,
    durable: BySeq,
    count: usize,
}

impl Waiters {
    /// Asking twice is asking once: a task is polled as often as its executor likes.
    pub(super) fn add(&mut self, seq: Seq, level: Level, waiter: Waiter) {
        let list = match level {
            Level::Acknowledged => &mut self.acknowledged,
            Level::Durable => &mut self.durable,
        };
        let here = list.entry(seq).or_default();
        if !here.iter().any(|other| other.is_same(&waiter)) {
            here.push(waiter);
            self.count += 1;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Takes out who is reached. They are woken after the lock is released.
    pub(super) fn take(&mut self, acknowledged: Seq, durable: Seq, to: &mut Vec<Waiter>) {
        let before = to.len();
        take_up_to(&mut self.acknowledged, acknowledged, to);
        take_up_to(&mut self.durable, durable, to);
        self.count -= to.len() - before;
    }

    pub(super) fn take_all(&mut self) -> Vec<Waiter> {
        let mut all = Vec::with_capacity(self.count);
        self.take(Seq::new(u64::MAX - 1), Seq::new(u64::MAX - 1), &mut all);
        all
    }
}

fn take_up_to(list: &mut BySeq, seq: Seq, to: &mut Vec<Waiter>) {
    while let Some(first) = list.first_entry()
        && *first.key() <= seq
    {
        to.extend(first.remove());
    }
}
