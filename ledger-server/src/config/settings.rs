//! The options of serving, each named once, and the three sources that may say them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, FromArgMatches};
use serde::Deserialize;

use super::units::{Currencies, CurrencyCode, Duplicates, DurabilityMode, MemoryMax, Origins, Size, Span, SpanRange};

/// The options of serving, as far as one source of them says.
#[derive(Args, Deserialize, Clone, Default, PartialEq, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where to listen; port 0 picks one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Where the ledger lies; made if it is missing [default: ./ledger-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Refuse to start where there is no ledger (nor a copy of it, in the second directory), in place of making one
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub must_exist: Option<bool>,
    /// A second directory, best on another disk, that everything is written to as well
    #[arg(long, value_name = "DIR")]
    pub mirror_dir: Option<PathBuf>,
    /// Go on with one directory when the other fails, in place of halting
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub mirror_go_on: Option<bool>,
    /// When a reply may leave: sync, interval:10ms or memory [default: sync]
    #[arg(long, value_name = "MODE")]
    pub durability: Option<DurabilityMode>,
    /// How long the log waits for company while 32 or more requests wait for it, at most 10ms; it pays only where requests and
    /// the disk compete for the same cores [default: 0ms]
    #[arg(long, value_name = "DURATION")]
    pub commit_delay: Option<Span>,
    /// The currency of a request that names none [default: USD]
    #[arg(long, value_name = "CODE")]
    pub currency: Option<CurrencyCode>,
    /// The currencies that requests may name [default: the default currency]
    #[arg(long, value_name = "CODE,…")]
    pub currencies: Option<Currencies>,
    /// Threads that serve requests [default: the number of cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Withdrawals that are performed at once [default: 50]
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// Withdrawals that may wait [default: 100]
    #[arg(long, value_name = "N")]
    pub queue: Option<usize>,
    /// Which bank pays: simulated, http://HOST:PORT or https://HOST/PATH [default: simulated]
    #[arg(long, value_name = "BANK")]
    // Read where it is resolved: a message of the parser of arguments or of TOML would repeat it, and a password in it.
    pub bank: Option<String>,
    /// How often the simulated bank pays at once [default: 0.7]
    #[arg(long, value_name = "RATE")]
    pub bank_success_rate: Option<f64>,
    /// How often it refuses for good [default: 0]
    #[arg(long, value_name = "RATE")]
    pub bank_rejected_rate: Option<f64>,
    /// How often it takes a payout and tells later [default: 0]
    #[arg(long, value_name = "RATE")]
    pub bank_accepted_rate: Option<f64>,
    /// How often it pays and does not answer [default: 0]
    #[arg(long, value_name = "RATE")]
    pub bank_ambiguous_paid_rate: Option<f64>,
    /// How often it neither pays nor answers [default: 0]
    #[arg(long, value_name = "RATE")]
    pub bank_ambiguous_unpaid_rate: Option<f64>,
    /// How long it takes: 1s, or a range such as 1s..10s [default: 1s]
    #[arg(long, value_name = "DURATION")]
    pub bank_latency: Option<SpanRange>,
    /// What its dice start from [default: random]
    #[arg(long, value_name = "N")]
    pub bank_seed: Option<u64>,
    /// How long an answer of the bank is awaited [default: 30s]
    #[arg(long, value_name = "DURATION")]
    pub bank_timeout: Option<Span>,
    /// How many attempts a withdrawal has, at most 512 [default: 4]
    #[arg(long, value_name = "N")]
    pub bank_attempts: Option<u32>,
    /// How long after an attempt that was not sent the second one comes; doubled for each one more [default: 1s]
    #[arg(long, value_name = "DURATION")]
    pub bank_backoff: Option<Span>,
    /// The longest wait between attempts, and between inquiries [default: 60s]
    #[arg(long, value_name = "DURATION")]
    pub bank_backoff_max: Option<Span>,
    /// How long after an attempt whose outcome is unknown the bank is first asked [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub bank_settle_delay: Option<Span>,
    /// How long after an inquiry the next one comes; doubled each time [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub bank_inquiry_interval: Option<Span>,
    /// How long after its first attempt a withdrawal of unknown outcome goes to a person [default: 24h]
    #[arg(long, value_name = "DURATION")]
    pub bank_deadline: Option<Span>,
    /// For how long the bank over HTTP recognises a repeat and pays once [default: it does not]
    #[arg(long, value_name = "DURATION")]
    pub bank_idempotency_window: Option<Span>,
    /// A file with the token that the bank over HTTP knows this ledger by
    #[arg(long, value_name = "FILE")]
    pub bank_token_file: Option<PathBuf>,
    /// A PEM file with the only certificates that vouch for the bank [default: the public ones]
    #[arg(long, value_name = "FILE")]
    pub bank_ca_file: Option<PathBuf>,
    /// What a bank signs its notices with: a file with one secret, or two while it is changed, each on a line of its own;
    /// without it, no notices are taken
    #[arg(long, value_name = "FILE")]
    pub bank_webhook_secret_file: Option<PathBuf>,
    /// How a repeat is answered: conflict or replay [default: conflict]
    #[arg(long, value_name = "HOW")]
    pub duplicates: Option<Duplicates>,
    /// The size of one file of the log, 1MiB to 1GiB; an atomic batch may take a quarter of it, at most 8MiB [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    pub segment_size: Option<Size>,
    /// By how much the log grows until a snapshot is written, so that a start takes no longer than for that much; what fills
    /// commits up to 4 KiB counts a quarter [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    pub checkpoint_size: Option<Size>,
    /// Keep the log from the first entry on, so that verify --expect-head proves all of it; else snapshots replace it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub keep_log: Option<bool>,
    /// Above how much resident memory new transactions are refused: a share or a size. The bodies of large batches have at most
    /// an eighth of it together, or 32MiB [default: 80%]
    #[arg(long, value_name = "LIMIT")]
    pub memory_max: Option<MemoryMax>,
    /// Up to how much memory is written to before the tables need it: one block for sixteen that they took since the start, less than
    /// 1MiB is of no use; 0B: none [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    pub memory_ahead: Option<Size>,
    /// An Ed25519 key (PEM) that signs the heads of GET /head
    #[arg(long, value_name = "FILE")]
    pub signing_key_file: Option<PathBuf>,
    /// The names that browsers know this server by, behind a proxy: a command from any other page is refused. (Pages of other servers
    /// cannot be let in: CORS is not answered)
    #[arg(long, value_name = "ORIGIN,…")]
    pub allowed_origins: Option<Origins>,
    /// Open a log whose last entry is far from the machine's clock
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub accept_clock: Option<bool>,
    /// Listen on an address that others can reach, without keys and TLS
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub insecure_listen: Option<bool>,
    /// How long a stop may take; more than --bank-timeout [default: 35s]
    #[arg(long, value_name = "DURATION")]
    pub shutdown_timeout: Option<Span>,
    /// A TOML file with these options
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
}

/// What the names of the ledger's variables begin with.
const PREFIX: &str = "LEDGER_";

fn variable_of(option: &str) -> String {
    format!("{PREFIX}{}", option.to_uppercase().replace('-', "_"))
}

/// Reads variables by their names.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl Settings {
    /// The options that variables set: `LEDGER_DATA_DIR` is `--data-dir`. An empty variable is one that is not set.
    ///
    /// # Errors
    /// A message that names the variable.
    pub fn from_variables(variable: Variables<'_>) -> Result<Settings, String> {
        let command = Settings::options();
        let mut arguments = Vec::new();
        for option in command.get_arguments().filter_map(|option| option.get_long()) {
            let name = variable_of(option);
            let Some(value) = variable(&name).filter(|value| !value.is_empty()) else { continue };
            let mut argument = OsString::from(format!("--{option}="));
            argument.push(&value);
            // Read alone first, so that the message can name the variable and not a flag that nobody wrote.
            command.clone().try_get_matches_from([&argument]).map_err(|fault| {
                let reason = std::error::Error::source(&fault).map_or_else(|| fault.to_string(), ToString::to_string);
                format!("the variable {name} is {value:?}: {reason}")
            })?;
            arguments.push(argument);
        }
        let matches = command.try_get_matches_from(arguments).map_err(|fault| fault.to_string())?;
        Settings::from_arg_matches(&matches).map_err(|fault| fault.to_string())
    }

    /// What to tell of the process's variables that look like the ledger's and set no option, as one that is misspelt does not.
    pub fn unknown_variables(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<String> {
        let command = Settings::options();
        let known: Vec<_> = command.get_arguments().filter_map(|option| option.get_long()).map(variable_of).collect();
        let set = variables.into_iter().filter(|(_, value)| !value.is_empty());
        let named = set.map(|(name, _)| name.to_string_lossy().into_owned());
        // Kubernetes sets these for every process beside a service that is called ledger.
        let is_foreign = |name: &str| name.starts_with("LEDGER_PORT") || name.starts_with("LEDGER_SERVICE_");
        let unknown = named.filter(|name| name.starts_with(PREFIX) && !known.contains(name) && !is_foreign(name));
        let told = unknown.filter_map(|name| {
            let nearest = known.iter().min_by_key(|known| strsim::osa_distance(known, &name))?;
            Some(format!("the variable {name} sets no option, and is ignored; the nearest that does is {nearest}"))
        });
        told.collect()
    }

    fn options() -> clap::Command {
        Settings::augment_args(clap::Command::new("variables").no_binary_name(true))
    }

    /// The options that a file sets.
    ///
    /// # Errors
    /// A message that names the file and the line.
    pub fn from_file(path: &Path) -> Result<Settings, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|fault| format!("the configuration file {} cannot be read: {fault}", path.display()))?;
        toml::from_str(&text).map_err(|fault| format!("the configuration file {}: {fault}", path.display()))
    }

    /// What this source says, and for the rest what `other` says.
    #[must_use]
    pub fn or(self, other: Settings) -> Settings {
        macro_rules! first_of {
            ($($option:ident),* $(,)?) => { Settings { $($option: self.$option.or(other.$option)),* } };
        }
        first_of!(
            listen,
            data_dir,
            must_exist,
            mirror_dir,
            mirror_go_on,
            durability,
            commit_delay,
            currency,
            currencies,
            threads,
            workers,
            queue,
            bank,
            bank_success_rate,
            bank_rejected_rate,
            bank_accepted_rate,
            bank_ambiguous_paid_rate,
            bank_ambiguous_unpaid_rate,
            bank_latency,
            bank_seed,
            bank_timeout,
            bank_attempts,
            bank_backoff,
            bank_backoff_max,
            bank_settle_delay,
            bank_inquiry_interval,
            bank_deadline,
            bank_idempotency_window,
            bank_token_file,
            bank_ca_file,
            bank_webhook_secret_file,
            duplicates,
            segment_size,
            checkpoint_size,
            keep_log,
            memory_max,
            memory_ahead,
            signing_key_file,
            allowed_origins,
            accept_clock,
            insecure_listen,
            shutdown_timeout,
            config,
        )
    }
}
