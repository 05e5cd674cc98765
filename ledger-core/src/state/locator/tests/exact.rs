//! What is counted, as blocks and chunks come to be.

use super::*;

#[test]
fn the_bytes_are_those_of_the_blocks_and_chunks_that_are_there() {
    let locator = Locator::new();
    let entry = size_of::<OnceLock<Block>>();
    let (none, block, chunk) = (FANOUT * entry, FANOUT * size_of::<OnceLock<Chunk>>(), 1 << CHUNK_LOG2);
    assert_eq!(locator.bytes(), none);
    let per_block = (FANOUT as u64) << CHUNK_LOG2;
    let sets = [(0, 1, 1), (5, 1, 1), (1 << CHUNK_LOG2, 1, 2), (3 << CHUNK_LOG2, 1, 3), (2 * per_block, 2, 4)];
    for (seq, blocks, chunks) in sets.into_iter().chain([(per_block - 1, 2, 5), (per_block, 3, 6)]) {
        locator.set(Seq::new(seq), 7);
        assert_eq!(locator.bytes(), none + blocks * block + chunks * chunk, "after {seq}");
    }
    for (seq, ..) in sets {
        assert_eq!((locator.get(Seq::new(seq)), locator.get(Seq::new(seq + 1))), (Some(7), None));
    }
    assert_eq!((locator.get(Seq::new(per_block - 1)), locator.get(Seq::new(per_block))), (Some(7), Some(7)));
    locator.set(Seq::new(9), Locator::SHARD_MAX);
    assert_eq!((locator.get(Seq::new(9)), Locator::SHARD_MAX), (Some(254), 254));
}

#[test]
fn what_is_kept_free_is_counted_from_the_last_seq() {
    let has_room = |last: u64, more: usize| Locator::has_room_after(Seq::new(last), more);
    let end = 1u64 << 40;
    assert!(has_room(0, 0) && has_room(end - (1 << 32) - 1, 0) && !has_room(end - (1 << 32), 0));
    assert!(has_room(end - (1 << 32) - 3, 2) && !has_room(end - (1 << 32) - 3, 3));
    assert_eq!(Locator::SEQ_END, end);
}

#[test]
fn a_run_goes_on_in_the_next_chunk() {
    let chunk = 1 << CHUNK_LOG2;
    for (first, len) in [(0, chunk + 1), (1, chunk), (chunk - 3, 7), (chunk + 2, 2 * chunk), (5, 3)] {
        let locator = Locator::new();
        // Of shards of their own, and every seventh is no transaction.
        let shards: Vec<u8> = (0..len).map(|n| (n % 7 * 30) as u8).collect();
        locator.set_run(Seq::new(first), &shards);
        for (n, shard) in shards.iter().enumerate() {
            assert_eq!(locator.get(Seq::new(first + n as u64)), shard.checked_sub(1), "{n} from {first} on");
        }
        assert_eq!(locator.get(Seq::new(first + len)), None);
    }
}
