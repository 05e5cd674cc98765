//! Writes one file, block by block, in memory of a fixed size.

use std::io;

use super::format::{
    BLOCK_HEAD_BYTES, CHECKSUM_BYTES, HEADER_BYTES, Header, Kind, PAYLOAD_BYTES_MAX, Section, Seed, Trailer, block_head,
};
use super::names;
use crate::sync::Arc;
use crate::sys::{Storage, StorageFile};

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;
/// Bytes that are written between two syncs: a sync at the end alone would send a gigabyte to the disk at once, and the
/// log's own syncs, which somebody waits for, would queue behind it.
const UNSYNCED_BYTES_MAX: u64 = 4 << 20;

/// Where blocks go: a file, or a digest of what a file would hold.
pub(crate) trait Sink {
    /// Takes one block. Those of one kind and shard come one after the other.
    ///
    /// # Errors
    /// The storage's.
    fn block(&mut self, kind: Kind, shard: u16, payload: &[u8]) -> io::Result<()>;
}

/// A file that is being written under its temporary name.
pub(crate) struct FileWriter {
    file: Arc<dyn StorageFile>,
    header: [u8; HEADER_BYTES],
    seed: Seed,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    written: u64,
    /// Up to where it was synced.
    synced: u64,
    ordinal: u64,
    sections: Vec<Section>,
    /// The checksums of the last section's blocks.
    checksums: Vec<u8>,
}

impl FileWriter {
    /// Creates the file that will be called `name`, in place of what an interrupted one left.
    ///
    /// # Errors
    /// The storage's.
    pub(crate) fn create(storage: &dyn Storage, name: &str, header: &Header) -> io::Result<FileWriter> {
        let temporary = names::temporary(name);
        match storage.remove(&temporary) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
            _ => {}
        }
        let file = storage.create(&temporary)?;
        let (header, seed) = header.encode();
        let mut buffer = Vec::with_capacity(BUFFER_BYTES + PAYLOAD_BYTES_MAX);
        buffer.extend_from_slice(&header);
        Ok(FileWriter {
            file,
            header,
            seed,
            buffer,
            written: 0,
            synced: 0,
            ordinal: 0,
            sections: Vec::new(),
            checksums: Vec::new(),
        })
    }

    fn offset(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        if self.written - self.synced >= UNSYNCED_BYTES_MAX { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.synced = self.written;
        Ok(())
    }

    fn end_section(&mut self) {
        if let Some(section) = self.sections.last_mut() {
            section.checksum = self.seed.checksum(&self.checksums);
        }
        self.checksums.clear();
    }

    /// Ends the file and syncs it; gives its length and digest. It still has its temporary name.
    ///
    /// # Errors
    /// The storage's.
    pub(crate) fn finish(mut self) -> io::Result<(u64, u128)> {
        self.end_section();
        let directory = self.offset();
        let mut bytes = Vec::new();
        self.sections.iter().for_each(|section| section.encode(&mut bytes));
        let digest = self.seed.digest(&[&self.header[..], &bytes].concat());
        let trailer = Trailer { directory, directory_bytes: bytes.len() as u64, digest };
        self.buffer.extend_from_slice(&bytes);
        self.buffer.extend_from_slice(&trailer.encode(self.seed));
        self.flush()?;
        if self.synced < self.written {
            self.sync()?;
        }
        Ok((self.written, digest))
    }
}

impl Sink for FileWriter {
    fn block(&mut self, kind: Kind, shard: u16, payload: &[u8]) -> io::Result<()> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            let reason = format!("a block of kind {kind:?} has {} bytes, more than {PAYLOAD_BYTES_MAX}", payload.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let is_same = self.sections.last().is_some_and(|last| (last.kind, last.shard) == (kind, shard));
        if !is_same {
            self.end_section();
            let offset = self.offset();
            self.sections.push(Section { kind, shard, blocks: 0, offset, bytes: 0, checksum: 0 });
        }
        let at = self.buffer.len();
        self.buffer.extend_from_slice(&block_head(payload.len(), kind, shard, self.ordinal));
        self.buffer.extend_from_slice(payload);
        let checksum = self.seed.checksum(&self.buffer[at..]).to_le_bytes();
        self.buffer.extend_from_slice(&checksum);
        self.checksums.extend_from_slice(&checksum);
        self.ordinal += 1;
        let section = self.sections.last_mut().expect("there is one by now");
        section.blocks += 1;
        section.bytes += (BLOCK_HEAD_BYTES + payload.len() + CHECKSUM_BYTES) as u64;
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }
}
