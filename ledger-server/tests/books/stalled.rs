//! A bank that does not answer for as long as the test runs: every worker waits for it, every place is taken, and whoever
//! wants no payout does not notice.

use crate::operator::Operator;
use crate::programs::{Bank, Server, World, until};

const WORKERS: u64 = 3;
const QUEUE: u64 = 4;

#[test]
fn charges_and_reads_go_on_while_the_bank_stalls_and_withdrawals_too_many_are_refused() {
    let world = World::new(1);
    let _bank = Bank::start(&world, "--latency 1h");
    let options = format!("--workers {WORKERS} --queue {QUEUE} --bank-timeout 1h --shutdown-timeout 2h");
    let _server = Server::start(&world, &options);
    let operator = Operator::new(&world);
    operator.charge(1, 1_000_000);
    for n in 0..WORKERS + QUEUE {
        assert!(operator.try_withdraw(1, 10, &format!("w-{n}")), "there is a place for the withdrawal number {n}");
    }
    until("every worker to wait for the bank", std::time::Duration::from_secs(60), || {
        let health = operator.health();
        (health["in_flight"].as_u64(), health["queue_length"].as_u64()) == (Some(WORKERS), Some(QUEUE))
    });
    for n in 0..50 {
        assert!(!operator.try_withdraw(1, 10, &format!("refused-{n}")), "there is no place left");
        operator.charge(2 + n, 5);
        assert_eq!(operator.balance(2 + n)["total"], 5);
    }
    let balance = operator.balance(1);
    assert_eq!(balance["reserved"], 10 * (WORKERS + QUEUE), "what was refused reserved nothing: {balance}");
}
