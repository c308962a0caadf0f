//! A station without a chip: the same messages and the same service as the firmware in `firmware/`, over TLS with full
//! records. Stop the service and start it again: no alarm is lost.
//!
//! ```sh
//! cargo run --example agent_host -- --folder certificates        # while agent_service runs
//! ```

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::time::Duration;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use diset_examples::{certificate_error, printable, println};
use diset_std::tls::{ClientTls, TlsFiles};
use diset_std::{Client, Outcome, shutdown_signal};
use messages::{Alarm, AlarmKind, Blink, Blinked, Reading, Reboot, SetInterval, Station};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

type Failed = Box<dyn core::error::Error>;

/// Reports readings and alarms, does what it is told, and prints both. Ends in order at Ctrl-C or SIGTERM, or when it is to
/// reboot; with an error when the service does not want it back. When it is only refused it comes back later.
#[derive(Parser)]
#[command(
    after_help = "`cargo run --example make_certificates -- certificates --client station` writes the files \
    that this and agent_service need."
)]
struct Options {
    /// The service, host:port, or several with commas. Its certificate must prove the host.
    #[arg(default_value = "localhost:9145")]
    service: String,
    /// The host that the certificate of the service must prove, when it is called by another name or an address.
    #[arg(long)]
    service_name: Option<String>,
    /// The folder with NAME.pem, NAME.key and ca.pem.
    #[arg(long)]
    folder: PathBuf,
    /// The station whose certificate is used.
    #[arg(long, default_value = "station")]
    name: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("agent_host: {}", printable(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

/// What connections share.
struct Shared {
    start: Instant,
    alarms: AtomicU32,
    connections: AtomicU32,
    /// It is to reboot: an end of the connection is no alarm.
    is_leaving: AtomicBool,
}

impl Shared {
    fn uptime(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Stores an alarm, with or without a connection.
    async fn raise(&self, client: &Client<Station>, kind: AlarmKind) {
        let number = self.alarms.fetch_add(1, Ordering::Relaxed);
        let uptime = self.uptime();
        match client.send_acked_or_resend(&Alarm { number, uptime, kind }).await {
            Ok(_) => println!("alarm {number}: {kind:?}"),
            Err(error) => println!("alarm {number}: {kind:?} is lost: {error}"),
        }
    }
}

async fn run(options: Options) -> Result<(), Failed> {
    let stop = shutdown_signal();
    let file = |ending: &str| options.folder.join(format!("{}.{ending}", options.name));
    let files = TlsFiles::new(file("pem"), file("key"), options.folder.join("ca.pem"));
    let tls = ClientTls::from_files(&files).map_err(certificate_error)?;
    let shared = Arc::new(Shared {
        start: Instant::now(),
        alarms: AtomicU32::new(0),
        connections: AtomicU32::new(0),
        is_leaving: AtomicBool::new(false),
    });
    let (set_interval, interval) = watch::channel(Duration::from_secs(1));
    let (reboot, mut rebooting) = mpsc::channel(1);
    let mut builder = Client::builder(Station, &options.service).tls(tls);
    if let Some(name) = &options.service_name {
        builder = builder.server_name(name);
    }
    let (opened, dropped) = (Arc::clone(&shared), Arc::clone(&shared));
    let client = builder
        .on_state(|_, state| println!("{}", printable(&state.to_string())))
        .on_connected(move |_| {
            opened.connections.fetch_add(1, Ordering::Relaxed);
            async { Ok(()) }
        })
        .on_drop(move |client, _| {
            let shared = Arc::clone(&dropped);
            async move {
                if !shared.is_leaving.load(Ordering::Relaxed) {
                    shared.raise(&client, AlarmKind::Offline).await;
                }
            }
        })
        .on_outcome(|_, number, outcome| {
            if outcome != Outcome::Ok {
                println!("acked message {number}: {outcome}");
            }
        })
        .on(move |_, set: SetInterval| {
            println!("a reading each {} ms", set.milliseconds);
            set_interval.send_replace(Duration::from_millis(set.milliseconds.into()));
            async { Ok(()) }
        })
        .on(|client, blink: Blink| async move {
            println!("{}", "* ".repeat(blink.times.into()).trim_end());
            Ok(client.send(&Blinked { times: blink.times }).await?)
        })
        .on(move |_, _: Reboot| {
            println!("is to reboot");
            let reboot = reboot.clone();
            async move { Ok(reboot.send(()).await?) }
        })
        .start()?;
    shared.raise(&client, AlarmKind::Started).await;
    tokio::select! {
        failed = report(&client, &shared, interval) => return failed,
        // Somebody has to see to it: another attempt would be refused, too.
        why = client.stopped() => return Err(why.into()),
        Some(()) = rebooting.recv() => {}
        () = stop => {}
    }
    shared.is_leaving.store(true, Ordering::Relaxed);
    client.close().await;
    Ok(())
}

/// A reading at each interval, for ever.
async fn report(
    client: &Client<Station>,
    shared: &Shared,
    mut interval: watch::Receiver<Duration>,
) -> Result<(), Failed> {
    let mut number: u32 = 0;
    loop {
        let step = u16::try_from(number % 16)?;
        let reading = Reading {
            number,
            uptime: shared.uptime(),
            celsius: 20.0 + f32::from(step) / 8.0,
            millivolts: 3300 - step,
            connections: shared.connections.load(Ordering::Relaxed),
        };
        // While the service is away a reading is not kept.
        if client.send(&reading).await.is_ok() {
            number = number.wrapping_add(1);
        }
        let pause = *interval.borrow_and_update();
        let next = Instant::now() + pause;
        tokio::select! {
            () = sleep_until(next), if !pause.is_zero() => {}
            changed = interval.changed() => changed?,
        }
    }
}
