//! Log lines, to standard error: standard output is for the banner and for what subcommands print.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging: `info` and above, or what `RUST_LOG` says. A second call changes nothing. A line that cannot be written, on a
/// full disk or to a reader who is gone, is lost, and nothing else is. The error says what was asked for that this build
/// cannot do.
pub fn start() -> Result<(), &'static str> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    #[cfg(feature = "console")]
    if std::env::var_os("TOKIO_CONSOLE_BIND").is_some() {
        return start_with_console(filter);
    }
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would tell on standard error that standard error cannot be written, and panic where that fails, too.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
    Ok(())
}

/// The same, and what `tokio-console` connects to: a thread of its own that listens where `TOKIO_CONSOLE_BIND` says.
#[cfg(feature = "console")]
fn start_with_console(filter: EnvFilter) -> Result<(), &'static str> {
    use tracing_subscriber::layer::{Layer, SubscriberExt};
    use tracing_subscriber::util::SubscriberInitExt;

    if !cfg!(tokio_unstable) {
        return Err("TOKIO_CONSOLE_BIND is set, but tokio tells nothing of its tasks in this build; \
                    build with RUSTFLAGS=\"--cfg tokio_unstable\"");
    }
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_filter(filter);
    let console = console_subscriber::ConsoleLayer::builder().with_default_env().spawn();
    let _ = tracing_subscriber::registry().with(console).with(lines).try_init();
    Ok(())
}
