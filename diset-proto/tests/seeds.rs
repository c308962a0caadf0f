//! Replays the seeds of the fuzz targets, and random input, through the bodies of the targets.

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

fn folder(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "fuzz", "seeds", target]
        .iter()
        .collect()
}

#[test]
fn every_seed_passes() {
    for (name, target) in targets::TARGETS {
        let mut count = 0;
        for entry in fs::read_dir(folder(name)).unwrap() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            target(&fs::read(path).unwrap());
            count += 1;
        }
        assert!(count > 0, "{name} has no seeds");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_input_passes(data in prop::collection::vec(any::<u8>(), 0..400)) {
        for (_, target) in targets::TARGETS {
            target(&data);
        }
    }
}

/// The seeds that are made by a rule are those in the tree; the others were found. With `DISET_WRITE_SEEDS=1` in the
/// environment they are written there.
#[test]
fn seeds_made_by_a_rule_are_in_the_tree() {
    let write = std::env::var_os("DISET_WRITE_SEEDS").is_some();
    let small_frames = [200, 3, 1, 0x86, 1, 0x87, 3, 0, 0, 14, 5, 0xc0, 1, 2, 3, 4, 0];
    // Operations: 14 mode, 2 canned bytes, 3 transmit, 5 time, 7 and 8 send, 9 go-away, 15 ff end.
    let seeds: &[(&str, &str, &[u8])] = &[
        ("frames", "small-frames", &small_frames),
        ("frames", "too-long", &[0, 0, 0x80, 0x80, 0x01, 0x86]),
        (
            "packets",
            "credit-overflow",
            &[7, 0x85, 2, 0x80, 0x80, 0x80, 0x80, 0x04, 1],
        ),
        ("packets", "acceptance-without-fields", &[0, 0x81, 0]),
        ("packets", "go-away-to-a-client", &[2, 0x88, 1, 0x81, 1, 72, 5, 1, 0]),
        (
            "service_ops",
            "handshake-and-messages",
            &[2, 0, 3, 2, 3, 2, 4, 3, 8, 20, 3, 5, 0x75, 0x30, 3, 15, 0xff],
        ),
        (
            "service_ops",
            "unknown-digest",
            &[2, 1, 3, 2, 2, 3, 2, 3, 9, 4, 0, 3, 15, 0xff],
        ),
        (
            "service_ops",
            "held-messages",
            &[14, 0, 2, 0, 14, 1, 2, 3, 2, 4, 13, 13, 3, 15, 0xff],
        ),
        ("service_ops", "refused", &[14, 2, 2, 0, 3, 15, 0, 15, 0xff]),
        (
            "client_ops",
            "handshake-and-messages",
            &[0, 3, 2, 3, 7, 0, 0, 9, 8, 40, 3, 2, 6, 3, 15, 0xff],
        ),
        (
            "client_ops",
            "describe",
            &[1, 3, 2, 0, 3, 2, 5, 7, 1, 0, 9, 3, 2, 11, 3, 15, 0],
        ),
        (
            "client_ops",
            "silent-service",
            &[0, 3, 2, 3, 5, 0x75, 0x30, 3, 5, 0xff, 0xff, 3, 15, 0],
        ),
        (
            "pair",
            "both-ways",
            &[1, 0, 0, 0, 3, 0, 7, 1, 9, 3, 0, 7, 1, 99, 3, 4, 255],
        ),
        (
            "pair",
            "byte-by-byte-with-a-cut",
            &[8, 9, 1, 1, 3, 0, 3, 7, 2, 3, 4, 20],
        ),
        (
            "pair",
            "crossed-go-aways",
            &[0, 0, 2, 0, 3, 0, 1, 9, 1, 9, 9, 9, 0, 9, 9, 3],
        ),
        ("pair", "garbage", &[2, 0, 0, 200, 3, 10, 4, 0, 9, 9, 9, 3]),
    ];
    for (target, name, bytes) in seeds {
        let path = folder(target).join(name);
        if write {
            fs::create_dir_all(folder(target)).unwrap();
            fs::write(&path, bytes).unwrap();
        }
        assert_eq!(fs::read(&path).unwrap(), *bytes, "{}", path.display());
    }
}
