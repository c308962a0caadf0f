//! Both clients over real sockets, as a story sees them: whatever the line is through which they connect.

mod awaited;
mod polled;

use core::fmt::Debug;
use core::net::SocketAddr;
use core::time::Duration;

use diset_embedded::{
    Buffers, Client, ConnectError, Dropped, Event, Identity, Instant, MessageOf, NoClock, Outbox, Outcome, Received,
    Resumption, Retry, Schema, SendError, Trid, Volatile, define_service,
};
use serde::{Deserialize, Serialize};

pub(crate) use awaited::{Awaited, Stream, Tokio};
pub(crate) use polled::{Polled, Tcp};

#[derive(Serialize, Deserialize, Schema)]
pub(crate) struct Ping {
    pub(crate) id: i64,
}
#[derive(Serialize, Deserialize, Schema)]
pub(crate) struct Pong {
    pub(crate) id: i64,
}
#[derive(Serialize, Deserialize, Schema)]
pub(crate) struct Note {
    pub(crate) text: String,
}

define_service! {
    pub(crate) Demo = "Test/Demo";
    from_client: [Ping],
    from_service: [Pong, Note],
}

pub(crate) const IDENTITY: Identity = Identity::from_bytes(*b"sensor 000000017");
/// Longer than anything takes.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// What the clients keep acked messages in.
pub(crate) type Store = Outbox<512, Volatile>;
/// Their buffers: a note of half a frame lies whole in what is read.
pub(crate) type Memory = Buffers;

pub(crate) type PolledClient<'b, C> = Client<'b, Demo, C, NoClock, Store>;
pub(crate) type AwaitedClient<'b, C> = Client<'b, Demo, C, Tokio, Store>;

/// What becomes of sockets: the lines of the clients.
pub(crate) trait Lines<'b> {
    type Polled: diset_embedded::blocking::Channel;
    type Awaited: diset_embedded::Channel;
    type Error: Debug;

    fn polled(
        &mut self,
        client: &mut PolledClient<'b, Self::Polled>,
        tcp: Tcp,
        now: Instant,
    ) -> Result<(), ConnectError<Self::Error>>;

    async fn awaited(
        &mut self,
        client: &mut AwaitedClient<'b, Self::Awaited>,
        stream: Stream,
    ) -> Result<(), ConnectError<Self::Error>>;

    /// This one is over.
    fn polled_over(&mut self, _channel: Self::Polled) {}
    /// This one is over.
    async fn awaited_over(&mut self, _channel: Self::Awaited) {}
}

#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    Connected(Trid),
    Pong(i64),
    Note(String, Option<Received>),
    Outcome(u64, Outcome),
    Delivered(u64),
    GoingAway,
    /// Something else has come: there may be room.
    Room,
    Dropped(Dropped),
    Nothing,
}

fn see(event: Event<'_, '_, Demo, Store>) -> Seen {
    match event {
        Event::Connected(trid) => Seen::Connected(trid),
        Event::Message(message) => match message.number() {
            Pong::NUMBER => {
                let (pong, handling) = message.decode::<Pong>().expect("valid");
                handling.done(Ok(()));
                Seen::Pong(pong.id)
            }
            _ => {
                let received = message.received();
                let (note, handling) = message.decode::<Note>().expect("valid");
                handling.done(Ok(()));
                Seen::Note(note.text, received)
            }
        },
        Event::Outcome { number, outcome } => Seen::Outcome(number, outcome),
        Event::Delivered(delivered) => Seen::Delivered(delivered.processed),
        Event::GoingAway(_) => Seen::GoingAway,
        Event::Dropped(dropped) => Seen::Dropped(dropped),
        _ => Seen::Room,
    }
}

/// A client that connects, and the events it has.
pub(crate) trait Agent<E> {
    /// Connects, whenever its turn is.
    fn dial(&mut self, address: SocketAddr) -> Result<(), ConnectError<E>>;
    fn ping(&mut self, id: i64) -> Result<(), SendError>;
    /// Sends a ping acked; its number.
    fn acked(&mut self, id: i64) -> Result<u64, SendError>;
    fn disconnect(&mut self, reason: &str);
    fn retry(&self) -> Retry;
    fn resumption(&self) -> Option<Resumption>;
    fn now(&self) -> Instant;
    /// The next event, or `Nothing` after this time.
    fn event(&mut self, within: Duration) -> Seen;

    /// The same, but for those that only make room.
    fn next(&mut self, within: Duration) -> Seen {
        let end = self.now().after(within);
        loop {
            match self.event(end.since(self.now())) {
                Seen::Room => {}
                seen => return seen,
            }
        }
    }
}
