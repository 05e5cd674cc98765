//! A bank that does not tell in time, or says something else afterwards.

use std::io::{Read, Write};
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

/// The address of a bank that has paid it, whatever it is asked.
fn paying_bank(reference: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let body = json!({"bank_reference": reference, "outcome": "settled"}).to_string();
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json";
    let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    std::thread::spawn(move || {
        for called in listener.incoming() {
            let mut called = called.unwrap();
            let _ = called.read(&mut [0; 1024]);
            let _ = called.write_all(answer.as_bytes());
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

const RESOLVE: &str = "curl -s localhost:8080/withdrawals/ID/resolve -H 'Content-Type: application/json' -d \
    '{\"outcome\":\"completed\",\"evidence\":\"statement 2026-01-15, line 7\",\"operator\":\"ann\",\"idempotency_key\":\"resolve-ID\"}'";

#[test]
fn a_withdrawal_that_needs_review() {
    let page = Page::of("A withdrawal needs review");
    not_told_in_time(&page);
    unknown_for_long(&page);
    page.is_done_but_for(&[]);
}

fn not_told_in_time(page: &Page) {
    let resolve = page.takes(RESOLVE);
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
}

fn unknown_for_long(page: &Page) {
    let shell = Shell::new();
    let bank = silent_bank();
    let patience = "--bank-settle-delay 1ms --bank-inquiry-interval 1ms";
    let running = shell.serve(&format!("ledger-server --data-dir ledger-data --bank {bank} {patience}"));
    let id = withdrawal(&running);
    let list = page.takes("GET /withdrawals?substatus=unknown&older_than=1h");
    let soon = list.replace("1h", "1ms");
    let listed = until(|| Some(running.ask(&soon).good()).filter(|list| list["withdrawals"][0].is_object()));
    assert_eq!(listed["withdrawals"][0]["id"].to_string(), id);
    assert_eq!(running.ask(list).good()["withdrawals"], json!([]), "it is not as old as that");
    assert!(running.metric("ledger_withdrawals_unknown_oldest_seconds") > 0.0, "an alert");
    page.says("One that is `unknown` is still asked about");
    page.says("`unanswered` where the bank cannot be reached or says nothing that the protocol knows");
    let tell = page.takes("curl -s localhost:8080/withdrawals/ID").replace("ID", &id);
    let told = until(|| Some(running.ask(&tell).good()).filter(|told| told["inquiries"][1].is_object()));
    assert_eq!((&told["inquiries"][1]["answer"], &told["substatus"]), (&"unanswered".into(), &"unknown".into()));
    assert_eq!(running.get("/balance?user_id=1").good()["reserved"], 5);

    page.says("In the answer to a statement, those that it decides are `mismatched` by their `status`");
    let compare =
        page.takes("curl -s localhost:8080/reconciliations -H 'Content-Type: text/csv' --data-binary @statement.csv");
    let head = "bank_reference,amount,currency,status\n";
    let paid = format!("{head}{},5,USD,settled\n", told["bank_reference"].as_str().unwrap());
    page.says("That one is not in it proves nothing");
    std::fs::write(shell.path("statement.csv"), head).unwrap();
    let compared = running.ask(compare).good();
    assert_eq!((&compared["missing_there"], &compared["mismatched"]), (&json!([]), &json!([])), "{compared}");
    std::fs::write(shell.path("statement.csv"), paid).unwrap();
    let compared = running.ask(compare).good();
    let mismatch = &compared["mismatched"][0];
    assert_eq!(
        (&mismatch["reason"], &mismatch["there"]["status"]),
        (&"status".into(), &"settled".into()),
        "{compared}"
    );
    assert_eq!(mismatch["here"]["id"].to_string(), id);
    let resolved = running.ask(&page.takes(RESOLVE).replace("ID", &id)).good();
    assert_eq!((&resolved["substatus"], running.total()), (&"completed".into(), 5.into()), "{resolved}");
    assert_eq!(running.metric("ledger_withdrawals_unknown_oldest_seconds"), 0.0);
    assert_eq!(running.ask(compare).good()["matched"], 1);
    assert_eq!(running.stop(), Some(0));
    by_itself(page);
}

/// A bank that is reached again.
fn by_itself(page: &Page) {
    page.says("An `unknown` one ends by itself once the bank can be asked again");
    let shell = Shell::new();
    let bank = silent_bank();
    let serve = "ledger-server --data-dir ledger-data --bank-settle-delay 1ms --bank-inquiry-interval 1ms";
    let running = shell.serve(&format!("{serve} --bank {bank}"));
    let id = withdrawal(&running);
    let told = || running.get(&format!("/withdrawals/{id}")).good();
    until(|| Some(told()).filter(|told| told["substatus"] == "unknown"));
    let reference = told()["bank_reference"].as_str().unwrap().to_owned();
    assert_eq!(running.stop(), Some(0));
    let running = shell.serve(&format!("{serve} --bank {}", paying_bank(&reference)));
    until(|| (running.get(&format!("/withdrawals/{id}")).good()["substatus"] == "completed").then_some(()));
    assert_eq!(running.total(), 5);
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

    page.says(
        "`discrepancies` in a withdrawal (alert `LedgerWithdrawalDiscrepancy`), or money in `suspense` in `GET /audit`",
    );
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
