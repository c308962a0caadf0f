//! A connection that is driven by hand: what it is told, and messages that wait for their turn.

use core::time::Duration;
use std::collections::VecDeque;

use diset_proto::drive::HandlerResult;
use diset_proto::store::Unsure;
use diset_proto::{
    Cause, ClientConfig, Code, Connection, Deframer, Event, Held, Instant, Kept, MessageRef, Notice, Phase, ServiceDef,
    Tag,
};

use super::super::engine::{Count, Fuzzed, Memory, OUTPUT, Words, limits, start};
use super::{Driven, How};

type Conn = Connection<[u8; OUTPUT], Option<Box<Memory>>>;

/// Connection, deframer, what waits, and the handler that does.
pub(super) struct ByHand {
    conn: Conn,
    rx: Deframer<[u8; OUTPUT]>,
    waiting: VecDeque<Kept>,
    running: Option<(Tag, Held)>,
    ended: Option<(Cause, usize)>,
}

impl ByHand {
    pub(super) fn new(conn: Conn) -> Self {
        Self {
            conn,
            rx: Deframer::new([0; OUTPUT]),
            waiting: VecDeque::new(),
            running: None,
            ended: None,
        }
    }

    fn plain(&self) -> usize {
        let plain = |kept: &&Kept| kept.message().number_in_session().is_none();
        self.waiting.iter().filter(plain).count()
    }

    fn dropped(&mut self, event: Option<Event<'_>>) {
        let Some(Event::Dropped(cause)) = event else { return };
        let mut unhandled = 0;
        if matches!(cause, Cause::OurError(_) | Cause::WeRefused(_)) {
            unhandled = self.plain();
            self.waiting.retain(|kept| kept.message().number_in_session().is_some());
        }
        self.ended = Some((cause, unhandled));
    }

    /// A message has its turn.
    fn handle(&mut self, how: &mut How, message: MessageRef<'_>) {
        let (tag, number, repeated) = (message.tag(), message.number(), message.maybe_repeated());
        let acked = message.number_in_session();
        if let Some(acked) = acked {
            assert!(self.conn.begin(acked), "PROTOCOL Q-2: it is the next one");
        }
        let conn = &mut self.conn;
        let what = match how.mode % 6 {
            0 if number == 0 => conn.decode::<Count>(message).map(|value| format!("{value:?}")),
            0 => conn.decode::<Words<'_>>(message).map(|value| format!("{value:?}")),
            1 => {
                let structure = Fuzzed::STRUCTURES[usize::from(number) % 2];
                conn.decode_raw(message, structure).map(|(bytes, held)| {
                    self.running = Some((tag, held));
                    format!("{bytes:?} waits")
                })
            }
            3 => {
                conn.reject(message, Code::HandlerFailed, "");
                Ok("refused".into())
            }
            4 => conn.decode::<Count>(message).map(|value| format!("{value:?}")),
            // Nobody looks at it.
            _ => {
                conn.reject(message, Code::NoHandler, "");
                Ok("nobody".into())
            }
        };
        let what = what.unwrap_or_else(|error| {
            if error == diset_proto::DecodeError::OtherType {
                self.conn.fail(tag, Code::NoHandler, "");
            }
            "is not one".into()
        });
        how.message(number, acked, repeated, &what);
    }

    /// What waits, as far as it may be handled now.
    fn pump(&mut self, how: &mut How) {
        while self.running.is_none() {
            let is_over = self.conn.phase().is_over();
            let ours = matches!(self.conn.cause(), Some(Cause::OurError(_) | Cause::WeRefused(_)));
            let may_begin = !is_over || (!ours && self.ended.is_some() && self.plain() > 0);
            if may_begin && let Some(kept) = self.waiting.pop_front() {
                self.handle(how, kept.message());
                continue;
            }
            if self.plain() == 0
                && let Some((cause, unhandled)) = self.ended.take()
            {
                self.waiting.clear();
                how.saw(format!("ended: {cause}; {unhandled}"));
            }
            return;
        }
    }
}

impl Driven for ByHand {
    fn feed(&mut self, now: Instant, how: &mut How, bytes: &[u8]) {
        self.pump(how);
        if !bytes.is_empty() {
            self.conn.handle_received(now);
        }
        let mut input = bytes;
        let mut rx = core::mem::replace(&mut self.rx, Deframer::new([0; OUTPUT]));
        while let Some(frame) = rx.next(&mut input, self.conn.max_frame()) {
            match self.conn.handle_frame(now, frame) {
                Some(Event::Proposed(proposal)) => {
                    how.saw(format!("proposed {:?}", proposal.identity()));
                    match how.mode % 4 {
                        known @ (0 | 1) => self.admit(now, how, known + how.mode / 4 * 2),
                        2 => self.refuse(Notice::new(Code::Busy)),
                        _ => {}
                    }
                }
                Some(Event::Message(message)) => {
                    if self.running.is_some() || !self.waiting.is_empty() {
                        let kept = self.conn.keep(message);
                        self.waiting.push_back(kept);
                    } else {
                        self.handle(how, message);
                    }
                }
                Some(Event::Connected(trid)) => how.saw(format!("connected {}", trid.number())),
                Some(Event::Acknowledged) => how.saw("acknowledged"),
                Some(Event::NextKey(..) | Event::NextKeyRemembered(..)) => how.saw("next key"),
                Some(Event::GoingAway(notice)) => how.saw(format!("going away: {notice}")),
                event => self.dropped(event),
            }
            self.pump(how);
        }
        self.rx = rx;
    }

    fn admit(&mut self, now: Instant, how: &mut How, choice: u8) {
        let admission = how.admission(choice);
        let request = self.conn.resume_request().cloned();
        let event = match how.welcome(request.as_ref()) {
            Ok(Some(session)) => self
                .conn
                .accept_in_session(now, admission, Some(session))
                .unwrap_or_else(|(_, session)| {
                    how.kept = session;
                    None
                }),
            Ok(None) => self.conn.accept(now, admission).ok().flatten(),
            Err(notice) => return self.refuse(notice),
        };
        if let Some(Event::Connected(trid)) = event {
            how.saw(format!("connected {}", trid.number()));
        }
    }

    fn refuse(&mut self, notice: Notice) {
        let _ = self.conn.refuse(notice);
    }

    fn waits(&mut self) -> bool {
        self.running.is_some()
    }

    fn handled(&mut self, result: HandlerResult) {
        let (tag, held) = self.running.take().unwrap();
        match result {
            Ok(()) => self.conn.release(held),
            Err(_) => self.conn.fail(tag, Code::HandlerFailed, ""),
        }
    }

    fn expire(&mut self) {
        let plain = self.plain();
        if let Some((_, unhandled)) = &mut self.ended {
            *unhandled += plain;
            self.waiting.retain(|kept| kept.message().number_in_session().is_some());
        }
        if let Some((tag, _)) = self.running.take() {
            self.conn.fail(tag, Code::NoHandler, "");
        }
    }

    fn send(&mut self, number: u8, message: &Words<'_>) {
        let _ = self.conn.send(number, message);
    }

    fn count(&mut self, number: u8, n: u64, acked: Option<Unsure>) {
        let _ = match acked {
            Some(unsure) => self.conn.send_acked(number, &Count { n }, unsure).map(drop),
            None => self.conn.send(number, &Count { n }),
        };
    }

    fn outcomes(&mut self) {
        while self.conn.take_outcome().is_some() {}
    }

    fn announce(&mut self, lasts: Duration) {
        let _ = self.conn.announce_next_key([1; 32], lasts);
        let _ = self.conn.next_key_remembered([1; 32], lasts);
    }

    fn go_away(&mut self, now: Instant, notice: Notice, span: Duration) {
        let _ = self.conn.go_away(now, notice, span);
    }

    fn disconnect(&mut self, notice: Notice) {
        self.conn.disconnect(notice);
    }

    fn turn(&mut self, now: Instant) -> Vec<u8> {
        for _ in 0..5 {
            let event = self.conn.handle_time(now);
            self.dropped(event);
            let _ = self.conn.transmit();
            if self.conn.wake().is_none_or(|wake| wake > now) {
                return self.conn.transmit().to_vec();
            }
        }
        panic!("it is due for ever: {:?}", self.conn);
    }

    fn wrote(&mut self, count: usize) {
        self.conn.transmitted(count);
    }

    fn eof(&mut self, _: Instant) {
        let event = self.conn.handle_eof();
        self.dropped(event);
    }

    fn again(&mut self, how: &mut How, config: Option<&ClientConfig<'_>>) {
        let session = self.conn.take_session();
        *self = match config {
            Some(config) => Self::new(Connection::client_in_session(start(), config, [0; OUTPUT], session).unwrap()),
            None => {
                how.kept = session.or_else(|| how.kept.take());
                Self::new(service())
            }
        };
    }

    fn phase(&self) -> Phase {
        self.conn.phase()
    }

    fn wake(&self) -> Option<Instant> {
        self.conn.wake()
    }
}

pub(super) fn service() -> Conn {
    let service = Connection::service(start(), Fuzzed::CATALOG, limits(), [0; OUTPUT]);
    service.unwrap().with_sessions(None)
}
