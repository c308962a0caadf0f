//! What the two applications do with their connections, as a driver and an author would.

use core::time::Duration;
use std::rc::Rc;

use diset_proto::{
    Admission, ClientConfig, Code, Connection, Deframer, Event, GrowBuf, Identity, Limits, NewReason, Notice, Outcome,
    Resumption, ServiceDef, Session, Token, Trid,
};

use super::given::{Broken, Side};
use super::link::PREAMBLE;
use super::shared::Shared;
use super::world::{End, Meter, NOW, READING, Reading, State, Task, World};

/// More connections than this are only made by two sides that never come to an end.
const MAX_CONNECTIONS: usize = 12;
/// Longer than any silence and any deadline.
const LONG: Duration = Duration::from_secs(10_000);

impl World {
    pub(crate) fn connect(&mut self) {
        assert!(self.links.len() < MAX_CONNECTIONS, "connections without end");
        let link = self.links.len();
        self.links.push(Shared::default());
        let config = ClientConfig {
            catalog: Meter::CATALOG,
            identity: Identity::from_bytes([1; 16]),
            limits: Limits::SERVER,
            args: &[],
        };
        let session = self.away[0].take().map(Shared::take);
        let conn = Connection::client_in_session(NOW, &config, GrowBuf::new(10_000), session).unwrap();
        self.ends.push(Shared::new(End {
            link,
            side: Side::Client,
            conn,
        }));
        let conn = Connection::service(NOW, Meter::CATALOG, Limits::SERVER, GrowBuf::new(10_000)).unwrap();
        self.ends.push(Shared::new(End {
            link,
            side: Side::Service,
            conn: conn.with_sessions(None),
        }));
        if !self.bounds.lazy {
            self.transmit(link, Side::Service);
        }
    }

    pub(crate) fn send(&mut self, side: Side) -> Result<(), String> {
        let value = self.told[side as usize].send();
        let (reading, unsure) = (Reading { value }, self.bounds.unsure);
        let number = match self.holder(side) {
            Some(place) => self.ends[place].conn.send_acked(READING, &reading, unsure),
            None => {
                let away = self.session_mut(side).ok_or("there is no session")?;
                away.store(Meter::CATALOG, READING, &reading, unsure)
            }
        };
        match number {
            Ok(number) if number == u64::from(value) => Ok(()),
            other => Err(format!("message {value} of the {side} got {other:?}")),
        }
    }

    pub(crate) fn transmit(&mut self, link: usize, side: Side) {
        let place = self.end(link, side);
        let conn = &mut self.ends[place].conn;
        // Until nothing is left: only then the connection can tell that all has left.
        loop {
            let bytes = conn.transmit();
            let count = bytes.len();
            if count == 0 {
                break;
            }
            self.links[link].carry(side.other(), bytes);
            conn.transmitted(count);
        }
    }

    pub(crate) fn deliver(&mut self, link: usize, side: Side) -> Result<(), String> {
        let place = self.end(link, side);
        let bytes = self.links[link].deliver(side).ok_or("nothing is under way")?;
        // The frames were cut where they were written; the preamble is only the first one's.
        let mut rx = Deframer::new(GrowBuf::new(0));
        let conn = &mut self.ends[place].conn;
        assert!(rx.next(&mut &PREAMBLE[..], conn.max_frame()).is_none());
        let mut input = &bytes[..];
        let frame = rx.next(&mut input, conn.max_frame()).ok_or("no whole frame")?;
        let event = conn.handle_frame(NOW, frame);
        if let Some(log) = &mut self.log {
            log.push(format!("    frame {bytes:02x?}: {event:?}"));
        }
        match event {
            Some(Event::Message(message)) => {
                let session = conn.resumption().map(|_| ());
                session.ok_or("a message before it was told how the session stands")?;
                let kept = Rc::new(conn.keep(message));
                let began = conn.session().map_or(0, |session| session.began().number());
                self.apps[side as usize].waiting.push_back(Task { link, began, kept });
            }
            Some(Event::Proposed(_)) => self.admit(place)?,
            Some(Event::Connected(_)) => self.connected(place)?,
            Some(Event::Dropped(cause)) => Self::check_cause(side, &cause)?,
            _ => {}
        }
        Ok(())
    }

    /// The client has read the acceptance: before any message it knows how the session stands.
    fn connected(&mut self, place: usize) -> Result<(), String> {
        let resumption = self.ends[place].conn.resumption();
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
        self.collect(Side::Client, anew)
    }

    /// A client asks to be admitted. Whoever had its session gives it away (PROTOCOL D-2).
    fn admit(&mut self, place: usize) -> Result<(), String> {
        self.admitted += 1;
        let trid = Trid::new(self.ends[place].link as u64 + 1);
        let token = Token::from_bytes([self.admitted; 16]);
        let request = self.ends[place].conn.resume_request().ok_or("no request")?.clone();
        let holder = self.holder(Side::Service);
        let known = holder.is_some() || self.away[1].is_some();
        let session = if known {
            let session = self.session(Side::Service).ok_or("no session")?;
            if session.may_welcome(&request, trid, true).is_err() {
                return self.in_conflict(place);
            }
            let mut session = match holder {
                Some(older) => self.displace(older),
                None => self.away[1].take().ok_or("no session")?.take(),
            };
            let welcome = session.welcome(&request, trid, true, token);
            welcome.map_err(|why| format!("it was expected, and is not welcome: {why}"))?;
            session
        } else {
            let mut session = self.fresh(Side::Service);
            let why = if request.is_return() {
                NewReason::Forgotten
            } else {
                NewReason::First
            };
            session.begin_with(&request, trid, why, Some(token));
            session
        };
        let anew = matches!(session.resumption(), Some(Resumption::New { .. }));
        let conn = &mut self.ends[place].conn;
        let accepted = conn.accept_in_session(NOW, Admission::new(trid), Some(session));
        assert!(accepted.is_ok_and(|event| matches!(event, Some(Event::Connected(_)))));
        self.collect(Side::Service, anew)
    }

    /// An attempt that came late, when the client had gone on. Nothing else may look like a copy.
    fn in_conflict(&mut self, place: usize) -> Result<(), String> {
        let link = self.ends[place].link;
        if !self.links[link].has_left(Side::Client) {
            return Err("the client is taken for a copy of itself".to_owned());
        }
        self.ends.remove(place);
        self.links[link].leave(Side::Service);
        Ok(())
    }

    fn displace(&mut self, older: usize) -> Box<State> {
        let End {
            link,
            side,
            ref mut conn,
        } = *self.ends[older];
        let session = conn.take_session().expect("it has the session");
        conn.disconnect(Notice::new(Code::Displaced));
        self.detached(link, side);
        session
    }

    /// This side sees that the connection has ended.
    pub(crate) fn ended(&mut self, link: usize, side: Side) -> Result<(), String> {
        let place = self.end(link, side);
        if let Some(Event::Dropped(cause)) = self.ends[place].conn.handle_eof() {
            Self::check_cause(side, &cause)?;
        }
        self.leave(place);
        Ok(())
    }

    /// This side has heard nothing for too long, or waits in vain for the handshake. It tells the other, and does
    /// not wait for what that says: the line is as good as dead.
    pub(crate) fn time_out(&mut self, link: usize, side: Side) -> Result<(), String> {
        self.bounds.time_outs -= 1;
        let place = self.end(link, side);
        match self.ends[place].conn.handle_time(NOW.after(LONG)) {
            Some(Event::Dropped(cause)) => Self::check_cause(side, &cause)?,
            // It was over before.
            None => {}
            Some(other) => return Err(format!("the {side} hears nothing, and is told {other:?}")),
        }
        self.transmit(link, side);
        self.leave(place);
        Ok(())
    }

    pub(crate) fn go_away(&mut self, side: Side) {
        self.bounds.go_aways[side as usize] -= 1;
        let open = |end: &&mut Shared<End>| end.side == side && end.conn.phase() == diset_proto::Phase::Open;
        let end = self.ends.iter_mut().find(open).expect("it is open");
        let notice = Notice::new(Code::Shutdown);
        end.conn.go_away(NOW, notice, Duration::from_secs(5)).unwrap();
    }

    /// The connection on which this message came, if it still has the session.
    fn is_held(&self, side: Side, task: &Task) -> Option<usize> {
        let place = self.holder(side)?;
        (self.ends[place].link == task.link).then_some(place)
    }

    /// The next message that waits is given to its handler.
    pub(crate) fn begin(&mut self, side: Side) -> Result<(), String> {
        let task = self.apps[side as usize].waiting.pop_front().ok_or("none waits")?;
        let message = task.kept.message();
        let (value, marked) = (task.value(), message.maybe_repeated());
        match self.is_held(side, &task) {
            Some(place) => {
                let conn = &mut self.ends[place].conn;
                let _held = conn
                    .decode_held::<Reading>(message)
                    .map_err(|error| error.to_string())?;
            }
            None => {
                let session = self.session_mut(side).ok_or("no session")?;
                if !session.begin(task.number()) && self.bounds.broken.is_none() {
                    return Err(format!("message {value} to the {side} must not begin"));
                }
            }
        }
        if self.bounds.broken == Some(Broken::SettlesTooEarly) {
            self.settle(side, &task, Outcome::Ok);
        }
        let lost = self.lost;
        self.told[side.other() as usize].begin(value, marked, lost)?;
        self.apps[side as usize].running = Some(task);
        Ok(())
    }

    /// The handler comes to this end, on whatever connection the session is now (PROTOCOL Q-8).
    pub(crate) fn finish(&mut self, side: Side, outcome: Outcome) {
        let task = self.apps[side as usize].running.take().expect("one runs");
        self.told[side.other() as usize].finish(task.value(), outcome);
        self.settle(side, &task, outcome);
    }

    fn settle(&mut self, side: Side, task: &Task, outcome: Outcome) {
        match self.is_held(side, task) {
            Some(place) => {
                let conn = &mut self.ends[place].conn;
                let message = task.kept.message();
                match outcome {
                    Outcome::Failed(code) => conn.fail(message.tag(), code, ""),
                    _ => conn.release(message.held()),
                }
            }
            None if self.bounds.broken == Some(Broken::SettlesTheOldConnection) => {}
            None => {
                let is_same = |session: &&mut State| session.began().number() == task.began;
                if let Some(session) = self.session_mut(side).filter(is_same) {
                    session.settle(task.number(), outcome);
                }
            }
        }
    }

    /// Takes the outcomes that this side knows now. `anew`: its session has just begun anew.
    pub(crate) fn collect(&mut self, side: Side, anew: bool) -> Result<(), String> {
        let Some(session) = self.session_mut(side) else {
            return Ok(());
        };
        let mut outcomes = Vec::new();
        while let Some(outcome) = session.take_outcome() {
            outcomes.push(outcome);
        }
        let processed = Session::delivered(session).processed;
        let told = &mut self.told[side as usize];
        for (number, outcome) in outcomes {
            told.tell(number, outcome, anew)?;
        }
        // A service that lost its memory counts from 1 again.
        told.tell_processed(processed)
    }
}
