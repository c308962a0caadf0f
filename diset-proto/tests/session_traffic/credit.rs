//! The first credit: what it lacks of the window is no message that was dealt with (PROTOCOL L-3, L-4, L-6).

use diset_proto::store::Unsure;
use diset_proto::{Bound, Code, Phase, SendError};

use super::support::*;

/// The window that [`proposal`] and [`acceptance`] state: bytes, and messages.
const WINDOW: [u64; 2] = [524_288, 16_384];

/// One side whose peer says this of its first credit.
fn told(service: bool, first: &[u8]) -> Side {
    let mut side;
    if service {
        side = Side::service(None);
        side.feed(&proposal_with(Some(FIRST), Some(first)));
    } else {
        side = Side::client(Some(memory()));
        side.feed(&acceptance_with(&[], Some(NEW_FIRST), Some(&token(1)), Some(first)));
    }
    side.take();
    side
}

fn grant(bytes: u64, messages: u64) -> Vec<u8> {
    frame(CREDIT, &varints(&[bytes, messages]))
}

fn plain(side: &mut Side) -> Result<(), SendError> {
    side.conn.send(READING, &Reading { value: 7 })
}

#[test]
fn nothing_leaves_before_there_is_credit() {
    for service in [false, true] {
        let mut side = told(service, &[0, 0]);
        assert_eq!(plain(&mut side), Err(SendError::Full(Bound::Credit)), "PROTOCOL L-3");
        assert_eq!(side.send_unsure(1, Unsure::Report), Ok(1));
        assert_eq!((side.take(), side.conn.unconfirmed()), (vec![], 0), "PROTOCOL L-6");
        side.feed(&grant(2, 1));
        assert_eq!(side.take(), NOTHING, "it costs three bytes");
        side.feed(&grant(1, 0));
        assert_eq!(side.take(), acked(1));
        assert_eq!(side.conn.unconfirmed(), 1);
    }
}

#[test]
fn what_was_lacking_confirms_nothing() {
    for service in [false, true] {
        let mut side = told(service, &varints(&[1000, 2]));
        for _ in 0..2 {
            plain(&mut side).unwrap();
        }
        assert!(plain(&mut side).is_err(), "PROTOCOL L-3");
        side.take();
        assert_eq!(side.conn.unconfirmed(), 2);
        let lacked = WINDOW[1] - 2;
        side.feed(&grant(0, lacked - 1));
        side.feed(&grant(0, 1));
        assert_eq!(side.conn.unconfirmed(), 2, "PROTOCOL L-4, L-6: that was lacking");
        side.feed(&grant(0, 1));
        assert_eq!(side.conn.unconfirmed(), 1, "PROTOCOL L-6");
        side.feed(&grant(WINDOW[0] - 1000 + 6, 1));
        assert_eq!((side.conn.unconfirmed(), side.conn.phase()), (0, Phase::Open));
        // All of the window is open now.
        side.feed(&grant(1, 0));
        side.assert_found(Code::PacketMalformed, "more credit than is under way", "PROTOCOL L-4");
    }
}

/// PROTOCOL G-7, by the count of L-6: a backlog of earlier connections gives no right to speak.
#[test]
fn what_is_lacking_is_no_message_that_may_be_answered() {
    for service in [false, true] {
        let away = frame(GO_AWAY, &[0x81, 1, 72, 5, 2, 0xe8, 7]);
        let mut side = told(service, &[0, 0]);
        side.feed(&[&away[..], &frame(0, &[READING, 1])].concat());
        side.assert_found(Code::Unexpected, "message", "PROTOCOL G-7");
        // One that was sent may be.
        let mut side = told(service, &varints(&[3, 1]));
        plain(&mut side).unwrap();
        side.take();
        side.feed(&[&away[..], &frame(0, &[READING, 1])].concat());
        assert_eq!((side.got.as_slice(), side.conn.phase()), (&[1][..], Phase::Draining));
    }
}

#[test]
fn a_first_credit_that_cannot_be() {
    let [bytes, messages] = WINDOW;
    let fields = [
        ("more bytes than the window", varints(&[bytes + 1, messages])),
        ("more messages than the window", varints(&[bytes, messages + 1])),
        ("one number", varints(&[bytes])),
        ("three numbers", varints(&[bytes, messages, 0])),
        ("none", vec![]),
        ("over-long", vec![0x80, 0, 0]),
    ];
    for (what, first) in fields {
        let rule = format!("PROTOCOL L-3: {what}");
        let mut service = Side::service(None);
        service.feed(&proposal_with(None, Some(&first)));
        service.assert_found(Code::PacketMalformed, "proposal, field 10", &rule);
        let mut client = Side::client(None);
        client.feed(&acceptance_with(&[], None, None, Some(&first)));
        client.assert_found(Code::PacketMalformed, "acceptance, field 10", &rule);
    }
    // As good as no field.
    let mut side = told(false, &varints(&WINDOW));
    plain(&mut side).unwrap();
    assert_eq!(side.conn.unconfirmed(), 1);
    side.feed(&grant(0, 0));
    side.assert_found(Code::PacketMalformed, "credit, field 1", "PROTOCOL L-4: not both 0");
}
