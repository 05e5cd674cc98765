//! A stop while calls are under way: they are awaited and recorded, nothing new is begun, and what was not sent stays for
//! the next start.

use std::collections::HashSet;

use ledger_core::{Ledger, Substatus, WithdrawalQuery};

use crate::operator::Operator;
use crate::programs::{Bank, Server, World, until};

const WORKERS: u64 = 3;
const WITHDRAWALS: u64 = 10;

#[test]
fn a_stop_awaits_the_calls_under_way_and_leaves_the_rest_in_the_log() {
    let world = World::new(1);
    let bank = Bank::start(&world, "--latency 2s");
    let server = Server::start(&world, &format!("--workers {WORKERS} --queue {WITHDRAWALS}"));
    let operator = Operator::new(&world);
    operator.charge(1, 1_000);
    for n in 0..WITHDRAWALS {
        assert!(operator.try_withdraw(1, 10, &format!("w-{n}")));
    }
    until("every worker to be busy", std::time::Duration::from_secs(60), || {
        operator.health()["in_flight"].as_u64() == Some(WORKERS)
    });
    server.stop();

    let statement = bank.statement();
    let paid: HashSet<_> = statement.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
    let ledger = Ledger::open(world.data()).unwrap();
    let query = WithdrawalQuery { limit: 100, ..WithdrawalQuery::default() };
    let withdrawals = ledger.withdrawals(&query).unwrap().wait().unwrap().withdrawals;
    assert_eq!(withdrawals.len() as u64, WITHDRAWALS);
    for withdrawal in withdrawals {
        let is_paid = paid.contains(withdrawal.reference.to_string().as_str());
        let expected = if is_paid { (Substatus::Completed, 1) } else { (Substatus::Reserved, 0) };
        assert_eq!((withdrawal.substatus, withdrawal.attempts), expected, "{withdrawal:?}");
    }
    assert!((WORKERS..WITHDRAWALS).contains(&(paid.len() as u64)), "some were paid and some were not: {}", paid.len());
    ledger.close().unwrap();
}
