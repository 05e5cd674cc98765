//! `POST /transfer`

use axum::extract::{Request, State};
use axum::response::Response;

use super::submit::submit;
use crate::app::App;
use crate::error::Problem;
use crate::wire::operation::Kind;

/// Moves money from one user to another.
pub(super) async fn transfer(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    submit(app, request, Kind::Transfer).await
}
