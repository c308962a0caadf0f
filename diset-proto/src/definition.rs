//! Words about definitions that travel: kinds, directions, keys, digests, verdicts. What they
//! stand for is made in [`crate::schema`].

use core::fmt;

use crate::limits::MAX_MESSAGES;

/// What an entry of a catalog is (PROTOCOL S-3).
///
/// Catalogs may have entries of all kinds; they are compared, told and shown. This version sends messages only: an
/// entry of another kind cannot be used yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum EntryKind {
    /// Sent, and not answered.
    Message,
    /// A request, and one answer.
    Call,
    /// A request, and any number of items.
    Stream,
    /// A transfer of bytes from the one that asks to the one that is asked, and an answer.
    Upload,
    /// A transfer of bytes from the one that is asked to the one that asks, and an answer.
    Download,
}

impl EntryKind {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Message => 0,
            Self::Call => 1,
            Self::Stream => 2,
            Self::Upload => 3,
            Self::Download => 4,
        }
    }

    #[cfg(feature = "alloc")]
    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Message),
            1 => Some(Self::Call),
            2 => Some(Self::Stream),
            3 => Some(Self::Upload),
            4 => Some(Self::Download),
            _ => None,
        }
    }

    /// Whether it is answered, so that its definition has two structures: that of the request, and that of the answer or
    /// of an item.
    pub const fn has_answer(self) -> bool {
        !matches!(self, Self::Message)
    }

    /// Its name, for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Call => "call",
            Self::Stream => "stream",
            Self::Upload => "upload",
            Self::Download => "download",
        }
    }
}

/// Which way an entry of a catalog may be used: who sends the message, or asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "there are two ways and both")]
pub enum Direction {
    /// From client to service.
    FromClient,
    /// From service to client.
    FromService,
    /// Either way.
    Both,
}

impl Direction {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::FromClient => 1,
            Self::FromService => 2,
            Self::Both => 3,
        }
    }

    #[cfg(feature = "alloc")]
    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::FromClient),
            2 => Some(Self::FromService),
            3 => Some(Self::Both),
            _ => None,
        }
    }

    /// Whether a client may send it.
    pub const fn allows_client(self) -> bool {
        matches!(self, Self::FromClient | Self::Both)
    }

    /// Whether a service may send it.
    pub const fn allows_service(self) -> bool {
        matches!(self, Self::FromService | Self::Both)
    }
}

/// 128 bits of SHA-256 that stand for one entry of a catalog: its name and structures (PROTOCOL S-3).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Key(pub(crate) [u8; 16]);

impl Key {
    /// The key with these bytes, which [`as_bytes`](Self::as_bytes) gave before.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes on the wire.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// 128 bits of SHA-256 that stand for a whole catalog (PROTOCOL S-3).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Digest(pub(crate) [u8; 16]);

impl Digest {
    /// The bytes on the wire.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What the two sides found about one message (PROTOCOL S-5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Verdict {
    /// Both define it in the same way.
    Same,
    /// The service does not define it.
    Unknown,
    /// The service defines it with another kind, structure or direction.
    Differs,
    /// The rules of the service forbid it to this client.
    Forbidden,
}

impl Verdict {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Same => 0,
            Self::Unknown => 1,
            Self::Differs => 2,
            Self::Forbidden => 3,
        }
    }

    /// A verdict of a later version is one that is not `Same` (PROTOCOL S-5).
    pub(crate) const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Same,
            1 => Self::Unknown,
            3 => Self::Forbidden,
            _ => Self::Differs,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Same => "both sides define it in the same way",
            Self::Unknown => "the other side does not define it",
            Self::Differs => "the other side defines it with another kind, structure or direction",
            Self::Forbidden => "the service forbids it to this client",
        })
    }
}

/// Messages of one catalog, by number.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct MessageSet([u8; MAX_MESSAGES / 8]);

impl MessageSet {
    /// None of them.
    pub const EMPTY: Self = Self([0; MAX_MESSAGES / 8]);

    #[cfg(feature = "record")]
    pub(crate) const fn from_bytes(bits: [u8; MAX_MESSAGES / 8]) -> Self {
        Self(bits)
    }

    #[cfg(feature = "record")]
    pub(crate) const fn as_bytes(&self) -> &[u8; MAX_MESSAGES / 8] {
        &self.0
    }

    /// Puts a message in; a number that no message can have is left out.
    pub fn insert(&mut self, number: u8) {
        if let Some(byte) = self.0.get_mut(usize::from(number / 8)) {
            *byte |= 1 << (number % 8);
        }
    }

    /// Whether the message is in it.
    #[inline]
    pub fn contains(&self, number: u8) -> bool {
        let byte = self.0.get(usize::from(number / 8));
        byte.is_some_and(|byte| byte & (1 << (number % 8)) != 0)
    }

    /// The numbers in it, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u8> {
        (0..=u8::MAX).take(MAX_MESSAGES).filter(|&number| self.contains(number))
    }
}

impl FromIterator<u8> for MessageSet {
    fn from_iter<I: IntoIterator<Item = u8>>(numbers: I) -> Self {
        let mut set = Self::EMPTY;
        numbers.into_iter().for_each(|number| set.insert(number));
        set
    }
}

impl fmt::Debug for MessageSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
