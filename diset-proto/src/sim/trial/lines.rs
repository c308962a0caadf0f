//! Judges connections: what is sent again on them before anything new, and what they may lose.

use alloc::format;
use alloc::vec::Vec;

use super::message::Message;
use super::notes::index_of;
use super::oracle::Oracle;
use crate::session::Resumption;
use crate::sim::world::{Sent, Who};

/// One side of one connection.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// How many messages were said to be sent again; `None`: the session has begun on it.
    replayed: Option<u64>,
    /// How many were.
    again: u64,
    /// One left that had not left before.
    renewed: bool,
    /// How many messages left, of either kind.
    left: u32,
    /// Plain messages that were taken to be sent on it.
    pub(super) plain: Vec<usize>,
}

impl Oracle {
    /// PROTOCOL N-6: what is said to be sent again are messages that have left in this session and have no
    /// outcome.
    pub(super) fn line_opens(&mut self, who: Who, link: u64, session: u64, resumption: Resumption) {
        let line = self.lines.entry((who, link)).or_default();
        let Resumption::Resumed { replayed } = resumption else {
            return;
        };
        line.replayed = Some(replayed);
        let begun = Some(self.begun(session));
        let of_session = self.numbers.range((session, 0)..=(session, u64::MAX));
        let messages = of_session.filter_map(|(_, index)| self.messages.get(*index));
        // Of what a killed process had been told the next one may know nothing.
        let may_be = |message: &&Message| message.left == begun && (message.told.is_none() || message.lax);
        let most = messages.filter(may_be).count() as u64;
        if replayed > most && self.cloned.is_empty() && !self.is_thief(who) {
            let text = format!("{replayed} messages of session {session} are to be sent again, {most} may be");
            self.breaks("N-6", text);
        }
    }

    /// A message has left.
    pub(super) fn left(&mut self, who: Who, (link, session): (u64, u64), acked: bool, payload: &[u8]) {
        let line = self.lines.entry((who, link)).or_default();
        line.left += 1;
        let begun = self.begun(session);
        let Some(index) = index_of(payload).filter(|_| acked) else {
            return;
        };
        // What a copy sends of its origin's is not looked at.
        let own = |sent: &Sent| sent.session == session;
        let Some(message) = self.messages.get_mut(index).filter(|message| own(&message.sent)) else {
            return;
        };
        let again = message.left == Some(begun);
        message.left = Some(begun);
        let (exact, copied) = (self.is_exact(who), !self.cloned.is_empty() || self.is_thief(who));
        let Some(line) = self.lines.get_mut(&(who, link)) else {
            return;
        };
        let (first, late) = (!again && !line.renewed, again && line.renewed);
        line.again += u64::from(again);
        line.renewed |= !again;
        let (again, replayed) = (line.again, line.replayed.unwrap_or(0));
        self.log(|| format!("{who:?} link {link} m{index} leaves"));
        if late {
            self.breaks("Q-7", format!("m{index} is sent again behind a new one on link {link}"));
        } else if again > replayed && !copied || first && exact && again < replayed {
            let text = format!("m{index}: {again} messages were sent again on link {link}, {replayed} were to be");
            self.breaks("N-6", text);
        }
    }

    /// PROTOCOL L-6: no more is lost than is said, and no more is said than has left.
    pub(super) fn line_drops(&mut self, who: Who, link: u64, unconfirmed: u32) {
        let Some(line) = self.lines.get(&(who, link)) else {
            return;
        };
        let left = line.left;
        let undone = |index: &&usize| {
            self.messages
                .get(**index)
                .is_some_and(|message| message.results.is_empty())
        };
        let lost = line.plain.iter().filter(undone).count();
        if lost > 0 {
            self.tally.count("lost: plain, reported");
        }
        if lost > unconfirmed as usize || unconfirmed > left {
            let text = format!(
                "{who:?} link {link}: at most {unconfirmed} of {left} messages are said to be lost, {lost} are"
            );
            self.breaks("L-6", text);
        }
    }

    /// Nothing went wrong with this connection: all that was sent on it has come (PROTOCOL M-3, N-6).
    pub(super) fn line_is_quiet(&mut self, who: Who, link: u64) {
        let exact = self.is_exact(who);
        let Some(line) = self.lines.get(&(who, link)) else {
            return;
        };
        let (again, replayed) = (line.again, line.replayed.unwrap_or(0));
        let never = |index: &&usize| {
            self.messages
                .get(**index)
                .is_some_and(|message| message.handlings.is_empty())
        };
        let missing: Vec<usize> = line.plain.iter().filter(never).copied().collect();
        if !missing.is_empty() {
            self.breaks(
                "M-3",
                format!("plain {missing:?} never come on link {link}, which is whole"),
            );
        }
        if exact && again != replayed {
            let text = format!("{again} messages were sent again on link {link}, {replayed} were to be");
            self.breaks("N-6", text);
        }
    }
}
