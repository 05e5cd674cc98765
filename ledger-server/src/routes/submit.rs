//! The one way of a single command through the server, whichever it is.

use axum::extract::Request;
use axum::response::Response;
use ledger_core::Transaction;

use crate::app::App;
use crate::error::Problem;
use crate::wire::fields::Fields;
use crate::wire::key::HeaderKey;
use crate::wire::operation::{Kind, Operation};
use crate::wire::views::{self, ShownTransaction};
use crate::wire::{body, query};

/// Reads the command, hands it to the ledger, and answers once it is durable. A client that goes away meanwhile changes
/// nothing: what was appended stays, and a repeat with the same key is told of it.
pub(super) async fn submit(app: App, request: Request, kind: Kind) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    body::json_only(&head.headers)?;
    let body = body::read(body, &head.headers, body::SINGLE_BYTES_MAX, app.options.body_deadline).await?;
    let fields = Fields::of_body(body::text(&body)?)?;
    fields.refuse_strays(kind.fields())?;
    query::none(&head.uri)?;
    let operation = Operation::read(kind, &fields, HeaderKey::of(&head.headers), &app.options.terms)?;
    let decided = match app.ledger.submit(operation.command()) {
        Ok(commit) => commit.await,
        Err(refused) => Err(refused),
    };
    match decided {
        Ok(receipt) => {
            let shown = ShownTransaction::fresh(&operation, &receipt, &app.identity);
            Ok(views::receipt(kind, &shown, &receipt.balance))
        }
        Err(error) => {
            let problem = Problem::from(error);
            match problem.original() {
                Some(original) if app.options.replay_duplicates => replay(&app, kind, original).await,
                _ => Err(problem),
            }
        }
    }
}

/// The first answer's status and shape, with the transaction and the balance as they stand now.
async fn replay(app: &App, kind: Kind, original: &Transaction) -> Result<Response, Problem> {
    let commit = app.ledger.balance(original.user, original.currency).map_err(Problem::of_read)?;
    let balance = commit.await.map_err(Problem::of_read)?;
    let mut response = views::receipt(kind, &original.into(), &balance);
    views::mark_replayed(&mut response);
    Ok(response)
}
