//! The receiving half: bytes that come, messages that wait, the one that is with a handler.

use core::task::{Context, Poll};
use core::time::Duration;

use super::schedule::{Next, Schedule};
use super::{Access, Ended, Event, Io, Opened, Parts, Turn, Tx};
use crate::conn::event::{Event as Told, Progress};
use crate::conn::state::Phase;
use crate::conn::{Admission, ClientConfig};
use crate::error::{Cause, Misuse};
use crate::id::Trid;
use crate::limits::{LINGER_BYTES, Limits};
use crate::schema::{Catalog, MessageDef};
use crate::session::queue::{Acked, Meta, Queue};
use crate::session::work::Work;
use crate::status::{Code, Notice};
use crate::time::Instant;
use crate::wire::deframer::Deframer;
use crate::wire::frame::Frame;
use crate::wire::packet::Proposal;

mod across;

pub use self::across::Carried;

/// So often a turn looks again at what time demands; twice is what a connection takes to come to rest.
const ROUNDS: usize = 4;

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
    deframer: Deframer<P::Buffer>,
    work: Work<P::Queue, P::Running>,
    schedule: Schedule,
    /// When bytes have come that the other half does not know of.
    heard: Option<Instant>,
    /// The inbox has messages of an earlier process for which there was no room.
    unloaded: bool,
    /// The time was over of what came on a link that is over.
    expired: bool,
    /// How many bytes have come since the link is over.
    discarded: usize,
}

/// What comes next, without what it borrows.
enum Found {
    Opened(Trid),
    /// The message that waits.
    Waiting(&'static MessageDef),
    /// A message straight from the input.
    Message(Meta, &'static MessageDef),
    Proposed,
    Acknowledged,
    NextKey([u8; 32], Duration),
    GoingAway(Notice),
    Ended(Ended),
}

/// Where the body of a frame lies.
enum At<'i> {
    Input(&'i [u8]),
    /// In the storage of the deframer.
    Own,
}

impl<P: Parts> Rx<P> {
    /// One without a transport. `frame` keeps a frame that comes in pieces: the frame limit of this side and 4 bytes.
    pub fn new(frame: P::Buffer, queue: P::Queue) -> Self {
        Self {
            deframer: Deframer::new(frame),
            work: Work::new(queue),
            schedule: Schedule::NEW,
            heard: None,
            unloaded: false,
            expired: false,
            discarded: 0,
        }
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
    /// `None`: all of the input is taken in. Where there is no queue, and a handler waits, the rest of it is left.
    pub fn next<'p, 'i: 'p>(
        &'p mut self,
        now: Instant,
        tx: &mut impl Access<P>,
        input: &mut &'i [u8],
    ) -> Option<Event<'p, P>> {
        if !input.is_empty() {
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
            At::Own => deframer.lent().map(|frame| frame.body).unwrap_or_default(),
        };
        Some(match found {
            Found::Opened(trid) => Event::Connected(Opened { trid }),
            Found::Waiting(def) => Event::Message(work.lend_front(def)?),
            // The number stands before the payload.
            Found::Message(meta, def) => Event::Message(work.lend(meta, body.get(1..)?, def)),
            Found::Proposed => Event::Proposed(Proposal::read(body).ok()?),
            Found::Acknowledged => Event::Acknowledged,
            Found::NextKey(hash, lasts) => Event::NextKey(hash, lasts),
            Found::GoingAway(notice) => Event::GoingAway(notice),
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
        tx.with(|tx| {
            self.complete(now, tx);
            if self.schedule.until(&self.work).is_some_and(|until| until <= now) {
                // What takes longer goes on by `poll`.
                let _ = self.expire();
                self.complete(now, tx);
            }
            let mut wake = None;
            for _ in 0..ROUNDS {
                if let Some(Told::Dropped(cause)) = tx.conn.handle_time(now) {
                    self.over(now, cause, tx);
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
            let ready = self.schedule.has_news(&self.work) || self.turn_of(now, tx).is_some();
            // One whose time has come, and that may not begin, waits for something else.
            let retry = self
                .work
                .wake()
                .filter(|at| *at > now && self.schedule.lends(&self.work));
            let at = [wake, retry, self.schedule.until(&self.work), ready.then_some(now)];
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
            tx.conn.complete(&completed);
        }
        if core::mem::take(&mut self.expired)
            && let Some(above) = tx.conn.stop_waiting()
        {
            self.work.forget(above);
        }
    }

    fn lost(&mut self, now: Instant, tx: &mut Tx<P>) {
        if let Some(Told::Dropped(cause)) = tx.conn.handle_eof() {
            self.over(now, cause, tx);
        }
    }

    /// The link is over for this reason. Acked messages that are not to have their turn come again, unless they are kept.
    fn over(&mut self, now: Instant, cause: Cause, tx: &mut Tx<P>) {
        let waits = self.schedule.over(now, cause, &mut self.work);
        if let Some(above) = tx.conn.waits_through(waits) {
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
                Next::Ended(ended) => return Some((Found::Ended(ended), At::Own)),
                Next::Connected(trid) => return Some((Found::Opened(trid), At::Own)),
                Next::Messages | Next::Nothing => {}
            }
            while let Some(turn) = self.turn_of(now, tx) {
                let Some(meta) = turn else {
                    // Nothing that came behind it passes it (PROTOCOL Q-7).
                    let unhandled = self.work.drop_rest();
                    self.schedule.leaves(unhandled);
                    self.work.pop();
                    continue 'turns;
                };
                if let Some(def) = tx.conn.begin_handler(&meta) {
                    return Some((Found::Waiting(def), At::Own));
                }
                // What an inbox has may be defined no more.
                if let Some(completed) = self.work.refuse_front(Code::UnknownMessage) {
                    tx.conn.complete(&completed);
                }
            }
            if self.schedule.lends(&self.work) && self.work.waiting(now).is_some() {
                tx.conn.cannot_begin();
            }
            if self.unloaded && tx.conn.trid().is_some() {
                if self.work.has_acked() {
                    return None;
                }
                self.load(tx);
                continue;
            }
            if !P::Queue::WAITS && self.work.has_job() {
                return None;
            }
            let whole = *input;
            let frame = self.deframer.next(input, tx.conn.max_frame())?;
            let length = frame.0.as_ref().map_or(0, |raw| raw.body.len());
            let lends = self.schedule.lends(&self.work);
            let found = match deal(&mut self.work, lends, now, tx, frame) {
                Ok(Some(Found::Opened(trid))) => {
                    self.schedule.opened(trid);
                    // It may be told later; outcomes that wait keep stored messages from leaving.
                    tx.conn.has_outcomes().then_some(Found::Acknowledged)
                }
                Ok(found) => found,
                Err(cause) => {
                    self.over(now, cause, tx);
                    None
                }
            };
            if let Some(found) = found {
                let end = whole.len() - input.len();
                let at = match self.deframer.lent() {
                    Some(_) => At::Own,
                    None => At::Input(whole.get(end.saturating_sub(length)..end).unwrap_or_default()),
                };
                return Some((found, at));
            }
        }
    }
}

/// Deals with a frame: what is to be told, or why the link is over. A message is told when nothing stands before it, and
/// has begun; else it waits.
fn deal<P: Parts>(
    work: &mut Work<P::Queue, P::Running>,
    lends: bool,
    now: Instant,
    tx: &mut Tx<P>,
    frame: Frame<'_>,
) -> Result<Option<Found>, Cause> {
    let message = match tx.conn.take_message(frame) {
        Ok(message) => message,
        Err(frame) => {
            return Ok(match tx.conn.handle_frame(now, frame) {
                Some(Told::Proposed(_)) => Some(Found::Proposed),
                Some(Told::Connected(trid)) => Some(Found::Opened(trid)),
                Some(Told::Acknowledged) => Some(Found::Acknowledged),
                Some(Told::NextKey(hash, lasts) | Told::NextKeyRemembered(hash, lasts)) => {
                    Some(Found::NextKey(hash, lasts))
                }
                Some(Told::GoingAway(notice)) => Some(Found::GoingAway(notice)),
                Some(Told::Dropped(cause)) => return Err(cause),
                // A message would have been taken.
                Some(Told::Message(_)) | None => None,
            });
        }
    };
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
        return Ok(Some(Found::Message(meta, def)));
    }
    if !work.accept(&meta, message.payload.0) {
        no_room(work, tx);
    }
    Ok(None)
}

/// What came does not fit. What waits of earlier links is no fault: it is handled, and there is room again.
fn no_room<P: Parts>(work: &Work<P::Queue, P::Running>, tx: &mut Tx<P>) {
    let code = if work.has_old() { Code::Busy } else { Code::Internal };
    let text = "the queue has no room for what was credited";
    tx.conn.disconnect(Notice::new(code).with_text(text));
}
