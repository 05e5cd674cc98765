//! One file per resource; this one says which path and method leads where.
//!
//! A handler admits, delegates and translates: it reads the request, asks the ledger, writes what came out. It holds no
//! rule of money.

mod audit;
mod balance;
mod batch;
mod charge;
mod checkpoints;
mod decidable;
mod decide;
mod docs;
mod head;
mod health;
mod id;
mod lines;
mod metrics;
mod notify;
mod push_back;
mod reconcile;
mod replying;
mod stream;
mod submit;
mod transactions;
mod transfer;
mod withdraw;
mod withdrawals;

pub(crate) use decidable::Decidable;
pub(crate) use replying::Replying;

use axum::Router;
use axum::extract::Request;
use axum::routing::{MethodRouter, get, post};

use crate::app::App;
use crate::error::{Code, Problem};
use crate::route::Route;
use crate::wire::scan::cut;

/// Every path that is served.
pub(crate) fn router(app: App) -> Router {
    let served = Route::ALL.into_iter().filter_map(|route| Some((route, methods(route)?)));
    served
        .fold(Router::new(), |router, (route, methods)| router.route(route.as_str(), methods))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(app)
}

fn methods(route: Route) -> Option<MethodRouter<App>> {
    Some(match route {
        Route::Charge => post(charge::charge),
        Route::Transfer => post(transfer::transfer),
        Route::Withdraw => post(withdraw::withdraw),
        Route::Batch => post(batch::batch),
        Route::Balance => get(balance::balance),
        Route::Transactions => get(transactions::list),
        Route::Transaction => get(transactions::one),
        Route::Withdrawals => get(withdrawals::list),
        Route::Withdrawal => get(withdrawals::one),
        Route::Cancel => post(decide::cancel),
        Route::Resolve => post(decide::resolve),
        Route::Notify => post(notify::notify),
        Route::NotifyOne => post(notify::notify_one),
        Route::Reconciliations => post(reconcile::reconcile),
        Route::Health => get(health::health),
        Route::Audit => get(audit::audit),
        Route::Head => get(head::head),
        Route::Checkpoints => post(checkpoints::checkpoint),
        Route::Metrics => get(metrics::metrics),
        Route::OpenApi => get(docs::document),
        Route::Docs => get(docs::page),
        Route::Other => return None,
    })
}

async fn not_found(request: Request) -> Problem {
    let detail = format!("there is nothing at {:?}; GET /docs names the paths", cut(request.uri().path()));
    Problem::new(Code::NotFound, detail)
}

async fn method_not_allowed(request: Request) -> Problem {
    let (method, path) = (request.method(), request.uri().path());
    let detail = format!("{method} is not allowed at {path}; the header Allow says what is");
    Problem::new(Code::MethodNotAllowed, detail)
}
