//! Handshake packets as PROTOCOL.md lays them out (parts H, N, L and E), read and written a second time, apart from
//! diset-proto: what the engine takes and makes of it is held against this.

mod definitions;
mod session;

pub(super) use self::definitions::DefinitionsSaid;
pub(super) use self::session::{AnswerSaid, ClaimSaid, ResumeSaid, SENDS, TAKES};
use super::Bytes;

/// What a packet says that was taken; `None` where it must be refused.
pub(super) type Read<T> = Option<T>;

/// Longest frame (bytes), credit (bytes), credit (messages), longest silence (ms).
pub(super) type LimitsSaid = [u64; 4];

/// Appends a varint.
pub(super) fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn counted(bytes: &[u8], out: &mut Vec<u8>) {
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn field(tag: u8, value: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    counted(value, out);
}

fn varints(values: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    values.iter().for_each(|&value| varint(value, &mut bytes));
    bytes
}

impl<'d> Bytes<'d> {
    /// F-1, up to 64 bits.
    fn varint(&mut self) -> Read<u64> {
        let mut value = 0u128;
        for at in 0..10 {
            let byte = self.next()?;
            value |= u128::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                return if byte == 0 && at > 0 {
                    None
                } else {
                    value.try_into().ok()
                };
            }
        }
        None
    }

    fn u32(&mut self) -> Read<u32> {
        self.varint()?.try_into().ok()
    }

    fn exactly(&mut self, count: usize) -> Read<&'d [u8]> {
        (count <= self.0.len()).then(|| self.take(count))
    }

    fn counted(&mut self) -> Read<&'d [u8]> {
        let count = self.varint()?.try_into().ok()?;
        self.exactly(count)
    }

    fn text(&mut self) -> Read<&'d str> {
        core::str::from_utf8(self.counted()?).ok()
    }

    fn end(&self) -> Read<()> {
        self.0.is_empty().then_some(())
    }
}

/// H-2: number and value of each field that is known.
fn fields<'d>(body: &'d [u8], known: &[u8]) -> Read<Vec<(u8, Bytes<'d>)>> {
    let (mut rest, mut last, mut found) = (Bytes(body), 0, Vec::new());
    while let Some(tag) = rest.next() {
        let number = tag & 0x7f;
        let value = rest.counted()?;
        if number <= last || (tag > 0x7f && !known.contains(&number)) {
            return None;
        }
        last = number;
        if known.contains(&number) {
            found.push((number, Bytes(value)));
        }
    }
    Some(found)
}

fn all<'d, T>(mut value: Bytes<'d>, read: impl FnOnce(&mut Bytes<'d>) -> Read<T>) -> Read<T> {
    let read = read(&mut value)?;
    value.end()?;
    Some(read)
}

fn id(value: Bytes<'_>) -> Read<[u8; 16]> {
    value.0.try_into().ok()
}

/// F-6, L-3, K-1.
fn limits(value: Bytes<'_>) -> Read<LimitsSaid> {
    let said = all(value, |value| {
        Some([value.varint()?, value.varint()?, value.varint()?, value.varint()?])
    })?;
    let [frame, bytes, messages, silence] = said;
    let credit = 1 << 30;
    let sound = (512..1 << 28).contains(&frame)
        && (frame..=credit).contains(&bytes)
        && (1..=credit).contains(&messages)
        && (100..=24 * 3_600_000).contains(&silence);
    sound.then_some(said)
}

/// H-13: slots, window, slots that keep acked calls. Nothing is made of it.
fn calls(value: Bytes<'_>, limits: Option<LimitsSaid>) -> Read<()> {
    let [slots, window, acked] = all(value, |value| Some([value.varint()?, value.varint()?, value.varint()?]))?;
    let [frame, ..] = limits?;
    let sound = (1..=4096).contains(&slots) && (frame..=1 << 30).contains(&window) && acked <= slots;
    sound.then_some(())
}

/// A connect argument: name, type, and the bytes of its value.
type ArgSaid<'d> = (&'d str, u8, &'d [u8]);

/// L-3: of a window, bytes and messages.
fn first_credit(value: Bytes<'_>, said: Option<LimitsSaid>) -> Read<[u64; 2]> {
    let first = all(value, |value| Some([value.varint()?, value.varint()?]))?;
    let [_, bytes, messages, _] = said?;
    (first[0] <= bytes && first[1] <= messages).then_some(first)
}

#[derive(Debug)]
pub(super) struct ProposalSaid<'d> {
    pub(super) service: &'d str,
    pub(super) identity: [u8; 16],
    /// `None`: adopt.
    pub(super) digest: Option<[u8; 16]>,
    pub(super) limits: LimitsSaid,
    pub(super) records: Option<u32>,
    pub(super) session: Option<ResumeSaid>,
    pub(super) args: Vec<ArgSaid<'d>>,
    pub(super) first: Option<[u64; 2]>,
}

impl<'d> ProposalSaid<'d> {
    pub(super) fn read(body: &'d [u8]) -> Read<Self> {
        let (mut service, mut identity, mut digest, mut said) = (None, None, None, None);
        let (mut records, mut session, mut args, mut adopts) = (None, None, Vec::new(), false);
        let mut first = None;
        for (number, value) in fields(body, &[1, 2, 3, 4, 5, 6, 7, 8, 10, 11])? {
            match number {
                1 => service = Some(service_name(value.0)?),
                2 => identity = Some(id(value)?),
                3 => digest = Some(id(value)?),
                4 => said = Some(limits(value)?),
                5 => records = Some(all(value, Bytes::u32)?),
                6 => session = Some(ResumeSaid::read(value)?),
                7 => args = arguments(value)?,
                10 => first = Some(first_credit(value, said)?),
                11 => calls(value, said)?,
                _ => {
                    value.end()?;
                    adopts = true;
                }
            }
        }
        // H-10.
        (digest.is_some() != adopts).then_some(())?;
        Some(Self {
            service: service?,
            identity: identity?,
            digest,
            limits: said?,
            records,
            session,
            args,
            first,
        })
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        field(0x81, self.service.as_bytes(), &mut out);
        field(0x82, &self.identity, &mut out);
        if let Some(digest) = &self.digest {
            field(0x83, digest, &mut out);
        }
        field(0x84, &varints(&self.limits), &mut out);
        if let Some(records) = self.records {
            field(0x05, &varints(&[records.into()]), &mut out);
        }
        if let Some(session) = &self.session {
            field(0x06, &session.write(), &mut out);
        }
        if !self.args.is_empty() {
            let mut args = Vec::new();
            for (name, kind, value) in &self.args {
                counted(name.as_bytes(), &mut args);
                args.push(*kind);
                if *kind < 3 {
                    args.extend_from_slice(value);
                } else {
                    counted(value, &mut args);
                }
            }
            field(0x07, &args, &mut out);
        }
        if self.digest.is_none() {
            field(0x88, &[], &mut out);
        }
        if let Some(first) = &self.first {
            field(0x8a, &varints(first), &mut out);
        }
        out
    }
}

/// H-3.
fn service_name(bytes: &[u8]) -> Read<&str> {
    let name = core::str::from_utf8(bytes).ok()?;
    let (system, service) = name.split_once('/')?;
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    (name.len() <= 64 && part(system) && part(service)).then_some(name)
}

/// H-5.
fn arguments(mut value: Bytes<'_>) -> Read<Vec<ArgSaid<'_>>> {
    let mut args: Vec<ArgSaid<'_>> = Vec::new();
    while !value.0.is_empty() {
        let (name, kind) = (value.text()?, value.next()?);
        let content = match kind {
            0 => value.exactly(1).filter(|flag| flag[0] < 2)?,
            1 | 2 => value.exactly(8)?,
            3 => value.text()?.as_bytes(),
            4 => value.counted()?,
            _ => return None,
        };
        if name.is_empty() || args.iter().any(|(earlier, ..)| *earlier == name) {
            return None;
        }
        args.push((name, kind, content));
    }
    (args.len() <= 16).then_some(args)
}

#[derive(Debug)]
pub(super) struct AcceptanceSaid {
    pub(super) trid: u64,
    pub(super) limits: LimitsSaid,
    /// Number at the client, verdict.
    pub(super) verdicts: Vec<(u8, u8)>,
    pub(super) session: Option<AnswerSaid>,
    pub(super) token: Option<[u8; 16]>,
    pub(super) digest: Option<[u8; 16]>,
    pub(super) first: Option<[u64; 2]>,
}

impl AcceptanceSaid {
    /// To a client with so many messages, which adopts the catalog with this digest, if any.
    pub(super) fn read(body: &[u8], messages: usize, adopts: Option<[u8; 16]>) -> Read<Self> {
        let (mut trid, mut said, mut verdicts, mut digest) = (None, None, Vec::new(), None);
        let (mut session, mut token, mut first) = (None, None, None);
        for (number, mut value) in fields(body, &[1, 2, 3, 4, 5, 7, 10, 11])? {
            match number {
                1 => trid = Some(all(value, Bytes::varint)?),
                2 => said = Some(limits(value)?),
                3 => {
                    while let Some(number) = value.next() {
                        // S-5: ascending, none `Same`, and what is not known is `Differs`.
                        let verdict = value.next().filter(|verdict| *verdict != 0)?;
                        let verdict = if verdict > 3 { 2 } else { verdict };
                        let ascends = verdicts.last().is_none_or(|(earlier, _)| *earlier < number);
                        (ascends && usize::from(number) < messages).then_some(())?;
                        verdicts.push((number, verdict));
                    }
                }
                4 => session = Some(AnswerSaid::read(value)?),
                5 => token = Some(id(value)?),
                7 => digest = Some(id(value)?),
                10 => first = Some(first_credit(value, said)?),
                _ => calls(value, said)?,
            }
        }
        (digest == adopts).then_some(())?;
        Some(Self {
            trid: trid?,
            limits: said?,
            verdicts,
            session,
            token,
            digest,
            first,
        })
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        field(0x81, &varints(&[self.trid]), &mut out);
        field(0x82, &varints(&self.limits), &mut out);
        if !self.verdicts.is_empty() {
            let pairs: Vec<_> = self
                .verdicts
                .iter()
                .flat_map(|(number, verdict)| [*number, *verdict])
                .collect();
            field(0x83, &pairs, &mut out);
        }
        if let Some(session) = &self.session {
            field(0x04, &session.write(), &mut out);
        }
        if let Some(token) = &self.token {
            field(0x05, token, &mut out);
        }
        if let Some(digest) = &self.digest {
            field(0x87, digest, &mut out);
        }
        if let Some(first) = &self.first {
            field(0x8a, &varints(first), &mut out);
        }
        out
    }
}

/// E-2.
#[derive(Debug)]
pub(super) struct NoticeSaid<'d> {
    pub(super) code: u16,
    pub(super) text: &'d str,
    pub(super) retry: Option<(u32, u32)>,
    pub(super) message: Option<u8>,
    pub(super) deadline: Option<u32>,
    pub(super) permanent: bool,
}

impl<'d> NoticeSaid<'d> {
    pub(super) fn read(body: &'d [u8]) -> Read<Self> {
        let mut code = None;
        let mut said = NoticeSaid {
            code: 0,
            text: "",
            retry: None,
            message: None,
            deadline: None,
            permanent: false,
        };
        for (number, value) in fields(body, &[1, 2, 3, 4, 5, 6])? {
            match number {
                1 => code = Some(all(value, Bytes::varint)?.try_into().ok()?),
                2 => said.text = core::str::from_utf8(value.0).ok().filter(|text| text.len() <= 64)?,
                3 => said.retry = Some(all(value, |value| Some((value.u32()?, value.u32()?)))?),
                4 => said.message = Some(all(value, Bytes::next)?),
                5 => said.deadline = Some(all(value, Bytes::u32)?),
                _ => said.permanent = all(value, |_| Some(true))?,
            }
        }
        Some(NoticeSaid { code: code?, ..said })
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        field(0x81, &varints(&[self.code.into()]), &mut out);
        if !self.text.is_empty() {
            field(0x02, self.text.as_bytes(), &mut out);
        }
        if let Some((least, spread)) = self.retry {
            field(0x03, &varints(&[least.into(), spread.into()]), &mut out);
        }
        if let Some(number) = self.message {
            field(0x04, &[number], &mut out);
        }
        if let Some(deadline) = self.deadline {
            field(0x05, &varints(&[deadline.into()]), &mut out);
        }
        if self.permanent {
            field(0x06, &[], &mut out);
        }
        out
    }
}

/// L-4: bytes, messages; not both 0.
pub(super) fn credit(body: &[u8]) -> Read<(u32, u32)> {
    all(Bytes(body), |value| Some((value.u32()?, value.u32()?))).filter(|granted| *granted != (0, 0))
}
