//! The fields of control frames: tag, length, value. The top bit of a tag says that a
//! receiver must understand the field (PROTOCOL H-2). Tags ascend, so a field stands once.

use super::bytes::{copy, shift};
use super::varint::{self, Parsed};

/// Tag bit: must be understood.
pub(crate) const CRITICAL: u8 = 0x80;

/// What is wrong with the fields of a control frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadPacket {
    /// A field is cut, stands twice, out of order, is missing, or its value breaks a rule.
    /// Holds the tag without its critical bit.
    Field(u8),
    /// A critical field is not known.
    Critical(u8),
}

/// Goes through the fields of a control frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'f> {
    rest: &'f [u8],
    last: u8,
}

impl<'f> Fields<'f> {
    pub(crate) const fn new(body: &'f [u8]) -> Self {
        Self { rest: body, last: 0 }
    }

    /// The next field: tag with its critical bit, and value.
    pub(crate) fn next(&mut self) -> Result<Option<(u8, Cursor<'f>)>, BadPacket> {
        let Some((&tag, after)) = self.rest.split_first() else {
            return Ok(None);
        };
        let number = tag & !CRITICAL;
        if number <= self.last {
            return Err(BadPacket::Field(number));
        }
        let mut cursor = Cursor {
            rest: after,
            tag: number,
        };
        let value = cursor.counted()?;
        self.rest = cursor.rest;
        self.last = number;
        Ok(Some((
            tag,
            Cursor {
                rest: value,
                tag: number,
            },
        )))
    }
}

/// What to do with a field that is not known here: skip it, or stop.
pub(crate) const fn unknown(tag: u8) -> Result<(), BadPacket> {
    if tag & CRITICAL == 0 {
        Ok(())
    } else {
        Err(BadPacket::Critical(tag & !CRITICAL))
    }
}

/// Reads the value of one field from front to end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'f> {
    rest: &'f [u8],
    tag: u8,
}

impl<'f> Cursor<'f> {
    /// Over bytes that are no field; `tag` is what an error will name.
    pub(crate) const fn new(bytes: &'f [u8], tag: u8) -> Self {
        Self { rest: bytes, tag }
    }

    pub(crate) const fn bad(&self) -> BadPacket {
        BadPacket::Field(self.tag)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The value must be used up.
    pub(crate) const fn end(&self) -> Result<(), BadPacket> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.bad()) }
    }

    /// All that is left.
    pub(crate) const fn rest(self) -> &'f [u8] {
        self.rest
    }

    pub(crate) fn varint(&mut self) -> Result<u64, BadPacket> {
        match varint::read(self.rest, varint::MAX_BYTES) {
            Parsed::Value(value, size) => {
                self.rest = self.rest.get(size..).unwrap_or_default();
                Ok(value)
            }
            Parsed::Partial | Parsed::Malformed => Err(self.bad()),
        }
    }

    pub(crate) fn u32(&mut self) -> Result<u32, BadPacket> {
        let bad = self.bad();
        u32::try_from(self.varint()?).map_err(|_| bad)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, BadPacket> {
        let (&byte, rest) = self.rest.split_first().ok_or(BadPacket::Field(self.tag))?;
        self.rest = rest;
        Ok(byte)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], BadPacket> {
        let (array, rest) = self.rest.split_first_chunk::<N>().ok_or(BadPacket::Field(self.tag))?;
        self.rest = rest;
        Ok(*array)
    }

    /// A length and as many bytes.
    pub(crate) fn counted(&mut self) -> Result<&'f [u8], BadPacket> {
        let bad = self.bad();
        let length = usize::try_from(self.varint()?).map_err(|_| bad)?;
        let (value, rest) = self.rest.split_at_checked(length).ok_or(bad)?;
        self.rest = rest;
        Ok(value)
    }

    /// A length and as many bytes of UTF-8.
    pub(crate) fn text(&mut self) -> Result<&'f str, BadPacket> {
        let bad = self.bad();
        core::str::from_utf8(self.counted()?).map_err(|_| bad)
    }
}

/// The output has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// Writes control frames front to back into a slice, or only counts how long they would be.
#[derive(Debug)]
pub(crate) struct Writer<'b> {
    /// `None`: it counts.
    bytes: Option<&'b mut [u8]>,
    len: usize,
}

impl<'b> Writer<'b> {
    pub(crate) const fn new(bytes: &'b mut [u8]) -> Self {
        Self {
            bytes: Some(bytes),
            len: 0,
        }
    }

    /// One that writes nothing, and always has room.
    pub(crate) const fn counting() -> Self {
        Self { bytes: None, len: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn byte(&mut self, byte: u8) -> Result<(), NoRoom> {
        self.raw(&[byte])
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        let end = self.len + bytes.len();
        if let Some(place) = &mut self.bytes {
            copy(bytes, place.get_mut(self.len..end).ok_or(NoRoom)?);
        }
        self.len = end;
        Ok(())
    }

    pub(crate) fn varint(&mut self, value: u64) -> Result<(), NoRoom> {
        self.len += match &mut self.bytes {
            Some(bytes) => {
                let place = bytes.get_mut(self.len..).ok_or(NoRoom)?;
                varint::write(value, place).ok_or(NoRoom)?
            }
            None => varint::len(value),
        };
        Ok(())
    }

    pub(crate) fn counted(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        self.varint(bytes.len() as u64)?;
        self.raw(bytes)
    }

    /// What `write` does, or nothing when it does not fit.
    pub(crate) fn undo_unless(&mut self, write: impl FnOnce(&mut Self) -> Result<(), NoRoom>) -> Result<(), NoRoom> {
        let before = self.len;
        let written = write(self);
        if written.is_err() {
            self.len = before;
        }
        written
    }

    /// As many of the bytes as there is room for; how many.
    #[cfg(feature = "alloc")]
    pub(crate) fn fill(&mut self, bytes: &[u8]) -> usize {
        let place = self.bytes.as_mut().and_then(|bytes| bytes.get_mut(self.len..));
        let place = place.unwrap_or_default();
        let mut taken = 0;
        for (slot, byte) in place.iter_mut().zip(bytes) {
            *slot = *byte;
            taken += 1;
        }
        self.len += taken;
        taken
    }

    /// A field of bytes that exist already.
    pub(crate) fn field(&mut self, tag: u8, value: &[u8]) -> Result<(), NoRoom> {
        self.byte(tag)?;
        self.counted(value)
    }

    /// A field that `write` fills. Its length is known afterwards and put before it.
    pub(crate) fn field_with(
        &mut self,
        tag: u8,
        write: impl FnOnce(&mut Writer<'_>) -> Result<(), NoRoom>,
    ) -> Result<(), NoRoom> {
        self.byte(tag)?;
        let start = self.len;
        let mut inner = match &mut self.bytes {
            Some(bytes) => Writer::new(bytes.get_mut(start..).ok_or(NoRoom)?),
            None => Writer::counting(),
        };
        write(&mut inner)?;
        let size = inner.len;
        let prefix = varint::len(size as u64);
        if let Some(bytes) = &mut self.bytes {
            let place = bytes.get_mut(start..start + prefix + size).ok_or(NoRoom)?;
            shift(place, 0..size, prefix);
            varint::write(size as u64, place).ok_or(NoRoom)?;
        }
        self.len = start + prefix + size;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_ascend_and_stand_once() {
        for (body, bad) in [(&[0x02, 0, 0x01, 0][..], 1), (&[0x82, 0, 0x02, 0], 2), (&[0x00, 0], 0)] {
            let mut fields = Fields::new(body);
            let error = loop {
                match fields.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("accepted {body:x?}"),
                    Err(error) => break error,
                }
            };
            assert_eq!(error, BadPacket::Field(bad), "PROTOCOL H-2");
        }
    }

    #[test]
    fn a_cut_field_is_named() {
        assert_eq!(
            Fields::new(&[0x05, 3, 1, 2]).next().map(|_| ()),
            Err(BadPacket::Field(5))
        );
        assert_eq!(Fields::new(&[0x05]).next().map(|_| ()), Err(BadPacket::Field(5)));
    }

    #[test]
    fn a_field_written_in_place_reads_back() {
        let mut bytes = [0; 256];
        let mut writer = Writer::new(&mut bytes);
        writer.field_with(0x81, |w| w.raw(&[7; 200])).unwrap();
        let len = writer.len();
        assert_eq!(len, 1 + 2 + 200);
        let (tag, value) = Fields::new(&bytes[..len]).next().unwrap().unwrap();
        assert_eq!((tag, value.rest()), (0x81, &[7; 200][..]));
    }

    #[test]
    fn counting_gives_the_length_that_writing_takes() {
        fn fields(out: &mut Writer<'_>, size: usize) -> Result<(), NoRoom> {
            out.field(0x81, &[1; 130][..size])?;
            out.field_with(0x02, |out| {
                out.varint(size as u64)?;
                out.counted(&[2; 130][..size])
            })
        }
        for size in [0, 1, 126, 127, 128, 130] {
            let (mut bytes, mut counting) = ([0; 300], Writer::counting());
            let mut writer = Writer::new(&mut bytes);
            fields(&mut writer, size).unwrap();
            fields(&mut counting, size).unwrap();
            assert_eq!(counting.len(), writer.len());
        }
    }
}
