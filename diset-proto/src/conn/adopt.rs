//! Catalogs that are told: a client that was built without one takes that of the service
//! (PROTOCOL H-10, H-11).

#[cfg(feature = "alloc")]
use alloc::{boxed::Box, sync::Arc};

use super::core::Core;
use super::fault::Fault;
#[cfg(feature = "alloc")]
use super::{AdoptConfig, learner::Learner, role::Role, state::Phase};
#[cfg(feature = "alloc")]
use crate::definition::Verdict;
use crate::definition::{Digest, Direction};
#[cfg(feature = "alloc")]
use crate::error::Misuse;
use crate::schema::MessageDef;
#[cfg(feature = "alloc")]
use crate::schema::agree::Agreement;
#[cfg(feature = "alloc")]
use crate::schema::{
    Catalog,
    learned::{LearnedCatalog, LearnedMessage},
};
#[cfg(feature = "alloc")]
use crate::time::Instant;
use crate::wire::tlv::BadPacket;

/// Where a side got its catalog.
#[derive(Debug)]
#[cfg_attr(feature = "snapshot", derive(Clone, Hash))]
pub(super) enum Adopted {
    /// It was built with it.
    No,
    /// From the service, which is still telling.
    #[cfg(feature = "alloc")]
    Learning(Box<Learner>),
    /// From the service.
    #[cfg(feature = "alloc")]
    Learned(Arc<LearnedCatalog>),
}

impl Core {
    /// The core of a client that adopts the service's catalog.
    #[cfg(feature = "alloc")]
    pub(super) fn adopting(now: Instant, config: &AdoptConfig<'_>) -> Result<Self, Misuse> {
        let mut core = Self::new(now, Role::Client, &Catalog::LEARNED, config.limits)?;
        core.adopted = Adopted::Learning(Box::new(Learner::new(config.service)));
        core.phase = Phase::Adopting;
        Ok(core)
    }

    /// Client: a part of the catalog came.
    #[cfg_attr(not(feature = "alloc"), expect(unused_variables, reason = "nobody adopts"))]
    pub(super) fn learn(&mut self, body: &[u8]) -> Result<(), Fault<'static>> {
        match &mut self.adopted {
            #[cfg(feature = "alloc")]
            Adopted::Learning(learner) => learner.add(body),
            _ => Err(BadPacket::Field(0).into()),
        }
    }

    /// Client: the service has accepted, and told its catalog to one that adopts it.
    pub(super) fn adopt(&mut self, digest: Option<Digest>) -> Result<(), Fault<'static>> {
        match (core::mem::replace(&mut self.adopted, Adopted::No), digest) {
            (Adopted::No, None) => Ok(()),
            #[cfg(feature = "alloc")]
            (Adopted::Learning(learner), Some(digest)) => {
                let catalog = learner.finish(digest)?;
                self.agreement = Agreement::all(catalog.count());
                self.adopted = Adopted::Learned(Arc::new(catalog));
                Ok(())
            }
            _ => Err(BadPacket::Field(7).into()),
        }
    }

    /// Service: whether it can tell its catalog.
    #[cfg(feature = "alloc")]
    pub(super) const fn tells(&self) -> bool {
        self.told.is_some()
    }

    /// Chips are no services, and shall not carry what tells a catalog.
    #[cfg(not(feature = "alloc"))]
    #[expect(clippy::unused_self, reason = "the same call as with `alloc`")]
    pub(super) const fn tells(&self) -> bool {
        false
    }

    /// The definition of the message with this number, and which way it travels; an entry of another kind is no message.
    /// The rest of one that was learned is not here but in its catalog.
    #[inline]
    pub(super) fn def(&self, number: u8) -> Option<(&'static MessageDef, Direction)> {
        match &self.adopted {
            #[cfg(feature = "alloc")]
            Adopted::Learned(catalog) => {
                let message = catalog.by_number(number).filter(|entry| !entry.kind().has_answer())?;
                Some((&MessageDef::LEARNED, message.direction()))
            }
            _ => self.catalog.message(number).map(|def| (def, def.direction())),
        }
    }

    /// The number of a message of the catalog that was learned.
    #[cfg(feature = "alloc")]
    pub(super) fn number_of(&self, message: &LearnedMessage) -> Result<u8, Verdict> {
        let catalog = self.learned().ok_or(Verdict::Unknown)?;
        let mut messages = catalog.messages().iter().zip(0u8..);
        match messages.find(|(own, _)| own.name() == message.name()) {
            Some((own, number)) if own.key() == message.key() => Ok(number),
            Some(_) => Err(Verdict::Differs),
            None => Err(Verdict::Unknown),
        }
    }

    /// The catalog that was learned.
    #[cfg(feature = "alloc")]
    pub(super) const fn learned(&self) -> Option<&Arc<LearnedCatalog>> {
        match &self.adopted {
            Adopted::Learned(catalog) => Some(catalog),
            Adopted::No | Adopted::Learning(_) => None,
        }
    }
}
