//! The two tables, and where this ledger loses. A cell has the median of all rounds; a ratio is the median of each round's
//! ratio to this ledger in that round.

use std::time::Duration;

use ledger_benches::latency::short;
use ledger_benches::machine;
use ledger_benches::pairs::Spread;

use crate::figures::{Cell, Figures};
use crate::measure::{BATCH, CALLERS, Scale};
use crate::stores::OURS;

/// A store and what it came to.
pub(crate) struct Store {
    pub(crate) name: &'static str,
    pub(crate) rounds: Vec<Figures>,
    /// Why it is left out.
    pub(crate) fault: Option<String>,
}

impl Store {
    pub(crate) fn new(name: &'static str) -> Store {
        Store { name, rounds: Vec::new(), fault: None }
    }

    fn median(&self, figure: impl Fn(&Figures) -> f64) -> f64 {
        Spread::of(self.rounds.iter().map(figure).collect()).median
    }

    /// The version that it said.
    fn title(&self) -> &str {
        &self.rounds[0].version
    }

    fn rate(&self, cell: CellOf) -> f64 {
        self.median(|figures| cell(figures).rate)
    }

    fn p99(&self, cell: CellOf) -> Duration {
        Duration::from_secs_f64(self.median(|figures| cell(figures).p99.as_secs_f64()))
    }

    /// Its rate by ours, round by round.
    fn ratio(&self, ours: &Store, cell: CellOf) -> f64 {
        let rounds = self.rounds.iter().zip(&ours.rounds);
        Spread::of(rounds.map(|(own, ours)| cell(own).rate / cell(ours).rate).collect()).median
    }

    /// Rate and ratio.
    fn shown(&self, ours: &Store, cell: CellOf) -> String {
        match self.name {
            OURS => rate(self.rate(cell)),
            _ => format!("{} ({})", rate(self.rate(cell)), ratio(self.ratio(ours, cell))),
        }
    }

    /// Whether many callers do better through the queue.
    fn gains_from_queue(&self) -> bool {
        self.has_queue() && self.rate(QUEUED) > self.rate(MANY)
    }

    /// Of many callers, whichever way is faster.
    fn best_of_many(&self) -> CellOf {
        if self.gains_from_queue() { QUEUED } else { MANY }
    }

    fn has_queue(&self) -> bool {
        self.rounds[0].queued.is_some()
    }

    fn is_durable(&self) -> bool {
        self.name != "dashmap"
    }

    /// Bytes a charge; of a file that had room for them, that it did not grow.
    fn disk(&self, figure: fn(&Figures) -> f64) -> String {
        match self.median(figure) {
            _ if !self.is_durable() => "none".to_owned(),
            bytes if bytes < GREW => "did not grow".to_owned(),
            bytes => format!("{bytes:.0} B"),
        }
    }

    /// What the disk took since the store was empty, by all charges since.
    fn disk_in_all(&self) -> String {
        if self.is_durable() { format!("{:.0} B", self.median(DISK_IN_ALL)) } else { "none".to_owned() }
    }

    /// As short as it can be told.
    fn disk_in_brief(&self) -> String {
        let grew = !self.is_durable() || self.median(DISK_BATCHED) >= GREW;
        if grew { self.disk(DISK_BATCHED) } else { format!("{} ‡", self.disk_in_all()) }
    }

    fn memory(&self) -> Option<f64> {
        self.rounds[0].memory.map(|_| self.median(|figures| figures.memory.unwrap_or_default()))
    }
}

/// Bytes a charge that no store can do with: a file that grew by less had room.
const GREW: f64 = 1.0;

type DiskOf = fn(&Figures) -> f64;

const DISK_ALONE: DiskOf = |figures| figures.disk_alone;
const DISK_BATCHED: DiskOf = |figures| figures.disk_batched;
const DISK_IN_ALL: DiskOf = |figures| figures.disk_in_all;

type CellOf = fn(&Figures) -> Cell;

const ONE: CellOf = |figures| figures.one;
const MANY: CellOf = |figures| figures.many;
/// Where there is no queue, the store shares syncs itself.
const QUEUED: CellOf = |figures| figures.queued.unwrap_or(figures.many);
const BATCHED: CellOf = |figures| figures.batched;

/// What is printed: the long table, where we lose, the short table.
pub(crate) fn markdown(stores: &[Store], scale: &Scale, load: &str) -> String {
    let measured: Vec<&Store> = stores.iter().filter(|store| store.fault.is_none()).collect();
    let Some(ours) = measured.iter().find(|store| store.name == OURS) else {
        return format!(
            "This ledger could not be measured: {:?}\n",
            stores.first().and_then(|store| store.fault.as_ref())
        );
    };
    let mut out = format!(
        "{} {load}. {} rounds of all stores in turn, {} s a cell; {} accounts drawn uniformly, each of which has a charge \
         already; keys of 24 bytes.\n\n",
        machine::describe(),
        scale.rounds,
        scale.seconds,
        scale.accounts,
    );
    out += &long(&measured, ours);
    for (store, fault) in stores.iter().filter_map(|store| Some((store, store.fault.as_ref()?))) {
        out += &format!("\nLeft out: {}: {fault}\n", store.name);
    }
    out + &losses(&measured, ours) + "\nThe same, short:\n\n" + &brief(&measured, ours)
}

fn long(stores: &[&Store], ours: &Store) -> String {
    let mut out = format!(
        "| store | one caller | p99 | {CALLERS} callers | p99 | {CALLERS} through a queue | p99 | batches of {BATCH} \
         | p99 of a batch | disk a charge, batched / alone | all of the disk, a charge | memory a charge |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
    );
    for store in stores {
        let queued = match store.has_queue() {
            true => format!("{} | {}", store.shown(ours, QUEUED), short(store.p99(QUEUED))),
            false => "– | –".to_owned(),
        };
        out += &format!(
            "| {} | {} | {} | {} | {} | {queued} | {} | {} | {} / {} | {} | {} |\n",
            store.title(),
            store.shown(ours, ONE),
            short(store.p99(ONE)),
            store.shown(ours, MANY),
            short(store.p99(MANY)),
            store.shown(ours, BATCHED),
            short(store.p99(BATCHED)),
            store.disk(DISK_BATCHED),
            store.disk(DISK_ALONE),
            store.disk_in_all(),
            store.memory().map_or("a cache".to_owned(), |bytes| format!("{bytes:.0} B")),
        );
    }
    out
}

fn brief(stores: &[&Store], ours: &Store) -> String {
    let mut out = format!(
        "| store | one caller | p99 | {CALLERS} callers | p99 | batches of {BATCH} | p99 of a batch | disk a charge \
         | memory a charge |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
    );
    for store in stores {
        let many = store.best_of_many();
        out += &format!(
            "| {} | {} | {} | {}{} | {} | {} | {} | {} | {} |\n",
            store.title(),
            store.shown(ours, ONE),
            short(store.p99(ONE)),
            store.shown(ours, many),
            if store.gains_from_queue() { " †" } else { "" },
            short(store.p99(many)),
            store.shown(ours, BATCHED),
            short(store.p99(BATCHED)),
            store.disk_in_brief(),
            store.memory().map_or("a cache".to_owned(), |bytes| format!("{bytes:.0} B")),
        );
    }
    out + "\n† Through a queue that the caller has to write: one thread takes what waits in it as one transaction. ‡ From \
           the empty store on: its file had room for the measured batches, and did not grow.\n"
}

/// Every figure in which another is better.
fn losses(stores: &[&Store], ours: &Store) -> String {
    let mut lost = Vec::new();
    for other in stores.iter().filter(|store| store.name != OURS) {
        let mut reasons = Vec::new();
        let queued = other.has_queue().then_some(("many callers through a queue", MANY, QUEUED));
        let calls = [("one caller", ONE, ONE), ("many callers", MANY, MANY), ("batches", BATCHED, BATCHED)];
        for (what, own, theirs) in calls.into_iter().chain(queued) {
            let factor = other.rate(theirs) / ours.rate(own);
            if factor > 1.0 {
                reasons.push(format!("{what} (× {factor:.2})"));
            }
            let (own, theirs) = (ours.p99(own), other.p99(theirs));
            if theirs < own {
                reasons.push(format!("p99 of {what} ({} against {})", short(theirs), short(own)));
            }
        }
        let sizes = [
            ("disk a charge in batches", DISK_BATCHED),
            ("disk a charge alone", DISK_ALONE),
            ("all of the disk, a charge", DISK_IN_ALL),
        ];
        for (what, figure) in sizes {
            if !other.is_durable() {
                reasons.push(format!("{what} (none against {})", ours.disk(figure)));
            } else if other.median(figure) < ours.median(figure) {
                reasons.push(format!("{what} ({} against {})", other.disk(figure), ours.disk(figure)));
            }
        }
        match (ours.memory(), other.memory()) {
            (Some(own), Some(theirs)) if theirs < own => {
                reasons.push(format!("memory a charge ({theirs:.0} against {own:.0} B)"));
            }
            (Some(own), None) => reasons.push(format!("memory a charge (a cache of a set size against {own:.0} B)")),
            _ => {}
        }
        if !reasons.is_empty() {
            lost.push(format!("- to {}: {}\n", other.title(), reasons.join(", ")));
        }
    }
    match lost.is_empty() {
        true => "\nWhere we lose: nowhere in this run.\n".to_owned(),
        false => format!("\nWhere we lose:\n\n{}", lost.concat()),
    }
}

/// Three digits and a unit.
fn rate(per_second: f64) -> String {
    match per_second {
        r if r >= 9.995e5 => format!("{:.2} M/s", r / 1e6),
        r if r >= 99_950.0 => format!("{:.0} k/s", r / 1e3),
        r if r >= 9_995.0 => format!("{:.1} k/s", r / 1e3),
        r => format!("{r:.0} /s"),
    }
}

/// Two digits that count.
fn ratio(share: f64) -> String {
    match share {
        r if r >= 9.95 => format!("{r:.0}"),
        r if r >= 0.995 => format!("{r:.1}"),
        r if r >= 0.0995 => format!("{r:.2}"),
        r => format!("{r:.3}"),
    }
}
