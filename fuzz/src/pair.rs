//! Two engines with a faulty transport between them.

use core::time::Duration;

use diset_proto::sim::{Decision, Happened, Pair};
use diset_proto::{Admission, Code, Limits, Notice, Phase};

use super::Bytes;
use super::engine::{Count, Fuzzed, Words};

/// Whatever the transport does, both sides end once, and what arrives is a prefix of what was sent.
pub fn pair(data: &[u8]) {
    let mut bytes = Bytes(data);
    let limits = |choice: u8| match choice % 3 {
        0 => Limits::SERVER,
        1 => Limits::CHIP.with_max_frame(1024),
        _ => Limits::CHIP
            .with_max_frame(1024)
            .with_credit(1500, 3)
            .with_max_silence(Duration::from_secs(2)),
    };
    let choice = bytes.byte();
    // The client has the catalog of the service, or takes it: the same messages either way.
    let start = if choice / 9 % 2 == 0 {
        Pair::of::<Fuzzed, Fuzzed>()
    } else {
        Pair::adopting::<Fuzzed>()
    };
    let mut setup = start
        .limits(limits(choice), limits(choice / 3))
        .output(768 + usize::from(bytes.byte()))
        .delay(Duration::from_millis(u64::from(bytes.byte() % 4) * 100));
    setup = match bytes.byte() {
        0 => setup,
        size @ 1..=99 => setup.chunks_of(size.into()),
        seed => setup.random_chunks(seed.into()),
    };
    if choice > 200 {
        setup = setup.admit(|_| Decision::Wait);
    }
    let mut pair = setup.start();
    let (mut up, mut down, mut injected) = (0u64, 0usize, false);
    while let Some(operation) = bytes.next() {
        let now = pair.now;
        match operation % 12 {
            0 => {
                for _ in 0..=bytes.byte() % 8 {
                    up += u64::from(pair.client.conn.send(0, &Count { n: up }).is_ok());
                }
            }
            1 => {
                let text = down.to_string().repeat(1 + usize::from(bytes.byte()));
                down += usize::from(
                    pair.service
                        .conn
                        .send(
                            1,
                            &Words {
                                text: &text,
                                more: None,
                            },
                        )
                        .is_ok(),
                );
            }
            2 => {
                let _ = pair.turn();
            }
            3 => pair.settle(),
            4 => pair.run_for(Duration::from_millis(u64::from(bytes.byte()) * 20)),
            5 => pair.to_service.stall(bytes.byte() % 2 == 1),
            6 => pair.to_client.stall(bytes.byte() % 2 == 1),
            7 => {
                let position = pair.to_service.carried() + usize::from(bytes.byte());
                pair.to_service.cut_at(position);
            }
            8 => {
                let position = pair.to_client.carried() + usize::from(bytes.byte());
                pair.to_client.cut_at(position);
            }
            9 => {
                let conn = if bytes.byte() % 2 == 1 {
                    &mut pair.client.conn
                } else {
                    &mut pair.service.conn
                };
                let _ = conn.go_away(now, Notice::new(Code::Done), Duration::from_millis(bytes.number()));
            }
            10 => {
                let count = bytes.byte();
                injected = true;
                let pipe = if count & 0x10 == 0 {
                    &mut pair.to_service
                } else {
                    &mut pair.to_client
                };
                pipe.inject(now, bytes.take(usize::from(count % 16)));
            }
            _ => {
                let _ = pair.service.conn.accept(now, Admission::new(diset_proto::Trid::new(9)));
            }
        }
    }
    pair.to_service.stall(false);
    pair.to_client.stall(false);
    pair.settle();
    pair.cut();
    pair.run_for(Duration::from_secs(20));
    for peer in [&pair.client, &pair.service] {
        let drops = peer.log.iter().filter(|entry| matches!(entry, Happened::Dropped(_)));
        assert_eq!(drops.count(), 1, "{peer:?}");
        assert_eq!(peer.conn.phase(), Phase::Closed, "{peer:?}");
    }
    if !injected {
        let counts = pair.service.messages().zip(0u64..);
        for ((name, bytes), number) in counts {
            assert_eq!(
                (name, bytes[0]),
                ("Count", (number & 0x7f) as u8 | u8::from(number > 0x7f) << 7)
            );
        }
        for ((name, bytes), number) in pair.client.messages().zip(0..) {
            let prefix = 1 + usize::from(bytes[0] & 0x80 != 0);
            assert_eq!(name, "Words");
            assert!(bytes[prefix..].starts_with(number.to_string().as_bytes()));
        }
    }
}
