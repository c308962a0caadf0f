//! What the two applications do with their connections, as a driver and an author would.

use core::time::Duration;

use diset_proto::{
    Admission, Cause, ClientConfig, Code, Identity, Instant, Limits, NewReason, Notice, Outcome, Resume, Resumption,
    SendError, ServiceDef, Session, Token,
};

use super::end::{End, Meter, NOW, READING, Reading, Seen, State, Task, again, fresh, trid, was_given_up};
use super::given::{Broken, Handler, Side};
use super::link::{PLAIN, head};
use super::shared::Shared;
use super::world::World;

/// More connections than this are only made by two sides that never come to an end.
const MAX_CONNECTIONS: usize = 12;
/// Longer than any silence and any deadline.
const LONG: Duration = Duration::from_secs(10_000);

impl World {
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
        let end = &mut *self.ends[side as usize];
        if let Some(link) = end.link
            && end.tx.send(READING, &Reading { value }).is_ok()
        {
            self.bounds.plain[side as usize] -= 1;
            self.told[side as usize].send_plain(link);
        }
    }

    // ── what comes ──────────────────────────────────────────────────────────────────

    pub(crate) fn deliver(&mut self, link: usize, side: Side, handler: Handler) -> Result<(), String> {
        let bytes = self.links[link].deliver(side).ok_or("nothing is under way")?;
        if self.ends[side as usize].link != Some(link) {
            return self.proposed(link, &bytes);
        }
        self.ends[side as usize].greeted();
        if head(&bytes) == Some(PLAIN) && !self.is_ending(side) {
            let plain = &mut self.ends[side as usize].plain;
            match plain.iter_mut().find(|(on, _)| *on == link) {
                Some((_, waiting)) => *waiting += 1,
                None => plain.push((link, 1)),
            }
        }
        self.feed(side, &bytes, handler)
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
        if let Some(Seen::Message(task)) = &seen {
            self.began(side, now, task)?;
            if handler != Handler::Waits {
                self.handled(side, handler);
            }
        } else {
            self.learn(side, seen.as_ref())?;
        }
        Ok(seen)
    }

    /// A message has come to its handler.
    fn began(&mut self, side: Side, now: Instant, task: &Task) -> Result<(), String> {
        let end = &mut *self.ends[side as usize];
        let deferred = end.deferred.take() == Some(task.value);
        if (task.attempts > 0) != (now == again() && deferred) {
            return Err(format!("{} begins for the time {}", task.value, task.attempts));
        }
        if let Some(other) = end.running.replace(*task) {
            return Err(format!("{} begins beside {}", task.value, other.value));
        }
        if end.is_open() && end.conn().resumption().is_none() {
            return Err("a message before it was told how the session stands".to_owned());
        }
        let told = &mut self.told[side.other() as usize];
        if task.acked {
            return told.begin(task.value, task.marked, self.lost);
        }
        let link = told.begin_plain(task.value)?;
        let waiting = end.plain.iter_mut().find(|(on, waiting)| *on == link && *waiting > 0);
        waiting.ok_or("a plain message that is gone")?.1 -= 1;
        if end.opened != Some(link) {
            return Err(format!(
                "{} of connection {link} begins, {:?} has its turn",
                task.value, end.opened
            ));
        }
        Ok(())
    }

    /// What a side is told, besides messages.
    pub(crate) fn learn(&mut self, side: Side, seen: Option<&Seen>) -> Result<(), String> {
        let end = &mut *self.ends[side as usize];
        match seen {
            Some(Seen::Connected(link)) => {
                if let Some(other) = end.opened.replace(*link) {
                    return Err(format!("connection {link} opens before {other} has ended"));
                }
                // Others have come and gone meanwhile.
                end.plain.retain(|(on, _)| on >= link);
            }
            Some(Seen::Ended(ended)) => {
                let opened = end.opened.take();
                if opened.map(trid) != ended.trid() {
                    return Err(format!("{:?} has ended, {opened:?} had its turn", ended.trid()));
                }
                let (cause, unhandled) = (ended.cause(), ended.unhandled());
                if let Some(link) = opened {
                    let waiting = end.plain.iter().find(|(on, _)| *on == link);
                    let lost = waiting.map_or(0, |(_, waiting)| *waiting);
                    let may_lose = end.expired || matches!(cause, Cause::OurError(_) | Cause::WeRefused(_));
                    if lost != unhandled || (lost > 0 && !may_lose) {
                        return Err(format!("{lost} plain messages were lost, it says {unhandled}: {cause}"));
                    }
                    end.plain.retain(|(on, _)| *on > link);
                }
                end.expired = false;
                Self::check_cause(side, cause)?;
            }
            _ => {}
        }
        Ok(())
    }

    // ── a connection begins ─────────────────────────────────────────────────────────

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
        (end.link, end.fresh) = (Some(link), true);
        self.links.push(Shared::default());
        self.greetings.push(link);
    }

    /// A client asks to be admitted, on a connection of which nobody knew whose it is. It gets its session with all that
    /// is at work, and whoever had it is displaced (PROTOCOL D-2).
    fn proposed(&mut self, link: usize, mut proposal: &[u8]) -> Result<(), String> {
        let mut end = End::listening(link);
        match end.next(NOW, &mut proposal, Handler::Waits) {
            Some(Seen::Proposed) => {}
            other => return Err(format!("no proposal: {other:?}")),
        }
        let request = end.conn().resume_request().ok_or("no request")?.clone();
        let session = self.session(Side::Service);
        if session.is_some_and(|session| session.may_welcome(&request, trid(link), true).is_err()) {
            return self.in_conflict(link);
        }
        self.greetings.retain(|other| *other != link);
        let session = end.take_over(&mut self.ends[1], self.bounds.broken);
        self.displace();
        let session = self.welcome(link, &request, session)?;
        let admission = Admission::new(trid(link));
        let admitted = end.rx.admit_in_session(NOW, &mut end.tx, admission, Some(session));
        assert!(admitted.is_ok());
        self.ends[1] = Shared::new(end);
        Ok(())
    }

    /// An attempt that came late, when the client had gone on. Nothing else may look like a copy.
    fn in_conflict(&mut self, link: usize) -> Result<(), String> {
        if !self.links[link].has_left(Side::Client) {
            return Err("the client is taken for a copy of itself".to_owned());
        }
        self.leave_greeting(link);
        Ok(())
    }

    /// The service ends its connection for another one of the same client.
    fn displace(&mut self) {
        let end = &mut self.ends[1];
        if end.link.is_some() {
            end.tx.disconnect(Notice::new(Code::Displaced));
            self.transmit(Side::Service, NOW);
            self.leave(Side::Service);
        }
    }

    /// The session of the client goes on, or begins.
    fn welcome(&mut self, link: usize, request: &Resume, session: Option<Box<State>>) -> Result<Box<State>, String> {
        self.admitted += 1;
        let token = Token::from_bytes([self.admitted; 16]);
        if let Some(mut session) = session {
            let welcome = session.welcome(request, trid(link), true, token);
            welcome.map_err(|why| format!("it was expected, and is not welcome: {why}"))?;
            return Ok(session);
        }
        let [_, durable] = self.bounds.durable;
        let mut session = fresh(durable);
        let why = if request.is_return() {
            NewReason::Forgotten
        } else {
            NewReason::First
        };
        session.begin_with(request, trid(link), why, Some(token));
        Ok(session)
    }

    // ── and comes to its end ────────────────────────────────────────────────────────

    /// This side sees that the connection has ended.
    pub(crate) fn ended(&mut self, link: usize, side: Side) {
        if self.ends[side as usize].link == Some(link) {
            self.lost(side);
        } else {
            self.leave_greeting(link);
        }
    }

    fn lost(&mut self, side: Side) {
        let end = &mut *self.ends[side as usize];
        end.rx.ended(NOW, &mut end.tx);
        self.leave(side);
    }

    fn leave_greeting(&mut self, link: usize) {
        self.greetings.retain(|other| *other != link);
        self.links[link].leave(Side::Service);
    }

    /// This side has heard nothing for too long, or waits in vain for the handshake. It tells the other, and does
    /// not wait for what that says: the line is as good as dead.
    pub(crate) fn time_out(&mut self, link: usize, side: Side) -> Result<(), String> {
        self.bounds.time_outs -= 1;
        let now = NOW.after(LONG);
        if self.ends[side as usize].link == Some(link) {
            let runs_after_the_end = self.ends[side as usize].runs_after_the_end();
            was_given_up();
            self.transmit(side, now);
            // The time of a handler of a connection that was over before may be over, too.
            if was_given_up() {
                self.given_up(side, runs_after_the_end);
            }
            self.lost(side);
            return Ok(());
        }
        let mut greeter = End::listening(link);
        greeter.rx.turn(now, &mut greeter.tx);
        self.links[link].carry(side.other(), greeter.tx.output());
        self.leave_greeting(link);
        match greeter.next(NOW, &mut &[][..], Handler::Waits) {
            Some(Seen::Ended(ended)) => Self::check_cause(side, ended.cause()),
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

    /// The time of the handler that waits is over.
    pub(crate) fn expire(&mut self, side: Side) {
        self.bounds.expiries[side as usize] -= 1;
        let well = self.bounds.broken == Some(Broken::ExpiresWell);
        let end = &mut self.ends[side as usize];
        let runs_after_the_end = end.runs_after_the_end();
        end.expire(well);
        self.given_up(side, runs_after_the_end);
    }

    /// The handler that waits is not asked any more; if it `runs_after_the_end`, nor do others of its connection begin.
    fn given_up(&mut self, side: Side, runs_after_the_end: bool) {
        let end = &mut self.ends[side as usize];
        end.expired |= runs_after_the_end;
        let Task { value, acked, .. } = end.running.take().expect("one runs");
        if acked {
            self.told[side.other() as usize].finish(value, Outcome::Failed(Code::NoHandler));
        }
    }

    // ── outcomes ────────────────────────────────────────────────────────────────────

    /// Takes the outcomes that this side knows now; whether there were some.
    pub(crate) fn collect(&mut self, side: Side) -> Result<bool, String> {
        let anew = self.meet(side)?;
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

    /// Whether the session of this side has just begun anew: then outcomes may be unknown.
    fn meet(&mut self, side: Side) -> Result<bool, String> {
        let end = &mut *self.ends[side as usize];
        let Some(resumption) = end
            .conn()
            .resumption()
            .filter(|_| end.link.is_some() && end.met != end.link)
        else {
            return Ok(false);
        };
        end.met = end.link;
        let anew = matches!(resumption, Resumption::New { .. });
        // The client has read the acceptance.
        let expected = side == Side::Service
            || match resumption {
                Resumption::Resumed { .. } => self.has_token,
                Resumption::New { why: NewReason::First } => !self.has_token,
                Resumption::New { why } => why == NewReason::Forgotten && self.lost,
            };
        if !expected {
            return Err(format!("the client is told {resumption:?}"));
        }
        self.has_token |= side == Side::Client;
        Ok(anew)
    }
}
