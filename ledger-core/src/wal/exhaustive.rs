//! The log's smallest kernels in every order that threads and memory can take (loom): who waits for a seq and who publishes
//! it, the halt, and the sleep of the log's threads.
//!
//! ```text
//! LOOM_MAX_PREEMPTIONS=3 cargo test -p ledger-core --features loom --lib wal::exhaustive
//! ```
//!
//! Without the bound it is every order; the halt with two waiters is then too long for a run in passing.
//!
//! The code is the engine's own: a [`Wal`] whose committer is the test. A wake-up that is lost shows as a deadlock.

use super::*;
use crate::sync::{AtomicU64, Ordering};
use group_commit::Due;
use shared::Wake;

/// A log that nobody drives, but who calls [`Shared`].
fn undriven(durability: Durability) -> Wal {
    let options = WalOptions { uuid: Some(Uuid::nil()), durability, ..WalOptions::default() };
    let room = Room::new(1 << 20, 1 << 20, 1 << 20);
    let last = Stamp { seq: Seq::ZERO, time: Timestamp::MIN };
    let head = HeadHash::before_all(Uuid::nil());
    let shared = Shared::new(options, Uuid::nil(), Epoch::new(1), last, 0, head, room);
    let (drivers, lock) = (Mutex::new(Drivers::Stopped), Mutex::new(None));
    Wal { log: Arc::new(Log { shared: Arc::new(shared), drivers, storage: None, committer: None, lock }) }
}

fn spawn<T: 'static>(wal: &Wal, run: impl FnOnce(Wal) -> T + 'static) -> loom::thread::JoinHandle<T> {
    let wal = wal.clone();
    loom::thread::spawn(move || run(wal))
}

#[test]
fn who_waits_is_woken_when_his_seq_is_durable() {
    loom::model(|| {
        let wal = undriven(Durability::Sync);
        let waiter = spawn(&wal, |wal| wal.wait(Seq::new(2), Level::Durable));
        wal.shared().publish_durable(Seq::new(1), 1);
        wal.shared().publish_durable(Seq::new(2), 2);
        waiter.join().unwrap().unwrap();
    });
}

#[test]
fn who_waits_for_the_acknowledgement_is_woken_by_the_write() {
    loom::model(|| {
        let wal = undriven(Durability::Interval(std::time::Duration::from_secs(1)));
        let waiter = spawn(&wal, |wal| wal.wait(Seq::new(1), Level::Acknowledged));
        wal.shared().publish_written(Seq::new(1));
        waiter.join().unwrap().unwrap();
        assert_eq!(wal.shared().reached(Seq::new(1), Level::Durable).map(|answer| answer.is_ok()), None);
    });
}

#[test]
fn a_halt_wakes_who_waits_and_what_was_durable_before_stays_so() {
    loom::model(|| {
        let wal = undriven(Durability::Sync);
        let waiters = [1, 2].map(|seq| spawn(&wal, move |wal| wal.wait(Seq::new(seq), Level::Durable)));
        wal.shared().publish_durable(Seq::new(1), 1);
        wal.shared().halt("the disk is gone");
        let [first, second] = waiters.map(|waiter| waiter.join().unwrap());
        first.unwrap();
        assert!(second.unwrap_err().outcome_unknown);
    });
}

#[test]
fn nothing_is_let_in_after_a_halt_and_what_was_let_in_before_is_told_of_it() {
    loom::model(|| {
        let wal = undriven(Durability::Sync);
        let caller = spawn(&wal, |wal| {
            let (stamp, _) = wal.shared().append(Timestamp::MIN, &Bundle::of(&[b"record"]), Need::default())?;
            wal.wait(stamp.seq, Level::Durable)
        });
        wal.shared().halt("the disk is gone");
        let appended = wal.appended();
        let told = caller.join().unwrap().unwrap_err();
        assert_eq!(wal.appended(), appended, "an entry was let in after the halt");
        assert_eq!(told.outcome_unknown, appended == Seq::new(1), "{told:?}");
    });
}

#[test]
fn a_sleeping_thread_of_the_log_is_woken_by_what_was_appended() {
    loom::model(|| {
        let wal = undriven(Durability::Sync);
        let sleeper = spawn(&wal, |wal| {
            let shared = wal.shared();
            shared.committer.is_this(crate::sync::thread::current());
            // Relaxed: the fences alone must order it.
            let has_batch = || shared.appended.load(Ordering::Relaxed) > 0;
            while !has_batch() {
                shared.committer.sleep(Wake::ForAnything, || if has_batch() { Due::Now } else { Due::Never });
            }
        });
        wal.shared().append(Timestamp::MIN, &Bundle::of(&[b"record"]), Need::default()).unwrap();
        wal.shared().wake_committer();
        sleeper.join().unwrap();
    });
}

#[test]
fn time_that_was_read_is_not_behind_what_is_appended_later() {
    loom::model(|| {
        let wal = undriven(Durability::Sync);
        let seen = Arc::new(AtomicU64::new(0));
        let reader = {
            let seen = Arc::clone(&seen);
            spawn(&wal, move |wal| {
                wal.shared().raise_time(Timestamp::from_micros(5).unwrap());
                seen.store(1, Ordering::Release); // The read was answered.
            })
        };
        let was_answered = seen.load(Ordering::Acquire) == 1;
        let (stamp, _) = wal
            .shared()
            .append(Timestamp::from_micros(3).unwrap(), &Bundle::of(&[b"record"]), Need::default())
            .unwrap();
        assert!(!was_answered || stamp.time.micros() >= 5, "an entry is earlier than a read that was answered before");
        reader.join().unwrap();
    });
}
