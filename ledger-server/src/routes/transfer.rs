//! `POST /transfer`

use axum::extract::{Request, State};

use super::submit::submit;
use crate::app::App;
use crate::error::Problem;
use crate::wire::operation::Kind;
use crate::wire::reply::Reply;

/// Moves money from one user to another.
pub(super) async fn transfer(State(app): State<App>, request: Request) -> Result<Reply, Problem> {
    submit(app, request, Kind::Transfer).await
}
