//! One process: its connection, its session, and its handlers, one at a time.

use std::collections::VecDeque;

use diset_proto::store::Unsure;
use diset_proto::{Code, Deframer, Held, Instant, Kept, Outcome, ServiceDef, Tag, Trid};

use super::truth::Truth;
use super::{Conn, Counted, ITEM, Item, Memory, ROOM};

/// What handlers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Handle,
    Hold,
    Fail,
}

/// A handler that runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) tag: Tag,
    pub(super) held: Option<Held>,
    pub(super) number: u64,
    pub(super) value: u32,
    pub(super) repeated: bool,
    pub(super) began: Trid,
}

/// One process.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) conn: Option<(Conn, Box<Deframer<[u8; ROOM]>>)>,
    /// The session, when it is not in the connection.
    pub(super) away: Option<Box<Memory>>,
    pub(super) way: Way,
    pub(super) running: Option<Running>,
    pub(super) lane: VecDeque<Kept>,
    /// Takes outcomes late.
    pub(super) lazy: bool,
    /// On their way to the other.
    pub(super) wire: Vec<u8>,
    pub(super) truth: Truth,
}

impl Side {
    pub(super) fn new(away: Option<Box<Memory>>) -> Self {
        Self {
            conn: None,
            away,
            way: Way::Handle,
            running: None,
            lane: VecDeque::new(),
            lazy: false,
            wire: Vec::new(),
            truth: Truth::default(),
        }
    }

    pub(super) fn session(&mut self) -> Option<&mut Memory> {
        match &mut self.conn {
            Some((conn, _)) if conn.session().is_some() => conn.session_mut(),
            _ => self.away.as_deref_mut(),
        }
    }

    pub(super) fn store(&mut self, resend: bool) {
        let unsure = if resend { Unsure::Resend } else { Unsure::Report };
        let item = Item { value: self.truth.next };
        let number = match &mut self.conn {
            Some((conn, _)) if conn.session().is_some() => conn.send_acked(ITEM, &item, unsure).ok(),
            _ => self
                .session()
                .and_then(|session| session.store(Counted::CATALOG, ITEM, &item, unsure).ok()),
        };
        if let Some(number) = number {
            let value = self.truth.next;
            self.truth.next += 1;
            self.truth.numbers.insert(number, value);
            if resend {
                self.truth.resend.insert(value);
            }
        }
    }

    pub(super) fn skip(&mut self) {
        if let Some(number) = self.session().and_then(Memory::skip_oldest) {
            self.truth.told(number, Outcome::Skipped);
        }
    }

    pub(super) fn take_outcomes(&mut self) {
        while let Some((number, outcome)) = self.session().and_then(Memory::take_outcome) {
            self.truth.told(number, outcome);
        }
        if let Some(processed) = self.session().map(|session| session.delivered().processed) {
            self.truth.settled(processed);
        }
    }

    pub(super) fn keep(&mut self) {
        if let Some(session) = self.session() {
            let store = session.replay_mut();
            store.kept = store.last;
            let inbox = session.inbox_mut();
            inbox.kept = inbox.now;
        }
    }

    /// The connection is gone. What has not begun comes again.
    pub(super) fn hang_up(&mut self) {
        if let Some((mut conn, _)) = self.conn.take() {
            // A service has none in its connection before it has admitted the client.
            self.away = conn.take_session().or_else(|| self.away.take());
        }
        self.wire.clear();
        self.lane.clear();
        if let Some(running) = &mut self.running {
            running.held = None;
        }
    }

    /// Writes at most so much.
    pub(super) fn write(&mut self, most: usize) {
        if let Some((conn, _)) = &mut self.conn {
            let bytes = conn.transmit();
            let count = bytes.len().min(most);
            self.wire.extend_from_slice(&bytes[..count]);
            conn.transmitted(count);
        }
    }

    pub(super) fn time(&mut self, now: Instant) {
        let Some((conn, _)) = &mut self.conn else { return };
        for _ in 0..9 {
            let _ = conn.transmit();
            if conn.wake().is_none_or(|wake| wake > now) {
                return;
            }
            conn.handle_time(now);
        }
        panic!("due for ever: {conn:?}");
    }

    /// A message whose turn has come. The truth is that of its sender.
    pub(super) fn handle(&mut self, kept: &Kept, truth: &mut Truth) {
        let Some((conn, _)) = &mut self.conn else { return };
        let message = kept.message();
        let (tag, number, repeated) = (message.tag(), message.number_in_session(), message.maybe_repeated());
        let began = conn.session().map(Memory::began);
        let (Some(number), Some(began)) = (number, began) else {
            conn.decode::<Item>(message).unwrap();
            return;
        };
        let (Item { value }, held) = conn.decode_held(message).unwrap();
        match self.way {
            Way::Handle => {
                truth.ended(value, repeated, None);
                conn.release(held);
            }
            Way::Fail => {
                truth.ended(value, repeated, Some(Code::HandlerFailed));
                conn.fail(tag, Code::HandlerFailed, "no");
                self.lane.clear();
            }
            Way::Hold => {
                self.running = Some(Running {
                    tag,
                    held: Some(held),
                    number,
                    value,
                    repeated,
                    began,
                });
            }
        }
    }

    /// Handles what waits, until a handler does not end.
    pub(super) fn work(&mut self, truth: &mut Truth) {
        while self.running.is_none()
            && let Some(kept) = self.lane.pop_front()
        {
            self.handle(&kept, truth);
        }
    }

    /// The handler that runs comes to its end, on whatever connection.
    pub(super) fn finish(&mut self, fails: bool, truth: &mut Truth) {
        let Some(running) = self.running.take() else { return };
        let code = fails.then_some(Code::HandlerFailed);
        truth.ended(running.value, running.repeated, code);
        match (&mut self.conn, running.held) {
            (Some((conn, _)), Some(_)) if fails => {
                conn.fail(running.tag, Code::HandlerFailed, "no");
                self.lane.clear();
            }
            (Some((conn, _)), Some(held)) => conn.release(held),
            _ => {
                let outcome = code.map_or(Outcome::Ok, Outcome::Failed);
                if let Some(session) = self.session().filter(|session| session.began() == running.began) {
                    session.settle(running.number, outcome);
                }
            }
        }
        self.work(truth);
    }
}
