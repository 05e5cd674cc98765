//! `GET /openapi.json` and `GET /docs`

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::Response;

use crate::error::Problem;
use crate::openapi;
use crate::wire::query;

/// The contract as a document.
pub(super) async fn document(request: Request) -> Result<Response, Problem> {
    query::none(request.uri())?;
    Ok(text("application/json", openapi::json()))
}

/// The contract for people. The page may load nothing and run nothing, wherever it is shown.
pub(super) async fn page(request: Request) -> Result<Response, Problem> {
    query::none(request.uri())?;
    let mut response = text("text/html; charset=utf-8", openapi::page());
    let policy =
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    Ok(response)
}

fn text(kind: &'static str, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
