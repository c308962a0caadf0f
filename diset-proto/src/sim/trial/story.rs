//! What is done to a world, drawn from a seed: first all kinds of things, then nothing, until it is
//! quiet.

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use super::notes::{Fate, Large, Notes, Secret, Small};
use super::oracle::Oracle;
use crate::definition::MessageSet;
use crate::error::{Bound, SendError};
use crate::limits::{Limits, MAX_HANDSHAKE_FRAME, MIN_FRAME};
use crate::reconnect::ReconnectPolicy;
use crate::schema::MessageOf;
use crate::session::Outcome;
use crate::sim::random::Random;
use crate::sim::world::{Delivery, Keeps, Setup, Side, Stores, Who, World};
use crate::store::Unsure;

const SMALL: u8 = <Small as MessageOf<Notes>>::NUMBER;
const LARGE: u8 = <Large as MessageOf<Notes>>::NUMBER;
const SECRET: u8 = <Secret as MessageOf<Notes>>::NUMBER;

/// The principal of a thief.
const THIEF: u8 = 9;

type Play = World<Oracle>;

#[derive(Debug)]
pub(super) struct Story {
    random: Random,
    seed: u64,
    clients: usize,
    clones: Vec<usize>,
    /// A client of another principal that has come with a stolen token.
    thief: Option<usize>,
    /// How many messages of a hundred fail in some way.
    bad: u64,
}

impl Story {
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            seed,
            clients: 0,
            clones: Vec::new(),
            thief: None,
            bad: 0,
        }
    }

    pub(super) fn setup(&mut self) -> Setup {
        let random = &mut self.random;
        let tiny = random.once_in(4);
        let limits = |random: &mut Random, frame: u32| {
            let limits = Limits::CHIP
                .with_max_frame(frame)
                .with_max_silence(Duration::from_secs(2))
                .with_handshake(Duration::from_secs(3));
            let messages = 1 + random.below(3);
            if tiny {
                limits.with_credit(frame, u32::try_from(messages).unwrap_or(1))
            } else {
                limits.with_credit(4096, 64)
            }
        };
        Setup {
            seed: self.seed,
            client: limits(random, MIN_FRAME),
            service: limits(random, MAX_HANDSHAKE_FRAME),
            output: 768 + random.index(2048),
            window: if random.once_in(3) {
                64 + random.index(500)
            } else {
                4096
            },
            delay: random.millis(20),
            pieces: random.once_in(4),
            client_stores: stores(random),
            service_stores: stores(random),
            // Longer than a client waits between two attempts, or it would never go on.
            retention: Duration::from_secs(20 + random.below(110)),
            sessions: if random.once_in(12) { 1 } else { 10 },
            proven: !random.once_in(6),
            reconnect: ReconnectPolicy {
                base: Duration::from_millis(100),
                max: Duration::from_secs(8),
                ..ReconnectPolicy::DEFAULT
            },
            forbidden: MessageSet::EMPTY,
            // A full inbox ends a link at once, so that with callbacks nothing of it would ever be handled.
            callback: Duration::ZERO,
        }
    }

    /// All of it.
    pub(super) fn play(&mut self, world: &mut Play) {
        world.app.slow = 2 + self.random.below(3) * 150;
        self.bad = if self.random.once_in(3) { 8 } else { 1 };
        self.clients = 1 + self.random.index(3);
        for client in 0..self.clients {
            // Two of one principal, one with the same identity under another.
            let who = world.client(u8::from(client == 2), u8::from(client == 1));
            world.app.comes(who, world.service_of(client));
        }
        let steps = 30 + self.random.below(60);
        for _ in 0..steps {
            let span = match self.random.below(8) {
                0 => self.random.millis(2000),
                1 | 2 => self.random.millis(200),
                3 => Duration::ZERO,
                _ => self.random.millis(30),
            };
            world.run_for(span);
            if self.random.below(100) < 30 {
                self.harm(world);
            } else {
                self.talk(world);
            }
            if world.app.is_broken() {
                return;
            }
        }
        self.calm(world);
    }

    /// One of the clients, the thief included.
    fn client(&mut self) -> usize {
        match self.thief {
            Some(thief) if self.random.once_in(6) => thief,
            _ => self.random.index(self.clients),
        }
    }

    fn talk(&mut self, world: &mut Play) {
        let client = self.client();
        let who = if self.random.once_in(2) {
            Who::Client(client)
        } else {
            world.service_of(client)
        };
        let most = if self.random.once_in(25) { 40 } else { 5 };
        for _ in 0..=self.random.below(most) {
            self.send(world, who);
        }
    }

    fn send(&mut self, world: &mut Play, who: Who) {
        let id = world.app.next_id();
        let delivery = match self.random.below(4) {
            0 => Delivery::Plain,
            1 => Delivery::Acked(Unsure::Resend),
            _ => Delivery::Acked(Unsure::Report),
        };
        let fate = if self.random.below(100) < self.bad {
            match self.random.below(5) {
                0 => Fate::Invalid,
                1 => Fate::Forbidden,
                2 => Fate::NoHandler,
                _ => Fate::Fails,
            }
        } else {
            Fate::Ok
        };
        let kind = self.random.below(8);
        let secret = kind == 0 && fate != Fate::Invalid;
        let sent = match (fate, kind) {
            (Fate::Invalid, _) => world.send(who, SMALL, &(id, 0u8), delivery),
            (_, 0) => world.send(who, SECRET, &Secret { id }, delivery),
            (_, 1 | 2) => {
                let fill = [u64::MAX; 6];
                world.send(who, LARGE, &Large { id, fill }, delivery)
            }
            _ => world.send(who, SMALL, &Small { id }, delivery),
        };
        match sent {
            Ok(sent) => world.app.sent(who, delivery, (fate, secret), sent),
            Err(error) => {
                world.app.log(|| format!("{who:?} cannot send: {error}"));
                world.app.tally.count(name_of(error));
                if error == SendError::Full(Bound::Session) && self.random.once_in(2) {
                    skip(world, who);
                }
            }
        }
    }

    fn harm(&mut self, world: &mut Play) {
        let client = self.client();
        let side = if self.random.once_in(2) {
            Side::Client
        } else {
            Side::Service
        };
        let who = match side {
            Side::Client => Who::Client(client),
            Side::Service => world.service_of(client),
        };
        let silently = self.random.once_in(3);
        match self.random.below(40) {
            0..=3 => world.cut(client),
            4..=9 => world.cut_after(client, side, self.random.index(120)),
            10 | 11 => world.half_open(client, side),
            12..=14 => world.stall(client, side, true),
            15..=18 => world.unstall(),
            19 => world.jump(self.random.millis(20_000)),
            20..=22 => world.displace(client),
            23 | 24 => world.kill_client(client, silently),
            25 => world.kill_service(!self.random.once_in(4), silently),
            26 => self.clone_one(world, client),
            27 | 28 => world.go_away(who, self.random.millis(3000)),
            29 => world.disconnect(who),
            30..=32 => {
                // Connections that begin later may be faster.
                world.setup.delay = match self.random.below(4) {
                    0 => self.random.millis(4000),
                    _ => self.random.millis(30),
                };
                world.app.tally.count("fault: delay");
            }
            33 => {
                let mut forbidden = MessageSet::EMPTY;
                if self.random.once_in(2) {
                    forbidden.insert(SECRET);
                    world.app.forbids();
                }
                world.setup.forbidden = forbidden;
            }
            34 => world.run_for(self.random.millis(10_000)),
            35 => self.steal(world, client),
            _ => world.sync(who),
        }
    }

    fn clone_one(&mut self, world: &mut Play, client: usize) {
        if self.clones.is_empty()
            && let Some(Who::Client(copy)) = world.clone_client(client, None)
        {
            self.clones.push(copy);
            let copy = Who::Client(copy);
            world.app.comes(copy, world.service_of(client));
            world.app.cloned(Who::Client(client), copy, world.service_of(client));
        }
    }

    /// Another principal comes with a copy of what this client has, the token included.
    fn steal(&mut self, world: &mut Play, client: usize) {
        if self.thief.is_none()
            && let Some(Who::Client(thief)) = world.clone_client(client, Some(THIEF))
        {
            self.thief = Some(thief);
            world.app.steals(Who::Client(thief), world.service_of(thief));
        }
    }

    /// Nothing more goes wrong: everything gets its outcome.
    fn calm(&mut self, world: &mut Play) {
        world.app.log(|| "nothing more goes wrong".into());
        world.setup.delay = Duration::from_millis(2);
        world.setup.forbidden = MessageSet::EMPTY;
        for copy in self.clones.drain(..) {
            world.remove_client(copy);
        }
        let mut span = Duration::from_millis(500);
        // The longest retention, a stale handshake, and reconnects.
        for _ in 0..60 {
            world.unstall();
            let end = world.now.after(span);
            while world.now < end {
                // Before the service forgets it.
                world.sync_all();
                world.run_for(Duration::from_secs(1).min(span));
            }
            if world.app.is_broken() {
                return;
            }
            let handling = world.sides().any(|who| world.is_handling(who));
            if world.app.is_settled() && !handling {
                return self.part(world);
            }
            span = (span * 5 / 4).min(Duration::from_secs(10));
        }
        world.app.stuck();
    }

    /// The last plain messages, on connections that stay whole.
    fn part(&mut self, world: &mut Play) {
        let sides: Vec<Who> = world.sides().collect();
        for who in &sides {
            let id = world.app.next_id();
            if let Ok(sent) = world.send(*who, SMALL, &Small { id }, Delivery::Plain) {
                world.app.sent(*who, Delivery::Plain, (Fate::Ok, false), sent);
            }
        }
        for _ in 0..20 {
            world.unstall();
            world.sync_all();
            world.run_for(Duration::from_millis(500));
        }
        for who in sides {
            if let Some(link) = world.connection(who) {
                world.app.tally.count("at last: connected");
                world.app.line_is_quiet(who, link);
            }
        }
    }
}

fn stores(random: &mut Random) -> Stores {
    let small = random.once_in(3);
    Stores {
        keeps: match random.below(3) {
            0 => Keeps::Nothing,
            1 => Keeps::Sent,
            _ => Keeps::All,
        },
        late: random.once_in(2),
        buffer: random.once_in(2),
        messages: if small { 4 } else { 64 },
        bytes: if small { 300 } else { 8192 },
        inbox: if small { 8 } else { 128 },
    }
}

/// The oldest message goes that never left.
fn skip(world: &mut Play, who: Who) {
    if let Some((session, kept)) = world.session(who)
        && let Some(number) = kept.skip_oldest()
    {
        world.app.log(|| format!("{who:?} skips {number} of session {session}"));
        world.app.outcome(session, number, Outcome::Skipped);
    }
}

const fn name_of(error: SendError) -> &'static str {
    match error {
        SendError::Full(Bound::Session) => "not sent: session full",
        SendError::Full(Bound::Credit) => "not sent: credit used up",
        SendError::Full(Bound::Output) => "not sent: output full",
        SendError::Full(Bound::Outcomes) => "not sent: outcomes wait",
        SendError::Full(Bound::Store) => "not sent: store lags",
        SendError::Full(_) => "not sent: no memory",
        SendError::NotOpen => "not sent: not open",
        SendError::GoingAway => "not sent: going away",
        SendError::NotAgreed(_) => "not sent: not agreed",
        _ => "not sent: other",
    }
}
