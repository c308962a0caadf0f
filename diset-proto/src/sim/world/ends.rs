//! What happens at one end of a connection: time, bytes out, bytes in, and what follows.

use alloc::vec::Vec;

use super::link::{End, Side};
use super::{App, Fault, Party, What, Who, World};
use crate::conn::event::{Event, Progress};
use crate::time::Instant;

impl<A: App> World<A> {
    /// One turn of one end; whether anything happened.
    pub(super) fn turn_end(&mut self, link: u64, side: Side) -> bool {
        let Some(mut end) = self.links.get_mut(&link).and_then(|link| link.end(side).take()) else {
            return false;
        };
        let mut busy = false;
        let who = self.who(link, side);
        self.hear(who, link, &mut end);
        if end.conn.wake().is_some_and(|wake| wake <= self.now) {
            busy = true;
            let event = end.conn.handle_time(self.now);
            self.happened(link, side, &mut end, event);
        }
        busy |= self.write(link, side, &mut end);
        busy |= self.read(link, side, &mut end);
        busy |= self.write(link, side, &mut end);
        if end.conn.progress() == Progress::Over {
            self.over(link, side, end);
            return true;
        }
        if let Some(link) = self.links.get_mut(&link) {
            *link.end(side) = Some(end);
        }
        if busy {
            // Before the next connection of this session changes what is known of it.
            self.observe(who);
        }
        busy
    }

    fn write(&mut self, link: u64, side: Side, end: &mut End) -> bool {
        let (now, window) = (self.now, self.setup.window);
        let Some(pipe) = self.links.get_mut(&link).map(|link| link.out(side)) else {
            return false;
        };
        let bytes = end.conn.transmit();
        // A transport that takes no more.
        let count = bytes.len().min(window.saturating_sub(pipe.under_way()));
        let left = end.tap.hear(bytes);
        let was_cut = pipe.is_cut_short();
        if let Some(bytes) = bytes.get(..count)
            && count > 0
        {
            let _ = pipe.write(now, bytes);
            end.tap.written(count);
            end.conn.transmitted(count);
        }
        let took_effect = pipe.is_cut_short() && !was_cut;
        let finish = end.conn.progress() != Progress::Running && !end.finished;
        if finish {
            end.finished = true;
            pipe.end(now);
        }
        let who = self.who(link, side);
        if took_effect {
            self.tell(who, &What::Fault(Fault::CutAtByte));
        }
        self.left(who, link, end.session, left);
        count > 0 || finish
    }

    pub(super) fn left(&mut self, who: Who, link: u64, session: u64, messages: Vec<(bool, Vec<u8>)>) {
        for (acked, payload) in messages {
            let left = What::Left {
                link,
                session,
                acked,
                payload,
            };
            self.tell(who, &left);
        }
    }

    /// What an end has ready to be written counts as if it had left: it may be written at any moment.
    pub(super) fn hear(&mut self, who: Who, link: u64, end: &mut End) {
        let left = end.tap.hear(end.conn.output());
        self.left(who, link, end.session, left);
    }

    fn read(&mut self, link: u64, side: Side, end: &mut End) -> bool {
        let now = self.now;
        let Some(piece) = self
            .links
            .get_mut(&link)
            .and_then(|link| link.out(side.other()).read(now))
        else {
            return false;
        };
        let Some(piece) = piece else {
            let event = end.conn.handle_eof();
            self.happened(link, side, end, event);
            return true;
        };
        end.conn.handle_received(now);
        let mut input = piece.as_slice();
        let mut rx = core::mem::replace(&mut end.rx, super::Deframer::new(super::GrowBuf::new(0)));
        while let Some(frame) = rx.next(&mut input, end.conn.max_frame()) {
            let event = end.conn.handle_frame(now, frame);
            self.happened(link, side, end, event);
        }
        end.rx = rx;
        true
    }

    fn happened(&mut self, link: u64, side: Side, end: &mut End, event: Option<Event<'_>>) {
        let Some(event) = event else { return };
        let who = self.who(link, side);
        match event {
            Event::Proposed(_) => self.admit(link, end),
            Event::Connected(_) => self.opened(link, side, end),
            Event::Message(message) => {
                assert!(end.opened, "a message before the connection has opened");
                let kept = end.conn.keep(message);
                end.queue.push_back(kept);
            }
            Event::Dropped(cause) => {
                end.queue.clear();
                self.tell(
                    who,
                    &What::Dropped {
                        link,
                        cause: cause.clone(),
                        unconfirmed: end.conn.unconfirmed(),
                    },
                );
                if side == Side::Client {
                    self.client_dropped(link, &cause);
                }
            }
            Event::GoingAway(_) | Event::Acknowledged | Event::NextKey(..) | Event::NextKeyRemembered(..) => {}
        }
    }

    /// Whose end it is.
    pub(super) fn who(&self, link: u64, side: Side) -> Who {
        let (client, key) = self.links.get(&link).map_or((0, 0), |link| (link.client, link.key));
        match side {
            Side::Client => Who::Client(client),
            Side::Service => Who::Service(key),
        }
    }

    pub(super) fn opened(&mut self, link: u64, side: Side, end: &mut End) {
        end.opened = true;
        let who = self.who(link, side);
        if side == Side::Client {
            self.client_opened(link);
        }
        // What was agreed is kept before anything follows from it (PROTOCOL Q-6).
        self.sync_end(who, end);
        let resumption = end.conn.resumption();
        self.tell(
            who,
            &What::Opened {
                link,
                session: end.session,
                resumption,
            },
        );
    }

    /// An end is over: its session waits for the next.
    fn over(&mut self, link: u64, side: Side, mut end: End) {
        let (who, now) = (self.who(link, side), self.now);
        if let Some(link) = self.links.get_mut(&link) {
            link.out(side).end(now);
        }
        self.detach(who, link, &mut end);
        if let Some(party) = self.parties.get_mut(&who)
            && party.link == Some(link)
        {
            party.link = None;
        }
    }

    /// Takes the session out of a connection that counts no more.
    pub(super) fn detach(&mut self, who: Who, link: u64, end: &mut End) {
        end.queue.clear();
        self.hear(who, link, end);
        let Some(session) = end.conn.take_session() else { return };
        if !end.is_kept {
            self.tell(who, &What::Gone { session: end.session });
            return;
        }
        let now = self.now;
        let party = self.parties.entry(who).or_default();
        party.lane.take_over(end.session, &session, false);
        party.since = now;
        party.absent = Some((end.session, session));
    }
}

impl Party {
    /// When the session is to be forgotten.
    pub(super) fn is_stale(&self, now: Instant, retention: core::time::Duration) -> bool {
        self.absent.is_some() && self.since.after(retention) <= now
    }
}
