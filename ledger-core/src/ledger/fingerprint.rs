//! A hash of what a command says, to tell a repeat from a misuse of its key.

use xxhash_rust::xxh3::xxh3_128;

use crate::command::{CancelWithdrawal, Command, ResolveWithdrawal};
use crate::types::{Fingerprint, Timestamp};
use crate::withdrawals::Resolution;

/// XXH3-128 over everything that the command says but its key: kind, currency, amount, users, `release_at` as an
/// instant, destination, metadata. Each part has one length, or is preceded by it.
pub(crate) fn fingerprint(command: &Command<'_>) -> Fingerprint {
    let (kind, currency, amount, users, release_at, destination, metadata) = match command {
        Command::Charge(c) => (1, c.currency, c.amount, [c.user.get(), 0], c.release_at, None, c.metadata),
        Command::Transfer(t) => (2, t.currency, t.amount, [t.from.get(), t.to.get()], t.release_at, None, t.metadata),
        Command::Withdraw(w) => (3, w.currency, w.amount, [w.user.get(), 0], None, w.destination, w.metadata),
    };
    // What nearly every command says has one length, texts that are absent included: laid out in place and hashed at once.
    let mut bytes = [0; NUMBERS + 2 * size_of::<u32>()];
    bytes[0] = kind;
    bytes[1..9].copy_from_slice(&currency.padded());
    bytes[9..17].copy_from_slice(&amount.minor().to_le_bytes());
    bytes[17..25].copy_from_slice(&users[0].to_le_bytes());
    bytes[25..33].copy_from_slice(&users[1].to_le_bytes());
    bytes[33..NUMBERS].copy_from_slice(&release_at.map_or(i64::MIN, Timestamp::micros).to_le_bytes());
    if destination.is_none() && metadata.is_none() {
        return Fingerprint::new(xxh3_128(&bytes));
    }
    let mut said = Said { bytes: [0; INLINE], len: 0, spilled: Vec::new() };
    said.put(&bytes[..NUMBERS]);
    for text in [destination.map(|d| d.as_str().as_bytes()), metadata.map(|m| m.as_bytes())] {
        // No text has length zero, so absence is told from presence.
        let text = text.unwrap_or_default();
        said.put(&(text.len() as u32).to_le_bytes());
        said.put(text);
    }
    Fingerprint::new(said.hash())
}

/// As [`fingerprint`], of giving a withdrawal up.
pub(crate) fn fingerprint_of_cancel(cancel: &CancelWithdrawal<'_>) -> Fingerprint {
    let mut said = Said { bytes: [0; INLINE], len: 0, spilled: Vec::new() };
    said.put(&[4]);
    said.put(&cancel.id.get().to_le_bytes());
    Fingerprint::new(said.hash())
}

/// As [`fingerprint`], of an operator's decision, his name and evidence included.
pub(crate) fn fingerprint_of_resolve(resolve: &ResolveWithdrawal<'_>) -> Fingerprint {
    let mut said = Said { bytes: [0; INLINE], len: 0, spilled: Vec::new() };
    said.put(&[5]);
    said.put(&resolve.id.get().to_le_bytes());
    said.put(&[match resolve.outcome {
        Resolution::Completed => 1,
        Resolution::Failed => 2,
    }]);
    for text in [resolve.evidence.as_str(), resolve.operator.as_str()] {
        said.put(&(text.len() as u32).to_le_bytes());
        said.put(text.as_bytes());
    }
    Fingerprint::new(said.hash())
}

/// The bytes of a command's kind, currency, amount, users and `release_at`.
const NUMBERS: usize = 41;

/// Enough for every command without metadata and with a short destination.
const INLINE: usize = 128;

/// Bytes to hash in one call, on the stack while they are few.
struct Said {
    bytes: [u8; INLINE],
    len: usize,
    spilled: Vec<u8>,
}

impl Said {
    fn put(&mut self, part: &[u8]) {
        let end = self.len + part.len();
        if self.spilled.is_empty() && end <= INLINE {
            self.bytes[self.len..end].copy_from_slice(part);
            self.len = end;
            return;
        }
        if self.spilled.is_empty() {
            self.spilled.extend_from_slice(&self.bytes[..self.len]);
        }
        self.spilled.extend_from_slice(part);
    }

    fn hash(&self) -> u128 {
        xxh3_128(if self.spilled.is_empty() { &self.bytes[..self.len] } else { &self.spilled })
    }
}
