//! `GET /balance`

use axum::extract::{Request, State};
use axum::response::Response;

use crate::app::App;
use crate::error::{Code, Problem};
use crate::wire::{query, views};

/// One account now, or as of a time before or after.
pub(super) async fn balance(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let [user, currency, at] = query::parameters(request.uri(), ["user_id", "currency", "at"])?;
    let terms = &app.options.terms;
    let user = user.ok_or_else(missing_user)?.user()?;
    let currency = currency.map_or(Ok(terms.currency), |currency| currency.currency(terms))?;
    let asked = match at.map(|at| at.time(false)).transpose()? {
        None => app.ledger.balance(user, currency),
        Some(at) => app.ledger.balance_at(user, currency, at),
    };
    let balance = asked.map_err(Problem::of_read)?.await.map_err(Problem::of_read)?;
    let mut out = Vec::with_capacity(256);
    views::balance(&mut out, &balance);
    Ok(views::json(out))
}

pub(super) fn missing_user() -> Problem {
    Problem::new(Code::InvalidRequest, "user_id is missing; add it to the query").field("user_id")
}
