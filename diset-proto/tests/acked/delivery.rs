//! What leaves, in which order, what is told of it, and what its sender keeps (PROTOCOL,
//!

use core::time::Duration;

use diset_proto::limits::MAX_UNTOLD;
use diset_proto::store::{Replay, Unsure};
use diset_proto::{Bound, Code, Delivered, Notice, Resumption, SendError, ServiceDef};

use super::support::*;

fn delivered(received: u64, processed: u64) -> Delivered {
    Delivered { received, processed }
}

#[test]
fn received_and_processed_are_told_apart() {
    let (mut client, mut service, _) = meet(session(DESK), &mut None, 1);
    client.send(1);
    client.send(2);
    service.handler = Handler::Waits;
    assert_eq!(values(&pass(&mut client, &mut service)), [1]);
    assert!(
        pass(&mut service, &mut client).is_empty(),
        "PROTOCOL Q-2: nothing leaves, so neither does an ack"
    );
    service.tick();
    assert!(matches!(pass(&mut service, &mut client)[..], [Seen::Acknowledged]));
    assert_eq!(client.conn().delivered(), delivered(2, 0));
    assert_eq!(
        client.state().replay().len(),
        2,
        "PROTOCOL Q-4: an inbox that is not durable may lose it"
    );
    assert_eq!(values(&service.returns()), [2]);
    service.tick();
    pass(&mut service, &mut client);
    assert_eq!(client.conn().delivered(), delivered(2, 1));
    assert_eq!(client.state().replay().len(), 1);
}

#[test]
fn an_ack_rides_on_what_leaves() {
    let (mut client, mut service, _) = meet(session(DESK), &mut None, 1);
    client.send(1);
    assert_eq!(values(&pass(&mut client, &mut service)), [1]);
    service.send(1);
    assert!(
        pass(&mut service, &mut client)
            .iter()
            .any(|seen| matches!(seen, Seen::Acknowledged))
    );
    assert_eq!(client.conn().delivered(), delivered(1, 1), "PROTOCOL Q-2");
}

#[test]
fn many_are_acknowledged_at_once() {
    let (mut client, mut service, _) = meet(session(DESK), &mut None, 1);
    for number in 1..=MAX_UNTOLD {
        client.send(number as u32);
        values(&pass(&mut client, &mut service));
        let told = !service.bytes().is_empty();
        assert_eq!(told, number == MAX_UNTOLD, "PROTOCOL Q-2: message {number}");
    }
}

#[test]
fn a_durable_inbox_frees_its_sender() {
    let (client, service, _) = meet(session(DURABLE), &mut None, 1);
    let (memory, mut kept) = part(client, service);
    let (mut client, mut service, _) = meet(memory, &mut kept, 2);
    for value in 1..=2 {
        service.send(value);
    }
    client.handler = Handler::Waits;
    assert_eq!(values(&pass(&mut service, &mut client)), [1]);
    client.tick();
    pass(&mut client, &mut service);
    assert_eq!(service.conn().delivered(), delivered(2, 0));
    assert!(service.state().replay().is_empty(), "PROTOCOL Q-4");
    // The handler goes on when the connection is over, and what waits stays received.
    let mut kept = service.into_session();
    assert!(client.lose().is_empty());
    assert!(matches!(client.returns()[..], [Seen::Ended(_)]));
    client.connect();
    let mut service = self::service();
    pass(&mut client, &mut service);
    let resumption = admit(&mut service, &mut kept, 3, true);
    assert_eq!(resumption, Resumption::Resumed { replayed: 0 });
    let seen = pass(&mut service, &mut client);
    assert!(matches!(seen[..], [Seen::Connected, Seen::Message { value: 2, .. }]));
    assert!(client.returns().is_empty());
    client.tick();
    pass(&mut client, &mut service);
    assert_eq!(service.conn().delivered(), delivered(2, 2));
}

#[test]
fn no_more_is_told_than_is_kept() {
    let (mut client, mut service, _) = meet(session(DURABLE), &mut None, 1);
    client.state().inbox_mut().kept = (1, 0);
    service.send(1);
    service.send(2);
    assert_eq!(values(&pass(&mut service, &mut client)), [1, 2]);
    client.tick();
    pass(&mut client, &mut service);
    assert_eq!(service.conn().delivered(), delivered(1, 0), "PROTOCOL Q-6");
    assert_eq!(service.state().replay().len(), 1);
    client.state().inbox_mut().kept = (2, 1);
    client.tick();
    pass(&mut client, &mut service);
    assert_eq!(service.conn().delivered(), delivered(2, 1));
    // Nor is more claimed.
    let (memory, mut kept) = part(client, service);
    let (mut client, mut service, _) = meet(memory, &mut kept, 2);
    assert_eq!(service.conn().delivered(), delivered(2, 1), "PROTOCOL Q-6");
    client.state().inbox_mut().kept = (2, 2);
    client.tick();
    pass(&mut client, &mut service);
    assert_eq!(service.conn().delivered(), delivered(2, 2));
}

#[test]
fn nothing_leaves_before_it_is_kept() {
    let (mut client, mut service, _) = meet(session(DESK), &mut None, 1);
    client.state().replay_mut().kept = 0;
    client.send(1);
    client.send(2);
    assert!(values(&pass(&mut client, &mut service)).is_empty(), "PROTOCOL Q-6");
    client.state().replay_mut().kept = 1;
    assert_eq!(values(&pass(&mut client, &mut service)), [1]);
    client.state().replay_mut().kept = 2;
    assert_eq!(values(&pass(&mut client, &mut service)), [2]);
}

#[test]
fn a_plain_message_does_not_pass_an_acked_one() {
    let (mut client, mut service, _) = meet(session(DESK), &mut None, 1);
    client.state().replay_mut().kept = 0;
    client.send(1);
    assert_eq!(
        client.tx.send(READING, &Reading { value: 2 }),
        Err(SendError::Full(Bound::Store)),
        "PROTOCOL Q-7"
    );
    client.state().replay_mut().kept = 1;
    client.tx.send(READING, &Reading { value: 2 }).unwrap();
    assert_eq!(values(&pass(&mut client, &mut service)), [1, 2]);
}

#[test]
fn what_was_not_begun_comes_again_before_anything_new() {
    let (mut client, mut service, _) = meet(session(DESK), &mut None, 1);
    for value in 1..=3 {
        client.send(value);
    }
    service.handler = Handler::Waits;
    assert_eq!(values(&pass(&mut client, &mut service)), [1]);
    service.tick();
    pass(&mut service, &mut client);
    // The handler of the first runs when the connection ends (PROTOCOL Q-8).
    assert!(service.lose().is_empty());
    assert!(matches!(service.returns()[..], [Seen::Ended(_)]));
    let (memory, mut kept) = part(client, service);
    let (mut client, mut service) = {
        let (mut client, mut service, resumption) = knock(memory, &mut kept, 2, true);
        assert_eq!(resumption, Resumption::Resumed { replayed: 0 });
        client.send(4);
        pass(&mut service, &mut client);
        (client, service)
    };
    assert_eq!(
        client.conn().resumption(),
        Some(Resumption::Resumed { replayed: 2 }),
        "PROTOCOL Q-4, N-6"
    );
    assert_eq!(values(&pass(&mut client, &mut service)), [2, 3, 4], "PROTOCOL Q-7");
}

#[test]
fn a_skipped_message_has_its_number() {
    let (client, service, _) = meet(session(DESK), &mut None, 1);
    let (mut memory, mut kept) = part(client, service);
    for value in 1..=3 {
        memory
            .store(Meter::CATALOG, READING, &Reading { value }, Unsure::Report)
            .unwrap();
    }
    assert_eq!(memory.skip_oldest(), Some(1));
    assert_eq!(memory.take_outcome(), None, "its outcome was told by that");
    let (mut client, mut service, _) = meet(memory, &mut kept, 2);
    assert_eq!(values(&pass(&mut client, &mut service)), [2, 3]);
    service.tick();
    pass(&mut service, &mut client);
    assert_eq!(
        client.conn().delivered(),
        delivered(3, 3),
        "PROTOCOL Q-3: what is skipped is counted"
    );
    assert_eq!(client.state().skip_oldest(), None, "what was sent cannot be taken back");
}

#[test]
fn what_comes_again_is_dropped() {
    let (mut client, mut service, _) = meet(session(DURABLE), &mut None, 1);
    for value in 1..=3 {
        service.send(value);
    }
    // It has all, and has kept the first only, when the connection ends.
    client.state().inbox_mut().kept = (1, 1);
    assert_eq!(values(&pass(&mut service, &mut client)), [1, 2, 3]);
    let (memory, mut kept) = part(client, service);
    let (mut client, mut service, _) = meet(memory, &mut kept, 2);
    assert_eq!(
        service.conn().resumption(),
        Some(Resumption::Resumed { replayed: 2 }),
        "PROTOCOL Q-6"
    );
    service.send(4);
    assert_eq!(
        values(&pass(&mut service, &mut client)),
        [4],
        "PROTOCOL Q-1: it has the second and the third"
    );
    client.state().inbox_mut().kept = (4, 4);
    let notice = Notice::new(Code::Done);
    client.tx.go_away(at(0), notice, Duration::from_secs(1)).unwrap();
    pass(&mut client, &mut service);
    assert_eq!(service.conn().delivered(), delivered(4, 4));
    assert_eq!(
        service.conn().unconfirmed(),
        0,
        "PROTOCOL Q-1: their credit was granted again"
    );
}

#[test]
fn an_ack_of_what_was_not_sent_is_malformed() {
    // Of two messages so many were received, so many dealt with.
    for (received, processed, fits) in [(2, 2, true), (2, 0, true), (3, 0, false), (1, 2, false), (3, 3, false)] {
        let (mut client, _, _) = meet(session(DESK), &mut None, 1);
        client.send(1);
        client.send(2);
        client.bytes();
        let seen = client.take(&[3, 0x8a, received, processed]);
        let expected = (!fits).then_some(Code::PacketMalformed);
        assert_eq!(code(&seen), expected, "PROTOCOL Q-2: {received}, {processed}");
    }
}
