//! How a ledger is opened. Each default says why.

use std::path::Path;
use std::time::Duration;

use crate::error::OpenError;
use crate::ledger::Ledger;
use crate::recovery::Progress;
use crate::sync::Arc;
use crate::sys::{Clock, DirectoryStorage, Storage, SystemClock};
use crate::wal::{Durability, WalOptions, WhenFull};
use crate::withdrawals::Policy;

/// How a ledger is opened.
///
/// ```
/// use ledger_core::{Durability, Ledger};
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path();
/// let ledger = Ledger::options()
///     .durability(Durability::Interval(std::time::Duration::from_millis(10)))
///     .segment_bytes(1 << 20)
///     .open(path)?;
/// # ledger.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Options {
    pub(crate) durability: Durability,
    pub(crate) when_full: WhenFull,
    pub(crate) segment_bytes: u64,
    pub(crate) commit_delay: Duration,
    pub(crate) checkpoint_bytes: Option<u64>,
    pub(crate) keeps_log: bool,
    pub(crate) shards: usize,
    pub(crate) accept_clock: bool,
    pub(crate) memory_bytes_max: Option<u64>,
    pub(crate) memory_ahead: usize,
    pub(crate) withdrawal_places: Option<usize>,
    pub(crate) policy: Policy,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) progress: Arc<dyn Fn(Progress) + Send + Sync>,
    pub(crate) threads: bool,
    /// From this size on a history file is never written again.
    pub(crate) history_bytes: u64,
    /// So many commands of a batch are executed one after another.
    pub(crate) few: usize,
    /// Whether it is what fills the directory that opens it, to finish it.
    pub(crate) finishes: bool,
    #[cfg(any(test, feature = "sim"))]
    pub(crate) planted: Option<crate::sim::PlantedBug>,
    #[cfg(any(test, feature = "sim"))]
    pub(crate) key_seed: Option<u64>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            durability: Durability::Sync,
            when_full: WhenFull::Wait,
            segment_bytes: 64 << 20,
            commit_delay: Duration::ZERO,
            checkpoint_bytes: Some(256 << 20),
            keeps_log: false,
            shards: 64,
            accept_clock: false,
            memory_bytes_max: None,
            memory_ahead: 64 << 20,
            withdrawal_places: None,
            policy: Policy::default(),
            clock: Arc::new(SystemClock),
            progress: Arc::new(|_| ()),
            threads: true,
            history_bytes: crate::checkpoint::HISTORY_BYTES,
            few: crate::ledger::FEW,
            finishes: false,
            #[cfg(any(test, feature = "sim"))]
            planted: None,
            #[cfg(any(test, feature = "sim"))]
            key_seed: None,
        }
    }
}

impl Options {
    /// When a reply may leave. Default: [`Durability::Sync`], because it is other people's money.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Options {
        self.durability = durability;
        self
    }

    /// What a command does that finds the pipe full. Default: [`WhenFull::Wait`], which is what a blocking caller wants;
    /// a server refuses instead, so that no thread of its runtime waits for a disk.
    #[must_use]
    pub fn when_full(mut self, when_full: WhenFull) -> Options {
        self.when_full = when_full;
        self
    }

    /// The size of one file of the log, 1 MiB ..= 1 GiB in steps of 4 KiB; an opening refuses others. Default 64 MiB: large enough that a change of files is rare,
    /// small enough to be zero-written ahead in tens of milliseconds.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Options {
        self.segment_bytes = bytes;
        self
    }

    /// How long the log waits for company while many callers wait. Default none: it pays only where callers and disk
    /// compete for the same cores.
    #[must_use]
    pub fn commit_delay(mut self, delay: Duration) -> Options {
        self.commit_delay = delay;
        self
    }

    /// A checkpoint is made by itself whenever the log has grown by so many bytes, looked at when a segment is full; `None`:
    /// only when it is asked for. An opening takes no longer than for about that much. Default 256 MiB: three to four million
    /// transactions, which are replayed in seconds; less would write the accounts more often. What pads a commit to 4 KiB
    /// counts a quarter, so where each commits alone it is some 250,000 transactions in 1 GiB. Without threads
    /// ([`Options::threads`]) none is made by itself.
    #[must_use]
    pub fn checkpoint_bytes(mut self, bytes: Option<u64>) -> Options {
        self.checkpoint_bytes = bytes;
        self
    }

    /// Keep the log from the first entry on: checkpoints, which make openings short, retire none of it. Then
    /// [`crate::verify_since`] proves the whole history, snapshots included, back to a head that was given before them. It costs the
    /// disk some 60 bytes a transaction for ever. Default no. Set later, it keeps what is still there; unset again, the next
    /// checkpoint retires what no snapshot needs.
    #[must_use]
    pub fn keep_log(mut self, keep: bool) -> Options {
        self.keeps_log = keep;
        self
    }

    /// Into how many locks the accounts are split, 1 ..= 128; an opening refuses others. Default 64: with 16 or more, two threads
    /// rarely meet. A ledger keeps the number that its first snapshot was made with.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Options {
        self.shards = shards;
        self
    }

    /// Accept a clock that is behind the log's last entry by more than a minute, or more than 30 days ahead of it.
    /// Default no: one opening with a wrong clock would release every hold for good.
    #[must_use]
    pub fn accept_clock(mut self, accept: bool) -> Options {
        self.accept_clock = accept;
        self
    }

    /// Refuse new transactions ([`crate::Rejection::Overloaded`]) while the process's resident memory is above this.
    /// Default none: a library does not know what else the process is for.
    #[must_use]
    pub fn memory_bytes_max(mut self, bytes: Option<u64>) -> Options {
        self.memory_bytes_max = bytes;
        self
    }

    /// Up to how many bytes of memory a thread writes to before the tables need them; 0: none, and no thread. Else whoever is first to
    /// use a page of memory waits until the operating system, or the host of a virtual machine, has it. For sixteen blocks of 16 to
    /// 64 KiB that the tables took since the opening one is kept ready, so a small ledger has none; less than 1 MiB is of no use.
    /// Default 64 MiB. The ledgers of a process share it: the largest of their limits counts, until all are closed. Not without
    /// [`Options::threads`].
    #[must_use]
    pub fn memory_ahead(mut self, bytes: usize) -> Options {
        self.memory_ahead = bytes;
        self
    }

    /// How many withdrawals may wait for, or be in, their first attempt; one more is rejected with
    /// [`crate::Rejection::QueueFull`]. Default none: a ledger without an executor keeps them until one comes.
    #[must_use]
    pub fn withdrawal_places(mut self, places: Option<usize>) -> Options {
        self.withdrawal_places = places;
        self
    }

    /// How withdrawals are repeated, inquired and given up. Default: [`Policy::default`].
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Options {
        self.policy = policy;
        self
    }

    /// Has `tell` called now and then while the ledger is opened, which takes seconds for a large one. Several threads may
    /// call at once, the later news first, and none goes on until it returns. Default: nobody is told.
    #[must_use]
    pub fn on_progress(mut self, tell: impl Fn(Progress) + Send + Sync + 'static) -> Options {
        self.progress = Arc::new(tell);
        self
    }

    /// Where time comes from. Default: the machine's clocks.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Options {
        self.clock = Arc::new(clock);
        self
    }

    /// Without threads of its own, the log is written by the callers that wait for it: deterministic, for simulations.
    /// A commit that nobody waits for is not written. Default: with threads.
    #[must_use]
    pub fn threads(mut self, threads: bool) -> Options {
        self.threads = threads;
        self
    }

    /// The log's part of the options.
    pub(crate) fn wal(&self) -> WalOptions {
        WalOptions {
            segment_bytes: self.segment_bytes,
            durability: self.durability,
            when_full: self.when_full,
            threads: self.threads,
            commit_delay: self.commit_delay,
            uuid: None,
            #[cfg(any(test, feature = "sim"))]
            planted: self.planted,
        }
    }

    /// The planted bug that takes a restored ledger for the one that it was made of.
    #[cfg_attr(not(any(test, feature = "sim")), allow(clippy::unused_self, reason = "nothing is planted then"))]
    pub(crate) fn trusts_restored(&self) -> bool {
        #[cfg(any(test, feature = "sim"))]
        return self.planted == Some(crate::sim::PlantedBug::RestoreTrusted);
        #[cfg(not(any(test, feature = "sim")))]
        false
    }

    /// Puts a fault into the ledger on purpose, to show that a test would find it.
    #[cfg(any(test, feature = "sim"))]
    #[must_use]
    pub fn planted_bug(mut self, bug: crate::sim::PlantedBug) -> Options {
        self.planted = Some(bug);
        self
    }

    /// From how many bytes on a history file is never written again with what comes after it; 0: each checkpoint leaves one.
    #[cfg(any(test, feature = "sim"))]
    #[must_use]
    pub fn history_bytes(mut self, bytes: u64) -> Options {
        self.history_bytes = bytes;
        self
    }

    /// Up to how many commands of a batch are executed one after another; 0: each batch is sorted by its locks, as large ones are.
    #[cfg(any(test, feature = "sim"))]
    #[must_use]
    pub fn few_commands(mut self, few: usize) -> Options {
        self.few = few;
        self
    }

    /// The seed of the keys' hashes in a ledger that has no snapshot yet; by default a random one. How the keys are shared out
    /// decides of how many blocks a snapshot is, and so how much of it a full disk takes.
    #[cfg(any(test, feature = "sim"))]
    #[must_use]
    pub fn key_seed(mut self, seed: u64) -> Options {
        self.key_seed = Some(seed);
        self
    }

    /// Opens the ledger in the directory `path`, creating it where there is none.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was changed.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Ledger, OpenError> {
        self.open_on(DirectoryStorage::new(path))
    }

    /// Opens the ledger that lies on `storage`, creating it where there is none.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was changed.
    pub fn open_on(self, storage: impl Storage) -> Result<Ledger, OpenError> {
        Ledger::recover(&self, Arc::new(storage))
    }

    /// [`Options::open_on`] of a mirror, with what a simulation plants there too.
    ///
    /// # Errors
    /// See [`crate::MirroredStorage::open`] and [`OpenError`].
    #[cfg(any(test, feature = "sim"))]
    pub fn open_on_mirror(
        self,
        sides: [Arc<dyn Storage>; 2],
        on_side_failure: crate::OnSideFailure,
    ) -> Result<Ledger, OpenError> {
        let [primary, mirror] = sides;
        let mirrored = crate::MirroredStorage::open_with(primary, mirror, on_side_failure, &self)?;
        self.open_on(mirrored)
    }

    /// A ledger without a log, for tests and caches: everything is gone when it is dropped.
    ///
    /// # Errors
    /// [`OpenError::InvalidOption`].
    pub fn in_memory(self) -> Result<Ledger, OpenError> {
        Ledger::without_log(&self)
    }
}
