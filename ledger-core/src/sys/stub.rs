//! Stands in until the real storage is merged.
use super::storage::*;
use std::io;
use std::sync::Arc;
impl Storage for DirectoryStorage {
    fn lock(&self) -> io::Result<DirectoryLock> {
        unimplemented!()
    }
    fn list(&self) -> io::Result<Vec<String>> {
        unimplemented!()
    }
    fn create(&self, _: &str) -> io::Result<Arc<dyn StorageFile>> {
        unimplemented!()
    }
    fn open(&self, _: &str) -> io::Result<Arc<dyn StorageFile>> {
        unimplemented!()
    }
    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        unimplemented!()
    }
    fn remove(&self, _: &str) -> io::Result<()> {
        unimplemented!()
    }
    fn sync_directory(&self) -> io::Result<()> {
        unimplemented!()
    }
    fn describe(&self) -> String {
        unimplemented!()
    }
}
