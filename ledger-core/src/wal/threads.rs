//! Who drives the state machines: two threads, or whoever waits.

use std::time::Instant;

use super::background::Background;
use super::group_commit::{Committer, Due};
use super::segment::Failure;
use super::shared::{Shared, Wake};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, Ordering};

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

pub(super) fn spawn(shared: &Arc<Shared>, engine: Engine) -> std::io::Result<Drivers> {
    let Engine { committer, background } = engine;
    let background = start("ledger-background", shared, |shared| run_background(shared, background))?;
    let committer = match start("ledger-log", shared, |shared| run_committer(shared, committer)) {
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
struct HaltOnPanic<'a>(&'a Shared);

impl Drop for HaltOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.halt("a thread of the log panicked");
        }
    }
}

/// Below so many waiters a delay costs more than it gathers.
const DELAY_WAITERS_MIN: usize = 32;

fn run_committer(shared: &Shared, mut committer: Committer) {
    shared.committer.is_this(thread::current());
    let delay = shared.options.commit_delay;
    let mut segments_begun = 0;
    while !committer.is_done() && shared.halted().is_none() {
        match committer.due(shared) {
            Due::Now if !delay.is_zero() && shared.waiters.lock().len() >= DELAY_WAITERS_MIN => {
                thread::sleep(delay);
                settle(shared, committer.step(shared));
            }
            Due::Now => settle(shared, committer.step(shared)),
            Due::At(at) if at <= Instant::now() => settle(shared, committer.step(shared)),
            _ => {
                let look = || if shared.halted().is_some() { Due::Now } else { committer.due(shared) };
                shared.committer.sleep(Wake::ForAnything, look);
                continue;
            }
        }
        // Relaxed: this thread is the one that counts.
        let begun = shared.segments_begun.load(Ordering::Relaxed);
        let is_urgent = begun != segments_begun || shared.room.wants_spare();
        segments_begun = begun;
        shared.wake_background(is_urgent);
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
