//! What must hold of any directory: opening refuses it and changes nothing, or recovers a ledger that is balanced, that
//! works, and that gives the same answers when it is opened again.

use ledger_core::sim::SimDisk;
use ledger_core::{Amount, Audit, Balance, Charge, Currency, Error, IdempotencyKey, Ledger, OpenError, Page, Query};

use crate::samples::{self, USERS, user};

/// Everything that a ledger is asked for.
#[derive(PartialEq, Debug)]
struct Answers {
    appended: u64,
    audit: Audit,
    balances: Vec<Balance>,
    pages: Vec<Page>,
}

/// Opens the directory and judges what comes of it: how many entries were recovered, or why none were.
///
/// # Panics
/// Where the ledger breaks a promise.
pub fn judge(disk: &SimDisk) -> Result<u64, OpenError> {
    let before = files(disk);
    let ledger = match samples::options().open_on(disk.clone()) {
        Ok(ledger) => ledger,
        Err(refused) => {
            if matches!(refused, OpenError::Damaged { .. } | OpenError::Unsupported { .. }) {
                // Not with `assert_eq`, which would print megabytes.
                assert!(before == files(disk), "the directory was refused ({refused}) and changed");
            }
            return Err(refused);
        }
    };
    let recovered = answers(&ledger);
    assert!(recovered.audit.is_balanced(), "recovered out of balance: {:?}", recovered.audit);
    // As a crash would leave it, and as the end of the process does.
    reopen(&disk.after_kill(), &recovered);
    work_on(&ledger);
    let worked = answers(&ledger);
    assert!(worked.audit.is_balanced(), "out of balance after a charge: {:?}", worked.audit);
    drop(ledger);
    reopen(disk, &worked);
    Ok(recovered.appended)
}

fn reopen(disk: &SimDisk, expected: &Answers) {
    let again = samples::options().open_on(disk.clone()).unwrap_or_else(|err| panic!("opened once and no more: {err}"));
    assert_eq!(*expected, answers(&again), "a second opening answers differently");
}

/// One more charge: accepted, or refused for a reason of business.
fn work_on(ledger: &Ledger) {
    let key = IdempotencyKey::new("after the opening").expect("a key");
    let charge = Charge::new(user(1), Amount::new(1).expect("an amount"), key);
    match ledger.charge(charge).and_then(|commit| commit.wait()) {
        Ok(_) | Err(Error::Rejected(_)) => {}
        Err(Error::Halted(halted)) => panic!("opened, and halted by a charge: {halted}"),
    }
}

fn answers(ledger: &Ledger) -> Answers {
    const RUNS: &str = "an open ledger answers";
    let currencies = [Currency::USD, Currency::new("EUR").expect("a currency")];
    let accounts = USERS.flat_map(|number| currencies.map(|currency| (user(number), currency)));
    // A balance names the state that it is of, which rises as more becomes durable.
    let balance = |(user, currency)| Balance {
        seq: Default::default(),
        ..ledger.balance(user, currency).and_then(|c| c.wait()).expect(RUNS)
    };
    let page = |number| {
        let query = Query { limit: 100, ..Query::new(user(number)) };
        ledger.transactions(&query).and_then(|commit| commit.wait()).expect(RUNS)
    };
    Answers {
        appended: ledger.appended().get(),
        audit: ledger.audit_deep().and_then(|commit| commit.wait()).expect(RUNS),
        balances: accounts.map(balance).collect(),
        pages: USERS.map(page).collect(),
    }
}

/// All that is in the directory: of each file the name, the length, and the bytes before the zeros that it ends with.
fn files(disk: &SimDisk) -> Vec<(String, usize, Vec<u8>)> {
    let file = |name: String| {
        let (mut bytes, written) = (disk.read(&name)?, disk.written(&name)?);
        let length = bytes.len();
        bytes.truncate(written as usize);
        Some((name, length, bytes))
    };
    disk.names().into_iter().filter_map(file).collect()
}
