//! Acked delivery with each client: across cuts, while away, when the service forgets, and when a channel is worn.

use diset_embedded::diset_proto::RetryAfter;
use diset_embedded::diset_proto::store::Unsure;
use diset_embedded::{Bound, Cause, Code, NewReason, Notice, Outcome, Resumption, Retry, SendError};

use super::agent::{Agent, Seen, Treat, with_each, with_each_acked};
use super::world::{Log, POISON, SECOND};

/// Enough for a handful.
const OUTBOX: usize = 256;
const PIECES: [usize; 2] = [usize::MAX, 1];

/// What a client has seen of what it sent and got.
#[derive(Default)]
struct Told {
    outcomes: Vec<(u64, Outcome)>,
    notes: Vec<String>,
    drops: usize,
}

/// Connects as often as it takes, until all messages have an outcome and so many notes have come.
fn settle(agent: &mut dyn Agent, notes: usize) -> Told {
    let mut told = Told::default();
    while told.drops < 50 {
        if !agent.is_busy() {
            assert!(agent.dial());
        }
        let end = agent.world().now().after(SECOND);
        match agent.next_until(Some(end)) {
            Some(Seen::Outcome(number, outcome)) => told.outcomes.push((number, outcome)),
            Some(Seen::Acked(text, _)) => told.notes.push(text),
            Some(Seen::Dropped(_)) => told.drops += 1,
            Some(Seen::Connected(_) | Seen::Delivered(_) | Seen::GoingAway(_) | Seen::Refused) => {}
            Some(other) => panic!("{other:?}"),
            // Idle: nothing is under way any more.
            None if agent.session().stored == 0 && told.notes.len() >= notes => return told,
            None => {}
        }
    }
    panic!("it never settles");
}

#[test]
fn an_acked_message_is_stored_until_it_is_dealt_with() {
    with_each_acked::<OUTBOX>(&PIECES, |agent| {
        agent.connected();
        let first = Some(Resumption::New { why: NewReason::First });
        assert_eq!(agent.session().resumption, first, "PROTOCOL N-6");
        assert_eq!(agent.acked(1, false), Ok(1));
        assert_eq!(agent.acked(2, false), Ok(2));
        assert_eq!(agent.session().stored, 2);
        while agent.session().delivered.processed < 2 {
            assert!(matches!(agent.next(), Seen::Delivered(_)));
        }
        assert_eq!(agent.session().stored, 0, "PROTOCOL Q-4");
        assert_eq!(agent.world().acked(), [1, 2]);
    });
}

#[test]
fn what_is_stored_while_away_leaves_first() {
    with_each_acked::<OUTBOX>(&PIECES, |agent| {
        assert_eq!(agent.acked(1, false), Ok(1));
        agent.connected();
        agent.ping(9).unwrap();
        assert_eq!(agent.acked(2, false), Ok(2));
        agent.world().cut();
        agent.dropped();
        assert_eq!(agent.acked(3, false), Ok(3));
        let told = settle(agent, 0);
        assert_eq!(told.outcomes, []);
        assert_eq!(agent.session().delivered.processed, 3);
        let mut acked = agent.world().acked();
        acked.dedup();
        assert_eq!(acked, [1, 2, 3], "PROTOCOL Q-7");
        assert_eq!(agent.acked(4, false), Ok(4));
    });
}

#[test]
fn a_full_outbox_changes_nothing() {
    // A message takes 29 bytes and its payload, here one.
    with_each_acked::<64>(&PIECES, |agent| {
        assert_eq!(agent.acked(1, false), Ok(1));
        assert_eq!(agent.acked(2, true), Ok(2));
        let full = Err(SendError::Full(Bound::Session));
        assert_eq!(agent.acked(3, false), full);
        assert_eq!(agent.session().stored, 2);
        assert_eq!(agent.skip_oldest(), Some(1));
        assert_eq!(agent.acked(3, false), Ok(3));
        agent.connected();
        assert_eq!(agent.acked(4, false), full);
        let told = settle(agent, 0);
        assert_eq!((told.outcomes, agent.world().acked()), (vec![], vec![2, 3]));
        assert_eq!(agent.acked(4, false), Ok(4), "there is room again");
    });
    with_each_acked::<16>(&[7], |agent| {
        assert_eq!(agent.acked(1, false), Err(SendError::TooLong), "it never fits");
    });
}

#[test]
fn a_message_whose_handler_fails_is_told_and_not_sent_again() {
    with_each_acked::<OUTBOX>(&PIECES, |agent| {
        agent.acked(1, false).unwrap();
        let poison = agent.acked(POISON, true).unwrap();
        agent.acked(3, false).unwrap();
        let told = settle(agent, 0);
        let failed = Outcome::Failed(Code::HandlerFailed);
        assert_eq!(told.outcomes, [(poison, failed)], "PROTOCOL Q-5");
        assert_eq!(told.drops, 1, "PROTOCOL M-4");
        assert_eq!(agent.world().acked(), [1, POISON, 3]);
    });
}

/// Its acknowledgement was lost with the line, so the acceptance brings it, and nothing else comes.
#[test]
fn an_outcome_that_comes_with_the_acceptance_hides_no_connection() {
    with_each_acked::<OUTBOX>(&PIECES, |agent| {
        agent.connected();
        let world = agent.world().clone();
        let poison = agent.acked(POISON, true).unwrap();
        while world.acked().is_empty() {
            let now = world.now();
            assert_eq!(agent.next_until(Some(now)), None);
            world.turn(None, Some(now));
        }
        world.0.borrow_mut().to_client.clear();
        world.cut();
        agent.dropped();
        agent.connected();
        assert_eq!(
            agent.next(),
            Seen::Outcome(poison, Outcome::Failed(Code::HandlerFailed)),
            "PROTOCOL Q-5"
        );
        assert!(matches!(agent.next(), Seen::Delivered(_)));
    });
}

/// What the service still sends as it shuts down is handled, and is no reason for another end (PROTOCOL G-2).
#[test]
fn a_handler_that_cannot_answer_because_of_a_go_away_has_not_failed() {
    with_each(|agent| {
        agent.connected();
        agent.treat(Treat::Echo);
        let world = agent.world().clone();
        world.0.borrow_mut().frozen = true;
        agent.ping(1).unwrap();
        let (now, wait) = (world.now(), 60 * SECOND);
        assert_eq!(agent.next_until(Some(now)), None);
        let notice = Notice::new(Code::Shutdown).with_retry(RetryAfter::new(wait, SECOND));
        let bytes = world.service(|conn| {
            conn.go_away(now, notice, SECOND).unwrap();
            let bytes = conn.transmit().to_vec();
            conn.transmitted(bytes.len());
            bytes
        });
        world.0.borrow_mut().to_client.extend(bytes);
        // What it still reads it answers.
        world.0.borrow_mut().frozen = false;
        assert!(matches!(agent.next(), Seen::GoingAway(_)));
        assert_eq!(agent.next(), Seen::Pong(1));
        let dropped = agent.dropped();
        assert_eq!(dropped.cause().code(), Some(Code::Shutdown));
        assert!(
            matches!(dropped.retry(), Retry::At(when) if when >= now.after(wait)),
            "PROTOCOL R-3"
        );
    });
}

#[test]
fn a_service_that_was_restarted_has_forgotten() {
    with_each_acked::<OUTBOX>(&PIECES, |agent| {
        agent.connected();
        agent.acked(0, false).unwrap();
        while agent.session().delivered.processed < 1 {
            agent.next();
        }
        agent.world().0.borrow_mut().frozen = true;
        let unknown = agent.acked(1, false).unwrap();
        agent.acked(2, true).unwrap();
        agent.idle(SECOND / 100);
        agent.world().restart();
        agent.world().0.borrow_mut().frozen = false;
        agent.dropped();
        agent.acked(3, false).unwrap();
        agent.connected();
        let new = Some(Resumption::New {
            why: NewReason::Forgotten,
        });
        assert_eq!(agent.session().resumption, new, "PROTOCOL N-6");
        let told = settle(agent, 0);
        assert_eq!(told.outcomes, [(unknown, Outcome::Unknown)]);
        assert_eq!(agent.session().delivered.processed, 3 + 1);
        let log = agent.world().log();
        let acked: Vec<_> = log.iter().filter(|entry| matches!(entry, Log::Acked(..))).collect();
        assert_eq!(
            acked,
            [&Log::Acked(0, false), &Log::Acked(2, true), &Log::Acked(3, false)],
            "PROTOCOL Q-3"
        );
    });
}

#[test]
fn acked_messages_of_the_service() {
    with_each_acked::<OUTBOX>(&PIECES, |agent| {
        agent.connected();
        agent.world().push_acked("one", Unsure::Report);
        let Seen::Acked(text, received) = agent.next() else {
            panic!("nothing has come")
        };
        assert_eq!(
            (text.as_str(), received.number, received.maybe_repeated),
            ("one", 1, false)
        );
        agent.idle(SECOND / 10);
        agent.world().cut();
        agent.dropped();
        agent.world().push_acked("two", Unsure::Report);
        assert_eq!(settle(agent, 1).notes, ["two"], "PROTOCOL Q-1");
        // One fails, while it is held or before.
        for (number, treat) in [(3, Treat::Fail), (4, Treat::Reject), (5, Treat::Drop)] {
            agent.treat(treat);
            assert_eq!(agent.world().push_acked("fails", Unsure::Report), number);
            assert_eq!(agent.next(), Seen::Refused);
            agent.dropped();
            settle(agent, 0);
            assert_eq!(
                agent.world().0.borrow().told.last().map(|told| told.0),
                Some(number),
                "PROTOCOL Q-5"
            );
        }
        agent.treat(Treat::Decode);
        agent.world().push_acked("after", Unsure::Report);
        assert_eq!(settle(agent, 1).notes, ["after"]);
        assert_eq!(agent.world().0.borrow().told.len(), 3);
    });
}

/// A few messages each way, and the line cut after each number of bytes in turn.
#[test]
fn every_message_is_handled_once_wherever_the_line_is_cut() {
    with_each_acked::<OUTBOX>(&PIECES, |agent| {
        let mut cut = 1;
        let mut number = 0;
        loop {
            let before = agent.world().acked().len();
            agent.world().0.borrow_mut().cut_after = Some(cut);
            let cuts = agent.world().0.borrow().cuts;
            if !agent.is_busy() {
                assert!(agent.dial());
            }
            for _ in 0..3 {
                number += 1;
                let id = i64::try_from(number).unwrap();
                assert_eq!(agent.acked(id, number % 2 == 0), Ok(number));
            }
            if before > 0 {
                agent.world().push_acked("a", Unsure::Report);
                agent.world().push_acked("b", Unsure::Report);
            }
            let told = settle(agent, if before > 0 { 2 } else { 0 });
            assert_eq!(told.outcomes, [], "cut after {cut}");
            assert_eq!(agent.session().delivered.processed, number, "cut after {cut}");
            let expected: Vec<_> = (1..=i64::try_from(number).unwrap()).collect();
            assert_eq!(agent.world().acked(), expected, "cut after {cut}: once each, in order");
            if before > 0 {
                assert_eq!(told.notes, ["a", "b"], "cut after {cut}");
            }
            if agent.world().0.borrow().cuts == cuts {
                break;
            }
            // The next one from a new connection, so that the handshake is cut, too.
            agent.world().cut();
            agent.dropped();
            cut += 1;
        }
        assert!(cut > 150, "the exchange takes more than {cut} bytes");
    });
}

#[test]
fn a_service_without_sessions() {
    with_each_acked::<OUTBOX>(&[7], |agent| {
        agent.world().0.borrow_mut().keeps_none = true;
        agent.acked(1, false).unwrap();
        agent.connected();
        assert_eq!(agent.session().resumption, None, "PROTOCOL N-1");
        assert_eq!(agent.acked(2, false), Err(SendError::NoSession));
        agent.ping(5).unwrap();
        assert_eq!(agent.next(), Seen::Pong(5));
        assert_eq!(agent.session().stored, 1);
    });
}

#[test]
fn a_worn_channel_is_replaced_at_once() {
    with_each_acked::<OUTBOX>(&PIECES, |agent| {
        // In pieces of one byte the handshake takes as many.
        let most = 2000;
        agent.world().0.borrow_mut().records = Some(most);
        let mut replaced = 0;
        let mut number = 0;
        agent.connected();
        assert_eq!(agent.world().0.borrow().stated, Some(most), "the service knows");
        while replaced < 3 {
            let end = agent.world().now().after(SECOND / 100);
            match agent.next_until(Some(end)) {
                Some(Seen::Dropped(dropped)) => {
                    assert!(matches!(dropped.cause(), Cause::WentAway(notice) if notice.code() == Code::RecordLimit));
                    assert_eq!(dropped.retry(), Retry::At(agent.world().now()), "no wait");
                    assert_eq!(dropped.unconfirmed(), 0, "PROTOCOL G-4");
                    replaced += 1;
                    assert!(agent.dial());
                }
                Some(Seen::Connected(_) | Seen::Delivered(_)) => {}
                None if agent.session().stored < 4 => {
                    number += 1;
                    assert_eq!(agent.acked(i64::try_from(number).unwrap(), false), Ok(number));
                }
                None => {}
                Some(other) => panic!("{other:?}"),
            }
        }
        agent.world().0.borrow_mut().records = None;
        assert_eq!(settle(agent, 0).outcomes, []);
        assert_eq!(agent.session().delivered.processed, number);
        let expected: Vec<_> = (1..=i64::try_from(number).unwrap()).collect();
        assert_eq!(agent.world().acked(), expected, "nothing acked is lost");
    });
}

#[test]
fn a_client_without_an_outbox_replaces_a_worn_channel_too() {
    with_each(|agent| {
        agent.connected();
        agent.world().0.borrow_mut().records = Some(1);
        let dropped = agent.dropped();
        assert_eq!(dropped.cause().code(), Some(Code::RecordLimit));
        assert_eq!(dropped.retry(), Retry::At(agent.world().now()));
        assert!(
            agent
                .world()
                .log()
                .iter()
                .any(|entry| { matches!(entry, Log::GoingAway(notice) if notice.code() == Code::RecordLimit) })
        );
    });
}

/// The service ends as well, and asks for a while: that counts, though this side wanted to come back at once.
#[test]
fn a_worn_channel_is_not_replaced_before_the_service_wants_it() {
    with_each(|agent| {
        agent.connected();
        let world = agent.world().clone();
        {
            let mut inside = world.0.borrow_mut();
            (inside.records, inside.frozen) = (Some(1), true);
        }
        // It says that its channel is worn, which the service has not read.
        let end = world.now().after(SECOND / 10);
        assert_eq!(agent.next_until(Some(end)), None);
        let wait = 60 * SECOND;
        let notice = Notice::new(Code::Shutdown).with_retry(RetryAfter::new(wait, SECOND));
        let bytes = world.service(|conn| {
            conn.go_away(end, notice, SECOND).unwrap();
            let bytes = conn.transmit().to_vec();
            conn.transmitted(bytes.len());
            bytes
        });
        world.0.borrow_mut().to_client.extend(bytes);
        assert!(matches!(agent.next(), Seen::GoingAway(_)), "the two have crossed");
        world.0.borrow_mut().frozen = false;
        let dropped = agent.dropped();
        let earliest = end.after(wait);
        assert!(
            matches!(dropped.retry(), Retry::At(when) if when >= earliest),
            "PROTOCOL R-3: {dropped:?}"
        );
    });
}
