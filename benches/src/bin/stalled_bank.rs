//! Whether a bank that takes 30 s an answer slows those who want nothing of it: durable charges and reads over HTTP, with
//! every worker waiting for the bank and the queue full, in turn with the same server at rest.
//!
//! ```sh
//! cargo build --profile ci -p ledger-server
//! cargo run --profile ci -p ledger-benches --bin stalled_bank     # about half a minute
//! ```
//!
//! Two servers, each with its own log, are loaded in turn by the same eight connections, two seconds at a time; the ratio of
//! each pair is what counts. `LEDGER_BENCH_DIR` says on which disk.
#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ledger_benches::latency::{Latencies, short};
use ledger_benches::pairs::Spread;
use ledger_benches::place;

const PAIRS: u64 = 5;
const CONNECTIONS: u64 = 8;
const WINDOW: Duration = Duration::from_secs(2);
const WORKERS: u64 = 50;
const QUEUE: u64 = 100;

/// A program that is ended when it is dropped.
struct Program {
    child: Child,
    address: String,
}

impl Program {
    fn start(arguments: &[&str]) -> Program {
        let here = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(here.with_file_name("ledger-server"));
        command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("ledger-server is built in the same profile");
        let mut lines = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
        let address = lines.find_map(|line| Some(line.ok()?.strip_prefix("listening on http://")?.to_owned()));
        Program { child, address: address.expect("it says where it listens") }
    }

    fn server(directory: &Path, bank: &Program) -> Program {
        let (bank, directory) = (format!("http://{}", bank.address), directory.to_string_lossy());
        let (workers, queue) = (WORKERS.to_string(), QUEUE.to_string());
        let timeouts = ["--bank-timeout", "60s", "--shutdown-timeout", "70s"];
        let places = ["--workers", &workers, "--queue", &queue];
        let rest = ["--listen", "127.0.0.1:0", "--data-dir", &directory, "--bank", &bank];
        Program::start(&[&rest[..], &places, &timeouts].concat())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself, which its client has noticed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends whoever looks at it, also where a measurement panics.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(program: &Program) -> Connection {
        let stream = TcpStream::connect(&program.address).expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        Connection(BufReader::new(stream))
    }

    /// The status of a request.
    fn send(&mut self, head: &str, body: &str) -> u16 {
        let length = body.len();
        let request = format!(
            "{head} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.0.get_mut().write_all(request.as_bytes()).expect("it reads");
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).expect("it answers") > 0, "it answers");
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest[..3].parse().expect("a status");
            } else if let Some(rest) = line.strip_prefix("content-length: ") {
                length = rest.trim_end().parse().expect("a length");
            } else if line == "\r\n" {
                break;
            }
        }
        self.0.read_exact(&mut vec![0; length]).expect("a whole body");
        status
    }

    fn charge(&mut self, user: u64, key: &str) -> u16 {
        let body = format!(r#"{{"user_id":{user},"amount":1000000,"idempotency_key":"{key}"}}"#);
        self.send("POST /charge", &body)
    }
}

/// Takes every place that becomes free, so that the bank always stalls all of them.
fn keep_full(server: &Program, stop: &AtomicBool) {
    let mut connection = Connection::open(server);
    for number in 0u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        match withdraw(&mut connection, &format!("w-{number}")) {
            202 => {}
            503 => std::thread::sleep(Duration::from_millis(100)),
            status => panic!("a withdrawal is answered {status}"),
        }
    }
}

fn withdraw(connection: &mut Connection, key: &str) -> u16 {
    let body = format!(r#"{{"user_id":1,"amount":1,"idempotency_key":"{key}","destination":"an account"}}"#);
    connection.send("POST /withdraw", &body)
}

/// How long charges and reads took in one window.
fn load(server: &Program, round: u64) -> [Latencies; 2] {
    let parts: Vec<[Latencies; 2]> = std::thread::scope(|scope| {
        let loads: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                scope.spawn(move || {
                    let (mut connection, start) = (Connection::open(server), Instant::now());
                    let mut took = [Latencies::new(), Latencies::new()];
                    let user = 2 + number;
                    for turn in 0.. {
                        let before = Instant::now();
                        if before - start > WINDOW {
                            break;
                        }
                        let status = match turn % 2 {
                            0 => connection.charge(user, &format!("c-{round}-{number}-{turn}")),
                            _ => connection.send(&format!("GET /balance?user_id={user}"), ""),
                        };
                        assert_eq!(status, 200);
                        took[turn % 2].add(before.elapsed());
                    }
                    took
                })
            })
            .collect();
        loads.into_iter().map(|load| load.join().expect("the load ends")).collect()
    });
    [0, 1].map(|kind| Latencies::merged(&parts.iter().map(|part| part[kind].clone()).collect::<Vec<_>>()))
}

fn main() {
    let (stalled_at, calm_at) = (place::directory(), place::directory());
    let book = stalled_at.path().join("book");
    let bank =
        Program::start(&["bank", "--listen", "127.0.0.1:0", "--latency", "30s", "--book", &book.to_string_lossy()]);
    let stalled = Program::server(&stalled_at.path().join("ledger"), &bank);
    let calm = Program::server(&calm_at.path().join("ledger"), &bank);
    let stop = AtomicBool::new(false);
    let mut rounds = Vec::new();
    assert_eq!(Connection::open(&stalled).charge(1, "funds"), 200);
    std::thread::scope(|scope| {
        scope.spawn(|| keep_full(&stalled, &stop));
        let _stop = Stop(&stop);
        // It is full when a withdrawal is refused.
        let mut watch = Connection::open(&stalled);
        let mut probes = 0u64..;
        while probes.next().is_some_and(|probe| withdraw(&mut watch, &format!("probe-{probe}")) != 503) {}
        load(&calm, u64::MAX);
        for round in 0..PAIRS {
            rounds.push((load(&stalled, round), load(&calm, round)));
        }
    });

    println!(
        "{WORKERS} workers wait for a bank that takes 30 s and {QUEUE} places are taken; {CONNECTIONS} connections"
    );
    println!("| what | while the bank stalls: p50 / p99 / p99.9 / max | at rest | ratio of p50 | ratio of p99 |");
    println!("| --- | --- | --- | --- | --- |");
    for (kind, name) in ["durable charges", "balance reads"].into_iter().enumerate() {
        let (stalled, calm): (Vec<_>, Vec<_>) =
            rounds.iter().map(|(stalled, calm)| (stalled[kind].clone(), calm[kind].clone())).unzip();
        let ratio = |share: f64| {
            let ratios = stalled
                .iter()
                .zip(&calm)
                .map(|(stalled, calm)| stalled.quantile(share).as_secs_f64() / calm.quantile(share).as_secs_f64());
            let Spread { min, median, max } = Spread::of(ratios.collect());
            format!("{median:.2} ({min:.2}–{max:.2})")
        };
        let (all, at_rest) = (Latencies::merged(&stalled), Latencies::merged(&calm));
        println!("| {name} | {all} | {at_rest} | {} | {} |", ratio(0.5), ratio(0.99));
    }
    println!("each window {}, {PAIRS} pairs", short(WINDOW));
}
