//! Reads one file and believes nothing that its checksums do not say.

use std::io::ErrorKind;

use uuid::Uuid;

use super::format::{
    BLOCK_HEAD_BYTES, CHECKSUM_BYTES, FileKind, HEADER_BYTES, Header, Kind, NotAHeader, PAYLOAD_BYTES_MAX,
    SECTION_BYTES, Section, Seed, TRAILER_BYTES, Trailer, block_head, u32_at, u64_at,
};
use crate::error::OpenError;
use crate::sync::Arc;
use crate::sys::{ReadFrom, Storage, StorageFile};

/// What is read at once: more gains nothing.
const WINDOW_BYTES: u64 = 1 << 20;
/// A block with all around it.
const BLOCK_BYTES_MAX: u64 = (BLOCK_HEAD_BYTES + PAYLOAD_BYTES_MAX + CHECKSUM_BYTES) as u64;

/// A file whose frame was read and checked. Its blocks are checked when they are read, and are this file's by their seed, also
/// where it was closed and is opened again.
pub(crate) struct FileReader<'s> {
    storage: &'s dyn Storage,
    name: String,
    /// `None`: it is opened for each section that is read of it.
    file: Option<Arc<dyn StorageFile>>,
    header: Header,
    seed: Seed,
    bytes: u64,
    digest: u128,
    sections: Vec<Section>,
    from: ReadFrom,
}

/// What was read of a file at once, from `start` on; nothing is read from `end` on.
struct Window {
    bytes: Vec<u8>,
    start: u64,
    end: u64,
}

impl<'s> FileReader<'s> {
    /// Opens the file `name` of the ledger `uuid`.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(crate) fn open(
        storage: &'s dyn Storage,
        name: &str,
        kind: FileKind,
        uuid: Uuid,
        from: ReadFrom,
    ) -> Result<FileReader<'s>, OpenError> {
        let refuse = |offset: u64, reason: String| damaged(name, offset, reason);
        let file = open_file(storage, name)?;
        let bytes = file.len().map_err(|source| OpenError::Io { context: format!("reading {name}"), source })?;
        let mut reader = FileReader {
            storage,
            name: name.to_owned(),
            file: Some(Arc::clone(&file)),
            header: Header {
                kind,
                uuid,
                seq: Default::default(),
                since: Default::default(),
                epoch: Default::default(),
            },
            seed: Seed(0),
            bytes,
            digest: 0,
            sections: Vec::new(),
            from,
        };
        if bytes < (HEADER_BYTES + TRAILER_BYTES) as u64 {
            return Err(refuse(bytes, format!("it has {bytes} bytes, too few for a snapshot's file")));
        }
        let mut header = [0; HEADER_BYTES];
        reader.read(&*file, &mut header, 0)?;
        (reader.header, reader.seed) = match Header::decode(&header) {
            Ok(decoded) => decoded,
            Err(NotAHeader::Newer(reason)) => return Err(OpenError::Unsupported { file: name.to_owned(), reason }),
            Err(NotAHeader::Damaged) => return Err(refuse(0, "its header cannot be read".into())),
        };
        if reader.header.uuid != uuid {
            return Err(refuse(16, format!("it belongs to ledger {}, not to {uuid}", reader.header.uuid)));
        }
        if reader.header.kind != kind {
            return Err(refuse(12, "it is another kind of file under this name".into()));
        }
        reader.read_directory(&*file, &header)?;
        Ok(reader)
    }

    /// Keeps it open no longer: a ledger may have more files than a process may have open.
    pub(crate) fn close(&mut self) {
        self.file = None;
    }

    fn read_directory(&mut self, file: &dyn StorageFile, header: &[u8; HEADER_BYTES]) -> Result<(), OpenError> {
        let end = self.bytes - TRAILER_BYTES as u64;
        let mut trailer = [0; TRAILER_BYTES];
        self.read(file, &mut trailer, end)?;
        let Some(trailer) = Trailer::decode(&trailer, self.seed) else {
            return Err(self.damaged(end, "its trailer cannot be read"));
        };
        let fits = trailer.directory.checked_add(trailer.directory_bytes) == Some(end)
            && trailer.directory >= HEADER_BYTES as u64
            && trailer.directory_bytes.is_multiple_of(SECTION_BYTES as u64);
        if !fits {
            return Err(self.damaged(end, "its directory does not end where its trailer begins"));
        }
        let mut directory = vec![0; trailer.directory_bytes as usize];
        self.read(file, &mut directory, trailer.directory)?;
        if trailer.digest != self.seed.digest(&[&header[..], &directory].concat()) {
            return Err(self.damaged(trailer.directory, "its directory's checksum is wrong"));
        }
        let mut at = HEADER_BYTES as u64;
        for bytes in directory.chunks_exact(SECTION_BYTES) {
            let section = Section::decode(bytes).filter(|section| section.offset == at && section.blocks > 0);
            let section = section.ok_or_else(|| self.damaged(trailer.directory, "its directory has a gap"))?;
            at = at.checked_add(section.bytes).ok_or_else(|| self.damaged(trailer.directory, "it is too long"))?;
            self.sections.push(section);
        }
        if at != trailer.directory {
            return Err(self.damaged(at, "its sections do not end where its directory begins"));
        }
        self.digest = trailer.digest;
        Ok(())
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// Its length in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// By which snapshots name it.
    pub(crate) fn digest(&self) -> u128 {
        self.digest
    }

    /// The section of this kind and shard, if it has one.
    pub(crate) fn section(&self, kind: Kind, shard: u16) -> Option<Section> {
        self.sections.iter().find(|section| (section.kind, section.shard) == (kind, shard)).copied()
    }

    /// All sections, in their order.
    pub(crate) fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Shows every block's payload of a section to `visit`, in order, once it is known to be right.
    ///
    /// # Errors
    /// What is wrong, and where; also where `visit` says so.
    pub(crate) fn read_section(
        &self,
        section: &Section,
        visit: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), OpenError> {
        let end = section.offset + section.bytes;
        self.read_through(&*self.opened()?, section, &mut Window { bytes: Vec::new(), start: 0, end }, visit)
    }

    fn opened(&self) -> Result<Arc<dyn StorageFile>, OpenError> {
        self.file.as_ref().map_or_else(|| open_file(self.storage, &self.name), |file| Ok(Arc::clone(file)))
    }

    /// [`FileReader::read_section`], by way of what was read with the section before.
    fn read_through(
        &self,
        file: &dyn StorageFile,
        section: &Section,
        window: &mut Window,
        visit: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), OpenError> {
        let end = section.offset + section.bytes;
        let mut checksums = Vec::with_capacity(section.blocks as usize % (1 << 20) * CHECKSUM_BYTES);
        let mut at = section.offset;
        let (mut ordinal, mut blocks) = (None, 0);
        while at < end {
            let left = end - at;
            let head = self.window(file, window, at, left.min(BLOCK_HEAD_BYTES as u64))?;
            if head.len() < BLOCK_HEAD_BYTES {
                return Err(self.damaged(at, "a block is cut off"));
            }
            let payload = u32_at(head, 0) as usize;
            let this = u64_at(head, 8);
            let bytes = (BLOCK_HEAD_BYTES + payload + CHECKSUM_BYTES) as u64;
            if bytes > BLOCK_BYTES_MAX.min(left) {
                return Err(self.damaged(at, "a block is longer than what is left of its section"));
            }
            let block = self.window(file, window, at, bytes)?;
            let (body, checksum) = block.split_at(BLOCK_HEAD_BYTES + payload);
            let is_expected = body[..BLOCK_HEAD_BYTES] == block_head(payload, section.kind, section.shard, this)
                && ordinal.is_none_or(|before: u64| this == before + 1);
            if !is_expected || u64_at(checksum, 0) != self.seed.checksum(body) {
                return Err(self.damaged(at, "a block's checksum is wrong"));
            }
            checksums.extend_from_slice(checksum);
            visit(&body[BLOCK_HEAD_BYTES..]).map_err(|reason| self.damaged(at, &reason))?;
            ordinal = Some(this);
            blocks += 1;
            at += bytes;
        }
        // Whoever reads a section relies on it that there is something in it.
        if blocks != section.blocks {
            let reason = format!("a section has {blocks} blocks, and its directory names {}", section.blocks);
            return Err(self.damaged(section.offset, &reason));
        }
        if self.seed.checksum(&checksums) != section.checksum {
            return Err(self.damaged(section.offset, "a section's checksum is wrong"));
        }
        Ok(())
    }

    /// Reads and checks every block.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub(crate) fn verify(&self) -> Result<(), OpenError> {
        // As one: a small file has hundreds of sections, and to read a block of the device for each costs more than their bytes.
        let end = self.sections.last().map_or(0, |last| last.offset + last.bytes);
        let (file, mut window) = (self.opened()?, Window { bytes: Vec::new(), start: 0, end });
        self.sections.iter().try_for_each(|section| self.read_through(&*file, section, &mut window, &mut |_| Ok(())))
    }

    /// `length` bytes at `at`, which never goes back, from memory or read with what follows them.
    fn window<'w>(
        &self,
        file: &dyn StorageFile,
        window: &'w mut Window,
        at: u64,
        length: u64,
    ) -> Result<&'w [u8], OpenError> {
        if at + length > window.start + window.bytes.len() as u64 {
            window.bytes.resize(WINDOW_BYTES.max(length).min(window.end - at) as usize, 0);
            self.read(file, &mut window.bytes, at)?;
            window.start = at;
        }
        let from = (at - window.start) as usize;
        Ok(&window.bytes[from..from + length as usize])
    }

    fn read(&self, file: &dyn StorageFile, buf: &mut [u8], offset: u64) -> Result<(), OpenError> {
        let read = file.read_from(self.from, buf, offset);
        let read = read.map_err(|source| OpenError::Io { context: format!("reading {}", self.name), source })?;
        if read == buf.len() { Ok(()) } else { Err(self.damaged(offset + read as u64, "it ends early")) }
    }

    /// Says where in this file something is wrong.
    pub(crate) fn damaged(&self, offset: u64, reason: &str) -> OpenError {
        damaged(&self.name, offset, reason.to_owned())
    }
}

fn open_file(storage: &dyn Storage, name: &str) -> Result<Arc<dyn StorageFile>, OpenError> {
    match storage.open(name) {
        Err(err) if err.kind() == ErrorKind::NotFound => Err(damaged(name, 0, "it is missing".into())),
        opened => opened.map_err(|source| OpenError::Io { context: format!("opening {name}"), source }),
    }
}

fn damaged(name: &str, offset: u64, reason: String) -> OpenError {
    OpenError::Damaged { file: name.to_owned(), offset, seq: None, reason }
}
