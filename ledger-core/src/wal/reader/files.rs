//! The files of a log, each opened and judged by what stands at its beginning.

use std::io::ErrorKind;

use super::{Reading, damaged, io_error};
use crate::error::OpenError;
use crate::sync::Arc;
use crate::sys::{ReadFrom, Storage, StorageFile};
use crate::types::Seq;
use crate::wal::frame::{self, BLOCK, Header, Kind, Seal};
use crate::wal::mark::{Mark, NoMark};
use crate::wal::names;
use crate::wal::segment::{LINK_AT, Link, NotAHeader, ReadLink, SegmentHeader};

pub(in crate::wal) struct Segment {
    pub(in crate::wal) header: SegmentHeader,
    /// Kept open for the last segment and the spares alone: a log has more segments than a process may have open files.
    file: Option<Arc<dyn StorageFile>>,
    pub(in crate::wal) link: Option<ReadLink>,
}

impl Segment {
    /// The file of the last segment, or of a spare.
    pub(in crate::wal) fn open_file(&self) -> &dyn StorageFile {
        self.file.as_deref().expect("the last segment and the spares are kept open")
    }

    /// The first record in it, or to come; `None`: nothing was ever written into it.
    pub(in crate::wal) fn first_seq(&self) -> Option<Seq> {
        self.link.as_ref().map(|link| link.header.first_seq)
    }

    pub(in crate::wal) fn close(&mut self) {
        self.file = None;
    }
}

pub(in crate::wal) fn read_mark(storage: &dyn Storage, from: ReadFrom) -> Result<Option<Mark>, OpenError> {
    let file = match storage.open(names::MARK) {
        Ok(file) => file,
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(io_error("opening", names::MARK)(err)),
    };
    match Mark::read(&*file, from).map_err(io_error("reading", names::MARK))? {
        Ok(mark) => Ok(Some(mark)),
        Err(NoMark::Newer(reason)) => Err(OpenError::Unsupported { file: names::MARK.to_owned(), reason }),
        Err(NoMark::Damaged) => Err(damaged(names::MARK, 0, None, "neither of its slots can be read")),
    }
}

pub(in crate::wal) fn open_segment(
    storage: &dyn Storage,
    reading: Reading,
    number: u64,
    mark: &Mark,
) -> Result<Segment, OpenError> {
    let name = names::segment(number);
    let file = storage.open(&name).map_err(io_error("opening", &name))?;
    let mut block = [0; BLOCK];
    let read = file.read_from(reading.rest(), &mut block, 0).map_err(io_error("reading", &name))?;
    let header = match SegmentHeader::decode(&block) {
        Ok(header) if read == BLOCK => header,
        Err(NotAHeader::Newer(reason)) => return Err(OpenError::Unsupported { file: name, reason }),
        _ => return Err(damaged(name, 0, None, "its header cannot be read")),
    };
    if header.uuid != mark.uuid {
        return Err(damaged(name, 16, None, format!("it belongs to ledger {}, not to {}", header.uuid, mark.uuid)));
    }
    if header.number != number {
        return Err(damaged(name, 32, None, format!("it is segment {} under another's name", header.number)));
    }
    let length = file.len().map_err(io_error("reading", &name))?;
    if length != header.bytes {
        let reason = format!("it has {length} bytes and should have {}", header.bytes);
        return Err(damaged(name, length.min(header.bytes), None, reason));
    }
    let link = read_link(&*file, reading.from(), number, mark.seal()).map_err(io_error("reading", &name))?;
    Ok(Segment { header, file: Some(file), link })
}

pub(in crate::wal) fn read_link(
    file: &dyn StorageFile,
    from: ReadFrom,
    number: u64,
    seal: Seal,
) -> std::io::Result<Option<ReadLink>> {
    let mut block = [0; BLOCK];
    let read = file.read_from(from, &mut block, LINK_AT)?;
    let Ok(header) = Header::decode(&block[..read], seal) else { return Ok(None) };
    if header.kind != Kind::Link || header.segment != number || header.frame_bytes() != BLOCK as u64 || read < BLOCK {
        return Ok(None);
    }
    let Ok(chain) = frame::check(&block, seal) else { return Ok(None) };
    Ok(Link::decode(&header, &block).map(|link| ReadLink { link, header, chain }))
}
