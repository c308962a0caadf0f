//! Connect arguments: what a client tells a service about itself when it connects.

use super::tlv::{Cursor, Writer};
use crate::fmt::Quoted;
use crate::limits::MAX_ARGS;

/// The value of a connect argument.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Arg<'a> {
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

impl<'a> From<&'a str> for Arg<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl From<bool> for Arg<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Arg<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for Arg<'_> {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

/// The connect arguments of a proposal, checked: at most [`MAX_ARGS`] names with values,
/// each name once (PROTOCOL H-5).
#[derive(Clone, Copy, Default)]
pub struct Args<'f>(&'f [u8]);

impl<'f> Args<'f> {
    /// All arguments in the order the client gave them.
    pub fn iter(&self) -> impl Iterator<Item = (&'f str, Arg<'f>)> + use<'f> {
        let mut cursor = Cursor::new(self.0, 0);
        core::iter::from_fn(move || (!cursor.is_empty()).then(|| read(&mut cursor)).flatten())
    }

    /// The argument with this name.
    pub fn value(&self, name: &str) -> Option<Arg<'f>> {
        self.iter().find_map(|(given, value)| (given == name).then_some(value))
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks every argument, so that the others need no errors.
    pub(crate) fn parse(value: &mut Cursor<'f>) -> Self {
        let mut whole = *value;
        let args = Self(whole.rest());
        let mut count = 0;
        while !value.is_empty() {
            let name = read(value).map_or("", |(name, _)| name);
            let twice = args.iter().take(count).any(|(earlier, _)| earlier == name);
            if count == MAX_ARGS || name.is_empty() || twice {
                value.refuse();
            }
            count += 1;
        }
        args
    }
}

/// Names only: values may be private.
impl core::fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_set()
            .entries(self.iter().map(|(name, _)| Quoted(name)))
            .finish()
    }
}

fn read<'f>(cursor: &mut Cursor<'f>) -> Option<(&'f str, Arg<'f>)> {
    let name = cursor.text();
    let value = match cursor.byte() {
        0 => match cursor.byte() {
            0 => Arg::Bool(false),
            1 => Arg::Bool(true),
            _ => return None,
        },
        1 => Arg::Int(i64::from_le_bytes(cursor.array())),
        2 => Arg::Float(f64::from_le_bytes(cursor.array())),
        3 => Arg::Text(cursor.text()),
        4 => Arg::Bytes(cursor.counted()),
        _ => return None,
    };
    cursor.check().is_ok().then_some((name, value))
}

/// Whether a service would take the pairs: what [`Args::parse`] checks, but for what their types say already.
pub(crate) fn may_be_sent(args: &[(&str, Arg<'_>)]) -> bool {
    let mut rest = args;
    while let Some(((name, _), behind)) = rest.split_first() {
        if name.is_empty() || behind.iter().any(|(other, _)| other == name) {
            return false;
        }
        rest = behind;
    }
    args.len() <= MAX_ARGS
}

/// Writes the pairs one after the other.
pub(crate) fn write(args: &[(&str, Arg<'_>)], out: &mut Writer<'_>) {
    for (name, value) in args {
        out.counted(name.as_bytes());
        match value {
            Arg::Bool(value) => out.raw(&[0, u8::from(*value)]),
            Arg::Int(value) => {
                out.byte(1);
                out.raw(&value.to_le_bytes());
            }
            Arg::Float(value) => {
                out.byte(2);
                out.raw(&value.to_le_bytes());
            }
            Arg::Text(value) => {
                out.byte(3);
                out.counted(value.as_bytes());
            }
            Arg::Bytes(value) => {
                out.byte(4);
                out.counted(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tlv::BadPacket;

    fn round_trip(args: &[(&str, Arg<'_>)]) -> Result<usize, BadPacket> {
        let mut bytes = [0; 2048];
        let mut writer = Writer::new(&mut bytes);
        write(args, &mut writer);
        let len = writer.len();
        let mut value = Cursor::new(&bytes[..len], 7);
        let parsed = Args::parse(&mut value);
        assert_eq!(may_be_sent(args), value.end().is_ok(), "PROTOCOL H-5");
        value.end()?;
        assert!(parsed.iter().eq(args.iter().copied()));
        Ok(len)
    }

    #[test]
    fn arguments_of_every_type_come_back() {
        let args = [
            ("site", Arg::Text("CERN")),
            ("slots", Arg::Int(-12)),
            ("load", Arg::Float(0.5)),
            ("batch", Arg::Bool(true)),
            ("tag", Arg::Bytes(&[1, 2, 3])),
        ];
        round_trip(&args).unwrap();
        round_trip(&[]).unwrap();
    }

    #[test]
    fn too_many_or_doubled_names_are_refused() {
        let names: Vec<String> = (0..=MAX_ARGS).map(|n| n.to_string()).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), Arg::Bool(true))).collect();
        assert_eq!(round_trip(&many), Err(BadPacket::Field(7)), "PROTOCOL H-5");
        round_trip(&many[..MAX_ARGS]).unwrap();
        assert_eq!(
            round_trip(&[("a", 1.into()), ("a", 2.into())]),
            Err(BadPacket::Field(7))
        );
        assert_eq!(round_trip(&[("", 1.into())]), Err(BadPacket::Field(7)));
    }

    #[test]
    fn debug_shows_names_and_no_values() {
        let mut bytes = [0; 64];
        let mut writer = Writer::new(&mut bytes);
        write(&[("token", Arg::Text("hush"))], &mut writer);
        let len = writer.len();
        let text = format!("{:?}", Args::parse(&mut Cursor::new(&bytes[..len], 7)));
        assert_eq!(text, r#"{"token"}"#);
    }
}
