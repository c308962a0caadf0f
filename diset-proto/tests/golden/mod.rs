//! The hex in PROTOCOL.md is what the engines write, and what they read.

mod calls;
mod sessions;

use core::time::Duration;

use diset_proto::sim::{Happened, Pair};
use diset_proto::{
    Admission, AdoptConfig, Agreement, Arg, Catalog, Cause, ClientConfig, Code, Connection, Deframer, Descriptions,
    Event, Identity, Instant, Limits, MessageOf, NoSession, Notice, RetryAfter, Schema, SendError, ServiceDef,
    SessionSlot, Trid, Verdict, define_service,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
struct Ping {
    id: i64,
}
#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
struct Pong {
    id: i64,
}
#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
struct Note<'a> {
    text: &'a str,
}

define_service! {
    pub(crate) PingPong = "Framework/PingPong";
    from_client: [Ping],
    from_service: [Pong],
    both: [Note<'a>],
}

/// The same service with another `Note`.
mod newer {
    use super::{Deserialize, Ping, Pong, Schema, Serialize, define_service};

    #[derive(Serialize, Deserialize, Schema)]
    struct Note<'a> {
        text: &'a str,
        urgent: bool,
    }
    define_service! {
        pub(crate) PingPong = "Framework/PingPong";
        from_client: [Ping],
        from_service: [Pong],
        both: [Note<'a>],
    }
}

const PING: u8 = <Ping as MessageOf<PingPong>>::NUMBER;
const PONG: u8 = <Pong as MessageOf<PingPong>>::NUMBER;
const NOTE: u8 = <Note<'_> as MessageOf<PingPong>>::NUMBER;
const NOW: Instant = Instant::from_millis(1000);
const IDENTITY: Identity = Identity::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
const MILLI: Duration = Duration::from_millis(1);
type Conn<S = NoSession> = Connection<Box<[u8]>, S>;

/// The bytes of the example `name`: its line and those below without a name of their own.
fn example(name: &str) -> Vec<u8> {
    let (mut bytes, mut current) = (Vec::new(), "");
    for line in include_str!("../../../PROTOCOL.md").lines() {
        let Some((before, after)) = line.split_once("hex ") else {
            current = "";
            continue;
        };
        if !before.trim().is_empty() {
            current = before.trim();
        }
        if current == name {
            let digits = after.split("  ").next().unwrap_or_default();
            bytes.extend(
                digits
                    .split_whitespace()
                    .map(|byte| u8::from_str_radix(byte, 16).unwrap()),
            );
        }
    }
    bytes
}

#[track_caller]
fn assert_written(name: &str, written: &[u8]) {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x} ")).collect::<String>();
    assert_eq!(
        hex(&example(name)),
        hex(written),
        "PROTOCOL.md shows other bytes (left) for `{name}` than are written (right)"
    );
}

fn client(args: &[(&str, Arg<'_>)]) -> Conn {
    client_with(Limits::CHIP, args)
}

fn client_with(limits: Limits, args: &[(&str, Arg<'_>)]) -> Conn {
    let config = ClientConfig {
        catalog: PingPong::CATALOG,
        identity: IDENTITY,
        limits,
        args,
    };
    Connection::client(NOW, &config, vec![0; 1024].into()).unwrap()
}

fn service(catalog: &'static Catalog) -> Conn {
    Connection::service(NOW, catalog, Limits::SERVER, vec![0; 1024].into()).unwrap()
}

/// Everything that waits in `conn`.
fn written<S: SessionSlot>(conn: &mut Conn<S>) -> Vec<u8> {
    let bytes = conn.transmit().to_vec();
    conn.transmitted(bytes.len());
    bytes
}

/// Gives bytes to an engine, and its events to `on`.
fn feed<S: SessionSlot>(
    conn: &mut Conn<S>,
    deframer: &mut Deframer<[u8; 1028]>,
    bytes: &[u8],
    mut on: impl FnMut(&mut Conn<S>, Event<'_>),
) {
    let mut input = bytes;
    while let Some(frame) = deframer.next(&mut input, conn.max_frame()) {
        if let Some(event) = conn.handle_frame(NOW, frame) {
            on(conn, event);
        }
    }
}

fn deframer() -> Deframer<[u8; 1028]> {
    Deframer::new([0; 1028])
}

/// A deframer that has seen the preamble.
fn past_preamble() -> Deframer<[u8; 1028]> {
    let mut deframer = deframer();
    let preamble = example("preamble");
    assert!(deframer.next(&mut preamble.as_slice(), 1024).is_none());
    deframer
}

/// A client and a service that are connected, with their deframers.
fn connected() -> [(Conn, Deframer<[u8; 1028]>); 2] {
    let (mut client, mut service) = (client(&[]), service(PingPong::CATALOG));
    let (mut to_client, mut to_service) = (deframer(), deframer());
    let proposal = written(&mut client);
    feed(&mut service, &mut to_service, &proposal, |service, _| {
        service.accept(NOW, Admission::new(Trid::new(1))).unwrap();
    });
    let acceptance = written(&mut service);
    feed(&mut client, &mut to_client, &acceptance, |_, event| {
        assert!(matches!(event, Event::Connected(_)));
    });
    [(client, to_client), (service, to_service)]
}

/// PROTOCOL H-3, G-6: what a client says of its TLS reaches the adapter of the service.
#[test]
fn records_that_a_connection_may_carry() {
    let limits = Limits::CHIP.with_records(1 << 24);
    assert_eq!([limits.records(), Limits::CHIP.records()], [Some(1 << 24), None]);
    let bytes = written(&mut client_with(limits, &[]));
    assert_written("records", &bytes[5..]);

    let read = |proposal: &[u8]| {
        let mut read = None;
        let mut service = service(PingPong::CATALOG);
        feed(&mut service, &mut past_preamble(), proposal, |_, event| {
            if let Event::Proposed(proposal) = event {
                read = Some(proposal.records());
            }
        });
        read
    };
    assert_eq!(read(&example("records")), Some(Some(1 << 24)));
    assert_eq!(read(&example("proposal")), Some(None));
    let mut wrong = example("records");
    let last = wrong.len() - 1;
    wrong[last] = 0x88; // The number goes on, and ends.
    assert_eq!(read(&wrong), None, "PROTOCOL H-2");
}

#[test]
fn preamble_and_proposal() {
    let bytes = written(&mut client(&[("site", Arg::Text("CERN"))]));
    let (preamble, proposal) = bytes.split_at(5);
    assert_written("preamble", preamble);
    assert_written("proposal", proposal);

    // PROTOCOL P-1, H-3, H-5: and back.
    let mut seen = 0;
    let mut service = service(PingPong::CATALOG);
    feed(&mut service, &mut past_preamble(), &example("proposal"), |_, event| {
        let Event::Proposed(proposal) = event else {
            panic!("{event:?}")
        };
        assert_eq!(proposal.service().as_str(), "Framework/PingPong");
        assert_eq!(proposal.identity(), IDENTITY);
        assert_eq!(proposal.digest(), Some(PingPong::CATALOG.digest()));
        assert_eq!(proposal.args().value("site"), Some(Arg::Text("CERN")));
        seen += 1;
    });
    assert_eq!(seen, 1);
}

#[test]
fn acceptance() {
    let mut service = service(newer::PingPong::CATALOG);
    let known = Agreement::between(newer::PingPong::CATALOG, PingPong::CATALOG);
    feed(
        &mut service,
        &mut past_preamble(),
        &example("proposal"),
        |service, _| {
            service
                .accept(NOW, Admission::new(Trid::new(1)).with_table(known.clone()))
                .unwrap();
        },
    );
    assert_written("acceptance", &written(&mut service)[5..]);

    // PROTOCOL H-7, S-5: and back.
    let mut client = client(&[]);
    let mut events = Vec::new();
    feed(&mut client, &mut past_preamble(), &example("acceptance"), |_, event| {
        events.push(format!("{event:?}"));
    });
    assert_eq!(events, ["Connected(Trid(1))"]);
    let verdicts = [0, 1, 2].map(|number| client.verdict(number));
    assert_eq!(verdicts, [Verdict::Same, Verdict::Same, Verdict::Differs]);
    assert_eq!(
        client.send(2, &Note { text: "hi" }),
        Err(SendError::NotAgreed(Verdict::Differs))
    );
}

#[test]
fn a_catalog_that_is_told() {
    let config = AdoptConfig {
        service: PingPong::CATALOG.service(),
        identity: IDENTITY,
        limits: Limits::CHIP,
        args: &[],
    };
    let mut client: Conn = Connection::adopting(NOW, &config, vec![0; 1024].into()).unwrap();
    assert_written("adopting", &written(&mut client)[5..]);

    let mut service = service(PingPong::CATALOG).telling(Descriptions::of::<PingPong>().unwrap());
    feed(
        &mut service,
        &mut past_preamble(),
        &example("adopting"),
        |service, event| {
            assert!(matches!(event, Event::Proposed(proposal) if proposal.digest().is_none()));
            service.accept(NOW, Admission::new(Trid::new(1))).unwrap();
        },
    );
    let told = written(&mut service);
    let (catalog, acceptance) = told[5..].split_at(example("catalog").len());
    assert_written("catalog", catalog);
    assert_written("adopted", acceptance);

    // PROTOCOL H-10, H-11: and back.
    let mut to_client = past_preamble();
    let mut open = false;
    for name in ["catalog", "adopted"] {
        feed(&mut client, &mut to_client, &example(name), |_, event| {
            open |= matches!(event, Event::Connected(_));
        });
    }
    assert!(open);
    let learned = client.learned().unwrap();
    assert_eq!(learned.digest(), PingPong::CATALOG.digest());
    let shown: Vec<_> = learned.messages().iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["Ping { id: i64 }", "Pong { id: i64 }", "Note { text: str }"]);
}

#[test]
fn refusal() {
    let notice = Notice::new(Code::Busy)
        .with_text("try later")
        .with_retry(RetryAfter::new(1000 * MILLI, 500 * MILLI));
    let mut service = service(PingPong::CATALOG);
    feed(
        &mut service,
        &mut past_preamble(),
        &example("proposal"),
        |service, _| {
            service.refuse(notice.clone()).unwrap();
        },
    );
    assert_written("refusal", &written(&mut service)[5..]);

    // PROTOCOL E-2: and back.
    let mut client = client(&[]);
    feed(&mut client, &mut past_preamble(), &example("refusal"), |_, event| {
        let Event::Dropped(cause) = event else {
            panic!("{event:?}")
        };
        assert_eq!(cause, Cause::Refused(notice.clone()));
    });
    assert!(client.cause().is_some());
}

#[test]
fn refusal_that_is_permanent() {
    let notice = Notice::new(Code::NotAdmitted).with_text("retired").permanently();
    let mut service = service(PingPong::CATALOG);
    feed(
        &mut service,
        &mut past_preamble(),
        &example("proposal"),
        |service, _| {
            service.refuse(notice.clone()).unwrap();
        },
    );
    assert_written("refusal_permanent", &written(&mut service)[5..]);

    // PROTOCOL E-2, R-4: and back.
    let mut client = client(&[]);
    let refusal = example("refusal_permanent");
    feed(&mut client, &mut past_preamble(), &refusal, |_, event| {
        let Event::Dropped(cause) = event else {
            panic!("{event:?}")
        };
        assert!(cause.is_permanent() && notice.is_permanent(), "PROTOCOL R-4");
        assert_eq!(cause, Cause::Refused(notice.clone()));
    });
}

#[test]
fn describe_and_definitions() {
    let mut service = service(newer::PingPong::CATALOG);
    let mut to_service = past_preamble();
    feed(&mut service, &mut to_service, &example("proposal"), |service, _| {
        assert!(service.accept(NOW, Admission::new(Trid::new(1))).unwrap().is_none());
    });
    assert_written("describe", &written(&mut service)[5..]);

    let mut client = client(&[]);
    written(&mut client);
    feed(&mut client, &mut past_preamble(), &example("describe"), |_, event| {
        panic!("{event:?}");
    });
    assert_written("definitions", &written(&mut client));

    // PROTOCOL H-8: and back.
    let mut open = false;
    feed(&mut service, &mut to_service, &example("definitions"), |_, event| {
        open |= matches!(event, Event::Connected(_));
    });
    assert!(open);
    assert_written("acceptance", &written(&mut service));
}

#[test]
fn messages() {
    let [(mut client, _), (mut service, mut to_service)] = connected();
    client.send(PING, &Ping { id: 7 }).unwrap();
    assert_written("ping", &written(&mut client));
    client.send(NOTE, &Note { text: "hi" }).unwrap();
    assert_written("note", &written(&mut client));

    // PROTOCOL M-2: and back.
    feed(&mut service, &mut to_service, &example("ping"), |service, event| {
        let Event::Message(message) = event else {
            panic!("{event:?}")
        };
        assert_eq!(service.decode::<Ping>(message), Ok(Ping { id: 7 }));
    });
    feed(&mut service, &mut to_service, &example("note"), |service, event| {
        let Event::Message(message) = event else {
            panic!("{event:?}")
        };
        assert_eq!(service.decode::<Note<'_>>(message), Ok(Note { text: "hi" }));
    });
    assert!(service.cause().is_none());
}

#[test]
fn credit() {
    let [(mut client, mut to_client), (mut service, mut to_service)] = connected();
    let text = "x".repeat(77);
    for _ in 0..8 {
        service.send(2, &Note { text: &text }).unwrap();
    }
    let notes = written(&mut service);
    feed(&mut client, &mut to_client, &notes, |client, event| {
        let Event::Message(message) = event else {
            panic!("{event:?}")
        };
        client.decode::<Note<'_>>(message).unwrap();
    });
    assert_written("credit", &written(&mut client));

    // PROTOCOL L-4: and back. 8 of 16 messages were left; now 16 are.
    feed(&mut service, &mut to_service, &example("credit"), |_, event| {
        panic!("{event:?}");
    });
    for _ in 0..16 {
        service.send(PONG, &Pong { id: 1 }).unwrap();
    }
    assert!(service.send(PONG, &Pong { id: 1 }).is_err());
}

#[test]
fn keep_alives() {
    let [(mut client, mut to_client), (mut service, mut to_service)] = connected();
    // The first look finds the proposal sent, the second nothing heard.
    let mut asked = Vec::new();
    for _ in 0..2 {
        let wake = client.wake().unwrap();
        assert!(client.handle_time(wake).is_none());
        asked = written(&mut client);
    }
    assert_written("keep_alive", &asked);
    feed(&mut service, &mut to_service, &example("keep_alive"), |_, event| {
        panic!("{event:?}");
    });
    // PROTOCOL K-5
    assert_written("keep_alive_answer", &written(&mut service));
    feed(
        &mut client,
        &mut to_client,
        &example("keep_alive_answer"),
        |_, event| {
            panic!("{event:?}");
        },
    );
    assert_eq!(written(&mut client), [0u8; 0]);

    // PROTOCOL F-2: a length that is longer than needed.
    let padded = example("keep_alive_padded");
    assert_eq!(padded, [0x81, 0x00, 0x86]);
    feed(&mut service, &mut to_service, &padded, |_, event| panic!("{event:?}"));
    assert_written("keep_alive_answer", &written(&mut service));
}

/// The events of an engine, and all else that can be seen of it.
type Seen = (Vec<String>, String, Vec<u8>);

/// What an engine makes of a frame.
fn seen(mut conn: Conn, mut deframer: Deframer<[u8; 1028]>, frame: &[u8]) -> Seen {
    let mut events = Vec::new();
    feed(&mut conn, &mut deframer, frame, |_, event| {
        events.push(format!("{event:?}"));
    });
    assert!(!events.is_empty(), "{conn:?}");
    (events, format!("{conn:?}"), written(&mut conn))
}

/// PROTOCOL H-2: a field that is known means the same with and without its critical bit.
#[test]
fn fields_with_and_without_their_critical_bit() {
    // Each field of the frame by itself the other way, and all of them.
    let turned = |name: &str| {
        let frame = example(name);
        let (mut at, mut tags) = (2, Vec::new());
        while at < frame.len() {
            tags.push(at);
            at += 2 + usize::from(frame[at + 1]);
        }
        assert_eq!(at, frame.len(), "lengths of one byte");
        let turn = |places: &[usize]| {
            let mut frame = frame.clone();
            places.iter().for_each(|&place| frame[place] ^= 0x80);
            frame
        };
        let mut all: Vec<_> = tags.iter().map(|tag| turn(&[*tag])).collect();
        all.extend([turn(&tags), frame.clone()]);
        all
    };
    let service_seen = |frame: &[u8]| seen(service(PingPong::CATALOG), past_preamble(), frame);
    let client_seen = |frame: &[u8]| seen(client(&[]), past_preamble(), frame);
    let open_seen = |frame: &[u8]| {
        let [(client, to_client), _] = connected();
        seen(client, to_client, frame)
    };
    let adopting_seen = |frame: &[u8]| {
        let config = AdoptConfig {
            service: PingPong::CATALOG.service(),
            identity: IDENTITY,
            limits: Limits::CHIP,
            args: &[],
        };
        let client = Connection::adopting(NOW, &config, vec![0; 1024].into()).unwrap();
        seen(client, past_preamble(), &[&example("catalog"), frame].concat())
    };
    let same = |name: &str, seen: &dyn Fn(&[u8]) -> Seen| {
        let expected = seen(&example(name));
        for frame in turned(name) {
            assert_eq!(seen(&frame), expected, "PROTOCOL H-2: {name}, {frame:x?}");
        }
    };
    for name in ["proposal", "records", "adopting", "proposal_return"] {
        same(name, &service_seen);
    }
    for name in ["acceptance", "acceptance_first", "refusal_permanent"] {
        same(name, &client_seen);
    }
    same("adopted", &adopting_seen);
    same("error", &open_seen);
    same("go_away", &open_seen);
}

#[test]
fn error() {
    let [(mut client, mut to_client), (mut service, mut to_service)] = connected();
    let long = [0x04, 0x00, 0x00, 0x0e, 0x00];
    feed(&mut service, &mut to_service, &long, |service, event| {
        if let Event::Message(message) = event {
            service.decode::<Ping>(message).unwrap_err();
        }
    });
    assert_written("error", &written(&mut service));

    // PROTOCOL E-2: and back.
    let ours = service.cause().and_then(Cause::notice).unwrap().clone();
    feed(&mut client, &mut to_client, &example("error"), |_, event| {
        let Event::Dropped(cause) = event else {
            panic!("{event:?}")
        };
        assert_eq!(cause, Cause::PeerError(ours.clone()));
    });
    assert!(client.cause().is_some());
}

#[test]
fn go_away() {
    let [(mut client, mut to_client), (mut service, _)] = connected();
    let notice = Notice::new(Code::Shutdown).with_retry(RetryAfter::new(100 * MILLI, 400 * MILLI));
    service.go_away(NOW, notice.clone(), 5000 * MILLI).unwrap();
    assert_written("go_away", &written(&mut service));

    // PROTOCOL G-1: and back.
    feed(&mut client, &mut to_client, &example("go_away"), |_, event| {
        let Event::GoingAway(told) = event else {
            panic!("{event:?}")
        };
        assert_eq!(told, notice);
    });
    assert_eq!(client.wake(), Some(NOW.after(5000 * MILLI)));
}

#[test]
fn the_simulator_writes_the_same() {
    let mut pair = Pair::of::<PingPong, PingPong>().start();
    pair.settle();
    let service = pair.now;
    pair.to_service.inject(service, &example("ping"));
    pair.settle();
    assert!(matches!(pair.service.log.last(), Some(Happened::Message { name: "Ping", bytes }) if *bytes == [0x0e]));
}
