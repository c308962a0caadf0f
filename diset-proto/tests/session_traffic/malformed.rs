//! What a peer must not send: each names the rule, the packet and the field, and ends the connection once.

use diset_proto::{Code, Phase};

use super::support::*;

/// Either side takes this frame as a fault, with this code and text.
#[track_caller]
fn refuses(bytes: &[u8], code: Code, text: &str, rule: &str) {
    for service in [false, true] {
        let mut side = Side::begun(service);
        // Three are under way.
        for value in 0..3 {
            side.send(value);
        }
        side.take();
        side.feed(bytes);
        assert_eq!(side.conn.phase(), Phase::Closing, "{rule}");
        side.assert_found(code, text, rule);
        assert!(side.take().len() < 100, "the error, and nothing else");
    }
}

/// Claims that cannot be, and those that cannot be read.
fn bad_claims() -> Vec<(&'static str, Vec<u8>)> {
    let good = claim([1, 2, 3, 2], &[(1, 33), (2, 35)]);
    let mut bad = vec![
        ("settled above sent", claim([3, 2, 0, 0], &[])),
        ("processed above received", claim([0, 0, 1, 2], &[])),
        ("an outcome above processed", claim([0, 0, 5, 2], &[(3, 33)])),
        ("an outcome of no message", claim([0, 0, 5, 2], &[(0, 33)])),
        ("outcomes not ascending", claim([0, 0, 5, 5], &[(2, 33), (1, 33)])),
        ("an outcome twice", claim([0, 0, 5, 5], &[(2, 33), (2, 33)])),
        ("an outcome that is Ok", claim([0, 0, 5, 5], &[(2, 0)])),
        ("a code above 16 bits", claim([0, 0, 5, 5], &[(2, 0x1_0000)])),
        (
            "five outcomes",
            claim([0, 0, 9, 9], &[(1, 33), (2, 33), (3, 33), (4, 33), (5, 33)]),
        ),
        ("a number in more bytes than needed", vec![0x80, 0, 0, 0, 0]),
        ("a number above 64 bits", [&[0xff; 9][..], &[0x7f, 0, 0, 0]].concat()),
        ("an outcome without a code", [&good[..], &[9]].concat()),
    ];
    // Cut at each byte; a claim with one outcome less is one.
    bad.extend(
        (0..good.len())
            .filter(|len| !matches!(len, 4 | 6))
            .map(|len| ("cut", good[..len].to_vec())),
    );
    bad
}

#[test]
fn session_fields_of_a_proposal() {
    let mut fields = vec![
        ("empty", vec![]),
        ("an unknown flag", vec![16]),
        ("a durable inbox that takes none", vec![2 | 4]),
        ("all flags", [&[0xff], &[7; 16][..], &claim([0; 4], &[])].concat()),
        ("more behind no token", vec![BOTH, 0]),
        ("a cut token", [&[GOES_ON | BOTH], &[7; 15][..]].concat()),
        ("a token without a claim", [&[GOES_ON | BOTH], &[7; 16][..]].concat()),
        (
            "more than one that sends knows",
            [&[GOES_ON | 4], &[7; 16][..], &[0; 3]].concat(),
        ),
        (
            "less than one that takes knows",
            [&[GOES_ON | 8], &[7; 16][..], &[0]].concat(),
        ),
        ("a claim of neither", [&[GOES_ON], &[7; 16][..], &[0]].concat()),
    ];
    fields.extend(
        bad_claims()
            .into_iter()
            .map(|(what, claim)| (what, returning(&[7; 16], &claim))),
    );
    for (what, session) in fields {
        let mut side = Side::service(Some(memory()));
        side.feed(&proposal(Some(&session)));
        side.assert_found(
            Code::PacketMalformed,
            "proposal, field 6",
            &format!("PROTOCOL N-2, N-3: {what}"),
        );
        assert_eq!(side.trid, 0, "H-4: nobody was asked");
        // As one that keeps no sessions does.
        let mut without = Side::service(None);
        without.feed(&proposal(Some(&session)));
        without.assert_found(Code::PacketMalformed, "proposal, field 6", what);
    }
}

#[test]
fn session_fields_of_an_acceptance() {
    let mut fields = vec![
        ("empty", vec![]),
        ("no flags", vec![1]),
        ("an unknown flag", vec![1, 1]),
        ("more behind a reason", vec![1, 0, 0]),
        ("a claim behind a reason", [&[2, 0], &claim([0; 4], &[])[..]].concat()),
    ];
    fields.extend(bad_claims().into_iter().map(|(what, claim)| (what, resumed(&claim))));
    for (what, session) in fields {
        let mut side = Side::client(Some(memory()));
        side.feed(&acceptance(Some(&session), Some(&token(1))));
        side.assert_found(
            Code::PacketMalformed,
            "acceptance, field 4",
            &format!("PROTOCOL N-3: {what}"),
        );
        assert_eq!(side.conn.resumption(), None);
    }
    for length in [0, 15, 17] {
        let mut side = Side::client(Some(memory()));
        side.feed(&acceptance(Some(NEW_FIRST), Some(&[7; 17][..length])));
        side.assert_found(Code::PacketMalformed, "acceptance, field 5", "PROTOCOL N-4");
    }
}

#[test]
fn acknowledgements() {
    let cases: [(&str, &[u64]); 11] = [
        ("nothing", &[]),
        ("of nothing, L-7", &[0, 0]),
        ("one number", &[1]),
        ("an outcome above what is dealt with", &[3, 2, 3, 33]),
        ("an outcome of no message", &[3, 2, 0, 33]),
        ("outcomes not ascending", &[3, 3, 2, 33, 1, 33]),
        ("an outcome twice", &[3, 3, 2, 33, 2, 33]),
        ("an outcome that is Ok", &[3, 3, 2, 0]),
        ("a code above 16 bits", &[3, 3, 2, 0x1_0000]),
        ("an outcome without a code", &[3, 3, 2]),
        ("five outcomes", &[9, 9, 1, 33, 2, 33, 3, 33, 4, 33, 5, 33]),
    ];
    for (what, values) in cases {
        let ack = frame(ACK, &varints(values));
        refuses(
            &ack,
            Code::PacketMalformed,
            "ack, field 1",
            &format!("PROTOCOL Q-2: {what}"),
        );
    }
    let over_long = frame(ACK, &[0x81, 0, 1]);
    refuses(&over_long, Code::PacketMalformed, "ack, field 1", "PROTOCOL F-1");
    // Three were sent.
    let cases: [(&str, &[u64]); 5] = [
        ("received what was not sent", &[4, 0]),
        ("dealt with what was not sent", &[4, 4]),
        ("dealt with more than was received", &[1, 2]),
        ("received without end", &[u64::MAX, 0]),
        ("dealt with without end", &[1, u64::MAX]),
    ];
    for (what, values) in cases {
        let ack = frame(ACK, &varints(values));
        let rule = format!("PROTOCOL Q-2: {what}");
        refuses(&ack, Code::PacketMalformed, "ack of what was not sent", &rule);
        // The counters do not come round, either.
        let again = [frame(ACK, &[1, 1]), ack].concat();
        refuses(&again, Code::PacketMalformed, "ack of what was not sent", &rule);
    }
}

#[test]
fn outcomes_that_were_read() {
    for (what, body) in [
        ("no number", &[][..]),
        ("none", &[0]),
        ("more", &[1, 1]),
        ("over-long", &[0x81, 0]),
    ] {
        let rule = format!("PROTOCOL Q-9: {what}");
        let text = "outcomes read, field 1";
        refuses(&frame(OUTCOMES_READ, body), Code::PacketMalformed, text, &rule);
    }
    for count in [1, u64::MAX] {
        let bytes = frame(OUTCOMES_READ, &varints(&[count]));
        let text = "outcomes read that were not told";
        refuses(&bytes, Code::PacketMalformed, text, "PROTOCOL Q-9");
    }
}

#[test]
fn what_the_next_message_is() {
    for (what, body) in [
        ("nothing", &[][..]),
        ("no flags", &[1]),
        ("an unknown flag", &[1, 2]),
        ("more", &[1, 1, 0]),
        ("over-long", &[0x81, 0, 0]),
        ("of nothing, L-7", &[0, 0]),
    ] {
        let rule = format!("PROTOCOL Q-3: {what}");
        refuses(&frame(NEXT, body), Code::PacketMalformed, "next, field 1", &rule);
    }
    let next = |count| frame(NEXT, &[&varints(&[count])[..], &[0]].concat());
    let text = "more is skipped than there are numbers";
    let last = u64::MAX / 2;
    for before in [[next(1), acked(1)].concat(), acked(1), [next(last), acked(1)].concat()] {
        for count in [last, u64::MAX] {
            let bytes = [&before[..], &next(count)].concat();
            refuses(&bytes, Code::PacketMalformed, text, "PROTOCOL Q-3: numbers end");
        }
    }
    let mut side = Side::begun(true);
    side.feed(&[next(last), acked(7)].concat());
    assert_eq!(
        side.got,
        [7],
        "PROTOCOL Q-3: there is one behind the last that is skipped"
    );
}

#[test]
fn one_next_for_each_message() {
    let (skip, again) = (frame(NEXT, &[1, 0]), frame(NEXT, &[0, 1]));
    let text = "a second next before its message";
    for first in [&skip, &again] {
        for second in [&skip, &again] {
            let twice = [&first[..], second].concat();
            refuses(&twice, Code::PacketMalformed, text, "PROTOCOL L-7, Q-3");
            // Whatever comes between that is no acked message.
            let apart = [&first[..], &frame(0x86, &[]), &frame(0, &[READING, 1]), second].concat();
            refuses(&apart, Code::PacketMalformed, text, "PROTOCOL L-7, Q-3");
        }
    }
    for service in [false, true] {
        let mut side = Side::begun(service);
        let pair = [&skip[..], &acked(1), &again, &acked(2)].concat();
        side.feed(&pair.repeat(3));
        assert_eq!(side.got, [1, 2, 1, 2, 1, 2], "PROTOCOL Q-3: one each");
        side.feed(&skip);
        if service {
            // What was said of a message that did not come was said on that connection.
            let mut side = side.again();
            side.feed(&[&proposal(Some(FIRST))[..], &skip, &acked(3)].concat());
            assert_eq!(side.got, [3], "PROTOCOL Q-3");
        }
    }
}

#[test]
fn four_next_keys_are_answered() {
    let key = |first: u8| frame(NEXT_KEY, &[&[first][..], &[0; 31], &[9]].concat());
    for service in [false, true] {
        let mut side = Side::begun(service);
        for first in 0..4 {
            side.feed(&key(first));
            assert_eq!(side.conn.phase(), Phase::Open, "PROTOCOL L-7");
        }
        side.feed(&key(4));
        side.assert_found(Code::Busy, "more keys than a connection may tell", "PROTOCOL L-7");
        // On the next connection four more.
        if service {
            let mut side = side.again();
            side.feed(&proposal(Some(FIRST)));
            side.feed(&key(5));
            assert_eq!(side.conn.phase(), Phase::Open, "PROTOCOL L-7");
        }
    }
}

#[test]
fn next_keys() {
    for body in [
        &[0; 31][..],
        &[0; 32],
        &[0; 34],
        &[&[0; 32][..], &[0x80, 0]].concat(),
        &[&[0; 32][..], &[0xff, 0xff, 0xff, 0xff, 0x1f]].concat(),
    ] {
        refuses(
            &frame(NEXT_KEY, body),
            Code::PacketMalformed,
            "next key, field 1",
            "PROTOCOL N-8",
        );
    }
}

#[test]
fn frames_of_a_session_without_one() {
    let key = [&[0; 32][..], &[9]].concat();
    let frames = [
        acked(1),
        frame(ACK, &[0, 0]),
        frame(NEXT, &[0, 0]),
        frame(OUTCOMES_READ, &[1]),
        frame(NEXT_KEY, &key),
    ];
    for bytes in frames {
        // A client without, a client whose service keeps none, a service whose client keeps none.
        let mut client = Side::client(None);
        client.feed(&acceptance(None, None));
        let mut alone = Side::client(Some(memory()));
        alone.feed(&acceptance(None, None));
        let mut service = Side::service(None);
        service.feed(&proposal(None));
        for mut side in [client, alone, service] {
            assert_eq!(side.conn.resumption(), None);
            assert!(side.send_unsure(1, diset_proto::store::Unsure::Report).is_err());
            side.feed(&bytes);
            side.assert_found(Code::Unexpected, "there is no session", "PROTOCOL N-1");
        }
    }
}

#[test]
fn frames_of_a_session_in_the_handshake() {
    let key = [&[0; 32][..], &[9]].concat();
    for (bytes, name) in [
        (acked(1), "acked message"),
        (frame(ACK, &[0, 0]), "ack"),
        (frame(NEXT, &[0, 0]), "next"),
        (frame(OUTCOMES_READ, &[1]), "outcomes read"),
        (frame(NEXT_KEY, &key), "next key"),
    ] {
        for mut side in [Side::client(Some(memory())), Side::service(None)] {
            side.feed(&[PREAMBLE, &bytes].concat());
            side.assert_found(Code::Unexpected, name, "PROTOCOL T-1");
        }
    }
}

/// An acked message is a message: what part M forbids is its outcome, too.
#[test]
fn acked_messages_that_are_not_shared() {
    let outcome_of = |side: &mut Side| {
        let left = side.take();
        let ack = [ACK, 1, 1, 1];
        let at = left
            .windows(4)
            .position(|bytes| bytes == ack)
            .expect("PROTOCOL Q-5: its outcome is told");
        assert!(
            at < left.iter().position(|byte| *byte == ERROR).unwrap(),
            "PROTOCOL Q-2: before the error"
        );
        left[at + 4]
    };
    for (body, code, text) in [
        (&[9, 1][..], Code::UnknownMessage, ""),
        (&[READING], Code::Invalid, "the message is too short"),
        (&[READING, 1, 0], Code::Invalid, "1 bytes left over"),
        (&[BLOB, 0], Code::NoHandler, ""),
    ] {
        for service in [false, true] {
            let mut side = Side::begun(service);
            side.feed(&frame(ACKED, body));
            // What nobody looked at is found with the next call.
            side.conn.transmit();
            assert_eq!(u16::from(outcome_of(&mut side)), code.number(), "PROTOCOL Q-5");
            side.leave();
            side.assert_found(code, text, "PROTOCOL M-4");
        }
    }
    let mut service = Side::begun(true);
    service.feed(&frame(ACKED, &[ORDER, 1]));
    service.assert_found(Code::WrongDirection, "Order", "PROTOCOL M-4");
    assert_eq!(u16::from(outcome_of(&mut service)), Code::WrongDirection.number());
    for service in [false, true] {
        let mut side = Side::begun(service);
        side.feed(&frame(ACKED, &[]));
        side.assert_found(Code::PacketMalformed, "a message without a number", "PROTOCOL M-1");
    }
}
