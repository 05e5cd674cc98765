//! Room, waiters and counters, each by itself.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Wake, Waker};
use std::thread;
use std::time::Duration;

use super::*;
use frame::{FRAME_OVERHEAD_MAX, RECORD_OVERHEAD_MAX};
use room::{Spare, usable};
use segment::SegmentHeader;
use stats::Counters;
use waiters::{Waiter, Waiters};

fn need(pipe: i64, disk: i64) -> Need {
    Need { pipe, disk }
}

#[test]
fn what_records_need_is_counted_record_by_record_and_frame_by_frame() {
    assert_eq!((RECORD_OVERHEAD_MAX, FRAME_OVERHEAD_MAX), (13, 4_191));
    assert_eq!(Need::of(3, 100), need(139, 139 + 3 * 4_191));
    assert_eq!(Need::of_together(3, 100), need(139, 139 + 4_191));
    assert_eq!((Need::of(0, 0), Need::of_together(0, 5)), (need(0, 0), need(5, 4_196)));
    for (other, covers) in [(need(5, 7), true), (need(5, 8), false), (need(6, 7), false), (need(4, 6), true)] {
        assert_eq!(need(5, 7).covers(other), covers, "{other:?}");
    }
    let mut sum = need(10, 200);
    sum.add(need(3, 40));
    assert_eq!(sum, need(13, 240));
    sum.subtract(need(5, 100));
    assert_eq!(sum, need(8, 140));
    assert_eq!(usable(1 << 20), (1 << 20) - 3 * 4_096);
}

/// How much of the disk is free, by trying.
fn disk_free(room: &Room) -> i64 {
    let turn = room.queue();
    let (mut low, mut high) = (0, 1 << 40);
    while low < high {
        let middle = (low + high + 1) / 2;
        (low, high) = if turn.has(need(0, middle)) { (middle, high) } else { (low, middle - 1) };
    }
    low
}

const FRAME: u64 = 100_000;

/// A segment that was prepared.
pub(super) fn spare(bytes: u64) -> Spare {
    let file = SimDisk::new(1).create("spare").unwrap();
    let header = SegmentHeader { uuid: Uuid::nil(), number: 1, epoch: Epoch::new(1), bytes, in_flight_max: 0 };
    Spare { header, file }
}

#[test]
fn room_is_taken_whole_or_not_at_all() {
    let room = Room::new(1_000, FRAME, 500_000);
    assert_eq!((room.pipe_max(), room.pipe_used()), (1_000, 0));
    assert_eq!(room.try_take(need(1_001, 1)), Err(Lack::Pipe));
    assert_eq!(room.try_take(need(1, 500_001)), Err(Lack::Disk));
    assert_eq!((room.pipe_used(), disk_free(&room)), (0, 500_000));
    assert_eq!(room.try_take(need(600, 400_000)), Ok(()));
    assert_eq!((room.pipe_used(), disk_free(&room)), (600, 100_000));
    assert_eq!((room.try_take(need(401, 0)), room.try_take(need(400, 100_001))), (Err(Lack::Pipe), Err(Lack::Disk)));
    assert_eq!(room.try_take(need(400, 100_000)), Ok(()));
    assert_eq!((room.pipe_used(), disk_free(&room)), (1_000, 0));
    room.give_back(need(600, 0));
    room.give_back(need(0, 7));
    assert_eq!((room.pipe_used(), disk_free(&room)), (400, 7));
    room.give_back(need(0, 0));
    assert_eq!((room.pipe_used(), disk_free(&room)), (400, 7));
}

#[test]
fn of_a_segment_that_has_a_successor_a_frame_may_be_left_over() {
    let mib = 1u64 << 20;
    let room = Room::new(1_000, FRAME, 500_000);
    let each = usable(mib) as i64;
    room.add_spare(spare(mib));
    assert_eq!(disk_free(&room), 400_000 + each);
    room.add_spare(spare(2 * mib));
    assert_eq!(disk_free(&room), 400_000 + (each - FRAME as i64) + usable(2 * mib) as i64);
    // What was promised to the records that were written is theirs no more; what is left counts anew.
    room.try_take(need(0, 10_000)).unwrap();
    room.written(450_000, 10_000);
    assert_eq!(disk_free(&room), 350_000 + (each - FRAME as i64) + usable(2 * mib) as i64);
    room.written(50_000, 0);
    let free = (each - FRAME as i64) + usable(2 * mib) as i64;
    assert_eq!(disk_free(&room), free, "less than a frame is nothing");
    assert_eq!(room.take_spare().map(|spare| spare.header.bytes), Some(mib));
    assert_eq!(disk_free(&room), free, "the first spare is the present segment now");
    room.written(3, 5);
    assert_eq!(disk_free(&room), usable(2 * mib) as i64 + 5);
    assert_eq!(room.take_spare().map(|spare| spare.header.bytes), Some(2 * mib));
    assert_eq!(disk_free(&room), usable(2 * mib) as i64 + 5);
    assert!(room.take_spare().is_none());
    room.written(40, 0);
    assert_eq!(disk_free(&room), 45, "of the last one all counts");
}

#[test]
fn a_spare_is_wanted_by_who_is_short_and_once_the_log_was_written_to() {
    let room = Room::new(1_000, FRAME, 500_000);
    assert!(!room.wants_spare(), "an idle log prepares nothing");
    let turn = room.queue();
    assert_eq!(turn.demand(500_000), 0);
    assert!(!room.wants_spare(), "there is as much");
    assert_eq!(turn.demand(500_001), 0);
    assert!(room.wants_spare());
    room.disk_is_full();
    room.disk_is_full();
    assert!(!room.wants_spare(), "not again until somebody asks");
    assert_eq!((turn.failures(), turn.demand(500_001)), (2, 2));
    assert!(room.wants_spare());
    drop(turn);
    assert!(!room.wants_spare(), "nobody asks any more");
    room.written(490_000, 0);
    assert!(room.wants_spare(), "it has begun, and there is none");
    room.disk_is_full();
    assert!(!room.wants_spare());
    room.add_spare(spare(1 << 20));
    assert!(!room.wants_spare());
    room.take_spare();
    assert!(room.wants_spare(), "a spare was prepared, so the disk has room");
}

#[test]
fn who_queues_is_seen_by_who_comes_later() {
    let room = Room::new(1_000, FRAME, 500_000);
    assert!(!room.is_crowded() && !room.is_crowded_after_append());
    let turn = room.queue();
    assert!(room.is_crowded() && room.is_crowded_after_append());
    for (wanted, has) in [(need(1_000, 500_000), true), (need(1_001, 0), false), (need(0, 500_001), false)] {
        assert_eq!(turn.has(wanted), has, "{wanted:?}");
    }
    turn.wait(|| true);
    drop(turn);
    assert!(!room.is_crowded() && !room.is_crowded_after_append());
}

/// Runs `change` while somebody waits, who must not go on before it.
fn wakes(room: &Room, change: impl Fn()) {
    let (waits, changed) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            room.queue().wait(|| {
                waits.store(true, Ordering::SeqCst);
                false
            });
            changed.load(Ordering::SeqCst)
        });
        while !waits.load(Ordering::SeqCst) && !waiter.is_finished() {
            thread::yield_now();
        }
        assert!(waits.load(Ordering::SeqCst), "it looks before it sleeps");
        // Whoever changes something from here on waits until it sleeps: it looked under the gate.
        (0..200).for_each(|_| thread::yield_now());
        assert!(!waiter.is_finished());
        changed.store(true, Ordering::SeqCst);
        change();
        assert!(waiter.join().unwrap(), "it slept until something had changed");
    });
}

#[test]
fn whoever_gives_room_wakes_the_head_of_the_queue() {
    let room = Room::new(1_000, FRAME, 500_000);
    wakes(&room, || room.give_back(need(1, 0)));
    wakes(&room, || room.give_back(need(0, 1)));
    wakes(&room, || room.look_again());
    wakes(&room, || room.disk_is_full());
    wakes(&room, || room.add_spare(spare(1 << 20)));
    wakes(&room, || room.written(3, 3));
}

#[test]
fn a_full_disk_is_known_until_a_spare_is_prepared_and_tried_again_after_a_while() {
    let room = Room::new(1_000, FRAME, 500_000);
    let much = need(0, 500_001);
    assert_eq!(room.is_known_full(much), (false, false), "nobody has tried");
    room.written(500_000, 0);
    // If this thread is kept from running for a second meanwhile, it is looked at once more.
    let at_once = |room: &Room| {
        room.disk_is_full();
        room.is_known_full(much)
    };
    assert!((0..100).any(|_| at_once(&room) == (true, false)));
    assert!(!room.wants_spare(), "it rests");
    assert_eq!(room.is_known_full(need(0, 500_000)), (false, false), "so much is ready");
    thread::sleep(Duration::from_secs(1));
    assert_eq!(room.is_known_full(need(0, 500_000)), (false, false));
    assert!(!room.wants_spare());
    assert_eq!(room.is_known_full(much), (true, true), "it is tried once more");
    assert!(room.wants_spare());
    assert_eq!(room.is_known_full(much), (true, false), "by one");
    room.add_spare(spare(1 << 20));
    assert_eq!(room.is_known_full(need(0, 1 << 30)), (false, false));
}

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicU64);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_waiter_is_kept_once_and_taken_when_his_seq_is_reached() {
    let counts: Vec<Arc<Count>> = (0..4).map(|_| Arc::default()).collect();
    let wakers: Vec<Waker> = counts.iter().map(|count| Waker::from(Arc::clone(count))).collect();
    let (acknowledged, durable) = (Level::Acknowledged, Level::Durable);
    let mut waiters = Waiters::default();
    let add = |waiters: &mut Waiters, seq: u64, level: Level, who: usize| {
        waiters.add(Seq::new(seq), level, Waiter::Task(wakers[who].clone()));
        waiters.len()
    };
    assert_eq!(add(&mut waiters, 5, durable, 0), 1);
    assert_eq!(add(&mut waiters, 5, durable, 0), 1, "asking twice is asking once");
    assert_eq!(add(&mut waiters, 5, durable, 1), 2);
    assert_eq!(add(&mut waiters, 6, durable, 1), 3);
    assert_eq!(add(&mut waiters, 5, acknowledged, 2), 4);
    assert_eq!(add(&mut waiters, 7, acknowledged, 3), 5);
    let thread = || Waiter::Thread(crate::sync::thread::current());
    waiters.add(Seq::new(6), acknowledged, thread());
    waiters.add(Seq::new(6), acknowledged, thread());
    assert_eq!(waiters.len(), 6);
    let other = thread::spawn(crate::sync::thread::current).join().unwrap();
    waiters.add(Seq::new(6), acknowledged, Waiter::Thread(other));
    assert_eq!(waiters.len(), 7);
    let mut taken = Vec::new();
    waiters.take(Seq::new(4), Seq::new(4), &mut taken);
    assert_eq!((taken.len(), waiters.len()), (0, 7));
    waiters.take(Seq::new(5), Seq::new(4), &mut taken);
    assert_eq!((taken.len(), waiters.len()), (1, 6));
    waiters.take(Seq::new(6), Seq::new(5), &mut taken);
    assert_eq!((taken.len(), waiters.len()), (5, 2));
    taken.drain(..).for_each(Waiter::wake);
    let woken: Vec<u64> = counts.iter().map(|count| count.0.load(Ordering::SeqCst)).collect();
    assert_eq!(woken, [1, 1, 1, 0]);
    waiters.take_all().into_iter().for_each(Waiter::wake);
    let woken: Vec<u64> = counts.iter().map(|count| count.0.load(Ordering::SeqCst)).collect();
    assert_eq!((woken, waiters.len()), (vec![1, 2, 1, 1], 0));
    // The thread was woken as well: its next sleep is none.
    thread::park();
}

#[test]
fn what_happened_is_counted_in_its_bucket() {
    let counters = Counters::default();
    assert_eq!(counters.read(7), WalStats { in_flight_bytes: 7, ..WalStats::default() });
    for (entries, bytes, padding) in
        [(1, 4_096, 4_000), (2, 4_096, 3_600), (3, 8_192, 3), (16_384, 1, 0), (16_385, 2, 0)]
    {
        counters.committed(entries, bytes, padding);
    }
    for micros in [0, 50, 51, 1_000_000, 1_000_001] {
        counters.synced(Duration::from_nanos(micros * 1_000 + 999));
    }
    let stats = counters.read(0);
    assert_eq!((stats.commits, stats.entries, stats.bytes), (5, 32_775, 16_387));
    assert_eq!(stats.opening_bytes, 16_387 - 7_603 + 1_900, "a quarter of the padding");
    assert_eq!(stats.commit_entries, Counts { buckets: [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1], sum: 32_775 });
    assert_eq!(stats.fsync_micros, Counts { buckets: [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1], sum: 2_000_102 });
}

#[test]
fn what_can_be_in_flight_is_a_frame_or_four_and_the_two_blocks_around_them() {
    let (block, frame) = (frame::BLOCK as u64, manual().frame_bytes_max());
    assert_eq!(frame, frame::frame_bytes((1 << 20) / 4));
    assert_eq!((manual().in_flight_max(), interval().in_flight_max()), (frame + 2 * block, 4 * frame + 2 * block));
}
