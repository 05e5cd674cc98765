//! What can be said on the command line: which job to do, and its options.

use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};
use ledger_core::Head;

use super::settings::Settings;
use crate::bank::BankArguments;

/// A durable in-memory ledger over HTTP.
#[derive(Parser, Debug)]
#[command(name = "ledger-server", version, args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
#[command(
    after_help = "Each option has a variable and a key in the TOML file: --data-dir is LEDGER_DATA_DIR is data_dir. \
                        A flag wins over a variable, a variable over the file, the file over the default. \
                        Exit codes: 0, it ended as it was told to; 1, data is damaged, the disk refused something or the ledger had \
                        halted; 2, it was told what cannot be, or may not have a directory or an address."
)]
pub struct CommandLine {
    /// What to do; without it, serve.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The options of serving.
    #[command(flatten)]
    pub settings: Settings,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Serve the ledger over HTTP (the default)
    Serve(Box<Settings>),
    /// Read everything in a data directory, check everything, change nothing; exit 0: sound; 1: not, even where that cannot be
    /// written; 2: it could not be read, or it is sound and that cannot be written
    Verify {
        /// The data directory
        directory: PathBuf,
        /// A head that GET /head gave earlier: show that history was only appended to since
        #[arg(long, value_name = "HEAD@SEQ")]
        expect_head: Option<Head>,
    },
    /// Play a bank over HTTP, with every fault on demand, to try the ledger with
    Bank(Box<BankArguments>),
    /// Copy a data directory, which may be in use, into a new one, and check the copy
    Backup {
        /// The new directory; or `-`: as a tar to standard output, copied to TMPDIR and checked there before
        directory: PathBuf,
        /// The data directory
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
    },
    /// Make a data directory that is what a backup's ledger was at an entry or time; its withdrawals wait for `release`
    Restore {
        /// The backup, or a data directory; or `-`: a tar from standard input, unpacked in TMPDIR
        directory: PathBuf,
        /// The new data directory
        #[arg(long, value_name = "DIR")]
        into: PathBuf,
        /// The last entry [default: the last there is]
        #[arg(long, value_name = "SEQ", conflicts_with = "to_time")]
        to_seq: Option<u64>,
        /// When the last entry may have been made, such as 2026-01-15T12:00:00Z
        #[arg(long, value_name = "TIME")]
        to_time: Option<String>,
    },
    /// Let the withdrawals of a restored data directory be performed, from its server's next start on
    Release {
        /// The data directory
        directory: PathBuf,
    },
    /// Take what can be proved out of a damaged data directory and write it into a new one
    Salvage {
        /// The damaged data directory; it is only read
        directory: PathBuf,
        /// The new data directory: empty, or missing
        #[arg(long, value_name = "DIR")]
        into: PathBuf,
        /// Say that entries may be lost, also such as were acknowledged
        #[arg(long, required = true)]
        i_accept_losing_entries: bool,
    },
    /// Print a data directory's entries as JSON lines
    Inspect {
        /// The data directory
        directory: PathBuf,
    },
}

/// Parses the process's arguments; with a fault it prints what is wrong and exits with 2.
pub fn command_line() -> CommandLine {
    CommandLine::parse()
}

/// The command that clap makes of it, for tests and for help.
pub fn clap_command() -> clap::Command {
    CommandLine::command()
}
