//! Messages that leave: the plain ones straight into the output, the acked ones from the store of
//! the session (PROTOCOL, parts L and Q).

use serde::Serialize;

use super::pending::is_held;
use super::recording::when_recorded;
use super::slot::{SessionSlot, agreed};
use super::state::Phase;
use super::{Connection, Core};
use crate::definition::{Key, Verdict};
use crate::error::{Bound, SendError};
use crate::limits::CONTROL_RESERVE;
use crate::message;
#[cfg(feature = "alloc")]
use crate::schema::learned::LearnedMessage;
use crate::session::{Outcome, Refused};
use crate::store::Unsure;
use crate::wire::frame::Kind;
use crate::wire::outbox::{Outbox, PutError};
use crate::wire::session::Next;
use crate::wire::storage::Storage;
use crate::wire::tlv::Writer;

/// Why a stored message does not leave now.
enum Stuck {
    /// There will be room later, or credit.
    Full(Bound),
    /// It never will.
    Never(Outcome),
}

impl<B: Storage, S: SessionSlot> Connection<B, S> {
    /// Queues a message by its number in this side's catalog. Typed users take it from
    /// [`MessageOf::NUMBER`](crate::MessageOf::NUMBER).
    ///
    /// At most once: when the connection ends before the message has reached the peer it
    /// is lost. Messages arrive in the order they were sent, after acked ones that were sent before.
    ///
    /// # Errors
    /// The message was not taken, nothing changed: see [`SendError`].
    pub fn send<T: Serialize + ?Sized>(&mut self, number: u8, message: &T) -> Result<(), SendError> {
        when_recorded!(self.note_send(number, message));
        let wire = self.way_for_message(number)?;
        let waiting = self.out.waiting();
        let max = self.core.theirs.max_frame;
        let put = self
            .out
            .frame(Kind::Message.head(), CONTROL_RESERVE, max, &mut |place| {
                message::encode(wire, message, place)
            });
        self.sent(put, waiting)
    }

    /// Whether a message may follow now on what leaves; its number on the wire.
    fn way_for_message(&mut self, number: u8) -> Result<u8, SendError> {
        let wire = self.core.may_send(number)?;
        // An answer must not stand behind the grant that says that nothing is left to be answered (PROTOCOL G-1).
        if self.core.phase == Phase::Open && self.is_due() {
            self.write_pending();
        }
        // An acceptance must leave before the first message, also one that waits for its session to be kept.
        if self.core.pending.is_opening() {
            let bound = if is_held(&self.slot) {
                Bound::Store
            } else {
                room(&self.out)
            };
            return Err(SendError::Full(bound));
        }
        // PROTOCOL Q-7: what is stored goes first.
        self.fill().map_or(Ok(wire), |bound| Err(SendError::Full(bound)))
    }

    /// A message was put in behind so many bytes that wait, or was not.
    fn sent(&mut self, put: Result<u32, PutError>, waiting: usize) -> Result<(), SendError> {
        match put {
            Ok(cost) if self.core.flow.sent(cost) => Ok(()),
            Ok(_) => {
                self.out.undo(waiting);
                Err(SendError::Full(Bound::Credit))
            }
            Err(PutError::Full) => Err(SendError::Full(room(&self.out))),
            Err(PutError::TooLong) => Err(SendError::TooLong),
            Err(PutError::Body) => Err(SendError::Encode),
        }
    }

    /// Stores a message by its number in this side's catalog, and sends it as soon as it can be;
    /// its number in the session. It stays stored until the peer has dealt with it, also
    /// across reconnects, and gets exactly one [`Outcome`].
    ///
    /// # Errors
    /// The message was not taken, nothing changed: see [`SendError`]. That it is not
    /// agreed or too long is said only while the connection is open; else it will be the outcome.
    pub fn send_acked<T: Serialize + ?Sized>(
        &mut self,
        number: u8,
        message: &T,
        unsure: Unsure,
    ) -> Result<u64, SendError> {
        when_recorded!(self.note_send_acked(number, message, unsure));
        let key = self.core.may_store(number)?;
        let open = self.core.phase == Phase::Open;
        let session = if open {
            agreed(&mut self.slot)
        } else {
            self.slot.session_mut()
        };
        let session = session.ok_or(SendError::NoSession)?;
        if open && !session.is_sending()? {
            return Err(SendError::NotTaken);
        }
        if open && message::size(message).is_none_or(|size| !takes(&self.core, &self.out, size)) {
            return Err(SendError::TooLong);
        }
        let stored = session.store_by_key(key, message, unsure);
        when_recorded!(self.note_stored(&stored));
        let number = stored?;
        self.fill();
        Ok(number)
    }

    /// Queues a message of the catalog that was [`learned`](Self::learned), by its definition
    /// and the payload that [`LearnedMessage::encode`] made. As [`send`](Self::send) otherwise.
    ///
    /// # Errors
    /// As for [`send`](Self::send). [`SendError::NotAgreed`] also when the service defines the
    /// message otherwise than `message`, which may stem from an earlier connection;
    /// [`SendError::Encode`] when the payload is not one of `message`.
    #[cfg(feature = "alloc")]
    pub fn send_learned(&mut self, message: &LearnedMessage, payload: &[u8]) -> Result<(), SendError> {
        let number = self.core.number_of(message).map_err(SendError::NotAgreed)?;
        message.structure().check(payload).map_err(|_| SendError::Encode)?;
        self.send(number, &message::Encoded(payload))
    }

    /// Whether a stored message could leave now.
    pub(super) fn can_fill(&self) -> bool {
        if !self.core.may_speak() || self.core.pending.is_opening() {
            return false;
        }
        let Some(session) = self.slot.session() else {
            return false;
        };
        if !session.is_waiting() {
            return false;
        }
        // What can never leave is taken out, when there is room for its outcome.
        session.front().is_some_and(|(stored, _)| {
            let length = stored.payload.len();
            let never = self.core.wire_of(stored.key).is_err() || !takes(&self.core, &self.out, length);
            if never {
                session.has_room()
            } else {
                self.core.flow.could_send(length_of(length))
            }
        })
    }

    /// Moves stored messages into the output, as far as credit and room reach; what holds back the rest, if there is any.
    pub(super) fn fill(&mut self) -> Option<Bound> {
        if !self.core.may_speak() || self.core.pending.is_opening() {
            return None;
        }
        let session = agreed(&mut self.slot).filter(|session| session.is_waiting())?;
        while let Some((stored, skipped)) = session.front() {
            let next = Next {
                skipped,
                repeated: stored.repeated,
            };
            let number = stored.number;
            match put_stored(&mut self.core, &mut self.out, stored.key, stored.payload, next) {
                Ok(()) => session.transmitted(number),
                Err(Stuck::Full(bound)) => return Some(bound),
                Err(Stuck::Never(outcome)) => {
                    if !session.refuse(number, Refused(outcome)) {
                        return Some(Bound::Outcomes);
                    }
                }
            }
        }
        session.held_by()
    }
}

/// The length of a frame with this much payload: head and number stand before it.
fn length_of(payload: usize) -> u32 {
    u32::try_from(payload).map_or(u32::MAX, |payload| payload.saturating_add(2))
}

/// Whether the peer, and an empty outbox, take so much payload.
fn takes<B: Storage>(core: &Core, out: &Outbox<B>, payload: usize) -> bool {
    let length = payload.saturating_add(2);
    length_of(payload) <= core.theirs.max_frame && out.could_take(length + MARK, CONTROL_RESERVE)
}

/// The longest frame that says what the next message is, with a length that may be padded.
const MARK: usize = 4 + 1 + 10 + 1;

/// Puts one stored message into the output, with what is to be known of it.
fn put_stored<B: Storage>(
    core: &mut Core,
    out: &mut Outbox<B>,
    key: Key,
    payload: &[u8],
    next: Next,
) -> Result<(), Stuck> {
    let wire = core
        .wire_of(key)
        .map_err(|verdict| Stuck::Never(Outcome::NotAgreed(verdict)))?;
    if !takes(core, out, payload.len()) {
        return Err(Stuck::Never(Outcome::TooLong));
    }
    if !core.flow.could_send(length_of(payload.len())) {
        return Err(Stuck::Full(Bound::Credit));
    }
    let max = core.theirs.max_frame;
    let waiting = out.waiting();
    if next.skipped > 0 || next.repeated {
        let put = out.frame(Kind::Next.head(), CONTROL_RESERVE, max, &mut |place| {
            let mut writer = Writer::new(place);
            next.write(&mut writer);
            Some(writer.len())
        });
        put.map_err(|_| Stuck::Full(room(out)))?;
    }
    let put = out.frame(Kind::Acked.head(), CONTROL_RESERVE, max, &mut |place| {
        let mut writer = Writer::new(place);
        writer.byte(wire);
        writer.raw(payload);
        Some(writer.len())
    });
    let bound = match put {
        Ok(cost) if core.flow.sent(cost) => return Ok(()),
        Ok(_) => Bound::Credit,
        Err(_) => room(out),
    };
    out.undo(waiting);
    Err(Stuck::Full(bound))
}

/// What there is too little of in an output that has no room for a frame: it waits to be written, or does not grow.
const fn room<B>(out: &Outbox<B>) -> Bound {
    if out.is_empty() { Bound::Memory } else { Bound::Output }
}

impl Core {
    /// The key of a message that may be stored now.
    fn may_store(&self, number: u8) -> Result<Key, SendError> {
        let (def, direction) = self.def(number).ok_or(SendError::NotAgreed(Verdict::Unknown))?;
        if !self.may_go(direction) {
            return Err(SendError::WrongDirection);
        }
        match self.agreement.verdict(number) {
            verdict if self.phase == Phase::Open && verdict != Verdict::Same => Err(SendError::NotAgreed(verdict)),
            _ => Ok(def.key()),
        }
    }

    /// The number on the wire of a stored message.
    fn wire_of(&self, key: Key) -> Result<u8, Verdict> {
        let mut messages = self.catalog.messages().iter().zip(0u8..);
        let (def, number) = messages.find(|(def, _)| def.key() == key).ok_or(Verdict::Unknown)?;
        if !self.may_go(def.direction()) {
            return Err(Verdict::Unknown);
        }
        self.agreement.wire(number).map_err(|_| self.agreement.verdict(number))
    }
}
