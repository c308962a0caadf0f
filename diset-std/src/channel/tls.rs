//! The TLS channel over rustls' unbuffered interface: one implementation for both sides. Nothing else touches that interface. What the two sides do
//! differently is in `side`.
//!
//! Three properties of the interface decide the shape of this file:
//! - It can only be asked for writing by giving it the input again. Of the input it may still hold a handshake message in parts, by position, and it
//!   panics when those positions are not there. So it is given whole records only; then what it holds is exactly what it did not consume (`held`), and
//!   when there is no input at hand, that many blank bytes stand in for it: it looks only behind them.
//! - Records are decrypted one at a time and handed over at once, even when the handshake ended a record earlier in the same input. The peer is
//!   judged before the first of them is taken.
//! - After an error, the alert for the peer waits inside until it is asked for.

mod choice;
mod records;
mod side;

use core::time::Duration;

use rustls::HandshakeKind;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic};

use self::choice::Choosing;
use self::records::{HEADER, MAX_PAYLOAD, Records, whole_records};
use self::side::{ClientSide, ServerSide, Side};
use super::{Channel, ChannelError, Established, Lasts, OutBuf, Received};
use crate::tls::{CertificateCredentials, ClientTls, Credentials, CredentialsError, ServerTls, not_after};

/// Most bytes of a handshake message in parts that are held for a peer; a chain of certificates has to fit.
pub(super) const MAX_HELD: usize = 32 * 1024;
/// Longest record on the wire, as rustls accepts it.
pub(super) const MAX_RECORD: usize = HEADER + MAX_PAYLOAD;
/// The end in clear, for a handshake that has no keys yet: alert, version, length, fatal, `close_notify`. TLS 1.3 reads no meaning from the level, but a
/// peer that has not agreed on the version yet would pass over a warning.
const CLOSE_IN_CLEAR: [u8; 7] = [21, 3, 3, 0, 2, 2, 0];

/// The service's end of a connection.
///
/// # Errors
/// [`ChannelError::Local`] when rustls cannot start with these settings.
pub(crate) fn server(tls: &ServerTls) -> Result<Box<dyn Channel>, ChannelError> {
    if tls.now().small.is_some() {
        return Ok(Box::new(Choosing::new(tls)));
    }
    Ok(Box::new(TlsChannel::new(ServerSide::new(tls, false).map_err(unread)?)))
}

/// The client's end of a connection to the service called `name`. Make it when the socket is connected: it uses up a ticket.
///
/// # Errors
/// [`ChannelError::Local`] when rustls cannot start with these settings.
pub(crate) fn client(tls: &ClientTls, name: ServerName<'static>) -> Result<Box<dyn Channel>, ChannelError> {
    Ok(Box::new(TlsChannel::new(ClientSide::new(tls, name).map_err(unread)?)))
}

/// An error of a call that was given nothing of the peer: it is no alert.
fn unread(error: rustls::Error) -> ChannelError {
    ChannelError::from_tls(error, |_| String::from("it gives no reason"))
}

struct TlsChannel<S> {
    side: S,
    /// How many bytes at the front of the next input are whole records that rustls has seen and still needs.
    held: usize,
    phase: Phase,
    /// What `established` has not told yet.
    news: Option<Result<CertificateCredentials, CredentialsError>>,
    /// rustls has something to do even without a new record.
    pending: bool,
    /// Something of ours has been sent to the peer.
    spoke: bool,
    peer_closed: bool,
    /// The peer has sent plaintext.
    useful: bool,
    /// Those since the peer is proven.
    records: Records,
    /// Plaintext that had to be taken from rustls before anybody could receive it.
    early: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Handshake,
    Established,
    /// After `close` or an error.
    Finished,
}

/// Why the loop over what rustls wants came to a stop.
enum Stop {
    /// rustls waits for input.
    Idle,
    /// The handshake is complete, the peer is to be judged.
    Judge,
}

impl<S: Side> TlsChannel<S> {
    fn new(side: S) -> Self {
        Self {
            side,
            held: 0,
            phase: Phase::Handshake,
            news: None,
            pending: true,
            spoke: false,
            peer_closed: false,
            useful: false,
            records: Records::default(),
            early: Vec::new(),
        }
    }

    /// Lets rustls work through `records`, which are whole; adds to `consumed` what it is done with.
    fn work(
        &mut self,
        records: &mut [u8],
        consumed: &mut usize,
        outgoing: &mut OutBuf,
        plaintext: &mut dyn FnMut(&[u8]),
    ) -> Result<Stop, rustls::Error> {
        loop {
            let UnbufferedStatus { mut discard, state } = self.side.process(&mut records[*consumed..]);
            let mut idle = false;
            match state? {
                ConnectionState::ReadTraffic(mut traffic) if self.phase == Phase::Established => {
                    self.useful = true;
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        plaintext(record.payload);
                        discard += record.discard;
                    }
                }
                // Not taken before the peer is judged, which is next; rustls offers it again.
                ConnectionState::ReadTraffic(_) => {}
                ConnectionState::EncodeTlsData(data) => {
                    encode(data, outgoing)?;
                    self.spoke = true;
                }
                ConnectionState::TransmitTlsData(sent) => sent.done(),
                ConnectionState::PeerClosed => self.peer_closed = true,
                ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake | ConnectionState::Closed => {
                    idle = true;
                }
                // Early data is never offered nor accepted.
                _ => return Err(rustls::Error::General("unexpected state of rustls".into())),
            }
            *consumed += discard;
            if self.phase == Phase::Handshake && !self.side.common().is_handshaking() {
                return Ok(Stop::Judge);
            }
            if idle {
                return Ok(Stop::Idle);
            }
        }
    }

    /// Whether the peer may be let in, now that the handshake is complete; one whose certificate holds too much is told so within.
    fn judge(&self) -> Result<Result<CertificateCredentials, CredentialsError>, ChannelError> {
        // PROTOCOL X-2: rustls lets a client pass that offers no protocol at all.
        if self.side.common().alpn_protocol() != Some(self.side.alpn()) {
            return Err(ChannelError::NoAlpn);
        }
        let own = self.chain().first().ok_or(ChannelError::NoCertificate)?;
        // PROTOCOL X-5: TLS took them from the ticket as they were, or judged them by settings of the past.
        if self.is_resumed() || !self.side.has_settings_of_now() {
            self.recheck(Duration::ZERO)?;
        }
        Ok(CertificateCredentials::from_der(own))
    }

    /// The peer's certificates, which rustls keeps as long as the connection lives.
    fn chain(&self) -> &[CertificateDer<'static>] {
        self.side.common().peer_certificates().unwrap_or_default()
    }

    fn is_resumed(&self) -> bool {
        self.side.common().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// How long certificates last whose last seconds are these. Without a clock nothing is known to end.
    fn lasts_of(&self, last_seconds: impl Iterator<Item = u64>) -> Lasts {
        let mut lasts = Lasts::default();
        let Ok(now) = self.side.now() else { return lasts };
        for last_second in last_seconds {
            match last_second.checked_sub(now.as_secs()) {
                None => lasts.has_ended = true,
                Some(left) => {
                    let left = Duration::from_secs(left.saturating_add(1));
                    lasts.left = Some(lasts.left.map_or(left, |other| other.min(left)));
                }
            }
        }
        lasts
    }

    /// Lets the peer in, or ends the connection.
    fn admit(&mut self, outgoing: &mut OutBuf) -> Result<(), ChannelError> {
        // TLS refuses keys that change within a handshake message, so nothing is held now.
        self.held = 0;
        let judged = self.judge();
        self.side.handshake_done();
        match judged {
            Ok(credentials) => {
                self.phase = Phase::Established;
                self.news = Some(credentials);
                self.pending = true;
                Ok(())
            }
            Err(error) => {
                // The connection ends either way; the first error is the one to tell.
                let _ = self.write(outgoing, |traffic, free| traffic.queue_close_notify(free));
                Err(self.fail(error))
            }
        }
    }

    /// Does `work` in the state where rustls encrypts. Used between calls of `receive`, so there is no input at hand.
    fn write(
        &mut self,
        outgoing: &mut OutBuf,
        mut work: impl FnMut(&mut WriteTraffic<'_, S::Data>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), ChannelError> {
        // See the top of the file. Nearly always empty, and then without an allocation.
        let mut blank = vec![0; self.held];
        loop {
            let UnbufferedStatus { state, .. } = self.side.process(&mut blank);
            match state.map_err(unread)? {
                ConnectionState::EncodeTlsData(data) => encode(data, outgoing).map_err(unread)?,
                ConnectionState::TransmitTlsData(sent) => sent.done(),
                ConnectionState::ReadTraffic(mut traffic) => {
                    self.useful = true;
                    while let Some(record) = traffic.next_record() {
                        self.early.extend_from_slice(record.map_err(unread)?.payload);
                    }
                }
                ConnectionState::PeerClosed => self.peer_closed = true,
                ConnectionState::WriteTraffic(mut traffic) => loop {
                    match work(&mut traffic, outgoing.free()) {
                        Ok(written) => {
                            outgoing.filled(written);
                            return Ok(());
                        }
                        Err(EncryptError::InsufficientSize(needed)) => outgoing.reserve(needed.required_size),
                        Err(EncryptError::EncryptExhausted) => {
                            return Err(ChannelError::Local(rustls::Error::EncryptError));
                        }
                    }
                },
                ConnectionState::Closed => return Err(ChannelError::Finished),
                _ => return Err(ChannelError::NotEstablished),
            }
        }
    }

    /// Appends the alert that rustls made for the peer, if any. While one waits, rustls does not look at its input.
    fn flush_alert(&mut self, outgoing: &mut OutBuf) {
        while self.side.common().wants_write() {
            let Ok(ConnectionState::EncodeTlsData(data)) = self.side.process(&mut []).state else {
                return;
            };
            if encode(data, outgoing).is_err() {
                return;
            }
        }
    }

    /// The end by an error.
    fn fail(&mut self, error: ChannelError) -> ChannelError {
        self.end();
        error
    }

    fn end(&mut self) {
        self.phase = Phase::Finished;
        self.news = None;
        self.forget_useless_session();
    }

    /// A resumed session that ended before the peer said anything is not resumed again: perhaps one side refuses the certificates it brings back, and
    /// only a full handshake can present new ones, or tell the reason.
    fn forget_useless_session(&self) {
        if !self.useful && self.is_resumed() {
            self.side.forget_sessions();
        }
    }
}

impl<S: Side> Channel for TlsChannel<S> {
    fn receive(
        &mut self,
        incoming: &mut [u8],
        outgoing: &mut OutBuf,
        plaintext: &mut dyn FnMut(&[u8]),
    ) -> Result<Received, ChannelError> {
        let given = incoming.len();
        if self.phase == Phase::Finished || self.peer_closed {
            return Ok(Received::new(given).closed(self.peer_closed));
        }
        if given < self.held {
            return Err(self.fail(ChannelError::LostInput));
        }
        let (whole, records) = whole_records(incoming, self.held);
        if whole == self.held && !self.pending {
            return Ok(Received::new(0));
        }
        self.pending = false;
        if !self.early.is_empty() {
            plaintext(&core::mem::take(&mut self.early));
        }
        let mut consumed = 0;
        match self.work(&mut incoming[..whole], &mut consumed, outgoing, plaintext) {
            Ok(Stop::Judge) => {
                self.admit(outgoing)?;
                return Ok(Received::new(consumed).again());
            }
            Ok(Stop::Idle) if self.phase == Phase::Established => self.records.opened(records),
            Ok(Stop::Idle) => {}
            Err(error) => {
                self.flush_alert(outgoing);
                let own = self.side.own();
                return Err(self.fail(ChannelError::from_tls(error, |alert| own.alert(alert))));
            }
        }
        if self.peer_closed {
            self.forget_useless_session();
            return Ok(Received::new(given).closed(true));
        }
        self.held = whole - consumed;
        if self.held > MAX_HELD {
            return Err(self.fail(ChannelError::TooLong));
        }
        Ok(Received::new(consumed))
    }

    fn seal(&mut self, plaintext: &[u8], outgoing: &mut OutBuf) -> Result<usize, ChannelError> {
        match self.phase {
            Phase::Handshake => return Err(ChannelError::NotEstablished),
            Phase::Finished => return Err(ChannelError::Finished),
            Phase::Established => {}
        }
        if plaintext.is_empty() {
            return Ok(0);
        }
        // PROTOCOL G-6: what the peer's TLS cannot take is not sent. The end in order still is.
        let most = self.records.room(self.side.fragment());
        if most == 0 {
            return Err(ChannelError::NoRecordsLeft);
        }
        let piece = plaintext.get(..most).unwrap_or(plaintext);
        let before = outgoing.pending().len();
        self.write(outgoing, |traffic, free| traffic.encrypt(piece, free))
            .map_err(|error| self.fail(error))?;
        let sealed = outgoing.pending().get(before..).unwrap_or_default();
        self.records.sealed(whole_records(sealed, 0).1);
        Ok(piece.len())
    }

    fn limit_records(&mut self, most: u32) {
        self.records.limit(most);
    }

    fn is_near_record_limit(&self) -> bool {
        self.records.is_near_limit()
    }

    fn close(&mut self, outgoing: &mut OutBuf) {
        match self.phase {
            Phase::Finished => return,
            Phase::Established => {
                // The connection ends either way.
                let _ = self.write(outgoing, |traffic, free| traffic.queue_close_notify(free));
            }
            // A service takes a short alert in clear until it has decrypted something; a client takes none after the hello of the service.
            Phase::Handshake if self.spoke == S::IS_CLIENT => outgoing.extend(&CLOSE_IN_CLEAR),
            Phase::Handshake => {}
        }
        self.end();
    }

    fn established(&mut self) -> Option<Established> {
        let own = self.news.take()?;
        // Its own end is known; reading it again would show in the cost of a handshake.
        let intermediates = self.chain().get(1..).unwrap_or_default();
        let ends = intermediates.iter().filter_map(not_after);
        let own_end = own.as_ref().ok().map(CertificateCredentials::last_second);
        Some(Established {
            lasts: self.lasts_of(own_end.into_iter().chain(ends)),
            resumed: self.is_resumed(),
            credentials: own.map(Credentials::Certificate),
        })
    }

    fn is_established(&self) -> bool {
        self.phase == Phase::Established
    }

    fn recheck(&self, ahead: Duration) -> Result<(), ChannelError> {
        let (own, intermediates) = self.chain().split_first().ok_or(ChannelError::NoCertificate)?;
        self.side
            .now()
            .and_then(|now| {
                let at = Duration::from_secs(now.as_secs()).saturating_add(ahead);
                self.side.verify(own, intermediates, UnixTime::since_unix_epoch(at))
            })
            .map_err(ChannelError::no_longer_accepted)
    }

    fn lasts(&self) -> Lasts {
        self.lasts_of(self.chain().iter().filter_map(not_after))
    }
}

/// Appends what rustls has to say.
fn encode<D>(mut data: EncodeTlsData<'_, D>, outgoing: &mut OutBuf) -> Result<(), rustls::Error> {
    loop {
        match data.encode(outgoing.free()) {
            Ok(written) => {
                outgoing.filled(written);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(needed)) => outgoing.reserve(needed.required_size),
            // Cannot happen: each piece is encoded once.
            Err(EncodeError::AlreadyEncoded) => return Err(rustls::Error::EncryptError),
        }
    }
}

#[cfg(all(test, feature = "throwaway", any(feature = "aws-lc-rs", feature = "ring")))]
mod tests;
