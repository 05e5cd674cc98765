//! Both programs killed with SIGKILL again and again while money is on its way between them: in the end both books agree to
//! the cent.
//!
//! The kills come when so many withdrawals were acknowledged, not at a time, so that a slow machine tests the same.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::client::number;
use crate::operator::Operator;
use crate::programs::{self, Bank, FAULTS, Server, World};

/// Milliseconds where a real bank needs seconds.
const HASTY: &str = "--workers 20 --queue 40 --bank-timeout 300ms --bank-attempts 3 --bank-backoff 20ms \
                     --bank-backoff-max 200ms --bank-settle-delay 30ms --bank-inquiry-interval 30ms \
                     --bank-deadline 2m --bank-idempotency-window 12h";

const CLIENTS: u64 = 4;
const USERS: u64 = 10;
const CHARGED: u64 = 1_000_000_000;

/// How long the two may take to come to rest, once nothing new is asked and nobody is killed.
const PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn both_books_agree_however_often_both_programs_are_killed() {
    let withdrawals = number("LEDGER_BOOKS", 300);
    let kills = number("LEDGER_BOOKS_KILLS", 5);
    let world = World::new(number("LEDGER_BOOKS_SEED", 1));
    let started = Instant::now();
    let mut bank = Bank::start(&world, FAULTS);
    let mut server = Server::start(&world, HASTY);
    let operator = Operator::new(&world);
    for user in 1..=USERS {
        operator.charge(user, CHARGED);
    }

    let acknowledged = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (operator, acknowledged) = (&operator, &acknowledged);
            scope.spawn(move || {
                for n in (client..withdrawals).step_by(CLIENTS as usize) {
                    operator.withdraw(n % USERS + 1, 100 + n, &format!("w-{n}"));
                    // Relaxed: it only counts.
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for kill in 1..=kills {
            let mark = withdrawals * kill / (kills + 1);
            programs::until("withdrawals to be acknowledged", PATIENCE, || {
                acknowledged.load(Ordering::Relaxed) >= mark
            });
            server.kill();
            if kill % 3 == 0 {
                bank.kill();
                bank = Bank::start(&world, FAULTS);
            }
            server = Server::start(&world, HASTY);
        }
    });
    programs::until("everything to end or to be in review", PATIENCE, || operator.is_at_rest());
    programs::until("the bank to pay what it took", PATIENCE, || !bank.statement().contains(",pending"));

    let statement = bank.statement();
    let in_review = operator.resolve_by(&statement);
    let ours = operator.book();
    let paid = operator.compare(&ours, &statement, withdrawals);
    assert_eq!(
        operator.total_of(USERS),
        USERS * CHARGED - paid,
        "what the users have left is what the bank did not pay"
    );
    let report = operator.reconcile(&statement);
    let failed = ours.iter().filter(|withdrawal| withdrawal.status == "failed").count();
    server.stop();
    programs::verify(&world);
    eprintln!(
        "{withdrawals} withdrawals, the server killed {kills} times and the bank {} times, {:?}: the bank paid {} and {paid} \
         in all, {failed} failed, {in_review} were resolved by an operator; the reconciliation: {report}",
        kills / 3,
        started.elapsed(),
        ours.len() - failed,
    );
}
