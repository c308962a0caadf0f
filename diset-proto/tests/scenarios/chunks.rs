//! Any split of the bytes gives the same events: every scenario again, one byte at a time and in random pieces.

use diset_proto::sim::{Happened, Setup};
use diset_proto::{Cause, Deframer};
use proptest::prelude::*;

use super::support::{Change, Scenario, frame};
use super::{adopt, connect, drain, endings, kinds, liveness, messages};

fn all() -> impl Iterator<Item = (&'static str, Scenario)> {
    [
        adopt::ALL,
        connect::ALL,
        messages::ALL,
        liveness::ALL,
        endings::ALL,
        drain::ALL,
        kinds::ALL,
    ]
    .into_iter()
    .flatten()
    .copied()
}

fn logs(scenario: Scenario, change: Change<'_>) -> [Vec<Happened>; 2] {
    let pair = scenario(change);
    [pair.client.log, pair.service.log]
}

/// Which of both sides is first at the end of a go-away depends on the pieces; that there is one does not.
fn comparable(logs: [Vec<Happened>; 2]) -> [Vec<Happened>; 2] {
    logs.map(|log| {
        let settle = |entry| match entry {
            Happened::Dropped(Cause::WentAway(_)) => Happened::Dropped(Cause::Lost),
            other => other,
        };
        log.into_iter().map(settle).collect()
    })
}

#[track_caller]
fn compare(what: &str, change: Change<'_>) {
    for (name, scenario) in all() {
        let whole = comparable(logs(scenario, &|setup| setup));
        let cut = comparable(logs(scenario, change));
        assert_eq!(whole, cut, "{name}, {what}: any split gives the same events");
    }
}

#[test]
fn one_byte_at_a_time() {
    compare("one byte at a time", &|setup: Setup| setup.chunks_of(1));
}

#[test]
fn in_small_pieces() {
    for size in [2, 3, 5, 7, 11, 64] {
        compare(&format!("pieces of {size}"), &|setup: Setup| setup.chunks_of(size));
    }
}

#[test]
fn in_random_pieces() {
    for seed in 0..20 {
        println!("seed {seed}");
        compare(&format!("seed {seed}"), &|setup: Setup| setup.random_chunks(seed));
    }
}

/// What a deframer makes of pieces, in printed form.
fn frames<'p>(pieces: impl Iterator<Item = &'p [u8]>, max: u32) -> Vec<String> {
    let mut deframer = Deframer::new([0u8; 260]);
    let mut seen = Vec::new();
    for mut piece in pieces {
        while let Some(frame) = deframer.next(&mut piece, max) {
            seen.push(format!("{frame:?}"));
        }
        assert!(piece.is_empty(), "everything is taken in");
    }
    seen
}

proptest! {
    #[test]
    fn any_split_gives_the_same_frames(
        bodies in prop::collection::vec((0usize..4, prop::collection::vec(any::<u8>(), 0..300)), 0..8),
        tail in prop::collection::vec(any::<u8>(), 0..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut bytes = vec![0xd1, b'S', b'E', b'T', 1];
        for (padding, body) in &bodies {
            let mut frame = frame(0xc1, body);
            let prefix = frame.len() - body.len() - 1;
            if *padding > 0 && prefix + padding <= 4 {
                frame[prefix - 1] |= 0x80;
                frame.splice(prefix..prefix, [&[0x80; 3][..padding - 1], &[0]].concat());
            }
            bytes.extend(frame);
        }
        bytes.extend(tail);
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        let pieces = places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
        let whole = frames([bytes.as_slice()].into_iter(), 256);
        prop_assert_eq!(&whole, &frames(pieces, 256), "PROTOCOL F-2");
        prop_assert_eq!(&whole, &frames(bytes.chunks(1), 256), "PROTOCOL F-2");
    }
}
