//! The one way of a single command through the server, whichever it is.

use axum::extract::Request;
use ledger_core::{Commit, Error, Receipt, Rejection, Transaction};

use super::replying::{Decided, Replying};
use crate::app::App;
use crate::error::Problem;
use crate::wire::asked::Asked;
use crate::wire::body;
use crate::wire::fields::Fields;
use crate::wire::operation::{Kind, Operation};
use crate::wire::reply::Reply;
use crate::wire::views::{self, ShownTransaction};

/// Reads the command, hands it to the ledger, and answers once it is durable. A client that goes away meanwhile changes
/// nothing: what was appended stays, and a repeat with the same key is told of it.
pub(super) async fn submit(app: App, request: Request, kind: Kind) -> Result<Reply, Problem> {
    let (head, body) = request.into_parts();
    let asked = Asked::of(&head);
    asked.json_only()?;
    let body = body::read(body, &head.headers, body::SINGLE_BYTES_MAX, app.options.body_deadline).await?;
    decide(&app, &asked, &body, kind)?.await
}

/// Decides a command that has come whole. The reply is written at once, and leaves when the command is durable.
pub(super) fn decide(app: &App, asked: &Asked<'_>, body: &[u8], kind: Kind) -> Result<Replying, Problem> {
    asked.json_only()?;
    let fields = Fields::of_body(body::text(body)?)?;
    fields.refuse_strays(kind.fields())?;
    asked.parameters([])?;
    let operation = Operation::read(kind, &fields, asked.key, &app.options.terms)?;
    let replays = app.options.replay_duplicates;
    let commit = match app.ledger.submit(operation.command()) {
        Ok(commit) => commit,
        Err(Error::Rejected(Rejection::DuplicateRequest(original))) if replays => {
            return Ok(Replying::read(repeat(app, kind, &original)?));
        }
        Err(refused) => return Err(refused.into()),
    };
    Ok(Replying::command(commit.map_result(|decided| match decided {
        Ok(receipt) => Ok(Decided::Accepted(accepted(app, &operation, &receipt))),
        Err(Error::Rejected(Rejection::DuplicateRequest(original))) if replays => {
            repeat(app, kind, &original).map(Decided::Repeated)
        }
        Err(refused) => Err(refused),
    })))
}

fn accepted(app: &App, operation: &Operation<'_>, receipt: &Receipt) -> Reply {
    let shown = ShownTransaction::fresh(operation, receipt, &app.identity);
    views::receipt(operation.kind, &shown, &receipt.balance)
}

/// The balance is asked for at once, so that in a pipeline too it is the one that the command met.
fn repeat(app: &App, kind: Kind, original: &Transaction) -> Result<Commit<Reply>, Error> {
    let balance = app.ledger.balance(original.user, original.currency)?;
    Ok(balance.map(|balance| views::receipt(kind, &original.into(), &balance).replayed()))
}
