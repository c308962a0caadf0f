//! Whatever happens to the bytes on the line, what is delivered is a prefix of what was sent.

use diset_proto::SerialLine;
use diset_proto::serial::MAX_PAYLOAD;

use super::support::{Chance, Seen, delivered, feed, open, wrap};

/// Some data in packets of all lengths: what was sent, the packets, and the end that is to read them.
fn stream(chance: &mut Chance, count: usize) -> (Vec<u8>, Vec<Vec<u8>>, SerialLine) {
    let [mut client, mut service] = open();
    let (from_client, alphabet) = (chance.below(2) == 0, 1 + chance.below(256));
    let (sender, reader) = if from_client {
        (&mut client, &mut service)
    } else {
        (&mut service, &mut client)
    };
    let (mut sent, mut packets) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let longest = [3, 20, MAX_PAYLOAD][chance.below(3)];
        // Few different bytes make many 00 and many alike.
        let payload: Vec<u8> = (0..1 + chance.below(longest))
            .map(|_| chance.below(alphabet) as u8)
            .collect();
        packets.push(wrap(sender, &payload));
        sent.extend(payload);
    }
    (sent, packets, core::mem::replace(reader, SerialLine::client()))
}

/// Holds what came against what was sent; true when all of it came.
#[track_caller]
fn judge(what: &str, sent: &[u8], seen: &[Seen]) -> bool {
    let came = delivered(seen);
    assert!(sent.starts_with(&came), "{what}: other bytes than were sent");
    let broken = seen.iter().position(|seen| *seen == Seen::Broken);
    assert!(
        broken.is_none_or(|at| at + 1 == seen.len()),
        "{what}: PROTOCOL W-6: {seen:?}"
    );
    assert!(!seen.contains(&Seen::Ended) && !seen.contains(&Seen::Opened), "{what}");
    came.len() == sent.len()
}

/// PROTOCOL W-6: each bit of a stream flipped, each byte deleted, and one more at each place; with the packet that
/// follows every loss is found.
#[test]
fn every_single_damage_is_found() {
    let (mut cases, mut harmless) = (0, 0);
    for seed in 0..4 {
        let (sent, packets, _) = stream(&mut Chance(seed), 5);
        let (last, before) = packets.split_last().unwrap();
        let bytes = before.concat();
        let mut check = |what: &str, at: usize, mut bytes: Vec<u8>| {
            let (_, _, mut line) = stream(&mut Chance(seed), 5);
            bytes.extend(last);
            let seen = feed(&mut line, &bytes);
            let all = judge(&format!("seed {seed}, {what} at {at}"), &sent, &seen);
            assert!(all != seen.contains(&Seen::Broken), "seed {seed}, {what} at {at}");
            cases += 1;
            harmless += usize::from(all);
        };
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                check("flipped", at, flipped);
            }
            let mut deleted = bytes.clone();
            deleted.remove(at);
            check("deleted", at, deleted);
            for byte in [0, 1, 0x55, 0xff] {
                let mut inserted = bytes.clone();
                inserted.insert(at, byte);
                check("inserted", at, inserted);
            }
        }
    }
    println!("{cases} damages, {harmless} harmless, all others found");
    assert!(harmless < cases / 10);
}

/// PROTOCOL W-3, W-6: packets dropped, repeated and exchanged, bytes changed; with the packets that follow, everything
/// that is missing is found.
#[test]
fn random_damage_never_delivers_wrong_bytes() {
    let (mut whole, mut broken) = (0, 0);
    const SEEDS: u64 = 20_000;
    for seed in 0..SEEDS {
        let mut chance = Chance(seed);
        let (sent, mut packets, mut line) = stream(&mut chance, 12);
        // The last three are left alone: with them a loss shows.
        let at = chance.below(packets.len() - 3);
        match chance.below(8) {
            0 => drop(packets.remove(at)),
            1 => packets.insert(at, packets[at].clone()),
            2 => packets.swap(at, at + 1),
            3 => packets[at].clear(),
            _ => {
                for _ in 0..=chance.below(4) {
                    let packet = &mut packets[chance.below(9)];
                    let place = chance.below(packet.len().max(1));
                    match chance.below(4) {
                        _ if packet.is_empty() => {}
                        0 => drop(packet.remove(place)),
                        1 => packet.insert(place, chance.byte()),
                        2 => packet.truncate(place),
                        _ => packet[place] ^= 1 << chance.below(8),
                    }
                }
            }
        }
        let bytes = packets.concat();
        let seen = feed(&mut line, &bytes);
        let all = judge(&format!("seed {seed}"), &sent, &seen);
        // A 00 that is doubled, or missing where another one stands, does no harm: all came.
        assert!(all != seen.contains(&Seen::Broken), "seed {seed}: lost and not found");
        whole += usize::from(all);
        broken += usize::from(!all);
    }
    println!("{SEEDS} seeds: {broken} found broken, {whole} without a loss");
    assert!(broken > whole);
}

/// Any split of the bytes gives the same events, damage or not.
#[test]
fn any_split_gives_the_same_events() {
    for seed in 0..2_000 {
        let mut chance = Chance(seed);
        let (_, packets, mut whole) = stream(&mut chance, 8);
        let mut bytes = packets.concat();
        if chance.below(2) == 0 {
            let at = chance.below(bytes.len());
            bytes[at] = chance.byte();
        }
        let (_, _, mut pieces) = stream(&mut Chance(seed), 8);
        let expected = feed(&mut whole, &bytes);
        let mut seen = Vec::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let longest = [1, 5, 300][chance.below(3)];
            let (piece, after) = rest.split_at(rest.len().min(1 + chance.below(longest)));
            seen.extend(feed(&mut pieces, piece));
            rest = after;
        }
        assert_eq!(seen, expected, "seed {seed}");
    }
}

/// Noise alone opens nothing, delivers nothing, and panics nowhere.
#[test]
fn noise_is_no_line() {
    let mut lines = [SerialLine::client(), SerialLine::service()];
    for seed in 0..500 {
        let mut chance = Chance(seed);
        let alphabet = 1 + chance.below(256);
        let noise: Vec<u8> = (0..2_000).map(|_| chance.below(alphabet) as u8).collect();
        for line in &mut lines {
            assert_eq!(feed(line, &noise), [], "seed {seed}");
            assert!(wrap(line, b"nobody is there").len() <= 16);
        }
    }
}
