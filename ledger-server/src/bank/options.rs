//! How the bank behaves.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::config::{Span, SpanRange};
use crate::withdrawals::{BankAddress, NoticeSecret};

/// The command line of `ledger-server bank`.
#[derive(Args, Clone, Debug)]
pub struct BankArguments {
    /// Where to listen; port 0 picks one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    listen: String,
    /// The file that keeps what was paid; made if it is missing
    #[arg(long, value_name = "FILE", default_value = "bank-book.ndjson")]
    book: PathBuf,
    /// What the dice start from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// How long an answer takes: 1s, or a range such as 1s..10s
    #[arg(long, value_name = "DURATION", default_value = "0ms")]
    latency: SpanRange,
    /// How often it does nothing and never answers
    #[arg(long, value_name = "RATE", default_value_t = 0.0)]
    silent_unpaid_rate: f64,
    /// How often it answers that it did nothing
    #[arg(long, value_name = "RATE", default_value_t = 0.0)]
    not_executed_rate: f64,
    /// How often it refuses for good
    #[arg(long, value_name = "RATE", default_value_t = 0.0)]
    rejected_rate: f64,
    /// How often it takes a payout and pays later
    #[arg(long, value_name = "RATE", default_value_t = 0.0)]
    accepted_rate: f64,
    /// How much later
    #[arg(long, value_name = "DURATION", default_value = "3s")]
    settles_after: Span,
    /// How often it never answers what it paid or took
    #[arg(long, value_name = "RATE", default_value_t = 0.0)]
    silent_paid_rate: f64,
    /// How often it answers that with an error
    #[arg(long, value_name = "RATE", default_value_t = 0.0)]
    error_paid_rate: f64,
    /// How often it breaks off in the middle of the answer to that
    #[arg(long, value_name = "RATE", default_value_t = 0.0)]
    reset_rate: f64,
    /// How often a repeat is answered 409 in place of its outcome
    #[arg(long, value_name = "RATE", default_value_t = 0.0)]
    duplicate_refused_rate: f64,
    /// How often an inquiry is answered with less than the book says
    #[arg(long, value_name = "RATE", default_value_t = 0.0)]
    contradictory_inquiry_rate: f64,
    /// For how long it recognises a repeat; 0s: it never does
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    idempotency_window: Span,
    /// Where notices are sent, such as http://127.0.0.1:8080/withdrawals/notify
    #[arg(long, value_name = "URL", requires = "notify_secret_file")]
    notify: Option<BankAddress>,
    /// A file with the secret that notices are signed with
    #[arg(long, value_name = "FILE", requires = "notify")]
    notify_secret_file: Option<PathBuf>,
    /// How long after its outcome a notice is sent
    #[arg(long, value_name = "DURATION", default_value = "1s", requires = "notify")]
    notice_delay: Span,
    /// How often a notice is late
    #[arg(long, value_name = "RATE", default_value_t = 0.0, requires = "notify")]
    late_notice_rate: f64,
    /// How long after its outcome a late notice is sent
    #[arg(long, value_name = "DURATION", default_value = "30s", requires = "notify")]
    late_notice_delay: Span,
}

/// Everything is said, and can be.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) listen: SocketAddr,
    pub(super) book: PathBuf,
    pub(super) seed: u64,
    pub(super) latency: SpanRange,
    pub(super) rates: Rates,
    pub(super) settles_after: Duration,
    pub(super) idempotency_window: Duration,
    pub(super) notify: Option<Notify>,
    pub(super) notice_delay: Duration,
    pub(super) late_notice_delay: Duration,
}

/// How often each fault is met, from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    pub(super) silent_unpaid: f64,
    pub(super) not_executed: f64,
    pub(super) rejected: f64,
    pub(super) accepted: f64,
    pub(super) silent_paid: f64,
    pub(super) error_paid: f64,
    pub(super) reset: f64,
    pub(super) duplicate_refused: f64,
    pub(super) contradictory_inquiry: f64,
    pub(super) late_notice: f64,
}

/// Where notices go, and what they are signed with.
#[derive(Clone, Debug)]
pub(super) struct Notify {
    pub(super) address: BankAddress,
    pub(super) secret: NoticeSecret,
}

impl BankArguments {
    /// A message for the operator, where something cannot be.
    pub(super) fn resolve(self) -> Result<Options, String> {
        let rate = |name: &str, rate: f64| {
            if (0.0..=1.0).contains(&rate) {
                Ok(rate)
            } else {
                Err(format!("{name} is {rate}; it must be from 0 to 1"))
            }
        };
        let listen = self.listen.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
        let secret = self.notify_secret_file.as_deref().map(one_secret).transpose()?;
        Ok(Options {
            listen: listen
                .ok_or_else(|| format!("listen is {:?}, which is no address; write HOST:PORT", self.listen))?,
            book: self.book,
            seed: self.seed,
            latency: self.latency,
            rates: Rates {
                silent_unpaid: rate("silent-unpaid-rate", self.silent_unpaid_rate)?,
                not_executed: rate("not-executed-rate", self.not_executed_rate)?,
                rejected: rate("rejected-rate", self.rejected_rate)?,
                accepted: rate("accepted-rate", self.accepted_rate)?,
                silent_paid: rate("silent-paid-rate", self.silent_paid_rate)?,
                error_paid: rate("error-paid-rate", self.error_paid_rate)?,
                reset: rate("reset-rate", self.reset_rate)?,
                duplicate_refused: rate("duplicate-refused-rate", self.duplicate_refused_rate)?,
                contradictory_inquiry: rate("contradictory-inquiry-rate", self.contradictory_inquiry_rate)?,
                late_notice: rate("late-notice-rate", self.late_notice_rate)?,
            },
            settles_after: self.settles_after.0,
            idempotency_window: self.idempotency_window.0,
            notify: self.notify.zip(secret).map(|(address, secret)| Notify { address, secret }),
            notice_delay: self.notice_delay.0,
            late_notice_delay: self.late_notice_delay.0,
        })
    }
}

/// The bank signs with one; the first of a file that has two.
fn one_secret(path: &std::path::Path) -> Result<NoticeSecret, String> {
    let secrets = NoticeSecret::from_file(path).map_err(|fault| format!("notify-secret-file: {fault}"))?;
    secrets.into_iter().next().ok_or_else(|| format!("notify-secret-file: {} holds no secret", path.display()))
}
