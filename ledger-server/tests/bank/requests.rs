//! What the gateway says, and what it must not do by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ledger_core::withdrawals::AttemptClass;
use ledger_server::withdrawals::{BankToken, Gateway, HttpBank, HttpBankOptions, Payout};

use crate::scripted::{
    Heard, IMPATIENCE, PATIENCE, Reaction, ScriptedBank, answer, body, date, not_found, payout, with_header,
};

#[tokio::test]
async fn every_attempt_sends_the_same_bytes_under_the_same_key_over_one_connection() {
    let payout = payout();
    let (settled, unknown) = (answer(200, &body(&payout, "settled")), not_found(&payout));
    let script = move |heard: &Heard| Reaction::Says(if heard.asks() { unknown.clone() } else { settled.clone() });
    let bank = ScriptedBank::start(script).await;
    let gateway = bank.gateway();
    for attempt in 1..=3 {
        let submission = gateway.submit(&Payout { attempt, is_repeat: attempt > 1, ..payout.clone() }).await;
        assert_eq!(submission.class, AttemptClass::Settled);
    }

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
    assert_eq!(heard.iter().map(Heard::asks).collect::<Vec<_>>(), [false, true, false, true, false]);
    for repeat in heard[1..].iter().filter(|heard| !heard.asks()) {
        assert_eq!((&repeat.head, &repeat.body), (&heard[0].head, &heard[0].body));
    }
    assert!(heard[1].head.starts_with(&format!("GET /payouts/{reference} HTTP/1.1\r\n")), "{}", heard[1].head);
    assert_eq!(heard[1].body, "");
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

/// A bank that settles every order and knows no reference; every answer has the header that `header` says by then.
async fn forgetful(payout: &Payout, header: impl Fn() -> String + Send + Sync + 'static) -> ScriptedBank {
    let (settled, unknown) = (answer(200, &body(payout, "settled")), not_found(payout));
    ScriptedBank::start(move |heard| {
        Reaction::Says(with_header(if heard.asks() { &unknown } else { &settled }, &header()))
    })
    .await
}

fn repeat(payout: &Payout) -> Payout {
    Payout { attempt: 2, is_repeat: true, ..payout.clone() }
}

#[tokio::test]
async fn a_bank_whose_clock_is_ahead_gets_no_repeats() {
    let first = payout();
    // The second is the first attempt that the log knows, as after a restore.
    for again in [repeat(&first), Payout { attempt: 1, ..repeat(&first) }] {
        for (ahead, sent_again) in [(0, true), (3_600, false)] {
            let bank = forgetful(&first, move || date(Duration::from_secs(ahead))).await;
            // The first thing that this process asks: the ledger was started again between the two attempts.
            let expected = if sent_again { AttemptClass::Settled } else { AttemptClass::NotSent };
            assert_eq!(bank.gateway().submit(&again).await.class, expected, "{again:?}");
            assert_eq!(bank.orders(), usize::from(sent_again));
        }
    }
}

/// The machine was paused, and the process with it.
#[tokio::test]
async fn a_bank_that_was_heard_long_ago_is_asked_again_before_a_repeat() {
    let first = payout();
    let ahead = Arc::new(AtomicU64::new(0));
    let later = Arc::clone(&ahead);
    let bank = forgetful(&first, move || date(Duration::from_secs(later.load(Ordering::Relaxed)))).await;
    let gateway = bank.gateway();
    assert_eq!(gateway.submit(&first).await.class, AttemptClass::Settled);
    assert_eq!(gateway.submit(&repeat(&first)).await.class, AttemptClass::Settled);
    ahead.store(3_600, Ordering::Relaxed);
    assert_eq!(gateway.submit(&repeat(&first)).await.class, AttemptClass::NotSent);
    assert_eq!(bank.orders(), 2);
}

#[tokio::test]
async fn a_bank_that_does_not_answer_what_became_of_it_gets_no_repeat() {
    let first = payout();
    let settled = answer(200, &body(&first, "settled"));
    for (unanswered, timeout) in [
        (Reaction::Closes(Vec::new()), PATIENCE),
        (Reaction::Hangs(Vec::new()), IMPATIENCE),
        (Reaction::Says(answer(502, "{}")), PATIENCE),
    ] {
        let settled = settled.clone();
        let script = move |heard: &Heard| {
            if heard.asks() { unanswered.clone() } else { Reaction::Says(settled.clone()) }
        };
        let bank = ScriptedBank::start(script).await;
        let gateway = HttpBank::new(HttpBankOptions { timeout, ..bank.options() });
        let submission = gateway.submit(&repeat(&first)).await;
        assert_eq!((submission.class, bank.orders()), (AttemptClass::NotSent, 0), "{}", submission.evidence);
    }
}

/// What it says is asked for once more, and recorded then.
#[tokio::test]
async fn a_bank_that_knows_the_payout_gets_no_repeat() {
    let first = payout();
    for (word, class, orders) in [
        ("settled", AttemptClass::Ambiguous, 0),
        ("failed", AttemptClass::Ambiguous, 0),
        ("pending", AttemptClass::Ambiguous, 0),
        ("not_found", AttemptClass::Settled, 1),
        ("unsupported", AttemptClass::Settled, 1),
    ] {
        let status = if word == "not_found" {
            404
        } else if word == "unsupported" {
            501
        } else {
            200
        };
        let (told, settled) = (answer(status, &body(&first, word)), answer(200, &body(&first, "settled")));
        let script = move |heard: &Heard| Reaction::Says(if heard.asks() { told.clone() } else { settled.clone() });
        let bank = ScriptedBank::start(script).await;
        let submission = bank.gateway().submit(&repeat(&first)).await;
        assert_eq!((submission.class, bank.orders()), (class, orders), "{word}: {}", submission.evidence);
    }
}

#[tokio::test]
async fn a_bank_whose_window_is_shorter_than_was_declared_gets_no_repeats() {
    let first = payout();
    let bank = forgetful(&first, || "idempotency-window: 3600\r\n".to_owned()).await;
    for (declared, sent_again) in [(3_600, true), (3_601, false)] {
        let window = Some(Duration::from_secs(declared));
        let gateway = HttpBank::new(HttpBankOptions { idempotency_window: window, ..bank.options() });
        assert_eq!(gateway.submit(&first).await.class, AttemptClass::Settled);
        let before = bank.orders();
        let expected = if sent_again { AttemptClass::Settled } else { AttemptClass::NotSent };
        assert_eq!(gateway.submit(&repeat(&first)).await.class, expected);
        assert_eq!(bank.orders() > before, sent_again);
        for attempt in [1, 2] {
            let fresh = Payout { attempt, ..first.clone() };
            assert_eq!(gateway.submit(&fresh).await.class, AttemptClass::Settled, "nothing can have been paid");
        }
    }
}
