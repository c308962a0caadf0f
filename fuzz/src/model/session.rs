//! What the two sides say of a session (part N).

use super::{Bytes, Read, all, id, varints};

/// N-2: what a side does in a session.
pub(in super::super) const SENDS: u8 = 4;
pub(in super::super) const TAKES: u8 = 8;

/// Flags without that of a client that goes on.
fn directions(flags: u8) -> Read<u8> {
    let sound = flags & !(2 | SENDS | TAKES) == 0 && (flags & 2 == 0 || flags & TAKES != 0);
    sound.then_some(flags)
}

/// N-3: what one side knows of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct ClaimSaid {
    /// Settled, sent; from one that sends.
    pub(in super::super) sender: Option<[u64; 2]>,
    /// Received, processed, and outcomes; from one that takes.
    pub(in super::super) taker: Option<TakerSaid>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct TakerSaid {
    pub(in super::super) received: u64,
    pub(in super::super) processed: u64,
    /// Number and code.
    pub(in super::super) failed: Vec<(u64, u16)>,
}

impl ClaimSaid {
    fn read(value: &mut Bytes<'_>, flags: u8) -> Read<Self> {
        let mut claim = Self {
            sender: None,
            taker: None,
        };
        if flags & SENDS != 0 {
            let [settled, sent] = [value.varint()?, value.varint()?];
            (settled <= sent).then_some(())?;
            claim.sender = Some([settled, sent]);
        }
        if flags & TAKES != 0 {
            let [received, processed] = [value.varint()?, value.varint()?];
            let mut failed: Vec<(u64, u16)> = Vec::new();
            while !value.0.is_empty() {
                let (number, code) = (value.varint()?, value.varint()?.try_into().ok()?);
                let last = failed.last().map_or(0, |(number, _)| *number);
                (last < number && number <= processed && code > 0).then_some(())?;
                failed.push((number, code));
            }
            (processed <= received && failed.len() <= 4).then_some(())?;
            claim.taker = Some(TakerSaid {
                received,
                processed,
                failed,
            });
        }
        Some(claim)
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let mut out = self.sender.map_or_else(Vec::new, |sender| varints(&sender));
        if let Some(taker) = &self.taker {
            out.extend(varints(&[taker.received, taker.processed]));
            for (number, code) in &taker.failed {
                out.extend(varints(&[*number, (*code).into()]));
            }
        }
        out
    }
}

/// N-2: token and claim, when the client goes on; and its other flags.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct ResumeSaid {
    pub(in super::super) known: Option<([u8; 16], ClaimSaid)>,
    pub(in super::super) flags: u8,
}

impl ResumeSaid {
    pub(super) fn read(value: Bytes<'_>) -> Read<Self> {
        all(value, |value| {
            let all = value.next()?;
            let flags = directions(all & !1)?;
            let known = if all & 1 == 0 {
                None
            } else {
                Some((id(Bytes(value.exactly(16)?))?, ClaimSaid::read(value, flags)?))
            };
            Some(Self { known, flags })
        })
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let mut out = vec![u8::from(self.known.is_some()) | self.flags];
        if let Some((token, claim)) = &self.known {
            out.extend_from_slice(token);
            out.extend(claim.write());
        }
        out
    }
}

/// N-3: a claim, or why the session is new; and flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct AnswerSaid {
    pub(in super::super) resumed: Result<ClaimSaid, u8>,
    pub(in super::super) flags: u8,
}

impl AnswerSaid {
    pub(super) fn read(value: Bytes<'_>) -> Read<Self> {
        all(value, |value| {
            let verdict = value.next()?;
            let flags = directions(value.next()?)?;
            let resumed = match verdict {
                0 => Ok(ClaimSaid::read(value, flags)?),
                why => Err(why),
            };
            Some(Self { resumed, flags })
        })
    }

    pub(super) fn write(&self) -> Vec<u8> {
        match &self.resumed {
            Ok(claim) => [&[0, self.flags][..], &claim.write()].concat(),
            Err(why) => vec![*why, self.flags],
        }
    }
}
