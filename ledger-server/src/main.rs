//! Arguments, allocator, signals.
#![forbid(unsafe_code)]

use std::env::temp_dir;
use std::io::{self, Write};
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use ledger_core::OpenError;
use ledger_server::bank::{self, BankArguments, BankError};
use ledger_server::config::{Command, CommandLine, Config, Settings, command_line};
use ledger_server::remedy::{self, Job};
use ledger_server::salvage::{self, SalvageError};
use ledger_server::serve::listen;
use ledger_server::verify::{self, VerifyError};
use ledger_server::{Ended, StartError, copies, exit_code, files, inspect, open_unless, run, telemetry};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Err(fault) = telemetry::start() {
        return fail(2, &fault);
    }
    files::raise_limit();
    let CommandLine { command, settings } = command_line();
    match command {
        None => serve(settings),
        Some(Command::Serve(settings)) => serve(*settings),
        Some(Command::Verify { directory, expect_head }) => {
            match verify::verify(&directory, expect_head, &mut io::stdout()) {
                Ok(true) => ExitCode::SUCCESS,
                Ok(false) => ExitCode::from(1),
                Err(VerifyError::Ledger(fault)) => fail(2, &remedy::of_job(&fault, Job::Verify(&directory))),
                Err(fault) => fail(fault.exit_code(), &fault),
            }
        }
        Some(Command::Bank(arguments)) => play_bank(*arguments),
        Some(Command::Backup { directory, from }) if is_stream(&directory) => told(
            copies::backup_to_stream(&from, &mut io::stdout().lock(), &mut io::stderr()),
            Job::Backup(&from, &temp_dir()),
        ),
        Some(Command::Backup { directory, from }) => {
            told(copies::backup(&from, &directory, &mut io::stdout()), Job::Backup(&from, &directory))
        }
        Some(Command::Restore { directory, into, to_seq, to_time }) => {
            match copies::until(to_seq, to_time.as_deref()) {
                Ok(until) if is_stream(&directory) => {
                    let done = copies::restore_from_stream(&mut io::stdin().lock(), &into, until, &mut io::stdout());
                    told(done, Job::Restore(&temp_dir(), &into))
                }
                Ok(until) => {
                    let done = copies::restore(&directory, &into, until, &mut io::stdout());
                    told(done, Job::Restore(&directory, &into))
                }
                Err(fault) => fail(2, &fault),
            }
        }
        Some(Command::Release { directory }) => {
            told(copies::release(&directory, &mut io::stdout(), &mut io::stderr()), Job::Release(&directory))
        }
        Some(Command::Salvage { directory, into, .. }) => {
            match salvage::salvage(&directory, &into, &mut io::stdout()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(SalvageError::Ledger(fault)) => told(Err(fault), Job::Salvage(&directory, &into)),
                Err(fault) => fail(fault.exit_code(), &fault),
            }
        }
        Some(Command::Inspect { directory }) => {
            told(inspect::inspect(&directory, &mut io::stdout()), Job::Inspect(&directory))
        }
    }
}

/// Whether standard input or output is meant.
fn is_stream(directory: &Path) -> bool {
    directory == Path::new("-")
}

/// The exit code of a command that has said all when it went well.
fn told(done: Result<(), OpenError>, job: Job<'_>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fail(exit_code(&fault), &remedy::of_job(&fault, job)),
    }
}

fn serve(flags: Settings) -> ExitCode {
    for unknown in Settings::unknown_variables(std::env::vars_os()) {
        tracing::warn!("{unknown}");
    }
    let config = match Config::load(flags, &|name| std::env::var_os(name)) {
        Ok(config) => Arc::new(config),
        Err(fault) => return fail(2, &fault),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(config.threads).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(fault) => return fail(2, &fault),
    };
    let ended = runtime.block_on(start(&config));
    // What did not end in time is cut off here, and not waited for.
    runtime.shutdown_background();
    match ended {
        Ok(Ended::Cleanly) => ExitCode::SUCCESS,
        Ok(Ended::Halted) => ExitCode::from(1),
        Err(StartError::Open(fault)) => fail(exit_code(&fault), &remedy::of_start(&fault, &config)),
        Err(fault) => fail(fault.exit_code(), &fault),
    }
}

async fn start(config: &Arc<Config>) -> Result<Ended, StartError> {
    // The address first: a wrong one is known at once, and opening a long log takes its time.
    let listener = listen(config.listen).map_err(StartError::Listen)?;
    let (mut terminate, mut interrupt) = signals().map_err(StartError::Listen)?;
    let mut stop = pin!(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    });
    let Some(ledger) = open_unless(Arc::clone(config), &mut stop).await? else { return Ok(Ended::Cleanly) };
    run(listener, ledger, config, stop).await
}

fn play_bank(arguments: BankArguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(fault) => return fail(2, &fault),
    };
    let ended = runtime.block_on(async {
        let (mut terminate, mut interrupt) = signals().map_err(BankError::Listen)?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        bank::run(arguments, stop).await
    });
    // Answers that are never sent are cut off here.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fail(2, &fault),
    }
}

fn signals() -> io::Result<(tokio::signal::unix::Signal, tokio::signal::unix::Signal)> {
    Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
}

fn fail(code: u8, fault: &dyn std::fmt::Display) -> ExitCode {
    // Where nobody can be told, the exit code still tells.
    let _ = writeln!(io::stderr(), "ledger-server: {fault}");
    ExitCode::from(code)
}
