//! What the server is told: by flags, variables and a file, each option in all three.
//!
//! One struct, [`Settings`], names every option once. The command line fills one, the variables fill one (each is read as
//! if it were the flag), the file fills one; the first that has an option wins, in that order, and [`Config::resolve`]
//! adds the defaults and refuses what cannot be.

mod bank;
mod command_line;
mod settings;
mod units;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ledger_core::withdrawals::Policy;

pub use bank::{BankConfig, SimulatedBankConfig};
pub use command_line::{Command, CommandLine, clap_command, command_line};
pub use settings::{Settings, Variables};
pub use units::{
    Bank, Currencies, CurrencyCode, Duplicates, DurabilityMode, MemoryMax, Origins, Size, Span, SpanRange,
};

use crate::memory;
use crate::origin::Origin;
use crate::signing::HeadSigner;
use crate::wire::operation::Terms;
use crate::withdrawals::NoticeSecret;

/// Everything is said: what the server does.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the ledger lies.
    pub data_dir: PathBuf,
    /// Whether a start where there is none is refused.
    pub must_exist: bool,
    /// Where a second copy of it lies.
    pub mirror_dir: Option<PathBuf>,
    /// Whether one copy is enough once the other has failed.
    pub mirror_go_on: bool,
    /// When a reply may leave.
    pub durability: DurabilityMode,
    /// How long the log waits for company while many requests wait for it.
    pub commit_delay: Duration,
    /// What requests must agree with.
    pub terms: Terms,
    /// Threads that serve requests.
    pub threads: usize,
    /// Withdrawals that are performed at once.
    pub workers: usize,
    /// Withdrawals that may wait.
    pub queue: usize,
    /// Which bank pays.
    pub bank: BankConfig,
    /// How long an answer of the bank is awaited.
    pub bank_timeout: Duration,
    /// How patient the ledger is with the bank. The bank's window is not part of it: the gateway says that.
    pub policy: Policy,
    /// What a bank signs its notices with; none: no notices are taken.
    pub notice_secrets: Vec<NoticeSecret>,
    /// How a repeat is answered.
    pub duplicates: Duplicates,
    /// The size of one file of the log.
    pub segment_bytes: u64,
    /// By how much the log grows until a snapshot is written, with a quarter of what pads commits.
    pub checkpoint_bytes: u64,
    /// Whether snapshots replace none of the log.
    pub keeps_log: bool,
    /// Above how much resident memory new transactions are refused; `None` where the machine does not tell what it has.
    pub memory_bytes_max: Option<u64>,
    /// Up to how much memory is written to before the tables need it.
    pub memory_ahead: usize,
    /// Who signs heads.
    pub signer: Option<HeadSigner>,
    /// Which pages of other servers may have something done.
    pub allowed_origins: Vec<Origin>,
    /// Whether a clock far from the log's last entry is accepted.
    pub accept_clock: bool,
    /// How long a stop may take.
    pub shutdown_timeout: Duration,
}

impl Config {
    /// From flags, variables, and the file that one of them names.
    ///
    /// # Errors
    /// A message for the operator: which option, why, and what to do.
    pub fn load(flags: Settings, variable: Variables<'_>) -> Result<Config, String> {
        let settings = flags.or(Settings::from_variables(variable)?);
        let file = settings.config.as_deref().map(Settings::from_file).transpose()?;
        Config::resolve(settings.or(file.unwrap_or_default()))
    }

    /// Adds the defaults, and refuses what cannot be.
    ///
    /// # Errors
    /// A message for the operator: which option, why, and what to do.
    pub fn resolve(settings: Settings) -> Result<Config, String> {
        let listen = listen(settings.listen.as_deref().unwrap_or("127.0.0.1:8080"))?;
        if !listen.ip().is_loopback() && !settings.insecure_listen.unwrap_or(false) {
            return Err(format!(
                "listen is {listen}, which others can reach without keys or TLS; listen on 127.0.0.1, or say --insecure-listen"
            ));
        }
        let data_dir = settings.data_dir.clone().unwrap_or_else(|| "ledger-data".into());
        let mirror_dir = mirror(&data_dir, settings.mirror_dir.as_deref())?;
        refuse_what_has_no_effect(&settings)?;
        let bank_timeout = bank::timeout(&settings)?;
        let shutdown_timeout = span(settings.shutdown_timeout, 35);
        if shutdown_timeout <= bank_timeout {
            return Err(format!(
                "shutdown-timeout is {} and bank-timeout is {}; a stop must wait for the bank's answers, so make it longer",
                Span(shutdown_timeout),
                Span(bank_timeout)
            ));
        }
        let workers = at_least("workers", settings.workers.unwrap_or(50), 1)?;
        let bank = BankConfig::resolve(&settings, bank_timeout, workers)?;
        Ok(Config {
            listen,
            data_dir,
            must_exist: settings.must_exist.unwrap_or(false),
            mirror_dir,
            mirror_go_on: settings.mirror_go_on.unwrap_or(false),
            durability: settings.durability.unwrap_or(DurabilityMode::Sync),
            commit_delay: commit_delay(settings.commit_delay)?,
            terms: terms(&settings, matches!(bank, BankConfig::Http(_)))?,
            threads: at_least("threads", settings.threads.unwrap_or_else(cores), 1)?,
            workers,
            queue: settings.queue.unwrap_or(100),
            bank,
            bank_timeout,
            policy: bank::policy(&settings)?,
            notice_secrets: notice_secrets(settings.bank_webhook_secret_file.as_deref())?,
            duplicates: settings.duplicates.unwrap_or(Duplicates::Conflict),
            segment_bytes: segment_bytes(settings.segment_size)?,
            keeps_log: settings.keep_log.unwrap_or(false),
            checkpoint_bytes: settings.checkpoint_size.map_or(256 << 20, |size| size.0),
            memory_bytes_max: memory_bytes_max(settings.memory_max.unwrap_or(MemoryMax::Percent(80)))?,
            memory_ahead: settings.memory_ahead.map_or(64 << 20, |size| size.0.try_into().unwrap_or(usize::MAX)),
            signer: settings.signing_key_file.as_deref().map(HeadSigner::from_file).transpose()?,
            allowed_origins: settings.allowed_origins.map_or_else(Vec::new, |origins| origins.0),
            accept_clock: settings.accept_clock.unwrap_or(false),
            shutdown_timeout,
        })
    }
}

fn commit_delay(delay: Option<Span>) -> Result<Duration, String> {
    let delay = delay.map_or(Duration::ZERO, |delay| delay.0);
    if delay <= Duration::from_millis(10) {
        return Ok(delay);
    }
    Err(format!("commit-delay is {}, which every busy request would take; choose at most 10ms", Span(delay)))
}

fn segment_bytes(size: Option<Size>) -> Result<u64, String> {
    let size = size.unwrap_or(Size(64 << 20));
    if (1 << 20..=1 << 30).contains(&size.0) && size.0.is_multiple_of(4096) {
        return Ok(size.0);
    }
    Err(format!("segment-size is {size}: --segment-size {size} cannot be; choose 1MiB to 1GiB, in steps of 4KiB"))
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    let addresses = text.to_socket_addrs().map_err(|fault| {
        format!("listen is {text:?}, which is no address ({fault}); write HOST:PORT such as 127.0.0.1:8080")
    })?;
    addresses.into_iter().next().ok_or_else(|| format!("listen is {text:?}, which names no address"))
}

/// The simulated bank pays to nowhere; a real one must be told where.
fn terms(settings: &Settings, destination_required: bool) -> Result<Terms, String> {
    let currency = settings.currency.map_or(ledger_core::Currency::USD, |code| code.0);
    let currencies = settings.currencies.clone().map_or_else(|| vec![currency], |currencies| currencies.0);
    if let Some(twice) = currencies.iter().enumerate().find(|(at, code)| currencies[..*at].contains(code)) {
        return Err(format!("currencies names {} twice; name each once", twice.1));
    }
    if !currencies.contains(&currency) {
        return Err(format!(
            "currencies lacks the default currency {currency}; add it, or set --currency to one of them"
        ));
    }
    Ok(Terms { currency, currencies, destination_required })
}

fn notice_secrets(file: Option<&Path>) -> Result<Vec<NoticeSecret>, String> {
    let read = file.map(NoticeSecret::from_file).transpose();
    read.map(Option::unwrap_or_default).map_err(|fault| format!("bank-webhook-secret-file: {fault}"))
}

fn memory_bytes_max(limit: MemoryMax) -> Result<Option<u64>, String> {
    Ok(match limit {
        MemoryMax::Size(Size(0)) => {
            return Err(
                "memory-max is 0B, which would refuse every transaction; name a size, or a share such as 80%".into()
            );
        }
        MemoryMax::Size(size) => Some(size.0),
        MemoryMax::Percent(percent) => memory::bytes_available().map(|bytes| bytes / 100 * u64::from(percent)),
    })
}

/// A mirror in the same directory would keep nothing.
fn mirror(data_dir: &Path, mirror: Option<&Path>) -> Result<Option<PathBuf>, String> {
    match mirror {
        Some(mirror) if std::path::absolute(mirror).ok() == std::path::absolute(data_dir).ok() => Err(format!(
            "mirror-dir is {}, which is the data directory; name another, on another disk",
            mirror.display()
        )),
        mirror => Ok(mirror.map(Path::to_path_buf)),
    }
}

/// What would be promised and not kept. An option of a log that there is none of promises nothing (`data-dir`, `segment-size` and the
/// like under `--durability memory`), so that a trial takes one word more.
fn refuse_what_has_no_effect(settings: &Settings) -> Result<(), String> {
    if settings.durability == Some(DurabilityMode::Memory) {
        let of_a_log = [
            ("must-exist", settings.must_exist == Some(true), "there is no ledger"),
            ("mirror-dir", settings.mirror_dir.is_some(), "nothing would be written to it"),
            ("signing-key-file", settings.signing_key_file.is_some(), "there is no head to sign"),
        ];
        if let Some((name, _, why)) = of_a_log.into_iter().find(|(_, is_given, _)| *is_given) {
            return Err(format!(
                "{name} is given and durability is memory, so {why}; leave it out, or keep a log with --durability sync"
            ));
        }
    }
    if settings.mirror_go_on == Some(true) && settings.mirror_dir.is_none() {
        return Err(
            "mirror-go-on is given, and there is no second directory to go on with; name one with --mirror-dir, or \
                    leave it out"
                .to_owned(),
        );
    }
    Ok(())
}

fn span(given: Option<Span>, default_seconds: u64) -> Duration {
    given.map_or(Duration::from_secs(default_seconds), |span| span.0)
}

fn at_least<T: PartialOrd + std::fmt::Debug>(name: &str, value: T, least: T) -> Result<T, String> {
    if value < least { Err(format!("{name} is {value:?}; it must be at least {least:?}")) } else { Ok(value) }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::Parser;

    use super::*;

    fn flags(arguments: &[&str]) -> Result<Settings, clap::Error> {
        let arguments = ["ledger-server"].iter().chain(arguments);
        let line = CommandLine::try_parse_from(arguments)?;
        Ok(match line.command {
            Some(Command::Serve(settings)) => *settings,
            _ => line.settings,
        })
    }

    fn load(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Config, String> {
        let variable =
            |name: &str| variables.iter().find(|(have, _)| *have == name).map(|(_, value)| OsString::from(value));
        Config::load(flags(arguments).unwrap(), &variable)
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn the_command_line_is_well_formed() {
        clap_command().debug_assert();
        assert!(matches!(flags(&["verify"]).unwrap_err().exit_code(), 2));
        assert!(matches!(flags(&["--nonsense"]).unwrap_err().exit_code(), 2));
        assert!(matches!(flags(&["serve", "--queue", "x"]).unwrap_err().exit_code(), 2));
        assert!(matches!(flags(&["--help"]).unwrap_err().exit_code(), 0));
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let config = load(&[], &[]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.data_dir, PathBuf::from("ledger-data"));
        assert_eq!(config.durability, DurabilityMode::Sync);
        assert_eq!((config.workers, config.queue, config.policy.attempts_max), (50, 100, 4));
        assert_eq!(config.terms.currency.as_str(), "USD");
        assert_eq!(config.terms.currencies.len(), 1);
        assert_eq!(config.segment_bytes, 64 << 20);
        assert_eq!(config.duplicates, Duplicates::Conflict);
        let BankConfig::Simulated(bank) = &config.bank else { panic!("{:?}", config.bank) };
        assert_eq!((bank.success_rate, bank.latency.to_string()), (0.7, "1s".to_owned()));
        assert_eq!(config.policy, Policy::default());
        assert!(config.memory_bytes_max.is_some());
    }

    #[test]
    fn a_flag_wins_over_a_variable_over_the_file_over_the_default() {
        let file = file("queue = 1\nworkers = 1\nthreads = 1\naccept_clock = true\n");
        let path = file.path().to_str().unwrap();
        let variables =
            [("LEDGER_QUEUE", "2"), ("LEDGER_WORKERS", "2"), ("LEDGER_CONFIG", path), ("LEDGER_ACCEPT_CLOCK", "false")];
        for arguments in [["--queue", "3"].as_slice(), &["serve", "--queue=3"]] {
            let config = load(arguments, &variables).unwrap();
            assert_eq!((config.queue, config.workers, config.threads, config.policy.attempts_max), (3, 2, 1, 4));
            assert!(!config.accept_clock);
        }
        let config = load(&["--config", path, "--accept-clock"], &[]).unwrap();
        assert_eq!((config.queue, config.accept_clock), (1, true));
        assert_eq!(load(&[], &[("LEDGER_QUEUE", "")]).unwrap().queue, 100);
    }

    #[test]
    fn every_option_can_stand_in_a_file_and_in_a_variable() {
        let secret = file("a secret of the bank's\n");
        let key = crate::signing::tests::key();
        let text = format!(
            r#"
            listen = "0.0.0.0:1"
            data_dir = "d"
            must_exist = true
            mirror_dir = "m"
            mirror_go_on = true
            durability = "interval:10ms"
            commit_delay = "50us"
            currency = "EUR"
            currencies = ["USD", "EUR"]
            threads = 1
            workers = 2
            queue = 3
            bank = "simulated"
            bank_success_rate = 0.5
            bank_rejected_rate = 0.1
            bank_accepted_rate = 0.1
            bank_ambiguous_paid_rate = 0.1
            bank_ambiguous_unpaid_rate = 0.1
            bank_latency = "1s..10s"
            bank_seed = 7
            bank_timeout = "1s"
            bank_attempts = 9
            bank_backoff = "1ms"
            bank_backoff_max = "2ms"
            bank_settle_delay = "3ms"
            bank_inquiry_interval = "4ms"
            bank_deadline = "5ms"
            bank_idempotency_window = "24h"
            bank_token_file = "t"
            bank_ca_file = "c"
            bank_webhook_secret_file = {secret:?}
            duplicates = "replay"
            segment_size = "1MiB"
            checkpoint_size = "2MiB"
            keep_log = true
            memory_max = "1GiB"
            memory_ahead = "1MiB"
            signing_key_file = {key:?}
            allowed_origins = ["https://a.example", "http://b:1"]
            accept_clock = true
            insecure_listen = true
            shutdown_timeout = "2s"
            "#,
            secret = secret.path(),
            key = key.path(),
        );
        let file = file(&text);
        let from_file = Settings::from_file(file.path()).unwrap();
        let missing: Vec<_> =
            format!("{from_file:?}").split(", ").filter(|part| part.ends_with(": None")).map(str::to_owned).collect();
        assert!(missing.is_empty(), "{missing:?}");
        let variable = |name: &str| {
            let key = name.strip_prefix("LEDGER_")?.to_lowercase();
            let line = text.lines().map(str::trim).find(|line| line.split(' ').next() == Some(key.as_str()))?;
            Some(OsString::from(line.split_once(" = ")?.1.replace(['"', '[', ']'], "")))
        };
        assert_eq!(Settings::from_variables(&variable).unwrap(), from_file);
        // Less what is for a bank over HTTP alone.
        let config = Config::resolve(Settings {
            bank_idempotency_window: None,
            bank_token_file: None,
            bank_ca_file: None,
            ..from_file
        });
        let config = config.unwrap();
        assert_eq!((config.memory_bytes_max, config.memory_ahead), (Some(1 << 30), 1 << 20));
        assert_eq!((config.notice_secrets.len(), config.allowed_origins.len()), (1, 2));
        let BankConfig::Simulated(bank) = config.bank else { panic!("{:?}", config.bank) };
        assert_eq!(bank.latency.to_string(), "1s..10s");
        assert_eq!(config.policy.deadline, Duration::from_millis(5));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let cases: [(&[&str], &str); 44] = [
            (&["--must-exist", "--durability", "memory"], "must-exist"),
            (&["--segment-size", "2GiB"], "--segment-size 2GiB cannot be; choose 1MiB to 1GiB"),
            (&["--segment-size", "1023KiB"], "--segment-size 1023KiB"),
            (&["--segment-size", "1048577B"], "in steps of 4KiB"),
            (&["--mirror-dir", "m", "--durability", "memory"], "mirror-dir"),
            (&["--signing-key-file", "k", "--durability", "memory"], "signing-key-file"),
            (&["--mirror-go-on"], "mirror-dir"),
            (&["--mirror-go-on=true", "--durability", "memory"], "mirror-go-on"),
            (&["--bank", "http://127.0.0.1:9000", "--bank-success-rate", "0.7"], "bank-success-rate"),
            (&["--bank", "http://127.0.0.1:9000", "--bank-rejected-rate", "0"], "bank-rejected-rate"),
            (&["--bank", "http://127.0.0.1:9000", "--bank-accepted-rate", "0"], "bank-accepted-rate"),
            (&["--bank", "http://127.0.0.1:9000", "--bank-ambiguous-paid-rate", "0"], "bank-ambiguous-paid-rate"),
            (&["--bank", "http://127.0.0.1:9000", "--bank-ambiguous-unpaid-rate", "0"], "bank-ambiguous-unpaid-rate"),
            (&["--bank", "http://127.0.0.1:9000", "--bank-latency", "1s"], "bank-latency"),
            (&["--bank", "http://127.0.0.1:9000", "--bank-seed", "1"], "bank-seed"),
            (&["--bank-ca-file", "Cargo.toml"], "bank-ca-file"),
            (&["--bank", "simulated", "--bank-token-file", "Cargo.toml"], "bank-token-file"),
            (&["--listen", "0.0.0.0:80"], "insecure-listen"),
            (&["--listen", "[::]:80"], "insecure-listen"),
            (&["--listen", "nonsense"], "listen"),
            (&["--listen", "127.0.0.1:99999"], "listen"),
            (&["--bank", "http://127.0.0.1:9000", "--durability", "memory"], "durability"),
            (&["--bank", "http://bank.example", "--bank-token-file", "Cargo.toml"], "bank-token-file"),
            (&["--bank", "http://127.0.0.1:9000", "--bank-ca-file", "Cargo.toml"], "bank-ca-file"),
            (&["--bank", "https://bank.example", "--bank-ca-file", "Cargo.toml"], "bank-ca-file"),
            (&["--bank-token-file", "Cargo.toml"], "HTTP"),
            (&["--bank-idempotency-window", "1h"], "HTTP"),
            (&["--bank-backoff", "2m"], "bank-backoff-max"),
            (&["--bank-settle-delay", "0s"], "bank-settle-delay"),
            (&["--shutdown-timeout", "30s"], "shutdown-timeout"),
            (&["--bank-timeout", "35s"], "shutdown-timeout"),
            (&["--currencies", "EUR,GBP"], "currencies"),
            (&["--currencies", "USD,EUR,USD"], "twice"),
            (&["--memory-max", "0B"], "memory-max"),
            (&["--mirror-dir", "ledger-data"], "mirror-dir"),
            (&["--commit-delay", "11ms"], "commit-delay"),
            (&["--threads", "0"], "threads"),
            (&["--workers", "0"], "workers"),
            (&["--bank-attempts", "0"], "bank-attempts"),
            (&["--bank-attempts", "513"], "bank-attempts is 513"),
            (&["--bank-webhook-secret-file", "/nowhere/secret"], "bank-webhook-secret-file"),
            (&["--bank-success-rate", "1.5"], "bank-success-rate"),
            (&["--bank-rejected-rate", "NaN"], "bank-rejected-rate"),
            (&["--bank-rejected-rate", "0.6", "--bank-accepted-rate", "0.6"], "add up"),
        ];
        for (arguments, named) in cases {
            let message = load(arguments, &[]).unwrap_err();
            assert!(message.contains(named), "{arguments:?}: {message}");
        }
        assert!(load(&["--listen", "0.0.0.0:80", "--insecure-listen"], &[]).is_ok());
        assert!(load(&["--listen", "localhost:80"], &[]).is_ok());
        assert!(load(&["--currency", "EUR"], &[]).is_ok());
        assert!(load(&["--queue", "0"], &[]).is_ok());
        assert!(load(&["--mirror-go-on=false"], &[]).is_ok());
        assert!(load(&["--mirror-go-on", "--mirror-dir", "m"], &[]).is_ok());
        assert!(load(&["--durability", "memory", "--data-dir", "d", "--segment-size", "1MiB"], &[]).is_ok());
    }

    #[test]
    fn a_bank_over_http_is_told_what_it_needs_and_its_token_only_in_private() {
        let token = file("hush\n");
        let token = token.path().to_str().unwrap();
        let config = load(&["--bank", "https://bank.example/v1", "--bank-idempotency-window", "24h"], &[]).unwrap();
        assert!(config.terms.destination_required);
        let BankConfig::Http(bank) = config.bank else { panic!("{:?}", config.bank) };
        assert_eq!(bank.idempotency_window, Some(Duration::from_secs(24 * 3600)));
        for (address, is_private) in
            [("https://bank.example", true), ("http://127.0.0.1:9000", true), ("http://bank.example", false)]
        {
            let config = load(&["--bank", address, "--bank-token-file", token], &[]);
            assert_eq!(config.is_ok(), is_private, "{address}");
            assert!(!format!("{config:?}").contains("hush"));
        }
    }

    #[test]
    fn a_variable_that_sets_nothing_is_told_with_the_nearest_that_does() {
        let told = |variables: &[(&str, &str)]| {
            Settings::unknown_variables(variables.iter().map(|(name, value)| (name.into(), value.into())))
        };
        for (misspelt, meant) in [
            ("LEDGER_DATADIR", "LEDGER_DATA_DIR"),
            ("LEDGER_DURABILTY", "LEDGER_DURABILITY"),
            ("LEDGER_Queue", "LEDGER_QUEUE"),
        ] {
            let told = told(&[(misspelt, "x"), ("LEDGER_WORKERS", "1"), ("PATH", "y")]);
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].contains(misspelt) && told[0].ends_with(meant), "{told:?}");
        }
        assert!(
            told(&[("LEDGER_QUEU", ""), ("LEDGER_CONFIG", "x"), ("MY_LEDGER_QUEU", "1"), ("LEDGER", "1")]).is_empty()
        );
        assert!(
            told(&[("LEDGER_PORT", "tcp://10.0.0.1:80"), ("LEDGER_PORT_80_TCP", "x"), ("LEDGER_SERVICE_HOST", "x")])
                .is_empty()
        );
    }

    #[test]
    fn a_bad_variable_or_key_is_named() {
        let message = load(&[], &[("LEDGER_BANK_LATENCY", "fast")]).unwrap_err();
        assert!(message.contains("LEDGER_BANK_LATENCY") && message.contains("fast"), "{message}");
        let message = load(&[], &[("LEDGER_ALLOWED_ORIGINS", "https://a.example, b.example")]).unwrap_err();
        assert!(message.contains("LEDGER_ALLOWED_ORIGINS") && message.contains("\"b.example\""), "{message}");
        let message = load(&[], &[("LEDGER_QUEUE", "many")]).unwrap_err();
        assert!(message.contains("LEDGER_QUEUE"), "{message}");
        let file = file("queue = 1\nqueu = 2\n");
        let message = load(&["--config", file.path().to_str().unwrap()], &[]).unwrap_err();
        assert!(message.contains("queu") && message.contains("line 2"), "{message}");
        let message = load(&["--config", "/nowhere/x.toml"], &[]).unwrap_err();
        assert!(message.contains("/nowhere/x.toml"), "{message}");
        let typed = self::file("queue = \"1\"\n");
        assert!(load(&["--config", typed.path().to_str().unwrap()], &[]).is_err());
    }
}
