//! An answer on its way: decided, and waiting until what it depends on is durable.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::Error;
use crate::types::Seq;
use crate::wal::{Level, Wal};

/// An answer that may leave once every entry that it saw is durable. Block on it, poll it, or await it; dropping it
/// undoes nothing.
///
/// A command that no other follows is on its way to the disk from the moment when its commit is waited for, polled or
/// dropped: who blocks on it at once writes it himself, which spares two thread wake-ups.
#[must_use = "an accepted command is acknowledged only once its commit has been waited for"]
pub struct Commit<T> {
    answer: Option<Result<T, Error>>,
    seq: Seq,
    level: Level,
    /// `None` where `seq` was durable when the answer was made, as for most reads: all handles of a log count on one
    /// cache line, which readers on two cores would take from each other.
    log: Option<OnItsWay>,
}

/// The log that an answer waits for. Given up, it goes on without the answer.
struct OnItsWay {
    wal: Wal,
    seq: Seq,
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.wal.begin(self.seq);
    }
}

impl<T> Commit<T> {
    pub(crate) fn new(answer: Result<T, Error>, seq: Seq, level: Level, wal: &Wal) -> Commit<T> {
        let log = (wal.durable() < seq).then(|| OnItsWay { wal: wal.clone(), seq });
        Commit { answer: Some(answer), seq, level, log }
    }

    /// The same answer, to leave at another level.
    pub(crate) fn at(self, level: Level) -> Commit<T> {
        Commit { level, ..self }
    }

    /// The same answer, depending on entries up to `seq` alone.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn resting_on(self, seq: Seq) -> Commit<T> {
        Commit { seq, ..self }
    }

    /// The last entry that the answer depends on.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// Blocks until the answer may leave.
    ///
    /// # Errors
    /// [`Error::Rejected`] for a rejection that depended on entries in flight; [`Error::Halted`] if the ledger halted
    /// first: what became of the command is then unknown, and it is to be repeated with the same key.
    pub fn wait(mut self) -> Result<T, Error> {
        if let Some(log) = &self.log {
            log.wal.wait(self.seq, self.level)?;
        }
        self.take()
    }

    /// The answer if it may leave, without blocking.
    ///
    /// # Errors
    /// `Err(self)`: not yet.
    pub fn try_wait(mut self) -> Result<Result<T, Error>, Commit<T>> {
        let Some(log) = &self.log else { return Ok(self.take()) };
        match log.wal.reached(self.seq, self.level) {
            None => {
                log.wal.begin(self.seq);
                Err(self)
            }
            Some(Ok(())) => Ok(self.take()),
            Some(Err(halted)) => Ok(Err(halted.into())),
        }
    }

    /// The same answer in another form. `form` is called at once, and what it makes leaves when the answer may.
    pub fn map<U>(self, form: impl FnOnce(T) -> U) -> Commit<U> {
        self.map_result(|answer| answer.map(form))
    }

    /// As [`Commit::map`], of a rejection too.
    pub fn map_result<U>(self, form: impl FnOnce(Result<T, Error>) -> Result<U, Error>) -> Commit<U> {
        Commit { answer: self.answer.map(form), seq: self.seq, level: self.level, log: self.log }
    }

    fn take(&mut self) -> Result<T, Error> {
        self.answer.take().expect("an answer is taken once: both takers consume the commit")
    }
}

impl<T: Unpin> IntoFuture for Commit<T> {
    type Output = Result<T, Error>;
    type IntoFuture = CommitFuture<T>;

    fn into_future(self) -> CommitFuture<T> {
        CommitFuture { commit: self }
    }
}

/// A [`Commit`] being awaited.
pub struct CommitFuture<T> {
    commit: Commit<T>,
}

impl<T> CommitFuture<T> {
    /// The last entry that the answer depends on.
    pub fn seq(&self) -> Seq {
        self.commit.seq
    }
}

impl<T: Unpin> Future for CommitFuture<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, Error>> {
        let commit = &mut self.commit;
        let Some(log) = &commit.log else { return Poll::Ready(commit.take()) };
        match log.wal.poll(commit.seq, commit.level, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => Poll::Ready(commit.take()),
            Poll::Ready(Err(halted)) => Poll::Ready(Err(halted.into())),
        }
    }
}
