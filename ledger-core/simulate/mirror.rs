//! A mirror's two sides: what becomes of them when one fails, what each has by itself, and what must follow when one is
//! damaged while nobody looks.
//!
//! The simulator knows what each side has, since it can open each alone. So it can say of every refusal whether its reason is
//! true, and of every opening whether it has all that a sound side had.

use ledger_core::sim::SimDisk;
use ledger_core::{Ledger, OpenError, Options};

use crate::disks::Disks;
use crate::images::Bounds;
use crate::promise::{Checked, Violation};
use crate::run::Run;

/// What one side gives by itself, on a machine that starts cold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Alone {
    Nothing,
    /// A ledger that ends with this entry.
    Sound(u64),
    Refused,
}

impl Alone {
    /// The last entry that it certainly has.
    fn last(self) -> Option<u64> {
        match self {
            Alone::Sound(last) => Some(last),
            Alone::Nothing | Alone::Refused => None,
        }
    }
}

/// What happens to one side while nobody looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Damage {
    /// A bit flips, in the page cache too.
    Bit,
    /// A bit flips on the device, and the page cache hides it.
    Rot,
    Sector,
    Unreadable,
    Missing,
    Emptied,
    /// The mark and the last segment cannot be read, so nothing says what was durable.
    Blind,
}

impl Damage {
    const ALL: [Damage; 7] =
        [Damage::Bit, Damage::Rot, Damage::Sector, Damage::Unreadable, Damage::Missing, Damage::Emptied, Damage::Blind];

    const fn mended(self) -> &'static str {
        match self {
            Damage::Bit => "a bit, mended",
            Damage::Rot => "rotten, mended",
            Damage::Sector => "a sector, mended",
            Damage::Unreadable => "unreadable, mended",
            Damage::Missing => "a file, mended",
            Damage::Emptied => "emptied, filled",
            Damage::Blind => "blind, mended",
        }
    }
}

/// Whether it was refused since one side ends before the other begins, so that nothing shows that one leads to the other.
pub(crate) fn is_too_far_behind(error: &OpenError) -> bool {
    matches!(error, OpenError::Damaged { reason, .. } if reason.contains("; empty it, and it is filled from there"))
}

/// The mark, and of the segments of a side the last one with more than a header and a link, and those after it.
fn that_tell_what_was_durable(disk: &SimDisk) -> Vec<String> {
    const BEGUN: u64 = 8_192;
    let mut telling: Vec<String> = disk.names().into_iter().filter(|name| name.ends_with(".segment")).collect();
    let last = telling.iter().rposition(|name| disk.written(name) > Some(BEGUN)).unwrap_or(0);
    telling.drain(..last);
    telling.push("durable.mark".to_owned());
    telling
}

impl Run {
    /// Opens the ledger, and empties a side before, if it is refused since that one is too far behind.
    pub(crate) fn open_disks(&mut self, options: Options) -> Result<Ledger, OpenError> {
        match self.disks.open(options.clone()) {
            Err(error) if is_too_far_behind(&error) => {
                self.disks = self.emptied(&self.disks.clone(), &error).map_err(|_| error)?;
                self.disks.open(options)
            }
            opened => opened,
        }
    }

    /// A side is said to be too far behind: that must be so, and an operator empties it.
    pub(crate) fn emptied(&mut self, disks: &Disks, error: &OpenError) -> Checked<Disks> {
        let lasts = self.both_alone(disks)?.map(Alone::last);
        let behind = match lasts {
            [Some(one), Some(two)] if one != two => usize::from(two < one),
            _ => return Err(Violation::new("mirror", format!("{lasts:?}, and it is refused: {error}"))),
        };
        self.tally.coverage.hit("mirror", "too far behind", self.fault);
        self.trace.line(format_args!("side {behind} is too far behind, and emptied"));
        Ok(disks.emptied(behind, self.chance.next()))
    }

    /// Only a mirror that may go on alone does, and only with a reason.
    pub(crate) fn may_be_degraded(&self) -> Checked {
        match self.ledger().degraded() {
            Some(reason) if !(self.disks.goes_on() && self.fault.may_halt()) => {
                Err(Violation::new("mirror", format!("{reason}, and nothing is wrong with it")))
            }
            _ => Ok(()),
        }
    }

    /// Counts what a life of a mirror came to; whether it ends with one side alone.
    pub(crate) fn count_mirror(&mut self) -> bool {
        let (is_degraded, has_halted) = (self.ledger().degraded().is_some(), self.ledger().halted().is_some());
        if self.disks.is_mirror() && self.struck.is_some() {
            let outcome = match (is_degraded, has_halted) {
                (true, false) => "goes on alone",
                (_, true) => "halts with a side",
                (false, false) => "not struck",
            };
            self.tally.coverage.hit("mirror", outcome, self.fault);
            self.trace.line(format_args!("mirror: {outcome}"));
        }
        is_degraded
    }

    /// What each side has by itself.
    fn both_alone(&mut self, disks: &Disks) -> Checked<[Alone; 2]> {
        let [one, two] = disks.sides() else { unreachable!("a mirror has two sides") };
        Ok([self.alone(one)?, self.alone(two)?])
    }

    fn alone(&mut self, side: &SimDisk) -> Checked<Alone> {
        let cold = side.cold();
        if cold.names().is_empty() {
            return Ok(Alone::Nothing);
        }
        self.tally.images += 1;
        match self.options().accept_clock(true).open_on(cold) {
            Ok(ledger) => Ok(Alone::Sound(ledger.appended().get())),
            Err(OpenError::Damaged { .. } | OpenError::Unsupported { .. }) => Ok(Alone::Refused),
            Err(OpenError::Io { source, .. })
                if source.raw_os_error() == Some(5) || source.kind() == std::io::ErrorKind::NotFound =>
            {
                Ok(Alone::Refused)
            }
            Err(error) => Err(Violation::new("not opened", format!("one side alone: {error}"))),
        }
    }

    /// Now and then: after an opening each side has all of it, on its device.
    pub(crate) fn sides_agree(&mut self, last: u64) -> Checked {
        if !self.disks.is_mirror() || self.chance.below(2) == 0 {
            return Ok(());
        }
        self.both_have(&self.disks.clone(), last)?;
        self.tally.coverage.hit("mirror", "agrees", self.last_fault);
        Ok(())
    }

    fn both_have(&mut self, disks: &Disks, last: u64) -> Checked {
        for (index, side) in disks.sides().iter().enumerate() {
            let what = |why: String| Violation::new("mirror", format!("after an opening, side {index} alone: {why}"));
            let opened = self.options().accept_clock(true).open_on(side.cold());
            let ledger = opened.map_err(|error| what(error.to_string()))?;
            self.tally.images += 1;
            self.recovered(&ledger, Bounds { least: last, most: last })
                .map_err(|violation| what(violation.to_string()))?;
        }
        Ok(())
    }

    /// One side is damaged before the next life begins, which sometimes begins with what was made of that.
    pub(crate) fn damage_between_lives(&mut self, bounds: Bounds) -> Checked {
        let disks = self.disks.after_kill();
        if let Some(mended) = self.damage_side(&disks, bounds)?
            && self.chance.below(2) == 0
        {
            self.disks = mended.after_kill();
            self.trace.line(format_args!("the next life begins with them"));
        }
        Ok(())
    }

    /// One side of `disks` is damaged. The opening must have all that a sound side had; or be refused, for a reason that is
    /// true. Gives what was mended.
    pub(crate) fn damage_side(&mut self, disks: &Disks, bounds: Bounds) -> Checked<Option<Disks>> {
        let before = self.both_alone(disks)?;
        let (side, damage) = (self.chance.below(2) as usize, self.chance.pick(&Damage::ALL));
        let telling = that_tell_what_was_durable(&disks.sides()[side]);
        let (disks, name) = self.damaged(disks, side, damage);
        let Some(name) = name else { return Ok(None) };
        let (mine, other) = (self.alone(&disks.sides()[side])?, before[1 - side]);
        let what = format!("{damage:?} of {name} on side {side}, of {before:?}, which is {mine:?} then");
        self.tally.images += 1;
        let opened = disks.open(self.options().accept_clock(true));
        let ledger = match opened {
            Ok(ledger) => ledger,
            Err(error) if is_too_far_behind(&error) => {
                self.emptied(&disks, &error)?;
                return Ok(None);
            }
            Err(error) => {
                let outcome = refusal(&error, (damage, &name), (before[side], mine), other)
                    .ok_or_else(|| Violation::new("mirror", format!("{what}: {error}")))?;
                self.tally.rot_refused += 1;
                self.tally.coverage.hit("side damaged", outcome, self.fault);
                self.trace.line(format_args!("{what}: {outcome}"));
                return Ok(None);
            }
        };
        let last = ledger.appended().get();
        let kept = mine.last().max(other.last()).unwrap_or(0);
        let most = before[side].last().max(Some(kept)).unwrap_or(bounds.most);
        if last < kept || last > most {
            return Err(Violation::new("mirror", format!("{what}: opened with {last} entries, not {kept}")));
        }
        // What the emptied side alone had, nobody can know of; and where the other side had been lost, the damage may be where the last
        // frames tell what was durable, of which the mark does not know yet.
        let is_lost = other.last() < Some(bounds.least);
        let is_gap = is_lost && (damage == Damage::Emptied || telling.contains(&name));
        let least = if is_gap { bounds.least.min(kept) } else { bounds.least };
        let last = self
            .recovered(&ledger, Bounds { least, ..bounds })
            .map_err(|violation| Violation::new("mirror", format!("{what}: opened, {violation}")))?;
        self.tally.rot_harmless += 1;
        self.tally.coverage.hit("side damaged", damage.mended(), self.fault);
        self.trace.line(format_args!("{what}: {}, with {last} entries", damage.mended()));
        if ledger.degraded().is_some() || last < bounds.least {
            return Ok(None);
        }
        drop(ledger);
        self.both_have(&disks, last).map_err(|violation| Violation::new("mirror", format!("{what}: {violation}")))?;
        Ok(Some(disks))
    }

    /// Does `damage` to one side of a copy of `disks`, and says to which file; `None`: there was none to damage.
    fn damaged(&mut self, disks: &Disks, side: usize, damage: Damage) -> (Disks, Option<String>) {
        let disks = disks.after_kill();
        if damage == Damage::Emptied {
            return (disks.emptied(side, self.chance.next()), Some("the directory".to_owned()));
        }
        let disk = &disks.sides()[side];
        let names = disk.names();
        if names.is_empty() {
            return (disks, None);
        }
        let name = names[self.chance.below(names.len() as u64) as usize].clone();
        let written = disk.written(&name).unwrap_or(0);
        let (offset, bit) = (self.chance.below(written.max(1)), self.chance.below(8) as u8);
        let sector = offset / 512 * 512;
        match damage {
            Damage::Missing => disk.erase(&name),
            Damage::Unreadable => disk.lose_sectors(&name, sector..sector + 512),
            Damage::Blind => {
                let last = names.iter().rfind(|name| name.ends_with(".segment"));
                if let Some(last) = last.filter(|_| names.iter().any(|name| name == "durable.mark")) {
                    disk.lose_sectors("durable.mark", 0..8192);
                    disk.lose_sectors(last, 4096..8192);
                    return (disks.clone(), Some(format!("durable.mark and {last}")));
                }
                return (disks, None);
            }
            _ if written == 0 => return (disks, None),
            Damage::Sector => disk.overwrite(&name, sector, &[0; 512]),
            Damage::Rot => disk.rot_bit(&name, offset, bit),
            _ => disk.flip_bit(&name, offset, bit),
        }
        (disks, Some(name))
    }
}

/// As what a refusal counts, if its reason is true.
fn refusal(
    error: &OpenError,
    (damage, name): (Damage, &str),
    (before, mine): (Alone, Alone),
    other: Alone,
) -> Option<&'static str> {
    let reason = error.to_string();
    let is_unreadable = matches!(damage, Damage::Unreadable | Damage::Blind);
    if reason.contains("it had been durable") {
        return (before.last() > other.last()).then_some("lacks, refused");
    }
    // Behind what a power cut tore there may be frames that are whole; where a segment is damaged, nothing tells that from the damage.
    if reason.contains("it has entries up to seq") {
        return (before.last() > other.last() || name.ends_with(".segment")).then_some("lacks, refused");
    }
    if reason.contains("what cannot be read there may be later") {
        return (is_unreadable || name.ends_with(".segment")).then_some("blind, refused");
    }
    // What the damaged side had the other one has not: whatever is said of it, opening would lose that.
    if before.last() > other.last() {
        return Some("lacks, refused");
    }
    // Nobody has it.
    (other.last().is_none() && mine.last().is_none()).then_some("both sides, refused")
}
