//! How an entry lies in bytes. Integers are LEB128 varints unless said otherwise; there is one encoding of each entry,
//! and `decode` refuses every other.
//!
//! ```text
//! transaction   1 · kind u8 · flags u8 (1 pending, 2 destination, 4 metadata, 8 batch)
//!               · key length u8, bytes · fingerprint u128 little-endian
//!               · postings u8, each: shape u8 (debit 2 bits, credit 2 bits, release_at 1 bit, currency length − 3 in
//!                 3 bits) · currency · amount · debit user · credit user · release_at (zigzag), where present
//!               · destination length u8, bytes · metadata length, bytes · batch index, count, where present
//! withdrawal    2 · id · user · currency length u8, bytes · amount · event u8 and what is its own
//!               · to u8 · due (0, or 1 and zigzag) · evidence length, bytes
//!               · operator length u8, bytes (resolved; contradicted by an operator)
//!               · key length u8, bytes · fingerprint u128 little-endian (cancelled, resolved)
//! event         1 started: attempt · 2 ended: attempt, class u8 · 3 inquired: answer u8 · 4 deadline passed
//!               · 5 cancelled · 6 resolved: outcome u8 · 7 noticed: outcome u8, occurred at (zigzag)
//!               · 8 returned: credit u8, occurred at (zigzag) · 9 contradicted: by u8 (1 attempt, 2 inquiry, 3 notice,
//!                 4 operator), attempt where it is one, what was said u8, says u8, posted u8 · 10 doubted
//! ```

use smallvec::SmallVec;

use crate::state::plan::Movement;
use crate::state::{BatchPosition, Entry, Party, Posting, TransactionEntry};
use crate::types::{
    Amount, Currency, Destination, Fingerprint, IdempotencyKey, Metadata, Operator, Timestamp, TransactionId, UserId,
};
use crate::view::{Status, TransactionKind};
use crate::withdrawals::{EVIDENCE_BYTES_MAX, Event, Said, WithdrawalEntry};

mod plain;
pub(super) mod words;

pub(crate) use plain::{PlainEntry, decode_plain};
use words::{
    answer_code, answer_of, class_code, class_of, credit_code, credit_of, kind_code, kind_of, notice_code, notice_of,
    resolution_code, resolution_of, says_code, says_of, substatus_code, substatus_of,
};

const TRANSACTION: u8 = 1;
const WITHDRAWAL: u8 = 2;

const PENDING: u8 = 1;
const DESTINATION: u8 = 2;
const METADATA: u8 = 4;
const BATCH: u8 = 8;

const HAS_RELEASE: u8 = 0b0001_0000;

/// More bytes than any transaction's entry with one posting takes, its texts and its place in a batch apart.
pub(crate) const TRANSACTION_BYTES_MAX: usize = 96;
/// As many bytes as a place in a batch takes at most.
pub(crate) const BATCH_BYTES_MAX: usize = 10;
/// More bytes than any withdrawal's entry takes, its evidence, operator and key apart.
pub(crate) const WITHDRAWAL_BYTES_MAX: usize = 80;
/// As many bytes as an operator's name and a key with its fingerprint take at most.
pub(crate) const COMMANDED_BYTES_MAX: usize = 1 + Operator::BYTES_MAX + 1 + IdempotencyKey::BYTES_MAX + 16;

/// Appends the entry's bytes to `out`.
pub(crate) fn encode(entry: &Entry<'_>, out: &mut Vec<u8>) {
    match entry {
        Entry::Transaction(transaction) => encode_transaction(transaction, out),
        Entry::Withdrawal(withdrawal) => encode_withdrawal(withdrawal, out),
    }
}

/// Appends a transaction's bytes to `out`.
pub(crate) fn encode_transaction(entry: &TransactionEntry<'_>, out: &mut Vec<u8>) {
    let mut flags = 0;
    if entry.status == Status::Pending {
        flags |= PENDING;
    }
    if entry.destination.is_some() {
        flags |= DESTINATION;
    }
    if entry.metadata.is_some() {
        flags |= METADATA;
    }
    if entry.batch.is_some() {
        flags |= BATCH;
    }
    let key = entry.key.as_str().as_bytes();
    out.extend_from_slice(&[TRANSACTION, kind_code(entry.kind), flags, key.len() as u8]);
    out.extend_from_slice(key);
    // Laid out in place and copied at once: a push of each byte asks for room each time.
    let mut bytes = Output { bytes: [0; OUTPUT_BYTES], len: 0 };
    bytes.put(&entry.fingerprint.get().to_le_bytes());
    bytes.put(&[entry.postings.len() as u8]);
    for posting in &entry.postings {
        encode_posting(posting, &mut bytes);
        out.extend_from_slice(&bytes.bytes[..bytes.len]);
        bytes.len = 0;
    }
    if let Some(destination) = entry.destination {
        out.push(destination.as_str().len() as u8);
        out.extend_from_slice(destination.as_str().as_bytes());
    }
    if let Some(metadata) = entry.metadata {
        put_varint(metadata.as_bytes().len() as u64, out);
        out.extend_from_slice(metadata.as_bytes());
    }
    if let Some(batch) = entry.batch {
        put_varint(batch.index.into(), out);
        put_varint(batch.count.into(), out);
    }
}

/// The bytes of a plain charge's or transfer's entry, as [`encode_transaction`] makes them: completed, and with nothing but one
/// posting, that is not held.
#[inline]
pub(crate) fn encode_plain(key: &str, fingerprint: Fingerprint, movement: &Movement, out: &mut Vec<u8>) {
    let key = key.as_bytes();
    let Movement { currency, amount, debit, credit, .. } = *movement;
    let kind = if debit.is_some() { TransactionKind::Transfer } else { TransactionKind::Charge };
    let party = |user: Option<UserId>| party_code(user.map_or(Party::External, Party::User));
    let shape = party(debit) | party(credit) << 2 | ((currency.as_bytes().len() - 3) as u8) << 5;
    let mut rest = Output { bytes: [0; PLAIN_BYTES], len: 0 };
    rest.put(&fingerprint.get().to_le_bytes());
    rest.put(&[1, shape]);
    rest.put_currency(currency);
    rest.put_varint(amount.minor());
    for user in [debit, credit].into_iter().flatten() {
        rest.put_varint(user.get());
    }
    out.reserve(4 + key.len() + PLAIN_BYTES);
    out.extend_from_slice(&[TRANSACTION, kind_code(kind), 0, key.len() as u8]);
    out.extend_from_slice(key);
    // All of it, at a fixed length, which needs no call; what is too much is taken off again.
    let end = out.len() + rest.len;
    out.extend_from_slice(&rest.bytes);
    out.truncate(end);
}

/// More than a fingerprint, a shape, a currency and three numbers.
const PLAIN_BYTES: usize = 64;

#[inline]
fn encode_posting(posting: &Posting, bytes: &mut Output<OUTPUT_BYTES>) {
    let currency = posting.currency.as_bytes();
    let mut shape = party_code(posting.debit) | party_code(posting.credit) << 2 | ((currency.len() - 3) as u8) << 5;
    if posting.release_at.is_some() {
        shape |= HAS_RELEASE;
    }
    bytes.put(&[shape]);
    bytes.put_currency(posting.currency);
    bytes.put_varint(posting.amount.minor());
    for party in [posting.debit, posting.credit] {
        if let Party::User(user) = party {
            bytes.put_varint(user.get());
        }
    }
    if let Some(release_at) = posting.release_at {
        bytes.put_varint(zigzag(release_at.micros()));
    }
}

/// More than a fingerprint, how many postings there are, and one of them: a shape, a currency, and four numbers.
const OUTPUT_BYTES: usize = 128;

/// Bytes of an entry on their way.
struct Output<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Output<N> {
    #[inline]
    fn put(&mut self, part: &[u8]) {
        self.bytes[self.len..][..part.len()].copy_from_slice(part);
        self.len += part.len();
    }

    #[inline]
    fn put_currency(&mut self, currency: Currency) {
        self.bytes[self.len..][..8].copy_from_slice(&currency.padded());
        self.len += currency.as_bytes().len();
    }

    #[inline]
    fn put_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes[self.len % N] = value as u8 | 0x80;
            self.len += 1;
            value >>= 7;
        }
        self.bytes[self.len % N] = value as u8;
        self.len += 1;
    }
}

fn encode_withdrawal(entry: &WithdrawalEntry<'_>, out: &mut Vec<u8>) {
    out.push(WITHDRAWAL);
    put_varint(entry.id.get(), out);
    put_varint(entry.user.get(), out);
    let currency = entry.currency.as_bytes();
    out.push(currency.len() as u8);
    out.extend_from_slice(currency);
    put_varint(entry.amount.minor(), out);
    encode_event(entry.event, out);
    out.push(substatus_code(entry.to));
    match entry.due {
        None => out.push(0),
        Some(due) => {
            out.push(1);
            put_zigzag(due.micros(), out);
        }
    }
    let evidence = &entry.evidence[..entry.evidence.floor_char_boundary(EVIDENCE_BYTES_MAX)];
    put_varint(evidence.len() as u64, out);
    out.extend_from_slice(evidence.as_bytes());
    if has_operator(entry.event) {
        let operator = entry.operator.expect("who decides has a name").as_str();
        out.push(operator.len() as u8);
        out.extend_from_slice(operator.as_bytes());
    }
    if has_command(entry.event) {
        let (key, fingerprint) = entry.command.expect("a command has a key");
        out.push(key.as_str().len() as u8);
        out.extend_from_slice(key.as_str().as_bytes());
        out.extend_from_slice(&fingerprint.get().to_le_bytes());
    }
}

pub(super) fn encode_event(event: Event, out: &mut Vec<u8>) {
    match event {
        Event::AttemptStarted { attempt } => {
            out.push(1);
            put_varint(attempt.into(), out);
        }
        Event::AttemptEnded { attempt, class } => {
            out.push(2);
            put_varint(attempt.into(), out);
            out.push(class_code(class));
        }
        Event::Inquired { answer } => out.extend_from_slice(&[3, answer_code(answer)]),
        Event::DeadlinePassed => out.push(4),
        Event::Cancelled => out.push(5),
        Event::Resolved { outcome } => out.extend_from_slice(&[6, resolution_code(outcome)]),
        Event::Noticed { outcome, occurred_at } => {
            out.extend_from_slice(&[7, notice_code(outcome)]);
            put_zigzag(occurred_at.micros(), out);
        }
        Event::Returned { credit, occurred_at } => {
            out.extend_from_slice(&[8, credit_code(credit)]);
            put_zigzag(occurred_at.micros(), out);
        }
        Event::Contradicted { said, says, posted } => {
            out.push(9);
            encode_said(said, out);
            out.extend_from_slice(&[says_code(says), posted.into()]);
        }
        Event::Doubted => out.push(10),
    }
}

pub(super) fn encode_said(said: Said, out: &mut Vec<u8>) {
    match said {
        Said::Attempt { attempt, class } => {
            out.push(1);
            put_varint(attempt.into(), out);
            out.push(class_code(class));
        }
        Said::Inquiry { answer } => out.extend_from_slice(&[2, answer_code(answer)]),
        Said::Notice { outcome } => out.extend_from_slice(&[3, notice_code(outcome)]),
        Said::Operator { outcome } => out.extend_from_slice(&[4, resolution_code(outcome)]),
    }
}

/// Whether an entry of that event names an operator.
const fn has_operator(event: Event) -> bool {
    matches!(event, Event::Resolved { .. } | Event::Contradicted { said: Said::Operator { .. }, .. })
}

/// Whether an entry of that event is a command with a key.
const fn has_command(event: Event) -> bool {
    matches!(event, Event::Cancelled | Event::Resolved { .. })
}

/// Reads one entry that fills `bytes` exactly.
///
/// # Errors
/// What is wrong with the bytes.
pub(crate) fn decode(bytes: &[u8]) -> Result<Entry<'_>, &'static str> {
    let mut input = Input(bytes);
    let entry = match input.byte()? {
        TRANSACTION => Entry::Transaction(decode_transaction(&mut input)?),
        WITHDRAWAL => Entry::Withdrawal(decode_withdrawal(&mut input)?),
        _ => return Err("an entry of a kind that this version does not know"),
    };
    if input.0.is_empty() { Ok(entry) } else { Err("an entry with bytes after its end") }
}

fn decode_transaction<'a>(input: &mut Input<'a>) -> Result<TransactionEntry<'a>, &'static str> {
    let kind = kind_of(input.byte()?).ok_or("a transaction of a kind that this version does not know")?;
    let flags = input.byte()?;
    if flags & !(PENDING | DESTINATION | METADATA | BATCH) != 0 {
        return Err("a transaction with flags that this version does not know");
    }
    let key_len = input.byte()?.into();
    let key = input.key(key_len)?;
    let fingerprint = input.fingerprint()?;
    let mut postings = SmallVec::new();
    for _ in 0..input.byte()? {
        postings.push(decode_posting(input)?);
    }
    if postings.is_empty() {
        return Err("a transaction without postings");
    }
    let destination = match flags & DESTINATION {
        0 => None,
        _ => {
            let len = input.byte()?.into();
            Some(Destination::new(input.text(len)?).ok_or("a destination that is not one")?)
        }
    };
    let metadata = match flags & METADATA {
        0 => None,
        _ => {
            let len = input.len()?;
            Some(Metadata::new(input.take(len)?).ok_or("metadata that is too long, or empty")?)
        }
    };
    let batch = match flags & BATCH {
        0 => None,
        _ => {
            let (index, count) = (input.u32()?, input.u32()?);
            if index >= count {
                return Err("a place in a batch past its end");
            }
            Some(BatchPosition { index, count })
        }
    };
    let status = if flags & PENDING == 0 { Status::Completed } else { Status::Pending };
    Ok(TransactionEntry { kind, status, key, fingerprint, postings, destination, metadata, batch })
}

fn decode_posting(input: &mut Input<'_>) -> Result<Posting, &'static str> {
    let shape = input.byte()?;
    let currency = input.currency(usize::from(shape >> 5) + 3)?;
    let amount = input.amount()?;
    let debit = input.party(shape & 3)?;
    let credit = input.party(shape >> 2 & 3)?;
    let release_at = if shape & HAS_RELEASE == 0 { None } else { Some(input.time()?) };
    Ok(Posting { currency, amount, debit, credit, release_at })
}

fn decode_withdrawal<'a>(input: &mut Input<'a>) -> Result<WithdrawalEntry<'a>, &'static str> {
    let id = TransactionId::new(input.varint()?).ok_or("a withdrawal without an id")?;
    let user = input.user()?;
    let currency_len = input.byte()?.into();
    let currency = input.currency(currency_len)?;
    let amount = input.amount()?;
    let event = decode_event(input)?;
    let to = substatus_of(input.byte()?).ok_or("a substatus that this version does not know")?;
    let due = match input.byte()? {
        0 => None,
        1 => Some(input.time()?),
        _ => return Err("a due time that is neither there nor missing"),
    };
    let evidence_len = input.len()?;
    if evidence_len > EVIDENCE_BYTES_MAX {
        return Err("evidence that is too long");
    }
    let evidence = input.text(evidence_len)?;
    let operator = if has_operator(event) {
        let len = input.byte()?.into();
        Some(Operator::new(input.text(len)?).ok_or("an operator without a name")?)
    } else {
        None
    };
    let command = if has_command(event) {
        let len = input.byte()?.into();
        Some((input.key(len)?, input.fingerprint()?))
    } else {
        None
    };
    Ok(WithdrawalEntry { id, user, currency, amount, event, to, due, evidence, operator, command })
}

pub(super) fn decode_event(input: &mut Input<'_>) -> Result<Event, &'static str> {
    Ok(match input.byte()? {
        1 => Event::AttemptStarted { attempt: input.u32()? },
        2 => Event::AttemptEnded { attempt: input.u32()?, class: input.word(class_of)? },
        3 => Event::Inquired { answer: input.word(answer_of)? },
        4 => Event::DeadlinePassed,
        5 => Event::Cancelled,
        6 => Event::Resolved { outcome: input.word(resolution_of)? },
        7 => Event::Noticed { outcome: input.word(notice_of)?, occurred_at: input.time()? },
        8 => Event::Returned { credit: input.word(credit_of)?, occurred_at: input.time()? },
        9 => Event::Contradicted {
            said: decode_said(input)?,
            says: input.word(says_of)?,
            posted: match input.byte()? {
                0 => false,
                1 => true,
                _ => return Err("a payment that is neither posted nor not"),
            },
        },
        10 => Event::Doubted,
        _ => return Err("an event of a withdrawal that this version does not know"),
    })
}

pub(super) fn decode_said(input: &mut Input<'_>) -> Result<Said, &'static str> {
    Ok(match input.byte()? {
        1 => Said::Attempt { attempt: input.u32()?, class: input.word(class_of)? },
        2 => Said::Inquiry { answer: input.word(answer_of)? },
        3 => Said::Notice { outcome: input.word(notice_of)? },
        4 => Said::Operator { outcome: input.word(resolution_of)? },
        _ => return Err("a discrepancy by someone whom this version does not know"),
    })
}

const fn party_code(party: Party) -> u8 {
    match party {
        Party::User(_) => 0,
        Party::External => 1,
        Party::Suspense => 2,
    }
}

pub(super) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_zigzag(value: i64, out: &mut Vec<u8>) {
    put_varint(zigzag(value), out);
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// What is left to read.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or("bytes that end early")?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, &'static str> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn varint(&mut self) -> Result<u64, &'static str> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err("an integer that is too large");
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                let overlong = byte == 0 && shift > 0;
                return if overlong { Err("an integer that is longer than it needs to be") } else { Ok(value) };
            }
        }
        Err("an integer that is too large")
    }

    pub(super) fn u32(&mut self) -> Result<u32, &'static str> {
        u32::try_from(self.varint()?).map_err(|_| "an integer that is too large")
    }

    pub(super) fn len(&mut self) -> Result<usize, &'static str> {
        usize::try_from(self.varint()?).map_err(|_| "a length that is too large")
    }

    pub(super) fn text(&mut self, len: usize) -> Result<&'a str, &'static str> {
        std::str::from_utf8(self.take(len)?).map_err(|_| "a text that is not UTF-8")
    }

    fn key(&mut self, len: usize) -> Result<IdempotencyKey<'a>, &'static str> {
        IdempotencyKey::new(self.text(len)?).ok_or("an idempotency key that is not one")
    }

    fn fingerprint(&mut self) -> Result<Fingerprint, &'static str> {
        let bytes = self.take(16)?.try_into().expect("16 bytes were taken");
        Ok(Fingerprint::new(u128::from_le_bytes(bytes)))
    }

    /// One of a closed list of words.
    pub(super) fn word<T>(&mut self, of: impl Fn(u8) -> Option<T>) -> Result<T, &'static str> {
        of(self.byte()?).ok_or("a word of a withdrawal that this version does not know")
    }

    pub(super) fn amount(&mut self) -> Result<Amount, &'static str> {
        Amount::new(self.varint()?).ok_or("an amount outside 1 ..= 2^53 - 1")
    }

    pub(super) fn user(&mut self) -> Result<UserId, &'static str> {
        UserId::new(self.varint()?).ok_or("a user id outside 1 ..= 2^53 - 1")
    }

    pub(super) fn currency(&mut self, len: usize) -> Result<Currency, &'static str> {
        Currency::new(self.text(len)?).ok_or("a currency that is not one")
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, &'static str> {
        let zigzag = self.varint()?;
        let micros = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
        Timestamp::from_micros(micros).ok_or("a time outside the years 1 to 9999")
    }

    fn party(&mut self, code: u8) -> Result<Party, &'static str> {
        Ok(match code {
            0 => Party::User(self.user()?),
            1 => Party::External,
            2 => Party::Suspense,
            _ => return Err("a party that this version does not know"),
        })
    }
}

#[cfg(test)]
mod tests;
