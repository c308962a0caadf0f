//! Replays the seeds of the fuzz targets, and random input, through the bodies of the targets.

#[path = "../../fuzz/src/lib.rs"]
pub(crate) mod targets;

mod made;

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

/// The seeds that were found for the engine are for the halves, too: the first byte says which side.
#[test]
fn the_halves_pass_the_seeds_of_the_engine() {
    for (name, side) in [("service_ops", 0), ("client_ops", 1)] {
        for entry in fs::read_dir(folder(name)).unwrap() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            let operations = fs::read(&path).unwrap();
            targets::halves(&[&[side][..], &operations].concat());
            // The same by a client that keeps a session.
            if side == 1 && operations.first().is_some_and(|origin| origin / 3 % 2 == 0) {
                let first = operations[0] % 3 + 3;
                targets::halves(&[&[side, first][..], &operations[1..]].concat());
            }
        }
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

/// What may happen to a service or a client in the target `halves`, so that much of it is on an open connection.
fn calls() -> impl Strategy<Value = Vec<u8>> {
    let byte = |value: u8| Just(vec![value]);
    let call = prop_oneof![
        // Frames of the peer: messages, acked ones, acknowledgements and whatever else; parts of one.
        6 => (3..25u8).prop_map(|canned| vec![2, canned]),
        6 => (25..=255u8).prop_map(|pieces| vec![2, pieces]),
        6 => prop::sample::select(vec![3, 4, 6, 15, 16, 18, 19]).prop_map(|canned| vec![2, canned]),
        1 => prop::collection::vec(any::<u8>(), 0..8).prop_map(|body| [&[0, body.len() as u8][..], &body].concat()),
        // What is done with the next messages, and what becomes of a handler that waits.
        6 => (0..16u8).prop_map(|mode| vec![14, mode]),
        4 => prop::sample::select(vec![0u8, 1]).prop_map(|mode| vec![14, mode]),
        4 => byte(13),
        1 => prop::sample::select(vec![0xfa, 0xfb, 0xf2]).prop_map(|end| vec![15, end]),
        // Turns, and what leaves.
        4 => byte(3),
        1 => any::<u8>().prop_map(|most| vec![4, most]),
        1 => any::<(u8, u8)>().prop_map(|(high, low)| vec![5, high % 64, low]),
        // What this side sends and takes.
        2 => (0..3u8).prop_map(|number| vec![7, number, 0, 9]),
        1 => any::<u8>().prop_map(|length| vec![8, length]),
        2 => (0..2u8, 0..3u8).prop_map(|(unsure, number)| vec![15, 0xf0, unsure, number, 0, 9]),
        1 => prop::sample::select(vec![0xf1, 0xf7]).prop_map(|what| vec![15, what]),
        // The end, and another transport with a handshake.
        1 => prop::sample::select(vec![vec![9, 3, 0xe8], vec![10, 0, 70], vec![15, 0xff]]),
        1 => (0..3u8, 0..2u8).prop_map(|(form, _)| vec![15, 0xf3, 14, 0, 3, 2, 12 + form, 3, 2, 16 + form, 3]),
    ];
    let open = prop_oneof![
        (0..2u8, prop::sample::select(vec![0u8, 1, 13])).prop_map(|(keeps, form)| {
            let session: &[u8] = if keeps == 1 { &[15, 0xf7] } else { &[] };
            [&[0][..], session, &[2, form, 3, 2, 2, 3]].concat()
        }),
        prop::sample::select(vec![[0u8, 3], [3, 16], [1, 1]])
            .prop_map(|[side, acceptance]| { vec![1, side, 3, 2, acceptance, 3] }),
    ];
    (open, prop::collection::vec(call, 0..60)).prop_map(|(open, calls)| [open, calls.concat()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_halves_pass_generated_calls(data in calls()) {
        targets::halves(&data);
    }
}

/// The seeds that are made by a rule are those in the tree; the others were found. With `DISET_WRITE_SEEDS=1` in the
/// environment they are written there.
#[test]
fn seeds_made_by_a_rule_are_in_the_tree() {
    let write = std::env::var_os("DISET_WRITE_SEEDS").is_some();
    let small_frames = [200, 3, 1, 0x86, 1, 0x87, 3, 0, 0, 14, 5, 0xc0, 1, 2, 3, 4, 0];
    // A request, a reply, an item, a cancel, both kinds of credit, a part, an acked request, a form that is not known.
    let calls = [
        200, 5, 8, 1, 0, 3, 0xd0, 0x0f, 0x80, 2, 14, 4, 2, 0, 0, 14, 4, 0x22, 0, 0, 14, 2, 3, 0, 4, 4, 0, 0x80, 0x20,
        4, 6, 0, 0x80, 0x20, 4, 0x25, 0, b'h', b'i', 9, 0x41, 0, 14, 3, 0xd0, 0x0f, 0x80, 2, 14, 2, 7, 0,
    ];
    // Operations: 14 mode, 2 canned bytes, 3 transmit, 5 time, 7 and 8 send, 9 go-away, 15 ff end.
    let seeds: &[(&str, &str, &[u8])] = &[
        ("frames", "small-frames", &small_frames),
        (
            "frames",
            "padded-lengths",
            &[
                200, 3, 0x81, 0, 0x86, 0x83, 0x80, 0x80, 0, 0, 0, 14, 0x81, 0x80, 0, 0x87, 0x80, 0,
            ],
        ),
        ("frames", "calls", &calls),
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
        // 15 f7 keeps sessions, 15 f3 the next transport, 15 fa a handler fails, 13 it is done.
        (
            "halves",
            "messages-behind-a-handler-that-waits",
            &[0, 14, 0, 2, 0, 14, 1, 2, 3, 2, 4, 2, 7, 3, 13, 3, 13, 3, 15, 0xff],
        ),
        (
            "halves",
            "the-end-while-messages-wait",
            &[0, 15, 0xf7, 14, 0, 2, 13, 3, 14, 1, 2, 3, 2, 15, 2, 4, 2, 16, 15, 0xff],
        ),
        (
            "halves",
            "an-acked-message-that-comes-again",
            &[
                0, 15, 0xf7, 14, 0, 2, 13, 3, 14, 1, 2, 15, 2, 16, 15, 0xf3, 14, 0, 2, 14, 3, 2, 15, 2, 16, 3,
            ],
        ),
        (
            "halves",
            "a-client-whose-handler-fails",
            &[
                1, 3, 3, 2, 16, 14, 1, 2, 18, 2, 6, 3, 15, 0xfa, 3, 15, 0xf3, 3, 2, 17, 3,
            ],
        ),
        ("halves", "nobody-handles-it", &[0, 14, 0, 2, 0, 14, 2, 2, 3, 2, 4, 3]),
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
        // The catalog is taken; a message comes, one is sent, one does not fit.
        (
            "client_ops",
            "a-catalog-that-is-told",
            &[2, 14, 5, 2, 14, 3, 2, 6, 15, 0xfe, 0, 1, 7, 15, 0xfe, 1, 1, 9, 3],
        ),
        (
            "client_ops",
            "a-catalog-with-a-message-that-is-forbidden",
            &[2, 2, 15, 15, 0xfe, 0, 1, 7, 3],
        ),
        (
            "service_ops",
            "a-client-without-a-catalog",
            &[2, 12, 3, 2, 3, 8, 9, 3, 2, 4, 3],
        ),
        ("service_ops", "a-client-with-less-rights", &[14, 8, 2, 0, 3, 2, 4, 3]),
        ("pair", "a-catalog-that-is-told", &[9, 9, 1, 1, 3, 0, 3, 7, 1, 2, 3, 3]),
        ("pair", "garbage", &[2, 0, 0, 200, 3, 10, 4, 0, 9, 9, 9, 3]),
    ];
    let made = made::SEEDS
        .iter()
        .map(|(target, name, text)| (*target, *name, hex(text)));
    let seeds = seeds
        .iter()
        .map(|(target, name, bytes)| (*target, *name, bytes.to_vec()));
    for (target, name, bytes) in seeds
        .chain(learned_seeds())
        .chain(wide_seeds())
        .chain(made)
        .chain(logs())
    {
        let path = folder(target).join(name);
        if write {
            fs::create_dir_all(folder(target)).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        assert_eq!(fs::read(&path).unwrap(), bytes, "{}", path.display());
    }
}

/// Bytes in hex, and pieces that have a name.
fn hex(text: &str) -> Vec<u8> {
    let bytes = |word: &str| match made::PIECES.iter().find(|(name, _)| *name == word) {
        Some((_, piece)) => hex(piece),
        None => vec![u8::from_str_radix(word, 16).unwrap()],
    };
    text.split_whitespace().flat_map(bytes).collect()
}

/// Logs of two connections.
fn logs() -> [(&'static str, &'static str, Vec<u8>); 2] {
    let [client, service] = targets::recorded();
    [
        ("replay", "a-client-in-a-session", client),
        ("replay", "a-service-in-a-session", service),
    ]
}

/// Those of definitions that a peer described, and of messages of them.
fn learned_seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    // A tuple of all kinds of types, those without parts first.
    let every_kind: Vec<u8> = [21, 24, 0]
        .into_iter()
        .chain(1..18)
        .chain([
            18, 1, 19, 1, 20, 1, 1, 21, 1, 0, 1, 22, 1, 0, 1, 0, b'a', 1, 23, 1, 0, 1, 0, b'b', 0,
        ])
        .chain([23, 3, 0, 1, 0, b'a', 1, 1, 1, 0, b'b', 2, 0, 0, 1, 0, b'c', 3, 0, 0])
        .collect();
    let ping = b"\x01\0\x04\0Ping\x16\x01\0\x02\0id\x05";
    let pong = b"\x02\0\x04\0Pong\x16\x01\0\x02\0id\x05";
    let sum = b"\x01\x01\x03\0Sum\x16\x02\0\x01\0a\x05\x01\0b\x05\x16\x01\0\x03\0sum\x05";
    let ticks = b"\x03\x02\x05\0Ticks\x11\x0a";
    let transfers = b"\x02\x03\x01\0U\x0f\x11\x01\x04\x01\0D\x0f\x12\x07";
    let wide: [&[u8]; 5] = [&[5, 21, 2, 0, 6, 11], &[0xff; 18], &[3], &[0xff; 18], &[3]];
    // a | b(option unit) | c(bool,) | d { e: unit }
    let variants: [&[u8]; 6] = [
        b"\x1f\x13\x17\x04\0",
        b"\x01\0a\0",
        b"\x01\0b\x01\x12\x11",
        b"\x01\0c\x02\x01\0\x01",
        b"\x01\0d\x03\x01\0\x01\0e\x11",
        b"\x05\0\x01\x01\x01\0\x02\x01\x03",
    ];
    let attributes: [&[u8]; 2] = [
        b"\x10\x16\x03\0\x01\0a\x07\x01\0b\x12\x0f\x01\0c\x02",
        br#"{"c":-1,"a":1}"#,
    ];
    vec![
        // Descriptions (PROTOCOL S-7), or a type alone.
        ("catalog", "ping-and-pong", [&ping[..], pong].concat()),
        (
            "catalog",
            "all-kinds-of-entries",
            [&ping[..], sum, ticks, transfers].concat(),
        ),
        ("catalog", "a-kind-that-is-not-known", b"\x01\x05\x01\0A\x07\x07".into()),
        ("catalog", "a-call-without-an-answer", b"\x01\x01\x01\0A\x07".into()),
        ("catalog", "nested-16-deep", [&[18; 15][..], &[7]].concat()),
        ("catalog", "every-kind", every_kind),
        ("catalog", "a-name-twice", b"\x16\x02\0\x01\0a\x07\x01\0a\x07".into()),
        ("catalog", "units-without-bound", vec![19, 21, 2, 0, 17, 17]),
        // Length of the type, type, payload.
        ("values", "sequence-of-texts", b"\x02\x13\x0f\x02\x01a\x01b".into()),
        (
            "values",
            "a-key-twice",
            b"\x03\x14\x0f\x07\x02\x01a\x05\x01a\x06".into(),
        ),
        ("values", "wide-numbers", wide.concat()),
        ("values", "variants", variants.concat()),
        ("values", "attributes-in-any-order", attributes.concat()),
        (
            "values",
            "floats-that-are-not-finite",
            b"\x02\x13\x0d[\"NaN\",\"-inf\",1]".into(),
        ),
        ("values", "units", vec![9, 19, 21, 5, 0, 7, 17, 17, 17, 17, 3, 1, 2, 3]),
    ]
}

/// Those whose types are longer than 255 bytes: 255, length of the type, type, payload.
fn wide_seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    // A sequence of structures of units, each under one of these names, and a flag.
    let records = |names: Vec<Vec<u8>>| {
        let count = u8::try_from(names.len() + 1).unwrap();
        let units = names.iter().flat_map(|name| [&[64, 0][..], name, &[17]].concat());
        let head = [19, 22, count, 0].into_iter();
        head.chain(units).chain([1, 0, b'z', 1]).collect()
    };
    let seed = |ty: Vec<u8>, payload: &[u8]| {
        let length = u16::try_from(ty.len()).unwrap().to_be_bytes();
        [&[255][..], &length, &ty, payload].concat()
    };
    let letters = (0..60).map(|number| format!("{number:064}").into_bytes());
    let wide = records(letters.collect());
    // JSON needs six bytes for each of these.
    let escaped = (0..40).map(|number| [&[1; 62][..], &[number / 31 + 1, number % 31 + 1]].concat());
    let hostile: Vec<u8> = records(escaped.collect());
    let over = [&[100][..], &[1; 100]].concat();
    vec![
        ("values", "a-wide-record", seed(wide, &[2, 0, 1])),
        ("values", "long-names-in-the-budget", seed(hostile.clone(), &[1, 1])),
        ("values", "long-names-over-the-budget", seed(hostile, &over)),
    ]
}
