//! `GET /balance`

use axum::extract::{Request, State};

use super::replying::Replying;
use crate::app::App;
use crate::error::{Code, Problem};
use crate::wire::asked::Asked;
use crate::wire::reply::Reply;
use crate::wire::views;

/// One account now, or as of a time before or after.
pub(super) async fn balance(State(app): State<App>, request: Request) -> Result<Reply, Problem> {
    let (head, _) = request.into_parts();
    ask(&app, &Asked::of(&head))?.await
}

/// The balance as it is when this is called; it leaves when what it rests on is durable.
pub(super) fn ask(app: &App, asked: &Asked<'_>) -> Result<Replying, Problem> {
    let [user, currency, at] = asked.parameters(["user_id", "currency", "at"])?;
    let terms = &app.options.terms;
    let user = user.ok_or_else(missing_user)?.user()?;
    let currency = currency.map_or(Ok(terms.currency), |currency| currency.currency(terms))?;
    let asked = match at.map(|at| at.time(false)).transpose()? {
        None => app.ledger.balance(user, currency),
        Some(at) => app.ledger.balance_at(user, currency, at),
    };
    let reply = asked.map_err(Problem::of_read)?.map(|balance| {
        let mut out = Vec::with_capacity(256);
        views::balance(&mut out, &balance);
        Reply::json(out)
    });
    Ok(Replying::read(reply))
}

pub(super) fn missing_user() -> Problem {
    Problem::new(Code::InvalidRequest, "user_id is missing; add it to the query").field("user_id")
}
