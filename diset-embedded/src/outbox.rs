//! What a client keeps from one connection to the next: the session, and the acked messages that wait in it.

use core::cell::{RefCell, RefMut};
use core::fmt;

use diset_proto::store::{FixedReplay, Inbox, NoInbox, Replay as _, Volatile};
use diset_proto::{
    Bound, Connection, Delivered, NoSession, Outcome, SendError, ServiceDef, Session, SessionSlot, Storage,
};

use crate::event::Event;

/// The session of a client on a chip.
pub(crate) type ChipSession<const N: usize, I> = Session<FixedReplay<[u8; N]>, I>;

/// Keeps acked messages until the service has dealt with them, across connections: `N` bytes, of which each message
/// takes 29 and its payload. Handed to a client by [`Client::with_outbox`](crate::Client::with_outbox).
///
/// As the initial value of a `static` it takes its size in flash, too; one that is written at the start does not.
///
/// The client sends acked messages and takes none: it says so, and the service sends it plain ones. One that takes them,
/// too, has an `Outbox<N, Volatile>`, made by [`with_inbox`](Self::with_inbox).
///
/// It is memory: what is in it is gone when the chip starts anew. Keep it with the identity of its client: another
/// client would not be let into the session.
///
/// ```
/// use diset_embedded::Outbox;
/// let mut outbox: Outbox<512> = Outbox::new(); // may stand in a `static`'s initial value
/// # let _ = &mut outbox;
/// ```
pub struct Outbox<const N: usize, I = NoInbox> {
    session: RefCell<ChipSession<N, I>>,
}

impl<const N: usize> Outbox<N> {
    /// An empty one; may stand in a `static`'s initial value.
    pub const fn new() -> Self {
        Self::of(NoInbox)
    }
}

impl<const N: usize> Outbox<N, Volatile> {
    /// An empty one, of a client that takes acked messages, too.
    pub const fn with_inbox() -> Self {
        Self::of(Volatile)
    }
}

impl<const N: usize, I: Inbox> Outbox<N, I> {
    const fn of(inbox: I) -> Self {
        Self {
            session: RefCell::new(Session::new(FixedReplay::new([0; N]), inbox)),
        }
    }
}

impl<const N: usize> Default for Outbox<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Its size only: messages are in there.
impl<const N: usize, I> fmt::Debug for Outbox<N, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outbox<{N}>")
    }
}

/// In place of an [`Outbox`]: nothing is kept, and nothing can be sent acked.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct NoOutbox;

/// An [`Outbox`] or [`NoOutbox`].
pub trait Keep: sealed::Sealed + 'static {
    /// How a connection has the session.
    #[doc(hidden)]
    type Slot<'b>: SessionSlot;

    /// Lends the session to a connection; `None` while another one has it.
    #[doc(hidden)]
    fn lend(&self) -> Option<Self::Slot<'_>>;
}

mod sealed {
    #[expect(unnameable_types, reason = "nobody else is to implement it")]
    pub trait Sealed {}
    impl Sealed for super::NoOutbox {}
    impl<const N: usize, I: super::Inbox> Sealed for super::Outbox<N, I> {}
}

impl Keep for NoOutbox {
    type Slot<'b> = NoSession;

    fn lend(&self) -> Option<NoSession> {
        Some(NoSession)
    }
}

impl<const N: usize, I: Inbox + 'static> Keep for Outbox<N, I> {
    type Slot<'b> = RefMut<'b, ChipSession<N, I>>;

    fn lend(&self) -> Option<RefMut<'_, ChipSession<N, I>>> {
        self.session.try_borrow_mut().ok()
    }
}

/// A message that an empty store has no room for is too long, not one too many.
pub(crate) fn fitting<const N: usize, I: Inbox>(
    stored: Result<u64, SendError>,
    session: Option<&ChipSession<N, I>>,
) -> Result<u64, SendError> {
    match stored {
        Err(SendError::Full(Bound::Session)) if session.is_some_and(|session| session.replay().is_empty()) => {
            Err(SendError::TooLong)
        }
        stored => stored,
    }
}

/// Which acked message of the service has come, as [`Message::received`](crate::Message::received) tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Received {
    /// Its number in the session, from 1; counted again when the session begins anew.
    pub number: u64,
    /// It may have been handled before: a side was restarted, or lost the session, before it could say so.
    pub maybe_repeated: bool,
}

/// What has become known of acked messages and was not told yet, outcomes before progress: who looks how far it has
/// got must know what went wrong on the way.
#[derive(Debug, Default)]
pub(crate) struct News {
    outcome: Option<(u64, Outcome)>,
    /// There may be outcomes; only asking shows.
    ask: bool,
    moved: bool,
    /// How far all had got before the connection.
    from: u64,
}

impl News {
    /// For a new connection with this session.
    pub(crate) fn of<L: SessionSlot>(slot: &L) -> Self {
        Self {
            from: slot.session().map_or(0, |session| session.delivered().processed),
            ..Self::default()
        }
    }

    /// The connection is open, where the messages have got so far: what the service had not told before shows here.
    pub(crate) const fn connected(&mut self, delivered: Delivered) {
        self.ask = true;
        self.moved = delivered.processed > self.from;
    }

    pub(crate) const fn acknowledged(&mut self) {
        (self.ask, self.moved) = (true, true);
    }

    /// Whether there is an event.
    pub(crate) fn is_there<B: Storage, L: SessionSlot>(&mut self, conn: &mut Connection<B, L>) -> bool {
        if self.outcome.is_none() && (core::mem::take(&mut self.ask) || conn.has_outcomes()) {
            self.outcome = conn.take_outcome();
            self.ask = self.outcome.is_some();
        }
        self.outcome.is_some() || self.moved
    }

    /// The next event.
    pub(crate) fn next<'c, 'b, S: ServiceDef, K: Keep, B: Storage, L: SessionSlot>(
        &mut self,
        conn: &mut Connection<B, L>,
    ) -> Option<Event<'c, 'b, S, K>> {
        if !self.is_there(conn) {
            return None;
        }
        Some(match self.outcome.take() {
            Some((number, outcome)) => Event::Outcome { number, outcome },
            None => {
                self.moved = false;
                Event::Delivered(conn.delivered())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use diset_proto::{ClientConfig, Identity, Instant, Limits};

    use super::*;

    diset_proto::define_service! { Any = "Any/Any"; }

    /// How the proposal of a client with this outbox ends.
    fn says(outbox: &impl Keep) -> [u8; 3] {
        let config = ClientConfig {
            catalog: Any::CATALOG,
            identity: Identity::from_bytes([1; 16]),
            limits: Limits::CHIP,
            args: &[],
        };
        let lent = outbox.lend().expect("nobody else has it");
        let conn = Connection::client_in_session(Instant::ZERO, &config, [0; 1024], lent);
        let mut conn = conn.map_err(|(misuse, _)| misuse).expect("settings that are good");
        let (_, end) = conn.transmit().split_last_chunk().expect("a proposal");
        *end
    }

    #[test]
    fn an_outbox_only_sends() {
        assert_eq!(says(&Outbox::<64>::new()), [0x06, 1, 4], "PROTOCOL N-2");
        assert_eq!(
            says(&Outbox::<64, Volatile>::with_inbox()),
            [0x06, 1, 4 | 8],
            "PROTOCOL N-2"
        );
    }
}
