//! Puts the catalog of a service together from its parts (PROTOCOL H-11).

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::fault::Fault;
use crate::definition::Digest;
use crate::id::ServiceName;
use crate::limits::MAX_CATALOG;
use crate::schema::learned::LearnedCatalog;
use crate::status::{Code, Text};
use crate::wire::tlv::BadPacket;

/// The descriptions of all messages, as far as they have come.
#[derive(Debug)]
#[cfg_attr(feature = "snapshot", derive(Clone, Hash))]
pub(super) struct Learner {
    service: Box<str>,
    descriptions: Vec<u8>,
}

impl Learner {
    pub(super) fn new(service: ServiceName<'_>) -> Self {
        Self {
            service: service.as_str().into(),
            descriptions: Vec::new(),
        }
    }

    #[cfg(feature = "record")]
    pub(super) fn service(&self) -> &str {
        &self.service
    }

    /// The next part.
    pub(super) fn add(&mut self, part: &[u8]) -> Result<(), Fault<'static>> {
        if part.is_empty() || self.descriptions.len() + part.len() > MAX_CATALOG {
            return Err(BadPacket::Field(0).into());
        }
        self.descriptions.extend_from_slice(part);
        Ok(())
    }

    /// All has come that the service has.
    pub(super) fn finish(self, digest: Digest) -> Result<LearnedCatalog, Fault<'static>> {
        let service = ServiceName::parse(&self.service).ok_or_else(|| bad_catalog("no name"))?;
        let catalog = LearnedCatalog::decode(service, &self.descriptions).map_err(bad_catalog)?;
        if catalog.digest() == digest {
            Ok(catalog)
        } else {
            Err(bad_catalog("not the digest it should have"))
        }
    }
}

fn bad_catalog(why: impl core::fmt::Display) -> Fault<'static> {
    let mut text = Text::default();
    let _ = core::fmt::Write::write_fmt(&mut text, format_args!("catalog: {why}"));
    Fault::whole(Code::PacketMalformed, text)
}
