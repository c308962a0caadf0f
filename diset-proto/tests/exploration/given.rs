//! What may happen, and how much of it.

use core::fmt;

use diset_proto::store::Unsure;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    Client,
    Service,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Client, Self::Service];

    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Service,
            Self::Service => Self::Client,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Service => "service",
        })
    }
}

/// What a handler does with its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handler {
    /// It says later what has become of it.
    Waits,
    Returns,
    Fails,
    /// It asks for it once more.
    Retries,
    /// It says nothing, and never will.
    Drops,
}

impl fmt::Display for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waits => "waits",
            Self::Returns => "returns",
            Self::Fails => "fails",
            Self::Retries => "asks for it again",
            Self::Drops => "drops it",
        })
    }
}

/// What can happen; how often is bounded by [`Bounds`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Send(Side),
    /// A plain message, when it can go.
    SendPlain(Side),
    Connect,
    /// What waits at this end of this connection leaves.
    Transmit(usize, Side),
    /// The next frame comes to this end. A message before which none stands goes to its handler at once.
    Deliver(usize, Side, Handler),
    /// The acknowledgement timer of this end.
    Timer(usize, Side),
    /// The connection breaks, and this side sees it first.
    Cut(usize, Side),
    /// This side sees the end.
    End(usize, Side),
    /// This side has heard nothing for too long: it says so and gives the connection up, in which the
    /// other still believes.
    TimeOut(usize, Side),
    /// The message that waits goes to its handler.
    Begin(Side, Handler),
    /// So does one whose handler has asked for it again.
    Again(Side),
    /// The handler that waits does this.
    Finish(Side, Handler),
    /// The time of the handler that waits is over.
    Expire(Side),
    GoAway(Side),
    /// The service loses its memory of a session that is away.
    Forget,
}

impl Action {
    /// Whose it is.
    pub(crate) const fn side(self) -> Side {
        match self {
            Self::Connect => Side::Client,
            Self::Forget => Side::Service,
            Self::Send(side)
            | Self::SendPlain(side)
            | Self::Begin(side, _)
            | Self::Again(side)
            | Self::Finish(side, _)
            | Self::Expire(side)
            | Self::GoAway(side) => side,
            Self::Transmit(_, side)
            | Self::Deliver(_, side, _)
            | Self::Timer(_, side)
            | Self::Cut(_, side)
            | Self::End(_, side)
            | Self::TimeOut(_, side) => side,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(side) => write!(f, "{side} sends"),
            Self::SendPlain(side) => write!(f, "{side} sends a plain message"),
            Self::Connect => f.write_str("client connects"),
            Self::Transmit(link, side) => write!(f, "connection {link}: {side} transmits"),
            Self::Deliver(link, side, Handler::Waits) => write!(f, "connection {link}: {side} gets a frame"),
            Self::Deliver(link, side, handler) => {
                write!(f, "connection {link}: {side} gets a frame, its handler {handler}")
            }
            Self::Timer(link, side) => write!(f, "connection {link}: {side} must tell what it has"),
            Self::Cut(link, side) => write!(f, "connection {link} breaks, {side} sees it"),
            Self::End(link, side) => write!(f, "connection {link}: {side} sees the end"),
            Self::TimeOut(link, side) => write!(f, "connection {link}: {side} has heard nothing for too long"),
            Self::Begin(side, handler) => write!(f, "{side} begins to handle, and {handler}"),
            Self::Again(side) => write!(f, "{side} begins to handle once more"),
            Self::Finish(side, handler) => write!(f, "{side} handles, and {handler}"),
            Self::Expire(side) => write!(f, "{side} gives its handler up"),
            Self::GoAway(side) => write!(f, "{side} says go-away"),
            Self::Forget => f.write_str("service forgets the session"),
        }
    }
}

/// A rule that an application breaks on purpose, to show that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// A session goes on in new halves, and what waits in the old ones stays there.
    LeavesWorkBehind,
    /// A handler whose time is over is said to have done its work.
    ExpiresWell,
    /// A session is thrown away with its connection.
    ForgetsTheSession,
    /// A message is settled before it is handled.
    SettlesTooEarly,
}

/// How much may happen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Acked messages of each side.
    pub(crate) messages: [usize; 2],
    /// Plain messages of each side.
    pub(crate) plain: [u8; 2],
    pub(crate) cuts: u8,
    /// How often a side hears nothing for too long, or waits in vain for the handshake.
    pub(crate) time_outs: u8,
    /// Handlers of each side that fail.
    pub(crate) failures: [u8; 2],
    /// Handlers of each side that ask for their message again.
    pub(crate) retries: [u8; 2],
    /// Handlers of each side that say nothing.
    pub(crate) drops: [u8; 2],
    /// Handlers of each side that are given up.
    pub(crate) expiries: [u8; 2],
    pub(crate) go_aways: [u8; 2],
    pub(crate) forgets: u8,
    /// Which inboxes are durable.
    pub(crate) durable: [bool; 2],
    pub(crate) unsure: Unsure,
    /// Whether handlers may also say at once what they come to. It is the same to the peer as when nothing happens
    /// between.
    pub(crate) at_once: bool,
    /// Whether what is to leave waits for an action of its own. Else it leaves at once, which shows
    /// the same frames in the same orders: an acknowledgement that would ride along leaves
    /// right behind, by its timer.
    pub(crate) lazy: bool,
    /// Whether a handler begins as soon as it can, and the timer of acknowledgements waits until its
    /// side has nothing else to do; they may still ride on what leaves.
    pub(crate) brisk: bool,
    /// Whether a new connection may come to the service before it has seen the end of the older one,
    /// which then is displaced.
    pub(crate) overtaking: bool,
    /// Whether runs are left out that end as others do.
    pub(crate) reduced: bool,
    pub(crate) broken: Option<Broken>,
}

impl Bounds {
    /// How many handlers of this side can still do this; `None`: any.
    pub(crate) const fn left(&mut self, side: Side, handler: Handler) -> Option<&mut u8> {
        match handler {
            Handler::Waits | Handler::Returns => None,
            Handler::Fails => Some(&mut self.failures[side as usize]),
            Handler::Retries => Some(&mut self.retries[side as usize]),
            Handler::Drops => Some(&mut self.drops[side as usize]),
        }
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [client, service] = self.messages;
        write!(f, "{client}+{service} messages, {} cuts", self.cuts)?;
        let more = [
            ("plain", self.plain != [0, 0]),
            ("time-out", self.time_outs == 1),
            ("two time-outs", self.time_outs > 1),
            ("failures", self.failures != [0, 0]),
            ("retries", self.retries != [0, 0]),
            ("dropped loans", self.drops != [0, 0]),
            ("expiries", self.expiries != [0, 0]),
            ("at once", self.at_once),
            ("go-aways", self.go_aways != [0, 0]),
            ("forgetting", self.forgets > 0),
            ("durable client", self.durable[0]),
            ("durable service", self.durable[1]),
            ("resend", self.unsure == Unsure::Resend),
            ("lazy", self.lazy),
            ("brisk", self.brisk),
            ("tame", !self.overtaking),
            ("not reduced", !self.reduced),
        ];
        let mut named = more.iter().filter(|(_, is_so)| *is_so);
        named.try_for_each(|(name, _)| write!(f, ", {name}"))
    }
}
