//! The directory that holds a ledger, behind a trait so that tests can put a disk there that forgets, tears and fails.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One directory of files. A new or renamed file, and a removal, survive a power cut only after
/// [`Storage::sync_directory`]; a file's bytes only after [`StorageFile::sync_data`].
pub trait Storage: Send + Sync + 'static {
    /// Takes the directory for this process alone, creating it (mode 0700) if it is missing.
    ///
    /// # Errors
    /// `WouldBlock` when another process (or another ledger of this one) holds it.
    fn lock(&self) -> io::Result<DirectoryLock>;
    /// The names of the files, sorted.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A new, empty file (mode 0600). `AlreadyExists` if there is one of that name.
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>>;
    /// An existing file, to read and write.
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>>;
    /// Gives a file another name, in place of any file that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals so far survive a power cut.
    fn sync_directory(&self) -> io::Result<()>;
    /// How the directory is called in messages.
    fn describe(&self) -> String;
}

/// One open file. Positions and lengths are bytes.
pub trait StorageFile: Send + Sync {
    /// The file's length.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Reads up to `buf.len()` bytes at `offset`; fewer only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// As [`StorageFile::read_at`], but from the device and not from the page cache, where that can be had:
    /// after a failed fsync the cache shows bytes that the device never got.
    fn read_device_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`, growing the file where needed.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes all that was written so far survive a power cut (fdatasync). Once it has failed, what is durable is unknown.
    fn sync_data(&self) -> io::Result<()>;
}

/// Holds a directory until it is dropped.
pub struct DirectoryLock {
    _held: Box<dyn Send + Sync>,
}

impl DirectoryLock {
    /// A lock that is released when `held` is dropped.
    pub fn new(held: impl Send + Sync + 'static) -> DirectoryLock {
        DirectoryLock { _held: Box::new(held) }
    }
}

/// A directory of the machine's file system.
#[derive(Clone, Debug)]
pub struct DirectoryStorage {
    path: PathBuf,
}

impl DirectoryStorage {
    /// The directory at `path`; nothing is touched until it is locked.
    pub fn new(path: impl AsRef<Path>) -> DirectoryStorage {
        DirectoryStorage { path: path.as_ref().to_path_buf() }
    }
}
