//! A log with very many open withdrawals at the start: the server serves, takes new ones as its queue says, and works the
//! old ones off at the bank's pace, with memory that does not grow by the backlog's length in calls or connections.

use std::time::{Duration, Instant};

use ledger_core::{Amount, Charge, Command, Destination, IdempotencyKey, Ledger, UserId, Withdraw};

use crate::client::number;
use crate::operator::Operator;
use crate::programs::{Bank, Server, World, until};

const USERS: u64 = 100;
const WORKERS: u64 = 50;
const QUEUE: u64 = 10;

/// Long enough for 100,000 on a slow machine; nothing depends on how long it takes.
const PATIENCE: Duration = Duration::from_secs(570);

/// Reserves `count` withdrawals that nobody performs.
fn leave_open(world: &World, count: u64) {
    let ledger = Ledger::open(world.data()).unwrap();
    let amount = |minor| Amount::new(minor).unwrap();
    for user in 1..=USERS {
        let key = format!("c-{user}");
        let key = IdempotencyKey::new(&key).unwrap();
        ledger.charge(Charge::new(UserId::new(user).unwrap(), amount(1_000_000), key)).unwrap().wait().unwrap();
    }
    let keys: Vec<_> = (0..count).map(|n| format!("old-{n}")).collect();
    for (keys, first) in keys.chunks(1_000).zip((0..).step_by(1_000)) {
        let commands: Vec<Command<'_>> = keys
            .iter()
            .zip(first..)
            .map(|(key, n): (_, u64)| {
                let user = UserId::new(n % USERS + 1).unwrap();
                let withdraw = Withdraw::new(user, amount(5), IdempotencyKey::new(key).unwrap());
                withdraw.destination(Destination::new("an account").unwrap()).into()
            })
            .collect();
        let results = ledger.batch(&commands).unwrap().wait().unwrap();
        assert!(results.iter().all(Result::is_ok));
    }
    assert_eq!(ledger.withdrawals_open(), count);
    ledger.close().unwrap();
}

#[test]
fn a_backlog_is_worked_off_while_new_withdrawals_come() {
    let backlog = number("LEDGER_BACKLOG", 3_000);
    let world = World::new(1);
    leave_open(&world, backlog);
    let bank = Bank::start(&world, "--latency 1ms..5ms");
    let started = Instant::now();
    let options = format!("--workers {WORKERS} --queue {QUEUE} --bank-idempotency-window 12h --bank-deadline 1h");
    let server = Server::start(&world, &options);
    let served_after = started.elapsed();
    let memory_at_start = server.memory_bytes_max();
    let operator = Operator::new(&world);

    let at_start = operator.health();
    let open_at_start = at_start["pending_withdrawals"].as_u64().unwrap();
    let (mut accepted, mut refused) = (0, 0);
    for n in 0..200 {
        // The backlog takes no places, so that of the first ones as many are taken as there are.
        if operator.try_withdraw(n % USERS + 1, 7, &format!("new-{n}")) {
            accepted += 1
        } else {
            refused += 1
        }
        let health = operator.health();
        assert!(health["in_flight"].as_u64().unwrap() <= WORKERS, "{health}");
        assert!(health["queue_length"].as_u64().unwrap() <= QUEUE, "{health}");
    }
    assert!(accepted > QUEUE, "a backlog does not keep new ones out: {accepted} accepted, {refused} refused");
    until("the backlog to be worked off", PATIENCE, || {
        let health = operator.health();
        assert!(health["in_flight"].as_u64().unwrap() <= WORKERS, "{health}");
        health["pending_withdrawals"] == 0
    });
    let drained_after = started.elapsed();

    let memory = server.memory_bytes_max();
    // Each withdrawal that ends has a history of attempts and evidence, which stays.
    let history = 2_048 * (backlog + accepted);
    assert!(
        memory < memory_at_start + history + (64 << 20),
        "{memory_at_start} bytes at the start, {memory} in the end"
    );
    let statement = bank.statement();
    operator.compare(&operator.book(), &statement, backlog + accepted);
    server.stop();
    eprintln!(
        "{backlog} open withdrawals ({open_at_start} when first asked): served after {served_after:?}, worked off after \
         {drained_after:?}, {} MiB at the start and {} in the end; of 200 new ones {accepted} were accepted and {refused} \
         refused",
        memory_at_start >> 20,
        memory >> 20,
    );
}
