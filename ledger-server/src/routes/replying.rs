//! A reply that leaves once what it rests on is durable.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ledger_core::{Commit, CommitFuture, Seq};

use crate::error::Problem;
use crate::wire::reply::Reply;

/// What became of a command, in the words of the answer.
pub(super) enum Decided {
    Accepted(Reply),
    /// A repeat, answered as the first time, with the transaction and the balance as they stand now.
    Repeated(Commit<Reply>),
}

/// The reply to a request that is decided.
pub(crate) struct Replying(Waiting);

enum Waiting {
    Command(CommitFuture<Decided>),
    Read(CommitFuture<Reply>),
}

impl Replying {
    pub(super) fn command(decided: Commit<Decided>) -> Replying {
        Replying(Waiting::Command(decided.into_future()))
    }

    pub(super) fn read(read: Commit<Reply>) -> Replying {
        Replying(Waiting::Read(read.into_future()))
    }

    /// The last entry that it rests on.
    pub(crate) fn seq(&self) -> Seq {
        match &self.0 {
            Waiting::Command(decided) => decided.seq(),
            Waiting::Read(read) => read.seq(),
        }
    }
}

impl Future for Replying {
    type Output = Result<Reply, Problem>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.0 {
                Waiting::Read(read) => return Pin::new(read).poll(cx).map_err(Problem::of_read),
                Waiting::Command(decided) => match ready!(Pin::new(decided).poll(cx)).map_err(Problem::from)? {
                    Decided::Accepted(reply) => return Poll::Ready(Ok(reply)),
                    Decided::Repeated(read) => self.0 = Waiting::Read(read.into_future()),
                },
            }
        }
    }
}
