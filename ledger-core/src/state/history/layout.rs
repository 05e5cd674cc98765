//! How a record lies in bytes: in memory, and in the history files of snapshots, which hold the same bytes. A change here
//! is a new format of those files.
//!
//! ```text
//! head      2   status 2 bits, kind 2, direction 1, has extras 1, widths of seq, time, amount and account 2 each
//! extras    2   only if there are any: which of them 6 bits, widths of release and counterparty 2 each
//! seq       1 2 4 8   less the anchor's
//! time      2 3 4 8   less the anchor's, in microseconds
//! amount    2 3 4 7
//! account   1 2 3 4
//! release   4 5 6 8   less the record's time; an extra, as is all below but the key's hash
//! user      3 4 5 7   the counterparty
//! key hash  8
//! last seq  8
//! batch     4 4
//! metadata  2 and its bytes
//! place     1 and its bytes   the destination
//! ```
//!
//! Everything of a variable width stands before the eight bytes of the key's hash, so that it can be read as eight
//! bytes of which some are masked away.

use super::{Anchor, NewRecord, RecordArena, RecordView, UNIT};
use crate::types::{Amount, Destination, Metadata, Seq, Timestamp, TransactionId, UserId};
use crate::view::{Direction, Status, TransactionKind};

const SEQ_WIDTHS: [usize; 4] = [1, 2, 4, 8];
const TIME_WIDTHS: [usize; 4] = [2, 3, 4, 8];
const AMOUNT_WIDTHS: [usize; 4] = [2, 3, 4, 7];
const ACCOUNT_WIDTHS: [usize; 4] = [1, 2, 3, 4];
const RELEASE_WIDTHS: [usize; 4] = [4, 5, 6, 8];
const USER_WIDTHS: [usize; 4] = [3, 4, 5, 7];

const STATUS_MASK: u16 = 3;
const KIND_AT: u32 = 2;
const DEBIT: u16 = 1 << 4;
const HAS_EXTRAS: u16 = 1 << 5;
const SEQ_AT: u32 = 6;
const TIME_AT: u32 = 8;
const AMOUNT_AT: u32 = 10;
const ACCOUNT_AT: u32 = 12;

const RELEASE: u16 = 1;
const COUNTERPARTY: u16 = 1 << 1;
const LAST_SEQ: u16 = 1 << 2;
const BATCH: u16 = 1 << 3;
const METADATA: u16 = 1 << 4;
const DESTINATION: u16 = 1 << 5;
const RELEASE_AT: u32 = 6;
const USER_AT: u32 = 8;

/// The longest head: everything at its widest but the bytes of metadata and destination.
const HEAD_MAX: usize = 2 + 2 + 8 + 8 + 7 + 4 + 8 + 7 + 8 + 8 + 8 + 2;

/// No record is longer: everything at its widest, in whole units.
pub(super) const BYTES_MAX: usize =
    (HEAD_MAX + Metadata::BYTES_MAX + 1 + Destination::BYTES_MAX).next_multiple_of(UNIT);

/// A power of two that is no less: an index into a head is masked by it, which spares the look whether it is one.
const HEAD_ROOM: usize = HEAD_MAX.next_power_of_two();

/// A record on its way into the arena: all that is short in one buffer, and the rest where it is.
pub(super) struct Encoded<'a> {
    /// With room for the eight bytes that a number at the very end is written as.
    head: [u8; HEAD_ROOM + 8],
    head_len: usize,
    metadata: &'a [u8],
    destination: &'a str,
}

impl Encoded<'_> {
    /// Adds the low `width` bytes of a number.
    #[inline]
    fn put(&mut self, number: u64, width: usize) {
        // All eight are written, and the next field over those that are too many: a copy of a fixed size is cheap.
        self.head[self.head_len % HEAD_ROOM..][..8].copy_from_slice(&number.to_le_bytes());
        self.head_len += width;
    }

    /// With zeros for fill, not what the last number wrote beyond its width.
    #[inline]
    fn filled(mut self) -> Self {
        self.head[self.head_len % HEAD_ROOM..][..UNIT].fill(0);
        self
    }

    /// How many bytes the record takes: whole units.
    pub(super) fn len(&self) -> usize {
        let destination = if self.destination.is_empty() { 0 } else { 1 + self.destination.len() };
        (self.head_len + self.metadata.len() + destination).next_multiple_of(UNIT)
    }

    pub(super) fn push_to(&self, records: &mut RecordArena) {
        if self.metadata.is_empty() && self.destination.is_empty() {
            records.push(&self.head[..self.len()]);
            return;
        }
        let head = &self.head[..self.head_len];
        let (len, destination) = ([self.destination.len() as u8], self.destination.as_bytes());
        let len = if destination.is_empty() { &[][..] } else { &len };
        let fill = self.len() - head.len() - self.metadata.len() - len.len() - destination.len();
        records.push_parts(&[head, self.metadata, len, destination, &[0; UNIT][..fill]]);
    }
}

/// The smallest of four widths that holds a number.
#[inline]
const fn width_code(number: u64, widths: [usize; 4]) -> u16 {
    let bytes = 8 - number.leading_zeros() as usize / 8;
    (widths[0] < bytes) as u16 + (widths[1] < bytes) as u16 + (widths[2] < bytes) as u16
}

const fn width(bits: u16, at: u32, widths: [usize; 4]) -> usize {
    widths[(bits >> at) as usize & 3]
}

fn number(bytes: &[u8], at: usize, width: usize) -> u64 {
    let eight = u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes are eight"));
    eight & (u64::MAX >> (64 - 8 * width))
}

fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

const fn status_code(status: Status) -> u16 {
    match status {
        Status::Pending => 0,
        Status::Completed => 1,
        Status::Failed => 2,
    }
}

/// Where the parts of a record are.
struct Fields {
    head: u16,
    extras: u16,
    seq: usize,
    time: usize,
    amount: usize,
    account: usize,
    release: usize,
    user: usize,
    key_hash: usize,
}

impl Fields {
    fn of(bytes: &[u8]) -> Fields {
        let head = short(bytes, 0);
        let has_extras = head & HAS_EXTRAS != 0;
        let extras = if has_extras { short(bytes, 2) } else { 0 };
        let seq = if has_extras { 4 } else { 2 };
        let time = seq + width(head, SEQ_AT, SEQ_WIDTHS);
        let amount = time + width(head, TIME_AT, TIME_WIDTHS);
        let account = amount + width(head, AMOUNT_AT, AMOUNT_WIDTHS);
        let release = account + width(head, ACCOUNT_AT, ACCOUNT_WIDTHS);
        let user = release + if extras & RELEASE == 0 { 0 } else { width(extras, RELEASE_AT, RELEASE_WIDTHS) };
        let key_hash = user + if extras & COUNTERPARTY == 0 { 0 } else { width(extras, USER_AT, USER_WIDTHS) };
        Fields { head, extras, seq, time, amount, account, release, user, key_hash }
    }

    const fn has(&self, extra: u16) -> bool {
        self.extras & extra != 0
    }

    const fn last_seq(&self) -> usize {
        self.key_hash + 8
    }

    const fn batch(&self) -> usize {
        self.last_seq() + if self.has(LAST_SEQ) { 8 } else { 0 }
    }

    const fn metadata(&self) -> usize {
        self.batch() + if self.has(BATCH) { 8 } else { 0 }
    }

    /// Where the destination begins: after the metadata, which may be long.
    fn destination(&self, bytes: &[u8]) -> usize {
        let metadata = self.metadata();
        metadata + if self.has(METADATA) { 2 + usize::from(short(bytes, metadata)) } else { 0 }
    }

    fn end(&self, bytes: &[u8]) -> usize {
        let destination = self.destination(bytes);
        destination + if self.has(DESTINATION) { 1 + usize::from(bytes[destination]) } else { 0 }
    }
}

/// What each record has, and a counterparty: all that a plain one has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlainRecord {
    /// As in [`NewRecord`], all of these.
    pub(crate) id: TransactionId,
    pub(crate) at: Timestamp,
    pub(crate) kind: TransactionKind,
    pub(crate) status: Status,
    pub(crate) direction: Direction,
    pub(crate) amount: Amount,
    pub(crate) account: u32,
    pub(crate) counterparty: Option<UserId>,
    pub(crate) key_hash: u64,
}

impl PlainRecord {
    #[inline]
    fn of_common(record: &NewRecord<'_>) -> PlainRecord {
        let NewRecord { id, at, kind, status, direction, amount, account, counterparty, key_hash, .. } = *record;
        PlainRecord { id, at, kind, status, direction, amount, account, counterparty, key_hash }
    }

    /// The record, if it is a plain one.
    #[inline]
    pub(super) fn of(record: &NewRecord<'_>) -> Option<PlainRecord> {
        let is_plain = record.release_at.is_none()
            && record.status != Status::Pending
            && record.last_seq == record.id.seq()
            && record.batch.is_none()
            && record.metadata.is_none()
            && record.destination.is_none();
        is_plain.then(|| PlainRecord::of_common(record))
    }

    /// The same record, with all that a plain one has not.
    pub(super) const fn record(&self) -> NewRecord<'static> {
        NewRecord {
            id: self.id,
            at: self.at,
            kind: self.kind,
            status: self.status,
            direction: self.direction,
            amount: self.amount,
            account: self.account,
            counterparty: self.counterparty,
            release_at: None,
            key_hash: self.key_hash,
            metadata: None,
            destination: None,
            batch: None,
            last_seq: self.id.seq(),
        }
    }

    /// Seq, time, amount and account, the first two less the anchor's.
    #[inline]
    fn numbers(&self, anchor: Anchor) -> [u64; 4] {
        let seq = self.id.get().wrapping_sub(anchor.seq);
        let time = self.at.micros().wrapping_sub(anchor.micros) as u64;
        [seq, time, self.amount.minor(), u64::from(self.account)]
    }

    /// The head of a record with these numbers and without extras, and how wide each of them is.
    #[inline]
    fn head(&self, [seq, time, amount, account]: [u64; 4]) -> (u16, [usize; 4]) {
        let kind = match self.kind {
            TransactionKind::Charge => 0,
            TransactionKind::Transfer => 1,
            TransactionKind::Withdrawal => 2,
            TransactionKind::Return => 3,
        };
        let (seq_code, time_code) = (width_code(seq, SEQ_WIDTHS), width_code(time, TIME_WIDTHS));
        let (amount_code, account_code) = (width_code(amount, AMOUNT_WIDTHS), width_code(account, ACCOUNT_WIDTHS));
        let head = status_code(self.status)
            | kind << KIND_AT
            | if self.direction == Direction::Debit { DEBIT } else { 0 }
            | seq_code << SEQ_AT
            | time_code << TIME_AT
            | amount_code << AMOUNT_AT
            | account_code << ACCOUNT_AT;
        let widths = [
            SEQ_WIDTHS[usize::from(seq_code)],
            TIME_WIDTHS[usize::from(time_code)],
            AMOUNT_WIDTHS[usize::from(amount_code)],
            ACCOUNT_WIDTHS[usize::from(account_code)],
        ];
        (head, widths)
    }
}

/// A plain record on its way into the arena.
pub(super) struct Plain {
    bytes: [u8; PLAIN_ROOM],
    len: usize,
}

/// All that a plain record has at its widest is 46 bytes; a number is written as eight, wherever it begins below 64.
const PLAIN_ROOM: usize = 72;

impl Plain {
    /// Adds the record where the last one ends, if there is room; says whether there is.
    #[inline]
    pub(super) fn push_to(&self, records: &mut RecordArena) -> bool {
        records.push_here(&self.bytes, self.len.next_multiple_of(UNIT))
    }

    #[inline]
    fn put(&mut self, number: u64, width: usize) {
        // As in `Encoded::put`. The last is one of eight bytes, so what is behind it is zero.
        self.bytes[self.len % 64..][..8].copy_from_slice(&number.to_le_bytes());
        self.len += width;
    }
}

/// As [`encode`], of a plain record.
#[inline(always)]
pub(super) fn encode_plain(record: &PlainRecord, anchor: Anchor) -> Plain {
    let numbers = record.numbers(anchor);
    let (head, widths) = record.head(numbers);
    let mut plain = Plain { bytes: [0; PLAIN_ROOM], len: 0 };
    let user = record.counterparty.map_or(0, UserId::get);
    let user_code = width_code(user, USER_WIDTHS);
    if record.counterparty.is_some() {
        let extras = COUNTERPARTY | width_code(0, RELEASE_WIDTHS) << RELEASE_AT | user_code << USER_AT;
        plain.put(u64::from(head | HAS_EXTRAS) | u64::from(extras) << 16, 4);
    } else {
        plain.put(head.into(), 2);
    }
    for (number, width) in numbers.into_iter().zip(widths) {
        plain.put(number, width);
    }
    if record.counterparty.is_some() {
        plain.put(user, USER_WIDTHS[usize::from(user_code)]);
    }
    plain.put(record.key_hash, 8);
    plain
}

/// Lays a record out for a place with this anchor.
pub(super) fn encode<'a>(record: &NewRecord<'a>, anchor: Anchor) -> Encoded<'a> {
    let common = PlainRecord::of_common(record);
    let numbers = common.numbers(anchor);
    let release = record.release_at.map_or(0, |at| at.micros().wrapping_sub(record.at.micros()) as u64);
    let user = record.counterparty.map_or(0, UserId::get);
    // Room is kept while it can change, and needed where it has changed.
    let keeps_last_seq = record.status == Status::Pending || record.last_seq != record.id.seq();

    let mut extras = 0;
    for (is_there, extra) in [
        (record.release_at.is_some(), RELEASE),
        (record.counterparty.is_some(), COUNTERPARTY),
        (keeps_last_seq, LAST_SEQ),
        (record.batch.is_some(), BATCH),
        (record.metadata.is_some(), METADATA),
        (record.destination.is_some(), DESTINATION),
    ] {
        extras |= if is_there { extra } else { 0 };
    }
    let (mut head, widths) = common.head(numbers);
    head |= if extras != 0 { HAS_EXTRAS } else { 0 };

    let mut encoded = Encoded {
        head: [0; HEAD_ROOM + 8],
        head_len: 0,
        metadata: record.metadata.map_or(&[], |metadata| metadata.as_bytes()),
        destination: record.destination.map_or("", |destination| destination.as_str()),
    };
    encoded.put(head.into(), 2);
    let (mut release_code, mut user_code) = (0, 0);
    if extras != 0 {
        (release_code, user_code) = (width_code(release, RELEASE_WIDTHS), width_code(user, USER_WIDTHS));
        extras |= release_code << RELEASE_AT | user_code << USER_AT;
        encoded.put(extras.into(), 2);
    }
    for (number, width) in numbers.into_iter().zip(widths) {
        encoded.put(number, width);
    }
    if extras & RELEASE != 0 {
        encoded.put(release, RELEASE_WIDTHS[usize::from(release_code)]);
    }
    if extras & COUNTERPARTY != 0 {
        encoded.put(user, USER_WIDTHS[usize::from(user_code)]);
    }
    encoded.put(record.key_hash, 8);
    if extras == 0 {
        return encoded.filled();
    }
    if keeps_last_seq {
        encoded.put(record.last_seq.get(), 8);
    }
    if let Some((index, count)) = record.batch {
        encoded.put(u64::from(index) | u64::from(count) << 32, 8);
    }
    if let Some(metadata) = record.metadata {
        encoded.put(metadata.as_bytes().len() as u64, 2);
    }
    encoded.filled()
}

/// The record at the beginning of `bytes`.
pub(super) fn decode(bytes: &[u8], anchor: Anchor) -> RecordView<'_> {
    const VALID: &str = "a record holds what was pushed";
    let fields = Fields::of(bytes);
    let (head, extras) = (fields.head, fields.extras);
    let id = anchor.seq.wrapping_add(number(bytes, fields.seq, width(head, SEQ_AT, SEQ_WIDTHS)));
    let id = TransactionId::new(id).expect(VALID);
    let time = number(bytes, fields.time, width(head, TIME_AT, TIME_WIDTHS));
    let micros = anchor.micros.wrapping_add(time as i64);
    let amount = number(bytes, fields.amount, width(head, AMOUNT_AT, AMOUNT_WIDTHS));
    let account = number(bytes, fields.account, width(head, ACCOUNT_AT, ACCOUNT_WIDTHS));
    let release_at = fields.has(RELEASE).then(|| {
        let release = number(bytes, fields.release, width(extras, RELEASE_AT, RELEASE_WIDTHS));
        Timestamp::from_micros(micros.wrapping_add(release as i64)).expect(VALID)
    });
    let counterparty = fields
        .has(COUNTERPARTY)
        .then(|| UserId::new(number(bytes, fields.user, width(extras, USER_AT, USER_WIDTHS))).expect(VALID));
    let last_seq = if fields.has(LAST_SEQ) { Seq::new(number(bytes, fields.last_seq(), 8)) } else { id.seq() };
    let batch = fields.has(BATCH).then(|| {
        let both = number(bytes, fields.batch(), 8);
        (both as u32, (both >> 32) as u32)
    });
    let metadata = fields.has(METADATA).then(|| {
        let at = fields.metadata();
        Metadata::new(&bytes[at + 2..][..usize::from(short(bytes, at))]).expect(VALID)
    });
    let destination = fields.has(DESTINATION).then(|| {
        let at = fields.destination(bytes);
        let text = std::str::from_utf8(&bytes[at + 1..][..usize::from(bytes[at])]).expect(VALID);
        Destination::new(text).expect(VALID)
    });
    RecordView {
        id,
        at: Timestamp::from_micros(micros).expect(VALID),
        kind: match head >> KIND_AT & 3 {
            0 => TransactionKind::Charge,
            1 => TransactionKind::Transfer,
            2 => TransactionKind::Withdrawal,
            _ => TransactionKind::Return,
        },
        status: match head & STATUS_MASK {
            0 => Status::Pending,
            1 => Status::Completed,
            _ => Status::Failed,
        },
        direction: if head & DEBIT == 0 { Direction::Credit } else { Direction::Debit },
        amount: Amount::new(amount).expect(VALID),
        account: account as u32,
        counterparty,
        release_at,
        key_hash: number(bytes, fields.key_hash, 8),
        metadata,
        destination,
        batch,
        last_seq,
    }
}

/// Of the record at the beginning of `bytes` the seq, the account, and how many units it takes.
pub(super) fn scan(bytes: &[u8], anchor_seq: u64) -> (u64, u32, u32) {
    let fields = Fields::of(bytes);
    let seq = anchor_seq.wrapping_add(number(bytes, fields.seq, width(fields.head, SEQ_AT, SEQ_WIDTHS)));
    let account = number(bytes, fields.account, width(fields.head, ACCOUNT_AT, ACCOUNT_WIDTHS));
    (seq, account as u32, fields.end(bytes).div_ceil(UNIT) as u32)
}

/// What a restored record says of itself, as far as the lists and holds need it.
pub(super) struct Outline {
    pub(super) units: u32,
    pub(super) account: u32,
    pub(super) seq: u64,
    pub(super) micros: i64,
    pub(super) amount: u64,
    pub(super) is_credit: bool,
    pub(super) release: Option<i64>,
    /// Whether it was pending once, and so has room for another seq.
    pub(super) can_change: bool,
}

/// The record at the beginning of `bytes`, which come from a file: `None` where they are none. The anchor is the record
/// itself where `anchor` is.
pub(super) fn check(bytes: &[u8], anchor: Anchor) -> Option<Outline> {
    let units = units_checked(bytes)?;
    let fields = Fields::of(bytes);
    let micros =
        anchor.micros.checked_add(number(bytes, fields.time, width(fields.head, TIME_AT, TIME_WIDTHS)) as i64)?;
    let seq = anchor.seq.checked_add(number(bytes, fields.seq, width(fields.head, SEQ_AT, SEQ_WIDTHS)))?;
    let release = match fields.has(RELEASE) {
        true => Some(
            micros
                .checked_add(number(bytes, fields.release, width(fields.extras, RELEASE_AT, RELEASE_WIDTHS)) as i64)?,
        ),
        false => None,
    };
    let amount = number(bytes, fields.amount, width(fields.head, AMOUNT_AT, AMOUNT_WIDTHS));
    TransactionId::new(seq)?;
    Amount::new(amount)?;
    Timestamp::from_micros(micros)?;
    Timestamp::from_micros(release.unwrap_or(0))?;
    if fields.has(COUNTERPARTY) {
        UserId::new(number(bytes, fields.user, width(fields.extras, USER_AT, USER_WIDTHS)))?;
    }
    if fields.has(METADATA) {
        let at = fields.metadata();
        Metadata::new(&bytes[at + 2..][..usize::from(short(bytes, at))])?;
    }
    if fields.has(DESTINATION) {
        let at = fields.destination(bytes);
        Destination::new(std::str::from_utf8(&bytes[at + 1..][..usize::from(bytes[at])]).ok()?)?;
    }
    Some(Outline {
        units,
        account: number(bytes, fields.account, width(fields.head, ACCOUNT_AT, ACCOUNT_WIDTHS)) as u32,
        seq,
        micros,
        amount,
        is_credit: fields.head & DEBIT == 0,
        release,
        can_change: fields.has(LAST_SEQ),
    })
}

/// How many units the record at the beginning of `bytes` takes; `None` where it does not end within them.
pub(super) fn units_checked(bytes: &[u8]) -> Option<u32> {
    if bytes.len() < 4 {
        return None;
    }
    let fields = Fields::of(bytes);
    let reaches = |at: usize| (at <= bytes.len()).then_some(());
    reaches(fields.last_seq())?;
    reaches(fields.metadata() + if fields.has(METADATA) { 2 } else { 0 })?;
    reaches(fields.destination(bytes) + if fields.has(DESTINATION) { 1 } else { 0 })?;
    let end = fields.end(bytes).next_multiple_of(UNIT);
    reaches(end)?;
    Some((end / UNIT) as u32)
}

/// Whether the record at the beginning of `bytes` was pending once, and so has room for another seq.
pub(super) fn can_change(bytes: &[u8]) -> bool {
    Fields::of(bytes).has(LAST_SEQ)
}

/// Makes the record at the beginning of `bytes` say what it said when it was new, but for the last seq, which is zero:
/// where it is in its life is kept elsewhere, since it changes.
pub(super) fn forget_status(bytes: &mut [u8]) {
    let fields = Fields::of(bytes);
    if fields.has(LAST_SEQ) {
        let head = fields.head & !STATUS_MASK | status_code(Status::Pending);
        bytes[..2].copy_from_slice(&head.to_le_bytes());
        bytes[fields.last_seq()..][..8].fill(0);
    }
}

/// Blots out the hash of the key of the record at the beginning of `bytes`, which depends on the hash's seed.
pub(super) fn forget_key_hash(bytes: &mut [u8]) {
    let key_hash = Fields::of(bytes).key_hash;
    bytes[key_hash..][..8].fill(0);
}

/// Changes the status and the last seq of the record at the beginning of `bytes`.
pub(super) fn set_status(bytes: &mut [u8], status: Status, last_seq: Seq) {
    let fields = Fields::of(bytes);
    assert!(fields.has(LAST_SEQ), "only a transaction that was pending changes");
    let head = fields.head & !STATUS_MASK | status_code(status);
    bytes[..2].copy_from_slice(&head.to_le_bytes());
    bytes[fields.last_seq()..][..8].copy_from_slice(&last_seq.get().to_le_bytes());
}
