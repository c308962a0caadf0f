//! Rules that are asked again of clients that are connected, because what they look at has changed.

use core::sync::atomic::Ordering::SeqCst;
use std::sync::{Mutex, PoisonError};

use diset_proto::{Code, MessageSet, Notice, RetryAfter, ServiceDef, Verdict};

use super::conn::Conn;
use super::handle::ServiceHandle;
use super::rule::numbers;

/// So many connections are asked about before others have their turn.
const AT_A_TIME: usize = 64;
/// When a client comes back that is to learn that it may do more: after 100 ms, spread over 2 s.
const RENEW: (core::time::Duration, core::time::Duration) = (
    core::time::Duration::from_millis(100),
    core::time::Duration::from_secs(2),
);

impl<S: ServiceDef> ServiceHandle<S> {
    /// Asks the [rules](crate::Rule) again about all that are connected, or about to be. To be called when what they
    /// look at has changed, such as a list of who may come. Gives the number of connections it has ended.
    ///
    /// * Who may not [connect](crate::Service::allow_connect) any more is told
    ///   [`Code::NotAdmitted`](diset_proto::Code::NotAdmitted) and the text of the rule.
    /// * Who was allowed a [message](crate::Service::allow) when it connected, and is not any more, is disconnected
    ///   with [`Code::Forbidden`](diset_proto::Code::Forbidden) if it sends one; the service cannot send it either.
    /// * Who was forbidden one, and is not any more, is told to go away and come back at once, in order: a client
    ///   learns what it may send when it connects. It is not among the number.
    ///
    /// The others notice nothing. [`on_connect`](crate::Service::on_connect) is not called again: what is to hold for
    /// those that are connected belongs in a rule.
    ///
    /// The predicates run here, 64 connections at a time; then others have their turn.
    ///
    /// # Cancel safety
    /// When the future is dropped, those that are left are not asked about.
    pub async fn recheck_rules(&self) -> usize {
        // First: who is not open by now looks for itself when it is.
        self.0.rules_changed.fetch_add(1, SeqCst);
        let mut ended = 0;
        for some in self.0.registry.all().chunks(AT_A_TIME) {
            ended += some.iter().filter(|conn| conn.recheck_rules()).count();
            tokio::task::yield_now().await;
        }
        ended
    }
}

impl<S: ServiceDef> Conn<S> {
    /// Asks the rules again; whether that has ended the connection.
    pub(super) fn recheck_rules(&self) -> bool {
        let (link, service) = (&self.0.link, &self.0.service);
        // First: what the rules say below is at least as new as this.
        let change = service.rules_changed.load(SeqCst);
        if let Err(refusal) = service.rules.admit(self) {
            let ended = link.with_conn(|conn| {
                let lived = !conn.phase().is_over();
                conn.disconnect(refusal.0);
                lived
            });
            return ended.unwrap_or(false);
        }
        let now = service.rules.forbidden(self);
        // What the client was told when it connected.
        let told = link.opened(|conn| -> MessageSet {
            let forbidden = |&number: &u8| conn.verdict(number) == Verdict::Forbidden;
            numbers::<S>().filter(forbidden).collect()
        });
        let Some(told) = told else { return false };
        self.revoke(change, now.iter().filter(|&number| !told.contains(number)).collect());
        if told.iter().any(|number| !now.contains(number)) {
            let notice = Notice::new(Code::Disconnected)
                .with_text("the rules have changed")
                .with_retry(RetryAfter::new(RENEW.0, RENEW.1));
            link.leave(notice, service.settings.drain);
        }
        false
    }

    /// Forbids these messages, and no others, beyond those of which the client was told when it connected; unless that was
    /// found out after a later change.
    fn revoke(&self, change: u64, messages: MessageSet) {
        let mut asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if change < *asked {
            return;
        }
        *asked = change;
        let revoked = &self.0.revoked;
        if messages == MessageSet::EMPTY && revoked.get().is_none() {
            return;
        }
        let revoked = revoked.get_or_init(Box::default);
        *revoked.lock().unwrap_or_else(PoisonError::into_inner) = messages;
    }

    /// Whether the message was allowed when the client connected, and is not any more.
    #[inline]
    pub(super) fn is_revoked(&self, number: u8) -> bool {
        let revoked: Option<&Box<Mutex<MessageSet>>> = self.0.revoked.get();
        revoked.is_some_and(|revoked| revoked.lock().unwrap_or_else(PoisonError::into_inner).contains(number))
    }
}
