//! A client, a service, the connections between them, and what can happen next.

use core::hash::{Hash, Hasher};
use std::collections::VecDeque;
use std::rc::Rc;

use diset_proto::limits::ACK_DELAY;
use diset_proto::store::{HeapReplay, Inbox};
use diset_proto::{
    Cause, Code, Connection, GrowBuf, Instant, Kept, MessageOf, Outcome, Phase, Progress, Schema, Session,
    define_service,
};
use serde::{Deserialize, Serialize};

use super::given::{Action, Bounds, Broken, Side};
use super::link::Link;
use super::oracle::Told;
use super::shared::Shared;

#[derive(Serialize, Deserialize, Schema)]
pub(crate) struct Reading {
    pub(crate) value: u32,
}

define_service! { pub Meter = "Test/Meter"; both: [Reading] }

/// An inbox of either kind. What a durable one keeps are the messages that wait at the [`App`].
#[derive(Debug, Clone, Copy, Hash)]
pub(crate) struct Kind {
    pub(crate) durable: bool,
}

impl Inbox for Kind {
    fn is_durable(&self) -> bool {
        self.durable
    }
}

pub(crate) type State = Session<HeapReplay, Kind>;
pub(crate) type Conn = Connection<GrowBuf, Option<Box<State>>>;

/// The clock stands still, so that states that differ in nothing else are the same. It is
/// later only for the timer of acknowledgements.
pub(crate) const NOW: Instant = Instant::from_millis(1);

fn later() -> Instant {
    NOW.after(ACK_DELAY)
}

/// One end of a connection.
#[derive(Clone, Hash)]
pub(crate) struct End {
    pub(crate) link: usize,
    pub(crate) side: Side,
    pub(crate) conn: Conn,
}

/// A message at an application: it waits for its handler, or is in it.
#[derive(Clone)]
pub(crate) struct Task {
    pub(crate) link: usize,
    /// The session in which it came.
    pub(crate) began: u64,
    pub(crate) kept: Rc<Kept>,
}

impl Task {
    pub(crate) fn number(&self) -> u64 {
        self.kept.message().number_in_session().unwrap()
    }

    pub(crate) fn value(&self) -> u32 {
        self.kept.message().decode::<Reading>().unwrap().value
    }
}

impl Hash for Task {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.link, self.began, self.number(), self.value()).hash(state);
        self.kept.message().maybe_repeated().hash(state);
    }
}

/// One application: a lane of handlers, one at a time (PROTOCOL D-2).
#[derive(Clone, Default, Hash)]
pub(crate) struct App {
    pub(crate) waiting: VecDeque<Task>,
    pub(crate) running: Option<Task>,
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) bounds: Bounds,
    pub(crate) ends: Vec<Shared<End>>,
    pub(crate) links: Vec<Shared<Link>>,
    /// Sessions without a connection.
    pub(crate) away: [Option<Shared<Box<State>>>; 2],
    pub(crate) apps: [Shared<App>; 2],
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
            links,
            away,
            apps,
            told,
            has_token,
            lost,
            admitted,
            log: _,
        } = self;
        let Bounds {
            messages: _,
            cuts,
            time_outs,
            failures,
            go_aways,
            forgets,
            durable: _,
            unsure: _,
            lazy: _,
            brisk: _,
            overtaking: _,
            reduced: _,
            broken: _,
        } = bounds;
        (cuts, time_outs, failures, go_aways, forgets).hash(state);
        (ends, links, away, apps).hash(state);
        (told, has_token, lost, admitted).hash(state);
    }
}

impl World {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let mut world = Self {
            bounds,
            ends: Vec::new(),
            links: Vec::new(),
            away: [None, None],
            apps: Default::default(),
            told: Default::default(),
            has_token: false,
            lost: false,
            admitted: 0,
            log: None,
        };
        world.away[0] = Some(Shared::new(world.fresh(Side::Client)));
        world
    }

    pub(crate) fn fresh(&self, side: Side) -> Box<State> {
        let durable = self.bounds.durable[side as usize];
        Box::new(Session::new(HeapReplay::new(10, 1000), Kind { durable }))
    }

    /// All that can happen now.
    pub(crate) fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        let bounds = &self.bounds;
        for side in Side::BOTH {
            let app = &self.apps[side as usize];
            if self.told[side as usize].sent() < bounds.messages[side as usize] && self.session(side).is_some() {
                actions.push(Action::Send(side));
            }
            if app.running.is_some() {
                actions.push(Action::Finish(side));
                if bounds.failures[side as usize] > 0 {
                    actions.push(Action::Fail(side));
                }
            } else if !app.waiting.is_empty() {
                actions.push(Action::Begin(side));
            }
        }
        if !self.ends.iter().any(|end| end.side == Side::Client) {
            actions.push(Action::Connect);
        }
        for end in &self.ends {
            let End { link, side, ref conn } = **end;
            let way = &self.links[link];
            if !bounds.overtaking && self.waits_for_an_older(link, side) {
                continue;
            }
            if bounds.lazy && may_transmit(conn) {
                actions.push(Action::Transmit(link, side));
            }
            if way.is_carrying(side) {
                actions.push(Action::Deliver(link, side));
            }
            let app = &self.apps[side as usize];
            let idle = !way.is_carrying(side) && app.running.is_none() && app.waiting.is_empty();
            if (idle || !bounds.brisk) && conn.wake().is_some_and(|wake| wake <= later()) {
                actions.push(Action::Timer(link, side));
            }
            if way.shows_end(side) {
                actions.push(Action::End(link, side));
            } else if way.is_whole() && bounds.cuts > 0 {
                actions.push(Action::Cut(link, side));
            }
            if way.is_whole() && bounds.time_outs > 0 {
                actions.push(Action::TimeOut(link, side));
            }
            if bounds.go_aways[side as usize] > 0 && conn.phase() == Phase::Open {
                actions.push(Action::GoAway(side));
            }
        }
        if bounds.forgets > 0 && self.away[1].is_some() {
            actions.push(Action::Forget);
        }
        actions
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
        let client = self.ends.iter().find(|end| end.side == Side::Client);
        let way = client.map(|client| &self.links[client.link]);
        if way.is_some_and(|way| way.has_input(Side::Client)) {
            actions.retain(|action| action.side() == Side::Client);
            return actions;
        }
        let stays = client.is_some_and(|client| client.conn.phase() == Phase::Open) && bounds.cuts == 0;
        let stays = stays && bounds.time_outs == 0 && bounds.failures == [0, 0] && bounds.go_aways == [0, 0];
        let oldest = self.ends.iter().find(|end| end.side == Side::Service);
        let comes = match oldest {
            Some(end) if !bounds.overtaking => self.links[end.link].has_input(Side::Service),
            _ => stays && way.is_some_and(|way| way.has_input(Side::Service)),
        };
        if comes {
            actions.retain(|action| action.side() == Side::Service);
        }
        actions
    }

    /// Whether the service has not seen yet that the connection before this one has ended.
    fn waits_for_an_older(&self, link: usize, side: Side) -> bool {
        let older = |end: &&Shared<End>| end.side == side && end.link < link;
        side == Side::Service && self.ends.iter().any(|end| older(&end))
    }

    /// Whether nothing can happen any more, unless something breaks.
    pub(crate) fn is_at_end(&self) -> bool {
        self.actions().iter().all(|action| match action {
            Action::Cut(..) | Action::TimeOut(..) | Action::GoAway(_) | Action::Forget => true,
            // It writes what a deadline needs, or nothing.
            Action::Transmit(link, side) => {
                let mut world = self.clone();
                world.log = None;
                world.transmit(*link, *side);
                !world.links[*link].is_carrying(side.other()) || self.links[*link].is_carrying(side.other())
            }
            _ => false,
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
            Action::Connect => self.connect(),
            Action::Transmit(link, side) => self.transmit(link, side),
            Action::Deliver(link, side) => self.deliver(link, side)?,
            Action::Timer(link, side) => {
                let end = self.end(link, side);
                let event = self.ends[end].conn.handle_time(later());
                assert!(event.is_none(), "the timer ends nothing");
                self.transmit(link, side);
            }
            Action::Cut(link, side) => {
                self.bounds.cuts -= 1;
                self.links[link].cut();
                self.ended(link, side)?;
            }
            Action::End(link, side) => self.ended(link, side)?,
            Action::TimeOut(link, side) => self.time_out(link, side)?,
            Action::Begin(side) => self.begin(side)?,
            Action::Finish(side) => self.finish(side, Outcome::Ok),
            Action::Fail(side) => {
                self.bounds.failures[side as usize] -= 1;
                self.finish(side, Outcome::Failed(Code::HandlerFailed));
            }
            Action::GoAway(side) => self.go_away(side),
            Action::Forget => {
                self.bounds.forgets -= 1;
                self.away[1] = None;
                self.lost = true;
            }
        }
        for place in (0..self.ends.len()).rev() {
            if self.ends[place].side == action.side() {
                self.drive(place)?;
            }
        }
        self.clear_up();
        if self.bounds.brisk {
            for side in Side::BOTH {
                let app = &self.apps[side as usize];
                if app.running.is_none() && !app.waiting.is_empty() {
                    self.begin(side)?;
                }
            }
        }
        self.collect(action.side(), false)
    }

    /// What an end does by itself, at once.
    fn drive(&mut self, place: usize) -> Result<(), String> {
        let End { link, side, ref conn } = *self.ends[place];
        if !self.bounds.lazy && may_transmit(conn) {
            self.transmit(link, side);
        }
        while self.ends[place].conn.wake().is_some_and(|wake| wake <= NOW) {
            if let Some(diset_proto::Event::Dropped(cause)) = self.ends[place].conn.handle_time(NOW) {
                Self::check_cause(side, &cause)?;
            }
            if !self.bounds.lazy && may_transmit(&self.ends[place].conn) {
                self.transmit(link, side);
            }
        }
        match self.ends[place].conn.progress() {
            Progress::Running => {}
            Progress::Finish if self.links[link].has_finished(side) => {}
            Progress::Finish => self.links[link].finish(side),
            Progress::Over => self.leave(place),
        }
        Ok(())
    }

    /// Ends of the service without a session, to which nothing comes any more and nobody listens, can
    /// do nothing.
    fn clear_up(&mut self) {
        for place in (0..self.ends.len()).rev() {
            let End { link, side, ref conn } = *self.ends[place];
            let way = &self.links[link];
            let is_idle = conn.session().is_none() && !way.is_carrying(side) && way.has_left(side.other());
            if side == Side::Service && is_idle {
                self.leave(place);
            }
        }
    }

    /// The end is gone; its session stays.
    pub(crate) fn leave(&mut self, place: usize) {
        let End { link, side, conn } = self.ends.remove(place).take();
        self.links[link].leave(side);
        if let Some(session) = conn.into_session() {
            self.detached(link, side);
            if self.bounds.broken != Some(Broken::ForgetsTheSession) || side == Side::Client {
                self.away[side as usize] = Some(Shared::new(session));
            }
        }
    }

    /// A session has left its connection: what has not begun must not, it comes again. Unless it is
    /// kept.
    pub(crate) fn detached(&mut self, link: usize, side: Side) {
        let stays = self.bounds.durable[side as usize] || self.bounds.broken == Some(Broken::HandlesWhatComesAgain);
        if !stays && !self.apps[side as usize].waiting.is_empty() {
            self.apps[side as usize].waiting.retain(|task| task.link != link);
        }
    }

    pub(crate) fn check_cause(side: Side, cause: &Cause) -> Result<(), String> {
        match cause {
            Cause::Lost | Cause::WentAway(_) | Cause::Silent | Cause::HandshakeTimeout => return Ok(()),
            Cause::PeerError(notice) | Cause::OurError(notice)
                if matches!(notice.code(), Code::HandlerFailed | Code::Displaced) =>
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
            let open = |end: &&Shared<End>| end.side == side && end.conn.phase() == Phase::Open;
            let Some(end) = self.ends.iter().find(open) else {
                return Err(format!("the {side} is not connected"));
            };
            let session = end.conn.session().ok_or("there is no session")?;
            let kept = diset_proto::store::Replay::len(session.replay());
            if kept > 0 {
                return Err(format!("the {side} still keeps {kept} messages"));
            }
            let sent = self.told[side as usize].sent() as u64;
            let outcomes = session.delivered();
            if outcomes.received != outcomes.processed || outcomes.processed > sent {
                return Err(format!("the {side} counts {outcomes:?}, it sent {sent}"));
            }
            if !self.apps[side as usize].waiting.is_empty() {
                return Err(format!("messages wait at the {side}"));
            }
        }
        Ok(())
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(line());
        }
    }

    pub(crate) fn end(&self, link: usize, side: Side) -> usize {
        let is_it = |end: &Shared<End>| end.link == link && end.side == side;
        self.ends.iter().position(is_it).expect("this end is there")
    }

    /// The end that has the session of this side.
    pub(crate) fn holder(&self, side: Side) -> Option<usize> {
        let holds = |end: &Shared<End>| end.side == side && end.conn.session().is_some();
        self.ends.iter().position(holds)
    }

    pub(crate) fn session(&self, side: Side) -> Option<&State> {
        match self.holder(side) {
            Some(place) => self.ends[place].conn.session(),
            None => self.away[side as usize].as_ref().map(|session| &***session),
        }
    }

    pub(crate) fn session_mut(&mut self, side: Side) -> Option<&mut State> {
        match self.holder(side) {
            Some(place) => self.ends[place].conn.session_mut(),
            None => self.away[side as usize].as_mut().map(|session| &mut ***session),
        }
    }
}

fn may_transmit(conn: &Conn) -> bool {
    let parting = matches!(conn.phase(), Phase::Leaving | Phase::Draining);
    parting || !conn.is_output_empty()
}

/// The number of the only message.
pub(crate) const READING: u8 = <Reading as MessageOf<Meter>>::NUMBER;
