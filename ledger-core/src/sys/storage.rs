//! The directory that holds a ledger, behind a trait so that tests can put a disk there that forgets, tears and fails.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use crate::sync::{Mutex, OnceLock};

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
    /// An existing file, to read and write (to read only, where the file system allows no more).
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>>;
    /// Gives a file another name, in place of any file that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals so far survive a power cut.
    fn sync_directory(&self) -> io::Result<()>;
    /// How the directory is called in messages.
    fn describe(&self) -> String;
    /// Why it is less safe than it was made to be, if it is: a mirror that goes on with one side.
    fn degraded(&self) -> Option<String> {
        None
    }
}

/// Where a file's bytes are read from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadFrom {
    /// Wherever they are nearest.
    Cache,
    /// The device, where that can be had: after a failed fsync the cache shows bytes that the device never got.
    Device,
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
    /// [`StorageFile::read_at`] or [`StorageFile::read_device_at`].
    fn read_from(&self, from: ReadFrom, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match from {
            ReadFrom::Cache => self.read_at(buf, offset),
            ReadFrom::Device => self.read_device_at(buf, offset),
        }
    }
    /// Where the zeros begin that the file ends with: past the last byte at or after `offset` that is not zero, or
    /// `offset` when there is none.
    fn zeros_from(&self, from: ReadFrom, offset: u64) -> io::Result<u64> {
        let mut end = self.len()?;
        let mut chunk = vec![0; ZERO_CHECK_BYTES];
        while end > offset {
            // Chunks are aligned, since a device is read in whole blocks.
            let start = ((end - 1) / ZERO_CHECK_BYTES as u64 * ZERO_CHECK_BYTES as u64).max(offset);
            let wanted = (end - start) as usize;
            let read = self.read_from(from, &mut chunk[..wanted], start)?;
            if let Some(last) = last_nonzero(&chunk[..read]) {
                return Ok(start + last as u64 + 1);
            }
            end = start;
        }
        Ok(offset)
    }
    /// Writes all of `bytes` at `offset`, growing the file where needed.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// As [`StorageFile::write_at`], but to the device and not by way of the page cache, where that can be had, and where
    /// `offset` and the length are multiples of 4,096 bytes: for what is read again after a crash only. It is as little
    /// durable before [`StorageFile::sync_data`].
    fn write_device_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_at(bytes, offset)
    }
    /// As [`StorageFile::write_device_at`], of `length` zeros.
    fn write_zeros_at(&self, length: u64, offset: u64) -> io::Result<()> {
        static ZEROS: Zeros = Zeros([0; DEVICE_WRITE_BYTES]);
        let mut done = 0;
        while done < length {
            let part = (length - done).min(DEVICE_WRITE_BYTES as u64);
            self.write_device_at(&ZEROS.0[..part as usize], offset + done)?;
            done += part;
        }
        Ok(())
    }
    /// Makes all that was written so far survive a power cut (fdatasync). Once it has failed, what is durable is unknown.
    fn sync_data(&self) -> io::Result<()>;
}

/// What a device is read and written in, in bytes: the largest logical block in use. O_DIRECT asks it of memory, offsets and
/// lengths.
const DEVICE_BLOCK: usize = 4096;

/// How much is written to a device at once.
const DEVICE_WRITE_BYTES: usize = 1 << 20;

/// Zeros at an address that a device can be written from.
#[repr(align(4096))]
struct Zeros([u8; DEVICE_WRITE_BYTES]);

const ZERO_CHECK_BYTES: usize = 1 << 20;

fn last_nonzero(bytes: &[u8]) -> Option<usize> {
    // Whole blocks are compared first: the compiler turns that into wide instructions, and nearly all are zero.
    const BLOCK: usize = 4096;
    let mut end = bytes.len();
    while end > 0 {
        let start = (end - 1) / BLOCK * BLOCK;
        if bytes[start..end].iter().fold(0, |any, byte| any | byte) != 0 {
            return bytes[start..end].iter().rposition(|byte| *byte != 0).map(|at| start + at);
        }
        end = start;
    }
    None
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

impl std::fmt::Debug for DirectoryLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DirectoryLock")
    }
}

/// Whether there is no room on the disk, or no descriptor for one file more: nothing is broken, nothing was done, and it can be
/// tried again.
pub(crate) fn is_out_of_room(err: &io::Error) -> bool {
    use rustix::io::Errno;
    let code = err.raw_os_error().map(Errno::from_raw_os_error);
    matches!(err.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || matches!(code, Some(Errno::MFILE | Errno::NFILE))
}

/// Whether the device could not read what was asked of it: it is lost there, as where its bytes are wrong.
pub(crate) fn is_unreadable(err: &io::Error) -> bool {
    use rustix::io::Errno;
    let code = err.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::IO | Errno::NODATA | Errno::BADMSG | Errno::ILSEQ))
}

/// A directory of the machine's file system.
#[derive(Clone)]
pub struct DirectoryStorage {
    path: PathBuf,
    /// The directory itself while it is locked: so it can be synced where no descriptor is left to open it again.
    held: Arc<Mutex<Weak<File>>>,
}

impl std::fmt::Debug for DirectoryStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DirectoryStorage").field("path", &self.path).finish_non_exhaustive()
    }
}

impl DirectoryStorage {
    /// The directory at `path`; nothing is touched until it is locked.
    pub fn new(path: impl AsRef<Path>) -> DirectoryStorage {
        DirectoryStorage { path: path.as_ref().to_path_buf(), held: Arc::new(Mutex::new(Weak::new())) }
    }

    /// Creates the directory with the parents that are missing, each made to survive a power cut in its own parent.
    fn create_directory(&self) -> io::Result<()> {
        let missing: Vec<&Path> = self.path.ancestors().take_while(|path| !is_here(path)).collect();
        for path in missing.into_iter().rev() {
            match DirBuilder::new().mode(0o700).create(path) {
                Ok(()) => sync_path(parent(path))?,
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }
}

fn is_here(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.exists()
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn is_at(directory: &File, path: &Path) -> io::Result<bool> {
    let (held, there) = (directory.metadata()?, fs::metadata(path)?);
    Ok((held.dev(), held.ino()) == (there.dev(), there.ino()))
}

/// Whether two descriptors are of one file: it may have got another name since it was opened, and another file its own.
fn is_same_file(one: &File, other: &File) -> bool {
    let identity = |file: &File| file.metadata().map(|it| (it.dev(), it.ino())).ok();
    identity(one).is_some() && identity(one) == identity(other)
}

/// Whether a file system takes the flag O_DIRECT and then refuses to read or write so, or the descriptor is not for writing.
fn is_refused(err: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(err.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
        || err.raw_os_error() == Some(Errno::BADF.raw_os_error())
}

fn sync_path(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

impl Storage for DirectoryStorage {
    fn lock(&self) -> io::Result<DirectoryLock> {
        self.create_directory()?;
        // The directory itself: a lock file could be removed by who thinks it stale, and another one locked in its place.
        let file = File::open(&self.path)?;
        match file.try_lock() {
            Ok(()) => {
                let file = Arc::new(file);
                *self.held.lock() = Arc::downgrade(&file);
                Ok(DirectoryLock::new(file))
            }
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(err)) => Err(err),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours.
            if let (true, Ok(name)) = (entry.file_type()?.is_file(), entry.file_name().into_string()) {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let path = self.path.join(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Arc::new(DirectoryFile::new(file, path)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let path = self.path.join(name);
        match OpenOptions::new().read(true).write(true).open(&path) {
            Err(err) if matches!(err.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
                let file = DirectoryFile::new(File::open(&path)?, path);
                Ok(Arc::new(DirectoryFile { not_written: err.raw_os_error(), ..file }))
            }
            opened => Ok(Arc::new(DirectoryFile::new(opened?, path))),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        let held = self.held.lock().upgrade();
        match held {
            // Files are made where the path leads, be that another directory by now.
            Some(directory) if is_at(&directory, &self.path)? => directory.sync_all(),
            _ => sync_path(&self.path),
        }
    }

    fn describe(&self) -> String {
        self.path.display().to_string()
    }
}

struct DirectoryFile {
    file: File,
    path: PathBuf,
    /// Why it could be opened to read only, if so: a write would say no more than that the descriptor is not for it.
    not_written: Option<i32>,
    /// The second descriptor, past the page cache; `None` where the file system refuses one.
    direct: OnceLock<Option<File>>,
    for_reads: Scratch,
    for_writes: Scratch,
}

/// Memory that a device can be read into and written from, kept: fresh pages cost more than the reading.
#[derive(Default)]
struct Scratch(Mutex<Vec<u8>>);

impl Scratch {
    /// Lends `length` bytes that begin at a multiple of [`DEVICE_BLOCK`].
    fn lend<R>(&self, length: usize, work: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut bytes = self.0.lock();
        if bytes.len() < length + DEVICE_BLOCK {
            bytes.resize(length + DEVICE_BLOCK, 0);
        }
        let pad = bytes.as_ptr().align_offset(DEVICE_BLOCK);
        work(&mut bytes[pad..pad + length])
    }
}

impl DirectoryFile {
    fn new(file: File, path: PathBuf) -> DirectoryFile {
        DirectoryFile {
            file,
            path,
            not_written: None,
            direct: OnceLock::new(),
            for_reads: Scratch::default(),
            for_writes: Scratch::default(),
        }
    }

    #[cfg(target_os = "linux")]
    fn direct(&self) -> Option<&File> {
        let open = |writes| {
            let flags = rustix::fs::OFlags::DIRECT.bits() as i32;
            OpenOptions::new().read(true).write(writes).custom_flags(flags).open(&self.path).ok()
        };
        let open = || open(true).or_else(|| open(false)).filter(|direct| is_same_file(direct, &self.file));
        self.direct.get_or_init(open).as_ref()
    }

    #[cfg(not(target_os = "linux"))]
    fn direct(&self) -> Option<&File> {
        let _ = &self.path;
        self.direct.get_or_init(|| None).as_ref()
    }

    /// Reads through an aligned copy, since the caller's memory, offset and length may be anything.
    fn read_direct(&self, direct: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let start = offset / DEVICE_BLOCK as u64 * DEVICE_BLOCK as u64;
        let skipped = (offset - start) as usize;
        let length = (skipped + buf.len()).next_multiple_of(DEVICE_BLOCK);
        self.for_reads.lend(length, |aligned| {
            let mut filled = 0;
            while filled < length {
                match direct.read_at(&mut aligned[filled..], start + filled as u64) {
                    Ok(0) => break,
                    Ok(read) => filled += read,
                    Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                    Err(err) => return Err(err),
                }
                if filled % DEVICE_BLOCK != 0 {
                    break; // The end of the file: direct reads stop inside a block nowhere else.
                }
            }
            let usable = filled.saturating_sub(skipped).min(buf.len());
            buf[..usable].copy_from_slice(&aligned[skipped..skipped + usable]);
            Ok(usable)
        })
    }

    /// Writes whole blocks, from where they are if a device can be written from there, else through an aligned copy.
    fn write_direct(&self, direct: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        if bytes.as_ptr().align_offset(DEVICE_BLOCK) == 0 {
            return direct.write_all_at(bytes, offset);
        }
        let mut at = offset;
        for part in bytes.chunks(DEVICE_WRITE_BYTES) {
            self.for_writes.lend(part.len(), |aligned| {
                aligned.copy_from_slice(part);
                direct.write_all_at(aligned, at)
            })?;
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Where O_DIRECT is refused: push everything out, let the cache forget it, and read it again.
    fn read_uncached(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.sync_data()?;
        #[cfg(target_os = "linux")]
        {
            let length = std::num::NonZeroU64::new(buf.len() as u64);
            rustix::fs::fadvise(&self.file, offset, length, rustix::fs::Advice::DontNeed)?;
        }
        self.read_at(buf, offset)
    }
}

impl StorageFile for DirectoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.file.read_at(&mut buf[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        Ok(filled)
    }

    fn read_device_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.direct() {
            None => self.read_uncached(buf, offset),
            Some(direct) => match self.read_direct(direct, buf, offset) {
                Err(err) if is_refused(&err) => self.read_uncached(buf, offset),
                read => read,
            },
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.not_written {
            None => self.file.write_all_at(bytes, offset),
            Some(code) => Err(io::Error::from_raw_os_error(code)),
        }
    }

    fn write_device_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let is_whole = offset.is_multiple_of(DEVICE_BLOCK as u64) && bytes.len().is_multiple_of(DEVICE_BLOCK);
        match self.direct().filter(|_| is_whole && self.not_written.is_none()) {
            None => self.write_at(bytes, offset),
            Some(direct) => match self.write_direct(direct, bytes, offset) {
                Err(err) if is_refused(&err) => self.write_at(bytes, offset),
                written => written,
            },
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_is_created_private_and_held_by_one() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let storage = DirectoryStorage::new(&path);
        let lock = storage.lock().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(storage.lock().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(lock);
        storage.lock().unwrap();
        storage.create("x").unwrap();
        assert_eq!(fs::metadata(path.join("x")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(storage.create("x").err().unwrap().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(storage.list().unwrap(), ["x"]);
    }

    /// In a process of its own, which can have no more than so many files open.
    #[test]
    fn a_directory_that_is_held_is_synced_without_another_descriptor() {
        use rustix::process::{Resource, Rlimit, setrlimit};
        const NAME: &str = "sys::storage::tests::a_directory_that_is_held_is_synced_without_another_descriptor";
        let Some(path) = std::env::var_os("LEDGER_TEST_FEW_FILES") else {
            let directory = tempfile::tempdir().unwrap();
            let mut child = std::process::Command::new(std::env::current_exe().unwrap());
            child.args(["--exact", NAME, "--test-threads=1"]).env("LEDGER_TEST_FEW_FILES", directory.path());
            let child = child.output().unwrap();
            assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
            assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"));
            return;
        };
        let storage = DirectoryStorage::new(path);
        let lock = storage.lock().unwrap();
        let last = storage.create("last").unwrap();
        setrlimit(Resource::Nofile, Rlimit { current: Some(40), maximum: Some(40) }).unwrap();
        let taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        assert!(taken.len() < 40);
        assert!(is_out_of_room(&storage.create("more").err().unwrap()));
        last.sync_data().unwrap();
        storage.sync_directory().unwrap();
        drop(lock);
    }

    #[test]
    fn both_ways_of_reading_show_the_same_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let storage = DirectoryStorage::new(directory.path());
        let file = storage.create("x").unwrap();
        let bytes: Vec<u8> = (0..20_000u32).map(|i| i as u8).collect();
        file.write_at(&bytes, 0).unwrap();
        file.sync_data().unwrap();
        for (offset, length) in [(0, 20_000), (1, 5_000), (4096, 4096), (8191, 20_000), (19_999, 10), (20_000, 5)] {
            let (mut cached, mut direct) = (vec![0; length], vec![0; length]);
            let read = file.read_at(&mut cached, offset).unwrap();
            assert_eq!(read, file.read_device_at(&mut direct, offset).unwrap(), "{offset} {length}");
            assert_eq!(cached, direct);
            assert_eq!(cached[..read], bytes[offset as usize..offset as usize + read]);
        }
    }

    #[test]
    fn what_is_written_to_the_device_is_read_both_ways() {
        let directory = tempfile::tempdir().unwrap();
        let storage = DirectoryStorage::new(directory.path());
        let file = storage.create("new").unwrap();
        let mut expected = vec![0; 3 << 20];
        file.write_zeros_at(expected.len() as u64, 0).unwrap();
        storage.rename("new", "x").unwrap();
        let bytes: Vec<u8> = (0..(2u32 << 20) + 1).map(|i| (i % 251) as u8).collect();
        // Whole blocks and others, from memory that is aligned and that is not, in pieces and at once.
        for (from, length, offset) in [
            (0, 4096, 0),
            (1, 8192, 4096),
            (1, 2 << 20, 8192),
            (3, 100, 50_000),
            (0, 4096, 100),
            (0, 65_536, (3 << 20) - 65_536),
            (5, 4095, (3 << 20) - 4096),
        ] {
            let part = &bytes[from..from + length];
            file.write_device_at(part, offset).unwrap();
            expected[offset as usize..][..length].copy_from_slice(part);
            for from in [ReadFrom::Cache, ReadFrom::Device] {
                let mut seen = vec![0; expected.len()];
                assert_eq!(file.read_from(from, &mut seen, 0).unwrap(), seen.len());
                assert!(seen == expected, "{from:?}, {length} bytes at {offset}");
            }
        }
        file.sync_data().unwrap();
        assert!(fs::read(directory.path().join("x")).unwrap() == expected);
    }

    #[test]
    fn a_file_that_may_not_be_written_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        fs::write(&path, [7; 4096]).unwrap();
        // Whoever runs this may be root, who may write all: so as `open` leaves it.
        let refused = rustix::io::Errno::ACCESS.raw_os_error();
        let file = DirectoryFile::new(File::open(&path).unwrap(), path.clone());
        let file = DirectoryFile { not_written: Some(refused), ..file };
        for written in [file.write_at(&[1], 0), file.write_device_at(&[1; 4096], 0)] {
            assert_eq!(written.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        }
        let mut seen = [0; 4096];
        assert_eq!((file.read_device_at(&mut seen, 0).unwrap(), seen), (4096, [7; 4096]));
        assert_eq!(fs::read(path).unwrap(), [7; 4096]);
    }

    #[test]
    fn another_file_in_the_place_of_one_is_not_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let storage = DirectoryStorage::new(directory.path());
        let old = storage.create("x").unwrap();
        storage.rename("x", "y").unwrap();
        let new = storage.create("x").unwrap();
        old.write_device_at(&[1; 4096], 0).unwrap();
        assert_eq!((old.len().unwrap(), new.len().unwrap()), (4096, 0));
        let mut seen = [0; 4096];
        assert_eq!((old.read_device_at(&mut seen, 0).unwrap(), seen), (4096, [1; 4096]));
    }

    #[test]
    fn trailing_zeros_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let storage = DirectoryStorage::new(directory.path());
        let file = storage.create("x").unwrap();
        file.write_at(&vec![0; 3 << 20], 0).unwrap();
        for from in [ReadFrom::Cache, ReadFrom::Device] {
            assert_eq!(file.zeros_from(from, 4096).unwrap(), 4096);
        }
        file.write_at(&[1], 70_000).unwrap();
        for from in [ReadFrom::Cache, ReadFrom::Device] {
            assert_eq!(file.zeros_from(from, 4096).unwrap(), 70_001);
            assert_eq!(file.zeros_from(from, 73_728).unwrap(), 73_728);
        }
    }
}
