//! Strict DER: one-byte tags, lengths in the shortest form below 64 KiB. No recursion, no copies.

pub(in crate::tls) const BOOLEAN: u8 = 0x01;
pub(in crate::tls) const INTEGER: u8 = 0x02;
pub(in crate::tls) const BIT_STRING: u8 = 0x03;
pub(in crate::tls) const OCTET_STRING: u8 = 0x04;
pub(in crate::tls) const OBJECT: u8 = 0x06;
pub(in crate::tls) const UTC_TIME: u8 = 0x17;
pub(in crate::tls) const GENERALIZED_TIME: u8 = 0x18;
pub(in crate::tls) const SEQUENCE: u8 = 0x30;

/// An element: its tag, its content, and all of it.
#[derive(Debug, Clone, Copy)]
pub(in crate::tls) struct Element<'a> {
    pub(in crate::tls) tag: u8,
    pub(in crate::tls) content: &'a [u8],
    pub(in crate::tls) whole: &'a [u8],
}

/// Elements one after the other.
#[derive(Debug, Clone, Copy)]
pub(in crate::tls) struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    pub(in crate::tls) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(in crate::tls) const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::tls) fn next(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81 => match rest.split_first()? {
                (length @ 0x80.., rest) => (usize::from(*length), rest),
                _ => return None,
            },
            0x82 => match rest.split_first_chunk()? {
                (length, rest) if length.first() != Some(&0) => (u16::from_be_bytes(*length).into(), rest),
                _ => return None,
            },
            _ => return None,
        };
        let (content, after) = rest.split_at_checked(length)?;
        let whole = self.0.get(..self.0.len().checked_sub(after.len())?)?;
        self.0 = after;
        Some(Element { tag, content, whole })
    }

    /// The next element, which must have this tag.
    pub(in crate::tls) fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        self.next().filter(|element| element.tag == tag)
    }

    /// The next element if it has this tag.
    pub(in crate::tls) fn optional(&mut self, tag: u8) -> Option<Option<Element<'a>>> {
        match self.0.first() {
            Some(first) if *first == tag => self.next().map(Some),
            _ => Some(None),
        }
    }

    /// The elements of the sequence that is next.
    pub(in crate::tls) fn sequence(&mut self) -> Option<Self> {
        self.expect(SEQUENCE).map(|element| Self(element.content))
    }
}

/// The only element of these bytes is a sequence of these.
pub(in crate::tls) fn only_sequence(bytes: &[u8]) -> Option<Der<'_>> {
    let mut der = Der::new(bytes);
    der.sequence().filter(|_| der.is_empty())
}
