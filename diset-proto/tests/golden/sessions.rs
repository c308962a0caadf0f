//! The hex of parts N and Q: one story of a client and a service.

use core::time::Duration;

use diset_proto::drive::{Event, Failure};
use diset_proto::sim::{Halves, Later};
use diset_proto::store::{HeapReplay, NoInbox, Unsure, Volatile};
use diset_proto::{
    Admission, Bound, Code, Delivered, Limits, NewReason, Outcome, Resumption, SendError, ServiceDef, Session, Token,
    Trid,
};

use super::{
    CONNECTED, NOW, PING, PONG, Ping, PingPong, Pong, assert_written, client_in, example, expect, handles, service_in,
};

type Memory = Session<HeapReplay, Volatile>;
type Slot = Option<Box<Memory>>;

fn memory() -> Box<Memory> {
    Box::new(Session::new(HeapReplay::new(10, 100), Volatile))
}

fn client(session: Slot) -> Halves<Slot> {
    client_in(session, Limits::CHIP, &[])
}

fn token(first: u8) -> Token {
    Token::from_bytes(core::array::from_fn(|at| first + at as u8))
}

/// A service that admits the client of this proposal with what `greet` makes of it.
fn admitted(proposal: &[u8], trid: u64, greet: impl FnOnce(&diset_proto::Resume, Trid) -> Box<Memory>) -> Halves<Slot> {
    let mut service: Halves<Slot> = service_in(None, PingPong::CATALOG);
    service.feed(proposal, |_, event| assert!(matches!(event, Event::Proposed(_))));
    let request = service.resume_request().unwrap().clone();
    let trid = Trid::new(trid);
    let session = greet(&request, trid);
    let accepted = service.accept_in_session(Admission::new(trid), Some(session));
    assert!(accepted.is_ok());
    service.feed(&[], |_, event| assert!(matches!(event, Event::Connected(_))));
    assert_eq!(service.trid(), Some(trid));
    service
}

/// A service whose client has just begun a session.
fn begun() -> Halves<Slot> {
    admitted(&example("proposal_first"), 1, |request, trid| {
        assert!(!request.is_return());
        let mut session = memory();
        session.begin_with(request, trid, NewReason::First, Some(token(0x20)));
        session
    })
}

/// Gives the client what it is told; it opens.
fn open(client: &mut Halves<Slot>, acceptance: &[u8]) -> Resumption {
    let mut opened = 0;
    client.feed(acceptance, |_, event| match event {
        Event::Connected(_) => opened += 1,
        // What became of its messages may be told with that.
        other => assert!(matches!(other, Event::Acknowledged), "{other:?}"),
    });
    assert_eq!(opened, 1);
    client.resumption().unwrap()
}

/// Time passes until acknowledgements leave by themselves.
fn wait(service: &mut Halves<Slot>) {
    for wait in [0, 20] {
        service.now = NOW.after(Duration::from_millis(wait));
        service.turn();
    }
}

#[test]
fn a_session() {
    // PROTOCOL N-1 to N-3: it begins.
    let mut first = client(Some(memory()));
    assert_written("proposal_first", &first.take()[5..]);
    let mut service = begun();
    assert_written("acceptance_first", &service.take()[5..]);
    let how = open(&mut first, &example("acceptance_first"));
    assert_eq!(how, Resumption::New { why: NewReason::First });

    // PROTOCOL: three messages; the first is dealt with, the second fails.
    for id in 7..10 {
        first.send_acked(PING, &Ping { id }, Unsure::Report).unwrap();
    }
    let sent = first.take();
    assert_written("acked", &sent[..4]);
    service.send_acked(PONG, &Pong { id: 7 }, Unsure::Report).unwrap();
    first.feed(&service.take(), |_, event| {
        let Event::Message(message) = event else {
            panic!("{event:?}")
        };
        assert_eq!(message.meta().number_in_session(), Some(1));
        message.run(|pong: Pong| {
            assert_eq!(pong, Pong { id: 7 });
            Ok(())
        });
    });
    handles::<Ping, _>(&mut service, &sent[..4]);
    // At the latest after 20 ms.
    wait(&mut service);
    assert_written("ack", &service.take());
    service.feed(&sent[4..8], |_, event| match event {
        Event::Message(message) => message.run(|_: Ping| Err(Failure::new(Code::HandlerFailed))),
        other => assert!(matches!(other, Event::Ended(_)), "{other:?}"),
    });
    assert!(service.take().starts_with(&example("ack_failed")));
    // The second acknowledgement is lost.
    expect(&mut first, &example("ack"), ["Acknowledged"]);
    assert_eq!(first.take_outcome(), None);
    assert_eq!(
        first.delivered(),
        Delivered {
            received: 1,
            processed: 1
        }
    );
    a_return(first.take_session(), service.take_session());
}

/// The client comes back, to the service and to one that takes it for a copy.
fn a_return(session: Slot, mut kept: Slot) {
    let mut back = client(session);
    assert_written("proposal_return", &back.take()[5..]);
    let mut service = admitted(&example("proposal_return"), 2, |request, trid| {
        assert!(request.is_return());
        let mut session = kept.take().unwrap();
        session.welcome(request, trid, true, token(0x30)).unwrap();
        session
    });
    assert_written("acceptance_resumed", &service.take()[5..]);
    let how = open(&mut back, &example("acceptance_resumed"));
    assert_eq!(how, Resumption::Resumed { replayed: 1 });
    let failed = Outcome::Failed(Code::HandlerFailed);
    assert_eq!(back.take_outcome(), Some((2, failed)), "PROTOCOL Q-5");

    let mut service = admitted(&example("proposal_return"), 3, |request, trid| {
        let mut session = memory();
        session.begin_with(request, trid, NewReason::StateConflict, None);
        session
    });
    assert_written("acceptance_conflict", &service.take()[5..]);
    let mut back = client(back.take_session());
    back.take();
    let how = open(&mut back, &example("acceptance_conflict"));
    assert_eq!(
        how,
        Resumption::New {
            why: NewReason::StateConflict
        }
    );
    assert_eq!(back.take_outcome(), Some((3, Outcome::Unknown)), "PROTOCOL N-6");
}

#[test]
fn what_the_next_message_is() {
    let mut client = client(Some(memory()));
    client.take();
    open(&mut client, &example("acceptance_first"));
    for unsure in [Unsure::Report, Unsure::Report, Unsure::Resend] {
        client.send_acked(PING, &Ping { id: 7 }, unsure).unwrap();
    }
    client.take();
    let mut client = self::client(client.take_session());
    client.take();
    open(&mut client, &example("acceptance_first"));
    // PROTOCOL N-6: first the application learns what nobody knows of.
    assert_eq!(client.take_outcome(), Some((1, Outcome::Unknown)));
    assert_eq!(client.take_outcome(), Some((2, Outcome::Unknown)));
    assert_eq!(client.take_outcome(), None);
    let (next, message) = (example("next"), example("acked"));
    assert_written("next", &client.take()[..next.len()]);

    // PROTOCOL Q-3: and back.
    let mut seen = Vec::new();
    begun().feed(&[next, message].concat(), |_, event| {
        let Event::Message(message) = event else {
            panic!("{event:?}")
        };
        seen.push((message.meta().number_in_session(), message.meta().maybe_repeated()));
        message.run(|_: Ping| Ok(()));
    });
    assert_eq!(seen, [(Some(3), true)]);
}

#[test]
fn a_client_that_only_sends() {
    let session = Session::new(HeapReplay::new(10, 100), NoInbox);
    let mut client = client_in(Some(Box::new(session)), Limits::CHIP, &[]);
    client.take();
    // PROTOCOL N-2: a service that takes gives nothing else to know.
    expect(&mut client, &example("acceptance_first"), [CONNECTED]);
    for id in 7..10 {
        client.send_acked(PING, &Ping { id }, Unsure::Report).unwrap();
    }
    client.take();
    expect(&mut client, &example("ack"), ["Acknowledged"]);
    let mut client = client_in(client.take_session(), Limits::CHIP, &[]);
    assert_written("proposal_sender", &client.take()[5..]);
}

#[test]
fn outcomes_that_were_read() {
    // PROTOCOL Q-9: read, and not written by these engines yet.
    let mut service = begun();
    service.take();
    let later = Later::default();
    service.feed(&example("acked"), |_, event| {
        let Event::Message(message) = event else {
            panic!("{event:?}")
        };
        later.wait(message.decode::<Ping>().unwrap().1);
    });
    let failed = |session: &Memory| serde_json::to_value(session.record()).unwrap()["failed"].clone();
    let session = service.session_mut().unwrap();
    assert!(session.settle(1, Outcome::Failed(Code::HandlerFailed)));
    wait(&mut service);
    assert_written("ack_failed", &service.take());
    assert_eq!(failed(service.session().unwrap()), serde_json::json!([[1, 35]]));
    expect(&mut service, &example("outcomes_read"), []);
    assert_eq!(failed(service.session().unwrap()), serde_json::json!([]));
}

#[test]
fn the_first_credit() {
    // PROTOCOL L-3: read, and not written by these engines yet.
    let mut client = client(None);
    client.take();
    expect(&mut client, &example("acceptance_first_credit"), [CONNECTED]);
    assert_eq!(client.send(PING, &Ping { id: 7 }), Err(SendError::Full(Bound::Credit)));
    expect(&mut client, &example("credit"), []);
    client.send(PING, &Ping { id: 7 }).unwrap();
    assert_written("ping", &client.take());
}

#[test]
fn the_next_key() {
    let week = Duration::from_secs(7 * 24 * 3600);
    let hash = core::array::from_fn(|at| at as u8);
    let mut client = client(Some(memory()));
    client.take();
    open(&mut client, &example("acceptance_first"));
    client.tx.announce_next_key(hash, week).unwrap();
    assert_written("next_key", &client.take());

    // PROTOCOL N-8: and back, in both senses.
    let mut service = begun();
    service.take();
    service.feed(&example("next_key"), |tx, event| {
        assert!(matches!(event, Event::NextKey(told, lasts) if (told, lasts) == (hash, week)));
        tx.next_key_remembered(hash, week).unwrap();
    });
    assert_written("next_key", &service.take());
    client.feed(&example("next_key"), |_, event| {
        assert!(matches!(event, Event::NextKey(told, lasts) if (told, lasts) == (hash, week)));
    });
}
