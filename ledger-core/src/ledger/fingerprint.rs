//! A hash of what a command says, to tell a repeat from a misuse of its key.

use xxhash_rust::xxh3::xxh3_128;

use crate::command::{CancelWithdrawal, Command, ResolveWithdrawal};
use crate::types::{Fingerprint, Timestamp};
use crate::withdrawals::Resolution;

/// XXH3-128 over everything that the command says but its key: kind, currency, amount, users, `release_at` as an
/// instant, destination, metadata. Each part has one length, or is preceded by it.
pub(crate) fn fingerprint(command: &Command<'_>) -> Fingerprint {
    let mut said = Said { bytes: [0; INLINE], len: 0, spilled: Vec::new() };
    let (kind, currency, amount, users, release_at, destination, metadata) = match command {
        Command::Charge(c) => (1, c.currency, c.amount, [c.user.get(), 0], c.release_at, None, c.metadata),
        Command::Transfer(t) => (2, t.currency, t.amount, [t.from.get(), t.to.get()], t.release_at, None, t.metadata),
        Command::Withdraw(w) => (3, w.currency, w.amount, [w.user.get(), 0], None, w.destination, w.metadata),
    };
    said.put(&[kind]);
    said.put(&currency.padded());
    said.put(&amount.minor().to_le_bytes());
    said.put(&users[0].to_le_bytes());
    said.put(&users[1].to_le_bytes());
    said.put(&release_at.map_or(i64::MIN, Timestamp::micros).to_le_bytes());
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
