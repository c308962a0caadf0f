//! What the bytes of one connection pass through between socket and engine: TLS, or nothing. No socket and no task here; whoever drives a connection
//! owns the buffers and calls a [`Channel`].
//!
//! ```text
//!   socket ── incoming ──▶ receive ── plaintext ──▶ engine
//!   socket ◀── OutBuf ◀─── seal ◀──── bytes ─────── engine
//! ```

mod error;
mod out;
mod plain;
mod tls;

pub(crate) use error::ChannelError;
pub(crate) use out::OutBuf;
pub(crate) use plain::plain;
pub(crate) use tls::{client, server};

use core::time::Duration;

use crate::tls::{Credentials, CredentialsError};

/// Most bytes that [`Channel::receive`] leaves unconsumed: a handshake message in parts, and one record that is not complete.
pub(crate) const MAX_UNCONSUMED: usize = tls::MAX_HELD + tls::MAX_RECORD;

/// One connection's channel. Buffers belong to the caller, so that an idle connection holds none.
///
/// The first call is `receive` with empty input; it lets a TLS client speak first. Errors are final: after one, send what is in `outgoing` (it may
/// end in an alert that tells the peer why) and close the socket.
///
/// ```text
/// loop {                                          // once at the start with no input, then whenever the socket delivered something
///     let received = channel.receive(&mut input[start..end], &mut out, &mut |piece| plaintext.extend(piece))?;
///     start += received.consumed;
///     if let Some(established) = channel.established() { … }
///     if received.closed { … }
///     if !received.again { break }
/// }
/// send(out.pending()); keep(&input[start..end]);  // what is kept comes before the next bytes of the socket
/// ```
pub(crate) trait Channel: Send {
    /// Takes in what the socket delivered, in place.
    ///
    /// Consumes `incoming` from its front. What is left must be given again, unchanged and with more bytes after it; it is at most
    /// [`MAX_UNCONSUMED`]. Handshake bytes for the peer are appended to `outgoing`, plaintext is lent to `plaintext` in pieces and in order.
    ///
    /// No plaintext is lent before the peer is proven. The call in which that happens returns at once with [`Received::again`], so that
    /// [`established`](Self::established) can be looked at before the first plaintext.
    ///
    /// # Errors
    /// The peer broke the protocol or could not prove itself, or it sent an alert. Later calls consume everything and lend nothing.
    fn receive(
        &mut self,
        incoming: &mut [u8],
        outgoing: &mut OutBuf,
        plaintext: &mut dyn FnMut(&[u8]),
    ) -> Result<Received, ChannelError>;

    /// Appends `plaintext` to `outgoing`, in as few records as possible (as long as the peer can hold, 16 KiB as a rule, the last one shorter). How
    /// much of it: all, unless [`limit_records`](Self::limit_records) leaves no room for the rest.
    ///
    /// # Errors
    /// [`ChannelError::NotEstablished`] before the peer is proven, [`ChannelError::Finished`] after an error or after `close`,
    /// [`ChannelError::NoRecordsLeft`] when the peer can take no more: then `close` still tells it the end.
    fn seal(&mut self, plaintext: &[u8], outgoing: &mut OutBuf) -> Result<usize, ChannelError>;

    /// Appends the orderly end to `outgoing`. What arrives later is consumed and dropped. Does nothing the second time, and after an error.
    ///
    /// In the middle of a handshake the peer is told as far as TLS can: a service that has already answered the hello cannot.
    fn close(&mut self, outgoing: &mut OutBuf);

    /// Who the peer is: once, when it is proven (application protocol agreed, chain of a resumed session verified again).
    fn established(&mut self) -> Option<Established>;

    /// Whether the peer is proven.
    fn is_established(&self) -> bool;

    /// Whether the certificates of a proven peer are acceptable under the settings of now, or will be that much `ahead`. What proves itself
    /// without certificates always is.
    ///
    /// # Errors
    /// [`ChannelError::NoLongerAccepted`]; nothing has happened to the channel.
    fn recheck(&self, _ahead: Duration) -> Result<(), ChannelError> {
        Ok(())
    }

    /// The peer's TLS carries no more than so many records each way.
    fn limit_records(&mut self, _most: u32) {}

    /// Whether most of those are used up, one way or the other.
    fn is_near_record_limit(&self) -> bool {
        false
    }

    /// How long the certificates of a proven peer last.
    fn lasts(&self) -> Lasts {
        Lasts::default()
    }
}

/// How long the certificates of a chain last, by the clock of the TLS settings. Not all of them need to count: a chain may hold some that nothing
/// depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lasts {
    /// One of them has ended.
    pub(crate) has_ended: bool,
    /// Until the next of the others has.
    pub(crate) left: Option<Duration>,
}

/// What [`Channel::receive`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) struct Received {
    /// How many bytes of the input are done with.
    pub(crate) consumed: usize,
    /// Call again with the rest, even if it is empty: there may be more to do.
    pub(crate) again: bool,
    /// The peer ended its side in order; no more plaintext will come. An end of the socket without this is a cut.
    pub(crate) closed: bool,
}

impl Received {
    /// `consumed` bytes are done with, and that is all.
    pub(crate) const fn new(consumed: usize) -> Self {
        Self {
            consumed,
            again: false,
            closed: false,
        }
    }

    const fn again(mut self) -> Self {
        self.again = true;
        self
    }

    const fn closed(mut self, closed: bool) -> Self {
        self.closed = closed;
        self
    }
}

/// A peer that proved itself.
#[derive(Clone, Debug)]
pub(crate) struct Established {
    /// What it proved; an error when its certificate is valid and holds more than is taken. Such a peer is to be told so, and nothing else.
    pub(crate) credentials: Result<Credentials, CredentialsError>,
    /// Whether an earlier TLS session was resumed.
    pub(crate) resumed: bool,
    /// How long that lasts.
    pub(crate) lasts: Lasts,
}
