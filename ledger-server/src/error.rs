//! Every way in which the server says no: a closed list of codes, each with one status, answered as
//! `application/problem+json` (RFC 9457).
//!
//! A caller's program reads `code`, a person reads `detail`: which value, why, and what to do. A code never changes its
//! status, and a status here never depends on message text.

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ledger_core::withdrawals::Withdrawal;
use ledger_core::{Error, Halted, Rejection, Transaction};

use crate::metrics;
use crate::wire::json::Object;
use crate::wire::reply::Reply;
use crate::wire::{views, withdrawals};

/// The stable name of a fault.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Code {
    /// The body is not JSON.
    InvalidJson,
    /// A field or parameter is unknown, repeated, missing or ill-typed.
    InvalidRequest,
    /// A user's number is not one.
    InvalidUserId,
    /// The amount is not one.
    InvalidAmount,
    /// The currency is not one, or not one of this server's.
    InvalidCurrency,
    /// The time of release is not one.
    InvalidReleaseAt,
    /// A write without a key.
    MissingIdempotencyKey,
    /// A key that cannot be one.
    InvalidIdempotencyKey,
    /// A page or limit out of range.
    InvalidPage,
    /// A cursor that this list did not give.
    InvalidCursor,
    /// A notice that is not signed as agreed.
    Unauthenticated,
    /// A page of another server asks, in a browser.
    Forbidden,
    /// No such path.
    NotFound,
    /// No such transaction, or none that this user is a party of.
    TransactionNotFound,
    /// The path has other methods.
    MethodNotAllowed,
    /// The body did not come in time.
    RequestTimeout,
    /// The body, or the batch, is too large.
    PayloadTooLarge,
    /// The body is not declared as what is taken here.
    UnsupportedMediaType,
    /// The same command was accepted before.
    DuplicateRequest,
    /// The withdrawal has ended.
    AlreadyResolved,
    /// The withdrawal is at the bank, or has ended.
    NotCancellable,
    /// The bank is being called for the withdrawal.
    AttemptUnderWay,
    /// The withdrawal was never sent to the bank, so there is nothing to resolve.
    NeverAttempted,
    /// Not enough is withdrawable.
    InsufficientBalance,
    /// The credited balance would be too large.
    BalanceOverflow,
    /// A transfer to oneself.
    SameAccount,
    /// The key names another command.
    IdempotencyKeyReused,
    /// An operation of an atomic batch was rejected.
    BatchRejected,
    /// Appended, and nobody knows whether it is durable.
    OutcomeUnknown,
    /// A fault of this program.
    Internal,
    /// The executor of withdrawals has no place.
    QueueFull,
    /// Too much is in flight or in memory.
    Overloaded,
    /// The ledger halted.
    Halted,
    /// The server is stopping.
    ShuttingDown,
    /// The log has no room: its disk is full, or the process has no descriptor for its next file.
    StorageFull,
}

impl Code {
    /// Every code, in the order of their statuses.
    pub const ALL: [Code; 35] = [
        Code::InvalidJson,
        Code::InvalidRequest,
        Code::InvalidUserId,
        Code::InvalidAmount,
        Code::InvalidCurrency,
        Code::InvalidReleaseAt,
        Code::MissingIdempotencyKey,
        Code::InvalidIdempotencyKey,
        Code::InvalidPage,
        Code::InvalidCursor,
        Code::Unauthenticated,
        Code::Forbidden,
        Code::NotFound,
        Code::TransactionNotFound,
        Code::MethodNotAllowed,
        Code::RequestTimeout,
        Code::DuplicateRequest,
        Code::AlreadyResolved,
        Code::NotCancellable,
        Code::AttemptUnderWay,
        Code::NeverAttempted,
        Code::PayloadTooLarge,
        Code::UnsupportedMediaType,
        Code::InsufficientBalance,
        Code::BalanceOverflow,
        Code::SameAccount,
        Code::IdempotencyKeyReused,
        Code::BatchRejected,
        Code::OutcomeUnknown,
        Code::Internal,
        Code::QueueFull,
        Code::Overloaded,
        Code::Halted,
        Code::ShuttingDown,
        Code::StorageFull,
    ];

    /// The word on the wire, the status, and the title: one row a code, so that none can have two.
    const fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Code::InvalidJson => ("invalid_json", 400, "The body is not JSON"),
            Code::InvalidRequest => ("invalid_request", 400, "The request is not valid"),
            Code::InvalidUserId => ("invalid_user_id", 400, "The user id is not valid"),
            Code::InvalidAmount => ("invalid_amount", 400, "The amount is not valid"),
            Code::InvalidCurrency => ("invalid_currency", 400, "The currency is not valid"),
            Code::InvalidReleaseAt => ("invalid_release_at", 400, "The time of release is not valid"),
            Code::MissingIdempotencyKey => ("missing_idempotency_key", 400, "The idempotency key is missing"),
            Code::InvalidIdempotencyKey => ("invalid_idempotency_key", 400, "The idempotency key is not valid"),
            Code::InvalidPage => ("invalid_page", 400, "The page is not valid"),
            Code::InvalidCursor => ("invalid_cursor", 400, "The cursor is not valid"),
            Code::Unauthenticated => ("unauthenticated", 401, "The request is not signed as agreed"),
            Code::Forbidden => ("forbidden", 403, "The request comes from a page of another server"),
            Code::NotFound => ("not_found", 404, "There is nothing at this path"),
            Code::TransactionNotFound => ("transaction_not_found", 404, "There is no such transaction"),
            Code::MethodNotAllowed => ("method_not_allowed", 405, "The method is not allowed here"),
            Code::RequestTimeout => ("request_timeout", 408, "The body did not come in time"),
            Code::DuplicateRequest => ("duplicate_request", 409, "The request was accepted before"),
            Code::AlreadyResolved => ("already_resolved", 409, "The withdrawal was resolved before"),
            Code::NotCancellable => ("not_cancellable", 409, "The withdrawal cannot be cancelled any more"),
            Code::AttemptUnderWay => ("attempt_under_way", 409, "The bank is being called for the withdrawal"),
            Code::NeverAttempted => ("never_attempted", 409, "The withdrawal was never sent to the bank"),
            Code::PayloadTooLarge => ("payload_too_large", 413, "The request is too large"),
            Code::UnsupportedMediaType => {
                ("unsupported_media_type", 415, "The body is not declared as what is taken here")
            }
            Code::InsufficientBalance => ("insufficient_balance", 422, "The withdrawable balance is too small"),
            Code::BalanceOverflow => ("balance_overflow", 422, "The balance would be too large"),
            Code::SameAccount => ("same_account", 422, "The transfer is to its own sender"),
            Code::IdempotencyKeyReused => ("idempotency_key_reused", 422, "The idempotency key names another request"),
            Code::BatchRejected => ("batch_rejected", 422, "An operation was rejected, and the batch with it"),
            Code::OutcomeUnknown => ("outcome_unknown", 500, "Whether the request was recorded is unknown"),
            Code::Internal => ("internal", 500, "The server failed"),
            Code::QueueFull => ("queue_full", 503, "Every place for a withdrawal is taken"),
            Code::Overloaded => ("overloaded", 503, "The server is overloaded"),
            Code::Halted => ("halted", 503, "The ledger halted"),
            Code::ShuttingDown => ("shutting_down", 503, "The server is stopping"),
            Code::StorageFull => ("storage_full", 507, "The log has no room"),
        }
    }

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// Its HTTP status.
    pub const fn status(self) -> u16 {
        self.row().1
    }

    /// What it means in general.
    pub const fn title(self) -> &'static str {
        self.row().2
    }

    /// After how many seconds a repeat has a chance, where time alone may help.
    pub const fn retry_after_seconds(self) -> Option<u32> {
        match self {
            Code::QueueFull | Code::Overloaded => Some(1),
            _ => None,
        }
    }
}

/// What a problem says beyond its code and detail.
#[derive(Clone, Debug)]
enum Extension {
    None,
    Transaction(Box<Transaction>),
    Withdrawable(u64),
    Operation { index: usize, error: Box<Problem> },
    Line(u64),
    Withdrawal(Box<Withdrawal>),
}

/// One "no", on its way to a client.
#[derive(Clone, Debug)]
pub struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    field: Option<Cow<'static, str>>,
    extension: Extension,
}

impl Problem {
    /// A problem with `code`; `detail` says which value, why, and what to do.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem { code, detail: detail.into(), field: None, extension: Extension::None }
    }

    /// With the one field at fault named.
    #[must_use]
    pub fn field(self, field: impl Into<Cow<'static, str>>) -> Problem {
        Problem { field: Some(field.into()), ..self }
    }

    /// With the line at fault named, counted from 1.
    #[must_use]
    pub fn line(self, line: u64) -> Problem {
        Problem { extension: Extension::Line(line), ..self }
    }

    /// Its code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The original transaction, where this says that the request is a repeat of one.
    pub fn original(&self) -> Option<&Transaction> {
        match (&self.code, &self.extension) {
            (Code::DuplicateRequest, Extension::Transaction(original)) => Some(original),
            _ => None,
        }
    }

    /// The rejection of an atomic batch because of its operation `index`.
    pub fn batch_rejected(index: usize, error: Problem) -> Problem {
        Problem {
            code: Code::BatchRejected,
            detail: format!(
                "operation {index} (counted from 0) was rejected with {}, so none of the batch was recorded; \
                 correct it and send the batch again",
                error.code.as_str()
            )
            .into(),
            field: None,
            extension: Extension::Operation { index, error: Box::new(error) },
        }
    }

    /// For reads: an answer that was lost to a halt is no unknown outcome, since a read has none.
    pub fn of_read(error: Error) -> Problem {
        match error {
            Error::Rejected(rejection) => rejection.into(),
            Error::Halted(halted) => Problem::halted(&halted),
        }
    }

    /// The ledger halted, and this request recorded nothing.
    pub fn halted(halted: &Halted) -> Problem {
        Problem::new(
            Code::Halted,
            format!(
                "the ledger halted ({}) and nothing was recorded for this request; an operator must look at the log and \
                 start the server again",
                halted.reason
            ),
        )
    }

    /// The server is stopping, and this request recorded nothing.
    pub fn shutting_down() -> Problem {
        Problem::new(
            Code::ShuttingDown,
            "the server is stopping and nothing was recorded; repeat the request elsewhere or later",
        )
    }

    /// A fault of this program, for a request that may or may not have been recorded.
    pub fn internal() -> Problem {
        Problem::new(
            Code::Internal,
            "the server failed while it handled this request; a write may or may not be recorded: repeat it with the same key",
        )
    }

    /// Writes an answer, `with_title`, or that to one operation of a batch, without; and counts it.
    pub(crate) fn write(&self, out: &mut Vec<u8>, with_title: bool) {
        metrics::count_rejection(self.code);
        self.write_members(out, with_title);
    }

    fn write_members(&self, out: &mut Vec<u8>, with_title: bool) {
        let mut object = Object::begin(out);
        object.integer("status", u64::from(self.code.status()));
        if with_title {
            object.text("title", self.code.title());
        }
        object.text("detail", &self.detail);
        object.text("code", self.code.as_str());
        if let Some(field) = &self.field {
            object.text("field", field);
        }
        match &self.extension {
            Extension::None => {}
            Extension::Transaction(transaction) => {
                views::transaction(object.name("transaction"), &transaction.as_ref().into())
            }
            Extension::Withdrawable(withdrawable) => {
                object.integer("withdrawable", *withdrawable);
            }
            Extension::Operation { index, error } => {
                object.integer("index", *index as u64);
                error.write_members(object.name("error"), false);
            }
            Extension::Line(line) => {
                object.integer("line", *line);
            }
            Extension::Withdrawal(withdrawal) => withdrawals::write(object.name("withdrawal"), withdrawal),
        }
        object.end();
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Problem {
        let code = match &rejection {
            Rejection::ShuttingDown => return Problem::shutting_down(),
            Rejection::StorageFull => Code::StorageFull,
            Rejection::Overloaded => Code::Overloaded,
            Rejection::BatchTooLarge { .. } => Code::PayloadTooLarge,
            Rejection::DuplicateRequest(_) => Code::DuplicateRequest,
            Rejection::IdempotencyKeyReused(_) => Code::IdempotencyKeyReused,
            Rejection::SameAccount => Code::SameAccount,
            Rejection::QueueFull => Code::QueueFull,
            Rejection::InsufficientBalance { .. } => Code::InsufficientBalance,
            Rejection::BalanceOverflow => Code::BalanceOverflow,
            Rejection::TransactionNotFound => Code::TransactionNotFound,
            Rejection::KeyTwiceInBatch { same: true, .. } => Code::DuplicateRequest,
            Rejection::KeyTwiceInBatch { same: false, .. } => Code::IdempotencyKeyReused,
            Rejection::NotCancellable(_) => Code::NotCancellable,
            Rejection::NeverAttempted(_) => Code::NeverAttempted,
            Rejection::AlreadyResolved(_) => Code::AlreadyResolved,
            Rejection::AttemptUnderWay(_) => Code::AttemptUnderWay,
            Rejection::WithdrawalConflict { .. } => Code::AlreadyResolved,
            Rejection::BatchRejected { .. } => Code::BatchRejected,
            // A newer engine's "no" that this server has no word for: nothing was recorded, but that is all it knows.
            _ => Code::Internal,
        };
        let detail = rejection.to_string();
        match rejection {
            Rejection::BatchRejected { index, rejection } => Problem::batch_rejected(index, (*rejection).into()),
            Rejection::DuplicateRequest(original) | Rejection::IdempotencyKeyReused(original) => Problem {
                extension: Extension::Transaction(original),
                ..Problem::new(code, detail).field("idempotency_key")
            },
            Rejection::NotCancellable(withdrawal)
            | Rejection::NeverAttempted(withdrawal)
            | Rejection::AlreadyResolved(withdrawal)
            | Rejection::AttemptUnderWay(withdrawal) => {
                Problem { extension: Extension::Withdrawal(withdrawal), ..Problem::new(code, detail) }
            }
            Rejection::InsufficientBalance { withdrawable } => Problem {
                extension: Extension::Withdrawable(withdrawable),
                ..Problem::new(code, detail).field("amount")
            },
            Rejection::BalanceOverflow => Problem::new(code, detail).field("amount"),
            Rejection::KeyTwiceInBatch { .. } => Problem::new(code, detail).field("idempotency_key"),
            Rejection::SameAccount => Problem::new(code, detail).field("to_user_id"),
            _ => Problem::new(code, detail),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        match error {
            Error::Rejected(rejection) => rejection.into(),
            Error::Halted(halted) if halted.outcome_unknown => Problem::new(
                Code::OutcomeUnknown,
                format!(
                    "the ledger halted ({}) while this request was on its way to the disk, so whether it is recorded is \
                     unknown; repeat it with the same key once the server runs again",
                    halted.reason
                ),
            ),
            Error::Halted(halted) => Problem::halted(&halted),
        }
    }
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Reply {
        let mut body = Vec::with_capacity(512);
        problem.write(&mut body, true);
        let status = StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut reply = Reply { status, media: "application/problem+json", headers: Vec::new(), body };
        if let Some(seconds) = problem.code.retry_after_seconds() {
            reply = reply.with(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if problem.code == Code::Unauthenticated {
            reply = reply.with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Ledger-Signature"));
        }
        // What is left of such a body is not read, so the connection cannot be used again.
        if matches!(problem.code, Code::RequestTimeout | Code::PayloadTooLarge) {
            reply = reply.with(header::CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        Reply::from(self).into_response()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_codes_share_a_word_and_the_list_is_whole() {
        let words: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|code| (400..600).contains(&code.status()) && !code.title().is_empty()));
    }

    #[test]
    fn a_problem_carries_every_member() {
        let problem = Problem::new(Code::InvalidAmount, "amount is \"5\"").field("amount");
        let mut out = Vec::new();
        problem.write(&mut out, true);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"status":400,"title":"The amount is not valid","detail":"amount is \"5\"","code":"invalid_amount","field":"amount"}"#
        );
    }

    #[test]
    fn every_reason_of_the_ledger_has_its_code() {
        let id = ledger_core::TransactionId::new(7).unwrap();
        let original = || {
            Box::new(Transaction {
                id,
                user: ledger_core::UserId::new(1).unwrap(),
                currency: ledger_core::Currency::USD,
                amount: ledger_core::Amount::new(5).unwrap(),
                kind: ledger_core::TransactionKind::Charge,
                direction: ledger_core::Direction::Credit,
                status: ledger_core::Status::Completed,
                idempotency_key: "k".into(),
                created_at: ledger_core::Timestamp::EPOCH,
                release_at: None,
                counterparty: None,
                returns: None,
                withdrawal: None,
                metadata: None,
                last_seq: id.seq(),
            })
        };
        let withdrawal = || {
            let reference = "923dba30a0984342b1abeed0b1084ade-1-7".parse().unwrap();
            let (user, amount) = (ledger_core::UserId::new(1).unwrap(), ledger_core::Amount::new(5).unwrap());
            let (currency, time) = (ledger_core::Currency::USD, ledger_core::Timestamp::EPOCH);
            Box::new(Withdrawal::reserved(id, user, currency, amount, None, reference, time))
        };
        let rows = [
            (Rejection::NotCancellable(withdrawal()), 409, "not_cancellable", ""),
            (Rejection::NeverAttempted(withdrawal()), 409, "never_attempted", ""),
            (Rejection::AlreadyResolved(withdrawal()), 409, "already_resolved", ""),
            (Rejection::AttemptUnderWay(withdrawal()), 409, "attempt_under_way", ""),
            (Rejection::ShuttingDown, 503, "shutting_down", ""),
            (Rejection::StorageFull, 507, "storage_full", ""),
            (Rejection::Overloaded, 503, "overloaded", ""),
            (Rejection::BatchTooLarge { bytes: 2, bytes_max: 1 }, 413, "payload_too_large", ""),
            (Rejection::DuplicateRequest(original()), 409, "duplicate_request", "idempotency_key"),
            (Rejection::IdempotencyKeyReused(original()), 422, "idempotency_key_reused", "idempotency_key"),
            (Rejection::SameAccount, 422, "same_account", "to_user_id"),
            (Rejection::QueueFull, 503, "queue_full", ""),
            (Rejection::InsufficientBalance { withdrawable: 3 }, 422, "insufficient_balance", "amount"),
            (Rejection::BalanceOverflow, 422, "balance_overflow", "amount"),
            (Rejection::TransactionNotFound, 404, "transaction_not_found", ""),
            (
                Rejection::BatchRejected { index: 3, rejection: Box::new(Rejection::QueueFull) },
                422,
                "batch_rejected",
                "",
            ),
        ];
        for (rejection, status, code, field) in rows {
            let response = Problem::from(rejection.clone()).into_response();
            assert_eq!(response.status(), status, "{rejection:?}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
            assert_eq!(
                response.headers().contains_key(header::RETRY_AFTER),
                matches!(code, "queue_full" | "overloaded")
            );
            let mut body = Vec::new();
            Problem::from(rejection).write(&mut body, true);
            let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((&json["code"], &json["status"]), (&code.into(), &status.into()), "{json}");
            assert_eq!(json["field"].as_str().unwrap_or_default(), field, "{json}");
            match code {
                "duplicate_request" | "idempotency_key_reused" => assert_eq!(json["transaction"]["id"], 7),
                "not_cancellable" | "never_attempted" | "already_resolved" | "attempt_under_way" => {
                    assert_eq!(
                        (&json["withdrawal"]["id"], &json["withdrawal"]["substatus"]),
                        (&7.into(), &"reserved".into())
                    )
                }
                "insufficient_balance" => assert_eq!(json["withdrawable"], 3),
                "batch_rejected" => {
                    assert_eq!((&json["index"], &json["error"]["code"]), (&3.into(), &"queue_full".into()))
                }
                _ => {}
            }
        }
    }

    #[test]
    fn a_read_never_has_an_unknown_outcome() {
        let halted = Halted { outcome_unknown: true, reason: "disk".into() };
        assert_eq!(Problem::of_read(Error::Halted(halted.clone())).code(), Code::Halted);
        assert_eq!(Problem::from(Error::Halted(halted)).code(), Code::OutcomeUnknown);
    }
}
