//! One connection as a service sees it.

use core::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use diset_proto::store::Unsure;
use diset_proto::{
    Code, FromService, Identity, Key, LearnedCatalog, MessageOf, MessageSet, Notice, Resumption, SendError, ServiceDef,
    Trid, Verdict,
};
use tokio::sync::SetOnce;

use super::handle::ServiceHandle;
use super::shared::Shared;
use crate::args::ConnectArgs;
use crate::handler::{Catalogued, Told};
use crate::link::{Link, Typed};
use crate::session::{Receipt, Received, SessionCell};
use crate::tls::{Credentials, Principal};

/// A client as it is known across reconnects: who it proved to be, and the identity it
/// chose. Another principal with the same identity is another client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "it is these two and nothing else")]
pub struct SessionId {
    /// Who it proved to be.
    pub principal: Principal,
    /// The identity it chose.
    pub identity: Identity,
}

/// One connection of one client, for handlers and for whoever wants to send to it. Cheap
/// to clone; outlives the connection, after which sending fails.
///
/// Acked messages belong to the session and not to the connection: they can be sent after it, too.
pub struct Conn<S: ServiceDef>(pub(super) Arc<Inner<S>>, Option<Received>);

pub(super) struct Inner<S: ServiceDef> {
    pub(super) link: Arc<Link>,
    pub(super) service: Arc<Shared<S>>,
    pub(super) trid: Trid,
    pub(super) identity: Identity,
    pub(super) credentials: Credentials,
    pub(super) args: ConnectArgs,
    pub(super) peer: String,
    /// Set when the drop callback has run.
    pub(super) gone: SetOnce<()>,
    /// Up to which message handlers have committed, in a session that is not kept.
    #[cfg(feature = "durable")]
    pub(super) committed: OnceLock<Arc<core::sync::atomic::AtomicU64>>,
    /// Its session, once it has one.
    pub(super) cell: OnceLock<Arc<SessionCell>>,
    /// What the rules that are asked at each delivery forbid when it connects: not to be sent of what was stored.
    pub(super) forbidden_now: OnceLock<MessageSet>,
    /// What the rules that are asked at connect forbid since they were asked again; hardly ever there.
    pub(super) revoked: OnceLock<Box<Mutex<MessageSet>>>,
    /// Which change of the rules that was: somebody who asked before it, and takes longer, does not undo it.
    pub(super) asked: Mutex<u64>,
}

impl<S: ServiceDef> Conn<S> {
    pub(super) fn new(inner: Inner<S>) -> Self {
        Self(Arc::new(inner), None)
    }

    /// Which acked message this handler is called for; `None` for a plain one, and outside of handlers.
    pub const fn received(&self) -> Option<Received> {
        self.1
    }

    /// How the session stood when this connection opened; `None` when the client keeps none, and when the connection is over.
    pub fn resumption(&self) -> Option<Resumption> {
        self.0.link.opened(|conn| conn.resumption()).flatten()
    }

    /// Sends a message that gets exactly one outcome: it is stored until the client has dealt with it, and
    /// sent again after a reconnect. What happens when the store is full
    /// [`SessionSettings::when_full`](crate::SessionSettings::when_full) says. Returns when it is stored; wait
    /// for more with the [`Receipt`], or do not.
    ///
    /// When the service loses the session nobody knows what became of a message that was transmitted:
    /// [`Outcome::Unknown`](crate::Outcome::Unknown). See [`send_acked_or_resend`](Self::send_acked_or_resend).
    ///
    /// # Errors
    /// [`SendError`]: the message was not taken. [`SendError::NoSession`] when the client keeps none,
    /// [`SendError::NotTaken`] when it only sends.
    ///
    /// # Cancel safety
    /// Cancel safe: when the future is dropped before it is ready nothing was stored.
    pub async fn send_acked<M: FromService<S>>(&self, message: &M) -> Result<Receipt, SendError> {
        self.store(message, Unsure::Report).await
    }

    /// As [`send_acked`](Self::send_acked), but when nobody knows what became of the message it is sent
    /// again, and its handler told that it may be [repeated](Received::maybe_repeated).
    ///
    /// # Errors
    /// As [`send_acked`](Self::send_acked).
    ///
    /// # Cancel safety
    /// As [`send_acked`](Self::send_acked).
    pub async fn send_acked_or_resend<M: FromService<S>>(&self, message: &M) -> Result<Receipt, SendError> {
        self.store(message, Unsure::Resend).await
    }

    pub(super) async fn store<M: FromService<S>>(&self, message: &M, unsure: Unsure) -> Result<Receipt, SendError> {
        self.permitted(M::NUMBER)?;
        let cell = self.0.cell.get().ok_or(SendError::NoSession)?;
        let tell = |number, outcome| self.0.service.tell_outcome(self.session(), number, outcome);
        SessionCell::send_for_receipt(cell, M::NUMBER, message, unsure, tell).await
    }

    /// The transport id: new for each connection.
    pub fn trid(&self) -> Trid {
        self.0.trid
    }

    /// The identity the client chose, the same across its reconnects. It names, it does
    /// not authenticate: see [`credentials`](Self::credentials).
    pub fn identity(&self) -> Identity {
        self.0.identity
    }

    /// Principal and identity: the client across reconnects.
    pub fn session(&self) -> SessionId {
        SessionId {
            principal: self.0.credentials.principal(),
            identity: self.0.identity,
        }
    }

    /// Who the client proved to be.
    pub fn credentials(&self) -> &Credentials {
        &self.0.credentials
    }

    /// What the client said when it connected.
    pub fn args(&self) -> &ConnectArgs {
        &self.0.args
    }

    /// Where the client is: address and port, for logs.
    pub fn peer_addr(&self) -> &str {
        &self.0.peer
    }

    /// The whole service: to send to others.
    pub fn service(&self) -> ServiceHandle<S> {
        ServiceHandle(Arc::clone(&self.0.service))
    }

    /// What was agreed on a message when this connection was opened; `None` while it is not
    /// open. A rule that is asked at [each delivery](crate::Rule::at_delivery), or was asked
    /// [again](ServiceHandle::recheck_rules), may forbid the message all the same.
    pub fn verdict<M: MessageOf<S>>(&self) -> Option<Verdict> {
        self.0.link.opened(|conn| conn.verdict(M::NUMBER))
    }

    /// Sends a message: at most once, in order. Waits for room as the service's
    /// [`SlowPolicy`](crate::SlowPolicy) says. The [`Rule`](crate::Rule) on the message is asked
    /// when the call is made.
    ///
    /// # Errors
    /// [`SendError`]: the message was not sent.
    ///
    /// # Cancel safety
    /// Cancel safe: when the future is dropped before it is ready nothing was sent.
    pub async fn send<M: FromService<S>>(&self, message: &M) -> Result<(), SendError> {
        self.permitted(M::NUMBER)?;
        self.0.link.send(&Typed(M::NUMBER, message)).await
    }

    /// Sends messages of one type from the front of `messages`, and takes off what was sent.
    /// Cheaper than to [`send`](Self::send) each of many small messages, unless there is a
    /// [`Rule`](crate::Rule) to be asked for each. Messages of others may come in between.
    ///
    /// # Errors
    /// [`SendError`]: the first message that is left was not sent.
    ///
    /// # Cancel safety
    /// Cancel safe: when the future is dropped before it is ready, what is left in `messages`
    /// was not sent.
    pub async fn send_all<M: FromService<S>>(&self, messages: &mut &[M]) -> Result<(), SendError> {
        if self.0.service.rules.asked_each_time(M::NUMBER).is_none() {
            self.permitted(M::NUMBER)?;
            return self.0.link.send_all(M::NUMBER, messages).await;
        }
        while let Some((first, rest)) = messages.split_first() {
            self.send(first).await?;
            *messages = rest;
        }
        Ok(())
    }

    /// Sends a message if there is room for it now.
    ///
    /// # Errors
    /// As [`send`](Self::send); [`SendError::Full`] at once.
    pub fn try_send<M: FromService<S>>(&self, message: &M) -> Result<(), SendError> {
        self.permitted(M::NUMBER)?;
        self.0.link.try_send(&Typed(M::NUMBER, message))
    }

    /// Asks the rules; what is forbidden for as long as the client is connected. Not under a lock: they are the
    /// author's.
    pub(super) fn ask_rules(&self) -> MessageSet {
        let service = &self.0.service;
        let stored = service.sessions.find(self.session()).map_or(0, |cell| cell.stored());
        if stored > 0 {
            // Set once: a client is admitted once.
            let _ = self.0.forbidden_now.set(service.rules.forbidden_now(self));
        }
        service.rules.forbidden(self)
    }

    /// Whether a stored message of this definition must not go to this client (PROTOCOL M-5).
    pub(super) fn is_forbidden_now(&self, key: Key) -> bool {
        let mut messages = S::CATALOG.messages().iter().zip(0u8..);
        let number = messages.find(|(def, _)| def.key() == key).map(|(_, number)| number);
        let forbidden = self.0.forbidden_now.get();
        number.is_some_and(|number| forbidden.is_some_and(|forbidden| forbidden.contains(number)))
    }

    /// Whether the rules let the service send this to the client now (PROTOCOL M-5); what was
    /// forbidden at connect the engine refuses.
    pub(super) fn permitted(&self, number: u8) -> Result<(), SendError> {
        if self.is_revoked(number) || self.0.service.rules.forbids(number, self).is_some() {
            return Err(SendError::NotAgreed(Verdict::Forbidden));
        }
        Ok(())
    }

    /// The text for the client when the rules forbid a message that came on an earlier connection (PROTOCOL M-5): this one
    /// was told what it may send, and that need not be the same.
    pub(super) fn forbids_carried(&self, number: u8) -> Option<&str> {
        let rules = &self.0.service.rules;
        let told = self.0.link.with_conn(|conn| conn.verdict(number));
        if told == Some(Verdict::Forbidden) || self.is_revoked(number) {
            return Some(rules.text(number));
        }
        rules.forbids(number, self)
    }

    /// In the handler of an acked message, on a service that [keeps its sessions in a
    /// file](crate::Service::durable): runs the closure in a transaction of that file, with which the message
    /// counts as handled. Both or neither: so the effect of the handler is there exactly once, also when the
    /// process is killed at any moment. The closure may use tables of its own, whose names must not begin with
    /// `diset.`; it runs in the thread that writes, and is to be short. Each call is a commit of its own. Return
    /// `Ok` afterwards: an error would be the outcome that the client is told.
    ///
    /// In a session that ends with its connection, as that of a copy of a client
    /// ([`StateConflict`](crate::NewReason::StateConflict)) or where there is [no room](crate::NewReason::NoRoom), nothing of
    /// the message is kept: the closure runs once all the same, and what it did is committed; but when the connection ends
    /// before the client is told, the client learns that nobody knows, and may send what the message said in another one.
    ///
    /// # Errors
    /// [`TransactError`](crate::store::TransactError): nothing of it is kept; only after
    /// [`Store`](crate::store::TransactError::Store), when the commit failed, it may have been. Once for each
    /// message: a second call says [`NotThere`](crate::store::TransactError::NotThere).
    ///
    /// # Cancel safety
    /// Not cancel safe: when the future is dropped it may be committed or not.
    #[cfg(feature = "durable")]
    pub async fn transact<T, E, F>(&self, run: F) -> Result<T, crate::store::TransactError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&crate::store::Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        use crate::store::TransactError;
        let store = self.0.service.sessions.store().ok_or(TransactError::NoStore)?;
        let received = self.received().ok_or(TransactError::NotAcked)?;
        let cell = self.0.cell.get().ok_or(TransactError::NotThere)?;
        if !cell.is_kept() {
            let committed = self.0.committed.get_or_init(Arc::default);
            return store.write_once(committed, received.number, run).await;
        }
        let book = cell.with_session(|session| session.inbox().book().cloned()).flatten();
        let book = book.ok_or(TransactError::NotThere)?;
        book.transact(received.began, received.number, run).await
    }

    /// Ends the connection. What was sent before still leaves; the client is told
    /// [`Code::Disconnected`] and the reason (its first 64 bytes).
    pub fn disconnect(&self, reason: &str) {
        self.0
            .link
            .disconnect(Notice::new(Code::Disconnected).with_text(reason));
    }
}

impl<S: ServiceDef> Catalogued for Conn<S> {
    fn catalog(&self) -> Option<Arc<LearnedCatalog>> {
        self.0.service.catalog()
    }
}

impl<S: ServiceDef> Told for Conn<S> {
    fn told(&self, received: Received) -> Self {
        Self(Arc::clone(&self.0), Some(received))
    }
}

impl<S: ServiceDef> Clone for Conn<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0), self.1)
    }
}

impl<S: ServiceDef> fmt::Debug for Conn<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn")
            .field("trid", &self.0.trid.number())
            .field("identity", &self.0.identity)
            .field("peer", &self.0.peer)
            .finish_non_exhaustive()
    }
}
