//! Messages and the credit they cost: order, errors, both sides full at once.

use diset_proto::sim::{Happened, Pair};
use diset_proto::{Bound, Code, Event, Kept, Limits, Notice, Schema, SendError};
use serde::Deserialize;

use super::support::*;

scenarios! {
    order_is_kept,
    both_ways_at_once_with_little_room,
    mixed_sizes_never_stall_a_window_of_one_frame,
    an_unknown_number,
    a_wrong_direction,
    a_message_that_nobody_handles,
    a_grant_of_more_than_was_sent,
    a_handler_that_fails,
    too_short,
    left_over,
    an_over_long_number,
    bad_utf8,
    a_bad_boolean,
    a_bad_option,
    a_bad_variant,
    a_text_beyond_the_capacity_of_its_type,
    an_absurd_length,
    a_message_without_a_number,
    a_reserved_flag,
    an_ignorable_frame,
    an_unknown_control_frame,
    an_empty_frame,
    a_frame_above_the_limit,
    more_than_the_message_credit,
    more_than_the_byte_credit,
    credit_that_overflows,
    credit_of_nothing,
    credit_comes_back,
}

fn order_is_kept(change: Change<'_>) -> Pair {
    let mut pair = connected(change);
    let texts: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    for text in &texts {
        pair.client.conn.send(NOTE, &Note { text }).unwrap();
        pair.service.conn.send(NOTE, &Note { text }).unwrap();
    }
    pair.settle();
    for peer in [&pair.client, &pair.service] {
        let seen: Vec<&[u8]> = peer.messages().map(|(_, bytes)| &bytes[1..]).collect();
        let sent: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
        assert_eq!(seen, sent, "PROTOCOL M-3");
    }
    pair
}

/// Sends `count` notes each way as fast as there is room, of lengths that `length` gives.
fn pump(pair: &mut Pair, count: usize, length: impl Fn(usize) -> usize) {
    let text = "x".repeat(1024);
    let mut sent = [0; 2];
    for _ in 0..200_000 {
        for (at, conn) in [&mut pair.client.conn, &mut pair.service.conn].into_iter().enumerate() {
            while sent[at] < count {
                let text = &text[..length(sent[at])];
                match conn.send(NOTE, &Note { text }) {
                    Ok(()) => sent[at] += 1,
                    Err(SendError::Full(_)) => break,
                    Err(other) => panic!("{other}"),
                }
            }
        }
        if !pair.turn() && sent == [count; 2] {
            break;
        }
    }
    pair.settle();
    assert_eq!(sent, [count; 2]);
    assert_eq!([names(&pair.client).len(), names(&pair.service).len()], [count; 2]);
}

fn both_ways_at_once_with_little_room(change: Change<'_>) -> Pair {
    let mut pair = connected_with(change, |setup| setup.limits(Limits::CHIP, tight()).output(768));
    pump(&mut pair, 300, |n| 1 + n * 37 % 480);
    assert!(
        pair.client.dropped().is_none(),
        "PROTOCOL L-1: control frames found room: {pair:?}"
    );
    pair
}

fn mixed_sizes_never_stall_a_window_of_one_frame(change: Change<'_>) -> Pair {
    let limits = tight().with_credit(1024, 1000);
    let mut pair = connected_with(change, |setup| setup.limits(limits, limits).output(2048));
    // 1020 is the longest text of a frame of 1024 bytes.
    pump(&mut pair, 200, |n| [1020, 1, 511, 1020, 300, 7, 700][n % 7]);
    assert!(pair.client.dropped().is_none(), "PROTOCOL L-5");
    pair
}

/// A connected pair whose service has got these bytes.
fn got(change: Change<'_>, bytes: &[u8]) -> Pair {
    let mut pair = connected(change);
    to_service(&mut pair, bytes);
    pair.settle();
    pair
}

fn an_unknown_number(change: Change<'_>) -> Pair {
    let pair = got(change, &message(9, &[]));
    assert_service_found(&pair, Code::UnknownMessage, Some(9), "PROTOCOL M-1, M-4");
    pair
}

fn a_wrong_direction(change: Change<'_>) -> Pair {
    let mut pair = connected(change);
    assert_eq!(
        pair.client.conn.send(PONG, &Pong { id: 1 }),
        Err(SendError::WrongDirection)
    );
    to_service(&mut pair, &message(PONG, &[2]));
    pair.settle();
    assert_service_found(&pair, Code::WrongDirection, Some(PONG), "PROTOCOL M-1, M-4");
    pair
}

fn a_message_that_nobody_handles(change: Change<'_>) -> Pair {
    let mut pair = connected(change);
    pair.service.on_message(|_, message| drop(message));
    pair.client.conn.send(PING, &Ping { id: 1 }).unwrap();
    pair.settle();
    assert_service_found(&pair, Code::NoHandler, Some(PING), "PROTOCOL M-4");
    pair
}

fn a_handler_that_fails(change: Change<'_>) -> Pair {
    let mut pair = connected(change);
    let text = "disk full, and more about it than anybody would ever want to read in one line";
    pair.client.on_message(|_, message| message.refuse(Code::HandlerFailed));
    pair.service.conn.send(PONG, &Pong { id: 1 }).unwrap();
    pair.settle();
    assert_client_found(&pair, Code::HandlerFailed, Some(PONG), "PROTOCOL M-4");
    // One that says more of it.
    let mut pair = connected(change);
    pair.client.on_message(move |tx, message| {
        tx.disconnect(Notice::new(Code::HandlerFailed).with_text(text));
        message.refuse(Code::HandlerFailed);
    });
    pair.service.conn.send(PONG, &Pong { id: 1 }).unwrap();
    pair.settle();
    assert_client_found(&pair, Code::HandlerFailed, None, "PROTOCOL M-4");
    let notice = pair.service.dropped().unwrap().notice().unwrap();
    assert_eq!(notice.text(), &text[..64], "PROTOCOL E-2: cut to what may travel");
    pair
}

/// The service finds this payload invalid, with this text; so it does when it decodes it to the type.
fn invalid(change: Change<'_>, number: u8, payload: &[u8], text: &str) -> Pair {
    let mut typed = connected(change);
    typed.service.on_message(move |_, message| {
        let is_valid = match number {
            PING => message.decode::<Ping>().is_some(),
            NOTE => message.decode::<Note<'_>>().is_some(),
            BLOB => message.decode::<Blob<'_>>().is_some(),
            _ => message.decode::<Mixed>().is_some(),
        };
        assert!(!is_valid);
    });
    to_service(&mut typed, &message(number, payload));
    typed.settle();
    assert_service_found(&typed, Code::Invalid, Some(number), "PROTOCOL M-2, M-4: typed");

    let pair = got(change, &message(number, payload));
    assert_service_found(&pair, Code::Invalid, Some(number), "PROTOCOL M-2, M-4: walked");
    assert_eq!(pair.client.dropped().unwrap().notice().unwrap().text(), text);
    assert_eq!(names(&pair.service), [""; 0], "PROTOCOL M-2: before any handler");
    pair
}

/// A `Note`, as a reader takes it that has little room.
#[derive(Debug, PartialEq, Deserialize, Schema)]
struct ShortNote {
    text: heapless::String<2>,
}

fn a_text_beyond_the_capacity_of_its_type(change: Change<'_>) -> Pair {
    let mut pair = connected(change);
    pair.service
        .on_message(|_, message| assert!(message.decode::<ShortNote>().is_none()));
    pair.client.conn.send(NOTE, &Note { text: "abc" }).unwrap();
    pair.settle();
    assert_service_found(&pair, Code::TooLong, Some(NOTE), "PROTOCOL M-2, M-4");
    pair
}

fn too_short(change: Change<'_>) -> Pair {
    invalid(change, PING, &[], "the message is too short")
}

fn left_over(change: Change<'_>) -> Pair {
    invalid(change, PING, &[2, 0], "1 bytes left over")
}

fn an_over_long_number(change: Change<'_>) -> Pair {
    invalid(change, PING, &[0x82, 0], "a number is over-long or does not fit")
}

fn bad_utf8(change: Change<'_>) -> Pair {
    invalid(change, NOTE, &[2, 0xc3, 0x28], "a text is not UTF-8")
}

fn a_bad_boolean(change: Change<'_>) -> Pair {
    invalid(change, MIXED, &[2, 0, 0, 0], "a boolean is neither 0 nor 1")
}

fn a_bad_option(change: Change<'_>) -> Pair {
    invalid(change, MIXED, &[1, 0, 2, 0], "a boolean is neither 0 nor 1")
}

fn a_bad_variant(change: Change<'_>) -> Pair {
    invalid(change, MIXED, &[1, 0, 0, 2], "there is no variant 2")
}

fn an_absurd_length(change: Change<'_>) -> Pair {
    let length = [0xff, 0xff, 0xff, 0xff, 0x0f];
    invalid(change, BLOB, &length, "the message is too short")
}

fn a_message_without_a_number(change: Change<'_>) -> Pair {
    let pair = got(change, &frame(0, &[]));
    assert_service_found(&pair, Code::PacketMalformed, None, "PROTOCOL M-1");
    pair
}

fn a_reserved_flag(change: Change<'_>) -> Pair {
    let pair = got(change, &frame(0x20, &[PING, 2]));
    assert_service_found(&pair, Code::UnknownKind, None, "PROTOCOL F-3, F-4");
    pair
}

fn an_ignorable_frame(change: Change<'_>) -> Pair {
    let mut pair = got(change, &frame(0xc0, b"from the future"));
    assert!(pair.service.dropped().is_none(), "PROTOCOL F-4");
    to_service(&mut pair, &message(PING, &[2]));
    pair.settle();
    assert_eq!(names(&pair.service), ["Ping"], "PROTOCOL F-4");
    pair
}

fn an_unknown_control_frame(change: Change<'_>) -> Pair {
    let pair = got(change, &frame(0x90, &[]));
    assert_service_found(&pair, Code::UnknownKind, None, "PROTOCOL F-4");
    pair
}

fn an_empty_frame(change: Change<'_>) -> Pair {
    let pair = got(change, &[0]);
    assert_service_found(&pair, Code::FrameMalformed, None, "PROTOCOL F-2");
    pair
}

fn a_frame_above_the_limit(change: Change<'_>) -> Pair {
    let mut pair = connected_with(change, |setup| setup.limits(tight(), tight()));
    // 1025 bytes are announced; not one of them comes.
    to_service(&mut pair, &[0x81, 0x08]);
    pair.settle();
    assert_service_found(&pair, Code::FrameTooLong, None, "PROTOCOL F-5, F-6");
    pair
}

/// A pair with tight limits whose service is not done with what it gets.
fn keeping(change: Change<'_>) -> Pair {
    let mut pair = connected_with(change, |setup| setup.limits(tight(), tight()));
    never_done(&mut pair.service);
    pair
}

fn more_than_the_message_credit(change: Change<'_>) -> Pair {
    let mut pair = keeping(change);
    for _ in 0..16 {
        pair.client.conn.send(NOTE, &Note { text: "" }).unwrap();
    }
    pair.settle();
    let before = pair.to_service.carried();
    assert_eq!(
        pair.client.conn.send(NOTE, &Note { text: "" }),
        Err(SendError::Full(Bound::Credit)),
        "PROTOCOL L-3"
    );
    pair.settle();
    assert_eq!(pair.to_service.carried(), before, "nothing left");
    to_service(&mut pair, &message(NOTE, &[0]));
    pair.settle();
    pair.service.expire();
    assert_service_found(&pair, Code::CreditExceeded, Some(NOTE), "PROTOCOL L-3");
    pair
}

fn more_than_the_byte_credit(change: Change<'_>) -> Pair {
    let mut pair = keeping(change);
    let text = "x".repeat(500);
    for _ in 0..2 {
        pair.client.conn.send(NOTE, &Note { text: &text }).unwrap();
    }
    assert_eq!(
        pair.client.conn.send(NOTE, &Note { text: &text }),
        Err(SendError::Full(Bound::Credit)),
        "PROTOCOL L-2, L-3"
    );
    pair.settle();
    let payload = [&[0xf4, 0x03][..], text.as_bytes()].concat();
    to_service(&mut pair, &message(NOTE, &payload));
    pair.settle();
    pair.service.expire();
    assert_service_found(&pair, Code::CreditExceeded, Some(NOTE), "PROTOCOL L-2, L-3");
    pair
}

fn credit_that_overflows(change: Change<'_>) -> Pair {
    let pair = got(change, &frame(0x85, &[0x80, 0x80, 0x80, 0x80, 0x04, 0]));
    assert_service_found(&pair, Code::PacketMalformed, None, "PROTOCOL L-4");
    pair
}

fn credit_of_nothing(change: Change<'_>) -> Pair {
    let pair = got(change, &frame(0x85, &[0, 0]));
    assert_service_found(&pair, Code::PacketMalformed, None, "PROTOCOL L-4, L-7");
    pair
}

fn credit_comes_back(change: Change<'_>) -> Pair {
    let limits = tight().with_credit(2048, 16);
    let mut pair = connected_with(change, |setup| setup.limits(limits, limits));
    for _ in 0..7 {
        pair.client.conn.send(PING, &Ping { id: 1 }).unwrap();
    }
    pair.settle();
    assert_eq!(pair.client.conn.unconfirmed(), 7, "PROTOCOL L-5: half is not reached");
    pair.client.conn.send(PING, &Ping { id: 1 }).unwrap();
    pair.settle();
    assert_eq!(pair.client.conn.unconfirmed(), 0, "PROTOCOL L-5, L-6");
    pair
}

#[test]
fn a_message_that_is_not_taken_changes_nothing() {
    let mut pair = connected_with(&|setup| setup, |setup| {
        setup.limits(tight(), Limits::SERVER).output(1024)
    });
    let long = "x".repeat(5000);
    pair.service.conn.send(NOTE, &Note { text: "first" }).unwrap();
    let before = pair.service.conn.transmit().to_vec();
    // Longer than the client takes, and than the output can ever hold: no use to wait.
    let refused = pair.service.conn.send(NOTE, &Note { text: &long });
    assert_eq!(refused, Err(SendError::TooLong));
    assert_eq!(pair.service.conn.transmit(), before);
    let refused = pair.service.conn.send(NOTE, &Note { text: &long[..700] });
    assert_eq!(refused, Ok(()));
    let refused = pair.service.conn.send(NOTE, &Note { text: &long[..100] });
    assert_eq!(
        refused,
        Err(SendError::Full(Bound::Output)),
        "PROTOCOL L-1: room for control frames stays"
    );
    pair.settle();
    let refused = pair.service.conn.send(NOTE, &Note { text: &long });
    assert_eq!(refused, Err(SendError::TooLong));
    assert!(pair.service.conn.transmit().is_empty());
    assert!(pair.service.conn.send(99, &Pong { id: 1 }).is_err());
    let sent = pair.client.log.len() - 1;
    assert_eq!(sent, 2, "what was refused did not arrive");
    assert!(matches!(&pair.client.log[1], Happened::Message { bytes, .. } if bytes == b"\x05first"));
}

/// Also the longest that the output takes, behind another one, is not too long: it waits for room.
#[test]
fn the_longest_message_waits_for_room() {
    let output = 2000;
    let mut pair = connected_with(&|setup| setup, |setup| setup.output(output));
    // What is kept for control frames, two bytes of each length, head and number.
    let longest = output - 256 - 2 - 2 - 2;
    let text = "x".repeat(longest + 1);
    let send = |pair: &mut Pair, length: usize| pair.client.conn.send(NOTE, &Note { text: &text[..length] });
    assert_eq!(send(&mut pair, longest), Ok(()));
    pair.settle();
    assert_eq!(send(&mut pair, 100), Ok(()));
    for length in longest - 30..=longest {
        assert_eq!(send(&mut pair, length), Err(SendError::Full(Bound::Output)), "{length}");
    }
    assert_eq!(send(&mut pair, longest + 1), Err(SendError::TooLong));
}

#[test]
fn answers_do_not_pile_up_while_nothing_leaves() {
    let mut pair = connected(&|setup| setup);
    for _ in 0..64 {
        pair.service
            .conn
            .feed(&frame(0x86, &[]), |_, _| panic!("nothing to tell"));
        assert_eq!(pair.service.conn.transmit(), [1, 0x87], "PROTOCOL K-5, L-1");
    }
    pair.service.conn.transmitted(1);
    assert_eq!(pair.service.conn.transmit(), [0x87]);
    pair.service.conn.transmitted(1);
    assert_eq!(
        pair.service.conn.transmit(),
        [1, 0x87],
        "PROTOCOL K-5: and one more for the rest"
    );
}

#[test]
fn a_type_of_another_structure_is_the_callers_mistake() {
    let mut pair = connected(&|setup| setup);
    pair.service
        .on_message(|_, message| assert!(message.decode::<Mixed>().is_none()));
    pair.client.conn.send(PING, &Ping { id: 1 }).unwrap();
    pair.settle();
    assert_service_found(&pair, Code::NoHandler, Some(PING), "nothing is said against the peer");
}

/// A message that was kept for later does not vouch for the one that is lent now. By hand: with the halves none is lent
/// while another one is with its handler.
#[test]
fn a_kept_message_settles_no_other() {
    let (mut conn, mut rx) = by_hand();
    let mut kept: Option<Kept> = None;
    let bytes = [message(PING, &[2]), message(PING, &[4]), frame(0x86, &[])].concat();
    let (mut input, mut dropped) = (bytes.as_slice(), None);
    while let Some(frame) = rx.next(&mut input, conn.max_frame()) {
        match conn.handle_frame(NOW, frame) {
            Some(Event::Message(message)) => match kept.take() {
                None => kept = Some(conn.keep(message)),
                // The second is just dropped.
                Some(first) => assert!(conn.decode::<Ping>(first.message()).is_ok()),
            },
            Some(Event::Dropped(cause)) => dropped = cause.code(),
            other => assert!(other.is_none(), "{other:?}"),
        }
    }
    assert_eq!(dropped, Some(Code::NoHandler), "PROTOCOL M-4");
}

/// A peer cannot confirm what it was not sent: else the count of what may be lost would mean nothing.
fn a_grant_of_more_than_was_sent(change: Change<'_>) -> Pair {
    let mut pair = connected(change);
    pair.client.conn.send(PING, &Ping { id: 1 }).unwrap();
    pair.settle();
    assert_eq!(pair.client.conn.unconfirmed(), 1);
    pair.to_client.inject(pair.now, &frame(0x85, &[4, 2]));
    pair.settle();
    let cause = pair.client.dropped().unwrap();
    assert_eq!(cause.code(), Some(Code::PacketMalformed), "PROTOCOL L-4");
    assert_eq!(pair.client.conn.unconfirmed(), 1, "PROTOCOL L-6");
    pair
}
