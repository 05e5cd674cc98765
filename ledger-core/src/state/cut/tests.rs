//! A shard is written to while two checkpoints, one after the other, copy it: what each copies is what was at its cut.

use proptest::collection::vec;
use proptest::prelude::*;
use smallvec::smallvec;
use uuid::Uuid;

use super::*;
use crate::state::apply::Applied;
use crate::state::{Party, Posting, TransactionEntry};
use crate::types::{Amount, Currency, Epoch, Fingerprint, IdempotencyKey, UserId};
use crate::view::{Status, TransactionKind};
use crate::withdrawals::{BankReference, Event, InquiryAnswer, Substatus, Withdrawal, WithdrawalEntry};

/// Accounts of three portions, the last not full.
const USERS: u64 = 2 * ACCOUNTS_AT_ONCE as u64 + 3;

/// What a writer does. Of the users and withdrawals that there are, the number chooses one.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Held so many seconds, or not at all.
    Charge(u64, u8),
    Withdraw(u64),
    Inquire(usize),
    End(usize, bool),
}

fn act() -> impl Strategy<Value = Act> {
    // Few of each portion, so that the same are written to again and again.
    let user = || (0..3u64, 0..3u64).prop_map(|(portion, user)| portion * u64::from(ACCOUNTS_AT_ONCE) + user + 1);
    prop_oneof![
        3 => (user(), prop_oneof![Just(0), 1..40u8]).prop_map(|(user, held)| Act::Charge(user, held)),
        3 => user().prop_map(Act::Withdraw),
        3 => any::<usize>().prop_map(Act::Inquire),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(index, paid)| Act::End(index, paid)),
    ]
}

/// What the copier is to do next: its portions of accounts, then its withdrawals one by one.
#[derive(Clone, Copy, Debug)]
enum Step {
    Write(Act),
    Copy,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(prop_oneof![2 => act().prop_map(Step::Write), 1 => Just(Step::Copy)], 0..60)
}

struct Stage {
    shard: Shard,
    last: u64,
    withdrawals: Vec<TransactionId>,
}

impl Stage {
    /// Every user has been charged 1,000, which no test spends.
    fn new() -> Stage {
        let mut stage = Stage { shard: Shard::new(RandomState::default()), last: 0, withdrawals: Vec::new() };
        (1..=USERS).for_each(|user| stage.move_money(TransactionKind::Charge, user, 1_000, None));
        stage
    }

    /// One second passes with every entry.
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.last as i64 * 1_000_000).unwrap()
    }

    fn seq(&self) -> Seq {
        Seq::new(self.last)
    }

    fn move_money(&mut self, kind: TransactionKind, user: u64, amount: u64, release_at: Option<Timestamp>) {
        self.last += 1;
        let user = UserId::new(user).unwrap();
        let (status, debit, credit) = match kind {
            TransactionKind::Withdrawal => (Status::Pending, Party::User(user), Party::External),
            _ => (Status::Completed, Party::External, Party::User(user)),
        };
        let amount = Amount::new(amount).unwrap();
        let entry = TransactionEntry {
            kind,
            status,
            key: IdempotencyKey::new("key").unwrap(),
            fingerprint: Fingerprint::new(0),
            postings: smallvec![Posting { currency: Currency::USD, amount, debit, credit, release_at }],
            destination: None,
            metadata: None,
            batch: None,
        };
        let id = TransactionId::new(self.last).unwrap();
        let reference = BankReference { ledger: Uuid::nil(), epoch: Epoch::new(1), id };
        let applied = Applied { seq: self.seq(), time: self.now(), key_hash: 0, reference };
        let posting = &entry.postings[0];
        if kind == TransactionKind::Withdrawal {
            self.shard.debit(&entry, posting, user, None, &applied);
            self.withdrawals.push(id);
        } else {
            self.shard.credit(&entry, posting, user, None, &applied);
        }
    }

    fn write(&mut self, act: Act) {
        let of_all = |index: usize, all: &[TransactionId]| all.get(index % all.len().max(1)).copied();
        let (id, event, to) = match act {
            Act::Charge(user, held) => {
                let release_at =
                    (held > 0).then(|| self.now().saturating_add(std::time::Duration::from_secs(held.into())));
                return self.move_money(TransactionKind::Charge, user, 5, release_at);
            }
            Act::Withdraw(user) => return self.move_money(TransactionKind::Withdrawal, user, 1, None),
            Act::Inquire(index) => {
                let answer = InquiryAnswer::Pending;
                (of_all(index, &self.withdrawals), Event::Inquired { answer }, Substatus::Accepted)
            }
            Act::End(index, paid) => {
                let answer = if paid { InquiryAnswer::Settled } else { InquiryAnswer::Failed };
                let to = if paid { Substatus::Completed } else { Substatus::Failed };
                (of_all(index, &self.withdrawals), Event::Inquired { answer }, to)
            }
        };
        let Some(id) = id else { return };
        let Withdrawal { user, currency, amount, substatus, .. } = self.shard.withdrawals[&id].withdrawal;
        if substatus.is_open() {
            self.last += 1;
            let (seq, time) = (self.seq(), self.now());
            let (due, evidence, operator, command) = (None, "", None, None);
            let entry = WithdrawalEntry { id, user, currency, amount, event, to, due, evidence, operator, command };
            self.shard.apply_withdrawal(&entry, seq, time);
        }
    }

    /// Copies what changed after `since` while `steps` are done, and checks it; the seq of the cut.
    fn checkpoint(&mut self, since: Seq, steps: &[Step]) -> Seq {
        let (seq, time) = (self.seq(), self.now());
        let accounts: Vec<Frozen> =
            (0..self.shard.accounts.len() as Slot).map(|slot| self.shard.accounts.freeze(slot, time)).collect();
        let mut changed: Vec<(Seq, Withdrawal)> = (self.shard.withdrawals.values())
            .filter(|held| held.last_seq > since)
            .map(|held| (held.last_seq, held.withdrawal.clone()))
            .collect();
        changed.sort_unstable_by_key(|(_, withdrawal)| withdrawal.id);

        let mut ids = self.shard.begin_cut(seq, time, since).withdrawals;
        ids.sort_unstable();
        ids.dedup();
        let (mut copied, mut shown) = (Vec::new(), Vec::new());
        let mut ids = ids.into_iter();
        for step in steps.iter().copied().chain(std::iter::repeat_n(Step::Copy, 3 + ids.len())) {
            match step {
                Step::Write(act) => self.write(act),
                Step::Copy if copied.len() < accounts.len() => {
                    self.shard.copy_accounts(|account| copied.push(*account))
                }
                Step::Copy => shown.extend(
                    ids.next()
                        .map(|id| self.shard.copy_withdrawal(id, |held| (held.last_seq, held.withdrawal.clone()))),
                ),
            }
        }
        assert_eq!(copied, accounts, "the accounts at seq {seq}");
        assert_eq!(shown, changed, "the withdrawals at seq {seq}");
        drop(self.shard.end_cut(Vec::new()));
        seq
    }
}

proptest! {
    #[test]
    fn a_checkpoint_copies_what_was_whatever_is_written_meanwhile(
        before in vec(act(), 0..30),
        first in steps(),
        second in steps(),
    ) {
        let mut stage = Stage::new();
        before.into_iter().for_each(|act| stage.write(act));
        let seq = stage.checkpoint(Seq::ZERO, &first);
        stage.checkpoint(seq, &second);
    }
}
