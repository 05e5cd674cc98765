//! What fuzz targets reach of the inside: one entry, from its bytes and to them. No part of the public interface.

use crate::journal::codec;
use crate::state::Entry;

/// Reads one entry that fills `bytes` exactly.
///
/// # Errors
/// What is wrong with the bytes.
pub fn decode_entry(bytes: &[u8]) -> Result<Entry<'_>, &'static str> {
    codec::decode(bytes)
}

/// Writes one entry at the end of `out`.
pub fn encode_entry(entry: &Entry<'_>, out: &mut Vec<u8>) {
    codec::encode(entry, out);
}
