//! What callers and the log's threads tell each other, and the sleep of those.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::sim::PlantedBug;
use group_commit::Due;
use shared::{Sleeper, Wake};
use waiters::Waiter;

/// A log that nobody drives: two records are durable.
fn undriven(options: WalOptions) -> Shared {
    let room = Room::new(1 << 20, 1 << 20, 1 << 20);
    let last = Stamp { seq: Seq::new(2), time: time(20) };
    Shared::new(options, Uuid::nil(), Epoch::new(1), last, 0, HeadHash::before_all(Uuid::nil()), room)
}

#[test]
fn records_are_appended_at_the_logs_time_and_counted_until_the_next_commit() {
    let shared = undriven(manual());
    let promised = Need { pipe: 5, disk: 7 };
    let stamp = |seq, at| Stamp { seq: Seq::new(seq), time: time(at) };
    assert_eq!(shared.append(time(10), &Bundle::of(&[b"a"]), promised), Ok((stamp(3, 20), true)));
    assert_eq!(shared.append(time(30), &Bundle::of(&[b"b", b"c"]), promised), Ok((stamp(4, 30), false)));
    shared.raise_time(time(25));
    assert_eq!(shared.time(), time(30));
    shared.raise_time(time(40));
    assert_eq!(shared.time(), time(40));
    assert_eq!(shared.append(time(35), &Bundle::of(&[b"d"]), promised), Ok((stamp(6, 40), false)));
    let mut front = shared.front.lock();
    assert_eq!((front.count, front.first_seq, front.base_time, front.last), (4, Seq::new(3), time(20), stamp(6, 40)));
    assert_eq!(front.promised, Need { pipe: 15, disk: 21 });
    front.empty();
    assert_eq!((front.count, front.promised), (0, Need::default()));
    drop(front);
    assert_eq!((shared.durable(), shared.acknowledged()), (Seq::new(2), Seq::new(2)));
    assert_eq!(shared.append(time(1), &Bundle::of(&[b"e"]), promised).map(|(_, is_first)| is_first), Ok(true));
    assert!(shared.is_open() && !shared.is_closing() && !shared.is_stopping() && !shared.wants_closing_frame());
    shared.stop_appends(true);
    assert!(!shared.is_open() && shared.is_closing() && !shared.is_stopping() && shared.wants_closing_frame());
    let refused = shared.append(time(1), &Bundle::of(&[b"f"]), promised).unwrap_err();
    assert_eq!((refused.outcome_unknown, &*refused.reason), (false, "the log is closed"));
    shared.stop_background();
    assert!(!shared.is_open() && shared.is_closing() && shared.is_stopping());
    assert!(!undriven(manual()).skips_directory_sync());
    let planted = WalOptions { planted: Some(PlantedBug::SkipDirectoryFsync), ..manual() };
    assert!(undriven(planted).skips_directory_sync());
}

#[test]
fn what_is_reached_is_answered_and_what_is_not_is_waited_for() {
    let shared = undriven(interval());
    let (seq, acknowledged, durable) = (Seq::new(4), Level::Acknowledged, Level::Durable);
    let waiter = || Waiter::Task(Waker::noop().clone());
    assert_eq!((shared.reached(seq, acknowledged), shared.register(seq, acknowledged, waiter())), (None, None));
    assert_eq!((shared.register(seq, durable, waiter()), shared.waiters.lock().len()), (None, 2));
    shared.publish_written(Seq::new(3));
    assert_eq!((shared.reached(seq, acknowledged), shared.waiters.lock().len()), (None, 2));
    shared.publish_written(seq);
    assert_eq!((shared.reached(seq, acknowledged), shared.reached(seq, durable)), (Some(Ok(())), None));
    assert_eq!((shared.acknowledged(), shared.durable(), shared.waiters.lock().len()), (seq, Seq::new(2), 1));
    assert_eq!((shared.register(seq, acknowledged, waiter()), shared.waiters.lock().len()), (Some(Ok(())), 1));
    shared.publish_durable(seq, 9);
    assert_eq!((shared.reached(seq, durable), shared.waiters.lock().len()), (Some(Ok(())), 0));
    assert_eq!((*shared.synced.lock(), shared.acknowledged()), ((seq, 9), seq));
    shared.register(Seq::new(5), durable, waiter());
    shared.halt("first");
    shared.halt("second");
    assert_eq!(shared.waiters.lock().len(), 0);
    let halted = shared.halted().unwrap();
    assert_eq!((halted.outcome_unknown, &*halted.reason), (false, "first"));
    assert_eq!(shared.reached(seq, durable), Some(Ok(())));
    assert!(shared.reached(Seq::new(5), durable).unwrap().unwrap_err().outcome_unknown);
    assert_eq!(&*shared.append(time(1), &Bundle::of(&[b"x"]), Need::default()).unwrap_err().reason, "first");
    // Synced at once, what is durable is acknowledged as well; else that is for who writes to say.
    for (options, acknowledged) in [(manual(), 4), (interval(), 2)] {
        let shared = undriven(options);
        shared.publish_durable(seq, 0);
        assert_eq!((shared.durable(), shared.acknowledged()), (seq, Seq::new(acknowledged)));
    }
}

#[test]
fn a_sync_is_asked_for_where_nobody_would_make_it_otherwise() {
    let wanted = |options, level| {
        let shared = undriven(options);
        shared.want(Seq::new(9), level);
        shared.want(Seq::new(7), level);
        shared.sync_wanted.load(Ordering::SeqCst)
    };
    assert_eq!((wanted(interval(), Level::Durable), wanted(interval(), Level::Acknowledged)), (9, 0));
    assert_eq!((wanted(manual(), Level::Durable), wanted(manual(), Level::Acknowledged)), (0, 0));
}

/// Who sleeps, what he is to look at, and how often he did.
struct Bed<'a> {
    sleeper: &'a Sleeper,
    looks: AtomicU64,
    is_over: AtomicBool,
}

impl Bed<'_> {
    /// Puts a thread to sleep, the first and only one of this sleeper that is woken; `then` is called when it sleeps.
    fn sleep(sleeper: &Sleeper, wake: Wake, due: Due, then: impl FnOnce(&Bed<'_>)) -> u64 {
        let bed = Bed { sleeper, looks: AtomicU64::new(0), is_over: AtomicBool::new(false) };
        thread::scope(|scope| {
            scope.spawn(|| {
                bed.sleeper.is_this(crate::sync::thread::current());
                bed.sleeper.sleep(wake, || {
                    bed.looks.fetch_add(1, Ordering::SeqCst);
                    due
                });
                bed.is_over.store(true, Ordering::SeqCst);
            });
            while bed.looks.load(Ordering::SeqCst) < 2 && !bed.is_over.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            then(&bed);
        });
        assert!(bed.is_over.load(Ordering::SeqCst) && !sleeper.is_asleep());
        bed.looks.load(Ordering::SeqCst)
    }

    fn sleeps(&self) -> bool {
        // Long enough for who wrongly goes on; who rightly sleeps does so whenever he is looked at.
        (0..200).for_each(|_| thread::yield_now());
        self.sleeper.is_asleep() && !self.is_over.load(Ordering::SeqCst)
    }
}

fn far() -> Due {
    Due::At(Instant::now() + Duration::from_secs(3_600))
}

#[test]
fn who_sleeps_is_woken_by_whoever_has_something_for_him() {
    for due in [Due::Never, far()] {
        let shared = undriven(manual());
        assert!(!shared.committer.is_asleep() && !shared.background.is_asleep());
        shared.wake_committer();
        let looks = Bed::sleep(&shared.committer, Wake::ForAnything, due, |bed| {
            assert!(bed.sleeps());
            shared.wake_background(true);
            assert!(bed.sleeps(), "another's bell");
            shared.wake_committer();
        });
        assert_eq!(looks, 2, "once more when it is known that he sleeps");
    }
}

#[test]
fn who_dozes_is_woken_by_what_cannot_wait() {
    let shared = undriven(manual());
    Bed::sleep(&shared.background, Wake::ForUrgent, far(), |bed| {
        assert!(bed.sleeps());
        shared.wake_background(false);
        assert!(bed.sleeps(), "it can wait");
        shared.wake_background(true);
    });
    // Who has no end of his sleep hears of everything.
    let shared = undriven(manual());
    Bed::sleep(&shared.background, Wake::ForUrgent, Due::Never, |bed| {
        assert!(bed.sleeps());
        shared.wake_background(false);
    });
    // And who wants to hear of everything does, until whenever he sleeps.
    let shared = undriven(manual());
    Bed::sleep(&shared.background, Wake::ForAnything, far(), |bed| {
        assert!(bed.sleeps());
        shared.wake_background(false);
    });
}

#[test]
fn nobody_sleeps_who_has_something_to_do() {
    let shared = undriven(manual());
    let sleeper = &shared.committer;
    assert_eq!(Bed::sleep(sleeper, Wake::ForAnything, Due::Now, |_| ()), 1);
    let over = Due::At(Instant::now());
    assert_eq!(Bed::sleep(sleeper, Wake::ForAnything, over, |_| ()), 2);
    assert_eq!(Bed::sleep(sleeper, Wake::ForUrgent, over, |_| ()), 2);
    let soon = Due::At(Instant::now() + Duration::from_millis(2));
    Bed::sleep(sleeper, Wake::ForUrgent, soon, |_| ());
    // The second look decides: there is something by then, or no end of the sleep that it was to be.
    for second in [Due::Now, Due::Never] {
        let mut answers = [far(), second].into_iter();
        sleeper.sleep(Wake::ForUrgent, || answers.next().expect("two looks"));
        assert!(!sleeper.is_asleep());
    }
}
