//! Idempotency keys: which are settled, and by which transaction; which are claimed by a command under way.
//!
//! One key, one effect, for as long as the ledger lives, so settled keys are never removed: their bytes lie in an arena
//! of chunks that never move, found by an index of 8-byte slots. A claim is only a hash in a small set: a flood of
//! rejected commands leaves nothing behind.
//!
//! What must hold: a key is settled once. Whoever claims gives the claim back by `settle` or by `release`, or
//! of several keys by `release_all`. Two keys
//! with the same hash of 64 bits, which is rare, share a claim: one command then waits for the other, without need but
//! without harm.
//!
//! Cost, measured: the key's bytes + 15 + a slot of 10.2 to 14.5 bytes: 49 to 54 bytes for a key of 24.

use crate::types::{Seq, TransactionId};

use super::arena::RecordArena;
use super::slots::{SlotIndex, Start};

/// What is known of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lookup {
    /// Nothing: it may be claimed.
    Free,
    /// A command with this key is under way.
    Claimed,
    /// A command with this key was accepted.
    Settled {
        /// The transaction that it made.
        id: TransactionId,
        /// The low 64 bits of the hash of what it said.
        fingerprint: u64,
    },
}

/// The keys of one shard. Every `hash` is the key's own, from one function with one seed.
#[derive(Debug)]
pub(crate) struct KeyShard {
    index: SlotIndex,
    /// For each settled key one byte of length, six of the transaction's id, eight of fingerprint, then the key.
    records: RecordArena,
    /// Where the keys lie that later entries than their transactions' settled, and those entries' seqs, in that order.
    later: Vec<(u32, Seq)>,
    claims: Claims,
}

/// The hashes that are claimed, each once. Few, a window's worth for each thread: a walk beats a table.
#[derive(Debug)]
struct Claims {
    hashes: Vec<u64>,
    /// For each of them one bit of 64, by which most others are told from them; it may stay while there are any.
    bits: u64,
}

impl Claims {
    const fn new() -> Claims {
        Claims { hashes: Vec::new(), bits: 0 }
    }

    #[inline]
    fn contains(&self, hash: u64) -> bool {
        self.bits & bit_of(hash) != 0 && self.hashes.contains(&hash)
    }

    #[inline]
    fn insert(&mut self, hash: u64) {
        if !self.contains(hash) {
            self.bits |= bit_of(hash);
            self.hashes.push(hash);
        }
    }

    #[inline]
    fn remove(&mut self, hash: u64) {
        if let Some(place) = self.hashes.iter().position(|claim| *claim == hash) {
            self.hashes.swap_remove(place);
            self.bits = if self.hashes.is_empty() { 0 } else { self.bits };
        }
    }
}

/// By other bits of the hash than those that chose the shard.
const fn bit_of(hash: u64) -> u64 {
    1 << (hash & 63)
}

/// What stands before the key's bytes in a record.
const HEAD: usize = 15;

/// Whether so many claims can be settled where the next record's address is `address`.
const fn has_room(address: u64, claims: usize) -> bool {
    // Each may leave as much of a chunk unused as it takes itself.
    let bytes = claims as u64 * 2 * (HEAD + u8::MAX as usize) as u64;
    address + bytes <= SlotIndex::REFERENCE_MAX as u64
}

/// A settled key, as it lies in the arena.
struct Record<'a> {
    id: TransactionId,
    fingerprint: u64,
    key: &'a [u8],
}

/// Bytes of a chunk of records.
const CHUNK_BYTES: u64 = RecordArena::CHUNK_ITEMS as u64;

/// A settled key's record by itself, as it lies in memory and in the history files of snapshots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct KeyRecord<'a> {
    /// The whole record.
    pub(crate) bytes: &'a [u8],
    /// The transaction that the key made.
    pub(crate) id: TransactionId,
    /// The key's bytes.
    pub(crate) key: &'a [u8],
}

impl<'a> KeyRecord<'a> {
    /// No record is shorter.
    pub(crate) const BYTES_MIN: usize = HEAD + 1;

    /// The record at the beginning of `bytes`; `None` where there is none.
    pub(crate) fn first(bytes: &'a [u8]) -> Option<KeyRecord<'a>> {
        let len = HEAD + usize::from(*bytes.first()?);
        let bytes = bytes.get(..len).filter(|_| len > HEAD)?;
        let number = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes are eight"));
        let id = TransactionId::new(number >> 8 & ((1 << 48) - 1))?;
        Some(KeyRecord { bytes, id, key: &bytes[HEAD..] })
    }

    /// Appends the record of a key (1 ..= 255 bytes) of the transaction `id`, which is below 2^48.
    #[inline]
    pub(crate) fn lay_out(id: TransactionId, fingerprint: u64, key: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&head(id, fingerprint, key.len()));
        out.extend_from_slice(key);
    }
}

/// What stands before a key of so many bytes.
#[inline]
fn head(id: TransactionId, fingerprint: u64, len: usize) -> [u8; HEAD] {
    assert!(id.get() >> 48 == 0, "the id {id} has more than 48 bits");
    let mut head = [0; HEAD];
    head[0] = u8::try_from(len).expect("a key has at most 255 bytes");
    head[1..7].copy_from_slice(&id.get().to_le_bytes()[..6]);
    head[7..].copy_from_slice(&fingerprint.to_le_bytes());
    head
}

impl KeyShard {
    /// Without a key or an allocation.
    pub(crate) const fn new() -> KeyShard {
        KeyShard { index: SlotIndex::new(), records: RecordArena::new(), later: Vec::new(), claims: Claims::new() }
    }

    /// As [`SlotIndex::start`].
    #[inline]
    pub(crate) fn start(&self, hash: u64) -> Start {
        self.index.start(hash)
    }

    /// As [`SlotIndex::touch`].
    #[inline]
    pub(crate) fn touch(&self, start: Start) -> u64 {
        self.index.touch(start)
    }

    /// Reads the beginning of a record whose key has this hash, for its cache line, as [`KeyShard::touch`] does the slot.
    pub(crate) fn touch_record(&self, hash: u64) -> u64 {
        let first = self.index.find(hash, |_| true);
        first.and_then(|reference| self.records.rest(reference.into()).first()).map_or(0, |byte| u64::from(*byte))
    }

    /// Whether the key of these bytes names an accepted command.
    pub(crate) fn is_settled(&self, hash: u64, key: &[u8]) -> bool {
        self.index.find(hash, |reference| self.record(reference).key == key).is_some()
    }

    /// What is known of `key`.
    pub(crate) fn lookup(&self, hash: u64, key: &str) -> Lookup {
        self.lookup_from(self.start(hash), hash, key)
    }

    /// As [`KeyShard::lookup`], from where the search for the hash begins.
    #[inline]
    pub(crate) fn lookup_from(&self, start: Start, hash: u64, key: &str) -> Lookup {
        if let Some(found) = self.index.find_from(start, |reference| self.record(reference).key == key.as_bytes()) {
            let Record { id, fingerprint, .. } = self.record(found);
            return Lookup::Settled { id, fingerprint };
        }
        if self.is_claimed(hash) { Lookup::Claimed } else { Lookup::Free }
    }

    /// Whether so many claims more can be settled, with all that there are, however long their keys. Who claims asks first:
    /// when a claim is settled, its command is in the log and nothing may fail.
    pub(crate) fn has_room_for(&self, claims: usize) -> bool {
        has_room(self.records.next_address(0), self.claims.hashes.len() + claims)
    }

    /// Notes that a command whose key has this hash is under way. The key was free.
    pub(crate) fn claim(&mut self, hash: u64) {
        self.claims.insert(hash);
    }

    /// Whether a command whose key has this hash is under way.
    pub(crate) fn is_claimed(&self, hash: u64) -> bool {
        self.claims.contains(hash)
    }

    /// Gives a claim back: the command was rejected or abandoned. Does nothing where there is none.
    pub(crate) fn release(&mut self, hash: u64) {
        self.claims.remove(hash);
    }

    /// As [`KeyShard::release`] of each of these hashes, which are claimed and differ.
    pub(crate) fn release_all(&mut self, hashes: &[u64]) {
        debug_assert!(hashes.iter().all(|hash| self.is_claimed(*hash)), "who gives a claim back has it");
        if hashes.len() == self.claims.hashes.len() {
            // There are no others.
            self.claims.hashes.clear();
            self.claims.bits = 0;
        } else {
            hashes.iter().for_each(|hash| self.release(*hash));
        }
    }

    /// Notes that the transaction `id` was made under `key` (1 ..= 255 bytes), and gives the claim back if there is
    /// one. The key was not settled before.
    ///
    /// # Panics
    ///
    /// When the shard's keys have filled 4 GiB, which is 80 million of them: see [`KeyShard::has_room_for`]. Or from the id
    /// 2^48.
    fn settle(&mut self, hash: u64, key: &str, fingerprint: u64, id: TransactionId) -> u32 {
        let reference = self.add(hash, key, fingerprint, id);
        self.release(hash);
        reference
    }

    /// As [`KeyShard::settle`], of which the claim stays. Returns where the record lies.
    ///
    /// # Panics
    /// As [`KeyShard::settle`].
    #[inline]
    pub(crate) fn add(&mut self, hash: u64, key: &str, fingerprint: u64, id: TransactionId) -> u32 {
        debug_assert!(!matches!(self.lookup(hash, key), Lookup::Settled { .. }), "the key {key:?} was settled before");
        let address = self.records.push_parts(&[&head(id, fingerprint, key.len()), key.as_bytes()]);
        let reference = u32::try_from(address).unwrap_or(u32::MAX);
        assert!(reference <= SlotIndex::REFERENCE_MAX, "the keys of one shard have filled 4 GiB");
        self.index.insert(hash, reference);
        reference
    }

    /// As [`KeyShard::settle`], by a later entry, `seq`, than the transaction's own.
    ///
    /// # Panics
    /// As [`KeyShard::settle`].
    pub(crate) fn settle_by(&mut self, hash: u64, key: &str, fingerprint: u64, id: TransactionId, seq: Seq) {
        let reference = self.settle(hash, key, fingerprint, id);
        if seq != id.seq() {
            self.later.push((reference, seq));
        }
    }

    /// Which entry settled the key of the record at `address`, which is of the transaction `id`.
    pub(crate) fn settled_by(&self, address: u64, id: TransactionId) -> Seq {
        let found = self.later.binary_search_by_key(&address, |later| later.0.into());
        found.map_or(id.seq(), |index| self.later[index].1)
    }

    /// The key of the transaction `id`, given the key's hash.
    pub(crate) fn key_of(&self, hash: u64, id: TransactionId) -> Option<&str> {
        let found = self.index.find(hash, |reference| self.record(reference).id == id)?;
        Some(std::str::from_utf8(self.record(found).key).expect("a key was a str when it was settled"))
    }

    /// Where the next key's record begins at the earliest: keys settled from now on lie there or behind.
    pub(crate) fn end(&self) -> u64 {
        self.records.next_address(0)
    }

    /// The records of settled keys from `address` to the end of their chunk, and where the next chunk begins; `None` at the
    /// end. They lie in the order in which they were settled, which is not that of their transactions.
    pub(crate) fn piece(&self, address: u64) -> Option<(&[u8], u64)> {
        let next = (address / CHUNK_BYTES + 1) * CHUNK_BYTES;
        (address < self.end()).then(|| (self.records.rest(address), next))
    }

    /// The hashes that are claimed now, in no order.
    pub(crate) fn claims(&self) -> Vec<u64> {
        self.claims.hashes.clone()
    }

    /// About so many keys will be restored.
    pub(crate) fn expect(&mut self, count: usize) {
        self.index.expect(count);
    }

    /// Adds the key of a record that [`KeyShard::piece`] gave, which was settled by the entry `seq`, or by one after it and
    /// not after that of the next key; `false`: there is no room.
    pub(crate) fn restore(&mut self, hash: u64, record: &KeyRecord<'_>, seq: Seq) -> bool {
        if !self.has_room_for(1) {
            return false;
        }
        let reference = u32::try_from(self.records.push(record.bytes)).expect("there is room");
        self.index.insert(hash, reference);
        if seq != record.id.seq() {
            self.later.push((reference, seq));
        }
        true
    }

    /// Bytes on the heap, the allocator's own overhead apart.
    pub(crate) fn bytes(&self) -> usize {
        self.index.bytes()
            + self.records.bytes()
            + self.later.capacity() * std::mem::size_of::<(u32, Seq)>()
            + self.claims.hashes.capacity() * std::mem::size_of::<u64>()
    }

    /// Of those bytes, what no key has used yet.
    pub(crate) fn unfilled_bytes(&self) -> usize {
        self.records.unfilled_bytes()
    }

    fn record(&self, reference: u32) -> Record<'_> {
        let bytes = self.records.rest(reference.into());
        let number = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes are eight"));
        let fingerprint = u64::from_le_bytes(bytes[7..HEAD].try_into().expect("eight bytes are eight"));
        let id = TransactionId::new(number >> 8 & ((1 << 48) - 1)).expect("an id is not zero");
        Record { id, fingerprint, key: &bytes[HEAD..][..usize::from(bytes[0])] }
    }
}

#[cfg(test)]
mod tests {
    mod exact;

    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn id(id: u64) -> TransactionId {
        TransactionId::new(id).unwrap()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Claim(u64),
        Release(u64),
        Settle { key: String, fingerprint: u64, id: TransactionId },
    }

    /// Few hashes for many keys, so that they collide.
    fn hash_of(key: &str) -> u64 {
        [0, 1, u64::MAX, 1 << 63][key.len() % 4]
    }

    fn step() -> impl Strategy<Value = Step> {
        let hash = prop_oneof![Just(0), Just(1), Just(u64::MAX)];
        let ids = prop_oneof![1..1_000u64, Just((1 << 48) - 1)];
        let keys = prop_oneof![4 => "[a-c]{1,4}", 1 => "[^\\pC]{1,60}", 1 => Just("k".repeat(255))];
        prop_oneof![
            hash.clone().prop_map(Step::Claim),
            hash.prop_map(Step::Release),
            (keys, any::<u64>(), ids).prop_map(|(key, fingerprint, n)| Step::Settle { key, fingerprint, id: id(n) }),
        ]
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_map(steps in prop::collection::vec(step(), 0..400)) {
            let (mut shard, mut settled, mut claims) = (KeyShard::new(), BTreeMap::new(), BTreeSet::new());
            for step in steps {
                match step {
                    Step::Claim(hash) => {
                        shard.claim(hash);
                        claims.insert(hash);
                    }
                    Step::Release(hash) => {
                        shard.release(hash);
                        claims.remove(&hash);
                    }
                    Step::Settle { key, fingerprint, id } => {
                        let expected = match settled.get(&key) {
                            Some(&(id, fingerprint)) => Lookup::Settled { id, fingerprint },
                            None if claims.contains(&hash_of(&key)) => Lookup::Claimed,
                            None => Lookup::Free,
                        };
                        prop_assert_eq!(shard.lookup(hash_of(&key), &key), expected);
                        if !matches!(expected, Lookup::Settled { .. }) {
                            shard.settle(hash_of(&key), &key, fingerprint, id);
                            claims.remove(&hash_of(&key));
                            settled.insert(key, (id, fingerprint));
                        }
                    }
                }
                prop_assert_eq!(shard.claims.hashes.len(), claims.len());
            }
            for (key, &(id, fingerprint)) in &settled {
                prop_assert_eq!(shard.lookup(hash_of(key), key), Lookup::Settled { id, fingerprint });
                let found = shard.key_of(hash_of(key), id);
                prop_assert!(found.is_some_and(|found| settled[found].0 == id));
            }
        }
    }

    #[test]
    fn a_settled_key_is_told_from_another_with_the_same_hash() {
        let mut shard = KeyShard::new();
        shard.settle(9, "a", 1, id(1));
        assert_eq!(shard.lookup(9, "a"), Lookup::Settled { id: id(1), fingerprint: 1 });
        assert_eq!(shard.lookup(9, "b"), Lookup::Free);
        shard.claim(9);
        assert_eq!(shard.lookup(9, "a"), Lookup::Settled { id: id(1), fingerprint: 1 });
        assert_eq!(shard.lookup(9, "b"), Lookup::Claimed);
        assert_eq!((shard.key_of(9, id(1)), shard.key_of(9, id(2)), shard.key_of(8, id(1))), (Some("a"), None, None));
    }

    #[test]
    fn a_flood_of_rejected_commands_leaves_no_bytes() {
        let mut shard = KeyShard::new();
        for hash in 0..1_000_000u64 {
            shard.claim(hash.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            shard.release(hash.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        }
        assert_eq!((shard.index.bytes(), shard.claims.hashes.len()), (0, 0));
        assert!(shard.bytes() < 1_000, "{}", shard.bytes());
    }

    #[test]
    fn a_million_keys_are_all_found_and_cost_little_more_than_themselves() {
        const N: u64 = 1 << 20;
        let mut shard = KeyShard::new();
        let key = |i: u64| format!("payment-2024-{i:011}");
        let hash = |i: u64| (i ^ i << 40).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        for i in 1..=N {
            shard.settle(hash(i), &key(i), !i, id(i));
        }
        for i in 1..=N {
            assert_eq!(shard.lookup(hash(i), &key(i)), Lookup::Settled { id: id(i), fingerprint: !i });
            assert_eq!(shard.key_of(hash(i), id(i)), Some(&*key(i)));
        }
        let each = shard.bytes() as f64 / N as f64;
        assert!(each < 52.0, "{each}");
    }

    #[test]
    fn room_is_kept_for_every_claim() {
        let end = u64::from(SlotIndex::REFERENCE_MAX);
        assert!(has_room(end - 540, 1) && !has_room(end - 540, 2) && !has_room(end - 539, 1));
        assert!(KeyShard::new().has_room_for(1));
    }
}
