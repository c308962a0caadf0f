//! A service that serves clients with small records, too: which one this is shows its hello, and only then TLS begins.
//!
//! rustls must know its settings before it is given the hello, so it is looked at twice. Nothing is kept for that beside the bytes that a connection
//! keeps anyway: the first record. A hello that goes on behind it is that of a client with large records, by which PROTOCOL X-8 keeps the
//! choice from waiting for a peer that sends in small pieces.

use core::time::Duration;

use rustls::server::Acceptor;

use super::records::{HEADER, whole_records};
use super::side::ServerSide;
use super::{CLOSE_IN_CLEAR, TlsChannel, unread};
use crate::channel::{Channel, ChannelError, Established, Lasts, OutBuf, Received};
use crate::tls::{ALPN_SMALL, ServerTls};

/// The service's end of a connection.
pub(super) enum Choosing {
    /// For the hello.
    Waiting(ServerTls),
    Chosen(Box<TlsChannel<ServerSide>>),
    /// It ended before.
    Ended,
}

impl Choosing {
    pub(super) fn new(tls: &ServerTls) -> Self {
        Self::Waiting(tls.clone())
    }

    /// Chooses when the first record is there, or something that is none, which TLS then refuses.
    fn choose(&mut self, incoming: &[u8]) -> Result<(), ChannelError> {
        let Self::Waiting(tls) = self else { return Ok(()) };
        if whole_records(incoming, 0).0 == 0 {
            return Ok(());
        }
        let side = ServerSide::new(tls, offers_small(incoming)).map_err(unread);
        *self = match side {
            Ok(side) => Self::Chosen(Box::new(TlsChannel::new(side))),
            Err(error) => {
                *self = Self::Ended;
                return Err(error);
            }
        };
        Ok(())
    }
}

/// Whether the first record is the hello of a client that wants small records. A hello that is wrong is left to TLS.
fn offers_small(incoming: &[u8]) -> bool {
    let Some([.., high, low]) = incoming.first_chunk::<HEADER>() else {
        return false;
    };
    let length = HEADER + usize::from(u16::from_be_bytes([*high, *low]));
    let Some(mut hello) = incoming.get(..length) else {
        return false;
    };
    let mut acceptor = Acceptor::default();
    while !hello.is_empty() {
        if acceptor.read_tls(&mut hello).is_ok_and(|read| read > 0) {
            continue;
        }
        return false;
    }
    let Ok(Some(accepted)) = acceptor.accept() else {
        return false;
    };
    let offered = accepted.client_hello().alpn();
    offered.is_some_and(|mut names| names.any(|name| name == ALPN_SMALL))
}

impl Channel for Choosing {
    fn receive(
        &mut self,
        incoming: &mut [u8],
        outgoing: &mut OutBuf,
        plaintext: &mut dyn FnMut(&[u8]),
    ) -> Result<Received, ChannelError> {
        self.choose(incoming)?;
        match self {
            Self::Waiting(_) => Ok(Received::new(0)),
            Self::Chosen(channel) => channel.receive(incoming, outgoing, plaintext),
            Self::Ended => Ok(Received::new(incoming.len())),
        }
    }

    fn seal(&mut self, plaintext: &[u8], outgoing: &mut OutBuf) -> Result<usize, ChannelError> {
        match self {
            Self::Waiting(_) => Err(ChannelError::NotEstablished),
            Self::Chosen(channel) => channel.seal(plaintext, outgoing),
            Self::Ended => Err(ChannelError::Finished),
        }
    }

    fn close(&mut self, outgoing: &mut OutBuf) {
        match self {
            Self::Waiting(_) => {
                outgoing.extend(&CLOSE_IN_CLEAR);
                *self = Self::Ended;
            }
            Self::Chosen(channel) => channel.close(outgoing),
            Self::Ended => {}
        }
    }

    fn established(&mut self) -> Option<Established> {
        match self {
            Self::Chosen(channel) => channel.established(),
            Self::Waiting(_) | Self::Ended => None,
        }
    }

    fn is_established(&self) -> bool {
        matches!(self, Self::Chosen(channel) if channel.is_established())
    }

    fn recheck(&self, ahead: Duration) -> Result<(), ChannelError> {
        match self {
            Self::Chosen(channel) => channel.recheck(ahead),
            Self::Waiting(_) | Self::Ended => Ok(()),
        }
    }

    fn limit_records(&mut self, most: u32) {
        if let Self::Chosen(channel) = self {
            channel.limit_records(most);
        }
    }

    fn is_near_record_limit(&self) -> bool {
        matches!(self, Self::Chosen(channel) if channel.is_near_record_limit())
    }

    fn lasts(&self) -> Lasts {
        match self {
            Self::Chosen(channel) => channel.lasts(),
            Self::Waiting(_) | Self::Ended => Lasts::default(),
        }
    }
}
