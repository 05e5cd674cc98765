//! How a store is measured: filled with one charge for each account, then by one caller, by many, by many through a queue,
//! and in batches, for so many seconds each, on accounts drawn uniformly.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use ledger_benches::latency::Latencies;
use ledger_benches::place;
use ledger_benches::workload::{Key, Keys, Random};

use crate::contract;
use crate::figures::{Cell, Figures};
use crate::peer::{Charge, Open, Outcome, Peer, Session};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) accounts: u64,
    pub(crate) seconds: f64,
    pub(crate) rounds: usize,
}

/// How many callers are many.
pub(crate) const CALLERS: usize = 64;
/// How many charges are a batch, and at most go through the queue at once.
pub(crate) const BATCH: usize = 1_000;
/// Enough for a figure, and little enough to be held in memory by the stores that hold everything.
const MOST: u64 = 2_000_000;

impl Scale {
    /// Ten minutes.
    pub(crate) fn usual() -> Scale {
        Scale { accounts: 1_000_000, seconds: 3.0, rounds: 3 }
    }

    /// That it runs.
    pub(crate) fn quick() -> Scale {
        Scale { accounts: 10_000, seconds: 0.2, rounds: 1 }
    }

    /// A charge of one of the accounts.
    fn charge(&self, random: &mut Random, key: Key) -> Charge {
        Charge::new(random.below(self.accounts) + 1, 100, key)
    }

    /// Whether one of so many callers goes on.
    fn goes_on(&self, begin: Instant, done: u64, callers: usize) -> bool {
        done < MOST / callers as u64 && begin.elapsed().as_secs_f64() < self.seconds
    }
}

/// Measures a store in a directory of its own.
pub(crate) fn measure(open: Open, scale: &Scale) -> Outcome<Figures> {
    let directory = place::directory();
    let peer = open(directory.path())?;
    contract::keeps_it(&*peer)?;
    let empty = peer.disk_bytes()?;
    fill(&*peer, scale)?;
    let (memory, disk) = (peer.memory_bytes()?, peer.disk_bytes()?);
    let (one, alone) = singly(&*peer, 1, scale)?;
    let disk_alone = peer.disk_bytes()?.saturating_sub(disk) as f64 / alone as f64;
    let (many, by_many) = singly(&*peer, CALLERS, scale)?;
    let (queued, by_queue) = match peer.shares_syncs() {
        true => (None, 0),
        false => queued(&*peer, scale).map(|(cell, count)| (Some(cell), count))?,
    };
    let disk = peer.disk_bytes()?;
    let (batched, in_batches) = batched(&*peer, scale)?;
    let disk_at_end = peer.disk_bytes()?;
    let disk_batched = disk_at_end.saturating_sub(disk) as f64 / in_batches as f64;
    let count = alone + by_many + by_queue + in_batches;
    let disk_in_all = disk_at_end.saturating_sub(empty) as f64 / (scale.accounts + count) as f64;
    let memory = match (memory, peer.memory_bytes()?) {
        (Some(before), Some(after)) => Some(after.saturating_sub(before) as f64 / count as f64),
        _ => None,
    };
    contract::kept_it(&*peer, scale.accounts)?;
    let version = peer.version()?;
    Ok(Figures { version, one, many, queued, batched, disk_alone, disk_batched, disk_in_all, memory })
}

/// One charge for each account, so that none is new later.
fn fill(peer: &dyn Peer, scale: &Scale) -> Outcome<()> {
    let (mut session, mut keys) = (peer.session()?, Keys::lane());
    let users: Vec<u64> = (1..=scale.accounts).collect();
    for part in users.chunks(10 * BATCH) {
        let charges: Vec<Charge> = part.iter().map(|user| Charge::new(*user, 100, keys.make())).collect();
        all_taken(&session.batch(&charges)?)?;
    }
    Ok(())
}

fn all_taken(taken: &[bool]) -> Outcome<()> {
    match taken.iter().all(|taken| *taken) {
        true => Ok(()),
        false => Err("a key that is new was refused".into()),
    }
}

/// So many callers that each wait for their charge before they make the next.
fn singly(peer: &dyn Peer, callers: usize, scale: &Scale) -> Outcome<(Cell, u64)> {
    let sessions = (0..callers).map(|_| peer.session()).collect::<Outcome<Vec<_>>>()?;
    closed_loop(sessions, scale, |session, charge| session.charge(charge))
}

/// What a queue carries: a charge, and where its caller waits.
type Waiting = (Charge, SyncSender<Result<bool, String>>);

/// The same with a queue in front: one thread takes what waits there in one batch, so that many share a sync.
fn queued(peer: &dyn Peer, scale: &Scale) -> Outcome<(Cell, u64)> {
    let (queue, incoming) = sync_channel::<Waiting>(CALLERS);
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || write_batches(&mut *peer.session()?, &incoming));
        // The writer ends when the last of them is dropped.
        let callers = vec![queue; CALLERS];
        let measured = closed_loop(callers, scale, |queue, charge| {
            let (reply, answer) = sync_channel(1);
            queue.send((*charge, reply)).map_err(|_| "the queue's writer is gone")?;
            Ok(answer.recv()??)
        });
        writer.join().expect("the writer does not panic")?;
        measured
    })
}

fn write_batches(session: &mut dyn Session, incoming: &Receiver<Waiting>) -> Outcome<()> {
    while let Ok(first) = incoming.recv() {
        let (charges, replies): (Vec<_>, Vec<_>) =
            std::iter::once(first).chain(incoming.try_iter().take(BATCH - 1)).unzip();
        let taken = session.batch(&charges).map_err(|fault| fault.to_string());
        for (index, reply) in replies.iter().enumerate() {
            // Whoever does not wait any more needs no answer.
            let _ = reply.send(taken.as_ref().map(|taken| taken[index]).map_err(String::clone));
        }
    }
    Ok(())
}

/// Callers, each with what it holds, that make one charge after the other.
fn closed_loop<T: Send>(
    callers: Vec<T>,
    scale: &Scale,
    charge: impl Fn(&mut T, &Charge) -> Outcome<bool> + Sync,
) -> Outcome<(Cell, u64)> {
    let (count, begin) = (callers.len(), Instant::now());
    let one = |(number, mut held): (usize, T)| -> Outcome<Latencies> {
        let (mut random, mut keys, mut latencies) = (Random::new(number as u64), Keys::lane(), Latencies::new());
        while scale.goes_on(begin, latencies.count(), count) {
            let given = scale.charge(&mut random, keys.make());
            let start = Instant::now();
            all_taken(&[charge(&mut held, &given)?])?;
            latencies.add(start.elapsed());
        }
        Ok(latencies)
    };
    let parts: Vec<Outcome<Latencies>> = std::thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> = callers.into_iter().enumerate().map(|held| scope.spawn(move || one(held))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a caller does not panic")).collect()
    });
    let seconds = begin.elapsed().as_secs_f64();
    let latencies = Latencies::merged(&parts.into_iter().collect::<Outcome<Vec<_>>>()?);
    Ok((Cell::new(latencies.count(), seconds, &latencies), latencies.count()))
}

/// One caller with batches; what is timed is the batch, not the making of it.
fn batched(peer: &dyn Peer, scale: &Scale) -> Outcome<(Cell, u64)> {
    let (mut session, mut latencies) = (peer.session()?, Latencies::new());
    let (mut random, mut keys) = (Random::new(77), Keys::lane());
    let (begin, mut spent) = (Instant::now(), Duration::ZERO);
    while scale.goes_on(begin, latencies.count() * BATCH as u64, 1) {
        let charges: Vec<Charge> = keys.take(BATCH).into_iter().map(|key| scale.charge(&mut random, key)).collect();
        let start = Instant::now();
        let taken = session.batch(&charges)?;
        let took = start.elapsed();
        all_taken(&taken)?;
        latencies.add(took);
        spent += took;
    }
    let count = latencies.count() * BATCH as u64;
    Ok((Cell::new(count, spent.as_secs_f64(), &latencies), count))
}
