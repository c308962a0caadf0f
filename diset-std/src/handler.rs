//! What an author gives: callbacks for messages, with what they may answer. How they are
//! called one after the other is in `driver`.

use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::panic::AssertUnwindSafe;
use core::pin::Pin;
use core::task::Context;
use std::borrow::Cow;
use std::panic::catch_unwind;
use std::sync::Arc;

use diset_proto::drive::Lent;
use diset_proto::{Code, LearnedCatalog, MessageOf, Notice, RetryAfter, Schema, SendError, ServiceDef};
use serde::de::DeserializeOwned;

use crate::any::AnyMessage;
use crate::running::panicked;
use crate::session::{Received, Std};

/// A future on the heap.
pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a message handler answers: `Err` disconnects the peer with
/// [`Code::HandlerFailed`].
pub type HandlerResult = Result<(), Failure>;

/// Why a handler failed. Any error becomes one with `?`; its text is logged on this side
/// and not told to the peer, unless made by [`Failure::told`].
///
/// An error that is or stems from [`SendError::GoingAway`] does not disconnect when the connection is about to end anyway,
/// and the message was one that may not be answered any more (PROTOCOL G-2): the end stays the one that was said.
pub struct Failure {
    text: Cow<'static, str>,
    told: bool,
    is_going_away: bool,
}

impl Failure {
    /// A failure for the log of this side.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            text: text.into(),
            told: false,
            is_going_away: false,
        }
    }

    /// A failure whose text (its first 64 bytes) the peer gets, too.
    pub fn told(text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            text: text.into(),
            told: true,
            is_going_away: false,
        }
    }

    /// The text for the peer.
    pub(crate) fn for_peer(&self) -> &str {
        if self.told { &self.text } else { "" }
    }

    /// Whether it stems from a message that was not sent because of a go-away.
    pub(crate) const fn is_going_away(&self) -> bool {
        self.is_going_away
    }
}

impl<E: core::error::Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let causes = core::iter::successors(Some(&error as &(dyn core::error::Error + 'static)), |error| {
            error.source()
        });
        let is_going_away = |error: &(dyn core::error::Error + 'static)| {
            matches!(error.downcast_ref::<SendError>(), Some(SendError::GoingAway))
        };
        Self {
            is_going_away: causes.into_iter().any(is_going_away),
            ..Self::new(error.to_string())
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Failure({:?})", self.text)
    }
}

/// Why a service does not admit a client; the client gets code and text, and shows them in its state and its log.
///
/// It comes back all the same, unless told otherwise: slowly from [`not_admitted`](Self::not_admitted), within
/// 2 minutes at first and 16 later ([`ReconnectPolicy`](diset_proto::ReconnectPolicy)), so that a list that was wrong
/// can be mended where it is kept; soon from [`busy`](Self::busy).
///
/// ```
/// # use core::time::Duration;
/// # use diset_std::Refusal;
/// # let (not_listed, starting, retired) = (
/// Refusal::not_admitted("not in the list of agents")
/// # ,
/// Refusal::not_admitted("the list is being loaded").retry_after(Duration::from_secs(30))
/// # ,
/// Refusal::not_admitted("this agent is retired").permanently()
/// # );
/// ```
#[derive(Debug, Clone)]
#[must_use = "a refusal is what the callback that decides returns"]
pub struct Refusal(pub(crate) Notice);

impl Refusal {
    /// Not this client, or not now: [`Code::NotAdmitted`]. The text (its first 64 bytes) goes to the client. It
    /// comes back slowly.
    pub fn not_admitted(text: &str) -> Self {
        Self(Notice::new(Code::NotAdmitted).with_text(text))
    }

    /// There is no room for it, nothing is wrong with it: [`Code::Busy`]. The text (its first 64 bytes) goes to the
    /// client. It comes back after 1 to 11 s.
    pub fn busy(text: &str) -> Self {
        Self(Notice::new(Code::Busy).with_text(text).with_retry(soon()))
    }

    /// The client comes back after `span` at the earliest, and twice as much at the latest, so that many do not come
    /// at once.
    pub fn retry_after(self, span: core::time::Duration) -> Self {
        Self(self.0.with_retry(RetryAfter::new(span, span)))
    }

    /// The client does not come back by itself, ever: its state is
    /// [`Stopped`](crate::ClientState::Stopped), and somebody has to go there and start it again. For what nobody
    /// will mend on this side.
    pub fn permanently(self) -> Self {
        Self(self.0.permanently())
    }

    /// The callback that decides has panicked: that may pass.
    pub(crate) fn panicked() -> Self {
        Self(Notice::new(Code::Internal).with_retry(soon()))
    }
}

/// When a client comes back that found no room, or came late: after 1 s, spread over 10 s.
pub(crate) fn soon() -> RetryAfter {
    RetryAfter::new(core::time::Duration::from_secs(1), core::time::Duration::from_secs(10))
}

/// Calls something of the author's that is no message handler; a panic is logged and gives
/// `None`.
pub(crate) fn guarded<T>(what: &'static str, call: impl FnOnce() -> T) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(call));
    result.inspect_err(|_| tracing::error!("{what} panicked")).ok()
}

/// Who handlers talk to, as they get it.
pub(crate) trait Told {
    /// For the handler of this acked message.
    fn told(&self, received: Received) -> Self;
}

/// A handler of any kind, for the peers `P`.
pub(crate) trait Handler<P>: Send + Sync {
    /// Decodes the message and runs as far as it goes. The engine is not locked meanwhile.
    fn call(&self, peer: &P, message: Lent<'_, Std>, cx: &mut Context<'_>);
}

/// `|peer, message: M| async move { … }`
pub(crate) struct Owned<M, F>(pub(crate) F, pub(crate) PhantomData<fn(M)>);

impl<P, M, F, R> Handler<P> for Owned<M, F>
where
    P: Clone,
    M: Schema + DeserializeOwned,
    F: Fn(P, M) -> R + Send + Sync,
    R: Future<Output = HandlerResult> + Send + 'static,
{
    fn call(&self, peer: &P, message: Lent<'_, Std>, cx: &mut Context<'_>) {
        if let Some((owned, handling)) = message.decode::<M>() {
            handling.start(cx, |running| running.start(|| (self.0)(peer.clone(), owned)));
        }
    }
}

/// `|peer, message: View<'_>| { … }`
pub(crate) struct Borrowed<S, M, F>(pub(crate) F, pub(crate) PhantomData<fn(S, M)>);

impl<P, S, M, F> Handler<P> for Borrowed<S, M, F>
where
    S: ServiceDef,
    M: MessageOf<S>,
    F: for<'f> Fn(&P, M::View<'f>) -> HandlerResult + Send + Sync,
{
    fn call(&self, peer: &P, message: Lent<'_, Std>, cx: &mut Context<'_>) {
        if let Some((view, handling)) = message.decode::<M::View<'_>>() {
            handling.start(cx, |running| running.call(|| (self.0)(peer, view)));
        }
    }
}

/// Who knows the definitions of the messages it gets, as values.
pub(crate) trait Catalogued {
    /// All definitions; `None` when they are not known.
    fn catalog(&self) -> Option<Arc<LearnedCatalog>>;
}

/// `|peer, message: AnyMessage<S>| async move { … }`
pub(crate) struct Any<S, F>(pub(crate) F, pub(crate) PhantomData<fn(S)>);

impl<P, S, F, R> Handler<P> for Any<S, F>
where
    P: Clone + Catalogued,
    S: ServiceDef,
    F: Fn(P, AnyMessage<S>) -> R + Send + Sync,
    R: Future<Output = HandlerResult> + Send + 'static,
{
    fn call(&self, peer: &P, message: Lent<'_, Std>, cx: &mut Context<'_>) {
        let (catalog, number) = (peer.catalog(), message.number());
        let found = catalog.as_ref().and_then(|catalog| catalog.by_number(number));
        let (Some(catalog), Some(definition)) = (&catalog, found) else {
            return message.refuse(Code::NoHandler);
        };
        if let Some((bytes, handling)) = message.decode_learned(catalog) {
            let any = AnyMessage::new(definition, number, bytes);
            handling.start(cx, |running| running.start(|| (self.0)(peer.clone(), any)));
        }
    }
}

/// Makes the future of a callback that runs in the lane of handlers.
pub(crate) fn in_lane(what: &'static str, call: impl FnOnce() -> BoxFuture<HandlerResult>) -> BoxFuture<HandlerResult> {
    guarded(what, call).unwrap_or_else(|| Box::pin(core::future::ready(Err(panicked()))))
}

/// All handlers of a service or client, by message number.
pub(crate) struct Handlers<P> {
    by_number: Vec<Option<Box<dyn Handler<P>>>>,
    any: Option<Box<dyn Handler<P>>>,
}

impl<P> Handlers<P> {
    /// None, for a catalog of so many messages.
    pub(crate) fn new(messages: usize) -> Self {
        Self {
            by_number: core::iter::repeat_with(|| None).take(messages).collect(),
            any: None,
        }
    }

    /// Sets the handler of one message; the last one set counts.
    pub(crate) fn set(&mut self, number: u8, handler: impl Handler<P> + 'static) {
        if let Some(place) = self.by_number.get_mut(usize::from(number)) {
            *place = Some(Box::new(handler));
        }
    }

    /// Sets the handler of all messages that have none.
    pub(crate) fn set_any(&mut self, handler: impl Handler<P> + 'static) {
        self.any = Some(Box::new(handler));
    }

    /// The handler of a message.
    pub(crate) fn find(&self, number: u8) -> Option<&dyn Handler<P>> {
        self.by_number
            .get(usize::from(number))
            .and_then(Option::as_deref)
            .or(self.any.as_deref())
    }
}
