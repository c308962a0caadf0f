//! What is drawn from a seed: how many messages, what handlers make of each, how connections and services end.

use core::time::Duration;

use super::line::Dice;

/// Where the service keeps its sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Memory,
    File,
}

/// What the handlers of a seed do with some messages; the others they return from, at once or a little later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Returns,
    ReturnsLater,
    Fails,
    FailsLater,
    Panics,
    PanicsLater,
    Disconnects,
    DisconnectsLater,
    /// Sends an answer before it returns.
    Answers,
    AnswersLater,
    /// Commits its effect with the message, where there is a file; a service without one refuses that.
    Transacts,
    TransactsLater,
    /// No handler is there for it.
    NoHandler,
    /// A rule forbids it when it is delivered.
    Forbidden,
    Mixed,
    /// Disconnects, and never returns: one message of the seed.
    Hangs,
}

pub(crate) const KINDS: [Kind; 16] = [
    Kind::Returns,
    Kind::ReturnsLater,
    Kind::Fails,
    Kind::FailsLater,
    Kind::Panics,
    Kind::PanicsLater,
    Kind::Disconnects,
    Kind::DisconnectsLater,
    Kind::Answers,
    Kind::AnswersLater,
    Kind::Transacts,
    Kind::TransactsLater,
    Kind::NoHandler,
    Kind::Forbidden,
    Kind::Mixed,
    Kind::Hangs,
];

/// How a connection, or a service, ends from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Both sides get a reset.
    Cut,
    /// Both sides get an end that looks orderly.
    Close,
    /// The client gets a reset and the service nothing: the next connection displaces this one.
    HalfOpen,
    /// Nothing passes for a while.
    Stall,
    /// The client does not read until the service has lost patience.
    Slow,
    /// The service's program disconnects the client.
    Disconnect,
    /// The client's program cuts its line.
    ClientCut,
    /// The service does not trust the client's certificate any more, for a moment.
    Distrust,
    /// A rule does not let the client connect any more, for a moment, and rules are asked again.
    Bar,
    /// A rule allows the client more, for a moment, and rules are asked again: the service says go-away.
    Renew,
    /// The service is stopped in order, and started again.
    Restart,
    /// The service ends without a word, and is started again.
    Kill,
}

impl End {
    const ALL: [Self; 12] = [
        Self::Cut,
        Self::Close,
        Self::HalfOpen,
        Self::Stall,
        Self::Slow,
        Self::Disconnect,
        Self::ClientCut,
        Self::Distrust,
        Self::Bar,
        Self::Renew,
        Self::Restart,
        Self::Kill,
    ];
    pub(crate) const NAMES: [&'static str; 12] = [
        "cut",
        "close",
        "half-open",
        "stall",
        "slow",
        "disconnect",
        "client cut",
        "distrust",
        "bar",
        "renew",
        "restart",
        "kill",
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// Whether the service says go-away while it may still be sending.
    pub(crate) const fn says_go_away(self) -> bool {
        matches!(self, Self::Renew | Self::Restart)
    }

    /// Whether the service's process ends.
    pub(crate) const fn ends_process(self) -> bool {
        matches!(self, Self::Restart | Self::Kill)
    }
}

/// What a handler makes of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Returns,
    Fails,
    Panics,
    Disconnects,
    Answers,
    Transacts,
    Hangs,
    NoHandler,
    Forbidden,
}

/// How callbacks of a side behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Callbacks {
    Quick,
    /// They take some milliseconds.
    Slow,
    /// Some `on_connected` fail, `on_drop` panics.
    Bad,
}

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) store: Store,
    pub(crate) kind: Kind,
    /// Each of so many messages is an odd one.
    every: u64,
    /// Acked messages to the service, and to the client.
    pub(crate) up: i64,
    pub(crate) down: i64,
    /// One of so many acked ones is followed by a plain one; 0: none.
    plain: u64,
    /// What ends, after how many more messages have been handled.
    pub(crate) ends: Vec<(u64, End)>,
    pub(crate) callbacks: Callbacks,
    hanging: i64,
}

impl Plan {
    /// Kinds and stores take turns, the rest is chance.
    pub(crate) fn draw(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let kind = KINDS[(seed % 16) as usize];
        let store = if (seed / 16).is_multiple_of(2) {
            Store::File
        } else {
            Store::Memory
        };
        let up = match dice.below(4) {
            0 => 1 + dice.below(10),
            1 => 1 + dice.below(60),
            _ => 1 + dice.below(300),
        };
        let down = if dice.below(2) == 0 { dice.below(100) } else { 0 };
        // Most odd ones cost a connection.
        let least = 1 + up.max(down) / 20;
        let every = match dice.below(6) {
            // These cost none.
            _ if matches!(kind, Kind::Answers | Kind::AnswersLater) => 1 + dice.below(3),
            _ if matches!(kind, Kind::Transacts | Kind::TransactsLater) && store == Store::File => 1 + dice.below(6),
            0 => least,
            1 => least.max(3),
            _ => least.max(10),
        };
        let count = dice.below(5);
        // Every other seed has one process of each side: there each message is handled once.
        let kinds = if (seed / 32).is_multiple_of(2) { 10 } else { 12 };
        let ends = (0..count)
            .map(|_| {
                let after = dice.below(1 + (up + down) / (count + 1));
                (after, End::ALL[dice.below(kinds) as usize])
            })
            .collect();
        let callbacks = match dice.below(4) {
            0 => Callbacks::Slow,
            1 => Callbacks::Bad,
            _ => Callbacks::Quick,
        };
        let mut plan = Self {
            seed,
            store,
            kind,
            every,
            up: up as i64,
            down: down as i64,
            plain: dice.below(4),
            ends,
            callbacks,
            hanging: dice.below(up) as i64,
        };
        if plan.is_quiet() && dice.below(2) == 0 {
            plan.ends.iter_mut().for_each(|(_, end)| *end = End::Renew);
        }
        plan
    }

    /// Whether no connection ends but in order: nothing may be lost, then.
    pub(crate) fn is_orderly(&self) -> bool {
        // What the service sends as it says go-away is not answered any more, and a handler that wants to fails.
        let answers = self.down > 0 && !matches!(self.kind, Kind::Returns | Kind::ReturnsLater);
        let renews = self.ends.iter().all(|(_, end)| *end == End::Renew);
        self.is_quiet() && renews && (self.ends.is_empty() || !answers)
    }

    /// Whether no handler and no callback ends a connection.
    fn is_quiet(&self) -> bool {
        let returns = match self.kind {
            Kind::Returns | Kind::ReturnsLater | Kind::Answers | Kind::AnswersLater => true,
            Kind::Transacts | Kind::TransactsLater => self.store == Store::File,
            _ => false,
        };
        returns && self.callbacks != Callbacks::Bad
    }

    /// How long a side that ends waits for the other: in order it is to be enough, on a machine that is busy, too.
    pub(crate) fn drain(&self) -> Duration {
        Duration::from_millis(if self.is_orderly() { 20_000 } else { 500 })
    }

    fn dice(&self, id: i64, down: bool) -> Dice {
        let mut dice = Dice(self.seed ^ (id as u64).wrapping_mul(0x2545_f491_4f6c_dd1d) ^ u64::from(down));
        dice.below(2);
        dice
    }

    /// What becomes of a message, and whether at once.
    pub(crate) fn act(&self, id: i64, down: bool) -> (Act, bool) {
        let mut dice = self.dice(id, down);
        let some_time = dice.below(8) != 0;
        if self.kind == Kind::Hangs {
            let hangs = !down && id == self.hanging;
            return (if hangs { Act::Hangs } else { Act::Returns }, some_time);
        }
        if (id as u64) % self.every != self.every - 1 {
            return (Act::Returns, some_time);
        }
        match self.kind {
            Kind::Returns | Kind::Hangs => (Act::Returns, true),
            Kind::ReturnsLater => (Act::Returns, false),
            Kind::Fails => (Act::Fails, true),
            Kind::FailsLater => (Act::Fails, false),
            Kind::Panics => (Act::Panics, true),
            Kind::PanicsLater => (Act::Panics, false),
            Kind::Disconnects => (Act::Disconnects, true),
            Kind::DisconnectsLater => (Act::Disconnects, false),
            Kind::Answers => (Act::Answers, true),
            Kind::AnswersLater => (Act::Answers, false),
            // Only services have a file.
            Kind::Transacts | Kind::TransactsLater if down => (Act::Answers, true),
            Kind::Transacts => (Act::Transacts, true),
            Kind::TransactsLater => (Act::Transacts, false),
            Kind::NoHandler => (Act::NoHandler, true),
            // Rules are the service's.
            Kind::Forbidden if down => (Act::Fails, true),
            Kind::Forbidden => (Act::Forbidden, true),
            Kind::Mixed => {
                let acts = [
                    Act::Fails,
                    Act::Panics,
                    Act::Disconnects,
                    Act::NoHandler,
                    Act::Answers,
                    Act::Transacts,
                    Act::Forbidden,
                ];
                let act = acts[dice.below(if down { 5 } else { 7 }) as usize];
                (act, dice.below(2) == 0)
            }
        }
    }

    /// Whether a plain message follows.
    pub(crate) fn has_plain(&self, id: i64) -> bool {
        self.plain > 0 && (id as u64).is_multiple_of(self.plain)
    }
}
