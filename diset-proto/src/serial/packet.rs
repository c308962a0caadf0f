//! Packets of a serial line ↔ bytes (PROTOCOL W-1 to W-3): `00 ‖ COBS(kind ‖ content ‖ check) ‖ 00`. What they mean is
//! one level up.

use core::fmt;
use core::mem::take;

use cobs::{CobsEncoder, DecodeResult, DecoderState};
use crc::{CRC_32_ISO_HDLC, Crc, NoTable};

/// Most bytes of one Data packet (PROTOCOL W-1).
pub const MAX_PAYLOAD: usize = 248;
/// What a Data packet takes besides its payload: kind, check, one byte of COBS, the 00 at its end. The first packet of a
/// call has a 00 before it, too.
pub const OVERHEAD: usize = KIND + CHECK + 1 + 1;
/// The longest packet, with a 00 at both ends.
pub const MAX_PACKET: usize = 1 + MAX_PAYLOAD + OVERHEAD;
/// The shortest output that [`SerialLine::transmit`](super::SerialLine::transmit) can use: a control packet.
pub const MIN_OUTPUT: usize = 1 + CONTROL + OVERHEAD;

const KIND: usize = 1;
const CHECK: usize = 4;
/// Nonce and number of a control packet.
const CONTROL: usize = 8;
const MAX_DECODED: usize = KIND + MAX_PAYLOAD + CHECK;
/// The shortest run that may be a packet: one byte of data.
const SHORTEST: usize = 1 + KIND + 1 + CHECK;

const _: () = assert!(MAX_DECODED < 254, "COBS takes one byte for each 254");

/// Without a table: flash is dearer than these cycles.
const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Service,
}

impl Side {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Service,
            Self::Service => Self::Client,
        }
    }

    /// The top bit of a kind.
    const fn bit(self) -> u8 {
        match self {
            Self::Client => 0,
            Self::Service => 0x80,
        }
    }
}

/// What a packet is (PROTOCOL W-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// From a client Reset, from a service Ready.
    Open = 1,
    Data = 2,
    End = 3,
}

impl Kind {
    const fn byte(self, side: Side) -> u8 {
        self as u8 | side.bit()
    }

    const fn read(byte: u8) -> Option<(Side, Self)> {
        let side = if byte < 0x80 { Side::Client } else { Side::Service };
        match byte & 0x7f {
            1 => Some((side, Self::Open)),
            2 => Some((side, Self::Data)),
            3 => Some((side, Self::End)),
            _ => None,
        }
    }
}

/// A packet that is not Data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Control {
    pub(super) kind: Kind,
    pub(super) nonce: u32,
    pub(super) number: u32,
}

/// PROTOCOL W-3: nonce and number are under the check of every packet, whether they travel or not.
fn check(kind: u8, nonce: u32, number: u32, payload: &[u8]) -> [u8; CHECK] {
    let mut digest = CRC.digest();
    digest.update(&[kind]);
    digest.update(&nonce.to_le_bytes());
    digest.update(&number.to_le_bytes());
    digest.update(payload);
    digest.finalize().to_le_bytes()
}

/// What lies between two 00.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Less than the shortest packet.
    Short,
    /// No packet: COBS, length or kind is wrong.
    Malformed,
    /// Whose, what, and how many bytes of content; not checked.
    Packet(Side, Kind, usize),
}

/// The run of bytes since the last 00, decoded as it comes.
pub(super) struct Run {
    cobs: DecoderState,
    bytes: [u8; MAX_DECODED],
    decoded: usize,
    /// How many bytes came over the line.
    came: usize,
    too_long: bool,
}

/// Without the bytes: they may be secret.
impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("came", &self.came).finish_non_exhaustive()
    }
}

impl Run {
    pub(super) const fn new() -> Self {
        Self {
            cobs: DecoderState::Idle,
            bytes: [0; MAX_DECODED],
            decoded: 0,
            came: 0,
            too_long: false,
        }
    }

    /// Takes a byte of the line; at a 00 says what the run was.
    pub(super) fn push(&mut self, byte: u8) -> Option<Shape> {
        let result = self.cobs.feed(byte);
        if byte == 0 {
            return Some(self.finish(matches!(result, Ok(DecodeResult::DataComplete))));
        }
        self.came = self.came.saturating_add(1);
        if let Ok(DecodeResult::DataContinue(value)) = result {
            match self.bytes.get_mut(self.decoded) {
                Some(place) => {
                    *place = value;
                    self.decoded += 1;
                }
                None => self.too_long = true,
            }
        }
        None
    }

    fn finish(&mut self, whole: bool) -> Shape {
        // The bytes stay, to be lent until the next push.
        let (decoded, came, too_long) = (take(&mut self.decoded), take(&mut self.came), take(&mut self.too_long));
        if came < SHORTEST {
            return Shape::Short;
        }
        let kind = self.bytes.first().and_then(|&byte| Kind::read(byte));
        match (kind, decoded.checked_sub(KIND + CHECK)) {
            (Some((side, kind)), Some(content)) if whole && !too_long && content > 0 => {
                Shape::Packet(side, kind, content)
            }
            _ => Shape::Malformed,
        }
    }

    /// The content of the packet that `push` has just told.
    pub(super) fn payload(&self, length: usize) -> &[u8] {
        self.bytes.get(KIND..KIND + length).unwrap_or_default()
    }

    fn check(&self, length: usize) -> &[u8] {
        let begin = KIND + length;
        self.bytes.get(begin..begin + CHECK).unwrap_or_default()
    }

    /// Whether the packet is the Data packet with this nonce and number.
    pub(super) fn check_data(&self, side: Side, nonce: u32, number: u32, length: usize) -> bool {
        check(Kind::Data.byte(side), nonce, number, self.payload(length)) == *self.check(length)
    }

    /// The packet as a control packet, when it is one and its check is right.
    pub(super) fn control(&self, kind: Kind, length: usize) -> Option<Control> {
        let (&nonce, rest) = self.payload(length).split_first_chunk::<4>()?;
        let &number = rest.first_chunk::<4>()?;
        let (nonce, number) = (u32::from_le_bytes(nonce), u32::from_le_bytes(number));
        let byte = *self.bytes.first()?;
        let right = length == CONTROL && check(byte, nonce, number, &[]) == *self.check(length);
        // PROTOCOL W-4: what opens has a nonce, and begins at 0.
        let sound = kind != Kind::Open || (nonce != 0 && number == 0);
        (right && sound).then_some(Control { kind, nonce, number })
    }
}

/// Packets written one behind the other, with one 00 between two.
pub(super) struct Output<'a> {
    place: &'a mut [u8],
    written: usize,
}

impl<'a> Output<'a> {
    pub(super) const fn new(place: &'a mut [u8]) -> Self {
        Self { place, written: 0 }
    }

    pub(super) const fn written(&self) -> usize {
        self.written
    }

    /// False when there is no room.
    pub(super) fn control(&mut self, side: Side, control: Control) -> bool {
        let kind = control.kind.byte(side);
        let (nonce, number) = (control.nonce.to_le_bytes(), control.number.to_le_bytes());
        let check = check(kind, control.nonce, control.number, &[]);
        self.packet(&[&[kind], &nonce, &number, &check]).is_some()
    }

    /// Writes a Data packet with the front of `payload` and says how much that was; `None` when there is no room, or
    /// no payload. Behind another packet it is not made shorter to fit.
    pub(super) fn data(&mut self, side: Side, nonce: u32, number: u32, payload: &[u8]) -> Option<usize> {
        let whole = payload.len().min(MAX_PAYLOAD);
        let room = self.room().saturating_sub(OVERHEAD);
        let size = if self.written > 0 && whole > room {
            0
        } else {
            whole.min(room)
        };
        let payload = payload.get(..size).filter(|payload| !payload.is_empty())?;
        let kind = Kind::Data.byte(side);
        self.packet(&[&[kind], payload, &check(kind, nonce, number, payload)])?;
        Some(size)
    }

    /// Free bytes, less the 00 before the first packet.
    const fn room(&self) -> usize {
        let begin = if self.written == 0 { 1 } else { 0 };
        self.place.len().saturating_sub(self.written + begin)
    }

    fn packet(&mut self, parts: &[&[u8]]) -> Option<()> {
        let size: usize = parts.iter().map(|part| part.len()).sum();
        // One byte of COBS, and the 00.
        if self.room() < size + 2 {
            return None;
        }
        let mut end = self.written;
        if end == 0 {
            // PROTOCOL W-1: what the line invented since the last packet ends here.
            *self.place.first_mut()? = 0;
            end = 1;
        }
        let mut encoder = CobsEncoder::new(self.place.get_mut(end..)?);
        for part in parts {
            encoder.push(part).ok()?;
        }
        end += encoder.finalize();
        *self.place.get_mut(end)? = 0;
        self.written = end + 1;
        Some(())
    }
}
