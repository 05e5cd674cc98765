//! What the server needs of whatever performs its withdrawals: its figures, and an orderly end.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::withdrawals::{Executor, Figures};

/// The executor of withdrawals, as the server sees it.
pub trait Payouts: Send + Sync + 'static {
    /// Withdrawals whose attempt or inquiry is under way.
    fn in_flight(&self) -> usize;
    /// Withdrawals that have a place and wait for a worker.
    fn queue_length(&self) -> usize;
    /// What it has done so far.
    fn figures(&self) -> Figures;
    /// Whether withdrawals are performed at all.
    fn is_running(&self) -> bool {
        true
    }
    /// Starts no attempt any more, and waits at most `timeout` for those under way.
    fn shutdown(&self, timeout: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// Nobody performs withdrawals: they stay reserved, in the log, until a server with an executor opens it.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPayouts;

impl Payouts for NoPayouts {
    fn is_running(&self) -> bool {
        false
    }

    fn in_flight(&self) -> usize {
        0
    }

    fn queue_length(&self) -> usize {
        0
    }

    fn figures(&self) -> Figures {
        Figures::default()
    }

    fn shutdown(&self, _timeout: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

impl Payouts for Executor {
    fn in_flight(&self) -> usize {
        Executor::in_flight(self)
    }

    fn queue_length(&self) -> usize {
        Executor::queue_length(self)
    }

    fn figures(&self) -> Figures {
        Executor::figures(self)
    }

    fn shutdown(&self, timeout: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            Executor::shutdown(self, timeout).await;
        })
    }
}
