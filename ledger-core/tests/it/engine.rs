//! The engine's own promises: what it costs, and what it says while others are at work.

use ledger_core::*;

use crate::stage::{HeldClock, awaited, beside};

fn user(n: u64) -> UserId {
    UserId::new(n).unwrap()
}

fn amount(n: u64) -> Amount {
    Amount::new(n).unwrap()
}

fn key(key: &str) -> IdempotencyKey<'_> {
    IdempotencyKey::new(key).unwrap()
}

/// Executes the commands `first..end`, each with a key of 24 bytes, and says what the tables grew by.
fn memory_of(
    ledger: &Ledger,
    numbers: std::ops::Range<u64>,
    command: impl for<'a> Fn(u64, IdempotencyKey<'a>) -> Command<'a>,
) -> u64 {
    let before = ledger.stats().memory.total();
    for start in numbers.clone().step_by(8_192) {
        let keys: Vec<String> = (start..numbers.end.min(start + 8_192)).map(|n| format!("key-{n:020}")).collect();
        let commands: Vec<_> = keys.iter().zip(start..).map(|(name, n)| command(n, key(name))).collect();
        assert!(ledger.batch(&commands).unwrap().wait().unwrap().iter().all(Result::is_ok));
    }
    ledger.stats().memory.total() - before
}

const ACCOUNTS: u64 = 100_000;

fn nth_charge(n: u64, key: IdempotencyKey<'_>) -> Command<'_> {
    Charge::new(user(1 + n % ACCOUNTS), amount(1_000_000), key).into()
}

fn nth_transfer(n: u64, key: IdempotencyKey<'_>) -> Command<'_> {
    let (from, to) = (1 + n % ACCOUNTS, 1 + n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % ACCOUNTS);
    let to = if to == from { 1 + to % ACCOUNTS } else { to };
    Transfer::new(user(from), user(to), amount(1_000), key).into()
}

#[test]
fn memory_stays_within_the_published_figures() {
    const EACH: u64 = 10;
    let ledger = Ledger::options().in_memory().unwrap();
    let opened = memory_of(&ledger, 0..ACCOUNTS, nth_charge);
    let charges = memory_of(&ledger, ACCOUNTS..ACCOUNTS * (1 + EACH), nth_charge);
    let transfers = memory_of(&ledger, ACCOUNTS * (1 + EACH)..ACCOUNTS * (1 + 2 * EACH), nth_transfer);
    let each = |bytes: u64, count: u64| bytes as f64 / count as f64;
    let account = each(ledger.stats().memory.accounts, ACCOUNTS);
    let (charge, transfer) = (each(charges, ACCOUNTS * EACH), each(transfers, ACCOUNTS * EACH));
    println!("an account {account:.1}, with its first charge {:.1}", each(opened, ACCOUNTS));
    println!("a charge {charge:.1}, a transfer {transfer:.1}: {:?}", ledger.stats().memory);
    assert!(account <= 100.0 && charge <= 95.0 && transfer <= 140.0);
}

#[test]
fn a_page_of_none_is_a_page_of_one() {
    let ledger = Ledger::options().in_memory().unwrap();
    memory_of(&ledger, 0..1, nth_charge);
    let query = Query { limit: 0, ..Query::new(user(1)) };
    let page = ledger.transactions(&query).unwrap().wait().unwrap();
    assert_eq!((page.transactions.len(), page.next), (1, None));
}

#[test]
fn a_full_page_stops_its_scan_too() {
    let ledger = Ledger::options().in_memory().unwrap();
    memory_of(&ledger, 0..1, |_, key| Charge::new(user(1), amount(7), key).into());
    let transfer = Transfer::new(user(1), user(2), amount(1), key("the one that matches"));
    let transfer = ledger.transfer(transfer).unwrap().wait().unwrap().transaction_id;
    memory_of(&ledger, 1..220_000, |_, key| Charge::new(user(1), amount(7), key).into());
    let first = Query { kind: Some(TransactionKind::Transfer), limit: 1, ascending: true, ..Query::new(user(1)) };
    let page = ledger.transactions(&first).unwrap().wait().unwrap();
    assert_eq!((page.transactions[0].id, page.total), (transfer, None));
    // Nothing else matches: each request looks at so many and then hands the rest on.
    let mut next = page.next;
    let mut requests = 0;
    while let Some(last) = next {
        let rest = Query { start: last, ..first.clone() };
        let page = ledger.transactions(&rest).unwrap().wait().unwrap();
        assert!(page.transactions.is_empty());
        (next, requests) = (page.next, requests + 1);
    }
    assert_eq!(requests, 2);
}

#[test]
fn a_page_by_number_goes_on_skipping_where_its_scan_stopped() {
    let ledger = Ledger::options().in_memory().unwrap();
    memory_of(&ledger, 0..1, |_, key| Charge::new(user(1), amount(1_000), key).into());
    let mut transfers: Vec<_> = Vec::new();
    for n in 0..6 {
        let key = format!("transfer {n}");
        let transfer = Transfer::new(user(1), user(2), amount(1), IdempotencyKey::new(&key).unwrap());
        transfers.push(ledger.transfer(transfer).unwrap().wait().unwrap().transaction_id);
        memory_of(&ledger, 1 + n * 40_000..1 + (n + 1) * 40_000, |_, key| Charge::new(user(1), amount(7), key).into());
    }
    for ascending in [true, false] {
        let first = Query { kind: Some(TransactionKind::Transfer), limit: 2, ascending, ..Query::new(user(1)) };
        for skip in 0..8 {
            let (mut next, mut found) = (Some(PageStart::Skip(skip)), Vec::new());
            while let Some(start) = next {
                let page = ledger.transactions(&Query { start, ..first.clone() }).unwrap().wait().unwrap();
                found.extend(page.transactions.iter().map(|transaction| transaction.id));
                next = page.next;
            }
            let mut expected = transfers.clone();
            if !ascending {
                expected.reverse();
            }
            assert_eq!(found, expected.split_off(expected.len().min(skip as usize)), "{ascending} {skip}");
        }
    }
}

#[test]
fn an_atomic_batch_names_the_first_that_is_to_blame() {
    let ledger = Ledger::options().in_memory().unwrap();
    let poor = Transfer::new(user(1), user(2), amount(1), key("poor"));
    let to_itself = Transfer::new(user(3), user(3), amount(1), key("to itself"));
    let blamed = |commands: &[Command<'_>]| match ledger.batch_atomic(commands).map(|_| ()) {
        Err(Error::Rejected(Rejection::BatchRejected { index, rejection })) => (index, *rejection),
        other => panic!("{other:?}"),
    };
    let insufficient = Rejection::InsufficientBalance { withdrawable: 0 };
    assert_eq!(blamed(&[poor.into(), to_itself.into()]), (0, insufficient));
    assert_eq!(blamed(&[to_itself.into(), poor.into()]), (0, Rejection::SameAccount));
    assert!(ledger.charge(Charge::new(user(1), amount(1), key("poor"))).is_ok(), "the keys are as they were");
}

#[test]
fn a_transaction_has_its_key_as_soon_as_it_is_seen() {
    let ledger = Ledger::options().in_memory().unwrap();
    let writer = ledger.clone();
    let writer = std::thread::spawn(move || memory_of(&writer, 0..100_000, nth_charge_of_few));
    while !writer.is_finished() {
        let page = ledger.transactions(&Query::new(user(1))).unwrap().wait().unwrap();
        assert!(page.transactions.iter().all(|transaction| !transaction.idempotency_key.is_empty()));
    }
    writer.join().unwrap();
}

fn nth_charge_of_few(n: u64, key: IdempotencyKey<'_>) -> Command<'_> {
    Charge::new(user(1 + n % 3), amount(1), key).into()
}

#[test]
fn who_is_told_of_a_withdrawal_may_ask_for_it_at_once() {
    let ledger = Ledger::options().in_memory().unwrap();
    let (told, heard) = std::sync::mpsc::channel();
    let asking = ledger.clone();
    ledger.on_withdrawal_due(move || {
        for due in asking.due_withdrawals(true, 10) {
            let transaction = asking.transaction(due.id, None).unwrap().wait().unwrap().unwrap();
            told.send(transaction.idempotency_key).unwrap();
        }
    });
    let commands = [
        Charge::new(user(1), amount(9), key("charge")).into(),
        Withdraw::new(user(1), amount(4), key("payout")).into(),
    ];
    assert!(ledger.batch(&commands).unwrap().wait().unwrap().iter().all(Result::is_ok));
    assert_eq!(&*heard.recv().unwrap(), "payout");
    ledger.on_withdrawal_due(|| {});
}

#[test]
fn a_past_balance_stays_what_was_answered_though_a_command_was_begun_before() {
    let second = std::time::Duration::from_secs(1);
    let time = sim::SimClock::at(Timestamp::EPOCH);
    let (clock, arrives, go_on) = HeldClock::new(&time);
    let ledger = Ledger::options().clock(clock).in_memory().unwrap();
    let handle = ledger.clone();
    let charged = beside(HeldClock::HELD, move || {
        let charge = Charge::new(user(1), amount(5), key("begun before"));
        handle.charge(charge).unwrap().wait()
    });
    awaited("the charge has read its clock", &arrives);
    time.advance(10 * second);
    let at = Timestamp::EPOCH.saturating_add(5 * second);
    let asked = || ledger.balance_at(user(1), Currency::USD, at).unwrap().wait().unwrap().total();
    assert_eq!(asked(), 0);
    go_on.send(()).unwrap();
    let receipt = awaited("the charge", &charged).unwrap();
    assert!(receipt.created_at > at, "{}", receipt.created_at);
    assert_eq!(asked(), 0, "it is answered as before");
}

#[test]
fn a_past_balance_names_the_next_release_that_was_known_then() {
    let clock = sim::SimClock::at(Timestamp::EPOCH);
    let ledger = Ledger::options().clock(clock.clone()).in_memory().unwrap();
    let second = std::time::Duration::from_secs(1);
    let at = |seconds: u32| Timestamp::EPOCH.saturating_add(second * seconds);
    for (hold, name) in [(100, "a"), (50, "b"), (70, "c")] {
        clock.advance(10 * second);
        let charge = Charge::new(user(1), amount(1), key(name)).release_at(at(hold));
        assert!(ledger.charge(charge).unwrap().wait().is_ok());
    }
    clock.advance(30 * second);
    let next = |seconds| ledger.balance_at(user(1), Currency::USD, at(seconds)).unwrap().wait().unwrap();
    let known = [(9, None), (10, Some(100)), (19, Some(100)), (20, Some(50)), (30, Some(50)), (50, Some(70))];
    for (seconds, release) in known {
        assert_eq!(next(seconds).next_release_at, release.map(at), "at {seconds} s");
    }
    assert_eq!(next(99).next_release_at, Some(at(100)), "a moment to come");
    assert_eq!(next(100).next_release_at, None);
}
