//! The one way of a single command through the server, whichever it is.

use axum::extract::Request;
use axum::response::Response;
use ledger_core::{Balance, Commit, Error, Receipt, Rejection, Transaction};

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
    // At once, so that in a pipeline too a balance is the one that the command met.
    let decided = |decided: Result<Receipt, Error>| match decided {
        Ok(receipt) => Ok(Decided::Accepted(receipt)),
        Err(Error::Rejected(Rejection::DuplicateRequest(original))) if app.options.replay_duplicates => {
            let balance = app.ledger.balance(original.user, original.currency)?;
            Ok(Decided::Repeated(original, balance))
        }
        Err(refused) => Err(refused),
    };
    let decided = match app.ledger.submit(operation.command()) {
        Ok(commit) => commit.map_result(decided).await,
        Err(refused) => decided(Err(refused)),
    };
    match decided? {
        Decided::Accepted(receipt) => {
            let shown = ShownTransaction::fresh(&operation, &receipt, &app.identity);
            Ok(views::receipt(kind, &shown, &receipt.balance))
        }
        Decided::Repeated(original, balance) => {
            let balance = balance.await.map_err(Problem::of_read)?;
            let mut response = views::receipt(kind, &(&*original).into(), &balance);
            views::mark_replayed(&mut response);
            Ok(response)
        }
    }
}

/// What became of a command.
enum Decided {
    Accepted(Receipt),
    /// It is answered as the first time, with the transaction and the balance as they stand now.
    Repeated(Box<Transaction>, Commit<Balance>),
}
