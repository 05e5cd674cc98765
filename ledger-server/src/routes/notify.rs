//! `POST /withdrawals/notify` and `POST /withdrawals/{id}/notify`: what a bank tells by itself, signed.
//!
//! The signature is over the time and the body, not over the path. So the body always names the withdrawal, and a path
//! that names another is refused: a notice that somebody kept can be sent for no other withdrawal, and to the same one it
//! is a repeat, which changes nothing.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use ledger_core::{Notice, NoticeChange, Noticed};

use super::id::Id;
use super::withdrawals::not_found;
use crate::app::App;
use crate::error::{Code, Problem};
use crate::wire::fields::Fields;
use crate::wire::interventions::Notification;
use crate::wire::json::Object;
use crate::wire::{body, query, views};
use crate::withdrawals::{BadSignature, SIGNATURE_HEADER};

/// Takes a notice of the withdrawal that its body names.
pub(super) async fn notify(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    take(&app, request, None).await
}

/// The same, where the path names the withdrawal, too.
pub(super) async fn notify_one(State(app): State<App>, Id(id): Id, request: Request) -> Result<Response, Problem> {
    take(&app, request, Some(&id)).await
}

async fn take(app: &App, request: Request, id: Option<&str>) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    if app.options.notice_secrets.is_empty() {
        let detail = "this server takes no notices: it was started without --bank-webhook-secret-file";
        return Err(Problem::new(Code::NotFound, detail));
    }
    body::json_only(&head.headers)?;
    let body = body::read(body, &head.headers, body::SINGLE_BYTES_MAX, app.options.body_deadline).await?;
    verify(app, &head.headers, &body)?;
    let text = body::text(&body)?;
    let fields = Fields::of_body(text)?;
    fields.refuse_strays(Notification::FIELDS)?;
    query::none(&head.uri)?;
    let told = Notification::read(&fields)?;
    if let Some(id) = id {
        let named = query::transaction_id(id).ok_or_else(|| not_found(id))?;
        if named != told.reference.id {
            let detail =
                format!("bank_reference names another withdrawal than {id}, which the path names; send it there");
            return Err(Problem::new(Code::InvalidRequest, detail).field("bank_reference"));
        }
    }
    // What was signed, word for word, is the evidence.
    let notice =
        Notice { reference: told.reference, outcome: told.outcome, occurred_at: told.occurred_at, evidence: text };
    let noticed = app.ledger.notify_withdrawal(notice)?.await?;
    Ok(answer(&noticed))
}

/// Whether the body is signed with one of the secrets, and not too long ago.
fn verify(app: &App, headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
    let mut values = headers.get_all(SIGNATURE_HEADER).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(unauthenticated(
            "the header Ledger-Signature must come once; send t=<unix seconds>,v1=<signature>",
        ));
    };
    let header = value.to_str().unwrap_or_default();
    let now = u64::try_from(app.options.clock.wall().micros() / 1_000_000).unwrap_or(0);
    let mut fault = BadSignature::Malformed;
    for secret in &app.options.notice_secrets {
        match secret.verify(header, body, now) {
            Ok(()) => return Ok(()),
            Err(BadSignature::Wrong) if fault == BadSignature::Stale => {}
            Err(other) => fault = other,
        }
    }
    Err(unauthenticated(fault.to_string()))
}

fn unauthenticated(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(Code::Unauthenticated, detail)
}

/// What a bank needs to know, and nothing of the user.
fn answer(noticed: &Noticed) -> Response {
    let withdrawal = &noticed.withdrawal;
    let mut out = Vec::with_capacity(256);
    let mut object = Object::begin(&mut out);
    object
        .text("bank_reference", &withdrawal.reference.to_string())
        .word("status", withdrawal.substatus.status().as_str())
        .word("substatus", withdrawal.substatus.as_str())
        .word(
            "change",
            match noticed.change {
                NoticeChange::Changed => "changed",
                NoticeChange::Repeat => "repeat",
                NoticeChange::Discrepancy => "discrepancy",
            },
        );
    object.end();
    views::json(out)
}
