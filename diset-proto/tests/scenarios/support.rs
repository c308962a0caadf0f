//! What the scenarios share: a service and other forms of it, frames by hand, and the shape of a scenario.

use core::time::Duration;

use diset_proto::sim::{Happened, Pair, Peer, Setup};
use diset_proto::{
    Admission, Cause, Code, Connection, Deframer, Event, GrowBuf, Instant, Limits, MessageOf, Schema, ServiceDef, Trid,
    define_service,
};
use serde::{Deserialize, Serialize};

pub(crate) use crate::bytes::frame;

#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
pub(crate) struct Ping {
    pub(crate) id: i64,
}
#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
pub(crate) struct Pong {
    pub(crate) id: i64,
}
#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
pub(crate) struct Note<'a> {
    pub(crate) text: &'a str,
}
#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
pub(crate) struct Blob<'a> {
    pub(crate) bytes: &'a [u8],
}
#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
pub(crate) enum Level {
    Low,
    High(u8),
}
#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
pub(crate) struct Mixed {
    pub(crate) on: bool,
    pub(crate) count: u32,
    pub(crate) maybe: Option<u16>,
    pub(crate) level: Level,
}

define_service! {
    pub(crate) Demo = "Test/Demo";
    from_client: [Ping],
    from_service: [Pong],
    both: [Note<'a>, Blob<'a>, Mixed],
}

pub(crate) const PING: u8 = <Ping as MessageOf<Demo>>::NUMBER;
pub(crate) const PONG: u8 = <Pong as MessageOf<Demo>>::NUMBER;
pub(crate) const NOTE: u8 = <Note<'_> as MessageOf<Demo>>::NUMBER;
pub(crate) const BLOB: u8 = <Blob<'_> as MessageOf<Demo>>::NUMBER;
pub(crate) const MIXED: u8 = <Mixed as MessageOf<Demo>>::NUMBER;

/// An older form: another order, another `Note`, a message that is gone, and no `Blob`.
pub(crate) mod older {
    use super::{Deserialize, Mixed, Ping, Pong, Schema, Serialize, define_service};

    #[derive(Debug, Serialize, Deserialize, Schema)]
    pub(crate) struct Note {
        pub(crate) text: String,
        pub(crate) urgent: bool,
    }
    #[derive(Debug, Serialize, Deserialize, Schema)]
    pub(crate) struct Gone {}
    define_service! {
        pub(crate) Demo = "Test/Demo";
        from_client: [Gone, Ping],
        from_service: [Pong],
        both: [Mixed, Note],
    }
    pub(crate) const GONE: u8 = 0;
    pub(crate) const PING: u8 = 1;
    pub(crate) const PONG: u8 = 2;
    pub(crate) const MIXED: u8 = 3;
    pub(crate) const NOTE: u8 = 4;
}

/// Another service.
pub(crate) mod elsewhere {
    use super::{Ping, define_service};
    define_service! { pub(crate) Other = "Test/Other"; both: [Ping] }
}

/// A change to the setup of a scenario.
pub(crate) type Change<'a> = &'a dyn Fn(Setup) -> Setup;
/// A scenario checks what it shows and gives the pair with both logs.
pub(crate) type Scenario = fn(Change<'_>) -> Pair;

/// Lists the scenarios of a theme, for `chunks`, and makes each a test.
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        pub(crate) const ALL: &[(&str, $crate::scenarios::support::Scenario)] = &[$((stringify!($name), $name)),*];

        mod whole {
            $(#[test]
            fn $name() {
                super::$name(&|setup| setup);
            })*
        }
    };
}
pub(crate) use scenarios;

pub(crate) const MILLI: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A pair of the demo service that is connected.
pub(crate) fn connected(change: Change<'_>) -> Pair {
    connected_with(change, |setup| setup)
}

pub(crate) fn connected_with(change: Change<'_>, own: impl FnOnce(Setup) -> Setup) -> Pair {
    let mut pair = change(own(Pair::of::<Demo, Demo>())).start();
    pair.settle();
    assert!(pair.client.dropped().is_none() && pair.service.dropped().is_none());
    assert!(matches!(pair.client.log[..], [Happened::Connected(_)]));
    pair
}

/// Small limits for the service; a client's may be smaller still.
pub(crate) fn tight() -> Limits {
    Limits::CHIP.with_max_frame(1024)
}

/// A message by hand.
pub(crate) fn message(number: u8, payload: &[u8]) -> Vec<u8> {
    frame(0, &[&[number], payload].concat())
}

/// Handlers of this peer take what comes, and are never done with it.
pub(crate) fn never_done(peer: &mut Peer) {
    let later = peer.later();
    peer.on_message(move |_, message| {
        let structure = Demo::STRUCTURES[usize::from(message.number())];
        if let Some((_, handling)) = message.decode_raw(structure) {
            later.wait(handling);
        }
    });
}

pub(crate) const NOW: Instant = Instant::from_millis(1000);

/// A service that is open and is to be driven by hand: for what only shows there.
pub(crate) fn by_hand() -> (Connection<GrowBuf>, Deframer<GrowBuf>) {
    let mut conn = Connection::service(NOW, Demo::CATALOG, Limits::SERVER, GrowBuf::new(4096)).unwrap();
    let mut rx = Deframer::new(GrowBuf::new(4096));
    let proposal = Pair::of::<Demo, Demo>().start().client.conn.take();
    let mut input = proposal.as_slice();
    let proposed = rx.next(&mut input, conn.max_frame()).unwrap();
    assert!(matches!(conn.handle_frame(NOW, proposed), Some(Event::Proposed(_))));
    conn.accept(NOW, Admission::new(Trid::new(1))).unwrap();
    let count = conn.transmit().len();
    conn.transmitted(count);
    (conn, rx)
}

/// Puts bytes on their way to the service, as if the client had sent them.
pub(crate) fn to_service(pair: &mut Pair, bytes: &[u8]) {
    let now = pair.now;
    pair.to_service.inject(now, bytes);
}

/// Puts bytes on their way to the client, as if the service had sent them.
pub(crate) fn to_client(pair: &mut Pair, bytes: &[u8]) {
    let now = pair.now;
    pair.to_client.inject(now, bytes);
}

/// How often a log says that the connection is over.
pub(crate) fn drops(log: &[Happened]) -> usize {
    log.iter().filter(|entry| matches!(entry, Happened::Dropped(_))).count()
}

/// The service found this error, told the client, and both said so once.
#[track_caller]
pub(crate) fn assert_service_found(pair: &Pair, code: Code, message: Option<u8>, rule: &str) {
    assert_found(pair.service.dropped(), pair.client.dropped(), code, message, rule);
    assert_eq!((drops(&pair.client.log), drops(&pair.service.log)), (1, 1), "{rule}");
}

/// The client found this error, told the service, and both said so once.
#[track_caller]
pub(crate) fn assert_client_found(pair: &Pair, code: Code, message: Option<u8>, rule: &str) {
    assert_found(pair.client.dropped(), pair.service.dropped(), code, message, rule);
    assert_eq!((drops(&pair.client.log), drops(&pair.service.log)), (1, 1), "{rule}");
}

#[track_caller]
fn assert_found(finder: Option<&Cause>, told: Option<&Cause>, code: Code, message: Option<u8>, rule: &str) {
    let Some(Cause::OurError(ours)) = finder else {
        panic!("{rule}: the finder has {finder:?}")
    };
    assert_eq!((ours.code(), ours.message()), (code, message), "{rule}");
    assert_eq!(told, Some(&Cause::PeerError(ours.clone())), "{rule}");
}

/// The names of the messages in a log.
pub(crate) fn names(peer: &Peer) -> Vec<&'static str> {
    peer.messages().map(|(name, _)| name).collect()
}
