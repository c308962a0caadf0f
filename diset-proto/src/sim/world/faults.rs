//! What is done to a world.

use alloc::vec::Vec;
use core::time::Duration;

use super::link::{End, Side};
use super::store::{Disk, Keeps};
use super::{App, Fault, What, Who, World};
use crate::status::{Code, Notice, RetryAfter};

impl<A: App> World<A> {
    fn fault(&mut self, who: Who, fault: Fault) {
        self.tell(who, &What::Fault(fault));
    }

    fn link_of(&self, client: usize) -> Option<u64> {
        self.parties.get(&Who::Client(client))?.link
    }

    /// The connection of a client breaks: what is under way is lost, both sides see the end.
    pub fn cut(&mut self, client: usize) {
        let Some(id) = self.link_of(client) else { return };
        self.fault(Who::Client(client), Fault::Cut);
        if let Some(link) = self.links.get_mut(&id) {
            link.to_service.cut();
            link.to_client.cut();
        }
    }

    /// The connection of a client breaks when so many more bytes were written by this side; that is told
    /// then.
    pub fn cut_after(&mut self, client: usize, side: Side, bytes: usize) {
        let Some(id) = self.link_of(client) else { return };
        if let Some(link) = self.links.get_mut(&id) {
            let pipe = link.out(side);
            pipe.cut_at(pipe.carried() + bytes);
        }
    }

    /// What this side of a client's connection writes does not arrive as long as it is stalled.
    pub fn stall(&mut self, client: usize, side: Side, stalled: bool) {
        let Some(id) = self.link_of(client) else { return };
        if stalled {
            self.fault(Who::Client(client), Fault::Stall);
        }
        if let Some(link) = self.links.get_mut(&id) {
            link.out(side).stall(stalled);
        }
    }

    /// Nothing is stalled any more.
    pub fn unstall(&mut self) {
        for link in self
            .links
            .values_mut()
            .filter(|link| link.at_client.is_some() && link.at_service.is_some())
        {
            link.to_client.stall(false);
            link.to_service.stall(false);
        }
    }

    /// This side of a client's connection sees its end; the other hears nothing any more.
    pub fn half_open(&mut self, client: usize, side: Side) {
        let Some(id) = self.link_of(client) else { return };
        self.fault(Who::Client(client), Fault::HalfOpen);
        if let Some(link) = self.links.get_mut(&id) {
            link.out(side.other()).cut();
            link.out(side).stall(true);
        }
    }

    /// A client connects anew, while its older connection seems alive.
    pub fn displace(&mut self, client: usize) {
        self.fault(Who::Client(client), Fault::Displace);
        if let Some(id) = self.link_of(client)
            && let Some(mut end) = self.links.get_mut(&id).and_then(|link| link.at_client.take())
        {
            self.detach(Who::Client(client), id, &mut end);
            if let Some(party) = self.parties.get_mut(&Who::Client(client)) {
                party.link = None;
            }
        }
        if let Some(client) = self.clients.get_mut(client) {
            client.attempt = Some(self.now);
        }
    }

    /// The clock goes on by so much at once.
    pub fn jump(&mut self, span: Duration) {
        self.fault(Who::Service(0), Fault::ClockJump);
        self.now = self.now.after(span);
    }

    /// This side says go-away.
    pub fn go_away(&mut self, who: Who, deadline: Duration) {
        let now = self.now;
        self.fault(who, Fault::GoAway);
        let retry = RetryAfter::new(Duration::from_millis(50), Duration::from_millis(200));
        if let Some(end) = self.end_of(who) {
            let notice = Notice::new(Code::Shutdown).with_retry(retry);
            let _ = end.tx.go_away(now, notice, deadline);
        }
    }

    /// This side ends its connection.
    pub fn disconnect(&mut self, who: Who) {
        self.fault(who, Fault::Disconnect);
        if let Some(end) = self.end_of(who) {
            let (left, session) = (end.tap.hear(end.tx.output()), end.session);
            end.tx.disconnect(Notice::new(Code::Disconnected));
            let link = self.parties.get(&who).and_then(|party| party.link).unwrap_or(0);
            self.left(who, link, session, left);
        }
    }

    /// The disk keeps what the session of this side is now.
    pub fn sync(&mut self, who: Who) {
        if !self.stores(who).late || self.stores(who).keeps == Keeps::Nothing {
            return;
        }
        self.fault(who, Fault::Sync);
        let kept = match self.end_of(who) {
            Some(end) if !end.is_kept => None,
            _ => self.session(who).map(|(_, session)| Disk::keep(session)),
        };
        if let Some(kept) = kept
            && let Some(party) = self.parties.get_mut(&who)
        {
            party.disk = Some(kept);
        }
    }

    /// Every disk keeps what is.
    pub fn sync_all(&mut self) {
        let sides: Vec<Who> = self.sides().collect();
        sides.into_iter().for_each(|who| self.sync(who));
    }

    /// The process of a client is killed and starts again, with what it had kept. `silently`: the
    /// service does not see that its connection ends.
    pub fn kill_client(&mut self, client: usize, silently: bool) {
        let who = Who::Client(client);
        self.fault(who, Fault::KillClient);
        self.lose(who, silently, true);
        let now = self.now;
        self.lives += 1;
        if let Some(client) = self.clients.get_mut(client) {
            client.life = self.lives;
            client.attempt = Some(now.after(Duration::from_millis(20)));
        }
    }

    /// A client is gone for good.
    pub fn remove_client(&mut self, client: usize) {
        self.lose(Who::Client(client), false, false);
        if let Some(client) = self.clients.get_mut(client) {
            client.attempt = None;
        }
        self.parties.remove(&Who::Client(client));
    }

    /// The service is killed and starts again: with what it had kept, or without.
    pub fn kill_service(&mut self, with_store: bool, silently: bool) {
        self.fault(Who::Service(0), Fault::KillService);
        self.lives += 1;
        self.life = self.lives;
        let services: Vec<Who> = self.sides().filter(|who| who.side() == Side::Service).collect();
        for who in services {
            self.lose(who, silently, with_store);
        }
        for link in self.links.values_mut() {
            link.lose(Side::Service, silently);
        }
    }

    /// Another process begins with a copy of what this client has kept, or has; under another principal
    /// it is a thief.
    pub fn clone_client(&mut self, client: usize, thief: Option<u8>) -> Option<Who> {
        let who = Who::Client(client);
        let late = self.stores(who).late && self.stores(who).keeps != Keeps::Nothing;
        let disk = if late {
            self.parties.get(&who)?.disk.clone()
        } else {
            self.session(who).map(|(_, session)| Disk::keep(session))
        }?;
        let (principal, identity) = *self.keys.get(self.clients.get(client)?.key)?;
        self.fault(who, Fault::Clone);
        let copy = self.client(thief.unwrap_or(principal), identity);
        self.sessions_made += 1;
        let id = self.sessions_made;
        let absent = End::new(&self.setup, copy, Some((id, disk.restore())));
        self.parties.get_mut(&copy)?.absent = Some(absent);
        Some(copy)
    }

    /// The process of this side is gone, with all but what it had kept.
    fn lose(&mut self, who: Who, silently: bool, with_store: bool) {
        let stores = self.stores(who);
        let keeps = with_store && stores.keeps != Keeps::Nothing;
        let conflict = self.end_of(who).filter(|end| !end.is_kept).map(|end| end.session);
        if let Some(session) = conflict {
            self.tell(who, &What::Gone { session });
        }
        let absent = self.parties.get_mut(&who).and_then(|party| party.absent.take());
        let kept = match (absent, conflict) {
            (Some(mut absent), _) => {
                let id = absent.session;
                absent.tx.session_mut().map(|session| (id, Disk::keep(session)))
            }
            (None, None) => self.session(who).map(|(id, session)| (id, Disk::keep(session))),
            (None, Some(_)) => None,
        };
        if let Some(id) = self.parties.get_mut(&who).and_then(|party| party.link.take()) {
            if let Some(mut end) = self.links.get_mut(&id).and_then(|link| link.end(who.side()).take()) {
                self.hear(who, id, &mut end);
            }
            if let Some(link) = self.links.get_mut(&id) {
                link.lose(who.side(), silently);
            }
        }
        let now = self.now;
        let Some(party) = self.parties.get_mut(&who) else {
            return;
        };
        party.strays.clear();
        let on_disk = party.disk.take();
        let Some((id, image)) = kept else { return };
        let disk = if stores.late { on_disk } else { Some(image) };
        let Some(disk) = disk.filter(|_| keeps) else {
            self.told.remove(&id);
            self.tell(who, &What::Gone { session: id });
            return;
        };
        let absent = End::new(&self.setup, who, Some((id, disk.restore())));
        (party.absent, party.since) = (Some(absent), now);
        let stored = disk.record.stored();
        if stores.late {
            party.disk = Some(disk);
        }
        self.told.remove(&id);
        self.tell(who, &What::Restored { session: id, stored });
    }
}
