//! One place of a message that is being encoded: what it takes from a deserializer.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Display};
use core::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::encode::{Encoder, Form, form};
use super::expect::{Expected, Names, Quoted, Step};
use super::structure::{Attribute, Piece, Plain, Shape, Structure, Variant, VariantShape};

/// A place to be filled in with one value.
pub(super) struct Place<'e, 's> {
    pub(super) piece: Piece<'s>,
    pub(super) encoder: &'e mut Encoder<'s>,
}

impl<'de> DeserializeSeed<'de> for Place<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        match self.piece {
            // Hints only where they make a difference: errors are ours without.
            Piece::One(Shape::I128) => self.wide(|place| value.deserialize_i128(place)),
            Piece::One(Shape::U128) => self.wide(|place| value.deserialize_u128(place)),
            Piece::One(Shape::Option(_)) => value.deserialize_option(self),
            _ => value.deserialize_any(self),
        }
    }
}

impl<'s> Place<'_, 's> {
    fn mismatch<E: Error>(self, got: impl Display) -> E {
        let expected = Expected(self.piece);
        self.encoder.fail(format_args!("expected {expected}, got {got}"))
    }

    /// A number that the format is asked for: what it refuses does not come to us.
    fn wide<E: Error>(self, read: impl FnOnce(Place<'_, 's>) -> Result<(), E>) -> Result<(), E> {
        read(self.encoder.at(self.piece)).map_err(|error| {
            let expected = Expected(self.piece);
            match self.encoder.failure {
                Some(_) => error,
                None => self.encoder.fail(format_args!("expected {expected}: {error}")),
            }
        })
    }

    fn put<E: Error>(self, bytes: &[u8]) -> Result<(), E> {
        self.encoder.put(bytes)
    }

    fn number<E: Error>(self, value: u128) -> Result<(), E> {
        self.encoder.put_number(value)
    }

    /// A whole number, as signed and as unsigned as far as it fits.
    fn whole<E: Error>(self, signed: Option<i128>, unsigned: Option<u128>) -> Result<(), E> {
        let form = match self.piece {
            Piece::One(Shape::F32 | Shape::F64) => {
                let value = signed.map(|value| value as f64);
                let value = value.or_else(|| unsigned.map(|value| value as f64));
                return self.float(value.unwrap_or_default());
            }
            Piece::One(shape) => form(shape, signed, unsigned),
            _ => None,
        };
        match (form, signed, unsigned) {
            (Some(Form::Byte(byte)), ..) => self.put(&[byte]),
            (Some(Form::Number(value)), ..) => self.number(value),
            (None, Some(got), _) => Err(self.mismatch(format_args!("the number {got}"))),
            (None, None, got) => Err(self.mismatch(format_args!("the number {}", got.unwrap_or_default()))),
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "rounded, and not to infinity")]
    fn float<E: Error>(self, value: f64) -> Result<(), E> {
        let short = value as f32;
        match self.piece {
            Piece::One(Shape::F64) => self.put(&value.to_le_bytes()),
            Piece::One(Shape::F32) if short.is_finite() || !value.is_finite() => self.put(&short.to_le_bytes()),
            _ => Err(self.mismatch(format_args!("the number {value:?}"))),
        }
    }

    fn hex<E: Error>(self, text: &str) -> Result<(), E> {
        let digit = |byte: &u8| {
            char::from(*byte)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        let (pairs, odd) = text.as_bytes().as_chunks::<2>();
        let bytes: Option<Vec<u8>> = pairs
            .iter()
            .map(|[high, low]| Some(digit(high)? << 4 | digit(low)?))
            .collect();
        match bytes {
            Some(bytes) if odd.is_empty() => {
                self.encoder.put_number(bytes.len() as u128)?;
                self.put(&bytes)
            }
            _ => Err(self.mismatch(format_args!("the text {}", Quoted(text)))),
        }
    }

    /// The number of the variant with this name goes out, the variant comes back.
    fn variant<E: Error>(&mut self, variants: &'s [Variant], name: &str) -> Result<&'s Variant, E> {
        let mut numbered = (0u128..).zip(variants);
        match numbered.find(|(_, variant)| variant.name() == name) {
            Some((number, variant)) => {
                self.encoder.put_number(number)?;
                Ok(variant)
            }
            None => {
                let name = Quoted(name);
                let names = Names(variants.iter().map(Variant::name));
                Err(self
                    .encoder
                    .fail(format_args!("there is no variant {name}; the variants are {names}")))
            }
        }
    }

    /// Exactly so many values; also a pair.
    fn tuple<'de, A: SeqAccess<'de>>(
        self,
        items: impl ExactSizeIterator<Item = &'s Structure>,
        mut array: A,
    ) -> Result<(), A::Error> {
        for (at, item) in items.enumerate() {
            self.encoder.path.push(Step::Index(at));
            let found = array.next_element_seed(self.encoder.at(item.piece()))?;
            self.encoder.path.pop();
            if found.is_none() {
                return Err(self.mismatch(format_args!("only {at}")));
            }
        }
        match array.next_element::<IgnoredAny>()? {
            None => Ok(()),
            Some(_) => Err(self.mismatch("more")),
        }
    }

    /// Any number of values; also of pairs.
    fn sequence<'de, A: SeqAccess<'de>>(self, piece: Piece<'s>, mut array: A) -> Result<(), A::Error> {
        let (start, mut count) = (self.encoder.out.len(), 0);
        loop {
            self.encoder.path.push(Step::Index(count));
            let found = array.next_element_seed(self.encoder.at(piece))?;
            self.encoder.path.pop();
            if found.is_none() {
                return self.encoder.count(start, count);
            }
            count += 1;
        }
    }

    /// Any number of values with texts as keys. One may stand twice (PROTOCOL M-2).
    fn texts<'de, A: MapAccess<'de>>(self, piece: Piece<'s>, mut object: A) -> Result<(), A::Error> {
        let (start, mut count) = (self.encoder.out.len(), 0);
        while let Some(key) = object.next_key::<String>()? {
            self.encoder.put_text(&key)?;
            self.encoder.path.push(Step::Key(key.into()));
            object.next_value_seed(self.encoder.at(piece))?;
            self.encoder.path.pop();
            count += 1;
        }
        self.encoder.count(start, count)
    }

    /// Attributes in any order; written in that of the definition.
    fn record<'de, A: MapAccess<'de>>(self, attributes: &'s [Attribute], mut object: A) -> Result<(), A::Error> {
        let start = self.encoder.out.len();
        let mut found: Vec<(&Attribute, Option<Range<usize>>)> = attributes.iter().map(|each| (each, None)).collect();
        while let Some(key) = object.next_key::<String>()? {
            let Some((attribute, range)) = found.iter_mut().find(|(each, _)| each.name() == key) else {
                let expected = Expected(self.piece);
                let name = Quoted(&key);
                return Err(self
                    .encoder
                    .fail(format_args!("expected {expected}, got the attribute {name}")));
            };
            if range.is_some() {
                let name = Plain(&key);
                return Err(self.encoder.fail(format_args!("the attribute `{name}` stands twice")));
            }
            let from = self.encoder.out.len();
            self.encoder.path.push(Step::Name(attribute.name()));
            object.next_value_seed(self.encoder.at(attribute.structure().piece()))?;
            self.encoder.path.pop();
            *range = Some(from..self.encoder.out.len());
        }
        for (attribute, range) in &mut found {
            if range.is_some() {
                continue;
            }
            if !matches!(attribute.structure().shape(), Shape::Option(_)) {
                let name = Plain(attribute.name());
                return Err(self.encoder.fail(format_args!("the attribute `{name}` is missing")));
            }
            let from = self.encoder.out.len();
            self.encoder.put(&[0])?;
            *range = Some(from..from + 1);
        }
        self.encoder
            .sort(start, found.into_iter().filter_map(|(_, range)| range));
        Ok(())
    }

    /// One entry: a variant and its value.
    fn choice<'de, A: MapAccess<'de>>(mut self, variants: &'s [Variant], mut object: A) -> Result<(), A::Error> {
        let Some(name) = object.next_key::<String>()? else {
            return Err(self.mismatch("an object without entries"));
        };
        let variant = self.variant(variants, &name)?;
        let Some(piece) = variant.shape().piece() else {
            let name = Plain(variant.name());
            return Err(self
                .encoder
                .fail(format_args!("the variant `{name}` is given as a text, without a value")));
        };
        self.single(variant.name(), piece, object)
    }

    /// The value of an entry whose key was read, and no other entry.
    fn single<'de, A: MapAccess<'de>>(self, name: &'s str, piece: Piece<'s>, mut object: A) -> Result<(), A::Error> {
        self.encoder.path.push(Step::Name(name));
        object.next_value_seed(self.encoder.at(piece))?;
        self.encoder.path.pop();
        match object.next_key::<IgnoredAny>()? {
            None => Ok(()),
            Some(_) => Err(self.mismatch("an object of more than one entry")),
        }
    }
}

impl<'de> Visitor<'de> for Place<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Expected(self.piece).fmt(f)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.piece {
            Piece::One(Shape::Bool) => self.put(&[value.into()]),
            _ => Err(self.mismatch(value)),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.visit_i128(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.visit_u128(value.into())
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<(), E> {
        self.whole(Some(value), u128::try_from(value).ok())
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<(), E> {
        self.whole(i128::try_from(value).ok(), Some(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.float(value)
    }

    fn visit_str<E: Error>(mut self, value: &str) -> Result<(), E> {
        let Piece::One(shape) = self.piece else {
            return Err(self.mismatch(format_args!("the text {}", Quoted(value))));
        };
        match (shape, value) {
            (Shape::String, text) => self.encoder.put_text(text),
            (Shape::Char, text) if text.chars().nth(1).is_none() && !text.is_empty() => self.encoder.put_text(text),
            (Shape::Bytes, text) => self.hex(text),
            (Shape::F32 | Shape::F64, "NaN") => self.float(f64::NAN),
            (Shape::F32 | Shape::F64, "inf") => self.float(f64::INFINITY),
            (Shape::F32 | Shape::F64, "-inf") => self.float(f64::NEG_INFINITY),
            (Shape::Enum(variants), name) => {
                let variant = self.variant(variants, name)?;
                match variant.shape() {
                    VariantShape::Unit => Ok(()),
                    _ => {
                        let name = Plain(name);
                        Err(self.encoder.fail(format_args!(
                            "the variant `{name}` needs a value, as an object {{\"{name}\": …}}"
                        )))
                    }
                }
            }
            (_, text) => Err(self.mismatch(format_args!("the text {}", Quoted(text)))),
        }
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.visit_unit()
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        match self.piece {
            Piece::One(Shape::Unit) => Ok(()),
            Piece::One(Shape::Option(_)) => self.put(&[0]),
            _ => Err(self.mismatch("null")),
        }
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        match self.piece {
            // Comes back as a map.
            Piece::One(Shape::Option(inner)) if inner.is_nullable() => value.deserialize_any(self),
            Piece::One(Shape::Option(inner)) => {
                self.encoder.put(&[1])?;
                self.encoder.at(inner.piece()).deserialize(value)
            }
            _ => Err(self.mismatch("an option")),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<(), A::Error> {
        match self.piece {
            Piece::Tuple(items) => self.tuple(items.iter(), array),
            Piece::Pair(key, value) => self.tuple([key, value].into_iter(), array),
            Piece::One(Shape::Sequence(inner)) => self.sequence(inner.piece(), array),
            Piece::One(Shape::Map { key, value }) if !matches!(key.shape(), Shape::String) => {
                self.sequence(Piece::Pair(key, value), array)
            }
            _ => Err(self.mismatch("an array")),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        match self.piece {
            Piece::Record(attributes) => self.record(attributes, object),
            Piece::One(Shape::Enum(variants)) => self.choice(variants, object),
            Piece::One(Shape::Map { key, value }) if matches!(key.shape(), Shape::String) => {
                self.texts(value.piece(), object)
            }
            Piece::One(Shape::Option(inner)) if inner.is_nullable() => match object.next_key::<String>()?.as_deref() {
                Some("Some") => {
                    self.encoder.put(&[1])?;
                    self.single("Some", inner.piece(), object)
                }
                _ => Err(self.mismatch("another object")),
            },
            _ => Err(self.mismatch("an object")),
        }
    }
}
