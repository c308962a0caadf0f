//! Where a connection has its session, if it has one.

#[cfg(feature = "alloc")]
use alloc::boxed::Box;

use super::Session;
use crate::store::{FixedReplay, Inbox, Replay, Volatile};

/// Where a connection has its session: [`NoSession`], a [`Session`] itself, one that is lent to it, or a box
/// that is filled when a client was admitted.
pub trait SessionSlot {
    /// What keeps the messages of this side.
    type Replay: Replay;
    /// What keeps the messages of the peer.
    type Inbox: Inbox;

    /// The session, if it is here.
    fn session(&self) -> Option<&Session<Self::Replay, Self::Inbox>>;

    /// The session, if it is here.
    fn session_mut(&mut self) -> Option<&mut Session<Self::Replay, Self::Inbox>>;
}

/// No session: nothing is acked, and this side says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct NoSession;

impl SessionSlot for NoSession {
    type Replay = FixedReplay<[u8; 0]>;
    type Inbox = Volatile;

    fn session(&self) -> Option<&Session<Self::Replay, Volatile>> {
        None
    }

    fn session_mut(&mut self) -> Option<&mut Session<Self::Replay, Volatile>> {
        None
    }
}

impl<R: Replay, I: Inbox> SessionSlot for Session<R, I> {
    type Replay = R;
    type Inbox = I;

    fn session(&self) -> Option<&Self> {
        Some(self)
    }

    fn session_mut(&mut self) -> Option<&mut Self> {
        Some(self)
    }
}

/// A session that stays where it is, lent to one connection after the other.
impl<R: Replay, I: Inbox> SessionSlot for &mut Session<R, I> {
    type Replay = R;
    type Inbox = I;

    fn session(&self) -> Option<&Session<R, I>> {
        Some(self)
    }

    fn session_mut(&mut self) -> Option<&mut Session<R, I>> {
        Some(self)
    }
}

#[cfg(feature = "alloc")]
impl<R: Replay, I: Inbox> SessionSlot for Option<Box<Session<R, I>>> {
    type Replay = R;
    type Inbox = I;

    fn session(&self) -> Option<&Session<R, I>> {
        self.as_deref()
    }

    fn session_mut(&mut self) -> Option<&mut Session<R, I>> {
        self.as_deref_mut()
    }
}

/// The session, if the peer keeps one, too.
pub(crate) fn agreed<S: SessionSlot>(slot: &mut S) -> Option<&mut Session<S::Replay, S::Inbox>> {
    slot.session_mut().filter(|session| session.resumption().is_some())
}
