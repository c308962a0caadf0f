//! From one link to the next: what goes along, what waits for it, and what an inbox has from an earlier process.

use super::{Access, Parts, Rx, Schedule, Tx};
use crate::schema::Catalog;
use crate::session::queue::Queue;
use crate::session::work::Work;
use crate::time::Instant;

/// What a session has at its receiver besides what it remembers: messages that wait, the handler that runs, and ends that
/// are to be told. It goes with the session from one link to another, if that has halves of its own:
/// [`Rx::hand_over`] and [`Rx::take_over`].
pub struct Carried<P: Parts> {
    work: Work<P::Queue, P::Running>,
    schedule: Schedule<P::Queue>,
    /// Which messages wait.
    catalog: &'static Catalog,
}

impl<P: Parts> Rx<P> {
    /// The session goes to another link: it comes out, with all that is not done with. If this link is not over, it is for
    /// these halves; they only write what is left, and discard what comes. `queue` is an empty one. Let the session
    /// [welcome](crate::Session::welcome) its client after this, which detaches it.
    pub fn hand_over(&mut self, now: Instant, tx: &mut impl Access<P>, queue: P::Queue) -> (P::Session, Carried<P>)
    where
        P::Session: Default,
    {
        tx.with(|tx| {
            self.complete(now, tx);
            if self.schedule.has_link() {
                self.over(now, tx);
            }
            let work = core::mem::replace(&mut self.work, Work::new(queue));
            let schedule = core::mem::replace(&mut self.schedule, Schedule::new());
            self.schedule.hold();
            let catalog = tx.conn.catalog();
            (
                tx.conn.take_session(),
                Carried {
                    work,
                    schedule,
                    catalog,
                },
            )
        })
    }

    /// The session that comes to this link has this: it has its turn before what comes here. To be called before
    /// [`connect`](Self::connect) or [`admit_in_session`](Self::admit_in_session), or after [`hold`](Self::hold).
    pub fn take_over(&mut self, tx: &mut impl Access<P>, carried: Carried<P>) {
        let Carried {
            mut work,
            schedule,
            catalog,
        } = carried;
        let fits = work.append(&mut self.work);
        self.work = work;
        self.schedule.take_over(schedule);
        tx.with(|tx| {
            tx.conn.knows(catalog);
            if !fits {
                tx.conn.lacks_room(self.work.has_old());
            }
            self.meet_again(tx);
        });
    }

    /// Until [`take_over`](Self::take_over) or [`release`](Self::release) nothing is told but what the peer does, and no
    /// message is lent: what is left of an earlier link of the client is elsewhere.
    pub const fn hold(&mut self) {
        self.schedule.hold();
    }

    /// Nothing is left elsewhere: goes on after [`hold`](Self::hold).
    pub fn release(&mut self, tx: &mut impl Access<P>) {
        self.schedule.release();
        tx.with(|tx| self.meet_again(tx));
    }

    /// Whether there is no link, no handler, and nothing to be told: what waits is in the inbox of the session as well, and
    /// will be handled if only that is kept.
    pub fn is_cold(&self) -> bool {
        self.schedule.is_idle() && !self.work.has_job()
    }

    /// The session is here: nothing waits that it does not know of, and what its inbox has does.
    pub(super) fn meet(&mut self, tx: &Tx<P>) {
        if P::Queue::WAITS {
            self.work.retain_carried(|acked| tx.conn.is_unhandled(acked));
            self.load(tx);
        }
    }

    /// As [`meet`](Self::meet), on a link that has begun.
    fn meet_again(&mut self, tx: &Tx<P>) {
        if !tx.conn.phase().is_over() && tx.conn.session().is_some() {
            self.meet(tx);
        }
    }

    /// What a durable inbox has from an earlier process waits before anything that comes, as far as there is room.
    pub(super) fn load(&mut self, tx: &Tx<P>) {
        self.unloaded = false;
        if self.schedule.is_held() {
            return;
        }
        // Up to the last one that is here, they are here.
        let last = self.work.last_acked();
        let mut is_new = last.is_none();
        let (work, unloaded) = (&mut self.work, &mut self.unloaded);
        tx.conn.unhandled(|meta, payload| {
            if is_new {
                *unloaded = !work.carry(meta, payload);
            }
            is_new |= meta.acked == last;
            !*unloaded
        });
    }
}
