//! Addresses, pieces and bytes, exactly, against plain vectors of chunks.

use proptest::prelude::*;

use super::*;

type Small = Arena<u32, 4>;

#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    PushParts(Vec<usize>),
    PushEmpty(usize),
    BeginChunk,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..=16usize).prop_map(Step::Push),
        2 => prop::collection::vec(0..=5usize, 0..=3).prop_map(Step::PushParts),
        2 => (0..=16usize).prop_map(Step::PushEmpty),
        1 => Just(Step::BeginChunk),
    ]
}

/// Where a run of `len` goes, by the chunks that there are.
fn place(chunks: &[Vec<u32>], len: usize) -> u64 {
    match chunks.last() {
        Some(last) if last.len() + len <= 16 => (chunks.len() as u64 - 1) * 16 + last.len() as u64,
        _ => chunks.len() as u64 * 16,
    }
}

fn check(arena: &mut Small, chunks: &[Vec<u32>]) {
    assert_eq!(arena.chunks, chunks);
    for len in 0..=16 {
        assert_eq!(arena.next_address(len), place(chunks, len), "{len}");
    }
    for address in 0..(chunks.len() as u64 + 2) * 16 {
        let (chunk, offset) = (address as usize / 16, address as usize % 16);
        let rest = chunks.get(chunk).and_then(|chunk| chunk.get(offset..)).unwrap_or(&[]);
        assert_eq!(arena.rest(address), rest, "{address}");
        assert_eq!(arena.rest_mut(address), rest, "{address}");
        let next = (chunk + 1 < chunks.len()).then_some((chunk as u64 + 1) * 16);
        assert_eq!(arena.next_chunk(address), next, "{address}");
    }
    assert_eq!(arena.bytes(), chunks.len() * 64 + arena.chunks.capacity() * size_of::<Vec<u32>>());
    assert_eq!(arena.unfilled_bytes(), chunks.last().map_or(0, |last| (16 - last.len()) * 4));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_agrees_with_plain_chunks(steps in prop::collection::vec(step(), 0..40)) {
        let (mut arena, mut chunks, mut item) = (Small::new(), Vec::<Vec<u32>>::new(), 0);
        check(&mut arena, &chunks);
        for step in steps {
            let mut items = |len: usize| -> Vec<u32> {
                (0..len).map(|_| { item += 1; item }).collect()
            };
            let (address, run) = match step {
                Step::Push(len) => {
                    let run = items(len);
                    (arena.push(&run), run)
                }
                Step::PushParts(lens) => {
                    let parts: Vec<_> = lens.into_iter().map(&mut items).collect();
                    let slices: Vec<&[u32]> = parts.iter().map(Vec::as_slice).collect();
                    (arena.push_parts(&slices), parts.concat())
                }
                Step::PushEmpty(len) => (arena.push_empty(len), vec![0; len]),
                Step::BeginChunk => {
                    arena.begin_chunk();
                    chunks.push(Vec::new());
                    continue;
                }
            };
            prop_assert_eq!(address, place(&chunks, run.len()));
            if chunks.last().is_none_or(|last| last.len() + run.len() > 16) {
                chunks.push(Vec::new());
            }
            chunks.last_mut().unwrap().extend_from_slice(&run);
        }
        check(&mut arena, &chunks);
        for address in [0, 3, 16, 20] {
            if let Some(first) = arena.rest_mut(address).first_mut() {
                *first = 9_999;
                chunks[address as usize / 16][address as usize % 16] = 9_999;
            }
        }
        check(&mut arena, &chunks);
    }
}

#[test]
fn only_what_follows_is_restored() {
    let items: Vec<u32> = (1..=16).collect();
    let with = |lengths: &[usize]| {
        let mut arena = Small::new();
        for len in lengths {
            arena.begin_chunk();
            arena.push(&items[..*len]);
        }
        arena
    };
    for lengths in [&[][..], &[0], &[5], &[16], &[5, 0], &[5, 7], &[16, 16]] {
        let before: Vec<Vec<u32>> = lengths.iter().map(|len| items[..*len].to_vec()).collect();
        for address in 0..(lengths.len() as u64 + 2) * 16 {
            for len in 0..=16 {
                let mut arena = with(lengths);
                let (chunk, offset) = (address as usize / 16, address as usize % 16);
                let is_next = chunk == lengths.len() && offset == 0;
                let is_end = chunk + 1 == lengths.len() && lengths[chunk] == offset && offset + len <= 16;
                assert_eq!(arena.restore(address, &items[..len]), is_next || is_end, "{lengths:?} {address} {len}");
                let mut expected = before.clone();
                if is_next {
                    expected.push(Vec::new());
                }
                if is_next || is_end {
                    expected.last_mut().unwrap().extend_from_slice(&items[..len]);
                }
                assert_eq!(arena.chunks, expected, "{lengths:?} {address} {len}");
            }
        }
    }
}

#[test]
fn the_first_that_is_not_before_is_found_in_every_length() {
    for len in 0..70usize {
        let mut items = Chunked::<usize, 1, 3>::new();
        (0..len).for_each(|n| assert_eq!(items.push(n), n));
        assert_eq!(items.len(), len);
        for first in 0..=len {
            let mut looks = 0;
            let found = items.partition_point(|item| {
                looks += 1;
                *item < first
            });
            assert_eq!(found, first, "of {len}");
            assert!(looks <= len.checked_ilog2().map_or(0, |log2| log2 + 1), "{looks} looks into {len}");
        }
    }
}

#[test]
fn what_is_pushed_here_begins_where_the_last_chunk_ends_if_that_has_room_for_all_that_is_copied() {
    let mut arena: Arena<u8, 4> = Arena::new();
    assert!(!arena.push_here(&[1; 4], 2), "there is no chunk");
    arena.push(&[7; 9]);
    assert!(!arena.push_here(&[1; 8], 2), "17 of 16");
    assert!(arena.push_here(&[1; 7], 2) && arena.next_address(0) == 11);
    assert!(arena.push_here(&[2, 3, 4, 5, 6], 5) && arena.next_address(0) == 16);
    assert_eq!(arena.rest(9), [1, 1, 2, 3, 4, 5, 6]);
    assert!(!arena.push_here(&[1], 1), "it is full");
}
