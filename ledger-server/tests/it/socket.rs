//! Connections: what only shows on a real socket.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ledger_server::app::AppOptions;
use ledger_server::serve::{ServeOptions, serve};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::Server;

/// A body whose parts come when a test sends them.
pub(crate) struct Channel(pub(crate) tokio::sync::mpsc::Receiver<bytes::Bytes>);

impl http_body::Body for Channel {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|part| part.map(|part| Ok(http_body::Frame::data(part))))
    }
}

pub(crate) struct Served {
    address: SocketAddr,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) serving: JoinHandle<()>,
    pub(crate) server: Server,
}

impl Served {
    async fn new(options: ServeOptions, body_deadline: Duration) -> Served {
        Served::around(Server::with(|ledger| ledger, |app| AppOptions { body_deadline, ..app }), options).await
    }

    pub(crate) async fn around(server: Server, options: ServeOptions) -> Served {
        Served::beside(server, options, std::future::ready(())).await
    }

    /// With work that a stop waits for.
    async fn beside(server: Server, options: ServeOptions, work: impl Future<Output = ()> + Send + 'static) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let until = async {
            let _ = stopped.await;
        };
        let serving = tokio::spawn(serve(listener, server.http.clone(), options, until, work, Duration::from_secs(5)));
        Served { address, stop: Some(stop), serving, server }
    }

    pub(crate) async fn plain() -> Served {
        Served::new(ServeOptions::default(), Duration::from_secs(30)).await
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `text` on a connection of its own and returns all that comes back.
    pub(crate) async fn exchange(&self, text: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        read_all(&mut stream).await
    }

    /// Sends heads that are refused, each with its body a while later and another request behind it on the same connection.
    async fn refuses_and_goes_on(&self, heads: &[(String, u16)]) {
        for (head, status) in heads {
            for length in [45, 60 << 10] {
                let mut stream = self.connect().await;
                stream.write_all(format!("{head}content-length: {length}\r\n\r\n").as_bytes()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
                stream.write_all("x".repeat(length).as_bytes()).await.unwrap();
                let answer = read_until(&mut stream, "}").await;
                assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer}");
                assert!(!answer.contains("connection: close"), "{head}: {answer}");
                stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
                assert!(read_all(&mut stream).await.contains("\"status\":"), "{head}");
            }
        }
    }
}

pub(crate) async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes)).await;
    // A reset after the answer is an end, too.
    let _ = read.expect("the connection is closed in time");
    String::from_utf8(bytes).unwrap()
}

async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut part = [0; 4096];
    while !text.contains(end) {
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut part)).await;
        let length = read.unwrap_or_else(|_| panic!("no {end:?} in {text:?}")).unwrap();
        assert!(length > 0, "closed before {end:?}: {text:?}");
        text.push_str(std::str::from_utf8(&part[..length]).unwrap());
    }
    text
}

pub(crate) fn charge_request(key: &str, more_headers: &str) -> String {
    let body = json!({"user_id": 1, "amount": 5, "idempotency_key": key}).to_string();
    let length = body.len();
    format!(
        "POST /charge HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{more_headers}\r\n{body}"
    )
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let served = Served::plain().await;
    let mut requests: String = (0..31).map(|n| charge_request(&format!("k{n}"), "")).collect();
    requests += &charge_request("k31", "connection: close\r\n");
    let answers = served.exchange(&requests).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 32, "{answers}");
    let keys: Vec<_> = answers
        .match_indices("{\"message\":\"charged\",\"idempotency_key\":\"")
        .map(|(at, found)| answers[at + found.len()..].split('"').next().unwrap())
        .collect();
    assert_eq!(keys, (0..32).map(|n| format!("k{n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn head_is_answered_without_a_body() {
    let served = Served::plain().await;
    let answer = served.exchange("HEAD /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n") && answer.contains("content-length: "), "{answer}");
}

#[tokio::test]
async fn a_body_is_asked_for_with_100_continue_and_only_where_it_is_wanted() {
    let served = Served::plain().await;
    for kind in ["application/json", "application/x-ndjson"] {
        let path = if kind.ends_with("ndjson") { "/batch" } else { "/charge" };
        let body = json!({"user_id": 1, "amount": 5, "idempotency_key": kind}).to_string() + "\n";
        let mut stream = served.connect().await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\nexpect: 100-continue\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let first = read_until(&mut stream, "\r\n\r\n").await;
        assert_eq!(first, "HTTP/1.1 100 Continue\r\n\r\n", "{kind}");
        stream.write_all(body.as_bytes()).await.unwrap();
        let answer = read_all(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    let refused = "POST /charge HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
    let mut stream = served.connect().await;
    stream.write_all(refused.as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 415 "), "{answer}");
}

#[tokio::test]
async fn a_line_that_was_asked_for_with_100_continue_is_answered_before_the_next_one_comes() {
    let served = Served::plain().await;
    let mut stream = served.connect().await;
    let head = "POST /batch HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\nexpect: 100-continue\r\n\
                transfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read_until(&mut stream, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    let line = json!({"op": "charge", "user_id": 1, "amount": 5, "idempotency_key": "first"}).to_string() + "\n";
    stream.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, "\"line\":1").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    read_until(&mut stream, "\"done\":true").await;
}

#[tokio::test]
async fn a_slow_body_is_told_so_and_the_connection_closed() {
    let served = Served::new(ServeOptions::default(), Duration::from_millis(50)).await;
    let request = charge_request("k", "");
    let answer = served.exchange(&request[..request.len() - 1]).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"code\":\"request_timeout\""), "{answer}");
    assert_eq!(served.server.get("/balance?user_id=1").await.json()["total"], 0);
}

#[tokio::test]
async fn a_body_in_pieces_is_one_body() {
    let served = Served::plain().await;
    let request = charge_request("k", "connection: close\r\n");
    let mut stream = served.connect().await;
    for piece in request.as_bytes().chunks(7) {
        stream.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(read_all(&mut stream).await.starts_with("HTTP/1.1 200 OK\r\n"));
    let body = json!({"user_id": 1, "amount": 5, "idempotency_key": "chunked"}).to_string();
    let (first, second) = body.split_at(10);
    let chunked = format!(
        "POST /charge HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\
         connection: close\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
        first.len(),
        second.len()
    );
    assert!(served.exchange(&chunked).await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn a_slow_head_is_cut_off_but_silence_between_requests_is_not() {
    let options = ServeOptions {
        header_deadline: Duration::from_millis(80),
        idle_deadline: Duration::from_millis(400),
        ..ServeOptions::default()
    };
    let served = Served::new(options, Duration::from_secs(30)).await;
    let started = Instant::now();
    assert_eq!(served.exchange("").await, "", "a client that says nothing");
    assert_eq!(served.exchange("GET /health HTTP/1.1\r\nhost:").await, "", "a client that stops in its head");
    assert!(started.elapsed() < Duration::from_millis(390), "{:?}", started.elapsed());

    let mut stream = served.connect().await;
    for _ in 0..2 {
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert!(read_until(&mut stream, "}").await.starts_with("HTTP/1.1 200 OK\r\n"));
        // Longer than a head may take, shorter than a connection may be idle.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    stream.write_all(b"GET /heal").await.unwrap();
    let started = Instant::now();
    assert_eq!(read_all(&mut stream).await, "", "a reused connection has the same deadline for a head");
    assert!(started.elapsed() < Duration::from_millis(300), "{:?}", started.elapsed());

    let mut stream = served.connect().await;
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_until(&mut stream, "}").await;
    assert_eq!(read_all(&mut stream).await, "", "an idle connection is closed at last");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let served =
        Served::new(ServeOptions { connections_max: 1, ..ServeOptions::default() }, Duration::from_secs(30)).await;
    let mut first = served.connect().await;
    first.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_until(&mut first, "}").await;
    let mut second = served.connect().await;
    second.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(100), second.read_u8()).await;
    assert!(early.is_err(), "the second was served beside the first");
    drop(first);
    assert!(read_all(&mut second).await.contains("\"status\":\"ok\""));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let options = ServeOptions { write_deadline: Duration::from_millis(50), ..ServeOptions::default() };
    let served = Served::new(options, Duration::from_secs(30)).await;
    let mut stream = served.connect().await;
    // Never reads: once the buffers between are full, the server cannot write, and gives up on this connection.
    let asking = async {
        loop {
            if stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking).await.expect("the server closes the connection");
}

#[tokio::test]
async fn a_stream_answers_while_it_is_sent() {
    let served = Served::plain().await;
    let mut stream = served.connect().await;
    let head = "POST /batch HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for n in 1..=3 {
        let line =
            json!({"type": "charge", "user_id": 1, "amount": 5, "idempotency_key": format!("k{n}")}).to_string() + "\n";
        stream.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "}\n").await;
        assert!(answer.contains(&format!("{{\"line\":{n},\"status\":\"completed\"")), "{answer}");
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert!(read_all(&mut stream).await.contains("{\"done\":true,\"lines\":3,\"completed\":3"));
}

#[tokio::test]
async fn a_stop_answers_what_is_in_flight_and_accepts_nothing_new() {
    let mut served = Served::plain().await;
    let request = charge_request("k", "");
    let (early, late) = request.split_at(request.len() - 3);
    let mut in_flight = served.connect().await;
    in_flight.write_all(early.as_bytes()).await.unwrap();
    let mut idle = served.connect().await;
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_until(&mut idle, "}").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    served.stop.take().unwrap().send(()).unwrap();
    assert_eq!(read_all(&mut idle).await, "", "an idle connection is closed at once");
    in_flight.write_all(late.as_bytes()).await.unwrap();
    let answer = read_all(&mut in_flight).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    (&mut served.serving).await.unwrap();
    assert!(TcpStream::connect(served.address).await.is_err(), "the listener is closed");
    assert_eq!(served.server.get("/balance?user_id=1").await.json()["total"], 5);
}

#[tokio::test]
async fn while_a_stop_waits_for_payouts_health_is_told_and_everything_else_refused() {
    let (paid, payouts) = oneshot::channel::<()>();
    let work = async {
        let _ = payouts.await;
    };
    let mut served = Served::beside(Server::new(), ServeOptions::default(), work).await;
    let charged = served.exchange(&charge_request("before", "connection: close\r\n")).await;
    assert!(charged.starts_with("HTTP/1.1 200 OK\r\n"), "{charged}");
    let mut idle = served.connect().await;
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_until(&mut idle, "}").await;
    served.server.app.stop();
    served.stop.take().unwrap().send(()).unwrap();
    assert_eq!(read_all(&mut idle).await, "", "an idle connection is closed at once");
    // Each closes its connection, though the client did not ask for it, and nothing behind it is taken.
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    for (request, answer, code) in [
        (get("/health"), "HTTP/1.1 503 ", "\"status\":\"shutting_down\""),
        (get("/metrics"), "HTTP/1.1 200 ", "ledger_"),
        (get("/balance?user_id=1"), "HTTP/1.1 503 ", "\"code\":\"shutting_down\""),
        (charge_request("late", ""), "HTTP/1.1 503 ", "\"code\":\"shutting_down\""),
        (charge_request("a", "") + &charge_request("b", ""), "HTTP/1.1 503 ", "\"code\":\"shutting_down\""),
    ] {
        let answered = served.exchange(&request).await;
        assert!(answered.starts_with(answer) && answered.contains(code), "{request}: {answered}");
        assert!(answered.contains("connection: close\r\n"), "{answered}");
        assert_eq!(answered.matches("HTTP/1.1 ").count(), 1, "{answered}");
    }
    // One that says nothing does not hold up the end.
    let mut silent = served.connect().await;
    assert!(!served.serving.is_finished());
    paid.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(4), &mut served.serving).await.expect("it ends").unwrap();
    assert_eq!(read_all(&mut silent).await, "");
    assert!(TcpStream::connect(served.address).await.is_err(), "the listener is closed");
}

#[tokio::test]
async fn a_stop_that_waits_in_vain_ends_in_time() {
    let server = Server::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (stop, never) = (std::future::ready(()), std::future::pending());
    let serving = serve(listener, server.http.clone(), ServeOptions::default(), stop, never, Duration::from_millis(50));
    tokio::time::timeout(Duration::from_secs(10), serving).await.expect("it ends");
}

#[tokio::test]
async fn a_request_that_is_refused_half_read_is_answered_all_the_same() {
    let served = Served::plain().await;
    let chunks = "5\r\nxxxxx\r\n".repeat(3) + "0\r\n\r\n";
    let chunked = |line: &str, media: &str| {
        let headers = format!("content-type: {media}\r\nconnection: close\r\ntransfer-encoding: chunked");
        format!("{line} HTTP/1.1\r\nhost: x\r\n{headers}\r\n\r\n")
    };
    let long = (format!("1000\r\n{}\r\n", "x".repeat(0x1000))).repeat(30) + "0\r\n\r\n";
    for (request, status) in [
        (chunked("POST /charge", "text/plain") + &chunks, 415),
        (chunked("POST /nowhere", "application/json") + &chunks, 404),
        (chunked("PUT /charge", "application/json") + &chunks, 405),
        (chunked("POST /charge", "application/json") + &long, 413),
        (chunked("POST /charge", "application/json") + "5\r\nxxxxx\r\nno length\r\n" + &chunks, 400),
        (format!("GET /balance HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(120)), 431),
        ("no request at all\r\n\r\n".to_owned() + &chunks, 400),
    ] {
        let answer = served.exchange(&request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{}: {answer:?}", &request[..60]);
    }
}

#[tokio::test]
async fn a_connection_is_used_again_after_a_refusal_whose_body_came_after_its_head() {
    let (server, switches, _directory) = Server::on_a_failing_disk();
    let served = Served::around(server, ServeOptions::default()).await;
    let post = |path: &str, media: &str| format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {media}\r\n");
    let (json, lines) = ("application/json", "application/x-ndjson");
    let refused = vec![
        (post("/charge", "text/plain"), 415),
        (post("/nowhere", json), 404),
        (post("/withdrawals/notify", json), 404),
        (post("/health", json), 405),
        (post("/batch?x=1", lines), 400),
        (post("/batch", lines) + "idempotency-key: k\r\n", 400),
        (post("/reconciliations", json), 415),
        (post("/reconciliations?x=1", "text/csv"), 400),
    ];
    served.refuses_and_goes_on(&refused).await;
    switches.store(true, Ordering::SeqCst);
    assert_eq!(
        served.server.post("/charge", json!({"user_id": 1, "amount": 1, "idempotency_key": "k"})).await.status,
        500
    );
    served.refuses_and_goes_on(&[(post("/charge", json), 503)]).await;
}

#[tokio::test]
async fn a_body_with_a_transfer_coding_beside_chunked_is_refused() {
    let served = Served::plain().await;
    let body = json!({"user_id": 1, "amount": 5, "idempotency_key": "k"}).to_string();
    let request = |coding: &str| {
        format!(
            "POST /charge HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: {coding}\r\n\
             connection: close\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        )
    };
    let answer = served.exchange(&request("gzip, chunked")).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("gzip, chunked"), "{answer}");
    assert_eq!(served.server.get("/balance?user_id=1").await.json()["total"], 0);
    let answer = served.exchange(&request("Chunked")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_refusal_whose_body_does_not_come_or_is_long_says_that_it_closes_the_connection() {
    let served = Served::plain().await;
    let post = |more: &str| format!("POST /nowhere HTTP/1.1\r\nhost: x\r\n{more}\r\n\r\n");
    let (chunk, long) = (format!("1000\r\n{}\r\n", "x".repeat(0x1000)), "x".repeat(65 << 10));
    for request in [
        post("content-length: 45"),
        post(&format!("content-length: {}", long.len())) + &long,
        post("transfer-encoding: chunked") + &chunk.repeat(17) + "0\r\n\r\n",
        post("transfer-encoding: chunked") + "no length\r\n",
        // Whether such a client sends its body after a refusal is not known.
        post("content-length: 45\r\nexpect: 100-continue"),
    ] {
        let mut stream = served.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "\r\n\r\n").await;
        let told = answer.starts_with("HTTP/1.1 404 ") && answer.contains("connection: close\r\n");
        assert!(told, "{:?}: {answer}", &request[..60]);
    }
}

/// Sends a head, and then `bytes` of a body that nobody wants, before it reads anything.
async fn send_before_reading(stream: &mut TcpStream, head: &str, bytes: usize) -> std::io::Result<()> {
    stream.write_all(head.as_bytes()).await?;
    let part = vec![b'x'; 64 << 10];
    for _ in 0..bytes / part.len() {
        stream.write_all(&part).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_sends_far_too_much_before_it_reads_gets_its_answer() {
    let served = Served::plain().await;
    let bytes = 32 << 20;
    let post = |path: &str, more: &str| format!("POST {path} HTTP/1.1\r\nhost: x\r\n{more}\r\n\r\n");
    for (head, status) in [
        (post("/charge", &format!("content-type: application/json\r\ncontent-length: {bytes}")), "413"),
        (post("/batch", &format!("content-type: application/json\r\ncontent-length: {bytes}")), "413"),
        (post("/charge", &format!("content-type: text/plain\r\ncontent-length: {bytes}")), "415"),
        (post("/nowhere", &format!("content-length: {bytes}")), "404"),
        // Told in the stream, since it has begun.
        (post("/batch", &format!("content-type: application/x-ndjson\r\ncontent-length: {bytes}")), "200"),
        ("GET /health HTTP/1.1\r\na: ".to_owned(), "431"),
        ("no request at all\r\n\r\n".to_owned(), "400"),
    ] {
        let mut stream = served.connect().await;
        let sent = send_before_reading(&mut stream, &head, bytes).await;
        assert!(sent.is_ok(), "{status}: {sent:?}");
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
        if status == "200" {
            assert!(answer.contains("\"code\":\"payload_too_large\""), "{answer}");
        }
        read.expect("the server's side is closed").unwrap();
    }
}

#[tokio::test]
async fn a_client_that_never_ends_is_cut_off_after_its_answer() {
    let options = ServeOptions { linger_deadline: Duration::from_millis(50), ..ServeOptions::default() };
    let served = Served::new(options, Duration::from_secs(30)).await;
    let head =
        "POST /charge HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n";
    let mut stream = served.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    // Its side stays open and it sends a little now and then: in the end the server takes no more.
    let sending = async {
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), sending).await.expect("the server closes the connection");
}

#[tokio::test]
async fn a_client_that_sends_without_end_is_cut_off_whatever_the_time() {
    let options = ServeOptions { linger_deadline: Duration::from_secs(3_600), ..ServeOptions::default() };
    let served = Served::new(options, Duration::from_secs(30)).await;
    let head =
        "POST /charge HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n";
    let mut stream = served.connect().await;
    assert!(send_before_reading(&mut stream, head, 1 << 30).await.is_err(), "a gigabyte was read and thrown away");
}

#[tokio::test]
async fn a_stream_whose_client_does_not_read_is_not_read_either() {
    let served = Served::plain().await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let (mut reading, mut writing) = socket.connect(served.address).await.unwrap().into_split();
    // What is no operation has an answer fifty times as long: more than the buffers between hold.
    let charge = json!({"type": "charge", "user_id": 1, "amount": 5, "idempotency_key": "k"});
    let lines = format!("{}{charge}\n", "{}\n".repeat(100_000));
    let head = "POST /batch HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\n";
    let request = format!("{head}content-length: {}\r\n\r\n{lines}", lines.len());
    // It keeps its side open: who closes it behind a stream loses what is not written yet.
    let sending = tokio::spawn(async move { writing.write_all(request.as_bytes()).await.map(|()| writing) });
    // Long enough for a server that goes on regardless.
    let ledger = &served.server.ledger;
    for _ in 0..150 {
        assert_eq!(ledger.appended().get(), 0, "all lines are decided, and the answers lie in memory");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut answers = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(60), reading.read_to_end(&mut answers)).await;
    read.expect("the stream goes on where it is read").unwrap();
    drop(sending.await.unwrap().unwrap());
    let answers = String::from_utf8(answers).unwrap();
    assert!(answers.len() > 10 << 20, "{} bytes", answers.len());
    assert!(answers.contains("{\"done\":true,\"lines\":100001,\"completed\":1"));
}

#[tokio::test]
async fn a_stop_answers_all_that_it_recorded_of_a_client_with_a_full_pipeline() {
    let mut served = Served::plain().await;
    let (mut reads, mut writes) = served.connect().await.into_split();
    let sending = tokio::spawn(async move {
        for n in 0..40_000 {
            writes.write_all(charge_request(&format!("k{n}"), "").as_bytes()).await.expect("nobody breaks off");
        }
        writes
    });
    // It reads only once the server stops: by then there is more on its way, in both directions, than either has taken.
    while served.server.get("/balance?user_id=1").await.json()["total"].as_u64() < Some(5_000) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    served.stop.take().unwrap().send(()).unwrap();
    let mut answers = Vec::new();
    reads.read_to_end(&mut answers).await.expect("every answer comes, and then the end");
    drop(sending.await.expect("all is sent"));
    let answered = String::from_utf8(answers).unwrap().matches("HTTP/1.1 200 OK\r\n").count() as u64;
    (&mut served.serving).await.unwrap();
    assert_eq!(served.server.get("/balance?user_id=1").await.json()["total"], 5 * answered);
}

#[tokio::test]
async fn a_client_that_has_said_all_and_reads_slowly_gets_the_last_byte_of_the_last_answer() {
    const PAGES: usize = 200;
    let mut served = Served::plain().await;
    let charges: Vec<_> = (0..100)
        .map(|n| json!({"type": "charge", "user_id": 1, "amount": 5, "idempotency_key": format!("k{n}"), "metadata": {"note": "x".repeat(400)}}))
        .collect();
    served.server.post("/batch", &json!({ "operations": charges })).await;
    for stops in [false, true] {
        // A small window, so that there is more to be written than the kernel takes.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let mut stream = socket.connect(served.address).await.unwrap();
        let page = "GET /transactions?user_id=1&limit=100 HTTP/1.1\r\nhost: x\r\n\r\n";
        stream.write_all(page.repeat(PAGES).as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        if stops {
            served.stop.take().unwrap().send(()).unwrap();
        } else {
            stream.shutdown().await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut answers = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answers)).await;
        read.expect("the connection is closed in time").unwrap();
        let answers = String::from_utf8(answers).unwrap();
        let answered = answers.matches("HTTP/1.1 200 OK\r\n").count();
        assert!(answered == PAGES || stops && answered > 0, "{answered} answers");
        let last = &answers[answers.rfind("HTTP/1.1 200 OK\r\n").unwrap()..];
        let (head, body) = last.split_once("\r\n\r\n").expect("the head is whole");
        let length: usize =
            head.split_once("content-length: ").unwrap().1.split("\r\n").next().unwrap().parse().unwrap();
        assert_eq!(body.len(), length, "of answer {answered}, stops: {stops}");
    }
}
