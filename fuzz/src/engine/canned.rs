//! What well-behaved peers send.

use std::sync::LazyLock;

use super::{Engine, Origin, Step, frame};

pub(in super::super) static FROM_CLIENT: LazyLock<Vec<Vec<u8>>> = LazyLock::new(from_client);
pub(in super::super) static FROM_SERVICE: LazyLock<Vec<Vec<u8>>> = LazyLock::new(from_service);

/// What a well-behaved client sends: preamble and proposal, of each form; definitions; messages; small frames.
fn from_client() -> Vec<Vec<u8>> {
    let proposal = |origin, keeps| Engine::client(origin, keeps).take();
    let definitions = {
        let mut client = Engine::client(Origin::Older, false);
        client.take();
        client.feed(&[0xd1, b'S', b'E', b'T', 1, 1, 0x83]);
        client.take()
    };
    let mut all = vec![
        proposal(Origin::Same, false),
        proposal(Origin::Older, false),
        definitions,
        frame(0, &[0, 7]),
    ];
    all.extend(from_both());
    all.push(proposal(Origin::Service, false));
    // Without a session; with one that fits a service that has just begun it.
    all.push(proposal(Origin::Same, true));
    let mut returning = Engine::client(Origin::Same, true);
    returning.feed(&answered(false));
    returning.step(&Step::Again);
    all.push(returning.take());
    all.extend(of_sessions());
    all
}

/// Preamble and acceptance: First, or that a session goes on of which nothing was sent.
fn answered(resumed: bool) -> Vec<u8> {
    let session: &[u8] = if resumed {
        &[4, 6, 0, 12, 0, 0, 0, 0]
    } else {
        &[4, 2, 1, 12]
    };
    let limits = [0x82, 8, 0x80, 8, 0x80, 0x10, 8, 0xe0, 0xd4, 3];
    let body = [&[0x81, 1, 1][..], &limits, session, &[5, 16], &[7; 16]].concat();
    [&[0xd1, b'S', b'E', b'T', 1][..], &frame(0x81, &body)].concat()
}

/// Acked messages, acknowledgements, what comes next, and keys.
fn of_sessions() -> Vec<Vec<u8>> {
    vec![
        frame(0x40, &[1, 2, b'h', b'i', 0]),
        frame(0x40, &[0, 7]),
        frame(0x8a, &[1, 0]),
        frame(0x8a, &[1, 1]),
        frame(0x8a, &[2, 1, 1, 33]),
        frame(0x8a, &[0, 1]),
        frame(0x8c, &[1, 1]),
        frame(0x8c, &[0, 1]),
        frame(0x8d, &[&[9; 32][..], &[60]].concat()),
        frame(0x86, &[]),
        frame(0x8f, &[1]),
    ]
}

/// What a well-behaved service sends.
fn from_service() -> Vec<Vec<u8>> {
    let answer = |mode, origin| {
        let mut service = Engine::service();
        service.how.mode = mode;
        service.feed(&Engine::client(origin, false).take());
        service.take()
    };
    // Describe, an acceptance of the older form, a refusal, an acceptance of the same form; the same without preamble.
    let mut all = vec![
        answer(0, Origin::Older),
        answer(1, Origin::Older),
        answer(2, Origin::Older),
        answer(0, Origin::Same),
    ];
    all.push(all[0][5..].to_vec());
    all.push(all[1][5..].to_vec());
    all.extend(from_both());
    // A catalog and its acceptance, with all messages and without one.
    all.extend([answer(0, Origin::Service), answer(8, Origin::Service)]);
    all.extend([answered(false), answered(true)]);
    all.extend(of_sessions());
    all
}

fn from_both() -> Vec<Vec<u8>> {
    vec![
        frame(0, &[1, 2, b'h', b'i', 0]),
        frame(0, &[2, 2, b'h', b'i']),
        frame(0x85, &[0x80, 0x08, 4]),
        frame(0x86, &[]),
        frame(0x87, &[]),
        frame(0x88, &[0x81, 1, 72, 5, 2, 0xe8, 7]),
        frame(0x89, &[0x81, 1, 33, 4, 1, 0]),
        frame(0xc7, &[1, 2, 3]),
    ]
}
