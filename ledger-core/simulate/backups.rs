//! Backups of the ledger in use, made while the others go on, and what is restored from them on the side: exactly what the
//! ledger was at that entry, with every open withdrawal in doubt.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use ledger_core::sim::{Fault as DiskFault, SimDisk};
use ledger_core::withdrawals::AttemptClass;
use ledger_core::{
    Backup, Beside, Clock, Ledger, OpenError, RestoreTo, Seq, Status, Storage, Substatus, Timestamp, backup_beside,
    is_executor_stopped, release_executor, restore_with, verify_storage,
};

use crate::images::Bounds;
use crate::model::{Fact, Happened, Model};
use crate::promise::{Checked, Sees, Violation};
use crate::run::Run;
use crate::stage::{difference, id, lines};

/// The file by which a backup says that it is one.
const BACKUP: &str = "backup.made";
/// By how many epochs a restored ledger is above its source, at least.
const EPOCHS_SKIPPED: u64 = 1 << 20;

impl Run {
    /// Somebody makes a backup. `is_within`: a checkpoint is under way, which the others may not end meanwhile.
    pub(crate) fn back_up(&mut self, is_within: bool) -> Checked {
        // Seldom: it costs as much as a hundred calls.
        if self.doubt.is_some() || self.chance.below(3) > 0 {
            return Ok(());
        }
        let to = SimDisk::new(self.chance.next());
        let is_to_fail = self.chance.below(4) == 0;
        if is_to_fail {
            let at = self.chance.below(16);
            match self.chance.below(3) {
                0 => to.crash_after(at),
                1 => to.fail_at(at, DiskFault::Eio),
                _ => to.fail_at(at, DiskFault::Enospc),
            }
        }
        let is_of_ledger = !is_within && self.chance.below(2) == 0;
        let steps = if is_within { 0 } else { self.chance.pick(&[0, 4, 16]) };
        let before = self.ledger().durable().get();
        let made = self.copy_beside(&to, is_of_ledger, steps)?;
        // What a batch in doubt has added is not known yet.
        if self.doubt.is_some() {
            return Ok(());
        }
        let bounds = Bounds { least: before, most: self.model.seq() };
        let is_over = self.disks.struck(self.struck).any(SimDisk::is_off) || self.disks.is_off();
        match made {
            Ok(made) if !(bounds.least..=bounds.most).contains(&made.last_seq.get()) => {
                let why = format!("it ends with entry {}, and was made of {before} to {}", made.last_seq, bounds.most);
                Err(Violation::new("backup", why))
            }
            Ok(made) => {
                let outcome = if is_of_ledger { "of the ledger" } else { "of the directory" };
                self.tally.coverage.hit("backup", outcome, self.fault);
                self.trace.line(format_args!("backup: {outcome}, up to entry {}", made.last_seq));
                self.check_backup(&to, made.last_seq.get())
            }
            Err(OpenError::Io { .. }) if is_to_fail || is_over => {
                let outcome = if is_over { "the power fails" } else { "cut off" };
                self.tally.coverage.hit("backup", outcome, self.fault);
                self.trace.line(format_args!("backup: {outcome}"));
                self.check_half_a_backup(&to, bounds)
            }
            Err(error) => Err(Violation::new("backup", error.to_string())),
        }
    }

    /// Copies, while the others take so many steps between the pieces.
    fn copy_beside(&mut self, to: &SimDisk, is_of_ledger: bool, steps: u64) -> Checked<Result<Backup, OpenError>> {
        let (ledger, planted) = (self.ledger().clone(), self.planted);
        // A side that the ledger goes on without falls behind.
        let lost = ledger.degraded().and(self.struck);
        let sides = self.disks.sides();
        let from = sides[lost.map_or(self.chance.below(sides.len() as u64) as usize, |lost| 1 - lost)].clone();
        let beside = RefCell::new((&mut *self, steps, Ok(())));
        let act = || {
            let (run, steps, checked) = &mut *beside.borrow_mut();
            let several = if run.chance.below(2) == 0 { run.chance.below(*steps + 1) } else { 0 };
            *steps -= several;
            for _ in 0..several {
                if checked.is_ok() {
                    *checked = if is_of_ledger { run.step_beside() } else { run.step_beside_a_copy() };
                }
            }
        };
        let beside_it = Beside { act: &act, planted };
        let made =
            if is_of_ledger { ledger.backup_beside(to, &beside_it) } else { backup_beside(&from, to, &beside_it) };
        let (_, _, checked) = beside.into_inner();
        checked?;
        Ok(made)
    }

    /// A backup is whole, and durable; it opens as what the ledger was, and what is restored from it is that too.
    fn check_backup(&mut self, backup: &SimDisk, last: u64) -> Checked {
        let found = verify_storage(backup).map_err(|error| format!("it is not sound: {error}")).sees("backup")?;
        if found.last_seq.get() != last {
            return Err(Violation::new(
                "backup",
                format!("it was to end with {last}, and ends with {}", found.last_seq),
            ));
        }
        let left = backup.survivor(self.chance.next());
        match self.chance.below(3) {
            0 => {
                self.tally.images += 1;
                let ledger = self.open_by_force(left)?;
                let ledger = ledger.map_err(|error| Violation::new("backup", format!("not opened: {error}")))?;
                self.recovered(&ledger, Bounds { least: last, most: last }).map(drop)
            }
            1 => self.restore_from(&left, last),
            _ => Ok(()),
        }
    }

    /// Opens what a backup left, which is refused as long as it says that it is one.
    fn open_by_force(&mut self, left: SimDisk) -> Checked<Result<Ledger, OpenError>> {
        let options = self.options().accept_clock(true);
        if left.names().iter().any(|name| name == BACKUP) {
            match options.clone().open_on(left.clone()) {
                Err(OpenError::InvalidOption { reason }) if reason.contains("is a backup") => {}
                Err(error) => return Err(Violation::new("backup", format!("it does not say what it is: {error}"))),
                Ok(_) => return Err(Violation::new("backup", "it is opened as a ledger")),
            }
            left.remove(BACKUP).map_err(|error| Violation::new("backup", error.to_string()))?;
        }
        Ok(options.open_on(left))
    }

    /// What was cut off is refused; or it is whole, or nothing.
    fn check_half_a_backup(&mut self, backup: &SimDisk, bounds: Bounds) -> Checked {
        let left = if self.chance.below(2) == 0 { backup.after_kill() } else { backup.survivor(self.chance.next()) };
        self.tally.images += 1;
        match self.open_by_force(left)? {
            // No more than files that no snapshot names.
            Ok(ledger) if ledger.appended() == Seq::ZERO && ledger.uuid() != self.ledger().uuid() => Ok(()),
            Ok(ledger) => self.recovered(&ledger, bounds).map(drop),
            Err(OpenError::Damaged { .. }) => Ok(()),
            Err(OpenError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Violation::new("backup", format!("half of it: {error}"))),
        }
    }

    /// Up to where somebody restores what ends with `last`, and the last entry that there must be; `None`: there is no such.
    fn some_moment(&mut self, last: u64) -> (&'static str, RestoreTo, Option<u64>) {
        match self.chance.below(4) {
            0 => ("to the end", RestoreTo::End, Some(last)),
            1 => {
                let facts = self.model.facts();
                let of = self.chance.below(last.max(1)) as usize;
                let time = facts.get(of).map_or(self.clock.wall(), |fact| fact.time);
                let time = time.saturating_sub(Duration::from_millis(self.chance.below(2) * 500));
                let until = facts.iter().take_while(|fact| fact.seq <= last && fact.time <= time).count();
                ("to a time", RestoreTo::Time(time), Some(until as u64))
            }
            _ => {
                let mut seq = self.chance.below(last + 2);
                while self.model.cuts_a_batch(seq) {
                    seq += 1;
                }
                ("to an entry", RestoreTo::Seq(Seq::new(seq)), (seq <= last).then_some(seq))
            }
        }
    }

    /// Restores `backup`, which ends with `last`, on the side; now and then the power fails meanwhile.
    fn restore_from(&mut self, backup: &SimDisk, last: u64) -> Checked {
        let (outcome, until, expected) = self.some_moment(last);
        let mut to = SimDisk::new(self.chance.next());
        let is_to_fail = self.chance.below(2) == 0;
        if is_to_fail {
            let within = self.chance.pick(&[3, 80, 80, 80]);
            to.crash_after(self.chance.below(within));
        }
        let (options, epochs) = (self.options(), EPOCHS_SKIPPED * (1 + self.chance.below(1000)));
        let mut restored = restore_with(backup, Arc::new(to.clone()), until, &options, epochs);
        if restored.is_ok() && self.chance.below(4) == 0 {
            // Once more, and the power fails at its very end.
            let at = to.operations() - 1 - self.chance.below(3).min(to.operations() - 1);
            to = SimDisk::new(self.chance.next());
            to.crash_after(at);
            restored = restore_with(backup, Arc::new(to.clone()), until, &options, epochs);
        }
        let wrong = |why: String| Violation::new("restore", format!("{until:?} of {last}: {why}"));
        let expected = match (&restored, expected) {
            (Err(OpenError::InvalidOption { reason }), None) if reason.contains("the ledger ends with") => {
                return self.was_not_restored(&to, "too late");
            }
            (Err(OpenError::InvalidOption { reason }), Some(0))
                if last > 0 && reason.contains("before the first entry") =>
            {
                return self.was_not_restored(&to, "too early");
            }
            (Err(OpenError::InvalidOption { reason }), Some(seq)) if is_too_early(backup, seq, reason) => {
                return self.was_not_restored(&to, "too early");
            }
            (_, None) => return Err(wrong("that is not there, and is restored".into())),
            (Ok(done), Some(seq)) if done.last_seq.get() != seq => {
                return Err(wrong(format!("it ends with {}, not {seq}", done.last_seq)));
            }
            (Ok(_), Some(seq)) => seq,
            (Err(OpenError::Io { .. }), Some(seq)) if to.is_off() => seq,
            (Err(error), _) => return Err(wrong(error.to_string())),
        };
        let is_done = restored.is_ok();
        let left = if self.chance.below(2) == 0 { to.after_kill() } else { to.survivor(self.chance.next()) };
        let outcome = self
            .open_restored(&left, expected, is_done)
            .map_err(|violation| wrong(violation.to_string()))?
            .unwrap_or(outcome);
        self.tally.coverage.hit("restore", outcome, self.fault);
        self.trace.line(format_args!("restored {until:?}: {outcome}"));
        Ok(())
    }

    /// Nothing was written by a restore that cannot be.
    fn was_not_restored(&mut self, to: &SimDisk, outcome: &'static str) -> Checked {
        self.tally.coverage.hit("restore", outcome, self.fault);
        match to.names().first() {
            None => Ok(()),
            Some(name) => Err(Violation::new("restore", format!("{outcome}, and there is {name}"))),
        }
    }

    /// Opens what a restore up to `expected` left. Says what became of one that was cut off.
    fn open_restored(&mut self, left: &SimDisk, expected: u64, is_done: bool) -> Checked<Option<&'static str>> {
        if !is_done && left.names().is_empty() {
            return Ok(Some("cut off, nothing"));
        }
        self.tally.images += 1;
        let ledger = match self.options().accept_clock(true).open_on(left.clone()) {
            Err(OpenError::InvalidOption { reason }) if !is_done && reason.contains("restore.unfinished") => {
                if verify_storage(left).is_ok() {
                    return Err(Violation::new("restore", "half of it is called sound"));
                }
                return Ok(Some("cut off, refused"));
            }
            opened => opened.map_err(|error| Violation::new("restore", format!("not opened: {error}")))?,
        };
        let is_stopped = |disk: &SimDisk| is_executor_stopped(disk).map_err(|error| error.to_string()).sees("restore");
        if !is_stopped(left)? {
            return Err(Violation::new("restore", "its withdrawals are performed before anybody has let them go"));
        }
        self.is_restored(&ledger, expected)?;
        drop(ledger);
        release_executor(left).map_err(|error| error.to_string()).sees("restore")?;
        if is_stopped(left)? {
            return Err(Violation::new("restore", "its withdrawals are let go, and are not performed"));
        }
        Ok(if is_done { None } else { Some("cut off, whole") })
    }

    /// A restored ledger is what the ledger was at entry `last`, and then each open withdrawal was doubted.
    fn is_restored(&mut self, ledger: &Ledger, last: u64) -> Checked {
        let epoch = self.ledger().epoch().get();
        if ledger.epoch().get() < epoch + EPOCHS_SKIPPED {
            let why = format!("its epoch is {}, and its source has epoch {epoch}", ledger.epoch());
            return Err(Violation::new("restore", why));
        }
        let mut model = self.prefix(last, ledger.uuid());
        self.doubt_all(&mut model, ledger)?;
        let found = lines(ledger, &self.world).map_err(|error| error.to_string()).sees("restore")?;
        self.tally.recoveries += 1;
        match difference(&model.lines(&self.world, ledger.now()), &found) {
            None => Ok(()),
            Some(difference) => Err(Violation::new("restore", difference)),
        }
    }

    /// Takes into `model` that each open withdrawal was doubted, in the order in which `ledger` did; but for those of which a
    /// person decides anyway.
    fn doubt_all(&self, model: &mut Model, ledger: &Ledger) -> Checked {
        let last = model.seq();
        let time = self.clock.wall().max(model.time().unwrap_or(Timestamp::MIN));
        let is_doubted = |status, substatus| status == Status::Pending && substatus != Substatus::NeedsReview;
        let mut doubted: Vec<(u64, u64, bool)> = Vec::new();
        for (of, record) in model.withdrawals().filter(|(_, record)| is_doubted(record.status, record.substatus)) {
            let found = ledger.transaction(id(of), None).and_then(|commit| commit.wait());
            let found = found.map_err(|error| error.to_string()).sees("restore")?;
            let seq = found.map_or(0, |found| found.last_seq.get());
            if seq <= last {
                return Err(Violation::new("restore", format!("withdrawal {of} is not in doubt")));
            }
            doubted.push((seq, of, record.substatus == Substatus::Submitting));
        }
        doubted.sort_unstable();
        let what = |id: u64| Happened::Ended { id, class: AttemptClass::Ambiguous, to: Substatus::Unknown };
        for (seq, of, was_running) in doubted {
            // Its attempt counts as one that nobody runs any more, before.
            if was_running {
                model.apply(Fact { seq: seq - 1, time, what: what(of) });
            }
            model.apply(Fact { seq, time, what: what(of) });
        }
        Ok(())
    }
}

/// Whether the first of the log of `backup` is gone, and `seq` is before the earliest entry that is left to restore, as `reason`
/// says: of a time the first entry of the log, else what a snapshot rests on.
fn is_too_early(backup: &SimDisk, seq: u64, reason: &str) -> bool {
    let numbers = |suffix: &str| -> Vec<u64> {
        let names = backup.names();
        let numbers = names.iter().filter_map(|name| name.strip_suffix(suffix));
        numbers.filter_map(|number| u64::from_str_radix(number, 16).ok()).collect()
    };
    let number = |words: &str| {
        let (_, after) = reason.split_once(words)?;
        after.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
    };
    let first_snapshot = numbers(".snapshot").first().copied();
    let is_before_all = match (number("what is kept here, from seq "), number("the log begins with seq ")) {
        (Some(earliest), _) => seq < earliest && first_snapshot.is_some_and(|first| first <= earliest),
        (None, Some(first)) => seq < first,
        (None, None) => false,
    };
    is_before_all && !numbers(".segment").contains(&1)
}
