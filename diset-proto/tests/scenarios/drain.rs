//! What is under way at a go-away: it is finished and answered, on both sides, and nothing goes on for ever.

use core::cell::Cell;
use std::rc::Rc;

use diset_proto::drive::{Handling, Lent};
use diset_proto::sim::{Happened, Pair, Peer, Random, Simulated};
use diset_proto::{Cause, Code, Connection, Deframer, Event, GrowBuf, KeptFrame, NoSession, Notice, Phase, SendError};

use super::support::*;

scenarios! {
    the_side_that_leaves_answers,
    the_side_that_is_left_answers,
    both_leave_and_answer,
    who_owes_no_answer_is_silent,
    an_endless_exchange_ends,
}

/// The message that is with its handler; others wait behind it.
type Desk = Rc<Cell<Option<i64>>>;

type Parts = Simulated<NoSession>;

fn id_of(message: Lent<'_, Parts>) -> Option<(i64, Handling<'_, Parts>)> {
    match message.number() {
        PING => message.decode::<Ping>().map(|(ping, handling)| (ping.id, handling)),
        _ => message.decode::<Pong>().map(|(pong, handling)| (pong.id, handling)),
    }
}

/// Handlers that take what comes, and are not done.
fn at_work(peer: &mut Peer) -> Desk {
    let (desk, later) = (Desk::default(), peer.later());
    let taken = Rc::clone(&desk);
    peer.on_message(move |_, message| {
        if let Some((id, handling)) = id_of(message) {
            assert_eq!(taken.replace(Some(id)), None, "one at a time");
            later.wait(handling);
        }
    });
    desk
}

/// The handler answers its message, and is done.
fn answer(peer: &mut Peer, desk: &Desk, number: u8) -> Result<i64, SendError> {
    let id = desk.take().expect("a message with its handler");
    let sent = if number == PING {
        peer.conn.send(PING, &Ping { id })
    } else {
        peer.conn.send(PONG, &Pong { id })
    };
    peer.finish(Ok(()));
    sent.map(|()| id)
}

fn leave(peer: &mut Peer, pair_now: diset_proto::Instant, code: Code) {
    peer.conn.go_away(pair_now, Notice::new(code), 5 * SECOND).unwrap();
}

/// Both have ended in order, and nothing of what either sent is in doubt.
#[track_caller]
fn assert_in_order(pair: &Pair) {
    for peer in [&pair.client, &pair.service] {
        assert!(
            matches!(peer.dropped(), Some(Cause::WentAway(_))),
            "PROTOCOL G-2: {peer:?}"
        );
        assert_eq!(peer.conn.phase(), Phase::Closed, "PROTOCOL G-2");
        assert_eq!(peer.conn.unconfirmed(), 0, "PROTOCOL G-4");
    }
}

fn the_side_that_leaves_answers(change: Change<'_>) -> Pair {
    let mut pair = connected(change);
    let desk = at_work(&mut pair.service);
    for id in 0..5 {
        pair.client.conn.send(PING, &Ping { id }).unwrap();
    }
    pair.settle();
    leave(&mut pair.service, pair.now, Code::Shutdown);
    pair.settle();
    assert_eq!(pair.client.conn.phase(), Phase::Draining);
    for id in 0..5 {
        assert_eq!(answer(&mut pair.service, &desk, PONG), Ok(id), "PROTOCOL G-1");
        pair.settle();
    }
    assert_eq!(names(&pair.client), ["Pong"; 5], "PROTOCOL G-1: each is answered");
    assert_in_order(&pair);
    pair
}

fn the_side_that_is_left_answers(change: Change<'_>) -> Pair {
    let mut pair = connected(change);
    let desk = at_work(&mut pair.service);
    for id in 0..5 {
        pair.client.conn.send(PING, &Ping { id }).unwrap();
    }
    leave(&mut pair.client, pair.now, Code::Done);
    pair.settle();
    assert_eq!(pair.service.conn.phase(), Phase::Draining);
    for id in 0..5 {
        assert_eq!(answer(&mut pair.service, &desk, PONG), Ok(id), "PROTOCOL G-2");
        pair.settle();
    }
    assert_eq!(names(&pair.client), ["Pong"; 5], "PROTOCOL G-2: each is answered");
    assert_in_order(&pair);
    pair
}

fn both_leave_and_answer(change: Change<'_>) -> Pair {
    let mut pair = connected(change);
    let desks = (at_work(&mut pair.client), at_work(&mut pair.service));
    for id in 0..3 {
        pair.client.conn.send(PING, &Ping { id }).unwrap();
        pair.service.conn.send(PONG, &Pong { id }).unwrap();
    }
    pair.settle();
    pair.to_client.stall(true);
    pair.to_service.stall(true);
    leave(&mut pair.client, pair.now, Code::Done);
    leave(&mut pair.service, pair.now, Code::Shutdown);
    pair.settle();
    pair.to_client.stall(false);
    pair.to_service.stall(false);
    pair.settle();
    for _ in 0..3 {
        answer(&mut pair.client, &desks.0, PING).unwrap();
        answer(&mut pair.service, &desks.1, PONG).unwrap();
        pair.settle();
    }
    // Each is answered, and the three answers are with handlers.
    for _ in 0..3 {
        assert_eq!(
            answer(&mut pair.client, &desks.0, PING),
            Err(SendError::GoingAway),
            "PROTOCOL G-2"
        );
        assert_eq!(
            answer(&mut pair.service, &desks.1, PONG),
            Err(SendError::GoingAway),
            "PROTOCOL G-2"
        );
    }
    assert_eq!([desks.0.take(), desks.1.take()], [None, None], "PROTOCOL G-2");
    pair.settle();
    assert_in_order(&pair);
    pair
}

fn who_owes_no_answer_is_silent(change: Change<'_>) -> Pair {
    let mut pair = connected(change);
    let desk = at_work(&mut pair.service);
    pair.client.conn.send(PING, &Ping { id: 1 }).unwrap();
    pair.settle();
    leave(&mut pair.service, pair.now, Code::Shutdown);
    pair.settle();
    let refused = pair.client.conn.send(PING, &Ping { id: 2 });
    assert_eq!(
        refused,
        Err(SendError::GoingAway),
        "PROTOCOL G-2: it has got nothing before"
    );
    answer(&mut pair.service, &desk, PONG).unwrap();
    // It is answered; but that this was the last one is not said yet.
    assert_eq!(pair.service.conn.send(PONG, &Pong { id: 3 }), Ok(()), "PROTOCOL G-1");
    let _ = pair.service.conn.transmit();
    let refused = pair.service.conn.send(PONG, &Pong { id: 4 });
    assert_eq!(refused, Err(SendError::GoingAway), "PROTOCOL G-1: all is granted again");
    pair.settle();
    assert_eq!(names(&pair.client), ["Pong"; 2]);
    assert_in_order(&pair);
    pair
}

/// Each message asks for the next one, on both sides.
fn an_endless_exchange_ends(change: Change<'_>) -> Pair {
    let mut pair = connected_with(change, |setup| setup.delay(MILLI));
    let heard = Rc::new(Cell::new(0u32));
    for (peer, number) in [(&mut pair.client, PING), (&mut pair.service, PONG)] {
        let heard = Rc::clone(&heard);
        peer.on_message(move |tx, message| {
            heard.set(heard.get() + 1);
            let Some((id, handling)) = id_of(message) else { return };
            let sent = if number == PING {
                tx.send(PING, &Ping { id: id + 1 })
            } else {
                tx.send(PONG, &Pong { id: id + 1 })
            };
            assert!(matches!(sent, Ok(()) | Err(SendError::GoingAway)), "{sent:?}");
            handling.done(Ok(()));
        });
    }
    for id in 0..3 {
        pair.client.conn.send(PING, &Ping { id }).unwrap();
        pair.service.conn.send(PONG, &Pong { id }).unwrap();
    }
    pair.run_for(20 * MILLI);
    assert!(
        pair.client.dropped().is_none() && heard.get() > 40,
        "it would go on for ever"
    );
    leave(&mut pair.service, pair.now, Code::Shutdown);
    let (began, before) = (pair.now, heard.get());
    pair.settle();
    assert_in_order(&pair);
    assert!(
        pair.now < began.after(100 * MILLI),
        "PROTOCOL G-7: not the deadline, 5 s, has ended it"
    );
    // Of each of the six exchanges what was under way, its answer, and the answer to that.
    assert!(heard.get() - before <= 6 * 3, "PROTOCOL G-7");
    assert!(pair.client.log.contains(&Happened::GoingAway(Code::Shutdown)));
    pair
}

/// What the peer has said to be all was not.
#[test]
fn an_answer_out_of_turn_is_a_fault() {
    let mut pair = connected(&|setup| setup);
    // Still with its handler, so the service does not end before.
    let desk = at_work(&mut pair.service);
    never_done(&mut pair.client);
    pair.service.conn.send(PONG, &Pong { id: 1 }).unwrap();
    pair.settle();
    to_service(&mut pair, &frame(0x88, &[0x81, 1, 75]));
    to_service(&mut pair, &message(PING, &[2]));
    to_service(&mut pair, &frame(0x85, &[3, 1]));
    to_service(&mut pair, &message(PING, &[4]));
    pair.settle();
    assert_eq!(
        desk.take(),
        Some(1),
        "PROTOCOL G-1: an answer, perhaps, and one that is none"
    );
    pair.service.expire();
    pair.client.expire();
    assert_service_found(&pair, Code::Unexpected, None, "PROTOCOL G-7");
}

/// Without room for what came before it an answer waits behind the go-away, and what it answers is confirmed meanwhile.
/// By hand: with the halves no frame waits, only messages that were accepted.
#[test]
fn an_answer_that_has_waited_is_no_fault() {
    let (mut conn, mut rx) = by_hand();
    conn.send(PONG, &Pong { id: 1 }).unwrap();
    let count = conn.transmit().len();
    conn.transmitted(count);
    let wait = |conn: &Connection<GrowBuf>, rx: &mut Deframer<GrowBuf>, bytes: &[u8]| {
        let frame = rx.next(&mut &bytes[..], 256).expect("a frame");
        conn.keep_frame(&frame).expect("it may wait")
    };
    let waits = [
        wait(&conn, &mut rx, &frame(0x88, &[0x81, 1, 75])),
        wait(&conn, &mut rx, &message(PING, &[2])),
    ];
    let granted = frame(0x85, &[3, 1]);
    let granted = rx.next(&mut granted.as_slice(), 256).expect("a frame");
    assert!(conn.handle_frame(NOW, granted).is_none());
    assert_eq!(conn.unconfirmed(), 0);
    let late = wait(&conn, &mut rx, &message(PING, &[4]));
    let mut with_handlers = Vec::new();
    let mut take = |kept: &KeptFrame| {
        let came = conn.turn_of(kept);
        let came = match conn.take_message(came) {
            Ok(message) => Some(Event::Message(message)),
            Err(came) => conn.handle_frame(NOW, came),
        };
        match came {
            Some(Event::Message(message)) => with_handlers.push(conn.decode_held::<Ping>(message).unwrap().1),
            Some(Event::GoingAway(_)) => {}
            Some(Event::Dropped(cause)) => return Some(cause),
            other => panic!("{other:?}"),
        }
        None
    };
    assert_eq!(waits.iter().find_map(&mut take), None, "PROTOCOL G-7, L-1");
    let found = take(&late);
    assert!(
        matches!(&found, Some(Cause::OurError(notice)) if notice.code() == Code::Unexpected),
        "PROTOCOL G-7: nothing was unconfirmed when it came: {found:?}"
    );
    assert_eq!(with_handlers.len(), 1);
}

/// Whatever the order in which messages come, are answered and confirmed, and go-aways are said: nobody takes an answer
/// for a fault, all ends in order and before the deadline, and nothing is in doubt.
#[test]
fn in_any_order() {
    let mut answered = 0;
    for seed in 0..500 {
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let mut pair = connected(&|setup| setup.random_chunks(seed).delay(random_delay(seed)));
        let desks = [at_work(&mut pair.client), at_work(&mut pair.service)];
        let (mut leaves, mut gone) = (random.below(60) + 1, false);
        let start = pair.now;
        for step in 0..100_000 {
            if pair.client.dropped().is_some() && pair.service.dropped().is_some() {
                break;
            }
            assert!(step < 99_999, "seed {seed}: it does not end");
            let side = random.index(2);
            let number = [PING, PONG][side];
            let peer = if side == 0 { &mut pair.client } else { &mut pair.service };
            match random.below(5) {
                0 => {
                    let _ = if number == PING {
                        peer.conn.send(PING, &Ping { id: 0 })
                    } else {
                        peer.conn.send(PONG, &Pong { id: 0 })
                    };
                }
                1 if desks[side].get().is_some() => {
                    answered += u32::from(answer(peer, &desks[side], number).is_ok() && gone);
                }
                2 => {
                    leaves = leaves.saturating_sub(1);
                    if leaves == 0 || (gone && random.once_in(40)) {
                        gone |= peer
                            .conn
                            .go_away(pair.now, Notice::new(Code::Done), 60 * SECOND)
                            .is_ok();
                    }
                }
                3 => pair.now = pair.now.after(MILLI),
                _ => drop(pair.turn()),
            }
        }
        for peer in [&pair.client, &pair.service] {
            let in_order = matches!(peer.dropped(), Some(Cause::WentAway(_)));
            assert!(in_order, "PROTOCOL G-1, G-2, G-7: seed {seed}: {peer:?}");
            assert_eq!(peer.conn.unconfirmed(), 0, "PROTOCOL G-4: seed {seed}");
        }
        assert!(pair.now < start.after(30 * SECOND), "seed {seed}: before the deadline");
    }
    assert!(answered > 500, "answers after a go-away: {answered}");
}

fn random_delay(seed: u64) -> core::time::Duration {
    Random::new(!seed).millis(3)
}
