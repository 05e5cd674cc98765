//! The generator: one poll for all connections of a thread, and the clock.
//!
//! In an open loop a request is due at its place in a fixed rhythm, whatever became of those before it. If every
//! connection is busy it is sent late, and its latency still counts from when it was due. In a closed loop each
//! connection sends as soon as it is answered, which measures a peak and hides what a waiting client would have felt.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use rustix::event::epoll;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::connection::{Connection, Sent};
use super::outcome::Outcome;
use super::request::{Mix, Writer};

/// How long answers are awaited after the last request was due.
const GRACE: Duration = Duration::from_secs(10);
const TIMER: u64 = u64::MAX;

/// When requests are sent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Pace {
    /// As soon as the one before is answered.
    Closed,
    /// So many a second, whatever happens.
    Open(f64),
}

/// How long a run goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    /// For so long.
    After(Duration),
    /// For so many requests.
    Requests(u64),
}

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the progress bar says.
    pub name: String,
    /// What is sent.
    pub mix: Mix,
    /// When.
    pub pace: Pace,
    /// How long.
    pub until: Until,
    /// On how many connections.
    pub connections: usize,
    /// How many requests of one connection may be unanswered.
    pub depth: usize,
    /// Between how many accounts.
    pub users: u64,
    /// By how many threads.
    pub threads: usize,
}

impl Plan {
    /// A closed loop of `kind` on so many connections.
    pub fn closed(name: &str, mix: Mix, connections: usize, depth: usize, until: Until) -> Plan {
        Plan { name: name.to_owned(), mix, pace: Pace::Closed, until, connections, depth, users: 1_000_000, threads: 1 }
    }

    /// An open loop.
    pub fn open(name: &str, mix: Mix, per_second: f64, connections: usize, span: Duration) -> Plan {
        Plan { pace: Pace::Open(per_second), ..Plan::closed(name, mix, connections, 1, Until::After(span)) }
    }

    /// Runs it against `address`.
    ///
    /// # Errors
    /// The server cannot be reached; connections that break later are counted and told in the outcome.
    pub fn run(&self, address: SocketAddr) -> io::Result<Outcome> {
        let answered = AtomicU64::new(0);
        let threads = self.threads.clamp(1, self.connections);
        std::thread::scope(|scope| {
            let lanes: Vec<_> = (0..threads)
                .map(|lane| {
                    let share = self.share(lane, threads);
                    let answered = &answered;
                    scope.spawn(move || Lane::new(&share, address, lane as u64)?.run(answered))
                })
                .collect();
            let bar = self.bar();
            while lanes.iter().any(|lane| !lane.is_finished()) {
                std::thread::sleep(Duration::from_millis(50));
                bar.set_position(match self.until {
                    Until::After(span) => bar.elapsed().min(span).as_millis() as u64,
                    // Relaxed: a gauge.
                    Until::Requests(_) => answered.load(Ordering::Relaxed),
                });
                bar.set_message(format!("{} answers", answered.load(Ordering::Relaxed)));
            }
            bar.finish_and_clear();
            let mut all = Outcome::new(self.mix.kinds());
            for lane in lanes {
                all.merge(lane.join().expect("the generator does not panic")?);
            }
            Ok(all)
        })
    }

    fn bar(&self) -> ProgressBar {
        let length = match self.until {
            Until::After(span) => span.as_millis() as u64,
            Until::Requests(count) => count,
        };
        let style = ProgressStyle::with_template("{prefix:32} [{bar:40}] {percent:>3} %  {msg}");
        let bar = ProgressBar::new(length).with_prefix(self.name.clone());
        bar.set_style(style.expect("a right template").progress_chars("=> "));
        bar
    }

    /// What the thread `lane` of `threads` does of it.
    fn share(&self, lane: usize, threads: usize) -> Plan {
        let part = |whole: u64| whole / threads as u64 + u64::from((lane as u64) < whole % threads as u64);
        Plan {
            connections: part(self.connections as u64) as usize,
            pace: match self.pace {
                Pace::Closed => Pace::Closed,
                Pace::Open(per_second) => Pace::Open(per_second / threads as f64),
            },
            until: match self.until {
                Until::After(span) => Until::After(span),
                Until::Requests(count) => Until::Requests(part(count)),
            },
            ..self.clone()
        }
    }
}

/// One thread of a run.
struct Lane<'a> {
    plan: &'a Plan,
    kinds: Vec<super::Kind>,
    address: SocketAddr,
    writer: Writer,
    poll: OwnedFd,
    timer: OwnedFd,
    connections: Vec<Option<Connection>>,
    /// Connections that may take another request, the one that waited longest first.
    free: VecDeque<usize>,
    is_free: Vec<bool>,
    /// When the timer goes off, in nanoseconds since the start.
    armed: u64,
    outcome: Outcome,
    issued: u64,
    in_flight: u64,
    start: Instant,
}

impl<'a> Lane<'a> {
    fn new(plan: &'a Plan, address: SocketAddr, lane: u64) -> io::Result<Lane<'a>> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        epoll::add(&poll, &timer, epoll::EventData::new_u64(TIMER), epoll::EventFlags::IN | epoll::EventFlags::ET)?;
        let mut lane = Lane {
            plan,
            kinds: plan.mix.kinds().collect(),
            address,
            writer: Writer::new(address.to_string(), plan.users, 0xC0FFEE ^ lane),
            poll,
            timer,
            connections: Vec::new(),
            free: (0..plan.connections).collect(),
            is_free: vec![true; plan.connections],
            armed: 0,
            outcome: Outcome::new(plan.mix.kinds()),
            issued: 0,
            in_flight: 0,
            start: Instant::now(),
        };
        for index in 0..plan.connections {
            let connection = lane.connect(index)?;
            lane.connections.push(Some(connection));
        }
        lane.start = Instant::now();
        Ok(lane)
    }

    fn connect(&self, index: usize) -> io::Result<Connection> {
        let connection = Connection::open(self.address)?;
        // Edges, so that a flag for writing costs nothing while nobody waits for it.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&self.poll, &connection.stream, epoll::EventData::new_u64(index as u64), flags)?;
        Ok(connection)
    }

    fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn run(mut self, answered: &AtomicU64) -> io::Result<Outcome> {
        let mut events = Vec::with_capacity(1024);
        let mut buffer = Vec::new();
        let mut told = 0;
        let last = loop {
            let now = self.now_ns();
            let wait = self.issue(now);
            if wait.is_none() && self.in_flight == 0 || self.is_over(now) {
                break now;
            }
            self.sleep_until(wait, now)?;
            events.clear();
            match epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(err) => return Err(err.into()),
            }
            let before = self.in_flight;
            for event in &events {
                if event.data.u64() != TIMER {
                    self.serve(event.data.u64() as usize, &mut buffer);
                }
            }
            told += before.saturating_sub(self.in_flight);
            // Relaxed: a gauge.
            if told > 0 {
                answered.fetch_add(std::mem::take(&mut told), Ordering::Relaxed);
            }
        };
        // What was not answered, or never sent although it was due, has failed.
        let unsent = match (self.plan.pace, self.plan.until) {
            (Pace::Open(per_second), Until::After(span)) => {
                ((per_second * span.as_secs_f64()) as u64).saturating_sub(self.issued)
            }
            _ => 0,
        };
        self.outcome.kinds[0].failed += self.in_flight + unsent;
        self.outcome.elapsed = Duration::from_nanos(last);
        Ok(self.outcome)
    }

    /// Sends what is due on connections that are free. How long until more is due, in nanoseconds since the start; `None`:
    /// nothing more is.
    fn issue(&mut self, now: u64) -> Option<u64> {
        loop {
            let due = self.next_due(now)?;
            if due > now || self.free.is_empty() {
                return Some(due);
            }
            let index = self.free.pop_front().expect("checked above");
            self.is_free[index] = false;
            self.issue_on(index, now);
        }
    }

    /// When the next request is due; `None`: there is none.
    fn next_due(&self, now: u64) -> Option<u64> {
        let due = match self.plan.pace {
            Pace::Closed => now,
            Pace::Open(per_second) => (self.issued as f64 * 1e9 / per_second) as u64,
        };
        let more = match self.plan.until {
            Until::After(span) => due < span.as_nanos() as u64,
            Until::Requests(count) => self.issued < count,
        };
        more.then_some(due)
    }

    /// Fills a connection: in a closed loop to its depth, in an open one with one request.
    fn issue_on(&mut self, index: usize, now: u64) {
        while let Some(due) = self.next_due(now).filter(|due| *due <= now) {
            let Some(connection) = &mut self.connections[index] else { return };
            let drawn = self.writer.draw(&self.plan.mix);
            let out = connection.send(Sent { kind: drawn, due_ns: due });
            self.writer.write(self.kinds[drawn], out);
            self.issued += 1;
            self.in_flight += 1;
            if connection.sent.len() >= self.plan.depth || self.plan.pace != Pace::Closed {
                break;
            }
        }
        self.after(index, Ok(()));
    }

    /// Reads and writes what the socket allows.
    fn serve(&mut self, index: usize, buffer: &mut Vec<u8>) {
        let now = self.now_ns();
        let Some(connection) = &mut self.connections[index] else { return };
        let (outcome, in_flight) = (&mut self.outcome, &mut self.in_flight);
        let received = connection.receive(buffer, |sent, status| {
            *in_flight -= 1;
            outcome.answer(sent.kind, status, now, now.saturating_sub(sent.due_ns));
        });
        self.after(index, received);
    }

    /// Flushes; replaces the connection if it is broken.
    fn after(&mut self, index: usize, sofar: io::Result<()>) {
        let Some(connection) = &mut self.connections[index] else { return };
        let flushed = sofar.and_then(|()| connection.flush());
        if let Err(err) = flushed {
            for sent in &connection.sent {
                self.outcome.kinds[sent.kind].failed += 1;
            }
            self.in_flight -= connection.sent.len() as u64;
            self.outcome.broken.get_or_insert_with(|| err.to_string());
            self.connections[index] = self.connect(index).ok();
        }
        self.offer(index);
    }

    /// Notes a connection that may take another request. A pipelining client of a closed loop writes its next requests
    /// together, when all of the last ones are answered.
    fn offer(&mut self, index: usize) {
        let Some(connection) = &mut self.connections[index] else { return };
        let has_room = match self.plan.pace {
            Pace::Closed => connection.sent.is_empty(),
            Pace::Open(_) => connection.sent.len() < self.plan.depth,
        };
        // One that broke while it was free is in the queue still.
        if has_room && !self.is_free[index] {
            self.is_free[index] = true;
            self.free.push_back(index);
        }
    }

    /// Arms the timer. One that goes off earlier than it needs to does no harm, and costs less than to set it each time.
    fn sleep_until(&mut self, due: Option<u64>, now: u64) -> io::Result<()> {
        // With all connections busy only an answer helps; the timer then only ends the run.
        let until = due.filter(|due| *due > now).unwrap_or(now + 100_000_000);
        if self.armed > now && self.armed <= until {
            return Ok(());
        }
        self.armed = until;
        let wait = until - now;
        let time = Timespec { tv_sec: (wait / 1_000_000_000) as i64, tv_nsec: (wait % 1_000_000_000) as i64 };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: time };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    /// Whether nobody waits any more, or there is no connection left.
    fn is_over(&self, now: u64) -> bool {
        let too_late = match self.plan.until {
            Until::After(span) => now > (span + GRACE).as_nanos() as u64,
            Until::Requests(_) => false,
        };
        too_late || self.connections.iter().all(Option::is_none)
    }
}
