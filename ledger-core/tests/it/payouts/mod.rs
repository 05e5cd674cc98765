//! One withdrawal, exhaustively: everything that a bank, an operator and an owner can do, in every order up to a depth,
//! with the power cut between any two of them and at every operation of the disk, and the ledger opened again.
//!
//! The bank keeps a book of its own. Whatever happens: it pays a reference at most once, the ledger releases nothing of
//! which it was not told that it was not paid, an end that was acknowledged is for good, every withdrawal ends or is in
//! review with its evidence, all sums are zero, a replay is what lived; and once the bank has sent word of how it was, both
//! books agree, or a discrepancy says why not.
//!
//! A script is a sequence of turns. Every script that comes up is run; the disk is photographed at each operation of its
//! last turn (those of earlier turns are the last ones of shorter scripts), and each photograph, as well as what a power
//! cut leaves after the turn, is opened, taken on by one more turn and brought to rest with an honest bank. Of
//! the images some are cut again at each operation of their recovery. After each script the ledger is also restored from copies
//! of before it and of after each turn but the last, and doubted.
//!
//! `LEDGER_PAYOUT_DEPTH` (default 3) is the longest script; `LEDGER_PAYOUT_SEEDS` (default 1) how many power cuts are tried
//! where one is; `LEDGER_PAYOUT_TURNS` (default 1) how many of the turns are tried after each reopening, 31 being all.

mod bank;
mod race;
mod world;

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use ledger_core::Substatus;
use ledger_core::sim::{PlantedBug, SimDisk};
use ledger_core::withdrawals::{Reservation, ReturnCredit, Withdrawal};

use world::{AMOUNT, Checked, FUNDS, Kind, Turn, World, place, told};

/// How much was looked at.
#[derive(Debug, Default)]
struct Seen {
    scripts: u64,
    images: u64,
    recoveries_cut: u64,
    /// (where the withdrawal was, what happened): how often.
    cells: BTreeMap<(Substatus, String), u64>,
}

/// How far to look.
#[derive(Clone, Copy, Debug)]
struct Reach {
    depth: usize,
    seeds: u64,
    turns: usize,
}

impl Reach {
    fn from_environment() -> Reach {
        let number = |name: &str, otherwise: u64| {
            std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
        };
        Reach {
            depth: number("LEDGER_PAYOUT_DEPTH", 3) as usize,
            seeds: number("LEDGER_PAYOUT_SEEDS", 1),
            turns: number("LEDGER_PAYOUT_TURNS", 1) as usize,
        }
    }
}

/// Runs every script; the first failure, with its script.
fn explore(kind: Kind, reach: Reach, seen: &mut Seen) -> Checked {
    reserve(kind, reach, seen).map_err(|why| format!("{kind:?}, while it is reserved: {why}"))?;
    let mut scripts: Vec<Vec<Turn>> = Turn::all().into_iter().rev().map(|turn| vec![turn]).collect();
    while let Some(script) = scripts.pop() {
        let goes_on = run(kind, reach, &script, seen).map_err(|why| format!("{kind:?}, {script:?}: {why}"))?;
        if goes_on && script.len() < reach.depth {
            scripts.extend(Turn::all().into_iter().rev().map(|turn| [&script[..], &[turn]].concat()));
        }
    }
    Ok(())
}

/// The power fails while the withdrawal is being reserved.
fn reserve(kind: Kind, reach: Reach, seen: &mut Seen) -> Checked {
    for seed in 0..reach.seeds {
        let world = World::new(kind, Some(seed))?;
        for disk in world.disk.photographs() {
            take_on(&world, disk, reach, seen)?;
        }
    }
    Ok(())
}

/// Runs a script and cuts the power in and after its last turn. `false`: it does not come up, or leads nowhere new.
fn run(kind: Kind, reach: Reach, script: &[Turn], seen: &mut Seen) -> Checked<bool> {
    let mut goes_on = false;
    for seed in 0..reach.seeds {
        let mut world = World::new(kind, None)?;
        let mut copies = vec![world.disk.after_kill()];
        let (last, earlier) = script.split_last().expect("a script has a turn");
        for turn in earlier {
            world.take(*turn)?;
            copies.push(world.disk.after_kill());
        }
        let before = (world.withdrawal()?, format!("{:?}", world.bank));
        let earlier = world.snapshot();
        // What a try does to the disk, its two halves do in scripts of their own.
        if !matches!(last, Turn::Try(_)) {
            world.photograph(seed);
        }
        if !world.take(*last)? {
            return Ok(false);
        }
        // Before anything is asked: an answer waits until what it rests on is durable.
        let (photographs, cut) = (world.disk.photographs(), world.disk.survivor(seed ^ 0x5eed));
        let after = (world.withdrawal()?, format!("{:?}", world.bank));
        goes_on = before != after || *last == Turn::Oversleep;
        *seen.cells.entry((place(before.0.as_ref()), format!("{last:?}"))).or_default() += 1;
        seen.scripts += 1;
        for disk in photographs {
            // An attempt's entry is synced before the bank hears of it; everything else is heard first.
            let then = world.as_of(&earlier, matches!(last, Turn::Start(_)));
            take_on_from(&world, then, disk, reach, seen)?;
        }
        take_on(&world, cut, reach, seen)?;
        for (turns, copy) in copies.into_iter().enumerate() {
            let context = |why| format!("restored from a copy of after {turns} turns: {why}");
            judge(world.restored(copy).map_err(context)?).map_err(context)?;
        }
        judge(world)?;
    }
    Ok(goes_on)
}

/// Opens what a cut left, and goes on from there.
fn take_on(world: &World, disk: SimDisk, reach: Reach, seen: &mut Seen) -> Checked {
    take_on_from(world, world.snapshot(), disk, reach, seen)
}

fn take_on_from(world: &World, then: world::Snapshot, disk: SimDisk, reach: Reach, seen: &mut Seen) -> Checked {
    seen.images += 1;
    let image = seen.images;
    let downtime = if image.is_multiple_of(2) { Duration::ZERO } else { Duration::from_secs(70) };
    if image.is_multiple_of(151) {
        cut_recoveries(world, &then, &disk, downtime, seen)?;
    }
    judge(world.reopened(&then, disk.after_kill(), downtime)?)?;
    let turns = Turn::all();
    for n in 0..reach.turns.min(turns.len()) {
        let turn = turns[(image as usize + n) % turns.len()];
        let context = |why| format!("image {image}, opened, then {turn:?}: {why}");
        let mut world = world.reopened(&then, disk.after_kill(), downtime).map_err(context)?;
        world.note_end().map_err(context)?;
        let from = place(world.withdrawal().map_err(context)?.as_ref());
        if world.take(turn).map_err(context)? {
            *seen.cells.entry((from, format!("{turn:?}"))).or_default() += 1;
        }
        judge(world).map_err(context)?;
    }
    Ok(())
}

/// Cuts the power again at each operation of a recovery.
fn cut_recoveries(
    world: &World,
    then: &world::Snapshot,
    disk: &SimDisk,
    downtime: Duration,
    seen: &mut Seen,
) -> Checked {
    let whole = disk.after_kill();
    let opened = world.reopened(then, whole.clone(), downtime)?;
    drop(opened);
    for operation in 0..whole.operations() {
        let cut = disk.after_kill();
        cut.crash_after(operation);
        // It is opened or not, depending on how much was left to do.
        drop(world.reopened(then, cut.clone(), downtime));
        seen.recoveries_cut += 1;
        judge(world.reopened(then, cut.survivor(operation), downtime)?)?;
    }
    Ok(())
}

/// Brings a withdrawal to rest and says what is wrong with it.
fn judge(mut world: World) -> Checked {
    world.note_end()?;
    world.come_to_rest()?;
    let Some(rests) = world.withdrawal()? else {
        return if world.bank.submissions == 0 { Ok(()) } else { Err("the bank has it, and the log does not".into()) };
    };
    if rests.attempts < world.bank.submissions && !world.is_restored {
        return Err(format!("the bank saw {} attempts, and the log {}", world.bank.submissions, rests.attempts));
    }
    if rests.substatus.is_open() && rests.substatus != Substatus::NeedsReview {
        return Err(format!("it rests as {}", rests.substatus));
    }
    justify(&world, &rests)?;
    sums_fit(&world, &rests)?;
    world.hear_the_truth()?;
    if world.bank.payments > 1 {
        return Err(format!("the bank paid {} times", world.bank.payments));
    }
    let told = world.withdrawal()?.ok_or("it is gone")?;
    sums_fit(&world, &told)?;
    books_agree(&world, &told)?;
    let figures = world.ledger().withdrawal_figures();
    let replayed = world.reopened(&world.snapshot(), world.disk.after_kill(), Duration::ZERO)?;
    if replayed.withdrawal()?.as_ref() != Some(&told) || replayed.ledger().withdrawal_figures() != figures {
        return Err(format!("a replay makes {:?} of {told:?}", replayed.withdrawal()?));
    }
    sums_fit(&replayed, &told)
}

/// It ended as it did because somebody said so; and if nobody said anything that was not so, it is so.
fn justify(world: &World, rests: &Withdrawal) -> Checked {
    let (paid, failed) = told(rests);
    let is_honest = !world.bank.has_lied && !world.overruled;
    let will_have_paid = world.bank.will_have_paid();
    match rests.substatus.reservation() {
        Reservation::Paid if !paid => Err("it is completed without evidence".into()),
        Reservation::Paid if is_honest && !will_have_paid => Err("it is completed, and the bank did not pay".into()),
        Reservation::Released if rests.substatus == Substatus::Cancelled && world.bank.submissions > 0 => {
            Err("it is cancelled, and the bank has it".into())
        }
        Reservation::Released if rests.substatus == Substatus::Failed && !failed => {
            Err("it is released on a doubt".into())
        }
        Reservation::Released if is_honest && will_have_paid => Err("it is released, and the bank paid".into()),
        Reservation::Stands => {
            let dossier = rests.dossier();
            let has_evidence = rests.attempts > 0 || !dossier.answers.is_empty() || !dossier.notices.is_empty();
            if has_evidence { Ok(()) } else { Err("it is in review without evidence".into()) }
        }
        _ => Ok(()),
    }
}

/// Every amount is where the withdrawal's own record says that it is.
fn sums_fit(world: &World, withdrawal: &Withdrawal) -> Checked {
    let (funds, amount) = (i128::from(FUNDS), i128::from(AMOUNT));
    let returned = withdrawal.dossier().returned.as_ref().map(|returned| returned.credit);
    let has_left = withdrawal.substatus.reservation() == Reservation::Paid && returned != Some(ReturnCredit::User);
    let total = funds - if has_left { amount } else { 0 };
    let reserved = if withdrawal.substatus.is_open() { amount } else { 0 };
    let late = if withdrawal.is_paid_late() { -amount } else { 0 };
    let suspense = late + if returned == Some(ReturnCredit::Suspense) { amount } else { 0 };
    let expected = (total, reserved, -total - suspense, suspense);
    let found = world.sums()?;
    if found == expected { Ok(()) } else { Err(format!("the sums of {withdrawal:?} are {found:?}, not {expected:?}")) }
}

/// What left the ledger is what the bank paid, or a discrepancy says that somebody said otherwise.
fn books_agree(world: &World, withdrawal: &Withdrawal) -> Checked {
    let (_, _, external, _) = world.sums()?;
    let paid = i128::from(world.bank.payments) - i128::from(world.bank.came_back);
    if external == i128::from(AMOUNT) * paid - i128::from(FUNDS) {
        return Ok(());
    }
    let dossier = withdrawal.dossier();
    // That it came back ends all talk of it.
    let was_misled = world.bank.has_lied || world.overruled;
    let is_known = !dossier.discrepancies.is_empty() || dossier.returned.is_some();
    if was_misled && is_known {
        return Ok(());
    }
    Err(format!("the bank paid {paid}, and {external} is outside: {withdrawal:?}"))
}

const RECOGNISES: Kind = Kind { recognises: true, planted: None };
const FORGETS: Kind = Kind { recognises: false, planted: None };

#[test]
fn nobody_is_paid_twice_and_nothing_is_lost_whatever_happens_to_a_withdrawal() {
    let explored = |kind| {
        let mut seen = Seen::default();
        match explore(kind, Reach::from_environment(), &mut seen) {
            Ok(()) => seen,
            Err(why) => panic!("{why}\nafter {seen:#?}"),
        }
    };
    let (mut seen, other) = thread::scope(|scope| {
        let forgetful = scope.spawn(|| explored(FORGETS));
        (explored(RECOGNISES), forgetful.join().expect("the other kind of bank"))
    });
    seen.cells.extend(other.cells);
    let missed = missed(&seen);
    assert!(missed.is_empty(), "never seen: {missed:?}");
}

/// The (state × event) cells that were not hit.
fn missed(seen: &Seen) -> Vec<(Substatus, Turn)> {
    let mut missed = Vec::new();
    for substatus in Substatus::ALL {
        for turn in Turn::all() {
            let comes_up = match turn {
                Turn::Try(_) | Turn::Start(_) => matches!(substatus, Substatus::Reserved | Substatus::Unknown),
                // Only while an attempt's outcome is on its way; what was said meanwhile may have ended it.
                Turn::End => matches!(substatus, Substatus::Submitting | Substatus::Completed | Substatus::Returned),
                Turn::Oversleep | Turn::Doubt => substatus != Substatus::Submitting,
                _ => true,
            };
            if comes_up && !seen.cells.contains_key(&(substatus, format!("{turn:?}"))) {
                missed.push((substatus, turn));
            }
        }
    }
    missed
}

#[test]
fn every_planted_bug_is_caught() {
    let bugs = [
        PlantedBug::RefundOnTimeout,
        PlantedBug::AttemptNotLogged,
        PlantedBug::DoubleResolve,
        PlantedBug::ReleaseInDoubt,
        PlantedBug::SuspenseDropped,
    ];
    for bug in bugs {
        let reach = Reach { depth: 3, seeds: 1, turns: 1 };
        let caught = [true, false]
            .into_iter()
            .find_map(|recognises| explore(Kind { recognises, planted: Some(bug) }, reach, &mut Seen::default()).err());
        assert!(caught.is_some(), "{bug} is not caught");
    }
}
