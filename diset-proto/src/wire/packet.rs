//! Control frames with meaning: each has a type, a reader and a writer. The layouts are in
//! PROTOCOL.md, parts H, L and E, with an example of each.

use core::fmt;

use super::args::{self, Arg, Args};
use super::session::{Answer, AnswerAndToken, Resume};
use super::tlv::{BadPacket, Cursor, Fields, Writer};
use crate::definition::{Digest, Verdict};
use crate::id::{Identity, ServiceName, Token, Trid};
use crate::limits::{Limits, MAX_CREDIT, MAX_FRAME, MAX_MESSAGES, MAX_SLOTS, MAX_TEXT, MIN_FRAME, is_silence};
use crate::status::{Code, Notice, RetryAfter, Text};
use crate::time::Millis;

/// The limits a peer stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) struct PeerLimits {
    pub(crate) max_frame: u32,
    pub(crate) credit_bytes: u32,
    pub(crate) credit_messages: u32,
    pub(crate) max_silence: Millis,
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

    /// Credit for all that may be under way.
    pub(crate) const fn window(&self) -> Grant {
        Grant {
            bytes: self.credit_bytes,
            messages: self.credit_messages,
        }
    }

    fn read(value: &mut Cursor<'_>) -> Self {
        let limits = Self {
            max_frame: value.u32(),
            credit_bytes: value.u32(),
            credit_messages: value.u32(),
            max_silence: Millis(value.u32()),
        };
        let fits = (MIN_FRAME..=MAX_FRAME).contains(&limits.max_frame)
            && (limits.max_frame..=MAX_CREDIT).contains(&limits.credit_bytes)
            && (1..=MAX_CREDIT).contains(&limits.credit_messages)
            && is_silence(limits.max_silence);
        if !fits {
            value.refuse();
        }
        limits
    }

    /// What may be sent at first: at most the window, and all of it when nothing is said (PROTOCOL L-3).
    fn first_credit(&self, value: Option<&mut Cursor<'_>>) -> Grant {
        let window = self.window();
        let Some(value) = value else { return window };
        let first = Grant::take(value);
        if first.bytes > window.bytes || first.messages > window.messages {
            value.refuse();
        }
        first
    }

    /// Reads what the peer offers of calls, in the packet with these limits: slots, bytes of its request window, slots that
    /// keep acked calls (PROTOCOL H-13). This side makes no calls: it is enough that it can be.
    fn check_calls(&self, value: &mut Cursor<'_>) {
        let (slots, window, acked) = (value.u32(), value.u32(), value.u32());
        let fits =
            (1..=MAX_SLOTS).contains(&slots) && (self.max_frame..=MAX_CREDIT).contains(&window) && acked <= slots;
        if !fits {
            value.refuse();
        }
    }

    fn write(&self, out: &mut Writer<'_>) {
        out.varint(self.max_frame.into());
        out.varint(self.credit_bytes.into());
        out.varint(self.credit_messages.into());
        out.varint(self.max_silence.0.into());
    }
}

/// What a client asks for when it connects.
#[derive(Clone, Copy)]
pub struct Proposal<'f> {
    pub(crate) service: ServiceName<'f>,
    pub(crate) identity: Identity,
    /// `None`: the client adopts the service's catalog.
    pub(crate) digest: Option<Digest>,
    pub(crate) limits: PeerLimits,
    /// What may be sent at first.
    pub(crate) first: Grant,
    pub(crate) records: Option<u32>,
    /// What it says of its session, when it keeps one: field 6. It can be read.
    #[cfg(feature = "alloc")]
    session: Option<Cursor<'f>>,
    pub(crate) args: Args<'f>,
}

/// Without the token of its session, and the values of its arguments.
impl fmt::Debug for Proposal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proposal")
            .field("service", &self.service)
            .field("identity", &self.identity)
            .field("digest", &self.digest)
            .field("limits", &self.limits)
            .field("records", &self.records)
            .field("args", &self.args)
            .finish_non_exhaustive()
    }
}

impl<'f> Proposal<'f> {
    /// What it says of its session; `None` from a client that keeps none.
    #[cfg(feature = "alloc")]
    pub(crate) fn resume(&self) -> Option<Resume> {
        self.session.map(|mut value| Resume::read(&mut value))
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
        let mut fields = Fields::new(body);
        let name = fields.must(0x81);
        let service = ServiceName::parse(name.text_rest());
        if service.is_none() {
            name.refuse();
        }
        let identity = Identity::from_bytes(fields.must(0x82).array());
        let digest = fields.may(0x83).map(|value| Digest(value.array()));
        let limits = PeerLimits::read(fields.must(0x84));
        let records = fields.may(0x05).map(Cursor::u32);
        let session = fields.may(0x06).map(|value| value.checked(Resume::read));
        #[cfg(not(feature = "alloc"))]
        let _ = session;
        let args = fields.may(0x07).map(Args::parse).unwrap_or_default();
        let adopts = fields.may(0x88).is_some();
        let first = limits.first_credit(fields.may(0x8a));
        if let Some(calls) = fields.may(0x0b) {
            limits.check_calls(calls);
        }
        fields.end()?;
        // One that is none was refused.
        let service = service.ok_or(BadPacket::Field(1))?;
        // PROTOCOL H-10: one or the other.
        match (digest, adopts) {
            (None, false) => return Err(BadPacket::Field(3)),
            (Some(_), true) => return Err(BadPacket::Field(8)),
            _ => {}
        }
        Ok(Self {
            service,
            identity,
            digest,
            first,
            limits,
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
    ) {
        out.field(0x81, service.as_str().as_bytes());
        out.field(0x82, identity.as_bytes());
        if let Some(digest) = digest {
            out.field(0x83, &digest.0);
        }
        out.field_with(0x84, |out| PeerLimits::of(limits).write(out));
        if let Some(records) = limits.records() {
            out.number(0x05, records.into());
        }
        if let Some(session) = session {
            out.field_with(0x06, |out| session.write(out));
        }
        if !pairs.is_empty() {
            out.field_with(0x07, |out| args::write(pairs, out));
        }
        if digest.is_none() {
            out.field(0x88, &[]);
        }
    }
}

/// The service opens the connection.
#[derive(Debug, Clone)]
pub(crate) struct Acceptance<'f> {
    pub(crate) trid: Trid,
    pub(crate) limits: PeerLimits,
    /// What may be sent at first.
    pub(crate) first: Grant,
    verdicts: &'f [u8],
    /// What the service says of the session, when it keeps one: field 4. It can be read.
    session: Option<Cursor<'f>>,
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

    /// What the service says of the session, when it keeps one.
    pub(crate) fn answer(&self) -> Option<Answer> {
        self.session.map(|mut value| Answer::read(&mut value))
    }

    pub(crate) fn read(body: &'f [u8]) -> Result<Self, BadPacket> {
        let mut fields = Fields::new(body);
        let trid = Trid::new(fields.must(0x81).varint());
        let limits = PeerLimits::read(fields.must(0x82));
        let verdicts = fields.may(0x83).map(read_verdicts).unwrap_or_default();
        let session = fields.may(0x04).map(|value| value.checked(Answer::read));
        let token = fields.may(0x05).map(|value| Token::from_bytes(value.array()));
        let digest = fields.may(0x87).map(|value| Digest(value.array()));
        let first = limits.first_credit(fields.may(0x8a));
        if let Some(calls) = fields.may(0x0b) {
            limits.check_calls(calls);
        }
        fields.end()?;
        Ok(Self {
            trid,
            limits,
            first,
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
        session: Option<&AnswerAndToken>,
        digest: Option<Digest>,
    ) {
        out.number(0x81, trid.number());
        out.field_with(0x82, |out| PeerLimits::of(limits).write(out));
        let mut verdicts = verdicts.peekable();
        if verdicts.peek().is_some() {
            out.field_with(0x83, |out| {
                verdicts.for_each(|(number, verdict)| out.raw(&[number, verdict.number()]));
            });
        }
        if let Some((answer, token)) = session {
            out.field_with(0x04, |out| answer.write(out));
            if let Some(token) = token {
                out.field(0x05, token.as_bytes());
            }
        }
        if let Some(digest) = digest {
            out.field(0x87, &digest.0);
        }
    }
}

/// Numbers ascend and no verdict is `Same` (PROTOCOL S-5).
fn read_verdicts<'f>(value: &mut Cursor<'f>) -> &'f [u8] {
    let pairs = value.rest();
    let mut next = 0u8;
    let (chunks, rest) = pairs.as_chunks::<2>();
    let mut fits = rest.is_empty();
    for [number, verdict] in chunks {
        fits &=
            Verdict::from_number(*verdict) != Verdict::Same && *number >= next && usize::from(*number) < MAX_MESSAGES;
        next = number.saturating_add(1);
    }
    if !fits {
        value.refuse();
    }
    pairs
}

impl Notice {
    pub(crate) fn read(body: &[u8]) -> Result<(Self, Option<Millis>), BadPacket> {
        let mut fields = Fields::new(body);
        let code = fields.must(0x81).u16();
        let text = fields.may(0x02).map(|value| {
            let text = value.text_rest();
            if text.len() > MAX_TEXT {
                value.refuse();
            }
            text
        });
        let retry = fields.may(0x03).map(|value| RetryAfter {
            min_ms: value.u32(),
            spread_ms: value.u32(),
        });
        let message = fields.may(0x04).map(Cursor::byte);
        let deadline = fields.may(0x05).map(|value| Millis(value.u32()));
        let permanent = fields.may(0x06).is_some();
        fields.end()?;
        let notice = Self {
            code: Code::from_number(code),
            text: Text::new(text.unwrap_or_default()),
            retry,
            message,
            permanent,
        };
        Ok((notice, deadline))
    }

    pub(crate) fn write(&self, deadline: Option<Millis>, out: &mut Writer<'_>) {
        out.number(0x81, self.code.number().into());
        if !self.text().is_empty() {
            out.field(0x02, self.text().as_bytes());
        }
        if let Some(retry) = self.retry {
            out.field_with(0x03, |out| {
                out.varint(retry.min_ms.into());
                out.varint(retry.spread_ms.into());
            });
        }
        if let Some(number) = self.message {
            out.field(0x04, &[number]);
        }
        if let Some(deadline) = deadline {
            out.number(0x05, deadline.0.into());
        }
        if self.permanent {
            out.field(0x06, &[]);
        }
    }
}

/// Credit granted on top of what stands open: bytes of frames, and messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) struct Grant {
    pub(crate) bytes: u32,
    pub(crate) messages: u32,
}

impl Grant {
    pub(crate) fn read(body: &[u8]) -> Result<Self, BadPacket> {
        let mut value = Cursor::new(body, 1);
        let grant = Self::take(&mut value);
        value.end()?;
        if grant.bytes == 0 && grant.messages == 0 {
            return Err(value.bad());
        }
        Ok(grant)
    }

    fn take(value: &mut Cursor<'_>) -> Self {
        Self {
            bytes: value.u32(),
            messages: value.u32(),
        }
    }

    pub(crate) fn write(&self, out: &mut Writer<'_>) {
        out.varint(self.bytes.into());
        out.varint(self.messages.into());
    }
}
