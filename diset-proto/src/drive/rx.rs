//! The receiving half: bytes that come, messages that wait, the one that is with a handler.

use core::task::{Context, Poll};
use core::time::Duration;

#[cfg(feature = "alloc")]
use super::held::Held;
use super::schedule::{Next, Over, Schedule};
use super::{Access, Ended, Event, Io, Opened, Parts, Turn, Tx};
#[cfg(feature = "alloc")]
use crate::conn::AdoptConfig;
use crate::conn::event::{Event as Told, Progress};
use crate::conn::role::ReadProposal;
use crate::conn::state::Phase;
use crate::conn::{Admission, ClientConfig};
use crate::error::{Cause, Misuse};
use crate::id::Trid;
use crate::limits::{LINGER_BYTES, Limits};
use crate::schema::{Catalog, MessageDef};
#[cfg(feature = "alloc")]
use crate::session::Outcome;
use crate::session::queue::{Acked, Meta, Queue};
use crate::session::work::{Completed, Running as _, Work};
use crate::status::{Code, Notice};
use crate::time::Instant;
use crate::wire::deframer::Deframer;
use crate::wire::frame::Frame;

mod across;

pub use self::across::Carried;

/// So often a turn looks again at what time demands; twice is what a connection takes to come to rest.
const ROUNDS: usize = 4;

/// After this time memory is asked for again that the output did not get.
const MEMORY_RETRY: Duration = Duration::from_millis(100);

/// The receiving half of a link, and of those that follow it.
///
/// One turn of any adapter: [`turn`](Self::turn), write [`Tx::output`], read, and [`next`](Self::next) until there is no
/// event. docs/EMBEDDING.md has the loop.
///
/// A message is in one place until it has an outcome: it waits, or it is lent to its handler, one at a time, in the order
/// in which they came. Nothing but the result of a handler is a success. When the link ends otherwise than by this side's
/// error or [`disconnect`](Tx::disconnect), plain messages that came before are still handled, then comes
/// [`Event::Ended`]; acked ones behind them come again, or are kept for the next link if the inbox of the session is
/// durable. The handler that runs then, and these messages, have 30 s.
///
/// The next link may begin meanwhile: [`Event::Connected`] comes when the one before has had its turn. What a durable inbox
/// has from an earlier process is handled first on it.
pub struct Rx<P: Parts> {
    pub(super) deframer: Deframer<P::Buffer>,
    pub(super) work: Work<P::Queue, P::Running>,
    pub(super) schedule: Schedule<P::Queue>,
    #[cfg(feature = "alloc")]
    pub(super) held: Held,
    /// The outcome of a message whose session is elsewhere.
    #[cfg(feature = "alloc")]
    pub(super) stray: Option<(Acked, Outcome)>,
    /// They serve one link, and its session goes on elsewhere.
    #[cfg(feature = "alloc")]
    pub(super) is_alone: bool,
    /// When bytes have come that the other half does not know of.
    pub(super) heard: Option<Instant>,
    /// The inbox has messages of an earlier process for which there was no room.
    pub(super) unloaded: bool,
    /// The time was over of what came on a link that is over.
    pub(super) expired: bool,
    /// How many bytes have come since the link is over.
    pub(super) discarded: usize,
}

/// What comes next, without what it borrows.
enum Found {
    Opened(Trid),
    /// The message that waits.
    Waiting(&'static MessageDef),
    /// A message straight from the input.
    Message(Meta, &'static MessageDef),
    /// With what reads it: a chip with a client carries none of that.
    Proposed(ReadProposal),
    Acknowledged,
    NextKey([u8; 32], Duration),
    GoingAway(Notice),
    /// The link is over; what waits is still to be handled, perhaps.
    Over,
    Ended(Ended),
}

/// Where the body of a frame lies.
enum At<'i> {
    Input(&'i [u8]),
    /// In the storage of the deframer, at its end; so long.
    Own(usize),
}

impl<P: Parts> Rx<P> {
    /// One without a transport. `frame` keeps a frame that comes in pieces: the frame limit of this side and 4 bytes.
    pub fn new(frame: P::Buffer, queue: P::Queue) -> Self {
        Self {
            deframer: Deframer::new(frame),
            work: Work::new(queue),
            schedule: Schedule::new(),
            #[cfg(feature = "alloc")]
            held: Held::default(),
            #[cfg(feature = "alloc")]
            stray: None,
            #[cfg(feature = "alloc")]
            is_alone: false,
            heard: None,
            unloaded: false,
            expired: false,
            discarded: 0,
        }
    }

    /// For one link: its session is [taken](Tx::take_session) when another one begins, and what has not begun here comes again
    /// there, or is in its inbox. So acked messages that wait when the link ends are not promised to be handled here.
    #[cfg(feature = "alloc")]
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.is_alone = true;
        self
    }

    /// What it was made of.
    pub fn into_parts(self) -> (P::Buffer, P::Queue) {
        (self.deframer.into_storage(), self.work.into_queue())
    }

    // ── a link begins ───────────────────────────────────────────────────────────────

    /// Client: begins a link on a new transport. The proposal is ready to be written. A session in `tx` goes on, and so does
    /// what is left of the link before.
    ///
    /// # Errors
    /// [`Misuse::WrongPhase`] when there is a link whose transport is not over; else as for [`Connection::client`](crate::Connection::client). There is no link then.
    pub fn connect(&mut self, now: Instant, tx: &mut impl Access<P>, config: &ClientConfig<'_>) -> Result<(), Misuse> {
        self.begin(now, tx, |tx| tx.conn.connect(now, config))?;
        tx.with(|tx| self.meet(tx));
        Ok(())
    }

    /// Client: as [`connect`](Self::connect), without a catalog and without a session. It takes the catalog of the
    /// service (PROTOCOL H-10): [`Connection::learned`](crate::Connection::learned), once the link is open.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    #[cfg(feature = "alloc")]
    pub fn adopt(&mut self, now: Instant, tx: &mut impl Access<P>, config: &AdoptConfig<'_>) -> Result<(), Misuse> {
        self.begin(now, tx, |tx| tx.conn.adopt(now, config))
    }

    /// Service: waits for the proposal of a client on a new transport.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and for [`Connection::service`](crate::Connection::service).
    pub fn listen(
        &mut self,
        now: Instant,
        tx: &mut impl Access<P>,
        catalog: &'static Catalog,
        limits: Limits,
    ) -> Result<(), Misuse> {
        self.begin(now, tx, |tx| tx.conn.listen(now, catalog, limits))
    }

    fn begin(
        &mut self,
        now: Instant,
        tx: &mut impl Access<P>,
        begin: impl FnOnce(&mut Tx<P>) -> Result<(), Misuse>,
    ) -> Result<(), Misuse> {
        tx.with(|tx| {
            self.complete(now, tx);
            // Where nothing can wait there is one link at a time.
            if !P::Queue::WAITS && (self.work.has_job() || self.schedule.has_ended()) {
                return Err(Misuse::WrongPhase);
            }
            begin(tx)?;
            self.deframer.restart();
            self.discarded = 0;
            Ok(())
        })
    }

    /// Service: admits the client whose proposal waits. [`Event::Connected`] follows, if need be after its definitions
    /// were asked for.
    ///
    /// # Errors
    /// [`Misuse::WrongPhase`] when no proposal waits for an answer.
    pub fn admit(&mut self, now: Instant, tx: &mut impl Access<P>, admission: Admission) -> Result<(), Misuse> {
        tx.with(|tx| {
            let event = tx.conn.accept(now, admission)?;
            self.admitted(event, tx);
            Ok(())
        })
    }

    /// As [`admit`](Self::admit), with the session that has welcomed the client.
    ///
    /// # Errors
    /// As [`admit`](Self::admit); the session comes back.
    #[cfg(feature = "alloc")]
    pub fn admit_in_session(
        &mut self,
        now: Instant,
        tx: &mut impl Access<P>,
        admission: Admission,
        session: P::Session,
    ) -> Result<(), (Misuse, P::Session)> {
        tx.with(|tx| {
            let event = tx.conn.accept_in_session(now, admission, session)?;
            self.admitted(event, tx);
            Ok(())
        })
    }

    fn admitted(&mut self, event: Option<Told<'_>>, tx: &mut Tx<P>) {
        if let Some(Told::Connected(trid)) = event {
            self.schedule.opened(trid);
        }
        self.meet(tx);
    }

    /// Service: refuses the client whose proposal waits.
    ///
    /// # Errors
    /// [`Misuse::WrongPhase`] when no proposal waits for an answer.
    pub fn refuse(&mut self, tx: &mut impl Access<P>, notice: Notice) -> Result<(), Misuse> {
        tx.with(|tx| tx.conn.refuse(notice))
    }

    // ── what comes ──────────────────────────────────────────────────────────────────

    /// What comes next: a message that waits, when none is with a handler, else what is in `input`, which is advanced.
    /// `None`: all of the input is taken in. The rest of it is left, to be given again later, where there is no queue and a
    /// handler waits, or an inbox has more from an earlier process than the queue takes.
    pub fn next<'p, 'i: 'p>(
        &'p mut self,
        now: Instant,
        tx: &mut impl Access<P>,
        input: &mut &'i [u8],
    ) -> Option<Event<'p, P>> {
        // What was left is given once more, and is no news.
        if !input.is_empty() && !self.unloaded {
            self.heard = Some(now);
        }
        let length = input.len();
        let (found, at) = tx.with(|tx| {
            let found = self.find(now, tx, input);
            self.discard(now, length - input.len(), tx);
            found
        })?;
        // Only now something is lent: what passes over frames cannot borrow the one that it ends with.
        let Self { deframer, work, .. } = self;
        let body = match at {
            At::Input(body) => body,
            At::Own(length) => deframer.lent(length),
        };
        Some(match found {
            Found::Opened(trid) => Event::Connected(Opened { trid }),
            Found::Waiting(def) if P::Queue::WAITS => Event::Message(work.lend_front(def)?),
            Found::Waiting(_) => return None,
            // The number stands before the payload.
            Found::Message(meta, def) => Event::Message(work.lend(meta, body.get(1..)?, def)),
            Found::Proposed(read) => Event::Proposed(read(body)?),
            Found::Acknowledged => Event::Acknowledged,
            Found::NextKey(hash, lasts) => Event::NextKey(hash, lasts),
            Found::GoingAway(notice) => Event::GoingAway(notice),
            Found::Over => return None,
            Found::Ended(ended) => Event::Ended(ended),
        })
    }

    /// Bytes have come that are no plaintext yet: the peer lives (PROTOCOL K-4).
    pub const fn heard(&mut self, now: Instant) {
        self.heard = Some(now);
    }

    /// The transport has ended or failed, after all that came was given to [`next`](Self::next).
    pub fn ended(&mut self, now: Instant, tx: &mut impl Access<P>) {
        tx.with(|tx| {
            self.complete(now, tx);
            self.lost(now, tx);
        });
    }

    /// What became of a message whose session was [taken](Tx::take_session) meanwhile: the connection with which that began,
    /// and the number in it. Ask after each call of [`next`](Self::next), [`turn`](Self::turn) and [`ended`](Self::ended), and
    /// tell the session.
    #[cfg(feature = "alloc")]
    pub const fn take_stray(&mut self) -> Option<(Trid, u64, Outcome)> {
        match self.stray.take() {
            Some((Acked { began, number }, outcome)) => Some((began, number, outcome)),
            None => None,
        }
    }

    // ── handlers that wait ──────────────────────────────────────────────────────────

    /// Goes on with the handler that waits: ready when none does any more. Then ask [`next`](Self::next).
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.work.poll(cx)
    }

    /// A callback for what [`next`](Self::next) has just told, [`Event::Connected`] or [`Event::Ended`], runs in the place of
    /// a handler: no message is lent before it has come to its end. When the one for a link that is open fails, that ends,
    /// with its code. The one for a link that is over has 30 s.
    pub fn callback(&mut self, cx: &mut Context<'_>, make: impl FnOnce(&mut P::Running)) {
        self.work.call(!self.schedule.is_open(), cx, make);
    }

    /// Whether a message is with its handler or a callback runs, or what it came to does not count yet.
    pub const fn has_job(&self) -> bool {
        self.work.has_job()
    }

    /// The place for handlers, for what an adapter keeps there.
    pub const fn running(&mut self) -> &mut P::Running {
        self.work.running_mut()
    }

    /// The time is over of the handler that waits, and of messages of a link that has ended; [`turn`](Self::turn) does so
    /// 30 s after the end. `Pending` as long as the handler cannot be dropped: [`poll`](Self::poll) goes on with it.
    pub fn expire(&mut self) -> Poll<()> {
        let unhandled = self.work.drop_rest();
        self.schedule.leaves(unhandled);
        self.schedule.expired();
        self.expired = true;
        self.work.expire()
    }

    // ── what must happen next ───────────────────────────────────────────────────────

    /// Deals with time, acknowledgements, grants and whatever else is due, as far as there is room in the output. When
    /// some of the output was written another turn is due: it may be the last of a link that ends.
    pub fn turn(&mut self, now: Instant, tx: &mut impl Access<P>) -> Turn {
        if self.schedule.until(&self.work).is_some_and(|until| until <= now) {
            // What takes longer goes on by `poll`. Not with the other half at hand: this drops a handler.
            let _ = self.expire();
        }
        tx.with(|tx| {
            self.complete(now, tx);
            let mut wake = None;
            for _ in 0..ROUNDS {
                if tx.conn.handle_time(now).is_some() {
                    self.over(now, tx);
                }
                tx.conn.transmit();
                wake = tx.conn.wake();
                if wake.is_none_or(|wake| wake > now) {
                    break;
                }
            }
            let io = match tx.conn.progress() {
                Progress::Running => Io::Run,
                Progress::Finish => Io::Finish,
                Progress::Over => Io::Over,
            };
            // What waits is lent by `next`, and needs no bytes for that.
            let ready = self.schedule.has_news(&self.work) || (P::Queue::WAITS && self.turn_of(now, tx).is_some());
            #[cfg(feature = "alloc")]
            let ready = ready || self.held.is_ready(&tx.conn);
            // One whose time has come, and that may not begin, waits for something else.
            let retry = self
                .work
                .wake()
                .filter(|at| *at > now && self.schedule.lends(&self.work));
            let memory = tx.conn.waits_for_memory().then(|| now.after(MEMORY_RETRY));
            let until = self.schedule.until(&self.work);
            let at = [wake, retry, memory, until, ready.then_some(now)];
            Turn {
                io,
                wake: at.into_iter().flatten().min(),
            }
        })
    }

    // ── inside ──────────────────────────────────────────────────────────────────────

    /// What has happened since the other half was at hand.
    fn complete(&mut self, now: Instant, tx: &mut Tx<P>) {
        if let Some(heard) = self.heard.take() {
            tx.conn.handle_received(heard);
        }
        if let Some(completed) = self.work.complete(now) {
            self.count(&completed, tx);
        }
        if P::Queue::WAITS
            && core::mem::take(&mut self.expired)
            && !self.is_alone()
            && let Some(above) = tx.conn.stop_waiting()
        {
            self.work.forget(above);
        }
    }

    fn count(&mut self, completed: &Completed, tx: &mut Tx<P>) {
        let stray = tx.conn.complete(completed, self.work.running().told());
        #[cfg(feature = "alloc")]
        {
            self.stray = stray.or(self.stray);
        }
        #[cfg(not(feature = "alloc"))]
        let _ = stray;
    }

    #[cfg_attr(
        not(feature = "alloc"),
        expect(clippy::unused_self, reason = "the same call as with `alloc`")
    )]
    const fn is_alone(&self) -> bool {
        #[cfg(feature = "alloc")]
        return self.is_alone;
        #[cfg(not(feature = "alloc"))]
        false
    }

    /// The message whose turn it is is not to be handled here: nothing that came behind it passes it (PROTOCOL Q-7). When
    /// that is so because another link has taken the session, which gets it again, nothing of this one may (PROTOCOL M-3).
    fn pass_over(&mut self, tx: &mut Tx<P>) {
        let mut unhandled = self.work.drop_rest();
        self.work.pop();
        if self.is_alone() && tx.conn.session().is_none() {
            unhandled += self.work.drop_plain();
            self.schedule.expired();
            tx.conn.disconnect(Notice::new(Code::Displaced));
        }
        self.schedule.leaves(unhandled);
    }

    fn lost(&mut self, now: Instant, tx: &mut Tx<P>) {
        if tx.conn.handle_eof().is_some() {
            self.over(now, tx);
        }
    }

    /// The link is over, or another one takes over. Acked messages that are not to have their turn come again, unless they
    /// are kept.
    fn over(&mut self, now: Instant, tx: &mut Tx<P>) {
        #[cfg(feature = "alloc")]
        let gone = self.held.clear();
        let ours = tx.is_stopped() || tx.conn.cause().is_none();
        let waits = self.schedule.over(now, ours, || cause(tx), &mut self.work);
        #[cfg(feature = "alloc")]
        self.schedule.leaves(gone);
        self.unloaded = false;
        if !self.is_alone()
            && let Some(above) = tx.conn.waits_through(waits)
        {
            self.work.forget(above);
        }
    }

    /// What comes after the end is read so that the last word gets there, but not without end (PROTOCOL E-4).
    fn discard(&mut self, now: Instant, count: usize, tx: &mut Tx<P>) {
        if tx.conn.phase() == Phase::Closing {
            self.discarded = self.discarded.saturating_add(count);
            if self.discarded > LINGER_BYTES {
                self.lost(now, tx);
            }
        }
    }

    /// The message whose turn it is. `Some(None)`: it is not to be handled at all.
    fn turn_of(&self, now: Instant, tx: &Tx<P>) -> Option<Option<Meta>> {
        let meta = self.work.waiting(now).filter(|_| self.schedule.lends(&self.work))?;
        // Its session is on the way to another link, and comes back.
        if meta.acked.is_some() && !self.is_alone() && tx.conn.session().is_none() {
            return None;
        }
        // Not when this side has ended it, and has not said so yet.
        if tx.conn.phase().is_over() && !self.work.has_rest() {
            return None;
        }
        match tx.conn.may_begin(&meta) {
            Some(true) => Some(Some(meta)),
            Some(false) => None,
            None => Some(None),
        }
    }

    fn find<'i>(&mut self, now: Instant, tx: &mut Tx<P>, input: &mut &'i [u8]) -> Option<(Found, At<'i>)> {
        self.complete(now, tx);
        'turns: loop {
            match self.schedule.next(now, &self.work) {
                Next::Ended(over, unhandled) => {
                    let Over { trid, cause } = over.unwrap_or_else(|| Over {
                        trid: tx.conn.trid(),
                        cause: cause(tx),
                    });
                    let ended = Ended { trid, cause, unhandled };
                    return Some((Found::Ended(ended), At::Own(0)));
                }
                Next::Connected => {
                    let trid = self.schedule.trid().or_else(|| tx.conn.trid())?;
                    return Some((Found::Opened(trid), At::Own(0)));
                }
                Next::Messages | Next::Nothing => {}
            }
            // Where nothing waits, nothing of this is linked.
            while P::Queue::WAITS
                && let Some(turn) = self.turn_of(now, tx)
            {
                let Some(meta) = turn else {
                    self.pass_over(tx);
                    continue 'turns;
                };
                if let Some(def) = tx.conn.begin_handler(&meta) {
                    return Some((Found::Waiting(def), At::Own(0)));
                }
                // What an inbox has may be defined no more.
                if let Some(completed) = self.work.refuse_front(Code::UnknownMessage) {
                    self.count(&completed, tx);
                }
            }
            if P::Queue::WAITS && self.schedule.lends(&self.work) && self.work.waiting(now).is_some() {
                tx.conn.cannot_begin();
            }
            if P::Queue::WAITS && self.unloaded && tx.conn.trid().is_some() {
                if self.work.has_acked() {
                    return None;
                }
                self.load(tx);
                if self.unloaded && !self.work.has_acked() {
                    // It finds no room, and there will be some only if something else waits here.
                    if self.work.is_empty() {
                        tx.conn.lacks_room(false);
                    }
                    return None;
                }
                continue;
            }
            #[cfg(feature = "alloc")]
            if let Some(kept) = self.held.next(&tx.conn) {
                let frame = tx.conn.turn_of(&kept);
                match deal(&mut self.work, false, now, tx, frame) {
                    None => {}
                    Some(Found::Over) => self.over(now, tx),
                    Some(found) => return Some((found, At::Own(0))),
                }
                continue;
            }
            if !P::Queue::WAITS && self.work.has_job() {
                return None;
            }
            let whole = *input;
            let frame = self.deframer.next(input, tx.conn.max_frame())?;
            #[cfg(feature = "alloc")]
            if self.held.keep(&frame, &tx.conn) {
                continue;
            }
            let length = frame.0.as_ref().map_or(0, |raw| raw.body.len());
            let lends = self.schedule.lends(&self.work);
            let found = match deal(&mut self.work, lends, now, tx, frame) {
                Some(Found::Opened(trid)) => {
                    self.schedule.opened(trid);
                    // It may be told later; outcomes that wait keep stored messages from leaving.
                    let later = !self.schedule.has_news(&self.work);
                    (later && tx.conn.has_outcomes()).then_some(Found::Acknowledged)
                }
                Some(Found::Over) => {
                    self.over(now, tx);
                    None
                }
                found => found,
            };
            if let Some(found) = found {
                let end = whole.len() - input.len();
                let at = if self.deframer.is_lent() {
                    At::Own(length)
                } else {
                    At::Input(whole.get(end.saturating_sub(length)..end).unwrap_or_default())
                };
                return Some((found, at));
            }
        }
    }
}

/// Deals with a frame: what is to be told, or that the link is over. A message is told when nothing stands before it, and
/// has begun; else it waits.
fn deal<P: Parts>(
    work: &mut Work<P::Queue, P::Running>,
    lends: bool,
    now: Instant,
    tx: &mut Tx<P>,
    frame: Frame<'_>,
) -> Option<Found> {
    let message = match tx.conn.handle_frame(now, frame)? {
        Told::Message(message) => message,
        Told::Proposed(_) => return tx.conn.proposal_reader().map(Found::Proposed),
        Told::Connected(trid) => return Some(Found::Opened(trid)),
        Told::Acknowledged => return Some(Found::Acknowledged),
        Told::NextKey(hash, lasts) | Told::NextKeyRemembered(hash, lasts) => return Some(Found::NextKey(hash, lasts)),
        Told::GoingAway(notice) => return Some(Found::GoingAway(notice)),
        Told::Dropped(_) => return Some(Found::Over),
    };
    tx.conn.leave_to_work();
    let meta = Meta {
        number: message.number,
        cost: message.cost,
        acked: message.number_in_session().map(|number| Acked {
            began: tx.conn.session_began(),
            number,
        }),
        repeated: message.repeated,
    };
    if lends
        && work.is_empty()
        && tx.conn.may_begin(&meta) == Some(true)
        && let Some(def) = tx.conn.begin_handler(&meta)
    {
        return Some(Found::Message(meta, def));
    }
    if !work.accept(&meta, message.payload.0) {
        tx.conn.lacks_room(work.has_old());
    }
    None
}

/// Why the link is over.
fn cause<P: Parts>(tx: &Tx<P>) -> Cause {
    let displaced = || Cause::OurError(Notice::new(Code::Displaced));
    tx.conn.cause().cloned().unwrap_or_else(displaced)
}
