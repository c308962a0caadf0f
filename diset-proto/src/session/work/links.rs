//! What becomes of what waits when links end, and when a session meets the next one.

use super::{Front, Of, Running, Work};
use crate::session::queue::{Acked, Aside as _, Meta, Queue};

impl<Q: Queue, R: Running> Work<Q, R> {
    /// Of which link the oldest message is.
    pub(super) fn front_of(&self) -> Of {
        let front = self.front();
        match (front.rest, front.old) {
            (0, 0) => Of::Link,
            (0, _) => Of::Carried,
            _ => Of::Over,
        }
    }

    /// Whether what runs is of a link that is over.
    pub(crate) fn has_job_of_over(&self) -> bool {
        self.job.is_some_and(|job| job.of == Of::Over)
    }

    /// Whether messages wait that came on earlier links.
    pub(crate) fn has_old(&self) -> bool {
        self.front().old > 0
    }

    /// Whether messages of a link that is over have their turn.
    pub(crate) fn has_rest(&self) -> bool {
        self.front().rest > 0
    }

    /// The link is over. What waits has its turn up to the last plain message, if it `goes_on`; else only what waits of
    /// the one before does. How many plain messages are not handled; the last acked one that has its turn.
    pub(crate) fn end_link(&mut self, goes_on: bool) -> (usize, Option<Acked>) {
        if let Some(job) = &mut self.job {
            job.of = Of::Over;
        }
        if !Q::WAITS {
            return (0, None);
        }
        if goes_on {
            let (mut at, mut rest) = (0, 0);
            self.queue.retain(|_, meta| {
                at += 1;
                rest = if meta.acked.is_none() { at } else { rest };
                true
            });
            self.front
                .edit(|front| (front.rest, front.earlier) = (rest, front.old.min(rest)));
        }
        let unhandled = self.drop_plain();
        let (old, _) = self.queue.waiting();
        self.front.edit(|front| front.old = old);
        let (rest, mut last) = (self.front().rest, None);
        self.queue.retain(|at, meta| {
            last = meta.acked.filter(|_| at < rest).or(last);
            true
        });
        (unhandled, last)
    }

    /// The time is over of messages of a link that is over: how many plain ones are not handled.
    pub(crate) fn drop_rest(&mut self) -> usize {
        let old = self.front.edit(|front| {
            (front.rest, front.earlier) = (0, 0);
            front.old
        });
        self.retain(|at, meta| at >= old || meta.acked.is_some())
    }

    /// The plain messages that wait are not handled, but for those of a link that is over whose turn comes. How many. The
    /// one that is with a handler is.
    pub(crate) fn drop_plain(&mut self) -> usize {
        let rest = self.front().rest;
        self.retain(|at, meta| at < rest || meta.acked.is_some())
    }

    /// The acked messages above this one come again. None of them has begun.
    pub(crate) fn forget(&mut self, above: Acked) {
        self.retain(|_, meta| {
            let above = |acked: Acked| acked.began == above.began && acked.number > above.number;
            !meta.acked.is_some_and(above)
        });
    }

    /// Takes out the acked messages that are not to stay, but for those of a link that is over, whose turn is to come.
    pub(crate) fn retain_carried(&mut self, stays: impl Fn(Acked) -> bool) {
        let rest = self.front().rest;
        self.retain(|at, meta| at < rest || meta.acked.is_none_or(&stays));
    }

    /// Takes out what is not to stay; how many.
    fn retain(&mut self, mut stays: impl FnMut(usize, &Meta) -> bool) -> usize {
        if !Q::WAITS {
            return 0;
        }
        let mut gone = 0;
        if let Some(job) = self.job.as_mut().filter(|job| job.queued)
            && let Some((meta, _)) = self.queue.front()
            && !stays(0, &meta)
        {
            // It is the job alone from now on.
            job.queued = false;
            self.pop();
            gone = 1;
        }
        let (before, _) = self.queue.waiting();
        let (mut old, mut rest, mut earlier, mut first) = (0, 0, 0, true);
        let all = self.front();
        self.queue.retain(|at, meta| {
            let stays = stays(at + gone, meta);
            old += usize::from(stays && at < all.old);
            rest += usize::from(stays && at < all.rest);
            earlier += usize::from(stays && at < all.earlier);
            first &= stays || at > 0;
            stays
        });
        let retry = all.retry.filter(|_| first);
        self.front.edit(|front| {
            *front = Front {
                retry,
                old,
                rest,
                earlier,
            };
        });
        before - self.queue.waiting().0
    }

    /// Whether acked messages wait, or one is with its handler.
    pub(crate) fn has_acked(&self) -> bool {
        let (messages, plain) = self.queue.waiting();
        messages > plain
            || self
                .job
                .and_then(|job| job.meta)
                .is_some_and(|meta| meta.acked.is_some())
    }

    /// The last acked message that is here: it waits, or is with its handler.
    pub(crate) fn last_acked(&mut self) -> Option<Acked> {
        let mut last = self.job.and_then(|job| job.meta).and_then(|meta| meta.acked);
        self.queue.retain(|_, meta| {
            last = meta.acked.or(last);
            true
        });
        last
    }

    /// A message that an earlier process has received is to be handled before anything that comes; false when there is no
    /// room.
    pub(crate) fn carry(&mut self, meta: &Meta, payload: &[u8]) -> bool {
        let taken = self.queue.push(meta, payload);
        self.front.edit(|front| front.old += usize::from(taken));
        taken
    }

    /// What waits in `newer` waits behind all that is here; false when there is no room.
    pub(crate) fn append(&mut self, newer: &mut Self) -> bool {
        while let Some((meta, payload)) = newer.queue.front() {
            if !self.queue.push(&meta, payload) {
                return false;
            }
            newer.queue.pop();
        }
        true
    }
}
