//! What pages in browsers may have done: by the router, and past it.

use axum::body::Body;
use axum::http::Request;
use ledger_server::app::AppOptions;

use crate::socket::{Served, charge_request};
use crate::support::Server;

fn named() -> Server {
    let allowed_origins = vec!["https://ledger.example".parse().unwrap()];
    Server::with(|ledger| ledger, |app| AppOptions { allowed_origins, ..app })
}

/// What a server is called, what page asks it, and whether that is its own or one that was named.
const CASES: [(&str, &str, bool); 15] = [
    ("127.0.0.1:8080", "http://127.0.0.1:8080", true),
    ("[::1]:8080", "http://[::1]:8080", true),
    ("localhost:8080", "http://localhost:8080", true),
    ("ledger-server:8080", "http://ledger-server:8080", true),
    ("10.0.0.1", "https://10.0.0.1", true),
    ("127.0.0.1:8080", "https://ledger.example", true),
    ("anything", "https://LEDGER.example", true),
    ("127.0.0.1:8080", "http://ledger.example", false),
    ("127.0.0.1:8080", "http://127.0.0.1:3000", false),
    ("127.0.0.1:8080", "http://localhost:8080", false),
    ("127.0.0.1:8080", "https://evil.example", false),
    // Its name leads here now: to the browser it is the same page.
    ("evil.example:8080", "http://evil.example:8080", false),
    ("127.0.0.1:8080", "null", false),
    ("127.0.0.1:8080", "", false),
    ("127.0.0.1:8080", "127.0.0.1:8080", false),
];

#[tokio::test]
async fn a_command_from_a_page_of_another_server_is_refused_and_nothing_recorded() {
    for (n, (host, origin, is_admitted)) in CASES.into_iter().enumerate() {
        let headers = format!("origin: {origin}\r\nconnection: close\r\n");
        let request = charge_request(&format!("k{n}"), &headers).replace("host: x", &format!("host: {host}"));
        let served = Served::around(named(), Default::default()).await;
        let answer = served.exchange(&request).await;
        let status = if is_admitted { "200" } else { "403" };
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host} {origin}: {answer}");
        assert_eq!(answer.contains("\"code\":\"forbidden\""), !is_admitted, "{host} {origin}: {answer}");
        let total = if is_admitted { 5 } else { 0 };
        assert_eq!(served.server.get("/balance?user_id=1").await.json()["total"], total, "{host} {origin}");
    }
}

#[tokio::test]
async fn a_client_that_is_no_browser_may_call_the_server_what_it_likes() {
    let served = Served::plain().await;
    for (n, host) in ["ledger.example", "ledger_1.tasks:8080", "evil.example:80", "%", ""].into_iter().enumerate() {
        let request = charge_request(&format!("k{n}"), "connection: close\r\n");
        let answer = served.exchange(&request.replace("host: x", &format!("host: {host}"))).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
    }
}

#[tokio::test]
async fn a_refusal_in_a_pipeline_stops_none_of_the_others() {
    let served = Served::plain().await;
    let requests = [
        charge_request("before", ""),
        charge_request("from a page", "origin: https://evil.example\r\n"),
        charge_request("behind", "connection: close\r\n"),
    ];
    let answers = served.exchange(&requests.concat()).await;
    let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "403", "200"], "{answers}");
    assert!(answers.contains("--allowed-origins"), "{answers}");
    assert_eq!(served.server.get("/balance?user_id=1").await.json()["total"], 10);
}

#[tokio::test]
async fn every_origin_that_is_said_must_be_admitted_and_reads_are_not_refused() {
    let server = named();
    let request = |method: &str, origins: [&str; 2]| {
        let request = Request::builder().method(method).uri("/transactions?user_id=1").header("host", "127.0.0.1");
        let request = origins.into_iter().fold(request, |request, origin| request.header("origin", origin));
        request.body(Body::empty()).unwrap()
    };
    let two = ["https://ledger.example", "https://evil.example"];
    assert_eq!(server.call(request("POST", two)).await.code(), "forbidden");
    assert_eq!(server.call(request("POST", ["https://ledger.example", "http://127.0.0.1"])).await.status, 405);
    for method in ["GET", "HEAD"] {
        assert_eq!(server.call(request(method, two)).await.status, 200);
    }
}
