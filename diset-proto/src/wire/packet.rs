//! Control frames with meaning: each has a type, a reader and a writer. The layouts are in
//! PROTOCOL.md, parts H, L and E, with an example of each.

use core::fmt;
use core::time::Duration;

use super::args::{self, Arg, Args};
use super::session::{Answer, Resume};
use super::tlv::{BadPacket, Cursor, Fields, NoRoom, Writer, unknown};
use crate::definition::{Digest, Direction, Key, Verdict};
use crate::id::{Identity, ServiceName, Token, Trid};
use crate::limits::{
    Limits, MAX_CREDIT, MAX_FRAME, MAX_MESSAGE_NAME, MAX_MESSAGES, MAX_SILENCE, MAX_TEXT, MIN_FRAME, MIN_SILENCE,
};
use crate::status::{Code, Notice, RetryAfter, Text};
use crate::time::millis;

/// The limits a peer stated.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) struct PeerLimits {
    pub(crate) max_frame: u32,
    pub(crate) credit_bytes: u32,
    pub(crate) credit_messages: u32,
    pub(crate) max_silence: Duration,
}

/// Durations as numbers: core could panic where it formats one.
impl fmt::Debug for PeerLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerLimits")
            .field("max_frame", &self.max_frame)
            .field("credit_bytes", &self.credit_bytes)
            .field("credit_messages", &self.credit_messages)
            .field("max_silence_ms", &millis(self.max_silence))
            .finish()
    }
}

impl PeerLimits {
    pub(crate) const fn of(limits: &Limits) -> Self {
        Self {
            max_frame: limits.max_frame,
            credit_bytes: limits.credit_bytes,
            credit_messages: limits.credit_messages,
            max_silence: limits.max_silence,
        }
    }

    fn read(mut value: Cursor<'_>) -> Result<Self, BadPacket> {
        let bad = value.bad();
        let limits = Self {
            max_frame: value.u32()?,
            credit_bytes: value.u32()?,
            credit_messages: value.u32()?,
            max_silence: Duration::from_millis(value.varint()?),
        };
        value.end()?;
        let fits = (MIN_FRAME..=MAX_FRAME).contains(&limits.max_frame)
            && (limits.max_frame..=MAX_CREDIT).contains(&limits.credit_bytes)
            && (1..=MAX_CREDIT).contains(&limits.credit_messages)
            && (MIN_SILENCE..=MAX_SILENCE).contains(&limits.max_silence);
        if fits { Ok(limits) } else { Err(bad) }
    }

    fn write(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.varint(self.max_frame.into())?;
        out.varint(self.credit_bytes.into())?;
        out.varint(self.credit_messages.into())?;
        out.varint(millis(self.max_silence))
    }
}

/// What a client asks for when it connects.
#[derive(Debug, Clone, Copy)]
pub struct Proposal<'f> {
    pub(crate) service: ServiceName<'f>,
    pub(crate) identity: Identity,
    /// `None`: the client adopts the service's catalog.
    pub(crate) digest: Option<Digest>,
    pub(crate) limits: PeerLimits,
    pub(crate) records: Option<u32>,
    /// What it says of its session, when it keeps one: field 6. It can be read.
    #[cfg(feature = "alloc")]
    session: Option<Cursor<'f>>,
    pub(crate) args: Args<'f>,
}

impl<'f> Proposal<'f> {
    /// What it says of its session; `None` from a client that keeps none.
    #[cfg(feature = "alloc")]
    pub(crate) fn resume(&self) -> Option<Resume> {
        self.session.and_then(|value| Resume::read(value).ok())
    }

    /// The service it wants to talk to.
    pub const fn service(&self) -> ServiceName<'f> {
        self.service
    }

    /// The name it keeps across reconnects.
    pub const fn identity(&self) -> Identity {
        self.identity
    }

    /// The digest of the catalog it was built with; `None` when it has none and takes that of
    /// the service (PROTOCOL H-10).
    pub const fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// How many records each direction of its TLS may carry, when its TLS stack has no
    /// key update.
    pub const fn records(&self) -> Option<u32> {
        self.records
    }

    /// What it says about itself.
    pub const fn args(&self) -> Args<'f> {
        self.args
    }

    pub(crate) fn read(body: &'f [u8]) -> Result<Self, BadPacket> {
        let (mut service, mut identity, mut digest, mut limits) = (None, None, None, None);
        let (mut records, mut args, mut adopts) = (None, Args::default(), false);
        #[cfg(feature = "alloc")]
        let mut session = None;
        let mut fields = Fields::new(body);
        while let Some((tag, mut value)) = fields.next()? {
            match tag & !super::tlv::CRITICAL {
                1 => {
                    let name = core::str::from_utf8(value.rest()).map_err(|_| value.bad())?;
                    service = Some(ServiceName::parse(name).ok_or_else(|| value.bad())?);
                }
                2 => {
                    identity = Some(Identity::from_bytes(value.array()?));
                    value.end()?;
                }
                3 => {
                    digest = Some(Digest(value.array()?));
                    value.end()?;
                }
                4 => limits = Some(PeerLimits::read(value)?),
                5 => {
                    records = Some(value.u32()?);
                    value.end()?;
                }
                6 => {
                    Resume::read(value)?;
                    #[cfg(feature = "alloc")]
                    {
                        session = Some(value);
                    }
                }
                7 => args = Args::parse(value)?,
                8 => {
                    value.end()?;
                    adopts = true;
                }
                _ => unknown(tag)?,
            }
        }
        // PROTOCOL H-10: one or the other.
        match (digest, adopts) {
            (None, false) => return Err(BadPacket::Field(3)),
            (Some(_), true) => return Err(BadPacket::Field(8)),
            _ => {}
        }
        Ok(Self {
            service: service.ok_or(BadPacket::Field(1))?,
            identity: identity.ok_or(BadPacket::Field(2))?,
            digest,
            limits: limits.ok_or(BadPacket::Field(4))?,
            records,
            #[cfg(feature = "alloc")]
            session,
            args,
        })
    }

    /// Writes the proposal of a client. The arguments come as pairs because they are
    /// encoded here for the first time.
    pub(crate) fn write(
        out: &mut Writer<'_>,
        service: ServiceName<'_>,
        identity: &Identity,
        digest: Option<&Digest>,
        limits: &Limits,
        session: Option<&Resume>,
        pairs: &[(&str, Arg<'_>)],
    ) -> Result<(), NoRoom> {
        out.field(0x81, service.as_str().as_bytes())?;
        out.field(0x82, identity.as_bytes())?;
        if let Some(digest) = digest {
            out.field(0x83, &digest.0)?;
        }
        out.field_with(0x84, |out| PeerLimits::of(limits).write(out))?;
        if let Some(records) = limits.records {
            out.field_with(0x05, |out| out.varint(records.into()))?;
        }
        if let Some(session) = session {
            out.field_with(0x06, |out| session.write(out))?;
        }
        if !pairs.is_empty() {
            out.field_with(0x07, |out| args::write(pairs, out))?;
        }
        if digest.is_none() {
            out.field(0x88, &[])?;
        }
        Ok(())
    }
}

/// The service opens the connection.
#[derive(Debug, Clone)]
pub(crate) struct Acceptance<'f> {
    pub(crate) trid: Trid,
    pub(crate) limits: PeerLimits,
    verdicts: &'f [u8],
    /// What the service says of the session, when it keeps one.
    pub(crate) session: Option<Answer>,
    pub(crate) token: Option<Token>,
    /// That of the service's catalog, for a client that adopts it.
    pub(crate) digest: Option<Digest>,
}

impl<'f> Acceptance<'f> {
    /// The messages whose verdict is not `Same`, by their number at the client.
    pub(crate) fn verdicts(&self) -> impl Iterator<Item = (u8, Verdict)> + use<'f> {
        self.verdicts.chunks_exact(2).filter_map(|pair| match pair {
            [number, verdict] => Some((*number, Verdict::from_number(*verdict))),
            _ => None,
        })
    }

    pub(crate) fn read(body: &'f [u8]) -> Result<Self, BadPacket> {
        let (mut trid, mut limits, mut verdicts, mut digest) = (None, None, &[][..], None);
        let (mut session, mut token) = (None, None);
        let mut fields = Fields::new(body);
        while let Some((tag, mut value)) = fields.next()? {
            match tag & !super::tlv::CRITICAL {
                1 => {
                    trid = Some(Trid::new(value.varint()?));
                    value.end()?;
                }
                2 => limits = Some(PeerLimits::read(value)?),
                3 => {
                    verdicts = value.rest();
                    check_verdicts(verdicts).ok_or_else(|| value.bad())?;
                }
                4 => session = Some(Answer::read(value)?),
                5 => {
                    token = Some(Token::from_bytes(value.array()?));
                    value.end()?;
                }
                7 => {
                    digest = Some(Digest(value.array()?));
                    value.end()?;
                }
                _ => unknown(tag)?,
            }
        }
        Ok(Self {
            trid: trid.ok_or(BadPacket::Field(1))?,
            limits: limits.ok_or(BadPacket::Field(2))?,
            verdicts,
            session,
            token,
            digest,
        })
    }

    pub(crate) fn write(
        out: &mut Writer<'_>,
        trid: Trid,
        limits: &Limits,
        verdicts: impl Iterator<Item = (u8, Verdict)>,
        session: Option<&(Answer, Option<Token>)>,
        digest: Option<Digest>,
    ) -> Result<(), NoRoom> {
        out.field_with(0x81, |out| out.varint(trid.number()))?;
        out.field_with(0x82, |out| PeerLimits::of(limits).write(out))?;
        let mut verdicts = verdicts.peekable();
        if verdicts.peek().is_some() {
            out.field_with(0x83, |out| {
                verdicts.try_for_each(|(number, verdict)| out.raw(&[number, verdict.number()]))
            })?;
        }
        if let Some((answer, token)) = session {
            out.field_with(0x04, |out| answer.write(out))?;
            if let Some(token) = token {
                out.field(0x05, token.as_bytes())?;
            }
        }
        if let Some(digest) = digest {
            out.field(0x87, &digest.0)?;
        }
        Ok(())
    }
}

/// Numbers ascend and no verdict is `Same` (PROTOCOL S-5).
fn check_verdicts(pairs: &[u8]) -> Option<()> {
    let mut next = 0u8;
    let (chunks, rest) = pairs.as_chunks::<2>();
    for [number, verdict] in chunks {
        let same = Verdict::from_number(*verdict) == Verdict::Same;
        if same || *number < next || usize::from(*number) >= MAX_MESSAGES {
            return None;
        }
        next = number.saturating_add(1);
    }
    rest.is_empty().then_some(())
}

/// One entry of the client's definitions: name, key, direction; its number follows from
/// its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Definition<'f> {
    pub(crate) name: &'f str,
    pub(crate) key: Key,
    pub(crate) direction: Direction,
}

/// A part of the client's definitions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Definitions<'f> {
    /// The number of the first entry of this part.
    pub(crate) first: u8,
    /// How many messages the client has in all.
    pub(crate) total: u8,
    entries: Cursor<'f>,
}

impl<'f> Definitions<'f> {
    pub(crate) fn read(body: &'f [u8]) -> Result<Self, BadPacket> {
        let mut entries = Cursor::new(body, 1);
        let (first, total) = (entries.byte()?, entries.byte()?);
        if usize::from(total) > MAX_MESSAGES || first > total || (entries.is_empty() && first != total) {
            return Err(entries.bad());
        }
        Ok(Self { first, total, entries })
    }

    /// The next entry of this part.
    pub(crate) fn next(&mut self) -> Result<Option<Definition<'f>>, BadPacket> {
        if self.entries.is_empty() {
            return Ok(None);
        }
        let bad = self.entries.bad();
        let direction = Direction::from_number(self.entries.byte()?).ok_or(bad)?;
        let name = self.entries.text()?;
        let key = Key(self.entries.array()?);
        if name.is_empty() || name.len() > MAX_MESSAGE_NAME {
            return Err(bad);
        }
        Ok(Some(Definition { name, key, direction }))
    }

    /// Writes as many entries as fit, from number `first` on; gives the next number.
    pub(crate) fn write<'d>(
        out: &mut Writer<'_>,
        first: u8,
        total: u8,
        entries: impl Iterator<Item = Definition<'d>>,
    ) -> Result<u8, NoRoom> {
        out.raw(&[first, total])?;
        let mut next = first;
        for entry in entries.skip(usize::from(first)) {
            let written = out.undo_unless(|out| {
                out.byte(entry.direction.number())?;
                out.counted(entry.name.as_bytes())?;
                out.raw(&entry.key.0)
            });
            if written.is_err() {
                break;
            }
            next += 1;
        }
        if next == first && first < total {
            Err(NoRoom)
        } else {
            Ok(next)
        }
    }
}

impl Notice {
    pub(crate) fn read(body: &[u8]) -> Result<(Self, Option<Duration>), BadPacket> {
        let mut code = None;
        let mut notice = Self::new(Code::Internal);
        let mut deadline = None;
        let mut fields = Fields::new(body);
        while let Some((tag, mut value)) = fields.next()? {
            match tag & !super::tlv::CRITICAL {
                1 => {
                    let bad = value.bad();
                    code = Some(u16::try_from(value.varint()?).map_err(|_| bad)?);
                    value.end()?;
                }
                2 => {
                    let text = core::str::from_utf8(value.rest()).map_err(|_| value.bad())?;
                    if text.len() > MAX_TEXT {
                        return Err(value.bad());
                    }
                    notice.text = Text::new(text);
                }
                3 => {
                    notice.retry = Some(RetryAfter {
                        min_ms: value.u32()?,
                        spread_ms: value.u32()?,
                    });
                    value.end()?;
                }
                4 => {
                    notice.message = Some(value.byte()?);
                    value.end()?;
                }
                5 => {
                    deadline = Some(Duration::from_millis(value.u32()?.into()));
                    value.end()?;
                }
                _ => unknown(tag)?,
            }
        }
        notice.code = Code::from_number(code.ok_or(BadPacket::Field(1))?);
        Ok((notice, deadline))
    }

    pub(crate) fn write(&self, deadline: Option<Duration>, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.field_with(0x81, |out| out.varint(self.code.number().into()))?;
        if !self.text().is_empty() {
            out.field(0x02, self.text().as_bytes())?;
        }
        if let Some(retry) = self.retry {
            out.field_with(0x03, |out| {
                out.varint(retry.min_ms.into())?;
                out.varint(retry.spread_ms.into())
            })?;
        }
        if let Some(number) = self.message {
            out.field(0x04, &[number])?;
        }
        if let Some(deadline) = deadline {
            out.field_with(0x05, |out| out.varint(millis(deadline).min(u32::MAX.into())))?;
        }
        Ok(())
    }
}

/// Credit granted on top of what stands open: bytes of frames, and messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Grant {
    pub(crate) bytes: u32,
    pub(crate) messages: u32,
}

impl Grant {
    pub(crate) fn read(body: &[u8]) -> Result<Self, BadPacket> {
        let mut value = Cursor::new(body, 1);
        let grant = Self {
            bytes: value.u32()?,
            messages: value.u32()?,
        };
        value.end()?;
        Ok(grant)
    }

    pub(crate) fn write(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.varint(self.bytes.into())?;
        out.varint(self.messages.into())
    }
}
