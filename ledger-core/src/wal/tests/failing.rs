//! What is said where a read fails for another reason than that the device has lost the bytes, or loses them in between.

use std::io;
use std::sync::Mutex;

use super::super::{salvage, stop, twin};
use super::judged::{BLOCK, FIRST, LAST, MIDDLE, small_log};
use super::*;
use crate::sys::{ReadFrom, StorageFile};
use segment::FRAMES_AT;

/// Told of each listing (of no name), opening and read before it is done.
type Before = Box<dyn FnMut(Read, &str) -> io::Result<()> + Send>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Read {
    Listing,
    Opening,
    Bytes,
}

/// A disk of which every read is told beforehand.
#[derive(Clone)]
struct Told {
    disk: SimDisk,
    before: Arc<Mutex<Before>>,
}

struct ToldFile {
    told: Told,
    name: String,
    file: Arc<dyn StorageFile>,
}

impl Told {
    fn new(disk: &SimDisk, before: impl FnMut(Read, &str) -> io::Result<()> + Send + 'static) -> Told {
        Told { disk: disk.clone(), before: Arc::new(Mutex::new(Box::new(before))) }
    }

    /// A disk whose read `n`, from 0, fails as one of a file that may not be read.
    fn failing(disk: &SimDisk, n: u64) -> (Told, Arc<Mutex<u64>>) {
        let reads = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&reads);
        let told = Told::new(disk, move |_, _| {
            let mut reads = counted.lock().unwrap();
            *reads += 1;
            if *reads == n + 1 { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
        });
        (told, reads)
    }

    fn before(&self, read: Read, name: &str) -> io::Result<()> {
        (self.before.lock().unwrap())(read, name)
    }
}

impl ToldFile {
    fn before(&self) -> io::Result<()> {
        self.told.before(Read::Bytes, &self.name)
    }
}

impl StorageFile for ToldFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.before()?;
        self.file.read_at(buf, offset)
    }

    fn read_device_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.before()?;
        self.file.read_device_at(buf, offset)
    }

    fn zeros_from(&self, from: ReadFrom, offset: u64) -> io::Result<u64> {
        self.before()?;
        self.file.zeros_from(from, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl Storage for Told {
    fn lock(&self) -> io::Result<DirectoryLock> {
        self.disk.lock()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.before(Read::Listing, "")?;
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.disk.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.before(Read::Opening, name)?;
        let file = self.disk.open(name)?;
        Ok(Arc::new(ToldFile { told: self.clone(), name: name.to_owned(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }

    fn describe(&self) -> String {
        self.disk.describe()
    }
}

/// Does it with each of its reads failing: every time that is told, as what it is. There are so many reads at least.
fn told_of_every_read<T>(disk: &SimDisk, reads_min: u64, act: impl Fn(&Told) -> Result<T, OpenError>) {
    for n in 0.. {
        let (told, reads) = Told::failing(&disk.after_kill(), n);
        let done = act(&told);
        if *reads.lock().unwrap() <= n {
            assert!(done.is_ok() && n >= reads_min, "{n}");
            return;
        }
        match done.map(drop) {
            Err(OpenError::Io { source, .. }) => assert_eq!(source.kind(), io::ErrorKind::PermissionDenied, "{n}"),
            other => panic!("read {n}: {other:?}"),
        }
    }
}

#[test]
fn a_file_that_may_not_be_read_is_not_taken_for_a_damaged_one() {
    let damaged = small_log();
    damaged.flip_bit(&names::segment(FIRST), FRAMES_AT + 90, 0);
    told_of_every_read(&damaged, 20, |from| salvage::evidence(from));
    let later = small_log();
    later.flip_bit(&names::segment(LAST), FRAMES_AT + 90, 0);
    told_of_every_read(&later, 30, |from| {
        salvage::salvage(from, &SimDisk::new(2), &|_| Ok(()), &|_| Ok(vec![]), &mut |_| Ok(()))
    });
    stop::put(&damaged).unwrap();
    told_of_every_read(&damaged, 3, |side| stop::of(side));
}

#[test]
fn a_side_that_may_not_be_read_is_neither_mended_nor_copied_from() {
    let (one, ahead) = (small_log(), small_log());
    commit(&open(&ahead, &manual()).unwrap().0, 100, b"one more");
    let damaged = small_log();
    damaged.flip_bit(&names::segment(FIRST), FRAMES_AT + 90, 0);
    for other in [&one, &ahead, &damaged] {
        for is_turned in [false, true] {
            told_of_every_read(&one, 20, |told| {
                let (other, options) = (other.after_kill(), WalOptions::default());
                let sides: [&dyn Storage; 2] = if is_turned { [&other, told] } else { [told, &other] };
                twin::reconcile(sides[0], sides[1], &options)
            });
        }
    }
}

#[test]
fn of_a_segment_that_could_be_taken_once_and_then_does_not_follow_nothing_is_left_in_the_copy() {
    let disk = small_log();
    let lost = disk.clone();
    let mut opened = std::collections::BTreeMap::new();
    // The log is gone through until twice the same is found. Each segment is opened once before, for its header.
    let told = Told::new(&disk, move |read, name| {
        if read == Read::Opening {
            let times = opened.entry(name.to_owned()).or_insert(0);
            *times += 1;
            match (names::segment_number(name), *times) {
                (Some(LAST), 3) => lost.lose_sectors(name, FRAMES_AT..FRAMES_AT + 512),
                (Some(MIDDLE), 4) => lost.lose_sectors(name, FRAMES_AT + BLOCK..FRAMES_AT + BLOCK + 512),
                _ => {}
            }
        }
        Ok(())
    });
    let into = SimDisk::new(2);
    let taken = salvage::salvage(&told, &into, &|_| Ok(()), &|_| Ok(vec![]), &mut |_| Ok(())).unwrap();
    assert_eq!((taken.last.seq, taken.known_durable), (Seq::new(3), Seq::new(7)));
    let segments: Vec<_> = into.names().iter().filter_map(|name| names::segment_number(name)).collect();
    assert_eq!(segments, [FIRST, MIDDLE]);
    let (_, opened, found) = open(&into.survivor(3), &manual()).unwrap();
    assert_eq!((found.len(), opened.torn), (3, None));
}

#[test]
fn what_is_left_of_a_log_while_it_is_copied_is_taken_be_it_one_entry() {
    for left in [0, 1] {
        let disk = small_log();
        let (lost, mut opened) = (disk.clone(), 0);
        // The first segment is opened for its header, to be gone through, and then to be copied.
        let told = Told::new(&disk, move |read, name| {
            if read == Read::Opening && name == names::segment(FIRST) {
                opened += 1;
                if opened == 3 {
                    lost.lose_sectors(name, FRAMES_AT + left * BLOCK..FRAMES_AT + left * BLOCK + 512);
                }
            }
            Ok(())
        });
        let into = SimDisk::new(2);
        match salvage::salvage(&told, &into, &|_| Ok(()), &|_| Ok(vec![]), &mut |_| Ok(())) {
            Ok(taken) => {
                assert_eq!((taken.last.seq.get(), left), (1, 1));
                assert_eq!(open(&into.survivor(3), &manual()).unwrap().2.len(), 1);
            }
            Err(fault) => {
                assert!(fault.is_damage() && left == 0, "{left}: {fault}");
                assert_eq!(into.names().iter().filter_map(|name| names::segment_number(name)).count(), 0);
            }
        }
    }
}

#[test]
fn what_is_not_there_yet_is_an_empty_directory_and_what_cannot_be_listed_is_not() {
    let salvaged_into = |kind: io::ErrorKind| {
        let mut listed = 0;
        let into = Told::new(&SimDisk::new(2), move |read, _| {
            listed += u32::from(read == Read::Listing);
            if listed == 1 { Err(kind.into()) } else { Ok(()) }
        });
        salvage::salvage(&small_log(), &into, &|_| Ok(()), &|_| Ok(vec![]), &mut |_| Ok(()))
    };
    assert_eq!(salvaged_into(io::ErrorKind::NotFound).unwrap().last.seq, Seq::new(8));
    match salvaged_into(io::ErrorKind::PermissionDenied) {
        Err(OpenError::Io { source, .. }) => assert_eq!(source.kind(), io::ErrorKind::PermissionDenied),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_mark_that_is_lost_while_it_is_copied_is_not_copied_in_part() {
    let said = |disk: &SimDisk| {
        let file = disk.open(names::MARK).unwrap();
        mark::Mark::read(&*file, ReadFrom::Device).unwrap().unwrap().seq
    };
    let slot = |slot: u64| slot * BLOCK..slot * BLOCK + 512;
    let mut refused = 0;
    for lost in [None, Some(0), Some(1)] {
        for lost_then in [0, 1] {
            // It is opened to be synced, to look what it says, and then to be copied.
            for nth in 3.. {
                let (ahead, behind) = (small_log(), small_log());
                commit(&open(&ahead, &manual()).unwrap().0, 100, b"one more");
                // So that not all of the better side can be read, and what is needed is copied.
                ahead.lose_sectors(&names::segment(FIRST), 1 << 19..(1 << 19) + 512);
                if let Some(lost) = lost {
                    ahead.lose_sectors(names::MARK, slot(lost));
                }
                let (before, opened) = (said(&ahead), Arc::new(Mutex::new(0)));
                let (disk, counted) = (ahead.clone(), Arc::clone(&opened));
                let told = Told::new(&ahead, move |read, name| {
                    if read == Read::Opening && name == names::MARK {
                        *counted.lock().unwrap() += 1;
                        if *counted.lock().unwrap() == nth {
                            disk.lose_sectors(name, slot(lost_then));
                        }
                    }
                    Ok(())
                });
                match twin::reconcile(&told, &behind, &WalOptions::default()) {
                    Ok(()) => assert!(said(&behind) >= before, "{lost:?} {lost_then} {nth}"),
                    Err(fault) => {
                        assert!(fault.is_damage(), "{fault}");
                        refused += 1;
                    }
                }
                if *opened.lock().unwrap() < nth {
                    break;
                }
            }
        }
    }
    assert!(refused > 2, "{refused}");
}
