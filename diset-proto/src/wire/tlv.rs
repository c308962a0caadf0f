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

/// Reads the fields of a control frame, each by the tag that its writer gives it, in the order of their numbers. Those
/// that nobody asks for are not known, and skipped.
///
/// The first thing that is wrong shows at the [`end`](Self::end); until then what is wrong reads as nothing. So the same
/// code reads all fields, whatever is in them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'f> {
    rest: &'f [u8],
    last: u8,
    /// Of the field that was asked for last.
    value: Cursor<'f>,
    bad: Option<BadPacket>,
}

impl<'f> Fields<'f> {
    pub(crate) const fn new(body: &'f [u8]) -> Self {
        Self {
            rest: body,
            last: 0,
            value: Cursor::new(&[], 0),
            bad: None,
        }
    }

    /// The value of the field with this tag, if it is there, with its critical bit or without: to be read from front to
    /// end before the next is asked for.
    pub(crate) fn may(&mut self, tag: u8) -> Option<&mut Cursor<'f>> {
        self.find(tag & !CRITICAL).then_some(&mut self.value)
    }

    /// As [`may`](Self::may); without it the packet is none.
    pub(crate) fn must(&mut self, tag: u8) -> &mut Cursor<'f> {
        let number = tag & !CRITICAL;
        if !self.find(number) {
            self.value = Cursor::new(&[], number);
            self.value.refuse();
        }
        &mut self.value
    }

    /// All that are known were read, and nothing was wrong.
    pub(crate) fn end(&mut self) -> Result<(), BadPacket> {
        self.find(CRITICAL);
        self.bad.map_or(Ok(()), Err)
    }

    /// Whether there is a field with this number, whose value is the next to be read.
    // Called and not copied to each field.
    #[inline(never)]
    fn find(&mut self, wanted: u8) -> bool {
        let found = self.value.end().and_then(|()| self.try_find(wanted));
        self.value = Cursor::new(&[], wanted);
        match found {
            Ok(Some(value)) => {
                self.value = value;
                return true;
            }
            Ok(None) => {}
            Err(bad) => {
                self.rest = &[];
                self.bad = self.bad.or(Some(bad));
            }
        }
        false
    }

    /// The value of the field with this number. Those before it are not known.
    fn try_find(&mut self, wanted: u8) -> Result<Option<Cursor<'f>>, BadPacket> {
        while let Some((&tag, after)) = self.rest.split_first() {
            let number = tag & !CRITICAL;
            if number <= self.last {
                return Err(BadPacket::Field(number));
            }
            if number > wanted {
                break;
            }
            let mut cursor = Cursor::new(after, number);
            let value = cursor.counted();
            cursor.check()?;
            (self.rest, self.last) = (cursor.rest, number);
            if number == wanted {
                return Ok(Some(Cursor::new(value, number)));
            }
            if tag & CRITICAL != 0 {
                return Err(BadPacket::Critical(number));
            }
        }
        Ok(None)
    }
}

/// Reads the value of one field from front to end. What is not there reads as nothing, and shows at the
/// [`end`](Self::end).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'f> {
    rest: &'f [u8],
    tag: u8,
    failed: bool,
}

impl<'f> Cursor<'f> {
    /// Over bytes that are no field; `tag` is what an error will name.
    pub(crate) const fn new(bytes: &'f [u8], tag: u8) -> Self {
        Self {
            rest: bytes,
            tag,
            failed: false,
        }
    }

    pub(crate) const fn bad(&self) -> BadPacket {
        BadPacket::Field(self.tag)
    }

    /// Nothing is left, also after something was not there.
    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that was read was there.
    pub(crate) const fn check(&self) -> Result<(), BadPacket> {
        if self.failed { Err(self.bad()) } else { Ok(()) }
    }

    /// All that was read was there, and the value is used up.
    pub(crate) const fn end(&self) -> Result<(), BadPacket> {
        if self.failed || !self.rest.is_empty() {
            Err(self.bad())
        } else {
            Ok(())
        }
    }

    /// All that is left, to be read later as it is now.
    pub(crate) fn checked<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> Self {
        let whole = *self;
        read(self);
        whole
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'f [u8] {
        core::mem::take(&mut self.rest)
    }

    /// What was read breaks a rule.
    pub(crate) const fn refuse(&mut self) {
        self.failed = true;
        self.rest = &[];
    }

    fn fail<T: Default>(&mut self) -> T {
        self.refuse();
        T::default()
    }

    /// `None` does not fit what it is for.
    pub(crate) fn wanted<T: Default>(&mut self, value: Option<T>) -> T {
        value.unwrap_or_else(|| self.fail())
    }

    pub(crate) fn varint(&mut self) -> u64 {
        match varint::read(self.rest, varint::MAX_BYTES) {
            Parsed::Value(value, size) => {
                self.rest = self.rest.get(size..).unwrap_or_default();
                value
            }
            Parsed::Partial | Parsed::Malformed => self.fail(),
        }
    }

    pub(crate) fn u32(&mut self) -> u32 {
        let value = u32::try_from(self.varint());
        self.wanted(value.ok())
    }

    pub(crate) fn u16(&mut self) -> u16 {
        let value = u16::try_from(self.varint());
        self.wanted(value.ok())
    }

    fn take(&mut self, count: usize) -> &'f [u8] {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                taken
            }
            None => self.fail(),
        }
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        <[u8; N]>::try_from(self.take(N)).unwrap_or([0; N])
    }

    /// A length and as many bytes.
    pub(crate) fn counted(&mut self) -> &'f [u8] {
        let length = usize::try_from(self.varint());
        self.take(length.unwrap_or(usize::MAX))
    }

    /// A length and as many bytes of UTF-8.
    pub(crate) fn text(&mut self) -> &'f str {
        let text = core::str::from_utf8(self.counted());
        self.wanted(text.ok())
    }

    /// All that is left, as UTF-8.
    pub(crate) fn text_rest(&mut self) -> &'f str {
        let text = core::str::from_utf8(self.rest());
        self.wanted(text.ok())
    }
}

/// Writes control frames front to back into a slice, and counts on when it is full: whether all of it is there shows at
/// the end.
#[derive(Debug)]
pub(crate) struct Writer<'b> {
    bytes: &'b mut [u8],
    len: usize,
}

impl<'b> Writer<'b> {
    pub(crate) const fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes, len: 0 }
    }

    /// One that only counts.
    pub(crate) const fn counting() -> Self {
        Self::new(&mut [])
    }

    /// How many bytes it takes, whether they fit or not.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Whether all of it is there.
    pub(crate) const fn fits(&self) -> bool {
        self.len <= self.bytes.len()
    }

    /// Back to where it was before.
    pub(crate) const fn truncate(&mut self, len: usize) {
        self.len = len;
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.raw(&[byte]);
    }

    // One copy of it is enough: control frames are seldom.
    #[inline(never)]
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if let Some(place) = self.bytes.get_mut(self.len..end) {
            copy(bytes, place);
        }
        self.len = end;
    }

    pub(crate) fn varint(&mut self, value: u64) {
        if let Some(place) = self.bytes.get_mut(self.len..) {
            varint::write(value, place);
        }
        self.len += varint::len(value);
    }

    pub(crate) fn counted(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.raw(bytes);
    }

    /// As many of the bytes as there is room for; how many.
    #[cfg(feature = "alloc")]
    pub(crate) fn fill(&mut self, bytes: &[u8]) -> usize {
        let room = self.bytes.len().saturating_sub(self.len);
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.raw(taken);
        taken.len()
    }

    /// A field of bytes that exist already.
    pub(crate) fn field(&mut self, tag: u8, value: &[u8]) {
        self.byte(tag);
        self.counted(value);
    }

    /// A field of one number.
    pub(crate) fn number(&mut self, tag: u8, value: u64) {
        self.field_with(tag, |out| out.varint(value));
    }

    /// A field that `write` fills.
    pub(crate) fn field_with(&mut self, tag: u8, write: impl FnOnce(&mut Self)) {
        // Most are so short that their length takes one byte.
        self.raw(&[tag, 0]);
        let start = self.len;
        write(self);
        self.put_length(start);
    }

    /// Puts the length of what was written since `start` into the byte before it, or more.
    fn put_length(&mut self, start: usize) {
        let size = self.len.saturating_sub(start);
        let length = varint::len(size as u64);
        self.len += length - 1;
        if let Some(place) = self.bytes.get_mut(start.saturating_sub(1)..self.len) {
            shift(place, 1..size.saturating_add(1), length);
            varint::write(size as u64, place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the fields 1 and 3 hold.
    fn read(body: &[u8]) -> Result<[Option<&[u8]>; 2], BadPacket> {
        let mut fields = Fields::new(body);
        let one = fields.may(0x81).map(Cursor::rest);
        let three = fields.may(0x03).map(Cursor::rest);
        fields.end().map(|()| [one, three])
    }

    #[test]
    fn fields_ascend_and_stand_once() {
        for (body, bad) in [
            (&[0x02, 0, 0x01, 0][..], 1),
            (&[0x02, 0, 0x82, 0], 2),
            (&[0x00, 0], 0),
            (&[0x80, 0], 0),
            (&[0x81, 0, 0x01, 0], 1),
            (&[0x03, 0, 0x83, 0], 3),
            (&[0x04, 0, 0x03, 0], 3),
        ] {
            assert_eq!(read(body), Err(BadPacket::Field(bad)), "PROTOCOL H-2: {body:x?}");
        }
    }

    #[test]
    fn what_is_known_is_read_and_what_is_not_is_skipped_unless_it_is_critical() {
        let (one, three) = ([0x81, 1, 7], [0x03, 2, 8, 9]);
        let known = Ok([Some(&[7][..]), Some(&[8, 9])]);
        assert_eq!(read(&[&one[..], &three].concat()), known);
        assert_eq!(read(&[0x01, 1, 7, 0x83, 2, 8, 9]), known, "PROTOCOL H-2: either bit");
        assert_eq!(read(&[&one[..], &[2, 0], &three, &[4, 1, 1, 0x7f, 0]].concat()), known);
        assert_eq!(read(&[]), Ok([None, None]));
        for (body, number) in [
            ([&[0x82, 0][..], &three].concat(), 2),
            ([&one[..], &three, &[0x84, 0]].concat(), 4),
            ([&one[..], &[0xff, 0]].concat(), 127),
        ] {
            assert_eq!(read(&body), Err(BadPacket::Critical(number)), "PROTOCOL H-2: {body:x?}");
        }
    }

    #[test]
    fn the_first_thing_that_is_wrong_shows_at_the_end() {
        let body = [0x01, 1, 7, 0x03, 2, 8, 9];
        let end = |read: fn(&mut Fields<'_>)| {
            let mut fields = Fields::new(&body);
            read(&mut fields);
            fields.end()
        };
        let whole = |fields: &mut Fields<'_>, tag| {
            fields.must(tag).rest();
        };
        assert_eq!(end(|fields| assert_eq!(fields.must(0x81).byte(), 7)), Ok(()));
        let missing = |fields: &mut Fields<'_>| {
            assert_eq!(fields.must(0x82).u32(), 0);
            assert!(fields.may(0x03).is_none(), "nothing is read behind what is wrong");
            fields.must(0x84).rest();
        };
        assert_eq!(end(missing), Err(BadPacket::Field(2)));
        let left_over = |fields: &mut Fields<'_>| assert_eq!(fields.must(0x03).byte(), 8);
        assert_eq!(end(left_over), Err(BadPacket::Field(3)), "to its end");
        let refused = |fields: &mut Fields<'_>| {
            fields.must(0x81).refuse();
            fields.must(0x83).refuse();
        };
        assert_eq!(end(refused), Err(BadPacket::Field(1)));
        let too_short = |fields: &mut Fields<'_>| {
            fields.must(0x81).array::<2>();
        };
        assert_eq!(end(too_short), Err(BadPacket::Field(1)));
        let mut fields = Fields::new(&body);
        whole(&mut fields, 0x81);
        whole(&mut fields, 0x03);
        assert_eq!(fields.end(), Ok(()));
    }

    #[test]
    fn a_cut_field_is_named() {
        for body in [&[0x03, 3, 1, 2][..], &[0x03], &[0x03, 0x80], &[0x03, 0x80, 0]] {
            assert_eq!(read(body), Err(BadPacket::Field(3)), "{body:x?}");
        }
    }

    #[test]
    fn a_field_written_in_place_reads_back() {
        let mut bytes = [0; 256];
        let mut writer = Writer::new(&mut bytes);
        writer.field_with(0x81, |w| w.raw(&[7; 200]));
        let len = writer.len();
        assert_eq!(len, 1 + 2 + 200);
        assert_eq!(Fields::new(&bytes[..len]).must(0x81).rest(), &[7; 200]);
    }

    #[test]
    fn counting_gives_the_length_that_writing_takes() {
        fn fields(out: &mut Writer<'_>, size: usize) {
            out.field(0x81, &[1; 130][..size]);
            out.field_with(0x02, |out| {
                out.varint(size as u64);
                out.counted(&[2; 130][..size]);
            });
        }
        for size in [0, 1, 126, 127, 128, 130] {
            let (mut bytes, mut counting) = ([0; 300], Writer::counting());
            let mut writer = Writer::new(&mut bytes);
            fields(&mut writer, size);
            fields(&mut counting, size);
            assert!(writer.fits() && !counting.fits());
            assert_eq!(counting.len(), writer.len());
        }
    }
}
