//! Balances, lists, single transactions and audits.

use std::time::Duration;

use ledger_core::{Amount, Charge, Command, IdempotencyKey, UserId};
use serde_json::{Value, json};

use crate::support::Server;

fn ids(list: &Value) -> Vec<u64> {
    list["transactions"].as_array().unwrap().iter().map(|transaction| transaction["id"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn an_account_never_used_has_zeros() {
    let server = Server::new();
    let balance = server.get("/balance?user_id=9").await;
    assert_eq!(balance.status, 200);
    assert_eq!(
        balance.json(),
        json!({"user_id": 9, "currency": "USD", "total": 0, "withdrawable": 0, "held": 0, "reserved": 0,
               "next_release_at": null, "seq": 0})
    );
}

#[tokio::test]
async fn a_balance_can_be_asked_as_of_any_time() {
    let server = Server::new();
    server.charge(1, 5, "a").await;
    server.clock.advance(Duration::from_secs(60));
    let body = json!({"user_id": 1, "amount": 7, "idempotency_key": "b", "release_at": "2024-01-10T12:00:00Z"});
    assert_eq!(server.post("/charge", body).await.status, 200);
    let at = |time: &str| format!("/balance?user_id=1&at={time}");
    for (time, withdrawable, held) in [
        ("2024-01-10T09:59:59Z", 0, 0),
        ("2024-01-10T10:00:00Z", 5, 0),
        ("2024-01-10T10:00:59.999999Z", 5, 0),
        ("2024-01-10T11:01:00%2B01:00", 5, 7),
        ("2024-01-10T13:00:00+01:00", 12, 0),
        ("9999-12-31T00:00:00Z", 12, 0),
    ] {
        let balance = server.get(&at(time)).await.json();
        assert_eq!(
            (&balance["withdrawable"], &balance["held"]),
            (&json!(withdrawable), &json!(held)),
            "{time}: {balance}"
        );
    }
}

#[tokio::test]
async fn lists_come_in_pages_newest_first() {
    let server = Server::new();
    let mut all = Vec::new();
    for n in 0..25 {
        all.insert(0, server.charge(1, 5, &format!("k{n}")).await);
    }
    server.charge(2, 5, "other").await;
    let page = server.get("/transactions?user_id=1").await.json();
    assert_eq!(ids(&page), all[..10]);
    assert_eq!((&page["total"], &page["page"], &page["limit"]), (&json!(25), &json!(1), &json!(10)));
    assert!(page["next_cursor"].is_string());
    let page = server.get("/transactions?user_id=1&page=3&limit=10").await.json();
    assert_eq!(ids(&page), all[20..]);
    assert_eq!(page["next_cursor"], json!(null));
    let past = server.get("/transactions?user_id=1&page=1000000000000000000&limit=100").await.json();
    assert_eq!((ids(&past), &past["total"]), (vec![], &json!(25)));
    let asc = server.get("/transactions?user_id=1&order=asc&limit=3").await.json();
    assert_eq!(ids(&asc), [all[24], all[23], all[22]]);
    let empty = server.get("/transactions?user_id=77").await.json();
    assert_eq!((ids(&empty), &empty["total"], &empty["next_cursor"]), (vec![], &json!(0), &json!(null)));
}

#[tokio::test]
async fn a_cursor_walks_without_shifting_and_belongs_to_its_list() {
    let server = Server::new();
    let mut all = Vec::new();
    for n in 0..7 {
        all.insert(0, server.charge(1, 5, &format!("k{n}")).await);
    }
    let mut walked = Vec::new();
    let mut path = "/transactions?user_id=1&limit=3".to_owned();
    let first = server.get(&path).await.json()["next_cursor"].as_str().unwrap().to_owned();
    loop {
        let page = server.get(&path).await.json();
        walked.extend(ids(&page));
        server.charge(1, 5, &format!("new{}", walked.len())).await;
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/transactions?user_id=1&limit=3&cursor={cursor}");
    }
    assert_eq!(walked, all);
    for foreign in [
        format!("/transactions?user_id=2&cursor={first}"),
        format!("/transactions?user_id=1&order=asc&cursor={first}"),
        format!("/transactions?user_id=1&cursor={first}0"),
        format!("/transactions?user_id=1&cursor={}", &first[1..]),
    ] {
        let reply = server.get(&foreign).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_cursor"), "{foreign}");
    }
}

#[tokio::test]
async fn a_filtered_page_whose_scan_stopped_is_found_by_its_cursor() {
    let server = Server::new();
    server.charge(1, 1_000, "first").await;
    let mut transfers = Vec::new();
    for n in 0..5 {
        let body = json!({"from_user_id": 1, "to_user_id": 2, "amount": 1, "idempotency_key": format!("t{n}")});
        transfers.insert(0, server.post("/transfer", body).await.json()["transaction"]["id"].as_u64().unwrap());
    }
    let keys: Vec<_> = (0..100_000).map(|n| n.to_string()).collect();
    let (user, amount) = (UserId::new(1).unwrap(), Amount::new(1).unwrap());
    let charge = |key| Command::from(Charge::new(user, amount, IdempotencyKey::new(key).unwrap()));
    let charges: Vec<_> = keys.iter().map(|key| charge(key)).collect();
    assert!(server.ledger.batch(&charges).unwrap().wait().unwrap().iter().all(Result::is_ok));
    for page in 1..=4 {
        let path = "/transactions?user_id=1&type=transfer&limit=2";
        let stopped = server.get(&format!("{path}&page={page}")).await.json();
        assert_eq!((ids(&stopped), &stopped["total"]), (vec![], &json!(null)));
        let cursor = stopped["next_cursor"].as_str().unwrap();
        let found = server.get(&format!("{path}&cursor={cursor}")).await.json();
        let expected: Vec<_> = transfers.iter().skip(2 * (page - 1)).take(2).copied().collect();
        assert_eq!((ids(&found), found["next_cursor"].is_string()), (expected, page < 3), "{page}");
        let unfiltered = server.get(&format!("/transactions?user_id=1&limit=2&cursor={cursor}")).await.json();
        assert_eq!(ids(&unfiltered).len(), if page < 4 { 2 } else { 0 }, "{page}");
        assert_eq!(server.get(&format!("/withdrawals?cursor={cursor}")).await.code(), "invalid_cursor");
    }
}

#[tokio::test]
async fn lists_are_filtered() {
    let server = Server::new();
    let charge = server.charge(1, 100, "c").await;
    server.clock.advance(Duration::from_secs(10));
    let body = json!({"user_id": 1, "amount": 7, "currency": "EUR", "idempotency_key": "e"});
    let euro = server.post("/charge", body).await.json()["transaction"]["id"].as_u64().unwrap();
    let body = json!({"from_user_id": 1, "to_user_id": 2, "amount": 7, "idempotency_key": "t"});
    let transfer = server.post("/transfer", body).await.json()["transaction"]["id"].as_u64().unwrap();
    let body = json!({"user_id": 1, "amount": 7, "idempotency_key": "w x"});
    let withdrawal = server.post("/withdraw", body).await.json()["transaction"]["id"].as_u64().unwrap();
    let cases = [
        ("", vec![withdrawal, transfer, euro, charge]),
        ("&type=charge", vec![euro, charge]),
        ("&type=transfer", vec![transfer]),
        ("&type=withdrawal", vec![withdrawal]),
        ("&status=pending", vec![withdrawal]),
        ("&status=failed", vec![]),
        ("&currency=EUR", vec![euro]),
        ("&from=2024-01-10T10:00:10Z", vec![withdrawal, transfer, euro]),
        ("&from=2024-01-10T10:00:00.0000001Z", vec![withdrawal, transfer, euro]),
        ("&to=2024-01-10T10:00:10Z", vec![charge]),
        ("&to=2024-01-10T10:00:00.0000001Z", vec![charge]),
        ("&type=charge&currency=USD&status=completed&order=asc", vec![charge]),
        ("&idempotency_key=w+x", vec![withdrawal]),
        ("&idempotency_key=w%20x&type=charge", vec![]),
        ("&idempotency_key=nobody", vec![]),
    ];
    for (filter, expected) in cases {
        let list = server.get(&format!("/transactions?user_id=1{filter}")).await.json();
        assert_eq!(ids(&list), expected, "{filter}");
        assert_eq!(list["total"], expected.len(), "{filter}");
    }
    let by_key = server.get("/transactions?idempotency_key=t").await.json();
    assert_eq!((ids(&by_key), &by_key["transactions"][0]["direction"]), (vec![transfer], &json!("debit")));
    let other = server.get("/transactions?idempotency_key=t&user_id=2").await.json();
    assert_eq!((ids(&other), &other["transactions"][0]["direction"]), (vec![transfer], &json!("credit")));
    assert_eq!(ids(&server.get("/transactions?idempotency_key=t&user_id=3").await.json()), [0; 0]);
    let second = server.get("/transactions?idempotency_key=t&page=2").await.json();
    assert_eq!((ids(&second), &second["total"]), (vec![], &json!(1)));
}

#[tokio::test]
async fn the_books_balance() {
    let server = Server::new();
    server.charge(1, 100, "c").await;
    let body = json!({"user_id": 1, "amount": 7, "currency": "EUR", "idempotency_key": "e", "release_at": "2030-01-01T00:00:00Z"});
    server.post("/charge", body).await;
    server.post("/withdraw", json!({"user_id": 1, "amount": 30, "idempotency_key": "w"})).await;
    for path in ["/audit", "/audit?deep=false", "/audit?deep=true"] {
        let audit = server.get(path).await;
        assert_eq!(audit.status, 200, "{}", audit.text);
        let audit = audit.json();
        assert_eq!((&audit["balanced"], &audit["seq"]), (&json!(true), &json!(3)), "{audit}");
        let [euro, dollar] = &audit["currencies"].as_array().unwrap()[..] else { panic!("{audit}") };
        assert_eq!((&euro["currency"], &euro["held"], &euro["sum"]), (&json!("EUR"), &json!(7), &json!(0)));
        assert_eq!(
            (&dollar["accounts"], &dollar["total"], &dollar["external"]),
            (&json!(1), &json!(100), &json!(-100))
        );
        assert_eq!(
            (&dollar["withdrawable"], &dollar["reserved"], &dollar["suspense"]),
            (&json!(70), &json!(30), &json!(0))
        );
    }
}

#[tokio::test]
async fn head_has_the_headers_and_no_body() {
    let server = Server::new();
    server.charge(1, 5, "k").await;
    for path in ["/balance?user_id=1", "/transactions?user_id=1", "/transactions/1", "/audit", "/health"] {
        let get = server.get(path).await;
        let request = axum::http::Request::head(path).body(axum::body::Body::empty()).unwrap();
        let head = server.call(request).await;
        assert_eq!((head.status, head.text.as_str()), (200, ""), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"));
        assert_eq!(head.header("content-length"), get.text.len().to_string(), "{path}");
    }
}

#[tokio::test]
async fn parameters_may_be_percent_encoded() {
    let server = Server::new();
    server.charge(1, 5, "k").await;
    for query in ["user_id=%31&type=ch%61rge&limit=%310&order=%64esc", "user_id=1&type=charge&limit=10&order=desc"] {
        let reply = server.get(&format!("/transactions?{query}")).await;
        assert_eq!((reply.status, &reply.json()["total"]), (200, &serde_json::json!(1)), "{query}: {}", reply.text);
    }
    for query in ["user_id=%2B1", "user_id=+1", "user_id=%", "user_id=1&limit=1%30%30%30"] {
        assert_eq!(server.get(&format!("/transactions?{query}")).await.status, 400, "{query}");
    }
}
