//! The requests: which, and their bytes. Fields have fixed widths, so that a body is a few copies and its length is known.

use std::fmt;
use std::str::FromStr;

use crate::workload::{Keys, Random};

/// The first user: numbers of seven digits, so that every body of a kind is equally long.
pub(super) const FIRST_USER: u64 = 1_000_000;
/// The most operations of one batch.
const BATCH_MAX: u32 = 10_000;

/// A kind of request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// `POST /charge`.
    Charge,
    /// `POST /withdraw`.
    Withdraw,
    /// `GET /balance`.
    Balance,
    /// `GET /transactions`, ten of them.
    Transactions,
    /// `POST /batch` of so many charges.
    Batch(u32),
}

impl Kind {
    /// How many transactions one request asks for; reads count as one.
    pub fn operations(self) -> u64 {
        if let Kind::Batch(operations) = self { u64::from(operations) } else { 1 }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Charge => f.write_str("charge"),
            Kind::Withdraw => f.write_str("withdraw"),
            Kind::Balance => f.write_str("balance"),
            Kind::Transactions => f.write_str("transactions"),
            Kind::Batch(operations) => write!(f, "batch:{operations}"),
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Kind, String> {
        Ok(match name {
            "charge" => Kind::Charge,
            "withdraw" => Kind::Withdraw,
            "balance" => Kind::Balance,
            "transactions" => Kind::Transactions,
            _ => {
                let operations = name.strip_prefix("batch:").and_then(|digits| digits.parse().ok());
                let operations = operations.filter(|count| (1..=BATCH_MAX).contains(count));
                Kind::Batch(operations.ok_or_else(|| {
                    format!("{name:?} is no kind; use charge, withdraw, balance, transactions or batch:1..=10000")
                })?)
            }
        })
    }
}

/// Kinds of requests, each with how often it is drawn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mix {
    parts: Vec<(Kind, u32)>,
    sum: u32,
}

impl Mix {
    /// Of these parts, of which there is at least one.
    pub fn of(parts: &[(Kind, u32)]) -> Mix {
        let sum = parts.iter().map(|(_, weight)| weight).sum();
        assert!(sum > 0, "a mix has parts");
        Mix { parts: parts.to_vec(), sum }
    }

    /// Of one kind alone.
    pub fn only(kind: Kind) -> Mix {
        Mix::of(&[(kind, 1)])
    }

    /// Its kinds, each once.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        self.parts.iter().map(|(kind, _)| *kind)
    }

    /// Draws the index of a kind.
    pub(super) fn draw(&self, random: &mut Random) -> usize {
        if self.parts.len() == 1 {
            return 0;
        }
        let mut left = random.below(u64::from(self.sum)) as u32;
        let drawn = self.parts.iter().position(|(_, weight)| {
            let hit = left < *weight;
            left = left.saturating_sub(*weight);
            hit
        });
        drawn.unwrap_or(0)
    }
}

impl FromStr for Mix {
    type Err = String;

    /// `charge=7,balance=3`.
    fn from_str(text: &str) -> Result<Mix, String> {
        let part = |part: &str| -> Result<(Kind, u32), String> {
            let (kind, weight) = part.split_once('=').unwrap_or((part, "1"));
            let weight = weight.parse().ok().filter(|weight| (1..=1_000_000).contains(weight));
            Ok((kind.parse()?, weight.ok_or_else(|| format!("{part:?} needs a weight from 1 to 1000000"))?))
        };
        let parts: Vec<_> = text.split(',').map(part).collect::<Result<_, String>>()?;
        Ok(Mix::of(&parts))
    }
}

/// Makes requests: draws users, makes keys, writes bytes.
pub(super) struct Writer {
    host: String,
    users: u64,
    random: Random,
    keys: Keys,
}

impl Writer {
    pub(super) fn new(host: String, users: u64, seed: u64) -> Writer {
        Writer { host, users, random: Random::new(seed), keys: Keys::anywhere() }
    }

    pub(super) fn draw(&mut self, mix: &Mix) -> usize {
        mix.draw(&mut self.random)
    }

    /// Writes one request at the end of `out`.
    pub(super) fn write(&mut self, kind: Kind, out: &mut Vec<u8>) {
        match kind {
            Kind::Charge => self.post("/charge", 1, "", out),
            Kind::Withdraw => self.post("/withdraw", 1, "", out),
            Kind::Balance => self.get("/balance?user_id=", "", out),
            Kind::Transactions => self.get("/transactions?user_id=", "&limit=10", out),
            Kind::Batch(operations) => self.post("/batch", operations, "\"type\":\"charge\",", out),
        }
    }

    fn get(&mut self, path: &str, rest: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"GET ");
        out.extend_from_slice(path.as_bytes());
        digits(FIRST_USER + self.random.below(self.users), out);
        out.extend_from_slice(rest.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        out.extend_from_slice(self.host.as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
    }

    fn post(&mut self, path: &str, operations: u32, members: &str, out: &mut Vec<u8>) {
        const EACH: usize =
            "{\"user_id\":1234567,\"amount\":100,\"idempotency_key\":\"012345678901234567890123\"}".len();
        let is_batch = !members.is_empty();
        let around = if is_batch { "{\"operations\":[]}".len() } else { 0 };
        let length =
            operations as usize * (EACH + members.len() + usize::from(is_batch)) - usize::from(is_batch) + around;
        out.extend_from_slice(b"POST ");
        out.extend_from_slice(path.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        out.extend_from_slice(self.host.as_bytes());
        out.extend_from_slice(b"\r\ncontent-type: application/json\r\ncontent-length: ");
        digits(length as u64, out);
        out.extend_from_slice(b"\r\n\r\n");
        let begin = out.len();
        if is_batch {
            out.extend_from_slice(b"{\"operations\":[");
        }
        for number in 0..operations {
            if number > 0 {
                out.push(b',');
            }
            out.push(b'{');
            out.extend_from_slice(members.as_bytes());
            out.extend_from_slice(b"\"user_id\":");
            digits(FIRST_USER + self.random.below(self.users), out);
            out.extend_from_slice(b",\"amount\":100,\"idempotency_key\":\"");
            out.extend_from_slice(&self.keys.make());
            out.extend_from_slice(b"\"}");
        }
        if is_batch {
            out.extend_from_slice(b"]}");
        }
        debug_assert_eq!(out.len() - begin, length, "the announced length is the body's");
    }
}

fn digits(mut number: u64, out: &mut Vec<u8>) {
    let mut text = [0; 20];
    let mut at = text.len();
    loop {
        at -= 1;
        text[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&text[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_as_long_as_it_says_and_its_body_is_json() {
        let mut writer = Writer::new("localhost".into(), 10, 1);
        for kind in [Kind::Charge, Kind::Withdraw, Kind::Batch(1), Kind::Batch(3)] {
            let mut out = Vec::new();
            writer.write(kind, &mut out);
            let text = String::from_utf8(out).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let length: usize = head.rsplit_once("content-length: ").unwrap().1.parse().unwrap();
            assert_eq!(length, body.len(), "{kind}");
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            if let Kind::Batch(operations) = kind {
                assert_eq!(body["operations"].as_array().unwrap().len(), operations as usize);
            }
        }
    }

    #[test]
    fn a_mix_is_drawn_by_its_weights() {
        let mix: Mix = "charge=7,batch:100=1,balance=2".parse().unwrap();
        let mut random = Random::new(7);
        let mut drawn = [0; 3];
        (0..10_000).for_each(|_| drawn[mix.draw(&mut random)] += 1);
        for (count, share) in drawn.into_iter().zip([0.7, 0.1, 0.2]) {
            assert!((f64::from(count) / 10_000.0 - share).abs() < 0.03, "{drawn:?}");
        }
        assert!("batch:10001".parse::<Mix>().is_err() && "charge=0".parse::<Mix>().is_err());
    }
}
