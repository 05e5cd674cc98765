//! Log lines, to standard error: standard output is for the banner and for what subcommands print.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging: `info` and above, or what `RUST_LOG` says. A second call changes nothing.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}
