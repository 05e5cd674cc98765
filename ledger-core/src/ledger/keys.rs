//! The idempotency keys of the whole ledger, split over locks, and the claims on them.
//!
//! A claim is held from the moment a command is found to be new until it is appended or rejected: never across I/O.
//! A command that meets another's claim waits, holding no lock and no claim.

use std::hint::black_box;

use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::state::idempotency::{KeyRecord, KeyShard, Lookup};
use crate::sync::{CachePadded, Condvar, Mutex, MutexGuard};
use crate::types::{Seq, TransactionId};

/// How many locks [`Keys::keys_of`] holds at once: about as many misses as a core can have under way.
const LOCKED_TOGETHER: usize = 16;

pub(crate) struct Keys {
    shards: Box<[CachePadded<KeyLock>]>,
    /// Random, since keys come from callers, and the same for the ledger's life: records hold their keys' hashes, and
    /// snapshots hold the records. So the hash is one that is specified.
    seed: u64,
}

struct KeyLock {
    shard: Mutex<KeyShard>,
    /// Notified when a claim ends. The claim is looked for again after every wake.
    freed: Condvar,
}

/// A key that names an accepted command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Settled {
    pub(crate) id: TransactionId,
    /// The low half of the command's fingerprint.
    pub(crate) fingerprint: u64,
}

/// Why a key cannot be claimed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unclaimed {
    /// It names an accepted command.
    Settled(Settled),
    /// There is no room for another key.
    Full,
}

/// The right to settle a key; given back when it is dropped.
pub(crate) struct Claim<'a> {
    keys: &'a Keys,
    hash: u64,
}

impl Keys {
    /// Many, so that two threads rarely meet, and so that each table is small when it grows.
    pub(crate) const LOCKS: usize = 256;

    pub(crate) fn new(seed: u64) -> Keys {
        let lock = || CachePadded::new(KeyLock { shard: Mutex::new(KeyShard::new()), freed: Condvar::new() });
        Keys { shards: (0..Self::LOCKS).map(|_| lock()).collect(), seed }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn hash(&self, key: &str) -> u64 {
        self.hash_of(key.as_bytes())
    }

    /// As [`Keys::hash`], of the key's bytes.
    pub(crate) fn hash_of(&self, key: &[u8]) -> u64 {
        xxh3_64_with_seed(key, self.seed)
    }

    /// The lock that a hash belongs to.
    pub(crate) fn index(hash: u64) -> usize {
        (hash >> 56) as usize % Self::LOCKS
    }

    fn lock(&self, hash: u64) -> &KeyLock {
        &self.shards[Self::index(hash)]
    }

    /// Claims the key, waiting for any other claim on it to end.
    ///
    /// # Errors
    /// The key names an accepted command, or none can be added.
    pub(crate) fn claim(&self, hash: u64, key: &str) -> Result<Claim<'_>, Unclaimed> {
        let lock = self.lock(hash);
        let mut shard = lock.shard.lock();
        loop {
            match shard.lookup(hash, key) {
                Lookup::Free if !shard.has_room_for(1) => return Err(Unclaimed::Full),
                Lookup::Free => {
                    shard.claim(hash);
                    return Ok(Claim { keys: self, hash });
                }
                Lookup::Settled { id, fingerprint } => return Err(Unclaimed::Settled(Settled { id, fingerprint })),
                Lookup::Claimed => lock.freed.wait(&mut shard),
            }
        }
    }

    /// What the key names, once no claim is on it.
    pub(crate) fn settled(&self, hash: u64, key: &str) -> Option<Settled> {
        let lock = self.lock(hash);
        let mut shard = lock.shard.lock();
        loop {
            match shard.lookup(hash, key) {
                Lookup::Free => return None,
                Lookup::Settled { id, fingerprint } => return Some(Settled { id, fingerprint }),
                Lookup::Claimed => lock.freed.wait(&mut shard),
            }
        }
    }

    /// Runs `work` with the shard `index` locked once, for many keys; `ends_claims` wakes who waits for one of them.
    pub(crate) fn with<R>(&self, index: usize, ends_claims: bool, work: impl FnOnce(&mut KeyShard) -> R) -> R {
        let lock = &self.shards[index];
        let result = work(&mut lock.shard.lock());
        if ends_claims {
            lock.freed.notify_all();
        }
        result
    }

    /// About so many keys will be added, where there are none.
    pub(crate) fn expect(&self, count: usize) {
        (0..Self::LOCKS).for_each(|index| self.with(index, false, |shard| shard.expect(count / Self::LOCKS)));
    }

    /// Bytes on the heap, and how many of them no key has used yet; looked at with one lock at a time.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        self.shards.iter().fold((std::mem::size_of_val(&*self.shards), 0), |(bytes, unfilled), lock| {
            let shard = lock.shard.lock();
            (bytes + shard.bytes(), unfilled + shard.unfilled_bytes())
        })
    }

    /// The key of a transaction, given the key's hash. A transaction can be seen before its key is settled: then this
    /// waits for the claim to end.
    pub(crate) fn key_of(&self, hash: u64, id: TransactionId) -> Box<str> {
        let lock = self.lock(hash);
        let mut shard = lock.shard.lock();
        loop {
            match shard.key_of(hash, id) {
                Some(key) => return key.into(),
                // Only a panic keeps a command from settling its key, and that halts the ledger.
                None if !shard.is_claimed(hash) => return Box::default(),
                None => lock.freed.wait(&mut shard),
            }
        }
    }

    /// As [`Keys::key_of`], of several transactions. Few locks are held at once, and none while it waits.
    pub(crate) fn keys_of(&self, wanted: &[(u64, TransactionId)]) -> Vec<Box<str>> {
        let mut keys = Vec::with_capacity(wanted.len());
        for wanted in wanted.chunks(LOCKED_TOGETHER) {
            let known = self.known_keys_of(wanted);
            let waited_for = known.into_iter().zip(wanted);
            keys.extend(waited_for.map(|(key, &(hash, id))| key.unwrap_or_else(|| self.key_of(hash, id))));
        }
        keys
    }

    /// Those that are settled. A key's slot and its record are two cache misses; between one lock and the next each would be
    /// waited for, behind all locks they overlap.
    fn known_keys_of(&self, wanted: &[(u64, TransactionId)]) -> SmallVec<[Option<Box<str>>; LOCKED_TOGETHER]> {
        let mut indexes: SmallVec<[usize; LOCKED_TOGETHER]> =
            wanted.iter().map(|&(hash, _)| Self::index(hash)).collect();
        // Rising, as everybody does who holds more than one.
        indexes.sort_unstable();
        indexes.dedup();
        let guards: SmallVec<[MutexGuard<'_, KeyShard>; LOCKED_TOGETHER]> =
            indexes.iter().map(|&index| self.shards[index].shard.lock()).collect();
        let locked = |hash| &*guards[indexes.binary_search(&Self::index(hash)).expect("each was locked")];
        black_box(wanted.iter().fold(0, |sum, &(hash, _)| {
            let shard = locked(hash);
            sum ^ shard.touch(shard.start(hash))
        }));
        black_box(wanted.iter().fold(0, |sum, &(hash, _)| sum ^ locked(hash).touch_record(hash)));
        wanted.iter().map(|&(hash, id)| locked(hash).key_of(hash, id).map(Into::into)).collect()
    }

    /// Waits until every claim on a key of the shard `index` that there is now has ended: what was appended before is
    /// settled then. It is called without a lock or a claim, and claims never wait for the disk.
    pub(crate) fn await_claims(&self, index: usize) {
        let lock = &self.shards[index];
        let mut shard = lock.shard.lock();
        let mut waiting = shard.claims();
        loop {
            waiting.retain(|hash| shard.is_claimed(*hash));
            if waiting.is_empty() {
                return;
            }
            lock.freed.wait(&mut shard);
        }
    }

    /// Adds the key of a record from a snapshot's section of the shard `index`; `seq` as in [`KeyShard::restore`].
    ///
    /// # Errors
    /// Why it is not taken.
    pub(crate) fn restore_record(
        &self,
        shard: &mut KeyShard,
        index: usize,
        record: &KeyRecord<'_>,
        seq: Seq,
    ) -> Result<(), String> {
        let hash = xxh3_64_with_seed(record.key, self.seed);
        if Self::index(hash) != index || std::str::from_utf8(record.key).is_err() {
            return Err(format!("the key of transaction {} does not belong here", record.id));
        }
        if shard.restore(hash, record, seq) { Ok(()) } else { Err("more keys than the tables hold".into()) }
    }

    /// Locks all of them. Who holds one meanwhile must wait for none.
    pub(super) fn lock_all(&self) -> Vec<MutexGuard<'_, KeyShard>> {
        self.shards.iter().map(|lock| lock.shard.lock()).collect()
    }

    /// Settles a key in its locked shard during replay of the entry `seq`, when nobody claims any.
    ///
    /// # Errors
    /// The key names an accepted command, or none can be added.
    pub(super) fn restore(
        shard: &mut KeyShard,
        hash: u64,
        key: &str,
        settled: Settled,
        seq: Seq,
    ) -> Result<(), Unclaimed> {
        match shard.lookup(hash, key) {
            Lookup::Settled { id, fingerprint } => return Err(Unclaimed::Settled(Settled { id, fingerprint })),
            _ if !shard.has_room_for(1) => return Err(Unclaimed::Full),
            _ => shard.settle_by(hash, key, settled.fingerprint, settled.id, seq),
        }
        Ok(())
    }
}

impl Claim<'_> {
    /// The key names `settled` from now on, by the entry `seq`.
    pub(crate) fn settle(self, key: &str, settled: Settled, seq: Seq) {
        let (keys, hash) = (self.keys, self.hash);
        keys.with(Keys::index(hash), true, |shard| {
            shard.settle_by(hash, key, settled.fingerprint, settled.id, seq);
        });
        // Not before: a panic while it is settled must free it for those who wait.
        std::mem::forget(self);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.keys.with(Keys::index(self.hash), true, |shard| shard.release(self.hash));
    }
}
