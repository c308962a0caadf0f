//! What the two sides of TLS do differently.

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ClientConnectionData, ClientSessionStore, UnbufferedClientConnection};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::time_provider::TimeProvider;
use rustls::unbuffered::UnbufferedStatus;
use rustls::{CommonState, Error};

use crate::tls::{ClientTls, ServerTls};

/// One side of a connection.
pub(super) trait Side: Send {
    /// rustls' data for this side.
    type Data;
    /// Whether this is the side that speaks first.
    const IS_CLIENT: bool;

    fn process<'c, 'i>(&'c mut self, records: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    fn common(&self) -> &CommonState;

    /// Verifies a chain again that a resumed session brought back: authorities, revocations and the time now.
    fn verify(&self, own: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Result<(), Error>;

    /// Makes the next connection to the same peer a full handshake.
    fn forget_sessions(&self) {}
}

pub(super) struct ServerSide {
    connection: UnbufferedServerConnection,
    verifier: Arc<dyn ClientCertVerifier>,
    time: Arc<dyn TimeProvider>,
}

impl ServerSide {
    pub(super) fn new(tls: &ServerTls) -> Result<Self, Error> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(Arc::clone(&tls.config))?,
            verifier: Arc::clone(&tls.verifier),
            time: Arc::clone(&tls.config.time_provider),
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

    fn verify(&self, own: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Result<(), Error> {
        let now = now(&*self.time)?;
        self.verifier.verify_client_cert(own, intermediates, now).map(drop)
    }
}

pub(super) struct ClientSide {
    connection: UnbufferedClientConnection,
    verifier: Arc<dyn ServerCertVerifier>,
    time: Arc<dyn TimeProvider>,
    sessions: Arc<dyn ClientSessionStore>,
    name: ServerName<'static>,
}

impl ClientSide {
    pub(super) fn new(tls: &ClientTls, name: ServerName<'static>) -> Result<Self, Error> {
        Ok(Self {
            connection: UnbufferedClientConnection::new(Arc::clone(&tls.config), name.clone())?,
            verifier: Arc::clone(&tls.verifier),
            time: Arc::clone(&tls.config.time_provider),
            sessions: Arc::clone(&tls.sessions),
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

    fn verify(&self, own: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Result<(), Error> {
        let now = now(&*self.time)?;
        self.verifier
            .verify_server_cert(own, intermediates, &self.name, &[], now)
            .map(drop)
    }

    fn forget_sessions(&self) {
        while self.sessions.take_tls13_ticket(&self.name).is_some() {}
    }
}

fn now(time: &dyn TimeProvider) -> Result<UnixTime, Error> {
    time.current_time().ok_or(Error::FailedToGetCurrentTime)
}
