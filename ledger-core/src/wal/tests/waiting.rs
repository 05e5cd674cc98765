//! Who does the log's work: who waits, where the log's thread sleeps, and that one elsewhere.

use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::sync::Mutex;
use crate::wal::threads::{self as drivers, HaltOnPanic};
use group_commit::Due;
use shared::Wake;

pub(super) fn threaded() -> WalOptions {
    WalOptions { threads: true, ..manual() }
}

/// A log for whose threads the test stands.
pub(super) fn driven_by_hand(disk: &SimDisk, options: WalOptions) -> Wal {
    driven_by_hand_with(disk, options, |_| ())
}

/// As [`driven_by_hand`], with another writer.
pub(super) fn driven_by_hand_with(
    disk: &SimDisk,
    options: WalOptions,
    change: impl FnOnce(&mut writer::Writer),
) -> Wal {
    let mut all = |_: Record<'_>| Ok(());
    let mut recovered = recovery::open(disk, &options, &mut |_| Ok(Start::First), &mut all, &|_| Ok(())).unwrap();
    change(&mut recovered.writer);
    let opened = recovered.opened;
    let room = Room::new(options.frame_payload_max(), options.frame_bytes_max(), recovered.writer.left());
    let last = Stamp { seq: opened.last_seq, time: opened.record_time };
    let (chain, head) = (recovered.writer.records_chain, recovered.writer.head);
    let shared = Arc::new(Shared::new(options, opened.uuid, opened.epoch, last, chain, head, room));
    let committer = Some(Arc::new(Mutex::new(Committer::new(recovered.writer))));
    let (drivers, lock) = (Mutex::new(Drivers::Stopped), Mutex::new(Some(recovered.lock)));
    Wal { log: Arc::new(Log { shared, drivers, storage: None, committer, lock }) }
}

/// Runs `then` while the log's thread sleeps.
pub(super) fn while_it_sleeps(wal: &Wal, then: impl FnOnce()) {
    let shared = wal.shared();
    thread::scope(|scope| {
        scope.spawn(|| {
            shared.committer.is_this(crate::sync::thread::current());
            shared.committer.sleep(Wake::ForAnything, || if shared.is_closing() { Due::Now } else { Due::Never });
        });
        while !shared.committer.is_asleep() {
            thread::yield_now();
        }
        then();
        shared.stop_appends(false);
    });
}

#[test]
fn who_waits_for_what_is_alone_does_it_himself_while_the_logs_thread_sleeps() {
    let wal = driven_by_hand(&SimDisk::new(1), threaded());
    while_it_sleeps(&wal, || {
        for level in [Level::Durable, Level::Acknowledged] {
            let seq = append(&wal, 1, b"alone").unwrap().seq;
            assert_eq!((wal.reached(seq, level), wal.shared().committer.is_asleep()), (None, true));
            wal.wait(seq, level).unwrap();
            assert_eq!((wal.durable(), wal.shared().committer.is_asleep()), (seq, true));
        }
    });
    assert_eq!(wal.stats().commits, 2);
}

/// Somebody waits and is registered: he does nothing himself, until the log halts.
fn registers(wal: &Wal, level: Level) {
    let seq = append(wal, 1, b"alone").unwrap().seq;
    thread::scope(|scope| {
        let waiter = scope.spawn(|| wal.wait(seq, level));
        while wal.shared().waiters.lock().len() == 0 && !waiter.is_finished() {
            thread::yield_now();
        }
        assert!(!waiter.is_finished());
        wal.halt("nobody writes it");
        assert!(waiter.join().unwrap().unwrap_err().outcome_unknown);
    });
    assert_eq!((wal.stats().commits, wal.durable()), (0, Seq::ZERO));
}

#[test]
fn nobody_takes_the_work_from_a_thread_that_is_awake_or_that_gathers() {
    registers(&driven_by_hand(&SimDisk::new(1), threaded()), Level::Durable);
    let gathers = WalOptions { durability: Durability::Interval(Duration::from_secs(3_600)), ..threaded() };
    let wal = driven_by_hand(&SimDisk::new(1), gathers);
    while_it_sleeps(&wal, || registers(&wal, Level::Acknowledged));
    // Somebody else has the committer.
    let wal = driven_by_hand(&SimDisk::new(1), threaded());
    let held = Arc::clone(wal.log.committer.as_ref().unwrap());
    let _held = held.lock();
    while_it_sleeps(&wal, || registers(&wal, Level::Durable));
}

#[test]
fn a_task_that_polls_is_registered_and_woken() {
    let wal = driven_by_hand(&SimDisk::new(1), threaded());
    let seq = append(&wal, 1, b"alone").unwrap().seq;
    let mut context = Context::from_waker(Waker::noop());
    assert_eq!(wal.poll(seq, Level::Durable, &mut context), Poll::Pending);
    assert_eq!(wal.poll(seq, Level::Durable, &mut context), Poll::Pending);
    assert_eq!(wal.shared().waiters.lock().len(), 1);
    while_it_sleeps(&wal, || wal.wait(seq, Level::Durable).unwrap());
    assert_eq!(wal.poll(seq, Level::Durable, &mut context), Poll::Ready(Ok(())));
}

#[test]
fn a_record_that_is_alone_is_begun_by_who_gives_it_up() {
    let wal = driven_by_hand(&SimDisk::new(1), threaded());
    let seq = append(&wal, 1, b"alone").unwrap().seq;
    let is_woken = |seq: Seq| {
        let wal = wal.clone();
        let shared = wal.shared();
        thread::scope(|scope| {
            scope.spawn(|| {
                shared.committer.is_this(crate::sync::thread::current());
                shared.committer.sleep(Wake::ForAnything, || Due::At(Instant::now() + Duration::from_secs(3_600)));
            });
            while !shared.committer.is_asleep() {
                thread::yield_now();
            }
            wal.begin(seq);
            let is_woken = !shared.committer.is_asleep();
            shared.wake_committer();
            is_woken
        })
    };
    assert!(is_woken(seq), "it is on its way");
    let wal = driven_by_hand(&SimDisk::new(1), threaded());
    let shared = wal.shared();
    shared.publish_durable(Seq::new(1), 0);
    let before = shared.committer.is_asleep();
    wal.begin(Seq::new(1));
    assert_eq!(before, shared.committer.is_asleep());
}

#[test]
fn an_interval_is_waited_out_and_then_synced_without_anybodys_asking() {
    let interval = |every: Duration| WalOptions { durability: Durability::Interval(every), ..threaded() };
    let (wal, ..) = open(&SimDisk::new(1), &interval(Duration::from_millis(50))).unwrap();
    // If the first one was synced as it was written, since that was so long after the opening, a later one was not.
    for _ in 0..5 {
        let seq = append(&wal, 1, b"a").unwrap().seq;
        wal.wait(seq, Level::Acknowledged).unwrap();
    }
    // However long it takes: it comes.
    while wal.durable() < wal.appended() {
        thread::sleep(Duration::from_millis(1));
    }
    let (wal, ..) = open(&SimDisk::new(1), &interval(Duration::from_secs(3_600))).unwrap();
    let seq = append(&wal, 1, b"a").unwrap().seq;
    wal.wait(seq, Level::Acknowledged).unwrap();
    while !wal.shared().committer.is_asleep() {
        thread::yield_now();
    }
    assert_eq!((wal.durable(), wal.stats().fsync_micros.buckets.iter().sum::<u64>()), (Seq::ZERO, 0));
    wal.wait(seq, Level::Durable).unwrap();
    assert_eq!(wal.durable(), seq);
}

#[test]
fn a_panic_of_a_thread_of_the_log_halts_it_and_nothing_else_does() {
    let (wal, ..) = open(&SimDisk::new(1), &manual()).unwrap();
    drop(HaltOnPanic(wal.shared()));
    assert!(wal.halted().is_none());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _guard = HaltOnPanic(wal.shared());
        std::panic::resume_unwind(Box::new("as a test"));
    }));
    assert!(panicked.is_err());
    assert_eq!(wal.halted().map(|halted| halted.reason.to_string()).as_deref(), Some("a thread of the log panicked"));
}

/// Whether the background still dozes after a commit in which one record is.
fn dozes_after_a_commit(wal: &Wal) -> bool {
    let shared = wal.shared();
    thread::scope(|scope| {
        scope.spawn(|| {
            shared.background.is_this(crate::sync::thread::current());
            shared.background.sleep(Wake::ForUrgent, || Due::At(Instant::now() + Duration::from_secs(3_600)));
        });
        while !shared.background.is_asleep() {
            thread::yield_now();
        }
        append(wal, 1, b"a").unwrap();
        drivers::commit(shared, &mut wal.log.committer.as_ref().unwrap().lock());
        (0..200).for_each(|_| thread::yield_now());
        let dozes = shared.background.is_asleep();
        shared.wake_background(true);
        dozes
    })
}

#[test]
fn the_background_is_woken_at_once_for_a_spare_and_left_alone_for_the_mark() {
    let wal = driven_by_hand(&SimDisk::new(1), threaded());
    assert!(!dozes_after_a_commit(&wal), "there is no spare");
    let wal = driven_by_hand(&SimDisk::new(1), threaded());
    wal.shared().room.add_spare(super::counting::spare(1 << 20));
    assert!(dozes_after_a_commit(&wal), "the mark can wait");
}
