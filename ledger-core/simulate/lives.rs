//! How a life begins and ends, and how a run comes to rest.

use std::time::Duration;

use ledger_core::{Clock, Ledger, OpenError, Status, Substatus, Timestamp, TransactionId};

use crate::bank::{Fate, name};
use crate::coverage::Fault;
use crate::images::Bounds;
use crate::model::Record;
use crate::promise::{Checked, Sees, Violation};
use crate::run::Run;
use crate::stage::DAY;

/// How many steps a run may need to come to rest.
const REST_STEPS_MAX: u32 = 20_000;

impl Run {
    /// Opens what the last life left, and takes over what is there.
    pub(crate) fn open(&mut self) -> Checked {
        if self.fault == Fault::PowerTwice {
            for _ in 0..1 + self.chance.below(2) {
                let disks = self.disks.clone();
                self.open_while_the_power_fails(&disks, "cut off, life after life")?;
                self.disks = disks.survivor(self.chance.next());
                self.is_after_power_cut = true;
            }
        }
        let bounds = Bounds { least: self.kept_at_least(), most: self.decided() };
        if self.chance.below(100) < self.swarm.failing_reads {
            self.open_while_a_read_fails(bounds)?;
        }
        let before = (self.disks.operations(), self.disks.reads());
        let (ledger, is_refused) = self.open_by_clock()?;
        self.opening = (self.disks.operations() - before.0, self.disks.reads() - before.1);
        self.tally.images += 1;
        let last = self.recovered(&ledger, bounds)?;
        self.sides_agree(last)?;
        let mut model = self.prefix(last, ledger.uuid());
        self.check_clock(is_refused, model.time())?;
        if is_refused {
            self.tally.coverage.hit("clock", "opening refused", self.last_fault);
        }
        for (seq, command) in std::mem::take(&mut self.unacknowledged) {
            self.tally.coverage.hit(command, if seq <= last { "kept" } else { "lost" }, self.last_fault);
        }
        model.reopen(ledger.epoch());
        self.trace.line(format_args!("opened with {last} entries of {}, epoch {}", bounds.most, ledger.epoch()));
        self.time.opened(&self.clock, model.time(), self.closed_at);
        self.model = model;
        self.doubt = None;
        // Other entries may follow than those that were lost.
        self.expected = None;
        self.ledger = Some(ledger);
        self.stories.values_mut().for_each(|story| story.cut(last));
        self.promise.recovered(last);
        self.told = last;
        Ok(())
    }

    /// What the end of the last life must have left.
    fn kept_at_least(&self) -> u64 {
        if self.is_after_power_cut { self.promise.after_power_cut() } else { self.promise.after_kill() }
    }

    fn open_by_clock(&mut self) -> Checked<(Ledger, bool)> {
        let options = self.options();
        match self.open_disks(options.clone()) {
            Err(OpenError::Clock { .. }) => {
                let opened = self.open_disks(options.accept_clock(true));
                opened.map(|ledger| (ledger, true)).map_err(|error| Violation::new("not opened", error.to_string()))
            }
            opened => {
                opened.map(|ledger| (ledger, false)).map_err(|error| Violation::new("not opened", error.to_string()))
            }
        }
    }

    /// A clock that does not fit the log is not opened with, unless somebody says so.
    fn check_clock(&self, is_refused: bool, last: Option<Timestamp>) -> Checked {
        let Some(last) = last else { return Ok(()) };
        let wall = self.clock.wall();
        // A clean stop keeps the ledger's time, which answers may have raised above the last entry's, though not all of them do.
        let latest = last.max(self.closed_at);
        let is_behind = |time: Timestamp| time.saturating_since(wall) > Duration::from_secs(60);
        let is_ahead = |time: Timestamp| wall.saturating_since(time) > DAY * 30;
        let must_be = if is_behind(last) || is_ahead(latest) {
            Some(true)
        } else if is_behind(latest) || is_ahead(last) {
            None
        } else {
            Some(false)
        };
        if must_be.is_some_and(|must_be| must_be != is_refused) {
            return Err(Violation::new("clock", format!("wall {wall}, log {last}: refused is {is_refused}")));
        }
        Ok(())
    }

    /// Ends this life as its fault does, and leaves the disk that the next one finds.
    pub(crate) fn end(&mut self) -> Checked {
        self.collect_all()?;
        let has_halted = self.ledger().halted().is_some();
        let ends_well = match self.fault {
            Fault::Calm | Fault::Clock => true,
            Fault::Full => self.chance.below(2) == 0,
            _ => self.goes_on() && self.chance.below(2) == 0,
        };
        let promised = self.promise.after_power_cut();
        let is_closed = ends_well && !has_halted && !self.disks.is_off() && self.close()?;
        self.look_at_photographs(promised)?;
        self.last_fault = self.fault;
        self.count_faults();
        let is_degraded = self.count_mirror();
        if !is_closed {
            // A process that dies does no more: what the ledger writes when it is let go reaches a disk nobody looks at.
            self.disks = self.disks.after_kill();
        }
        self.in_flight.iter_mut().for_each(Vec::clear);
        self.tasks.clear();
        self.ledger = None;
        self.disks.heal();
        let is_power = matches!(self.fault, Fault::Power | Fault::PowerTwice);
        let power_fails = match self.fault {
            Fault::Power | Fault::PowerTwice if self.struck.is_none() => true,
            Fault::Kill => false,
            _ => self.chance.below(2) == 0,
        };
        if is_closed && !is_degraded {
            let times = if self.disks.is_mirror() { 1 } else { 2 };
            for _ in 0..times {
                self.damage(&self.disks.after_kill(), self.model.seq())?;
            }
        }
        let bounds = Bounds { least: self.promise.after_power_cut(), most: self.decided() };
        for _ in 0..self.swarm.photographs {
            let image = self.disks.survivor(self.chance.next());
            self.check_image(&image, bounds)?;
        }
        // Pages that were lost are lost to the next process too.
        self.is_after_power_cut = power_fails || self.loses_pages();
        self.disks = match self.struck {
            _ if power_fails => self.disks.survivor(self.chance.next()),
            Some(side) if is_power => self.disks.survivor_of_side(side, self.chance.next()),
            _ => self.disks.after_kill(),
        };
        let how = match (is_closed, power_fails) {
            (true, true) => "closed, then the power fails",
            (true, false) => "closed",
            (false, true) => "the power fails",
            (false, false) => "killed",
        };
        self.trace.line(format_args!("{how}"));
        if self.disks.is_mirror() && self.chance.below(3) == 0 {
            let bounds = Bounds { least: self.kept_at_least(), most: self.decided() };
            self.damage_between_lives(bounds)?;
        }
        Ok(())
    }

    /// A clean stop: everything that was decided is durable, and answered.
    fn close(&mut self) -> Checked<bool> {
        match self.ledger().close() {
            Ok(()) => {}
            // A full disk that refuses even what it had promised.
            Err(_) if self.may_halt() => return Ok(false),
            Err(error) => return Err(Violation::new("not closed", error.to_string())),
        }
        self.closed_at = self.closed_at.max(self.ledger().now());
        self.collect_all()?;
        if self.in_flight.iter().any(|client| !client.is_empty()) {
            return Err(Violation::new("not closed", "an answer is still under way after a clean stop"));
        }
        self.leaves(self.model.seq());
        Ok(true)
    }

    /// The faults stop: every withdrawal ends or waits for a person, and the two books agree.
    pub(crate) fn come_to_rest(&mut self) -> Checked {
        self.fault = Fault::Calm;
        self.bank.recovers();
        let time = self.model.time().unwrap_or(self.clock.wall());
        self.clock.set_wall(self.clock.wall().max(time));
        self.open()?;
        let mut steps = 0;
        while self.has_open_withdrawals() || !self.tasks.is_empty() {
            steps += 1;
            if steps > REST_STEPS_MAX {
                return Err(Violation::new("payout", "a withdrawal neither ends nor waits for a person"));
            }
            self.step_executor()?;
            while self.ledger().step_log(true) {}
            if self.chance.below(2) == 0 {
                let due = self.ledger().next_due_in().unwrap_or_default();
                // Longer and longer: a bank that never tells is asked for a day.
                self.advance(due + Duration::from_millis(10) * steps * steps)?;
            }
        }
        self.in_step()?;
        self.compare_books(false)?;
        if self.chance.below(2) == 0 {
            self.tell_all()?;
            self.compare_books(true)?;
        }
        self.close()?;
        self.ledger = None;
        let bounds = Bounds { least: self.model.seq(), most: self.model.seq() };
        let image = self.disks.survivor(self.chance.next());
        self.check_image(&image, bounds)
    }

    fn has_open_withdrawals(&self) -> bool {
        self.model
            .withdrawals()
            .any(|(_, record)| record.status == Status::Pending && record.substatus != Substatus::NeedsReview)
    }

    /// What the ledger says of each withdrawal against what the bank really did. `is_all_told`: the bank has told the
    /// truth of each, so that whatever was said or decided wrongly before is put right, or recorded for a person.
    fn compare_books(&mut self, is_all_told: bool) -> Checked {
        let all: Vec<(u64, Record)> = self.model.withdrawals().map(|(id, record)| (id, record.clone())).collect();
        for (id, record) in all {
            let substatus = record.substatus;
            self.tally.in_review += u64::from(substatus == Substatus::NeedsReview && !is_all_told);
            let of = TransactionId::new(id).expect("not zero");
            let mut reference = None;
            let commit = self.ledger().withdrawal(of).map_err(|error| error.to_string()).sees("books")?;
            drop(commit.map(|found| reference = found.map(|withdrawal| withdrawal.reference)));
            let reference = reference.ok_or_else(|| Violation::new("books", format!("{id} is not there")))?;
            let has_left = record.status == Status::Completed || record.late;
            let is_guessed = self.guessed.contains(&id);
            let Some(paper) = self.bank.closed_book().get(&name(&reference)) else {
                if has_left && !is_guessed {
                    return Err(Violation::new("books", format!("{id} is {substatus}, and the bank never saw it")));
                }
                continue;
            };
            let is_open = record.status == Status::Pending;
            let agrees = is_open || has_left == (paper.fate == Fate::Paid) || record.returned.is_some();
            let is_excused = if is_all_told {
                // What left and should not have is a discrepancy; what should have is posted now.
                has_left && !record.contradictions.is_empty()
            } else {
                paper.lied || is_guessed
            };
            let is_returned = record.returned.is_none() || paper.came_back || paper.lied;
            if paper.paid > 1 || !(agrees || is_excused) || !is_returned {
                let why = format!("{id} is {substatus}, and the bank paid it {} times", paper.paid);
                return Err(Violation::new("books", why));
            }
        }
        Ok(())
    }
}
