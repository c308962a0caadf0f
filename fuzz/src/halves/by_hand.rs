//! A connection that is driven by hand: what it is told, and messages that wait for their turn.

use std::collections::VecDeque;

use diset_proto::drive::HandlerResult;
use diset_proto::store::{FixedReplay, Volatile};
use diset_proto::{
    Cause, Code, Connection, DecodeError, Deframer, Event, Held, Instant, Kept, MessageRef, ServiceDef, Session, Tag,
    Trid,
};

use super::super::call::{Admit, Call, Raw};
use super::super::engine::{
    Count, Fuzzed, How, Memory, OUTPUT, Origin, Step, TOLD, Words, limits, memory, sessions, start,
};
use super::super::player::Sessions;

type Conn = Connection<[u8; OUTPUT], Option<Box<Memory>>>;

/// Connection, deframer, what waits, and the handler that does.
pub(super) struct ByHand {
    pub(super) conn: Conn,
    pub(super) how: How,
    /// What has left.
    pub(super) wire: Vec<u8>,
    now: Instant,
    sessions: Sessions<FixedReplay<[u8; 300]>, Volatile>,
    /// A client, with its catalog from there.
    origin: Option<Origin>,
    link: Link,
}

/// What is there for one link.
struct Link {
    rx: Deframer<[u8; OUTPUT]>,
    waiting: VecDeque<Kept>,
    running: Option<(Tag, Held)>,
    ended: Option<(Cause, usize)>,
}

impl Link {
    fn new() -> Self {
        Self {
            rx: Deframer::new([0; OUTPUT]),
            waiting: VecDeque::new(),
            running: None,
            ended: None,
        }
    }
}

impl ByHand {
    /// A service, or a client that keeps a session or does not.
    pub(super) fn new(client: Option<(Origin, bool)>) -> Self {
        let session = client.is_some_and(|(_, keeps)| keeps).then(memory);
        let origin = client.map(|(origin, _)| origin);
        Self {
            conn: conn(origin, session),
            how: How::default(),
            wire: Vec::new(),
            now: start(),
            sessions: sessions(false),
            origin,
            link: Link::new(),
        }
    }

    fn plain(&self) -> usize {
        let plain = |kept: &&Kept| kept.message().number_in_session().is_none();
        self.link.waiting.iter().filter(plain).count()
    }

    fn dropped(&mut self, event: Option<Event<'_>>) {
        let Some(Event::Dropped(cause)) = event else { return };
        let mut unhandled = 0;
        if matches!(cause, Cause::OurError(_) | Cause::WeRefused(_)) {
            unhandled = self.plain();
            self.link
                .waiting
                .retain(|kept| kept.message().number_in_session().is_some());
        }
        self.link.ended = Some((cause, unhandled));
    }

    /// A message has its turn.
    fn handle(&mut self, message: MessageRef<'_>) {
        let (tag, number, repeated) = (message.tag(), message.number(), message.maybe_repeated());
        let acked = message.number_in_session();
        if let Some(acked) = acked {
            assert!(self.conn.begin(acked), "PROTOCOL Q-2: it is the next one");
        }
        let learned = self.conn.learned().cloned();
        let conn = &mut self.conn;
        let what = match self.how.mode % 6 {
            0 if number == 0 => conn.decode::<Count>(message).map(|value| format!("{value:?}")),
            0 => {
                // Apart from the connection as by it.
                let apart = message.decode::<Words<'_>>().map(|value| format!("{value:?}"));
                let decoded = conn.decode::<Words<'_>>(message).map(|value| format!("{value:?}"));
                assert_eq!(apart, decoded);
                decoded
            }
            1 => {
                let structure = Fuzzed::STRUCTURES[usize::from(number) % 2];
                conn.decode_raw(message, structure).map(|(bytes, held)| {
                    self.link.running = Some((tag, held));
                    format!("{bytes:?} waits")
                })
            }
            3 => {
                conn.reject(message, Code::HandlerFailed, "");
                Ok("refused".into())
            }
            4 => conn.decode::<Count>(message).map(|value| format!("{value:?}")),
            5 if learned.is_some() => conn.decode_learned(message).map(|(bytes, held)| {
                self.link.running = Some((tag, held));
                format!("{bytes:?} waits")
            }),
            // Nobody looks at it.
            _ => {
                conn.reject(message, Code::NoHandler, "");
                Ok("nobody".into())
            }
        };
        if what == Err(DecodeError::OtherType) {
            self.conn.fail(tag, Code::NoHandler, "");
        }
        self.how.handled(number, acked, repeated, what.ok());
    }

    /// What waits, as far as it may be handled now.
    fn pump(&mut self) {
        while self.link.running.is_none() {
            let is_over = self.conn.phase().is_over();
            let ours = matches!(self.conn.cause(), Some(Cause::OurError(_) | Cause::WeRefused(_)));
            let may_begin = !is_over || (!ours && self.link.ended.is_some() && self.plain() > 0);
            if may_begin && let Some(kept) = self.link.waiting.pop_front() {
                self.handle(kept.message());
                continue;
            }
            if self.plain() == 0
                && let Some((cause, unhandled)) = self.link.ended.take()
            {
                self.link.waiting.clear();
                self.how.saw(|| format!("ended: {cause}; {unhandled}"));
            }
            return;
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.pump();
        if !bytes.is_empty() {
            self.conn.handle_received(self.now);
        }
        let mut input = bytes;
        let mut rx = core::mem::replace(&mut self.link.rx, Deframer::new([0; OUTPUT]));
        while let Some(frame) = rx.next(&mut input, self.conn.max_frame()) {
            match self.conn.handle_frame(self.now, frame) {
                Some(Event::Proposed(proposal)) => {
                    self.how.saw(|| format!("proposed {:?}", proposal.identity()));
                    if let Some(call) = self.how.answer() {
                        self.make(&call);
                    }
                }
                Some(Event::Message(message)) => {
                    if self.link.running.is_some() || !self.link.waiting.is_empty() {
                        let kept = self.conn.keep(message);
                        self.link.waiting.push_back(kept);
                    } else {
                        self.handle(message);
                    }
                }
                Some(Event::Connected(trid)) => self.connected(trid),
                Some(Event::Acknowledged) => self.how.saw(|| "acknowledged".into()),
                Some(Event::NextKey(..) | Event::NextKeyRemembered(..)) => self.how.saw(|| "next key".into()),
                Some(Event::GoingAway(notice)) => self.how.saw(|| format!("going away: {notice}")),
                event => self.dropped(event),
            }
            self.pump();
        }
        self.link.rx = rx;
    }

    fn connected(&mut self, trid: Trid) {
        self.how.saw(|| format!("connected {}", trid.number()));
    }

    fn admit(&mut self, admit: &Admit) {
        let request = self.conn.resume_request().cloned();
        let (conn, admission) = (&mut self.conn, admit.admission.clone());
        let event = match self.sessions.welcome(request.as_ref(), admit, |_| ()) {
            Ok(Some(session)) => conn
                .accept_in_session(self.now, admission, Some(session))
                .unwrap_or_else(|(_, session)| {
                    self.sessions.kept = session;
                    None
                }),
            Ok(None) => conn.accept(self.now, admission).ok().flatten(),
            Err(notice) => {
                let _ = conn.refuse(notice);
                None
            }
        };
        if let Some(Event::Connected(trid)) = event {
            self.connected(trid);
        }
    }

    pub(super) const fn waits(&self) -> bool {
        self.link.running.is_some()
    }

    fn done(&mut self, result: HandlerResult) {
        match (result, self.link.running.take()) {
            (Ok(()), Some((_, held))) => self.conn.release(held),
            (Err(_), Some((tag, _))) => self.conn.fail(tag, Code::HandlerFailed, ""),
            (_, None) => {}
        }
    }

    fn expire(&mut self) {
        let plain = self.plain();
        if let Some((_, unhandled)) = &mut self.link.ended {
            *unhandled += plain;
            self.link
                .waiting
                .retain(|kept| kept.message().number_in_session().is_some());
        }
        if let Some((tag, _)) = self.link.running.take() {
            self.conn.fail(tag, Code::NoHandler, "");
        }
    }

    fn turn(&mut self) {
        for _ in 0..5 {
            let event = self.conn.handle_time(self.now);
            self.dropped(event);
            let _ = self.conn.transmit();
            if self.conn.wake().is_none_or(|wake| wake > self.now) {
                return;
            }
        }
        panic!("it is due for ever: {:?}", self.conn);
    }

    /// What is to be written, after a turn.
    pub(super) fn output(&mut self) -> Vec<u8> {
        self.conn.transmit().to_vec()
    }

    /// Does the same as the halves; then what waits has its turn.
    pub(super) fn step(&mut self, step: &Step<'_>) {
        match *step {
            Step::Call(ref call) => self.make(call),
            Step::Admit(choice) => self.admit(&self.how.admit(choice)),
            Step::Mode(mode) => self.how.mode = mode,
            Step::Keeps => self.sessions.keeps ^= true,
            Step::Again => {
                self.make(&Call::Ended);
                self.feed(&[]);
                while self.waits() {
                    self.expire();
                    self.feed(&[]);
                }
                let session = self.conn.take_session();
                self.begin(session);
            }
            Step::Restart => {
                if let Some(session) = self.conn.session_mut() {
                    let (record, replay) = (session.record(), session.replay().clone());
                    let session = Session::restore(&record, replay, Volatile).unwrap();
                    self.sessions.kept = None;
                    self.begin(Some(Box::new(session)));
                }
            }
            Step::Settle(..) => {}
        }
        self.feed(&[]);
    }

    fn begin(&mut self, session: Option<Box<Memory>>) {
        let session = if self.origin.is_some() {
            session
        } else {
            self.sessions.kept = session.or_else(|| self.sessions.kept.take());
            None
        };
        self.conn = conn(self.origin, session);
        self.link = Link::new();
        self.wire.clear();
        self.now = start();
    }

    fn make(&mut self, call: &Call<'_>) {
        let (now, conn) = (self.now, &mut self.conn);
        match *call {
            Call::Next(ref bytes, most) => bytes.chunks(most).for_each(|piece| self.feed(piece)),
            Call::Heard => conn.handle_received(now),
            Call::Wrote(most) => {
                self.turn();
                let bytes = self.conn.transmit();
                let count = bytes.len().min(most);
                self.wire.extend_from_slice(&bytes[..count]);
                self.conn.transmitted(count);
            }
            Call::Later(span) => {
                self.now = now.after(span);
                self.turn();
            }
            Call::Earlier(span) => {
                self.now = Instant::from_millis(now.as_millis().saturating_sub(span.as_millis() as u64));
            }
            Call::Ended => {
                let event = conn.handle_eof();
                self.dropped(event);
            }
            Call::Send(number, ref payload) => drop(conn.send(number, &Raw(payload))),
            Call::SendAcked(number, ref payload, unsure) => drop(conn.send_acked(number, &Raw(payload), unsure)),
            Call::SendLearned(choice, payload) => {
                if let Some(catalog) = conn.learned().cloned() {
                    let message = &catalog.messages()[usize::from(choice) % catalog.messages().len()];
                    let _ = conn.send_learned(message, payload);
                }
            }
            Call::SkipOldest => drop(conn.skip_oldest()),
            Call::TakeOutcomes => while conn.take_outcome().is_some() {},
            Call::GoAway(ref notice, span) => drop(conn.go_away(now, notice.clone(), span)),
            Call::Disconnect(ref notice) => conn.disconnect(notice.clone()),
            Call::Admit(ref admit) => self.admit(admit),
            Call::Refuse(ref notice) => drop(conn.refuse(notice.clone())),
            Call::Done(result) => self.done(result),
            Call::Expire => self.expire(),
            Call::Announce(lasts) => {
                let _ = conn.announce_next_key([1; 32], lasts);
                let _ = conn.next_key_remembered([1; 32], lasts);
            }
        }
    }
}

/// A new connection.
fn conn(origin: Option<Origin>, session: Option<Box<Memory>>) -> Conn {
    let Some(origin) = origin else {
        let service = Connection::service(start(), Fuzzed::CATALOG, limits(), [0; OUTPUT]).unwrap();
        return service.telling(TOLD.clone()).with_sessions(None);
    };
    match origin.adopt() {
        Some(config) => Connection::adopting(start(), &config, [0; OUTPUT])
            .unwrap()
            .with_sessions(None),
        None => Connection::client_in_session(start(), &origin.config(), [0; OUTPUT], session).unwrap(),
    }
}
