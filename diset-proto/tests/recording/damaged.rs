//! Logs that were cut, changed or made up: an error that says where, and never a panic.

use diset_proto::MessageOf;
use diset_proto::recording::{BadLog, Entries, Entry, MAGIC};
use diset_proto::replay::{Replay, ReplayError};
use diset_proto::sim::Pair;
use proptest::prelude::*;

use super::support::{Log, Meter, Reading};

/// The log of a client that sends some messages.
fn log() -> Vec<u8> {
    let mut pair = Pair::of::<Meter, Meter>().start();
    let log = Log::default();
    pair.client.conn.tx.record(Box::new(log.clone())).unwrap();
    for value in 0..3 {
        pair.settle();
        let message = Reading {
            value,
            text: "secret".into(),
        };
        pair.client
            .conn
            .send(<Reading as MessageOf<Meter>>::NUMBER, &message)
            .unwrap();
    }
    pair.settle();
    log.bytes()
}

fn replay(log: &[u8]) -> Result<(), ReplayError> {
    Replay::of::<Meter>(log).and_then(Replay::run).map(|_| ())
}

#[test]
fn each_changed_byte_is_found() {
    let log = log();
    replay(&log).unwrap();
    for place in 0..log.len() {
        for bit in 0..8 {
            let mut changed = log.clone();
            changed[place] ^= 1 << bit;
            let error = replay(&changed).unwrap_err();
            assert!(matches!(error, ReplayError::Log(_)), "byte {place}: {error}");
        }
    }
}

#[test]
fn a_log_that_was_cut_says_so() {
    let log = log();
    let mut whole = 0;
    for end in 0..log.len() {
        match replay(&log[..end]) {
            // Between entries: only shorter.
            Ok(()) => whole += 1,
            Err(ReplayError::Log(BadLog::NotALog)) => assert!(end < MAGIC.len()),
            Err(ReplayError::Log(BadLog::Truncated(_))) => {}
            Err(error) => panic!("{end} bytes: {error}"),
        }
    }
    assert_eq!(whole + 1, Entries::new(&log).unwrap().count());
}

#[test]
fn entries_cannot_change_places() {
    let log = log();
    // Two entries alike in length, one after the other.
    let mut places = vec![MAGIC.len()];
    while let Some(&len) = log.get(places[places.len() - 1]) {
        let prefix = if len < 0x80 { 1 } else { 2 };
        let more = log[places[places.len() - 1] + 1];
        let len = if prefix == 1 {
            len.into()
        } else {
            usize::from(len & 0x7f) + 128 * usize::from(more)
        };
        places.push(places[places.len() - 1] + prefix + len + 4);
    }
    assert_eq!(places[places.len() - 1], log.len());
    let without = [&log[..places[2]], &log[places[3]..]].concat();
    assert_eq!(replay(&without), Err(ReplayError::Log(BadLog::Damaged(2))));
}

#[test]
fn another_version_is_told_from_no_log() {
    let mut log = log();
    log[MAGIC.len() - 1] = 1;
    assert_eq!(replay(&log), Err(ReplayError::Log(BadLog::Version(1))));
    log[0] = 0;
    assert_eq!(replay(&log), Err(ReplayError::Log(BadLog::NotALog)));
    assert_eq!(replay(&[]), Err(ReplayError::Log(BadLog::NotALog)));
}

#[test]
fn nothing_secret_shows_in_debug() {
    let log = log();
    for entry in Entries::new(&log).unwrap() {
        let shown = format!("{:?}", entry.unwrap());
        assert!(!shown.contains("115, 101, 99, 114, 101, 116"), "{shown}");
    }
}

/// A log with these entries, whose checks are right.
fn made(entries: &[(i64, Entry<'_>)]) -> Vec<u8> {
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    let mut log = MAGIC.to_vec();
    let mut check = crc.checksum(&MAGIC);
    for entry in entries {
        let body = postcard::to_extend(entry, Vec::new()).unwrap();
        check = crc.checksum(&[&check.to_le_bytes(), &body[..]].concat());
        let mut len = body.len();
        while len >= 0x80 {
            log.push((len & 0x7f) as u8 | 0x80);
            len >>= 7;
        }
        log.push(len as u8);
        log.extend(body);
        log.extend(check.to_le_bytes());
    }
    log
}

proptest! {
    #[test]
    fn bytes_that_are_no_log_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = replay(&bytes);
        let _ = replay(&[&MAGIC[..], &bytes].concat());
    }

    /// Bytes changed inside entries, with checks that are right again: whatever they say now.
    #[test]
    fn entries_that_were_made_up_do_no_harm(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..6),
        order in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let log = log();
        let entries: Vec<_> = Entries::new(&log).unwrap().map(Result::unwrap).collect();
        let mut bodies: Vec<Vec<u8>> = entries.iter()
            .map(|logged| postcard::to_extend(&(0i64, &logged.entry), Vec::new()).unwrap())
            .collect();
        for index in order {
            let body = index.get(&bodies).clone();
            bodies.push(body);
        }
        for (entry, place, value) in changes {
            let entry = entry.index(bodies.len());
            let body = &mut bodies[entry];
            let place = place.index(body.len());
            body[place] = value;
        }
        let read: Vec<(i64, Entry<'_>)> = bodies.iter()
            .filter_map(|body| postcard::from_bytes(body).ok())
            .collect();
        let _ = replay(&made(&read));
    }
}
