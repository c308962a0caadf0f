//! The receiving half: bytes that come, messages that wait, the one that is with a handler.

use core::task::{Context, Poll};
use core::time::Duration;

use super::{Access, Ended, Event, Io, Opened, Parts, Turn, Tx};
use crate::conn::event::{Event as Told, Progress};
use crate::conn::role::ReadProposal;
use crate::conn::state::Phase;
use crate::conn::{Admission, ClientConfig};
use crate::error::{Cause, Misuse};
use crate::id::Trid;
use crate::limits::{LINGER_BYTES, Limits};
use crate::schema::{Catalog, MessageDef};
use crate::session::queue::{Acked, Meta, Queue};
use crate::session::work::Work;
use crate::status::Notice;
use crate::time::Instant;
use crate::wire::deframer::Deframer;
use crate::wire::frame::Frame;

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
/// durable.
pub struct Rx<P: Parts> {
    deframer: Deframer<P::Buffer>,
    work: Work<P::Queue, P::Running>,
    /// When bytes have come that the other half does not know of.
    heard: Option<Instant>,
    /// What is still to be told: the link has opened, or is over.
    opened: bool,
    /// How many plain messages were not handled, see [`Ended`].
    ended: Option<usize>,
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
            heard: None,
            opened: false,
            ended: None,
            discarded: 0,
        }
    }

    /// What it was made of.
    pub fn into_parts(self) -> (P::Buffer, P::Queue) {
        (self.deframer.into_storage(), self.work.into_queue())
    }

    // ── a link begins ───────────────────────────────────────────────────────────────

    /// Client: begins a link on a new transport. The proposal is ready to be written. A session in `tx` goes on.
    ///
    /// # Errors
    /// [`Misuse::WrongPhase`] when there is a link whose [`Event::Ended`] has not come, or whose transport is not over;
    /// else as for [`Connection::client`](crate::Connection::client). There is no link then.
    pub fn connect(&mut self, now: Instant, tx: &mut impl Access<P>, config: &ClientConfig<'_>) -> Result<(), Misuse> {
        self.begin(now, tx, |tx| tx.conn.connect(now, config))
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
            if self.work.has_job() || self.opened || self.ended.is_some() {
                return Err(Misuse::WrongPhase);
            }
            begin(tx)?;
            self.deframer.restart();
            self.work.begin_link();
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
        let event = tx.with(|tx| tx.conn.accept(now, admission))?;
        self.admitted(event);
        Ok(())
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
        let event = tx.with(|tx| tx.conn.accept_in_session(now, admission, session))?;
        self.admitted(event);
        Ok(())
    }

    fn admitted(&mut self, event: Option<Told<'_>>) {
        self.opened |= matches!(event, Some(Told::Connected(_)));
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
            self.discard(length - input.len(), tx);
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
            Found::Waiting(def) => Event::Message(work.lend_front(def)?),
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
            self.lost(tx);
        });
    }

    // ── handlers that wait ──────────────────────────────────────────────────────────

    /// Goes on with the handler that waits: ready when none does any more. Then ask [`next`](Self::next).
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.work.poll(cx)
    }

    /// The time is over of the handler that waits, and of messages of a link that has ended. `Pending` as long as the
    /// handler cannot be dropped.
    pub fn expire(&mut self) -> Poll<()> {
        if let Some(unhandled) = &mut self.ended {
            *unhandled += self.work.drop_plain();
        }
        self.work.expire()
    }

    // ── what must happen next ───────────────────────────────────────────────────────

    /// Deals with time, acknowledgements, grants and whatever else is due, as far as there is room in the output. When
    /// some of the output was written another turn is due: it may be the last of a link that ends.
    pub fn turn(&mut self, now: Instant, tx: &mut impl Access<P>) -> Turn {
        tx.with(|tx| {
            self.complete(now, tx);
            let mut wake = None;
            for _ in 0..ROUNDS {
                if tx.conn.handle_time(now).is_some() {
                    self.cut(tx);
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
            let ready = self.opened || self.is_done() || self.turn_of(now, tx).is_some();
            // One whose time has come, and that may not begin, waits for something else.
            let retry = self.work.wake().filter(|at| *at > now);
            let at = [wake, retry, ready.then_some(now)];
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
    }

    fn lost(&mut self, tx: &mut Tx<P>) {
        if tx.conn.handle_eof().is_some() {
            self.cut(tx);
        }
    }

    /// The link is over, and so it was told. When this side has ended it, what waits is not handled.
    fn cut(&mut self, tx: &Tx<P>) {
        self.ended = Some(if tx.is_stopped() { self.work.drop_plain() } else { 0 });
    }

    /// What comes after the end is read so that the last word gets there, but not without end (PROTOCOL E-4).
    fn discard(&mut self, count: usize, tx: &mut Tx<P>) {
        if tx.conn.phase() == Phase::Closing {
            self.discarded = self.discarded.saturating_add(count);
            if self.discarded > LINGER_BYTES {
                self.lost(tx);
            }
        }
    }

    /// Whether the link is over, and its messages are: no more than plain ones that have had their time counts.
    fn is_done(&self) -> bool {
        self.ended.is_some() && !self.work.has_job() && self.work.plain() == 0
    }

    /// The message whose turn it is on a link, or on one that has ended up to its last plain message. `Some(None)`: it is
    /// not to be handled at all.
    fn turn_of(&self, now: Instant, tx: &Tx<P>) -> Option<Option<Meta>> {
        let may_begin = if tx.conn.phase().is_over() {
            // Not when this side has ended it: then no plain one waits, and so it is done.
            self.ended.is_some()
        } else {
            tx.conn.trid().is_some()
        };
        let meta = self.work.waiting(now).filter(|_| may_begin)?;
        match tx.conn.may_begin(&meta) {
            Some(true) => Some(Some(meta)),
            Some(false) => None,
            None => Some(None),
        }
    }

    fn find<'i>(&mut self, now: Instant, tx: &mut Tx<P>, input: &mut &'i [u8]) -> Option<(Found, At<'i>)> {
        self.complete(now, tx);
        if core::mem::take(&mut self.opened) {
            return tx.conn.trid().map(|trid| (Found::Opened(trid), At::Own(0)));
        }
        loop {
            if self.is_done() {
                // What was not begun comes again, unless it is kept.
                if let Some(processed) = tx.conn.comes_again_above() {
                    self.work.forget(processed);
                }
                return self.ended.take().map(|unhandled| {
                    let cause = tx.conn.cause().cloned().unwrap_or(Cause::Lost);
                    (Found::Ended(Ended { cause, unhandled }), At::Own(0))
                });
            }
            while let Some(turn) = self.turn_of(now, tx) {
                match turn.and_then(|meta| tx.conn.begin_handler(&meta)) {
                    Some(def) => return Some((Found::Waiting(def), At::Own(0))),
                    None => self.work.pop(),
                }
            }
            if !P::Queue::WAITS && self.work.has_job() {
                return None;
            }
            let whole = *input;
            let frame = self.deframer.next(input, tx.conn.max_frame())?;
            let length = frame.0.as_ref().map_or(0, |raw| raw.body.len());
            let found = deal(&mut self.work, now, tx, frame);
            if matches!(found, Some(Found::Over)) {
                self.cut(tx);
                continue;
            }
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
    if work.is_empty()
        && tx.conn.may_begin(&meta) == Some(true)
        && let Some(def) = tx.conn.begin_handler(&meta)
    {
        return Some(Found::Message(meta, def));
    }
    if !work.accept(&meta, message.payload.0) {
        tx.conn.lacks_room();
    }
    None
}
