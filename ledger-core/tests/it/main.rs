//! Behaviour, through the public interface.

mod engine;

use ledger_core::*;

#[test]
fn smoke() {
    let ledger = Ledger::options().in_memory().unwrap();
    let user = |n| UserId::new(n).unwrap();
    let amount = |n| Amount::new(n).unwrap();
    let key = |k| IdempotencyKey::new(k).unwrap();
    let r = ledger.charge(Charge::new(user(1), amount(100), key("a"))).unwrap().wait().unwrap();
    assert_eq!(r.balance.withdrawable, 100);
    let t = ledger.transfer(Transfer::new(user(1), user(2), amount(30), key("b"))).unwrap().wait().unwrap();
    assert_eq!(t.balance.withdrawable, 70);
    assert!(matches!(
        ledger.charge(Charge::new(user(1), amount(100), key("a"))),
        Err(Error::Rejected(Rejection::DuplicateRequest(_)))
    ));
    let w = ledger.withdraw(Withdraw::new(user(1), amount(20), key("w"))).unwrap().wait().unwrap();
    assert_eq!((w.balance.reserved, w.balance.total()), (20, 70));
    assert!(ledger.audit_deep().unwrap().wait().unwrap().is_balanced());
    let ks: Vec<String> = (0..1000).map(|i| format!("k{}", i / 2)).collect();
    let commands: Vec<Command<'_>> = ks
        .iter()
        .enumerate()
        .map(|(i, k)| {
            if i % 3 == 0 {
                Transfer::new(user(1 + i as u64 % 7), user(9), amount(1), key(k)).into()
            } else {
                Charge::new(user(1 + i as u64 % 7), amount(5), key(k)).into()
            }
        })
        .collect();
    let results = ledger.batch(&commands).unwrap().wait().unwrap();
    assert_eq!(results.len(), 1000);
    let due = ledger.due_withdrawals(true, 10);
    assert_eq!(due.len(), 1);
    let a = ledger.start_attempt(due[0].id).unwrap().wait().unwrap();
    assert_eq!(a.number, 1);
    let atomic: Vec<Command<'_>> = vec![
        Charge::new(user(50), amount(5), key("x1")).into(),
        Transfer::new(user(50), user(51), amount(5), key("x2")).into(),
    ];
    assert!(!ledger.batch_atomic(&atomic).unwrap().wait().unwrap().repeat);
    assert!(ledger.batch_atomic(&atomic).unwrap().wait().unwrap().repeat);
    assert!(ledger.audit_deep().unwrap().wait().unwrap().is_balanced());
    let page = ledger.transactions(&Query::new(user(1))).unwrap().wait().unwrap();
    assert_eq!(page.transactions.len(), 10);
    println!("{page:#?}");
}
