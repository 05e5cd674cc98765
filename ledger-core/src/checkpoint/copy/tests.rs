//! Which keys and which part of the locator a checkpoint copies, and in what blocks.

use super::*;

/// Keeps what is copied.
#[derive(Default)]
struct Blocks(Vec<Vec<u8>>);

impl Sink for Blocks {
    fn block(&mut self, _: Kind, _: u16, payload: &[u8]) -> io::Result<()> {
        self.0.push(payload.to_vec());
        Ok(())
    }
}

impl Blocks {
    fn lengths(&self) -> Vec<usize> {
        self.0.iter().map(Vec::len).collect()
    }
}

fn copied<R>(
    (tables, seq, since): (&Tables, u64, &Positions),
    copy: impl FnOnce(&mut Copier<'_>, &mut Blocks) -> io::Result<R>,
) -> (Blocks, R) {
    let (mut blocks, holds) = (Blocks::default(), LongestHold::default());
    let mut copier = Copier::new(tables, Seq::new(seq), &[], since, &|| false, &holds);
    let done = copy(&mut copier, &mut blocks).unwrap();
    (blocks, done)
}

/// Settles keys in the first shard: each is of a transaction, and settled by its entry or a later one.
fn settle(tables: &Tables, settled: &[(u64, u64)]) {
    for (id, by) in settled {
        // 32 bytes with what stands before it.
        let key = format!("{by:017}");
        let id = TransactionId::new(*id).unwrap();
        let hash = tables.keys.hash(&key);
        tables.keys.with(0, false, |shard| shard.settle_by(hash, &key, 0, id, Seq::new(*by)));
    }
}

/// Keys do not lie in the order of the entries that settled them, and entries go on while they are copied.
#[test]
fn a_key_is_copied_once_by_the_checkpoint_of_the_entry_that_settled_it() {
    let tables = Tables::seeded(1, 7);
    let own = |by: std::ops::Range<u64>| by.map(|by| (by, by)).collect::<Vec<_>>();
    // More than a chunk of the tables and than a block has, and in the second chunk those that later entries settled.
    let many = [own(10..3_010), (3_010..3_020).map(|by| (1, by)).collect()].concat();
    // What is settled by then, and up to which entry is copied.
    let rounds = [
        (vec![(2, 2), (1, 1), (4, 4), (3, 3)], 3),
        (vec![(1, 5), (6, 6)], 5),
        (own(7..8), 7),
        (own(8..10), 9),
        (many, 3_019),
        (own(3_020..3_023), 3_021),
        (own(3_023..3_024), 3_023),
    ];
    let mut since = Positions::start(1);
    for (settled, until) in rounds {
        settle(&tables, &settled);
        let (blocks, keys) = copied((&tables, until, &since), |copier, blocks| copier.copy_keys(blocks));
        let bytes = blocks.0.concat();
        let (mut rest, mut found) = (&bytes[..], Vec::<u64>::new());
        while let Some(record) = KeyRecord::first(rest) {
            found.push(std::str::from_utf8(record.key).unwrap().parse().unwrap());
            rest = &rest[record.bytes.len()..];
        }
        assert!(rest.is_empty());
        assert_eq!(found, (since.seq.get() + 1..=until).collect::<Vec<_>>(), "in the order of their entries");
        if found.len() > 3_000 {
            assert_eq!(blocks.lengths(), [BLOCK_BYTES, bytes.len() - BLOCK_BYTES], "as few as can be");
        }
        since = Positions { seq: Seq::new(until), keys, ..Positions::start(1) };
    }
}

#[test]
fn the_locator_is_copied_in_blocks_of_64_kib_from_the_last_checkpoint_on() {
    let (tables, since) = (Tables::seeded(1, 7), Positions { seq: Seq::new(5), ..Positions::start(1) });
    const BLOCKS: u64 = 2 * BLOCK_BYTES as u64;
    // Of the last one there is no transaction.
    (1..5 + BLOCKS + 3).for_each(|seq| tables.locator.set(Seq::new(seq), 0));
    let (blocks, ()) = copied((&tables, 5 + BLOCKS + 3, &since), |copier, blocks| copier.copy_locator(blocks));
    assert_eq!(blocks.lengths(), [BLOCK_BYTES, BLOCK_BYTES, 3]);
    assert_eq!(blocks.0[2], [1, 1, 0]);
}
