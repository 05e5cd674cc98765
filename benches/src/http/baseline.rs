//! What the server is measured against: handlers that read the same request and do nothing, on the same axum and hyper,
//! served as the server serves; and, to find the generator's own ceiling, a loop that answers without reading.

use std::io;
use std::process::Command;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::server::Server;

/// As long as the server's own answer to a charge.
const CHARGED: &str = r#"{"message":"charged","idempotency_key":"0123456789abcdef01234567","transaction":{"id":1000000,"user_id":1234567,"currency":"USD","amount":100,"type":"charge","direction":"credit","status":"completed","idempotency_key":"0123456789abcdef01234567","created_at":"2026-11-21T20:42:22.117274Z"},"balance":{"user_id":1234567,"currency":"USD","total":10000,"withdrawable":10000,"held":0,"reserved":0,"next_release_at":null,"seq":1000000}}"#;
const BALANCE: &str = r#"{"user_id":1234567,"currency":"USD","total":10000,"withdrawable":10000,"held":0,"reserved":0,"next_release_at":null,"seq":1000000}"#;
const PARSED: &str = r#"{"results":[],"completed":1000,"pending":0,"duplicates":0,"rejected":0}"#;

/// Which baseline.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Baseline {
    /// Handlers that parse and answer.
    Handlers,
    /// An answer to whatever comes.
    Raw,
}

/// Starts a baseline in a process of its own, as the server is.
///
/// # Errors
/// It does not start.
pub fn start(which: Baseline) -> io::Result<Server> {
    let name = match which {
        Baseline::Handlers => "handlers",
        Baseline::Raw => "raw",
    };
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["baseline", name]);
    Server::spawn(command)
}

/// Serves a baseline until the process is ended.
///
/// # Errors
/// The listener fails.
pub fn serve(which: Baseline) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on http://{}", listener.local_addr()?);
        let router = router();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            match which {
                Baseline::Handlers => tokio::spawn(handle(stream, router.clone())),
                Baseline::Raw => tokio::spawn(answer_all(stream)),
            };
        }
    })
}

async fn handle(stream: TcpStream, router: Router) {
    use tower_service::Service;
    let service =
        hyper::service::service_fn(move |request: Request<Incoming>| router.clone().call(request.map(Body::new)));
    // A client that goes away ends its connection, and that is all.
    let _ = http1::Builder::new().pipeline_flush(true).serve_connection(TokioIo::new(stream), service).await;
}

fn router() -> Router {
    Router::new().route("/charge", post(charge)).route("/batch", post(batch)).route("/balance", get(balance))
}

#[derive(Deserialize)]
struct Charge<'a> {
    user_id: u64,
    amount: u64,
    idempotency_key: &'a str,
}

#[derive(Deserialize)]
struct Operation<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(flatten, borrow)]
    charge: Charge<'a>,
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    operations: Vec<Operation<'a>>,
}

async fn charge(body: Bytes) -> Response {
    match serde_json::from_slice::<Charge<'_>>(&body) {
        Ok(charge) if charge.user_id > 0 && charge.amount > 0 && !charge.idempotency_key.is_empty() => json(CHARGED),
        _ => StatusCode::BAD_REQUEST.into_response(),
    }
}

async fn batch(body: Bytes) -> Response {
    match serde_json::from_slice::<Batch<'_>>(&body) {
        Ok(batch) if batch.operations.iter().all(|one| one.kind == "charge" && one.charge.user_id > 0) => json(PARSED),
        _ => StatusCode::BAD_REQUEST.into_response(),
    }
}

async fn balance() -> Response {
    json(BALANCE)
}

fn json(body: &'static str) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Counts requests and answers each: only where one ends is looked at.
async fn answer_all(mut stream: TcpStream) {
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{BALANCE}",
        BALANCE.len()
    );
    let (mut input, mut out) = (Vec::with_capacity(64 << 10), Vec::new());
    while let Ok(1..) = stream.read_buf(&mut input).await {
        let mut at = 0;
        while let Some(length) = request_length(&input[at..]) {
            at += length;
            out.extend_from_slice(answer.as_bytes());
        }
        input.drain(..at);
        if stream.write_all(&out).await.is_err() {
            return;
        }
        out.clear();
    }
}

/// `None`: it is not whole.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let mut headers = [httparse::EMPTY_HEADER; 8];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = request.parse(bytes) else { return None };
    let body = request.headers.iter().find(|header| header.name == "content-length");
    let body =
        body.map_or(0, |header| std::str::from_utf8(header.value).ok().and_then(|n| n.parse().ok()).unwrap_or(0));
    (bytes.len() >= head + body).then_some(head + body)
}
