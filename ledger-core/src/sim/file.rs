//! What a file of the simulated disk holds: what the process sees, what is durable, and the writes in between, of each of
//! which a power cut leaves what chance says. Pages of zeros take no memory.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Random;
use crate::sync::Arc;

const PAGE: usize = 4096;
const SECTOR: usize = 512;

/// A file of the disk.
#[derive(Clone, Default)]
pub(super) struct FileImage {
    /// What the process sees: the page cache.
    pub(super) seen: Content,
    durable: Content,
    pending: Vec<Write>,
    /// The bytes that the device cannot read any more.
    pub(super) unreadable: Option<Range<u64>>,
}

#[derive(Clone, Default)]
pub(super) struct Content {
    pub(super) len: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
}

#[derive(Clone)]
struct Write {
    offset: u64,
    data: Data,
}

#[derive(Clone)]
pub(super) enum Data {
    Zeros(u64),
    Bytes(Arc<[u8]>),
}

impl Content {
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let readable = self.len.saturating_sub(offset).min(buf.len() as u64) as usize;
        let buf = &mut buf[..readable];
        let end = offset + readable as u64;
        let mut done = 0;
        for (&index, page) in self.pages.range(offset / PAGE as u64..end.div_ceil(PAGE as u64)) {
            let page_start = index * PAGE as u64;
            let (from, to) = (page_start.max(offset), (page_start + PAGE as u64).min(end));
            let bytes = &page[(from - page_start) as usize..(to - page_start) as usize];
            let (from, to) = ((from - offset) as usize, (to - offset) as usize);
            buf[done..from].fill(0);
            buf[from..to].copy_from_slice(bytes);
            done = to;
        }
        buf[done..].fill(0);
        readable
    }

    /// Turns one bit over.
    pub(super) fn flip_bit(&mut self, offset: u64, bit: u8) {
        assert!(offset < self.len, "there are {} bytes", self.len);
        let mut byte = [0];
        self.read(&mut byte, offset);
        self.write(offset, &Data::Bytes(Arc::from([byte[0] ^ (1 << bit)])));
    }

    /// Cuts it to `len` bytes.
    pub(super) fn truncate(&mut self, len: u64) {
        self.pages.split_off(&len.div_ceil(PAGE as u64));
        self.len = len;
        let tail = len.next_multiple_of(PAGE as u64) - len;
        self.write(len, &Data::Zeros(tail));
        self.len = len;
    }

    pub(super) fn write(&mut self, offset: u64, data: &Data) {
        let len = data.len();
        if len == 0 {
            return;
        }
        let end = offset + len;
        self.len = self.len.max(end);
        match data {
            Data::Zeros(_) => {
                let touched: Vec<u64> = self
                    .pages
                    .range(offset / PAGE as u64..end.div_ceil(PAGE as u64))
                    .map(|(index, _)| *index)
                    .collect();
                for index in touched {
                    let page_start = index * PAGE as u64;
                    let (from, to) = (page_start.max(offset), (page_start + PAGE as u64).min(end));
                    self.fill_page(index, (from - page_start) as usize, &vec![0; (to - from) as usize]);
                }
            }
            Data::Bytes(bytes) => {
                let mut done = 0;
                while done < bytes.len() {
                    let at = offset + done as u64;
                    let within = (at % PAGE as u64) as usize;
                    let part = (PAGE - within).min(bytes.len() - done);
                    self.fill_page(at / PAGE as u64, within, &bytes[done..done + part]);
                    done += part;
                }
            }
        }
    }

    fn fill_page(&mut self, index: u64, within: usize, bytes: &[u8]) {
        // Copied only where another image has it too.
        let page = Arc::make_mut(self.pages.entry(index).or_insert_with(|| Arc::new([0; PAGE])));
        page[within..within + bytes.len()].copy_from_slice(bytes);
        if page == &[0; PAGE] {
            self.pages.remove(&index);
        }
    }

    /// Where the zeros begin that the content ends with, at `offset` or behind it.
    pub(super) fn zeros_from(&self, offset: u64) -> u64 {
        for (&index, page) in self.pages.range(offset / PAGE as u64..).rev() {
            let start = index * PAGE as u64;
            if let Some(last) = page.iter().rposition(|byte| *byte != 0) {
                return (start + last as u64 + 1).max(offset);
            }
        }
        offset
    }
}

impl Data {
    pub(super) fn of(bytes: &[u8]) -> Data {
        if bytes.chunks(PAGE).all(|page| page == &[0; PAGE][..page.len()]) {
            Data::Zeros(bytes.len() as u64)
        } else {
            Data::Bytes(Arc::from(bytes))
        }
    }

    fn len(&self) -> u64 {
        match self {
            Data::Zeros(len) => *len,
            Data::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

impl Write {
    /// What a power cut leaves of a write that was never synced.
    fn survive(&self, content: &mut Content, random: &mut Random) {
        match random.below(4) {
            0 => content.write(self.offset, &self.data),
            1 => {}
            2 => self.tear(content, random),
            _ => {
                if random.below(2) == 0 {
                    content.write(self.offset, &self.data);
                }
                self.trash(content, random);
            }
        }
    }

    /// Each sector is there or not; half of the time all that is there is a prefix.
    fn tear(&self, content: &mut Content, random: &mut Random) {
        let sectors = self.data.len().div_ceil(SECTOR as u64);
        let prefix = random.below(sectors + 1);
        let Data::Bytes(bytes) = &self.data else {
            return content.write(self.offset, &Data::Zeros((prefix * SECTOR as u64).min(self.data.len())));
        };
        let scattered = random.below(2) == 0;
        for (index, sector) in bytes.chunks(SECTOR).enumerate() {
            let is_there = if scattered { random.below(2) == 0 } else { (index as u64) < prefix };
            if is_there {
                content.write(self.offset + (index * SECTOR) as u64, &Data::Bytes(Arc::from(sector)));
            }
        }
    }

    /// A few sectors hold what nobody wrote.
    fn trash(&self, content: &mut Content, random: &mut Random) {
        for _ in 0..=random.below(3) {
            let at = random.below(self.data.len().div_ceil(SECTOR as u64)) * SECTOR as u64;
            let length = (self.data.len() - at).min(SECTOR as u64);
            let garbage: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
            content.write(self.offset + at, &Data::Bytes(Arc::from(garbage)));
        }
    }
}

impl FileImage {
    /// Whether the device can give `length` bytes at `offset`.
    pub(super) fn can_read(&self, offset: u64, length: u64) -> bool {
        let touches = |lost: &Range<u64>| offset < lost.end && offset + length > lost.start;
        !self.unreadable.as_ref().is_some_and(touches)
    }

    /// Writes to the cache.
    pub(super) fn write(&mut self, offset: u64, data: Data) {
        self.seen.write(offset, &data);
        self.pending.push(Write { offset, data });
    }

    /// Makes durable what was written.
    pub(super) fn sync(&mut self) {
        for write in std::mem::take(&mut self.pending) {
            self.durable.write(write.offset, &write.data);
        }
    }

    /// As after everything was written out, and the cache dropped.
    pub(super) fn read_anew(&mut self) {
        self.sync();
        self.seen = self.durable.clone();
    }

    /// Calls clean what was written, without writing it.
    pub(super) fn lose_pages(&mut self) {
        // The file keeps its length: that is the directory's business, and was journalled.
        self.durable.len = self.durable.len.max(self.seen.len);
        self.pending.clear();
    }

    /// Changes the cache and the device at once.
    pub(super) fn edit(&mut self, change: impl Fn(&mut Content)) {
        self.sync();
        change(&mut self.seen);
        change(&mut self.durable);
    }

    /// Turns one bit over on the device alone.
    pub(super) fn rot_bit(&mut self, offset: u64, bit: u8) {
        self.sync();
        self.durable.flip_bit(offset, bit);
    }

    /// What a power cut leaves.
    pub(super) fn survivor(&self, random: &mut Random) -> FileImage {
        let mut left = self.durable.clone();
        for write in &self.pending {
            write.survive(&mut left, random);
        }
        FileImage { durable: left.clone(), seen: left, pending: Vec::new(), unreadable: self.unreadable.clone() }
    }

    /// The device's own bytes: reading past the cache first writes out what is dirty, but not what a failed sync
    /// has called clean.
    pub(super) fn on_device<T>(&self, look: impl FnOnce(&Content) -> T) -> T {
        if self.pending.is_empty() {
            return look(&self.durable);
        }
        let mut content = self.durable.clone();
        for write in &self.pending {
            content.write(write.offset, &write.data);
        }
        look(&content)
    }
}
