//! Clients without a catalog, which take that of the service.

use std::sync::Arc;

use diset_proto::drive::Event;
use diset_proto::sim::{Decision, Halves, Happened, Pair, Setup};
use diset_proto::{
    Admission, Bound, Cause, Code, LearnedCatalog, Limits, MessageSet, NoSession, Notice, Phase, SendError, ServiceDef,
    Trid, Verdict,
};

use super::support::*;

scenarios! {
    a_client_without_a_catalog_takes_that_of_the_service,
    messages_by_their_learned_definitions,
    a_message_that_does_not_fit_what_was_learned,
    a_large_catalog_comes_in_parts,
    a_catalog_comes_before_the_first_message,
    an_adopting_client_is_refused_like_others,
    an_adopting_client_learns_what_is_forbidden,
    an_end_while_the_catalog_is_told,
    a_catalog_is_complete_before_the_acceptance,
    a_catalog_has_the_digest_it_claims,
    a_description_that_breaks_a_rule,
    a_catalog_beyond_the_limit,
    an_acceptance_without_a_catalog,
    a_catalog_that_nobody_asked_for,
    an_acceptance_with_a_catalog_that_nobody_asked_for,
    a_proposal_with_a_catalog_and_without,
}

/// The names that a client has learned.
fn learned(pair: &Pair) -> Vec<String> {
    let catalog = pair.client.conn.learned().expect("PROTOCOL H-10: a learned catalog");
    catalog
        .messages()
        .iter()
        .map(|message| message.name().to_owned())
        .collect()
}

fn a_client_without_a_catalog_takes_that_of_the_service(change: Change<'_>) -> Pair {
    let mut pair = change(Pair::adopting::<Demo>()).start();
    assert!(pair.client.conn.learned().is_none());
    pair.settle();
    assert_eq!(pair.flights(), 2, "PROTOCOL H-10: one round trip");
    assert_eq!(
        learned(&pair),
        ["Ping", "Pong", "Note", "Blob", "Mixed"],
        "PROTOCOL H-11"
    );
    let catalog = pair.client.conn.learned().unwrap();
    assert_eq!(catalog.digest(), Demo::CATALOG.digest(), "PROTOCOL S-3, H-11");
    for (def, message) in Demo::CATALOG.messages().iter().zip(catalog.messages()) {
        assert_eq!((def.key(), def.direction()), (message.key(), message.direction()));
    }

    // A value of its own making; the number is that of the service.
    pair.client.conn.send(PING, &Ping { id: 7 }).unwrap();
    pair.service.conn.send(PONG, &Pong { id: 8 }).unwrap();
    pair.service.conn.send(NOTE, &Note { text: "hi" }).unwrap();
    assert_eq!(
        pair.client.conn.send(PONG, &Pong { id: 1 }),
        Err(SendError::WrongDirection),
        "PROTOCOL M-1"
    );
    assert_eq!(
        pair.client.conn.send(9, &Pong { id: 1 }),
        Err(SendError::NotAgreed(Verdict::Unknown)),
        "PROTOCOL S-6"
    );
    pair.settle();
    assert_eq!(names(&pair.service), ["Ping"]);
    assert_eq!(names(&pair.client), ["Pong", "Note"]);
    pair
}

fn messages_by_their_learned_definitions(change: Change<'_>) -> Pair {
    let mut pair = change(Pair::adopting::<Demo>()).start();
    pair.settle();
    let catalog = Arc::clone(pair.client.conn.learned().unwrap());
    let ping = catalog.message("Ping").unwrap();
    let payload = ping.encode(serde_json::json!({"id": 7})).unwrap();
    pair.client.conn.tx.send_learned(ping, &payload).unwrap();
    assert_eq!(
        pair.client
            .conn
            .tx
            .send_learned(ping, &[payload.as_slice(), &[0]].concat()),
        Err(SendError::Encode),
        "PROTOCOL M-2: nothing leaves that does not fit"
    );
    // Definitions that were learned elsewhere.
    let other = LearnedCatalog::of::<older::Demo>().unwrap();
    for (name, payload, verdict) in [("Note", &[0, 0][..], Verdict::Differs), ("Gone", &[], Verdict::Unknown)] {
        assert_eq!(
            pair.client.conn.tx.send_learned(other.message(name).unwrap(), payload),
            Err(SendError::NotAgreed(verdict)),
            "PROTOCOL S-6"
        );
    }
    // The same definition under another number.
    assert_eq!(other.messages()[1].name(), "Ping");
    pair.client.conn.tx.send_learned(&other.messages()[1], &[2]).unwrap();
    pair.client.on_message(move |tx, message| {
        assert_eq!((message.def().name(), message.number()), ("", PONG));
        let (bytes, handling) = message.decode_learned(&catalog).unwrap();
        let shown = serde_json::to_string(&catalog.by_number(PONG).unwrap().read(bytes).unwrap()).unwrap();
        assert_eq!(shown, r#"{"id":-3}"#);
        handling.done(Ok(()));
        tx.disconnect(Notice::new(Code::Done));
    });
    pair.service.conn.send(PONG, &Pong { id: -3 }).unwrap();
    pair.settle();
    let pings: Vec<_> = pair.service.messages().collect();
    assert_eq!(pings, [("Ping", &[14][..]), ("Ping", &[2])]);
    assert_client_found(&pair, Code::Done, None, "its handler was called");
    pair
}

fn a_message_that_does_not_fit_what_was_learned(change: Change<'_>) -> Pair {
    let mut pair = change(Pair::adopting::<Demo>()).start();
    pair.settle();
    let catalog = Arc::clone(pair.client.conn.learned().unwrap());
    pair.client
        .on_message(move |_, message| assert!(message.decode_learned(&catalog).is_none()));
    to_client(&mut pair, &message(PONG, &[0x80, 0]));
    pair.settle();
    assert_client_found(&pair, Code::Invalid, Some(PONG), "PROTOCOL M-2, M-4");
    // No type is what was learned, not even the one it stems from.
    let mut pair = change(Pair::adopting::<Demo>()).start();
    pair.settle();
    pair.client
        .on_message(|_, message| assert!(message.decode::<Pong>().is_none()));
    pair.service.conn.send(PONG, &Pong { id: 1 }).unwrap();
    pair.settle();
    assert_client_found(&pair, Code::NoHandler, Some(PONG), "PROTOCOL M-4");
    pair
}

fn a_large_catalog_comes_in_parts(change: Change<'_>) -> Pair {
    // Descriptions are longer than a frame of the client, and than what the service may have under way.
    let mut pair = change(told_in_parts()).start();
    pair.settle();
    assert_eq!(learned(&pair), ["Readings", "More"], "PROTOCOL H-11");
    assert!(
        pair.to_client.carried() > 4 * 512,
        "PROTOCOL H-1: more than four frames of the client"
    );
    pair
}

/// Messages whose descriptions are longer than a frame of the client, and which take no bytes themselves.
mod wide {
    use diset_proto::{Schema, define_service};
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize, Schema)]
    pub(crate) struct Readings {
        pub(crate) low: [[(); 32]; 32],
        pub(crate) high: [[(); 32]; 32],
    }
    #[derive(Serialize, Deserialize, Schema)]
    struct More {
        grid: [[(); 32]; 32],
    }
    define_service! { pub(crate) Wide = "Test/Wide"; both: [Readings, More] }

    pub(crate) const NOTHING: Readings = Readings {
        low: [[(); 32]; 32],
        high: [[(); 32]; 32],
    };
}

/// A service that tells them to a chip through a small buffer.
fn told_in_parts() -> Setup {
    Pair::adopting::<wide::Wide>()
        .limits(Limits::CHIP, tight())
        .output(diset_proto::limits::MIN_OUTPUT)
}

/// The same, admitted by hand and with the first part on its way.
fn admitted_by_hand(change: Change<'_>) -> Pair {
    let mut pair = change(told_in_parts().admit(|_| Decision::Wait)).start();
    pair.settle();
    pair.service
        .conn
        .accept(pair.now, Admission::new(Trid::new(3)))
        .unwrap();
    assert!(pair.service.conn.trid().is_some());
    pair
}

fn a_catalog_comes_before_the_first_message(change: Change<'_>) -> Pair {
    let mut pair = admitted_by_hand(change);
    assert_eq!(
        pair.service.conn.send(7, &Ping { id: 1 }),
        Err(SendError::NotAgreed(Verdict::Unknown))
    );
    assert_eq!(
        pair.service.conn.send(0, &wide::NOTHING),
        Err(SendError::Full(Bound::Output)),
        "PROTOCOL H-10: what is told comes first"
    );
    pair.settle();
    pair.service.conn.send(0, &wide::NOTHING).unwrap();
    pair.settle();
    assert!(
        matches!(pair.client.log[..], [Happened::Connected(_), Happened::Message { .. }]),
        "PROTOCOL H-10: {:?}",
        pair.client.log
    );
    pair
}

fn an_adopting_client_is_refused_like_others(change: Change<'_>) -> Pair {
    let notice = Notice::new(Code::NotAdmitted);
    let answer = notice.clone();
    let mut pair = change(Pair::adopting::<Demo>().admit(move |_| Decision::Refuse(answer.clone()))).start();
    pair.settle();
    assert_eq!(pair.client.log, [Happened::Dropped(Cause::Refused(notice))]);
    assert!(
        pair.client.conn.learned().is_none(),
        "PROTOCOL H-10: told after admission only"
    );
    pair
}

fn an_adopting_client_learns_what_is_forbidden(change: Change<'_>) -> Pair {
    let forbidden: MessageSet = [NOTE].into_iter().collect();
    let mut pair = change(Pair::adopting::<Demo>().admit(move |_| Decision::AdmitWithout(forbidden))).start();
    pair.settle();
    assert_eq!(pair.client.conn.verdict(NOTE), Verdict::Forbidden, "PROTOCOL S-5");
    assert_eq!(
        pair.client.conn.send(NOTE, &Note { text: "x" }),
        Err(SendError::NotAgreed(Verdict::Forbidden)),
        "PROTOCOL S-6"
    );
    pair
}

fn an_end_while_the_catalog_is_told(change: Change<'_>) -> Pair {
    let mut pair = admitted_by_hand(change);
    let _ = pair.service.conn.transmit();
    pair.service.conn.disconnect(Notice::new(Code::Disconnected));
    pair.settle();
    assert_service_found(&pair, Code::Disconnected, None, "PROTOCOL E-3, H-10");
    pair
}

/// A client that adopts, and a service that says nothing by itself.
fn waiting(change: Change<'_>) -> Pair {
    let mut pair = change(Pair::adopting::<Demo>().admit(|_| Decision::Wait)).start();
    pair.settle();
    assert_eq!(pair.client.conn.phase(), Phase::Adopting);
    pair
}

/// The description of `Ping`.
const PING_DESCRIPTION: &[u8] = b"\x01\x00\x04\x00Ping\x16\x01\x00\x02\x00id\x05";

fn part(bytes: &[u8]) -> Vec<u8> {
    frame(0x8b, bytes)
}

fn acceptance(digest: Option<&[u8; 16]>) -> Vec<u8> {
    let mut body = vec![0x81, 1, 1, 0x82, 12];
    body.extend([0x80, 0x80, 4, 0x80, 0x80, 0x20, 0x80, 0x80, 1, 0xe0, 0xd4, 3]);
    if let Some(digest) = digest {
        body.extend([0x87, 16]);
        body.extend(digest);
    }
    frame(0x81, &body)
}

#[track_caller]
fn assert_malformed(pair: &mut Pair, text: &str, rule: &str) {
    pair.settle();
    let Some(Cause::OurError(notice)) = pair.client.dropped() else {
        panic!("{rule}: {:?}", pair.client.dropped());
    };
    assert_eq!((notice.code(), notice.text()), (Code::PacketMalformed, text), "{rule}");
    assert_eq!(drops(&pair.client.log), 1, "{rule}");
    assert!(pair.client.conn.learned().is_none(), "{rule}");
}

fn a_catalog_is_complete_before_the_acceptance(change: Change<'_>) -> Pair {
    let mut pair = waiting(change);
    to_client(&mut pair, &part(PING_DESCRIPTION));
    to_client(&mut pair, &part(&PING_DESCRIPTION[..4]));
    to_client(&mut pair, &acceptance(Some(&[0; 16])));
    assert_malformed(&mut pair, "catalog: the description is too short", "PROTOCOL H-11, S-7");
    pair
}

fn a_catalog_has_the_digest_it_claims(change: Change<'_>) -> Pair {
    let mut pair = waiting(change);
    to_client(&mut pair, &part(PING_DESCRIPTION));
    to_client(&mut pair, &acceptance(Some(&[7; 16])));
    assert_malformed(&mut pair, "catalog: not the digest it should have", "PROTOCOL H-11");
    pair
}

fn a_description_that_breaks_a_rule(change: Change<'_>) -> Pair {
    let mut deep = b"\x01\x00\x01\x00D".to_vec();
    deep.extend([0x12; 40]);
    deep.push(0x01);
    // An option in an option in …; a sequence of units; no such type; no such direction; no name; twice the same name.
    let bad: &[&[u8]] = &[
        &deep,
        b"\x01\x00\x01\x00S\x13\x11",
        b"\x01\x00\x01\x00U\x18",
        b"\x04\x00\x01\x00P\x01",
        b"\x01\x00\x00\x00\x01",
        &[PING_DESCRIPTION, PING_DESCRIPTION].concat(),
    ];
    let mut last = waiting(change);
    for descriptions in bad {
        last = waiting(change);
        to_client(&mut last, &part(descriptions));
        to_client(&mut last, &acceptance(Some(&[0; 16])));
        last.settle();
        let found = last.client.dropped().and_then(Cause::notice).expect("an error");
        assert_eq!(
            found.code(),
            Code::PacketMalformed,
            "PROTOCOL S-7, H-11: {descriptions:x?}"
        );
        assert!(found.text().starts_with("catalog: "), "{}", found.text());
    }
    last
}

fn a_catalog_beyond_the_limit(change: Change<'_>) -> Pair {
    let mut pair = waiting(change);
    for _ in 0..65 {
        to_client(&mut pair, &part(&[1; 1023]));
    }
    assert_malformed(&mut pair, "catalog, field 0", "PROTOCOL S-2, H-11");
    let mut pair = waiting(change);
    to_client(&mut pair, &part(&[]));
    assert_malformed(&mut pair, "catalog, field 0", "PROTOCOL H-11: no part is empty");
    pair
}

fn an_acceptance_without_a_catalog(change: Change<'_>) -> Pair {
    let mut pair = waiting(change);
    to_client(&mut pair, &acceptance(None));
    assert_malformed(&mut pair, "acceptance, field 7", "PROTOCOL H-10");
    pair
}

fn a_catalog_that_nobody_asked_for(change: Change<'_>) -> Pair {
    let mut pair = change(Pair::of::<Demo, Demo>().admit(|_| Decision::Wait)).start();
    pair.settle();
    to_client(&mut pair, &part(PING_DESCRIPTION));
    pair.settle();
    assert_client_found(&pair, Code::Unexpected, None, "PROTOCOL T-1, H-10");
    pair
}

fn an_acceptance_with_a_catalog_that_nobody_asked_for(change: Change<'_>) -> Pair {
    let mut pair = change(Pair::of::<Demo, Demo>().admit(|_| Decision::Wait)).start();
    pair.settle();
    to_client(&mut pair, &acceptance(Some(&[0; 16])));
    assert_malformed(&mut pair, "acceptance, field 7", "PROTOCOL H-7, H-10");
    pair
}

/// A proposal with these fields between limits and end.
fn proposal(digest: bool, adopt: bool) -> Vec<u8> {
    let mut body = b"\x81\x09Test/Demo\x82\x10".to_vec();
    body.extend([7; 16]);
    if digest {
        body.extend([0x83, 16]);
        body.extend(Demo::CATALOG.digest().as_bytes());
    }
    body.extend([0x84, 8, 0x80, 4, 0x80, 8, 0x10, 0xe0, 0xd4, 3]);
    if adopt {
        body.extend([0x88, 0]);
    }
    [&[0xd1, b'S', b'E', b'T', 1][..], &frame(0x80, &body)].concat()
}

fn a_proposal_with_a_catalog_and_without(change: Change<'_>) -> Pair {
    for both in [true, false] {
        let mut pair = change(Pair::of::<Demo, Demo>()).start();
        let own = pair.client.conn.transmit().len();
        pair.client.conn.transmitted(own);
        to_service(&mut pair, &proposal(both, both));
        pair.settle();
        assert_service_found(&pair, Code::PacketMalformed, None, "PROTOCOL H-10");
    }
    let mut pair = change(Pair::of::<Demo, Demo>()).start();
    let own = pair.client.conn.transmit().len();
    pair.client.conn.transmitted(own);
    to_service(&mut pair, &proposal(false, true));
    pair.settle();
    assert!(
        pair.service
            .log
            .iter()
            .any(|entry| matches!(entry, Happened::Connected(_))),
        "PROTOCOL H-10"
    );
    pair
}

#[test]
fn a_service_that_does_not_tell_refuses() {
    let mut service = Halves::new(NOW, &Limits::SERVER, 4096, NoSession);
    service.listen(Demo::CATALOG, Limits::SERVER).unwrap();
    let mut causes = Vec::new();
    service.feed(&proposal(false, true), |_, event| match event {
        Event::Ended(ended) => causes.push(ended.cause().clone()),
        _ => panic!("PROTOCOL H-10: not refused"),
    });
    let [Cause::WeRefused(notice)] = &causes[..] else {
        panic!("PROTOCOL H-10: not refused: {causes:?}");
    };
    assert_eq!(
        (notice.code(), notice.text()),
        (Code::UnknownField, "the service does not tell its messages"),
        "PROTOCOL H-10"
    );
}
