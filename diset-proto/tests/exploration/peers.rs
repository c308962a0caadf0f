//! What the two applications do with their connections, as a driver and an author would.

use core::time::Duration;
use std::rc::Rc;

use diset_proto::{
    Admission, Cause, ClientConfig, Code, Identity, Instant, Limits, NewReason, Notice, Outcome, Resumption, SendError,
    ServiceDef, Session, Token, Trid,
};

use super::end::{End, Meter, NOW, READING, Reading, Seen, Task, again, fresh};
use super::given::{Broken, Handler, Side};
use super::link::{PLAIN, head};
use super::shared::Shared;
use super::world::{Greeting, World};

/// More connections than this are only made by two sides that never come to an end.
const MAX_CONNECTIONS: usize = 12;
/// Longer than any silence and any deadline.
const LONG: Duration = Duration::from_secs(10_000);

impl World {
    pub(crate) fn connect(&mut self) {
        assert!(self.links.len() < MAX_CONNECTIONS, "connections without end");
        let config = ClientConfig {
            catalog: Meter::CATALOG,
            identity: Identity::from_bytes([1; 16]),
            limits: Limits::SERVER,
            args: &[],
        };
        let link = self.links.len();
        let end = &mut *self.ends[0];
        end.rx.connect(NOW, &mut end.tx, &config).expect("it is free");
        end.begins(link);
        self.links.push(Shared::default());
        self.greetings.push(Greeting { link, proposal: None });
    }

    pub(crate) fn send(&mut self, side: Side) -> Result<(), String> {
        let value = self.told[side as usize].send();
        let (reading, unsure) = (Reading { value }, self.bounds.unsure);
        let never_connected = side == Side::Client && self.links.is_empty();
        let end = &mut *self.ends[side as usize];
        let number = if never_connected {
            let mut session = end.tx.take_session().ok_or("there is no session")?;
            let number = session.store(Meter::CATALOG, READING, &reading, unsure);
            *end = End::new(Some(session));
            number
        } else {
            end.tx.send_acked(READING, &reading, unsure)
        };
        Self::check_number(side, value, number)
    }

    fn check_number(side: Side, value: u32, number: Result<u64, SendError>) -> Result<(), String> {
        match number {
            Ok(number) if number == u64::from(value) => Ok(()),
            other => Err(format!("message {value} of the {side} got {other:?}")),
        }
    }

    /// When it cannot go now nothing has happened.
    pub(crate) fn send_plain(&mut self, side: Side) {
        let value = self.told[side as usize].next_plain();
        let tx = &mut self.ends[side as usize].tx;
        if tx.send(READING, &Reading { value }).is_ok() {
            self.bounds.plain[side as usize] -= 1;
            self.told[side as usize].send_plain();
        }
    }

    // ── what comes ──────────────────────────────────────────────────────────────────

    pub(crate) fn deliver(&mut self, link: usize, side: Side, handler: Handler) -> Result<(), String> {
        let bytes = self.links[link].deliver(side).ok_or("nothing is under way")?;
        if self.ends[side as usize].link == Some(link) {
            if head(&bytes) == Some(PLAIN) && !self.is_ending(side) {
                self.ends[side as usize].plain += 1;
            }
            self.feed(side, &bytes, handler)
        } else {
            self.proposed(link, bytes)
        }
    }

    /// A frame has come.
    fn feed(&mut self, side: Side, bytes: &[u8], handler: Handler) -> Result<(), String> {
        let mut input = bytes;
        let mut handler = handler;
        loop {
            let seen = self.next(side, NOW, &mut input, handler)?;
            if let Some(log) = &mut self.log {
                log.push(format!("    frame {bytes:02x?}: {seen:?}"));
            }
            match seen {
                Some(Seen::Message(_)) => handler = Handler::Waits,
                Some(_) => {}
                None => return Ok(()),
            }
            if input.is_empty() {
                return Ok(());
            }
        }
    }

    /// The message that waits is given to its handler.
    pub(crate) fn begin(&mut self, side: Side, now: Instant, handler: Handler) -> Result<(), String> {
        self.next(side, now, &mut &[][..], handler).map(drop)
    }

    /// What comes next, and what is done with it.
    fn next(&mut self, side: Side, now: Instant, input: &mut &[u8], handler: Handler) -> Result<Option<Seen>, String> {
        let early = self.bounds.broken == Some(Broken::SettlesTooEarly);
        let end = &mut self.ends[side as usize];
        let seen = end.next(now, input, if early { Handler::Returns } else { handler });
        match &seen {
            Some(Seen::Message(task)) => {
                let deferred = end.deferred.take() == Some(task.value);
                if (task.attempts > 0) != (now == again() && deferred) {
                    return Err(format!("{} begins for the time {}", task.value, task.attempts));
                }
                let told = end.conn().resumption().map(|_| ());
                told.ok_or("a message before it was told how the session stands")?;
                end.running = Some(*task);
                let told = &mut self.told[side.other() as usize];
                if task.acked {
                    told.begin(task.value, task.marked, self.lost)?;
                } else {
                    end.plain -= 1;
                    told.begin_plain(task.value)?;
                }
                if handler != Handler::Waits {
                    self.handled(side, handler);
                }
            }
            Some(Seen::Proposed) => self.admit()?,
            Some(Seen::Connected) if side == Side::Client => self.connected()?,
            Some(Seen::Ended(cause, unhandled)) => {
                end.over = true;
                let lost = core::mem::take(&mut end.plain);
                let may_lose = end.expired || matches!(cause, Cause::OurError(_) | Cause::WeRefused(_));
                if lost != *unhandled || (lost > 0 && !may_lose) {
                    return Err(format!("{lost} plain messages were lost, it says {unhandled}: {cause}"));
                }
                end.expired = false;
                Self::check_cause(side, cause)?;
            }
            _ => {}
        }
        Ok(seen)
    }

    // ── a connection begins ─────────────────────────────────────────────────────────

    /// The client has read the acceptance: before any message it knows how the session stands.
    fn connected(&mut self) -> Result<(), String> {
        let resumption = self.ends[0].conn().resumption();
        let expected = match resumption {
            Some(Resumption::Resumed { .. }) => self.has_token,
            Some(Resumption::New { why: NewReason::First }) => !self.has_token,
            Some(Resumption::New { why }) => why == NewReason::Forgotten && self.lost,
            _ => false,
        };
        if !expected {
            return Err(format!("the client is told {resumption:?}"));
        }
        self.has_token = true;
        let anew = matches!(resumption, Some(Resumption::New { .. }));
        self.collect(Side::Client, anew).map(drop)
    }

    /// A client asks to be admitted, on a connection of which nobody knew whose it is. Whoever had its session is
    /// displaced (PROTOCOL D-2).
    fn proposed(&mut self, link: usize, proposal: Rc<[u8]>) -> Result<(), String> {
        let greeter = Self::greeter(link, Some(&proposal))?;
        let request = greeter.conn().resume_request().ok_or("no request")?;
        let session = self.session(Side::Service);
        let late = session.is_some_and(|session| session.may_welcome(request, trid(link), true).is_err());
        let waits = |greeting: &Greeting| greeting.proposal.is_some();
        if late || self.greetings.iter().any(|other| waits(other) && other.link > link) {
            return self.in_conflict(link);
        }
        if let Some(older) = self.greetings.iter().position(waits) {
            let older = self.greetings.remove(older);
            self.links[older.link].leave(Side::Service);
        }
        self.displace()?;
        let greeting = self.greetings.iter_mut().find(|greeting| greeting.link == link);
        greeting.ok_or("no such connection")?.proposal = Some(proposal);
        Ok(())
    }

    /// Halves that wait for a client on this connection, or have its proposal.
    fn greeter(link: usize, proposal: Option<&[u8]>) -> Result<End, String> {
        let mut greeter = End::new(None);
        assert!(greeter.listen(link));
        if let Some(mut bytes) = proposal {
            let seen = greeter.next(NOW, &mut bytes, Handler::Waits);
            match seen {
                Some(Seen::Proposed) => {}
                other => return Err(format!("no proposal: {other:?}")),
            }
        }
        Ok(greeter)
    }

    /// An attempt that came late, when the client had gone on. Nothing else may look like a copy.
    fn in_conflict(&mut self, link: usize) -> Result<(), String> {
        if !self.links[link].has_left(Side::Client) {
            return Err("the client is taken for a copy of itself".to_owned());
        }
        self.leave_greeting(link);
        Ok(())
    }

    fn leave_greeting(&mut self, link: usize) {
        self.greetings.retain(|greeting| greeting.link != link);
        self.links[link].leave(Side::Service);
    }

    /// The service ends its connection for another one of the same client.
    fn displace(&mut self) -> Result<(), String> {
        let end = &mut self.ends[1];
        if end.link.is_none() {
            return Ok(());
        }
        end.tx.disconnect(Notice::new(Code::Displaced));
        self.transmit(Side::Service, NOW);
        self.lost(Side::Service)
    }

    /// The one whose proposal waits is given the halves with its session, when they are free.
    pub(crate) fn admit_the_one_that_waits(&mut self) -> Result<(), String> {
        let waits = |greeting: &Greeting| greeting.proposal.is_some();
        let Some(place) = self.greetings.iter().position(waits) else {
            return Ok(());
        };
        let link = self.greetings[place].link;
        if self.ends[1].running.is_some() || !self.ends[1].listen(link) {
            return Ok(());
        }
        let proposal = self.greetings.remove(place).proposal.ok_or("no proposal")?;
        self.feed(Side::Service, &proposal, Handler::Waits)?;
        self.drive(Side::Service)
    }

    fn admit(&mut self) -> Result<(), String> {
        self.admitted += 1;
        let token = Token::from_bytes([self.admitted; 16]);
        let [_, durable] = self.bounds.durable;
        let end = &mut *self.ends[1];
        let trid = trid(end.link.ok_or("no connection")?);
        let request = end.conn().resume_request().ok_or("no request")?.clone();
        let session = if let Some(mut session) = end.tx.take_session() {
            let welcome = session.welcome(&request, trid, true, token);
            welcome.map_err(|why| format!("it was expected, and is not welcome: {why}"))?;
            session
        } else {
            let mut session = fresh(durable);
            let why = if request.is_return() {
                NewReason::Forgotten
            } else {
                NewReason::First
            };
            session.begin_with(&request, trid, why, Some(token));
            session
        };
        let anew = matches!(session.resumption(), Some(Resumption::New { .. }));
        let admission = Admission::new(trid);
        let admitted = end.rx.admit_in_session(NOW, &mut end.tx, admission, Some(session));
        assert!(admitted.is_ok());
        match end.next(NOW, &mut &[][..], Handler::Waits) {
            Some(Seen::Connected) => self.collect(Side::Service, anew).map(drop),
            other => Err(format!("it was admitted, and the service is told {other:?}")),
        }
    }

    // ── and comes to its end ────────────────────────────────────────────────────────

    /// This side sees that the connection has ended.
    pub(crate) fn ended(&mut self, link: usize, side: Side) -> Result<(), String> {
        if self.ends[side as usize].link == Some(link) {
            self.lost(side)
        } else {
            self.leave_greeting(link);
            Ok(())
        }
    }

    fn lost(&mut self, side: Side) -> Result<(), String> {
        let end = &mut *self.ends[side as usize];
        end.rx.ended(NOW, &mut end.tx);
        self.leave(side);
        self.learn_of_end(side)
    }

    /// What is told of the end, as soon as it is.
    pub(crate) fn learn_of_end(&mut self, side: Side) -> Result<(), String> {
        while !self.ends[side as usize].over && self.is_ending(side) {
            if self.next(side, NOW, &mut &[][..], Handler::Waits)?.is_none() {
                break;
            }
        }
        if side == Side::Service && self.ends[1].over && self.ends[1].link.is_none() {
            self.break_rules();
        }
        Ok(())
    }

    fn break_rules(&mut self) {
        let broken = self.bounds.broken;
        if !matches!(broken, Some(Broken::ForgetsTheSession | Broken::LeavesWorkBehind)) {
            return;
        }
        let session = self.ends[1].tx.take_session();
        let session = session.filter(|_| broken == Some(Broken::LeavesWorkBehind));
        self.ends[1] = Shared::new(End::new(session));
    }

    /// This side has heard nothing for too long, or waits in vain for the handshake. It tells the other, and does
    /// not wait for what that says: the line is as good as dead.
    pub(crate) fn time_out(&mut self, link: usize, side: Side) -> Result<(), String> {
        self.bounds.time_outs -= 1;
        let now = NOW.after(LONG);
        if self.ends[side as usize].link == Some(link) {
            self.transmit(side, now);
            return self.lost(side);
        }
        let waits = self.greetings.iter().find(|greeting| greeting.link == link);
        let mut greeter = Self::greeter(link, waits.and_then(|greeting| greeting.proposal.as_deref()))?;
        greeter.rx.turn(now, &mut greeter.tx);
        self.links[link].carry(side.other(), greeter.tx.output());
        self.leave_greeting(link);
        match greeter.next(NOW, &mut &[][..], Handler::Waits) {
            Some(Seen::Ended(cause, 0)) => Self::check_cause(side, &cause),
            other => Err(format!("the {side} hears nothing, and is told {other:?}")),
        }
    }

    pub(crate) fn go_away(&mut self, side: Side) {
        self.bounds.go_aways[side as usize] -= 1;
        let tx = &mut self.ends[side as usize].tx;
        let notice = Notice::new(Code::Shutdown);
        tx.go_away(NOW, notice, Duration::from_secs(5)).expect("it is open");
    }

    /// The service is begun anew, and remembers nothing.
    pub(crate) fn forget(&mut self) {
        self.bounds.forgets -= 1;
        self.ends[1] = Shared::new(End::new(None));
        self.lost = true;
    }

    // ── handlers ────────────────────────────────────────────────────────────────────

    /// The handler that waits does this, on whatever connection the session is now (PROTOCOL Q-8).
    pub(crate) fn finish(&mut self, side: Side, handler: Handler) {
        if self.bounds.broken != Some(Broken::SettlesTooEarly) {
            self.ends[side as usize].finish(handler.result().expect("it says something"));
        }
        self.handled(side, handler);
    }

    /// The handler that has the message does this.
    fn handled(&mut self, side: Side, handler: Handler) {
        if let Some(left) = self.bounds.left(side, handler) {
            *left -= 1;
        }
        let end = &mut self.ends[side as usize];
        let Task { value, acked, .. } = end.running.take().expect("one runs");
        let told = &mut self.told[side.other() as usize];
        if !acked {
            return;
        }
        let outcome = match handler {
            Handler::Retries => {
                end.deferred = Some(value);
                return told.again(value);
            }
            Handler::Fails => Outcome::Failed(Code::HandlerFailed),
            Handler::Drops => Outcome::Failed(Code::NoHandler),
            Handler::Waits | Handler::Returns => Outcome::Ok,
        };
        told.finish(value, outcome);
    }

    /// The handler that waits is given up.
    pub(crate) fn expire(&mut self, side: Side) {
        self.bounds.expiries[side as usize] -= 1;
        let well = self.bounds.broken == Some(Broken::ExpiresWell);
        let end = &mut self.ends[side as usize];
        end.expire(well);
        end.expired = !end.over;
        let Task { value, acked, .. } = end.running.take().expect("one runs");
        if acked {
            self.told[side.other() as usize].finish(value, Outcome::Failed(Code::NoHandler));
        }
    }

    /// Takes the outcomes that this side knows now; whether there were some. `anew`: its session has just begun anew.
    pub(crate) fn collect(&mut self, side: Side, anew: bool) -> Result<bool, String> {
        let tx = &mut self.ends[side as usize].tx;
        let outcomes: Vec<_> = core::iter::from_fn(|| tx.take_outcome()).collect();
        let Some(session) = self.session(side) else {
            return Ok(false);
        };
        let processed = Session::delivered(session).processed;
        let told = &mut self.told[side as usize];
        for (number, outcome) in &outcomes {
            told.tell(*number, *outcome, anew)?;
        }
        // A service that lost its memory counts from 1 again.
        told.tell_processed(processed)?;
        Ok(!outcomes.is_empty())
    }
}

/// The number of a connection.
const fn trid(link: usize) -> Trid {
    Trid::new(link as u64 + 1)
}
