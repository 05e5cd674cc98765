//! The facade: open, ask, close.

mod atomic;
mod batch;
mod checkpoints;
mod engine;
mod fingerprint;
mod grouped;
mod keeper;
mod keys;
mod lists;
mod patience;
mod payouts;
#[cfg(any(test, feature = "sim"))]
mod planted;
mod reads;
mod replay;
mod tables;
mod time;
mod transfers;

use std::path::Path;
use std::time::Duration;

use uuid::Uuid;

pub(crate) use self::batch::FEW;
pub use self::checkpoints::Checkpoints;
pub(crate) use self::engine::{Engine, SHARDS_MAX};
use self::keeper::Keeper;
pub(crate) use self::keys::Keys;
pub(crate) use self::replay::{LockedShard, Logged, check_alone, new_key};
pub(crate) use self::tables::{Origin, Tables};
pub(crate) use self::time::LedgerTime;
use crate::backup::Backup;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::command::{CancelWithdrawal, Charge, Command, Notice, ResolveWithdrawal, Transfer, Withdraw};
use crate::commit::Commit;
use crate::error::{Error, Halted, OpenError, Rejection};
use crate::options::Options;
use crate::recovery::{self, Recovered};
use crate::sync::{Arc, Ordering};
use crate::sys::Storage;
use crate::types::{Currency, Epoch, Head, IdempotencyKey, Seq, Timestamp, TransactionId, UserId};
use crate::view::{
    AtomicReceipt, Audit, Balance, Noticed, Page, Query, Receipt, Stats, Transaction, WithdrawalFigures,
    WithdrawalPage, WithdrawalQuery,
};
use crate::withdrawals::{Attempt, BankReference, Due, Inquiry, Submission, Substatus, Withdrawal};

/// An open ledger. Clones are handles to the same one; it is closed by [`Ledger::close`], or when the last is dropped.
///
/// A command returns as soon as it is decided, with a [`Commit`] that is waited for, polled or awaited until the decision
/// is durable. What is refused at once comes as an error; what is refused because of an entry that is itself not durable
/// yet comes out of the commit.
///
/// ```
/// use ledger_core::{Amount, Charge, Currency, IdempotencyKey, Ledger, UserId};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path();
/// let ledger = Ledger::open(path)?;
/// let (alice, ten) = (UserId::new(1).unwrap(), Amount::new(1_000).unwrap());
/// let key = IdempotencyKey::new("charge-1").unwrap();
/// let receipt = ledger.charge(Charge::new(alice, ten, key))?.wait()?;
/// assert_eq!(receipt.balance.withdrawable, 1_000);
/// assert_eq!(ledger.balance(alice, Currency::USD)?.wait()?.total(), 1_000);
/// ledger.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Ledger {
    /// Before the engine: with the last handle its thread ends first, and then the directory is free.
    keeper: Option<Arc<Keeper>>,
    engine: Arc<Engine>,
}

impl Ledger {
    /// Opens the ledger in the directory `path` with the default options, creating it where there is none.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: impl AsRef<Path>) -> Result<Ledger, OpenError> {
        Options::default().open(path)
    }

    /// The options to open a ledger with; see [`Options`].
    pub fn options() -> Options {
        Options::default()
    }

    pub(crate) fn recover(options: &Options, storage: Arc<dyn Storage>) -> Result<Ledger, OpenError> {
        let engine = Arc::new(recovery::open(options, storage)?);
        let log_bytes = options.checkpoint_bytes.filter(|_| options.threads);
        let keeper = log_bytes.map(|log_bytes| Keeper::start(&engine, log_bytes)).transpose();
        let keeper =
            keeper.map_err(|source| OpenError::Io { context: "starting the checkpoints' thread".into(), source })?;
        Ok(Ledger { keeper: keeper.map(Arc::new), engine })
    }

    pub(crate) fn without_log(options: &Options) -> Result<Ledger, OpenError> {
        Ok(Ledger { keeper: None, engine: Arc::new(recovery::in_memory(options)?) })
    }

    /// Credits an account from the world outside. When the commit is through, the charge is durable.
    ///
    /// # Errors
    /// [`Rejection`]: nothing was recorded and the key is as it was. [`Halted`].
    pub fn charge(&self, charge: Charge<'_>) -> Result<Commit<Receipt>, Error> {
        self.engine.submit(&Command::Charge(charge))
    }

    /// Moves money from one user to another. When the commit is through, the transfer is durable.
    ///
    /// # Errors
    /// [`Rejection`]: nothing was recorded and the key is as it was. [`Halted`].
    pub fn transfer(&self, transfer: Transfer<'_>) -> Result<Commit<Receipt>, Error> {
        self.engine.submit(&Command::Transfer(transfer))
    }

    /// Reserves money for a payout. When the commit is through, the reservation is durable; an executor does the rest.
    ///
    /// # Errors
    /// [`Rejection`]: nothing was recorded and the key is as it was. [`Halted`].
    pub fn withdraw(&self, withdraw: Withdraw<'_>) -> Result<Commit<Receipt>, Error> {
        self.engine.submit(&Command::Withdraw(withdraw))
    }

    /// Any of the three.
    ///
    /// # Errors
    /// As theirs.
    pub fn submit(&self, command: Command<'_>) -> Result<Commit<Receipt>, Error> {
        self.engine.submit(&command)
    }

    /// Many independent commands with one wait: each is accepted or rejected for itself, and sees those before it on its
    /// accounts. The answers are in the order of the commands; of those that share no account the ids need not be. A key that
    /// comes twice makes the second a repeat.
    ///
    /// # Errors
    /// [`Halted`]; if its outcome is unknown, some of the commands may be in the log: repeat the batch.
    pub fn batch(&self, commands: &[Command<'_>]) -> Result<Commit<Vec<Result<Receipt, Rejection>>>, Error> {
        self.engine.batch(commands)
    }

    /// Many commands, all or none, in one frame of the log and with adjacent ids; each sees those before it. A batch whose
    /// commands all repeat one earlier atomic batch is answered with that batch's transactions.
    ///
    /// # Errors
    /// [`Rejection::BatchRejected`] names the first command that is to blame; nothing was recorded. [`Halted`].
    pub fn batch_atomic(&self, commands: &[Command<'_>]) -> Result<Commit<AtomicReceipt>, Error> {
        self.engine.batch_atomic(commands)
    }

    /// An account now; zeros if it was never used.
    ///
    /// # Errors
    /// [`Halted`].
    pub fn balance(&self, user: UserId, currency: Currency) -> Result<Commit<Balance>, Error> {
        self.engine.balance(user, currency)
    }

    /// Several accounts now, in the order in which they are named, with one wait: faster than one by one, since what each
    /// waits for in memory is waited for together. Each is as it stands at some moment of the call; they need not be of one
    /// moment, for which see [`Ledger::audit`]. An account may be named twice, and one that was never used has zeros.
    ///
    /// # Errors
    /// [`Halted`].
    ///
    /// ```
    /// use ledger_core::{Amount, Charge, Currency, IdempotencyKey, Ledger, UserId};
    ///
    /// let ledger = Ledger::options().in_memory()?;
    /// let (ann, bob) = (UserId::new(1).unwrap(), UserId::new(2).unwrap());
    /// let charge = Charge::new(ann, Amount::new(500).unwrap(), IdempotencyKey::new("charge-1").unwrap());
    /// ledger.charge(charge)?.wait()?;
    /// let balances = ledger.balances(&[(ann, Currency::USD), (bob, Currency::USD)])?.wait()?;
    /// assert_eq!(balances.iter().map(|balance| balance.total()).collect::<Vec<_>>(), [500, 0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn balances(&self, accounts: &[(UserId, Currency)]) -> Result<Commit<Vec<Balance>>, Error> {
        self.engine.balances(accounts)
    }

    /// An account at any time, past or future: money as recorded by then (now and in the future: as recorded so far), holds
    /// as matured by then. Entries of exactly that time are included. What is answered for a moment before [`Ledger::now`]
    /// stays true: no later entry is of that time or an earlier one.
    ///
    /// # Errors
    /// [`Halted`].
    pub fn balance_at(&self, user: UserId, currency: Currency, at: Timestamp) -> Result<Commit<Balance>, Error> {
        self.engine.balance_at(user, currency, at)
    }

    /// One page of a user's transactions. `query.limit` is taken as at least 1.
    ///
    /// # Errors
    /// [`Halted`].
    pub fn transactions(&self, query: &Query) -> Result<Commit<Page>, Error> {
        self.engine.transactions(query)
    }

    /// A transaction as it stands now, as `viewer` sees it: by default the source user (of a charge, the one charged);
    /// `None` if there is none, or `viewer` has no part in it.
    ///
    /// # Errors
    /// [`Halted`].
    pub fn transaction(&self, id: TransactionId, viewer: Option<UserId>) -> Result<Commit<Option<Transaction>>, Error> {
        self.engine.transaction(id, viewer)
    }

    /// The transaction that an idempotency key names, as it stands now and as the source user sees it; `None` if it names none.
    ///
    /// # Errors
    /// [`Halted`].
    pub fn transaction_by_key(&self, key: IdempotencyKey<'_>) -> Result<Commit<Option<Transaction>>, Error> {
        self.engine.transaction_by_key(key)
    }

    /// Sums every account by currency, system accounts included, at one moment, while writers run.
    ///
    /// # Errors
    /// [`Halted`].
    pub fn audit(&self) -> Result<Commit<Audit>, Error> {
        self.engine.audit()
    }

    /// As [`Ledger::audit`], and recomputes each shard's sums from its accounts, one shard at a time.
    ///
    /// # Errors
    /// [`Halted`].
    pub fn audit_deep(&self) -> Result<Commit<Audit>, Error> {
        self.engine.audit_deep()
    }

    /// A withdrawal with its attempts; `None` if there is none of that id.
    ///
    /// # Errors
    /// [`Halted`].
    pub fn withdrawal(&self, id: TransactionId) -> Result<Commit<Option<Withdrawal>>, Error> {
        self.engine.withdrawal(id)
    }

    /// The withdrawal that the bank knows by `reference`; `None` if it is not one of this ledger.
    ///
    /// # Errors
    /// [`Halted`].
    pub fn withdrawal_by_reference(&self, reference: &BankReference) -> Result<Commit<Option<Withdrawal>>, Error> {
        self.engine.withdrawal_by_reference(*reference)
    }

    /// One page of withdrawals, oldest first. `query.limit` is taken as at least 1.
    ///
    /// # Errors
    /// [`Halted`].
    pub fn withdrawals(&self, query: &WithdrawalQuery) -> Result<Commit<WithdrawalPage>, Error> {
        self.engine.withdrawals(query)
    }

    /// What an operator watches of withdrawals. The figures are kept as withdrawals change: asking costs no walk.
    pub fn withdrawal_figures(&self) -> WithdrawalFigures {
        self.engine.withdrawal_figures()
    }

    /// Gives a withdrawal up before its first attempt: its money is the user's to spend again. When the commit is through,
    /// that is durable.
    ///
    /// # Errors
    /// [`Rejection::NotCancellable`] from the first attempt on; the key's own ([`Rejection::DuplicateRequest`],
    /// [`Rejection::IdempotencyKeyReused`]); [`Rejection::TransactionNotFound`]; [`Rejection::StorageFull`]; [`Halted`].
    pub fn cancel_withdrawal(&self, cancel: CancelWithdrawal<'_>) -> Result<Commit<Withdrawal>, Error> {
        self.engine.cancel_withdrawal(&cancel)
    }

    /// Decides a withdrawal on an operator's word, which is kept with his name. When the commit is through, that is
    /// durable.
    ///
    /// # Errors
    /// [`Rejection::NeverAttempted`]: cancel it. [`Rejection::AttemptUnderWay`]: wait, unless the bank paid.
    /// [`Rejection::AlreadyResolved`]: it has ended; if otherwise, that is recorded as a discrepancy. The key's own;
    /// [`Rejection::TransactionNotFound`]; [`Rejection::StorageFull`]; [`Halted`].
    pub fn resolve_withdrawal(&self, resolve: ResolveWithdrawal<'_>) -> Result<Commit<Withdrawal>, Error> {
        self.engine.resolve_withdrawal(&resolve)
    }

    /// Records what a bank tells by itself, and what follows from it. Neither a full account nor the memory limit keeps it
    /// from being recorded: what the bank did is done.
    ///
    /// # Errors
    /// [`Rejection::TransactionNotFound`] if the reference is not one of this ledger; [`Rejection::StorageFull`];
    /// [`Halted`].
    pub fn notify_withdrawal(&self, notice: Notice<'_>) -> Result<Commit<Noticed>, Error> {
        self.engine.notify_withdrawal(&notice)
    }

    /// Counts an open withdrawal as attempted, because the log may lack what was done since it was written, as after a
    /// restore from a copy: the bank is asked before anything is sent.
    ///
    /// # Errors
    /// [`Rejection::WithdrawalConflict`] if it has ended or is in review; [`Rejection::TransactionNotFound`];
    /// [`Rejection::StorageFull`]; [`Halted`].
    pub fn doubt_withdrawal(&self, id: TransactionId) -> Result<Commit<Substatus>, Error> {
        self.engine.doubt_withdrawal(id)
    }

    /// Says of every open withdrawal that it may have been attempted: of a log that may lack what was done since.
    pub(crate) fn doubt_all_withdrawals(&self) -> Result<(), Error> {
        self.engine.doubt_all_withdrawals()
    }

    /// Takes up to `max` open withdrawals whose time has come, earliest first: `fresh` ones (no attempt yet and accepted
    /// by this process, so each holds a place) or the others (retries, inquiries, and work found in the log). Each is
    /// handed out once until its next change; hand it back with [`Ledger::defer_withdrawal`] if it cannot be done now.
    pub fn due_withdrawals(&self, fresh: bool, max: usize) -> Vec<Due> {
        self.engine.due_withdrawals(fresh, max)
    }

    /// Hands a withdrawal back that was taken out: it is due again at `until`.
    pub fn defer_withdrawal(&self, id: TransactionId, until: Timestamp) {
        self.engine.defer_withdrawal(id, until);
    }

    /// How long until the next withdrawal is due; `None`: none is.
    pub fn next_due_in(&self) -> Option<Duration> {
        self.engine.next_due_in()
    }

    /// Has `notify` called, by whichever thread and so to be quick, whenever a withdrawal may have become due earlier
    /// than [`Ledger::next_due_in`] said. Replaces any earlier one.
    pub fn on_withdrawal_due(&self, notify: impl Fn() + Send + Sync + 'static) {
        self.engine.on_withdrawal_due(notify);
    }

    /// Records that an attempt is started. Once the commit is through, in every durability mode, the entry is synced;
    /// only then may a byte leave for the bank.
    ///
    /// # Errors
    /// [`Rejection::WithdrawalConflict`] if no attempt is due; [`Rejection::TransactionNotFound`]; [`Rejection::StorageFull`];
    /// [`Rejection::Overloaded`] where a full pipe is refused ([`crate::WhenFull`]); [`Rejection::ShuttingDown`] once closed;
    /// [`Halted`].
    pub fn start_attempt(&self, id: TransactionId) -> Result<Commit<Attempt>, Error> {
        self.engine.start_attempt(id)
    }

    /// Records how an attempt ended, and what follows from it.
    ///
    /// # Errors
    /// [`Rejection::WithdrawalConflict`] if it changes nothing, or contradicts how the withdrawal ended, which is recorded; else as
    /// [`Ledger::start_attempt`].
    pub fn end_attempt(
        &self,
        id: TransactionId,
        attempt: u32,
        outcome: &Submission,
    ) -> Result<Commit<Substatus>, Error> {
        self.engine.end_attempt(id, attempt, outcome)
    }

    /// Records what the bank says of a withdrawal when it is asked, and what follows from it.
    ///
    /// # Errors
    /// [`Rejection::WithdrawalConflict`] if it changes nothing, or contradicts how the withdrawal ended, which is recorded; else as
    /// [`Ledger::start_attempt`].
    pub fn record_inquiry(&self, id: TransactionId, outcome: &Inquiry) -> Result<Commit<Substatus>, Error> {
        self.engine.record_inquiry(id, outcome)
    }

    /// Hands a withdrawal whose fate the bank did not tell in time to a person.
    ///
    /// # Errors
    /// [`Rejection::WithdrawalConflict`] if its deadline has not passed; else as [`Ledger::start_attempt`].
    pub fn pass_deadline(&self, id: TransactionId) -> Result<Commit<Substatus>, Error> {
        self.engine.pass_deadline(id)
    }

    /// Of a ledger without threads: takes one step of what the log's threads would do. `interval_is_over`: it is time for
    /// the sync of [`crate::Durability::Interval`]. `false`: there is nothing to do.
    #[cfg(any(test, feature = "sim"))]
    pub fn step_log(&self, interval_is_over: bool) -> bool {
        self.engine.wal.step_by_hand(interval_is_over)
    }

    /// Writes a snapshot of the state, while writers go on, and removes what it makes superfluous: older snapshots but one,
    /// and the log before that one. Once it returns, an opening need not replay what is before. Waits for a checkpoint that is
    /// under way, and for the log.
    ///
    /// # Errors
    /// [`CheckpointError`]. The ledger goes on as before unless it has halted.
    pub fn checkpoint(&self) -> Result<Checkpoint, CheckpointError> {
        self.engine.checkpoint(&|| false)
    }

    /// As [`Ledger::checkpoint`]; `beside` is called again and again while it is made, without a lock, and may do anything with
    /// the ledger but another checkpoint or a backup. `true` gives the checkpoint up.
    ///
    /// # Errors
    /// As [`Ledger::checkpoint`]; [`CheckpointError::Closing`] where it was given up.
    #[cfg(any(test, feature = "sim"))]
    pub fn checkpoint_beside(&self, beside: &dyn Fn() -> bool) -> Result<Checkpoint, CheckpointError> {
        self.engine.checkpoint(beside)
    }

    /// Copies the ledger into the empty directory `to`, while writers go on. What was durable before is in it; no checkpoint is
    /// made meanwhile.
    ///
    /// # Errors
    /// See [`crate::backup()`]; [`OpenError::InvalidOption`] for a ledger without a log.
    pub fn backup(&self, to: &dyn Storage) -> Result<Backup, OpenError> {
        match &self.engine.checkpointer {
            Some(checkpointer) => checkpointer.while_pinned(|storage| crate::backup::backup(storage, to)),
            None => Err(OpenError::InvalidOption { reason: "a ledger without a log has nothing to copy".into() }),
        }
    }

    /// [`Ledger::backup`], with `beside` called between two pieces that are copied: whoever it is may do anything with the ledger but
    /// make a checkpoint or another backup by it.
    ///
    /// # Errors
    /// As [`Ledger::backup`].
    #[cfg(any(test, feature = "sim"))]
    pub fn backup_beside(&self, to: &dyn Storage, beside: &crate::Beside<'_>) -> Result<Backup, OpenError> {
        match &self.engine.checkpointer {
            Some(checkpointer) => {
                checkpointer.while_pinned(|storage| crate::backup::backup_beside(storage, to, beside))
            }
            None => Err(OpenError::InvalidOption { reason: "a ledger without a log has nothing to copy".into() }),
        }
    }

    /// What became of the checkpoints since the ledger was opened, whoever asked for them.
    pub fn checkpoints(&self) -> Checkpoints {
        self.engine.checkpoints()
    }

    /// What was found when the ledger was opened.
    pub fn recovered(&self) -> &Recovered {
        &self.engine.recovered
    }

    /// The last entry, and a digest of all that follows from the entries up to it: equal states have equal digests, whether they were
    /// replayed, loaded from a snapshot or lived through, as long as they are dealt into as many shards. Writers wait while
    /// it lists the withdrawals, with all shards locked; the rest it reads a little at a time, as a checkpoint does.
    pub fn state_digest(&self) -> (Seq, u128) {
        self.engine.digest()
    }

    /// What an operator watches.
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// How many withdrawals have not ended.
    pub fn withdrawals_open(&self) -> u64 {
        // Relaxed: a gauge.
        self.engine.withdrawals_open.load(Ordering::Relaxed)
    }

    /// How many places for a first attempt are taken.
    pub fn withdrawal_places_taken(&self) -> usize {
        self.engine.places.taken()
    }

    /// Whether the ledger has halted, and why.
    pub fn halted(&self) -> Option<Halted> {
        self.engine.wal.halted()
    }

    /// Why fewer copies are kept than were asked for, if so: a mirrored ledger that goes on with one side.
    pub fn degraded(&self) -> Option<String> {
        self.engine.wal.degraded()
    }

    /// Whether the log, when it last tried, had no room for its next file: no space on the disk, or no descriptor. It tries again when
    /// a command needs the room.
    pub fn is_out_of_room(&self) -> bool {
        self.engine.wal.is_out_of_room()
    }

    /// The last entry that survives a power cut.
    pub fn durable(&self) -> Seq {
        self.engine.wal.durable()
    }

    /// The last entry on which an answer may rest that leaves now: as [`Ledger::durable`], or, where only the operating system must
    /// have what is acknowledged ([`crate::Durability`]), ahead of it.
    pub fn acknowledged(&self) -> Seq {
        self.engine.wal.acknowledged()
    }

    /// Leaves as soon as answers that rest on `seq` may: for who keeps many of them ([`Commit::seq`]), and waits for all at once. Of
    /// a seq that no entry has yet, as soon as those on the last entry that was decided.
    ///
    /// ```
    /// use ledger_core::{Amount, Charge, IdempotencyKey, Ledger, UserId};
    ///
    /// let ledger = Ledger::options().in_memory()?;
    /// let charge = |key| {
    ///     Charge::new(UserId::new(1).unwrap(), Amount::new(5).unwrap(), IdempotencyKey::new(key).unwrap())
    /// };
    /// let commits = [ledger.charge(charge("one"))?, ledger.charge(charge("two"))?];
    /// let last = commits.iter().map(|commit| commit.seq()).max().unwrap();
    /// ledger.reached(last).wait()?;
    /// for commit in commits {
    ///     assert!(commit.try_wait().is_ok()); // None of them is waited for.
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reached(&self, seq: Seq) -> Commit<()> {
        self.engine.commit(Ok(()), seq.min(self.appended()))
    }

    /// The last entry that was decided.
    pub fn appended(&self) -> Seq {
        self.engine.wal.appended()
    }

    /// The history in one hash: of all entries up to a durable one, at most a commit behind [`Ledger::durable`]. Kept where
    /// this machine cannot reach it, it shows later that nothing before it was changed ([`crate::verify_since`]). `None`
    /// for a ledger in memory.
    pub fn head(&self) -> Option<Head> {
        self.engine.wal.head()
    }

    /// The ledger's identity, for ever the same.
    pub fn uuid(&self) -> Uuid {
        self.engine.wal.uuid()
    }

    /// Which opening of the ledger this is.
    pub fn epoch(&self) -> Epoch {
        self.engine.wal.epoch()
    }

    /// The ledger's time.
    pub fn now(&self) -> Timestamp {
        self.engine.now()
    }

    /// How far the wall clock has stepped ahead and is not believed; `None`: all is well.
    pub fn clock_leap(&self) -> Option<Duration> {
        self.engine.time.leap()
    }

    /// Believes the wall clock as it is now, although it stepped ahead: holds that have matured by it are released for
    /// good.
    pub fn accept_clock(&self) {
        self.engine.time.accept();
    }

    /// Refuses new commands ([`Rejection::ShuttingDown`]), syncs all that was appended and marks the log as closed.
    /// Once it returns, all is durable.
    ///
    /// # Errors
    /// [`Halted`].
    pub fn close(&self) -> Result<(), Error> {
        self.engine.refuse_commands();
        if let Some(keeper) = &self.keeper {
            keeper.stop();
        }
        Ok(self.engine.close()?)
    }
}
