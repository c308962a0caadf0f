//! What each side sees when both do their part: bytes in order, in any pieces, to an orderly end; and input that is damaged, endless or lost.

use super::*;

#[test]
fn both_sides_learn_who_the_peer_is() -> TestResult {
    let world = World::new()?;
    let (client, server) = world.pair()?;
    assert_eq!(server.subject(), "CN=alice,O=diset throwaway");
    assert_eq!(client.subject(), "CN=localhost,O=diset throwaway");
    assert_eq!((client.resumed(), server.resumed()), (Some(false), Some(false)));
    assert!(client.channel.is_established() && server.channel.is_established());
    Ok(())
}

#[test]
fn bytes_one_at_a_time_make_no_difference() -> TestResult {
    let world = World::new()?;
    let (mut client, mut server) = meet(&world.client, &world.server, 1)?;
    client.channel.seal(&bytes(20_000), &mut client.out)?;
    server.channel.seal(b"pong", &mut server.out)?;
    carry(&mut client, &mut server, 1);
    assert_eq!(server.plaintext, bytes(20_000));
    assert_eq!(client.plaintext, b"pong");
    assert!(client.tail <= MAX_RECORD && server.tail <= MAX_RECORD);
    Ok(())
}

#[test]
fn a_mebibyte_goes_both_ways_in_full_records() -> TestResult {
    let world = World::new()?;
    let (mut client, mut server) = world.pair()?;
    let payload = bytes(1 << 20);
    client.channel.seal(&payload, &mut client.out)?;
    server.channel.seal(&payload, &mut server.out)?;
    assert_eq!(client.out.pending().len(), 64 * (16 * 1024 + 22));
    carry(&mut client, &mut server, 10_007);
    assert_eq!(server.plaintext, payload);
    assert_eq!(client.plaintext, payload);
    Ok(())
}

#[test]
fn sealing_into_a_used_buffer_does_not_allocate_there() -> TestResult {
    let world = World::new()?;
    let (mut client, _) = world.pair()?;
    let mut out = OutBuf::with_room(17 * 1024);
    let before = out.free().as_ptr();
    for _ in 0..10 {
        client.channel.seal(&bytes(16 * 1024), &mut out)?;
        assert_eq!(out.pending().as_ptr(), before);
        out.sent(usize::MAX);
    }
    assert_eq!(out.free().len(), 17 * 1024);
    Ok(())
}

#[test]
fn plaintext_in_the_flight_that_completes_the_handshake_arrives_after_the_news() -> TestResult {
    let world = World::new()?;
    let mut client = End::new(client(&world.client, name("localhost")))?;
    let mut server = End::new(server(&world.server))?;
    carry_one_way(&mut client, &mut server, usize::MAX);
    carry_one_way(&mut server, &mut client, usize::MAX);
    client.channel.seal(b"early bird", &mut client.out)?;
    carry_one_way(&mut client, &mut server, usize::MAX);
    assert_eq!(server.subject(), "CN=alice,O=diset throwaway");
    assert_eq!(server.plaintext, b"early bird");
    Ok(())
}

#[test]
fn sealing_between_the_news_and_the_first_plaintext_loses_nothing() -> TestResult {
    let world = World::new()?;
    let mut client = End::new(client(&world.client, name("localhost")))?;
    let mut server = End::new(server(&world.server))?;
    carry_one_way(&mut client, &mut server, usize::MAX);
    carry_one_way(&mut server, &mut client, usize::MAX);
    client.channel.seal(b"early", &mut client.out)?;
    client.channel.seal(b" bird", &mut client.out)?;
    let mut input = client.out.pending().to_vec();
    client.out.sent(usize::MAX);
    let received = server
        .channel
        .receive(&mut input, &mut server.out, &mut |_| panic!("too early"))?;
    assert!(received.again && server.channel.established().is_some());
    server.channel.seal(b"worm", &mut server.out)?;
    server.input = input.split_off(received.consumed);
    server.turn();
    carry(&mut client, &mut server, usize::MAX);
    assert_eq!(server.plaintext, b"early bird");
    assert_eq!(client.plaintext, b"worm");
    Ok(())
}

#[test]
fn a_message_in_parts_does_not_keep_the_other_direction_waiting() -> TestResult {
    let world = World::new()?;
    let small = world.server.with_config(|config| config.max_fragment_size = Some(64));
    let mut client = End::new(client(&world.client, name("localhost")))?;
    let mut server = End::new(server(&small))?;
    carry_one_way(&mut client, &mut server, usize::MAX);
    carry_one_way(&mut server, &mut client, usize::MAX);
    carry_one_way(&mut client, &mut server, usize::MAX);
    // What the service sends now is the ticket, in records of 64 bytes.
    let mut sealed = 0;
    let mut parts = 0;
    while carry_one_way(&mut server, &mut client, 50) > 0 {
        parts += usize::from(client.input.len() > 64);
        client.channel.seal(&bytes(100), &mut client.out)?;
        sealed += 100;
        carry_one_way(&mut client, &mut server, usize::MAX);
    }
    assert!(parts > 5, "the client sealed while it held parts of a message");
    assert_eq!(server.plaintext.len(), sealed);
    server.channel.seal(&bytes(1000), &mut server.out)?;
    carry(&mut client, &mut server, 50);
    assert_eq!(client.plaintext, bytes(1000));
    let (_, server) = world.pair()?;
    assert_eq!(server.resumed(), Some(true), "the ticket arrived whole");
    Ok(())
}

#[test]
fn the_orderly_end_is_seen_and_ends_each_direction() -> TestResult {
    let world = World::new()?;
    let (mut client, mut server) = world.pair()?;
    client.channel.seal(b"last words", &mut client.out)?;
    client.channel.close(&mut client.out);
    let sent = client.out.pending().len();
    client.channel.close(&mut client.out);
    assert_eq!(client.out.pending().len(), sent, "closing twice says nothing more");
    assert!(matches!(
        client.channel.seal(b"x", &mut client.out),
        Err(ChannelError::Finished)
    ));
    carry(&mut client, &mut server, usize::MAX);
    assert!(server.closed && server.error.is_none());
    assert_eq!(server.plaintext, b"last words");
    server.channel.seal(b"still here", &mut server.out)?;
    server.channel.close(&mut server.out);
    carry(&mut client, &mut server, usize::MAX);
    assert!(client.plaintext.is_empty(), "nothing is lent after close");
    assert!(client.error.is_none());
    Ok(())
}

#[test]
fn closing_within_the_handshake_tells_the_peer_where_tls_can() -> TestResult {
    let world = World::new()?;
    let mut client = End::new(client(&world.client, name("localhost")))?;
    let mut server = End::new(server(&world.server))?;
    server.channel.close(&mut server.out);
    carry(&mut client, &mut server, usize::MAX);
    assert!(
        matches!(
            client.error,
            Some(ChannelError::PeerAlert(AlertDescription::CloseNotify, _))
        ),
        "{:?}",
        client.error
    );

    let mut client = End::new(super::client(&world.client, name("localhost")))?;
    let mut server = End::new(super::server(&world.server))?;
    client.channel.close(&mut client.out);
    carry(&mut client, &mut server, usize::MAX);
    assert!(
        matches!(
            server.error,
            Some(ChannelError::PeerAlert(AlertDescription::CloseNotify, _))
        ),
        "{:?}",
        server.error
    );
    assert!(matches!(
        client.channel.seal(b"x", &mut client.out),
        Err(ChannelError::Finished)
    ));
    Ok(())
}

#[test]
fn nothing_is_sealed_before_the_peer_is_proven() -> TestResult {
    let world = World::new()?;
    let mut client = End::new(client(&world.client, name("localhost")))?;
    let before = client.out.pending().len();
    assert!(matches!(
        client.channel.seal(b"x", &mut client.out),
        Err(ChannelError::NotEstablished)
    ));
    assert_eq!(client.out.pending().len(), before);
    Ok(())
}

#[test]
fn damaged_records_end_the_connection_with_an_alert() -> TestResult {
    let world = World::new()?;
    let (mut client, mut server) = world.pair()?;
    client.channel.seal(b"good", &mut client.out)?;
    client.channel.seal(b"bad", &mut client.out)?;
    client.channel.seal(b"never seen", &mut client.out)?;
    let mut input = client.out.pending().to_vec();
    client.out.sent(usize::MAX);
    input[(5 + 4 + 17) + 6] ^= 1;
    server.input = input;
    server.turn();
    assert_eq!(server.plaintext, b"good");
    assert!(
        matches!(
            server.error,
            Some(ChannelError::PeerMisbehaved(rustls::Error::DecryptError))
        ),
        "{:?}",
        server.error
    );
    carry(&mut client, &mut server, usize::MAX);
    assert!(
        matches!(
            client.error,
            Some(ChannelError::PeerAlert(AlertDescription::BadRecordMac, _))
        ),
        "{:?}",
        client.error
    );
    // Afterwards everything is dropped in silence, and nothing is said.
    let late = server
        .channel
        .receive(&mut [22; 9], &mut server.out, &mut |_| panic!("finished"))?;
    assert_eq!((late.consumed, server.out.is_empty()), (9, true));
    Ok(())
}

#[test]
fn an_endless_handshake_message_is_bounded() -> TestResult {
    let world = World::new()?;
    let mut server = End::new(server(&world.server))?;
    // A hello that claims 65,000 bytes, one record with 100 bytes of it at a time.
    let mut body = vec![1, 0, 0xfd, 0xe8];
    body.resize(100, 0);
    for _ in 0..1000 {
        server.input.extend_from_slice(&[22, 3, 1, 0, 100]);
        server.input.extend_from_slice(&body);
        server.turn();
        body.fill(0);
        if server.error.is_some() {
            break;
        }
    }
    assert!(
        matches!(server.error, Some(ChannelError::TooLong)),
        "{:?}",
        server.error
    );
    assert!(server.tail <= MAX_HELD);
    Ok(())
}

#[test]
fn lost_input_is_an_error_not_a_panic() -> TestResult {
    let world = World::new()?;
    let mut server = End::new(server(&world.server))?;
    server.input.extend_from_slice(&[22, 3, 1, 0, 6, 1, 0, 1, 0, 3, 3]);
    server.turn();
    assert_eq!(server.input.len(), 11, "a message in parts stays with the caller");
    server.input.clear();
    server.turn();
    assert!(
        matches!(server.error, Some(ChannelError::LostInput)),
        "{:?}",
        server.error
    );
    Ok(())
}
