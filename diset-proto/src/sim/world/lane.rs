//! One lane of handlers for each side of a session, across its connections (PROTOCOL D-2, Q-8).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::link::End;
use super::store::SimSession;
use super::{App, Arrived, Handling, What, Who, World};
use crate::definition::Key;
use crate::id::Trid;
use crate::message::{DecodeError, Held, Tag};
use crate::schema::walk::check_structure;
use crate::session::Outcome;
use crate::status::{Code, Notice};
use crate::store::Inbox as _;
use crate::time::Instant;

/// A handler that runs.
#[derive(Debug)]
struct Running {
    until: Instant,
    result: Result<(), Code>,
    payload: Vec<u8>,
    number: Option<u64>,
    session: u64,
    began: Trid,
    /// The connection it came on, and what it took of its credit.
    from: Option<(u64, Tag, Held)>,
}

/// A message in an inbox.
#[derive(Debug)]
struct Waiting {
    number: u64,
    key: Key,
    repeated: bool,
    payload: Vec<u8>,
}

/// A message of an inbox that no connection will hand over.
#[derive(Debug)]
struct Left {
    session: u64,
    began: Trid,
    message: Waiting,
}

#[derive(Debug, Default)]
pub(super) struct Lane {
    running: Option<Running>,
    left: VecDeque<Left>,
}

impl Lane {
    pub(super) const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn until(&self) -> Option<Instant> {
        self.running.as_ref().map(|running| running.until)
    }

    /// What is in the inbox and did not begin is to be handled from there. After a restart nobody
    /// knows of what has begun.
    pub(super) fn take_over(&mut self, id: u64, session: &SimSession, restarted: bool) {
        if !session.inbox().is_durable() {
            return;
        }
        let began = session.began();
        let mut last = session.processed();
        if let Some(running) = &self.running
            && (running.session, running.began) == (id, began)
        {
            last = last.max(running.number.unwrap_or(0));
        }
        if let Some(left) = self
            .left
            .back()
            .filter(|left| (left.session, left.began) == (id, began))
        {
            last = last.max(left.message.number);
        }
        for message in session.inbox().waiting().filter(|message| message.number > last) {
            self.left.push_back(Left {
                session: id,
                began,
                message: Waiting {
                    number: message.number,
                    key: message.key,
                    repeated: message.repeated || restarted,
                    payload: message.payload.to_vec(),
                },
            });
        }
    }
}

impl<A: App> World<A> {
    /// Ends the handler that is done, begins the next; whether anything happened.
    pub(super) fn turn_lane(&mut self, who: Who) -> bool {
        let now = self.now;
        let Some(lane) = self.parties.get_mut(&who).map(|party| &mut party.lane) else {
            return false;
        };
        if let Some(running) = &lane.running {
            if running.until > now {
                return false;
            }
            if let Some(running) = lane.running.take() {
                self.handled(who, running);
            }
            return true;
        }
        if lane.left.is_empty() {
            self.begin_received(who)
        } else {
            self.begin_left(who)
        }
    }

    /// The next message of the connection.
    fn begin_received(&mut self, who: Who) -> bool {
        let (now, life, structures) = (self.now, self.life_of(who), self.structures);
        let Some(party) = self.parties.get_mut(&who) else {
            return false;
        };
        let Some(id) = party.link else { return false };
        let Some(end) = self.links.get_mut(&id).and_then(|link| link.end(who.side()).as_mut()) else {
            return false;
        };
        if end.conn.phase().is_over() {
            end.queue.clear();
        }
        let Some(kept) = end.queue.pop_front() else {
            return false;
        };
        let message = kept.message();
        let (tag, number) = (message.tag(), message.number_in_session());
        let payload = message.payload.0.to_vec();
        let arrived = Arrived {
            life,
            link: Some(id),
            session: end.session,
            began: end.conn.session().map_or(Trid::new(0), SimSession::began),
            number,
            maybe_repeated: message.maybe_repeated(),
            payload: &payload,
        };
        let session = end.session;
        let refused = match self.app.handle(now, who, &arrived) {
            Handling::Refuse(code) => {
                end.conn.reject(message, code, "");
                code
            }
            Handling::Run { takes, result } => {
                let structure = structures.get(usize::from(message.number())).copied();
                match structure.map(|structure| end.conn.decode_raw(message, structure)) {
                    Some(Ok((_, held))) => {
                        let began = end.conn.session().map_or(Trid::new(0), SimSession::began);
                        party.lane.running = Some(Running {
                            until: now.after(takes),
                            result,
                            payload,
                            number,
                            session,
                            began,
                            from: Some((id, tag, held)),
                        });
                        return true;
                    }
                    Some(Err(DecodeError::Invalid(invalid))) => invalid.code(),
                    _ => panic!("the world decodes by another structure"),
                }
            }
        };
        end.queue.clear();
        let handled = What::Handled {
            session,
            number,
            result: Err(refused),
            payload,
            counted: true,
        };
        self.tell(who, &handled);
        true
    }

    /// The next message that is left in the inbox.
    fn begin_left(&mut self, who: Who) -> bool {
        let (now, life) = (self.now, self.life_of(who));
        let Some(left) = self.parties.get(&who).and_then(|party| party.lane.left.front()) else {
            return false;
        };
        let (id, began, number) = (left.session, left.began, left.message.number);
        if let Some(session) = self.find(who, id, began)
            && !session.begin(number)
            && number > session.processed()
        {
            // Outcomes wait to be confirmed: that takes a handshake.
            return self.end_of(who).is_some_and(|end| hang_up(end, Code::HandlerFailed));
        }
        let Some(party) = self.parties.get_mut(&who) else {
            return false;
        };
        let Some(Left { message, .. }) = party.lane.left.pop_front() else {
            return false;
        };
        let arrived = Arrived {
            life,
            link: None,
            session: id,
            began,
            number: Some(number),
            maybe_repeated: message.repeated,
            payload: &message.payload,
        };
        let (mut takes, mut result) = match self.app.handle(now, who, &arrived) {
            Handling::Refuse(code) => (core::time::Duration::ZERO, Err(code)),
            Handling::Run { takes, result } => (takes, result),
        };
        if self.is_invalid(message.key, &message.payload) {
            (takes, result) = (core::time::Duration::ZERO, Err(Code::Invalid));
        }
        if let Some(party) = self.parties.get_mut(&who) {
            party.lane.running = Some(Running {
                until: now.after(takes),
                result,
                payload: message.payload,
                number: Some(number),
                session: id,
                began,
                from: None,
            });
        }
        true
    }

    fn is_invalid(&self, key: Key, payload: &[u8]) -> bool {
        let defs = self.catalog.messages().iter().zip(self.structures);
        let structure = defs
            .into_iter()
            .find(|(def, _)| def.key() == key)
            .map(|(_, structure)| structure);
        structure.is_none_or(|structure| check_structure(structure, payload).is_err())
    }

    /// A handler is done: it counts for its session, wherever that is now (PROTOCOL Q-8).
    fn handled(&mut self, who: Who, running: Running) {
        let Running {
            result,
            payload,
            number,
            session,
            began,
            from,
            ..
        } = running;
        let outcome = result.map_or_else(Outcome::Failed, |()| Outcome::Ok);
        let mut counted = false;
        let mut rest = Some(());
        if let Some((link, tag, held)) = from
            && let Some(end) = self.links.get_mut(&link).and_then(|link| link.end(who.side()).as_mut())
            && end.conn.session().is_some_and(|session| session.began() == began)
        {
            // On the connection that it came on.
            counted = true;
            rest = None;
            match result {
                Ok(()) => end.conn.release(held),
                Err(code) => {
                    end.conn.fail(tag, code, "");
                    end.queue.clear();
                }
            }
        }
        if rest.is_some()
            && let Some(number) = number
            && let Some(kept) = self.find(who, session, began)
        {
            kept.settle(number, outcome);
            counted = true;
            // Its outcome must be confirmed before there are too many (PROTOCOL Q-5).
            if let Err(code) = result
                && let Some(end) = self.end_of(who)
            {
                hang_up(end, code);
            }
        }
        self.tell(
            who,
            &What::Handled {
                session,
                number,
                result,
                payload,
                counted,
            },
        );
    }

    /// The session with this name, if it has not begun anew since.
    fn find(&mut self, who: Who, id: u64, began: Trid) -> Option<&mut SimSession> {
        let link = self.parties.get(&who)?.link;
        let end = link
            .and_then(|link| self.links.get_mut(&link))
            .and_then(|link| link.end(who.side()).as_mut())
            .filter(|end| end.session == id)
            .and_then(|end| end.conn.session_mut());
        let absent = self.parties.get_mut(&who)?.absent.as_mut();
        let absent = absent
            .filter(|(absent, _)| *absent == id)
            .map(|(_, session)| &mut **session);
        end.or(absent).filter(|session| session.began() == began)
    }
}

fn hang_up(end: &mut End, code: Code) -> bool {
    let ends = end.opened && !end.conn.phase().is_over();
    if ends {
        end.conn.disconnect(Notice::new(code));
    }
    ends
}
