//! What a shard keeps beside its accounts: sums, room, bytes, and the order in which they are found.

use proptest::prelude::*;
use smallvec::smallvec;
use uuid::Uuid;

use super::*;
use crate::state::apply::Applied;
use crate::state::plain::{PlainCharge, PlainMovement};
use crate::state::replayed::PlainSide;
use crate::state::{Party, Posting, TransactionEntry, audit};
use crate::types::{Amount, Epoch, Fingerprint, INTEGER_MAX, IdempotencyKey};
use crate::view::{CurrencyAudit, Direction, Status, TransactionKind};
use crate::withdrawals::{BankReference, Event, InquiryAnswer, ReturnCredit, Substatus, Withdrawal, WithdrawalEntry};

const EUR: &str = "EUR";

fn user(n: u64) -> UserId {
    UserId::new(n).unwrap()
}

fn time(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds as i64 * 1_000_000).unwrap()
}

/// A shard to which one entry comes each second.
struct Stage {
    shard: Shard,
    last: u64,
}

impl Stage {
    fn new() -> Stage {
        Stage { shard: Shard::new(RandomState::default()), last: 0 }
    }

    fn now(&self) -> Timestamp {
        time(self.last)
    }

    fn post(&mut self, kind: TransactionKind, currency: Currency, debit: Party, credit: Party, held: u64) -> Slot {
        let release_at = (held > 0).then(|| time(self.last + 1 + held));
        self.post_until(kind, currency, debit, credit, release_at)
    }

    fn post_until(
        &mut self,
        kind: TransactionKind,
        currency: Currency,
        debit: Party,
        credit: Party,
        release_at: Option<Timestamp>,
    ) -> Slot {
        let amount = Amount::new(101 + self.last).unwrap();
        let side = if debit.user().is_some() { Direction::Debit } else { Direction::Credit };
        self.post_side(kind, Posting { currency, amount, debit, credit, release_at }, side)
    }

    fn post_side(&mut self, kind: TransactionKind, posting: Posting, side: Direction) -> Slot {
        self.last += 1;
        let status = if kind == TransactionKind::Withdrawal { Status::Pending } else { Status::Completed };
        let entry = TransactionEntry {
            kind,
            status,
            key: IdempotencyKey::new("key").unwrap(),
            fingerprint: Fingerprint::new(0),
            postings: smallvec![posting],
            destination: None,
            metadata: None,
            batch: None,
        };
        let id = TransactionId::new(self.last).unwrap();
        let reference = BankReference { ledger: Uuid::nil(), epoch: Epoch::new(1), id };
        let applied = Applied { seq: Seq::new(self.last), time: self.now(), key_hash: 0, reference };
        let somebody = "somebody's money";
        match side {
            Direction::Debit => {
                self.shard.debit(&entry, &posting, posting.debit.user().expect(somebody), None, &applied)
            }
            Direction::Credit => {
                self.shard.credit(&entry, &posting, posting.credit.user().expect(somebody), None, &applied)
            }
        }
    }

    /// Something happens to the withdrawal that the entry `id` reserved.
    fn happen(&mut self, id: u64, event: Event, to: Substatus) {
        self.last += 1;
        let id = TransactionId::new(id).unwrap();
        let Withdrawal { user, currency, amount, .. } = self.shard.withdrawals[&id].withdrawal;
        let (due, evidence, operator, command) = (None, "", None, None);
        let entry = WithdrawalEntry { id, user, currency, amount, event, to, due, evidence, operator, command };
        self.shard.apply_withdrawal(&entry, Seq::new(self.last), self.now());
    }

    fn charge(&mut self, n: u64, currency: Currency, held: u64) -> Slot {
        self.post(TransactionKind::Charge, currency, Party::External, Party::User(user(n)), held)
    }
}

fn eur() -> Currency {
    Currency::new(EUR).unwrap()
}

#[test]
fn accounts_are_opened_once_and_found_by_user_and_currency() {
    let mut stage = Stage::new();
    let slots = [(1, Currency::USD), (2, Currency::USD), (1, eur())].map(|(n, currency)| stage.charge(n, currency, 0));
    assert_eq!(slots, [0, 1, 2]);
    assert_eq!(stage.charge(2, Currency::USD, 0), 1);
    let shard = &mut stage.shard;
    assert_eq!(shard.slot(user(2), Currency::USD), Some(1));
    assert_eq!((shard.slot(user(1), eur()), shard.slot(user(2), eur())), (Some(2), None));
    assert_eq!((shard.slot_opened(user(1), eur()), shard.slot_opened(user(2), eur())), (2, 3));
    let counted: Vec<_> = shard.sums().iter().map(|sums| (sums.currency, sums.accounts)).collect();
    assert_eq!(counted, [(Currency::USD, 2), (eur(), 2)]);
    assert_eq!(shard.sums_mut(eur()).accounts, 2);
    assert_ne!(shard.hash(user(1), eur()), shard.hash(user(1), Currency::USD));
    assert_ne!(shard.hash(user(1), eur()), shard.hash(user(2), eur()));
}

#[test]
fn accounts_are_found_ahead_in_the_order_in_which_they_are_asked_for() {
    let (mut one, mut other) = (Stage::new(), Stage::new());
    for n in 1..=40 {
        one.charge(n, Currency::USD, 0);
    }
    other.charge(7, eur(), 0);
    assert_eq!(find_ahead(&[]).len(), 0);
    let asked: Vec<_> = (30..50)
        .map(|n| (&one.shard, user(n), Currency::USD))
        .chain([(&other.shard, user(7), eur()), (&other.shard, user(7), Currency::USD), (&one.shard, user(7), eur())])
        .collect();
    let found = find_ahead(&asked);
    let expected: Vec<_> = (29..40).map(Some).chain([None; 9]).chain([Some(0), None, None]).collect();
    assert_eq!(found[..], expected[..]);
}

#[test]
fn the_parts_of_an_account_are_those_of_its_slot() {
    let mut stage = Stage::new();
    stage.charge(1, Currency::USD, 0);
    stage.charge(2, Currency::USD, 10);
    stage.post(TransactionKind::Withdrawal, Currency::USD, Party::User(user(1)), Party::External, 0);
    let (shard, now) = (&stage.shard, stage.now());
    let of = |total, held, reserved, next_release_at| Parts { total, held, reserved, next_release_at, matured: false };
    // The amounts are 100 and the entry's seq.
    assert_eq!(shard.parts(user(1), Currency::USD, now), (of(101, 0, 103, None), Seq::new(3)));
    assert_eq!(shard.parts(user(2), Currency::USD, now), (of(102, 102, 0, Some(time(12))), Seq::new(2)));
    let matured = Parts { matured: true, ..of(102, 0, 0, None) };
    assert_eq!(shard.parts_of(Some(1), time(12)), (matured, Seq::new(2)));
    assert_eq!(shard.parts(user(3), Currency::USD, now), (Parts::default(), Seq::ZERO));
    assert_eq!(
        shard.parts_without_holds(shard.slot(user(1), Currency::USD)),
        Some((of(101, 0, 103, None), Seq::new(3)))
    );
    assert_eq!(shard.parts_without_holds(shard.slot(user(2), Currency::USD)), None);
    assert_eq!(shard.parts_without_holds(shard.slot(user(3), Currency::USD)), Some((Parts::default(), Seq::ZERO)));
    assert_eq!(shard.parts_at(user(1), Currency::USD, time(2)), (of(101, 0, 0, None), Seq::new(3)));
    assert_eq!(shard.parts_at(user(2), Currency::USD, time(2)), (of(102, 102, 0, Some(time(12))), Seq::new(2)));
    assert_eq!(shard.parts_at(user(2), Currency::USD, time(1)), (Parts::default(), Seq::new(2)));
    assert_eq!(shard.parts_at(user(3), Currency::USD, time(2)), (Parts::default(), Seq::ZERO));
}

#[test]
fn there_is_room_for_as_many_commands_as_there_may_be_currencies_for_their_accounts() {
    let mut stage = Stage::new();
    assert!(stage.shard.has_room_for(32_768) && !stage.shard.has_room_for(32_769));
    stage.charge(1, Currency::USD, 0);
    assert!(stage.shard.has_room_for(32_767) && !stage.shard.has_room_for(32_768));
    // With no account more there may be as many records as there is memory for.
    assert!(stage.shard.accounts.has_room_for(65_535) && !stage.shard.accounts.has_room_for(65_536));
}

#[test]
fn a_table_without_accounts_or_history_has_no_room_where_either_has_none() {
    let shard = Shard::new(RandomState::default());
    // Four million records are more than a history takes, whatever the accounts say.
    assert!(!shard.history.has_room_for(4_000_000) && !shard.has_room_for(2_000_000));
}

#[test]
fn the_memory_of_a_shard_is_that_of_its_tables() {
    let mut stage = Stage::new();
    assert_eq!((stage.shard.memory().total(), stage.shard.memory().unfilled), (0, 0));
    for n in 1..60 {
        stage.charge(n % 7 + 1, if n % 2 == 0 { eur() } else { Currency::USD }, n % 5);
        if n % 3 == 0 {
            let owner = Party::User(user(n % 7 + 1));
            stage.post(TransactionKind::Withdrawal, Currency::USD, owner, Party::External, 0);
        }
    }
    let (shard, memory) = (&stage.shard, stage.shard.memory());
    let holds: usize = shard.sums().iter().map(|sums| sums.holds.bytes()).sum();
    assert!(holds > 0 && shard.register.bytes() > 0);
    assert_eq!(memory.accounts as usize, shard.accounts.bytes() + holds);
    assert_eq!(memory.history as usize, shard.history.bytes());
    assert_eq!(memory.withdrawals as usize, shard.withdrawals.allocation_size() + shard.register.bytes());
    let (accounts, history) = (shard.accounts.unfilled_bytes(), shard.history.unfilled_bytes());
    assert!(accounts > 1 && history > 1);
    assert_eq!(memory.unfilled as usize, accounts + history);
    assert_eq!((memory.keys, memory.locator), (0, 0));
}

/// Two shards with money of every kind in two currencies.
fn audited() -> [Stage; 2] {
    let mut stages = [Stage::new(), Stage::new()];
    for (index, stage) in stages.iter_mut().enumerate() {
        for n in 1..=4 {
            stage.charge(n, Currency::USD, (n - 1) * 100);
            stage.charge(n + index as u64, eur(), 0);
        }
        stage.post(TransactionKind::Withdrawal, eur(), Party::User(user(2)), Party::External, 0);
        stage.post(TransactionKind::Transfer, eur(), Party::Suspense, Party::User(user(2)), 0);
    }
    stages
}

#[test]
fn the_sums_of_all_shards_are_added_up_by_currency() {
    let stages = audited();
    let now = stages[0].now();
    let mut audits = Vec::new();
    stages.iter().for_each(|stage| audit::add_sums(&stage.shard, now, &mut audits));
    let currencies: Vec<_> = audits.iter().map(|audit| audit.currency).collect();
    assert_eq!(currencies, [eur(), Currency::USD], "sorted, though dollars came first");
    // Dollars come at seqs 1, 3, 5 and 7 of each shard, all but the first held; euros at 2, 4, 6 and 8, and then 9 and 10.
    let [euros, dollars] = &audits[..] else { panic!("{audits:?}") };
    assert_eq!((dollars.accounts, dollars.total, dollars.held), (8, 2 * 416, 2 * 315));
    assert_eq!((dollars.reserved, dollars.external, dollars.suspense, dollars.deep_mismatches), (0, -2 * 416, 0, 0));
    assert_eq!((euros.accounts, euros.total, euros.held, euros.reserved), (8, 2 * (420 + 110), 0, 2 * 109));
    assert_eq!((euros.external, euros.suspense), (-2 * 420, -2 * 110));
    // One hold of each shard has matured by then: that of the second dollar, until second 103.
    let mut later = Vec::new();
    stages.iter().for_each(|stage| audit::add_sums(&stage.shard, time(103), &mut later));
    assert_eq!(later[1].held, 2 * 212);
}

#[test]
fn sums_that_are_not_those_of_the_accounts_are_counted_by_currency() {
    let mismatches = |stages: &[Stage; 2]| {
        let mut audits: Vec<CurrencyAudit> = Vec::new();
        stages.iter().for_each(|stage| audit::recompute(&stage.shard, stage.now(), &mut audits));
        audits.iter().map(|audit| (audit.currency, audit.deep_mismatches)).collect::<Vec<_>>()
    };
    let mut stages = audited();
    assert_eq!(mismatches(&stages), [(eur(), 0), (Currency::USD, 0)]);
    stages[0].shard.sums_mut(Currency::USD).total += 1;
    assert_eq!(mismatches(&stages), [(eur(), 0), (Currency::USD, 1)]);
    stages[1].shard.sums_mut(Currency::USD).accounts -= 1;
    assert_eq!(mismatches(&stages), [(eur(), 0), (Currency::USD, 2)]);
    stages[1].shard.sums_mut(eur()).reserved -= 1;
    assert_eq!(mismatches(&stages), [(eur(), 1), (Currency::USD, 2)]);
    stages[0].shard.sums_mut(eur()).holds.add(time(500), 3);
    assert_eq!(mismatches(&stages), [(eur(), 2), (Currency::USD, 2)]);
}

#[test]
fn what_leaves_for_the_world_outside_is_there() {
    let mut stage = Stage::new();
    stage.charge(1, Currency::USD, 0);
    let owner = Party::User(user(1));
    let externals = |stage: &Stage| (stage.shard.sums()[0].external, stage.shard.sums()[0].suspense);
    assert_eq!(externals(&stage), (-101, 0));
    // No command does so, but an entry may say it: 102 would be more than there is, so it comes first.
    stage.charge(1, Currency::USD, 0);
    stage.post(TransactionKind::Transfer, Currency::USD, owner, Party::External, 0);
    assert_eq!(externals(&stage), (-101 - 102 + 103, 0));
    assert_eq!(stage.shard.sums()[0].total, 100);
}

#[test]
fn a_hold_that_is_over_when_its_entry_is_made_is_none() {
    let mut stage = Stage::new();
    let (outside, owner) = (Party::External, Party::User(user(1)));
    let transfer = TransactionKind::Transfer;
    for seconds in [1, 2, 3, 4] {
        // At its own time, and a second later.
        let now = time(stage.last + 1);
        let release_at = if seconds % 2 == 0 { time(stage.last + 2) } else { now };
        let (debit, credit) = if seconds > 2 { (owner, Party::User(user(2))) } else { (outside, owner) };
        let kind = if seconds > 2 { transfer } else { TransactionKind::Charge };
        let slot = stage.post_until(kind, Currency::USD, debit, credit, Some(release_at));
        let shard = &stage.shard;
        let list = &shard.accounts.get(slot).list;
        let record = shard.history.get(shard.history.nth(list, list.len() - 1));
        assert_eq!(record.release_at, (seconds % 2 == 0).then_some(release_at), "{seconds}");
        if seconds == 1 {
            assert_eq!(
                (
                    shard.parts_without_holds(shard.slot(user(1), Currency::USD)).is_some(),
                    shard.sums()[0].holds.total()
                ),
                (true, 0)
            );
        }
        if seconds == 2 {
            assert_eq!(stage.shard.parts(user(1), Currency::USD, now).0.held, 102);
            // So that something can be transferred.
            stage.charge(1, Currency::USD, 0);
            stage.charge(1, Currency::USD, 0);
        }
    }
}

#[test]
fn an_account_is_touched_by_what_moves_its_money_and_by_nothing_else() {
    let mut stage = Stage::new();
    stage.charge(1, Currency::USD, 0);
    stage.charge(1, Currency::USD, 0);
    let owner = Party::User(user(1));
    stage.post(TransactionKind::Withdrawal, Currency::USD, owner, Party::External, 0);
    let last = |stage: &Stage| stage.shard.accounts.get(0).last_seq().get();
    assert_eq!(last(&stage), 3);
    stage.happen(3, Event::Inquired { answer: InquiryAnswer::Pending }, Substatus::Accepted);
    assert_eq!(last(&stage), 3, "it was asked about, no more");
    stage.happen(3, Event::Inquired { answer: InquiryAnswer::Settled }, Substatus::Completed);
    assert_eq!(last(&stage), 5, "it left");
    let id = |id| TransactionId::new(id).unwrap();
    let returned = |credit| Event::Returned { credit, occurred_at: time(1) };
    stage.happen(3, returned(ReturnCredit::User), Substatus::Returned);
    assert_eq!(
        (last(&stage), stage.shard.register.returned(), stage.shard.register.returned_by(id(6))),
        (6, 1, Some(id(3)))
    );
    stage.post(TransactionKind::Withdrawal, Currency::USD, owner, Party::External, 0);
    stage.happen(7, Event::Inquired { answer: InquiryAnswer::Settled }, Substatus::Completed);
    stage.happen(7, returned(ReturnCredit::Suspense), Substatus::Returned);
    assert_eq!((last(&stage), stage.shard.register.returned(), stage.shard.register.returned_by(id(9))), (8, 2, None));
    assert_eq!(stage.shard.sums()[0].suspense, 107);
}

/// What a shard says of its accounts and their histories.
fn told(shard: &Shard) -> Vec<String> {
    let accounts = shard.accounts.iter().map(|(slot, account)| {
        let records: Vec<_> =
            (0..account.list.len()).map(|index| shard.history.get(shard.history.nth(&account.list, index))).collect();
        let parts = shard.parts_of(Some(slot), Timestamp::MAX);
        format!("{} {:?} {parts:?} {records:?}", account.user, shard.accounts.currency_of(account))
    });
    let sums = shard.sums().iter().map(|sums| {
        let (held, moved) = (sums.holds.total(), (sums.external, sums.suspense));
        format!("{} {} {} {} {held} {moved:?}", sums.currency, sums.accounts, sums.total, sums.reserved)
    });
    accounts.chain(sums).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Long enough for many chunks of records and for lists of several stretches.
    #[test]
    fn a_plain_movement_does_what_its_entry_says(
        movements in prop::collection::vec(
            (0..40u64, 1..40u64, 1..INTEGER_MAX / 8_000, any::<u64>(), 0..9u64),
            0..6_000,
        ),
    ) {
        let (mut plain, mut general) = (Shard::new(RandomState::default()), Shard::new(RandomState::default()));
        general.hasher = plain.hasher.clone();
        let mut now = 1_700_000_000;
        for (number, (from, to, minor, key_hash, pause)) in movements.into_iter().enumerate() {
            now += pause;
            // A charge where nobody pays, or somebody who has not enough.
            let currency = if to % 7 == 0 { eur() } else { Currency::USD };
            let (to, at, amount) = (user(to), time(now), Amount::new(minor).unwrap());
            let able = |from: &UserId| {
                *from != to && general.parts(*from, currency, at).0.withdrawable() >= amount.minor()
            };
            let from = UserId::new(from).filter(able);
            let id = TransactionId::new(number as u64 + 1).unwrap();
            let (debit, credit) = (from.map_or(Party::External, Party::User), Party::User(to));
            let posting = Posting { currency, amount, debit, credit, release_at: None };
            let entry = TransactionEntry {
                kind: if from.is_some() { TransactionKind::Transfer } else { TransactionKind::Charge },
                status: Status::Completed,
                key: IdempotencyKey::new("key").unwrap(),
                fingerprint: Fingerprint::new(0),
                postings: smallvec![posting],
                destination: None,
                metadata: None,
                batch: None,
            };
            let reference = BankReference { ledger: Uuid::nil(), epoch: Epoch::new(1), id };
            let applied = Applied { seq: id.seq(), time: at, key_hash, reference };
            let movement = PlainMovement { id, at, currency, amount, key_hash };
            if let Some(from) = from {
                general.debit(&entry, &posting, from, None, &applied);
                let slot = plain.slot(from, currency).unwrap();
                prop_assert!(plain.pays_plain(slot, amount));
                let parts = plain.debit_plain(slot, &movement, to);
                prop_assert_eq!((parts.into(), id.seq()), general.parts(from, currency, at));
            }
            let slot = general.credit(&entry, &posting, to, None, &applied);
            match plain.slot(to, currency) {
                Some(slot) if plain.takes_plain(slot, amount) => {
                    let parts = plain.credit_plain(slot, &movement, from);
                    prop_assert_eq!((parts.into(), id.seq()), general.parts(to, currency, at));
                }
                known => prop_assert_eq!(plain.credit(&entry, &posting, to, known, &applied), slot),
            }
        }
        prop_assert_eq!(told(&plain), told(&general));
        prop_assert_eq!(plain.history.bytes(), general.history.bytes());
    }

    #[test]
    fn charges_together_do_what_each_does_alone(
        groups in prop::collection::vec(
            prop::collection::vec((1..30u64, any::<bool>(), 1..INTEGER_MAX / 8_000, any::<u64>()), 1..=TOUCHED_TOGETHER),
            0..400,
        ),
    ) {
        let (mut together, mut alone) = (Shard::new(RandomState::default()), Shard::new(RandomState::default()));
        alone.hasher = together.hasher.clone();
        for (user, currency) in (1..30).flat_map(|number| [(user(number), eur()), (user(number), Currency::USD)]) {
            assert_eq!(together.slot_opened(user, currency), alone.slot_opened(user, currency));
        }
        let mut last = 0;
        for (number, group) in groups.into_iter().enumerate() {
            let at = time(1_700_000_000 + number as u64);
            let charges: Vec<PlainCharge> = group.into_iter().map(|(number, is_eur, minor, key_hash)| {
                let currency = if is_eur { eur() } else { Currency::USD };
                let slot = together.slot(user(number), currency).unwrap();
                PlainCharge { slot, currency, amount: Amount::new(minor).unwrap(), key_hash }
            }).collect();
            prop_assert!(together.takes_charges(&charges));
            let mut told = Vec::new();
            together.apply_charges(&charges, Seq::new(last + 1), at, |number, id, parts| {
                told.push((number, id, parts));
            });
            let mut expected = Vec::new();
            for (number, charge) in charges.iter().enumerate() {
                last += 1;
                let PlainCharge { slot, currency, amount, key_hash } = *charge;
                let id = TransactionId::new(last).unwrap();
                let movement = PlainMovement { id, at, currency, amount, key_hash };
                expected.push((number, id, alone.credit_plain(slot, &movement, None)));
            }
            prop_assert_eq!(told, expected);
        }
        prop_assert_eq!(told(&together), told(&alone));
        prop_assert_eq!(together.history.bytes(), alone.history.bytes());
    }
}

#[test]
fn charges_are_taken_together_where_all_of_them_are_plain_and_have_room_together() {
    let mut stage = Stage::new();
    let (free, held) = (stage.charge(1, Currency::USD, 0), stage.charge(2, Currency::USD, 10));
    let takes = |charges: &[(Slot, u64)]| {
        let charge = |&(slot, minor): &(Slot, u64)| {
            let amount = Amount::new(minor).unwrap();
            PlainCharge { slot, currency: Currency::USD, amount, key_hash: 0 }
        };
        stage.shard.takes_charges(&charges.iter().map(charge).collect::<Vec<_>>())
    };
    let room = INTEGER_MAX - 101;
    assert!(takes(&[(free, room)]) && !takes(&[(free, room + 1)]));
    assert!(takes(&[(free, room - 1), (free, 1)]));
    assert!(!takes(&[(free, room - 1), (free, 2)]), "there is no room for both");
    assert!(!takes(&[(free, 1), (held, 1)]), "something is held of the second");
}

#[test]
fn a_plain_movement_is_for_accounts_with_room_or_money_of_which_nothing_is_held() {
    let mut stage = Stage::new();
    let (free, held) = (stage.charge(1, Currency::USD, 0), stage.charge(2, Currency::USD, 10));
    let amount = |minor| Amount::new(minor).unwrap();
    let takes = |slot, minor| stage.shard.takes_plain(slot, amount(minor));
    assert!(takes(free, INTEGER_MAX - 101) && !takes(free, INTEGER_MAX - 100));
    let pays = |slot, minor| stage.shard.pays_plain(slot, amount(minor));
    assert!(pays(free, 101) && !pays(free, 102));
    assert!(!takes(held, 1) && !pays(held, 1));
}

#[test]
fn a_plain_side_does_what_its_posting_says() {
    use Direction::{Credit, Debit};
    let (owner, other) = (Party::User(user(1)), Party::User(user(2)));
    // Seconds from the entry's own time to its release.
    let sides = [
        (Credit, Party::External, None),
        (Credit, Party::External, Some(-1)),
        (Credit, Party::External, Some(0)),
        (Credit, Party::External, Some(1)),
        (Credit, other, None),
        (Credit, other, Some(9)),
        (Credit, Party::Suspense, None),
        (Debit, other, None),
        (Debit, other, Some(0)),
        (Debit, other, Some(9)),
        (Debit, Party::External, None),
        (Debit, Party::Suspense, None),
    ];
    let (mut plain, mut general) = (Shard::new(RandomState::default()), Stage::new());
    general.shard.hasher = plain.hasher.clone();
    for (direction, other, release) in sides {
        let kind = if other.user().is_some() { TransactionKind::Transfer } else { TransactionKind::Charge };
        let (seq, now) = (Seq::new(general.last + 1), time(general.last + 1));
        let release_at =
            release.map(|seconds: i64| Timestamp::from_micros(now.micros() + seconds * 1_000_000).unwrap());
        let (debit, credit) = if direction == Debit { (owner, other) } else { (other, owner) };
        let amount = Amount::new(100 + seq.get()).unwrap();
        let posting = Posting { currency: Currency::USD, amount, debit, credit, release_at };
        let side = PlainSide::new(kind, &posting, (user(1), direction), (now, 0), 0);
        plain.replay_plain(&side, None, seq).unwrap();
        general.post_side(kind, posting, direction);
        assert_eq!(told(&plain), told(&general.shard), "{direction:?} {other:?} {release:?}");
    }
    let sums = &plain.sums()[0];
    assert_eq!((sums.holds.total() > 0, sums.external < 0, sums.suspense), (true, true, 112 - 107));
}
