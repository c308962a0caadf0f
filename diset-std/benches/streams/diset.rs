//! diset, as its users write it, in the two styles it offers:
//!
//! - `by_ref`: handlers look at the message where it lies, messages are sent in batches;
//! - `owned`: asynchronous handlers get a message to keep, each one is sent with `send(…).await`.
//!
//! All checks of diset are on, the settings are those that a user finds.

pub(crate) mod by_ref;
pub(crate) mod owned;

use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use diset_std::tls::{Authorities, Certificate, ClientTls, ServerTls};
use diset_std::{Client, ClientBuilder, Failure, Service, ServiceDef};
use rustls::pki_types::CertificateDer;
use tokio::sync::Notify;

use crate::common::{Credentials, Outcome, crypto, say_listening};
use crate::job::{Job, Plan};
use crate::measure::Meter;

/// What a service counts in its handler. Handlers of one connection run one at a time, so plain loads and stores do.
struct Tally {
    seen: AtomicU64,
    plan: Plan,
    meter: Mutex<Meter>,
    gone: Notify,
}

impl Tally {
    /// It lives as long as the process, as the state of a service does.
    fn new(plan: Plan) -> &'static Self {
        Box::leak(Box::new(Self {
            seen: AtomicU64::new(0),
            plan,
            meter: Mutex::default(),
            gone: Notify::new(),
        }))
    }

    /// One more message; whether it ends the warm-up or the run.
    fn count(&self, id: i64, name: &str, value: f64) -> Result<bool, Failure> {
        black_box(id + name.len() as i64 + value as i64);
        let seen = self.seen.load(Relaxed) + 1;
        self.seen.store(seen, Relaxed);
        let (first, last) = (self.plan.warm_up, self.plan.warm_up + self.plan.messages);
        if seen != first && seen != last {
            return Ok(false);
        }
        let mut meter = self.meter.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = if seen == first { meter.start() } else { meter.stop() };
        Ok(ended.map(|()| true)?)
    }

    /// Serves one connection.
    async fn serve<S: ServiceDef>(&'static self, service: Service<S>, job: &Job, meter: &mut Meter) -> Outcome<()> {
        let service = service.on_drop(|_, _| {
            self.gone.notify_one();
            core::future::ready(())
        });
        let tls = ServerTls::builder(certificate(&job.tls)?, authorities(&job.tls)?);
        let tls = tls.crypto_provider(Arc::new(crypto())).build()?;
        let bound = service.bind("127.0.0.1:0", tls).await?;
        say_listening(bound.local_addr().ok_or("no port")?);
        bound.run_until(self.gone.notified()).await;
        *meter = core::mem::take(&mut *self.meter.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }
}

/// What a client with messages in flight counts.
#[derive(Default)]
struct InFlight {
    to_send: AtomicU64,
    to_come: AtomicU64,
    done: Notify,
}

impl InFlight {
    /// Begins a phase.
    fn set(&self, messages: u64) {
        self.to_send.store(messages, Relaxed);
        self.to_come.store(messages, Relaxed);
    }

    /// An answer has come.
    fn answered(&self) {
        let left = self.to_come.load(Relaxed) - 1;
        self.to_come.store(left, Relaxed);
        if left == 0 {
            self.done.notify_one();
        }
    }

    /// The number of the message to be sent next, if any.
    fn next(&self) -> Option<u64> {
        let left = self.to_send.load(Relaxed).checked_sub(1)?;
        self.to_send.store(left, Relaxed);
        Some(left)
    }
}

/// A client that is to be given its handler.
fn client<S: ServiceDef>(service: S, job: &Job) -> Outcome<ClientBuilder<S>> {
    let address = job.connect.ok_or("no address to connect to")?;
    let tls = ClientTls::builder(certificate(&job.tls)?, authorities(&job.tls)?);
    let tls = tls.crypto_provider(Arc::new(crypto())).build()?;
    Ok(Client::builder(service, &address.to_string())
        .server_name("localhost")
        .tls(tls))
}

fn certificate(tls: &Credentials) -> Outcome<Certificate> {
    Ok(Certificate::from_der(tls.chain(), tls.key())?)
}

fn authorities(tls: &Credentials) -> Outcome<Authorities> {
    Ok(Authorities::from_der(vec![CertificateDer::from(
        tls.authority.clone(),
    )])?)
}
