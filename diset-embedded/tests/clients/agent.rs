//! The client under test, behind one trait: polled, async, and async with every future dropped as soon as it waits.

use core::convert::Infallible;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use diset_embedded::blocking;
use diset_embedded::diset_proto::MessageOf;
use diset_embedded::{
    Arg, Buffers, Client, Code, Config, Delivered, Dropped, Event, Failure, Identity, Instant, Keep, NoClock, NoOutbox,
    Outbox, Outcome, Received, Resumption, Retry, SendError, Trid, TrustedLine, Volatile,
};
use embedded_io::ErrorKind;

use super::world::{Demo, Note, Ping, Pong, SECOND, Stream, World};

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
    /// An acked note.
    Acked(String, Received),
    Outcome(u64, Outcome),
    Delivered(Delivered),
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
    /// Flushes for so long; whether that came to its end.
    fn flush(&mut self, within: Duration) -> bool;
    fn retry(&self) -> Retry;
    /// Sends a ping acked; its number.
    fn acked(&mut self, id: i64, resend: bool) -> Result<u64, SendError>;
    fn session(&self) -> State;
    fn skip_oldest(&mut self) -> Option<u64>;
    fn is_busy(&self) -> bool;
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

/// How acked delivery stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct State {
    pub(crate) delivered: Delivered,
    pub(crate) stored: usize,
    pub(crate) resumption: Option<Resumption>,
}

/// What a client with, or without, an outbox can do.
pub(crate) trait Acks: Keep + Sized {
    fn acked<C, T>(client: &mut Client<'_, Demo, C, T, Self>, id: i64, resend: bool) -> Result<u64, SendError>;
    fn state<C, T>(client: &Client<'_, Demo, C, T, Self>) -> State;
    fn skip_oldest<C, T>(client: &mut Client<'_, Demo, C, T, Self>) -> Option<u64>;
}

impl Acks for NoOutbox {
    fn acked<C, T>(_: &mut Client<'_, Demo, C, T, Self>, _: i64, _: bool) -> Result<u64, SendError> {
        Err(SendError::NoSession)
    }
    fn state<C, T>(_: &Client<'_, Demo, C, T, Self>) -> State {
        panic!("there is no session")
    }
    fn skip_oldest<C, T>(_: &mut Client<'_, Demo, C, T, Self>) -> Option<u64> {
        None
    }
}

impl<const N: usize> Acks for Outbox<N, Volatile> {
    fn acked<C, T>(client: &mut Client<'_, Demo, C, T, Self>, id: i64, resend: bool) -> Result<u64, SendError> {
        let ping = Ping { id };
        if resend {
            client.send_acked_or_resend(&ping)
        } else {
            client.send_acked(&ping)
        }
    }
    fn state<C, T>(client: &Client<'_, Demo, C, T, Self>) -> State {
        State {
            delivered: client.delivered(),
            stored: client.stored(),
            resumption: client.resumption(),
        }
    }
    fn skip_oldest<C, T>(client: &mut Client<'_, Demo, C, T, Self>) -> Option<u64> {
        client.skip_oldest()
    }
}

/// What is done with the next notes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Treat {
    Decode,
    /// Decoded, and sent back while it is held.
    Echo,
    Drop,
    /// Decoded, and dropped.
    Forget,
    Reject,
    /// Decoded, and rejected while it is held.
    Fail,
    /// The handler returns an error.
    Err,
    /// Decoded as another message of the service.
    Mistake,
}

fn see<K: Keep>(event: Event<'_, '_, Demo, K>, treat: Treat) -> Option<Seen> {
    Some(match event {
        Event::Connected(trid) => Seen::Connected(trid),
        Event::Message(message) => match (message.number(), treat) {
            (<Pong as MessageOf<Demo>>::NUMBER, Treat::Echo) => {
                let mut seen = None;
                message.answer(|pong: Pong, handling| {
                    seen = Some(Seen::Pong(pong.id));
                    handling.send(&Note { text: "thanks" })?;
                    Ok(())
                });
                seen.expect("valid")
            }
            (<Pong as MessageOf<Demo>>::NUMBER, _) => {
                let mut seen = None;
                message.run(|pong: Pong| {
                    seen = Some(Seen::Pong(pong.id));
                    Ok(())
                });
                seen.expect("valid")
            }
            (_, Treat::Decode) => {
                let received = message.received();
                let (note, handling) = message.decode::<Note<'_>>().expect("valid");
                let text = note.text.to_owned();
                handling.done(Ok(()));
                match received {
                    None => Seen::Note(text),
                    Some(received) => Seen::Acked(text, received),
                }
            }
            (_, Treat::Echo) => {
                let mut seen = None;
                message.answer(|note: Note<'_>, handling| {
                    handling.send(&Note { text: note.text })?;
                    seen = Some(Seen::Note(note.text.to_owned()));
                    Ok(())
                });
                seen.expect("valid, and room")
            }
            (_, Treat::Drop) => Seen::Refused,
            (_, Treat::Forget) => {
                drop(message.decode::<Note<'_>>().expect("valid"));
                Seen::Refused
            }
            (_, Treat::Reject) => {
                message.reject("I will not");
                Seen::Refused
            }
            (_, Treat::Fail) => {
                let (_, handling) = message.decode::<Note<'_>>().expect("valid");
                handling.reject("I cannot");
                Seen::Refused
            }
            (_, Treat::Err) => {
                message.run(|_: Note<'_>| Err(Failure::new(Code::TooLong)));
                Seen::Refused
            }
            (_, Treat::Mistake) => {
                message.run(|_: Pong| panic!("it is a Note"));
                Seen::Refused
            }
        },
        Event::GoingAway(notice) => Seen::GoingAway(notice.code()),
        Event::Outcome { number, outcome } => Seen::Outcome(number, outcome),
        Event::Delivered(delivered) => Seen::Delivered(delivered),
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
        fn acked(&mut self, id: i64, resend: bool) -> Result<u64, SendError> {
            K::acked(&mut self.client, id, resend)
        }
        fn is_busy(&self) -> bool {
            self.client.is_busy()
        }
        fn session(&self) -> State {
            K::state(&self.client)
        }
        fn skip_oldest(&mut self) -> Option<u64> {
            K::skip_oldest(&mut self.client)
        }
    };
}

struct Polled<'b, K: Keep> {
    world: World,
    client: Client<'b, Demo, Line, NoClock, K>,
    treat: Treat,
}

impl<K: Acks> Agent for Polled<'_, K> {
    shared!();

    fn dial(&mut self) -> bool {
        let line = Line(
            TrustedLine::new(self.world.dial()).ending_with(Stream::end),
            self.world.clone(),
        );
        self.client.connect(line, self.world.now()).is_ok()
    }

    fn close(&mut self, within: Duration) {
        self.client.close(self.world.now(), within);
    }

    fn unreachable(&mut self) -> Retry {
        self.client.unreachable(self.world.now())
    }

    fn flush(&mut self, within: Duration) -> bool {
        let world = &self.world;
        lasting(world, within, || self.client.flush(world.now()))
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

struct Awaited<'b, K: Keep> {
    world: World,
    client: Client<'b, Demo, Line, World, K>,
    treat: Treat,
    /// Every future that waits is dropped after so many polls.
    cancels: usize,
}

impl<K: Acks> Agent for Awaited<'_, K> {
    shared!();

    fn dial(&mut self) -> bool {
        let line = Line(
            TrustedLine::new(self.world.dial()).ending_with(Stream::end),
            self.world.clone(),
        );
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

    fn flush(&mut self, within: Duration) -> bool {
        let mut flushing = pin!(self.client.flush());
        let mut cx = Context::from_waker(Waker::noop());
        lasting(&self.world, within, || flushing.as_mut().poll(&mut cx).is_ready())
    }

    fn next_until(&mut self, until: Option<Instant>) -> Option<Seen> {
        let treat = self.treat;
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..TURNS {
            let mut next = pin!(self.client.next());
            let mut polls = 0;
            let event = loop {
                if let Poll::Ready(event) = next.as_mut().poll(&mut cx) {
                    break Some(event?);
                }
                if until.is_some_and(|until| self.world.now() >= until) {
                    return None;
                }
                self.world.turn(None, until);
                polls += 1;
                if polls == self.cancels {
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

/// Tries until it is done, at least once a second for so long.
fn lasting(world: &World, within: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = world.now().after(within);
    loop {
        if done() {
            return true;
        }
        let now = world.now();
        if now >= end {
            return false;
        }
        world.turn(None, Some(end.min(now.after(SECOND))));
    }
}

/// Runs a scenario with each client, bytes in large and small pieces.
pub(crate) fn with_each(scenario: impl Fn(&mut dyn Agent)) {
    for chunk in [usize::MAX, 7, 1] {
        with_pieces::<NoOutbox>(chunk, &scenario, |client| client, |client| client);
    }
}

/// The same with clients that keep a session, and `N` bytes of acked messages.
pub(crate) fn with_each_acked<const N: usize>(chunks: &[usize], scenario: impl Fn(&mut dyn Agent)) {
    for &chunk in chunks {
        let outboxes = || Box::leak(Box::new(Outbox::<N, Volatile>::with_inbox()));
        with_pieces(
            chunk,
            &scenario,
            |client| client.with_outbox(outboxes()).expect("settings"),
            |client| client.with_outbox(outboxes()).expect("settings"),
        );
    }
}

fn with_pieces<K: Acks>(
    chunk: usize,
    scenario: &impl Fn(&mut dyn Agent),
    polled: impl Fn(Client<'static, Demo, Line>) -> Client<'static, Demo, Line, NoClock, K>,
    awaited: impl Fn(Client<'static, Demo, Line, World>) -> Client<'static, Demo, Line, World, K>,
) {
    let mut config = Config::new(IDENTITY, 7);
    config.args = ARGS;
    let buffers = || Box::leak(Box::new(<Buffers>::new()));
    println!("polled, pieces of {chunk}");
    let client = Client::blocking(Demo, config, buffers()).expect("settings");
    scenario(&mut Polled {
        world: World::new(chunk),
        client: polled(client),
        treat: Treat::Decode,
    });
    for cancels in [0, 1, 2] {
        println!("async, pieces of {chunk}, futures dropped after {cancels} polls");
        let world = World::new(chunk);
        let client = Client::new(Demo, config, world.clone(), buffers()).expect("settings");
        scenario(&mut Awaited {
            world,
            client: awaited(client),
            treat: Treat::Decode,
            cancels,
        });
    }
}

/// A trusted line that counts as the world says.
pub(crate) struct Line(TrustedLine<Stream>, World);

/// Both traits of a channel fit one line.
const _: fn() = || {
    fn both<L: blocking::Channel + diset_embedded::Channel>() {}
    both::<TrustedLine<Stream>>();
};

impl embedded_io::ErrorType for Line {
    type Error = ErrorKind;
}

impl blocking::Open for Line {
    type Channel = Self;
    type Error = Infallible;
    fn open(self) -> Result<Self, Infallible> {
        Ok(self)
    }
}

impl blocking::Channel for Line {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        blocking::Channel::read_ready(&mut self.0)
    }
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        blocking::Channel::read(&mut self.0, buffer)
    }
    fn write_ready(&mut self) -> Result<bool, ErrorKind> {
        blocking::Channel::write_ready(&mut self.0)
    }
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        blocking::Channel::write(&mut self.0, bytes)
    }
    fn flush(&mut self) -> Result<(), ErrorKind> {
        blocking::Channel::flush(&mut self.0)
    }
    fn close(&mut self) -> Result<(), ErrorKind> {
        blocking::Channel::close(&mut self.0)
    }
    fn max_records(&self) -> Option<u32> {
        self.1.max_records()
    }
    fn is_worn(&self) -> bool {
        self.1.is_worn()
    }
}

impl diset_embedded::Open for Line {
    type Channel = Self;
    type Error = Infallible;
    async fn open(self) -> Result<Self, Infallible> {
        Ok(self)
    }
}

impl diset_embedded::Channel for Line {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        diset_embedded::Channel::read(&mut self.0, buffer).await
    }
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        diset_embedded::Channel::write(&mut self.0, bytes).await
    }
    async fn flush(&mut self) -> Result<(), ErrorKind> {
        diset_embedded::Channel::flush(&mut self.0).await
    }
    async fn close(&mut self) -> Result<(), ErrorKind> {
        diset_embedded::Channel::close(&mut self.0).await
    }
    fn max_records(&self) -> Option<u32> {
        self.1.max_records()
    }
    fn is_worn(&self) -> bool {
        self.1.is_worn()
    }
}
