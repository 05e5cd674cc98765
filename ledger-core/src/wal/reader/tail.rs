//! What follows the last good frame: nothing, a write that a power cut tore, or damage.
//!
//! What must hold: nothing that anything in the directory says was durable is taken for a torn write.

use super::cursor::Cursor;
use super::end::Torn;
use super::files::{Segment, read_link};
use super::window::Window;
use super::{Reading, damaged, io_error};
use crate::error::OpenError;
use crate::sys::ReadFrom;
use crate::wal::frame::{BLOCK, Header};
use crate::wal::names;
use crate::wal::segment::LINK_AT;

impl Cursor<'_> {
    pub(super) fn check_closed(&mut self, segment: &Segment, name: &str, from: ReadFrom) -> Result<(), OpenError> {
        let end = self.at.offset + BLOCK as u64;
        let zeros = segment.open_file().zeros_from(from, end).map_err(io_error("reading", name))?;
        if zeros > end {
            return Err(damaged(name, end, Some(self.at.next_seq), "there is something after its closing frame"));
        }
        self.clean = true;
        Ok(())
    }

    /// What begins at the first bad frame of the last segment: damage, nothing, or a torn tail.
    pub(super) fn judge_tail(
        &mut self,
        window: &mut Window<'_>,
        segment: &Segment,
        name: &str,
        reason: &str,
        from: ReadFrom,
    ) -> Result<(), OpenError> {
        let offset = self.at.offset;
        let end = segment.open_file().zeros_from(from, offset).map_err(io_error("reading", name))?;
        self.bad = Some((name.to_owned(), offset));
        if self.forgives() {
            self.torn = (end > offset).then_some(Torn { segment: segment.header.number, offset, end });
            return Ok(());
        }
        self.look_for_durable(window, segment, name, offset, end)?;
        if self.durable >= self.at.next_seq {
            return Err(self.was_durable(name, offset, reason));
        }
        if end == offset {
            return Ok(());
        }
        if end - offset > segment.header.in_flight_max {
            let reason = format!(
                "{reason}, and {} bytes follow, more than the {} that can have been in flight",
                end - offset,
                segment.header.in_flight_max
            );
            return Err(damaged(name, offset, Some(self.at.next_seq), reason));
        }
        self.torn = Some(Torn { segment: segment.header.number, offset, end });
        Ok(())
    }

    pub(super) fn was_durable(&self, name: &str, offset: u64, reason: &str) -> OpenError {
        let reason = format!("{reason}, and seqs up to {} were durable", self.durable);
        damaged(name, offset, Some(self.at.next_seq), reason)
    }

    /// Later frames know what was durable when they were written. A header is enough: it has a checksum of its own.
    fn look_for_durable(
        &mut self,
        window: &mut Window<'_>,
        segment: &Segment,
        name: &str,
        start: u64,
        end: u64,
    ) -> Result<(), OpenError> {
        let mut at = start;
        while at < end {
            let block = window.bytes(at, BLOCK as u64).map_err(io_error("reading", name))?;
            if let Ok(header) = Header::decode(block, self.seal)
                && header.segment == segment.header.number
            {
                self.durable = self.durable.max(header.durable);
            }
            at += BLOCK as u64;
        }
        Ok(())
    }

    /// Spares are empty, but for the first: the power may have failed when its first frames were written.
    pub(super) fn look_into_spares(&mut self, spares: &[Segment]) -> Result<Option<Torn>, OpenError> {
        let mut torn = None;
        for (index, spare) in spares.iter().enumerate() {
            let name = names::segment(spare.header.number);
            let from = self.reading.from();
            let end = spare.open_file().zeros_from(from, LINK_AT).map_err(io_error("reading", &name))?;
            if end == LINK_AT || self.forgives() {
                continue;
            }
            let mut window = Window::new(spare.open_file(), from, spare.header.bytes);
            let durable_before = self.durable;
            self.look_for_durable(&mut window, spare, &name, LINK_AT, end)?;
            let reason = "its link cannot be read";
            if self.reading == Reading::Shared
                && read_link(spare.open_file(), from, spare.header.number, self.seal)
                    .map_err(io_error("reading", &name))?
                    .is_some()
            {
                // A running ledger has begun it meanwhile. What stands there came after this look at the log.
                self.durable = durable_before;
                return Ok(None);
            }
            if self.durable >= self.at.next_seq {
                return Err(self.was_durable(&name, LINK_AT, reason));
            }
            if index > 0 || end - LINK_AT > spare.header.in_flight_max {
                return Err(damaged(name, LINK_AT, Some(self.at.next_seq), reason));
            }
            torn = Some(Torn { segment: spare.header.number, offset: LINK_AT, end });
        }
        Ok(torn)
    }

    /// The planted bug that takes the first bad frame for the end of the log.
    pub(super) fn forgives(&self) -> bool {
        #[cfg(any(test, feature = "sim"))]
        return self.options.has(crate::sim::PlantedBug::TruncateMidLog);
        #[cfg(not(any(test, feature = "sim")))]
        {
            let _ = self.options;
            false
        }
    }
}
