//! Peers that lie, copies of a peer, and peers that never stop: the rightful session is left alone, memory is bounded,
//! and nothing runs for ever.

use core::time::Duration;

use diset_proto::{Code, Delivered, Misuse, NewReason, Outcome, Phase, Resumption, Unwelcome};

use super::support::*;

fn new(why: NewReason) -> Option<Resumption> {
    Some(Resumption::New { why })
}

/// A service that has got three messages of a client and dealt with two, and has sent three, of which one was dealt
/// with; its client has been away since.
fn service() -> Side {
    let mut side = Side::begun(true);
    side.feed(&[acked(1), acked(2)].concat());
    for value in 0..3 {
        side.send(value);
    }
    side.take();
    side.feed(&frame(ACK, &[2, 1]));
    side.policy = Policy::Hold;
    side.feed(&acked(3));
    side.leave();
    side.again()
}

/// A client as that.
fn client() -> Side {
    let mut side = Side::begun(false);
    side.feed(&[acked(1), acked(2)].concat());
    for value in 0..3 {
        side.send(value);
    }
    side.take();
    side.feed(&frame(ACK, &[2, 1]));
    side.policy = Policy::Hold;
    side.feed(&acked(3));
    side.leave();
    side.again()
}

/// What is right to say to either of them.
fn fitting() -> Vec<u8> {
    claim([2, 3, 3, 3], &[])
}

/// What is not.
const NOT_FITTING: [(&str, [u64; 4]); 5] = [
    ("settled above what was dealt with", [3, 3, 3, 3]),
    ("sent below what has come", [2, 2, 3, 3]),
    ("received what was never sent", [2, 3, 4, 3]),
    ("dealt with less than before", [2, 3, 3, 0]),
    ("without end", [2, u64::MAX, u64::MAX, u64::MAX]),
];

#[test]
fn what_fits_is_taken() {
    let mut side = service();
    side.feed(&proposal(Some(&returning(&token(1), &fitting()))));
    assert_eq!(side.conn.resumption(), Some(Resumption::Resumed { replayed: 0 }));
    let mut side = client();
    side.feed(&acceptance(Some(&resumed(&fitting())), Some(&token(2))));
    assert_eq!(side.conn.resumption(), Some(Resumption::Resumed { replayed: 0 }));
    assert_eq!(
        side.conn.delivered(),
        Delivered {
            received: 3,
            processed: 3
        }
    );
}

#[test]
fn a_copy_of_the_client_does_not_touch_the_session() {
    let mut attempts = vec![
        ("another token", returning(&token(9), &fitting())),
        ("a token of before the last", returning(&[0; 16], &fitting())),
    ];
    attempts.extend(NOT_FITTING.map(|(what, values)| (what, returning(&token(1), &claim(values, &[])))));
    for (what, said) in attempts {
        let mut side = service();
        let before = side.kept.as_ref().unwrap().record();
        side.feed(&proposal(Some(&said)));
        assert_eq!(
            side.conn.resumption(),
            new(NewReason::StateConflict),
            "PROTOCOL N-5: {what}"
        );
        assert!(side.kept.as_ref().unwrap().record() == before, "PROTOCOL N-5: {what}");
        let answer = side.take();
        assert!(
            answer.ends_with(&[0x04, 2, 3, BOTH]),
            "PROTOCOL N-3, N-5: no token: {answer:02x?}"
        );
        // The rightful one goes on.
        let kept = side.kept.take();
        let mut side = Side::service(kept);
        side.trid = 5;
        side.feed(&proposal(Some(&returning(&token(1), &fitting()))));
        assert_eq!(
            side.conn.resumption(),
            Some(Resumption::Resumed { replayed: 0 }),
            "{what}"
        );
    }
}

#[test]
fn an_identity_alone_opens_nothing() {
    let mut side = service();
    side.proven = false;
    side.feed(&proposal(Some(FIRST)));
    assert_eq!(side.conn.resumption(), new(NewReason::StateConflict), "PROTOCOL N-4");
    let mut side = service();
    side.feed(&proposal(Some(FIRST)));
    assert_eq!(
        side.conn.resumption(),
        new(NewReason::First),
        "PROTOCOL N-4: it has lost its memory"
    );
    assert_eq!(
        side.outcomes(),
        [(2, Outcome::Unknown), (3, Outcome::Unknown)],
        "PROTOCOL N-6"
    );
}

#[test]
fn a_service_that_was_set_back() {
    for (what, values) in NOT_FITTING {
        let mut side = client();
        side.feed(&acceptance(Some(&resumed(&claim(values, &[]))), Some(&token(2))));
        side.assert_found(Code::StateConflict, "the claim of the service does not fit", what);
        // It shows no token any more, and begins anew.
        let mut next = side.conn;
        let record = next.take_session().unwrap();
        let mut again = Side::client(Some(record));
        again.feed(&acceptance(Some(NEW_FIRST), Some(&token(1))));
        assert_eq!(again.conn.resumption(), new(NewReason::First), "PROTOCOL N-5");
        assert_eq!(again.outcomes(), [(2, Outcome::Unknown), (3, Outcome::Unknown)]);
    }
}

fn shows(side: Side, token: &[u8; 16]) -> bool {
    let shown = [&[GOES_ON | BOTH], &token[..]].concat();
    says_next(side).windows(17).any(|bytes| bytes == shown)
}

#[test]
fn answers_that_were_not_asked_for() {
    // Resumed, to a client that has none, or without a token.
    let mut side = Side::client(Some(memory()));
    side.feed(&acceptance(Some(&resumed(&claim([0; 4], &[]))), Some(&token(1))));
    side.assert_found(
        Code::StateConflict,
        "the claim of the service does not fit",
        "PROTOCOL N-5",
    );
    let mut side = client();
    side.feed(&acceptance(Some(&resumed(&fitting())), None));
    side.assert_found(
        Code::StateConflict,
        "the claim of the service does not fit",
        "PROTOCOL N-4",
    );
    // A session, or a token, to a client that keeps none.
    let mut side = Side::client(None);
    side.feed(&acceptance(Some(NEW_FIRST), Some(&token(1))));
    assert_eq!(
        (side.conn.phase(), side.conn.resumption()),
        (Phase::Open, None),
        "PROTOCOL H-7, N-1"
    );
    // A token without a session: the client keeps its own.
    let mut side = client();
    side.feed(&acceptance(None, Some(&token(9))));
    assert_eq!(
        (side.conn.phase(), side.conn.resumption()),
        (Phase::Open, None),
        "PROTOCOL N-1"
    );
    assert!(shows(side, &token(1)));
    // Or with one that is in conflict.
    let mut side = client();
    side.feed(&acceptance(Some(&[3, BOTH]), Some(&token(9))));
    assert_eq!(side.conn.resumption(), new(NewReason::StateConflict));
    assert!(shows(side, &token(0)), "PROTOCOL N-5: a token that no session has");
    // A reason of a later version.
    let mut side = client();
    side.feed(&acceptance(Some(&[77, BOTH]), Some(&token(9))));
    assert_eq!(side.conn.resumption(), new(NewReason::Other(77)));
    assert!(shows(side, &token(9)));
}

#[test]
fn an_acceptance_that_was_not_read() {
    // The client comes back, the acceptance is lost, and with it the newer token.
    let said = proposal(Some(&returning(&token(1), &fitting())));
    let mut side = service();
    side.feed(&said);
    side.take();
    let mut side = side.again();
    side.feed(&said);
    assert!(
        matches!(side.conn.resumption(), Some(Resumption::Resumed { .. })),
        "PROTOCOL N-4"
    );
    // Again; this time the client has given up, and said so, before it read the acceptance.
    side.take();
    side.feed(&frame(ERROR, &[0x81, 1, 18]));
    let mut side = side.again();
    side.feed(&said);
    assert!(
        matches!(side.conn.resumption(), Some(Resumption::Resumed { .. })),
        "PROTOCOL N-4: it has not read it"
    );
    // A frame that only an open connection has.
    side.take();
    side.feed(&frame(0x86, &[]));
    let mut side = side.again();
    side.feed(&said);
    assert_eq!(
        side.conn.resumption(),
        new(NewReason::StateConflict),
        "PROTOCOL N-4: no other is valid"
    );
}

#[test]
fn keys_have_their_roles() {
    let mut client = Side::begun(false);
    let day = Duration::from_secs(86_400);
    assert_eq!(
        client.conn.tx.next_key_remembered([7; 32], day),
        Err(Misuse::WrongPhase)
    );
    client.conn.tx.announce_next_key([7; 32], day).unwrap();
    let said = client.take();
    assert_eq!(
        said,
        frame(NEXT_KEY, &[&[7; 32][..], &varints(&[86_400])].concat()),
        "PROTOCOL N-8"
    );
    let mut service = Side::begun(true);
    assert_eq!(service.conn.tx.announce_next_key([7; 32], day), Err(Misuse::WrongPhase));
    service.feed(&said);
    service.conn.tx.next_key_remembered([7; 32], day / 2).unwrap();
    assert_eq!(
        service.take(),
        frame(NEXT_KEY, &[&[7; 32][..], &varints(&[43_200])].concat())
    );
    // Also when either side has said that it goes away.
    for (speaker, other) in [(false, true), (true, false)] {
        let (mut speaker, mut other) = (Side::begun(speaker), Side::begun(other));
        let notice = diset_proto::Notice::new(Code::CredentialsEnd);
        speaker.conn.go_away(speaker.conn.now, notice, day).unwrap();
        other.feed(&speaker.take());
        other.feed(&said);
        speaker.feed(&said);
        let phases = (speaker.conn.phase(), other.conn.phase());
        assert_eq!(phases, (Phase::Leaving, Phase::Draining), "PROTOCOL N-8");
    }
    // Neither is written when the connection ends first.
    client.conn.tx.announce_next_key([8; 32], day).unwrap();
    client.conn.disconnect(diset_proto::Notice::new(Code::Done));
    assert_eq!(client.take()[1], ERROR);
    assert!(client.conn.is_output_empty());
}

/// A peer that sends without end and reads nothing.
#[test]
fn floods() {
    let key = frame(NEXT_KEY, &[&[0; 32][..], &[9]].concat());
    let skip = frame(NEXT, &[1, 1]);
    for service in [false, true] {
        let mut side = Side::begun(service);
        let mut waiting = 0;
        for round in 0..20_000 {
            // PROTOCOL L-7: of keys four.
            let key = if round < 4 { &key[..] } else { &[] };
            side.feed(&[&acked(1)[..], &skip, key].concat());
            waiting = waiting.max(side.conn.transmit().len());
            if side.conn.phase() != Phase::Open {
                break;
            }
        }
        // It grants again what it has dealt with, so more comes: a grant and an acknowledgement for 64 messages.
        assert!(waiting < 10_000, "{waiting} bytes wait to leave");
        side.leave();
        assert!(side.conn.delivered() == Delivered::default());
    }
}

/// A peer that says of all messages that they failed, to a user that takes no outcomes, and to one that does.
#[test]
fn outcomes_that_nobody_takes() {
    for service in [false, true] {
        let mut side = Side::begun(service);
        for value in 0..12 {
            side.send(value);
        }
        side.take();
        let four = frame(ACK, &varints(&[4, 4, 1, 33, 2, 33, 3, 33, 4, 33]));
        side.feed(&four);
        side.feed(&four);
        let failed = |numbers: core::ops::RangeInclusive<u64>| -> Vec<_> {
            numbers.map(|number| (number, Outcome::Failed(Code::Invalid))).collect()
        };
        assert_eq!(side.conn.phase(), Phase::Open);
        assert!(side.conn.has_outcomes());
        // There is room for eight.
        side.feed(&frame(ACK, &varints(&[4, 2, 1, 33, 2, 33])));
        side.assert_found(Code::Busy, "there are outcomes that nobody takes", "PROTOCOL Q-5");
        assert_eq!(side.conn.delivered().processed, 8);
        // It was told in vain, and is told again: each has one outcome.
        assert_eq!(side.outcomes(), failed(1..=8));
        let said = claim([0, 0, 12, 10], &[(9, 33), (10, 33)]);
        let mut next = side.again();
        if service {
            next.feed(&proposal(Some(&returning(&token(1), &said))));
        } else {
            next.feed(&acceptance(Some(&resumed(&said)), Some(&token(2))));
        }
        assert_eq!(next.conn.resumption(), Some(Resumption::Resumed { replayed: 0 }));
        assert_eq!(next.outcomes(), failed(9..=10), "PROTOCOL Q-5: one outcome each");
        // What was told is not told again.
        let mut last = next.again();
        if service {
            last.feed(&proposal(Some(&returning(&token(1), &said))));
        } else {
            last.feed(&acceptance(Some(&resumed(&said)), Some(&token(2))));
        }
        assert_eq!(last.outcomes(), [], "PROTOCOL Q-5: one outcome each");
    }
}

/// They are in arrears also when it comes back: nothing is lost by that.
#[test]
fn outcomes_that_nobody_takes_and_a_return() {
    for service in [false, true] {
        let mut side = Side::begun(service);
        for value in 0..12 {
            side.send(value);
        }
        side.take();
        let four = frame(ACK, &varints(&[4, 4, 1, 33, 2, 33, 3, 33, 4, 33]));
        side.feed(&[&four[..], &four].concat());
        let said = claim([0, 0, 12, 10], &[(9, 33), (10, 33)]);
        let mut next = side.again();
        if service {
            next.feed(&proposal(Some(&returning(&token(1), &said))));
            assert!(
                matches!(&next.refused, Some(Unwelcome::Refused(notice)) if notice.code() == Code::Busy),
                "PROTOCOL N-4, row 13"
            );
            assert_eq!(
                next.kept.as_mut().unwrap().take_outcome().map(|(number, _)| number),
                Some(1)
            );
        } else {
            next.feed(&acceptance(Some(&resumed(&said)), Some(&token(2))));
            next.assert_found(Code::Busy, "there are outcomes that nobody takes", "PROTOCOL Q-5");
            assert_eq!(next.outcomes().len(), 8);
            assert!(shows(next, &token(1)), "its session goes on");
        }
    }
}

/// The service has forgotten the session, and its client does not read so.
#[test]
fn an_acceptance_of_a_new_session_that_was_not_read() {
    let said = proposal(Some(&returning(&token(9), &claim([7, 8, 9, 9], &[]))));
    for proven in [true, false] {
        let mut side = Side::service(None);
        for _ in 0..3 {
            side.feed(&said);
            assert_eq!(side.conn.resumption(), new(NewReason::Forgotten), "PROTOCOL N-4");
            side.send(7);
            assert!(
                side.take().ends_with(&acked(7)),
                "not as one that may have been dealt with"
            );
            side.conn.session_mut().unwrap().skip_oldest();
            side.feed(&frame(ERROR, &[0x81, 1, 18]));
            // It is kept on a disk meanwhile.
            let record = side.conn.session().unwrap().record();
            let mut next = side.again();
            next.proven = proven;
            let stores = next.kept.take().unwrap();
            let replay = stores.replay().clone();
            drop(stores);
            next.kept = Some(Box::new(
                diset_proto::Session::restore(&record, replay, diset_proto::store::Volatile).unwrap(),
            ));
            side = next;
        }
        // Now it has.
        side.feed(&said);
        side.take();
        side.feed(&frame(0x86, &[]));
        let mut side = side.again();
        side.feed(&said);
        assert_eq!(side.conn.resumption(), new(NewReason::StateConflict), "PROTOCOL N-4");
    }
    // The same for one that had none.
    let mut side = Side::service(None);
    side.feed(&proposal(Some(FIRST)));
    let mut side = side.again();
    side.proven = false;
    side.feed(&proposal(Some(FIRST)));
    assert_eq!(side.conn.resumption(), new(NewReason::First), "PROTOCOL N-4");
    side.take();
    side.feed(&frame(0x86, &[]));
    let mut side = side.again();
    side.proven = false;
    side.feed(&proposal(Some(FIRST)));
    assert_eq!(side.conn.resumption(), new(NewReason::StateConflict), "PROTOCOL N-4");
}
