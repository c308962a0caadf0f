//! Lengths that are longer than needed (PROTOCOL F-2): they mean the same as short ones, in the handshake and behind
//! it, however the bytes are cut.

use diset_proto::sim::Pair;
use diset_proto::{Code, Deframer};
use proptest::prelude::*;

use super::malformed::recorded;
use super::support::*;

const PREAMBLE: [u8; 5] = [0xd1, b'S', b'E', b'T', 1];

/// A number in so many bytes, at least.
fn padded(mut value: usize, width: usize) -> Vec<u8> {
    let mut bytes = vec![];
    while value > 0x7f || bytes.len() + 1 < width {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A frame whose length takes so many bytes, at least.
fn wide(head: u8, body: &[u8], width: usize) -> Vec<u8> {
    [&padded(body.len() + 1, width)[..], &[head], body].concat()
}

/// The same frames, each with a length of the width that `width` gives for its place.
fn widened(stream: &[u8], width: impl Fn(usize) -> usize) -> Vec<u8> {
    let (mut rest, mut bytes) = (stream.strip_prefix(&PREAMBLE).unwrap(), PREAMBLE.to_vec());
    for place in 0.. {
        let Some(prefix) = rest.iter().position(|byte| byte & 0x80 == 0) else {
            break;
        };
        let digits = rest[..=prefix].iter().rev();
        let length = digits.fold(0, |length, digit| length << 7 | usize::from(digit & 0x7f));
        let (frame, behind) = rest[prefix + 1..].split_at(length);
        bytes.extend(wide(frame[0], &frame[1..], width(place)));
        rest = behind;
    }
    bytes
}

/// What a service makes of this stream of a client, which comes in pieces of this size.
fn of_a_client(stream: &[u8], piece: usize) -> Pair {
    let mut pair = Pair::of::<Demo, Demo>().chunks_of(piece).start();
    let count = pair.client.conn.transmit().len();
    pair.client.conn.transmitted(count);
    to_service(&mut pair, stream);
    while pair.service.dropped().is_none() && pair.turn() {}
    pair
}

#[test]
fn a_connection_whose_lengths_are_padded_is_like_any_other() {
    let [up, _] = recorded();
    let plain = of_a_client(&up, 1000);
    assert_eq!(names(&plain.service), ["Ping"; 5]);
    for first in 0..4 {
        for piece in [1, 2, 3, 7, 1000] {
            let pair = of_a_client(&widened(&up, |place| 1 + (place + first) % 4), piece);
            assert_eq!(pair.service.log, plain.service.log, "PROTOCOL F-2: pieces of {piece}");
        }
    }
}

#[test]
fn every_cut_gives_the_same_frames() {
    let bodies: [&[u8]; 4] = [&[], &[1, 2, 3], &[4; 126], &[5; 200]];
    let mut stream = PREAMBLE.to_vec();
    for width in 1..=4 {
        stream.extend(bodies.iter().flat_map(|body| wide(0x86, body, width)));
    }
    let cut = |at: usize| {
        let mut deframer = Deframer::new([0; 205]);
        let (front, back) = stream.split_at(at);
        let mut seen = Vec::new();
        for mut piece in [front, back] {
            while let Some(frame) = deframer.next(&mut piece, 201) {
                let (head, body) = frame.parts().expect("PROTOCOL F-2: a frame");
                seen.push((head, body.to_vec()));
            }
        }
        seen
    };
    let expected: Vec<_> = bodies
        .iter()
        .map(|body| (0x86, body.to_vec()))
        .cycle()
        .take(16)
        .collect();
    for at in 0..=stream.len() {
        assert_eq!(cut(at), expected, "PROTOCOL F-2: cut at {at}");
    }
}

#[test]
fn a_length_of_nothing_or_of_five_bytes_is_none() {
    let cases: [(&[u8], Code); 8] = [
        (&[0], Code::FrameMalformed),
        (&[0x80, 0], Code::FrameMalformed),
        (&[0x80, 0x80, 0], Code::FrameMalformed),
        (&[0x80, 0x80, 0x80, 0], Code::FrameMalformed),
        (&[0x81, 0x80, 0x80, 0x80, 0, 0x86], Code::FrameMalformed),
        // The fifth byte is not waited for.
        (&[0x81, 0x80, 0x80, 0x80], Code::FrameMalformed),
        // 65,537, which is one too many.
        (&[0x81, 0x80, 0x04], Code::FrameTooLong),
        (&[0x81, 0x80, 0x84, 0x00], Code::FrameTooLong),
    ];
    for (bytes, code) in cases {
        for piece in [1, 1000] {
            let mut pair = connected(&|setup| setup.chunks_of(piece));
            to_service(&mut pair, bytes);
            pair.settle();
            assert_service_found(&pair, code, None, &format!("PROTOCOL F-1, F-2, F-5: {bytes:x?}"));
        }
    }
}

/// Limits and credit count the value of a length, whatever it takes.
#[test]
fn padding_costs_no_credit_and_counts_for_no_limit() {
    let limits = tight().with_credit(2048, 16);
    for width in 1..=4 {
        let mut pair = connected_with(&|setup| setup, |setup| setup.limits(limits, limits));
        never_done(&mut pair.service);
        // A note of 1024 bytes: head, number, length of the text, 1020 bytes.
        let note = [&[NOTE, 0xfc, 0x07][..], &[b'x'; 1020]].concat();
        to_service(&mut pair, &wide(0, &note, width).repeat(2));
        pair.settle();
        assert!(pair.service.dropped().is_none(), "PROTOCOL F-2, F-6, L-2: {pair:?}");
        let last = wide(0, &[NOTE, 0], width);
        to_service(&mut pair, &last);
        pair.settle();
        pair.service.expire();
        assert_service_found(&pair, Code::CreditExceeded, Some(NOTE), "PROTOCOL L-2, L-3");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What an engine writes, small and large in any order, its peer reads; a length that is too wide costs three
    /// bytes at most.
    #[test]
    fn frames_of_any_sizes_are_read_back(
        sizes in prop::collection::vec(prop_oneof![0usize..4, 120usize..132, 0usize..20_000], 1..15),
        output in prop_oneof![Just(2_000usize), 20_000usize..60_000],
        piece in 50usize..5_000,
    ) {
        let change = |setup: diset_proto::sim::Setup| setup.output(output).chunks_of(piece);
        let mut pair = connected(&change);
        let before = pair.to_service.carried();
        let text = "x".repeat(20_000);
        let (mut sent, mut least) = (Vec::new(), 0);
        for size in sizes {
            let text = &text[..size];
            // A length of one to three bytes, head, number, and the length of the text.
            let payload = padded(size, 1).len() + size;
            let length = 2 + payload;
            let mut tries = 0;
            while let Err(error) = pair.client.conn.send(NOTE, &Note { text }) {
                if error == diset_proto::SendError::TooLong {
                    break;
                }
                tries += 1;
                prop_assert!(tries < 100_000, "{error:?}: {pair:?}");
                pair.turn();
            }
            let fits = padded(length, 1).len() + length + 256 <= output;
            if fits {
                sent.push(payload);
                least += padded(length, 1).len() + length;
            }
        }
        pair.settle();
        prop_assert!(pair.service.dropped().is_none(), "{pair:?}");
        let came: Vec<_> = pair.service.messages().map(|(_, bytes)| bytes.len()).collect();
        prop_assert_eq!(&came, &sent, "PROTOCOL F-2");
        let carried = pair.to_service.carried() - before;
        // Credit and acknowledgements of the client, beside its messages.
        prop_assert!(carried >= least && carried <= least + 3 * came.len() + 20, "{carried}, at least {least}");
    }
}
