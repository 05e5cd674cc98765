//! `POST /withdrawals/{id}/cancel` and `POST /withdrawals/{id}/resolve`: what an operator decides.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use ledger_core::withdrawals::Withdrawal;
use ledger_core::{
    CancelWithdrawal, Commit, Error, Evidence, Halted, IdempotencyKey, Operator, ResolveWithdrawal, Transaction,
    TransactionId,
};

use super::id::Id;
use super::withdrawals::not_found;
use crate::app::App;
use crate::error::Problem;
use crate::wire::fields::Fields;
use crate::wire::interventions::{Cancellation, Decision};
use crate::wire::key::HeaderKey;
use crate::wire::{body, query, views};

/// Gives a withdrawal up that was never sent to the bank.
pub(super) async fn cancel(State(app): State<App>, Id(id): Id, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let body = whole(&app, &head, body).await?;
    let fields = Fields::of_body(body::text(&body)?)?;
    fields.refuse_strays(Cancellation::FIELDS)?;
    query::none(&head.uri)?;
    let asked = Cancellation::read(&fields, HeaderKey::of(&head.headers))?;
    let id = query::transaction_id(&id).ok_or_else(|| not_found(&id))?;
    let key = IdempotencyKey::new(&asked.key).ok_or_else(Problem::internal)?;
    answer(&app, id, app.ledger.cancel_withdrawal(CancelWithdrawal { id, key })).await
}

/// Ends a withdrawal on an operator's word.
pub(super) async fn resolve(State(app): State<App>, Id(id): Id, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let body = whole(&app, &head, body).await?;
    let fields = Fields::of_body(body::text(&body)?)?;
    fields.refuse_strays(Decision::FIELDS)?;
    query::none(&head.uri)?;
    let asked = Decision::read(&fields, HeaderKey::of(&head.headers))?;
    let id = query::transaction_id(&id).ok_or_else(|| not_found(&id))?;
    let resolve = ResolveWithdrawal {
        id,
        outcome: asked.outcome,
        evidence: Evidence::new(&asked.evidence).ok_or_else(Problem::internal)?,
        operator: Operator::new(&asked.operator).ok_or_else(Problem::internal)?,
        key: IdempotencyKey::new(&asked.key).ok_or_else(Problem::internal)?,
    };
    answer(&app, id, app.ledger.resolve_withdrawal(resolve)).await
}

async fn whole(app: &App, head: &Parts, body: Body) -> Result<Bytes, Problem> {
    body::json_only(&head.headers)?;
    body::read(body, &head.headers, body::SINGLE_BYTES_MAX, app.options.body_deadline).await
}

/// The withdrawal's transaction, once what was decided is durable.
async fn answer(app: &App, id: TransactionId, decided: Result<Commit<Withdrawal>, Error>) -> Result<Response, Problem> {
    let decided = match decided {
        Ok(commit) => commit.await,
        Err(refused) => Err(refused),
    };
    match decided {
        Ok(_) => Ok(shown(&recorded(app, id).await?)),
        Err(error) => {
            let problem = Problem::from(error);
            match problem.original() {
                Some(original) if app.options.replay_duplicates => {
                    let mut response = shown(original);
                    views::mark_replayed(&mut response);
                    Ok(response)
                }
                _ => Err(problem),
            }
        }
    }
}

fn shown(transaction: &Transaction) -> Response {
    let mut out = Vec::with_capacity(512);
    views::transaction(&mut out, &transaction.into());
    views::json(out)
}

/// The transaction after a decision that is recorded. If the ledger halts in between, the caller is told that the outcome
/// is unknown and not that nothing was recorded.
async fn recorded(app: &App, id: TransactionId) -> Result<Transaction, Problem> {
    let read = match app.ledger.transaction(id, None) {
        Ok(commit) => commit.await,
        Err(refused) => Err(refused),
    };
    match read {
        Ok(found) => found.ok_or_else(Problem::internal),
        Err(Error::Halted(halted)) => Err(Error::Halted(Halted { outcome_unknown: true, ..halted }).into()),
        Err(_) => Err(Problem::internal()),
    }
}
