//! Routes × codes: each code that the document gives a route is one that it answers, and it answers no other.
//!
//! That no answer is outside the document is looked at wherever these tests get one (`contract`). Here each route is brought to each of
//! its codes, in every state that a server can be in. Only `internal` cannot be had: it is a fault of the program.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use ledger_core::withdrawals::AttemptClass;
use ledger_server::app::AppOptions;
use ledger_server::route::Route;
use ledger_server::withdrawals::NoticeSecret;
use serde_json::{Value, json};

use crate::contract;
use crate::socket::Channel;
use crate::support::{Reply, START_MICROS, Server};

const SINGLE: [Route; 3] = [Route::Charge, Route::Transfer, Route::Withdraw];
const KEYED: [Route; 5] = [Route::Charge, Route::Transfer, Route::Withdraw, Route::Cancel, Route::Resolve];
/// Those that change the log.
const WRITES: [Route; 8] = [
    Route::Charge,
    Route::Transfer,
    Route::Withdraw,
    Route::Batch,
    Route::Cancel,
    Route::Resolve,
    Route::Notify,
    Route::NotifyOne,
];
const WITH_A_BODY: [Route; 9] = [
    Route::Charge,
    Route::Transfer,
    Route::Withdraw,
    Route::Batch,
    Route::Cancel,
    Route::Resolve,
    Route::Notify,
    Route::NotifyOne,
    Route::Reconciliations,
];

fn served() -> impl Iterator<Item = Route> {
    Route::ALL.into_iter().filter(|route| *route != Route::Other)
}

fn secret() -> NoticeSecret {
    NoticeSecret::new(b"what the bank signs with").unwrap()
}

/// Takes notices, and waits for no slow client.
fn options(app: AppOptions) -> AppOptions {
    let soon = Duration::from_millis(20);
    AppOptions { notice_secrets: vec![secret()], body_deadline: soon, stream_idle_deadline: soon, ..app }
}

/// A server with a withdrawal of each kind.
struct World {
    server: Server,
    reserved: u64,
    running: u64,
    unknown: u64,
    ended: u64,
    reference: String,
}

impl World {
    fn new() -> impl Future<Output = World> {
        World::around(Server::with(|ledger| ledger, options))
    }

    async fn around(server: Server) -> World {
        server.charge(1, 100, "c").await;
        let mut ids = [0; 4];
        for (n, id) in ids.iter_mut().enumerate() {
            *id = server.withdraw(1, 1, &format!("w{n}")).await;
        }
        let [reserved, running, unknown, ended] = ids;
        server.start_attempt(running);
        server.attempt(unknown, AttemptClass::Ambiguous);
        server.attempt(ended, AttemptClass::Rejected);
        let shown = server.get(&format!("/withdrawals/{unknown}")).await.json();
        let reference = shown["bank_reference"].as_str().unwrap().to_owned();
        World { server, reserved, running, unknown, ended, reference }
    }

    /// The path of something that is there.
    fn path(&self, route: Route) -> String {
        let id = match route {
            Route::Cancel => self.reserved,
            _ => self.unknown,
        };
        let query = match route {
            Route::Balance | Route::Transactions => "?user_id=1",
            _ => "",
        };
        route.as_str().replace("{id}", &id.to_string()) + query
    }

    /// A body that is taken at that path.
    fn body(&self, route: Route) -> Value {
        let key = "k".repeat(99);
        match route {
            Route::Charge | Route::Withdraw => json!({"user_id": 1, "amount": 1, "idempotency_key": key}),
            Route::Transfer => json!({"from_user_id": 1, "to_user_id": 2, "amount": 1, "idempotency_key": key}),
            Route::Batch => {
                let charge = json!({"type": "charge", "user_id": 1, "amount": 1, "idempotency_key": key});
                json!({"operations": [charge], "atomic": true})
            }
            Route::Cancel => json!({"idempotency_key": key}),
            Route::Resolve => {
                json!({"outcome": "completed", "evidence": "e", "operator": "o", "idempotency_key": key})
            }
            Route::Notify | Route::NotifyOne => {
                let occurred_at = "2024-01-10T10:00:01Z";
                json!({"bank_reference": self.reference, "outcome": "settled", "occurred_at": occurred_at})
            }
            _ => json!({}),
        }
    }

    /// Sends what is not signed as it is, and signs what must be.
    async fn send(&self, route: Route, path: &str, media: &str, body: impl Into<Vec<u8>>) -> Reply {
        let body = body.into();
        let method = if WITH_A_BODY.contains(&route) || route == Route::Checkpoints { "POST" } else { "GET" };
        let mut request = Request::builder().method(method).uri(path).header("content-type", media);
        if matches!(route, Route::Notify | Route::NotifyOne) {
            request = request.header("ledger-signature", secret().sign((START_MICROS / 1_000_000) as u64, &body));
        }
        self.server.call(request.body(Body::from(body)).unwrap()).await
    }

    async fn json(&self, route: Route, body: &Value) -> Reply {
        let media = if route == Route::Reconciliations { "application/x-ndjson" } else { "application/json" };
        self.send(route, &self.path(route), media, body.to_string()).await
    }

    /// What is right in every way.
    async fn ask(&self, route: Route) -> Reply {
        self.json(route, &self.body(route)).await
    }

    /// With one member changed.
    async fn with(&self, route: Route, name: &str, value: Value) -> Reply {
        let mut body = self.body(route);
        body[name] = value;
        self.json(route, &body).await
    }

    async fn at(&self, route: Route, path: &str) -> Reply {
        self.send(route, path, "application/json", self.body(route).to_string()).await
    }
}

/// Which codes each route has answered.
#[derive(Default)]
struct Seen(BTreeMap<&'static str, BTreeSet<String>>);

impl Seen {
    fn take(&mut self, route: Route, reply: &Reply, code: &str) {
        assert_eq!(reply.code(), code, "{}: {}", route.as_str(), reply.text);
        self.0.entry(route.as_str()).or_default().insert(code.to_owned());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_code_of_the_document_is_answered_by_its_route() {
    let mut seen = Seen::default();
    of_requests(&mut seen).await;
    of_fields(&mut seen).await;
    of_what_is_there(&mut seen).await;
    of_money_and_places(&mut seen).await;
    of_states(&mut seen).await;
    for route in served() {
        let (documented, seen) = (contract::codes(route), seen.0.remove(route.as_str()).unwrap_or_default());
        let missing: Vec<_> = documented.difference(&seen).map(String::as_str).collect();
        assert_eq!(missing, ["internal"], "{} never answers what the document says", route.as_str());
        assert!(seen.is_subset(&documented), "{}: {seen:?}", route.as_str());
    }
}

/// Requests that are none, whatever they ask for.
async fn of_requests(seen: &mut Seen) {
    let world = World::new().await;
    for route in served() {
        let path = world.path(route);
        let traced = Request::builder().method("TRACE").uri(&path).body(Body::empty()).unwrap();
        let reply = world.server.call(traced).await;
        assert!(!reply.header("allow").is_empty());
        seen.take(route, &reply, "method_not_allowed");
        let media = if route == Route::Reconciliations { "text/csv" } else { "application/json" };
        let more = if path.contains('?') { "&x=1" } else { "?x=1" };
        let reply = world.send(route, &(path + more), media, world.body(route).to_string()).await;
        seen.take(route, &reply, "invalid_request");
    }
    for route in WITH_A_BODY.into_iter().chain([Route::Checkpoints]) {
        let from_a_page = Request::post(world.path(route)).header("origin", "https://evil.example");
        seen.take(route, &world.server.call(from_a_page.body(Body::empty()).unwrap()).await, "forbidden");
    }
    for route in WITH_A_BODY {
        let path = world.path(route);
        seen.take(route, &world.send(route, &path, "text/plain", "{}").await, "unsupported_media_type");
        let media = if route == Route::Reconciliations { "application/x-ndjson" } else { "application/json" };
        seen.take(route, &world.send(route, &path, media, "{\n").await, "invalid_json");
        let long = " ".repeat(if route == Route::Batch { (4 << 20) + 1 } else { (64 << 10) + 1 });
        seen.take(route, &world.send(route, &path, media, long).await, "payload_too_large");
        let (_sender, receiver) = tokio::sync::mpsc::channel(1);
        let request = Request::post(path).header("content-type", media).body(Body::new(Channel(receiver))).unwrap();
        seen.take(route, &world.server.call(request).await, "request_timeout");
    }
}

/// Fields and parameters.
async fn of_fields(seen: &mut Seen) {
    let world = World::new().await;
    for route in SINGLE {
        let user = if route == Route::Transfer { "from_user_id" } else { "user_id" };
        seen.take(route, &world.with(route, user, json!("1")).await, "invalid_user_id");
        seen.take(route, &world.with(route, "amount", json!(0)).await, "invalid_amount");
        seen.take(route, &world.with(route, "currency", json!("GBP")).await, "invalid_currency");
    }
    for route in [Route::Charge, Route::Transfer] {
        seen.take(route, &world.with(route, "release_at", json!("now")).await, "invalid_release_at");
    }
    for route in KEYED {
        seen.take(route, &world.with(route, "idempotency_key", Value::Null).await, "missing_idempotency_key");
        seen.take(route, &world.with(route, "idempotency_key", json!("")).await, "invalid_idempotency_key");
    }
    let keyed = Request::post("/batch").header("content-type", "application/json").header("idempotency-key", "k");
    let body = Body::from(world.body(Route::Batch).to_string());
    seen.take(Route::Batch, &world.server.call(keyed.body(body).unwrap()).await, "invalid_idempotency_key");
    for (route, path, code) in [
        (Route::Balance, "/balance?user_id=x", "invalid_user_id"),
        (Route::Balance, "/balance?user_id=1&currency=GBP", "invalid_currency"),
        (Route::Transactions, "/transactions?user_id=x", "invalid_user_id"),
        (Route::Transactions, "/transactions?user_id=1&currency=GBP", "invalid_currency"),
        (Route::Transactions, "/transactions?user_id=1&page=0", "invalid_page"),
        (Route::Transactions, "/transactions?user_id=1&cursor=x", "invalid_cursor"),
        (Route::Transactions, "/transactions?idempotency_key=", "invalid_idempotency_key"),
        (Route::Transaction, "/transactions/1?user_id=x", "invalid_user_id"),
        (Route::Transaction, "/transactions/999", "transaction_not_found"),
        (Route::Withdrawals, "/withdrawals?limit=0", "invalid_page"),
        (Route::Withdrawals, "/withdrawals?cursor=x", "invalid_cursor"),
        (Route::Withdrawal, "/withdrawals/999", "transaction_not_found"),
    ] {
        seen.take(route, &world.server.get(path).await, code);
    }
    let row = json!({"bank_reference": world.reference, "amount": 1, "currency": "USD", "status": "settled"});
    for (name, value, code) in [("amount", json!(0), "invalid_amount"), ("currency", json!("usd"), "invalid_currency")]
    {
        let mut row = row.clone();
        row[name] = value;
        seen.take(Route::Reconciliations, &world.json(Route::Reconciliations, &row).await, code);
    }
}

/// What is asked for is not there, or was done before.
async fn of_what_is_there(seen: &mut Seen) {
    for route in KEYED {
        let world = World::new().await;
        let made = world.ask(route).await;
        assert!(made.status < 300, "{}: {}", route.as_str(), made.text);
        seen.take(route, &world.ask(route).await, "duplicate_request");
        // The charge's key, which names another command than any of these.
        seen.take(route, &world.with(route, "idempotency_key", json!("c")).await, "idempotency_key_reused");
    }
    let world = World::new().await;
    for (route, path, code) in [
        (Route::Cancel, "/withdrawals/999/cancel".to_owned(), "transaction_not_found"),
        (Route::Cancel, format!("/withdrawals/{}/cancel", world.running), "not_cancellable"),
        (Route::Resolve, "/withdrawals/999/resolve".to_owned(), "transaction_not_found"),
        (Route::Resolve, format!("/withdrawals/{}/resolve", world.ended), "already_resolved"),
        (Route::Resolve, format!("/withdrawals/{}/resolve", world.reserved), "never_attempted"),
        (Route::NotifyOne, "/withdrawals/999/notify".to_owned(), "invalid_request"),
        (Route::NotifyOne, "/withdrawals/x/notify".to_owned(), "transaction_not_found"),
    ] {
        seen.take(route, &world.at(route, &path).await, code);
    }
    let mut failed = world.body(Route::Resolve);
    failed["outcome"] = json!("failed");
    let path = format!("/withdrawals/{}/resolve", world.running);
    let reply = world.send(Route::Resolve, &path, "application/json", failed.to_string()).await;
    seen.take(Route::Resolve, &reply, "attempt_under_way");
    let unheard_of = world.reference.rsplit_once('-').unwrap().0.to_owned() + "-999";
    seen.take(
        Route::Notify,
        &world.with(Route::Notify, "bank_reference", json!(unheard_of)).await,
        "transaction_not_found",
    );
    for route in [Route::Notify, Route::NotifyOne] {
        let unsigned = Request::post(world.path(route)).header("content-type", "application/json");
        let reply = world.server.call(unsigned.body(Body::from("{}")).unwrap()).await;
        seen.take(route, &reply, "unauthenticated");
        let deaf = Server::new();
        seen.take(route, &deaf.post(&world.path(route), "{}").await, "not_found");
    }
    seen.take(Route::Head, &world.server.get("/head").await, "not_found");
    seen.take(Route::Checkpoints, &world.server.post("/checkpoints", "").await, "not_found");
}

/// Too little money, too much of it, no place.
async fn of_money_and_places(seen: &mut Seen) {
    let world = World::new().await;
    for route in [Route::Transfer, Route::Withdraw] {
        seen.take(route, &world.with(route, "amount", json!(1_000)).await, "insufficient_balance");
    }
    seen.take(Route::Transfer, &world.with(Route::Transfer, "to_user_id", json!(1)).await, "same_account");
    let most = json!(9_007_199_254_740_991_u64);
    seen.take(Route::Charge, &world.with(Route::Charge, "amount", most.clone()).await, "balance_overflow");
    let filled = json!({"user_id": 2, "amount": most, "idempotency_key": "most"});
    assert_eq!(world.server.post("/charge", filled).await.status, 200);
    seen.take(Route::Transfer, &world.ask(Route::Transfer).await, "balance_overflow");
    let mut batch = world.body(Route::Batch);
    batch["operations"][0]["amount"] = json!(0);
    seen.take(Route::Batch, &world.json(Route::Batch, &batch).await, "batch_rejected");

    let full = Server::with(|ledger| ledger.withdrawal_places(Some(0)), options);
    full.charge(1, 100, "c").await;
    let body = json!({"user_id": 1, "amount": 1, "idempotency_key": "k"});
    seen.take(Route::Withdraw, &full.post("/withdraw", body).await, "queue_full");

    let statements: Vec<_> = (0..4)
        .map(|_| {
            let (sender, receiver) = tokio::sync::mpsc::channel::<bytes::Bytes>(1);
            let request = Request::post("/reconciliations").header("content-type", "text/csv");
            (sender, request.body(Body::new(Channel(receiver))).unwrap())
        })
        .collect();
    let patient = Server::new();
    let mut senders = Vec::new();
    let mut answers = Vec::new();
    for (sender, request) in statements {
        // A statement takes its place when it begins.
        sender.try_send(bytes::Bytes::from_static(b"bank_reference,amount,currency,status\n")).unwrap();
        let mut http = patient.http.clone();
        let mut answer = Box::pin(async move { tower_service::Service::call(&mut http, request).await });
        let waker = std::task::Waker::noop();
        assert!(answer.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending());
        senders.push(sender);
        answers.push(answer);
    }
    let one_more = Request::post("/reconciliations").header("content-type", "text/csv");
    let one_more = one_more.body(Body::from("bank_reference,amount,currency,status\n")).unwrap();
    seen.take(Route::Reconciliations, &patient.call(one_more).await, "overloaded");
}

/// What the server and its disk are in.
async fn of_states(seen: &mut Seen) {
    for route in WRITES {
        let directory = tempfile::tempdir().unwrap();
        let (server, switches) = Server::on_a_disk(&directory, |ledger| ledger, options);
        let world = World::around(server).await;
        switches.broken.store(true, Ordering::SeqCst);
        seen.take(route, &world.ask(route).await, "outcome_unknown");
        for route in served().filter(|route| !route.answers_always()) {
            seen.take(route, &world.ask(route).await, "halted");
        }
    }
    let world = World::new().await;
    world.server.app.stop();
    for route in served().filter(|route| !route.answers_always()) {
        seen.take(route, &world.ask(route).await, "shutting_down");
    }

    let directory = tempfile::tempdir().unwrap();
    let (server, switches) = Server::on_a_disk(&directory, |ledger| ledger, options);
    let world = World::around(server).await;
    world.server.fill_pipe(&switches.gate, &directory).await;
    for route in WRITES {
        seen.take(route, &world.ask(route).await, "overloaded");
    }
    switches.gate.shut(false);

    let directory = tempfile::tempdir().unwrap();
    let (server, switches) = Server::on_a_disk(&directory, |ledger| ledger, options);
    let world = World::around(server).await;
    switches.full.store(true, Ordering::SeqCst);
    for n in 0.. {
        let charge = |m| json!({"type": "charge", "user_id": 1, "amount": 1, "idempotency_key": format!("{n} {m}")});
        let charges: Vec<_> = (0..50).map(charge).collect();
        if world.server.post("/batch", json!({"operations": charges})).await.json()["rejected"] != 0 {
            break;
        }
    }
    for n in 0.. {
        let charge = json!({"user_id": 1, "amount": 1, "idempotency_key": n.to_string()});
        if world.server.post("/charge", charge).await.status == 507 {
            break;
        }
    }
    for route in WRITES.into_iter().chain([Route::Checkpoints]) {
        seen.take(route, &world.ask(route).await, "storage_full");
    }
}
