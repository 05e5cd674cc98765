//! Memory that is written to before it is needed.
//!
//! The first write to a page is slow: the kernel clears it, and the host of a virtual machine may have to find memory for it. So
//! while a ledger grows, a thread writes to blocks as its tables will want them next, and they take those. Where none is ready
//! a table allocates its own: nobody waits for the thread.
//!
//! There is one stock for the process, as there is one allocator, and one thread while a ledger is open that wants it. A sixteenth
//! of what was taken is kept ready, up to a limit, of each kind of block in proportion; none is taken for what each table begins
//! with. So a small ledger has none made, and an idle one touches nothing.
//!
//! None of it decides what a ledger does, so no model checker need see it: the locks are the standard library's.

use std::any::{Any, TypeId};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};

/// So many bytes were taken for each that is kept ready.
const TAKEN_EACH: usize = 16;
/// What was taken counts half once it is so many times the limit: what is taken from then on soon decides.
const REMEMBERED: usize = 2 * TAKEN_EACH;

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
    STOCK.room(len)
}

/// A vector of `len` blank items, if one is ready.
pub(crate) fn filled<T: Block>(len: usize) -> Option<Vec<T>> {
    STOCK.take(len)
}

/// The bytes that are ready now.
pub(crate) fn bytes_ready() -> usize {
    STOCK.bytes_ready()
}

/// What blocks are made of.
pub(crate) trait Block: Send + 'static {
    /// What a block is filled with.
    fn blank() -> Self;
}

impl Block for u8 {
    fn blank() -> u8 {
        0
    }
}

impl Block for u32 {
    fn blank() -> u32 {
        0
    }
}

impl Block for u64 {
    fn blank() -> u64 {
        0
    }
}

impl Block for AtomicU8 {
    fn blank() -> AtomicU8 {
        AtomicU8::new(0)
    }
}

/// What is ready, and who makes it so.
struct Stock {
    kinds: Mutex<Kinds>,
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

/// Blocks of several kinds. Of what is kept ready, each has the share that it had of what was taken.
struct Kinds {
    all: Vec<Kind>,
    /// Bytes that were asked for, whether they were ready or not.
    taken: usize,
}

/// Blocks of as many items of one type.
struct Kind {
    of: TypeId,
    len: usize,
    /// Bytes of each.
    bytes: usize,
    /// How many were asked for.
    taken: usize,
    make: Make,
    ready: Vec<Ready>,
}

/// A vector of blank items.
type Ready = Box<dyn Any + Send>;
/// Makes one of so many; `None` where there is no memory.
type Make = fn(usize) -> Option<Ready>;

struct Users {
    count: usize,
    thread: Option<JoinHandle<()>>,
}

impl Kinds {
    /// Those of `len` items, which it knows from now on.
    fn of<T: Block>(&mut self, len: usize) -> &mut Kind {
        let of = TypeId::of::<T>();
        let known = self.all.iter().position(|kind| kind.of == of && kind.len == len);
        let index = known.unwrap_or_else(|| {
            let bytes = len * size_of::<T>();
            self.all.push(Kind { of, len, bytes, taken: 0, make: made::<T>, ready: Vec::new() });
            self.all.len() - 1
        });
        &mut self.all[index]
    }

    /// A block, if one is ready, and whether more should be made: once for several, since to wake a thread takes time.
    fn take<T: Block>(&mut self, len: usize, bytes_max: usize) -> (Option<Vec<T>>, bool) {
        let kind = self.of::<T>(len);
        kind.taken += 1;
        let (block, ready, taken, bytes) = (kind.ready.pop(), kind.ready.len(), kind.taken, kind.bytes);
        self.taken += bytes;
        let wanted = self.wanted(taken, bytes_max);
        if self.taken > bytes_max.saturating_mul(REMEMBERED) {
            self.all.iter_mut().for_each(|kind| kind.taken /= 2);
            self.taken = self.all.iter().map(|kind| kind.taken * kind.bytes).sum();
        }
        let block = block.map(|block| *block.downcast().expect("of its kind"));
        (block, ready < wanted - wanted / 4)
    }

    /// How many are to be ready of a kind of which so many were taken.
    fn wanted(&self, taken: usize, bytes_max: usize) -> usize {
        let bytes = (self.taken / TAKEN_EACH).min(bytes_max);
        (bytes as u128 * taken as u128 / (self.taken as u128).max(1)) as usize
    }

    /// Of which kinds a block is wanted, and what makes one; no more than the limit has room for.
    fn lacking(&self, bytes_max: usize) -> Vec<(usize, usize, Make)> {
        let mut left = bytes_max.saturating_sub(self.bytes_ready());
        let mut is_lacking = |kind: &Kind| {
            let is_lacking = kind.ready.len() < self.wanted(kind.taken, bytes_max) && kind.bytes <= left;
            left -= if is_lacking { kind.bytes } else { 0 };
            is_lacking
        };
        let lacking = self.all.iter().enumerate().filter(|(_, kind)| is_lacking(kind));
        lacking.map(|(index, kind)| (index, kind.len, kind.make)).collect()
    }

    /// Blocks that are not wanted any more, since others are taken.
    fn surplus(&mut self, bytes_max: usize) -> Vec<Ready> {
        let wanted: Vec<_> = self.all.iter().map(|kind| self.wanted(kind.taken, bytes_max)).collect();
        let kinds = self.all.iter_mut().zip(wanted);
        kinds.flat_map(|(kind, wanted)| kind.ready.drain(wanted.min(kind.ready.len())..)).collect()
    }

    fn bytes_ready(&self) -> usize {
        self.all.iter().map(|kind| kind.ready.len() * kind.bytes).sum()
    }
}

/// A [`Make`]. Who needs memory may find some even so, or end the process: nobody needs this yet.
fn made<T: Block>(len: usize) -> Option<Ready> {
    let mut block = Vec::<T>::new();
    block.try_reserve_exact(len).ok()?;
    // Hidden from the compiler, which else asks the allocator for zeros, and those are in no page before they are read.
    let mut block = black_box(block);
    block.resize_with(len, T::blank);
    Some(Box::new(block))
}

impl Stock {
    const fn new() -> Stock {
        Stock {
            kinds: Mutex::new(Kinds { all: Vec::new(), taken: 0 }),
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
        let kinds = std::mem::replace(&mut *locked(&self.kinds), Kinds { all: Vec::new(), taken: 0 });
        drop(kinds);
    }

    fn bytes_ready(&self) -> usize {
        locked(&self.kinds).bytes_ready()
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
        let (surplus, lacking) = {
            let mut kinds = locked(&self.kinds);
            (kinds.surplus(bytes_max), kinds.lacking(bytes_max))
        };
        drop(surplus);
        let made = lacking.into_iter().filter_map(|(index, len, make)| Some((index, make(len)?)));
        made.map(|(index, block)| locked(&self.kinds).all[index].ready.push(block)).count()
    }

    fn room<T: Block>(&self, len: usize) -> Vec<T> {
        let Some(mut block) = self.take(len) else { return Vec::with_capacity(len) };
        block.clear();
        block
    }

    /// A block of `len` items, each blank; `None` where none is ready.
    fn take<T: Block>(&self, len: usize) -> Option<Vec<T>> {
        let bytes_max = self.bytes_max.load(Ordering::Relaxed);
        if bytes_max == 0 {
            return None;
        }
        let (block, is_low) = locked(&self.kinds).take(len, bytes_max);
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

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// Takes so many blocks of 8 and of 16 KiB, lets all be made that are wanted, and says how many are ready.
    fn ready(stock: &Stock, taken: [usize; 2], bytes_max: usize) -> [usize; 2] {
        stock.bytes_max.store(bytes_max, Ordering::Relaxed);
        (0..taken[0]).for_each(|_| drop(stock.take::<u64>(1 << 10)));
        (0..taken[1]).for_each(|_| drop(stock.take::<u8>(1 << 14)));
        while stock.make_more() > 0 {}
        let mut kinds = locked(&stock.kinds);
        let [small, large] = [kinds.of::<u64>(1 << 10).ready.len(), kinds.of::<u8>(1 << 14).ready.len()];
        assert_eq!(kinds.bytes_ready(), (small << 13) + (large << 14));
        assert!(kinds.bytes_ready() <= bytes_max);
        [small, large]
    }

    #[test]
    fn a_sixteenth_of_what_was_taken_is_kept_ready_up_to_the_limit_each_kind_in_proportion() {
        let of = |taken, bytes_max| ready(&Stock::new(), taken, bytes_max);
        assert_eq!([15, 16, 47, 48, 1_600].map(|taken| of([taken, 0], MIB)[0]), [0, 1, 2, 3, 100]);
        assert_eq!([MIB / 2, MIB, 2 * MIB].map(|most| of([4_000, 0], most)[0]), [64, 128, 250]);
        assert_eq!(of([160, 80], MIB), [10, 5]);
        assert_eq!(of([2_000, 1_000], MIB), [64, 32], "half of the bytes each");
    }

    #[test]
    fn what_is_not_taken_any_more_gives_way_within_the_limit_to_what_is() {
        let stock = Stock::new();
        assert_eq!(ready(&stock, [100_000, 0], MIB), [128, 0]);
        let [before, after] = [1_000, 10_000].map(|more| ready(&stock, [0, more], MIB));
        assert!(before[0] < 100 && before[1] > 10, "{before:?}");
        assert!(after[0] < 3 && after[1] > 60, "{after:?}");
    }

    #[test]
    fn a_block_that_was_ready_is_blank_and_as_long_and_more_are_asked_for_when_a_quarter_is_gone() {
        let mut kinds = Kinds { all: Vec::new(), taken: 0 };
        (0..16 * 8).for_each(|_| drop(kinds.take::<u64>(100, MIB)));
        for _ in 0..8 {
            let (index, len, make) = kinds.lacking(MIB)[0];
            kinds.all[index].ready.push(make(len).unwrap());
        }
        assert!(kinds.lacking(MIB).is_empty());
        assert_eq!(kinds.take::<u64>(99, MIB).0, None, "another length");
        assert_eq!(kinds.take::<u32>(100, MIB).0, None, "another type");
        let taken: Vec<_> = (0..9).map(|_| kinds.take(100, MIB)).collect();
        assert!(taken[..8].iter().all(|(block, _)| *block == Some(vec![0_u64; 100])));
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
            assert!(stock.bytes_ready() <= 8 * MIB, "the larger one's");
            drop(other);
            assert_eq!((stock.bytes_ready(), stock.take::<u32>(1 << 14)), (0, None));
        }
    }

    #[test]
    fn room_is_empty_and_as_large_as_was_asked_for_whether_it_was_ready_or_not() {
        let stock = Stock::new();
        assert_eq!(ready(&stock, [16, 0], MIB), [1, 0]);
        for ready in [true, false] {
            assert_eq!(stock.bytes_ready() > 0, ready);
            let room = stock.room::<u64>(1 << 10);
            assert!(room.is_empty() && room.capacity() >= 1 << 10);
        }
    }
}
