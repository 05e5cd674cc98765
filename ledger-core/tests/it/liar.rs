//! A disk that says it synced and did not. A ledger on it breaks its promises, and the crash checks must notice: a check
//! that cannot fail shows nothing.

use std::io;
use std::sync::Arc;

use ledger_core::sim::SimDisk;
use ledger_core::{DirectoryLock, Storage, StorageFile};

/// What the disk lies about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lie {
    /// Files are never synced: as a ledger that acknowledges before the fsync.
    Fsync,
    /// Directories are never synced: as a ledger that forgets to.
    DirectoryFsync,
    /// A failed sync is told to have succeeded: as a ledger that tries it again, or looks away.
    FailedFsync,
}

#[derive(Clone)]
pub(crate) struct Liar {
    disk: SimDisk,
    lie: Lie,
    /// It is honest before this operation.
    from: u64,
}

impl Liar {
    pub(crate) fn new(disk: &SimDisk, lie: Lie, from: u64) -> Liar {
        Liar { disk: disk.clone(), lie, from }
    }

    fn lies(&self, about: Lie) -> bool {
        self.lie == about && !self.disk.is_off() && self.disk.operations() >= self.from
    }

    fn file(&self, file: io::Result<Arc<dyn StorageFile>>) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(LyingFile { file: file?, liar: self.clone() }))
    }
}

impl Storage for Liar {
    fn lock(&self) -> io::Result<DirectoryLock> {
        self.disk.lock()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.file(self.disk.create(name))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.file(self.disk.open(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        if self.lies(Lie::DirectoryFsync) { Ok(()) } else { self.disk.sync_directory() }
    }

    fn describe(&self) -> String {
        self.disk.describe()
    }
}

struct LyingFile {
    file: Arc<dyn StorageFile>,
    liar: Liar,
}

impl StorageFile for LyingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn read_device_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_device_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.liar.lies(Lie::Fsync) {
            return Ok(());
        }
        self.file.sync_data().or_else(|err| if self.liar.lies(Lie::FailedFsync) { Ok(()) } else { Err(err) })
    }
}
