//! Two ends of a serial line that loses, repeats and changes bytes, or carries anything.

use core::num::NonZeroU32;

use diset_proto::serial::{MAX_PAYLOAD, MIN_OUTPUT};
use diset_proto::{LineEvent, SerialLine};

use super::Bytes;

/// One end with what it sent and got, and the line from it.
#[derive(Debug)]
struct End {
    line: SerialLine,
    service: bool,
    /// What it sent, by opening.
    sent: Vec<Vec<u8>>,
    /// What came in the opening that is, or was last.
    got: Vec<u8>,
    /// It was told that the line is open, and not that it is over.
    open: bool,
    /// A client that waits for an answer.
    asks: bool,
    /// On its way to the other end.
    wire: Vec<u8>,
}

impl End {
    fn new(line: SerialLine, service: bool) -> Self {
        Self {
            line,
            service,
            sent: Vec::new(),
            got: Vec::new(),
            open: false,
            asks: false,
            wire: Vec::new(),
        }
    }

    /// Sends bytes that differ for each end and opening; what does not fit into `room` is not taken.
    fn send(&mut self, count: usize, room: usize) {
        let opening = self.sent.len() as u8;
        let at = self.sent.last().map_or(0, Vec::len);
        let first = opening.wrapping_mul(2) | u8::from(self.service);
        let byte = |at: usize| (at as u8).wrapping_mul(opening | 1).wrapping_add(first);
        let payload: Vec<_> = (at..at + count).map(byte).collect();
        let mut out = vec![0; room];
        let done = self.line.transmit(&payload, &mut out);
        assert!(done.written <= room && done.taken <= count);
        assert!(done.taken == 0 || self.line.is_open());
        if let Some(sent) = self.sent.last_mut() {
            sent.extend_from_slice(&payload[..done.taken]);
        } else {
            assert_eq!(done.taken, 0);
        }
        self.wire.extend_from_slice(&out[..done.written]);
    }

    /// Takes what came over the line; `sent` is what the other end has sent, where that is known.
    fn take(&mut self, mut input: &[u8], sent: Option<&[Vec<u8>]>) {
        while let Some(event) = self.line.next(&mut input) {
            match event {
                LineEvent::Opened => {
                    assert!(!self.open, "an opening is told twice");
                    (self.open, self.asks) = (true, false);
                    self.got.clear();
                    if self.service {
                        self.sent.push(Vec::new());
                    }
                }
                LineEvent::Data(bytes) => {
                    assert!(self.open && (1..=MAX_PAYLOAD).contains(&bytes.len()));
                    self.got.extend_from_slice(bytes);
                    let mut openings = sent.into_iter().flatten();
                    assert!(
                        sent.is_none() || openings.any(|sent| sent.starts_with(&self.got)),
                        "PROTOCOL W-3: not what was sent"
                    );
                }
                LineEvent::Ended => {
                    assert!(core::mem::take(&mut self.open));
                    let mut openings = sent.into_iter().flatten();
                    assert!(
                        sent.is_none() || openings.any(|sent| *sent == self.got),
                        "PROTOCOL W-7: something is missing"
                    );
                }
                LineEvent::Broken => assert!(core::mem::take(&mut self.open)),
            }
        }
        assert!(input.is_empty(), "everything is taken in");
    }

    fn close(&mut self) {
        self.line.close();
        (self.open, self.asks) = (false, false);
        assert!(!self.line.is_open());
    }
}

/// Both ends; the first is the client.
#[derive(Debug)]
struct Line {
    ends: [End; 2],
    nonce: u32,
    /// Nobody but the ends puts bytes on the line, so what comes must be right.
    honest: bool,
}

impl Line {
    /// The client asks for an opening, or repeats that until it is answered.
    fn open(&mut self, anew: bool) {
        let client = &mut self.ends[0];
        if anew {
            self.nonce += 1;
            client.asks = true;
            client.open = false;
            client.sent.push(Vec::new());
        }
        if client.asks {
            client.line.open(NonZeroU32::new(self.nonce).unwrap()).unwrap();
        }
    }

    /// Carries the first `count` bytes that are on their way from an end.
    fn carry(&mut self, from: usize, count: usize) {
        let [client, service] = &mut self.ends;
        let (from, to) = if from == 0 {
            (client, service)
        } else {
            (service, client)
        };
        let came: Vec<_> = from.wire.drain(..count.min(from.wire.len())).collect();
        to.take(&came, self.honest.then_some(&from.sent));
    }

    /// Everything that waits goes to and fro.
    fn settle(&mut self) {
        for _ in 0..3 {
            for from in [0, 1] {
                self.ends[from].send(0, 64);
                self.carry(from, usize::MAX);
            }
        }
    }

    /// What is under way from an end, with a fault at `at`.
    fn fault(&mut self, from: usize, kind: u8, at: usize, count: usize) {
        let wire = &mut self.ends[from].wire;
        let at = at.min(wire.len());
        let end = (at + count).min(wire.len());
        match kind % 3 {
            0 => {
                wire.drain(at..end);
            }
            1 => wire.extend_from_within(at..end),
            _ => {
                if let Some(byte) = wire.get_mut(at) {
                    *byte ^= 1 << (count % 8);
                }
            }
        }
    }

    fn operate(&mut self, bytes: &mut Bytes<'_>) {
        while let Some(operation) = bytes.next() {
            let end = usize::from(operation >> 7);
            match operation % 10 {
                0 => self.ends[end].send(bytes.byte().into(), 512),
                1 => self.ends[end].send(300, MIN_OUTPUT - 2 + usize::from(bytes.byte())),
                2 => self.carry(end, usize::MAX),
                3 => self.carry(end, bytes.byte().into()),
                4 => self.open(true),
                5 => self.open(false),
                6 => self.ends[end].close(),
                7 => {
                    let (kind, at, count) = (bytes.byte(), bytes.byte(), bytes.byte());
                    self.fault(end, kind, at.into(), count.into());
                }
                8 => {
                    let count = bytes.byte();
                    let injected = bytes.take(count.into());
                    if !self.honest {
                        self.ends[end].wire.extend_from_slice(injected);
                    }
                }
                _ => self.settle(),
            }
        }
    }

    /// Whatever happened: nothing is lost without being found, and the line opens again and works.
    fn finish(mut self) {
        for _ in 0..3 {
            self.settle();
            // The next packet finds what was lost (W-8).
            self.ends[0].send(1, 64);
            self.ends[1].send(1, 64);
            self.settle();
        }
        let [client, service] = &self.ends;
        assert_eq!(
            [client.open, service.open],
            [client.line.is_open(), service.line.is_open()]
        );
        if self.honest && client.open && service.open {
            assert_eq!(Some(&client.got), service.sent.last(), "PROTOCOL W-6");
            assert_eq!(Some(&service.got), client.sent.last(), "PROTOCOL W-6");
        }
        self.open(true);
        // A run that was begun ends at the first 00.
        self.settle();
        assert!(
            self.ends.iter().all(|end| end.open),
            "it does not open again: {:?}",
            self.ends
        );
        self.honest = true;
        // More than one packet holds.
        self.ends.iter_mut().for_each(|end| end.send(MAX_PAYLOAD + 9, 512));
        self.settle();
        let [client, service] = &self.ends;
        assert_eq!(Some(&client.got), service.sent.last());
        assert_eq!(Some(&service.got), client.sent.last());
    }
}

/// Operations on both ends. The first byte says whether anything may come over the line, or only what the ends send,
/// with faults: then what comes is a prefix of what was sent in one opening, and what is missing is found.
///
/// One damaged packet in 2^32 is not found (PROTOCOL, part W): a find may be that.
pub fn serial(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut line = Line {
        honest: bytes.byte() % 2 == 0,
        nonce: 0,
        ends: [
            End::new(SerialLine::client(), false),
            End::new(SerialLine::service(), true),
        ],
    };
    line.operate(&mut bytes);
    line.finish();
}
