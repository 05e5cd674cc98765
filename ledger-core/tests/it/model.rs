//! A naive ledger, the oracle: one thread, ordered maps, every balance summed anew from the account's movements. It
//! shares no code with the engine but the public value types, and is meant to be read beside the rules of money.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ledger_core::withdrawals::{
    AttemptClass, InquiryAnswer, NoticeOutcome, Reservation, Resolution, ReturnCredit, Said,
};
use ledger_core::{
    Amount, Audit, Balance, BankReference, Charge, Command, Currency, CurrencyAudit, Destination, Direction, Epoch,
    INTEGER_MAX, IdempotencyKey, Metadata, Page, PageStart, Payout, Query, Receipt, Rejection, Seq, Status, Substatus,
    Timestamp, Transaction, TransactionId, TransactionKind, Transfer, UserId, Withdraw,
};
use uuid::Uuid;

use crate::stage::{Line, World, moments, plain};

mod payouts;

pub(crate) use payouts::{Follows, Order, said_in_words};

/// A command with its texts, as a caller said it. Two with the same key are the same command if they are equal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    pub(crate) kind: TransactionKind,
    pub(crate) user: UserId,
    pub(crate) to: Option<UserId>,
    pub(crate) currency: Currency,
    pub(crate) amount: Amount,
    pub(crate) key: String,
    pub(crate) release_at: Option<Timestamp>,
    pub(crate) destination: Option<String>,
    pub(crate) metadata: Option<Vec<u8>>,
}

impl Record {
    fn new(asked: Arc<Asked>, created_at: Timestamp, last_seq: u64) -> Record {
        Record {
            asked,
            created_at,
            epoch: Epoch::default(),
            batch: None,
            status: Status::Completed,
            substatus: Substatus::Reserved,
            attempts: 0,
            ambiguous: false,
            is_loose: false,
            late: false,
            attempted_at: None,
            returns: None,
            said: Vec::new(),
            answers: Vec::new(),
            returned: None,
            contradictions: Vec::new(),
            notices: Vec::new(),
            last_seq,
            changed_at: created_at,
        }
    }
}

impl Asked {
    pub(crate) fn charge(user: UserId, amount: Amount, key: impl Into<String>) -> Asked {
        Asked {
            kind: TransactionKind::Charge,
            user,
            to: None,
            currency: Currency::USD,
            amount,
            key: key.into(),
            release_at: None,
            destination: None,
            metadata: None,
        }
    }

    pub(crate) fn transfer(from: UserId, to: UserId, amount: Amount, key: impl Into<String>) -> Asked {
        Asked { kind: TransactionKind::Transfer, to: Some(to), ..Asked::charge(from, amount, key) }
    }

    pub(crate) fn withdraw(user: UserId, amount: Amount, key: impl Into<String>) -> Asked {
        Asked { kind: TransactionKind::Withdrawal, ..Asked::charge(user, amount, key) }
    }

    /// The command as the ledger takes it.
    pub(crate) fn command(&self) -> Command<'_> {
        let key = IdempotencyKey::new(&self.key).expect("a valid key");
        let metadata = self.metadata.as_deref().map(|bytes| Metadata::new(bytes).expect("valid metadata"));
        let (currency, release_at) = (self.currency, self.release_at);
        match self.kind {
            TransactionKind::Charge => {
                Charge { currency, release_at, metadata, ..Charge::new(self.user, self.amount, key) }.into()
            }
            TransactionKind::Transfer => {
                let to = self.to.expect("a transfer has a destination");
                Transfer { currency, release_at, metadata, ..Transfer::new(self.user, to, self.amount, key) }.into()
            }
            TransactionKind::Withdrawal => {
                let destination = self.destination.as_deref().map(|to| Destination::new(to).expect("a destination"));
                Withdraw { currency, destination, metadata, ..Withdraw::new(self.user, self.amount, key) }.into()
            }
            other => unreachable!("no command makes a {other:?}"),
        }
    }

    /// The users whose accounts the command touches.
    pub(crate) fn users(&self) -> impl Iterator<Item = UserId> {
        [Some(self.user), self.to].into_iter().flatten()
    }
}

/// What was decided, with the seq and the time that the ledger gave it.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    pub(crate) seq: u64,
    pub(crate) time: Timestamp,
    pub(crate) what: Happened,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Happened {
    /// A command was accepted, by itself or at (index, count) of an atomic batch.
    Accepted { asked: Arc<Asked>, epoch: Epoch, batch: Option<(usize, usize)> },
    /// An attempt was started.
    Attempted { id: u64 },
    /// An attempt ended.
    Ended { id: u64, class: AttemptClass, to: Substatus },
    /// The bank was asked; `None`: nobody asked any more.
    Inquired { id: u64, answer: Option<InquiryAnswer>, to: Substatus },
    /// An attempt's outcome was recorded after the end.
    EndedLate { id: u64 },
    /// A withdrawal was given up, under a key.
    Cancelled { id: u64, key: String },
    /// An operator decided, under a key.
    Resolved { id: u64, outcome: Resolution, key: String, to: Substatus },
    /// The bank told something by itself.
    Noticed { id: u64, outcome: NoticeOutcome, to: Substatus },
    /// What was paid came back.
    Returned { id: u64, credit: ReturnCredit },
    /// It was said that the withdrawal ended otherwise; `posted`: that it was paid after its release.
    Contradicted { id: u64, said: Said, says: Reservation, posted: bool },
}

/// A change of one account. Balances are sums of these.
#[derive(Clone, Copy, Debug)]
struct Movement {
    seq: u64,
    time: Timestamp,
    total: i128,
    reserved: i128,
    held_until: Option<Timestamp>,
}

/// A transaction, as nobody in particular sees it.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) asked: Arc<Asked>,
    pub(crate) created_at: Timestamp,
    pub(crate) epoch: Epoch,
    pub(crate) batch: Option<(usize, usize)>,
    pub(crate) status: Status,
    pub(crate) substatus: Substatus,
    pub(crate) attempts: u32,
    /// Whether some attempt may have been executed, as far as its outcome told.
    pub(crate) ambiguous: bool,
    /// Whether it ended while an attempt was under way, whose outcome is still to come.
    pub(crate) is_loose: bool,
    /// Whether a payment after its release was posted.
    pub(crate) late: bool,
    /// When the last attempt was started.
    pub(crate) attempted_at: Option<Timestamp>,
    /// Of a return: whose money it is.
    pub(crate) returns: Option<u64>,
    /// What was said beside the attempts, in the words of [`said_in_words`].
    pub(crate) said: Vec<String>,
    /// What the bank answered last, up to 16 times.
    pub(crate) answers: Vec<InquiryAnswer>,
    pub(crate) returned: Option<ReturnCredit>,
    pub(crate) contradictions: Vec<Said>,
    pub(crate) notices: Vec<NoticeOutcome>,
    pub(crate) last_seq: u64,
    pub(crate) changed_at: Timestamp,
}

/// The naive ledger.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    uuid: Uuid,
    epoch: Epoch,
    places: Option<usize>,
    attempts_max: u32,
    facts: Vec<Fact>,
    records: BTreeMap<u64, Record>,
    keys: BTreeMap<String, u64>,
    /// What was said under the keys of orders about withdrawals.
    orders: BTreeMap<String, Order>,
    accounts: BTreeMap<(UserId, Currency), Vec<Movement>>,
    /// Withdrawals accepted since the opening whose first attempt has not ended.
    placed: BTreeSet<u64>,
}

impl Model {
    pub(crate) fn new(uuid: Uuid, epoch: Epoch, places: Option<usize>) -> Model {
        Model {
            uuid,
            epoch,
            places,
            attempts_max: 4,
            facts: Vec::new(),
            records: BTreeMap::new(),
            keys: BTreeMap::new(),
            orders: BTreeMap::new(),
            accounts: BTreeMap::new(),
            placed: BTreeSet::new(),
        }
    }

    /// The ledger was closed, or crashed, and opened again: nobody waits for a place any more.
    pub(crate) fn reopen(&mut self, epoch: Epoch) {
        self.epoch = epoch;
        self.placed.clear();
    }

    /// The same ledger under another identity.
    pub(crate) fn is_of(&mut self, uuid: Uuid) {
        self.uuid = uuid;
    }

    /// The state after the entries up to `seq`: what a crash may leave.
    pub(crate) fn prefix(&self, seq: u64) -> Model {
        let mut prefix = Model::new(self.uuid, self.epoch, self.places);
        for fact in self.facts.iter().take_while(|fact| fact.seq <= seq) {
            prefix.apply(fact.clone());
        }
        let is_there = |key: &String| prefix.keys.contains_key(key);
        prefix.orders =
            self.orders.iter().filter(|(key, _)| is_there(key)).map(|(k, v)| (k.clone(), v.clone())).collect();
        prefix.placed.clear();
        prefix
    }

    /// Only what decides about `asked`: a small model to try commands on.
    pub(crate) fn part(&self, asked: &[Asked]) -> Model {
        let mut part = Model::new(self.uuid, self.epoch, None);
        for asked in asked {
            if let Some(&id) = self.keys.get(&asked.key) {
                part.keys.insert(asked.key.clone(), id);
                part.records.insert(id, self.records[&id].clone());
            }
            for user in asked.users() {
                let account = (user, asked.currency);
                if let Some(movements) = self.accounts.get(&account) {
                    part.accounts.insert(account, movements.clone());
                }
            }
        }
        part
    }

    /// When the last hold of the account matured, up to `now`.
    pub(crate) fn matured(&self, user: UserId, currency: Currency, now: Timestamp) -> Option<Timestamp> {
        self.maturing(user, currency, (Timestamp::MIN, now)).max()
    }

    /// When holds of the account mature, after the first moment and up to the second.
    pub(crate) fn maturing(
        &self,
        user: UserId,
        currency: Currency,
        between: (Timestamp, Timestamp),
    ) -> impl Iterator<Item = Timestamp> {
        let all = self.accounts.get(&(user, currency)).map_or(&[][..], Vec::as_slice);
        all.iter().filter_map(|movement| movement.held_until).filter(move |&at| between.0 < at && at <= between.1)
    }

    /// The last entry.
    pub(crate) fn seq(&self) -> u64 {
        self.facts.last().map_or(0, |fact| fact.seq)
    }

    /// The last entry's time.
    pub(crate) fn time(&self) -> Option<Timestamp> {
        self.facts.last().map(|fact| fact.time)
    }

    pub(crate) fn facts(&self) -> &[Fact] {
        &self.facts
    }

    pub(crate) fn record(&self, id: u64) -> Option<&Record> {
        self.records.get(&id)
    }

    pub(crate) fn withdrawals(&self) -> impl Iterator<Item = (u64, &Record)> {
        self.records
            .iter()
            .filter(|(_, record)| record.asked.kind == TransactionKind::Withdrawal)
            .map(|(&id, record)| (id, record))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = (&str, u64)> {
        self.keys.iter().map(|(key, &id)| (key.as_str(), id))
    }

    /// Whether a prefix that ends at `seq` would cut an atomic batch in two.
    pub(crate) fn cuts_a_batch(&self, seq: u64) -> bool {
        self.facts.iter().any(|fact| {
            fact.seq == seq
                && matches!(fact.what, Happened::Accepted { batch: Some((index, count)), .. } if index + 1 < count)
        })
    }

    /// What the ledger must say to `asked` at the time `now`. Reasons are looked for in the order of [`Rejection`].
    pub(crate) fn decide(&self, asked: &Asked, now: Timestamp) -> Result<(), Rejection> {
        if let Some(&original) = self.keys.get(&asked.key) {
            let record = &self.records[&original];
            let transaction = Box::new(self.view(original, record.asked.user).expect("the source is a party"));
            return Err(if *record.asked == *asked {
                Rejection::DuplicateRequest(transaction)
            } else {
                Rejection::IdempotencyKeyReused(transaction)
            });
        }
        if asked.to == Some(asked.user) {
            return Err(Rejection::SameAccount);
        }
        if asked.kind == TransactionKind::Withdrawal && self.places.is_some_and(|places| self.placed.len() >= places) {
            return Err(Rejection::QueueFull);
        }
        if asked.kind != TransactionKind::Charge {
            let withdrawable = self.balance_planned(asked.user, asked.currency, now).withdrawable;
            if withdrawable < asked.amount.minor() {
                return Err(Rejection::InsufficientBalance { withdrawable });
            }
        }
        let credited = match asked.kind {
            TransactionKind::Charge => Some(asked.user),
            _ => asked.to,
        };
        if let Some(user) = credited
            && self.balance_planned(user, asked.currency, now).total() + asked.amount.minor() > INTEGER_MAX
        {
            return Err(Rejection::BalanceOverflow);
        }
        Ok(())
    }

    /// What the ledger must say to an atomic batch: which operation is rejected and why. Keys are looked at over the whole
    /// batch first; then each operation in its turn, on top of those before it.
    pub(crate) fn decide_batch(&self, batch: &[Asked], now: Timestamp) -> Result<(), (usize, Rejection)> {
        for (index, asked) in batch.iter().enumerate() {
            if let Some(first) = batch[..index].iter().position(|earlier| earlier.key == asked.key) {
                return Err((index, Rejection::KeyTwiceInBatch { first, same: batch[first] == *asked }));
            }
        }
        for (index, asked) in batch.iter().enumerate() {
            if self.keys.contains_key(&asked.key) {
                return Err((index, self.decide(asked, now).expect_err("the key is taken")));
            }
        }
        let mut placed = self.placed.len();
        let mut part = self.part(batch);
        for (index, asked) in batch.iter().enumerate() {
            if asked.to == Some(asked.user) {
                return Err((index, Rejection::SameAccount));
            }
            if asked.kind == TransactionKind::Withdrawal {
                if self.places.is_some_and(|places| placed >= places) {
                    return Err((index, Rejection::QueueFull));
                }
                placed += 1;
            }
            part.decide(asked, now).map_err(|rejection| (index, rejection))?;
            // Past every transaction that there is.
            part.accept((1 << 40) + index as u64, now, asked, None);
        }
        Ok(())
    }

    /// Takes in a command that the ledger accepted as transaction `seq` at `time`.
    pub(crate) fn accept(&mut self, seq: u64, time: Timestamp, asked: &Asked, batch: Option<(usize, usize)>) {
        let what = Happened::Accepted { asked: Arc::new(asked.clone()), epoch: self.epoch, batch };
        self.apply(Fact { seq, time, what });
    }

    /// The receipt of transaction `id`, the last one of its user.
    pub(crate) fn receipt(&self, id: u64) -> Receipt {
        let record = &self.records[&id];
        Receipt {
            transaction_id: TransactionId::new(id).expect("not zero"),
            created_at: record.created_at,
            held_until: held_until(&record.asked, record.created_at),
            balance: self.balance(record.asked.user, record.asked.currency, record.created_at),
        }
    }

    /// The whole batch's earlier transactions, if `batch` repeats exactly one earlier atomic batch.
    pub(crate) fn repeated_batch(&self, batch: &[Asked]) -> Option<Vec<TransactionId>> {
        let first = *self.keys.get(&batch.first()?.key)?;
        let repeats = batch.iter().enumerate().all(|(index, asked)| {
            let id = first + index as u64;
            self.keys.get(&asked.key) == Some(&id)
                && self.records[&id].batch == Some((index, batch.len()))
                && *self.records[&id].asked == *asked
        });
        let name = |index: usize| TransactionId::new(first + index as u64).expect("not zero");
        repeats.then(|| (0..batch.len()).map(name).collect())
    }

    /// Changes the state by what happened; the only place that does.
    pub(crate) fn apply(&mut self, fact: Fact) {
        let (seq, time) = (fact.seq, fact.time);
        assert!(seq > self.seq(), "seqs rise: {seq} after {}", self.seq());
        assert!(self.time().is_none_or(|last| last <= time), "times rise with seqs");
        match &fact.what {
            Happened::Accepted { asked, epoch, batch } => {
                let amount = i128::from(asked.amount.minor());
                let (until, asked, batch) = (held_until(asked, time), Arc::clone(asked), *batch);
                let none = Movement { seq, time, total: 0, reserved: 0, held_until: None };
                let credit = Movement { total: amount, held_until: until, ..none };
                match asked.kind {
                    TransactionKind::Charge => self.moved(asked.user, asked.currency, credit),
                    TransactionKind::Transfer => {
                        self.moved(asked.user, asked.currency, Movement { total: -amount, ..none });
                        self.moved(asked.to.expect("a destination"), asked.currency, credit);
                    }
                    _ => {
                        self.moved(asked.user, asked.currency, Movement { reserved: amount, ..none });
                        self.placed.insert(seq);
                    }
                }
                self.keys.insert(asked.key.clone(), seq);
                let status =
                    if asked.kind == TransactionKind::Withdrawal { Status::Pending } else { Status::Completed };
                let (epoch, created_at, last_seq) = (*epoch, time, seq);
                let record = Record { epoch, batch, status, ..Record::new(asked, created_at, last_seq) };
                self.records.insert(seq, record);
            }
            Happened::Attempted { id } => {
                self.withdrawal_is_at(*id, seq, time, Substatus::Submitting);
                let record = self.records.get_mut(id).expect("a withdrawal");
                record.attempts += 1;
                record.attempted_at = Some(time);
            }
            Happened::Ended { id, class, to } => {
                self.placed.remove(id);
                self.records.get_mut(id).expect("a withdrawal").ambiguous |=
                    matches!(class, AttemptClass::Ambiguous | AttemptClass::Accepted);
                self.withdrawal_is_at(*id, seq, time, *to);
            }
            Happened::Inquired { id, answer, to } => {
                self.placed.remove(id);
                let answers = &mut self.records.get_mut(id).expect("a withdrawal").answers;
                answers.extend(answer);
                answers.drain(..answers.len().saturating_sub(16));
                self.withdrawal_is_at(*id, seq, time, *to);
            }
            other => self.apply_order(other, seq, time),
        }
        self.facts.push(fact);
    }

    fn withdrawal_is_at(&mut self, id: u64, seq: u64, time: Timestamp, to: Substatus) {
        let record = self.records.get_mut(&id).expect("a withdrawal");
        assert_eq!(record.status, Status::Pending, "an ended withdrawal changes no more");
        record.is_loose = record.substatus == Substatus::Submitting;
        record.substatus = to;
        record.last_seq = seq;
        record.changed_at = time;
        let (user, currency) = (record.asked.user, record.asked.currency);
        let amount = i128::from(record.asked.amount.minor());
        let (status, total) = match to {
            Substatus::Completed | Substatus::Returned => (Status::Completed, -amount),
            Substatus::Failed | Substatus::Cancelled => (Status::Failed, 0),
            _ => return,
        };
        record.status = status;
        self.moved(user, currency, Movement { seq, time, total, reserved: -amount, held_until: None });
    }

    fn moved(&mut self, user: UserId, currency: Currency, movement: Movement) {
        self.accounts.entry((user, currency)).or_default().push(movement);
    }

    /// How long after attempt `attempts` that was not sent the next one comes: 1 s doubled each time, ± 20 %.
    pub(crate) fn backoff(attempts: u32) -> (Duration, Duration) {
        let whole = Duration::from_secs(1 << (attempts - 1).min(6)).min(Duration::from_secs(60));
        (whole * 4 / 5, whole * 6 / 5)
    }

    /// Where an attempt of `record` that ended with `class` may lead.
    pub(crate) fn after_attempt(&self, record: &Record, class: AttemptClass) -> Vec<Substatus> {
        match class {
            AttemptClass::Settled => vec![Substatus::Completed],
            AttemptClass::Accepted => vec![Substatus::Accepted],
            AttemptClass::Ambiguous => vec![Substatus::Unknown],
            // A refusal, or an attempt that was not sent, tells nothing of an earlier one that may have paid.
            AttemptClass::Rejected if record.ambiguous => vec![Substatus::Unknown, Substatus::NeedsReview],
            AttemptClass::Rejected => vec![Substatus::Failed],
            AttemptClass::NotSent if record.ambiguous => vec![Substatus::Unknown, Substatus::NeedsReview],
            AttemptClass::NotSent if record.attempts >= self.attempts_max => vec![Substatus::Failed],
            AttemptClass::NotSent => vec![Substatus::Reserved],
        }
    }

    /// Where an inquiry about `record` may lead. A reference that the bank does not find proves nothing.
    pub(crate) fn after_inquiry(&self, record: &Record, answer: InquiryAnswer) -> Vec<Substatus> {
        match answer {
            InquiryAnswer::Settled => vec![Substatus::Completed],
            InquiryAnswer::Failed => vec![Substatus::Failed],
            InquiryAnswer::Pending => {
                vec![record.substatus, Substatus::Accepted, Substatus::Unknown, Substatus::NeedsReview]
            }
            _ => vec![record.substatus, Substatus::Unknown, Substatus::NeedsReview],
        }
    }

    /// Money as recorded by `at`, holds as matured by `at`. The `seq` is the last entry that touched the account.
    pub(crate) fn balance(&self, user: UserId, currency: Currency, at: Timestamp) -> Balance {
        self.balance_of(user, currency, at, at)
    }

    /// Money as recorded so far, holds as matured by `at` or by the last entry, whichever is later: what a plan may go by that
    /// was begun at `at` and had to wait.
    pub(crate) fn balance_planned(&self, user: UserId, currency: Currency, at: Timestamp) -> Balance {
        let last = self.accounts.get(&(user, currency)).and_then(|all| all.last());
        self.balance_of(user, currency, Timestamp::MAX, last.map_or(at, |last| at.max(last.time)))
    }

    fn balance_of(&self, user: UserId, currency: Currency, recorded: Timestamp, at: Timestamp) -> Balance {
        let all = self.accounts.get(&(user, currency)).map_or(&[][..], Vec::as_slice);
        let (mut total, mut held, mut reserved) = (0i128, 0i128, 0i128);
        let mut next_release_at: Option<Timestamp> = None;
        for movement in all.iter().filter(|movement| movement.time <= recorded) {
            total += movement.total;
            reserved += movement.reserved;
            if let Some(until) = movement.held_until.filter(|&until| until > at) {
                held += movement.total;
                next_release_at = Some(next_release_at.map_or(until, |next| next.min(until)));
            }
        }
        let minor = |part: i128| u64::try_from(part).expect("no part of an account is below zero");
        Balance {
            user,
            currency,
            withdrawable: minor(total - held - reserved),
            held: minor(held),
            reserved: minor(reserved),
            next_release_at,
            seq: Seq::new(all.last().map_or(0, |movement| movement.seq)),
        }
    }

    /// Transaction `id` as `viewer` sees it.
    fn view(&self, id: u64, viewer: UserId) -> Option<Transaction> {
        let record = self.records.get(&id)?;
        let asked = &record.asked;
        if !asked.users().any(|party| party == viewer) {
            return None;
        }
        let credited =
            matches!(asked.kind, TransactionKind::Charge | TransactionKind::Return) || asked.to == Some(viewer);
        let transaction = Transaction {
            id: TransactionId::new(id)?,
            user: viewer,
            currency: asked.currency,
            amount: asked.amount,
            kind: asked.kind,
            direction: if credited { Direction::Credit } else { Direction::Debit },
            status: record.status,
            idempotency_key: asked.key.as_str().into(),
            created_at: record.created_at,
            release_at: held_until(asked, record.created_at),
            counterparty: asked.to.map(|to| if to == viewer { asked.user } else { to }),
            withdrawal: (asked.kind == TransactionKind::Withdrawal).then(|| Payout {
                substatus: record.substatus,
                attempts: record.attempts,
                bank_reference: self.reference(id, record),
                failure_reason: (record.status == Status::Failed).then(|| "…".into()),
                destination: asked.destination.as_deref().map(Into::into),
            }),
            returns: record.returns.and_then(TransactionId::new),
            metadata: asked.metadata.as_deref().map(Into::into),
            last_seq: Seq::new(record.last_seq),
        };
        Some(plain(transaction))
    }

    fn reference(&self, id: u64, record: &Record) -> BankReference {
        BankReference { ledger: self.uuid, epoch: record.epoch, id: TransactionId::new(id).expect("not zero") }
    }

    /// Transaction `id` as `viewer` sees it; nobody in particular: the source's view.
    pub(crate) fn transaction(&self, id: u64, viewer: Option<UserId>) -> Option<Transaction> {
        let source = self.records.get(&id)?.asked.user;
        self.view(id, viewer.unwrap_or(source))
    }

    pub(crate) fn transaction_by_key(&self, key: &str) -> Option<Transaction> {
        self.transaction(*self.keys.get(key)?, None)
    }

    pub(crate) fn page(&self, query: &Query) -> Page {
        let mut matching: Vec<Transaction> = self
            .records
            .keys()
            .filter_map(|&id| self.view(id, query.user))
            .filter(|t| query.currency.is_none_or(|currency| t.currency == currency))
            .filter(|t| query.kind.is_none_or(|kind| t.kind == kind))
            .filter(|t| query.status.is_none_or(|status| t.status == status))
            .filter(|t| query.from.is_none_or(|from| t.created_at >= from))
            .filter(|t| query.to.is_none_or(|to| t.created_at < to))
            .collect();
        if !query.ascending {
            matching.reverse();
        }
        let total = Some(matching.len() as u64);
        let mut rest: Vec<Transaction> = match query.start {
            PageStart::Skip(skip) => matching.into_iter().skip(usize::try_from(skip).unwrap_or(usize::MAX)).collect(),
            PageStart::After(cursor) => {
                matching.into_iter().filter(|t| if query.ascending { t.id > cursor } else { t.id < cursor }).collect()
            }
            PageStart::SkipAfter(cursor, skip) => {
                let after =
                    matching.into_iter().filter(|t| if query.ascending { t.id > cursor } else { t.id < cursor });
                after.skip(usize::try_from(skip).unwrap_or(usize::MAX)).collect()
            }
        };
        let more = rest.len() > query.limit;
        rest.truncate(query.limit);
        let next = if more { rest.last().map(|t| PageStart::After(t.id)) } else { None };
        Page { transactions: rest, total, next }
    }

    /// Every currency's sums at `now`, system accounts included.
    pub(crate) fn audit(&self, now: Timestamp) -> Audit {
        let mut sums: BTreeMap<Currency, CurrencyAudit> = BTreeMap::new();
        for &(user, currency) in self.accounts.keys() {
            let balance = self.balance(user, currency, now);
            let sum = sums.entry(currency).or_insert(CurrencyAudit {
                currency,
                accounts: 0,
                total: 0,
                held: 0,
                reserved: 0,
                external: 0,
                suspense: 0,
                deep_mismatches: 0,
            });
            sum.accounts += 1;
            sum.total += u128::from(balance.total());
            sum.held += u128::from(balance.held);
            sum.reserved += u128::from(balance.reserved);
        }
        for record in self.records.values() {
            let sum = sums.get_mut(&record.asked.currency).expect("its accounts were counted");
            let amount = i128::from(record.asked.amount.minor());
            match (record.asked.kind, record.status) {
                (TransactionKind::Charge | TransactionKind::Return, _) => sum.external -= amount,
                (TransactionKind::Withdrawal, Status::Completed) => sum.external += amount,
                (TransactionKind::Withdrawal, Status::Failed) if record.late => {
                    sum.external += amount;
                    sum.suspense -= amount;
                }
                _ => {}
            }
            if record.returned == Some(ReturnCredit::Suspense) {
                sum.external -= amount;
                sum.suspense += amount;
            }
        }
        Audit { currencies: sums.into_values().collect(), seq: Seq::new(self.seq()) }
    }

    /// The line that [`crate::stage::line_of_withdrawal`] must give of withdrawal `id`.
    pub(crate) fn line_of_withdrawal(&self, id: u64) -> String {
        let record = &self.records[&id];
        let (asked, reference) = (&record.asked, self.reference(id, record));
        format!(
            "withdrawal {id} of {} {} {} to {:?} by {reference} at {}: {:?} after {} attempts",
            asked.user,
            asked.amount,
            asked.currency,
            asked.destination,
            record.created_at,
            record.substatus,
            record.attempts
        ) + &said_in_words(&record.answers, &record.said)
    }

    /// What [`crate::stage::dump`] must give of a ledger in this state at `now`.
    pub(crate) fn dump(&self, world: &World, now: Timestamp) -> Vec<String> {
        self.lines(world, now).iter().map(Line::to_string).collect()
    }

    /// What [`crate::stage::lines`] must give of a ledger in this state at `now`.
    pub(crate) fn lines(&self, world: &World, now: Timestamp) -> Vec<Line> {
        let mut lines = vec![Line::Appended(Seq::new(self.seq()))];
        for (user, currency) in world.accounts() {
            for at in moments(now) {
                lines.push(Line::of_balance(at, self.balance(user, currency, at.unwrap_or(now))));
            }
        }
        let mut withdrawals = BTreeSet::new();
        for &user in &world.users {
            for transaction in self.records.keys().filter_map(|&id| self.view(id, user)) {
                if transaction.withdrawal.is_some() {
                    withdrawals.insert(transaction.id.get());
                }
                lines.push(Line::of_transaction(transaction));
            }
        }
        lines.extend(withdrawals.iter().map(|&id| Line::Withdrawal(self.line_of_withdrawal(id))));
        lines.extend(self.audit(now).currencies.into_iter().map(Line::Audit));
        lines
    }
}

/// A hold is one that ends after its transaction was made.
fn held_until(asked: &Asked, created_at: Timestamp) -> Option<Timestamp> {
    asked.release_at.filter(|&until| until > created_at)
}
