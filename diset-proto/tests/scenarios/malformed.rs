//! Bytes that no peer should send, to both roles in every phase: no panic, an end with a typed cause or none at all,
//! one announcement, bounded memory. The fuzz targets look further; `seeds` replays what they found.

use diset_proto::sim::{Decision, Pair};
use diset_proto::{Cause, Phase};
use proptest::prelude::*;

use super::support::*;

/// A pair in each phase that a peer can reach, by number.
fn in_phase(number: usize) -> Pair {
    let mut pair = match number {
        0 => Pair::of::<Demo, Demo>().start(),
        1 => Pair::of::<Demo, Demo>().admit(|_| Decision::Wait).start(),
        2 => Pair::of::<older::Demo, Demo>().start(),
        _ => Pair::of::<Demo, Demo>().start(),
    };
    match number {
        0 => {}
        2 => {
            while pair.service.conn.phase() != Phase::Asking {
                pair.turn();
            }
        }
        4 => {
            pair.settle();
            pair.client.conn.send(PING, &Ping { id: 1 }).unwrap();
            let notice = diset_proto::Notice::new(diset_proto::Code::Done);
            pair.to_client.stall(true);
            pair.service.conn.go_away(pair.now, notice, SECOND).unwrap();
        }
        _ => pair.settle(),
    }
    pair
}
const PHASES: usize = 5;

/// After whatever came: each side ended once or not at all, and can still be ended.
fn assert_sane(mut pair: Pair) {
    pair.settle();
    for peer in [&pair.client, &pair.service] {
        if let Some(Cause::OurError(notice)) = peer.dropped() {
            let known = diset_proto::Code::ALL.contains(&notice.code());
            assert!(known, "PROTOCOL E-1: {notice:?}");
        }
        // A few control frames, never more than there is room for.
        assert!(peer.log.len() < 2000);
    }
    assert!(pair.to_client.carried() < 64 * 1024 && pair.to_service.carried() < 64 * 1024);
    pair.to_client.stall(false);
    pair.settle();
    pair.cut();
    pair.run_for(5 * SECOND);
    for peer in [&pair.client, &pair.service] {
        assert_eq!(drops(&peer.log), 1);
        assert_eq!(peer.conn.phase(), Phase::Closed);
    }
}

fn inject(pair: &mut Pair, upward: bool, bytes: &[u8]) {
    if upward {
        to_service(pair, bytes);
    } else {
        to_client(pair, bytes);
    }
}

/// What a client and a service really wrote in a run with everything in it.
pub(crate) fn recorded() -> [Vec<u8>; 2] {
    let mut pair = Pair::of::<Demo, Demo>().start();
    let mut streams = [Vec::new(), Vec::new()];
    for round in 0..20 {
        if round == 3 {
            for id in 0..5 {
                pair.client.conn.send(PING, &Ping { id }).unwrap();
                pair.service.conn.send(NOTE, &Note { text: "hello" }).unwrap();
            }
        }
        if round == 8 {
            let notice = diset_proto::Notice::new(diset_proto::Code::Done);
            pair.client.conn.go_away(pair.now, notice, SECOND).unwrap();
        }
        streams[0].extend_from_slice(pair.client.conn.transmit());
        streams[1].extend_from_slice(pair.service.conn.transmit());
        pair.turn();
        streams[1].extend_from_slice(pair.service.conn.transmit());
    }
    streams
}

#[derive(Debug, Clone)]
enum Mutation {
    Flip(prop::sample::Index, u8),
    Remove(prop::sample::Index, usize),
    Insert(prop::sample::Index, Vec<u8>),
    Double(prop::sample::Index, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), 1u8..).prop_map(|(at, bits)| Mutation::Flip(at, bits)),
        (at(), 1usize..9).prop_map(|(at, count)| Mutation::Remove(at, count)),
        (at(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (at(), 1usize..99).prop_map(|(at, count)| Mutation::Double(at, count)),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    let place = |at: &prop::sample::Index| at.index(bytes.len());
    match mutation {
        _ if bytes.is_empty() => {}
        Mutation::Flip(at, bits) => {
            let at = place(at);
            bytes[at] ^= bits;
        }
        Mutation::Remove(at, count) => {
            let at = place(at);
            bytes.drain(at..(at + count).min(bytes.len()));
        }
        Mutation::Insert(at, more) => {
            let at = place(at);
            bytes.splice(at..at, more.iter().copied());
        }
        Mutation::Double(at, count) => {
            let at = place(at);
            let again = bytes[at..(at + count).min(bytes.len())].to_vec();
            bytes.splice(at..at, again);
        }
    }
}

proptest! {
    #[test]
    fn random_bytes(
        phase in 0..PHASES,
        upward: bool,
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut pair = in_phase(phase);
        inject(&mut pair, upward, &bytes);
        assert_sane(pair);
    }

    #[test]
    fn random_frames(
        phase in 0..PHASES,
        upward: bool,
        frames in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..10),
    ) {
        let mut pair = in_phase(phase);
        for (head, body) in frames {
            inject(&mut pair, upward, &frame(head, &body));
        }
        assert_sane(pair);
    }

    #[test]
    fn mutated_streams(
        upward: bool,
        mutations in prop::collection::vec(mutation(), 1..5),
        chunk in 1usize..50,
    ) {
        let [up, down] = recorded();
        let mut stream = if upward { up } else { down };
        for mutation in &mutations {
            mutate(&mut stream, mutation);
        }
        let mut pair = Pair::of::<Demo, Demo>().chunks_of(chunk).start();
        // In place of what the peer really says.
        let conn = if upward { &mut pair.client.conn } else { &mut pair.service.conn };
        let count = conn.transmit().len();
        conn.transmitted(count);
        inject(&mut pair, upward, &stream);
        assert_sane(pair);
    }
}

#[test]
fn a_recorded_stream_is_taken() {
    let [up, _] = recorded();
    let mut pair = Pair::of::<Demo, Demo>().start();
    let count = pair.client.conn.transmit().len();
    pair.client.conn.transmitted(count);
    to_service(&mut pair, &up);
    while pair.service.dropped().is_none() {
        assert!(pair.turn(), "{pair:?}");
    }
    assert_eq!(names(&pair.service), ["Ping"; 5]);
}
