//! What a service counts: connections, how they got in, how they ended. Plain atomics, touched at
//! the turns of a connection's life only; a message costs nothing here. With the feature
//! `metrics` each change also goes to the recorder of the program.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use diset_proto::{Cause, Code, ServiceName};
use rustls::{CertificateError, Error as TlsError};

use crate::channel::ChannelError;

/// One thing that a service counts.
///
/// Each accepted connection is counted once more when its transport is up (a handshake) or fails
/// to get there ([`TlsFailed`](Self::TlsFailed)); and one whose transport was up is counted once
/// when it is over: [`Refused`](Self::Refused), [`EndedByUs`](Self::EndedByUs),
/// [`EndedByPeer`](Self::EndedByPeer), [`WentAway`](Self::WentAway) or [`Lost`](Self::Lost).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Counter {
    /// Connections that were taken from the listening socket.
    Accepted,
    /// Connections that were closed at once, because far too many came from their address; not
    /// among the accepted ones.
    TurnedAway,
    /// Transports that came up without an earlier TLS session; without TLS, too.
    FullHandshake,
    /// Transports that came up by resuming a TLS session.
    ResumedHandshake,
    /// Connections that ended before their transport was up.
    TlsFailed(TlsFailure),
    /// Clients that were admitted.
    Admitted,
    /// Admitted clients whose connection is over: the drop callback was called. It is not when the future of the service is
    /// dropped.
    Dropped,
    /// Clients that were refused with this code.
    Refused(Code),
    /// Connections that this side ended: for an error of the peer, of a handler, for its
    /// silence (`Silent`, `HandshakeTimeout`), because it was too slow (`Busy`), or because the
    /// program said so (`Disconnected`).
    EndedByUs(Code),
    /// Connections that the peer ended with an error.
    EndedByPeer(Code),
    /// Connections that ended in order after a go-away with this code.
    WentAway(Code),
    /// Connections whose transport ended without a word.
    Lost,
    /// Connections that are open now; goes up and down.
    Live,
    /// Connections that count against [`max_handshakes`](crate::Service::max_handshakes) now;
    /// goes up and down.
    InHandshake,
}

/// Why a connection ended before its transport was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TlsFailure {
    /// What came cannot be read as TLS: another language, noise, or a damaged handshake.
    NotTls,
    /// The peer broke TLS, or speaks a version or ciphers that do not fit.
    Broken,
    /// It showed no certificate.
    NoCertificate,
    /// Its certificate is of an authority that is not trusted.
    UnknownAuthority,
    /// Its certificate is not valid any more, or not yet.
    Expired,
    /// Its certificate was revoked.
    Revoked,
    /// Its certificate was refused for another reason.
    BadCertificate,
    /// It offered other application protocols, or none.
    NoAlpn,
    /// It ended TLS itself, for instance because it does not trust this side.
    EndedByPeer,
    /// It was not done in time.
    Silent,
    /// The transport ended.
    Lost,
    /// Anything else, on this side.
    Other,
}

impl TlsFailure {
    const ALL: [Self; 12] = [
        Self::NotTls,
        Self::Broken,
        Self::NoCertificate,
        Self::UnknownAuthority,
        Self::Expired,
        Self::Revoked,
        Self::BadCertificate,
        Self::NoAlpn,
        Self::EndedByPeer,
        Self::Silent,
        Self::Lost,
        Self::Other,
    ];

    /// The label of the counter.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotTls => "NotTls",
            Self::Broken => "Broken",
            Self::NoCertificate => "NoCertificate",
            Self::UnknownAuthority => "UnknownAuthority",
            Self::Expired => "Expired",
            Self::Revoked => "Revoked",
            Self::BadCertificate => "BadCertificate",
            Self::NoAlpn => "NoAlpn",
            Self::EndedByPeer => "EndedByPeer",
            Self::Silent => "Silent",
            Self::Lost => "Lost",
            Self::Other => "Other",
        }
    }

    /// What TLS said, else how the connection ended.
    pub(super) fn of(failure: Option<&ChannelError>, cause: &Cause) -> Self {
        match failure {
            Some(failure) => Self::of_channel(failure),
            None if matches!(cause, Cause::HandshakeTimeout) => Self::Silent,
            None if matches!(cause, Cause::Lost) => Self::Lost,
            None => Self::Other,
        }
    }

    fn of_channel(failure: &ChannelError) -> Self {
        use CertificateError as Bad;
        let bad = match failure {
            ChannelError::CertificateRefused(bad, _)
            | ChannelError::NoLongerAccepted(TlsError::InvalidCertificate(bad), _) => bad,
            ChannelError::NoCertificate => return Self::NoCertificate,
            ChannelError::NotJudged(_) | ChannelError::NoLongerAccepted(..) => return Self::BadCertificate,
            ChannelError::NoAlpn => return Self::NoAlpn,
            ChannelError::PeerAlert(..) => return Self::EndedByPeer,
            ChannelError::PeerMisbehaved(TlsError::InvalidMessage(_)) => return Self::NotTls,
            ChannelError::PeerMisbehaved(_) | ChannelError::Incompatible(_) | ChannelError::TooLong => {
                return Self::Broken;
            }
            _ => return Self::Other,
        };
        match bad {
            Bad::UnknownIssuer | Bad::BadSignature => Self::UnknownAuthority,
            Bad::Expired | Bad::ExpiredContext { .. } | Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                Self::Expired
            }
            Bad::Revoked => Self::Revoked,
            _ => Self::BadCertificate,
        }
    }
}

/// Those without a label, or with one of two, in the order of their cells.
const PLAIN: [Counter; 9] = [
    Counter::Accepted,
    Counter::TurnedAway,
    Counter::FullHandshake,
    Counter::ResumedHandshake,
    Counter::Admitted,
    Counter::Dropped,
    Counter::Lost,
    Counter::Live,
    Counter::InHandshake,
];
const BY_CODE: [fn(Code) -> Counter; 4] = [
    Counter::Refused,
    Counter::EndedByUs,
    Counter::EndedByPeer,
    Counter::WentAway,
];

impl Counter {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::TurnedAway => "turned_away",
            Self::FullHandshake | Self::ResumedHandshake => "handshakes",
            Self::TlsFailed(_) => "tls_failed",
            Self::Admitted => "admitted",
            Self::Dropped => "dropped",
            Self::Refused(_) => "refused",
            Self::EndedByUs(_) => "ended_by_us",
            Self::EndedByPeer(_) => "ended_by_peer",
            Self::WentAway(_) => "went_away",
            Self::Lost => "lost",
            Self::Live => "live",
            Self::InHandshake => "in_handshake",
        }
    }

    /// Which of several of this name it is: `full` or `resumed`, the kind of a failure, the name
    /// of a code; empty when there is only one.
    pub const fn label(self) -> &'static str {
        match self {
            Self::FullHandshake => "full",
            Self::ResumedHandshake => "resumed",
            Self::TlsFailed(kind) => kind.name(),
            Self::Refused(code) | Self::EndedByUs(code) | Self::EndedByPeer(code) | Self::WentAway(code) => code.name(),
            _ => "",
        }
    }

    /// The one that counts this end of a connection whose transport was up.
    pub(super) const fn of(cause: &Cause) -> Self {
        match cause {
            Cause::Refused(notice) | Cause::WeRefused(notice) => Self::Refused(notice.code()),
            Cause::OurError(notice) => Self::EndedByUs(notice.code()),
            Cause::PeerError(notice) => Self::EndedByPeer(notice.code()),
            Cause::WentAway(notice) => Self::WentAway(notice.code()),
            Cause::Silent => Self::EndedByUs(Code::Silent),
            Cause::HandshakeTimeout => Self::EndedByUs(Code::HandshakeTimeout),
            _ => Self::Lost,
        }
    }

    /// All there are; codes of later versions share one, [`Code::Other`].
    fn all() -> impl Iterator<Item = Self> {
        let codes = || Code::ALL.iter().copied().chain([Code::Other(0)]);
        let tls = TlsFailure::ALL.map(Self::TlsFailed);
        let by_code = BY_CODE.into_iter().flat_map(move |make| codes().map(make));
        PLAIN.into_iter().chain(tls).chain(by_code)
    }

    /// Its place among [`all`](Self::all).
    fn place(self) -> usize {
        let one = match self {
            Self::Refused(Code::Other(_)) => Self::Refused(Code::Other(0)),
            Self::EndedByUs(Code::Other(_)) => Self::EndedByUs(Code::Other(0)),
            Self::EndedByPeer(Code::Other(_)) => Self::EndedByPeer(Code::Other(0)),
            Self::WentAway(Code::Other(_)) => Self::WentAway(Code::Other(0)),
            other => other,
        };
        Self::all().position(|other| other == one).unwrap_or(usize::MAX)
    }
}

/// The numbers of a service at one moment: [`ServiceHandle::counters`](crate::ServiceHandle::counters).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters(Box<[u64]>);

impl Counters {
    /// One of them.
    pub fn get(&self, counter: Counter) -> u64 {
        self.0.get(counter.place()).copied().unwrap_or(0)
    }

    /// All of them: name, label (empty when there is only one of the name), value.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let named = Counter::all().map(|counter| (counter.name(), counter.label()));
        named.zip(&self.0).map(|((name, label), value)| (name, label, *value))
    }

    /// The sum of all with this name.
    pub fn sum(&self, name: &str) -> u64 {
        let those = self.iter().filter(|(other, _, _)| *other == name);
        those.map(|(_, _, value)| value).sum()
    }
}

/// Where a service counts.
pub(super) struct Cells {
    cells: Box<[AtomicU64]>,
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "a label of its metrics"))]
    service: ServiceName<'static>,
}

impl Cells {
    pub(super) fn new(service: ServiceName<'static>) -> Self {
        let cells = Counter::all().map(|_| AtomicU64::new(0)).collect();
        Self { cells, service }
    }

    /// One more.
    pub(super) fn add(&self, counter: Counter) {
        if let Some(cell) = self.cells.get(counter.place()) {
            cell.fetch_add(1, Relaxed);
        }
        #[cfg(feature = "metrics")]
        if matches!(counter, Counter::Live | Counter::InHandshake) {
            self.gauge(counter).increment(1.0);
        } else {
            let name = format!("diset_{}_total", counter.name());
            metrics::counter!(name, self.labels(counter)).increment(1);
        }
    }

    /// One fewer, of what goes up and down.
    pub(super) fn take(&self, counter: Counter) {
        if let Some(cell) = self.cells.get(counter.place()) {
            cell.fetch_sub(1, Relaxed);
        }
        #[cfg(feature = "metrics")]
        self.gauge(counter).decrement(1.0);
    }

    pub(super) fn snapshot(&self) -> Counters {
        Counters(self.cells.iter().map(|cell| cell.load(Relaxed)).collect())
    }

    #[cfg(feature = "metrics")]
    fn gauge(&self, counter: Counter) -> metrics::Gauge {
        let name = format!("diset_{}", counter.name());
        metrics::gauge!(name, self.labels(counter))
    }

    #[cfg(feature = "metrics")]
    fn labels(&self, counter: Counter) -> Vec<metrics::Label> {
        let mut labels = vec![metrics::Label::new("service", self.service.as_str())];
        if !counter.label().is_empty() {
            labels.push(metrics::Label::new("kind", counter.label()));
        }
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_has_a_cell_of_its_own() {
        for (place, counter) in Counter::all().enumerate() {
            assert_eq!(counter.place(), place, "{counter:?}");
        }
        assert_eq!(
            Counter::Refused(Code::Other(999)).place(),
            Counter::Refused(Code::Other(0)).place(),
            "a peer cannot make new ones"
        );
    }

    #[test]
    fn what_is_counted_can_be_read_by_name() {
        let cells = Cells::new(ServiceName::parse("Test/Counters").expect("a name"));
        cells.add(Counter::Refused(Code::Busy));
        cells.add(Counter::Refused(Code::NotAdmitted));
        cells.add(Counter::Live);
        cells.take(Counter::Live);
        let counters = cells.snapshot();
        assert_eq!(counters.get(Counter::Refused(Code::Busy)), 1);
        assert_eq!(counters.sum("refused"), 2);
        let some: Vec<_> = counters.iter().filter(|(_, _, value)| *value > 0).collect();
        assert_eq!(some, [("refused", "NotAdmitted", 1), ("refused", "Busy", 1)]);
    }
}
