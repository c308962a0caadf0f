//! How two peers come to terms: round trips, catalogs that differ, admission, refusal.

use diset_proto::sim::{Decision, Halves, Happened, Pair};
use diset_proto::{
    Admission, Arg, Cause, Code, Identity, Limits, MessageSet, Notice, Phase, RetryAfter, SendError, ServiceDef, Trid,
    Verdict, define_service,
};

use super::support::*;

scenarios! {
    a_known_digest_takes_one_round_trip,
    an_unknown_digest_takes_two,
    a_registered_older_catalog_takes_one,
    a_large_catalog_takes_several_frames,
    an_empty_catalog_connects,
    forbidden_messages_are_told_at_connect,
    forbidden_messages_have_the_number_of_the_client,
    forbidden_messages_of_a_registered_catalog,
    refused_for_good,
    refused_until_somebody_sees_to_it,
    refused_for_now,
    admission_may_take_its_time,
    admission_has_a_deadline,
    a_handshake_has_a_deadline,
    a_service_of_another_name,
    an_unknown_critical_field,
    an_unknown_field_that_may_be_skipped,
    a_second_proposal,
    a_message_before_the_acceptance,
    definitions_that_begin_again,
    arguments_arrive,
    a_stranger_is_answered_with_silence,
    another_version_is_told_the_own_one,
    a_frame_too_long_before_the_connection_is_open,
    the_largest_trid,
}

fn a_known_digest_takes_one_round_trip(change: Change<'_>) -> Pair {
    let mut pair = change(Pair::of::<Demo, Demo>().trid(Trid::new(7))).start();
    pair.settle();
    assert_eq!(pair.client.log, [Happened::Connected(Trid::new(7))], "PROTOCOL H-7");
    assert_eq!(pair.service.log.last(), Some(&Happened::Connected(Trid::new(7))));
    assert_eq!(pair.client.conn.trid(), pair.service.conn.trid());
    pair
}

#[test]
fn flights() {
    let mut known = Pair::of::<Demo, Demo>().start();
    known.settle();
    assert_eq!(known.flights(), 2, "PROTOCOL H-7: one round trip");

    let mut older = Pair::of::<older::Demo, Demo>().known(older::Demo::CATALOG).start();
    older.settle();
    assert_eq!(
        older.flights(),
        2,
        "PROTOCOL S-4: one round trip with a registered catalog"
    );

    let mut unknown = Pair::of::<older::Demo, Demo>().start();
    unknown.settle();
    assert_eq!(unknown.flights(), 4, "PROTOCOL H-8: two round trips");
}

/// What holds for an older client, however the service came to know its catalog.
fn assert_older(pair: &mut Pair) {
    assert!(matches!(pair.client.log[..], [Happened::Connected(_)]));
    let verdicts = |conn: &Halves, numbers: [u8; 5]| numbers.map(|number| conn.verdict(number));
    assert_eq!(
        verdicts(
            &pair.client.conn,
            [older::GONE, older::PING, older::PONG, older::MIXED, older::NOTE]
        ),
        [
            Verdict::Unknown,
            Verdict::Same,
            Verdict::Same,
            Verdict::Same,
            Verdict::Differs
        ],
        "PROTOCOL S-5"
    );
    assert_eq!(
        verdicts(&pair.service.conn, [PING, PONG, NOTE, BLOB, MIXED]),
        [
            Verdict::Same,
            Verdict::Same,
            Verdict::Differs,
            Verdict::Unknown,
            Verdict::Same
        ],
        "PROTOCOL S-5: in the numbers of the service"
    );

    let note = older::Note {
        text: "x".into(),
        urgent: true,
    };
    assert_eq!(
        pair.client.conn.send(older::NOTE, &note),
        Err(SendError::NotAgreed(Verdict::Differs)),
        "PROTOCOL S-6"
    );
    assert_eq!(
        pair.client.conn.send(older::GONE, &older::Gone {}),
        Err(SendError::NotAgreed(Verdict::Unknown)),
        "PROTOCOL S-6"
    );
    assert_eq!(
        pair.service.conn.send(NOTE, &Note { text: "x" }),
        Err(SendError::NotAgreed(Verdict::Differs)),
        "PROTOCOL S-6"
    );
    assert!(
        pair.client.conn.transmit().is_empty() && pair.service.conn.transmit().is_empty(),
        "PROTOCOL S-6: nothing leaves"
    );

    let mixed = Mixed {
        on: true,
        count: 300,
        maybe: None,
        level: Level::High(3),
    };
    pair.client.conn.send(older::PING, &Ping { id: 1 }).unwrap();
    pair.client.conn.send(older::MIXED, &mixed).unwrap();
    pair.service.conn.send(PONG, &Pong { id: 2 }).unwrap();
    pair.service.conn.send(MIXED, &mixed).unwrap();
    // PROTOCOL S-4: on the wire stands the client's number, each way.
    assert_eq!(pair.client.conn.transmit()[..3], [3, 0, older::PING]);
    assert_eq!(pair.service.conn.transmit()[..3], [3, 0, older::PONG]);
    pair.settle();
    assert_eq!(names(&pair.service), ["Ping", "Mixed"]);
    assert_eq!(names(&pair.client), ["Pong", "Mixed"]);
}

fn an_unknown_digest_takes_two(change: Change<'_>) -> Pair {
    let mut pair = change(Pair::of::<older::Demo, Demo>()).start();
    pair.settle();
    assert_older(&mut pair);
    pair
}

fn a_registered_older_catalog_takes_one(change: Change<'_>) -> Pair {
    let mut pair = change(Pair::of::<older::Demo, Demo>().known(older::Demo::CATALOG)).start();
    pair.settle();
    assert_older(&mut pair);
    pair
}

/// Two forms of a service with many messages of long names.
mod large {
    use diset_proto::{Schema, define_service};
    use serde::{Deserialize, Serialize};

    macro_rules! large {
        ($($name:ident)*) => {
            $(#[derive(Serialize, Deserialize, Schema)]
            struct $name {})*
            define_service! { pub(crate) One = "Test/Large"; from_client: [$($name),*] }
            define_service! { pub(crate) Other = "Test/Large"; both: [$($name),*] }
        };
    }
    large! {
        AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000000 AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000001
        AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000002 AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000003
        AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000004 AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000005
        AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000006 AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000007
        AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000008 AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000009
        AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000010 AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000011
        AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000012 AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000013
        AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000014 AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000015
        AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000016 AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000017
        AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000018 AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000019
        AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000020 AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000021
        AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000022 AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000023
        AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000024 AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000025
        AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000026 AMessageWithANameThatTakesAllTheRoomThereIsInADefinition00000027
    }
}

fn a_large_catalog_takes_several_frames(change: Change<'_>) -> Pair {
    // Directions differ, so every verdict does and the acceptance is long, too.
    let mut pair = change(Pair::of::<large::One, large::Other>().output(768)).start();
    pair.settle();
    assert!(matches!(pair.client.log[..], [Happened::Connected(_)]), "PROTOCOL H-8");
    assert!(
        pair.to_service.carried() > 2 * 1024,
        "PROTOCOL H-1: more than two frames"
    );
    for number in 0..28 {
        assert_eq!(pair.client.conn.verdict(number), Verdict::Differs);
        assert_eq!(pair.service.conn.verdict(number), Verdict::Differs);
    }
    pair
}

fn an_empty_catalog_connects(change: Change<'_>) -> Pair {
    define_service! { Empty = "Test/Demo"; }
    let mut pair = change(Pair::of::<Empty, Demo>()).start();
    pair.settle();
    assert!(matches!(pair.client.log[..], [Happened::Connected(_)]), "PROTOCOL H-8");
    assert_eq!(pair.service.conn.verdict(PING), Verdict::Unknown, "PROTOCOL S-5");
    pair
}

fn forbidden_messages_are_told_at_connect(change: Change<'_>) -> Pair {
    let forbidden: MessageSet = [NOTE, PONG].into_iter().collect();
    let mut pair = change(Pair::of::<Demo, Demo>().admit(move |_| Decision::AdmitWithout(forbidden))).start();
    pair.settle();
    assert_eq!(pair.client.conn.verdict(NOTE), Verdict::Forbidden, "PROTOCOL S-5");
    assert_eq!(pair.client.conn.verdict(PONG), Verdict::Forbidden, "PROTOCOL S-5");
    assert_eq!(pair.client.conn.verdict(PING), Verdict::Same, "PROTOCOL S-5");
    assert_eq!(
        pair.service.conn.send(PONG, &Pong { id: 1 }),
        Err(SendError::NotAgreed(Verdict::Forbidden)),
        "PROTOCOL S-5, S-6: not to it either"
    );
    // What it sends all the same is not looked into.
    to_service(&mut pair, &message(NOTE, &[0xff]));
    pair.settle();
    assert_service_found(&pair, Code::Forbidden, Some(NOTE), "PROTOCOL S-5, M-1, M-4");
    pair
}

fn forbidden_messages_have_the_number_of_the_client(change: Change<'_>) -> Pair {
    // Its Note differs, which it is told instead; Pong has another number.
    let forbidden: MessageSet = [PONG, MIXED].into_iter().collect();
    let setup = Pair::of::<older::Demo, Demo>().admit(move |_| Decision::AdmitWithout(forbidden));
    let mut pair = change(setup).start();
    pair.settle();
    let verdicts = [older::PING, older::PONG, older::MIXED, older::NOTE].map(|number| pair.client.conn.verdict(number));
    let expected = [Verdict::Same, Verdict::Forbidden, Verdict::Forbidden, Verdict::Differs];
    assert_eq!(verdicts, expected, "PROTOCOL S-5");
    to_service(&mut pair, &message(older::MIXED, &[]));
    pair.settle();
    assert_service_found(&pair, Code::Forbidden, Some(older::MIXED), "PROTOCOL S-5, M-4");
    pair
}

fn forbidden_messages_of_a_registered_catalog(change: Change<'_>) -> Pair {
    let mut pair = change(
        Pair::of::<older::Demo, Demo>()
            .known(older::Demo::CATALOG)
            .admit(|_| Decision::AdmitWithout([PING].into_iter().collect())),
    )
    .start();
    pair.settle();
    assert_eq!(
        pair.client.conn.verdict(older::PING),
        Verdict::Forbidden,
        "PROTOCOL S-5"
    );
    assert_eq!(
        pair.client.conn.send(older::PING, &Ping { id: 1 }),
        Err(SendError::NotAgreed(Verdict::Forbidden)),
        "PROTOCOL S-6"
    );
    pair
}

fn refused(change: Change<'_>, notice: Notice) -> Pair {
    let answer = notice.clone();
    let mut pair = change(Pair::of::<Demo, Demo>().admit(move |_| Decision::Refuse(answer.clone()))).start();
    pair.settle();
    assert_eq!(pair.client.log, [Happened::Dropped(Cause::Refused(notice.clone()))]);
    assert_eq!(
        pair.service.log.last(),
        Some(&Happened::Dropped(Cause::WeRefused(notice)))
    );
    assert_eq!(pair.client.conn.phase(), Phase::Closed);
    pair
}

fn refused_for_good(change: Change<'_>) -> Pair {
    let retired = Notice::new(Code::NotAdmitted).with_text("retired").permanently();
    let pair = refused(change, retired);
    assert!(pair.client.dropped().unwrap().is_permanent(), "PROTOCOL R-4");
    pair
}

fn refused_until_somebody_sees_to_it(change: Change<'_>) -> Pair {
    let pair = refused(change, Notice::new(Code::NotAdmitted).with_text("not on the list"));
    let cause = pair.client.dropped().unwrap();
    assert!(!cause.is_permanent() && cause.needs_mending(), "PROTOCOL R-4");
    pair
}

fn refused_for_now(change: Change<'_>) -> Pair {
    let pair = refused(
        change,
        Notice::new(Code::Busy).with_retry(RetryAfter::new(SECOND, SECOND)),
    );
    assert!(!pair.client.dropped().unwrap().is_permanent(), "PROTOCOL R-4");
    pair
}

fn admission_may_take_its_time(change: Change<'_>) -> Pair {
    let mut pair = change(Pair::of::<Demo, Demo>().admit(|_| Decision::Wait)).start();
    pair.settle();
    assert_eq!(pair.client.log, []);
    assert_eq!(pair.service.conn.phase(), Phase::Admitting, "PROTOCOL H-4");
    pair.run_for(5 * SECOND);
    assert!(pair.service.conn.accept(pair.now, Admission::new(Trid::new(3))).is_ok());
    pair.settle();
    assert_eq!(pair.client.log, [Happened::Connected(Trid::new(3))]);
    assert!(
        pair.service
            .conn
            .accept(pair.now, Admission::new(Trid::new(4)))
            .is_err(),
        "PROTOCOL T-1: misuse"
    );
    pair
}

fn admission_has_a_deadline(change: Change<'_>) -> Pair {
    let limits = Limits::SERVER.with_handshake(3 * SECOND);
    let mut pair = change(
        Pair::of::<Demo, Demo>()
            .limits(Limits::SERVER, limits)
            .admit(|_| Decision::Wait),
    )
    .start();
    pair.run_for(10 * SECOND);
    let Some(Cause::Refused(notice)) = pair.client.dropped() else {
        panic!("{pair:?}")
    };
    assert_eq!(notice.code(), Code::AdmissionTimeout, "PROTOCOL H-4");
    assert!(
        notice.retry().is_some(),
        "PROTOCOL R-4: a slow service is no reason to stay away for ever"
    );
    assert!(
        pair.service
            .conn
            .accept(pair.now, Admission::new(Trid::new(3)))
            .is_err()
    );
    pair
}

fn a_handshake_has_a_deadline(change: Change<'_>) -> Pair {
    let mut pair = change(Pair::of::<Demo, Demo>()).start();
    pair.to_service.stall(true);
    pair.run_for(30 * SECOND);
    assert_eq!(pair.client.dropped(), Some(&Cause::HandshakeTimeout), "PROTOCOL H-9");
    assert_eq!(pair.service.dropped(), Some(&Cause::HandshakeTimeout), "PROTOCOL H-9");
    pair
}

fn a_service_of_another_name(change: Change<'_>) -> Pair {
    let mut pair = change(Pair::of::<elsewhere::Other, Demo>()).start();
    pair.settle();
    let Some(Cause::Refused(notice)) = pair.client.dropped() else {
        panic!("{pair:?}")
    };
    assert_eq!(
        (notice.code(), notice.text()),
        (Code::UnknownService, "Test/Other"),
        "PROTOCOL H-6"
    );
    assert_eq!(pair.service.log.len(), 1, "the application is not asked");
    pair
}

/// A pair whose client says `extra` at the end of its proposal.
pub(crate) fn proposing(change: Change<'_>, extra: &[u8]) -> Pair {
    let mut pair = change(Pair::of::<Demo, Demo>()).start();
    let written = pair.client.conn.transmit();
    let (preamble, proposal) = written.split_at(5);
    // One byte of length, the head, the fields.
    let body = [&proposal[2..], extra].concat();
    let bytes = [preamble, &frame(0x80, &body)].concat();
    let count = written.len();
    pair.client.conn.transmitted(count);
    to_service(&mut pair, &bytes);
    pair.settle();
    pair
}

fn an_unknown_critical_field(change: Change<'_>) -> Pair {
    let pair = proposing(change, &[0xbf, 1, 0]);
    assert_service_found(&pair, Code::UnknownField, None, "PROTOCOL H-2");
    pair
}

fn an_unknown_field_that_may_be_skipped(change: Change<'_>) -> Pair {
    let pair = proposing(change, &[0x3f, 1, 0]);
    assert!(matches!(pair.client.log[..], [Happened::Connected(_)]), "PROTOCOL H-2");
    pair
}

fn a_second_proposal(change: Change<'_>) -> Pair {
    let mut pair = connected(change);
    to_service(&mut pair, &frame(0x80, &[]));
    pair.settle();
    assert_service_found(&pair, Code::Unexpected, None, "PROTOCOL T-1");
    pair
}

fn a_message_before_the_acceptance(change: Change<'_>) -> Pair {
    let mut pair = change(Pair::of::<Demo, Demo>().admit(|_| Decision::Wait)).start();
    assert_eq!(
        pair.client.conn.send(PING, &Ping { id: 1 }),
        Err(SendError::NotOpen),
        "PROTOCOL T-1"
    );
    pair.settle();
    to_service(&mut pair, &message(PING, &[2]));
    pair.settle();
    assert_service_found(&pair, Code::Unexpected, None, "PROTOCOL H-4");
    assert_eq!(names(&pair.service), [""; 0]);
    pair
}

fn definitions_that_begin_again(change: Change<'_>) -> Pair {
    let mut pair = change(Pair::of::<older::Demo, Demo>()).start();
    // The client's own are held up behind these.
    while pair.service.conn.phase() != Phase::Asking {
        pair.turn();
    }
    let part = [&[0, 5, 3, 1, b'A'][..], &[0; 16]].concat();
    to_service(&mut pair, &frame(0x84, &part));
    to_service(&mut pair, &frame(0x84, &part));
    pair.settle();
    assert!(
        matches!(pair.service.dropped(), Some(Cause::OurError(notice)) if notice.code() == Code::PacketMalformed),
        "PROTOCOL H-8: in order"
    );
    pair
}

fn arguments_arrive(change: Change<'_>) -> Pair {
    let args = [
        ("site", Arg::Text("CERN")),
        ("slots", Arg::Int(-12)),
        ("load", Arg::Float(0.5)),
        ("batch", Arg::Bool(true)),
    ];
    let identity = Identity::from_bytes([9; 16]);
    let mut pair = change(Pair::of::<Demo, Demo>().identity(identity).args(&args)).start();
    pair.settle();
    let expected = args
        .map(|(name, value)| (name.to_owned(), format!("{value:?}")))
        .to_vec();
    assert_eq!(
        pair.service.log[0],
        Happened::Proposed(identity, expected),
        "PROTOCOL H-3, H-5"
    );
    pair
}

fn a_stranger_is_answered_with_silence(change: Change<'_>) -> Pair {
    let mut pair = change(Pair::of::<Demo, Demo>()).start();
    let count = pair.client.conn.transmit().len();
    pair.client.conn.transmitted(count);
    to_service(&mut pair, b"GET / HTTP/1.1\r\n\r\n");
    pair.settle();
    assert!(
        matches!(pair.service.dropped(), Some(Cause::OurError(notice)) if notice.code() == Code::NotDiset),
        "PROTOCOL P-2"
    );
    assert_eq!(pair.to_client.carried(), 0, "PROTOCOL P-2");
    pair
}

fn another_version_is_told_the_own_one(change: Change<'_>) -> Pair {
    let mut pair = change(Pair::of::<Demo, Demo>()).start();
    let count = pair.client.conn.transmit().len();
    pair.client.conn.transmitted(count);
    to_service(&mut pair, &[0xd1, b'S', b'E', b'T', 2, 1, 0x80]);
    pair.settle();
    let cause = pair.service.dropped().unwrap();
    assert_eq!(cause.code(), Some(Code::Version), "PROTOCOL P-2");
    assert!(cause.needs_mending() && !cause.is_permanent(), "PROTOCOL R-4");
    assert_eq!(
        pair.to_client.carried(),
        5,
        "PROTOCOL P-1, P-2: its preamble and no frame"
    );
    pair
}

fn a_frame_too_long_before_the_connection_is_open(change: Change<'_>) -> Pair {
    let mut pair = change(Pair::of::<Demo, Demo>()).start();
    let count = pair.client.conn.transmit().len();
    pair.client.conn.transmitted(count);
    to_service(&mut pair, &[0xd1, b'S', b'E', b'T', 1, 0x81, 0x08]);
    pair.settle();
    assert_service_found(&pair, Code::FrameTooLong, None, "PROTOCOL H-1, F-5");
    assert_eq!(
        pair.service.conn.max_frame(),
        1024,
        "PROTOCOL H-1: nobody who never came in gets more"
    );
    pair
}

fn the_largest_trid(change: Change<'_>) -> Pair {
    let mut pair = change(Pair::of::<Demo, Demo>().trid(Trid::new(u64::MAX))).start();
    pair.settle();
    assert_eq!(pair.client.log, [Happened::Connected(Trid::new(u64::MAX))]);
    pair
}

#[test]
fn an_identity_survives_a_reconnect_and_a_trid_does_not() {
    let identity = Identity::from_bytes([7; 16]);
    let connect = |trid| {
        let mut pair = Pair::of::<Demo, Demo>()
            .identity(identity)
            .trid(Trid::new(trid))
            .start();
        pair.settle();
        pair
    };
    let mut first = connect(1);
    first.cut();
    first.settle();
    assert_eq!(first.client.dropped(), Some(&Cause::Lost));
    let again = connect(2);
    assert_eq!(first.service.log[0], again.service.log[0], "PROTOCOL R-6");
    assert_ne!(first.client.conn.trid(), again.client.conn.trid(), "PROTOCOL R-6");
}
