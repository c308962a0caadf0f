//! From the page and into it.

use crate::check::crc32;
use crate::{Credentials, Error, Field, PAGE, TooLong};

const MAGIC: &[u8; 7] = b"diset\0\0";
const VERSION: u8 = 1;
/// Magic, version, length.
const HEAD: usize = 10;

const FIELDS: [Field; 7] = [
    Field::Identity,
    Field::Certificate,
    Field::Key,
    Field::ServerName,
    Field::Authority,
    Field::NextAuthority,
    Field::Pins,
];

impl<'a> Credentials<'a> {
    /// Reads a page. Every field is looked at, whether it is needed or not.
    ///
    /// # Errors
    /// [`Error`] says what to do. [`Error::Missing`] is not among them: see the getters.
    pub fn read(page: &'a [u8]) -> Result<Self, Error> {
        let (magic, rest) = page.split_first_chunk().ok_or(Error::Empty)?;
        if magic != MAGIC {
            return Err(Error::Empty);
        }
        let (&version, rest) = rest.split_first().ok_or(Error::Damaged)?;
        if version != VERSION {
            return Err(Error::Version(version));
        }
        let (&length, rest) = rest.split_first_chunk().ok_or(Error::Damaged)?;
        let length = usize::from(u16::from_le_bytes(length));
        let (fields, rest) = rest.split_at_checked(length).ok_or(Error::Damaged)?;
        let &check = rest.first_chunk().ok_or(Error::Damaged)?;
        let checked = page.get(..HEAD + length).ok_or(Error::Damaged)?;
        if crc32(checked) != u32::from_le_bytes(check) {
            return Err(Error::Damaged);
        }
        Self::default().with_fields(fields)
    }

    fn with_fields(mut self, mut fields: &'a [u8]) -> Result<Self, Error> {
        let mut before = 0;
        while let Some((&kind, rest)) = fields.split_first() {
            let wrong = Error::Malformed(kind);
            let (&length, rest) = rest.split_first_chunk().ok_or(wrong)?;
            let (content, rest) = rest.split_at_checked(u16::from_le_bytes(length).into()).ok_or(wrong)?;
            if kind <= before {
                return Err(wrong);
            }
            let field = FIELDS.into_iter().find(|&field| field as u8 == kind).ok_or(wrong)?;
            self.set(field, content).ok_or(wrong)?;
            (before, fields) = (kind, rest);
        }
        Ok(self)
    }

    /// `None` when it cannot be that.
    fn set(&mut self, field: Field, content: &'a [u8]) -> Option<()> {
        let some = Some(content).filter(|content| !content.is_empty())?;
        match field {
            Field::Identity => self.identity = Some(some.try_into().ok()?),
            Field::Certificate => self.certificate = Some(some),
            Field::Key => self.key = Some(some.try_into().ok()?),
            Field::ServerName => self.server_name = Some(core::str::from_utf8(some).ok()?),
            Field::Authority => self.authority = Some(some),
            Field::NextAuthority => self.next_authority = Some(some),
            Field::Pins => {
                let (pins, rest) = some.as_chunks();
                self.pins = Some(pins).filter(|_| rest.is_empty());
                self.pins?;
            }
        }
        Some(())
    }

    fn content(&self, field: Field) -> Option<&'a [u8]> {
        match field {
            Field::Identity => self.identity.map(<[u8; 16]>::as_slice),
            Field::Certificate => self.certificate,
            Field::Key => self.key.map(<[u8; 32]>::as_slice),
            Field::ServerName => self.server_name.map(str::as_bytes),
            Field::Authority => self.authority,
            Field::NextAuthority => self.next_authority,
            Field::Pins => self.pins.map(<[[u8; 32]]>::as_flattened),
        }
    }

    /// Writes a page; how many bytes of it are used. The rest is as erased flash is.
    ///
    /// # Errors
    /// [`TooLong`]: the content of the page counts no more.
    pub fn write(&self, page: &mut [u8; PAGE]) -> Result<usize, TooLong> {
        page.fill(0xFF);
        let mut at = HEAD;
        let mut put = |page: &mut [u8], bytes: &[u8]| {
            let space = page.get_mut(at..).and_then(|page| page.get_mut(..bytes.len()));
            space.ok_or(TooLong)?.copy_from_slice(bytes);
            at += bytes.len();
            Ok(at)
        };
        let mut end = HEAD;
        for field in FIELDS {
            if let Some(content) = self.content(field) {
                let length = u16::try_from(content.len()).map_err(|_| TooLong)?;
                put(page, &[field as u8])?;
                put(page, &length.to_le_bytes())?;
                end = put(page, content)?;
            }
        }
        let length = u16::try_from(end - HEAD).map_err(|_| TooLong)?.to_le_bytes();
        let head = MAGIC.iter().chain(&[VERSION]).chain(&length);
        for (to, from) in page.iter_mut().zip(head) {
            *to = *from;
        }
        let check = crc32(page.get(..end).unwrap_or_default());
        put(page, &check.to_le_bytes())
    }
}
