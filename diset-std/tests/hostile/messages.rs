//! On an open connection: frames and messages that break a rule, and handlers that fail.

use core::time::Duration;
use std::sync::Arc;

use diset_std::{Cause, Code, Counter, Failure, Limits, SlowPolicy};
use tokio::sync::Semaphore;

use crate::common::*;
use crate::support::*;

/// Numbers in the catalog, and on the wire.
const PING: u8 = 0;
const SHOUT: u8 = 1;
const PONG: u8 = 2;
const NOTE: u8 = 4;
const ODD: u8 = 6;
/// A message of the kind with all kinds of attributes: flag, letter, choice, maybe, number, text, list.
const GOOD: [u8; 11] = [1, 1, b'a', 0, 0, 5, 1, b'b', 2, 3, 4];

fn message(number: u8, payload: &[u8]) -> Vec<u8> {
    frame(0, &[&[number], payload].concat())
}

#[tokio::test]
async fn frames_that_break_a_rule_end_the_connection() -> TestResult {
    let mut scene = Scene::new(handling()).await?;
    let mut rows: Vec<(&str, Vec<u8>, Code)> = vec![
        // 65,537 bytes are announced, two of them come.
        ("longer than the limit", vec![0x81, 0x80, 4, 0, 0], Code::FrameTooLong),
        ("the longest length", vec![0xff, 0xff, 0xff, 0x7f], Code::FrameTooLong),
        ("an empty frame", vec![0], Code::FrameMalformed),
        (
            "an empty frame, padded",
            vec![0x80, 0x80, 0x80, 0],
            Code::FrameMalformed,
        ),
        (
            "a length of five bytes",
            vec![0x83, 0x80, 0x80, 0x80, 0, 0, 0, 2],
            Code::FrameMalformed,
        ),
        ("an unknown control frame", frame(0x9f, b"xy"), Code::UnknownKind),
        ("an acceptance", frame(0x81, &[]), Code::Unexpected),
        ("definitions", frame(0x84, &[0, 0]), Code::Unexpected),
        (
            "an acked message without a session",
            frame(0x40, &[PING, 2]),
            Code::Unexpected,
        ),
        ("an ack without a session", frame(0x8a, &[1, 1]), Code::Unexpected),
        ("no number", frame(0, &[]), Code::PacketMalformed),
        ("credit of nothing", frame(0x85, &[0, 0]), Code::PacketMalformed),
        ("credit that is no number", frame(0x85, &[0x80]), Code::PacketMalformed),
        (
            "credit that is not under way",
            frame(0x85, &[1, 1]),
            Code::PacketMalformed,
        ),
        (
            "an error that cannot be read",
            frame(0x89, &[1, 2, 3]),
            Code::PacketMalformed,
        ),
    ];
    // Forms 1 to 6, with the flags that they may have: nobody offers slots (PROTOCOL F-7).
    let calls = (1..7).chain([0x21, 0x22, 0x25, 0x41]);
    rows.extend(calls.map(|head| ("a frame of a call", frame(head, &[PING, 2]), Code::Unexpected)));
    // Form 7, and each flag of a message but *acked*, which needs a session.
    let reserved = [7, 8, 0x10, 0x20].into_iter();
    rows.extend(reserved.map(|head| ("a reserved form or flag", frame(head, &[PING, 2]), Code::UnknownKind)));
    for (what, bytes, expected) in rows {
        let mut peer = Peer::open(&scene).await?;
        peer.say(&bytes).await?;
        let told = peer.error(what).await?;
        assert_eq!(told.code(), expected, "PROTOCOL E-3: {what}");
        drop(peer);
        scene.over(what, by_us(expected), 1).await;
    }
    scene.finish().await
}

#[tokio::test]
async fn unknown_frames_that_may_be_ignored_are() -> TestResult {
    let mut scene = Scene::new(handling()).await?;
    let mut peer = Peer::open(&scene).await?;
    for head in 0xc0..=0xff {
        peer.say(&frame(head, SECRET.as_bytes())).await?;
    }
    peer.say(&message(PING, &[2])).await?;
    peer.messages(1).await?;
    drop(peer);
    scene.over("ignorable frames", Counter::Lost, 1).await;
    scene.finish().await
}

#[tokio::test]
async fn messages_that_nobody_expects_are_named_in_the_error() -> TestResult {
    let mut scene = Scene::new(handling()).await?;
    for (what, number, expected) in [
        ("an unknown number", 7, Code::UnknownMessage),
        ("the last number", 127, Code::UnknownMessage),
        ("a number out of range", 200, Code::UnknownMessage),
        ("the wrong direction", PONG, Code::WrongDirection),
        ("no handler", SHOUT, Code::NoHandler),
    ] {
        let mut peer = Peer::open(&scene).await?;
        peer.say(&message(number, SECRET.as_bytes())).await?;
        let told = peer.error(what).await?;
        assert_eq!(
            (told.code(), told.message()),
            (expected, Some(number)),
            "PROTOCOL M-4: {what}"
        );
        drop(peer);
        scene.over(what, by_us(expected), 1).await;
    }
    scene.finish().await
}

/// The good message with some bytes replaced.
fn odd(at: usize, old: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = GOOD.to_vec();
    bytes.splice(at..at + old, new.iter().copied());
    bytes
}

#[tokio::test]
async fn payloads_that_do_not_fit_their_definition_are_refused() -> TestResult {
    let handled = Count::default();
    let count = handled.clone();
    let service = handling().on(move |_, _: Odd| {
        count.add();
        async { Ok(()) }
    });
    let mut scene = Scene::new(service).await?;
    let endless = [0xff; 10];
    let rows: [(&str, Vec<u8>); 17] = [
        ("nothing", vec![]),
        ("too short", odd(10, 1, &[])),
        ("too long", odd(11, 0, &[0])),
        ("a bad bool", odd(0, 1, &[2])),
        ("a letter of two", odd(1, 2, &[2, b'a', b'a'])),
        ("no letter", odd(1, 2, &[0])),
        ("half a letter", odd(1, 2, &[1, 0xc3])),
        ("an unknown variant", odd(3, 1, &[9])),
        ("a bad option", odd(4, 1, &[2, 2])),
        ("an over-long varint", odd(5, 1, &[0x85, 0])),
        ("a varint without end", odd(5, 1, &endless)),
        (
            "a number of 65 bits",
            odd(5, 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]),
        ),
        ("bad UTF-8", odd(7, 1, &[0xff])),
        ("a surrogate", odd(6, 2, &[3, 0xed, 0xa0, 0x80])),
        (
            "a text longer than all memory",
            odd(6, 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        ),
        (
            "a list longer than all memory",
            odd(8, 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        ),
        ("an element too large", odd(9, 1, &[0xff, 0xff, 4])),
    ];
    for (what, payload) in rows {
        let mut peer = Peer::open(&scene).await?;
        peer.say(&message(ODD, &payload)).await?;
        let told = peer.error(what).await?;
        assert_eq!(
            (told.code(), told.message()),
            (Code::Invalid, Some(ODD)),
            "PROTOCOL M-2: {what}"
        );
        drop(peer);
        scene.over(what, by_us(Code::Invalid), 1).await;
    }
    assert_eq!(handled.value(), 0, "PROTOCOL M-2");
    // As it should be.
    let mut peer = Peer::open(&scene).await?;
    peer.say(&message(ODD, &GOOD)).await?;
    peer.say(&message(PING, &[2])).await?;
    peer.messages(1).await?;
    assert_eq!(handled.value(), 1);
    drop(peer);
    scene.over("a good one", Counter::Lost, 1).await;
    scene.finish().await
}

#[tokio::test]
async fn a_list_beyond_the_capacity_of_its_type_is_too_long() -> TestResult {
    let service = handling().on(|_, _: Odd| async { Ok(()) });
    let mut scene = Scene::new(service).await?;
    let mut peer = Peer::open(&scene).await?;
    // 1001 numbers where the type has room for 1000. For another type that would be valid.
    let list = [&[0xe9, 7][..], &[1; 1001]].concat();
    peer.say(&message(ODD, &odd(8, 3, &list))).await?;
    let told = peer.error("a long list").await?;
    assert_eq!(
        (told.code(), told.message()),
        (Code::TooLong, Some(ODD)),
        "PROTOCOL M-2"
    );
    drop(peer);
    scene.over("a long list", by_us(Code::TooLong), 1).await;
    scene.finish().await
}

#[tokio::test]
async fn a_message_that_is_not_looked_at_is_checked_all_the_same() -> TestResult {
    let service = answering().on_any(|_, _| async { Ok(()) });
    let mut scene = Scene::new(service).await?;
    for (what, payload) in [("bad UTF-8", [1, 0xff]), ("an over-long varint", [0x80, 0])] {
        let mut peer = Peer::open(&scene).await?;
        peer.say(&message(NOTE, &payload)).await?;
        assert_eq!(peer.error(what).await?.code(), Code::Invalid, "PROTOCOL M-2: {what}");
        drop(peer);
        scene.over(what, by_us(Code::Invalid), 1).await;
    }
    scene.finish().await
}

#[tokio::test]
async fn who_sends_more_than_its_credit_is_stopped() -> TestResult {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let service = answering()
        .limits(Limits::SERVER.with_credit(65536, 4))
        .on(move |_, _: Odd| {
            let gate = Arc::clone(&held);
            async move {
                gate.acquire().await?.forget();
                Ok(())
            }
        });
    let mut scene = Scene::new(service).await?;
    // By number of messages; its handler never gets that far.
    let mut peer = Peer::open(&scene).await?;
    peer.say(&message(ODD, &GOOD).repeat(5)).await?;
    let told = peer.error("five of four").await?;
    assert_eq!(told.code(), Code::CreditExceeded, "PROTOCOL L-3");
    drop(peer);
    gate.add_permits(1);
    scene.over("five of four", by_us(Code::CreditExceeded), 1).await;
    // By bytes.
    let mut peer = Peer::open(&scene).await?;
    let mut long = odd(6, 2, &[0xc0, 0xb8, 2]);
    long.splice(9..9, [b'x'; 40_000]);
    peer.say(&message(ODD, &long).repeat(2)).await?;
    let told = peer.error("80,000 of 65,536 bytes").await?;
    assert_eq!(told.code(), Code::CreditExceeded, "PROTOCOL L-3");
    drop(peer);
    gate.add_permits(1);
    scene.over("too many bytes", by_us(Code::CreditExceeded), 1).await;
    scene.finish().await
}

#[tokio::test]
async fn a_handler_that_fails_or_panics_ends_its_own_connection_only() -> TestResult {
    let service = answering().on(|_, shout: Shout| async move {
        tokio::task::yield_now().await;
        match &*shout.text {
            "tell" => Err(Failure::told("too loud")),
            "fail" => Err(Failure::new("of our own\n")),
            _ => panic!("as it should"),
        }
    });
    let mut scene = Scene::new(service).await?;
    for (what, text) in [("tell", "too loud"), ("fail", ""), ("quit", "")] {
        let mut peer = Peer::open(&scene).await?;
        let payload = [&[4], what.as_bytes()].concat();
        // What comes after it is not handled.
        peer.say(&message(SHOUT, &payload).repeat(3)).await?;
        let told = peer.error(what).await?;
        assert_eq!(
            (told.code(), told.text(), told.message()),
            (Code::HandlerFailed, text, Some(SHOUT)),
            "PROTOCOL M-4"
        );
        drop(peer);
        scene.over(what, by_us(Code::HandlerFailed), 1).await;
    }
    scene.finish().await
}

#[tokio::test]
async fn a_handler_that_does_not_return_holds_its_own_connection_only() -> TestResult {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let (log, mut begun) = log();
    let service = answering().on(move |_, _: Odd| {
        let gate = Arc::clone(&held);
        log.add(());
        async move {
            gate.acquire().await?.forget();
            Ok(())
        }
    });
    let mut scene = Scene::new(service).await?;
    let mut peer = Peer::open(&scene).await?;
    peer.say(&message(ODD, &GOOD)).await?;
    begun.next().await;
    // It is still read: a keep-alive is answered, an error found.
    peer.say(&frame(0x9f, &[])).await?;
    assert_eq!(peer.error("meanwhile").await?.code(), Code::UnknownKind);
    drop(peer);
    assert_eq!(
        scene.running.handle.counters().get(Counter::Live),
        2,
        "not dropped before its handler is done"
    );
    gate.add_permits(1);
    scene.over("a handler that waits", by_us(Code::UnknownKind), 1).await;
    scene.finish().await
}

#[tokio::test]
async fn what_a_peer_says_at_the_end_cannot_steer_a_terminal() -> TestResult {
    let mut scene = Scene::new(handling()).await?;
    // Invalid (33), with a text that clears the screen.
    let mut peer = Peer::open(&scene).await?;
    peer.say(&frame(0x89, b"\x81\x01\x21\x02\x05\x1b[2J\n")).await?;
    assert_eq!(peer.fate().await?, None, "PROTOCOL E-5: nothing is answered");
    drop(peer);
    scene.over("an error", Counter::EndedByPeer(Code::Invalid), 1).await;
    // A code of a later version.
    let mut peer = Peer::open(&scene).await?;
    peer.say(&frame(0x89, b"\x81\x02\xe7\x07")).await?;
    assert_eq!(peer.fate().await?, None);
    drop(peer);
    scene
        .over("an unknown code", Counter::EndedByPeer(Code::Other(999)), 1)
        .await;
    scene.finish().await
}

#[tokio::test]
async fn a_peer_that_is_too_slow_is_told_and_counted() -> TestResult {
    // No credit comes back: its engine keeps what it gets.
    let service = answering()
        .slow_policy(SlowPolicy::Disconnect)
        .on(|conn, _: Odd| async move {
            let blob = Blob { bytes: vec![7; 60_000] };
            loop {
                conn.send(&blob).await?;
            }
        });
    let mut scene = Scene::new(service).await?;
    let mut peer = Peer::open(&scene).await?;
    peer.say(&message(ODD, &GOOD)).await?;
    let told = within("an end", peer.error("too slow")).await?;
    assert_eq!((told.code(), told.text()), (Code::Busy, "too slow"));
    drop(peer);
    scene.over("too slow", by_us(Code::Busy), 1).await;
    scene.finish().await
}

#[tokio::test]
async fn a_peer_that_says_nothing_more_is_missed() -> TestResult {
    let service = answering().limits(Limits::SERVER.with_max_silence(Duration::from_millis(300)));
    let mut scene = Scene::new(service).await?;
    let mut peer = Peer::open(&scene).await?;
    // Its socket stays, nobody is behind it.
    let (told, _) = read_all(&mut peer.stream).await;
    let cause = peer.engine.fate(&told);
    assert!(
        matches!(&cause, Some(Cause::PeerError(notice)) if notice.code() == Code::Silent),
        "PROTOCOL K-4: {cause:?}"
    );
    drop(peer);
    scene.over("silent", by_us(Code::Silent), 1).await;
    scene.finish().await
}
