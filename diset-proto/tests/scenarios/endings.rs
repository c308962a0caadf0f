//! How connections end: errors, go-away, cuts, deadlines.

use core::time::Duration;

use diset_proto::limits::MIN_OUTPUT;
use diset_proto::sim::{Decision, Happened, Pair, Setup};
use diset_proto::{Cause, Code, Limits, Misuse, Notice, Phase, RetryAfter, SendError};

use super::support::*;

scenarios! {
    an_end_in_order_confirms_everything_to_a_client,
    a_peer_that_never_confirms_holds_nobody,
    an_end_in_order_confirms_everything_to_a_service,
    an_error_arrives_behind_what_was_sent,
    a_go_away_drains_both_directions,
    a_client_goes_away,
    crossed_go_aways,
    a_go_away_has_a_deadline,
    a_disconnect_with_a_reason,
    the_end_in_each_phase_of_a_service,
    the_end_before_an_answer,
    the_end_while_open,
    a_closing_side_does_not_wait_for_ever,
    nothing_happens_after_the_end,
    an_error_that_comes_while_draining,
    an_error_is_not_answered,
}

fn an_error_arrives_behind_what_was_sent(change: Change<'_>) -> Pair {
    let mut pair = connected(change);
    for id in 0..3 {
        pair.service.conn.send(PONG, &Pong { id }).unwrap();
    }
    pair.service
        .conn
        .disconnect(Notice::new(Code::Disconnected).with_text("enough"));
    assert_eq!(pair.service.conn.send(PONG, &Pong { id: 4 }), Err(SendError::NotOpen));
    pair.settle();
    assert_eq!(names(&pair.client), ["Pong"; 3], "PROTOCOL E-3");
    let Some(Cause::PeerError(notice)) = pair.client.dropped() else {
        panic!("{pair:?}")
    };
    assert_eq!(
        (notice.code(), notice.text()),
        (Code::Disconnected, "enough"),
        "PROTOCOL E-3"
    );
    assert_eq!(
        pair.client.conn.phase(),
        Phase::Closed,
        "PROTOCOL E-4: both have seen the end"
    );
    assert_eq!(pair.service.conn.phase(), Phase::Closed, "PROTOCOL E-4");
    pair
}

/// Both went away with this code, and said so once.
fn assert_away(pair: &Pair, code: Code) {
    for peer in [&pair.client, &pair.service] {
        assert!(
            matches!(peer.dropped(), Some(Cause::WentAway(notice)) if notice.code() == code),
            "PROTOCOL G-2: {peer:?}"
        );
        assert_eq!(drops(&peer.log), 1);
        assert_eq!(peer.conn.phase(), Phase::Closed);
    }
}

fn a_go_away_drains_both_directions(change: Change<'_>) -> Pair {
    let mut pair = connected(change);
    for id in 0..5 {
        pair.service.conn.send(PONG, &Pong { id }).unwrap();
        pair.client.conn.send(PING, &Ping { id }).unwrap();
    }
    let retry = RetryAfter::new(SECOND, SECOND);
    let notice = Notice::new(Code::Shutdown).with_retry(retry);
    pair.service.conn.go_away(pair.now, notice.clone(), 5 * SECOND).unwrap();
    assert_eq!(
        pair.service.conn.send(PONG, &Pong { id: 9 }),
        Err(SendError::GoingAway),
        "PROTOCOL G-1"
    );
    pair.service.conn.go_away(pair.now, notice, SECOND).unwrap();
    pair.settle();
    assert_eq!(names(&pair.client), ["Pong"; 5], "PROTOCOL G-1");
    assert_eq!(names(&pair.service), ["Ping"; 5], "PROTOCOL G-2");
    assert!(pair.client.log.contains(&Happened::GoingAway(Code::Shutdown)));
    assert_away(&pair, Code::Shutdown);
    assert_eq!(pair.client.dropped().unwrap().retry(), Some(retry));
    pair
}

fn a_client_goes_away(change: Change<'_>) -> Pair {
    let mut pair = connected(change);
    pair.client.conn.send(PING, &Ping { id: 1 }).unwrap();
    pair.client
        .conn
        .go_away(pair.now, Notice::new(Code::Done), SECOND)
        .unwrap();
    pair.settle();
    assert_eq!(names(&pair.service), ["Ping"], "PROTOCOL G-1");
    assert_away(&pair, Code::Done);
    pair
}

fn crossed_go_aways(change: Change<'_>) -> Pair {
    let mut pair = connected(change);
    pair.client.conn.send(PING, &Ping { id: 1 }).unwrap();
    pair.service.conn.send(PONG, &Pong { id: 1 }).unwrap();
    pair.to_client.stall(true);
    pair.to_service.stall(true);
    let now = pair.now;
    pair.client.conn.go_away(now, Notice::new(Code::Done), SECOND).unwrap();
    pair.service
        .conn
        .go_away(now, Notice::new(Code::Shutdown), SECOND)
        .unwrap();
    pair.settle();
    pair.to_client.stall(false);
    pair.to_service.stall(false);
    pair.settle();
    assert_eq!(
        (names(&pair.client), names(&pair.service)),
        (vec!["Pong"], vec!["Ping"]),
        "PROTOCOL G-1"
    );
    for (peer, code) in [(&pair.client, Code::Shutdown), (&pair.service, Code::Done)] {
        assert_eq!(
            peer.dropped(),
            Some(&Cause::WentAway(Notice::new(code))),
            "PROTOCOL T-1"
        );
        assert_eq!(peer.conn.phase(), Phase::Closed);
    }
    pair
}

fn a_go_away_has_a_deadline(change: Change<'_>) -> Pair {
    let mut pair = connected(change);
    pair.to_service.stall(true);
    pair.to_client.stall(true);
    let notice = Notice::new(Code::Shutdown);
    pair.service.conn.go_away(pair.now, notice, 5 * SECOND).unwrap();
    pair.run_for(4 * SECOND);
    assert!(pair.service.dropped().is_none());
    pair.run_for(SECOND);
    assert!(
        matches!(pair.service.dropped(), Some(Cause::WentAway(notice)) if notice.code() == Code::Shutdown),
        "PROTOCOL G-2: at the deadline the sender closes"
    );
    pair.to_client.stall(false);
    pair.to_service.stall(false);
    pair.settle();
    assert_away(&pair, Code::Shutdown);
    pair
}

fn a_disconnect_with_a_reason(change: Change<'_>) -> Pair {
    let mut pair = connected(change);
    pair.client.conn.send(PING, &Ping { id: 1 }).unwrap();
    pair.client.conn.disconnect(Notice::new(Code::Done));
    pair.client.conn.disconnect(Notice::new(Code::Internal));
    pair.settle();
    assert_eq!(names(&pair.service), ["Ping"]);
    assert_client_found(&pair, Code::Done, None, "PROTOCOL E-3");
    pair
}

fn the_end_in_each_phase_of_a_service(change: Change<'_>) -> Pair {
    // Awaiting.
    let mut pair = change(Pair::of::<Demo, Demo>()).start();
    pair.cut();
    pair.settle();
    assert_eq!(pair.service.log, [Happened::Dropped(Cause::Lost)], "PROTOCOL T-1");
    // Admitting.
    let mut pair = change(Pair::of::<Demo, Demo>().admit(|_| Decision::Wait)).start();
    pair.settle();
    pair.cut();
    pair.settle();
    assert_eq!(
        pair.service.log.last(),
        Some(&Happened::Dropped(Cause::Lost)),
        "PROTOCOL T-1"
    );
    let refused = pair.service.conn.refuse(Notice::new(Code::Busy));
    assert_eq!(refused, Err(Misuse::WrongPhase), "PROTOCOL T-1");
    // Asking.
    let mut pair = change(Pair::of::<older::Demo, Demo>()).start();
    while pair.service.conn.phase() != Phase::Asking {
        pair.turn();
    }
    pair.cut();
    pair.settle();
    assert_eq!(
        pair.service.log.last(),
        Some(&Happened::Dropped(Cause::Lost)),
        "PROTOCOL T-1"
    );
    pair
}

fn the_end_before_an_answer(change: Change<'_>) -> Pair {
    let mut pair = change(Pair::of::<Demo, Demo>().admit(|_| Decision::Wait)).start();
    pair.settle();
    pair.cut();
    pair.settle();
    assert_eq!(pair.client.log, [Happened::Dropped(Cause::Lost)], "PROTOCOL T-1, R-2");
    pair
}

fn the_end_while_open(change: Change<'_>) -> Pair {
    let mut pair = connected(change);
    pair.cut();
    pair.settle();
    for peer in [&mut pair.client, &mut pair.service] {
        assert_eq!(peer.dropped(), Some(&Cause::Lost), "PROTOCOL X-4");
        assert_eq!(peer.conn.wake(), None);
        assert_eq!(peer.conn.transmit(), [0u8; 0]);
    }
    pair
}

fn a_closing_side_does_not_wait_for_ever(change: Change<'_>) -> Pair {
    let mut pair = connected(change);
    // The client neither answers nor ends.
    pair.to_service.stall(true);
    pair.to_client.stall(true);
    pair.service.conn.disconnect(Notice::new(Code::Disconnected));
    pair.run_for(1_999 * MILLI);
    assert_eq!(pair.service.conn.phase(), Phase::Closing, "PROTOCOL E-4");
    pair.run_for(MILLI);
    assert_eq!(pair.service.conn.phase(), Phase::Closed, "PROTOCOL E-4: two seconds");
    assert_eq!(pair.service.conn.wake(), None);
    pair
}

fn nothing_happens_after_the_end(change: Change<'_>) -> Pair {
    let mut pair = connected(change);
    // It is said to be over; more frames, an error, another end.
    to_service(&mut pair, &message(9, &[]));
    to_service(&mut pair, &message(PING, &[2]));
    to_service(&mut pair, &frame(0x89, &[0x81, 1, 70]));
    to_service(&mut pair, &[0, 0, 0]);
    pair.settle();
    pair.run_for(100 * SECOND);
    assert_service_found(
        &pair,
        Code::UnknownMessage,
        Some(9),
        "PROTOCOL E-3, E-4: read and discarded",
    );
    assert_eq!(names(&pair.service), [""; 0]);
    pair.service.conn.lose();
    pair.service.conn.turn();
    assert!(pair.service.conn.next(&mut &[][..]).is_none());
    let late = Duration::from_secs(1);
    assert_eq!(
        pair.service.conn.go_away(pair.now, Notice::new(Code::Done), late),
        Err(Misuse::WrongPhase),
        "PROTOCOL T-1"
    );
    pair.service.conn.disconnect(Notice::new(Code::Done));
    assert!(pair.service.conn.transmit().is_empty(), "PROTOCOL E-3: then nothing");
    pair
}

fn an_error_that_comes_while_draining(change: Change<'_>) -> Pair {
    let mut pair = connected_with(change, |setup| setup.limits(Limits::CHIP, tight()));
    to_service(&mut pair, &frame(0x88, &[0x81, 1, 75]));
    to_service(&mut pair, &message(PING, &[2]));
    pair.settle();
    let cause = pair.service.dropped().unwrap();
    assert!(
        matches!(cause, Cause::OurError(notice) if notice.code() == Code::Unexpected)
            || matches!(cause, Cause::WentAway(_)),
        "PROTOCOL G-1: nothing new after a go-away"
    );
    assert_eq!(names(&pair.service), [""; 0], "PROTOCOL G-1");
    pair
}

fn an_error_is_not_answered(change: Change<'_>) -> Pair {
    let mut pair = connected(change);
    let before = pair.to_client.carried();
    to_service(&mut pair, &frame(0x89, &[0x81, 1, 70]));
    to_service(&mut pair, &message(PING, &[2]));
    pair.settle();
    assert!(matches!(pair.service.dropped(), Some(Cause::PeerError(notice)) if notice.code() == Code::Disconnected));
    assert_eq!(pair.to_client.carried(), before, "PROTOCOL E-5: nothing is answered");
    assert_eq!(pair.client.dropped(), Some(&Cause::Lost), "PROTOCOL E-5: and it closes");
    pair
}

/// A run with everything in it: a handshake of four flights, messages each way, a go-away.
fn script(setup: &dyn Fn(&mut Pair)) -> Pair {
    script_of(Pair::of::<older::Demo, Demo>(), older::PING, setup)
}

/// The same, of a client with this number for `Ping`.
fn script_of(start: Setup, ping: u8, setup: &dyn Fn(&mut Pair)) -> Pair {
    let mut pair = start.start();
    setup(&mut pair);
    pair.settle();
    for id in 0..4 {
        let _ = pair.client.conn.send(ping, &Ping { id });
        let _ = pair.service.conn.send(PONG, &Pong { id });
        pair.settle();
    }
    pair.run_for(65 * SECOND);
    let now = pair.now;
    let _ = pair.service.conn.go_away(now, Notice::new(Code::Shutdown), 5 * SECOND);
    pair.settle();
    pair.run_for(300 * SECOND);
    pair
}

#[test]
fn cut_at_every_byte() {
    cut_everywhere(script);
}

/// With a handshake in which the catalog is told.
#[test]
fn cut_at_every_byte_of_a_catalog() {
    let small = || {
        Pair::adopting::<Demo>()
            .limits(Limits::CHIP, tight())
            .output(MIN_OUTPUT)
    };
    cut_everywhere(|setup| script_of(small(), PING, setup));
}

fn cut_everywhere(script: impl Fn(&dyn Fn(&mut Pair)) -> Pair) {
    let whole = script(&|_| {});
    assert_away(&whole, Code::Shutdown);
    let check = |pair: &Pair, at: usize| {
        for (cut, full) in [(&pair.client, &whole.client), (&pair.service, &whole.service)] {
            assert_eq!(drops(&cut.log), 1, "cut at {at}: {cut:?}");
            assert_eq!(cut.conn.phase(), Phase::Closed, "cut at {at}");
            assert!(matches!(cut.log.last(), Some(Happened::Dropped(_))), "cut at {at}");
            let arrived: Vec<_> = cut.messages().collect();
            let sent: Vec<_> = full.messages().collect();
            assert!(
                sent.starts_with(&arrived),
                "PROTOCOL M-3, X-1: cut at {at}: a prefix arrives"
            );
        }
    };
    for at in 0..=whole.to_service.carried() {
        check(&script(&|pair| pair.to_service.cut_at(at)), at);
    }
    for at in 0..=whole.to_client.carried() {
        check(&script(&|pair| pair.to_client.cut_at(at)), at);
    }
}

#[test]
fn what_was_queued_leaves_although_a_go_away_came_first() {
    let mut pair = connected(&|setup| setup);
    pair.to_client.stall(true);
    pair.service
        .conn
        .go_away(pair.now, Notice::new(Code::Shutdown), SECOND)
        .unwrap();
    pair.settle();
    // Idle, and everything transmitted; now a message is queued, and the go-away read before it leaves.
    pair.client.conn.send(PING, &Ping { id: 1 }).unwrap();
    pair.to_client.stall(false);
    pair.settle();
    assert_eq!(names(&pair.service), ["Ping"], "PROTOCOL G-2");
    assert_away(&pair, Code::Shutdown);
}

#[test]
fn what_could_not_leave_is_given_up_at_the_end() {
    let mut pair = connected(&|setup| setup);
    let conn = &mut pair.service.conn;
    conn.send(PONG, &Pong { id: 1 }).unwrap();
    conn.disconnect(Notice::new(Code::Disconnected));
    assert!(!conn.transmit().is_empty());
    let mut drops = 0;
    for late in [0, 0, 1_999, 2_000] {
        conn.now = pair.now.after(late * MILLI);
        conn.turn();
        conn.feed(&[], |_, _| drops += 1);
    }
    assert_eq!((drops, conn.phase()), (1, Phase::Closed), "PROTOCOL E-4");
    assert!(conn.transmit().is_empty() && conn.wake().is_none(), "PROTOCOL E-4");
}

fn an_end_in_order_confirms_everything_to_a_client(change: Change<'_>) -> Pair {
    an_end_in_order(change, true)
}

fn an_end_in_order_confirms_everything_to_a_service(change: Change<'_>) -> Pair {
    an_end_in_order(change, false)
}

/// Nobody counts a message as perhaps lost after an end in order.
fn an_end_in_order(change: Change<'_>, client_leaves: bool) -> Pair {
    let mut pair = connected(change);
    for id in 0..5 {
        pair.client.conn.send(PING, &Ping { id }).unwrap();
        pair.service.conn.send(PONG, &Pong { id }).unwrap();
    }
    assert_eq!(
        [pair.client.conn.unconfirmed(), pair.service.conn.unconfirmed()],
        [5, 5],
        "PROTOCOL L-6"
    );
    let leaving = if client_leaves {
        &mut pair.client.conn
    } else {
        &mut pair.service.conn
    };
    leaving.go_away(pair.now, Notice::new(Code::Done), 5 * SECOND).unwrap();
    pair.settle();
    for peer in [&pair.client, &pair.service] {
        assert!(
            matches!(peer.dropped(), Some(Cause::WentAway(_))),
            "PROTOCOL G-2: {peer:?}"
        );
        assert_eq!(peer.conn.unconfirmed(), 0, "PROTOCOL G-4");
        assert_eq!(peer.messages().count(), 5);
    }
    pair
}

/// A peer that says go-away for years and then deals with nothing: our own deadline counts, and a bound without one.
fn a_peer_that_never_confirms_holds_nobody(change: Change<'_>) -> Pair {
    let years = 1000 * 24 * 3600 * SECOND;
    let mut pair = connected(change);
    never_done(&mut pair.client);
    pair.service.conn.send(PONG, &Pong { id: 1 }).unwrap();
    pair.client
        .conn
        .go_away(pair.now, Notice::new(Code::Done), years)
        .unwrap();
    pair.settle();
    assert_eq!(pair.service.conn.phase(), Phase::Draining);
    let now = pair.now;
    pair.service
        .conn
        .go_away(now, Notice::new(Code::Shutdown), 5 * SECOND)
        .unwrap();
    pair.service
        .conn
        .go_away(now, Notice::new(Code::Shutdown), 50 * SECOND)
        .unwrap();
    pair.run_for(4 * SECOND);
    assert_eq!(pair.service.conn.phase(), Phase::Draining);
    pair.run_for(SECOND);
    assert!(
        matches!(pair.service.dropped(), Some(Cause::WentAway(_))),
        "PROTOCOL G-2"
    );
    assert_eq!(pair.service.conn.unconfirmed(), 1, "PROTOCOL L-6");

    let mut pair = connected(change);
    never_done(&mut pair.client);
    pair.service.conn.send(PONG, &Pong { id: 1 }).unwrap();
    pair.client
        .conn
        .go_away(pair.now, Notice::new(Code::Done), years)
        .unwrap();
    pair.run_for(59 * SECOND);
    assert_eq!(pair.service.conn.phase(), Phase::Draining);
    pair.run_for(2 * SECOND);
    assert!(
        matches!(pair.service.dropped(), Some(Cause::WentAway(_))),
        "PROTOCOL G-2"
    );
    pair
}
