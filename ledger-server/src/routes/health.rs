//! `GET /health`

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;

use crate::app::App;
use crate::error::Problem;
use crate::wire::json::Object;
use crate::wire::{query, views};

/// Whether the server does its work, and how much of it waits. Answered in every state.
pub(super) async fn health(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    query::none(request.uri())?;
    let halted = app.ledger.halted();
    let status = match (&halted, app.is_stopping()) {
        (Some(_), _) => "halted",
        (None, true) => "shutting_down",
        (None, false) => "ok",
    };
    let mut out = Vec::with_capacity(512);
    let mut object = Object::begin(&mut out);
    object.word("status", status);
    if let Some(halted) = &halted {
        object.text("reason", &halted.reason);
    }
    object
        .word("executor", if app.options.payouts.is_running() { "running" } else { "stopped" })
        .integer("queue_length", app.queue_length() as u64)
        .integer("queue_capacity", app.options.queue as u64)
        .integer("in_flight", app.options.payouts.in_flight() as u64)
        .integer("workers", app.options.workers as u64)
        .integer("pending_withdrawals", app.ledger.withdrawals_open())
        .integer("durable_seq", app.ledger.durable().get())
        .integer("uptime_seconds", app.started.elapsed().as_secs());
    if let Some(reason) = app.ledger.degraded() {
        object.text("mirror_degraded", &reason);
    }
    if let Some(leap) = app.ledger.clock_leap() {
        object.integer("clock_leap_seconds", leap.as_secs());
    }
    object.end();
    let mut response = views::json(out);
    if status != "ok" {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}
