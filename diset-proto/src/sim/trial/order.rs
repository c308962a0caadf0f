//! Judges messages that come to be handled: whose they are, in which order, and how often.

use alloc::format;

use super::oracle::Oracle;
use crate::session::Outcome;
use crate::sim::world::{Arrived, Who};
use crate::store::Unsure;

impl Oracle {
    /// Messages go to the peer of their sender, and to nobody else (PROTOCOL N-1).
    pub(super) fn check_peer(&mut self, index: usize, to: Who) {
        let Some(message) = self.messages.get(index) else {
            return;
        };
        let (client, service) = match to {
            Who::Client(_) => (to, message.who),
            Who::Service(_) => (message.who, to),
        };
        if self.services.get(&client) != Some(&service) {
            let text = format!("m{index} of {:?} comes to {to:?}", message.who);
            self.breaks("N-1", text);
        }
    }

    pub(super) fn begin_plain(&mut self, index: usize, link: Option<u64>, to: Who) {
        let Some(message) = self.messages.get(index) else {
            return;
        };
        let (sent, from) = (message.sent, message.who);
        if !message.handlings.is_empty() {
            self.breaks("M-3", format!("plain m{index} is handled twice"));
        }
        if sent.link != link {
            self.breaks("M-3", format!("plain m{index} comes on another connection"));
        }
        let last = self.last_plain.insert((link.unwrap_or(0), to), index);
        if last.is_some_and(|last| last >= index) {
            self.breaks("M-3", format!("plain m{index} comes after m{last:?}"));
        }
        let before = self.messages.iter().take(index).filter(|before| before.who == from);
        let passed = before
            .filter(|before| before.sent.session == sent.session && before.sent.number.is_some())
            .find(|before| before.handlings.is_empty() && before.told.is_none() && !before.lost && !before.lax);
        if let Some(passed) = passed {
            let text = format!("plain m{index} passes {:?}", passed.sent);
            self.breaks("Q-7", text);
        }
    }

    pub(super) fn begin_acked(&mut self, index: usize, arrived: &Arrived<'_>, to: Who, unsure: Unsure) {
        let Some(message) = self.messages.get(index) else {
            return;
        };
        if message.lax {
            return;
        }
        let (session, from) = (message.sent.session, message.who);
        let begun = self.begun(session);
        let never = matches!(
            message.told,
            Some(Outcome::Skipped | Outcome::NotAgreed(_) | Outcome::TooLong)
        );
        let failed = matches!(message.told, Some(Outcome::Failed(_)));
        let copied = self.cloned.contains(&message.who);
        if never || (failed && !copied) || message.unkept {
            let text = format!("m{index} is handled: {message:?}");
            return self.breaks(if message.unkept { "Q-6" } else { "Q-5" }, text);
        }
        // Also of those that come again.
        let lane = (to, arrived.session, arrived.began.number(), arrived.life);
        let last = self.last_of.insert(lane, index);
        if last.is_some_and(|last| last >= index) && !copied {
            let text = format!("m{index} is handled behind m{last:?} in the same session");
            return self.breaks("Q-1", text);
        }
        match message.handlings.last() {
            None => {
                self.tally.count(if arrived.maybe_repeated {
                    "handled: marked, first time"
                } else {
                    "handled: first time"
                });
                let last = self.last_first.insert(session, index);
                if last.is_some_and(|last| last > index) && !self.cloned.contains(&from) {
                    self.breaks("Q-1", format!("m{index} is handled after {last:?}"));
                }
            }
            Some(life) => {
                self.tally.count("handled: repeated, marked");
                // By this process once more each time that the session begins anew.
                let here = message.handlings.iter().filter(|life| **life == arrived.life).count();
                let resent = unsure == Unsure::Resend && here <= (begun - message.begun) as usize;
                let again = here == 0 || resent;
                let by_copy = *life != arrived.life && copied;
                if !by_copy && (!again || !arrived.maybe_repeated) {
                    let marked = if arrived.maybe_repeated { "marked" } else { "not marked" };
                    let text = format!("m{index} is handled again, {marked}: {message:?}");
                    self.breaks("Q-3", text);
                }
            }
        }
    }
}
