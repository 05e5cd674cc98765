//! Who asks for withdrawals, looks after them, and compares the books: through the server's requests alone.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Client;
use crate::programs::World;

/// How long a request may be repeated against a server that is killed meanwhile.
const PATIENCE: Duration = Duration::from_secs(120);

/// A withdrawal as the server shows it.
pub(crate) struct Shown {
    id: u64,
    reference: String,
    pub(crate) status: String,
    substatus: String,
    amount: u64,
}

/// Talks to whichever server is up.
pub(crate) struct Operator {
    address: String,
}

impl Operator {
    pub(crate) fn new(world: &World) -> Operator {
        Operator { address: format!("127.0.0.1:{}", world.server_port) }
    }

    /// Repeats a request until it is answered with something else than a broken connection or a 503.
    fn insist(&self, send: impl Fn(&mut Client) -> std::io::Result<(u16, Value)>) -> (u16, Value) {
        let start = Instant::now();
        loop {
            match Client::connect(&self.address).and_then(|mut client| send(&mut client)) {
                Ok((503, _)) | Err(_) => {}
                Ok(answer) => return answer,
            }
            assert!(start.elapsed() < PATIENCE, "no answer for {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn get(&self, path: &str) -> Value {
        let (status, body) = self.insist(|client| client.get(path));
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// 200 or 202, or what says that an earlier request, whose answer was lost, did it.
    fn post(&self, path: &str, body: &Value) {
        let (status, answer) = self.insist(|client| client.post(path, &body.to_string()));
        let is_repeat = status == 409 && answer["code"] == "duplicate_request";
        assert!(matches!(status, 200 | 202) || is_repeat, "{path} {body}: {status} {answer}");
    }

    pub(crate) fn charge(&self, user: u64, amount: u64) {
        let key = format!("c-{user}");
        self.post("/charge", &json!({"user_id": user, "amount": amount, "idempotency_key": key}));
    }

    pub(crate) fn withdraw(&self, user: u64, amount: u64, key: &str) {
        let body = json!({"user_id": user, "amount": amount, "idempotency_key": key, "destination": "an account"});
        self.post("/withdraw", &body);
    }

    /// Asks once; `false`: there was no place, and the answer said when to come again.
    pub(crate) fn try_withdraw(&self, user: u64, amount: u64, key: &str) -> bool {
        let body = json!({"user_id": user, "amount": amount, "idempotency_key": key, "destination": "an account"});
        let mut client = Client::connect(&self.address).unwrap();
        let (status, answer) = client.post("/withdraw", &body.to_string()).unwrap();
        match status {
            202 => true,
            503 => {
                assert_eq!(answer["code"], "queue_full", "{answer}");
                assert!(client.header("retry-after").is_some(), "{answer}");
                false
            }
            _ => panic!("{status} {answer}"),
        }
    }

    /// What the server says of itself.
    pub(crate) fn health(&self) -> Value {
        self.get("/health")
    }

    /// A user's balance.
    pub(crate) fn balance(&self, user: u64) -> Value {
        self.get(&format!("/balance?user_id={user}"))
    }

    fn list(&self, filter: &str) -> Vec<Shown> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("/withdrawals?limit=100{filter}{cursor}"));
            all.extend(page["withdrawals"].as_array().unwrap().iter().map(shown));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }

    /// Whether every withdrawal has ended or waits for a person.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.list("&status=pending").iter().all(|withdrawal| withdrawal.substatus == "needs_review")
    }

    /// Decides about what is in review by the bank's book; says how many that were.
    pub(crate) fn resolve_by(&self, statement: &str) -> usize {
        let paid = payments(statement);
        let in_review = self.list("&substatus=needs_review");
        for withdrawal in &in_review {
            let is_paid = paid.contains_key(withdrawal.reference.as_str());
            let body = json!({
                "outcome": if is_paid { "completed" } else { "failed" },
                "evidence": "the bank's statement",
                "operator": "the test",
                "idempotency_key": format!("r-{}", withdrawal.id),
            });
            self.post(&format!("/withdrawals/{}/resolve", withdrawal.id), &body);
        }
        in_review.len()
    }

    /// Every withdrawal.
    pub(crate) fn book(&self) -> Vec<Shown> {
        self.list("")
    }

    /// Line by line; returns the sum that both say was paid.
    pub(crate) fn compare(&self, ours: &[Shown], statement: &str, expected: u64) -> u64 {
        assert_eq!(ours.len() as u64, expected, "no key has had two effects, and none was lost");
        let theirs = payments(statement);
        let mut completed = 0;
        for withdrawal in ours {
            let paid = theirs.get(withdrawal.reference.as_str());
            match withdrawal.status.as_str() {
                "completed" => {
                    assert_eq!(paid, Some(&vec![withdrawal.amount]), "paid once: {}", withdrawal.reference);
                    completed += withdrawal.amount;
                }
                "failed" => assert_eq!(paid, None, "released, and paid by the bank: {}", withdrawal.reference),
                status => panic!("{} is {status}", withdrawal.reference),
            }
        }
        assert_eq!(theirs.values().flatten().sum::<u64>(), completed);
        let audit = self.get("/audit?deep=true");
        assert_eq!(audit["balanced"], true, "{audit}");
        completed
    }

    /// What all users own together, with nothing reserved.
    pub(crate) fn total_of(&self, users: u64) -> u64 {
        let balances = (1..=users).map(|user| self.balance(user));
        balances.map(|balance| (balance["reserved"] == 0).then(|| balance["total"].as_u64().unwrap()).unwrap()).sum()
    }

    /// What the server itself says of the two books.
    pub(crate) fn reconcile(&self, statement: &str) -> Value {
        let (status, report) = self.insist(|client| client.post_as("/reconciliations", "text/csv", statement));
        assert_eq!(status, 200, "{report}");
        for fault in ["missing_here", "missing_there", "mismatched"] {
            assert_eq!(report[fault], json!([]), "{report}");
        }
        assert_eq!(report["matched"].as_u64(), Some(statement.lines().count() as u64 - 1), "{report}");
        report
    }
}

fn shown(withdrawal: &Value) -> Shown {
    let text = |name: &str| withdrawal[name].as_str().unwrap().to_owned();
    Shown {
        id: withdrawal["id"].as_u64().unwrap(),
        reference: text("bank_reference"),
        status: text("status"),
        substatus: text("substatus"),
        amount: withdrawal["amount"].as_u64().unwrap(),
    }
}

/// By reference, the amounts of its payments.
fn payments(statement: &str) -> HashMap<&str, Vec<u64>> {
    let mut lines = statement.lines();
    assert_eq!(lines.next(), Some("bank_reference,amount,currency,status"));
    let mut payments: HashMap<&str, Vec<u64>> = HashMap::new();
    for line in lines {
        let [reference, amount, currency, status] = line.split(',').collect::<Vec<_>>()[..] else { panic!("{line}") };
        assert_eq!(currency, "USD");
        match status {
            "settled" => payments.entry(reference).or_default().push(amount.parse().unwrap()),
            "failed" => {}
            _ => panic!("at rest, and still {line}"),
        }
    }
    payments
}
