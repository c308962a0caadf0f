//! Halves for one link, whose session goes on elsewhere; and what a handler that fails has told.

use diset_proto::Outcome;

use super::*;

/// A service whose halves serve one link, with a handler that waits for the first of these messages of its client.
fn busy() -> (Side, Side) {
    let mut client: Side = Side::new(Some(memory(Volatile)), || Volatile);
    let mut service: Side = Side::new(None, || Volatile);
    service.rx = Rx::new(GrowBuf::new(70_000), HeapQueue::new(GrowBuf::new(100_000))).alone();
    connect(&mut client, &mut service);
    service.handler = Handler::Waits;
    client.send_acked(1);
    client.send_acked(2);
    client.send(3);
    settle(&mut client, &mut service);
    assert_eq!(service.got, [1]);
    (client, service)
}

#[test]
fn a_session_that_is_taken_leaves_its_handler_and_nothing_that_waits() {
    let (mut client, mut service) = busy();
    client.lose();
    service.lose();
    // Another transport of the client takes the session.
    let mut session = service.tx.take_session();
    service.handled(Ok(()));
    let stray = service.rx.take_stray().expect("its outcome is told");
    assert_eq!((stray.1, stray.2), (1, Outcome::Ok), "PROTOCOL Q-8");
    assert_eq!(service.rx.take_stray(), None, "once");
    assert_eq!(
        service.got,
        [1],
        "PROTOCOL M-3: 2 comes again elsewhere, and 3 does not pass it"
    );
    assert_eq!(service.ended.len(), 1);
    assert_eq!(service.ended[0].unhandled(), 1, "3 is not handled at all");
    let session = session.as_mut().expect("a session");
    assert!(session.settle(stray.1, stray.2));
    // There the client goes on with 2.
    let mut newer: Side = Side::new(None, || Volatile);
    newer.trid = service.trid;
    newer.kept = Some(core::mem::replace(session, memory(Volatile)));
    connect(&mut client, &mut newer);
    assert_eq!(newer.got, [2]);
}

#[test]
fn what_waits_is_handled_here_as_long_as_the_session_is() {
    let (mut client, mut service) = busy();
    client.lose();
    service.lose();
    service.handler = Handler::Done;
    service.handled(Ok(()));
    assert_eq!((&service.got[..], service.rx.take_stray()), (&[1, 2, 3][..], None));
    connect(&mut client, &mut service);
    assert_eq!(service.got, [1, 2, 3], "and does not come again");
}

#[test]
fn who_cannot_send_because_of_a_go_away_has_not_failed() {
    let (mut client, mut service) = connected();
    service.handler = Handler::Waits;
    client.send(1);
    let up = client.take();
    client
        .tx
        .go_away(client.now, Notice::new(Code::Done), Duration::from_secs(9))
        .unwrap();
    service.feed(&up);
    service.feed(&client.take());
    // It came before the go-away, and may be answered.
    service.handled(Err(Failure::UNSENT));
    assert!(service.tx.is_stopped(), "PROTOCOL G-2");
    assert_eq!(
        service.tx.connection().cause().and_then(Cause::code),
        Some(Code::HandlerFailed)
    );
}
