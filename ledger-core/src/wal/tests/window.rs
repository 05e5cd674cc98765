//! What a window reads of a file, and when.

use std::sync::Mutex;

use super::*;
use crate::sys::{ReadFrom, StorageFile};
use reader::Window;

/// Of so many bytes, each of which says where it is; notes what is read.
struct Noted {
    bytes: u64,
    fails: Mutex<bool>,
    lost: Mutex<std::ops::Range<u64>>,
    reads: Mutex<Vec<(u64, usize)>>,
}

impl Noted {
    fn new(bytes: u64) -> Noted {
        Noted { bytes, fails: Mutex::new(false), lost: Mutex::default(), reads: Mutex::default() }
    }

    fn reads(&self) -> Vec<(u64, usize)> {
        std::mem::take(&mut self.reads.lock().unwrap())
    }
}

fn at(offset: u64) -> u8 {
    (offset / 7 % 250) as u8 + 1
}

impl StorageFile for Noted {
    fn len(&self) -> std::io::Result<u64> {
        Ok(self.bytes)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.reads.lock().unwrap().push((offset, buf.len()));
        if *self.fails.lock().unwrap() {
            buf.fill(0xEE);
            return Err(std::io::Error::other("the disk"));
        }
        let lost = self.lost.lock().unwrap().clone();
        if offset < lost.end && offset + buf.len() as u64 > lost.start {
            return Err(std::io::Error::from_raw_os_error(5));
        }
        let read = self.bytes.saturating_sub(offset).min(buf.len() as u64) as usize;
        (0..read).for_each(|place| buf[place] = at(offset + place as u64));
        Ok(read)
    }

    fn read_device_at(&self, _: &mut [u8], _: u64) -> std::io::Result<usize> {
        unreachable!("it is read from the cache")
    }

    fn write_at(&self, _: &[u8], _: u64) -> std::io::Result<()> {
        unreachable!("nobody writes")
    }

    fn sync_data(&self) -> std::io::Result<()> {
        unreachable!("nobody writes")
    }
}

#[test]
fn a_window_reads_ahead_more_and_more_and_nothing_twice() {
    const KIB: u64 = 1 << 10;
    let file = Noted::new(1 << 20);
    let mut window = Window::new(&file, ReadFrom::Cache, 1 << 20);
    let mut look = |offset: u64, length: u64| {
        let bytes = window.bytes(offset, length).unwrap().to_vec();
        let expected: Vec<u8> = (offset..offset + length).map(at).collect();
        assert!(bytes == expected, "{offset} {length}");
        file.reads()
    };
    assert_eq!(look(8 * KIB, 4 * KIB), [(8 * KIB, 16 << 10)]);
    assert_eq!(look(8 * KIB, 16 * KIB), [], "to its very end");
    assert_eq!(look(23 * KIB, KIB), []);
    assert_eq!(look(23 * KIB, KIB + 1), [(23 * KIB, 32 << 10)]);
    assert_eq!(look(23 * KIB - 1, 1), [(23 * KIB - 1, 64 << 10)], "before its beginning");
    assert_eq!(look(60 * KIB, 4 * KIB), []);
    assert_eq!(look(100 * KIB, KIB), [(100 * KIB, 128 << 10)]);
    assert_eq!(look(300 * KIB, 400 * KIB), [(300 * KIB, 400 << 10)], "as much as is asked for");
    assert_eq!(look(301 * KIB, 399 * KIB), []);
    assert_eq!(look(0, 1), [(0, 256 << 10)]);
    assert_eq!(look(300 * KIB, 1), [(300 * KIB, 256 << 10)], "no more at once than that");
    // At the end only what there is.
    assert_eq!(look(1_000 * KIB, KIB), [(1_000 * KIB, 24 << 10)]);
    assert_eq!(look(1_023 * KIB, KIB), []);
}

#[test]
fn a_sector_that_cannot_be_read_fails_few_of_the_readings_before_it() {
    const KIB: u64 = 1 << 10;
    let file = Noted::new(1 << 20);
    let lost = 200 * KIB..200 * KIB + 512;
    *file.lost.lock().unwrap() = lost.clone();
    let mut window = Window::new(&file, ReadFrom::Cache, 1 << 20);
    let mut look = |offset: u64| {
        let expected: Vec<u8> = (offset..offset + 4 * KIB).map(at).collect();
        window.bytes(offset, 4 * KIB).is_ok_and(|bytes| bytes == expected)
    };
    (0..50).for_each(|block| assert!(look(block * 4 * KIB), "{block}"));
    assert!(!look(200 * KIB));
    assert!(look(204 * KIB));
    let fails = |(offset, length): &(u64, usize)| *offset < lost.end && offset + *length as u64 > lost.start;
    let failed = file.reads().iter().filter(|read| fails(read)).count();
    assert!(failed <= 6, "{failed}");
}

#[test]
fn behind_the_end_of_a_file_there_are_zeros_and_after_a_failure_nothing() {
    let file = Noted::new(10_000);
    let mut window = Window::new(&file, ReadFrom::Cache, 1 << 20);
    let expected = |offset: u64, length: u64| -> Vec<u8> {
        (offset..offset + length).map(|byte| if byte < 10_000 { at(byte) } else { 0 }).collect()
    };
    assert!(window.bytes(4_096, 4_096).unwrap() == expected(4_096, 4_096));
    assert!(window.bytes(8_192, 8_192).unwrap() == expected(8_192, 8_192), "what the window held before is gone");
    assert!(window.bytes(20_000, 100).unwrap() == [0; 100]);
    *file.fails.lock().unwrap() = true;
    assert!(window.bytes(0, 100).is_err());
    *file.fails.lock().unwrap() = false;
    file.reads();
    assert!(window.bytes(20_000, 10).unwrap() == [0; 10]);
    assert_eq!(file.reads().len(), 1, "nothing is left of what was there before the failure");
    let short = Noted::new(100);
    let mut window = Window::new(&short, ReadFrom::Cache, 100);
    assert!(window.bytes(50, 200).unwrap()[50..] == [0; 150], "more than there is");
}
