//! A bank over HTTP: the protocol of `docs/bank-protocol.md` on a pool of connections.
//!
//! Between two calls it keeps only what bears on repeats: the shortest window that the bank announced, and how far the
//! bank's clock was ahead of ours. What must hold: every attempt of a
//! withdrawal sends the same bytes under the same key; a class other than ambiguous is given only to what the protocol
//! lists as certain; no secret is ever part of an evidence or a log line.

mod address;
mod answer;
mod transport;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderName, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Method, Request};
use ledger_core::withdrawals::{AttemptClass, Inquiry, InquiryAnswer, Submission};

pub use address::BankAddress;
pub use transport::Trust;
pub(crate) use transport::{Broken, Transport};

use super::gateway::{Gateway, Payout};
use crate::wire::json::Object;

/// How long before its window closes the bank is not trusted to recognise a repeat any more, beside the longest time that
/// a request can be under way: room for two clocks that do not run alike.
const WINDOW_MARGIN: Duration = Duration::from_secs(60);

/// How far the bank's clock may be ahead of ours: half of the margin that the window has for it. Ours may have stood still
/// while the ledger was stopped, as in a machine that was resumed, and then counts a window as open that is long closed.
const AHEAD_MAX: Duration = Duration::from_secs(30);

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_WINDOW: &str = "idempotency-window";

/// How a bank is spoken to.
#[derive(Clone, Debug)]
pub struct HttpBankOptions {
    /// Where it is.
    pub address: BankAddress,
    /// What it knows the ledger by; `None`: nothing is said.
    pub token: Option<BankToken>,
    /// Which certificates it may show.
    pub trust: Trust,
    /// The longest time of one exchange. Half of it, at most 10 s, may be spent on the connection.
    pub timeout: Duration,
    /// For how long the bank, by its operator's word, recognises a repeat; `None`: it does not.
    pub idempotency_window: Option<Duration>,
    /// How many idle connections are kept; the number of the executor's workers is right.
    pub connections: usize,
}

impl HttpBankOptions {
    /// A bank at `address` without a token, believed by the public certificates, with 30 s for an exchange, which
    /// recognises no repeat.
    pub fn new(address: BankAddress) -> HttpBankOptions {
        HttpBankOptions {
            address,
            token: None,
            trust: Trust::public(),
            timeout: Duration::from_secs(30),
            idempotency_window: None,
            connections: 50,
        }
    }
}

/// A bearer token. It is never shown.
#[derive(Clone)]
pub struct BankToken(HeaderValue);

impl BankToken {
    /// From a file; white space around it is not part of it.
    ///
    /// # Errors
    /// A message for the operator, without the token.
    pub fn from_file(path: &Path) -> Result<BankToken, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|fault| format!("the token in {} cannot be read: {fault}", path.display()))?;
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("the token in {} must be one word of printable ASCII", path.display()));
        }
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).expect("printable ASCII is a header's value");
        value.set_sensitive(true);
        Ok(BankToken(value))
    }
}

impl fmt::Debug for BankToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BankToken")
    }
}

/// A bank that speaks the protocol of `docs/bank-protocol.md`.
pub struct HttpBank {
    options: HttpBankOptions,
    transport: Transport,
    /// The shortest window that the bank announced, in seconds. It is only compared, so every ordering is relaxed.
    window_announced: AtomicU64,
    /// Whether the bank's clock was ever too far ahead of ours. A flag of its own: relaxed.
    is_ahead: AtomicBool,
}

impl fmt::Debug for HttpBank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpBank").field("options", &self.options).finish_non_exhaustive()
    }
}

impl HttpBank {
    /// Makes no connection yet.
    pub fn new(options: HttpBankOptions) -> HttpBank {
        let transport = Transport::new(&options.trust, options.timeout, options.connections);
        HttpBank { options, transport, window_announced: AtomicU64::new(u64::MAX), is_ahead: AtomicBool::new(false) }
    }

    fn request(&self, method: Method, path: &str, body: Vec<u8>) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method;
        *request.uri_mut() = self.options.address.at(path);
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("ledger-server/", env!("CARGO_PKG_VERSION"))));
        if let Some(BankToken(token)) = &self.options.token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        request
    }

    fn payout(&self, payout: &Payout) -> Request<Full<Bytes>> {
        let mut request = self.request(Method::POST, "/payouts", body(payout));
        let key = HeaderValue::from_str(&payout.reference.to_string()).expect("a reference is digits and hyphens");
        request.headers_mut().insert(IDEMPOTENCY_KEY, key);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request
    }

    /// Keeps what an answer says that bears on repeats.
    fn learn(&self, headers: &HeaderMap) {
        self.learn_date(headers);
        self.learn_window(headers);
    }

    /// Keeps whether the bank's clock is so far ahead that ours may have stood still.
    fn learn_date(&self, headers: &HeaderMap) {
        let date = headers.get(DATE).and_then(|value| httpdate::parse_http_date(value.to_str().ok()?).ok());
        let ahead = date.and_then(|date| date.duration_since(SystemTime::now()).ok()).unwrap_or_default();
        if ahead > AHEAD_MAX && !self.is_ahead.swap(true, Ordering::Relaxed) {
            tracing::error!(
                ?ahead,
                "the bank's clock is ahead of this machine's, so a repeat could come after its window; no repeats are \
                 sent: set the clock, then start the server again"
            );
        }
    }

    /// Keeps the shortest window that the bank says it has.
    fn learn_window(&self, headers: &HeaderMap) {
        let said = headers.get(IDEMPOTENCY_WINDOW).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let Some(seconds) = said else { return };
        let before = self.window_announced.fetch_min(seconds, Ordering::Relaxed);
        let declared = self.options.idempotency_window.map_or(0, |window| window.as_secs());
        if seconds < declared && before >= declared {
            tracing::error!(
                "the bank recognises a repeat for {seconds} s, and {declared} s were declared; no repeats are sent \
                 until the server is started with a --bank-idempotency-window of at most {seconds}s"
            );
        }
    }

    /// Why `payout`, which may have been paid, is not sent again: the bank was asked just now, and did not say that it does
    /// not know it, or what it said of its clock and its window speaks against repeats.
    async fn objection_to(&self, payout: &Payout) -> Option<Submission> {
        // Half of the time that an attempt has: the rest is for the payout.
        let question = tokio::time::timeout(self.options.timeout / 2, self.inquire(payout));
        let (answer, said) = match question.await {
            Ok(Inquiry { answer, evidence }) => (answer, evidence),
            Err(_) => (InquiryAnswer::Unanswered, format!("no whole answer within {:?}", self.options.timeout / 2)),
        };
        let (class, evidence) = match answer {
            InquiryAnswer::NotFound | InquiryAnswer::Unsupported => {
                (AttemptClass::NotSent, self.objection_to_repeats()?.to_owned())
            }
            InquiryAnswer::Unanswered => {
                (AttemptClass::NotSent, format!("not sent again: the bank did not answer what became of it: {said}"))
            }
            // Nothing left, but what became of the payout is open: the next inquiry records what the bank says.
            InquiryAnswer::Settled | InquiryAnswer::Failed | InquiryAnswer::Pending => {
                (AttemptClass::Ambiguous, format!("not sent again: the bank knows it: {said}"))
            }
        };
        Some(Submission { class, evidence })
    }

    /// Why nothing is repeated: the bank itself says that its window is shorter than declared, or that ours is counted by a
    /// clock that is behind.
    fn objection_to_repeats(&self) -> Option<&'static str> {
        if self.is_ahead.load(Ordering::Relaxed) {
            return Some("not sent again: the bank's clock is ahead of ours, so its window may have closed");
        }
        let announced = Duration::from_secs(self.window_announced.load(Ordering::Relaxed));
        let is_shorter =
            self.options.idempotency_window.is_some_and(|declared| announced.as_secs() < declared.as_secs());
        is_shorter.then_some("not sent again: the bank recognises repeats for a shorter time than was declared")
    }
}

/// The body of every attempt: nothing in it changes from one to the next.
fn body(payout: &Payout) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let mut object = Object::begin(&mut out);
    object.word("bank_reference", &payout.reference.to_string());
    object.integer("amount", payout.amount.minor()).word("currency", payout.currency.as_str());
    match &payout.destination {
        Some(destination) => object.text("destination", destination),
        None => object.null("destination"),
    };
    object.end();
    out
}

impl Gateway for HttpBank {
    async fn submit(&self, payout: &Payout) -> Submission {
        if payout.is_repeat
            && let Some(objection) = self.objection_to(payout).await
        {
            return objection;
        }
        let (class, evidence) = match self.transport.exchange(self.payout(payout)).await {
            Ok(reply) => {
                self.learn(&reply.headers);
                if reply.is_json() {
                    answer::of_submission(payout, reply.status, &reply.body)
                } else {
                    (AttemptClass::Ambiguous, format!("status {}, and no JSON", reply.status))
                }
            }
            Err(Broken::NotSent(words)) => (AttemptClass::NotSent, words),
            Err(Broken::Unknown(words)) => (AttemptClass::Ambiguous, words),
        };
        Submission { class, evidence }
    }

    async fn inquire(&self, payout: &Payout) -> Inquiry {
        let request = self.request(Method::GET, &format!("/payouts/{}", payout.reference), Vec::new());
        let (answer, evidence) = match self.transport.exchange(request).await {
            Ok(reply) => {
                self.learn(&reply.headers);
                if reply.is_json() {
                    answer::of_inquiry(payout, reply.status, &reply.body)
                } else {
                    (InquiryAnswer::Unanswered, format!("status {}, and no JSON", reply.status))
                }
            }
            Err(Broken::NotSent(words) | Broken::Unknown(words)) => (InquiryAnswer::Unanswered, words),
        };
        Inquiry { answer, evidence }
    }

    fn idempotency_window(&self) -> Option<Duration> {
        self.options.idempotency_window.map(|window| window.saturating_sub(self.options.timeout + WINDOW_MARGIN))
    }
}
