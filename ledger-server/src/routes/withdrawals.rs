//! `GET /withdrawals` and `GET /withdrawals/{id}`

use axum::extract::{Request, State};
use axum::response::Response;
use ledger_core::withdrawals::Substatus;
use ledger_core::{Timestamp, WithdrawalPage, WithdrawalQuery};

use super::id::Id;
use super::transactions::{STATUSES, read};
use crate::app::App;
use crate::config::Span;
use crate::error::{Code, Problem};
use crate::wire::cursor::List;
use crate::wire::json::{self, Object};
use crate::wire::query::{self, Parameter};
use crate::wire::{views, withdrawals};

/// Withdrawals of all users, oldest first: for whoever looks after those that do not end by themselves.
pub(super) async fn list(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let query = asked(&app, &request)?;
    let limit = query.limit;
    // A filter may look at 10,000 withdrawals: milliseconds that other requests must not wait for.
    let ledger = app.ledger.clone();
    let page = tokio::task::spawn_blocking(move || ledger.withdrawals(&query)).await;
    let page = read(page.map_err(|_| Problem::internal())?).await?;
    Ok(answer(&app, &page, limit))
}

/// One withdrawal, with its attempts and all that was said of it.
pub(super) async fn one(State(app): State<App>, Id(id): Id, request: Request) -> Result<Response, Problem> {
    query::none(request.uri())?;
    let parsed = query::transaction_id(&id).ok_or_else(|| not_found(&id))?;
    let found = read(app.ledger.withdrawal(parsed)).await?.ok_or_else(|| not_found(&id))?;
    let mut out = Vec::with_capacity(1024);
    withdrawals::write(&mut out, &found);
    Ok(views::json(out))
}

/// No withdrawal has this id.
pub(super) fn not_found(id: &str) -> Problem {
    Problem::new(Code::TransactionNotFound, format!("there is no withdrawal {id:?}; check the id"))
}

fn asked(app: &App, request: &Request) -> Result<WithdrawalQuery, Problem> {
    const PARAMETERS: [&str; 5] = ["status", "substatus", "older_than", "cursor", "limit"];
    let [status, substatus, older_than, cursor, limit] = query::parameters(request.uri(), PARAMETERS)?;
    let substatuses = Substatus::ALL.map(|substatus| (substatus.as_str(), substatus));
    let status = status.map(|status| status.one_of(&STATUSES)).transpose()?;
    let substatus = substatus.map(|substatus| substatus.one_of(&substatuses)).transpose()?;
    let older_than = older_than.map(|older_than| moment(older_than, app.ledger.now())).transpose()?;
    let after = cursor.map(|cursor| {
        let rule = "it must be the next_cursor of a page of this list";
        // Nothing is skipped in this list.
        let place = list_of(app).read(&cursor.text()?).filter(|(_, skip)| *skip == 0);
        place.map(|(id, _)| id).ok_or_else(|| cursor.problem(Code::InvalidCursor, rule))
    });
    let limit = query::limit(limit)? as usize;
    Ok(WithdrawalQuery { status, substatus, older_than, after: after.transpose()?, limit })
}

/// A time, or a span before now: `older_than=1h` asks for what waits for more than an hour.
fn moment(parameter: Parameter<'_>, now: Timestamp) -> Result<Timestamp, Problem> {
    if let Ok(Span(span)) = parameter.text()?.parse() {
        return Ok(now.saturating_sub(span));
    }
    parameter.time(true).map_err(|_| {
        let rule = "it must be a duration such as 5m, or an RFC 3339 time such as 2024-01-15T12:00:00Z";
        parameter.problem(Code::InvalidRequest, rule)
    })
}

fn list_of(app: &App) -> List {
    List { ledger: app.identity.ledger, user: None, ascending: true }
}

fn answer(app: &App, page: &WithdrawalPage, limit: usize) -> Response {
    let mut out = Vec::with_capacity(64 + 1024 * page.withdrawals.len());
    let mut object = Object::begin(&mut out);
    json::array(object.name("withdrawals"), &page.withdrawals, withdrawals::write);
    object.integer("limit", limit as u64);
    match page.next {
        Some(id) => object.word("next_cursor", &list_of(app).cursor(id, 0)),
        None => object.null("next_cursor"),
    };
    object.end();
    views::json(out)
}
