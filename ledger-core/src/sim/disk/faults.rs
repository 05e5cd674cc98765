//! What goes wrong, and how long it takes: what a test plans for the disk, and how each operation then goes. Each one that changes or
//! syncs something is counted, and so is each read: a fault strikes at a number, or from there on, and so does a power cut.

use std::io;
use std::time::Duration;

use super::{Inner, SimDisk};
use crate::sim::{Random, SimClock};

/// What goes wrong with an operation of the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It fails with an I/O error and has no effect (an unsynced write stays unsynced).
    Eio,
    /// So do this one and all that follow.
    EioForever,
    /// There is no space left; it has no effect.
    Enospc,
    /// There is no space left, for this one and every later creation or write.
    EnospcForever,
    /// A write stops half-way, with an I/O error.
    ShortWrite,
    /// The first sync of a file from here on fails, and the pages that it should have written are clean from then on:
    /// the process still reads them, the device never gets them, and the next sync succeeds. (What Linux does.)
    FailedFsyncLosesPages,
}

/// How long operations take.
#[derive(Clone)]
pub(super) struct Latency {
    clock: SimClock,
    most: Duration,
    random: Random,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Write,
    Sync,
    Name,
}

/// How an operation goes.
pub(super) enum Course {
    Whole,
    /// The power fails while it is under way: it is begun, and its caller never hears of it.
    PowerFails,
    Half,
    LosesPages,
}

impl SimDisk {
    /// The power fails during operation `n` (counted from 0 over the disk's life): that one may have any effect, and
    /// every call from then on fails, reads too.
    pub fn crash_after(&self, n: u64) {
        self.inner.lock().power_off_at = Some(n);
    }

    /// Lets operation `n` (counted from 0 over the disk's life) go wrong.
    pub fn fail_at(&self, n: u64, fault: Fault) {
        self.inner.lock().faults.push((n, fault));
    }

    /// Lets read `n` (counted from 0 over the disk's life) fail, once, as of a sector that cannot be read.
    pub fn fail_read_at(&self, n: u64) {
        self.inner.lock().read_fails_at = Some(n);
    }

    /// Each operation that changes or syncs something takes a time of up to so much from here on, drawn by the seed, by which the
    /// clock moves on; or none.
    pub fn slow_down(&self, how: Option<(&SimClock, Duration, u64)>) {
        let latency =
            |(clock, most, seed): (&SimClock, _, _)| Latency { clock: clock.clone(), most, random: Random::new(seed) };
        self.inner.lock().latency = how.map(latency);
    }

    /// Takes everything back that [`SimDisk::fail_at`], [`SimDisk::fail_read_at`] and [`SimDisk::slow_down`] planned.
    pub fn heal(&self) {
        let mut inner = self.inner.lock();
        inner.faults.clear();
        (inner.read_fails_at, inner.latency) = (None, None);
    }

    /// Which faults have struck so far: planned ones, and [`Fault::Enospc`] where there was no room.
    pub fn struck(&self) -> Vec<Fault> {
        self.inner.lock().struck.clone()
    }
}

impl Inner {
    pub(super) fn check_power(&self) -> io::Result<()> {
        if self.is_off { Err(power_is_off()) } else { Ok(()) }
    }

    /// Counts an operation and says how it goes.
    pub(super) fn begin(&mut self, operation: Operation) -> io::Result<Course> {
        self.check_power()?;
        if let Some(Latency { clock, most, random }) = &mut self.latency {
            clock.advance(Duration::from_micros(random.below(most.as_micros() as u64 + 1)));
        }
        let n = self.operations;
        if let Some(seed) = self.to_photograph.remove(&n) {
            let survivor = self.survivor(seed);
            self.photographs.push(survivor);
        }
        self.operations += 1;
        if self.power_off_at.is_some_and(|at| n >= at) {
            self.is_off = true;
            return Ok(Course::PowerFails);
        }
        let loses = |(at, fault): &(u64, Fault)| {
            *fault == Fault::FailedFsyncLosesPages && n >= *at && operation == Operation::Sync
        };
        if let Some(found) = self.faults.iter().position(loses) {
            self.faults.remove(found);
            self.strikes(Fault::FailedFsyncLosesPages);
            return Ok(Course::LosesPages);
        }
        let strikes = |&&(at, fault): &&(u64, Fault)| match fault {
            Fault::Eio | Fault::Enospc => n == at,
            Fault::EioForever => n >= at,
            Fault::EnospcForever => n >= at && operation != Operation::Sync,
            Fault::ShortWrite => n == at && operation == Operation::Write,
            Fault::FailedFsyncLosesPages => false,
        };
        let Some(&(_, fault)) = self.faults.iter().find(strikes) else { return Ok(Course::Whole) };
        self.strikes(fault);
        match fault {
            Fault::Enospc | Fault::EnospcForever => Err(enospc()),
            Fault::ShortWrite => Ok(Course::Half),
            _ => Err(eio()),
        }
    }

    pub(super) fn strikes(&mut self, fault: Fault) {
        if !self.struck.contains(&fault) {
            self.struck.push(fault);
        }
    }

    /// Counts a read, and says whether it succeeds.
    pub(super) fn begin_read(&mut self) -> io::Result<()> {
        self.check_power()?;
        let n = self.reads;
        self.reads += 1;
        if self.read_fails_at == Some(n) { Err(unreadable()) } else { Ok(()) }
    }
}

pub(super) fn power_is_off() -> io::Error {
    io::Error::other("the simulated power is off")
}

pub(super) fn eio() -> io::Error {
    io::Error::other("simulated I/O error")
}

/// As the system tells of a sector that the device cannot read.
pub(super) fn unreadable() -> io::Error {
    io::Error::from_raw_os_error(5)
}

pub(super) fn enospc() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "simulated full disk")
}
