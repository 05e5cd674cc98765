//! Which shard keeps a transaction: one byte for each seq.
//!
//! A transaction is asked for by its id alone, and its shard follows from its user, whom the asker does not name. An
//! index by id would cost a lock and 12 bytes a transaction; ids are dense, so an array of bytes does it.
//!
//! What must hold: a seq is set once, by whoever holds the lock of its shard, at the latest when the lock is given up.
//! Both `get` and `set` are lock-free, except where a `set` needs a new chunk: of two which need the same one waits until the
//! other has made it, and it may be one that is ready ([`crate::ahead`]), behind a lock of a moment.
//!
//! Cost: 1 byte a seq (seqs that are no transactions included) in chunks of 64 KiB: small enough that filling a new one
//! is no pause, where none is ready. Up front 64 KiB, and as much again for every 2^28 seqs.

use std::mem::size_of;

use crate::ahead;
use crate::sync::{OnceLock, Ordering, TableByte};
use crate::types::Seq;

/// Seqs in a chunk.
const CHUNK_LOG2: u32 = 16;
/// Chunks in a block, and blocks in the directory: 2^(12 + 12 + 16) = 2^40 seqs.
const FANOUT: usize = 1 << 12;

type Chunk = Box<[TableByte; 1 << CHUNK_LOG2]>;
type Block = Box<[OnceLock<Chunk>; FANOUT]>;

/// From a seq to the shard that keeps its transaction.
#[derive(Debug)]
pub(crate) struct Locator {
    /// A byte is a shard's index plus one; zero says that there is no transaction with this seq.
    blocks: Box<[OnceLock<Block>; FANOUT]>,
}

impl Locator {
    /// The first seq that does not fit.
    pub(crate) const SEQ_END: u64 = 1 << 40;
    /// The largest index of a shard.
    pub(crate) const SHARD_MAX: u8 = u8::MAX - 1;

    /// Whether so many transactions more fit after `last`. The answer stays true for a while, as entries may be on their
    /// way whose seqs are not yet known: there cannot be as many as are kept free here.
    pub(crate) fn has_room_after(last: Seq, transactions: usize) -> bool {
        const ON_THEIR_WAY: u64 = 1 << 32;
        last.get() + transactions as u64 + ON_THEIR_WAY < Self::SEQ_END
    }

    /// Without a transaction.
    pub(crate) fn new() -> Locator {
        Locator { blocks: boxed(OnceLock::new) }
    }

    /// Says that `shard` (at most [`Locator::SHARD_MAX`]) keeps the transaction `seq` (below [`Locator::SEQ_END`]).
    pub(crate) fn set(&self, seq: Seq, shard: u8) {
        assert!(seq.get() < Self::SEQ_END, "seq {seq} is past the last that can be located");
        assert!(shard <= Self::SHARD_MAX, "shard {shard} is past the last that can be named");
        let (block, chunk, offset) = place(seq);
        let block = self.blocks[block].get_or_init(|| boxed(OnceLock::new));
        let chunk = block[chunk].get_or_init(|| chunk_of(seq));
        // Release: publishes the record in the shard, so that the lock is not needed for the order of `set` and push. A
        // thread that sees this byte and then locks the shard finds the record, even where `set` follows the unlock.
        chunk[offset].store(shard + 1, Ordering::Release);
    }

    /// As [`Locator::set`], of the seqs from `first` on: for each a shard's index plus one, or zero where there is no
    /// transaction.
    pub(crate) fn set_run(&self, first: Seq, shards: &[u8]) {
        let (mut seq, mut rest) = (first.get(), shards);
        while !rest.is_empty() {
            let (block, chunk, offset) = place(Seq::new(seq));
            let (now, later) = rest.split_at(rest.len().min((1 << CHUNK_LOG2) - offset));
            if now.iter().any(|shard| *shard != 0) {
                assert!(seq < Self::SEQ_END, "seq {seq} is past the last that can be located");
                let block = self.blocks[block].get_or_init(|| boxed(OnceLock::new));
                let chunk = block[chunk].get_or_init(|| chunk_of(Seq::new(seq)));
                for (byte, shard) in chunk[offset..].iter().zip(now).filter(|(_, shard)| **shard != 0) {
                    byte.store(*shard, Ordering::Release); // As in `set`.
                }
            }
            (rest, seq) = (later, seq + now.len() as u64);
        }
    }

    /// The shard that keeps the transaction `seq`; `None` where there is none.
    pub(crate) fn get(&self, seq: Seq) -> Option<u8> {
        if seq.get() >= Self::SEQ_END {
            return None;
        }
        let (block, chunk, offset) = place(seq);
        // Acquire: pairs with the Release in `set`; what was done to the shard before is seen by what follows here.
        self.blocks[block].get()?[chunk].get()?[offset].load(Ordering::Acquire).checked_sub(1)
    }

    /// Bytes on the heap, the allocator's own overhead apart.
    pub(crate) fn bytes(&self) -> usize {
        let blocks = self.blocks.iter().filter_map(OnceLock::get);
        let (blocks, chunks) = blocks.fold((0, 0), |(blocks, chunks), block| {
            (blocks + 1, chunks + block.iter().filter(|chunk| chunk.get().is_some()).count())
        });
        FANOUT * size_of::<OnceLock<Block>>() + blocks * FANOUT * size_of::<OnceLock<Chunk>>() + (chunks << CHUNK_LOG2)
    }
}

/// The block, the chunk in it, and the byte in that.
const fn place(seq: Seq) -> (usize, usize, usize) {
    let chunk = (seq.get() >> CHUNK_LOG2) as usize;
    (chunk / FANOUT, chunk % FANOUT, seq.get() as usize & ((1 << CHUNK_LOG2) - 1))
}

/// The chunk of a seq, without a transaction. But for the first one it is such as are made ready.
fn chunk_of(seq: Seq) -> Chunk {
    const LEN: usize = 1 << CHUNK_LOG2;
    let ready = if seq.get() < LEN as u64 { None } else { ahead::filled(LEN) };
    ready.map_or_else(|| boxed(|| TableByte::new(0)), array)
}

/// An array that is made where it will stay: these are too large to pass over a small thread's stack.
fn boxed<T, const N: usize>(make: impl FnMut() -> T) -> Box<[T; N]> {
    array(std::iter::repeat_with(make).take(N).collect())
}

fn array<T, const N: usize>(items: Vec<T>) -> Box<[T; N]> {
    items.into_boxed_slice().try_into().unwrap_or_else(|_| unreachable!("exactly {N} items were taken"))
}

#[cfg(test)]
mod tests {
    mod exact;

    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::sync::thread;

    fn seq() -> impl Strategy<Value = u64> {
        prop_oneof![0..200u64, 65_500..65_600u64, (1u64 << 28) - 5..(1 << 28) + 5, (1u64 << 40) - 5..1 << 40]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn it_agrees_with_a_map(
            sets in prop::collection::vec((seq(), 0..=Locator::SHARD_MAX), 0..100),
            gets in prop::collection::vec(seq(), 0..100),
        ) {
            let (locator, mut model) = (Locator::new(), BTreeMap::new());
            for (seq, shard) in sets {
                locator.set(Seq::new(seq), shard);
                model.insert(seq, shard);
            }
            for seq in gets.iter().chain(model.keys()) {
                prop_assert_eq!(locator.get(Seq::new(*seq)), model.get(seq).copied());
            }
        }
    }

    #[test]
    fn the_last_seqs_are_kept_for_what_is_on_its_way() {
        let last = Seq::new(Locator::SEQ_END - (1 << 32) - 11);
        assert!(Locator::has_room_after(last, 10) && !Locator::has_room_after(last, 11));
    }

    #[test]
    fn a_seq_past_the_end_is_no_transaction() {
        assert_eq!(Locator::new().get(Seq::new(Locator::SEQ_END)), None);
        assert_eq!(Locator::new().get(Seq::new(u64::MAX)), None);
    }

    #[test]
    fn a_million_seqs_set_by_two_threads_are_all_found() {
        let locator = Locator::new();
        let before = locator.bytes();
        thread::scope(|scope| {
            for half in 0..2 {
                let locator = &locator;
                scope.spawn(move || {
                    (0..1 << 20)
                        .filter(|i| i % 2 == half && i % 3 != 0)
                        .for_each(|i| locator.set(Seq::new(i), (i % 255) as u8));
                });
            }
        });
        for i in 0..1 << 20 {
            assert_eq!(locator.get(Seq::new(i)), (i % 3 != 0).then_some((i % 255) as u8));
        }
        assert_eq!(locator.bytes() - before, (1 << 20) + FANOUT * 16);
    }
}
