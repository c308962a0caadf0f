//! A bare serial line made into a transport (PROTOCOL, part W): what arrives is what was sent, in order, or the line
//! is found broken; both sides see it open and end.
//!
//! A serial line changes, loses and invents bytes, and does not tell when the other side begins anew. [`SerialLine`]
//! stands between such a line and an engine, or a TLS stack. Like the engine it does no IO and reads no clock.
//!
//! ```text
//!   line ──────▶ bytes ─▶ SerialLine::next ─▶ LineEvent::Data ─▶ Deframer ─▶ Connection
//!   line ◀────── bytes ◀─ SerialLine::transmit ◀──────────────── Connection::transmit
//! ```
//!
//! - A **client** calls [`open`](SerialLine::open), and again with the same nonce every second or so until
//!   [`LineEvent::Opened`] comes. A **service** waits for `Opened`. Each `Opened` begins a new
//!   [`Connection`](crate::Connection) and a new [`Deframer`](crate::Deframer).
//! - On [`LineEvent::Ended`] and [`LineEvent::Broken`] the engine is told by `handle_eof`. The client opens again
//!   under another nonce, when its [`Reconnect`](crate::Reconnect) says so.
//! - When [`Progress`](crate::Progress) is `Finish` or `Over`, [`close`](SerialLine::close) the line, transmit what waits, and tell the
//!   engine by `handle_eof`.
//! - Damage is found at the next 00 on the line. What is lost without a trace is found with the next packet; the
//!   keep-alives of the engine see to it that there is one (PROTOCOL W-8).
//!
//! Cost: [`OVERHEAD`] bytes for each payload of up to [`MAX_PAYLOAD`] bytes, and one more for each call of `transmit`
//! that wrote something. About 300 bytes of memory. The check is computed without a table, which takes some fifty
//! instructions a byte.
//!
//! ```
//! use core::num::NonZeroU32;
//! use diset_proto::{LineEvent, SerialLine};
//!
//! let (mut client, mut service) = (SerialLine::client(), SerialLine::service());
//! let mut out = [0; 512];
//!
//! client.open(NonZeroU32::MIN)?; // from a random number generator, or a counter that survives a restart
//! let asked = client.transmit(b"", &mut out);
//! assert!(matches!(service.next(&mut &out[..asked.written]), Some(LineEvent::Opened)));
//!
//! let answered = service.transmit(b"hello", &mut out);
//! assert_eq!(answered.taken, 5);
//! let mut input = &out[..answered.written];
//! assert!(matches!(client.next(&mut input), Some(LineEvent::Opened)));
//! assert!(matches!(client.next(&mut input), Some(LineEvent::Data(b"hello"))));
//! # Ok::<(), diset_proto::Misuse>(())
//! ```

mod packet;

use core::mem::take;
use core::num::NonZeroU32;

use self::packet::{Control, Kind, Output, Run, Shape, Side};
use crate::error::Misuse;
use crate::fmt::{debug, warn};

pub use self::packet::{MAX_PACKET, MAX_PAYLOAD, MIN_OUTPUT, OVERHEAD};

/// One end of a serial line. For the life of the hardware: the same one opens, ends, breaks and opens again.
#[derive(Debug)]
pub struct SerialLine {
    side: Side,
    state: State,
    /// Of the opening that is, or was last; 0 when there was none.
    nonce: u32,
    /// The number of the next Data packet from here.
    sent: u32,
    /// The number of the next Data packet from the other side.
    expected: u32,
    /// The control packet that is to be sent. The newest takes the place of one that waits: what that one said holds
    /// no longer. So they cannot pile up.
    pending: Option<Kind>,
    /// An opening that ended another one is still to be told.
    opened_waits: bool,
    run: Run,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is open; a client that wants it to be must say so.
    Closed,
    /// Client: Reset has been asked for, Ready has not come.
    Opening,
    Open,
}

/// What has come over the line.
#[derive(Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "an adapter must handle all four")]
pub enum LineEvent<'a> {
    /// The line is open, both ways, and nothing has been sent over it yet.
    Opened,
    /// Bytes, exactly as the other side sent them, next in order.
    Data(&'a [u8]),
    /// The other side ended it, and everything that it sent has come.
    Ended,
    /// Something was lost, or the other side began anew: nothing more comes. What came before is right.
    Broken,
}

/// Lengths only: what is carried may be secret.
impl core::fmt::Debug for LineEvent<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Opened => f.write_str("Opened"),
            Self::Data(bytes) => write!(f, "Data({} bytes)", bytes.len()),
            Self::Ended => f.write_str("Ended"),
            Self::Broken => f.write_str("Broken"),
        }
    }
}

/// What [`SerialLine::transmit`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_structs, reason = "two numbers")]
pub struct Transmitted {
    /// So many bytes of the payload have been taken; tell
    /// [`Connection::transmitted`](crate::Connection::transmitted).
    pub taken: usize,
    /// So many bytes of the output are to go over the line, in order.
    pub written: usize,
}

/// What a run of bytes comes to. Not yet an event: that borrows.
enum Outcome {
    Nothing,
    Opened,
    Data { length: usize },
    Ended,
    Broken,
}

impl SerialLine {
    /// The end that opens the line.
    pub const fn client() -> Self {
        Self::new(Side::Client)
    }

    /// The end that waits for it.
    pub const fn service() -> Self {
        Self::new(Side::Service)
    }

    const fn new(side: Side) -> Self {
        Self {
            side,
            state: State::Closed,
            nonce: 0,
            sent: 0,
            expected: 0,
            // PROTOCOL W-7: whoever has just started ends what the other side may still take for open.
            pending: Some(Kind::End),
            opened_waits: false,
            run: Run::new(),
        }
    }

    /// Client: opens the line, anew if it is open under another nonce. [`LineEvent::Opened`] follows when the service
    /// has answered.
    ///
    /// Request or answer may be lost: call it again with the same nonce until `Opened` comes. Once the line is open
    /// under that nonce the call does nothing. For each new opening take another nonce than for the last ones: from a
    /// random number generator, or from a counter that survives a restart.
    ///
    /// # Errors
    /// [`Misuse::WrongPhase`] on the end of a service.
    pub fn open(&mut self, nonce: NonZeroU32) -> Result<(), Misuse> {
        if self.side == Side::Service {
            return Err(Misuse::WrongPhase);
        }
        if self.state == State::Open && self.nonce == nonce.get() {
            return Ok(());
        }
        self.begin(State::Opening, nonce.get());
        Ok(())
    }

    /// Ends the line in order: what [`transmit`](Self::transmit) took before still counts, the other side gets
    /// [`LineEvent::Ended`]. This side gets no event, and no more data.
    pub fn close(&mut self) {
        if self.state != State::Closed {
            self.end();
        }
    }

    /// What the front of `input` brings; it is advanced past that. `None` when all of it has been taken in.
    ///
    /// Any split of the bytes gives the same events.
    pub fn next<'s>(&'s mut self, input: &mut &[u8]) -> Option<LineEvent<'s>> {
        if take(&mut self.opened_waits) {
            return Some(LineEvent::Opened);
        }
        while let Some((&byte, rest)) = input.split_first() {
            *input = rest;
            let Some(shape) = self.run.push(byte) else { continue };
            match self.on_run(shape) {
                Outcome::Nothing => {}
                Outcome::Opened => return Some(LineEvent::Opened),
                Outcome::Data { length } => return Some(LineEvent::Data(self.run.payload(length))),
                Outcome::Ended => return Some(LineEvent::Ended),
                Outcome::Broken => return Some(LineEvent::Broken),
            }
        }
        None
    }

    /// Wraps what waits, and as much of `payload` as fits, into `out`. Call it also without a payload: opening,
    /// answering and ending leave here, too.
    ///
    /// While the line is not open nothing of the payload is taken. `out` needs [`MIN_OUTPUT`] bytes to be of use, and
    /// [`MAX_PACKET`] for the least overhead.
    pub fn transmit(&mut self, payload: &[u8], out: &mut [u8]) -> Transmitted {
        let mut out = Output::new(out);
        let mut taken = 0;
        if let Some(kind) = self.pending {
            if !out.control(self.side, self.control(kind)) {
                return Transmitted::default();
            }
            self.pending = None;
        }
        while self.state == State::Open {
            let rest = payload.get(taken..).unwrap_or_default();
            let Some(size) = out.data(self.side, self.nonce, self.sent, rest) else {
                break;
            };
            taken += size;
            // W-3: it comes round after 2^32 packets, see there.
            self.sent = self.sent.wrapping_add(1);
        }
        let written = out.written();
        Transmitted { taken, written }
    }

    /// Whether data can be sent and may come.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether [`transmit`](Self::transmit) has something to write without a payload.
    pub const fn is_output_empty(&self) -> bool {
        self.pending.is_none()
    }

    fn on_run(&mut self, shape: Shape) -> Outcome {
        let (kind, length) = match shape {
            // PROTOCOL W-5: too short for a packet, an echo, or nothing at all.
            Shape::Short => return Outcome::Nothing,
            Shape::Packet(side, ..) if side == self.side => return Outcome::Nothing,
            Shape::Malformed => return self.on_damage(),
            Shape::Packet(_, kind, length) => (kind, length),
        };
        if kind == Kind::Data {
            return self.on_data(length);
        }
        let Some(control) = self.run.control(kind, length) else {
            return self.on_damage();
        };
        match kind {
            Kind::Open if self.side == Side::Service => self.on_reset(control),
            Kind::Open => self.on_ready(control),
            Kind::End | Kind::Data => self.on_end(control),
        }
    }

    /// Service: the client opens.
    fn on_reset(&mut self, reset: Control) -> Outcome {
        let was_open = self.state == State::Open;
        if was_open && reset.nonce == self.nonce && self.expected == 0 {
            // PROTOCOL W-4: repeated, because our Ready is late or lost.
            self.pending = Some(Kind::Open);
            return Outcome::Nothing;
        }
        self.begin(State::Open, reset.nonce);
        debug!("serial line opened");
        if was_open {
            // PROTOCOL W-4: the end of the old one is told first.
            self.opened_waits = true;
            return Outcome::Broken;
        }
        Outcome::Opened
    }

    /// Client: the service has opened.
    fn on_ready(&mut self, ready: Control) -> Outcome {
        // PROTOCOL W-4: the answer to an older Reset is none to this.
        if self.state != State::Opening || ready.nonce != self.nonce {
            return Outcome::Nothing;
        }
        self.state = State::Open;
        self.pending = None;
        debug!("serial line opened");
        Outcome::Opened
    }

    fn on_data(&mut self, length: usize) -> Outcome {
        match self.state {
            State::Open
                if self
                    .run
                    .check_data(self.side.other(), self.nonce, self.expected, length) =>
            {
                self.expected = self.expected.wrapping_add(1);
                Outcome::Data { length }
            }
            State::Open => self.on_damage(),
            State::Opening => Outcome::Nothing,
            State::Closed => {
                // PROTOCOL W-7: the other side takes for open what is not.
                self.pending = Some(Kind::End);
                Outcome::Nothing
            }
        }
    }

    fn on_end(&mut self, end: Control) -> Outcome {
        if self.state != State::Open || (end.nonce != self.nonce && end.nonce != 0) {
            return Outcome::Nothing;
        }
        self.state = State::Closed;
        // An end is not answered by an end.
        self.pending = None;
        debug!("serial line ended by the other side");
        // PROTOCOL W-7: was that really everything?
        if end.nonce == self.nonce && end.number == self.expected {
            Outcome::Ended
        } else {
            Outcome::Broken
        }
    }

    /// PROTOCOL W-6: on an open line damage means that something was lost.
    fn on_damage(&mut self) -> Outcome {
        if self.state != State::Open {
            return Outcome::Nothing;
        }
        self.end();
        warn!("serial line broken");
        Outcome::Broken
    }

    const fn begin(&mut self, state: State, nonce: u32) {
        self.state = state;
        self.nonce = nonce;
        (self.sent, self.expected) = (0, 0);
        self.pending = Some(Kind::Open);
    }

    const fn end(&mut self) {
        self.state = State::Closed;
        self.pending = Some(Kind::End);
    }

    const fn control(&self, kind: Kind) -> Control {
        let number = match kind {
            Kind::End => self.sent,
            Kind::Open | Kind::Data => 0,
        };
        Control {
            kind,
            nonce: self.nonce,
            number,
        }
    }
}

#[cfg(test)]
mod tests;
