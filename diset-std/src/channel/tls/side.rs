//! What the two sides of TLS do differently.

use std::sync::Arc;

use rustls::client::{ClientConnectionData, ClientSessionStore, UnbufferedClientConnection};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::UnbufferedStatus;
use rustls::{AlertDescription, CommonState, Error};

use crate::tls::{
    ALPN, ALPN_SMALL, Certificate, ClientSettings, ClientTls, Role, SMALL_FRAGMENT, ServerSettings, ServerTls,
    alert_words,
};

/// The most plaintext of a record, where nothing less was agreed.
const FRAGMENT: usize = 16 * 1024;

/// One side of a connection.
pub(super) trait Side: Send {
    /// rustls' data for this side.
    type Data;
    /// Whether this is the side that speaks first.
    const IS_CLIENT: bool;

    fn process<'c, 'i>(&'c mut self, records: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    fn common(&self) -> &CommonState;

    /// The application protocol that must be agreed on (PROTOCOL X-2).
    fn alpn(&self) -> &'static [u8] {
        ALPN
    }

    /// The most plaintext of a record that this side writes.
    fn fragment(&self) -> usize {
        FRAGMENT
    }

    /// Verifies the peer's chain again by the settings of now, at this time: authorities and revocations, too.
    fn verify(&self, own: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>], at: UnixTime)
    -> Result<(), Error>;

    /// The time, by the clock of the settings.
    fn now(&self) -> Result<UnixTime, Error>;

    /// Whether the handshake has begun with the settings that are in force now.
    fn has_settings_of_now(&self) -> bool;

    /// The handshake is over: settings of the past need not be kept for it.
    fn handshake_done(&mut self);

    /// Makes the next connection to the same peer a full handshake.
    fn forget_sessions(&self) {}

    /// What this side shows; cheap.
    fn own(&self) -> Own;
}

/// The certificate of this side, as far as a peer may complain of it.
pub(super) struct Own(Certificate, Role);

impl Own {
    /// What an alert of the peer means.
    pub(super) fn alert(&self, alert: AlertDescription) -> String {
        alert_words(alert, &self.0, self.1)
    }
}

pub(super) struct ServerSide {
    connection: UnbufferedServerConnection,
    tls: ServerTls,
    /// The settings of the handshake, as long as it lasts.
    began: Option<Arc<ServerSettings>>,
    /// The client holds small records only.
    small: bool,
}

impl ServerSide {
    /// For a client that holds `small` records only, or for any other.
    pub(super) fn new(tls: &ServerTls, small: bool) -> Result<Self, Error> {
        let now = tls.now();
        let config = now.small.as_ref().filter(|_| small).unwrap_or(&now.config);
        Ok(Self {
            connection: UnbufferedServerConnection::new(Arc::clone(config))?,
            small,
            tls: tls.clone(),
            began: Some(now),
        })
    }
}

impl Side for ServerSide {
    type Data = ServerConnectionData;
    const IS_CLIENT: bool = false;

    fn process<'c, 'i>(&'c mut self, records: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.connection.process_tls_records(records)
    }

    fn common(&self) -> &CommonState {
        &self.connection
    }

    fn alpn(&self) -> &'static [u8] {
        if self.small { ALPN_SMALL } else { ALPN }
    }

    fn fragment(&self) -> usize {
        if self.small { SMALL_FRAGMENT } else { FRAGMENT }
    }

    fn verify(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        at: UnixTime,
    ) -> Result<(), Error> {
        let verifier = &self.tls.now().verifier;
        verifier.verify_client_cert(own, intermediates, at).map(drop)
    }

    fn now(&self) -> Result<UnixTime, Error> {
        now(&*self.tls.now().config.time_provider)
    }

    fn has_settings_of_now(&self) -> bool {
        let now = self.tls.now();
        self.began.as_ref().is_some_and(|began| Arc::ptr_eq(began, &now))
    }

    fn handshake_done(&mut self) {
        self.began = None;
    }

    fn own(&self) -> Own {
        let now = self.tls.now();
        let shown = self.began.as_ref().unwrap_or(&now);
        Own(shown.certificate(self.small).clone(), Role::Service)
    }
}

pub(super) struct ClientSide {
    connection: UnbufferedClientConnection,
    tls: ClientTls,
    /// As for the server.
    began: Option<Arc<ClientSettings>>,
    /// Where the session comes from that is perhaps resumed.
    sessions: Arc<dyn ClientSessionStore>,
    name: ServerName<'static>,
}

impl ClientSide {
    pub(super) fn new(tls: &ClientTls, name: ServerName<'static>) -> Result<Self, Error> {
        let now = tls.now();
        Ok(Self {
            connection: UnbufferedClientConnection::new(Arc::clone(&now.config), name.clone())?,
            tls: tls.clone(),
            sessions: Arc::clone(&now.sessions),
            began: Some(now),
            name,
        })
    }
}

impl Side for ClientSide {
    type Data = ClientConnectionData;
    const IS_CLIENT: bool = true;

    fn process<'c, 'i>(&'c mut self, records: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.connection.process_tls_records(records)
    }

    fn common(&self) -> &CommonState {
        &self.connection
    }

    fn verify(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        at: UnixTime,
    ) -> Result<(), Error> {
        let verifier = &self.tls.now().verifier;
        verifier
            .verify_server_cert(own, intermediates, &self.name, &[], at)
            .map(drop)
    }

    fn now(&self) -> Result<UnixTime, Error> {
        now(&*self.tls.now().config.time_provider)
    }

    fn has_settings_of_now(&self) -> bool {
        let now = self.tls.now();
        self.began.as_ref().is_some_and(|began| Arc::ptr_eq(began, &now))
    }

    fn handshake_done(&mut self) {
        self.began = None;
    }

    fn own(&self) -> Own {
        let now = self.tls.now();
        let shown = self.began.as_ref().unwrap_or(&now);
        Own(shown.certificate().clone(), Role::Client)
    }

    fn forget_sessions(&self) {
        while self.sessions.take_tls13_ticket(&self.name).is_some() {}
    }
}

fn now(time: &dyn rustls::time_provider::TimeProvider) -> Result<UnixTime, Error> {
    time.current_time().ok_or(Error::FailedToGetCurrentTime)
}
