//! Whose turn it is across links: what waits of the one that is over, the end of that, the next one, its messages.

use core::time::Duration;

use super::Ended;
use crate::error::Cause;
use crate::id::Trid;
use crate::session::queue::{Acked, Queue};
use crate::session::work::{Running, Work};
use crate::time::Instant;

/// How long a handler and messages may go on when their link is over, and then the callback that is told of the end.
const GRACE: Duration = Duration::from_secs(30);

/// What is to happen next, apart from what is read.
pub(crate) enum Next {
    /// A link is over, and its messages have had their turn: to be told.
    Ended(Ended),
    /// A link is open, and nothing of an earlier one has its turn any more: to be told.
    Connected(Trid),
    /// Messages may be lent.
    Messages,
    /// Something runs, or there is no link.
    Nothing,
}

/// In which order links have their turn. It knows of no half, and travels with what waits.
///
/// Handler that runs → messages up to the last plain one → end → next link opens → its messages. A link that ends before
/// it was told to be open, while another one has its turn, leaves no mark: two are enough, however many come and go.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    /// The link whose messages have their turn: it was told to be open, and is not over.
    link: Option<Trid>,
    /// One that is open, and not told.
    opened: Option<Trid>,
    /// One that is over, and not told.
    ended: Option<Ended>,
    /// Until when what is of a link that is over may go on.
    until: Option<Instant>,
    /// What is of earlier links comes from elsewhere, or has gone there.
    held: bool,
}

impl Schedule {
    pub(crate) const NEW: Self = Self {
        link: None,
        opened: None,
        ended: None,
        until: None,
        held: false,
    };

    /// A link is open.
    pub(crate) const fn opened(&mut self, trid: Trid) {
        self.opened = Some(trid);
    }

    /// Nothing has its turn until [`take_over`](Self::take_over) or [`release`](Self::release).
    pub(crate) const fn hold(&mut self) {
        self.held = true;
    }

    pub(crate) const fn release(&mut self) {
        self.held = false;
    }

    /// It goes on with what another one had.
    pub(crate) fn take_over(&mut self, older: Self) {
        *self = Self {
            opened: self.opened,
            held: false,
            ..older
        };
    }

    /// See [`hold`](Self::hold).
    pub(crate) const fn is_held(&self) -> bool {
        self.held
    }

    /// Whether there is a link, told to be open or not.
    pub(crate) const fn has_link(&self) -> bool {
        self.link.is_some() || self.opened.is_some()
    }

    /// Whether there is a link that was told to be open, and not to be over.
    pub(crate) const fn is_open(&self) -> bool {
        self.link.is_some()
    }

    /// The link is over, for this reason. The last acked message of it, or of an earlier one, that has its turn yet.
    pub(crate) fn over<Q: Queue, R: Running>(
        &mut self,
        now: Instant,
        cause: Cause,
        work: &mut Work<Q, R>,
    ) -> Option<Acked> {
        let trid = self.link.take();
        self.opened = None;
        let ours = matches!(cause, Cause::OurError(_) | Cause::WeRefused(_));
        if self.ended.is_some() || (trid.is_none() && work.has_job_of_over()) {
            // It has come and gone while another one has its turn.
            return work.end_link(false).1;
        }
        let (unhandled, last) = work.end_link(trid.is_some() && !ours);
        self.ended = Some(Ended { trid, cause, unhandled });
        self.until = Some(now.after(GRACE));
        last
    }

    /// What is to happen next.
    pub(crate) fn next<Q: Queue, R: Running>(&mut self, now: Instant, work: &Work<Q, R>) -> Next {
        if self.held || work.has_job() {
            return Next::Nothing;
        }
        if work.has_rest() {
            return Next::Messages;
        }
        if let Some(ended) = self.ended.take() {
            self.until = Some(now.after(GRACE));
            return Next::Ended(ended);
        }
        self.until = None;
        if let Some(trid) = self.opened.take() {
            self.link = Some(trid);
            return Next::Connected(trid);
        }
        if self.link.is_some() {
            return Next::Messages;
        }
        Next::Nothing
    }

    /// Whether something is to be [told](Self::next) now.
    pub(crate) fn has_news<Q: Queue, R: Running>(&self, work: &Work<Q, R>) -> bool {
        (self.ended.is_some() || self.opened.is_some()) && self.may_lend(work) && !work.has_rest()
    }

    /// Whether nothing is with a handler, or elsewhere.
    fn may_lend<Q: Queue, R: Running>(&self, work: &Work<Q, R>) -> bool {
        !self.held && !work.has_job()
    }

    /// Whether messages may be lent now: see [`Next::Messages`].
    pub(crate) fn lends<Q: Queue, R: Running>(&self, work: &Work<Q, R>) -> bool {
        self.may_lend(work)
            && (work.has_rest() || (self.ended.is_none() && self.opened.is_none() && self.link.is_some()))
    }

    /// When the time of what is of a link that is over ends.
    pub(crate) fn until<Q: Queue, R: Running>(&self, work: &Work<Q, R>) -> Option<Instant> {
        self.until.filter(|_| self.ended.is_some() || work.has_job_of_over())
    }

    /// The time is over, once.
    pub(crate) const fn expired(&mut self) {
        self.until = None;
    }

    /// So many messages of the link that is over are not handled.
    pub(crate) fn leaves(&mut self, unhandled: usize) {
        if let Some(ended) = &mut self.ended {
            ended.unhandled += unhandled;
        }
    }

    /// Whether there is no link, and nothing is to be told.
    pub(crate) const fn is_idle(&self) -> bool {
        !self.has_link() && self.ended.is_none() && !self.held
    }
}
