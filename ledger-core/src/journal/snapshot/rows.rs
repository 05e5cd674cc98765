//! How the rows of a snapshot lie in bytes: one encoding of each, in varints, and every other is refused.

use uuid::Uuid;

use crate::journal::codec::words::{
    answer_code, answer_of, class_code, class_of, credit_code, credit_of, notice_code, notice_of, resolution_code,
    resolution_of, says_code, says_of, substatus_code, substatus_of,
};
use crate::journal::codec::{Input, decode_event, decode_said, encode_event, encode_said, put_varint, put_zigzag};
use crate::state::account::Frozen;
use crate::state::cut::FrozenSums;
use crate::state::history::RecordRef;
use crate::state::shard::HeldWithdrawal;
use crate::types::{Currency, Epoch, Seq, Timestamp, TransactionId};
use crate::withdrawals::{
    AnswerRecord, AttemptRecord, BankReference, Discrepancy, Dossier, Ending, NoticeRecord, ResolutionRecord,
    ReturnRecord, Withdrawal,
};

type Wrong = &'static str;

/// What a snapshot says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Meta {
    /// The last entry that is in it.
    pub(crate) seq: Seq,
    /// That entry's time, at which holds are folded.
    pub(crate) time: Timestamp,
    /// An entry at or after `seq` that was durable when the snapshot was written, and ends a frame of the log with this
    /// chain: by this log and snapshot are known to belong together.
    pub(crate) anchor: Seq,
    pub(crate) chain: u128,
    /// Into how many shards the accounts are dealt.
    pub(crate) shards: u16,
    /// The seed of the keys' hashes, which records hold.
    pub(crate) key_seed: u64,
    pub(crate) accounts: u64,
    /// From the first on.
    pub(crate) histories: Vec<HistoryFile>,
}

/// A history file, as snapshots name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HistoryFile {
    pub(crate) seq: Seq,
    pub(crate) since: Seq,
    pub(crate) epoch: Epoch,
    pub(crate) bytes: u64,
    pub(crate) digest: u128,
    /// How much of what is in it.
    pub(crate) records: u64,
    pub(crate) keys: u64,
}

impl Meta {
    /// ```text
    /// seq · time (zigzag) · anchor · chain u128 · shards · key seed u64 · accounts · histories, each: seq · since · epoch · bytes · digest u128 · records · keys
    /// ```
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(self.seq.get(), out);
        put_zigzag(self.time.micros(), out);
        put_varint(self.anchor.get(), out);
        out.extend_from_slice(&self.chain.to_le_bytes());
        put_varint(self.shards.into(), out);
        out.extend_from_slice(&self.key_seed.to_le_bytes());
        for count in [self.accounts, self.histories.len() as u64] {
            put_varint(count, out);
        }
        for file in &self.histories {
            for number in [file.seq.get(), file.since.get(), file.epoch.get(), file.bytes] {
                put_varint(number, out);
            }
            out.extend_from_slice(&file.digest.to_le_bytes());
            put_varint(file.records, out);
            put_varint(file.keys, out);
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Meta, Wrong> {
        let input = &mut Input(bytes);
        let mut meta = Meta {
            seq: Seq::new(input.varint()?),
            time: input.time()?,
            anchor: Seq::new(input.varint()?),
            chain: u128::from_le_bytes(array(input)?),
            shards: u16::try_from(input.varint()?).map_err(|_| "more shards than there can be")?,
            key_seed: u64::from_le_bytes(array(input)?),
            accounts: input.varint()?,
            histories: Vec::new(),
        };
        for _ in 0..input.varint()? {
            meta.histories.push(HistoryFile {
                seq: Seq::new(input.varint()?),
                since: Seq::new(input.varint()?),
                epoch: Epoch::new(input.varint()?),
                bytes: input.varint()?,
                digest: u128::from_le_bytes(array(input)?),
                records: input.varint()?,
                keys: input.varint()?,
            });
        }
        if input.0.is_empty() { Ok(meta) } else { Err("bytes after its end") }
    }
}

fn array<const N: usize>(input: &mut Input<'_>) -> Result<[u8; N], Wrong> {
    Ok(input.take(N)?.try_into().expect("so many were taken"))
}

fn put_currency(currency: Currency, out: &mut Vec<u8>) {
    out.extend_from_slice(&currency.padded());
}

fn take_currency(input: &mut Input<'_>) -> Result<Currency, Wrong> {
    let padded: [u8; 8] = array(input)?;
    let len = padded.iter().position(|byte| *byte == 0).unwrap_or(8);
    let code = std::str::from_utf8(&padded[..len]).ok().and_then(Currency::new);
    code.filter(|code| code.padded() == padded).ok_or("a currency that is not one")
}

/// Appends the sums of one currency.
pub(crate) fn put_sums(sums: &FrozenSums, out: &mut Vec<u8>) {
    put_currency(sums.currency, out);
    out.extend_from_slice(&sums.accounts.to_le_bytes());
    out.extend_from_slice(&sums.total.to_le_bytes());
    out.extend_from_slice(&sums.reserved.to_le_bytes());
    out.extend_from_slice(&sums.external.to_le_bytes());
    out.extend_from_slice(&sums.suspense.to_le_bytes());
}

/// The sums of every currency of a shard.
pub(crate) fn take_sums(bytes: &[u8], each: &mut dyn FnMut(&FrozenSums)) -> Result<(), Wrong> {
    let input = &mut Input(bytes);
    while !input.0.is_empty() {
        each(&FrozenSums {
            currency: take_currency(input)?,
            accounts: u64::from_le_bytes(array(input)?),
            total: u128::from_le_bytes(array(input)?),
            reserved: u128::from_le_bytes(array(input)?),
            external: i128::from_le_bytes(array(input)?),
            suspense: i128::from_le_bytes(array(input)?),
        });
    }
    Ok(())
}

/// No account takes fewer: a currency, and five numbers.
pub(crate) const ACCOUNT_BYTES_MIN: u64 = 8 + 5;

/// Appends an account: `user · currency, 8 bytes · total · reserved · held · next release (zigzag), where something is held
/// · last seq`.
pub(crate) fn put_account(account: &Frozen, out: &mut Vec<u8>) {
    put_varint(account.user.get(), out);
    put_currency(account.currency, out);
    put_varint(account.total, out);
    put_varint(account.reserved, out);
    put_varint(account.held, out);
    if let Some(next) = account.next_release_at {
        put_zigzag(next.micros(), out);
    }
    put_varint(account.last_seq.get(), out);
}

/// Every account of a block.
pub(crate) fn take_accounts(bytes: &[u8], each: &mut dyn FnMut(&Frozen) -> Result<(), String>) -> Result<(), String> {
    let input = &mut Input(bytes);
    while !input.0.is_empty() {
        each(&take_account(input)?)?;
    }
    Ok(())
}

fn take_account(input: &mut Input<'_>) -> Result<Frozen, Wrong> {
    let (user, currency) = (input.user()?, take_currency(input)?);
    let (total, reserved, held) = (input.varint()?, input.varint()?, input.varint()?);
    let next_release_at = if held > 0 { Some(input.time()?) } else { None };
    Ok(Frozen { user, currency, total, reserved, held, next_release_at, last_seq: Seq::new(input.varint()?) })
}

/// Appends the anchor of one KiB of records.
pub(crate) fn put_anchor((seq, micros): (u64, i64), out: &mut Vec<u8>) {
    out.extend_from_slice(&seq.to_le_bytes());
    out.extend_from_slice(&micros.to_le_bytes());
}

/// Adds every anchor of a block to `anchors`.
pub(crate) fn take_anchors(bytes: &[u8], anchors: &mut Vec<(u64, i64)>) -> Result<(), Wrong> {
    let input = &mut Input(bytes);
    while !input.0.is_empty() {
        anchors.push((u64::from_le_bytes(array(input)?), i64::from_le_bytes(array(input)?)));
    }
    Ok(())
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    put_varint(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

fn take_text<'a>(input: &mut Input<'a>) -> Result<&'a str, Wrong> {
    let len = input.len()?;
    input.text(len)
}

fn put_optional_time(time: Option<Timestamp>, out: &mut Vec<u8>) {
    out.push(time.is_some().into());
    if let Some(time) = time {
        put_zigzag(time.micros(), out);
    }
}

fn take_optional_time(input: &mut Input<'_>) -> Result<Option<Timestamp>, Wrong> {
    Ok(if take_flag(input)? { Some(input.time()?) } else { None })
}

fn take_flag(input: &mut Input<'_>) -> Result<bool, Wrong> {
    match input.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err("a flag that is neither set nor unset"),
    }
}

/// Appends a withdrawal with where it is in its shard. `record` and `slot` are numbers within the shard.
pub(crate) fn put_withdrawal(held: &HeldWithdrawal, out: &mut Vec<u8>) {
    let HeldWithdrawal { withdrawal, record, slot, last_seq } = held;
    // Every field by name: one that is added must be added here.
    let Withdrawal {
        id,
        user,
        currency,
        amount,
        destination,
        reference,
        created_at,
        changed_at,
        substatus,
        attempts,
        due,
        first_attempt_at,
        maybe_paid,
        inquiries,
        last_answer,
        ending,
        history,
        dossier: _,
    } = withdrawal;
    put_varint(id.get(), out);
    put_varint(record.get().into(), out);
    put_varint((*slot).into(), out);
    put_varint(last_seq.get(), out);
    put_varint(user.get(), out);
    put_currency(*currency, out);
    put_varint(amount.minor(), out);
    put_text(destination.as_deref().unwrap_or_default(), out);
    put_varint(reference.epoch.get(), out);
    put_zigzag(created_at.micros(), out);
    put_zigzag(changed_at.micros(), out);
    out.push(substatus_code(*substatus));
    put_varint((*attempts).into(), out);
    put_optional_time(*due, out);
    put_optional_time(*first_attempt_at, out);
    out.push((*maybe_paid).into());
    put_varint((*inquiries).into(), out);
    out.push(last_answer.map_or(0, answer_code));
    out.push(ending.is_some().into());
    if let Some(Ending { at, event, evidence }) = ending.as_deref() {
        put_zigzag(at.micros(), out);
        encode_event(*event, out);
        put_text(evidence, out);
    }
    put_varint(history.len() as u64, out);
    for AttemptRecord { started_at, end } in history {
        put_zigzag(started_at.micros(), out);
        out.push(end.as_ref().map_or(0, |end| class_code(end.1)));
        if let Some((at, _, evidence)) = end {
            put_zigzag(at.micros(), out);
            put_text(evidence, out);
        }
    }
    put_dossier(withdrawal.dossier(), out);
}

fn put_dossier(dossier: &Dossier, out: &mut Vec<u8>) {
    out.push((dossier != &Dossier::default()).into());
    if dossier == &Dossier::default() {
        return;
    }
    let Dossier { answers, notices, resolution, returned, discrepancies } = dossier;
    put_varint(answers.len() as u64, out);
    for AnswerRecord { at, answer, evidence } in answers {
        put_zigzag(at.micros(), out);
        out.push(answer_code(*answer));
        put_text(evidence, out);
    }
    put_varint(notices.len() as u64, out);
    for NoticeRecord { at, outcome, occurred_at, evidence } in notices {
        put_zigzag(at.micros(), out);
        out.push(notice_code(*outcome));
        put_zigzag(occurred_at.micros(), out);
        put_text(evidence, out);
    }
    out.push(resolution.is_some().into());
    if let Some(ResolutionRecord { at, outcome, operator, evidence }) = resolution {
        put_zigzag(at.micros(), out);
        out.push(resolution_code(*outcome));
        put_text(operator, out);
        put_text(evidence, out);
    }
    out.push(returned.is_some().into());
    if let Some(ReturnRecord { id, at, credit, occurred_at, evidence }) = returned {
        put_varint(id.get(), out);
        put_zigzag(at.micros(), out);
        out.push(credit_code(*credit));
        put_zigzag(occurred_at.micros(), out);
        put_text(evidence, out);
    }
    put_varint(discrepancies.len() as u64, out);
    for Discrepancy { at, said, says, posted, operator, evidence } in discrepancies {
        put_zigzag(at.micros(), out);
        encode_said(*said, out);
        out.extend_from_slice(&[says_code(*says), (*posted).into()]);
        put_text(operator.as_deref().unwrap_or_default(), out);
        put_text(evidence, out);
    }
}

/// Every withdrawal of a block.
pub(crate) fn take_withdrawals(
    bytes: &[u8],
    ledger: Uuid,
    each: &mut dyn FnMut(HeldWithdrawal) -> Result<(), String>,
) -> Result<(), String> {
    let input = &mut Input(bytes);
    while !input.0.is_empty() {
        each(take_withdrawal(input, ledger)?)?;
    }
    Ok(())
}

fn take_withdrawal(input: &mut Input<'_>, ledger: Uuid) -> Result<HeldWithdrawal, Wrong> {
    let id = TransactionId::new(input.varint()?).ok_or("a withdrawal without an id")?;
    let record = RecordRef::from_raw(input.u32()?);
    let slot = input.u32()?;
    let last_seq = Seq::new(input.varint()?);
    let (user, currency, amount) = (input.user()?, take_currency(input)?, input.amount()?);
    let destination = take_text(input)?;
    let reference = BankReference { ledger, epoch: Epoch::new(input.varint()?), id };
    let withdrawal = Withdrawal {
        id,
        user,
        currency,
        amount,
        destination: (!destination.is_empty()).then(|| destination.into()),
        reference,
        created_at: input.time()?,
        changed_at: input.time()?,
        substatus: substatus_of(input.byte()?).ok_or("an unknown substatus")?,
        attempts: input.u32()?,
        due: take_optional_time(input)?,
        first_attempt_at: take_optional_time(input)?,
        maybe_paid: take_flag(input)?,
        inquiries: input.u32()?,
        last_answer: match input.byte()? {
            0 => None,
            code => Some(answer_of(code).ok_or("an unknown answer of the bank")?),
        },
        ending: if take_flag(input)? { Some(Box::new(take_ending(input)?)) } else { None },
        history: take_attempts(input)?,
        dossier: if take_flag(input)? { Some(Box::new(take_dossier(input)?)) } else { None },
    };
    Ok(HeldWithdrawal { withdrawal, record, slot, last_seq })
}

fn take_ending(input: &mut Input<'_>) -> Result<Ending, Wrong> {
    Ok(Ending { at: input.time()?, event: decode_event(input)?, evidence: take_text(input)?.into() })
}

fn take_attempts(input: &mut Input<'_>) -> Result<Vec<AttemptRecord>, Wrong> {
    let mut attempts = Vec::new();
    for _ in 0..input.varint()? {
        let started_at = input.time()?;
        let end = match input.byte()? {
            0 => None,
            code => {
                let class = class_of(code).ok_or("an attempt of an unknown class")?;
                Some((input.time()?, class, take_text(input)?.into()))
            }
        };
        attempts.push(AttemptRecord { started_at, end });
    }
    Ok(attempts)
}

fn take_dossier(input: &mut Input<'_>) -> Result<Dossier, Wrong> {
    let mut dossier = Dossier::default();
    for _ in 0..input.varint()? {
        let (at, answer) = (input.time()?, input.word(answer_of)?);
        dossier.answers.push(AnswerRecord { at, answer, evidence: take_text(input)?.into() });
    }
    for _ in 0..input.varint()? {
        let (at, outcome, occurred_at) = (input.time()?, input.word(notice_of)?, input.time()?);
        dossier.notices.push(NoticeRecord { at, outcome, occurred_at, evidence: take_text(input)?.into() });
    }
    if take_flag(input)? {
        let (at, outcome) = (input.time()?, input.word(resolution_of)?);
        let (operator, evidence) = (take_text(input)?.into(), take_text(input)?.into());
        dossier.resolution = Some(ResolutionRecord { at, outcome, operator, evidence });
    }
    if take_flag(input)? {
        let id = TransactionId::new(input.varint()?).ok_or("a return without an id")?;
        let (at, credit, occurred_at) = (input.time()?, input.word(credit_of)?, input.time()?);
        dossier.returned = Some(ReturnRecord { id, at, credit, occurred_at, evidence: take_text(input)?.into() });
    }
    for _ in 0..input.varint()? {
        let (at, said, says) = (input.time()?, decode_said(input)?, input.word(says_of)?);
        let posted = take_flag(input)?;
        let operator = Some(take_text(input)?).filter(|name| !name.is_empty()).map(Into::into);
        let evidence = take_text(input)?.into();
        dossier.discrepancies.push(Discrepancy { at, said, says, posted, operator, evidence });
    }
    Ok(dossier)
}
