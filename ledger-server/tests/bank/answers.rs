//! Every status with every word, and bodies that are almost right.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use ledger_core::withdrawals::{AttemptClass, InquiryAnswer};
use ledger_server::withdrawals::Gateway;

use crate::scripted::{Reaction, ScriptedBank, answer, body, payout, submit};
use crate::tables::table;

/// The statuses that the tables name, and what else servers and the things in front of them say.
fn statuses() -> BTreeSet<u16> {
    let named = rows("submissions").into_keys().chain(rows("inquiries").into_keys()).map(|(status, _)| status);
    let others =
        [200, 201, 202, 203, 301, 302, 307, 308, 400, 401, 403, 404, 408, 409, 410, 418, 425, 429, 499, 500, 502, 504];
    named.chain(others).collect()
}

fn words() -> BTreeSet<String> {
    let named = rows("submissions").into_keys().chain(rows("inquiries").into_keys()).map(|(_, word)| word);
    named.chain(["paid", "", "Settled", "settled "].map(str::to_owned)).collect()
}

/// What a table says of a status and a word.
fn rows(name: &str) -> HashMap<(u16, String), String> {
    table(name).into_iter().map(|row| ((row[0].parse().unwrap(), row[1].clone()), row[2].clone())).collect()
}

#[tokio::test]
async fn a_payout_has_the_class_of_its_row_and_without_a_row_it_is_ambiguous() {
    let (payout, rows) = (payout(), rows("submissions"));
    let next = Arc::new(Mutex::new(Vec::new()));
    let script = Arc::clone(&next);
    let bank = ScriptedBank::start(move |_| Reaction::Says(script.lock().unwrap().clone())).await;
    let gateway = bank.gateway();
    let mut seen = BTreeSet::new();
    for status in statuses() {
        for word in words() {
            *next.lock().unwrap() = answer(status, &body(&payout, &word));
            let submission = gateway.submit(&payout).await;
            let expected = rows.get(&(status, word.clone())).map_or("ambiguous", String::as_str);
            assert_eq!(submission.class.as_str(), expected, "{status} {word:?}: {}", submission.evidence);
            assert!(submission.evidence.contains(&status.to_string()), "{}", submission.evidence);
            seen.insert(submission.class.as_str());
        }
    }
    assert_eq!(seen, AttemptClass::ALL.map(AttemptClass::as_str).into(), "every class occurs");
}

#[tokio::test]
async fn an_inquiry_has_the_answer_of_its_row_and_without_a_row_it_is_unanswered() {
    let (payout, rows) = (payout(), rows("inquiries"));
    let next = Arc::new(Mutex::new(Vec::new()));
    let script = Arc::clone(&next);
    let bank = ScriptedBank::start(move |_| Reaction::Says(script.lock().unwrap().clone())).await;
    let gateway = bank.gateway();
    let mut seen = BTreeSet::new();
    for status in statuses() {
        for word in words() {
            *next.lock().unwrap() = answer(status, &body(&payout, &word));
            let inquiry = gateway.inquire(&payout).await;
            let expected = rows.get(&(status, word.clone())).map_or("unanswered", String::as_str);
            assert_eq!(inquiry.answer.as_str(), expected, "{status} {word:?}: {}", inquiry.evidence);
            seen.insert(inquiry.answer.as_str());
        }
    }
    assert_eq!(seen, InquiryAnswer::ALL.map(InquiryAnswer::as_str).into(), "every answer occurs");
}

#[tokio::test]
async fn an_answer_that_is_not_exactly_about_this_payout_is_ambiguous() {
    let payout = payout();
    let right = body(&payout, "settled");
    let reference = payout.reference.to_string();
    let cases = [
        ("another reference", right.replace(&reference, &format!("{reference}0"))),
        ("the reference in other letters", right.replace(&reference, &reference.to_uppercase())),
        ("another amount", right.replace("1234", "1235")),
        ("an amount in major units", right.replace("1234", "12.34")),
        ("an amount as a float", right.replace("1234", "1234.0")),
        ("an amount as text", right.replace("1234", "\"1234\"")),
        ("a negative amount", right.replace("1234", "-1234")),
        ("another currency", right.replace("USD", "EUR")),
        ("a currency in small letters", right.replace("USD", "usd")),
        ("no amount", right.replace(r#""amount":1234,"#, "")),
        ("no currency", right.replace(r#","currency":"USD""#, "")),
        ("no reference", right.replace("bank_reference", "reference")),
        ("no outcome", right.replace("outcome", "status")),
        ("an outcome that is no text", right.replace("\"settled\"", "true")),
        ("an outcome twice", right.replace('}', r#","outcome":"settled"}"#)),
        ("an outcome twice, once escaped", right.replace('}', r#","out\u0063ome":"rejected"}"#)),
        ("an unknown member twice", right.replace('}', r#","x":1,"x":1}"#)),
        ("a reason that is no text", right.replace('}', r#","reason":5}"#)),
        ("an array of the object", format!("[{right}]")),
        ("an array of the values", format!(r#"["{reference}","settled",1234,"USD"]"#)),
        ("two objects", format!("{right}{right}")),
        ("a byte order mark", format!("\u{feff}{right}")),
        ("half", right[..right.len() / 2].to_owned()),
        ("nothing", String::new()),
        ("null", "null".to_owned()),
        ("a text", format!("{right:?}")),
        ("HTML", "<html>settled</html>".to_owned()),
    ];
    assert!(!reference.to_uppercase().eq(&reference), "the reference has letters");
    for (what, body) in cases {
        if what != "nothing" {
            assert_ne!(body, right, "{what}");
        }
        let submission = submit(&payout, Reaction::Says(answer(200, &body))).await;
        assert_eq!(submission.class, AttemptClass::Ambiguous, "{what}: {body}");
    }
    for fine in [
        right.replace('}', r#","reason":"a \u0022reason\u0022"}"#),
        right.replace('}', r#","reason":null}"#),
        right.replace('}', r#","fee":{"amount":5,"amounts":[1,2,{"x":null}]}}"#),
        format!(" \r\n\t{right}\n"),
    ] {
        let submission = submit(&payout, Reaction::Says(answer(200, &fine))).await;
        assert_eq!(submission.class, AttemptClass::Settled, "{fine}: {}", submission.evidence);
    }
    let mut not_utf8 = answer(200, &right.replace('}', r#","x":"?"}"#));
    let at = not_utf8.iter().rposition(|byte| *byte == b'?').unwrap();
    not_utf8[at] = 0xff;
    assert_eq!(submit(&payout, Reaction::Says(not_utf8)).await.class, AttemptClass::Ambiguous);
}

#[tokio::test]
async fn an_inquiry_that_is_answered_about_another_payout_is_unanswered() {
    let payout = payout();
    let reference = payout.reference.to_string();
    let told = |members: &str| format!(r#"{{"bank_reference":"{reference}",{members}}}"#);
    for (body, expected, evidence) in [
        (told(r#""outcome":"settled""#), InquiryAnswer::Settled, "settled"),
        (told(r#""outcome":"failed","amount":1234"#), InquiryAnswer::Failed, "failed 1234"),
        (told(r#""outcome":"settled","currency":"USD""#), InquiryAnswer::Settled, "settled USD"),
        (told(r#""outcome":"settled","amount":5"#), InquiryAnswer::Unanswered, "settled 5; the payout was 1234 USD"),
        (told(r#""outcome":"failed","amount":0"#), InquiryAnswer::Unanswered, "failed 0; the payout was 1234 USD"),
        (
            told(r#""outcome":"settled","amount":1234,"currency":"EUR""#),
            InquiryAnswer::Unanswered,
            "settled 1234 EUR; the payout was 1234 USD",
        ),
        (told(r#""outcome":"pending","currency":"usd""#), InquiryAnswer::Unanswered, "pending usd"),
        (
            format!(r#"{{"bank_reference":"{reference}0","outcome":"settled"}}"#),
            InquiryAnswer::Unanswered,
            "it is about",
        ),
        (format!(r#"["{reference}","settled"]"#), InquiryAnswer::Unanswered, "not an object"),
        (r#"{"outcome":"settled"}"#.to_owned(), InquiryAnswer::Unanswered, "bank_reference is missing"),
    ] {
        let bytes = answer(200, &body);
        let bank = ScriptedBank::start(move |_| Reaction::Says(bytes.clone())).await;
        let inquiry = bank.gateway().inquire(&payout).await;
        assert_eq!(inquiry.answer, expected, "{body}");
        assert!(inquiry.evidence.contains(evidence), "{body}: {}", inquiry.evidence);
    }
}

#[tokio::test]
async fn an_answer_in_another_wrapping_is_ambiguous() {
    let payout = payout();
    let json = body(&payout, "settled");
    let length = json.len();
    for (headers, expected) in [
        ("content-type: Application/JSON; charset=utf-8\r\n", AttemptClass::Settled),
        ("", AttemptClass::Ambiguous),
        ("content-type: text/plain\r\n", AttemptClass::Ambiguous),
        ("content-type: application/json-patch+json\r\n", AttemptClass::Ambiguous),
        ("content-type: application/json\r\ncontent-encoding: gzip\r\n", AttemptClass::Ambiguous),
    ] {
        let bytes = format!("HTTP/1.1 200 OK\r\n{headers}content-length: {length}\r\n\r\n{json}");
        let submission = submit(&payout, Reaction::Says(bytes.into_bytes())).await;
        assert_eq!(submission.class, expected, "{headers:?}: {}", submission.evidence);
    }
}

#[tokio::test]
async fn an_answer_beyond_64_kib_is_ambiguous_however_it_is_sent() {
    let payout = payout();
    let long = body(&payout, "settled").replace('}', &format!(r#","x":"{}"}}"#, "x".repeat(64 << 10)));
    let chunked = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n",
        long.len()
    );
    let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "x".repeat(128 << 10));
    for bytes in [answer(200, &long), chunked.into_bytes(), head.into_bytes()] {
        assert_eq!(submit(&payout, Reaction::Says(bytes)).await.class, AttemptClass::Ambiguous);
    }
    let just_fits = body(&payout, "settled");
    let padding = (64 << 10) - just_fits.len();
    let just_fits = format!("{just_fits}{}", " ".repeat(padding));
    assert_eq!(submit(&payout, Reaction::Says(answer(200, &just_fits))).await.class, AttemptClass::Settled);
}
