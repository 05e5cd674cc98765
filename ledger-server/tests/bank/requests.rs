//! What the gateway says, and what it must not do by itself.

use std::time::{Duration, SystemTime};

use ledger_core::withdrawals::AttemptClass;
use ledger_server::withdrawals::{BankToken, Gateway, HttpBank, HttpBankOptions, Payout};

use crate::scripted::{Reaction, ScriptedBank, answer, body, payout};

#[tokio::test]
async fn every_attempt_sends_the_same_bytes_under_the_same_key_over_one_connection() {
    let payout = payout();
    let settled = answer(200, &body(&payout, "settled"));
    let bank = ScriptedBank::start(move |_| Reaction::Says(settled.clone())).await;
    let gateway = bank.gateway();
    for attempt in 1..=3 {
        let submission = gateway.submit(&Payout { attempt, ..payout.clone() }).await;
        assert_eq!(submission.class, AttemptClass::Settled);
    }
    gateway.inquire(&payout.reference).await;

    let heard = bank.heard();
    let reference = payout.reference.to_string();
    assert!(heard[0].head.starts_with("POST /payouts HTTP/1.1\r\n"), "{}", heard[0].head);
    assert_eq!(heard[0].header("idempotency-key"), Some(&*reference));
    assert_eq!(heard[0].header("content-type"), Some("application/json"));
    assert_eq!(heard[0].header("authorization"), None);
    let said: serde_json::Value = serde_json::from_str(&heard[0].body).unwrap();
    let destination = "a \"quoted\" destination";
    let expected = serde_json::json!({
        "bank_reference": reference, "amount": 1234, "currency": "USD", "destination": destination
    });
    assert_eq!(said, expected);
    for repeat in &heard[1..3] {
        assert_eq!((&repeat.head, &repeat.body), (&heard[0].head, &heard[0].body));
    }
    assert!(heard[3].head.starts_with(&format!("GET /payouts/{reference} HTTP/1.1\r\n")), "{}", heard[3].head);
    assert_eq!(heard[3].body, "");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let bank = ScriptedBank::start(|_| {
        Reaction::Says(b"HTTP/1.1 307 x\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n".to_vec())
    })
    .await;
    assert_eq!(bank.gateway().submit(&payout()).await.class, AttemptClass::Ambiguous);
    assert_eq!(bank.heard().len(), 1);
}

#[tokio::test]
async fn a_token_is_sent_and_never_shown() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "  hush-hush\n").unwrap();
    let bank = ScriptedBank::start(|_| Reaction::Closes(Vec::new())).await;
    let token = Some(BankToken::from_file(file.path()).unwrap());
    let gateway = HttpBank::new(HttpBankOptions { token, ..bank.options() });
    let submission = gateway.submit(&payout()).await;
    assert_eq!(bank.heard()[0].header("authorization"), Some("Bearer hush-hush"));
    assert!(!format!("{gateway:?} {submission:?}").contains("hush"));
    for bad in ["", "two words", "caf\u{e9}", "a\nb"] {
        std::fs::write(file.path(), bad).unwrap();
        let fault = BankToken::from_file(file.path()).unwrap_err();
        assert!(bad.is_empty() || !fault.contains(bad), "{fault}");
    }
}

#[tokio::test]
async fn the_window_that_is_promised_leaves_room_for_a_request_under_way() {
    let hour = Duration::from_secs(3_600);
    let bank = ScriptedBank::start(|_| Reaction::Closes(Vec::new())).await;
    let gateway = |window, timeout| {
        HttpBank::new(HttpBankOptions { idempotency_window: window, timeout, ..bank.options() }).idempotency_window()
    };
    assert_eq!(gateway(None, Duration::from_secs(30)), None);
    assert_eq!(gateway(Some(hour), Duration::from_secs(30)), Some(hour - Duration::from_secs(90)));
    assert_eq!(gateway(Some(Duration::from_secs(5)), Duration::from_secs(30)), Some(Duration::ZERO));
}

#[tokio::test]
async fn a_bank_whose_clock_is_ahead_gets_no_second_attempts() {
    let first = payout();
    let second = Payout { attempt: 2, ..first.clone() };
    for (ahead, sent_again) in [(0, true), (3_600, false)] {
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(ahead));
        let reply = String::from_utf8(answer(200, &body(&first, "settled"))).unwrap();
        let reply = reply.replacen("\r\n", &format!("\r\ndate: {date}\r\n"), 1);
        let bank = ScriptedBank::start(move |_| Reaction::Says(reply.clone().into_bytes())).await;
        // The first thing that this process asks: the ledger was started again between the two attempts.
        let gateway = HttpBank::new(bank.options());
        let expected = if sent_again { AttemptClass::Settled } else { AttemptClass::NotSent };
        assert_eq!(gateway.submit(&second).await.class, expected);
        let posts = bank.heard().iter().filter(|request| request.head.starts_with("POST")).count();
        assert_eq!(posts, usize::from(sent_again));
    }
}

#[tokio::test]
async fn a_bank_whose_window_is_shorter_than_was_declared_gets_no_second_attempts() {
    let first = payout();
    let second = Payout { attempt: 2, ..first.clone() };
    let reply = String::from_utf8(answer(200, &body(&first, "settled"))).unwrap();
    let reply = reply.replacen("\r\n", "\r\nidempotency-window: 3600\r\n", 1);
    let bank = ScriptedBank::start(move |_| Reaction::Says(reply.clone().into_bytes())).await;
    for (declared, sent_again) in [(3_600, true), (3_601, false)] {
        let window = Some(Duration::from_secs(declared));
        let gateway = HttpBank::new(HttpBankOptions { idempotency_window: window, ..bank.options() });
        assert_eq!(gateway.submit(&first).await.class, AttemptClass::Settled);
        let before = bank.heard().len();
        let expected = if sent_again { AttemptClass::Settled } else { AttemptClass::NotSent };
        assert_eq!(gateway.submit(&second).await.class, expected);
        assert_eq!(bank.heard().len() > before, sent_again);
        assert_eq!(gateway.submit(&first).await.class, AttemptClass::Settled, "a first attempt repeats nothing");
    }
}
