//! What the bank does with a request: the draws of `docs/bank-protocol.md`, and the book.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::book::{Book, Decision, Line, Order};
use super::notices::Notices;
use super::options::Options;
use crate::withdrawals::Draw;

/// The bank.
pub(super) struct Conduct {
    options: Options,
    desk: Mutex<Desk>,
    notices: Option<Arc<Notices>>,
}

/// The book, and how often each reference was heard and asked about, which the draws depend on.
struct Desk {
    book: Book,
    heard: HashMap<String, u32>,
    inquiries: HashMap<String, u32>,
}

/// How a request is answered, after a while.
pub(super) struct Reaction {
    pub(super) answer: Answer,
    pub(super) after: Duration,
}

/// What is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// An answer of the protocol.
    Says { status: u16, outcome: &'static str, about: Order },
    /// Half of that.
    Half { status: u16, outcome: &'static str, about: Order },
    /// That the bank does not know this reference.
    Unknown(String),
    /// A status without the protocol's words.
    Bare(u16),
    /// Nothing, for as long as the client waits.
    Silence,
}

impl Conduct {
    pub(super) fn new(options: Options, book: Book, notices: Option<Notices>) -> Conduct {
        let desk = Mutex::new(Desk { book, heard: HashMap::new(), inquiries: HashMap::new() });
        Conduct { options, desk, notices: notices.map(Arc::new) }
    }

    pub(super) fn idempotency_window(&self) -> Duration {
        self.options.idempotency_window
    }

    /// A request to pay. Blocks until its decision is in the book.
    ///
    /// # Errors
    /// The book cannot be written; nothing was decided.
    pub(super) fn pay(self: &Arc<Conduct>, order: Order) -> io::Result<Reaction> {
        let mut desk = self.desk();
        let at = now();
        let heard = count(&mut desk.heard, &order.reference);
        let mut draw = Draw::named(self.options.seed, &order.reference, heard);
        let after = self.latency(&mut draw);
        let window = micros(self.options.idempotency_window);
        let known = desk.book.of(&order.reference).filter(|(first, _)| at < first.saturating_add(window));
        if let Some((_, line)) = known {
            let answer = self.repeat(&order, line.clone(), &mut draw);
            return Ok(Reaction { answer, after });
        }
        let rates = &self.options.rates;
        let decision = if draw.hits(rates.silent_unpaid) {
            return Ok(Reaction { answer: Answer::Silence, after });
        } else if draw.hits(rates.not_executed) {
            let answer = Answer::Says { status: 503, outcome: "not_executed", about: order };
            return Ok(Reaction { answer, after });
        } else if draw.hits(rates.rejected) {
            Decision::Refused
        } else if draw.hits(rates.accepted) {
            Decision::PaysAt(at.saturating_add(micros(self.options.settles_after)))
        } else {
            Decision::Paid
        };
        let line = Line { order, decision, at };
        desk.book.write(line.clone())?;
        drop(desk);
        self.tell(&line);
        let answer = self.answer(line, &mut draw);
        Ok(Reaction { answer, after })
    }

    /// An order whose reference is in the book; if it asks for something else it is refused as well.
    fn repeat(&self, order: &Order, line: Line, draw: &mut Draw) -> Answer {
        if line.order != *order || draw.hits(self.options.rates.duplicate_refused) {
            return Answer::Says { status: 409, outcome: "duplicate", about: line.order };
        }
        self.answer(line, draw)
    }

    /// The outcome in the book, and what becomes of it on its way.
    fn answer(&self, line: Line, draw: &mut Draw) -> Answer {
        let (status, outcome) = match line.decision {
            Decision::Refused => return Answer::Says { status: 422, outcome: "rejected", about: line.order },
            Decision::PaysAt(_) if line.status(now()) == "pending" => (202, "accepted"),
            Decision::PaysAt(_) | Decision::Paid => (200, "settled"),
        };
        let rates = &self.options.rates;
        if draw.hits(rates.silent_paid) {
            Answer::Silence
        } else if draw.hits(rates.error_paid) {
            Answer::Bare(500)
        } else if draw.hits(rates.reset) {
            Answer::Half { status, outcome, about: line.order }
        } else {
            Answer::Says { status, outcome, about: line.order }
        }
    }

    /// A question about a reference.
    pub(super) fn inquire(&self, reference: &str) -> Reaction {
        let mut desk = self.desk();
        let asked = count(&mut desk.inquiries, reference);
        let mut draw = Draw::named(!self.options.seed, reference, asked);
        let after = self.latency(&mut draw);
        let answer = match desk.book.of(reference) {
            None => Answer::Unknown(reference.to_owned()),
            Some((_, line)) if draw.hits(self.options.rates.contradictory_inquiry) => {
                if draw.hits(0.5) {
                    Answer::Unknown(reference.to_owned())
                } else {
                    Answer::Says { status: 200, outcome: "pending", about: line.order.clone() }
                }
            }
            Some((_, line)) => Answer::Says { status: 200, outcome: line.status(now()), about: line.order.clone() },
        };
        Reaction { answer, after }
    }

    /// Every line of the book, and the time that their status is as of.
    pub(super) fn statement(&self) -> (Vec<Line>, u64) {
        (self.desk().book.lines().to_vec(), now())
    }

    /// Sends the notices that were not delivered before the bank was stopped.
    pub(super) fn resume_notices(self: &Arc<Conduct>) {
        let untold: Vec<Line> = self.desk().book.untold().cloned().collect();
        untold.iter().for_each(|line| self.tell(line));
    }

    /// Has the notice of a line sent once its outcome is final.
    fn tell(self: &Arc<Conduct>, line: &Line) {
        let Some(notices) = self.notices.clone() else { return };
        let mut draw = Draw::named(self.options.seed, &line.order.reference, 0);
        let is_late = draw.hits(self.options.rates.late_notice);
        let delay = if is_late { self.options.late_notice_delay } else { self.options.notice_delay };
        let due = line.final_at().saturating_add(micros(delay));
        let (conduct, line) = (Arc::clone(self), line.clone());
        tokio::runtime::Handle::current().spawn(async move {
            tokio::time::sleep(Duration::from_micros(due.saturating_sub(now()))).await;
            if notices.deliver(&line).await {
                let told =
                    tokio::task::spawn_blocking(move || conduct.desk().book.write_told(&line.order.reference)).await;
                if let Ok(Err(fault)) = told {
                    tracing::warn!(%fault, "that a notice was delivered could not be written; it may be sent again");
                }
            }
        });
    }

    fn latency(&self, draw: &mut Draw) -> Duration {
        let range = self.options.latency;
        range.from + (range.to - range.from).mul_f64(draw.fraction())
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        // A panic in between leaves the book as it is in its file, or one line behind it, which nobody was told of.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often it was counted before this time, from 1.
fn count(counts: &mut HashMap<String, u32>, reference: &str) -> u32 {
    let count = counts.entry(reference.to_owned()).or_default();
    *count = count.saturating_add(1);
    *count
}

/// Microseconds since 1970.
pub(super) fn now() -> u64 {
    micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
