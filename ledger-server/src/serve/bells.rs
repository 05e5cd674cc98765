//! One wake-up for a commit and a worker, in place of one for each request.
//!
//! The log wakes who waits from a thread of its own, and to a runtime each such wake-up is an entry in a queue that all workers
//! share. So a request does not ask the log itself. Those that a worker polled wait at that worker's bell, and the bell's task
//! asks the log once, for the least seq among them; woken, it wakes the others from within the runtime, where that is cheap.
//!
//! What must hold: whenever somebody waits at a bell, the log has been asked for his seq or for an earlier one, or the task
//! is about to look. So nobody sleeps past his seq, nor past a halt, which wakes everybody.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::{Future, IntoFuture, poll_fn};
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use ledger_core::{CommitFuture, Ledger, Seq};
use smallvec::SmallVec;
use tokio::task::AbortHandle;

/// The bells of a runtime's workers. Their tasks end with this.
pub(super) struct Bells {
    ledger: Ledger,
    bells: Box<[Arc<Bell>]>,
    tasks: Vec<AbortHandle>,
}

impl Bells {
    /// Bells for `workers` threads that wait for `ledger`. Called within their runtime. Without one, each request asks the log
    /// for itself.
    pub(super) fn hang(ledger: Ledger, workers: usize) -> Arc<Bells> {
        let bells: Box<[Arc<Bell>]> = (0..workers).map(|_| Arc::default()).collect();
        let task = |bell: &Arc<Bell>| {
            let (bell, ledger) = (Arc::clone(bell), ledger.clone());
            tokio::spawn(poll_fn(move |cx| bell.ring(&ledger, cx))).abort_handle()
        };
        let tasks = bells.iter().map(task).collect();
        Arc::new(Bells { ledger, bells, tasks })
    }

    /// Ready when an answer that rests on `seq` may leave, or never can, or is to be asked for where there are no bells.
    pub(super) fn poll(&self, seq: Seq, cx: &mut Context<'_>) -> Poll<()> {
        if self.bells.is_empty() || self.ledger.acknowledged() >= seq {
            return Poll::Ready(());
        }
        let mut state = self.bells[worker() % self.bells.len()].lock();
        let state = &mut *state;
        // One that was reached is one whose task has yet to look.
        let acknowledged = self.ledger.acknowledged();
        if state.asked.as_ref().is_none_or(|asked| seq < asked.seq || asked.seq <= acknowledged) {
            // Before it was polled once the task cannot be woken: it asks for itself then.
            if let Some(task) = &state.task {
                let mut asked = Asked::of(&self.ledger, seq);
                if asked.poll(&mut Context::from_waker(task)).is_ready() {
                    return Poll::Ready(());
                }
                state.asked = Some(asked);
            }
        }
        // A connection is polled for other reasons too.
        let here = state.waiting.entry(seq).or_default();
        if !here.iter().any(|waker| waker.will_wake(cx.waker())) {
            here.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Bells {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Who waits at one worker.
#[derive(Default)]
struct Bell(Mutex<State>);

#[derive(Default)]
struct State {
    /// Wakes the bell's task.
    task: Option<Waker>,
    /// What the log was asked for, in the task's name.
    asked: Option<Asked>,
    /// By what they wait for: mostly one each, and more where reads rest on one entry.
    waiting: BTreeMap<Seq, SmallVec<[Waker; 1]>>,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task: wakes who need not wait any more, and asks the log for the others. It has no end.
    fn ring(&self, ledger: &Ledger, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut state = self.lock();
            state.task = Some(cx.waker().clone());
            let woken = match ledger.halted() {
                Some(_) => mem::take(&mut state.waiting),
                None => {
                    let waiting = state.waiting.split_off(&ledger.acknowledged().next());
                    mem::replace(&mut state.waiting, waiting)
                }
            };
            state.asked = state.waiting.keys().next().map(|seq| Asked::of(ledger, *seq));
            let is_reached = state.asked.as_mut().is_some_and(|asked| asked.poll(cx).is_ready());
            drop(state);
            woken.into_values().flatten().for_each(Waker::wake);
            if !is_reached {
                return Poll::Pending;
            }
        }
    }
}

/// A question to the log.
struct Asked {
    seq: Seq,
    reached: CommitFuture<()>,
}

impl Asked {
    fn of(ledger: &Ledger, seq: Seq) -> Asked {
        Asked { seq, reached: ledger.reached(seq).into_future() }
    }

    /// Ready when it was reached, or never can be.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.reached).poll(cx).map(drop)
    }
}

/// This thread's number, in the order in which they first asked.
fn worker() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
    }
    // Relaxed: it only counts.
    let number = NUMBER.get().unwrap_or_else(|| THREADS.fetch_add(1, Ordering::Relaxed));
    NUMBER.set(Some(number));
    number
}

#[cfg(test)]
mod tests;
