//! Settings that clones share and that change while they are in use. What they are is in `config`.

use core::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::config::Parts;
use super::files::Reload;
use super::{TlsError, TlsFiles};

/// What one side makes of the parts.
pub(super) trait Settings: Sized {
    /// Checks that they fit together.
    fn make(parts: Parts) -> Result<Self, TlsError>;

    fn parts(&self) -> &Parts;
}

/// The settings of now.
pub(super) struct Shared<T> {
    now: RwLock<Arc<T>>,
    /// Held while new ones are made from the old, so that no change is lost in another.
    changing: Mutex<()>,
}

impl<T: Settings> Shared<T> {
    pub(super) fn new(parts: Parts) -> Result<Arc<Self>, TlsError> {
        T::make(parts).map(Self::of)
    }

    pub(super) fn of(settings: T) -> Arc<Self> {
        Arc::new(Self {
            now: RwLock::new(Arc::new(settings)),
            changing: Mutex::new(()),
        })
    }

    pub(super) fn now(&self) -> Arc<T> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts new settings in force, made from what `change` makes of the parts of now.
    pub(super) fn change(&self, change: impl FnOnce(Parts) -> Parts) -> Result<(), TlsError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.put(change(self.now().parts().clone()))
    }

    fn put(&self, parts: Parts) -> Result<(), TlsError> {
        let new = Arc::new(T::make(parts)?);
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

impl<T: Settings + Send + Sync> Reload for Shared<T> {
    fn reload(&self, files: &TlsFiles) -> Result<TlsChange, TlsError> {
        // What is read later is put in force later.
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut parts = self.now().parts().clone();
        let read = files.read(parts.revocations.as_ref())?;
        let change = TlsChange {
            certificate: !parts.certificate.is_same(&read.certificate),
            authorities: parts.authorities.certificates() != read.authorities.certificates(),
            revocations: match (&parts.revocations, &read.revocations) {
                (Some(before), Some(now)) => !before.is_same(now),
                (before, now) => before.is_some() != now.is_some(),
            },
        };
        if !change.is_nothing() {
            parts.certificate = read.certificate;
            parts.authorities = read.authorities;
            if change.revocations {
                parts.revocations = match (read.revocations, &parts.revocations) {
                    (Some(now), Some(before)) => Some(now.keeping(before, &parts.authorities, parts.algorithms()?)),
                    (now, _) => now,
                };
            }
            self.put(parts)?;
        }
        Ok(change)
    }
}

/// What was found to be new in files. Its `Display` names it: `certificate, revocation lists`, or `nothing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsChange {
    /// The certificate chain or its key.
    pub certificate: bool,
    /// The authorities.
    pub authorities: bool,
    /// The revocation lists.
    pub revocations: bool,
}

impl TlsChange {
    /// Everything was as before.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        !(self.certificate || self.authorities || self.revocations)
    }
}

impl fmt::Display for TlsChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            (self.certificate, "certificate"),
            (self.authorities, "authorities"),
            (self.revocations, "revocation lists"),
        ];
        let names: Vec<_> = all.iter().filter(|(new, _)| *new).map(|(_, name)| *name).collect();
        f.write_str(&if names.is_empty() {
            "nothing".into()
        } else {
            names.join(", ")
        })
    }
}
