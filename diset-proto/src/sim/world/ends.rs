//! What happens at one end of a connection: time, bytes out, bytes in, and what follows.

use alloc::vec::Vec;

use super::link::{End, Side};
use super::{App, Fault, Party, What, Who, World};
use crate::drive::Io;
use crate::time::Instant;

impl<A: App> World<A> {
    /// One turn of one end; whether anything happened.
    pub(super) fn turn_end(&mut self, link: u64, side: Side) -> bool {
        let Some(mut end) = self.links.get_mut(&link).and_then(|link| link.end(side).take()) else {
            return false;
        };
        let who = end.who;
        self.hear(who, link, &mut end);
        if end.held && self.parties.get(&who).is_none_or(|party| party.strays.is_empty()) {
            end.held = false;
            end.rx.release(&mut end.tx);
        }
        let mut busy = self.hear_events(link, side, &mut end, &[]);
        busy |= self.write(link, side, &mut end);
        busy |= self.read(link, side, &mut end);
        busy |= self.write(link, side, &mut end);
        let turn = end.rx.turn(self.now, &mut end.tx);
        end.wake = turn.wake;
        self.look(link, side, &mut end);
        if turn.io == Io::Over {
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
        let turn = end.rx.turn(now, &mut end.tx);
        self.look(link, side, end);
        let Some(pipe) = self.links.get_mut(&link).map(|link| link.out(side)) else {
            return false;
        };
        let bytes = end.tx.output();
        // A transport that takes no more.
        let count = bytes.len().min(window.saturating_sub(pipe.under_way()));
        let left = end.tap.hear(bytes);
        let was_cut = pipe.is_cut_short();
        if let Some(bytes) = bytes.get(..count)
            && count > 0
        {
            let _ = pipe.write(now, bytes);
            end.tap.written(count);
            end.tx.wrote(count);
        }
        let took_effect = pipe.is_cut_short() && !was_cut;
        let finish = turn.io != Io::Run && count == 0 && !end.finished;
        if finish {
            end.finished = true;
            pipe.end(now);
        }
        let who = end.who;
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
        let left = end.tap.hear(end.tx.output());
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
        match piece {
            None => {
                end.rx.ended(now, &mut end.tx);
                self.hear_events(link, side, end, &[]);
            }
            Some(piece) => {
                self.hear_events(link, side, end, &piece);
            }
        }
        true
    }

    /// That a connection is open, or over, shows at once, whatever has its turn.
    pub(super) fn look(&mut self, link: u64, side: Side, end: &mut End) {
        let conn = end.tx.connection();
        if !end.opened && conn.trid().is_some() {
            self.opened(link, side, end);
        }
        let conn = end.tx.connection();
        if let Some(cause) = conn.cause().filter(|_| !end.dropped) {
            end.dropped = true;
            let dropped = What::Dropped {
                link,
                cause: cause.clone(),
                unconfirmed: conn.unconfirmed(),
            };
            let cause = cause.clone();
            self.tell(end.who, &dropped);
            if side == Side::Client {
                self.client_dropped(link, &cause);
            }
        }
    }

    pub(super) fn opened(&mut self, link: u64, side: Side, end: &mut End) {
        end.opened = true;
        let who = end.who;
        if side == Side::Client {
            self.client_opened(link);
        }
        // What was agreed is kept before anything follows from it (PROTOCOL Q-6).
        self.sync_end(who, end);
        let resumption = end.tx.connection().resumption();
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
        let (who, now) = (end.who, self.now);
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
        self.hear(who, link, end);
        let (session, moved) = end.hand_over(self.now);
        let Some(session) = session else { return };
        let is_kept = end.is_kept;
        if !is_kept {
            self.tell(who, &What::Gone { session: end.session });
        }
        let mut absent = End::new(&self.setup, who, Some((end.session, session)));
        absent.gone = !is_kept;
        absent.take_over(moved);
        let now = self.now;
        let party = self.parties.entry(who).or_default();
        if is_kept {
            party.since = now;
            party.absent = Some(absent);
        } else {
            party.strays.push(absent);
        }
    }
}

impl Party {
    /// When the session is to be forgotten.
    pub(super) fn is_stale(&self, now: Instant, retention: core::time::Duration) -> bool {
        self.absent.is_some() && self.since.after(retention) <= now
    }
}
