//! Checkpoints by themselves: a thread that makes one whenever the log has grown by so much, so that an opening never has
//! to replay more. Padding counts a quarter: a log of lone commits is nearly all padding, which is read and not replayed, and a
//! busy one would else write its accounts every few seconds.
//!
//! The log says when it begins a segment; nothing is looked at in between. A checkpoint that fails is counted with its reason,
//! a panic's included, and tried again then. Where the opening found that nothing could take the newest snapshot's place, one
//! is made at once, or if there is nothing new yet, with the log's next segment.

use crate::checkpoint::CheckpointError;
use crate::ledger::Engine;
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, Condvar, Mutex, Weak};

/// Tells the thread to look, or to end.
#[derive(Default)]
struct Signal {
    state: Mutex<Wanted>,
    changed: Condvar,
}

#[derive(Default)]
struct Wanted {
    look: bool,
    end: bool,
}

impl Signal {
    fn tell(&self, change: impl FnOnce(&mut Wanted)) {
        change(&mut self.state.lock());
        self.changed.notify_one();
    }

    fn is_over(&self) -> bool {
        self.state.lock().end
    }

    /// Waits until it is time to look; `false`: to end.
    fn wait(&self) -> bool {
        let mut wanted = self.state.lock();
        while !wanted.look && !wanted.end {
            self.changed.wait(&mut wanted);
        }
        wanted.look = false;
        !wanted.end
    }
}

/// The thread; it ends with this.
pub(super) struct Keeper {
    signal: Arc<Signal>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Keeper {
    /// Starts the thread, which keeps no ledger open by itself.
    pub(super) fn start(engine: &Arc<Engine>, log_bytes: u64) -> std::io::Result<Keeper> {
        let signal = Arc::new(Signal::default());
        let of_log = Arc::clone(&signal);
        engine.wal.on_segment_begun(Box::new(move || of_log.tell(|wanted| wanted.look = true)));
        // What the opening had to read may already be too much.
        signal.tell(|wanted| wanted.look = true);
        let (of_thread, engine) = (Arc::clone(&signal), Arc::downgrade(engine));
        let thread = thread::Builder::new()
            .name("ledger-checkpoint".to_owned())
            .spawn(move || run(&of_thread, &engine, log_bytes))?;
        Ok(Keeper { signal, thread: Mutex::new(Some(thread)) })
    }

    /// Gives up what is under way and ends the thread.
    pub(super) fn stop(&self) {
        self.signal.tell(|wanted| wanted.end = true);
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // It has nothing to say: a panic in it left no lock held that anyone waits for.
            let _ = thread.join();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(signal: &Signal, engine: &Weak<Engine>, log_bytes: u64) {
    while signal.wait() {
        let Some(engine) = engine.upgrade() else { return };
        if engine.opening_bytes_since() >= log_bytes || engine.is_unbacked() {
            // Other failures are counted, and it is tried again when the log has grown.
            if let Err(CheckpointError::Closing | CheckpointError::Halted(_)) = engine.checkpoint(&|| signal.is_over())
            {
                return;
            }
        }
    }
}
