//! Many callers at once, on the log's own threads. Nothing here depends on how long anything takes.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use super::*;
use crate::sim::Fault;

fn threaded() -> WalOptions {
    WalOptions { threads: true, ..manual() }
}

/// Each of many threads appends and waits; what each was promised is there afterwards.
fn hammer(options: &WalOptions, callers: u64, each: u64) {
    let disk = SimDisk::new(1);
    let (wal, ..) = open(&disk, options).unwrap();
    thread::scope(|scope| {
        for caller in 0..callers {
            let wal = wal.clone();
            scope.spawn(move || {
                for at in 0..each {
                    let record = vec![caller as u8; 1 + (at * 331 % 5_000) as usize];
                    let stamp = append(&wal, at as i64, &record).unwrap();
                    let level = if at % 3 == 0 { Level::Durable } else { Level::Acknowledged };
                    wal.wait(stamp.seq, level).unwrap();
                    assert!(level == Level::Acknowledged || wal.durable() >= stamp.seq);
                }
            });
        }
    });
    wal.close().unwrap();
    let stats = wal.stats();
    assert_eq!((stats.entries, stats.in_flight_bytes), (callers * each, 0));
    let (_, opened, records) = open(&disk, options).unwrap();
    assert!(opened.clean);
    assert_eq!(records.len() as u64, callers * each);
    assert!(records.is_sorted_by_key(|(time, _)| *time));
    for caller in 0..callers {
        assert_eq!(records.iter().filter(|(_, bytes)| bytes[0] == caller as u8).count() as u64, each);
    }
}

#[test]
fn many_threads_wait_for_their_own_records() {
    hammer(&threaded(), 32, 40);
    hammer(&WalOptions { commit_delay: Duration::from_micros(50), ..threaded() }, 40, 20);
    hammer(&WalOptions { durability: Durability::Interval(Duration::from_millis(1)), ..threaded() }, 16, 40);
}

struct Unparker(thread::Thread, AtomicU64);

impl Wake for Unparker {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.unpark();
    }
}

/// The smallest executor: polls everything that is not done, then sleeps until a waker is called.
fn run_all(wal: &Wal, seqs: &[Seq]) -> u64 {
    let unparker = Arc::new(Unparker(thread::current(), AtomicU64::new(0)));
    let waker = Waker::from(Arc::clone(&unparker));
    let mut context = Context::from_waker(&waker);
    let mut futures: Vec<_> =
        seqs.iter().map(|seq| Box::pin(poll_fn(move |cx| wal.poll(*seq, Level::Durable, cx)))).collect();
    while !futures.is_empty() {
        let before = unparker.1.load(Ordering::Relaxed);
        futures.retain_mut(|future| match future.as_mut().poll(&mut context) {
            Poll::Ready(answer) => {
                answer.unwrap();
                false
            }
            Poll::Pending => true,
        });
        while !futures.is_empty() && unparker.1.load(Ordering::Relaxed) == before {
            thread::park();
        }
    }
    unparker.1.load(Ordering::Relaxed)
}

use std::future::Future;

#[test]
fn tasks_wait_without_threads_and_are_not_woken_for_nothing() {
    let (wal, ..) = open(&SimDisk::new(1), &threaded()).unwrap();
    for _ in 0..20 {
        let seqs: Vec<Seq> = (0..500).map(|at| append(&wal, at, b"record").unwrap().seq).collect();
        assert!(run_all(&wal, &seqs) <= 500);
    }
    wal.close().unwrap();
}

#[test]
fn a_failed_disk_wakes_everybody() {
    for fault in [Fault::EioForever, Fault::FailedFsyncLosesPages] {
        let disk = SimDisk::new(1);
        let (wal, ..) = open(&disk, &threaded()).unwrap();
        commit(&wal, 1, b"a");
        disk.fail_at(disk.operations() + 40, fault);
        let unknown = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    loop {
                        match append(&wal, 1, b"b") {
                            Ok(stamp) => match wal.wait(stamp.seq, Level::Durable) {
                                Ok(()) => {}
                                Err(halted) => {
                                    assert!(halted.outcome_unknown);
                                    unknown.fetch_add(1, Ordering::Relaxed);
                                    return;
                                }
                            },
                            Err(refused) => {
                                assert!(matches!(refused, Refused::Halted(halted) if !halted.outcome_unknown));
                                return;
                            }
                        }
                    }
                });
            }
        });
        assert!(wal.close().is_err());
    }
}

#[test]
fn a_record_that_nobody_waits_for_gives_its_room_to_who_queues() {
    let disk = SimDisk::new(1);
    let (wal, ..) = open(&disk, &threaded()).unwrap();
    let record = vec![0; wal.bytes_max(1) * 2 / 3];
    for yields in 0..50 {
        let mut reservation = wal.reserve(1, record.len()).unwrap();
        let queued = thread::scope(|scope| {
            let queued = scope.spawn(|| append(&wal, 1, &record).unwrap());
            while !wal.shared().room.is_crowded() {
                thread::yield_now();
            }
            (0..yields).for_each(|_| thread::yield_now());
            wal.append(&mut reservation, time(1), &record).unwrap();
            drop(reservation);
            queued.join().unwrap()
        });
        wal.wait(queued.seq, Level::Durable).unwrap();
    }
}

#[test]
fn a_full_pipe_lets_everybody_through_in_the_end() {
    let disk = SimDisk::new(1);
    let (wal, ..) = open(&disk, &threaded()).unwrap();
    let length = wal.bytes_max(1) * 2 / 3;
    thread::scope(|scope| {
        for caller in 0..12u8 {
            let wal = &wal;
            scope.spawn(move || {
                let mut last = Seq::ZERO;
                for _ in 0..8 {
                    last = append(wal, 1, &vec![caller; length]).unwrap().seq;
                }
                wal.wait(last, Level::Durable).unwrap();
            });
        }
    });
    wal.close().unwrap();
    assert_eq!(scan_records(&disk).unwrap().1.len(), 96);
}

#[test]
fn a_full_disk_refuses_everybody_and_then_lets_them_in() {
    let disk = SimDisk::new(1);
    let (wal, ..) = open(&disk, &threaded()).unwrap();
    disk.set_capacity(disk.used() + (2 << 20));
    let refused = AtomicU64::new(0);
    thread::scope(|scope| {
        for caller in 0..6u8 {
            let (wal, refused) = (&wal, &refused);
            scope.spawn(move || {
                loop {
                    match append(wal, 1, &vec![caller; 50_000]) {
                        Ok(stamp) => wal.wait(stamp.seq, Level::Durable).unwrap(),
                        Err(Refused::StorageFull) => {
                            refused.fetch_add(1, Ordering::Relaxed);
                            return;
                        }
                        Err(other) => panic!("{other:?}"),
                    }
                }
            });
        }
    });
    assert_eq!(refused.load(Ordering::Relaxed), 6);
    disk.set_capacity(1 << 40);
    // It is tried again a while after it was last found full, and behind the back of who asks.
    while let Err(refused) = append(&wal, 1, &[1; 50_000]) {
        assert!(matches!(refused, Refused::StorageFull), "{refused:?}");
        thread::sleep(Duration::from_millis(20));
    }
    wal.close().unwrap();
}

#[test]
fn a_log_that_is_written_can_be_scanned() {
    let disk = SimDisk::new(1);
    let (wal, ..) = open(&disk, &threaded()).unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for at in 0..400 {
                commit(&wal, at, &[9; 3_000]);
            }
        });
        let mut last = 0;
        while !writer.is_finished() {
            let before = wal.durable().get();
            let scanned = scan(&disk, Start::First, None, &mut |_| ()).unwrap();
            assert!(scanned.last_seq.get() >= before.max(last), "{} {before} {last}", scanned.last_seq);
            last = scanned.last_seq.get();
        }
    });
}

#[test]
fn closing_while_others_append_keeps_what_they_were_told() {
    for round in 0..10 {
        let disk = SimDisk::new(round);
        let (wal, ..) = open(&disk, &threaded()).unwrap();
        let promised = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        match append(&wal, 1, b"x") {
                            Ok(stamp) => {
                                wal.wait(stamp.seq, Level::Durable).unwrap();
                                promised.fetch_max(stamp.seq.get(), Ordering::Relaxed);
                            }
                            Err(_) => return,
                        }
                    }
                });
            }
            while promised.load(Ordering::Relaxed) < 20 {
                thread::yield_now();
            }
            wal.close().unwrap();
        });
        let (_, opened, records) = open(&disk, &threaded()).unwrap();
        assert!(opened.clean && records.len() as u64 >= promised.load(Ordering::Relaxed));
    }
}

#[test]
fn dropping_a_log_syncs_it() {
    let disk = SimDisk::new(1);
    let (wal, ..) = open(&disk, &threaded()).unwrap();
    append(&wal, 1, b"a").unwrap();
    drop(wal);
    let (_, opened, records) = open(&disk.survivor(0), &threaded()).unwrap();
    assert_eq!(records.len(), 1);
    assert!(!opened.clean);
}
