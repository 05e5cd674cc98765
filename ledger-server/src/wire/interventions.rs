//! What operators and banks say of a withdrawal: cancelling, resolving and notices, checked in the contract's order.

use std::borrow::Cow;

use ledger_core::withdrawals::{NoticeOutcome, Resolution};
use ledger_core::{BankReference, Evidence, Operator, Timestamp};

use super::fields::{Field, FieldSet, Fields};
use super::key::HeaderKey;
use super::operation::idempotency_key;
use super::scan::Value;
use super::time;
use crate::error::{Code, Problem};

/// An operator gives a withdrawal up.
#[derive(Clone, Debug)]
pub(crate) struct Cancellation<'a> {
    pub(crate) key: Cow<'a, str>,
}

/// An operator says how a withdrawal ended.
#[derive(Clone, Debug)]
pub(crate) struct Decision<'a> {
    pub(crate) outcome: Resolution,
    pub(crate) evidence: Cow<'a, str>,
    pub(crate) operator: Cow<'a, str>,
    pub(crate) key: Cow<'a, str>,
}

/// A bank tells what became of a payout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notification {
    pub(crate) reference: BankReference,
    pub(crate) outcome: NoticeOutcome,
    pub(crate) occurred_at: Timestamp,
}

impl<'a> Cancellation<'a> {
    pub(crate) const FIELDS: FieldSet = FieldSet::of(&[Field::Key]);

    pub(crate) fn read(fields: &Fields<'a>, header: HeaderKey<'a>) -> Result<Cancellation<'a>, Problem> {
        Ok(Cancellation { key: idempotency_key(fields, header)? })
    }
}

impl<'a> Decision<'a> {
    pub(crate) const FIELDS: FieldSet = FieldSet::of(&[Field::Outcome, Field::Evidence, Field::Operator, Field::Key]);

    pub(crate) fn read(fields: &Fields<'a>, header: HeaderKey<'a>) -> Result<Decision<'a>, Problem> {
        Ok(Decision {
            outcome: word(fields, Field::Outcome, &Resolution::ALL, |outcome| outcome.as_str())?,
            evidence: text(fields, Field::Evidence, Evidence::BYTES_MAX)?,
            operator: text(fields, Field::Operator, Operator::BYTES_MAX)?,
            key: idempotency_key(fields, header)?,
        })
    }
}

impl Notification {
    pub(crate) const FIELDS: FieldSet = FieldSet::of(&[Field::BankReference, Field::Outcome, Field::OccurredAt]);

    pub(crate) fn read(fields: &Fields<'_>) -> Result<Notification, Problem> {
        Ok(Notification {
            reference: reference(fields)?,
            outcome: word(fields, Field::Outcome, &NoticeOutcome::ALL, |outcome| outcome.as_str())?,
            occurred_at: occurred_at(fields)?,
        })
    }
}

fn reference(fields: &Fields<'_>) -> Result<BankReference, Problem> {
    let value = fields.required(Field::BankReference)?;
    let reference = match value {
        Value::String(text) => text.decode().parse().ok(),
        _ => None,
    };
    reference.ok_or_else(|| {
        let rule = "it must be the bank_reference of a withdrawal, as it was handed to the bank";
        Problem::new(Code::InvalidRequest, format!("bank_reference is {value}; {rule}")).field("bank_reference")
    })
}

fn occurred_at(fields: &Fields<'_>) -> Result<Timestamp, Problem> {
    let value = fields.required(Field::OccurredAt)?;
    let time = match value {
        Value::String(text) => time::parse_down(&text.decode()),
        _ => None,
    };
    time.ok_or_else(|| {
        let rule = "it must be an RFC 3339 time such as \"2024-01-15T12:00:00Z\"";
        Problem::new(Code::InvalidRequest, format!("occurred_at is {value}; {rule}")).field("occurred_at")
    })
}

/// One of `all`, by its word.
fn word<T: Copy>(
    fields: &Fields<'_>,
    field: Field,
    all: &[T],
    word_of: impl Fn(T) -> &'static str,
) -> Result<T, Problem> {
    let value = fields.required(field)?;
    let found = match value {
        Value::String(text) => {
            let text = text.decode();
            all.iter().copied().find(|item| word_of(*item) == text)
        }
        _ => None,
    };
    found.ok_or_else(|| {
        let (name, words): (_, Vec<_>) = (field.as_str(), all.iter().map(|item| word_of(*item)).collect());
        Problem::new(Code::InvalidRequest, format!("{name} is {value}; it must be one of {}", words.join(", ")))
            .field(name)
    })
}

fn text<'a>(fields: &Fields<'a>, field: Field, bytes_max: usize) -> Result<Cow<'a, str>, Problem> {
    let value = fields.required(field)?;
    let text = match value {
        Value::String(text) => Some(text.decode()).filter(|text| (1..=bytes_max).contains(&text.len())),
        _ => None,
    };
    text.ok_or_else(|| {
        let name = field.as_str();
        let detail = format!("{name} is {value}; it must be a string of 1 to {bytes_max} bytes");
        Problem::new(Code::InvalidRequest, detail).field(name)
    })
}
