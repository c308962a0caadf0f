//! What a connection knows, and what follows from what happens to it. No output buffer
//! is in reach here: what is to be sent is remembered in [`Pending`].

use super::Role;
use super::adopt::Adopted;
use super::event::Event;
use super::flow::Flow;
use super::liveness::{Due, Liveness};
use super::pending::Pending;
use super::state::{Input, Phase, Step, step};
use crate::definition::{Direction, Verdict};
use crate::error::{Bound, Cause, Misuse, SendError};
use crate::fmt::{debug, warn};
use crate::id::Trid;
use crate::limits::{LINGER, Limits, MAX_DRAIN};
use crate::message::{DecodeError, Held, MessageRef, Payload};
use crate::schema::Catalog;
use crate::schema::agree::Agreement;
#[cfg(feature = "alloc")]
use crate::schema::told::Descriptions;
use crate::schema::walk::Invalid;
use crate::status::{Code, Notice, RetryAfter, Text};
use crate::time::Instant;
use crate::wire::frame::{Frame, Kind, Malformed, RawFrame};
use crate::wire::packet::{Grant, PeerLimits};
use crate::wire::preamble::MAJOR;
use crate::wire::tlv::BadPacket;

/// When a client comes back whose admission took too long.
const ADMISSION_RETRY: RetryAfter = RetryAfter {
    min_ms: 1_000,
    spread_ms: 9_000,
};

/// Everything a connection knows but its output buffer.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) role: Role,
    pub(super) catalog: &'static Catalog,
    /// Service: what it tells clients without a catalog, when it does.
    #[cfg(feature = "alloc")]
    pub(super) told: Option<Descriptions>,
    pub(super) adopted: Adopted,
    pub(super) limits: Limits,
    pub(super) theirs: PeerLimits,
    pub(super) agreement: Agreement,
    pub(super) phase: Phase,
    /// Why it is over; set once.
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
}

impl Core {
    pub(super) fn new(now: Instant, role: Role, catalog: &'static Catalog, limits: Limits) -> Result<Self, Misuse> {
        limits.check().map_err(Misuse::Limits)?;
        let phase = match role {
            Role::Client => Phase::Proposing,
            Role::Service => Phase::Awaiting,
        };
        Ok(Self {
            role,
            catalog,
            #[cfg(feature = "alloc")]
            told: None,
            adopted: Adopted::No,
            limits,
            theirs: PeerLimits::of(&limits),
            agreement: Agreement::identical(catalog),
            phase,
            cause: None,
            unannounced: false,
            flushed: false,
            trid: Trid::new(0),
            flow: Flow::new(&limits),
            liveness: None,
            deadline: Some(now.after(limits.handshake())),
            pending: Pending::new(role),
            unsettled: None,
        })
    }

    pub(super) fn handle_frame<'f>(&mut self, now: Instant, frame: Frame<'f>) -> Option<Event<'f>> {
        if let Some(liveness) = &mut self.liveness {
            liveness.received(now);
        }
        self.check_settled();
        let taken = match frame.0 {
            Ok(raw) => {
                let kind = Kind::of(raw.head);
                match step(self.phase, Input::Frame(kind)) {
                    Step::Take | Step::To(_) => self.take(now, kind, raw),
                    Step::Fault(code) => Err(Notice::new(code).with_text(kind.name())),
                    Step::Skip | Step::Misuse => Ok(None),
                }
            }
            Err(malformed) => self.handle_malformed(malformed),
        };
        match taken {
            Ok(Some(event)) => return Some(event),
            Ok(None) => {}
            Err(notice) => self.end(Cause::OurError(notice)),
        }
        self.announce()
    }

    /// Deals with a frame that has its place in this phase.
    fn take<'f>(&mut self, now: Instant, kind: Kind, raw: RawFrame<'f>) -> Result<Option<Event<'f>>, Notice> {
        match kind {
            Kind::Message => {
                let message = self.message(&raw).ok_or_else(|| self.objection(&raw))?;
                self.unsettled = Some(message.wire);
                Ok(Some(Event::Message(message)))
            }
            Kind::Credit => {
                let grant = Grant::read(raw.body).map_err(|bad| bad_packet(kind, bad))?;
                if self.flow.granted(grant, &self.theirs) {
                    Ok(None)
                } else {
                    Err(Notice::new(Code::PacketMalformed).with_text("more credit than is under way"))
                }
            }
            Kind::KeepAlive => {
                self.pending.answer();
                self.confirm();
                Ok(None)
            }
            Kind::GoAway => {
                let (notice, deadline) = Notice::read(raw.body).map_err(|bad| bad_packet(kind, bad))?;
                self.enter(Phase::Draining);
                self.end_by(now.after(deadline.unwrap_or(LINGER).min(MAX_DRAIN)));
                self.pending.drain(notice.clone());
                self.confirm();
                // What was queued since the last transmission still leaves (PROTOCOL G-2).
                self.flushed = false;
                Ok(Some(Event::GoingAway(notice)))
            }
            Kind::Error => {
                let (notice, _) = Notice::read(raw.body).map_err(|bad| bad_packet(kind, bad))?;
                self.end(Cause::PeerError(notice));
                Ok(None)
            }
            Kind::Refusal => {
                let (notice, _) = Notice::read(raw.body).map_err(|bad| bad_packet(kind, bad))?;
                self.end(Cause::Refused(notice));
                Ok(None)
            }
            Kind::Proposal => self.proposed(now, raw.body),
            Kind::Acceptance => self.accepted(now, raw.body),
            Kind::Describe => {
                self.describe();
                Ok(None)
            }
            Kind::Definitions => self.defined(now, raw.body),
            Kind::Catalog => self.learn(raw.body).map(|()| None),
            Kind::KeepAliveAnswer | Kind::Ignorable | Kind::Unknown => Ok(None),
        }
    }

    /// A message frame: number, direction and credit; the body is looked at when it is
    /// decoded (PROTOCOL M-1). `None`, and nothing changed, when there is an
    /// [`objection`](Self::objection).
    #[inline]
    fn message<'f>(&mut self, raw: &RawFrame<'f>) -> Option<MessageRef<'f>> {
        let cost = raw.cost();
        let (&wire, payload) = raw.body.split_first()?;
        let number = self.agreement.own(wire).ok()?;
        let (def, direction) = self.def(number)?;
        if !self.may_come(direction) || !self.flow.received(cost) {
            return None;
        }
        Some(MessageRef {
            def,
            number,
            wire,
            cost,
            lent: true,
            payload: Payload(payload),
        })
    }

    const fn may_come(&self, direction: Direction) -> bool {
        match self.role {
            Role::Client => direction.allows_service(),
            Role::Service => direction.allows_client(),
        }
    }

    /// What is wrong with a message frame.
    fn objection(&self, raw: &RawFrame<'_>) -> Notice {
        let Some(&wire) = raw.body.first() else {
            return Notice::new(Code::PacketMalformed).with_text("a message without a number");
        };
        if !self.flow.may_receive(raw.cost()) {
            return Notice::new(Code::CreditExceeded).about(wire);
        }
        let known = self
            .agreement
            .own(wire)
            .and_then(|number| self.def(number).ok_or(Verdict::Unknown));
        match known {
            Ok((def, _)) => Notice::new(Code::WrongDirection).about(wire).with_text(def.name()),
            Err(verdict) => Notice::new(code_of(verdict)).about(wire),
        }
    }

    /// See [`Connection::take_message`](super::Connection::take_message).
    #[inline]
    pub(super) fn take_message<'f>(&mut self, frame: Frame<'f>) -> Result<MessageRef<'f>, Frame<'f>> {
        match &frame.0 {
            Ok(raw)
                if Kind::of(raw.head) == Kind::Message
                    && matches!(self.phase, Phase::Open | Phase::Leaving)
                    && self.unsettled.is_none() =>
            {
                self.message(raw).ok_or(frame)
            }
            _ => Err(frame),
        }
    }

    fn handle_malformed(&mut self, malformed: Malformed) -> Result<Option<Event<'static>>, Notice> {
        let Step::Fault(_) = step(self.phase, Input::Malformed) else {
            return Ok(None);
        };
        let notice = match malformed {
            Malformed::NotDiset => Notice::new(Code::NotDiset),
            Malformed::Version(theirs) => {
                let mut text = Text::default();
                let _ =
                    core::fmt::Write::write_fmt(&mut text, format_args!("they speak {theirs}, this side {}", MAJOR));
                Notice {
                    text,
                    ..Notice::new(Code::Version)
                }
            }
            Malformed::TooLong => Notice::new(Code::FrameTooLong),
            Malformed::Header => Notice::new(Code::FrameMalformed),
            Malformed::NoRoom => {
                Notice::new(Code::Internal).with_text("the input storage is smaller than the frame limit")
            }
        };
        Err(notice)
    }

    /// A message that was lent and never looked at had no handler (PROTOCOL M-4).
    pub(super) fn check_settled(&mut self) {
        if let Some(wire) = self.unsettled.take() {
            self.end(Cause::OurError(Notice::new(Code::NoHandler).about(wire)));
        }
    }

    pub(super) fn settle<T>(
        &mut self,
        message: MessageRef<'_>,
        checked: Result<T, Invalid>,
    ) -> Result<(T, Held), DecodeError> {
        if message.lent {
            self.unsettled = None;
        }
        match checked {
            Ok(value) => Ok((value, message.held())),
            Err(invalid) => {
                self.invalid(message.wire, invalid);
                Err(DecodeError::Invalid(invalid))
            }
        }
    }

    /// A message does not fit its definition.
    pub(super) fn invalid(&mut self, wire: u8, invalid: Invalid) {
        let mut text = Text::default();
        let _ = core::fmt::Write::write_fmt(&mut text, format_args!("{invalid}"));
        self.end(Cause::OurError(Notice {
            text,
            ..Notice::new(Code::Invalid).about(wire)
        }));
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

    pub(super) fn release(&mut self, held: Held) {
        self.flow.released(held.bytes, held.messages);
        let parting = matches!(self.phase, Phase::Leaving | Phase::Draining);
        if (parting || self.flow.is_grant_due()) && !self.phase.is_over() {
            self.pending.grant();
        }
    }

    /// Whether nothing is left to be told to a peer that has said go-away: what it sent has
    /// been dealt with and granted again, what it got it has confirmed (PROTOCOL G-2, G-4).
    pub(super) fn is_drained(&self) -> bool {
        self.unconfirmed() == 0 && self.flow.is_settled()
    }

    /// Something leaves anyway: what was dealt with goes along (PROTOCOL L-5).
    pub(super) fn confirm(&mut self) {
        if self.flow.has_back() {
            self.pending.grant();
        }
    }

    pub(super) fn handle_time(&mut self, now: Instant) -> Option<Event<'static>> {
        self.check_settled();
        if self.flushed
            && let Step::To(_) = step(self.phase, Input::Flushed)
        {
            self.end(self.went_away());
        }
        if self.phase == Phase::Closing && self.deadline.is_none() {
            self.deadline = Some(now.after(LINGER));
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
            _ => self.end(self.went_away()),
        }
    }

    pub(super) fn handle_eof(&mut self) -> Option<Event<'static>> {
        if let Step::To(next) = step(self.phase, Input::Eof) {
            self.unsettled = None;
            self.end(self.went_away());
            self.enter(next);
            self.pending.clear();
            self.deadline = None;
        }
        self.announce()
    }

    /// The go-away that was said, or the transport's own end.
    fn went_away(&self) -> Cause {
        self.pending
            .going()
            .map_or(Cause::Lost, |notice| Cause::WentAway(notice.clone()))
    }

    /// Ends the connection for this reason, unless it is over already. The next
    /// `handle_` call announces it.
    pub(super) fn end(&mut self, cause: Cause) {
        let Step::To(next) = step(self.phase, Input::Disconnect) else {
            return;
        };
        warn!(
            "connection ends in phase {:?}, code {}",
            self.phase,
            cause.code().map_or(0, Code::number)
        );
        self.pending.end(&cause);
        self.cause = Some(cause);
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

    /// The number on the wire of a message that may be sent now.
    pub(super) fn may_send(&self, number: u8) -> Result<u8, SendError> {
        match (self.phase, step(self.phase, Input::Send)) {
            (_, Step::Take) => {}
            (Phase::Leaving | Phase::Draining, _) => return Err(SendError::GoingAway),
            _ => return Err(SendError::NotOpen),
        }
        let (_, direction) = self.def(number).ok_or(SendError::NotAgreed(Verdict::Unknown))?;
        let allowed = match self.role {
            Role::Client => direction.allows_client(),
            Role::Service => direction.allows_service(),
        };
        if !allowed {
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

    pub(super) fn wake(&self) -> Option<Instant> {
        let drained = self.flushed && self.phase == Phase::Draining;
        let to_be_timed = self.phase == Phase::Closing && self.deadline.is_none();
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
        match (self.deadline, silence) {
            (Some(deadline), Some(silence)) => Some(deadline.min(silence)),
            (one, other) => one.or(other),
        }
    }
}

/// What a receiver says about a message it does not share.
const fn code_of(verdict: Verdict) -> Code {
    match verdict {
        Verdict::Forbidden => Code::Forbidden,
        Verdict::Differs => Code::Invalid,
        Verdict::Same | Verdict::Unknown => Code::UnknownMessage,
    }
}

pub(super) fn bad_packet(kind: Kind, bad: BadPacket) -> Notice {
    let (code, field) = match bad {
        BadPacket::Field(tag) => (Code::PacketMalformed, tag),
        BadPacket::Critical(tag) => (Code::UnknownField, tag),
    };
    let mut text = Text::default();
    let _ = core::fmt::Write::write_fmt(&mut text, format_args!("{}, field {field}", kind.name()));
    Notice {
        text,
        ..Notice::new(code)
    }
}
