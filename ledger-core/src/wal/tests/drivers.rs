//! The log's two threads and what they do there: when a commit gathers, when the mark follows, what a spare costs, and that a
//! halt reaches who is about to sleep.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::judged::{BLOCK, SPARE, small_log};
use super::waiting::{driven_by_hand, threaded, while_it_sleeps};
use super::*;
use crate::sim::Fault;
use crate::wal::threads as drivers;
use group_commit::Due;
use mark::Mark;
use segment::NewFile;

/// What a log's threads share and have, before they are started.
fn before_they_start(disk: &SimDisk) -> (Arc<Shared>, Arc<Mutex<Committer>>, Background) {
    let (options, mut all) = (threaded(), |_: Record<'_>| Ok(()));
    let recovered = recovery::open(disk, &options, &mut |_| Ok(Start::First), &mut all, &|_| Ok(())).unwrap();
    let room = Room::new(options.frame_payload_max(), options.frame_bytes_max(), recovered.writer.left());
    let opened = recovered.opened;
    let last = Stamp { seq: opened.last_seq, time: opened.record_time };
    let (chain, head) = (recovered.writer.records_chain, recovered.writer.head);
    let shared = Shared::new(options, opened.uuid, opened.epoch, last, chain, head, room);
    let background = Background::new(Arc::new(disk.clone()), recovered.mark, recovered.next_number);
    (Arc::new(shared), Arc::new(Mutex::new(Committer::new(recovered.writer))), background)
}

/// So many wait for a record each before the log's thread can look at any; how long it took from then on.
fn committed(wal: &Wal, waiters: u64) -> Duration {
    let committer = Arc::clone(wal.log.committer.as_ref().unwrap());
    let held = committer.lock();
    let last = wal.appended().get() + waiters;
    for at in 0..waiters {
        let seq = append(wal, at as i64, b"a").unwrap().seq;
        assert_eq!(wal.poll(seq, Level::Durable, &mut Context::from_waker(Waker::noop())), Poll::Pending);
    }
    let begun = Instant::now();
    drop(held);
    // However long it takes: it comes.
    while wal.durable().get() < last {
        thread::sleep(Duration::from_millis(1));
    }
    begun.elapsed()
}

#[test]
fn a_commit_waits_for_others_only_where_there_are_many_already() {
    let delay = Duration::from_millis(50);
    let (wal, ..) = open(&SimDisk::new(1), &WalOptions { commit_delay: delay, ..threaded() }).unwrap();
    (0..3).for_each(|_| assert!(committed(&wal, 32) >= delay, "no sleep is shorter than it was to be"));
    // Of 31 nobody waits for an hour, and none of many where no delay is wanted.
    let (wal, ..) =
        open(&SimDisk::new(1), &WalOptions { commit_delay: Duration::from_secs(3_600), ..threaded() }).unwrap();
    committed(&wal, 1);
    committed(&wal, 31);
    committed(&open(&SimDisk::new(1), &threaded()).unwrap().0, 40);
}

#[test]
fn the_mark_follows_a_while_after_what_is_durable_has_moved() {
    let disk = SimDisk::new(1);
    let (shared, _, mut background) = before_they_start(&disk);
    assert_eq!(background.due(&shared), Due::Never);
    let before = Instant::now();
    shared.publish_durable(Seq::new(1), 7);
    let Due::At(at) = background.due(&shared) else { panic!("not at once, and not never") };
    let delay = Duration::from_millis(50);
    assert!(at >= before + delay && at <= Instant::now() + delay);
    // What is durable by then is in it, and does not put it off.
    shared.publish_durable(Seq::new(2), 8);
    assert!(matches!(background.due(&shared), Due::Now | Due::At(_)));
    while Instant::now() < at {
        thread::sleep(at.saturating_duration_since(Instant::now()));
    }
    assert_eq!(background.due(&shared), Due::Now);
    background.step(&shared).unwrap();
    assert_eq!(background.due(&shared), Due::Never);
    let mark = Mark::read(&*disk.open(names::MARK).unwrap(), ReadFrom::Device).unwrap().unwrap();
    assert_eq!((mark.seq, mark.chain), (Seq::new(2), 8));
}

#[test]
fn no_spare_is_prepared_for_a_log_that_was_halted_meanwhile() {
    let disk = SimDisk::new(1);
    let (shared, _, mut background) = before_they_start(&disk);
    shared.room.written(1 << 19, 0);
    assert_eq!(background.due(&shared), Due::Now);
    let (names, used) = (disk.names(), disk.used());
    shared.halt("as a test");
    background.step(&shared).unwrap();
    assert!((disk.names(), disk.used()) == (names, used) && shared.room.take_spare().is_none());
}

#[test]
fn a_full_disk_is_waited_out_by_who_prepares_a_spare_and_another_failure_halts() {
    let disk = SimDisk::new(1);
    let (shared, _, mut background) = before_they_start(&disk);
    shared.room.written(1 << 19, 0);
    let names = disk.names();
    for fault in [Fault::Enospc, Fault::Eio] {
        for at in 0..4 {
            assert!(shared.room.wants_spare());
            disk.fail_at(disk.operations() + at, fault);
            let step = background.step(&shared);
            assert_eq!(step.is_ok(), fault == Fault::Enospc, "{fault:?} at {at}: {step:?}");
            assert!(disk.names() == names && shared.room.take_spare().is_none(), "what was begun is gone");
            disk.heal();
            // Who waits for room asks again.
            shared.room.queue().demand(1 << 40);
            shared.room.written(1 << 19, 0);
        }
    }
}

#[test]
fn zeros_are_synced_mebibyte_by_mebibyte_and_the_last_of_them_with_all_else() {
    const MIB: u64 = 1 << 20;
    let disk = SimDisk::new(1);
    for (at, (from, to, operations)) in [
        (0, 0, 0),
        (0, 1, 1),
        (0, MIB, 1),
        (0, MIB + 1, 3),
        (BLOCK, MIB, 1),
        (BLOCK, MIB + BLOCK, 1),
        (5, 3 * MIB + 5, 5),
    ]
    .into_iter()
    .enumerate()
    {
        let new = NewFile::create(&disk, format!("zeros {at}")).unwrap();
        let before = disk.operations();
        assert!(new.write_zeros(from, to, &|| false).unwrap());
        assert_eq!(disk.operations() - before, operations, "from {from} to {to}");
    }
}

#[test]
fn a_halt_reaches_the_background_that_is_about_to_sleep() {
    let (shared, committer, background) = before_they_start(&SimDisk::new(1));
    let started = drivers::spawn(&shared, &committer, background).unwrap();
    while !shared.background.is_asleep() {
        thread::yield_now();
    }
    // It looks around once more, and comes as far as to what is durable; it knows of no halt.
    let synced = shared.synced.lock();
    shared.wake_background(true);
    thread::sleep(Duration::from_millis(20));
    shared.halt("as a test");
    drop(synced);
    let Drivers::Threads { committer, background } = started else { panic!("there are threads") };
    committer.join().unwrap();
    background.join().unwrap();
}

/// Waits when it is dropped.
struct Waits<'a>(&'a Wal, Seq);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.wait(self.1, Level::Durable).unwrap();
    }
}

#[test]
fn who_waits_while_he_unwinds_leaves_the_work_to_the_log() {
    let wal = driven_by_hand(&SimDisk::new(1), threaded());
    let shared = wal.shared();
    while_it_sleeps(&wal, || {
        let seq = append(&wal, 1, b"alone").unwrap().seq;
        thread::scope(|scope| {
            let unwinding = scope.spawn(|| {
                catch_unwind(AssertUnwindSafe(|| {
                    let _waits = Waits(&wal, seq);
                    resume_unwind(Box::new("as a test"));
                }))
            });
            while shared.waiters.lock().len() == 0 && !unwinding.is_finished() {
                thread::yield_now();
            }
            assert_eq!((wal.durable(), unwinding.is_finished()), (Seq::ZERO, false));
            drivers::commit(shared, &mut wal.log.committer.as_ref().unwrap().lock());
            assert!(unwinding.join().unwrap().is_err());
        });
    });
    assert_eq!((wal.durable(), wal.halted().map(|halted| halted.reason)), (Seq::new(1), None));
}

/// How many operations an opening takes.
fn opening(disk: &SimDisk) -> u64 {
    let disk = disk.after_kill();
    drop(driven_by_hand(&disk, manual()));
    disk.operations()
}

#[test]
fn what_an_opening_removes_is_gone_before_its_own_segment_appears() {
    let disk = small_log();
    assert!(disk.names().contains(&names::segment(SPARE)));
    let operations = opening(&disk);
    for seed in 0..16 {
        let opened = disk.after_kill();
        (operations - 6..operations).for_each(|at| opened.photograph_at(at, seed));
        drop(driven_by_hand(&opened, manual()));
        for (at, cut) in opened.photographs().iter().enumerate() {
            let found = open(cut, &manual()).unwrap_or_else(|fault| panic!("cut at {at} by {seed}: {fault}"));
            assert_eq!(found.2.len(), 8);
        }
    }
    // The directory is synced for what is left of an interrupted creation, and not for nothing.
    disk.erase(&names::segment(SPARE));
    let operations = opening(&disk);
    disk.create(&names::temporary(&names::segment(SPARE))).unwrap();
    assert_eq!(opening(&disk), operations + 2, "one removal, one sync");
}
