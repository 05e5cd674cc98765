//! Many threads at once. Each records what it asked, what it was told, and between which moments; the seqs are the
//! witness order, so sorting by them and asking the model again checks every answer, in n log n.
//!
//! Four things are checked of each history: every answer is the model's at its seq (a rejection's: at some seq while the
//! call ran); one key has one effect, however many race for it; what began after another had returned has no smaller
//! seq; and audits taken meanwhile are balanced.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use ledger_core::sim::SimClock;
use ledger_core::{
    Audit, Balance, Currency, DirectoryStorage, Error, Ledger, Options, Receipt, Rejection, Timestamp, TransactionId,
    UserId,
};
use uuid::Uuid;

use crate::model::{Asked, Model};
use crate::pair::{same_balance, same_rejection};
use crate::stage::{Chance, START, World, amount, answer, ask, currency, difference, dump, user};

const USERS: u64 = 4;

/// A call as one thread saw it.
#[derive(Debug)]
struct Event {
    /// The order of beginnings and ends of all calls.
    invoked: u64,
    returned: u64,
    /// The entries appended before the call and after it.
    appended: (u64, u64),
    /// The ledger's time before the call and after it.
    now: (Timestamp, Timestamp),
    what: Call,
}

#[derive(Debug)]
enum Call {
    Command(Asked, Result<Receipt, Rejection>),
    Batch(Vec<(Asked, Result<Receipt, Rejection>)>),
    Atomic(Vec<Asked>, Result<(bool, Vec<TransactionId>), Rejection>),
    Balance(Balance),
    BalanceAt(Timestamp, Balance),
    Audit(Audit),
}

/// Counts beginnings and ends of calls.
static TICKETS: AtomicU64 = AtomicU64::new(0);

fn ticket() -> u64 {
    // One total order of all tickets is what the histories are about.
    TICKETS.fetch_add(1, Ordering::SeqCst)
}

fn record(ledger: &Ledger, call: impl FnOnce() -> Call) -> Event {
    let (before, now) = (ledger.appended().get(), ledger.now());
    let invoked = ticket();
    let what = call();
    let returned = ticket();
    Event { invoked, returned, appended: (before, ledger.appended().get()), now: (now, ledger.now()), what }
}

fn rejected<T>(answer: Result<T, Error>) -> Result<T, Rejection> {
    answer.map_err(|err| match err {
        Error::Rejected(rejection) => rejection,
        Error::Halted(halted) => panic!("{halted}"),
    })
}

/// The command that key `number` stands for, the same for every thread; now and then something else in its place.
fn command(chance: &mut Chance, number: u64) -> Asked {
    let key = format!("key {number}");
    let mut fixed = Chance::new(number);
    let (a, b) = (user(1 + fixed.below(USERS)), user(1 + fixed.below(USERS)));
    let asked = match fixed.below(10) {
        0..=3 => Asked::charge(a, amount(1 + fixed.below(200)), key),
        4..=8 => Asked::transfer(a, b, amount(1 + fixed.below(150)), key),
        _ => Asked::withdraw(a, amount(1 + fixed.below(20)), key),
    };
    let code: Currency = currency(fixed.pick(&["USD", "USD", "EUR"]));
    let is_held = asked.kind != ledger_core::TransactionKind::Withdrawal && fixed.below(4) == 0;
    let release_at = is_held.then(|| START.saturating_add(Duration::from_millis(fixed.below(100))));
    let asked = Asked { currency: code, release_at, ..asked };
    if chance.below(20) == 0 { Asked { amount: amount(1 + chance.below(1000)), ..asked } } else { asked }
}

/// What one thread does.
fn hammer(ledger: &Ledger, seed: u64, calls: u64, keys: u64) -> Vec<Event> {
    let mut chance = Chance::new(seed);
    let mut events = Vec::new();
    for call in 0..calls {
        // All threads walk through the keys together, so that they race for each.
        let near = |chance: &mut Chance| (call * keys / calls + chance.below(8)) % keys;
        let some = |chance: &mut Chance| {
            let numbers: Vec<u64> = (0..1 + chance.below(4)).map(|_| near(chance)).collect();
            numbers.into_iter().map(|number| command(chance, number)).collect::<Vec<_>>()
        };
        events.push(match chance.below(20) {
            0..=11 => {
                let number = near(&mut chance);
                let asked = command(&mut chance, number);
                record(ledger, || {
                    let answer = rejected(answer(ask(ledger, &asked)));
                    Call::Command(asked, answer)
                })
            }
            12..=13 => {
                let asked = some(&mut chance);
                record(ledger, || {
                    let commands: Vec<_> = asked.iter().map(Asked::command).collect();
                    let results = rejected(answer(ledger.batch(&commands))).expect("a batch is not refused as a whole");
                    Call::Batch(asked.iter().cloned().zip(results).collect())
                })
            }
            14 => {
                let asked = some(&mut chance);
                record(ledger, || {
                    let commands: Vec<_> = asked.iter().map(Asked::command).collect();
                    let result = rejected(answer(ledger.batch_atomic(&commands)));
                    Call::Atomic(asked, result.map(|receipt| (receipt.repeat, receipt.transactions)))
                })
            }
            15..=18 => {
                let (of, code) = (user(1 + chance.below(USERS)), currency(chance.pick(&["USD", "EUR"])));
                record(ledger, || {
                    if chance.below(4) == 0 {
                        let at = START.saturating_add(Duration::from_millis(chance.below(200)));
                        Call::BalanceAt(at, answer(ledger.balance_at(of, code, at)).expect("a read"))
                    } else if chance.below(2) == 0 {
                        Call::Balance(answer(ledger.balance(of, code)).expect("a read"))
                    } else {
                        // Of several, the one whose turn it is.
                        let of: Vec<_> = (1..=USERS).map(|of| (user(of), code)).collect();
                        let found = answer(ledger.balances(&of)).expect("a read");
                        Call::Balance(found[chance.below(USERS) as usize])
                    }
                })
            }
            _ => record(ledger, || {
                let audit = if chance.below(4) == 0 { ledger.audit_deep() } else { ledger.audit() };
                Call::Audit(answer(audit).expect("a read"))
            }),
        });
    }
    events
}

/// Runs `threads` threads against `ledger` and gives their events.
fn history(ledger: &Ledger, clock: &SimClock, threads: u64, calls: u64, seed: u64) -> Vec<Event> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        // Holds mature while the others run.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                clock.advance(Duration::from_micros(100));
                thread::sleep(Duration::from_micros(200));
            }
        });
        let running: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || hammer(ledger, seed * 1000 + thread, calls, calls * threads / 6)))
            .collect();
        let events: Vec<_> = running.into_iter().map(|thread| thread.join()).collect();
        done.store(true, Ordering::Relaxed);
        events.into_iter().flat_map(|events| events.expect("a thread panicked")).collect()
    })
}

/// A rejection, which has no seq: it must be right at some seq, and some time, while the call ran.
struct Window<'a> {
    first: u64,
    last: u64,
    now: (Timestamp, Timestamp),
    asked: &'a [Asked],
    rejection: &'a Rejection,
}

impl Window<'_> {
    fn is_right(&self, model: &Model) -> bool {
        times(model, self.asked, self.now).into_iter().any(|now| match self.rejection {
            Rejection::BatchRejected { index, rejection } => model
                .decide_batch(self.asked, now)
                .is_err_and(|(at, expected)| at == *index && same_rejection(&expected, rejection).is_ok()),
            rejection => {
                model.decide(&self.asked[0], now).is_err_and(|expected| same_rejection(&expected, rejection).is_ok())
            }
        })
    }
}

/// The times between two moments at which an answer can change: the first, and each at which a hold matures.
fn times(model: &Model, asked: &[Asked], now: (Timestamp, Timestamp)) -> Vec<Timestamp> {
    let mut times = vec![now.0, now.1];
    for asked in asked {
        times.extend(model.maturing(asked.user, asked.currency, now));
    }
    times.sort_unstable();
    times.dedup();
    times
}

/// `planned`: the answer to a command, which may go by the time at which it was begun.
fn right_balance(model: &Model, found: &Balance, now: (Timestamp, Timestamp), planned: bool) -> Result<(), String> {
    let mut times = vec![now.0, now.1];
    times.extend(model.maturing(found.user, found.currency, now));
    let mut why = Ok(());
    for at in times {
        let expected = match planned {
            true => model.balance_planned(found.user, found.currency, at),
            false => model.balance(found.user, found.currency, at),
        };
        why = same_balance(&expected, found, found.seq);
        if why.is_ok() {
            break;
        }
    }
    why
}

/// A command that was accepted: what was asked, its receipt (an atomic batch has none), its call, its place in a batch.
type Accepted<'a> = (&'a Asked, Option<&'a Receipt>, &'a Event, Option<(usize, usize)>);

/// Sorts the history by seq, plays it on a model, and compares every answer.
fn verify(events: &[Event], ledger: &Ledger) -> Result<Model, String> {
    in_real_time(events)?;
    let mut accepted: BTreeMap<u64, Accepted<'_>> = BTreeMap::new();
    let mut balances: BTreeMap<u64, Vec<(&Balance, &Event)>> = BTreeMap::new();
    let mut windows: Vec<Window<'_>> = Vec::new();
    let mut twice = None;
    for event in events {
        let mut accept = |id: u64, asked, receipt, batch| {
            if accepted.insert(id, (asked, receipt, event, batch)).is_some() {
                twice = Some(id);
            }
        };
        let (first, last) = event.appended;
        let window = |first, asked, rejection| Window { first, last, now: event.now, asked, rejection };
        match &event.what {
            Call::Command(asked, Ok(receipt)) => accept(receipt.transaction_id.get(), asked, Some(receipt), None),
            Call::Command(asked, Err(rejection)) => {
                windows.push(window(first, std::slice::from_ref(asked), rejection));
            }
            Call::Batch(results) => {
                for (index, (asked, result)) in results.iter().enumerate() {
                    match result {
                        Ok(receipt) => accept(receipt.transaction_id.get(), asked, Some(receipt), None),
                        Err(rejection) => {
                            // Each operation sees those before it on its accounts; others may be done later.
                            let earlier = results[..index].iter().filter(|(earlier, _)| meet(earlier, asked));
                            let seen =
                                earlier.filter_map(|(_, result)| Some(result.as_ref().ok()?.transaction_id.get()));
                            let least = seen.fold(first, u64::max);
                            windows.push(window(least, std::slice::from_ref(asked), rejection));
                        }
                    }
                }
            }
            Call::Atomic(asked, Ok((false, ids))) => {
                for (index, (asked_one, id)) in asked.iter().zip(ids).enumerate() {
                    if id.get() != ids[0].get() + index as u64 {
                        return Err(format!("an atomic batch got the ids {ids:?}"));
                    }
                    accept(id.get(), asked_one, None, Some((index, asked.len())));
                }
            }
            Call::Atomic(_, Ok((true, _))) => {}
            Call::Atomic(asked, Err(rejection)) => windows.push(window(first, asked, rejection)),
            Call::Balance(balance) | Call::BalanceAt(_, balance) => {
                balances.entry(balance.seq.get()).or_default().push((balance, event));
            }
            Call::Audit(audit) => {
                if !audit.is_balanced() {
                    return Err(format!("an audit taken meanwhile is not balanced: {audit:?}"));
                }
            }
        }
    }
    if let Some(id) = twice {
        return Err(format!("transaction {id} was acknowledged for two commands"));
    }
    windows.sort_by_key(|window| window.first);
    let mut windows = windows.into_iter().peekable();
    let mut open: Vec<Window<'_>> = Vec::new();
    let mut model = Model::new(ledger.uuid(), ledger.epoch(), None);
    for seq in 0..=ledger.appended().get() {
        if seq > 0 {
            let (asked, receipt, event, batch) =
                *accepted.get(&seq).ok_or(format!("entry {seq} was acknowledged to nobody"))?;
            let at = match receipt {
                Some(receipt) => receipt.created_at,
                None => {
                    let found = answer(ledger.transaction(TransactionId::new(seq).expect("not zero"), None));
                    found.map_err(|err| err.to_string())?.ok_or(format!("there is no transaction {seq}"))?.created_at
                }
            };
            if at < event.now.0 || at > event.now.1 {
                return Err(format!("{asked:?} was made at {at}, not within {:?}", event.now));
            }
            model.decide(asked, at).map_err(|why| format!("entry {seq}: accepted, but {why}: {asked:?}"))?;
            model.accept(seq, at, asked, batch);
            if let Some(receipt) = receipt {
                let found = Balance { seq: model.receipt(seq).balance.seq, ..receipt.balance };
                right_balance(&model, &found, (event.now.0, at), true)
                    .map_err(|why| format!("receipt {seq}: {why}"))?;
                if receipt.held_until != model.receipt(seq).held_until {
                    return Err(format!("receipt {seq}: {receipt:?}"));
                }
            }
        }
        for (balance, event) in balances.remove(&seq).unwrap_or_default() {
            match event.what {
                Call::BalanceAt(at, _) => right_balance(&model, balance, (at, at), false),
                _ => right_balance(&model, balance, event.now, true),
            }
            .map_err(|why| format!("{why}\n{event:?}"))?;
        }
        while let Some(window) = windows.next_if(|window| window.first <= seq) {
            open.push(window);
        }
        open.retain(|window| !window.is_right(&model));
        if let Some(window) = open.iter().find(|window| window.last <= seq) {
            return Err(format!(
                "right at no seq of {} ..= {}: {:?} for {:?}",
                window.first, window.last, window.rejection, window.asked
            ));
        }
    }
    match balances.keys().next() {
        Some(seq) => Err(format!("a balance of entry {seq}, which there is not")),
        None => Ok(model),
    }
}

/// Whether the order of two commands can be told: they share an account, or a key.
fn meet(one: &Asked, other: &Asked) -> bool {
    let share = || one.users().any(|user| other.users().any(|other| other == user));
    one.key == other.key || one.currency == other.currency && share()
}

/// What began after another had returned has no smaller seq.
fn in_real_time(events: &[Event]) -> Result<(), String> {
    let seq = |event: &Event| match &event.what {
        Call::Command(_, Ok(receipt)) => Some(receipt.transaction_id.get()),
        Call::Atomic(_, Ok((false, ids))) => ids.last().map(|id| id.get()),
        Call::Batch(results) => {
            results.iter().filter_map(|(_, result)| result.as_ref().ok()).map(|r| r.transaction_id.get()).max()
        }
        Call::Balance(balance) | Call::BalanceAt(_, balance) => Some(balance.seq.get()),
        Call::Audit(audit) => Some(audit.seq.get()),
        _ => None,
    };
    // (ticket, is it an end, seq): at each beginning, the largest seq that had ended.
    let mut moments: Vec<(u64, bool, u64)> = Vec::new();
    for event in events {
        if let Some(seq) = seq(event) {
            moments.push((event.invoked, false, seq));
            moments.push((event.returned, true, seq));
        }
    }
    moments.sort_unstable();
    let mut ended = 0;
    for (ticket, is_end, seq) in moments {
        if is_end {
            ended = ended.max(seq);
        } else if seq < ended {
            return Err(format!("the call at ticket {ticket} saw entry {seq} after entry {ended} was told of"));
        }
    }
    Ok(())
}

fn world() -> World {
    World::new(USERS, &["USD", "EUR"])
}

#[test]
fn every_answer_to_many_threads_in_memory_is_the_models() {
    for seed in 1..=3 {
        let clock = SimClock::at(START);
        let ledger = Options::default().clock(clock.clone()).in_memory().expect("valid options");
        let events = history(&ledger, &clock, 8, 1_000, seed);
        let model = verify(&events, &ledger).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        let found = dump(&ledger, &world()).expect("reads");
        assert_eq!(difference(&model.dump(&world(), ledger.now()), &found), None, "seed {seed}");
    }
}

#[test]
fn every_answer_to_many_threads_on_disk_is_the_models() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let clock = SimClock::at(START);
    let open = || {
        Options::default()
            .clock(clock.clone())
            .segment_bytes(1 << 20)
            .open_on(DirectoryStorage::new(directory.path()))
            .expect("the directory can be opened")
    };
    let ledger = open();
    let uuid: Uuid = ledger.uuid();
    let events = history(&ledger, &clock, 8, 200, 9);
    let mut model = verify(&events, &ledger).unwrap_or_else(|why| panic!("{why}"));
    ledger.close().expect("a sound disk");
    drop(ledger);
    let ledger = open();
    model.is_of(uuid);
    let found = dump(&ledger, &world()).expect("reads");
    assert_eq!(difference(&model.dump(&world(), ledger.now()), &found), None);
}

#[test]
fn one_key_has_one_effect_however_many_race_for_it() {
    let ledger = Options::default().clock(SimClock::at(START)).in_memory().expect("valid options");
    let (rich, poor): (UserId, UserId) = (user(1), user(2));
    answer(ask(&ledger, &Asked::charge(rich, amount(1_000_000), "opening"))).expect("a charge");
    for round in 0..200 {
        let asked = Asked::transfer(rich, poor, amount(10), format!("race {round}"));
        let answers: Vec<Result<Receipt, Error>> = thread::scope(|scope| {
            let racing: Vec<_> = (0..4).map(|_| scope.spawn(|| answer(ask(&ledger, &asked)))).collect();
            racing.into_iter().map(|thread| thread.join().expect("a thread")).collect()
        });
        let winners: Vec<_> = answers.iter().flatten().map(|receipt| receipt.transaction_id).collect();
        assert_eq!(winners.len(), 1, "round {round}: {answers:?}");
        for loser in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            match loser {
                Error::Rejected(Rejection::DuplicateRequest(original)) => assert_eq!(original.id, winners[0]),
                other => panic!("round {round}: {other:?}"),
            }
        }
    }
    let balance = answer(ledger.balance(poor, Currency::USD)).expect("a read");
    assert_eq!(balance.withdrawable, 2_000);
}

#[test]
fn money_in_a_ring_of_transfers_is_neither_made_nor_lost_nor_deadlocked() {
    let ledger = Options::default().clock(SimClock::at(START)).shards(2).in_memory().expect("valid options");
    for n in 1..=6 {
        answer(ask(&ledger, &Asked::charge(user(n), amount(1_000), format!("opening {n}")))).expect("a charge");
    }
    thread::scope(|scope| {
        for n in 0..6u64 {
            let ledger = &ledger;
            scope.spawn(move || {
                let mut chance = Chance::new(n);
                for call in 0..500 {
                    let (from, to) = (1 + (n + chance.below(2)) % 6, 1 + (n + 2 + chance.below(3)) % 6);
                    let asked =
                        Asked::transfer(user(from), user(to), amount(1 + chance.below(400)), format!("{n} {call}"));
                    match answer(ask(ledger, &asked)) {
                        Ok(_)
                        | Err(Error::Rejected(Rejection::InsufficientBalance { .. } | Rejection::SameAccount)) => {}
                        other => panic!("{other:?}"),
                    }
                    if call % 50 == 0 {
                        let audit = answer(ledger.audit()).expect("a read");
                        assert!(audit.is_balanced() && audit.currencies[0].total == 6_000, "{audit:?}");
                    }
                }
            });
        }
    });
}

/// Each pays with what it got from the one before, which in this order alone is enough; and most of the others touch nobody else's
/// account.
#[test]
fn transfers_of_a_batch_that_rest_on_each_other_are_done_in_their_order_beside_those_of_others() {
    const CHAIN: u64 = 700;
    const PAIRS: u64 = 3_000;
    let ledger = Ledger::options().shards(16).in_memory().unwrap();
    let charge = |payer| Asked::charge(user(payer), amount(5), format!("funds of {payer}"));
    let transfer = |payer| Asked::transfer(user(payer), user(payer + 1), amount(5), format!("from {payer}"));
    thread::scope(|scope| {
        for thread in 1..=3u64 {
            let ledger = &ledger;
            scope.spawn(move || {
                let first = thread * 1_000_000;
                let payers = std::iter::once(first).chain((0..PAIRS).map(|pair| first + 10_000 + 2 * pair));
                let funds: Vec<Asked> = payers.map(charge).collect();
                // The links of the chain lie between the pairs, in their order.
                let transfers: Vec<Asked> = (0..PAIRS)
                    .flat_map(|pair| {
                        let payer = first + 10_000 + 2 * pair;
                        let link = first + pair;
                        let own = transfer(payer);
                        let links = (pair < CHAIN).then(|| transfer(link));
                        links.into_iter().chain([own])
                    })
                    .collect();
                for commands in [funds, transfers] {
                    let commands: Vec<_> = commands.iter().map(Asked::command).collect();
                    let results = answer(ledger.batch(&commands)).unwrap();
                    assert!(results.iter().all(Result::is_ok), "{:?}", results.iter().find(|result| result.is_err()));
                }
                let total = |id: u64| answer(ledger.balance(user(id), Currency::USD)).unwrap().total();
                assert_eq!((total(first), total(first + CHAIN)), (0, 5));
                assert!((0..PAIRS).all(|pair| total(first + 10_001 + 2 * pair) == 5));
                // Back again, between accounts that are all there now; and one in a hundred asks for more than it has.
                let back: Vec<Asked> = (0..PAIRS)
                    .map(|pair| {
                        let (payer, minor) = (first + 10_001 + 2 * pair, if pair % 97 == 0 { 6 } else { 1 + pair % 5 });
                        Asked::transfer(user(payer), user(payer - 1), amount(minor), format!("back from {payer}"))
                    })
                    .collect();
                let commands: Vec<_> = back.iter().map(Asked::command).collect();
                let results = answer(ledger.batch(&commands)).unwrap();
                for (pair, result) in (0..PAIRS).zip(results) {
                    let payer = first + 10_001 + 2 * pair;
                    let returned = if pair % 97 == 0 { 0 } else { 1 + pair % 5 };
                    match result {
                        Ok(receipt) => assert_eq!((receipt.balance.total(), returned > 0), (5 - returned, true)),
                        Err(Rejection::InsufficientBalance { .. }) => assert_eq!(returned, 0),
                        Err(other) => panic!("{other}"),
                    }
                    assert_eq!((total(payer), total(payer - 1)), (5 - returned, returned));
                }
            });
        }
    });
    let audit = answer(ledger.audit()).unwrap();
    assert!(audit.is_balanced(), "{audit:?}");
}
