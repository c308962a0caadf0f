//! Messages of every kind that a definition can have.

use core::num::Wrapping;
use core::ops::Range;
use core::time::Duration;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use diset_proto::Schema;
use diset_proto::postcard_schema::schema::{DataModelType, NamedType};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! messages {
    ($($name:ident = $ty:ty;)*) => {$(
        #[derive(Serialize, Deserialize, Schema)]
        pub(super) struct $name {
            value: $ty,
        }
    )*};
}

messages! {
    Flag = bool;
    U8 = u8;
    I8 = i8;
    U16 = u16;
    I16 = i16;
    U32 = u32;
    I32 = i32;
    U64 = u64;
    I64 = i64;
    U128 = u128;
    I128 = i128;
    F32 = f32;
    F64 = f64;
    Letter = char;
    Text = String;
    Octets = Vec<u8>;
    Maybe = Option<Option<Option<u16>>>;
    List = Vec<u32>;
    Lists = Vec<Vec<Vec<i16>>>;
    Array = [u16; 5];
    Matrix = [[i32; 3]; 4];
    Tuple = (u8, i64, bool, char, (), (u16, String));
    Chosen = Vec<Option<Choice>>;
    Deep = Level<Level<Level<Level<Level<Level<Level<Level<Level<Level<Level<Level<Level<Level<u16>>>>>>>>>>>>>>;
    DeepLists = Vec<Vec<Vec<Vec<Vec<Vec<Vec<Vec<Vec<Vec<Vec<Vec<Option<Vec<char>>>>>>>>>>>>>>;
    Wrapped = (Wrapping<i16>, Box<u64>);
    Span = Range<i64>;
    ShortText = heapless::String<8>;
    FewNumbers = heapless::Vec<u16, 3>;
    FewTexts = heapless::Vec<heapless::String<2>, 4>;
    Share = Vec<Percent>;
    Table = BTreeMap<u16, i32>;
    Names = BTreeMap<String, Vec<i8>>;
    Numbers = BTreeSet<u32>;
    Tables = BTreeMap<bool, BTreeMap<Option<char>, u64>>;
    Lasting = Duration;
    Lastings = Vec<(u16, Duration)>;
}

macro_rules! lending {
    ($($name:ident<$lt:lifetime> = $ty:ty;)*) => {$(
        #[derive(Serialize, Deserialize, Schema)]
        pub(super) struct $name<$lt> {
            #[serde(borrow)]
            value: $ty,
        }
    )*};
}

lending! {
    LentText<'a> = &'a str;
    LentOctets<'a> = &'a [u8];
    MaybeText<'a> = Option<&'a str>;
    Outcome<'a> = Result<u32, &'a str>;
    Shared<'a> = Cow<'a, str>;
}

#[derive(Serialize, Deserialize, Schema)]
pub(super) struct Nothing;

#[derive(Serialize, Deserialize, Schema)]
pub(super) struct Empty {}

#[derive(Serialize, Deserialize, Schema)]
pub(super) struct Newtype(u64);

#[derive(Serialize, Deserialize, Schema)]
pub(super) struct Pair(u8, String);

/// Variants of all kinds.
#[derive(Serialize, Deserialize, Schema)]
pub(super) enum Choice {
    None,
    One(u32),
    Two(i8, String),
    Named { id: u64, list: Vec<u16> },
    Nested(Option<Box<[u8; 4]>>),
    Empty {},
}

#[derive(Serialize, Deserialize, Schema)]
pub(super) struct Level<T> {
    inner: T,
}

#[derive(Serialize, Deserialize, Schema)]
pub(super) struct Outer<'a> {
    id: u64,
    #[serde(borrow)]
    inner: Inner<'a>,
    #[serde(borrow)]
    more: Vec<Inner<'a>>,
    last: Level<Newtype>,
}

#[derive(Serialize, Deserialize, Schema)]
pub(super) struct Inner<'a> {
    name: &'a str,
    bytes: Option<&'a [u8]>,
    choice: Choice,
}

#[derive(Serialize, Deserialize, Schema)]
pub(super) struct Many<'a> {
    a: bool,
    b: u8,
    c: i8,
    d: u16,
    e: i16,
    f: u32,
    g: i32,
    h: u64,
    i: i64,
    j: u128,
    k: i128,
    l: f32,
    m: f64,
    n: char,
    o: &'a str,
    p: &'a [u8],
    q: Option<u8>,
    r: Vec<u16>,
    s: [u8; 3],
    t: (),
    u: (u8, bool),
    v: Choice,
    w: Nothing,
    x: Empty,
    y: Newtype,
    z: Level<String>,
}

/// Bytes for serde, not a sequence of numbers.
#[derive(Serialize, Deserialize, Schema)]
pub(super) struct Blob<'a> {
    #[serde(borrow)]
    value: Contents<'a>,
    after: u16,
}

pub(super) struct Contents<'a>(&'a [u8]);

impl Schema for Contents<'_> {
    const SCHEMA: &'static NamedType = &NamedType {
        name: "Contents",
        ty: &DataModelType::ByteArray,
    };
}

impl Serialize for Contents<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Contents<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Deserialize::deserialize(deserializer).map(Self)
    }
}

/// With a rule of its own.
#[derive(Clone, Copy, Serialize, Deserialize, Schema)]
#[serde(try_from = "u8", into = "u8")]
pub(super) struct Percent(u8);

impl TryFrom<u8> for Percent {
    type Error = &'static str;

    fn try_from(value: u8) -> Result<Self, Self::Error> {
        if value <= 100 {
            Ok(Self(value))
        } else {
            Err("above 100")
        }
    }
}

impl From<Percent> for u8 {
    fn from(value: Percent) -> Self {
        value.0
    }
}
