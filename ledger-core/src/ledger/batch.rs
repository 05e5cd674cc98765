//! Many independent commands with one wait.
//!
//! Independent commands are taken in windows: their keys are claimed with each lock of the keys taken once, then they
//! are executed, runs of single-account commands grouped by shard, and the keys are settled. Commands on one account
//! keep their order. A command that meets a claim, another's or its own batch's, ends the window before it: everything
//! earlier is concluded first, so no claim is held while waiting.

use std::hint::black_box;
use std::mem;

use smallvec::SmallVec;

use super::engine::{Engine, Fuse, Place, Plan, Prepared, Refusal, entry_bytes_max};
use super::grouped::Grouped;
use super::keys::{Keys, Settled};
use super::tables::LockedShards;
use super::transfers::{Touched, Transfers};
use crate::command::Command;
use crate::commit::Commit;
use crate::error::{Error, Halted, Rejection};
use crate::state::KnownSlots;
use crate::state::idempotency::Lookup;
use crate::state::plan::Movement;
use crate::state::shard::{FoundAhead, TOUCHED_TOGETHER, find_ahead};
use crate::types::{Seq, Timestamp, TransactionId, UserId};
use crate::view::Receipt;
use crate::wal::{Reservation, Stamp};

/// How many commands are claimed and executed together: enough that each lock of keys and each shard has several of them,
/// whose cache misses then overlap; few enough that another's command on the same key waits a millisecond or two.
const WINDOW: usize = 4_096;
/// So few commands are executed one after another: hardly two of them need one lock, so sorting them by their locks costs more
/// than it spares.
pub(crate) const FEW: usize = 32;
/// How many transfers of a class are executed with their shards locked once, at most.
const TRANSFERS: usize = 64;
/// The same of those that are in no class: they need two shards each.
const DEPENDENT: usize = 16;

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
    /// Executed.
    Done(TransactionId),
    /// Rejected; its claim is to be released.
    Refused,
}

impl Engine {
    /// Independent commands: each is accepted or rejected for itself.
    pub(crate) fn batch(&self, commands: &[Command<'_>]) -> Result<Commit<Vec<Result<Receipt, Rejection>>>, Error> {
        self.check_halted()?;
        let prepared: Vec<Prepared<'_, '_>> = commands.iter().map(|command| self.prepare(command)).collect();
        let mut results: Vec<Option<Result<Receipt, Rejection>>> = commands.iter().map(|_| None).collect();
        let mut seen = Seq::ZERO;
        let (mut start, mut no_room) = (0, None);
        while start < prepared.len() {
            // What comes after one that found no room finds none, so that what was refused for it is at the end: repeated,
            // the commands on each account are still in their order.
            let end = prepared.len().min(start + if no_room.is_some() { 1 } else { WINDOW });
            let results = &mut results[start..end];
            match self.window(&prepared[start..end], results, &mut seen, &mut no_room) {
                Ok(done) => start += done,
                // What came before is in the log and may yet be acknowledged or not: the whole batch is unknown,
                // unless nothing of it was appended.
                Err(mut halted) => {
                    halted.outcome_unknown |= seen > Seq::ZERO;
                    return Err(halted.into());
                }
            }
        }
        let results = results.into_iter().map(|result| result.expect("every window fills its results")).collect();
        Ok(self.commit(Ok(results), seen))
    }

    /// Executes as many of the first commands as their keys allow, and says how many; none if it only waited for a key. Where
    /// there is no room for one, `no_room` says why, for all that follow.
    fn window(
        &self,
        commands: &[Prepared<'_, '_>],
        results: &mut [Option<Result<Receipt, Rejection>>],
        seen: &mut Seq,
        no_room: &mut Option<Rejection>,
    ) -> Result<usize, Halted> {
        let bytes = commands.iter().map(|prepared| entry_bytes_max(prepared.command)).sum();
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
                return conclude_refused(refusal, &mut results[0], seen).map(|()| 1);
            }
            Err(Refusal::Rejected(..)) => {
                let half = commands.len() / 2;
                return self.window(&commands[..half], &mut results[..half], seen, no_room);
            }
        };
        if commands.len() <= self.few {
            self.one_after_another(commands, results, seen, room)?;
            return Ok(commands.len());
        }
        let order = Grouped::by(commands.len(), Keys::LOCKS, |index| Keys::index(commands[index].key_hash));
        let (mut steps, blocked) = self.claim_window(commands, &order);
        // Whatever happens from here, also a panic, the claims of this window end when this is dropped.
        let mut claims = WindowClaims { engine: self, commands, order: &order, steps: &mut steps };
        let executed = self.execute_window(&commands[..blocked], &mut claims, results, seen, &mut room);
        drop(claims);
        // Before anyone is told, who may ask for room, and before a key is waited for.
        drop(room);
        for (receipt, place) in executed? {
            self.announce(&receipt, Some(place));
        }
        if blocked == 0 {
            self.wait_for_key(&commands[0]);
        }
        for (index, step) in steps.iter().enumerate().take(blocked) {
            let refusal = match step {
                Step::Settled(settled) => self.repeat(&commands[index], *settled),
                Step::Full => Refusal::Rejected(Rejection::Overloaded, Seq::ZERO),
                _ => continue,
            };
            conclude_refused(refusal, &mut results[index], seen)?;
        }
        Ok(blocked)
    }

    /// Executes few commands, as if each had come alone.
    fn one_after_another(
        &self,
        commands: &[Prepared<'_, '_>],
        results: &mut [Option<Result<Receipt, Rejection>>],
        seen: &mut Seq,
        mut room: Reservation<'_>,
    ) -> Result<(), Halted> {
        let mut announced: SmallVec<[(Receipt, Place<'_>); 1]> = SmallVec::new();
        let mut outcome = Ok(());
        for (prepared, result) in commands.iter().zip(results) {
            outcome = match self.submit_admitted(prepared, &mut room) {
                Ok((receipt, place)) => {
                    *seen = (*seen).max(receipt.balance.seq);
                    *result = Some(Ok(receipt));
                    announced.extend(place.map(|place| (receipt, place)));
                    Ok(())
                }
                Err(refusal) => conclude_refused(refusal, result, seen),
            };
            if outcome.is_err() {
                break;
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
        for (lock, group) in order.groups() {
            self.tables.keys.with(lock, false, |keys| {
                let touched = group.iter().map(|&index| keys.touch(commands[index as usize].key_hash));
                black_box(touched.fold(0, |sum, slot| sum ^ slot));
                for &index in group {
                    let prepared = &commands[index as usize];
                    match keys.lookup(prepared.key_hash, prepared.key) {
                        Lookup::Free if !keys.has_room() => steps[index as usize] = Step::Full,
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

    /// Executes the commands whose keys are claimed. Returns the withdrawals that are to be announced.
    fn execute_window(
        &self,
        commands: &[Prepared<'_, '_>],
        claims: &mut WindowClaims<'_, '_, '_, '_>,
        results: &mut [Option<Result<Receipt, Rejection>>],
        seen: &mut Seq,
        room: &mut Reservation<'_>,
    ) -> Result<Vec<(Receipt, Place<'_>)>, Halted> {
        let (group, now, announced) = (Group::default(), self.now(), Vec::new());
        let mut run = Run { engine: self, commands, results, seen, room, group, now, announced };
        let mut start = 0;
        while start < commands.len() {
            let transfers = matches!(commands[start].command, Command::Transfer(_));
            let len = commands[start..]
                .iter()
                .take_while(|prepared| matches!(prepared.command, Command::Transfer(_)) == transfers)
                .count();
            if transfers {
                run.execute_transfers(start, len, claims.steps)?;
            } else {
                let viewer = |index: usize| Movement::of(commands[start + index].command).viewer();
                let shard = |index: usize| self.tables.shard_of(viewer(index));
                let order = Grouped::by(len, self.tables.shards.len(), shard);
                let groups: SmallVec<[&[u32]; 128]> = order.from(begins_at(commands)).collect();
                let shard_of = |group: &[u32]| SmallVec::from_slice(&[shard(group[0] as usize)]);
                run.execute_each(&groups, shard_of, start, claims.steps)?;
            }
            start += len;
        }
        Ok(run.announced)
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
    results: &'r mut [Option<Result<Receipt, Rejection>>],
    seen: &'r mut Seq,
    room: &'r mut Reservation<'w>,
    /// Empty between two groups.
    group: Group<'e>,
    now: Timestamp,
    announced: Vec<(Receipt, Place<'e>)>,
}

impl<'e> Run<'e, '_, '_, '_, '_> {
    /// Executes `count` transfers, from `start` on.
    fn execute_transfers(&mut self, start: usize, count: usize, steps: &mut [Step]) -> Result<(), Halted> {
        let (commands, tables) = (self.commands, &self.engine.tables);
        let users = |index: usize| match commands[start + index].command {
            Command::Transfer(transfer) => [transfer.from, transfer.to].map(|user| (user, transfer.currency)),
            _ => unreachable!("only transfers are sorted as such"),
        };
        let shards = |index: usize| users(index).map(|(user, _)| tables.shard_of(user));
        let touched = |index| Touched { accounts: users(index), shards: shards(index) };
        let transfers = Transfers::sorted(count, tables.shards.len(), touched);
        let shards_of = |indexes: &[u32]| indexes.iter().flat_map(|&index| shards(index as usize)).collect();
        let classes = transfers.independent(begins_at(commands));
        let groups: SmallVec<[&[u32]; 256]> = classes.flat_map(|class| class.chunks(TRANSFERS)).collect();
        self.execute_each(&groups, shards_of, start, steps)?;
        for indexes in transfers.dependent().chunks(DEPENDENT) {
            self.execute(tables.lock_soon(&shards_of(indexes)), start, indexes, steps)?;
        }
        Ok(())
    }

    /// Executes groups of commands that touch no common account, in any order: those whose shards another thread has come
    /// later. To wait for one would take longer than to execute a group.
    fn execute_each(
        &mut self,
        groups: &[&[u32]],
        shards_of: impl Fn(&[u32]) -> SmallVec<[usize; 2]>,
        start: usize,
        steps: &mut [Step],
    ) -> Result<(), Halted> {
        let tables = &self.engine.tables;
        let mut later: SmallVec<[&[u32]; 64]> = SmallVec::new();
        for group in groups {
            match tables.try_lock(shards_of(group)) {
                Some(locked) => self.execute(locked, start, group, steps)?,
                None => later.push(group),
            }
        }
        for group in later {
            self.execute(tables.lock_soon(&shards_of(group)), start, group, steps)?;
        }
        Ok(())
    }

    /// Executes the commands `indexes`, from `start` on, whose shards are locked.
    fn execute(
        &mut self,
        mut locked: LockedShards<'e>,
        start: usize,
        indexes: &[u32],
        steps: &mut [Step],
    ) -> Result<(), Halted> {
        let _fuse = Fuse(&self.engine.wal);
        for indexes in indexes.chunks(TOUCHED_TOGETHER) {
            let indexes = indexes.iter().map(|&index| start + index as usize);
            let found = self.find_ahead(&locked, indexes.clone());
            self.execute_locked(&mut locked, indexes, found, steps)?;
        }
        Ok(())
    }

    fn find_ahead(&self, locked: &LockedShards<'_>, indexes: impl Iterator<Item = usize>) -> FoundAhead {
        let mut accounts: SmallVec<[_; 2 * TOUCHED_TOGETHER]> = SmallVec::new();
        for index in indexes {
            let Movement { debit, credit, currency, .. } = Movement::of(self.commands[index].command);
            for user in [debit, credit].into_iter().flatten() {
                accounts.push((locked.get(self.engine.tables.shard_of(user)), user, currency));
            }
        }
        find_ahead(&accounts)
    }

    fn execute_locked(
        &mut self,
        locked: &mut LockedShards<'e>,
        indexes: impl Iterator<Item = usize>,
        found: FoundAhead,
        steps: &mut [Step],
    ) -> Result<(), Halted> {
        let mut group = mem::take(&mut self.group);
        let mut found = found.into_iter();
        for index in indexes {
            let movement = Movement::of(self.commands[index].command);
            let found = [movement.debit, movement.credit].map(|user| user.and_then(|_| found.next().flatten()));
            if !matches!(steps[index], Step::Claimed) {
                continue;
            }
            // What is decided about an account rests on all that came before.
            if group.touches_an_account_of(&movement, self.commands) {
                self.append_and_apply(locked, &mut group, steps)?;
            }
            match self.plan_one(locked, index, &movement, found, group.planned.len()) {
                Ok((plan, place)) => {
                    self.commands[index].encode(plan, &movement, self.now, &mut group.bytes);
                    group.push(index, &movement, plan, place);
                }
                Err(refusal) => {
                    steps[index] = Step::Refused;
                    conclude_refused(refusal, &mut self.results[index], self.seen)?;
                }
            }
        }
        self.append_and_apply(locked, &mut group, steps)?;
        self.group = group;
        Ok(())
    }

    #[inline]
    fn plan_one(
        &self,
        locked: &LockedShards<'_>,
        index: usize,
        movement: &Movement,
        found: KnownSlots,
        before: usize,
    ) -> Result<(Plan, Option<Place<'e>>), Refusal> {
        let prepared = &self.commands[index];
        let place = self.engine.check_before_plan(prepared.command, movement)?;
        Ok((self.engine.plan(locked, prepared, movement, found, self.now, before)?, place))
    }

    /// Appends the group's entries at once, so that the log is locked once for all of them, and applies them.
    fn append_and_apply(
        &mut self,
        locked: &mut LockedShards<'e>,
        group: &mut Group<'e>,
        steps: &mut [Step],
    ) -> Result<(), Halted> {
        if group.planned.is_empty() {
            return Ok(());
        }
        let engine = self.engine;
        engine.let_others_in_if_planted(locked);
        let first = engine.wal.append_together(self.room, self.now, &group.records())?;
        for (number, planned) in group.planned.iter_mut().enumerate() {
            let Planned { index, plan, place, end: _ } = planned;
            let prepared = &self.commands[*index];
            let movement = Movement::of(prepared.command);
            let stamp = Stamp { seq: Seq::new(first.seq.get() + number as u64), time: first.time };
            let receipt = engine.apply_planned(locked, prepared, *plan, &movement, self.now, stamp);
            steps[*index] = Step::Done(receipt.transaction_id);
            *self.seen = (*self.seen).max(stamp.seq);
            self.results[*index] = Some(Ok(receipt));
            self.announced.extend(place.take().map(|place| (receipt, place)));
        }
        group.clear();
        Ok(())
    }
}

/// Commands that are decided and not yet in the log: no two of them touch one account.
#[derive(Default)]
struct Group<'e> {
    planned: Vec<Planned<'e>>,
    /// Their entries, one behind the other.
    bytes: Vec<u8>,
    /// For each user whom they name, one bit of 256: most users whom they do not name are told by theirs.
    users: [u64; 4],
}

/// A command that is decided.
struct Planned<'e> {
    index: usize,
    plan: Plan,
    place: Option<Place<'e>>,
    /// Where its entry ends.
    end: usize,
}

impl<'e> Group<'e> {
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
            let earlier = Movement::of(commands[planned.index].command);
            let touched = [earlier.debit, earlier.credit];
            earlier.currency == movement.currency && users.iter().flatten().any(|user| touched.contains(&Some(*user)))
        })
    }

    /// Adds a command whose entry's bytes are the last that were appended.
    #[inline]
    fn push(&mut self, index: usize, movement: &Movement, plan: Plan, place: Option<Place<'e>>) {
        for user in [movement.debit, movement.credit].into_iter().flatten() {
            let (word, bit) = bit_of(user);
            self.users[word] |= bit;
        }
        self.planned.push(Planned { index, plan, place, end: self.bytes.len() });
    }

    fn clear(&mut self) {
        self.planned.clear();
        self.bytes.clear();
        self.users = [0; 4];
    }

    fn records(&self) -> SmallVec<[&[u8]; TOUCHED_TOGETHER]> {
        let mut start = 0;
        self.planned.iter().map(|planned| &self.bytes[mem::replace(&mut start, planned.end)..planned.end]).collect()
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

fn conclude_refused(
    refusal: Refusal,
    result: &mut Option<Result<Receipt, Rejection>>,
    seen: &mut Seq,
) -> Result<(), Halted> {
    match refusal {
        Refusal::Halted(halted) => Err(halted),
        Refusal::Rejected(rejection, saw) => {
            *seen = (*seen).max(saw);
            *result = Some(Err(rejection));
            Ok(())
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
        for (lock, group) in self.order.groups() {
            self.engine.tables.keys.with(lock, true, |keys| {
                // The window's other keys came in between.
                let touched = group.iter().map(|&index| keys.touch(self.commands[index as usize].key_hash));
                black_box(touched.fold(0, |sum, slot| sum ^ slot));
                for &index in group {
                    let prepared = &self.commands[index as usize];
                    match self.steps[index as usize] {
                        Step::Done(id) => {
                            keys.settle(prepared.key_hash, prepared.key, prepared.fingerprint.get() as u64, id);
                        }
                        Step::Claimed | Step::Refused => keys.release(prepared.key_hash),
                        Step::Settled(_) | Step::Full | Step::Unclaimed => {}
                    }
                }
            });
        }
    }
}
