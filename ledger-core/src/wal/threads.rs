//! Who drives the state machines: two threads, or whoever waits.

use std::time::Instant;

use super::background::Background;
use super::group_commit::{Committer, Due};
use super::segment::Failure;
use super::shared::{Shared, Wake};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, Mutex, Ordering};

pub(super) enum Drivers {
    Threads {
        committer: JoinHandle<()>,
        background: JoinHandle<()>,
    },
    /// Nobody: whoever waits takes the steps himself, one at a time.
    Manual(Box<Engine>),
    /// All is done.
    Stopped,
}

pub(super) struct Engine {
    pub(super) committer: Committer,
    pub(super) background: Background,
}

impl Engine {
    /// Takes the next step of either. `false`: there is nothing to do.
    pub(super) fn step(&mut self, shared: &Shared) -> bool {
        if self.committer.due(shared) == Due::Now {
            settle(shared, self.committer.step(shared));
            return true;
        }
        if self.background.due(shared) == Due::Now {
            settle(shared, self.background.step(shared));
            return true;
        }
        false
    }
}

fn settle(shared: &Shared, step: Result<(), Failure>) {
    if let Err(failure) = step {
        shared.halt(&format!("{}: {}", failure.context, failure.source));
    }
}

/// Commits once, or syncs, or stops, and tells the background. Whoever has the committer does it: the log's thread, or a
/// caller who found that one asleep.
pub(super) fn commit(shared: &Shared, committer: &mut Committer) {
    // Relaxed: who has the committer is the one that counts.
    let before = shared.segments_begun.load(Ordering::Relaxed);
    settle(shared, committer.step(shared));
    let is_urgent = shared.segments_begun.load(Ordering::Relaxed) != before || shared.room.wants_spare();
    shared.wake_background(is_urgent);
}

pub(super) fn spawn(
    shared: &Arc<Shared>,
    committer: &Arc<Mutex<Committer>>,
    background: Background,
) -> std::io::Result<Drivers> {
    let committer = Arc::clone(committer);
    let background = start("ledger-background", shared, |shared| run_background(shared, background))?;
    let committer = match start("ledger-log", shared, move |shared| run_committer(shared, &committer)) {
        Ok(committer) => committer,
        Err(err) => {
            shared.halt("the log's thread could not be started");
            let _ = background.join();
            return Err(err);
        }
    };
    Ok(Drivers::Threads { committer, background })
}

fn start(
    name: &str,
    shared: &Arc<Shared>,
    run: impl FnOnce(&Shared) + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _guard = HaltOnPanic(&shared);
        run(&shared);
    })
}

/// A log whose thread is gone must not let anybody wait for it.
pub(super) struct HaltOnPanic<'a>(pub(super) &'a Shared);

impl Drop for HaltOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.halt("a thread of the log panicked");
        }
    }
}

/// Below so many waiters a delay costs more than it gathers.
const DELAY_WAITERS_MIN: usize = 32;

fn run_committer(shared: &Shared, committer: &Mutex<Committer>) {
    shared.committer.is_this(thread::current());
    let delay = shared.options.commit_delay;
    while shared.halted().is_none() {
        // Had for a commit at a time. A caller takes it only while this thread sleeps.
        let mut mine = committer.lock();
        if mine.is_done() {
            break;
        }
        match mine.due(shared) {
            Due::Now if !delay.is_zero() && shared.waiters.lock().len() >= DELAY_WAITERS_MIN => {
                thread::sleep(delay);
                commit(shared, &mut mine);
            }
            Due::Now => commit(shared, &mut mine),
            Due::At(at) if at <= Instant::now() => commit(shared, &mut mine),
            _ => {
                drop(mine);
                let look = || if shared.halted().is_some() { Due::Now } else { committer.lock().due(shared) };
                shared.committer.sleep(Wake::ForAnything, look);
            }
        }
    }
}

fn run_background(shared: &Shared, mut background: Background) {
    shared.background.is_this(thread::current());
    while shared.halted().is_none() {
        match background.due(shared) {
            Due::Now => settle(shared, background.step(shared)),
            _ if shared.is_stopping() => break,
            _ => shared.background.sleep(Wake::ForUrgent, || {
                if shared.halted().is_some() || shared.is_stopping() { Due::Now } else { background.due(shared) }
            }),
        }
    }
}
