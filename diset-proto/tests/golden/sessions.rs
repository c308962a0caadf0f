//! The hex of parts N and Q: one story of a client and a service.

use core::time::Duration;

use diset_proto::store::{HeapReplay, NoInbox, Unsure, Volatile};
use diset_proto::{
    Admission, Bound, ClientConfig, Code, Connection, Delivered, Event, Limits, NewReason, Outcome, Resumption,
    SendError, ServiceDef, Session, Token, Trid,
};

use super::{Conn, IDENTITY, NOW, PING, PONG, Ping, PingPong, Pong, assert_written, example, feed, written};
use super::{Deframer, past_preamble};

type Memory = Session<HeapReplay, Volatile>;
type Slot = Option<Box<Memory>>;

fn memory() -> Box<Memory> {
    Box::new(Session::new(HeapReplay::new(10, 100), Volatile))
}

fn client(session: Slot) -> Conn<Slot> {
    let config = ClientConfig {
        catalog: PingPong::CATALOG,
        identity: IDENTITY,
        limits: Limits::CHIP,
        args: &[],
    };
    Connection::client_in_session(NOW, &config, vec![0; 1024].into(), session).unwrap()
}

fn token(first: u8) -> Token {
    Token::from_bytes(core::array::from_fn(|at| first + at as u8))
}

/// A service that admits the client of this proposal with what `greet` makes of it.
fn admitted(
    proposal: &[u8],
    trid: u64,
    mut greet: impl FnMut(&diset_proto::Resume, Trid) -> Box<Memory>,
) -> (Conn<Slot>, Deframer<[u8; 1028]>) {
    let mut service: Conn<Slot> = super::service(PingPong::CATALOG).with_sessions(None);
    let mut to_service = past_preamble();
    feed(&mut service, &mut to_service, proposal, |service, event| {
        assert!(matches!(event, Event::Proposed(_)));
        let request = service.resume_request().unwrap().clone();
        let trid = Trid::new(trid);
        let session = greet(&request, trid);
        let accepted = service.accept_in_session(NOW, Admission::new(trid), Some(session));
        assert!(matches!(accepted, Ok(Some(Event::Connected(_)))));
    });
    (service, to_service)
}

/// Gives the client what it is told; it opens.
fn open(client: &mut Conn<Slot>, acceptance: &[u8]) -> (Deframer<[u8; 1028]>, Resumption) {
    let (mut to_client, mut opened) = (past_preamble(), 0);
    feed(client, &mut to_client, acceptance, |_, event| {
        assert!(matches!(event, Event::Connected(_)));
        opened += 1;
    });
    assert_eq!(opened, 1);
    (to_client, client.resumption().unwrap())
}

#[test]
fn a_session() {
    // PROTOCOL N-1 to N-3: it begins.
    let mut first = client(Some(memory()));
    assert_written("proposal_first", &written(&mut first)[5..]);
    let (mut service, mut to_service) = admitted(&example("proposal_first"), 1, |request, trid| {
        assert!(!request.is_return());
        let mut session = memory();
        session.begin_with(request, trid, NewReason::First, Some(token(0x20)));
        session
    });
    assert_written("acceptance_first", &written(&mut service)[5..]);
    let (mut to_client, how) = open(&mut first, &example("acceptance_first"));
    assert_eq!(how, Resumption::New { why: NewReason::First });

    // PROTOCOL: three messages; the first is dealt with, the second fails.
    for id in 7..10 {
        first.send_acked(PING, &Ping { id }, Unsure::Report).unwrap();
    }
    let sent = written(&mut first);
    assert_written("acked", &sent[..4]);
    service.send_acked(PONG, &Pong { id: 7 }, Unsure::Report).unwrap();
    let pong = written(&mut service);
    feed(&mut first, &mut to_client, &pong, |first, event| {
        let Event::Message(message) = event else {
            panic!("{event:?}")
        };
        assert_eq!(message.number_in_session(), Some(1));
        assert_eq!(first.decode::<Pong>(message), Ok(Pong { id: 7 }));
    });
    for (number, sent) in sent.chunks(4).take(2).enumerate() {
        feed(&mut service, &mut to_service, sent, |service, event| {
            let Event::Message(message) = event else {
                panic!("{event:?}")
            };
            let tag = message.tag();
            let (_, held) = service.decode_held::<Ping>(message).unwrap();
            if number == 0 {
                service.release(held);
            } else {
                service.fail(tag, Code::HandlerFailed, "");
            }
        });
        if number == 0 {
            // At the latest after 20 ms.
            for wait in [0, 20] {
                service.handle_time(NOW.after(Duration::from_millis(wait)));
            }
            assert_written("ack", &written(&mut service));
        }
    }
    assert!(written(&mut service).starts_with(&example("ack_failed")));
    // The second acknowledgement is lost.
    feed(&mut first, &mut to_client, &example("ack"), |_, event| {
        assert!(matches!(event, Event::Acknowledged));
    });
    assert_eq!(first.take_outcome(), None);
    assert_eq!(
        first.delivered(),
        Delivered {
            received: 1,
            processed: 1
        }
    );
    a_return(first.into_session(), service.take_session());
}

/// The client comes back, to the service and to one that takes it for a copy.
fn a_return(session: Slot, mut kept: Slot) {
    let mut back = client(session);
    assert_written("proposal_return", &written(&mut back)[5..]);
    let (mut service, _) = admitted(&example("proposal_return"), 2, |request, trid| {
        assert!(request.is_return());
        let mut session = kept.take().unwrap();
        session.welcome(request, trid, true, token(0x30)).unwrap();
        session
    });
    assert_written("acceptance_resumed", &written(&mut service)[5..]);
    let (_, how) = open(&mut back, &example("acceptance_resumed"));
    assert_eq!(how, Resumption::Resumed { replayed: 1 });
    let failed = Outcome::Failed(Code::HandlerFailed);
    assert_eq!(back.take_outcome(), Some((2, failed)), "PROTOCOL Q-5");

    let (mut service, _) = admitted(&example("proposal_return"), 3, |request, trid| {
        let mut session = memory();
        session.begin_with(request, trid, NewReason::StateConflict, None);
        session
    });
    assert_written("acceptance_conflict", &written(&mut service)[5..]);
    let mut back = client(back.into_session());
    written(&mut back);
    let (_, how) = open(&mut back, &example("acceptance_conflict"));
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
    written(&mut client);
    open(&mut client, &example("acceptance_first"));
    for unsure in [Unsure::Report, Unsure::Report, Unsure::Resend] {
        client.send_acked(PING, &Ping { id: 7 }, unsure).unwrap();
    }
    written(&mut client);
    let mut client = self::client(client.into_session());
    written(&mut client);
    open(&mut client, &example("acceptance_first"));
    // PROTOCOL N-6: first the application learns what nobody knows of.
    assert_eq!(client.take_outcome(), Some((1, Outcome::Unknown)));
    assert_eq!(client.take_outcome(), Some((2, Outcome::Unknown)));
    assert_eq!(client.take_outcome(), None);
    let (next, message) = (example("next"), example("acked"));
    assert_written("next", &written(&mut client)[..next.len()]);

    // PROTOCOL Q-3: and back.
    let (mut service, mut to_service) = admitted(&example("proposal_first"), 1, |request, trid| {
        let mut session = memory();
        session.begin_with(request, trid, NewReason::First, Some(token(0x20)));
        session
    });
    let mut seen = Vec::new();
    feed(
        &mut service,
        &mut to_service,
        &[next, message].concat(),
        |service, event| {
            let Event::Message(message) = event else {
                panic!("{event:?}")
            };
            seen.push((message.number_in_session(), message.maybe_repeated()));
            service.decode::<Ping>(message).unwrap();
        },
    );
    assert_eq!(seen, [(Some(3), true)]);
}

#[test]
fn a_client_that_only_sends() {
    let mut session = Session::new(HeapReplay::new(10, 100), NoInbox);
    for round in 0..2 {
        let config = ClientConfig {
            catalog: PingPong::CATALOG,
            identity: IDENTITY,
            limits: Limits::CHIP,
            args: &[],
        };
        let output: Box<[u8]> = vec![0; 1024].into();
        let mut client = Connection::client_in_session(NOW, &config, output, session).unwrap();
        let said = written(&mut client);
        if round == 1 {
            assert_written("proposal_sender", &said[5..]);
            return;
        }
        // PROTOCOL N-2: a service that takes gives nothing else to know.
        let mut to_client = past_preamble();
        feed(&mut client, &mut to_client, &example("acceptance_first"), |_, event| {
            assert!(matches!(event, Event::Connected(_)));
        });
        for id in 7..10 {
            client.send_acked(PING, &Ping { id }, Unsure::Report).unwrap();
        }
        written(&mut client);
        feed(&mut client, &mut to_client, &example("ack"), |_, event| {
            assert!(matches!(event, Event::Acknowledged));
        });
        session = client.into_session();
    }
}

#[test]
fn outcomes_that_were_read() {
    // PROTOCOL Q-9: read, and not written by these engines yet.
    let (mut service, mut to_service) = admitted(&example("proposal_first"), 1, |request, trid| {
        let mut session = memory();
        session.begin_with(request, trid, NewReason::First, Some(token(0x20)));
        session
    });
    written(&mut service);
    feed(&mut service, &mut to_service, &example("acked"), |service, event| {
        let Event::Message(message) = event else {
            panic!("{event:?}")
        };
        drop(service.decode_held::<Ping>(message).unwrap());
    });
    let failed = |session: &Memory| serde_json::to_value(session.record()).unwrap()["failed"].clone();
    let session = service.session_mut().unwrap();
    assert!(session.settle(1, Outcome::Failed(Code::HandlerFailed)));
    for wait in [0, 20] {
        service.handle_time(NOW.after(Duration::from_millis(wait)));
    }
    assert_written("ack_failed", &written(&mut service));
    assert_eq!(failed(service.session().unwrap()), serde_json::json!([[1, 35]]));
    feed(&mut service, &mut to_service, &example("outcomes_read"), |_, event| {
        panic!("{event:?}")
    });
    assert_eq!(failed(service.session().unwrap()), serde_json::json!([]));
}

#[test]
fn the_first_credit() {
    // PROTOCOL L-3: read, and not written by these engines yet.
    let mut client = client(None);
    written(&mut client);
    let mut to_client = past_preamble();
    feed(
        &mut client,
        &mut to_client,
        &example("acceptance_first_credit"),
        |_, event| {
            assert!(matches!(event, Event::Connected(_)));
        },
    );
    assert_eq!(client.send(PING, &Ping { id: 7 }), Err(SendError::Full(Bound::Credit)));
    feed(&mut client, &mut to_client, &example("credit"), |_, event| {
        panic!("{event:?}")
    });
    client.send(PING, &Ping { id: 7 }).unwrap();
    assert_written("ping", &written(&mut client));
}

#[test]
fn the_next_key() {
    let week = Duration::from_secs(7 * 24 * 3600);
    let hash = core::array::from_fn(|at| at as u8);
    let mut client = client(Some(memory()));
    written(&mut client);
    let (mut to_client, _) = open(&mut client, &example("acceptance_first"));
    client.announce_next_key(hash, week).unwrap();
    assert_written("next_key", &written(&mut client));

    // PROTOCOL N-8: and back, in both senses.
    let (mut service, _) = admitted(&example("proposal_first"), 1, |request, trid| {
        let mut session = memory();
        session.begin_with(request, trid, NewReason::First, Some(token(0x20)));
        session
    });
    written(&mut service);
    feed(
        &mut service,
        &mut past_preamble(),
        &example("next_key"),
        |service, event| {
            assert!(matches!(event, Event::NextKey(told, lasts) if (told, lasts) == (hash, week)));
            service.next_key_remembered(hash, week).unwrap();
        },
    );
    assert_written("next_key", &written(&mut service));
    feed(&mut client, &mut to_client, &example("next_key"), |_, event| {
        assert!(matches!(event, Event::NextKeyRemembered(told, lasts) if (told, lasts) == (hash, week)));
    });
}
