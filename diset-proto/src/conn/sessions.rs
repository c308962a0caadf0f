//! What outlives a connection: taking a session in when it begins, giving it back when it ends
//! (PROTOCOL, part N).

use super::Connection;
use super::core::Core;
#[cfg(feature = "alloc")]
use super::event::Event;
use super::handshake::{self, ClientConfig};
use super::recording::{note, when_recorded};
use super::role::Role;
#[cfg(feature = "alloc")]
use super::service::Admission;
use super::slot::{NoSession, SessionSlot};
use crate::error::Misuse;
use crate::session::{Delivered, Outcome, Resumption, Session};
use crate::time::Instant;
use crate::wire::outbox::Outbox;
use crate::wire::session::Resume;
use crate::wire::storage::Storage;

impl<B: Storage> Connection<B> {
    /// Service: takes clients that keep sessions. `empty` is where one goes when a client is
    /// admitted by [`accept_in_session`](Connection::accept_in_session).
    pub fn with_sessions<S: SessionSlot>(self, empty: S) -> Connection<B, S> {
        let Self {
            core,
            out,
            slot: NoSession,
            #[cfg(feature = "record")]
            log,
        } = self;
        Connection {
            core,
            out,
            slot: empty,
            #[cfg(feature = "record")]
            log,
        }
    }
}

impl<B: Storage, S: SessionSlot> Connection<B, S> {
    /// A client's end of a new connection, that goes on with a session or begins it. Its
    /// proposal is ready to be transmitted.
    ///
    /// # Errors
    /// As [`client`](Connection::client); the session comes back. They do not depend on what the session has
    /// been through: settings that once were good stay so.
    pub fn client_in_session(
        now: Instant,
        config: &ClientConfig<'_>,
        output: B,
        mut session: S,
    ) -> Result<Self, (Misuse, S)> {
        let request = session.session_mut().and_then(Session::request);
        match proposing(now, config, output, request.as_ref()) {
            Ok((core, out)) => Ok(Self::of(core, out, session)),
            Err(misuse) => Err((misuse, session)),
        }
    }

    /// A new connection, of which no log is kept.
    pub(super) const fn of(core: Core, out: Outbox<B>, slot: S) -> Self {
        Self {
            core,
            out,
            slot,
            #[cfg(feature = "record")]
            log: None,
        }
    }

    /// Service: what the client whose proposal waits says of its session; `None` when it keeps
    /// none. For [`Session::welcome`] or [`Session::begin_with`].
    #[cfg(feature = "alloc")]
    pub fn resume_request(&self) -> Option<&Resume> {
        self.core.request.as_deref()
    }

    /// Service: admits the client, as [`accept`](Self::accept) does, with the session that has
    /// welcomed it.
    ///
    /// # Errors
    /// As [`accept`](Self::accept); the session comes back.
    #[cfg(feature = "alloc")]
    pub fn accept_in_session(
        &mut self,
        now: Instant,
        admission: Admission,
        session: S,
    ) -> Result<Option<Event<'static>>, (Misuse, S)> {
        let before = core::mem::replace(&mut self.slot, session);
        when_recorded!(self.replaced_session());
        self.core.request = None;
        self.accept(now, admission).map_err(|misuse| {
            when_recorded!(self.replaced_session());
            (misuse, core::mem::replace(&mut self.slot, before))
        })
    }

    /// What waits to be written, without adding to it.
    pub(crate) fn output(&self) -> &[u8] {
        self.out.bytes()
    }

    /// The session, for a look at it; `None` when it is not here.
    pub fn session(&self) -> Option<&Session<S::Replay, S::Inbox>> {
        self.slot.session()
    }

    /// The session, for its bookkeeping and its stores. When a log is kept all its messages
    /// are looked at afterwards, so use the methods of the connection where there are such.
    pub fn session_mut(&mut self) -> Option<&mut Session<S::Replay, S::Inbox>> {
        when_recorded!(self.lend_session());
        self.slot.session_mut()
    }

    /// Takes the session out and leaves an empty place: the connection is over, or another one
    /// of the same client takes over. What was received and has not [begun](Session::begin) to be
    /// handled must not be handled any more: it will come again.
    pub fn take_session(&mut self) -> S
    where
        S: Default,
    {
        note!(self, TakeSession);
        let mut slot = core::mem::take(&mut self.slot);
        if let Some(session) = slot.session_mut() {
            session.detach();
        }
        slot
    }

    /// Takes the session out of a connection that is over, as [`take_session`](Self::take_session)
    /// does.
    pub fn into_session(mut self) -> S {
        note!(self, TakeSession);
        if let Some(session) = self.slot.session_mut() {
            session.detach();
        }
        self.slot
    }

    /// How the session stood when the connection opened; `None` when there is none.
    pub fn resumption(&self) -> Option<Resumption> {
        self.slot.session().and_then(Session::resumption)
    }

    /// How far the acked messages of this side have got; nothing without a session.
    pub fn delivered(&self) -> Delivered {
        self.slot.session().map(Session::delivered).unwrap_or_default()
    }

    /// The next outcome that is not Ok, with the number of its message. Ask until there is none
    /// after [`Event::Connected`] and [`Event::Acknowledged`], and when [`has_outcomes`](Self::has_outcomes),
    /// then transmit: no stored message leaves behind one whose outcome waits here.
    pub fn take_outcome(&mut self) -> Option<(u64, Outcome)> {
        note!(self, TakeOutcome);
        self.slot.session_mut().and_then(Session::take_outcome)
    }

    /// The handler of the acked message with this number is about to run: [`Session::begin`].
    /// Decoding by the connection does so, too.
    pub fn begin(&mut self, number: u64) -> bool {
        note!(self, Started { number });
        self.slot.session_mut().is_some_and(|session| session.begin(number))
    }

    /// Drops the oldest message that was never transmitted: [`Session::skip_oldest`].
    pub fn skip_oldest(&mut self) -> Option<u64> {
        note!(self, SkipOldest);
        self.slot.session_mut().and_then(Session::skip_oldest)
    }

    /// Whether outcomes wait to be taken, such as those of stored messages that can never leave.
    pub fn has_outcomes(&self) -> bool {
        self.slot.session().is_some_and(Session::has_outcomes)
    }
}

/// A new client, and its proposal in the output.
fn proposing<B: Storage>(
    now: Instant,
    config: &ClientConfig<'_>,
    output: B,
    session: Option<&Resume>,
) -> Result<(Core, Outbox<B>), Misuse> {
    let core = Core::new(now, Role::Client, config.catalog, config.limits)?;
    let mut out = Outbox::checked(output)?;
    handshake::propose(&config.into(), session, &mut out)?;
    Ok((core, out))
}
