//! A clock that moves only when it is told to.

use std::time::Duration;

use crate::sync::{Arc, Mutex};
use crate::sys::Clock;
use crate::types::Timestamp;

/// Clones show the same time.
#[derive(Clone, Debug)]
pub struct SimClock {
    now: Arc<Mutex<Now>>,
}

#[derive(Debug)]
struct Now {
    wall: Timestamp,
    monotonic: Duration,
}

impl SimClock {
    /// A clock that stands at `wall`.
    pub fn at(wall: Timestamp) -> SimClock {
        SimClock { now: Arc::new(Mutex::new(Now { wall, monotonic: Duration::ZERO })) }
    }

    /// Moves both clocks on.
    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock();
        now.wall = now.wall.saturating_add(by);
        now.monotonic += by;
    }

    /// Steps the wall clock, forwards or back; the monotonic one does not notice.
    pub fn set_wall(&self, wall: Timestamp) {
        self.now.lock().wall = wall;
    }
}

impl Clock for SimClock {
    fn wall(&self) -> Timestamp {
        self.now.lock().wall
    }

    fn monotonic(&self) -> Duration {
        self.now.lock().monotonic
    }
}
