//! Who waits for a record: blocked, polled, or by doing the log's work himself.
//!
//! A waiter registers before he asks the log to hurry, and is woken when his seq is reached, not before. What must hold: a
//! record that was appended is written even if nobody waits for it; so whoever could have woken the log and did not (a
//! record that was alone) leaves that to the answer that rests on it, which calls [`Wal::begin`] when it is given up.

use std::task::{Context, Poll};

use super::group_commit::Due;
use super::options::Durability;
use super::threads::{self, Drivers, HaltOnPanic};
use super::waiters::Waiter;
use super::{Level, Wal};
use crate::error::Halted;
use crate::sync::thread;
use crate::types::Seq;

impl Wal {
    /// Blocks until [`Wal::reached`] has an answer. `seq` must have been appended.
    pub(crate) fn wait(&self, seq: Seq, level: Level) -> Result<(), Halted> {
        let shared = self.shared();
        if let Some(answer) = shared.reached(seq, level) {
            return answer;
        }
        if !shared.options.threads {
            return self.drive(seq, level);
        }
        if let Some(answer) = self.lead(seq, level) {
            return answer;
        }
        if let Some(answer) = shared.register(seq, level, Waiter::Thread(thread::current())) {
            return answer;
        }
        shared.want(seq, level);
        loop {
            thread::park();
            // Threads are unparked for other reasons too, and this one stays registered until its seq is reached.
            if let Some(answer) = shared.reached(seq, level) {
                return answer;
            }
        }
    }

    /// Commits in the place of the log's thread while that one sleeps: what is alone in the log is then written and synced
    /// by who waits for it, without waking anybody. One commit, in which `seq` is.
    fn lead(&self, seq: Seq, level: Level) -> Option<Result<(), Halted>> {
        let shared = self.shared();
        // Not while it unwinds: the guard below could not tell a failed commit from what failed before.
        let may = shared.options.durability == Durability::Sync && !thread::panicking();
        if !may || !shared.committer.is_asleep() {
            return None;
        }
        let mut committer = self.log.committer.as_ref()?.try_lock()?;
        if committer.due(shared) == Due::Now {
            let _guard = HaltOnPanic(shared);
            threads::commit(shared, &mut committer);
        }
        drop(committer);
        shared.reached(seq, level)
    }

    /// Sees to it that `seq`, which was appended, is on its way to the disk although nobody waits for it. Whoever gives up
    /// an answer that rests on `seq`, or only looks whether it may leave, calls this: a record that is alone in the log
    /// wakes nobody by itself.
    pub(crate) fn begin(&self, seq: Seq) {
        let shared = self.shared();
        if shared.reached(seq, Level::Acknowledged).is_none() {
            shared.wake_committer();
        }
    }

    /// As [`Wal::wait`], without a thread.
    pub(crate) fn poll(&self, seq: Seq, level: Level, cx: &mut Context<'_>) -> Poll<Result<(), Halted>> {
        let shared = self.shared();
        if let Some(answer) = shared.reached(seq, level) {
            return Poll::Ready(answer);
        }
        if !shared.options.threads {
            return Poll::Ready(self.drive(seq, level));
        }
        if let Some(answer) = shared.register(seq, level, Waiter::Task(cx.waker().clone())) {
            return Poll::Ready(answer);
        }
        shared.want(seq, level);
        Poll::Pending
    }

    /// Does the work itself until there is an answer.
    fn drive(&self, seq: Seq, level: Level) -> Result<(), Halted> {
        let shared = self.shared();
        shared.want(seq, level);
        loop {
            if let Some(answer) = shared.reached(seq, level) {
                // What stands behind the commits' back is done before the caller goes on, so that each run is the same.
                while self.step() {}
                return answer;
            }
            if !self.step() && shared.reached(seq, level).is_none() {
                shared.halt(&format!("seq {seq} was waited for and nobody appended it"));
            }
        }
    }

    /// Without threads: takes one step. `false`: there is nothing to do.
    pub(super) fn step(&self) -> bool {
        match self.log.drivers.try_lock().as_deref_mut() {
            Some(Drivers::Manual(engine)) => engine.step(self.shared()),
            Some(_) => false,
            None => {
                thread::yield_now(); // Another thread takes a step.
                true
            }
        }
    }
}
