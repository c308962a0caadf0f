//! What can only be shown with the numbers at hand.

use super::*;

fn pair() -> [SerialLine; 2] {
    let (mut client, mut service) = (SerialLine::client(), SerialLine::service());
    client.open(NonZeroU32::MIN).unwrap();
    assert_eq!(carry(&mut client, b"", &mut service), ["Opened"]);
    assert_eq!(carry(&mut service, b"", &mut client), ["Opened"]);
    [client, service]
}

/// Sends `payload`, and says what the other side sees.
fn carry(from: &mut SerialLine, payload: &[u8], to: &mut SerialLine) -> Vec<String> {
    let mut out = [0; 1024];
    let sent = from.transmit(payload, &mut out);
    assert!(sent.taken == payload.len() || !from.is_open());
    feed(to, &out[..sent.written])
}

fn feed(to: &mut SerialLine, mut input: &[u8]) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some(event) = to.next(&mut input) {
        seen.push(match event {
            LineEvent::Data(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => format!("{other:?}"),
        });
    }
    seen
}

/// PROTOCOL W-3: only the next number is taken, and it goes on past its end.
#[test]
fn an_undamaged_packet_out_of_its_turn_is_always_found() {
    for start in [0, 1, 7, 0xffff, 0x1_0000, 0x7fff_ffff, u32::MAX - 1, u32::MAX] {
        let far = (0..32)
            .map(|bit| 1u32 << bit)
            .chain([u32::MAX, 255, 65_535, 0x8000_8000]);
        for distance in far {
            let [mut client, mut service] = pair();
            (client.sent, service.expected) = (start.wrapping_add(distance), start);
            assert_eq!(
                carry(&mut client, b"late", &mut service),
                ["Broken"],
                "{start} and {distance}"
            );
        }
        let [mut client, mut service] = pair();
        (client.sent, service.expected) = (start, start);
        for text in ["a", "b", "c"] {
            assert_eq!(carry(&mut client, text.as_bytes(), &mut service), [text]);
        }
    }
}

/// PROTOCOL W-3: a packet of another opening, too, even with the right number.
#[test]
fn a_packet_of_another_nonce_is_always_found() {
    for nonce in (0..32).map(|bit| 1 << bit).chain([2, 3, 0xdead_beef]) {
        let [mut client, mut service] = pair();
        client.nonce = nonce;
        let seen = carry(&mut client, b"stale", &mut service);
        assert_eq!(seen, if nonce == 1 { ["stale"] } else { ["Broken"] });
    }
}

#[test]
fn sizes() {
    println!("SerialLine: {} bytes", size_of::<SerialLine>());
    println!("overhead: {OVERHEAD} bytes, and 1 for each call; longest packet {MAX_PACKET}");
    assert!(size_of::<SerialLine>() <= 320);
    assert_eq!((OVERHEAD, MAX_PACKET, MIN_OUTPUT), (7, 256, 16), "PROTOCOL W-1");
}
