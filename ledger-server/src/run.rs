//! From a configuration to a served ledger, and back to a closed one.

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use ledger_core::withdrawals::Policy;
use ledger_core::{
    DirectoryStorage, Durability, Epoch, Ledger, MirroredStorage, OnSideFailure, OpenError, Storage, WhenFull,
};
use tokio::net::TcpListener;

use crate::app::{App, AppOptions, app};
use crate::config::{BankConfig, Config, Duplicates, DurabilityMode, SimulatedBankConfig};
use crate::files::connections_max;
use crate::payouts::{NoPayouts, Payouts};
use crate::progress;
use crate::serve::{ServeOptions, serve};
use crate::watch::Watch;
use crate::withdrawals::{
    ChosenBank, Executor, ExecutorOptions, Gateway, HttpBank, Latency, SimulatedBank, SimulatedBankOptions,
};

/// Why the server did not start.
#[derive(Debug)]
pub enum StartError {
    /// The ledger was not opened.
    Open(OpenError),
    /// The address cannot be listened on.
    Listen(io::Error),
}

impl StartError {
    /// The process's exit code: 2 where the operator can mend it by what the server is told, by permissions or by stopping another
    /// one, 1 where the data is damaged or the disk refuses something.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::Listen(_) => 2,
            StartError::Open(fault) => exit_code(fault),
        }
    }
}

/// The exit code of a command that came to nothing over a directory: see [`StartError::exit_code`].
pub fn exit_code(fault: &OpenError) -> u8 {
    match fault {
        OpenError::InUse { .. } | OpenError::InvalidOption { .. } | OpenError::Clock { .. } => 2,
        // A directory that cannot be made or entered is a wrong option; any other fault is the disk's.
        OpenError::Io { source, .. } => match source.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::ReadOnlyFilesystem => 2,
            _ => 1,
        },
        _ => 1,
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Open(fault) => fault.fmt(f),
            StartError::Listen(fault) => {
                write!(f, "the address cannot be listened on: {fault}; choose another --listen")
            }
        }
    }
}

impl std::error::Error for StartError {}

impl From<OpenError> for StartError {
    fn from(fault: OpenError) -> StartError {
        StartError::Open(fault)
    }
}

/// How a server ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// Everything was answered and the log is closed.
    Cleanly,
    /// The ledger had halted, or its log could not be closed.
    Halted,
}

/// Opens the ledger that `config` names.
///
/// # Errors
/// See [`OpenError`].
pub fn open(config: &Config) -> Result<Ledger, OpenError> {
    let options = Ledger::options()
        // A full pipe is an answer, not a wait: a thread of the runtime serves many.
        .when_full(WhenFull::Refuse)
        .segment_bytes(config.segment_bytes)
        .checkpoint_bytes(Some(config.checkpoint_bytes))
        .keep_log(config.keeps_log)
        .commit_delay(config.commit_delay)
        .accept_clock(config.accept_clock)
        .on_progress(progress::teller())
        .memory_bytes_max(config.memory_bytes_max)
        .memory_ahead(config.memory_ahead)
        .withdrawal_places(Some(config.workers.saturating_add(config.queue)))
        .policy(Policy { idempotency_window: bank(config).idempotency_window(), ..config.policy.clone() });
    let options = match config.durability {
        DurabilityMode::Sync => options.durability(Durability::Sync),
        DurabilityMode::Interval(span) => options.durability(Durability::Interval(span.0)),
        DurabilityMode::Memory => return options.in_memory(),
    };
    if config.must_exist {
        check_is_there(config)?;
    }
    let ledger = match &config.mirror_dir {
        None => options.open(&config.data_dir),
        Some(mirror) => {
            let on_side_failure = if config.mirror_go_on { OnSideFailure::GoOn } else { OnSideFailure::Halt };
            let [primary, mirror] = [&config.data_dir, mirror].map(|path| Arc::new(DirectoryStorage::new(path)));
            let pair = MirroredStorage::open(primary, mirror, on_side_failure)?;
            pair.mended().iter().for_each(|told| tracing::warn!("mirror: {told}"));
            options.open_on(pair)
        }
    }?;
    tell_what_was_found(&ledger, config);
    Ok(ledger)
}

/// Refuses a directory without a ledger, which an opening would make: a disk that is not mounted looks like that.
fn check_is_there(config: &Config) -> Result<(), OpenError> {
    for directory in std::iter::once(&config.data_dir).chain(&config.mirror_dir) {
        if !ledger_core::is_there(directory)? {
            let reason = format!(
                "there is no ledger in {}, and must-exist is given: is its disk mounted, and the name right? Without --must-exist a \
                 start makes one there, or fills it from the other side of a mirror",
                directory.display()
            );
            return Err(OpenError::InvalidOption { reason });
        }
    }
    Ok(())
}

/// The directories of the log, for messages.
fn place(config: &Config) -> String {
    match &config.mirror_dir {
        _ if config.durability == DurabilityMode::Memory => "memory".to_owned(),
        None => config.data_dir.display().to_string(),
        Some(mirror) => format!("{} or {}", config.data_dir.display(), mirror.display()),
    }
}

/// As [`open`], on a thread of its own; `None` if `stop` is ready before that is done. Then the process ought to end: the opening
/// goes on as long as it does, and nothing waits for it. To the directory that is a crash while it was opened, of which
/// it takes no harm.
///
/// # Errors
/// See [`OpenError`].
pub async fn open_unless(config: Arc<Config>, stop: impl Future<Output = ()>) -> Result<Option<Ledger>, OpenError> {
    if config.durability != DurabilityMode::Memory {
        tracing::info!("opening the ledger in {}", config.data_dir.display());
    }
    let opening = tokio::task::spawn_blocking(move || open(&config));
    tokio::select! {
        biased;
        () = stop => {
            tracing::info!("stopped while the ledger was being opened: nothing was served, and what was recorded is as it was");
            Ok(None)
        }
        opened = opening => match opened {
            Ok(opened) => opened.map(Some),
            Err(fault) => std::panic::resume_unwind(fault.into_panic()),
        },
    }
}

/// What an operator should know of the directory that was opened.
fn tell_what_was_found(ledger: &Ledger, config: &Config) {
    let found = ledger.recovered();
    tracing::info!(
        snapshot = found.snapshot.get(),
        replayed = found.replayed,
        closed = found.was_closed,
        "opened ledger {} at seq {}",
        ledger.uuid(),
        ledger.appended()
    );
    if ledger.epoch() == Epoch::new(1) {
        tracing::warn!(
            "a new ledger was made in {}: there was none. If there should be one, stop this server and look for it (is its disk \
             mounted?); --must-exist refuses such a start",
            config.data_dir.display()
        );
    }
    for snapshot in &found.passed_over {
        tracing::warn!("a snapshot was passed over, and more of the log was read: {snapshot}");
    }
    if let Some(reason) = &found.unbacked {
        tracing::warn!(
            "nothing could take the place of the snapshot at seq {}: {reason}; make a checkpoint once something new is recorded",
            found.snapshot
        );
    }
    if let Some((file, bytes)) = &found.torn {
        tracing::warn!("{bytes} bytes that were never acknowledged stood behind the log; they are kept in {file}");
    }
}

/// Who performs withdrawals: nobody, as long as the ledger is a restored one and no operator has let them go.
fn payouts(ledger: &Ledger, config: &Config) -> Result<Arc<dyn Payouts>, OpenError> {
    let storage = DirectoryStorage::new(&config.data_dir);
    if config.durability != DurabilityMode::Memory && ledger_core::is_executor_stopped(&storage)? {
        tracing::warn!(
            "this ledger was restored: no withdrawal is performed until they were compared with the bank's book, and \
             `ledger-server release {}` was run",
            config.data_dir.display()
        );
        return Ok(Arc::new(NoPayouts));
    }
    let executor = ExecutorOptions { workers: config.workers, bank_timeout: config.bank_timeout };
    Ok(Arc::new(Executor::start(ledger.clone(), Arc::new(bank(config)), executor)))
}

/// Serves `ledger` on `listener` until `stop` is ready: then no new requests, those in flight answered, bank calls under
/// way awaited, the log closed.
///
/// # Errors
/// The listener has no address, or the data directory cannot be read.
pub async fn run(
    listener: TcpListener,
    ledger: Ledger,
    config: &Config,
    stop: impl Future<Output = ()>,
) -> Result<Ended, StartError> {
    let payouts = payouts(&ledger, config)?;
    let options = AppOptions {
        replay_duplicates: config.duplicates == Duplicates::Replay,
        large_bodies_bytes_max: large_bodies_bytes_max(config.memory_bytes_max),
        workers: config.workers,
        queue: config.queue,
        payouts: Arc::clone(&payouts),
        notice_secrets: config.notice_secrets.clone(),
        allowed_origins: config.allowed_origins.clone(),
        signer: config.signer.clone(),
        ..AppOptions::new(config.terms.clone())
    };
    let state = App::new(ledger.clone(), options);
    // Nobody who waits for the line is there any more; whoever sends requests may be.
    if let Err(fault) = announce(listener.local_addr().map_err(StartError::Listen)?, config) {
        tracing::warn!(%fault, "standard output cannot be written; the server serves all the same");
    }
    let until_stop = {
        let state = state.clone();
        async move {
            stop.await;
            tracing::info!("stopping: no new requests, those in flight are answered");
            state.stop();
        }
    };
    let usual = ServeOptions::default();
    let options = ServeOptions {
        connections_max: connections_max(usual.connections_max),
        wakes_together: config.commit_delay.is_zero(),
        ..usual
    };
    // Begun with the stop, beside the connections: no attempt starts while they end.
    let draining = async { payouts.shutdown(config.shutdown_timeout).await };
    let mut watch = Watch::new(ledger.clone(), place(config));
    tokio::select! {
        () = serve(listener, app(state), options, until_stop, draining, config.shutdown_timeout) => {}
        () = watch.run() => {}
    }
    Ok(close(ledger, watch).await)
}

/// A part of what the process may have, and in any case room for some of the largest.
fn large_bodies_bytes_max(memory_bytes_max: Option<u64>) -> usize {
    let part = memory_bytes_max.map_or(256 << 20, |bytes| bytes / 8);
    usize::try_from(part).unwrap_or(usize::MAX).max(32 << 20)
}

/// The bank that the configuration names.
fn bank(config: &Config) -> ChosenBank {
    match &config.bank {
        BankConfig::Simulated(bank) => ChosenBank::Simulated(simulated_bank(bank)),
        BankConfig::Http(options) => ChosenBank::Http(HttpBank::new(options.clone())),
    }
}

fn simulated_bank(bank: &SimulatedBankConfig) -> SimulatedBank {
    SimulatedBank::new(SimulatedBankOptions {
        // A seed makes a run repeatable; without one, no two runs are alike.
        seed: bank.seed.unwrap_or_else(|| RandomState::new().hash_one(std::process::id())),
        success_rate: bank.success_rate,
        rejected_rate: bank.rejected_rate,
        accepted_rate: bank.accepted_rate,
        ambiguous_paid_rate: bank.ambiguous_paid_rate,
        ambiguous_unpaid_rate: bank.ambiguous_unpaid_rate,
        latency: Latency::between(bank.latency.from, bank.latency.to)
            .expect("a range that was checked when it was read"),
        ..SimulatedBankOptions::default()
    })
    .expect("rates that were checked when they were read")
}

/// The banner, for people, and the line that programs wait for.
fn announce(address: SocketAddr, config: &Config) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let data = match config.durability {
        DurabilityMode::Memory => "in memory only".to_owned(),
        _ => config.data_dir.display().to_string(),
    };
    let currencies: Vec<_> = config.terms.currencies.iter().map(|currency| currency.as_str()).collect();
    writeln!(out, "ledger-server {}", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "  data        {data}")?;
    writeln!(out, "  durability  {}", config.durability)?;
    writeln!(out, "  currencies  {} (default {})", currencies.join(", "), config.terms.currency)?;
    let bank = match &config.bank {
        BankConfig::Simulated(_) => "simulated".to_owned(),
        BankConfig::Http(options) => options.address.to_string(),
    };
    writeln!(out, "  bank        {bank}, {} workers, a queue of {}", config.workers, config.queue)?;
    if let Some(bytes) = config.memory_bytes_max {
        writeln!(out, "  memory      at most {} MiB", bytes >> 20)?;
    }
    writeln!(out, "listening on http://{address}")?;
    out.flush()
}

async fn close(ledger: Ledger, mut watch: Watch) -> Ended {
    let halted_before = ledger.halted();
    // After that, so that no halt is neither told here nor below.
    watch.look();
    drop(watch);
    let closed = tokio::task::spawn_blocking({
        let ledger = ledger.clone();
        move || ledger.close()
    });
    match (halted_before, closed.await) {
        (None, Ok(Ok(()))) => Ended::Cleanly,
        (Some(_), _) => {
            tracing::info!("the ledger had halted, so the exit code is 1");
            Ended::Halted
        }
        (None, Ok(Err(fault))) => {
            tracing::error!(%fault, "the ledger could not be closed");
            Ended::Halted
        }
        (None, Err(fault)) => {
            tracing::error!(%fault, "the ledger panicked while it was closed");
            Ended::Halted
        }
    }
}
