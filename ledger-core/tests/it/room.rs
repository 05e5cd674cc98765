//! Room in the log: who waits for it keeps nobody waiting, who has it gives it back before anyone else is called, and no more
//! is asked for than is needed.

use std::sync::mpsc::channel;
use std::thread;

use ledger_core::sim::{SimClock, SimDisk};
use ledger_core::{CancelWithdrawal, Error, IdempotencyKey, Ledger, Rejection, Substatus, WhenFull};

use crate::model::Asked;
use crate::stage::{HeldClock, START, amount, answer, ask, awaited, beside, id, metadata, options, user};

/// Commands with 4 KiB each take all that the pipe of the smallest segments has, but for a few hundred bytes.
const FILLING: u64 = 62;

fn filling(n: u64, asked: Asked) -> Asked {
    Asked { metadata: Some(metadata(4_096, n)), key: format!("filling {n}"), ..asked }
}

/// Money of user 1, and a withdrawal of it, whose id is 2.
fn prepare(ledger: &Ledger) {
    answer(ask(ledger, &Asked::charge(user(1), amount(1_000), "money"))).expect("accepted");
    answer(ask(ledger, &Asked::withdraw(user(1), amount(10), "payout"))).expect("accepted");
}

#[test]
fn an_order_that_waits_for_room_claims_no_key_meanwhile() {
    let (clock, arrives, go_on) = HeldClock::new(&SimClock::at(START));
    let options = options(&SimClock::at(START)).threads(true).checkpoint_bytes(None).clock(clock);
    let ledger = options.open_on(SimDisk::new(1)).expect("an empty disk");
    prepare(&ledger);
    let handle = ledger.clone();
    let filled = beside(HeldClock::HELD, move || {
        let asked: Vec<_> = (0..FILLING).map(|n| filling(n, Asked::charge(user(2), amount(1), ""))).collect();
        let commands: Vec<_> = asked.iter().map(Asked::command).collect();
        answer(handle.batch_atomic(&commands)).map(|_| ())
    });
    awaited("the batch has all room, and is held up", &arrives);
    let key = || IdempotencyKey::new("order").expect("a key");
    let (handle, (begun, begins)) = (ledger.clone(), channel());
    let cancelled = beside("the owner", move || {
        begun.send(()).expect("the test waits for it");
        answer(handle.cancel_withdrawal(CancelWithdrawal { id: id(2), key: key() }))
    });
    awaited("the owner cancels", &begins);
    let handle = ledger.clone();
    // Again and again, so that it comes to where the order waits.
    let looked = beside("somebody else", move || {
        for _ in 0..20_000 {
            assert!(matches!(answer(handle.transaction_by_key(key())), Ok(None)), "there is no room for it");
            thread::yield_now();
        }
    });
    awaited("a look at the order's key", &looked);
    go_on.send(()).expect("it waits");
    assert!(awaited("the batch", &filled).is_ok());
    let cancelled = awaited("the order", &cancelled).expect("there is room again");
    assert_eq!(cancelled.substatus, Substatus::Cancelled);
}

#[test]
fn who_is_told_of_a_batchs_withdrawal_has_room_to_begin_it() {
    let clock = SimClock::at(START);
    let ledger = options(&clock).open_on(SimDisk::new(1)).expect("an empty disk");
    answer(ask(&ledger, &Asked::charge(user(1), amount(1_000), "money"))).expect("accepted");
    let (told, begun) = channel();
    let handle = ledger.clone();
    ledger.on_withdrawal_due(move || {
        for due in handle.due_withdrawals(true, 10) {
            told.send(answer(handle.start_attempt(due.id))).expect("the test listens");
        }
    });
    // All but the first are rejected: what was reserved for them is left over.
    let asked: Vec<_> = [Asked::withdraw(user(1), amount(10), "payout")]
        .into_iter()
        .chain((0..FILLING).map(|n| filling(n, Asked::transfer(user(2), user(3), amount(1), ""))))
        .collect();
    let commands: Vec<_> = asked.iter().map(Asked::command).collect();
    let answers = answer(ledger.batch(&commands)).expect("not halted");
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    let attempt = begun.try_recv().expect("it was told at once").expect("there is room");
    assert_eq!((attempt.number, attempt.withdrawal.id), (1, id(2)));
    ledger.on_withdrawal_due(|| {});
}

#[test]
fn an_atomic_batch_asks_for_the_room_of_the_one_frame_that_it_comes_into() {
    let (clock, disk) = (SimClock::at(START), SimDisk::new(1));
    let ledger = options(&clock).open_on(disk.clone()).expect("an empty disk");
    answer(ask(&ledger, &Asked::charge(user(1), amount(1), "first"))).expect("accepted");
    // One more segment; in a frame of their own each, these would take six.
    disk.set_capacity(disk.used() + (1 << 20));
    let asked: Vec<_> = (0..1_500).map(|n| Asked::charge(user(n + 1), amount(1), format!("{n}"))).collect();
    let commands: Vec<_> = asked.iter().map(Asked::command).collect();
    match answer(ledger.batch_atomic(&commands)) {
        Ok(receipt) => assert_eq!(receipt.transactions.len(), 1_500),
        Err(Error::Rejected(Rejection::StorageFull)) => panic!("there is room for it"),
        Err(err) => panic!("{err}"),
    }
}

#[test]
fn what_a_batch_has_no_room_for_is_at_its_end_though_less_would_fit() {
    let options = options(&SimClock::at(START)).when_full(WhenFull::Refuse);
    let ledger = options.open_on(SimDisk::new(1)).expect("an empty disk");
    let large = |n| filling(n, Asked::charge(user(1), amount(1), ""));
    let small = |n: u64| Asked::charge(user(1), amount(1), format!("small {n}"));
    // Nothing leaves the pipe before the batch is waited for.
    let asked: Vec<_> = (0..2 * FILLING).flat_map(|n| [large(n), small(n)]).collect();
    let mut left: &[Asked] = &asked;
    let mut rounds = 0;
    while !left.is_empty() {
        let commands: Vec<_> = left.iter().map(Asked::command).collect();
        let answers = answer(ledger.batch(&commands)).expect("not halted");
        let accepted = answers.iter().take_while(|answer| answer.is_ok()).count();
        assert!(accepted > 0 && answers[accepted..].iter().all(|answer| *answer == Err(Rejection::Overloaded)));
        left = &left[accepted..];
        rounds += 1;
    }
    assert!(rounds > 1, "{rounds}");
}
