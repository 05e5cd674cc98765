//! Bytes of a segment, read ahead a piece at a time.

use super::end::Unsettled;
use crate::sys::{ReadFrom, StorageFile, is_unreadable};
use crate::wal::frame::{self, HEADER_BYTES, Seal};

/// A piece of a file in memory, moved along as frames are asked for.
pub(in crate::wal) struct Window<'a> {
    file: &'a dyn StorageFile,
    from: ReadFrom,
    file_bytes: u64,
    start: u64,
    len: usize,
    buf: Vec<u8>,
    /// How much the next reading takes, at least.
    ahead: u64,
}

/// Reading more at once gains nothing; reading less makes a log of small frames one system call each.
const AHEAD_MAX: u64 = 256 << 10;
/// The first reading: many segments hold little.
const AHEAD_FIRST: u64 = 16 << 10;

impl<'a> Window<'a> {
    pub(in crate::wal) fn new(file: &'a dyn StorageFile, from: ReadFrom, file_bytes: u64) -> Window<'a> {
        Window { file, from, file_bytes, start: 0, len: 0, buf: Vec::new(), ahead: AHEAD_FIRST }
    }

    /// `length` bytes at `offset`; zeros where the file turned out to be shorter.
    pub(in crate::wal) fn bytes(&mut self, offset: u64, length: u64) -> std::io::Result<&[u8]> {
        if offset < self.start || offset + length > self.start + self.len as u64 {
            let left = self.file_bytes.saturating_sub(offset);
            let wanted = length.max(self.ahead.min(left)) as usize;
            self.ahead = (self.ahead * 2).min(AHEAD_MAX);
            if self.buf.len() < wanted {
                self.buf.resize(wanted, 0);
            }
            self.len = 0;
            let mut wanted = wanted;
            let read = match self.file.read_from(self.from, &mut self.buf[..wanted], offset) {
                // What lies ahead cannot be read: it is nobody's concern yet.
                Err(err) if is_unreadable(&err) && wanted as u64 > length => {
                    wanted = length as usize;
                    // What follows is read a little more at a time, lest each of the frames before that place fail once.
                    self.ahead = length.min(AHEAD_MAX);
                    self.file.read_from(self.from, &mut self.buf[..wanted], offset)?
                }
                read => read?,
            };
            self.buf[read..wanted].fill(0);
            (self.start, self.len) = (offset, wanted);
        }
        let at = (offset - self.start) as usize;
        Ok(&self.buf[at..at + length as usize])
    }

    pub(super) fn forget(&mut self) {
        self.len = 0;
    }
}

/// The bytes of an accepted frame, to be copied. `None` if they are not what they were when they were accepted.
pub(in crate::wal) fn reread<'w>(
    window: &'w mut Window<'_>,
    frame: &Unsettled,
    seal: Seal,
) -> std::io::Result<Option<&'w [u8]>> {
    let bytes = window.bytes(frame.offset, frame.header.frame_bytes())?;
    let is_same = frame::check(bytes, seal) == Ok(frame.after.chain);
    Ok(is_same.then(|| &bytes[HEADER_BYTES..HEADER_BYTES + frame.header.payload_bytes as usize]))
}
