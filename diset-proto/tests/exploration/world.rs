//! A client, a service, the connections between them, and what can happen next.

use core::hash::{Hash, Hasher};
use diset_proto::drive::Io;
use diset_proto::store::Replay as _;
use diset_proto::{Cause, Code, Instant, Phase};

use super::end::{End, NOW, State, fresh, later};
use super::given::{Action, Bounds, Handler, Side};
use super::link::Link;
use super::oracle::Told;
use super::shared::Shared;

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) bounds: Bounds,
    /// The halves of each side that have its session.
    pub(crate) ends: [Shared<End>; 2],
    /// Connections on which the service waits for a proposal.
    pub(crate) greetings: Vec<usize>,
    pub(crate) links: Vec<Shared<Link>>,
    /// What became of the messages that each side sends.
    pub(crate) told: [Shared<Told>; 2],
    /// The client has read an acceptance, so its session must go on.
    pub(crate) has_token: bool,
    /// The service has lost its memory, and some of what it handled may come again.
    pub(crate) lost: bool,
    /// How many clients were admitted.
    pub(crate) admitted: u8,
    /// What happened, when it is to be shown.
    pub(crate) log: Option<Vec<String>>,
}

/// All but the log.
impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self {
            bounds,
            ends,
            greetings,
            links,
            told,
            has_token,
            lost,
            admitted,
            log: _,
        } = self;
        let Bounds {
            messages: _,
            plain,
            cuts,
            time_outs,
            failures,
            retries,
            drops,
            expiries,
            go_aways,
            forgets,
            durable: _,
            unsure: _,
            at_once: _,
            lazy: _,
            brisk: _,
            overtaking: _,
            reduced: _,
            broken: _,
        } = bounds;
        (
            plain, cuts, time_outs, failures, retries, drops, expiries, go_aways, forgets,
        )
            .hash(state);
        (ends, greetings, links).hash(state);
        (told, has_token, lost, admitted).hash(state);
    }
}

impl World {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let [client, _] = bounds.durable;
        Self {
            bounds,
            ends: [Some(fresh(client)), None].map(|session| Shared::new(End::new(session))),
            greetings: Vec::new(),
            links: Vec::new(),
            told: Default::default(),
            has_token: false,
            lost: false,
            admitted: 0,
            log: None,
        }
    }

    pub(crate) fn session(&self, side: Side) -> Option<&State> {
        self.ends[side as usize].session()
    }

    /// All that can happen now.
    pub(crate) fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        let bounds = &self.bounds;
        for side in Side::BOTH {
            let end = &self.ends[side as usize];
            if self.told[side as usize].sent() < bounds.messages[side as usize] && self.session(side).is_some() {
                actions.push(Action::Send(side));
            }
            if bounds.plain[side as usize] > 0 && end.is_open() {
                actions.push(Action::SendPlain(side));
            }
            if end.running.is_some() {
                let ways = [Handler::Returns, Handler::Fails, Handler::Retries];
                actions.extend(self.possible(side, &ways).map(|way| Action::Finish(side, way)));
                if bounds.expiries[side as usize] > 0 {
                    actions.push(Action::Expire(side));
                }
            } else if end.ready {
                actions.extend(self.handlers(side).map(|handler| Action::Begin(side, handler)));
            } else if end.is_tried_again() {
                actions.push(Action::Again(side));
            }
        }
        if self.ends[0].link.is_none() {
            actions.push(Action::Connect);
        }
        for side in Side::BOTH {
            let Some(link) = self.ends[side as usize].link else {
                continue;
            };
            if bounds.overtaking || !self.waits_for_an_older(link, side) {
                self.actions_of_end(link, side, &mut actions);
            }
        }
        for &link in &self.greetings {
            if !bounds.overtaking && self.waits_for_an_older(link, Side::Service) {
                continue;
            }
            if self.links[link].is_carrying(Side::Service) {
                actions.push(Action::Deliver(link, Side::Service, Handler::Waits));
            }
            self.ways_to_end(link, Side::Service, &mut actions);
        }
        let home = &self.ends[1];
        if bounds.forgets > 0 && home.session().is_some() && home.link.is_none() {
            actions.push(Action::Forget);
        }
        actions
    }

    /// What can happen to the halves of a side on their connection.
    fn actions_of_end(&self, link: usize, side: Side, actions: &mut Vec<Action>) {
        let (bounds, way, end) = (&self.bounds, &self.links[link], &self.ends[side as usize]);
        if bounds.lazy && end.due {
            actions.push(Action::Transmit(link, side));
        }
        // What waits, and may begin, begins before anything is read: to wait for that is an action of its own.
        if way.is_carrying(side) && !end.ready {
            if end.running.is_none() && way.is_message(side) {
                let handlers = self.handlers(side);
                actions.extend(handlers.map(|handler| Action::Deliver(link, side, handler)));
            } else {
                actions.push(Action::Deliver(link, side, Handler::Waits));
            }
        }
        let idle = !way.is_carrying(side) && end.running.is_none() && !end.ready;
        if (idle || !bounds.brisk) && end.timer {
            actions.push(Action::Timer(link, side));
        }
        self.ways_to_end(link, side, actions);
        if bounds.go_aways[side as usize] > 0 && end.is_open() {
            actions.push(Action::GoAway(side));
        }
    }

    /// How a connection can come to its end at this side.
    fn ways_to_end(&self, link: usize, side: Side, actions: &mut Vec<Action>) {
        let (bounds, way) = (&self.bounds, &self.links[link]);
        if way.shows_end(side) {
            actions.push(Action::End(link, side));
        } else if way.is_whole() && bounds.cuts > 0 {
            actions.push(Action::Cut(link, side));
        }
        if way.is_whole() && bounds.time_outs > 0 {
            actions.push(Action::TimeOut(link, side));
        }
    }

    /// What a handler of this side can do with its message now.
    fn handlers(&self, side: Side) -> impl Iterator<Item = Handler> {
        let ways: &[Handler] = if self.bounds.at_once {
            &[
                Handler::Waits,
                Handler::Returns,
                Handler::Fails,
                Handler::Retries,
                Handler::Drops,
            ]
        } else {
            &[Handler::Waits, Handler::Drops]
        };
        self.possible(side, ways)
    }

    fn possible<'h>(&self, side: Side, ways: &'h [Handler]) -> impl Iterator<Item = Handler> + use<'h> {
        let mut bounds = self.bounds;
        ways.iter()
            .copied()
            .filter(move |handler| bounds.left(side, *handler).is_none_or(|left| *left > 0))
    }

    /// What is tried from here.
    pub(crate) fn tried(&self) -> Vec<Action> {
        if self.bounds.reduced {
            self.enough_actions()
        } else {
            self.actions()
        }
    }

    /// Enough of what can happen now: each run that is left out has the same actions at each side as
    /// one that is not, in the same order, and so ends in the same state.
    ///
    /// An action belongs to one side: it changes what that side has, takes from the front of what
    /// comes to it, or puts behind what goes to the other. So actions of different sides can be swapped, unless
    /// one makes the other possible. As long as the next frame, or the end, has come to the
    /// client, nothing that the service does makes anything more possible for the client: then the actions
    /// of the client will do, those of the service can follow. For the service that holds
    /// only when the client cannot leave, or a new connection could overtake what is under way.
    /// (A cut is as if each side saw it by itself; only the first to see it pays.) `all_ends_are_reached` holds
    /// it against all actions.
    fn enough_actions(&self) -> Vec<Action> {
        let mut actions = self.actions();
        let bounds = &self.bounds;
        let client = &self.ends[0];
        let way = client.link.map(|link| &self.links[link]);
        if way.is_some_and(|way| way.has_input(Side::Client)) {
            actions.retain(|action| action.side() == Side::Client);
            return actions;
        }
        let stays = client.is_open() && bounds.cuts == 0 && bounds.time_outs == 0 && bounds.go_aways == [0, 0];
        let stays = stays && [bounds.failures, bounds.drops, bounds.expiries] == [[0, 0]; 3];
        let comes = match self.oldest() {
            Some(link) if !bounds.overtaking => self.links[link].has_input(Side::Service),
            _ => stays && way.is_some_and(|way| way.has_input(Side::Service)),
        };
        if comes {
            actions.retain(|action| action.side() == Side::Service);
        }
        actions
    }

    /// The oldest connection that is there for the service.
    fn oldest(&self) -> Option<usize> {
        self.greetings.iter().copied().chain(self.ends[1].link).min()
    }

    /// Whether the service has not seen yet that the connection before this one has ended.
    fn waits_for_an_older(&self, link: usize, side: Side) -> bool {
        side == Side::Service && self.oldest().is_some_and(|oldest| oldest < link)
    }

    /// Whether nothing can happen any more, unless something breaks.
    pub(crate) fn is_at_end(&self) -> bool {
        self.actions().iter().all(|action| {
            matches!(
                action,
                Action::Cut(..) | Action::TimeOut(..) | Action::GoAway(_) | Action::Forget
            )
        })
    }

    /// Lets it happen.
    ///
    /// # Errors
    /// What is wrong then.
    pub(crate) fn apply(&mut self, action: Action) -> Result<(), String> {
        self.note(|| action.to_string());
        match action {
            Action::Send(side) => self.send(side)?,
            Action::SendPlain(side) => self.send_plain(side),
            Action::Connect => self.connect(),
            Action::Transmit(_, side) => {
                self.transmit(side, NOW);
            }
            Action::Deliver(link, side, handler) => self.deliver(link, side, handler)?,
            Action::Timer(_, side) => {
                if self.bounds.lazy {
                    // It begins to run with a turn.
                    self.transmit(side, NOW);
                }
                self.transmit(side, later());
            }
            Action::Cut(link, side) => {
                self.bounds.cuts -= 1;
                self.links[link].cut();
                self.ended(link, side);
            }
            Action::End(link, side) => self.ended(link, side),
            Action::TimeOut(link, side) => self.time_out(link, side)?,
            Action::Begin(side, handler) => self.begin(side, NOW, handler)?,
            Action::Again(side) => self.begin(side, super::end::again(), Handler::Waits)?,
            Action::Finish(side, handler) => self.finish(side, handler),
            Action::Expire(side) => self.expire(side),
            Action::GoAway(side) => self.go_away(side),
            Action::Forget => self.forget(),
        }
        self.drive(action.side())?;
        self.clear_up();
        if self.bounds.brisk {
            for side in Side::BOTH {
                while self.ends[side as usize].ready {
                    self.begin(side, NOW, Handler::Waits)?;
                    self.drive(side)?;
                }
            }
        }
        if self.collect(action.side())? {
            self.drive(action.side())?;
        }
        Ok(())
    }

    /// What a side does by itself, at once.
    pub(crate) fn drive(&mut self, side: Side) -> Result<(), String> {
        self.turn(side);
        while let Some(seen) = self.ends[side as usize].news() {
            self.learn(side, seen.as_ref())?;
            self.turn(side);
        }
        Ok(())
    }

    /// A turn, which shows what is next; nothing leaves by that if it is to leave as late as it can.
    fn turn(&mut self, side: Side) {
        if !self.bounds.lazy || self.is_ending(side) {
            return self.transmit(side, NOW);
        }
        let end = &mut self.ends[side as usize];
        let mut copy = (**end).clone();
        let turn = copy.rx.turn(NOW, &mut copy.tx);
        let finished = copy.link.is_none_or(|link| self.links[link].has_finished(side));
        let ends = turn.io == Io::Over || turn.io == Io::Finish && !finished;
        end.turned(&turn, copy.conn().wake());
        end.due = copy.link.is_some() && (ends || !copy.tx.output().is_empty());
    }

    /// Whether the connection of this side is over, or this side has said that it is.
    pub(crate) fn is_ending(&self, side: Side) -> bool {
        let phase = self.ends[side as usize].conn().phase();
        matches!(phase, Phase::Closing | Phase::Closed)
    }

    /// A turn, and another one as long as something leaves.
    pub(crate) fn transmit(&mut self, side: Side, now: Instant) {
        let end = &mut *self.ends[side as usize];
        let turn = loop {
            let turn = end.rx.turn(now, &mut end.tx);
            let bytes = end.tx.output();
            let count = bytes.len();
            if count == 0 {
                break turn;
            }
            if let Some(link) = end.link {
                self.links[link].carry(side.other(), bytes);
            }
            end.tx.wrote(count);
        };
        let wake = end.conn().wake();
        end.turned(&turn, wake);
        end.due = false;
        let Some(link) = end.link else { return };
        match turn.io {
            Io::Finish if !self.links[link].has_finished(side) => self.links[link].finish(side),
            Io::Run | Io::Finish => {}
            Io::Over => self.leave(side),
        }
    }

    /// Greetings to which nothing comes any more, and nobody listens, can do nothing.
    fn clear_up(&mut self) {
        for place in (0..self.greetings.len()).rev() {
            let way = &mut self.links[self.greetings[place]];
            if !way.is_carrying(Side::Service) && way.has_left(Side::Client) {
                way.leave(Side::Service);
                self.greetings.remove(place);
            }
        }
    }

    /// The halves have no connection any more.
    pub(crate) fn leave(&mut self, side: Side) {
        let end = &mut self.ends[side as usize];
        if let Some(link) = end.link.take() {
            end.due = false;
            self.links[link].leave(side);
        }
    }

    pub(crate) fn check_cause(side: Side, cause: &Cause) -> Result<(), String> {
        match cause {
            Cause::Lost | Cause::WentAway(_) | Cause::Silent | Cause::HandshakeTimeout => return Ok(()),
            Cause::PeerError(notice) | Cause::OurError(notice)
                if matches!(notice.code(), Code::HandlerFailed | Code::NoHandler | Code::Displaced) =>
            {
                return Ok(());
            }
            Cause::PeerError(notice) if matches!(notice.code(), Code::Silent | Code::HandshakeTimeout) => {
                return Ok(());
            }
            _ => {}
        }
        Err(format!("the connection ends at the {side}: {cause}"))
    }

    /// Each message has come to a good end, and the two sides agree.
    pub(crate) fn check_end(&self) -> Result<(), String> {
        for side in Side::BOTH {
            self.told[side as usize].check_end(side, self.bounds.unsure)?;
            let end = &self.ends[side as usize];
            if !end.is_open() {
                return Err(format!("the {side} is not connected"));
            }
            let session = end.session().ok_or("there is no session")?;
            if end.plain.iter().any(|(_, waiting)| *waiting > 0) || end.running.is_some() {
                return Err(format!("messages wait at the {side}: {:?}", end.plain));
            }
            let kept = session.replay().len();
            if kept > 0 {
                return Err(format!("the {side} still keeps {kept} messages"));
            }
            let sent = self.told[side as usize].sent() as u64;
            let outcomes = session.delivered();
            if outcomes.received != outcomes.processed || outcomes.processed > sent {
                return Err(format!("the {side} counts {outcomes:?}, it sent {sent}"));
            }
        }
        Ok(())
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(line());
        }
    }
}
