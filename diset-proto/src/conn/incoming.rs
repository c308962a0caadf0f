//! Messages that come: number, direction, credit, what is wrong with them, and what becomes of
//! the acked ones (PROTOCOL, parts M and Q).

use super::core::Core;
use super::event::Event;
use super::fault::{Fault, Taken};
use super::slot::{SessionSlot, agreed};
use super::state::Phase;
use crate::definition::{Direction, Key, Verdict};
use crate::message::{Held, MessageRef, Payload, Tag};
use crate::schema::invalid::Invalid;
use crate::session::{Arrival, Objection, Outcome, Session};
use crate::status::Code;
use crate::store::{Stored, Unsure};
use crate::wire::frame::{Frame, Kind, RawFrame};
use crate::wire::session::{Ack, Next, OutcomesRead};

impl Core {
    /// A plain message has come.
    pub(super) fn take_plain<'f, S: SessionSlot>(&mut self, raw: &RawFrame<'f>, slot: &mut S) -> Taken<'f> {
        let message = self.message(raw).ok_or_else(|| self.objection(raw))?;
        self.unsettled = Some(message.wire);
        if let Some(session) = slot.session_mut() {
            session.link.lent = 0;
        }
        Ok(Some(Event::Message(message)))
    }

    /// An acked message has come.
    pub(super) fn take_acked<'f, S: SessionSlot>(&mut self, raw: &RawFrame<'f>, slot: &mut S) -> Taken<'f> {
        let session = taking(slot)?;
        session.link.is_next_told = false;
        let Some(message) = self.message(raw) else {
            let fault = self.objection(raw);
            if fault.code() != Code::CreditExceeded {
                session.refuse_arrival(stored(Key::from_bytes([0; 16]), &[]), fault.code());
            }
            return Err(fault);
        };
        match session.arrive(stored(message.def.key(), message.payload.0)) {
            Arrival::New { number, repeated } => {
                let message = MessageRef {
                    acked: number,
                    repeated,
                    ..message
                };
                self.unsettled = Some(message.wire);
                session.link.lent = number;
                Ok(Some(Event::Message(message)))
            }
            Arrival::Duplicate => {
                self.give_credit_back(&message.held());
                Ok(None)
            }
            Arrival::NoRoom => Err(Fault::text(Code::Busy, "the inbox takes no more")),
        }
    }

    /// What the peer has of the messages of this side.
    pub(super) fn take_ack<S: SessionSlot>(&mut self, body: &[u8], slot: &mut S) -> Taken<'static> {
        let session = agreed(slot).ok_or_else(no_session)?;
        if !session.link.sends {
            return Err(not_this_way());
        }
        let ack = Ack::read(body)?;
        session.acked(&ack).map_err(|objection| match objection {
            Objection::Contradiction => Fault::text(Code::PacketMalformed, "ack of what was not sent"),
            Objection::Untaken => untaken(),
        })?;
        Ok(Some(Event::Acknowledged))
    }

    /// What is to be known of the next acked message.
    pub(super) fn take_next<S: SessionSlot>(&mut self, body: &[u8], slot: &mut S) -> Result<(), Fault<'static>> {
        let session = taking(slot)?;
        let next = Next::read(body)?;
        if core::mem::replace(&mut session.link.is_next_told, true) {
            return Err(Fault::text(Code::PacketMalformed, "a second next before its message"));
        }
        session
            .skip(next)
            .map_err(|_| Fault::text(Code::PacketMalformed, "more is skipped than there are numbers"))
    }

    /// The peer keeps outcomes of its messages (PROTOCOL Q-9).
    pub(super) fn take_outcomes_read<S: SessionSlot>(
        &mut self,
        body: &[u8],
        slot: &mut S,
    ) -> Result<(), Fault<'static>> {
        let session = taking(slot)?;
        let read = OutcomesRead::read(body)?;
        session
            .outcomes_read(read)
            .map_err(|_| Fault::text(Code::PacketMalformed, "outcomes read that were not told"))
    }

    /// See [`Connection::take_message`](super::Connection::take_message).
    #[inline]
    pub(super) fn take_message<'f, S: SessionSlot>(
        &mut self,
        frame: Frame<'f>,
        slot: &mut S,
    ) -> Result<MessageRef<'f>, Frame<'f>> {
        let Ok(raw) = &frame.0 else { return Err(frame) };
        if !self.may_hear() || self.unsettled.is_some() {
            return Err(frame);
        }
        let kind = Kind::of(raw.head);
        #[cfg(feature = "alloc")]
        self.confirm_handshake(kind, slot);
        match kind {
            Kind::Message => match self.message(raw) {
                Some(message) => {
                    self.waits_for_nothing();
                    Ok(message)
                }
                None => Err(frame),
            },
            Kind::Acked => match self.take_acked(raw, slot) {
                Ok(Some(Event::Message(message))) => {
                    self.unsettled = None;
                    self.waits_for_nothing();
                    Ok(message)
                }
                // It was here before: it counts as a frame that means nothing.
                Ok(_) => Err(Frame(Ok(RawFrame {
                    head: Kind::Ignorable.head(),
                    body: &[],
                }))),
                Err(fault) => {
                    self.fault(fault);
                    Err(frame)
                }
            },
            _ => Err(frame),
        }
    }

    /// The first frame on an open connection shows a service that the client has read the
    /// acceptance (PROTOCOL N-4). An error does not: it may come from one that gave up before.
    #[cfg(feature = "alloc")]
    #[inline]
    pub(super) fn confirm_handshake<S: SessionSlot>(&self, kind: Kind, slot: &mut S) {
        if let Some(session) = agreed(slot).filter(|session| session.link.is_fresh)
            && !matches!(kind, Kind::Error | Kind::Ignorable | Kind::Unknown)
        {
            session.confirm_handshake();
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
            acked: 0,
            repeated: false,
            lent: true,
            payload: Payload(payload),
        })
    }

    const fn may_come(&self, direction: Direction) -> bool {
        if self.role.is_client() {
            direction.allows_service()
        } else {
            direction.allows_client()
        }
    }

    /// What is wrong with a message frame.
    fn objection(&self, raw: &RawFrame<'_>) -> Fault<'static> {
        let Some(&wire) = raw.body.first() else {
            return Fault::text(Code::PacketMalformed, "a message without a number");
        };
        if !self.flow.may_receive(raw.cost()) {
            return Fault::new(Code::CreditExceeded).about(wire);
        }
        let known = self
            .agreement
            .own(wire)
            .and_then(|number| self.def(number).ok_or(Verdict::Unknown));
        match known {
            Ok((def, _)) => Fault::text(Code::WrongDirection, def.name()).about(wire),
            Err(verdict) => Fault::new(code_of(verdict)).about(wire),
        }
    }

    /// A message that was lent and never looked at had no handler (PROTOCOL M-4).
    pub(super) fn check_settled<S: SessionSlot>(&mut self, slot: &mut S) {
        if let Some(wire) = self.unsettled.take() {
            let acked = slot.session().map_or(0, |session| session.link.lent);
            self.fail(Tag { wire, acked }, Fault::new(Code::NoHandler), slot);
        }
    }

    /// A message was looked at.
    // Apart from its value, and called and not copied to where each type is decoded.
    #[inline(never)]
    pub(super) fn settle<S: SessionSlot>(
        &mut self,
        message: MessageRef<'_>,
        invalid: Option<Invalid>,
        slot: &mut S,
    ) -> Held {
        if message.lent {
            self.unsettled = None;
        }
        match invalid {
            None => {
                if let Some(session) = slot.session_mut() {
                    session.decoded(message.acked);
                }
            }
            Some(invalid) => self.invalid(message.tag(), invalid, slot),
        }
        message.held()
    }

    /// A message does not fit its definition.
    pub(super) fn invalid<S: SessionSlot>(&mut self, tag: Tag, invalid: Invalid, slot: &mut S) {
        self.fail(tag, Fault::invalid(invalid), slot);
    }

    /// A message is not handled, and never will be: that is its outcome (PROTOCOL Q-5), and the end.
    pub(super) fn fail<S: SessionSlot>(&mut self, tag: Tag, fault: Fault<'_>, slot: &mut S) {
        if let Some(session) = slot.session_mut() {
            session.settle(tag.acked, Outcome::Failed(fault.code()));
        }
        self.fault(fault.about(tag.wire));
    }

    /// A message was dealt with.
    pub(super) fn release<S: SessionSlot>(&mut self, held: &Held, slot: &mut S) {
        self.flow.handled(held.messages);
        self.give_credit_back(held);
        if held.acked == 0 {
            return;
        }
        let Some(session) = slot.session_mut() else { return };
        if !session.settle(held.acked, Outcome::Ok) {
            return self.fault(Fault::text(Code::Internal, "an acked message was passed over"));
        }
        session.link.ack |= session.untold().1 >= crate::limits::MAX_UNTOLD;
    }

    fn give_credit_back(&mut self, held: &Held) {
        self.flow.released(held.bytes, held.messages);
        let parting = matches!(self.phase, Phase::Leaving | Phase::Draining);
        if (parting || self.flow.is_grant_due(&self.limits)) && !self.phase.is_over() {
            self.pending.grant();
        }
    }
}

/// What an inbox is given of a message.
const fn stored(key: Key, payload: &[u8]) -> Stored<'_> {
    Stored {
        number: 0,
        key,
        unsure: Unsure::Report,
        repeated: false,
        payload,
    }
}

/// This side's user is in arrears: the outcomes will be told again.
pub(super) fn untaken() -> Fault<'static> {
    Fault::text(Code::Busy, "there are outcomes that nobody takes")
}

/// PROTOCOL N-1.
pub(super) fn no_session() -> Fault<'static> {
    Fault::text(Code::Unexpected, "there is no session")
}

/// PROTOCOL N-2.
fn not_this_way() -> Fault<'static> {
    Fault::text(Code::Unexpected, "no acked messages go this way")
}

/// The session, if the peer sends acked messages and this side takes them.
fn taking<S: SessionSlot>(slot: &mut S) -> Result<&mut Session<S::Replay, S::Inbox>, Fault<'static>> {
    let session = agreed(slot).ok_or_else(no_session)?;
    if session.is_taking() {
        Ok(session)
    } else {
        Err(not_this_way())
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
