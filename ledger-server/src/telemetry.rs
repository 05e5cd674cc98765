//! Log lines, to standard error: standard output is for the banner and for what subcommands print.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging: `info` and above, or what `RUST_LOG` says. A second call changes nothing. A line that cannot be written, on a
/// full disk or to a reader who is gone, is lost, and nothing else is.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would tell on standard error that standard error cannot be written, and panic where that fails, too.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}
