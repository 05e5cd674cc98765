//! One file per resource; this one says which path and method leads where.
//!
//! A handler admits, delegates and translates: it reads the request, asks the ledger, writes what came out. It holds no
//! rule of money.

mod audit;
mod balance;
mod batch;
mod charge;
mod health;
mod metrics;
mod stream;
mod submit;
mod transactions;
mod transfer;
mod withdraw;

use axum::Router;
use axum::extract::Request;
use axum::routing::{get, post};

use crate::app::App;
use crate::error::{Code, Problem};
use crate::wire::scan::cut;

/// Every path that is served.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/charge", post(charge::charge))
        .route("/transfer", post(transfer::transfer))
        .route("/withdraw", post(withdraw::withdraw))
        .route("/batch", post(batch::batch))
        .route("/balance", get(balance::balance))
        .route("/transactions", get(transactions::list))
        .route("/transactions/{id}", get(transactions::one))
        .route("/health", get(health::health))
        .route("/audit", get(audit::audit))
        .route("/metrics", get(metrics::metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(app)
}

async fn not_found(request: Request) -> Problem {
    let detail =
        format!("there is nothing at {:?}; the paths are those of the HTTP contract", cut(request.uri().path()));
    Problem::new(Code::NotFound, detail)
}

async fn method_not_allowed(request: Request) -> Problem {
    let (method, path) = (request.method(), request.uri().path());
    let detail = format!("{method} is not allowed at {path}; the header Allow says what is");
    Problem::new(Code::MethodNotAllowed, detail)
}
