//! A client tells under which key it will come back (PROTOCOL N-8).

use core::time::Duration;

use super::Connection;
use super::core::Core;
use super::event::Event;
use super::fault::{Fault, Taken};
use super::incoming::no_session;
use super::recording::note;
use super::slot::{SessionSlot, agreed};
use super::state::{Input, Step, step};
use crate::error::Misuse;
use crate::limits::MAX_NEXT_KEYS;
use crate::status::Code;
use crate::wire::frame::Kind;
use crate::wire::session::NextKey;
use crate::wire::storage::Storage;

impl<B: Storage, S: SessionSlot> Connection<B, S> {
    /// Client: tells the SHA-256 of the next public key, under which the session is to go on. It
    /// counts when [`Event::NextKeyRemembered`] has come (PROTOCOL N-8). A service answers four on one connection, and
    /// ends it with [`Code::Busy`](crate::Code::Busy) at a further one (PROTOCOL L-7).
    ///
    /// # Errors
    /// [`Misuse::WrongPhase`] unless the connection is open and keeps a session, and when four were answered.
    pub fn announce_next_key(&mut self, hash: [u8; 32], lasts: Duration) -> Result<(), Misuse> {
        self.tell_key(true, hash, lasts)
    }

    /// Service: the next public key of the client is remembered.
    ///
    /// # Errors
    /// [`Misuse::WrongPhase`] unless the connection is open and keeps a session.
    pub fn next_key_remembered(&mut self, hash: [u8; 32], lasts: Duration) -> Result<(), Misuse> {
        self.tell_key(false, hash, lasts)
    }

    fn tell_key(&mut self, is_client: bool, hash: [u8; 32], lasts: Duration) -> Result<(), Misuse> {
        note!(
            self,
            NextKey {
                service: !is_client,
                hash,
                seconds: lasts.as_secs()
            }
        );
        let open = matches!(step(self.core.phase, Input::Frame(Kind::NextKey)), Step::Take);
        let session = agreed(&mut self.slot).filter(|_| self.core.role.is_client() == is_client && open);
        let session = session.filter(|session| !is_client || session.link.keys < MAX_NEXT_KEYS);
        let session = session.ok_or(Misuse::WrongPhase)?;
        let seconds = u32::try_from(lasts.as_secs()).unwrap_or(u32::MAX);
        session.link.next_key = Some(NextKey { hash, seconds });
        Ok(())
    }
}

impl Core {
    /// The next key of the client, or that it is remembered.
    pub(super) fn take_next_key<S: SessionSlot>(&mut self, body: &[u8], slot: &mut S) -> Taken<'static> {
        let NextKey { hash, seconds } = NextKey::read(body)?;
        let session = agreed(slot).ok_or_else(no_session)?;
        if session.link.keys == MAX_NEXT_KEYS {
            return Err(Fault::text(Code::Busy, "more keys than a connection may tell"));
        }
        session.link.keys += 1;
        let lasts = Duration::from_secs(seconds.into());
        Ok(Some(if self.role.is_client() {
            Event::NextKeyRemembered(hash, lasts)
        } else {
            Event::NextKey(hash, lasts)
        }))
    }
}
