//! A log whose frames are whole and whose chain is right, but whose entries nobody decided: an opening refuses the first
//! that does not follow from those before it. Each such entry stands beside the one that just follows.

mod opening;

use smallvec::smallvec;

use super::*;
use crate::inspect::verify_storage;
use crate::journal::codec;
use crate::ledger::Ledger;
use crate::sim::{SimClock, SimDisk};
use crate::state::{Entry, Party, Posting, TransactionEntry};
use crate::types::{
    Amount, Currency, Epoch, Fingerprint, INTEGER_MAX, IdempotencyKey, Operator, Timestamp, TransactionId, UserId,
};
use crate::view::{Status, TransactionKind};
use crate::wal::{FramePlace, Level};
use crate::withdrawals::{
    Event, NoticeOutcome, Reservation as Money, Resolution, ReturnCredit, Said, Substatus, WithdrawalEntry,
};

const KEYS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn time(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000).unwrap()
}

fn user(id: u64) -> Party {
    Party::User(UserId::new(id).unwrap())
}

/// A movement under the key `KEYS[key]`.
fn transaction(kind: TransactionKind, key: usize, amount: u64, debit: Party, credit: Party) -> Entry<'static> {
    let status = if kind == TransactionKind::Withdrawal { Status::Pending } else { Status::Completed };
    let amount = Amount::new(amount).unwrap();
    Entry::Transaction(TransactionEntry {
        kind,
        status,
        key: IdempotencyKey::new(KEYS[key]).unwrap(),
        fingerprint: Fingerprint::new(key as u128),
        postings: smallvec![Posting { currency: Currency::USD, amount, debit, credit, release_at: None }],
        destination: None,
        metadata: None,
        batch: None,
    })
}

fn charge(key: usize, amount: u64) -> Entry<'static> {
    transaction(TransactionKind::Charge, key, amount, Party::External, user(1))
}

fn withdraw(key: usize, amount: u64) -> Entry<'static> {
    transaction(TransactionKind::Withdrawal, key, amount, user(1), Party::External)
}

fn with_status(mut entry: Entry<'static>, status: Status) -> Entry<'static> {
    let Entry::Transaction(transaction) = &mut entry else { panic!("a transaction") };
    transaction.status = status;
    entry
}

fn held_until(mut entry: Entry<'static>, release_at: Timestamp) -> Entry<'static> {
    let Entry::Transaction(transaction) = &mut entry else { panic!("a transaction") };
    transaction.postings[0].release_at = Some(release_at);
    entry
}

/// An entry about the withdrawal of 60 whose seq is 2.
fn about(event: Event, to: Substatus) -> WithdrawalEntry<'static> {
    WithdrawalEntry {
        id: TransactionId::new(2).unwrap(),
        user: UserId::new(1).unwrap(),
        currency: Currency::USD,
        amount: Amount::new(60).unwrap(),
        event,
        to,
        due: None,
        evidence: "",
        operator: None,
        command: None,
    }
}

fn resolved(outcome: Resolution) -> Entry<'static> {
    Entry::Withdrawal(resolved_by(outcome, KEYS[7]))
}

fn resolved_by(outcome: Resolution, key: &'static str) -> WithdrawalEntry<'static> {
    let to = if outcome == Resolution::Completed { Substatus::Completed } else { Substatus::Failed };
    let command = Some((IdempotencyKey::new(key).unwrap(), Fingerprint::new(9)));
    WithdrawalEntry { operator: Operator::new("Ann"), command, ..about(Event::Resolved { outcome }, to) }
}

fn returned(credit: ReturnCredit, to: Substatus) -> Entry<'static> {
    Entry::Withdrawal(about(Event::Returned { credit, occurred_at: time(0) }, to))
}

/// After a release the bank says that it paid.
fn paid_late(to: Substatus) -> Entry<'static> {
    let said = Said::Notice { outcome: NoticeOutcome::Settled };
    Entry::Withdrawal(about(Event::Contradicted { said, says: Money::Paid, posted: true }, to))
}

fn options() -> Options {
    Options::default().threads(false).segment_bytes(1 << 20).shards(4).clock(SimClock::at(time(60)))
}

/// A log with these entries, a second apart.
fn log_of(entries: &[Entry<'_>]) -> SimDisk {
    let (disk, options) = (SimDisk::new(1), options());
    let first = &mut |_: Option<(Uuid, Seq)>| Ok(Start::First);
    let (wal, _) = Wal::open_after(Arc::new(disk.clone()), options.wal(), first, &mut |_| Ok(()), &|_| Ok(())).unwrap();
    for (second, entry) in (1..).zip(entries) {
        let mut bytes = Vec::new();
        codec::encode(entry, &mut bytes);
        let mut reservation = wal.reserve(1, bytes.len()).unwrap();
        let stamp = wal.append(&mut reservation, time(second), &bytes).unwrap();
        drop(reservation);
        wal.wait(stamp.seq, Level::Durable).unwrap();
    }
    wal.close().unwrap();
    disk
}

/// Opens a ledger on a log with these entries.
fn open_log(entries: &[Entry<'_>]) -> Result<Ledger, OpenError> {
    let ledger = options().open_on(log_of(entries))?;
    let audit = ledger.audit_deep().unwrap().wait().unwrap();
    assert!(audit.is_balanced(), "{audit:?}");
    Ok(ledger)
}

/// That the log opens up to its last entry, and not with that one; and that a check names the same place.
fn refuses_the_last(what: &str, entries: &[Entry<'_>]) {
    let last = entries.len();
    follows(what, &entries[..last - 1]);
    match open_log(entries) {
        Err(OpenError::Damaged { file, offset, seq, .. }) => {
            assert_eq!(seq, Some(last as u64), "{what}");
            match verify_storage(&log_of(entries)) {
                Err(OpenError::Damaged { file: named, offset: at, seq: then, .. }) => {
                    assert_eq!((named, at, then), (file, offset, seq), "{what}");
                    assert!(offset >= 8_192, "{what}: a frame's place");
                }
                other => panic!("{what}: verify says {other:?}"),
            }
        }
        Err(other) => panic!("{what}: {other}"),
        Ok(_) => panic!("{what}: it was opened"),
    }
}

fn follows(what: &str, entries: &[Entry<'_>]) {
    let opened = open_log(entries).unwrap_or_else(|refused| panic!("{what}: {refused}"));
    assert_eq!(opened.recovered().replayed, entries.len() as u64, "{what}");
}

#[test]
fn a_transaction_that_nobody_can_have_decided_is_refused() {
    use TransactionKind::{Charge, Return, Transfer, Withdrawal};
    refuses_the_last("a return by itself", &[transaction(Return, 0, 1, Party::External, user(1))]);
    refuses_the_last("of no user", &[transaction(Charge, 0, 1, Party::External, Party::Suspense)]);
    refuses_the_last("to itself", &[charge(0, 9), transaction(Transfer, 1, 1, user(1), user(1))]);
    refuses_the_last("a pending charge", &[with_status(charge(0, 1), Status::Pending)]);
    let completed = with_status(transaction(Withdrawal, 1, 1, user(1), Party::External), Status::Completed);
    refuses_the_last("a completed withdrawal", &[charge(0, 9), completed]);
    refuses_the_last("a key again", &[charge(0, 1), charge(0, 1)]);
}

#[test]
fn money_that_goes_another_way_than_its_kind_is_refused() {
    use TransactionKind::{Charge, Transfer, Withdrawal};
    let parties = [Party::External, Party::Suspense, user(1), user(2)];
    let ways: Vec<_> = parties.into_iter().flat_map(|debit| parties.map(|credit| (debit, credit))).collect();
    let kinds = [Charge, Transfer, Withdrawal].into_iter();
    for (kind, (debit, credit)) in kinds.flat_map(|kind| ways.iter().map(move |way| (kind, *way))) {
        let what = format!("a {} from {debit:?} to {credit:?}", kind.as_str());
        let of_other = transaction(Charge, 1, 100, Party::External, user(2));
        let entries = [charge(0, 100), of_other, transaction(kind, 2, 1, debit, credit)];
        let is_made = match kind {
            Charge => debit == Party::External && credit.user().is_some(),
            Transfer => debit != credit && debit.user().is_some() && credit.user().is_some(),
            _ => debit.user().is_some() && credit == Party::External,
        };
        if is_made { follows(&what, &entries) } else { refuses_the_last(&what, &entries) }
    }
}

#[test]
fn more_than_one_posting_is_refused() {
    let twice = |mut entry: Entry<'static>| {
        let Entry::Transaction(transaction) = &mut entry else { panic!("a transaction") };
        let posting = transaction.postings[0];
        transaction.postings.push(posting);
        entry
    };
    let pay = transaction(TransactionKind::Transfer, 1, 60, user(1), user(2));
    refuses_the_last("more than there is, in two halves", &[charge(0, 100), twice(pay)]);
    refuses_the_last("more than fits, in two halves", &[twice(charge(0, INTEGER_MAX / 2 + 1))]);
}

#[test]
fn a_debit_of_more_than_is_withdrawable_is_refused() {
    let pay = |key, amount| transaction(TransactionKind::Transfer, key, amount, user(1), user(2));
    for debit in [pay, withdraw] {
        follows("of everything", &[charge(0, 100), debit(1, 100)]);
        refuses_the_last("of more", &[charge(0, 100), debit(1, 101)]);
        refuses_the_last("of what is reserved", &[charge(0, 100), withdraw(1, 40), debit(2, 61)]);
        // The third entry is of second 3.
        let held = held_until(charge(0, 100), time(3));
        refuses_the_last("of what is held", &[held.clone(), debit(1, 1)]);
        follows("of what was held", &[held, charge(1, 1), debit(2, 101)]);
    }
}

#[test]
fn a_credit_for_which_there_is_no_room_is_refused() {
    follows("as much as fits", &[charge(0, INTEGER_MAX - 1), charge(1, 1)]);
    refuses_the_last("one more", &[charge(0, INTEGER_MAX), charge(1, 1)]);
}

#[test]
fn an_entry_about_another_withdrawal_than_there_is_is_refused() {
    let books = |last: WithdrawalEntry<'static>| [charge(0, 100), withdraw(1, 60), Entry::Withdrawal(last)];
    let said = || about(Event::DeadlinePassed, Substatus::NeedsReview);
    follows("the one that is there", &books(said()));
    let wrong = [
        ("of another user", WithdrawalEntry { user: UserId::new(2).unwrap(), ..said() }),
        ("in another currency", WithdrawalEntry { currency: Currency::new("EUR").unwrap(), ..said() }),
        ("of another amount", WithdrawalEntry { amount: Amount::new(61).unwrap(), ..said() }),
        ("that is a charge", WithdrawalEntry { id: TransactionId::new(1).unwrap(), ..said() }),
        ("that comes later", WithdrawalEntry { id: TransactionId::new(3).unwrap(), ..said() }),
        ("whose key was used", resolved_by(Resolution::Completed, KEYS[0])),
    ];
    for (what, wrong) in wrong {
        refuses_the_last(what, &books(wrong));
    }
}

#[test]
fn a_withdrawal_that_has_ended_ends_no_other_way() {
    use Resolution::{Completed, Failed};
    for (first, then) in [(Completed, Failed), (Failed, Completed)] {
        let ended = [charge(0, 100), withdraw(1, 60), resolved(first)];
        let opens_again = Entry::Withdrawal(about(Event::DeadlinePassed, Substatus::NeedsReview));
        let again = Entry::Withdrawal(resolved_by(then, KEYS[6]));
        refuses_the_last("ended otherwise", &[&ended[..], &[again]].concat());
        refuses_the_last("opened again", &[&ended[..], &[opens_again]].concat());
    }
}

#[test]
fn a_late_payment_is_posted_once_and_after_a_release_alone() {
    let open = [charge(0, 100), withdraw(1, 60)];
    let (released, paid) = (resolved(Resolution::Failed), resolved(Resolution::Completed));
    let late = paid_late(Substatus::Failed);
    follows("after a release", &[&open[..], &[released.clone(), late.clone()]].concat());
    refuses_the_last("twice", &[&open[..], &[released, late.clone(), late]].concat());
    refuses_the_last("after a payment", &[&open[..], &[paid, paid_late(Substatus::Completed)]].concat());
    refuses_the_last("while it is open", &[&open[..], &[paid_late(Substatus::Unknown)]].concat());
}

#[test]
fn a_return_is_credited_once_and_to_whom_the_payment_was_taken_from() {
    use ReturnCredit::{Nobody, Suspense, User};
    let open = vec![charge(0, 100), withdraw(1, 60)];
    let with = |more: &[Entry<'static>]| [&open[..], more].concat();
    let paid = with(&[resolved(Resolution::Completed)]);
    let released = with(&[resolved(Resolution::Failed)]);
    let late = [&released[..], &[paid_late(Substatus::Failed)]].concat();
    let cases = [
        ("open", &open, Substatus::Returned, &[User, Suspense][..]),
        ("paid", &paid, Substatus::Returned, &[User, Suspense]),
        ("released", &released, Substatus::Failed, &[Nobody]),
        ("paid late", &late, Substatus::Failed, &[Suspense]),
    ];
    for (name, before, to, credits) in cases {
        for credit in [User, Suspense, Nobody] {
            let what = format!("{name}, to {}", credit.as_str());
            let once = [&before[..], &[returned(credit, to)]].concat();
            if credits.contains(&credit) {
                follows(&what, &once);
                refuses_the_last(&what, &[&once[..], &[returned(credit, to)]].concat());
            } else {
                refuses_the_last(&what, &once);
            }
        }
    }
    // 40 were left.
    let full = |amount| [&paid[..], &[charge(2, amount), returned(User, Substatus::Returned)]].concat();
    follows("as much as fits", &full(INTEGER_MAX - 100));
    refuses_the_last("one more", &full(INTEGER_MAX - 99));
}

#[test]
fn a_return_that_comes_from_a_snapshot_still_says_which_withdrawal_came_back() {
    let paid = [charge(0, 100), withdraw(1, 60), resolved(Resolution::Completed)];
    let disk = log_of(&[&paid[..], &[returned(ReturnCredit::User, Substatus::Returned)]].concat());
    let of = |ledger: &Ledger| {
        let found = ledger.transaction(TransactionId::new(4).unwrap(), None).unwrap().wait().unwrap();
        found.and_then(|returned| returned.returns).map(TransactionId::get)
    };
    let ledger = options().open_on(disk.clone()).unwrap();
    assert_eq!(of(&ledger), Some(2));
    ledger.checkpoint().unwrap();
    ledger.close().unwrap();
    drop(ledger);
    let ledger = options().open_on(disk).unwrap();
    assert_eq!((ledger.recovered().snapshot, of(&ledger)), (Seq::new(4), Some(2)));
}

#[test]
fn an_entry_past_the_last_that_an_account_can_name_is_refused() {
    let is_taken = |seq: u64| {
        let mut replay = Replay::new(Tables::seeded(2, 7), 1, 0);
        let started = about(Event::AttemptStarted { attempt: 1 }, Substatus::Submitting);
        let entries = [(1, charge(0, 100)), (2, withdraw(1, 60)), (seq, Entry::Withdrawal(started))];
        entries.iter().all(|(seq, entry)| {
            let mut bytes = Vec::new();
            codec::encode(entry, &mut bytes);
            let (time, epoch, place) = (time(*seq as i64 % 60), Epoch::new(1), FramePlace::new(1, 4096));
            let taken = replay.take(&Record { seq: Seq::new(*seq), time, epoch, place, bytes: &bytes });
            taken.is_ok() && replay.settle().is_ok()
        })
    };
    assert!(is_taken(3) && is_taken((1 << 48) - 1));
    assert!(!is_taken(1 << 48) && !is_taken(u64::MAX - 1));
}
