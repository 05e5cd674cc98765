//! What the ledger answers: balances, transactions, pages, audits. Values, cut loose from the ledger.

use crate::types::{Amount, Currency, Seq, Timestamp, TransactionId, UserId};
use crate::withdrawals::{BankReference, Substatus, Withdrawal};

/// One account at one moment. `total() = withdrawable + held + reserved`, each ≥ 0, always.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Balance {
    /// Whose.
    pub user: UserId,
    /// In which currency.
    pub currency: Currency,
    /// What may be spent, transferred or withdrawn, in minor units.
    pub withdrawable: u64,
    /// Credited with a `release_at` that has not come, in minor units.
    pub held: u64,
    /// Set aside for open withdrawals, in minor units.
    pub reserved: u64,
    /// When the next hold matures; `None` where nothing is held.
    pub next_release_at: Option<Timestamp>,
    /// The state after every entry up to this one.
    pub seq: Seq,
}

impl Balance {
    /// All that the account owns, in minor units.
    pub const fn total(&self) -> u64 {
        self.withdrawable + self.held + self.reserved
    }
}

/// What an accepted command did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// The new transaction.
    pub transaction_id: TransactionId,
    /// The entry's time.
    pub created_at: Timestamp,
    /// Until when the credit is held; `None` where it is not.
    pub held_until: Option<Timestamp>,
    /// The account of the user whose view a reply shows (charged, sending or withdrawing), right after the command.
    pub balance: Balance,
}

/// What kind of thing a transaction is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum TransactionKind {
    /// Money in from the world outside.
    Charge,
    /// Money from one user to another.
    Transfer,
    /// Money out to the world outside, by way of the bank.
    Withdrawal,
    /// What a withdrawal paid, back again: a credit that the bank's notice made, and no command.
    Return,
}

impl TransactionKind {
    /// The word: `charge`, `transfer`, `withdrawal` or `return`.
    pub const fn as_str(self) -> &'static str {
        match self {
            TransactionKind::Charge => "charge",
            TransactionKind::Transfer => "transfer",
            TransactionKind::Withdrawal => "withdrawal",
            TransactionKind::Return => "return",
        }
    }
}

/// Which way the money went, seen from one user.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// To the user.
    Credit,
    /// From the user.
    Debit,
}

/// Where a transaction is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    /// The money is reserved; its fate is open.
    Pending,
    /// The money moved.
    Completed,
    /// The money did not move and is no longer reserved.
    Failed,
}

impl Status {
    /// The word: `pending`, `completed` or `failed`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Completed => "completed",
            Status::Failed => "failed",
        }
    }
}

/// A transaction as one user sees it, as it stands now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transaction {
    /// Its name.
    pub id: TransactionId,
    /// Whose view this is.
    pub user: UserId,
    /// In which currency.
    pub currency: Currency,
    /// How much.
    pub amount: Amount,
    /// What it is.
    pub kind: TransactionKind,
    /// Which way the money went for `user`.
    pub direction: Direction,
    /// Where it is in its life.
    pub status: Status,
    /// The caller's name for the command; empty for a return, which nobody commanded.
    pub idempotency_key: Box<str>,
    /// The first entry's time.
    pub created_at: Timestamp,
    /// Until when the credit is, or was, held; `None` where there was no hold.
    pub release_at: Option<Timestamp>,
    /// The other user of a transfer.
    pub counterparty: Option<UserId>,
    /// What only a withdrawal has.
    pub withdrawal: Option<Payout>,
    /// The withdrawal whose money came back, of a return.
    pub returns: Option<TransactionId>,
    /// The bytes that came with the command.
    pub metadata: Option<Box<[u8]>>,
    /// The last entry that changed it: durable once this is.
    pub last_seq: Seq,
}

/// The part of a transaction that only a withdrawal has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Payout {
    /// Where in its life it is.
    pub substatus: Substatus,
    /// How many attempts were started.
    pub attempts: u32,
    /// The reference that the bank knows it by, the same for every attempt.
    pub bank_reference: BankReference,
    /// Why it failed, where it did.
    pub failure_reason: Option<Box<str>>,
    /// Where it is paid to, where the caller said.
    pub destination: Option<Box<str>>,
}

/// Which of a user's transactions, and in which order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Query {
    /// Whose.
    pub user: UserId,
    /// In one currency, or in all of them.
    pub currency: Option<Currency>,
    /// Of one kind, or of all.
    pub kind: Option<TransactionKind>,
    /// In one status, or in any.
    pub status: Option<Status>,
    /// Created at this time or later.
    pub from: Option<Timestamp>,
    /// Created before this time.
    pub to: Option<Timestamp>,
    /// Oldest first, in place of newest first.
    pub ascending: bool,
    /// Where to begin.
    pub start: PageStart,
    /// At most so many; 0 is taken as 1.
    pub limit: usize,
}

/// Where a page begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageStart {
    /// After skipping so many that match. Pages by number shift while new transactions arrive.
    Skip(u64),
    /// After this transaction, in the query's order; a walk by cursor does not shift.
    After(TransactionId),
    /// After this transaction, and after skipping so many that match: what is left of a [`PageStart::Skip`] whose scan stopped.
    SkipAfter(TransactionId, u64),
}

impl Query {
    /// The newest ten of `user`'s transactions.
    pub fn new(user: UserId) -> Query {
        Query {
            user,
            currency: None,
            kind: None,
            status: None,
            from: None,
            to: None,
            ascending: false,
            start: PageStart::Skip(0),
            limit: 10,
        }
    }
}

/// One page of a user's transactions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The transactions, in the query's order.
    pub transactions: Vec<Transaction>,
    /// How many match in all; `None` where counting them would have scanned more than 100,000.
    pub total: Option<u64>,
    /// Where the next page begins; `None` at the end. A page that is not full can have one: the scan stopped after 100,000
    /// transactions, of which the last need not be one that matches.
    pub next: Option<PageStart>,
}

/// Which withdrawals, oldest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WithdrawalQuery {
    /// In one public status, or in any.
    pub status: Option<Status>,
    /// In one substatus, or in any.
    pub substatus: Option<Substatus>,
    /// Reserved before this time.
    pub older_than: Option<Timestamp>,
    /// After this one: a walk does not shift while withdrawals come and change.
    pub after: Option<TransactionId>,
    /// At most so many; 0 is taken as 1.
    pub limit: usize,
}

impl Default for WithdrawalQuery {
    /// The first ten of all.
    fn default() -> WithdrawalQuery {
        WithdrawalQuery { status: None, substatus: None, older_than: None, after: None, limit: 10 }
    }
}

/// One page of withdrawals.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WithdrawalPage {
    /// The withdrawals, in the order of their ids, which is that of their reservations.
    pub withdrawals: Vec<Withdrawal>,
    /// Continue after this one; `None` at the end. A page that is not full can have one: the search stopped after it had
    /// looked at 10,000. It need not be one that matches.
    pub next: Option<TransactionId>,
}

/// What an operator watches of withdrawals. Counted shard by shard, so not at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WithdrawalFigures {
    /// Those whose fate is open.
    pub open: u64,
    /// How many are in each substatus, in the order of [`Substatus::ALL`].
    pub by_substatus: [u64; Substatus::ALL.len()],
    /// When the oldest one was reserved that is `unknown`.
    pub unknown_oldest_at: Option<Timestamp>,
    /// Those that wait for a person.
    pub needs_review: u64,
    /// What is reserved for the open ones, in minor units; sorted by currency.
    pub reserved: Vec<(Currency, u128)>,
    /// Discrepancies that were recorded.
    pub discrepancies: u64,
    /// Those whose payment came back.
    pub returned: u64,
    /// The balance of suspense, in minor units: below zero by what was paid after a release, above by returns that their
    /// accounts had no room for; sorted by currency.
    pub suspense: Vec<(Currency, i128)>,
}

impl WithdrawalFigures {
    /// How many are in `substatus`.
    pub fn count(&self, substatus: Substatus) -> u64 {
        self.counted(|other| other == substatus)
    }

    pub(crate) fn counted(&self, is_counted: impl Fn(Substatus) -> bool) -> u64 {
        let counts = Substatus::ALL.into_iter().zip(self.by_substatus);
        counts.filter(|(substatus, _)| is_counted(*substatus)).map(|(_, count)| count).sum()
    }
}

/// What a bank's notice came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Noticed {
    /// The withdrawal as it is now.
    pub withdrawal: Withdrawal,
    /// What the notice changed.
    pub change: NoticeChange,
}

/// What a bank's notice changed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NoticeChange {
    /// It is recorded, with what follows from it.
    Changed,
    /// Nothing: it was recorded before, or says no more than is known.
    Repeat,
    /// It contradicts how the withdrawal ended. That is recorded, and no more follows unless it is that the bank paid
    /// after a release: then the payment is posted from suspense.
    Discrepancy,
}

/// All accounts of the ledger at one moment, by currency.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Audit {
    /// Sorted by currency.
    pub currencies: Vec<CurrencyAudit>,
    /// The state after every entry up to this one.
    pub seq: Seq,
}

impl Audit {
    /// Whether every currency sums to zero and every part is what its accounts add up to.
    pub fn is_balanced(&self) -> bool {
        self.currencies.iter().all(|c| c.sum() == 0 && c.deep_mismatches == 0)
    }
}

/// All accounts of one currency.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CurrencyAudit {
    /// Which currency.
    pub currency: Currency,
    /// How many users' accounts.
    pub accounts: u64,
    /// What they own together, in minor units, as are all that follow.
    pub total: u128,
    /// Of that, held.
    pub held: u128,
    /// Of that, reserved.
    pub reserved: u128,
    /// The world outside: minus what came in, plus what went out.
    pub external: i128,
    /// Payouts that turned out paid after they were released.
    pub suspense: i128,
    /// Shards whose sums differ from what their accounts add up to; only a deep audit looks.
    pub deep_mismatches: u64,
}

impl CurrencyAudit {
    /// What may be spent, transferred or withdrawn.
    pub const fn withdrawable(&self) -> u128 {
        self.total - self.held - self.reserved
    }

    /// Users and system accounts together: zero, always.
    pub const fn sum(&self) -> i128 {
        self.total as i128 + self.external + self.suspense
    }
}

/// What an accepted atomic batch did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AtomicReceipt {
    /// The new transactions, in the order of the commands.
    pub transactions: Vec<TransactionId>,
    /// Whether the whole batch was accepted before, and these are its transactions.
    pub repeat: bool,
}

/// What an operator watches.
#[derive(Clone, PartialEq, Debug)]
pub struct Stats {
    /// The last entry that was decided.
    pub appended: Seq,
    /// The last entry that survives a power cut.
    pub durable: Seq,
    /// Frames written and synced since the ledger was opened.
    pub commits: u64,
    /// Bytes written to the log since the ledger was opened.
    pub log_bytes: u64,
    /// How long each sync took, in seconds.
    pub fsync_seconds: Histogram,
    /// How many entries each commit carried.
    pub commit_entries: Histogram,
    /// Withdrawals that have not ended.
    pub withdrawals_open: u64,
    /// Places for a first attempt that are taken.
    pub withdrawal_places_taken: u64,
    /// Parts of all accounts together, by currency; sorted.
    pub money: Vec<CurrencyAudit>,
    /// What the tables take. Looked at shard by shard, so not at one moment.
    pub memory: Memory,
    /// Checkpoints that failed since the ledger was opened, whoever asked for them; one that was given up because the ledger
    /// closed did not fail.
    pub checkpoint_failures: u64,
    /// Why the last checkpoint failed; `None` when it did not. While it stands, the log grows, and an opening takes longer.
    pub checkpoint_failure: Option<String>,
}

/// What the ledger's tables take, in bytes on the heap; the allocator's own overhead apart, and the log's buffers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// Accounts, their index, and when their holds mature.
    pub accounts: u64,
    /// One record for each user's side of each transaction, and each account's list of them.
    pub history: u64,
    /// The table of withdrawals, the texts of each apart.
    pub withdrawals: u64,
    /// Idempotency keys and their index.
    pub keys: u64,
    /// Which shard keeps a transaction, by its id.
    pub locator: u64,
    /// Of all these, what was allocated and not used yet: the rest of the newest chunk of each table. It is at most 64 KiB
    /// for each of a few hundred tables, and the operating system gives no memory for it before it is used, unless the
    /// allocator asks for huge pages, or it was ready ahead.
    pub unfilled: u64,
    /// Beside all these, what was written to before the tables need it ([`crate::Options::memory_ahead`]), of all ledgers of the
    /// process.
    pub ahead: u64,
}

impl Memory {
    /// All tables together, with what they have not used yet, and without what is ready for them.
    pub const fn total(&self) -> u64 {
        self.accounts + self.history + self.withdrawals + self.keys + self.locator
    }
}

/// Counts by upper bound, as Prometheus keeps them.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Histogram {
    /// (upper bound, observations at or below it), rising; the last bound is infinity.
    pub buckets: Vec<(f64, u64)>,
    /// The sum of all observations.
    pub sum: f64,
}
