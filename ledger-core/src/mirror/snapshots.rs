//! The snapshots of a mirrored ledger: a file that one side has damaged or lost is copied from the other.
//!
//! An opening reads every file of them on both sides, from the device, since a page cache may hide what has rotted under it, and
//! both sides at once. What must hold: a file that is sound is never overwritten; what is copied is of this ledger and is the file that
//! the snapshot names; a snapshot counts only beside a log that is sound, of whose history it is; and nothing is changed before it
//! is known that the log leads on from a snapshot that both sides will have.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{io_error, is_snapshot};
use crate::checkpoint::SNAPSHOTS_KEPT;
use crate::error::OpenError;
use crate::journal::snapshot::names::{self, is_history};
use crate::journal::snapshot::rows::{HistoryFile, Meta};
use crate::journal::snapshot::{FileKind, FileReader};
use crate::recovery::open_snapshot;
use crate::sync::{Mutex, thread};
use crate::sys::{ReadFrom, Storage};
use crate::types::Seq;
use crate::wal::{self, Kept};

const OF_WHICH_HISTORY: &str = "nothing shows that it is of the history of the other side's log";

/// A file of which every byte was read and is right.
struct Sound {
    since: Seq,
    bytes: u64,
    digest: u128,
    /// A snapshot's own file.
    meta: Option<Meta>,
}

/// The files of one side. Those that it does not have are not among them.
type Files = BTreeMap<String, Result<Sound, OpenError>>;

/// What both sides have, and what is to be copied.
pub(super) struct Snapshots<'a> {
    sides: [&'a dyn Storage; 2],
    uuid: Uuid,
    files: [Files; 2],
    /// To which side.
    mends: BTreeSet<(usize, String)>,
    /// On which sides a file that is needed is neither right nor to be had from the other.
    lost: BTreeMap<String, [bool; 2]>,
    /// To be removed from a side whose log is gone or damaged.
    strays: Option<(usize, Vec<String>)>,
    /// The newest snapshots that both sides have in the end: the entries up to here, and the first that the log must have.
    whole: Vec<(Seq, Seq)>,
    are_there: bool,
}

impl<'a> Snapshots<'a> {
    /// Reads all files of the snapshots of the ledger that `kept` is the log of.
    ///
    /// # Errors
    /// The storage's; or a file is of a newer format.
    pub(super) fn look(sides: [&'a dyn Storage; 2], kept: &Kept, threads: bool) -> Result<Snapshots<'a>, OpenError> {
        let uuid = kept.uuid;
        let found = [Mutex::new(None), Mutex::new(None)];
        let read = |side: usize| *found[side].lock() = Some(read_all(sides[side], uuid));
        if threads {
            thread::scope(|scope| {
                drop(scope.spawn(|| read(1)));
                read(0);
            });
        } else {
            (0..2).for_each(read);
        }
        let [one, two] = found.map(|found| found.into_inner().expect("it was read"));
        let mut snapshots = Snapshots {
            sides,
            uuid,
            files: [one?, two?],
            mends: BTreeSet::new(),
            lost: BTreeMap::new(),
            strays: None,
            whole: Vec::new(),
            are_there: false,
        };
        snapshots.check_is_of_the_log(kept)?;
        if let Some(side) = kept.alone {
            snapshots.pass_over_strays(side);
        }
        snapshots.plan(kept.alone);
        Ok(snapshots)
    }

    /// Of a side whose log is gone or damaged nothing shows that its snapshots are of the history of the other's, which is `alone`:
    /// only those count that the other has, too. What lay there would be taken for the log's by the next start.
    fn pass_over_strays(&mut self, alone: usize) {
        let is_the_others = |name: &String, found: &Result<Sound, OpenError>| match (found, self.sound(alone, name)) {
            (Ok(found), Some(other)) => found.digest == other.digest,
            _ => false,
        };
        let strays: Vec<String> = self.files[1 - alone]
            .iter()
            .filter(|(name, found)| is_snapshot(name) && found.is_ok() && !is_the_others(name, found))
            .map(|(name, _)| name.clone())
            .collect();
        strays.iter().for_each(|name| drop(self.files[1 - alone].remove(name)));
        self.strays = Some((1 - alone, strays));
    }

    /// The newest two that are sound on one side or the other, file by file, are to be whole on both. Older ones are superfluous. Where
    /// the log of one side is `alone`, its snapshots are meant, and what they name.
    fn plan(&mut self, alone: Option<usize>) {
        let seqs: BTreeSet<Seq> =
            self.files.iter().flat_map(Files::keys).filter_map(|name| names::snapshot_seq(name)).collect();
        self.are_there = !seqs.is_empty();
        for seq in seqs.into_iter().rev() {
            if self.whole.len() == SNAPSHOTS_KEPT {
                return;
            }
            let name = names::snapshot(seq);
            let own = [0, 1].map(|side| self.sound(side, &name).and_then(|file| file.meta.as_ref()));
            let metas = match alone {
                None => [own[0].or(own[1]), own[1].or(own[0])],
                Some(side) => [own[side]; 2],
            };
            if let Some(side) = alone
                && own[side].is_none()
            {
                if self.files[side].contains_key(&name) {
                    self.lost.insert(name, [true; 2]);
                }
                continue;
            }
            let named = metas.map(|meta| meta.map_or_else(Vec::new, |meta| meta.histories.clone()));
            let first_needed = metas.iter().flatten().map(|meta| meta.seq.next().min(meta.anchor)).min();
            let mut is_whole = true;
            for (side, histories) in named.iter().enumerate() {
                for file in histories {
                    is_whole &= self.want(side, &names::history(file.seq, file.epoch), |found| is_named(found, file));
                }
                is_whole &= self.want(side, &name, |_| true);
            }
            if let (true, Some(first_needed)) = (is_whole, first_needed) {
                self.whole.push((seq, first_needed));
            }
        }
    }

    fn is_stray(&self, side: usize, name: &str) -> bool {
        self.strays.as_ref().is_some_and(|(of, names)| *of == side && names.iter().any(|stray| stray == name))
    }

    fn sound(&self, side: usize, name: &str) -> Option<&Sound> {
        self.files[side].get(name)?.as_ref().ok()
    }

    /// Whether `side` has the file, or is to have the other's.
    fn want(&mut self, side: usize, name: &str, is_it: impl Fn(&Sound) -> bool) -> bool {
        let own = self.sound(side, name);
        if own.is_some_and(&is_it) {
            return true;
        }
        let is_mended = own.is_none() && self.sound(1 - side, name).is_some_and(is_it);
        if is_mended {
            self.mends.insert((side, name.to_owned()));
        } else {
            self.lost.entry(name.to_owned()).or_default()[side] = true;
        }
        is_mended
    }

    /// Whether the log `kept` leads on from a snapshot, or needs none.
    ///
    /// # Errors
    /// What is wrong with the newest snapshot, on the sides where it is. Nothing was changed.
    pub(super) fn check(&self, kept: &Kept) -> Result<(), OpenError> {
        let newest = self.whole.first();
        let leads_on = newest.is_some_and(|(_, first_needed)| kept.first_seq <= *first_needed);
        if !self.are_there || kept.first_seq <= Seq::new(1) || leads_on {
            return Ok(());
        }
        // Those of the newest snapshot first.
        let lost = self.lost.iter().max_by_key(|(name, _)| names::snapshot_seq(name).or_else(|| seq_of(name)));
        match (lost, newest) {
            (Some((name, sides)), _) => Err(self.fault_of(name, *sides)),
            (None, Some((seq, _))) => {
                let reason = format!("it is of seq {seq}, and the log begins with seq {}", kept.first_seq);
                Err(damaged(names::snapshot(*seq), reason))
            }
            (None, None) => {
                let side = self.sides[kept.alone.unwrap_or(0)].describe();
                Err(damaged(side, format!("its log begins with seq {}, and it has no snapshot", kept.first_seq)))
            }
        }
    }

    /// A snapshot is made of entries that are durable, and named when they are: one that is newer than the log tells what the log has
    /// lost, whatever has become of its bytes.
    fn check_is_of_the_log(&self, kept: &Kept) -> Result<(), OpenError> {
        for (side, files) in self.files.iter().enumerate() {
            for (name, found) in files {
                let Some(seq) = names::snapshot_seq(name) else { continue };
                let meta = found.as_ref().ok().and_then(|found| found.meta.as_ref());
                let newest = meta.map_or(seq, |meta| meta.seq.max(meta.anchor));
                if newest > kept.last_seq {
                    let file = format!("{}/{name}", self.sides[side].describe());
                    let reason = format!(
                        "it is of seq {newest}, and the log of either side ends with {}: what came between is lost",
                        kept.last_seq
                    );
                    return Err(damaged(file, reason));
                }
            }
        }
        Ok(())
    }

    /// Copies what is to be copied; says what that was, and what cannot be mended. Durable when it returns.
    ///
    /// # Errors
    /// The storage's.
    pub(super) fn mend(self) -> Result<Vec<String>, OpenError> {
        let mut told = Vec::new();
        if let Some((side, names)) = &self.strays {
            let to = self.sides[*side];
            for name in names {
                to.remove(name).map_err(|source| io_error("removing", name, source))?;
                let file = format!("{}/{name}", to.describe());
                told.push(format!("{file} was removed: {OF_WHICH_HISTORY}"));
            }
            if !names.is_empty() {
                to.sync_directory().map_err(|source| io_error("syncing", &to.describe(), source))?;
            }
        }
        // Those that are named before the snapshots that name them.
        let (snapshots, histories): (Vec<_>, Vec<_>) = self.mends.iter().partition(|(_, name)| is_snapshot(name));
        for mends in [histories, snapshots] {
            for (side, name) in &mends {
                self.copy(*side, name)?;
                if !self.files[*side].is_empty() {
                    let (fault, from) = (self.fault(*side, name), self.sides[1 - side].describe());
                    told.push(format!("{}; copied from {from}", fault.place_and_reason()));
                }
            }
            for side in mends.iter().map(|(side, _)| *side).collect::<BTreeSet<_>>() {
                let side = self.sides[side];
                side.sync_directory().map_err(|source| io_error("syncing", &side.describe(), source))?;
            }
        }
        for side in (0..2).filter(|side| self.files[*side].is_empty()) {
            let files = self.mends.iter().filter(|(to, _)| *to == side).count();
            if files > 0 {
                let [to, from] = [side, 1 - side].map(|side| self.sides[side].describe());
                told.push(format!("{to}: {files} files of snapshots copied from {from}: there was none"));
            }
        }
        let unmended = |(name, sides): (&String, &[bool; 2])| {
            format!("{}; it cannot be mended", self.fault_of(name, *sides).place_and_reason())
        };
        told.extend(self.lost.iter().map(unmended));
        Ok(told)
    }

    /// Copies the file `name` to `side`. What is read of it now may be other bytes than before: the copy counts.
    fn copy(&self, side: usize, name: &str) -> Result<(), OpenError> {
        let (from, to) = (self.sides[1 - side], self.sides[side]);
        let sound = self.sound(1 - side, name).expect("it is sound on the other side");
        wal::copy_checked(from, to, name, || {
            let copy = FileReader::open(to, &names::temporary(name), kind(name), self.uuid, ReadFrom::Device)?;
            copy.verify()?;
            match (copy.bytes(), copy.digest()) == (sound.bytes, sound.digest) {
                true => Ok(()),
                false => Err(copy.damaged(0, "it is not what was read before")),
            }
        })
    }

    /// Why the file is not relied on, on those sides where it is not.
    fn fault_of(&self, name: &str, sides: [bool; 2]) -> OpenError {
        match sides {
            [true, false] => self.fault(0, name),
            [false, true] => self.fault(1, name),
            _ => self.fault(0, name).with_the_mirrors(&self.fault(1, name)),
        }
    }

    /// Why the file is not relied on.
    fn fault(&self, side: usize, name: &str) -> OpenError {
        let file = || format!("{}/{name}", self.sides[side].describe());
        match self.files[side].get(name) {
            Some(Err(OpenError::Damaged { offset, reason, .. })) => {
                OpenError::Damaged { file: file(), offset: *offset, seq: None, reason: reason.clone() }
            }
            Some(Err(fault)) => damaged(file(), fault.to_string()),
            Some(Ok(_)) => damaged(file(), "it is not the file that the snapshot names".to_owned()),
            None if self.is_stray(side, name) => damaged(file(), OF_WHICH_HISTORY.to_owned()),
            None => damaged(file(), "it is missing".to_owned()),
        }
    }
}

fn damaged(file: String, reason: String) -> OpenError {
    OpenError::Damaged { file, offset: 0, seq: None, reason }
}

fn kind(name: &str) -> FileKind {
    if is_snapshot(name) { FileKind::Snapshot } else { FileKind::History }
}

/// Whether it is the file that a snapshot names.
fn is_named(found: &Sound, file: &HistoryFile) -> bool {
    (found.since, found.bytes, found.digest) == (file.since, file.bytes, file.digest)
}

/// The seq with which a history file ends.
fn seq_of(name: &str) -> Option<Seq> {
    Some(Seq::new(u64::from_str_radix(name.split_once('-')?.0, 16).ok()?))
}

fn read_all(side: &dyn Storage, uuid: Uuid) -> Result<Files, OpenError> {
    let mut files = Files::new();
    for name in side.list().map_err(|source| io_error("listing", &side.describe(), source))? {
        if is_snapshot(&name) || is_history(&name) {
            match read(side, &name, uuid) {
                Err(fault) if !fault.is_damage() => return Err(fault),
                read => _ = files.insert(name, read),
            }
        }
    }
    Ok(files)
}

/// Reads and checks every byte of a file.
fn read(side: &dyn Storage, name: &str, uuid: Uuid) -> Result<Sound, OpenError> {
    let (file, meta) = match names::snapshot_seq(name) {
        Some(seq) => open_snapshot(side, uuid, seq, ReadFrom::Device).map(|(file, meta)| (file, Some(meta)))?,
        None => (FileReader::open(side, name, FileKind::History, uuid, ReadFrom::Device)?, None),
    };
    file.verify()?;
    Ok(Sound { since: file.header().since, bytes: file.bytes(), digest: file.digest(), meta })
}
