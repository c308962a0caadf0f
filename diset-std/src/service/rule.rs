//! Who may connect to a service, and who may exchange which message with it. The rules are asked in `app`, when a
//! client connects and before each delivery, and in `conn`, before each send.

use core::fmt;
use std::borrow::Cow;
use std::sync::Arc;

use diset_proto::{MessageOf, MessageSet, ServiceDef};

use super::Service;
use super::conn::Conn;
use crate::handler::{Refusal, guarded};

type Predicate<S> = Arc<dyn Fn(&Conn<S>) -> bool + Send + Sync>;

/// Who may do something: connect ([`Service::allow_connect`]), or exchange a message ([`Service::allow`]).
///
/// A predicate looks at the connection and answers at once: it must not block, nor send. What takes time belongs into
/// [`on_connect`](Service::on_connect), which runs before the rules on messages are asked. A predicate that panics
/// says no.
///
/// ```
/// use std::collections::HashSet;
/// use std::sync::{Arc, Mutex};
/// use diset_std::{Client, Rule, Schema, SendError, Service, Verdict, define_service};
/// # use diset_std::tls::{ClientTls, ServerTls, throwaway::ThrowawayCa};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize, Schema)]
/// # struct Status { load: f64 }
/// # #[derive(Serialize, Deserialize, Schema)]
/// # struct Restart { host: String }
/// # #[derive(Serialize, Deserialize, Schema)]
/// # struct Alarm { text: String }
/// define_service! { Monitor = "Site/Monitor"; from_client: [Status, Restart], from_service: [Alarm] }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let ca = ThrowawayCa::new()?;
/// # let tls = ServerTls::new(ca.server(&["localhost"])?, ca.authorities())?;
/// let on_duty = Arc::new(Mutex::new(HashSet::new()));
/// let duty = Arc::clone(&on_duty);
/// let bound = Service::new(Monitor)
///     // Who names no site is not admitted.
///     .allow_connect(Rule::at_connect(|conn| conn.args().text("site").is_some()).or_tell("name your site"))
///     // What a certificate says does not change: the others learn at connect that this is not for them.
///     .allow::<Restart>(Rule::at_connect(|conn| {
///         conn.credentials().certificate().is_some_and(|certificate| certificate.subject() == "CN=operator,O=Site")
///     }))
///     // Whoever is on duty now.
///     .allow::<Alarm>(Rule::at_delivery(move |conn| {
///         duty.lock().is_ok_and(|duty| duty.contains(&conn.identity()))
///     }))
///     .bind("127.0.0.1:0", tls)
///     .await?;
/// # let address = format!("localhost:{}", bound.local_addr().ok_or("no port")?.port());
/// # let service = bound.handle();
/// # tokio::spawn(bound.run());
///
/// # let tls = ClientTls::new(ca.client("alice")?, ca.authorities())?;
/// let alice = Client::builder(Monitor, &address).tls(tls).arg("site", "CERN").connect().await?;
/// assert_eq!(alice.verdict::<Restart>(), Some(Verdict::Forbidden));
/// let refused = alice.send(&Restart { host: "web".to_owned() }).await;
/// assert_eq!(refused, Err(SendError::NotAgreed(Verdict::Forbidden)));
///
/// # let alarm = Alarm { text: "disk full".to_owned() };
/// # while service.connections().is_empty() { tokio::task::yield_now().await; }
/// assert_eq!(service.broadcast(&alarm).forbidden, 1);
/// on_duty.lock().map_err(|_| "poisoned")?.insert(alice.identity());
/// assert_eq!(service.broadcast(&alarm).queued, 1);
/// # Ok(())
/// # }
/// ```
pub struct Rule<S: ServiceDef> {
    who: Who<S>,
    text: Cow<'static, str>,
}

enum Who<S: ServiceDef> {
    Everyone,
    Authenticated,
    AtConnect(Predicate<S>),
    AtDelivery(Predicate<S>),
}

impl<S: ServiceDef> Rule<S> {
    /// Everyone; for messages: everyone who was admitted.
    pub const fn everyone() -> Self {
        Self::of(Who::Everyone)
    }

    /// Whoever has proved who it is, by a certificate or as the user of a Unix socket.
    pub const fn authenticated() -> Self {
        Self::of(Who::Authenticated)
    }

    /// For whom the predicate is true. Asked for each connection when the client connects, and again when the program
    /// says that something has changed: [`ServiceHandle::recheck_rules`](crate::ServiceHandle::recheck_rules). A client
    /// learns at connect which messages it forbids: [`Client::verdict`](crate::Client::verdict).
    pub fn at_connect(predicate: impl Fn(&Conn<S>) -> bool + Send + Sync + 'static) -> Self {
        Self::of(Who::AtConnect(Arc::new(predicate)))
    }

    /// As long as the predicate is true. Asked for each message, when it would be handled or sent, because rights
    /// change; the verdict that the client learns at connect says nothing about it. As a rule on who may connect it is
    /// asked as [`at_connect`](Self::at_connect) is.
    pub fn at_delivery(predicate: impl Fn(&Conn<S>) -> bool + Send + Sync + 'static) -> Self {
        Self::of(Who::AtDelivery(Arc::new(predicate)))
    }

    /// With a text, such as "operators only", that a client gets (the first 64 bytes of it) when it is refused, or
    /// disconnected for a message. Without it the code alone tells.
    #[must_use]
    pub fn or_tell(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.text = text.into();
        self
    }

    const fn of(who: Who<S>) -> Self {
        Self {
            who,
            text: Cow::Borrowed(""),
        }
    }

    fn allows(&self, conn: &Conn<S>) -> bool {
        match &self.who {
            Who::Everyone => true,
            Who::Authenticated => conn.credentials().is_authenticated(),
            Who::AtConnect(predicate) | Who::AtDelivery(predicate) => {
                guarded("a rule", || predicate(conn)).unwrap_or(false)
            }
        }
    }

    /// Whether it forbids what it was asked about, for as long as the client is connected.
    fn forbids_for_good(&self, conn: &Conn<S>) -> bool {
        !matches!(self.who, Who::AtDelivery(_)) && !self.allows(conn)
    }
}

/// The same predicate for several messages.
impl<S: ServiceDef> Clone for Rule<S> {
    fn clone(&self) -> Self {
        let who = match &self.who {
            Who::Everyone => Who::Everyone,
            Who::Authenticated => Who::Authenticated,
            Who::AtConnect(predicate) => Who::AtConnect(Arc::clone(predicate)),
            Who::AtDelivery(predicate) => Who::AtDelivery(Arc::clone(predicate)),
        };
        let text = self.text.clone();
        Self { who, text }
    }
}

impl<S: ServiceDef> fmt::Debug for Rule<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.who {
            Who::Everyone => "everyone",
            Who::Authenticated => "authenticated",
            Who::AtConnect(_) => "at connect",
            Who::AtDelivery(_) => "at delivery",
        };
        write!(f, "Rule({who}, {:?})", self.text)
    }
}

impl<S: ServiceDef> Service<S> {
    /// Who may connect; [`Rule::authenticated`] without it. Asked when there is a place for the client, before
    /// [`on_connect`](Self::on_connect). Whom it does not allow is refused with
    /// [`Code::NotAdmitted`](diset_proto::Code::NotAdmitted) and the text of the rule, and comes back slowly, as from
    /// [`Refusal::not_admitted`](crate::Refusal::not_admitted): the list may be mended meanwhile. When it changes for
    /// those that are connected: [`ServiceHandle::recheck_rules`](crate::ServiceHandle::recheck_rules).
    pub fn allow_connect(mut self, rule: Rule<S>) -> Self {
        self.rules.connect = rule;
        self
    }

    /// Who may exchange this message with the service: send it, or be sent it.
    ///
    /// A client to which it is forbidden from the start learns so when it connects, after
    /// [`on_connect`](Self::on_connect), and cannot send it. One whose right ends later is disconnected with
    /// [`Code::Forbidden`](diset_proto::Code::Forbidden) and the text of the rule when it sends it; the message is not looked into and its handler
    /// not called. When the service sends it to such a client that fails with
    /// [`SendError::NotAgreed`](diset_proto::SendError::NotAgreed), the verdict
    /// [`Forbidden`](diset_proto::Verdict::Forbidden).
    pub fn allow<M: MessageOf<S>>(mut self, rule: Rule<S>) -> Self {
        let number = usize::from(M::NUMBER);
        let own = &mut self.rules.own;
        if own.len() <= number {
            own.resize_with(number + 1, || None);
        }
        if let Some(place) = own.get_mut(number) {
            *place = Some(rule);
        }
        self
    }

    /// As [`allow`](Self::allow), for all messages without a rule of their own; [`Rule::everyone`] without it.
    pub fn allow_messages(mut self, rule: Rule<S>) -> Self {
        self.rules.others = rule;
        self
    }
}

/// All rules of a service.
pub(super) struct Rules<S: ServiceDef> {
    connect: Rule<S>,
    /// By number of the message, as far as there are any.
    own: Vec<Option<Rule<S>>>,
    /// For messages without one.
    others: Rule<S>,
}

impl<S: ServiceDef> Rules<S> {
    /// Those of a service whose author has said nothing.
    pub(super) const fn new() -> Self {
        Self {
            connect: Rule::authenticated(),
            own: Vec::new(),
            others: Rule::everyone(),
        }
    }

    /// Whether clients may come that have not proved who they are (PROTOCOL H-12).
    pub(super) const fn takes_unauthenticated(&self) -> bool {
        !matches!(self.connect.who, Who::Authenticated)
    }

    /// Whether a client may connect.
    pub(super) fn admit(&self, conn: &Conn<S>) -> Result<(), Refusal> {
        if self.connect.allows(conn) {
            return Ok(());
        }
        Err(Refusal::not_admitted(&self.connect.text))
    }

    /// The messages that are forbidden to a client as long as it is connected (PROTOCOL S-5).
    pub(super) fn forbidden(&self, conn: &Conn<S>) -> MessageSet {
        // Asked once, however many messages it is for.
        let others = self.others.forbids_for_good(conn);
        let forbids = |number: u8| self.own(number).map_or(others, |rule| rule.forbids_for_good(conn));
        numbers::<S>().filter(|&number| forbids(number)).collect()
    }

    /// The messages with a rule that is asked at each delivery.
    pub(super) fn asked_at_delivery(&self) -> MessageSet {
        let asked = numbers::<S>().filter(|&number| self.asked_each_time(number).is_some());
        asked.collect()
    }

    /// The messages with such a rule that forbids them now.
    pub(super) fn forbidden_now(&self, conn: &Conn<S>) -> MessageSet {
        numbers::<S>()
            .filter(|&number| self.forbids(number, conn).is_some())
            .collect()
    }

    /// The text for the peer, when a message is forbidden now that was not when the client connected (PROTOCOL M-5).
    #[inline]
    pub(super) fn forbids(&self, number: u8, conn: &Conn<S>) -> Option<&str> {
        let rule = self.asked_each_time(number)?;
        (!rule.allows(conn)).then_some(&rule.text)
    }

    /// The rule on a message when it is asked at each delivery.
    #[inline]
    pub(super) fn asked_each_time(&self, number: u8) -> Option<&Rule<S>> {
        let rule = self.own(number).unwrap_or(&self.others);
        matches!(rule.who, Who::AtDelivery(_)).then_some(rule)
    }

    /// The text for the peer when the message is forbidden.
    pub(super) fn text(&self, number: u8) -> &str {
        &self.own(number).unwrap_or(&self.others).text
    }

    #[inline]
    fn own(&self, number: u8) -> Option<&Rule<S>> {
        self.own.get(usize::from(number)).and_then(Option::as_ref)
    }
}

/// The numbers of all messages.
pub(super) fn numbers<S: ServiceDef>() -> impl Iterator<Item = u8> {
    (0u8..).take(S::CATALOG.messages().len())
}
