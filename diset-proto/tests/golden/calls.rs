//! Calls, streams and transfers, as far as they are laid out: a catalog with a call, and frames that nobody writes yet.

use diset_proto::postcard_schema::schema::NamedType;
use diset_proto::sim::Halves;
use diset_proto::{
    Admission, Catalog, Cause, ClientConfig, Code, Descriptions, Direction, EntryKind, Limits, MessageDef, NoSession,
    Schema, ServiceDef, Trid, Verdict,
};
use serde::{Deserialize, Serialize};

use super::{
    CONNECTED, IDENTITY, NOW, Note, admit, adopting, assert_written, connected, example, expect, past_preamble,
    service, told,
};

use crate::bytes::{frame, varint};

#[derive(Serialize, Deserialize, Schema)]
struct Sum {
    a: i64,
    b: i64,
}
#[derive(Serialize, Deserialize, Schema)]
struct Total {
    sum: i64,
}

/// The second example catalog of PROTOCOL.md.
struct Adder;
impl ServiceDef for Adder {
    const CATALOG: &'static Catalog = &Catalog::new(
        "Framework/Adder",
        &[
            MessageDef::asked::<Sum, Total>(EntryKind::Call, "Sum", Direction::FromClient),
            MessageDef::new::<Note<'static>>("Note", Direction::Both),
        ],
    );
    const STRUCTURES: &'static [&'static NamedType] = &[Sum::SCHEMA, Note::SCHEMA];
    const ANSWERS: &'static [&'static NamedType] = &[Total::SCHEMA];
}

/// The same service, where `Sum` is a stream.
const OTHER: &Catalog = &Catalog::new(
    "Framework/Adder",
    &[
        MessageDef::asked::<Sum, Total>(EntryKind::Stream, "Sum", Direction::FromClient),
        MessageDef::new::<Note<'static>>("Note", Direction::Both),
    ],
);

#[test]
fn definitions_of_a_call() {
    let config = ClientConfig {
        catalog: Adder::CATALOG,
        identity: IDENTITY,
        limits: Limits::CHIP,
        args: &[],
    };
    let mut client = Halves::new(NOW, &config.limits, 1024, NoSession);
    client.connect(&config).unwrap();
    let mut client = past_preamble(client);
    let proposal = client.take();
    expect(&mut client, &example("describe"), []);
    assert_written("definitions_call", &client.take());

    // PROTOCOL H-8, S-5: and back, to a service that has the same entries, and to one that has a stream in place of the call.
    for (catalog, first) in [(Adder::CATALOG, Verdict::Same), (OTHER, Verdict::Differs)] {
        let mut service = service(catalog);
        let opened = admit(&mut service, &proposal[5..], Admission::new(Trid::new(1)));
        assert_eq!(opened, first == Verdict::Same);
        if !opened {
            expect(&mut service, &example("definitions_call"), [CONNECTED]);
        }
        assert_eq!(service.verdict(0), first, "PROTOCOL S-5");
        assert_eq!(service.verdict(1), Verdict::Same, "PROTOCOL S-5");
    }
}

#[test]
fn a_call_in_a_catalog_that_is_told() {
    let mut client = adopting(Adder::CATALOG);
    let proposal = client.take();
    let mut service = service(Adder::CATALOG);
    service.tx.telling(Descriptions::of::<Adder>().unwrap());
    assert!(admit(&mut service, &proposal[5..], Admission::new(Trid::new(1))));
    let told = service.take();
    let (catalog, acceptance) = told[5..].split_at(example("catalog_call").len());
    assert_written("catalog_call", catalog);
    assert_written("adopted_call", acceptance);

    // PROTOCOL S-3, S-7, H-11: and back.
    expect(&mut client, &example("catalog_call"), []);
    expect(&mut client, &example("adopted_call"), [CONNECTED]);
    let learned = client.learned().unwrap();
    assert_eq!(learned.digest(), Adder::CATALOG.digest());
    let shown: Vec<_> = learned.messages().iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["call Sum { a: i64, b: i64 } -> { sum: i64 }", "Note { text: str }"]
    );
}

/// PROTOCOL F-3, part C: the examples are what the layout says, and end the connection of a side that offers no slots.
#[test]
fn frames_of_calls() {
    let (slot, number, deadline, room, payload) = (&varint(0), &[3], &varint(2000), &varint(256), &[0x0e]);
    let (kept, ok, failed, more) = (&varint(2 * 7), &[0], &[1], &varint(4096));
    // A notice: HandlerFailed.
    let notice = &[0x81, 1, 35];
    let frame = |head, parts: &[&[u8]]| frame(head, &parts.concat());
    let frames = [
        (
            "request",
            frame(0x01, &[slot, number, deadline, room, payload]),
            "request",
        ),
        (
            "request_acked",
            frame(0x41, &[slot, kept, number, deadline, room, payload]),
            "request",
        ),
        ("reply", frame(0x02, &[slot, ok, payload]), "reply"),
        ("reply_failed", frame(0x02, &[slot, failed, notice]), "reply"),
        ("item", frame(0x22, &[slot, ok, payload]), "reply"),
        ("stream_end", frame(0x02, &[slot, ok]), "reply"),
        ("cancel", frame(0x03, &[slot]), "cancel"),
        ("item_credit", frame(0x04, &[slot, more]), "item credit"),
        ("part", frame(0x25, &[slot, b"hi"]), "part"),
        ("part_credit", frame(0x06, &[slot, more]), "part credit"),
    ];
    for (name, bytes, kind) in frames {
        assert_written(name, &bytes);
        for mut conn in connected() {
            let told = told(&mut conn, &example(name));
            assert!(told.len() == 1 && told[0].starts_with("Ended"), "{name}: {told:?}");
            let Some(Cause::OurError(notice)) = conn.cause() else {
                panic!("PROTOCOL F-7: {name}: {:?}", conn.cause());
            };
            assert_eq!(
                (notice.code(), notice.text()),
                (Code::Unexpected, kind),
                "PROTOCOL F-7: {name}"
            );
        }
    }
}
