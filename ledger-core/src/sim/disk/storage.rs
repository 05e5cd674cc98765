//! The disk as a ledger meets it: its directory and its files, behind the interface of real ones.

use std::io;

use super::faults::{Course, Fault, Operation, eio, enospc, power_is_off, unreadable};
use super::{Inner, NameChange, SimDisk};
use crate::sim::file::{Data, FileImage};
use crate::sync::{Arc, AtomicBool, Ordering};
use crate::sys::{DirectoryLock, ReadFrom, Storage, StorageFile};

impl Storage for SimDisk {
    fn lock(&self) -> io::Result<DirectoryLock> {
        self.inner.lock().check_power()?;
        // AcqRel: the next holder must see all that the last one did.
        if self.held.swap(true, Ordering::AcqRel) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(DirectoryLock::new(Held(Arc::clone(&self.held))))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let inner = self.inner.lock();
        inner.check_power()?;
        Ok(inner.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.announce();
        let mut inner = self.inner.lock();
        let id = inner.next_file;
        // There also when the power fails meanwhile: the name may have reached the disk.
        inner.next_file += 1;
        inner.files.insert(id, FileImage::default());
        inner.begin_names(|inner| match inner.names.contains_key(name) {
            true => Err(io::ErrorKind::AlreadyExists.into()),
            false => Ok(NameChange::Create(name.to_owned(), id)),
        })?;
        Ok(Arc::new(SimFile { disk: self.clone(), id }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let inner = self.inner.lock();
        inner.check_power()?;
        Ok(Arc::new(SimFile { disk: self.clone(), id: inner.id(name)? }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.announce();
        let change = |inner: &Inner| Ok(NameChange::Rename(from.to_owned(), to.to_owned(), inner.id(from)?));
        self.inner.lock().begin_names(change)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.announce();
        self.inner.lock().begin_names(|inner| Ok(NameChange::Remove(name.to_owned(), inner.id(name)?)))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.announce();
        let mut inner = self.inner.lock();
        match inner.begin(Operation::Sync)? {
            Course::PowerFails => Err(power_is_off()),
            Course::LosesPages => Err(eio()), // Directories are journalled: their changes stay pending.
            Course::Whole | Course::Half => {
                inner.durable_names = inner.names.clone();
                inner.pending_names.clear();
                Ok(())
            }
        }
    }

    fn describe(&self) -> String {
        "simulated disk".to_owned()
    }
}

struct Held(Arc<AtomicBool>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release); // Publishes all that this holder did to the next.
    }
}

struct SimFile {
    disk: SimDisk,
    id: u64,
}

impl SimFile {
    fn seen<T>(&self, look: impl FnOnce(&FileImage) -> T) -> io::Result<T> {
        let inner = self.disk.inner.lock();
        inner.check_power()?;
        Ok(look(&inner.files[&self.id]))
    }

    /// As [`SimFile::seen`], where the device can read all of it.
    fn read<T>(&self, offset: u64, length: u64, look: impl FnOnce(&FileImage) -> T) -> io::Result<T> {
        self.disk.inner.lock().begin_read()?;
        self.seen(|image| image.can_read(offset, length).then(|| look(image)))?.ok_or_else(unreadable)
    }

    /// Writes what `data` gives of the length that gets through.
    fn write(&self, length: u64, offset: u64, data: impl FnOnce(u64) -> Data) -> io::Result<()> {
        self.disk.announce();
        let mut inner = self.disk.inner.lock();
        let course = inner.begin(Operation::Write)?;
        let grown = (offset + length).saturating_sub(inner.files[&self.id].seen.len);
        if inner.capacity.is_some_and(|capacity| grown > 0 && inner.used() + grown > capacity) {
            inner.strikes(Fault::Enospc);
            return Err(enospc());
        }
        let length = if matches!(course, Course::Half) { length / 2 } else { length };
        inner.files.get_mut(&self.id).expect("files are never forgotten").write(offset, data(length));
        match course {
            Course::PowerFails => Err(power_is_off()),
            Course::Half => Err(eio()),
            Course::Whole | Course::LosesPages => Ok(()),
        }
    }
}

impl StorageFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.seen(|image| image.seen.len)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read(offset, buf.len() as u64, |image| image.seen.read(buf, offset))
    }

    fn read_device_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read(offset, buf.len() as u64, |image| image.on_device(|content| content.read(buf, offset)))
    }

    fn zeros_from(&self, from: ReadFrom, offset: u64) -> io::Result<u64> {
        self.read(offset, u64::MAX - offset, |image| match from {
            ReadFrom::Cache => image.seen.zeros_from(offset),
            ReadFrom::Device => image.on_device(|content| content.zeros_from(offset)),
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write(bytes.len() as u64, offset, |length| Data::of(&bytes[..length as usize]))
    }

    fn write_zeros_at(&self, length: u64, offset: u64) -> io::Result<()> {
        self.write(length, offset, Data::Zeros)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.announce();
        let mut inner = self.disk.inner.lock();
        let course = inner.begin(Operation::Sync)?;
        let image = inner.files.get_mut(&self.id).expect("files are never forgotten");
        match course {
            Course::PowerFails => Err(power_is_off()),
            Course::LosesPages => {
                image.lose_pages();
                Err(eio())
            }
            Course::Whole | Course::Half => {
                image.sync();
                Ok(())
            }
        }
    }
}
