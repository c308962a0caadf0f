//! Calls, streams and transfers, as far as they are there: entries of a catalog with their verdicts, frames that end a
//! connection since nobody offers slots, and what a peer says of its slots.

use diset_proto::postcard_schema::schema::NamedType;
use diset_proto::sim::{Decision, Happened, Pair};
use diset_proto::{
    Catalog, Cause, Code, Direction, EntryKind, MessageDef, Notice, Phase, Schema, SendError, ServiceDef, Verdict,
};

use super::connect::proposing;
use super::support::*;

scenarios! {
    entries_of_all_kinds_connect,
    only_messages_are_sent,
    a_message_with_the_number_of_a_call,
    a_client_without_a_catalog_learns_all_kinds,
    verdicts_hold_for_all_kinds,
    definitions_of_a_kind_that_is_not_known,
    a_catalog_with_a_kind_that_is_not_known,
    a_request_ends_the_connection,
    a_peer_that_offers_calls,
}

/// A service with an entry of each kind.
struct Clock;
impl ServiceDef for Clock {
    const CATALOG: &'static Catalog = &Catalog::new(
        "Test/Clock",
        &[
            MessageDef::asked::<Ping, Pong>(EntryKind::Call, "Ask", Direction::FromClient),
            MessageDef::new::<Ping>("Ping", Direction::Both),
            MessageDef::asked::<Ping, Pong>(EntryKind::Stream, "Ticks", Direction::Both),
            MessageDef::asked::<Ping, Pong>(EntryKind::Upload, "Firmware", Direction::FromService),
            MessageDef::asked::<Ping, Pong>(EntryKind::Download, "Log", Direction::Both),
        ],
    );
    const STRUCTURES: &'static [&'static NamedType] = &[Ping::SCHEMA; 5];
    const ANSWERS: &'static [&'static NamedType] = &[Pong::SCHEMA; 4];
}
const ASK: u8 = 0;
const TELL: u8 = 1;

/// An older form of it: what was a stream is a call, an upload is a download of the same structures, a download has
/// another answer, and one is gone.
struct Older;
impl ServiceDef for Older {
    const CATALOG: &'static Catalog = &Catalog::new(
        "Test/Clock",
        &[
            MessageDef::new::<Ping>("Ping", Direction::Both),
            MessageDef::asked::<Ping, Pong>(EntryKind::Call, "Ticks", Direction::Both),
            MessageDef::asked::<Ping, Pong>(EntryKind::Call, "Ask", Direction::FromClient),
            MessageDef::asked::<Ping, Pong>(EntryKind::Download, "Firmware", Direction::FromService),
            MessageDef::asked::<Ping, Mixed>(EntryKind::Download, "Log", Direction::Both),
            MessageDef::asked::<Ping, Pong>(EntryKind::Call, "Gone", Direction::Both),
        ],
    );
    const STRUCTURES: &'static [&'static NamedType] = &[Ping::SCHEMA; 6];
    const ANSWERS: &'static [&'static NamedType] =
        &[Pong::SCHEMA, Pong::SCHEMA, Pong::SCHEMA, Mixed::SCHEMA, Pong::SCHEMA];
}

fn entries_of_all_kinds_connect(change: Change<'_>) -> Pair {
    let mut pair = change(Pair::of::<Clock, Clock>()).start();
    pair.settle();
    assert_eq!(pair.flights(), 2, "PROTOCOL S-3: the digests are equal");
    for number in 0..5 {
        assert_eq!(pair.client.conn.verdict(number), Verdict::Same, "PROTOCOL S-5");
    }
    pair.client.conn.send(TELL, &Ping { id: 7 }).unwrap();
    pair.settle();
    assert_eq!(names(&pair.service), ["Ping"]);
    pair
}

fn only_messages_are_sent(change: Change<'_>) -> Pair {
    let mut pair = change(Pair::of::<Clock, Clock>()).start();
    pair.settle();
    for conn in [&mut pair.client.conn, &mut pair.service.conn] {
        for number in [0, 2, 3, 4] {
            let sent = conn.send(number, &Ping { id: 7 });
            assert_eq!(
                sent,
                Err(SendError::NotAgreed(Verdict::Unknown)),
                "PROTOCOL S-6: {number}"
            );
        }
        assert!(conn.transmit().is_empty());
    }
    pair
}

fn a_message_with_the_number_of_a_call(change: Change<'_>) -> Pair {
    let mut found = change(Pair::adopting::<Clock>()).start();
    found.settle();
    to_client(&mut found, &message(ASK, &[2]));
    found.settle();
    assert_client_found(
        &found,
        Code::UnknownMessage,
        Some(ASK),
        "PROTOCOL M-1: a learned catalog",
    );

    let mut pair = change(Pair::of::<Clock, Clock>()).start();
    pair.settle();
    to_service(&mut pair, &message(ASK, &[2]));
    pair.settle();
    assert_service_found(&pair, Code::UnknownMessage, Some(ASK), "PROTOCOL M-1");
    pair
}

fn a_client_without_a_catalog_learns_all_kinds(change: Change<'_>) -> Pair {
    let mut pair = change(Pair::adopting::<Clock>()).start();
    pair.settle();
    let catalog = pair.client.conn.learned().expect("PROTOCOL H-11").clone();
    assert_eq!(catalog.digest(), Clock::CATALOG.digest(), "PROTOCOL S-3, H-11");
    let kinds: Vec<_> = catalog.messages().iter().map(|entry| entry.kind()).collect();
    let own: Vec<_> = Clock::CATALOG.messages().iter().map(MessageDef::kind).collect();
    assert_eq!(kinds, own, "PROTOCOL S-7");
    assert_eq!(catalog.messages()[0].to_string(), "call Ask { id: i64 } -> { id: i64 }");
    for (number, entry) in catalog.messages().iter().enumerate() {
        let sent = pair.client.conn.tx.send_learned(entry, &[2]);
        let expected = if number == usize::from(TELL) {
            Ok(())
        } else {
            Err(SendError::NotAgreed(Verdict::Unknown))
        };
        assert_eq!(sent, expected, "PROTOCOL S-6: {entry}");
    }
    pair.settle();
    assert_eq!(names(&pair.service), ["Ping"]);
    pair
}

fn verdicts_hold_for_all_kinds(change: Change<'_>) -> Pair {
    let verdicts = |pair: &Pair| [0, 1, 2, 3, 4, 5].map(|number| pair.client.conn.verdict(number));
    let expected = [
        Verdict::Same,
        Verdict::Differs,
        Verdict::Same,
        Verdict::Differs,
        Verdict::Differs,
        Verdict::Unknown,
    ];
    // By the digest, or asked for its definitions.
    let mut known = change(Pair::of::<Older, Clock>().known(Older::CATALOG)).start();
    known.settle();
    assert_eq!((known.flights(), verdicts(&known)), (2, expected), "PROTOCOL S-5");

    let mut pair = change(Pair::of::<Older, Clock>()).start();
    pair.settle();
    assert_eq!((pair.flights(), verdicts(&pair)), (4, expected), "PROTOCOL H-8, S-5");
    // Numbers of the client: its message is 0, and the same entry of the service is 1.
    pair.client.conn.send(0, &Ping { id: 7 }).unwrap();
    pair.settle();
    assert_eq!(names(&pair.service), ["Ping"]);
    pair
}

/// A service that asked a client for its definitions, and got one of five: an `A` that begins with this byte.
fn defined(change: Change<'_>, first: u8) -> Pair {
    let mut pair = change(Pair::of::<older::Demo, Demo>()).start();
    // The client does not learn that it is asked.
    pair.to_client.stall(true);
    while pair.service.conn.phase() != Phase::Asking {
        pair.turn();
    }
    let part = [&[0, 5, first, 1, b'A'][..], &[0; 16]].concat();
    to_service(&mut pair, &frame(0x84, &part));
    pair.settle();
    pair
}

fn definitions_of_a_kind_that_is_not_known(change: Change<'_>) -> Pair {
    let mut pair = defined(change, 0x15);
    pair.to_client.stall(false);
    pair.settle();
    assert_service_found(&pair, Code::PacketMalformed, None, "PROTOCOL H-8");
    pair
}

#[test]
fn each_direction_and_kind_has_one_byte() {
    for first in 0..=u8::MAX {
        let (direction, kind) = (first % 4, first / 4);
        let pair = defined(&|setup| setup, first);
        if direction > 0 && kind <= 4 {
            assert_eq!(pair.service.dropped(), None, "PROTOCOL H-8: {first:#x}");
            assert_eq!(pair.service.conn.phase(), Phase::Asking);
        } else {
            let Some(Cause::OurError(notice)) = pair.service.dropped() else {
                panic!("PROTOCOL H-8: {first:#x}");
            };
            assert_eq!(
                (notice.code(), notice.text()),
                (Code::PacketMalformed, "definitions, field 1"),
                "PROTOCOL H-8: {first:#x}"
            );
        }
    }
}

fn a_catalog_with_a_kind_that_is_not_known(change: Change<'_>) -> Pair {
    let mut pair = change(Pair::adopting::<Demo>().admit(|_| Decision::Wait)).start();
    pair.settle();
    to_client(&mut pair, &frame(0x8b, b"\x01\x05\x01\x00A\x07\x07"));
    to_client(&mut pair, &acceptance(&[&[0x87, 16][..], &[0; 16]].concat()));
    pair.settle();
    let Some(Cause::OurError(notice)) = pair.client.dropped() else {
        panic!("PROTOCOL S-7: {:?}", pair.client.dropped());
    };
    assert_eq!(
        (notice.code(), notice.text()),
        (Code::PacketMalformed, "catalog: there is no kind of entry 5"),
        "PROTOCOL S-7, H-11"
    );
    assert!(pair.client.conn.learned().is_none());
    pair
}

/// Frames of calls, and what they are named.
const FORMS: [(u8, &str); 10] = [
    (0x01, "request"),
    (0x21, "request"),
    (0x41, "request"),
    (0x02, "reply"),
    (0x22, "reply"),
    (0x03, "cancel"),
    (0x04, "item credit"),
    (0x05, "part"),
    (0x25, "part"),
    (0x06, "part credit"),
];

fn a_request_ends_the_connection(change: Change<'_>) -> Pair {
    let [mut upward, mut downward] = [connected(change), connected(change)];
    // Slot 0, number 3, 2000 ms, room 256, a payload.
    let request = frame(0x01, &[0, 3, 0xd0, 0x0f, 0x80, 2, 0x0e]);
    to_client(&mut downward, &request);
    downward.settle();
    assert_client_found(&downward, Code::Unexpected, None, "PROTOCOL F-7");
    to_service(&mut upward, &request);
    upward.settle();
    assert_service_found(&upward, Code::Unexpected, None, "PROTOCOL F-7");
    upward
}

/// A pair whose service is in this phase.
fn service_in(phase: Phase) -> Pair {
    let setup = Pair::of::<Demo, Demo>();
    let mut pair = match phase {
        Phase::Admitting => setup.admit(|_| Decision::Wait),
        _ => setup,
    }
    .start();
    pair.settle();
    let (now, done) = (pair.now, Notice::new(Code::Done));
    match phase {
        Phase::Leaving => pair.service.conn.go_away(now, done, SECOND).unwrap(),
        Phase::Draining => {
            // It waits for this to be confirmed.
            pair.service.conn.send(PONG, &Pong { id: 1 }).unwrap();
            pair.to_client.stall(true);
            pair.client.conn.go_away(now, done, SECOND).unwrap();
            pair.turn();
        }
        _ => {}
    }
    assert_eq!(pair.service.conn.phase(), phase);
    pair
}

#[test]
fn frames_of_calls_are_known_and_end_the_connection() {
    for (head, name) in FORMS {
        // Whatever stands in them, and also where other frames could not be read yet or any more.
        for body in [&[][..], &[0], &[0xff; 20]] {
            for phase in [Phase::Admitting, Phase::Open, Phase::Leaving, Phase::Draining] {
                let mut pair = service_in(phase);
                to_service(&mut pair, &frame(head, body));
                pair.settle();
                let Some(Cause::OurError(notice)) = pair.service.dropped() else {
                    panic!("PROTOCOL F-7: {head:#x}, {phase:?}: {:?}", pair.service.dropped());
                };
                let found = (notice.code(), notice.text());
                assert_eq!(found, (Code::Unexpected, name), "PROTOCOL F-7: {head:#x}, {phase:?}");
            }
        }
    }
}

#[test]
fn other_application_frames_are_not_known() {
    let known = |head: u8| head == 0x00 || head == 0x40 || FORMS.iter().any(|(form, _)| *form == head);
    for head in (0..0x80).filter(|&head| !known(head)) {
        let mut pair = connected(&|setup| setup);
        to_service(&mut pair, &frame(head, &[0]));
        pair.settle();
        assert_service_found(&pair, Code::UnknownKind, None, "PROTOCOL F-3, F-4");
    }
}

/// An acceptance with the limits of a server, frames of at most 64 KiB, and these fields behind them.
fn acceptance(fields: &[u8]) -> Vec<u8> {
    let limits = [0x82, 12, 0x80, 0x80, 4, 0x80, 0x80, 0x20, 0x80, 0x80, 1, 0xe0, 0xd4, 3];
    frame(0x81, &[&[0x81, 1, 1], &limits[..], fields].concat())
}

/// The field *calls*: slots, window, acked slots.
fn calls(tag: u8, values: [u64; 3]) -> Vec<u8> {
    let mut value = Vec::new();
    for mut number in values {
        while number > 0x7f {
            value.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        value.push(number as u8);
    }
    [&[tag, value.len() as u8], &value[..]].concat()
}

fn a_peer_that_offers_calls(change: Change<'_>) -> Pair {
    let mut client = change(Pair::of::<Demo, Demo>().admit(|_| Decision::Wait)).start();
    client.settle();
    to_client(&mut client, &acceptance(&calls(0x0b, [4, 65536, 1])));
    client.settle();
    assert!(
        matches!(client.client.log[..], [Happened::Connected(_)]),
        "PROTOCOL H-13"
    );
    let pair = proposing(change, &calls(0x0b, [4096, 1 << 30, 4096]));
    assert!(matches!(pair.client.log[..], [Happened::Connected(_)]), "PROTOCOL H-13");
    pair
}

#[test]
fn what_a_peer_offers_of_calls_has_bounds() {
    let least = 64 * 1024;
    // Limits::SERVER on both sides: the longest frame has 64 KiB.
    for (values, sound) in [
        ([1, least, 0], true),
        ([1, least, 1], true),
        ([4096, 1 << 30, 4096], true),
        ([0, least, 0], false),
        ([4097, least, 0], false),
        ([1, least - 1, 0], false),
        ([1, (1 << 30) + 1, 0], false),
        ([1, least, 2], false),
        ([1 << 32, least, 0], false),
        ([1, 1 << 32, 0], false),
        ([1, least, 1 << 32], false),
    ] {
        for tag in [0x0b, 0x8b] {
            assert_offered(&calls(tag, values), sound, &format!("{tag:#x} {values:?}"));
        }
    }
    let whole = calls(0x0b, [1, least, 1]);
    let cut = [&[0x0b, whole.len() as u8 - 3], &whole[2..whole.len() - 1]].concat();
    assert_offered(&cut, false, "cut");
    let more = [&[0x0b, whole.len() as u8 - 1], &whole[2..], &[0]].concat();
    assert_offered(&more, false, "more");
}

fn assert_offered(field: &[u8], sound: bool, what: &str) {
    let mut accepted = Pair::of::<Demo, Demo>().admit(|_| Decision::Wait).start();
    accepted.settle();
    to_client(&mut accepted, &acceptance(field));
    accepted.settle();
    let proposed = proposing(&|setup| setup, field);
    for (peer, text) in [
        (&accepted.client, "acceptance, field 11"),
        (&proposed.service, "proposal, field 11"),
    ] {
        match peer.dropped() {
            None => assert!(sound, "PROTOCOL H-13: {what}: {text}"),
            Some(Cause::OurError(notice)) => {
                assert!(!sound, "PROTOCOL H-13: {what}: {notice}");
                assert_eq!((notice.code(), notice.text()), (Code::PacketMalformed, text), "{what}");
            }
            other => panic!("PROTOCOL H-13: {what}: {other:?}"),
        }
    }
}
