//! The objects of an answer: transactions and balances, as one user sees them.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ledger_core::{
    Balance, BankReference, Currency, Direction, Receipt, Status, Substatus, Timestamp, Transaction, TransactionId,
    TransactionKind, UserId,
};

use super::json::Object;
use super::metadata;
use super::operation::{Kind, Operation};
use super::reply::Reply;

/// A transaction to be shown, whether the ledger kept it or just made it.
pub(crate) struct ShownTransaction<'a> {
    id: u64,
    user: UserId,
    currency: Currency,
    amount: u64,
    kind: TransactionKind,
    direction: Direction,
    status: Status,
    key: &'a str,
    created_at: Timestamp,
    release_at: Option<Timestamp>,
    counterparty: Option<UserId>,
    returns: Option<TransactionId>,
    payout: Option<ShownPayout<'a>>,
    metadata: Option<&'a [u8]>,
}

struct ShownPayout<'a> {
    substatus: Substatus,
    attempts: u32,
    bank_reference: BankReference,
    failure_reason: Option<&'a str>,
    destination: Option<&'a str>,
}

impl<'a> From<&'a Transaction> for ShownTransaction<'a> {
    fn from(transaction: &'a Transaction) -> ShownTransaction<'a> {
        ShownTransaction {
            id: transaction.id.get(),
            user: transaction.user,
            currency: transaction.currency,
            amount: transaction.amount.minor(),
            kind: transaction.kind,
            direction: transaction.direction,
            status: transaction.status,
            key: &transaction.idempotency_key,
            created_at: transaction.created_at,
            release_at: transaction.release_at,
            counterparty: transaction.counterparty,
            returns: transaction.returns,
            payout: transaction.withdrawal.as_ref().map(|payout| ShownPayout {
                substatus: payout.substatus,
                attempts: payout.attempts,
                bank_reference: payout.bank_reference,
                failure_reason: payout.failure_reason.as_deref(),
                destination: payout.destination.as_deref(),
            }),
            metadata: transaction.metadata.as_deref(),
        }
    }
}

impl<'a> ShownTransaction<'a> {
    /// The transaction that `operation` has just become, without asking the ledger for it again.
    pub(crate) fn fresh(
        operation: &'a Operation<'_>,
        receipt: &Receipt,
        ledger: &crate::app::Identity,
    ) -> ShownTransaction<'a> {
        let (kind, direction, status) = match operation.kind {
            Kind::Charge => (TransactionKind::Charge, Direction::Credit, Status::Completed),
            Kind::Transfer => (TransactionKind::Transfer, Direction::Debit, Status::Completed),
            Kind::Withdraw => (TransactionKind::Withdrawal, Direction::Debit, Status::Pending),
        };
        ShownTransaction {
            id: receipt.transaction_id.get(),
            user: operation.user,
            currency: operation.currency,
            amount: operation.amount.minor(),
            kind,
            direction,
            status,
            key: &operation.key,
            created_at: receipt.created_at,
            release_at: receipt.held_until,
            counterparty: (operation.kind == Kind::Transfer).then_some(operation.receiver),
            returns: None,
            payout: (operation.kind == Kind::Withdraw).then(|| ShownPayout {
                substatus: Substatus::Reserved,
                attempts: 0,
                bank_reference: ledger.bank_reference(receipt.transaction_id),
                failure_reason: None,
                destination: operation.destination.as_deref(),
            }),
            metadata: operation.metadata.as_deref(),
        }
    }
}

pub(crate) fn transaction(out: &mut Vec<u8>, shown: &ShownTransaction<'_>) {
    let mut object = Object::begin(out);
    object
        .integer("id", shown.id)
        .integer("user_id", shown.user.get())
        .word("currency", shown.currency.as_str())
        .integer("amount", shown.amount)
        .word("type", shown.kind.as_str())
        .word("direction", if shown.direction == Direction::Credit { "credit" } else { "debit" })
        .word("status", shown.status.as_str())
        .text("idempotency_key", shown.key)
        .time("created_at", shown.created_at);
    if let Some(release_at) = shown.release_at {
        object.time("release_at", release_at);
    }
    if let Some(counterparty) = shown.counterparty {
        object.integer("counterparty_user_id", counterparty.get());
    }
    if let Some(withdrawal) = shown.returns {
        object.integer("returns", withdrawal.get());
    }
    if let Some(payout) = &shown.payout {
        object
            .word("substatus", payout.substatus.as_str())
            .integer("attempts", u64::from(payout.attempts))
            .text("bank_reference", &payout.bank_reference.to_string());
        match payout.failure_reason {
            Some(reason) => object.text("failure_reason", reason),
            None => object.null("failure_reason"),
        };
        if let Some(destination) = payout.destination {
            object.text("destination", destination);
        }
    }
    if let Some(bytes) = shown.metadata {
        metadata::write(object.name("metadata"), bytes);
    }
    object.end();
}

pub(crate) fn balance(out: &mut Vec<u8>, balance: &Balance) {
    let mut object = Object::begin(out);
    object
        .integer("user_id", balance.user.get())
        .word("currency", balance.currency.as_str())
        .integer("total", balance.total())
        .integer("withdrawable", balance.withdrawable)
        .integer("held", balance.held)
        .integer("reserved", balance.reserved);
    match balance.next_release_at {
        Some(time) => object.time("next_release_at", time),
        None => object.null("next_release_at"),
    };
    object.integer("seq", balance.seq.get());
    object.end();
}

/// The answer to a write: the same for a new transaction and for a replayed one.
pub(crate) fn receipt(kind: Kind, shown: &ShownTransaction<'_>, balance_now: &Balance) -> Reply {
    let mut out = Vec::with_capacity(768);
    let mut object = Object::begin(&mut out);
    object.word(
        "message",
        match kind {
            Kind::Charge => "charged",
            Kind::Transfer => "transferred",
            Kind::Withdraw => "withdrawal request submitted",
        },
    );
    object.text("idempotency_key", shown.key);
    if kind == Kind::Withdraw {
        object.word("status", shown.status.as_str());
    }
    transaction(object.name("transaction"), shown);
    balance(object.name("balance"), balance_now);
    object.end();
    let mut reply = Reply::json(out);
    if kind == Kind::Withdraw {
        reply.status = StatusCode::ACCEPTED;
        let location = HeaderValue::try_from(format!("/transactions/{}", shown.id));
        reply.headers.extend(location.ok().map(|location| (header::LOCATION, location)));
    }
    reply
}

/// Marks an answer that was given before.
pub(crate) fn mark_replayed(response: &mut Response) {
    response.headers_mut().insert(HeaderName::from_static("idempotent-replayed"), HeaderValue::from_static("true"));
}

/// A 200 with a body of JSON.
pub(crate) fn json(body: Vec<u8>) -> Response {
    Reply::json(body).into_response()
}
