//! A side that only sends, only takes, or has changed its mind; and what it is told that was read (PROTOCOL N-2, Q-9).

use diset_proto::drive::Event;
use diset_proto::store::{Replay, Unsure};
use diset_proto::{
    Admission, Code, NewReason, Outcome, Resumption, SendError, ServiceDef, Session, Token, Trid, Unwelcome,
};

use super::support::*;
use crate::stores::{DESK, Desk, Shelf};

type Turning = Session<Shelf, Desk>;

fn turning(sends: bool, takes: bool) -> Box<Turning> {
    let mut messages = Shelf::new(10, 100);
    messages.sends = sends;
    Box::new(Session::new(messages, Desk { takes, ..DESK }))
}

/// A connection of two, each with its session, and the values that each has got, acked and plain.
struct Two {
    conns: [Conn<Shelf, Desk>; 2],
    got: [Vec<u8>; 2],
}

const CLIENT: usize = 0;
const SERVICE: usize = 1;

impl Two {
    fn meet(client: Box<Turning>, service: Box<Turning>, trid: u64) -> Self {
        let mut two = Self {
            conns: [proposing(Some(client)), listening()],
            got: [vec![], vec![]],
        };
        let proposal = two.conns[CLIENT].take();
        let conn = &mut two.conns[SERVICE];
        conn.feed(&proposal, |_, event| assert!(matches!(event, Event::Proposed(_))));
        let (admission, mut session) = (Admission::new(Trid::new(trid)), service);
        match conn.resume_request().cloned() {
            None => conn.accept(conn.now, admission).unwrap(),
            Some(request) => {
                let token = Token::from_bytes([trid as u8; 16]);
                if session.began() == Trid::new(0) {
                    session.begin_with(&request, Trid::new(trid), NewReason::First, Some(token));
                } else {
                    session.welcome(&request, Trid::new(trid), true, token).unwrap();
                }
                assert!(conn.accept_in_session(admission, Some(session)).is_ok());
            }
        }
        two.run();
        two
    }

    /// Until nothing is under way.
    fn run(&mut self) {
        for _ in 0..20 {
            for from in [CLIENT, SERVICE] {
                let to = 1 - from;
                self.conns[from].now = self.conns[from].now.after(core::time::Duration::from_millis(25));
                let bytes = self.conns[from].take();
                let got = &mut self.got[to];
                self.conns[to].feed(&bytes, |_, event| match event {
                    Event::Message(message) => message.run(|reading: Reading| {
                        got.push(reading.value);
                        Ok(())
                    }),
                    Event::Ended(ended) => panic!("{}", ended.cause()),
                    _ => {}
                });
            }
        }
    }

    fn send(&mut self, from: usize, value: u8) -> Result<u64, SendError> {
        let sent = self.conns[from].send_acked(READING, &Reading { value }, Unsure::Report);
        self.run();
        sent
    }

    fn part(self) -> [Option<Box<Turning>>; 2] {
        self.conns.map(|mut conn| conn.take_session())
    }
}

/// Each side does each of four things.
#[test]
fn what_both_do_is_in_the_session() {
    let ways = [(false, false), (false, true), (true, false), (true, true)];
    for (sends, takes) in ways {
        for (others_send, others_take) in ways {
            let (mut client, mut service) = (turning(sends, takes), turning(others_send, others_take));
            for trid in 1..4 {
                let mut two = Two::meet(client, service, trid);
                let is_there = (sends || takes) && (others_send || others_take);
                let resumption = two.conns[CLIENT].resumption();
                assert_eq!(resumption.is_some(), is_there, "PROTOCOL N-1, N-2");
                if trid > 1 && is_there {
                    assert_eq!(resumption, Some(Resumption::Resumed { replayed: 0 }));
                }
                for (from, sends, takes) in [(CLIENT, sends, others_take), (SERVICE, others_send, takes)] {
                    let value = trid as u8;
                    let expected = match (is_there && sends, takes) {
                        (false, _) => Err(SendError::NoSession),
                        (true, false) => Err(SendError::NotTaken),
                        (true, true) => Ok(trid),
                    };
                    assert_eq!(two.send(from, value), expected, "PROTOCOL N-2: {sends} {takes}");
                    let got: &[u8] = if expected.is_ok() { &[value] } else { &[] };
                    assert_eq!(two.got[1 - from], got);
                    let processed = if expected.is_ok() { trid } else { 0 };
                    assert_eq!(two.conns[from].delivered().processed, processed);
                    assert!(
                        two.conns[from]
                            .session()
                            .is_none_or(|session| session.replay().is_empty())
                    );
                }
                let [first, second] = two.part();
                client = first.unwrap();
                // A service without a session has not got one.
                service = second.unwrap_or_else(|| turning(others_send, others_take));
            }
        }
    }
}

/// What is stored for one that takes no more stays, and leaves when it takes again.
#[test]
fn who_takes_none_for_a_while_loses_nothing() {
    for from in [CLIENT, SERVICE] {
        let to = 1 - from;
        let mut two = Two::meet(turning(true, true), turning(true, true), 1);
        assert_eq!(two.send(from, 1), Ok(1));
        // The second leaves, and does not arrive.
        two.conns[from]
            .send_acked(READING, &Reading { value: 2 }, Unsure::Report)
            .unwrap();
        assert!(!two.conns[from].transmit().is_empty());
        let mut sides = two.part().map(Option::unwrap);
        let stored = sides[from].store(Meter::CATALOG, READING, &Reading { value: 3 }, Unsure::Report);
        assert_eq!(stored, Ok(3));
        sides[to].inbox_mut().takes = false;
        let [client, service] = sides;
        let mut two = Two::meet(client, service, 2);
        assert_eq!(two.conns[from].resumption(), Some(Resumption::Resumed { replayed: 0 }));
        assert_eq!(two.send(from, 4), Err(SendError::NotTaken), "PROTOCOL N-2");
        // Plain ones do not wait for them, and the other direction goes on.
        two.conns[from].send(READING, &Reading { value: 9 }).unwrap();
        assert_eq!(two.send(to, 7), Ok(1));
        assert_eq!((two.got[to].as_slice(), two.got[from].as_slice()), (&[9][..], &[7][..]));
        assert_eq!(
            two.conns[from].session().unwrap().replay().len(),
            2,
            "PROTOCOL Q-5: all stay"
        );
        assert_eq!(two.conns[from].take_outcome(), None);
        let mut sides = two.part().map(Option::unwrap);
        sides[to].inbox_mut().takes = true;
        let [client, service] = sides;
        let mut two = Two::meet(client, service, 3);
        assert_eq!(two.conns[from].resumption(), Some(Resumption::Resumed { replayed: 1 }));
        two.run();
        assert_eq!(two.got[to], [2, 3], "once each, in order");
        assert_eq!(two.conns[from].delivered().processed, 3);
        assert_eq!(two.conns[from].take_outcome(), None);
    }
}

/// An author whose handlers go on while the client sends none: what became of its messages it learns when it sends again.
#[test]
fn nothing_is_acknowledged_to_one_that_sends_none() {
    let mut side = Side::begun(true);
    side.policy = Policy::Hold;
    side.feed(&acked(1));
    side.leave();
    let mut side = side.again();
    side.feed(&proposal(Some(&[&[GOES_ON | 8][..], &token(1), &[0, 0]].concat())));
    assert_eq!(side.conn.resumption(), Some(Resumption::Resumed { replayed: 0 }));
    side.take();
    assert!(side.conn.session_mut().unwrap().settle(1, Outcome::Ok));
    assert_eq!(side.leave(), NOTHING, "PROTOCOL N-2");
    side.feed(&frame(KEEP_ALIVE, &[]));
    assert_eq!(side.leave(), frame(0x87, &[]), "PROTOCOL N-2");
    let mut side = side.again();
    side.feed(&proposal(Some(&returning(&token(2), &claim([0, 1, 0, 0], &[])))));
    let said = side.take();
    let claims = [&[0, BOTH][..], &claim([0, 0, 1, 1], &[])].concat();
    assert!(said.windows(claims.len()).any(|bytes| bytes == claims), "{said:02x?}");
}

/// PROTOCOL N-2: frames of a direction that is not in the session.
#[test]
fn frames_that_go_another_way() {
    for (flags, bytes) in [
        // The peer sends none.
        (8, acked(1)),
        (8, frame(NEXT, &[1, 0])),
        (8, frame(OUTCOMES_READ, &[1])),
        // It takes none.
        (4, frame(ACK, &[0, 0])),
    ] {
        let mut client = Side::client(Some(memory()));
        client.feed(&acceptance(Some(&[1, flags]), Some(&token(1))));
        let mut service = Side::service(None);
        service.feed(&proposal(Some(&[flags])));
        for mut side in [client, service] {
            side.take();
            side.feed(&bytes);
            side.assert_found(Code::Unexpected, "no acked messages go this way", "PROTOCOL N-2");
        }
    }
}

#[test]
fn a_client_that_neither_sends_nor_takes_says_nothing_of_a_session() {
    let two = Two::meet(turning(false, false), turning(true, true), 1);
    assert!(two.conns[SERVICE].resume_request().is_none(), "PROTOCOL N-2");
    assert_eq!(two.conns[CLIENT].resumption(), None);
    // One that answers all the same is not heard.
    let [session, _] = two.part();
    let mut conn = proposing(session);
    conn.take();
    conn.feed(&acceptance(Some(NEW_FIRST), Some(&token(1))), |_, event| {
        assert!(matches!(event, Event::Connected(_)));
    });
    assert_eq!(conn.resumption(), None, "PROTOCOL N-1");
}

/// PROTOCOL N-5: what a durable inbox had is stored no more, also when it says of itself that it is not durable any more.
#[test]
fn an_inbox_that_was_durable_is_held_to_it() {
    let mut side = Side::service(None);
    side.feed(&proposal(Some(&[BOTH | 2])));
    for value in 0..3 {
        side.send(value);
    }
    side.take();
    side.feed(&frame(ACK, &[2, 0]));
    let mut side = side.again();
    side.feed(&proposal(Some(&returning(&token(1), &claim([0, 0, 2, 0], &[])))));
    assert_eq!(side.conn.resumption(), Some(Resumption::Resumed { replayed: 1 }));
    let mut side = side.again();
    side.feed(&proposal(Some(&returning(&token(2), &claim([0, 0, 1, 0], &[])))));
    let conflict = Unwelcome::Passing(NewReason::StateConflict);
    assert_eq!(
        side.refused,
        Some(conflict),
        "PROTOCOL N-5, Q-5: the second message is gone"
    );
}

// ── outcomes that were read ─────────────────────────────────────────────────────────

/// A side that has got six messages, and of which four have failed though its connection lives.
fn failing(service: bool) -> Side {
    let mut side = Side::begun(service);
    side.policy = Policy::Hold;
    side.feed(&(0..6).flat_map(acked).collect::<Vec<_>>());
    for number in 1..=4 {
        let session = side.conn.session_mut().unwrap();
        assert!(session.begin(number) && session.settle(number, Outcome::Failed(Code::HandlerFailed)));
    }
    side
}

fn outcomes_read(count: u64) -> Vec<u8> {
    frame(OUTCOMES_READ, &varints(&[count]))
}

#[test]
fn outcomes_are_forgotten_when_they_were_read() {
    for service in [false, true] {
        let mut side = failing(service);
        assert!(side.conn.session().unwrap().has_too_many_failures());
        let told = side.leave();
        let ack = frame(ACK, &varints(&[6, 4, 1, 35, 2, 35, 3, 35, 4, 35]));
        assert!(told.ends_with(&ack), "{told:02x?}");
        side.feed(&outcomes_read(2));
        let session = side.conn.session_mut().unwrap();
        assert!(!session.has_too_many_failures() && session.begin(5), "PROTOCOL Q-9");
        assert!(session.settle(5, Outcome::Failed(Code::Invalid)));
        side.feed(&outcomes_read(1));
        // Three and five are left: the one is told, and the other one was not.
        let session = side.conn.session_mut().unwrap();
        assert!(session.begin(6) && session.settle(6, Outcome::Ok));
        let mut next = side.again();
        let said = if service {
            next.feed(&proposal(Some(&returning(&token(1), &claim([0, 6, 0, 0], &[])))));
            next.take()
        } else {
            says_next(next)
        };
        let outcomes = varints(&[0, 0, 6, 6, 4, 35, 5, 33]);
        assert!(
            said.windows(outcomes.len()).any(|bytes| bytes == outcomes),
            "PROTOCOL Q-9: {said:02x?}"
        );
    }
}

#[test]
fn outcomes_that_were_not_told_cannot_have_been_read() {
    for service in [false, true] {
        let text = "outcomes read that were not told";
        // Not before the acknowledgement has left.
        let mut side = failing(service);
        side.feed(&outcomes_read(1));
        side.assert_found(Code::PacketMalformed, text, "PROTOCOL Q-9");
        for counts in [&[5][..], &[2, 3], &[4, 1], &[1, u64::MAX]] {
            let mut side = failing(service);
            side.leave();
            counts.iter().for_each(|count| side.feed(&outcomes_read(*count)));
            side.assert_found(Code::PacketMalformed, text, "PROTOCOL Q-9");
        }
        // On the next connection it counts from what was claimed: nothing of that is told again.
        let mut side = failing(service);
        side.leave();
        let mut side = side.again();
        if service {
            side.feed(&proposal(Some(&returning(&token(1), &claim([0, 6, 0, 0], &[])))));
        } else {
            side.feed(&acceptance(Some(&resumed(&claim([0, 6, 0, 0], &[]))), Some(&token(2))));
        }
        side.take();
        side.feed(&outcomes_read(1));
        side.assert_found(Code::PacketMalformed, text, "PROTOCOL Q-9");
    }
}
