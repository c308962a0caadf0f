//! The hex of part W in PROTOCOL.md is what is written, and read.

use diset_proto::SerialLine;
use diset_proto::serial::{MAX_PACKET, MAX_PAYLOAD, MIN_OUTPUT, OVERHEAD};

use super::support::{Chance, Seen, feed, nonce, open, wrap};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x} ")).collect()
}

/// Writes must be what the text shows; returns them.
#[track_caller]
fn written(name: &str, bytes: Vec<u8>) -> Vec<u8> {
    let shown = include_str!("../../../PROTOCOL.md")
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix("hex "))
        .unwrap_or_default();
    let shown = shown.split("  ").next().unwrap_or_default();
    assert_eq!(
        shown.trim(),
        hex(&bytes).trim(),
        "PROTOCOL.md shows other bytes (left) for `{name}` than are written (right)"
    );
    bytes
}

/// PROTOCOL W-1, W-2, W-3
#[test]
fn each_packet() {
    let (mut client, mut service) = (SerialLine::client(), SerialLine::service());
    client.open(nonce(0x0403_0201)).unwrap();
    let reset = written("serial_reset", wrap(&mut client, b""));
    assert_eq!(feed(&mut service, &reset), [Seen::Opened]);
    let ready = written("serial_ready", wrap(&mut service, b""));
    assert_eq!(feed(&mut client, &ready), [Seen::Opened]);
    let data = written("serial_data", wrap(&mut client, b"hi"));
    assert_eq!(feed(&mut service, &data), [Seen::Data(b"hi".to_vec())]);
    service.close();
    let end = written("serial_end", wrap(&mut service, b""));
    assert_eq!(feed(&mut client, &end), [Seen::Ended]);
}

/// PROTOCOL W-1
#[test]
fn every_payload_takes_seven_or_eight_bytes_more() {
    let mut chance = Chance(1);
    for length in 1..=2 * MAX_PAYLOAD {
        for fill in [0, 1, 0xff] {
            let [mut client, mut service] = open();
            let payload: Vec<u8> = (0..length)
                .map(|_| if fill == 1 { chance.byte() } else { fill })
                .collect();
            let mut out = [0xaa; 1024];
            let done = client.transmit(&payload, &mut out);
            assert_eq!(done.taken, length);
            assert_eq!(done.written, 1 + length + OVERHEAD * length.div_ceil(MAX_PAYLOAD));
            let seen = feed(&mut service, &out[..done.written]);
            assert_eq!(super::support::delivered(&seen), payload);
        }
    }
}

#[test]
fn an_output_of_any_length_is_used_or_left() {
    let payload = [7; 3 * MAX_PAYLOAD];
    for size in 0..=2 * MAX_PACKET {
        let [mut client, mut service] = open();
        let mut out = vec![0; size];
        let done = client.transmit(&payload, &mut out);
        assert_eq!(done.taken > 0, size > OVERHEAD + 1, "{size}");
        let seen = feed(&mut service, &out[..done.written]);
        assert_eq!(super::support::delivered(&seen), payload[..done.taken]);

        client.close();
        let done = client.transmit(&payload, &mut out);
        assert_eq!((done.taken, done.written > 0), (0, size >= MIN_OUTPUT));
        assert_eq!(client.is_output_empty(), done.written > 0);
    }
}
