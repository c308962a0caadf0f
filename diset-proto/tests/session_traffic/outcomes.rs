//! Each message has one outcome, also when users are careless or the peer forgets.

use diset_proto::drive::{Event, Failure, Io};
use diset_proto::store::{Replay, Unsure};
use diset_proto::{
    Admission, Bound, Code, NewReason, Notice, Outcome, Phase, Resumption, SendError, ServiceDef, Session, Token, Trid,
    Verdict,
};

use super::support::*;
use crate::stores::{DESK, DURABLE, Desk, Shelf};

/// The connection ends, and the service has forgotten the client.
fn forgotten(side: Side) -> Side {
    let mut next = side.again();
    next.feed(&acceptance(Some(&[2, BOTH]), Some(&token(2))));
    assert_eq!(
        next.conn.resumption(),
        Some(Resumption::New {
            why: NewReason::Forgotten
        })
    );
    next
}

#[test]
fn those_of_a_lost_session_are_told_before_anything_leaves() {
    let mut side = Side::begun(false);
    for (value, unsure) in (0..).zip([Unsure::Report, Unsure::Resend, Unsure::Report]) {
        side.send_unsure(value, unsure).unwrap();
    }
    side.take();
    let mut side = forgotten(side);
    side.send(3);
    assert_eq!(
        side.take(),
        NOTHING,
        "PROTOCOL N-6: first the user learns what nobody knows of"
    );
    assert_eq!(
        side.outcomes(),
        [(1, Outcome::Unknown), (3, Outcome::Unknown)],
        "PROTOCOL N-6, Q-5"
    );
    let sent = side.take();
    let again = [frame(NEXT, &[1, 1]), acked(1), frame(NEXT, &[1, 0]), acked(3)].concat();
    assert!(sent.ends_with(&again), "PROTOCOL N-6, Q-3: {sent:02x?}");
    side.feed(&frame(ACK, &[4, 4]));
    assert_eq!(side.outcomes(), []);
    assert!(side.conn.session().unwrap().replay().is_empty());
    assert_eq!(side.conn.delivered().processed, 4);
}

#[test]
fn what_was_transmitted_is_not_skipped() {
    let mut side = Side::begun(false);
    side.send(0);
    side.send_unsure(1, Unsure::Resend).unwrap();
    side.take();
    assert_eq!(side.conn.session_mut().unwrap().skip_oldest(), None);
    let mut session = side.conn.take_session().unwrap();
    let catalog = Meter::CATALOG;
    session
        .store(catalog, READING, &Reading { value: 2 }, Unsure::Report)
        .unwrap();
    session
        .store(catalog, READING, &Reading { value: 3 }, Unsure::Report)
        .unwrap();
    let mut next = Side::client(Some(session));
    next.feed(&[PREAMBLE, &frame(ERROR, &[0x81, 1, 52])].concat());
    let mut next = forgotten(next);
    next.outcomes();
    assert_eq!(
        next.conn.session_mut().unwrap().skip_oldest(),
        Some(3),
        "not 2, which may have been dealt with"
    );
    let sent = next.take();
    let rest = [frame(NEXT, &[1, 1]), acked(1), frame(NEXT, &[1, 0]), acked(3)].concat();
    assert!(sent.ends_with(&rest), "PROTOCOL Q-3: {sent:02x?}");
}

#[test]
fn what_waits_behind_a_failure_comes_again() {
    for service in [false, true] {
        // Also one that is invalid: it has its turn then.
        for second in [acked(2), frame(ACKED, &[READING])] {
            let mut side = Side::begun(service);
            side.policy = Policy::Hold;
            side.feed(&[acked(1), second].concat());
            let session = side.conn.session().unwrap();
            assert_eq!(session.processed(), 0, "PROTOCOL Q-5: the first is with its handler");
            assert_eq!(side.conn.phase(), Phase::Open);
            side.finish(Err(Failure::new(Code::HandlerFailed)));
            side.assert_found(Code::HandlerFailed, "", "PROTOCOL M-4");
            let session = side.conn.take_session().unwrap();
            let kept = format!("{:?}", session.record());
            assert!(kept.contains("received: 1, processed: 1"), "PROTOCOL M-4, Q-5: {kept}");
        }
    }
}

#[test]
fn a_handler_goes_on_when_its_connection_ends() {
    let mut side = Side::begun(true);
    side.policy = Policy::Hold;
    side.feed(&[acked(1), frame(0x40, &[BLOB, 0])].concat());
    let mut next = side.again();
    next.policy = Policy::Hold;
    // The first stays, the other is asked for again.
    next.feed(&proposal(Some(&returning(&token(1), &claim([0, 2, 0, 0], &[])))));
    let answer = next.take();
    let said = [&[0x04, 6][..], &resumed(&claim([0, 0, 1, 0], &[]))].concat();
    assert!(
        answer.windows(8).any(|bytes| bytes == said),
        "PROTOCOL Q-4: {answer:02x?}"
    );
    next.feed(&acked(2));
    next.conn.session_mut().unwrap().settle(1, Outcome::Ok);
    assert_eq!(next.leave(), frame(ACK, &[1, 1]), "PROTOCOL Q-8");
}

#[test]
fn what_can_never_leave_is_told_and_nothing_spins() {
    let mut session = memory();
    for value in 0..10 {
        session
            .store(Meter::CATALOG, READING, &Reading { value }, Unsure::Report)
            .unwrap();
    }
    session
        .store(Meter::CATALOG, BLOB, &Blob { bytes: b"x" }, Unsure::Report)
        .unwrap();
    let mut side = Side::client(Some(session));
    side.feed(&acceptance_of(&[READING, 3], Some(NEW_FIRST), Some(&token(1))));
    assert!(side.take().is_empty());
    assert!(
        side.conn.is_output_empty(),
        "nothing can be done before outcomes are taken"
    );
    assert!(side.conn.has_outcomes());
    let forbidden = |number| (number, Outcome::NotAgreed(Verdict::Forbidden));
    assert_eq!(
        side.outcomes(),
        (1..=8).map(forbidden).collect::<Vec<_>>(),
        "PROTOCOL Q-5"
    );
    let blob = [frame(NEXT, &[10, 0]), frame(ACKED, &[BLOB, 1, b'x'])].concat();
    assert_eq!(side.take(), blob, "PROTOCOL Q-3");
    assert_eq!(side.outcomes(), (9..=10).map(forbidden).collect::<Vec<_>>());
}

#[test]
fn plain_messages_go_where_there_is_no_session() {
    let mut session = memory();
    session
        .store(Meter::CATALOG, READING, &Reading { value: 1 }, Unsure::Report)
        .unwrap();
    let mut side = Side::client(Some(session));
    side.feed(&acceptance(None, None));
    assert_eq!(side.conn.send(READING, &Reading { value: 2 }), Ok(()), "PROTOCOL N-1");
    assert_eq!(side.take(), frame(0, &[READING, 2]));
    assert_eq!(side.send_unsure(3, Unsure::Report), Err(SendError::NoSession));
    // What is stored waits for a service that keeps sessions, and does not keep this one from ending.
    side.feed(&frame(0x85, &[3, 1]));
    side.feed(&frame(0x88, &[0x81, 1, 72]));
    side.leave();
    assert_ne!(side.conn.phase(), Phase::Draining, "PROTOCOL G-2");
}

/// A client with these stores, whose session has just begun.
fn begun(messages: Shelf, inbox: Desk) -> Conn<Shelf, Desk> {
    let mut conn = proposing(Some(Box::new(Session::new(messages, inbox))));
    conn.take();
    conn.feed(&acceptance(Some(NEW_FIRST), Some(&token(1))), |_, event| {
        assert!(matches!(event, Event::Connected(_)));
    });
    conn
}

#[test]
fn nothing_passes_what_is_not_kept_yet() {
    let mut slow = Shelf::new(10, 100);
    slow.kept = 0;
    let mut conn = begun(slow, DESK);
    conn.send_acked(READING, &Reading { value: 1 }, Unsure::Report).unwrap();
    assert!(conn.transmit().is_empty(), "PROTOCOL Q-6");
    let plain = conn.send(READING, &Reading { value: 2 });
    assert_eq!(plain, Err(SendError::Full(Bound::Store)), "PROTOCOL Q-7");
    conn.session_mut().unwrap().replay_mut().kept = 1;
    conn.send(READING, &Reading { value: 2 }).unwrap();
    assert_eq!(
        conn.transmit(),
        [acked(1), frame(0, &[READING, 2])].concat(),
        "PROTOCOL Q-7"
    );
}

#[test]
fn nothing_is_told_before_it_is_kept() {
    let lagging = Desk {
        kept: (0, 0),
        ..DURABLE
    };
    let session = Session::new(Shelf::new(10, 100), lagging);
    let said = proposing(Some(Box::new(session))).take();
    assert!(
        said.ends_with(&[0x06, 1, 2 | BOTH]),
        "PROTOCOL N-2, Q-4: its inbox is durable"
    );
    let mut conn = begun(Shelf::new(10, 100), lagging);
    conn.feed(&[acked(1), acked(2)].concat(), |_, event| match event {
        Event::Message(message) => message.run(|_: Reading| Ok(())),
        other => panic!("{other:?}"),
    });
    let leave = |conn: &mut Conn<Shelf, Desk>| {
        for _ in 0..2 {
            conn.now = conn.now.after(core::time::Duration::from_millis(30));
            conn.turn();
        }
        conn.take()
    };
    assert!(leave(&mut conn).is_empty(), "PROTOCOL Q-6");
    conn.session_mut().unwrap().inbox_mut().kept = (2, 1);
    assert_eq!(leave(&mut conn), frame(ACK, &[2, 1]), "PROTOCOL Q-6");
    conn.session_mut().unwrap().inbox_mut().kept = (2, 2);
    conn.disconnect(Notice::new(Code::Done));
    assert!(
        conn.take().starts_with(&frame(ACK, &[0, 1])),
        "PROTOCOL Q-2: before the error"
    );
}

/// A service whose acceptance waits, until its session is kept.
fn waiting() -> Conn<Shelf, Desk> {
    let mut conn = listening();
    conn.feed(&proposal(Some(FIRST)), |_, event| {
        assert!(matches!(event, Event::Proposed(_)));
    });
    let opening = Desk { opens: false, ..DESK };
    let mut session = Box::new(Session::new(Shelf::new(10, 100), opening));
    let request = conn.resume_request().cloned().unwrap();
    let (trid, fresh) = (Trid::new(1), Token::from_bytes(token(1)));
    session.begin_with(&request, trid, NewReason::First, Some(fresh));
    assert!(conn.accept_in_session(Admission::new(trid), Some(session)).is_ok());
    conn.feed(&[], |_, event| assert!(matches!(event, Event::Connected(_))));
    conn
}

#[test]
fn an_end_while_an_acceptance_waits_is_told_behind_it() {
    let end = |conn: &mut Conn<Shelf, Desk>| {
        // As a handler does that fails with what a former connection has left.
        conn.disconnect(Notice::new(Code::HandlerFailed));
        conn.take();
        let mut ends = 0;
        conn.feed(&[], |_, event| ends += usize::from(matches!(event, Event::Ended(_))));
        assert_eq!(ends, 1);
    };
    let mut conn = waiting();
    end(&mut conn);
    assert_eq!(conn.progress(), Io::Run, "PROTOCOL E-3");
    conn.session_mut().unwrap().inbox_mut().opens = true;
    let left = conn.take();
    assert_eq!(left.get(6), Some(&ACCEPTANCE), "PROTOCOL E-3: {left:02x?}");
    let error = left.iter().rposition(|byte| *byte == 35).unwrap();
    assert!(error > 20, "the error is behind it: {left:02x?}");
    assert_eq!(conn.progress(), Io::Finish);

    // Not for ever.
    let mut conn = waiting();
    end(&mut conn);
    let late = conn.now.after(diset_proto::limits::LINGER);
    assert_eq!(conn.wake(), Some(late));
    conn.now = late;
    assert_eq!(conn.progress(), Io::Over);
}

#[test]
fn no_message_passes_an_acceptance_that_waits() {
    let mut conn = waiting();
    // As a callback does that is told of the client.
    let early = conn.send(READING, &Reading { value: 1 });
    assert_eq!(early, Err(SendError::Full(Bound::Store)), "PROTOCOL Q-6");
    conn.session_mut().unwrap().inbox_mut().opens = true;
    conn.send(READING, &Reading { value: 1 }).unwrap();
    let left = conn.transmit();
    // After the preamble: a length, and the kind.
    assert_eq!(left.get(6), Some(&ACCEPTANCE), "PROTOCOL N-4: {left:02x?}");
    assert!(left.ends_with(&frame(0, &[READING, 1])), "{left:02x?}");
}

#[test]
fn a_session_that_is_lost_twice() {
    let mut side = Side::begun(false);
    side.send_unsure(0, Unsure::Resend).unwrap();
    side.send(1);
    side.take();
    let mut side = forgotten(side);
    assert!(side.take().ends_with(&[frame(NEXT, &[0, 1]), acked(0)].concat()));
    let mut side = forgotten(side);
    let sent = side.take();
    assert!(
        sent.ends_with(&[frame(NEXT, &[0, 1]), acked(0)].concat()),
        "PROTOCOL N-6: {sent:02x?}"
    );
    assert_eq!(side.outcomes(), [(2, Outcome::Unknown)]);
}
