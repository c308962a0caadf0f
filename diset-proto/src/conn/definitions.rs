//! A service asks a client whose catalog it does not know for its definitions (PROTOCOL H-8).

use super::core::Core;
use super::fault::Taken;
use super::service::Admission;
use super::state::Phase;
use crate::schema::agree::Agreement;
use crate::time::Instant;
use crate::wire::definitions::Definitions;
use crate::wire::tlv::BadPacket;

impl Core {
    /// Whether the definitions of the client are known. If not it is asked for them.
    pub(super) fn knows(&mut self, now: Instant, admission: &Admission) -> bool {
        if let Some(known) = &admission.known {
            self.agreement = known.clone();
            return true;
        }
        self.agreement = Agreement::empty(0);
        self.agreement.forbid(admission.forbidden);
        self.pending.ask();
        self.deadline = Some(now.plus(self.limits.handshake));
        self.enter(Phase::Asking);
        false
    }

    /// Service: a part of the definitions came (PROTOCOL H-8).
    pub(super) fn defined(&mut self, now: Instant, body: &[u8]) -> Taken<'static> {
        let mut part = Definitions::read(body)?;
        if part.first == 0 && self.agreement.filled() == 0 {
            self.agreement = self.agreement.emptied(part.total);
        }
        let expected = self.agreement.filled();
        let total = expected + self.agreement.missing();
        if part.first != expected || part.total != total {
            return Err(BadPacket::Field(1).into());
        }
        while let Some(definition) = part.next()? {
            if self.agreement.missing() == 0 {
                return Err(BadPacket::Field(1).into());
            }
            self.agreement.add(self.catalog, &definition);
        }
        if self.agreement.missing() > 0 {
            return Ok(None);
        }
        Ok(Some(self.open(now)))
    }
}
