//! `POST /withdraw`

use axum::extract::{Request, State};

use super::submit::submit;
use crate::app::App;
use crate::error::Problem;
use crate::wire::operation::Kind;
use crate::wire::reply::Reply;

/// Reserves money for a payout by the bank, which the executor sends for; 202 says that it is reserved, not that it is paid.
pub(super) async fn withdraw(State(app): State<App>, request: Request) -> Result<Reply, Problem> {
    submit(app, request, Kind::Withdraw).await
}
