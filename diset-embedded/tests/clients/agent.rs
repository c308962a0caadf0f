//! The client under test, behind one trait: polled, async, and async with every future dropped as soon as it waits.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use diset_embedded::blocking;
use diset_embedded::diset_proto::MessageOf;
use diset_embedded::{
    Arg, Buffers, Client, Code, Config, Dropped, Event, Identity, Instant, Retry, SendError, Trid, TrustedLine,
};

use crate::world::{Demo, Note, Ping, Pong, Stream, World};

pub(crate) const IDENTITY: Identity = Identity::from_bytes([0x1d; 16]);
const ARGS: &[(&str, Arg<'_>)] = &[("site", Arg::Text("CERN"))];
/// No scenario takes more turns.
const TURNS: usize = 1_000_000;

/// An event, taken out of the client's buffers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Seen {
    Connected(Trid),
    Pong(i64),
    Note(String),
    /// A message that was not decoded.
    Refused,
    GoingAway(Code),
    Dropped(Dropped),
}

/// What a scenario does with a client.
pub(crate) trait Agent {
    fn world(&self) -> &World;
    fn dial(&mut self) -> bool;
    fn ping(&mut self, id: i64) -> Result<(), SendError>;
    fn note(&mut self, text: &str) -> Result<(), SendError>;
    fn disconnect(&mut self, reason: &str);
    fn close(&mut self, within: Duration);
    fn unreachable(&mut self) -> Retry;
    fn retry(&self) -> Retry;
    fn trid(&self) -> Option<Trid>;
    fn treat(&mut self, notes: Treat);
    /// The next event but [`Event::Room`]; `None` when there is none until then.
    fn next_until(&mut self, until: Option<Instant>) -> Option<Seen>;

    fn next(&mut self) -> Seen {
        self.next_until(None).expect("an event")
    }

    /// Nothing happens for so long.
    fn idle(&mut self, span: Duration) {
        let end = self.world().now().after(span);
        assert_eq!(self.next_until(Some(end)), None);
    }

    fn connected(&mut self) -> Trid {
        assert!(self.dial());
        match self.next() {
            Seen::Connected(trid) => trid,
            other => panic!("not connected: {other:?}"),
        }
    }

    fn dropped(&mut self) -> Dropped {
        match self.next() {
            Seen::Dropped(dropped) => dropped,
            other => panic!("not dropped: {other:?}"),
        }
    }
}

/// What is done with the next notes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Treat {
    Decode,
    /// Decoded, and sent back while it is held.
    Echo,
    Drop,
    Reject,
    /// Decoded as another message of the service.
    Mistake,
}

fn see(event: Event<'_, '_, Demo>, treat: Treat) -> Option<Seen> {
    Some(match event {
        Event::Connected(trid) => Seen::Connected(trid),
        Event::Message(message) => match (message.number(), treat) {
            (<Pong as MessageOf<Demo>>::NUMBER, _) => Seen::Pong(message.decode::<Pong>().expect("valid").id),
            (_, Treat::Decode) => Seen::Note(message.decode::<Note<'_>>().expect("valid").text.to_owned()),
            (_, Treat::Echo) => {
                let (note, mut reply) = message.decode_with_reply::<Note<'_>>().expect("valid");
                reply.send(&Note { text: note.text }).expect("room");
                Seen::Note(note.text.to_owned())
            }
            (_, Treat::Drop) => Seen::Refused,
            (_, Treat::Reject) => {
                message.reject("I will not");
                Seen::Refused
            }
            (_, Treat::Mistake) => {
                message.decode::<Pong>().expect_err("it is a Note");
                Seen::Refused
            }
        },
        Event::GoingAway(notice) => Seen::GoingAway(notice.code()),
        Event::Dropped(dropped) => Seen::Dropped(dropped),
        _ => return None,
    })
}

/// What both clients do alike.
macro_rules! shared {
    () => {
        fn world(&self) -> &World {
            &self.world
        }
        fn ping(&mut self, id: i64) -> Result<(), SendError> {
            self.client.send(&Ping { id })
        }
        fn note(&mut self, text: &str) -> Result<(), SendError> {
            self.client.send(&Note { text })
        }
        fn disconnect(&mut self, reason: &str) {
            self.client.disconnect(reason);
        }
        fn retry(&self) -> Retry {
            self.client.retry()
        }
        fn trid(&self) -> Option<Trid> {
            self.client.trid()
        }
        fn treat(&mut self, notes: Treat) {
            self.treat = notes;
        }
    };
}

struct Polled<'b> {
    world: World,
    client: Client<'b, Demo, TrustedLine<Stream>>,
    treat: Treat,
}

impl Agent for Polled<'_> {
    shared!();

    fn dial(&mut self) -> bool {
        let line = TrustedLine::new(self.world.dial()).ending_with(Stream::end);
        self.client.connect(line, self.world.now()).is_ok()
    }

    fn close(&mut self, within: Duration) {
        self.client.close(self.world.now(), within);
    }

    fn unreachable(&mut self) -> Retry {
        self.client.unreachable(self.world.now())
    }

    fn next_until(&mut self, until: Option<Instant>) -> Option<Seen> {
        let treat = self.treat;
        for _ in 0..TURNS {
            let now = self.world.now();
            let event = self.client.poll(now);
            let none = event.is_none();
            if let Some(seen) = event.and_then(|event| see(event, treat)) {
                return Some(seen);
            }
            if until.is_some_and(|until| now >= until) {
                return None;
            }
            if none {
                self.world.turn(self.client.wake(), until);
            }
        }
        panic!("it never comes to rest");
    }
}

struct Awaited<'b> {
    world: World,
    client: Client<'b, Demo, TrustedLine<Stream>, World>,
    treat: Treat,
    /// Every future that waits is dropped.
    cancels: bool,
}

impl Agent for Awaited<'_> {
    shared!();

    fn dial(&mut self) -> bool {
        let line = TrustedLine::new(self.world.dial()).ending_with(Stream::end);
        let connecting = pin!(self.client.connect(line));
        match connecting.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(connected) => connected.is_ok(),
            Poll::Pending => panic!("a trusted line opens at once"),
        }
    }

    fn close(&mut self, within: Duration) {
        self.client.close(within);
    }

    fn unreachable(&mut self) -> Retry {
        self.client.unreachable()
    }

    fn next_until(&mut self, until: Option<Instant>) -> Option<Seen> {
        let treat = self.treat;
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..TURNS {
            let mut next = pin!(self.client.next());
            let event = loop {
                if let Poll::Ready(event) = next.as_mut().poll(&mut cx) {
                    break Some(event.expect("connected"));
                }
                if until.is_some_and(|until| self.world.now() >= until) {
                    return None;
                }
                self.world.turn(None, until);
                if self.cancels {
                    break None;
                }
            };
            if let Some(seen) = event.and_then(|event| see(event, treat)) {
                return Some(seen);
            }
        }
        panic!("it never comes to rest");
    }
}

/// Runs a scenario with each client, bytes in large and small pieces.
pub(crate) fn with_each(scenario: impl Fn(&mut dyn Agent)) {
    let mut config = Config::new(IDENTITY, 7);
    config.args = ARGS;
    for chunk in [usize::MAX, 7, 1] {
        let world = World::new(chunk);
        let mut buffers: Buffers = Buffers::new();
        let client = Client::blocking(Demo, config, &mut buffers).expect("settings");
        println!("polled, pieces of {chunk}");
        scenario(&mut Polled {
            world,
            client,
            treat: Treat::Decode,
        });
        for cancels in [false, true] {
            let world = World::new(chunk);
            let mut buffers: Buffers = Buffers::new();
            let client = Client::new(Demo, config, world.clone(), &mut buffers).expect("settings");
            println!("async, pieces of {chunk}, futures dropped: {cancels}");
            scenario(&mut Awaited {
                world,
                client,
                treat: Treat::Decode,
                cancels,
            });
        }
    }
}

/// Both traits of a channel fit one line.
const _: fn() = || {
    fn both<L: blocking::Channel + diset_embedded::Channel>() {}
    both::<TrustedLine<Stream>>();
};
