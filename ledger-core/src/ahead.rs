//! Memory that is written to before it is needed.
//!
//! The first write to a page is slow: the kernel clears it, and the host of a virtual machine may have to find memory for it. So
//! while a ledger grows, a thread writes to blocks as its tables will want them next, and they take those. Where none is ready
//! a table allocates its own: nobody waits for the thread.
//!
//! There is one stock for the process, as there is one allocator, and one thread while a ledger is open that wants it. For every
//! sixteen blocks that were taken one is kept ready, up to a limit, and none is taken for what each table begins with: a small
//! ledger has none made, and an idle one touches nothing.
//!
//! None of it decides what a ledger does, so no model checker need see it: the locks are the standard library's.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};

/// So many of a kind were taken for each that is kept ready.
const TAKEN_EACH: usize = 16;
/// Of what is kept ready, each kind has so many sixteenths.
const SHARES: usize = 16;

static STOCK: Stock = Stock::new();

/// Has memory made ready while it lives.
pub(crate) struct Ahead {
    stock: &'static Stock,
}

impl Ahead {
    /// Up to so many bytes: the most that was said since there was none. `None` for 0, or where there can be no thread.
    pub(crate) fn begin(bytes_max: usize) -> Option<Ahead> {
        STOCK.begin(bytes_max)
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.stock.end_one();
    }
}

/// An empty vector with room for `len` items.
pub(crate) fn room<T: Block>(len: usize) -> Vec<T> {
    let Some(mut block) = STOCK.take(len) else { return Vec::with_capacity(len) };
    block.clear();
    block
}

/// A vector of `len` default items.
pub(crate) fn filled<T: Block>(len: usize) -> Vec<T> {
    STOCK.take(len).unwrap_or_else(|| vec![T::default(); len])
}

/// The bytes that are ready now.
pub(crate) fn bytes_ready() -> usize {
    STOCK.bytes_ready()
}

/// Whether blocks of `len` items are ever made ready.
#[cfg(test)]
pub(crate) fn knows<T: Block>(len: usize) -> bool {
    T::kind(&STOCK, len).is_some()
}

/// What blocks are made of.
pub(crate) trait Block: Copy + Default + Send + 'static {
    /// The blocks of `len` items, if such are made ready.
    fn kind(stock: &Stock, len: usize) -> Option<&Kind<Self>>;
}

impl Block for u8 {
    fn kind(stock: &Stock, len: usize) -> Option<&Kind<u8>> {
        Some(&stock.records).filter(|kind| kind.len == len)
    }
}

impl Block for u32 {
    fn kind(stock: &Stock, len: usize) -> Option<&Kind<u32>> {
        Some(&stock.lists).filter(|kind| kind.len == len)
    }
}

impl Block for u64 {
    fn kind(stock: &Stock, len: usize) -> Option<&Kind<u64>> {
        stock.slots.iter().find(|kind| kind.len == len)
    }
}

/// What is ready, and who makes it so.
pub(crate) struct Stock {
    /// The chunks of records and keys.
    records: Kind<u8>,
    /// The chunks of the accounts' lists.
    lists: Kind<u32>,
    /// The tables of keys and accounts, after they were split and before they are again.
    slots: [Kind<u64>; 2],
    /// How much is kept ready at most; 0 while nobody wants any.
    bytes_max: AtomicUsize,
    /// Whether the thread looks for work, so that nobody need wake it. Who comes just as it falls asleep is missed: the next
    /// one wakes it.
    is_awake: AtomicBool,
    is_ending: AtomicBool,
    users: Mutex<Users>,
    /// Who is to be woken. Apart from `users`, which is locked until the thread has ended.
    sleeper: Mutex<Option<Thread>>,
}

struct Users {
    count: usize,
    thread: Option<JoinHandle<()>>,
}

impl Stock {
    const fn new() -> Stock {
        Stock {
            records: Kind::new(1 << 16, 10),
            lists: Kind::new(1 << 14, 2),
            slots: [Kind::new(4_096 + 64, 2), Kind::new(6_144 + 64, 2)],
            bytes_max: AtomicUsize::new(0),
            is_awake: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
            users: Mutex::new(Users { count: 0, thread: None }),
            sleeper: Mutex::new(None),
        }
    }

    fn begin(&'static self, bytes_max: usize) -> Option<Ahead> {
        if bytes_max == 0 {
            return None;
        }
        let mut users = locked(&self.users);
        if users.thread.is_none() {
            self.is_ending.store(false, Ordering::SeqCst);
            let thread = thread::Builder::new().name("ledger-memory".to_owned()).spawn(|| self.run()).ok()?;
            *locked(&self.sleeper) = Some(thread.thread().clone());
            // Who wanted to wake it before that could not.
            thread.thread().unpark();
            users.thread = Some(thread);
        }
        users.count += 1;
        self.bytes_max.fetch_max(bytes_max, Ordering::Relaxed);
        Some(Ahead { stock: self })
    }

    /// The last one takes what is ready with him.
    fn end_one(&self) {
        let mut users = locked(&self.users);
        users.count -= 1;
        if users.count > 0 {
            return;
        }
        self.bytes_max.store(0, Ordering::Relaxed);
        self.is_ending.store(true, Ordering::SeqCst);
        *locked(&self.sleeper) = None;
        if let Some(thread) = users.thread.take() {
            thread.thread().unpark();
            drop(thread.join());
        }
        self.kinds().iter().for_each(|kind| kind.forget());
    }

    fn kinds(&self) -> [&dyn AnyKind; 4] {
        [&self.records, &self.lists, &self.slots[0], &self.slots[1]]
    }

    fn bytes_ready(&self) -> usize {
        self.kinds().iter().map(|kind| kind.bytes_ready()).sum()
    }

    fn run(&self) {
        while !self.is_ending.load(Ordering::SeqCst) {
            self.is_awake.store(true, Ordering::SeqCst);
            while self.make_more() > 0 && !self.is_ending.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            self.is_awake.store(false, Ordering::SeqCst);
            thread::park();
        }
    }

    /// Makes a block of each kind of which one is wanted, in turn, since they are needed in turn; returns how many.
    fn make_more(&self) -> usize {
        let bytes_max = self.bytes_max.load(Ordering::Relaxed);
        self.kinds().iter().filter(|kind| kind.make_one(bytes_max)).count()
    }

    /// A block of `len` items, each the default; `None` where none is ready.
    fn take<T: Block>(&self, len: usize) -> Option<Vec<T>> {
        let bytes_max = self.bytes_max.load(Ordering::Relaxed);
        if bytes_max == 0 {
            return None;
        }
        let (block, is_low) = T::kind(self, len)?.take(bytes_max);
        if is_low
            && !self.is_awake.swap(true, Ordering::SeqCst)
            && let Some(thread) = &*locked(&self.sleeper)
        {
            thread.unpark();
        }
        block
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Blocks of one length.
pub(crate) struct Kind<T> {
    /// Items of each.
    len: usize,
    share: usize,
    ready: Mutex<Vec<Vec<T>>>,
    /// How many were asked for, whether they were ready or not.
    taken: AtomicUsize,
}

impl<T: Block> Kind<T> {
    const fn new(len: usize, share: usize) -> Kind<T> {
        Kind { len, share, ready: Mutex::new(Vec::new()), taken: AtomicUsize::new(0) }
    }

    /// How many are to be ready.
    fn wanted(&self, bytes_max: usize) -> usize {
        let most = bytes_max / SHARES * self.share / (self.len * size_of::<T>());
        most.min(self.taken.load(Ordering::Relaxed) / TAKEN_EACH)
    }

    /// A block, if one is ready, and whether more should be made: once for several, since to wake a thread takes time.
    fn take(&self, bytes_max: usize) -> (Option<Vec<T>>, bool) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        let wanted = self.wanted(bytes_max);
        let mut ready = locked(&self.ready);
        (ready.pop(), ready.len() < wanted - wanted / 4)
    }
}

/// A [`Kind`], whatever its blocks are made of.
trait AnyKind: Sync {
    /// Makes a block ready if one is wanted, and says whether.
    fn make_one(&self, bytes_max: usize) -> bool;
    fn bytes_ready(&self) -> usize;
    /// Lets go of all that is ready, and begins to count anew.
    fn forget(&self);
}

impl<T: Block> AnyKind for Kind<T> {
    fn make_one(&self, bytes_max: usize) -> bool {
        if locked(&self.ready).len() >= self.wanted(bytes_max) {
            return false;
        }
        let mut block = Vec::new();
        // Who needs it may still find some, or end the process: nobody needs this yet.
        if block.try_reserve_exact(self.len).is_err() {
            return false;
        }
        // Hidden from the compiler, which else asks the allocator for zeros, and those are in no page before they are read.
        block.resize(self.len, black_box(T::default()));
        locked(&self.ready).push(black_box(block));
        true
    }

    fn bytes_ready(&self) -> usize {
        locked(&self.ready).len() * self.len * size_of::<T>()
    }

    fn forget(&self) {
        self.taken.store(0, Ordering::Relaxed);
        locked(&self.ready).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn one_in_sixteen_is_kept_ready_up_to_the_share_of_the_limit() {
        let kind = Kind::<u64>::new(1 << 10, 4);
        let ready = |taken: usize, bytes_max: usize| {
            kind.forget();
            (0..taken).for_each(|_| assert_eq!(kind.take(bytes_max).0, None));
            while kind.make_one(bytes_max) {}
            kind.bytes_ready() >> 13
        };
        assert_eq!([0, 15, 16, 47, 48, 1_000].map(|taken| ready(taken, MIB)), [0, 0, 1, 2, 3, 32]);
        assert_eq!([MIB / 2, MIB, 2 * MIB].map(|most| ready(1_000, most)), [16, 32, 62]);
    }

    #[test]
    fn a_block_that_was_ready_has_the_length_and_default_items_and_more_are_asked_for_when_a_quarter_is_gone() {
        let kind = Kind::<u64>::new(100, 16);
        (0..16 * 8).for_each(|_| drop(kind.take(MIB)));
        while kind.make_one(MIB) {}
        let taken: Vec<_> = (0..9).map(|_| kind.take(MIB)).collect();
        assert!(taken[..8].iter().all(|(block, _)| *block == Some(vec![0; 100])));
        assert_eq!(taken[8].0, None);
        assert_eq!(
            taken.iter().map(|(_, is_low)| *is_low).collect::<Vec<_>>(),
            [[false; 2].as_slice(), &[true; 7]].concat()
        );
    }

    /// A stock of its own, since other tests open ledgers meanwhile.
    fn stock() -> &'static Stock {
        Box::leak(Box::new(Stock::new()))
    }

    /// Takes more than can be ready, so that some was made meanwhile.
    fn grow(stock: &Stock) {
        for _ in 0..100 {
            while stock.take::<u32>(1 << 14).is_none() {
                thread::yield_now();
            }
        }
    }

    #[test]
    fn while_somebody_wants_it_memory_is_made_ready_and_then_given_back() {
        let stock = stock();
        assert!(stock.begin(0).is_none());
        (0..100).for_each(|_| assert_eq!(stock.take::<u32>(1 << 14), None));
        for _ in 0..2 {
            let (one, other) = (stock.begin(8 * MIB), stock.begin(MIB));
            assert!(one.is_some() && other.is_some());
            grow(stock);
            drop(one);
            grow(stock);
            assert!(stock.bytes_ready() <= MIB);
            drop(other);
            assert_eq!((stock.bytes_ready(), stock.take::<u32>(1 << 14)), (0, None));
        }
    }

    #[test]
    fn of_another_length_nothing_is_made_ready() {
        let stock = stock();
        assert!([100, 1 << 14, 1 << 17].iter().all(|len| u8::kind(stock, *len).is_none()));
        assert!(u32::kind(stock, 1 << 16).is_none() && u64::kind(stock, 1 << 16).is_none());
    }

    #[test]
    fn a_vector_is_as_long_as_was_asked_for_whether_it_was_ready_or_not() {
        for len in [1 << 14, 100] {
            let (room, filled) = (room::<u32>(len), filled::<u32>(len));
            assert!(room.is_empty() && room.capacity() >= len);
            assert_eq!(filled, vec![0; len]);
        }
    }
}
