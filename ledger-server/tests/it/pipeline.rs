//! Pipelined requests: begun early, and answered as if each had been sent when the one before it was answered.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use ledger_core::{Currency, UserId};
use ledger_server::app::AppOptions;
use ledger_server::serve::ServeOptions;

use crate::socket::{Served, charge_request, read_all};
use crate::support::Server;

/// A request's bytes.
fn request(line: &str, headers: &str, body: &str) -> String {
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    format!("{line} HTTP/1.1\r\nhost: x\r\n{headers}{length}\r\n{body}")
}

const JSON: &str = "content-type: application/json\r\n";

/// Plain ones: begun early, or passed on because of their route or their length.
fn plain_request() -> impl Strategy<Value = String> {
    let charge = |headers: &'static str| {
        (0..3u64, 0..3u64, 0..8u64).prop_map(move |(user, amount, key)| {
            let body = json!({"user_id": user, "amount": amount, "idempotency_key": format!("k{key}")}).to_string();
            request("POST /charge", &format!("{JSON}{headers}"), &body)
        })
    };
    let transfer = (0..8u64).prop_map(|key| {
        let body = json!({"from_user_id": 1, "to_user_id": 2, "amount": 1, "idempotency_key": format!("t{key}")});
        request("POST /transfer", JSON, &body.to_string())
    });
    let balance = (0..4u64).prop_map(|user| request(&format!("GET /balance?user_id={user}"), "", ""));
    let padded = (0..40_000usize).prop_map(|spaces| {
        let body = json!({"user_id": 1, "amount": 1, "idempotency_key": format!("p{spaces}")}).to_string();
        request("POST /charge", JSON, &(body + &" ".repeat(spaces)))
    });
    let one_operation = r#"{"operations":[{"type":"charge","user_id":2,"amount":3,"idempotency_key":"b"}]}"#;
    let others = prop::sample::select(vec![
        request("GET /transactions?user_id=1&limit=100", "", ""),
        request("GET /balance", "", ""),
        request("GET /balance?user_id=1", "", "a body that nobody asked for"),
        request("GET /nowhere", "", ""),
        request("GET /charge", "", ""),
        request("POST /charge", JSON, "{"),
        request("POST /charge", "content-type: text/plain\r\n", "hello"),
        request("POST /charge", "", ""),
        request("POST /batch", JSON, one_operation),
        "\r\n".to_owned() + &request("GET /balance?user_id=1", "", ""),
    ]);
    prop_oneof![
        6 => charge(""),
        1 => charge("Connection: Keep-Alive\r\n"),
        2 => transfer,
        3 => balance,
        1 => padded,
        3 => others,
    ]
}

/// Those of which hyper alone says where they end.
fn other_request() -> impl Strategy<Value = String> {
    let chunked = (0..8u64).prop_map(|key| {
        let body = json!({"user_id": 1, "amount": 1, "idempotency_key": format!("c{key}")}).to_string();
        request("POST /charge", &format!("{JSON}transfer-encoding: chunked\r\n"), "")
            + &format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
    });
    let others = prop::sample::select(vec![
        request("HEAD /balance?user_id=1", "", ""),
        request("PUT /charge", JSON, ""),
        request("GET http://x/balance?user_id=1", "", ""),
        request("GET /balance?user_id=1", "te: trailers\r\n", ""),
        request("POST /charge", "content-length: 2\r\n", "{}"),
    ]);
    prop_oneof![chunked, others]
}

/// What ends the connection in good order.
fn last_request() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        request("GET /balance?user_id=1", "connection: close\r\n", ""),
        "GET /balance?user_id=1 HTTP/1.0\r\n\r\n".to_owned(),
    ])
}

/// What is no request, which ends it too.
fn no_request() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "no request at all\r\n\r\n".to_owned(),
        "GET /balance HTTP/9.9\r\n\r\n".to_owned(),
        request("POST /charge", "content-length: 1\r\ncontent-length: 2\r\n", ""),
        request("POST /charge", "content-length: +1\r\n", ""),
        request("POST /charge", "transfer-encoding: gzip\r\n", ""),
        request("GET /balance?user_id=1", "a header without a colon\r\n", ""),
    ])
}

/// What a client closes its side behind.
fn no_more() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        String::new(),
        "GET /bal".to_owned(),
        request("POST /charge", &format!("{JSON}content-length: 9\r\n"), "") + "{",
        request("POST /charge", &format!("{JSON}content-length: 40000\r\n"), "") + "{",
    ])
}

/// hyper by itself forgets answers that it has not written when it meets what is no request; so that comes behind plain
/// ones here. With it comes whether the client then closes its side.
fn conversation() -> impl Strategy<Value = (Vec<String>, String, bool)> {
    let any = prop_oneof![6 => plain_request(), 1 => other_request()];
    prop_oneof![
        (prop::collection::vec(any, 0..40), last_request(), Just(false)),
        (prop::collection::vec(plain_request(), 0..40), last_request(), Just(false)),
        (prop::collection::vec(plain_request(), 0..40), no_request(), Just(false)),
        (prop::collection::vec(plain_request(), 1..40), no_more(), Just(true)),
    ]
}

/// All that is answered to who says so much, without the lines that say when.
async fn answers_to(served: &Served, parts: impl IntoIterator<Item = &[u8]>, closes: bool) -> String {
    let mut stream = served.connect().await;
    for part in parts {
        // A server that has closed takes no more.
        let _ = stream.write_all(part).await;
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    }
    if closes {
        stream.shutdown().await.unwrap();
    }
    timeless(&read_all(&mut stream).await)
}

/// As [`answers_to`], with each request sent when the one before it was answered.
async fn answers_one_by_one(served: &Served, requests: &[String], last: &str, closes: bool) -> String {
    let mut stream = served.connect().await;
    let mut all = String::new();
    for request in requests {
        stream.write_all(request.as_bytes()).await.unwrap();
        all += &read_answer(&mut stream, request.starts_with("HEAD")).await;
    }
    stream.write_all(last.as_bytes()).await.unwrap();
    if closes {
        stream.shutdown().await.unwrap();
    }
    timeless(&(all + &read_all(&mut stream).await))
}

async fn read_answer(stream: &mut TcpStream, is_head: bool) -> String {
    let mut answer = String::new();
    while !answer.ends_with("\r\n\r\n") {
        answer.push(char::from(stream.read_u8().await.unwrap()));
    }
    let length = answer.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; if is_head { 0 } else { length.parse().unwrap() }];
    stream.read_exact(&mut body).await.unwrap();
    answer + std::str::from_utf8(&body).unwrap()
}

fn timeless(answers: &str) -> String {
    let answers: String = answers.split_inclusive('\n').filter(|line| !line.starts_with("date: ")).collect();
    // What is answered to a repeat ends with the seq of its balance: how much was durable then, which in a pipeline is less.
    let without_seq = |answer: &str| match answer.rsplit_once("\"seq\":") {
        Some((before, _)) if answer.contains("idempotent-replayed") => {
            before.split('\n').filter(|line| !line.starts_with("content-length")).collect()
        }
        _ => answer.to_owned(),
    };
    answers.split_inclusive("HTTP/1.").map(without_seq).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn pipelined_requests_are_answered_as_single_ones(
        (requests, last, closes) in conversation(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        replay_duplicates: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (pipelined, single) = runtime.block_on(async {
            // On a disk, so that what is begun has to wait.
            let options = |app| AppOptions { replay_duplicates, ..app };
            let (server, _gate, _directory) = Server::on_a_slow_disk_with(options);
            let one = Served::around(server, ServeOptions::default()).await;
            let other = Served::around(Server::with(|ledger| ledger, options), ServeOptions::default()).await;
            let bytes = (requests.concat() + &last).into_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let parts = cuts.windows(2).map(|ends| &bytes[ends[0]..ends[1]]);
            (answers_to(&one, parts, closes).await, answers_one_by_one(&other, &requests, &last, closes).await)
        });
        prop_assert_eq!(pipelined, single);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_is_begun_before_its_first_request_is_durable_and_answered_after() {
    let (server, gate, _directory) = Server::on_a_slow_disk();
    let mut served = Served::around(server, ServeOptions::default()).await;
    let mut stream = served.connect().await;
    gate.shut(true);
    let requests: String = (0..16).map(|n| charge_request(&format!("k{n}"), "")).collect();
    stream.write_all(requests.as_bytes()).await.unwrap();
    let ledger = served.server.ledger.clone();
    let rests_on = || ledger.balance(UserId::new(1).unwrap(), Currency::USD).unwrap().seq().get();
    while rests_on() < 16 {
        tokio::task::yield_now().await;
    }
    let early = stream.try_read(&mut [0]);
    assert_eq!(early.unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "answered before it was durable");
    // A stop lets nothing in, and answers what was decided.
    served.stop.take().unwrap().send(()).unwrap();
    gate.shut(false);
    let answers = read_all(&mut stream).await;
    let ids: Vec<&str> =
        answers.split("\"transaction\":{\"id\":").skip(1).map(|rest| rest.split(',').next().unwrap()).collect();
    assert_eq!(ids, (1..=16).map(|id| id.to_string()).collect::<Vec<_>>(), "{answers}");
    served.serving.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_behind_a_stream_is_decided_after_all_of_its_lines() {
    let (server, gate, _directory) = Server::on_a_slow_disk();
    server.charge(9, 1, "before").await;
    let served = Served::around(server, ServeOptions::default()).await;
    gate.shut(true);
    // Two groups: the second is decided when the first is durable, long after the answer has begun.
    let line = |n| json!({"type": "charge", "user_id": 1, "amount": 1, "idempotency_key": format!("line {n}")});
    let lines: String = (0..1_000).map(|n| format!("{}\n", line(n))).collect();
    let half = |key| json!({"user_id": 1, "amount": 500, "idempotency_key": key}).to_string();
    let requests = request("POST /batch", "content-type: application/x-ndjson\r\n", &lines)
        + &request("POST /withdraw", JSON, &half("half"))
        + &request("POST /withdraw", JSON, &half("the other half"))
        + &request("GET /health", "connection: close\r\n", "");
    let mut stream = served.connect().await;
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    // For a server that begins what comes next too soon.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    gate.shut(false);
    let answers = read_all(&mut stream).await;
    assert!(answers.contains("\"done\":true,\"lines\":1000,\"completed\":1000"), "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 202 ").count(), 2, "{}", &answers[answers.len() - 1_500..]);
}

#[tokio::test]
async fn what_is_answered_past_hyper_is_framed_as_hyper_frames_it() {
    // Each asked twice: plain, and so that only hyper may take it.
    let charge = |user, key: &str| json!({"user_id": user, "amount": 5, "idempotency_key": key}).to_string();
    let requests = |more: &str| {
        [
            request("POST /charge", &format!("{JSON}{more}"), &charge(1, "a")),
            request("POST /charge", &format!("{JSON}idempotency-key: b\r\n{more}"), r#"{"user_id":1,"amount":5}"#),
            request(
                "POST /charge",
                &format!("{JSON}idempotency-key: c\r\nidempotency-key: c\r\n{more}"),
                &charge(1, "c"),
            ),
            request("POST /charge", &format!("{JSON}{more}"), &charge(1, "a")),
            request("POST /charge", &format!("{JSON}{more}"), &charge(2, "a")),
            request("POST /charge", &format!("{JSON}{more}"), "no JSON"),
            request("POST /charge", &format!("{JSON}content-encoding: gzip\r\n{more}"), &charge(1, "d")),
            request("POST /charge", &format!("content-type: text/plain\r\n{more}"), &charge(1, "d")),
            request("POST /charge", more, &charge(1, "d")),
            request("POST /withdraw", &format!("{JSON}{more}"), &charge(1, "w")),
            request("POST /withdraw", &format!("{JSON}{more}"), &charge(9, "x")),
            request("POST /transfer", &format!("{JSON}{more}"), &charge(1, "t")),
            request("GET /balance?user_id=1", more, ""),
            request("GET /balance?user_id=1&currency=EUR&at=2024-01-15T12%3A00:00%2B01:00", more, ""),
            request("GET /balance?user_id=x", more, ""),
            request("GET /balance?user=1", more, ""),
        ]
    };
    for replay_duplicates in [false, true] {
        let options = |app| AppOptions { replay_duplicates, ..app };
        let mut answers = Vec::new();
        for more in ["", "te: trailers\r\n"] {
            let served = Served::around(Server::with(|ledger| ledger, options), ServeOptions::default()).await;
            let last = request("GET /balance?user_id=1", "connection: close\r\n", "");
            let answered = answers_one_by_one(&served, &requests(more), &last, false).await;
            // Two ledgers have two names.
            answers.push(answered.replace(&served.server.ledger.uuid().simple().to_string(), "a ledger"));
        }
        assert_eq!(answers[0], answers[1]);
        assert!(answers[0].matches("HTTP/1.1 200 OK\r\n").count() >= 4, "{}", answers[0]);
    }
}

#[tokio::test]
async fn who_is_answered_past_hyper_has_the_same_patience() {
    let options = ServeOptions {
        header_deadline: Duration::from_millis(80),
        idle_deadline: Duration::from_millis(400),
        ..ServeOptions::default()
    };
    let (server, gate, _directory) = Server::on_a_slow_disk();
    let mut served = Served::around(server, options).await;
    let balance = request("GET /balance?user_id=1", "", "");
    let mut stream = served.connect().await;
    for _ in 0..2 {
        stream.write_all(balance.as_bytes()).await.unwrap();
        let answer = read_answer(&mut stream, false).await;
        // A head has come and gone, so that it is not waited for any more.
        assert!(answer.contains("\r\ndate: "), "{answer}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // One whose answer waits is not cut off, not even with a part of the next request behind it.
    gate.shut(true);
    stream.write_all((charge_request("k", "") + "GET /bal").as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    gate.shut(false);
    assert!(read_answer(&mut stream, false).await.starts_with("HTTP/1.1 200 OK\r\n"));
    let started = Instant::now();
    assert_eq!(read_all(&mut stream).await, "", "a slow head is cut off");
    assert!(started.elapsed() < Duration::from_millis(390), "{:?}", started.elapsed());

    let mut stream = served.connect().await;
    stream.write_all(balance.as_bytes()).await.unwrap();
    read_answer(&mut stream, false).await;
    assert_eq!(read_all(&mut stream).await, "", "an idle connection is closed at last");

    let mut stream = served.connect().await;
    stream.write_all(balance.as_bytes()).await.unwrap();
    read_answer(&mut stream, false).await;
    served.stop.take().unwrap().send(()).unwrap();
    let started = Instant::now();
    assert_eq!(read_all(&mut stream).await, "", "a stop closes an idle connection at once");
    assert!(started.elapsed() < Duration::from_millis(300), "{:?}", started.elapsed());
    served.serving.await.unwrap();
}
