//! Control frames that are to be sent. They are remembered, each at most once, and
//! written when bytes are wanted and there is room: so control needs no credit, cannot
//! pile up and cannot be lost (PROTOCOL L-1).

use super::core::Core;
use super::role::Role;
use super::slot::{SessionSlot, agreed};
use crate::error::Cause;
use crate::limits::MAX_HANDSHAKE_FRAME;
use crate::schema::MessageDef;
#[cfg(feature = "alloc")]
use crate::schema::told::Descriptions;
use crate::session::Session;
use crate::status::{Code, Notice};
use crate::store::Inbox as _;
use crate::time::Millis;
use crate::wire::definitions;
use crate::wire::frame::Kind;
use crate::wire::outbox::{Outbox, PutError};
use crate::wire::preamble::PREAMBLE;
use crate::wire::storage::Storage;
use crate::wire::tlv::Writer;

/// Whether a control frame was written.
type Written = Result<(), PutError>;

/// What is to be sent, in the order in which it is.
#[derive(Debug)]
#[cfg_attr(feature = "snapshot", derive(Clone, Hash))]
pub(super) struct Pending {
    preamble: bool,
    describe: bool,
    /// The number of the definition to be sent next.
    definitions: Option<u8>,
    /// Where in the descriptions of the catalog the next part begins.
    #[cfg(feature = "alloc")]
    catalog: Option<usize>,
    acceptance: bool,
    answer: bool,
    /// How many bytes must leave until the last answer has left.
    answer_waits: usize,
    grant: bool,
    keep_alive: bool,
    go_away: bool,
    /// The refusal or error that ends the connection.
    last: Option<Kind>,
    going_deadline: Millis,
    /// Service: the client that has proposed takes its catalog.
    adopts: bool,
}

impl Pending {
    pub(super) const fn new(role: Role) -> Self {
        Self {
            // A client's preamble leaves with its proposal.
            preamble: !role.is_client(),
            describe: false,
            definitions: None,
            #[cfg(feature = "alloc")]
            catalog: None,
            acceptance: false,
            answer: false,
            answer_waits: 0,
            grant: false,
            keep_alive: false,
            go_away: false,
            last: None,
            going_deadline: Millis::ZERO,
            adopts: false,
        }
    }

    /// Whether there is anything to write.
    pub(super) const fn is_due(&self) -> bool {
        self.preamble
            || self.describe
            || self.definitions.is_some()
            || self.is_telling()
            || self.acceptance
            || self.answer
            || self.grant
            || self.keep_alive
            || self.go_away
            || self.last.is_some()
    }

    /// Whether nothing at all was written yet.
    #[cfg(feature = "record")]
    pub(super) const fn is_preamble_due(&self) -> bool {
        self.preamble
    }

    #[cfg(feature = "alloc")]
    pub(super) const fn ask(&mut self) {
        self.describe = true;
    }

    pub(super) const fn describe(&mut self) {
        self.definitions = Some(0);
    }

    /// The catalog, to a client that adopts it, and the acceptance.
    pub(super) fn accept(&mut self) {
        #[cfg(feature = "alloc")]
        {
            self.catalog = self.adopts.then_some(0);
        }
        self.acceptance = true;
    }

    /// Whether parts of the catalog are still to be sent.
    const fn is_telling(&self) -> bool {
        #[cfg(feature = "alloc")]
        return self.catalog.is_some();
        #[cfg(not(feature = "alloc"))]
        false
    }

    /// Whether the acceptance has not left yet. Nothing may pass it.
    pub(super) const fn is_opening(&self) -> bool {
        self.acceptance
    }

    pub(super) const fn answer(&mut self) {
        self.answer = true;
    }

    /// So many bytes have left.
    pub(super) const fn left(&mut self, count: usize) {
        self.answer_waits = self.answer_waits.saturating_sub(count);
    }

    pub(super) const fn grant(&mut self) {
        self.grant = true;
    }

    pub(super) const fn keep_alive(&mut self) {
        self.keep_alive = true;
    }

    /// PROTOCOL G-1: nothing new may be sent after this call; what was sent leaves before it.
    pub(super) const fn say_go_away(&mut self, deadline: Millis) {
        self.go_away = true;
        self.going_deadline = deadline;
    }

    /// The peer said go-away: nothing is owed to it but what waits already.
    pub(super) const fn drain(&mut self) {
        self.go_away = false;
    }

    /// Service: the client takes the catalog of this side.
    pub(super) const fn adopted(&mut self) {
        self.adopts = true;
    }

    /// Whether it does.
    pub(super) const fn adopts(&self) -> bool {
        self.adopts
    }

    /// The connection ends: only the last word is still to be said (PROTOCOL E-3).
    pub(super) fn end(&mut self, cause: &Cause) {
        let code = cause.code();
        let last = match cause {
            // The peer could not read it (PROTOCOL P-2).
            Cause::OurError(_) if matches!(code, Some(Code::NotDiset | Code::Version)) => None,
            Cause::OurError(_) | Cause::Silent => Some(Kind::Error),
            Cause::WeRefused(_) => Some(Kind::Refusal),
            Cause::HandshakeTimeout => Some(Kind::Error),
            Cause::Refused(_) | Cause::PeerError(_) | Cause::WentAway(_) | Cause::Lost => None,
        };
        let preamble = self.preamble && (last.is_some() || code == Some(Code::Version));
        // An acceptance that was promised to the application still opens the
        // connection for the peer: messages behind it may wait in the outbox. Not one that
        // still waits for its catalog.
        let acceptance = self.acceptance && !self.is_telling() && last.is_some();
        let adopts = self.adopts;
        self.clear();
        self.preamble = preamble;
        self.acceptance = acceptance;
        self.adopts = adopts;
        self.last = last;
    }

    pub(super) const fn clear(&mut self) {
        *self = Self::new(Role::Client);
    }
}

impl Core {
    /// Writes what is pending, as far as there is room.
    pub(super) fn write_pending<B: Storage, S: SessionSlot>(&mut self, out: &mut Outbox<B>, slot: &mut S) {
        // Full: the rest is written when bytes have left. A buffer of MIN_OUTPUT bytes
        // takes each of them once it is empty.
        let _ = self.try_write_pending(out, slot);
    }

    fn try_write_pending<B: Storage, S: SessionSlot>(&mut self, out: &mut Outbox<B>, slot: &mut S) -> Written {
        if self.pending.preamble {
            if !out.raw(&PREAMBLE) {
                return Err(PutError::Full);
            }
            self.pending.preamble = false;
        }
        if self.pending.describe {
            put(out, Kind::Describe, |_| ())?;
            self.pending.describe = false;
        }
        self.write_definitions(out)?;
        #[cfg(feature = "alloc")]
        self.write_catalog(out)?;
        self.write_acceptance(out, slot)?;
        // One that waits answers them all (PROTOCOL K-5): a peer that asks and never reads
        // must not fill the buffer.
        if self.pending.answer && self.pending.answer_waits == 0 {
            put(out, Kind::KeepAliveAnswer, |_| ())?;
            self.pending.answer = false;
            self.pending.answer_waits = out.bytes().len();
        }
        self.write_ack(out, slot)?;
        #[cfg(feature = "alloc")]
        if self.is_session_due(slot)
            && let Some(session) = slot.session_mut()
            && let Some(next) = session.link.next_key
        {
            put(out, Kind::NextKey, |out| next.write(out))?;
            session.link.next_key = None;
        }
        if self.pending.grant {
            let grant = self.flow.grant();
            put(out, Kind::Credit, |out| grant.write(out))?;
            self.flow.grant_written();
            self.pending.grant = false;
        }
        if self.pending.keep_alive {
            put(out, Kind::KeepAlive, |_| ())?;
            self.pending.keep_alive = false;
        }
        self.write_endings(out)
    }

    fn write_acceptance<B: Storage, S: SessionSlot>(&mut self, out: &mut Outbox<B>, slot: &mut S) -> Written {
        if !self.pending.acceptance {
            return Ok(());
        }
        if is_held(slot) {
            return Err(PutError::Full);
        }
        let Role::Service(duties) = self.role else {
            return Ok(());
        };
        let session = slot.session_mut().and_then(Session::answer);
        put(out, Kind::Acceptance, |out| {
            (duties.accept)(self, session.as_ref(), out);
        })?;
        self.pending.acceptance = false;
        Ok(())
    }

    /// What was received and dealt with: by itself, and before whatever confirms the same in
    /// another way, or is the last word (PROTOCOL Q-2).
    fn write_ack<B: Storage, S: SessionSlot>(&mut self, out: &mut Outbox<B>, slot: &mut S) -> Written {
        let Some(session) = agreed(slot) else { return Ok(()) };
        let pending = &self.pending;
        // What must not pass it takes room as well; by itself one waits at most.
        let goes_before = pending.grant || pending.go_away || pending.last.is_some();
        let alone = (session.link.ack || pending.keep_alive) && session.link.ack_waits == 0;
        if !goes_before && !alone {
            return Ok(());
        }
        if session.untold() != (0, 0) {
            let ack = session.tell();
            if let Err(error) = put(out, Kind::Ack, |out| ack.write(out)) {
                session.untell(&ack);
                return Err(error);
            }
            session.link.ack_waits = out.bytes().len();
        }
        session.link.ack = false;
        session.link.ack_at = None;
        Ok(())
    }

    /// Go-away, refusal, error.
    fn write_endings<B: Storage>(&mut self, out: &mut Outbox<B>) -> Written {
        if self.pending.go_away
            && let Some(Cause::WentAway(notice)) = &self.cause
        {
            let deadline = self.pending.going_deadline;
            put(out, Kind::GoAway, |out| notice.write(Some(deadline), out))?;
            self.pending.go_away = false;
        }
        if let Some(kind) = self.pending.last {
            let bare = Notice::new(match self.cause {
                Some(Cause::Silent) => Code::Silent,
                _ => Code::HandshakeTimeout,
            });
            let notice = self.cause.as_ref().and_then(Cause::notice).unwrap_or(&bare);
            put(out, kind, |out| notice.write(None, out))?;
            self.pending.last = None;
        }
        Ok(())
    }

    /// As many frames of definitions as there is room for.
    fn write_definitions<B: Storage>(&mut self, out: &mut Outbox<B>) -> Written {
        let catalog = self.catalog;
        while let Some(first) = self.pending.definitions {
            let mut next = first;
            put(out, Kind::Definitions, |out| {
                let entries = catalog.messages().iter().map(MessageDef::entry);
                next = definitions::write(out, first, catalog.count(), entries);
            })?;
            self.pending.definitions = (next < catalog.count()).then_some(next);
        }
        Ok(())
    }

    /// As many parts of the catalog as there is room for (PROTOCOL H-11).
    #[cfg(feature = "alloc")]
    fn write_catalog<B: Storage>(&mut self, out: &mut Outbox<B>) -> Written {
        let told = self.told.as_ref().map_or(&[][..], Descriptions::as_bytes);
        let most = self.theirs.max_frame.min(MAX_HANDSHAKE_FRAME);
        while let Some(offset) = self.pending.catalog {
            let rest = told.get(offset..).unwrap_or_default();
            if rest.is_empty() {
                self.pending.catalog = None;
                break;
            }
            let mut taken = 0;
            out.control(Kind::Catalog, most, &mut |out| {
                taken = out.fill(rest);
                if taken == 0 {
                    // It shows in the length that there is no room.
                    out.raw(rest);
                }
            })?;
            self.pending.catalog = Some(offset + taken);
        }
        Ok(())
    }
}

/// Whether the session must be kept before its acceptance may leave (PROTOCOL Q-6).
pub(super) fn is_held<S: SessionSlot>(slot: &S) -> bool {
    slot.session().is_some_and(|session| !session.inbox().may_open())
}

/// Puts one control frame into the outbox.
fn put<B: Storage>(out: &mut Outbox<B>, kind: Kind, mut write: impl FnMut(&mut Writer<'_>)) -> Written {
    out.control(kind, MAX_HANDSHAKE_FRAME, &mut write)
}
