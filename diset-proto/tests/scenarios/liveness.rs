//! Silence: who asks, who dies of it, and what a clock may do.

use diset_proto::sim::{Happened, Pair};
use diset_proto::{Cause, Code, Instant, Limits};

use super::support::*;

scenarios! {
    the_client_asks,
    a_dead_peer_is_found,
    a_client_that_only_listens_speaks,
    a_stall_is_survived,
    a_longer_stall_is_not,
    a_clock_that_goes_backwards,
    answers_are_coalesced,
    keep_alives_without_end,
}

/// Both sides say ten seconds, or the client does.
fn limits() -> (Limits, Limits) {
    let short = Limits::SERVER.with_max_silence(10 * SECOND);
    (short, Limits::SERVER)
}

fn watching(change: Change<'_>) -> Pair {
    let (client, service) = limits();
    connected_with(change, |setup| setup.limits(client, service))
}

fn the_client_asks(change: Change<'_>) -> Pair {
    let mut pair = watching(change);
    let (up, down) = (pair.to_service.carried(), pair.to_client.carried());
    pair.run_for(60 * SECOND);
    assert!(
        pair.client.dropped().is_none() && pair.service.dropped().is_none(),
        "PROTOCOL K-1"
    );
    let (asked, answered) = (pair.to_service.carried() - up, pair.to_client.carried() - down);
    // A look every 5 s, the first at 5 s finds the proposal sent but nothing heard.
    assert_eq!(
        (asked / 2, answered / 2),
        (12, 12),
        "PROTOCOL K-2: T is the shorter of the two; K-3: only the client asks"
    );
    pair
}

fn a_dead_peer_is_found(change: Change<'_>) -> Pair {
    let mut pair = watching(change);
    let start = pair.now;
    pair.to_service.stall(true);
    pair.to_client.stall(true);
    pair.run_for(14_999 * MILLI);
    assert!(pair.service.dropped().is_none(), "PROTOCOL K-4");
    pair.run_for(MILLI);
    assert_eq!(pair.now, start.after(15 * SECOND));
    assert_eq!(pair.service.dropped(), Some(&Cause::Silent), "PROTOCOL K-4: at 1.5 T");
    assert_eq!(pair.client.dropped(), Some(&Cause::Silent), "PROTOCOL K-4: at 1.5 T");
    pair
}

fn a_client_that_only_listens_speaks(change: Change<'_>) -> Pair {
    let mut pair = watching(change);
    let up = pair.to_service.carried();
    for id in 0..60 {
        pair.service.conn.send(PONG, &Pong { id }).unwrap();
        pair.run_for(SECOND);
    }
    assert!(pair.service.dropped().is_none(), "PROTOCOL K-2");
    // The first look finds the proposal sent; eleven others follow.
    let spoken = pair.to_service.carried() - up;
    assert!(spoken >= 11 * 2, "PROTOCOL K-2: {spoken} bytes");
    pair
}

fn a_stall_is_survived(change: Change<'_>) -> Pair {
    let mut pair = watching(change);
    pair.client.conn.send(PING, &Ping { id: 1 }).unwrap();
    pair.to_service.stall(true);
    pair.run_for(9 * SECOND);
    pair.to_service.stall(false);
    pair.run_for(60 * SECOND);
    assert!(
        pair.service.dropped().is_none() && pair.client.dropped().is_none(),
        "PROTOCOL K-4: {pair:?}"
    );
    assert_eq!(names(&pair.service), ["Ping"]);
    pair
}

fn a_longer_stall_is_not(change: Change<'_>) -> Pair {
    let mut pair = watching(change);
    pair.to_service.stall(true);
    pair.run_for(16 * SECOND);
    assert_eq!(pair.service.dropped(), Some(&Cause::Silent), "PROTOCOL K-4");
    // The client was asked by the service, so it heard something, and is told.
    assert!(
        matches!(pair.client.dropped(), Some(Cause::PeerError(notice)) if notice.code().number() == 17),
        "PROTOCOL E-3: {pair:?}"
    );
    pair
}

fn a_clock_that_goes_backwards(change: Change<'_>) -> Pair {
    let (client, service) = limits();
    let mut pair = connected_with(change, |setup| {
        setup.limits(client, service).at(Instant::from_millis(1_000_000))
    });
    pair.run_for(3 * SECOND);
    for _ in 0..10 {
        pair.now = Instant::from_millis(pair.now.as_millis() - 4_000);
        pair.run_for(SECOND);
    }
    let behind = pair.now;
    pair.run_for(100 * SECOND);
    assert!(behind < pair.now);
    assert!(
        pair.service.dropped().is_none() && pair.client.dropped().is_none(),
        "time that goes backwards stands still"
    );
    pair
}

fn answers_are_coalesced(change: Change<'_>) -> Pair {
    let mut pair = watching(change);
    to_service(&mut pair, &frame(0x86, &[]).repeat(5));
    pair.settle();
    assert!(matches!(pair.client.log[..], [Happened::Connected(_)]));
    pair
}

/// PROTOCOL L-7: 64 between two looks, questions and answers alike.
fn keep_alives_without_end(change: Change<'_>) -> Pair {
    let mut pair = watching(change);
    for round in 0..3 {
        let many = [frame(0x86, &[]).repeat(30), frame(0x87, &[]).repeat(30)].concat();
        to_service(&mut pair, &many);
        pair.settle();
        assert!(pair.service.dropped().is_none(), "PROTOCOL L-7: round {round}");
        // The service looks, and the client has asked meanwhile.
        pair.run_for(10 * SECOND);
    }
    to_service(&mut pair, &frame(0x87, &[]).repeat(65));
    pair.settle();
    assert_service_found(&pair, Code::Busy, None, "PROTOCOL L-7");
    pair
}

#[test]
fn several_questions_get_one_answer() {
    let mut pair = watching(&|setup| setup);
    let before = pair.to_client.carried();
    to_service(&mut pair, &frame(0x86, &[]).repeat(5));
    // Whole pieces are at most what was written at once.
    pair.settle();
    assert_eq!(pair.to_client.carried() - before, 2, "PROTOCOL K-5");
}
