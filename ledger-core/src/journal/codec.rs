//! How an entry lies in bytes. Integers are LEB128 varints unless said otherwise; there is one encoding of each entry,
//! and `decode` refuses every other.
//!
//! ```text
//! transaction   1 · kind u8 · flags u8 (1 pending, 2 destination, 4 metadata, 8 batch)
//!               · key length u8, bytes · fingerprint u128 little-endian
//!               · postings u8, each: shape u8 (debit 2 bits, credit 2 bits, release_at 1 bit, currency length − 3 in
//!                 3 bits) · currency · amount · debit user · credit user · release_at (zigzag), where present
//!               · destination length u8, bytes · metadata length, bytes · batch index, count, where present
//! withdrawal    2 · id · user · currency length u8, bytes · amount · event u8 (with attempt and class u8, or answer
//!                 u8) · to u8 · due (0, or 1 and zigzag) · evidence length, bytes
//! ```

use smallvec::SmallVec;

use crate::state::{BatchPosition, Entry, Party, Posting, TransactionEntry};
use crate::types::{
    Amount, Currency, Destination, Fingerprint, IdempotencyKey, Metadata, Timestamp, TransactionId, UserId,
};
use crate::view::{Status, TransactionKind};
use crate::withdrawals::{AttemptClass, EVIDENCE_BYTES_MAX, Event, InquiryAnswer, Substatus, WithdrawalEntry};

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
/// More bytes than any withdrawal's entry takes, its evidence apart.
pub(crate) const WITHDRAWAL_BYTES_MAX: usize = 80;

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
    out.extend_from_slice(&entry.fingerprint.get().to_le_bytes());
    out.push(entry.postings.len() as u8);
    for posting in &entry.postings {
        encode_posting(posting, out);
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

fn encode_posting(posting: &Posting, out: &mut Vec<u8>) {
    let currency = posting.currency.as_bytes();
    let mut shape = party_code(posting.debit) | party_code(posting.credit) << 2 | ((currency.len() - 3) as u8) << 5;
    if posting.release_at.is_some() {
        shape |= HAS_RELEASE;
    }
    out.push(shape);
    out.extend_from_slice(currency);
    put_varint(posting.amount.minor(), out);
    for user in [posting.debit, posting.credit].into_iter().filter_map(Party::user) {
        put_varint(user.get(), out);
    }
    if let Some(release_at) = posting.release_at {
        put_zigzag(release_at.micros(), out);
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
    match entry.event {
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
    }
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
    let key = IdempotencyKey::new(input.text(key_len)?).ok_or("an idempotency key that is not one")?;
    let fingerprint = u128::from_le_bytes(input.take(16)?.try_into().expect("16 bytes were taken"));
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
    let fingerprint = Fingerprint::new(fingerprint);
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
    let event = match input.byte()? {
        1 => Event::AttemptStarted { attempt: input.u32()? },
        2 => Event::AttemptEnded {
            attempt: input.u32()?,
            class: class_of(input.byte()?).ok_or("an attempt of a class that this version does not know")?,
        },
        3 => Event::Inquired {
            answer: answer_of(input.byte()?).ok_or("an answer of the bank that this version does not know")?,
        },
        4 => Event::DeadlinePassed,
        _ => return Err("an event of a withdrawal that this version does not know"),
    };
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
    Ok(WithdrawalEntry { id, user, currency, amount, event, to, due, evidence })
}

const fn party_code(party: Party) -> u8 {
    match party {
        Party::User(_) => 0,
        Party::External => 1,
        Party::Suspense => 2,
    }
}

const fn kind_code(kind: TransactionKind) -> u8 {
    match kind {
        TransactionKind::Charge => 1,
        TransactionKind::Transfer => 2,
        TransactionKind::Withdrawal => 3,
    }
}

const fn kind_of(code: u8) -> Option<TransactionKind> {
    Some(match code {
        1 => TransactionKind::Charge,
        2 => TransactionKind::Transfer,
        3 => TransactionKind::Withdrawal,
        _ => return None,
    })
}

const fn class_code(class: AttemptClass) -> u8 {
    match class {
        AttemptClass::Settled => 1,
        AttemptClass::Accepted => 2,
        AttemptClass::Rejected => 3,
        AttemptClass::NotSent => 4,
        AttemptClass::Ambiguous => 5,
    }
}

const fn class_of(code: u8) -> Option<AttemptClass> {
    Some(match code {
        1 => AttemptClass::Settled,
        2 => AttemptClass::Accepted,
        3 => AttemptClass::Rejected,
        4 => AttemptClass::NotSent,
        5 => AttemptClass::Ambiguous,
        _ => return None,
    })
}

const fn answer_code(answer: InquiryAnswer) -> u8 {
    match answer {
        InquiryAnswer::Settled => 1,
        InquiryAnswer::Failed => 2,
        InquiryAnswer::Pending => 3,
        InquiryAnswer::NotFound => 4,
        InquiryAnswer::Unsupported => 5,
        InquiryAnswer::Unanswered => 6,
    }
}

const fn answer_of(code: u8) -> Option<InquiryAnswer> {
    Some(match code {
        1 => InquiryAnswer::Settled,
        2 => InquiryAnswer::Failed,
        3 => InquiryAnswer::Pending,
        4 => InquiryAnswer::NotFound,
        5 => InquiryAnswer::Unsupported,
        6 => InquiryAnswer::Unanswered,
        _ => return None,
    })
}

const fn substatus_code(substatus: Substatus) -> u8 {
    match substatus {
        Substatus::Reserved => 1,
        Substatus::Submitting => 2,
        Substatus::Accepted => 3,
        Substatus::Unknown => 4,
        Substatus::NeedsReview => 5,
        Substatus::Completed => 6,
        Substatus::Failed => 7,
        Substatus::Cancelled => 8,
        Substatus::Returned => 9,
    }
}

const fn substatus_of(code: u8) -> Option<Substatus> {
    Some(match code {
        1 => Substatus::Reserved,
        2 => Substatus::Submitting,
        3 => Substatus::Accepted,
        4 => Substatus::Unknown,
        5 => Substatus::NeedsReview,
        6 => Substatus::Completed,
        7 => Substatus::Failed,
        8 => Substatus::Cancelled,
        9 => Substatus::Returned,
        _ => return None,
    })
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_zigzag(value: i64, out: &mut Vec<u8>) {
    put_varint(((value << 1) ^ (value >> 63)) as u64, out);
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or("an entry that ends early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        Ok(self.take(1)?[0])
    }

    fn varint(&mut self) -> Result<u64, &'static str> {
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

    fn u32(&mut self) -> Result<u32, &'static str> {
        u32::try_from(self.varint()?).map_err(|_| "an integer that is too large")
    }

    fn len(&mut self) -> Result<usize, &'static str> {
        usize::try_from(self.varint()?).map_err(|_| "a length that is too large")
    }

    fn text(&mut self, len: usize) -> Result<&'a str, &'static str> {
        std::str::from_utf8(self.take(len)?).map_err(|_| "a text that is not UTF-8")
    }

    fn amount(&mut self) -> Result<Amount, &'static str> {
        Amount::new(self.varint()?).ok_or("an amount outside 1 ..= 2^53 - 1")
    }

    fn user(&mut self) -> Result<UserId, &'static str> {
        UserId::new(self.varint()?).ok_or("a user id outside 1 ..= 2^53 - 1")
    }

    fn currency(&mut self, len: usize) -> Result<Currency, &'static str> {
        Currency::new(self.text(len)?).ok_or("a currency that is not one")
    }

    fn time(&mut self) -> Result<Timestamp, &'static str> {
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
