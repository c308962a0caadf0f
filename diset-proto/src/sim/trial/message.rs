//! What the oracle knows of one message.

use alloc::vec::Vec;

use super::notes::Fate;
use crate::session::Outcome;
use crate::sim::world::{Delivery, Sent, Who};
use crate::status::Code;
use crate::store::Unsure;

#[derive(Debug)]
pub(super) struct Message {
    pub(super) who: Who,
    pub(super) delivery: Delivery,
    pub(super) fate: Fate,
    /// Not every peer takes it.
    pub(super) secret: bool,
    pub(super) sent: Sent,
    /// How often its session had begun when it was sent.
    pub(super) begun: u32,
    /// How often its session had begun when it left last, or was last restored: nobody knows of what a
    /// killed process had stored whether it had left.
    pub(super) left: Option<u32>,
    pub(super) told: Option<Outcome>,
    /// Its sender has lost it, or was killed before it was kept.
    pub(super) lost: bool,
    pub(super) unkept: bool,
    /// Its sender was cloned, or killed after it had been told: nothing is held against it.
    pub(super) lax: bool,
    /// In which processes it was handled.
    pub(super) handlings: Vec<u64>,
    pub(super) results: Vec<Result<(), Code>>,
}

/// What else is known when an outcome is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// How often the session has begun.
    pub(super) begun: u32,
    /// A durable peer has it, so its sender need not keep it.
    pub(super) freed: bool,
    /// There were peers that do not take secrets.
    pub(super) forbade: bool,
}

impl Message {
    pub(super) const fn new(
        who: Who,
        delivery: Delivery,
        (fate, secret): (Fate, bool),
        sent: Sent,
        begun: u32,
    ) -> Self {
        Self {
            who,
            delivery,
            fate,
            secret,
            sent,
            begun,
            left: None,
            told: None,
            lost: false,
            unkept: false,
            lax: false,
            handlings: Vec::new(),
            results: Vec::new(),
        }
    }

    /// Whether this outcome is a right one (PROTOCOL Q-5).
    pub(super) fn fits(&self, outcome: Outcome, known: Known) -> bool {
        match outcome {
            Outcome::Ok => self.results.contains(&Ok(())),
            Outcome::Failed(code) => self.results.contains(&Err(code)),
            Outcome::NotAgreed(_) => self.handlings.is_empty() && self.secret && known.forbade,
            Outcome::TooLong => false,
            Outcome::Skipped => self.handlings.is_empty(),
            Outcome::Unknown => self.may_be_unknown(known),
        }
    }

    /// What has never left moves into the new session, or is refused for what it is: only of what has
    /// left nobody may know (PROTOCOL N-6). That is told when its session has begun anew since, and its
    /// sender did not want it to be sent again, or has it no more; or when it is to be sent again and the peer takes
    /// no secrets any more.
    fn may_be_unknown(&self, known: Known) -> bool {
        let Some(left) = self.left else { return false };
        let ended = left < known.begun && (self.delivery == Delivery::Acked(Unsure::Report) || known.freed);
        ended || (self.secret && known.forbade)
    }
}
