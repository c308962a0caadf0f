//! What the fuzz targets do with their input. A test of diset-proto includes this file and replays the seeds.
//!
//! For most targets a seed is a list of operations, a byte each with its operands behind it; any bytes are a list. Those
//! that concern the halves of a connection become calls (`call`), which one player makes (`player`), as an adapter would;
//! it holds the halves to what is true of every connection. For targets of one packet or message a seed is a choice and
//! a body. New ones are named after what they show and stand in
//! `seeds/TARGET/`; `DISET_WRITE_SEEDS=1 cargo test -p diset-proto --test protocol seeds::` writes those that are made by a rule.

#![allow(unreachable_pub, reason = "a library here, a module of a test there")]

mod call;
mod check;
mod engine;
mod halves;
mod handshake;
mod learned;
mod model;
mod pair;
mod peer;
mod player;
mod replay;
mod serial;
mod sessions;
mod store;
mod typed;
pub(crate) mod value;

pub use engine::{client_ops, packets, service_ops};
pub use halves::halves;
pub use handshake::{acceptance, definitions, notice, proposal};
pub use learned::{catalog, values};
pub use pair::pair;
#[allow(unused_imports, reason = "for the test that writes the seeds")]
pub use replay::recorded;
pub use replay::replay;
pub use serial::serial;
pub use sessions::sessions;
pub use store::store;
pub use typed::typed;

use diset_proto::Deframer;

/// A target's name and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("frames", frames),
    ("packets", packets),
    ("service_ops", service_ops),
    ("client_ops", client_ops),
    ("halves", halves),
    ("pair", pair),
    ("catalog", catalog),
    ("values", values),
    ("typed", typed),
    ("proposal", proposal),
    ("acceptance", acceptance),
    ("definitions", definitions),
    ("notice", notice),
    ("serial", serial),
    ("sessions", sessions),
    ("store", store),
    ("replay", replay),
];

/// Operands are read from the front; at the end they are 0.
#[derive(Debug)]
struct Bytes<'d>(&'d [u8]);

impl<'d> Bytes<'d> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn byte(&mut self) -> u8 {
        self.next().unwrap_or_default()
    }

    fn number(&mut self) -> u64 {
        u64::from(self.byte()) << 8 | u64::from(self.byte())
    }

    fn take(&mut self, count: usize) -> &'d [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// Any split of the bytes gives the same frames. First byte: the limit; second: the pieces.
pub fn frames(data: &[u8]) {
    let mut bytes = Bytes(data);
    let max = 16 + u32::from(bytes.byte());
    let seed = bytes.byte();
    let stream = [&[0xd1, b'S', b'E', b'T', 1], bytes.0].concat();
    // Also what does not begin with the preamble.
    for stream in [stream.as_slice(), bytes.0] {
        let whole = cut(stream, max, |_| usize::MAX);
        let drawn = |at: usize| 1 + usize::from(seed.wrapping_mul(31).wrapping_add(at as u8) % 23);
        assert_eq!(whole, cut(stream, max, |_| 1));
        assert_eq!(whole, cut(stream, max, drawn));
    }
}

/// The frames of `stream` in pieces of the lengths that `size` gives, in printed form with their bytes.
fn cut(stream: &[u8], max: u32, size: impl Fn(usize) -> usize) -> Vec<String> {
    let mut deframer = Deframer::new([0u8; 16 + 255 + 4]);
    let (mut rest, mut seen, mut at) = (stream, Vec::new(), 0);
    while !rest.is_empty() {
        let (mut piece, after) = rest.split_at(size(at).min(rest.len()));
        (rest, at) = (after, at + 1);
        while let Some(frame) = deframer.next(&mut piece, max) {
            seen.push(format!("{frame:?}"));
        }
        assert!(piece.is_empty(), "everything is taken in");
    }
    seen.push(deframer.is_partial().to_string());
    seen
}
