//! The hex in PROTOCOL.md is what the engines write, and what they read.

mod calls;
mod sessions;

use core::time::Duration;

use diset_proto::drive::Event;
use diset_proto::sim::{Halves, Happened, Later, Pair};
use diset_proto::{
    Admission, AdoptConfig, Agreement, Arg, Catalog, Cause, ClientConfig, Code, Descriptions, Identity, Instant,
    Limits, MessageOf, NoSession, Notice, RetryAfter, Schema, SendError, ServiceDef, SessionSlot, Trid, Verdict,
    define_service,
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
/// How it shows that the link is open.
const CONNECTED: &str = "Connected(Opened { trid: Trid(1) })";
const MILLI: Duration = Duration::from_millis(1);

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

fn client(args: &[(&str, Arg<'_>)]) -> Halves {
    client_with(Limits::CHIP, args)
}

fn client_with(limits: Limits, args: &[(&str, Arg<'_>)]) -> Halves {
    client_in(NoSession, limits, args)
}

/// A client that has seen the preamble of its service.
fn client_in<S: SessionSlot>(session: S, limits: Limits, args: &[(&str, Arg<'_>)]) -> Halves<S> {
    let config = ClientConfig {
        catalog: PingPong::CATALOG,
        identity: IDENTITY,
        limits,
        args,
    };
    let mut client = Halves::new(NOW, &limits, 1024, session);
    client.connect(&config).unwrap();
    past_preamble(client)
}

/// One that takes the catalog of its service.
fn adopting(catalog: &'static Catalog) -> Halves {
    let config = AdoptConfig {
        service: catalog.service(),
        identity: IDENTITY,
        limits: Limits::CHIP,
        args: &[],
    };
    let mut client = Halves::new(NOW, &config.limits, 1024, NoSession);
    client.adopt(&config).unwrap();
    past_preamble(client)
}

/// A service that has seen the preamble of its client.
fn service(catalog: &'static Catalog) -> Halves {
    service_in(NoSession, catalog)
}

fn service_in<S: SessionSlot>(session: S, catalog: &'static Catalog) -> Halves<S> {
    let mut service = Halves::new(NOW, &Limits::SERVER, 1024, session);
    service.listen(catalog, Limits::SERVER).unwrap();
    past_preamble(service)
}

fn past_preamble<S: SessionSlot>(mut conn: Halves<S>) -> Halves<S> {
    expect(&mut conn, &example("preamble"), []);
    conn
}

/// One that gets these bytes tells this, as it shows.
#[track_caller]
fn expect<S: SessionSlot, const N: usize>(conn: &mut Halves<S>, bytes: &[u8], events: [&str; N]) {
    assert_eq!(told(conn, bytes), events);
}

/// What one that gets these bytes tells.
fn told<S: SessionSlot>(conn: &mut Halves<S>, bytes: &[u8]) -> Vec<String> {
    let mut told = Vec::new();
    conn.feed(bytes, |_, event| told.push(format!("{event:?}")));
    told
}

/// A service gets this proposal, and admits the client; whether that is open now.
fn admit(service: &mut Halves, proposal: &[u8], admission: Admission) -> bool {
    let told = told(service, proposal);
    assert!(told.len() == 1 && told[0].starts_with("Proposed"), "{told:?}");
    service.accept(NOW, admission).unwrap();
    let mut opened = false;
    service.feed(&[], |_, event| opened |= matches!(event, Event::Connected(_)));
    opened
}

/// The message that these bytes are is valid, and handled.
#[track_caller]
fn handles<'f, T, S>(conn: &'f mut Halves<S>, bytes: &'f [u8]) -> T
where
    T: Schema + Deserialize<'f>,
    S: SessionSlot,
{
    let mut input = bytes;
    let Some(Event::Message(message)) = conn.next(&mut input) else {
        panic!("a message")
    };
    let (value, handling) = message.decode().unwrap();
    handling.done(Ok(()));
    value
}

/// A client and a service that are connected.
fn connected() -> [Halves; 2] {
    let (mut client, mut service) = (client(&[]), service(PingPong::CATALOG));
    let proposal = client.take();
    assert!(admit(&mut service, &proposal[5..], Admission::new(Trid::new(1))));
    expect(&mut client, &service.take()[5..], [CONNECTED]);
    [client, service]
}

/// PROTOCOL H-3, G-6: what a client says of its TLS reaches the adapter of the service.
#[test]
fn records_that_a_connection_may_carry() {
    let limits = Limits::CHIP.with_records(1 << 24);
    assert_eq!([limits.records(), Limits::CHIP.records()], [Some(1 << 24), None]);
    let bytes = client_with(limits, &[]).take();
    assert_written("records", &bytes[5..]);

    let read = |proposal: &[u8]| {
        let mut read = None;
        service(PingPong::CATALOG).feed(proposal, |_, event| {
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
    let bytes = client(&[("site", Arg::Text("CERN"))]).take();
    let (preamble, proposal) = bytes.split_at(5);
    assert_written("preamble", preamble);
    assert_written("proposal", proposal);

    // PROTOCOL P-1, H-3, H-5: and back.
    let mut seen = 0;
    service(PingPong::CATALOG).feed(&example("proposal"), |_, event| {
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
    let admission = Admission::new(Trid::new(1)).with_table(known);
    assert!(admit(&mut service, &example("proposal"), admission));
    assert_written("acceptance", &service.take()[5..]);

    // PROTOCOL H-7, S-5: and back.
    let mut client = client(&[]);
    expect(&mut client, &example("acceptance"), [CONNECTED]);
    let verdicts = [0, 1, 2].map(|number| client.verdict(number));
    assert_eq!(verdicts, [Verdict::Same, Verdict::Same, Verdict::Differs]);
    assert_eq!(
        client.send(2, &Note { text: "hi" }),
        Err(SendError::NotAgreed(Verdict::Differs))
    );
}

#[test]
fn a_catalog_that_is_told() {
    let mut client = adopting(PingPong::CATALOG);
    assert_written("adopting", &client.take()[5..]);

    let mut service = service(PingPong::CATALOG);
    service.tx.telling(Descriptions::of::<PingPong>().unwrap());
    assert!(admit(&mut service, &example("adopting"), Admission::new(Trid::new(1))));
    let told = service.take();
    let (catalog, acceptance) = told[5..].split_at(example("catalog").len());
    assert_written("catalog", catalog);
    assert_written("adopted", acceptance);

    // PROTOCOL H-10, H-11: and back.
    expect(&mut client, &example("catalog"), []);
    expect(&mut client, &example("adopted"), [CONNECTED]);
    let learned = client.learned().unwrap();
    assert_eq!(learned.digest(), PingPong::CATALOG.digest());
    let shown: Vec<_> = learned.messages().iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["Ping { id: i64 }", "Pong { id: i64 }", "Note { text: str }"]);
}

/// A service that refuses writes this, and a client reads it.
fn refuses(notice: &Notice, name: &str) {
    let mut service = service(PingPong::CATALOG);
    service.feed(&example("proposal"), |_, event| {
        assert!(matches!(event, Event::Proposed(_)));
    });
    service.refuse(notice.clone()).unwrap();
    assert_written(name, &service.take()[5..]);

    // PROTOCOL E-2: and back.
    let mut client = client(&[]);
    client.feed(&example(name), |_, event| assert!(matches!(event, Event::Ended(_))));
    assert_eq!(client.cause(), Some(&Cause::Refused(notice.clone())));
    assert_eq!(
        client.cause().unwrap().is_permanent(),
        notice.is_permanent(),
        "PROTOCOL R-4"
    );
}

#[test]
fn refusal() {
    let retry = RetryAfter::new(1000 * MILLI, 500 * MILLI);
    refuses(
        &Notice::new(Code::Busy).with_text("try later").with_retry(retry),
        "refusal",
    );
}

#[test]
fn refusal_that_is_permanent() {
    let notice = Notice::new(Code::NotAdmitted).with_text("retired").permanently();
    assert!(notice.is_permanent());
    refuses(&notice, "refusal_permanent");
}

#[test]
fn describe_and_definitions() {
    let mut service = service(newer::PingPong::CATALOG);
    assert!(!admit(&mut service, &example("proposal"), Admission::new(Trid::new(1))));
    assert_written("describe", &service.take()[5..]);

    let mut client = client(&[]);
    client.take();
    expect(&mut client, &example("describe"), []);
    assert_written("definitions", &client.take());

    // PROTOCOL H-8: and back.
    expect(&mut service, &example("definitions"), [CONNECTED]);
    assert_written("acceptance", &service.take());
}

#[test]
fn messages() {
    let [mut client, mut service] = connected();
    client.send(PING, &Ping { id: 7 }).unwrap();
    assert_written("ping", &client.take());
    client.send(NOTE, &Note { text: "hi" }).unwrap();
    assert_written("note", &client.take());

    // PROTOCOL M-2: and back.
    assert_eq!(handles::<Ping, _>(&mut service, &example("ping")), Ping { id: 7 });
    assert_eq!(
        handles::<Note<'_>, _>(&mut service, &example("note")),
        Note { text: "hi" }
    );
    assert!(service.cause().is_none());
}

#[test]
fn credit() {
    let [mut client, mut service] = connected();
    let text = "x".repeat(77);
    for _ in 0..8 {
        service.send(2, &Note { text: &text }).unwrap();
    }
    client.feed(&service.take(), |_, event| {
        let Event::Message(message) = event else {
            panic!("{event:?}")
        };
        message.run(|_: Note<'_>| Ok(()));
    });
    assert_written("credit", &client.take());

    // PROTOCOL L-4: and back. 8 of 16 messages were left; now 16 are.
    expect(&mut service, &example("credit"), []);
    for _ in 0..16 {
        service.send(PONG, &Pong { id: 1 }).unwrap();
    }
    assert!(service.send(PONG, &Pong { id: 1 }).is_err());
}

#[test]
fn keep_alives() {
    let [mut client, mut service] = connected();
    // The first look finds the proposal sent, the second nothing heard.
    let mut asked = Vec::new();
    for _ in 0..2 {
        client.now = client.wake().unwrap();
        asked = client.take();
        expect(&mut client, &[], []);
    }
    assert_written("keep_alive", &asked);
    expect(&mut service, &example("keep_alive"), []);
    // PROTOCOL K-5
    assert_written("keep_alive_answer", &service.take());
    expect(&mut client, &example("keep_alive_answer"), []);
    assert_eq!(client.take(), [0u8; 0]);

    // PROTOCOL F-2: a length that is longer than needed.
    let padded = example("keep_alive_padded");
    assert_eq!(padded, [0x81, 0x00, 0x86]);
    expect(&mut service, &padded, []);
    assert_written("keep_alive_answer", &service.take());
}

/// The events of an engine, and all else that can be seen of it.
type Seen = (Vec<String>, String, Vec<u8>);

/// What an engine makes of a frame.
fn seen(mut conn: Halves, frame: &[u8]) -> Seen {
    let events = told(&mut conn, frame);
    assert!(!events.is_empty(), "{conn:?}");
    (events, format!("{conn:?}"), conn.take())
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
    let service_seen = |frame: &[u8]| seen(service(PingPong::CATALOG), frame);
    let client_seen = |frame: &[u8]| seen(client(&[]), frame);
    let open_seen = |frame: &[u8]| {
        let [client, _] = connected();
        seen(client, frame)
    };
    let adopting_seen = |frame: &[u8]| seen(adopting(PingPong::CATALOG), &[&example("catalog"), frame].concat());
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
    let [mut client, mut service] = connected();
    service.feed(&[0x04, 0x00, 0x00, 0x0e, 0x00], |_, event| {
        if let Event::Message(message) = event {
            assert!(message.decode::<Ping>().is_none());
        }
    });
    assert_written("error", &service.take());

    // PROTOCOL E-2: and back.
    let ours = service.cause().and_then(Cause::notice).unwrap().clone();
    client.feed(&example("error"), |_, event| assert!(matches!(event, Event::Ended(_))));
    assert_eq!(client.cause(), Some(&Cause::PeerError(ours)));
}

#[test]
fn go_away() {
    let [mut client, mut service] = connected();
    // With its handler, so the client does not end at once.
    service.send(PONG, &Pong { id: 1 }).unwrap();
    let later = Later::default();
    client.feed(&service.take(), |_, event| {
        if let Event::Message(message) = event {
            later.wait(message.decode::<Pong>().unwrap().1);
        }
    });
    let notice = Notice::new(Code::Shutdown).with_retry(RetryAfter::new(100 * MILLI, 400 * MILLI));
    service.go_away(NOW, notice.clone(), 5000 * MILLI).unwrap();
    assert_written("go_away", &service.take());

    // PROTOCOL G-1: and back.
    client.feed(&example("go_away"), |_, event| {
        assert!(matches!(event, Event::GoingAway(told) if told == notice));
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
