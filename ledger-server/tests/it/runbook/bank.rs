//! A bank that does not tell in time, or says something else afterwards.

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::{SystemTime, UNIX_EPOCH};

use ledger_server::withdrawals::NoticeSecret;
use serde_json::json;

use super::page::Page;
use super::shell::{Running, Shell, until};

/// The address of a bank that hears everything and hangs up.
fn silent_bank() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for called in listener.incoming() {
            let _ = called.unwrap().read(&mut [0; 1024]);
        }
    });
    address
}

/// Charges twice what is withdrawn then; the withdrawal's id.
fn withdrawal(running: &Running) -> String {
    for key in ["a", "b"] {
        assert_eq!(running.charge(key).status, 200);
    }
    let withdraw = json!({"user_id": 1, "amount": 5, "idempotency_key": "w", "destination": "d"});
    running.post("/withdraw", &withdraw).good()["transaction"]["id"].to_string()
}

#[test]
fn a_withdrawal_that_needs_review() {
    let page = Page::of("A withdrawal needs review");
    let resolve = page.takes(
        "curl -s localhost:8080/withdrawals/ID/resolve -H 'Content-Type: application/json' -d \
         '{\"outcome\":\"completed\",\"evidence\":\"statement 2026-01-15, line 7\",\"operator\":\"ann\",\"idempotency_key\":\"resolve-ID\"}'",
    );
    page.says("`completed` if the bank paid, `failed` if it certainly did not and will not");
    let patience = "--bank-settle-delay 1ms --bank-inquiry-interval 1ms --bank-deadline 1ms";
    for (outcome, total) in [("completed", 5), ("failed", 10)] {
        let shell = Shell::new();
        let bank = silent_bank();
        let running = shell.serve(&format!("ledger-server --data-dir ledger-data --bank {bank} {patience}"));
        let id = withdrawal(&running);
        let list = page.takes("GET /withdrawals?substatus=needs_review");
        let listed = until(|| Some(running.ask(list).good()).filter(|list| list["withdrawals"][0].is_object()));
        assert_eq!(listed["withdrawals"][0]["id"].to_string(), id);
        assert_eq!(running.metric("ledger_withdrawals_needs_review"), 1.0, "an alert");
        page.says("The money is still reserved. Nothing repeats it");
        assert_eq!(running.get("/balance?user_id=1").good()["reserved"], 5);
        page.says("all attempts, answers and notices");
        let told = running.ask(&page.takes("curl -s localhost:8080/withdrawals/ID").replace("ID", &id)).good();
        assert!(told["bank_reference"].is_string() && told["attempts"][0].is_object(), "{told}");
        let resolved = running.ask(&resolve.replace("ID", &id).replace("completed", outcome)).good();
        assert_eq!(resolved["substatus"], outcome, "{resolved}");
        assert_eq!((running.total(), running.metric("ledger_withdrawals_needs_review")), (total.into(), 0.0));
        assert_eq!(running.stop(), Some(0));
    }
    page.is_done_but_for(&[]);
}

#[test]
fn a_discrepancy() {
    let page = Page::of("A discrepancy");
    let shell = Shell::new();
    let secret = "what the bank signs with";
    std::fs::write(shell.path("secret"), secret).unwrap();
    std::fs::set_permissions(shell.path("secret"), PermissionsExt::from_mode(0o600)).unwrap();
    let rejecting = "--bank-latency 1ms --bank-rejected-rate 1 --bank-webhook-secret-file secret";
    let running = shell.serve(&format!("ledger-server --data-dir ledger-data {rejecting}"));
    let id = withdrawal(&running);
    let tell = page.takes("curl -s localhost:8080/withdrawals/ID").replace("ID", &id);
    let told = || running.ask(&tell).good();
    let failed = until(|| Some(told()).filter(|told| told["substatus"] == "failed"));
    page.says("it paid what was released");
    let notice = json!({"bank_reference": failed["bank_reference"], "outcome": "settled",
        "occurred_at": failed["created_at"]});
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let signature = NoticeSecret::new(secret.as_bytes()).unwrap().sign(now, notice.to_string().as_bytes());
    let headers = [("content-type", "application/json"), ("ledger-signature", signature.as_str())];
    let said = running.post_as("/withdrawals/notify", &headers, &notice.to_string()).good();
    assert_eq!(said["change"], "discrepancy", "{said}");

    page.says("`discrepancies` in a withdrawal, an alert, or money in `suspense` in `GET /audit`");
    let told = told();
    assert_eq!(told["discrepancies"][0]["by"], "notice", "{told}");
    assert_eq!(told["discrepancies"][0]["evidence"], notice.to_string(), "what was said by whom");
    assert_eq!(running.metric("ledger_withdrawal_discrepancies_total"), 1.0);
    page.says("The books balance: what was paid late is in suspense");
    let audit = running.ask(page.takes("GET /audit")).good();
    assert_eq!((&audit["balanced"], &audit["currencies"][0]["suspense"]), (&true.into(), &(-5).into()), "{audit}");
    page.says("never takes the money back from the user by itself");
    assert_eq!(running.total(), 10);
    page.says("record what follows as a charge or transfer of its own");
    let back = json!({"from_user_id": 1, "to_user_id": 2, "amount": 5, "idempotency_key": "agreed"});
    running.post("/transfer", &back).good();
    assert_eq!(running.total(), 5);
    page.is_done_but_for(&[]);
}
