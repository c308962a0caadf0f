//! What happened to the addresses of a round, and what that is all in all.

use core::fmt;
use std::io;
use std::sync::Arc;

use super::state::Ended;

/// Most addresses that an error tells of, and most bytes it tells of one.
const MAX_TOLD: usize = 8;
const MAX_REASON: usize = 300;

/// What happened to one address, or name.
struct Failure {
    address: String,
    ended: Ended,
}

#[derive(Default)]
pub(super) struct Failures(Vec<Failure>);

impl Failures {
    pub(super) fn add(&mut self, address: String, ended: Ended) {
        self.0.push(Failure { address, ended });
    }

    /// The address could not be reached, or the name not resolved.
    pub(super) fn unreachable(&mut self, address: String, source: io::Error) {
        self.add(address.clone(), unreachable(address, source));
    }

    /// Whether every address failed in a way that stays until somebody has mended something.
    pub(super) fn need_mending(&self) -> bool {
        self.0.iter().all(|failure| failure.ended.cause().needs_mending())
    }

    /// The failure of the address with which it went furthest, the last one of several, and what happened to the others.
    pub(super) fn verdict(&self, name: String) -> Ended {
        let Some(furthest) = self.0.iter().max_by_key(|failure| failure.ended.progress()) else {
            return unreachable(name, io::Error::other("there is no address"));
        };
        match &furthest.ended {
            Ended::Unreachable { source, .. } => {
                let source = match &*self.0 {
                    [only] if only.address == name => Arc::clone(source),
                    all => Arc::new(io::Error::new(source.kind(), Told(all.iter().collect()).to_string())),
                };
                Ended::Unreachable { address: name, source }
            }
            Ended::Tls { address, reason } if self.0.len() > 1 => {
                let others = self.0.iter().filter(|failure| !core::ptr::eq(*failure, furthest));
                Ended::Tls {
                    address: address.clone(),
                    reason: format!("{reason}; and {}", Told(others.collect())),
                }
            }
            ended => ended.clone(),
        }
    }
}

pub(super) fn unreachable(address: String, source: io::Error) -> Ended {
    let source = Arc::new(source);
    Ended::Unreachable { address, source }
}

impl Ended {
    /// How far it went.
    const fn progress(&self) -> u8 {
        match self {
            Self::Unreachable { .. } => 0,
            Self::Tls { .. } => 1,
            Self::Dropped(_) | Self::Settings(_) | Self::Closed => 2,
        }
    }
}

/// One after the other, for people.
struct Told<'f>(Vec<&'f Failure>);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, failure) in self.0.iter().take(MAX_TOLD).enumerate() {
            let comma = if number > 0 { ", " } else { "" };
            let reason = match &failure.ended {
                Ended::Unreachable { source, .. } => source.to_string(),
                Ended::Tls { reason, .. } => format!("TLS failed: {reason}"),
                other => other.to_string(),
            };
            let end = reason.floor_char_boundary(MAX_REASON);
            let cut = if end < reason.len() { "…" } else { "" };
            write!(
                f,
                "{comma}{}: {}{cut}",
                failure.address,
                reason.get(..end).unwrap_or_default()
            )?;
        }
        match self.0.len().saturating_sub(MAX_TOLD) {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_names_every_address_and_is_short() {
        let mut failures = Failures::default();
        failures.unreachable(String::from("a:1"), io::ErrorKind::ConnectionRefused.into());
        let text = failures.verdict(String::from("a:1")).to_string();
        assert!(text.starts_with("cannot reach a:1: connection refused; is"), "{text}");
        failures.unreachable(String::from("b:2"), io::ErrorKind::TimedOut.into());
        let text = failures.verdict(String::from("a:1,b:2")).to_string();
        let expected = "cannot reach a:1,b:2: a:1: connection refused, b:2: timed out; is";
        assert!(text.starts_with(expected), "{text}");
        let tls = Ended::Tls {
            address: String::from("c:3"),
            reason: String::from("it does not prove the name"),
        };
        failures.add(String::from("c:3"), tls);
        let text = failures.verdict(String::from("a:1,b:2,c:3")).to_string();
        let expected = "TLS with c:3 failed: it does not prove the name; and a:1: connection refused, b:2: timed out";
        assert_eq!(text, expected);
        assert!(!failures.need_mending());

        let mut many = Failures::default();
        for number in 0..40 {
            many.unreachable(format!("a:{number}"), io::Error::other("ä".repeat(9_000)));
        }
        let text = many.verdict(String::from("a")).to_string();
        assert!(
            text.len() < 3_000 && text.contains("ä…, a:1: ä") && text.contains(", and 32 more"),
            "{text}"
        );
    }
}
