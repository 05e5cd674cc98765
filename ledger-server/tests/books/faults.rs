//! The bank's faults one at a time, each at a rate of 1 or 0: what its answers say and what its book holds.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Client;
use crate::programs::{Bank, World, until};

const REFERENCE: &str = "923dba30a0984342b1abeed0b1084ade-1-3";

fn order(reference: &str, amount: u64) -> String {
    json!({"bank_reference": reference, "amount": amount, "currency": "USD", "destination": "an account"}).to_string()
}

/// Status and outcome of a request to pay; the kind of fault where there is no whole answer.
fn pay(bank: &Bank, amount: u64) -> Result<(u16, Value), ErrorKind> {
    let mut client = Client::connect(&bank.address()).unwrap();
    let headers = format!("content-type: application/json\r\nidempotency-key: {REFERENCE}\r\n");
    client.post_with("/payouts", &headers, &order(REFERENCE, amount)).map_err(|fault| fault.kind())
}

fn inquire(bank: &Bank) -> (u16, Value) {
    Client::connect(&bank.address()).unwrap().get(&format!("/payouts/{REFERENCE}")).unwrap()
}

/// The statuses of the statement's lines.
fn statement(bank: &Bank) -> Vec<String> {
    bank.statement().lines().skip(1).map(|line| line.rsplit(',').next().unwrap().to_owned()).collect()
}

#[test]
fn a_payment_is_answered_repeated_and_inquired_about_as_one() {
    let world = World::new(1);
    let mut bank = Bank::start(&world, "");
    assert_eq!(inquire(&bank), (404, json!({"bank_reference": REFERENCE, "outcome": "not_found"})));
    let settled = json!({"bank_reference": REFERENCE, "outcome": "settled", "amount": 5, "currency": "USD"});
    for _ in 0..2 {
        assert_eq!(pay(&bank, 5), Ok((200, settled.clone())));
        assert_eq!(inquire(&bank), (200, settled.clone()));
    }
    assert_eq!(pay(&bank, 6).unwrap().0, 409, "the key of another amount");
    bank.kill();
    let bank = Bank::start(&world, "");
    assert_eq!(pay(&bank, 5), Ok((200, settled)), "the book outlives the bank");
    assert_eq!(bank.statement(), format!("bank_reference,amount,currency,status\n{REFERENCE},5,USD,settled\n"));
    let mut client = Client::connect(&bank.address()).unwrap();
    let headers = "accept: application/x-ndjson\r\n";
    let line: Value = serde_json::from_str(&client.get_text("/statement", headers).unwrap()).unwrap();
    assert_eq!(line, json!({"bank_reference": REFERENCE, "amount": 5, "currency": "USD", "status": "settled"}));
}

#[test]
fn every_fault_leaves_in_the_book_what_its_name_says() {
    let cases = [
        ("--not-executed-rate 1", Some((503, "not_executed")), &[][..]),
        ("--rejected-rate 1", Some((422, "rejected")), &["failed"]),
        ("--accepted-rate 1 --settles-after 1h", Some((202, "accepted")), &["pending"]),
        ("--accepted-rate 1 --settles-after 0s", Some((200, "settled")), &["settled"]),
        ("--error-paid-rate 1", None, &["settled"]),
        ("--reset-rate 1", None, &["settled"]),
        ("--reset-rate 1 --accepted-rate 1 --settles-after 1h", None, &["pending"]),
    ];
    for (options, expected, book) in cases {
        let bank = Bank::start(&World::new(1), options);
        let answer = pay(&bank, 5);
        match expected {
            Some((status, outcome)) => {
                let (said, body) = answer.unwrap();
                assert_eq!((said, &body["outcome"]), (status, &json!(outcome)), "{options}");
            }
            None => assert!(!matches!(answer, Ok((200..=499, _))), "{options}: {answer:?}"),
        }
        assert_eq!(statement(&bank), book, "{options}");
    }
}

#[test]
fn a_silent_bank_has_paid_or_has_not() {
    for (options, book) in [("--silent-paid-rate 1", &["settled"][..]), ("--silent-unpaid-rate 1", &[])] {
        let bank = Bank::start(&World::new(1), options);
        let mut client = Client::connect(&bank.address()).unwrap();
        client.give_up_after(Duration::from_millis(300));
        let headers = format!("content-type: application/json\r\nidempotency-key: {REFERENCE}\r\n");
        client.post_with("/payouts", &headers, &order(REFERENCE, 5)).unwrap_err();
        until("the book to say so", Duration::from_secs(60), || statement(&bank) == book);
    }
}

#[test]
fn repeats_and_inquiries_have_faults_of_their_own() {
    let world = World::new(1);
    let mut bank = Bank::start(&world, "--duplicate-refused-rate 1 --contradictory-inquiry-rate 1");
    assert_eq!(pay(&bank, 5).unwrap().0, 200);
    assert_eq!(pay(&bank, 5).unwrap().0, 409);
    for _ in 0..10 {
        let (_, body) = inquire(&bank);
        assert!(["not_found", "pending"].contains(&body["outcome"].as_str().unwrap()), "never a definite lie: {body}");
    }
    bank.kill();
    let bank = Bank::start(&world, "--idempotency-window 0s");
    assert_eq!(pay(&bank, 5).unwrap().0, 200);
    assert_eq!(statement(&bank), ["settled", "settled"], "a repeat that it does not recognise is paid again");
}

#[test]
fn what_is_no_order_is_refused() {
    let bank = Bank::start(&World::new(1), "");
    let mut client = Client::connect(&bank.address()).unwrap();
    let headers = format!("content-type: application/json\r\nidempotency-key: {REFERENCE}\r\n");
    let other_key = order("923dba30a0984342b1abeed0b1084ade-1-4", 5);
    for body in ["", "[]", "{}", &other_key, &order(REFERENCE, 0), &order(REFERENCE, 5).replace("USD", "dollars")] {
        let (status, _) = client.post_text("/payouts", &headers, body).unwrap();
        assert_eq!(status, 400, "{body}");
    }
    assert_eq!(statement(&bank), [""; 0]);
}
