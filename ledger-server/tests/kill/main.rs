//! The built program, killed with SIGKILL under load and started again: whatever it acknowledged is there.
//!
//! `LEDGER_KILLS` says how often (5), `LEDGER_KILL_SEED` what the load and the moments are drawn from; both are printed.

mod client;

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use client::{Client, number};

const CLIENTS: u64 = 16;
const USERS: u64 = 40;

/// A request and what its key was acknowledged to name.
struct Acknowledged {
    path: &'static str,
    body: String,
    id: u64,
}

type Book = Mutex<HashMap<String, Acknowledged>>;

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(directory: &Path) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ledger-server"))
            .args(["--listen", "127.0.0.1:0", "--segment-size", "1MiB", "--bank-latency", "1ms..50ms", "--data-dir"])
            .arg(directory)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| Some(line.unwrap().strip_prefix("listening on http://")?.to_owned()));
        Server { address: address.expect("the program says where it listens"), child }
    }

    /// Kills it, which must be what it dies of.
    fn kill(mut self) {
        self.child.kill().unwrap();
        let ended = self.child.wait().unwrap();
        assert_eq!(ended.signal(), Some(9), "it had ended by itself before it was killed: {ended}");
    }
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// Sends commands until the server is gone or told to stop; what was acknowledged goes into the book.
fn load(address: &str, prefix: &str, mut dice: Dice, book: &Book, stop: &AtomicBool) {
    let Ok(mut client) = Client::connect(address) else { return };
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let key = format!("{prefix}-{number}");
        let (user, amount) = (dice.roll(USERS) + 1, dice.roll(500) + 1);
        let (path, body) = match dice.roll(20) {
            0..3 => {
                let to = user % USERS + 1;
                let body = format!(
                    r#"{{"from_user_id":{user},"to_user_id":{to},"amount":{amount},"idempotency_key":"{key}"}}"#
                );
                ("/transfer", body)
            }
            3..5 => ("/withdraw", format!(r#"{{"user_id":{user},"amount":{amount},"idempotency_key":"{key}"}}"#)),
            5 => {
                let release_at = r#""release_at":"2100-01-01T00:00:00Z""#;
                ("/charge", format!(r#"{{"user_id":{user},"amount":{amount},{release_at},"idempotency_key":"{key}"}}"#))
            }
            _ => ("/charge", format!(r#"{{"user_id":{user},"amount":{amount},"idempotency_key":"{key}"}}"#)),
        };
        match client.post(path, &body) {
            Err(_) => return,
            Ok((200 | 202, reply)) => {
                let id = reply["transaction"]["id"].as_u64().unwrap();
                book.lock().unwrap().insert(key, Acknowledged { path, body, id });
            }
            Ok((422 | 503, _)) => {}
            Ok((status, reply)) => panic!("{path} {body}: {status} {reply}"),
        }
    }
}

/// Every acknowledged key names its transaction, and the books balance.
fn check(address: &str, book: &Book, when: &str) {
    let mut client = Client::connect(address).unwrap();
    let book = book.lock().unwrap();
    for (key, acknowledged) in book.iter() {
        let (status, reply) = client.post(acknowledged.path, &acknowledged.body).unwrap();
        assert_eq!(status, 409, "{when}: the acknowledged key {key} is answered {reply}");
        assert_eq!(reply["code"], "duplicate_request", "{when}: {key}");
        assert_eq!(reply["transaction"]["id"], acknowledged.id, "{when}: {key}");
    }
    let (_, audit) = client.get("/audit?deep=true").unwrap();
    assert_eq!(audit["balanced"], true, "{when}: {audit}");
}

#[test]
fn what_was_acknowledged_survives_every_kill() {
    let (kills, seed) = (number("LEDGER_KILLS", 5), number("LEDGER_KILL_SEED", 1));
    let directory = tempfile::tempdir().unwrap();
    let mut dice = Dice(seed);
    let all = Book::default();
    for round in 0..kills {
        let server = Server::start(directory.path());
        let (book, stop) = (Book::default(), AtomicBool::new(false));
        let pause = Duration::from_millis(50 + dice.roll(400));
        let address = server.address.clone();
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let dice = Dice(seed ^ (round << 32) ^ (client << 16));
                let (address, book, stop) = (&address, &book, &stop);
                scope.spawn(move || load(address, &format!("{seed}-{round}-{client}"), dice, book, stop));
            }
            std::thread::sleep(pause);
            server.kill();
            stop.store(true, Ordering::Relaxed);
        });
        let again = Server::start(directory.path());
        check(&again.address, &book, &format!("seed {seed}, after kill {round}"));
        all.lock().unwrap().extend(book.into_inner().unwrap());
        again.kill();
    }
    let last = Server::start(directory.path());
    check(&last.address, &all, &format!("seed {seed}, after all kills"));
    last.kill();
    let acknowledged = all.lock().unwrap().len();
    eprintln!(
        "seed {seed}: {kills} kills under load and {kills} idle, {acknowledged} acknowledged transactions, all there"
    );
    assert!(acknowledged > 0, "a load that gets nothing acknowledged shows nothing");
    let verified =
        Command::new(env!("CARGO_BIN_EXE_ledger-server")).arg("verify").arg(directory.path()).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}
