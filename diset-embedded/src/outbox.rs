//! What a client keeps from one connection to the next: the session, and the acked messages that wait in it.

use core::fmt;

use diset_proto::drive::Tx;
use diset_proto::store::{FixedReplay, Inbox, NoInbox, Replay as _, Unsure, Volatile};
use diset_proto::{Bound, Delivered, FromClient, NoSession, SendError, ServiceDef, Session, SessionSlot};

use crate::event::Event;
use crate::machine::Chip;

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
    session: ChipSession<N, I>,
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
            session: Session::new(FixedReplay::new([0; N]), inbox),
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
    /// How a client has the session.
    #[doc(hidden)]
    type Slot<'b>: SessionSlot;

    /// Lends the session to a client.
    #[doc(hidden)]
    fn lend(&mut self) -> Self::Slot<'_>;
}

mod sealed {
    #[expect(unnameable_types, reason = "nobody else is to implement it")]
    pub trait Sealed {}
    impl Sealed for super::NoOutbox {}
    impl<const N: usize, I: super::Inbox> Sealed for super::Outbox<N, I> {}
}

impl Keep for NoOutbox {
    type Slot<'b> = NoSession;

    fn lend(&mut self) -> NoSession {
        NoSession
    }
}

impl<const N: usize, I: Inbox + 'static> Keep for Outbox<N, I> {
    type Slot<'b> = &'b mut ChipSession<N, I>;

    fn lend(&mut self) -> &mut ChipSession<N, I> {
        &mut self.session
    }
}

/// Stores a message. One that an empty store has no room for is too long, not one too many.
pub(crate) fn store<S, M, const N: usize, I>(
    tx: &mut Tx<Chip<'_, Outbox<N, I>>>,
    message: &M,
    unsure: Unsure,
) -> Result<u64, SendError>
where
    S: ServiceDef,
    M: FromClient<S>,
    I: Inbox + 'static,
{
    match tx.send_acked(M::NUMBER, message, unsure) {
        Err(SendError::Full(Bound::Session)) if stored(tx) == 0 => Err(SendError::TooLong),
        stored => stored,
    }
}

/// How many messages are stored.
pub(crate) fn stored<const N: usize, I: Inbox + 'static>(tx: &Tx<Chip<'_, Outbox<N, I>>>) -> usize {
    tx.connection().session().map_or(0, |session| session.replay().len())
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

/// What has become known and was not told yet. Outcomes come before progress: who looks how far acked messages have got
/// must know what went wrong on the way.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// There may be outcomes; only asking shows. If there is none, something else is told.
    ask: bool,
    moved: bool,
    /// There may be room for what is to be sent.
    room: bool,
    /// How far all had got before the connection: the lower half, which is enough to see whether they move.
    from: u32,
}

impl News {
    /// For a new connection, before which all had got so far.
    pub(crate) fn since(delivered: Delivered) -> Self {
        Self {
            from: lower_half(delivered.processed),
            ..Self::default()
        }
    }

    /// The connection is open, where the messages have got so far: what the service had not told before shows here.
    pub(crate) fn connected<K: Keep>(&mut self, tx: &Tx<Chip<'_, K>>) {
        self.ask = tx.connection().session().is_some();
        self.moved = lower_half(tx.connection().delivered().processed) != self.from;
    }

    pub(crate) const fn acknowledged(&mut self) {
        (self.ask, self.moved) = (true, true);
    }

    /// There may be credit, besides what is told now.
    pub(crate) const fn granted(&mut self, granted: bool) {
        self.room |= granted;
    }

    /// Whether there is an event.
    pub(crate) fn is_there<K: Keep>(&self, tx: &Tx<Chip<'_, K>>) -> bool {
        self.ask || self.moved || self.room || tx.connection().has_outcomes()
    }

    /// The next event.
    pub(crate) fn next<'c, 'b, S: ServiceDef, K: Keep>(
        &mut self,
        tx: &mut Tx<Chip<'b, K>>,
    ) -> Option<Event<'c, 'b, S, K>> {
        if !self.is_there(tx) {
            return None;
        }
        if (core::mem::take(&mut self.ask) || tx.connection().has_outcomes())
            && let Some((number, outcome)) = tx.take_outcome()
        {
            self.ask = true;
            return Some(Event::Outcome { number, outcome });
        }
        if core::mem::take(&mut self.moved) {
            return Some(Event::Delivered(tx.connection().delivered()));
        }
        self.room = false;
        Some(Event::Room)
    }
}

fn lower_half(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use diset_proto::{ClientConfig, Connection, Identity, Instant, Limits};

    use super::*;

    diset_proto::define_service! { Any = "Any/Any"; }

    /// How the proposal of a client with this outbox ends.
    fn says(outbox: &mut impl Keep) -> [u8; 3] {
        let config = ClientConfig {
            catalog: Any::CATALOG,
            identity: Identity::from_bytes([1; 16]),
            limits: Limits::CHIP,
            args: &[],
        };
        let conn = Connection::client_in_session(Instant::ZERO, &config, [0; 1024], outbox.lend());
        let mut conn = conn.map_err(|(misuse, _)| misuse).expect("settings that are good");
        let (_, end) = conn.transmit().split_last_chunk().expect("a proposal");
        *end
    }

    #[test]
    fn an_outbox_only_sends() {
        assert_eq!(says(&mut Outbox::<64>::new()), [0x06, 1, 4], "PROTOCOL N-2");
        assert_eq!(
            says(&mut Outbox::<64, Volatile>::with_inbox()),
            [0x06, 1, 4 | 8],
            "PROTOCOL N-2"
        );
    }
}
