//! A bank that does with a connection what a test says, byte by byte.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use ledger_core::withdrawals::{Attempt, Submission};
use ledger_core::{Amount, Charge, Destination, IdempotencyKey, Ledger, UserId, Withdraw};
use ledger_server::withdrawals::{BankAddress, Gateway, HttpBank, HttpBankOptions, Payout};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// For banks that answer, or break off: longer than any machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// For banks that never answer, so that it does not matter how long it is.
pub(crate) const IMPATIENCE: Duration = Duration::from_millis(300);

/// What the bank does when it has read a request.
#[derive(Clone, Debug)]
pub(crate) enum Reaction {
    /// Sends these bytes and waits for the next request.
    Says(Vec<u8>),
    /// Sends these bytes and closes the connection in an orderly way.
    Closes(Vec<u8>),
    /// Sends these bytes and resets the connection.
    Resets(Vec<u8>),
    /// Sends these bytes, and nothing ever again.
    Hangs(Vec<u8>),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Heard {
    /// Whether it is a question, and not an order to pay.
    pub(crate) fn asks(&self) -> bool {
        self.head.starts_with("GET ")
    }

    /// The value of a header; its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.split_once(": ").filter(|(have, _)| have.to_lowercase() == name))
            .map(|h| h.1)
    }
}

pub(crate) struct ScriptedBank {
    pub(crate) port: u16,
    heard: Arc<Mutex<Vec<Heard>>>,
}

type Script = dyn Fn(&Heard) -> Reaction + Send + Sync;

impl ScriptedBank {
    pub(crate) async fn start(script: impl Fn(&Heard) -> Reaction + Send + Sync + 'static) -> ScriptedBank {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, heard) = (listener.local_addr().unwrap().port(), Arc::default());
        let (script, log): (Arc<Script>, Arc<Mutex<Vec<Heard>>>) = (Arc::new(script), Arc::clone(&heard));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, log) = (Arc::clone(&script), Arc::clone(&log));
                tokio::spawn(async move { converse(stream, &*script, &log).await });
            }
        });
        ScriptedBank { port, heard }
    }

    /// A gateway to it that waits longer than any machine needs for an answer.
    pub(crate) fn gateway(&self) -> HttpBank {
        HttpBank::new(self.options())
    }

    pub(crate) fn options(&self) -> HttpBankOptions {
        let address: BankAddress = format!("http://127.0.0.1:{}", self.port).parse().unwrap();
        HttpBankOptions { timeout: PATIENCE, ..HttpBankOptions::new(address) }
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// How often it was told to pay.
    pub(crate) fn orders(&self) -> usize {
        self.heard().iter().filter(|heard| !heard.asks()).count()
    }
}

async fn converse(mut stream: TcpStream, script: &Script, log: &Mutex<Vec<Heard>>) {
    while let Ok(heard) = read_request(&mut stream).await {
        let reaction = script(&heard);
        log.lock().unwrap().push(heard);
        let (Reaction::Says(bytes) | Reaction::Closes(bytes) | Reaction::Resets(bytes) | Reaction::Hangs(bytes)) =
            &reaction;
        stream.write_all(bytes).await.unwrap();
        match reaction {
            Reaction::Says(_) => {}
            Reaction::Closes(_) => return,
            Reaction::Resets(_) => {
                stream.set_zero_linger().unwrap();
                return;
            }
            Reaction::Hangs(_) => std::future::pending().await,
        }
    }
}

/// One whole request; a body is as long as `Content-Length` says.
pub(crate) async fn read_request(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<Heard> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let mut heard = Heard { head: String::from_utf8(bytes[..head].to_vec()).unwrap(), body: String::new() };
    let length = heard.header("content-length").map_or(0, |length| length.parse().unwrap());
    while bytes.len() < head + length {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    heard.body = String::from_utf8(bytes[head..].to_vec()).unwrap();
    Ok(heard)
}

/// A whole answer with a JSON body.
pub(crate) fn answer(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// An answer with one more header line, which ends with a line break.
pub(crate) fn with_header(answer: &[u8], header: &str) -> Vec<u8> {
    let at = answer.windows(2).position(|two| two == b"\r\n").unwrap() + 2;
    [&answer[..at], header.as_bytes(), &answer[at..]].concat()
}

/// The header of a bank whose clock is so far ahead.
pub(crate) fn date(ahead: Duration) -> String {
    format!("date: {}\r\n", httpdate::fmt_http_date(SystemTime::now() + ahead))
}

/// That the bank does not know the payout.
pub(crate) fn not_found(payout: &Payout) -> Vec<u8> {
    answer(404, &format!(r#"{{"bank_reference":"{}","outcome":"not_found"}}"#, payout.reference))
}

/// The body that the protocol asks for.
pub(crate) fn body(payout: &Payout, outcome: &str) -> String {
    let Payout { reference, amount, currency, .. } = payout;
    format!(r#"{{"bank_reference":"{reference}","outcome":"{outcome}","amount":{amount},"currency":"{currency}"}}"#)
}

/// The first attempt of a withdrawal, as a ledger makes it.
pub(crate) fn payout() -> Payout {
    let ledger = Ledger::options().in_memory().unwrap();
    let (user, amount) = (UserId::new(7).unwrap(), Amount::new(1_234).unwrap());
    ledger.charge(Charge::new(user, amount, IdempotencyKey::new("c").unwrap())).unwrap().wait().unwrap();
    let destination = Destination::new("a \"quoted\" destination").unwrap();
    let withdraw = Withdraw::new(user, amount, IdempotencyKey::new("w").unwrap()).destination(destination);
    let id = ledger.withdraw(withdraw).unwrap().wait().unwrap().transaction_id;
    let attempt: Attempt = ledger.start_attempt(id).unwrap().wait().unwrap();
    Payout::from(attempt)
}

/// What the gateway makes of one reaction to `payout`.
pub(crate) async fn submit(payout: &Payout, reaction: Reaction) -> Submission {
    let timeout = if let Reaction::Hangs(_) = reaction { IMPATIENCE } else { PATIENCE };
    let bank = ScriptedBank::start(move |_| reaction.clone()).await;
    HttpBank::new(HttpBankOptions { timeout, ..bank.options() }).submit(payout).await
}
