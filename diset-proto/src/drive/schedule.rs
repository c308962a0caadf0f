//! Whose turn it is across links: what waits of the one that is over, the end of that, the next one, its messages.

use core::time::Duration;

use crate::error::Cause;
use crate::id::Trid;
use crate::session::queue::{Acked, Aside as _, Queue};
use crate::session::work::{Running, Work};
use crate::time::Instant;

/// How long a handler and messages may go on when their link is over, and then the callback that is told of the end.
const GRACE: Duration = Duration::from_secs(30);

/// What is to happen next, apart from what is read.
pub(crate) enum Next {
    /// A link is over, and its messages have had their turn: to be told. Which link, and why, if that is kept here; how many
    /// plain messages were not handled.
    Ended(Option<Over>, usize),
    /// A link is open, and nothing of an earlier one has its turn any more: to be told.
    Connected,
    /// Messages may be lent.
    Messages,
    /// Something runs, or there is no link.
    Nothing,
}

/// A link that is over.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Over {
    /// When it was told to be open.
    pub(crate) trid: Option<Trid>,
    pub(crate) cause: Cause,
}

/// In which order links have their turn. It knows of no half, and travels with what waits.
///
/// Handler that runs → messages up to the last plain one → end → next link opens → its messages. A link that ends before
/// it was told to be open, while another one has its turn, leaves no mark: two are enough, however many come and go.
#[cfg_attr(any(test, feature = "snapshot"), derive(Clone))]
#[cfg_attr(feature = "snapshot", derive(Hash))]
pub(crate) struct Schedule<Q: Queue> {
    /// There is a link whose messages have their turn: it was told to be open, and is not over.
    told: bool,
    /// There is one that is open, and not told.
    opened: bool,
    /// There is one that is over, and not told: how many plain messages were not handled.
    ended: Option<usize>,
    /// What is of earlier links comes from elsewhere, or has gone there.
    held: bool,
    links: Q::Aside<Links>,
}

/// What is known of links. Where nothing waits there is one link at a time, and the other half knows it.
#[derive(Debug, Clone, Default, Hash)]
struct Links {
    told: Option<Trid>,
    opened: Option<Trid>,
    ended: Option<Over>,
    /// Until when what is of a link that is over may go on.
    until: Option<Instant>,
}

impl<Q: Queue> Schedule<Q> {
    pub(crate) fn new() -> Self {
        Self {
            told: false,
            opened: false,
            ended: None,
            held: false,
            links: Q::Aside::default(),
        }
    }

    /// A link is open.
    pub(crate) fn opened(&mut self, trid: Trid) {
        self.opened = true;
        self.links.edit(|links| links.opened = Some(trid));
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
        let opened = (self.opened, self.links.look(|links| links.opened));
        *self = older;
        (self.opened, self.held) = (opened.0, false);
        self.links.edit(|links| links.opened = opened.1);
    }

    /// See [`hold`](Self::hold).
    pub(crate) const fn is_held(&self) -> bool {
        self.held
    }

    /// Whether there is a link, told to be open or not.
    pub(crate) const fn has_link(&self) -> bool {
        self.told || self.opened
    }

    /// Whether there is a link that was told to be open, and not to be over.
    pub(crate) const fn is_open(&self) -> bool {
        self.told
    }

    /// Whether a link is over, and not told.
    pub(crate) const fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// The link is over, for this reason; `ours`: this side has ended it. The last acked message of it, or of an earlier
    /// one, that has its turn yet.
    pub(crate) fn over<R: Running>(
        &mut self,
        now: Instant,
        ours: bool,
        cause: impl FnOnce() -> Cause,
        work: &mut Work<Q, R>,
    ) -> Option<Acked> {
        let told = core::mem::take(&mut self.told);
        self.opened = false;
        let trid = self.links.edit(|links| {
            links.opened = None;
            links.told.take()
        });
        if self.ended.is_some() || (!told && work.has_job_of_over()) {
            // It has come and gone while another one has its turn.
            return work.end_link(false).1;
        }
        let (unhandled, last) = work.end_link(told && !ours);
        self.ended = Some(unhandled);
        self.links.edit(|links| {
            links.ended = Some(Over { trid, cause: cause() });
            links.until = Some(now.after(GRACE));
        });
        last
    }

    /// What is to happen next.
    pub(crate) fn next<R: Running>(&mut self, now: Instant, work: &Work<Q, R>) -> Next {
        if self.held || work.has_job() {
            return Next::Nothing;
        }
        if work.has_rest() {
            return Next::Messages;
        }
        if let Some(unhandled) = self.ended.take() {
            return Next::Ended(
                self.links.edit(|links| {
                    links.until = Some(now.after(GRACE));
                    links.ended.take()
                }),
                unhandled,
            );
        }
        self.links.edit(|links| links.until = None);
        if core::mem::take(&mut self.opened) {
            self.told = true;
            self.links.edit(|links| links.told = links.opened.take());
            return Next::Connected;
        }
        if self.told {
            return Next::Messages;
        }
        Next::Nothing
    }

    /// The link that was told to be open, if that is kept here.
    pub(crate) fn trid(&self) -> Option<Trid> {
        self.links.look(|links| links.told)
    }

    /// Whether something is to be [told](Self::next) now.
    pub(crate) fn has_news<R: Running>(&self, work: &Work<Q, R>) -> bool {
        (self.ended.is_some() || self.opened) && self.may_lend(work) && !work.has_rest()
    }

    /// Whether nothing is with a handler, or elsewhere.
    fn may_lend<R: Running>(&self, work: &Work<Q, R>) -> bool {
        !self.held && !work.has_job()
    }

    /// Whether messages may be lent now: see [`Next::Messages`].
    pub(crate) fn lends<R: Running>(&self, work: &Work<Q, R>) -> bool {
        self.may_lend(work) && (work.has_rest() || (self.ended.is_none() && !self.opened && self.told))
    }

    /// When the time of what is of a link that is over ends.
    pub(crate) fn until<R: Running>(&self, work: &Work<Q, R>) -> Option<Instant> {
        let until = self.links.look(|links| links.until);
        until.filter(|_| self.ended.is_some() || work.has_job_of_over())
    }

    /// The time is over, once.
    pub(crate) fn expired(&mut self) {
        self.links.edit(|links| links.until = None);
    }

    /// So many more messages of the link that is over are not handled.
    pub(crate) fn leaves(&mut self, more: usize) {
        if let Some(unhandled) = &mut self.ended {
            *unhandled += more;
        }
    }

    /// Whether there is no link, and nothing is to be told.
    pub(crate) const fn is_idle(&self) -> bool {
        !self.has_link() && self.ended.is_none() && !self.held
    }
}
