//! Lines of a log: those that strangers can cause, a few each second of each kind, then their number; and which ends are
//! worth a warning.

use core::convert::Infallible;
use core::time::Duration;
use std::sync::{Mutex, MutexGuard, PoisonError};

use diset_proto::{Cause, Code, Instant};
use tokio::sync::Notify;

use super::counters::TlsFailure;

/// Most lines of one kind in a second.
const MOST: u32 = 10;
const SPAN: Duration = Duration::from_secs(1);

/// Who did not get in. Each kind has lines of its own, so that those who do not even speak TLS do
/// not hide a client whose certificate has expired.
#[derive(Clone, Copy)]
pub(super) enum Stranger {
    /// It showed no certificate.
    Unknown,
    /// It showed one that was refused.
    BadCertificate,
    /// TLS was done.
    NotAdmitted,
}

impl Stranger {
    const ALL: [Self; 3] = [Self::Unknown, Self::BadCertificate, Self::NotAdmitted];

    pub(super) const fn of(failure: TlsFailure) -> Self {
        use TlsFailure as F;
        match failure {
            F::UnknownAuthority | F::Expired | F::Revoked | F::BadCertificate => Self::BadCertificate,
            _ => Self::Unknown,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::BadCertificate => "BadCertificate",
            Self::NotAdmitted => "NotAdmitted",
        }
    }
}

/// Whether nothing went wrong, or nothing that anybody could mend here: one side wanted the end,
/// there was no room, or the network broke.
pub(super) const fn is_ordinary(cause: &Cause) -> bool {
    match cause {
        Cause::WentAway(_) | Cause::Lost | Cause::WeRefused(_) | Cause::Refused(_) => true,
        // The rules have changed, and somebody is taken off the list.
        Cause::OurError(notice) if matches!(notice.code(), Code::NotAdmitted) => true,
        Cause::OurError(notice) | Cause::PeerError(notice) => {
            matches!(
                notice.code(),
                Code::Disconnected
                    | Code::Displaced
                    | Code::Shutdown
                    | Code::CredentialsEnd
                    | Code::RecordLimit
                    | Code::Done
            )
        }
        _ => false,
    }
}

/// Counts the lines of one listener.
#[derive(Default)]
pub(super) struct FewLines {
    unknown: Mutex<Counted>,
    bad_certificate: Mutex<Counted>,
    not_admitted: Mutex<Counted>,
    /// One was left out.
    left_out: Notify,
}

#[derive(Default)]
struct Counted {
    /// When this second ends; none before the first line.
    until: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl FewLines {
    /// Whether one more is to be written: then how many of the kind were left out since the last one.
    pub(super) fn one_more(&self, kind: Stranger, now: Instant) -> Option<u64> {
        let mut counted = self.counted(kind);
        if counted.until.is_none_or(|until| now >= until) {
            counted.until = Some(now.after(SPAN));
            counted.written = 0;
        }
        if counted.written == MOST {
            counted.left_out += 1;
            self.left_out.notify_one();
            return None;
        }
        counted.written += 1;
        Some(core::mem::take(&mut counted.left_out))
    }

    /// Tells, a second after lines were left out, how many no other line has told of.
    pub(super) async fn tell_often(&self) -> Infallible {
        loop {
            self.left_out.notified().await;
            tokio::time::sleep(SPAN).await;
            self.tell();
        }
    }

    /// Tells how many were left out that no line has told of.
    pub(super) fn tell(&self) {
        for (kind, left_out) in self.take_left_out() {
            tracing::warn!(kind = kind.name(), left_out, "more did not get in than have a line");
        }
    }

    fn take_left_out(&self) -> impl Iterator<Item = (Stranger, u64)> {
        let taken = Stranger::ALL.map(|kind| (kind, core::mem::take(&mut self.counted(kind).left_out)));
        taken.into_iter().filter(|(_, left_out)| *left_out > 0)
    }

    fn counted(&self, kind: Stranger) -> MutexGuard<'_, Counted> {
        let counted = match kind {
            Stranger::Unknown => &self.unknown,
            Stranger::BadCertificate => &self.bad_certificate,
            Stranger::NotAdmitted => &self.not_admitted,
        };
        counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_of_a_kind_a_second_then_their_number() {
        let (lines, at) = (FewLines::default(), Instant::from_millis);
        let written = (0..25).filter_map(|_| lines.one_more(Stranger::Unknown, at(500)));
        assert_eq!(written.collect::<Vec<_>>(), [0; 10]);
        assert_eq!(lines.one_more(Stranger::BadCertificate, at(500)), Some(0), "its own");
        assert_eq!(lines.one_more(Stranger::Unknown, at(1499)), None);
        assert_eq!(lines.one_more(Stranger::Unknown, at(1500)), Some(16));
        assert_eq!(lines.one_more(Stranger::Unknown, at(1500)), Some(0));
        assert_eq!(lines.take_left_out().count(), 0, "told");
    }

    #[test]
    fn what_no_line_tells_of_is_told_at_the_end() {
        let lines = FewLines::default();
        for _ in 0..17 {
            lines.one_more(Stranger::NotAdmitted, Instant::from_millis(500));
        }
        let left: Vec<_> = lines
            .take_left_out()
            .map(|(kind, count)| (kind.name(), count))
            .collect();
        assert_eq!(left, [("NotAdmitted", 7)]);
        assert_eq!(lines.take_left_out().count(), 0);
    }
}
