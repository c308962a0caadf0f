//! What a connection knows, and what follows from what happens to it. No output buffer
//! is in reach here: what is to be sent is remembered in [`Pending`].

#[cfg(feature = "alloc")]
use alloc::boxed::Box;

use super::adopt::Adopted;
use super::event::Event;
use super::fault::{Fault, Taken};
use super::flow::Flow;
use super::liveness::{Due, Liveness};
use super::pending::Pending;
use super::role::Role;
use super::slot::SessionSlot;
use super::state::{Input, Phase, Step, step};
use crate::definition::{Direction, Verdict};
use crate::error::{Bound, Cause, Misuse, SendError};
use crate::fmt::{debug, warn};
use crate::id::Trid;
use crate::limits::{ACK_DELAY, LINGER, Limits, MAX_DRAIN};
use crate::schema::Catalog;
use crate::schema::agree::Agreement;
#[cfg(feature = "alloc")]
use crate::schema::told::Descriptions;
use crate::status::{Code, Notice, RetryAfter};
use crate::time::{Instant, Millis, earlier};
use crate::wire::frame::{Frame, Kind, Malformed, RawFrame};
use crate::wire::packet::{Grant, PeerLimits};
#[cfg(feature = "alloc")]
use crate::wire::session::Resume;

/// When a client comes back whose admission took too long.
const ADMISSION_RETRY: RetryAfter = RetryAfter {
    min_ms: 1_000,
    spread_ms: 9_000,
};

/// Everything a connection knows but its output buffer.
#[derive(Debug)]
#[cfg_attr(feature = "snapshot", derive(Clone, Hash))]
pub(super) struct Core {
    pub(super) role: Role,
    pub(super) catalog: &'static Catalog,
    /// Service: what it tells clients without a catalog, when it does.
    #[cfg(feature = "alloc")]
    pub(super) told: Option<Descriptions>,
    pub(super) adopted: Adopted,
    pub(super) limits: Limits,
    pub(super) theirs: PeerLimits,
    /// Service: the client that has proposed has its catalog.
    pub(super) is_same: bool,
    pub(super) agreement: Agreement,
    pub(super) phase: Phase,
    /// Why it is over; before that, the go-away that either side said.
    pub(super) cause: Option<Cause>,
    /// The end has not been told to the user yet.
    pub(super) unannounced: bool,
    /// Everything that waited has left; a connection that drains is done.
    pub(super) flushed: bool,
    pub(super) trid: Trid,
    pub(super) flow: Flow,
    pub(super) liveness: Option<Liveness>,
    /// When the phase must end; `None` when it may last, or is to be set at the next
    /// `handle_time` because it began in a call that has no time (PROTOCOL H-9).
    pub(super) deadline: Option<Instant>,
    pub(super) pending: Pending,
    /// The message that was lent and neither decoded nor rejected yet, by wire number.
    pub(super) unsettled: Option<u8>,
    /// The next frame waited, and came when something was unconfirmed.
    #[cfg(feature = "alloc")]
    pub(super) expects_answer: bool,
    /// Service: what the client said of its session.
    #[cfg(feature = "alloc")]
    pub(super) request: Option<Box<Resume>>,
}

impl Core {
    pub(super) fn new(now: Instant, role: Role, catalog: &'static Catalog, limits: Limits) -> Result<Self, Misuse> {
        limits.check().map_err(Misuse::Limits)?;
        let phase = match role {
            Role::Client => Phase::Proposing,
            Role::Service(_) => Phase::Awaiting,
        };
        let deadline = Some(now.plus(limits.handshake));
        Ok(Self {
            deadline,
            ..Self::of(role, catalog, limits, phase)
        })
    }

    /// One without a transport.
    pub(super) fn idle() -> Self {
        Self::of(Role::Client, &Catalog::LEARNED, Limits::CHIP, Phase::Closed)
    }

    fn of(role: Role, catalog: &'static Catalog, limits: Limits, phase: Phase) -> Self {
        Self {
            role,
            catalog,
            #[cfg(feature = "alloc")]
            told: None,
            adopted: Adopted::No,
            limits,
            theirs: PeerLimits::of(&limits),
            is_same: true,
            agreement: Agreement::identical(catalog),
            phase,
            cause: None,
            unannounced: false,
            flushed: false,
            trid: Trid::new(0),
            flow: Flow::new(&limits),
            liveness: None,
            deadline: None,
            pending: Pending::new(role),
            unsettled: None,
            #[cfg(feature = "alloc")]
            expects_answer: false,
            #[cfg(feature = "alloc")]
            request: None,
        }
    }

    pub(super) fn handle_frame<'f, S: SessionSlot>(
        &mut self,
        now: Instant,
        frame: Frame<'f>,
        slot: &mut S,
    ) -> Option<Event<'f>> {
        if let Some(liveness) = &mut self.liveness {
            liveness.received(now);
        }
        self.check_settled(slot);
        let taken = match frame.0 {
            Ok(raw) => {
                let kind = Kind::of(raw.head);
                #[cfg(feature = "alloc")]
                self.confirm_handshake(kind, slot);
                match step(self.phase, Input::Frame(kind)) {
                    Step::Take if self.is_late(kind) => Err(Fault::text(Code::Unexpected, kind.name())),
                    Step::Take | Step::To(_) => self.take(now, kind, raw, slot).map_err(|fault| fault.within(kind)),
                    Step::Fault(code) => Err(Fault::text(code, kind.name())),
                    Step::Skip | Step::Misuse => Ok(None),
                }
            }
            Err(malformed) => self.handle_malformed(malformed),
        };
        self.waits_for_nothing();
        match taken {
            Ok(Some(event)) => return Some(event),
            Ok(None) => {}
            Err(fault) => self.fault(fault),
        }
        self.announce()
    }

    /// Deals with a frame that has its place in this phase.
    fn take<'f, S: SessionSlot>(&mut self, now: Instant, kind: Kind, raw: RawFrame<'f>, slot: &mut S) -> Taken<'f> {
        match kind {
            Kind::Message => self.take_plain(&raw, slot),
            Kind::Acked => self.take_acked(&raw, slot),
            Kind::Ack => self.take_ack(raw.body, slot),
            Kind::Next => self.take_next(raw.body, slot).map(|()| None),
            Kind::OutcomesRead => self.take_outcomes_read(raw.body, slot).map(|()| None),
            #[cfg(feature = "alloc")]
            Kind::NextKey => self.take_next_key(raw.body, slot),
            // Nobody has told a key.
            #[cfg(not(feature = "alloc"))]
            Kind::NextKey => Err(Fault::text(Code::Unexpected, kind.name())),
            // Nobody offers slots (PROTOCOL F-7): the table has said so.
            Kind::Request | Kind::Reply | Kind::Cancel | Kind::ItemCredit | Kind::Part | Kind::PartCredit => {
                Err(Fault::text(Code::Unexpected, kind.name()))
            }
            Kind::Credit => {
                let grant = Grant::read(raw.body)?;
                if self.flow.granted(grant, &self.theirs) {
                    Ok(None)
                } else {
                    Err(Fault::text(Code::PacketMalformed, "more credit than is under way"))
                }
            }
            Kind::KeepAlive | Kind::KeepAliveAnswer => {
                if self.liveness.as_mut().is_some_and(|liveness| !liveness.heard()) {
                    return Err(Fault::text(Code::Busy, "more keep-alives than anybody needs"));
                }
                if kind == Kind::KeepAlive {
                    self.pending.answer();
                    self.confirm();
                }
                Ok(None)
            }
            Kind::GoAway | Kind::Error | Kind::Refusal => self.told(now, kind, raw.body),
            Kind::Acceptance => self.accepted(now, raw.body, slot),
            Kind::Describe => {
                self.describe();
                Ok(None)
            }
            Kind::Proposal | Kind::Definitions => match self.role {
                Role::Service(duties) => (duties.take)(self, now, kind, raw.body),
                Role::Client => Ok(None),
            },
            Kind::Catalog => self.learn(raw.body).map(|()| None),
            Kind::Ignorable | Kind::Unknown => Ok(None),
        }
    }

    /// The peer states why it ends, or is about to.
    fn told(&mut self, now: Instant, kind: Kind, body: &[u8]) -> Taken<'static> {
        let (notice, deadline) = Notice::read(body)?;
        self.end(match kind {
            Kind::Error => Cause::PeerError(notice),
            Kind::Refusal => Cause::Refused(notice),
            _ => {
                self.enter(Phase::Draining);
                if !self.spares_records() {
                    self.flow.peer_leaves(&self.limits);
                }
                let deadline = deadline.unwrap_or(Millis::of(LINGER));
                self.end_by(now.plus(deadline.min(Millis::of(MAX_DRAIN))));
                self.pending.drain();
                self.cause = Some(Cause::WentAway(notice.clone()));
                self.confirm();
                // What was queued since the last transmission still leaves (PROTOCOL G-2).
                self.flushed = false;
                return Ok(Some(Event::GoingAway(notice)));
            }
        });
        Ok(None)
    }

    fn handle_malformed(&mut self, malformed: Malformed) -> Taken<'static> {
        let Step::Fault(_) = step(self.phase, Input::Malformed) else {
            return Ok(None);
        };
        Err(match malformed {
            Malformed::NotDiset => Fault::new(Code::NotDiset),
            Malformed::Version(theirs) => Fault::version(theirs),
            Malformed::TooLong => Fault::new(Code::FrameTooLong),
            Malformed::Header => Fault::new(Code::FrameMalformed),
            Malformed::NoRoom => Fault::text(Code::Internal, "the input storage is smaller than the frame limit"),
        })
    }

    /// What was sent and has not been granted again.
    pub(super) const fn unconfirmed(&self) -> u32 {
        // Before it was open nothing was sent.
        if self.liveness.is_some() {
            self.flow.unconfirmed(&self.theirs)
        } else {
            0
        }
    }

    /// Whether nothing is left to be told to a peer that has said go-away: what it sent has
    /// been dealt with and granted again, what it got it has confirmed (PROTOCOL G-2, G-4).
    pub(super) fn is_drained(&self) -> bool {
        self.unconfirmed() == 0 && self.flow.is_settled(&self.limits)
    }

    /// Whether messages may leave. After a go-away only answers: of the side that said it as long as it has not
    /// granted again all that it got (PROTOCOL G-1), of the other one as long as it has not dealt with what it got before
    /// (G-2). So neither answers without end.
    pub(super) const fn may_speak(&self) -> bool {
        match self.phase {
            Phase::Open => true,
            Phase::Leaving => !self.flow.is_settled(&self.limits) && !self.spares_records(),
            Phase::Draining => self.flow.owes_answers() && !self.spares_records(),
            _ => false,
        }
    }

    /// Whether the go-away was said because few records of TLS are left: they are for what was sent and its
    /// confirmations, not for answers (PROTOCOL G-6).
    const fn spares_records(&self) -> bool {
        matches!(&self.cause, Some(Cause::WentAway(notice)) if matches!(notice.code(), Code::RecordLimit))
    }

    /// Whether messages may come: of a peer that has said go-away only answers (PROTOCOL G-1, G-7).
    pub(super) const fn may_hear(&self) -> bool {
        match self.phase {
            Phase::Open | Phase::Leaving => true,
            #[cfg(feature = "alloc")]
            Phase::Draining if self.expects_answer => true,
            Phase::Draining => self.unconfirmed() > 0,
            _ => false,
        }
    }

    /// Whether a frame belongs to a message that the peer may not send any more.
    const fn is_late(&self, kind: Kind) -> bool {
        matches!(kind, Kind::Message | Kind::Acked | Kind::Next) && !self.may_hear()
    }

    /// The frame that waited has been dealt with.
    #[inline]
    pub(super) const fn waits_for_nothing(&mut self) {
        #[cfg(feature = "alloc")]
        {
            self.expects_answer = false;
        }
    }

    /// Something leaves anyway: what was dealt with goes along (PROTOCOL L-5).
    pub(super) fn confirm(&mut self) {
        if self.flow.has_back() {
            self.pending.grant();
        }
    }

    pub(super) fn handle_time<S: SessionSlot>(&mut self, now: Instant, slot: &mut S) -> Option<Event<'static>> {
        self.check_settled(slot);
        self.time_acks(now, slot);
        if self.flushed
            && let Step::To(_) = step(self.phase, Input::Flushed)
        {
            self.end_as_said();
        }
        if self.phase == Phase::Closing && self.deadline.is_none() {
            self.deadline = Some(now.plus(Millis::of(LINGER)));
        }
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            self.deadline_passed();
        }
        let due = self
            .liveness
            .as_mut()
            .map_or(Due::Nothing, |liveness| liveness.due(now));
        match (due, step(self.phase, Input::Silence)) {
            (Due::Dead, Step::To(_)) => self.end(Cause::Silent),
            (Due::KeepAlive, Step::To(_)) => {
                self.pending.keep_alive();
                self.confirm();
            }
            _ => {}
        }
        self.announce()
    }

    /// Acknowledgements wait for something to leave with, but not for long (PROTOCOL Q-2).
    fn time_acks<S: SessionSlot>(&mut self, now: Instant, slot: &mut S) {
        if self.owes_ack(slot)
            && let Some(session) = slot.session_mut()
        {
            let at = *session
                .link
                .ack_at
                .get_or_insert_with(|| now.plus(Millis::of(ACK_DELAY)));
            session.link.ack |= now >= at;
        }
    }

    /// Whether the peer is to be told of messages that were received or dealt with.
    pub(super) fn owes_ack<S: SessionSlot>(&self, slot: &S) -> bool {
        let session = slot.session().filter(|session| session.resumption().is_some());
        !self.phase.is_handshake()
            && !self.phase.is_over()
            && session.is_some_and(|session| session.untold() != (0, 0) && !session.link.is_acking())
    }

    /// Whether there is a frame of the session to write.
    pub(super) fn is_session_due<S: SessionSlot>(&self, slot: &S) -> bool {
        !self.phase.is_over() && slot.session().is_some_and(|session| session.link.is_due())
    }

    fn deadline_passed(&mut self) {
        let Step::To(next) = step(self.phase, Input::Deadline) else {
            return;
        };
        match self.phase {
            Phase::Closing => {
                self.enter(next);
                self.pending.clear();
                self.deadline = None;
            }
            Phase::Admitting => {
                // Not for ever: the service was slow, the client did nothing wrong (PROTOCOL R-4).
                let notice = Notice::new(Code::AdmissionTimeout);
                self.end(Cause::WeRefused(notice.with_retry(ADMISSION_RETRY)));
            }
            phase if phase.is_handshake() => self.end(Cause::HandshakeTimeout),
            _ => self.end_as_said(),
        }
    }

    pub(super) fn handle_eof(&mut self) -> Option<Event<'static>> {
        if let Step::To(next) = step(self.phase, Input::Eof) {
            self.unsettled = None;
            self.end_as_said();
            self.enter(next);
            self.pending.clear();
            self.deadline = None;
        }
        self.announce()
    }

    /// The peer, or a handler, is at fault: tells it, and ends the connection.
    pub(super) fn fault(&mut self, fault: Fault<'_>) {
        self.end(Cause::OurError(fault.notice()));
    }

    /// Ends the connection for this reason, unless it is over already. The next
    /// `handle_` call announces it.
    pub(super) fn end(&mut self, cause: Cause) {
        if let Step::To(_) = step(self.phase, Input::Disconnect) {
            self.cause = Some(cause);
            self.end_as_said();
        }
    }

    /// Ends the connection, unless it is over already: for the reason that was set, or the go-away that was said; else
    /// the transport has ended by itself.
    fn end_as_said(&mut self) {
        let Step::To(next) = step(self.phase, Input::Disconnect) else {
            return;
        };
        let cause = self.cause.get_or_insert(Cause::Lost);
        warn!(
            "connection ends in phase {:?}, code {}",
            self.phase,
            cause.code().map_or(0, Code::number)
        );
        self.pending.end(cause);
        self.unannounced = true;
        self.unsettled = None;
        self.enter(next);
        self.deadline = None;
    }

    /// The end, once.
    fn announce(&mut self) -> Option<Event<'static>> {
        if !core::mem::take(&mut self.unannounced) {
            return None;
        }
        self.cause.clone().map(Event::Dropped)
    }

    /// The connection ends at this time at the latest.
    pub(super) fn end_by(&mut self, time: Instant) {
        self.deadline = Some(self.deadline.map_or(time, |set| set.min(time)));
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        debug!("phase {:?} -> {:?}", self.phase, phase);
        self.phase = phase;
    }

    pub(super) const fn may_go(&self, direction: Direction) -> bool {
        if self.role.is_client() {
            direction.allows_client()
        } else {
            direction.allows_service()
        }
    }

    /// The number on the wire of a message that may be sent now.
    pub(super) fn may_send(&self, number: u8) -> Result<u8, SendError> {
        match step(self.phase, Input::Send) {
            Step::Take if self.may_speak() => {}
            Step::Take => return Err(SendError::GoingAway),
            _ => return Err(SendError::NotOpen),
        }
        let (_, direction) = self.def(number).ok_or(SendError::NotAgreed(Verdict::Unknown))?;
        if !self.may_go(direction) {
            return Err(SendError::WrongDirection);
        }
        // PROTOCOL S-6
        let Ok(wire) = self.agreement.wire(number) else {
            return Err(SendError::NotAgreed(self.agreement.verdict(number)));
        };
        if self.flow.may_send() {
            Ok(wire)
        } else {
            Err(SendError::Full(Bound::Credit))
        }
    }

    pub(super) fn wake<S: SessionSlot>(&self, slot: &S) -> Option<Instant> {
        let drained = self.flushed && self.phase == Phase::Draining;
        let ack_at = slot
            .session()
            .filter(|_| self.owes_ack(slot))
            .map(|session| session.link.ack_at);
        let to_be_timed = (self.phase == Phase::Closing && self.deadline.is_none()) || ack_at == Some(None);
        if self.unannounced || drained || to_be_timed || self.unsettled.is_some() {
            return Some(Instant::ZERO);
        }
        if self.phase == Phase::Closed {
            return None;
        }
        let silence = self
            .liveness
            .as_ref()
            .filter(|_| !self.phase.is_over())
            .map(Liveness::wake);
        earlier(earlier(self.deadline, silence), ack_at.flatten())
    }
}
