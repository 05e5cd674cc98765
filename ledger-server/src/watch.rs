//! Tells in the log what befalls the ledger while nobody asks: that it halted, that it goes on with one side of a mirror, that its
//! log has no room, and that a checkpoint failed.

use std::time::{Duration, Instant};

use ledger_core::Ledger;

use crate::checkpoints;
use crate::error::Code;
use crate::metrics;

/// How often it is looked whether something did.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// At most this often it is told that there is no room, or that there is again.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Who watches a ledger.
pub(crate) struct Watch {
    ledger: Ledger,
    /// Where it lies, for messages.
    place: String,
    checkpoints: checkpoints::Teller,
    is_halt_told: bool,
    is_loss_told: bool,
    room: Room,
}

impl Watch {
    /// For the ledger that lies in `place`.
    pub(crate) fn new(ledger: Ledger, place: String) -> Watch {
        let checkpoints = checkpoints::Teller::new(ledger.clone());
        let room = Room { refused: metrics::rejections(Code::StorageFull), ..Room::default() };
        Watch { ledger, place, checkpoints, is_halt_told: false, is_loss_told: false, room }
    }

    /// Looks now and again, for ever.
    pub(crate) async fn run(&mut self) {
        loop {
            self.look();
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Writes a line for each thing that came about since the last look.
    pub(crate) fn look(&mut self) {
        let place = &self.place;
        if let (false, Some(halted)) = (self.is_halt_told, self.ledger.halted()) {
            self.is_halt_told = true;
            tracing::error!(
                "the ledger in {place} halted: {}; it refuses everything until the server is started again: look at the disk first",
                halted.reason
            );
        }
        if let (false, Some(reason)) = (self.is_loss_told, self.ledger.degraded()) {
            self.is_loss_told = true;
            tracing::error!(
                "{reason}; until the server is started with both again, the other directory has the only copy"
            );
        }
        match self.room.news(metrics::rejections(Code::StorageFull), self.ledger.is_out_of_room(), Instant::now()) {
            Some(true) => tracing::warn!(
                "commands are refused with 507 storage_full: the log has no room for its next file in {place}; free space there \
                 (df), or raise the limit of open files if that is what lacks"
            ),
            Some(false) => tracing::info!("the log has room again, and commands are accepted"),
            None => {}
        }
        self.checkpoints.look();
    }
}

/// Whether commands are refused for want of room, as far as that was told.
#[derive(Default)]
struct Room {
    /// How many were at the last look.
    refused: u64,
    lacks: bool,
    is_lack_told: bool,
    told_at: Option<Instant>,
}

impl Room {
    /// Whether to say now that room lacks, or that it no longer does. `refused` counts commands; `is_full` is what the log last found.
    fn news(&mut self, refused: u64, is_full: bool, now: Instant) -> Option<bool> {
        self.lacks = refused > self.refused || is_full && self.lacks;
        self.refused = refused;
        let is_due = self.told_at.is_none_or(|at| now.saturating_duration_since(at) >= TELL_EVERY);
        if self.lacks == self.is_lack_told || !is_due {
            return None;
        }
        (self.is_lack_told, self.told_at) = (self.lacks, Some(now));
        Some(self.lacks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_room_is_told_when_it_begins_and_when_it_ends_and_not_more_often_than_every_ten_seconds() {
        let (begun, mut room) = (Instant::now(), Room::default());
        let mut told = Vec::new();
        // A second each: so many are refused so far, and the log is full or not.
        let full = |seconds: u64| (1..=seconds).map(|n| (n, true));
        let seconds = [(0, false), (0, true)].into_iter().chain(full(3)).chain([(3, true); 20]).chain([(3, false); 3]);
        // It comes and goes.
        let seconds = seconds.chain((4..30).map(|n| (n / 2, n % 2 == 0))).chain([(15, false); 12]);
        for (at, (refused, is_full)) in (0..).zip(seconds) {
            told.extend(room.news(refused, is_full, begun + Duration::from_secs(at)).map(|lacks| (at, lacks)));
        }
        assert_eq!(told.first(), Some(&(2, true)), "not before a command was refused");
        assert_eq!(told.get(1), Some(&(25, false)), "when the log has found room");
        assert!(told.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 10 && pair[1].1 != pair[0].1), "{told:?}");
        assert_eq!(told.last().map(|(_, lacks)| *lacks), Some(false), "{told:?}");
    }
}
