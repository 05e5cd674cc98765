//! Append-only storage that never moves what it holds.
//!
//! A `Vec` that doubles copies everything it has, which at a gigabyte is a pause of a second. So both kinds of storage
//! here grow by whole chunks, and all that is ever copied is a directory of 24 bytes a chunk:
//!
//! - [`Chunked`]: items of one size, by index. Its chunks start small and double up to a limit, so that a short one
//!   costs little and a long one grows in equal steps.
//! - [`Arena`]: runs of items of any length, by address. A run lies in one chunk, so it reads as one slice; the rest
//!   of a chunk that is too short for the next run stays unused.
//!
//! What must hold: nothing is removed, and an index or address stays valid and means the same for ever.

use std::mem::size_of;
use std::ops::{Index, IndexMut};

use crate::ahead::{self, Block};

/// Items by index, in chunks of `2^FIRST` items (the first two), then twice as many each, up to `2^MOST`.
#[derive(Debug)]
pub(crate) struct Chunked<T, const FIRST: u32, const MOST: u32> {
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T, const FIRST: u32, const MOST: u32> Chunked<T, FIRST, MOST> {
    /// Without an item or an allocation.
    pub(crate) const fn new() -> Self {
        Chunked { chunks: Vec::new(), len: 0 }
    }

    /// How many items there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds an item; its index is the former `len`. Moves no other item.
    pub(crate) fn push(&mut self, item: T) -> usize {
        self.push_to(item, Vec::with_capacity)
    }

    /// As [`Chunked::push`], where there are many: the chunks are such as are made ready.
    pub(crate) fn push_among_many(&mut self, item: T) -> usize
    where
        T: Block,
    {
        // Not those of what has few.
        self.push_to(item, |len| if len < 1 << MOST { Vec::with_capacity(len) } else { ahead::room(len) })
    }

    /// `chunk_of` gives an empty chunk for so many items.
    fn push_to(&mut self, item: T, chunk_of: impl FnOnce(usize) -> Vec<T>) -> usize {
        let index = self.len;
        let (chunk, offset) = Self::place(index);
        if offset == 0 {
            let log2 = if chunk == 0 { FIRST } else { (FIRST + chunk as u32 - 1).min(MOST) };
            self.chunks.push(chunk_of(1 << log2));
        }
        self.chunks[chunk].push(item);
        self.len += 1;
        index
    }

    /// The newest item.
    #[inline]
    pub(crate) fn last(&self) -> Option<&T> {
        self.chunks.last()?.last()
    }

    /// The first index whose item does not satisfy `before`; the items that do must come first.
    pub(crate) fn partition_point(&self, mut before: impl FnMut(&T) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = low + (high - low) / 2;
            if before(&self[middle]) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Bytes on the heap, the allocator's own overhead apart; at once, whatever there is.
    pub(crate) fn bytes(&self) -> usize {
        let chunks = self.chunks.len();
        let doubling = (MOST - FIRST) as usize;
        let items = match chunks {
            0 => 0,
            few if few <= doubling => 1 << (FIRST as usize + few - 1),
            many => (many - doubling) << MOST,
        };
        items * size_of::<T>() + self.chunks.capacity() * size_of::<Vec<T>>()
    }

    /// Of those bytes, what the newest chunk has no items in yet.
    pub(crate) fn unfilled_bytes(&self) -> usize {
        self.chunks.last().map_or(0, unfilled_bytes)
    }

    /// In which chunk an index lies, and where in it.
    fn place(index: usize) -> (usize, usize) {
        if index >> MOST != 0 {
            return ((MOST - FIRST) as usize + (index >> MOST), index & ((1 << MOST) - 1));
        }
        if index >> FIRST == 0 {
            return (0, index);
        }
        let log2 = index.ilog2();
        ((log2 - FIRST) as usize + 1, index - (1 << log2))
    }
}

impl<T, const FIRST: u32, const MOST: u32> Index<usize> for Chunked<T, FIRST, MOST> {
    type Output = T;

    fn index(&self, index: usize) -> &T {
        let (chunk, offset) = Self::place(index);
        &self.chunks[chunk][offset]
    }
}

impl<T, const FIRST: u32, const MOST: u32> IndexMut<usize> for Chunked<T, FIRST, MOST> {
    fn index_mut(&mut self, index: usize) -> &mut T {
        let (chunk, offset) = Self::place(index);
        &mut self.chunks[chunk][offset]
    }
}

/// Empty runs of up to so many items are copied, not filled.
const SHORT: usize = 8;

/// Runs of items by address, in chunks of `2^LOG2` items.
#[derive(Debug)]
pub(crate) struct Arena<T, const LOG2: u32> {
    chunks: Vec<Vec<T>>,
}

/// The bytes of records and keys, in chunks of 64 KiB.
pub(crate) type RecordArena = Arena<u8, 16>;
/// The runs of the accounts' lists, in chunks of 64 KiB.
pub(crate) type RunArena = Arena<u32, 14>;

impl<T: Block + Copy + Default, const LOG2: u32> Arena<T, LOG2> {
    /// How many items a chunk holds.
    pub(crate) const CHUNK_ITEMS: usize = 1 << LOG2;

    /// Without an item or an allocation.
    pub(crate) const fn new() -> Self {
        Arena { chunks: Vec::new() }
    }

    /// Where the next run of `len` items will begin; at most [`Arena::CHUNK_ITEMS`] of them.
    pub(crate) fn next_address(&self, len: usize) -> u64 {
        debug_assert!(len <= Self::CHUNK_ITEMS, "a run of {len} items does not fit a chunk");
        match self.chunks.last() {
            Some(last) if last.len() + len <= Self::CHUNK_ITEMS => {
                ((self.chunks.len() as u64 - 1) << LOG2) + last.len() as u64
            }
            _ => (self.chunks.len() as u64) << LOG2,
        }
    }

    /// Adds `items` as one run; its address is [`Arena::next_address`] of its length.
    pub(crate) fn push(&mut self, items: &[T]) -> u64 {
        let address = self.next_address(items.len());
        self.chunk_for(items.len()).extend_from_slice(items);
        address
    }

    /// Adds a run that is given in parts, as [`Arena::push`] does.
    #[inline]
    pub(crate) fn push_parts(&mut self, parts: &[&[T]]) -> u64 {
        let chunk = self.chunk_for(parts.iter().map(|part| part.len()).sum());
        let offset = chunk.len() as u64;
        parts.iter().for_each(|part| chunk.extend_from_slice(part));
        self.last_chunk() + offset
    }

    /// As [`Arena::push`], of the first `len` of `items`. Where the chunk has room all of them are copied, since a copy of a
    /// fixed length needs no call.
    #[inline]
    pub(crate) fn push_first<const N: usize>(&mut self, items: &[T; N], len: usize) -> u64 {
        let chunk = self.chunk_for(len);
        let offset = chunk.len();
        let end = offset + len;
        if chunk.len() + N <= Self::CHUNK_ITEMS {
            chunk.extend_from_slice(items);
            chunk.truncate(end);
        } else {
            chunk.extend_from_slice(&items[..len]);
        }
        self.last_chunk() + offset as u64
    }

    /// As [`Arena::push_first`], if the last chunk has room for all of `items`; says whether it has.
    #[inline]
    pub(crate) fn push_here<const N: usize>(&mut self, items: &[T; N], len: usize) -> bool {
        let Some(last) = self.chunks.last_mut().filter(|last| last.len() + N <= Self::CHUNK_ITEMS) else {
            return false;
        };
        let end = last.len() + len;
        last.extend_from_slice(items);
        last.truncate(end);
        true
    }

    /// Adds a run of `len` default items.
    pub(crate) fn push_empty(&mut self, len: usize) -> u64 {
        if len <= SHORT {
            return self.push_first(&[T::default(); SHORT], len);
        }
        let address = self.next_address(len);
        let chunk = self.chunk_for(len);
        chunk.resize(chunk.len() + len, T::default());
        address
    }

    /// Where the last chunk begins, of which there is one.
    fn last_chunk(&self) -> u64 {
        (self.chunks.len() as u64 - 1) << LOG2
    }

    /// The chunk that a run of `len` items goes to: the last one, or a new one.
    #[inline]
    fn chunk_for(&mut self, len: usize) -> &mut Vec<T> {
        if self.chunks.last().is_none_or(|last| last.len() + len > Self::CHUNK_ITEMS) {
            self.begin_chunk();
        }
        self.chunks.last_mut().expect("there is a last chunk by now")
    }

    /// Leaves the rest of the last chunk unused: the next run begins a new one.
    pub(crate) fn begin_chunk(&mut self) {
        // Most of a first one is never used, where there are a few hundred arenas.
        let is_first = self.chunks.is_empty();
        self.chunks.push(if is_first { Vec::with_capacity(Self::CHUNK_ITEMS) } else { ahead::room(Self::CHUNK_ITEMS) });
    }

    /// Everything from `address` to the end of what its chunk holds; empty where that is past the end.
    pub(crate) fn rest(&self, address: u64) -> &[T] {
        let chunk = self.chunks.get((address >> LOG2) as usize).map_or(&[][..], Vec::as_slice);
        chunk.get(Self::offset(address)..).unwrap_or_default()
    }

    /// As [`Arena::rest`], to change it.
    pub(crate) fn rest_mut(&mut self, address: u64) -> &mut [T] {
        let chunk = self.chunks.get_mut((address >> LOG2) as usize).map_or(&mut [][..], Vec::as_mut_slice);
        chunk.get_mut(Self::offset(address)..).unwrap_or_default()
    }

    /// Where in its chunk an address lies.
    const fn offset(address: u64) -> usize {
        address as usize & (Self::CHUNK_ITEMS - 1)
    }

    /// The address of the chunk after the one of `address`; `None` where that is the last.
    pub(crate) fn next_chunk(&self, address: u64) -> Option<u64> {
        let next = (address >> LOG2) + 1;
        (next < self.chunks.len() as u64).then_some(next << LOG2)
    }

    /// Adds `items` at `address`, as they lay in another arena; `false` where nothing can be added there: not at the end
    /// of what is there, nor at the beginning of the next chunk.
    pub(crate) fn restore(&mut self, address: u64, items: &[T]) -> bool {
        let (chunk, offset) = ((address >> LOG2) as usize, Self::offset(address));
        if chunk == self.chunks.len() && offset == 0 {
            self.begin_chunk();
        }
        let is_last = chunk + 1 == self.chunks.len();
        match self.chunks.last_mut() {
            Some(last) if is_last && last.len() == offset && offset + items.len() <= Self::CHUNK_ITEMS => {
                last.extend_from_slice(items);
                true
            }
            _ => false,
        }
    }

    /// Bytes on the heap, the allocator's own overhead apart.
    pub(crate) fn bytes(&self) -> usize {
        (self.chunks.len() << LOG2) * size_of::<T>() + self.chunks.capacity() * size_of::<Vec<T>>()
    }

    /// Of those bytes, what the newest chunk has no items in yet.
    pub(crate) fn unfilled_bytes(&self) -> usize {
        self.chunks.last().map_or(0, unfilled_bytes)
    }
}

fn unfilled_bytes<T>(chunk: &Vec<T>) -> usize {
    (chunk.capacity() - chunk.len()) * size_of::<T>()
}

#[cfg(test)]
mod tests {
    mod exact;

    use super::*;

    #[test]
    fn items_keep_their_index_while_chunks_are_added() {
        let mut items = Chunked::<u64, 1, 5>::new();
        assert_eq!(items.bytes(), 0);
        for i in 0..10_000 {
            assert_eq!(items.push(i * 3), i as usize);
        }
        assert!((0..10_000).all(|i| items[i as usize] == i * 3));
        items[77] = 1;
        assert_eq!((items[76], items[77], items[78], items.len()), (76 * 3, 1, 78 * 3, 10_000));
    }

    #[test]
    fn the_first_two_chunks_are_small_and_the_later_ones_equal() {
        let mut items = Chunked::<u8, 1, 3>::new();
        (0..40).for_each(|i| {
            items.push(i);
        });
        let sizes: Vec<_> = items.chunks.iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 2, 4, 8, 8, 8, 8]);
    }

    #[test]
    fn the_bytes_are_those_of_the_chunks() {
        fn check<const FIRST: u32, const MOST: u32>() {
            let mut items = Chunked::<u64, FIRST, MOST>::new();
            for i in 0..200 {
                let chunks: usize = items.chunks.iter().map(Vec::capacity).sum();
                assert_eq!(items.bytes(), chunks * 8 + items.chunks.capacity() * size_of::<Vec<u64>>());
                assert_eq!(items.unfilled_bytes(), (chunks - items.len()) * 8);
                items.push(i);
            }
        }
        check::<0, 3>();
        check::<1, 3>();
        check::<2, 2>();
        check::<2, 6>();
    }

    #[test]
    fn a_run_never_spans_two_chunks() {
        let mut arena = Arena::<u8, 4>::new();
        assert_eq!(
            (arena.push(&[1; 10]), arena.push(&[2; 10]), arena.push(&[3; 6]), arena.push_empty(1)),
            (0, 16, 26, 32)
        );
        assert_eq!((arena.rest(0), arena.rest(26), arena.rest(32)), (&[1; 10][..], &[3; 6][..], &[0][..]));
        assert_eq!((arena.rest(12), arena.rest(64)), (&[][..], &[][..]));
        assert_eq!((arena.next_chunk(3), arena.next_chunk(32)), (Some(16), None));
        arena.rest_mut(27)[0] = 9;
        assert_eq!(arena.rest(26), [3, 9, 3, 3, 3, 3]);
    }
}
