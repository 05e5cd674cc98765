//! The stage that all tests act on: short words for values, ledgers on a simulated disk, and a canonical dump of all
//! that a ledger can be asked.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ledger_core::sim::SimClock;
use ledger_core::{
    Amount, Balance, Clock, Commit, Currency, CurrencyAudit, Error, Ledger, Options, Query, Seq, Timestamp,
    Transaction, TransactionId, UserId,
};

use crate::model::Asked;

/// 2024-01-10T10:00:00Z, when every test begins.
pub(crate) const START: Timestamp = match Timestamp::from_micros(1_704_880_800_000_000) {
    Some(start) => start,
    None => panic!("within the years 1 to 9999"),
};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// The smallest size of a segment, so that tests write few bytes.
pub(crate) const SEGMENT_BYTES: u64 = 1 << 20;

pub(crate) fn user(id: u64) -> UserId {
    UserId::new(id).expect("a user's number")
}

pub(crate) fn amount(minor: u64) -> Amount {
    Amount::new(minor).expect("an amount")
}

pub(crate) fn currency(code: &str) -> Currency {
    Currency::new(code).expect("a currency's code")
}

pub(crate) fn id(id: u64) -> TransactionId {
    TransactionId::new(id).expect("a transaction's id")
}

/// `seconds` after [`START`]; may be negative.
pub(crate) fn second(seconds: i64) -> Timestamp {
    Timestamp::from_micros(START.micros() + seconds * 1_000_000).expect("within the years 1 to 9999")
}

/// The options of a deterministic ledger: no threads, small segments, a clock that the test moves.
pub(crate) fn options(clock: &SimClock) -> Options {
    let options = Options::default().threads(false).segment_bytes(SEGMENT_BYTES).shards(4).clock(clock.clone());
    // The tests' batches are small, and are to go the way of large ones too.
    options.few_commands(2)
}

/// The answer, once it may leave.
pub(crate) fn answer<T>(commit: Result<Commit<T>, Error>) -> Result<T, Error> {
    commit?.wait()
}

/// The users and currencies that a test uses: what a dump goes through.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) users: Vec<UserId>,
    pub(crate) currencies: Vec<Currency>,
}

impl World {
    pub(crate) fn new(users: u64, currencies: &[&str]) -> World {
        World {
            users: (1..=users).map(user).collect(),
            currencies: currencies.iter().map(|code| currency(code)).collect(),
        }
    }

    pub(crate) fn accounts(&self) -> impl Iterator<Item = (UserId, Currency)> + '_ {
        self.users.iter().flat_map(|&user| self.currencies.iter().map(move |&currency| (user, currency)))
    }
}

/// A transaction without what the model cannot know: the words of a failure's reason.
pub(crate) fn plain(mut transaction: Transaction) -> Transaction {
    if let Some(payout) = &mut transaction.withdrawal {
        payout.failure_reason = payout.failure_reason.take().map(|_| "…".into());
    }
    transaction
}

/// One fact of a dump. Facts are compared as they are, and put into words for people and for golden files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Line {
    Appended(Seq),
    /// At the moment that was asked about; the account's last entry is left out.
    Balance(Option<Timestamp>, Balance),
    Transaction(Box<Transaction>),
    Withdrawal(String),
    Missing(TransactionId),
    Audit(CurrencyAudit),
}

impl Line {
    pub(crate) fn of_balance(at: Option<Timestamp>, balance: Balance) -> Line {
        Line::Balance(at, Balance { seq: Seq::ZERO, ..balance })
    }

    pub(crate) fn of_transaction(transaction: Transaction) -> Line {
        Line::Transaction(Box::new(plain(transaction)))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Appended(seq) => write!(f, "appended {seq}"),
            Line::Balance(at, balance) => f.write_str(&line_of_balance(*at, balance)),
            Line::Transaction(transaction) => f.write_str(&line_of(transaction)),
            Line::Withdrawal(line) => f.write_str(line),
            Line::Missing(id) => write!(f, "withdrawal {id} is missing"),
            Line::Audit(sums) => write!(f, "audit {sums:?}"),
        }
    }
}

/// A transaction in one line; metadata, which may be long, by its length and sum.
fn line_of(transaction: &Transaction) -> String {
    let metadata = transaction.metadata.as_deref().map(|bytes| {
        (bytes.len(), bytes.iter().fold(0u64, |sum, &byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte))))
    });
    let line = format!("transaction {:?} metadata {metadata:?}", Transaction { metadata: None, ..transaction.clone() });
    // The golden dump is older than returns.
    line.replace(", returns: None", "")
}

/// All of a user's transactions, oldest first, by a walk with a cursor.
pub(crate) fn history(ledger: &Ledger, user: UserId) -> Result<Vec<Transaction>, Error> {
    let mut all = Vec::new();
    let mut query = Query { ascending: true, limit: 100, ..Query::new(user) };
    loop {
        let page = answer(ledger.transactions(&query))?;
        all.extend(page.transactions);
        match page.next {
            Some(next) => query.start = next,
            None => return Ok(all),
        }
    }
}

/// All that can be asked of `ledger`, one fact a line, in words.
pub(crate) fn dump(ledger: &Ledger, world: &World) -> Result<Vec<String>, Error> {
    Ok(lines(ledger, world)?.iter().map(Line::to_string).collect())
}

/// All that can be asked of `ledger`, in an order that depends on the facts alone. Equal states give equal lines;
/// [`crate::model::Model::lines`] gives the same.
pub(crate) fn lines(ledger: &Ledger, world: &World) -> Result<Vec<Line>, Error> {
    let now = ledger.now();
    let mut lines = vec![Line::Appended(ledger.appended())];
    let mut withdrawals = BTreeSet::new();
    for (user, currency) in world.accounts() {
        for at in moments(now) {
            let balance = match at {
                None => answer(ledger.balance(user, currency))?,
                Some(at) => answer(ledger.balance_at(user, currency, at))?,
            };
            lines.push(Line::of_balance(at, balance));
        }
    }
    for &user in &world.users {
        for transaction in history(ledger, user)? {
            if transaction.withdrawal.is_some() {
                withdrawals.insert(transaction.id);
            }
            lines.push(Line::of_transaction(transaction));
        }
    }
    for id in withdrawals {
        let Some(w) = answer(ledger.withdrawal(id))? else {
            lines.push(Line::Missing(id));
            continue;
        };
        lines.push(Line::Withdrawal(line_of_withdrawal(&w)));
    }
    lines.extend(answer(ledger.audit_deep())?.currencies.into_iter().map(Line::Audit));
    Ok(lines)
}

/// When a dump asks for balances: now, before everything, and when every hold has matured.
pub(crate) fn moments(now: Timestamp) -> [Option<Timestamp>; 4] {
    [None, Some(START.saturating_sub(SECOND)), Some(now.saturating_sub(SECOND)), Some(now.saturating_add(400 * DAY))]
}

fn line_of_balance(at: Option<Timestamp>, balance: &Balance) -> String {
    let mut line = format!("balance {} {}", balance.user, balance.currency);
    if let Some(at) = at {
        write!(line, " at {at}").expect("a string takes all");
    }
    let next = balance.next_release_at.map(|next| next.to_string());
    write!(line, ": {} + {} + {}, next {next:?}", balance.withdrawable, balance.held, balance.reserved)
        .expect("a string takes all");
    line
}

pub(crate) fn line_of_withdrawal(w: &ledger_core::withdrawals::Withdrawal) -> String {
    format!(
        "withdrawal {} of {} {} {} to {:?} by {} at {}: {:?} after {} attempts",
        w.id,
        w.user,
        w.amount,
        w.currency,
        w.destination.as_deref(),
        w.reference,
        w.created_at,
        w.substatus,
        w.attempts
    ) + &crate::model::said_in_words(
        &w.dossier().answers.iter().map(|answer| answer.answer).collect::<Vec<_>>(),
        &said_of(w),
    )
}

/// What was said of a withdrawal beside its attempts, as the model puts it.
fn said_of(w: &ledger_core::withdrawals::Withdrawal) -> Vec<String> {
    let dossier = w.dossier();
    let resolved = dossier.resolution.iter().map(|resolution| format!("resolved {}", resolution.outcome.as_str()));
    let noticed = dossier.notices.iter().map(|notice| format!("noticed {}", notice.outcome.as_str()));
    let returned =
        dossier.returned.iter().map(|returned| format!("returned to {} by {}", returned.credit.as_str(), returned.id));
    let but = dossier.discrepancies.iter().map(|but| {
        let posted = if but.posted { ", posted" } else { "" };
        format!("but {} said {}: {}{posted}", but.said.by(), but.said.as_str(), but.says.as_str())
    });
    resolved.chain(noticed).chain(returned).chain(but).collect()
}

/// The first difference between two dumps, for people.
pub(crate) fn difference<T: PartialEq + fmt::Display>(expected: &[T], found: &[T]) -> Option<String> {
    let lines = expected.len().max(found.len());
    let words = |line: Option<&T>| line.map_or("(nothing)".to_owned(), T::to_string);
    (0..lines).find(|&line| expected.get(line) != found.get(line)).map(|line| {
        let (expected, found) = (words(expected.get(line)), words(found.get(line)));
        format!("line {line} differs\n  expected: {expected}\n  found:    {found}")
    })
}

/// A small, seeded stream of numbers (SplitMix64, Steele et al. 2014), so that a test is its seed.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        *self.pick_one(of)
    }

    pub(crate) fn pick_one<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[usize::try_from(self.below(of.len() as u64)).expect("an index")]
    }
}

/// Metadata of `len` bytes that differ from place to place and from `salt` to salt.
pub(crate) fn metadata(len: usize, salt: u64) -> Vec<u8> {
    let mut chance = Chance::new(salt);
    (0..len).map(|_| u8::try_from(chance.below(256)).expect("a byte")).collect()
}

/// A clock that holds one thread up, the one named [`HeldClock::HELD`], as soon as that has read it.
#[derive(Clone)]
pub(crate) struct HeldClock {
    clock: SimClock,
    gate: Arc<Mutex<Option<Gate>>>,
}

/// Where it is held up, once.
struct Gate {
    arrived: Sender<()>,
    goes_on: Receiver<()>,
}

impl HeldClock {
    pub(crate) const HELD: &str = "held up by its clock";

    /// The clock; what tells that the thread is held up; and what lets it go on.
    pub(crate) fn new(clock: &SimClock) -> (HeldClock, Receiver<()>, Sender<()>) {
        let ((arrived, arrives), (go_on, goes_on)) = (channel(), channel());
        let gate = Arc::new(Mutex::new(Some(Gate { arrived, goes_on })));
        (HeldClock { clock: clock.clone(), gate }, arrives, go_on)
    }
}

impl Clock for HeldClock {
    fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    fn monotonic(&self) -> Duration {
        let read = self.clock.monotonic();
        if thread::current().name() == Some(HeldClock::HELD) {
            let gate = self.gate.lock().expect("nobody panics with it").take();
            if let Some(Gate { arrived, goes_on }) = gate {
                arrived.send(()).expect("the test waits for it");
                goes_on.recv().expect("the test lets it go on");
            }
        }
        read
    }
}

/// Far more than anything takes on any machine: who has not come by then does not come.
const LONG: Duration = Duration::from_secs(120);

/// Does `work` by a thread of this name.
pub(crate) fn beside<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (done, outcome) = channel();
    let work = move || drop(done.send(work()));
    // It is not joined: where it waits for ever, the test fails and ends.
    drop(thread::Builder::new().name(name.into()).spawn(work).expect("a thread"));
    outcome
}

/// What comes through, unless nothing does for long.
pub(crate) fn awaited<T>(what: &str, outcome: &Receiver<T>) -> T {
    outcome.recv_timeout(LONG).unwrap_or_else(|err| panic!("{what}: {err}"))
}

/// Submits `asked` through the call that is made for its kind.
pub(crate) fn ask(ledger: &Ledger, asked: &Asked) -> Result<Commit<ledger_core::Receipt>, Error> {
    match asked.command() {
        ledger_core::Command::Charge(charge) => ledger.charge(charge),
        ledger_core::Command::Transfer(transfer) => ledger.transfer(transfer),
        ledger_core::Command::Withdraw(withdraw) => ledger.withdraw(withdraw),
    }
}
