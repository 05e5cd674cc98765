//! The requests of one connection that were decided here, past hyper, and are not answered: in their order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::BytesMut;

use super::bells::Bells;
use super::frame;
use crate::app::{Deciding, Http};
use crate::routes::Decidable;
use crate::wire::asked::Asked;

/// How many requests of a connection may be begun and not answered.
const BEGUN_MAX: usize = 64;

pub(super) struct Lane {
    http: Http,
    bells: Arc<Bells>,
    begun: VecDeque<Deciding>,
    /// How many of them are commands.
    commands: usize,
}

impl Lane {
    pub(super) fn new(http: Http, bells: Arc<Bells>) -> Lane {
        Lane { http, bells, begun: VecDeque::new(), commands: 0 }
    }

    /// Whether everything is answered.
    pub(super) fn is_empty(&self) -> bool {
        self.begun.is_empty()
    }

    /// Whether one more request may be begun.
    pub(super) fn has_room(&self) -> bool {
        self.begun.len() < BEGUN_MAX
    }

    /// Whether a request may be begun now: a command, or a balance with no unanswered command before it. Behind one it would
    /// be right, and yet could tell an earlier seq than the answer before it.
    pub(super) fn may_begin(&self, what: Decidable) -> bool {
        what != Decidable::Balance || self.commands == 0
    }

    /// Decides a request. It is on its way to the disk when the first one here is polled next, or with the commit that another
    /// request of this worker has asked for.
    pub(super) fn begin(&mut self, what: Decidable, asked: &Asked<'_>, body: &[u8], now: Instant) {
        self.begun.push_back(self.http.decide(what, asked, body, now));
        self.commands += usize::from(what != Decidable::Balance);
    }

    /// Writes the replies that may leave, and says when, if there was any. The task is woken when the next may.
    pub(super) fn answer(&mut self, cx: &mut Context<'_>, out: &mut BytesMut) -> Option<Instant> {
        let mut now = None;
        while let Some(first) = self.begun.front_mut()
            && first.seq().is_none_or(|seq| self.bells.poll(seq, cx).is_ready())
            && let Poll::Ready(reply) = self.http.poll_reply(first, cx)
        {
            let now = *now.get_or_insert_with(Instant::now);
            self.http.count(first, &reply, now);
            frame::write(out, &reply, now);
            self.commands -= usize::from(first.what() != Decidable::Balance);
            self.begun.pop_front();
        }
        now
    }
}
