//! What there is of a damaged log, read without judging it.

use uuid::Uuid;

use super::Left;
use crate::error::OpenError;
use crate::sync::Arc;
use crate::sys::{ReadFrom, Storage, StorageFile, is_unreadable};
use crate::wal::frame::{BLOCK, Seal};
use crate::wal::mark::{Mark, NoMark};
use crate::wal::names;
use crate::wal::reader;
use crate::wal::segment::{ReadLink, SegmentHeader, during};

/// What there is, be it known whose it is or not.
pub(super) struct Parts {
    pub(super) uuid: Option<Uuid>,
    pub(super) mark: Option<Mark>,
    /// The device could not read all of the mark.
    pub(super) is_mark_unread: bool,
    pub(super) segments: Vec<Found>,
    pub(super) headless: Vec<Headless>,
}

/// A segment whose header is gone, or another ledger's.
pub(super) struct Headless {
    pub(super) number: u64,
    /// The device could not read it.
    pub(super) is_unread: bool,
    pub(super) left: Left,
}

pub(super) struct Found {
    pub(super) name: String,
    pub(super) header: SegmentHeader,
    pub(super) link: Option<ReadLink>,
}

impl Found {
    /// One at a time: a log may have more segments than a process may have files open.
    pub(super) fn open(&self, from: &dyn Storage) -> Result<Arc<dyn StorageFile>, OpenError> {
        Ok(during(from.open(&self.name), "opening", &self.name)?)
    }

    /// Where the zeros begin that it ends with; its end, where that cannot be read.
    pub(super) fn written(&self, file: &dyn StorageFile, offset: u64) -> Result<u64, OpenError> {
        let zeros = readable(file.zeros_from(ReadFrom::Device, offset), &self.name)?;
        Ok(zeros.unwrap_or(self.header.bytes.max(offset)))
    }
}

/// `None` where the device cannot read it, which is damage like any other.
pub(super) fn readable<T>(read: std::io::Result<T>, name: &str) -> Result<Option<T>, OpenError> {
    match read {
        Err(err) if is_unreadable(&err) => Ok(None),
        read => Ok(Some(during(read, "reading", name)?)),
    }
}

/// The mark, if it says anything, and whether the device could not read all of it.
fn read_mark(from: &dyn Storage) -> Result<(Option<Mark>, bool), OpenError> {
    let opened = match from.open(names::MARK) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok((None, false)),
        opened => readable(opened, names::MARK)?,
    };
    let Some(file) = opened else { return Ok((None, true)) };
    let (mark, lost) = during(Mark::read_slots(&*file, ReadFrom::Device), "reading", names::MARK)?;
    match mark {
        Ok(mark) => Ok((Some(mark), lost.is_some())),
        Err(NoMark::Damaged) => Ok((None, lost.is_some())),
        Err(NoMark::Newer(reason)) => Err(OpenError::Unsupported { file: names::MARK.to_owned(), reason }),
    }
}

impl Parts {
    pub(super) fn read(from: &dyn Storage) -> Result<Parts, OpenError> {
        let (mark, is_mark_unread) = read_mark(from)?;
        let mut uuid = mark.map(|mark| mark.uuid);
        let (mut segments, mut headless) = (Vec::new(), Vec::new());
        for name in during(from.list(), "listing", &from.describe())? {
            let Some(number) = names::segment_number(&name) else { continue };
            let file = during(from.open(&name), "opening", &name)?;
            let mut block = [0; BLOCK];
            let is_read = readable(file.read_device_at(&mut block, 0), &name)?.is_some();
            match SegmentHeader::decode(&block) {
                Ok(header) if is_read && header.number == number && header.uuid == *uuid.get_or_insert(header.uuid) => {
                    let seal = Seal::of(header.uuid);
                    let link = reader::read_link(&*file, ReadFrom::Device, number, seal);
                    segments.push(Found { link: readable(link, &name)?.flatten(), name, header });
                }
                _ => {
                    let reason = "its header cannot be read, or is another segment's".to_owned();
                    let bytes = 0..during(file.len(), "reading", &name)?;
                    let left = Left { file: name, bytes, seqs: None, reason };
                    headless.push(Headless { number, is_unread: !is_read, left });
                }
            }
        }
        Ok(Parts { uuid, mark, is_mark_unread, segments, headless })
    }
}
