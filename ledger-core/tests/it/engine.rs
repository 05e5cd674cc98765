//! The engine's own promises: what it costs, and what it says while others are at work.

use ledger_core::*;

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
