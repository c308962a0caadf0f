//! The client without an executor: the main loop polls it.
//!
//! [`Client::poll`] never waits for an answer of the peer. It asks the channel whether it is ready and does what can
//! be done now; a keep-alive that is due leaves, whether or not anything comes. In one case it may wait: it flushes and
//! closes, and a [`Channel`] may take as long for that as the bytes take to leave the chip, which a peer that reads
//! nothing can delay. Between two polls the main loop does its own work, or sleeps until [`Client::wake`] or an
//! interrupt of the transport, whichever is first.
//!
//! ```
//! use diset_embedded::blocking::{Channel, Open};
//! use diset_embedded::{Client, Event, Instant, Retry};
//! # use diset_embedded::{FromClient, Schema, define_service};
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Serialize, Deserialize, Schema)]
//! # struct Reading { celsius: f32 }
//! # define_service! { Logger = "Demo/Logger"; from_client: [Reading] }
//! # fn dial<C: Channel>() -> Option<C> { None }
//! # fn measure() -> Option<f32> { None }
//!
//! /// One turn of the main loop.
//! fn turn<C: Channel + Open<Channel = C>>(client: &mut Client<'_, Logger, C>, now: Instant) {
//!     if !client.is_busy() && matches!(client.retry(), Retry::At(when) if when <= now) {
//!         match dial::<C>() {
//!             // If it fails there is a next attempt.
//!             Some(line) => { let _ = client.connect(line, now); }
//!             None => { client.unreachable(now); }
//!         }
//!     }
//!     if let Some(celsius) = measure() {
//!         // Lost while there is no connection.
//!         let _ = client.send(&Reading { celsius });
//!     }
//!     while let Some(event) = client.poll(now) {
//!         match event {
//!             Event::Message(message) => message.reject("not in this firmware"),
//!             Event::Dropped(dropped) => { let _why = dropped.cause(); }
//!             _ => {}
//!         }
//!     }
//! }
//! ```

use core::time::Duration;

use diset_proto::{Instant, Retry, ServiceDef};
use embedded_io::{Error, ErrorKind, ErrorType};

use crate::buffers::Buffers;
use crate::client::{Client, NoClock};
use crate::config::{Config, SetupError};
use crate::event::{ConnectError, Event};
use crate::machine::{Machine, Need, Out};
use crate::outbox::Keep;

/// What opens a [`Channel`]: a transport that is connected, with what it takes to know the peer.
pub trait Open {
    /// What comes of it.
    type Channel: Channel;
    /// Why there is none.
    type Error: Error;

    /// Opens the channel.
    ///
    /// A channel is given only when the peer is who it should be: it has proven it, with all checks done, or the
    /// caller has said that the line is trusted. There is no other way to a channel, so nothing is ever sent to a
    /// peer before.
    ///
    /// # Errors
    /// There is no channel; nothing of the application was sent.
    fn open(self) -> Result<Self::Channel, Self::Error>;
}

/// An open channel to the right peer: reliable, ordered, integrity-checked, and it shows when it ends (PROTOCOL X-1).
///
/// Of the six calls only [`flush`](Self::flush) and [`close`](Self::close) may wait, for as long as it takes the
/// bytes to leave; `read` and `write` do not after their `_ready` has said so. Over TLS that is a whole record, though
/// the transport may have said only that it takes a byte. A channel over a stack that cannot tell says that it is
/// always ready to write, and then `poll` may wait in `write`, too.
pub trait Channel: ErrorType {
    /// Whether [`read`](Self::read) has something to give now, an end or an error included.
    ///
    /// # Errors
    /// The channel has failed.
    fn read_ready(&mut self) -> Result<bool, Self::Error>;

    /// Reads at least one byte; 0 is the end.
    ///
    /// # Errors
    /// The channel has failed.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error>;

    /// Whether [`write`](Self::write), `flush` and `close` can do something now.
    ///
    /// # Errors
    /// The channel takes nothing any more; what has arrived is still read.
    fn write_ready(&mut self) -> Result<bool, Self::Error>;

    /// Takes at least one byte, perhaps not all.
    ///
    /// # Errors
    /// As [`write_ready`](Self::write_ready).
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error>;

    /// Makes what was written leave; it need not have arrived.
    ///
    /// # Errors
    /// As [`write_ready`](Self::write_ready).
    fn flush(&mut self) -> Result<(), Self::Error>;

    /// Ends the writing direction in order; reading goes on (PROTOCOL X-4). Over TLS close_notify leaves, then the
    /// writing direction of the transport ends. The traits of embedded-io have no call for the latter: a channel is told
    /// how, by `tls::Tls::ending_with` or [`TrustedLine::ending_with`](crate::TrustedLine::ending_with), or leaves it.
    /// Then the peer knows the end by close_notify, or by the notice of the connection, and may wait up to two seconds
    /// for the transport to end.
    ///
    /// # Errors
    /// As [`write_ready`](Self::write_ready).
    fn close(&mut self) -> Result<(), Self::Error>;

    /// How many records each direction may carry before the channel must be replaced; `None` when there is no
    /// limit. The service is told when the client proposes.
    fn max_records(&self) -> Option<u32> {
        None
    }

    /// Whether it is time to replace the channel: 90 % of the records of either direction are used. The client goes
    /// away in order then, and connects again at once.
    fn is_worn(&self) -> bool {
        false
    }
}

impl<'b, S: ServiceDef, C: Channel> Client<'b, S, C> {
    /// A client that is polled. It works in these buffers and has no other memory.
    ///
    /// # Errors
    /// [`SetupError`]: limits, arguments and buffers do not fit together.
    pub fn blocking<const FRAME: usize, const OUTPUT: usize, const INPUT: usize>(
        _service: S,
        config: Config<'b>,
        buffers: &'b mut Buffers<FRAME, OUTPUT, INPUT>,
    ) -> Result<Self, SetupError> {
        Machine::new(config, buffers).map(|machine| Self::with(machine, NoClock(())))
    }
}

impl<'b, S: ServiceDef, C: Channel, K: Keep> Client<'b, S, C, NoClock, K> {
    /// Opens the channel and puts the proposal on its way; [`Event::Connected`] or [`Event::Dropped`] follows.
    ///
    /// Waits as long as [`Open::open`] does. The time for the handshake runs from `now`, the opening included.
    ///
    /// # Errors
    /// [`ConnectError`]; try again at [`retry`](Self::retry).
    pub fn connect<O: Open<Channel = C>>(&mut self, line: O, now: Instant) -> Result<(), ConnectError<O::Error>> {
        if self.is_busy() {
            return Err(ConnectError::StillConnected);
        }
        self.channel = None;
        let channel = line.open().map_err(|error| {
            self.machine.failed(now);
            ConnectError::Channel(error)
        })?;
        let records = channel.max_records();
        self.machine.begin(now, records).map_err(ConnectError::Misuse)?;
        self.channel = Some(channel);
        Ok(())
    }

    /// The service could not be reached, there is nothing to open: when to try again.
    pub fn unreachable(&mut self, now: Instant) -> Retry {
        self.machine.failed(now)
    }

    /// Does what can be done now and gives the next event, `None` when there is none. Call it until then.
    ///
    /// It never waits for an answer of the peer, only for bytes to leave, as long as [`Channel::flush`] and
    /// [`Channel::close`] do.
    pub fn poll(&mut self, now: Instant) -> Option<Event<'_, 'b, S, K>> {
        while let Some(need) = self.machine.need(now, self.is_worn()) {
            if !self.transfer(now, need) {
                return None;
            }
        }
        if !self.is_busy() {
            self.channel = None;
        }
        self.machine.step(now)
    }

    /// Writes what the channel takes now; true when nothing is left to be written. May wait as [`poll`](Self::poll).
    pub fn flush(&mut self, now: Instant) -> bool {
        while let Some(out) = self.machine.turn(now, self.is_worn()).out {
            if !self.put(now, out) {
                // It may have failed just now: then nothing is left that could be written.
                return self.machine.turn(now, self.is_worn()).out.is_none();
            }
        }
        true
    }

    /// Ends the connection in order: what was sent still leaves, what is under way is still taken, within this
    /// time. Go on polling until [`Event::Dropped`].
    pub fn close(&mut self, now: Instant, within: Duration) {
        self.go_away(now, within);
    }

    fn is_worn(&self) -> bool {
        self.channel.as_ref().is_some_and(C::is_worn)
    }

    /// Writes or reads, whichever the channel does now; false when it does neither.
    fn transfer(&mut self, now: Instant, need: Need) -> bool {
        need.out.is_some_and(|out| self.put(now, out)) || self.get(now)
    }

    /// Reads when there is something; false when there is nothing.
    fn get(&mut self, now: Instant) -> bool {
        let Some(channel) = &mut self.channel else {
            self.machine.read(now, Ok(0));
            return true;
        };
        let read = match channel.read_ready() {
            Ok(false) => return false,
            Ok(true) => channel.read(self.machine.space()),
            Err(error) => Err(error),
        };
        self.machine.read(now, read.map_err(|error| error.kind()));
        true
    }

    /// Does this with the writing direction; false when the channel is not ready, or fails to say so.
    fn put(&mut self, now: Instant, out: Out) -> bool {
        let Some(channel) = &mut self.channel else {
            self.machine.write_failed(now, ErrorKind::NotConnected);
            return false;
        };
        let done = match (channel.write_ready(), out) {
            (Ok(false), _) => return false,
            (Err(error), _) => {
                self.machine.write_failed(now, error.kind());
                return false;
            }
            (Ok(true), Out::Write) => channel.write(self.machine.outgoing()),
            (Ok(true), Out::Flush) => channel.flush().map(|()| 0),
            (Ok(true), Out::Close) => channel.close().map(|()| 0),
        };
        self.machine.put(now, out, done.map_err(|error| error.kind()));
        true
    }
}
