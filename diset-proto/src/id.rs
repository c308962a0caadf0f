//! Names of things: transports, clients, services.

use core::fmt;

use crate::fmt::Quoted;
use crate::limits::MAX_SERVICE_NAME;

/// Transport id: one connection of one client. Every connection gets a new one; it is
/// never used again while the service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Trid(u64);

impl Trid {
    /// The transport id with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number of this transport id.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Trid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trid {}", self.0)
    }
}

/// The name by which a client is known across reconnects: 16 bytes of its own choice.
///
/// An identity names, it does not authenticate: who the client *is* follows from the
/// credentials of its transport. Two clients with other credentials and the same
/// identity are two clients.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Identity([u8; 16]);

impl Identity {
    /// The identity with these bytes. Take them from a random number generator once and
    /// keep them, or derive them from something that is unique, such as a serial number.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of this identity.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// 32 lower-case hexadecimal digits.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({self})")
    }
}

/// What a client shows to go on with its session: 128 random bits that the service made, new at
/// each acceptance (PROTOCOL N-4). A secret; it shows neither in `Debug` nor in a log.
#[derive(Clone, Copy)]
pub struct Token([u8; 16]);

impl Token {
    /// The token with these bytes, from a random number generator that is good enough for
    /// secrets.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of this token.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Takes the same time wherever the two differ.
impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        let differences = self.0.iter().zip(other.0);
        differences.fold(0, |all, (one, other)| all | (one ^ other)) == 0
    }
}

impl Eq for Token {}

impl core::hash::Hash for Token {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// The name of a service: `System/Name`, two parts of letters, digits, `_`, `-` or `.`,
/// at most [`MAX_SERVICE_NAME`] bytes in all (PROTOCOL H-3).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ServiceName<'a>(&'a str);

impl fmt::Debug for ServiceName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServiceName").field(&Quoted(self.0)).finish()
    }
}

impl<'a> ServiceName<'a> {
    /// Takes `name` apart and keeps it when it is of the form `System/Name`; else `None`.
    pub const fn parse(name: &'a str) -> Option<Self> {
        let mut rest = name.as_bytes();
        if rest.len() > MAX_SERVICE_NAME {
            return None;
        }
        let (mut part, mut slashes) = (0usize, 0usize);
        while let [byte, tail @ ..] = rest {
            match byte {
                b'/' if part > 0 => {
                    slashes += 1;
                    part = 0;
                }
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => part += 1,
                _ => return None,
            }
            rest = tail;
        }
        if slashes == 1 && part > 0 {
            Some(Self(name))
        } else {
            None
        }
    }

    /// The whole name, `System/Name`.
    pub const fn as_str(&self) -> &'a str {
        self.0
    }
}

impl fmt::Display for ServiceName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_name_has_two_parts() {
        assert_eq!(
            ServiceName::parse("Framework/PingPong").unwrap().as_str(),
            "Framework/PingPong"
        );
        for bad in ["", "/", "a/", "/a", "a", "a/b/c", "a b/c", "ä/b", "a//b"] {
            assert_eq!(ServiceName::parse(bad), None, "{bad:?}");
        }
        assert!(ServiceName::parse(&format!("a/{}", "b".repeat(MAX_SERVICE_NAME - 2))).is_some());
        assert!(ServiceName::parse(&format!("a/{}", "b".repeat(MAX_SERVICE_NAME - 1))).is_none());
    }

    #[test]
    fn an_identity_prints_as_hex() {
        assert_eq!(Identity::from_bytes([0xab; 16]).to_string(), "ab".repeat(16));
    }
}
