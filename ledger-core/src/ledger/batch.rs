//! Many independent commands with one wait.
//!
//! Independent commands are taken in windows: their keys are claimed with each lock of the keys taken once, then they
//! are executed, runs of single-account commands grouped by shard, and the keys are settled. Commands on one account
//! keep their order. A command that meets a claim, another's or its own batch's, ends the window before it: everything
//! earlier is concluded first, so no claim is held while waiting.

mod charges;
mod transfers;

use std::hint::black_box;
use std::mem;

use smallvec::SmallVec;

use super::engine::{Engine, Fuse, Place, Plan, Prepared, Refusal, balance};
use super::grouped::Grouped;
use super::keys::{Keys, Settled};
use super::tables::{LockedShards, ShardSet};
use super::transfers::{Touched, Transfers};
use crate::command::Command;
use crate::commit::Commit;
use crate::error::{Error, Halted, Rejection};
use crate::state::KnownSlots;
use crate::state::account::{PlainParts, Slot};
use crate::state::idempotency::Lookup;
use crate::state::plan::Movement;
use crate::state::shard::{FoundAhead, TOUCHED_TOGETHER, find_ahead};
use crate::state::slots::Start;
use crate::types::{Seq, Timestamp, TransactionId, UserId};
use crate::view::Receipt;
use crate::wal::{Bundle, Reservation, Stamp};

/// How many commands are claimed and executed together: enough that each lock of keys and each shard has several of them,
/// whose cache misses then overlap; few enough that another's command on the same key waits a millisecond or two.
const WINDOW: usize = 4_096;
/// So few commands are executed one after another: hardly two of them need one lock, so sorting them by their locks costs more
/// than it spares.
pub(crate) const FEW: usize = 32;
/// How many transfers of a class are executed with their shards locked once, at most.
const TRANSFERS: usize = 64;
/// The same of those that are in no class, or too few for several: they need two shards each.
const UNCLASSED: usize = 16;

/// One command of a window on its way.
enum Step {
    /// It comes after one that met a claim.
    Unclaimed,
    /// Its key is claimed by this batch.
    Claimed,
    /// Its key names an accepted command.
    Settled(Settled),
    /// There is no room for its key.
    Full,
    /// Executed as a plain movement.
    Plain(Plain),
    /// Executed: the transaction, and which of the window's receipts is its answer.
    Done(TransactionId, usize),
    /// Rejected; its claim is to be released.
    Refused(Rejection),
}

/// What came of a plain movement: all of its receipt that the command does not say.
#[derive(Clone, Copy)]
struct Plain {
    id: TransactionId,
    at: Timestamp,
    /// Of the viewer's account.
    parts: PlainParts,
}

impl Plain {
    fn receipt(self, movement: &Movement) -> Receipt {
        let Plain { id, at, parts } = self;
        let balance = balance(movement.viewer(), movement.currency, parts.into(), id.seq());
        Receipt { transaction_id: id, created_at: at, held_until: None, balance }
    }
}

/// The answers to a batch's commands, in their order.
type Answers = Vec<Result<Receipt, Rejection>>;

impl Engine {
    /// Independent commands: each is accepted or rejected for itself.
    pub(crate) fn batch(&self, commands: &[Command<'_>]) -> Result<Commit<Answers>, Error> {
        self.check_halted()?;
        let mut answers = Vec::with_capacity(commands.len());
        let mut prepared: Vec<Prepared<'_, '_>> = Vec::with_capacity(commands.len().min(WINDOW));
        let (mut seen, mut no_room) = (Seq::ZERO, None);
        for commands in commands.chunks(WINDOW) {
            prepared.clear();
            prepared.extend(commands.iter().map(|command| self.prepare(command)));
            let mut left = &prepared[..];
            while !left.is_empty() {
                // What comes after one that found no room finds none, so that what was refused for it is at the end: repeated,
                // the commands on each account are still in their order.
                let count = if no_room.is_some() { 1 } else { left.len() };
                match self.window(&left[..count], &mut answers, &mut seen, &mut no_room) {
                    Ok(done) => left = &left[done..],
                    // What came before is in the log and may yet be acknowledged or not: the whole batch is unknown,
                    // unless nothing of it was appended.
                    Err(mut halted) => {
                        halted.outcome_unknown |= seen > Seq::ZERO;
                        return Err(halted.into());
                    }
                }
            }
        }
        Ok(self.commit(Ok(answers), seen))
    }

    /// Executes and answers as many of the first commands as their keys allow, and says how many; none if it only waited for a
    /// key. Where there is no room for one, `no_room` says why, for all that follow.
    fn window(
        &self,
        commands: &[Prepared<'_, '_>],
        answers: &mut Answers,
        seen: &mut Seq,
        no_room: &mut Option<Rejection>,
    ) -> Result<usize, Halted> {
        let bytes = commands.iter().map(|prepared| prepared.entry_bytes_max()).sum();
        let admitted = match no_room {
            Some(rejection) => Err(Refusal::Rejected(rejection.clone(), Seq::ZERO)),
            None => self.admit(commands.len(), bytes),
        };
        let mut room = match admitted {
            Ok(room) => room,
            Err(Refusal::Halted(halted)) => return Err(halted),
            // In ever smaller windows, so that as many as fit are done, and repeats are told that they are.
            Err(Refusal::Rejected(rejection, _)) if commands.len() == 1 => {
                let refusal = self.settled(&commands[0]).unwrap_or_else(|| {
                    *no_room = Some(rejection.clone());
                    Refusal::Rejected(rejection, Seq::ZERO)
                });
                answers.push(Err(rejection_of(refusal, seen)?));
                return Ok(1);
            }
            Err(Refusal::Rejected(..)) => {
                return self.window(&commands[..commands.len() / 2], answers, seen, no_room);
            }
        };
        if commands.len() <= self.few {
            self.one_after_another(commands, answers, seen, room)?;
            return Ok(commands.len());
        }
        let order = Grouped::by(Keys::LOCKS, commands.iter().map(|prepared| Keys::index(prepared.key_hash)));
        let (mut steps, blocked) = self.claim_window(commands, &order);
        // Whatever happens from here, also a panic, the claims of this window end when this is dropped.
        let mut claims = WindowClaims { engine: self, commands, order: &order, steps: &mut steps };
        let executed = self.execute_window(&commands[..blocked], &mut claims, seen, &mut room);
        drop(claims);
        // Before anyone is told, who may ask for room, and before a key is waited for.
        drop(room);
        let Executed { receipts, announced } = executed?;
        for (receipt, place) in announced {
            self.announce(&receipt, Some(place));
        }
        if blocked == 0 {
            self.wait_for_key(&commands[0]);
        }
        for (prepared, step) in commands.iter().zip(steps).take(blocked) {
            answers.push(match step {
                Step::Plain(plain) => Ok(plain.receipt(&prepared.movement)),
                Step::Done(_, receipt) => Ok(receipts[receipt]),
                Step::Refused(rejection) => Err(rejection),
                Step::Settled(settled) => Err(rejection_of(self.repeat(prepared, settled), seen)?),
                Step::Full => Err(Rejection::Overloaded),
                Step::Claimed | Step::Unclaimed => unreachable!("a window executes what it claimed"),
            });
        }
        Ok(blocked)
    }

    /// Executes few commands, as if each had come alone.
    fn one_after_another(
        &self,
        commands: &[Prepared<'_, '_>],
        answers: &mut Answers,
        seen: &mut Seq,
        mut room: Reservation<'_>,
    ) -> Result<(), Halted> {
        let mut announced: SmallVec<[(Receipt, Place<'_>); 1]> = SmallVec::new();
        let mut outcome = Ok(());
        for prepared in commands {
            match self.submit_admitted(prepared, &mut room) {
                Ok((receipt, place)) => {
                    *seen = (*seen).max(receipt.balance.seq);
                    answers.push(Ok(receipt));
                    announced.extend(place.map(|place| (receipt, place)));
                }
                Err(refusal) => match rejection_of(refusal, seen) {
                    Ok(rejection) => answers.push(Err(rejection)),
                    Err(halted) => {
                        outcome = Err(halted);
                        break;
                    }
                },
            }
        }
        // Before anyone is told, who may ask for room.
        drop(room);
        for (receipt, place) in announced {
            self.announce(&receipt, Some(place));
        }
        outcome
    }

    /// Claims the keys of a window. Returns where each command stands, and how many come before the first that met a
    /// claim.
    fn claim_window(&self, commands: &[Prepared<'_, '_>], order: &Grouped) -> (Vec<Step>, usize) {
        let mut steps: Vec<Step> = commands.iter().map(|_| Step::Unclaimed).collect();
        let mut blocked = commands.len();
        // Where the searches for the keys of one lock begin.
        let mut starts: Vec<Start> = Vec::new();
        for (lock, group) in order.groups() {
            self.tables.keys.with(lock, false, |keys| {
                starts.clear();
                starts.extend(group.iter().map(|&index| keys.start(commands[index as usize].key_hash)));
                black_box(starts.iter().fold(0, |sum, &start| sum ^ keys.touch(start)));
                let has_room = keys.has_room_for(group.len());
                for (&index, &start) in group.iter().zip(&starts) {
                    let prepared = &commands[index as usize];
                    match keys.lookup_from(start, prepared.key_hash, prepared.key) {
                        Lookup::Free if !has_room && !keys.has_room_for(1) => steps[index as usize] = Step::Full,
                        Lookup::Free => {
                            keys.claim(prepared.key_hash);
                            steps[index as usize] = Step::Claimed;
                        }
                        Lookup::Settled { id, fingerprint } => {
                            steps[index as usize] = Step::Settled(Settled { id, fingerprint });
                        }
                        // The later ones of this lock come after this one anyway.
                        Lookup::Claimed => {
                            blocked = blocked.min(index as usize);
                            break;
                        }
                    }
                }
            });
        }
        (steps, blocked)
    }

    /// Executes the commands whose keys are claimed.
    fn execute_window(
        &self,
        commands: &[Prepared<'_, '_>],
        claims: &mut WindowClaims<'_, '_, '_, '_>,
        seen: &mut Seq,
        room: &mut Reservation<'_>,
    ) -> Result<Executed<'_>, Halted> {
        let (group, now, executed) = (Group::new(self.wal.bundle()), self.now(), Executed::default());
        let mut run = Run { engine: self, commands, steps: &mut [], seen, room, group, now, executed };
        let mut steps = &mut claims.steps[..commands.len()];
        for commands in commands.chunk_by(|one, next| one.is_transfer() == next.is_transfer()) {
            run.commands = commands;
            (run.steps, steps) = steps.split_at_mut(commands.len());
            if commands[0].is_transfer() {
                run.execute_transfers()?;
            } else {
                run.execute_others()?;
            }
        }
        Ok(run.executed)
    }

    /// Returns once no claim is on the command's key.
    fn wait_for_key(&self, prepared: &Prepared<'_, '_>) {
        self.tables.keys.settled(prepared.key_hash, prepared.key);
    }
}

/// A run of commands being executed.
struct Run<'e, 'r, 'c, 'a, 'w> {
    engine: &'e Engine,
    commands: &'r [Prepared<'c, 'a>],
    /// Where each of them stands.
    steps: &'r mut [Step],
    seen: &'r mut Seq,
    room: &'r mut Reservation<'w>,
    /// Empty between two groups.
    group: Group<'e>,
    now: Timestamp,
    executed: Executed<'e>,
}

/// What came of a window's commands, where their steps do not say it.
#[derive(Default)]
struct Executed<'e> {
    /// Of all that were no plain movements.
    receipts: Vec<Receipt>,
    /// The withdrawals that are to be announced.
    announced: Vec<(Receipt, Place<'e>)>,
}

impl<'e> Run<'e, '_, '_, '_, '_> {
    /// Executes transfers.
    fn execute_transfers(&mut self) -> Result<(), Halted> {
        let (commands, tables) = (self.commands, &self.engine.tables);
        let users = |index: usize| match commands[index].movement {
            Movement { debit: Some(from), credit: Some(to), currency, .. } => [from, to].map(|user| (user, currency)),
            _ => unreachable!("only transfers are sorted as such"),
        };
        let shards = |index: usize| users(index).map(|(user, _)| tables.shard_of(user));
        let touched = |index| Touched { accounts: users(index), shards: shards(index) };
        let transfers = Transfers::sorted(commands.len(), tables.shards.len(), touched);
        let shards_of = |indexes: &[u32]| indexes.iter().flat_map(|&index| shards(index as usize)).collect();
        let classes = transfers.independent(begins_at(commands));
        let together = if transfers.are_classed() { TRANSFERS } else { UNCLASSED };
        let groups: SmallVec<[&[u32]; 256]> = classes.flat_map(|class| class.chunks(together)).collect();
        self.execute_each(&groups, true, shards_of)?;
        for indexes in transfers.dependent().chunks(UNCLASSED) {
            self.execute(tables.lock_soon(shards_of(indexes)), indexes, false)?;
        }
        Ok(())
    }

    /// Executes commands that touch one account each.
    fn execute_others(&mut self) -> Result<(), Halted> {
        let (commands, tables) = (self.commands, &self.engine.tables);
        let shard = |prepared: &Prepared<'_, '_>| tables.shard_of(prepared.movement.viewer());
        let order = Grouped::by(tables.shards.len(), commands.iter().map(shard));
        let groups: SmallVec<[&[u32]; 128]> = order.from(begins_at(commands)).collect();
        self.execute_each(&groups, false, |group: &[u32]| [shard(&commands[group[0] as usize])].into_iter().collect())
    }

    /// Executes groups of commands that touch no common account, in any order: those whose shards another thread has come
    /// later. To wait for one would take longer than to execute a group. Those of one group touch no common account either, if they
    /// `are_apart`.
    fn execute_each(
        &mut self,
        groups: &[&[u32]],
        are_apart: bool,
        shards_of: impl Fn(&[u32]) -> ShardSet,
    ) -> Result<(), Halted> {
        let tables = &self.engine.tables;
        let mut later: SmallVec<[&[u32]; 64]> = SmallVec::new();
        for group in groups {
            match tables.try_lock(shards_of(group)) {
                Some(locked) => self.execute(locked, group, are_apart)?,
                None => later.push(group),
            }
        }
        for group in later {
            self.execute(tables.lock_soon(shards_of(group)), group, are_apart)?;
        }
        Ok(())
    }

    /// Executes the commands `indexes`, whose shards are locked; no two of them touch one account, if they `are_apart`.
    fn execute(&mut self, mut locked: LockedShards<'e>, indexes: &[u32], are_apart: bool) -> Result<(), Halted> {
        let _fuse = Fuse(&self.engine.wal);
        for indexes in indexes.chunks(TOUCHED_TOGETHER) {
            let indexes = self.claimed(indexes);
            match locked.sole() {
                Some(shard) if !self.commands[0].is_transfer() => {
                    let found = shard.find_ahead(indexes.iter().map(|&index| {
                        let movement = &self.commands[index].movement;
                        (movement.viewer(), movement.currency)
                    }));
                    if !self.execute_charges(&mut locked, &indexes, &found)? {
                        self.execute_locked(&mut locked, &indexes, &found)?;
                    }
                }
                _ => {
                    let found = self.find_ahead(&locked, &indexes);
                    if !(are_apart && self.execute_plain_transfers(&mut locked, &indexes, &found)?) {
                        self.execute_locked(&mut locked, &indexes, &found)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Those of the commands `indexes` whose keys are claimed.
    fn claimed(&self, indexes: &[u32]) -> SmallVec<[usize; TOUCHED_TOGETHER]> {
        let indexes = indexes.iter().map(|&index| index as usize);
        indexes.filter(|&index| matches!(self.steps[index], Step::Claimed)).collect()
    }

    fn find_ahead(&self, locked: &LockedShards<'_>, indexes: &[usize]) -> FoundAhead {
        let mut accounts: SmallVec<[_; 2 * TOUCHED_TOGETHER]> = SmallVec::new();
        for &index in indexes {
            let Movement { debit, credit, currency, .. } = self.commands[index].movement;
            for user in [debit, credit].into_iter().flatten() {
                accounts.push((locked.get(self.engine.tables.shard_of(user)), user, currency));
            }
        }
        find_ahead(&accounts)
    }

    fn execute_locked(
        &mut self,
        locked: &mut LockedShards<'e>,
        indexes: &[usize],
        found: &[Option<Slot>],
    ) -> Result<(), Halted> {
        let mut group = mem::take(&mut self.group);
        let mut found = found.iter().copied();
        for &index in indexes {
            let movement = &self.commands[index].movement;
            let found = [movement.debit, movement.credit].map(|user| user.and_then(|_| found.next().flatten()));
            // What is decided about an account rests on all that came before.
            if group.touches_an_account_of(movement, self.commands) {
                self.append_and_apply(locked, &mut group)?;
            }
            match self.plan_one(locked, index, found, group.planned.len()) {
                Ok((plan, place)) => {
                    self.commands[index].encode(plan, self.now, &mut group.bundle);
                    group.push(index, movement, plan, place);
                }
                Err(refusal) => self.steps[index] = Step::Refused(rejection_of(refusal, self.seen)?),
            }
        }
        self.append_and_apply(locked, &mut group)?;
        self.group = group;
        Ok(())
    }

    #[inline]
    fn plan_one(
        &self,
        locked: &LockedShards<'_>,
        index: usize,
        found: KnownSlots,
        before: usize,
    ) -> Result<(Plan, Option<Place<'e>>), Refusal> {
        let prepared = &self.commands[index];
        let place = self.engine.check_before_plan(prepared)?;
        Ok((self.engine.plan(locked, prepared, found, self.now, before)?, place))
    }

    /// Appends the group's entries at once, so that the log is locked once for all of them, and applies them.
    fn append_and_apply(&mut self, locked: &mut LockedShards<'e>, group: &mut Group<'e>) -> Result<(), Halted> {
        if group.planned.is_empty() {
            return Ok(());
        }
        let engine = self.engine;
        engine.let_others_in_if_planted(locked);
        let first = engine.wal.append_together(self.room, self.now, &group.bundle)?;
        for (number, planned) in group.planned.iter_mut().enumerate() {
            let Planned { index, plan, place } = planned;
            let prepared = &self.commands[*index];
            let stamp = Stamp { seq: Seq::new(first.seq.get() + number as u64), time: first.time };
            *self.seen = (*self.seen).max(stamp.seq);
            self.steps[*index] = match *plan {
                Plan::Plain(slots) => {
                    let Prepared { movement, key_hash, .. } = prepared;
                    let (id, parts) = engine.tables.apply_plain(locked, movement, slots, stamp, *key_hash);
                    Step::Plain(Plain { id, at: stamp.time, parts })
                }
                Plan::General(known) => {
                    let receipt = engine.apply(locked, &prepared.entry(self.now), known, stamp, prepared.key_hash);
                    self.executed.announced.extend(place.take().map(|place| (receipt, place)));
                    self.executed.receipts.push(receipt);
                    Step::Done(receipt.transaction_id, self.executed.receipts.len() - 1)
                }
            };
        }
        group.clear();
        Ok(())
    }
}

/// Commands that are decided and not yet in the log: no two of them touch one account.
#[derive(Default)]
struct Group<'e> {
    planned: Vec<Planned<'e>>,
    /// Their entries.
    bundle: Bundle,
    /// For each user whom they name, one bit of 256: most users whom they do not name are told by theirs.
    users: [u64; 4],
}

/// A command that is decided.
struct Planned<'e> {
    index: usize,
    plan: Plan,
    place: Option<Place<'e>>,
}

impl<'e> Group<'e> {
    fn new(bundle: Bundle) -> Group<'e> {
        Group { bundle, ..Group::default() }
    }

    /// Whether it has one of the `commands` that touches an account of this movement.
    fn touches_an_account_of(&self, movement: &Movement, commands: &[Prepared<'_, '_>]) -> bool {
        let users = [movement.debit, movement.credit];
        let is_named = |user: UserId| {
            let (word, bit) = bit_of(user);
            self.users[word] & bit != 0
        };
        if !users.into_iter().flatten().any(is_named) {
            return false;
        }
        self.planned.iter().any(|planned| {
            let earlier = &commands[planned.index].movement;
            let touched = [earlier.debit, earlier.credit];
            earlier.currency == movement.currency && users.iter().flatten().any(|user| touched.contains(&Some(*user)))
        })
    }

    /// Adds a command whose entry is the last in the bundle.
    #[inline]
    fn push(&mut self, index: usize, movement: &Movement, plan: Plan, place: Option<Place<'e>>) {
        for user in [movement.debit, movement.credit].into_iter().flatten() {
            let (word, bit) = bit_of(user);
            self.users[word] |= bit;
        }
        self.planned.push(Planned { index, plan, place });
    }

    fn clear(&mut self) {
        self.planned.clear();
        self.bundle.clear();
        self.users = [0; 4];
    }
}

/// A user's word of four, and the bit in it. Fibonacci hashing, by bits that the users of one shard do not share.
const fn bit_of(user: UserId) -> (usize, u64) {
    let mixed = user.get().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed >> 54) as usize & 3, 1 << (mixed >> 48 & 63))
}

/// With which of its locks a window begins: another thread's with another, most likely, and the same one whenever it is executed.
fn begins_at(commands: &[Prepared<'_, '_>]) -> u64 {
    commands.first().map_or(0, |prepared| prepared.fingerprint.get() as u64)
}

/// Why the command was rejected, unless the ledger has halted; `seen` rises to what that rests on.
fn rejection_of(refusal: Refusal, seen: &mut Seq) -> Result<Rejection, Halted> {
    match refusal {
        Refusal::Halted(halted) => Err(halted),
        Refusal::Rejected(rejection, saw) => {
            *seen = (*seen).max(saw);
            Ok(rejection)
        }
    }
}

/// Settles or releases every claim of a window when it is dropped.
struct WindowClaims<'e, 'w, 'c, 'a> {
    engine: &'e Engine,
    commands: &'w [Prepared<'c, 'a>],
    order: &'w Grouped,
    steps: &'w mut [Step],
}

impl Drop for WindowClaims<'_, '_, '_, '_> {
    fn drop(&mut self) {
        // A panic here would leave what was done without its key.
        let _fuse = Fuse(&self.engine.wal);
        // The hashes of one lock that this window claimed.
        let mut claimed: Vec<u64> = Vec::new();
        for (lock, group) in self.order.groups() {
            self.engine.tables.keys.with(lock, true, |keys| {
                // The window's other keys came in between.
                let touched = group.iter().map(|&index| keys.touch(keys.start(self.commands[index as usize].key_hash)));
                black_box(touched.fold(0, |sum, slot| sum ^ slot));
                claimed.clear();
                for &index in group {
                    let Prepared { key_hash, key, fingerprint, .. } = self.commands[index as usize];
                    match self.steps[index as usize] {
                        Step::Plain(Plain { id, .. }) | Step::Done(id, _) => {
                            keys.add(key_hash, key, fingerprint.get() as u64, id);
                        }
                        Step::Claimed | Step::Refused(_) => {}
                        Step::Settled(_) | Step::Full | Step::Unclaimed => continue,
                    }
                    claimed.push(key_hash);
                }
                keys.release_all(&claimed);
            });
        }
    }
}
