//! The transport as embedded-tls sees it during the handshake: whole records, checked, and nothing else.

use core::cell::Cell;
use core::fmt;

use embedded_io::{Error as _, ErrorKind, ErrorType};
use embedded_io_async::{Read, Write};

use super::error::TlsError;
use super::flight;
use super::records::{ALERT, DATA, HEADER, TAG, longest};
use super::suite::{KEYS, Step};

/// Outer content types; [`ALERT`] and [`DATA`] are those of the records.
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;

/// A flight of four messages in one record each, and as many again.
const MAX_RECORDS: u8 = 8;
/// As long as the body of the record that has the keys handed over; what is in it does not matter.
const HAND_OVER_BODY: u16 = 64;

/// Where the handshake is, as far as records show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The client's hello has not left.
    Start,
    /// The server's hello has not come.
    Hello,
    /// It has come; one record to change the cipher, which means nothing, may come now.
    Change,
    /// As before, but it has come.
    Encrypted,
    /// So many encrypted records have come.
    Flight(u8),
    /// The handshake is over; the keys are handed over instead of records.
    Keys,
}

/// What the parts of a handshake know of each other.
pub(super) struct Gate {
    phase: Cell<Phase>,
    /// The server has proven who it is, and nothing has contradicted it.
    pub(super) proven: Cell<bool>,
    /// The server has asked for the client's certificate.
    pub(super) asked: Cell<bool>,
    fault: Cell<Option<TlsError>>,
    keys: Cell<Option<[u8; KEYS]>>,
}

impl Gate {
    pub(super) const fn new() -> Self {
        Self {
            phase: Cell::new(Phase::Start),
            proven: Cell::new(false),
            asked: Cell::new(false),
            fault: Cell::new(None),
            keys: Cell::new(None),
        }
    }

    /// Notes why the handshake cannot go on; the first reason counts. Nothing is written from now on.
    pub(super) fn fail(&self, error: TlsError) {
        if self.fault.get().is_none() {
            self.fault.set(Some(error));
        }
    }

    pub(super) const fn fault(&self) -> Option<TlsError> {
        self.fault.get()
    }

    /// The handshake is over. From now on nothing reaches the transport through embedded-tls.
    pub(super) fn hand_over(&self) {
        self.phase.set(Phase::Keys);
    }

    /// The keys for writing, once.
    pub(super) fn keys(&self) -> Option<[u8; KEYS]> {
        self.keys.take()
    }

    /// Whether anything may leave after the hello: only when the server has proven itself, and wants to know who the
    /// client is. The client's certificate is the first thing that an impostor does not get to see.
    pub(super) const fn objection(&self) -> Option<TlsError> {
        if let Some(fault) = self.fault.get() {
            Some(fault)
        } else if !self.proven.get() {
            Some(TlsError::NotProven)
        } else if !self.asked.get() {
            Some(TlsError::NotAsked)
        } else {
            None
        }
    }
}

/// Something is wrong, [`Gate::fault`] says what.
#[derive(Debug)]
pub(super) struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl core::error::Error for Refused {}

impl embedded_io::Error for Refused {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

/// What embedded-tls reads from and writes to. It asks for the header of a record, then for its body.
pub(super) struct Port<'p, T> {
    pub(super) stream: &'p mut T,
    pub(super) gate: &'p Gate,
    /// As many bytes fit the reading buffer.
    pub(super) limit: usize,
    /// What is left of the body of the record.
    pub(super) body: usize,
}

impl<T: Read + Write> Port<'_, T> {
    fn refuse(&self, error: TlsError) -> Refused {
        self.gate.fail(error);
        Refused
    }

    async fn fill(&mut self, mut buffer: &mut [u8]) -> Result<(), Refused> {
        while !buffer.is_empty() {
            let read = self.stream.read(buffer).await;
            let count = read.map_err(|error| self.refuse(TlsError::Io(error.kind())))?;
            if count == 0 {
                return Err(self.refuse(TlsError::Ended));
            }
            buffer = buffer.get_mut(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// The header of the next record for embedded-tls.
    async fn header(&mut self, header: &mut [u8; HEADER]) -> Result<(), Refused> {
        if self.gate.phase.get() == Phase::Keys {
            let [high, low] = HAND_OVER_BODY.to_be_bytes();
            let [major, minor] = Step::Keys.mark();
            *header = [DATA, major, minor, high, low];
            self.body = HAND_OVER_BODY.into();
            return Ok(());
        }
        loop {
            self.fill(header).await?;
            let [kind, major, minor, high, low] = *header;
            let length = u16::from_be_bytes([high, low]);
            if [major, minor] != [3, 3] {
                return Err(self.refuse(TlsError::Unexpected));
            }
            match (kind, self.gate.phase.get()) {
                (CHANGE_CIPHER_SPEC, Phase::Change) if length == 1 => {
                    let mut one = [0];
                    self.fill(&mut one).await?;
                    if one != [1] {
                        return Err(self.refuse(TlsError::Unexpected));
                    }
                    self.gate.phase.set(Phase::Encrypted);
                }
                (ALERT, Phase::Hello | Phase::Change | Phase::Encrypted) if length == 2 => {
                    let mut alert = [0; 2];
                    self.fill(&mut alert).await?;
                    let [_, code] = alert;
                    return Err(self.refuse(TlsError::Alert(code)));
                }
                (HANDSHAKE, Phase::Hello) => {
                    self.fits(length, 0)?;
                    self.body = length.into();
                    return Ok(());
                }
                (DATA, phase) => {
                    let (step, phase) = match phase {
                        Phase::Change | Phase::Encrypted => (Step::First, Phase::Flight(1)),
                        Phase::Flight(count) if count < MAX_RECORDS => {
                            (Step::Later, Phase::Flight(count.saturating_add(1)))
                        }
                        _ => return Err(self.refuse(TlsError::Unexpected)),
                    };
                    // A type and a tag at least: embedded-tls panics on less.
                    self.fits(length, TAG)?;
                    self.gate.phase.set(phase);
                    let [major, minor] = step.mark();
                    *header = [DATA, major, minor, high, low];
                    self.body = length.into();
                    return Ok(());
                }
                _ => return Err(self.refuse(TlsError::Unexpected)),
            }
        }
    }

    fn fits(&self, length: u16, more_than: usize) -> Result<(), Refused> {
        match usize::from(length) {
            bytes if bytes > longest(self.limit) => Err(self.refuse(TlsError::RecordLength(length))),
            bytes if bytes <= more_than => Err(self.refuse(TlsError::Unexpected)),
            _ => Ok(()),
        }
    }
}

impl<T> ErrorType for Port<'_, T> {
    type Error = Refused;
}

impl<T: Read + Write> Read for Port<'_, T> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Refused> {
        if self.body == 0 {
            let Some(header) = buffer.first_chunk_mut() else {
                return Err(self.refuse(TlsError::Internal));
            };
            self.header(header).await?;
            return Ok(HEADER);
        }
        let count = self.body.min(buffer.len());
        let body = buffer.get_mut(..count).unwrap_or_default();
        if self.gate.phase.get() == Phase::Keys {
            body.fill(0);
        } else {
            self.fill(body).await?;
        }
        if self.gate.phase.get() == Phase::Hello {
            // embedded-tls has room for the whole body, as its length was checked.
            flight::server_hello(body).map_err(|error| self.refuse(error))?;
            self.gate.phase.set(Phase::Change);
        }
        self.body = self.body.saturating_sub(count);
        Ok(count)
    }
}

impl<T: Read + Write> Write for Port<'_, T> {
    async fn write(&mut self, record: &[u8]) -> Result<usize, Refused> {
        let kind = record.first().copied().unwrap_or_default();
        match (self.gate.phase.get(), kind) {
            (Phase::Start, HANDSHAKE) => self.gate.phase.set(Phase::Hello),
            (Phase::Flight(_), DATA) => {
                if let Some(error) = self.gate.objection() {
                    return Err(self.refuse(error));
                }
            }
            (Phase::Keys, DATA) => {
                let keys = record.get(HEADER..).and_then(|body| body.try_into().ok());
                self.gate.keys.set(keys);
                return Ok(record.len());
            }
            // embedded-tls sends an alert as a change of the cipher, so it is of no use to the peer.
            _ => return Err(self.refuse(TlsError::Unexpected)),
        }
        // Not by `write_all`, which panics when the transport takes nothing.
        let mut rest = record;
        while !rest.is_empty() {
            let taken = match self.stream.write(rest).await {
                Ok(0) => return Err(self.refuse(TlsError::Io(ErrorKind::WriteZero))),
                Ok(taken) => taken,
                Err(error) => return Err(self.refuse(TlsError::Io(error.kind()))),
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
        Ok(record.len())
    }

    async fn flush(&mut self) -> Result<(), Refused> {
        if self.gate.phase.get() == Phase::Keys {
            return Ok(());
        }
        let flushed = self.stream.flush().await;
        flushed.map_err(|error| self.refuse(TlsError::Io(error.kind())))
    }
}
