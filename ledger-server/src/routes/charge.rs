//! `POST /charge`

use axum::extract::{Request, State};

use super::submit::submit;
use crate::app::App;
use crate::error::Problem;
use crate::wire::operation::Kind;
use crate::wire::reply::Reply;

/// Credits a user from the world outside; held until `release_at`, where one is given.
pub(super) async fn charge(State(app): State<App>, request: Request) -> Result<Reply, Problem> {
    submit(app, request, Kind::Charge).await
}
