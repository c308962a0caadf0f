//! diset with the settings that a user finds: a service without messages of its own, clients that connect and wait.

use core::net::SocketAddr;
use std::sync::Arc;

use diset_std::tls::{Authorities, Certificate, ClientTls, ServerTls};
use diset_std::{Client, Schema, Service, define_service};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use crate::common::{Credentials, Outcome, crypto, say_listening};
use crate::{Job, Work, say_connected};

/// Never sent.
#[derive(Serialize, Deserialize, Schema)]
struct Word {
    text: String,
}

define_service! {
    Quiet = "Bench/Quiet";
    both: [Word],
}

pub(crate) async fn serve(job: &Job) -> Outcome<()> {
    let (certificate, authorities) = material(&job.tls)?;
    let tls = ServerTls::builder(certificate, authorities)
        .crypto_provider(Arc::new(crypto()))
        .build()?;
    let bound = Service::new(Quiet)
        .on(|_, _: Word| async { Ok(()) })
        .bind("127.0.0.1:0", tls)
        .await?;
    say_listening(bound.local_addr().ok_or("no port")?);
    bound.run().await;
    Ok(())
}

pub(crate) async fn connect(job: &Job, work: Work, count: usize, address: SocketAddr) -> Outcome<()> {
    let tls = client_tls(job)?;
    let mut open = Vec::new();
    for _ in 0..count {
        // Tickets are kept with the settings, so new settings make a full handshake.
        let tls = match work {
            Work::Handshakes { resumed: true } => tls.clone(),
            Work::Handshakes { resumed: false } | Work::Idle => client_tls(job)?,
        };
        let client = Client::builder(Quiet, &address.to_string())
            .server_name("localhost")
            .tls(tls)
            .connect()
            .await?;
        match work {
            Work::Idle => open.push(client),
            Work::Handshakes { .. } => client.close().await,
        }
    }
    say_connected(work, open).await;
    Ok(())
}

fn client_tls(job: &Job) -> Outcome<ClientTls> {
    let (certificate, authorities) = material(&job.tls)?;
    Ok(ClientTls::builder(certificate, authorities)
        .crypto_provider(Arc::new(crypto()))
        .build()?)
}

fn material(tls: &Credentials) -> Outcome<(Certificate, Authorities)> {
    let authorities = Authorities::from_der(vec![CertificateDer::from(tls.authority.clone())])?;
    Ok((Certificate::from_der(tls.chain(), tls.key())?, authorities))
}
