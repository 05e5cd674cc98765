//! A mirrored ledger: what is cut off while one side is filled, and sides that fail at once.

use std::sync::Arc;

use ledger_core::sim::{SimClock, SimDisk};
use ledger_core::{Ledger, MirroredStorage, OnSideFailure, OpenError, Storage};

use crate::model::Asked;
use crate::stage::{START, amount, answer, ask, options, user};

fn open_pair(clock: &SimClock, sides: [&SimDisk; 2]) -> Result<Ledger, OpenError> {
    let [primary, mirror] = sides.map(|side| Arc::new(side.clone()) as Arc<dyn Storage>);
    options(clock).open_on(MirroredStorage::open(primary, mirror, OnSideFailure::Halt)?)
}

fn charge(ledger: &Ledger, n: u64) {
    answer(ask(ledger, &Asked::charge(user(1 + n % 3), amount(10), format!("{n}")))).expect("accepted");
}

#[test]
fn a_mirror_whose_filling_is_cut_off_anywhere_is_filled_by_the_next_start() {
    let (disk, clock) = (SimDisk::new(1), SimClock::at(START));
    let ledger = options(&clock).open_on(disk.clone()).expect("an empty disk");
    for n in 0..6 {
        charge(&ledger, n);
        if n % 2 == 1 {
            ledger.checkpoint().expect("a disk that works");
        }
    }
    ledger.close().expect("a disk that works");
    for cut in 0.. {
        let (one, two) = (disk.after_kill(), SimDisk::new(5));
        two.crash_after(cut);
        if open_pair(&clock, [&one, &two]).is_ok() {
            assert!(cut > 20, "{cut}");
            break;
        }
        for two in [two.after_kill(), two.survivor(cut)] {
            open_pair(&clock, [&one.after_kill(), &two]).unwrap_or_else(|err| panic!("cut {cut}: {err}"));
        }
    }
}

#[test]
fn a_pair_starts_again_after_a_side_failed_anywhere_in_a_checkpoint() {
    let clock = SimClock::at(START);
    for cut in 0.. {
        let (one, two) = (SimDisk::new(1), SimDisk::new(2));
        let ledger = open_pair(&clock, [&one, &two]).expect("empty disks");
        (0..3).for_each(|n| charge(&ledger, n));
        two.crash_after(two.operations() + cut);
        let is_made = ledger.checkpoint().is_ok();
        drop(ledger);
        if is_made {
            assert!(cut > 5, "{cut}");
            break;
        }
        open_pair(&clock, [&one.after_kill(), &two.after_kill()]).unwrap_or_else(|err| panic!("cut {cut}: {err}"));
    }
}
