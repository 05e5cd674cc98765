//! Crash images: states in which a disk may be found, opened on the side and compared with what was promised.

use ledger_core::{Ledger, OpenError, Timestamp};
use uuid::Uuid;

use crate::disks::Disks;
use crate::mirror::is_too_far_behind;
use crate::model::Model;
use crate::promise::{Checked, Sees, Violation};
use crate::run::Run;
use crate::stage::{Line, difference, lines};

/// Between which entries a recovery must end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) least: u64,
    pub(crate) most: u64,
}

/// What must be found when the entries up to one are there, for a ledger's UUID at a moment.
pub(crate) struct Expected {
    of: (u64, Uuid, Timestamp),
    lines: Vec<Line>,
}

impl Run {
    /// Opens what the power cuts would have left that were photographed in the last step, before which `promised` was.
    pub(crate) fn look_at_photographs(&mut self, promised: u64) -> Checked {
        for image in self.disks.photographs() {
            let bounds = Bounds { least: promised, most: self.decided() };
            self.check_image(&image, bounds)?;
        }
        Ok(())
    }

    /// Opens `image`, compares all that can be asked with the model, and sometimes crashes or damages it once more.
    pub(crate) fn check_image(&mut self, image: &Disks, bounds: Bounds) -> Checked {
        let whole = image.survivor(0);
        let last = self.open_image(image, bounds)?;
        match self.chance.below(4) {
            0 => {
                // Recovering again changes nothing, even if the power failed right after the first recovery.
                let again = image.survivor(self.chance.next());
                self.open_image(&again, Bounds { least: last, most: last })?;
                self.damage(&again, last)
            }
            1 => self.crash_recovery(&whole, bounds),
            _ => Ok(()),
        }
    }

    /// The power fails during the recovery of `image`, at any of its operations.
    fn crash_recovery(&mut self, image: &Disks, bounds: Bounds) -> Checked {
        self.open_while_the_power_fails(image, "cut off")?;
        let left = image.survivor(self.chance.next());
        self.open_image(&left, bounds).map(drop)
    }

    /// The power fails during an opening of `disks`: within a few operations more than the last opening took, so not always.
    pub(crate) fn open_while_the_power_fails(&mut self, disks: &Disks, outcome: &'static str) -> Checked {
        disks.power_fails(self.chance.below(self.opening.0 + 4));
        self.tally.images += 1;
        match disks.open(self.options().accept_clock(true)) {
            Ok(ledger) => drop(ledger),
            Err(OpenError::Io { .. }) => self.tally.coverage.hit("recovery", outcome, self.fault),
            Err(error) if is_too_far_behind(&error) => {}
            Err(error) => return Err(Violation::new("not opened", format!("while the power fails: {error}"))),
        }
        Ok(())
    }

    /// A read fails while the next life's disks are opened on the side: that is refused, or makes no difference; and whatever the
    /// opening did, everything is there for the next.
    pub(crate) fn open_while_a_read_fails(&mut self, bounds: Bounds) -> Checked {
        let disks = self.disks.after_kill();
        let sides = disks.sides();
        let (side, read) = (self.chance.below(sides.len() as u64) as usize, self.chance.below(self.opening.1 + 1));
        sides[side].fail_read_at(read);
        self.tally.images += 1;
        let opened = disks.open(self.options().accept_clock(true));
        let has_struck = disks.sides()[side].reads() > read;
        let what = |why: String| Violation::new("a read fails", format!("read {read} of side {side}: {why}"));
        let outcome = match opened {
            Ok(ledger) => {
                self.recovered(&ledger, bounds).map_err(|violation| what(format!("opened, {violation}")))?;
                "a read fails, opened"
            }
            Err(OpenError::Io { .. } | OpenError::Damaged { .. }) if has_struck => "a read fails, refused",
            Err(error) if is_too_far_behind(&error) => return Ok(()),
            Err(error) => return Err(what(error.to_string())),
        };
        if has_struck {
            self.tally.coverage.hit("recovery", outcome, self.fault);
            self.trace.line(format_args!("read {read} of side {side}: {outcome}"));
        }
        disks.heal();
        self.open_image(&disks.after_kill(), bounds).map_err(|violation| what(format!("then {violation}")))?;
        Ok(())
    }

    /// Opens `image` and says which entry is the last in it.
    fn open_image(&mut self, image: &Disks, bounds: Bounds) -> Checked<u64> {
        self.tally.images += 1;
        let options = self.options().accept_clock(true);
        let opened = match image.open(options.clone()) {
            Err(error) if is_too_far_behind(&error) => {
                let emptied = self.emptied(image, &error)?;
                emptied.open(options)
            }
            opened => opened,
        };
        let ledger = opened.map_err(|error| Violation::new("not opened", format!("{error}; {image}")))?;
        self.recovered(&ledger, bounds)
    }

    /// What a ledger that was just opened recovered: a prefix of what was decided, with all that was promised, whole
    /// transactions, whole batches, and every answer the model's. Says which entry is the last.
    pub(crate) fn recovered(&mut self, ledger: &Ledger, bounds: Bounds) -> Checked<u64> {
        let last = ledger.appended().get();
        if last < bounds.least {
            let why = format!("entries up to {} were promised, and {last} are there", bounds.least);
            return Err(Violation::new("acknowledged and lost", why));
        }
        if last > bounds.most {
            return Err(Violation::new("never submitted", format!("{last} entries, and {} were decided", bounds.most)));
        }
        if self.model.cuts_a_batch(last) {
            return Err(Violation::new("half a batch", format!("{last} entries end within an atomic batch")));
        }
        self.learn(ledger, last)?;
        let found = lines(ledger, &self.world).map_err(|error| error.to_string()).sees("recovered state")?;
        self.tally.recoveries += 1;
        match difference(self.expected(last, ledger.uuid(), ledger.now()), &found) {
            None => Ok(last),
            Some(difference) => Err(Violation::new("recovered state", difference)),
        }
    }

    /// What a ledger must say that recovered the entries up to `last`; kept, since many images of a moment are alike.
    fn expected(&mut self, last: u64, uuid: Uuid, now: Timestamp) -> &[Line] {
        let of = (last, uuid, now);
        if self.expected.as_ref().is_none_or(|expected| expected.of != of) {
            let lines = self.prefix(last, uuid).lines(&self.world, now);
            self.expected = Some(Expected { of, lines });
        }
        &self.expected.as_ref().expect("it was just made").lines
    }

    /// The model of the entries up to `last`, of the ledger `uuid`.
    pub(crate) fn prefix(&self, last: u64, uuid: Uuid) -> Model {
        let mut model = self.model.prefix(last);
        model.is_of(uuid);
        model
    }

    /// One bit, or one sector, of a disk that was synced whole rots: that is refused, or it makes no difference.
    pub(crate) fn damage(&mut self, disks: &Disks, last: u64) -> Checked {
        let [disk] = disks.sides() else {
            return self.damage_side(disks, Bounds { least: last, most: last }).map(drop);
        };
        let names = disk.names();
        let name = names[self.chance.below(names.len() as u64) as usize].clone();
        let written = disk.written(&name).unwrap_or(0);
        if written == 0 {
            return Ok(());
        }
        let offset = self.chance.below(written);
        if self.chance.below(4) == 0 {
            let sector = offset / 512 * 512;
            disk.overwrite(&name, sector, &[0; 512]);
        } else {
            disk.flip_bit(&name, offset, self.chance.below(8) as u8);
        }
        self.tally.images += 1;
        match disks.open(self.options().accept_clock(true)) {
            Err(OpenError::Damaged { .. } | OpenError::Unsupported { .. }) => self.tally.rot_refused += 1,
            Err(error) => return Err(Violation::new("damage", format!("{name}, byte {offset}: {error}"))),
            Ok(ledger) => {
                let exactly = Bounds { least: last, most: last };
                self.recovered(&ledger, exactly).map_err(|violation| {
                    Violation::new("damage", format!("{name}, byte {offset}, is opened: {violation}"))
                })?;
                self.tally.rot_harmless += 1;
            }
        }
        Ok(())
    }
}
