//! `GET /metrics`

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;

use crate::app::App;
use crate::error::Problem;
use crate::memory;
use crate::metrics::{self, ServerFigures};
use crate::wire::query;

/// All figures in the Prometheus text format. Answered in every state.
pub(super) async fn metrics(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    query::none(request.uri())?;
    let withdrawals = app.ledger.withdrawal_figures();
    let server = ServerFigures {
        executor_running: app.options.payouts.is_running(),
        in_flight: app.options.payouts.in_flight(),
        queue_length: app.queue_length(),
        queue_capacity: app.options.queue,
        workers: app.options.workers,
        done: app.options.payouts.figures(),
        unknown_oldest: withdrawals
            .unknown_oldest_at
            .map_or(Duration::ZERO, |at| app.ledger.now().saturating_since(at)),
        withdrawals,
        halted: app.ledger.halted().is_some(),
        degraded: app.ledger.degraded().is_some(),
        clock_leap: app.ledger.clock_leap().unwrap_or_default(),
        uptime: app.started.elapsed(),
        resident_bytes: memory::bytes_resident(),
    };
    let mut response = Response::new(metrics::text(&app.metrics, &app.ledger.stats(), &server).into());
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}
