//! What the two sides tell each other about a session: fields of the handshake, acknowledgements.
//! The layouts are in PROTOCOL.md, parts N and Q.

use super::tlv::{BadPacket, Cursor, Writer};
use crate::id::Token;
use crate::limits::MAX_FAILURES;
use crate::status::Code;

/// A token and a claim stand in the request.
const GOES_ON: u8 = 1;
/// What this side received is kept beyond its process.
const IS_DURABLE: u8 = 2;
/// This side sends acked messages.
const SENDS: u8 = 4;
/// This side takes them.
const TAKES: u8 = 8;
/// The next message may have been dealt with before.
const REPEATED: u8 = 1;

/// What a side does in a session, as it says in the handshake (PROTOCOL N-2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Directions {
    /// It sends acked messages.
    pub(crate) sends: bool,
    /// It takes them.
    pub(crate) takes: bool,
    /// What it has received outlives its process.
    pub(crate) durable: bool,
}

impl Directions {
    /// Whether it has a session at all.
    pub(crate) const fn is_any(self) -> bool {
        self.sends || self.takes
    }

    /// `None`: some other flag is set, or what is durable is nothing.
    const fn from_flags(flags: u8) -> Option<Self> {
        if flags & !(IS_DURABLE | SENDS | TAKES) != 0 || flags & (IS_DURABLE | TAKES) == IS_DURABLE {
            return None;
        }
        Some(Self {
            sends: flags & SENDS != 0,
            takes: flags & TAKES != 0,
            durable: flags & IS_DURABLE != 0,
        })
    }

    const fn flags(self) -> u8 {
        let durable = if self.durable { IS_DURABLE } else { 0 };
        let sends = if self.sends { SENDS } else { 0 };
        durable | sends | if self.takes { TAKES } else { 0 }
    }
}

/// A message that was not handled, and why: its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Failure {
    pub(crate) number: u64,
    pub(crate) code: Code,
}

/// Outcomes that are not Ok.
pub(crate) type Failures = heapless::Vec<Failure, MAX_FAILURES>;

/// What one side knows of a session, as it tells the other when they meet again (PROTOCOL N-3): of each direction
/// what it has of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Claim {
    pub(crate) sender: Option<SenderClaim>,
    pub(crate) taker: Option<TakerClaim>,
}

/// What a side claims of its own messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct SenderClaim {
    /// All up to this one have an outcome that it knows.
    pub(crate) settled: u64,
    /// The last one that was ever transmitted.
    pub(crate) sent: u64,
}

/// What a side claims of the other's messages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct TakerClaim {
    /// The last one that it has.
    pub(crate) received: u64,
    /// The last one that was dealt with.
    pub(crate) processed: u64,
    /// Outcomes which the other may not know.
    pub(crate) failed: Failures,
}

impl Claim {
    /// What a side with these directions claims.
    fn read(value: &mut Cursor<'_>, directions: Directions) -> Self {
        let mut claim = Self::default();
        if directions.sends {
            let (settled, sent) = (value.varint(), value.varint());
            if settled > sent {
                value.refuse();
            }
            claim.sender = Some(SenderClaim { settled, sent });
        }
        if directions.takes {
            let (received, processed) = (value.varint(), value.varint());
            let failed = read_failures(value, processed);
            if processed > received {
                value.refuse();
            }
            claim.taker = Some(TakerClaim {
                received,
                processed,
                failed,
            });
        }
        claim
    }

    fn write(&self, out: &mut Writer<'_>) {
        if let Some(sender) = &self.sender {
            out.varint(sender.settled);
            out.varint(sender.sent);
        }
        if let Some(taker) = &self.taker {
            out.varint(taker.received);
            out.varint(taker.processed);
            write_failures(&taker.failed, out);
        }
    }
}

/// Reads pairs of number and code up to the end. The numbers ascend and none is above `last`.
fn read_failures(value: &mut Cursor<'_>, last: u64) -> Failures {
    let mut failures = Failures::new();
    let mut before = 0;
    while !value.is_empty() {
        let (number, code) = (value.varint(), value.u16());
        let failure = Failure {
            number,
            code: Code::from_number(code),
        };
        if number <= before || number > last || code == 0 || failures.push(failure).is_err() {
            value.refuse();
        }
        before = number;
    }
    failures
}

fn write_failures(failures: &Failures, out: &mut Writer<'_>) {
    for failure in failures {
        out.varint(failure.number);
        out.varint(failure.code.number().into());
    }
}

/// What a client says about its session when it connects (PROTOCOL N-2).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Resume {
    /// The token of the session it wants to go on with, and what it knows of it.
    pub(crate) known: Option<(Token, Claim)>,
    pub(crate) directions: Directions,
}

impl Resume {
    /// Whether the client wants to go on with a session. Else it begins one.
    pub const fn is_return(&self) -> bool {
        self.known.is_some()
    }

    /// What a client may ever have to say takes at most so many bytes, with tag and length.
    pub(crate) const MAX_FIELD: usize = 111;

    pub(crate) fn read(value: &mut Cursor<'_>) -> Self {
        let flags = value.byte();
        let directions = value.wanted(Directions::from_flags(flags & !GOES_ON));
        let goes_on = flags & GOES_ON != 0;
        Self {
            known: goes_on.then(|| (Token::from_bytes(value.array()), Claim::read(value, directions))),
            directions,
        }
    }

    pub(crate) fn write(&self, out: &mut Writer<'_>) {
        let flags = self.directions.flags();
        match &self.known {
            None => out.byte(flags),
            Some((token, claim)) => {
                out.byte(flags | GOES_ON);
                out.raw(token.as_bytes());
                claim.write(out);
            }
        }
    }
}

/// Why a session begins anew (PROTOCOL N-5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum NewReason {
    /// The client has none: it connects for the first time, or has lost its memory.
    First,
    /// The service has none: it was away for too long, or the service has lost its memory.
    Forgotten,
    /// What the two sides remember does not fit together: one is a copy, or was set back. The
    /// session that the service has is left alone; this one lasts as long as the connection.
    StateConflict,
    /// The service keeps no more sessions: this one lasts as long as the connection.
    NoRoom,
    /// A reason of a later version.
    Other(u8),
}

impl NewReason {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::First => 1,
            Self::Forgotten => 2,
            Self::StateConflict => 3,
            Self::NoRoom => 4,
            Self::Other(number) => number,
        }
    }

    pub(crate) const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::First,
            2 => Self::Forgotten,
            3 => Self::StateConflict,
            4 => Self::NoRoom,
            number => Self::Other(number),
        }
    }

    /// Whether the session outlives its connection.
    pub const fn is_kept(self) -> bool {
        matches!(self, Self::First | Self::Forgotten)
    }
}

impl core::fmt::Display for NewReason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::First => f.write_str("the client had no session"),
            Self::Forgotten => f.write_str("the service knows the session no more"),
            Self::StateConflict => f.write_str("what the two sides remember does not fit together"),
            Self::NoRoom => f.write_str("the service keeps no more sessions"),
            Self::Other(number) => write!(f, "a reason of a later version ({number})"),
        }
    }
}

/// What a service says about the session when it accepts, and the token that the client shows next.
pub(crate) type AnswerAndToken = (Answer, Option<Token>);

/// What a service says about the session when it accepts (PROTOCOL N-3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// What it knows of the session that goes on, or why it begins anew.
    pub(crate) resumed: Result<Claim, NewReason>,
    pub(crate) directions: Directions,
}

impl Answer {
    pub(crate) fn read(value: &mut Cursor<'_>) -> Self {
        let (verdict, flags) = (value.byte(), value.byte());
        let directions = value.wanted(Directions::from_flags(flags));
        let resumed = match verdict {
            0 => Ok(Claim::read(value, directions)),
            why => Err(NewReason::from_number(why)),
        };
        Self { resumed, directions }
    }

    pub(crate) fn write(&self, out: &mut Writer<'_>) {
        let flags = self.directions.flags();
        match &self.resumed {
            Ok(claim) => {
                out.raw(&[0, flags]);
                claim.write(out);
            }
            Err(why) => out.raw(&[why.number(), flags]),
        }
    }
}

/// More was received and dealt with than was told before on this connection (PROTOCOL Q-2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) received: u64,
    pub(crate) processed: u64,
    /// Outcomes that are not Ok; numbers count from what was dealt with before.
    pub(crate) failed: Failures,
}

impl Ack {
    pub(crate) fn read(body: &[u8]) -> Result<Self, BadPacket> {
        let mut value = Cursor::new(body, 1);
        let (received, processed) = (value.varint(), value.varint());
        let failed = read_failures(&mut value, processed);
        // PROTOCOL L-7
        if received == 0 && processed == 0 {
            value.refuse();
        }
        value.end()?;
        Ok(Self {
            received,
            processed,
            failed,
        })
    }

    pub(crate) fn write(&self, out: &mut Writer<'_>) {
        out.varint(self.received);
        out.varint(self.processed);
        write_failures(&self.failed, out);
    }
}

/// How many more messages there are of which the sender keeps the outcome (PROTOCOL Q-9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutcomesRead(pub(crate) u64);

impl OutcomesRead {
    pub(crate) fn read(body: &[u8]) -> Result<Self, BadPacket> {
        let mut value = Cursor::new(body, 1);
        let count = value.varint();
        value.end()?;
        if count == 0 {
            return Err(value.bad());
        }
        Ok(Self(count))
    }
}

/// What is to be known of the next acked message (PROTOCOL Q-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Next {
    /// So many numbers before it will never come.
    pub(crate) skipped: u64,
    /// It may have been dealt with before.
    pub(crate) repeated: bool,
}

impl Next {
    pub(crate) fn read(body: &[u8]) -> Result<Self, BadPacket> {
        let mut value = Cursor::new(body, 1);
        let (skipped, flags) = (value.varint(), value.byte());
        value.end()?;
        // PROTOCOL L-7: what says nothing is none.
        if flags & !REPEATED != 0 || (skipped == 0 && flags == 0) {
            return Err(value.bad());
        }
        Ok(Self {
            skipped,
            repeated: flags & REPEATED != 0,
        })
    }

    pub(crate) fn write(&self, out: &mut Writer<'_>) {
        out.varint(self.skipped);
        out.byte(u8::from(self.repeated) * REPEATED);
    }
}

/// The public key under which the client will come back (PROTOCOL N-8).
#[cfg(feature = "alloc")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct NextKey {
    /// SHA-256 of the key.
    pub(crate) hash: [u8; 32],
    /// For how long it is to be remembered, in seconds.
    pub(crate) seconds: u32,
}

#[cfg(feature = "alloc")]
impl NextKey {
    pub(crate) fn read(body: &[u8]) -> Result<Self, BadPacket> {
        let mut value = Cursor::new(body, 1);
        let next = Self {
            hash: value.array(),
            seconds: value.u32(),
        };
        value.end()?;
        Ok(next)
    }

    pub(crate) fn write(&self, out: &mut Writer<'_>) {
        out.raw(&self.hash);
        out.varint(self.seconds.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::{Digest, Verdict};
    use crate::id::{Identity, ServiceName, Trid};
    use crate::limits::{Limits, MAX_MESSAGES};
    use crate::wire::packet::{Acceptance, Proposal};

    const ALL: Directions = Directions {
        sends: true,
        takes: true,
        durable: true,
    };

    fn longest() -> Claim {
        let failure = Failure {
            number: u64::MAX,
            code: Code::Other(u16::MAX),
        };
        Claim {
            sender: Some(SenderClaim {
                settled: u64::MAX,
                sent: u64::MAX,
            }),
            taker: Some(TakerClaim {
                received: u64::MAX,
                processed: u64::MAX,
                failed: core::iter::repeat_n(failure, MAX_FAILURES).collect(),
            }),
        }
    }

    /// PROTOCOL F-6: no client has a smaller limit than 512. PROTOCOL H-1: a proposal is not longer than 1024.
    #[test]
    fn the_longest_that_can_be_said() {
        let mut bytes = [0; 2000];
        let mut out = Writer::new(&mut bytes);
        let resume = Resume {
            known: Some((Token::from_bytes([0; 16]), longest())),
            directions: ALL,
        };
        out.field_with(6, |out| resume.write(out));
        assert_eq!(out.len(), Resume::MAX_FIELD, "what stands below N-8");

        let answer = Answer {
            resumed: Ok(longest()),
            directions: ALL,
        };
        let limits = Limits::SERVER
            .with_max_frame((1 << 28) - 1)
            .with_credit(1 << 30, 1 << 30)
            .with_max_silence(core::time::Duration::from_secs(24 * 3600));
        let verdicts = (0..MAX_MESSAGES).map(|number| (u8::try_from(number).unwrap(), Verdict::Forbidden));
        let session = (answer, Some(Token::from_bytes([0; 16])));
        let mut out = Writer::new(&mut bytes);
        let digest = Some(Digest([0; 16]));
        Acceptance::write(&mut out, Trid::new(u64::MAX), &limits, verdicts, Some(&session), digest);
        assert!(out.len() < 512, "{} bytes and a head", out.len());
    }

    #[test]
    #[cfg(feature = "alloc")]
    fn the_token_in_a_proposal_does_not_show() {
        let resume = Resume {
            known: Some((Token::from_bytes([0xab; 16]), Claim::default())),
            directions: Directions::default(),
        };
        let (service, identity) = (ServiceName::parse("A/B").unwrap(), Identity::from_bytes([0; 16]));
        let mut bytes = [0; 1024];
        let mut out = Writer::new(&mut bytes);
        let digest = Some(&Digest([0; 16]));
        Proposal::write(&mut out, service, &identity, digest, &Limits::CHIP, Some(&resume), &[]);
        let len = out.len();
        let proposal = Proposal::read(&bytes[..len]).unwrap();
        assert_eq!(proposal.resume(), Some(resume));
        let shown = format!("{proposal:?}");
        assert!(shown.contains("A/B") && !shown.contains("171"), "{shown}");
    }

    #[test]
    fn the_longest_acknowledgement_fits_what_is_left_free_for_it() {
        let mut bytes = [0; crate::limits::CONTROL_RESERVE];
        let ack = Ack {
            received: u64::MAX,
            processed: u64::MAX,
            failed: longest().taker.unwrap_or_default().failed,
        };
        let mut out = Writer::new(&mut bytes);
        ack.write(&mut out);
        assert!(out.fits(), "PROTOCOL L-1");
    }
}
