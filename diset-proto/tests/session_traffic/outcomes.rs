//! Each message has one outcome, also when users are careless or the peer forgets.

use diset_proto::store::{HeapReplay, Inbox, Replay, Stored, Unsure, Volatile};
use diset_proto::{
    Bound, ClientConfig, Code, Connection, GrowBuf, Identity, Instant, Limits, NewReason, Notice, Outcome, Phase,
    Resumption, SendError, ServiceDef, Session, Verdict,
};

use super::support::*;

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
fn a_message_that_is_invalid_waits_for_those_before_it() {
    for service in [false, true] {
        let mut side = Side::begun(service);
        side.policy = Policy::Hold;
        side.feed(&acked(1));
        side.feed(&frame(ACKED, &[READING]));
        assert_eq!(side.conn.phase(), Phase::Closing);
        let session = side.conn.session_mut().unwrap();
        assert_eq!(session.processed(), 0, "PROTOCOL Q-5: the first is with its handler");
        // The handler of the first fails; the second comes again, to fail then.
        let mut session = side.conn.take_session().unwrap();
        session.settle(1, Outcome::Failed(Code::HandlerFailed));
        assert_eq!(session.processed(), 1);
        let record = session.record();
        let kept = format!("{record:?}");
        assert!(kept.contains("received: 1, processed: 1"), "{kept}");
    }
}

#[test]
fn what_was_lent_behind_a_failure_comes_again() {
    for service in [false, true] {
        let mut side = Side::begun(service);
        side.policy = Policy::Hold;
        side.feed(&[acked(1), acked(2)].concat());
        let (tag, _) = side.held.remove(0);
        side.conn.fail(tag, Code::HandlerFailed, "no");
        let session = side.conn.take_session().unwrap();
        let kept = format!("{:?}", session.record());
        assert!(kept.contains("received: 1, processed: 1"), "PROTOCOL M-4, Q-5: {kept}");
    }
}

#[test]
fn a_handler_goes_on_when_its_connection_ends() {
    let mut side = Side::begun(true);
    side.policy = Policy::Hold;
    side.feed(&[acked(1), frame(0x40, &[BLOB, 0])].concat());
    assert_eq!(side.held.len(), 1);
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

/// Keeps what it is given some time later.
#[derive(Debug)]
struct Slow {
    messages: HeapReplay,
    kept: u64,
}

impl Replay for Slow {
    fn reserve(&mut self, head: Stored<'_>, len: usize) -> Option<&mut [u8]> {
        self.messages.reserve(head, len)
    }
    fn commit(&mut self) {
        self.messages.commit();
    }
    fn after(&self, number: u64) -> Option<Stored<'_>> {
        self.messages.after(number)
    }
    fn remove(&mut self, number: u64) {
        self.messages.remove(number);
    }
    fn remove_through(&mut self, number: u64) {
        self.messages.remove_through(number);
    }
    fn mark_repeated(&mut self, number: u64) {
        self.messages.mark_repeated(number);
    }
    fn kept(&self) -> u64 {
        self.kept
    }
    fn len(&self) -> usize {
        self.messages.len()
    }
    fn bytes(&self) -> usize {
        self.messages.bytes()
    }
}

#[test]
fn nothing_passes_what_is_not_kept_yet() {
    let config = ClientConfig {
        catalog: Meter::CATALOG,
        identity: Identity::from_bytes([1; 16]),
        limits: Limits::SERVER,
        args: &[],
    };
    let slow = Slow {
        messages: HeapReplay::new(10, 100),
        kept: 0,
    };
    let (now, output) = (Instant::from_millis(1), GrowBuf::new(10_000));
    let mut conn = Connection::client_in_session(now, &config, output, Session::new(slow, Volatile)).unwrap();
    let mut rx = diset_proto::Deframer::new(GrowBuf::new(1000));
    let answer = acceptance(Some(NEW_FIRST), Some(&token(1)));
    let mut input = answer.as_slice();
    while let Some(frame) = rx.next(&mut input, conn.max_frame()) {
        conn.handle_frame(now, frame);
    }
    let count = conn.transmit().len();
    conn.transmitted(count);
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

/// An inbox that keeps what it is given when it is told to.
#[derive(Debug, Default)]
struct Lagging {
    kept: (u64, u64),
}

impl Inbox for Lagging {
    fn kept(&self) -> (u64, u64) {
        self.kept
    }
    fn is_durable(&self) -> bool {
        true
    }
}

#[test]
fn nothing_is_told_before_it_is_kept() {
    let config = ClientConfig {
        catalog: Meter::CATALOG,
        identity: Identity::from_bytes([1; 16]),
        limits: Limits::SERVER,
        args: &[],
    };
    let (mut now, output) = (Instant::from_millis(1), GrowBuf::new(10_000));
    let session = Session::new(HeapReplay::new(10, 100), Lagging::default());
    let mut conn = Connection::client_in_session(now, &config, output, session).unwrap();
    let said = conn.transmit().to_vec();
    conn.transmitted(said.len());
    assert!(
        said.ends_with(&[0x06, 1, 2 | BOTH]),
        "PROTOCOL N-2, Q-4: its inbox is durable"
    );
    let mut rx = diset_proto::Deframer::new(GrowBuf::new(1000));
    let input = [acceptance(Some(NEW_FIRST), Some(&token(1))), acked(1), acked(2)].concat();
    let mut input = input.as_slice();
    while let Some(frame) = rx.next(&mut input, conn.max_frame()) {
        if let Some(diset_proto::Event::Message(message)) = conn.handle_frame(now, frame) {
            conn.decode::<Reading>(message).unwrap();
        }
    }
    let mut leave = |conn: &mut Connection<GrowBuf, Session<HeapReplay, Lagging>>| {
        for _ in 0..2 {
            now = now.after(core::time::Duration::from_millis(30));
            conn.handle_time(now);
        }
        let bytes = conn.transmit().to_vec();
        conn.transmitted(bytes.len());
        bytes
    };
    assert!(leave(&mut conn).is_empty(), "PROTOCOL Q-6");
    conn.session_mut().unwrap().inbox_mut().kept = (2, 1);
    assert_eq!(leave(&mut conn), frame(ACK, &[2, 1]), "PROTOCOL Q-6");
    conn.session_mut().unwrap().inbox_mut().kept = (2, 2);
    conn.disconnect(Notice::new(Code::Done));
    let last = conn.transmit().to_vec();
    assert!(last.starts_with(&frame(ACK, &[0, 1])), "PROTOCOL Q-2: before the error");
}

/// An inbox whose session is not kept yet.
#[derive(Debug, Default)]
struct Opening {
    kept: bool,
}

impl Inbox for Opening {
    fn may_open(&self) -> bool {
        self.kept
    }
}

type Waiting = Connection<GrowBuf, Option<Box<Session<HeapReplay, Opening>>>>;

/// A service whose acceptance waits.
fn waiting(now: Instant) -> Waiting {
    let output = GrowBuf::new(10_000);
    let service = Connection::service(now, Meter::CATALOG, Limits::SERVER, output).unwrap();
    let mut conn: Waiting = service.with_sessions(None);
    let mut rx = diset_proto::Deframer::new(GrowBuf::new(1000));
    let input = proposal(Some(FIRST));
    let proposed = rx.next(&mut input.as_slice(), conn.max_frame()).unwrap();
    assert!(matches!(
        conn.handle_frame(now, proposed),
        Some(diset_proto::Event::Proposed(_))
    ));
    let mut session = Box::new(Session::new(HeapReplay::new(10, 100), Opening::default()));
    let request = conn.resume_request().cloned().unwrap();
    let fresh = diset_proto::Token::from_bytes(token(1));
    session.begin_with(&request, diset_proto::Trid::new(1), NewReason::First, Some(fresh));
    let admission = diset_proto::Admission::new(diset_proto::Trid::new(1));
    conn.accept_in_session(now, admission, Some(session)).unwrap();
    conn
}

#[test]
fn an_end_while_an_acceptance_waits_is_told_behind_it() {
    let now = Instant::from_millis(1);
    let mut conn = waiting(now);
    // As a handler does that fails with what a former connection has left.
    conn.disconnect(Notice::new(Code::HandlerFailed));
    assert!(matches!(conn.handle_time(now), Some(diset_proto::Event::Dropped(_))));
    let count = conn.transmit().len();
    conn.transmitted(count);
    assert_eq!(conn.progress(), diset_proto::Progress::Running, "PROTOCOL E-3");
    conn.session_mut().unwrap().inbox_mut().kept = true;
    let left = conn.transmit().to_vec();
    assert_eq!(left.get(6), Some(&ACCEPTANCE), "PROTOCOL E-3: {left:02x?}");
    let error = left.iter().rposition(|byte| *byte == 35).unwrap();
    assert!(error > 20, "the error is behind it: {left:02x?}");
    conn.transmitted(left.len());
    assert_eq!(conn.progress(), diset_proto::Progress::Finish);

    // Not for ever.
    let mut conn = waiting(now);
    conn.disconnect(Notice::new(Code::HandlerFailed));
    conn.handle_time(now);
    conn.transmit();
    let late = now.after(diset_proto::limits::LINGER);
    assert_eq!(conn.wake(), Some(late));
    conn.handle_time(late);
    assert_eq!(conn.progress(), diset_proto::Progress::Over);
}

#[test]
fn no_message_passes_an_acceptance_that_waits() {
    let mut conn = waiting(Instant::from_millis(1));
    // As a callback does that is told of the client.
    let early = conn.send(READING, &Reading { value: 1 });
    assert_eq!(early, Err(SendError::Full(Bound::Store)), "PROTOCOL Q-6");
    conn.session_mut().unwrap().inbox_mut().kept = true;
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
