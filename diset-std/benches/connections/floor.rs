//! The floor: tokio-rustls with the settings that diset uses (TLS 1.3 only, client certificates, one ticket), and a task
//! that waits for a byte.

use core::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::common::{Outcome, crypto, say_listening};
use crate::{Job, Work, say_connected};

pub(crate) async fn serve(job: &Job) -> Outcome<()> {
    let provider = Arc::new(crypto());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(job.tls.roots()?), Arc::clone(&provider));
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier.build()?)
        .with_single_cert(job.tls.chain(), job.tls.key())?;
    config.send_tls13_tickets = 1;
    config.ticketer = ticketer()?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    say_listening(listener.local_addr()?);
    loop {
        let (tcp, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            tcp.set_nodelay(true)?;
            let mut tls = acceptor.accept(tcp).await?;
            let mut byte = [0];
            while tls.read(&mut byte).await? > 0 {}
            tls.shutdown().await
        });
    }
}

pub(crate) async fn connect(job: &Job, work: Work, count: usize, address: SocketAddr) -> Outcome<()> {
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(crypto()))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(job.tls.roots()?)
        .with_client_auth_cert(job.tls.chain(), job.tls.key())?;
    if work != (Work::Handshakes { resumed: true }) {
        config.resumption = Resumption::disabled();
    }
    let connector = TlsConnector::from(Arc::new(config));
    let mut open = Vec::new();
    for _ in 0..count {
        let tls = one(&connector, address).await?;
        match work {
            Work::Idle => open.push(tls),
            Work::Handshakes { .. } => end(tls).await?,
        }
    }
    say_connected(work, open).await;
    Ok(())
}

async fn one(connector: &TlsConnector, address: SocketAddr) -> Outcome<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    Ok(connector.connect(ServerName::try_from("localhost")?, tcp).await?)
}

/// Ends in order; what is read before the end is the ticket.
async fn end(mut tls: TlsStream<TcpStream>) -> Outcome<()> {
    tls.shutdown().await?;
    let mut byte = [0];
    while tls.read(&mut byte).await? > 0 {}
    Ok(())
}

fn ticketer() -> Result<Arc<dyn rustls::server::ProducesTickets>, rustls::Error> {
    #[cfg(feature = "aws-lc-rs")]
    return rustls::crypto::aws_lc_rs::Ticketer::new();
    #[cfg(not(feature = "aws-lc-rs"))]
    return rustls::crypto::ring::Ticketer::new();
}
