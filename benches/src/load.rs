//! Callers of the ledger: in batches, with many commands in flight, or blocked on each.

use std::collections::VecDeque;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use ledger_core::{Command, Commit, Ledger, Receipt};

use crate::latency::Latencies;
use crate::workload::{Key, Keys, Random, Work, amount, key, user};

/// What each account is given before it is measured: enough for every transfer.
const FUNDS: u64 = 1_000_000_000;
/// The batches in which ledgers are filled before anything is measured.
const FILL_BATCH: usize = 8_192;

/// Runs `each` on so many threads at once and returns how long all took together, and what each returned.
pub fn together<T: Send>(threads: usize, each: impl Fn(usize, &Barrier) -> T + Sync) -> (Duration, Vec<T>) {
    let barrier = Barrier::new(threads + 1);
    thread::scope(|scope| {
        let (barrier, each) = (&barrier, &each);
        let running: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || (each(thread, barrier), Instant::now()))).collect();
        barrier.wait();
        let start = Instant::now();
        let ended: Vec<(T, Instant)> =
            running.into_iter().map(|thread| thread.join().expect("no caller fails")).collect();
        let end = ended.iter().map(|(_, end)| *end).max().unwrap_or(start);
        (end - start, ended.into_iter().map(|(result, _)| result).collect())
    })
}

/// Gives each of `accounts` accounts its funds.
pub fn fund(ledger: &Ledger, accounts: u64) {
    together(2, |thread, barrier| {
        barrier.wait();
        let mut lane = Keys::lane();
        let mine: Vec<u64> = (0..accounts).filter(|account| account % 2 == thread as u64).collect();
        for part in mine.chunks(FILL_BATCH) {
            let keys = lane.take(part.len());
            let commands: Vec<Command<'_>> = part
                .iter()
                .zip(&keys)
                .map(|(account, bytes)| ledger_core::Charge::new(user(*account), amount(FUNDS), key(bytes)).into())
                .collect();
            submit(ledger, &commands);
        }
    });
}

/// Does `count` commands without measuring them, in bounded memory.
pub fn fill(ledger: &Ledger, work: Work, count: usize) {
    let (mut lane, mut random, mut done) = (Keys::lane(), Random::new(1), 0);
    while done < count {
        let keys = lane.take((count - done).min(FILL_BATCH));
        submit(ledger, &build(work, &mut random, done, &keys, Vec::new()));
        done += keys.len();
    }
}

/// A batch, done; every command of it is to be accepted.
pub fn submit(ledger: &Ledger, commands: &[Command<'_>]) {
    let results = ledger.batch(commands).and_then(Commit::wait).expect("the ledger runs");
    assert!(
        results.iter().all(Result::is_ok),
        "a measured command was rejected: {:?}",
        results.iter().find(|r| r.is_err())
    );
}

fn build<'a>(
    work: Work,
    random: &mut Random,
    first: usize,
    keys: &'a [Key],
    mut commands: Vec<Command<'a>>,
) -> Vec<Command<'a>> {
    commands.clear();
    let numbered = keys.iter().enumerate();
    commands.extend(numbered.map(|(index, bytes)| work.command(random, (first + index) as u64, bytes)));
    commands
}

/// Commands a second with `threads` callers, each waiting for each of its batches.
pub fn batches(ledger: &Ledger, work: Work, threads: usize, batch: usize, commands_each: usize) -> f64 {
    let (took, _) = together(threads, |thread, barrier| {
        let keys = Keys::lane().take(commands_each);
        let mut random = Random::new(thread as u64);
        let mut commands = Vec::with_capacity(batch);
        barrier.wait();
        for (number, keys) in keys.chunks(batch).enumerate() {
            commands = build(work, &mut random, number * batch, keys, commands);
            submit(ledger, &commands);
        }
    });
    (threads * commands_each) as f64 / took.as_secs_f64()
}

/// Commands a second with `threads` callers of single commands, each keeping `in_flight` of them unanswered.
pub fn singles(ledger: &Ledger, work: Work, threads: usize, in_flight: usize, commands_each: usize) -> f64 {
    let (took, _) = together(threads, |thread, barrier| {
        let keys = Keys::lane().take(commands_each);
        let mut random = Random::new(thread as u64);
        let mut waiting: VecDeque<Commit<Receipt>> = VecDeque::with_capacity(in_flight);
        barrier.wait();
        for (number, bytes) in keys.iter().enumerate() {
            if waiting.len() == in_flight {
                // The oldest: once it is durable, so are mostly all that wait, and none of those blocks.
                waiting.pop_front().expect("some are in flight").wait().expect("accepted");
            }
            let command = work.command(&mut random, number as u64, bytes);
            waiting.push_back(ledger.submit(command).expect("the ledger runs"));
        }
        for commit in waiting {
            commit.wait().expect("accepted");
        }
    });
    (threads * commands_each) as f64 / took.as_secs_f64()
}

/// Commands a second with `callers` threads that are blocked on each command, and how long each took.
pub fn blocking(ledger: &Ledger, work: Work, callers: usize, commands_each: usize) -> (f64, Latencies) {
    let (took, each) = together(callers, |thread, barrier| {
        let keys = Keys::lane().take(commands_each);
        let mut random = Random::new(thread as u64);
        let mut latencies = Latencies::new();
        barrier.wait();
        for (number, bytes) in keys.iter().enumerate() {
            let start = Instant::now();
            let command = work.command(&mut random, number as u64, bytes);
            ledger.submit(command).and_then(Commit::wait).expect("accepted");
            latencies.add(start.elapsed());
        }
        latencies
    });
    ((callers * commands_each) as f64 / took.as_secs_f64(), Latencies::merged(&each))
}
