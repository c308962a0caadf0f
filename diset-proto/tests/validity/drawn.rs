//! Structures, values of them, and damaged bytes, all drawn.

use diset_proto::{Attribute, Invalid, LearnedMessage, Shape, Structure, VariantShape};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::seeds::targets::value::compare;

/// A kind, a count and these parts, in canonical form (PROTOCOL S-3).
fn listed(kind: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let count = u8::try_from(parts.len()).unwrap();
    [&[kind, count, 0][..], &parts.concat()].concat()
}

/// As [`listed`], each part behind a name of its own.
fn named(kind: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let named = (b'a'..)
        .zip(parts)
        .map(|(name, part)| [&[1, 0, name][..], part].concat());
    listed(kind, &named.collect::<Vec<_>>())
}

fn message() -> impl Strategy<Value = LearnedMessage> {
    let leaf = (1u8..=17).prop_map(|kind| vec![kind]);
    let ty = leaf.prop_recursive(4, 24, 4, |inner| {
        let parts = || vec(inner.clone(), 0..4);
        let variant = prop_oneof![
            Just(vec![0]),
            inner.clone().prop_map(|inner| [vec![1], inner].concat()),
            parts().prop_map(|parts| listed(2, &parts)),
            parts().prop_map(|parts| named(3, &parts)),
        ];
        prop_oneof![
            inner.clone().prop_map(|inner| [vec![18], inner].concat()),
            inner.clone().prop_map(|inner| [vec![19], inner].concat()),
            (inner.clone(), inner.clone()).prop_map(|(key, value)| [vec![20], key, value].concat()),
            parts().prop_map(|parts| listed(21, &parts)),
            parts().prop_map(|parts| named(22, &parts)),
            vec(variant, 1..5).prop_map(|variants| named(23, &variants)),
        ]
    });
    ty.prop_filter_map("elements that may take no bytes", |ty| {
        LearnedMessage::decode(&[vec![3, 0, 1, 0, b'A'], ty].concat()).ok()
    })
}

/// Draws from these bytes, over and over.
struct Noise<'n>(core::iter::Cycle<core::slice::Iter<'n, u8>>);

impl Noise<'_> {
    fn byte(&mut self) -> u8 {
        *self.0.next().unwrap()
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        core::array::from_fn(|_| self.byte())
    }

    /// A number of at most so many bits, often a short one.
    fn number(&mut self, bits: u32, out: &mut Vec<u8>) {
        let shift = 128 - bits + u32::from(self.byte()) % bits;
        varint(u128::from_le_bytes(self.bytes()) >> shift, out);
    }

    fn text(&mut self) -> char {
        let drawn = u32::from_le_bytes(self.bytes()) >> (self.byte() % 25 + 7);
        char::from_u32(drawn).unwrap_or('\u{10ffff}')
    }

    /// A value of this structure, deeper down a shorter one.
    fn value(&mut self, structure: &Structure, depth: u8, out: &mut Vec<u8>) {
        let count = (self.byte() % 4) >> (depth / 2).min(7);
        match structure.shape() {
            Shape::Bool => out.push(self.byte() % 2),
            Shape::I8 | Shape::U8 => out.push(self.byte()),
            Shape::I16 | Shape::U16 => self.number(16, out),
            Shape::I32 | Shape::U32 => self.number(32, out),
            Shape::I64 | Shape::U64 => self.number(64, out),
            Shape::I128 | Shape::U128 => self.number(128, out),
            Shape::F32 => out.extend(self.bytes::<4>()),
            Shape::F64 => out.extend(self.bytes::<8>()),
            Shape::Char => counted(self.text().to_string().as_bytes(), out),
            Shape::String => {
                let text: String = (0..count).map(|_| self.text()).collect();
                counted(text.as_bytes(), out);
            }
            Shape::Bytes => counted(&self.bytes::<5>()[..count.into()], out),
            Shape::Unit => {}
            Shape::Option(inner) => {
                out.push(count.min(1));
                if count > 0 {
                    self.value(inner, depth + 1, out);
                }
            }
            Shape::Sequence(inner) => {
                out.push(count);
                (0..count).for_each(|_| self.value(inner, depth + 1, out));
            }
            Shape::Map { key, value } => {
                out.push(count);
                for part in core::iter::repeat_n([key, value], count.into()).flatten() {
                    self.value(part, depth + 1, out);
                }
            }
            Shape::Tuple(items) => items.iter().for_each(|item| self.value(item, depth + 1, out)),
            Shape::Structure(attributes) => self.attributes(attributes, depth, out),
            Shape::Enum(variants) => {
                let number = usize::from(self.byte()) % variants.len();
                out.push(u8::try_from(number).unwrap());
                match variants[number].shape() {
                    VariantShape::One(inner) => self.value(inner, depth + 1, out),
                    VariantShape::Tuple(items) => items.iter().for_each(|item| self.value(item, depth + 1, out)),
                    VariantShape::Structure(attributes) => self.attributes(attributes, depth, out),
                    _ => {}
                }
            }
            other => unreachable!("{other:?}"),
        }
    }

    fn attributes(&mut self, attributes: &[Attribute], depth: u8, out: &mut Vec<u8>) {
        let each = attributes.iter().map(Attribute::structure);
        each.for_each(|each| self.value(each, depth + 1, out));
    }
}

fn varint(mut value: u128, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn counted(bytes: &[u8], out: &mut Vec<u8>) {
    varint(bytes.len() as u128, out);
    out.extend(bytes);
}

/// Cuts, takes one out, puts one in, makes a number longer than needed, or changes one.
fn damage(bytes: &mut Vec<u8>, at: prop::sample::Index, byte: u8, how: u8) {
    let at = at.index(bytes.len() + 1);
    let Some(place) = bytes.get_mut(at) else {
        return bytes.push(byte);
    };
    match how {
        0 => bytes.truncate(at),
        1 => drop(bytes.remove(at)),
        2 => bytes.insert(at, byte),
        3 => {
            *place |= 0x80;
            bytes.insert(at + 1, 0);
        }
        4 => *place ^= 1 << (byte % 8),
        _ => *place = byte,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_readers_say_the_same(
        message in message(),
        noise in vec(any::<u8>(), 1..200),
        cut in any::<prop::sample::Index>(),
        damages in vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..6), 1..20),
    ) {
        let structure = message.structure();
        let mut payload = Vec::new();
        Noise(noise.iter().cycle()).value(structure, 0, &mut payload);
        let verdict = compare(structure, &payload);
        if verdict.is_ok() {
            let cut = cut.index(payload.len() + 1);
            if cut < payload.len() {
                prop_assert_eq!(compare(structure, &payload[..cut]), Err(Invalid::TooShort), "PROTOCOL M-2");
            }
            let longer = [&payload[..], &[0]].concat();
            prop_assert_eq!(compare(structure, &longer), Err(Invalid::LeftOver(1)), "PROTOCOL M-2");
        } else {
            prop_assert_eq!(verdict, Err(Invalid::TooMuchWork), "PROTOCOL M-2");
        }
        for (at, byte, how) in damages {
            // Each alone, then one upon the other.
            let mut one = payload.clone();
            damage(&mut one, at, byte, how);
            let _ = compare(structure, &one);
            if byte < 64 {
                payload = one;
            }
        }
        let _ = compare(structure, &noise);
    }
}
