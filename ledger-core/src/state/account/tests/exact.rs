//! What is folded, found and counted, exactly.

use super::*;

fn user(n: u64) -> UserId {
    UserId::new(n).unwrap()
}

fn dollars(table: &mut AccountTable, n: u64) -> Slot {
    table.open(n, user(n), Currency::USD)
}

/// (held, next release) as they are folded into the account.
fn folded(table: &AccountTable, slot: Slot) -> (u64, i64) {
    (table.get(slot).held, table.get(slot).next_release_at.micros())
}

#[test]
fn holds_are_folded_in_when_they_mature_and_not_before() {
    const NEVER: i64 = Timestamp::MAX.micros();
    let mut table = AccountTable::new();
    let slot = dollars(&mut table, 1);
    assert_eq!(folded(&table, slot), (0, NEVER));
    for (at, amount, release) in [(0, 5, 30), (1, 7, 20), (1, 11, 40), (2, 13, 20)] {
        table.get_mut(slot).total += amount;
        table.hold(slot, time(at), amount, time(release));
    }
    assert_eq!(folded(&table, slot), (36, 20));
    table.fold(slot, time(19));
    assert_eq!(folded(&table, slot), (36, 20));
    let parts = table.parts(slot, time(19));
    assert_eq!((parts.held, parts.next_release_at, parts.matured), (36, Some(time(20)), false));
    let parts = table.parts(slot, time(20));
    assert_eq!((parts.held, parts.next_release_at, parts.matured), (16, Some(time(30)), true));
    assert_eq!(parts.withdrawable(), 20);
    table.fold(slot, time(20));
    assert_eq!(folded(&table, slot), (16, 30));
    assert!(table.is_folded_right(slot, time(20)) && table.is_folded_right(slot, time(29)));
    assert!(!table.is_folded_right(slot, time(19)) && !table.is_folded_right(slot, time(30)));
    assert_eq!(table.note_entry(slot, Seq::new(9), time(29)).last_seq(), Seq::new(9));
    assert_eq!(folded(&table, slot), (16, 30));
    assert_eq!(table.note_entry(slot, Seq::new((1 << 48) - 1), time(30)).last_seq(), Seq::new((1 << 48) - 1));
    assert_eq!(folded(&table, slot), (11, 40));
    assert_eq!(table.parts_without_holds(slot), None);
    table.note_entry(slot, Seq::new(11), time(50));
    assert_eq!(folded(&table, slot), (0, NEVER));
    let parts = table.parts_without_holds(slot).expect("nothing is held");
    assert_eq!((parts.total, parts.held, parts.matured), (36, 0, false));
    assert_eq!(table.parts_of(table.get(slot), time(50)), parts);
    assert!(table.is_folded_right(slot, time(40)) && !table.is_folded_right(slot, time(39)));
    // Either word alone may be wrong.
    table.get_mut(slot).held = 1;
    assert!(!table.is_folded_right(slot, time(50)));
    (table.get_mut(slot).held, table.get_mut(slot).next_release_at) = (0, time(60));
    assert!(!table.is_folded_right(slot, time(50)));
    let plain = dollars(&mut table, 2);
    assert!(table.is_folded_right(plain, time(0)));
    table.get_mut(plain).held = 1;
    assert!(!table.is_folded_right(plain, time(0)));
}

#[test]
fn an_ended_reservation_leaves_or_comes_back() {
    let mut table = AccountTable::new();
    let slot = dollars(&mut table, 1);
    (table.get_mut(slot).total, table.get_mut(slot).reserved) = (100, 60);
    table.end_reservation(slot, time(5), 20, 0);
    table.end_reservation(slot, time(7), 0, 30);
    let parts = table.parts(slot, time(7));
    assert_eq!((parts.total, parts.reserved, parts.withdrawable()), (80, 10, 70));
    let recorded = Sums { credited: 105, debited: 5, withdrawn: 60, held: 0 };
    let at = |micros| {
        let parts = table.parts_at(slot, time(micros), recorded);
        (parts.total, parts.reserved)
    };
    assert_eq!([4, 5, 6, 7].map(at), [(100, 60), (80, 40), (80, 40), (80, 10)]);
}

#[test]
fn a_frozen_account_is_restored_as_it_was() {
    let mut table = AccountTable::new();
    dollars(&mut table, 1);
    let eur = Currency::new("EUR").unwrap();
    let slot = table.open(2, user(2), eur);
    (table.get_mut(slot).total, table.get_mut(slot).reserved) = (90, 20);
    table.hold(slot, time(1), 30, time(10));
    table.hold(slot, time(1), 5, time(20));
    table.get_mut(slot).set_last_seq(Seq::new(0x0102_0304_0506));
    let frozen = table.freeze(slot, time(15));
    let expected = Frozen {
        user: user(2),
        currency: eur,
        total: 90,
        reserved: 20,
        held: 5,
        next_release_at: Some(time(20)),
        last_seq: Seq::new(0x0102_0304_0506),
    };
    assert_eq!(frozen, expected);
    let mut again = AccountTable::new();
    let slot = again.restore(2, &frozen);
    assert!(!again.is_folded_right(slot, time(15)));
    again.restore_hold(slot, time(1), 30, time(10));
    again.restore_hold(slot, time(1), 5, time(20));
    again.restore_end(slot, time(3), 7, 2);
    assert_eq!((again.freeze(slot, time(15)), again.is_folded_right(slot, time(15))), (expected, true));
    let recorded = Sums { credited: 97, debited: 0, withdrawn: 29, held: 35 };
    let parts = again.parts_at(slot, time(15), recorded);
    assert_eq!((parts.total, parts.reserved, parts.held), (90, 20, 5));
    let never = again.restore(3, &Frozen { user: user(3), next_release_at: None, held: 0, ..frozen });
    assert_eq!(again.get(never).next_release_at, Timestamp::MAX);
    assert_eq!((again.find(3, user(3), eur), again.find(3, user(3), Currency::USD)), (Some(never), None));
}

#[test]
fn accounts_are_told_apart_by_user_and_by_currency() {
    let mut table = AccountTable::new();
    let currencies = ["USD", "EUR", "CHF"].map(|name| Currency::new(name).unwrap());
    let slots: Vec<Slot> = [(1, 0), (1, 1), (2, 1), (2, 2), (1, 2)]
        .into_iter()
        .map(|(n, currency)| table.open(0, user(n), currencies[currency]))
        .collect();
    assert_eq!((slots, table.len(), table.currencies.len()), (vec![0, 1, 2, 3, 4], 5, 3));
    let found = |n: u64, currency: usize| table.find(0, user(n), currencies[currency]);
    assert_eq!([found(1, 0), found(1, 1), found(2, 1), found(2, 2)], [Some(0), Some(1), Some(2), Some(3)]);
    assert_eq!([found(2, 0), found(3, 1), found(1, 2)], [None, None, Some(4)]);
    assert_eq!(table.currency_of(table.get(3)), currencies[2]);
    let walked: Vec<_> = table.iter().map(|(slot, account)| (slot, account.user, account.currency)).collect();
    assert_eq!(walked, [(0, user(1), 0), (1, user(1), 1), (2, user(2), 1), (3, user(2), 2), (4, user(1), 2)]);
}

#[test]
fn a_shard_has_room_for_as_many_currencies_as_two_bytes_tell_apart() {
    let mut table = AccountTable::new();
    assert!(table.has_room_for(0) && table.has_room_for(1 << 16) && !table.has_room_for((1 << 16) + 1));
    dollars(&mut table, 1);
    dollars(&mut table, 2);
    assert!(table.has_room_for((1 << 16) - 1) && !table.has_room_for(1 << 16));
    assert!(has_room_for(5, INTEGER_MAX - 5) && !has_room_for(5, INTEGER_MAX - 4) && has_room_for(INTEGER_MAX, 0));
}

#[test]
fn the_bytes_are_those_of_the_parts() {
    let mut table = AccountTable::new();
    assert_eq!((table.bytes(), table.unfilled_bytes()), (0, 0));
    for n in 1..200 {
        let slot = dollars(&mut table, n);
        if n % 3 == 0 {
            table.hold(slot, time(1), 5, time(n as i64 + 10));
        }
        if n % 4 == 0 {
            table.get_mut(slot).reserved = 2 * n;
            table.get_mut(slot).total = 2 * n;
            (0..n / 50 + 1).for_each(|at| table.end_reservation(slot, time(at as i64), 1, 0));
        }
        let extras = || (0..table.extras.len()).map(|index| &table.extras[index]);
        let each: usize = extras().map(|extra| extra.holds.bytes() + extra.ended.bytes()).sum();
        assert_eq!(table.extra_bytes, each);
        let parts = table.index.bytes() + table.accounts.bytes() + table.extras.bytes();
        assert_eq!(table.bytes(), parts + table.currencies.capacity() * size_of::<Currency>() + each);
        assert_eq!(table.unfilled_bytes(), table.accounts.unfilled_bytes() + table.extras.unfilled_bytes());
    }
    assert_eq!(table.extras.len(), 66 + 49 - 16);
    assert!(table.currencies.capacity() * size_of::<Currency>() != table.currencies.capacity() + size_of::<Currency>());
    assert!(table.extras.unfilled_bytes() > 1 && table.accounts.unfilled_bytes() > 1);
}

#[test]
fn what_is_touched_is_the_slot_of_the_index() {
    let mut table = AccountTable::new();
    table.open(77, user(1), Currency::USD);
    assert!(table.touch(table.start(77)) > 1);
    let (mut expected, mut plain) = (AccountTable::new(), SlotIndex::new());
    expected.expect(1_000);
    plain.expect(1_000);
    assert_eq!(expected.bytes(), plain.bytes());
}
