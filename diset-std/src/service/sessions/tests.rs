//! A client that comes back while its session has outcomes that nobody has taken.

use diset_proto::drive::{self, HeapQueue};
use diset_proto::store::{HeapReplay, Unsure, Volatile};
use diset_proto::{
    ClientConfig, Code, Connection, Deframer, Event, GrowBuf, Identity, Limits, MessageOf, Resumption, Schema,
    ServiceDef, Session, define_service,
};
use serde::{Deserialize, Serialize};

use super::*;
use crate::buffers::Pooled;
use crate::clock;
use crate::link::SlowPolicy;

#[derive(Serialize, Deserialize, Schema)]
struct Note {
    text: String,
}

define_service! { Notes = "Test/Notes"; both: [Note] }

type ClientSession = Session<HeapReplay, Volatile>;

/// The two ends of one connection.
struct Pair {
    client: Connection<GrowBuf, ClientSession>,
    rx: Deframer<GrowBuf>,
    link: Arc<Link>,
}

impl Pair {
    /// A client comes with what it knows, by the transport with this trid.
    fn open(sessions: &Sessions, trid: u64, session: ClientSession) -> (Self, Result<Entered, Notice>) {
        let (now, room) = (clock::now(), || GrowBuf::new(1 << 16));
        let config = ClientConfig {
            catalog: Notes::CATALOG,
            identity: Identity::from_bytes([1; 16]),
            limits: Limits::SERVER.with_max_frame(1024),
            args: &[],
        };
        let mut client = Connection::client_in_session(now, &config, room(), session).expect("settings");
        let service = Connection::service(now, Notes::CATALOG, Limits::SERVER, Pooled::output(1 << 16));
        let link = Link::new(
            Some(service.expect("settings").with_sessions(None)),
            SlowPolicy::default(),
        );
        let bytes = client.transmit().to_vec();
        client.transmitted(bytes.len());
        let entered = {
            let mut state = link.lock();
            let tx = &mut state.tx;
            let mut rx = Rx::new(Pooled::input(2048), HeapQueue::new(room()));
            let mut input = bytes.as_slice();
            assert!(matches!(rx.next(now, tx, &mut input), Some(drive::Event::Proposed(_))));
            let request = tx.connection().resume_request().cloned().expect("with a session");
            let trid = Trid::new(trid);
            let entrance = Entrance {
                id: SessionId {
                    principal: [1; 32].into(),
                    identity: config.identity,
                },
                proven: true,
                trid,
                link: &link,
                now,
                forbidden: &|_| false,
            };
            sessions.accept(&entrance, &request, Admission::new(trid), (&mut rx, tx))
        };
        let rx = Deframer::new(room());
        (Self { client, rx, link }, entered)
    }

    /// The client reads what there is, and fails at the first message.
    fn read(&mut self) {
        let take = |conn: &mut crate::session::Engine| {
            let bytes = conn.transmit().to_vec();
            conn.transmitted(bytes.len());
            bytes
        };
        let bytes = self.link.with_conn(take).expect("an engine");
        let mut input = bytes.as_slice();
        while let Some(frame) = self.rx.next(&mut input, self.client.max_frame()) {
            if let Some(Event::Message(message)) = self.client.handle_frame(clock::now(), frame) {
                self.client.reject(message, Code::HandlerFailed, "");
            }
        }
    }
}

/// PROTOCOL Q-5: each has its outcome, and the session goes on.
#[test]
fn outcomes_that_nobody_took_keep_no_client_out() {
    let sessions = Sessions::new(SessionSettings::default(), Notes::CATALOG);
    let (mut pair, entered) = Pair::open(&sessions, 1, Session::new(HeapReplay::new(10, 1000), Volatile));
    let cell = entered.expect("a session").cell;
    pair.read();
    // One that will fail, and as many as there is room for that this client cannot take.
    let lengths = core::iter::once(1).chain(core::iter::repeat_n(2000, 8));
    for length in lengths {
        let text = "x".repeat(length);
        let note = Note { text };
        let sent = cell.with_session(|session| session.store(Notes::CATALOG, Note::NUMBER, &note, Unsure::Report));
        assert!(matches!(sent, Some(Ok(_))), "{sent:?}");
    }
    pair.read();
    // The line breaks before the service hears of it, and nobody looks.
    let session = pair.client.into_session();
    assert!(cell.detach(&pair.link));
    let (mut pair, entered) = Pair::open(&sessions, 2, session);
    pair.read();
    assert_eq!(pair.client.resumption(), Some(Resumption::Resumed { replayed: 0 }));
    let expected: Vec<_> = (2..10).map(|number| (number, Outcome::TooLong)).collect();
    assert_eq!(entered.expect("the same session").outcomes, expected);
    assert_eq!(cell.look(), [(1, Outcome::Failed(Code::HandlerFailed))]);
}

/// A connection that is still at work when the service ends is not told that its session is gone: the next process has it.
#[test]
fn a_service_that_is_over_says_nothing_of_sessions() {
    let sessions = Sessions::new(SessionSettings::default(), Notes::CATALOG);
    let (mut pair, entered) = Pair::open(&sessions, 1, Session::new(HeapReplay::new(10, 1000), Volatile));
    let cell = entered.expect("a session").cell;
    pair.read();
    let session = pair.client.into_session();
    assert!(cell.detach(&pair.link));
    sessions.end();
    let (mut pair, entered) = Pair::open(&sessions, 2, session);
    let notice = entered.err().expect("no session of a service that is over");
    assert_eq!(notice.code(), Code::Shutdown);
    assert!(notice.retry().is_some(), "{notice:?}");
    pair.read();
    assert_eq!(pair.client.resumption(), None);
}
