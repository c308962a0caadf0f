//! The service of diset-std, for clients of either kind on one port.

use core::net::SocketAddr;
use std::path::Path;

use diset_embedded::Resumption;
use diset_std::rustls::pki_types::PrivatePkcs8KeyDer;
use diset_std::tls::{Authorities, Certificate, ClientTls, ServerTls};
use diset_std::{BoundService, Conn, Service, ServiceHandle};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::agents::{Demo, Note, Ping, Pong};
use crate::impostor::certificates::{Credentials, World};

pub(crate) fn certificate(credentials: &Credentials) -> Certificate {
    let key = PrivatePkcs8KeyDer::from(credentials.pkcs8.clone()).into();
    Certificate::from_der(vec![credentials.certificate.clone().into()], key).expect("a certificate with its key")
}

pub(crate) fn authorities(authority: &Credentials) -> Authorities {
    Authorities::from_der(vec![authority.certificate.clone().into()]).expect("an authority")
}

/// Settings of a service that shows this, for small records or not.
pub(crate) fn server_tls(shown: &Credentials, authority: &Credentials, small: bool) -> ServerTls {
    let builder = ServerTls::builder(certificate(shown), authorities(authority));
    let builder = if small { builder.small_records(None) } else { builder };
    // Some of what is shown no peer should take; that is for the client to find out.
    builder.without_validity_check().build().expect("settings that fit")
}

pub(crate) fn client_tls(world: &World) -> ClientTls {
    ClientTls::new(certificate(&world.device), authorities(&world.authority)).expect("settings that fit")
}

/// What a service has seen.
#[derive(Debug, PartialEq)]
pub(crate) enum Saw {
    Connected(Option<Resumption>),
    Ping {
        id: i64,
        acked: bool,
        repeated: bool,
    },
    /// A plain note was taken to be sent.
    Note(i64),
}

pub(crate) struct Host {
    pub(crate) address: SocketAddr,
    pub(crate) handle: ServiceHandle<Demo>,
    saw: mpsc::UnboundedReceiver<Saw>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Host {
    /// A service made of this one, on this port.
    pub(crate) fn start(
        runtime: &Runtime,
        port: u16,
        tls: ServerTls,
        make: impl Fn(mpsc::UnboundedSender<Saw>) -> Service<Demo>,
    ) -> Self {
        let (log, saw) = mpsc::unbounded_channel();
        let bound: BoundService<Demo> = runtime.block_on(async {
            let bind = async {
                loop {
                    // The last service may still hold the port, or the file.
                    match make(log.clone()).bind(("127.0.0.1", port), tls.clone()).await {
                        Ok(bound) => return bound,
                        Err(_) => tokio::task::yield_now().await,
                    }
                }
            };
            tokio::time::timeout(crate::agents::SOON, bind)
                .await
                .expect("it listens")
        });
        let (address, handle) = (bound.local_addr().expect("TCP"), bound.handle());
        let (stop, stopped) = oneshot::channel::<()>();
        let task = runtime.spawn(bound.run_until(async {
            let _ = stopped.await;
        }));
        Self {
            address,
            handle,
            saw,
            stop,
            task,
        }
    }

    /// What it has seen since this was asked last.
    pub(crate) fn saw(&mut self) -> Vec<Saw> {
        core::iter::from_fn(|| self.saw.try_recv().ok()).collect()
    }

    /// Begins the end.
    pub(crate) fn stop(self) -> JoinHandle<()> {
        let _ = self.stop.send(());
        self.task
    }
}

/// Greets by the name in the certificate, answers pings, and keeps acked notes in a file.
pub(crate) fn greeting(log: mpsc::UnboundedSender<Saw>, file: &Path) -> Service<Demo> {
    let connected = log.clone();
    Service::new(Demo)
        .durable(file)
        .on_connected(move |conn: Conn<Demo>| {
            let _ = connected.send(Saw::Connected(conn.resumption()));
            async move {
                let text = conn
                    .credentials()
                    .certificate()
                    .map_or("nobody", |proof| proof.subject())
                    .to_owned();
                conn.send(&Note { text }).await?;
                Ok(())
            }
        })
        .on(move |conn: Conn<Demo>, ping: Ping| {
            let received = conn.received();
            let _ = log.send(Saw::Ping {
                id: ping.id,
                acked: received.is_some(),
                repeated: received.is_some_and(|received| received.maybe_repeated),
            });
            async move {
                match received {
                    Some(_) => drop(
                        conn.send_acked(&Note {
                            text: ping.id.to_string(),
                        })
                        .await?,
                    ),
                    None => conn.send(&Pong { id: ping.id }).await?,
                }
                Ok(())
            }
        })
}
